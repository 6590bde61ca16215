package main

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"slices"
)

// addHandshake reads the hellos in the handshake messages in clear.
func (t *tlsConversation) addHandshake(from int, data []byte) {
	if t.answered {
		return
	}
	s := &t.directions[from]
	s.hello = append(s.hello, data...)
	for len(s.hello) >= 4 {
		n := 4 + int(binary.BigEndian.Uint32(s.hello)&0xffffff)
		if n > maxHandshake {
			t.stop(from, fmt.Sprintf("handshake message of %d bytes from the %s", n, endNames[from]))
			return
		}
		if len(s.hello) < n {
			break
		}
		m := &tlsMessage{data: s.hello[4:n]}
		ok := true
		switch typ := s.hello[0]; {
		case typ == handshakeClientHello && from == 0:
			ok = t.onClientHello(m)
		case typ == handshakeServerHello && from == 1:
			ok = t.onServerHello(m)
		}
		if !ok {
			t.fail("malformed hello from the " + endNames[from])
		}
		s.hello = s.hello[n:]
	}
	if len(s.hello) == 0 || t.answered {
		s.hello = nil
	}
}

func (t *tlsConversation) onClientHello(m *tlsMessage) (ok bool) {
	hello, ok := parseClientHello(m)
	t.random, t.earlyData = hello.random, t.earlyData || hello.earlyData
	if hello.serverName != "" {
		t.serverName = escape(hello.serverName)
	}
	t.directions[0].sawHello = true
	return ok
}

func (t *tlsConversation) onServerHello(m *tlsMessage) (ok bool) {
	hello, ok := parseServerHello(m)
	if !ok {
		return false
	}
	t.directions[1].sawHello = true
	if hello.retry {
		return true
	}
	t.answered, t.cipher = true, tls.CipherSuiteName(hello.suite)
	i := slices.IndexFunc(tlsSuites, func(s tlsSuite) bool { return s.id == hello.suite })
	switch {
	case hello.version != tls.VersionTLS13:
		t.fail("RFC 9887 section 3.2 forbids " + tls.VersionName(hello.version))
	case i < 0: // Go's standard library does not export ChaCha20
		t.fail("unsupported cipher " + t.cipher)
	default:
		t.suite = &tlsSuites[i]
	}
	return true
}

// retryRandom is the random of a ServerHello that asks for another ClientHello: the SHA-256 of
// "HelloRetryRequest" (RFC 8446 section 4.1.3).
var retryRandom = sha256.Sum256([]byte("HelloRetryRequest"))

// Types of handshake messages and extensions.
const (
	handshakeClientHello = 1
	handshakeServerHello = 2

	extensionServerName        = 0 // RFC 6066 section 3
	extensionEarlyData         = 42
	extensionSupportedVersions = 43
)

// A clientHello is what is read of a ClientHello. RFC 8446 section 4.1.2.
type clientHello struct {
	random     clientRandom
	serverName string
	earlyData  bool
}

func parseClientHello(m *tlsMessage) (h clientHello, ok bool) {
	m.read(2)
	copy(h.random[:], m.read(len(h.random)))
	m.vector(1) // legacy_session_id
	m.vector(2) // cipher_suites
	m.vector(1) // legacy_compression_methods
	m.extensions(func(typ int, value *tlsMessage) {
		switch typ {
		case extensionServerName:
			names := value.vector(2)
			if names.number(1) == 0 {
				name := names.vector(2).data
				h.serverName = string(name[:min(len(name), 255)])
			}
		case extensionEarlyData:
			h.earlyData = true
		}
	})
	return h, !m.bad
}

// A serverHello is what is read of a ServerHello, or of a HelloRetryRequest. RFC 8446 sections 4.1.3 and 4.1.4.
type serverHello struct {
	version, suite uint16
	retry          bool
}

func parseServerHello(m *tlsMessage) (h serverHello, ok bool) {
	h.version = uint16(m.number(2))
	h.retry = bytes.Equal(m.read(len(retryRandom)), retryRandom[:])
	m.vector(1) // legacy_session_id_echo
	h.suite = uint16(m.number(2))
	m.read(1) // legacy_compression_method
	m.extensions(func(typ int, value *tlsMessage) {
		if typ == extensionSupportedVersions {
			h.version = uint16(value.number(2))
		}
	})
	return h, !m.bad
}

// A tlsMessage reads the fields of a handshake message. If the message is too short, it is bad and further fields are empty.
type tlsMessage struct {
	data []byte
	bad  bool
}

func (m *tlsMessage) read(n int) []byte {
	if n > len(m.data) {
		m.data, m.bad = nil, true
		return nil
	}
	field := m.data[:n]
	m.data = m.data[n:]
	return field
}

// number reads a number of size bytes.
func (m *tlsMessage) number(size int) (v int) {
	for _, b := range m.read(size) {
		v = v<<8 | int(b)
	}
	return v
}

// vector reads a field after its length, which has size bytes.
func (m *tlsMessage) vector(size int) *tlsMessage { return &tlsMessage{data: m.read(m.number(size))} }

// extensions reads the extensions at the end of a hello. TLS 1.2 may leave them out.
func (m *tlsMessage) extensions(each func(typ int, value *tlsMessage)) {
	if len(m.data) == 0 {
		return
	}
	all := m.vector(2)
	for len(all.data) > 0 {
		typ := all.number(2)
		value := all.vector(2)
		each(typ, value)
		all.bad = all.bad || value.bad
	}
	m.bad = m.bad || all.bad
}
