package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestTLS checks the successes and failures of TLS: exit code, first line of the error, and text that must be
// in the output.
func TestTLS(t *testing.T) {
	t.Parallel()
	dir := testFiles(t)
	// The outer part of a PKCS #12 file, as openssl pkcs12 -export writes it.
	pkcs12 := unhex(t, "30 1a 02 01 03 30 11 06 09 2a 86 48 86 f7 0d 01 07 01 a0 04 04 02 30 00 30 02 05 00")
	for name, b := range map[string][]byte{"client.pkcs12": pkcs12, "text.P12": []byte("not DER"), "cut.pem": []byte("-----BEGIN CERTIFICATE-----\nMIIB"), "list.der": unhex(t, "30 05 02 01 02 30 00")} {
		must(t, os.WriteFile(filepath.Join(dir, name), b, 0o600))
	}
	must(t, os.Chmod(filepath.Join(dir, "other-ca.pem"), 0o644))
	const server, mutual = "--tls --cert DIR/server.pem --cert-key DIR/server.key", "--tls --cert DIR/server.pem --cert-key DIR/server.key --client-ca DIR/ca.pem"
	const login = "authenticate alice AT --tls --cacert DIR/ca.pem"
	for _, tt := range []struct {
		name, serve, line string
		code              exitCode
		err               string // a regular expression for the first line
		also              string // text that must be in the output
	}{
		{"login", server, login, 0, ``, "PASS"},
		{"login by pap", server, login + " -t pap", 0, ``, "PASS"},
		{"authorize", server, "authorize alice AT --tls --cacert DIR/ca.pem", 0, ``, "PASS_ADD\n  priv-lvl=15"},
		{"account", server, "account alice AT --tls --cacert DIR/ca.pem", 0, ``, "SUCCESS"},
		{"facts", server, login + " -v", 0, ``, "tls: TLS 1.3 TLS_"},
		{"facts in JSON", server, login + " --json", 0, ``, `"tls":{"version":"TLS 1.3",`},
		{"days left", server, login + " --json", 0, ``, `"days_left":2,`},
		{"mutual", mutual, login + " --cert DIR/client.pem --cert-key DIR/client.key -v", 0, ``, "tls client certificate: sent"},
		{"wildcard", "--tls --cert DIR/wildcard.pem --cert-key DIR/wildcard.key", login + " --servername tac.example.net", 0, ``, "PASS"},
		{"wildcard, two labels", "--tls --cert DIR/wildcard.pem --cert-key DIR/wildcard.key", login + " --servername a.b.example.net", 6, `TLS with .*: its certificate is not for a.b.example.net but for \*.example.net`, "--servername"},
		{"common name", "--tls --cert DIR/common-name.pem --cert-key DIR/common-name.key", login, 6, `TLS with .*: its certificate is not for 127.0.0.1 but for no name at all \(a common name does not count\)`, "hint: give the server a certificate with subjectAltName IP:127.0.0.1"},
		{"common name, host name", "--tls --cert DIR/common-name.pem --cert-key DIR/common-name.key", login + " --servername tac1", 6, `TLS with .*: its certificate is not for tac1 but for no name at all \(a common name does not count\)`, "hint: give the server a certificate with subjectAltName DNS:tac1"},
		{"unknown authority", server, "authenticate alice AT --tls --cacert DIR/other-ca.pem", 6, `TLS with .*: its certificate is signed by an unknown authority: CN=ca`, "--cacert FILE"},
		{"insecure", server, "authenticate alice AT --tls --insecure -q", 0, `warning: the server's certificate is not verified.*`, ""},
		{"insecure in JSON", server, "authenticate alice AT --tls --insecure --json", 0, `warning: .*`, `"verified":false`},
		{"no such list", server, login + " --crl DIR/nothing.crl", 2, `read the revocation list: .*`, ""},
		{"no list of the issuer", server, login + " --crl DIR/other.crl", 0, `warning: no revocation list of CN=ca: cannot tell whether CN=server was revoked`, "PASS"},
		{"not revoked", server, login + " --crl DIR/none.crl", 0, ``, "PASS"},
		{"bidi and terminal control in a name", "--tls --cert DIR/evil.pem --cert-key DIR/evil.key", "authenticate alice AT --tls --cacert DIR/other-ca.pem --json", 6, `.*unknown authority: CN=evil\\x1b.*`, `evil\\x1b[2J`},
		{"revoked", server, login + " --crl DIR/server.crl", 6, `TLS with .*: .*the certificate of CN=server was revoked on .*`, ""},
		{"list out of date", server, login + " --crl DIR/old.crl -q", 0, `warning: the revocation list of CN=ca is out of date: .*`, ""},
		{"forged list", server, login + " --crl DIR/forged.crl", 0, `warning: the revocation list of CN=ca is not signed by it: .*`, "cannot tell whether CN=server was revoked"},
		{"broken list", server, login + " --crl DIR/garbage.pem", 2, `(read )?the revocation list .*`, ""},
		{"certificate required", mutual, login, 6, `TLS with .*: it ended the session: tls: certificate required`, "--cert and --cert-key"},
		{"certificate required, in JSON", mutual, login + " --json", 6, `TLS with .*`, `"client_certificate":"asked, none to send"`},
		{"foreign client", mutual, login + " --cert DIR/foreign-client.pem --cert-key DIR/foreign-client.key", 6, `TLS with .*: it ended the session: tls: unknown certificate authority`, "--cert"},
		{"expired client", mutual, login + " --cert DIR/expired-client.pem --cert-key DIR/expired-client.key", 6, `TLS with .*: it ended the session: tls: (expired|bad) certificate`, "--cert"},
		{"closed after the handshake", server + " --fault close", login, 6, `TLS with .*: it closed the connection before it answered \(client certificate: not asked\)`, "hint: see the server's log: it did not ask for a client certificate"},
		{"closed after the handshake, asked", mutual + " --fault close", login, 6, `TLS with .*: it (closed the connection before it answered|ended the session).*`, "hint: give --cert and --cert-key"},
		{"cleartext port", "", login, 6, `TLS with .*: it closed the connection in the handshake`, "a port without TLS"},
		{"TLS port without --tls", server, "authenticate alice AT", 4, `.* closed the connection before it answered`, "or a TLS port"},
		{"foreign key", server, login + " --cert DIR/client.pem --cert-key DIR/server.key", 2, `the private key in .*server.key does not match the certificate in .*client.pem`, ""},
		{"encrypted key", server, login + " --cert DIR/client.pem --cert-key DIR/encrypted.key", 2, `the private key in .* is encrypted`, "openssl pkey"},
		{"certificate not PEM", server, login + " --cert DIR/text", 2, `the certificate file .*text is not PEM`, "hint: give a file in PEM, which has a line -----BEGIN"},
		{"certificate cut off", server, login + " --cert DIR/cut.pem", 2, `the certificate file .*cut.pem is not PEM`, "hint: copy it again"},
		{"certificate without a key", server, login + " --cert DIR/other-ca.pem", 2, `the private key file .*other-ca.pem contains no private key`, ""},
		{"certificate in DER", server, login + " --cert DIR/list.der", 2, `the certificate file .*list.der is not PEM`, "openssl x509"},
		{"certificate in PKCS 12", server, login + " --cert DIR/client.pkcs12", 2, `the certificate file .*client.pkcs12 is PKCS #12, not PEM`, "hint: convert it with openssl pkcs12 -in "},
		{"authorities in PKCS 12", server, "authenticate alice AT --tls --cacert DIR/text.P12", 2, `the certificate file .*text.P12 is PKCS #12, not PEM`, "openssl pkcs12"},
		{"key in DER", server, login + " --cert DIR/client.pem --cert-key DIR/list.der", 2, `the private key file .*list.der is not PEM`, "openssl pkey -inform DER"},
		{"key not PEM", server, login + " --cert DIR/client.pem --cert-key DIR/text", 2, `the private key file .*text is not PEM`, ""},
		{"authorities not PEM", server, "authenticate alice AT --tls --cacert DIR/text", 2, `the certificate file .*text is not PEM`, ""},
		{"no such file", server, "authenticate alice AT --tls --cacert DIR/nothing", 2, `read the certificate file: .*`, ""},
		{"key given", server, login + " -k 12345678901234567890", 2, `no key is used over TLS`, ""},
		{"option without --tls", server, "authenticate alice AT --cacert DIR/ca.pem", 2, `--cacert needs --tls`, ""},
		{"tls and unencrypted", server, login + " --unencrypted", 2, `--tls and --unencrypted cannot be used together`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := serveWith(t, split(tt.serve, "DIR", dir)...)
			got := runWith(t, secretsInEnv, "", split(tt.line, "AT", s.addr, "DIR", dir)...)
			first, _, _ := strings.Cut(got.err, "\n")
			runResult{code: got.code, err: strings.TrimPrefix(first, "tacacs_plus: ")}.check(t, tt.code, ``, tt.err)
			if !strings.Contains(got.out+got.err, tt.also) {
				t.Errorf("%q is not in\n%s%s", tt.also, got.out, got.err)
			}
		})
	}
}

