package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pipedDevice returns a device that is connected to a relay by a pipe, and the relay's log.
func pipedDevice(t *testing.T, r *relayServer) (d *device, c *fakeClient, lines *lockedBuffer) {
	t.Helper()
	lines = newPipedRelay(t, r)
	local, remote := net.Pipe()
	t.Cleanup(func() { local.Close(); remote.Close() })
	d = &device{relay: r, client: r.listener.newInboundConn(t.Context(), local, r.keys, false, relayBuffer), messages: new(messageSet)}
	d.key, d.client.idle = d.client.keys[0], relayIdle
	return d, newFakeClient(remote), lines
}

// newPipedRelay makes r a relay that does not listen.
func newPipedRelay(t *testing.T, r *relayServer) (lines *lockedBuffer) {
	lines = new(lockedBuffer)
	r.listener, r.client = newListener(), new(client)
	r.keys = clientKeys{{}: {{"test", testKey}}}
	r.listener.log = &sessionLog{out: newQueuedWriter(context.Background(), lines)}
	return lines
}

// TestRelayDeviceTimes: a device that is silent, or never finishes its first packet, is disconnected in time.
func TestRelayDeviceTimes(t *testing.T) {
	login := packed(header{version: minorOne, typ: typeAuthen, seqNo: 1, flags: flagSingleConnect}, testKey, papStart("alice", testPassword))
	for _, tt := range []struct {
		name   string
		client func(c net.Conn)
		want   time.Duration
	}{
		{"nothing", func(net.Conn) {}, firstTimeout},
		{"byte by byte", func(c net.Conn) {
			for i := range login {
				c.Write(login[i : i+1])
				time.Sleep(time.Second)
			}
		}, firstTimeout},
		{"only one login", func(c net.Conn) {
			c.Write(login)
			io.Copy(io.Discard, c)
		}, relayIdle},
		{"two logins", func(c net.Conn) {
			c.Write(login)
			time.Sleep(time.Minute)
			c.Write(login)
			io.Copy(io.Discard, c)
		}, relayIdle + time.Minute},
	} {
		for _, shared := range []bool{false, true} {
			t.Run(tt.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					if !shared && tt.want >= relayIdle {
						return // it needs a server: TestRelayUpstreamTimes
					}
					r := new(relayServer)
					newPipedRelay(t, r)
					var all sync.WaitGroup
					if shared {
						r.shared = newSharedUpstream(r.client, nil)
						all.Go(func() {
							for f := range r.shared.jobs { // a pool with a server that permits all
								f.answered, f.response = true, &authenReply{status: authenPass}
								f.home <- f
							}
						})
					}
					local, remote := net.Pipe()
					all.Go(func() { tt.client(remote) })
					began := time.Now()
					r.serve(t.Context(), t.Context(), local)
					if elapsed := time.Since(began); elapsed != tt.want {
						t.Errorf("ends after %v, want %v", elapsed, tt.want)
					}
					local.SetDeadline(time.Now())
					if _, err := local.Write([]byte{0}); err != io.ErrClosedPipe {
						t.Errorf("the connection is not closed: %v", err)
					}
					remote.Close()
					if shared {
						close(r.shared.jobs)
					}
					all.Wait()
				})
			})
		}
	}
}

