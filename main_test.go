package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// TestMain runs the program instead of the tests if the test binary has the name of the program.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "tacacs_plus" {
		main()
	}
	// The first Notify starts the signal goroutine of the runtime, which must not be part of a synctest
	// bubble. In a background job or under nohup these signals are ignored, and child processes inherit
	// that. A Notify that is not stopped gives them the default action.
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGHUP} {
		ignored, watch := signal.Ignored(s), make(chan os.Signal, 1)
		if signal.Notify(watch, s); !ignored {
			signal.Stop(watch)
		}
	}
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: dialNameServer}
	// Most tests wait for a timeout and use little CPU time.
	if err := flag.Set("test.parallel", "24"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// TestCommands runs every command with every reply of a correct server.
func TestCommands(t *testing.T) {
	t.Parallel()
	s := serveWith(t, "--deny", "^configure", "--permit", "^show|^service=ppp", "--user", "old:"+testPassword, "--must-change", "old")
	for _, tt := range []struct {
		line string
		code exitCode
		out  string // a regular expression for all of stdout
		err  string // likewise for stderr
	}{
		{"authenticate alice AT", 0, `PASS\n`, ``},
		{"authenticate alice AT -t pap", 0, `PASS\n`, ``},
		{"authenticate alice AT -t chap", 0, `PASS\n`, ``},
		{"authenticate alice AT -t chap --chap-id 200 --chap-challenge 0102030405060708090a", 0, `PASS\n`, ``},
		{"authenticate alice AT -t mschap", 0, `PASS\n`, ``},
		{"authenticate alice AT -t mschapv2", 0, `PASS\n`, ``},
		{"authenticate alice AT -q", 0, ``, ``},
		{"-u alice -H AT authenticate", 0, `PASS\n`, ``},
		{"authenticate '' AT --answer alice", 0, `PASS\n`, ``},
		{"authenticate alice AT --password no", 1, `FAIL: Password incorrect\. Password:\n`, ``},
		{"authenticate alice AT --password no --answer no --answer no --answer-repeated", 1, `FAIL: Login incorrect\n`, ``},
		{"authenticate alice AT --password no --answer Pa55 --answer no --answer-repeated", 1, `FAIL: Login incorrect\n`, ``},
		{"authenticate alice AT -t pap --password no", 1, `FAIL: Login incorrect\n`, ``},
		{"authenticate alice AT -t pap --password no -q", 1, ``, ``},
		{"authenticate alice AT -t chap --password no", 1, `FAIL: Login incorrect\n`, ``},
		{"authenticate unknown AT -t mschapv2", 1, `FAIL: Login incorrect\n`, ``},
		{"authenticate old AT -t pap", 1, `FAIL: Password change required\n`, ``},
		{"authenticate old AT", 1, `GETPASS: New password:\n`, `tacacs_plus: unanswered prompt: New password: \(use --answer\)\n`},
		{"enable alice AT", 0, `PASS\n`, ``},
		{"enable alice AT -t pap -l 7", 0, `PASS\n`, ``},
		{"authorize alice AT", 0, `PASS_ADD\n  priv-lvl=15\n`, ``},
		{"authorize alice AT service=shell cmd= priv-lvl*1", 0, `PASS_REPL\n  service=shell\n  cmd=\n  priv-lvl=15\n`, ``},
		{"authorize alice AT --require priv-lvl=15", 0, `PASS_ADD\n  priv-lvl=15\n`, ``},
		{"authorize alice AT --require priv-lvl=1", 1, `PASS_ADD\n  priv-lvl=15\n`, `.*required priv-lvl=1 not granted \(got priv-lvl=15\)\n`},
		{"authorize alice AT -c service=shell cmd=show cmd-arg=version", 0, `PASS_ADD\n`, ``},
		{"authorize alice AT service=shell cmd=configure", 1, `FAIL: command not permitted\n`, ``},
		{"authorize alice AT service=ppp protocol=ip", 0, `PASS_ADD\n`, ``},
		{"authorize bob AT", 1, `FAIL: unknown user\n`, ``},
		{"account alice AT", 0, `SUCCESS task_id=[0-9a-f]{16}\n`, ``},
		{"account alice AT -f start --task-id 7", 0, `SUCCESS task_id=7\n`, ``},
		{"account alice AT -f stop task_id=8", 0, `SUCCESS task_id=8\n`, ``},
		{"account alice AT -f update", 0, `SUCCESS task_id=\S+\n`, `tacacs_plus: warning: no --task-id: the watchdog record matches no start record\n`},
		{"account alice AT -f watchdog-update -q", 0, ``, ``},
		{"authenticate alice AT -k another-key-than-the-server", 5, ``, `(?s)tacacs_plus: the reply of \S+ cannot be read with this key \(.*\)\ntacacs_plus: hint: the shared key differs.*`},
		{"authorize alice AT -k another-key-than-the-server", 5, ``, `(?s).*cannot be read with this key.*`},
		{"account alice AT -k another-key-than-the-server", 5, ``, `(?s).*cannot be read with this key.*`},
		{"authenticate alice AT --unencrypted", 5, ``, `(?s).*the reply of \S+ is obfuscated despite --unencrypted\n.*`},
	} {
		t.Run(tt.line, func(t *testing.T) { s.ask(t, tt.line).check(t, tt.code, tt.out, tt.err) })
	}
	if code := s.stop(); code != classGranted.exit() {
		t.Errorf("serve ended with %d, want 0", code)
	}
}

// TestPasswordChanges runs every dialogue that changes a password.
func TestPasswordChanges(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"new": "new1\n", "again": "new2\n"})
	s := serveWith(t, "--user", "old:"+testPassword, "--must-change", "old")
	for _, tt := range []struct {
		line string
		code exitCode
		out  string
	}{
		{"chpass alice AT --new-password-file DIR/new", 0, `PASS: Password changed\n`},
		{"authenticate alice AT -t pap", 1, `FAIL.*\n`},
		{"authenticate alice AT -t pap --password-file DIR/new", 0, `PASS\n`},
		{"chpass alice AT --password-file DIR/new --new-password-file DIR/again", 0, `PASS: Password changed\n`},
		{"chpass alice AT --new-password-file DIR/new", 1, `FAIL: Password incorrect.*\n`},
		{"authenticate old AT --answer a --answer b", 1, `FAIL: The new passwords differ or are empty\n`},
		{"authenticate old AT --answer a --answer a", 0, `PASS: Password changed\n`},
		{"authenticate old AT --password a", 0, `PASS\n`},
	} {
		got := runWith(t, secretsInEnv, "", split(tt.line, "AT", s.addr, "DIR", dir)...)
		if got.code != tt.code || !regexp.MustCompile(`^`+tt.out+`$`).MatchString(got.out) {
			t.Errorf("%s: got %d %q, want %d %q\n%s", tt.line, int(got.code), got.out, int(tt.code), tt.out, got.err)
		}
	}
}

