package main

import (
	"net/netip"
	"sync/atomic"
	"time"
)

// A decodeTalk is what a conversation is to the decoder.
type tacacsStream struct {
	ends       [2]netip.AddrPort
	began      time.Time
	ignored    atomic.Bool // it is not TACACS+: what else it says does not matter
	clientEnd  int         // which end; -1 until a packet says it, where no SYN did
	sawData    bool        // bytes of it, or that some are missing
	recognized bool        // it is TACACS+: a packet was there
	partial    bool        // packets may be missing: it began before the capture, or had a gap
	skipped    int         // bytes in which there was no header
	directions [2]streamDirection
	open       []*decodeSession
	client     *decodeClient
	tls        *tlsConversation // nil where it is in clear
}

// A decodeSide is what one end says.
type streamDirection struct {
	held []byte // a packet that is not whole yet
	lost bool   // where the next packet begins is not known: it is searched for
}

// Bounds.
const (
	maxPartialAll   = 4 << 20  // bytes of packets that are not whole yet
	maxUnrecognized = 64 << 10 // bytes that are searched for a first header, where a conversation began before the capture
	maxDecodedTLS   = 256      // TLS conversations at a time
)

// said takes bytes of a conversation, in order.
func (d *decoder) onData(t *tacacsStream, from int, at time.Time, data []byte) {
	if t.ignored.Load() {
		return
	}
	if !t.sawData {
		if t.sawData = true; looksLikeTLS(data) && !d.startTLS(t) {
			return
		}
	}
	if t.tls != nil {
		t.tls.add(from, at, data)
	} else {
		d.data(t, from, at, data)
	}
}

// looksLikeTLS says whether bytes begin like a record of TLS (RFC 8446 section 5.1).
func looksLikeTLS(b []byte) bool {
	return b[0] >= 20 && b[0] <= recordData && (len(b) == 1 || b[1] == 3)
}

// startTLS makes the application data of a conversation its bytes. There may be no room for one more.
func (d *decoder) startTLS(t *tacacsStream) bool {
	if d.tlsOpen == maxDecodedTLS {
		d.count.dropped++
		return false
	}
	d.tlsOpen++
	t.tls = newTLSConversation(d.keyLog, func(from int, at time.Time, data []byte) { d.data(t, from, at, data) })
	return true
}

// bytes cuts what a side says into packets, and keeps what is left over for the next time.
func (d *decoder) data(t *tacacsStream, from int, at time.Time, data []byte) {
	s := &t.directions[from]
	before := len(s.held)
	if before > 0 {
		s.held = append(s.held, data...)
		data = s.held
	}
	rest := d.packets(t, from, at, data)
	if s.held = append(s.held[:0], rest...); len(rest) == 0 {
		s.held = nil // as most packets are whole at once
	}
	d.partial += len(rest) - before
	if d.partial > maxPartialAll {
		d.count.dropped++
		d.loseSync(t, from)
	}
}

// packets takes the packets that are whole. The rest are bytes of one that is not.
func (d *decoder) packets(t *tacacsStream, from int, at time.Time, data []byte) (rest []byte) {
	s := &t.directions[from]
	for len(data) > 0 {
		if !t.fits(from, data) {
			if !t.recognized && (!t.partial || t.skipped > maxUnrecognized) {
				t.ignored.Store(true)
				return nil
			}
			s.lost = true
			n := nextHeader(data)
			t.skipped, data = t.skipped+n, data[n:]
			continue
		}
		if len(data) < headerLen {
			return data
		}
		h := parseHeader(data)
		n := headerLen + int(h.length)
		if len(data) < n {
			return data
		}
		if s.lost && len(data) > n && !t.fits(from, data[n:]) { // a packet ends at the end, or where another begins
			data = data[nextHeader(data):]
			continue
		}
		s.lost = false
		if !t.recognized {
			d.recognize(t, from, &h)
		}
		d.packet(t, from, at, &h, data[headerLen:n])
		data = data[n:]
	}
	return nil
}

// nextHeader is how far away the next byte is that a header could begin with.
func nextHeader(b []byte) int {
	for n := 1; n < len(b); n++ {
		if v := version(b[n]); v == minorDefault || v == minorOne {
			return n
		}
	}
	return len(b)
}

// fits says whether bytes begin like the header of a packet from that side, as far as they go.
// RFC 8907 section 4.1.
func (t *tacacsStream) fits(from int, b []byte) bool {
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

// recognize notes that a conversation is TACACS+, and which end is the client.
func (d *decoder) recognize(t *tacacsStream, from int, h *header) {
	if t.recognized = true; t.clientEnd < 0 {
		t.clientEnd = from
		if h.seqNo%2 == 0 {
			t.clientEnd = 1 - from
		}
	}
	t.partial = t.partial || h.seqNo != 1 // one direction was captured, or the first packets came to nothing
	t.client = d.clientOf(t.peer().Addr())
	d.count.conversations++
}

func (t *tacacsStream) peer() netip.AddrPort   { return t.ends[max(t.clientEnd, 0)] }
func (t *tacacsStream) server() netip.AddrPort { return t.ends[1-max(t.clientEnd, 0)] }

// gap notes that bytes of a side are missing: the session that waits for them is cut short, and the side
// goes on where the next header is.
func (d *decoder) onGap(t *tacacsStream, from, missing int) {
	if t.ignored.Load() {
		return
	}
	d.count.missing += missing
	if t.sawData = true; t.tls != nil {
		t.tls.gap(from, missing)
	}
	d.loseSync(t, from)
}

// lose gives up what there is of a packet, whose other bytes are missing.
func (d *decoder) loseSync(t *tacacsStream, from int) {
	s := &t.directions[from]
	d.partial -= len(s.held)
	s.held, s.lost, t.partial = s.held[:0], true, true
	for _, o := range t.open {
		o.damaged = true
	}
}

// ended takes the end of a conversation.
func (d *decoder) onClose(t *tacacsStream, at time.Time) {
	if t.tls != nil {
		d.tlsOpen--
		t.tls.add(0, at, nil) // what waited for its secret
		d.endTLS(t)
	}
	for len(t.open) > 0 {
		d.closeSession(t.open[0])
	}
	for i := range t.directions {
		d.partial -= len(t.directions[i].held)
	}
}

// endTLS prints what kept a TLS conversation from being read. One of a port that is none of TACACS+ may
// be anything, and is counted only.
func (d *decoder) endTLS(t *tacacsStream) {
	why := t.tls.problem
	if d.keyLog == nil {
		why = "there is no key log (--keylog)"
	}
	switch expected := d.port != 0 || isTACACSPort(t.ends[0].Port()) || isTACACSPort(t.ends[1].Port()); {
	case why == "" && t.tls.alert == "":
		return
	case !expected && !t.recognized:
		d.count.otherTLS++
		return
	}
	if d.summary != nil {
		d.count.unreadTLS++
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
	d.print(&sessionRecord{at: t.began, peer: t.peer(), server: t.server(), problem: text}, len(text))
}

// isTACACSPort: 49 is the one of RFC 8907, 300 that of RFC 9887.
func isTACACSPort(port uint16) bool { return port == 49 || port == 300 }
