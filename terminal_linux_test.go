package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestTerminalPrompt(t *testing.T) {
	t.Parallel()
	server := newScriptServer(t, testKey, &authenReply{status: authenPass})
	s := runAt(t, "authenticate alice "+server.addr+" -t pap")
	s.asked(t, "tacacs+ secret: ", false, testKey+"\n")
	s.asked(t, "password for alice: ", false, testPassword+"\n")
	s.ends(t, classGranted.exit(), "PASS\n", "")
	var start authenStart
	if server.received(t, &start); start.data != testPassword {
		t.Errorf("the password is %q", start.data)
	}
}

// TestTerminalPaste: both secrets can be pasted at once. There is no prompt for one that an option gives.
func TestTerminalPaste(t *testing.T) {
	t.Parallel()
	server := newScriptServer(t, testKey, &authenReply{status: authenPass})
	s := runAt(t, "authenticate alice "+server.addr+" -t pap")
	s.asked(t, "tacacs+ secret: ", false, testKey+"\n"+testPassword+"\n")
	s.ends(t, classGranted.exit(), "PASS\n", "")

	unasked := listen(t)
	s = runAt(t, "authenticate alice "+unasked.Addr().String()+" -t pap -k 0123456789abcdef")
	s.asked(t, "password for alice: ", false, "\n") // an empty password
	readUntil(t, s.stderr, "tacacs_plus: no password was typed\n")
	s.ends(t, classUsage.exit(), "", "")
	checkUntouched(t, unasked)

	server = newScriptServer(t, "0123456789abcdef", &authenReply{status: authenGetPass}, &authenReply{status: authenPass})
	s = runAt(t, "authenticate alice "+server.addr+" -k 0123456789abcdef")
	s.asked(t, "password for alice: ", false, "\n") // likewise, when the server requests it
	readUntil(t, s.stderr, "tacacs_plus: no password was typed\n")
	s.ends(t, classUsage.exit(), "", "")
}

// TestTerminalServerPrompts: each line of a server's prompt begins with the server. It has an echo, except
// with NOECHO and for a password.
func TestTerminalServerPrompts(t *testing.T) {
	t.Parallel()
	server := newScriptServer(t, "0123456789abcdef",
		&authenReply{status: authenGetPass},
		&authenReply{status: authenGetData, serverMsg: "Favourite\ncolour\x1b[31m? "},
		&authenReply{status: authenGetData, flags: authenNoEcho, serverMsg: "Token: "},
		&authenReply{status: authenGetPass, serverMsg: "Again: "},
		&authenReply{status: authenGetData},
		&authenReply{status: authenPass})
	s := runAt(t, "authenticate alice "+server.addr+" -k 0123456789abcdef --password x")
	mark := server.addr + ": "
	s.asked(t, mark+"Favourite\n"+mark+"colour\\x1b[31m? ", true, "blue\n")
	s.asked(t, mark+"Token: ", false, "123456\n")
	s.asked(t, mark+"Again: ", false, "y\n")
	s.asked(t, "data: ", true, "z\n")
	s.ends(t, classGranted.exit(), "PASS\n", "blue\r\nz\r\n")
	server.received(t, new(authenStart))
	server.answered(t, "x", "blue", "123456", "y", "z")
}

func TestTerminalPromptEnds(t *testing.T) {
	t.Parallel()
	server := listen(t)
	line := "authenticate alice " + server.Addr().String()
	for name, row := range map[string]struct {
		typed string
		code  exitCode
		want  string
	}{
		"end of input": {"\x04", classUsage.exit(), "no key"},
		"nothing":      {"\n", classUsage.exit(), "tacacs_plus: no key was typed\n"},
		"interrupted":  {"", classInterrupted.exit(), "tacacs_plus: interrupted\n"},
	} {
		t.Run(name, func(t *testing.T) {
			s := runAt(t, line)
			s.asked(t, "tacacs+ secret: ", false, row.typed)
			if row.code == classInterrupted.exit() {
				s.leave()
			}
			readUntil(t, s.stderr, row.want)
			s.ends(t, row.code, "", "")
			checkUntouched(t, server)
		})
	}
}

