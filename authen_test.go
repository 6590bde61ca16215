package main

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestAuthenticationPromptPlaces: enable may be a dialogue with any type (section 5.4.2.6), so the client
// answers its prompts. An unexpected prompt gets an ABORT (section 5.4.3).
func TestAuthenticationPromptPlaces(t *testing.T) {
	t.Parallel()
	for _, status := range []authenStatus{authenGetData, authenGetUser, authenGetPass} {
		for _, typ := range []string{"pap", "chap", "mschap", "mschapv2"} {
			server := newScriptServer(t, testKey, &authenReply{status: status}, &authenReply{status: authenPass})
			got := runWith(t, secretsInEnv, "", "enable", "alice", server.addr, "-t", typ, "--answer", "1234")
			if got != (runResult{classGranted.exit(), "PASS\n", ""}) {
				t.Errorf("enable by %s, %s: %+v", typ, status, got)
				continue
			}
			var start authenStart
			var answer authenContinue
			server.received(t, &start)
			server.received(t, &answer)
			want := map[authenStatus]string{authenGetData: "1234", authenGetUser: "alice", authenGetPass: testPassword}[status]
			if start.service != authenServiceEnable || start.privLvl != 15 || start.typ.String() != typ || answer.flags != 0 || answer.userMsg != want {
				t.Errorf("enable by %s, %s: %+v, flags %s", typ, status, start.commonFields, answer.flags)
			}

			last := make(chan message, 1)
			prompting := startFakeServer(t, func(c *fakeServerConn) {
				c.refuse = true
				c.Write(c.reply(c.readRequest(), &authenReply{status: status}))
				_, m, _ := c.act("close")
				last <- m
			})
			got = runWith(t, secretsInEnv, "", "authenticate", "alice", prompting.addr, "-t", typ, "--answer", "1234")
			got.check(t, classProtocol.exit(), ``, `.* sent an unexpected `+status.String()+` in reply to `+typ+`\n`)
			if m, ok := (<-last).(*authenContinue); !ok || m.flags != authenAbort || m.userMsg != "" || m.data == "" {
				t.Errorf("authenticate by %s, %s: the server's last packet is %+v", typ, status, m)
			}
		}
	}
}

// TestAuthenticationChallengeOfTheType: the given challenge is for the requested type. A type that follows a
// RESTART gets a new one.
func TestAuthenticationChallengeOfTheType(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		typ       string
		challenge []byte
		next      authenType
	}{
		{"chap", []byte("8 bytes."), authenMSCHAP},
		{"chap", bytes.Repeat([]byte("x"), maxCHAPChallenge), authenMSCHAP},
		{"chap", []byte("these 16 bytes!!"), authenMSCHAPv2},
		{"mschap", []byte("8 bytes."), authenCHAP},
	} {
		server := newScriptServer(t, testKey, &authenReply{status: authenRestart, data: string(rune(tt.next))}, &authenReply{status: authenPass})
		got := runWith(t, secretsInEnv, "", "authenticate", "alice", server.addr, "--single-connect", "-q",
			"-t", tt.typ, "--chap-id", "0", "--chap-challenge", hex.EncodeToString(tt.challenge))
		if got != (runResult{}) {
			t.Errorf("%s, then %s: %+v", tt.typ, tt.next, got)
			continue
		}
		var first, second authenStart
		server.received(t, &first)
		server.received(t, &second)
		if first.typ.String() != tt.typ || second.typ != tt.next || first.data[0] != 0 || second.data[0] != 0 {
			t.Errorf("%s, then %s: %+v, then %+v", tt.typ, tt.next, first.commonFields, second.commonFields)
		}
		if !bytes.HasPrefix([]byte(first.data[1:]), tt.challenge) || bytes.Contains([]byte(second.data), tt.challenge) {
			t.Errorf("%s, then %s: the given challenge is not in the first START, or also in the second", tt.typ, tt.next)
		}
		size := map[authenType]int{authenCHAP: 1 + 16 + 16, authenMSCHAP: 1 + 8 + 49, authenMSCHAPv2: 1 + 16 + 49}[tt.next]
		equal(t, len(second.data), size, tt.next, "has a challenge of another size")
	}
}

