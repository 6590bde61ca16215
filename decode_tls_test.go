package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestTLSVectors decrypts the example of the RFC, and a conversation of openssl with new keys.
func TestTLSVectors(t *testing.T) {
	t.Parallel()
	fifty := unhex(t, "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f3031")
	for _, tt := range []struct{ trace, keys, want string }{
		{traceOfRFC, keysOfRFC, fmt.Sprintf(`name "server" cipher "TLS_AES_128_GCM_SHA256" alert "" problem "" early false data [%q %[1]q]`, fifty)},
		{traceOfOpenSSL, keysOfOpenSSL,
			`name "x" cipher "TLS_AES_256_GCM_SHA384" alert "" problem "" early false data ["1\n3\n5\n" "2\n4\n"]`},
	} {
		for _, size := range []int{1, 2, 7, 100, 1 << 14} {
			newTLSObserver(keyLogOf(t, tt.keys)).feed(parseTrace(t, tt.trace), size).check(t, tt.want)
		}
	}
}

// TestTLSWithoutSecrets: problem is the reason for missing data, and contains no secret.
func TestTLSWithoutSecrets(t *testing.T) {
	t.Parallel()
	writes := parseTrace(t, traceOfRFC)
	const name = `name "server" cipher "TLS_AES_128_GCM_SHA256" alert "" `
	const end = ` early false data ["" ""]`
	for _, tt := range []struct {
		keys *keyLog
		want string
	}{
		{nil, name + `problem ""` + end},
		{keyLogOf(t, ""), name + `problem "the key log has no secret for client random cb34ecb1e78163ba..."` + end},
		{keyLogOf(t, keysOfOpenSSL), name + `problem "the key log has no secret for client random cb34ecb1e78163ba..."` + end},
		{keyLogOf(t, strings.ReplaceAll(keysOfRFC, "SERVER_TRAFFIC", "OTHER")),
			name + `problem "the key log has no SERVER_TRAFFIC_SECRET_0 for client random cb34ecb1e78163ba..."` +
				fmt.Sprintf(` early false data [%q ""]`, unhex(t, "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f3031"))},
		{keyLogOf(t, strings.ReplaceAll(keysOfRFC, " b67b", " b67c")),
			name + `problem "the key log does not decrypt the records of the server"` +
				fmt.Sprintf(` early false data [%q ""]`, unhex(t, "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f3031"))},
		{keyLogOf(t, strings.NewReplacer(" b67b", " b67c", "CLIENT_H", "OTHER").Replace(keysOfRFC)),
			name + `problem "the key log does not decrypt the records of the server"` + end},
	} {
		newTLSObserver(tt.keys).feed(writes, 1<<14).check(t, tt.want)
	}
	// The problem of one side stays, whatever the other side sends.
	k := keyLogOf(t, strings.NewReplacer(" b67b", " b67c", "CLIENT_H", "OTHER").Replace(keysOfRFC))
	l := newTLSObserver(k).feed(writes[:2], 1<<14).feed(writes[3:4], 1<<14).feed(writes[2:3], 1<<14)
	for line := range strings.Lines(keysOfRFC) {
		k.parse(line)
	}
	l.feed(writes[5:6], 1<<14)
	if l.problem != "the key log does not decrypt the records of the server" || l.data[0] == "" {
		t.Error(l.state())
	}
}

// recordTLS records a conversation of crypto/tls. The client sends first.
func recordTLS(t *testing.T, client, server *tls.Config, data string) (writes []tlsWrite, keys string, suite uint16) {
	t.Helper()
	var mu sync.Mutex
	var log bytes.Buffer
	client = client.Clone()
	client.KeyLogWriter = &log
	l := listen(t)
	done := make(chan struct{})
	note := func(conn net.Conn, from int) net.Conn {
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		return &observedConn{conn, func(b []byte) {
			mu.Lock()
			defer mu.Unlock()
			writes = append(writes, tlsWrite{from, bytes.Clone(b)})
		}}
	}
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		secure := tls.Server(note(conn, 1), server)
		io.Copy(secure, secure)
		secure.Close()
	}()
	conn, err := net.Dial("tcp", l.Addr().String())
	must(t, err)
	defer conn.Close()
	secure := tls.Client(note(conn, 0), client)
	if _, err := io.WriteString(secure, data); err == nil {
		back := make([]byte, len(data))
		if _, err := io.ReadFull(secure, back); err != nil || string(back) != data {
			t.Error(err)
		}
		secure.CloseWrite()
		io.Copy(io.Discard, secure)
	}
	conn.Close()
	<-done
	return writes, log.String(), secure.ConnectionState().CipherSuite
}

