package main

import (
	"bytes"
	"crypto/sha256"
)

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

// findSuite returns the chosen cipher suite, or nil if it cannot be decrypted.
func (h *serverHello) findSuite() *tlsSuite {
	for i := range tlsSuites {
		if tlsSuites[i].id == h.suite {
			return &tlsSuites[i]
		}
	}
	return nil
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
