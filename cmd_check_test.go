package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestCheck checks the report as text and for Nagios. AT is a server with the options of serve, HAND is one that accepts
// every login, and REFUSED refuses connections.
func TestCheck(t *testing.T) {
	t.Parallel()
	dir := testFiles(t)
	hand, refused := acceptAll(t), refusedAddr(t)
	const tls, cert = "--tls --cacert DIR/ca.pem", "--tls --cert DIR/server.pem --cert-key DIR/server.key"
	const times = `  time: connect \S+ ms, first_reply \S+ ms, total \S+ ms\n`
	const loginTimes = times + `  probe time: connect \S+ ms, first_reply \S+ ms, total \S+ ms\n`
	for _, tt := range []struct {
		name, serve, line string
		code              exitCode
		out               string // a regular expression for all of it
	}{
		{"good", "", "check AT", 0, `\S+: OK\n` + times + `  key: ok\n  single-connect: granted\n`},
		{"good, no single-connect", "--fault single-refused", "check AT", 0, `\S+: OK\n` + times + `  key: ok\n  single-connect: refused\n`},
		{"good, with a user", "", "check alice AT", 0, `\S+: OK\n` + loginTimes + `  key: ok\n  single-connect: granted\n  login: PASS\n`},
		{"good, by pap", "", "check alice AT -t pap", 0, `(?s).*  login: PASS\n`},
		{"wrong password", "", "check alice AT --password no", 1, `\S+: FAILED: \S+ replied to the login of alice with FAIL: Password incorrect\..*\n  hint: .*\n` + loginTimes + `  key: ok\n  single-connect: granted\n  login: FAIL\n`},
		{"verbose", "", "check AT -v", 0, `\S+: OK\n  address: 127\.0\.0\.1:\d+\n` + times + `  key: ok\n  single-connect: granted\n`},
		{"verbose, refused", "", "check REFUSED -v", 4, `\S+: FAILED: connect to \S+: connection refused\n  hint: .*\n  time: total \S+ ms\n`},
		{"quiet", "", "check alice AT --password no -q", 1, ``},
		{"wrong key", "", "check AT -k another-key-of-the-tests", 5, `\S+: FAILED: the reply of \S+ cannot be read with this key \(.*\)\n  hint: .*\n` + times + `  key: WRONG\n`},
		{"wrong key, with a user", "", "check alice AT -k another-key-of-the-tests", 5, `(?s).*  key: WRONG\n`},
		{"refused", "", "check REFUSED", 4, `\S+: FAILED: connect to \S+: connection refused\n  hint: .*\n  time: total \S+ ms\n`},
		{"silent", "--fault silent", "check AT --timeout 400ms", 4, `\S+: FAILED: no reply from \S+ within 400ms\n  hint: .*\n  time: connect \S+ ms, total [4-9]\d\d\.\d ms\n`},
		{"ERROR to everything", "--fault error", "check AT", 3, `\S+: FAILED: \S+ answered ERROR: database down\n` + times + `  key: ok\n  single-connect: granted\n`},
		{"ERROR to a login", "--fault error", "check alice AT", 3, `\S+: FAILED: \S+ replied to the login of alice with ERROR: database down\n` + loginTimes + `  key: ok\n  single-connect: granted\n  login: ERROR\n`},
		{"FAIL to a login", "--fault fail", "check alice AT", 1, `\S+: FAILED: \S+ replied to the login of alice with FAIL: Account locked\\x08\n` + loginTimes + `  key: ok\n  single-connect: granted\n  login: FAIL\n`},
		{"not TACACS+", "--fault http", "check AT", 5, `\S+: FAILED: the reply of \S+ is not TACACS\+: .*\n  hint: check the port: another service .*\n  time: connect \S+ ms, total \S+ ms\n`},
		{"TLS port", "--fault tls-alert", "check alice AT", 5, `\S+: FAILED: the reply of \S+ is not TACACS\+: .*\n  hint: add --tls, .*\n  probe time: connect \S+ ms, total \S+ ms\n`},
		{"TLS", cert, "check AT " + tls, 0, `\S+: OK\n  time: connect \S+ ms, tls \S+ ms, first_reply \S+ ms, total \S+ ms\n  single-connect: granted\n  tls: TLS 1\.3, 2 days left\n`},
		{"TLS, another authority", cert, "check AT --tls --cacert DIR/other-ca.pem", 6, `(?s)\S+: FAILED: TLS with \S+: its certificate is signed by an unknown authority: .*`},
		{"types", "", "check alice AT --types", 0, `(?s).*  login: PASS\n  type ascii: PASS\n  type pap: PASS\n  type chap: PASS\n  type mschap: PASS\n  type mschapv2: PASS\n`},
		{"types, wrong password", "", "check alice AT --types --password no", 1, `(?s).*  type ascii: FAIL\n  type pap: FAIL\n  type chap: FAIL\n  type mschap: not tried after 3 FAILs\n  type mschapv2: not tried after 3 FAILs\n`},
		{"negative", "", "check alice AT --negative -t pap", 0, `(?s)\S+: OK\n.*  wrong password: denied\n`},
		{"negative, ascii", "", "check alice AT --negative", 0, `(?s)\S+: OK\n.*  wrong password: denied\n`},
		{"negative, accepts everything", "", "check alice HAND --negative", 1, `\S+: FAILED: \S+ accepted a wrong password for alice\n  hint: .*\n(?s).*  login: PASS\n  wrong password: PASS\n`},
		{"two servers", "", "check AT,HAND", 0, `(?s)\S+: OK\n.*\S+: OK\n.*`},
		{"two servers, the second refused", "", "check AT,REFUSED", 4, `(?s)\S+: OK\n.*\S+: FAILED: connect .*`},
		{"two servers, the first refused", "", "check REFUSED,AT", 4, `(?s)\S+: FAILED: connect .*\S+: OK\n.*`},

		{"nagios", "", "check AT --nagios", 0, `TACACS\+ OK: 1/1 up, slowest \d+\.\d ms \| '\S+'=\d+\.\d{6}s;;\n`},
		{"nagios, both limits", "", "check AT --nagios --warn 60 --crit 1h", 0, `TACACS\+ OK: .* \| '\S+'=\S+s;60;3600\n`},
		{"nagios, slow", "", "check AT --nagios --warn 1ns --crit 1h", 1, `TACACS\+ WARNING: \S+ took \S+ ms \| '\S+'=\S+s;0\.000000001;3600\n`},
		{"nagios, too slow", "", "check AT --nagios --warn 1ns --crit 1ns", 2, `TACACS\+ CRITICAL: \S+ took .*\n`},
		{"nagios, refused", "", "check REFUSED --nagios", 2, `TACACS\+ CRITICAL: connect to \S+: connection refused \| .*\n`},
		{"nagios, wrong key", "", "check AT --nagios -k another-key-of-the-tests", 2, `TACACS\+ CRITICAL: the reply of \S+ cannot be read with this key \(.*\) \| .*\n`},
		{"nagios, silent", "--fault silent", "check AT --nagios --timeout 400ms --warn 1ns", 2, `TACACS\+ CRITICAL: no reply from \S+ within 400ms \| '\S+'=U;0\.000000001;\n`},
		{"nagios, ERROR", "--fault error", "check AT --nagios", 1, `TACACS\+ WARNING: \S+ answered ERROR: database down \| '\S+'=\d+\.\d{6}s;;\n`},
		{"nagios, ERROR, too slow", "--fault error", "check AT --nagios --crit 1ns", 2, `TACACS\+ CRITICAL: \S+ took \S+ ms \| .*\n`},
		{"nagios, ERROR, slow", "--fault error", "check AT --nagios --warn 1ns", 1, `TACACS\+ WARNING: \S+ answered ERROR: database down \| .*\n`},
		{"nagios, ERROR to a login", "--fault error", "check alice AT --nagios", 2, `TACACS\+ CRITICAL: \S+ replied to the login of alice with ERROR: database down \| '\S+'=\d+\.\d{6}s;; '\S+ probe'=\d+\.\d{6}s\n`},
		{"nagios, an empty body", "--fault empty-body", "check AT --nagios", 2, `TACACS\+ CRITICAL: \S+ answers with an empty body \| '\S+'=\d+\.\d{6}s;;\n`},
		{"nagios, not TACACS+", "--fault http", "check AT --nagios", 2, `TACACS\+ CRITICAL: the reply of \S+ is not TACACS\+: .* \| '\S+'=U;;\n`},
		{"nagios, a login that fails", "", "check alice AT --nagios --password no", 2, `TACACS\+ CRITICAL: \S+ replied to the login of alice with FAIL: Password incorrect\..* \| .*\n`},
		{"nagios, accepts everything", "", "check alice HAND --nagios --negative", 2, `TACACS\+ CRITICAL: \S+ accepted a wrong password for alice \| .*\n`},
		{"nagios, a bar in the text", "", "check al|ice AT --nagios", 2, `TACACS\+ CRITICAL: \S+ replied to the login of al/ice with [^|]* \| '\S+'=[^|]*\n`},
		{"nagios, certificate", cert, "check AT --nagios " + tls, 2, `TACACS\+ CRITICAL: the certificate of \S+ has 2 days left \| '\S+'=\d+\.\d{6}s;; '\S+ days'=2;30:;7:\n`},
		{"nagios, certificate, warning", cert, "check AT --nagios --cert-days 3,2 " + tls, 1, `TACACS\+ WARNING: the certificate of \S+ has 2 days left \| '\S+'=\d+\.\d{6}s;; '\S+ days'=2;3:;2:\n`},
		{"nagios, certificate long enough", cert, "check AT --nagios --cert-days 2 " + tls, 0, `TACACS\+ OK: .* '\S+ days'=2;2:;2:\n`},
		{"nagios, no certificate", cert, "check REFUSED --nagios " + tls, 2, `TACACS\+ CRITICAL: connect .* \| '\S+'=U;; '\S+ days'=U;30:;7:\n`},
		{"nagios, one of two", "", "check AT,REFUSED --nagios", 2, `TACACS\+ CRITICAL: connect to \S+: connection refused \| '\S+'=\d+\.\d{6}s;; '\S+'=U;;\n`},
		{"nagios, two of two", "", "check AT,REFUSED --nagios --warn 1ns", 2, `TACACS\+ CRITICAL: connect to \S+: connection refused; \S+ took \S+ ms \| '\S+'=\d+\.\d{6}s;0\.000000001; '\S+'=U\S+\n`},
		{"nagios, both down", "--fault close", "check AT,REFUSED --nagios", 2, `TACACS\+ CRITICAL: \S+ closed the connection before it answered; connect to \S+: connection refused \| '\S+'=U;; '\S+'=U;;\n`},
		{"nagios, a label", "", "check a'b=c:1 --nagios", 2, `TACACS\+ CRITICAL: resolve a'b=c: .* \| 'a''b_c:1'=U;;\n`},
		{"nagios, two", "", "check AT,HAND --nagios", 0, `TACACS\+ OK: 2/2 up, slowest .* \| '\S+'=\S+ '\S+'=\S+\n`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := serveWith(t, split(tt.serve, "DIR", dir)...)
			got := runWith(t, secretsInEnv, "", split(tt.line, "AT", s.addr, "HAND", hand, "REFUSED", refused, "DIR", dir)...)
			got.check(t, tt.code, tt.out, ``)
		})
	}
}

