package main

import (
	"bufio"
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestRelayUpstreamTimes: an idle connection ends, on either side. The time counts from the last packet.
func TestRelayUpstreamTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _, _ := pipedDevice(t, new(relayServer))
		own, other := net.Pipe()
		defer own.Close()
		defer other.Close()
		p := d.newUpstream()
		p.outbound = &serverConn{conn: own, client: d.relay.client}
		h, m := header{version: minorDefault, typ: typeAuthen, seqNo: 1, sessionID: 1}, asciiStart("alice")
		p.onRequest(&h, m, 100)
		time.Sleep(time.Minute)
		p.toDevice, p.toServer = nil, nil
		h.seqNo++
		p.onReply(&h, &authenReply{status: authenGetPass}, "")
		began := time.Now()
		_, err := own.Read(make([]byte, 1))
		if took := time.Since(began); !errors.Is(err, os.ErrDeadlineExceeded) || took != relayIdle {
			t.Errorf("the server is waited for for %v: %v", took, err)
		}
		if p.up(); time.Since(began) != relayIdle {
			t.Errorf("the device is waited for for %v", time.Since(began))
		}
	})
}

// TestRelayManyAtATime: packets of all sizes that come together are forwarded, in both directions.
func TestRelayManyAtATime(t *testing.T) {
	t.Parallel()
	for _, way := range relayWays {
		s := serveWith(t, "--arg", "note="+strings.Repeat("x", 200))
		r := relayTo(t, s.addr, split(way)...)
		c := dialDevice(t, r)
		if err := c.login(1000, flagSingleConnect); err != nil {
			t.Fatal(err)
		}
		const sessions = 60 // fewer than a device may have at a time
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
				t.Fatalf("%s: after %d: %+v %.100v, %v", way, len(answered), h, reply, err)
			}
			answered[h.sessionID] = true
		}
		c.Close()
		r.relayed(t)
	}
}

// TestRelayLateReply: a reply is ignored if the device has ended the session meanwhile, or has begun another one with
// its session_id.
func TestRelayLateReply(t *testing.T) {
	t.Parallel()
	d, _, lines := pipedDevice(t, new(relayServer))
	p := d.newUpstream()
	h := header{version: minorDefault, typ: typeAuthen, sessionID: 1}
	say := func(seqNo uint8, m message) { h.seqNo = seqNo; p.onRequest(&h, m, 100) }
	hear := func(seqNo uint8, status authenStatus) {
		h.seqNo = seqNo
		p.onReply(&h, &authenReply{status: status}, "")
	}
	check := func(what string, awaited int, want string) {
		t.Helper()
		p.device.client.log.flush()
		got := regexp.MustCompile(`[A-Z_]{4,}`).FindAllString(lines.String(), -1)
		if p.awaited != awaited || len(p.sessions) != awaited || strings.Join(got, " ") != want {
			t.Errorf("%s: %d replies are awaited, of %d sessions, and the lines are\n%s", what, p.awaited, len(p.sessions), lines)
		}
	}
	say(1, asciiStart("alice"))
	say(3, says("which was not asked for yet"))
	check("after two packets", 1, "")
	say(5, &authenContinue{flags: authenAbort})
	hear(2, authenGetPass)
	check("after an ABORT", 0, "ABORT")
	say(1, asciiStart("alice"))
	hear(2, authenGetPass)
	say(3, says(testPassword))
	say(1, asciiStart("alice"))
	hear(4, authenPass)
	check("after another START", 1, "ABORT NO_REPLY")
	hear(2, authenPass)
	check("at the end", 0, "ABORT NO_REPLY PASS")
	if n := p.device.relay.underWay.Load(); n != 0 {
		t.Errorf("%d bytes are held", n)
	}
}