// TestFaults runs the client against every fault of serve. It checks the exit code and the first line of the
// error, and that the client does not hang.
func TestFaults(t *testing.T) {
	t.Parallel()
	var all subtests
	defer all.Wait()
	const login, pap, brief = "authenticate alice AT --timeout 1m", "authenticate alice AT -t pap --timeout 1m", "authenticate alice AT --timeout 1s"
	const author, acct = "authorize alice AT --timeout 1m", "account alice AT --task-id 1 --timeout 1m"
	for _, tt := range []struct {
		fault, line string
		code        exitCode
		out, err    string // regular expressions for stdout and for the first line of stderr
	}{
		{"noecho-pass", login, 0, `PASS\n`, ``},
		{"getuser", login, 0, `PASS\n`, ``},
		{"getuser", pap, 5, ``, `.* sent an unexpected GETUSER in reply to pap`},
		{"getdata", login, 1, `GETDATA: Token:\n`, `unanswered prompt: Token: \(use --answer\)`},
		{"getdata", login + " --answer 123456", 0, `PASS\n`, ``},
		{"getpass-forever", login, 1, `FAIL: Password:\n`, ``},
		{"getpass-forever", login + strings.Repeat(" --answer x", 200) + " --answer-repeated", 5, ``, `.*: sequence numbers exhausted; the login may have taken effect`},
		{"restart", login, 0, `PASS\n`, `warning: the server requested a restart with pap instead of ascii`},
		{"restart-empty", login, 1, `RESTART: type not allowed here\n`, `hint: try another --authen-type: the server does not accept ascii`},
		{"restart-empty", "authenticate '' AT --answer bob --timeout 1m", 1, `RESTART: type not allowed here\n`, `hint: give USER: only ascii can do without, and the server does not accept it`},
		{"restart", "authenticate alice AT -t chap --timeout 1m", 0, `PASS\n`, ``},
		{"follow", login, 1, `FOLLOW\n`, `hint: give the right server as HOST: the server refers to .*`},
		{"follow", author, 1, `FOLLOW\n`, `hint: give the right server as HOST: the server refers to .*`},
		{"follow", acct, 1, `FOLLOW task_id=1\n`, `hint: give the right server as HOST: the server refers to .*`},
		{"error", login, 3, `ERROR: database down\n`, ``},
		{"error", author, 3, `ERROR: database down\n`, ``},
		{"error", acct, 3, `ERROR: database down task_id=1\n`, ``},
		{"fail", login, 1, `FAIL: Account locked\\x08\n`, ``},
		{"fail", author, 1, `FAIL: Denied by policy\n  reason=policy\n`, ``},
		{"silent", brief, 4, ``, `no reply from .* within 1s`},
		{"close", login, 4, ``, `.* closed the connection before it answered`},
		{"reset", login, 4, ``, `.* closed the connection before it answered`},
		{"close-after-header", login, 4, ``, `.* closed the connection in the middle of its reply, after 12 bytes`},
		{"header-cut", login, 4, ``, `.* closed the connection in the middle of its reply, after 5 bytes`},
		{"body-cut", login, 4, ``, `.* closed the connection in the middle of its reply, after 15 bytes`},
		{"body-stall", brief, 4, ``, `the reply of .* was cut off after 15 bytes: timed out after 1s`},
		{"header-split", login, 0, `PASS\n`, ``},
		{"drip", brief, 4, ``, `the reply of .* was cut off after \d+ bytes: timed out after 1s`},
		{"drip", pap, 0, `PASS\n`, ``},
		{"wrong-key", login, 5, ``, `the reply of .* cannot be read with this key \(.*\)`},
		{"wrong-key", author, 5, ``, `the reply of .* cannot be read with this key \(.*\)`},
		{"wrong-key", acct, 5, ``, `the reply of .* cannot be read with this key \(.*\)`},
		{"unencrypted", login, 5, ``, `the reply of .* is not obfuscated although a key is in use: the UNENCRYPTED flag is set`},
		{"seq-plus-7", login, 5, ``, `the reply of .* has seq_no 9, not 2`},
		{"seq-same", login, 5, ``, `the reply of .* has seq_no 1, not 2`},
		{"session", login, 5, ``, `the reply of .* has session_id [0-9a-f]{8}, not [0-9a-f]{8}`},
		{"type", login, 5, ``, `the reply of .* has type authorization, not authentication`},
		{"major-version", login, 5, ``, `the reply of .* is not TACACS\+: it begins with 0xb0, not 0xc0 or 0xc1`},
		{"minor-version", login, 5, ``, `the reply of .* has version 0xc.1, not 0xc.0`},
		{"minor-version", pap, 5, ``, `the reply of .* has version 0xc.0, not 0xc.1`},
		{"length-max", login, 5, ``, `the reply of .* claims a body of 4294967295 bytes, the limit is 65535`},
		{"lengths-overflow", login, 5, ``, `the reply of .* cannot be read with this key \(.*\)`},
		{"lengths-overflow", author, 5, ``, `the reply of .* cannot be read with this key \(.*\)`},
		{"lengths-overflow", acct, 5, ``, `the reply of .* cannot be read with this key \(.*\)`},
		{"empty-body", login, 3, ``, `.* answers with an empty body`},
		{"unknown-status", login, 5, ``, `.* sent the unknown status 0x63`},
		{"unknown-status", author, 5, ``, `.* sent the unknown status 0x63`},
		{"unknown-status", acct, 5, ``, `.* sent the unknown status 0x63`},
		{"non-utf8", login, 0, `PASS: caf\\xe9 \\xff\\xfe\n`, ``},
		{"non-utf8", acct, 0, `SUCCESS: caf\\xe9 task_id=1\n`, ``},
		{"terminal-escape", login, 0, `PASS: \\x1b\[2J\\x1b\]0;owned\\x07\\xc2\\x9b31mred\\x0d\\nline\n`, ``},
		{"terminal-escape", author, 0, `PASS_ADD: \\x1b\[2J\n  x=\\x1b\[2J\n`, `warning: x=.* is mandatory and not defined in RFC 8907 section 8.2.*`},
		{"args-max", author, 0, `PASS_ADD\n(?:  a=x{253}\n)+`, `warning: a=x*\.\.\. \(and 254 more\) is mandatory.*`},
		{"unknown-mandatory", author, 0, `PASS_REPL\n  service=shell\n  frobnicate=yes\n`, `warning: frobnicate=yes is mandatory and not defined in RFC 8907 section 8.2: .*`},
		{"single-close", login + " --single-connect -v", 0, `(?s).*single-connect: granted\n.*`, ``},
		{"single-swallow", login + " --single-connect -v", 0, `(?s).*single-connect: granted\n.*`, ``},
		{"single-refused", login + " --single-connect -v", 0, `(?s).*single-connect: refused\n.*`, ``},
		{"tls-alert", login, 5, ``, `the reply of .* is not TACACS\+: it begins with 0x15, not 0xc0 or 0xc1`},
		{"http", login, 5, ``, `the reply of .* is not TACACS\+: it begins with 0x48, not 0xc0 or 0xc1`},
	} {
		all.run(t, tt.line == brief, tt.fault+" "+tt.line[:12], func(t *testing.T) {
			s := serveWith(t, "--fault", tt.fault)
			got := s.ask(t, tt.line)
			first, _, _ := strings.Cut(got.err, "\n")
			runResult{got.code, got.out, strings.TrimPrefix(first, "tacacs_plus: ")}.check(t, tt.code, tt.out, tt.err)
			if reason := strings.HasPrefix(tt.out, "ERROR: "); !reason && (tt.code == classNetwork.exit() || tt.code == classProtocol.exit() || tt.code == classServer.exit()) {
				if cut := regexp.MustCompile(`cut off|in the middle|numbers exhausted|unexpected`).MatchString(first); !cut && !strings.Contains(got.err, "tacacs_plus: hint: ") {
					t.Errorf("no hint: %s", got.err)
				}
			}
		})
	}
	t.Run("all of them are here", func(t *testing.T) {
		source := contentOf(t, "main_test.go")
		tested := contentOf(t, "client_tls_test.go")
		for _, f := range faults {
			if row := fmt.Sprintf("{%q, ", f.name); !bytes.Contains(source, []byte(row)) && !bytes.Contains(tested, []byte(row)) {
				t.Errorf("the fault %s has no row", f.name)
			}
		}
	})
}