// TestCheckSessions: the probe has no user, offers single-connection mode, and answers the prompt with an ABORT. The login
// of the user is like any other.
func TestCheckSessions(t *testing.T) {
	t.Parallel()
	type packet struct {
		flags headerFlags
		m     message
	}
	packets := [2]chan packet{make(chan packet, 2), make(chan packet, 1)}
	s := startFakeServer(t, func(c *fakeServerConn) {
		for _, action := range [][]string{{"getpass", "close"}, {"pass"}}[c.number-1] {
			h, m, _ := c.act(action)
			packets[c.number-1] <- packet{h.flags, m}
		}
	})
	got := runWith(t, secretsInEnv, "", "check", "alice", s.addr, "-q", "-t", "pap")
	if n := s.connections(); got != (runResult{}) || n != 2 {
		t.Fatalf("%d connections: %+v", n, got)
	}
	p := <-packets[0]
	if m, ok := p.m.(*authenStart); !ok || m.user != "" || m.typ != authenASCII || m.action != authenLogin || p.flags != flagSingleConnect {
		t.Errorf("the first packet is %+v, flags %s", m, p.flags)
	}
	p = <-packets[0]
	if m, ok := p.m.(*authenContinue); !ok || m.flags != authenAbort || m.userMsg != "" || m.data != "probe" {
		t.Errorf("the last packet is %+v", m)
	}
	p = <-packets[1]
	if m, ok := p.m.(*authenStart); !ok || m.user != "alice" || m.typ != authenPAP || p.flags != 0 {
		t.Errorf("the first packet of the login has the flags %s", p.flags)
	}
}