type observedConn struct {
	net.Conn
	onWrite func([]byte)
}

func (c *observedConn) Write(b []byte) (int, error) {
	c.onWrite(b)
	return c.Conn.Write(b)
}

// TestTLSOfGo decrypts conversations of crypto/tls.
func TestTLSOfGo(t *testing.T) {
	t.Parallel()
	config := func(change func(*x509.Certificate)) *tls.Config {
		pair, _, err := selfSigned(change)
		must(t, err)
		return &tls.Config{Certificates: pair}
	}
	plain, big := config(nil), config(func(c *x509.Certificate) {
		for i := range 1000 {
			c.DNSNames = append(c.DNSNames, fmt.Sprintf("server-%032d.example", i))
		}
	})
	retry := plain.Clone()
	retry.CurvePreferences = []tls.CurveID{tls.CurveP384}
	mutual := plain.Clone()
	mutual.ClientAuth = tls.RequireAnyClientCert
	client := &tls.Config{InsecureSkipVerify: true, ServerName: "tac.example"}
	withCert := client.Clone()
	withCert.Certificates = big.Certificates
	old := client.Clone()
	old.MaxVersion = tls.VersionTLS12
	resuming := client.Clone()
	resuming.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	many := strings.Repeat("0123456789", 10_000)
	const (
		read = `name "tac.example" cipher "TLS_AES_128_GCM_SHA256" alert "" problem "" early false data ["hello" "hello"]`
	)
	noAES := false
	for _, tt := range []struct {
		name           string
		client, server *tls.Config
		data, want     string
	}{
		{"simple", client, plain, "hello", read},
		{"many records", client, plain, many, strings.ReplaceAll(read, "hello", many)},
		{"a certificate of several records", client, big, "hello", read},
		{"a certificate of several records, of the client", withCert, mutual, "hello", read},
		{"HelloRetryRequest", client, retry, "hello", read},
		{"tickets", resuming, plain, "hello", read},
		{"resumed", resuming, plain, "hello", read},
		{"TLS 1.2", old, plain, "hello", `name "tac.example" cipher "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256" alert "" ` +
			`problem "RFC 9887 section 3.2 forbids TLS 1.2" early false data ["" ""]`},
		{"an alert in cleartext", old, &tls.Config{Certificates: plain.Certificates, MinVersion: tls.VersionTLS13}, "",
			`name "tac.example" cipher "" alert "protocol version not supported (from the server)" problem "" early false data ["" ""]`},
	} {
		writes, keys, suite := recordTLS(t, tt.client, tt.server, tt.data)
		switch name := tls.CipherSuiteName(suite); {
		case suite == tls.TLS_CHACHA20_POLY1305_SHA256: // Go prefers it if the processor has no AES
			tt.want = `name "tac.example" cipher "` + name + `" alert "" problem "unsupported cipher ` + name +
				`" early false data ["" ""]`
			noAES = true
		case tt.client == old && suite != 0:
			tt.want = strings.Replace(tt.want, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", name, 1)
		}
		for _, size := range []int{3, 1000, 1 << 16} {
			l := newTLSObserver(keyLogOf(t, keys)).feed(writes, size)
			equal(t, l.state(), tt.want, tt.name)
		}
		switch retries := bytes.Count(writes[1].data, retryRandom[:]) > 0; {
		case retries != (tt.name == "HelloRetryRequest"):
			t.Errorf("%s: a HelloRetryRequest is %v", tt.name, retries)
		case tt.name == "resumed" && bytes.Contains(writes[0].data, []byte{0, 41}) == false:
			t.Errorf("%s: it is not resumed", tt.name)
		}
	}
	// A client that does not trust the server sends an alert with the secret of the handshake. It has no other
	// secret.
	strict := &tls.Config{ServerName: "tac.example", RootCAs: x509.NewCertPool()}
	writes, keys, _ := recordTLS(t, strict, plain, "hello")
	l := newTLSObserver(keyLogOf(t, keys)).feed(writes, 1<<16)
	alert := "bad certificate (from the client)"
	if noAES {
		alert = "" // it cannot be read
	}
	if l.alert != alert || strings.Contains(keys, "CLIENT_TRAFFIC") {
		t.Error(l.state())
	}
	// Without a key log, the cleartext is read.
	writes, _, _ = recordTLS(t, old, &tls.Config{Certificates: plain.Certificates, MinVersion: tls.VersionTLS13}, "")
	newTLSObserver(nil).feed(writes, 1<<16).check(t, `name "tac.example" cipher "" alert "protocol version not supported (from the server)" `+
		`problem "" early false data ["" ""]`)
}

// TestTLSContents checks all contents of records.
func TestTLSContents(t *testing.T) {
	t.Parallel()
	const most = 1 << 14
	m := newFakeTLS()
	l := m.afterHandshake(t)
	s := m.traffic[0]
	for _, record := range [][]byte{
		s.seal(recordData, "padded", 100), s.seal(recordData, "with a zero\x00", 3), s.seal(recordData, "", 0), s.seal(recordData, "", 9),
		s.seal(0, "", 0), s.seal(recordAlert, "\x01\x00", 0), s.seal(recordAlert, "\x02", 0), s.seal(recordHandshake, "ticket", 0),
		clearRecord(20, []byte{1}), s.seal(recordData, strings.Repeat("m", most), 255-16),
	} {
		l.add(0, frameRef{}, record)
	}
	l.check(t, fmt.Sprintf(`name "" cipher "TLS_AES_128_GCM_SHA256" alert "" problem "" early false data [%q ""]`,
		"paddedwith a zero\x00"+strings.Repeat("m", most)))
	if len(l.log) != 3 {
		t.Errorf("data came %d times", len(l.log))
	}
	l.add(0, frameRef{}, s.seal(recordAlert, "\x02\x28", 0))
	l.add(1, frameRef{}, m.traffic[1].seal(recordAlert, "\x02\x2a", 0))
	if l.alert != "handshake failure (from the client)" {
		t.Errorf("alert %q", l.alert)
	}
	l.add(1, frameRef{}, m.handshake[0].data("by another key"))
	l.add(1, frameRef{}, m.traffic[1].data("not read"))
	l.add(0, frameRef{}, s.data("more"))
	if l.problem != "the key log does not decrypt the records of the server" || l.data[1] != "" || !strings.HasSuffix(l.data[0], "more") {
		t.Error(l.problem, l.data[1])
	}
}

// TestTLSGaps: after a gap, the next record that can be decrypted is found.
func TestTLSGaps(t *testing.T) {
	t.Parallel()
	const lost = `problem "missing bytes, and no record of the client after them can be decrypted" `
	long := strings.Repeat("x", 1000)
	for _, tt := range []struct {
		name    string
		records func(m *fakeTLS) [][]byte
		cut     int // bytes before the gap; missing is the size of the gap
		missing int
		want    string
	}{
		{"a whole record", func(m *fakeTLS) [][]byte {
			return [][]byte{m.traffic[0].data("one"), m.traffic[0].data("two"), m.traffic[0].data("three")}
		}, 25, 25, "onethree"},
		{"in the middle of a record", func(m *fakeTLS) [][]byte {
			return [][]byte{m.traffic[0].data("one"), m.traffic[0].data(long), m.traffic[0].data("three")}
		}, 100, 500, "onethree"},
		{"the end of one record, the beginning of the next", func(m *fakeTLS) [][]byte {
			return [][]byte{m.traffic[0].data(long), m.traffic[0].data(long), m.traffic[0].data("three"), m.traffic[0].data("four")}
		}, 1000, 400, "threefour"},
		{"in a header", func(m *fakeTLS) [][]byte {
			return [][]byte{m.traffic[0].data("one"), m.traffic[0].data("two"), m.traffic[0].data("three")}
		}, 26, 3, "onethree"},
		{"the last byte of a record", func(m *fakeTLS) [][]byte {
			return [][]byte{m.traffic[0].data("one"), m.traffic[0].seal(recordData, "", 0), m.traffic[0].data("three")}
		}, 46, 1, "onethree"},
		{"nothing", func(m *fakeTLS) [][]byte { return [][]byte{m.traffic[0].data("one"), m.traffic[0].data("two")} }, 25, 0, "onetwo"},
		{"the largest number of records", func(m *fakeTLS) (all [][]byte) {
			for range 500 {
				all = append(all, m.traffic[0].seal(recordData, "", 0))
			}
			return append(all, m.traffic[0].data("end"))
		}, 0, 500 * minRecord, "end"},
		{"with the KeyUpdate request", func(m *fakeTLS) [][]byte {
			s := m.traffic[0]
			next := newTLSSealer(&tlsSuites[0], tlsSuites[0].expand(s.secret, "traffic upd", 32))
			next.seq++ // another record is missing
			return [][]byte{s.data("one"), s.seal(recordHandshake, "KeyUpdate", 0), next.data("three"), next.data("four")}
		}, 25, 31, "onethreefour"},
		{"no record of this connection after it", func(m *fakeTLS) (all [][]byte) {
			for range maxGapAttempts / 2 {
				all = append(all, []byte{recordData, 3, 3, 0, minRecord - recordHeader})
			}
			return append(all, make([]byte, 100))
		}, 0, 5, lost},
		{"an older record", func(m *fakeTLS) [][]byte {
			old := m.traffic[0].data("one")
			return [][]byte{old, m.traffic[0].data("two"), old, m.traffic[0].data("three")}
		}, 25, 25, "onethree"},
	} {
		m := newFakeTLS()
		l := m.afterHandshake(t)
		all := bytes.Join(tt.records(m), nil)
		l.add(0, frameRef{}, all[:tt.cut])
		l.gap(0, tt.missing)
		l.feed([]tlsWrite{{0, all[tt.cut+tt.missing:]}}, 999)
		want := fmt.Sprintf(`problem "" early false data [%q "reply"]`, tt.want)
		if tt.want == lost {
			want = lost + `early false data ["" "reply"]`
		}
		l.add(1, frameRef{}, m.traffic[1].data("reply")) // the other end is still read
		if got := l.state(); !strings.HasSuffix(got, want) {
			t.Errorf("%s: got %s\nwant %s", tt.name, got, want)
		}
		if l.directions[0].lost != 0 || l.directions[0].attempts != 0 {
			t.Errorf("%s: %+v", tt.name, l.directions[0])
		}
	}
}

// TestTLSTooFarAhead: the number of tried sequence numbers is bounded by the number of missing records.
func TestTLSTooFarAhead(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		missing, ahead int
		opens          bool
	}{{0, 0, true}, {0, 1, false}, {25, 1, true}, {25, 2, false}, {200_000, maxGapRecords - 1, true}, {200_000, maxGapRecords, false}} {
		m := newFakeTLS()
		l := m.afterHandshake(t)
		l.add(0, frameRef{}, m.traffic[0].data("1"))
		m.traffic[0].seq += uint64(tt.ahead)
		l.gap(0, tt.missing)
		l.add(0, frameRef{}, m.traffic[0].data("2"))
		if opens := l.data[0] == "12"; opens != tt.opens {
			t.Errorf("%+v: %s", tt, l.state())
		}
	}
}

