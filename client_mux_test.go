package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A handServer is a server written by hand: a function for each of its connections. It counts
// what it reads, so that nothing can be asked twice in secret.
type handServer struct {
	addr string
	mu   sync.Mutex
	ends []net.Conn
	seen map[string]int // requests, by user
}

// handWritten starts one; script runs once for every connection, in a goroutine of its own, and
// the connection closes when it returns.
func handWritten(t *testing.T, script func(c *wire)) *handServer {
	t.Helper()
	l := listen(t)
	s := &handServer{addr: l.Addr().String(), seen: make(map[string]int)}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // the test is over
			}
			s.mu.Lock()
			s.ends = append(s.ends, conn)
			c := &wire{TCPConn: conn.(*net.TCPConn), server: s, number: len(s.ends), in: bufio.NewReader(conn), key: testKey}
			s.mu.Unlock()
			all.Go(func() {
				defer conn.Close()
				script(c)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		s.mu.Lock()
		for _, conn := range s.ends {
			conn.Close()
		}
		s.mu.Unlock()
		all.Wait()
	})
	return s
}

// connections is how many there were.
func (s *handServer) connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.ends)
}

// asked is how often a request of that user was read.
func (s *handServer) asked(user string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen[user]
}

// A wire is one connection of a handServer.
type wire struct {
	*net.TCPConn
	server *handServer
	number int // 1 is the first
	in     *bufio.Reader
	key    string
	refuse bool // single-connection mode
}

// An asked is one packet that a client sent, and who it is about.
type asked struct {
	header
	user      string
	start     authenStart
	continues *authenContinue // nil for the first packet of a session
}

// next reads a packet; nil is the end of the connection.
func (c *wire) next() *asked {
	h, _, err := readHeader(c.in)
	if err != nil {
		return nil
	}
	body, err := readBody(c.in, h)
	if err != nil {
		return nil
	}
	obfuscate(&h, testKey, body)
	q := &asked{header: h}
	var author authorRequest
	var acct acctRequest
	switch {
	case h.typ == typeAuthen && h.seqNo > 1:
		q.continues = new(authenContinue)
		err = decode(body, q.continues)
	case h.typ == typeAuthen:
		err, q.user = decode(body, &q.start), q.start.user
	case h.typ == typeAuthor:
		err, q.user = decode(body, &author), author.user
	default:
		err, q.user = decode(body, &acct), acct.user
	}
	if err != nil {
		return nil
	}
	c.server.mu.Lock()
	c.server.seen[q.user]++
	c.server.mu.Unlock()
	return q
}

// take reads n packets, or fewer where the client has no more.
func (c *wire) take(n int) (list []*asked) {
	for range n {
		q := c.next()
		if q == nil {
			break
		}
		list = append(list, q)
	}
	return list
}

// grant is the reply that grants q, with the user's name as its message, which proves whose
// answer it is. change spoils the bytes of the header and the body in clear.
func (c *wire) grant(q *asked, change ...func(h *header)) []byte {
	if q == nil {
		return nil // the client has gone
	}
	var m message
	switch q.typ {
	case typeAuthen:
		m = &authenReply{status: authenPass, serverMsg: q.user}
	case typeAuthor:
		m = &authorResponse{status: authorPassAdd, serverMsg: q.user}
	default:
		m = &acctReply{status: acctSuccess, serverMsg: q.user}
	}
	return c.reply(q, m, change...)
}

// reply is the packet that answers q with m.
func (c *wire) reply(q *asked, m message, change ...func(h *header)) []byte {
	h := q.header
	h.seqNo++
	if h.flags &^= flagSingleConnect; !c.refuse {
		h.flags |= flagSingleConnect
	}
	packet, err := appendPacket(nil, &h, m)
	if err != nil {
		panic(err)
	}
	for _, f := range change {
		f(&h)
	}
	obfuscate(&h, c.key, packet[headerLen:])
	head := codec{}
	h.layout(&head)
	return append(head.buf, packet[headerLen:]...)
}