func TestTerminalNewPassword(t *testing.T) {
	t.Parallel()
	line := "chpass alice SERVER -k 0123456789abcdef"
	server := newScriptServer(t, "0123456789abcdef", &authenReply{status: authenGetData}, &authenReply{status: authenGetPass},
		&authenReply{status: authenGetPass}, &authenReply{status: authenPass})
	s := runAt(t, strings.ReplaceAll(line, "SERVER", server.addr))
	s.asked(t, "password for alice: ", false, "old\n")
	s.asked(t, "new password for alice: ", false, "new\n")
	s.asked(t, "new password for alice again: ", false, "new\n")
	s.ends(t, classGranted.exit(), "PASS\n", "")
	server.received(t, new(authenStart))
	server.answered(t, "old", "new", "new")

	for _, tt := range []struct{ first, second, err string }{
		{"new\n", "newer\n", "tacacs_plus: the two new passwords differ\n"},
		{"\n", "", "tacacs_plus: no new password was typed\n"},
		{"\x04", "", "tacacs_plus: no new password typed\ntacacs_plus: hint: give --new-password-file FILE\n"},
		{"new\n", "\x04", "tacacs_plus: no new password typed\ntacacs_plus: hint: give --new-password-file FILE\n"},
	} {
		server := newScriptServer(t, "0123456789abcdef", &authenReply{status: authenGetData}, &authenReply{status: authenGetPass, serverMsg: "New: "}, &authenReply{status: authenFail})
		s := runAt(t, strings.ReplaceAll(line, "SERVER", server.addr)+" --password old")
		if s.asked(t, server.addr+": New: ", false, tt.first); tt.second != "" {
			s.asked(t, "new password for alice again: ", false, tt.second)
		}
		if got := readUntil(t, s.stderr, tt.err); strings.TrimSpace(got) != strings.TrimSpace(tt.err) {
			t.Errorf("stderr has %q, want %q", got, tt.err)
		}
		s.ends(t, classUsage.exit(), "", "")
		server.received(t, new(authenStart))
		server.received(t, new(authenContinue))
		var last authenContinue
		if server.received(t, &last); last.flags != authenAbort || last.userMsg != "" {
			t.Errorf("%q: the last packet is %+v", tt.first, last)
		}
	}
}

// TestTerminalProgress: bench shows its progress only if stderr is a terminal, and not with -q.
func TestTerminalProgress(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	for _, tt := range []struct {
		name, options string
		terminal      bool
		want          string // a regular expression
	}{
		{"terminal", "", true, `\r0 of 5 requests\x1b\[K(?:\r\d of 5 requests, \d in the last second\x1b\[K)*\r\x1b\[K`},
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
			if got := readUntil(t, shown, "[end]"); code != classGranted.exit() || !regexp.MustCompile("^"+tt.want+`\[end\]$`).MatchString(got) {
				t.Errorf("got %d and %q, want %q", code, got, tt.want)
			}
		})
	}
}