// TestTLSGapInHandshake: missing bytes of the certificate do no harm; without the hellos nothing can be read.
func TestTLSGapInHandshake(t *testing.T) {
	t.Parallel()
	writes := parseTrace(t, traceOfOpenSSL)
	observe := func(keys string, side, from, missing int) *tlsObserver {
		l := newTLSObserver(keyLogOf(t, keys))
		for _, w := range writes {
			if w.from == side && missing > 0 {
				l.add(w.from, frameRef{}, w.data[:from])
				l.gap(w.from, missing)
				w.data, missing = w.data[from+missing:], 0
			}
			l.add(w.from, frameRef{}, w.data)
		}
		return l
	}
	const data = `data ["1\n3\n5\n" "2\n4\n"]`
	for i, tt := range []struct {
		keys                string
		side, from, missing int
		want                string
	}{
		{keysOfOpenSSL, 1, 140, 300, `problem "" early false ` + data},
		{keysOfOpenSSL, 1, 133, 444, `problem "" early false ` + data},
		{keysOfOpenSSL, 0, 10, 30, `problem "handshake incomplete in the capture" early false data ["" ""]`},
		{keysOfOpenSSL, 1, 10, 30, `problem "handshake incomplete in the capture" early false data ["" ""]`},
		{"", 1, 140, 300, `problem "the key log has no secret for client random 09b861b776ceac5c..." early false data ["" ""]`},
		{"", 1, 300, 100, `problem "the key log has no secret for client random 09b861b776ceac5c..." early false data ["" ""]`},
	} {
		if got := observe(tt.keys, tt.side, tt.from, tt.missing).state(); !strings.HasSuffix(got, tt.want) {
			t.Errorf("row %d: got %s", i, got)
		}
	}
	// Without a key log, nothing is read after a gap.
	l := newTLSObserver(nil)
	l.add(0, frameRef{}, writes[0].data)
	l.gap(0, 10)
	l.add(0, frameRef{}, clearRecord(recordAlert, []byte{2, 40}))
	if l.problem != "" || l.serverName != "x" || l.alert != "" {
		t.Error(l.state())
	}
}