// behave grants everything until the client goes. Replies go out together.
func (c *wire) behave() {
	var out []byte
	for q := c.next(); q != nil; q = c.next() {
		if out = append(out, c.grant(q)...); c.in.Buffered() < headerLen {
			c.Write(out)
			out = out[:0]
		}
	}
}

// race grants requests for authorization as fast as it can, in clear, and counts them.
func (c *wire) race(m *inFlightMeter) {
	var out []byte
	for {
		head, err := c.in.Peek(headerLen)
		if err != nil {
			return
		}
		m.count(1)
		out = append(append(out, head...), byte(authorPassAdd), 0, 0, 0, 0, 0)
		reply := out[len(out)-headerLen-6:]
		reply[atSeqNo] = 2
		binary.BigEndian.PutUint32(reply[atLength:], 6)
		c.in.Discard(headerLen + int(binary.BigEndian.Uint32(head[atLength:])))
		if c.in.Buffered() < headerLen {
			c.Write(out)
			out = out[:0]
		}
	}
}

// leave sends the end of the connection and reads what comes until the client has seen it.
func (c *wire) leave() {
	c.CloseWrite()
	for c.next() != nil {
	}
}

// behaving is a script: the first connection as first does it, the others as they should.
func behaving(first func(c *wire)) func(c *wire) {
	return func(c *wire) {
		if c.number == 1 {
			first(c)
		} else {
			c.behave()
		}
	}
}

// requests are lines for batch, each of a user of its own: u0, u1 and so on.
func requests(n int, format string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format+"\n", fmt.Sprintf(`"id":%d,"user":"u%d"`, i, i))
	}
	return b.String()
}

// What one line of requests asks for; the user and the id come in place of the verb.
const (
	papLine    = `{%s,"command":"authenticate","authen_type":"pap"}`
	authorLine = `{%s,"command":"authorize","cmd":"show version"}`
	acctLine   = `{%s,"command":"account","flag":"start","cmd":"show version"}`
	asciiLine  = `{%s,"command":"authenticate"}`
)

// An answer is a line of batch's output as a program reads it.
type answer struct {
	Line       int
	ID         json.RawMessage
	Command    string
	User       string
	Status     string
	Granted    bool
	ExitCode   exitCode `json:"exit_code"`
	Server     string
	AuthenType string `json:"authen_type"`
	ServerMsg  string `json:"server_msg"`
	TaskID     string `json:"task_id"`
	Arguments  arguments
	TLS        *struct{ Resumed bool }
	Attempts   []attempt
	Timing     map[string]float64 `json:"timing_ms"`
	Error      *problem
	Expect     string
	AsExpected *bool `json:"as_expected"`
}

// answers reads all lines of an output.
func answers(t *testing.T, out string) (list []answer) {
	t.Helper()
	for line := range strings.Lines(out) {
		var a answer
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		list = append(list, a)
	}
	return list
}

// checkAnswers demands one answer for each of n requests, in their order, and that a granted one
// has the message that was meant for it. It returns how many were granted.
func checkAnswers(t *testing.T, list []answer, n int) (granted int) {
	t.Helper()
	if len(list) != n {
		t.Fatalf("%d answers to %d requests", len(list), n)
	}
	for i, a := range list {
		if user := fmt.Sprint("u", i); a.Line != i+1 || string(a.ID) != fmt.Sprint(i) || a.User != user || a.Granted && a.ServerMsg != user {
			t.Errorf("answer %d: %+v", i, a)
		}
		if a.Granted != (a.ExitCode == classGranted.exit()) || a.Granted == (a.Error != nil) {
			t.Errorf("answer %d is both: %+v", i, a)
		}
		if a.Granted {
			granted++
		}
	}
	return granted
}

