package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestServeRefuses checks command lines that serve refuses.
func TestServeRefuses(t *testing.T) {
	t.Parallel()
	taken := listen(t).Addr().String()
	dir := writeFiles(t, map[string]string{"bad": "# users\nalice:x\n\nbob\n", "users": "alice:x\n", "empty": "\n"})
	const needs = "give --key-file and --user, or listen on loopback"
	for _, tt := range []struct {
		env                 map[string]string
		line, message, hint string
		code                exitCode
	}{
		{nil, "--user alice", "user 1 is not NAME:PASSWORD", "", classUsage.exit()},
		{nil, "--user alice:x --user :x", "user 2 is not NAME:PASSWORD", "", classUsage.exit()},
		{nil, "--users-file DIR/bad", "line 4 of DIR/bad is not NAME:PASSWORD", "", classUsage.exit()},
		{nil, "--user alice:x --user bob:y --user alice:z", "user 3 repeats the user alice", "", classUsage.exit()},
		{nil, "--user alice:x --users-file DIR/users", "line 1 of DIR/users repeats the user alice", "", classUsage.exit()},
		{nil, "--user alice:x --must-change alice --must-change bob", "--must-change bob is not a user", "", classUsage.exit()},
		{nil, "--user alice:x --must-change demo", "--must-change demo is not a user", "", classUsage.exit()},
		{nil, "--users-file DIR/none", "read the list of users: open DIR/none: no such file or directory", "", classUsage.exit()},
		{nil, "--users-file DIR/empty", "no list of users in DIR/empty", "", classUsage.exit()},
		{nil, "--enable-password-file DIR/empty", "no enable password in DIR/empty", "", classUsage.exit()},
		{nil, "--enable-password-file -", "no enable password on standard input", "", classUsage.exit()},
		{nil, "--listen foo", "--listen \"foo\" is not ADDRESS:PORT", "", classUsage.exit()},
		{secretsInEnv, "--user a:b --listen 127.0.0.1", "--listen \"127.0.0.1\" is not ADDRESS:PORT", "", classUsage.exit()},
		{secretsInEnv, "--user a:b --listen 127.0.0.1:", "--listen \"127.0.0.1:\" is not ADDRESS:PORT", "", classUsage.exit()},
		{secretsInEnv, "--user a:b --listen 127.0.0.1:65536", "--listen \"127.0.0.1:65536\" is not ADDRESS:PORT", "", classUsage.exit()},
		{secretsInEnv, "--user a:b --listen 127.0.0.1:0 --listen ::1:49", "--listen \"::1:49\" is not ADDRESS:PORT", "", classUsage.exit()},
		{nil, "--enable-password-file DIR/none", "read the enable password: open DIR/none: no such file or directory", "", classUsage.exit()},
		{nil, "--permit (", "option --permit: \"(\" is not a regular expression: error parsing regexp: missing closing ): `(`", "", classUsage.exit()},
		{nil, "--arg priv-lvl", "argument priv-lvl has no separator: write name=value, or name*value if it is optional", "", classUsage.exit()},
		{nil, "--fault bogus", "unknown fault \"bogus\"", "--fault help lists them", classUsage.exit()},
		{nil, "--fault tls-expired", "--fault tls-expired needs --tls", "", classUsage.exit()},
		{nil, "--fault tls-1.2", "--fault tls-1.2 needs --tls", "", classUsage.exit()},
		{nil, "--tls --cert DIR/users --fault tls-wrong-name", "--fault tls-wrong-name and --cert exclude each other", "", classUsage.exit()},
		{nil, "--tls --fault wrong-key", "--fault wrong-key and --tls exclude each other", "", classUsage.exit()},
		{nil, "--client-ca DIR/users", "--client-ca, --client-crl, --client-name, --client-address and --ticket-lifetime need --tls", "", classUsage.exit()},
		{nil, "--write-cacert DIR/ca.pem", "--write-cacert needs --tls", "", classUsage.exit()},
		{nil, "--cert DIR/users", "--cert needs --tls", "", classUsage.exit()},
		{nil, "--tls --cert-key DIR/users", "--cert-key needs --cert", "", classUsage.exit()},
		{nil, "--tls --cert DIR/users --write-cacert DIR/ca.pem", "--write-cacert and --cert exclude each other", "", classUsage.exit()},
		{nil, "--tls --write-cacert DIR/none/ca.pem", "generate a certificate: open DIR/none/ca.pem: no such file or directory", "", classUsage.exit()},
		{nil, "--tls --client-ca DIR/none --write-cacert DIR/ca.pem", "generated a certificate: clients trust it with --tls --cacert DIR/ca.pem\ntacacs_plus: read the certificate file: open DIR/none: no such file or directory", "", classUsage.exit()},
		{nil, "--tls --client-ca DIR/none --write-cacert DIR/ca.pem --fault tls-1.2", "generated a certificate: clients trust it with --tls --cacert DIR/ca.pem\ntacacs_plus: read the certificate file: open DIR/none: no such file or directory", "", classUsage.exit()},
		{nil, "--tls --user a:b --listen 127.0.0.1:0 --listen :0", "listening on :0 over TLS needs --client-ca", "RFC 9887 section 3.1 requires client certificates", classUsage.exit()},
		{nil, "--tls --key abc", "no key is used over TLS", "remove --key and --key-file (RFC 9887 section 3.2)", classUsage.exit()},
		{nil, "--tls --key-file 192.0.2.0/24=DIR/users", "no key is used over TLS", "remove --key and --key-file (RFC 9887 section 3.2)", classUsage.exit()},
		{nil, "--key= --user alice:x", "the key is empty", "set a key of at least 16 characters on both sides (RFC 8907 section 10.5.1)", classUsage.exit()},
		{nil, "--key abc --key-file DIR/users", "the key is given more than once", "", classUsage.exit()},
		{nil, "--key-file DIR/users --key-file DIR/bad", "the key is given more than once", "", classUsage.exit()},
		{nil, "--users-file - --enable-password-file -", "the users and the enable password cannot both come from standard input", hintStdin, classUsage.exit()},
		{nil, "--key-file - --users-file -", "the key and the users cannot both come from standard input", hintStdin, classUsage.exit()},
		{nil, "alice", "unexpected argument \"alice\"", "usage: tacacs_plus serve", classUsage.exit()},
		{nil, "--listen 0.0.0.0:0", "listening on 0.0.0.0:0 needs a key and users", needs, classUsage.exit()},
		{nil, "--listen 127.0.0.1:0 --listen [::]:0 --user alice:x", "listening on [::]:0 needs a key and users", needs, classUsage.exit()},
		{secretsInEnv, "--listen :0", "listening on :0 needs a key and users", needs, classUsage.exit()},
		{secretsInEnv, "--user alice:x --listen TAKEN", "listen on TAKEN: address already in use", "", classNetwork.exit()},
	} {
		pairs := []string{"DIR", dir, "TAKEN", taken}
		got := runWith(t, tt.env, "", split("serve "+tt.line, pairs...)...)
		want := "tacacs_plus: " + strings.NewReplacer(pairs...).Replace(tt.message) + "\n"
		if tt.hint != "" {
			want += "tacacs_plus: hint: " + tt.hint + "\n"
		}
		if got != (runResult{tt.code, "", want}) {
			t.Errorf("%s: %+v, want %d %q", tt.line, got, int(tt.code), want)
		}
	}
}

