package main

import (
	"context"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestRelaySharedPoolRenewed: a pool that gave up multiplexing is replaced after a minute, and the new one takes the
// next session. One that multiplexes stays.
func TestRelaySharedPoolRenewed(t *testing.T) {
	for _, shares := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			refused := netip.MustParseAddrPort(refusedAddr(t))
			s := newSharedUpstream(&client{servers: []server{newServer("127.0.0.1", refused.Port())}, timeout: time.Second, singleConnect: shares}, func(string, ...any) {})
			ctx, cancel := context.WithCancel(t.Context())
			gone, ended := make(chan struct{}), make(chan struct{})
			go func() { s.run(ctx, gone); close(ended) }()
			synctest.Wait()
			first := s.team.Load()
			time.Sleep(teamAge)
			first.wakeup.notify()
			if synctest.Wait(); s.team.Load() != first {
				t.Errorf("shares %t: another pool within a minute", shares)
			}
			time.Sleep(time.Nanosecond)
			if shares {
				first.wakeup.notify()
			} else {
				home := make(chan *relayRequest, 1)
				f := &relayRequest{home: home, head: header{typ: typeAcct, version: minorDefault, seqNo: 1}, message: new(acctRequest)}
				f.job = job{request: f, owner: f}
				s.put(f)
				if <-home; classOf(f.job.err) != classNetwork {
					t.Errorf("the session came to %v", f.job.err)
				}
			}
			if synctest.Wait(); (s.team.Load() == first) != shares {
				t.Errorf("shares %t: the pool is the first: %t", shares, s.team.Load() == first)
			}
			cancel()
			synctest.Wait()
			home := make(chan *relayRequest, 1)
			f := &relayRequest{home: home}
			s.put(f)
			if <-home; classOf(f.job.err) != classInterrupted {
				t.Errorf("a session that comes late came to %v", f.job.err)
			}
			close(gone)
			<-ended
		})
	}
}

// TestRelayDialogueOfOneGone: a dialogue whose server replies after the device has gone ends at once, and nothing is
// left.
func TestRelayDialogueOfOneGone(t *testing.T) {
	t.Parallel()
	left := make(chan bool, 1)
	server := startFakeServer(t, func(c *fakeServerConn) {
		c.Write(c.reply(c.readRequest(), &authenReply{status: authenGetPass}))
		left <- c.readRequest() == nil
	})
	d, c, lines := pipedDevice(t, new(relayServer))
	d.relay.client = clientFor(t, server.addr)
	go io.Copy(io.Discard, c) // a device that has gone takes what is sent to it for some time
	s := &sharedDevice{device: d, dialogues: make(map[uint32]*upstream), gone: true}
	h, start := header{version: minorDefault, typ: typeAuthen, seqNo: 1, sessionID: 1}, asciiStart("alice")
	packet, err := appendPacket(nil, &h, start)
	if err != nil {
		t.Fatal(err)
	}
	s.startDialogue(t.Context(), &h, start, packet)
	ended := make(chan struct{})
	go func() { s.dialoguesRunning.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(patience):
		t.Fatal("the dialogue does not end")
	}
	if !<-left || len(s.dialogues) > 0 || !strings.Contains(lines.String(), " alice authenticate ascii ABANDONED") {
		t.Errorf("%d dialogues are left, and the lines are\n%s", len(s.dialogues), lines)
	}
}

// TestRelayLoneDialogue: a dialogue has its own connection, which does not offer single-connection mode and ends with
// it. The device is granted that mode all the same.
func TestRelayLoneDialogue(t *testing.T) {
	t.Parallel()
	offered, left := make(chan headerFlags, 1), make(chan bool, 1)
	askPass := &authenReply{status: authenGetPass, flags: authenNoEcho, serverMsg: "Password: "}
	s := startFakeServer(t, func(c *fakeServerConn) {
		q := c.readRequest()
		offered <- q.flags
		c.Write(c.reply(q, askPass))
		c.Write(c.reply(c.readRequest(), &authenReply{status: authenPass}))
		left <- c.readRequest() == nil
	})
	r := relayTo(t, s.addr, "--single-connect")
	c, numbers := dialDevice(t, r), make(map[uint32]uint8)
	fakeExchange{1, asciiStart("alice"), askPass, 0}.do(t, c, numbers, flagSingleConnect)
	fakeExchange{1, says(testPassword), &authenReply{status: authenPass}, 0}.do(t, c, numbers, flagSingleConnect)
	select {
	case <-left:
	case <-time.After(patience):
		t.Error("the connection does not end")
	}
	if flags := <-offered; flags != 0 {
		t.Errorf("the flags of the START are %v", flags)
	}
}

// TestRelaySharedRecord: a record that was sent without a reply is not sent again. One that a server refused is, and
// one that was not sent.
func TestRelaySharedRecord(t *testing.T) {
	t.Parallel()
	f := &relayRequest{head: header{typ: typeAcct}}
	open := func(what string, again bool) {
		t.Helper()
		if _, err := f.firstMessage(""); (err == nil) != again {
			t.Errorf("%s: %v", what, err)
		}
	}
	open("at first", true)
	open("where there was no connection", true)
	f.job.session.written = true
	open("without an answer", false)
	f.answered = true
	open("with an ERROR", true)
	open("where the next server could not be reached", true)
	f.job.session.written = true
	open("without an answer of the next server", false)
	if f.answered {
		t.Error("the answer of the server before is the device's")
	}
}

