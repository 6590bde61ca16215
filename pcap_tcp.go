package main

import (
	"net/netip"
	"slices"
	"time"
)

// A conversation is one TCP connection. It is used again for another once ended has returned.
type conversation struct {
	// ends are its two sides. 0 is the one that opened it, where that was seen; else the one with the
	// higher port. Both are the zero AddrPort for packets that come without IP (linkNone).
	ends    [2]netip.AddrPort
	began   time.Time // its first frame
	opened  bool      // its SYN was seen: what is said is all from the beginning
	ignored bool      // set by who listens: from now on only its end is told
	owner   any       // what it is to the one who listens; nil at first

	flow       flow
	directions [2]direction // what ends 0 and 1 said
	turn       int          // 1 where end 0 of the flow is end 1 of the conversation
	over       bool         // it ended; kept for a while to know late copies of its segments by

	newer, older *conversation // in a queue
}

// A side is the bytes that one end says.
type direction struct {
	known bool   // the numbers below are
	fin   bool   // the end said that it says no more
	first uint32 // sequence number of its first byte
	next  uint32 // of the next byte to be told
	acked uint32 // of the first one that the other end does not say it has
	last  uint32 // where fin is: of the first one that does not exist
	held  []piece
	size  int // bytes in held
}

// A piece is bytes that came before those in front of them.
type piece struct {
	seq  uint32
	data []byte
}

// Bounds.
const (
	maxConversations = 1 << 16
	maxOver          = 1 << 10 // conversations that are kept when they have ended
	maxHeldSide      = 1 << 18 // bytes that one side holds back: some packets of TACACS+
	maxPieces        = 1 << 8  // that it holds them in
	maxHeldAll       = 1 << 22 // bytes that all sides hold back, and pieceCost for each piece
	pieceCost        = 64
	// maxApart is how far apart the sequence numbers of one side may be at a time.
	maxApart = 1 << 20
)

// A reassembler puts the bytes of TCP connections together again and tells them to who listens, always
// from the goroutine of add or finish. What is given to a function is good for the call only.
type reassembler struct {
	// want says which connections count, by the two ends in either order. It is asked for each frame
	// that could begin one. Nil is all.
	want func(a, b netip.AddrPort) bool
	// said tells bytes of one end (0 or 1), in order and each once. The time is that of the frame that
	// completed them.
	onData func(c *conversation, from int, at time.Time, data []byte)
	// gap tells that the next bytes of one end are not in the capture and will not come, and how many.
	onGap func(c *conversation, from int, at time.Time, missing int)
	// ended tells that nothing more comes: FIN of both ends, RST, the port used again, dropped for a
	// bound, or finish. Gaps at the end were told before.
	onClose func(c *conversation, at time.Time)

	dropped drops

	conversations map[flow]*conversation
	latest        *conversation // of the segment before, most often also of the next one
	open, over    queue
	free          *conversation // those to be used again, linked by newer
	loose         *conversation // for packets that come without IP
	held          int           // bytes that all sides hold back, and pieceCost for each piece
}

// add takes one frame.
func (r *reassembler) add(f *frame) {
	r.dropped.frames++
	if f.size > len(f.data) {
		r.dropped.cut++
	}
	if f.link == linkNone {
		r.packet(f)
		return
	}
	var s segment
	if !r.segment(f, &s) {
		return
	}
	if c := r.find(&s, f.at); c != nil && !c.over {
		r.open.moveToNewest(c)
		r.addSegment(c, s.from^c.turn, &s, f.at)
	}
}

// packet takes a packet of TACACS+ without IP: a client's have odd numbers (RFC 8907 section 4.1).
func (r *reassembler) packet(f *frame) {
	if len(f.data) < headerLen {
		r.dropped.malformed++
		return
	}
	if r.loose == nil {
		r.loose = &conversation{began: f.at}
	}
	from := 1 - int(f.data[2]&1)
	r.emit(r.loose, from, f.at, f.data)
	r.emitGap(r.loose, from, f.at, f.size-len(f.data))
}

// find is the conversation that a segment belongs to: one that is known or a new one, or nil for a segment
// that begins none.
func (r *reassembler) find(s *segment, at time.Time) *conversation {
	c := r.latest
	if c == nil || c.flow != s.flow {
		c = r.conversations[s.flow]
		r.latest = c
	}
	if c != nil && c.isOther(s) { // the port is used again
		if !c.over {
			r.end(c, at)
		}
		r.forget(c)
		c = nil
	}
	if c != nil {
		return c
	}
	if s.flags&flagRST != 0 || s.flags&flagSYN == 0 && len(s.data) == 0 {
		return nil
	}
	if r.want != nil && !r.want(s.flow.end(0), s.flow.end(1)) {
		return nil
	}
	return r.begin(s, at)
}

