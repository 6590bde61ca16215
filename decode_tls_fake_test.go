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

// A tlsWord is what one side sent at once.
type tlsWrite struct {
	from int
	data []byte
}

func parseTrace(t testing.TB, text string) (words []tlsWrite) {
	t.Helper()
	for line := range strings.Lines(strings.TrimSpace(text)) {
		data := unhex(t, line[1:])
		if line[0] == ' ' {
			last := &words[len(words)-1]
			last.data = append(last.data, data...)
		} else {
			words = append(words, tlsWrite{strings.Index("><", line[:1]), data})
		}
	}
	return words
}

func keyLogOf(t testing.TB, text string) *keyLog {
	t.Helper()
	k, err := loadKeyLog("-", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// A tlsListener hears one conversation.
type tlsObserver struct {
	*tlsConversation
	data [2]string
	log  []string // who said it, when, and how much
}

func newTLSObserver(k *keyLog) *tlsObserver {
	l := &tlsObserver{}
	l.tlsConversation = newTLSConversation(k, func(from int, at time.Time, data []byte) {
		l.data[from] += string(data)
		l.log = append(l.log, fmt.Sprintf("%s %d: %d bytes", endNames[from], at.Unix(), len(data)))
	})
	return l
}

// hear gives the words to a conversation in pieces of a size of up to size bytes. The time is the
// number of the word.
func (l *tlsObserver) feed(words []tlsWrite, size int) *tlsObserver {
	random := rand.New(rand.NewPCG(1, uint64(size)))
	for i, w := range words {
		for rest := bytes.Clone(w.data); len(rest) > 0; {
			n := min(len(rest), 1+random.IntN(size))
			l.add(w.from, time.Unix(int64(i), 0), rest[:n])
			clear(rest[:n]) // they are good for the call only
			rest = rest[n:]
		}
	}
	return l
}

// facts are all that is known of a conversation.
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

// seal makes a record: its content, the type of that, and zeros.
func (s *tlsSealer) seal(typ byte, content string, zeros int) []byte {
	plain := append(append([]byte(content), typ), make([]byte, zeros)...)
	nonce := bytes.Clone(s.iv[:])
	binary.BigEndian.PutUint64(nonce[4:], binary.BigEndian.Uint64(nonce[4:])^s.seq)
	s.seq++
	header := binary.BigEndian.AppendUint16([]byte{recordData, 3, 3}, uint16(len(plain)+s.aead.Overhead()))
	return s.aead.Seal(header, nonce, plain, header)
}

func (s *tlsSealer) data(content string) []byte { return s.seal(recordData, content, 0) }

// A madeTLS is a conversation that a test makes up.
type fakeTLS struct {
	keys      string
	hellos    []tlsWrite
	handshake [2]*tlsSealer
	traffic   [2]*tlsSealer
}

// clearRecord makes a record in clear.
func clearRecord(typ byte, content []byte) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{typ, 3, 3}, uint16(len(content))), content...)
}

// prefixed puts the length of content in front of it, in size bytes.
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

// greeted is a listener behind the handshake.
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