// TestAuthenticationRestarts: each type is tried once, and no type that sends the password follows one that
// only proves it (section 5.4.3).
func TestAuthenticationRestarts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		typ, restarts string
		code          exitCode
		types         string // of the sessions
	}{
		{"ascii", "\x02", 0, "ascii pap"},
		{"pap", "\x03,\x01", 0, "pap chap ascii"}, // pap sends the password too
		{"pap", "\x02", 1, "pap"},
		{"pap", "\x03,\x02\x03", 1, "pap chap"},
		{"pap", "\x04\x00\xff\x06\x03", 0, "pap mschapv2"},
		{"chap", "\x02\x01", 1, "chap"},
		{"chap", "\x02\x05", 0, "chap mschap"},
		{"chap", "\x05,\x02", 1, "chap mschap"},
		{"ascii", "", 1, "ascii"},
	} {
		var replies []message
		for list := range strings.SplitSeq(tt.restarts, ",") {
			replies = append(replies, &authenReply{status: authenRestart, data: list})
		}
		server := newScriptServer(t, testKey, append(replies, &authenReply{status: authenPass})...)
		got := runWith(t, secretsInEnv, "", "authenticate", "alice", server.addr, "--single-connect", "-q", "-t", tt.typ)
		var types []string
		for len(server.bodies) > 0 {
			var start authenStart
			server.received(t, &start)
			types = append(types, start.typ.String())
		}
		if got != (runResult{code: tt.code}) || strings.Join(types, " ") != tt.types {
			t.Errorf("%s, then %x: %+v, types %q, want %s", tt.typ, tt.restarts, got, types, tt.types)
		}
	}
}

// dialogueWith runs a command against a server with these replies. It returns the result and the messages of
// the client after START, with _ for blanks and the word ABORT.
func dialogueWith(t *testing.T, line string, replies ...message) (runResult, string) {
	t.Helper()
	s := newScriptServer(t, testKey, append(replies, &authenReply{status: authenFail})...) // the reply to the last message
	got := runWith(t, secretsInEnv, "new\n", split(line, "AT", s.addr)...)
	var sent []string
	for i := range len(replies) + 1 {
		body := await(t, s.bodies, "the client sends its next packet")
		var m authenContinue
		if i == 0 {
			continue
		}
		must(t, decode(body, &m))
		if m.flags&authenAbort != 0 {
			m.userMsg += "ABORT"
		}
		sent = append(sent, strings.ReplaceAll(m.userMsg, " ", "_"))
	}
	return got, strings.Join(sent, " ")
}

// TestAuthenticationUserAskedAgain: the user name is sent once, and an --answer, which may be a secret, never
// replaces it.
func TestAuthenticationUserAskedAgain(t *testing.T) {
	t.Parallel()
	askUser, askPass := &authenReply{status: authenGetUser, serverMsg: "Username: "}, &authenReply{status: authenGetPass, serverMsg: "Password: "}
	again := `tacacs_plus: \S+ asked for the user name again\ntacacs_plus: hint: check USER: the server does not accept it \(--answer cannot replace it\)\n`
	for _, tt := range []struct {
		line    string
		replies []message
		err     string
		sent    string // by the client
	}{
		{"authenticate alice AT --answer 123456", []message{askUser, askUser}, again, "alice ABORT"},
		{"authenticate alice AT --answer 123456", []message{askUser, askPass, askUser}, again, "alice Pa55_w0rd ABORT"},
		{"authenticate alice AT", []message{askUser, askUser}, again, "alice ABORT"},
		{"enable alice AT --answer 123456", []message{askUser, askUser}, again, "alice ABORT"},
		{"chpass alice AT --password old --new-password-stdin --answer 123456", []message{askUser, askUser}, again, "alice ABORT"},
		// Without a user, the first answer is the user name.
		{"authenticate '' AT --answer bob --answer 123456", []message{askUser, askUser}, again, "bob ABORT"},
		{"authenticate '' AT --answer bob --answer 123456", []message{askUser, askPass, askUser}, again, "bob Pa55_w0rd ABORT"},
		{"authenticate '' AT", []message{askUser}, `tacacs_plus: unanswered prompt: Username: \(use --answer\)\n`, "ABORT"},
	} {
		got, sent := dialogueWith(t, tt.line, tt.replies...)
		got.check(t, classDenied.exit(), `GETUSER: Username:\n`, tt.err)
		if sent != tt.sent {
			t.Errorf("%s: the client sent %q, want %q", tt.line, sent, tt.sent)
		}
	}
	s := newScriptServer(t, testKey, askUser, askUser)
	got := runWith(t, secretsInEnv, `{"command":"authenticate","user":"alice","answers":["123456"]}`, "batch", s.addr)
	if list := answers(t, got.out); len(list) != 1 || list[0].ExitCode != classDenied.exit() || !strings.Contains(list[0].Error.Message, "asked for the user name again") {
		t.Errorf("got %+v", got)
	} else if hint := "check USER: the server does not accept it (answers cannot replace it)"; list[0].Error.Hint != hint {
		t.Errorf("the hint of batch is %q, want %q", list[0].Error.Hint, hint)
	}
	fake := startFakeServer(t, func(c *fakeServerConn) {
		for range 2 {
			h, _, err := c.readPacket(testKey)
			if err != nil {
				return
			}
			c.Write(c.reply(&fakeRequest{header: h}, askUser, sameFlags(h)))
		}
	})
	if got := runWith(t, secretsInEnv, "", "check", "alice", fake.addr); !strings.Contains(got.out, "hint: check USER: the server does not accept it\n") { // it has no --answer
		t.Errorf("check: got %+v", got)
	}
}

