package main

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// This file is the way from the octets of a conversation to packets, and from packets to sessions.

// Bounds.
const (
	maxOpenAll      = 16 << 10 // sessions under way in all conversations
	maxKeptAll      = 4 << 20  // octets of their requests
	maxPartialAll   = 4 << 20  // octets of packets that are not whole yet
	maxUnrecognized = 64 << 10 // octets that are searched for a first header, where a conversation began before the capture
	maxDecodedTLS   = 256      // TLS conversations at a time
)

// A decodeTalk is what a conversation is to the decoder.
type decodeTalk struct {
	conv    *conversation
	client  int  // which end; -1 until a packet says it, where no SYN did
	begun   bool // it is TACACS+: a packet was there
	partial bool // packets may be missing: it began before the capture, or had a gap
	skipped int  // octets in which there was no header
	sides   [2]decodeSide
	open    []*decodeSession
	who     *decodeClient
	tls     *tlsConversation // nil where it is in clear
}

// A decodeSide is what one end says.
type decodeSide struct {
	held []byte // a packet that is not whole yet
	lost bool   // where the next packet begins is not known: it is searched for
}

// said takes octets of a conversation, in order.
func (d *decoder) said(c *conversation, from int, at time.Time, octets []byte) {
	t, ok := c.owner.(*decodeTalk)
	if !ok {
		t = d.begin(c)
		if looksLikeTLS(octets) && !d.startTLS(t) {
			return
		}
	}
	if t.tls != nil {
		t.tls.add(from, at, octets)
	} else {
		d.octets(t, from, at, octets)
	}
}

// begin makes a talk of a conversation.
func (d *decoder) begin(c *conversation) *decodeTalk {
	t := new(decodeTalk)
	if n := len(d.talks); n > 0 {
		t, d.talks = d.talks[n-1], d.talks[:n-1]
	}
	*t = decodeTalk{conv: c, client: -1, partial: !c.opened, open: t.open[:0]}
	if c.owner = t; c.opened {
		t.client = 0
	}
	for i := range t.sides {
		t.sides[i].lost = t.partial
	}
	return t
}

// looksLikeTLS says whether octets begin like a record of TLS (RFC 8446 section 5.1).
func looksLikeTLS(b []byte) bool {
	return b[0] >= 20 && b[0] <= recordData && (len(b) == 1 || b[1] == 3)
}

// startTLS makes the application data of a conversation its octets. There may be no room for one more.
func (d *decoder) startTLS(t *decodeTalk) bool {
	if d.tlsOpen == maxDecodedTLS {
		d.count.dropped++
		t.conv.ignored = true
		return false
	}
	d.tlsOpen++
	t.tls = newTLSConversation(d.keyLog, func(from int, at time.Time, octets []byte) { d.octets(t, from, at, octets) })
	return true
}

// octets cuts what a side says into packets, and keeps what is left over for the next time.
func (d *decoder) octets(t *decodeTalk, from int, at time.Time, octets []byte) {
	s := &t.sides[from]
	before := len(s.held)
	if before > 0 {
		s.held = append(s.held, octets...)
		octets = s.held
	}
	rest := d.packets(t, from, at, octets)
	if d.partial += len(rest) - before; d.partial > maxPartialAll {
		d.count.dropped++
		s.held = append(s.held[:0], rest...)
		d.lose(t, from)
		return
	}
	if s.held = append(s.held[:0], rest...); len(rest) == 0 && cap(s.held) > keptBody {
		s.held = nil
	}
}

// packets takes the packets that are whole. The rest are octets of one that is not.
func (d *decoder) packets(t *decodeTalk, from int, at time.Time, octets []byte) (rest []byte) {
	s := &t.sides[from]
	for len(octets) > 0 && !t.conv.ignored {
		if !t.fits(from, octets) {
			if !t.begun && (!t.partial || t.skipped > maxUnrecognized) {
				t.conv.ignored = true
				return nil
			}
			s.lost = true
			n := nextHeader(octets)
			t.skipped, octets = t.skipped+n, octets[n:]
			continue
		}
		if len(octets) < headerLen {
			return octets
		}
		h := parseHeader(octets)
		n := headerLen + int(h.length)
		if len(octets) < n {
			return octets
		}
		if s.lost && len(octets) > n && !t.fits(from, octets[n:]) { // a packet ends at the end, or where another begins
			octets = octets[nextHeader(octets):]
			continue
		}
		s.lost = false
		if !t.begun {
			d.recognize(t, from, &h)
		}
		d.packet(t, from, at, &h, octets[headerLen:n])
		octets = octets[n:]
	}
	return nil
}

