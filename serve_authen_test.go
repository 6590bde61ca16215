package main

import (
	"bytes"
	"cmp"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestServeDialogues checks whole dialogues, packet by packet.
func TestServeDialogues(t *testing.T) {
	t.Parallel()
	pass := &authenReply{status: authenPass}
	fail := &authenReply{status: authenFail, serverMsg: "Login incorrect"}
	changed := &authenReply{status: authenPass, serverMsg: "Password changed"}
	failure := func(msg string) *authenReply { return &authenReply{status: authenError, serverMsg: msg} }
	undone := func(msg string) *authenReply { return &authenReply{status: authenFail, serverMsg: msg} }
	prompt := func(status authenStatus, msg string) *authenReply {
		return &authenReply{status: status, flags: authenNoEcho, serverMsg: msg}
	}
	askPass, askAgain := prompt(authenGetPass, "Password: "), prompt(authenGetPass, "Password incorrect. Password: ")
	askOld, askNew, askRetype := prompt(authenGetData, "Old password: "), prompt(authenGetPass, "New password: "), prompt(authenGetPass, "Retype new password: ")
	askUser := &authenReply{status: authenGetUser, serverMsg: "Username: "}
	start := func(action authenAction, typ authenType, service authenService, data string) *authenStart {
		return &authenStart{action: action, commonFields: commonFields{typ: typ, service: service, user: "alice"}, data: data}
	}
	challenge := func(typ authenType, n int) string {
		data, err := chapData(typ, "alice", testPassword, 7, bytes.Repeat([]byte{9}, n), bytes.Repeat([]byte{8}, 16))
		must(t, err)
		return data
	}
	ms := challenge(authenMSCHAP, 8)
	emptyLM := ms[:9] + strings.Repeat("\x00", 24) + ms[33:]
	abort := &authenContinue{flags: authenAbort, data: "user left\n"}
	shell := &authorRequest{commonFields: commonFields{user: "alice"}, args: []string{"service=shell", "cmd="}}
	shellAnswer := &authorResponse{status: authorPassAdd, args: []string{"priv-lvl=15"}}
	record := &acctRequest{flags: acctStart, commonFields: commonFields{user: "alice"}, args: []string{"task_id=1", "service=shell"}}
	for _, tt := range []struct {
		name   string
		flags  headerFlags
		turns  []fakeExchange
		open   bool   // the connection stays open
		leaves bool   // the client disconnects
		log    string // without the times and the peers
	}{
		{name: "PAP", turns: []fakeExchange{{1, papStart("alice", testPassword), pass, 0}}, log: "alice authenticate pap PASS\n"},
		{name: "authen_service 0", turns: []fakeExchange{{1, start(authenLogin, authenPAP, 0, testPassword), pass, 0}}, log: "alice authenticate pap PASS\n"},
		{name: "ASCII", turns: []fakeExchange{{1, asciiStart("alice"), askPass, 0}, {1, answerWith(testPassword), pass, 0}}, log: "alice authenticate ascii PASS\n"},
		{name: "GETUSER", turns: []fakeExchange{{1, asciiStart(""), askUser, 0}, {1, answerWith("alice"), askPass, 0}, {1, answerWith(testPassword), pass, 0}},
			log: "alice authenticate ascii PASS\n"},
		{name: "three tries", turns: []fakeExchange{{1, asciiStart("alice"), askPass, 0}, {1, answerWith("a"), askAgain, 0}, {1, answerWith(""), askAgain, 0}, {1, answerWith("c"), fail, 0}},
			log: "alice authenticate ascii FAIL: Login incorrect\n"},
		{name: "unknown user", turns: []fakeExchange{{1, asciiStart("eve"), askPass, 0}, {1, answerWith(""), askAgain, 0}, {1, answerWith("b"), askAgain, 0}, {1, answerWith("c"), fail, 0}},
			log: "eve authenticate ascii FAIL: Login incorrect\n"},
		{name: "empty user name", turns: []fakeExchange{{1, asciiStart(""), askUser, 0}, {1, answerWith(""), askPass, 0}, {1, answerWith(""), askAgain, 0}, {1, abort, nil, 0}},
			log: "\"\" authenticate ascii ABORT: user left\n"},
		{name: "ABORT", turns: []fakeExchange{{1, asciiStart("alice"), askPass, 0}, {1, abort, nil, 0}}, log: "alice authenticate ascii ABORT: user left\n"},
		{name: "ABORT with a password", turns: []fakeExchange{{1, asciiStart("alice"), askPass, 0},
			{1, &authenContinue{flags: authenAbort, userMsg: testPassword}, nil, 0}}, log: "alice authenticate ascii ABORT\n"},
		{name: "ABORT, single-connect", flags: flagSingleConnect, open: true, turns: []fakeExchange{{1, asciiStart("alice"), askPass, 0}, {1, abort, nil, 0},
			{1, answerWith(testPassword), failure("no such session"), 0}}, log: "alice authenticate ascii ABORT: user left\na packet of no session: seq_no 5 in session 00000001\n"},
		{name: "single-connect", flags: flagSingleConnect, open: true, turns: []fakeExchange{{1, asciiStart("alice"), askPass, 0}, {1, answerWith(testPassword), pass, 0},
			{1, answerWith(testPassword), failure("no such session"), 0}}, log: "alice authenticate ascii PASS\na packet of no session: seq_no 5 in session 00000001\n"},
		{name: "interleaved", flags: flagSingleConnect, open: true, turns: []fakeExchange{
			{0xffffffff, asciiStart("alice"), askPass, 0}, {0, asciiStart(""), askUser, 0}, {3, papStart("alice", testPassword), pass, 0},
			{0, answerWith("eve"), askPass, 0}, {0xffffffff, answerWith("no"), askAgain, 0}, {4, shell, shellAnswer, 0}, {0, answerWith(testPassword), askAgain, 0},
			{5, record, &acctReply{status: acctSuccess}, 0}, {0xffffffff, answerWith(testPassword), pass, 0}, {0, abort, nil, 0}, {3, papStart("alice", "no"), fail, 0}},
			log: "alice authenticate pap PASS\nalice authorize service=shell cmd= PASS_ADD\nalice account start task_id=1 service=shell SUCCESS\n" +
				"alice authenticate ascii PASS\neve authenticate ascii ABORT: user left\nalice authenticate pap FAIL: Login incorrect\n"},
		{name: "enable", turns: []fakeExchange{{1, start(authenLogin, authenASCII, authenServiceEnable, ""), askPass, 0}, {1, answerWith(testPassword), pass, 0}},
			log: "alice enable ascii PASS\n"},
		{name: "enable by PAP with minor version 0", turns: []fakeExchange{{1, start(authenLogin, authenPAP, authenServiceEnable, testPassword), pass, minorDefault}},
			log: "alice enable pap PASS\n"},
		{name: "CHPASS", flags: flagSingleConnect, turns: []fakeExchange{{1, start(authenChPass, authenASCII, authenServiceLogin, ""), askOld, 0},
			{1, answerWith("no"), prompt(authenGetData, "Password incorrect. Old password: "), 0}, {1, answerWith(testPassword), askNew, 0}, {1, answerWith("x"), askRetype, 0}, {1, answerWith("x"), changed, 0},
			{2, papStart("alice", testPassword), fail, 0}, {3, papStart("alice", "x"), pass, 0},
			{4, start(authenChPass, authenASCII, authenServiceLogin, ""), askOld, 0}, {4, answerWith("x"), askNew, 0}, {4, answerWith(testPassword), askRetype, 0}, {4, answerWith(testPassword), changed, 0}},
			open: true, log: "alice chpass ascii PASS: Password changed\nalice authenticate pap FAIL: Login incorrect\n" +
				"alice authenticate pap PASS\nalice chpass ascii PASS: Password changed\n"},
		{name: "CHPASS, a typing mistake", turns: []fakeExchange{{1, start(authenChPass, authenASCII, authenServiceLogin, ""), askOld, 0}, {1, answerWith(testPassword), askNew, 0},
			{1, answerWith("x"), askRetype, 0}, {1, answerWith("y"), &authenReply{status: authenFail, serverMsg: "The new passwords differ or are empty"}, 0}},
			log: "alice chpass ascii FAIL: The new passwords differ or are empty\n"},
		{name: "CHPASS, empty passwords", turns: []fakeExchange{{1, start(authenChPass, authenASCII, authenServiceLogin, ""), askOld, 0}, {1, answerWith(testPassword), askNew, 0},
			{1, answerWith(""), askRetype, 0}, {1, answerWith(""), &authenReply{status: authenFail, serverMsg: "The new passwords differ or are empty"}, 0}},
			log: "alice chpass ascii FAIL: The new passwords differ or are empty\n"},
		{name: "CHPASS by PAP", turns: []fakeExchange{{1, start(authenChPass, authenPAP, authenServiceLogin, testPassword), undone("CHPASS requires authen_type ascii (RFC 8907 section 5.4.2.7)"), 0}},
			log: "alice chpass pap FAIL: CHPASS requires authen_type ascii (RFC 8907 section 5.4.2.7)\n"},
		{name: "expired", turns: []fakeExchange{{1, asciiStart("old"), askPass, 0}, {1, answerWith(testPassword), askNew, 0}, {1, answerWith("x"), askRetype, 0}, {1, answerWith("x"), changed, 0}},
			log: "old authenticate ascii PASS: Password changed\n"},
		{name: "expired, PAP", turns: []fakeExchange{{1, papStart("old", testPassword), &authenReply{status: authenFail, serverMsg: "Password change required"}, 0}},
			log: "old authenticate pap FAIL: Password change required\n"},
		{name: "CHPASS with service enable", turns: []fakeExchange{{1, start(authenChPass, authenASCII, authenServiceEnable, ""), undone("CHPASS with authen_service enable is not defined (RFC 8907 section 5.4.2.6)"), 0}},
			log: "alice chpass ascii FAIL: CHPASS with authen_service enable is not defined (RFC 8907 section 5.4.2.6)\n"},
		{name: "CHAP with the shortest challenge", turns: []fakeExchange{{1, start(authenLogin, authenCHAP, 3, challenge(authenCHAP, 8)), pass, 0}}, log: "alice authenticate chap PASS\n"},
		{name: "CHAP with a short challenge", turns: []fakeExchange{{1, start(authenLogin, authenCHAP, 3, challenge(authenCHAP, 7)), undone("the CHAP challenge has less than 8 bytes"), 0}},
			log: "alice authenticate chap FAIL: the CHAP challenge has less than 8 bytes\n"},
		{name: "MS-CHAP with a long challenge", turns: []fakeExchange{{1, start(authenLogin, authenMSCHAP, 3, challenge(authenMSCHAP, 16)), undone("data is 66 bytes, mschap requires 58"), 0}},
			log: "alice authenticate mschap FAIL: data is 66 bytes, mschap requires 58\n"},
		{name: "MS-CHAP v2 with a short challenge", turns: []fakeExchange{{1, start(authenLogin, authenMSCHAPv2, 3, challenge(authenMSCHAPv2, 15)), undone("data is 65 bytes, mschapv2 requires 66"), 0}},
			log: "alice authenticate mschapv2 FAIL: data is 65 bytes, mschapv2 requires 66\n"},
		{name: "MS-CHAP", turns: []fakeExchange{{1, start(authenLogin, authenMSCHAP, 3, ms), pass, 0}}, log: "alice authenticate mschap PASS\n"},
		{name: "MS-CHAP without a LAN Manager response", turns: []fakeExchange{{1, start(authenLogin, authenMSCHAP, 3, emptyLM), pass, 0}}, log: "alice authenticate mschap PASS\n"},
		{name: "MS-CHAP v2", turns: []fakeExchange{{1, start(authenLogin, authenMSCHAPv2, 3, challenge(authenMSCHAPv2, 16)), pass, 0}}, log: "alice authenticate mschapv2 PASS\n"},
		{name: "SENDAUTH", turns: []fakeExchange{{1, start(4, authenPAP, 3, testPassword), undone("action SENDAUTH is not supported"), 0}},
			log: "alice sendauth pap FAIL: action SENDAUTH is not supported\n"},
		{name: "ARAP", turns: []fakeExchange{{1, start(authenLogin, 4, 3, testPassword), undone("authen_type 0x04 is not supported"), minorOne}},
			log: "alice authenticate 0x04 FAIL: authen_type 0x04 is not supported\n"},
		{name: "PAP with minor version 0", turns: []fakeExchange{{1, papStart("alice", testPassword), undone("minor version 0 is not valid for pap (RFC 8907 section 5.4.1)"), minorDefault}},
			log: "alice authenticate pap FAIL: minor version 0 is not valid for pap (RFC 8907 section 5.4.1)\n"},
		{name: "ASCII with minor version 1", turns: []fakeExchange{{1, asciiStart("alice"), undone("minor version 1 is not valid for ascii (RFC 8907 section 5.4.1)"), minorOne}},
			log: "alice authenticate ascii FAIL: minor version 1 is not valid for ascii (RFC 8907 section 5.4.1)\n"},
		{name: "CONTINUE for an unknown session", turns: []fakeExchange{{1, answerWith(testPassword), failure("no such session"), 0}},
			log: "a packet of no session: seq_no 3 in session 00000001\n"},
		{name: "CONTINUE for another session", flags: flagSingleConnect, open: true,
			turns: []fakeExchange{{1, asciiStart("alice"), askPass, 0}, {2, answerWith(testPassword), failure("no such session"), 0}, {1, answerWith(testPassword), pass, 0}},
			log:   "a packet of no session: seq_no 3 in session 00000002\nalice authenticate ascii PASS\n"},
		{name: "abandoned", leaves: true, turns: []fakeExchange{{1, asciiStart("alice"), askPass, 0}, {1, answerWith("no"), askAgain, 0}},
			log: "alice authenticate ascii ABANDONED\n"},
		{name: "abandoned without a name", leaves: true, flags: flagSingleConnect, turns: []fakeExchange{{1, asciiStart(""), askUser, 0}, {2, asciiStart("eve"), askPass, 0}, {2, abort, nil, 0}},
			log: "eve authenticate ascii ABORT: user left\n\"\" authenticate ascii ABANDONED\n"},
		{name: "accounting flags", turns: []fakeExchange{{1, &acctRequest{flags: 6, commonFields: commonFields{user: "alice"}}, &acctReply{status: acctError, serverMsg: "flags 0x06 are not valid (RFC 8907 section 7.2)"}, 0}},
			log: "alice account 0x06 ERROR: flags 0x06 are not valid (RFC 8907 section 7.2)\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serveWith(t, "--user", "old:"+testPassword, "--must-change", "old")
			c := dialFakeClient(t, s.addr)
			for _, tn := range tt.turns {
				tn.run(t, c, tt.flags)
			}
			if tt.open {
				must(t, c.login(99, tt.flags))
				tt.log += "alice authenticate pap PASS\n"
			} else {
				if tt.leaves {
					c.Conn.(*net.TCPConn).CloseWrite()
				}
				c.checkEnd(t)
			}
			waitUntil(t, "the sessions are logged", func() bool { return strings.Count(s.log.String(), "\n") >= strings.Count(tt.log, "\n") })
			equal(t, stamps().ReplaceAllString(s.log.String(), ""), tt.log, "the log")
		})
	}
}

