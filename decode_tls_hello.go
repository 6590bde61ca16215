package main

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"slices"
)

// retryRandom is in place of the random of a ServerHello where it asks for another ClientHello:
// SHA-256 of "HelloRetryRequest" (RFC 8446 section 4.1.3).
var retryRandom = sha256.Sum256([]byte("HelloRetryRequest"))

// handshake takes bytes of handshake messages in clear, of which the two hellos are read.
func (t *tlsConversation) handshake(from int, data []byte) {
	if t.answered {
		return
	}
	s := &t.directions[from]
	s.hello = append(s.hello, data...)
	for len(s.hello) >= 4 {
		n := 4 + int(binary.BigEndian.Uint32(s.hello)&0xffffff)
		if n > maxUnread {
			t.stop(from, fmt.Sprintf("the %s sends a handshake message of %d bytes", sideNames[from], n))
			return
		}
		if len(s.hello) < n {
			break
		}
		m := &tlsMessage{data: s.hello[4:n]}
		ok := true
		switch typ := s.hello[0]; {
		case typ == 1 && from == 0:
			ok = t.clientHello(m)
		case typ == 2 && from == 1:
			ok = t.serverHello(m)
		}
		if !ok {
			t.giveUp("the hello of its " + sideNames[from] + " cannot be read")
		}
		s.hello = s.hello[n:]
	}
	if len(s.hello) == 0 || t.answered {
		s.hello = nil
	}
}

// clientHello reads a ClientHello. RFC 8446 section 4.1.2.
func (t *tlsConversation) clientHello(m *tlsMessage) bool {
	m.read(2)
	copy(t.random[:], m.read(len(t.random)))
	m.vector(1) // legacy_session_id
	m.vector(2) // cipher_suites
	m.vector(1) // legacy_compression_methods
	m.extensions(func(typ int, value *tlsMessage) {
		switch typ {
		case 0: // server_name (RFC 6066 section 3)
			names := value.vector(2)
			if names.number(1) == 0 {
				name := names.vector(2).data
				t.serverName = escape(string(name[:min(len(name), 255)]))
			}
		case 42:
			t.earlyData = true
		}
	})
	t.directions[0].sawHello = true
	return !m.bad
}

// serverHello reads a ServerHello, or a HelloRetryRequest. RFC 8446 sections 4.1.3 and 4.1.4.
func (t *tlsConversation) serverHello(m *tlsMessage) bool {
	version := uint16(m.number(2))
	random := m.read(len(retryRandom))
	m.vector(1) // legacy_session_id_echo
	suite := uint16(m.number(2))
	m.read(1) // legacy_compression_method
	m.extensions(func(typ int, value *tlsMessage) {
		if typ == 43 { // supported_versions
			version = uint16(value.number(2))
		}
	})
	if m.bad {
		return false
	}
	t.directions[1].sawHello = true
	if bytes.Equal(random, retryRandom[:]) {
		return true
	}
	t.answered, t.cipher = true, tls.CipherSuiteName(suite)
	i := slices.IndexFunc(tlsSuites, func(s tlsSuite) bool { return s.id == suite })
	switch {
	case version != tls.VersionTLS13:
		t.giveUp("it is " + tls.VersionName(version) + ", which RFC 9887 section 3.2 forbids")
	case suite == tls.TLS_CHACHA20_POLY1305_SHA256:
		t.giveUp("its cipher is " + t.cipher + ", which Go's standard library does not offer")
	case i < 0:
		t.giveUp("its cipher is " + t.cipher + ", which is not known here")
	default:
		t.suite = &tlsSuites[i]
	}
	return true
}

// A tlsMessage is a handshake message that is being read, or a part of one. Where it is too short, it is bad, and all that is read
// of it from there is empty.
type tlsMessage struct {
	data []byte
	bad  bool
}

func (w *tlsMessage) read(n int) []byte {
	if n > len(w.data) {
		w.data, w.bad = nil, true
		return nil
	}
	taken := w.data[:n]
	w.data = w.data[n:]
	return taken
}

// number reads a number of size bytes.
func (w *tlsMessage) number(size int) (v int) {
	for _, b := range w.read(size) {
		v = v<<8 | int(b)
	}
	return v
}

// vector reads what has its length in front, in size bytes.
func (w *tlsMessage) vector(size int) *tlsMessage { return &tlsMessage{data: w.read(w.number(size))} }

// extensions reads what ends a hello. TLS 1.2 may leave it out.
func (w *tlsMessage) extensions(see func(typ int, value *tlsMessage)) {
	if len(w.data) == 0 {
		return
	}
	all := w.vector(2)
	for len(all.data) > 0 {
		typ := all.number(2)
		value := all.vector(2)
		see(typ, value)
		all.bad = all.bad || value.bad
	}
	w.bad = w.bad || all.bad
}
