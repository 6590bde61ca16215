package main

import (
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"
)

// A tacacsStream is a TCP conversation that may carry TACACS+.
type tacacsStream struct {
	// The goroutine that reassembles TCP sets these, ended before eventClose and the others before the first event. The
	// rest belongs to the decoder: passing more memory between processors costs time.
	ends      [2]netip.AddrPort
	began     time.Time
	opened    bool        // its first bytes are in the capture
	preferred atomic.Bool // it is TACACS+, so other conversations make room for it
	ignored   atomic.Bool // it is not TACACS+: the rest of it is not needed
	ended     tcpHistory

	clientEnd  int  // -1 until a SYN or a packet shows it
	started    bool // there was data or a gap
	recognized bool // it is TACACS+: there was a packet
	partial    bool // packets may be missing: it began before the capture, or has a gap
	missing    int  // bytes that are not in the capture
	skipped    int  // bytes without a header
	directions [2]streamDirection
	sessions   []*decodeSession // open ones
	aborted    []uint32         // session_id of the last session if the client aborted it
	single     bool             // single-connection mode
	head       []byte           // the first bytes of the end that sent first
	prefix     []byte           // the start of a PROXY header
	proxied    netip.AddrPort   // the client that a PROXY header names
	proxy      netip.AddrPort   // that sent it
	client     *decodeClient
	history    tcpHistory       // set at the end
	tls        *tlsConversation // nil if it is in clear
	other      bool             // it is one of decoder.tlsOthers
	place      node[tacacsStream]
}

// A streamDirection is the bytes that one end sends.
type streamDirection struct {
	held []byte   // the start of a packet
	at   frameRef // that completed held
	lost bool     // the start of the next packet must be found
	skip int      // bytes to skip: the end of a packet that is not whole
}

// Bounds.
const (
	maxUnrecognized = 64 << 10 // bytes that are searched for the first header, if the stream began before the capture
	maxDecodedTLS   = 256      // open TLS conversations
	maxHead         = 16       // first bytes of a conversation, to print
)

// begin makes t, which is empty, the stream of a conversation.
func (t *tacacsStream) begin(c *conversation) {
	t.ends, t.began, t.opened = c.ends, c.began.at, c.opened
}

// prepare sets what follows from begin. The decoder calls it before the first event.
func (t *tacacsStream) prepare() {
	t.clientEnd, t.partial, t.history.closer = -1, !t.opened, -1
	if t.opened {
		t.clientEnd = 0
	}
	for i := range t.directions {
		t.directions[i].lost = t.partial
	}
}

// reset clears t for another conversation.
func (t *tacacsStream) reset() {
	*t = tacacsStream{sessions: t.sessions[:0], aborted: t.aborted[:0], head: t.head[:0]}
}

// peer returns the client, also behind a proxy.
func (t *tacacsStream) peer() netip.AddrPort {
	if t.proxied.IsValid() {
		return t.proxied
	}
	return t.ends[max(t.clientEnd, 0)]
}

// identify sets the ends of a record, and its time if that is known.
func (t *tacacsStream) identify(r *sessionRecord, at time.Time) {
	r.peer, r.server, r.proxy = t.peer(), t.ends[1-max(t.clientEnd, 0)], t.proxy
	if dated(at) {
		r.at = at
	}
}

// onData decodes the next bytes of one end.
func (d *decoder) onData(t *tacacsStream, from int, at *frameRef, data []byte) {
	if t.ignored.Load() {
		return
	}
	if !t.started {
		if data = t.stripProxyHeader(from, data); len(data) == 0 {
			return
		}
		t.head = append(t.head, data[:min(len(data), maxHead)]...)
		if t.started = true; looksLikeTLS(data) && !d.startTLS(t) {
			return
		}
	}
	if t.tls != nil {
		d.addTLS(t, from, at, data)
	} else {
		d.addCleartext(t, from, at, data)
	}
}

// looksLikeTLS reports whether b begins like a record of TLS. RFC 8446 section 5.1.
func looksLikeTLS(b []byte) bool {
	return b[0] >= recordChangeCipherSpec && b[0] <= recordData && (len(b) == 1 || b[1] == 3)
}

// startTLS begins to decrypt the stream. It fails if too many are being decrypted, and none of them can make room.
func (d *decoder) startTLS(t *tacacsStream) bool {
	if d.tlsOpen == maxDecodedTLS {
		if d.tlsOthers.len == 0 {
			d.counts.dropped++
			return false
		}
		d.dropTLS(d.tlsOthers.first())
	}
	d.tlsOpen++
	t.head = t.head[:0]
	t.tls = newTLSConversation(d.keyLog, func(from int, at frameRef, data []byte) {
		if len(t.head) == 0 {
			t.head = append(t.head, data[:min(len(data), maxHead)]...)
		}
		d.addCleartext(t, from, &at, data)
	})
	if t.tls.memory = &d.tlsMemory; !d.isExpected(t.ends) {
		t.other = true
		d.tlsOthers.push(&t.place, t)
	}
	return true
}

