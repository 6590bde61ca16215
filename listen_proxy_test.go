package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// proxyV2 returns a header of version 2 with the signature, and the rest in hexadecimal.
func proxyV2(t testing.TB, rest string) string { return proxyV2Signature + string(unhex(t, rest)) }

func TestProxyHeaderParses(t *testing.T) {
	t.Parallel()
	const four, six = "c0000201 c6336402 a123 0031", "20010db8000000000000000000000001 20010db8000000000000000000000002 a123 0031"
	longest := proxyV2(t, "2111 0208"+four) + strings.Repeat("x", 520-12)
	for _, tt := range []struct{ name, input, client, server string }{
		{"v1 IPv4", "PROXY TCP4 192.0.2.1 198.51.100.2 41251 49\r\n", "192.0.2.1:41251", "198.51.100.2:49"},
		{"v1 IPv6", "PROXY TCP6 2001:db8::1 2001:DB8::2 41251 49\r\n", "[2001:db8::1]:41251", "[2001:db8::2]:49"},
		{"v1 mapped IPv4", "PROXY TCP6 ::ffff:192.0.2.1 ::ffff:198.51.100.2 1 65535\r\n", "192.0.2.1:1", "198.51.100.2:65535"},
		{"v1 unknown", "PROXY UNKNOWN\r\n", "", ""},
		{"v1 unknown with addresses", "PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", "", ""},
		{"v1 of 107 bytes", "PROXY UNKNOWN " + strings.Repeat("f", 107-14-2) + "\r\n", "", ""},
		{"v2 IPv4", proxyV2(t, "2111 000c"+four), "192.0.2.1:41251", "198.51.100.2:49"},
		{"v2 IPv6", proxyV2(t, "2121 0024"+six), "[2001:db8::1]:41251", "[2001:db8::2]:49"},
		{"v2 with more fields", proxyV2(t, "2111 0010"+four+"04000161"), "192.0.2.1:41251", "198.51.100.2:49"},
		{"v2 local", proxyV2(t, "2000 0000"), "", ""},
		{"v2 local with addresses", proxyV2(t, "2011 000c"+four), "", ""},
		{"v2 unspecified", proxyV2(t, "2100 0003 010203"), "", ""},
		{"v2 UDP", proxyV2(t, "2112 000c"+four), "", ""},
		{"v2 reserved family", proxyV2(t, "2141 0000"), "", ""},
		{"v2 of 536 bytes", longest, "192.0.2.1:41251", "198.51.100.2:49"},
	} {
		h, n, err := parseProxyHeader([]byte(tt.input + "\xc0\x01"))
		if got := validAddr(h.client) + " " + validAddr(h.server); got != tt.client+" "+tt.server || n != len(tt.input) || err != nil {
			t.Errorf("%s: got %s, %d bytes, %v, want %s %s, %d bytes", tt.name, got, n, err, tt.client, tt.server, len(tt.input))
		}
		for i := range tt.input {
			if _, _, err := parseProxyHeader([]byte(tt.input[:i])); !errors.Is(err, errCutProxyHeader) {
				t.Errorf("%s: got %v after %d of %d bytes, want that it is cut", tt.name, err, i, len(tt.input))
			}
		}
	}
}