// TestJSON reads what a program would read.
func TestJSON(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	var got struct {
		Command, User, Status, Server, Local, Transport string
		Granted                                         bool
		ExitCode                                        int  `json:"exit_code"`
		SingleConnect                                   bool `json:"single_connect"`
		Arguments                                       struct{ Request, Response, Effective []string }
		Timing                                          map[string]float64 `json:"timing_ms"`
		Error                                           problem
		Attempts                                        []attempt
	}
	o := s.ask(t, "authorize alice 127.0.0.1:1,AT --json --single-connect")
	if err := json.Unmarshal([]byte(o.out), &got); err != nil || strings.Count(o.out, "\n") != 1 {
		t.Fatalf("%v in %q", err, o.out)
	}
	if got.Command != "authorize" || got.User != "alice" || got.Status != "PASS_ADD" || !got.Granted || got.ExitCode != 0 ||
		got.Server != s.addr || got.Transport != "tcp" || !got.SingleConnect || got.Timing["total"] <= 0 {
		t.Errorf("got %s", o.out)
	}
	if want := []string{"service=shell", "cmd=", "priv-lvl=15"}; !slices.Equal(got.Arguments.Effective, want) {
		t.Errorf("effective arguments %q, want %q", got.Arguments.Effective, want)
	}
	if len(got.Attempts) != 1 || got.Attempts[0].Server != "127.0.0.1:1" || got.Attempts[0].Class != "network" {
		t.Errorf("attempts %+v", got.Attempts)
	}
}