// TestRelayLimits: requests over the limits of sessions and bytes are refused, and no memory or slot is held.
func TestRelayLimits(t *testing.T) {
	t.Parallel()
	pap, ascii := message(papStart("alice", testPassword)), message(asciiStart("alice"))
	for _, tt := range []struct {
		name     string
		m        message
		underWay int64
		open     int // sessions, or dialogues
		shared   bool
		accepted bool
	}{
		{"the last bytes allowed", pap, maxUnderWay, 0, false, true},
		{"too many bytes", pap, maxUnderWay + 1, 0, false, false},
		{"the last session allowed", pap, 0, maxDialogues - 1, false, true},
		{"too many sessions", pap, 0, maxDialogues, false, false},
		{"the last bytes allowed, shared", pap, maxUnderWay, 0, true, true},
		{"too many bytes, shared", pap, maxUnderWay + 1, 0, true, false},
		{"too many dialogues, shared", ascii, 0, maxShared, true, false},
	} {
		r := new(relayServer)
		d, c, lines := pipedDevice(t, r)
		r.underWay.Store(tt.underWay)
		h := header{version: minorOne, typ: typeAuthen, seqNo: 1, sessionID: 1 << 31}
		answered := make(chan string, 1)
		go func() {
			var reply authenReply
			_, err := c.receive(&reply)
			if err == nil {
				answered <- reply.status.String() + " " + reply.serverMsg
			}
			close(answered)
		}()
		accepted, left := false, 0
		if tt.shared {
			r.shared = newSharedUpstream(r.client, nil)
			s := &sharedDevice{device: d, slots: make(chan struct{}, maxShared), dialogues: make(map[uint32]*upstream)}
			for i := range tt.open {
				s.dialogues[uint32(i)] = nil
			}
			if tt.m == pap {
				accepted = s.submit(new(relayRequest), &h, tt.m, 100)
			} else {
				accepted = s.startDialogue(t.Context(), &h, tt.m, nil)
			}
			left = len(s.dialogues)
		} else {
			p := d.newUpstream()
			for i := range tt.open {
				p.sessions[uint32(i)] = new(relayedSession)
			}
			accepted = p.onRequest(&h, tt.m, 100)
			left = len(p.sessions)
		}
		d.client.conn.Close()
		want, more := "ERROR too many sessions", int64(0)
		if tt.accepted {
			want, more = "", 100
		}
		if !tt.shared && tt.accepted {
			left--
		}
		if got := <-answered; accepted != tt.accepted || got != want || left != tt.open || r.underWay.Load() != tt.underWay+more {
			t.Errorf("%s: accepted %t, reply %q, %d sessions, %d bytes", tt.name, accepted, got, left, r.underWay.Load())
		}
		if got := strings.HasSuffix(lines.String(), "too many sessions\n"); got == tt.accepted {
			t.Errorf("%s: the log is\n%s", tt.name, lines)
		}
	}
}

// A lateConn sets the deadline for the end of a context before any other.
type lateConn struct{ net.Conn }

func (c lateConn) SetDeadline(t time.Time) error { synctest.Wait(); return c.Conn.SetDeadline(t) }

// TestRelayDeviceShutdown: a relay that ends reads no more packets of a device. When it cuts off sessions, it does
// not wait for the device to read its reply.
func TestRelayDeviceShutdown(t *testing.T) {
	for _, shared := range []bool{false, true} {
		for _, delay := range []time.Duration{0, time.Second} {
			synctest.Test(t, func(t *testing.T) {
				r := new(relayServer)
				newPipedRelay(t, r)
				if shared {
					r.shared = newSharedUpstream(r.client, nil)
				}
				local, remote := net.Pipe()
				ctx, cancel := context.WithTimeout(t.Context(), delay)
				defer cancel()
				began := time.Now()
				if r.serve(ctx, t.Context(), lateConn{local}); time.Since(began) != delay {
					t.Errorf("shared %t: ends after %v", shared, time.Since(began))
				}
				remote.Close()
			})
		}
	}
	synctest.Test(t, func(t *testing.T) {
		r := new(relayServer)
		newPipedRelay(t, r)
		r.shared = newSharedUpstream(r.client, nil)
		life, end := context.WithTimeout(t.Context(), time.Second)
		defer end()
		local, remote := net.Pipe()
		go func() {
			remote.Write(packed(header{version: minorOne, typ: typeAuthen, seqNo: 1}, testKey, papStart("alice", testPassword)))
			f := <-r.shared.jobs
			f.answered, f.response = true, &authenReply{status: authenPass}
			f.home <- f
		}()
		began := time.Now()
		if r.serve(t.Context(), life, local); time.Since(began) != time.Second {
			t.Errorf("the relay waited %v for a device that does not read", time.Since(began))
		}
		remote.Close()
	})
}

