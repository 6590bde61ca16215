package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestListenAccept: accepting continues after an error, and a connection over the limit is closed.
func TestListenAccept(t *testing.T) {
	t.Parallel()
	srv := newLab()
	srv.listener.limits.connections = 0
	server, client := net.Pipe()
	var all sync.WaitGroup
	srv.listener.accept(t.Context(), fakeSocket(errors.New("too many open files"), server), &all, srv.serve)
	newFakeClient(client).checkEnd(t)
}

// inUse returns the number of places in use, and -1 if the counts of the addresses differ from it.
func (s *share) inUse() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := 0
	for _, c := range s.claims {
		sum += c.taken
	}
	if sum != s.taken {
		return -1
	}
	return sum
}

// takeAll takes as many places as the address can have.
func (s *share) takeAll(client string) (n int) {
	for s.claim(netip.MustParseAddr(client)).take(1) == "" {
		n++
	}
	return n
}

// TestListenShare: one address can have three quarters of the places, two have less, and there is always one for another.
func TestListenShare(t *testing.T) {
	t.Parallel()
	s := newShare(maxConnections, "connections")
	if n := s.takeAll("192.0.2.1"); n != 768 {
		t.Errorf("one address has %d places", n)
	}
	first := s.claim(netip.MustParseAddr("192.0.2.1"))
	equal(t, first.take(1), "too many connections from this address", "refused with")
	if n := s.takeAll("192.0.2.2"); n != 128 {
		t.Errorf("the second address has %d places", n)
	}
	for i := range 128 {
		if n := s.takeAll(fmt.Sprintf("192.0.2.%d", 10+i)); n != 1 {
			t.Errorf("address %d has %d places", i, n)
		}
	}
	for range 768 {
		first.release(1)
	}
	if n := s.inUse(); n != 256 {
		t.Errorf("%d places are in use", n)
	}
	full := newShare(2, "connections")
	for i, want := range []string{"", "", "too many connections"} {
		claim := full.claim(netip.MustParseAddr(fmt.Sprintf("192.0.2.%d", i)))
		equal(t, claim.take(1), want, "address", i, "refused with")
	}
	equal(t, s.with(full).inUse(), 258, "places of both are in use,")
	equal(t, full.with(nil).inUse()+(*share)(nil).with(full).inUse(), 4, "places of one are in use twice,")
}

// fakeSocket returns a socket that accepts what it is given, of type net.Conn or error, and then ends.
func fakeSocket(has ...any) listeningSocket {
	return listeningSocket{Listener: &fakeListener{has: has}}
}

// TestListenRefusal: a connection that is refused has its line, and each accepted one frees its place.
func TestListenRefusal(t *testing.T) {
	t.Parallel()
	srv, log := newLab(), new(lockedBuffer)
	srv.listener.log.out = newQueuedWriter(context.Background(), log)
	srv.listener.held[netip.MustParseAddr("192.0.2.1")] = maxPerAddress
	conn := &remoteConn{addr: net.TCPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.1:1024"))}
	var all sync.WaitGroup
	srv.listener.accept(t.Context(), fakeSocket(conn), &all, srv.serve)
	all.Wait()
	if want := " 192.0.2.1:1024 refused: too many connections from this address\n"; !strings.HasSuffix(log.String(), want) {
		t.Errorf("the log is\n%s", log)
	}
	conn.Reader, conn.addr = strings.NewReader(""), net.TCPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.3:1024"))
	srv.listener.accept(t.Context(), fakeSocket(conn), &all, srv.serve)
	all.Wait()
	if l := srv.listener; len(l.held) != 1 || len(l.open) > 0 {
		t.Errorf("%v connections are counted, and %d are open", l.held, len(l.open))
	}
}

// TestListenLimitKey: the addresses of one IPv6 network count as one, since one host can have them all.
func TestListenLimitKey(t *testing.T) {
	t.Parallel()
	for client, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::", "2001:db8:1:3::6": "2001:db8:1:3::", "::1": "::",
		"fe80::1%eth0": "fe80::1%eth0",
	} {
		s := newShare(4, "connections")
		c := s.claim(netip.MustParseAddr(client))
		if refused := c.take(1); refused != "" || s.claims[netip.MustParseAddr(want)] != c || s.taken != 1 {
			t.Errorf("%s: %q, %v", client, refused, s.claims)
		}
		again := s.claim(netip.MustParseAddr(client))
		c.leave()
		c.release(1)
		if again.take(1); len(s.claims) != 1 || s.taken != 1 {
			t.Errorf("%s: a claim in use is gone: %v", client, s.claims)
		}
		again.leave()
		if again.release(1); len(s.claims) > 0 || s.taken != 0 {
			t.Errorf("%s: %v are left", client, s.claims)
		}
	}
}