// isOther tells whether a segment is of another connection between the same ends: a SYN with another
// initial sequence number, or bytes that are nowhere near in number or in acknowledgement.
func (c *conversation) isOther(s *segment) bool {
	own, peer := &c.directions[s.from^c.turn], &c.directions[s.from^c.turn^1]
	ack := s.flags&flagACK != 0
	switch {
	case s.flags&flagSYN == 0:
		return len(s.data) > 0 && own.known && far(s.seq, own.next) && (!peer.known || ack && far(s.ack, peer.next))
	case own.known:
		return s.seq+1 != own.first
	case ack:
		return peer.known && far(s.ack, peer.first)
	}
	return peer.known
}

// far tells whether two sequence numbers are too distant for one window.
func far(a, b uint32) bool { return a-b+maxApart > 2*maxApart }

// begin makes a conversation of its first segment.
func (r *reassembler) begin(s *segment, at time.Time) *conversation {
	if r.open.n == maxConversations {
		oldest := r.open.eldest
		r.end(oldest, at)
		r.forget(oldest)
		r.dropped.conversations++
	}
	c := r.free
	if c != nil {
		r.free = c.newer
	} else {
		c = new(conversation)
	}
	client := s.from
	switch {
	case s.flags&(flagSYN|flagACK) == flagSYN|flagACK:
		client = 1 - s.from
	case s.flags&flagSYN == 0 && s.flow.ports[0] != s.flow.ports[1]:
		client = 0
		if s.flow.ports[1] > s.flow.ports[0] {
			client = 1
		}
	}
	*c = conversation{
		ends:       [2]netip.AddrPort{s.flow.end(client), s.flow.end(1 - client)},
		began:      at,
		opened:     s.flags&flagSYN != 0,
		flow:       s.flow,
		turn:       client,
		directions: [2]direction{{held: c.directions[0].held}, {held: c.directions[1].held}},
	}
	if r.conversations == nil {
		r.conversations = make(map[flow]*conversation)
	}
	r.conversations[c.flow], r.latest = c, c
	r.open.push(c)
	return c
}

// end tells that a conversation is over, and before that what it holds back.
func (r *reassembler) end(c *conversation, at time.Time) {
	for from := range c.directions {
		r.release(c, from, at)
		r.emitMissing(c, from, at)
	}
	r.onClose(c, at)
	c.owner, c.over = nil, true
	r.open.remove(c)
	if r.over.push(c); r.over.n > maxOver {
		r.forget(r.over.eldest)
	}
}

// forget makes the memory of a conversation that ended free for another.
func (r *reassembler) forget(c *conversation) {
	delete(r.conversations, c.flow)
	if r.latest == c {
		r.latest = nil
	}
	r.over.remove(c)
	c.newer, r.free = r.free, c
}

// finish ends all conversations that are open.
func (r *reassembler) finish(at time.Time) {
	for r.open.n > 0 {
		r.end(r.open.eldest, at)
	}
	if r.loose != nil {
		r.onClose(r.loose, at)
		r.loose = nil
	}
}

// take does what a segment says to its conversation.
func (r *reassembler) addSegment(c *conversation, from int, s *segment, at time.Time) {
	own, peer := &c.directions[from], &c.directions[1-from]
	if s.flags&flagSYN != 0 {
		s.seq++ // a SYN has a number of its own
	}
	size := len(s.data) + s.missing
	if s.flags&(flagSYN|flagFIN) != 0 || size > 0 {
		own.start(s.seq)
	}
	if s.flags&flagRST != 0 {
		if !own.known || !far(s.seq, own.next) {
			r.end(c, at)
		}
		return
	}
	if s.flags&flagACK != 0 {
		peer.start(s.ack) // so that what it says is missed where only one direction was captured
		if int32(s.ack-peer.acked) > 0 {
			peer.acked = s.ack
		}
	}
	r.deliver(c, 1-from, at) // first what this is an answer to
	if size > 0 {
		r.data(c, from, s, at)
	}
	if s.flags&flagFIN != 0 && !own.fin {
		own.fin, own.last = true, s.seq+uint32(size)
	}
	r.deliver(c, from, at)
	if own.done() && peer.done() || c.ignored && own.fin && peer.fin {
		r.end(c, at)
	}
}

// start sets the first sequence number of a side, unless it is known.
func (d *direction) start(seq uint32) {
	if !d.known {
		d.known, d.first, d.next, d.acked = true, seq, seq, seq
	}
}

// done tells whether a side has said all that it will.
func (d *direction) done() bool { return d.fin && int32(d.next-d.last) >= 0 }