// TestMux has a server for everything that servers do with many sessions on one connection. No
// request is lost, none is counted twice, none hangs.
func TestMux(t *testing.T) {
	t.Parallel()
	const n, window = 49, 16
	spoilt := func(change func(h *header)) func(*wire) {
		return behaving(func(c *wire) { // the second of four in flight; they end, the next ones are elsewhere
			c.Write(c.grant(c.next()))
			for i, q := range c.take(4) {
				if i == 1 {
					c.Write(c.grant(q, change))
				} else {
					c.Write(c.grant(q))
				}
			}
			c.behave()
		})
	}
	for _, tt := range []struct {
		name   string
		script func(c *wire)
		lines  []string // one kind of request each
		code   exitCode // 0: all granted
		failed [2]int   // at least and at most so many are not granted
		error  string   // what the message of these contains
		warned string
		conns  int // 0: any number
	}{
		{name: "well behaved", script: (*wire).behave, conns: 1},
		{name: "in reverse order", script: func(c *wire) {
			for size := 1; ; size = window {
				list := c.take(size)
				if slices.Reverse(list); list == nil {
					return
				}
				var out []byte
				for _, q := range list {
					out = append(out, c.grant(q)...)
				}
				c.Write(out)
			}
		}, conns: 1},
		{name: "twice", script: func(c *wire) {
			for q := c.next(); q != nil; q = c.next() {
				c.Write(append(c.grant(q), c.grant(q)...))
			}
		}, conns: 1},
		{name: "unknown session first", script: func(c *wire) {
			for q := c.next(); q != nil; q = c.next() {
				c.Write(append(c.grant(q, func(h *header) { h.sessionID ^= 1 << 31 }), c.grant(q)...))
			}
		}, conns: 1},
		{name: "byte by byte", script: func(c *wire) {
			for q := c.next(); q != nil; q = c.next() {
				for _, b := range c.grant(q) {
					c.Write([]byte{b})
				}
			}
		}, conns: 1},
		{name: "in pieces of seven bytes", script: func(c *wire) {
			for size := 1; ; size = window {
				var out []byte
				for _, q := range c.take(size) {
					out = append(out, c.grant(q)...)
				}
				if out == nil {
					return
				}
				for piece := range slices.Chunk(out, 7) {
					c.Write(piece)
				}
			}
		}, conns: 1},
		{name: "closes in the middle", script: behaving(func(c *wire) {
			c.Write(c.grant(c.next()))
			for _, q := range c.take(8)[4:] {
				c.Write(c.grant(q))
			}
			c.leave()
		}), lines: []string{papLine, authorLine}, conns: 2},
		{name: "closes in the middle of records", script: behaving(func(c *wire) {
			c.Write(c.grant(c.next()))
			for _, q := range c.take(8)[4:] {
				c.Write(c.grant(q))
			}
			c.leave()
		}), lines: []string{acctLine}, code: classNetwork.exit(), failed: [2]int{4, window}, error: "closed the connection before it answered", conns: 2},
		{name: "closes in the middle of a reply", script: behaving(func(c *wire) {
			c.Write(c.grant(c.next()))
			c.Write(c.grant(c.next())[:20])
			c.leave()
		}), lines: []string{papLine, authorLine}, conns: 2},
		{name: "closes every connection after three", script: func(c *wire) {
			for range 3 {
				if q := c.next(); q != nil {
					c.Write(c.grant(q))
				}
			}
			c.leave()
		}, lines: []string{acctLine}, code: classNetwork.exit(), failed: [2]int{0, n - 3}, error: "closed the connection"},
		{name: "closes always", script: func(c *wire) { c.next() }, lines: []string{papLine}, code: classNetwork.exit(), failed: [2]int{n, n}, error: "closed the connection"},
		{name: "swallows", script: behaving(func(c *wire) {
			c.Write(c.grant(c.next()))
			for c.next() != nil {
			}
		}), lines: []string{papLine, authorLine}, warned: "leaves sessions unanswered; going on with one session a connection"},
		{name: "swallows records", script: behaving(func(c *wire) {
			c.Write(c.grant(c.next()))
			for c.next() != nil {
			}
		}), lines: []string{acctLine}, code: classNetwork.exit(), failed: [2]int{1, window}, error: "no reply from", warned: "leaves sessions unanswered"},
		{name: "does not agree", script: func(c *wire) {
			c.refuse = true
			c.Write(c.grant(c.next()))
			for c.next() != nil {
				panic("a second packet without single-connection mode")
			}
		}, conns: n},
		{name: "wrong key", script: func(c *wire) { c.key = "another key, as long as the first"; c.behave() },
			code: classProtocol.exit(), failed: [2]int{n, n}, error: "does not fit the key"},
		{name: "wrong key in one reply", script: behaving(func(c *wire) {
			c.Write(c.grant(c.next()))
			list := c.take(4)
			c.key += "x"
			out := c.grant(list[1])
			c.key = testKey
			for _, i := range []int{0, 2, 3} {
				out = append(out, c.grant(list[i])...)
			}
			c.Write(out)
			c.behave()
		}), code: classProtocol.exit(), failed: [2]int{1, 1}, error: "does not fit the key", conns: 2},
		{name: "wrong seq_no", script: spoilt(func(h *header) { h.seqNo += 2 }), code: classProtocol.exit(), failed: [2]int{1, 1}, error: "has seq_no 4, not 2", conns: 2},
		{name: "wrong type", script: spoilt(func(h *header) { h.typ = h.typ%3 + 1 }), code: classProtocol.exit(), failed: [2]int{1, 1}, error: "has type", conns: 2},
		{name: "wrong minor version", script: spoilt(func(h *header) { h.version ^= 1 }), code: classProtocol.exit(), failed: [2]int{1, 1}, error: "has version", conns: 2},
		{name: "UNENCRYPTED", script: spoilt(func(h *header) { h.flags |= flagUnencrypted }), code: classProtocol.exit(), failed: [2]int{1, window}, error: "is not obfuscated", conns: 2},
		{name: "too long", script: spoilt(func(h *header) { h.length = 1 << 30 }), code: classProtocol.exit(), failed: [2]int{1, window}, error: "claims a body of 1073741824 bytes", conns: 2},
		{name: "not TACACS+", script: spoilt(func(h *header) { h.version = 0xb0 }), code: classProtocol.exit(), failed: [2]int{1, window}, error: "is not TACACS+", conns: 2},
	} {
		lines := tt.lines
		if lines == nil {
			lines = []string{papLine, authorLine, acctLine}
		}
		for _, line := range lines {
			t.Run(tt.name+" "+line[len(`{%s,"command":"`):][:7], func(t *testing.T) {
				t.Parallel()
				timeout := "8s"
				if strings.HasPrefix(tt.name, "swallows") {
					timeout = "1s"
				}
				s := handWritten(t, tt.script)
				got := runWith(t, secretsInEnv, requests(n, line), "batch", s.addr, "--timeout", timeout)
				if got.code != tt.code || !strings.Contains(got.err, tt.warned) {
					t.Errorf("got %d, want %d and %q: %s", int(got.code), int(tt.code), tt.warned, got.err)
				}
				list := answers(t, got.out)
				if failed := n - checkAnswers(t, list, n); failed < tt.failed[0] || failed > tt.failed[1] {
					t.Errorf("%d are not granted, want %v", failed, tt.failed)
				}
				for i, a := range list {
					if !a.Granted && (a.ExitCode != tt.code || !strings.Contains(a.Error.Message, tt.error)) {
						t.Errorf("got %+v %+v, want %d and %q", a, a.Error, int(tt.code), tt.error)
					}
					times := s.asked(fmt.Sprint("u", i))
					if most := 2; times > most || times > 1 && line == acctLine || times == 0 && a.Granted {
						t.Errorf("request %d was sent %d times", i, times)
					}
				}
				if conns := s.connections(); tt.conns > 0 && conns != tt.conns {
					t.Errorf("%d connections, want %d", conns, tt.conns)
				}
			})
		}
	}
}

