package main

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"strings"
)

// A tlsConversation decrypts a TLS 1.3 connection (RFC 8446) with the secrets of a key log. Both directions
// are needed.
//
// The secret of a record is found by trial: if the current one fails, the next one is tried. So only the hellos are
// parsed, and other handshake messages and KeyUpdates may be missing.
type tlsConversation struct {
	serverName string // of the ClientHello, escaped
	cipher     string // empty until the ServerHello
	alert      string // the first readable alert but close_notify, with its sender
	problem    string // why data cannot be decrypted; empty while it can
	earlyData  bool   // the client offers 0-RTT data, which RFC 9887 section 5.1.2 forbids; it is skipped

	keys          *keyLog
	onData        func(from int, at frameRef, data []byte)
	directions    [2]tlsDirection
	random        clientRandom
	suite         *tlsSuite // nil if unknown yet, or unsupported
	answered      bool      // there was a ServerHello
	unreadable    bool      // data will not be decrypted
	secretMissing bool      // problem is a secret that is not in the key log yet
	waiting       []tlsRecord
	waits         [2]int  // how many of them each end sent
	held          int     // bytes of waiting
	secretsSeen   int     // known, when records began to wait
	memory        *budget // of all conversations; nil without bound
	charged       int     // bytes that count against it
}

var endNames = [2]string{"client", "server"}

// newTLSConversation returns a conversation that is decrypted with the secrets of k. If k is nil, only the name of the
// server and alerts in clear are read. onData gets the data of each end in order; the bytes are valid during the call only.
func newTLSConversation(k *keyLog, onData func(from int, at frameRef, data []byte)) *tlsConversation {
	return &tlsConversation{keys: k, onData: onData, unreadable: k == nil}
}

// add adds the next bytes of one end; end 0 is the client. It also retries the records that wait for a secret, even if
// there are no new bytes.
func (t *tlsConversation) add(from int, at frameRef, data []byte) {
	t.openWaiting()
	if t.keys != nil {
		t.keys.searchWork -= searchWorkPerByte * len(data)
	}
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
			rest, more = t.findRecord(from, at, rest)
		} else {
			rest, more = t.readRecord(from, at, rest)
		}
	}
	if s.held = keepRest(s.held, rest); s.over {
		s.held = nil
	}
	t.charge()
}

// charge counts what the conversation retains.
func (t *tlsConversation) charge() {
	if t.memory == nil {
		return
	}
	n := t.held
	for i := range t.directions {
		n += cap(t.directions[i].held) + cap(t.directions[i].hello)
	}
	t.memory.used += n - t.charged
	t.charged = n
}

// gap notes that the next bytes of one end are missing. The incomplete record before them is lost too.
func (t *tlsConversation) gap(from int, missing int) {
	s := &t.directions[from]
	switch {
	case s.over:
	case t.unreadable || !s.sawHello:
		if !t.unreadable {
			t.fail("handshake incomplete in the capture")
		}
		s.over, s.held = true, nil
	default:
		s.lost += missing + len(s.held)
		s.held = nil
	}
	t.charge()
}

// readRecord reads one record, if it is complete. RFC 8446 section 5.1.
func (t *tlsConversation) readRecord(from int, at frameRef, data []byte) (rest []byte, more bool) {
	if len(data) < recordHeader {
		return data, false
	}
	n, ok := recordLength(data)
	if !ok {
		t.stop(from, "the END does not send TLS")
		return nil, false
	}
	if len(data) < n {
		return data, false
	}
	record := data[:n]
	switch body := record[recordHeader:]; record[0] {
	case recordAlert:
		t.addAlert(from, body)
	case recordHandshake:
		t.addHandshake(from, body)
	case recordData:
		t.addEncrypted(tlsRecord{from, at, record})
	}
	return data[n:], true
}

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
			t.stop(from, fmt.Sprintf("handshake message of %d bytes from the END", n))
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
	if t.directions[1].sawHello = true; hello.retry {
		return true
	}
	t.answered, t.cipher = true, tls.CipherSuiteName(hello.suite)
	switch t.suite = hello.findSuite(); {
	case hello.version != tls.VersionTLS13:
		t.fail("RFC 9887 section 3.2 forbids " + tls.VersionName(hello.version))
	case t.suite == nil: // Go's standard library does not export ChaCha20
		t.fail("unsupported cipher " + t.cipher)
	}
	return true
}

// addEncrypted decrypts a record, or keeps it until its secret is in the key log.
func (t *tlsConversation) addEncrypted(r tlsRecord) {
	switch {
	case !t.directions[r.from].sawHello:
		t.fail("handshake not in the capture")
	case t.waits[r.from] == 0 && t.open(r):
	case t.held+len(r.data)+recordCost > maxWaiting:
		t.fail(t.problem)
	default:
		r.data = bytes.Clone(r.data)
		t.wait(r)
	}
}

// known returns how much is known of what records may wait for.
func (t *tlsConversation) known() int {
	n := t.keys.count(t.random)
	if t.answered {
		n += trafficSecrets
	}
	return n
}

// wait keeps a record until its secret is in the key log.
func (t *tlsConversation) wait(r tlsRecord) {
	if len(t.waiting) == 0 {
		t.secretsSeen = t.known()
	}
	t.waiting, t.held = append(t.waiting, r), t.held+len(r.data)+recordCost
	t.waits[r.from]++
}

