package main

import (
	"fmt"
	"slices"
)

const argCost = 16 // bytes of an argument beside its text

// addPacket adds a packet to its session. body is nil if it is not whole in the capture.
func (d *decoder) addPacket(t *tacacsStream, from int, at *frameRef, h *header, body []byte) {
	d.addToSession(t, d.sessionOf(t, from, h, len(body)), from, at, h, body)
}

// addToSession is addPacket for a packet whose session is known, or nil.
func (d *decoder) addToSession(t *tacacsStream, s *decodeSession, from int, at *frameRef, h *header, body []byte) {
	if s == nil {
		d.addStray(t, from, at, h)
		return
	}
	s.checkHeader(h)
	d.addFrame(&s.tracker.sessionRecord, at)
	if why := s.violation(h); why != "" {
		d.dumpPacket(t, from, at, h, nil, nil, nil)
		s.tracker.packet(at.at, h, nil)
		s.tracker.end(statusViolation, why)
		d.finishSession(s)
		return
	}
	if h.seqNo == s.tracker.seqNo+1 {
		s.damaged = false
	}
	m := d.readBody(t, s, from, at, h, body)
	retained := s.tracker.retained
	over := s.tracker.packet(at.at, h, m)
	t.single = t.single || s.tracker.singleConnect
	more := min(s.tracker.retained, maxSecrets) - min(retained, maxSecrets)
	if over {
		more += len(body) // the record refers to the reply too
	}
	if args := len(s.tracker.args) + len(s.tracker.response); args > 0 && m != nil {
		more += args * argCost
	}
	if d.keep(s, more); over {
		d.finishSession(s)
	}
}

// addFrame adds the number of a frame to its record.
func (d *decoder) addFrame(r *sessionRecord, at *frameRef) {
	if d.frames && len(r.frames) < maxFrames {
		r.frames = append(r.frames, at.number)
	}
}

// sessionOf returns the session of a packet, which may be new, or nil if the packet continues none.
func (d *decoder) sessionOf(t *tacacsStream, from int, h *header, size int) *decodeSession {
	s := t.session(h.sessionID)
	switch {
	case h.seqNo == 0 || (h.seqNo%2 == 1) != (from == t.clientEnd):
		return nil
	case s != nil && h.seqNo == 1: // the session_id is used again
		d.closeSession(s)
	case s != nil && s.expects(h):
		return s
	case s != nil || h.seqNo != 1 && (!t.partial || t.hasAborted(h.sessionID)):
		return nil
	}
	return d.openSession(t, h, size)
}

// session returns the open session with an ID, or nil.
func (t *tacacsStream) session(id uint32) *decodeSession {
	for _, s := range t.sessions {
		if s.tracker.id == id && !s.tracker.noID {
			return s
		}
	}
	return nil
}

// hasAborted reports whether the client has aborted its last session, and that has the ID.
func (t *tacacsStream) hasAborted(id uint32) bool { return slices.Contains(t.aborted, id) }

// expects reports whether a packet can be the next one of the session. One packet may be missing before it, or any number
// if the stream is partial.
func (s *decodeSession) expects(h *header) bool {
	return h.typ == s.typ && h.seqNo > s.tracker.seqNo && (h.seqNo <= s.tracker.seqNo+2 || s.stream.partial)
}

// checkHeader notes a header that RFC 8907 section 4.1 does not define.
func (s *decodeSession) checkHeader(h *header) {
	switch {
	case !packetTypeNames.has(uint8(h.typ)):
		s.badBody = "unknown packet type " + h.typ.String()
		if h.seqNo%2 == 0 && h.length == 0 {
			s.badBody += ", empty reply (3.6)"
		}
	case h.version.minor() > 1 && s.badHeader == "" && (s.tracker.packets == 0 || h.version == s.tracker.version):
		s.badHeader = fmt.Sprintf("minor version %d is not defined (5.4.1)", h.version.minor())
	}
}

// violation returns why the client must not use a packet, which is a reply, or "".
func (s *decodeSession) violation(h *header) string {
	if h.seqNo%2 == 1 || s.tracker.packets == 0 || s.key.clear {
		return ""
	}
	return flagViolation(s.tracker.protection, h.flags)
}

// cutPacket adds the packet whose body is missing in part, and reports whether the start of the next one is known.
func (d *decoder) cutPacket(t *tacacsStream, from int, at *frameRef, missing int) bool {
	s := &t.directions[from]
	got := len(s.held)
	if got < atSeqNo || !t.recognized && !d.isExpected(t.ends) {
		return false
	}
	var first [headerLen]byte
	copy(first[:], s.held)
	h := parseHeader(first[:])
	more := headerLen + int(h.length) - got
	if got < headerLen {
		more = missing // most likely: a segment ends with a packet
	}
	if s.lost && (more != missing || !d.isExpected(t.ends)) { // the header was found by search
		return false
	}
	d.dropPartial(s)
	s.lost = false
	if got < headerLen {
		h.length = 1 // unknown
	}
	if got <= atSeqNo {
		h.seqNo = t.nextSeqNo(from)
	}
	if d.recognize(t, from, &h); got < atLength {
		d.addWithoutID(t, from, at, &h, got > atFlags)
	} else {
		d.addPacket(t, from, at, &h, nil)
	}
	s.skip = max(more-missing, 0)
	return missing <= more
}

