package main

import "bytes"

// A direction is the bytes that one end sends.
type direction struct {
	known bool   // the numbers below are
	fin   bool   // the end has sent a FIN
	first uint32 // sequence number of the first byte
	next  uint32 // of the next byte to report
	acked uint32 // highest acknowledgement of the other end
	last  uint32 // if fin: the number after the last byte
	held  []piece
	size  int // bytes in held

	at      frameRef // the latest frame with reported bytes
	arrived int      // its place among all frames
}

// A piece is bytes that were captured before others that precede them: of the same direction, or of the other one. That of
// a FIN is empty.
type piece struct {
	seq     uint32
	ack     uint32 // waits: the number up to which the other end's bytes precede
	waits   bool
	arrived int // its place among all frames
	at      frameRef
	data    []byte
}

// Bounds.
const (
	maxHeldDirection = 1 << 18 // bytes held in one direction
	maxPieces        = 1 << 8  // pieces held in one direction
	maxLate          = 1 << 10 // frames after which a missing one is given up
	pieceCost        = 80      // bytes of a piece, other than its data
)

// addSegment adds a segment to its conversation.
func (r *reassembler) addSegment(c *conversation, from int, s *segment, at *frameRef) {
	own, peer := &c.directions[from], &c.directions[1-from]
	if s.flags&tcpSYN != 0 {
		s.seq++ // a SYN has a sequence number
	}
	size := len(s.data) + s.missing
	if s.flags&(tcpSYN|tcpFIN) != 0 || size > 0 {
		own.start(s.seq)
	}
	if s.flags&tcpRST != 0 {
		switch early := r.isEarly(s, peer); {
		case own.known && isFar(s.seq, own.next):
		case !c.ignored && early:
			c.reset = true
			r.hold(c, from, piece{seq: s.seq, ack: s.ack, waits: true, at: *at, arrived: r.frames})
		default:
			r.close(c, at)
		}
		return
	}
	if s.flags&tcpACK != 0 {
		peer.start(s.ack) // so that a gap is noticed if only one direction was captured
		if int32(s.ack-peer.acked) > 0 {
			peer.acked = s.ack
		}
	}
	if c.waiting {
		r.deliver(c) // the segment may answer held bytes
	}
	if size > 0 {
		r.addData(c, from, s, at)
	}
	if s.flags&tcpFIN != 0 && !own.fin {
		own.fin, own.last = true, s.seq+uint32(size)
		if int32(own.last-own.next) > 0 && !c.ignored {
			r.hold(c, from, piece{seq: own.last, at: *at, arrived: r.frames})
		}
	}
	if c.waiting {
		r.deliver(c)
	}
	if c.ended() || c.ignored && own.fin && peer.fin {
		r.close(c, at)
	}
}

// isEarly reports whether a segment acknowledges bytes of the other end that were not captured yet.
func (r *reassembler) isEarly(s *segment, peer *direction) bool {
	return !r.live && s.flags&tcpACK != 0 && !peer.reached(s.ack) && !isFar(s.ack, peer.next)
}

// ended reports whether the connection was closed or reset, and all bytes were reported.
func (c *conversation) ended() bool {
	return c.directions[0].done() && c.directions[1].done() || c.reset && !c.waiting
}

// start sets the first sequence number, unless it is known.
func (d *direction) start(seq uint32) {
	if !d.known {
		d.known, d.first, d.next, d.acked = true, seq, seq, seq
	}
}

// done reports whether all bytes up to the FIN were reported.
func (d *direction) done() bool { return d.fin && len(d.held) == 0 && int32(d.next-d.last) >= 0 }

// reached reports whether all bytes up to an acknowledgement were reported. A FIN has a number too.
func (d *direction) reached(ack uint32) bool {
	return int32(ack-d.next) <= 0 || d.fin && d.next == d.last
}

