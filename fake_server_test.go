package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// listen returns a listener on a free loopback port.
func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { l.Close() })
	return l
}

// checkUntouched requires that no client has connected to l. It connects itself, and must be the first to do
// so.
func checkUntouched(t *testing.T, l net.Listener) {
	t.Helper()
	client, err := net.Dial("tcp", l.Addr().String())
	must(t, err)
	defer client.Close()
	for n := 0; ; n++ {
		conn, err := l.Accept()
		must(t, err)
		conn.Close()
		if conn.RemoteAddr().String() == client.LocalAddr().String() {
			if n > 0 {
				t.Errorf("the server got %d connections", n)
			}
			return
		}
	}
}

// refusedAddr returns an address that refuses connections until the test ends: its port is bound to a socket
// that does not listen.
func refusedAddr(t *testing.T) string {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}}
	conn, err := d.Dial("tcp", listen(t).Addr().String())
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn.LocalAddr().String()
}

// downAddr returns an address that refuses connections until the test listens there. No other test gets it, since a
// connection of it stays open.
func downAddr(t *testing.T) string {
	t.Helper()
	l := listen(t)
	client, err := net.Dial("tcp", l.Addr().String())
	must(t, err)
	t.Cleanup(func() { client.Close() })
	server, err := l.Accept()
	must(t, err)
	t.Cleanup(func() { server.Close() })
	stopListening(t, l)
	return l.Addr().String()
}