// bytes tells what is next of a segment, and holds what is not: the first copy of a byte counts.
func (r *reassembler) data(c *conversation, from int, s *segment, at time.Time) {
	d := &c.directions[from]
	behind := -int64(int32(s.seq - d.next))
	switch {
	case c.ignored:
		r.release(c, from, at)
		if behind < 0 {
			d.next = s.seq // near enough, to know the port's next connection by
		}
	case behind < 0 && far(s.seq, d.next) && far(s.seq, d.acked):
		// Of no use: if it is of this connection, its acknowledgement shows where that is now.
	case behind < 0:
		r.hold(d, s.seq, s.data)
		for d.size > maxHeldSide || len(d.held) > maxPieces {
			r.skipGap(c, from, at)
		}
		if r.held > maxHeldAll {
			r.evict(at)
		}
	case behind < int64(len(s.data)+s.missing): // not all of it a repeat, as a keep-alive is
		repeated := min(int(behind), len(s.data))
		r.emit(c, from, at, s.data[repeated:])
		r.emitGap(c, from, at, s.missing-(int(behind)-repeated))
	}
}

// tell tells bytes of a side that are next.
func (r *reassembler) emit(c *conversation, from int, at time.Time, data []byte) {
	c.directions[from].next += uint32(len(data))
	if len(data) > 0 && !c.ignored {
		r.onData(c, from, at, data)
	}
}

// miss tells that the next bytes of a side are missing.
func (r *reassembler) emitGap(c *conversation, from int, at time.Time, missing int) {
	if missing <= 0 {
		return
	}
	c.directions[from].next += uint32(missing)
	if !c.ignored {
		r.dropped.missing += missing
		r.onGap(c, from, at, missing)
	}
}

// hold keeps a copy of those bytes of a segment that are not held yet.
func (r *reassembler) hold(d *direction, seq uint32, data []byte) {
	for len(data) > 0 {
		i := 0 // the first piece that ends behind seq
		for i < len(d.held) && int32(d.held[i].seq+uint32(len(d.held[i].data))-seq) <= 0 {
			i++
		}
		n := len(data)
		if i < len(d.held) {
			if before := int32(d.held[i].seq - seq); before > 0 {
				n = min(n, int(before))
			} else { // it is held
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

// settle tells what is held and can be told now: what follows on what was told, and what follows on bytes
// that are missing for good, because the other end says that it has them.
func (r *reassembler) deliver(c *conversation, from int, at time.Time) {
	for d := &c.directions[from]; d.fin || len(d.held) > 0; {
		r.follow(c, from, at)
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

// follow tells the held bytes that follow on what was told.
func (r *reassembler) follow(c *conversation, from int, at time.Time) {
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

// leap gives up the bytes in front of those that a side holds first.
func (r *reassembler) skipGap(c *conversation, from int, at time.Time) {
	d := &c.directions[from]
	r.emitGap(c, from, at, int(int32(d.held[0].seq-d.next)))
	r.follow(c, from, at)
}

// release tells all that a side holds.
func (r *reassembler) release(c *conversation, from int, at time.Time) {
	for len(c.directions[from].held) > 0 {
		r.skipGap(c, from, at)
	}
}

// relieve makes the conversations that were silent for the longest time tell what they hold, until all hold
// half of what they may.
func (r *reassembler) evict(at time.Time) {
	for c := r.open.eldest; c != nil && r.held > maxHeldAll/2; c = c.newer {
		for from := range c.directions {
			r.release(c, from, at)
		}
	}
}

// rest tells what is missing at the end: up to the FIN, or what the other end says it has. One byte more
// than was said is a FIN that is not in the capture.
func (r *reassembler) emitMissing(c *conversation, from int, at time.Time) {
	switch d := &c.directions[from]; {
	case d.fin:
		r.emitGap(c, from, at, int(int32(d.last-d.next)))
	case d.acked-d.next != 1:
		r.emitGap(c, from, at, int(int32(d.acked-d.next)))
	}
}

// A queue of conversations, by when they were last pushed.
type queue struct {
	newest, eldest *conversation
	n              int
}

func (q *queue) push(c *conversation) {
	c.older, c.newer = q.newest, nil
	if q.newest != nil {
		q.newest.newer = c
	} else {
		q.eldest = c
	}
	q.newest = c
	q.n++
}

func (q *queue) remove(c *conversation) {
	if c.newer != nil {
		c.newer.older = c.older
	} else {
		q.newest = c.older
	}
	if c.older != nil {
		c.older.newer = c.newer
	} else {
		q.eldest = c.newer
	}
	q.n--
}

func (q *queue) moveToNewest(c *conversation) {
	if c != q.newest {
		q.remove(c)
		q.push(c)
	}
}