// TestServeDemo: the command line that serve suggests works.
func TestServeDemo(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"users": "# name:password\r\nalice:a:b # c\r\n\r\n", "enable": "secret\n"})
	for _, tt := range []struct {
		options string
		env     map[string]string
	}{
		{"", map[string]string{}},
		{"", map[string]string{"TACACS_PLUS_KEY": testKey}},
		{"--tls", map[string]string{}},
		{"--tls --write-cacert DIR/ca.pem", map[string]string{}},
		{"--users-file DIR/users --enable-password-file DIR/enable", map[string]string{"TACACS_PLUS_PWD": "a:b # c"}},
		{"--user alice:secret --user bob:builder", map[string]string{"TACACS_PLUS_PWD": "secret"}}, // the first user
		{"--key abc", map[string]string{"TACACS_PLUS_KEY": "abc"}},
	} {
		r := serveVerbose(t, tt.env, split(tt.options, "DIR", dir)...)
		try := strings.Fields(r.waitFor(t, regexp.MustCompile(`try: (.*)\n`))[1])
		overTLS := strings.HasPrefix(tt.options, "--tls")
		if made := strings.Contains(r.stderr.String(), "tacacs_plus: generated a certificate"); made != overTLS {
			t.Errorf("%s: the note on a generated certificate is printed: %t", tt.options, made)
		}
		for ; try[0] != "tacacs_plus"; try = try[1:] {
			name, value, _ := strings.Cut(try[0], "=")
			if overTLS && name == "TACACS_PLUS_KEY" {
				t.Error("a key is generated for TLS")
			}
			tt.env[name] = value
		}
		got := runWith(t, tt.env, "", try[1:]...)
		if got.code != classGranted.exit() || got.out != "PASS\n" {
			t.Errorf("%s: %q: %+v", tt.options, try, got)
		}
		must(t, r.stop())
	}
}

// TestServeOwnKeyOnLoopback: a key and a user are generated only for a server on loopback. A server that needs
// neither can listen anywhere.
func TestServeOwnKeyOnLoopback(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]bool{
		"127.0.0.1:0": true, "127.1.2.3:49": true, "[::1]:49": true, "localhost:49": true,
		":49": false, "0.0.0.0:49": false, "[::]:49": false, "192.0.2.1:49": false, "localhost.example:49": false, "localhost": false,
	} {
		srv, opts := &labServer{lab: lab{users: make(map[string]string)}}, &serveOptions{listen: list{"127.0.0.1:4949", addr}}
		inv := &invocation{std: stdio{err: io.Discard, env: func(string) string { return "" }}}
		if err := opts.addDefaults(inv, srv); (err == nil) != want {
			t.Errorf("%s: %v", addr, err)
		}
		srv, opts = &labServer{tls: new(tls.Config), lab: lab{users: map[string]string{"alice": testPassword}}}, &serveOptions{listen: list{addr}} // TLS: no key
		if err := opts.addDefaults(inv, srv); err != nil || len(srv.keys) > 0 || opts.tryLine != "" {
			t.Errorf("%s, without a key or user to generate: %v, try %q", addr, err, opts.tryLine)
		}
	}
}