// stopListening closes l and waits until it refuses connections: a process that another test forks may still hold the
// socket.
func stopListening(t *testing.T, l net.Listener) {
	t.Helper()
	l.Close()
	waitUntil(t, "nothing listens", func() bool {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
}

// A scriptServer sends one reply to each packet of its first connection and keeps the bodies of the packets.
type scriptServer struct {
	addr   string
	bodies chan []byte
}

// newScriptServer starts a scriptServer.
func newScriptServer(t *testing.T, key string, replies ...message) *scriptServer {
	t.Helper()
	bodies := make(chan []byte, len(replies))
	s := startFakeServer(t, func(c *fakeServerConn) {
		if c.number > 1 {
			return
		}
		c.key = key
		for _, m := range replies {
			h, body, err := c.readPacket(key)
			if err != nil {
				return
			}
			bodies <- body
			c.Write(c.reply(&fakeRequest{header: h}, m, sameFlags(h)))
		}
	})
	return &scriptServer{s.addr, bodies}
}

// received decodes the next packet that the server has read. An ABORT may still be on its way, since the client does not
// wait for a reply to it.
func (s *scriptServer) received(t *testing.T, m message) {
	t.Helper()
	body := await(t, s.bodies, "the server has a packet")
	if err := decode(body, m); err != nil {
		t.Fatalf("the server received %x: %v", body, err)
	}
}

// answered decodes the next packets, which have these answers of a user.
func (s *scriptServer) answered(t *testing.T, answers ...string) {
	t.Helper()
	for _, want := range answers {
		var m authenContinue
		s.received(t, &m)
		equal(t, m.userMsg, want, "the answer")
	}
}

// acctServer reads one record on each connection and performs the next action: one of act, "late " before it
// for a late reply, or "silent" for none. It returns the records that it received.
func acctServer(t *testing.T, actions ...string) (addr string, records <-chan *acctRequest) {
	t.Helper()
	received := make(chan *acctRequest, len(actions))
	s := startFakeServer(t, func(c *fakeServerConn) {
		if c.number > len(actions) {
			return
		}
		action, late := strings.CutPrefix(actions[c.number-1], "late ")
		if late {
			time.Sleep(1100 * time.Millisecond)
		}
		silent := action == "silent"
		if silent {
			action = "close"
		}
		if _, m, err := c.act(action); err == nil {
			received <- m.(*acctRequest)
		}
		if silent {
			c.in.ReadByte()
		}
	})
	return s.addr, received
}

// A fakeServer is a server that a test scripts. It counts the requests that it reads.
type fakeServer struct {
	addr     string
	mu       sync.Mutex
	conns    []net.Conn
	requests map[string]int // by user
}

// startFakeServer starts a fakeServer. It calls script in a goroutine for each connection and closes the
// connection when script returns.
func startFakeServer(t *testing.T, script func(c *fakeServerConn)) *fakeServer {
	t.Helper()
	return startFakeServerOn(t, listen(t), script)
}

// startFakeServerOn starts a fakeServer on l.
func startFakeServerOn(t *testing.T, l net.Listener, script func(c *fakeServerConn)) *fakeServer {
	t.Helper()
	s := &fakeServer{addr: l.Addr().String(), requests: make(map[string]int)}
	var scripts sync.WaitGroup
	scripts.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // the test is over
			}
			s.mu.Lock()
			s.conns = append(s.conns, conn)
			c := &fakeServerConn{Conn: conn, server: s, number: len(s.conns), in: bufio.NewReader(conn), key: testKey}
			s.mu.Unlock()
			scripts.Go(func() {
				defer conn.Close()
				script(c)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		s.mu.Lock()
		for _, conn := range s.conns {
			conn.Close()
		}
		s.mu.Unlock()
		scripts.Wait()
	})
	return s
}

// connections returns the number of connections so far.
func (s *fakeServer) connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// asked returns the number of requests of user so far.
func (s *fakeServer) asked(user string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[user]
}

// A fakeServerConn is one connection of a fakeServer.
type fakeServerConn struct {
	net.Conn
	server *fakeServer
	number int // from 1
	in     *bufio.Reader
	key    string
	refuse bool // no single-connection mode
}

// A fakeRequest is one packet of a client.
type fakeRequest struct {
	header
	message   message
	user      string
	start     authenStart
	continues *authenContinue // nil for the first packet of a session
}

// readPacket reads a packet obfuscated with key.
func (c *fakeServerConn) readPacket(key string) (h header, body []byte, err error) {
	if h, _, err = readHeader(c.in); err != nil {
		return h, nil, err
	}
	if body, err = readBody(c.in, h); err != nil {
		return h, nil, err
	}
	if h.flags&flagUnencrypted == 0 {
		obfuscate(&h, key, body)
	}
	return h, body, nil
}

// readMessage reads and decodes a packet obfuscated with the test key.
func (c *fakeServerConn) readMessage() (*fakeRequest, error) {
	h, body, err := c.readPacket(testKey)
	if err != nil {
		return nil, err
	}
	q := &fakeRequest{header: h}
	switch {
	case h.typ == typeAuthen && h.seqNo > 1:
		q.continues = new(authenContinue)
		q.message = q.continues
		err = decode(body, q.continues)
	case h.typ == typeAuthen:
		q.message = &q.start
		err, q.user = decode(body, &q.start), q.start.user
	case h.typ == typeAuthor:
		m := new(authorRequest)
		q.message = m
		err, q.user = decode(body, m), m.user
	default:
		m := new(acctRequest)
		q.message = m
		err, q.user = decode(body, m), m.user
	}
	if err != nil {
		return nil, err
	}
	c.server.mu.Lock()
	c.server.requests[q.user]++
	c.server.mu.Unlock()
	return q, nil
}

// readRequest reads a packet. It returns nil at the end of the connection.
func (c *fakeServerConn) readRequest() *fakeRequest {
	q, err := c.readMessage()
	if err != nil {
		return nil
	}
	return q
}

// requests reads packets until the end of the connection.
func (c *fakeServerConn) requests(yield func(*fakeRequest) bool) {
	for q := c.readRequest(); q != nil && yield(q); {
		q = c.readRequest()
	}
}

// readRequests reads n packets, or fewer at the end of the connection.
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

// grantReply returns a packet that grants q. Its message is the user, so that a test can check which request
// it belongs to. change can modify the header.
func (c *fakeServerConn) grantReply(q *fakeRequest, change ...func(h *header)) []byte {
	if q == nil {
		return nil
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

// reply returns the packet that replies to q with m. It returns nothing after the end of the connection.
func (c *fakeServerConn) reply(q *fakeRequest, m message, change ...func(h *header)) []byte {
	if q == nil {
		return nil
	}
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
	if q.flags&flagUnencrypted == 0 {
		obfuscate(&h, c.key, packet[headerLen:])
	}
	head := codec{}
	h.layout(&head)
	return append(head.buf, packet[headerLen:]...)
}

// sameFlags returns a change for reply that copies the flags of the request.
func sameFlags(request header) func(h *header) {
	return func(h *header) { h.flags = request.flags }
}

// act reads a packet, performs the action, and returns the packet. Most actions are a reply.
func (c *fakeServerConn) act(action string) (h header, request message, err error) {
	q, err := c.readMessage()
	if err != nil {
		return h, nil, err
	}
	flags := sameFlags(q.header)
	var m message = &authenReply{status: authenPass}
	switch action {
	case "close":
		return q.header, q.message, nil
	case "getpass":
		m = &authenReply{status: authenGetPass, flags: authenNoEcho}
	case "getdata":
		m = &authenReply{status: authenGetData, serverMsg: "Token: "}
	case "restart":
		m = &authenReply{status: authenRestart, data: "\x02"}
	case "restart-refused":
		m = &authenReply{status: authenRestart, data: "\x02"}
		flags = func(h *header) { h.flags = 0 }
	case "add":
		m = &authorResponse{status: authorPassAdd}
	case "success":
		m = &acctReply{status: acctSuccess}
	case "record-error":
		m = &acctReply{status: acctError}
	case "follow":
		m = &acctReply{status: acctFollow}
	}
	packet := c.reply(q, m, flags)
	if action == "half" {
		packet = packet[:5]
	}
	_, err = c.Write(packet)
	return q.header, q.message, err
}

// grantAll grants all requests of a connection. It writes the replies to buffered requests at once.
func (c *fakeServerConn) grantAll() {
	var out []byte
	for q := range c.requests {
		if out = append(out, c.grantReply(q)...); c.in.Buffered() < headerLen {
			c.Write(out)
			out = out[:0]
		}
	}
}

// grantFast grants unobfuscated authorization requests with little work and counts them.
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

// closeGently closes the connection for writing and reads until the client has closed it.
func (c *fakeServerConn) closeGently() {
	c.Conn.(*net.TCPConn).CloseWrite()
	c.readAll()
}

// readAll reads requests and answers none.
func (c *fakeServerConn) readAll() {
	for range c.requests {
	}
}

// grantFirst grants the first request only.
func (c *fakeServerConn) grantFirst() {
	c.Write(c.grantReply(c.readRequest()))
	c.readAll()
}

// startingWith returns a script: the first connection runs first, the others grant all requests.
func startingWith(first func(c *fakeServerConn)) func(c *fakeServerConn) {
	return func(c *fakeServerConn) {
		if c.number == 1 {
			first(c)
		} else {
			c.grantAll()
		}
	}
}

// requests returns n lines for batch, with the users u0, u1 and so on.
func requests(n int, format string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format+"\n", fmt.Sprintf(`"id":%d,"user":"u%d"`, i, i))
	}
	return b.String()
}

// acceptAll starts a server that accepts any user and password, and returns its address.
func acceptAll(t *testing.T) string {
	t.Helper()
	return startFakeServer(t, func(c *fakeServerConn) {
		for q := range c.requests {
			if q.user == "" {
				c.Write(c.reply(q, &authenReply{status: authenGetUser, serverMsg: "Username: "}))
				return
			}
			c.Write(c.grantReply(q))
		}
	}).addr
}