// openWaiting decrypts waiting records whose secrets are in the key log now. One end does not wait for the other: a client
// that refuses the server's certificate sends an alert, and has no more secrets.
func (t *tlsConversation) openWaiting() {
	if len(t.waiting) == 0 {
		return
	}
	if t.keys.readAppended(); t.known() == t.secretsSeen {
		return
	}
	if t.secretMissing {
		t.problem, t.secretMissing = "", false
	}
	waiting := t.waiting
	t.waiting, t.waits, t.held = waiting[:0], [2]int{}, 0
	for _, r := range waiting {
		if t.waits[r.from] > 0 || !t.open(r) {
			t.wait(r)
		}
	}
	if len(t.waiting) == 0 {
		t.waiting = nil
	}
}

// open decrypts the next record of one end. It returns false if the record has to wait for a secret.
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
		t.addPlaintext(r.from, r.at, plain)
	case r.from == 0 && t.earlyData && s.key.seq == 0 && s.early+len(r.data) <= maxEarlyData:
		s.early += len(r.data)
	default:
		t.stop(r.from, "the key log does not decrypt the records of the END")
	}
	return true
}

// findRecord searches the bytes after a gap for a record. It tries as many sequence numbers as records may be missing.
func (t *tlsConversation) findRecord(from int, at frameRef, data []byte) (rest []byte, more bool) {
	s := &t.directions[from]
	for ; len(data) >= recordHeader; data, s.lost = data[1:], s.lost+1 {
		n, ok := recordLength(data)
		if !ok {
			continue
		}
		if len(data) < n {
			return data, false
		}
		work := 2 * s.numbers() * (n + recordCost)
		if t.keys.searchWork += work; t.keys.searchWork > maxSearchWork {
			t.keys.searchWork -= work
			t.stop(from, "missing bytes, and too much work to find the next record of the END")
			return nil, false
		}
		plain, known := t.decrypt(from, data[:n])
		if !known { // no record waits after a gap
			t.stop(from, t.problem)
			return nil, false
		}
		if plain != nil {
			s.lost, s.attempts = 0, 0
			t.addPlaintext(from, at, plain)
			return data[n:], true
		}
		if s.attempts += 2 * s.numbers(); s.attempts > maxGapAttempts {
			t.stop(from, "missing bytes, and no record of the END after them can be decrypted")
			return nil, false
		}
	}
	return data, false
}

// decrypt decrypts a record with the current key or the next one: that after the handshake, or after a KeyUpdate (RFC 8446
// section 7.2). plain is nil if neither fits. known is false if one of them is missing.
func (t *tlsConversation) decrypt(from int, record []byte) (plain []byte, known bool) {
	s := &t.directions[from]
	if s.key == nil {
		if s.key = t.findKey(clientHandshakeSecret + secretLabel(from)); s.key == nil {
			return nil, false
		}
	}
	scratch := t.keys.scratch[:]
	if plain = s.key.open(scratch, record, s.numbers()); plain != nil {
		return plain, true
	}
	if s.next == nil {
		if s.protected {
			s.next = t.checkKey(s.key.update())
		} else {
			s.next = t.findKey(clientTrafficSecret + secretLabel(from))
		}
		if s.next == nil {
			return nil, false
		}
	}
	if plain = s.next.open(scratch, record, s.numbers()); plain != nil {
		s.key, s.next, s.protected = s.next, nil, true
	}
	return plain, true
}

// findKey returns the key of a secret in the key log. If the secret is missing, it sets problem and returns nil.
func (t *tlsConversation) findKey(label secretLabel) *tlsKey {
	var problem string
	switch {
	case !t.directions[0].sawHello:
		problem = "client hello not in the capture"
	case t.suite == nil:
		problem = "server hello not in the capture"
	default:
		if secret := t.keys.secret(t.random, label); secret != nil {
			return t.checkKey(newTLSKey(t.suite, secret))
		}
		what := "secret"
		if t.keys.secrets[t.random] != nil {
			what = secretLabels[label]
		}
		problem = fmt.Sprintf("the key log has no %s for client random %x...", what, t.random[:8])
	}
	if t.problem == "" || t.secretMissing {
		t.problem, t.secretMissing = problem, true
	}
	return nil
}

// checkKey returns a new key, or nil after an error.
func (t *tlsConversation) checkKey(k *tlsKey, err error) *tlsKey {
	if err != nil {
		t.fail(err.Error())
		return nil
	}
	return k
}

// addPlaintext reads the plaintext of a record: data, its type, and any number of zeros (RFC 8446 section 5.4).
func (t *tlsConversation) addPlaintext(from int, at frameRef, plain []byte) {
	plain = bytes.TrimRight(plain, "\x00")
	if len(plain) == 0 {
		return
	}
	data := plain[:len(plain)-1]
	switch plain[len(plain)-1] {
	case recordAlert:
		t.addAlert(from, data)
	case recordData:
		if len(data) > 0 {
			t.onData(from, at, data)
		}
	}
}

// addAlert reads an alert. An encrypted one of TLS 1.2 has more than two bytes.
func (t *tlsConversation) addAlert(from int, alert []byte) {
	if len(alert) == 2 && alert[1] != 0 { // close_notify
		name := strings.TrimPrefix(tls.AlertError(alert[1]).Error(), "tls: ")
		t.alert = cmp.Or(t.alert, name+" (from the "+endNames[from]+")")
	}
}

// fail sets a problem that makes all further data unreadable.
func (t *tlsConversation) fail(problem string) {
	t.problem, t.secretMissing, t.unreadable = problem, false, true
	t.waiting, t.waits, t.held = nil, [2]int{}, 0
}

// stop ends one direction with a problem, in which END is the name of the end. The other one goes on.
func (t *tlsConversation) stop(from int, problem string) {
	s := &t.directions[from]
	*s = tlsDirection{over: true, sawHello: s.sawHello}
	if t.secretMissing {
		t.problem, t.secretMissing = "", false
	}
	t.problem = cmp.Or(t.problem, strings.ReplaceAll(problem, "END", endNames[from]))
}
