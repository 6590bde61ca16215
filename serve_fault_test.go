package main

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// TestServeSingleConnectFaults: the first session of the connection succeeds, the second does not.
func TestServeSingleConnectFaults(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		fault string
		asks  bool // it still reads what is asked
	}{{"single-close", false}, {"single-swallow", true}} {
		s := serveWith(t, "--fault", tt.fault)
		c := dialFakeClient(t, s.addr)
		fakeExchange{1, asciiStart("alice"), &authenReply{status: authenGetPass, flags: authenNoEcho, serverMsg: "Password: "}, 0}.do(t, c, make(map[uint32]uint8), flagSingleConnect)
		h := header{version: minorDefault, typ: typeAuthen, seqNo: 3, flags: flagSingleConnect, sessionID: 1}
		if err := c.send(h, says(testPassword)); err != nil {
			t.Fatal(err)
		}
		if h, err := c.receive(new(authenReply)); err != nil || h.flags != flagSingleConnect {
			t.Errorf("%s: the first session is answered with %+v, %v", tt.fault, h, err)
		}
		if tt.asks {
			fakeExchange{2, papStart("alice", testPassword), nil, 0}.do(t, c, make(map[uint32]uint8), flagSingleConnect)
			c.Conn.(*net.TCPConn).CloseWrite()
		}
		c.checkEnd(t)
		if got := s.lines(t); got != "alice authenticate ascii PASS\n" {
			t.Errorf("%s: the lines are\n%s", tt.fault, got)
		}
	}
}

// TestServeFaultOnce: the reply that the fault's message replaced follows it.
func TestServeFaultOnce(t *testing.T) {
	t.Parallel()
	c := dialFakeClient(t, serveWith(t, "--fault", "getdata").addr)
	numbers := make(map[uint32]uint8)
	for _, tn := range []fakeExchange{
		{1, asciiStart("alice"), &authenReply{status: authenGetData, flags: authenNoEcho, serverMsg: "Token: "}, 0},
		{1, says("123456"), &authenReply{status: authenGetPass, flags: authenNoEcho, serverMsg: "Password: "}, 0},
		{1, says(testPassword), &authenReply{status: authenPass}, 0},
	} {
		tn.do(t, c, numbers, 0)
	}
}

// TestServeFaultHelp: every fault is listed once, with its help.
func TestServeFaultHelp(t *testing.T) {
	t.Parallel()
	got := runWith(t, nil, "", "serve", "--fault", "help")
	if got.code != classGranted.exit() || got.err != "" || strings.Count(got.out, "\n") != len(faults()) {
		t.Fatalf("%+v", got)
	}
	for _, f := range faults() {
		if f.help == "" || strings.Count("\n"+got.out, "\n"+f.name+" ") != 1 || !strings.Contains(got.out, " "+f.help+"\n") {
			t.Errorf("%s is not there, or twice, or without its help", f.name)
		}
	}
}

// TestServeFaultStays: with a fault that stops replies the connection stays open, for every request.
func TestServeFaultStays(t *testing.T) {
	t.Parallel()
	for fault, data := range map[string]int{"silent": 0, "body-stall": headerLen + 3} {
		s := serveWith(t, "--fault", fault)
		for typ, m := range map[packetType]message{typeAuthen: papStart("alice", testPassword),
			typeAuthor: &authorRequest{commonFields: commonFields{user: "alice"}, args: []string{"service=shell", "cmd="}},
			typeAcct:   &acctRequest{flags: acctStop, commonFields: commonFields{user: "alice"}, args: []string{"task_id=1"}}} {
			c := dialFakeClient(t, s.addr)
			lines := strings.Count(s.log.String(), "\n")
			if err := c.send(header{version: minorOne, typ: typ, seqNo: 1}, m); err != nil {
				t.Fatal(err)
			}
			waitUntil(t, "the session has its line", func() bool { return strings.Count(s.log.String(), "\n") > lines })
			c.SetDeadline(time.Now().Add(100 * time.Millisecond))
			if b, err := io.ReadAll(c); len(b) != data || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s, %s: %x, %v", fault, typ, b, err)
			}
		}
	}
}