// TestServeUnsupported: a START that asks for something unsupported gets FAIL, for every service and version (RFC
// 8907 section 5.4.2), and is logged with the request.
func TestServeUnsupported(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	for _, tt := range []struct {
		action  authenAction
		typ     authenType
		service authenService
		version version
		want    authenStatus
	}{
		{authenLogin, authenPAP, authenServiceLogin, minorOne, authenPass},
		{authenLogin, authenPAP, authenServiceEnable, minorDefault, authenPass},
		{authenLogin, authenPAP, authenServiceEnable, minorOne, authenPass},
		{authenLogin, authenPAP, authenServiceEnable, majorVersion<<4 | 2, authenFail},
		{authenLogin, authenPAP, authenServiceLogin, majorVersion<<4 | 15, authenFail},
		{authenLogin, authenASCII, authenServiceLogin, minorOne, authenFail},
		{authenLogin, 0, authenServiceLogin, minorDefault, authenFail},
		{authenLogin, 0, authenServiceLogin, minorOne, authenFail},
		{authenLogin, 4, authenServiceLogin, minorOne, authenFail},
		{authenLogin, 7, authenServiceEnable, minorOne, authenFail},
		{authenLogin, 255, authenServiceLogin, minorOne, authenFail},
		{authenChPass, authenPAP, authenServiceLogin, minorOne, authenFail},
		{authenChPass, 0, authenServiceLogin, minorDefault, authenFail},
		{0, authenPAP, authenServiceLogin, minorOne, authenFail},
		{3, authenASCII, authenServiceLogin, minorDefault, authenFail},
		{4, authenPAP, authenServiceLogin, minorOne, authenFail},
		{255, authenPAP, authenServiceEnable, minorOne, authenFail},
	} {
		c := dialFakeClient(t, s.addr)
		h := header{version: tt.version, typ: typeAuthen, seqNo: 1}
		m := &authenStart{action: tt.action, commonFields: commonFields{typ: tt.typ, service: tt.service, user: "alice"}, data: testPassword}
		must(t, c.send(h, m))
		var r authenReply
		got, err := c.receive(&r)
		if err != nil || r.status != tt.want || got.version != tt.version || (tt.want == authenFail) != strings.Contains(r.serverMsg, " ") {
			t.Errorf("%+v gets the reply %+v %+v, %v", tt, got, r, err)
		}
	}
}

