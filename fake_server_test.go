package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// checkUntouched makes a connection of its own to l, which nobody else accepts from: it must be
// the first one there.
func checkUntouched(t *testing.T, l net.Listener) {
	t.Helper()
	own, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	for n := 0; ; n++ {
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		if conn.RemoteAddr().String() == own.LocalAddr().String() {
			if n > 0 {
				t.Errorf("the server was asked: %d connections", n)
			}
			return
		}
	}
}

// refusedAddr is an address that refuses every connection until the test ends: the port is bound
// by a socket that does not listen.
func refusedAddr(t *testing.T) string {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}}
	held, err := d.Dial("tcp", listen(t).Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { held.Close() })
	return held.LocalAddr().String()
}

// A scriptServer answers the packets of one connection, each with the next of its replies, and
// keeps what it was sent.
type scriptServer struct {
	addr   string
	bodies chan []byte
}

func newScriptServer(t *testing.T, key string, replies ...message) *scriptServer {
	t.Helper()
	l := listen(t)
	s := &scriptServer{l.Addr().String(), make(chan []byte, len(replies))}
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return // the test is over
		}
		defer conn.Close()
		for _, reply := range replies {
			h, _, err := readHeader(conn)
			if err != nil {
				return
			}
			body, err := readBody(conn, h)
			if err != nil {
				return
			}
			obfuscate(&h, key, body)
			s.bodies <- body
			h.seqNo++
			packet, err := appendPacket(nil, &h, reply)
			if err != nil {
				panic(err)
			}
			obfuscate(&h, key, packet[headerLen:])
			conn.Write(packet)
		}
	}()
	return s
}

// received decodes into m the next message that the server was sent and has answered.
func (s *scriptServer) received(t *testing.T, m message) {
	t.Helper()
	select {
	case body := <-s.bodies:
		if err := decode(body, m); err != nil {
			t.Fatalf("the server received %x: %v", body, err)
		}
	default:
		t.Fatal("the server received no packet")
	}
}

// serveByHand gives every connection to a function, with its number, and counts them.
func serveByHand(t *testing.T, l net.Listener, serve func(n int, c *fakeClient)) *atomic.Int32 {
	t.Helper()
	count := new(atomic.Int32)
	var all sync.WaitGroup
	t.Cleanup(func() { l.Close(); all.Wait() })
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // the test is over
			}
			n := int(count.Add(1)) - 1
			all.Go(func() {
				defer conn.Close()
				serve(n, newFakeClient(conn))
			})
		}
	})
	return count
}

// act reads a packet and does what the word says with it; what it read is returned.
func (c *fakeClient) act(word string) (h header, request message, err error) {
	if h, _, err = readHeader(c.in); err != nil {
		return h, nil, err
	}
	body, err := readBody(c.in, h)
	if err != nil {
		return h, nil, err
	}
	obfuscate(&h, c.key, body)
	request = map[packetType]message{typeAuthen: new(authenStart), typeAuthor: new(authorRequest), typeAcct: new(acctRequest)}[h.typ]
	if h.typ == typeAuthen && h.seqNo > 1 {
		request = new(authenContinue)
	}
	if err = decode(body, request); err != nil {
		return h, request, err
	}
	reply := h
	reply.seqNo++
	var answer message = &authenReply{status: authenPass}
	switch word {
	case "close":
		return h, request, nil
	case "getpass":
		answer = &authenReply{status: authenGetPass, flags: authenNoEcho}
	case "getdata":
		answer = &authenReply{status: authenGetData, serverMsg: "Token: "}
	case "restart", "restart-refused":
		answer = &authenReply{status: authenRestart, data: "\x02"}
	case "add":
		answer = &authorResponse{status: authorPassAdd}
	case "success":
		answer = &acctReply{status: acctSuccess}
	case "follow":
		answer = &acctReply{status: acctFollow}
	}
	if word == "restart-refused" {
		reply.flags = 0
	}
	packet := packed(reply, c.key, answer)
	if word == "half" {
		packet = packet[:5]
	}
	_, err = c.Write(packet)
	return h, request, err
}

