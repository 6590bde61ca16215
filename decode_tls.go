package main

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"encoding/binary"
	"fmt"
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

	keys          *keyLog
	onData        func(from int, at time.Time, data []byte)
	directions    [2]tlsDirection
	random        clientRandom
	suite         *tlsSuite // nil for one that is not known yet, or not read here
	answered      bool      // the ServerHello was read
	unreadable    bool      // application data will not be read: what counts is what is in clear
	secretMissing bool      // problem is that a secret is not in the key log yet
	waiting       []tlsRecord
	held          int // bytes of waiting
}

// A tlsSide is one direction.
type tlsDirection struct {
	held     []byte // the beginning of a record, or what came behind a gap
	hello    []byte // the beginning of a handshake message in clear
	sawHello bool   // its hello was read, or the request of the server for another one
	over     bool   // nothing more of it can be read
	// key opens its records; next is the one that follows, where it is known.
	key, next *tlsKey
	protected bool // application data: key is behind the handshake
	early     int  // bytes of early data that were passed over
	lost      int  // bytes since the last record before a gap; 0 where there is none to get over
	attempts  int  // that it took to get over the gap
}

// A tlsRecord is a protected record that waits for its secret.
type tlsRecord struct {
	from int
	at   time.Time
	data []byte
}

var sideNames = [2]string{"client", "server"}

const (
	recordAlert     = 21
	recordHandshake = 22
	recordData      = 23 // and everything else that is protected
	recordHeader    = 5
	maxRecord       = recordHeader + 1<<14 + 256 // bytes (RFC 8446 section 5.2)
	minRecord       = recordHeader + 1 + 16      // of a protected one: the type and the tag

	// maxUnread is how much of a conversation is kept, in bytes, until a secret is there, and how
	// much early data, or of one handshake message, there may be.
	maxUnread = 64 << 10
	// maxTrials is how often a record is tried to get over one gap, maxAhead how far ahead.
	maxAttempts = 1 << 15
	maxAhead    = 1 << 12
)

// newTLSConversation reads with the secrets of k, or without them: then the name of the server and
// an alert in clear are all there is. said gets the application data of each side in order; the
// bytes are good for the call only.
func newTLSConversation(k *keyLog, said func(from int, at time.Time, data []byte)) *tlsConversation {
	t := &tlsConversation{keys: k, onData: said}
	if k == nil {
		t.giveUp("there is no key log to read it with")
	}
	return t
}

// add takes the next bytes of a side; from 0 is the one who opened the connection. Records whose
// secret is not in the key log yet are kept, up to a bound, and looked at again with every call:
// one without bytes does that alone.
func (t *tlsConversation) add(from int, at time.Time, data []byte) {
	t.drain()
	s := &t.directions[from]
	if s.over {
		return
	}
	rest := data
	if len(s.held) > 0 {
		s.held = append(s.held, data...)
		rest = s.held
	}
	for more := true; more && !s.over; {
		if s.lost > 0 {
			rest, more = t.resume(from, at, rest)
		} else {
			rest, more = t.readRecord(from, at, rest)
		}
	}
	if s.over || len(rest) == 0 {
		s.held = nil
	} else if len(s.held) == 0 || len(rest) < len(s.held) {
		s.held = append(s.held[:0], rest...)
	}
}

// gap says that the next bytes of a side are missing. The record they end in is lost too: what
// follows is searched for the next one that opens.
func (t *tlsConversation) gap(from int, missing int) {
	s := &t.directions[from]
	switch {
	case s.over:
	case t.unreadable:
		s.over, s.held = true, nil
	case !s.sawHello:
		t.giveUp("bytes of its handshake are missing")
		s.over, s.held = true, nil
	default:
		s.lost += missing + len(s.held)
		s.held = nil
	}
}

// next takes one record from the bytes of a side, if it is all there. RFC 8446 section 5.1.
func (t *tlsConversation) readRecord(from int, at time.Time, data []byte) (rest []byte, more bool) {
	if len(data) < recordHeader {
		return data, false
	}
	n, ok := recordLength(data)
	if !ok {
		t.stop(from, "what the "+sideNames[from]+" sends is not TLS")
		return nil, false
	}
	if len(data) < n {
		return data, false
	}
	record := data[:n]
	switch body := record[recordHeader:]; record[0] {
	case recordAlert:
		t.warned(from, body)
	case recordHandshake:
		t.handshake(from, body)
	case recordData:
		t.protected(tlsRecord{from, at, record})
	}
	return data[n:], true
}

// recordLength is how long the record is of which these bytes are the beginning. ok says that it
// is one: of a known type, change_cipher_spec (20) to application_data, and not too long.
func recordLength(data []byte) (n int, ok bool) {
	n = recordHeader + int(binary.BigEndian.Uint16(data[3:]))
	return n, data[0] >= 20 && data[0] <= recordData && data[1] == 3 && n <= maxRecord
}