// TestCheckFirstError: the report has the first of several errors of a server.
func TestCheckFirstError(t *testing.T) {
	t.Parallel()
	s := startFakeServer(t, func(c *fakeServerConn) {
		q := c.readRequest()
		switch {
		case q == nil:
		case q.user == "":
			c.Write(c.reply(q, &authenReply{status: authenGetUser}))
		case c.number == 2:
			c.Write(c.reply(q, &authenReply{status: authenError}))
		default:
			c.Write(c.grantReply(q))
		}
	})
	got := runWith(t, secretsInEnv, "", "check", "alice", s.addr, "--negative", "-t", "pap")
	got.check(t, 3, `\S+: FAILED: \S+ replied to the login of alice with ERROR\n(?s).*  login: ERROR\n  wrong password: PASS\n`, ``)
}

// TestCheckInterrupted: after an interruption the exit code is that of the interruption, even with errors.
func TestCheckInterrupted(t *testing.T) {
	t.Parallel()
	reached := make(chan struct{})
	silent := startFakeServer(t, func(c *fakeServerConn) {
		for range c.requests {
			close(reached)
		}
	})
	addr := refusedAddr(t)
	got := runUntil(t, reached, "check REFUSED,AT --timeout 1h --nagios", "REFUSED", addr, "AT", silent.addr)
	got.check(t, classInterrupted.exit(), `TACACS\+ UNKNOWN: interrupted\n`, `tacacs_plus: interrupted\n`)
	reached = make(chan struct{})
	got = runUntil(t, reached, "check REFUSED,AT --timeout 1h --json", "REFUSED", addr, "AT", silent.addr)
	if got.code != classInterrupted.exit() || !strings.Contains(got.out, `"exit_code":130,"error":{"class":"interrupted","message":"interrupted"}`) || strings.Count(got.out, `"error":{`) != 3 {
		t.Errorf("got %+v", got)
	}
	reached = make(chan struct{})
	got = runUntil(t, reached, "check REFUSED,AT --timeout 1h --prometheus", "REFUSED", addr, "AT", silent.addr)
	if got.code != classInterrupted.exit() || strings.Contains(got.out, silent.addr) {
		t.Errorf("got %+v", got)
	}
}

// TestCheckUsage: check refuses wrong options, with --nagios as UNKNOWN.
func TestCheckUsage(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ line, err string }{
		{"check AT --types", "--types needs USER"},
		{"check AT --negative", "--negative needs USER"},
		{"check AT --cmd show", "--cmd needs USER"},
		{"check AT --prometheus --nagios", "--nagios and --prometheus cannot be used together"},
		{"check AT --nagios --json", "--nagios and --json cannot be used together"},
		{"check AT --nagios --warn 5s --crit 500ms", "--warn 5s is above --crit 500ms"},
		{"check AT --warn -1", "option --warn: "},
		{"check AT --frobnicate", "unknown option --frobnicate"},
		{"check", "HOST is missing"},
		{"check alice AT extra", `unexpected argument "extra"`},
		{"check AT --key-file /nonexistent", "read the key: "},
		{"check " + long(256) + " AT", "user is 256 bytes"},
	} {
		l := listen(t)
		for _, nagios := range []bool{false, true} {
			line, code := tt.line, classUsage.exit()
			if nagios || strings.Contains(line, "--nagios") {
				line, code = line+" --nagios", nagiosUnknown
			}
			got := runWith(t, secretsInEnv, "", split(line, "AT", l.Addr().String())...)
			reason, unknown := strings.CutPrefix(got.out, "TACACS+ UNKNOWN: ")
			if got.code != code || !strings.Contains(got.err, tt.err) || unknown != (code == nagiosUnknown) || unknown != strings.Contains(reason, tt.err) {
				t.Errorf("%s: got %+v, want %d %q", line, got, int(code), tt.err)
			}
		}
		checkUntouched(t, l)
	}
}

// TestCheckNagiosUnwritten: an OK that cannot be written is UNKNOWN; other states are unchanged.
func TestCheckNagiosUnwritten(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]exitCode{serveWith(t).addr: nagiosUnknown, refusedAddr(t): nagiosCritical} {
		var stderr bytes.Buffer
		code := run(t.Context(), []string{"check", addr, "--nagios"},
			stdio{in: strings.NewReader(""), out: &lastRoom{0}, err: &stderr, env: func(name string) string { return secretsInEnv[name] }})
		if code != want || !strings.Contains(stderr.String(), "write the result: no space left\n") {
			t.Errorf("exit code %d, want %d: %s", int(code), int(want), stderr.String())
		}
	}
}