// TestTerminalPasswordOnDemand: an ASCII login shows the server's prompt before it prompts for the password,
// since the prompt may be a challenge.
func TestTerminalPasswordOnDemand(t *testing.T) {
	pass := func(words string) *authenReply { return &authenReply{status: authenGetPass, serverMsg: words} }
	data := func(words string) *authenReply { return &authenReply{status: authenGetData, serverMsg: words} }
	const ours, mine = "password for alice: ", "enable password for alice: "
	for _, tt := range []struct {
		line    string
		replies []message
		asked   string // prompts, separated by commas; + marks a prompt with echo, AT is the server
		answers string // of the client, separated by commas; the person types 1, 2 and so on
	}{
		{"authenticate alice AT", []message{pass("Password: ")}, ours, "1"},
		{"authenticate alice AT", []message{pass("\r\npassword")}, ours, "1"},
		{"authenticate alice AT", []message{pass("")}, ours, "1"},
		{"authenticate alice AT", []message{pass("s/key 97 ke1234\nPassword:")}, "AT: s/key 97 ke1234\nAT: Password: ", "1"},
		{"authenticate alice AT", []message{pass("Password: "), pass("Incorrect\r\n"), pass("Password: ")}, ours + ",AT: Incorrect ," + ours, "1,2,3"},
		{"authenticate alice AT", []message{pass("\nalice@jump:~$ ")}, "AT: alice@jump:~$ ", "1"},
		{"authenticate alice AT --answer 123456", []message{data("Token"), pass("Password: "), pass("Again: ")}, ours + ",AT: Again: ", "123456,1,2"},
		{"authenticate '' AT", []message{&authenReply{status: authenGetUser, serverMsg: "Login:"}, pass("Password: ")}, "+AT: Login: ,password: ", "1,2"},
		{"authenticate alice AT --password x", []message{pass("s/key"), pass("Password: ")}, ours, "x,1"},
		{"enable alice AT", []message{pass("Password: ")}, mine, "1"},
		{"chpass alice AT --new-password-file DIR/new", []message{data("Password: "), pass("Password: "), pass("Password: "), pass("Password: ")},
			ours + ",new password for alice: ", "1,new,new,2"},
		{"chpass alice AT --new-password-file DIR/new", []message{data("Old password: "), data("Wrong"), pass("")}, "AT: Old password: ,AT: Wrong ", "1,2,new"},
	} {
		t.Run(tt.line+" "+tt.answers, func(t *testing.T) {
			t.Parallel()
			server := newScriptServer(t, testKey, append(tt.replies, &authenReply{status: authenPass})...)
			dir := writeFiles(t, map[string]string{"new": "new", "key": testKey})
			s := runAt(t, strings.NewReplacer("AT", server.addr, "DIR", dir).Replace(tt.line)+" --key-file "+dir+"/key")
			shown := ""
			for i, prompt := range strings.Split(tt.asked, ",") {
				words, echo := strings.CutPrefix(strings.ReplaceAll(prompt, "AT", server.addr), "+")
				typed := strconv.Itoa(i + 1)
				if s.asked(t, words, echo, typed+"\n"); echo {
					shown += typed + "\r\n"
				}
			}
			s.ends(t, classGranted.exit(), "PASS\n", shown)
			server.received(t, new(authenStart))
			for want := range strings.SplitSeq(tt.answers, ",") {
				var m authenContinue
				if server.received(t, &m); m.userMsg != want {
					t.Errorf("the client answers %q, want %q", m.userMsg, want)
				}
			}
		})
	}
}

// TestTerminalPasswordReused: a typed password is used for the next server and for another type, unless it
// was the reply to a challenge.
func TestTerminalPasswordReused(t *testing.T) {
	t.Parallel()
	const ours = "password for alice: "
	dir := writeFiles(t, map[string]string{"key": testKey})
	options := " -q --key-file " + dir + "/key"
	for words, asked := range map[string][2]string{"Password: ": {ours, ""}, "s/key 97": {"AT: s/key 97 ", ours}} {
		first := newScriptServer(t, testKey, &authenReply{status: authenGetPass, serverMsg: words}, &authenReply{status: authenError})
		second := newScriptServer(t, testKey, &authenReply{status: authenGetPass}, &authenReply{status: authenPass})
		s := runAt(t, "authenticate alice "+first.addr+","+second.addr+options)
		want := "1"
		if s.asked(t, strings.ReplaceAll(asked[0], "AT", first.addr), false, "1\n"); asked[1] != "" {
			s.asked(t, asked[1], false, "2\n")
			want = "2"
		}
		s.ends(t, classGranted.exit(), "", "")
		var m authenContinue
		second.received(t, new(authenStart))
		if second.received(t, &m); m.userMsg != want {
			t.Errorf("%s: the second server gets %q, want %q", words, m.userMsg, want)
		}
	}
	// After a RESTART before the password prompt, PAP sends the password in its START.
	restart := &authenReply{status: authenRestart, serverMsg: "not here", data: "\x02"}
	for typed, want := range map[string]exitCode{"1\n": classGranted.exit(), "\x04": classDenied.exit()} {
		sent := make(chan string, 9) // the data of every START by PAP
		server := startFakeServer(t, func(c *fakeServerConn) {
			for q := range c.requests {
				if q.start.typ == authenPAP {
					sent <- q.start.data
					c.Write(c.grantReply(q))
				} else {
					c.Write(c.reply(q, restart))
				}
			}
		})
		s := runAt(t, "authenticate alice "+server.addr+options)
		s.asked(t, ours, false, typed)
		if s.ends(t, want, "", ""); len(sent) != map[exitCode]int{classGranted.exit(): 1}[want] || len(sent) > 0 && <-sent != "1" {
			t.Errorf("%q: another password was sent", typed)
		}
	}
}

