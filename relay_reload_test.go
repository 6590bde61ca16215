package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// A reloadTest is a relay whose options are in a profile.
type reloadTest struct {
	*testServer
	dir string // of the profile p, server.key with the test key, and device.key
}

// startReloadTest starts a relay. DIR in lines is the directory.
func startReloadTest(t *testing.T, lines ...string) *reloadTest {
	t.Helper()
	r := &reloadTest{dir: writeFiles(t, map[string]string{"server.key": testKey, "device.key": deviceKey})}
	r.profile(t, lines...)
	r.testServer = serving(t, new(lockedBuffer), "relay", "@"+r.dir+"/p")
	return r
}

// profile writes the profile.
func (r *reloadTest) profile(t *testing.T, lines ...string) {
	t.Helper()
	r.file(t, "p", strings.Join(lines, "\n"))
}

func (r *reloadTest) file(t *testing.T, name, text string) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(r.dir, name), []byte(strings.ReplaceAll(text, "DIR", r.dir)), 0o600))
}

// reload sends SIGHUP and returns what the relay has printed when the reload is done.
func (r *reloadTest) reload(t *testing.T) string {
	t.Helper()
	before := len(r.stderr.String())
	r.hangups <- struct{}{}
	var got string
	waitUntil(t, "the relay has reloaded", func() bool {
		got = r.stderr.String()[before:]
		return strings.Contains(got, "tacacs_plus: reloaded\n") || strings.Contains(got, "stays in use\n")
	})
	return got
}

// reloaded is reload that must succeed, without other messages.
func (r *reloadTest) reloaded(t *testing.T) {
	t.Helper()
	equal(t, r.reload(t), "tacacs_plus: reloaded\n", "the relay prints")
}

// login logs a device in on a new connection.
func (r *reloadTest) login(t *testing.T, key string) error {
	t.Helper()
	c := dialFakeClient(t, r.addr)
	defer c.Close()
	c.key = key
	return c.login(1, 0)
}

// goesTo logs a device in, and checks that it is the server that gets it.
func (r *reloadTest) goesTo(t *testing.T, s *fakeServer, when string) {
	t.Helper()
	before := s.asked("alice")
	if err := r.login(t, deviceKey); err != nil || s.asked("alice") != before+1 {
		t.Errorf("%s: %v; the server got %d logins", when, err, s.asked("alice")-before)
	}
}

const reloadKeys = "key-file server.key\ndevice-key-file device.key\nlisten 127.0.0.1:0"

// TestRelayReload: new sessions use the servers and the keys of the last reload, also those on a connection of before.
func TestRelayReload(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"", "single-connect"} {
		a := startFakeServer(t, (*fakeServerConn).grantAll)
		b := serveWith(t, "--key-file", filepath.Join(writeFiles(t, map[string]string{"k": "the key of server b"}), "k"))
		r := startReloadTest(t, mode, "host "+a.addr, reloadKeys)
		old, kept := dialDevice(t, r.testServer), dialDevice(t, r.testServer)
		must(t, old.login(1, flagSingleConnect))
		c := asciiStart("alice")
		must(t, kept.send(header{version: minorDefault, typ: typeAuthen, seqNo: 1, sessionID: 3}, c))
		waitUntil(t, "the server has both", func() bool { return a.asked("alice") == 2 })
		const newKey = "the new key of the devices"
		r.file(t, "server.key", "the key of server b")
		r.file(t, "device.key", newKey)
		r.profile(t, mode, "host "+b.addr, reloadKeys)
		r.reloaded(t)
		if err := r.login(t, deviceKey); err == nil {
			t.Errorf("%q: the old key of the devices is still used", mode)
		}
		for id := range uint32(3) {
			if err := old.login(id+1, flagSingleConnect); err != nil {
				t.Errorf("%q: on the connection of before: %v", mode, err)
			}
			if err := r.login(t, newKey); err != nil {
				t.Errorf("%q: on a new connection: %v", mode, err)
			}
		}
		if n := a.asked("alice"); n != 2 {
			t.Errorf("%q: server a got %d logins after the reload", mode, n-2)
		}
		var reply authenReply
		if _, err := kept.receive(&reply); err != nil {
			t.Errorf("%q: the login of before has ended: %v", mode, err)
		}
		if got := r.relayed(t); strings.Count(got, "> alice authenticate pap PASS\n") != 6 {
			t.Errorf("%q: the log is\n%s", mode, got)
		}
	}
}