// acctServer takes a record on each connection, does what the next word says (see act, and late, or
// silent, in place of an answer), and gives what it was sent.
func acctServer(t *testing.T, words ...string) (addr string, records <-chan *acctRequest) {
	t.Helper()
	l, sent := listen(t), make(chan *acctRequest, len(words))
	serveByHand(t, l, func(n int, c *fakeClient) {
		if n >= len(words) {
			return
		}
		word, late := strings.CutPrefix(words[n], "late ")
		if late {
			time.Sleep(1100 * time.Millisecond)
		}
		silent := word == "silent"
		if silent {
			word = "close"
		}
		if _, request, err := c.act(word); err == nil {
			sent <- request.(*acctRequest)
		}
		if silent {
			_, _ = c.in.ReadByte()
		}
	})
	return l.Addr().String(), sent
}

// A handServer is a server written by hand: a function for each of its connections. It counts
// what it reads, so that nothing can be asked twice in secret.
type fakeServer struct {
	addr string
	mu   sync.Mutex
	ends []net.Conn
	seen map[string]int // requests, by user
}

// handWritten starts one; script runs once for every connection, in a goroutine of its own, and
// the connection closes when it returns.
func startFakeServer(t *testing.T, script func(c *fakeServerConn)) *fakeServer {
	t.Helper()
	l := listen(t)
	s := &fakeServer{addr: l.Addr().String(), seen: make(map[string]int)}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // the test is over
			}
			s.mu.Lock()
			s.ends = append(s.ends, conn)
			c := &fakeServerConn{TCPConn: conn.(*net.TCPConn), server: s, number: len(s.ends), in: bufio.NewReader(conn), key: testKey}
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
func (s *fakeServer) connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.ends)
}

// asked is how often a request of that user was read.
func (s *fakeServer) asked(user string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen[user]
}

// A wire is one connection of a handServer.
type fakeServerConn struct {
	*net.TCPConn
	server *fakeServer
	number int // 1 is the first
	in     *bufio.Reader
	key    string
	refuse bool // single-connection mode
}

// An asked is one packet that a client sent, and who it is about.
type fakeRequest struct {
	header
	user      string
	start     authenStart
	continues *authenContinue // nil for the first packet of a session
}

// next reads a packet; nil is the end of the connection.
func (c *fakeServerConn) readRequest() *fakeRequest {
	h, _, err := readHeader(c.in)
	if err != nil {
		return nil
	}
	body, err := readBody(c.in, h)
	if err != nil {
		return nil
	}
	obfuscate(&h, testKey, body)
	q := &fakeRequest{header: h}
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
func (c *fakeServerConn) readRequests(n int) (list []*fakeRequest) {
	for range n {
		q := c.readRequest()
		if q == nil {
			break
		}
		list = append(list, q)
	}
	return list
}

// grant is the reply that grants q, with the user's name as its message, which proves whose
// answer it is. change spoils the bytes of the header and the body in clear.
func (c *fakeServerConn) grantReply(q *fakeRequest, change ...func(h *header)) []byte {
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
func (c *fakeServerConn) reply(q *fakeRequest, m message, change ...func(h *header)) []byte {
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
func (c *fakeServerConn) grantAll() {
	var out []byte
	for q := c.readRequest(); q != nil; q = c.readRequest() {
		if out = append(out, c.grantReply(q)...); c.in.Buffered() < headerLen {
			c.Write(out)
			out = out[:0]
		}
	}
}

// race grants requests for authorization as fast as it can, in clear, and counts them.
func (c *fakeServerConn) grantFast(m *inFlightMeter) {
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
func (c *fakeServerConn) closeGently() {
	c.CloseWrite()
	for c.readRequest() != nil {
	}
}

// behaving is a script: the first connection as first does it, the others as they should.
func startingWith(first func(c *fakeServerConn)) func(c *fakeServerConn) {
	return func(c *fakeServerConn) {
		if c.number == 1 {
			first(c)
		} else {
			c.grantAll()
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

// acceptAll is a server that lets anybody in, whatever the password.
func acceptAll(t *testing.T) string {
	t.Helper()
	return startFakeServer(t, func(c *fakeServerConn) {
		for q := c.readRequest(); q != nil; q = c.readRequest() {
			if q.user == "" {
				c.Write(c.reply(q, &authenReply{status: authenGetUser, serverMsg: "Username: "}))
				return
			}
			c.Write(c.grantReply(q))
		}
	}).addr
}