// TestSecondPacketWaits has a server that holds the first reply back: until it comes, the client
// does not know whether it may send more. RFC 8907 section 4.3.
func TestSecondPacketWaits(t *testing.T) {
	t.Parallel()
	for _, line := range []string{papLine, authorLine, acctLine} {
		early := make(chan error, 1)
		s := handWritten(t, func(c *wire) {
			first := c.next()
			c.SetReadDeadline(time.Now().Add(30 * time.Millisecond))
			_, err := c.in.Peek(1)
			c.SetReadDeadline(time.Time{})
			early <- err
			c.Write(c.grant(first))
			c.behave()
		})
		got := runWith(t, secretsInEnv, requests(40, line), "batch", s.addr)
		if err := <-early; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a second packet came before the first reply, or the end: %v", err)
		}
		if n := checkAnswers(t, answers(t, got.out), 40); n != 40 || s.connections() != 1 {
			t.Errorf("%d of 40 granted over %d connections: %s", n, s.connections(), got.err)
		}
	}
}

// A talk is batch held open by a program: a line in, its answer out.
type batchDialogue struct {
	t   *testing.T
	in  *io.PipeWriter
	out *json.Decoder
	// interrupt is Ctrl-C.
	interrupt context.CancelFunc
	ended     chan runResult
}

