package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestEscape(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       string // as one line
		lines      string // with line breaks; empty if the same as want
	}{
		{"nothing", "", "", ""},
		{"ASCII", "Access denied (code 7).", "Access denied (code 7).", ""},
		{"letters", "Größe 日本", "Größe 日本", ""},
		{"emoji", "ok 😀", "ok 😀", ""},
		{"backslash", `DOMAIN\user \x1b`, `DOMAIN\user \x1b`, ""},
		{"newline", "a\nb\n", `a\nb\n`, "a\nb\n"},
		{"CRLF", "a\r\nb", `a\x0d\nb`, "a\nb"},
		{"carriage return", "PASS\rFAIL", `PASS\x0dFAIL`, ""},
		{"tab", "a\tb", `a\x09b`, ""},
		{"NUL and backspace", "a\x00\b", `a\x00\x08`, ""},
		{"terminal escape", "\x1b[31mred\x1b]0;title\a", `\x1b[31mred\x1b]0;title\x07`, ""},
		{"DEL", "a\x7f", `a\x7f`, ""},
		{"C1 as UTF-8", "\u009b31m\u0085", `\xc2\x9b31m\xc2\x85`, ""},
		{"C1 as a byte", "\x9b31m", `\x9b31m`, ""},
		{"invalid UTF-8", "a\xffb\xc3", `a\xffb\xc3`, ""},
		{"cut-off emoji", "\xf0\x9f\x98", `\xf0\x9f\x98`, ""},
		{"surrogate", "\xed\xa0\x80", `\xed\xa0\x80`, ""},
		{"overlong NUL", "\xc0\x80", `\xc0\x80`, ""},
		{"the replacement character itself", "a\ufffdb", "a\ufffdb", ""},
		{"bidi override", "user\u202egpj.exe", `user\xe2\x80\xaegpj.exe`, ""},
		{"zero width", "a\u200bb\ufeff", `a\xe2\x80\x8bb\xef\xbb\xbf`, ""},
		{"line separator", "a\u2028b", `a\xe2\x80\xa8b`, ""},
		{"no-break space", "a\u00a0b", `a\xc2\xa0b`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			equal(t, escape(test.text), test.want, "escape")
			lines := test.lines
			if lines == "" {
				lines = test.want
			}
			equal(t, escapeLines(test.text), lines, "escapeLines")
		})
	}
}

// TestEscapeEveryByte: the output has no control character, and nothing is escaped twice.
func TestEscapeEveryByte(t *testing.T) {
	for i := range 256 {
		for _, text := range []string{string([]byte{byte(i)}), string(rune(i)), "a" + string([]byte{byte(i)}) + "é"} {
			got := escape(text)
			if strings.ContainsFunc(got, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 }) {
				t.Errorf("%q: got %q, want no control characters", text, got)
			}
			if again := escape(got); again != got {
				t.Errorf("%q twice: got %q, want %q", text, again, got)
			}
		}
	}
}

func TestOneLine(t *testing.T) {
	for text, want := range map[string]string{"\r\n\n Welcome \n": "Welcome", " a\nb ": `a\nb`, "\n": "", "\x1b": `\x1b`} {
		equal(t, oneLine(text), want, text)
	}
}

func TestShorten(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"short", "short"},
		{strings.Repeat("x", 60), strings.Repeat("x", 60)},
		{strings.Repeat("x", 61), strings.Repeat("x", 57) + "..."},
		{strings.Repeat("x", 56) + strings.Repeat("é", 9), strings.Repeat("x", 56) + "..."}, // a character is not cut
	} {
		equal(t, shorten(test.text), test.want, test.text)
	}
}

func TestPrintableASCII(t *testing.T) {
	for text, want := range map[string]bool{"": true, " tty0~": true, "\x1f": false, "\x7f": false, "é": false, "a\n": false} {
		equal(t, printableASCII(text), want, text)
	}
}