// TestTerminalPasswordEnds: without a password the session ends with an ABORT.
func TestTerminalPasswordEnds(t *testing.T) {
	t.Parallel()
	for typed, tt := range map[string]runResult{
		"\x04": {classUsage.exit(), "", "no password typed"},
		"":     {classInterrupted.exit(), "", "interrupted"},
	} {
		server := newScriptServer(t, testKey, &authenReply{status: authenGetPass}, &authenReply{status: authenFail})
		dir := writeFiles(t, map[string]string{"key": testKey})
		s := runAt(t, "authenticate alice "+server.addr+" --answer x --key-file "+dir+"/key")
		if s.asked(t, "password for alice: ", false, typed); typed == "" {
			s.leave()
		}
		readUntil(t, s.stderr, tt.err)
		s.ends(t, tt.code, tt.out, "")
		<-server.bodies
		var m authenContinue
		if err := decode(<-server.bodies, &m); err != nil || m.flags != authenAbort || m.userMsg != "" {
			t.Errorf("%q: %v, %+v", typed, err, m)
		}
	}
}

// TestTerminalRepeatedPrompt: no answer to a repeated prompt is a denial.
func TestTerminalRepeatedPrompt(t *testing.T) {
	t.Parallel()
	server := newScriptServer(t, testKey, &authenReply{status: authenGetPass, serverMsg: "Password:"},
		&authenReply{status: authenGetPass, serverMsg: "Wrong\nPassword: "}, &authenReply{status: authenGetPass, serverMsg: "Wrong\nPassword: "})
	dir := writeFiles(t, map[string]string{"key": testKey})
	s := runAt(t, "authenticate alice "+server.addr+" --key-file "+dir+"/key")
	s.asked(t, "password for alice: ", false, "1\n")
	s.asked(t, server.addr+": Wrong\n"+server.addr+": Password: ", false, "2\n")
	s.asked(t, server.addr+": Wrong\n"+server.addr+": Password: ", false, "\x04")
	s.ends(t, classDenied.exit(), "FAIL: Wrong\\nPassword:\n", "")
}

// TestTerminalUserName: after an answer was used as the user name, the next name is prompted for.
func TestTerminalUserName(t *testing.T) {
	t.Parallel()
	askUser := &authenReply{status: authenGetUser}
	server := newScriptServer(t, testKey, askUser, askUser, &authenReply{status: authenPass})
	dir := writeFiles(t, map[string]string{"key": testKey})
	s := runAt(t, "authenticate -H "+server.addr+" --username= --answer bob --answer 123456 --key-file "+dir+"/key")
	s.asked(t, "username: ", true, "carol\n")
	s.ends(t, classGranted.exit(), "PASS\n", "carol\r\n")
}