// TestServiceEnableIsForEnable: only the command enable can have the service ENABLE, so that servers can
// distinguish its requests. Section 5.4.2.6.
func TestServiceEnableIsForEnable(t *testing.T) {
	t.Parallel()
	const refused = "service enable is only for the command enable (RFC 8907 section 5.4.2.6)"
	l := listen(t)
	for _, c := range []string{"authenticate alice", "chpass alice", "authorize alice", "account alice", "check alice", "check", "bench alice", "batch"} {
		got := runWith(t, secretsInEnv, `{"command":"enable","user":"alice"}`, split(c+" AT -s enable", "AT", l.Addr().String())...)
		checkUsage(t, c, got, refused, "", false)
	}
	for _, c := range []string{"authenticate", "chpass", "authorize", "account"} {
		got := runWith(t, secretsInEnv, `{"command":"`+c+`","user":"alice","service":"enable"}`, "batch", l.Addr().String())
		if list := answers(t, got.out); len(list) != 1 || list[0].ExitCode != classUsage.exit() || list[0].Error.Message != refused {
			t.Errorf("batch, %s: got %+v", c, got)
		}
	}
	checkUntouched(t, l)
	for _, line := range []string{"enable alice AT", "enable alice AT -s enable", "batch AT"} {
		s := newScriptServer(t, testKey, &authenReply{status: authenPass})
		got := runWith(t, secretsInEnv, `{"command":"enable","user":"alice","service":"enable"}`, split(line, "AT", s.addr)...)
		var start authenStart
		if s.received(t, &start); got.code != classGranted.exit() || start.service != authenServiceEnable || start.privLvl != 15 {
			t.Errorf("%s: got %+v after %+v", line, got, start)
		}
	}
}

// TestAuthenTypeNotSet: authen_type not_set means that TACACS+ did not authenticate the user. Only
// authorization and accounting can have it. Section 6.1.
func TestAuthenTypeNotSet(t *testing.T) {
	t.Parallel()
	const refused = "type not_set is only for authorize and account (RFC 8907 section 6.1)"
	l := listen(t)
	for _, c := range []string{"authenticate alice", "enable alice", "chpass alice", "check alice", "check", "bench alice --authorize", "batch"} {
		got := runWith(t, secretsInEnv, "", split(c+" AT -t not_set", "AT", l.Addr().String())...)
		checkUsage(t, c, got, refused, "", false)
	}
	for _, c := range []string{"authenticate", "enable", "chpass"} {
		got := runWith(t, secretsInEnv, `{"command":"`+c+`","user":"alice","authen_type":"not_set"}`, "batch", l.Addr().String())
		if list := answers(t, got.out); len(list) != 1 || list[0].ExitCode != classUsage.exit() || list[0].Error.Message != refused {
			t.Errorf("batch, %s: got %+v", c, got)
		}
	}
	checkUntouched(t, l)
	const input = `{"command":"authorize","user":"alice","authen_type":"not_set"}`
	for line, typ := range map[string]authenType{"authorize alice AT -d -t not_set": authenNotSet, "authorize alice AT -d -t Not_Set": authenNotSet,
		"authorize alice AT -d": authenASCII, "authorize alice AT -d -t pap": authenPAP, "batch AT -d": authenNotSet} {
		s := newScriptServer(t, testKey, &authorResponse{status: authorPassAdd})
		got := runWith(t, secretsInEnv, input, split(line, "AT", s.addr)...)
		var request authorRequest
		if s.received(t, &request); got.code != classGranted.exit() || request.typ != typ || !strings.Contains(got.err, "authen_type: "+typ.String()+"\n") {
			t.Errorf("%s: got %+v after %+v", line, got, request)
		}
	}
	s := newScriptServer(t, testKey, &acctReply{status: acctSuccess})
	got := runWith(t, secretsInEnv, "", split("account alice AT -t not_set", "AT", s.addr)...)
	var request acctRequest
	if s.received(t, &request); got.code != classGranted.exit() || request.typ != authenNotSet {
		t.Errorf("got %+v after %+v", got, request)
	}
	// RESTART cannot lead to not_set either.
	s = newScriptServer(t, testKey, &authenReply{status: authenRestart, data: "\x00"})
	runWith(t, secretsInEnv, "", "authenticate", "alice", s.addr).check(t, classDenied.exit(), `RESTART\n`, `.*hint: .*\n`)
}