// TestTLSFailover: after a failed handshake the client tries the next server, over TLS only (RFC 9887 section
// 5.1.1).
func TestTLSFailover(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.pem")
	good := serveWith(t, "--tls", "--write-cacert", ca)
	bad := serveWith(t, "--tls")
	cleartext := serveWith(t)
	for _, tt := range []struct {
		servers string
		code    exitCode
		err     string // a regular expression for stderr
	}{
		{"BAD,GOOD", 0, `tacacs_plus: warning: TLS with \S+: its certificate is signed by an unknown authority: .*; trying GOOD\n`},
		{"BAD,CLEAR,GOOD", 0, `(?s)tacacs_plus: warning: TLS with .*; trying CLEAR\ntacacs_plus: warning: TLS with .*; trying GOOD\n`},
		{"BAD,CLEAR", 6, `(?s)tacacs_plus: warning: TLS with .*; trying CLEAR\ntacacs_plus: TLS with .*`},
		{"CLEAR,BAD", 6, `(?s)tacacs_plus: warning: TLS with .*; trying BAD\ntacacs_plus: TLS with .*`},
	} {
		for _, typ := range []string{"ascii", "pap"} {
			pairs := []string{"BAD", bad.addr, "GOOD", good.addr, "CLEAR", cleartext.addr, "CA", ca}
			got := runWith(t, secretsInEnv, "", split("authenticate alice "+tt.servers+" --tls --cacert CA -t "+typ, pairs...)...)
			out := map[exitCode]string{0: `PASS\n`}[tt.code]
			got.check(t, tt.code, out, strings.NewReplacer(pairs...).Replace(tt.err))
		}
	}
	cleartext.stop()
	if log := cleartext.log.String(); strings.Contains(log, "alice") || !strings.Contains(log, "not TACACS+") {
		t.Errorf("the cleartext server received\n%s", log)
	}
}

// TestTLSNoFallback: no command goes from a server over TLS to one in the clear, also with --retries. The hint names those
// that were not asked (RFC 9887 section 5.1.1).
func TestTLSNoFallback(t *testing.T) {
	t.Parallel()
	var all subtests
	defer all.Wait()
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.pem")
	authority := newTestCA(t, dir, "ca")
	authority.issue(t, "server", 10, nil)
	bad, clear := serveWith(t, "--tls"), serveWith(t)
	good := serveWith(t, "--tls", "--cert", filepath.Join(dir, "server.pem"), "--cert-key", filepath.Join(dir, "server.key"))
	names := strings.NewReplacer("BAD", bad.addr, "GOOD", good.addr, "CLEAR", clear.addr, "DOWN", refusedAddr(t),
		"SILENT", serveWith(t, "--tls", "--cert", filepath.Join(dir, "server.pem"), "--cert-key", filepath.Join(dir, "server.key"), "--fault", "silent").addr)
	const skipped = `hint: (?:.*; )?CLEAR was not asked: nothing falls back from TLS \(RFC 9887 section 5\.1\.1\)\n`
	for _, tt := range []struct {
		servers string
		code    exitCode
		err     string // a regular expression for the end of stderr
	}{
		{"tls://GOOD,tcp://CLEAR", 0, ``},
		{"tcp://CLEAR,tls://BAD", 0, ``},
		{"TCP://DOWN,TLS://GOOD", 0, `trying GOOD\n`},
		{"tls://BAD,tcp://CLEAR,tls://GOOD", 0, `trying GOOD\n`},
		{"tls://BAD,tcp://CLEAR", 6, skipped},
		{"tls://DOWN,CLEAR", 4, skipped},
		{"tls://BAD,tcp://CLEAR --retries 2", 6, skipped},
		{"tcp://DOWN,tls://BAD,tcp://CLEAR --retries 1", 6, skipped},
		{"tls://SILENT,tcp://CLEAR --timeout 3", 4, skipped}, // long enough for a handshake under load
	} {
		for _, line := range []string{
			"authenticate alice SERVERS -t pap", "authorize alice SERVERS", "account alice SERVERS --task-id 1",
			"batch SERVERS", "bench alice SERVERS -t pap -n 1", "authorize alice SERVERS --cmd-file -",
		} {
			all.run(t, strings.Contains(tt.servers, "SILENT"), strings.Replace(line, "SERVERS", tt.servers, 1), func(t *testing.T) {
				input := map[string]string{"batch": `{"command":"authenticate","user":"alice","authen_type":"pap"}` + "\n", "authorize": "show version\n"}[strings.Fields(line)[0]]
				args := strings.Replace(line, "SERVERS", names.Replace(tt.servers), 1)
				got := runWith(t, secretsInEnv, input, append(strings.Fields(args), "--cacert", ca)...)
				if got.code != tt.code {
					t.Errorf("%d\n%s%s", got.code, got.out, got.err)
				}
				end := regexp.MustCompile(names.Replace(tt.err) + "$")
				if several := strings.Contains(line, "bat") || strings.Contains(line, "bench") || strings.Contains(line, "--cmd-file"); !several && !end.MatchString(got.err) {
					t.Errorf("stderr is\n%s", got.err)
				}
			})
		}
	}
}

// TestTLSNoFallbackAfterDeath: the memory of dead servers does not put a server in the clear after one over TLS.
func TestTLSNoFallbackAfterDeath(t *testing.T) {
	clear, secure := named("A"), named("B")
	secure.tls = true
	c := &client{servers: []server{clear, secure}, retries: 1}
	c.dead = newDeadServers(t.Context(), c.servers, time.Hour, nil)
	c.dead.connectFailed(clear, errDown)
	j := new(job)
	c.begin(j, time.Now())
	if *j.server() != secure {
		t.Fatalf("the first is %s", j.server())
	}
	for turn := range 2 {
		again := c.hasNextServer(j)
		next, ok := c.nextTurn(j)
		if again || ok != (turn == 0) || ok && j.order[next%2] != secure {
			t.Errorf("turn %d: %d, %t, another server %t", turn, next, ok, again)
		}
		j.turn = next
	}
}