// TestResultSetReply: only a success status grants.
func TestResultSetReply(t *testing.T) {
	var granted []string
	for v := range 256 {
		for _, s := range []status{authenStatus(v), authorStatus(v), acctStatus(v)} {
			var res result
			res.setReply(&verdict{status: s, serverMsg: "message", data: "data"})
			want := classDenied
			switch name := s.String(); {
			case res.Granted:
				want = classGranted
				granted = append(granted, name)
			case name == "ERROR":
				want = classServer
			}
			if res.class != want || res.Status != s.String() || res.ServerMsg != "message" || res.Data != "data" {
				t.Errorf("%T %s: got %+v, want the class %s", s, s, res, want)
			}
		}
	}
	if want := []string{"PASS", "PASS_ADD", "SUCCESS", "PASS_REPL"}; !slices.Equal(granted, want) {
		t.Errorf("granted: got %q, want %q", granted, want)
	}
}

// TestResultReset: the result of the next server has nothing of the reply of the server before.
func TestResultReset(t *testing.T) {
	res := &result{Command: "authorize", User: "alice", Transport: "tcp"}
	res.reset("192.0.2.1:49", &timing{})
	res.setReply(&verdict{status: authorPassAdd, serverMsg: "hello", data: "data"})
	res.AuthenType, res.Flags, res.Local, res.TaskID = "pap", "NOECHO", "192.0.2.9:1024", "7"
	res.SingleConnect, res.Arguments, res.TLS, res.hint = new(bool), &arguments{}, new(tlsFacts), "hint"
	res.addAttempt(failf(classNetwork, "no reply").withHint("try again"))
	second := new(timing)
	res.reset("192.0.2.2:49", second)
	want := `{"command":"authorize","user":"alice","granted":false,"exit_code":0,"server":"192.0.2.2:49","timing_ms":{},` +
		`"attempts":[{"server":"192.0.2.1:49","status":"PASS_ADD","class":"network","message":"no reply","hint":"try again"}]}` + "\n"
	equal(t, res.json(), want)
	if res.Timing != second || res.class != classDenied || res.hint != "" {
		t.Errorf("got %+v, want new timing, no hint, and denied until a reply", res)
	}
}

func TestNewProblem(t *testing.T) {
	for _, test := range []struct {
		err  error
		want problem
	}{
		{failf(classProtocol, "wrong").withHint(fmt.Sprintf("the key of %s", "FILE")), problem{"protocol", "wrong", "the key of FILE"}},
		{failf(classServer, "%s answered ERROR", "tac1"), problem{"server error", "tac1 answered ERROR", ""}},
		{errors.New("no such file"), problem{"usage", "no such file", ""}},
	} {
		equal(t, *newProblem(test.err), test.want, test.err)
	}
}

