package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
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

// checkJSON is the part of a report that the tests below read.
type checkJSON struct {
	ExitCode exitCode `json:"exit_code"`
	Servers  []struct {
		Server        string
		Up            bool
		KeyOK         *bool `json:"key_ok"`
		Login         string
		WrongPassword string `json:"wrong_password"`
		Types         map[string]string
		Commands      []checkedCommand
		Timing        map[string]float64 `json:"timing_ms"`
		ProbeTiming   map[string]float64 `json:"probe_timing_ms"`
		TLS           map[string]any
		Error         *problem
	}
	Skipped []skippedTarget
}

// askJSON runs check with --json.
func askJSON(t *testing.T, args ...string) (r checkJSON) {
	t.Helper()
	got := runWith(t, secretsInEnv, "", append([]string{"check", "--json"}, args...)...)
	if err := json.Unmarshal([]byte(got.out), &r); err != nil || got.code != r.ExitCode {
		t.Fatalf("%v in %+v", err, got)
	}
	return r
}

// A checkedServer replies to the probe, the logins of alice, and logins with a wrong password.
type checkedServer struct {
	*fakeServer
	wrong, logins atomic.Int32
}

// startCheckedServer starts a checkedServer on l. A function that is nil stands for a healthy server; one that returns nil
// closes the connection.
func startCheckedServer(t *testing.T, l net.Listener, probe, login func(q *fakeRequest) message) *checkedServer {
	t.Helper()
	s := new(checkedServer)
	s.fakeServer = startFakeServerOn(t, l, func(c *fakeServerConn) {
		for q := range c.requests {
			var m message
			switch {
			case q.continues != nil:
				return
			case q.user == "" && probe != nil:
				m = probe(q)
			case q.user == "":
				m = &authenReply{status: authenGetUser}
			case q.typ != typeAuthen:
				c.Write(c.grantReply(q))
				continue
			case strings.HasPrefix(q.start.data, "wrong "):
				s.wrong.Add(1)
				m = &authenReply{status: authenFail}
			default:
				if s.logins.Add(1); login != nil {
					m = login(q)
				} else {
					m = &authenReply{status: authenPass}
				}
			}
			if m == nil {
				return
			}
			c.Write(c.reply(q, m))
		}
	})
	return s
}

// TestCheckLoginTime: with USER the time of a server is that of the login, in every form. The probe's is beside it.
func TestCheckLoginTime(t *testing.T) {
	t.Parallel()
	s := startCheckedServer(t, listen(t), nil, func(*fakeRequest) message {
		time.Sleep(300 * time.Millisecond)
		return &authenReply{status: authenPass}
	})
	for _, tt := range []struct {
		options string
		code    exitCode
		out     string
	}{
		{"alice -t pap", 0, `(?s).*  time: connect \S+ ms, first_reply (?:[3-9]|\d+\d)\d\d\.\d ms, total (?:[3-9]|\d+\d)\d\d\.\d ms\n  probe time: .*  login: PASS\n`},
		{"alice -t pap --nagios", 0, `TACACS\+ OK: 1/1 up, slowest \d{3,}\.\d ms \| '\S+'=(?:0\.[3-9]|[1-9])\S+s;; '\S+ probe'=\S+s\n`},
		{"alice -t pap --nagios --warn 200ms", 1, `TACACS\+ WARNING: \S+ took \d{3,}\.\d ms \| .*\n`},
		{"alice -t pap --nagios --warn 100ms --crit 200ms", 2, `TACACS\+ CRITICAL: \S+ took \d{3,}\.\d ms \| .*\n`},
		{"--nagios", 0, `TACACS\+ OK: 1/1 up, slowest \S+ ms \| '\S+'=\S+s;;\n`},
	} {
		got := runWith(t, secretsInEnv, "", split("check -H "+s.addr+" "+tt.options)...)
		got.check(t, tt.code, tt.out, ``)
	}
	r := askJSON(t, "alice", s.addr, "-t", "pap")
	if c := r.Servers[0]; c.Timing["total"] < 300 || c.Timing["first_reply"] < 300 || c.ProbeTiming["total"] <= 0 || c.ProbeTiming["first_reply"] == c.Timing["first_reply"] {
		t.Errorf("got %+v, %+v", c.Timing, c.ProbeTiming)
	}
	values := metrics(t, runWith(t, secretsInEnv, "", "check", "alice", s.addr, "-t", "pap", "--prometheus").out)
	login, _ := strconv.ParseFloat(values[`tacacs_login_seconds{server="`+s.addr+`"}`], 64)
	probe, _ := strconv.ParseFloat(values[`tacacs_phase_seconds{server="`+s.addr+`",phase="total"}`], 64)
	if login < 0.3 || probe <= 0 || probe == login {
		t.Errorf("a login of %v s, a probe of %v s", login, probe)
	}
}

