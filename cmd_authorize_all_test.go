package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// TestAllCommandFile checks the table with a column for each server. ONE and TWO have different rules.
func TestAllCommandFile(t *testing.T) {
	t.Parallel()
	one := serveWith(t, "--permit", "^show", "--deny", ".").addr
	two := serveWith(t, "--permit", "^(show|conf)", "--deny", ".").addr
	like := serveWith(t, "--permit", "^show", "--deny", ".").addr
	refused := refusedAddr(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "commands")
	const denied = `    ONE: command not permitted\n`
	for _, tt := range []struct {
		name, text, options string
		code                exitCode
		out, err            string
	}{
		{"differ", "show run\nconfigure\nreload\n", "ONE,TWO", 1, `ONE +TWO\nPASS_ADD +PASS_ADD +show run\nFAIL +PASS_ADD +configure  <- the servers differ\n` + denied +
			`FAIL +FAIL +reload: command not permitted\nONE: 1 permitted, 2 denied\nTWO: 2 permitted, 1 denied\n3 commands: the servers differ on 1\n`, ``},
		{"the other way round", "configure\n", "TWO,ONE", 1, `TWO +ONE\nPASS_ADD +FAIL +configure  <- the servers differ\n` + denied +
			`TWO: 1 permitted, 0 denied\nONE: 0 permitted, 1 denied\n1 command: the servers differ on 1\n`, ``},
		{"the middle one differs", "configure\n", "ONE,TWO,LIKE", 1, `ONE +TWO +LIKE\nFAIL +PASS_ADD +FAIL +configure  <- the servers differ\n` + denied +
			`    LIKE: command not permitted\n(?:.*\n){3}1 command: the servers differ on 1\n`, ``},
		{"of some nothing is expected", "+show run\nreload\n", "ONE,TWO", 0, `(?s).*\n2 commands: the servers differ on 0\n`, ``},
		{"not expected of the first", "+configure\n", "ONE,TWO,LIKE", 1, `(?s).*configure  <- not permitted  <- the servers differ\n.*`, ``},
		{"JSON of a bad line", "+\n", "ONE --json", 2, `\{"line":1,.*"server":"ONE","error":.*\}\n`, ``},
		{"expected", "+show run\n-reload\n# no\n", "ONE,TWO", 0, `(?s).*\n2 commands: the servers differ on 0\n`, ``},
		{"not expected", "-configure\n+configure\n", "ONE,TWO", 1, `ONE +TWO\nFAIL +PASS_ADD +configure  <- not denied  <- the servers differ\n` + denied +
			`FAIL +PASS_ADD +configure  <- not permitted  <- the servers differ\n` + denied +
			`ONE: 0 permitted, 2 denied; 1 not as expected\nTWO: 2 permitted, 0 denied; 1 not as expected\n2 commands: the servers differ on 2\n`, ``},
		{"an error once, and no difference", "show run\nshow version\n", "ONE,REFUSED", 4, `ONE +REFUSED\nPASS_ADD +error +show run\n    connect to REFUSED: connection refused\nPASS_ADD +error +show version\n` +
			`ONE: 2 permitted, 0 denied\nREFUSED: 0 permitted, 0 denied, 2 without a verdict\n2 commands: the servers differ on 0\n`, ``},
		{"one server, given twice", "reload\n", "ONE,ONE", 1, `ONE\nFAIL +reload: command not permitted\nONE: 0 permitted, 1 denied\n1 command: the servers differ on 0\n`, ``},
		{"a bad line", "show run\n+\n", "ONE,TWO", 2, `ONE +TWO\nPASS_ADD .*\nerror +error +\n    ONE: line 2 of .* has no command\n    TWO: line 2 of .* has no command\n(?:.*\n)*`, ``},
		{"an error that comes back", "show \x01\nshow \x01\nshow run\nshow \x01\n", "ONE", 2, `ONE\nerror +show \\x01\n    ONE: argument .*\nerror +show \\x01\nPASS_ADD +show run\nerror +show \\x01\n    ONE: argument .*\n(?:.*\n){2}`, ``},
		{"quiet", "configure\n", "ONE,TWO -q", 1, ``, ``},
		{"JSON", "+show run\n-configure\n", "ONE,TWO --json", 1, `\{"line":1,.*"status":"PASS_ADD",.*"server":"ONE",.*\}\n\{"line":1,.*"server":"TWO",.*"as_expected":true\}\n` +
			`\{"line":2,.*"status":"FAIL",.*"server":"ONE",.*\}\n\{"line":2,.*"server":"TWO",.*"as_expected":false\}\n`, ``},
		{"nothing", "# nothing\n", "ONE,TWO", 0, ``, `tacacs_plus: warning: there are no commands in .*\n`},
	} {
		if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, from := range []string{file, "-"} {
			r := strings.NewReplacer("ONE", one, "TWO", two, "LIKE", like, "REFUSED", refused)
			got := runWith(t, secretsInEnv, tt.text, split("authorize alice --all --cmd-file "+from+" -H "+r.Replace(tt.options))...)
			t.Run(tt.name, func(t *testing.T) { got.check(t, tt.code, r.Replace(tt.out), r.Replace(tt.err)) })
		}
	}
	closes := serveWith(t, "--fault", "single-close").addr
	got := runWith(t, secretsInEnv, strings.Repeat("show run\n", 20), "authorize", "alice", closes, "--all", "--single-connect", "--cmd-file", "-")
	got.check(t, 0, `(?s).*`, `tacacs_plus: warning: `+closes+`: the server ends connections that are in use; .*\n`)
	got = runWith(t, secretsInEnv, "", "authorize", "alice", one+","+two, "--all", "--cmd-file", dir)
	got.check(t, classUsage.exit(), ``, `tacacs_plus: read the requests: .*\n`)
}

