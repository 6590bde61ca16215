package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestRelaySharedPoolRenewed: a pool that gave up multiplexing is replaced after a minute, and the new one serves the
// next session. One that multiplexes stays.
func TestRelaySharedPoolRenewed(t *testing.T) {
	for _, shares := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			refused := netip.MustParseAddrPort(refusedAddr(t))
			s := newSharedUpstream(&client{servers: []server{newServer("127.0.0.1", refused.Port())}, timeout: time.Second, singleConnect: shares}, discardWarning)
			ctx, cancel := context.WithCancel(t.Context())
			stop, ended := make(chan struct{}), make(chan struct{})
			go func() { s.run(ctx, stop); close(ended) }()
			synctest.Wait()
			first := s.team.Load()
			time.Sleep(teamAge)
			first.wakeup.notify()
			if synctest.Wait(); s.team.Load() != first {
				t.Errorf("shares %t: the pool is replaced within a minute", shares)
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
					t.Errorf("the session got the error %v", f.job.err)
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
				t.Errorf("a late session got %v", f.job.err)
			}
			close(stop)
			<-ended
		})
	}
}

// TestRelayDialogueAfterDisconnect: if the server replies after the device has disconnected, the dialogue ends at once and
// is released.
func TestRelayDialogueAfterDisconnect(t *testing.T) {
	t.Parallel()
	left := make(chan bool, 1)
	server := startFakeServer(t, func(c *fakeServerConn) {
		c.Write(c.reply(c.readRequest(), &authenReply{status: authenGetPass}))
		left <- c.readRequest() == nil
	})
	d, c, lines := pipedDevice(t, new(relayServer))
	d.relay.client = clientFor(t, server.addr)
	go io.Copy(io.Discard, c) // for some time writes to a closed connection succeed
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
		t.Fatal("the dialogue is not closed")
	}
	if !<-left || len(s.dialogues) > 0 || !strings.Contains(lines.String(), " alice authenticate ascii ABANDONED") {
		t.Errorf("%d dialogues are left, and the log is\n%s", len(s.dialogues), lines)
	}
}

// TestRelayLoneDialogue: a dialogue has its own connection, which does not offer single-connection mode and is closed with
// it. The device is granted that mode nevertheless.
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
	fakeExchange{1, asciiStart("alice"), askPass, 0}.run(t, c, numbers, flagSingleConnect)
	fakeExchange{1, answerWith(testPassword), &authenReply{status: authenPass}, 0}.run(t, c, numbers, flagSingleConnect)
	select {
	case <-left:
	case <-time.After(patience):
		t.Error("the connection is not closed")
	}
	if flags := <-offered; flags != 0 {
		t.Errorf("the flags of the START are %v", flags)
	}
}

// TestRelaySharedRecord: a record that was sent without a reply is not sent again. One that a server refused, or
// that was not sent, is.
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
		t.Error("the device got the reply of the previous server")
	}
}

// TestRelayAbortsPrompt: a prompt in reply to PAP is aborted, to release the session on the shared connection.
func TestRelayAbortsPrompt(t *testing.T) {
	t.Parallel()
	continues := make(chan *authenContinue, 1)
	s := startFakeServer(t, func(c *fakeServerConn) {
		c.Write(c.reply(c.readRequest(), &authenReply{status: authenGetPass}))
		if q := c.readRequest(); q != nil {
			continues <- q.continues
		}
		close(continues)
	})
	c := dialDevice(t, relayTo(t, s.addr, "--single-connect"))
	if err := c.send(header{version: minorOne, typ: typeAuthen, seqNo: 1, sessionID: 1}, papStart("alice", testPassword)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.receive(new(authenReply)); err != nil {
		t.Error(err)
	}
	if m := <-continues; m == nil || m.flags != authenAbort {
		t.Errorf("the server got %+v", m)
	}
}

// TestRelaySharedStops: after reading has stopped, no packet is waited for, at any deadline.
func TestRelaySharedStops(t *testing.T) {
	for _, late := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			d, _, _ := pipedDevice(t, new(relayServer))
			s := &sharedDevice{device: d}
			d.client.stopReading()
			if late {
				d.client.conn.SetDeadline(time.Now().Add(time.Hour)) // as a packet at the same time does
			}
			if began := time.Now(); s.handlePacket(t.Context()) || time.Since(began) > 0 {
				t.Errorf("late %t: a packet is read, or waited for during %v", late, time.Since(began))
			}
		})
	}
}