// TestServeEnableWithoutType: enable with the authen_type "not used" prompts for the password as ASCII does, with
// either minor version (RFC 8907 section 5.4.2.6).
func TestServeEnableWithoutType(t *testing.T) {
	t.Parallel()
	for _, v := range []version{minorDefault, minorOne} {
		s := serveWith(t)
		c := dialFakeClient(t, s.addr)
		enable := func(user string) *authenStart {
			return &authenStart{action: authenLogin, commonFields: commonFields{service: authenServiceEnable, privLvl: 15, user: user}}
		}
		askUser := &authenReply{status: authenGetUser, serverMsg: "Username: "}
		askPass := &authenReply{status: authenGetPass, flags: authenNoEcho, serverMsg: "Password: "}
		for _, tn := range []fakeExchange{
			{1, enable("alice"), askPass, v}, {1, answerWith(testPassword), &authenReply{status: authenPass}, v},
			{2, enable(""), askUser, v}, {2, answerWith("alice"), askPass, v}, {2, answerWith(testPassword), &authenReply{status: authenPass}, v},
		} {
			tn.run(t, c, flagSingleConnect)
		}
		want := strings.Repeat("alice enable "+authenType(0).String()+" PASS\n", 2)
		equal(t, s.lines(t), want, "the log")
	}
}