// TestRelayChoosesKey: of keys that fit the lengths of a packet, the one with plausible fields is chosen.
func TestRelayChoosesKey(t *testing.T) {
	t.Parallel()
	d, _, _ := pipedDevice(t, new(relayServer))
	start := papStart(strings.Repeat("u", 200), strings.Repeat("p", 110))
	start.port, start.remAddr = strings.Repeat("t", 130), strings.Repeat("a", 120)
	h := header{version: minorOne, typ: typeAuthen, seqNo: 1, sessionID: 1}
	body := packed(h, testKey, start)[headerLen:]
	h.length = uint32(len(body))
	right, wrong := key{"right", testKey}, key{source: "wrong"}
	for i := 0; i < 100_000 && d.fits(&h, body, wrong) != 1; i++ {
		wrong.value = fmt.Sprint("wrong key number ", i)
	}
	for _, keys := range [][]key{{wrong, right}, {right, wrong}} {
		d.client.keys = keys
		if d.chooseKey(&h, body); d.fits(&h, body, wrong) != 1 || d.key != right {
			t.Errorf("keys %v: got %v", keys, d.key)
		}
	}
}

// TestRelayUpstreamTimes: idle connections are closed on both sides. The time counts from the last packet.
func TestRelayUpstreamTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _, _ := pipedDevice(t, new(relayServer))
		local, remote := net.Pipe()
		defer local.Close()
		defer remote.Close()
		p := d.newUpstream()
		p.outbound = &serverConn{conn: local, client: d.relay.client}
		h, m := header{version: minorDefault, typ: typeAuthen, seqNo: 1, sessionID: 1}, asciiStart("alice")
		p.onRequest(&h, m, 100)
		time.Sleep(time.Minute)
		p.toDevice, p.toServer = nil, nil
		h.seqNo++
		p.onReply(&h, &authenReply{status: authenGetPass}, "")
		began := time.Now()
		_, err := local.Read(make([]byte, 1))
		if elapsed := time.Since(began); !errors.Is(err, os.ErrDeadlineExceeded) || elapsed != relayIdle {
			t.Errorf("the relay waited %v for the server: %v", elapsed, err)
		}
		if p.up(); time.Since(began) != relayIdle {
			t.Errorf("the relay waited %v for the device", time.Since(began))
		}
	})
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

// TestRelayLateReply: a reply is ignored if the device has ended the session meanwhile, or has begun another one with
// its session_id.
func TestRelayLateReply(t *testing.T) {
	t.Parallel()
	d, _, lines := pipedDevice(t, new(relayServer))
	p := d.newUpstream()
	h := header{version: minorDefault, typ: typeAuthen, sessionID: 1}
	request := func(seqNo uint8, m message) { h.seqNo = seqNo; p.onRequest(&h, m, 100) }
	reply := func(seqNo uint8, status authenStatus) {
		h.seqNo = seqNo
		p.onReply(&h, &authenReply{status: status}, "")
	}
	check := func(what string, awaited int, want string) {
		t.Helper()
		p.device.client.log.flush()
		got := regexp.MustCompile(`[A-Z_]{4,}`).FindAllString(lines.String(), -1)
		if p.awaited != awaited || len(p.sessions) != awaited || strings.Join(got, " ") != want {
			t.Errorf("%s: %d replies of %d sessions are awaited, and the log is\n%s", what, p.awaited, len(p.sessions), lines)
		}
	}
	request(1, asciiStart("alice"))
	request(3, answerWith("which was not asked for yet"))
	check("after two packets", 1, "")
	request(5, &authenContinue{flags: authenAbort})
	reply(2, authenGetPass)
	check("after an ABORT", 0, "ABORT")
	request(1, asciiStart("alice"))
	reply(2, authenGetPass)
	request(3, answerWith(testPassword))
	request(1, asciiStart("alice"))
	reply(4, authenPass)
	check("after another START", 1, "ABORT NO_REPLY")
	reply(2, authenPass)
	check("at the end", 0, "ABORT NO_REPLY PASS")
	if n := p.device.relay.underWay.Load(); n != 0 {
		t.Errorf("%d bytes are held", n)
	}
}

