//go:build unix

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// connectWord is the first argument of the test binary that makes it the command of the tests for --proxy-command.
const connectWord = "connect-for-a-test"

// init runs that command.
func init() {
	if len(os.Args) > 3 && os.Args[1] == connectWord {
		os.Exit(connectCommand(os.Args[2], os.Args[3], os.Args[4:]))
	}
}

// A startedCommand is what the command reports of itself.
type startedCommand struct {
	PID  int
	Args []string
	Env  []string
}

// connectCommand appends a startedCommand to a file. Then it connects to args, or fails, or hangs.
func connectCommand(report, action string, args []string) (code int) {
	terminated := make(chan os.Signal, 1)
	if action == "hang" {
		signal.Notify(terminated, syscall.SIGTERM)
	}
	f, err := os.OpenFile(report, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		err = json.NewEncoder(f).Encode(startedCommand{os.Getpid(), args, os.Environ()})
	}
	if err != nil {
		panic(err)
	}
	switch action {
	case "fail":
		fmt.Fprint(os.Stderr, "first line\r\nlast \x1b line\r\n\n")
		return 7
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		time.Sleep(patience)
		return 0
	case "hang":
		<-terminated
		fmt.Fprintln(os.Stderr, "terminated")
		return 0
	}
	conn, err := net.Dial("tcp", net.JoinHostPort(args[0], args[1]))
	if err != nil {
		fmt.Fprintln(os.Stderr, "not connected")
		return 1
	}
	go func() {
		_, _ = io.Copy(conn, os.Stdin)
		_ = conn.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(os.Stdout, conn)
	return 0
}

// proxyCommandFor returns the path of a file for reports, and a command line that begins with an action of
// connectCommand.
func proxyCommandFor(t *testing.T, action string) (report, command string) {
	t.Helper()
	report = filepath.Join(t.TempDir(), "report")
	return report, strings.Join([]string{buildBinary(t), connectWord, report, action}, " ")
}

// startedCommands reads the reports.
func startedCommands(t *testing.T, report string) (started []startedCommand) {
	t.Helper()
	text, err := os.ReadFile(report)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var c startedCommand
		must(t, json.Unmarshal([]byte(line), &c))
		started = append(started, c)
	}
	return started
}

// checkEnded requires that so many commands were started, and that they have ended and were waited for.
func checkEnded(t *testing.T, report string, want int) {
	t.Helper()
	started := startedCommands(t, report)
	if len(started) != want {
		t.Errorf("%d commands were started, want %d", len(started), want)
	}
	for _, c := range started {
		if err := syscall.Kill(c.PID, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("the command %d was not ended: %v", c.PID, err)
		}
	}
}

// runBy runs a command line with --proxy-command.
func runBy(t *testing.T, command, line string) runResult {
	t.Helper()
	return runUntil(t, nil, line+" --proxy-command COMMAND", "COMMAND", command)
}

func TestProxyCommandWords(t *testing.T) {
	t.Parallel()
	for command, want := range map[string][]string{
		`ssh -W %h:%p jump`:    {"ssh", "-W", "tac1:4949", "jump"},
		" a\t b\n":             {"a", "b"},
		`a '' "" b''`:          {"a", "", "", "b"},
		`'a  "b' "c 'd" e'f'g`: {`a  "b`, "c 'd", "efg"},
		`a\ b \'c\" \\ d\`:     {"a b", `'c"`, `\`, `d\`},
		`"\$\"\\\n\` + "`\"":   {"$\"\\\\n`"},
		`'\a'`:                 {`\a`},
		"a \\\n b\\\nc":        {"a", "bc"},
		`$HOME *;|&`:           {"$HOME", "*;|&"},
		`x=%%h%%p%h%p%`:        {"x=%h%ptac14949%"},
		`[%h]:%p '%h %p'`:      {"[tac1]:4949", "tac1 4949"},
	} {
		c, err := newProxyCommand(command, []server{newServer("tac1", 4949)})
		if err != nil {
			t.Errorf("%q: %v", command, err)
			continue
		}
		if got := c.wordsFor(new(newServer("tac1", 4949))); !slices.Equal(got, want) {
			t.Errorf("%q is %q, want %q", command, got, want)
		}
	}
	c, err := newProxyCommand("x %h", nil)
	must(t, err)
	if got := c.wordsFor(new(newServer("%p%%", 49))); !slices.Equal(got, []string{"x", "%p%%"}) {
		t.Errorf("the host was replaced too: %q", got)
	}
}

