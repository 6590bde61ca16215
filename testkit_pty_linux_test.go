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

// A pty is a pseudoterminal. Writing to person types text, and reading from person returns the text that
// is shown. The program has the other end.
type pty struct{ person, program *os.File }

func openPTY(t *testing.T) pty {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	must(t, err)
	t.Cleanup(func() { person.Close() })
	raw, err := person.SyscallConn()
	must(t, err)
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
	must(t, err)
	t.Cleanup(func() { program.Close() })
	return pty{person, program}
}

// types types text.
func (p pty) types(t *testing.T, text string) {
	t.Helper()
	if _, err := p.person.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

func (p pty) checkEcho(t *testing.T, want bool) {
	t.Helper()
	equal(t, p.echoes(t), want, "echo")
}

// echoes reports whether the terminal shows what is typed.
func (p pty) echoes(t *testing.T) bool {
	t.Helper()
	var mode syscall.Termios
	must(t, ioctl(p.program.Fd(), ioctlGetTermios, &mode))
	return mode.Lflag&syscall.ECHO != 0
}

// readUntil reads until it has read text, and returns all that it has read.
func readUntil(t *testing.T, r *os.File, text string) string {
	t.Helper()
	must(t, r.SetReadDeadline(time.Now().Add(patience)))
	var got []byte
	for b := make([]byte, 1024); !bytes.Contains(got, []byte(text)); {
		n, err := r.Read(b)
		if got = append(got, b[:n]...); err != nil {
			t.Fatalf("waiting for %q: %v after %q", text, err, got)
		}
	}
	return string(got)
}

// A terminalRun is a command line that runs in this process at a terminal. Its stderr is a pipe, so that
// the terminal shows only the echo.
type terminalRun struct {
	pty
	stderr *os.File
	out    bytes.Buffer // to be read after the end
	leave  context.CancelFunc
	done   chan exitCode
}

func runAt(t *testing.T, line string) *terminalRun {
	t.Helper()
	return openPTY(t).runAt(t, line)
}

func (p pty) runAt(t *testing.T, line string) *terminalRun {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	r, w, err := os.Pipe()
	must(t, err)
	s := &terminalRun{pty: p, stderr: r, leave: cancel, done: make(chan exitCode, 1)}
	t.Cleanup(func() { cancel(); r.Close(); w.Close() })
	s.checkEcho(t, true)
	go func() {
		s.done <- run(ctx, split(line), stdio{in: s.program, out: &s.out, err: w, env: func(string) string { return "" },
			terminal: func() (*os.File, io.Writer, error) { return s.program, w, nil }})
	}()
	return s
}

// asked waits for a prompt, checks that stderr has no other text, checks the echo, and types the answer.
func (s *terminalRun) asked(t *testing.T, prompt string, echo bool, answer string) {
	t.Helper()
	if got := readUntil(t, s.stderr, prompt); strings.TrimSpace(got) != strings.TrimSpace(prompt) {
		t.Errorf("stderr has %q, want %q", got, prompt)
	}
	s.checkEcho(t, echo)
	s.types(t, answer)
}

// ends waits for the end and checks the exit code, stdout and the echo.
func (s *terminalRun) ends(t *testing.T, code exitCode, out, shown string) {
	t.Helper()
	if got := <-s.done; got != code || s.out.String() != out {
		t.Errorf("got %d %q, want %d %q", got, s.out.String(), code, out)
	}
	s.checkEcho(t, true)
	if _, err := s.program.WriteString("[end]"); err != nil {
		t.Fatal(err)
	}
	equal(t, readUntil(t, s.person, "[end]"), shown+"[end]", "the terminal showed")
}

// start starts a command at the terminal in a new session.
func (p pty) start(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = processEnv()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = p.program, p.program, p.program
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	must(t, cmd.Start())
	return cmd
}

// atShell runs a command in the foreground of a shell with job control. After the command was stopped, the
// shell prints that, waits for the return key, and continues the command.
func (p pty) atShell(t *testing.T, before string, args ...string) *exec.Cmd {
	t.Helper()
	bash, err := exec.LookPath("bash")
	must(t, err)
	script := before + `set -m; "$@"; while code=$?; [ $code -gt 144 ]; do echo "[stopped]"; read x; fg >/dev/null; done; echo "[ended $code]"`
	return p.start(t, append([]string{bash, "-c", script, "bash", buildBinary(t)}, args...)...)
}