// TestRelaySharedBrokenWrite: after a partial write of a reply no other is written, and all sessions release
// their memory and slots.
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
		t.Errorf("%d writes; %d bytes and %d slots are held", writes, n, len(s.slots))
	}
}

// TestRelayUnanswered: a session without a reply closes the device's connection, even in single-connection mode.
func TestRelayUnanswered(t *testing.T) {
	t.Parallel()
	for _, mode := range relayModes {
		for _, start := range []message{papStart("alice", testPassword), asciiStart("alice")} {
			s := startFakeServer(t, func(c *fakeServerConn) {
				if c.number == 1 {
					c.Write(c.reply(c.readRequest(), &authenReply{status: authenPass}))
				}
				c.readRequest()
			})
			c := dialDevice(t, relayTo(t, s.addr, split(mode)...))
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
// second dialogue with its session_id. An ABORT or a server that closes the connection ends the dialogue.
func TestRelaySharedContinue(t *testing.T) {
	t.Parallel()
	abort := &authenContinue{flags: authenAbort}
	for _, tt := range []struct {
		name     string
		typ      packetType
		session  uint32
		opened   bool
		server   net.Conn
		m        message
		accepted bool
		ends     bool
	}{
		{"an answer", typeAuthen, 1, true, new(stream), answerWith("x"), true, false},
		{"an ABORT", typeAuthen, 1, true, new(stream), abort, true, true},
		{"a closed connection to the server", typeAuthen, 1, true, deadConn{new(stream)}, answerWith("x"), true, true},
		{"before the server's reply", typeAuthen, 1, false, new(stream), answerWith("x"), false, false},
		{"another session", typeAuthen, 2, true, new(stream), answerWith("x"), false, false},
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
		accepted := s.continueDialogue(&h, tt.m, packet)
		if refused := device.out.Len() > 0; accepted != tt.accepted || refused == accepted || p.ending != tt.ends {
			t.Errorf("%s: the CONTINUE is accepted: %t, ends: %t", tt.name, accepted, p.ending)
		}
		again := header{version: minorDefault, typ: typeAuthen, seqNo: 1, sessionID: 1}
		if s.startDialogue(t.Context(), &again, asciiStart("bob"), nil) {
			t.Errorf("%s: another dialogue with its session_id begins", tt.name)
		}
	}
}

// TestRelayFaults: a broken server gives the same exit code through the relay as without it. For faults that the
// relay detects, it closes the connection, as a dead server would.
func TestRelayFaults(t *testing.T) {
	t.Parallel()
	lines := []string{"authenticate alice AT", "authenticate alice AT -t pap", "authenticate alice AT -t pap --single-connect",
		"authorize alice AT", "account alice AT --task-id 1"}
	// stopped are the faults that the relay does not forward.
	stopped := map[string]string{
		"wrong-key":        "replies that do not fit the servers' key are dropped",
		"unencrypted":      "the flag breaks RFC 8907 section 10.5.2 on the relay's own connection",
		"major-version":    "it is not TACACS+",
		"length-max":       "the packet is too long",
		"lengths-overflow": "it looks like a wrong key",
		"tls-alert":        "it is not TACACS+",
		"http":             "it is not TACACS+",
	}
	// shared are those that the relay detects only with --single-connect.
	const header = "the relay's own session detects it"
	shared := map[string]string{
		"seq-plus-7": header, "seq-same": header, "session": header, "type": header,
		"empty-body": "the next server is tried, and there is none",
	}
	var needed sync.Map
	t.Cleanup(func() {
		for name := range stopped {
			if _, ok := needed.Load(name); !ok {
				t.Errorf("%s has the same result as without the relay", name)
			}
		}
		for name := range shared {
			if _, ok := needed.Load(name + "--single-connect"); !ok {
				t.Errorf("with --single-connect, %s has the same result as without the relay", name)
			}
		}
	})
	for _, f := range faults() {
		if f.tls != nil || f.certificate != nil {
			continue // these have their own tests
		}
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			var all sync.WaitGroup // at the same time, since some wait for a timeout
			relayTimeout, timeout := "20s", " --timeout 20s"
			if f.stays || f.name == "session" { // no reply
				relayTimeout, timeout = "2s", " --timeout 1s"
			}
			for _, mode := range relayModes {
				for _, line := range lines {
					all.Go(func() {
						t.Run(mode+line, func(t *testing.T) {
							s := serveWith(t, "--fault", f.name)
							r := relayTo(t, s.addr, append(split(mode), "--timeout", relayTimeout)...)
							var direct, through runResult
							var both sync.WaitGroup
							both.Go(func() { direct = s.ask(t, line+timeout) })
							both.Go(func() { through = r.asDevice(t, line+timeout) })
							both.Wait()
							_, stops := stopped[f.name]
							_, others := shared[f.name]
							switch {
							case through.code == direct.code && through.out == direct.out:
							case through.code == classNetwork.exit() && (stops && direct.code == classProtocol.exit() || others && mode != ""):
								needed.Store(f.name, true)
								needed.Store(f.name+mode, true)
							default:
								t.Errorf("through the relay %d %q %s, without %d %q %s", int(through.code), through.out, through.err, int(direct.code), direct.out, direct.err)
							}
						})
					})
				}
			}
			all.Wait()
		})
	}
}

// TestRelayBrokenSingleConnect: a server that grants single-connection mode and breaks it. Each device still gets its reply.
func TestRelayBrokenSingleConnect(t *testing.T) {
	t.Parallel()
	for _, fault := range []string{"single-close", "single-swallow", "single-refused"} {
		s := serveWith(t, "--fault", fault)
		r := relayTo(t, s.addr, "--single-connect", "--timeout", "1s")
		for i := range 5 {
			if got := r.asDevice(t, "authorize alice AT --timeout 10s"); got.code != 0 {
				t.Errorf("%s: %d: %+v", fault, i, got)
			}
		}
		if got := r.relayed(t); got != strings.Repeat("> alice authorize service=shell cmd= PASS_ADD\n", 5) {
			t.Errorf("%s: the log is\n%s", fault, got)
		}
	}
}

// TestRelayTLSFaults: after a failed TLS handshake with the server, the device's connection is closed.
func TestRelayTLSFaults(t *testing.T) {
	t.Parallel()
	for _, f := range faults() {
		if f.tls == nil && f.certificate == nil {
			continue
		}
		for _, mode := range relayModes {
			t.Run(f.name+mode, func(t *testing.T) {
				t.Parallel()
				ca := filepath.Join(t.TempDir(), "ca.pem")
				s := serveWith(t, "--tls", "--write-cacert", ca, "--fault", f.name)
				r := relayTo(t, s.addr, append(split(mode), "--tls", "--cacert", ca)...)
				if got := r.asDevice(t, "authenticate alice AT -t pap"); got.code != classNetwork.exit() {
					t.Errorf("got %+v", got)
				}
				if got := r.relayed(t); !strings.Contains(got, "alice authenticate pap NO_REPLY\n") || strings.Count(got, "\n") != 2 {
					t.Errorf("the log is\n%s", got)
				}
			})
		}
	}
}

// TestRelayOtherServerKey: a reply that does not fit the servers' key is NO_KEY, with a likely reason, and the
// device's connection is closed.
func TestRelayOtherServerKey(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"wrong": "this is not the key of the server", "right": testKey})
	for _, tt := range []struct{ keys, hint string }{
		{"--key-file DIR/wrong", "the shared key differs from the server's, or the server has another key for the address 127.0.0.1"},
		{"--key-file DIR/wrong --key-file DIR/right", "the key of DIR/right fits this reply"},
	} {
		for _, mode := range relayModes {
			s := serveWith(t)
			r := relayTo(t, s.addr+","+s.addr, append(split(mode), split(tt.keys, "DIR", dir)...)...)
			got := r.asDevice(t, "authenticate alice AT -t pap")
			if got.code != classNetwork.exit() {
				t.Errorf("got %+v", got)
			}
			want := "> alice authenticate pap NO_KEY: " + strings.ReplaceAll(tt.hint, "DIR", dir) + "\n"
			if got := r.relayed(t); got != want && !(mode != "" && strings.HasSuffix(got, want)) {
				t.Errorf("%s: got the log\n%swant\n%s", mode, got, want)
			}
		}
	}
}

