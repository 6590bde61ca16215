package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// describe returns a reaction in a few words, for tables.
func (r reaction) describe() string {
	var words []string
	add := func(format string, args ...any) { words = append(words, fmt.Sprintf(format, args...)) }
	if r.verdict.status != nil {
		add("%s", r.verdict.status)
	}
	if r.verdict.prompt != "" {
		add("for %s", r.verdict.prompt)
	}
	if m, ok := r.send.(*authenContinue); ok {
		add("send %q", m.userMsg)
	}
	if p := r.prompt; p != nil {
		add("prompt %q", p.text("tac1:49"))
		if p.hidden {
			add("hidden")
		}
	}
	if r.restart {
		add("restart")
	}
	if m, ok := r.abort.(*authenContinue); ok && m.flags == authenAbort && m.data != "" {
		add("abort")
	}
	if r.err != nil {
		add("error %s", classOf(r.err))
	}
	if len(r.warnings) > 0 {
		add("warn")
	}
	return strings.Join(words, ", ")
}

// TestAuthenticationDialogue walks through the dialogues of section 5.4 without a network. Each step is a reply, or the
// answer of a person: "> text", or ">" for none.
func TestAuthenticationDialogue(t *testing.T) {
	t.Parallel()
	login := func(change func(*authentication)) *authentication {
		a := newLogin(commonFields{user: "alice", typ: authenASCII, service: authenServiceLogin}, "pw")
		if change != nil {
			change(a)
		}
		return a
	}
	replies := map[string]authenReply{
		"PASS": {status: authenPass}, "FAIL": {status: authenFail}, "ERROR": {status: authenError}, "FOLLOW": {status: authenFollow, data: "tac2"},
		"GETUSER": {status: authenGetUser, serverMsg: "Username: "}, "GETPASS": {status: authenGetPass, flags: authenNoEcho, serverMsg: "Password: "},
		"GETDATA": {status: authenGetData, serverMsg: "Token:\nsix digits"}, "GETDATA hidden": {status: authenGetData, flags: authenNoEcho, serverMsg: "PIN"},
		"GETPASS new": {status: authenGetPass, serverMsg: "New password:"},
		"RESTART pap": {status: authenRestart, data: "\x02"}, "RESTART chap": {status: authenRestart, data: "\x03"}, "RESTART": {status: authenRestart},
		"RESTART ascii": {status: authenRestart, data: "\x01\x63\x02"}, "0x63": {status: 0x63},
	}
	person := func(a *authentication) { a.person = true }
	deferred := func(a *authentication) { a.person, a.deferred, a.password = true, true, "" }
	for _, tt := range []struct {
		name  string
		a     *authentication
		steps []string // a reply, then what follows from it, in turn
	}{
		{"verdicts", login(nil), []string{"PASS", "PASS", "FAIL", "FAIL", "ERROR", "ERROR", "FOLLOW", "FOLLOW"}},
		{"an unknown status", login(nil), []string{"0x63", "error protocol"}},
		{"password", login(nil), []string{"GETPASS", `GETPASS, send "pw"`, "PASS", "PASS"}},
		{"the name first", login(nil), []string{"GETUSER", `GETUSER, send "alice"`, "GETPASS", `GETPASS, send "pw"`}},
		{"the name again", login(nil), []string{"GETUSER", `GETUSER, send "alice"`, "GETUSER", "GETUSER, abort, error denied"}},
		{"no name, and none to give", login(func(a *authentication) { a.fields.user = "" }),
			[]string{"GETUSER", `GETUSER, prompt "tac1:49: Username: "`, ">", "GETUSER, abort, error denied"}},
		{"no name, from the answers once", login(func(a *authentication) { a.fields.user, a.answers = "", []string{"bob", "123"} }),
			[]string{"GETUSER", `GETUSER, send "bob"`, "GETUSER", "GETUSER, abort, error denied"}},
		{"no name, from a person again and again", login(func(a *authentication) { a.fields.user, a.person = "", true }),
			[]string{"GETUSER", `GETUSER, prompt "tac1:49: Username: "`, "> bob", `GETUSER, send "bob"`, "GETUSER", `GETUSER, prompt "tac1:49: Username: "`}},
		{"asked for the password again", login(nil), []string{"GETPASS", `GETPASS, send "pw"`, "GETPASS", `GETPASS, prompt "password for alice: ", hidden`,
			">", "FAIL, for GETPASS, abort"}},
		{"again, with an answer", login(func(a *authentication) { a.answers = []string{"other"} }),
			[]string{"GETPASS", `GETPASS, send "pw"`, "GETPASS new", `GETPASS, send "other"`, "GETPASS new", `GETPASS, prompt "tac1:49: New password: ", hidden`}},
		{"a token from the answers", login(func(a *authentication) { a.answers = []string{"123"} }), []string{"GETDATA", `GETDATA, send "123"`}},
		{"a token from nobody", login(nil), []string{"GETDATA", "GETDATA, prompt \"tac1:49: Token:\\ntac1:49: six digits \"", ">", "GETDATA, abort, error denied"}},
		{"a token from a person", login(person), []string{"GETDATA hidden", `GETDATA, prompt "tac1:49: PIN ", hidden`, "> 99", `GETDATA, send "99"`}},
		{"the password when the server asks", login(deferred), []string{"GETPASS", `GETPASS, prompt "password for alice: ", hidden`, "> typed", `GETPASS, send "typed"`}},
		{"no password typed", login(deferred), []string{"GETPASS", `GETPASS, prompt "password for alice: ", hidden`, ">", "GETPASS, abort, error usage"}},
		{"an empty password typed", login(deferred), []string{"GETPASS", `GETPASS, prompt "password for alice: ", hidden`, "> ", "GETPASS, abort, error usage"}},
		{"restart", login(nil), []string{"RESTART pap", "RESTART, restart, warn"}},
		{"restart with nothing to try", login(nil), []string{"RESTART", "RESTART"}},
		{"restart with what was tried", login(nil), []string{"RESTART ascii", "RESTART, restart, warn", "RESTART ascii", "RESTART"}},
		{"restart that would send the password", login(func(a *authentication) { a.fields.typ = authenCHAP }), []string{"RESTART pap", "RESTART"}},
		{"restart before the password is known", login(deferred),
			[]string{"RESTART chap", `RESTART, prompt "password for alice: ", hidden, warn`, "> typed", "RESTART, restart"}},
		{"restart without a password", login(deferred), []string{"RESTART pap", `RESTART, prompt "password for alice: ", hidden, warn`, ">", "RESTART, error denied"}},
		{"no prompts with pap", login(func(a *authentication) { a.fields.typ = authenPAP }), []string{"GETPASS", "abort, error protocol"}},
		{"enable by pap may ask", login(func(a *authentication) { a.fields.typ, a.fields.service = authenPAP, authenServiceEnable }),
			[]string{"GETPASS", `GETPASS, send "pw"`}},
		{"change of a password", newPasswordChange(commonFields{user: "alice", typ: authenASCII, service: authenServiceLogin}, "old", "new"),
			[]string{"GETDATA", `GETDATA, send "old"`, "GETPASS", `GETPASS, send "new"`, "GETPASS", `GETPASS, send "new"`,
				"GETPASS", `GETPASS, prompt "new password for alice: ", hidden`, ">", "FAIL, for GETPASS, abort"}},
		{"the old password again", newPasswordChange(commonFields{user: "alice", typ: authenASCII, service: authenServiceLogin}, "old", "new"),
			[]string{"GETDATA", `GETDATA, send "old"`, "GETDATA", "GETDATA, prompt \"tac1:49: Token:\\ntac1:49: six digits \", hidden", ">", "FAIL, for GETDATA, abort"}},
		{"no restart of a change", newPasswordChange(commonFields{user: "alice", typ: authenASCII, service: authenServiceLogin}, "old", "new"),
			[]string{"RESTART pap", "RESTART"}},
	} {
		if _, err := tt.a.firstMessage("192.0.2.1"); err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		for i := 0; i < len(tt.steps); i += 2 {
			var r reaction
			if answer, ok := strings.CutPrefix(tt.steps[i], ">"); !ok {
				tt.a.response = replies[tt.steps[i]]
				r = tt.a.on("tac1:49")
			} else if answer == "" {
				r = tt.a.answer("", errNoAnswer)
			} else {
				r = tt.a.answer(answer[1:], nil)
			}
			if got := r.describe(); got != tt.steps[i+1] {
				t.Errorf("%s, step %d, %s: got %s, want %s", tt.name, i/2+1, tt.steps[i], got, tt.steps[i+1])
			}
		}
	}
}