// TestFailover checks section 4.4: the client tries the next server after a failure or an ERROR. It does not
// after a FAIL or a reply that violates the UNENCRYPTED rule.
func TestFailover(t *testing.T) {
	t.Parallel()
	var all subtests
	defer all.Wait()
	good := serveWith(t)
	for _, tt := range []struct {
		fault string
		code  exitCode
	}{
		{"close", 0}, {"silent", 0}, {"error", 0}, {"wrong-key", 0}, {"empty-body", 0},
		{"fail", 1}, {"follow", 1}, {"getpass-forever", 1}, {"unencrypted", 5},
	} {
		all.run(t, tt.fault == "silent", tt.fault, func(t *testing.T) {
			bad := serveWith(t, "--fault", tt.fault)
			line := "authenticate alice BAD,GOOD"
			if tt.fault == "silent" {
				line += " --timeout 2s"
			}
			got := runWith(t, secretsInEnv, "", split(line, "BAD", bad.addr, "GOOD", good.addr)...)
			if got.code != tt.code {
				t.Errorf("got %d, want %d: %s%s", int(got.code), int(tt.code), got.out, got.err)
			}
			if tried := strings.Contains(got.err, "trying "+good.addr); tried != (tt.code == 0) {
				t.Errorf("tried the next server: %t: %s", tried, got.err)
			}
		})
	}
	t.Run("rounds", func(t *testing.T) {
		got := runWith(t, secretsInEnv, "", split("authenticate alice AT --retries 2 --json", "AT", refusedAddr(t))...)
		if n := strings.Count(got.err, "warning: connect to"); got.code != classNetwork.exit() || n != 2 {
			t.Errorf("got %d after %d more rounds, want 4 after 2: %s", int(got.code), n, got.err)
		}
	})
}