// TestCheckJSON checks every field of the report.
func TestCheckJSON(t *testing.T) {
	t.Parallel()
	good, bad := serveWith(t), serveWith(t, "--fault", "wrong-key")
	began := time.Now().Truncate(time.Millisecond)
	got := runWith(t, secretsInEnv, "", "check", "alice", good.addr+","+bad.addr, "--json", "--types", "--negative", "-t", "pap")
	var r struct {
		Time     time.Time
		Command  string
		User     string
		Granted  bool
		ExitCode exitCode `json:"exit_code"`
		Error    problem
		Servers  []struct {
			Server        string
			Address       string
			Up            bool
			KeyOK         *bool `json:"key_ok"`
			SingleConnect *bool `json:"single_connect"`
			Login         string
			Types         map[string]string
			WrongPassword string             `json:"wrong_password"`
			Timing        map[string]float64 `json:"timing_ms"`
			ProbeTiming   map[string]float64 `json:"probe_timing_ms"`
			Error         *problem
		}
	}
	d := json.NewDecoder(strings.NewReader(got.out))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil || strings.Count(got.out, "\n") != 1 || len(r.Servers) != 2 {
		t.Fatalf("%v in %q", err, got.out)
	}
	if r.Error != *r.Servers[1].Error || r.User != "alice" || r.Time.Before(began) || r.Time.After(time.Now()) {
		t.Errorf("got %s", got.out)
	}
	if r.Command != "check" || r.Granted || r.ExitCode != classProtocol.exit() || got.code != classProtocol.exit() {
		t.Errorf("got %d %s", int(got.code), got.out)
	}
	if s := r.Servers[0]; s.Server != good.addr || s.Address != good.addr || !s.Up || s.KeyOK == nil || !*s.KeyOK || s.SingleConnect == nil || !*s.SingleConnect || s.Login != "PASS" ||
		len(s.Types) != 5 || s.Types["mschapv2"] != "PASS" || s.WrongPassword != "FAIL" || s.Timing["connect"] <= 0 || s.Timing["first_reply"] <= 0 || s.ProbeTiming["first_reply"] <= 0 || s.Error != nil {
		t.Errorf("got %+v", s)
	}
	if s := r.Servers[1]; s.Server != bad.addr || !s.Up || s.KeyOK == nil || *s.KeyOK || s.Login != "" || s.Timing != nil || s.ProbeTiming["total"] <= 0 || s.Error == nil || s.Error.Class != "protocol" || s.Error.Hint == "" {
		t.Errorf("got %+v", s)
	}
}

// TestCheckPrometheus parses the metrics: each has one HELP and one TYPE before its values, and each value occurs once.
func TestCheckPrometheus(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, nil)
	newTestCA(t, dir, "ca").issue(t, "server", 2, func(c *x509.Certificate) { c.NotAfter = time.Unix(4e9, 0) })
	tls := split("--tls --cert DIR/server.pem --cert-key DIR/server.key", "DIR", dir)
	for _, tt := range []struct {
		name, serve, line string
		code              exitCode
		want              string // required values
	}{
		{"good", "", "check AT", 0, `tacacs_up{server="AT"} 1|tacacs_key_ok{server="AT"} 1`},
		{"login", "", "check alice AT", 0, `tacacs_up{server="AT"} 1|tacacs_key_ok{server="AT"} 1|tacacs_status{server="AT",status="PASS"} 1`},
		{"denied", "", "check alice AT -t pap --password no", 1, `tacacs_status{server="AT",status="FAIL"} 1`},
		{"wrong key", "--fault wrong-key", "check AT", 5, `tacacs_up{server="AT"} 1|tacacs_key_ok{server="AT"} 0`},
		{"silent", "--fault silent", "check AT --timeout 400ms", 4, `tacacs_up{server="AT"} 0`},
		{"refused", "", "check REFUSED", 4, `tacacs_up{server="REFUSED"} 0`},
		{"two", "", "check AT,REFUSED", 4, `tacacs_up{server="AT"} 1|tacacs_up{server="REFUSED"} 0`},
		{"TLS", "tls", "check AT --tls --cacert DIR/ca.pem", 0, `tacacs_up{server="AT"} 1|tacacs_tls_not_after_seconds{server="AT"} 4000000000`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			options := split(tt.serve)
			if tt.serve == "tls" {
				options = tls
			}
			s, refused := serveWith(t, options...), refusedAddr(t)
			got := runWith(t, secretsInEnv, "", append(split(tt.line, "AT", s.addr, "REFUSED", refused, "DIR", dir), "--prometheus")...)
			if got.code != tt.code || got.err != "" {
				t.Errorf("got %d, want %d: %s", int(got.code), int(tt.code), got.err)
			}
			values := metrics(t, got.out)
			for want := range strings.SplitSeq(strings.NewReplacer("AT", s.addr, "REFUSED", refused).Replace(tt.want), "|") {
				name, value, _ := strings.Cut(want, "} ")
				if values[name+"}"] != value {
					t.Errorf("%s is missing in\n%s", want, got.out)
				}
			}
			if phase := `tacacs_phase_seconds{server="` + s.addr + `",phase="connect"}`; strings.Contains(tt.line, "AT") && !(values[phase] > "0") {
				t.Errorf("no %s in\n%s", phase, got.out)
			}
		})
	}
}

// metrics reads the text format of Prometheus, and returns the values as text.
func metrics(t *testing.T, text string) map[string]string {
	t.Helper()
	values := make(map[string]string)
	for series, value := range parseMetrics(t, text) {
		values[series] = strconv.FormatFloat(value, 'f', -1, 64)
	}
	return values
}

// TestCheckOutput: the report is written to the file as a whole or not at all.
func TestCheckOutput(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "tacacs.prom")
	for _, tt := range []struct{ options, begins string }{
		{"--prometheus", "# HELP tacacs_up "},
		{"--json", `{"time":"2`},
		{"--nagios", "TACACS+ OK: "},
		{"", s.addr + ": OK\n"},
	} {
		for _, before := range []string{"", "what was there before, and is longer than the report " + long(2000)} {
			os.Remove(file)
			if before != "" {
				must(t, os.WriteFile(file, []byte(before), 0o600))
			}
			if got := s.ask(t, "check AT --output "+file+" "+tt.options); got != (runResult{}) {
				t.Errorf("%s: got %+v", tt.options, got)
			}
			text, err := os.ReadFile(file)
			if err != nil || !strings.HasPrefix(string(text), tt.begins) || strings.Contains(string(text), "before") {
				t.Errorf("%s: %v, %.200s", tt.options, err, text)
			}
			checkFolder(t, dir, "tacacs.prom")
		}
	}
	// A report of an error is written too.
	if got := runWith(t, secretsInEnv, "", "check", refusedAddr(t), "--prometheus", "--output", file); got != (runResult{code: classNetwork.exit()}) {
		t.Errorf("got %+v", got)
	}
	if text, _ := os.ReadFile(file); !regexp.MustCompile(`(?m)^tacacs_up\{.*\} 0$`).Match(text) {
		t.Errorf("got %s", text)
	}

	for _, tt := range []struct {
		name, to string
		code     exitCode
		options  string
	}{
		{"no such folder", filepath.Join(dir, "nothing", "file"), classUsage.exit(), "--prometheus"},
		{"a file as a folder", filepath.Join(file, "file"), classUsage.exit(), "--prometheus"},
		{"a folder", dir, classUsage.exit(), "--prometheus"},
		{"no such folder, nagios", filepath.Join(dir, "nothing", "file"), nagiosUnknown, "--nagios"},
	} {
		got := s.ask(t, fmt.Sprintf("check AT --output %s %s", tt.to, tt.options))
		if got.code != tt.code || (got.out != "") != (tt.code == nagiosUnknown) || !strings.Contains(got.err, "write the report: ") {
			t.Errorf("%s: got %+v", tt.name, got)
		}
		checkFolder(t, dir, "tacacs.prom")
		checkFolder(t, filepath.Dir(dir), filepath.Base(dir))
	}
}

