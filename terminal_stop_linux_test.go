package main

import (
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestTerminalSignal: a signal at a prompt ends the program by that signal and restores the terminal.
func TestTerminalSignal(t *testing.T) {
	t.Parallel()
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

// TestTerminalInterruptEndsLoop: the first Ctrl-C ends a shell's loop, since the signal ends the program.
func TestTerminalInterruptEndsLoop(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Fatal(err)
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

// TestTerminalStop: Ctrl-Z at a prompt restores the terminal for the shell. On return the prompt is shown
// again without echo, and text that was typed before is discarded. After the prompts Ctrl-Z stops the program.
func TestTerminalStop(t *testing.T) {
	t.Parallel()
	l := listen(t)
	p := openPTY(t)
	cmd := p.atShell(t, "", "authenticate", "alice", l.Addr().String(), "-t", "pap")
	shown := ""
	for _, prompt := range []string{"tacacs+ secret: ", "password for alice: "} {
		for _, typed := range []string{"half\x1a", "ha\x1a", testKey + "\n"} {
			shown += readUntil(t, p.person, prompt)
			p.checkEcho(t, false)
			if p.types(t, typed); typed[len(typed)-1] == '\x1a' {
				shown += readUntil(t, p.person, "[stopped]")
				p.checkEcho(t, true)
				p.types(t, "\n")
			}
		}
	}
	conn, err := l.Accept() // it waits for a reply now
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	shown += readUntil(t, p.person, "\r\n")
	p.checkEcho(t, true)
	p.types(t, "\x1a")
	shown += readUntil(t, p.person, "[stopped]")
	p.types(t, "\n")
	conn.Close()
	shown += readUntil(t, p.person, "[ended 4]")
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	p.checkEcho(t, true)
	const stopped = "\r\n[1]+  Stopped                 \"$@\"\r\n[stopped]\r\n\r\n"
	want := ""
	for _, prompt := range []string{"tacacs+ secret: ", "password for alice: "} {
		want += strings.Repeat(prompt+stopped, 2) + prompt + "\r\n"
	}
	if want += "^Z" + stopped + "tacacs_plus: "; !strings.HasPrefix(shown, want) {
		t.Errorf("the terminal shows\n%q, not\n%q", shown, want)
	}
}

// TestTerminalStopWithEcho: a prompt with echo is shown again.
func TestTerminalStopWithEcho(t *testing.T) {
	t.Parallel()
	server := newScriptServer(t, "0123456789abcdef", &authenReply{status: authenGetData, serverMsg: "Colour?"}, &authenReply{status: authenPass})
	p := openPTY(t)
	cmd := p.atShell(t, "", "authenticate", "alice", server.addr, "-k", "0123456789abcdef", "--password", "x")
	prompt := server.addr + ": Colour? "
	readUntil(t, p.person, prompt)
	p.types(t, "re\x1a")
	readUntil(t, p.person, "[stopped]")
	p.types(t, "\n")
	readUntil(t, p.person, prompt)
	p.types(t, "blue\n")
	readUntil(t, p.person, "blue\r\nPASS\r\n[ended 0]")
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	server.received(t, new(authenStart))
	var m authenContinue
	if server.received(t, &m); m.userMsg != "blue" {
		t.Errorf("the answer is %q", m.userMsg)
	}
}

// TestTerminalStopIgnored: Ctrl-Z does nothing if it was ignored at the start, or if no shell could continue
// the program.
func TestTerminalStopIgnored(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(p pty, words ...string) *exec.Cmd{
		"ignored": func(p pty, words ...string) *exec.Cmd { return p.atShell(t, `trap "" TSTP; `, words...) },
		"no shell": func(p pty, words ...string) *exec.Cmd {
			return p.start(t, append([]string{buildBinary(t)}, words...)...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := openPTY(t)
			cmd := start(p, "authenticate", "alice", refusedAddr(t), "-t", "pap", "--password", "x")
			shown := readUntil(t, p.person, "tacacs+ secret: ")
			p.types(t, "\x1a")
			time.Sleep(reactionTime)
			p.checkEcho(t, false)
			p.types(t, testKey+"\n")
			shown += readUntil(t, p.person, "connection refused")
			_ = cmd.Wait()
			p.checkEcho(t, true)
			if !strings.HasPrefix(shown, "tacacs+ secret: \r\ntacacs_plus: ") {
				t.Errorf("the terminal shows %q", shown)
			}
		})
	}
}

// TestTerminalContinue: SIGCONT without a stop changes nothing. After a SIGSTOP the echo, which a shell may
// have turned on, is off again.
func TestTerminalContinue(t *testing.T) {
	t.Parallel()
	p := openPTY(t)
	cmd := p.start(t, buildBinary(t), "authenticate", "alice", refusedAddr(t), "-t", "pap", "--password", "x")
	signal := func(s syscall.Signal) {
		t.Helper()
		if err := cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
		time.Sleep(reactionTime)
	}
	shown := readUntil(t, p.person, "tacacs+ secret: ")
	signal(syscall.SIGCONT)
	p.checkEcho(t, false)
	signal(syscall.SIGSTOP)
	var mode syscall.Termios
	if err := ioctl(p.program.Fd(), ioctlGetTermios, &mode); err != nil {
		t.Fatal(err)
	}
	mode.Lflag |= syscall.ECHO
	mode.Iflag ^= syscall.IXON // a setting of the user
	if err := ioctl(p.program.Fd(), ioctlSetTermios, &mode); err != nil {
		t.Fatal(err)
	}
	signal(syscall.SIGCONT)
	p.checkEcho(t, false)
	p.types(t, testKey+"\n")
	shown += readUntil(t, p.person, "connection refused")
	_ = cmd.Wait()
	var after syscall.Termios
	if err := ioctl(p.program.Fd(), ioctlGetTermios, &after); err != nil || after != mode {
		t.Errorf("%v, the terminal is %+v, not %+v", err, after, mode)
	}
	if !strings.HasPrefix(shown, "tacacs+ secret: tacacs+ secret: \r\ntacacs_plus: ") {
		t.Errorf("the terminal shows %q", shown)
	}
}

// TestTerminalStopNotWatched: without a prompt the program does not watch for Ctrl-Z.
func TestTerminalStopNotWatched(t *testing.T) {
	t.Parallel()
	l := listen(t)
	p := openPTY(t)
	cmd := p.start(t, buildBinary(t), "authenticate", "alice", l.Addr().String(), "-t", "pap", "--password", "x", "-k", testKey)
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	status, err := os.ReadFile("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/status")
	_, rest, _ := strings.Cut(string(status), "\nSigCgt:\t")
	caught, _ := strconv.ParseUint(rest[:16], 16, 64)
	stop, cont := uint64(1)<<(syscall.SIGTSTP-1), uint64(1)<<(syscall.SIGCONT-1)
	if strings.HasPrefix(runtime.GOARCH, "mips") && os.Getenv("EMULATED_PROGRAM") != "" {
		stop, cont = 1<<(20-1), 1<<(18-1) // to /proc it is a program of this machine, which has other numbers
	}
	if err != nil || caught&(1<<(syscall.SIGTERM-1)) == 0 || caught&(stop|cont) != 0 {
		t.Errorf("%v: it catches %x", err, caught)
	}
	conn.Close()
	_ = cmd.Wait()
}
