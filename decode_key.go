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

// This file finds the key that a session was obfuscated with, among candidates.

// A decodeClient is what is kept of a client for its next session.
type decodeClient struct {
	addr  netip.Addr
	key   int // the candidate that fitted last; tried first
	count clientCount
}

// maxClients is how many are kept.
const maxClients = 16 << 10

// clientOf is the client of an address. Those for which there is no room are one.
func (d *decoder) clientOf(addr netip.Addr) *decodeClient {
	if c := d.clients[addr]; c != nil {
		return c
	}
	if len(d.clients) == maxClients {
		return &d.others
	}
	c := &decodeClient{addr: addr}
	d.clients[addr] = c
	return c
}

// decode reads the body of a packet, which it makes clear: m is the message, text that body. Both are nil
// where it was not read.
func (d *decoder) decode(s *decodeSession, h *header, body []byte) (m message, text []byte) {
	switch {
	case h.length == 0: // RFC 8907 section 3.6
		return nil, nil
	case s.unread:
		return nil, nil
	case h.flags&flagUnencrypted != 0 || s.stream.tls != nil:
		if m := d.messages.of(h); d.codec.decode(body, m) == nil {
			return m, body
		}
	case len(d.keys) == 0:
	case s.keyIndex >= 0:
		if m := d.tryKey(h, body, s.keyIndex, false); m != nil {
			s.confirmed = s.confirmed || plausible(m)
			return m, body
		}
	default:
		if m := d.findKey(s, h, body); m != nil {
			return m, body
		}
	}
	s.unread = true
	return nil, nil
}

// findKey takes the key for a session that fits its first packet: the one that fitted the client last, or
// another candidate. A wrong key can make the lengths add up by chance: for a long packet once in some
// hundred. So what the fields say has to make sense; where it does for none, the lengths will do until
// another packet of the session decides.
func (d *decoder) findKey(s *decodeSession, h *header, body []byte) message {
	who := s.stream.client
	s.confirmed = true
	if m := d.tryKey(h, body, who.key, true); m != nil {
		s.keyIndex = who.key
		return m
	}
	for i := range d.keys {
		if d.lengthsMatch(h, body, i) {
			if m := d.tryKey(h, body, i, true); m != nil {
				s.keyIndex, who.key = i, i
				return m
			}
		}
	}
	s.confirmed = false
	if m := d.tryKey(h, body, who.key, false); m != nil {
		s.keyIndex = who.key
		return m
	}
	return nil
}

// reveal makes the body of a packet clear with a candidate key and reads it; nil where the lengths do not
// add up or, where it is to be credible, what it says makes no sense: then the body is as it was.
func (d *decoder) tryKey(h *header, body []byte, key int, credibly bool) message {
	obfuscate(h, d.keys[key].value, body)
	if m := d.messages.of(h); d.codec.decode(body, m) == nil && (!credibly || plausible(m)) {
		return m
	}
	obfuscate(h, d.keys[key].value, body)
	return nil
}

// promises says whether the first bytes of a body can be right with a candidate key: it costs one MD5.
func (d *decoder) lengthsMatch(h *header, body []byte, key int) bool {
	d.body = append(d.body[:0], body[:min(len(body), md5.Size)]...)
	obfuscate(h, d.keys[key].value, d.body)
	m := d.messages.of(h)
	d.codec = codec{fields: d.codec.fields[:0], reading: true, buf: d.body}
	if m.layout(&d.codec); d.codec.err != nil { // more lengths follow: those of arguments
		return len(body) > len(d.body) && plausible(m)
	}
	size := len(d.body) - len(d.codec.buf)
	for _, f := range d.codec.fields {
		size += f.length
	}
	return size == len(body)
}

// Bounds of a list of keys.
const (
	maxKeyListFile = 8 << 20 // bytes
	maxKeyListLine = 4096
)

// appendKeyList adds the keys of a file with one on every line. Empty lines count for nothing, blanks are
// part of the key.
func appendKeyList(keys []key, name string, stdin io.Reader) ([]key, error) {
	shown := "standard input"
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, failf(classUsage, "read the list of keys: %w", err)
		}
		defer f.Close()
		stdin, shown = f, name
	}
	before := len(keys)
	lines := bufio.NewScanner(io.LimitReader(stdin, maxKeyListFile+1))
	lines.Buffer(nil, maxKeyListLine)
	size := 0
	for n := 1; lines.Scan(); n++ {
		if size += len(lines.Bytes()) + 1; size > maxKeyListFile {
			return nil, failf(classUsage, "the list of keys %s is over %d bytes", shown, maxKeyListFile)
		}
		if value := lines.Text(); value != "" {
			keys = append(keys, key{fmt.Sprintf("%s:%d", shown, n), value})
		}
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return nil, failf(classUsage, "a line of the list of keys %s is over %d bytes", shown, maxKeyListLine)
	case err != nil:
		return nil, failf(classUsage, "read the list of keys: %w", err)
	case len(keys) == before:
		return nil, failf(classUsage, "there are no keys in %s", shown)
	}
	return keys, nil
}