// TestTerminalSecretFiles: a secret from stdin or a file is read without echo if that is a terminal.
func TestTerminalSecretFiles(t *testing.T) {
	t.Parallel()
	const options = " -k 0123456789abcdef"
	for line, prompt := range map[string]string{
		"authenticate alice AT --password-stdin" + options:                         "password for alice: ",
		"authenticate alice AT --password-file -" + options:                        "password for alice: ",
		"authenticate alice AT --password-file TTY" + options:                      "password for alice: ",
		"enable alice AT --password-stdin" + options:                               "enable password for alice: ",
		"authenticate alice AT --key-file - --password x":                          "tacacs+ secret: ",
		"chpass alice AT --password x --new-password-stdin" + options:              "new password for alice: ",
		"check alice AT --password-stdin" + options:                                "password for alice: ",
		"bench alice AT --password-stdin" + options:                                "password for alice: ",
		"serve --listen 127.0.0.1:0 --user a:b --key-file -":                       "tacacs+ secret: ",
		"serve --listen 127.0.0.1:0 --user a:b --enable-password-file -" + options: "enable password: ",
		"serve --listen 127.0.0.1:0 --users-file -" + options:                      "users, one NAME:PASSWORD a line, then Ctrl-D: ",
	} {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			l := listen(t)
			ending := "\x04"
			if strings.Contains(line, "users-file") {
				ending = "alice:1\nbob\n" + ending // all text up to the end
			}
			for typed, want := range map[string]exitCode{ending: classUsage.exit(), "": classInterrupted.exit()} {
				p := openPTY(t)
				s := p.runAt(t, strings.NewReplacer("AT", l.Addr().String(), "TTY", p.program.Name()).Replace(line))
				readUntil(t, s.stderr, prompt)
				if s.checkEcho(t, false); typed == "" {
					s.leave()
				}
				if s.types(t, typed); typed == "\x04" {
					readUntil(t, s.stderr, "tacacs_plus: no ")
				}
				s.ends(t, want, "", "")
			}
			checkUntouched(t, l)
		})
	}
	// Only one line is read.
	server := newScriptServer(t, "0123456789abcdef", &authenReply{status: authenPass})
	s := runAt(t, "authenticate alice "+server.addr+" -t pap --password-stdin"+options)
	s.asked(t, "password for alice: ", false, "s3cret\n")
	s.ends(t, classGranted.exit(), "PASS\n", "")
	var start authenStart
	if server.received(t, &start); start.data != "s3cret" {
		t.Errorf("the password is %q", start.data)
	}
}

// TestTerminalRedacts: in a server's message, text that was typed without echo is redacted; text that was
// typed with echo is not.
func TestTerminalRedacts(t *testing.T) {
	t.Parallel()
	server := newScriptServer(t, testKey, &authenReply{status: authenGetPass, serverMsg: "s/key 97"},
		&authenReply{status: authenGetData, serverMsg: "not first-1. Colour?"}, &authenReply{status: authenGetData, flags: authenNoEcho, serverMsg: "Token?"},
		&authenReply{status: authenPass, serverMsg: "first-1 second-2 third-3"})
	dir := writeFiles(t, map[string]string{"key": testKey})
	s := runAt(t, "authenticate alice "+server.addr+" --key-file "+dir+"/key")
	s.asked(t, server.addr+": s/key 97 ", false, "first-1\n")
	s.asked(t, server.addr+": not [redacted]. Colour? ", true, "second-2\n")
	s.asked(t, server.addr+": Token? ", false, "third-3\n")
	s.ends(t, classGranted.exit(), "PASS: [redacted] second-2 [redacted]\n", "second-2\r\n")
}