// TestServeShutdown: replies under way are sent, and idle connections do not delay the end.
func TestServeShutdown(t *testing.T) {
	t.Parallel()
	srv := newLab()
	srv.keys = clientKeys{{}: {{value: "the key of this server, and of no other"}}}
	srv.delay, srv.listener.dump = 200*time.Millisecond, new(dumper)
	log := new(lockedBuffer)
	srv.listener.log.out = newQueuedWriter(t.Context(), log)
	run := startLab(t, srv)
	dial := func() *fakeClient {
		c := dialFakeClient(t, run.addr)
		c.key = srv.keys[netip.Prefix{}][0].value
		return c
	}
	idle := []*fakeClient{dial(), dial(), dial()}
	idle[0].Write([]byte{byte(minorOne)}) // the start of a header
	must(t, idle[1].login(1, flagSingleConnect))
	fakeExchange{2, asciiStart("alice"), &authenReply{status: authenGetPass, flags: authenNoEcho, serverMsg: "Password: "}, 0}.run(t, idle[2], 0)
	c := dial()
	must(t, c.send(header{version: minorOne, typ: typeAuthen, seqNo: 1, sessionID: 0xabcdef}, papStart("alice", testPassword)))
	run.waitFor(t, regexp.MustCompile(`received from .* session_id 00abcdef`))
	if err := run.stop(); err != nil {
		t.Errorf("run returns %v", err)
	}
	if n := len(srv.listener.open); n > 0 { // the end of the process would close them
		t.Errorf("%d connections are still served", n)
	}
	c.receives(t, authenPass)
	for _, c := range append(idle, c) {
		c.checkEnd(t)
	}
	if strings.Contains(log.String(), "packet") {
		t.Errorf("got the log\n%s", log)
	}
	if conn, err := net.Dial("tcp", run.addr); err == nil { // another test may have the port by now
		defer conn.Close()
		late := newFakeClient(conn)
		late.key = srv.keys[netip.Prefix{}][0].value
		if late.login(3, 0) == nil {
			t.Error("the server still listens")
		}
	}
}

// TestServeLoad: thousands of logins, each on its own connection: none is refused or wrong, and no memory is left.
// It does not run in parallel, since it measures the memory of the process.
func TestServeLoad(t *testing.T) {
	const logins, clients, atOnce = 2000, 4, 250
	s := serveWith(t)
	must(t, dialFakeClient(t, s.addr).login(0, 0))
	goroutines, memory := runtime.NumGoroutine(), heapInUse()
	var ended sync.WaitGroup
	for range clients {
		ended.Go(func() {
			for i := range logins / clients {
				conn, err := net.Dial("tcp", s.addr)
				if err == nil {
					err = newFakeClient(conn).login(uint32(i), 0)
					conn.Close()
				}
				if err != nil {
					t.Errorf("connection %d: %v", i, err)
					return
				}
			}
		})
	}
	ended.Wait()
	var conns []*fakeClient
	for range atOnce {
		conn, err := net.Dial("tcp", s.addr)
		must(t, err)
		defer conn.Close()
		conns = append(conns, newFakeClient(conn))
	}
	failures := make(chan error, atOnce)
	for i, c := range conns {
		go func() { failures <- c.login(uint32(i), flagSingleConnect) }()
	}
	for range conns {
		must(t, <-failures)
	}
	for _, c := range conns {
		c.Close()
	}
	conns = nil
	waitUntil(t, "the goroutines have ended", func() bool { return runtime.NumGoroutine() <= goroutines })
	waitUntil(t, "all sessions are logged", func() bool { return strings.Count(s.log.String(), " alice authenticate pap PASS\n") == 1+logins+atOnce })
	s.log.mu.Lock()
	s.log.b = bytes.Buffer{}
	s.log.mu.Unlock()
	if after := heapInUse(); after > memory+logins*400 {
		t.Errorf("%d KiB of memory before, %d KiB after", memory>>10, after>>10)
	}
}

// BenchmarkServeLogin measures PAP logins on one connection, many in flight. Client and server are in this process, and
// both write several packets at once.
func BenchmarkServeLogin(b *testing.B) {
	const inFlight = 64
	c := dialFakeClient(b, startLab(b, newLab()).addr)
	c.SetDeadline(time.Time{})
	start, reply := papStart("alice", testPassword), new(authenReply)
	h := header{version: minorOne, typ: typeAuthen, seqNo: 1, flags: flagSingleConnect}
	var out []byte
	var encoder codec
	sent, done := 0, 0
	b.ReportAllocs()
	b.ResetTimer()
	for done < b.N {
		for out = out[:0]; sent < min(b.N, done+inFlight); sent++ {
			at := len(out)
			h.sessionID = uint32(sent)
			out, _ = encoder.appendPacket(out, &h, start)
			obfuscate(&h, testKey, out[at+headerLen:])
		}
		if _, err := c.Write(out); err != nil {
			b.Fatal(err)
		}
		for more := true; more; more = c.in.Buffered() >= headerLen {
			packet, err := c.in.Peek(headerLen + 6)
			if err != nil {
				b.Fatal(err)
			}
			got := parseHeader(packet)
			obfuscate(&got, testKey, packet[headerLen:])
			if err := encoder.decode(packet[headerLen:], reply); err != nil || reply.status != authenPass || got.sessionID != uint32(done) {
				b.Fatalf("login %d: %+v %+v %v", done, got, reply, err)
			}
			c.in.Discard(len(packet))
			done++
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "logins/s")
}

// TestServeUsersFromStdin: --users-file - reads stdin.
func TestServeUsersFromStdin(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	listens := writeTo(func(p []byte) (int, error) { cancel(); return len(p), nil })
	code := run(ctx, []string{"serve", "--listen", "127.0.0.1:0", "--users-file", "-"}, stdio{in: strings.NewReader("a:b\n"),
		out: new(bytes.Buffer), err: listens, env: func(string) string { return "" }})
	if code != classGranted.exit() {
		t.Errorf("exit code %d", code)
	}
}

// TestServeEndBeforeRead: a signal during a change of the deadline still ends the connection.
func TestServeEndBeforeRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		data := bytes.NewReader(make([]byte, headerLen))
		newLab().serve(ctx, &lateDeadlineConn{stream{Reader: data}, func() { cancel(); synctest.Wait() }})
		if data.Len() < headerLen {
			t.Error("the connection is still read")
		}
	})
}