// TestAuthenticationRefusedByAskingAgain: a repeated prompt for the password means that the server refused it. The prompt
// is the message, and no --answer is spent on it. Any other prompt without an answer is an error.
func TestAuthenticationRefusedByAskingAgain(t *testing.T) {
	t.Parallel()
	ask, askAgain := &authenReply{status: authenGetPass, serverMsg: "Password: "}, &authenReply{status: authenGetPass, serverMsg: "Wrong.\nPassword: "}
	askToken := &authenReply{status: authenGetData, serverMsg: "Token: "}
	askTokenAgain := &authenReply{status: authenGetData, serverMsg: "No. Token: "}
	const oldHint = `tacacs_plus: hint: check the old password: the server asked for it again\n`
	const hint = `tacacs_plus: hint: check the password: the server asked for it again\n`
	const noAnswer = `tacacs_plus: unanswered prompt: Token: \(use --answer\)\n`
	const newAgain = `tacacs_plus: unanswered prompt: (Wrong\.\\n)?Password: \(use --answer\)\ntacacs_plus: hint: choose another new password: the server may have refused this one\n`
	pass := func(text string) *authenReply { return &authenReply{status: authenGetPass, serverMsg: text} }
	data := func(text string) *authenReply { return &authenReply{status: authenGetData, serverMsg: text} }
	for _, tt := range []struct {
		line     string
		replies  []message
		out, err string
		sent     string
	}{
		{"authenticate alice AT", []message{ask, askAgain}, `FAIL: Wrong.\\nPassword:\n`, ``, "Pa55_w0rd ABORT"},
		{"authenticate alice AT --answer x", []message{ask, askAgain}, `FAIL: Wrong.\\nPassword:\n`, ``, "Pa55_w0rd ABORT"},
		{"authenticate alice AT --answer x --answer-repeated", []message{ask, ask, askAgain}, `FAIL: Wrong.\\nPassword:\n`, ``, "Pa55_w0rd x ABORT"},
		{"authenticate alice AT --answer x", []message{ask, data("Incorrect"), ask}, `FAIL: Password:\n`, ``, "Pa55_w0rd x ABORT"},
		{"authenticate alice AT", []message{ask, pass("Password incorrect. Password:")}, `FAIL: Password incorrect. Password:\n`, ``, "Pa55_w0rd ABORT"},
		{"authenticate alice AT", []message{ask, pass("Try again\r\npassword: ")}, `GETPASS: Try again\\x0d\\npassword:\n`, `.*unanswered prompt: .*\n`, "Pa55_w0rd ABORT"},
		{"enable alice AT --answer x", []message{ask, ask}, `FAIL: Password:\n`, ``, "Pa55_w0rd ABORT"},
		// A text that differs, or no text, is another question.
		{"enable alice AT", []message{ask, pass("")}, `GETPASS\n`, `tacacs_plus: unanswered prompt: GETPASS \(use --answer\)\n`, "Pa55_w0rd ABORT"},
		{"enable alice AT", []message{pass(""), pass("")}, `GETPASS\n`, `tacacs_plus: unanswered prompt: GETPASS \(use --answer\)\n`, "Pa55_w0rd ABORT"},
		{"authenticate alice AT", []message{ask, pass("SMS passcode: ")}, `GETPASS: SMS passcode:\n`, `tacacs_plus: unanswered prompt: SMS passcode: \(use --answer\)\n`, "Pa55_w0rd ABORT"},
		{"authenticate alice AT --answer 123", []message{ask, pass("SMS passcode: "), pass("SMS passcode: ")}, `FAIL: SMS passcode:\n`, ``, "Pa55_w0rd 123 ABORT"},
		{"authenticate alice AT --json", []message{ask, pass("New password:")}, `\{.*"status":"GETPASS","granted":false,"exit_code":1,.*"error":\{"class":"denied","message":"unanswered prompt: New password: \(use --answer\)"\}.*\}\n`, `.*\n`, "Pa55_w0rd ABORT"},
		{"authenticate alice AT --answer n", []message{ask, pass("New password:"), pass("Retype new password:")}, `GETPASS: Retype new password:\n`, `.*unanswered prompt: Retype new password: .*\n`, "Pa55_w0rd n ABORT"},
		// A change of a password: only GETDATA asks for the old one.
		{"chpass alice AT --new-password-stdin", []message{data("Password: "), ask, ask}, `FAIL\n`, ``, "Pa55_w0rd new new"},
		{"chpass alice AT --new-password-stdin --answer x", []message{data("Password: "), data("Password: ")}, `FAIL: Password:\n`, ``, "Pa55_w0rd ABORT"},
		{"chpass alice AT --new-password-stdin --answer x", []message{data(""), data("")}, `FAIL\n`, ``, "Pa55_w0rd ABORT"},
		{"chpass alice AT --new-password-stdin --answer x --answer-repeated", []message{data(""), data("")}, `FAIL\n`, ``, "Pa55_w0rd x"},
		{"chpass alice AT --new-password-stdin --answer x", []message{data("Old:"), data("SMS passcode:")}, `FAIL\n`, ``, "Pa55_w0rd x"},
		{"authenticate alice AT -q", []message{ask, askAgain}, ``, ``, "Pa55_w0rd ABORT"},
		{"authenticate alice AT -v", []message{ask, askAgain}, `status: FAIL\nprompt: GETPASS\nserver_msg:\n  Wrong.\n  Password: ?\n(?s:.*)`, hint, "Pa55_w0rd ABORT"},
		{"authenticate alice AT --json", []message{ask, askAgain}, `\{.*"status":"FAIL","prompt":"GETPASS","granted":false,"exit_code":1,.*"error":\{"class":"denied",.*\}\n`, ``, "Pa55_w0rd ABORT"},
		{"chpass alice AT --new-password-stdin", []message{askToken, ask, ask, askAgain}, `GETPASS: Wrong.\\nPassword:\n`, newAgain, "Pa55_w0rd new new ABORT"},
		{"chpass alice AT --new-password-stdin", []message{askToken, askTokenAgain}, `FAIL: No. Token:\n`, ``, "Pa55_w0rd ABORT"},
		{"chpass alice AT --new-password-stdin --json", []message{askToken, askTokenAgain}, `.*"status":"FAIL","prompt":"GETDATA",.*\n`, ``, "Pa55_w0rd ABORT"},
		{"chpass alice AT --new-password-stdin -v", []message{askToken, askToken}, `(?s)status: FAIL\nprompt: GETDATA\n.*`, oldHint, "Pa55_w0rd ABORT"},
		{"chpass alice AT --new-password-stdin -v", []message{askToken, ask, ask, ask}, `(?s)status: GETPASS\nserver_msg: Password:\n.*`, newAgain, "Pa55_w0rd new new ABORT"},
		{"authenticate alice AT --answer x", []message{askToken, askToken}, `GETDATA: Token:\n`, noAnswer, "x ABORT"},
		{"authenticate alice AT", []message{askToken}, `GETDATA: Token:\n`, noAnswer, "ABORT"},
		{"authenticate alice AT", []message{ask, askToken}, `GETDATA: Token:\n`, noAnswer, "Pa55_w0rd ABORT"},
	} {
		got, sent := dialogueWith(t, tt.line, tt.replies...)
		got.check(t, classDenied.exit(), tt.out, tt.err)
		if sent != tt.sent {
			t.Errorf("%s: the client sent %q, want %q", tt.line, sent, tt.sent)
		}
	}
}