// TestServeLongAnswers: a dialogue keeps at most 255 bytes of a CONTINUE, and does not hold the memory of the rest.
func TestServeLongAnswers(t *testing.T) {
	t.Parallel()
	c := dialFakeClient(t, serveWith(t, "--user", strings.Repeat("u", maxFieldLen)+":"+testPassword).addr)
	ask := func(status authenStatus, msg string) *authenReply {
		return &authenReply{status: status, flags: authenNoEcho, serverMsg: msg}
	}
	fail := func(msg string) *authenReply { return &authenReply{status: authenFail, serverMsg: msg} }
	askUser, askPass := &authenReply{status: authenGetUser, serverMsg: "Username: "}, ask(authenGetPass, "Password: ")
	chpass := &authenStart{action: authenChPass, commonFields: commonFields{typ: authenASCII, service: authenServiceLogin, user: "alice"}}
	for _, tn := range []fakeExchange{
		{1, asciiStart(""), askUser, 0}, {1, answerWith(strings.Repeat("u", maxFieldLen)), askPass, 0}, {1, answerWith(testPassword), &authenReply{status: authenPass}, 0},
		{2, asciiStart(""), askUser, 0}, {2, answerWith(strings.Repeat("u", maxFieldLen+1)), fail("The user name exceeds 255 bytes"), 0},
		{3, asciiStart(""), askUser, 0}, {3, answerWith(strings.Repeat("u", 60_000)), fail("The user name exceeds 255 bytes"), 0},
		{4, chpass, ask(authenGetData, "Old password: "), 0}, {4, answerWith(testPassword), ask(authenGetPass, "New password: "), 0},
		{4, answerWith(strings.Repeat("x", maxFieldLen+1)), fail("The new password exceeds 255 bytes"), 0},
		{5, chpass, ask(authenGetData, "Old password: "), 0}, {5, answerWith(testPassword), ask(authenGetPass, "New password: "), 0},
		{5, answerWith(strings.Repeat("x", maxFieldLen)), ask(authenGetPass, "Retype new password: "), 0},
		{5, answerWith(strings.Repeat("x", maxFieldLen)), &authenReply{status: authenPass, serverMsg: "Password changed"}, 0},
	} {
		tn.run(t, c, flagSingleConnect)
	}
}

// TestServeReplacedDialogue: a START with the session_id of a waiting dialogue ends that dialogue, which is logged.
func TestServeReplacedDialogue(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	c := dialFakeClient(t, s.addr)
	ask := &authenReply{status: authenGetPass, flags: authenNoEcho, serverMsg: "Password: "}
	fakeExchange{1, asciiStart("first"), ask, 0}.run(t, c, flagSingleConnect)
	fakeExchange{1, papStart("alice", testPassword), &authenReply{status: authenPass}, 0}.run(t, c, flagSingleConnect)
	c.Close()
	waitUntil(t, "the login is logged", func() bool { return strings.Contains(s.log.String(), "PASS") })
	if got := s.lines(t); !strings.Contains(got, "first") {
		t.Errorf("%s", got)
	}
}