// TestCheckProbeFails: a probe that fails does not stop a login that could be tried, and is a warning if that is answered.
func TestCheckProbeFails(t *testing.T) {
	t.Parallel()
	closes := func(*fakeRequest) message { return nil }
	for _, tt := range []struct {
		name         string
		probe, login func(*fakeRequest) message
		options      string
		code         exitCode
		out          string
		logins       int32
	}{
		{"the probe alone", closes, nil, "", 4, `\S+: FAILED: the probe failed: \S+ closed the connection .*\n  hint: the server answers logins, but not one without a user\n(?s).*  key: ok\n.*  login: PASS\n`, 1},
		{"the probe alone, nagios", closes, nil, "--nagios", 1, `TACACS\+ WARNING: the probe failed: \S+ closed .* \| '\S+'=\d+\.\d+s;; '\S+ probe'=U\n`, 1},
		{"both", closes, closes, "", 4, `\S+: FAILED: \S+ closed the connection (?s).*`, 1},
		{"both, nagios", closes, closes, "--nagios", 2, `TACACS\+ CRITICAL: \S+ closed .* \| '\S+'=U;; '\S+ probe'=U\n`, 1},
		{"the login alone, nagios", nil, closes, "--nagios", 2, `TACACS\+ CRITICAL: \S+ closed .* \| '\S+'=U;; '\S+ probe'=\d+\.\d+s\n`, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := startCheckedServer(t, listen(t), tt.probe, tt.login)
			runWith(t, secretsInEnv, "", split("check alice AT -t pap "+tt.options, "AT", s.addr)...).check(t, tt.code, tt.out, ``)
			if n := s.logins.Load(); n != tt.logins {
				t.Errorf("%d logins, want %d", n, tt.logins)
			}
		})
	}
	r := askJSON(t, "alice", refusedAddr(t))
	if s := r.Servers[0]; s.Up || s.Timing != nil || s.Login != "" {
		t.Errorf("a login after a refused connection: %+v", s)
	}
}

// TestCheckOpenServer: a server that accepts a login that names no user is a warning.
func TestCheckOpenServer(t *testing.T) {
	t.Parallel()
	pass := func(*fakeRequest) message { return &authenReply{status: authenPass} }
	s := startCheckedServer(t, listen(t), pass, nil)
	for options, want := range map[string]struct {
		code exitCode
		out  string
	}{
		"":                         {1, `\S+: FAILED: \S+ accepts a login without user and password\n  hint: check the server .*\n(?s).*  key: ok\n.*`},
		"-u alice -t pap":          {1, `(?s)\S+: FAILED: \S+ accepts a login without user and password\n.*  login: PASS\n`},
		"--nagios":                 {1, `TACACS\+ WARNING: \S+ accepts a login without user and password \| .*\n`},
		"-u alice -t pap --nagios": {1, `TACACS\+ WARNING: \S+ accepts a login without user and password \| .*\n`},
	} {
		runWith(t, secretsInEnv, "", split("check -H "+s.addr+" "+options)...).check(t, want.code, want.out, ``)
	}
}

// TestCheckWarningNames: the warnings of check have names.
func TestCheckWarningNames(t *testing.T) {
	t.Parallel()
	s := startCheckedServer(t, listen(t), func(*fakeRequest) message { return &authenReply{status: authenPass} }, nil)
	got := runWith(t, secretsInEnv, "", "check", s.addr, "--json")
	if got.code != 1 || !strings.Contains(got.out, `"warnings":[{"name":"open-server","message":"`+s.addr+` accepts a login without user and password"}]`) {
		t.Errorf("got %+v", got)
	}
	got = runWith(t, secretsInEnv, "", split("check alice AT -t pap --negative --interval 1 --count 1 -q --no-warn open-server", "AT", s.addr)...)
	got.check(t, 0, ``, ``)
}

// TestCheckProfileWithoutUser: without USER, options of a profile that are about logins are ignored.
func TestCheckProfileWithoutUser(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	dir := writeFiles(t, map[string]string{"lab": "authen-type pap\nnegative\ntypes\ncmd show version\nhost " + s.addr + "\n"})
	s.ask(t, "check @"+dir+"/lab").check(t, 0, `\S+: OK\n  time: .*\n  key: ok\n  single-connect: granted\n`, ``)
	s.ask(t, "check -u alice @"+dir+"/lab").check(t, 0, `(?s)\S+: OK\n.*  login: PASS\n  type ascii: PASS\n.*  command show version: PASS_ADD\n  wrong password: denied\n`, ``)
	s.ask(t, "check -t pap -H AT").check(t, 2, ``, `tacacs_plus: --authen-type needs USER\n`)
	s.ask(t, "check --types -H AT").check(t, 2, ``, `tacacs_plus: --types needs USER\n`)
}