// nextHeader is how far away the next octet is that a header could begin with.
func nextHeader(b []byte) int {
	for n := 1; n < len(b); n++ {
		if v := version(b[n]); v == minorDefault || v == minorOne {
			return n
		}
	}
	return len(b)
}

// fits says whether octets begin like the header of a packet from that side, as far as they go.
// RFC 8907 section 4.1.
func (t *decodeTalk) fits(from int, b []byte) bool {
	switch {
	case version(b[0]) != minorDefault && version(b[0]) != minorOne:
	case len(b) > 1 && (packetType(b[1]) < typeAuthen || packetType(b[1]) > typeAcct):
	case len(b) > 2 && (b[2] == 0 || t.client >= 0 && (b[2]%2 == 1) != (from == t.client)):
	case len(b) > 9 && (b[8] != 0 || b[9] != 0): // over maxBody
	default:
		return true
	}
	return false
}

// recognize notes that a conversation is TACACS+, and which end is the client.
func (d *decoder) recognize(t *decodeTalk, from int, h *header) {
	if t.begun = true; t.client < 0 {
		t.client = from
		if h.seqNo%2 == 0 {
			t.client = 1 - from
		}
	}
	t.who = d.clientOf(t.peer().Addr())
	d.count.conversations++
}

func (t *decodeTalk) peer() netip.AddrPort   { return t.conv.ends[max(t.client, 0)] }
func (t *decodeTalk) server() netip.AddrPort { return t.conv.ends[1-max(t.client, 0)] }

// gap notes that octets of a side are missing: the session that waits for them is cut short, and the side
// goes on where the next header is.
func (d *decoder) gap(c *conversation, from int, _ time.Time, missing int) {
	t, ok := c.owner.(*decodeTalk)
	switch {
	case !ok:
		t = d.begin(c)
	case t.tls != nil:
		t.tls.gap(from, missing)
	}
	d.lose(t, from)
}

// lose gives up what there is of a packet, whose other octets are missing.
func (d *decoder) lose(t *decodeTalk, from int) {
	s := &t.sides[from]
	d.partial -= len(s.held)
	s.held, s.lost, t.partial = s.held[:0], true, true
	for _, o := range t.open {
		o.hit = true
	}
}

// ended takes the end of a conversation.
func (d *decoder) ended(c *conversation, at time.Time) {
	t, ok := c.owner.(*decodeTalk)
	if !ok {
		return
	}
	if t.tls != nil {
		d.tlsOpen--
		t.tls.add(0, at, nil) // what waited for its secret
		d.endTLS(t)
	}
	for len(t.open) > 0 {
		d.leave(t.open[0])
	}
	for i := range t.sides {
		d.partial -= len(t.sides[i].held)
	}
	*t = decodeTalk{open: t.open[:0]}
	d.talks = append(d.talks, t)
}

// endTLS prints what kept a TLS conversation from being read. One of a port that is none of TACACS+ may
// be anything, and is counted only.
func (d *decoder) endTLS(t *decodeTalk) {
	why := t.tls.problem
	if d.keyLog == nil {
		why = "there is no key log (--keylog)"
	}
	switch expected := d.port != 0 || isTACACSPort(t.conv.ends[0].Port()) || isTACACSPort(t.conv.ends[1].Port()); {
	case why == "" && t.tls.alert == "":
		return
	case !expected && !t.begun:
		d.count.otherTLS++
		return
	}
	text := "TLS"
	if t.tls.serverName != "" {
		text += " for " + t.tls.serverName
	}
	if why != "" {
		text += " was not read: " + why
	}
	if t.tls.alert != "" {
		text += "; alert: " + t.tls.alert
	}
	d.print(&sessionRecord{at: t.conv.began, peer: t.peer(), server: t.server(), problem: text})
}

// isTACACSPort: 49 is the one of RFC 8907, 300 that of RFC 9887.
func isTACACSPort(port uint16) bool { return port == 49 || port == 300 }

// A decodeSession is a session under way.
type decodeSession struct {
	observation
	talk   *decodeTalk
	typ    packetType
	from   int  // the candidate key that reads it; -1 for none
	sure   bool // one of its packets fits that key in all that it says
	unread bool // one of its packets was not read
	hit    bool // octets are missing that may have been its own
	kept   int  // octets

	newer, older *decodeSession // in the decodeQueue
}

