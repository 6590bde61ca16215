package main

import (
	"context"
	"io"
	"net/netip"
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
			refused := netip.MustParseAddrPort(refusedAddr(t))
			s := newSharing(&client{servers: []server{newServer("127.0.0.1", refused.Port())}, timeout: time.Second, singleConnect: shares}, func(string, ...any) {})
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

// TestRelayLoneDialogue: a dialogue has a connection of its own, which is not offered for more sessions and ends
// with it; to the device single-connection mode is granted all the same.
func TestRelayLoneDialogue(t *testing.T) {
	t.Parallel()
	offered, left := make(chan headerFlags, 1), make(chan bool, 1)
	askPass := &authenReply{status: authenGetPass, flags: authenNoEcho, serverMsg: "Password: "}
	s := handWritten(t, func(c *wire) {
		q := c.next()
		offered <- q.flags
		c.Write(c.reply(q, askPass))
		c.Write(c.reply(c.next(), &authenReply{status: authenPass}))
		left <- c.next() == nil
	})
	r := relayTo(t, s.addr, "--single-connect")
	c, numbers := dialDevice(t, r), make(map[uint32]uint8)
	turn{1, asciiStart("alice"), askPass, 0}.take(t, c, numbers, flagSingleConnect)
	turn{1, says(testPassword), &authenReply{status: authenPass}, 0}.take(t, c, numbers, flagSingleConnect)
	select {
	case <-left:
	case <-time.After(patience):
		t.Error("the connection does not end")
	}
	if flags := <-offered; flags != 0 {
		t.Errorf("the flags of the START are %v", flags)
	}
}