// TestCheckAddresses: every address of a name is checked, and one that is dead fails the check. A wrong password is tried
// once for the name.
func TestCheckAddresses(t *testing.T) {
	resolveWith(t, dnsOf("127.0.0.1", "127.0.0.2"))
	first := startCheckedServer(t, listen(t), nil, nil)
	_, port, _ := net.SplitHostPort(first.addr)
	got := runWith(t, secretsInEnv, "", "check", "tac1.test:"+port)
	name := `tac1\.test:` + port
	got.check(t, classNetwork.exit(), name+` \[127\.0\.0\.1\]: OK\n(?s:.*)  single-connect: \S+\n`+name+` \[127\.0\.0\.2\]: FAILED: connect to `+name+` \[127\.0\.0\.2\]: .*\n(?s:.*)`, ``)
	values := metrics(t, runWith(t, secretsInEnv, "", "check", "tac1.test:"+port, "--prometheus").out)
	for addr, want := range map[string]string{"127.0.0.1": "1", "127.0.0.2": "0"} {
		if v := values[fmt.Sprintf(`tacacs_up{server="tac1.test:%s [%s]"}`, port, addr)]; v != want {
			t.Errorf("tacacs_up of %s is %q", addr, v)
		}
	}
	if values[fmt.Sprintf(`tacacs_phase_seconds{server="tac1.test:%s [127.0.0.1]",phase="resolve"}`, port)] == "" {
		t.Errorf("no time of the lookup in %v", values)
	}
	l, err := net.Listen("tcp", "127.0.0.2:"+port)
	if err != nil {
		t.Skip(err) // an address of its own only on Linux
	}
	t.Cleanup(func() { l.Close() })
	second := startCheckedServer(t, l, nil, nil)
	r := askJSON(t, "alice", "tac1.test:"+port, "-t", "pap", "--negative")
	if wrong := first.wrong.Load() + second.wrong.Load(); wrong != 1 || first.logins.Load() != 1 || second.logins.Load() != 1 {
		t.Errorf("%d wrong passwords, %d and %d logins", wrong, first.logins.Load(), second.logins.Load())
	}
	if len(r.Servers) != 2 || r.ExitCode != 0 || r.Servers[0].WrongPassword != "FAIL" || r.Servers[1].WrongPassword != "" {
		t.Errorf("got %+v", r)
	}
	// Two names are two wrong passwords.
	askJSON(t, "alice", "tac1.test:"+port+",tac2.test:"+port, "-t", "pap", "--negative")
	if wrong := first.wrong.Load() + second.wrong.Load(); wrong != 3 {
		t.Errorf("%d wrong passwords, want 3", wrong)
	}
}

// TestCheckOneAddress: a name with one address keeps its label.
func TestCheckOneAddress(t *testing.T) {
	resolveWith(t, dnsOf("127.0.0.1", "127.0.0.1"))
	s := startCheckedServer(t, listen(t), nil, nil)
	_, port, _ := net.SplitHostPort(s.addr)
	r := askJSON(t, "tac1.test:"+port)
	if len(r.Servers) != 1 || r.Servers[0].Server != "tac1.test:"+port || r.ExitCode != 0 {
		t.Errorf("got %+v", r)
	}
}

// TestCheckSkipsFamily: an address of a family that this host does not have is reported and skipped, unless no other is
// left.
func TestCheckSkipsFamily(t *testing.T) {
	for _, own := range localAddrs() {
		if own.Is6() && !own.IsLoopback() && !own.IsLinkLocalUnicast() {
			t.Skip("this host has IPv6")
		}
	}
	resolveWith(t, dnsOf("127.0.0.1", "2001:db8::1"))
	s := startCheckedServer(t, listen(t), nil, nil)
	_, port, _ := net.SplitHostPort(s.addr)
	skipped := "tac1.test:" + port + " [2001:db8::1]"
	r := askJSON(t, "tac1.test:"+port)
	if len(r.Servers) != 1 || r.Servers[0].Server != "tac1.test:"+port+" [127.0.0.1]" || r.ExitCode != 0 ||
		len(r.Skipped) != 1 || r.Skipped[0] != (skippedTarget{skipped, "this host has no IPv6 address"}) {
		t.Errorf("got %+v", r)
	}
	for options, want := range map[string]string{
		"":             `(?s:.*)` + regexp.QuoteMeta(skipped) + `: skipped: this host has no IPv6 address\n`,
		"--nagios":     `TACACS\+ OK: 1/1 up, .*; ` + regexp.QuoteMeta(skipped) + ` skipped: this host has no IPv6 address \| .*\n`,
		"--prometheus": `(?s:.*)`,
	} {
		runWith(t, secretsInEnv, "", split("check tac1.test:"+port+" "+options)...).check(t, 0, want, ``)
	}
	for _, line := range []string{"check tac1.test:" + port + " -6 --timeout 1", "check [2001:db8::1]:" + port + " --timeout 1"} {
		runWith(t, secretsInEnv, "", split(line)...).check(t, classNetwork.exit(), `\S+: FAILED: connect to (?s:.*)`, ``)
	}
}

