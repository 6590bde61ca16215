package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	testKey      = "a key of the tests, long enough"
	testPassword = "Pa55 w0rd"
)

// patience is the time limit of a test that hangs. It is long enough for an emulated processor.
const patience = 2 * time.Minute

// reactionTime is how long a test waits before it concludes that nothing happens, such as a process ignores a signal.
const reactionTime = 200 * time.Millisecond

// secretsInEnv is an environment with both secrets.
var secretsInEnv = map[string]string{"TACACS_PLUS_KEY": testKey, "TACACS_PLUS_PWD": testPassword}

// pattern returns a function that compiles a regular expression once, when it is first used: the test binary is also the
// program, which starts often and uses none of them.
func pattern(text string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })
}

// A runResult is the exit code, stdout and stderr of a run.
type runResult struct {
	code     exitCode
	out, err string
}

// runWith runs a command line without a terminal.
func runWith(t *testing.T, env map[string]string, stdin string, args ...string) runResult {
	t.Helper()
	return runReading(t, env, strings.NewReader(stdin), args...)
}

// runReading is runWith for an input that is long.
func runReading(t *testing.T, env map[string]string, stdin io.Reader, args ...string) runResult {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var out, err bytes.Buffer
	code := run(ctx, args, stdio{in: stdin, out: &out, err: &err,
		env: func(name string) string { return env[name] }})
	checkHintOptions(t, args, out.String()+err.String())
	return runResult{code, out.String(), err.String()}
}

// split splits a command line at blanks and replaces pairs in each argument. ” is an empty argument.
func split(line string, pairs ...string) []string {
	args := strings.Fields(line)
	for i, arg := range args {
		args[i] = strings.NewReplacer(append(pairs, "''", "")...).Replace(arg)
	}
	return args
}

// check compares stdout and stderr with regular expressions for the whole text.
func (o runResult) check(t *testing.T, code exitCode, out, err string) {
	t.Helper()
	if o.code != code || !regexp.MustCompile(`^(?:`+out+`)$`).MatchString(o.out) || !regexp.MustCompile(`^(?:`+err+`)$`).MatchString(o.err) {
		t.Errorf("got %d\n%s%s\nwant %d\n%s\n%s", int(o.code), o.out, o.err, int(code), out, err)
	}
}

// A lockedBuffer can be written and read at the same time.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// writeFiles writes files that only the user can read, and returns their directory.
func writeFiles(t testing.TB, files map[string]string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, text := range files {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	return dir
}

// contentOf returns the content of a file.
func contentOf(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	must(t, err)
	return b
}

// must ends a test that cannot go on after an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// equal checks a value. of is what it is the value of, if the line of the test does not show that.
func equal[T comparable](t testing.TB, got, want T, of ...any) {
	t.Helper()
	if got == want {
		return
	}
	format := "%sgot  %+v\nwant %+v"
	if text, ok := any(got).(string); ok && !strings.HasSuffix(text, "\n") {
		format = "%sgot  %q\nwant %q"
	}
	t.Errorf(format, fmt.Sprintln(of...), got, want)
}

func long(n int) string { return strings.Repeat("x", n) }

// secretIn returns a part of the key or the password found in an output, as text or hex.
func secretIn(o runResult) string {
	for _, secret := range []string{testKey, testPassword} {
		for _, shown := range []string{secret, secret[:6], fmt.Sprintf("% x", secret[:4]), hex.EncodeToString([]byte(secret))} {
			if strings.Contains(o.out+o.err, shown) {
				return shown
			}
		}
	}
	return ""
}

// waitUntil polls, less often the longer it waits, until holds returns true. It fails the test after patience.
func waitUntil(t testing.TB, what string, holds func() bool) {
	t.Helper()
	end := time.Now().Add(patience)
	for pause := time.Millisecond; !holds(); pause = min(pause*5/4, 20*time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("timed out waiting until %s", what)
		}
		time.Sleep(pause)
	}
}

// await returns the next value of a channel. It ends the test after patience.
func await[T any](t testing.TB, ch <-chan T, what string) (value T) {
	t.Helper()
	select {
	case value = <-ch:
	case <-time.After(patience):
		t.Fatalf("timed out waiting until %s", what)
	}
	return value
}

