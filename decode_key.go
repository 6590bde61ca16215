package main

import (
	"context"
	"crypto/md5"
	"fmt"
	"net/netip"
	"strings"
	"unicode"
)

// A keyFinder finds the key of a session among candidates.
type keyFinder struct {
	keys    []key // none: only packets in clear are read
	clients map[netip.Addr]*decodeClient
	others  decodeClient // all clients beyond maxClients

	// Used for every packet.
	prefix   []byte
	codec    codec
	messages messageSet
}

// A decodeClient is the state of a client.
type decodeClient struct {
	key   int // index of the last key that fitted, which is tried first
	count clientCount
}

const maxClients = 16 << 10

// A sessionKey is the state of the search for the key of a session.
type sessionKey struct {
	client    *decodeClient
	index     int  // of the candidate; -1 for none
	confirmed bool // the fields of a packet are plausible with this key
	unread    bool // a packet could not be read
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

// decode reads the body of a packet and undoes its obfuscation in place. m and plain are nil if the body
// cannot be read.
func (k *keyFinder) decode(s *sessionKey, h *header, body []byte, cleartext bool) (m message, plain []byte) {
	switch {
	case h.length == 0 || s.unread: // RFC 8907 section 3.6
		return nil, nil
	case cleartext:
		if m := k.messages.of(h); k.codec.decode(body, m) == nil {
			return m, body
		}
	case len(k.keys) == 0:
	case s.index >= 0:
		if m := k.tryKey(h, body, s.index, false); m != nil {
			s.confirmed = s.confirmed || plausible(m)
			return m, body
		}
	default:
		if m := k.findKey(s, h, body); m != nil {
			return m, body
		}
	}
	s.unread = true
	return nil, nil
}

// findKey chooses the key for a session by its first packet: the last one that fitted the client, or another candidate.
// With a wrong key the lengths of a long packet add up about once in a hundred times, so the fields must be plausible too.
// If they are with no candidate, matching lengths suffice until the next packet decides.
func (k *keyFinder) findKey(s *sessionKey, h *header, body []byte) message {
	s.confirmed = true
	if m := k.tryKey(h, body, s.client.key, true); m != nil {
		s.index = s.client.key
		return m
	}
	for i := range k.keys {
		if k.lengthsMatch(h, body, i) {
			if m := k.tryKey(h, body, i, true); m != nil {
				s.index, s.client.key = i, i
				return m
			}
		}
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
	obfuscate(h, k.keys[index].value, body)
	if m := k.messages.of(h); k.codec.decode(body, m) == nil && (!mustBePlausible || plausible(m)) {
		return m
	}
	obfuscate(h, k.keys[index].value, body)
	return nil
}

// lengthsMatch reports whether the start of a body is possible with a candidate. It costs one MD5.
func (k *keyFinder) lengthsMatch(h *header, body []byte, index int) bool {
	k.prefix = append(k.prefix[:0], body[:min(len(body), md5.Size)]...)
	obfuscate(h, k.keys[index].value, k.prefix)
	m := k.messages.of(h)
	k.codec = codec{fields: k.codec.fields[:0], reading: true, buf: k.prefix}
	if m.layout(&k.codec); k.codec.err != nil { // the lengths of arguments follow
		return len(body) > len(k.prefix) && plausible(m)
	}
	size := len(k.prefix) - len(k.codec.buf)
	for _, f := range k.codec.fields {
		size += f.length
	}
	return size == len(body)
}

// Bounds of a list of keys, in bytes.
const (
	maxKeyListFile = 8 << 20
	maxKeyListLine = 4096
)

// readKeyList reads the keys of a file, one on each line. Empty lines are ignored; blanks are part of the key.
func readKeyList(ctx context.Context, inv *invocation, name string) (keys []key, err error) {
	const what = "list of keys"
	var content []byte
	source := sourceName(name)
	if name == "-" {
		err = fileError("read the "+what, interruptible(ctx, func() (err error) { content, err = readAtMost(inv.std.in, source, maxKeyListFile); return err }))
	} else {
		content, err = readFile(ctx, what, name, maxKeyListFile)
		inv.warnReadable(what, name)
	}
	if err != nil {
		return nil, err
	}
	text, err := trimMark(string(content))
	if err != nil {
		return nil, errUTF16(what, "from "+source)
	}
	n, spaced := 0, 0
	for line := range strings.Lines(text) {
		n++
		value := trimLineEnd(line)
		if strings.TrimRightFunc(value, unicode.IsSpace) != value {
			spaced++
		}
		if len(value) > maxKeyListLine {
			return nil, failf(classUsage, "line %d of the list of keys %s is over %d bytes", n, source, maxKeyListLine)
		}
		if value != "" {
			keys = append(keys, key{fmt.Sprintf("%s:%d", source, n), value})
		}
	}
	if len(keys) == 0 {
		return nil, failf(classUsage, "no keys in %s", source)
	}
	if spaced > 0 {
		inv.warnf(warnTrailingSpace, "trailing white space in %s is part of %s", source, howMany(spaced, "key"))
	}
	return keys, nil
}