// TestTLSNoFallbackAfterLostConn: a job whose connection over TLS was lost keeps its servers, also when one in the clear
// that stood before lives again.
func TestTLSNoFallbackAfterLostConn(t *testing.T) {
	clear, secure := named("A"), named("B")
	secure.tls = true
	c := &client{servers: []server{clear, secure}, singleConnect: true, timeout: time.Minute}
	p := newPool(c, 1)
	p.now = time.Now()
	p.mux = newMux(&serverConn{client: c, server: secure, answered: 1, established: true, idleSince: p.now}, nil, nil, discardWarning)
	p.mux.unanswered = maxUnanswered // no room: the job stays in the queue
	j := &job{request: newLogin(commonFields{user: "alice", typ: authenPAP}, testPassword), order: []server{secure, clear}, err: &attemptError{failf(classNetwork, "lost"), outcomeConnLost}}
	p.queue.push(&j.place, j)
	if assigned, _ := p.assign(t.Context(), j); assigned || *j.server() != secure {
		t.Errorf("assigned %t, to %s", assigned, j.server())
	}
}

// TestRelayNoFallback: the relay does not go from a server over TLS to one in the clear either.
func TestRelayNoFallback(t *testing.T) {
	t.Parallel()
	bad, clear := serveWith(t, "--tls"), serveWith(t)
	for _, mode := range relayModes {
		r := relayTo(t, "tls://"+bad.addr+",tcp://"+clear.addr, append(split(mode), "--key", testKey)...)
		for _, line := range []string{"authenticate alice AT -t pap", "authenticate alice AT", "authorize alice AT", "account alice AT --task-id 1"} {
			if got := r.asDevice(t, line); got.code != classServer.exit() {
				t.Errorf("%s %s: %+v", mode, line, got)
			}
		}
		r.stop()
		if log := r.stderr.String(); !strings.Contains(log, "no request goes to "+clear.addr+"\n") || !strings.Contains(r.log.String(), clear.addr+" was not asked") {
			t.Errorf("%s: stderr is\n%s%s", mode, log, r.log)
		}
	}
	clear.stop()
	if log := clear.log.String(); log != "" {
		t.Errorf("the server in the clear was asked:\n%s", log)
	}
}

// TestAllTransports: for servers with and without TLS --all tells whether they reply alike.
func TestAllTransports(t *testing.T) {
	t.Parallel()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	secure := serveWith(t, "--tls", "--write-cacert", ca, "--user", "bob:"+testPassword, "--arg", "priv-lvl=1").addr
	clear, down := serveWith(t).addr, refusedAddr(t)
	for _, tt := range []struct {
		line string
		code exitCode
		out  string // its end
	}{
		{"authenticate alice tcp://CLEAR,tls://SECURE -t pap", 0, "CLEAR: PASS\nSECURE: PASS\nsame reply with TLS and without\n"},
		{"authenticate bob tls://SECURE,tcp://CLEAR -t pap", 1, "status differs: tls SECURE PASS; tcp CLEAR FAIL\nserver_msg differs: tls SECURE none; tcp CLEAR Login incorrect\n"},
		{"authorize alice tcp://CLEAR,tls://SECURE", 0, "arguments differs: tcp CLEAR priv-lvl=15; tls SECURE priv-lvl=1\n"},
		{"authenticate alice tls://DOWN,tcp://DOWN2 -t pap", 4, "not compared: a server did not reply\n"},
		{"authenticate alice tls://DOWN,tcp://DOWN2 -t pap --json", 4, `{"command":"authenticate","user":"alice"}` + "\n"},
		{"authenticate alice tls://SECURE,tcp://DOWN -t pap", 4, "not compared: a server did not reply\nstatus differs: tls SECURE PASS; tcp DOWN error (network)\n"},
		{"authenticate alice tls://SECURE,tcp://CLEAR -t pap --json", 0, `{"command":"authenticate","user":"alice","same":true}` + "\n"},
		{"authorize alice tls://SECURE,tcp://CLEAR --json", 0, `{"command":"authorize","user":"alice","same":false,"differences":[{"field":"arguments","values":[` +
			`{"server":"SECURE","transport":"tls","value":"priv-lvl=1"},{"server":"CLEAR","transport":"tcp","value":"priv-lvl=15"}]}]}` + "\n"},
		{"authenticate alice tls://DOWN,tcp://CLEAR -t pap", 4, "not compared: a server did not reply\nstatus differs: tls DOWN error (network); tcp CLEAR PASS\n"},
		{"authenticate alice tls://SECURE,tcp://CLEAR -t pap -q", 0, ""},
		{"authenticate alice tls://SECURE,tls://SECURE -t pap", 0, "SECURE: PASS\n"},
	} {
		names := strings.NewReplacer("SECURE", secure, "CLEAR", clear, "DOWN2", refusedAddr(t), "DOWN", down)
		got := runWith(t, secretsInEnv, "", append(strings.Fields(names.Replace(tt.line)), "--all", "--cacert", ca)...)
		if want := names.Replace(tt.out); got.code != tt.code || !strings.HasSuffix(got.out, want) || want == "" && got.out != "" {
			t.Errorf("%s: %d\n%s%swant %s", tt.line, got.code, got.out, got.err, want)
		}
		if strings.Contains(got.err, "was not asked") {
			t.Errorf("%s: the hint is wrong:\n%s", tt.line, got.err)
		}
		if once := strings.Count(got.err, "warning: the list has servers with and without TLS"); once > 1 || once == 0 && strings.Contains(tt.line, "tcp") && !strings.Contains(tt.line, "-q") {
			t.Errorf("%s: stderr is\n%s", tt.line, got.err)
		}
	}
}

// TestTLSPin: --pin trusts exactly the certificates of these sums, in place of chain and name, on resumption too. One that
// has expired is refused.
func TestTLSPin(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := newTestCA(t, dir, "ca")
	ca.issue(t, "server", 10, func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = []string{"other.example"}, nil })
	ca.issue(t, "old", 11, func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour)
	})
	ca.issue(t, "client", 12, nil)
	ca.revoke(t, "server.crl", 10, time.Now().Add(time.Hour))
	sum := func(name string) string {
		pair, err := tls.LoadX509KeyPair(filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key"))
		must(t, err)
		return fmt.Sprintf("%x", sha256.Sum256(pair.Certificate[0]))
	}
	serve := func(name string) string {
		return serveWith(t, "--tls", "--cert", filepath.Join(dir, name+".pem"), "--cert-key", filepath.Join(dir, name+".key")).addr
	}
	const said = "tacacs_plus: warning: the server's certificate is verified by --pin alone, not by its chain and its name\n"
	colons := strings.ToUpper(regexp.MustCompile("..").ReplaceAllString(sum("server"), "$0:")[:95])
	names := []string{"SERVER", serve("server"), "OLD", serve("old"), "SUM1", sum("server"), "SUM2", sum("old"), "SUM3", sum("client"), "COLONS", colons, "DIR", dir}
	for _, tt := range []struct {
		line     string
		code     exitCode
		out, err string // parts
	}{
		{"authenticate alice SERVER --tls --pin SUM1", 0, "PASS", said},
		{"authenticate alice SERVER --tls --pin SUM1 -q", 0, "", said},
		{"authenticate alice tls://SERVER --pin COLONS --no-warn pinned", 0, "PASS", ""},
		{"authenticate alice SERVER --tls --pin SUM3 --pin SUM1", 0, "PASS", said},
		{"authenticate alice SERVER --tls --pin SUM3", 6, "", "its certificate has another SHA-256: SUM1\n"},
		{"authenticate alice SERVER --tls --cacert DIR/ca.pem --pin SUM3", 6, "", "its certificate has another SHA-256: SUM1\n"},
		{"authenticate alice OLD --tls --pin SUM2", 6, "", "expired on"},
		{"authenticate alice SERVER --tls --pin SUM1 --crl DIR/server.crl", 6, "", "was revoked on"},
		{"authenticate alice SERVER --tls --pin SUM1 --insecure", 2, "", "--pin and --insecure cannot be used together"},
		{"authenticate alice SERVER --pin SUM1", 2, "", "--pin needs --tls"},
		{"authenticate alice SERVER --tls --pin 12", 2, "", "must be 64 hexadecimal digits"},
		{"authenticate alice SERVER --tls --pin SUM1SUM1", 2, "", "must be 64 hexadecimal digits"},
		{"authenticate alice SERVER --tls --pin SUM1 --json --cert DIR/client.pem --cert-key DIR/client.key", 0, `"verified":true,"pinned":true,`, said},
		{"authenticate alice SERVER --tls --pin SUM1 --json --cert DIR/client.pem --cert-key DIR/client.key", 0, `"sha256":"SUM1","client_sha256":"SUM3",`, ""},
		{"authenticate alice SERVER --tls --pin SUM1 -v --cert DIR/client.pem --cert-key DIR/client.key", 0, "tls client sha256: SUM3\n", ""},
		{"authenticate alice SERVER --tls --pin SUM1 -v", 0, "tls sha256: SUM1\n", ""},
		{"check alice SERVER --tls --pin SUM1", 0, "OK", said},
		{"bench alice SERVER --tls --pin SUM1 -n 4 --no-single-connect", 0, "PASS 4", said}, // resumed
	} {
		r := strings.NewReplacer(names...)
		got := runWith(t, map[string]string{"TACACS_PLUS_PWD": testPassword}, "", append(strings.Fields(r.Replace(tt.line)), "-t", "pap")...)
		if got.code != tt.code || !strings.Contains(got.out, r.Replace(tt.out)) || !strings.Contains(got.err, r.Replace(tt.err)) {
			t.Errorf("%s: %d\n%s%s", tt.line, got.code, got.out, got.err)
		}
		if strings.Contains(tt.line, "--no-warn") && got.err != "" {
			t.Errorf("%s: stderr is\n%s", tt.line, got.err)
		}
	}
}