// subtests run in parallel. The test waits for them.
type subtests struct{ sync.WaitGroup }

// run starts a subtest. One that waits for a timeout starts at once: with t.Parallel it would get its place only after all
// other tests, and they would have nothing left to do while it waits.
func (s *subtests) run(t *testing.T, waits bool, name string, test func(t *testing.T)) {
	t.Helper()
	if waits {
		s.Go(func() { t.Run(name, test) })
		return
	}
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		test(t)
	})
}

func heapInUse() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// decode decodes all of b into m.
func decode(b []byte, m message) error { return new(codec).decode(b, m) }

// unhex decodes hex with blanks.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatalf("hex in the test: %v", err)
	}
	return b
}

// fresh returns an empty message of the same type.
func fresh(m message) message {
	return reflect.New(reflect.TypeOf(m).Elem()).Interface().(message)
}

// encoded returns the body of m. It does not use appendPacket, which has its own test.
func encoded(m message) ([]byte, error) {
	c := codec{}
	c.message(m)
	return c.buf, c.err
}

// A dialFunc connects to a name server.
type dialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

// dialKey is the key of a dialFunc in a context.
type dialKey struct{}

// resolvedBy returns a context in which the resolver uses connections from dial. Unlike resolveWith it is for tests in
// parallel, but only for names that no other test resolves.
func resolvedBy(ctx context.Context, dial dialFunc) context.Context {
	return context.WithValue(ctx, dialKey{}, dial)
}

// dialNameServer is the dial function of the resolver in tests.
func dialNameServer(ctx context.Context, network, addr string) (net.Conn, error) {
	if dial, ok := ctx.Value(dialKey{}).(dialFunc); ok {
		return dial(ctx, network, addr)
	}
	return new(net.Dialer).DialContext(ctx, network, addr)
}

// resolveWith makes the resolver use connections from dial.
func resolveWith(t *testing.T, dial dialFunc) {
	t.Helper()
	before := net.DefaultResolver
	t.Cleanup(func() { net.DefaultResolver = before })
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: dial}
}

// dnsOf returns the dial function of a name server that has these addresses for every name. With ::, it does not reply to
// queries for IPv6.
func dnsOf(addrs ...string) dialFunc {
	return dnsOfName("", addrs...)
}

// dnsOfName is dnsOf for one name, or for every name if it is empty. Other names do not exist.
func dnsOfName(name string, addrs ...string) dialFunc {
	return func(context.Context, string, string) (net.Conn, error) {
		server, client := net.Pipe()
		go func() { // as over TCP: each message follows its length
			defer server.Close()
			var length [2]byte
			for {
				if _, err := io.ReadFull(server, length[:]); err != nil {
					return
				}
				query := make([]byte, binary.BigEndian.Uint16(length[:]))
				if _, err := io.ReadFull(server, query); err != nil {
					return
				}
				end := 12
				for query[end] != 0 {
					end += int(query[end]) + 1
				}
				question := query[12 : end+5]
				if question[len(question)-3] == 28 && slices.Contains(addrs, "::") {
					continue
				}
				var records []byte
				n, code := 0, "\x80"
				known := addrs
				if name != "" && string(query[13:13+len(name)]) != name {
					known, code = nil, "\x83"
				}
				for _, addr := range known {
					a := netip.MustParseAddr(addr)
					if typ := question[len(question)-3]; typ == 1 && a.Is4() || typ == 28 && a.Is6() {
						records = append(records, "\xc0\x0c\x00"+string(typ)+"\x00\x01\x00\x00\x00\x00\x00"+string(rune(a.BitLen()/8))...)
						records = append(records, a.AsSlice()...)
						n++
					}
				}
				message := append(append([]byte{}, query[:2]...), "\x81"+code+"\x00\x01\x00"+string(rune(n))+"\x00\x00\x00\x00"...)
				message = append(append(message, question...), records...)
				server.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(message))), message...))
			}
		}()
		return client, nil
	}
}