// TestCheckHasFamily checks from which addresses others may be reached.
func TestCheckHasFamily(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		own, addr string
		want      bool
	}{
		{"127.0.0.1 192.0.2.7", "198.51.100.1", true},
		{"127.0.0.1 192.0.2.7", "2001:db8::1", false},
		{"127.0.0.1 ::1 192.0.2.7", "2001:db8::1", false},
		{"::1 fe80::7 192.0.2.7", "2001:db8::1", false},
		{"::1 fe80::7 192.0.2.7", "fe80::1", true},
		{"::1 2001:db8::7", "2001:db8::1", true},
		{"::1 2001:db8::7", "192.0.2.1", false},
		{"127.0.0.1", "192.0.2.1", false},
		{"127.0.0.1", "127.0.0.2", true},
		{"127.0.0.1 169.254.0.7", "192.0.2.1", true},
		{"", "2001:db8::1", true},
	} {
		var own []netip.Addr
		for a := range strings.FieldsSeq(tt.own) {
			own = append(own, netip.MustParseAddr(a))
		}
		equal(t, hasFamily(own, netip.MustParseAddr(tt.addr)), tt.want, "from", tt.own, "to", tt.addr)
	}
	if !hasFamily([]netip.Addr{netip.MustParseAddr("127.0.0.1")}, netip.Addr{}) {
		t.Error("a name without an address has no family")
	}
}

// TestCheckTypesStop: after three FAILs no other type is tried. ERROR does not count. The type of the login is not tried
// twice.
func TestCheckTypesStop(t *testing.T) {
	t.Parallel()
	fails := func(types ...authenType) func(q *fakeRequest) message {
		return func(q *fakeRequest) message {
			for _, typ := range types {
				if q.start.typ == typ {
					return &authenReply{status: authenFail}
				}
			}
			return &authenReply{status: authenPass}
		}
	}
	for _, tt := range []struct {
		name   string
		login  func(q *fakeRequest) message
		typ    string
		logins int32
		want   string // status of each type
		wrong  int32
	}{
		{"all pass", nil, "pap", 5, "PASS PASS PASS PASS PASS", 1},
		{"all fail", func(*fakeRequest) message { return &authenReply{status: authenFail} }, "pap", 3, "FAIL FAIL FAIL - -", 0},
		{"all fail, the last type first", func(*fakeRequest) message { return &authenReply{status: authenFail} }, "mschapv2", 3, "FAIL FAIL - - FAIL", 0},
		{"all ERROR", func(*fakeRequest) message { return &authenReply{status: authenError} }, "pap", 5, "ERROR ERROR ERROR ERROR ERROR", 1},
		{"three fail", fails(authenCHAP, authenMSCHAP, authenMSCHAPv2), "pap", 5, "PASS PASS FAIL FAIL FAIL", 0},
		{"one fails", fails(authenCHAP), "pap", 5, "PASS PASS FAIL PASS PASS", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := startCheckedServer(t, listen(t), nil, tt.login)
			options := "--types --negative -t " + tt.typ
			if tt.typ != "pap" {
				options = "--types -t " + tt.typ
			}
			r := askJSON(t, append(split(options), "alice", s.addr)...)
			var got []string
			for _, name := range []string{"ascii", "pap", "chap", "mschap", "mschapv2"} {
				if r.Servers[0].Types[name] == "" {
					r.Servers[0].Types[name] = "-"
				}
				got = append(got, r.Servers[0].Types[name])
			}
			if n, wrong := s.logins.Load(), s.wrong.Load(); strings.Join(got, " ") != tt.want || n != tt.logins || wrong != tt.wrong {
				t.Errorf("%s after %d logins and %d wrong passwords, want %s after %d and %d", got, n, wrong, tt.want, tt.logins, tt.wrong)
			}
		})
	}
}

// TestCheckNegativeAfterDenial: no wrong password is tried at any server once one denied a login.
func TestCheckNegativeAfterDenial(t *testing.T) {
	t.Parallel()
	good := startCheckedServer(t, listen(t), nil, nil)
	bad := startCheckedServer(t, listen(t), nil, func(*fakeRequest) message { return &authenReply{status: authenFail} })
	got := runWith(t, secretsInEnv, "", "check", "alice", good.addr+","+bad.addr, "-t", "pap", "--negative")
	got.check(t, 1, `(?s)\S+: OK\n.*  wrong password: not tried after a denied login\n.*  wrong password: not tried after a denied login\n`, ``)
	if n := good.wrong.Load() + bad.wrong.Load(); n != 0 {
		t.Errorf("%d wrong passwords", n)
	}
	if out := runWith(t, secretsInEnv, "", "check", "alice", bad.addr, "-t", "pap", "--negative", "--prometheus").out; strings.Contains(out, "tacacs_wrong_password_refused") {
		t.Errorf("got %s", out)
	}
	got = runWith(t, secretsInEnv, "", "check", "alice", good.addr, "-t", "pap", "--negative", "--interval", "59", "--count", "1")
	if !strings.Contains(got.err, "warning: --negative fails a login every 59s: the server may lock the account of alice\n") {
		t.Errorf("got %+v", got)
	}
	got = runWith(t, secretsInEnv, "", "check", "alice", good.addr, "-t", "pap", "--negative", "--interval", "60", "--count", "1")
	if strings.Contains(got.err, "warning") {
		t.Errorf("got %+v", got)
	}
}