// TestServeTLSVersion: only TLS 1.3 is accepted (RFC 9887 section 3.2), and the alert names the reason.
func TestServeTLSVersion(t *testing.T) {
	t.Parallel()
	for _, highest := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		s := serveWith(t, "--tls")
		conn, err := tls.Dial("tcp", s.addr, &tls.Config{InsecureSkipVerify: true, MaxVersion: highest})
		if err == nil {
			conn.Close()
		}
		if highest == tls.VersionTLS13 {
			if err != nil {
				t.Errorf("a client of TLS 1.3: %v", err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), "remote error: tls: protocol version not supported") {
			t.Errorf("a client of TLS 1.2 is accepted, or gets no alert: %v", err)
		}
		waitUntil(t, "the refusal is logged", func() bool { return s.log.String() != "" }) // the client gets the alert first
		if got := s.lines(t); !strings.HasPrefix(got, "TLS: tls: ") || strings.Count(got, "\n") != 1 {
			t.Errorf("the log is\n%s", got)
		}
	}
}

// TestServeClearOnTLS: TACACS+ without TLS is distinguished from other protocols.
func TestServeClearOnTLS(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ sent, want string }{
		{string(packed(header{version: minorDefault, typ: typeAuthen, seqNo: 1}, testKey, asciiStart("alice"))), "TLS: TACACS+ packet without TLS\n"},
		{string(packed(header{version: minorOne, typ: typeAuthen, seqNo: 1, flags: flagUnencrypted}, "", papStart("alice", testPassword))), "TLS: TACACS+ packet without TLS\n"},
		{"GET / HTTP/1.1\r\n\r\n", "TLS: tls: first record does not look like a TLS handshake\n"},
	} {
		s := serveWith(t, "--tls")
		c := dialFakeClient(t, s.addr)
		c.Write([]byte(tt.sent))
		io.ReadAll(c)
		equal(t, s.lines(t), tt.want, tt.sent, "the log")
	}
}

// TestServeClientCertificates: a server without --client-ca warns, and the log names a certificate that is refused.
func TestServeClientCertificates(t *testing.T) {
	t.Parallel()
	dir := testFiles(t)
	const options = "--user bob:x --tls --cert DIR/server.pem --cert-key DIR/server.key"
	for extra, warned := range map[string]bool{"": true, " -q": false, " --client-ca DIR/ca.pem": false} {
		r := serveVerbose(t, map[string]string{}, split(options+extra, "DIR", dir)...)
		if stderr := r.stderr.String(); strings.Contains(stderr, "warning: clients need no certificate without --client-ca; RFC 9887 section 3.1 requires") != warned {
			t.Errorf("%q: stderr is %s", extra, stderr)
		}
	}
	s := serveWith(t, split(options+" --client-ca DIR/ca.pem", "DIR", dir)...)
	s.ask(t, "authenticate alice AT --tls --cacert "+dir+"/ca.pem --cert "+dir+"/foreign-client.pem --cert-key "+dir+"/foreign-client.key")
	waitUntil(t, "the refusal is logged", func() bool { return s.log.String() != "" }) // the client gets the alert first
	if got, want := s.lines(t), "TLS: client certificate of CN=foreign-client (127.0.0.1) is refused: x509: certificate signed by unknown authority"; !strings.HasPrefix(got, want) {
		t.Errorf("got the log\n%swant\n%s", got, want)
	}
}

// TestServeSingleConnectFaults: the first session of the connection succeeds, the second does not.
func TestServeSingleConnectFaults(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		fault string
		reads bool // the connection still reads requests
	}{{"single-close", false}, {"single-swallow", true}} {
		s := serveWith(t, "--fault", tt.fault)
		c := dialFakeClient(t, s.addr)
		fakeExchange{1, asciiStart("alice"), &authenReply{status: authenGetPass, flags: authenNoEcho, serverMsg: "Password: "}, 0}.run(t, c, flagSingleConnect)
		h := header{version: minorDefault, typ: typeAuthen, seqNo: 3, flags: flagSingleConnect, sessionID: 1}
		must(t, c.send(h, answerWith(testPassword)))
		if h, err := c.receive(new(authenReply)); err != nil || h.flags != flagSingleConnect {
			t.Errorf("%s: the first session gets the reply %+v, %v", tt.fault, h, err)
		}
		if tt.reads {
			fakeExchange{2, papStart("alice", testPassword), nil, 0}.run(t, c, flagSingleConnect)
			c.Conn.(*net.TCPConn).CloseWrite()
		}
		c.checkEnd(t)
		equal(t, s.lines(t), "alice authenticate ascii PASS\n", tt.fault, "the log")
	}
}

// TestServeFaultOnce: the message of a fault is followed by the reply that it replaced.
func TestServeFaultOnce(t *testing.T) {
	t.Parallel()
	c := dialFakeClient(t, serveWith(t, "--fault", "getdata").addr)
	for _, tn := range []fakeExchange{
		{1, asciiStart("alice"), &authenReply{status: authenGetData, flags: authenNoEcho, serverMsg: "Token: "}, 0},
		{1, answerWith("123456"), &authenReply{status: authenGetPass, flags: authenNoEcho, serverMsg: "Password: "}, 0},
		{1, answerWith(testPassword), &authenReply{status: authenPass}, 0},
	} {
		tn.run(t, c, 0)
	}
}