// askPAP logs alice in.
func askPAP(t *testing.T, c *client) (*result, error) {
	t.Helper()
	j := &job{request: newLogin(commonFields{user: "alice", typ: authenPAP, service: authenServiceLogin}, testPassword)}
	(&requester{client: c}).do(t.Context(), j)
	return &j.res, j.err
}

// TestTLSPinResumed: the sum is checked again when a session is resumed.
func TestTLSPinResumed(t *testing.T) {
	t.Parallel()
	s := serveWith(t, "--tls")
	servers, err := parseServers(s.addr, 0, true)
	must(t, err)
	options := tlsOptions{insecure: true}
	secure, err := options.client(t.Context(), discardWarning)
	must(t, err)
	c := &client{servers: servers, timeout: patience, network: "tcp", tls: secure}
	for _, resumed := range []bool{false, true} {
		if res, err := askPAP(t, c); err != nil || res.TLS.Resumed != resumed {
			t.Fatalf("%v, %+v", err, res.TLS)
		}
	}
	secure.pins = make([][sha256.Size]byte, 1)
	if res, err := askPAP(t, c); err == nil || !res.TLS.Resumed || !strings.Contains(err.Error(), "another SHA-256") {
		t.Errorf("with another pin: %v, %+v", err, res.TLS)
	}
}

// TestTLSFaults runs the client against the faulty certificates and versions of serve.
func TestTLSFaults(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		fault string
		code  exitCode
		err   string
	}{
		{"tls-1.2", 6, `TLS with .*: it does not support TLS 1.3`},
		{"tls-expired", 6, `TLS with .*: the certificate of CN=tacacs_plus serve expired on .*`},
		{"tls-not-yet", 6, `TLS with .*: its certificate is not valid before .*`},
		{"tls-wrong-name", 6, `TLS with .*: its certificate is not for 127.0.0.1 but for other.example`},
		{"tls-unknown-ca", 6, `TLS with .*: its certificate is signed by an unknown authority: CN=tacacs_plus serve`},
		{"unencrypted", 5, `the reply of .* has no UNENCRYPTED flag, which TLS requires`},
	} {
		t.Run(tt.fault, func(t *testing.T) {
			t.Parallel()
			ca := filepath.Join(t.TempDir(), "ca.pem")
			s := serveWith(t, "--tls", "--write-cacert", ca, "--fault", tt.fault)
			got := s.ask(t, "authenticate alice AT --tls --cacert "+ca)
			first, _, _ := strings.Cut(got.err, "\n")
			runResult{code: got.code, err: strings.TrimPrefix(first, "tacacs_plus: ")}.check(t, tt.code, ``, tt.err)
		})
	}
}

