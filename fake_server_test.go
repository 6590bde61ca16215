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

// listen returns a listener on a free loopback port.
func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// checkUntouched requires that no client has connected to l. It connects itself, and must be the first to do
// so.
func checkUntouched(t *testing.T, l net.Listener) {
	t.Helper()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for n := 0; ; n++ {
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
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
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.LocalAddr().String()
}

// A scriptServer sends one reply to each packet of its only connection and keeps the bodies of the packets.
type scriptServer struct {
	addr   string
	bodies chan []byte
}

// newScriptServer starts a scriptServer.
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

// received decodes the next packet that the server has replied to.
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

// serveByHand calls serve for each connection, numbered from 0, and returns the number of connections.
func serveByHand(t *testing.T, l net.Listener, serve func(n int, c *fakeClient)) *atomic.Int32 {
	t.Helper()
	count := new(atomic.Int32)
	var scripts sync.WaitGroup
	t.Cleanup(func() { l.Close(); scripts.Wait() })
	scripts.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // the test is over
			}
			n := int(count.Add(1)) - 1
			scripts.Go(func() {
				defer conn.Close()
				serve(n, newFakeClient(conn))
			})
		}
	})
	return count
}

// act reads a packet, performs the action, and returns the packet. Most actions are a reply.
func (c *fakeClient) act(action string) (h header, request message, err error) {
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
	switch action {
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
	if action == "restart-refused" {
		reply.flags = 0
	}
	packet := packed(reply, c.key, answer)
	if action == "half" {
		packet = packet[:5]
	}
	_, err = c.Write(packet)
	return h, request, err
}

// acctServer reads one record on each connection and performs the next action: one of act, "late " before it
// for a late reply, or "silent" for none. It returns the records that it received.
func acctServer(t *testing.T, actions ...string) (addr string, records <-chan *acctRequest) {
	t.Helper()
	l, received := listen(t), make(chan *acctRequest, len(actions))
	serveByHand(t, l, func(n int, c *fakeClient) {
		if n >= len(actions) {
			return
		}
		action, late := strings.CutPrefix(actions[n], "late ")
		if late {
			time.Sleep(1100 * time.Millisecond)
		}
		silent := action == "silent"
		if silent {
			action = "close"
		}
		if _, request, err := c.act(action); err == nil {
			received <- request.(*acctRequest)
		}
		if silent {
			_, _ = c.in.ReadByte()
		}
	})
	return l.Addr().String(), received
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
	l := listen(t)
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
			c := &fakeServerConn{TCPConn: conn.(*net.TCPConn), server: s, number: len(s.conns), in: bufio.NewReader(conn), key: testKey}
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
	*net.TCPConn
	server *fakeServer
	number int // from 1
	in     *bufio.Reader
	key    string
	refuse bool // no single-connection mode
}

// A fakeRequest is one packet of a client.
type fakeRequest struct {
	header
	user      string
	start     authenStart
	continues *authenContinue // nil for the first packet of a session
}

// readRequest reads a packet. It returns nil at the end of the connection.
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
	c.server.requests[q.user]++
	c.server.mu.Unlock()
	return q
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
		return nil // the client has closed the connection
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

// reply returns the packet that replies to q with m.
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

// grantAll grants all requests of a connection. It writes the replies to buffered requests at once.
func (c *fakeServerConn) grantAll() {
	var out []byte
	for q := c.readRequest(); q != nil; q = c.readRequest() {
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
	c.CloseWrite()
	for c.readRequest() != nil {
	}
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
		for q := c.readRequest(); q != nil; q = c.readRequest() {
			if q.user == "" {
				c.Write(c.reply(q, &authenReply{status: authenGetUser, serverMsg: "Username: "}))
				return
			}
			c.Write(c.grantReply(q))
		}
	}).addr
}