// TestServeDialogueInOrder: within a dialogue, seq_no and version must follow the packet before.
func TestServeDialogueInOrder(t *testing.T) {
	t.Parallel()
	for _, h := range []header{{version: minorDefault, seqNo: 99}, {version: minorOne, seqNo: 3}} {
		c := dialFakeClient(t, startLab(t, newLab()).addr)
		fakeExchange{2, asciiStart("alice"), &authenReply{status: authenGetPass, flags: authenNoEcho, serverMsg: "Password: "}, 0}.run(t, c, 0)
		h.typ, h.sessionID = typeAuthen, 2
		c.send(h, answerWith(testPassword))
		c.receives(t, authenError)
	}
}

// TestServeSeqNoDoesNotWrap: seq_no 255 is not answered with 0 (RFC 8907 section 4.1).
func TestServeSeqNoDoesNotWrap(t *testing.T) {
	t.Parallel()
	for _, m := range []struct {
		typ packetType
		m   message
	}{{typeAuthor, &authorRequest{commonFields: commonFields{user: "alice"}}}, {9, &authorRequest{}}} {
		c := dialFakeClient(t, startLab(t, newLab()).addr)
		c.send(header{version: minorDefault, typ: m.typ, seqNo: 255}, m.m)
		if h, _, err := readHeader(c.in); err == nil && h.seqNo == 0 {
			t.Errorf("got the reply %+v", h)
		}
	}
	// A dialogue ends after 253: the next number of the client would be 255.
	c, last := newLabConn(newLab(), new(stream)), &header{version: minorDefault, typ: typeAuthen, seqNo: lastSeqNo}
	c.dialogues[0] = &labDialogue{version: minorDefault, seqNo: lastSeqNo - 1, session: &authSession{
		next: func(string) *authenReply { return &authenReply{status: authenGetPass} }}}
	if r, over := c.continueAuthen(last, c.dialogues[0], answerWith("x")); !over || r.(*authenReply).status != authenError {
		t.Errorf("seq_no %d gets the reply %+v, %t", lastSeqNo, r, over)
	}
}

// rules returns the rules for words like +^show and -reload.
func rules(words string) (made []rule) {
	for w := range strings.FieldsSeq(words) {
		made = append(made, rule{w[0] == '+', regexp.MustCompile(w[1:])})
	}
	return made
}

func TestServePermits(t *testing.T) {
	for _, tt := range []struct {
		rules, line string
		want        bool
	}{
		{"", "reload", true},
		{"+^show", "show version", true},
		{"+^show", "reload", false},
		{"+^show", "do show version", false},
		{"+show", "do show version", true},
		{"-^show.run +^show", "show run", false},
		{"-^show.run +^show", "show version", true},
		{"+^show -^show.run", "show run", true}, // the first one decides
		{"-^reload", "show version", false},     // denied if no rule matches
		{"-^reload +.", "show version", true},
		{"+^show$", "show\nreload", false},
		{"+^show$", "show ", false},
	} {
		equal(t, permits(rules(tt.rules), tt.line), tt.want, "rules", tt.rules, "command", tt.line)
	}
}

func TestCommandLine(t *testing.T) {
	for args, want := range map[string]string{
		"service=shell cmd=":                                                    "",
		"service=shell cmd*":                                                    "",
		"service=ppp protocol=ip":                                               "",
		"service=shell cmd=show":                                                "show",
		"service=shell cmd=show cmd-arg=<cr>":                                   "show <cr>",
		"service=shell cmd=show cmd-arg=version cmd-arg=<cr>":                   "show version <cr>",
		"cmd-arg=running-config cmd=show service=shell cmd-arg=|":               "show running-config |",
		"service=shell cmd*show cmd-arg*version":                                "show version",
		"service=shell cmd=interface cmd-arg=Gi1/0/1 cmd-arg=a=b cmd-arg=a*b":   "interface Gi1/0/1 a=b a*b",
		"service=shell cmd=echo cmd-arg=<cr> cmd-arg=x cmd-arg=<CR>":            "echo <cr> x <CR>",
		"service=shell cmd=show cmd=reload":                                     "show", // the first one, as in argValue
		"cmd-args=no =cmd-arg cmd-arg":                                          "",
		"service=shell cmd=show priv-lvl=15 timeout=3 cmd-arg=clock idletime=5": "show clock",
	} {
		equal(t, commandLine(strings.Fields(args)), want, args)
	}
}