// TestRequesterConnectionAfterAbort: a server may still reply to an ABORT, or close. The next request uses a
// new connection.
func TestRequesterConnectionAfterAbort(t *testing.T) {
	t.Parallel()
	s := startFakeServer(t, func(c *fakeServerConn) {
		for q := range c.requests {
			c.Write(c.reply(q, &authenReply{status: authenGetPass, serverMsg: "Password: "})) // to the ABORT too
		}
	})
	a := requester{client: clientFor(t, s.addr), keepConn: true}
	defer a.close()
	for range 3 {
		j := &job{request: newLogin(commonFields{user: "u", typ: authenASCII}, "x")}
		if a.do(t.Context(), j); j.err != nil || j.res.Status != "FAIL" || j.res.Prompt != "GETPASS" || j.res.SingleConnect == nil || !*j.res.SingleConnect || a.conn != nil {
			t.Fatalf("%v, %+v, kept: %t", j.err, j.res, a.conn != nil)
		}
	}
	if s.connections() != 3 {
		t.Errorf("%d connections", s.connections())
	}
	// This does not affect the next server.
	b := requester{client: clientFor(t, s.addr+","+startFakeServer(t, (*fakeServerConn).grantAll).addr), keepConn: true}
	defer b.close()
	j := &job{request: newLogin(commonFields{user: "u", typ: authenPAP}, "x")}
	if b.do(t.Context(), j); j.err != nil || j.turn != 1 || b.conn == nil {
		t.Errorf("%v, %+v, kept: %t", j.err, j.res, b.conn != nil)
	}
}