// TestTLSEarlyData: early data is skipped, whether or not the server accepts it, up to a bound.
func TestTLSEarlyData(t *testing.T) {
	t.Parallel()
	for _, offered := range []bool{true, false} {
		for _, before := range []bool{true, false} {
			for records := range 7 {
				m := newFakeTLS()
				if offered {
					m = newFakeTLS(0, 42, 0, 0)
				}
				early := newTLSSealer(&tlsSuites[0], make([]byte, 32))
				l := newTLSObserver(keyLogOf(t, m.keys)).feed(m.hellos[:1], 100)
				if !before {
					l.feed(m.hellos[1:], 100)
				}
				for range records {
					l.add(0, frameRef{}, early.data(strings.Repeat("e", 12_000)))
				}
				if before {
					l.feed(m.hellos[1:], 100)
				}
				l.add(0, frameRef{}, m.handshake[0].seal(recordHandshake, "Finished", 0))
				l.add(0, frameRef{}, m.traffic[0].data("hello"))
				want := fmt.Sprintf(`problem "" early %v data ["hello" ""]`, offered)
				if !offered && records > 0 || records > 5 {
					want = fmt.Sprintf(`problem "the key log does not decrypt the records of the client" early %v data ["" ""]`, offered)
				}
				if before && records > 5 {
					want = fmt.Sprintf(`problem "server hello not in the capture" early %v data ["" ""]`, offered)
				}
				if got := l.state(); !strings.HasSuffix(got, want) {
					t.Errorf("offered %v, before the ServerHello %v, %d records: %s, want %s", offered, before, records, got, want)
				}
			}
		}
	}
	// After the handshake there is no early data, and the server never sends any.
	other := newTLSSealer(&tlsSuites[0], make([]byte, 32))
	m := newFakeTLS(0, 42, 0, 0)
	l := m.afterHandshake(t)
	l.add(0, frameRef{}, other.data("early"))
	if l.problem != "the key log does not decrypt the records of the client" {
		t.Error(l.state())
	}
	l = newTLSObserver(keyLogOf(t, m.keys)).feed(m.hellos, 100)
	l.add(1, frameRef{}, other.data("early"))
	if l.problem != "the key log does not decrypt the records of the server" {
		t.Error(l.state())
	}
	// Early data that waits for a secret stays in order.
	m = newFakeTLS(0, 42, 0, 0)
	k := keyLogOf(t, strings.ReplaceAll(m.keys, "CLIENT_TRAFFIC_SECRET_0", "LATER"))
	l = newTLSObserver(k).feed(m.hellos, 100)
	l.add(0, frameRef{}, other.data("early"))
	l.add(0, frameRef{}, m.handshake[0].seal(recordHandshake, "Finished", 0))
	l.add(0, frameRef{}, m.traffic[0].data("hello"))
	for line := range strings.Lines(m.keys) {
		k.parse(line)
	}
	l.add(0, frameRef{}, nil)
	if l.problem != "" || l.data[0] != "hello" {
		t.Error(l.state())
	}
}

