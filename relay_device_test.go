package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

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

// TestRelayManyAtATime: packets of all sizes that arrive together are forwarded, in both directions.
func TestRelayManyAtATime(t *testing.T) {
	t.Parallel()
	for _, mode := range relayModes {
		s := serveWith(t, "--arg", "note="+strings.Repeat("x", 200))
		r := relayTo(t, s.addr, split(mode)...)
		c := dialDevice(t, r)
		if err := c.login(1000, flagSingleConnect); err != nil {
			t.Fatal(err)
		}
		const sessions = 60 // below the limit of a device
		var all []byte
		for i := range sessions {
			args := []string{"service=shell", "cmd="}
			for range i * i % 50 {
				args = append(args, "filler*"+strings.Repeat("y", 3*i))
			}
			h := header{version: minorDefault, typ: typeAuthor, seqNo: 1, flags: flagSingleConnect, sessionID: uint32(i)}
			all = append(all, packed(h, deviceKey, &authorRequest{commonFields: commonFields{user: "alice"}, args: args})...)
		}
		go c.Write(all)
		answered := make(map[uint32]bool)
		for range sessions {
			var reply authorResponse
			h, err := c.receive(&reply)
			if err != nil || reply.status != authorPassAdd || answered[h.sessionID] || h.sessionID >= sessions {
				t.Fatalf("%s: after %d: %+v %.100v, %v", mode, len(answered), h, reply, err)
			}
			answered[h.sessionID] = true
		}
		c.Close()
		r.relayed(t)
	}
}

// TestRelayHalfCloseOfOne: a device that closes its side for writing gets the reply under way. Then the connection
// is closed, even if the server's stays open.
func TestRelayHalfCloseOfOne(t *testing.T) {
	t.Parallel()
	closed := make(chan struct{})
	s := startFakeServer(t, func(c *fakeServerConn) {
		q := c.readRequest()
		c.Write(c.reply(q, &authenReply{status: authenPass}))
		q = c.readRequest()
		<-closed
		time.Sleep(50 * time.Millisecond) // most likely the relay has seen it by then
		c.Write(c.reply(q, &authenReply{status: authenPass}))
		c.readRequest()
	})
	r := relayTo(t, s.addr, "--timeout", "1h")
	c := dialDevice(t, r)
	if err := c.login(1, flagSingleConnect); err != nil {
		t.Fatal(err)
	}
	if err := c.send(header{version: minorOne, typ: typeAuthen, seqNo: 1, flags: flagSingleConnect, sessionID: 2}, papStart("alice", testPassword)); err != nil {
		t.Fatal(err)
	}
	c.Conn.(*net.TCPConn).CloseWrite()
	close(closed)
	var reply authenReply
	if _, err := c.receive(&reply); err != nil || reply.status != authenPass {
		t.Errorf("%+v, %v", reply, err)
	}
	c.checkEnd(t)
}

// TestRelayBadSessions: in single-connection mode a bad session ends alone, also one that waits for a CONTINUE and gets
// another packet. One that waits for its reply still gets it, and a later one passes.
func TestRelayBadSessions(t *testing.T) {
	t.Parallel()
	askPass := &authenReply{status: authenGetPass, flags: authenNoEcho, serverMsg: "Password: "}
	const ended = "no such session, unexpected seq_no or version" // the one, or while the session ends the other
	for _, mode := range relayModes {
		s := serveWith(t)
		r := relayTo(t, s.addr, split(mode)...)
		c, numbers := dialDevice(t, r), make(map[uint32]uint8)
		unknownFlag := header{version: minorOne, typ: typeAuthen, seqNo: 1, flags: flagSingleConnect | 0x80, sessionID: 1}
		if err := c.send(unknownFlag, papStart("alice", testPassword)); err != nil {
			t.Fatal(err)
		}
		var first authenReply
		if h, err := c.receive(&first); err != nil || first.status != authenPass || h.flags != flagSingleConnect {
			t.Fatalf("%s: got %+v %+v, %v", mode, h, first, err)
		}
		for id := range uint32(4) {
			fakeExchange{2 + id, asciiStart("alice"), askPass, 0}.run(t, c, numbers, flagSingleConnect)
		}
		for _, bad := range []struct {
			h      header
			m      message
			answer string
		}{
			{header{version: minorDefault, typ: typeAuthen, seqNo: 3, sessionID: 9}, answerWith("x"), "no such session"},
			{header{version: minorDefault, typ: typeAuthen, seqNo: 5, sessionID: 3}, answerWith("x"), "unexpected seq_no or version"},
			{header{version: minorDefault, typ: typeAuthen, seqNo: 3, sessionID: 3}, answerWith(testPassword), ended},
			{header{version: minorOne, typ: typeAuthen, seqNo: 3, sessionID: 4}, answerWith("x"), "unexpected seq_no or version"},
			{header{version: minorDefault, typ: typeAuthen, seqNo: 3, sessionID: 4}, answerWith(testPassword), ended},
			{header{version: minorDefault, typ: typeAuthen, seqNo: 3, sessionID: 5}, papStart("alice", testPassword), "malformed packet"},
			{header{version: minorDefault, typ: typeAuthen, seqNo: 3, sessionID: 5}, answerWith(testPassword), ended},
			{header{version: minorDefault, typ: typeAuthen, seqNo: 1, sessionID: 2}, asciiStart("bob"), "the session_id is in use"},
			{header{version: minorDefault, typ: 9, seqNo: 1, sessionID: 6}, asciiStart("bob"), ""},
		} {
			bad.h.flags = flagSingleConnect
			if err := c.send(bad.h, bad.m); err != nil {
				t.Fatal(err)
			}
			if bad.answer == "" {
				b := make([]byte, headerLen)
				if _, err := io.ReadFull(c.in, b); err != nil || parseHeader(b).length != 0 || parseHeader(b).seqNo != 2 {
					t.Errorf("%s: an unknown type is answered with %x, %v", mode, b, err)
				}
				continue
			}
			var reply authenReply
			if h, err := c.receive(&reply); err != nil || reply.status != authenError || !strings.Contains(bad.answer, reply.serverMsg) || h.flags != flagSingleConnect {
				t.Errorf("%s %+v: got %+v %+v, %v", mode, bad.h, h, reply, err)
			}
		}
		fakeExchange{2, answerWith(testPassword), &authenReply{status: authenPass}, 0}.run(t, c, numbers, flagSingleConnect)
		if err := c.login(7, flagSingleConnect); err != nil {
			t.Error(err)
		}
		for _, reason := range []string{"unexpected seq_no or version", "malformed CONTINUE"} {
			waitUntil(t, reason, func() bool {
				return strings.Contains(r.log.String(), " alice authenticate ascii MALFORMED: "+reason+" (")
			})
		}
	}
}

