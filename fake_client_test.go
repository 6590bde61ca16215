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

// A handConn is one end of a connection that a test speaks the protocol over by hand.
type fakeClient struct {
	net.Conn
	in  *bufio.Reader
	key string
}

func newFakeClient(conn net.Conn) *fakeClient {
	conn.SetDeadline(time.Now().Add(patience))
	return &fakeClient{conn, bufio.NewReader(conn), testKey}
}

// dialHand connects by hand.
func dialFakeClient(t testing.TB, addr string) *fakeClient {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
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

// login is one whole login in a session.
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

// checkEnd demands that the other side closes, without another byte.
func (c *fakeClient) checkEnd(t testing.TB) {
	t.Helper()
	if b, err := io.ReadAll(c.in); len(b) > 0 || err != nil && !isClosed(err) {
		t.Errorf("the connection does not end: %x, %v", b, err)
	}
}

// packed is a packet as bytes, obfuscated unless h has the flag.
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

func says(text string) *authenContinue { return &authenContinue{userMsg: text} }

// A turn is a message to the server, and the reply; nil where none follows.
type fakeExchange struct {
	session uint32
	say     message
	want    message
	version version // of the packet; zero for the right one
}

// take says the turn's message with the session's next number, and checks the reply.
func (tn fakeExchange) do(t *testing.T, c *fakeClient, numbers map[uint32]uint8, flags headerFlags) {
	t.Helper()
	h := header{version: tn.version, typ: typeAuthen, flags: flags, sessionID: tn.session}
	right := minorDefault
	switch m := tn.say.(type) {
	case *authenStart:
		right = m.typ.minor()
		numbers[tn.session] = 0
	case *authenContinue:
		numbers[tn.session] = max(2, numbers[tn.session]) // also where there was no START
	case *authorRequest:
		h.typ = typeAuthor
	case *acctRequest:
		h.typ = typeAcct
	}
	if h.version == 0 {
		h.version = right
	}
	h.seqNo = numbers[tn.session] + 1
	numbers[tn.session] += 2
	if err := c.send(h, tn.say); err != nil {
		t.Fatalf("%+v: %v", tn.say, err)
	}
	if tn.want == nil {
		return
	}
	got := fresh(tn.want)
	answered, err := c.receive(got)
	if err != nil || !reflect.DeepEqual(got, tn.want) {
		t.Fatalf("%+v\nis answered with %+v, %v\nnot with %+v", tn.say, got, err, tn.want)
	}
	answered.length, h.seqNo = 0, h.seqNo+1
	if answered != h {
		t.Fatalf("%+v\nis answered with the header %+v\nnot %+v", tn.say, answered, h)
	}
}