// addTLS adds bytes of a TLS conversation. One of another port makes room for others until its secrets are known.
func (d *decoder) addTLS(t *tacacsStream, from int, at *frameRef, data []byte) {
	t.tls.add(from, *at, data)
	if t.other && t.tls.keys != nil && t.tls.keys.secrets[t.tls.random] != nil {
		t.other = false
		d.tlsOthers.remove(&t.place)
	}
	for d.tlsMemory.exceeds(0) {
		if d.tlsOthers.len == 0 {
			d.counts.dropped++
			t.tls.fail("dropped to bound memory")
			t.tls.charge()
			return
		}
		d.dropTLS(d.tlsOthers.first())
	}
}

// dropTLS drops a TLS conversation of another port.
func (d *decoder) dropTLS(t *tacacsStream) {
	d.counts.otherTLS++
	d.endTLS(t)
	t.ignored.Store(true)
	t.tls = nil
}

// endTLS releases the memory of a TLS conversation.
func (d *decoder) endTLS(t *tacacsStream) {
	d.tlsOpen--
	d.tlsMemory.used -= t.tls.charged
	if t.other {
		t.other = false
		d.tlsOthers.remove(&t.place)
	}
}

// addCleartext splits bytes into packets, and keeps the rest.
func (d *decoder) addCleartext(t *tacacsStream, from int, at *frameRef, data []byte) {
	s := &t.directions[from]
	n := min(s.skip, len(data))
	s.skip, data = s.skip-n, data[n:]
	before := cap(s.held)
	if len(s.held) > 0 {
		s.held = append(s.held, data...)
		data = s.held
	}
	s.held = keepRest(s.held, d.readPackets(t, from, at, data))
	s.at = *at
	d.partial.used += cap(s.held) - before
	if d.partial.exceeds(0) {
		d.counts.dropped++
		d.loseSync(t, from)
	}
}

// dropPartial drops the start of an incomplete packet.
func (d *decoder) dropPartial(s *streamDirection) {
	d.partial.used -= cap(s.held)
	s.held = nil
}

// readPackets reads the packets in data, and returns the start of an incomplete one.
func (d *decoder) readPackets(t *tacacsStream, from int, at *frameRef, data []byte) (rest []byte) {
	s := &t.directions[from]
	for len(data) > 0 {
		if !t.looksLikeHeader(from, data) && !d.looksLikeOddHeader(t, from, data) {
			if !t.recognized && (!t.partial || t.skipped > maxUnrecognized) {
				t.ignored.Store(true)
				return nil
			}
			s.lost = true
			data = d.skipJunk(t, data)
			continue
		}
		if len(data) < headerLen {
			return data
		}
		h := parseHeader(data)
		if h.length > maxBody { // of an odd header only
			d.addOversized(t, from, at, &h)
			s.lost, data = true, data[headerLen:]
			continue
		}
		n := headerLen + int(h.length)
		if len(data) < n {
			return data
		}
		// A header found by search counts if its packet ends the data, or another header follows.
		if s.lost && len(data) > n && !t.looksLikeHeader(from, data[n:]) {
			data = d.skipJunk(t, data)
			continue
		}
		s.lost = false
		d.recognize(t, from, &h)
		d.addPacket(t, from, at, &h, data[headerLen:n])
		data = data[n:]
	}
	return nil
}

// skipJunk returns the bytes from the next one that may start a header.
func (d *decoder) skipJunk(t *tacacsStream, data []byte) []byte {
	n := nextHeader(data)
	if t.skipped += n; t.recognized {
		d.counts.junk += n
	}
	return data[n:]
}

// nextHeader returns the offset of the next byte that may start a header.
func nextHeader(b []byte) int {
	for n := 1; n < len(b); n++ {
		if v := version(b[n]); v == minorDefault || v == minorOne {
			return n
		}
	}
	return len(b)
}

// looksLikeHeader reports whether b may be the start of a packet of one end. RFC 8907 section 4.1.
func (t *tacacsStream) looksLikeHeader(from int, b []byte) bool {
	switch {
	case version(b[0]) != minorDefault && version(b[0]) != minorOne:
	case len(b) > 1 && (packetType(b[1]) < typeAuthen || packetType(b[1]) > typeAcct):
	case len(b) > 2 && (b[2] == 0 || t.clientEnd >= 0 && (b[2]%2 == 1) != (from == t.clientEnd)):
	case len(b) > 9 && (b[8] != 0 || b[9] != 0): // over maxBody
	default:
		return true
	}
	return false
}