// TestAllCommandFileAhead has a server that waits for a long time, and more commands than another one may be ahead of it:
// in the end all rows are there, in order.
func TestAllCommandFileAhead(t *testing.T) {
	t.Parallel()
	const commands = 2*tableAhead + 500
	release := make(chan struct{})
	let := sync.OnceFunc(func() { close(release) })
	quick := startFakeServer(t, (*fakeServerConn).grantAll)
	slow := startFakeServer(t, func(c *fakeServerConn) { <-release; c.grantAll() })
	var text, want strings.Builder
	for i := range commands {
		command := fmt.Sprintf("show %d%s", i, strings.Repeat("x", 90)) // long, so that no buffer has room for all
		fmt.Fprintln(&text, command)
		fmt.Fprintln(&want, "PASS_ADD", command)
	}
	done := make(chan runResult, 1)
	go func() {
		done <- runWith(t, secretsInEnv, text.String(), "authorize", "alice", quick.addr+","+slow.addr, "--all", "--cmd-file", "-", "--single-connect", "--timeout", "1h")
	}()
	defer let()
	waitUntil(t, "the quick server is ahead", func() bool { return quick.asked("alice") > 20 })
	let()
	got := <-done
	rows := regexp.MustCompile(`(?m)^PASS_ADD +PASS_ADD +(show .*)\n`).FindAllStringSubmatch(got.out, -1)
	var shown strings.Builder
	for _, r := range rows {
		fmt.Fprintf(&shown, "PASS_ADD %s\n", r[1])
	}
	if got.code != classGranted.exit() || got.err != "" || shown.String() != want.String() || slow.asked("alice") != commands || quick.asked("alice") != commands {
		t.Errorf("%d rows: %.1000v", len(rows), got)
	}
}

// TestAllCommandFileShowsRows has a server that goes on only after the first row is shown.
func TestAllCommandFileShowsRows(t *testing.T) {
	t.Parallel()
	shown := make(chan struct{})
	show := sync.OnceFunc(func() { close(shown) })
	defer show()
	first := new(atomic.Bool)
	slow := startFakeServer(t, func(c *fakeServerConn) {
		c.Write(c.grantReply(c.readRequest()))
		<-shown
		c.grantAll()
	})
	quick := startFakeServer(t, (*fakeServerConn).grantAll)
	out := writerFunc(func(p []byte) {
		if bytes.Contains(p, []byte("show first\n")) && !bytes.Contains(p, []byte("show second")) {
			first.Store(true)
			show()
		}
	})
	code := run(t.Context(), []string{"authorize", "alice", quick.addr + "," + slow.addr, "--all", "--cmd-file", "-", "--single-connect", "--timeout", "1m"},
		stdio{in: strings.NewReader("show first\nshow second\n"), out: out, err: io.Discard, env: func(name string) string { return secretsInEnv[name] }})
	if code != classGranted.exit() || !first.Load() {
		t.Errorf("got %d; the first row was shown first: %t", int(code), first.Load())
	}
}

// TestAllCommandFileLimits: a file that is too long for the table is a usage error, and nothing is sent.
func TestAllCommandFileLimits(t *testing.T) {
	t.Parallel()
	l := listen(t)
	for _, text := range []string{strings.Repeat("show\n", maxTableRows+1), strings.Repeat("show "+strings.Repeat("x", maxLine-100)+"\n", maxTableBytes/maxLine+1)} {
		got := runWith(t, secretsInEnv, text, "authorize", "alice", l.Addr().String(), "--all", "--cmd-file", "-")
		got.check(t, classUsage.exit(), ``, `tacacs_plus: too many commands in - for --all: the limit is 65536 lines and 64 MiB\n`+
			`tacacs_plus: hint: split the file, or ask one server at a time without --all\n`)
	}
	checkUntouched(t, l)
	// As many comments do not count.
	s := startFakeServer(t, (*fakeServerConn).grantAll)
	got := runWith(t, secretsInEnv, strings.Repeat("# show\n", maxTableRows+1)+"show\n", "authorize", "alice", s.addr, "--all", "--cmd-file", "-")
	got.check(t, 0, `(?s).*1 command: the servers differ on 0\n`, ``)
}
