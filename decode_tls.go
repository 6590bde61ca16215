package main

import (
	"bytes"
	"cmp"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"hash"
	"slices"
	"strings"
	"time"
)

// A tlsConversation reads one TLS 1.3 connection of which both directions are heard, with the
// secrets of a key log. RFC 8446 says how it is sealed, RFC 9887 that TACACS+ speaks it.
//
// Which secret a side uses is found by trial: a record that does not open with the one at hand was
// sealed with the one that follows. So nothing needs to be understood of the handshake behind the
// two hellos, nor of the requests for new keys, and what is lost of them does no harm.
type tlsConversation struct {
	serverName string // of the ClientHello, escaped
	cipher     string // by its name, once known
	alert      string // that was sent in clear, or could be read, and by whom; not that of a normal end
	problem    string // why its application data cannot be read, in plain words; empty while it can
	earlyData  bool   // the client offers some (0-RTT), against RFC 9887 section 5.1.2; it is passed over

	keys     *keyLog
	said     func(from int, at time.Time, octets []byte)
	sides    [2]tlsSide
	random   clientRandom
	suite    *tlsSuite // nil for one that is not known yet, or not read here
	answered bool      // the ServerHello was read
	sealed   bool      // application data will not be read: what counts is what is in clear
	absent   bool      // problem is that a secret is not in the key log yet
	waiting  []tlsRecord
	held     int // octets of waiting
}

// A tlsSide is one direction.
type tlsSide struct {
	held    []byte // the beginning of a record, or what came behind a gap
	hello   []byte // the beginning of a handshake message in clear
	greeted bool   // its hello was read, or the request of the server for another one
	over    bool   // nothing more of it can be read
	// key opens its records; next is the one that follows, where it is known.
	key, next *tlsKey
	protected bool // application data: key is behind the handshake
	early     int  // octets of early data that were passed over
	lost      int  // octets since the last record before a gap; 0 where there is none to get over
	trials    int  // that it took to get over the gap
}

// A tlsRecord is a protected record that waits for its secret.
type tlsRecord struct {
	from   int
	at     time.Time
	octets []byte
}

var sideNames = [2]string{"client", "server"}

const (
	recordAlert     = 21
	recordHandshake = 22
	recordData      = 23 // and everything else that is protected
	recordHeader    = 5
	maxRecord       = recordHeader + 1<<14 + 256 // octets (RFC 8446 section 5.2)
	minRecord       = recordHeader + 1 + 16      // of a protected one: the type and the tag

	// maxUnread is how much of a conversation is kept, in octets, until a secret is there, and how
	// much early data, or of one handshake message, there may be.
	maxUnread = 64 << 10
	// maxTrials is how often a record is tried to get over one gap, maxAhead how far ahead.
	maxTrials = 1 << 15
	maxAhead  = 1 << 12
)

// newTLSConversation reads with the secrets of k, or without them: then the name of the server and
// an alert in clear are all there is. said gets the application data of each side in order; the
// octets are good for the call only.
func newTLSConversation(k *keyLog, said func(from int, at time.Time, octets []byte)) *tlsConversation {
	t := &tlsConversation{keys: k, said: said}
	if k == nil {
		t.giveUp("there is no key log to read it with")
	}
	return t
}

// add takes the next octets of a side; from 0 is the one who opened the connection. Records whose
// secret is not in the key log yet are kept, up to a bound, and looked at again with every call:
// one without octets does that alone.
func (t *tlsConversation) add(from int, at time.Time, octets []byte) {
	t.drain()
	s := &t.sides[from]
	if s.over {
		return
	}
	s.held = append(s.held, octets...)
	rest := s.held
	for more := true; more && !s.over; {
		if s.lost > 0 {
			rest, more = t.resume(from, at, rest)
		} else {
			rest, more = t.next(from, at, rest)
		}
	}
	switch {
	case s.over || len(rest) == 0:
		s.held = nil
	case len(rest) > maxUnread:
		t.stop(from, "octets are missing, and there is no secret for what follows")
	case len(rest) < len(s.held):
		s.held = append(s.held[:0], rest...)
	}
}

// gap says that the next octets of a side are missing. The record they end in is lost too: what
// follows is searched for the next one that opens.
func (t *tlsConversation) gap(from int, missing int) {
	s := &t.sides[from]
	switch {
	case s.over:
	case t.sealed:
		s.over, s.held = true, nil
	case !s.greeted, from == 1 && !t.answered:
		t.giveUp("octets of its handshake are missing")
	default:
		s.lost += max(1, missing) + len(s.held)
		s.held = nil
	}
}