// validAddr returns an address, or "" for an invalid one.
func validAddr(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func TestProxyHeaderRejects(t *testing.T) {
	t.Parallel()
	const format, address = "two addresses, two ports", "invalid address or port"
	for _, tt := range []struct{ name, input, want string }{
		{"TACACS+", "\xc0\x01\x01\x00", errNoProxyHeader.Error()},
		{"TLS", "\x16\x03\x01", errNoProxyHeader.Error()},
		{"other text", "PROXIES ", errNoProxyHeader.Error()},
		{"other signature", "\r\n\r\n\x00\r\nQUIT\r", errNoProxyHeader.Error()},
		{"v1 without words", "PROXY \r\n", format},
		{"v1 UDP", "PROXY UDP4 192.0.2.1 198.51.100.2 41251 49\r\n", format},
		{"v1 without a port", "PROXY TCP4 192.0.2.1 198.51.100.2 41251\r\n", format},
		{"v1 with a word more", "PROXY TCP4 192.0.2.1 198.51.100.2 41251 49 x\r\n", format},
		{"v1 with two blanks", "PROXY TCP4  192.0.2.1 198.51.100.2 41251 49\r\n", format},
		{"v1 port", "PROXY TCP4 192.0.2.1 198.51.100.2 65536 49\r\n", address},
		{"v1 signed port", "PROXY TCP4 192.0.2.1 198.51.100.2 1 +49\r\n", address},
		{"v1 address", "PROXY TCP4 192.0.2.256 198.51.100.2 41251 49\r\n", address},
		{"v1 IPv6 as IPv4", "PROXY TCP4 2001:db8::1 198.51.100.2 41251 49\r\n", address},
		{"v1 IPv4 as IPv6", "PROXY TCP6 2001:db8::1 198.51.100.2 41251 49\r\n", address},
		{"v1 zone", "PROXY TCP6 fe80::1%eth0 fe80::2 41251 49\r\n", address},
		{"v1 of 108 bytes", "PROXY UNKNOWN " + strings.Repeat("f", 108-14-2) + "\r\n", "no end within 107 bytes"},
		{"v2 version 1", proxyV2(t, "1111 0000"), "unknown version or command"},
		{"v2 command 2", proxyV2(t, "2211 0000"), "unknown version or command"},
		{"v2 of 537 bytes", proxyV2(t, "2111 0209"), "exceeds 536 bytes"},
		{"v2 short IPv4", proxyV2(t, "2111 000b 0000000000000000000000"), "too short for its addresses"},
		{"v2 short IPv6", proxyV2(t, "2121 000c c0000201 c6336402 a123 0031"), "too short for its addresses"},
	} {
		h, n, err := parseProxyHeader([]byte(tt.input))
		if err == nil || !strings.Contains(err.Error(), tt.want) || n != 0 || h != (proxyHeader{}) {
			t.Errorf("%s: got %v, %d bytes, %v, want the error %q", tt.name, h, n, err, tt.want)
		}
	}
}

func TestProxyHeaderWrites(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, client, server, want string }{
		{"IPv4", "192.0.2.1:41251", "198.51.100.2:49", "2111 000c c0000201 c6336402 a123 0031"},
		{"mapped IPv4", "[::ffff:192.0.2.1]:41251", "198.51.100.2:49", "2111 000c c0000201 c6336402 a123 0031"},
		{"IPv6", "[2001:db8::1]:1", "[fe80::2%eth0]:2", "2121 0024 20010db8000000000000000000000001 fe800000000000000000000000000002 0001 0002"},
		{"both", "192.0.2.1:1", "[2001:db8::2]:2", "2121 0024 00000000000000000000ffffc0000201 20010db8000000000000000000000002 0001 0002"},
		{"none", "", "198.51.100.2:49", "2000 0000"},
	} {
		client, _ := netip.ParseAddrPort(tt.client)
		if got, want := string(proxyV2Header(client, netip.MustParseAddrPort(tt.server))), proxyV2(t, tt.want); got != want {
			t.Errorf("%s: got %x, want %x", tt.name, got, want)
		}
	}
}

// FuzzProxyHeader: a header is bounded, every part of it is recognized as cut, and its addresses survive in version 2.
func FuzzProxyHeader(f *testing.F) {
	for _, seed := range []string{"PROXY TCP4 192.0.2.1 198.51.100.2 41251 49\r\n", "PROXY TCP6 ::1 ::2 1 2\r\n", "PROXY UNKNOWN\r\n",
		proxyV2(f, "2111 000c c0000201 c6336402 a123 0031"), proxyV2(f, "2000 0000")} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, n, err := parseProxyHeader(b)
		if err != nil {
			return
		}
		if limit := map[bool]int{true: maxProxyV1, false: maxProxyV2}[b[0] == 'P']; n > limit || n > len(b) {
			t.Fatalf("%d bytes of %d, the limit is %d", n, len(b), limit)
		}
		for i := range n {
			if _, _, err := parseProxyHeader(b[:i]); !errors.Is(err, errCutProxyHeader) {
				t.Fatalf("got %v after %d of %d bytes", err, i, n)
			}
		}
		again := proxyV2Header(h.client, h.server)
		if got, n, err := parseProxyHeader(again); got != h || n != len(again) || err != nil {
			t.Fatalf("got %v, %d of %d bytes, %v, want %v", got, n, len(again), err, h)
		}
	})
}