// TestListenClientKeys: the longest prefix of a client's address selects the key, for every form of the address.
func TestListenClientKeys(t *testing.T) {
	t.Parallel()
	keys := clientKeys{}
	for _, p := range strings.Fields("10.0.0.0/8 10.1.0.0/16 10.1.2.3/32 192.0.2.0/31 2001:db8::/32 2001:db8::1/128 fe80::/10") {
		keys[netip.MustParsePrefix(p)] = []key{{value: p}}
	}
	for addr, want := range map[string]string{
		"10.9.9.9": "10.0.0.0/8", "10.1.9.9": "10.1.0.0/16", "10.1.2.3": "10.1.2.3/32", "10.1.2.4": "10.1.0.0/16",
		"192.0.2.1": "192.0.2.0/31", "192.0.2.2": "", "::ffff:10.9.9.9": "10.0.0.0/8", "2001:db8::2": "2001:db8::/32",
		"2001:db8::1": "2001:db8::1/128", "2001:db9::1": "", "fe80::1%eth0": "fe80::/10", "a00::": "",
	} {
		for _, all := range []bool{false, true} {
			if delete(keys, netip.Prefix{}); all {
				keys[netip.Prefix{}] = []key{{value: "all"}}
				if want == "" {
					want = "all"
				}
			}
			conn := &remoteConn{addr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(addr), 4949))}
			if keys := keys.of(addrPortOf(conn.RemoteAddr()).Addr()); len(keys) > 1 || (keys != nil) != (want != "") || keys != nil && keys[0].value != want {
				t.Errorf("%s: got %q, want %q", addr, keys, want)
			}
		}
	}
}

// TestListenKeyFiles: each client has its own key. With key files the environment is not used, and a client
// without a key is closed at once.
func TestListenKeyFiles(t *testing.T) {
	t.Parallel()
	const narrow, wide = "the key of this host alone", "the key of all the loopback network"
	dir := writeFiles(t, map[string]string{"narrow": narrow + "\n", "wide": wide})
	for _, tt := range []struct{ options, key string }{
		{"--key-file 127.0.0.0/8=DIR/wide", wide},
		{"--key-file 127.0.0.0/8=DIR/wide --key-file 127.0.0.1=DIR/narrow", narrow},
		{"--key-file 127.0.0.1=DIR/narrow --key-file DIR/wide", narrow},
		{"--key-file 192.0.2.0/24=DIR/narrow --key-file DIR/wide", wide},
		{"--key-file 192.0.2.0/24=DIR/narrow -k abc", "abc"},
		{"--key-file 127.0.0.1=DIR/narrow -k abc", narrow},
		{"--key-file 192.0.2.0/24=DIR/narrow", ""},
	} {
		s := serveWith(t, split(tt.options, "DIR", dir)...)
		c := dialFakeClient(t, s.addr)
		c.key = tt.key
		if tt.key != "" {
			if err := c.login(1, 0); err != nil {
				t.Errorf("%s: %v", tt.options, err)
			}
			continue
		}
		if b, err := io.ReadAll(c); len(b) > 0 || err != nil {
			t.Errorf("%s: %x, %v", tt.options, b, err)
		}
		if got, want := s.lines(t), "refused: no key for this address\n"; got != want {
			t.Errorf("%s: got the log\n%swant\n%s", tt.options, got, want)
		}
	}
}

// TestListenKeyFileErrors covers the errors in keys of serve.
func TestListenKeyFileErrors(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"a": "abc\n"})
	for _, tt := range []struct{ line, want string }{
		{"--key-file 192.0.2.0/24=DIR/a --key-file 192.0.2.9/24=DIR/a", "the key for 192.0.2.0/24 is given more than once"},
		{"--key-file DIR/a --key-file 192.0.2.0/24=DIR/a --key-file DIR/a", "the key is given more than once"},
		{"--key-file 192.0.2.0/33=DIR/a", "\"192.0.2.0/33\" of --key-file is neither an address nor a prefix\ntacacs_plus: hint: write --key-file 192.0.2.0/24=FILE for the key of these clients"},
		{"--key-file 192.0.2.0/24=-", "no key on standard input"},
		{"--key-file 192.0.2.0/24=- --key-file -", "the key and another key cannot both come from standard input\ntacacs_plus: hint: " + hintStdin},
		{"--key-file 192.0.2.0/24=DIR/none", "read the key: open DIR/none: no such file or directory"},
		{"--listen :0 --key-file 192.0.2.0/24=DIR/a", "listening on :0 needs a key and users\ntacacs_plus: hint: give --key-file and --user, or listen on loopback"},
	} {
		got := runWith(t, nil, "", split("serve "+tt.line, "DIR", dir)...)
		if want := "tacacs_plus: " + strings.ReplaceAll(tt.want, "DIR", dir) + "\n"; got != (runResult{classUsage.exit(), "", want}) {
			t.Errorf("%s: %+v, want %q", tt.line, got, want)
		}
	}
}