// TestTLSHellos reads valid and invalid hellos.
func TestTLSHellos(t *testing.T) {
	t.Parallel()
	const none = ` early false data ["" ""]`
	random := make([]byte, 32)
	hello := func(extensions ...byte) tlsWrite {
		return tlsWrite{0, clearRecord(recordHandshake, clientHelloOf(random, extensions...))}
	}
	answer := func(suite uint16, extensions ...byte) tlsWrite {
		return tlsWrite{1, clearRecord(recordHandshake, serverHelloOf(suite, extensions...))}
	}
	name := func(typ byte, name string) []byte {
		list := prefixed(2, append([]byte{typ}, prefixed(2, []byte(name)...)...)...)
		return append([]byte{0, 0}, prefixed(2, list...)...)
	}
	const noHello = `name "" cipher "" alert "" problem "malformed hello from the client"` + none
	const noAnswer = `name "" cipher "" alert "" problem "malformed hello from the server"` + none
	short := clientHelloOf(random)
	short[3]-- // one byte less than the extensions need
	for _, tt := range []struct {
		name   string
		writes []tlsWrite
		want   string
	}{
		{"an invalid name", []tlsWrite{hello(name(0, "\x1b[2J"+strings.Repeat("n", 300))...)},
			`name "\\x1b[2J` + strings.Repeat("n", 251) + `" cipher "" alert "" problem ""` + none},
		{"another kind of name", []tlsWrite{hello(name(1, "other")...)}, `name "" cipher "" alert "" problem ""` + none},
		{"no extensions", []tlsWrite{{0, clearRecord(recordHandshake, append([]byte{1}, prefixed(3, clientHelloOf(random)[4:45]...)...))}},
			`name "" cipher "" alert "" problem ""` + none},
		{"ChaCha20", []tlsWrite{hello(), answer(tls.TLS_CHACHA20_POLY1305_SHA256, isTLS13...), {1, clearRecord(recordData, make([]byte, 40))}},
			`name "" cipher "TLS_CHACHA20_POLY1305_SHA256" alert "" problem "unsupported cipher TLS_CHACHA20_POLY1305_SHA256"` + none},
		{"AES-CCM", []tlsWrite{hello(), answer(0x1304, isTLS13...)}, `name "" cipher "0x1304" alert "" problem "unsupported cipher 0x1304"` + none},
		{"TLS 1.2, and an encrypted alert", []tlsWrite{hello(), answer(0xc02f), {0, clearRecord(recordAlert, bytes.Repeat([]byte{1}, 26))}},
			`name "" cipher "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256" alert "" problem "RFC 9887 section 3.2 forbids TLS 1.2"` + none},
		{"TLS 1.2, and the beginning of a certificate", []tlsWrite{hello(),
			{1, clearRecord(recordHandshake, append(serverHelloOf(0xc02f), 11, 0, 1, 0, 1))}, {1, clearRecord(recordHandshake, []byte{2, 0, 0})}},
			`name "" cipher "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256" alert "" problem "RFC 9887 section 3.2 forbids TLS 1.2"` + none},
		{"a hello after the answer", []tlsWrite{hello(), answer(0x1301, isTLS13...), hello(name(0, "late")...)},
			`name "" cipher "TLS_AES_128_GCM_SHA256" alert "" problem ""` + none},
		{"a future version", []tlsWrite{hello(), answer(0x1301, 0, 43, 0, 2, 3, 5)},
			`name "" cipher "TLS_AES_128_GCM_SHA256" alert "" problem "RFC 9887 section 3.2 forbids 0x0305"` + none},
		{"a truncated ClientHello", []tlsWrite{{0, clearRecord(recordHandshake, []byte{1, 0, 0, 2, 3, 3})}}, noHello},
		{"truncated extensions", []tlsWrite{hello(0, 43, 0, 9, 3)}, noHello},
		{"a truncated ServerHello", []tlsWrite{hello(), {1, clearRecord(recordHandshake, []byte{2, 0, 0, 2, 3, 3})}}, noAnswer},
		{"a truncated version", []tlsWrite{hello(), answer(0x1301, 0, 43, 0, 1, 3)}, noAnswer},
		{"a message over the limit", []tlsWrite{{0, clearRecord(recordHandshake, []byte{1, 1, 0, 0})}},
			`name "" cipher "" alert "" problem "handshake message of 65540 bytes from the client"` + none},
		{"the server's hello from the client", []tlsWrite{{0, answer(0x1301).data}}, `name "" cipher "" alert "" problem ""` + none},
		{"the client's hello from the server", []tlsWrite{{1, hello(name(0, "x")...).data}}, `name "" cipher "" alert "" problem ""` + none},
		{"the middle of a conversation", []tlsWrite{{1, clearRecord(recordData, make([]byte, 40))}},
			`name "" cipher "" alert "" problem "handshake not in the capture"` + none},
		{"only one side", []tlsWrite{hello(), {0, clearRecord(recordData, make([]byte, 40))}},
			`name "" cipher "" alert "" problem "server hello not in the capture"` + none},
		{"only the other side", []tlsWrite{answer(0x1301, isTLS13...), {1, clearRecord(recordData, make([]byte, 40))}},
			`name "" cipher "TLS_AES_128_GCM_SHA256" alert "" problem "client hello not in the capture"` + none},
		{"another protocol", []tlsWrite{{0, []byte("SSH-2.0-x\r\n")}}, `name "" cipher "" alert "" problem "the client does not send TLS"` + none},
		{"another protocol, of the server", []tlsWrite{hello(), {1, []byte{recordHandshake, 2, 0, 0, 1}}},
			`name "" cipher "" alert "" problem "the server does not send TLS"` + none},
		{"an unknown type", []tlsWrite{{0, []byte{24, 3, 3, 0, 1, 0}}}, `name "" cipher "" alert "" problem "the client does not send TLS"` + none},
		{"another unknown type", []tlsWrite{{0, []byte{19, 3, 3, 0, 1, 0}}}, `name "" cipher "" alert "" problem "the client does not send TLS"` + none},
		{"a record over the limit", []tlsWrite{{0, []byte{recordData, 3, 3, 0x41, 1}}}, `name "" cipher "" alert "" problem "the client does not send TLS"` + none},
		{"a record of the largest size", []tlsWrite{{0, []byte{recordData, 3, 3, 0x41, 0}}}, `name "" cipher "" alert "" problem ""` + none},
	} {
		for _, size := range []int{1, 1 << 14} {
			l := newTLSObserver(keyLogOf(t, "")).feed(tt.writes, size)
			equal(t, l.state(), tt.want, tt.name)
			if l.answered && l.directions[1].hello != nil {
				t.Errorf("%s: %d bytes are still held", tt.name, len(l.directions[1].hello))
			}
		}
	}
}

