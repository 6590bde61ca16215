package main

import (
	"crypto/tls"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
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