// TestListenKeyLengthHidden: no message of serve reveals the length of a key, whether the key is invalid or a
// packet does not fit it.
func TestListenKeyLengthHidden(t *testing.T) {
	t.Parallel()
	short, key := "k234567890123", strings.Repeat("k", 37)
	length := regexp.MustCompile(`\b(13|37|38)\b`)
	others := regexp.MustCompile(`[0-9.]+:[0-9]+|/\S+|\([0-9.]+ ms\)`) // addresses, files and times
	check := func(name, text string) {
		t.Helper()
		if found := length.FindString(others.ReplaceAllString(text, "")); found != "" {
			t.Errorf("%s: %s in\n%s", name, found, text)
		}
	}
	dir := writeFiles(t, map[string]string{"short": short, "long": key, "blank": key + " ", "bom": "\ufeff" + key[2:], "big": long(maxSecretFile + 1)})
	for _, options := range []string{"--key-file DIR/short", "--key-file DIR/long", "--key-file DIR/blank", "--key-file DIR/bom", "--key " + short} {
		r := serveVerbose(t, map[string]string{}, split("--user alice:x "+options, "DIR", dir)...)
		check(options, r.stderr.String())
	}
	for _, options := range []string{"--key-file DIR/big", "--key-file DIR/short --key-file DIR/long", "--key " + short + " --key-file DIR/long",
		"--key-file 192.0.2.1=DIR/long --key-file 192.0.2.1=DIR/short", "--key-file 10=DIR/long", "--tls --key " + short} {
		got := runWith(t, nil, "", split("serve --listen 127.0.0.1:0 --user alice:x "+options, "DIR", dir)...)
		if got.code != classUsage.exit() {
			t.Errorf("%s: got %+v", options, got)
		}
		check(options, got.out+got.err)
	}
	s := serveWith(t, "--key", key)
	for typ := typeAuthen; typ <= typeAcct; typ++ {
		c := dialFakeClient(t, s.addr) // the server has another key
		must(t, c.send(header{version: minorDefault, typ: typ, seqNo: 1}, asciiStart("alice")))
		h, _, err := readHeader(c)
		must(t, err)
		body, err := readBody(c, h)
		if obfuscate(&h, key, body); err != nil || !strings.Contains(string(body), "malformed packet") {
			t.Fatalf("%v, %q", err, body)
		}
		check("a reply", string(body))
	}
	if lines := s.lines(t); strings.Count(lines, "cannot be read with this key") != 3 {
		t.Errorf("the log is\n%s", lines)
	} else {
		check("lines", lines)
	}
}

// TestListenKeyFileWithEqualsSign: dead=beef is a file name on the command line and in a profile, for every
// form of the name of the profile. A mistyped prefix is always an error.
func TestListenKeyFileWithEqualsSign(t *testing.T) {
	dir := writeFiles(t, map[string]string{"dead=beef": testKey + "\n", "192.0.2.1=key": testKey,
		"good": "key-file dead=beef", "dot": "key-file ./192.0.2.1=key", "bad": "key-file 192.0.2=beef"})
	t.Chdir(dir)
	for _, words := range []string{"--key-file dead=beef", "@./good", "@" + filepath.Join(dir, "good"), "@./dot"} {
		s := serveVerbose(t, nil, append([]string{"--user", "alice:" + testPassword}, split(words)...)...)
		c := dialFakeClient(t, s.addr)
		if err := c.login(1, 0); err != nil {
			t.Errorf("%s: %v", words, err)
		}
	}
	for _, words := range []string{"--key-file 192.0.2=beef", "@./bad", "@" + filepath.Join(dir, "bad")} {
		got := runWith(t, nil, "", append(split("serve --user alice:x"), split(words)...)...)
		if want := "\"192.0.2\" of --key-file is neither an address nor a prefix\n"; got.code != classUsage.exit() || !strings.Contains(got.err, want) {
			t.Errorf("%s: got %+v, want %s", words, got, want)
		}
	}
}

// A limitedListener counts connections of addresses such as 192.0.2.1. Each connection has the next port.
type limitedListener struct {
	*listener
	log  lockedBuffer
	port uint16
}

func newLimitedListener(connections, perAddress int) *limitedListener {
	l := &limitedListener{listener: newListener()}
	l.limits.connections, l.limits.perAddress = connections, perAddress
	l.listener.log = &sessionLog{out: newQueuedWriter(context.Background(), &l.log)}
	return l
}