// TestRelayBelongs: only packets of the server that a session waits for belong to it.
func TestRelayBelongs(t *testing.T) {
	t.Parallel()
	d, _, _ := pipedDevice(t, new(relayServer))
	p := d.newUpstream()
	h := header{version: minorDefault, typ: typeAuthen, seqNo: 1, sessionID: 1}
	p.onRequest(&h, asciiStart("alice"), 100)
	belongs := func(typ packetType, seqNo uint8, session uint32) bool {
		_, ok := p.belongs(&header{version: minorDefault, typ: typ, seqNo: seqNo, sessionID: session})
		return ok
	}
	if !belongs(typeAuthen, 2, 1) || belongs(typeAuthen, 4, 1) || belongs(typeAuthor, 2, 1) || belongs(typeAuthen, 2, 7) {
		t.Error("another packet than the reply is taken for it")
	}
	h.seqNo++
	p.onReply(&h, &authenReply{status: authenGetPass}, "")
	if belongs(typeAuthen, 2, 1) || belongs(typeAuthen, 3, 1) {
		t.Error("a second reply is taken for one, before the device has said more")
	}
}

// TestRelayNameInRecord: only the answer to GETUSER is a name, which the record shows.
func TestRelayNameInRecord(t *testing.T) {
	t.Parallel()
	for seqNo, want := range map[uint8]bool{3: true, 5: false} {
		d, _, _ := pipedDevice(t, new(relayServer))
		p := d.newUpstream()
		h := header{version: minorDefault, typ: typeAuthen, seqNo: 1, sessionID: 1}
		p.onRequest(&h, asciiStart(""), 100)
		h.seqNo = 2
		p.onReply(&h, &authenReply{status: authenGetUser}, "")
		h.seqNo = seqNo
		if p.onRequest(&h, says("alice"), 100); p.named != want {
			t.Errorf("seq_no %d: a name: %t", seqNo, p.named)
		}
	}
}

// pipedUpstream returns an upstream between two connections.
func pipedUpstream(t *testing.T, conn, server net.Conn) (p *upstream, lines *lockedBuffer) {
	t.Helper()
	r := new(relayServer)
	lines = newPipedRelay(t, r)
	r.client.keys = r.keys[netip.Prefix{}]
	d := &device{relay: r, client: r.listener.newInboundConn(t.Context(), conn, r.keys, false, relayBuffer), messages: new(decodeMessages)}
	p = d.newUpstream()
	p.outbound = &serverConn{conn: server, client: r.client}
	p.session, p.in = &session{conn: p.outbound}, bufio.NewReader(server)
	p.opened.Store(true)
	return p, lines
}

// TestRelayGathers: packets that come together are written together, up to a limit. Packets before a bad one are
// forwarded, and those after it are not.
func TestRelayGathers(t *testing.T) {
	t.Parallel()
	const many = 500
	flood := func(seqNo uint8, bad byte) (data []byte, good int) {
		for i := range uint32(many) {
			data = append(data, packed(header{version: minorDefault, typ: typeAuthor, seqNo: seqNo, sessionID: i}, testKey, &authorRequest{commonFields: commonFields{user: "alice"}})...)
		}
		end := slices.Clone(data[:len(data)/many])
		good, end[0] = len(data), bad
		return append(append(data, end...), data...), good
	}
	check := func(way string, to *stream, good int, lines *lockedBuffer) {
		t.Helper()
		if size := good / many; to.out.Len() != good || to.largest <= size || to.largest >= flushAt+size {
			t.Errorf("%s: %d bytes of %d are written, up to %d at a time", way, to.out.Len(), good, to.largest)
		}
		if n := strings.Count(lines.String(), "TACACS+"); n != 1 {
			t.Errorf("%s: the lines are\n%s", way, lines)
		}
	}
	data, good := flood(1, 0x80)
	device, server := &stream{Reader: bytes.NewReader(data)}, new(stream)
	p, lines := pipedUpstream(t, device, server)
	p.up()
	check("up", server, good, lines)
	if server.deadlines > many/10 {
		t.Errorf("%d packets move the deadline %d times", many, server.deadlines)
	}
	data, good = flood(2, 0x80)
	device, server = new(stream), &stream{Reader: bytes.NewReader(data)}
	p, lines = pipedUpstream(t, device, server)
	p.down()
	check("down", device, good, lines)
	// For a device that has gone no more is read.
	rest := bytes.NewReader(data)
	p, _ = pipedUpstream(t, deadConn{device}, &stream{Reader: rest})
	if p.down(); rest.Len() < good {
		t.Errorf("%d bytes are not read", rest.Len())
	}
}

