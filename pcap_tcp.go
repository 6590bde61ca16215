package main

import "net/netip"

// A conversation is one TCP connection. It is reused after onClose returns.
type conversation struct {
	// End 0 opened the connection, or has the higher port if that was not captured. Both ends are zero for packets
	// without IP (linkNone).
	ends      [2]netip.AddrPort
	began     frameRef // the first frame
	opened    bool     // the SYN was captured, so no bytes before the first are missing
	ignored   bool     // set by the consumer to get only onClose
	preferred bool     // dropped after all others; the consumer may set it
	value     any      // set by the consumer; nil at first
	history   tcpHistory

	flow       flow
	directions [2]direction // the bytes that ends 0 and 1 sent
	swap       int          // 1 if end 0 of the flow is end 1 of the conversation
	reset      bool         // a RST waits for bytes of the other end
	closed     bool         // kept to recognize late copies of its segments
	queue      *queue[conversation]
	place      node[conversation]
	last       int  // its latest frame among all
	waiting    bool // in reassembler.waiting
	since      int  // if waiting: the frame after which that was examined
	waitPlace  node[conversation]
}

// A tcpHistory is what the segments of a conversation show, other than their bytes.
type tcpHistory struct {
	flags  [2]tcpFlags // all that each end sent, so a SYN and an RST show a refused connection
	closer int         // the end that sent the first FIN or RST; -1 for neither
	frames int32
	cut    int32 // frames that the capture cut
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

// Bounds. Memory is bounded by budgetConversations and budgetHeld.
const (
	conversationCost = 1 << 10 // bytes of a conversation, its entry in the map, and its stream of the consumer
	maxClosed        = 1 << 10 // closed conversations that are kept
	maxUnused        = 1 << 10 // conversations that are kept for reuse
	maxWindow        = 1 << 20 // distance of sequence numbers in one window
)

// A reassembler reassembles TCP connections and reports their bytes to a consumer. It calls the functions from the
// goroutine of add or finish. Their arguments are valid during the call only.
type reassembler struct {
	// want reports whether to follow a connection between two ends, in either order. nil follows all.
	want func(a, b netip.AddrPort) bool
	// prefer reports whether a connection between two ends is preferred when conversations are dropped. nil prefers none.
	prefer func(a, b netip.AddrPort) bool
	// live reports data at once, since the next frame may be late. Otherwise data waits for frames that were captured a
	// little later, if the other end has acknowledged them, or this end had received them.
	live bool
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
	unread  frameCounts // of other protocols, and of conversations without a value
	dropped int         // open preferred conversations dropped to bound memory

	conversations     map[flow]*conversation
	latest            *conversation       // of the previous segment, and most often of the next one
	preferred, others queue[conversation] // open ones, the longest silent first
	closed            queue[conversation]
	waiting           queue[conversation] // those that hold data
	bare              *conversation       // of packets without IP
	unused            []*conversation
	memory, held      budget
}

// add adds a frame.
func (r *reassembler) add(f *frame) {
	if r.frames++; r.conversations == nil {
		r.conversations = make(map[flow]*conversation)
		r.memory.limit, r.held.limit = budgetConversations, budgetHeld
	}
	if f.link == linkNone {
		r.addBare(f)
		return
	}
	var s segment
	if p, ok := s.parse(f); !ok {
		r.unread.add(p, 1)
		return
	}
	at := f.ref()
	r.examineWaiting(&at)
	if c := r.find(&s, &at); c != nil && !c.closed {
		r.touch(c)
		from := s.from ^ c.swap
		c.history.add(from, &s, f.size > len(f.data))
		r.addSegment(c, from, &s, &at)
	}
}

// touch notes that a conversation is the last one that was not silent.
func (r *reassembler) touch(c *conversation) {
	if c.preferred && c.queue == &r.others {
		c.queue.remove(&c.place)
		c.queue = &r.preferred
		c.queue.push(&c.place, c)
	}
	c.queue.moveToEnd(&c.place)
	c.last = r.frames
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
	r.emit(r.bare, from, f.ref(), r.frames, f.data)
	r.emitGap(r.bare, from, f.ref(), f.size-len(f.data))
}

// find returns the conversation of a segment, which may be new, or nil if the segment begins none.
func (r *reassembler) find(s *segment, at *frameRef) *conversation {
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
func (r *reassembler) begin(s *segment, at *frameRef) *conversation {
	if r.memory.exceeds(conversationCost) {
		r.drop(at)
	}
	r.memory.used += conversationCost
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
	var c *conversation
	if n := len(r.unused); n > 0 {
		c, r.unused = r.unused[n-1], r.unused[:n-1]
	} else {
		c = new(conversation)
	}
	*c = conversation{
		ends:    [2]netip.AddrPort{s.flow.end(client), s.flow.end(1 - client)},
		began:   *at,
		opened:  s.flags&tcpSYN != 0,
		history: tcpHistory{closer: -1},
		flow:    s.flow,
		swap:    client,
		queue:   &r.others,
	}
	if r.prefer != nil && r.prefer(c.ends[0], c.ends[1]) {
		c.preferred, c.queue = true, &r.preferred
	}
	r.conversations[c.flow], r.latest = c, c
	c.queue.push(&c.place, c)
	return c
}

// drop makes room for a conversation. Closed ones go first, then those that are not preferred.
func (r *reassembler) drop(at *frameRef) {
	if r.closed.len > 0 {
		r.forget(r.closed.first())
		return
	}
	c := r.others.first()
	if c == nil {
		c = r.preferred.first()
	}
	if c.preferred {
		r.dropped++
	}
	r.close(c, at)
	r.forget(c)
}

// close reports the held bytes of a conversation, and its end.
func (r *reassembler) close(c *conversation, at *frameRef) {
	r.release(c)
	for from := range c.directions {
		r.emitLastGap(c, from, *at)
	}
	if r.onClose(c, *at); c.value == nil {
		r.unread.add(ofTCP+protocol(c.ends[1].Port()), int(c.history.frames))
	}
	c.value, c.closed = nil, true
	c.queue.remove(&c.place)
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
	r.memory.used -= conversationCost
	if len(r.unused) < maxUnused {
		r.unused = append(r.unused, c)
	}
}

// finish closes all conversations, the longest silent first.
func (r *reassembler) finish(at frameRef) {
	for r.others.len+r.preferred.len > 0 {
		c, p := r.others.first(), r.preferred.first()
		if c == nil || p != nil && p.last < c.last {
			c = p
		}
		r.close(c, &at)
	}
	if r.bare != nil {
		r.onClose(r.bare, at)
		r.bare = nil
	}
}