func startBatch(t *testing.T, args ...string) *batchDialogue {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	in, tell := io.Pipe()
	hear, out := io.Pipe()
	k := &batchDialogue{t, tell, json.NewDecoder(hear), cancel, make(chan runResult, 1)}
	var messages lockedBuffer
	go func() {
		code := run(ctx, append([]string{"batch"}, args...), stdio{in: in, out: out, err: &messages, env: func(name string) string { return secretsInEnv[name] }})
		out.Close()
		in.Close()
		k.ended <- runResult{code: code, err: messages.String()}
	}()
	return k
}

// say writes one line.
func (k *batchDialogue) send(line string) {
	k.t.Helper()
	if _, err := io.WriteString(k.in, line+"\n"); err != nil {
		k.t.Fatalf("batch reads no more: %v", err)
	}
}

// hear reads one answer.
func (k *batchDialogue) receive() (a answer) {
	k.t.Helper()
	if err := k.out.Decode(&a); err != nil {
		k.t.Fatalf("no answer: %v; %+v", err, <-k.ended)
	}
	return a
}

// end closes the input and waits for the program.
func (k *batchDialogue) end() runResult {
	k.t.Helper()
	k.in.Close()
	if _, err := k.out.Token(); err != io.EOF {
		k.t.Errorf("more answers than questions: %v", err)
	}
	return <-k.ended
}

// TestIdleConnectionCloses has a server that ends an idle connection, by a close or a reset. The
// next request does not notice.
func TestIdleConnectionCloses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		line  string
		reset bool
	}{{papLine, false}, {papLine, true}, {authorLine, false}, {authorLine, true}, {asciiLine, false}} {
		t.Run(fmt.Sprintf("%.7s %t", tt.line[len(`{%s,"command":"`):], tt.reset), func(t *testing.T) {
			t.Parallel()
			done := make(chan struct{})
			s := handWritten(t, behaving(func(c *wire) {
				c.Write(c.grant(c.next()))
				c.Write(c.grant(c.next()))
				<-done
				if tt.reset {
					c.SetLinger(0)
				}
				c.Close()
				done <- struct{}{}
			}))
			k := startBatch(t, s.addr, "-c", "1")
			for i := range 4 {
				if i == 2 {
					done <- struct{}{}
					<-done
				}
				k.send(fmt.Sprintf(tt.line, fmt.Sprintf(`"id":%d,"user":"u%d"`, i, i)))
				if a := k.receive(); !a.Granted || a.Line != i+1 || a.ServerMsg != fmt.Sprint("u", i) {
					t.Errorf("answer %d: %+v %+v", i, a, a.Error)
				}
			}
			if got := k.end(); got.code != classGranted.exit() || s.connections() != 2 {
				t.Errorf("got %+v after %d connections", got, s.connections())
			}
		})
	}
}

// TestRequestWhileOthersWait: a request goes out although the connection waits for the replies to
// those before.
func TestRequestWhileOthersWait(t *testing.T) {
	t.Parallel()
	waits := make(chan struct{})
	s := handWritten(t, func(c *wire) {
		c.Write(c.grant(c.next()))
		first := c.take(1)
		close(waits)
		c.Write(append(c.grant(c.next()), c.grant(first[0])...))
		c.behave()
	})
	k := startBatch(t, s.addr, "--timeout", "5")
	for i := range 3 {
		k.send(fmt.Sprintf(authorLine, fmt.Sprintf(`"user":"u%d"`, i)))
		switch i {
		case 0:
			k.receive()
		case 1:
			<-waits
			time.Sleep(10 * time.Millisecond) // batch waits too
		}
	}
	for range 2 {
		if a := k.receive(); !a.Granted {
			t.Errorf("answer %+v %+v", a, a.Error)
		}
	}
	if k.end(); s.connections() != 1 || s.asked("u1") != 1 || s.asked("u2") != 1 {
		t.Errorf("%d connections, asked %d and %d times", s.connections(), s.asked("u1"), s.asked("u2"))
	}
}

