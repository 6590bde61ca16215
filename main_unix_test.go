//go:build unix

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestSignalTwice: after the first signal serve finishes its sessions, and the second signal ends it at once.
func TestSignalTwice(t *testing.T) {
	t.Parallel()
	start := []string{buildBinary(t)}
	p, _ := startServe(t, nil, start)
	p.gets(t, syscall.SIGINT)
	if state, got := p.ends(); state.Signaled() || got.code != classGranted.exit() {
		t.Errorf("one signal, no session: %+v", got)
	}

	p, addr := startServe(t, nil, start, "--reply-delay", "1h", "--debug")
	c := dialFakeClient(t, addr)
	must(t, c.send(header{version: minorOne, typ: typeAuthen, seqNo: 1, sessionID: 1}, papStart("alice", testPassword)))
	waitUntil(t, "serve has the request", func() bool { return strings.Contains(p.err.String(), "received from") })
	p.gets(t, syscall.SIGINT)
	waitUntil(t, "serve stops accepting", func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	p.gets(t, syscall.SIGINT)
	if state, got := p.ends(); !state.Signaled() || state.Signal() != syscall.SIGINT {
		t.Errorf("the second signal ends it with %+v", got)
	}
}

// TestSignalIgnored: a signal that is ignored at the start of the program remains ignored.
func TestSignalIgnored(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	binary := buildBinary(t)
	for name, signal := range map[string]syscall.Signal{"HUP": syscall.SIGHUP, "INT": syscall.SIGINT} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start := []string{"sh", "-c", "trap '' " + name + `; exec "$@"`, "sh", binary}
			p, addr := startServe(t, nil, start)
			p.gets(t, signal)
			time.Sleep(reactionTime)
			got := runWith(t, secretsInEnv, "", "authenticate", "alice", addr, "-t", "pap")
			if got.code != classGranted.exit() {
				t.Errorf("serve has ended: %+v", got)
			}
			p.gets(t, syscall.SIGTERM)
			if state, got := p.ends(); state.Signaled() || got.code != classGranted.exit() {
				t.Errorf("SIGTERM ends it with %+v", got)
			}

			// The command of --exec ignores the signal too.
			const command = `trap "exit 9" HUP INT; trap "exit 4" TERM; echo ready; read x; exit 5`
			p = startProcess(t, s.addr, nil, slices.Concat(start, []string{"account", "alice", "AT", "--exec", "--", "sh", "-c", command})...)
			waitUntil(t, "the command runs", func() bool { return strings.Contains(p.out.String(), "ready") })
			p.gets(t, signal)
			time.Sleep(reactionTime)
			p.gets(t, syscall.SIGTERM)
			if _, got := p.ends(); got.code != 4 {
				t.Errorf("the command ends with %+v", got)
			}
		})
	}
}