// TestResultRenderings checks each result as a line, as a block and as JSON.
func TestResultRenderings(t *testing.T) {
	expires := time.Now().UTC().Truncate(time.Second).Add(9*24*time.Hour + time.Hour)
	established := true
	for _, test := range []struct {
		name              string
		res               result
		line, block, json string
	}{
		{
			name: "nothing was answered",
			res:  result{Command: "authenticate", ExitCode: 4},
			json: `{"command":"authenticate","granted":false,"exit_code":4}`,
		},
		{
			name: "PASS without a message",
			res:  result{Command: "authenticate", Status: "PASS", Granted: true, Flags: "none"},
			line: "PASS\n",
			block: `
status: PASS
flags: none
`,
			json: `{"command":"authenticate","status":"PASS","granted":true,"exit_code":0,"flags":"none"}`,
		},
		{
			name: "PASS with everything",
			res: result{Command: "authenticate", User: "jürgen", Status: "PASS", Granted: true, Server: "192.0.2.1:49", Local: "192.0.2.9:1024",
				Transport: "tcp", SingleConnect: &established, AuthenType: "pap", ServerMsg: "\nWelcome <b>\x1b[2J\n", Data: "\x00\x01", Flags: "NOECHO",
				Timing: &timing{resolve: 0, connect: 1234567, firstReply: 20 * time.Millisecond, total: time.Second}},
			line: `PASS: Welcome <b>\x1b[2J` + "\n",
			block: `
status: PASS
server_msg: Welcome <b>\x1b[2J
data: \x00\x01
flags: NOECHO
authen_type: pap
server: 192.0.2.1:49
local: 192.0.2.9:1024
transport: tcp
single-connect: granted
time connect: 1.2 ms
time first_reply: 20.0 ms
time total: 1000.0 ms
`,
			json: `{"command":"authenticate","user":"jürgen","status":"PASS","granted":true,"exit_code":0,"server":"192.0.2.1:49","local":"192.0.2.9:1024",` +
				`"transport":"tcp","single_connect":true,"authen_type":"pap","server_msg":"\nWelcome <b>\\x1b[2J\n","data":"\\x00\\x01","flags":"NOECHO",` +
				`"timing_ms":{"connect":1.234,"first_reply":20,"total":1000}}`,
		},
		{
			name: "FAIL with several lines",
			res: result{Command: "authenticate", User: "bob\x07", Status: "FAIL", ExitCode: 1, SingleConnect: new(bool), Flags: "none",
				ServerMsg: "\r\nAccount locked\r\n  call 555\x9b\r\n", Data: "ldap\nrefused",
				Error: &problem{Class: "denied", Message: "FAIL", Hint: "see the log"},
				Attempts: []*attempt{
					{Server: "tac1:49", Status: "ERROR", problem: problem{Class: "server error", Message: "answered ERROR"}},
					{Server: "tac2:49", problem: problem{Class: "network", Message: "no reply"}},
				}},
			line: `FAIL: Account locked\x0d\n  call 555\x9b` + "\n",
			block: `
status: FAIL
server_msg:
  Account locked
    call 555\x9b
data:
  ldap
  refused
flags: none
single-connect: refused
attempt: answered ERROR
attempt: no reply
`,
			json: `{"command":"authenticate","user":"bob\\x07","status":"FAIL","granted":false,"exit_code":1,"single_connect":false,` +
				`"server_msg":"\nAccount locked\n  call 555\\x9b\n","data":"ldap\nrefused","flags":"none",` +
				`"error":{"class":"denied","message":"FAIL","hint":"see the log"},` +
				`"attempts":[{"server":"tac1:49","status":"ERROR","class":"server error","message":"answered ERROR"},` +
				`{"server":"tac2:49","class":"network","message":"no reply"}]}`,
		},
		{
			name: "an authorization",
			res: result{Command: "authorize", User: "alice", Status: "PASS_ADD", Granted: true, ServerMsg: "ok",
				Arguments: &arguments{Request: []string{"service=shell", "cmd="}, Response: []string{"priv-lvl=15", "autocmd*\x1b[A\n"},
					Effective: []string{"service=shell", "cmd=", "priv-lvl=15", "autocmd*\x1b[A\n"}}},
			line: "PASS_ADD: ok\n  priv-lvl=15\n" + `  autocmd*\x1b[A\n` + "\n",
			block: `
status: PASS_ADD
server_msg: ok
request:
  service=shell
  cmd=
av-pairs:
  priv-lvl=15
  autocmd*\x1b[A\n
effective:
  service=shell
  cmd=
  priv-lvl=15
  autocmd*\x1b[A\n
`,
			json: `{"command":"authorize","user":"alice","status":"PASS_ADD","granted":true,"exit_code":0,"server_msg":"ok",` +
				`"arguments":{"request":["service=shell","cmd="],"response":["priv-lvl=15","autocmd*\\x1b[A\\n"],` +
				`"effective":["service=shell","cmd=","priv-lvl=15","autocmd*\\x1b[A\\n"]}}`,
		},
		{
			name: "a record",
			res: result{Command: "account", User: "alice", Status: "SUCCESS", Granted: true, TaskID: "7",
				Arguments: &arguments{Request: []string{"task_id=7", "service=shell"}}},
			line: "SUCCESS task_id=7\n",
			block: `
status: SUCCESS
task_id: 7
request:
  task_id=7
  service=shell
`,
			json: `{"command":"account","user":"alice","status":"SUCCESS","granted":true,"exit_code":0,` +
				`"arguments":{"request":["task_id=7","service=shell"]},"task_id":"7"}`,
		},
		{
			name: "over TLS",
			res: result{Command: "authenticate", Status: "PASS", Granted: true, Transport: "tls",
				TLS: &tlsFacts{Version: "TLS 1.3", CipherSuite: "TLS_AES_128_GCM_SHA256", Group: "X25519", Verified: true, ServerName: "tac1",
					Subject: "CN=tac1\x1b", Issuer: "CN=ca\n", Names: []string{"tac1", "192.0.2.1\x9b"}, NotAfter: expires,
					Chain: []string{"CN=tac1\x1b", "CN=ca\n"}, ChainNotAfter: time.Date(2029, 1, 1, 0, 0, 0, 0, time.UTC), ClientNotAfter: time.Date(2028, 1, 1, 0, 0, 0, 0, time.UTC), ClientCert: "sent"},
				Timing: &timing{tls: 2 * time.Millisecond}},
			line: "PASS\n",
			block: `
status: PASS
transport: tls
tls: TLS 1.3 TLS_AES_128_GCM_SHA256 X25519
tls server name: tac1
tls subject: CN=tac1\x1b
tls issuer: CN=ca\n
tls names: tac1, 192.0.2.1\x9b
tls expires: ` + expires.Format(time.RFC3339) + ` (9 days left)
tls chain expires: 2029-01-01T00:00:00Z
tls client expires: 2028-01-01T00:00:00Z
tls chain:
  CN=tac1\x1b
  CN=ca\n
tls client certificate: sent
time tls: 2.0 ms
`,
			json: `{"command":"authenticate","status":"PASS","granted":true,"exit_code":0,"transport":"tls",` +
				`"tls":{"version":"TLS 1.3","cipher_suite":"TLS_AES_128_GCM_SHA256","group":"X25519","resumed":false,"verified":true,"server_name":"tac1",` +
				`"subject":"CN=tac1\\x1b","issuer":"CN=ca\\n","names":["tac1","192.0.2.1\\x9b"],"not_after":"` + expires.Format(time.RFC3339) + `","days_left":9,` +
				`"chain":["CN=tac1\\x1b","CN=ca\\n"],"chain_not_after":"2029-01-01T00:00:00Z","client_not_after":"2028-01-01T00:00:00Z","client_certificate":"sent"},"timing_ms":{"tls":2}}`,
		},
		{
			name: "over TLS, resumed and not verified",
			res:  result{Command: "authenticate", TLS: &tlsFacts{Version: "TLS 1.3", CipherSuite: "C", Group: "G", Resumed: true}},
			block: `
tls: TLS 1.3 C G resumed NOT VERIFIED
`,
			json: `{"command":"authenticate","granted":false,"exit_code":0,` +
				`"tls":{"version":"TLS 1.3","cipher_suite":"C","group":"G","resumed":true,"verified":false,"server_name":""}}`,
		},
		{
			name: "FAIL with its reason in data",
			res:  result{Command: "authorize", Status: "FAIL", ExitCode: 1, ServerMsg: " \n", Data: "rule 7"},
			line: "FAIL: rule 7\n",
			block: `
status: FAIL
data: rule 7
`,
			json: `{"command":"authorize","status":"FAIL","granted":false,"exit_code":1,"server_msg":" \n","data":"rule 7"}`,
		},
		{
			name: "a record with a message",
			res:  result{Command: "account", Status: "ERROR", ExitCode: 3, ServerMsg: "disk full\n", TaskID: "7\n"},
			line: `ERROR: disk full task_id=7\n` + "\n",
			block: `
status: ERROR
server_msg: disk full
task_id: 7\n
`,
			json: `{"command":"account","status":"ERROR","granted":false,"exit_code":3,"server_msg":"disk full\n","task_id":"7\\n"}`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			equal(t, test.res.line(), test.line, "line")
			if got, want := test.res.verbose(), strings.TrimPrefix(test.block, "\n"); got != want {
				t.Errorf("block: got\n%swant\n%s", got, want)
			}
			got := test.res.json()
			equal(t, got, test.json+"\n", "json")
			if !json.Valid([]byte(got)) {
				t.Errorf("json: got %s, which is not valid", got)
			}
		})
	}
}