// TestRelayFailover: servers are tried in order, and a record that was sent is not sent again.
func TestRelayFailover(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		line  string
		mode  string
		dead  bool // the first server refuses connections; otherwise it closes them without a reply
		code  exitCode
		asked string
	}{
		{"authenticate alice AT -t pap", "", true, 0, ""},
		{"authenticate alice AT -t pap", "", false, 0, "A"},
		{"authenticate alice AT", "", false, 0, "A"},
		{"authorize alice AT", "", false, 0, "A"},
		{"account alice AT", "", true, 0, ""},
		{"account alice AT", "", false, 4, "A"},
		{"authenticate alice AT -t pap", "--single-connect", true, 0, ""},
		{"authenticate alice AT -t pap", "--single-connect", false, 0, "A"},
		{"authenticate alice AT", "--single-connect", false, 0, "A"},
		{"account alice AT", "--single-connect", true, 0, ""},
		{"account alice AT", "--single-connect", false, 4, "A"},
	} {
		t.Run(fmt.Sprint(tt.line, tt.mode, tt.dead), func(t *testing.T) {
			t.Parallel()
			var o order
			first := o.closing(t, "A")
			if tt.dead {
				first = refusedAddr(t)
			}
			s := serveWith(t)
			r := relayTo(t, first+","+s.addr, split(tt.mode)...)
			if got := r.asDevice(t, tt.line); got.code != tt.code {
				t.Errorf("got %+v", got)
			}
			lines := r.relayed(t)
			o.mu.Lock()
			defer o.mu.Unlock()
			if n := strings.Count(s.lines(t), "\n"); o.asked != tt.asked || (n == 1) != (tt.code == 0) || n > 1 {
				t.Errorf("prompted %q, %d sessions on the second server: %s", o.asked, n, lines)
			}
			if want := map[exitCode]string{0: "> alice ", 4: " NO_REPLY"}[tt.code]; !strings.Contains(lines, want) {
				t.Errorf("the log is\n%s", lines)
			}
		})
	}
}