// TestFewBytesOfAStranger: what is not TACACS+ is called so whichever way it is met, also where it
// is shorter than a header.
func TestFewBytesOfAStranger(t *testing.T) {
	t.Parallel()
	s := handWritten(t, func(c *wire) {
		c.next()
		io.WriteString(c, "hi\n")
	})
	for _, line := range []string{"authenticate alice AT -t pap --json", "batch AT"} {
		got := runWith(t, secretsInEnv, requests(1, papLine), split(line, "AT", s.addr)...)
		if list := answers(t, got.out); len(list) != 1 || list[0].ExitCode != classProtocol.exit() || !strings.Contains(list[0].Error.Message, "begins with 0x68") {
			t.Errorf("%s: got %+v", line, got)
		}
	}
}

// TestInterruptedMux is Ctrl-C with requests under way: on one connection, on a connection each,
// and before the first reply. Each of them gets its answer, and the exit code is 130.
func TestInterruptedMux(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		granted int // answered before
		refuse  bool
		line    string
		waiting int // under way then
	}{
		{"many sessions", 1, false, papLine, 16},
		{"records", 1, false, acctLine, 16},
		{"a connection each", 1, true, papLine, 16},
		{"dialogues", 0, false, asciiLine, 16},
		{"before the first reply", 0, false, papLine, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			arrived := make(chan struct{}, 64)
			s := handWritten(t, func(c *wire) {
				c.refuse = tt.refuse
				for q := c.next(); q != nil; q = c.next() {
					if c.number == 1 && tt.granted > 0 && q.user == "u0" {
						c.Write(c.grant(q))
						continue
					}
					arrived <- struct{}{}
				}
			})
			k := startBatch(t, s.addr)
			go io.WriteString(k.in, requests(40, tt.line))
			for range tt.granted {
				if a := k.receive(); !a.Granted {
					t.Errorf("answer %+v", a)
				}
			}
			for range tt.waiting {
				<-arrived
			}
			k.interrupt()
			for i := range tt.waiting {
				if a := k.receive(); a.ExitCode != classInterrupted.exit() || a.Line != tt.granted+i+1 || a.Error.Class != "interrupted" {
					t.Errorf("answer %+v %+v", a, a.Error)
				}
			}
			for {
				var a answer // taken from the input, and not sent
				if err := k.out.Decode(&a); err != nil {
					break
				}
				if a.ExitCode != classInterrupted.exit() {
					t.Errorf("answer %+v %+v", a, a.Error)
				}
			}
			if got := <-k.ended; got.code != classInterrupted.exit() {
				t.Errorf("got %+v", got)
			}
			k.in.Close()
		})
	}
}

// TestMuxServers has several servers of which the first are no good.
func TestMuxServers(t *testing.T) {
	t.Parallel()
	good := handWritten(t, (*wire).behave)
	closing := handWritten(t, func(c *wire) { c.next() }).addr
	silent := serveWith(t, "--fault", "silent").addr
	erring := serveWith(t, "--fault", "error").addr
	for _, tt := range []struct {
		name, line, servers string
		code                exitCode
	}{
		{"refused", papLine, refusedAddr(t) + "," + good.addr, 0},
		{"two refused", acctLine, refusedAddr(t) + "," + refusedAddr(t) + "," + good.addr, 0},
		{"dialogue", asciiLine, refusedAddr(t) + "," + good.addr, 0},
		{"closes", papLine, closing + "," + good.addr, 0},
		{"silent", papLine, silent + "," + good.addr, 0},
		{"ERROR", papLine, erring + "," + good.addr, 0},
		{"ERROR to a record", acctLine, erring + "," + good.addr, 0},
		{"all refused", papLine, refusedAddr(t) + "," + refusedAddr(t), 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			timeout := "10"
			if tt.name == "silent" {
				timeout = "3" // which is waited for
			}
			got := runWith(t, secretsInEnv, requests(30, tt.line), "batch", tt.servers, "--timeout", timeout)
			n := checkAnswers(t, answers(t, got.out), 30)
			if got.code != tt.code || (n == 30) != (tt.code == 0) || tt.code != 0 && n != 0 {
				t.Errorf("got %d, %d of 30 granted: %s", int(got.code), n, got.err)
			}
			for _, a := range answers(t, got.out) {
				if a.Granted && a.Server != good.addr {
					t.Errorf("the answer is not from %s: %+v", good.addr, a)
				}
			}
		})
	}
}