// TestClientSendsProxyHeader: the header with the addresses of the forwarded connection comes first, before TLS. Without
// addresses it is LOCAL.
func TestClientSendsProxyHeader(t *testing.T) {
	t.Parallel()
	from := proxyHeader{netip.MustParseAddrPort("192.0.2.1:41251"), netip.MustParseAddrPort("198.51.100.2:49")}
	for _, tt := range []struct {
		name      string
		forwarded proxyHeader
		secure    *tlsClient
		want      string
	}{
		{"TACACS+", from, nil, proxyV2(t, "2111 000c c0000201 c6336402 a123 0031") + "\xc1"},
		{"TLS", from, &tlsClient{config: &tls.Config{}}, proxyV2(t, "2111 000c c0000201 c6336402 a123 0031") + "\x16"},
		{"no device", proxyHeader{}, nil, proxyV2(t, "2000 0000") + "\xc1"},
	} {
		l, got := listen(t), make(chan []byte, 1)
		go func() {
			b := make([]byte, len(tt.want))
			if conn, err := l.Accept(); err == nil {
				defer conn.Close()
				io.ReadFull(conn, b)
			}
			got <- b
		}()
		c := clientOf(t, l)
		c.tls, c.servers[0].tls, c.sendProxy = tt.secure, tt.secure != nil, true
		j := &job{origin: jobOrigin{forwarded: tt.forwarded}, request: newLogin(commonFields{user: "alice", typ: authenPAP}, testPassword)}
		(&requester{client: c}).do(t.Context(), j)
		if b := <-got; string(b) != tt.want || j.err == nil {
			t.Errorf("%s: got %x, %v, want %x", tt.name, b, j.err, tt.want)
		}
	}
}

// dialProxied connects as a load balancer does for a client.
func dialProxied(t testing.TB, addr, client string) *fakeClient {
	t.Helper()
	c := dialFakeClient(t, addr)
	c.Write(proxyV2Header(netip.MustParseAddrPort(client), netip.MustParseAddrPort("198.51.100.2:49")))
	return c
}