// TestCheckCommands: --cmd authorizes commands, each with the verdict that is expected.
func TestCheckCommands(t *testing.T) {
	t.Parallel()
	s := serveWith(t, "--permit", "^show", "--deny", ".")
	for _, tt := range []struct {
		commands []string
		options  string
		code     exitCode
		out      string
	}{
		{[]string{"show version"}, "", 0, `(?s)\S+: OK\n.*  login: PASS\n  command show version: PASS_ADD\n`},
		{[]string{"+ show version", "-reload"}, "", 0, `(?s)\S+: OK\n.*  command show version: PASS_ADD\n  command reload: FAIL\n`},
		{[]string{"reload"}, "", 1, `(?s)\S+: FAILED: \S+ replied to the command "reload" with FAIL: .*  command reload: FAIL  <- not as expected\n`},
		{[]string{"-show version", "reload"}, "", 1, `(?s)\S+: FAILED: \S+ replied to the command "show version" with PASS_ADD.*  command reload: FAIL  <- not as expected\n`},
		{[]string{"reload"}, "--nagios", 2, `TACACS\+ CRITICAL: \S+ replied to the command "reload" with FAIL: .* \| .*\n`},
		{[]string{"  "}, "", 2, ``},
		{[]string{"-"}, "", 2, ``},
		{[]string{"show", "-show"}, "", 2, ``},
		{[]string{"show \x01"}, "", 2, ``},
	} {
		args := split("check alice AT "+tt.options, "AT", s.addr)
		for _, c := range tt.commands {
			args = append(args, "--cmd="+c)
		}
		got := runWith(t, secretsInEnv, "", args...)
		if got.code == classUsage.exit() {
			got.err = ""
		}
		got.check(t, tt.code, tt.out, ``)
	}
	values := metrics(t, s.ask(t, "check alice AT --prometheus --cmd show --cmd reload").out)
	for command, want := range map[string]string{"show": "1", "reload": "0"} {
		if v := values[`tacacs_command_ok{server="`+s.addr+`",command="`+command+`"}`]; v != want {
			t.Errorf("%s: %q", command, v)
		}
	}
	r := askJSON(t, "alice", s.addr, "--cmd", "-reload")
	if c := r.Servers[0].Commands; len(c) != 1 || c[0] != (checkedCommand{"reload", "FAIL", true}) {
		t.Errorf("got %+v", c)
	}
	erring := serveWith(t, "--fault", "error")
	if r := askJSON(t, "alice", erring.addr, "--cmd", "-reload"); r.Servers[0].Commands[0].AsExpected || r.ExitCode != classServer.exit() {
		t.Errorf("an ERROR as a denial: %+v", r)
	}
	if out := erring.ask(t, "check alice AT --cmd -reload --prometheus").out; strings.Contains(out, "tacacs_command_ok") {
		t.Errorf("got %s", out)
	}
}

// TestCheckNegativeUnmeasured: only a denial refuses the wrong password, not a prompt for more or an ERROR.
func TestCheckNegativeUnmeasured(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		status authenStatus
		code   exitCode
		metric string
	}{{authenFail, 0, "1"}, {authenFollow, 0, "1"}, {authenGetData, 1, ""}, {authenError, 3, ""}, {authenPass, 1, "0"}} {
		s := startFakeServer(t, func(c *fakeServerConn) {
			for q := c.readRequest(); q != nil; q = c.readRequest() {
				m := &authenReply{status: authenGetPass}
				if q.continues != nil {
					m.status = choose(strings.HasPrefix(q.continues.userMsg, "wrong "), tt.status, authenPass)
				}
				c.Write(c.reply(q, m))
			}
		})
		got := runWith(t, secretsInEnv, "", "check", "alice", s.addr, "--negative", "--prometheus")
		if v := metrics(t, got.out)[`tacacs_wrong_password_refused{server="`+s.addr+`"}`]; got.code != tt.code || v != tt.metric {
			t.Errorf("%s: %q, %+v", tt.status, v, got)
		}
	}
}

// TestCheckUnmeasured: what was not measured is U for Nagios, and is absent elsewhere.
func TestCheckUnmeasured(t *testing.T) {
	t.Parallel()
	dir := testFiles(t)
	s := serveWith(t) // without TLS
	const tls = "--tls --cacert DIR/ca.pem"
	runWith(t, secretsInEnv, "", split("check alice AT --nagios "+tls, "AT", s.addr, "DIR", dir)...).
		check(t, 2, `TACACS\+ CRITICAL: TLS with .* \| '\S+'=U;; '\S+ probe'=U '\S+ days'=U;30:;7:\n`, ``)
	out := runWith(t, secretsInEnv, "", split("check alice AT --prometheus "+tls, "AT", s.addr, "DIR", dir)...).out
	values := metrics(t, out)
	for _, name := range []string{"tacacs_tls", "tacacs_login_seconds", "tacacs_status", "tacacs_key_ok", `phase="total"`, `tacacs_type`, "tacacs_wrong", "tacacs_command"} {
		if strings.Contains(out, name) {
			t.Errorf("%s in %s", name, out)
		}
	}
	if values[`tacacs_up{server="`+s.addr+`"}`] != "0" || values[`tacacs_error{server="`+s.addr+`",class="TLS"}`] != "1" {
		t.Errorf("got %s", out)
	}
	r := askJSON(t, split("alice AT "+tls, "AT", s.addr, "DIR", dir)...)
	if c := r.Servers[0]; c.TLS["days_left"] != nil || c.Timing != nil {
		t.Errorf("got %+v", c)
	}
	if out := runWith(t, secretsInEnv, "", split("check alice AT "+tls, "AT", s.addr, "DIR", dir)...).out; strings.Contains(out, "days left") {
		t.Errorf("got %s", out)
	}
}