// TestServeAuthorizes checks the replies to a shell session, a command and another service.
func TestServeAuthorizes(t *testing.T) {
	const add, repl, fail = authorPassAdd, authorPassRepl, authorFail
	for _, tt := range []struct {
		rules, labArgs, user, request string
		status                        authorStatus
		args                          string
		msg                           string
	}{
		{"", "priv-lvl=15", "alice", "service=shell cmd=", add, "priv-lvl=15", ""},
		{"", "priv-lvl=15", "alice", "service=shell", add, "priv-lvl=15", ""},
		{"", "priv-lvl=15", "alice", "service*shell cmd*", add, "priv-lvl=15", ""},
		{"", "priv-lvl=15 idletime*5", "alice", "service=shell cmd=", add, "priv-lvl=15 idletime*5", ""},
		{"", "priv-lvl=15", "alice", "service=shell cmd= priv-lvl*1", repl, "service=shell cmd= priv-lvl=15", ""},
		{"", "priv-lvl=15 idletime=5", "alice", "priv-lvl* service=shell x*y cmd=", repl, "priv-lvl=15 service=shell x*y cmd= idletime=5", ""},
		{"", "idletime=5 priv-lvl=15", "alice", "service=shell cmd= priv-lvl*1 idletime*1", repl, "service=shell cmd= priv-lvl=15 idletime=5", ""},
		{"", "priv-lvl=15", "alice", "service=shell cmd= priv-lvl=15", add, "priv-lvl=15", ""},
		{"", "priv-lvl*15", "alice", "service=shell cmd= priv-lvl=15", add, "priv-lvl*15", ""},
		{"", "priv-lvl=15", "alice", "service=shell cmd= priv-lvl=1", fail, "", "cannot grant the mandatory argument priv-lvl=1"},
		{"", "priv-lvl=15", "alice", "service=shell cmd= timeout=5", fail, "", "cannot grant the mandatory argument timeout=5"},
		{"", "priv-lvl=15 timeout=5", "alice", "service=shell cmd=show timeout=5", add, "", ""},
		{"", "priv-lvl=15", "alice", "service=shell cmd=show vendor=x", fail, "", "cannot grant the mandatory argument vendor=x"},
		{"", "priv-lvl=15", "alice", "service=shell cmd=show vendor*x timeout*9", add, "", ""},
		{"+^show", "priv-lvl=15", "alice", "service=ppp protocol=ip", fail, "", "service not permitted"},
		{"+^show", "priv-lvl=15", "alice", "service=ppp cmd=show", fail, "", "service not permitted"},
		{"+^service=ppp +^show", "priv-lvl=15", "alice", "service=ppp protocol=ip", add, "", ""},
		{"-^service=ppp.protocol=ip$ +.", "priv-lvl=15", "alice", "service=ppp protocol=ip", fail, "", "service not permitted"},
		{"", "priv-lvl=15", "alice", "service=ppp service=shell", fail, "", "service is given more than once"},
		{"", "priv=15", "alice", "service=shell cmd= priv-lvl*1", add, "priv=15", ""},
		{"+^show", "priv-lvl=15", "alice", "service=shell cmd=", add, "priv-lvl=15", ""}, // rules are for commands
		{"", "priv-lvl=15", "alice", "service=ppp protocol=ip", add, "", ""},
		{"", "priv-lvl=15", "alice", "", fail, "", "service is missing (RFC 8907 section 8.2)"},
		{"+^show.version.<cr>$", "priv-lvl=15", "alice", "service=shell cmd=show cmd-arg=version cmd-arg=<cr>", add, "", ""},
		{"+^show$", "priv-lvl=15", "alice", "service=shell cmd=show cmd-arg=<cr>", fail, "", "command not permitted"},
		{"+^show", "priv-lvl=15", "alice", "service=shell cmd=reload", fail, "", "command not permitted"},
		{"-^reload +.", "priv-lvl=15", "alice", "service=shell cmd=x cmd=reload", fail, "", "cmd is given more than once"},
		{"-^reload +.", "priv-lvl=15", "alice", "service=shell cmd= cmd*reload", fail, "", "cmd is given more than once"},
		{"", "priv-lvl=15", "alice", "service=shell cmd=x cmd=reload", add, "", ""},
		{"", "priv-lvl=15", "eve", "service=shell cmd=", fail, "", "unknown user"},
		{"", "priv-lvl=15", "", "service=shell cmd=", fail, "", "unknown user"},
	} {
		p := testLab()
		p.rules, p.args = rules(tt.rules), strings.Fields(tt.labArgs)
		request := strings.Fields(tt.request)
		before := slices.Clone(request)
		got := p.authorize(&authorRequest{commonFields: commonFields{user: tt.user}, args: request}, minorDefault)
		if got.status != tt.status || strings.Join(got.args, " ") != tt.args || got.serverMsg != tt.msg || got.data != "" {
			t.Errorf("%s requests %s: %+v", tt.user, tt.request, got)
		}
		if !slices.Equal(request, before) || strings.Join(p.args, " ") != tt.labArgs {
			t.Errorf("%s: the request is now %q, the server's own arguments %q", tt.request, request, p.args)
		}
	}
}

func testLab() *lab { return &newLab().lab }

// newLabConn returns a connection to srv for tests that do not read from it.
func newLabConn(srv *labServer, conn net.Conn) *labConn {
	return srv.newConn(&inboundConn{listener: srv.listener, log: srv.listener.log, conn: conn, accepted: new(acceptedConn)})
}

// proofTypes are the types that send no password, with the length of their challenge.
var proofTypes = map[authenType]int{authenCHAP: 16, authenMSCHAP: 8, authenMSCHAPv2: 16}