// TestAuthenticationKeepsATypedPassword sends a password that was typed for our own prompt to the next server too, but
// not one that answers a prompt of the server, such as a challenge.
func TestAuthenticationKeepsATypedPassword(t *testing.T) {
	t.Parallel()
	for serverMsg, kept := range map[string]bool{"": true, "Password: ": true, "Challenge 1234:": false} {
		a := newLogin(commonFields{user: "alice", typ: authenASCII, service: authenServiceLogin}, "")
		a.person, a.deferred = true, true
		for range 2 {
			a.firstMessage("")
			a.response = authenReply{status: authenGetPass, serverMsg: serverMsg}
			if r := a.on("tac1:49"); r.prompt != nil {
				a.answer("typed", nil)
			}
		}
		if got := a.password == "typed" && !a.deferred; got != kept {
			t.Errorf("%q: the password is kept: %t", serverMsg, got)
		}
		if secrets := a.secrets(); !slices.Contains(secrets, "typed") {
			t.Errorf("%q: secrets %q lack what was typed", serverMsg, secrets)
		}
	}
}

// TestAuthenticationCheck refuses what is not defined, and what does not fit its field by one byte.
func TestAuthenticationCheck(t *testing.T) {
	t.Parallel()
	fields := func(typ authenType) commonFields {
		return commonFields{user: "alice", typ: typ, service: authenServiceLogin}
	}
	for _, tt := range []struct {
		name string
		a    *authentication
		want string
	}{
		{"ascii", newLogin(fields(authenASCII), "pw"), ""},
		{"the longest user", newLogin(commonFields{user: long(255), typ: authenASCII}, "pw"), ""},
		{"a longer user", newLogin(commonFields{user: long(256), typ: authenASCII}, "pw"), "user is 256 bytes, the limit is 255"},
		{"a longer port", newLogin(commonFields{user: "alice", port: long(256), typ: authenPAP}, "pw"), "port is 256 bytes, the limit is 255"},
		{"the longest pap password", newLogin(fields(authenPAP), long(255)), ""},
		{"a longer pap password", newLogin(fields(authenPAP), long(256)), "the password is 256 bytes, the limit of pap is 255"},
		{"the longest ascii password", newLogin(fields(authenASCII), long(maxBody-5)), ""},
		{"a longer ascii password", newLogin(fields(authenASCII), long(maxBody-4)), "the body would be 65536 bytes, the limit is 65535"},
		{"a longer answer", &authentication{action: authenLogin, fields: fields(authenASCII), answers: []string{"1", long(maxBody)}}, "the body would be 65540 bytes, the limit is 65535"},
		{"no user with pap", newLogin(commonFields{typ: authenPAP}, "pw"), "an empty user needs --authen-type ascii, where the server can ask for the name"},
		{"a change by pap", newPasswordChange(fields(authenPAP), "old", "new"), "chpass is defined for the type ascii only, not pap"},
		{"not UTF-8 with mschap", newLogin(fields(authenMSCHAP), "\xff"), "the password is not UTF-8, which mschap needs"},
		{"not UTF-8 with chap", newLogin(fields(authenCHAP), "\xff"), ""},
	} {
		err := tt.a.check("192.0.2.1")
		if err == nil && tt.want == "" {
			continue
		}
		if err == nil || err.Error() != tt.want || classOf(err) != classUsage {
			t.Errorf("%s: got %v, want %s", tt.name, err, tt.want)
		}
	}
	if err := newLogin(fields(authenASCII), "pw").check(long(256)); err == nil || err.Error() != "rem_addr is 256 bytes, the limit is 255" {
		t.Errorf("a longer rem_addr: %v", err)
	}
}

// TestAuthenticationStartsOver uses the prepared answers from the beginning in every session.
func TestAuthenticationStartsOver(t *testing.T) {
	t.Parallel()
	a := newLogin(commonFields{user: "alice", typ: authenASCII, service: authenServiceLogin}, "pw")
	a.answers = []string{"123"}
	for range 2 {
		a.firstMessage("192.0.2.1")
		for _, step := range []struct {
			status authenStatus
			want   string
		}{{authenGetPass, "pw"}, {authenGetData, "123"}} {
			a.response = authenReply{status: step.status}
			if m, ok := a.on("tac1:49").send.(*authenContinue); !ok || m.userMsg != step.want {
				t.Errorf("%s: got %+v, want %q", step.status, m, step.want)
			}
		}
	}
}