// admits admits n connections of an address, which may have proven their key, and returns how many were not refused.
func (l *limitedListener) admits(addr string, n int, proven bool) (admitted int) {
	for range n {
		l.port++
		a := &acceptedConn{Conn: &remoteConn{}, client: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(addr), l.port))}
		if l.admit(a) == nil {
			admitted++
			a.proven = proven
		}
	}
	return admitted
}

// cut returns the clients of the connections that were cut off.
func (l *limitedListener) cut() (clients []string) {
	for line := range strings.Lines(l.log.String()) {
		words := strings.Fields(line)
		if !strings.Contains(line, "cut off: too many connections") {
			words[1] += " " + line
		}
		clients = append(clients, words[1])
	}
	return clients
}

// TestListenFairShares: when there are too many connections, the address that has most is refused or loses its oldest one.
func TestListenFairShares(t *testing.T) {
	t.Parallel()
	type client struct {
		addr   string
		n      int
		proven bool
		want   int // connections that are admitted
	}
	for _, tt := range []struct {
		name       string
		perAddress int
		clients    []client
		cut        string
	}{
		{"there is room", 16, []client{{"192.0.2.1", 16, true, 16}}, ""},
		{"one address", 12, []client{{"192.0.2.1", 13, true, 12}, {"192.0.2.2", 4, true, 4}}, ""},
		{"an IPv6 network", 12, []client{{"2001:db8::1", 8, true, 8}, {"2001:db8::2", 8, true, 4}}, ""},
		{"silent connections make room", 12, []client{{"192.0.2.1", 12, false, 12}, {"192.0.2.2", 4, true, 4}, {"192.0.2.3", 2, true, 2}},
			"192.0.2.1:1 192.0.2.1:2"},
		{"silent connections of the greedy one first", 12, []client{{"192.0.2.1", 9, true, 9}, {"192.0.2.1", 3, false, 3}, {"192.0.2.2", 4, false, 4}, {"192.0.2.3", 1, true, 1}},
			"192.0.2.1:10"},
		{"proven ones of the greedy one too", 12, []client{{"192.0.2.1", 12, true, 12}, {"192.0.2.2", 4, false, 4}, {"192.0.2.3", 1, true, 1}},
			"192.0.2.1:1"},
		{"the greedy one is refused", 16, []client{{"192.0.2.1", 12, true, 12}, {"192.0.2.2", 4, true, 4}, {"192.0.2.1", 2, true, 0}}, ""},
		{"shares become equal", 16, []client{{"192.0.2.1", 16, true, 16}, {"192.0.2.2", 16, true, 8}},
			"192.0.2.1:1 192.0.2.1:2 192.0.2.1:3 192.0.2.1:4 192.0.2.1:5 192.0.2.1:6 192.0.2.1:7 192.0.2.1:8"},
		{"many silent addresses", 16, []client{{"192.0.2.1", 2, true, 2}, {"192.0.2.2", 1, false, 1}, {"192.0.2.3", 1, false, 1}, {"192.0.2.4", 2, true, 2},
			{"192.0.2.5", 2, true, 2}, {"192.0.2.6", 2, true, 2}, {"192.0.2.7", 2, true, 2}, {"192.0.2.8", 2, true, 2}, {"192.0.2.9", 2, true, 2},
			{"192.0.2.1", 1, true, 1}, {"192.0.2.1", 1, true, 0}, {"192.0.2.10", 1, false, 1}}, "192.0.2.2:3 192.0.2.1:1"},
		{"every address has as many", 16, []client{{"192.0.2.1", 2, true, 2}, {"192.0.2.2", 2, true, 2}, {"192.0.2.3", 2, true, 2}, {"192.0.2.4", 2, true, 2},
			{"192.0.2.5", 2, true, 2}, {"192.0.2.6", 2, true, 2}, {"192.0.2.7", 2, true, 2}, {"192.0.2.8", 2, true, 2}, {"192.0.2.9", 2, true, 1},
			{"192.0.2.9", 1, true, 0}}, "192.0.2.1:1"},
	} {
		l := newLimitedListener(16, tt.perAddress)
		for _, c := range tt.clients {
			if n := l.admits(c.addr, c.n, c.proven); n != c.want {
				t.Errorf("%s: %d of %d connections of %s are admitted, want %d", tt.name, n, c.n, c.addr, c.want)
			}
		}
		if got := l.cut(); !slices.Equal(got, strings.Fields(tt.cut)) {
			t.Errorf("%s: %v are cut off, want %v", tt.name, got, tt.cut)
		}
		sum := 0
		for _, n := range l.held {
			sum += n
		}
		if sum != len(l.open) || sum > 16 {
			t.Errorf("%s: %d connections are open, %d are counted", tt.name, len(l.open), sum)
		}
	}
}

