package main

import (
	"bufio"
	"context"
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

// Input lines for batch. The verb stands for the user and the id.
const (
	papLine    = `{%s,"command":"authenticate","authen_type":"pap"}`
	authorLine = `{%s,"command":"authorize","cmd":"show version"}`
	acctLine   = `{%s,"command":"account","flag":"start","cmd":"show version"}`
	asciiLine  = `{%s,"command":"authenticate"}`
)

// An answer is a line of batch's output.
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

// answers parses all lines of an output.
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

// checkAnswers requires one answer for each of n requests, in order, and that a granted one has its own
// user's message. It returns how many were granted.
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
			t.Errorf("answer %d contradicts itself: %+v", i, a)
		}
		if a.Granted {
			granted++
		}
	}
	return granted
}

// TestMux runs many sessions on one connection against servers that do this correctly or not. No request is
// lost, counted twice or left waiting.
func TestMux(t *testing.T) {
	t.Parallel()
	var all subtests
	defer all.Wait()
	const n, window = 33, 16
	withHeader := func(change func(h *header)) func(*fakeServerConn) {
		return startingWith(func(c *fakeServerConn) { // change the second of four replies; later requests use a new connection
			c.Write(c.grantReply(c.readRequest()))
			for i, q := range c.readRequests(4) {
				if i == 1 {
					c.Write(c.grantReply(q, change))
				} else {
					c.Write(c.grantReply(q))
				}
			}
			c.grantAll()
		})
	}
	for _, tt := range []struct {
		name   string
		script func(c *fakeServerConn)
		lines  []string // one kind of request each
		code   exitCode // 0: all granted
		failed [2]int   // minimum and maximum of requests not granted
		error  string   // part of their message
		warned string
		conns  int // 0: any number
	}{
		{name: "correct", script: (*fakeServerConn).grantAll, conns: 1},
		{name: "in reverse order", script: func(c *fakeServerConn) {
			for size := 1; ; size = window {
				list := c.readRequests(size)
				if slices.Reverse(list); list == nil {
					return
				}
				var out []byte
				for _, q := range list {
					out = append(out, c.grantReply(q)...)
				}
				c.Write(out)
			}
		}, conns: 1},
		{name: "twice", script: func(c *fakeServerConn) {
			for q := range c.requests {
				c.Write(append(c.grantReply(q), c.grantReply(q)...))
			}
		}, conns: 1},
		{name: "unknown session first", script: func(c *fakeServerConn) {
			for q := range c.requests {
				c.Write(append(c.grantReply(q, func(h *header) { h.sessionID ^= 1 << 31 }), c.grantReply(q)...))
			}
		}, conns: 1},
		{name: "byte by byte", script: func(c *fakeServerConn) {
			for q := range c.requests {
				for _, b := range c.grantReply(q) {
					c.Write([]byte{b})
				}
			}
		}, conns: 1},
		{name: "in pieces of seven bytes", script: func(c *fakeServerConn) {
			for size := 1; ; size = window {
				var out []byte
				for _, q := range c.readRequests(size) {
					out = append(out, c.grantReply(q)...)
				}
				if out == nil {
					return
				}
				for piece := range slices.Chunk(out, 7) {
					c.Write(piece)
				}
			}
		}, conns: 1},
		{name: "closes in the middle", script: startingWith(func(c *fakeServerConn) {
			c.Write(c.grantReply(c.readRequest()))
			for _, q := range c.readRequests(8)[4:] {
				c.Write(c.grantReply(q))
			}
			c.closeGently()
		}), lines: []string{papLine, authorLine}, conns: 2},
		{name: "closes in the middle of records", script: startingWith(func(c *fakeServerConn) {
			c.Write(c.grantReply(c.readRequest()))
			for _, q := range c.readRequests(8)[4:] {
				c.Write(c.grantReply(q))
			}
			c.closeGently()
		}), lines: []string{acctLine}, code: classNetwork.exit(), failed: [2]int{4, window}, error: "closed the connection before it answered", conns: 2},
		{name: "closes in the middle of a reply", script: startingWith(func(c *fakeServerConn) {
			c.Write(c.grantReply(c.readRequest()))
			c.Write(c.grantReply(c.readRequest())[:20])
			c.closeGently()
		}), lines: []string{papLine, authorLine}, conns: 2},
		{name: "closes every connection after three", script: func(c *fakeServerConn) {
			for range 3 {
				if q := c.readRequest(); q != nil {
					c.Write(c.grantReply(q))
				}
			}
			c.closeGently()
		}, lines: []string{acctLine}, code: classNetwork.exit(), failed: [2]int{0, n - 3}, error: "closed the connection"},
		{name: "closes always", script: func(c *fakeServerConn) { c.readRequest() }, lines: []string{papLine}, code: classNetwork.exit(), failed: [2]int{n, n}, error: "closed the connection"},
		{name: "swallows", script: startingWith((*fakeServerConn).grantFirst), lines: []string{papLine, authorLine}, warned: "does not answer some sessions in single-connection mode; using one connection a session"},
		{name: "swallows records", script: startingWith((*fakeServerConn).grantFirst), lines: []string{acctLine}, code: classNetwork.exit(), failed: [2]int{1, window}, error: "no reply from", warned: "does not answer some sessions"},
		{name: "does not agree", script: func(c *fakeServerConn) {
			c.refuse = true
			c.Write(c.grantReply(c.readRequest()))
			for c.readRequest() != nil {
				panic("a second packet without single-connection mode")
			}
		}, conns: n},
		{name: "wrong key", script: func(c *fakeServerConn) { c.key = "another key, as long as the first"; c.grantAll() },
			code: classProtocol.exit(), failed: [2]int{n, n}, error: "cannot be read with this key"},
		{name: "wrong key in one reply", script: startingWith(func(c *fakeServerConn) {
			c.Write(c.grantReply(c.readRequest()))
			list := c.readRequests(4)
			c.key += "x"
			out := c.grantReply(list[1])
			c.key = testKey
			for _, i := range []int{0, 2, 3} {
				out = append(out, c.grantReply(list[i])...)
			}
			c.Write(out)
			c.grantAll()
		}), code: classProtocol.exit(), failed: [2]int{1, 1}, error: "cannot be read with this key", conns: 2},
		{name: "wrong seq_no", script: withHeader(func(h *header) { h.seqNo += 2 }), code: classProtocol.exit(), failed: [2]int{1, 1}, error: "has seq_no 4, not 2", conns: 2},
		{name: "wrong type", script: withHeader(func(h *header) { h.typ = h.typ%3 + 1 }), code: classProtocol.exit(), failed: [2]int{1, 1}, error: "has type", conns: 2},
		{name: "wrong minor version", script: withHeader(func(h *header) { h.version ^= 1 }), code: classProtocol.exit(), failed: [2]int{1, 1}, error: "has version", conns: 2},
		{name: "UNENCRYPTED", script: withHeader(func(h *header) { h.flags |= flagUnencrypted }), code: classProtocol.exit(), failed: [2]int{1, window}, error: "is not obfuscated", conns: 2},
		{name: "too long", script: withHeader(func(h *header) { h.length = 1 << 30 }), code: classProtocol.exit(), failed: [2]int{1, window}, error: "claims a body of 1073741824 bytes", conns: 2},
		{name: "not TACACS+", script: withHeader(func(h *header) { h.version = 0xb0 }), code: classProtocol.exit(), failed: [2]int{1, window}, error: "is not TACACS+", conns: 2},
	} {
		lines := tt.lines
		if lines == nil {
			lines = []string{papLine, authorLine, acctLine}
		}
		for _, line := range lines {
			all.run(t, strings.HasPrefix(tt.name, "swallows"), tt.name+" "+line[len(`{%s,"command":"`):][:7], func(t *testing.T) {
				timeout := "8s"
				if strings.HasPrefix(tt.name, "swallows") {
					timeout = "2500ms"
				}
				s := startFakeServer(t, tt.script)
				got := runWith(t, secretsInEnv, requests(n, line), "batch", s.addr, "--timeout", timeout)
				if got.code != tt.code || !strings.Contains(got.err, tt.warned) {
					t.Errorf("got %d, want %d and %q: %s", int(got.code), int(tt.code), tt.warned, got.err)
				}
				list := answers(t, got.out)
				if failed := n - checkAnswers(t, list, n); failed < tt.failed[0] || failed > tt.failed[1] {
					t.Errorf("%d not granted, want %v", failed, tt.failed)
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
				if conns := s.connections(); tt.conns > 0 && conns != tt.conns && !waitedLong(list) {
					t.Errorf("%d connections, want %d", conns, tt.conns)
				}
			})
		}
	}
}

// waitedLong reports whether an answer took so long, on a slow machine, that others may have got a second connection.
func waitedLong(list []answer) bool {
	return slices.ContainsFunc(list, func(a answer) bool { return a.Timing["total"] > float64(maxFirstWait.Milliseconds()) })
}

// TestMuxSecondPacketWaits: until the first reply arrives, the client must not send a second packet. RFC 8907
// section 4.3.
func TestMuxSecondPacketWaits(t *testing.T) {
	t.Parallel()
	for _, line := range []string{papLine, authorLine, acctLine} {
		early := make(chan error, 40) // more than one is a failure, not a wait
		s := startFakeServer(t, func(c *fakeServerConn) {
			first := c.readRequest()
			c.SetReadDeadline(time.Now().Add(30 * time.Millisecond))
			_, err := c.in.Peek(1)
			c.SetReadDeadline(time.Time{})
			if c.number == 1 { // a slow machine may need more
				early <- err
			}
			c.Write(c.grantReply(first))
			c.grantAll()
		})
		got := runWith(t, secretsInEnv, requests(40, line), "batch", s.addr)
		if err := <-early; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a second packet or a close before the first reply: %v", err)
		}
		list := answers(t, got.out)
		if n := checkAnswers(t, list, 40); n != 40 || s.connections() != 1 && !waitedLong(list) {
			t.Errorf("%d of 40 granted on %d connections: %s", n, s.connections(), got.err)
		}
	}
}

