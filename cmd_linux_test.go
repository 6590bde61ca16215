package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// TestAllAtATerminal: the person types each secret once, before anything is sent, and sees no prompt of a server.
func TestAllAtATerminal(t *testing.T) {
	t.Parallel()
	good := serveWith(t).addr
	token := startFakeServer(t, func(c *fakeServerConn) {
		for q := range c.requests {
			if q.continues == nil {
				c.Write(c.reply(q, &authenReply{status: authenGetData, serverMsg: "Token: "}))
			}
		}
	})
	s := runAt(t, "authenticate alice "+good+","+token.addr+" --all")
	s.asked(t, "tacacs+ secret: ", false, testKey+"\n")
	readUntil(t, s.stderr, "password for alice: ")
	if n := token.connections(); n != 0 {
		t.Errorf("%d connections before the password is typed", n)
	}
	s.types(t, testPassword+"\n")
	s.ends(t, classDenied.exit(), good+": PASS\n"+token.addr+": GETDATA: Token:\n", "")
	if got := readUntil(t, s.stderr, "--answer"); !strings.Contains(got, "unanswered prompt") || strings.Contains(got, "Token: \n") {
		t.Errorf("stderr is %q", got)
	}
}

// TestBenchProgressOnTerminal: only a terminal as standard error shows the progress, which is cleared at the end.
func TestBenchProgressOnTerminal(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	// bench returns what it writes to w, which is read from r.
	bench := func(options string, r, w *os.File) string {
		code := run(t.Context(), split("bench alice AT -t pap -n 5 "+options, "AT", s.addr),
			stdio{in: strings.NewReader(""), out: io.Discard, err: w, env: func(name string) string { return secretsInEnv[name] }})
		if code != classGranted.exit() {
			t.Errorf("exit code %d", int(code))
		}
		w.WriteString("[end]")
		return readUntil(t, r, "[end]")
	}
	for _, tt := range []struct{ options, begin, end string }{
		{"", "\r0 of 5 requests\x1b[K", "\r\x1b[K[end]"},
		{"-q", "[end]", "[end]"},
	} {
		p := openPTY(t)
		if got := bench(tt.options, p.person, p.program); !strings.HasPrefix(got, tt.begin) || !strings.HasSuffix(got, tt.end) {
			t.Errorf("%q: the terminal shows %q", tt.options, got)
		}
	}
	r, w, err := os.Pipe()
	must(t, err)
	defer r.Close()
	defer w.Close()
	equal(t, bench("", r, w), "[end]", "a pipe gets")
}

// TestCheckOutputMode: the report has the mode of a new file, even if it replaces one. The umask belongs to the process, so
// the test does not run in parallel.
func TestCheckOutputMode(t *testing.T) {
	s := serveWith(t)
	for umask, want := range map[int]os.FileMode{0o000: 0o666, 0o002: 0o664, 0o022: 0o644, 0o077: 0o600} {
		file := filepath.Join(t.TempDir(), "tacacs.prom")
		for range 2 {
			before := syscall.Umask(umask)
			got := s.ask(t, "check AT --prometheus --output "+file)
			syscall.Umask(before)
			info, err := os.Stat(file)
			if got != (runResult{}) || err != nil || info.Mode() != want {
				t.Errorf("umask %03o: got %+v, %v, %v", umask, got, err, info)
			}
			must(t, os.Chmod(file, 0o400))
		}
	}
}