// TestTLSChain: with a certificate of an intermediate authority, the whole chain is checked for revocation.
// One file can hold several lists.
func TestTLSChain(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, nil)
	soon := time.Now().Add(time.Hour)
	ca := newTestCA(t, dir, "ca")
	sub := ca.intermediate(t, "intermediate", 7)
	sub.issue(t, "server", 10, nil)
	ca.revoke(t, "ca", 99, soon)
	ca.revoke(t, "ca-revokes", 7, soon)
	ca.revokeFrom(t, "ca-early", 99, soon, soon.Add(time.Hour))
	sub.revoke(t, "sub", 99, soon)
	sub.revoke(t, "sub-revokes", 10, soon)
	join := func(name string, parts ...[]byte) {
		must(t, os.WriteFile(filepath.Join(dir, name), bytes.Join(parts, nil), 0o600))
	}
	read := func(name string) []byte { return contentOf(t, filepath.Join(dir, name)) }
	join("chain", read("server.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: sub.cert.Raw}), read("server.key"))
	join("both", read("ca"), read("sub"))
	join("both-revoke", read("ca"), read("sub-revokes"))
	block, _ := pem.Decode(read("ca-revokes"))
	join("der", block.Bytes)
	s := serveWith(t, "--tls", "--cert", filepath.Join(dir, "chain"))
	for _, tt := range []struct {
		options string
		code    exitCode
		err     string
	}{
		{"", 0, ``},
		{"--crl DIR/ca --crl DIR/sub", 0, ``},
		{"--crl DIR/both", 0, ``},
		{"--crl DIR/ca", 0, `tacacs_plus: warning: no revocation list of CN=intermediate: cannot tell whether CN=server was revoked\n`},
		{"--crl DIR/sub", 0, `tacacs_plus: warning: no revocation list of CN=ca: cannot tell whether CN=intermediate was revoked\n`},
		{"--crl DIR/ca-early --crl DIR/sub", 0, `tacacs_plus: warning: the revocation list of CN=ca is out of date: valid from .*\n`},
		{"--crl DIR/ca-revokes --crl DIR/sub", 6, `(?s)tacacs_plus: TLS with .*: the certificate of CN=intermediate was revoked on .*`},
		{"--crl DIR/der --crl DIR/sub", 6, `(?s)tacacs_plus: TLS with .*: the certificate of CN=intermediate was revoked on .*`},
		{"--crl DIR/both-revoke", 6, `(?s)tacacs_plus: TLS with .*: the certificate of CN=server was revoked on .*`},
	} {
		args := append(split("authenticate alice AT --tls --cacert DIR/ca.pem", "AT", s.addr, "DIR", dir), split(tt.options, "DIR", dir)...)
		out := map[exitCode]string{0: `PASS\n`}[tt.code]
		runWith(t, secretsInEnv, "", args...).check(t, tt.code, out, tt.err)
	}
	// A run prints a warning once, however many connections it makes.
	lines := strings.Repeat(`{"command":"authenticate","user":"alice"}`+"\n", 5)
	got := runWith(t, secretsInEnv, lines, split("batch AT --tls --cacert DIR/ca.pem --crl DIR/sub -c 5", "AT", s.addr, "DIR", dir)...)
	if n := strings.Count(got.err, "no revocation list of CN=ca"); got.code != classGranted.exit() || n != 1 {
		t.Errorf("%d warnings: %+v", n, got)
	}
}

// TestTLSZone: the zone of an address is local and not part of the name in a certificate. A connection is
// closed after a failed handshake.
func TestTLSZone(t *testing.T) {
	t.Parallel()
	server, file := secureServer(t)
	ended := make(chan bool, 1)
	startFakeServerOn(t, server, func(c *fakeServerConn) {
		io.Copy(io.Discard, c.in)
		ended <- true
	})
	secure, err := (&tlsOptions{enabled: true, caCert: file}).client(t.Context(), discardWarning)
	must(t, err)
	for host, ok := range map[string]bool{"::1": true, "::1%lo": true, "::2": false, "::2%lo": false} {
		raw, err := net.Dial("tcp", server.Addr().String())
		must(t, err)
		conn, facts, err := secure.handshake(t.Context(), new(newServer(host, 300)), patience, raw)
		if (err == nil) != ok || strings.Contains(facts.ServerName, "%") {
			t.Errorf("%s: %v for %s", host, err, facts.ServerName)
		}
		if err == nil {
			conn.Close()
		}
		if <-ended; raw.SetDeadline(time.Time{}) == nil {
			t.Errorf("%s: the connection is not closed", host)
		}
	}
}

// TestTLSEndsInADialogue: only before the first reply can a close be about the client's certificate.
func TestTLSEndsInADialogue(t *testing.T) {
	t.Parallel()
	server, file := secureServer(t)
	startFakeServerOn(t, server, func(c *fakeServerConn) {
		c.refuse = true
		c.Write(c.reply(c.readRequest(), &authenReply{status: authenGetPass}))
		c.readRequest()
	})
	got := runWith(t, secretsInEnv, "", "authenticate", "alice", server.Addr().String(), "--tls", "--cacert", file)
	got.check(t, classNetwork.exit(), ``, `tacacs_plus: \S+ closed the connection before it answered\n.*\n`)
}

// TestTLSKeyLog: --keylog appends the secrets of each session to a file that only the user can read.
func TestTLSKeyLog(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "keys")
	s := serveWith(t, "--tls", "--write-cacert", filepath.Join(dir, "ca.pem"))
	for runs := 1; runs <= 2; runs++ {
		got := s.ask(t, "authorize alice AT -q --tls --cacert "+filepath.Join(dir, "ca.pem")+" --keylog "+file)
		text, err := os.ReadFile(file)
		if n := strings.Count(string(text), "CLIENT_TRAFFIC_SECRET_0 "); got != (runResult{}) || err != nil || n != runs {
			t.Errorf("run %d: %+v, %v, %d sessions in the file", runs, got, err, n)
		}
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if runtime.GOOS != "linux" {
		return // only Linux has /dev/full
	}
	for _, line := range []string{"authorize alice AT,AT", "check AT"} {
		got := s.ask(t, line+" --tls --keylog /dev/full --json --cacert "+filepath.Join(dir, "ca.pem"))
		if !strings.Contains(got.out, `"class":"local","message":"write the key log: write /dev/full: no space left on device"`) || strings.Contains(got.out, "attempts") || got.code != classLocal.exit() {
			t.Errorf("full disk, %s: got %+v", line, got)
		}
	}
	s.ask(t, "check AT --nagios --tls --keylog /dev/full --cacert "+filepath.Join(dir, "ca.pem")).check(t, nagiosUnknown, `TACACS\+ UNKNOWN: .*\n`, ``)
}

// TestTLSClearPortAnswers: a port without TLS answers the ClientHello with TACACS+, with another protocol, or
// not at all.
func TestTLSClearPortAnswers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, answer, err string }{
		{"answers", "\xc0\x01\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00", `TLS with .*: it answers with clear TACACS\+`},
		{"another protocol", "SSH-2.0-server\r\n", `TLS with .*: the answer is not TLS`},
		{"silent", "", `TLS with .*: timed out after 1s`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			addr := startFakeServer(t, func(client *fakeServerConn) {
				io.WriteString(client, tt.answer)
				io.Copy(io.Discard, client)
			}).addr
			got := runWith(t, secretsInEnv, "", "authenticate", "alice", addr, "--tls", "--insecure", "-q", "--timeout", "1s")
			_, second, _ := strings.Cut(got.err, "\n")
			second, hint, _ := strings.Cut(second, "\n")
			runResult{code: got.code, err: strings.TrimPrefix(second, "tacacs_plus: ")}.check(t, classTLS.exit(), ``, tt.err)
			if !strings.Contains(hint, "300") {
				t.Errorf("the hint does not name the port: %q", hint)
			}
		})
	}
}

// TestTLSNothingInClear checks every byte that the client writes in a TLS session or a failed handshake: only
// TLS records, without the user or the password.
func TestTLSNothingInClear(t *testing.T) {
	t.Parallel()
	dir := testFiles(t)
	s := serveWith(t, split("--tls --cert DIR/server.pem --cert-key DIR/server.key", "DIR", dir)...)
	for _, tt := range []struct {
		options string
		code    exitCode
	}{
		{"--cacert DIR/ca.pem", 0}, {"--cacert DIR/ca.pem -t pap", 0}, {"--cacert DIR/other-ca.pem", 6},
		{"--cacert DIR/ca.pem --servername wrong.example", 6},
	} {
		t.Run(tt.options, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			var wire bytes.Buffer
			closed := make(chan struct{})
			addr := startFakeServer(t, func(client *fakeServerConn) {
				defer close(closed)
				server, err := net.Dial("tcp", s.addr)
				if err != nil {
					return
				}
				defer server.Close()
				go func() { io.Copy(client, server); client.Close() }()
				for b := make([]byte, 4096); ; {
					n, err := client.Read(b)
					mu.Lock()
					wire.Write(b[:n])
					mu.Unlock()
					if err != nil {
						return
					}
					server.Write(b[:n])
				}
			}).addr
			got := runWith(t, secretsInEnv, "", append([]string{"authenticate", "alice", addr, "--tls"}, split(tt.options, "DIR", dir)...)...)
			if got.code != tt.code {
				t.Fatalf("got %d, want %d: %s", int(got.code), int(tt.code), got.err)
			}
			<-closed
			mu.Lock()
			defer mu.Unlock()
			for b := wire.Bytes(); len(b) > 0; {
				if len(b) < 5 || b[0] < 20 || b[0] > 23 || b[1] != 3 {
					t.Fatalf("not a TLS record: % x", b[:min(len(b), 16)])
				}
				b = b[min(len(b), 5+int(b[3])<<8+int(b[4])):]
			}
			for _, text := range []string{"alice", testPassword, "tty0"} {
				if bytes.Contains(wire.Bytes(), []byte(text)) {
					t.Errorf("%q is on the wire", text)
				}
			}
		})
	}
}

// TestTLSTicketCache: the cache returns each ticket once and holds at most maxTickets.
func TestTLSTicketCache(t *testing.T) {
	var c ticketCache
	if _, ok := c.Get("a"); ok {
		t.Error("got a ticket from an empty cache")
	}
	for range maxTickets + 3 {
		c.Put("a", new(tls.ClientSessionState))
	}
	for i := range maxTickets + 1 {
		if _, ok := c.Get("a"); ok != (i < maxTickets) {
			t.Errorf("ticket %d: %t", i, ok)
		}
	}
}

// TestTLSResumption: the next connection of a run resumes the session of the one before, with a ticket used
// once. Revocation is checked again.
func TestTLSResumption(t *testing.T) {
	t.Parallel()
	dir := testFiles(t)
	s := serveWith(t, split("--tls --cert DIR/server.pem --cert-key DIR/server.key", "DIR", dir)...)
	options := tlsOptions{enabled: true, caCert: filepath.Join(dir, "ca.pem")}
	secure, err := options.client(t.Context(), discardWarning)
	must(t, err)
	servers, err := parseServers(s.addr, 300, true)
	must(t, err)
	c := &client{servers: servers, timeout: patience, network: "tcp", tls: secure}
	for i, resumed := range []bool{false, true, true} {
		res, err := askPAP(t, c)
		if err != nil || res.TLS == nil || res.TLS.Resumed != resumed || len(res.TLS.Chain) != 2 {
			t.Fatalf("connection %d: %v, %+v", i+1, err, res.TLS)
		}
	}
	secure.revocation.lists, err = readCRLs(t.Context(), []string{filepath.Join(dir, "server.crl")})
	must(t, err)
	if _, err := askPAP(t, c); err == nil || !strings.Contains(err.Error(), "was revoked") {
		t.Errorf("a resumed session of a revoked certificate: %v", err)
	}
}

