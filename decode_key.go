package main

import (
	"bufio"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
)

// A keyFinder finds the key of a session among candidates.
type keyFinder struct {
	keys    []key // none: only packets in clear are read
	clients map[netip.Addr]*decodeClient
	others  decodeClient // stands for the clients beyond maxClients

	// Used for every packet.
	prefix   []byte
	codec    codec
	messages messageSet
}

// A decodeClient is what is known about a client.
type decodeClient struct {
	key   int // index of the candidate that fitted last, which is tried first
	count clientCount
}

const maxClients = 16 << 10

// A sessionKey is what is known about the key of a session.
type sessionKey struct {
	client    *decodeClient
	index     int  // of the candidate; -1 for none
	confirmed bool // the fields of a packet make sense with this key
	unread    bool // a packet could not be read
}

// client returns what is known about the client with an address.
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
	case h.length == 0: // RFC 8907 section 3.6
		return nil, nil
	case s.unread:
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

// findKey chooses the key for a session by its first packet: the one that fitted the client last, or another
// candidate. With a wrong key the lengths of a long packet add up once in some hundred times. So the fields
// must make sense too. If they do with no candidate, the lengths suffice until the next packet decides.
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

// tryKey reads a body with a candidate. It returns nil and leaves the body unchanged if the lengths do not add
// up, or if the fields must make sense and do not.
func (k *keyFinder) tryKey(h *header, body []byte, index int, mustMakeSense bool) message {
	obfuscate(h, k.keys[index].value, body)
	if m := k.messages.of(h); k.codec.decode(body, m) == nil && (!mustMakeSense || plausible(m)) {
		return m
	}
	obfuscate(h, k.keys[index].value, body)
	return nil
}

// lengthsMatch reports whether the first bytes of a body may be right with a candidate. It costs one MD5.
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

// Bounds of a list of keys.
const (
	maxKeyListFile = 8 << 20 // bytes
	maxKeyListLine = 4096    // bytes
)

// appendKeyList appends the keys of a file, one on each line. Empty lines are ignored; blanks are part of the
// key.
func appendKeyList(keys []key, name string, stdin io.Reader) ([]key, error) {
	source := "standard input"
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, failf(classUsage, "read the list of keys: %w", err)
		}
		defer f.Close()
		stdin, source = f, name
	}
	before := len(keys)
	lines := bufio.NewScanner(io.LimitReader(stdin, maxKeyListFile+1))
	lines.Buffer(nil, maxKeyListLine)
	size := 0
	for n := 1; lines.Scan(); n++ {
		if size += len(lines.Bytes()) + 1; size > maxKeyListFile {
			return nil, failf(classUsage, "the list of keys %s is over %d bytes", source, maxKeyListFile)
		}
		if value := lines.Text(); value != "" {
			keys = append(keys, key{fmt.Sprintf("%s:%d", source, n), value})
		}
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return nil, failf(classUsage, "a line of the list of keys %s is over %d bytes", source, maxKeyListLine)
	case err != nil:
		return nil, failf(classUsage, "read the list of keys: %w", err)
	case len(keys) == before:
		return nil, failf(classUsage, "there are no keys in %s", source)
	}
	return keys, nil
}