// TestListenRelease: a connection that ends is no longer counted, also if it was cut off.
func TestListenRelease(t *testing.T) {
	t.Parallel()
	l := newLimitedListener(4, 4)
	l.admits("192.0.2.1", 4, false)
	all := slices.Clone(l.open)
	l.admits("192.0.2.2", 1, false)
	for _, a := range append(all, l.open...) {
		l.release(a)
	}
	if len(l.open) > 0 || len(l.held) > 0 {
		t.Errorf("%d connections are open, %v are counted", len(l.open), l.held)
	}
}

// TestListenDescriptors: when there are no more file descriptors, the address that has most connections loses one.
func TestListenDescriptors(t *testing.T) {
	t.Parallel()
	l := newLimitedListener(16, 16)
	l.admits("192.0.2.1", 1, true)
	l.admits("192.0.2.2", 4, true)
	for range 4 {
		l.accept(t.Context(), fakeSocket(&net.OpError{Op: "accept", Err: syscall.EMFILE}), new(sync.WaitGroup), nil)
	}
	l.accept(t.Context(), fakeSocket(errors.New("connection aborted")), new(sync.WaitGroup), nil)
	if got, want := fmt.Sprint(l.cut()), "[192.0.2.2:2 192.0.2.2:3 192.0.2.2:4]"; got != want {
		t.Errorf("%s are cut off, want %s", got, want)
	}
}

// TestListenInnocentClient: beside an address that takes what it can get, with connections that prove its key, another one
// gets in at once.
func TestListenInnocentClient(t *testing.T) {
	t.Parallel()
	s := serveWith(t, "--proxy-protocol", "127.0.0.1", "--max-connections", "24", "--max-per-address", "16")
	for i := range 40 {
		c := dialProxied(t, s.addr, fmt.Sprintf("192.0.2.%d:%d", 1+i/20, 1024+i))
		if i%20 < 10 {
			c.login(uint32(i), flagSingleConnect) // as far as it is admitted
		}
	}
	for i := range uint32(8) {
		c := dialProxied(t, s.addr, fmt.Sprintf("198.51.100.%d:1024", i))
		if err := c.login(100+i, flagSingleConnect); err != nil {
			t.Errorf("client %d: %v", i, err)
		}
	}
}

// A certTest is a CA, its client certificates by name, and a server for them.
type certTest struct {
	dir    string
	ca     *testCA
	server *testServer
	cache  tls.ClientSessionCache
	start  time.Time
}

// newCertTest starts a command with --client-ca. DIR in its line is the directory of the certificates: server, and the
// clients r1 (r1.lab.example and 192.0.2.1), loopback (127.0.0.1), wild (*.lab.example) and cn (a common name only).
func newCertTest(t *testing.T, line string) *certTest {
	t.Helper()
	c := &certTest{dir: t.TempDir(), start: time.Now(), cache: tls.NewLRUClientSessionCache(1)}
	c.ca = newTestCA(t, c.dir, "ca")
	c.ca.issue(t, "server", 10, nil)
	names := func(dns string, ip string) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			if c.DNSNames, c.IPAddresses = strings.Fields(dns), nil; ip != "" {
				c.IPAddresses = []net.IP{net.ParseIP(ip)}
			}
		}
	}
	c.ca.issue(t, "r1", 11, names("other.example R1.lab.example", "192.0.2.1"))
	c.ca.issue(t, "loopback", 12, names("", "127.0.0.1"))
	c.ca.issue(t, "wild", 13, names("*.lab.example", ""))
	c.ca.issue(t, "r1.lab.example", 14, names("", ""))
	c.ca.revoke(t, "none.crl", 99, time.Now().Add(time.Hour))
	newTestCA(t, c.dir, "foreign").issue(t, "stranger", 15, names("r1.lab.example", "127.0.0.1"))
	c.server = serving(t, new(lockedBuffer), split(line, "DIR", c.dir, "PASSWORD", testPassword)...)
	return c
}

const serveCerts = "serve --listen 127.0.0.1:0 --user alice:PASSWORD --tls --cert DIR/server.pem --cert-key DIR/server.key --client-ca DIR/ca.pem "

// login sends first, then logs in with the certificate of a client. It returns what the handshake has
// agreed on.
func (c *certTest) login(t *testing.T, name, first string) (tls.ConnectionState, error) {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(c.dir, name+".pem"), filepath.Join(c.dir, name+".key"))
	must(t, err)
	raw := dialFakeClient(t, c.server.addr)
	raw.Write([]byte(first))
	conn := tls.Client(raw.Conn, &tls.Config{InsecureSkipVerify: true, ServerName: "server", ClientSessionCache: c.cache,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }})
	defer conn.Close()
	client := newFakeClient(conn)
	client.key = ""
	var reply authenReply
	err = client.send(header{version: minorOne, typ: typeAuthen, seqNo: 1, flags: flagUnencrypted}, papStart("alice", testPassword))
	if err == nil {
		_, err = client.receive(&reply)
	}
	if err == nil && reply.status != authenPass {
		err = fmt.Errorf("the reply is %+v", reply)
	}
	return conn.ConnectionState(), err
}