// TestRelayAbortsPrompt: a prompt in reply to PAP is aborted, so that it does not wait on the shared connection.
func TestRelayAbortsPrompt(t *testing.T) {
	t.Parallel()
	said := make(chan *authenContinue, 1)
	s := startFakeServer(t, func(c *fakeServerConn) {
		c.Write(c.reply(c.readRequest(), &authenReply{status: authenGetPass}))
		if q := c.readRequest(); q != nil {
			said <- q.continues
		}
		close(said)
	})
	c := dialDevice(t, relayTo(t, s.addr, "--single-connect"))
	if err := c.send(header{version: minorOne, typ: typeAuthen, seqNo: 1, sessionID: 1}, papStart("alice", testPassword)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.receive(new(authenReply)); err != nil {
		t.Error(err)
	}
	if m := <-said; m == nil || m.flags != authenAbort {
		t.Errorf("the server hears %+v", m)
	}
}

// TestRelaySharedStops: once reading has stopped, a device is not waited for, whatever its deadline is.
func TestRelaySharedStops(t *testing.T) {
	for _, late := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			d, _, _ := pipedDevice(t, new(relayServer))
			s := &sharedDevice{device: d}
			d.client.stopReading()
			if late {
				d.client.conn.SetDeadline(time.Now().Add(time.Hour)) // by a packet that came at the same time
			}
			if began := time.Now(); s.handlePacket(t.Context()) || time.Since(began) > 0 {
				t.Errorf("late %t: it takes a packet, or waits %v for one", late, time.Since(began))
			}
		})
	}
}

// TestRelaySharedBrokenWrite: after a reply that was not written completely none is written, and all sessions release
// what they hold.
func TestRelaySharedBrokenWrite(t *testing.T) {
	t.Parallel()
	d, _, _ := pipedDevice(t, new(relayServer))
	writes := 0
	d.client.conn = brokenConn{d.client.conn, &writes}
	s := &sharedDevice{device: d, single: true, slots: make(chan struct{}, 2), replies: make(chan *relayRequest)}
	written := make(chan struct{})
	go func() { s.write(); close(written) }()
	for range 2 {
		f := &relayRequest{head: header{version: minorOne, typ: typeAuthen, seqNo: 1}, answered: true, response: &authenReply{status: authenPass}, size: 100}
		s.device.relay.underWay.Add(100)
		s.slots <- struct{}{}
		s.replies <- f
	}
	close(s.replies)
	<-written
	if n := s.device.relay.underWay.Load(); writes != 1 || n != 0 || len(s.slots) != 0 {
		t.Errorf("%d writes, %d bytes and %d places are held", writes, n, len(s.slots))
	}
}

// TestRelayUnanswered: a session without a reply ends the device's connection, even in single-connection mode.
func TestRelayUnanswered(t *testing.T) {
	t.Parallel()
	for _, way := range relayWays {
		for _, start := range []message{papStart("alice", testPassword), asciiStart("alice")} {
			s := startFakeServer(t, func(c *fakeServerConn) {
				if c.number == 1 {
					c.Write(c.reply(c.readRequest(), &authenReply{status: authenPass}))
				}
				c.readRequest()
			})
			c := dialDevice(t, relayTo(t, s.addr, split(way)...))
			if err := c.login(1, flagSingleConnect); err != nil {
				t.Error(err)
			}
			if err := c.send(header{version: versionOf(start), typ: typeAuthen, seqNo: 1, flags: flagSingleConnect, sessionID: 2}, start); err != nil {
				t.Fatal(err)
			}
			c.checkEnd(t)
		}
	}
}

// TestRelaySharedContinue: a CONTINUE goes to its dialogue. One without an open dialogue is refused, and so is a
// second dialogue with its session_id. An ABORT ends the dialogue, as does a server that accepts no more.
func TestRelaySharedContinue(t *testing.T) {
	t.Parallel()
	abort := &authenContinue{flags: authenAbort}
	for _, tt := range []struct {
		name    string
		typ     packetType
		session uint32
		opened  bool
		server  net.Conn
		m       message
		goesOn  bool
		ends    bool
	}{
		{"an answer", typeAuthen, 1, true, new(stream), says("x"), true, false},
		{"an ABORT", typeAuthen, 1, true, new(stream), abort, true, true},
		{"a server that has gone", typeAuthen, 1, true, deadConn{new(stream)}, says("x"), true, true},
		{"before the server has answered", typeAuthen, 1, false, new(stream), says("x"), false, false},
		{"another session", typeAuthen, 2, true, new(stream), says("x"), false, false},
		{"another type", typeAuthor, 1, true, new(stream), new(authorRequest), false, false},
	} {
		device := new(stream)
		p, _ := pipedUpstream(t, device, tt.server)
		p.lone = true
		h := header{version: minorDefault, typ: typeAuthen, seqNo: 1, sessionID: 1}
		p.onRequest(&h, asciiStart("alice"), 100)
		h.seqNo++
		p.onReply(&h, &authenReply{status: authenGetPass}, "")
		p.opened.Store(tt.opened)
		s := &sharedDevice{device: p.device, dialogues: map[uint32]*upstream{1: p}}
		h = header{version: minorDefault, typ: tt.typ, seqNo: 3, sessionID: tt.session}
		packet, err := appendPacket(nil, &h, tt.m)
		if err != nil {
			t.Fatal(err)
		}
		goesOn := s.continueDialogue(&h, tt.m, packet)
		if refused := device.out.Len() > 0; goesOn != tt.goesOn || refused == goesOn || p.ending != tt.ends {
			t.Errorf("%s: it goes on: %t, it ends: %t", tt.name, goesOn, p.ending)
		}
		again := header{version: minorDefault, typ: typeAuthen, seqNo: 1, sessionID: 1}
		if s.startDialogue(t.Context(), &again, asciiStart("bob"), nil) {
			t.Errorf("%s: another dialogue of its number begins", tt.name)
		}
	}
}