func TestServeProofs(t *testing.T) {
	prove := func(typ authenType, user, password string, n int) *authenStart {
		m := &authenStart{commonFields: commonFields{typ: typ, user: user}, data: password}
		if typ != authenPAP {
			var err error
			m.data, err = chapData(typ, user, password, 3, bytes.Repeat([]byte{5}, n), bytes.Repeat([]byte{6}, 16))
			must(t, err)
		}
		return m
	}
	for _, password := range []string{testPassword, "", "pässword", long(14), long(200)} {
		for typ, n := range map[authenType]int{authenPAP: 0, authenCHAP: 16, authenMSCHAP: 8, authenMSCHAPv2: 16} {
			if !proves(prove(typ, "alice", password, n), password) {
				t.Errorf("%s does not prove %q", typ, password)
			}
			for _, other := range []string{password + "x", " " + password, strings.ToUpper(password) + "\x00"} {
				if proves(prove(typ, "alice", password, n), other) {
					t.Errorf("%s: %q proves %q", typ, password, other)
				}
			}
		}
	}
	for _, n := range []int{1, 8, 17, maxCHAPChallenge} {
		if !proves(prove(authenCHAP, "alice", testPassword, n), testPassword) {
			t.Errorf("a CHAP challenge of %d bytes proves nothing", n)
		}
	}
	other := prove(authenMSCHAPv2, "alice", testPassword, 16)
	if other.user = "bob"; proves(other, testPassword) { // the name is part of the hash
		t.Error("a response of alice proves bob")
	}
	if other.user = `DOMAIN\alice`; !proves(other, testPassword) { // but the domain is not
		t.Error("a response of alice does not prove DOMAIN\\alice")
	}
}

// TestServeProofsMalformed: data that is changed, cut or extended proves nothing, for every type.
func TestServeProofsMalformed(t *testing.T) {
	for typ, n := range proofTypes {
		data, err := chapData(typ, "alice", testPassword, 3, bytes.Repeat([]byte{5}, n), bytes.Repeat([]byte{6}, 16))
		must(t, err)
		refused := func(what, data string) {
			if proves(&authenStart{commonFields: commonFields{typ: typ, user: "alice"}, data: data}, testPassword) {
				t.Errorf("%s: %s is a proof", typ, what)
			}
		}
		for i := range len(data) {
			refused(fmt.Sprintf("the first %d bytes", i), data[:i])
			changed := []byte(data)
			changed[i] ^= 1
			// The id matters only for CHAP. For MS-CHAP only the challenge and the NT response matter.
			if typ == authenCHAP || i > 0 && (typ == authenMSCHAPv2 || i < 9 || i >= 33 && i < 57) {
				refused(fmt.Sprintf("another byte %d", i), string(changed))
			}
		}
		refused("one byte more", data+"\x00")
		refused("255 bytes", long(255))
	}
	for _, password := range []string{"", "\xff"} { // not UTF-8: no NT hash
		for typ := range proofTypes {
			if proves(&authenStart{commonFields: commonFields{typ: typ}, data: long(80)}, password) {
				t.Errorf("%s proves %q", typ, password)
			}
		}
	}
}

// TestServePassword checks which password is valid. Only a known user has one.
func TestServePassword(t *testing.T) {
	for _, tt := range []struct {
		request, enable, user string
		password              string
		known                 bool
	}{
		{"authenticate", "", "alice", testPassword, true},
		{"authenticate", "secret", "alice", testPassword, true},
		{"chpass", "secret", "alice", testPassword, true},
		{"enable", "", "alice", testPassword, true},
		{"enable", "secret", "alice", "secret", true},
		{"enable", "secret", "eve", "secret", true}, // for all users, as a router's enable secret
		{"enable", "", "eve", "", false},
		{"authenticate", "", "eve", "", false},
		{"authenticate", "", "", "", false},
		{"authenticate", "", "Alice", "", false},
	} {
		p := testLab()
		p.enable = tt.enable
		password, known := p.password(&authSession{user: tt.user, enable: tt.request == "enable", chpass: tt.request == "chpass"})
		if known != tt.known || known && password != tt.password {
			t.Errorf("%s of %s: %q, %t", tt.request, tt.user, password, known)
		}
	}
}

// TestServeUnknownUser: an unknown user is denied with any password, also an empty one.
func TestServeUnknownUser(t *testing.T) {
	for typ, n := range map[authenType]int{authenPAP: 0, authenCHAP: 16, authenMSCHAP: 8, authenMSCHAPv2: 16} {
		for _, password := range []string{"", testPassword} {
			data, err := chapData(typ, "eve", password, 3, make([]byte, n), make([]byte, 16))
			must(t, err)
			if typ == authenPAP {
				data = password
			}
			start := &authenStart{action: authenLogin, commonFields: commonFields{typ: typ, service: authenServiceLogin, user: "eve"}, data: data}
			if _, r := testLab().start(start, minorOne); r.status != authenFail || r.serverMsg != "Login incorrect" {
				t.Errorf("%s: %+v", typ, r)
			}
		}
	}
}

// TestServeEnableKeepsPassword: the enable password of all users does not change the expired password of one.
func TestServeEnableKeepsPassword(t *testing.T) {
	for enable, want := range map[string]authenStatus{"": authenGetPass, "secret": authenPass} {
		p := testLab()
		p.enable, p.expired = enable, list{"alice"}
		m := asciiStart("alice")
		m.service = authenServiceEnable
		s, _ := p.start(m, minorDefault)
		if r := s.next(cmp.Or(enable, testPassword)); r.status != want {
			t.Errorf("enable password %q: got %+v, want %s", enable, r, want)
		}
	}
}

func TestServeComparesSecrets(t *testing.T) {
	for _, a := range []string{"", "a", "b", "a\x00", long(255)} {
		for _, b := range []string{"", "a", "b", "a\x00", long(255)} {
			if same(a, b) != (a == b) {
				t.Errorf("%q and %q", a, b)
			}
		}
	}
}