// A batchDialogue is a batch that stays open: the test sends lines and receives answers.
type batchDialogue struct {
	t         *testing.T
	in        *io.PipeWriter
	out       *json.Decoder
	interrupt context.CancelFunc // as Ctrl-C does
	ended     chan runResult
}

// startBatch runs batch with args.
func startBatch(t *testing.T, args ...string) *batchDialogue {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	in, input := io.Pipe()
	output, out := io.Pipe()
	k := &batchDialogue{t, input, json.NewDecoder(output), cancel, make(chan runResult, 1)}
	var messages lockedBuffer
	go func() {
		code := run(ctx, append([]string{"batch"}, args...), stdio{in: in, out: out, err: &messages, env: func(name string) string { return secretsInEnv[name] }})
		out.Close()
		in.Close()
		k.ended <- runResult{code: code, err: messages.String()}
	}()
	return k
}

// send writes one line.
func (k *batchDialogue) send(line string) {
	k.t.Helper()
	if _, err := io.WriteString(k.in, line+"\n"); err != nil {
		k.t.Fatalf("batch does not read: %v", err)
	}
}

// request sends the request of user un as a line of this kind.
func (k *batchDialogue) request(line string, n int) {
	k.t.Helper()
	k.send(fmt.Sprintf(line, fmt.Sprintf(`"user":"u%d"`, n)))
}

