package main

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// TestTerminalControlling: prompts are on the controlling terminal, also if stdin is a pipe and the output is redirected.
func TestTerminalControlling(t *testing.T) {
	t.Parallel()
	server := newScriptServer(t, testKey, &authenReply{status: authenGetPass, serverMsg: "Password: "}, &authenReply{status: authenPass})
	p := openPTY(t)
	cmd := exec.CommandContext(t.Context(), buildBinary(t), "authenticate", "alice", server.addr)
	var stdout, stderr bytes.Buffer
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = processEnv(), strings.NewReader("not a secret\n"), &stdout, &stderr
	cmd.ExtraFiles = []*os.File{p.program}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 3}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	readUntil(t, p.person, "tacacs+ secret: ")
	p.checkEcho(t, false)
	p.types(t, testKey+"\n")
	readUntil(t, p.person, "password for alice: ")
	p.types(t, testPassword+"\n")
	if err := cmd.Wait(); err != nil || stdout.String() != "PASS\n" || stderr.Len() > 0 {
		t.Errorf("%v, stdout %q, stderr %q", err, stdout.String(), stderr.String())
	}
	p.checkEcho(t, true)
	var answer authenContinue
	server.received(t, new(authenStart))
	if server.received(t, &answer); answer.userMsg != testPassword {
		t.Errorf("got the password %q", answer.userMsg)
	}
}

// TestTerminalBackground: a process in the background of a terminal is not stopped by a prompt: it has no terminal.
func TestTerminalBackground(t *testing.T) {
	t.Parallel()
	l := listen(t)
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Fatal(err)
	}
	p := openPTY(t)
	cmd := p.start(t, bash, "-c", `set -m; "$@" & wait $!; echo "[ended $?]"`, "bash", buildBinary(t), "authenticate", "alice", l.Addr().String())
	shown := readUntil(t, p.person, "[ended 2]")
	if err := cmd.Wait(); err != nil || !strings.Contains(shown, "tacacs_plus: no key: no terminal to ask for it\r\ntacacs_plus: hint: give --key-file FILE, or set TACACS_PLUS_KEY\r\n") {
		t.Errorf("%v, the terminal shows %q", err, shown)
	}
	p.checkEcho(t, true)
	checkUntouched(t, l)
}

// TestTerminalUnattended: what runs unattended never prompts.
func TestTerminalUnattended(t *testing.T) {
	t.Parallel()
	l := listen(t)
	for line, want := range map[string]struct{ out, err string }{
		"batch AT":          {"", "tacacs_plus: no key: batch does not prompt\n"},
		"check AT --nagios": {"TACACS+ UNKNOWN: no key: --nagios does not prompt\n", "tacacs_plus: no key: --nagios does not prompt\n"},
		"check alice AT --nagios -k 0123456789abcdef":     {"TACACS+ UNKNOWN: no password: --nagios does not prompt\n", "tacacs_plus: no password: --nagios does not prompt\n"},
		"check alice AT --prometheus -k 0123456789abcdef": {"", "tacacs_plus: no password: --prometheus does not prompt\n"},
	} {
		t.Run(line, func(t *testing.T) {
			l := listen(t)
			s := runAt(t, strings.ReplaceAll(line, "AT", l.Addr().String()))
			readUntil(t, s.stderr, want.err)
			code := classUsage.exit()
			if strings.Contains(line, "--nagios") {
				code = nagiosUnknown
			}
			s.ends(t, code, want.out, "")
			checkUntouched(t, l)
		})
	}
	file := writeFiles(t, map[string]string{"task": `{"command":"authenticate","user":"alice","host":"` + l.Addr().String() + `","_ansible_check_mode":false}`}) + "/task"
	s := runAt(t, file)
	if code := <-s.done; code != classUsage.exit() || !strings.Contains(s.out.String(), "no key: no terminal to ask for it") {
		t.Errorf("Ansible: got %d %q", code, s.out.String())
	}
}

// TestTerminalEarlyTyping: the echo is off while the program waits for the server's prompt, and for its reply to an answer.
func TestTerminalEarlyTyping(t *testing.T) {
	t.Parallel()
	turn := make(chan bool)
	server := startFakeServer(t, func(c *fakeServerConn) {
		for _, reply := range []*authenReply{{status: authenGetPass, serverMsg: "Password: "}, {status: authenGetData, serverMsg: "Colour?"}, {status: authenPass}} {
			q := c.readRequest()
			turn <- true
			<-turn
			c.Write(c.reply(q, reply))
		}
	})
	dir := writeFiles(t, map[string]string{"key": testKey})
	for _, password := range []bool{false, true} { // by an option
		line := "authenticate alice " + server.addr + " --key-file " + dir + "/key"
		if password {
			line += " --password x"
		}
		s := runAt(t, line)
		<-turn
		if s.checkEcho(t, password); !password {
			s.types(t, "early\n")
		}
		turn <- true
		if !password {
			readUntil(t, s.stderr, "password for alice: ")
		}
		<-turn
		s.checkEcho(t, password)
		turn <- true
		s.asked(t, server.addr+": Colour? ", true, "blue\n")
		<-turn
		s.checkEcho(t, false)
		turn <- true
		s.ends(t, classGranted.exit(), "PASS\n", "blue\r\n")
	}
}

// TestTerminalExecEcho: the command of --exec runs with the terminal as it was before the prompt.
func TestTerminalExecEcho(t *testing.T) {
	server := serveWith(t)
	s := runAt(t, "account alice "+server.addr+" --exec -- head -n 1")
	s.asked(t, "tacacs+ secret: ", false, testKey+"\n")
	waitUntil(t, "the command runs", func() bool { return strings.Contains(server.log.String(), " start ") })
	s.checkEcho(t, true)
	s.types(t, "more\n")
	if code := <-s.done; code != classGranted.exit() || s.out.String() != "more\n" {
		t.Errorf("exit code %d %q", code, s.out.String())
	}
}