// TestRelayBadPackets: bad packets of a device are not forwarded.
func TestRelayBadPackets(t *testing.T) {
	t.Parallel()
	start := packed(header{version: minorOne, typ: typeAuthen, seqNo: 1, sessionID: 5}, deviceKey, papStart("alice", testPassword))
	with := func(at int, value byte) []byte {
		p := bytes.Clone(start)
		p[at] = value
		return p
	}
	for _, tt := range []struct {
		name   string
		data   []byte
		answer string // its header in hex, or the ERROR
		line   string
	}{
		{"UNENCRYPTED", packed(header{version: minorOne, typ: typeAuthen, seqNo: 1, sessionID: 5, flags: flagUnencrypted}, "", papStart("alice", testPassword)), "ERROR", "UNENCRYPTED flag without TLS"},
		{"even", with(atSeqNo, 2), "", "even seq_no 2 from a client"},
		{"last", with(atSeqNo, 255), "", "sequence numbers exhausted"},
		{"unknown type", with(atType, 9), "c10902000000000500000000", "unknown packet type 0x09"},
		{"other protocol", []byte("GET / HTTP/1.1\r\n\r\n"), "", "not TACACS+: the first byte is 0x47"},
		{"too long", unhex(t, "c1 01 01 00 00000007 00010000"), "", "body is 65536 bytes, the limit is 65535"},
	} {
		for _, mode := range relayModes {
			s := serveWith(t)
			r := relayTo(t, s.addr, split(mode)...)
			c := dialDevice(t, r)
			c.Write(tt.data)
			if tt.answer == "ERROR" {
				var reply authenReply
				if h, err := c.receive(&reply); err != nil || reply.status != authenError || h.flags != 0 {
					t.Errorf("%s: %+v, %v", tt.name, reply, err)
				}
			} else if b := make([]byte, len(tt.answer)/2); len(b) > 0 {
				if _, err := io.ReadFull(c.in, b); err != nil || fmt.Sprintf("%x", b) != tt.answer {
					t.Errorf("%s: got the reply %x, %v", tt.name, b, err)
				}
			}
			c.checkEnd(t)
			if got := r.relayed(t); got != tt.line+"\n" || s.lines(t) != "" {
				t.Errorf("%s: the log is\n%s, the server's log is\n%s", tt.name, got, s.log)
			}
		}
	}
}