// looksLikeOddHeader reports whether b may be the start of a header with values that RFC 8907 does not define. It counts only
// where a packet must begin, so that it gets a line.
func (d *decoder) looksLikeOddHeader(t *tacacsStream, from int, b []byte) bool {
	known := t.recognized || d.isExpected(t.ends) && !t.partial && from == t.clientEnd && (len(b) < 3 || b[2] <= 1)
	return known && !t.directions[from].lost && version(b[0]).major() == majorVersion &&
		(len(b) <= atFlags || headerFlags(b[atFlags])&^(flagUnencrypted|flagSingleConnect) == 0)
}

// isExpected reports whether a conversation is of a port of TACACS+, or of its packets without IP.
func (d *decoder) isExpected(ends [2]netip.AddrPort) bool {
	return d.port != 0 || !ends[0].IsValid() || isTACACSPort(ends[0].Port()) || isTACACSPort(ends[1].Port())
}

// addOversized adds a header of a body over the limit, which no client or server reads.
func (d *decoder) addOversized(t *tacacsStream, from int, at *frameRef, h *header) {
	d.recognize(t, from, h)
	s := d.sessionOf(t, from, h, 0)
	if s == nil {
		d.addStray(t, from, at, h)
		return
	}
	d.dumpPacket(t, from, at, h, nil, nil, nil)
	d.addFrame(&s.tracker.sessionRecord, at)
	s.badHeader = tooLong(h)
	if s.tracker.packets == 0 {
		s.tracker.packet(at.at, h, nil)
	}
}

// recognize notes that a stream is TACACS+, and which end is the client.
func (d *decoder) recognize(t *tacacsStream, from int, h *header) {
	if t.recognized {
		return
	}
	t.preferred.Store(true)
	if t.recognized = true; t.clientEnd < 0 {
		t.clientEnd = from
		if h.seqNo%2 == 0 {
			t.clientEnd = 1 - from
		}
	}
	t.partial = t.partial || h.seqNo != 1 // the first packets are missing, or all of one direction
	t.client = d.keys.client(t.peer().Addr())
	d.counts.conversations++
}

// onGap notes that bytes of one end are missing.
func (d *decoder) onGap(t *tacacsStream, from int, at *frameRef, missing int) {
	if t.ignored.Load() {
		return
	}
	t.missing += missing
	if t.started = true; t.tls != nil {
		t.tls.gap(from, missing)
	}
	t.prefix = nil
	s := &t.directions[from]
	n := min(s.skip, missing)
	if s.skip -= n; n == missing && t.tls == nil {
		return
	}
	if !d.cutPacket(t, from, at, missing-n) || t.tls != nil {
		d.loseSync(t, from)
	}
}

// loseSync drops an incomplete packet, whose other bytes are missing. Open sessions may be damaged.
func (d *decoder) loseSync(t *tacacsStream, from int) {
	s := &t.directions[from]
	d.dropPartial(s)
	s.lost, t.partial = true, true
	for _, session := range t.sessions {
		session.damaged = true
	}
}

// onClose closes the sessions of a stream that has ended.
func (d *decoder) onClose(t *tacacsStream, at *frameRef) {
	if t.recognized || d.isExpected(t.ends) {
		d.counts.cut, d.counts.missing = d.counts.cut+int(t.history.cut), d.counts.missing+t.missing
	} else {
		d.counts.others.add(ofTCP+protocol(t.ends[1].Port()), int(t.history.frames))
	}
	if t.tls != nil {
		t.tls.add(0, *at, nil) // the key log may have more secrets now
		d.endTLS(t)
		d.reportTLS(t)
	}
	for from := range t.directions {
		d.endPacket(t, from)
	}
	for len(t.sessions) > 0 {
		d.closeSession(t.sessions[0])
	}
	d.logConnection(t)
}

// endPacket adds the incomplete packet of an end that sends no more.
func (d *decoder) endPacket(t *tacacsStream, from int) {
	s := &t.directions[from]
	if len(s.held) >= headerLen && (t.recognized || d.isExpected(t.ends)) && !s.lost {
		h := parseHeader(s.held)
		d.recognize(t, from, &h)
		session := d.sessionOf(t, from, &h, 0)
		if session != nil && t.history.flags[from]&tcpFIN != 0 {
			session.badBody = fmt.Sprintf("the %s closed after %d of %d bytes of the body",
				endNames[from^max(t.clientEnd, 0)], len(s.held)-headerLen, h.length)
		}
		d.addToSession(t, session, from, &s.at, &h, nil)
		if h.seqNo%2 == 1 && session != nil && t.missing == 0 && (t.history.flags[0]|t.history.flags[1])&tcpRST != 0 {
			session.cut = false // the RST ended it, not the capture
		}
	}
	d.dropPartial(s)
}

// isTACACSPort reports whether a port is that of RFC 8907 (49) or RFC 9887 (300).
func isTACACSPort(port uint16) bool { return port == 49 || port == 300 }