// TestRelayFairness: a device that takes all it can get does not keep another one from logging in.
func TestRelayFairness(t *testing.T) {
	t.Parallel()
	const connections, sessions = 3, 700 // more than maxPlaces together, or their packets more than maxBytes
	request := func(user string, args ...string) *authorRequest {
		return &authorRequest{commonFields: commonFields{user: user}, args: args}
	}
	large := slices.Repeat([]string{"filler*" + strings.Repeat("x", 240)}, 254)
	for _, tt := range []struct {
		name  string
		modes []string
		kinds []message // mallory's requests
		other *authorRequest
	}{
		{"sessions", relayModes, []message{asciiStart("mallory"), papStart("mallory", "x"), request("mallory", "service=shell", "cmd=")}, request("alice", "service=shell", "cmd=")},
		{"large requests", relayModes[:1], []message{request("mallory", large...)}, request("alice", large...)},
	} {
		all := make([]byte, 0, 1<<20+maxBytes/connections)
		for i := uint32(0); i < sessions && len(all) <= maxBytes/connections; i++ {
			m := tt.kinds[int(i)%len(tt.kinds)]
			all = append(all, packed(header{version: versionOf(m), typ: typeOf(m), seqNo: 1, flags: flagSingleConnect, sessionID: i}, deviceKey, m)...)
		}
		for _, mode := range tt.modes {
			t.Run(tt.name+mode, func(t *testing.T) {
				t.Parallel()
				// The server answers nothing that mallory sends.
				s := startFakeServer(t, func(c *fakeServerConn) {
					for q := c.readRequest(); q != nil; q = c.readRequest() {
						if q.user != "mallory" {
							c.Write(c.grantReply(q))
						}
					}
				})
				r := relayTo(t, s.addr, append(split(mode), "-q", "--timeout", "10m", "--dead-time", "0", "--drain-time", "10ms")...)
				var refused atomic.Bool
				for range connections {
					c := dialDevice(t, r)
					go c.Write(all)
					go io.Copy(writerFunc(func([]byte) { refused.Store(true) }), c.Conn)
				}
				waitUntil(t, "mallory has all that it can get", refused.Load)
				c := dialSecondDevice(t, r)
				reply := new(authorResponse)
				done := make(chan error, 1)
				go func() {
					err := c.send(header{version: minorDefault, typ: typeAuthor, seqNo: 1, sessionID: 1}, tt.other)
					if err == nil {
						_, err = c.receive(reply)
					}
					done <- err
				}()
				select { // long before the first of mallory's sessions times out
				case err := <-done:
					if err != nil || reply.status != authorPassAdd {
						t.Errorf("%v %+v, %v", reply.status, reply, err)
					}
				case <-time.After(patience / 2):
					t.Error("the request waits for mallory's sessions")
				}
			})
		}
	}
}

