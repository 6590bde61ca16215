package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

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
			var reply authenReply
			if _, err := c.receive(&reply); err != nil || reply.status != authenPass {
				t.Errorf("%q: %+v, %v", tt.header, reply, err)
			}
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
	if got := s.lines(t); got != "" {
		t.Errorf("a health check has the line %s", got)
	}
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

// TestListenProxyHeaderLimits: connections count for the client that the header names.
func TestListenProxyHeaderLimits(t *testing.T) {
	t.Parallel()
	s := serveWith(t, "--proxy-protocol", "127.0.0.1", "--max-per-address", "1")
	kept := dialProxied(t, s.addr, "192.0.2.1:1024")
	if err := kept.login(1, flagSingleConnect); err != nil {
		t.Fatal(err)
	}
	refused := dialProxied(t, s.addr, "192.0.2.1:1025")
	refused.checkEnd(t)
	waitUntil(t, "it has its line", func() bool {
		return strings.HasSuffix(s.log.String(), " 192.0.2.1:1025 refused: too many connections from this address\n")
	})
	if err := dialProxied(t, s.addr, "192.0.2.2:1024").login(2, 0); err != nil {
		t.Error(err)
	}
	if err := kept.login(3, flagSingleConnect); err != nil {
		t.Error(err)
	}
}

// TestListenProxyHeaderTLS: the header comes before TLS.
func TestListenProxyHeaderTLS(t *testing.T) {
	t.Parallel()
	s := serveWith(t, "--tls", "--proxy-protocol", "127.0.0.1")
	c := dialProxied(t, s.addr, "192.0.2.1:1024")
	secure := newFakeClient(tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true}))
	secure.key = ""
	head := header{version: minorOne, typ: typeAuthen, seqNo: 1, flags: flagUnencrypted}
	var reply authenReply
	if err := secure.send(head, papStart("alice", testPassword)); err != nil {
		t.Fatal(err)
	}
	if _, err := secure.receive(&reply); err != nil || reply.status != authenPass {
		t.Errorf("%+v, %v", reply, err)
	}
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