// TestListenProxyHeader: the client that a header names has its key, and is the peer in the log. Without a name it is the
// other end of the connection.
func TestListenProxyHeader(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"device": "the key of one device", "proxy": "the key of the load balancer", "six": "the key of IPv6 devices"})
	s := serveWith(t, split("--proxy-protocol 127.0.0.0/8 --key-file 192.0.2.0/24=DIR/device --key-file 127.0.0.1=DIR/proxy --key-file 2001:db8::/32=DIR/six --json", "DIR", dir)...)
	sessions := 0
	const device, six = "the key of one device", "the key of IPv6 devices"
	for _, tt := range []struct{ header, key, peer string }{
		{"PROXY TCP4 192.0.2.1 198.51.100.2 41251 49\r\n", device, "192.0.2.1:41251"},
		{"PROXY TCP6 2001:db8::1 2001:db8::2 41251 49\r\n", six, "[2001:db8::1]:41251"},
		{"PROXY UNKNOWN\r\n", "the key of the load balancer", ""},
		{proxyV2(t, "2111 000c c0000201 c6336402 a123 0031"), device, "192.0.2.1:41251"},
		{proxyV2(t, "2000 0000"), "the key of the load balancer", ""},
		{proxyV2(t, "2131 0000"), "the key of the load balancer", ""},
		{proxyV2(t, "2111 0208 c0000201 c6336402 a123 0031") + long(508), device, "192.0.2.1:41251"},
	} {
		for _, part := range []int{0, 1, len(tt.header) - 1, len(tt.header)} {
			c := dialFakeClient(t, s.addr)
			c.key = tt.key
			packet := packed(header{version: minorOne, typ: typeAuthen, seqNo: 1, sessionID: 1}, c.key, papStart("alice", testPassword))
			c.Write([]byte(tt.header[:part]))
			if part == 1 {
				time.Sleep(10 * time.Millisecond) // for a segment of its own
			}
			c.Write(append([]byte(tt.header[part:]), packet...))
			c.receives(t, authenPass)
			c.checkEnd(t)
			sessions++
			var lines []string
			waitUntil(t, "the line of the session", func() bool {
				lines = strings.SplitAfter(s.log.String(), "\n")
				return len(lines) > sessions
			})
			want := fmt.Sprintf(`"peer":"%s",`, tt.peer)
			proxy := fmt.Sprintf(`"proxy":"%s"`, c.LocalAddr())
			if tt.peer == "" {
				want = fmt.Sprintf(`"peer":"%s",`, c.LocalAddr())
			}
			if last := lines[sessions-1]; !strings.Contains(last, want) || strings.Contains(last, proxy) != (tt.peer != "") {
				t.Errorf("%q: got %s, want %s and %s", tt.header, last, want, proxy)
			}
		}
	}
}

// TestListenProxyHeaderRequired: connections from the prefix must begin with a header, and others must not.
func TestListenProxyHeaderRequired(t *testing.T) {
	t.Parallel()
	const v1 = "PROXY TCP4 192.0.2.1 198.51.100.2 41251 49\r\n"
	packet := string(packed(header{version: minorOne, typ: typeAuthen, seqNo: 1}, testKey, papStart("alice", testPassword)))
	const unnamed = "not TACACS+: unexpected PROXY header\n"
	for _, tt := range []struct{ options, sent, want string }{
		{"--proxy-protocol 127.0.0.1", packet, "refused: no PROXY header"},
		{"--proxy-protocol 127.0.0.1", "PROXY TCP4 192.0.2.1 198.51.100.2\r\n", "refused: the PROXY header is not"},
		{"--proxy-protocol 127.0.0.1", "PROXY TCP4 192.0", "refused: the PROXY header is cut"},
		{"--proxy-protocol 127.0.0.1", v1 + v1, unnamed},
		{"--proxy-protocol 192.0.2.0/24", v1 + packet, unnamed},
		{"--proxy-protocol 192.0.2.0/24", proxyV2(t, "2000 0000"), unnamed},
		{"", v1 + packet, unnamed},
		{"--tls --proxy-protocol 192.0.2.0/24", v1, "TLS: " + unnamed[len("not TACACS+: "):]},
	} {
		s := serveWith(t, split(tt.options)...)
		c := dialFakeClient(t, s.addr)
		c.Write([]byte(tt.sent))
		c.Conn.(*net.TCPConn).CloseWrite()
		c.checkEnd(t)
		if got := s.lines(t); !strings.Contains(got, tt.want) || strings.Count(got, "\n") != 1 {
			t.Errorf("%s, %q: the log is\n%swant %s", tt.options, tt.sent, got, tt.want)
		}
	}
	dir := writeFiles(t, map[string]string{"other": testKey})
	s := serveWith(t, split("--proxy-protocol 127.0.0.1 --key-file 192.0.2.1=DIR/other", "DIR", dir)...)
	for _, sent := range []string{"", proxyV2(t, "2000 0000"), "PROXY UNKNOWN\r\n"} {
		for _, linger := range []bool{true, false} {
			c := dialFakeClient(t, s.addr)
			c.Write([]byte(sent))
			if linger {
				c.Conn.(*net.TCPConn).CloseWrite()
				c.checkEnd(t)
			} else {
				c.Conn.(*net.TCPConn).SetLinger(0) // as HAProxy does
				c.Close()
			}
		}
	}
	equal(t, s.lines(t), "", "a health check has the line")
}