// TestCheckCertificates: the days left are those of the server's certificate, its authorities and the own certificate.
func TestCheckCertificates(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, nil)
	ca := newTestCA(t, dir, "ca")
	days := func(n int) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.NotAfter = time.Now().Add(time.Duration(n)*24*time.Hour + time.Hour) }
	}
	ca.issue(t, "server", 2, days(100))
	ca.issue(t, "client", 3, days(20))
	s := serveWith(t, split("--tls --cert DIR/server.pem --cert-key DIR/server.key", "DIR", dir)...)
	const tls, own = "--tls --cacert DIR/ca.pem", " --cert DIR/client.pem --cert-key DIR/client.key"
	for _, tt := range []struct {
		options string
		code    exitCode
		out     string
	}{
		{tls, 0, `TACACS\+ OK: .* '\S+ days'=100;30:;7:\n`},
		{tls + " --cert-days 101", 1, `TACACS\+ WARNING: the certificate of \S+ has 100 days left \| .*;101:;7:\n`},
		{tls + " --cert-days 200,101", 2, `TACACS\+ CRITICAL: the certificate of \S+ has 100 days left \| .*=100;200:;101:\n`},
		{tls + " --cert-days 3", 0, `TACACS\+ OK: .*=100;3:;3:\n`},
		{tls + own, 1, `TACACS\+ WARNING: the certificate of this client has 20 days left \| .* '\S+ days'=100;30:;7: 'own certificate'=20;30:;7:\n`},
		{tls + own + " --cert-days 21,21", 2, `TACACS\+ CRITICAL: the certificate of this client has 20 days left \| .*\n`},
		{tls + own + " --cert-days 20,10", 0, `TACACS\+ OK: .*\n`},
	} {
		runWith(t, secretsInEnv, "", split("check AT --nagios "+tt.options, "AT", s.addr, "DIR", dir)...).check(t, tt.code, tt.out, ``)
	}
	values := metrics(t, runWith(t, secretsInEnv, "", split("check AT --prometheus "+tls+own, "AT", s.addr, "DIR", dir)...).out)
	for name, left := range map[string]int{"tacacs_tls_not_after_seconds": 100, "tacacs_tls_chain_not_after_seconds": 100, "tacacs_tls_client_not_after_seconds": 20} {
		v, _ := strconv.ParseFloat(values[name+`{server="`+s.addr+`"}`], 64)
		if got := time.Until(time.Unix(int64(v), 0)).Hours() / 24; int(got) != left {
			t.Errorf("%s: %v days left", name, got)
		}
	}
	if values[`tacacs_tls_info{server="`+s.addr+`",version="TLS 1.3"}`] != "1" {
		t.Errorf("no version of TLS in %v", values)
	}
	for _, wrong := range []string{"x", "-1", "7,30", "30,x", "30,-1", "3651", "30,7,1", ""} {
		got := runWith(t, secretsInEnv, "", "check", s.addr, "--nagios", "--cert-days", wrong)
		if got.code != nagiosUnknown || !strings.Contains(got.err, "option --cert-days: ") {
			t.Errorf("%s: got %+v", wrong, got)
		}
	}
}

// TestCheckChain: an authority that expires before the certificate counts.
func TestCheckChain(t *testing.T) {
	t.Parallel()
	now := time.Now()
	cert := func(days int) *x509.Certificate {
		return &x509.Certificate{NotAfter: now.Add(time.Duration(days)*24*time.Hour + time.Hour)}
	}
	facts := func(days int, chains ...[]*x509.Certificate) *tlsFacts {
		f := &tlsFacts{}
		f.learn(&tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert(days)}, VerifiedChains: chains})
		return f
	}
	for _, tt := range []struct {
		facts *tlsFacts
		want  int
	}{
		{facts(100, []*x509.Certificate{cert(100), cert(5), cert(300)}), 5},
		{facts(100, []*x509.Certificate{cert(100), cert(5)}, []*x509.Certificate{cert(100), cert(60)}), 60},
		{facts(100), 100},
		{facts(-2), -1},
	} {
		if got, known := daysLeft(tt.facts.ChainNotAfter); got != tt.want || !known {
			t.Errorf("got %d, want %d", got, tt.want)
		}
	}
	s := &serverCheck{Server: "tac1:300", plan: new(checkPlan), TLS: facts(100, []*x509.Certificate{cert(100), cert(5)})}
	for limits, want := range map[dayLimits]exitCode{{30, 7}: nagiosCritical, {30, 5}: nagiosWarning, {5, 1}: nagiosOK} {
		if state, text := s.nagios(nagiosLimits{certDays: limits}); state != want || state != nagiosOK && text != "an authority of the certificate of tac1:300 has 5 days left" {
			t.Errorf("%v: %d %s", limits, int(state), text)
		}
	}
}