// TestListenClientRules: certificates of clients must have one of the names, the client's address, and must not be revoked.
// A common name does not count.
func TestListenClientRules(t *testing.T) {
	t.Parallel()
	const byName, byAddress = "--client-name does not allow its names", "it is not for the address"
	c := newCertTest(t, "serve --listen 127.0.0.1:0 --tls")
	c.ca.revoke(t, "r1.crl", 11, time.Now().Add(time.Hour))
	from := func(addr string) string {
		return string(proxyV2Header(netip.MustParseAddrPort(addr), netip.MustParseAddrPort("127.0.0.1:300")))
	}
	for _, tt := range []struct {
		options string
		clients map[string]string // why each is refused; empty if not
		header  string
	}{
		{"", map[string]string{"r1": "", "loopback": "", "wild": "", "r1.lab.example": "", "stranger": "signed by unknown authority"}, ""},
		{"--client-name r1.lab.example", map[string]string{"r1": "", "loopback": byName, "wild": byName, "r1.lab.example": byName, "stranger": "unknown authority"}, ""},
		{"--client-name *.LAB.example", map[string]string{"r1": "", "loopback": byName, "r1.lab.example": byName}, ""},
		{"--client-name *.example", map[string]string{"r1": "", "wild": byName}, ""}, // other.example
		{"--client-name lab.example --client-name *.r1.lab.example", map[string]string{"r1": byName}, ""},
		{"--client-name r2 --client-name 127.0.0.1", map[string]string{"r1": byName, "loopback": ""}, ""},
		{"--client-address", map[string]string{"r1": byAddress, "loopback": "", "r1.lab.example": byAddress}, ""},
		{"--client-address --proxy-protocol 127.0.0.1", map[string]string{"r1": "", "loopback": byAddress + " 192.0.2.1"}, from("192.0.2.1:1024")},
		{"--client-address --proxy-protocol 127.0.0.1", map[string]string{"r1": "", "loopback": byAddress}, from("[::ffff:192.0.2.1]:1024")},
		{"--client-address --client-name r1.lab.example", map[string]string{"r1": byAddress, "loopback": byName}, ""},
		{"--client-crl DIR/none.crl --client-crl DIR/r1.crl", map[string]string{"r1": "was revoked on", "loopback": ""}, ""},
	} {
		c.server.stop()
		c.server = serving(t, new(lockedBuffer), split(serveCerts+tt.options, "DIR", c.dir, "PASSWORD", testPassword)...)
		for name, want := range tt.clients {
			c.cache = nil
			before := len(c.server.log.String())
			if _, err := c.login(t, name, tt.header); (err == nil) != (want == "") {
				t.Errorf("%s, %s: %v, want %q", tt.options, name, err, want)
			}
			refusal := "client certificate of CN=" + name
			if want != "" {
				waitUntil(t, "the refusal has its line", func() bool {
					line := c.server.log.String()[before:]
					return strings.Contains(line, refusal) && strings.Contains(line, want)
				})
			}
		}
	}
}

// TestListenClientName: the lines of serve and relay have the name of the client's certificate.
func TestListenClientName(t *testing.T) {
	t.Parallel()
	behind := serveWith(t)
	for _, command := range []string{serveCerts, "relay " + behind.addr + " --listen-tls 127.0.0.1:0 --listen-cert DIR/server.pem --listen-cert-key DIR/server.key --client-ca DIR/ca.pem "} {
		c := newCertTest(t, command+"--json --client-name *.lab.example --client-name 127.0.0.1")
		for name, want := range map[string]string{"r1": "other.example", "loopback": "127.0.0.1", "wild": "*.lab.example"} {
			c.cache = nil
			if _, err := c.login(t, name, ""); (err == nil) != (want != "") {
				t.Errorf("%s: %v", name, err)
			}
			if want != "" {
				waitUntil(t, "the line has the name", func() bool { return strings.Contains(c.server.log.String(), `"certificate":"`+want+`"`) })
			}
		}
	}
}