// addData reports the bytes of a segment, or holds them if others are missing before them. The first copy of a byte counts.
func (r *reassembler) addData(c *conversation, from int, s *segment, at *frameRef) {
	d, peer := &c.directions[from], &c.directions[1-from]
	behind := -int64(int32(s.seq - d.next))
	waits := len(s.data) > 0 && r.isEarly(s, peer)
	switch {
	case c.ignored:
		r.release(c)
		if behind < 0 {
			d.next = s.seq // near enough to recognize a later connection of the port
		}
	case behind < 0 && isFar(s.seq, d.next) && isFar(s.seq, d.acked):
		// Not held. If it is of this connection, the other end acknowledges it.
	case behind >= int64(len(s.data)+s.missing): // a repetition, like a keep-alive
	case behind < 0 || waits || len(d.held) > 0 && d.held[0].waits:
		data := s.data[min(max(int(behind), 0), len(s.data)):]
		if len(data) > 0 {
			r.hold(c, from, piece{seq: s.seq + uint32(len(s.data)-len(data)), ack: s.ack, waits: waits, at: *at, arrived: r.frames, data: data})
		}
	default:
		repeated := min(int(behind), len(s.data))
		r.emit(c, from, *at, r.frames, s.data[repeated:])
		r.emitGap(c, from, *at, s.missing-(int(behind)-repeated))
	}
}

// emit reports the next bytes of a direction.
func (r *reassembler) emit(c *conversation, from int, at frameRef, arrived int, data []byte) {
	d := &c.directions[from]
	d.next += uint32(len(data))
	if arrived > d.arrived {
		d.at, d.arrived = at, arrived
	}
	if len(data) > 0 && !c.ignored {
		r.onData(c, from, d.at, data)
	}
}

// emitGap reports that the next bytes of a direction are missing.
func (r *reassembler) emitGap(c *conversation, from int, at frameRef, missing int) {
	if missing <= 0 {
		return
	}
	c.directions[from].next += uint32(missing)
	if !c.ignored {
		r.onGap(c, from, at, missing)
	}
}

// hold keeps a copy of the bytes of a piece that are not held yet.
func (r *reassembler) hold(c *conversation, from int, p piece) {
	d, data := &c.directions[from], p.data
	for first := true; len(data) > 0 || first && len(p.data) == 0; first = false {
		i := 0 // the first piece that ends after p.seq
		for i < len(d.held) && int32(d.held[i].seq+uint32(len(d.held[i].data))-p.seq) <= 0 {
			i++
		}
		n := len(data)
		if i < len(d.held) && n > 0 {
			if before := int32(d.held[i].seq - p.seq); before > 0 {
				n = min(n, int(before))
			} else { // the piece has these bytes
				n = min(n, len(d.held[i].data)+int(before))
				p.seq, data = p.seq+uint32(n), data[n:]
				continue
			}
		}
		added := p
		added.data = bytes.Clone(data[:n])
		d.size, r.held.used = d.size+n, r.held.used+cap(added.data)
		held := append(d.held, piece{})
		copy(held[i+1:], held[i:])
		held[i] = added
		r.setHeld(d, held)
		p.seq, data = p.seq+uint32(n), data[n:]
	}
	if !c.waiting && len(d.held) > 0 {
		c.waiting, c.since = true, r.frames
		r.waiting.push(&c.waitPlace, c)
	}
	for d.size > maxHeldDirection || len(d.held) > maxPieces {
		r.skip(c, from)
		r.deliver(c)
	}
	if r.held.exceeds(0) {
		r.evict()
	}
}

// setHeld replaces the pieces of a direction, whose slice counts too.
func (r *reassembler) setHeld(d *direction, held []piece) {
	if len(held) == 0 {
		held = nil
	}
	r.held.used += (cap(held) - cap(d.held)) * pieceCost
	d.held = held
}

// deliver reports the held bytes of both ends that are next, in the order in which they were captured, and gives up bytes
// that will not come.
func (r *reassembler) deliver(c *conversation) {
	for {
		for from := 0; from < 2; {
			if r.emitHeld(c, from) {
				from = 0 // which may wait for these bytes
			} else {
				from++
			}
		}
		switch from := c.oldest(); {
		case from < 0:
			r.stopWaiting(c)
			return
		case c.crossed():
			c.directions[1-from].held[0].waits = false
		case r.isLost(&c.directions[from]):
			r.skip(c, from)
		case r.isLost(&c.directions[1-from]):
			r.skip(c, 1-from)
		default:
			return
		}
	}
}

// crossed reports whether both ends' next bytes are held and wait for each other. The later ones were sent again then: what
// was captured first acknowledges them.
func (c *conversation) crossed() bool {
	for from := range c.directions {
		d := &c.directions[from]
		if len(d.held) == 0 || !d.held[0].waits || int32(d.held[0].seq-d.next) > 0 {
			return false
		}
	}
	return true
}

