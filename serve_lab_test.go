package main

import (
	"bytes"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// rules returns the rules that words like +^show and -reload describe.
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
		{"-^reload", "show version", false},     // what no rule matches is denied
		{"-^reload +.", "show version", true},
		{"+^show$", "show\nreload", false},
		{"+^show$", "show ", false},
	} {
		if got := permits(rules(tt.rules), tt.line); got != tt.want {
			t.Errorf("rules %q, command %q: %t", tt.rules, tt.line, got)
		}
	}
}

func TestCommandLine(t *testing.T) {
	for args, want := range map[string]string{
		"service=shell cmd=":                                                    "",
		"service=shell cmd*":                                                    "",
		"service=ppp protocol=ip":                                               "",
		"service=shell cmd=show":                                                "show",
		"service=shell cmd=show cmd-arg=<cr>":                                   "show",
		"service=shell cmd=show cmd-arg=version cmd-arg=<cr>":                   "show version",
		"cmd-arg=running-config cmd=show service=shell cmd-arg=|":               "show running-config |",
		"service=shell cmd*show cmd-arg*version":                                "show version",
		"service=shell cmd=interface cmd-arg=Gi1/0/1 cmd-arg=a=b cmd-arg=a*b":   "interface Gi1/0/1 a=b a*b",
		"service=shell cmd=echo cmd-arg=<cr> cmd-arg=x cmd-arg=<CR>":            "echo x <CR>",
		"service=shell cmd=show cmd=reload":                                     "show", // as argValue: the first one
		"cmd-args=no =cmd-arg cmd-arg":                                          "",
		"service=shell cmd=show priv-lvl=15 timeout=3 cmd-arg=clock idletime=5": "show clock",
	} {
		if got := commandLine(strings.Fields(args)); got != want {
			t.Errorf("%s is %q, not %q", args, got, want)
		}
	}
}

// TestServeAuthorizes: replies to a shell session, a command and another service.
func TestServeAuthorizes(t *testing.T) {
	const add, repl, fail = authorPassAdd, authorPassRepl, authorFail
	for _, tt := range []struct {
		rules, own, user, request string
		status                    authorStatus
		args                      string
		msg                       string
	}{
		{"", "priv-lvl=15", "alice", "service=shell cmd=", add, "priv-lvl=15", ""},
		{"", "priv-lvl=15", "alice", "service=shell", add, "priv-lvl=15", ""},
		{"", "priv-lvl=15", "alice", "service*shell cmd*", add, "priv-lvl=15", ""},
		{"", "priv-lvl=15 idletime*5", "alice", "service=shell cmd=", add, "priv-lvl=15 idletime*5", ""},
		{"", "priv-lvl=15", "alice", "service=shell cmd= priv-lvl*1", repl, "service=shell cmd= priv-lvl=15", ""},
		{"", "priv-lvl=15 idletime=5", "alice", "priv-lvl* service=shell x*y cmd=", repl, "priv-lvl=15 service=shell x*y cmd= idletime=5", ""},
		{"", "idletime=5 priv-lvl=15", "alice", "service=shell cmd= priv-lvl*1 idletime*1", repl, "service=shell cmd= priv-lvl=15 idletime=5", ""},
		{"", "priv-lvl=15", "alice", "service=shell cmd= priv-lvl=1", add, "priv-lvl=15", ""}, // mandatory: not overridden
		{"", "priv=15", "alice", "service=shell cmd= priv-lvl*1", add, "priv=15", ""},
		{"+^show", "priv-lvl=15", "alice", "service=shell cmd=", add, "priv-lvl=15", ""}, // rules are for commands
		{"", "priv-lvl=15", "alice", "service=ppp protocol=ip", add, "", ""},
		{"", "priv-lvl=15", "alice", "", add, "", ""},
		{"+^show", "priv-lvl=15", "alice", "service=shell cmd=show cmd-arg=version cmd-arg=<cr>", add, "", ""},
		{"+^show$", "priv-lvl=15", "alice", "service=shell cmd=show cmd-arg=<cr>", add, "", ""},
		{"+^show", "priv-lvl=15", "alice", "service=shell cmd=reload", fail, "", "command not permitted"},
		{"-^reload +.", "priv-lvl=15", "alice", "service=shell cmd=x cmd=reload", fail, "", "cmd is there more than once"},
		{"-^reload +.", "priv-lvl=15", "alice", "service=shell cmd= cmd*reload", fail, "", "cmd is there more than once"},
		{"", "priv-lvl=15", "alice", "service=shell cmd=x cmd=reload", add, "", ""},
		{"", "priv-lvl=15", "eve", "service=shell cmd=", fail, "", "unknown user"},
		{"", "priv-lvl=15", "", "service=shell cmd=", fail, "", "unknown user"},
	} {
		p := testLab()
		p.rules, p.args = rules(tt.rules), strings.Fields(tt.own)
		request := strings.Fields(tt.request)
		before := slices.Clone(request)
		got := p.authorize(&authorRequest{commonFields: commonFields{user: tt.user}, args: request}, minorDefault)
		if got.status != tt.status || strings.Join(got.args, " ") != tt.args || got.serverMsg != tt.msg || got.data != "" {
			t.Errorf("%s asks for %s: %+v", tt.user, tt.request, got)
		}
		if !slices.Equal(request, before) || strings.Join(p.args, " ") != tt.own {
			t.Errorf("%s: the request is now %q, the server's own arguments %q", tt.request, request, p.args)
		}
	}
}