// describe returns a reaction as text for tables.
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

// TestAuthenticationDialogue tests the dialogues of section 5.4 without a network. Each step is a reply, or
// the answer of a person: "> text", or ">" for no answer.
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
	deferred := func(a *authentication) { a.deferred, a.password = true, "" }
	for _, tt := range []struct {
		name  string
		a     *authentication
		steps []string // pairs of a reply and the reaction to it
	}{
		{"verdicts", login(nil), []string{"PASS", "PASS", "FAIL", "FAIL", "ERROR", "ERROR", "FOLLOW", "FOLLOW"}},
		{"an unknown status", login(nil), []string{"0x63", "error protocol"}},
		{"password", login(nil), []string{"GETPASS", `GETPASS, send "pw"`, "PASS", "PASS"}},
		{"user name first", login(nil), []string{"GETUSER", `GETUSER, send "alice"`, "GETPASS", `GETPASS, send "pw"`}},
		{"user name again", login(nil), []string{"GETUSER", `GETUSER, send "alice"`, "GETUSER", "GETUSER, abort, error denied"}},
		{"no name and no answer", login(func(a *authentication) { a.fields.user = "" }),
			[]string{"GETUSER", `GETUSER, prompt "tac1:49: Username: "`, ">", "GETUSER, abort, error denied"}},
		{"no name, from the answers once", login(func(a *authentication) { a.fields.user, a.answers = "", []string{"bob", "123"} }),
			[]string{"GETUSER", `GETUSER, send "bob"`, "GETUSER", `GETUSER, prompt "tac1:49: Username: "`, ">", "GETUSER, abort, error denied"}},
		{"no name, from a person again and again", login(func(a *authentication) { a.fields.user = "" }),
			[]string{"GETUSER", `GETUSER, prompt "tac1:49: Username: "`, "> bob", `GETUSER, send "bob"`, "GETUSER", `GETUSER, prompt "tac1:49: Username: "`}},
		{"asked for the password again", login(nil), []string{"GETPASS", `GETPASS, send "pw"`, "GETPASS", `GETPASS, prompt "password for alice: ", hidden`,
			">", "FAIL, for GETPASS, abort"}},
		{"again, with an answer", login(func(a *authentication) { a.answers = []string{"other"} }),
			[]string{"GETPASS", `GETPASS, send "pw"`, "GETPASS new", `GETPASS, send "other"`, "GETPASS new", `GETPASS, prompt "tac1:49: New password: ", hidden`}},
		{"a token from the answers", login(func(a *authentication) { a.answers = []string{"123"} }), []string{"GETDATA", `GETDATA, send "123"`}},
		{"a token without an answer", login(nil), []string{"GETDATA", "GETDATA, prompt \"tac1:49: Token:\\ntac1:49: six digits \"", ">", "GETDATA, abort, error denied"}},
		{"a token from a person", login(nil), []string{"GETDATA hidden", `GETDATA, prompt "tac1:49: PIN ", hidden`, "> 99", `GETDATA, send "99"`}},
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
				"GETPASS", `GETPASS, prompt "new password for alice: ", hidden`, ">", "GETPASS, abort, error denied"}},
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
			equal(t, r.describe(), tt.steps[i+1], tt.name, "step", i/2+1, tt.steps[i])
		}
	}
}

// TestAuthenticationKeepsATypedPassword: a password typed at the program's own prompt is used for the next
// server too. The answer to a server's prompt, such as a challenge, is not.
func TestAuthenticationKeepsATypedPassword(t *testing.T) {
	t.Parallel()
	for serverMsg, kept := range map[string]bool{"": true, "Password: ": true, "Challenge 1234:": false} {
		a := newLogin(commonFields{user: "alice", typ: authenASCII, service: authenServiceLogin}, "")
		a.deferred = true
		for range 2 {
			a.firstMessage("")
			a.response = authenReply{status: authenGetPass, serverMsg: serverMsg}
			if r := a.on("tac1:49"); r.prompt != nil {
				a.answer("typed", nil)
			}
		}
		equal(t, a.password == "typed" && !a.deferred, kept, serverMsg, "the password is kept")
		if secrets := a.secrets(); !slices.Contains(secrets, "typed") {
			t.Errorf("%q: secrets %q do not include the typed text", serverMsg, secrets)
		}
	}
}