// TestCheckLabels: labels of performance data have at most 19 characters, and are unique.
func TestCheckLabels(t *testing.T) {
	t.Parallel()
	name := func(host string, port uint16) server { return newServer(host, port) }
	address := func(host string, port uint16, addr string) server {
		s := newServer(host, port)
		s.addr = netip.MustParseAddr(addr)
		s.name += " [" + addr + "]"
		return s
	}
	for _, tt := range []struct {
		suffix  string
		servers []server
		want    string
	}{
		{"", []server{name("tac1", 49), name("255.255.255.255", 49)}, "tac1:49|255.255.255.255:49"},
		{" days", []server{name("tac1", 300), name("192.0.2.1", 300), name("192.0.2.100", 300)}, "tac1:300 days|192.0.2.1:300 days|192.0.2.100 days"},
		{"", []server{name("tac1.example.com", 49), name("tac2.a.very.long.example.com", 49)}, "tac1.example.com:49|tac2:49"},
		{"", []server{address("tac1", 49, "192.0.2.1"), address("tac1", 49, "192.0.2.200")}, "tac1:49 [192.0.2.1]|tac1 192.0.2.200"},
		{"", []server{address("tac1.example.com", 49, "2001:db8:1:2:3:4:5:6")}, "001:db8:1:2:3:4:5:6"},
		{"", []server{name("tac.one.very.long.example.com", 49), name("tac.two.very.long.example.com", 49)}, "tac:49|tac"},
		{"", []server{name("tac.one.very.long.example.com", 49), name("tac.two.very.long.example.com", 49), name("tac.three.very.long.example.com", 49)}, "tac:49|tac|tac~2"},
		{"", []server{name("a'b=c", 49)}, "a''b_c:49"},
	} {
		var labels perfLabels
		for _, s := range tt.servers {
			if l := labels.add(s, tt.suffix); len(strings.ReplaceAll(l, "''", "'")) > maxPerfLabel {
				t.Errorf("%s has %d characters", l, len(l))
			}
		}
		equal(t, strings.Join(labels, "|"), tt.want)
	}
}

// TestCheckTimestamp: the metrics have the time of the check, in seconds.
func TestCheckTimestamp(t *testing.T) {
	t.Parallel()
	s, began := serveWith(t), time.Now().Truncate(time.Millisecond)
	values := metrics(t, s.ask(t, "check AT --prometheus").out)
	v, err := strconv.ParseFloat(values[`tacacs_check_timestamp_seconds{server="`+s.addr+`"}`], 64)
	if at := time.UnixMilli(int64(v * 1000)); err != nil || at.Before(began.Add(-time.Millisecond)) || at.After(time.Now()) {
		t.Errorf("%v at %v, began %v", err, at, began)
	}
}

// TestCheckMisusedOutput: a check that fails before it asks replaces the report of an earlier success.
func TestCheckMisusedOutput(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"profile": "prometheus\noutput out\nhost tac9\nfrobnicate\n"})
	file := filepath.Join(dir, "out")
	for _, tt := range []struct {
		line string
		code exitCode
		want string
	}{
		{"check tac1,tac2 --prometheus --key-file DIR/missing", 2, `tacacs_up{server="tac1:49"} 0` + "\n" + `tacacs_up{server="tac2:49"} 0`},
		{"check tac1 --prometheus --key-file DIR/missing", 2, `tacacs_error{server="tac1:49",class="usage"} 1`},
		{"check tac1 --prometheus --types", 2, `tacacs_up{server="tac1:49"} 0`},
		{"check tac1 --prometheus --tls --cacert DIR/missing", 2, `tacacs_up{server="tac1:300"} 0`},
		{"check --prometheus", 2, "\ntacacs_up 0\n"},
		{"check @DIR/profile", 2, `tacacs_up{server="tac9:49"} 0`},
		{"check tac1 --key-file DIR/missing", 2, "tac1:49: FAILED: read the key: "},
		{"check tac1 --json --key-file DIR/missing", 2, `"servers":[{"server":"tac1:49","up":false,"error":{"class":"usage",`},
		{"check tac1 --nagios --key-file DIR/missing", 3, "TACACS+ UNKNOWN: read the key: "},
	} {
		must(t, os.WriteFile(file, []byte("yesterday"), 0o600))
		got := runWith(t, secretsInEnv, "", split(tt.line+" --output OUT", "DIR", dir, "OUT", file)...)
		text, err := os.ReadFile(file)
		if err != nil || got.code != tt.code || !strings.Contains(string(text), tt.want) || strings.Contains(string(text), "yesterday") {
			t.Errorf("%s: %v, %+v, %s", tt.line, err, got, text)
		}
	}
	// Without a place for it, nothing else changes.
	got := runWith(t, secretsInEnv, "", split("check tac1 --prometheus --key-file DIR/missing --output DIR/no/file", "DIR", dir)...)
	if got.code != 2 || !strings.Contains(got.err, "write the report: ") || !strings.Contains(got.err, "read the key: ") || got.out != "" {
		t.Errorf("got %+v", got)
	}
}