func TestProxyCommandUsage(t *testing.T) {
	t.Parallel()
	const together = "tacacs_plus: --proxy-command cannot be used with -4, -6, --source or --interface\n"
	const host = `tacacs_plus: the host "HOST" is not allowed with --proxy-command
tacacs_plus: hint: use letters, digits and ._:%- only, and no - at the start
`
	for line, want := range map[string]string{
		"authenticate alice tac1 -4":                   together,
		"authenticate alice tac1 -6":                   together,
		"authenticate alice tac1 --source 127.0.0.1":   together,
		"authenticate alice tac1 --interface lo":       together,
		"authorize alice -H -oX":                       strings.Replace(host, "HOST", "-oX", 1),
		"authorize alice tac1,$x":                      strings.Replace(host, "HOST", "$x", 1),
		"account alice tac1;x":                         strings.Replace(host, "HOST", "tac1;x", 1),
		"batch tac1":                                   "tacacs_plus: --proxy-command is not for batch\n",
		"bench alice tac1":                             "tacacs_plus: --proxy-command is not for bench\n",
		"relay tac1":                                   "tacacs_plus: --proxy-command is not for relay\n",
		"serve":                                        "tacacs_plus: --proxy-command is not for serve\n",
		"chpass alice tac1 --proxy-command \"ab":       "tacacs_plus: --proxy-command has a quote that is not closed\n",
		"enable alice tac1 --proxy-command \t":         "tacacs_plus: --proxy-command has no command\n",
		"authenticate alice tac1 --proxy-command ''":   `tacacs_plus: option --proxy-command: "" must not be empty` + "\n",
		"authenticate alice tac1 --proxy-command /n/o": "tacacs_plus: run --proxy-command: fork/exec /n/o: no such file or directory\n",
	} {
		args := split(line)
		if line == "enable alice tac1 --proxy-command \t" {
			args = append(args, "\t")
		} else if !strings.Contains(line, "proxy") {
			args = append(args, "--proxy-command", "true")
		}
		if got := runWith(t, secretsInEnv, "", args...); got.code != classUsage.exit() || got.err != want || got.out != "" {
			t.Errorf("%s: exit %d, %q, %q", line, got.code, got.out, got.err)
		}
	}
}

// TestProxyCommandFields: the name is not resolved here, and the address of the connection is not known.
func TestProxyCommandFields(t *testing.T) {
	resolveWith(t, func(context.Context, string, string) (net.Conn, error) {
		t.Error("a name was resolved")
		return nil, errors.New("no resolver")
	})
	srv, secure := serveWith(t), ""
	host, port, _ := net.SplitHostPort(srv.addr)
	report, command := proxyCommandFor(t, "to "+host+" %p")
	if got := runBy(t, command, "authorize alice tac1.example:"+port+" --all"); got.code != 0 || !strings.HasPrefix(got.out, "tac1.example:"+port+": PASS_ADD\n") {
		t.Errorf("--all: exit %d, %q, %q", got.code, got.out, got.err)
	}
	checkEnded(t, report, 1)
	for _, options := range []string{"", " --tls --cacert CA --servername 127.0.0.1"} {
		for remAddr, option := range map[string]string{"": "", "192.0.2.9": " -r 192.0.2.9"} {
			records, l := make(chan *acctRequest, 1), listen(t)
			if options != "" {
				l, secure = secureServer(t)
			}
			startFakeServerOn(t, l, func(c *fakeServerConn) {
				c.key = testKey
				if _, m, err := c.act("success"); err == nil {
					records <- m.(*acctRequest)
				}
			})
			host, port, _ := net.SplitHostPort(l.Addr().String())
			report, command := proxyCommandFor(t, "to "+host+" %p %h")
			got := runBy(t, command, strings.ReplaceAll("account alice tac1.example:"+port+" --json"+options, "CA", secure)+option)
			var res struct{ Status, Server, Transport string }
			if err := json.Unmarshal([]byte(got.out), &res); err != nil || got.code != 0 || got.err != "" {
				t.Fatalf("%v: exit %d, %q, %q", err, got.code, got.out, got.err)
			}
			if res.Server != "tac1.example:"+port || strings.Contains(got.out, `"address"`) || strings.Contains(got.out, `"local"`) {
				t.Errorf("the result is %s", got.out)
			}
			if r := <-records; r.remAddr != remAddr {
				t.Errorf("rem_addr is %q, want %q", r.remAddr, remAddr)
			}
			if args := startedCommands(t, report)[0].Args; !slices.Equal(args, []string{host, port, "tac1.example"}) {
				t.Errorf("the command got %q", args)
			}
			checkEnded(t, report, 1)
		}
	}
}