// TestResultJSONLeavesItAlone: json escapes copies, since the result may be printed again later.
func TestResultJSONLeavesItAlone(t *testing.T) {
	res := result{User: "a\n", ServerMsg: "\x1b", Data: "\x00", TaskID: "\x01", Arguments: &arguments{Request: []string{"a=\x02"}}}
	first := res.json()
	if second := res.json(); second != first {
		t.Errorf("second time: got %s, want %s", second, first)
	}
	if res.ServerMsg != "\x1b" || res.Arguments.Request[0] != "a=\x02" {
		t.Errorf("got %+v, want the unchanged text", res)
	}
}

// TestResultJSONFacts: every result has a time, one that is not granted has an error with a class and the
// server message, and one with a connection has the address and the transport.
func TestResultJSONFacts(t *testing.T) {
	s := serveWith(t, "--deny", ".")
	_, port, _ := net.SplitHostPort(s.addr)
	for _, tt := range []struct {
		line, class, message string
		reached              bool
	}{
		{"authenticate alice localhost:PORT -4", "", "", true},
		{"authenticate alice localhost:PORT -4 -t pap --password no", "denied", "FAIL: Login incorrect", true},
		{"authorize alice localhost:PORT -4 --cmd show", "denied", "FAIL: command not permitted", true},
		{"authenticate alice localhost:PORT -4 -k another-key-of-the-tests", "protocol", "the reply of localhost:PORT cannot be read with this key (" + errBodyLength.Error() + ")", true},
		{"authenticate alice REFUSED", "network", "connect to REFUSED: connection refused", false},
	} {
		began := time.Now().Truncate(time.Millisecond)
		pairs := []string{"PORT", port, "REFUSED", refusedAddr(t)}
		got := runWith(t, secretsInEnv, "", append(split(tt.line, pairs...), "--json")...)
		var r struct {
			Time                              time.Time
			Server, Address, Local, Transport string
			Granted                           bool
			Error                             *problem
		}
		if err := json.Unmarshal([]byte(got.out), &r); err != nil {
			t.Fatalf("%v in %q", err, got.out)
		}
		message := strings.NewReplacer(pairs...).Replace(tt.message)
		if (r.Error == nil) != r.Granted || r.Error != nil && (r.Error.Class != tt.class || r.Error.Message != message) {
			t.Errorf("%s: the error is %+v", tt.line, r.Error)
		}
		if r.Time.Before(began) || r.Time.After(time.Now()) {
			t.Errorf("%s: time %v, started at %v", tt.line, r.Time, began)
		}
		want := [2]string{"", ""}
		if tt.reached {
			want = [2]string{"127.0.0.1:" + port, "tcp"}
		}
		if [2]string{r.Address, r.Transport} != want {
			t.Errorf("%s: address %q, transport %q", tt.line, r.Address, r.Transport)
		}
	}
}