// TestRelayReplyMatches: only the packet that a session waits for is its reply.
func TestRelayReplyMatches(t *testing.T) {
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
		t.Error("another packet is accepted as the reply")
	}
	h.seqNo++
	p.onReply(&h, &authenReply{status: authenGetPass}, "")
	if belongs(typeAuthen, 2, 1) || belongs(typeAuthen, 3, 1) {
		t.Error("a second reply is accepted before the next packet of the device")
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
		if p.onRequest(&h, answerWith("alice"), 100); p.named != want {
			t.Errorf("seq_no %d: has a name: %t", seqNo, p.named)
		}
	}
}

// pipedUpstream returns an upstream between two connections.
func pipedUpstream(t *testing.T, conn, server net.Conn) (p *upstream, lines *lockedBuffer) {
	t.Helper()
	r := new(relayServer)
	lines = newPipedRelay(t, r)
	r.client.keys = r.keys[netip.Prefix{}]
	d := &device{relay: r, client: r.listener.newInboundConn(t.Context(), conn, r.keys, false, relayBuffer), messages: new(messageSet)}
	p = d.newUpstream()
	p.outbound = &serverConn{conn: server, client: r.client}
	p.session, p.in = &session{conn: p.outbound}, bufio.NewReader(server)
	p.opened.Store(true)
	return p, lines
}

// TestRelayGathersWrites: packets that arrive together are written together, up to a limit. Packets before a bad one are
// forwarded, and those after it are not.
func TestRelayGathersWrites(t *testing.T) {
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
	check := func(mode string, to *stream, good int, lines *lockedBuffer) {
		t.Helper()
		if size := good / many; to.out.Len() != good || to.largest <= size || to.largest >= flushAt+size {
			t.Errorf("%s: %d bytes of %d are written, up to %d at a time", mode, to.out.Len(), good, to.largest)
		}
		if n := strings.Count(lines.String(), "TACACS+"); n != 1 {
			t.Errorf("%s: the log is\n%s", mode, lines)
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
	// After the device has disconnected, nothing more is read.
	rest := bytes.NewReader(data)
	p, _ = pipedUpstream(t, deadConn{device}, &stream{Reader: rest})
	if p.down(); rest.Len() < good {
		t.Errorf("%d bytes are left", rest.Len())
	}
}

// TestRelayLastTimes: packets do not move the deadline of a side that is no longer read.
func TestRelayLastTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _, _ := pipedDevice(t, new(relayServer))
		local, remote := net.Pipe()
		defer local.Close()
		defer remote.Close()
		p := d.newUpstream()
		p.outbound, p.device.relay.client.timeout = &serverConn{conn: local, client: d.relay.client}, time.Minute
		h := header{version: minorDefault, typ: typeAuthor, seqNo: 1}
		for h.sessionID = range 3 {
			p.onRequest(&h, new(authorRequest), 100)
		}
		h.seqNo, h.sessionID = 2, 0
		checkWait := func(side string, conn net.Conn, want time.Duration) {
			t.Helper()
			began := time.Now()
			time.Sleep(2 * time.Second)
			p.onReply(&h, new(authorResponse), "")
			h.sessionID++
			if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != want {
				t.Errorf("%s: waited %v: %v", side, time.Since(began), err)
			}
		}
		d.client.stopReading()
		checkWait("the device", d.client.conn, 2*time.Second)
		p.stopAfterReplies()
		checkWait("the server", local, time.Minute)
	})
}

// TestRelayServerCloses: if the server closes its connection, the device's is closed, even during a session.
func TestRelayServerCloses(t *testing.T) {
	t.Parallel()
	s := startFakeServer(t, func(c *fakeServerConn) { c.Write(c.reply(c.readRequest(), &authenReply{status: authenPass})) })
	r := relayTo(t, s.addr)
	c := dialDevice(t, r)
	if err := c.login(1, flagSingleConnect); err != nil {
		t.Error(err)
	}
	c.checkEnd(t)
}

// TestRelayKeyChanges: a reply that no longer fits the key causes one line, that of its session.
func TestRelayKeyChanges(t *testing.T) {
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
		t.Errorf("the log is\n%s", got)
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

// TestRelayClosesServerConn: the connection to the server is closed with the device's connection, and without
// single-connection mode with the session.
func TestRelayClosesServerConn(t *testing.T) {
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
			t.Errorf("flags %v: the connection to the server is not closed", flags)
		}
	}
}