func TestProxyCommandCommands(t *testing.T) {
	t.Parallel()
	srv := serveWith(t)
	for line, want := range map[string]string{
		"authenticate alice AT":                  "PASS\n",
		"authenticate alice AT --single-connect": "PASS\n",
		"authorize alice AT":                     "PASS_ADD\n",
		"account alice AT --task-id 7":           "SUCCESS task_id=7\n",
	} {
		report, command := proxyCommandFor(t, "to %h %p")
		got := runBy(t, command, strings.ReplaceAll(line, "AT", srv.addr))
		if got.code != 0 || !strings.HasPrefix(got.out, want) || got.err != "" {
			t.Errorf("%s: exit %d, %q, %q", line, got.code, got.out, got.err)
		}
		checkEnded(t, report, 1)
	}
	// The probe ends with an ABORT, which the command passes on before it ends.
	report, command := proxyCommandFor(t, "to %h %p")
	if got := runBy(t, command, "check alice "+srv.addr); got.code != 0 || !strings.Contains(got.out, "single-connect: granted\n") {
		t.Errorf("check: exit %d, %q, %q", got.code, got.out, got.err)
	}
	checkEnded(t, report, 2)
	waitUntil(t, "the ABORT came", func() bool { return strings.Contains(srv.log.String(), "ABORT: probe") })

	// A server may close a probe and still take a login.
	closes := startFakeServer(t, startingWith(func(c *fakeServerConn) { c.readRequest() }))
	report, command = proxyCommandFor(t, "to %h %p")
	if got := runBy(t, command, "check alice "+closes.addr+" -t pap"); got.code == 0 || !strings.Contains(got.out, "login: PASS\n") {
		t.Errorf("check, a closed probe: exit %d, %q, %q", got.code, got.out, got.err)
	}
	checkEnded(t, report, 2)
}

// TestProxyCommandServers: there is a command for each server, in turn and side by side.
func TestProxyCommandServers(t *testing.T) {
	t.Parallel()
	first, second := serveWith(t), serveWith(t)
	refused := refusedAddr(t)
	report, command := proxyCommandFor(t, "to %h %p")
	got := runBy(t, command, "authenticate alice "+refused+","+second.addr)
	failed := "connection to " + refused + " by " + strings.Fields(command)[0] + ": exit status 1: not connected"
	want := "not connected\ntacacs_plus: warning: " + failed + "; trying " + second.addr + "\n"
	if got.code != 0 || got.out != "PASS\n" || got.err != want {
		t.Errorf("exit %d, %q, %q", got.code, got.out, got.err)
	}
	checkEnded(t, report, 2)

	report, command = proxyCommandFor(t, "to %h %p")
	got = runBy(t, command, "authenticate alice "+first.addr+","+refused+","+second.addr+" --all")
	if want := first.addr + ": PASS\n" + refused + ": error (network)\n" + second.addr + ": PASS\n"; got.code != classNetwork.exit() || got.out != want {
		t.Errorf("exit %d, %q, %q", got.code, got.out, got.err)
	}
	checkEnded(t, report, 3)
}

// TestProxyCommandKeys: a key for a prefix is for an address in HOST.
func TestProxyCommandKeys(t *testing.T) {
	t.Parallel()
	srv := serveWith(t)
	_, command := proxyCommandFor(t, "to %h %p")
	dir := writeFiles(t, map[string]string{"right": testKey, "wrong": "another key that is long"})
	for prefix, want := range map[string]exitCode{"127.0.0.0/8": 0, "192.0.2.0/24": classProtocol.exit()} {
		got := runWith(t, map[string]string{"TACACS_PLUS_PWD": testPassword}, "", split("authenticate alice AT --key-file PREFIX=DIR/right --key-file DIR/wrong --proxy-command COMMAND",
			"AT", srv.addr, "PREFIX", prefix, "DIR", dir, "COMMAND", command)...)
		if got.code != want {
			t.Errorf("a key for %s: exit %d, %q", prefix, got.code, got.err)
		}
		if want != 0 && !strings.Contains(got.err, "another key for the address from which it was connected\n") {
			t.Errorf("the hint is %q", got.err)
		}
	}
}

// TestProxyCommandFails: the failure of a command is a network error with its last line, also in a TLS handshake.
func TestProxyCommandFails(t *testing.T) {
	t.Parallel()
	_, ca := secureServer(t)
	for _, options := range []string{"", " --tls --cacert " + ca} {
		report, command := proxyCommandFor(t, "fail")
		got := runBy(t, command, "authenticate alice tac1:49"+options)
		want := "first line\r\nlast \x1b line\r\n\ntacacs_plus: connection to tac1:49 by " + strings.Fields(command)[0] + `: exit status 7: last \x1b line` + "\n"
		if got.code != classNetwork.exit() || got.out != "" || got.err != want {
			t.Errorf("exit %d, %q, %q, want %q", got.code, got.out, got.err, want)
		}
		checkEnded(t, report, 1)
	}
}