// next takes one record from the octets of a side, if it is all there. RFC 8446 section 5.1.
func (t *tlsConversation) next(from int, at time.Time, octets []byte) (rest []byte, more bool) {
	if len(octets) < recordHeader {
		return octets, false
	}
	n, ok := recordLength(octets)
	if !ok {
		t.stop(from, "what the "+sideNames[from]+" sends is not TLS")
		return nil, false
	}
	if len(octets) < n {
		return octets, false
	}
	record := octets[:n]
	switch body := record[recordHeader:]; record[0] {
	case recordAlert:
		t.warned(from, body)
	case recordHandshake:
		t.handshake(from, body)
		t.drain()
	case recordData:
		t.protected(tlsRecord{from, at, record})
	}
	return octets[n:], true
}

// recordLength is how long the record is of which these octets are the beginning. ok says that it
// is one: of a known type, change_cipher_spec (20) to application_data, and not too long.
func recordLength(octets []byte) (n int, ok bool) {
	n = recordHeader + int(binary.BigEndian.Uint16(octets[3:]))
	return n, octets[0] >= 20 && octets[0] <= recordData && octets[1] == 3 && n <= maxRecord
}

// protected opens a record, or keeps it behind those that wait.
func (t *tlsConversation) protected(r tlsRecord) {
	switch {
	case t.sealed:
	case !t.sides[r.from].greeted:
		t.giveUp("its handshake is not in the capture")
	case len(t.waiting) == 0 && t.open(r):
	case t.held+len(r.octets) > maxUnread:
		t.giveUp(t.problem)
	default:
		r.octets = bytes.Clone(r.octets)
		t.waiting, t.held = append(t.waiting, r), t.held+len(r.octets)
	}
}

// drain opens the records that wait, as far as there are secrets by now.
func (t *tlsConversation) drain() {
	for len(t.waiting) > 0 && t.open(t.waiting[0]) {
		t.held -= len(t.waiting[0].octets)
		t.waiting = t.waiting[1:]
	}
}

// open opens a record that is next in its turn. It is false where that has to wait for a secret.
func (t *tlsConversation) open(r tlsRecord) bool {
	s := &t.sides[r.from]
	if s.over {
		return true
	}
	plain, known := t.decrypt(r.from, r.octets)
	switch {
	case !known:
		return false
	case plain != nil:
		t.content(r.from, r.at, plain)
	case r.from == 0 && t.earlyData && !s.protected && s.key.seq == 0 && s.early+len(r.octets) <= maxUnread:
		s.early += len(r.octets)
	default:
		t.stop(r.from, "the secrets of the key log do not open what the "+sideNames[r.from]+" sends")
	}
	return true
}

// resume searches what came behind a gap for a record that opens with one of the next sequence
// numbers, as many as may be missing.
func (t *tlsConversation) resume(from int, at time.Time, octets []byte) (rest []byte, more bool) {
	s := &t.sides[from]
	if len(t.waiting) > 0 {
		return octets, false
	}
	for ; len(octets) >= recordHeader; octets = octets[1:] {
		n, ok := recordLength(octets)
		if !ok || octets[0] != recordData || n < minRecord {
			s.lost++
			continue
		}
		if len(octets) < n {
			return octets, false
		}
		plain, known := t.decrypt(from, octets[:n])
		if !known {
			return octets, false
		}
		if plain != nil {
			s.lost, s.trials = 0, 0
			t.content(from, at, plain)
			return octets[n:], true
		}
		if s.trials += 2 * s.ahead(); s.trials > maxTrials {
			t.stop(from, "octets are missing, and what the "+sideNames[from]+" sends behind them does not open")
			return nil, false
		}
		s.lost++
	}
	return octets, false
}

// ahead is how many sequence numbers the next record can have.
func (s *tlsSide) ahead() int { return min(1+s.lost/minRecord, maxAhead) }