// protected opens a record, or keeps it behind those that wait.
func (t *tlsConversation) protected(r tlsRecord) {
	switch {
	case !t.directions[r.from].sawHello:
		t.giveUp("its handshake is not in the capture")
	case !t.waits(r.from) && t.open(r):
	case t.held+len(r.data) > maxUnread:
		t.giveUp(t.problem)
	default:
		r.data = bytes.Clone(r.data)
		t.waiting, t.held = append(t.waiting, r), t.held+len(r.data)
	}
}

// waits says that records of a side wait.
func (t *tlsConversation) waits(from int) bool {
	return slices.ContainsFunc(t.waiting, func(r tlsRecord) bool { return r.from == from })
}

// drain opens the records that wait, as far as there are secrets by now. One side does not wait
// for the other: a client that dislikes the server's certificate says so, and has no more secrets.
func (t *tlsConversation) drain() {
	if len(t.waiting) == 0 {
		return
	}
	if t.secretMissing {
		t.problem, t.secretMissing = "", false
	}
	waiting := t.waiting
	t.waiting, t.held = waiting[:0], 0
	for _, r := range waiting {
		if t.waits(r.from) || !t.open(r) {
			t.waiting, t.held = append(t.waiting, r), t.held+len(r.data)
		}
	}
	if len(t.waiting) == 0 {
		t.waiting = nil
	}
}

// open opens a record that is next in its turn. It is false where that has to wait for a secret.
func (t *tlsConversation) open(r tlsRecord) bool {
	s := &t.directions[r.from]
	if s.over || t.unreadable {
		return true
	}
	plain, known := t.decrypt(r.from, r.data)
	switch {
	case !known:
		return t.unreadable
	case plain != nil:
		t.content(r.from, r.at, plain)
	case r.from == 0 && t.earlyData && s.key.seq == 0 && s.early+len(r.data) <= maxUnread:
		s.early += len(r.data)
	default:
		t.stop(r.from, "the secrets of the key log do not open what the "+sideNames[r.from]+" sends")
	}
	return true
}

// resume searches what came behind a gap for a record that opens with one of the next sequence
// numbers, as many as may be missing.
func (t *tlsConversation) resume(from int, at time.Time, data []byte) (rest []byte, more bool) {
	s := &t.directions[from]
	for ; len(data) >= recordHeader; data, s.lost = data[1:], s.lost+1 {
		n, ok := recordLength(data)
		if !ok {
			continue
		}
		if len(data) < n {
			return data, false
		}
		plain, known := t.decrypt(from, data[:n])
		if !known { // a gap is not worth waiting for
			t.stop(from, t.problem)
			return nil, false
		}
		if plain != nil {
			s.lost, s.attempts = 0, 0
			t.content(from, at, plain)
			return data[n:], true
		}
		if s.attempts += 2 * s.ahead(); s.attempts > maxAttempts {
			t.stop(from, "bytes are missing, and what the "+sideNames[from]+" sends behind them does not open")
			return nil, false
		}
	}
	return data, false
}

// ahead is how many sequence numbers the next record can have.
func (s *tlsDirection) ahead() int { return min(1+s.lost/minRecord, maxAhead) }

// decrypt opens a record with the key at hand or the one that follows: behind the handshake, or
// behind a KeyUpdate (RFC 8446 section 7.2). plain is nil where neither opens it, and known is
// false where one of them is not there yet.
func (t *tlsConversation) decrypt(from int, record []byte) (plain []byte, known bool) {
	s := &t.directions[from]
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
	switch {
	case !t.directions[0].sawHello:
		problem = "the client's hello is not in the capture"
	case t.suite == nil:
		problem = "the server's hello is not in the capture"
	default:
		if secret := t.keys.secret(t.random, label); secret != nil {
			return t.newKey(secret)
		}
		what := "secret"
		if t.keys.secrets[t.random] != nil {
			what = secretLabels[label]
		}
		problem = fmt.Sprintf("the key log has no %s for its client random %x...", what, t.random[:8])
	}
	if t.problem == "" || t.secretMissing {
		t.problem, t.secretMissing = problem, true
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
			t.onData(from, at, data)
		}
	}
}

// warned takes an alert. One of TLS 1.2 that is encrypted has more bytes than two.
func (t *tlsConversation) warned(from int, alert []byte) {
	if len(alert) == 2 && alert[1] != 0 { // close_notify
		name := strings.TrimPrefix(tls.AlertError(alert[1]).Error(), "tls: ")
		t.alert = cmp.Or(t.alert, name+" (from the "+sideNames[from]+")")
	}
}

// giveUp is for what no byte to come can mend.
func (t *tlsConversation) giveUp(problem string) {
	t.problem, t.secretMissing, t.unreadable = problem, false, true
	t.waiting, t.held = nil, 0
}

// stop is the end of one side: the other one goes on.
func (t *tlsConversation) stop(from int, problem string) {
	s := &t.directions[from]
	*s = tlsDirection{over: true, sawHello: s.sawHello}
	if t.secretMissing {
		t.problem, t.secretMissing = "", false
	}
	t.problem = cmp.Or(t.problem, problem)
}