// TestTLSServerCertificate: if the server's certificate is at fault, the error and the hint are about that
// and not about the client's.
func TestTLSServerCertificate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name      string
		change    func(*x509.Certificate)
		err, hint string
	}{
		{"clientAuth only", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} },
			`TLS with .*: its certificate is not for a server: the extended key usage serverAuth is missing`, "give the server a certificate with serverAuth"},
		{"address as a DNS name", func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = []string{"tac1", "127.0.0.1"}, nil },
			`TLS with .*: its certificate has the address 127.0.0.1 as a DNS name, which does not count`, "subjectAltName IP:127.0.0.1 in place of DNS:127.0.0.1"},
		{"another address", func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = []string{"tac1", "192.0.2.1"}, nil },
			`TLS with .*: its certificate is not for 127.0.0.1 but for tac1, 192.0.2.1`, "give --servername NAME"},
		{"extension", func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
		}, `TLS with .*: its certificate is refused: x509: unhandled critical extension`, "renew the server's certificate"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			newTestCA(t, dir, "ca").issue(t, "server", 2, tt.change)
			s := serveWith(t, split("--tls --cert DIR/server.pem --cert-key DIR/server.key", "DIR", dir)...)
			got := s.ask(t, "authenticate alice AT --tls --cacert "+dir+"/ca.pem")
			first, hint, _ := strings.Cut(got.err, "\n")
			runResult{code: got.code, err: strings.TrimPrefix(first, "tacacs_plus: ")}.check(t, classTLS.exit(), ``, tt.err)
			if !strings.HasPrefix(hint, "tacacs_plus: hint: ") || !strings.Contains(hint, tt.hint) || strings.Contains(hint, "--cert") {
				t.Errorf("the hint is %q, want %q", hint, tt.hint)
			}
		})
	}
}

// TestTLSFiles: a file with the wrong content is a usage error, also of serve, before anything is sent.
func TestTLSFiles(t *testing.T) {
	t.Parallel()
	dir := testFiles(t)
	files := map[string]string{
		"bad.pem": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
		"bad.key": "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n",
		"old.key": "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END EC PRIVATE KEY-----\n",
	}
	for _, name := range []string{"client.key", "client.pem"} {
		files["both.pem"] += string(contentOf(t, filepath.Join(dir, name)))
	}
	more := writeFiles(t, files)
	addr := refusedAddr(t)
	for _, tt := range []struct {
		line string
		code exitCode
		err  string
	}{
		{"authenticate alice AT --tls --cacert DIR/client.key", 2, `the certificate file \S+client.key contains no certificate`},
		{"authenticate alice AT --tls --cacert MORE/bad.pem", 2, `no readable certificate in \S+bad.pem`},
		{"authenticate alice AT --tls --cert MORE/both.pem", 4, `connect to .*`},
		{"authenticate alice AT --tls --cert DIR/client.key", 2, `the certificate file \S+client.key contains no certificate`},
		{"authenticate alice AT --tls --cert DIR/client.pem", 2, `the private key file \S+client.pem contains no private key`},
		{"authenticate alice AT --tls --cert DIR/client.pem --cert-key MORE/old.key", 2, `the private key in \S+old.key is encrypted`},
		{"authenticate alice AT --tls --cert DIR/client.pem --cert-key MORE/bad.key", 2, `read the certificate in \S+ and the private key in \S+bad.key: .*`},
		{"authenticate alice AT --tls --crl DIR/ca.pem", 2, `the revocation list \S+ca.pem contains a certificate`},
		{"authenticate alice AT --tls --crl DIR/text", 2, `read the revocation list \S+text: x509: malformed crl`},
		{"check AT --tls --crl DIR/text", 2, `(read )?the revocation list .*`},
		{"check AT --nagios --tls --crl DIR/text", 3, `(read )?the revocation list .*`},
		{"serve --tls --cert DIR/text", 2, `the certificate file \S+text is not PEM`},
		{"serve --tls --cert DIR/client.pem --cert-key DIR/server.key", 2, `the private key in .* does not match the certificate in .*`},
		{"serve --tls --cert MORE/both.pem --client-ca DIR/text", 2, `the certificate file \S+text is not PEM`},
	} {
		t.Run(tt.line, func(t *testing.T) {
			t.Parallel()
			got := runWith(t, secretsInEnv, "", split(tt.line, "AT", addr, "DIR", dir, "MORE", more)...)
			first, _, _ := strings.Cut(got.err, "\n")
			runResult{code: got.code, err: strings.TrimPrefix(first, "tacacs_plus: ")}.check(t, tt.code, ``, tt.err)
		})
	}
}

