package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
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
