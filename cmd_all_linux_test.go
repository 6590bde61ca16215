package main

import (
	"strings"
	"testing"
)

// TestAllAtATerminal: the person types each secret once, before anything is sent, and sees no prompt of a server.
func TestAllAtATerminal(t *testing.T) {
	t.Parallel()
	good := serveWith(t).addr
	token := startFakeServer(t, func(c *fakeServerConn) {
		for q := c.readRequest(); q != nil; q = c.readRequest() {
			if q.continues == nil {
				c.Write(c.reply(q, &authenReply{status: authenGetData, serverMsg: "Token: "}))
			}
		}
	})
	s := runAt(t, "authenticate alice "+good+","+token.addr+" --all")
	s.asked(t, "tacacs+ secret: ", false, testKey+"\n")
	readUntil(t, s.stderr, "password for alice: ")
	if n := token.connections(); n != 0 {
		t.Errorf("%d connections before the password is typed", n)
	}
	s.types(t, testPassword+"\n")
	s.ends(t, classDenied.exit(), good+": PASS\n"+token.addr+": GETDATA: Token:\n", "")
	if got := readUntil(t, s.stderr, "--answer"); !strings.Contains(got, "no answer left for the prompt") || strings.Contains(got, "Token: \n") {
		t.Errorf("it says %q", got)
	}
}
