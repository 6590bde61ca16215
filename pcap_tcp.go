package main

import (
	"net/netip"
	"slices"
	"sync"
)

// A conversation is one TCP connection. It is reused after onClose returns.
type conversation struct {
	// End 0 opened the connection, or has the higher port if that was not captured. Both ends are zero for packets
	// without IP (linkNone).
	ends    [2]netip.AddrPort
	began   frameRef // the first frame
	opened  bool     // the SYN was captured, so no bytes before the first are missing
	ignored bool     // set by the consumer to get only onClose
	value   any      // set by the consumer; nil at first
	history tcpHistory

	flow       flow
	directions [2]direction // the bytes that ends 0 and 1 sent
	swap       int          // 1 if end 0 of the flow is end 1 of the conversation
	closed     bool         // kept to recognize late copies of its segments
	place      node[conversation]
}

// A tcpHistory is what the segments of a conversation show, other than their bytes.
type tcpHistory struct {
	flags  [2]tcpFlags // all that each end sent, so a SYN and an RST show a refused connection
	closer int         // the end that sent the first FIN or RST; -1 for neither
	frames int
	cut    int // frames that the capture cut
}

// add adds a segment of one end.
func (h *tcpHistory) add(from int, s *segment, cut bool) {
	h.frames++
	if cut {
		h.cut++
	}
	if h.flags[from] |= s.flags; h.closer < 0 && s.flags&(tcpFIN|tcpRST) != 0 {
		h.closer = from
	}
}

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
}

// A piece is bytes that were captured before preceding bytes.
type piece struct {
	seq  uint32
	data []byte
}

// Bounds.
const (
	maxConversations = 1 << 16 // open ones
	maxClosed        = 1 << 10 // closed conversations that are kept
	maxHeldDirection = 1 << 18 // bytes held in one direction
	maxPieces        = 1 << 8  // pieces held in one direction
	maxHeldAll       = 1 << 22 // bytes held in all conversations, plus pieceCost for each piece
	pieceCost        = 64      // bytes
	maxWindow        = 1 << 20 // distance of sequence numbers in one window
)

// A reassembler reassembles TCP connections and reports their bytes to a consumer. It calls the functions from the
// goroutine of add or finish. Their arguments are valid during the call only.
type reassembler struct {
	// want reports whether to follow a connection between two ends, in either order. nil follows all.
	want func(a, b netip.AddrPort) bool
	// sender is payloadFormat.sender.
	sender func(packet []byte) (from int, ok bool)
	// onData gets the bytes of one end, in order and each once, and the frame that completed them.
	onData func(c *conversation, from int, at frameRef, data []byte)
	// onGap is called if the next bytes of one end are missing.
	onGap func(c *conversation, from int, at frameRef, missing int)
	// onClose is called at the end: after a FIN of both ends, a RST, a new connection of the same ports, a drop, or
	// finish. Gaps at the end are reported before.
	onClose func(c *conversation, at frameRef)

	frames  int         // all
	unread  frameCounts // of other protocols
	dropped int         // open conversations dropped to bound memory

	conversations map[flow]*conversation
	latest        *conversation // of the previous segment, and most often of the next one
	open, closed  queue[conversation]
	bare          *conversation // of packets without IP
	unused        sync.Pool     // of *conversation
	held          int           // counts against maxHeldAll
}

// add adds a frame.
func (r *reassembler) add(f *frame) {
	r.frames++
	if f.link == linkNone {
		r.addBare(f)
		return
	}
	var s segment
	if p, ok := s.parse(f); !ok {
		r.unread.add(p, 1)
		return
	}
	if c := r.find(&s, f.ref()); c != nil && !c.closed {
		r.open.moveToEnd(&c.place)
		from := s.from ^ c.swap
		c.history.add(from, &s, f.size > len(f.data))
		r.addSegment(c, from, &s, f.ref())
	}
}

// addBare adds a packet without IP.
func (r *reassembler) addBare(f *frame) {
	from, ok := r.sender(f.data)
	if !ok {
		r.unread.add(malformedHeader, 1)
		return
	}
	if r.bare == nil {
		r.bare = &conversation{began: f.ref(), history: tcpHistory{closer: -1}}
	}
	r.emit(r.bare, from, f.ref(), f.data)
	r.emitGap(r.bare, from, f.ref(), f.size-len(f.data))
}