// checkFolder checks that a folder holds one file, want.
func checkFolder(t *testing.T, dir, want string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != want {
		t.Errorf("%v, %v in %s", err, entries, dir)
	}
}

// TestCheckKey: a server that sends TACACS+ is up. Only a body that can or cannot be read decides key_ok.
func TestCheckKey(t *testing.T) {
	t.Parallel()
	for fault, want := range map[string]string{
		"": `"up":true,"key_ok":true`, "error": `"up":true,"key_ok":true`, "wrong-key": `"up":true,"key_ok":false`,
		"empty-body": `"up":true,"timing_ms"`, "seq-same": `"up":true,"timing_ms"`, "unencrypted": `"up":true,"timing_ms"`,
		"http": `"up":false,"timing_ms"`, "tls-alert": `"up":false,"timing_ms"`, "body-cut": `"up":false,"timing_ms"`,
	} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			options := []string{"--fault", fault}
			if fault == "" {
				options = nil
			}
			s := serveWith(t, options...)
			if got := s.ask(t, "check AT --json"); !strings.Contains(got.out, want) {
				t.Errorf("%s is missing in %s", want, got.out)
			}
			values := metrics(t, s.ask(t, "check AT --prometheus").out)
			for name, want := range map[string]string{
				"tacacs_up":     map[bool]string{true: "1", false: "0"}[strings.Contains(want, `"up":true`)],
				"tacacs_key_ok": map[string]string{"": "1", "error": "1", "wrong-key": "0"}[fault],
				"tacacs_ok":     map[bool]string{true: "1", false: "0"}[fault == ""],
			} {
				equal(t, values[name+`{server="`+s.addr+`"}`], want, name)
			}
		})
	}
}

// TestCheckLogins has a server that gives one login another reply; without a reply it closes the connection.
func TestCheckLogins(t *testing.T) {
	t.Parallel()
	erring := &authenReply{status: authenError, serverMsg: "no such|thing"}
	none := func(q *fakeRequest) bool { return q.user == "" }
	login := func(q *fakeRequest) bool { return q.user != "" }
	wrong := func(q *fakeRequest) bool { return strings.HasPrefix(q.start.data, "wrong ") }
	typ := func(t authenType) func(q *fakeRequest) bool {
		return func(q *fakeRequest) bool { return q.user != "" && q.start.typ == t }
	}
	for _, tt := range []struct {
		options string
		which   func(q *fakeRequest) bool
		answers []message // of the first attempt, the second, and so on
		code    exitCode
		out     string
	}{
		{"", none, []message{erring}, 3, `(?s)\S+: FAILED: \S+ answered ERROR: no such\|thing\n.*  key: ok\n.*  login: PASS\n`},
		{"--nagios", none, []message{erring}, 1, `TACACS\+ WARNING: \S+ answered ERROR: no such/thing \|[^|]*\n`},
		{"--negative -t pap", wrong, []message{erring}, 3, `(?s)\S+: FAILED: \S+ replied to a wrong password with ERROR: no such\|thing, not with a denial\n.*  login: PASS\n  wrong password: ERROR\n`},
		{"--negative -t pap", login, []message{erring, erring}, 3, `(?s)\S+: FAILED: \S+ replied to the login of alice with ERROR: no such\|thing\n.*  login: ERROR\n  wrong password: ERROR\n`},
		{"--types", typ(authenCHAP), []message{erring}, 0, `(?s)\S+: OK\n.*  type pap: PASS\n  type chap: ERROR\n  type mschap: PASS\n.*`},
		{"", login, nil, 4, `(?s)\S+: FAILED: \S+ closed the connection before it answered\n.*  key: ok\n  single-connect: granted\n`},
		{"--negative -t pap", wrong, nil, 4, `(?s)\S+: FAILED: \S+ closed the connection before it answered\n.*  login: PASS\n`},
		{"--types", typ(authenCHAP), nil, 0, `(?s)\S+: OK\n.*  type pap: PASS\n  type chap: network\n  type mschap: PASS\n.*`},
	} {
		asked := new(atomic.Int32)
		s := startFakeServer(t, func(c *fakeServerConn) {
			for q := range c.requests {
				switch n := int(asked.Load()); {
				case q.user == "" && !tt.which(q):
					c.Write(c.reply(q, &authenReply{status: authenGetUser}))
					return
				case !tt.which(q):
					c.Write(c.grantReply(q))
				case n < len(tt.answers):
					asked.Add(1)
					c.Write(c.reply(q, tt.answers[n]))
				default:
					return
				}
			}
		})
		runResult.check(runWith(t, secretsInEnv, "", split("check alice AT "+tt.options, "AT", s.addr)...), t, tt.code, tt.out, ``)
	}
}

// TestCheckRestart: a server that sends RESTART and then refuses connections has not answered.
func TestCheckRestart(t *testing.T) {
	t.Parallel()
	l := listen(t)
	startFakeServerOn(t, l, func(c *fakeServerConn) {
		if c.number == 1 {
			c.act("pass")
			return
		}
		stopListening(t, l)
		c.act("restart")
	})
	got := runWith(t, secretsInEnv, "", "check", "alice", l.Addr().String())
	if got.code != classNetwork.exit() || !strings.Contains(got.out, ": FAILED: connect to ") || strings.Contains(got.out, "login:") {
		t.Errorf("got %+v", got)
	}
}