// TestRelayReloadWhileServing: no session fails because of a reload.
func TestRelayReloadWhileServing(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"", "single-connect"} {
		a, b := startFakeServer(t, (*fakeServerConn).grantAll), startFakeServer(t, (*fakeServerConn).grantAll)
		r := startReloadTest(t, mode, "host "+a.addr, reloadKeys)
		over := make(chan struct{})
		var devices sync.WaitGroup
		for i := range 4 {
			flags := headerFlags(0)
			if i%2 == 0 {
				flags = flagSingleConnect
			}
			devices.Go(func() {
				c := dialDevice(t, r.testServer)
				for id := uint32(1); ; id++ {
					if err := c.login(id, flags); err != nil {
						t.Errorf("%q: %v", mode, err)
						return
					}
					if flags == 0 {
						c.Close()
						c = dialDevice(t, r.testServer)
					}
					select {
					case <-over:
						return
					case <-time.After(time.Millisecond):
					}
				}
			})
		}
		for i := range 12 {
			r.profile(t, mode, "host "+[]string{b.addr, a.addr}[i%2], reloadKeys)
			r.reload(t)
			waitUntil(t, "server b has a login", func() bool { return b.asked("alice") > 0 })
		}
		close(over)
		devices.Wait()
		if got := r.relayed(t); strings.Count(got, "PASS") != strings.Count(got, "\n") {
			t.Errorf("%q: the log is\n%.1000s", mode, got)
		}
	}
}

// TestRelayReloadFinishes: a session that waits for its server when the relay reloads gets its reply, while the next ones of
// the device go to the new server.
func TestRelayReloadFinishes(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"", "single-connect"} {
		release := make(chan struct{})
		a := startFakeServer(t, func(c *fakeServerConn) {
			for q := range c.requests {
				<-release
				c.Write(c.grantReply(q))
			}
		})
		b := startFakeServer(t, (*fakeServerConn).grantAll)
		r := startReloadTest(t, mode, "host "+a.addr, reloadKeys)
		c := dialDevice(t, r.testServer)
		first := header{version: minorOne, typ: typeAuthen, seqNo: 1, flags: flagSingleConnect, sessionID: 1}
		must(t, c.send(first, papStart("alice", testPassword)))
		waitUntil(t, "the server has the first login", func() bool { return a.asked("alice") == 1 })
		r.profile(t, mode, "host "+b.addr, reloadKeys)
		r.reloaded(t)
		if err := c.login(2, flagSingleConnect); err != nil {
			t.Errorf("%q: the second login: %v", mode, err)
		}
		close(release)
		var reply authenReply
		if h, err := c.receive(&reply); err != nil || h.sessionID != 1 || reply.status != authenPass {
			t.Errorf("%q: the first login: %+v %+v %v", mode, h, reply, err)
		}
		if a.asked("alice") != 1 || b.asked("alice") != 1 {
			t.Errorf("%q: the servers got %d and %d logins", mode, a.asked("alice"), b.asked("alice"))
		}
		waitUntil(t, "the connection to the first server is closed", func() bool {
			a.mu.Lock()
			defer a.mu.Unlock()
			return len(a.conns) == 1 && isGone(a.conns[0])
		})
	}
}

// isGone reports whether the test's side of a connection is closed, as it is when its script has ended.
func isGone(conn net.Conn) bool { return conn.SetDeadline(time.Time{}) != nil }

// TestRelayReloadErrors: a reload changes nothing if anything is wrong.
func TestRelayReloadErrors(t *testing.T) {
	t.Parallel()
	a, b := startFakeServer(t, (*fakeServerConn).grantAll), startFakeServer(t, (*fakeServerConn).grantAll)
	r := startReloadTest(t, "host "+a.addr, reloadKeys)
	for _, tt := range []struct{ lines, want string }{
		{"timeot 3", "DIR/p:4: the line does not begin with the name of an option; "},
		{"timeout x", "DIR/p:4: option --timeout: \"x\" must be above 0 and at most 24h: seconds (2.5) or a duration (500ms); "},
		{"key-file server.key\ndevice-key-file nosuch.key", "read the key of the devices: open DIR/nosuch.key: no such file or directory; "},
		{"key-file empty.key\ndevice-key-file device.key", "no key in DIR/empty.key; "},
		{"tls\ncacert nosuch.pem\ndevice-key-file device.key", "read the certificate file: open DIR/nosuch.pem: no such file or directory; "},
		{"device-key-file device.key\nsend-proxy\nsingle-connect", "--send-proxy excludes --single-connect: its connections are of many devices; "},
		{"device-key-file device.key\ndevice-key-file 192.0.2.0/33=device.key", "DIR/p:5: \"192.0.2.0/33\" of --device-key-file "},
		{"proxy-protocol x\ndevice-key-file device.key", "--proxy-protocol \"x\" "},
		{"key-file server.key\nlisten 127.0.0.1:0\nlisten-tls 127.0.0.1:0", "--listen-tls needs --listen-cert; "},
		{"host ::1:x", "DIR/p:4: server \"::1:x\" is "},
	} {
		r.file(t, "empty.key", "")
		r.profile(t, "host "+b.addr, "timeout 5", "listen 127.0.0.1:0", tt.lines)
		got, want := r.reload(t), "tacacs_plus: not reloaded: "+strings.ReplaceAll(tt.want, "DIR", r.dir)
		if !strings.Contains(got, want) || !strings.Contains(got, "; the configuration that was read before stays in use\n") || strings.Contains(got, "tacacs_plus: reloaded") {
			t.Errorf("%q: the relay prints %q, want %q", tt.lines, got, want)
		}
		r.goesTo(t, a, tt.lines)
	}
	os.Remove(filepath.Join(r.dir, "p"))
	if got := r.reload(t); !strings.Contains(got, "not reloaded: read the profile: ") {
		t.Errorf("without a profile the relay prints %q", got)
	}
	r.profile(t, "timeot 3")
	r.reload(t)
	waitUntil(t, "the hint is printed", func() bool { return strings.Contains(r.stderr.String(), "tacacs_plus: hint: did you mean timeout?\n") })
	r.profile(t, "host "+b.addr, reloadKeys)
	r.reloaded(t)
	r.goesTo(t, b, "after the last reload")
}