// TestExecSignals: SIGTERM and SIGHUP are forwarded to the command. Ctrl-C is not, since a terminal
// sends it to both. The end of the command is recorded in every case.
func TestExecSignals(t *testing.T) {
	t.Parallel()
	binary := buildBinary(t)
	for _, tt := range []struct {
		name, command string
		signals       []syscall.Signal
		code          exitCode
		recorded      string
	}{
		{"SIGTERM", "echo ready; read x", []syscall.Signal{syscall.SIGTERM}, 128 + 15, `"err_msg=signal: terminated"`},
		{"SIGHUP", "echo ready; read x", []syscall.Signal{syscall.SIGHUP}, 128 + 1, `"err_msg=signal: hangup"`},
		{"nothing, and the command ends by a signal", "echo ready; kill -INT $$", nil, 128 + 2, `"err_msg=signal: interrupt"`},
		{"SIGTERM, caught", `trap "exit 4" TERM; echo ready; read x`, []syscall.Signal{syscall.SIGTERM}, 4, `"err_msg=exit status 4"`},
		{"SIGINT", `trap "exit 9" INT QUIT; trap "exit 4" TERM; echo ready; read x`, []syscall.Signal{syscall.SIGINT, syscall.SIGTERM}, 4, `"err_msg=exit status 4"`},
		{"SIGQUIT", `trap "exit 9" INT QUIT; trap "exit 4" TERM; echo ready; read x`, []syscall.Signal{syscall.SIGQUIT, syscall.SIGTERM}, 4, `"err_msg=exit status 4"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := serveWith(t)
			p := startProcess(t, s.addr, nil, binary, "account", "alice", "AT", "--exec", "--", "sh", "-c", tt.command)
			waitUntil(t, "the command runs", func() bool { return strings.Contains(p.out.String(), "ready") })
			for i, signal := range tt.signals {
				if i > 0 {
					time.Sleep(reactionTime)
				}
				p.gets(t, signal)
			}
			state, got := p.ends()
			if got != (runResult{tt.code, "ready\n", ""}) || state.Signaled() != (tt.code > 128 && tt.signals != nil) {
				t.Errorf("got %+v, by a signal: %t; want %d", got, state.Signaled(), tt.code)
			}
			if log := s.log.String(); strings.Count(log, " account start ") != 1 || strings.Count(log, " account stop ") != 1 || !strings.Contains(log, tt.recorded) {
				t.Errorf("the server log:\n%s", log)
			}
		})
	}
}

// TestFIPS: the program computes MD5 in a process where FIPS 140 mode forbids it.
func TestFIPS(t *testing.T) {
	t.Parallel()
	binary, env := buildBinary(t), []string{"GODEBUG=fips140=only"}
	serve, addr := startServe(t, env, []string{binary})
	requests := strings.Repeat(`{"command":"authenticate","user":"alice"}`+"\n"+`{"command":"authenticate","user":"alice","authen_type":"pap"}`+"\n", 20)
	for _, line := range []string{
		"account alice AT --exec -- echo", "check alice AT --types --negative", "batch AT",
	} {
		p := startProcess(t, addr, env, append([]string{binary}, split(strings.Replace(line, "AT", "AT --timeout 1m", 1))...)...)
		if strings.HasPrefix(line, "batch") {
			io.WriteString(p.in, requests)
			p.in.Close()
		}
		if _, got := p.ends(); got.code != classGranted.exit() || strings.Contains(got.err, "fips") {
			t.Errorf("%s: %+v", line, got)
		}
	}
	serve.gets(t, syscall.SIGTERM)
	if _, got := serve.ends(); got.code != classGranted.exit() {
		t.Errorf("serve ends with %+v", got)
	}
}

// TestExecKeepsSecrets: the command of --exec gets neither the secrets in the environment nor an open
// file that holds one. Everything else it inherits.
func TestExecKeepsSecrets(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	binary := buildBinary(t)
	file := filepath.Join(writeFiles(t, map[string]string{"key": testKey + "\n"}), "key")
	dir := testFiles(t)
	overTLS := serveWith(t, split("--tls --cert DIR/server.pem --cert-key DIR/server.key --client-ca DIR/ca.pem", "DIR", dir)...)
	at := overTLS.addr + " --tls --cacert " + dir + "/ca.pem --cert "
	certKey := at + dir + "/client.pem --cert-key "
	for _, tt := range []struct {
		name, start, options, command, want string
	}{
		{"a certificate's key", `exec "$@" <` + dir + "/client.key", certKey + "/dev/stdin", "cat", ""},
		{"a certificate's key from a pipe", "cat " + dir + `/client.key | exec "$@"`, certKey + "/dev/stdin", "cat", ""},
		{"a certificate with its key", "cd " + dir + `; umask 077; cat client.pem client.key >both.pem; exec "$@" <both.pem`, at + "/dev/stdin", "cat", ""},
		{"standard input over TLS", `echo data | exec "$@"`, certKey + dir + "/client.key", "cat", "data\n"},
		{"environment", `exec "$@"`, "AT", "env | grep -ic tacacs_plus_; echo $OTHER", "0\nstays\n"},
		{"an inherited file", `exec "$@" 7<` + file, "AT --key-file /dev/fd/7", "[ -e /dev/fd/7 ] || echo none", "none\n"},
		{"standard input", `exec "$@" <` + file, "AT --key-file -", "cat /dev/stdin", ""},
		{"standard input for the password", `exec "$@" <` + file, "AT --password-file - --key-file " + file, "cat", ""},
		{"standard input for the password in short", `echo secret | exec "$@"`, "AT --password-stdin --key-file " + file, "cat", ""},
		{"standard input by its name", `exec "$@" <` + file, "AT --key-file /dev/stdin", "cat", ""},
		{"standard input without a secret", `echo data | exec "$@"`, "AT --key-file " + file, "cat", "data\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			line := split("account alice " + tt.options + " --exec -- sh -c")
			p := startProcess(t, s.addr, []string{"OTHER=stays"}, slices.Concat([]string{"sh", "-c", tt.start, "sh", binary}, line, []string{tt.command})...)
			if status, got := p.ends(); status != 0 || got.out != tt.want || got.err != "" {
				t.Errorf("got %+v, want %q", got, tt.want)
			}
		})
	}
}

// TestSignalEnds: an interrupted run prints that, ends by the signal, and has the signal's exit code in
// its JSON.
func TestSignalEnds(t *testing.T) {
	t.Parallel()
	binary := buildBinary(t)
	for _, tt := range []struct {
		signal syscall.Signal
		line   string
	}{
		{syscall.SIGQUIT, "authenticate alice AT --json"},
		{syscall.SIGTERM, "authenticate alice AT -q"},
		{syscall.SIGTERM, "account alice AT --json --timeout 1 --exec -- false"},
		{syscall.SIGINT, "check alice AT --json"},
		{syscall.SIGHUP, "bench alice AT -c 2 --json"},
		{syscall.SIGTERM, "batch AT"},
		{syscall.SIGINT, "batch AT -c 1"},
		{syscall.SIGTERM, "authorize alice AT --cmd-file - --json"},
	} {
		t.Run(tt.signal.String()+" "+tt.line, func(t *testing.T) {
			t.Parallel()
			l := listen(t)
			p := startProcess(t, l.Addr().String(), nil, append([]string{binary}, split(tt.line)...)...)
			switch {
			case strings.HasPrefix(tt.line, "batch"):
				io.WriteString(p.in, strings.Repeat(`{"command":"authorize","user":"alice"}`+"\n"+`{"command":"authenticate","user":"alice"}`+"\n", 3))
			case strings.Contains(tt.line, "--cmd-file"):
				io.WriteString(p.in, "show version\n")
				p.in.Close()
			}
			l.(*net.TCPListener).SetDeadline(time.Now().Add(patience))
			conn, err := l.Accept()
			if err != nil {
				t.Fatalf("%v: %s", err, p.err.String())
			}
			defer conn.Close()
			p.Process.Signal(tt.signal)
			state, got := p.ends()
			if want := exitCode(128 + int(tt.signal)); got.code != want || state.Signaled() != (tt.signal != syscall.SIGQUIT) {
				t.Errorf("ends with %+v, by a signal: %t; want %d", got, state.Signaled(), want)
			}
			shown, want := got.out+got.err, fmt.Sprintf(`"exit_code":%d`, 128+int(tt.signal))
			if n := strings.Count(shown, `"exit_code"`); n != strings.Count(shown, want) || n == 0 && !strings.HasSuffix(tt.line, "-q") {
				t.Errorf("got %s, want %s", shown, want)
			}
			if !strings.Contains(got.err, "interrupted\n") {
				t.Errorf("stderr is %s", got.err)
			}
		})
	}
}

// TestExecGivesUp: the signal that ended the command does not end the wait for its stop record. A second
// signal does, but not SIGHUP.
func TestExecGivesUp(t *testing.T) {
	t.Parallel()
	binary := buildBinary(t)
	for _, tt := range []struct {
		name, command    string
		running, waiting []syscall.Signal
		want             string
		by               syscall.Signal
	}{
		{"TERM ends the command", "echo ready; read x", []syscall.Signal{syscall.SIGTERM}, []syscall.Signal{syscall.SIGINT}, "the command ran: signal: terminated: interrupted", syscall.SIGTERM},
		{"TERM is caught", `trap "exit 4" TERM; echo ready; read x`, []syscall.Signal{syscall.SIGTERM}, []syscall.Signal{syscall.SIGTERM}, "the command ran: exit status 4: interrupted", syscall.SIGTERM},
		{"twice while it waits", "echo ready", nil, []syscall.Signal{syscall.SIGINT, syscall.SIGINT}, "the command ran: exit status 0: interrupted", syscall.SIGINT},
		{"a closed terminal", "echo ready; read x", []syscall.Signal{syscall.SIGHUP}, []syscall.Signal{syscall.SIGHUP, syscall.SIGTERM}, "the command ran: signal: hangup: interrupted", syscall.SIGHUP},
		{"cannot be run", program(t, "\x00 is no program\n"), nil, []syscall.Signal{syscall.SIGTERM, syscall.SIGTERM}, "the command was not started: interrupted", syscall.SIGTERM},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			addr, records := acctServer(t, "success", "silent")
			args := []string{binary, "account", "alice", addr, "--timeout", "60", "--exec", "--"}
			if tt.name == "cannot be run" {
				args = append(args, tt.command)
			} else {
				args = append(args, "sh", "-c", tt.command)
			}
			p := startProcess(t, addr, nil, args...)
			if tt.running != nil {
				waitUntil(t, "the command runs", func() bool { return strings.Contains(p.out.String(), "ready") })
			}
			for _, s := range tt.running {
				p.Process.Signal(s)
			}
			waitUntil(t, "the stop record", func() bool { return len(records) == 2 })
			for _, s := range tt.waiting {
				time.Sleep(reactionTime)
				if stderr := p.err.String(); stderr != "" {
					t.Errorf("ended before %v: %s", s, stderr)
				}
				p.Process.Signal(s)
			}
			state, got := p.ends()
			if !state.Signaled() || state.Signal() != tt.by || !strings.HasPrefix(got.err, "tacacs_plus: the stop record was not confirmed, "+tt.want+"\ntacacs_plus: hint: look for task_id=") {
				t.Errorf("ends with %+v", got)
			}
		})
	}
}

// TestInterruptPipes: Ctrl-C ends the wait for a pipe, with and without a writer at its other end.
func TestInterruptPipes(t *testing.T) {
	t.Parallel()
	dir := testFiles(t)
	pipe, other := filepath.Join(dir, "pipe"), filepath.Join(dir, "other")
	for _, name := range []string{pipe, other} {
		must(t, syscall.Mkfifo(name, 0o600))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	check := func(line string) {
		t.Helper()
		in, _ := io.Pipe()
		out, stderr, done := new(lockedBuffer), new(lockedBuffer), make(chan exitCode, 1)
		go func() {
			done <- run(ctx, split(line, "PIPE", pipe, "OTHER", other, "DIR", dir), stdio{in: in, out: out, err: stderr, env: func(string) string { return "" }})
		}()
		code := await(t, done, line+" ends")
		if code != classInterrupted.exit() || !strings.HasSuffix(stderr.String(), "tacacs_plus: interrupted\n") || out.String() != "" {
			t.Errorf("%s: %d %s%s", line, int(code), out, stderr)
		}
	}
	for _, line := range []string{
		"authenticate alice 192.0.2.1 --password x --tls --keylog OTHER",
		"serve --tls --write-cacert OTHER",
		"relay 192.0.2.1 -k KEY --listen 127.0.0.1:0 --record OTHER",
		"authenticate alice 192.0.2.1 --key-file PIPE", "authenticate alice 192.0.2.1 --key-file -",
		"authenticate alice 192.0.2.1 -k KEY -t pap --password-file PIPE", "authenticate alice 192.0.2.1 -k KEY -t pap --password-stdin",
		"authenticate alice 192.0.2.1 --password x --tls --cacert PIPE",
		"authenticate alice 192.0.2.1 --password x --tls --cert PIPE",
		"authenticate alice 192.0.2.1 --password x --tls --cert DIR/client.pem --cert-key PIPE",
		"authenticate alice 192.0.2.1 --password x --tls --crl PIPE",
		"authorize alice 192.0.2.1 -k KEY --cmd-file PIPE",
		"decode PIPE", "decode", "decode --key-file PIPE none", "decode --key-list PIPE none", "decode --key-list - none", "decode --keylog PIPE none", "decode --keylog - none",
		"serve --key-file PIPE", "serve --users-file PIPE", "serve --enable-password-file PIPE", "serve --tls --cert PIPE",
		"relay 192.0.2.1 -k KEY --listen 127.0.0.1:0 --device-key-file PIPE",
		"relay 192.0.2.1 -k KEY --listen-tls 127.0.0.1:0 --listen-cert PIPE",
		"relay 192.0.2.1 -k KEY --listen-tls 127.0.0.1:0 --listen-cert DIR/server.pem --listen-cert-key DIR/server.key --client-ca PIPE",
	} {
		check(line)
	}
	for _, name := range []string{other, pipe} { // the calls that still wait can end
		silent, err := os.OpenFile(name, os.O_RDWR, 0)
		must(t, err)
		defer silent.Close()
	}
	for _, line := range []string{
		"authenticate alice 192.0.2.1 --key-file PIPE",
		"authenticate alice 192.0.2.1 --password x --tls --cacert PIPE",
		"authorize alice 192.0.2.1 -k KEY --cmd-file PIPE",
		"decode PIPE", "decode --key-list PIPE none", "decode --keylog PIPE none",
	} {
		check(line)
	}
}

// TestAnsiblePipe: a pipe is not read, since that can block.
func TestAnsiblePipe(t *testing.T) {
	t.Parallel()
	pipe := filepath.Join(t.TempDir(), "args")
	must(t, syscall.Mkfifo(pipe, 0o600))
	done := make(chan runResult)
	go func() { done <- runWith(t, nil, "", pipe) }()
	got := await(t, done, "it ends without the pipe")
	if got.code != classUsage.exit() || !strings.HasPrefix(got.err, "tacacs_plus: unknown command ") {
		t.Errorf("got %+v", got)
	}
}

// TestProfilePipe: a pipe as profile is not opened, since that can block.
func TestProfilePipe(t *testing.T) {
	t.Parallel()
	pipe := filepath.Join(t.TempDir(), "pipe")
	must(t, syscall.Mkfifo(pipe, 0o600))
	done := make(chan runResult, 1)
	go func() { done <- runWith(t, nil, "", "version", "@"+pipe) }()
	got := await(t, done, "it ends without the pipe")
	if got.code != classUsage.exit() || !strings.HasSuffix(got.err, pipe+" is not a regular file\n") {
		t.Errorf("got %+v", got)
	}
}

// TestFileOfSecretsIsPrivate: the files of --keylog and --record end up readable by their owner only, also through links of
// this user.
func TestFileOfSecretsIsPrivate(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"old": "# old\n"})
	in := func(name string) string { return filepath.Join(dir, name) }
	must(t, os.Chmod(in("old"), 0o644))
	must(t, os.Mkdir(in("sub"), 0o700))
	for name, target := range map[string]string{"link": "old", "link2": "sub/link3", "sub/link3": "../old", "dangling": "sub/new", "loop": "loop"} {
		must(t, os.Symlink(target, in(name)))
	}
	s := serveWith(t, "--tls", "--write-cacert", in("ca.pem"))
	logIn := func(keyLog string) runResult {
		return runWith(t, map[string]string{"TACACS_PLUS_PWD": testPassword}, "", "authenticate", "alice", s.addr, "--tls", "--cacert", in("ca.pem"), "--keylog", keyLog)
	}
	for name, file := range map[string]string{"new": "new", "old": "old", "link": "old", "link2": "old", "dangling": "sub/new"} {
		if file == "old" {
			must(t, os.WriteFile(in("old"), []byte("# old\n"), 0o600))
			must(t, os.Chmod(in("old"), 0o644))
		}
		logIn(in(name)).check(t, 0, "PASS\n", "")
		b, err := os.ReadFile(in(file))
		info, _ := os.Stat(in(file))
		if err != nil || info.Mode().Perm() != 0o600 || !strings.Contains(string(b), "CLIENT_TRAFFIC_SECRET_0") || strings.HasPrefix(string(b), "# old\n") != (file == "old") {
			t.Errorf("%s: %v, %v, %s", name, err, info, b)
		}
	}
	logIn(in("loop")).check(t, 2, "", "tacacs_plus: open the key log: .*loop: too many symbolic links\n")

	must(t, os.WriteFile(in("old"), appendPcapHeader(nil), 0o600))
	must(t, os.Chmod(in("old"), 0o644))
	for i, mode := range []os.FileMode{0o644, 0o600} {
		record, err := openRecord(t.Context(), in("link"), i == 1)
		if (err == nil) != (i == 1) {
			t.Fatal(err)
		}
		if info, _ := os.Stat(in("old")); info.Size() != pcapHeaderLen || info.Mode().Perm() != mode {
			t.Errorf("the record is %v", info)
		}
		if err == nil {
			record.disk.(*os.File).Close()
		}
	}
}

// TestFileOfAnotherUser: links of another user are not followed, and secrets are not written to the user's files.
func TestFileOfAnotherUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file to another user")
	}
	dir := writeFiles(t, map[string]string{"victim": "keep\n", "theirs": "keep\n"})
	in := func(name string) string { return filepath.Join(dir, name) }
	for name, target := range map[string]string{"link": "victim", "dangling": "nothing", "mine": "link"} {
		must(t, os.Symlink(target, in(name)))
	}
	for _, name := range []string{"link", "dangling", "theirs"} {
		must(t, os.Lchown(in(name), 12345, 12345))
	}
	s := serveWith(t)
	for name, why := range map[string]string{"link": "link is a symbolic link of another user", "dangling": "dangling is a symbolic link of another user",
		"mine": "link is a symbolic link of another user", "theirs": "theirs belongs to another user"} {
		for line, doing := range map[string]string{
			"authenticate alice AT --tls --insecure --keylog FILE":                "open the key log",
			"relay AT --listen 127.0.0.1:0 --record FILE":                         "make the record",
			"check AT --prometheus --output FILE":                                 "write the report",
			"serve --tls --listen 127.0.0.1:0 --user alice:x --write-cacert FILE": "generate a certificate",
		} {
			if name == "theirs" && !strings.Contains(line, "keylog") && !strings.Contains(line, "record") {
				continue // these hold no secrets
			}
			env := map[string]string{"TACACS_PLUS_PWD": testPassword, "TACACS_PLUS_KEY": testKey}
			got := runWith(t, env, "", split(line, "AT", s.addr, "FILE", in(name))...)
			if want := "tacacs_plus: " + doing + ": " + in(why) + "\n"; got.code != classUsage.exit() || !strings.HasSuffix(got.err, want) {
				t.Errorf("%s, %s: got %+v, want %s", name, line, got, want)
			}
		}
	}
	for _, name := range []string{"victim", "theirs"} {
		if b, err := os.ReadFile(in(name)); err != nil || string(b) != "keep\n" {
			t.Errorf("%s has %q, %v", name, b, err)
		}
	}
	if _, err := os.Lstat(in("nothing")); err == nil {
		t.Error("a link of another user was followed to a new file")
	}
}