// TestCheckConcurrency: servers are asked in parallel, at most 32 at a time.
func TestCheckConcurrency(t *testing.T) {
	t.Parallel()
	const n = 40
	var mu sync.Mutex
	open, most := 0, 0
	count := func(by int) {
		mu.Lock()
		defer mu.Unlock()
		open += by
		most = max(most, open)
	}
	var servers []string
	for range n {
		s := startFakeServer(t, func(c *fakeServerConn) {
			count(1)
			defer count(-1)
			q := c.readRequest()
			time.Sleep(100 * time.Millisecond)
			c.Write(c.reply(q, &authenReply{status: authenGetUser}))
		})
		servers = append(servers, s.addr)
	}
	got := runWith(t, secretsInEnv, "", "check", strings.Join(servers, ","), "-q")
	mu.Lock()
	defer mu.Unlock()
	if got.code != 0 || most > maxConcurrent+2 || most < maxConcurrent/2 { // a server may see the next connection before the end of the last
		t.Errorf("%d at a time: %+v", most, got)
	}
}

// TestCheckWatchTotals: the totals have the least, the average and the longest time that was measured.
func TestCheckWatchTotals(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var stderr lockedBuffer
		inv := &invocation{command: command{name: "check"}, std: stdio{err: &stderr, out: new(lockedBuffer)}}
		times := []time.Duration{4, 2, 0, 9}
		w := &watch{inv: inv, interval: time.Second, count: len(times)}
		result, err := w.run(t.Context(), func(context.Context) *checkReport {
			took := times[w.rounds]
			s := &serverCheck{Server: "tac1:49", plan: new(checkPlan), probe: sessionTime{&timing{total: took * time.Millisecond}, took > 0}}
			return &checkReport{report: inv.newReport(), Servers: []*serverCheck{s}}
		})
		if inv.finish(result, err) != 0 || stderr.String() != "tacacs_plus: tac1:49: OK in 4 of 4 rounds, 0 changes, min 2.0 ms, average 5.0 ms, max 9.0 ms\n" {
			t.Errorf("%v: %s", err, &stderr)
		}
	})
}

// TestCheckWatchAddresses: a name may have other addresses in a later round.
func TestCheckWatchAddresses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var stdout, stderr lockedBuffer
		inv := &invocation{command: command{name: "check"}, std: stdio{err: &stderr, out: &stdout}}
		rounds := []string{"a", "a b", "b", "a b"}
		w := &watch{inv: inv, interval: time.Second, count: len(rounds)}
		result, err := w.run(t.Context(), func(context.Context) *checkReport {
			r := &checkReport{report: inv.newReport()}
			for name := range strings.FieldsSeq(rounds[w.rounds]) {
				r.Servers = append(r.Servers, serverCheckOf(name, 'k'))
			}
			return r
		})
		inv.finish(result, err)
		const at = "2000-01-01T00:00:0"
		if want := at + "0.000Z a: OK\n" + at + "1.000Z b: OK\n" + at + "3.000Z a: OK\n"; stdout.String() != want {
			t.Errorf("got\n%swant\n%s", &stdout, want)
		}
		if got := stderr.String(); !strings.Contains(got, "a: OK in 3 of 3 rounds, 1 change,") || !strings.Contains(got, "b: OK in 3 of 3 rounds, 0 changes,") {
			t.Errorf("got %s", got)
		}
	})
}

// TestCheckSeverity: a known fault is worse than a lack of this host, which is worse than a warning.
func TestCheckSeverity(t *testing.T) {
	t.Parallel()
	local, network := failf(classLocal, "too many open files"), failf(classNetwork, "no reply")
	for _, tt := range []struct {
		first, second error
		state         exitCode // of a network error
		want          exitCode
	}{
		{local, network, nagiosCritical, nagiosCritical},
		{network, local, nagiosCritical, nagiosCritical},
		{network, local, nagiosWarning, nagiosUnknown},
		{local, network, nagiosWarning, nagiosUnknown},
	} {
		s := new(serverCheck)
		s.fail(tt.first, tt.state)
		s.fail(tt.second, tt.state)
		if s.state != tt.want {
			t.Errorf("%v, %v: state %d, want %d", tt.first, tt.second, int(s.state), int(tt.want))
		}
	}
}

// TestCheckEmptyBody: a login is tried after an empty reply to the probe.
func TestCheckEmptyBody(t *testing.T) {
	t.Parallel()
	if r := askJSON(t, "alice", serveWith(t, "--fault", "empty-body").addr); r.Servers[0].Timing == nil {
		t.Errorf("no login: %+v", r)
	}
}