// find returns the conversation of a segment, which may be new, or nil if the segment begins none.
func (r *reassembler) find(s *segment, at frameRef) *conversation {
	c := r.latest
	if c == nil || c.flow != s.flow {
		c = r.conversations[s.flow]
		r.latest = c
	}
	if c != nil && c.isOther(s) {
		if !c.closed {
			r.close(c, at)
		}
		r.forget(c)
		c = nil
	}
	if c != nil {
		return c
	}
	if s.flags&tcpRST != 0 || s.flags&tcpSYN == 0 && len(s.data) == 0 {
		return nil
	}
	if r.want != nil && !r.want(s.flow.end(0), s.flow.end(1)) {
		return nil
	}
	return r.begin(s, at)
}

// isOther reports whether a segment is of a later connection with the same ports: it is a SYN with another initial sequence
// number, or both its data and its acknowledgement are far from the windows.
func (c *conversation) isOther(s *segment) bool {
	own, peer := &c.directions[s.from^c.swap], &c.directions[s.from^c.swap^1]
	ack := s.flags&tcpACK != 0
	switch {
	case s.flags&tcpSYN == 0:
		return len(s.data) > 0 && own.known && isFar(s.seq, own.next) && (!peer.known || ack && isFar(s.ack, peer.next))
	case own.known:
		return s.seq+1 != own.first
	case ack:
		return peer.known && isFar(s.ack, peer.first)
	}
	return peer.known
}

// isFar reports whether two sequence numbers are more than maxWindow apart.
func isFar(a, b uint32) bool { return a-b+maxWindow > 2*maxWindow }

// begin makes a conversation from its first segment.
func (r *reassembler) begin(s *segment, at frameRef) *conversation {
	if r.open.len == maxConversations {
		oldest := r.open.first()
		r.close(oldest, at)
		r.forget(oldest)
		r.dropped++
	}
	client := s.from
	switch {
	case s.flags&(tcpSYN|tcpACK) == tcpSYN|tcpACK:
		client = 1 - s.from
	case s.flags&tcpSYN != 0 || s.flow.ports[0] == s.flow.ports[1]:
	case s.flow.ports[0] > s.flow.ports[1]:
		client = 0
	default:
		client = 1
	}
	c, ok := r.unused.Get().(*conversation)
	if !ok {
		c = new(conversation)
	}
	*c = conversation{
		ends:    [2]netip.AddrPort{s.flow.end(client), s.flow.end(1 - client)},
		began:   at,
		opened:  s.flags&tcpSYN != 0,
		history: tcpHistory{closer: -1},
		flow:    s.flow,
		swap:    client,
	}
	if r.conversations == nil {
		r.conversations = make(map[flow]*conversation)
	}
	r.conversations[c.flow], r.latest = c, c
	r.open.push(&c.place, c)
	return c
}

// close reports the held bytes of a conversation, and its end.
func (r *reassembler) close(c *conversation, at frameRef) {
	for from := range c.directions {
		r.release(c, from, at)
		r.emitLastGap(c, from, at)
	}
	r.onClose(c, at)
	c.value, c.closed = nil, true
	r.open.remove(&c.place)
	if r.closed.push(&c.place, c); r.closed.len > maxClosed {
		r.forget(r.closed.first())
	}
}

// forget removes a closed conversation and reuses its memory.
func (r *reassembler) forget(c *conversation) {
	delete(r.conversations, c.flow)
	if r.latest == c {
		r.latest = nil
	}
	r.closed.remove(&c.place)
	r.unused.Put(c)
}

// finish closes all conversations.
func (r *reassembler) finish(at frameRef) {
	for r.open.len > 0 {
		r.close(r.open.first(), at)
	}
	if r.bare != nil {
		r.onClose(r.bare, at)
		r.bare = nil
	}
}

