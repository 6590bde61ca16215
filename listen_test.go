package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
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
	if got := first.take(1); got != "too many connections from this address" {
		t.Errorf("refused with %q", got)
	}
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
		if got := full.claim(netip.MustParseAddr(fmt.Sprintf("192.0.2.%d", i))).take(1); got != want {
			t.Errorf("address %d: refused with %q, want %q", i, got, want)
		}
	}
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
		if err := c.send(header{version: minorDefault, typ: typ, seqNo: 1}, asciiStart("alice")); err != nil {
			t.Fatal(err)
		}
		h, _, err := readHeader(c)
		if err != nil {
			t.Fatal(err)
		}
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
