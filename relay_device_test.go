package main

import (
	"context"
	"fmt"
	"io"
	"net"
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
	own, other := net.Pipe()
	t.Cleanup(func() { own.Close(); other.Close() })
	d = &device{relay: r, client: r.listener.newInboundConn(t.Context(), own, r.keys, false, relayBuffer), messages: new(decodeMessages)}
	d.key, d.client.idle = d.client.keys[0], relayIdle
	return d, newFakeClient(other), lines
}

// newPipedRelay makes r a relay that does not listen.
func newPipedRelay(t *testing.T, r *relayServer) (lines *lockedBuffer) {
	lines = new(lockedBuffer)
	r.listener, r.client = newListener(), new(client)
	r.keys = clientKeys{{}: {{"test", testKey}}}
	r.listener.log = &sessionLog{out: newQueuedWriter(context.Background(), lines)}
	return lines
}

// TestRelayDeviceTimes: a device that sends nothing more, or never finishes its first packet, is not waited for.
func TestRelayDeviceTimes(t *testing.T) {
	login := packed(header{version: minorOne, typ: typeAuthen, seqNo: 1, flags: flagSingleConnect}, testKey, papStart("alice", testPassword))
	for _, tt := range []struct {
		name string
		says func(c net.Conn)
		want time.Duration
	}{
		{"nothing", func(net.Conn) {}, firstTimeout},
		{"byte by byte", func(c net.Conn) {
			for i := range login {
				c.Write(login[i : i+1])
				time.Sleep(time.Second)
			}
		}, firstTimeout},
		{"a login and no more", func(c net.Conn) {
			c.Write(login)
			io.Copy(io.Discard, c)
		}, relayIdle},
		{"a login, and another", func(c net.Conn) {
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
						return // it needs a server: TestRelayPassageTimes
					}
					r := new(relayServer)
					newPipedRelay(t, r)
					var all sync.WaitGroup
					if shared {
						r.shared = newSharedUpstream(r.client, nil)
						all.Go(func() {
							for f := range r.shared.jobs { // a pool whose server permits all
								f.answered, f.response = true, &authenReply{status: authenPass}
								f.home <- f
							}
						})
					}
					own, other := net.Pipe()
					all.Go(func() { tt.says(other) })
					began := time.Now()
					r.serve(t.Context(), t.Context(), own)
					if took := time.Since(began); took != tt.want {
						t.Errorf("ends after %v, want %v", took, tt.want)
					}
					own.SetDeadline(time.Now())
					if _, err := own.Write([]byte{0}); err != io.ErrClosedPipe {
						t.Errorf("the connection is not closed: %v", err)
					}
					other.Close()
					if shared {
						close(r.shared.jobs)
					}
					all.Wait()
				})
			})
		}
	}
}

// TestRelayTooMuch: requests over the limits of sessions and bytes are refused, and hold nothing.
func TestRelayTooMuch(t *testing.T) {
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
		{"the last bytes", pap, maxUnderWay, 0, false, true},
		{"the bytes", pap, maxUnderWay + 1, 0, false, false},
		{"the last session", pap, 0, maxDialogues - 1, false, true},
		{"the sessions", pap, 0, maxDialogues, false, false},
		{"the last bytes, shared", pap, maxUnderWay, 0, true, true},
		{"the bytes, shared", pap, maxUnderWay + 1, 0, true, false},
		{"the dialogues, shared", ascii, 0, maxShared, true, false},
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
			t.Errorf("%s: accepted %t, answered with %q, %d sessions, %d bytes", tt.name, accepted, got, left, r.underWay.Load())
		}
		if got := strings.HasSuffix(lines.String(), "too many sessions\n"); got == tt.accepted {
			t.Errorf("%s: the lines are\n%s", tt.name, lines)
		}
	}
}

// lateConn is a connection whose deadline at the end of a context is set before any other.
type lateConn struct{ net.Conn }

func (c lateConn) SetDeadline(t time.Time) error { synctest.Wait(); return c.Conn.SetDeadline(t) }

// TestRelayDeviceAtTheEnd: when the relay ends, it waits for no more packets of a device. When it cuts off sessions,
// it does not wait for the device to read its reply.
func TestRelayDeviceAtTheEnd(t *testing.T) {
	for _, shared := range []bool{false, true} {
		for _, delay := range []time.Duration{0, time.Second} {
			synctest.Test(t, func(t *testing.T) {
				r := new(relayServer)
				newPipedRelay(t, r)
				if shared {
					r.shared = newSharedUpstream(r.client, nil)
				}
				own, other := net.Pipe()
				ctx, cancel := context.WithTimeout(t.Context(), delay)
				defer cancel()
				began := time.Now()
				if r.serve(ctx, t.Context(), lateConn{own}); time.Since(began) != delay {
					t.Errorf("shared %t: ends after %v", shared, time.Since(began))
				}
				other.Close()
			})
		}
	}
	synctest.Test(t, func(t *testing.T) {
		r := new(relayServer)
		newPipedRelay(t, r)
		r.shared = newSharedUpstream(r.client, nil)
		life, end := context.WithTimeout(t.Context(), time.Second)
		defer end()
		own, other := net.Pipe()
		go func() {
			other.Write(packed(header{version: minorOne, typ: typeAuthen, seqNo: 1}, testKey, papStart("alice", testPassword)))
			f := <-r.shared.jobs
			f.answered, f.response = true, &authenReply{status: authenPass}
			f.home <- f
		}()
		began := time.Now()
		if r.serve(t.Context(), life, own); time.Since(began) != time.Second {
			t.Errorf("a device that takes no reply is waited for for %v", time.Since(began))
		}
		other.Close()
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
			t.Errorf("of %v it takes %v", keys, d.key)
		}
	}
}
