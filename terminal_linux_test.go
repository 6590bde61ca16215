package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// A pty is a terminal without a screen: what is written to person is typed at it, and what is
// read from person is shown on it. The program has the other end.
type pty struct{ person, program *os.File }

func openPTY(t *testing.T) pty {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { person.Close() })
	raw, err := person.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var unlock, number int32
	var errnos [2]syscall.Errno
	err = raw.Control(func(fd uintptr) {
		_, _, errnos[0] = syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TIOCSPTLCK, uintptr(unsafe.Pointer(&unlock)))
		_, _, errnos[1] = syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TIOCGPTN, uintptr(unsafe.Pointer(&number)))
	})
	if err != nil || errnos != [2]syscall.Errno{} {
		t.Fatal(err, errnos)
	}
	program, err := os.OpenFile("/dev/pts/"+strconv.Itoa(int(number)), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return pty{person, program}
}

// types what a person types.
func (p pty) types(t *testing.T, text string) {
	t.Helper()
	if _, err := p.person.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

func (p pty) checkEcho(t *testing.T, want bool) {
	t.Helper()
	var mode syscall.Termios
	if err := ioctl(p.program.Fd(), ioctlGetTermios, &mode); err != nil {
		t.Fatal(err)
	}
	if got := mode.Lflag&syscall.ECHO != 0; got != want {
		t.Errorf("echo is %t, not %t", got, want)
	}
}

// readUntil reads until text has come, and returns all of what came.
func readUntil(t *testing.T, r *os.File, text string) string {
	t.Helper()
	if err := r.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	var got []byte
	for b := make([]byte, 1024); !bytes.Contains(got, []byte(text)); {
		n, err := r.Read(b)
		if got = append(got, b[:n]...); err != nil {
			t.Fatalf("waiting for %q: %v after %q", text, err, got)
		}
	}
	return string(got)
}

// A seat is a person at a terminal, in whose view a command line runs in this process. Its
// standard error is apart, to see what goes there and what the terminal shows by itself.
type seat struct {
	pty
	stderr *os.File
	out    bytes.Buffer // to be read after the end
	leave  context.CancelFunc
	done   chan exitCode
}

func runAt(t *testing.T, line string) *seat {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s := &seat{pty: openPTY(t), stderr: r, leave: cancel, done: make(chan exitCode, 1)}
	t.Cleanup(func() { cancel(); r.Close(); w.Close() })
	s.checkEcho(t, true)
	go func() {
		s.done <- run(ctx, split(line), stdio{in: s.program, out: &s.out, err: w, env: func(string) string { return "" }})
	}()
	return s
}

// asked waits for a prompt, checks that it is alone on standard error and whether the
// terminal shows what is typed, then types the answer.
func (s *seat) asked(t *testing.T, prompt string, echo bool, answer string) {
	t.Helper()
	if got := readUntil(t, s.stderr, prompt); strings.TrimSpace(got) != strings.TrimSpace(prompt) {
		t.Errorf("standard error has %q, not %q", got, prompt)
	}
	s.checkEcho(t, echo)
	s.types(t, answer)
}

// ends waits for the end, and checks the exit code, standard output and what the terminal
// showed by itself: nothing of what was typed without echo.
func (s *seat) ends(t *testing.T, code exitCode, out, shown string) {
	t.Helper()
	if got := <-s.done; got != code || s.out.String() != out {
		t.Errorf("ends with %d %q, not %d %q", got, s.out.String(), code, out)
	}
	s.checkEcho(t, true)
	if _, err := s.program.WriteString("[end]"); err != nil {
		t.Fatal(err)
	}
	if got := readUntil(t, s.person, "[end]"); got != shown+"[end]" {
		t.Errorf("the terminal showed %q, not %q", got, shown+"[end]")
	}
}

func TestPromptForSecrets(t *testing.T) {
	server := newScript(t, testKey, &authenReply{status: authenPass})
	s := runAt(t, "authenticate alice "+server.addr+" -t pap")
	s.asked(t, "tacacs+ secret: ", false, testKey+"\n")
	s.asked(t, "password for alice: ", false, testPassword+"\n")
	s.ends(t, classGranted.exit(), "PASS\n", "")
	var start authenStart
	if server.received(t, &start); start.data != testPassword {
		t.Errorf("the password is %q", start.data)
	}
}

// Both secrets can be pasted at once, and what is given by option is not asked for.
func TestPromptAndPaste(t *testing.T) {
	server := newScript(t, testKey, &authenReply{status: authenPass})
	s := runAt(t, "authenticate alice "+server.addr+" -t pap")
	s.asked(t, "tacacs+ secret: ", false, testKey+"\n"+testPassword+"\n")
	s.ends(t, classGranted.exit(), "PASS\n", "")

	server = newScript(t, "0123456789abcdef", &authenReply{status: authenPass})
	s = runAt(t, "authenticate alice "+server.addr+" -t pap -k 0123456789abcdef")
	s.asked(t, "password for alice: ", false, "\n") // an empty one
	s.ends(t, classGranted.exit(), "PASS\n", "")
}

// The prompts of a server: echo unless it says NOECHO, or asks for a password.
func TestServerPrompts(t *testing.T) {
	server := newScript(t, "0123456789abcdef",
		&authenReply{status: authenGetPass},
		&authenReply{status: authenGetData, serverMsg: "Favourite\ncolour\x1b[31m? "},
		&authenReply{status: authenGetData, flags: authenNoEcho, serverMsg: "Token: "},
		&authenReply{status: authenGetPass, serverMsg: "Again: "},
		&authenReply{status: authenGetData},
		&authenReply{status: authenPass})
	s := runAt(t, "authenticate alice "+server.addr+" -k 0123456789abcdef --password x")
	s.asked(t, "Favourite\ncolour\\x1b[31m? ", true, "blue\n")
	s.asked(t, "Token: ", false, "123456\n")
	s.asked(t, "Again: ", false, "y\n")
	s.asked(t, "data: ", true, "z\n")
	s.ends(t, classGranted.exit(), "PASS\n", "blue\r\nz\r\n")
	server.received(t, new(authenStart))
	for _, want := range []string{"x", "blue", "123456", "y", "z"} {
		var answer authenContinue
		if server.received(t, &answer); answer.userMsg != want {
			t.Errorf("the answer is %q, not %q", answer.userMsg, want)
		}
	}
}

func TestPromptEnds(t *testing.T) {
	server := listen(t)
	line := "authenticate alice " + server.Addr().String()
	for name, row := range map[string]struct {
		typed string
		code  exitCode
		says  string
	}{
		"end of input": {"\x04", classUsage.exit(), "no key"},
		"nothing":      {"\n", classUsage.exit(), "tacacs_plus: the key of the terminal is empty\n"},
		"interrupted":  {"", classInterrupted.exit(), "tacacs_plus: interrupted\n"},
	} {
		t.Run(name, func(t *testing.T) {
			s := runAt(t, line)
			s.asked(t, "tacacs+ secret: ", false, row.typed)
			if row.code == classInterrupted.exit() {
				s.leave()
			}
			readUntil(t, s.stderr, row.says)
			s.ends(t, row.code, "", "")
			checkUntouched(t, server)
		})
	}
}

func TestPromptForNewPassword(t *testing.T) {
	line := "chpass alice SERVER -k 0123456789abcdef"
	server := newScript(t, "0123456789abcdef", &authenReply{status: authenGetData}, &authenReply{status: authenGetPass},
		&authenReply{status: authenGetPass}, &authenReply{status: authenPass})
	s := runAt(t, strings.ReplaceAll(line, "SERVER", server.addr))
	s.asked(t, "password for alice: ", false, "old\n")
	s.asked(t, "new password for alice: ", false, "new\n")
	s.asked(t, "new password for alice again: ", false, "new\n")
	s.ends(t, classGranted.exit(), "PASS\n", "")
	server.received(t, new(authenStart))
	for _, want := range []string{"old", "new", "new"} {
		var answer authenContinue
		if server.received(t, &answer); answer.userMsg != want {
			t.Errorf("the answer is %q, not %q", answer.userMsg, want)
		}
	}

	unasked := listen(t)
	s = runAt(t, strings.ReplaceAll(line, "SERVER", unasked.Addr().String()))
	s.asked(t, "password for alice: ", false, "old\n")
	s.asked(t, "new password for alice: ", false, "new\n")
	s.asked(t, "new password for alice again: ", false, "newer\n")
	readUntil(t, s.stderr, "tacacs_plus: the new passwords differ\n")
	s.ends(t, classUsage.exit(), "", "")
	checkUntouched(t, unasked)
}

// TestProgressOnTerminal: bench shows how far it is where standard error is a terminal, and nothing of
// that where it is not, or with -q.
func TestProgressOnTerminal(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	for _, tt := range []struct {
		name, options string
		terminal      bool
		want          string
	}{
		{"terminal", "", true, "\r\x1b[K"},
		{"terminal, quiet", "-q", true, ""},
		{"pipe", "", false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := openPTY(t)
			shown, stderr := p.person, p.program
			if !tt.terminal {
				var err error
				if shown, stderr, err = os.Pipe(); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { shown.Close(); stderr.Close() })
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			code := run(ctx, split("bench alice "+s.addr+" -t pap -n 5 "+tt.options), stdio{in: strings.NewReader(""), out: io.Discard, err: stderr,
				env: func(name string) string { return secretsInEnv[name] }})
			if _, err := stderr.WriteString("[end]"); err != nil {
				t.Fatal(err)
			}
			if got := readUntil(t, shown, "[end]"); code != classGranted.exit() || got != tt.want+"[end]" {
				t.Errorf("got %d and %q, want %q", code, got, tt.want+"[end]")
			}
		})
	}
}