// TestProxyCommandTimeout: the deadline holds for a command that does nothing, and even one that ignores SIGTERM ends.
func TestProxyCommandTimeout(t *testing.T) {
	t.Parallel()
	_, ca := secureServer(t)
	const want = `tacacs_plus: no reply from tac1:49 within 1s
tacacs_plus: hint: run the command by itself to see whether it connects; if so, check the key, or try a longer --timeout
`
	for _, tt := range []struct {
		action, options string
		code            exitCode
		printed         string
	}{
		{"hang", "", classNetwork.exit(), "terminated\n" + want},
		{"stubborn", "", classNetwork.exit(), want},
		{"hang", " --tls --cacert " + ca, classTLS.exit(), "terminated\ntacacs_plus: TLS with tac1:300: timed out after 1s\n"},
	} {
		report, command := proxyCommandFor(t, tt.action)
		got := runBy(t, command, "authenticate alice tac1 --timeout 1"+tt.options)
		if got.code != tt.code || !strings.HasPrefix(got.err, tt.printed) {
			t.Errorf("%s%s: exit %d, %q", tt.action, tt.options, got.code, got.err)
		}
		checkEnded(t, report, 1)
	}
}

// TestProxyCommandInterrupted: the Ctrl-C of a terminal ends the wait, and goes to this program alone.
func TestProxyCommandInterrupted(t *testing.T) {
	t.Parallel()
	report, command := proxyCommandFor(t, "hang")
	interrupted := make(chan struct{})
	go func() {
		defer close(interrupted)
		waitUntil(t, "the command runs", func() bool { return len(startedCommands(t, report)) > 0 })
		pid := startedCommands(t, report)[0].PID
		if group, err := syscall.Getpgid(pid); err != nil || group != pid {
			t.Errorf("the process group of %d is %d, %v", pid, group, err)
		}
	}()
	got := runUntil(t, interrupted, "authenticate alice tac1 --proxy-command COMMAND", "COMMAND", command)
	if got.code != classInterrupted.exit() || got.err != "terminated\ntacacs_plus: interrupted\n" {
		t.Errorf("exit %d, %q", got.code, got.err)
	}
	checkEnded(t, report, 1)
}

// TestProxyCommandReused: a connection in single-connection mode carries one session after another, until the command
// has ended.
func TestProxyCommandReused(t *testing.T) {
	t.Parallel()
	srv := serveWith(t)
	report, command := proxyCommandFor(t, "to %h %p")
	c := clientFor(t, srv.addr)
	proxy, err := newProxyCommand(command, c.servers)
	must(t, err)
	proxy.stderr, c.proxy = io.Discard, proxy
	r := &requester{client: c, keepConn: true}
	defer r.close()
	for i := range 3 {
		j := &job{request: newLogin(commonFields{typ: authenPAP, user: "alice"}, testPassword)}
		if r.do(t.Context(), j); j.err != nil || j.answer() != authenPass {
			t.Fatalf("login %d: %v, %v", i, j.answer(), j.err)
		}
		if i == 1 {
			r.conn.idleSince = time.Now().Add(-time.Hour)
			must(t, syscall.Kill(startedCommands(t, report)[0].PID, syscall.SIGTERM))
			<-r.conn.process.ended
		}
	}
	r.close()
	checkEnded(t, report, 2)
}

// TestProxyCommandKeepsSecrets: the command gets no secret from the environment and no inherited file.
func TestProxyCommandKeepsSecrets(t *testing.T) {
	t.Parallel()
	secret, err := os.Open(os.DevNull)
	must(t, err)
	defer secret.Close()
	const command = `sh -c 'env; if [ -e /dev/fd/3 ]; then echo open; else echo closed; fi >&2; exit 1'`
	p := newProcess(t, "", []string{"MARK=1", "TACACS_PLUS_OTHER=1"}, buildBinary(t), "authenticate", "alice", "tac1", "--proxy-command", strings.Replace(command, "env;", "env >&2;", 1))
	p.ExtraFiles = []*os.File{secret}
	p.starts(t)
	_, got := p.ends()
	if got.code != classNetwork.exit() || strings.Contains(got.err, "TACACS_PLUS_") || secretIn(got) != "" || !strings.Contains(got.err, "MARK=1\n") || !strings.Contains(got.err, "\nclosed\n") {
		t.Errorf("exit %d, %q", got.code, got.err)
	}
}