// TestCheckOutputLinkAndPipe: links and pipes are not replaced.
func TestCheckOutputLinkAndPipe(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(os.Mkdir(at("real"), 0o755), os.WriteFile(at("real/file"), []byte("before"), 0o600), os.Symlink("real/file", at("link")),
		os.Symlink("link", at("second")), os.Symlink("real/none", at("dangling"))); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"link": "real/file", "second": "real/file", "dangling": "real/none"} {
		must(t, replaceFile("report", at(name), name, 0))
		text, err := os.ReadFile(at(target))
		if info, wrong := os.Lstat(at(name)); err != nil || wrong != nil || string(text) != name || info.Mode()&os.ModeSymlink == 0 {
			t.Errorf("%s: %q, %v, %v", name, text, err, info.Mode())
		}
	}
	if entries, err := os.ReadDir(at("real")); len(entries) != 2 {
		t.Errorf("%v, %v", entries, err)
	}
	// A pipe is not replaced, and a pipe without a reader is an error.
	must(t, syscall.Mkfifo(at("pipe"), 0o600))
	if err := replaceFile("report", at("pipe"), "unread", 0); classOf(err) != classLocal || !strings.Contains(err.Error(), "write the report: ") {
		t.Errorf("a pipe without a reader: %v", err)
	}
	pipe, err := os.OpenFile(at("pipe"), os.O_RDWR, 0)
	must(t, err)
	defer pipe.Close()
	must(t, replaceFile("report", at("pipe"), "read", 0))
	text := make([]byte, 9)
	n, err := pipe.Read(text)
	if info, wrong := os.Lstat(at("pipe")); wrong != nil || info.Mode()&os.ModeNamedPipe == 0 || string(text[:n]) != "read" {
		t.Errorf("got %q, %v of %v", text[:n], err, info.Mode())
	}
}

// TestCheckIntervalAtATerminal: a terminal shows the state of the last round below the changes, until the end.
func TestCheckIntervalAtATerminal(t *testing.T) {
	t.Parallel()
	s, refused := serveWith(t), refusedAddr(t)
	for _, tt := range []struct{ options, shown string }{
		{"", `\r\x1b\[K2\S+Z ` + s.addr + `: OK\r\n2\S+Z ` + refused + `: FAILED: [^\r]*\r\n\d\d:\d\d:\d\dZ round 1: 1 of 2 OK, failed: [^\r]*\r\x1b\[K\d\d:\d\d:\d\dZ round 2: 1 of 2 OK, failed: [^\r]*\r\x1b\[K`},
		{" -H " + s.addr + "," + refused + ",127.0.0.2:1,127.0.0.3:1", `[^\r]*\r\x1b\[K(?:2[^\r]*\r\n){4}[^\r]{57}\.\.\.\r\x1b\[K[^\r]{57}\.\.\.\r\x1b\[K`},
		{" --json", `\{[^\r]*\r\n\{[^\r]*\r\n`},
		{" -q", ``},
	} {
		p := openPTY(t)
		code := run(t.Context(), split("check --interval 100ms --count 2 -H "+s.addr+","+refused+tt.options),
			stdio{in: strings.NewReader(""), out: p.program, err: io.Discard, env: func(name string) string { return secretsInEnv[name] }})
		if _, err := p.program.WriteString("[end]"); err != nil {
			t.Fatal(err)
		}
		if got := readUntil(t, p.person, "[end]"); code != classNetwork.exit() || !regexp.MustCompile(`^`+tt.shown+`\[end\]$`).MatchString(got) {
			t.Errorf("%s: %d, %q", tt.options, int(code), got)
		}
	}
}

// TestCheckIntervalEndsBySignal: Ctrl-C prints the totals, then ends the process.
func TestCheckIntervalEndsBySignal(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	p := startProcess(t, s.addr, nil, buildBinary(t), "check", "AT", "--interval", "1h")
	waitUntil(t, "the first round", func() bool { return strings.HasSuffix(p.out.String(), ": OK\n") })
	p.gets(t, syscall.SIGINT)
	state, got := p.ends()
	if !state.Signaled() || state.Signal() != syscall.SIGINT || !regexp.MustCompile(`^tacacs_plus: \S+: OK in 1 of 1 round, 0 changes, min (\S+) ms, average (\S+) ms, max (\S+) ms\ntacacs_plus: interrupted\n$`).MatchString(got.err) {
		t.Errorf("ends with %+v", got)
	}
}