// TestRelayReloadNeedsRestart: options that a reload does not change are named, and the others are changed.
func TestRelayReloadNeedsRestart(t *testing.T) {
	t.Parallel()
	a, b := startFakeServer(t, (*fakeServerConn).grantAll), startFakeServer(t, (*fakeServerConn).grantAll)
	files := testFiles(t)
	r := startReloadTest(t, "host "+a.addr, "listen localhost:0", reloadKeys, "record rec", "append")
	secure := "listen-tls 127.0.0.1:0\nlisten-cert " + files + "/server.pem\nlisten-cert-key " + files + "/server.key"
	const start, keys, listen = "record rec\nappend", "key-file server.key\ndevice-key-file device.key", "listen localhost:0\nlisten 127.0.0.1:0"
	for _, tt := range []struct{ lines, want string }{
		{listen + "\n" + start + "\n" + keys, ""},
		{"listen 127.0.0.2:0\n" + start + "\n" + keys, "--listen"},
		{"listen 127.0.0.2:0\n" + start + "\nkey-file server.key", "--listen"},
		{start + "\n" + keys, "--listen"},
		{listen + "\n" + start + "\n" + keys + "\n" + secure, "--listen-tls"},
		{start + "\nkey-file server.key\n" + secure, "--listen, --listen-tls"},
		{listen + "\n" + keys, "--record, --append"},
		{listen + "\n" + start + "\n" + keys + "\nproxy-protocol 192.0.2.1\nmax-connections 9\nmax-per-address 9\ndrain-time 9", "--proxy-protocol, --max-connections, --max-per-address, --drain-time"},
		{listen + "\n" + start + "\n" + keys + "\nquiet\ndebug\nshow-secrets", "--quiet, --debug, --show-secrets"},
		{listen + "\n" + start + "\n" + keys + "\nverbose\njson", "--verbose, --json"},
	} {
		r.profile(t, "host "+b.addr, tt.lines)
		want := "tacacs_plus: reloaded\n"
		if tt.want != "" {
			want = "tacacs_plus: changed, needs a restart: " + tt.want + "\n" + want
		}
		got := r.reload(t)
		if i := strings.Index(got, "tacacs_plus: warning:"); i >= 0 { // of clients without a certificate
			_, after, _ := strings.Cut(got[i:], "\n")
			got = got[:i] + after
		}
		equal(t, got, want, tt.lines, "the relay prints")
		if !strings.Contains(tt.lines, "device-key-file") && strings.Contains(tt.lines, "listen 127") {
			if err := r.login(t, testKey); err != nil { // the key of the servers
				t.Errorf("%q: %v", tt.lines, err)
			}
		} else {
			r.goesTo(t, b, tt.lines)
		}
		r.profile(t, "host "+a.addr, listen, start, keys)
		r.reload(t)
		r.goesTo(t, a, "after "+tt.lines)
	}
}

