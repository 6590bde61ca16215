package main

import (
	"bytes"
	_ "embed"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// A tlsWrite is bytes that one end sent at once.
type tlsWrite struct {
	from int
	data []byte
}

func parseTrace(t testing.TB, text string) (writes []tlsWrite) {
	t.Helper()
	for line := range strings.Lines(strings.TrimSpace(text)) {
		data := unhex(t, line[1:])
		if line[0] == ' ' {
			last := &writes[len(writes)-1]
			last.data = append(last.data, data...)
		} else {
			writes = append(writes, tlsWrite{strings.Index("><", line[:1]), data})
		}
	}
	return writes
}

func keyLogOf(t testing.TB, text string) *keyLog {
	t.Helper()
	k, err := loadKeyLog("-", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// A tlsObserver records the data of a conversation.
type tlsObserver struct {
	*tlsConversation
	data [2]string
	log  []string // sender, time and size of each piece of data
}

func newTLSObserver(k *keyLog) *tlsObserver {
	l := &tlsObserver{}
	l.tlsConversation = newTLSConversation(k, func(from int, at time.Time, data []byte) {
		l.data[from] += string(data)
		l.log = append(l.log, fmt.Sprintf("%s %d: %d bytes", endNames[from], at.Unix(), len(data)))
	})
	return l
}

// feed adds writes to the conversation in pieces of up to size bytes. Their time is the index of the write.
func (l *tlsObserver) feed(writes []tlsWrite, size int) *tlsObserver {
	random := rand.New(rand.NewPCG(1, uint64(size)))
	for i, w := range writes {
		for rest := bytes.Clone(w.data); len(rest) > 0; {
			n := min(len(rest), 1+random.IntN(size))
			l.add(w.from, time.Unix(int64(i), 0), rest[:n])
			clear(rest[:n]) // valid during the call only
			rest = rest[n:]
		}
	}
	return l
}

// state returns all that is known of the conversation.
func (l *tlsObserver) state() string {
	return fmt.Sprintf("name %q cipher %q alert %q problem %q early %v data %q",
		l.serverName, l.cipher, l.alert, l.problem, l.earlyData, l.data)
}

func (l *tlsObserver) check(t *testing.T, want string) {
	t.Helper()
	if got := l.state(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// A tlsSealer encrypts the records of one direction. TestTLSVectors checks the key that it uses.
type tlsSealer struct{ *tlsKey }

func newTLSSealer(suite *tlsSuite, secret []byte) *tlsSealer {
	k, err := newTLSKey(suite, secret)
	if err != nil {
		panic(err)
	}
	return &tlsSealer{k}
}

// seal returns an encrypted record: content, its type, and zeros.
func (s *tlsSealer) seal(typ byte, content string, zeros int) []byte {
	plain := append(append([]byte(content), typ), make([]byte, zeros)...)
	nonce := bytes.Clone(s.iv[:])
	binary.BigEndian.PutUint64(nonce[4:], binary.BigEndian.Uint64(nonce[4:])^s.seq)
	s.seq++
	header := binary.BigEndian.AppendUint16([]byte{recordData, 3, 3}, uint16(len(plain)+s.aead.Overhead()))
	return s.aead.Seal(header, nonce, plain, header)
}

func (s *tlsSealer) data(content string) []byte { return s.seal(recordData, content, 0) }

// A fakeTLS is a conversation with known secrets.
type fakeTLS struct {
	keys      string
	hellos    []tlsWrite
	handshake [2]*tlsSealer
	traffic   [2]*tlsSealer
}

// clearRecord returns a record in clear.
func clearRecord(typ byte, content []byte) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{typ, 3, 3}, uint16(len(content))), content...)
}

// prefixed returns content after its length, which has size bytes.
func prefixed(size int, content ...byte) []byte {
	n := binary.BigEndian.AppendUint32(nil, uint32(len(content)))
	return append(n[4-size:], content...)
}

func clientHelloOf(random []byte, extensions ...byte) []byte {
	body := slices.Concat([]byte{3, 3}, random, prefixed(1), prefixed(2, 0x13, 1), prefixed(1, 0), prefixed(2, extensions...))
	return append([]byte{1}, prefixed(3, body...)...)
}

func serverHelloOf(suite uint16, extensions ...byte) []byte {
	body := slices.Concat([]byte{3, 3}, make([]byte, 32), prefixed(1), []byte{byte(suite >> 8), byte(suite), 0}, prefixed(2, extensions...))
	return append([]byte{2}, prefixed(3, body...)...)
}

var isTLS13 = []byte{0, 43, 0, 2, 3, 4}

func newFakeTLS(extensions ...byte) *fakeTLS {
	suite := &tlsSuites[0]
	m := &fakeTLS{}
	random := bytes.Repeat([]byte{7}, 32)
	for i, label := range secretLabels {
		secret := bytes.Repeat([]byte{byte(i + 1)}, 32)
		m.keys += fmt.Sprintf("%s %x %x\n", label, random, secret)
		if s := newTLSSealer(suite, secret); i < 2 {
			m.handshake[i] = s
		} else {
			m.traffic[i-2] = s
		}
	}
	m.hellos = []tlsWrite{
		{0, clearRecord(recordHandshake, clientHelloOf(random, extensions...))},
		{1, clearRecord(recordHandshake, serverHelloOf(suite.id, isTLS13...))},
	}
	return m
}

// afterHandshake returns an observer that has seen the handshake.
func (m *fakeTLS) afterHandshake(t *testing.T) *tlsObserver {
	l := newTLSObserver(keyLogOf(t, m.keys)).feed(m.hellos, 1<<16)
	for from, s := range m.handshake {
		l.add(from, time.Time{}, s.seal(recordHandshake, "Finished", 0))
	}
	return l
}

// The simple handshake of RFC 8448 section 3, with AES-128. In a trace, > is the client and < the server.
var (
	//go:embed testdata/tls_rfc8448.trace
	traceOfRFC string
	//go:embed testdata/tls_rfc8448.keylog
	keysOfRFC string
)

// A conversation of openssl's s_client with its s_server, with AES-256. The client requests new keys of both
// sides ("K"), and then updates its own ("k").
var (
	//go:embed testdata/tls_openssl.trace
	traceOfOpenSSL string
	//go:embed testdata/tls_openssl.keylog
	keysOfOpenSSL string
)