// TestListenTickets: a ticket resumes a session once, within its lifetime.
func TestListenTickets(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		options string
		pause   time.Duration
		want    string // which connections are resumed
	}{
		{"", 0, "false true true"},
		{"--ticket-lifetime 0", 0, "false false false"},
		{"--ticket-lifetime 5ms", 10 * time.Millisecond, "false false false"},
	} {
		c := newCertTest(t, serveCerts+tt.options)
		var resumed []string
		for range 3 {
			state, err := c.login(t, "r1", "")
			must(t, err)
			resumed = append(resumed, fmt.Sprint(state.DidResume))
			time.Sleep(tt.pause)
		}
		equal(t, strings.Join(resumed, " "), tt.want, tt.options, "resumed")
	}
	c := newCertTest(t, serveCerts)
	same := &firstTicket{}
	for i, want := range []bool{false, true, false, false} {
		c.cache = same
		if state, err := c.login(t, "r1", ""); err != nil || state.DidResume != want {
			t.Errorf("connection %d: %v, resumed %t, want %t", i, err, state.DidResume, want)
		}
	}
	sub, file := c.ca.intermediate(t, "intermediate", 7), filepath.Join(c.dir, "chain.pem")
	sub.issue(t, "chain", 16, nil)
	must(t, os.WriteFile(file, append(contentOf(t, file), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: sub.cert.Raw})...), 0o600))
	c.cache = tls.NewLRUClientSessionCache(1)
	for _, want := range []bool{false, true} {
		if state, err := c.login(t, "chain", ""); err != nil || state.DidResume != want {
			t.Errorf("with an intermediate certificate: %v, resumed %t, want %t", err, state.DidResume, want)
		}
	}
}

// A firstTicket is a cache that returns the first ticket again and again.
type firstTicket struct{ state *tls.ClientSessionState }

func (c *firstTicket) Get(string) (*tls.ClientSessionState, bool) { return c.state, c.state != nil }
func (c *firstTicket) Put(_ string, state *tls.ClientSessionState) {
	if c.state == nil {
		c.state = state
	}
}

// hideChange gives every file the same size and time, as a file system that keeps whole seconds can.
func (c *certTest) hideChange(t *testing.T) {
	t.Helper()
	files, err := os.ReadDir(c.dir)
	must(t, err)
	for _, file := range files {
		name := filepath.Join(c.dir, file.Name())
		data, err := os.ReadFile(name)
		if err == nil {
			err = os.WriteFile(name, append(data, strings.Repeat("\n", max(0, 4096-len(data)))...), 0o600)
		}
		if err == nil {
			err = os.Chtimes(name, time.Time{}, c.start)
		}
		must(t, err)
	}
}

// TestListenResumption: revocation and authorities are checked again when a session is resumed, with the files as they are
// then.
func TestListenResumption(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(c *certTest){
		"was revoked on":    func(c *certTest) { c.ca.revoke(t, "none.crl", 11, time.Now().Add(time.Hour)) },
		"unknown authority": func(c *certTest) { newTestCA(t, c.dir, "ca") },
	} {
		c := newCertTest(t, serveCerts+"--client-crl DIR/none.crl")
		c.hideChange(t)
		for range 2 {
			if _, err := c.login(t, "r1", ""); err != nil {
				t.Fatal(err)
			}
		}
		change(c)
		c.hideChange(t)
		if _, err := c.login(t, "r1", ""); err == nil {
			t.Errorf("%s: the client gets in", name)
		}
		waitUntil(t, "the handshake has its line", func() bool { return strings.Count(c.server.log.String(), "\n") == 3 })
		if got := c.server.lines(t); !strings.Contains(got, name) {
			t.Errorf("the log is\n%s, want %s", got, name)
		}
	}
}

// TestListenCertificateFiles: certificates that have changed are used from the next handshake on. A file that cannot be
// read changes nothing, and has one warning.
func TestListenCertificateFiles(t *testing.T) {
	t.Parallel()
	c := newCertTest(t, serveCerts)
	c.cache = nil
	serial := func(want int64) {
		t.Helper()
		state, err := c.login(t, "r1", "")
		must(t, err)
		equal(t, state.PeerCertificates[0].SerialNumber.Int64(), want, "the number of the certificate")
	}
	c.hideChange(t)
	serial(10)
	c.ca.issue(t, "server", 20, nil)
	c.hideChange(t)
	serial(20)
	must(t, os.WriteFile(filepath.Join(c.dir, "server.pem"), []byte("this is not PEM"), 0o600))
	for range 3 {
		serial(20)
	}
	os.Remove(filepath.Join(c.dir, "server.pem"))
	serial(20)
	c.ca.issue(t, "new", 30, nil)
	os.Rename(filepath.Join(c.dir, "new.key"), filepath.Join(c.dir, "server.key"))
	serial(20)
	os.Rename(filepath.Join(c.dir, "new.pem"), filepath.Join(c.dir, "server.pem"))
	serial(30)
	waitUntil(t, "the last change is in the log", func() bool {
		return strings.Count(c.server.stderr.String(), "read the changed certificates\n") == 3 // the first hides later ones
	})
	got := c.server.stderr.String()
	if n := strings.Count(got, "is not PEM; the certificates that were read before stay in use\n"); n != 1 || strings.Count(got, "warning") != 2 {
		t.Errorf("stderr is\n%s", got)
	}
}