// TestRelayReloadRemovesListeners: sockets that a reload removes are named. They stay open with what was read before, and
// the rest of the reload takes effect.
func TestRelayReloadRemovesListeners(t *testing.T) {
	t.Parallel()
	a, b, c := startFakeServer(t, (*fakeServerConn).grantAll), startFakeServer(t, (*fakeServerConn).grantAll), startFakeServer(t, (*fakeServerConn).grantAll)
	files := testFiles(t)
	secure := strings.ReplaceAll("listen-tls 127.0.0.1:0\nlisten-cert DIR/server.pem\nlisten-cert-key DIR/server.key\nclient-ca DIR/ca.pem", "DIR", files)
	r := startReloadTest(t, "host "+a.addr, reloadKeys, secure)
	_, tlsAddr, _ := strings.Cut(r.stderr.String(), "listening for TLS on ")
	tlsAddr, _, _ = strings.Cut(tlsAddr, "\n")
	check := func(when string, s *fakeServer) {
		t.Helper()
		r.goesTo(t, s, when)
		before := s.asked("alice")
		got := r.asDevice(t, strings.ReplaceAll("authenticate alice "+tlsAddr+" -t pap --tls --cacert DIR/ca.pem --cert DIR/client.pem --cert-key DIR/client.key", "DIR", files))
		if got.code != 0 || s.asked("alice") != before+1 {
			t.Errorf("%s: over TLS %+v", when, got)
		}
	}
	check("at the start", a)
	for _, tt := range []struct {
		lines, want string
		to          *fakeServer
	}{
		{reloadKeys, "changed, needs a restart: --listen-tls\ntacacs_plus: reloaded\n", b},
		{"key-file server.key\n" + secure, "changed, needs a restart: --listen\ntacacs_plus: reloaded\n", c},
		{reloadKeys + "\n" + strings.ReplaceAll(secure, "listen-tls 127.0.0.1:0", ""), "not reloaded: --listen-cert and --listen-cert-key need --listen-tls; the configuration that was read before stays in use\n", c},
		{reloadKeys + "\n" + secure, "reloaded\n", a},
	} {
		r.profile(t, "host "+tt.to.addr, tt.lines)
		equal(t, r.reload(t), "tacacs_plus: "+tt.want, tt.lines, "the relay prints")
		check(tt.lines, tt.to)
	}
}

// TestRelayReloadOptions: a reload changes the timeout, and whether the devices get single-connection mode.
func TestRelayReloadOptions(t *testing.T) {
	t.Parallel()
	silent := startFakeServer(t, func(c *fakeServerConn) { c.readRequests(2) })
	r := startReloadTest(t, "host "+silent.addr, reloadKeys, "timeout 300ms")
	for _, timeout := range []string{"300ms", "400ms"} {
		r.profile(t, "host "+silent.addr, reloadKeys, "timeout "+timeout)
		r.reloaded(t)
		if err := r.login(t, deviceKey); err == nil {
			t.Error("the silent server has answered")
		}
		waitUntil(t, "the log has the timeout", func() bool {
			return strings.Contains(r.log.String(), "within "+timeout) || strings.Contains(r.log.String(), "after "+timeout)
		})
	}
	live := startFakeServer(t, (*fakeServerConn).grantAll)
	for _, option := range []string{"", "no-device-single-connect"} {
		r.profile(t, "host "+live.addr, reloadKeys, option)
		r.reloaded(t)
		if err := dialDevice(t, r.testServer).login(1, flagSingleConnect); (err == nil) != (option == "") {
			t.Errorf("%q: a login in single-connection mode: %v", option, err)
		}
	}
}

// TestRelayReloadDeadServers: what is known of dead servers outlives a reload, unless they leave the list.
func TestRelayReloadDeadServers(t *testing.T) {
	t.Parallel()
	dead := startFakeServer(t, func(*fakeServerConn) {}) // closes: connecting succeeds, no reply comes
	live := startFakeServer(t, (*fakeServerConn).grantAll)
	servers := "host " + dead.addr + "," + live.addr
	const deadTime = "dead-time 1h"
	r := startReloadTest(t, servers, reloadKeys, deadTime)
	for range deadAfter {
		r.goesTo(t, live, "while it dies")
	}
	waitUntil(t, "the server is dead", func() bool { return strings.Contains(r.stderr.String(), dead.addr+" is dead: ") })
	for _, list := range []string{servers, "host " + live.addr + "," + dead.addr + ",192.0.2.1"} {
		r.profile(t, list, reloadKeys, deadTime)
		r.reloaded(t)
		r.goesTo(t, live, list)
		if n := dead.connections(); n != deadAfter {
			t.Errorf("%s: the dead server got %d more connections", list, n-deadAfter)
		}
	}
	for _, change := range []string{"host " + live.addr + "\n" + deadTime, servers + "\ndead-time 0"} {
		before := dead.connections()
		r.profile(t, change, reloadKeys)
		r.reloaded(t)
		r.profile(t, servers, reloadKeys, deadTime)
		r.reloaded(t)
		for range deadAfter {
			r.goesTo(t, live, "after "+change)
		}
		if n := dead.connections() - before; n != deadAfter {
			t.Errorf("after %s the dead server got %d connections, want %d", change, n, deadAfter)
		}
		waitUntil(t, "the server is dead again", func() bool { return strings.Count(r.stderr.String(), dead.addr+" is dead: ") > 1 })
	}
}