// TestResultFollow: a redirect is reported but not followed.
func TestResultFollow(t *testing.T) {
	t.Parallel()
	s := serveWith(t, "--fault", "follow")
	for _, line := range []string{"authenticate alice AT", "authorize alice AT", "account alice AT --task-id 1"} {
		s.ask(t, line).check(t, classDenied.exit(), `FOLLOW.*\n`, `tacacs_plus: hint: give the right server as HOST: the server refers to "@192\.0\.2\.1", which RFC 8907 section 10\.5\.5 forbids to follow\n`)
	}
	unnamed := newScriptServer(t, testKey, &authenReply{status: authenFollow})
	got := runWith(t, secretsInEnv, "", split("authenticate alice "+unnamed.addr)...)
	got.check(t, classDenied.exit(), `FOLLOW\n`, `tacacs_plus: hint: give the right server as HOST: the server refers to another server, which it does not name, which RFC .*\n`)
}

// TestEscapeInvisible: invisible characters are escaped, although Unicode counts them as printable.
func TestEscapeInvisible(t *testing.T) {
	for _, r := range "\u3164\u115f\u1160\uffa0\u2800\ufe0f\ufe00\U000e0100\u180b\u034f\u17b4\u200b\u00ad\u2060\u202e\U00013441\U00013442\U00016fe4\U0001d159" {
		if got := escape("a" + string(r) + "b"); strings.ContainsRune(got, r) || !strings.HasPrefix(got, `a\x`) || !strings.HasSuffix(got, "b") {
			t.Errorf("%U: %q", r, got)
		}
	}
	for _, r := range "é漢ᄀ한⠁\u0301€ " {
		equal(t, escape(string(r)), string(r), r)
	}
}