// FuzzTLSConversation: the bounds hold for any input.
func FuzzTLSConversation(f *testing.F) {
	script := func(writes []tlsWrite) (all []byte) {
		for _, w := range writes {
			all = append(all, byte(w.from))
			all = append(binary.BigEndian.AppendUint16(all, uint16(len(w.data))), w.data...)
		}
		return all
	}
	m := newFakeTLS(0, 42, 0, 0)
	made := append(m.hellos, tlsWrite{0, m.handshake[0].seal(22, "Finished", 0)}, tlsWrite{0, m.traffic[0].data("1")})
	keys := keyLogOf(f, keysOfRFC+keysOfOpenSSL+m.keys)
	for _, writes := range [][]tlsWrite{parseTrace(f, traceOfRFC), parseTrace(f, traceOfOpenSSL), made} {
		f.Add(script(writes))
		for i := range writes {
			gap := append(script(writes[:i]), byte(2+writes[i].from), 0, 9)
			f.Add(append(gap, script(writes[i+1:])...))
		}
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		size, received := len(in), 0
		l := newTLSConversation(keys, func(_ int, _ frameRef, data []byte) { received += len(data) })
		for len(in) >= 3 {
			from, n := int(in[0]&1), int(binary.BigEndian.Uint16(in[1:]))
			gap := in[0]&2 != 0
			if in = in[3:]; gap {
				l.gap(from, n)
				continue
			}
			n = min(n, len(in))
			l.add(from, frameRef{}, in[:n])
			in = in[n:]
			for _, s := range l.directions {
				if len(s.held) > maxRecord || len(s.hello) > maxWaiting+maxRecord || s.attempts > maxGapAttempts || s.early > maxWaiting {
					t.Fatalf("%d and %d bytes are held, %d attempts", len(s.held), len(s.hello), s.attempts)
				}
			}
			if l.held > maxWaiting || l.unreadable && l.held > 0 {
				t.Fatalf("%d bytes wait", l.held)
			}
		}
		if received > size {
			t.Fatalf("%d bytes of data from %d", received, size)
		}
	})
}

