package main

import (
	"context"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestSharingRenewed: a crew that found shared connections of no use makes way for another after a minute,
// which takes the next session; one that shares stays.
func TestSharingRenewed(t *testing.T) {
	for _, shares := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			l := listen(t)
			l.Close()
			s := newSharing(&client{servers: []server{newServer("127.0.0.1", addrPortOf(l.Addr()).Port())}, timeout: time.Second, singleConnect: shares}, func(string, ...any) {})
			ctx, cancel := context.WithCancel(t.Context())
			gone, ended := make(chan struct{}), make(chan struct{})
			go func() { s.run(ctx, gone); close(ended) }()
			synctest.Wait()
			first := s.team.Load()
			time.Sleep(teamAge)
			first.bell.ring()
			if synctest.Wait(); s.team.Load() != first {
				t.Errorf("shares %t: another crew within a minute", shares)
			}
			time.Sleep(time.Nanosecond)
			if shares {
				first.bell.ring()
			} else {
				home := make(chan *forwarded, 1)
				f := &forwarded{home: home, head: header{typ: typeAcct, version: minorDefault, seqNo: 1}, message: new(acctRequest)}
				f.job = job{request: f, owner: f}
				s.put(f)
				if <-home; classOf(f.job.err) != classNetwork {
					t.Errorf("the session came to %v", f.job.err)
				}
			}
			if synctest.Wait(); (s.team.Load() == first) != shares {
				t.Errorf("shares %t: the crew is the first: %t", shares, s.team.Load() == first)
			}
			cancel()
			close(gone)
			<-ended
		})
	}
}

// TestRelayDialogueOfOneGone: a dialogue whose server answers when the device has gone ends at once, and leaves
// nothing behind.
func TestRelayDialogueOfOneGone(t *testing.T) {
	t.Parallel()
	left := make(chan bool, 1)
	server := handWritten(t, func(c *wire) {
		c.Write(c.reply(c.next(), &authenReply{status: authenGetPass}))
		left <- c.next() == nil
	})
	d, c, lines := pipedDevice(t, new(relayServer))
	d.client = clientFor(t, server.addr)
	go io.Copy(io.Discard, c) // a device that has gone takes what is sent to it for some time
	s := &sharer{device: d, dialogues: make(map[uint32]*passage), gone: true}
	h, start := header{version: minorDefault, typ: typeAuthen, seqNo: 1, sessionID: 1}, asciiStart("alice")
	packet, err := appendPacket(nil, &h, start)
	if err != nil {
		t.Fatal(err)
	}
	s.converse(&h, start, packet)
	ended := make(chan struct{})
	go func() { s.waitsFor.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(patience):
		t.Fatal("the dialogue does not end")
	}
	if !<-left || len(s.dialogues) > 0 || !strings.Contains(lines.String(), " alice authenticate ascii ABANDONED") {
		t.Errorf("%d dialogues are left, and the lines are\n%s", len(s.dialogues), lines)
	}
}