// decrypt opens a record with the key at hand or the one that follows: behind the handshake, or
// behind a KeyUpdate (RFC 8446 section 7.2). plain is nil where neither opens it, and known is
// false where one of them is not there yet.
func (t *tlsConversation) decrypt(from int, record []byte) (plain []byte, known bool) {
	s := &t.sides[from]
	if s.key == nil {
		if s.key = t.keyOf(clientHandshakeSecret + secretLabel(from)); s.key == nil {
			return nil, false
		}
	}
	scratch := t.keys.scratch[:]
	if plain = s.key.open(scratch, record, s.ahead()); plain != nil {
		return plain, true
	}
	if s.next == nil {
		if s.protected {
			s.next = t.newKey(t.suite.expand(s.key.secret, "traffic upd", t.suite.hash().Size()))
		} else {
			s.next = t.keyOf(clientTrafficSecret + secretLabel(from))
		}
		if s.next == nil {
			return nil, false
		}
	}
	if plain = s.next.open(scratch, record, s.ahead()); plain != nil {
		s.key, s.next, s.protected = s.next, nil, true
	}
	return plain, true
}

// keyOf is the key of a secret of the key log, or nil, with the problem, where it is not there yet.
func (t *tlsConversation) keyOf(label secretLabel) *tlsKey {
	var problem string
	if t.suite == nil {
		problem = "the other side's part of its handshake is not in the capture"
	} else if secret := t.keys.secret(t.random, label); secret != nil {
		if t.absent {
			t.problem, t.absent = "", false
		}
		return t.newKey(secret)
	} else {
		problem = fmt.Sprintf("the key log has no %s for its client random %x...", secretLabels[label], t.random[:8])
	}
	if t.problem == "" || t.absent {
		t.problem, t.absent = problem, true
	}
	return nil
}

// content takes what a record held: the data, its type, and any number of zeros (RFC 8446 section
// 5.4).
func (t *tlsConversation) content(from int, at time.Time, plain []byte) {
	plain = bytes.TrimRight(plain, "\x00")
	if len(plain) == 0 {
		return
	}
	data := plain[:len(plain)-1]
	switch plain[len(plain)-1] {
	case recordAlert:
		t.warned(from, data)
	case recordData:
		if len(data) > 0 {
			t.said(from, at, data)
		}
	}
}

// warned takes an alert. One of TLS 1.2 that is encrypted has more octets than two.
func (t *tlsConversation) warned(from int, alert []byte) {
	if len(alert) == 2 && alert[1] != 0 { // close_notify
		name := strings.TrimPrefix(tls.AlertError(alert[1]).Error(), "tls: ")
		t.alert = cmp.Or(t.alert, name+" (from the "+sideNames[from]+")")
	}
}

// giveUp is for what no octet to come can mend.
func (t *tlsConversation) giveUp(problem string) {
	t.problem, t.absent, t.sealed = problem, false, true
	t.waiting, t.held = nil, 0
}

// stop is the end of one side: the other one goes on.
func (t *tlsConversation) stop(from int, problem string) {
	s := &t.sides[from]
	*s = tlsSide{over: true, greeted: s.greeted}
	if t.absent {
		t.problem, t.absent = "", false
	}
	t.problem = cmp.Or(t.problem, problem)
}

// retryRandom is in place of the random of a ServerHello where it asks for another ClientHello:
// SHA-256 of "HelloRetryRequest" (RFC 8446 section 4.1.3).
var retryRandom = sha256.Sum256([]byte("HelloRetryRequest"))

