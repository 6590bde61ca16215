package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// TestAllAtATerminal: the person types each secret once, before anything is sent, and sees no prompt of a server.
func TestAllAtATerminal(t *testing.T) {
	t.Parallel()
	good := serveWith(t).addr
	token := startFakeServer(t, func(c *fakeServerConn) {
		for q := c.readRequest(); q != nil; q = c.readRequest() {
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
	if got := readUntil(t, s.stderr, "--answer"); !strings.Contains(got, "no answer left for the prompt") || strings.Contains(got, "Token: \n") {
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
	for _, tt := range []struct{ options, want string }{
		{"", "\r\x1b[K[end]"},
		{"-q", "[end]"},
	} {
		p := openPTY(t)
		// A slow run prints a line before.
		if got := bench(tt.options, p.person, p.program); !strings.HasSuffix(got, tt.want) || tt.options == "-q" && got != tt.want {
			t.Errorf("%q: the terminal shows %q", tt.options, got)
		}
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if got := bench("", r, w); got != "[end]" {
		t.Errorf("a pipe gets %q", got)
	}
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
			if err := os.Chmod(file, 0o400); err != nil {
				t.Fatal(err)
			}
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
		if err := replaceFile(at(name), name); err != nil {
			t.Error(err)
		}
		text, err := os.ReadFile(at(target))
		if info, wrong := os.Lstat(at(name)); err != nil || wrong != nil || string(text) != name || info.Mode()&os.ModeSymlink == 0 {
			t.Errorf("%s: %q, %v, %v", name, text, err, info.Mode())
		}
	}
	if entries, err := os.ReadDir(at("real")); len(entries) != 2 {
		t.Errorf("%v, %v", entries, err)
	}
	// A pipe is not replaced, and a pipe without a reader is an error.
	if err := syscall.Mkfifo(at("pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := replaceFile(at("pipe"), "unread"); classOf(err) != classUsage || !strings.Contains(err.Error(), "write the report: ") {
		t.Errorf("a pipe without a reader: %v", err)
	}
	pipe, err := os.OpenFile(at("pipe"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	if err := replaceFile(at("pipe"), "read"); err != nil {
		t.Error(err)
	}
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
	if !state.Signaled() || state.Signal() != syscall.SIGINT || got.err != "tacacs_plus: "+s.addr+": OK in 1 of 1 round, 0 changes\ntacacs_plus: interrupted\n" {
		t.Errorf("ends with %+v", got)
	}
}
