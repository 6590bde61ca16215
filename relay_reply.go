package main

import (
	"errors"
	"os"
	"time"
)

// refuse logs what is wrong with the packet of h, and replies as RFC 8907 requires.
func (d *device) refuse(h header, then rejection, problem, serverMsg string) {
	d.client.note(problem)
	switch then {
	case rejectWithHeader:
		d.writing.Lock()
		defer d.writing.Unlock()
		d.out = d.client.appendHeader(d.out, h)
		d.write(headerLen, false)
	case rejectWithError:
		d.send(nil, d.client.replyHeader(h), errorReply(h.typ, serverMsg))
	}
}

// send sends a packet of a session, or of none, to the device. Those of a session wait for deliver; due reports whether
// enough of them do. A device that leaves too many replies unread is cut off.
func (d *device) send(s *relayedSession, h header, m message) (due bool) {
	d.writing.Lock()
	defer d.writing.Unlock()
	before := len(d.out)
	d.out, _ = d.encoder.appendPacket(d.out, &h, m) // it fits: it was decoded, or is an ERROR
	packet := d.out[before+headerLen:]
	if d.client.dump != nil {
		var secrets []string
		if s != nil {
			secrets = s.tracker.hidden()
		}
		d.client.dump.packet("sent to", d.client.addr, &h, packet, m, secrets...)
	}
	if !d.client.cleartext {
		obfuscate(&h, d.client.key.value, packet)
	}
	d.write(len(d.out)-before, s != nil)
	return len(d.out) >= flushAt
}

// write has the last n bytes of out written, unless the device reads too few of its replies. With later, deliver writes
// them. d.writing is locked.
func (d *device) write(n int, later bool) {
	rest := d.out[:len(d.out)-n]
	switch {
	case d.broken:
		d.out = rest
	case d.unread.take(n) != "":
		d.out, d.broken = rest, true
		d.cutOff()
	case d.busy, later:
	default:
		d.startFlush()
	}
}

// deliver writes what send left to it, unless another goroutine does.
func (d *device) deliver() {
	d.writing.Lock()
	defer d.writing.Unlock()
	if !d.busy {
		d.flush(false)
	}
}

// deliverSoon is deliver for a pool, which must go on: what the device does not take soon is left to another goroutine. All
// is left to it if the pool is not the device's own, or over TLS, where no write can follow one that timed out.
func (d *device) deliverSoon(own bool) {
	d.writing.Lock()
	defer d.writing.Unlock()
	if !d.busy && len(d.out) > 0 && (!own || d.client.cleartext || !d.flush(true)) {
		d.startFlush()
	}
}

// startFlush has a goroutine call flush. d.writing is locked.
func (d *device) startFlush() {
	d.busy = true
	d.running.Go(func() {
		d.writing.Lock()
		defer d.writing.Unlock()
		d.flush(false)
	})
}

// flush writes packets until there are none. With soon it returns false if the device does not take some within writeGrace.
// d.writing is locked, but not during the writes.
func (d *device) flush(soon bool) (done bool) {
	for d.busy = true; len(d.out) > 0; d.space.Broadcast() {
		out, broken := d.out, d.broken
		d.out = d.spare[:0]
		d.writing.Unlock()
		n, err := len(out), error(nil)
		if !broken {
			n, err = d.writeNow(out, soon)
		}
		d.writing.Lock()
		if soon && errors.Is(err, os.ErrDeadlineExceeded) {
			d.unread.release(n)
			d.out = append(out[n:], d.out...)
			return false
		}
		d.unread.release(len(out))
		if err != nil {
			d.broken = true
			d.cutOff()
		}
		if d.spare = out; cap(out) > relayBuffer {
			d.spare = nil
		}
	}
	d.busy = false
	return true
}

// waitForSpace waits until the device has read most of its replies.
func (d *device) waitForSpace() {
	d.writing.Lock()
	defer d.writing.Unlock()
	for len(d.out) >= maxReplies && !d.broken {
		d.space.Wait()
	}
}

// writeNow writes packets, within writeGrace or the time that a server has for a reply.
func (d *device) writeNow(packets []byte, soon bool) (n int, err error) {
	limit := choose(soon, writeGrace, d.config.lone.timeout+time.Second)
	_ = d.client.conn.SetWriteDeadline(time.Now().Add(limit))
	n, err = d.client.conn.Write(packets)
	if !soon && errors.Is(err, os.ErrDeadlineExceeded) {
		d.client.note("does not read its replies")
	}
	return n, err
}

// cutOff ends a connection that cannot be written to.
func (d *device) cutOff() {
	d.client.stopReading()
	_ = d.client.conn.SetWriteDeadline(time.Unix(1, 0))
}