// TestRelayPromptForPAP: a prompt in reply to PAP is forwarded unchanged, and the session has a status.
func TestRelayPromptForPAP(t *testing.T) {
	t.Parallel()
	for _, mode := range relayModes {
		s := serveWith(t, "--fault", "getuser")
		r := relayTo(t, s.addr, split(mode)...)
		c := dialDevice(t, r)
		if err := c.send(header{version: minorOne, typ: typeAuthen, seqNo: 1, sessionID: 1, flags: flagSingleConnect}, papStart("alice", testPassword)); err != nil {
			t.Fatal(err)
		}
		var reply authenReply
		if _, err := c.receive(&reply); err != nil || reply.status != authenGetUser {
			t.Errorf("%s: got the reply %+v, %v", mode, reply, err)
		}
		c.Close()
		waitUntil(t, "the session has ended", func() bool { return r.log.String() != "" })
		if got := r.relayed(t); got != "> alice authenticate pap ABANDONED\n" {
			t.Errorf("%s: the log is\n%s", mode, got)
		}
	}
}

// TestRelayOnlyServer: a session without a verdict is logged with the last server that got it, and its reply, if the
// next server cannot be reached.
func TestRelayOnlyServer(t *testing.T) {
	t.Parallel()
	for _, mode := range relayModes {
		for _, line := range []string{"authenticate alice AT -t pap", "authorize alice AT", "account alice AT"} {
			for _, status := range []string{"ERROR", statusNoReply} {
				var o order
				first := o.closing(t, "A")
				if status == "ERROR" {
					first = serveWith(t, "--fault", "error").addr
				}
				record := filepath.Join(t.TempDir(), "record.pcap")
				r := relayTo(t, first+","+refusedAddr(t), append(split(mode), "--record", record)...)
				r.asDevice(t, line)
				r.stop()
				for what, text := range map[string]string{"lines": r.log.String(), "record": runWith(t, nil, "", "decode", record).out} {
					if !strings.Contains(text, " > "+first+" alice ") || !strings.Contains(text, " "+status) {
						t.Errorf("%s %s, %s: %s not from %s:\n%s", line, mode, status, what, first, text)
					}
				}
			}
		}
	}
}

// TestRelayRecordInDoubt: the line of a record that is not sent again names the server that may have written it.
func TestRelayRecordInDoubt(t *testing.T) {
	t.Parallel()
	for _, mode := range relayModes {
		var o order
		first := o.closing(t, "A")
		r := relayTo(t, first+","+serveWith(t).addr, split(mode)...)
		r.asDevice(t, "account alice AT")
		r.stop()
		if lines := r.log.String(); !strings.Contains(lines, " > "+first+" alice account ") {
			t.Errorf("%s: %s is not in the line: %s", mode, first, lines)
		}
	}
}