// runUntil runs a command line and interrupts it when the channel is closed.
func runUntil(t *testing.T, interrupted <-chan struct{}, line string, pairs ...string) runResult {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	go func() {
		select {
		case <-interrupted:
			cancel()
		case <-ctx.Done():
		}
	}()
	var out, err lockedBuffer
	code := run(ctx, split(line, pairs...), stdio{in: strings.NewReader(""), out: &out, err: &err,
		env: func(name string) string { return secretsInEnv[name] }})
	return runResult{code, out.String(), err.String()}
}

// A testServer is a run of serve or relay on a free loopback port.
type testServer struct {
	addr   string        // of the first listener
	log    *lockedBuffer // stdout: one line for each session
	stderr readableWriter
	cancel func()
	stop   func() exitCode

	hangups chan struct{} // each is a SIGHUP
}

var listening = pattern(`listening (?:for TLS )?on (\S+)\n`)

// serveWith starts serve with the test key, the user alice and options.
func serveWith(t testing.TB, options ...string) *testServer {
	t.Helper()
	return serving(t, new(lockedBuffer), append([]string{"serve", "--listen", "127.0.0.1:0", "--user", "alice:" + testPassword}, options...)...)
}

// serving runs a command that listens. Its stdout is out, which is also log if it is a lockedBuffer.
func serving(t testing.TB, out io.Writer, args ...string) *testServer {
	t.Helper()
	return servingWith(t, out, new(lockedBuffer), args...)
}

// A readableWriter is an output that the test reads.
type readableWriter interface {
	io.Writer
	fmt.Stringer
}

// servingWith is serving with a chosen stderr.
func servingWith(t testing.TB, out io.Writer, stderr readableWriter, args ...string) *testServer {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s := &testServer{stderr: stderr, cancel: cancel, hangups: make(chan struct{})}
	s.log, _ = out.(*lockedBuffer)
	done, ended := make(chan exitCode, 1), make(chan struct{})
	go func() {
		done <- run(ctx, args, stdio{in: strings.NewReader(""), out: out, err: s.stderr, hangups: func() <-chan struct{} { return s.hangups }, env: func(name string) string {
			if name == "TACACS_PLUS_KEY" && !slices.Contains(args, "--unencrypted") {
				return testKey
			}
			return ""
		}})
		close(ended)
	}()
	s.stop = sync.OnceValue(func() exitCode { cancel(); return <-done })
	t.Cleanup(func() { s.stop() })
	waitUntil(t, args[0]+" listens", func() bool {
		if m := listening().FindStringSubmatch(s.stderr.String()); m != nil {
			s.addr = m[1]
			return true
		}
		select {
		case <-ended:
			t.Fatalf("%s did not start: %s", args[0], s.stderr)
		default:
		}
		return false
	})
	return s
}

// ask runs a command against the server. AT stands for its address.
func (s *testServer) ask(t *testing.T, line string) runResult {
	t.Helper()
	return runWith(t, secretsInEnv, "", split(line, "AT", s.addr)...)
}

// lines stops the server and returns its session lines, without time and peer.
func (s *testServer) lines(t *testing.T) string {
	t.Helper()
	if code := s.stop(); code != classGranted.exit() {
		t.Errorf("serve ended with %d, want 0", int(code))
	}
	return stamps().ReplaceAllString(s.log.String(), "")
}

// stamps matches the time and the peer in session lines, which differ from run to run.
var stamps = pattern(`(?m)^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (?:127\.0\.0\.1|\[::1\]):\d+ |"time":"[^"]+","peer":"127\.0\.0\.1:\d+",`)

// A labRun is a running server whose stderr the test reads.
type labRun struct {
	addr   string
	stderr *lockedBuffer // messages and packets
	stop   func() error
}

// newLab returns a server whose lines are discarded.
func newLab() *labServer {
	srv := newLabServer()
	srv.keys, srv.lab.users["alice"] = clientKeys{{}: {{value: testKey}}}, testPassword
	srv.listener.log = &sessionLog{out: newQueuedWriter(context.Background(), io.Discard)}
	return srv
}