// TestCheckTwice: a server that is given twice is checked once.
func TestCheckTwice(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	got := s.ask(t, "check alice AT,AT --prometheus -t pap")
	if values := metrics(t, got.out); got.code != classGranted.exit() || values[`tacacs_status{server="`+s.addr+`",status="PASS"}`] != "1" {
		t.Errorf("got %+v", got)
	}
	s.stop()
	if n := strings.Count(s.log.String(), " alice authenticate pap PASS\n"); n != 1 {
		t.Errorf("%d logins:\n%s", n, s.log)
	}
}

// TestCheckLoginMetrics checks the metrics of --types and --negative.
func TestCheckLoginMetrics(t *testing.T) {
	t.Parallel()
	s, hand := serveWith(t), acceptAll(t)
	got := s.ask(t, "check alice AT,"+hand+" --types --negative --prometheus -t pap")
	if got.code != classDenied.exit() || got.err != "" {
		t.Errorf("got %+v", got)
	}
	values := metrics(t, got.out)
	for _, want := range []string{
		`tacacs_type_status{server="AT",type="ascii",status="PASS"}`, `tacacs_type_status{server="AT",type="mschapv2",status="PASS"}`,
		`tacacs_type_status{server="HAND",type="chap",status="PASS"}`, `tacacs_wrong_password_refused{server="AT"}`, `tacacs_ok{server="AT"}`,
	} {
		if name := strings.NewReplacer("AT", s.addr, "HAND", hand).Replace(want); values[name] != "1" {
			t.Errorf("%s is %q", name, values[name])
		}
	}
	for _, name := range []string{"tacacs_wrong_password_refused", "tacacs_ok"} {
		if v := values[name+`{server="`+hand+`"}`]; v != "0" {
			t.Errorf("%s is %q for a server that accepts everything", name, v)
		}
	}
	if text := s.ask(t, "check alice AT --prometheus").out; strings.Contains(text, "tacacs_wrong_password_refused{") || strings.Contains(text, "tacacs_type_status{") {
		t.Errorf("metrics without --types and --negative: %s", text)
	}
}

// TestCheckOutputAtOnce: concurrent reports to one file do not damage each other.
func TestCheckOutputAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 50 {
				if err := replaceFile("report", filepath.Join(dir, "file"), "text", 0); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	checkFolder(t, dir, "file")
}

// watchedRounds runs a watch of tac1 and tac2 in a synctest bubble, which starts at midnight. A round is a word: a letter for each
// server, then the seconds that it takes. The letters: k OK, d no reply, r refused, w wrong key, n not TACACS+, p a login
// that passes, a and b an error with a wrong and a correct key, t a type that fails, x a wrong password that passes. After
// the last round comes Ctrl-C. room, if not 0, is the number of writes to stdout that succeed.
func watchedRounds(t *testing.T, opts checkOptions, out outputOptions, room int, words string) (stderr, stdout string, began []time.Duration, code exitCode) {
	var outBuf, errBuf bytes.Buffer
	inv := &invocation{command: command{name: "check"}, output: out, std: stdio{err: &errBuf, out: &outBuf}}
	if room > 0 {
		inv.std.out = &lastRoom{room}
	}
	inv.request.fields.user = "al\x1bice"
	ctx, interrupt := context.WithCancel(t.Context())
	start := time.Now()
	rounds := strings.Fields(words)
	w := &watch{inv: inv, interval: opts.interval, count: opts.count, output: opts.output}
	result, err := w.run(ctx, func(context.Context) *checkReport {
		began = append(began, time.Since(start))
		r := &checkReport{report: inv.newReport(), format: opts.format}
		n := len(began) - 1
		if n == len(rounds) {
			interrupt()
			return r
		}
		for i, letter := range rounds[n][:2] {
			r.Servers = append(r.Servers, serverCheckOf([]string{"tac1:49", "tac2:49"}[i], letter))
		}
		if seconds := rounds[n][2:]; seconds != "" {
			d, _ := time.ParseDuration(seconds + "s")
			time.Sleep(d)
		}
		r.setVerdict(ctx.Err() != nil)
		return r
	})
	inv.finish(result, err)
	return errBuf.String(), outBuf.String(), began, result.exit()
}

// serverCheckOf is the check of a server that is in the state of a letter of watchedRounds.
func serverCheckOf(name string, letter rune) *serverCheck {
	up := !strings.ContainsRune("drn", letter)
	s := &serverCheck{Server: name, plan: new(checkPlan), probe: sessionTime{&timing{total: time.Millisecond}, up}, Up: up}
	switch letter {
	case 'd':
		s.fail(failf(classNetwork, "no reply from %s", name), nagiosCritical)
	case 'r':
		s.fail(failf(classNetwork, "connect to %s", name), nagiosCritical)
	case 'w', 'n':
		s.fail(failf(classProtocol, "wrong key"), nagiosCritical)
	case 'p':
		s.Login = "PASS"
	case 'a', 'b':
		keyOK := letter == 'b'
		s.KeyOK = &keyOK
		s.fail(failf(classProtocol, "wrong key"), nagiosCritical)
	case 't':
		s.Types = map[string]string{"pap": "FAIL"}
	case 'x':
		s.WrongPassword = "PASS"
	}
	return s
}