// TestHintOfFAIL: the hint of a FAIL is printed for a person, is a field in JSON, and is not in the log of a
// script. The servers that FOLLOW names are always shown.
func TestHintOfFAIL(t *testing.T) {
	t.Parallel()
	const hint = "tacacs_plus: hint: see the server's log: account"
	follow := serveWith(t, "--fault", "follow")
	s := serveWith(t)
	for _, tt := range []struct {
		options      string
		server       *testServer
		plain, seen  bool // on stderr if it is a pipe, and if it is a terminal
		hint, inJSON string
	}{
		{"", s, false, true, hint, ""},
		{" -v", s, true, true, hint, ""},
		{" -q", s, false, false, hint, ""},
		{" --json", s, false, true, hint, `"hint":"see the server's log: account`},
		{"", follow, true, true, "tacacs_plus: hint: give the right server as HOST: the server refers to ", ""},
		{" -q", follow, false, false, "tacacs_plus: hint: give the right server as HOST: the server refers to ", ""},
	} {
		args := split("authenticate alice AT -t pap --password no"+tt.options, "AT", tt.server.addr)
		got := runWith(t, secretsInEnv, "", args...)
		if strings.Contains(got.err, tt.hint) != tt.plain || !strings.Contains(got.out, tt.inJSON) || got.code != classDenied.exit() {
			t.Errorf("%q: got %+v", tt.options, got)
		}
		p := openPTY(t)
		var out bytes.Buffer
		run(t.Context(), args, stdio{in: strings.NewReader(""), out: &out, err: p.program, env: func(name string) string { return secretsInEnv[name] }})
		p.program.WriteString("[end]")
		if shown := readUntil(t, p.person, "[end]"); strings.Contains(shown, tt.hint) != tt.seen {
			t.Errorf("%q: the terminal shows %q", tt.options, shown)
		}
	}
}

// TestLookUpBeforeSecrets: a name that does not exist is reported before any secret is prompted for.
func TestLookUpBeforeSecrets(t *testing.T) {
	resolveWith(t, dnsOf())
	script := newScriptServer(t, testKey, &authenReply{status: authenPass})
	dir := writeFiles(t, map[string]string{"key": testKey})
	const noName, noHost = "tacacs_plus: resolve tac1: no such host\n", "tacacs_plus: hint: check the name, or give the server's address\n"
	for _, tt := range []struct{ line, err string }{
		{"authenticate alice tac1", noName + noHost},
		{"authenticate alice tac2,tac1", noName + noHost},
		{"authorize alice tac1", noName + noHost},
		{"authenticate alice tac1 -t pap --key-file " + dir + "/key", noName + noHost},
		{"authenticate alice tac1 -t pap --unencrypted", noName + noHost},
		{"authenticate alice tac1 --key-file -", noName + noHost},
		{"authenticate 192.0.2.1 tac1", noName + "tacacs_plus: hint: swap USER and HOST: 192.0.2.1 looks like the server\n"},
		{"authenticate 192.0.2.1:49 tac1", noName + "tacacs_plus: hint: swap USER and HOST: 192.0.2.1:49 looks like the server\n"},
		{"authenticate tac3:49 tac1", noName + "tacacs_plus: hint: swap USER and HOST: tac3:49 looks like the server\n"},
		{"authenticate 00:11:22:33:44:55 tac1", noName + noHost},
	} {
		s := runAt(t, tt.line)
		equal(t, readUntil(t, s.stderr, tt.err[len(noName):]), tt.err, tt.line, "stderr")
		s.ends(t, classNetwork.exit(), "", "")
	}
	if got := runWith(t, nil, "", split("authenticate alice tac1")...); got.code != classUsage.exit() {
		t.Errorf("without a terminal: %+v", got)
	}
	// One server whose name resolves is enough.
	s := runAt(t, "authenticate alice tac1,"+script.addr+" -q --key-file "+dir+"/key -t pap")
	s.asked(t, "password for alice: ", false, testPassword+"\n")
	s.ends(t, classGranted.exit(), "", "")
}