// TestTLSRevocation checks what a revocation list refuses, and the warning about one that cannot be used.
func TestTLSRevocation(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	otherKey, other, ca := newTestCA(t, dir, "ca"), newTestCA(t, dir, "other-ca"), newTestCA(t, dir, "ca")
	ca.issue(t, "server", 10, nil)
	next := time.Now().Add(time.Hour)
	ca.revoke(t, "none.crl", 99, next)
	ca.revoke(t, "server.crl", 10, next)
	other.revoke(t, "other.crl", 10, next)
	otherKey.revoke(t, "other-key.crl", 10, next)
	otherKey.revoke(t, "forged.crl", 99, next)
	special := func(file string, whole, entry pkix.Extension) {
		extra := func(e pkix.Extension) []pkix.Extension {
			if e.Id == nil {
				return nil
			}
			return []pkix.Extension{e}
		}
		der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(2), ThisUpdate: time.Now().Add(-time.Hour),
			NextUpdate: next, ExtraExtensions: extra(whole), RevokedCertificateEntries: []x509.RevocationListEntry{
				{SerialNumber: big.NewInt(10), RevocationTime: time.Now(), ExtraExtensions: extra(entry)}}}, ca.cert, ca.key)
		must(t, err)
		ca.write(t, file, "X509 CRL", der)
	}
	null := []byte{5, 0}
	special("point.crl", pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 28}, Critical: true, Value: []byte{0x30, 0}}, pkix.Extension{})
	special("entry.crl", pkix.Extension{}, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: null})
	special("harmless.crl", pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Value: null}, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Value: null})
	join := func(names ...string) (text string) {
		for _, name := range names {
			text += string(contentOf(t, filepath.Join(dir, name)))
		}
		return text
	}
	more := writeFiles(t, map[string]string{"chain.pem": join("server.pem", "ca.pem"),
		"both.crl": join("other-key.crl", "server.crl")})
	const (
		leaf       = "--tls --cert DIR/server.pem --cert-key DIR/server.key"
		whole      = "--tls --cert MORE/chain.pem --cert-key DIR/server.key"
		unverified = `warning: the server's certificate is not verified.*\n`
		unchecked  = `warning: cannot check the revocation list of CN=ca: the server did not send the issuer's certificate\n`
		unknown    = `warning: no revocation list of CN=ca: cannot tell whether CN=server was revoked\n`
		unused     = `warning: the revocation list of CN=ca is ignored: unknown critical extension `
		foreign    = `warning: the revocation list of CN=ca is not signed by it: .*\n`
		revoked    = `TLS with \S+: the certificate of CN=server was revoked on \S+\nhint: .*new certificate\n`
	)
	for _, tt := range []struct {
		name, serve, options string
		code                 exitCode
		err                  string // a regular expression for all of stderr
	}{
		{"insecure, chain sent", whole, "--insecure --crl DIR/none.crl", 0, unverified},
		{"insecure, chain sent, revoked", whole, "--insecure --crl DIR/server.crl", 6, unverified + revoked},
		{"insecure, chain sent, another's list", whole, "--insecure --crl DIR/other.crl", 0, unverified + unknown},
		{"insecure, leaf sent", leaf, "--insecure --crl DIR/none.crl", 0, unverified + unchecked + unknown},
		{"insecure, leaf sent, revoked", leaf, "--insecure --crl DIR/server.crl", 6, unverified + unchecked + revoked},
		{"insecure, chain sent, list of another key", whole, "--insecure --crl DIR/forged.crl", 0, unverified + foreign + unknown},
		{"two keys, revoked by the other", leaf, "--cacert DIR/ca.pem --crl DIR/none.crl --crl DIR/other-key.crl", 0, ``},
		{"two keys, revoked", leaf, "--cacert DIR/ca.pem --crl DIR/other-key.crl --crl DIR/server.crl", 6, revoked},
		{"two keys in one file", leaf, "--cacert DIR/ca.pem --crl MORE/both.crl", 6, revoked},
		{"two lists of another key", leaf, "--cacert DIR/ca.pem --crl DIR/other-key.crl --crl DIR/forged.crl", 0, foreign + unknown},
		{"a list of another key", leaf, "--cacert DIR/ca.pem --crl DIR/other-key.crl", 0, foreign + unknown},
		{"critical extension", leaf, "--cacert DIR/ca.pem --crl DIR/point.crl", 0, unused + `2.5.29.28\n` + unknown},
		{"critical extension of an entry", leaf, "--cacert DIR/ca.pem --crl DIR/entry.crl", 0, unused + `1.2.3\n` + unknown},
		{"critical extension, and another list", leaf, "--cacert DIR/ca.pem --crl DIR/point.crl --crl DIR/none.crl", 0, unused + `2.5.29.28\n`},
		{"critical extension, and a list of another key", leaf, "--cacert DIR/ca.pem --crl DIR/point.crl --crl DIR/other-key.crl", 0, unused + `2.5.29.28\n` + unknown},
		{"extensions that do not matter", leaf, "--cacert DIR/ca.pem --crl DIR/harmless.crl", 6, revoked},
		{"insecure, leaf sent, no list", leaf, "--insecure", 0, unverified},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := serveWith(t, split(tt.serve, "DIR", dir, "MORE", more)...)
			got := s.ask(t, "authenticate alice AT --tls -q "+strings.NewReplacer("DIR", dir, "MORE", more).Replace(tt.options))
			runResult{code: got.code, err: strings.ReplaceAll(got.err, "tacacs_plus: ", "")}.check(t, tt.code, ``, tt.err)
		})
	}
}

// TestTLSSentChain: the order of the chain does not depend on the order that the server sends.
func TestTLSSentChain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	authority := func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }
	issue := func(by *testCA, name string, change func(*x509.Certificate)) *testCA {
		by.issue(t, name, 2, change)
		pair, err := tls.LoadX509KeyPair(filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key"))
		must(t, err)
		return &testCA{dir, pair.Leaf, pair.PrivateKey.(*ecdsa.PrivateKey)}
	}
	namesake, root := newTestCA(t, dir, "root"), newTestCA(t, dir, "root")
	middle := issue(root, "middle", authority)
	leaf, stranger := issue(middle, "leaf", nil), issue(namesake, "stranger", nil)
	der, err := x509.CreateCertificate(rand.Reader, root.cert, middle.cert, &root.key.PublicKey, middle.key)
	must(t, err)
	crossed := &testCA{key: root.key} // it signed middle, and middle signed it
	crossed.cert, err = x509.ParseCertificate(der)
	must(t, err)
	for _, tt := range []struct {
		name       string
		sent, want []*testCA
	}{
		{"leaf alone", []*testCA{leaf}, []*testCA{leaf, nil}},
		{"a root alone", []*testCA{root}, []*testCA{root}},
		{"no root", []*testCA{leaf, middle}, []*testCA{leaf, middle, nil}},
		{"whole", []*testCA{leaf, middle, root}, []*testCA{leaf, middle, root}},
		{"root first", []*testCA{leaf, root, middle}, []*testCA{leaf, middle, root}},
		{"out of order, with others", []*testCA{leaf, namesake, root, stranger, middle}, []*testCA{leaf, middle, root}},
		{"no end", []*testCA{leaf, middle, crossed}, []*testCA{leaf, middle, crossed, middle}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			certs := func(list []*testCA) (out []*x509.Certificate) {
				for _, ca := range list {
					if ca == nil {
						ca = &testCA{}
					}
					out = append(out, ca.cert)
				}
				return out
			}
			if got := sentChain(certs(tt.sent)); !slices.Equal(got, certs(tt.want)) {
				t.Errorf("got %d certificates: %v", len(got), got)
			}
		})
	}
}

// TestTLSFailedHandshakeFacts: after a failed handshake the output has exactly the facts that were known
// before the failure.
func TestTLSFailedHandshakeFacts(t *testing.T) {
	t.Parallel()
	const (
		none    = `"tls":{"resumed":false,"verified":false,"server_name":"127.0.0.1"}`
		session = `"tls":{"version":"TLS 1.3","cipher_suite":"TLS_[A-Z0-9_]+","group":"X25519[A-Z0-9]*","resumed":false,"verified":false,`
		issued  = `"subject":"CN=tacacs_plus serve","issuer":"CN=tacacs_plus serve",`
	)
	for _, tt := range []struct{ name, serve, ask, want string }{
		{"version", "--fault tls-1.2", "", none},
		{"expired", "--fault tls-expired", "", session + `"server_name":"127.0.0.1",` + issued + `"names":\["localhost","127.0.0.1","::1"\],"not_after":"[0-9TZ:-]+","sha256":"[0-9a-f]{64}","days_left":0,"chain_not_after":"[0-9TZ:-]+"}`},
		{"name", "", "--servername tac1", session + `"server_name":"tac1",` + issued + `"names":\["localhost","127.0.0.1","::1"\],"not_after":"[0-9TZ:-]+","sha256":"[0-9a-f]{64}","days_left":29,"chain_not_after":"[0-9TZ:-]+"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ca := filepath.Join(t.TempDir(), "ca.pem")
			s := serveWith(t, split("--tls --write-cacert "+ca+" "+tt.serve)...)
			options := " --tls --cacert " + ca + " " + tt.ask
			one := s.ask(t, "authenticate alice AT --json"+options)
			many := runWith(t, secretsInEnv, `{"command":"authenticate","user":"alice"}`, split("batch AT"+options, "AT", s.addr)...)
			check := s.ask(t, "check AT --json"+options)
			for _, got := range []runResult{one, many, check} {
				if !regexp.MustCompile(tt.want).MatchString(got.out) {
					t.Errorf("%s is not in\n%s", tt.want, got.out)
				}
			}
			for _, got := range []runResult{one, many} {
				if !strings.Contains(got.out, `"address":"`+s.addr+`","local":"127.0.0.1:`) || strings.Contains(got.out, `"transport"`) {
					t.Errorf("no address, or a transport although nothing was sent: %s", got.out)
				}
			}
			known := tt.want != none
			for _, line := range []string{"authenticate alice AT -v", "check AT -v", "check AT --prometheus"} {
				got := s.ask(t, line+options)
				equal(t, regexp.MustCompile(`tls expires|days left|tls_not_after_seconds{`).MatchString(got.out), known, line, "shows the end of the certificate")
			}
		})
	}
	t.Run("revoked", func(t *testing.T) {
		t.Parallel()
		dir := testFiles(t)
		s := serveWith(t, split("--tls --cert DIR/server.pem --cert-key DIR/server.key", "DIR", dir)...)
		got := s.ask(t, "authenticate alice AT --json --tls --cacert "+dir+"/ca.pem --crl "+dir+"/server.crl")
		want := session + `"server_name":"127.0.0.1","subject":"CN=server","issuer":"CN=ca","names":\["127.0.0.1"\],"not_after":"[0-9TZ:-]+","sha256":"[0-9a-f]{64}","days_left":2,"chain":\["CN=server","CN=ca"\],"chain_not_after":"[0-9TZ:-]+"}`
		if !regexp.MustCompile(want).MatchString(got.out) {
			t.Errorf("%s is not in\n%s", want, got.out)
		}
	})
	t.Run("of the last server only", func(t *testing.T) {
		t.Parallel()
		ca := filepath.Join(t.TempDir(), "ca.pem")
		s := serveWith(t, "--tls", "--write-cacert", ca, "--fault", "tls-expired")
		got := runWith(t, secretsInEnv, "", split("authenticate alice AT,REFUSED --json --tls --cacert "+ca, "AT", s.addr, "REFUSED", refusedAddr(t))...)
		if got.code != classNetwork.exit() || strings.Contains(got.out, `"tls":{`) {
			t.Errorf("%d: %s", int(got.code), got.out)
		}
	})
}