// TestResultNotGrantedInJSON: every result that is not granted has an error with the reason, whatever the
// status.
func TestResultNotGrantedInJSON(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	for _, tt := range []struct{ line, status, message, hint string }{
		{"authorize alice AT --require priv-lvl=1", "PASS_ADD", "required priv-lvl=1 not granted (got priv-lvl=15)", ""},
		{"authenticate alice AT -t pap --password no", "FAIL", "FAIL: Login incorrect", "see the server's log: account, password"},
	} {
		got := s.ask(t, tt.line+" --json")
		list := answers(t, got.out)
		if len(list) != 1 || got.code != classDenied.exit() || list[0].ExitCode != got.code || list[0].Granted || list[0].Status != tt.status || list[0].Error == nil {
			t.Errorf("%s: got %+v", tt.line, got)
			continue
		}
		if e := list[0].Error; e.Class != "denied" || e.Message != tt.message || !strings.HasPrefix(e.Hint, tt.hint) {
			t.Errorf("%s: the error is %+v", tt.line, e)
		}
	}
}

// TestResultNotWritten: a failed write to stdout is reported. A verdict keeps its exit code, a command that
// only prints text fails.
func TestResultNotWritten(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	for line, code := range map[string]exitCode{
		"authorize alice AT":              classGranted.exit(),
		"authenticate alice AT --json":    classGranted.exit(),
		"check AT":                        classUsage.exit(),
		"check AT --prometheus":           classUsage.exit(),
		"check AT --nagios":               nagiosUnknown,
		"check AT --nagios --warn 1ns":    nagiosWarning,
		"bench alice AT -n 1 --json":      classUsage.exit(),
		"check alice AT --password wrong": classDenied.exit(),
		"version":                         classUsage.exit(),
		"help authorize":                  classUsage.exit(),
		"--help":                          classUsage.exit(),
	} {
		var messages strings.Builder
		got := run(t.Context(), split(line, "AT", s.addr), stdio{in: strings.NewReader(""), out: &pacedStream{err: errors.New("broken pipe")}, err: &messages,
			env: func(name string) string { return secretsInEnv[name] }})
		if want := "tacacs_plus: write the result: broken pipe\n"; got != code || messages.String() != want {
			t.Errorf("%s: got %d, want %d, %q", line, got, code, messages.String())
		}
	}
}

// warningNamesOf returns the names of the warnings in each JSON object of an output.
func warningNamesOf(t *testing.T, out string) (names []string) {
	t.Helper()
	for line := range strings.Lines(out) {
		var object struct {
			Warnings []namedWarning
			Servers  []struct{ Warnings []namedWarning } // of check
		}
		if err := json.Unmarshal([]byte(line), &object); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		warnings := object.Warnings
		for _, s := range object.Servers {
			warnings = append(warnings, s.Warnings...)
		}
		for _, w := range warnings {
			names = append(names, w.Name+": "+w.Message)
		}
	}
	return names
}

// answering returns the address of a server that replies m to every request.
func answering(t *testing.T, key string, m message) (addr string) {
	t.Helper()
	return startFakeServer(t, func(c *fakeServerConn) {
		c.key = key
		for {
			h, _, err := c.readPacket(key)
			if err != nil {
				return
			}
			c.Write(c.reply(&fakeRequest{header: h}, m))
		}
	}).addr
}