// TestRelayLastTimes: packets do not move a deadline of a side that is not read any more.
func TestRelayLastTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _, _ := pipedDevice(t, new(relayServer))
		own, other := net.Pipe()
		defer own.Close()
		defer other.Close()
		p := d.newUpstream()
		p.outbound, p.device.relay.client.timeout = &serverConn{conn: own, client: d.relay.client}, time.Minute
		h := header{version: minorDefault, typ: typeAuthor, seqNo: 1}
		for h.sessionID = range 3 {
			p.onRequest(&h, new(authorRequest), 100)
		}
		h.seqNo, h.sessionID = 2, 0
		hear := func(what string, conn net.Conn, want time.Duration) {
			t.Helper()
			began := time.Now()
			time.Sleep(2 * time.Second)
			p.onReply(&h, new(authorResponse), "")
			h.sessionID++
			if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != want {
				t.Errorf("%s is waited for for %v: %v", what, time.Since(began), err)
			}
		}
		d.client.stopReading()
		hear("the device", d.client.conn, 2*time.Second)
		p.stopAfterReplies()
		hear("the server", own, time.Minute)
	})
}

// TestRelayServerLeaves: a server that closes the connection ends the device's, although more is expected.
func TestRelayServerLeaves(t *testing.T) {
	t.Parallel()
	s := startFakeServer(t, func(c *fakeServerConn) { c.Write(c.reply(c.readRequest(), &authenReply{status: authenPass})) })
	r := relayTo(t, s.addr)
	c := dialDevice(t, r)
	if err := c.login(1, flagSingleConnect); err != nil {
		t.Error(err)
	}
	c.checkEnd(t)
}

// TestRelayKeyThatChanges: a reply that no longer fits the key has one line, that of its session.
func TestRelayKeyThatChanges(t *testing.T) {
	t.Parallel()
	s := startFakeServer(t, func(c *fakeServerConn) {
		c.Write(c.reply(c.readRequest(), &authenReply{status: authenPass}))
		q := c.readRequest()
		c.key = "another key than before"
		c.Write(c.reply(q, &authenReply{status: authenPass}))
		c.readRequest()
	})
	r := relayTo(t, s.addr)
	c := dialDevice(t, r)
	if err := c.login(1, flagSingleConnect); err != nil {
		t.Error(err)
	}
	if err := c.send(header{version: minorOne, typ: typeAuthen, seqNo: 1, flags: flagSingleConnect, sessionID: 2}, papStart("alice", testPassword)); err != nil {
		t.Fatal(err)
	}
	c.checkEnd(t)
	if got := r.relayed(t); !strings.HasPrefix(got, "> alice authenticate pap PASS\n> alice authenticate pap NO_KEY: ") || strings.Count(got, "\n") != 2 {
		t.Errorf("the lines are\n%s", got)
	}
}

// TestRelayHalfCloseOfOne: a device that closes its side for writing gets the reply under way. Then the connection
// ends, even if the server would go on.
func TestRelayHalfCloseOfOne(t *testing.T) {
	t.Parallel()
	closed := make(chan struct{})
	s := startFakeServer(t, func(c *fakeServerConn) {
		q := c.readRequest()
		c.Write(c.reply(q, &authenReply{status: authenPass}))
		q = c.readRequest()
		<-closed
		time.Sleep(50 * time.Millisecond) // so that the relay knows, most likely
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

// TestRelayLeavesServer: the connection to the server ends with the device's connection, and without
// single-connection mode with the session.
func TestRelayLeavesServer(t *testing.T) {
	t.Parallel()
	for _, flags := range []headerFlags{flagSingleConnect, 0} {
		left := make(chan struct{})
		s := startFakeServer(t, func(c *fakeServerConn) {
			c.refuse = flags == 0
			c.Write(c.reply(c.readRequest(), &authenReply{status: authenPass}))
			c.readRequest()
			close(left)
		})
		c := dialDevice(t, relayTo(t, s.addr))
		if err := c.login(1, flags); err != nil {
			t.Error(err)
		}
		if flags != 0 {
			c.Close()
		} else {
			c.checkEnd(t)
		}
		select {
		case <-left:
		case <-time.After(patience):
			t.Errorf("flags %v: the connection to the server does not end", flags)
		}
	}
}