// TestListenTicketLedger: a ticket that was used is never accepted again, also when there are too many to remember.
func TestListenTicketLedger(t *testing.T) {
	t.Parallel()
	l, now := &ticketLedger{lifetime: time.Hour}, time.Now()
	var marks [][]byte
	for i := range 3 * maxUsedTickets {
		mark := newTicketMark(now.Add(time.Duration(2 * i)))
		marks = append(marks, mark)
		if !l.redeem([][]byte{mark}, now.Add(time.Duration(2*i+1))) {
			t.Fatalf("ticket %d is not accepted", i)
		}
	}
	if len(l.used) > maxUsedTickets {
		t.Errorf("%d tickets are kept", len(l.used))
	}
	for i, mark := range marks {
		if l.redeem([][]byte{mark}, now.Add(time.Second)) {
			t.Fatalf("ticket %d is accepted twice", i)
		}
	}
	for name, marks := range map[string][][]byte{"none": nil, "short": {{1}}, "two": {newTicketMark(now.Add(time.Minute)), newTicketMark(now.Add(time.Minute))},
		"old": {newTicketMark(now.Add(time.Minute))}} {
		if l.redeem(marks, now.Add(61*time.Minute+time.Nanosecond)) {
			t.Errorf("%s: accepted", name)
		}
	}
	if fresh := newTicketMark(now.Add(time.Minute)); !l.redeem([][]byte{fresh}, now.Add(61*time.Minute)) {
		t.Error("a ticket is not accepted at the end of its lifetime")
	}
}

// TestListenCertificateOptions covers the errors in the options, of serve and relay alike.
func TestListenCertificateOptions(t *testing.T) {
	t.Parallel()
	dir := testFiles(t)
	const rules, wanted = "--client-crl, --client-name and --client-address need --client-ca", "\ntacacs_plus: hint: " + clientCertsRequired
	for _, tt := range []struct{ options, want string }{
		{"TLS --client-name r1", rules},
		{"TLS --client-address", rules},
		{"TLS --client-crl DIR/none.crl", rules},
		{"--client-ca DIR/ca.pem", "--client-ca, --client-crl, --client-name, --client-address and --ticket-lifetime need OPTION"},
		{"--client-address", "--client-ca, --client-crl, --client-name, --client-address and --ticket-lifetime need OPTION"},
		{"--ticket-lifetime 1h", "--client-ca, --client-crl, --client-name, --client-address and --ticket-lifetime need OPTION"},
		{"TLS --client-ca DIR/ca.pem --client-name *", "--client-name \"*\" is not a DNS name, a DNS name with *. in front, or an address"},
		{"TLS --client-ca DIR/ca.pem --client-name r*.example", "--client-name \"r*.example\" is not a DNS name, a DNS name with *. in front, or an address"},
		{"TLS --client-ca DIR/ca.pem --client-name 192.0.2.0/24", "--client-name \"192.0.2.0/24\" is not a DNS name, a DNS name with *. in front, or an address"},
		{"TLS --client-ca DIR/ca.pem --client-crl DIR/none", "read the revocation list: open DIR/none: no such file or directory"},
		{"TLS --client-ca DIR/text", "the certificate file DIR/text is not PEM\ntacacs_plus: hint: give a file in PEM, which has a line -----BEGIN"},
		{"ANY", "listening on 0.0.0.0:0 over TLS needs --client-ca" + wanted},
	} {
		for command, options := range map[string][]string{"serve --user a:b": {"--tls --cert DIR/server.pem --cert-key DIR/server.key", "--listen", "--tls"},
			"relay 127.0.0.1 -k testkey1234567890": {"--listen-tls 127.0.0.1:0 --listen-cert DIR/server.pem --listen-cert-key DIR/server.key", "--listen-tls", "--listen-tls"}} {
			line := strings.Replace(command+" "+tt.options, "TLS", options[0], 1)
			line = strings.Replace(line, "ANY", options[0]+" "+options[1]+" 0.0.0.0:0", 1)
			got := runWith(t, nil, "", split(line, "DIR", dir)...)
			want := "tacacs_plus: " + strings.NewReplacer("DIR", dir, "OPTION", options[2]).Replace(tt.want) + "\n"
			if got.code != classUsage.exit() || got.err != want {
				t.Errorf("%s: %+v, want %s", line, got, want)
			}
		}
	}
}