// TestServeFaultHelp: every fault is listed once, with its help.
func TestServeFaultHelp(t *testing.T) {
	t.Parallel()
	got := runWith(t, nil, "", "serve", "--fault", "help")
	if got.code != classGranted.exit() || got.err != "" || strings.Count(got.out, "\n") != len(faults) {
		t.Fatalf("%+v", got)
	}
	for _, f := range faults {
		if f.help == "" || strings.Count("\n"+got.out, "\n"+f.name+" ") != 1 || !strings.Contains(got.out, " "+f.help+"\n") {
			t.Errorf("%s is missing, or listed twice, or without its help", f.name)
		}
	}
}

// TestServeFaultStays: with a fault that suppresses replies the connection stays open, for every request.
func TestServeFaultStays(t *testing.T) {
	t.Parallel()
	for fault, data := range map[string]int{"silent": 0, "body-stall": headerLen + 3} {
		s := serveWith(t, "--fault", fault)
		for typ, m := range map[packetType]message{typeAuthen: papStart("alice", testPassword),
			typeAuthor: &authorRequest{commonFields: commonFields{user: "alice"}, args: []string{"service=shell", "cmd="}},
			typeAcct:   &acctRequest{flags: acctStop, commonFields: commonFields{user: "alice"}, args: []string{"task_id=1"}}} {
			c := dialFakeClient(t, s.addr)
			lines := strings.Count(s.log.String(), "\n")
			must(t, c.send(header{version: minorOne, typ: typ, seqNo: 1}, m))
			waitUntil(t, "the session is logged", func() bool { return strings.Count(s.log.String(), "\n") > lines })
			c.SetDeadline(time.Now().Add(100 * time.Millisecond))
			if b, err := io.ReadAll(c); len(b) != data || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s, %s: %x, %v", fault, typ, b, err)
			}
		}
	}
}

// TestServeLines checks the log as text, with -v and as JSON.
func TestServeLines(t *testing.T) {
	t.Parallel()
	const esc = "\x1b[2J\u009b\r\nalice"
	author := func(args ...string) *authorRequest {
		return &authorRequest{commonFields: commonFields{privLvl: 15, user: "alice", port: "tty 1"}, args: args}
	}
	sessions := []struct {
		say             message
		text, verb, obj string
	}{
		{papStart("alice", testPassword),
			"alice authenticate pap PASS\n",
			"alice authenticate pap priv_lvl=1 port=tty1 rem_addr=192.0.2.7 action=login service=login protection=obfuscated PASS\n",
			`{"session_id":"00000001","user":"alice","request":"authenticate","authen_type":"pap","priv_lvl":1,"port":"tty1","rem_addr":"192.0.2.7","action":"login","service":"login","protection":"obfuscated","status":"PASS","packets":2,"key":"TACACS_PLUS_KEY"}` + "\n"},
		{papStart(esc, testPassword),
			`\x1b[2J\xc2\x9b\x0d\nalice authenticate pap FAIL: Login incorrect` + "\n",
			`\x1b[2J\xc2\x9b\x0d\nalice authenticate pap priv_lvl=1 port=tty1 rem_addr=192.0.2.7 action=login service=login protection=obfuscated FAIL: Login incorrect` + "\n",
			`{"session_id":"00000001","user":"\\x1b[2J\\xc2\\x9b\\x0d\\nalice","request":"authenticate","authen_type":"pap","priv_lvl":1,"port":"tty1","rem_addr":"192.0.2.7","action":"login","service":"login","protection":"obfuscated","status":"FAIL","server_msg":"Login incorrect","packets":2,"key":"TACACS_PLUS_KEY"}` + "\n"},
		{papStart(`bob" authenticate pap PASS "`, ""),
			`"bob\x22 authenticate pap PASS \x22" authenticate pap FAIL: Login incorrect` + "\n",
			`"bob\x22 authenticate pap PASS \x22" authenticate pap priv_lvl=1 port=tty1 rem_addr=192.0.2.7 action=login service=login protection=obfuscated FAIL: Login incorrect` + "\n",
			`{"session_id":"00000001","user":"bob\" authenticate pap PASS \"","request":"authenticate","authen_type":"pap","priv_lvl":1,"port":"tty1","rem_addr":"192.0.2.7","action":"login","service":"login","protection":"obfuscated","status":"FAIL","server_msg":"Login incorrect","packets":2,"key":"TACACS_PLUS_KEY"}` + "\n"},
		{author("service=shell", "cmd=show", "cmd-arg=<tags> & \x1b", "cmd-arg=<cr>"),
			`alice authorize "show <tags> & \x1b <cr>" ERROR: argument 3 has control characters or is not UTF-8` + "\n",
			`alice authorize service=shell cmd=show "cmd-arg=<tags> & \x1b" cmd-arg=<cr> priv_lvl=15 port="tty 1" rem_addr="" method=not_set service=none protection=obfuscated ERROR: argument 3 has control characters or is not UTF-8` + "\n",
			`{"session_id":"00000001","user":"alice","request":"authorize","authen_type":"not_set","priv_lvl":15,"port":"tty 1","service":"none","method":"not_set","cmd":"show <tags> & \\x1b <cr>","arguments":["service=shell","cmd=show","cmd-arg=<tags> & \\x1b","cmd-arg=<cr>"],"protection":"obfuscated","status":"ERROR","server_msg":"argument 3 has control characters or is not UTF-8","packets":2,"key":"TACACS_PLUS_KEY"}` + "\n"},
		{author("service=shell", "cmd=reload"),
			`alice authorize reload FAIL: command not permitted` + "\n",
			`alice authorize service=shell cmd=reload priv_lvl=15 port="tty 1" rem_addr="" method=not_set service=none protection=obfuscated FAIL: command not permitted` + "\n",
			`{"session_id":"00000001","user":"alice","request":"authorize","authen_type":"not_set","priv_lvl":15,"port":"tty 1","service":"none","method":"not_set","cmd":"reload","arguments":["service=shell","cmd=reload"],"protection":"obfuscated","status":"FAIL","server_msg":"command not permitted","packets":2,"key":"TACACS_PLUS_KEY"}` + "\n"},
		{&acctRequest{flags: acctStop, commonFields: commonFields{user: "alice"}, args: []string{"task_id=7", "elapsed_time=3", "service=shell", "cmd=show", "cmd-arg=\x1b[H a"}},
			`alice account stop task_id=7 elapsed_time=3 service=shell cmd=show "cmd-arg=\x1b[H a" SUCCESS` + "\n",
			`alice account stop task_id=7 elapsed_time=3 service=shell cmd=show "cmd-arg=\x1b[H a" priv_lvl=0 port="" rem_addr="" method=not_set service=none protection=obfuscated SUCCESS` + "\n",
			`{"session_id":"00000001","user":"alice","request":"account","authen_type":"not_set","flag":"stop","priv_lvl":0,"service":"none","method":"not_set","cmd":"show \\x1b[H a","arguments":["task_id=7","elapsed_time=3","service=shell","cmd=show","cmd-arg=\\x1b[H a"],"protection":"obfuscated","status":"SUCCESS","packets":2,"key":"TACACS_PLUS_KEY"}` + "\n"},
	}
	var text, verb, obj string
	for _, s := range sessions {
		text, verb, obj = text+s.text, verb+s.verb, obj+s.obj
	}
	const garbage = "not TACACS+: the first byte is 0x00"
	for options, want := range map[string]string{
		"":          text + garbage + "\n",
		"--verbose": verb + garbage + "\n",
		"--json":    obj + `{"error":"` + garbage + `"}` + "\n",
	} {
		s := serveWith(t, append(split(options), "--deny", "^reload", "--permit", ".")...)
		for _, session := range sessions {
			c := dialFakeClient(t, s.addr)
			fakeExchange{session: 1, send: session.say}.run(t, c, 0)
			if _, err := io.ReadAll(c); err != nil {
				t.Fatal(err)
			}
		}
		c := dialFakeClient(t, s.addr)
		c.Write(make([]byte, headerLen))
		c.checkEnd(t)
		equal(t, s.lines(t), want, options, "the log")
	}
}