// TestAuthenticationRestartUsesTypedPassword sends what was typed for a restart in the START of the next session.
func TestAuthenticationRestartUsesTypedPassword(t *testing.T) {
	t.Parallel()
	a := newLogin(commonFields{user: "alice", typ: authenASCII, service: authenServiceLogin}, "")
	a.deferred = true
	a.firstMessage("192.0.2.1")
	a.response = authenReply{status: authenRestart, data: "\x02"}
	a.on("tac1:49")
	if r := a.answer("typed", nil); !r.restart {
		t.Fatalf("no restart: %s", r.describe())
	}
	m, err := a.firstMessage("192.0.2.1")
	if start, ok := m.(*authenStart); err != nil || !ok || start.typ != authenPAP || start.data != "typed" {
		t.Errorf("the next session starts with %+v, %v", m, err)
	}
}

// TestAuthenticationStartsOver: every session uses the prepared answers from the beginning.
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

// The challenges of the examples in the RFCs.
const (
	rfc2433Challenge = "102db5df085d3041"
	rfc2759Challenge = "5b5d7c7d7b3f2f3e3c2c602132262628"
	rfc2759Peer      = "21402324255e262a28295f2b3a337c7e"
)

// TestMD4 has the examples of RFC 1320 appendix A.5, and values from OpenSSL at the lengths where the padding
// needs one more block.
func TestMD4(t *testing.T) {
	for _, test := range []struct{ message, want string }{
		{"", "31d6cfe0d16ae931b73c59d7e0c089c0"},
		{"a", "bde52cb31de33e46245e05fbdbd6fb24"},
		{"abc", "a448017aaf21d8525fc10ae87aa6729d"},
		{"message digest", "d9130a8164549fe818874806e1c7014b"},
		{"abcdefghijklmnopqrstuvwxyz", "d79e1c308aa5bbcdeea8ed63df412da9"},
		{"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", "043f8582f241db351ce627e153e7f0e4"},
		{strings.Repeat("1234567890", 8), "e33b4ddc9c38f2199c3e7b164fcc0536"},
		{strings.Repeat("a", 55), "c889c81dd86c4d2e025778944ea02881"},
		{strings.Repeat("a", 56), "d5f9a9e9257077a5f08b0b92f348b0ad"},
		{strings.Repeat("a", 63), "7ea3da77432d44c323671097d1348fc8"},
		{strings.Repeat("a", 64), "52f5076fabd22680234a3fa9f9dc5732"},
		{strings.Repeat("a", 65), "330e377bf231f3cacfecc2c182fe7e5b"},
		{strings.Repeat("a", 128), "cb4a20a561558e29460190c91dced59f"},
	} {
		if got := md4([]byte(test.message)); !bytes.Equal(got, unhex(t, test.want)) {
			t.Errorf("%d bytes %q: got %x, want %s", len(test.message), test.message, got, test.want)
		}
	}
}

func TestChallengeResponses(t *testing.T) {
	challenge1, challenge2, peer := unhex(t, rfc2433Challenge), unhex(t, rfc2759Challenge), unhex(t, rfc2759Peer)
	for _, test := range []struct {
		name string
		got  []byte
		want string
	}{
		{"CHAP response", chapResponse(5, "secret", unhex(t, "000102030405060708090a0b0c0d0e0f")), "0a9065cdcebbe49bd1f1d1fda6ce3ff9"},
		{"CHAP response, id over 127", chapResponse(200, "secret", unhex(t, "0001020304050607")), "041bccc4fbd1a20fc37aba1ca2cb5615"},
		{"RFC 2433 NT hash", ntHash("MyPw"), "fc156af7edcd6c0edde3337d427f4eac"},
		{"RFC 2433 NT response", desResponse(ntHash("MyPw"), challenge1), "4e9d3c8f9cfd385d5bf4d3246791956ca4c351ab409a3d61"},
		{"RFC 2759 NT hash", ntHash("clientPass"), "44ebba8d5312b8d611474411f56989ae"},
		{"RFC 2759 challenge hash", challengeHash(peer, challenge2, "User"), "d02e4386bce91226"},
		{"RFC 2759 challenge hash, with a domain", challengeHash(peer, challenge2, `DOMAIN\User`), "d02e4386bce91226"},
		{"RFC 2759 NT response", desResponse(ntHash("clientPass"), unhex(t, "d02e4386bce91226")), "82309ecd8d708b5ea08faa3981cd83544233114a3d85d6df"},
		// From OpenSSL: UTF-16 has surrogates above U+FFFF.
		{"NT hash beyond ASCII", ntHash("pässwörd😀"), "a395e2e215e896a8ec4b1657b229f081"},
	} {
		if !bytes.Equal(test.got, unhex(t, test.want)) {
			t.Errorf("%s: got %x, want %s", test.name, test.got, test.want)
		}
	}
}