// TestCheckWatch checks what check --interval prints, and when its rounds begin.
func TestCheckWatch(t *testing.T) {
	t.Parallel()
	const at = "2000-01-01T00:00:"
	for _, tt := range []struct {
		name, rounds   string
		count          int
		out            outputOptions
		began          string // seconds
		stdout, stderr string
		code           exitCode
	}{
		{"no change", "kk kk kk", 3, outputOptions{}, "0s 10s 20s", at + "00.000Z tac1:49: OK\n" + at + "00.000Z tac2:49: OK\n",
			"tac1:49: OK in 3 of 3 rounds, 0 changes|tac2:49: OK in 3 of 3 rounds, 0 changes", 0},
		{"a change and back", "kk kd kr kk", 4, outputOptions{}, "0s 10s 20s 30s", at + "00.000Z tac1:49: OK\n" + at + "00.000Z tac2:49: OK\n" +
			at + "10.000Z tac2:49: FAILED: no reply from tac2:49\n" + at + "30.000Z tac2:49: OK\n",
			"tac1:49: OK in 4 of 4 rounds, 0 changes|tac2:49: OK in 2 of 4 rounds, 2 changes", 0},
		{"the last round decides", "kk kw", 2, outputOptions{}, "0s 10s", at + "00.000Z tac1:49: OK\n" + at + "00.000Z tac2:49: OK\n" + at + "10.000Z tac2:49: FAILED: wrong key\n",
			"tac1:49: OK in 2 of 2 rounds, 0 changes|tac2:49: OK in 1 of 2 rounds, 1 change", classProtocol.exit()},
		{"another class, another login", "dk wp", 2, outputOptions{}, "0s 10s", at + "00.000Z tac1:49: FAILED: no reply from tac1:49\n" + at + "00.000Z tac2:49: OK\n" +
			at + "10.000Z tac1:49: FAILED: wrong key\n" + at + "10.000Z tac2:49: OK\n",
			"tac1:49: OK in 0 of 2 rounds, 1 change|tac2:49: OK in 2 of 2 rounds, 1 change", classProtocol.exit()},
		{"the same class, but down", "kw kn kn", 3, outputOptions{}, "0s 10s 20s", at + "00.000Z tac1:49: OK\n" + at + "00.000Z tac2:49: FAILED: wrong key\n" + at + "10.000Z tac2:49: FAILED: wrong key\n",
			"tac1:49: OK in 3 of 3 rounds, 0 changes|tac2:49: OK in 0 of 3 rounds, 1 change", classProtocol.exit()},
		{"another key", "ka kb", 2, outputOptions{}, "0s 10s", at + "00.000Z tac1:49: OK\n" + at + "00.000Z tac2:49: FAILED: wrong key\n" + at + "10.000Z tac2:49: FAILED: wrong key\n",
			"tac1:49: OK in 2 of 2 rounds, 0 changes|tac2:49: OK in 0 of 2 rounds, 1 change", classProtocol.exit()},
		{"another type, another wrong password", "kk tx", 2, outputOptions{}, "0s 10s", at + "00.000Z tac1:49: OK\n" + at + "00.000Z tac2:49: OK\n" + at + "10.000Z tac1:49: OK\n" + at + "10.000Z tac2:49: OK\n",
			"tac1:49: OK in 2 of 2 rounds, 1 change|tac2:49: OK in 2 of 2 rounds, 1 change", 0},
		{"rounds take time", "kk3 kk9 kk25 kk", 4, outputOptions{quiet: true}, "0s 10s 20s 45s", "", "", 0},
		{"one round", "dk", 1, outputOptions{quiet: true}, "0s", "", "", classNetwork.exit()},
		{"interrupted", "kk", 0, outputOptions{}, "0s 10s", at + "00.000Z tac1:49: OK\n" + at + "00.000Z tac2:49: OK\n",
			"tac1:49: OK in 1 of 1 round, 0 changes|tac2:49: OK in 1 of 1 round, 0 changes", classInterrupted.exit()},
		{"JSON", "kd", 1, outputOptions{json: true}, "0s", `{"time":"` + at + `00.000Z","command":"check","user":"al\\x1bice","server":"tac1:49","up":true}` + "\n" +
			`{"time":"` + at + `00.000Z","command":"check","user":"al\\x1bice","server":"tac2:49","up":false,"error":{"class":"network","message":"no reply from tac2:49"}}` + "\n",
			"tac1:49: OK in 1 of 1 round, 0 changes|tac2:49: OK in 0 of 1 round, 0 changes", classNetwork.exit()},
		{"verbose", "kp", 1, outputOptions{verbose: true}, "0s", at + "00.000Z tac1:49: OK\n  time: total 1.0 ms\n" + at + "00.000Z tac2:49: OK\n  time: total 1.0 ms\n  login: PASS\n",
			"tac1:49: OK in 1 of 1 round, 0 changes|tac2:49: OK in 1 of 1 round, 0 changes", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				stderr, stdout, began, code := watchedRounds(t, checkOptions{interval: 10 * time.Second, count: tt.count}, tt.out, 0, tt.rounds)
				var times []string
				for _, b := range began {
					times = append(times, b.String())
				}
				want := ""
				for line := range strings.SplitSeq(tt.stderr, "|") {
					if line != "" {
						want += "tacacs_plus: " + line + "\n"
					}
				}
				stderr = strings.ReplaceAll(stderr, ", min 1.0 ms, average 1.0 ms, max 1.0 ms", "") // see TestCheckWatchTotals
				if got := strings.Join(times, " "); got != tt.began || stdout != tt.stdout || stderr != want || code != tt.code {
					t.Errorf("rounds at %s, want %s; exit code %d, want %d\n%s%swant\n%s%s", got, tt.began, int(code), int(tt.code), stdout, stderr, tt.stdout, want)
				}
			})
		})
	}
}

// TestCheckWatchUnwritten: a failed write to stdout ends the watch. A file that cannot be written is reported once, and tried
// again.
func TestCheckWatchUnwritten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		stderr, _, began, code := watchedRounds(t, checkOptions{interval: time.Second}, outputOptions{}, 1, "kk kk dk kk")
		if code != classUsage.exit() || len(began) != 3 || !strings.HasSuffix(stderr, "tacacs_plus: write the result: no space left\n") {
			t.Errorf("%d rounds, %d: %s", len(began), int(code), stderr)
		}
	})
	dir := t.TempDir()
	missing := filepath.Join(dir, "folder", "file")
	for words, want := range map[string]int{"kk kk kk": 2, "kk kk kk kk": 2} {
		synctest.Test(t, func(t *testing.T) {
			opts := checkOptions{interval: time.Second, count: len(strings.Fields(words)), output: missing}
			stderr, _, _, code := watchedRounds(t, opts, outputOptions{}, 0, words)
			if n := strings.Count(stderr, "write the report: open "+missing+": "); n != want || strings.Count(stderr, "; trying again\n") != 1 || code != classUsage.exit() {
				t.Errorf("%s: %d\n%s", words, int(code), stderr)
			}
		})
	}
	file := filepath.Join(dir, "file")
	synctest.Test(t, func(t *testing.T) {
		stderr, stdout, _, code := watchedRounds(t, checkOptions{interval: time.Second, count: 2, output: file, format: checkFormat{prometheus: true}}, outputOptions{quiet: true}, 0, "kk kd")
		text, err := os.ReadFile(file)
		if err != nil || stderr+stdout != "" || code != classNetwork.exit() || metrics(t, string(text))[`tacacs_up{server="tac2:49"}`] != "0" {
			t.Errorf("%v, %d %s%s%s", err, int(code), stderr, stdout, text)
		}
	})
}