// TestServeRecordIsWrittenFirst: SUCCESS is sent only after the record was written to stdout.
func TestServeRecordIsWrittenFirst(t *testing.T) {
	t.Parallel()
	record := &acctRequest{flags: acctStart, commonFields: commonFields{user: "alice"}, args: []string{"task_id=7", "service=shell"}}
	s := serveWith(t)
	c := dialFakeClient(t, s.addr)
	fakeExchange{session: 1, send: record, want: &acctReply{status: acctSuccess}}.run(t, c, 0)
	if got := s.log.String(); !strings.HasSuffix(got, " alice account start task_id=7 service=shell SUCCESS\n") {
		t.Errorf("stdout is %q", got)
	}
}

// TestServeRecordError: a record that cannot be written is answered with ERROR.
func TestServeRecordError(t *testing.T) {
	t.Parallel()
	srv := newLab()
	srv.listener.log.out = newQueuedWriter(context.Background(), fullDisk{})
	conn := &stream{Reader: bytes.NewReader(packed(header{version: minorDefault, typ: typeAcct, seqNo: 1}, testKey, &acctRequest{flags: acctStart, commonFields: commonFields{user: "alice"}}))}
	srv.serve(t.Context(), conn)
	var reply acctReply
	if _, err := (&fakeClient{in: bufio.NewReader(&conn.out), key: testKey}).receive(&reply); err != nil || reply.status != acctError {
		t.Errorf("got the reply %+v, %v", reply, err)
	}
	if err := startLab(t, srv).stop(); err == nil {
		t.Error("run returns no error although a line was lost")
	}
}

// TestServeQuiet: -q prints neither sessions nor notes on connections, and records are answered with ERROR.
func TestServeQuiet(t *testing.T) {
	t.Parallel()
	s := serveWith(t, "-q")
	must(t, dialFakeClient(t, s.addr).login(1, 0))
	record := &acctRequest{flags: acctStart, commonFields: commonFields{user: "alice"}, args: []string{"task_id=7", "service=shell"}}
	fakeExchange{session: 1, send: record, want: &acctReply{status: acctError, serverMsg: "records are not kept (serve -q)"}}.run(t, dialFakeClient(t, s.addr), 0)
	record.flags = 6
	fakeExchange{session: 1, send: record, want: &acctReply{status: acctError, serverMsg: "flags 0x06 are not valid (RFC 8907 section 7.2)"}}.run(t, dialFakeClient(t, s.addr), 0)
	c := dialFakeClient(t, s.addr)
	c.Write(make([]byte, headerLen))
	c.checkEnd(t)
	equal(t, s.lines(t), "", "the log")
}

// TestServeOnFullDisk: while stdout is full, logins succeed and records are answered with ERROR, on one connection.
// Once there is room, the lines of the logins appear.
func TestServeOnFullDisk(t *testing.T) {
	t.Parallel()
	srv, disk := newLab(), new(smallDisk)
	srv.listener.log.out = newQueuedWriter(context.Background(), disk)
	c := dialFakeClient(t, startLab(t, srv).addr)
	take := func(say, want message) {
		t.Helper()
		fakeExchange{session: 1, send: say, want: want}.run(t, c, flagSingleConnect)
	}
	login, pass := papStart("alice", testPassword), &authenReply{status: authenPass}
	record := &acctRequest{flags: acctStart, commonFields: commonFields{user: "alice"}, args: []string{"task_id=7", "service=shell"}}
	unwritten := &acctReply{status: acctError, serverMsg: "the record could not be written"}
	take(login, pass)
	take(record, unwritten)
	take(record, unwritten)
	take(login, pass)
	disk.give(1 << 20)
	take(record, &acctReply{status: acctSuccess})
	const pap, start = "alice authenticate pap PASS\n", "alice account start task_id=7 service=shell SUCCESS\n"
	equal(t, stamps().ReplaceAllString(disk.String(), ""), pap+pap+start, "the log")
}