// startLab runs srv on a free loopback port.
func startLab(t testing.TB, srv *labServer) *labRun {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &labRun{stderr: new(lockedBuffer)}
	if srv.listener.dump != nil {
		srv.listener.dump.out = r.stderr
	}
	done := make(chan error, 1)
	go func() {
		opts := serveOptions{listen: list{"127.0.0.1:0"}}
		done <- opts.run(ctx, &invocation{std: stdio{err: r.stderr}}, srv)
	}()
	r.stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { r.stop() })
	r.addr = r.waitFor(t, listening())[1]
	return r
}

// serveAloud runs serve for tests of its stderr.
func serveVerbose(t *testing.T, env map[string]string, options ...string) *labRun {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, done := &labRun{stderr: new(lockedBuffer)}, make(chan exitCode, 1)
	env = maps.Clone(env) // the test may change its own
	go func() {
		done <- run(ctx, append(split("serve --listen 127.0.0.1:0"), options...),
			stdio{in: strings.NewReader(""), out: io.Discard, err: r.stderr, env: func(name string) string { return env[name] }})
	}()
	r.stop = sync.OnceValue(func() error {
		cancel()
		if code := <-done; code != classGranted.exit() {
			return fmt.Errorf("serve ended with %d", int(code))
		}
		return nil
	})
	t.Cleanup(func() { r.stop() })
	r.addr = r.waitFor(t, listening())[1]
	return r
}

// waitFor waits until the server prints what, and returns the match.
func (r *labRun) waitFor(t testing.TB, what *regexp.Regexp) (match []string) {
	t.Helper()
	waitUntil(t, "the server prints "+what.String(), func() bool {
		match = what.FindStringSubmatch(r.stderr.String())
		return match != nil
	})
	return match
}

// profileDir creates a profile directory and returns it with the environment that selects it. files are names
// and texts in turn.
func profileDir(t *testing.T, files ...string) (dir string, env map[string]string) {
	t.Helper()
	config := t.TempDir()
	dir = filepath.Join(config, "tacacs_plus")
	must(t, os.Mkdir(dir, 0o700))
	for i := 0; i < len(files); i += 2 {
		must(t, os.WriteFile(filepath.Join(dir, files[i]), []byte(files[i+1]), 0o600))
	}
	return dir, map[string]string{"XDG_CONFIG_HOME": config, "AppData": config}
}

// clientFor returns a client of a list of servers in single-connection mode.
func clientFor(t *testing.T, list string) *client {
	t.Helper()
	servers, err := parseServers(list, 49, false)
	must(t, err)
	return &client{servers: servers, keys: []key{{source: "test", value: testKey}}, timeout: patience, singleConnect: true}
}

// clientOf returns a client of one server.
func clientOf(t *testing.T, l net.Listener) *client {
	t.Helper()
	c := clientFor(t, l.Addr().String())
	c.singleConnect = false
	return c
}

// A testCA signs certificates and writes them to files for --cacert, --cert and --crl.
type testCA struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newTestCA(t *testing.T, dir, name string) *testCA {
	t.Helper()
	ca := &testCA{dir: dir, key: newKey(t)}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(10000 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &ca.key.PublicKey, ca.key)
	must(t, err)
	ca.cert, err = x509.ParseCertificate(der)
	must(t, err)
	ca.write(t, name+".pem", "CERTIFICATE", der)
	return ca
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	return key
}

func (ca *testCA) write(t *testing.T, file, what string, der []byte) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(ca.dir, file), pem.EncodeToMemory(&pem.Block{Type: what, Bytes: der}), 0o600))
}

// issue writes NAME.pem and NAME.key for 127.0.0.1. change can modify the template.
func (ca *testCA) issue(t *testing.T, name string, serial int64, change func(*x509.Certificate)) {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(50 * time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, &key.PublicKey, ca.key)
	must(t, err)
	ca.write(t, name+".pem", "CERTIFICATE", der)
	der, err = x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	ca.write(t, name+".key", "PRIVATE KEY", der)
}

// intermediate returns an authority signed by ca.
func (ca *testCA) intermediate(t *testing.T, name string, serial int64) *testCA {
	t.Helper()
	sub := &testCA{dir: ca.dir, key: newKey(t)}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotBefore: ca.cert.NotBefore, NotAfter: ca.cert.NotAfter,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, &sub.key.PublicKey, ca.key)
	must(t, err)
	sub.cert, err = x509.ParseCertificate(der)
	must(t, err)
	return sub
}