// TestExec runs a command between a start and a stop record.
func TestExec(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	ran := filepath.Join(t.TempDir(), "ran")
	for _, tt := range []struct {
		line string
		code exitCode
		out  string
		err  string
	}{
		{"account alice AT --exec -- echo hello", 0, "hello\n", ``},
		{"account alice AT --exec -q -- false", 1, ``, ``},
		{"account alice AT --exec --task-id 9 -v -- echo hi", 0, "hi\n", `(?s)status: SUCCESS\n.*start_time=.*status: SUCCESS\n.*task_id=9\n.*elapsed_time=0\n.*err_msg=exit status 0\n.*cmd-arg=hi\n.*`},
		{"account alice AT --exec -v start_time=5 err_msg=mine elapsed_time=9 service=shell cmd=x -- echo hi", 0, "hi\n", `(?s).*task_id=\S+\n  start_time=5\n  stop_time=\d+\n  elapsed_time=9\n  timezone=UTC\n  err_msg=mine\n  service=shell\n  cmd=x\n.*`},
		{"account alice AT --exec service=shell cmd=x" + strings.Repeat(" a=1", 248) + " -- touch " + ran, 125, ``, `(?s).*25\d arguments, the limit is 255\n.*`},
		{"account alice AT --exec -- no-such-program-anywhere", 127, ``, `(?s).*no-such-program-anywhere.*`},
		{"account alice AT -k a-key-that-does-not-fit --exec -- touch " + ran, 125, ``, `(?s).*the start record was not confirmed, the command was not run: .*key.*\ntacacs_plus: hint: the shared key .*`},
	} {
		s.ask(t, tt.line).check(t, tt.code, tt.out, tt.err)
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("a command ran although its start was not recorded")
	}
	if log := s.log.String(); strings.Count(log, " start ") != 4 || strings.Count(log, " stop ") != 4 {
		t.Errorf("the server log:\n%s", log)
	}
}

// TestRestartOfAPasswordChange: CHPASS is defined for ASCII only, so no restart is possible (section 5.4.1).
func TestRestartOfAPasswordChange(t *testing.T) {
	t.Parallel()
	s := serveWith(t, "--fault", "restart")
	dir := writeFiles(t, map[string]string{"new": "new1\n"})
	s.ask(t, "chpass alice AT --new-password-file "+filepath.Join(dir, "new")).check(t, classDenied.exit(), `RESTART\n`, `tacacs_plus: hint: see the server's log: it does not accept a password change with ascii\n`)
	s.stop()
	if log := s.log.String(); strings.Contains(log, "pap") {
		t.Errorf("the server log:\n%s", log)
	}
}

// TestNoVerdictOfAFailure: an earlier reply of a server that then fails is not shown as the result.
func TestNoVerdictOfAFailure(t *testing.T) {
	t.Parallel()
	for _, option := range []string{"", " --json", " -v"} {
		s := newScriptServer(t, testKey, &authenReply{status: authenGetPass, serverMsg: "Password: "}, &authenReply{status: 0x63})
		got := runWith(t, secretsInEnv, "", split("authenticate alice "+s.addr+option)...)
		if got.code != classProtocol.exit() || strings.Contains(got.out, "GETPASS") {
			t.Errorf("%s: got %+v", option, got)
		}
	}
}

// TestBuild: the text and the JSON object of version have the same facts.
func TestBuild(t *testing.T) {
	t.Parallel()
	for _, line := range []string{"version --json", "--version --json", "--json version"} {
		var b build
		got := runWith(t, nil, "", split(line)...)
		if err := json.Unmarshal([]byte(got.out), &b); err != nil || strings.Count(got.out, "\n") != 1 {
			t.Fatalf("%s: %v in %+v", line, err, got)
		}
		want := fmt.Sprintf("tacacs_plus %s %s %s/%s\n", b.Version, b.Go, b.OS, b.Arch)
		if b.Version == "" || b.Go != runtime.Version() || b.OS != runtime.GOOS || b.Arch != runtime.GOARCH {
			t.Errorf("%s: got %s", line, got.out)
		}
		if text := runWith(t, nil, "", "version"); text.out != want {
			t.Errorf("got %q, want %q", text.out, want)
		}
	}
}