func testLab() *lab { return &newLab().lab }

// newLabConn returns a connection to srv for tests that do not read from it.
func newLabConn(srv *labServer, conn net.Conn) *labConn {
	return &labConn{server: srv, client: &inboundConn{log: srv.listener.log, conn: conn}, dialogues: make(map[uint32]*labDialogue)}
}

// proofTypes are the types that send no password, and how long their challenge is.
var proofTypes = map[authenType]int{authenCHAP: 16, authenMSCHAP: 8, authenMSCHAPv2: 16}

func TestServeProves(t *testing.T) {
	prove := func(typ authenType, user, password string, n int) *authenStart {
		m := &authenStart{commonFields: commonFields{typ: typ, user: user}, data: password}
		if typ != authenPAP {
			var err error
			if m.data, err = chapData(typ, user, password, 3, bytes.Repeat([]byte{5}, n), bytes.Repeat([]byte{6}, 16)); err != nil {
				t.Fatal(err)
			}
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
	if other.user = `DOMAIN\alice`; !proves(other, testPassword) { // and the domain is not
		t.Error("a response of alice does not prove DOMAIN\\alice")
	}
}

// TestServeProvesMalformed: data that is changed, cut or extended proves nothing, for every type.
func TestServeProvesMalformed(t *testing.T) {
	for typ, n := range proofTypes {
		data, err := chapData(typ, "alice", testPassword, 3, bytes.Repeat([]byte{5}, n), bytes.Repeat([]byte{6}, 16))
		if err != nil {
			t.Fatal(err)
		}
		refused := func(what, data string) {
			if proves(&authenStart{commonFields: commonFields{typ: typ, user: "alice"}, data: data}, testPassword) {
				t.Errorf("%s: %s is a proof", typ, what)
			}
		}
		for i := range len(data) {
			refused(fmt.Sprintf("the first %d bytes", i), data[:i])
			changed := []byte(data)
			changed[i] ^= 1
			// The id counts for CHAP alone; of MS-CHAP the challenge and the NT response do, no more.
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

// TestServePassword: which password is the right one, and that only a known user has one.
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
		{"enable", "secret", "eve", "secret", true}, // as a router's enable secret: for everybody
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

// TestServeUnknownUser: nothing lets an unknown user in, not even an empty password.
func TestServeUnknownUser(t *testing.T) {
	for typ, n := range map[authenType]int{authenPAP: 0, authenCHAP: 16, authenMSCHAP: 8, authenMSCHAPv2: 16} {
		for _, password := range []string{"", testPassword} {
			data, err := chapData(typ, "eve", password, 3, make([]byte, n), make([]byte, 16))
			if err != nil {
				t.Fatal(err)
			}
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

// TestServeNoNewUser: an unknown user with the enable password can reach the new password, but is not created.
func TestServeNoNewUser(t *testing.T) {
	p := testLab()
	p.enable, p.expired = "secret", list{"eve"}
	d, _ := p.start(&authenStart{action: authenLogin, commonFields: commonFields{typ: authenASCII, service: authenServiceEnable, user: "eve"}}, minorDefault)
	for _, tt := range []struct {
		says string
		want authenStatus
	}{{"secret", authenGetPass}, {"new", authenGetPass}, {"new", authenFail}} {
		if r := d.next(tt.says); r.status != tt.want {
			t.Errorf("%s is answered with %+v", tt.says, r)
		}
	}
	if _, known := p.users["eve"]; known {
		t.Error("eve is a user now")
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

// TestServeRecordKind: three bits of the flags decide what a record is, the others nothing (RFC 8907 section 7.2).
func TestServeRecordKind(t *testing.T) {
	t.Parallel()
	for flags := range 256 {
		out := new(bytes.Buffer)
		p := newLabConn(newLab(), new(stream))
		p.client.log.out = newQueuedWriter(t.Context(), out)
		body, err := encoded(&acctRequest{flags: acctFlags(flags), commonFields: commonFields{user: "alice"}})
		if err != nil {
			t.Fatal(err)
		}
		r, _, err := p.decide(header{version: minorDefault, typ: typeAcct, seqNo: 1}, body)
		if err != nil {
			t.Fatal(err)
		}
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
		{"+^show", "service=ppp", authorPassAdd},
		{"", "cmd=show", authorPassAdd},
	} {
		p := testLab()
		p.rules = rules(tt.rules)
		if r := p.authorize(&authorRequest{commonFields: commonFields{user: "alice"}, args: strings.Fields(tt.request)}, minorDefault); r.status != tt.want ||
			(r.serverMsg == "no service is named (RFC 8907 section 8.2)") != (tt.want == authorFail) {
			t.Errorf("rules %q, request %q: %+v", tt.rules, tt.request, r)
		}
	}
}

// TestServeMinorVersion: authorization and accounting have one minor version (RFC 8907 section 5.4.1).
func TestServeMinorVersion(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	for _, minor := range []version{0, 1, 5, 15} {
		c, want := dialFakeClient(t, s.addr), ""
		if minor > 0 {
			want = fmt.Sprintf("minor version %d is not supported", minor)
		}
		h := header{version: majorVersion<<4 | minor, typ: typeAuthor, seqNo: 1, sessionID: 1, flags: flagSingleConnect}
		if err := c.send(h, &authorRequest{commonFields: commonFields{user: "alice"}, args: []string{"service=shell", "cmd="}}); err != nil {
			t.Fatal(err)
		}
		var author authorResponse
		_, err := c.receive(&author)
		if status := map[bool]authorStatus{true: authorPassAdd, false: authorFail}[minor == 0]; err != nil || author.status != status || author.serverMsg != want {
			t.Errorf("minor version %d: %v, %+v", minor, err, author)
		}
		h.typ, h.sessionID = typeAcct, 2
		if err := c.send(h, &acctRequest{flags: acctStart, commonFields: commonFields{user: "alice"}, args: []string{"service=shell"}}); err != nil {
			t.Fatal(err)
		}
		var acct acctReply
		_, err = c.receive(&acct)
		if status := map[bool]acctStatus{true: acctSuccess, false: acctError}[minor == 0]; err != nil || acct.status != status || acct.serverMsg != want {
			t.Errorf("minor version %d: %v, %+v", minor, err, acct)
		}
	}
}

// TestServeDecidesAlone: the lab decides by the answers that it gets, for the user that they name, and not by what the
// log tracks.
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
			t.Errorf("%q is answered with %+v", tt.answer, r)
		}
	}
	chpass := asciiStart("")
	chpass.action = authenChPass
	s, _ = l.start(chpass, minorDefault)
	for _, answer := range []string{"bob", "bob's password", "new", "new"} {
		r = s.next(answer)
	}
	if r.status != authenPass || l.users["bob"] != "new" || l.users["alice"] != testPassword {
		t.Errorf("answered with %+v, and the users are %v", r, l.users)
	}
	// A dialogue whose tracker has lost everything goes on as before.
	c := newLabConn(newLab(), new(stream))
	for _, m := range []message{asciiStart(""), says("alice"), says(testPassword)} {
		body, err := encoded(m)
		if err != nil {
			t.Fatal(err)
		}
		h := header{version: minorDefault, typ: typeAuthen, seqNo: 1}
		if d := c.dialogues[0]; d != nil {
			d.tracker, h.seqNo = sessionTracker{}, d.seqNo+1
		}
		reply, _, err := c.decide(h, body)
		if err != nil {
			t.Fatal(err)
		}
		r = reply.(*authenReply)
	}
	if r.status != authenPass || len(c.dialogues) > 0 {
		t.Errorf("answered with %+v, and %d dialogues are left", r, len(c.dialogues))
	}
}