// TestRelayReloadCertificates: a reload changes the files of certificates and the rules for those of devices. Tickets stay
// valid, unless their lifetime is changed.
func TestRelayReloadCertificates(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	profile := filepath.Join(t.TempDir(), "p")
	set := func(c string, dir string) {
		t.Helper()
		text := "host " + s.addr + "\nkey " + testKey + "\nlisten-tls 127.0.0.1:0\nclient-ca " + dir + "/ca.pem\n" + strings.ReplaceAll(c, "DIR", dir)
		must(t, os.WriteFile(profile, []byte(text), 0o600))
	}
	const certs = "listen-cert DIR/server.pem\nlisten-cert-key DIR/server.key\n"
	c := newCertTest(t, "relay "+s.addr+" --listen-tls 127.0.0.1:0 --listen-cert DIR/server.pem --listen-cert-key DIR/server.key --client-ca DIR/ca.pem")
	c.server.stop()
	c.ca.issue(t, "other", 30, nil)
	c.ca.revoke(t, "r1.crl", 11, time.Now().Add(time.Hour))
	set(certs, c.dir)
	c.server = serving(t, new(lockedBuffer), "relay", "@"+profile)
	r := &reloadTest{c.server, c.dir}
	for _, tt := range []struct {
		lines   string
		serial  int64
		refused string
		resumed bool
	}{
		{certs, 10, "", true},
		{certs + "client-name *.lab.example\n", 10, "", true},
		{certs + "client-name r2.lab.example\n", 10, "--client-name does not allow its names", true},
		{certs + "client-crl DIR/r1.crl\n", 10, "was revoked on", true},
		{certs + "client-address\n", 10, "it is not for the address", true},
		{"listen-cert DIR/other.pem\nlisten-cert-key DIR/other.key\n", 30, "", true},
		{certs + "ticket-lifetime 1h\n", 10, "", false},
		{certs + "ticket-lifetime 0\n", 10, "", false},
	} {
		set(certs, c.dir)
		r.reload(t)
		if _, err := c.login(t, "r1", ""); err != nil {
			t.Fatal(err)
		}
		set(tt.lines, c.dir)
		r.reloaded(t)
		before := len(r.log.String())
		state, err := c.login(t, "r1", "")
		if (err == nil) != (tt.refused == "") || err == nil && state.DidResume != tt.resumed {
			t.Errorf("%q: resumed %t, %v", tt.lines, state.DidResume, err)
		}
		if tt.refused != "" {
			waitUntil(t, "the refusal has its line", func() bool { return strings.Contains(r.log.String()[before:], tt.refused) })
			continue
		}
		cache := c.cache
		c.cache = nil
		if state, err = c.login(t, "r1", ""); err != nil || state.PeerCertificates[0].SerialNumber.Int64() != tt.serial {
			t.Errorf("%q: %v, the certificate is %v", tt.lines, err, state.PeerCertificates)
		}
		c.cache = cache
	}
	set("listen-cert DIR/server.pem\nlisten-cert-key DIR/other.key\n", c.dir)
	if got := r.reload(t); !strings.Contains(got, "not reloaded: the private key in ") {
		t.Errorf("the relay prints %q", got)
	}
	if _, err := c.login(t, "r1", ""); err != nil {
		t.Error(err)
	}
}

// TestRelayReloadServerCertificates: a reload reads the authorities and revocation lists for the servers again, also for a
// connection that is kept.
func TestRelayReloadServerCertificates(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"", "single-connect"} {
		dir := testFiles(t)
		s := serveWith(t, split("--tls --cert DIR/server.pem --cert-key DIR/server.key", "DIR", dir)...)
		r := startReloadTest(t, mode, "host "+s.addr, "tls", "cacert "+dir+"/ca.pem", "crl "+dir+"/none.crl", "device-key-file device.key", "listen 127.0.0.1:0")
		c := dialDevice(t, r.testServer)
		for i, tt := range []struct{ cacert, crl, want string }{
			{"ca.pem", "none.crl", ""}, {"ca.pem", "server.crl", "was revoked on"}, {"ca.pem", "none.crl", ""}, {"other-ca.pem", "other.crl", "unknown authority"}, {"ca.pem", "none.crl", ""},
		} {
			r.profile(t, mode, "host "+s.addr, "tls", "cacert "+dir+"/"+tt.cacert, "crl "+dir+"/"+tt.crl, "device-key-file device.key", "listen 127.0.0.1:0")
			if got := r.reload(t); !strings.Contains(got, "tacacs_plus: reloaded\n") {
				t.Errorf("%q: the relay prints %s", mode, got)
			}
			if err := c.login(uint32(i), flagSingleConnect); (err == nil) != (tt.want == "") {
				t.Errorf("%q, %s, %s: %v", mode, tt.cacert, tt.crl, err)
			}
			waitUntil(t, "the failure is in the log", func() bool { return strings.Contains(r.log.String(), tt.want) })
		}
	}
}