// TestNoSecondSession has a server that agrees to single-connection mode and answers the first
// session of each connection only.
func TestNoSecondSession(t *testing.T) {
	t.Parallel()
	s := handWritten(t, func(c *wire) {
		c.Write(c.grant(c.next()))
		for c.next() != nil {
		}
	})
	got := runWith(t, secretsInEnv, requests(20, papLine), "batch", s.addr, "--timeout", "1s")
	if n := checkAnswers(t, answers(t, got.out), 20); n != 20 || got.code != classGranted.exit() {
		t.Errorf("got %d, %d of 20 granted: %s", int(got.code), n, got.err)
	}
	if !strings.Contains(got.err, "leaves sessions unanswered") {
		t.Errorf("no word of it: %s", got.err)
	}
}

// TestEndsAfterAFew has a server that ends every connection after a few answers: no login is
// lost, however many connections that takes.
func TestEndsAfterAFew(t *testing.T) {
	t.Parallel()
	s := handWritten(t, func(c *wire) {
		for range 5 {
			q := c.next()
			if q == nil {
				return
			}
			c.Write(c.grant(q))
		}
	})
	got := runWith(t, secretsInEnv, requests(300, papLine), "batch", s.addr)
	if n := checkAnswers(t, answers(t, got.out), 300); n != 300 || got.code != classGranted.exit() {
		t.Errorf("got %d, %d of 300 granted: %s", int(got.code), n, got.err)
	}
}

// TestOneAtATime is -c 1: a request begins after the one before has ended, dialogue or not. So a
// login may follow a change of the password.
func TestOneAtATime(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	underWay, most := 0, 0
	s := handWritten(t, func(c *wire) {
		for q := c.next(); q != nil; q = c.next() {
			mu.Lock()
			underWay++
			most = max(most, underWay)
			mu.Unlock()
			reply := c.grant(q)
			mu.Lock()
			underWay--
			mu.Unlock()
			c.Write(reply)
		}
	})
	in := strings.Repeat(fmt.Sprintf(asciiLine+"\n"+papLine+"\n"+authorLine+"\n", `"user":"a"`, `"user":"a"`, `"user":"a"`), 10)
	got := runWith(t, secretsInEnv, in, "batch", s.addr, "-c", "1")
	if n := strings.Count(got.out, `"granted":true`); got.code != classGranted.exit() || n != 30 || most != 1 {
		t.Errorf("got %d, %d of 30 granted, %d at a time: %s", int(got.code), n, most, got.err)
	}
}

// TestManyLargeRequests fills the buffers of both systems: neither side may end up writing with
// nobody to read.
func TestManyLargeRequests(t *testing.T) {
	t.Parallel()
	s := serveWith(t, "--fault", "args-max")
	args := strings.Repeat(`,"x=`+long(250)+`"`, 200)
	in := strings.Repeat(`{"command":"authorize","user":"alice","args":["service=shell","cmd=show"`+args+"]}\n", 200)
	got := runWith(t, secretsInEnv, in, "batch", s.addr, "-c", "500", "--timeout", "4")
	if n := strings.Count(got.out, `"granted":true`); got.code != classGranted.exit() || n != 200 {
		t.Errorf("got %d, %d of 200 granted: %s", int(got.code), n, got.err)
	}
}