// start starts a command line in a session of its own at the terminal.
func (p pty) start(t *testing.T, words ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Env = processEnv()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = p.program, p.program, p.program
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// A signal at a prompt ends the program by that signal and leaves the terminal as it was.
func TestSignalAtPrompt(t *testing.T) {
	binary := buildBinary(t)
	for name, stop := range map[string]func(*testing.T, pty, *os.Process) error{
		"Ctrl-C":  func(t *testing.T, p pty, _ *os.Process) error { p.types(t, "half a ke\x03"); return nil },
		"SIGINT":  func(_ *testing.T, _ pty, child *os.Process) error { return child.Signal(syscall.SIGINT) },
		"SIGTERM": func(_ *testing.T, _ pty, child *os.Process) error { return child.Signal(syscall.SIGTERM) },
	} {
		t.Run(name, func(t *testing.T) {
			p := openPTY(t)
			cmd := p.start(t, binary, "authenticate", "alice", "192.0.2.1")
			shown := readUntil(t, p.person, "tacacs+ secret: ")
			p.checkEcho(t, false)
			if err := stop(t, p, cmd.Process); err != nil {
				t.Error(err)
			}
			err := cmd.Wait()
			want := syscall.SIGINT
			if name == "SIGTERM" {
				want = syscall.SIGTERM
			}
			if state := cmd.ProcessState.Sys().(syscall.WaitStatus); !state.Signaled() || state.Signal() != want {
				t.Errorf("ended with %v, not by %v", err, want)
			}
			p.checkEcho(t, true)
			shown += readUntil(t, p.person, "interrupted\r\n")
			if want := "tacacs+ secret: \r\ntacacs_plus: interrupted\r\n"; shown != want {
				t.Errorf("the terminal shows %q, not %q", shown, want)
			}
		})
	}
}

// A terminal gives nothing a second time: the command of --exec may go on with it where the key was
// typed at it.
func TestExecAfterPrompt(t *testing.T) {
	server := serveWith(t)
	s := runAt(t, "account alice "+server.addr+" --key-file - --exec -- head -n 1")
	s.types(t, testKey+"\n\x04")
	waitUntil(t, "the command runs", func() bool { return strings.Contains(server.log.String(), " start ") })
	s.types(t, "more\n")
	if code := <-s.done; code != classGranted.exit() || s.out.String() != "more\n" {
		t.Errorf("ends with %d %q", code, s.out.String())
	}
}

// TestCtrlCEndsLoop: a shell's loop ends at the first Ctrl-C, which it sees by what ended the program.
func TestCtrlCEndsLoop(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip(err)
	}
	p := openPTY(t)
	cmd := p.start(t, bash, "-c", `for user in a b; do "$0" authenticate $user 192.0.2.1; echo next; done`, buildBinary(t))
	readUntil(t, p.person, "tacacs+ secret: ")
	p.types(t, "\x03")
	_ = cmd.Wait()
	p.program.WriteString("[end]")
	if got, want := readUntil(t, p.person, "[end]"), "\r\ntacacs_plus: interrupted\r\n[end]"; got != want {
		t.Errorf("the terminal shows %q, not %q", got, want)
	}
}