// dialSecondDevice connects to the relay as a device with another address.
func dialSecondDevice(t *testing.T, r *testServer) *fakeClient {
	t.Helper()
	local := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	conn, err := local.Dial("tcp", r.addr)
	if err != nil && runtime.GOOS != "linux" {
		t.Skipf("this system has one loopback address: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c := newFakeClient(conn)
	c.key = deviceKey
	return c
}

// TestRelayLogFairness: while stdout is blocked, one device's long lines do not take the place of another's, and both
// devices get their replies.
func TestRelayLogFairness(t *testing.T) {
	t.Parallel()
	const logins = 20
	for _, mode := range relayModes {
		t.Run("forwarding "+mode, func(t *testing.T) {
			t.Parallel()
			s := startFakeServer(t, func(c *fakeServerConn) { c.grantAll() })
			out := new(stallingWriter)
			out.stalled.Lock()
			r := serving(t, out, append(relayArgs(t, s.addr), split(mode)...)...)
			mallory, requests := dialDevice(t, r), 0
			for _, tt := range []struct{ requests, args int }{{60, 254}, {100, 4}, {20, 0}} { // the short lines fill what is left
				m := &authorRequest{commonFields: commonFields{user: "mallory"}, args: slices.Repeat([]string{"filler*" + strings.Repeat("x", 240)}, tt.args)}
				for range tt.requests {
					requests++
					if err := mallory.send(header{typ: typeAuthor, seqNo: 1, flags: flagSingleConnect, sessionID: uint32(requests), version: minorDefault}, m); err != nil {
						t.Fatal(err)
					}
					if _, err := mallory.receive(new(authorResponse)); err != nil {
						t.Fatal(err)
					}
				}
			}
			waitUntil(t, "the queue has no room for mallory", func() bool {
				return strings.Contains(r.stderr.String(), "cannot write session lines: the output is blocked")
			})
			alice := dialSecondDevice(t, r)
			for i := range uint32(logins) {
				if err := alice.login(i, flagSingleConnect); err != nil {
					t.Fatal(err)
				}
			}
			out.stalled.Unlock()
			count := func(of string) int { return strings.Count(out.String(), of) }
			waitUntil(t, "all lines of alice are written", func() bool { return count(" alice authenticate pap PASS") == logins })
			if n := count(" mallory authorize "); n == 0 || n == requests {
				t.Errorf("%d lines of mallory are written, want some of %d", n, requests)
			}
			if code := r.stop(); code != classGranted.exit() {
				t.Errorf("exit code %d: %s", int(code), r.stderr)
			}
		})
	}
}

// TestRelayUnreadReplies: a device that does not read its replies is cut off when they are too many, and nothing stays
// reserved for it.
func TestRelayUnreadReplies(t *testing.T) {
	t.Parallel()
	d, _ := pipeDevice(t)
	unread := d.relay.unread
	h := header{version: minorDefault, typ: typeAuthor, seqNo: 2}
	for range 20 {
		d.send(nil, h, &authorResponse{status: authorPassAdd, args: slices.Repeat([]string{strings.Repeat("x", 250)}, 40)})
	}
	d.running.Wait()
	if d.client.extendDeadline() || len(d.out) > 0 || unread.taken != 0 {
		t.Errorf("goes on: %t; %d bytes are queued, %d reserved", d.client.extendDeadline(), len(d.out), unread.taken)
	}
}

// TestRelayWritesInTurn: one goroutine writes at a time, and sessions that have none of their own do not wait for it.
func TestRelayWritesInTurn(t *testing.T) {
	t.Parallel()
	for _, alone := range []bool{false, true} {
		d, remote := pipeDevice(t)
		first := make(chan struct{})
		go func() {
			defer close(first)
			d.send(&relayedSession{device: d, alone: alone}, header{version: minorDefault, typ: typeAcct, seqNo: 2}, &acctReply{serverMsg: "1"})
			if alone {
				d.deliver()
			}
		}()
		begun := make([]byte, 1) // the rest of the packet cannot be written yet
		if _, err := remote.Read(begun); err != nil {
			t.Fatal(err)
		}
		d.writing.Lock()
		busy := d.busy
		d.writing.Unlock()
		for seqNo := range uint8(3) {
			d.send(&relayedSession{device: d, alone: true}, header{version: minorDefault, typ: typeAcct, seqNo: 4 + 2*seqNo}, &acctReply{})
			d.deliver() // returns at once
		}
		in := io.MultiReader(bytes.NewReader(begun), remote)
		for _, want := range []uint8{2, 4, 6, 8} {
			h, _, err := readHeader(in)
			if err == nil {
				_, err = readBody(in, h)
			}
			if h.seqNo != want || err != nil || !busy {
				t.Errorf("alone: %t: got seq_no %d, %v, want %d; busy: %t", alone, h.seqNo, err, want, busy)
			}
		}
		<-first
		d.running.Wait()
		if d.busy || len(d.out) > 0 {
			t.Errorf("alone: %t: busy: %t, %d bytes are queued", alone, d.busy, len(d.out))
		}
	}
}

// pipeDevice returns a device of a relay, and the other end of its connection, which has no buffer.
func pipeDevice(t *testing.T) (*device, net.Conn) {
	t.Helper()
	r := newRelayServer()
	r.unread = newShare(100<<10, "bytes of replies")
	r.listener.log = &sessionLog{out: newQueuedWriter(context.Background(), io.Discard)}
	local, remote := net.Pipe()
	t.Cleanup(func() { remote.Close() })
	keys := clientKeys{{}: {{source: "test", value: testKey}}}
	config := newRelayConfig(&client{timeout: patience}, keys, false, nil)
	return newDevice(r, config, r.listener.newInboundConn(t.Context(), local, keys, false, relayBuffer)), remote
}