// TestServeEndsWithoutReader: a server with blocked output ends within five seconds of a signal, even if stderr is
// the same pipe, and every acknowledged record is written.
func TestServeEndsWithoutReader(t *testing.T) {
	t.Parallel()
	var all sync.WaitGroup // subtests run at the same time, since most of them wait
	defer all.Wait()
	for _, name := range []string{"standard output", "both"} {
		all.Go(func() {
			t.Run(name, func(t *testing.T) {
				out, stderr := &blockedWriter{deaf: make(chan struct{}), stuck: make(chan struct{}, 1), end: make(chan struct{})}, new(lockedBuffer)
				t.Cleanup(func() { close(out.end) })
				std := stdio{in: strings.NewReader(""), out: out, err: stderr, env: func(string) string { return testKey }}
				messages := stderr
				if name == "both" {
					std.err, messages = out, &out.lockedBuffer
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				done := make(chan exitCode, 1)
				go func() { done <- run(ctx, split("serve --listen 127.0.0.1:0 --user alice:x"), std) }()
				addr := (&labRun{stderr: messages}).waitFor(t, listening())[1]
				record := &acctRequest{flags: acctStart, commonFields: commonFields{user: "alice"}, args: []string{"task_id=1", "service=shell"}}
				for range 3 {
					fakeExchange{session: 1, send: record, want: &acctReply{status: acctSuccess}}.run(t, dialFakeClient(t, addr), 0)
				}
				close(out.deaf)
				var waiting []*fakeClient
				for range 3 {
					c := dialFakeClient(t, addr)
					fakeExchange{session: 1, send: record}.run(t, c, 0)
					waiting = append(waiting, c)
				}
				<-out.stuck
				cancel()
				select {
				case code := <-done:
					if code != classGranted.exit() {
						t.Errorf("exit code %d", code)
					}
				case <-time.After(30 * time.Second):
					t.Error("the program ends")
				}
				equal(t, strings.Count(out.String(), " alice account start task_id=1 service=shell SUCCESS\n"), 3)
				for _, c := range waiting {
					c.SetDeadline(time.Now().Add(10 * time.Millisecond))
					var reply acctReply
					if _, err := c.receive(&reply); err == nil && reply.status != acctError {
						t.Error("a record was acknowledged but not written")
					}
				}
				const why = "tacacs_plus: session lines lost: the output is blocked\n"
				if name != "both" && !strings.HasSuffix(stderr.String(), why) {
					t.Errorf("stderr is %s", stderr)
				}
			})
		})
	}
}

// TestServeBlockedStderr: packets of -d that stderr does not take in time are dropped and counted. Logins do not wait.
func TestServeBlockedStderr(t *testing.T) {
	t.Parallel()
	stderr := new(stallingWriter)
	s := servingWith(t, new(lockedBuffer), stderr, "serve", "--listen", "127.0.0.1:0", "-d", "--user", "alice:"+testPassword)
	c := dialFakeClient(t, s.addr)
	stderr.stalled.Lock()
	const logins = 300
	large := strings.Repeat("x", 10_000) // its dump has 50 KB
	for i := range uint32(logins) {
		if err := c.login(i, flagSingleConnect); err != nil {
			t.Fatalf("login %d: %v", i, err)
		}
		if i%4 == 0 {
			fakeExchange{i, asciiStart(""), &authenReply{status: authenGetUser, serverMsg: "Username: "}, 0}.run(t, c, flagSingleConnect)
			fakeExchange{i, answerWith(large), &authenReply{status: authenFail, serverMsg: "The user name exceeds 255 bytes"}, 0}.run(t, c, flagSingleConnect)
		}
	}
	stderr.stalled.Unlock()
	note := regexp.MustCompile(`tacacs_plus: (\d+) messages or packets lost: stderr was blocked\n`)
	waitUntil(t, "the loss is reported", func() bool { return note.MatchString(stderr.String()) })
	must(t, c.login(logins, flagSingleConnect))
	s.stop()
	got := stderr.String()
	lost, _ := strconv.Atoi(note.FindStringSubmatch(got)[1])
	shown := strings.Count(got, "received from ") + strings.Count(got, "sent to ")
	if want := 2*(logins+1) + 4*logins/4; shown+lost != want || strings.Count(got, "stderr was blocked") != 1 {
		t.Errorf("%d packets are printed and %d reported as lost, want %d in total", shown, lost, want)
	}
}

// TestServeBlockedStdout: logins do not wait for stdout. A record waits for blockedLimit, and is answered with ERROR; later
// ones are answered at once. When stdout goes on, the lines are there, and those that were lost are counted.
func TestServeBlockedStdout(t *testing.T) {
	t.Parallel()
	stdout := new(stallingWriter)
	s := servingWith(t, stdout, new(lockedBuffer), "serve", "--listen", "127.0.0.1:0", "--user", "alice:"+testPassword)
	c := dialFakeClient(t, s.addr)
	record := &acctRequest{flags: acctStart, commonFields: commonFields{user: "alice"}, args: []string{"task_id=7", "service=shell"}}
	account := func(want *acctReply) {
		t.Helper()
		fakeExchange{session: 1, send: record, want: want}.run(t, c, flagSingleConnect)
	}
	unwritten := &acctReply{status: acctError, serverMsg: "the record could not be written"}
	account(&acctReply{status: acctSuccess})
	stdout.stalled.Lock()
	began := time.Now()
	account(unwritten)
	if elapsed := time.Since(began); elapsed < blockedLimit {
		t.Errorf("a record waits for %v only", elapsed)
	}
	const logins, records = 1000, 50
	for i := range uint32(logins) {
		if err := c.login(i, flagSingleConnect); err != nil {
			t.Fatalf("login %d: %v", i, err)
		}
	}
	began = time.Now()
	for range records {
		account(unwritten)
	}
	if elapsed := time.Since(began); elapsed > records*blockedLimit/2 {
		t.Errorf("%d records wait for %v", records, elapsed)
	}
	many := bytes.Repeat(packed(header{version: minorDefault, typ: typeAuthor, seqNo: 1, flags: flagSingleConnect}, testKey,
		&authorRequest{commonFields: commonFields{user: "alice"}, args: []string{"service=shell", "cmd=" + long(250)}}), 100)
	for range 40 {
		go c.Write(many)
		for range 100 {
			if _, err := c.receive(new(authorResponse)); err != nil {
				t.Fatal(err)
			}
		}
	}
	waitUntil(t, "the failure is reported", func() bool { return strings.Contains(s.stderr.String(), "cannot write session lines") })
	stdout.stalled.Unlock()
	ends := regexp.MustCompile(`session lines are written again \((\d+) lost\)\n`)
	waitUntil(t, "the end is reported", func() bool { return ends.MatchString(s.stderr.String()) })
	account(&acctReply{status: acctSuccess})
	s.stop()
	const start = "alice account start task_id=7 service=shell "
	text := stdout.String()
	lost, _ := strconv.Atoi(ends.FindStringSubmatch(s.stderr.String())[1])
	if n := strings.Count(text, "alice authenticate pap PASS\n"); n != logins {
		t.Errorf("%d logins are logged, want %d", n, logins)
	}
	if n := strings.Count(text, "alice authorize "); n+lost != 4_000 || lost == 0 {
		t.Errorf("%d commands are logged and %d reported as lost", n, lost)
	}
	if n := strings.Count(text, start+"ERROR: the record could not be written\n"); n != 1+records {
		t.Errorf("%d records are logged as not written, want %d", n, 1+records)
	}
	if n := strings.Count(text, start+"SUCCESS\n"); n < 2 || n > 3 { // that which the blocked write has is followed by its ERROR
		t.Errorf("%d records are logged with SUCCESS", n)
	}
}

// TestServeLastLines: connections that do not end in time do not delay the queued lines.
func TestServeLastLines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv, log, all, stuck := newLab(), new(lockedBuffer), new(sync.WaitGroup), make(chan struct{})
		srv.listener.log.out = newQueuedWriter(context.Background(), log)
		srv.listener.log.write(&sessionRecord{commonFields: commonFields{user: "alice"}, status: "PASS"})
		all.Go(func() { <-stuck })
		began := time.Now()
		within(shutdownTimeout, all.Wait)
		err := srv.listener.log.close(t.Context())
		if elapsed := time.Since(began); err != nil || elapsed != shutdownTimeout || !strings.HasSuffix(log.String(), "alice PASS\n") {
			t.Errorf("the end takes %v, %v, and the log is\n%s", elapsed, err, log)
		}
		close(stuck)
		all.Wait()
	})
}