// TestRelayReloadClosesIdleConns: kept connections to servers of before are closed.
func TestRelayReloadClosesIdleConns(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"", "single-connect"} {
		a, b := startFakeServer(t, (*fakeServerConn).grantAll), startFakeServer(t, (*fakeServerConn).grantAll)
		r := startReloadTest(t, mode, "host "+a.addr, reloadKeys)
		c := dialDevice(t, r.testServer)
		for i, s := range []*fakeServer{a, b} {
			r.profile(t, mode, "host "+s.addr, reloadKeys)
			r.reloaded(t)
			must(t, c.login(uint32(i), flagSingleConnect))
		}
		waitUntil(t, "the idle connection is closed", func() bool {
			a.mu.Lock()
			defer a.mu.Unlock()
			return isGone(a.conns[0])
		})
	}
}

// TestRelayReloadDeadTime: a memory of dead servers that begins with a reload connects in the background.
func TestRelayReloadDeadTime(t *testing.T) {
	t.Parallel()
	live, addr := startFakeServer(t, (*fakeServerConn).grantAll), downAddr(t)
	hosts := "host " + addr + "," + live.addr
	r := startReloadTest(t, hosts, reloadKeys, "dead-time 0")
	r.profile(t, hosts, reloadKeys, "dead-time 50ms")
	r.reloaded(t)
	r.goesTo(t, live, "while the first server is dead")
	l, err := net.Listen("tcp", addr)
	must(t, err)
	defer l.Close()
	waitUntil(t, "the server is alive", func() bool { return strings.Contains(r.stderr.String(), addr+" is alive\n") })
}

