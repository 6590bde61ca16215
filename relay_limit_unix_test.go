//go:build unix

package main

import (
	"strings"
	"testing"
)

// TestRelayFewDescriptors: the dialogues and connections of one device do not use up the descriptors of the process: another
// device logs in at once.
func TestRelayFewDescriptors(t *testing.T) {
	t.Parallel()
	s := startFakeServer(t, func(c *fakeServerConn) {
		for q := c.readRequest(); q != nil; q = c.readRequest() {
			if q.user == "greedy" {
				c.Write(c.reply(q, &authenReply{status: authenGetPass}))
			} else {
				c.Write(c.grantReply(q))
			}
		}
	})
	for _, mode := range relayModes {
		limited := []string{"sh", "-c", `ulimit -n 128 && exec "$0" "$@"`, buildBinary(t)}
		p := startProcess(t, "", nil, append(limited, split("relay "+s.addr+" --listen 127.0.0.1:0 "+mode)...)...)
		waitUntil(t, "relay listens", func() bool { return listening().MatchString(p.err.String()) })
		if want := "warning: 128 open files (ulimit -n) allow only 32 connections and 48 sessions"; !strings.Contains(p.err.String(), want) {
			t.Errorf("stderr is\n%s", p.err.String())
		}
		r := &testServer{addr: listening().FindStringSubmatch(p.err.String())[1]}
		greedy := dialFakeClient(t, r.addr)
		refused := 0
		for id := range uint32(100) {
			if err := greedy.send(header{version: minorDefault, typ: typeAuthen, seqNo: 1, flags: flagSingleConnect, sessionID: id}, asciiStart("greedy")); err != nil {
				t.Fatal(err)
			}
			var reply authenReply
			if _, err := greedy.receive(&reply); err != nil {
				t.Fatal(id, err, p.out.String())
			}
			if reply.status == authenError {
				refused++
			}
		}
		for range 40 {
			dialFakeClient(t, r.addr)
		}
		other := dialSecondDevice(t, r)
		other.key = testKey
		if err := other.login(1, 0); err != nil || refused != 100-36 {
			t.Errorf("%s: %d dialogues refused; the other device gets %v\n%s", mode, refused, err, p.out.String())
		}
	}
}