// TestLookUpOnce: without a prompt each name is resolved once, not twice.
func TestLookUpOnce(t *testing.T) {
	dir := writeFiles(t, map[string]string{"key": testKey, "pass": testPassword})
	_, port, _ := strings.Cut(refusedAddr(t), ":")
	dns := dnsOf("127.0.0.1")
	var asked atomic.Int32
	resolveWith(t, func(ctx context.Context, network, addr string) (net.Conn, error) {
		asked.Add(1)
		return dns(ctx, network, addr)
	})
	const key, password = " --key-file DIR/key", " --password-file DIR/pass"
	one := int32(0) // queries of one lookup: one for each address family
	for _, tt := range []struct {
		options, prompt string
		lookUps         int32
	}{
		{"-t pap" + key + password, "", 1},
		{key, "", 1}, // the password is prompted for when the server requests it
		{"--tls --insecure" + password, "", 1},
		{"--unencrypted" + password, "", 1},
		{"-t pap" + key, "password for alice: ", 2},
		{password, "tacacs+ secret: ", 2},
	} {
		asked.Store(0)
		s := runAt(t, strings.ReplaceAll("authenticate alice tac1:"+port+" -q "+tt.options, "DIR", dir))
		if tt.prompt != "" {
			s.asked(t, tt.prompt, false, testPassword+testPassword+"\n")
		}
		<-s.done
		n := asked.Load()
		if one == 0 {
			one = n
		}
		if n == 0 || n != tt.lookUps*one {
			t.Errorf("%s: %d DNS queries, want %d", tt.options, n, tt.lookUps*one)
		}
	}
	s := runAt(t, "authenticate alice tac1 -6")
	readUntil(t, s.stderr, "tacacs_plus: tac1 has no IPv6 address\n")
	s.ends(t, classNetwork.exit(), "", "")
}

// TestLookUpInterrupted: an interrupted lookup is not an error of the name server.
func TestLookUpInterrupted(t *testing.T) {
	began := make(chan struct{}, 8)
	resolveWith(t, func(ctx context.Context, _, _ string) (net.Conn, error) {
		began <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	})
	s := runAt(t, "authenticate alice tac1")
	<-began
	s.leave()
	s.ends(t, classInterrupted.exit(), "", "")
}

// TestInputHint: a command that reads from the terminal prints a note on what it reads.
func TestInputHint(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"key": testKey})
	server := serveWith(t)
	for _, tt := range []struct{ line, note, types, out string }{
		{"batch AT", "tacacs_plus: reading the requests from the terminal, one JSON object a line; end with Ctrl-D\n", `{"command":"authorize","user":"alice"}`, `"status":"PASS_ADD"`},
		{"authorize alice AT --cmd-file -", "tacacs_plus: reading the commands from the terminal, one a line; end with Ctrl-D\n", "show version", "PASS_ADD show version\n"},
	} {
		s := runAt(t, strings.Join(split(tt.line, "AT", server.addr), " ")+" --key-file "+dir+"/key")
		equal(t, readUntil(t, s.stderr, "\n"), tt.note, tt.line, "stderr")
		s.types(t, tt.types+"\n\x04")
		if code := <-s.done; code != classGranted.exit() || !strings.Contains(s.out.String(), tt.out) {
			t.Errorf("%s: got %d %q", tt.line, int(code), s.out.String())
		}
		got := runWith(t, secretsInEnv, tt.types, split(tt.line, "AT", server.addr)...)
		if got.code != classGranted.exit() || strings.Contains(got.err, "reading") {
			t.Errorf("%s without a terminal: %+v", tt.line, got)
		}
		p := openPTY(t)
		p.types(t, tt.types+"\n\x04")
		var stderr bytes.Buffer
		code := run(t.Context(), append(split(tt.line, "AT", server.addr), "-q", "--key-file", dir+"/key"),
			stdio{in: p.program, out: io.Discard, err: &stderr, env: func(string) string { return "" }})
		if code != classGranted.exit() || stderr.String() != "" {
			t.Errorf("%s -q: exit code %d, stderr %q", tt.line, int(code), stderr.String())
		}
	}
}