// TestMuxTLS runs batch and bench over TLS: many sessions on one connection; where the server
// does not agree, a connection each, on which TLS is resumed with a ticket of its own.
func TestMuxTLS(t *testing.T) {
	t.Parallel()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	s := serveWith(t, "--tls", "--write-cacert", ca, "--user", "u0:"+testPassword)
	line := strings.ReplaceAll(requests(30, papLine), `"user":"u`, `"user":"alice","id":"u`)
	for _, args := range []string{"batch AT", "bench alice AT -t pap -n 50", "bench alice AT -n 10", "bench alice AT -t chap -n 10 --no-single-connect", "bench alice AT -n 50 --account"} {
		got := runWith(t, secretsInEnv, strings.ReplaceAll(line, `"id":"u`, `"task_id":"u`), split(args+" --tls --cacert CA", "AT", s.addr, "CA", ca)...)
		if got.code != classGranted.exit() {
			t.Errorf("%s: got %+v", args, got)
		}
	}

	ca = filepath.Join(t.TempDir(), "ca.pem")
	s = serveWith(t, "--tls", "--write-cacert", ca, "--fault", "single-refused")
	tickets := make(chan string, 64)
	addr := relay(t, func(client net.Conn) {
		server, err := net.Dial("tcp", s.addr)
		if err != nil {
			return
		}
		defer server.Close()
		go func() { io.Copy(client, server); client.Close() }()
		in := bufio.NewReader(client)
		tickets <- offeredTicket(in)
		io.Copy(server, in)
	})
	got := runWith(t, secretsInEnv, strings.Repeat(`{"command":"authorize","user":"alice"}`+"\n", 5), "batch", addr, "-c", "1", "--tls", "--cacert", ca)
	used := make(map[string]bool)
	for i, a := range answers(t, got.out) {
		ticket := <-tickets
		if !a.Granted || a.TLS == nil || a.TLS.Resumed != (i > 0) || (ticket != "") != (i > 0) || used[ticket] {
			t.Errorf("answer %d: %+v %+v, the ticket used before: %t", i, a, a.TLS, used[ticket])
		}
		used[ticket] = true
	}
	if got.code != classGranted.exit() || len(used) != 5 {
		t.Errorf("got %+v with %d tickets", got, len(used))
	}
}

// offeredTicket is the session ticket in the ClientHello at the start of a stream, empty for none.
// RFC 8446 sections 4.1.2 and 4.2.11.
func offeredTicket(in *bufio.Reader) string {
	head, err := in.Peek(5)
	if err != nil {
		return ""
	}
	hello, err := in.Peek(5 + int(head[3])<<8 + int(head[4]))
	if err != nil {
		return ""
	}
	b := hello[5+4+2+32:]
	skip := func(lengthBytes int) []byte { // a vector
		n := 0
		for _, o := range b[:lengthBytes] {
			n = n<<8 + int(o)
		}
		v := b[lengthBytes : lengthBytes+n]
		b = b[lengthBytes+n:]
		return v
	}
	skip(1) // session id
	skip(2) // cipher suites
	skip(1) // compression
	for b = skip(2); len(b) > 0; {
		typ := int(b[0])<<8 + int(b[1])
		b = b[2:]
		if v := skip(2); typ == 41 { // pre_shared_key
			b = v[2:]
			return string(skip(2))
		}
	}
	return ""
}

// TestMuxFaults runs many requests against what serve can do wrong in single-connection mode.
func TestMuxFaults(t *testing.T) {
	t.Parallel()
	for _, fault := range []string{"single-close", "single-swallow", "single-refused", "header-split"} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			s := serveWith(t, "--fault", fault)
			for _, line := range []string{"bench alice AT -t pap -n 40 --timeout 3 --json", "bench alice AT -n 20 --timeout 3 --json"} {
				if got := s.ask(t, line); got.code != classGranted.exit() || !strings.Contains(got.out, `"PASS":`+line[strings.Index(line, "-n ")+3:][:2]) {
					t.Errorf("%s: got %+v", line, got)
				}
			}
		})
	}
}
