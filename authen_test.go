package main

import (
	"strings"
	"testing"
	"time"
)

// dialogueWith runs a command against a server with these replies. It returns what came of it, and
// what the client said after the START, in short: blanks as _, and an ABORT as such.
func dialogueWith(t *testing.T, line string, replies ...layouter) (outcome, string) {
	t.Helper()
	s := newScript(t, testKey, append(replies, &authenReply{status: authenFail})...) // one more is read
	got := runWith(t, secretsInEnv, "new\n", split(line, "AT", s.addr)...)
	var said []string
	for i := range len(replies) + 1 {
		select {
		case body := <-s.bodies:
			var m authenContinue
			if i == 0 {
				continue
			}
			if err := decode(body, &m); err != nil {
				t.Fatal(err)
			}
			if m.flags&authenAbort != 0 {
				m.userMsg += "ABORT"
			}
			said = append(said, strings.ReplaceAll(m.userMsg, " ", "_"))
		case <-time.After(patience):
			t.Fatalf("%s: the client says no more than %q", line, said)
		}
	}
	return got, strings.Join(said, " ")
}

// TestUserAskedForAgain: the user who was given is sent once, and no --answer, which may be a
// secret, ever is in its place.
func TestUserAskedForAgain(t *testing.T) {
	t.Parallel()
	askUser, askPass := &authenReply{status: authenGetUser, serverMsg: "Username: "}, &authenReply{status: authenGetPass, serverMsg: "Password: "}
	again := `tacacs_plus: \S+ asks again for the user name after it was given alice\ntacacs_plus: hint: it does not take this user; .*\n`
	for _, tt := range []struct {
		line    string
		replies []layouter
		err     string
		said    string // by the client, the ABORT last
	}{
		{"authenticate alice AT --answer 123456", []layouter{askUser, askUser}, again, "alice ABORT"},
		{"authenticate alice AT --answer 123456", []layouter{askUser, askPass, askUser}, again, "alice Pa55_w0rd ABORT"},
		{"authenticate alice AT", []layouter{askUser, askUser}, again, "alice ABORT"},
		{"enable alice AT --answer 123456", []layouter{askUser, askUser}, again, "alice ABORT"},
		{"chpass alice AT --password old --new-password-stdin --answer 123456", []layouter{askUser, askUser}, again, "alice ABORT"},
		// Without a user, the answers name one.
		{"authenticate '' AT --answer bob --answer carol", []layouter{askUser, askUser, askUser}, `(?s).*no answer left for the prompt "Username:" \(GETUSER\).*`, "bob carol ABORT"},
	} {
		got, said := dialogueWith(t, tt.line, tt.replies...)
		got.check(t, classDenied.exit(), `GETUSER: Username:\n`, tt.err)
		if said != tt.said {
			t.Errorf("%s: the client says %q, not %q", tt.line, said, tt.said)
		}
	}
	s := newScript(t, testKey, askUser, askUser)
	got := runWith(t, secretsInEnv, `{"command":"authenticate","user":"alice","answers":["123456"]}`, "batch", s.addr)
	if list := answers(t, got.out); len(list) != 1 || list[0].ExitCode != classDenied.exit() || !strings.Contains(list[0].Error.Message, "asks again for the user name") {
		t.Errorf("got %+v", got)
	}
}