// TestCheckInterval runs check --interval against real servers, and with options that it refuses.
func TestCheckInterval(t *testing.T) {
	t.Parallel()
	s, refused := serveWith(t), refusedAddr(t)
	got := runWith(t, secretsInEnv, "", "check", "alice", s.addr+","+refused, "--interval", "100ms", "--count", "3")
	got.check(t, classNetwork.exit(), `2\S+Z `+s.addr+`: OK\n2\S+Z `+refused+`: FAILED: connect to \S+: connection refused\n`,
		`tacacs_plus: `+s.addr+`: OK in 3 of 3 rounds, 0 changes, min \S+ ms, average \S+ ms, max \S+ ms\ntacacs_plus: `+refused+`: OK in 0 of 3 rounds, 0 changes\n`)
	s.stop()
	if n := strings.Count(s.log.String(), " alice authenticate ascii PASS"); n != 3 {
		t.Errorf("%d logins:\n%s", n, s.log)
	}
	for _, tt := range []struct{ options, err string }{
		{"--count 3", "--count needs --interval"},
		{"--interval 99ms", "--interval must be at least 100ms"},
		{"--interval 0", "option --interval: "},
		{"--interval 1 --count 0", "option --count: "},
		{"--interval 1 --prometheus", "--prometheus with --interval needs --output FILE"},
	} {
		got := runWith(t, secretsInEnv, "", split("check "+refused+" "+tt.options)...)
		if got.code != classUsage.exit() || !strings.Contains(got.err, tt.err) || got.out != "" {
			t.Errorf("%s: got %+v", tt.options, got)
		}
	}
	got = runWith(t, secretsInEnv, "", "check", refused, "--interval", "1", "--nagios")
	got.check(t, nagiosUnknown, `TACACS\+ UNKNOWN: --nagios and --interval cannot be used together\n`, `tacacs_plus: --nagios and --interval cannot be used together\n.*hint: .*\n`)
}

// TestHostRepeated: the lists of several -H, or of several lines of a profile, add up. -H overrides the profile.
func TestHostRepeated(t *testing.T) {
	t.Parallel()
	one, two, three := serveWith(t).addr, serveWith(t).addr, serveWith(t).addr
	dir := writeFiles(t, map[string]string{"lab": "host " + one + "\nhost " + two + "," + three + "\n"})
	for _, tt := range []struct{ line, want string }{
		{"-H ONE -H TWO", "ONE TWO"},
		{"-H ONE,TWO --host THREE", "ONE TWO THREE"},
		{"@DIR/lab", "ONE TWO THREE"},
		{"-H TWO @DIR/lab", "TWO"},
		{"-H TWO -H THREE @DIR/lab", "TWO THREE"},
		{"alice THREE -t pap @DIR/lab", "THREE"},
	} {
		pairs := []string{"ONE", one, "TWO", two, "THREE", three, "DIR", dir}
		r := askJSON(t, split(tt.line, pairs...)...)
		var got []string
		for _, s := range r.Servers {
			got = append(got, s.Server)
		}
		if want := strings.Join(split(tt.want, pairs...), " "); strings.Join(got, " ") != want || r.ExitCode != 0 {
			t.Errorf("%s: %s, want %s", tt.line, got, want)
		}
	}
	got := runWith(t, secretsInEnv, "", "check", "-H", "", "-H", one)
	got.check(t, 2, ``, `tacacs_plus: the server list "\S+" has an empty entry\n(?s:.*)`)
	// The other commands read HOST in the same way.
	got = runWith(t, secretsInEnv, "", "authenticate", "alice", "-H", refusedAddr(t), "-H", two, "-t", "pap")
	if got.code != 0 || !strings.Contains(got.err, "trying "+two) {
		t.Errorf("got %+v", got)
	}
}

// TestCheckLoneWord: a single word beside -H or a profile is USER, but not if it is most likely a server.
func TestCheckLoneWord(t *testing.T) {
	t.Parallel()
	l := listen(t)
	host, port, _ := net.SplitHostPort(l.Addr().String())
	dir := writeFiles(t, map[string]string{"prod": "host tac1.test:" + port + ",tac2.test," + l.Addr().String() + "\n", "user": "username bob\nhost tac1.test\n"})
	for _, line := range []string{
		"tac2.test @DIR/prod", "TAC2.test @DIR/prod", "tac2.test:49 @DIR/prod", "tac1.test @DIR/prod", "tac9:49 @DIR/prod", "192.0.2.1 @DIR/prod", "2001:db8::1 @DIR/prod",
		"tac1.test,tac2.test @DIR/prod", "tac3 -H tac3", "-H tac3 tac3", "HOST -H HOST:PORT", "tac1.test @DIR/user",
	} {
		got := runWith(t, secretsInEnv, "", split("check "+line, "DIR", dir, "HOST", host, "PORT", port)...)
		got.check(t, 2, ``, `tacacs_plus: \S+ is a server, and a single word is USER if -H or a profile gives HOST\ntacacs_plus: hint: use -H \S+ for the server, or -u \S+ for a user of that name\n`)
	}
	checkUntouched(t, l)
	s := serveWith(t, "--user", "tac1:"+testPassword)
	for _, line := range []string{"alice -H AT", "-u tac1 -H AT", "alice AT", "AT", "-u alice AT", "tac1 AT"} {
		if got := s.ask(t, "check "+line); got.code != 0 {
			t.Errorf("%s: got %+v", line, got)
		}
	}
}