// TestTLSMutualNote: without a client certificate, -v alone prints that RFC 9887 requires one.
func TestTLSMutualNote(t *testing.T) {
	t.Parallel()
	dir := testFiles(t)
	s := serveWith(t, split("--tls --cert DIR/server.pem --cert-key DIR/server.key", "DIR", dir)...)
	for _, tt := range []struct {
		options string
		notes   int
	}{
		{"--cacert DIR/ca.pem -v", 1},
		{"--cacert DIR/other-ca.pem -v", 1},
		{"--cacert DIR/ca.pem", 0},
		{"--cacert DIR/ca.pem --json", 0},
		{"--cacert DIR/ca.pem --cert DIR/client.pem --cert-key DIR/client.key -v", 0},
	} {
		got := s.ask(t, "authenticate alice AT --tls "+strings.ReplaceAll(tt.options, "DIR", dir))
		const note = "tls note: give --cert FILE for mutual authentication (RFC 9887 section 3.1)\n"
		if n := strings.Count(got.out, note); n != tt.notes || strings.Contains(got.err, "mutual") {
			t.Errorf("%s: %d notes, want %d: %s%s", tt.options, n, tt.notes, got.out, got.err)
		}
	}
}

// TestTLSAlertHints: an alert of the server gets a hint about the client's certificate, a local error does
// not.
func TestTLSAlertHints(t *testing.T) {
	t.Parallel()
	remote := func(alert tls.AlertError) error { return &net.OpError{Op: "remote error", Err: alert} }
	for _, tt := range []struct {
		name string
		sent string // the client certificate
		err  error
		hint string
	}{
		{"unrecognized name", "", remote(112), "give --servername NAME: the server has no such name"},
		{"access denied", clientCertSent, remote(49), "check the dates, the issuer and the name of the client certificate (--cert)"},
		{"access denied, none to send", clientCertMissing, remote(49), "give --cert and --cert-key: the server asked for a client certificate"},
		{"access denied, not asked", clientCertNotAsked, remote(49), "see the server's log: it did not ask for a client certificate, so something else was refused, such as the client's address"},
		{"certificate required", clientCertMissing, remote(116), "give --cert and --cert-key: the server requires a client certificate"},
		{"internal error", clientCertSent, remote(80), ""},
		{"this side", "", errors.New("tls: server's certificate contains an unsupported type of public key"), ""},
		{"this side's network", "", &net.OpError{Op: "read", Err: errors.New("certificate")}, ""},
	} {
		equal(t, asFailure(handshakeFailure(new(newServer("tac1", 300)), time.Second, &tlsFacts{ServerName: "tac1", ClientCert: tt.sent}, tt.err)).hint, tt.hint, tt.name, "the hint")
	}
}

// TestTLSClosedOnResumption: a server that closes a resumed session after the handshake asked for no certificate there. The
// session before had that of the client, if there is one, so it can be at fault.
func TestTLSClosedOnResumption(t *testing.T) {
	t.Parallel()
	dir := testFiles(t)
	pair, err := readKeyPair(t.Context(), filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key"))
	must(t, err)
	for _, tt := range []struct {
		options string
		ask     tls.ClientAuthType
		hint    string
	}{
		{"--cert DIR/client.pem --cert-key DIR/client.key", tls.RequireAnyClientCert, "check the client certificate (--cert, --cert-key): some servers close without an alert"},
		{"", tls.NoClientCert, "see the server's log: it did not ask for a client certificate, so something else was refused, such as the client's address"},
	} {
		var resumed bool
		l := tls.NewListener(listen(t), &tls.Config{Certificates: pair, ClientAuth: tt.ask})
		s := startFakeServerOn(t, l, func(c *fakeServerConn) {
			c.key = ""
			q := c.readRequest()
			if c.number == 1 {
				c.Write(c.grantReply(q))
				c.readRequest() // until the client closes, with the ticket
				return
			}
			resumed = c.Conn.(*tls.Conn).ConnectionState().DidResume
		})
		got := runWith(t, map[string]string{"TACACS_PLUS_PWD": testPassword}, "", split("check alice AT --tls --cacert DIR/ca.pem --json "+tt.options, "AT", s.addr, "DIR", dir)...)
		if !resumed || got.code != classTLS.exit() || !strings.Contains(got.out, "it closed the connection before it answered (client certificate: not asked)") || !strings.Contains(got.out, tt.hint) {
			t.Errorf("%q: resumed %t, got %+v, want the hint %q", tt.options, resumed, got, tt.hint)
		}
	}
}

// TestTLSRevocationListsAndChains: lists with other dates, and a certificate with two chains.
func TestTLSRevocationListsAndChains(t *testing.T) {
	t.Parallel()
	dir := testFiles(t)
	load := func(name string) *x509.Certificate {
		pair, err := readKeyPair(t.Context(), filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key"))
		must(t, err)
		return pair[0].Leaf
	}
	block, _ := pem.Decode(contentOf(t, filepath.Join(dir, "ca.pem")))
	ca, err := x509.ParseCertificate(block.Bytes)
	must(t, err)
	revoked, good := []*x509.Certificate{load("server"), ca}, []*x509.Certificate{load("client"), ca}
	for _, tt := range []struct {
		name         string
		this, next   time.Time // dates of the list
		chains       [][]*x509.Certificate
		warned, fail bool
	}{
		{"no end", time.Now().Add(-time.Hour), time.Time{}, [][]*x509.Certificate{good}, false, false},
		{"not begun", time.Now().Add(time.Hour), time.Time{}, [][]*x509.Certificate{good}, true, false},
		{"over", time.Now().Add(-time.Hour), time.Now().Add(-time.Minute), [][]*x509.Certificate{good}, true, false},
		{"one chain of two", time.Now().Add(-time.Hour), time.Time{}, [][]*x509.Certificate{revoked, good}, false, false},
		{"both chains", time.Now().Add(-time.Hour), time.Time{}, [][]*x509.Certificate{revoked, revoked}, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			lists, err := readCRLs(t.Context(), []string{filepath.Join(dir, "server.crl")})
			must(t, err)
			lists[0].ThisUpdate, lists[0].NextUpdate = tt.this, tt.next
			warned := false
			c := &revocation{lists: lists, warnf: func(warning, string, ...any) { warned = true }}
			if err := c.check(&tls.ConnectionState{VerifiedChains: tt.chains}, false); (err != nil) != tt.fail || warned != tt.warned {
				t.Errorf("%v, warned: %t", err, warned)
			}
		})
	}
}
