package main

import (
	"crypto/subtle"
	"net/netip"
	"sync/atomic"
)

// A keyFinder finds the key of a session among candidates.
type keyFinder struct {
	keys    keyTable // none: only packets in clear are read
	clients map[netip.Addr]*decodeClient
	others  decodeClient // all clients beyond maxClients
	latest  atomic.Int64 // index of the key that the last search has found

	// Used for every packet.
	test     keyTest
	codec    codec
	messages messageSet
	ahead    padTable // of the packets that follow
}

// A decodeClient is the state of a client.
type decodeClient struct {
	key   int // the last key that fitted, which is tried first
	count clientCount
}

const maxClients = 16 << 10

// A sessionKey is the state of the search for the key of a session.
type sessionKey struct {
	client    *decodeClient
	index     int  // of the candidate in the table; -1 for none
	confirmed bool // the fields of a packet are plausible with this key
	unread    bool // a packet could not be read
	clear     bool // the bodies are in clear, although the flag is not set
}

// client returns the state of the client with an address.
func (k *keyFinder) client(addr netip.Addr) *decodeClient {
	if c := k.clients[addr]; c != nil {
		return c
	}
	if len(k.clients) == maxClients {
		return &k.others
	}
	c := &decodeClient{count: clientCount{addr: addr}}
	k.clients[addr] = c
	return c
}

// clientCounts returns the counts of all clients but the others.
func (k *keyFinder) clientCounts() []*clientCount {
	counts := make([]*clientCount, 0, len(k.clients))
	for _, c := range k.clients {
		counts = append(counts, &c.count)
	}
	return counts
}

// decode reads the body of a packet and undoes its obfuscation in place. m is nil if the body cannot be read: of a body in
// clear the error is errBodyLength then. remark is what is wrong with the UNENCRYPTED flag.
func (k *keyFinder) decode(s *sessionKey, h *header, body []byte, tls bool) (m message, remark string, err error) {
	if h.length == 0 || s.unread || !packetTypeNames.has(uint8(h.typ)) { // RFC 8907 section 3.6
		return nil, "", nil
	}
	flagged := h.flags&flagUnencrypted != 0
	if tls && !flagged {
		remark = remarkTLS
	}
	switch {
	case s.index >= 0:
		if m = k.tryKey(h, body, s.index, false); m != nil {
			s.confirmed = s.confirmed || plausible(m)
			return m, s.obfuscated(flagged, tls), nil
		}
	case s.clear || flagged || tls:
		if m = k.readClear(h, body); m != nil {
			return m, remark, nil
		}
		if m = k.findKey(s, h, body); m != nil && s.confirmed {
			return m, s.obfuscated(flagged, tls), nil
		}
		s.index = -1
		if flagged || s.clear {
			return nil, "", errBodyLength
		}
		remark = remarkObfuscatedTLS
	default:
		if m = k.findKey(s, h, body); m != nil {
			return m, "", nil
		}
		if m = k.readClear(h, body); m != nil && h.seqNo == 1 && plausible(m) {
			s.clear = true
			return m, remarkClear, nil
		}
	}
	s.unread = true
	return nil, remark, nil
}

// Remarks on a session whose packets have the wrong UNENCRYPTED flag. RFC 8907 section 4.1 and RFC 9887 section 4.
const (
	remarkTLS           = "no UNENCRYPTED flag over TLS"
	remarkObfuscatedTLS = "obfuscated inside TLS (RFC 9887 section 4)"
	remarkFlag          = "UNENCRYPTED flag on an obfuscated body"
	remarkClear         = "body in clear without the UNENCRYPTED flag"
)

// obfuscated returns the remark on a packet that fits a key.
func (s *sessionKey) obfuscated(flagged, tls bool) string {
	switch {
	case tls:
		return remarkObfuscatedTLS
	case flagged:
		return remarkFlag
	}
	return ""
}

// readClear reads a body in clear.
func (k *keyFinder) readClear(h *header, body []byte) message {
	if m := k.messages.of(h); k.codec.decode(body, m) == nil {
		return m
	}
	return nil
}

// findKey chooses the key for a session by its first packet: the last one that fitted the client, or another candidate.
// With a wrong key the lengths of a long packet add up about once in a hundred times, so the fields must be plausible too.
// If they are with no candidate, matching lengths suffice until the next packet decides.
func (k *keyFinder) findKey(s *sessionKey, h *header, body []byte) message {
	if k.keys.count == 0 {
		return nil
	}
	s.confirmed = true
	if m := k.tryKey(h, body, s.client.key, true); m != nil {
		s.index = s.client.key
		return m
	}
	for i := 0; i < k.keys.end(); {
		value, next, ok := k.keys.at(i)
		if ok && k.test.mayFit(h, body, value) {
			if m := k.tryKey(h, body, i, true); m != nil {
				s.index, s.client.key = i, i
				k.latest.Store(int64(i))
				return m
			}
		}
		i = next
	}
	s.confirmed = false
	if m := k.tryKey(h, body, s.client.key, false); m != nil {
		s.index = s.client.key
		return m
	}
	return nil
}

// tryKey reads a body with a candidate. It returns nil and leaves the body unchanged if the lengths do not add up, or if
// the fields must be plausible and are not.
func (k *keyFinder) tryKey(h *header, body []byte, index int, mustBePlausible bool) message {
	k.obfuscate(h, index, body)
	if m := k.messages.of(h); k.codec.decode(body, m) == nil && (!mustBePlausible || plausible(m)) {
		return m
	}
	k.obfuscate(h, index, body)
	return nil
}

// obfuscate is like the function obfuscate, for a key of k.keys. It uses the pad that was computed ahead, if there
// is one.
func (k *keyFinder) obfuscate(h *header, index int, body []byte) {
	for i := range k.ahead.pads[:min(len(k.ahead.pads), maxSkipped)] {
		if p := &k.ahead.pads[i]; p.header == *h && k.ahead.key == index {
			subtle.XORBytes(body, body, p.bytes)
			k.ahead.pads = k.ahead.pads[i:]
			return
		}
	}
	value, _, _ := k.keys.at(index)
	obfuscate(h, value, body)
}
