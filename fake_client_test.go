package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"reflect"
	"testing"
	"time"
)

// A fakeClient is one end of a connection, on which a test reads and writes packets.
type fakeClient struct {
	net.Conn
	in   *bufio.Reader
	key  string
	sent map[uint32]uint8 // packets of each session of a fakeExchange, in both directions
}

func newFakeClient(conn net.Conn) *fakeClient {
	conn.SetDeadline(time.Now().Add(patience))
	return &fakeClient{conn, bufio.NewReader(conn), testKey, make(map[uint32]uint8)}
}

// dialFakeClient connects to addr.
func dialFakeClient(t testing.TB, addr string) *fakeClient {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	return newFakeClient(conn)
}

// send writes one packet.
func (c *fakeClient) send(h header, m message) error {
	_, err := c.Write(packed(h, c.key, m))
	return err
}

// receive reads one packet into m.
func (c *fakeClient) receive(m message) (header, error) {
	h, _, err := readHeader(c.in)
	if err != nil {
		return h, err
	}
	body, err := readBody(c.in, h)
	if err != nil {
		return h, err
	}
	if h.flags&flagUnencrypted == 0 {
		obfuscate(&h, c.key, body)
	}
	return h, decode(body, m)
}

// receives reads the reply to an authentication and checks its status.
func (c *fakeClient) receives(t testing.TB, want authenStatus) {
	t.Helper()
	var reply authenReply
	if h, err := c.receive(&reply); err != nil || reply.status != want {
		t.Errorf("got the reply %+v %+v, %v, want %s", h, reply, err, want)
	}
}

// login runs one login in a session.
func (c *fakeClient) login(session uint32, flags headerFlags) error {
	h := header{version: minorOne, typ: typeAuthen, seqNo: 1, flags: flags, sessionID: session}
	if err := c.send(h, papStart("alice", testPassword)); err != nil {
		return err
	}
	var reply authenReply
	h, err := c.receive(&reply)
	if err != nil || h.sessionID != session || h.seqNo != 2 || h.flags != flags || reply.status != authenPass {
		return fmt.Errorf("login: %+v %+v %w", h, reply, err)
	}
	return nil
}

// checkEnd requires that the other side closes the connection without sending another byte.
func (c *fakeClient) checkEnd(t testing.TB) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(idleTimeout / 2)) // it does not just time out
	if b, err := io.ReadAll(c.in); len(b) > 0 || err != nil && !isClosed(err) {
		t.Errorf("the connection is not closed: %x, %v", b, err)
	}
}

// packed returns a packet as bytes, obfuscated unless h has the UNENCRYPTED flag.
func packed(h header, key string, m message) []byte {
	packet, err := appendPacket(nil, &h, m)
	if err != nil {
		panic(err)
	}
	if h.flags&flagUnencrypted == 0 {
		obfuscate(&h, key, packet[headerLen:])
	}
	return packet
}

func papStart(user, password string) *authenStart {
	return &authenStart{action: authenLogin, commonFields: commonFields{privLvl: 1, typ: authenPAP, service: authenServiceLogin, user: user, port: "tty1", remAddr: "192.0.2.7"}, data: password}
}

func asciiStart(user string) *authenStart {
	return &authenStart{action: authenLogin, commonFields: commonFields{privLvl: 1, typ: authenASCII, service: authenServiceLogin, user: user, port: "tty1"}}
}

func answerWith(text string) *authenContinue { return &authenContinue{userMsg: text} }

// A fakeExchange is a packet to the server and its expected reply.
type fakeExchange struct {
	session uint32
	send    message
	want    message // nil for no reply
	version version // of the packet; 0 for the default of its type
}

// run sends the message with the session's next sequence number and checks the reply.
func (x fakeExchange) run(t *testing.T, c *fakeClient, flags headerFlags) {
	t.Helper()
	h := header{version: x.version, typ: typeAuthen, flags: flags, sessionID: x.session}
	minor := minorDefault
	switch m := x.send.(type) {
	case *authenStart:
		minor = m.typ.minor()
	case *authenContinue:
		h.seqNo = max(2, c.sent[x.session]) // also without a START
	case *authorRequest:
		h.typ = typeAuthor
	case *acctRequest:
		h.typ = typeAcct
	}
	if h.version == 0 {
		h.version = minor
	}
	c.sent[x.session] = h.seqNo + 2
	h.seqNo++
	if err := c.send(h, x.send); err != nil {
		t.Fatalf("%+v: %v", x.send, err)
	}
	if x.want == nil {
		return
	}
	got := fresh(x.want)
	replyHeader, err := c.receive(got)
	if err != nil || !reflect.DeepEqual(got, x.want) {
		t.Fatalf("%+v\ngot  %+v, %v\nwant %+v", x.send, got, err, x.want)
	}
	replyHeader.length, h.seqNo = 0, h.seqNo+1
	if replyHeader != h {
		t.Fatalf("%+v\ngot  header %+v\nwant header %+v", x.send, replyHeader, h)
	}
}