// TestProxyCommandProfile: a profile may have a command if nobody else may write it.
func TestProxyCommandProfile(t *testing.T) {
	t.Parallel()
	srv := serveWith(t)
	report, command := proxyCommandFor(t, "to %h %p")
	for _, tt := range []struct {
		line           string
		file, dir      os.FileMode
		linked         bool
		code           exitCode
		err            string
		startedAnother bool
	}{
		{"authenticate alice @lab", 0o644, 0o755, false, 0, "", true},
		{"authenticate alice @lab", 0o600, 0o700, true, 0, "", true},
		{"authenticate alice @lab", 0o600, 0o777 | os.ModeSticky, false, 0, "", true},
		{"authenticate alice @lab --proxy-command COMMAND -t pap", 0o600, 0o700, false, 0, "", true},
		{"authenticate alice @lab", 0o664, 0o700, false, 2, "FILE:2: proxy-command is not allowed in a profile that others may write\ntacacs_plus: hint: see the owner and the mode of FILE\n", false},
		{"authenticate alice @lab", 0o602, 0o700, false, 2, "FILE:2: proxy-command is not allowed in a profile that others may write\ntacacs_plus: hint: see the owner and the mode of FILE\n", false},
		{"authenticate alice @lab", 0o600, 0o777, false, 2, "FILE:2: proxy-command is not allowed in a profile that others may write\ntacacs_plus: hint: see the owner and the mode of DIR\n", false},
		{"authenticate alice @lab", 0o600, 0o777, true, 2, "LINK:2: proxy-command is not allowed in a profile that others may write\ntacacs_plus: hint: see the owner and the mode of DIR\n", false},
		{"authenticate alice @lab --source 127.0.0.1", 0o600, 0o700, false, 2, "--proxy-command cannot be used with -4, -6, --source or --interface\n", false},
		{"batch @lab", 0o600, 0o700, false, 2, "FILE:2: proxy-command is not for batch\n", false},
		{"relay @lab", 0o600, 0o700, false, 2, "FILE:2: proxy-command is not for relay\n", false},
		{"serve @lab --listen 127.0.0.1:99999", 0o602, 0o700, false, 2, "", false},
	} {
		before := len(startedCommands(t, report))
		dir, env := profileDir(t, "lab", "host "+srv.addr+"\nproxy-command "+command+"\n")
		file := filepath.Join(dir, "lab")
		link := file
		if tt.linked {
			dir = t.TempDir()
			must(t, errors.Join(os.Rename(file, filepath.Join(dir, "lab")), os.Symlink(filepath.Join(dir, "lab"), link)))
			file = filepath.Join(dir, "lab")
		}
		must(t, errors.Join(os.Chmod(file, tt.file), os.Chmod(dir, tt.dir)))
		env["TACACS_PLUS_KEY"], env["TACACS_PLUS_PWD"] = testKey, testPassword
		got := runWith(t, env, "", split(tt.line, "COMMAND", command)...)
		want := strings.NewReplacer("FILE", file, "LINK", link, "DIR", dir).Replace(tt.err)
		if got.code != tt.code || want != "" && got.err != "tacacs_plus: "+want || strings.Contains(got.err, "proxy-command is") != strings.Contains(want, "proxy-command is") {
			t.Errorf("%s, %o in %o: exit %d, %q, want %q", tt.line, tt.file, tt.dir, got.code, got.err, want)
		}
		if started := len(startedCommands(t, report)) > before; started != tt.startedAnother {
			t.Errorf("%s, %o in %o: a command was started: %t", tt.line, tt.file, tt.dir, started)
		}
	}
	dir, env := profileDir(t, "lab", "4\nsource 127.0.0.1\nhost "+srv.addr+"\n")
	env["TACACS_PLUS_KEY"], env["TACACS_PLUS_PWD"] = testKey, testPassword
	if got := runWith(t, env, "", split("authenticate alice @lab --proxy-command COMMAND", "COMMAND", command)...); got.code != 0 {
		t.Errorf("the command overrides -4 and --source of %s: exit %d, %q", dir, got.code, got.err)
	}
	if os.Geteuid() == 0 {
		foreign := filepath.Join(dir, "lab")
		must(t, errors.Join(os.WriteFile(foreign, []byte("host tac1\nproxy-command "+command+"\n"), 0o600), os.Chown(foreign, 1, 1)))
		if got := runWith(t, env, "", "authenticate", "alice", "@lab"); got.code != classUsage.exit() || !strings.Contains(got.err, "others may write") {
			t.Errorf("the profile of user %s: exit %d, %q", strconv.Itoa(1), got.code, got.err)
		}
	}
}