// isLost reports whether the bytes that the first piece waits for will not come: the other end has received them, and the
// piece is as old as maxLate. When live, a late frame is not waited for.
func (r *reassembler) isLost(d *direction) bool {
	if len(d.held) == 0 {
		return false
	}
	p := &d.held[0]
	return (r.live || r.frames-p.arrived > maxLate) && (int32(p.seq-d.next) <= 0 || int32(d.acked-p.seq) >= 0)
}

// oldest returns the direction whose next piece was captured first, or -1 if there is none.
func (c *conversation) oldest() int {
	a, b := c.directions[0].held, c.directions[1].held
	switch {
	case len(a)+len(b) == 0:
		return -1
	case len(a) == 0 || len(b) > 0 && b[0].arrived < a[0].arrived:
		return 1
	}
	return 0
}

// emitHeld reports the held bytes of one end that are next. It returns whether there were any.
func (r *reassembler) emitHeld(c *conversation, from int) bool {
	d, peer := &c.directions[from], &c.directions[1-from]
	n := 0
	for _, p := range d.held {
		repeated := int(int32(d.next - p.seq))
		if repeated < 0 || p.waits && !peer.reached(p.ack) {
			break
		}
		n++
		d.size -= len(p.data)
		r.held.used -= cap(p.data)
		r.emit(c, from, p.at, p.arrived, p.data[min(repeated, len(p.data)):])
	}
	if n > 0 {
		rest := copy(d.held, d.held[n:])
		clear(d.held[rest:])
		r.setHeld(d, d.held[:rest])
	}
	return n > 0
}

// skip gives up the bytes before the first piece of one end: its own, or those of the other end that it waits for. If that
// is one byte, it may be a FIN.
func (r *reassembler) skip(c *conversation, from int) {
	d, peer := &c.directions[from], &c.directions[1-from]
	p := &d.held[0]
	if missing := int(int32(p.seq - d.next)); missing > 0 {
		r.emitGap(c, from, p.at, missing)
		return
	}
	missing := int(int32(p.ack - peer.next))
	if len(peer.held) > 0 {
		missing = min(missing, int(int32(peer.held[0].seq-peer.next)))
	} else if missing == 1 {
		missing = 0
	}
	if missing > 0 {
		r.emitGap(c, 1-from, p.at, missing)
	} else {
		p.waits = false
	}
}

// release reports all bytes that a conversation holds.
func (r *reassembler) release(c *conversation) {
	for from := c.oldest(); from >= 0; from = c.oldest() {
		if !r.emitHeld(c, from) && !r.emitHeld(c, 1-from) {
			r.skip(c, from)
		}
	}
	r.stopWaiting(c)
}

// stopWaiting notes that a conversation holds nothing.
func (r *reassembler) stopWaiting(c *conversation) {
	if c.waiting {
		c.waiting = false
		r.waiting.remove(&c.waitPlace)
	}
}

// examineWaiting gives up the missing bytes of a conversation that has waited for long.
func (r *reassembler) examineWaiting(at *frameRef) {
	c := r.waiting.first()
	if c == nil || r.live || r.frames-c.since <= maxLate {
		return
	}
	c.since = r.frames
	r.waiting.moveToEnd(&c.waitPlace)
	if r.deliver(c); !c.waiting && c.ended() {
		r.close(c, at)
	}
}

// evict releases the bytes of the conversations that have waited longest, until half of the budget is free.
func (r *reassembler) evict() {
	for c := r.waiting.first(); c != nil && r.held.used > r.held.limit/2; c = r.waiting.first() {
		r.release(c)
	}
}

// emitLastGap reports the bytes that are missing at the end: up to the FIN, or up to the acknowledgement. If that is one
// byte more, it is for a FIN that was not captured.
func (r *reassembler) emitLastGap(c *conversation, from int, at frameRef) {
	switch d := &c.directions[from]; {
	case d.fin:
		r.emitGap(c, from, at, int(int32(d.last-d.next)))
	case d.acked-d.next != 1:
		r.emitGap(c, from, at, int(int32(d.acked-d.next)))
	}
}