// TestChapData checks the data of RFC 8907 sections 5.4.2.3 to 5.4.2.5: id, challenge, response. The
// responses are the known answers above. The LAN Manager response is zeros (RFC 2433 section 6), as are the
// flags, the last byte of v2 (RFC 2759 section 4).
func TestChapData(t *testing.T) {
	for _, test := range []struct {
		name            string
		typ             authenType
		user, password  string
		challenge, peer string
		want            string // after the id
	}{
		{"MS-CHAP", authenMSCHAP, "User", "MyPw", rfc2433Challenge, rfc2759Peer,
			rfc2433Challenge + strings.Repeat("00", 24) + "4e9d3c8f9cfd385d5bf4d3246791956ca4c351ab409a3d61" + "01"},
		{"MS-CHAP v2", authenMSCHAPv2, "User", "clientPass", rfc2759Challenge, rfc2759Peer,
			rfc2759Challenge + rfc2759Peer + "0000000000000000" + "82309ecd8d708b5ea08faa3981cd83544233114a3d85d6df" + "00"},
		{"MS-CHAP v2 with a domain", authenMSCHAPv2, `DOMAIN\User`, "clientPass", rfc2759Challenge, rfc2759Peer,
			rfc2759Challenge + rfc2759Peer + "0000000000000000" + "82309ecd8d708b5ea08faa3981cd83544233114a3d85d6df" + "00"},
	} {
		// A byte over 127 must not become a character, which has two bytes in UTF-8.
		for _, id := range []byte{0, 1, 127, 128, 200, 255} {
			t.Run(fmt.Sprintf("%s, id %d", test.name, id), func(t *testing.T) {
				got, err := chapData(test.typ, test.user, test.password, id, unhex(t, test.challenge), unhex(t, test.peer))
				if want := append([]byte{id}, unhex(t, test.want)...); err != nil || got != string(want) {
					t.Errorf("got %x, %v, want %x", got, err, want)
				}
			})
		}
	}
	// The response of CHAP depends on the id.
	for id, response := range map[byte]string{5: "0a9065cdcebbe49bd1f1d1fda6ce3ff9", 200: "d0c2343264b00dc079b312810b35a434"} {
		t.Run(fmt.Sprintf("CHAP, id %d", id), func(t *testing.T) {
			challenge := unhex(t, "000102030405060708090a0b0c0d0e0f")
			got, err := chapData(authenCHAP, "User", "secret", id, challenge, nil)
			if want := append(append([]byte{id}, challenge...), unhex(t, response)...); err != nil || got != string(want) {
				t.Errorf("got %x, %v, want %x", got, err, want)
			}
		})
	}
}

// TestNoLANManagerResponse: the client does not send the weak LAN Manager response. If a device sends it,
// serve checks only the NT response. RFC 2433 section 6.
func TestNoLANManagerResponse(t *testing.T) {
	t.Parallel()
	s := newScriptServer(t, testKey, &authenReply{status: authenPass})
	got := runWith(t, map[string]string{"TACACS_PLUS_KEY": testKey, "TACACS_PLUS_PWD": "MyPw"}, "",
		split("authenticate User AT -t mschap --chap-challenge "+rfc2433Challenge, "AT", s.addr)...)
	var start authenStart
	if s.received(t, &start); got.code != classGranted.exit() || len(start.data) != 58 || start.data[9:33] != strings.Repeat("\x00", 24) {
		t.Fatalf("got %+v, the data is %x", got, start.data)
	}
	device := []byte(start.data)
	copy(device[9:], unhex(t, "91881d0152ab0c33c524135ec24a95ee64e23cdc2d33347d"))
	for _, data := range []string{start.data, string(device)} {
		start.data = data
		if !proves(&start, "MyPw") || proves(&start, "mypw") {
			t.Errorf("serve does not check the NT response of %x", data)
		}
	}
}