// granted reads one answer, of a request that must be granted.
func (k *batchDialogue) granted() {
	k.t.Helper()
	if a := k.receive(); !a.Granted {
		k.t.Errorf("answer %+v %+v", a, a.Error)
	}
}

// receive reads one answer.
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
		k.t.Errorf("more answers than requests: %v", err)
	}
	return <-k.ended
}

// TestMuxIdleConnectionCloses: a server closes or resets an idle connection. The next request succeeds on a
// new one.
func TestMuxIdleConnectionCloses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		line  string
		reset bool
	}{{papLine, false}, {papLine, true}, {authorLine, false}, {authorLine, true}, {asciiLine, false}} {
		t.Run(fmt.Sprintf("%.7s %t", tt.line[len(`{%s,"command":"`):], tt.reset), func(t *testing.T) {
			t.Parallel()
			done := make(chan struct{})
			s := startFakeServer(t, startingWith(func(c *fakeServerConn) {
				c.Write(c.grantReply(c.readRequest()))
				c.Write(c.grantReply(c.readRequest()))
				<-done
				if tt.reset {
					c.Conn.(*net.TCPConn).SetLinger(0)
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

// TestMuxRequestWhileOthersWait: a request is sent while the connection waits for replies to earlier ones.
func TestMuxRequestWhileOthersWait(t *testing.T) {
	t.Parallel()
	waits := make(chan struct{})
	s := startFakeServer(t, func(c *fakeServerConn) {
		c.Write(c.grantReply(c.readRequest()))
		first := c.readRequests(1)
		close(waits)
		c.Write(append(c.grantReply(c.readRequest()), c.grantReply(first[0])...))
		c.grantAll()
	})
	k := startBatch(t, s.addr, "--timeout", "5")
	for i := range 3 {
		k.request(authorLine, i)
		switch i {
		case 0:
			k.receive()
		case 1:
			<-waits
			time.Sleep(10 * time.Millisecond) // until batch waits for the reply
		}
	}
	for range 2 {
		k.granted()
	}
	if k.end(); s.connections() != 1 || s.asked("u1") != 1 || s.asked("u2") != 1 {
		t.Errorf("%d connections, %d and %d requests", s.connections(), s.asked("u1"), s.asked("u2"))
	}
}

// TestMuxFewBytesOfAnotherService: a reply that is not TACACS+ is reported as that, also if it is shorter
// than a header.
func TestMuxFewBytesOfAnotherService(t *testing.T) {
	t.Parallel()
	s := startFakeServer(t, func(c *fakeServerConn) {
		c.readRequest()
		io.WriteString(c, "hi\n")
	})
	for _, line := range []string{"authenticate alice AT -t pap --json", "batch AT"} {
		got := runWith(t, secretsInEnv, requests(1, papLine), split(line, "AT", s.addr)...)
		if list := answers(t, got.out); len(list) != 1 || list[0].ExitCode != classProtocol.exit() || !strings.Contains(list[0].Error.Message, "begins with 0x68") {
			t.Errorf("%s: got %+v", line, got)
		}
	}
}

// TestMuxFirstReply: a first reply that is cut, or has the wrong session_id, is reported as that, also over TLS.
func TestMuxFirstReply(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(h *header)
		size   int
		code   exitCode
		want   string
	}{
		{"cut in the header", func(*header) {}, 5, 4, "closed the connection in the middle of its reply, after 5 bytes"},
		{"cut after the header", func(*header) {}, headerLen, 4, "closed the connection in the middle of its reply, after 12 bytes"},
		{"cut in the body", func(*header) {}, headerLen + 2, 4, "closed the connection in the middle of its reply, after 14 bytes"},
		{"wrong session_id", func(h *header) { h.sessionID ^= 1 }, headerLen + 6, 5, " has session_id "},
	} {
		secure, file := secureServer(t)
		script := func(c *fakeServerConn) {
			q := c.readRequest()
			c.Write(c.reply(q, &authenReply{status: authenPass}, tt.change)[:tt.size])
		}
		clear, overTLS := startFakeServer(t, script), startFakeServerOn(t, secure, script)
		for _, line := range []string{"authenticate alice tcp://CLEAR -t pap --json", "batch tcp://CLEAR", "authenticate alice tls://TLS -t pap --json --cacert CA", "batch tls://TLS --cacert CA"} {
			env := map[string]string{"TACACS_PLUS_PWD": testPassword}
			if strings.Contains(line, "CLEAR") {
				env["TACACS_PLUS_KEY"] = testKey
			}
			got := runWith(t, env, requests(1, papLine), split(line, "CLEAR", clear.addr, "TLS", overTLS.addr, "CA", file)...)
			if list := answers(t, got.out); len(list) != 1 || list[0].ExitCode != tt.code || !strings.Contains(list[0].Error.Message, tt.want) || list[0].Error.Hint == "" != (tt.code == 4) {
				t.Errorf("%s, %s: got %+v", tt.name, line, got)
			}
		}
	}
}

// TestMuxInterrupted interrupts requests in flight: on one connection, on one each, and before the first
// reply. Each gets its answer, and the exit code is 130.
func TestMuxInterrupted(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		granted int // answered before the interruption
		refuse  bool
		line    string
		waiting int // in flight at the interruption
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
			s := startFakeServer(t, func(c *fakeServerConn) {
				c.refuse = tt.refuse
				for q := range c.requests {
					if c.number == 1 && tt.granted > 0 && q.user == "u0" {
						c.Write(c.grantReply(q))
						continue
					}
					arrived <- struct{}{}
				}
			})
			k := startBatch(t, s.addr)
			go io.WriteString(k.in, requests(40, tt.line))
			for range tt.granted {
				k.granted()
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
				var a answer // of a request that was read but not sent
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

// TestMuxServers: the first servers of the list fail.
func TestMuxServers(t *testing.T) {
	t.Parallel()
	var all subtests
	defer all.Wait()
	good := startFakeServer(t, (*fakeServerConn).grantAll)
	closing := startFakeServer(t, func(c *fakeServerConn) { c.readRequest() }).addr
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
		all.run(t, tt.name == "silent", tt.name, func(t *testing.T) {
			timeout := "10"
			if tt.name == "silent" {
				timeout = "2" // the test waits for it twice
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

// TestMuxOneAtATime: with -c 1 a request starts after the one before has ended. So a login can follow a
// password change.
func TestMuxOneAtATime(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	inFlight, most := 0, 0
	s := startFakeServer(t, func(c *fakeServerConn) {
		for q := range c.requests {
			mu.Lock()
			inFlight++
			most = max(most, inFlight)
			mu.Unlock()
			reply := c.grantReply(q)
			mu.Lock()
			inFlight--
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

// TestMuxManyLargeRequests: requests without a reply have few bytes, so that client and server never block each other by
// writing without reading. Two of these requests reach the limit.
func TestMuxManyLargeRequests(t *testing.T) {
	t.Parallel()
	response := &authorResponse{status: authorPassAdd, args: slices.Repeat([]string{"a=" + long(253)}, 255)}
	s := startFakeServer(t, func(c *fakeServerConn) {
		c.Write(c.reply(c.readRequest(), response))
		unanswered := c.readRequests(2)
		c.SetReadDeadline(time.Now().Add(reactionTime))
		if c.number == 1 && c.readRequest() != nil {
			t.Error("the client sends a third request before the first reply")
		}
		c.SetReadDeadline(time.Time{})
		for _, q := range unanswered {
			c.Write(c.reply(q, response))
		}
		for q := range c.requests {
			c.Write(c.reply(q, response))
		}
	})
	const n = 20
	args := strings.Repeat(`,"x=`+long(250)+`"`, 200)
	in := strings.Repeat(`{"command":"authorize","user":"alice","args":["service=shell","cmd=show"`+args+"]}\n", n)
	got := runWith(t, secretsInEnv, in, "batch", s.addr, "-c", "500", "--timeout", "30")
	if granted := strings.Count(got.out, `"granted":true`); got.code != classGranted.exit() || granted != n {
		t.Errorf("got %d, %d of %d granted: %s", int(got.code), granted, n, got.err)
	}
}

// TestMuxTLS runs batch and bench over TLS: many sessions on one connection, or one connection each if the
// server refuses single-connection mode. Each new connection resumes TLS with a different ticket.
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
	addr := startFakeServer(t, func(client *fakeServerConn) {
		server, err := net.Dial("tcp", s.addr)
		if err != nil {
			return
		}
		defer server.Close()
		go func() { io.Copy(client, server); client.Close() }()
		in := bufio.NewReader(client)
		tickets <- offeredTicket(in)
		io.Copy(server, in)
	}).addr
	got := runWith(t, secretsInEnv, strings.Repeat(`{"command":"authorize","user":"alice"}`+"\n", 5), "batch", addr, "-c", "1", "--tls", "--cacert", ca)
	used := make(map[string]bool)
	for i, a := range answers(t, got.out) {
		ticket := <-tickets
		if !a.Granted || a.TLS == nil || a.TLS.Resumed != (i > 0) || (ticket != "") != (i > 0) || used[ticket] {
			t.Errorf("answer %d: %+v %+v, ticket reused: %t", i, a, a.TLS, used[ticket])
		}
		used[ticket] = true
	}
	if got.code != classGranted.exit() || len(used) != 5 {
		t.Errorf("got %+v with %d tickets", got, len(used))
	}
}

// TestMuxFaults runs many requests against serve's faults of single-connection mode.
func TestMuxFaults(t *testing.T) {
	t.Parallel()
	var all subtests
	defer all.Wait()
	for _, fault := range []string{"single-close", "single-swallow", "single-refused", "header-split"} {
		for _, line := range []string{"bench alice AT -t pap -n 40 --timeout 3 --json", "bench alice AT -n 20 --timeout 3 --json"} {
			all.run(t, fault == "single-swallow", fault+line, func(t *testing.T) {
				s := serveWith(t, "--fault", fault)
				if got := s.ask(t, line); got.code != classGranted.exit() || !strings.Contains(got.out, `"PASS":`+line[strings.Index(line, "-n ")+3:][:2]) {
					t.Errorf("got %+v", got)
				}
			})
		}
	}
}
