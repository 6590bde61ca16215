package main

import (
	"fmt"
	"slices"
	"time"
)

// A decodeSession is a session under way.
type decodeSession struct {
	sessionTracker
	stream    *tacacsStream
	typ       packetType
	keyIndex  int  // the candidate key that reads it; -1 for none
	confirmed bool // one of its packets fits that key in all that it says
	unread    bool // one of its packets was not read
	damaged   bool // bytes are missing that may have been its own
	kept      int  // bytes

	newer, older *decodeSession // in the decodeQueue
}

// Bounds.
const (
	maxOpenAll = 16 << 10 // sessions under way in all conversations
	maxKeptAll = 4 << 20  // bytes of their requests
)

// packet takes a packet of a conversation: its session goes on with it, or begins, or is over.
func (d *decoder) packet(t *tacacsStream, from int, at time.Time, h *header, body []byte) {
	s := t.find(h.sessionID)
	if s != nil && h.seqNo == 1 { // the number is used again
		d.closeSession(s)
		s = nil
	}
	switch {
	case s == nil && (h.seqNo == 1 || t.partial):
		s = d.start(t, h, len(body))
	case s == nil, h.typ != s.typ, h.seqNo <= s.seqNo, h.seqNo > s.seqNo+2 && !t.partial: // one may be missing
		d.count.strays++
		d.show(t, from, at, h, nil, nil, nil)
		return
	}
	m, text := d.decode(s, h, body)
	d.show(t, from, at, h, text, m, s.secrets)
	if h.seqNo == s.seqNo+1 {
		s.damaged = false
	}
	if s.packet(at, h, m) {
		s.kept, d.kept = s.kept+len(body), d.kept+len(body) // what the server says is a part of it
		d.finish(s)
	}
}

// find is the session of that number in a conversation, nil for none.
func (t *tacacsStream) find(id uint32) *decodeSession {
	for _, s := range t.open {
		if s.id == id {
			return s
		}
	}
	return nil
}

// start begins a session. Where there is no room, the one that began first has to go.
func (d *decoder) start(t *tacacsStream, h *header, size int) *decodeSession {
	if len(t.open) == maxDialogues {
		d.giveUp(t.open[0])
	}
	for d.open.n == maxOpenAll || d.kept+size > maxKeptAll {
		d.giveUp(d.open.eldest)
	}
	var s *decodeSession
	if n := len(d.free); n > 0 {
		s, d.free = d.free[n-1], d.free[:n-1]
	} else {
		s = new(decodeSession)
	}
	*s = decodeSession{stream: t, typ: h.typ, keyIndex: -1, kept: size}
	s.id, s.peer, s.server = h.sessionID, t.peer(), t.server()
	d.kept += size
	t.open = append(t.open, s)
	d.open.push(s)
	return s
}

// giveUp ends a session that has no room any more. One that was not read and has a reply is most likely
// over: only its reply could tell.
func (d *decoder) giveUp(s *decodeSession) {
	if !s.unread || s.seqNo%2 == 1 {
		d.count.dropped++
	}
	d.closeSession(s)
}

// leave ends a session of which no more packets come.
func (d *decoder) closeSession(s *decodeSession) {
	if s.sessionTracker.close(); s.damaged {
		s.status = statusCut
	}
	if s.unread && s.seqNo%2 == 0 {
		s.status = statusNoKey // a reply was there, whatever it said
	}
	d.finish(s)
}

// finish prints a session that is over, and forgets it.
func (d *decoder) finish(s *decodeSession) {
	t := s.stream
	if s.keyIndex >= 0 && !s.confirmed { // its lengths add up, and nothing else speaks for the key
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
	case s.keyIndex >= 0:
		d.count.fitted++
		s.sessionTracker.key = d.keys[s.keyIndex].source
	}
	if d.summary != nil {
		d.summary.add(t.client, &s.sessionRecord)
	} else {
		d.print(&s.sessionRecord, s.kept)
	}
	i := slices.Index(t.open, s)
	t.open = slices.Delete(t.open, i, i+1)
	d.open.remove(s)
	d.kept -= s.kept
	d.free = append(d.free, s)
}

// show is -d: one packet as text, in clear where it was read.
func (d *decoder) show(t *tacacsStream, from int, at time.Time, h *header, body []byte, m message, secrets []string) {
	if d.dump == nil {
		return
	}
	what := fmt.Sprintf("%s >", t.ends[from])
	if !at.IsZero() {
		what = at.UTC().Format(timeLayout) + " " + what
	}
	d.dump.packet(what, t.ends[1-from], h, body, m, secrets...)
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