// TestRelayCheckConfig: --check-config prints what would run and ends. It opens no socket and makes no file.
func TestRelayCheckConfig(t *testing.T) {
	t.Parallel()
	taken := listen(t).Addr().String()
	dir := testFiles(t)
	for name, text := range map[string]string{"server.key": testKey, "device.key": deviceKey, "other.key": "another key of devices",
		"p": "host tls.invalid,127.0.0.1:4900\ntls\ncacert ca.pem\ncert client.pem\ncert-key client.key\nlisten-tls " + taken + "\nlisten-cert server.pem\nlisten-cert-key server.key\nclient-ca ca.pem\ncheck-config"} {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	for _, tt := range []struct {
		line     string
		code     exitCode
		out, err string
	}{
		{"127.0.0.1,[::1]:4949 --key-file DIR/server.key", 0,
			"listen on 127.0.0.1:4949\ndevices: key from DIR/server.key\nserver 127.0.0.1:49 [127.0.0.1]: key from DIR/server.key\nserver [::1]:4949 [::1]: key from DIR/server.key\n" +
				"timeout 10s, connect timeout 1.5s, retries 0, dead time 30s\noption --key-file DIR/server.key\n", ""},
		{"127.0.0.1 --listen " + taken + " --device-key-file DIR/device.key --device-key-file DIR/other.key --device-key-file 192.0.2.0/24=DIR/other.key --device-key-file ::1=DIR/device.key " +
			"--record DIR/rec --unencrypted --timeout 2 --connect-timeout 1 --retries 3 --dead-time 0", 0,
			"listen on " + taken + "\ndevices in 192.0.2.0/24: key from DIR/other.key\ndevices in ::1/128: key from DIR/device.key\nother devices: one of the keys from DIR/device.key, DIR/other.key\n" +
				"server 127.0.0.1:49 [127.0.0.1]: not obfuscated\ntimeout 2s, connect timeout 1s, retries 3, dead time 0s\n" +
				"option --timeout 2s\noption --connect-timeout 1s\noption --retries 3\noption --unencrypted true\noption --listen " + taken + "\n" +
				"option --device-key-file DIR/device.key DIR/other.key 192.0.2.0/24=DIR/other.key ::1=DIR/device.key\noption --record DIR/rec\noption --dead-time 0s\n", ""},
		{"127.0.0.1 -q --key-file DIR/nosuch.key", 2, "", "read the key: open DIR/nosuch.key: no such file or directory\n"},
		{"127.0.0.1 --key-file DIR/server.key --listen :0", 2, "", "listening on :0 needs --device-key-file\ntacacs_plus: hint: give the key of the devices, or listen on loopback\n"},
		{"127.0.0.1 --key-file DIR/server.key --listen-tls 127.0.0.1:0 --listen-cert DIR/text", 2, "", "DIR/text"},
		{"@DIR/p", 2, "", "DIR/p:10: check-config is not allowed in a profile\n"},
	} {
		got := runWith(t, nil, "", split("relay "+tt.line+" --check-config", "DIR", dir)...)
		out, err := strings.ReplaceAll(tt.out, "DIR", dir), strings.ReplaceAll(tt.err, "DIR", dir)
		if got.code != tt.code || got.out != out || !strings.Contains(got.err, err) || err == "" && got.err != "" {
			t.Errorf("%s: got %+v, want %q and %q", tt.line, got, out, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "rec")); err == nil {
		t.Error("--check-config makes the record")
	}
}

// TestRelayCheckConfigJSON: with --json there is one object with what would run. It has no secret.
func TestRelayCheckConfigJSON(t *testing.T) {
	t.Parallel()
	dir := testFiles(t)
	for name, text := range map[string]string{"tac.key": testKey, "device.key": deviceKey, "p": "max-connections 7\nclient-ca ca.pem\nno-warn mixed-transport"} {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	got := runWith(t, nil, "", split("relay @DIR/p -H 127.0.0.1,tls://127.0.0.2 --key-file DIR/tac.key --listen 127.0.0.1:4949 --device-key-file 192.0.2.0/24=DIR/device.key "+
		"--device-key-file DIR/tac.key --listen-tls 127.0.0.1:4300 --listen-cert DIR/server.pem --listen-cert-key DIR/server.key --cacert DIR/ca.pem --cert DIR/client.pem --cert-key DIR/client.key --json --check-config", "DIR", dir)...)
	expiry := func(name string) string {
		pair, err := readKeyPair(t.Context(), filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key"))
		must(t, err)
		return pair[0].Leaf.NotAfter.UTC().Format(time.RFC3339)
	}
	want := strings.NewReplacer("DIR", dir, "\n", "", "\t", "", "SERVER", expiry("server"), "CLIENT", expiry("client")).Replace(`{"listen":["127.0.0.1:4949"],"listen_tls":["127.0.0.1:4300"],
		"certificate":"DIR/server.pem","not_after":"SERVER","devices":{"192.0.2.0/24":["DIR/device.key"],"others":["DIR/tac.key"]},
		"servers":[{"server":"127.0.0.1:49","addresses":["127.0.0.1"],"protection":"obfuscated","key":"DIR/tac.key"},
		{"server":"127.0.0.2:300","addresses":["127.0.0.2"],"protection":"tls","not_after":"CLIENT"}],
		"timeout":"10s","connect_timeout":"1.5s","retries":0,"dead_time":"30s",
		"options":{"cacert":"DIR/ca.pem","cert":"DIR/client.pem","cert-key":"DIR/client.key","client-ca":"DIR/ca.pem","device-key-file":"192.0.2.0/24=DIR/device.key DIR/tac.key",
		"host":"(not shown)","json":"true","key-file":"DIR/tac.key","listen":"127.0.0.1:4949","listen-cert":"DIR/server.pem","listen-cert-key":"DIR/server.key",
		"listen-tls":"127.0.0.1:4300","max-connections":"7","no-warn":"(not shown)"}}`) + "\n"
	if got.code != 0 || got.out != want {
		t.Errorf("got %+v, want %s", got, want)
	}
	if got := runWith(t, nil, "", split("relay 127.0.0.1 --key hunter2hunter2hunter2 --check-config --json")...); got.code != 0 || strings.Contains(got.out, "hunter2") {
		t.Errorf("got %+v", got)
	}
}

// TestRelayCheckConfigFiles: --check-config finds what is wrong with the files that the relay writes, as a start would, and
// changes nothing.
func TestRelayCheckConfigFiles(t *testing.T) {
	t.Parallel()
	conn := &pcapConn{ends: [2]netip.AddrPort{netip.MustParseAddrPort("198.51.100.7:1024"), netip.MustParseAddrPort("192.0.2.1:49")}}
	cut := string(conn.appendData(appendPcapHeader(nil), time.Unix(1, 0), 0, []byte("x")))
	cut += cut[pcapHeaderLen : pcapHeaderLen+30]
	dir := writeFiles(t, map[string]string{"record": cut, "text": "notes", "metrics": "before"})
	for _, tt := range []struct{ options, want string }{
		{"--record DIR/new", ""},
		{"--record DIR/new --append", ""},
		{"--record DIR/record --append", ""},
		{"--record DIR/record", "make the record: DIR/record exists\ntacacs_plus: hint: add --append, or move the file away\n"},
		{"--record DIR/text --append", "make the record: DIR/text is not a capture that relay has written (pcap, little-endian, microseconds, raw IP)\n"},
		{"--record DIR/none/record", "make the record: open DIR/none/record: no such file or directory\n"},
		{"--record DIR/text/record", "make the record: open DIR/text/record: not a directory\n"},
		{"--record DIR", "make the record: open DIR: is a directory\n"},
		{"--metrics-file DIR", "write the metrics: open DIR: is a directory\n"},
		{"--metrics-file DIR/metrics", ""},
		{"--metrics-file DIR/new.prom", ""},
		{"--metrics-file DIR/none/relay.prom", "write the metrics: open DIR/none/relay.prom: no such file or directory\n"},
	} {
		got := runWith(t, secretsInEnv, "", split("relay 127.0.0.1 --check-config "+tt.options, "DIR", dir)...)
		want, code := strings.ReplaceAll("tacacs_plus: "+tt.want, "DIR", dir), exitCode(2)
		if tt.want == "" {
			want, code = "", 0
		}
		if got.code != code || !strings.HasPrefix(got.err, want) || tt.want == "" && got.err != "" || code != 0 && got.out != "" {
			t.Errorf("%s: got %+v, want %s", tt.options, got, want)
		}
	}
	entries, err := os.ReadDir(dir)
	record, _ := os.ReadFile(filepath.Join(dir, "record"))
	if err != nil || len(entries) != 3 || string(record) != cut {
		t.Errorf("the directory has %v; %d bytes are recorded", entries, len(record))
	}
}

// TestRelayUnresolvedServer: a server without an address is a warning, of --check-config and at the start, and the relay
// uses the others. It is not parallel, since it changes the resolver.
func TestRelayUnresolvedServer(t *testing.T) {
	resolveWith(t, dnsOfName("known", "127.0.0.1", "::1"))
	s := startFakeServer(t, (*fakeServerConn).grantAll)
	_, port, _ := net.SplitHostPort(s.addr)
	const warning = "tacacs_plus: warning: resolve tac9.example: no such host\n"
	line := fmt.Sprintf("tac9.example,known.example:%s -4 --key-file DIR/server.key", port)
	dir := writeFiles(t, map[string]string{"server.key": testKey, "device.key": deviceKey})
	for options, want := range map[string]string{"": warning, " -q": "", " --no-warn server-unresolved": ""} {
		got := runWith(t, nil, "", split("relay "+line+options+" --check-config", "DIR", dir)...)
		if got.code != 0 || got.err != want || !strings.Contains(got.out, "server tac9.example:49 []: ") || !strings.Contains(got.out, "server known.example:"+port+" [127.0.0.1]: ") {
			t.Errorf("%q: got %+v", options, got)
		}
	}
	r := startReloadTest(t, "host known.example:"+port+"\n4", reloadKeys)
	if strings.Contains(r.stderr.String(), "warning") {
		t.Errorf("stderr is %s", r.stderr)
	}
	r.stop()
	r = startReloadTest(t, "host tac9.example,known.example:"+port+"\n4", reloadKeys)
	waitUntil(t, "the warning is printed", func() bool { return strings.Contains(r.stderr.String(), warning) })
	r.goesTo(t, s, "with a server without an address")
	r.reload(t)
	waitUntil(t, "the warning is printed again", func() bool { return strings.Count(r.stderr.String(), warning) == 2 })
	if code := r.stop(); code != 0 {
		t.Errorf("the relay ends with %d", code)
	}
}

// TestRelayServerCertificates: certificates for the servers that have changed are used from the next handshake on, without a
// signal. A file that cannot be read changes nothing, and has one warning.
func TestRelayServerCertificates(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	newTestCA(t, dir, "ca").issue(t, "server", 10, nil)
	s := serveWith(t, "--tls", "--cert", in("server.pem"), "--cert-key", in("server.key"))
	first := contentOf(t, in("ca.pem"))
	r := relayTo(t, s.addr, "--tls", "--cacert", in("ca.pem"), "--metrics-file", in("relay.prom"))
	login := func(what string, want exitCode) {
		t.Helper()
		if got := r.asDevice(t, "authenticate alice AT -t pap"); got.code != want {
			t.Errorf("%s: %+v\n%s%s", what, got, r.stderr, r.log)
		}
	}
	write := func(content []byte) {
		t.Helper()
		must(t, os.WriteFile(in("ca.pem"), content, 0o600))
	}
	login("at first", 0)
	newTestCA(t, dir, "ca")
	login("with another authority", classServer.exit())
	write([]byte("this is not PEM"))
	for range 2 {
		login("with a broken file", classServer.exit())
	}
	write(first)
	login("with the first authority", 0)
	waitUntil(t, "the changes are reported", func() bool { return strings.Count(r.stderr.String(), "read the changed certificates\n") == 2 })
	if text := r.stderr.String(); strings.Count(text, "is not PEM; the certificates that were read before stay in use\n") != 1 {
		t.Errorf("stderr is\n%s", text)
	}
}