// TestDecodeTLS: with a key log, sessions in TLS are decoded. Conversations that cannot be read are reported.
func TestDecodeTLS(t *testing.T) {
	t.Parallel()
	name := "tac1.example"
	serverName := append([]byte{0, 0}, prefixed(2, prefixed(2, append([]byte{0}, prefixed(2, []byte(name)...)...)...)...)...)
	addTLS := func(t *captureBuilder, client, server string, alert string) (keys string) {
		m := newFakeTLS(serverName...)
		w := t.openConn(client, server, "").hello(m)
		for from, s := range m.handshake {
			w.send(from, s.seal(recordHandshake, "Finished", 0))
		}
		w.version, w.flags = minorOne, flagUnencrypted
		w.send(0, m.traffic[0].data(string(w.packet(1, 1, papStart("alice", testPassword)))))
		w.send(1, m.traffic[1].data(string(w.packet(1, 2, passed))))
		lost := m.traffic[0].data("a record that is not in the capture")
		w.seqs[0] += uint32(len(lost))
		w.send(0, m.traffic[0].data(string(w.packet(2, 1, papStart("bob", testPassword)))))
		w.send(1, m.traffic[1].data(string(w.packet(2, 2, passed))))
		if alert != "" {
			w.send(1, m.traffic[1].seal(recordAlert, alert, 0))
		}
		w.close()
		return m.keys
	}
	tape := newCaptureBuilder()
	keys := addTLS(tape, deviceAddr, "192.0.2.1:300", "")
	addTLS(tape, "198.51.100.8:41234", "192.0.2.1:443", "\x02\x50")
	refused := tape.openConn("198.51.100.9:41234", "192.0.2.1:300", "")
	refused.send(0, newFakeTLS().hellos[0].data)
	refused.send(1, clearRecord(recordAlert, []byte{2, 70}))
	refused.close()
	dir := writeFiles(t, map[string]string{"log": keys})
	const at = `2026-11-23T10:00:00.\d+Z `
	decodeWith(t, tape.pcap(), "--keylog DIR/log", "DIR", dir).check(t, 0,
		at+`198.51.100.7:41234 > 192.0.2.1:300 alice authenticate pap PASS \(1.0 ms\)\n`+at+`198.51.100.7:41234 > 192.0.2.1:300 bob authenticate pap PASS( \(1.0 ms\))?\n`+
			at+`198.51.100.8:41234 > 192.0.2.1:443 alice authenticate pap PASS \(1.0 ms\)\n`+at+`198.51.100.8:41234 > 192.0.2.1:443 bob authenticate pap PASS( \(1.0 ms\))?\n`+
			at+`198.51.100.8:41234 > 192.0.2.1:443 TLS to tac1.example; alert: internal error \(from the server\)\n`+
			at+`198.51.100.9:41234 > 192.0.2.1:300 TLS; alert: protocol version not supported \(from the server\)\n`,
		`tacacs_plus: frames: \d+, TACACS\+ conversations: 2, sessions: 4\ntacacs_plus: not read: missing bytes: \d+\n`)
	const notRead = `TLS to tac1.example not decrypted: no key log \(--keylog FILE\)`
	decodeWith(t, tape.pcap(), "").check(t, 0,
		at+`198.51.100.7:41234 > 192.0.2.1:300 `+notRead+`\n`+
			at+`198.51.100.9:41234 > 192.0.2.1:300 TLS not decrypted: no key log \(--keylog FILE\); alert: protocol version not supported \(from the server\)\n`,
		`tacacs_plus: frames: \d+, TACACS\+ conversations: 0, sessions: 0\ntacacs_plus: not read: missing bytes: \d+, TLS conversations on other ports \(--port N reads them\): 1\ntacacs_plus: other traffic, not read: 14 frames of TCP port 443\n`)
	decodeWith(t, tape.pcap(), "--summary").check(t, 0, `[^:]*\n`, `(?s).*not read: .*, TLS conversations: 2\n.*14 frames of TCP port 443\n`)
	decodeWith(t, tape.pcap(), "--port 443 --json").check(t, 0,
		`\{"time":"2026-11-23T10:00:00.\d+Z","peer":"198.51.100.8:41234","server":"192.0.2.1:443","error":"`+notRead+`"\}\n`, `(?s).*\n`)
}

// TestDecodeLateSecrets: records that wait for a secret are tried again when the conversation ends.
func TestDecodeLateSecrets(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"log": ""})
	m, tape := newFakeTLS(), newCaptureBuilder()
	w := tape.openConn(deviceAddr, "192.0.2.1:300", "").hello(m)
	w.version, w.flags = minorOne, flagUnencrypted
	w.send(0, m.handshake[0].seal(recordHandshake, "Finished", 0))
	packet := w.packet(1, 1, papStart("alice", testPassword))
	packet[3] = 0 // without flagUnencrypted, but within TLS it is never obfuscated
	w.send(0, m.traffic[0].data(string(packet)))
	p, inv, out := pipelineOf(t, nil, "--keylog "+dir+"/log")
	p.decodeAll(tape)
	must(t, os.WriteFile(dir+"/log", []byte(m.keys), 0o600))
	p.readFiles(t.Context(), inv, nil)
	if want := "2026-11-23T10:00:00.007Z 198.51.100.7:41234 > 192.0.2.1:300 alice authenticate pap NO_REPLY; no UNENCRYPTED flag over TLS\n"; out.String() != want {
		t.Errorf("got %s, want %s", out, want)
	}
}