// packet takes a packet of a conversation: its session goes on with it, or begins, or is over.
func (d *decoder) packet(t *decodeTalk, from int, at time.Time, h *header, body []byte) {
	s := t.find(h.sessionID)
	if s != nil && h.seqNo == 1 { // the number is used again
		d.leave(s)
		s = nil
	}
	switch {
	case s == nil && (h.seqNo == 1 || t.partial):
		s = d.start(t, h, len(body))
	case s == nil, h.typ != s.typ, h.seqNo <= s.seqNo, h.seqNo > s.seqNo+1 && !t.partial:
		d.count.strays++
		d.show(t, from, at, h, nil, nil)
		return
	}
	m, text := d.decode(s, h, body)
	d.show(t, from, at, h, text, m)
	if h.seqNo == s.seqNo+1 {
		s.hit = false
	}
	if s.packet(at, h, m) {
		d.finish(s)
	}
}

// find is the session of that number in a conversation, nil for none.
func (t *decodeTalk) find(id uint32) *decodeSession {
	for _, s := range t.open {
		if s.id == id {
			return s
		}
	}
	return nil
}

// start begins a session. Where there is no room, the one that began first has to go.
func (d *decoder) start(t *decodeTalk, h *header, size int) *decodeSession {
	if len(t.open) == maxDialogues {
		d.count.dropped++
		d.leave(t.open[0])
	}
	for d.open.n == maxOpenAll || d.kept+size > maxKeptAll && d.open.n > 0 {
		d.count.dropped++
		d.leave(d.open.eldest)
	}
	s := new(decodeSession)
	if n := len(d.free); n > 0 {
		s, d.free = d.free[n-1], d.free[:n-1]
	}
	*s = decodeSession{talk: t, typ: h.typ, from: -1, kept: size}
	s.id, s.peer, s.server = h.sessionID, t.peer(), t.server()
	d.kept += size
	t.open = append(t.open, s)
	d.open.push(s)
	return s
}

// leave ends a session of which no more packets come.
func (d *decoder) leave(s *decodeSession) {
	if s.observation.leave(); s.hit {
		s.status = statusCut
	}
	if s.unread && s.seqNo%2 == 0 {
		s.status = statusNoKey // a reply was there, whatever it said
	}
	d.finish(s)
}

// finish prints a session that is over, and forgets it.
func (d *decoder) finish(s *decodeSession) {
	t := s.talk
	if s.from >= 0 && !s.sure { // its lengths add up, and nothing else speaks for the key
		s.sessionRecord = sessionRecord{at: s.at, peer: s.peer, server: s.server, id: s.id, request: requestOf(s.typ), status: s.status, took: s.took, total: s.total, packets: s.packets}
		s.unread = true
	}
	if s.unread && (s.status == "" || len(d.keys) > 0) {
		s.status = statusNoKey
	}
	d.count.sessions++
	switch {
	case s.unread:
		d.count.unread++
	case s.from >= 0:
		d.count.fitted++
		s.key = d.keys[s.from].source
	}
	if d.summary != nil {
		d.summary.add(t.who, &s.sessionRecord)
	} else {
		d.print(&s.sessionRecord)
	}
	t.open = slices.DeleteFunc(t.open, func(o *decodeSession) bool { return o == s })
	d.open.remove(s)
	d.kept -= s.kept
	d.free = append(d.free, s)
}

// print writes a line.
func (d *decoder) print(r *sessionRecord) {
	if d.log.write(r); d.trace != nil {
		d.log.flush()
	}
}

// show is -d: one packet as text, in clear where it was read.
func (d *decoder) show(t *decodeTalk, from int, at time.Time, h *header, body []byte, m layouter) {
	if d.trace == nil {
		return
	}
	what := fmt.Sprintf("%s >", t.conv.ends[from])
	if !at.IsZero() {
		what = at.UTC().Format(timeLayout) + " " + what
	}
	d.trace.packet(what, t.conv.ends[1-from], h, body, m)
}

// A decodeQueue is all sessions under way, by when they began.
type decodeQueue struct {
	newest, eldest *decodeSession
	n              int
}

func (q *decodeQueue) push(s *decodeSession) {
	if s.older = q.newest; q.newest != nil {
		q.newest.newer = s
	} else {
		q.eldest = s
	}
	q.newest = s
	q.n++
}

func (q *decodeQueue) remove(s *decodeSession) {
	if s.newer != nil {
		s.newer.older = s.older
	} else {
		q.newest = s.older
	}
	if s.older != nil {
		s.older.newer = s.newer
	} else {
		q.eldest = s.newer
	}
	s.newer, s.older = nil, nil
	q.n--
}