// addSegment adds a segment to its conversation.
func (r *reassembler) addSegment(c *conversation, from int, s *segment, at frameRef) {
	own, peer := &c.directions[from], &c.directions[1-from]
	if s.flags&tcpSYN != 0 {
		s.seq++ // a SYN has a sequence number
	}
	size := len(s.data) + s.missing
	if s.flags&(tcpSYN|tcpFIN) != 0 || size > 0 {
		own.start(s.seq)
	}
	if s.flags&tcpRST != 0 {
		if !own.known || !isFar(s.seq, own.next) {
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
	r.deliver(c, 1-from, at) // the segment may answer these bytes
	if size > 0 {
		r.addData(c, from, s, at)
	}
	if s.flags&tcpFIN != 0 && !own.fin {
		own.fin, own.last = true, s.seq+uint32(size)
	}
	r.deliver(c, from, at)
	if own.done() && peer.done() || c.ignored && own.fin && peer.fin {
		r.close(c, at)
	}
}

// start sets the first sequence number, unless it is known.
func (d *direction) start(seq uint32) {
	if !d.known {
		d.known, d.first, d.next, d.acked = true, seq, seq, seq
	}
}

// done reports whether all bytes up to the FIN were reported.
func (d *direction) done() bool { return d.fin && int32(d.next-d.last) >= 0 }

// addData reports the bytes of a segment, or holds them if others are missing before them. The first copy of a byte counts.
func (r *reassembler) addData(c *conversation, from int, s *segment, at frameRef) {
	d := &c.directions[from]
	behind := -int64(int32(s.seq - d.next))
	switch {
	case c.ignored:
		r.release(c, from, at)
		if behind < 0 {
			d.next = s.seq // near enough to recognize a later connection of the port
		}
	case behind < 0 && isFar(s.seq, d.next) && isFar(s.seq, d.acked):
		// Not held. If it is of this connection, the other end acknowledges it.
	case behind < 0:
		r.hold(d, s.seq, s.data)
		for d.size > maxHeldDirection || len(d.held) > maxPieces {
			r.skipGap(c, from, at)
		}
		if r.held > maxHeldAll {
			r.evict(at)
		}
	case behind < int64(len(s.data)+s.missing): // else it is a repetition, like a keep-alive
		repeated := min(int(behind), len(s.data))
		r.emit(c, from, at, s.data[repeated:])
		r.emitGap(c, from, at, s.missing-(int(behind)-repeated))
	}
}

// emit reports the next bytes of a direction.
func (r *reassembler) emit(c *conversation, from int, at frameRef, data []byte) {
	c.directions[from].next += uint32(len(data))
	if len(data) > 0 && !c.ignored {
		r.onData(c, from, at, data)
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

// hold keeps a copy of the bytes of a segment that are not held yet.
func (r *reassembler) hold(d *direction, seq uint32, data []byte) {
	for len(data) > 0 {
		i := 0 // the first piece that ends after seq
		for i < len(d.held) && int32(d.held[i].seq+uint32(len(d.held[i].data))-seq) <= 0 {
			i++
		}
		n := len(data)
		if i < len(d.held) {
			if before := int32(d.held[i].seq - seq); before > 0 {
				n = min(n, int(before))
			} else { // the piece has these bytes
				n = min(n, len(d.held[i].data)+int(before))
				seq, data = seq+uint32(n), data[n:]
				continue
			}
		}
		d.held = slices.Insert(d.held, i, piece{seq, slices.Clone(data[:n])})
		d.size += n
		r.held += n + pieceCost
		seq, data = seq+uint32(n), data[n:]
	}
}

// deliver reports the held bytes that are next, and those after a gap that the other end has acknowledged: it will not be
// filled.
func (r *reassembler) deliver(c *conversation, from int, at frameRef) {
	for d := &c.directions[from]; d.fin || len(d.held) > 0; {
		r.emitHeld(c, from, at)
		end := d.last
		switch {
		case len(d.held) > 0:
			end = d.held[0].seq
		case !d.fin:
			return
		}
		if int32(end-d.next) <= 0 || int32(d.acked-end) < 0 {
			return
		}
		r.emitGap(c, from, at, int(end-d.next))
	}
}

// emitHeld reports the held bytes that are next.
func (r *reassembler) emitHeld(c *conversation, from int, at frameRef) {
	d := &c.directions[from]
	n := 0
	for _, p := range d.held {
		repeated := int(int32(d.next - p.seq))
		if repeated < 0 {
			break
		}
		n++
		d.size -= len(p.data)
		r.held -= len(p.data) + pieceCost
		r.emit(c, from, at, p.data[min(repeated, len(p.data)):])
	}
	d.held = slices.Delete(d.held, 0, n)
}

// skipGap reports the gap before the first held bytes, and the bytes.
func (r *reassembler) skipGap(c *conversation, from int, at frameRef) {
	d := &c.directions[from]
	r.emitGap(c, from, at, int(int32(d.held[0].seq-d.next)))
	r.emitHeld(c, from, at)
}

// release reports all bytes that a direction holds.
func (r *reassembler) release(c *conversation, from int, at frameRef) {
	for len(c.directions[from].held) > 0 {
		r.skipGap(c, from, at)
	}
}

// evict releases the bytes of the longest silent conversations, until half of the bound is free.
func (r *reassembler) evict(at frameRef) {
	for c := r.open.first(); c != nil && r.held > maxHeldAll/2; c = c.place.next() {
		for from := range c.directions {
			r.release(c, from, at)
		}
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