// TestWarnings: every warning is on stderr and in JSON, and --no-warn silences it by its name in both.
func TestWarnings(t *testing.T) {
	t.Parallel()
	const short = "a short key"
	server := answering(t, short, &authorResponse{status: authorPassAdd, args: []string{"vendor=1", "malformed"}})
	restart := serveWith(t, "--fault", "restart").addr
	refused := refusedAddr(t)
	for _, tt := range []struct {
		name, line, key string
		want            []string // regular expressions, in order
	}{
		{"key", "authorize alice " + server, short, []string{"key-short: the key has 11 characters, .*",
			"malformed-argument: .* sent an argument that is not name=value: malformed", "mandatory-argument: vendor=1 is mandatory .*"}},
		{"all", "authorize alice --all " + server, short, []string{"key-short: .*", "malformed-argument: .*", "mandatory-argument: .*"}},
		{"failover", "authorize alice " + refused + "," + server, short, []string{"key-short: .*",
			"failover: connect to .*: connection refused; trying .*", "malformed-argument: .*", "mandatory-argument: .*"}},
		{"restart", "authenticate alice " + restart, testKey, []string{"restart: the server requested a restart with pap instead of ascii"}},
		{"check", "check alice " + restart, testKey, []string{"restart: the server requested a restart with pap instead of ascii"}},
		{"check types", "check alice --types " + restart, testKey, []string{"restart: the server requested a restart with pap instead of ascii"}},
		{"bench restart", "bench alice -n 3 " + restart, testKey, []string{"restart: the server requested a restart with pap instead of ascii"}},
		{"trailing space", "check " + restart, testKey + " ", []string{"trailing-space: .*"}},
		{"bench", "bench alice -n 1 -t pap " + restart, testKey + " ", []string{"trailing-space: .*"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			env := map[string]string{"TACACS_PLUS_KEY": tt.key, "TACACS_PLUS_PWD": testPassword}
			got := runWith(t, env, "", split(tt.line+" --json")...)
			found := warningNamesOf(t, got.out)
			if len(found) != len(tt.want) || strings.Count(got.err, "tacacs_plus: warning: ") != len(tt.want) {
				t.Fatalf("got %q, and on stderr\n%s", found, got.err)
			}
			var options string
			for i, want := range tt.want {
				name, _, _ := strings.Cut(want, ":")
				if !regexp.MustCompile("^(?:" + want + ")$").MatchString(found[i]) {
					t.Errorf("got %s, want %s", found[i], want)
				}
				one := runWith(t, env, "", split(tt.line+" --json --no-warn "+name)...)
				if n := len(warningNamesOf(t, one.out)); strings.Contains(one.out, `"`+name+`"`) || n != len(tt.want)-1 || strings.Count(one.err, "warning: ") != n {
					t.Errorf("--no-warn %s: got %s%s", name, one.out, one.err)
				}
				options += " --no-warn " + name
			}
			if none := runWith(t, env, "", split(tt.line+options)...); strings.Contains(none.err, "warning") {
				t.Errorf("%s: got %s", options, none.err)
			}
		})
	}
}

// TestWarningsOfLines: each line of batch and of --cmd-file has its own warnings.
func TestWarningsOfLines(t *testing.T) {
	t.Parallel()
	vendor := &authorResponse{status: authorPassAdd, args: []string{"vendor=1"}}
	for _, tt := range []struct{ line, in string }{
		{"batch AT -c 1", `{"command":"authorize","user":"alice"}` + "\n" + `{"command":"authorize","user":"bob"}` + "\n"},
		{"authorize alice AT --json --cmd-file -", "show\nping\n"},
		{"authorize alice AT --json --all --cmd-file -", "show\nping\n"},
	} {
		server := answering(t, testKey, vendor)
		got := runWith(t, secretsInEnv, tt.in, split(tt.line, "AT", server)...)
		if found := warningNamesOf(t, got.out); len(found) != 2 || !strings.HasPrefix(found[0], "mandatory-argument: vendor=1 ") || found[1] != found[0] {
			t.Errorf("%s: got %q: %+v", tt.line, found, got)
		}
		got = runWith(t, secretsInEnv, tt.in, split(tt.line+" --no-warn mandatory-argument", "AT", server)...)
		if found := warningNamesOf(t, got.out); len(found) != 0 || got.code != classGranted.exit() {
			t.Errorf("%s: silenced: got %q: %+v", tt.line, found, got)
		}
	}
}