// TestTerminalSignal: a signal at a prompt restores the terminal and ends the program, by that signal unless its default
// action prints a stack trace.
func TestTerminalSignal(t *testing.T) {
	t.Parallel()
	binary := buildBinary(t)
	for name, stop := range map[string]func(*testing.T, pty, *os.Process) error{
		"Ctrl-C":  func(t *testing.T, p pty, _ *os.Process) error { p.types(t, "half a ke\x03"); return nil },
		"SIGINT":  func(_ *testing.T, _ pty, child *os.Process) error { return child.Signal(syscall.SIGINT) },
		"SIGTERM": func(_ *testing.T, _ pty, child *os.Process) error { return child.Signal(syscall.SIGTERM) },
		"SIGABRT": func(_ *testing.T, _ pty, child *os.Process) error { return child.Signal(syscall.SIGABRT) },
		"SIGQUIT": func(_ *testing.T, _ pty, child *os.Process) error { return child.Signal(syscall.SIGQUIT) },
		"Ctrl-\\": func(t *testing.T, p pty, _ *os.Process) error { p.types(t, "half\x1c"); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			p := openPTY(t)
			cmd := p.start(t, binary, "authenticate", "alice", "192.0.2.1")
			shown := readUntil(t, p.person, "tacacs+ secret: ")
			p.checkEcho(t, false)
			must(t, stop(t, p, cmd.Process))
			err := cmd.Wait()
			want := map[string]string{"SIGTERM": "signal: terminated", "SIGABRT": "exit status 134", "SIGQUIT": "exit status 131",
				"Ctrl-\\": "exit status 131"}[name]
			if want == "" {
				want = "signal: interrupt"
			}
			if err == nil || err.Error() != want {
				t.Errorf("ended with %v, want %v", err, want)
			}
			p.checkEcho(t, true)
			shown += readUntil(t, p.person, "interrupted\r\n")
			if want := "tacacs+ secret: \r\ntacacs_plus: interrupted\r\n"; shown != want {
				t.Errorf("the terminal shows %q, want %q", shown, want)
			}
		})
	}
}