// revoke writes a list that revokes one serial number.
func (ca *testCA) revoke(t *testing.T, file string, serial int64, next time.Time) {
	t.Helper()
	ca.revokeFrom(t, file, serial, time.Now().Add(-2*time.Hour), next)
}

func (ca *testCA) revokeFrom(t *testing.T, file string, serial int64, from, next time.Time) {
	t.Helper()
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1),
		ThisUpdate: from, NextUpdate: next,
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: big.NewInt(serial), RevocationTime: time.Now().Add(-time.Hour)}}}, ca.cert, ca.key)
	must(t, err)
	ca.write(t, file, "X509 CRL", der)
}

// testFiles writes the certificates, keys and lists of the TLS tests, and returns their directory.
func testFiles(t *testing.T) string {
	t.Helper()
	dir := writeFiles(t, map[string]string{"text": "this is not PEM\n", "garbage.pem": "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"})
	ca, other := newTestCA(t, dir, "ca"), newTestCA(t, dir, "other-ca")
	ca.issue(t, "server", 10, nil)
	ca.issue(t, "client", 11, nil)
	ca.issue(t, "expired-client", 12, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	other.issue(t, "foreign-client", 13, nil)
	ca.issue(t, "wildcard", 14, func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = []string{"*.example.net"}, nil })
	ca.issue(t, "common-name", 15, func(c *x509.Certificate) { c.Subject.CommonName, c.IPAddresses = "127.0.0.1", nil })
	evil := newTestCA(t, dir, "evil\x1b[2J\u009b\u202e")
	evil.issue(t, "evil", 20, nil)
	ca.revoke(t, "none.crl", 99, time.Now().Add(time.Hour))
	ca.revoke(t, "server.crl", 10, time.Now().Add(time.Hour))
	ca.revoke(t, "old.crl", 99, time.Now().Add(-time.Hour))
	other.revoke(t, "other.crl", 99, time.Now().Add(time.Hour))
	forged := &testCA{dir, &x509.Certificate{Subject: ca.cert.Subject, RawSubject: ca.cert.RawSubject, SubjectKeyId: []byte{1}, KeyUsage: x509.KeyUsageCRLSign}, other.key}
	forged.revoke(t, "forged.crl", 99, time.Now().Add(time.Hour))
	ca.write(t, "encrypted.key", "ENCRYPTED PRIVATE KEY", []byte{1, 2, 3})
	return dir
}

// secureServer returns a TLS listener and the file for --cacert.
func secureServer(t *testing.T) (l net.Listener, file string) {
	t.Helper()
	pair, ca, err := selfSigned(nil)
	must(t, err)
	dir := writeFiles(t, map[string]string{"ca.pem": string(ca)})
	return tls.NewListener(listen(t), &tls.Config{Certificates: pair}), filepath.Join(dir, "ca.pem")
}

// offeredTicket returns the session ticket in the ClientHello at the start of a stream, or "" if there is
// none. RFC 8446 sections 4.1.2 and 4.2.11.
func offeredTicket(in *bufio.Reader) string {
	head, err := in.Peek(5)
	if err != nil {
		return ""
	}
	hello, err := in.Peek(5 + int(head[3])<<8 + int(head[4]))
	if err != nil {
		return ""
	}
	b := hello[5+4+2+32:]
	skip := func(lengthBytes int) []byte { // a vector
		n := 0
		for _, o := range b[:lengthBytes] {
			n = n<<8 + int(o)
		}
		v := b[lengthBytes : lengthBytes+n]
		b = b[lengthBytes+n:]
		return v
	}
	skip(1) // session id
	skip(2) // cipher suites
	skip(1) // compression
	for b = skip(2); len(b) > 0; {
		typ := int(b[0])<<8 + int(b[1])
		b = b[2:]
		if v := skip(2); typ == 41 { // pre_shared_key
			b = v[2:]
			return string(skip(2))
		}
	}
	return ""
}