// TestServeRecordKind: only three bits of the flags determine the kind of a record (RFC 8907 section 7.2).
func TestServeRecordKind(t *testing.T) {
	t.Parallel()
	for flags := range 256 {
		out := new(bytes.Buffer)
		p := newLabConn(newLab(), new(stream))
		p.client.log.out = newQueuedWriter(t.Context(), out)
		body, err := encoded(&acctRequest{flags: acctFlags(flags), commonFields: commonFields{user: "alice"}})
		must(t, err)
		r, _, err := p.decide(&header{version: minorDefault, typ: typeAcct, seqNo: 1}, body)
		must(t, err)
		kind, valid := map[int]string{0x02: "start", 0x04: "stop", 0x08: "watchdog", 0x0a: "watchdog-update"}[flags&0x0e]
		want := acctReply{status: acctSuccess}
		if !valid {
			kind = fmt.Sprintf("0x%02x", flags)
			want = acctReply{status: acctError, serverMsg: "flags " + kind + " are not valid (RFC 8907 section 7.2)"}
		}
		if *r.(*acctReply) != want || !strings.Contains(out.String(), " alice account "+kind+" "+want.status.String()) {
			t.Errorf("flags 0x%02x: %+v, and the line is %s", flags, r, out)
		}
	}
}

// TestServeNoService: no rule permits a request without a service (RFC 8907 section 8.2).
func TestServeNoService(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		rules, request string
		want           authorStatus
	}{
		{"+^show", "cmd=show", authorFail},
		{"+^show", "service= cmd=show", authorFail},
		{"+^show", "", authorFail},
		{"-^reload", "", authorFail},
		{"+^show", "service=shell cmd=show", authorPassAdd},
		{"+^show", "cmd=show service*shell", authorPassAdd},
		{"", "service*ppp", authorPassAdd},
		{"", "cmd=show", authorFail},
		{"", "", authorFail},
	} {
		p := testLab()
		p.rules = rules(tt.rules)
		if r := p.authorize(&authorRequest{commonFields: commonFields{user: "alice"}, args: strings.Fields(tt.request)}, minorDefault); r.status != tt.want ||
			(r.serverMsg == "service is missing (RFC 8907 section 8.2)") != (tt.want == authorFail) {
			t.Errorf("rules %q, request %q: %+v", tt.rules, tt.request, r)
		}
	}
}

// TestServeMinorVersion: authorization and accounting have only one minor version (RFC 8907 section 5.4.1).
func TestServeMinorVersion(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	for _, minor := range []version{0, 1, 5, 15} {
		c, want := dialFakeClient(t, s.addr), ""
		if minor > 0 {
			want = fmt.Sprintf("minor version %d is not supported", minor)
		}
		h := header{version: majorVersion<<4 | minor, typ: typeAuthor, seqNo: 1, sessionID: 1, flags: flagSingleConnect}
		must(t, c.send(h, &authorRequest{commonFields: commonFields{user: "alice"}, args: []string{"service=shell", "cmd="}}))
		var author authorResponse
		_, err := c.receive(&author)
		if status := map[bool]authorStatus{true: authorPassAdd, false: authorError}[minor == 0]; err != nil || author.status != status || author.serverMsg != want {
			t.Errorf("minor version %d: %v, %+v", minor, err, author)
		}
		h.typ, h.sessionID = typeAcct, 2
		must(t, c.send(h, &acctRequest{flags: acctStart, commonFields: commonFields{user: "alice"}, args: []string{"service=shell"}}))
		var acct acctReply
		_, err = c.receive(&acct)
		if status := map[bool]acctStatus{true: acctSuccess, false: acctError}[minor == 0]; err != nil || acct.status != status || acct.serverMsg != want {
			t.Errorf("minor version %d: %v, %+v", minor, err, acct)
		}
	}
}

// TestServeDecidesAlone: the lab decides by the answers of the client, not by the state that the log tracks.
func TestServeDecidesAlone(t *testing.T) {
	t.Parallel()
	l := testLab()
	l.users["bob"] = "bob's password"
	s, r := l.start(asciiStart(""), minorDefault)
	for _, tt := range []struct {
		answer string
		want   authenStatus
	}{{"bob", authenGetPass}, {testPassword, authenGetPass}, {"bob's password", authenPass}} {
		if r = s.next(tt.answer); r.status != tt.want {
			t.Errorf("%q gets the reply %+v", tt.answer, r)
		}
	}
	chpass := asciiStart("")
	chpass.action = authenChPass
	s, _ = l.start(chpass, minorDefault)
	for _, answer := range []string{"bob", "bob's password", "new", "new"} {
		r = s.next(answer)
	}
	if r.status != authenPass || l.users["bob"] != "new" || l.users["alice"] != testPassword {
		t.Errorf("got the reply %+v, and the users are %v", r, l.users)
	}
	// A dialogue continues even if its tracker lost its state.
	c := newLabConn(newLab(), new(stream))
	for _, m := range []message{asciiStart(""), answerWith("alice"), answerWith(testPassword)} {
		body, err := encoded(m)
		must(t, err)
		h := header{version: minorDefault, typ: typeAuthen, seqNo: 1}
		if d := c.dialogues[0]; d != nil {
			d.tracker, h.seqNo = sessionTracker{}, d.seqNo+1
		}
		reply, _, err := c.decide(&h, body)
		must(t, err)
		r = reply.(*authenReply)
	}
	if r.status != authenPass || len(c.dialogues) > 0 {
		t.Errorf("got the reply %+v, and %d dialogues are left", r, len(c.dialogues))
	}
}