// TestTerminalInterruptEndsLoop: the first Ctrl-C ends a shell's loop, since the signal ends the program.
func TestTerminalInterruptEndsLoop(t *testing.T) {
	bash, err := exec.LookPath("bash")
	must(t, err)
	p := openPTY(t)
	cmd := p.start(t, bash, "-c", `for user in a b; do "$0" authenticate $user 192.0.2.1; echo next; done`, buildBinary(t))
	readUntil(t, p.person, "tacacs+ secret: ")
	p.types(t, "\x03")
	_ = cmd.Wait()
	p.program.WriteString("[end]")
	if got, want := readUntil(t, p.person, "[end]"), "\r\ntacacs_plus: interrupted\r\n[end]"; got != want {
		t.Errorf("the terminal shows %q, want %q", got, want)
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
	conn, err := l.Accept() // now the client waits for a reply
	must(t, err)
	defer conn.Close()
	shown += readUntil(t, p.person, "\r\n")
	p.checkEcho(t, true)
	p.types(t, "\x1a")
	shown += readUntil(t, p.person, "[stopped]")
	p.types(t, "\n")
	conn.Close()
	shown += readUntil(t, p.person, "[ended 4]")
	must(t, cmd.Wait())
	p.checkEcho(t, true)
	const stopped = "\r\n[1]+  Stopped                 \"$@\"\r\n[stopped]\r\n\r\n"
	want := ""
	for _, prompt := range []string{"tacacs+ secret: ", "password for alice: "} {
		want += strings.Repeat(prompt+stopped, 2) + prompt + "\r\n"
	}
	if want += "^Z" + stopped + "tacacs_plus: "; !strings.HasPrefix(shown, want) {
		t.Errorf("the terminal shows\n%q, want\n%q", shown, want)
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
	must(t, cmd.Wait())
	server.received(t, new(authenStart))
	var m authenContinue
	if server.received(t, &m); m.userMsg != "blue" {
		t.Errorf("got the answer %q", m.userMsg)
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
		must(t, cmd.Process.Signal(s))
		time.Sleep(reactionTime)
	}
	shown := readUntil(t, p.person, "tacacs+ secret: ")
	signal(syscall.SIGCONT)
	p.checkEcho(t, false)
	signal(syscall.SIGSTOP)
	var mode syscall.Termios
	must(t, ioctl(p.program.Fd(), ioctlGetTermios, &mode))
	mode.Lflag |= syscall.ECHO
	mode.Iflag ^= syscall.IXON // a setting of the user
	must(t, ioctl(p.program.Fd(), ioctlSetTermios, &mode))
	signal(syscall.SIGCONT)
	p.checkEcho(t, false)
	p.types(t, testKey+"\n")
	shown += readUntil(t, p.person, "connection refused")
	_ = cmd.Wait()
	var after syscall.Termios
	if err := ioctl(p.program.Fd(), ioctlGetTermios, &after); err != nil || after != mode {
		t.Errorf("%v, the terminal has %+v, want %+v", err, after, mode)
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
	must(t, err)
	defer conn.Close()
	status, err := os.ReadFile("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/status")
	_, rest, _ := strings.Cut(string(status), "\nSigCgt:\t")
	caught, _ := strconv.ParseUint(rest[:16], 16, 64)
	stop, cont := uint64(1)<<(syscall.SIGTSTP-1), uint64(1)<<(syscall.SIGCONT-1)
	if strings.HasPrefix(runtime.GOARCH, "mips") && os.Getenv("EMULATED_PROGRAM") != "" {
		stop, cont = 1<<(20-1), 1<<(18-1) // qemu shows its own process in /proc, with the numbers of the host
	}
	if err != nil || caught&(1<<(syscall.SIGTERM-1)) == 0 || caught&(stop|cont) != 0 {
		t.Errorf("%v: the caught signals are %x", err, caught)
	}
	conn.Close()
	_ = cmd.Wait()
}

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
	must(t, cmd.Start())
	readUntil(t, p.person, "tacacs+ secret: ")
	p.checkEcho(t, false)
	p.types(t, testKey+"\n")
	readUntil(t, p.person, "password for alice: ")
	p.types(t, testPassword+"\n")
	if err := cmd.Wait(); err != nil || stdout.String() != "PASS\n" || stderr.Len() > 0 {
		t.Errorf("%v, stdout %q, stderr %q", err, stdout.String(), stderr.String())
	}
	p.checkEcho(t, true)
	server.received(t, new(authenStart))
	server.answered(t, testPassword)
}

// TestTerminalBackground: a process in the background of a terminal is not stopped by a prompt: it has no terminal.
func TestTerminalBackground(t *testing.T) {
	t.Parallel()
	l := listen(t)
	bash, err := exec.LookPath("bash")
	must(t, err)
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

// TestTerminalEarlyNewPassword: the echo is off while chpass waits for the prompt for a new password that is not given, and
// stays on if both are.
func TestTerminalEarlyNewPassword(t *testing.T) {
	t.Parallel()
	turn := make(chan bool)
	server := startFakeServer(t, func(c *fakeServerConn) {
		q := c.readRequest()
		turn <- true
		<-turn
		c.Write(c.reply(q, &authenReply{status: authenFail, serverMsg: "no"}))
	})
	dir := writeFiles(t, map[string]string{"key": testKey, "new": "new1"})
	for options, echo := range map[string]bool{"": false, " --new-password-file " + dir + "/new": true} {
		s := runAt(t, "chpass alice "+server.addr+" --key-file "+dir+"/key --password x"+options)
		<-turn
		s.checkEcho(t, echo)
		turn <- true
		s.ends(t, classDenied.exit(), "FAIL: no\n", "")
	}
}

// TestTerminalExecEcho: the command of --exec reads the terminal at which the key was typed, which is as it was before.
func TestTerminalExecEcho(t *testing.T) {
	for options, prompt := range map[string]string{"": "tacacs+ secret: ", " --key-file -": ""} {
		server := serveWith(t)
		s := runAt(t, "account alice "+server.addr+options+" --exec -- head -n 1")
		s.asked(t, prompt, prompt == "", testKey+"\n")
		waitUntil(t, "the command runs", func() bool { return strings.Contains(server.log.String(), " start ") && s.echoes(t) })
		s.types(t, "more\n")
		if code := <-s.done; code != classGranted.exit() || s.out.String() != "more\n" {
			t.Errorf("exit code %d %q", code, s.out.String())
		}
	}
}
