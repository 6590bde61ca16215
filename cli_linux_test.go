package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
)

// TestHintOfFAIL: the hint of a FAIL is printed for a person, is a field in JSON, and is not in the log of a
// script. The servers that FOLLOW names are always shown.
func TestHintOfFAIL(t *testing.T) {
	t.Parallel()
	const hint = "tacacs_plus: hint: account, password, device policy"
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
		{" --json", s, false, true, hint, `"hint":"account, password, device policy`},
		{"", follow, true, true, "tacacs_plus: hint: the server says to ask ", ""},
		{" -q", follow, false, false, "tacacs_plus: hint: the server says to ask ", ""},
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
		{"batch tac1", noName + noHost},
		{"authenticate alice tac1 -t pap --key-file " + dir + "/key", noName + noHost},
		{"authenticate alice tac1 -t pap --unencrypted", noName + noHost},
		{"authenticate alice tac1 --key-file -", noName + noHost},
		{"authenticate 192.0.2.1 tac1", noName + "tacacs_plus: hint: USER comes before HOST: is 192.0.2.1 the server?\n"},
		{"authenticate 192.0.2.1:49 tac1", noName + "tacacs_plus: hint: USER comes before HOST: is 192.0.2.1:49 the server?\n"},
		{"authenticate tac3:49 tac1", noName + "tacacs_plus: hint: USER comes before HOST: is tac3:49 the server?\n"},
		{"authenticate 00:11:22:33:44:55 tac1", noName + noHost},
	} {
		s := runAt(t, tt.line)
		if got := readUntil(t, s.stderr, tt.err[len(noName):]); got != tt.err {
			t.Errorf("%s: stderr is\n%swant\n%s", tt.line, got, tt.err)
		}
		s.ends(t, classNetwork.exit(), "", "")
	}
	monitor := runAt(t, "check tac1 --nagios")
	readUntil(t, monitor.stderr, noHost)
	monitor.ends(t, nagiosUnknown, "TACACS+ UNKNOWN: resolve tac1: no such host\n", "")
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
		{"batch AT", "tacacs_plus: reading the requests from the terminal, one JSON object a line; Ctrl-D ends them\n", `{"command":"authorize","user":"alice"}`, `"status":"PASS_ADD"`},
		{"authorize alice AT --cmd-file -", "tacacs_plus: reading the commands from the terminal, one a line; Ctrl-D ends them\n", "show version", "PASS_ADD show version\n"},
	} {
		s := runAt(t, strings.Join(split(tt.line, "AT", server.addr), " ")+" --key-file "+dir+"/key")
		if got := readUntil(t, s.stderr, "\n"); got != tt.note {
			t.Errorf("%s: stderr is %q, want %q", tt.line, got, tt.note)
		}
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