// TestListenProxyHeaderTimeout: a header is due in three seconds, however slowly it comes.
func TestListenProxyHeaderTimeout(t *testing.T) {
	t.Parallel()
	for _, part := range []string{"", "PROXY TCP4 192.0.2.1", proxyV2Signature} {
		synctest.Test(t, func(t *testing.T) {
			srv, log := newLab(), new(lockedBuffer)
			srv.listener.log.out = newQueuedWriter(context.Background(), log)
			srv.listener.proxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
			server, client := net.Pipe()
			defer client.Close()
			conn := &pipeFrom{server, net.TCPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:1024"))}
			var all sync.WaitGroup
			srv.listener.accept(t.Context(), fakeSocket(conn), &all, srv.serve)
			began := time.Now()
			for i := range part {
				client.Write([]byte(part[i : i+1]))
				time.Sleep(50 * time.Millisecond)
			}
			all.Wait()
			if took := time.Since(began); took != 3*time.Second || !strings.HasSuffix(log.String(), " 127.0.0.1:1024 refused: no PROXY header within 3s\n") {
				t.Errorf("%q: after %v the log is\n%s", part, took, log)
			}
		})
	}
}

// A pipeFrom is a pipe from an address.
type pipeFrom struct {
	net.Conn
	addr net.Addr
}

func (c *pipeFrom) RemoteAddr() net.Addr { return c.addr }

// TestListenProxyHeaderLimits: connections count for the client that the header names. Before it they have a limit too.
func TestListenProxyHeaderLimits(t *testing.T) {
	t.Parallel()
	s := serveWith(t, "--proxy-protocol", "127.0.0.1", "--max-per-address", "1")
	kept := dialProxied(t, s.addr, "192.0.2.1:1024")
	must(t, kept.login(1, flagSingleConnect))
	refused := dialProxied(t, s.addr, "192.0.2.1:1025")
	refused.checkEnd(t)
	waitUntil(t, "it has its line", func() bool {
		return strings.HasSuffix(s.log.String(), " 192.0.2.1:1025 refused: too many connections from this address\n")
	})
	must(t, dialProxied(t, s.addr, "192.0.2.2:1024").login(2, 0))
	must(t, kept.login(3, flagSingleConnect))

	s = serveWith(t, "--proxy-protocol", "127.0.0.1", "--max-connections", "2")
	for range 3 {
		dialFakeClient(t, s.addr)
	}
	waitUntil(t, "one is refused", func() bool { return strings.Count(s.log.String(), " refused: too many connections\n") == 1 })
}

// TestListenProxyHeaderTLS: the header comes before TLS.
func TestListenProxyHeaderTLS(t *testing.T) {
	t.Parallel()
	s := serveWith(t, "--tls", "--proxy-protocol", "127.0.0.1")
	c := dialProxied(t, s.addr, "192.0.2.1:1024")
	secure := newFakeClient(tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true}))
	secure.key = ""
	head := header{version: minorOne, typ: typeAuthen, seqNo: 1, flags: flagUnencrypted}
	must(t, secure.send(head, papStart("alice", testPassword)))
	secure.receives(t, authenPass)
	secure.Close()
	s.stop()
	if got := s.log.String(); !strings.Contains(got, " 192.0.2.1:1024 alice ") {
		t.Errorf("the log is\n%s", got)
	}
}

// TestListenProxyPrefix: a wrong prefix is a usage error, of serve and relay alike.
func TestListenProxyPrefix(t *testing.T) {
	t.Parallel()
	for _, command := range []string{"serve", "relay 127.0.0.1 -k abc"} {
		got := runWith(t, nil, "", split(command+" --proxy-protocol lb1")...)
		if want := "tacacs_plus: --proxy-protocol \"lb1\" is neither an address nor a prefix\n"; got != (runResult{classUsage.exit(), "", want}) {
			t.Errorf("%s: %+v", command, got)
		}
	}
}