// TestServeDebug: --debug prints packets of both directions, with the password only if --show-secrets is given.
func TestServeDebug(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		options         string
		packets, secret bool
	}{{"", false, false}, {"--debug", true, false}, {"--debug --show-secrets", true, true}} {
		r := serveVerbose(t, map[string]string{"TACACS_PLUS_KEY": testKey}, append(split(tt.options), "--user", "alice:"+testPassword)...)
		must(t, dialFakeClient(t, r.addr).login(7, 0))
		for _, h := range []header{{typ: 9, seqNo: 1}, {typ: typeAuthen, seqNo: 1, flags: flagUnencrypted}, {typ: typeAcct, seqNo: 2}, {typ: typeAuthor, seqNo: 3}} {
			c := dialFakeClient(t, r.addr)
			h.version, h.sessionID = minorDefault, 9
			must(t, c.send(h, papStart("alice", testPassword)))
			io.Copy(io.Discard, c)
		}
		must(t, r.stop())
		stderr := r.stderr.String()
		refused := regexp.MustCompile(`(received from|sent to) \S+ version 0xc\.0 type (\S+) seq_no (\d) .* session_id 00000009 `)
		var packets string
		for _, m := range refused.FindAllStringSubmatch(stderr, -1) {
			packets += m[1][:4] + " " + m[2] + " " + m[3] + "; "
		}
		if want := "rece 0x09 1; sent 0x09 2; rece authentication 1; sent authentication 2; rece accounting 2; rece authorization 3; sent authorization 4; "; packets != choose(tt.packets, want, "") {
			t.Errorf("%s: packets that are refused are shown: %s", tt.options, packets)
		}
		for _, what := range []string{"received from", "sent to"} {
			packet := regexp.MustCompile(what + ` 127\.0\.0\.1:\d+: version 0xc\.1 type authentication .* session_id 00000007 `)
			equal(t, packet.MatchString(stderr), tt.packets, tt.options, "packets", what, "the server")
		}
		equal(t, strings.Contains(stderr, testPassword), tt.secret, tt.options, "the password is shown")
	}
}