// TestWarningsInFile: the file of check --output has the warnings of the run and of the servers.
func TestWarningsInFile(t *testing.T) {
	t.Parallel()
	s := serveWith(t, "--fault", "restart", "-k", testKey+" ")
	file := filepath.Join(t.TempDir(), "report")
	env := map[string]string{"TACACS_PLUS_KEY": testKey + " ", "TACACS_PLUS_PWD": testPassword}
	for options, want := range map[string]string{
		"":                            "trailing-space restart",
		"--interval 100ms --count 2":  "trailing-space restart",
		"--no-warn restart":           "trailing-space",
		"--authen-type magic":         "", // a usage error, before the key is read
		"--password-file nonexistent": "trailing-space",
	} {
		got := runWith(t, env, "", append(split("check alice AT --json --output", "AT", s.addr), append([]string{file}, split(options)...)...)...)
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatalf("%s: %v, %+v", options, err, got)
		}
		var names []string
		for _, w := range warningNamesOf(t, string(text)) {
			name, _, _ := strings.Cut(w, ":")
			names = append(names, name)
		}
		if strings.Join(names, " ") != want || strings.Count(got.err, "tacacs_plus: warning: ") != len(names) {
			t.Errorf("%s: the file has %q, want %q; stderr:\n%s", options, names, want, got.err)
		}
	}
}

// TestNoWarn: a wrong name has a suggestion; names in a profile and on the command line add up.
func TestNoWarn(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"key-shrt": "tacacs_plus: option --no-warn: \"key-shrt\" is no warning: did you mean key-short?\n",
		"nothing":  "tacacs_plus: option --no-warn: \"nothing\" is not one of " + strings.Join(warningNames.known(), " ") + "\n",
	} {
		if got := runWith(t, nil, "", "check", "tac1", "--no-warn", name); got != (runResult{classUsage.exit(), "", want}) {
			t.Errorf("%s: got %+v", name, got)
		}
	}
	s := serveWith(t, "--fault", "restart", "-k", testKey+" ")
	profile := filepath.Join(writeFiles(t, map[string]string{"lab": "no-warn trailing-space\n"}), "lab")
	env := map[string]string{"TACACS_PLUS_KEY": testKey + " ", "TACACS_PLUS_PWD": testPassword}
	got := runWith(t, env, "", "authenticate", "alice", s.addr, "@"+profile)
	if strings.Contains(got.err, "trailing") || !strings.Contains(got.err, "restart") {
		t.Errorf("with a profile: got %+v", got)
	}
	got = runWith(t, env, "", "authenticate", "alice", s.addr, "@"+profile, "--no-warn", "restart")
	if strings.Contains(got.err, "warning") {
		t.Errorf("with a profile and the option: got %+v", got)
	}
}

// TestNoWarnInsecure: -q does not silence the warning of --insecure, only --no-warn does.
func TestNoWarnInsecure(t *testing.T) {
	t.Parallel()
	s := serveWith(t, "--tls")
	env := map[string]string{"TACACS_PLUS_PWD": testPassword}
	line := "authenticate alice -t pap --tls --insecure -q " + s.addr
	runWith(t, env, "", split(line)...).check(t, 0, "", "tacacs_plus: warning: .*--insecure.*\n")
	runWith(t, env, "", split(line+" --no-warn insecure")...).check(t, 0, "", "")
}

// TestWarningSetEscapes: the text of a warning, which may have words of a server, is safe for a terminal.
func TestWarningSetEscapes(t *testing.T) {
	list := []namedWarning{newWarning(warnRestart, "a\x1b[m\n"), newWarning(warnInsecure, "b")}
	if got := (warningSet{warnInsecure}).unsilenced(list); len(got) != 1 || got[0].Message != `a\x1b[m` || got[0].Name != "restart" {
		t.Errorf("got %+v", got)
	}
}

// TestWarningsDocumented: docs/automation.md has a table of all warnings, and no other ones.
func TestWarningsDocumented(t *testing.T) {
	text := contentOf(t, "docs/automation.md")
	_, section, _ := strings.Cut(string(text), "\n## Warnings\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var documented []string
	for _, row := range regexp.MustCompile("(?m)^\\| (`[a-z`, -]+`) \\|").FindAllStringSubmatch(section, -1) {
		for _, name := range strings.Split(row[1], ", ") {
			documented = append(documented, strings.Trim(name, "`"))
		}
	}
	known := warningNames.known()
	slices.Sort(documented)
	slices.Sort(known)
	if !slices.Equal(documented, known) {
		t.Errorf("documented are %q, the program has %q", documented, known)
	}
}