// TestServerInterface: without the device there is no connection.
func TestServerInterface(t *testing.T) {
	t.Parallel()
	l := listen(t)
	got := runWith(t, secretsInEnv, "", "authenticate", "alice", l.Addr().String(), "--interface", "no-such-device")
	got.check(t, classNetwork.exit(), ``, `tacacs_plus: connect to \S+: .*\ntacacs_plus: hint: check --source and --interface.*\n`)
	checkUntouched(t, l)
}

// TestCheckOutOfFiles: without file descriptors the state of a server is UNKNOWN, and the class local.
func TestCheckOutOfFiles(t *testing.T) {
	t.Parallel()
	if os.Getenv("EMULATED_PROGRAM") != "" {
		t.Skip("the emulator needs descriptors of its own")
	}
	s := serveWith(t)
	binary := buildBinary(t)
	script := filepath.Join(t.TempDir(), "script")
	text := "#!/bin/sh\nulimit -n $1\nshift\nexec \"$@\"\n"
	must(t, os.WriteFile(script, []byte(text), 0o700))
	var limit int
	limited := func(args ...string) runResult {
		_, got := startProcess(t, "", nil, append([]string{script, strconv.Itoa(limit), binary}, args...)...).ends()
		return got
	}
	// The largest limit that is not enough.
	limit = 4 + sort.Search(16, func(n int) bool {
		limit = 4 + n
		return limited("check", s.addr, "--nagios").code == 0
	}) - 1
	got := limited("check", s.addr, "--nagios")
	if !strings.Contains(got.out, "too many open files") || got.code != nagiosUnknown || !strings.HasPrefix(got.out, "TACACS+ UNKNOWN: ") {
		t.Errorf("got %+v", got)
	}
	got = limited("check", s.addr, "--json")
	if got.code != 2 || !strings.Contains(got.out, `"error":{"class":"local",`) {
		t.Errorf("got %+v", got)
	}
	got = limited("check", "tac1.test", "--nagios")
	if got.code != nagiosUnknown || !strings.Contains(got.out, "resolve tac1.test: too many open files") {
		t.Errorf("got %+v", got)
	}
	got = limited("authenticate", "alice", s.addr)
	if got.code != 2 || !strings.Contains(got.err, "too many open files\n") || !strings.Contains(got.err, "hint: this host lacks a resource") {
		t.Errorf("got %+v", got)
	}
}

// TestCheckReaderGone: check --interval ends when the reader of its output has gone, also between two changes.
func TestCheckReaderGone(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	r, w, err := os.Pipe()
	must(t, err)
	defer w.Close()
	go func(r *os.File) {
		r.Read(make([]byte, 1))
		r.Close()
	}(r)
	var stderr lockedBuffer
	began := time.Now()
	code := run(t.Context(), []string{"check", s.addr, "--interval", "1h"}, stdio{in: strings.NewReader(""), out: w, err: &stderr, env: func(name string) string { return secretsInEnv[name] }})
	if took := time.Since(began); took > patience/4 || code != 2 || !strings.HasSuffix(stderr.String(), "tacacs_plus: write the result: the reader has closed the pipe\n") || !strings.Contains(stderr.String(), "OK in 1 of 1 round") {
		t.Errorf("%d after %v: %s", int(code), took, &stderr)
	}
	// A reader that stays, and output to something else than a pipe, change nothing.
	r, w, err = os.Pipe()
	must(t, err)
	go io.Copy(io.Discard, r)
	defer r.Close()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	must(t, err)
	defer null.Close()
	for _, out := range []*os.File{w, null} {
		code := run(t.Context(), []string{"check", s.addr, "--interval", "300ms", "--count", "3"}, stdio{in: strings.NewReader(""), out: out, err: io.Discard, env: func(name string) string { return secretsInEnv[name] }})
		if code != 0 {
			t.Errorf("exit code %d", int(code))
		}
	}
	w.Close()
}
