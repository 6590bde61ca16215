package main

import (
	"net"
	"strings"
	"testing"
)

// TestHostRepeated: the lists of several -H, or of several lines of a profile, add up. -H overrides the profile.
func TestHostRepeated(t *testing.T) {
	t.Parallel()
	one, two, three := serveWith(t).addr, serveWith(t).addr, serveWith(t).addr
	dir := writeFiles(t, map[string]string{"lab": "host " + one + "\nhost " + two + "," + three + "\n"})
	for _, tt := range []struct{ line, want string }{
		{"-H ONE -H TWO", "ONE TWO"},
		{"-H ONE,TWO --host THREE", "ONE TWO THREE"},
		{"@DIR/lab", "ONE TWO THREE"},
		{"-H TWO @DIR/lab", "TWO"},
		{"-H TWO -H THREE @DIR/lab", "TWO THREE"},
		{"alice THREE -t pap @DIR/lab", "THREE"},
	} {
		pairs := []string{"ONE", one, "TWO", two, "THREE", three, "DIR", dir}
		r := askJSON(t, split(tt.line, pairs...)...)
		var got []string
		for _, s := range r.Servers {
			got = append(got, s.Server)
		}
		if want := strings.Join(split(tt.want, pairs...), " "); strings.Join(got, " ") != want || r.ExitCode != 0 {
			t.Errorf("%s: %s, want %s", tt.line, got, want)
		}
	}
	got := runWith(t, secretsInEnv, "", "check", "-H", "", "-H", one)
	got.check(t, 2, ``, `tacacs_plus: the server list "\S+" has an empty entry\n(?s:.*)`)
	// The other commands read HOST in the same way.
	got = runWith(t, secretsInEnv, "", "authenticate", "alice", "-H", refusedAddr(t), "-H", two, "-t", "pap")
	if got.code != 0 || !strings.Contains(got.err, "trying "+two) {
		t.Errorf("got %+v", got)
	}
}

// TestCheckLoneWord: a single word beside -H or a profile is USER, but not if it is most likely a server.
func TestCheckLoneWord(t *testing.T) {
	t.Parallel()
	l := listen(t)
	host, port, _ := net.SplitHostPort(l.Addr().String())
	dir := writeFiles(t, map[string]string{"prod": "host tac1.test:" + port + ",tac2.test," + l.Addr().String() + "\n", "user": "username bob\nhost tac1.test\n"})
	for _, line := range []string{
		"tac2.test @DIR/prod", "TAC2.test @DIR/prod", "tac2.test:49 @DIR/prod", "tac1.test @DIR/prod", "tac9:49 @DIR/prod", "192.0.2.1 @DIR/prod", "2001:db8::1 @DIR/prod",
		"tac1.test,tac2.test @DIR/prod", "tac3 -H tac3", "-H tac3 tac3", "HOST -H HOST:PORT", "tac1.test @DIR/user",
	} {
		got := runWith(t, secretsInEnv, "", split("check "+line, "DIR", dir, "HOST", host, "PORT", port)...)
		got.check(t, 2, ``, `tacacs_plus: \S+ is a server, and a single word is USER if -H or a profile gives HOST\ntacacs_plus: hint: use -H \S+ for the server, or -u \S+ for a user of that name\n`)
	}
	checkUntouched(t, l)
	s := serveWith(t, "--user", "tac1:"+testPassword)
	for _, line := range []string{"alice -H AT", "-u tac1 -H AT", "alice AT", "AT", "-u alice AT", "tac1 AT"} {
		if got := s.ask(t, "check "+line); got.code != 0 {
			t.Errorf("%s: got %+v", line, got)
		}
	}
}