// handshake takes octets of handshake messages in clear, of which the two hellos are read.
func (t *tlsConversation) handshake(from int, octets []byte) {
	if t.answered {
		return
	}
	s := &t.sides[from]
	s.hello = append(s.hello, octets...)
	for len(s.hello) >= 4 && !t.answered {
		n := 4 + int(binary.BigEndian.Uint32(s.hello)&0xffffff)
		if n > maxUnread {
			t.stop(from, fmt.Sprintf("the %s sends a handshake message of %d octets", sideNames[from], n))
			return
		}
		if len(s.hello) < n {
			return
		}
		m := &tlsMessage{octets: s.hello[4:n]}
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
	m.take(2)
	copy(t.random[:], m.take(len(t.random)))
	m.vector(1) // legacy_session_id
	m.vector(2) // cipher_suites
	m.vector(1) // legacy_compression_methods
	m.extensions(func(typ int, value *tlsMessage) {
		switch typ {
		case 0: // server_name (RFC 6066 section 3)
			names := value.vector(2)
			if names.number(1) == 0 && t.serverName == "" {
				name := names.vector(2).octets
				t.serverName = escape(string(name[:min(len(name), 255)]))
			}
		case 42:
			t.earlyData = true
		}
	})
	t.sides[0].greeted = true
	return !m.bad
}

// serverHello reads a ServerHello, or a HelloRetryRequest. RFC 8446 sections 4.1.3 and 4.1.4.
func (t *tlsConversation) serverHello(m *tlsMessage) bool {
	version := uint16(m.number(2))
	random := m.take(len(retryRandom))
	m.vector(1) // legacy_session_id_echo
	suite := uint16(m.number(2))
	m.take(1) // legacy_compression_method
	m.extensions(func(typ int, value *tlsMessage) {
		if typ == 43 { // supported_versions
			version = uint16(value.number(2))
		}
	})
	if m.bad {
		return false
	}
	t.sides[1].greeted = true
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
	octets []byte
	bad    bool
}

func (w *tlsMessage) take(n int) []byte {
	if n > len(w.octets) {
		w.octets, w.bad = nil, true
		return nil
	}
	taken := w.octets[:n]
	w.octets = w.octets[n:]
	return taken
}

// number reads a number of size octets.
func (w *tlsMessage) number(size int) (v int) {
	for _, b := range w.take(size) {
		v = v<<8 | int(b)
	}
	return v
}

// vector reads what has its length in front, in size octets.
func (w *tlsMessage) vector(size int) *tlsMessage { return &tlsMessage{octets: w.take(w.number(size))} }

// extensions reads what ends a hello. TLS 1.2 may leave it out.
func (w *tlsMessage) extensions(see func(typ int, value *tlsMessage)) {
	if len(w.octets) == 0 {
		return
	}
	all := w.vector(2)
	for len(all.octets) > 0 {
		typ := all.number(2)
		value := all.vector(2)
		see(typ, value)
		all.bad = all.bad || value.bad
	}
	w.bad = w.bad || all.bad
}

// A tlsSuite is a cipher suite of TLS 1.3 that can be read.
type tlsSuite struct {
	id     uint16
	hash   func() hash.Hash
	keyLen int // octets
}

var tlsSuites = []tlsSuite{
	{tls.TLS_AES_128_GCM_SHA256, sha256.New, 16},
	{tls.TLS_AES_256_GCM_SHA384, sha512.New384, 32},
}

// A tlsKey opens the records of one side until its next secret. RFC 8446 sections 5.2 and 5.3.
type tlsKey struct {
	aead   cipher.AEAD
	iv     [12]byte
	nonce  [12]byte
	seq    uint64 // of the next record
	secret []byte
}

// newKey makes the key of a traffic secret (RFC 8446 section 7.3). It fails where the program is
// told to do without AES-GCM under given nonces (GODEBUG=fips140=only).
func (t *tlsConversation) newKey(secret []byte) *tlsKey {
	k := &tlsKey{secret: secret}
	copy(k.iv[:], t.suite.expand(secret, "iv", len(k.iv)))
	block, err := aes.NewCipher(t.suite.expand(secret, "key", t.suite.keyLen))
	if err == nil {
		k.aead, err = cipher.NewGCM(block)
	}
	if err != nil {
		t.giveUp(err.Error())
		return nil
	}
	return k
}

// expand is HKDF-Expand-Label without a context. RFC 8446 section 7.1.
func (s *tlsSuite) expand(secret []byte, label string, n int) []byte {
	label = "tls13 " + label
	info := string([]byte{byte(n >> 8), byte(n), byte(len(label))}) + label + "\x00"
	out, err := hkdf.Expand(s.hash, secret, info, n)
	if err != nil {
		return nil // n is never over its limit
	}
	return out
}

// open opens a record into dst with the next sequence number, or one of as many as are given.
func (k *tlsKey) open(dst, record []byte, numbers int) []byte {
	header, sealed := record[:recordHeader], record[recordHeader:]
	for seq := k.seq; seq < k.seq+uint64(numbers); seq++ {
		binary.BigEndian.PutUint64(k.nonce[4:], binary.BigEndian.Uint64(k.iv[4:])^seq)
		copy(k.nonce[:4], k.iv[:4])
		if plain, err := k.aead.Open(dst[:0], k.nonce[:], sealed, header); err == nil {
			k.seq = seq + 1
			return plain
		}
	}
	return nil
}