// nextSeqNo returns the number that the next packet of an end most likely has.
func (t *tacacsStream) nextSeqNo(from int) uint8 {
	last, odd := uint8(0), uint8(1)
	if s := t.withoutID(); s != nil {
		last = s.tracker.seqNo
	}
	if from != max(t.clientEnd, 0) {
		odd = 0
	}
	if next := last + 1; next%2 == odd {
		return next
	}
	return last + 2
}

// withoutID returns the open session whose session_id is not in the capture, or nil.
func (t *tacacsStream) withoutID() *decodeSession {
	for _, s := range t.sessions {
		if s.tracker.noID {
			return s
		}
	}
	return nil
}

// addWithoutID adds a packet whose header is cut before its session_id.
func (d *decoder) addWithoutID(t *tacacsStream, from int, at *frameRef, h *header, flags bool) {
	s := t.withoutID()
	if s != nil && (s.typ != h.typ || h.seqNo == 1) {
		d.closeSession(s)
		s = nil
	}
	if s == nil {
		s = d.openSession(t, h, 0)
		if s.tracker.noID = true; !flags {
			s.tracker.protection = protectionUnknown
		}
	}
	s.cut = true
	d.addFrame(&s.tracker.sessionRecord, at)
	if s.tracker.packet(at.at, h, nil) {
		d.finishSession(s)
	}
}

// readBody reads the body of a packet for its session. The message is nil if it cannot be read.
func (d *decoder) readBody(t *tacacsStream, s *decodeSession, from int, at *frameRef, h *header, body []byte) message {
	if len(body) < int(h.length) {
		s.cut = true
		d.dumpPacket(t, from, at, h, nil, nil, nil)
		return nil
	}
	m, remark, err := d.keys.decode(&s.key, h, body, t.tls != nil)
	if s.key.index >= 0 && s.tracker.sharedKey == "" {
		s.tracker.sharedKey, _, _ = d.keys.keys.at(s.key.index)
	}
	switch {
	case m != nil:
		d.dumpPacket(t, from, at, h, body, m, &s.tracker)
	case err != nil:
		s.badBody = "the body cannot be read: " + err.Error()
		d.dumpPacket(t, from, at, h, body, d.keys.messages.of(h), &s.tracker)
	default:
		d.dumpPacket(t, from, at, h, nil, nil, nil)
	}
	if remark != "" {
		s.tracker.note(remark)
	}
	if s.key.clear {
		s.tracker.protection = protectionClear
	}
	return m
}

// addStray prints a packet that continues no session.
func (d *decoder) addStray(t *tacacsStream, from int, at *frameRef, h *header) {
	d.counts.strays++
	d.dumpPacket(t, from, at, h, nil, nil, nil)
	var o *sessionTracker
	if s := t.session(h.sessionID); s != nil {
		o = &s.tracker
	} else if t.hasAborted(h.sessionID) {
		o = &sessionTracker{sessionRecord: sessionRecord{status: statusAbort}, packetType: h.typ}
	}
	r := &sessionRecord{problem: o.unexpected(h, from == t.clientEnd)}
	switch {
	case h.seqNo == 0:
		r.malformed(h, "seq_no 0 (4.1)")
	case h.length > maxBody:
		r.malformed(h, tooLong(h))
	}
	if r.problem == "" {
		r.protection = protectionOf(h.flags, t.tls != nil)
		d.addFrame(r, at)
	}
	d.logProblem(t, at.at, r)
}

// malformed makes r the record of a packet that no session can have.
func (r *sessionRecord) malformed(h *header, reason string) {
	r.problem, r.request, r.id, r.status, r.reason = "", requestOf(h.typ), h.sessionID, statusMalformed, reason
}

// tooLong describes a packet with a body over the limit.
func tooLong(h *header) string {
	return fmt.Sprintf("a body of %d bytes, over the limit of %d", h.length, maxBody)
}

// dumpPacket prints a packet for -d.
func (d *decoder) dumpPacket(t *tacacsStream, from int, at *frameRef, h *header, body []byte, m message, of *sessionTracker) {
	if d.dump == nil {
		return
	}
	var secrets []string
	if of != nil {
		secrets = of.hidden()
	}
	var names [2]string
	for i, end := range t.ends {
		if names[i] = endNames[i]; end.IsValid() {
			names[i] = end.String()
		}
	}
	prefix := names[from] + " >"
	if dated(at.at) {
		prefix = at.at.UTC().Format(timeLayout) + " " + prefix
	}
	d.dump.packet(prefix, plainText(names[1-from]), h, body, m, secrets...)
}

// A plainText is a fmt.Stringer.
type plainText string

func (t plainText) String() string { return string(t) }
