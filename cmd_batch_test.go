package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestBatchRequests sends every command and field, and invalid lines. The server's log shows which requests reached it.
func TestBatchRequests(t *testing.T) {
	t.Parallel()
	const usage = "usage"
	for _, tt := range []struct {
		line    string
		options string
		want    string // the status, or the class of the error
		code    exitCode
		log     string // a regular expression for the server's log; empty if no request reached it
	}{
		{`{"command":"authenticate","user":"alice"}`, "", "PASS", 0, "alice authenticate ascii PASS"},
		{`{"command":"authenticate","user":"alice"}`, "-t pap", "PASS", 0, "alice authenticate pap PASS"},
		{`{"command":"authenticate","user":"alice","authen_type":"chap"}`, "-t pap", "PASS", 0, "alice authenticate chap PASS"},
		{`{"command":"authenticate","user":"bob","password":"other","authen_type":"mschapv2"}`, "", "PASS", 0, "bob authenticate mschapv2 PASS"},
		{`{"command":"authenticate","user":"bob","authen_type":"pap"}`, "", "FAIL", 1, "bob authenticate pap FAIL: Login incorrect"},
		{`{"command":"authenticate","user":"bob","authen_type":"pap"}`, "--password other", "PASS", 0, "bob authenticate pap PASS"},
		{`{"command":"authenticate","user":"bob","password":"","authen_type":"pap"}`, "--password other", "FAIL", 1, "bob authenticate pap FAIL: Login incorrect"},
		{`{"command":"authenticate","user":"","answers":["alice"]}`, "", "PASS", 0, "alice authenticate ascii PASS"},
		{`{"command":"authenticate","user":"old","password":"x","answers":["y","z"]}`, "", "FAIL", 1, "old authenticate ascii FAIL: The new passwords differ or are empty"},
		{`{"command":"authenticate","user":"bob","password":"no"}`, "", "FAIL", 1, "bob authenticate ascii (ABORT: no answer to the prompt|ABANDONED)"},
		{`{"command":"enable","user":"alice"}`, "-v", "PASS", 0, "alice enable ascii priv_lvl=15 port=tty0 rem_addr=127.0.0.1 action=login service=enable protection=obfuscated single_connect PASS"},
		{`{"command":"enable","user":"alice","priv_lvl":7,"authen_type":"pap","port":"vty1"}`, "-v", "PASS", 0, "alice enable pap priv_lvl=7 port=vty1 rem_addr=127.0.0.1 action=login service=enable protection=obfuscated single_connect PASS"},
		{`{"command":"chpass","user":"alice","new_password":"` + testPassword + `"}`, "", "PASS", 0, "alice chpass ascii PASS: Password changed"},
		{`{"command":"authorize","user":"alice"}`, "", "PASS_ADD", 0, "alice authorize service=shell cmd= PASS_ADD"},
		{`{"command":"authorize","user":"alice","cmd":"show version"}`, "-v", "PASS_ADD", 0, "alice authorize service=shell cmd=show cmd-arg=version priv_lvl=0 port=tty0 rem_addr=127.0.0.1 method=tacacsplus service=login protection=obfuscated single_connect PASS_ADD"},
		{`{"command":"authorize","user":"alice","cmd":"configure terminal"}`, "", "FAIL", 1, `alice authorize "configure terminal" FAIL: command not permitted`},
		{`{"command":"authorize","user":"alice","args":["service=shell","cmd=show","cmd-arg=version"],"priv_lvl":15}`, "-l 3 -P tty9 -r 192.0.2.1 -v", "PASS_ADD", 0, "alice authorize service=shell cmd=show cmd-arg=version priv_lvl=15 port=tty9 rem_addr=192.0.2.1 method=tacacsplus service=login protection=obfuscated single_connect PASS_ADD"},
		{`{"command":"authorize","user":"alice","args":["service=shell"]}`, "-l 3 -v", "PASS_ADD", 0, "alice authorize service=shell cmd= priv_lvl=3 port=tty0 rem_addr=127.0.0.1 method=tacacsplus service=login protection=obfuscated single_connect PASS_ADD priv-lvl=15"},
		{`{"command":"authorize","user":"alice","require":["priv-lvl=15"]}`, "", "PASS_ADD", 0, "alice authorize service=shell cmd= PASS_ADD"},
		{`{"command":"authorize","user":"alice","require":["priv-lvl=1"]}`, "", "PASS_ADD", 1, "alice authorize service=shell cmd= PASS_ADD"},
		{`{"command":"account","user":"alice","task_id":"7","cmd":"show version"}`, "", "SUCCESS", 0, `alice account start task_id=7 start_time=\d+ timezone=UTC service=shell cmd=show cmd-arg=version SUCCESS`},
		{`{"command":"account","flag":"stop","user":"alice","args":["task_id=8","service=shell"]}`, "", "SUCCESS", 0, `alice account stop task_id=8 stop_time=\d+ timezone=UTC service=shell cmd= SUCCESS`},
		{`{"command":"account","flag":"update","user":"alice"}`, "", "SUCCESS", 0, `alice account watchdog task_id=[0-9a-f]{16} timezone=UTC service=shell cmd= SUCCESS`},

		{`garbage`, "", usage, 2, ""},
		{`{"command":"authorize"`, "", usage, 2, ""},
		{`[]`, "", usage, 2, ""},
		{`null`, "", usage, 2, ""},
		{`1`, "", usage, 2, ""},
		{`{}`, "", usage, 2, ""},
		{`{"user":"alice"}`, "", usage, 2, ""},
		{`{"command":"authorize","user":"alice","colour":"red"}`, "", usage, 2, ""},
		{`{"command":"decode","user":"alice"}`, "", usage, 2, ""},
		{`{"command":"authorize","user":1}`, "", usage, 2, ""},
		{`{"command":"authorize","user":"alice"}{"command":"authorize","user":"alice"}`, "", usage, 2, ""},
		{`{"command":"authorize","user":"alice"} x`, "", usage, 2, ""},
		{`{"command":"authorize","user":"alice","cmd":"show","args":["cmd=show"]}`, "", usage, 2, ""},
		{`{"command":"authorize","user":"alice","args":["no separator"]}`, "", usage, 2, ""},
		{`{"command":"authorize","user":"alice","cmd":" "}`, "", usage, 2, ""},
		{`{"command":"authorize","user":"alice","cmd":""}`, "", usage, 2, ""},
		{`{"command":"account","user":"alice","cmd":""}`, "", usage, 2, ""},
		{`{"command":"login","user":"alice","cmd":""}`, "", usage, 2, ""},
		{`{"command":"authorize","user":"alice","cmd":null}`, "", "PASS_ADD", 0, "alice authorize service=shell cmd= PASS_ADD"},
		{`{"command":"authorize","user":"alice","method":"magic"}`, "", usage, 2, ""},
		{`{"command":"authorize","user":"alice","service":"magic"}`, "", usage, 2, ""},
		{`{"command":"authorize","user":"a\u001b"}`, "", usage, 2, ""},
		{`{"command":"authorize","user":"` + strings.Repeat("x", 256) + `"}`, "", usage, 2, ""},
		{`{"command":"authenticate","user":"alice","authen_type":"magic"}`, "", usage, 2, ""},
		{`{"command":"authenticate","user":"alice","priv_lvl":16}`, "", usage, 2, ""},
		{`{"command":"authenticate","user":"alice","priv_lvl":-1}`, "", usage, 2, ""},
		{`{"command":"authenticate","user":"alice","port":"\u00e9"}`, "", usage, 2, ""},
		{`{"command":"authenticate","user":"alice","authen_type":"pap","password":"` + strings.Repeat("x", 256) + `"}`, "", usage, 2, ""},
		{`{"command":"account","user":"alice","flag":"begin"}`, "", usage, 2, ""},
		{strings.Repeat("x", maxLine+1), "", usage, 2, ""},
		{`{"command":"authorize","user":"alice","cmd":"` + strings.Repeat("x ", maxLine/2) + `"}`, "", usage, 2, ""},
	} {
		name := fmt.Sprintf("%.90s %s", tt.line, tt.options)
		serve := "--deny ^configure --permit ^show|^service=ppp --user bob:other --user old:x --must-change old"
		if strings.Contains(tt.options, "-v") {
			serve += " -v"
		}
		s := serveWith(t, split(serve)...)
		// The request after an invalid line is still answered.
		after := `{"id":"last","command":"authorize","user":"alice","args":["service=ppp"]}` + "\n"
		got := runWith(t, secretsInEnv, tt.line+"\n\n"+after, append(split("batch -c 1 AT", "AT", s.addr), split(tt.options)...)...)
		list := answers(t, got.out)
		if got.code != tt.code || len(list) != 2 || !list[1].Granted || list[1].Line != 3 || string(list[1].ID) != `"last"` {
			t.Errorf("%s: got %d %.300s", name, int(got.code), got.out+got.err)
			continue
		}
		a := list[0]
		is := a.Status
		if a.Error != nil && is == "" {
			is = a.Error.Class
		}
		if a.Line != 1 || is != tt.want || a.ExitCode != tt.code || a.Granted != (tt.code == 0) || a.Error != nil && a.Error.Message == "" {
			t.Errorf("%s: got %+v %+v", name, a, a.Error)
		}
		s.stop()
		log := ""
		for line := range strings.Lines(s.log.String()) {
			if !strings.Contains(line, "service=ppp") {
				_, line, _ = strings.Cut(line, " ") // the time
				_, line, _ = strings.Cut(line, " ") // the peer
				log += line
			}
		}
		if tt.log != "" {
			tt.log += "\n"
		}
		runResult{out: log}.check(t, 0, tt.log, ``)
	}
}

// TestBatchOrder sends many requests of all kinds. Dialogues are slower, but results are in the order of the lines.
func TestBatchOrder(t *testing.T) {
	t.Parallel()
	s := serveWith(t, "--deny", "^configure")
	var in strings.Builder
	kinds := []string{`"authenticate"`, `"authenticate","authen_type":"pap"`, `"authorize"`, `"account"`, `"authorize","cmd":"configure terminal"`, `"account","flag":"x"`, `"enable"`}
	const n = 210
	for i := range n {
		fmt.Fprintf(&in, `{"id":%d,"user":"alice","command":%s}`+"\n", i, kinds[i%len(kinds)])
	}
	for _, options := range []string{"", "-c 1", "-c 3", "-c 100"} {
		got := runWith(t, secretsInEnv, in.String(), append([]string{"batch", s.addr}, split(options)...)...)
		list := answers(t, got.out)
		if got.code != classUsage.exit() || len(list) != n || !strings.Contains(got.err, "210 requests, 150 granted, 30 denied, 30 usage\n") {
			t.Fatalf("%s: got %d, %d answers: %s", options, int(got.code), len(list), got.err)
		}
		want := []string{"PASS", "PASS", "PASS_ADD", "SUCCESS", "FAIL", "", "PASS"}
		for i, a := range list {
			if string(a.ID) != fmt.Sprint(i) || a.Line != i+1 || a.Status != want[i%len(want)] {
				t.Errorf("%s: answer %d is %+v", options, i, a)
			}
		}
	}
}

// TestBatchIDs: an id is repeated unchanged.
func TestBatchIDs(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	ids := []string{`1`, `"one"`, `-1.50e3`, `{"a":[1,{"b":null}]}`, `[]`, `true`, `12345678901234567890123`, `"<&>"`, `"\u001b"`}
	for _, rest := range []string{`"command":"authorize","user":"alice"`, `"command":"none"`, `"command":"authorize","cmd":" "`} {
		in := ""
		for _, id := range ids {
			in += `{"id":` + id + `,` + rest + "}\n"
		}
		list := answers(t, runWith(t, secretsInEnv, in, "batch", s.addr).out)
		for i, id := range ids {
			if string(list[i].ID) != id {
				t.Errorf("%s: the id %s is repeated as %s", rest, id, list[i].ID)
			}
		}
	}
	// Control characters are escaped, as JSON allows.
	for id, want := range map[string]string{
		"\"\u009b31m\"": `"\u009b31m"`, "\"\u202egpj\"": `"\u202egpj"`, "\"a\x7f\"": `"a\u007f"`, `"é"`: `"\u00e9"`, `"😀"`: `"\ud83d\ude00"`,
		"\"\U0010ffff\"": `"\udbff\udfff"`, `{"é":["ü",1]}`: `{"\u00e9":["\u00fc",1]}`, "[1,\r\t2]": `[1,2]`,
	} {
		for _, rest := range []string{`"command":"authorize","user":"alice"`, `"command":"authenticate","user":"alice"`, `"command":"none"`} {
			got := runWith(t, secretsInEnv, `{"id":`+id+`,`+rest+"}\n", "batch", s.addr)
			if !strings.HasPrefix(got.out, `{"line":1,"id":`+want+`,`) {
				t.Errorf("the id %q is repeated in %q", id, got.out)
			}
		}
	}
	got := runWith(t, secretsInEnv, `{"command":"authorize","user":"alice"}`, "batch", s.addr)
	if strings.Contains(got.out, `"id"`) {
		t.Errorf("an id without one in the request: %s", got.out)
	}
}

// TestBatchExpect checks the exit code: 0 if all is granted or as expected, else 1, or the class of the first failure
// that is not a denial.
func TestBatchExpect(t *testing.T) {
	t.Parallel()
	s := serveWith(t, "--deny", "^configure")
	const pass, fail = `{"command":"authorize","user":"alice"%s}`, `{"command":"authorize","user":"alice","cmd":"configure"%s}`
	const bad = `{"command":"none"%s}`
	with := func(line, status string) string { return fmt.Sprintf(line, `,"expect":"`+status+`"`) + "\n" }
	none := func(line string) string { return fmt.Sprintf(line, "") + "\n" }
	wrongKey := startFakeServer(t, func(c *fakeServerConn) { c.key = "another key, as long as the first"; c.grantAll() }).addr
	for _, tt := range []struct {
		name, in string
		code     exitCode
		as       string // as_expected of each line: y, n, or - for none
		addr     string
		summary  string
	}{
		{"nothing", "", 0, "", s.addr, "0 requests"},
		{"blank lines", "\n \n\t\n\r\n", 0, "", s.addr, "0 requests"},
		{"granted", none(pass) + none(pass), 0, "--", s.addr, "2 requests, 2 granted"},
		{"denied", none(pass) + none(fail), 1, "--", s.addr, "2 requests, 1 granted, 1 denied\n"},
		{"one", none(pass), 0, "-", s.addr, "1 request, 1 granted\n"},
		{"met", with(pass, "PASS_ADD") + with(fail, "fail"), 0, "yy", s.addr, "2 requests, 1 granted, 1 denied"},
		{"met, by sign", with(pass, "+") + with(fail, "-"), 0, "yy", s.addr, ""},
		{"not met", with(pass, "PASS_REPL") + with(fail, "FAIL"), 1, "ny", s.addr, "; 1 not as expected"},
		{"not met, by sign", with(pass, "-") + with(fail, "+"), 1, "nn", s.addr, "; 2 not as expected"},
		{"met, and another denied", with(fail, "FAIL") + none(fail), 1, "y-", s.addr, "2 requests, 2 denied\n"},
		{"met, and a bad line", with(fail, "FAIL") + none(bad), 2, "y-", s.addr, ""},
		{"bad line before a wrong key", none(bad) + none(pass), 2, "--", wrongKey, "2 requests, 1 usage, 1 protocol\n"},
		{"wrong key before a bad line", none(pass) + none(bad), 5, "--", wrongKey, ""},
		{"expected, and a wrong key", with(pass, "PASS_ADD") + none(pass), 5, "n-", wrongKey, "2 requests, 2 protocol; 1 not as expected\n"},
		{"ERROR is expected", `{"command":"authenticate","authen_type":"pap","user":"alice","expect":"ERROR"}` + "\n" +
			`{"command":"authenticate","user":"alice","expect":"ERROR"}` + "\n", 0, "yy", serveWith(t, "--fault", "error").addr, ""},
		{"expected, and faulty", `{"command":"authenticate","authen_type":"pap","user":"alice","expect":"PASS"}` + "\n" +
			`{"command":"authenticate","user":"alice","expect":"GETPASS"}` + "\n", 5, "nn", serveWith(t, "--fault", "minor-version").addr, ""},
		{"expected, and a faulty end", `{"command":"authenticate","user":"alice","expect":"GETPASS"}` + "\n", 5, "n",
			newScriptServer(t, testKey, &authenReply{status: authenGetPass}, &authenReply{status: 0x63}).addr, ""},
		{"a refusal is expected", `{"command":"authenticate","user":"alice","password":"no","expect":"FAIL"}` + "\n", 0, "y", s.addr, ""},
		{"met, but a required argument is missing", `{"command":"authorize","user":"alice","require":["priv-lvl=1"],"expect":"PASS_ADD"}` + "\n", 1, "n", s.addr, "1 request, 1 denied; 1 not as expected\n"},
		{"granted is expected, and a required argument is missing", `{"command":"authorize","user":"alice","require":["priv-lvl=1"],"expect":"+"}` + "\n", 1, "n", s.addr, "1 not as expected\n"},
		{"a required argument is expected to be missing", `{"command":"authorize","user":"alice","require":["priv-lvl=1"],"expect":"-"}` + "\n", 0, "y", s.addr, "1 request, 1 denied\n"},
		{"met, and the required argument is there", `{"command":"authorize","user":"alice","require":["priv-lvl=15"],"expect":"pass_add"}` + "\n", 0, "y", s.addr, "1 request, 1 granted\n"},
		{"refused", none(pass) + none(pass), 4, "--", refusedAddr(t), "2 requests, 2 network\n"},
	} {
		got := runWith(t, secretsInEnv, tt.in, "batch", tt.addr)
		as := ""
		for _, a := range answers(t, got.out) {
			switch {
			case a.AsExpected == nil && a.Expect == "":
				as += "-"
			case *a.AsExpected:
				as += "y"
			default:
				as += "n"
			}
		}
		if got.code != tt.code || as != tt.as || !strings.Contains(got.err, tt.summary) {
			t.Errorf("%s: got %d %q, want %d %q: %s%s", tt.name, int(got.code), as, int(tt.code), tt.as, got.out, got.err)
		}
	}
}

// TestBatchConversation keeps batch open: every result is printed before the next request, also for an invalid line and
// for a dialogue.
func TestBatchConversation(t *testing.T) {
	t.Parallel()
	for _, options := range []string{"", "--fault single-refused", "--tls --write-cacert CA"} {
		t.Run(options, func(t *testing.T) {
			ca := filepath.Join(t.TempDir(), "ca.pem")
			s := serveWith(t, split(options, "CA", ca)...)
			args := []string{s.addr}
			if strings.Contains(options, "--tls") {
				args = append(args, "--tls", "--cacert", ca)
			}
			k := startBatch(t, args...)
			for i := range 60 {
				line, want := `{"command":"authorize","user":"alice"}`, classGranted
				switch i % 4 {
				case 1:
					line, want = `{"command":"authenticate","user":"alice"}`, classGranted
				case 2:
					line, want = `{"command":"authenticate","user":"alice","authen_type":"pap","password":"no"}`, classDenied
				case 3:
					line, want = `no request`, classUsage
				}
				k.send(line)
				if a := k.receive(); a.Line != i+1 || a.ExitCode != want.exit() {
					t.Fatalf("answer %d: %+v %+v", i, a, a.Error)
				}
			}
			if got := k.end(); got.code != classUsage.exit() || !strings.Contains(got.err, "60 requests, 30 granted, 15 denied, 15 usage") {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// TestBatchStreamsFail has an input that ends with an error, and an output that cannot be written.
func TestBatchStreamsFail(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	broken := errors.New("broken pipe")
	request := `{"command":"authorize","user":"alice"}`
	for _, tt := range []struct {
		name, in string
		inErr    error
		outErr   bool
		granted  int
		code     exitCode
		err      string
	}{
		{"last line without a newline", request + "\n" + request, io.EOF, false, 2, 0, "2 requests, 2 granted"},
		{"input", request + "\n" + request + "\n", broken, false, 2, 2, "read the requests: broken pipe"},
		{"output", request + "\n" + request + "\n", io.EOF, true, 0, 2, "write the results: broken pipe"},
	} {
		var out, messages bytes.Buffer
		std := stdio{in: &pacedStream{strings.NewReader(tt.in), tt.inErr}, out: &out, err: &messages, env: func(name string) string { return secretsInEnv[name] }}
		if tt.outErr {
			std.out = &pacedStream{err: broken}
		}
		code := run(ctx, []string{"batch", s.addr}, std)
		if n := strings.Count(out.String(), `"granted":true`); code != tt.code || n != tt.granted || !strings.Contains(messages.String(), tt.err) {
			t.Errorf("%s: got %d, %d granted: %s", tt.name, int(code), n, messages.String())
		}
	}
}

// TestBatchSecrets looks for the key and the passwords in all output after all kinds of errors.
func TestBatchSecrets(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	in := ""
	for _, rest := range []string{`"authenticate"`, `"authenticate","authen_type":"pap"`, `"authenticate","authen_type":"chap"`, `"enable"`, `"chpass","new_password":"Pa55 w0rd2"`,
		`"authenticate","password":"Pa55 w0rd1"`, `"none","password":"Pa55 w0rd1"`, `"authorize","password":5`, `"authorize","colour":"red"`, `"authenticate","authen_type":"pap","port":"` + strings.Repeat("x", 300) + `"`} {
		in += `{"user":"alice","command":` + rest + "}\n" + `{"user":"alice","password":"Pa55 w0rd` + rest + "}\n"
	}
	for _, options := range []string{"", "-v", "-d", "-q", "--json", "-k wrong-key-of-some-length", "--timeout 1ms", "--password no"} {
		got := runWith(t, secretsInEnv, in, append([]string{"batch", s.addr}, split(options)...)...)
		if secret := secretIn(got); secret != "" {
			t.Errorf("%s shows %q: %s%s", options, secret, got.out, got.err)
		}
		if options == "-q" && got.out != "" {
			t.Errorf("-q prints %q", got.out)
		}
	}
}

// manyRequests returns how many requests a test of memory sends: fewer under the race detector, which is ten times slower.
func manyRequests() int {
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		return 20_000
	}
	return 40_000
}

// TestBatchMemory has an input that is far longer than the part in memory.
func TestBatchMemory(t *testing.T) {
	n := manyRequests()
	var asked inFlightMeter
	s := startFakeServer(t, func(c *fakeServerConn) { c.grantFast(&asked) })
	out := newInFlightMeter(n)
	var messages bytes.Buffer
	in := &generator{line: `{"id":"x","command":"authorize","user":"alice","cmd":"show version"}` + "\n", n: n}
	code := run(t.Context(), []string{"batch", s.addr, "-c", "256", "--unencrypted"}, stdio{in: in, out: out, err: &messages, env: func(name string) string { return secretsInEnv[name] }})
	if code != classGranted.exit() || !strings.Contains(messages.String(), fmt.Sprintf("%d requests, %d granted\n", n, n)) {
		t.Errorf("got %d: %s", int(code), messages.String())
	}
	out.check(t, n)
}

// TestBatchLine checks the names of a result's fields, which are a contract.
func TestBatchLine(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	got := runWith(t, secretsInEnv, `{"id":7,"command":"authorize","user":"alice","expect":"PASS_ADD"}`, "batch", s.addr)
	var fields map[string]json.RawMessage
	if err := json.Unmarshal([]byte(got.out), &fields); err != nil {
		t.Fatalf("%v in %q", err, got.out)
	}
	for _, name := range strings.Fields("line id command user status granted exit_code server local arguments timing_ms expect as_expected") {
		if _, ok := fields[name]; !ok {
			t.Errorf("no %s in %s", name, got.out)
		}
	}
}

// TestBatchWithoutPassword: there is no prompt for a password, since requests may have their own or need none.
func TestBatchWithoutPassword(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	in := `{"command":"authorize","user":"alice"}` + "\n" + `{"command":"authenticate","user":"alice","password":"` + testPassword + `"}` + "\n"
	onlyKey := map[string]string{"TACACS_PLUS_KEY": testKey}
	got := runWith(t, onlyKey, in, "batch", s.addr)
	if n := strings.Count(got.out, `"granted":true`); got.code != classGranted.exit() || n != 2 {
		t.Errorf("got %+v", got)
	}
	// A request without a password is not sent with an empty one, unless that is given.
	l := listen(t)
	for _, command := range []string{"authenticate", "enable", "chpass"} {
		got = runWith(t, onlyKey, `{"command":"`+command+`","user":"alice","new_password":"x"}`, "batch", l.Addr().String())
		if got.code != classUsage.exit() || !strings.Contains(got.out, `"message":"no password in the request"`) {
			t.Errorf("%s: got %+v", command, got)
		}
	}
	checkUntouched(t, l)
	empty := serveWith(t, "--user", "bob:")
	in = `{"command":"authenticate","user":"bob","password":""}`
	runWith(t, onlyKey, in, "batch", empty.addr).check(t, classGranted.exit(), `.*"status":"PASS".*\n`, `tacacs_plus: 1 request, 1 granted\n`)
	in = `{"command":"authenticate","user":"bob"}`
	runWith(t, onlyKey, in, "batch", empty.addr, "--password", "").check(t, classGranted.exit(), `.*"status":"PASS".*\n`, `tacacs_plus: 1 request, 1 granted\n`)
}

// TestBatchWithoutTaskID: watchdog records without a task_id cause one warning. A stop record may be the only one of its
// task.
func TestBatchWithoutTaskID(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	for _, tt := range []struct{ rest, warning string }{
		{`"flag":"stop"`, ``},
		{`"flag":"update","cmd":"show"`, `tacacs_plus: warning: 2 watchdog records without a task_id, the first in line 2: use that of the start record\n`},
		{`"flag":"watchdog-update"`, `tacacs_plus: warning: 2 watchdog records without a task_id, the first in line 2: .*\n`},
		{`"flag":"watchdog","task_id":"7"`, ``},
		{`"flag":"start"`, ``},
		{`"flag":"stop","task_id":"7"`, ``},
		{`"flag":"stop","args":["task_id=7"]`, ``},
	} {
		in := "\n" + strings.Repeat(`{"command":"account","user":"alice",`+tt.rest+"}\n", 2)
		got := runWith(t, secretsInEnv, in, "batch", s.addr)
		got.check(t, classGranted.exit(), `(?s).*`, tt.warning+`tacacs_plus: 2 requests, 2 granted\n`)
	}
}

// TestBatchTaskOrder: the records of a task are sent one after the other, also if the server is slow; those of other tasks
// do not wait.
func TestBatchTaskOrder(t *testing.T) {
	t.Parallel()
	for _, options := range []string{"", "-c 2", "--fault single-refused"} {
		var mu sync.Mutex
		underWay, flags := make(map[string]int), make(map[string]string)
		most := 0
		s := startFakeServer(t, func(c *fakeServerConn) {
			var write sync.Mutex
			c.refuse = strings.Contains(options, "single-refused")
			for q := range c.requests {
				m := q.message.(*acctRequest)
				id := argValue(m.args, "task_id")
				mu.Lock()
				underWay[id]++
				if underWay[id] > 1 {
					t.Errorf("%s: two records of task %s at the same time", options, id)
				}
				most = max(most, len(underWay))
				flags[id] += m.flags.String() + " "
				mu.Unlock()
				reply := func() {
					mu.Lock()
					delete(underWay, id)
					mu.Unlock()
					write.Lock()
					defer write.Unlock()
					c.Write(c.grantReply(q))
				}
				if c.refuse {
					time.Sleep(time.Millisecond)
					reply()
				} else {
					time.AfterFunc(5*time.Millisecond, reply)
				}
			}
		})
		in := requests(1, acctLine) // whose reply grants single-connection mode
		for i := range 8 {
			for _, flag := range []string{"start", "update", "watchdog-update", "stop"} {
				id := fmt.Sprintf(`"task_id":"t%d"`, i)
				if i%2 == 1 {
					id = fmt.Sprintf(`"args":["service=shell","task_id=t%d"]`, i)
				}
				in += fmt.Sprintf(`{"command":"account","user":"u1","flag":"%s",%s}`+"\n", flag, id)
			}
		}
		got := runWith(t, secretsInEnv, in, append([]string{"batch", s.addr}, strings.Fields(strings.TrimSuffix(options, "--fault single-refused"))...)...)
		list := answers(t, got.out)
		if got.code != classGranted.exit() || len(list) != 33 || got.err != "tacacs_plus: 33 requests, 33 granted\n" {
			t.Fatalf("%s: got %d, %d answers, %s", options, int(got.code), len(list), got.err)
		}
		for i := range 8 {
			equal(t, flags[fmt.Sprintf("t%d", i)], "start watchdog watchdog-update stop ", options, "the records of task", i, "in order")
		}
		if most < 2 {
			t.Errorf("%s: other tasks wait", options)
		}
	}
}

// TestBatchTaskInterrupted: after an interruption the results of all requests that were read are printed, also of those that
// waited for another one.
func TestBatchTaskInterrupted(t *testing.T) {
	t.Parallel()
	reached := make(chan struct{})
	s := startFakeServer(t, func(c *fakeServerConn) {
		c.Write(c.grantReply(c.readRequest()))
		c.readRequest() // of the task: it gets no reply
		c.Write(c.grantReply(c.readRequest()))
		close(reached)
		c.readRequest()
	})
	var in strings.Builder
	in.WriteString(requests(1, acctLine))
	for _, line := range []string{`"flag":"start","task_id":"t"`, `"flag":"update","task_id":"t"`, `"flag":"stop","task_id":"t"`, `"task_id":"other"`} {
		in.WriteString(`{"command":"account","user":"alice",` + line + "}\n")
	}
	ctx, interrupt := context.WithCancelCause(t.Context())
	defer interrupt(nil)
	var out, messages lockedBuffer
	input, more := io.Pipe() // stays open
	go io.WriteString(more, in.String())
	go func() {
		<-reached
		time.Sleep(50 * time.Millisecond)
		interrupt(interruptedBy(syscall.SIGTERM))
	}()
	code := run(ctx, []string{"batch", s.addr}, stdio{in: input, out: &out, err: &messages, env: func(name string) string { return secretsInEnv[name] }})
	list := answers(t, out.String())
	var classes []string
	for _, a := range list {
		class := "granted"
		if a.Error != nil {
			class = a.Error.Class
		}
		classes = append(classes, class)
	}
	if code != 128+exitCode(syscall.SIGTERM) || strings.Join(classes, " ") != "granted interrupted interrupted interrupted granted" {
		t.Errorf("got %d, %v: %s", int(code), classes, messages.String())
	}
}

// TestBatchReusedTaskID: start records with the task_id of a task under way cause one warning.
func TestBatchReusedTaskID(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	start, stop := `{"command":"account","user":"alice","task_id":"7"}`, `{"command":"account","user":"alice","task_id":"7","flag":"stop"}`
	other := strings.ReplaceAll(start, "7", "8")
	for _, tt := range []struct {
		lines   []string
		warning string
	}{
		{[]string{start, stop, start, stop}, ``},
		{[]string{start, other}, ``},
		{[]string{start, strings.Replace(start, "7", "", 1), `{"command":"account","user":"alice","task_id":"7","flag":"x"}`}, ``},
		{[]string{`{"command":"account","user":"alice"}`, `{"command":"account","user":"alice"}`}, ``},
		{[]string{start, start}, `1 start record with the task_id of a task under way, the first in line 2: stop the task first, or use another task_id`},
		{[]string{other, start, stop, start, start, other}, `2 start records with the task_id of a task under way, the first in line 5: .*`},
		{[]string{start, `{"command":"account","user":"alice","args":["service=ppp","task_id*7"]}`}, `1 start record with the task_id of a task under way, the first in line 2: .*`},
		{[]string{start, strings.Replace(stop, "stop", "update", 1), start}, `1 start record with the task_id of a task under way, the first in line 3: .*`},
	} {
		got := runWith(t, secretsInEnv, strings.Join(tt.lines, "\n"), "batch", s.addr)
		if tt.warning != "" {
			tt.warning = "tacacs_plus: warning: " + tt.warning + "\n"
		}
		got.check(t, got.code, `(?s).*`, tt.warning+`tacacs_plus: \d requests, .*\n`)
	}
	// A start record that was not confirmed begins no task.
	refusing := serveWith(t, "--fault", "error")
	got := runWith(t, secretsInEnv, start+"\n"+start, "batch", refusing.addr)
	got.check(t, classServer.exit(), `(?s).*`, `tacacs_plus: 2 requests, 2 server error\n`)
	// The result of a record that may be written has the generated task_id.
	lost, records := acctServer(t, "close")
	got = runWith(t, secretsInEnv, `{"command":"account","user":"alice"}`, "batch", lost)
	if list := answers(t, got.out); len(list) != 1 || list[0].TaskID != argValue((<-records).args, "task_id") {
		t.Errorf("got %+v", got)
	}
}

// TestBatchBacklogCountsRequest checks that the backlog counts the parsed request if that is larger than the line.
func TestBatchBacklogCountsRequest(t *testing.T) {
	t.Parallel()
	p := &requestParser{defaults: requestOptions{fields: commonFields{typ: authenASCII, service: authenServiceLogin}}, password: new(string)}
	for _, tt := range []struct {
		name, line string
		extra      int // bytes beyond those of the line, at least
	}{
		{"nothing", `{"command":"authenticate","user":"alice"}`, 0},
		{"an id", `{"id":"` + strings.Repeat("é", 1000) + `","command":"authenticate","user":"alice"}`, 6000},
		{"answers", `{"command":"authenticate","user":"alice","answers":["` + strings.Repeat(`","`, 1000) + `"]}`, 16000},
		{"required arguments", `{"command":"authorize","user":"alice","require":["a=` + strings.Repeat(`","a=`, 1000) + `"]}`, 16000},
		{"an error", `{"command":"` + strings.Repeat("\u0085", 1000) + `"}`, 8000},
	} {
		b := new(backlog)
		l := new(requestLine)
		l.job.err = p.parse(l, []byte(tt.line))
		b.addLine(l, len(tt.line))
		if got := b.bytes - len(tt.line); got < tt.extra || got > tt.extra+100 {
			t.Errorf("%s: %d bytes are counted beyond those of the line, want %d", tt.name, got, tt.extra)
		}
		if b.add(-1, -l.size); b.bytes != 0 || b.lines != 0 {
			t.Errorf("%s: %d bytes and %d lines are left", tt.name, b.bytes, b.lines)
		}
	}
}

// TestBatchResultJSON compares appendJSON with encoding/json.
func TestBatchResultJSON(t *testing.T) {
	yes := true
	for _, r := range []batchResult{
		{Line: 1, result: &result{Timing: new(timing)}},
		{Line: 1, result: &result{Timing: new(timing), began: time.Unix(1795492087, 7_654_321), Address: "[fe80::1%x\"]:49"}},
		{Line: 2, ID: json.RawMessage(`{"a":[1,"\u00e4"]}`), Expect: "PASS", AsExpected: &yes, result: &result{Command: "authenticate", User: "al\"ice\\\x1bé",
			Status: "PASS", Granted: true, ExitCode: 3, Server: "[::1]:49", Local: "127.0.0.1:1", Transport: "tcp", SingleConnect: new(bool), AuthenType: "pap",
			ServerMsg: "one\r\ntwo\ttab\x00\u009b\ufffd <b>&", Data: "\xff\n", Flags: "none", TaskID: "7\u202e",
			Timing: &timing{resolve: time.Microsecond, connect: 1234567, tls: time.Second, firstReply: 999, total: time.Hour}}},
	} {
		if !r.plain() {
			t.Fatalf("%+v does not have the fast path", r)
		}
		encoded := r
		encoded.result = r.forJSON()
		if got, want := string(r.appendJSON(nil)), encodeJSON(encoded); got != want {
			t.Errorf("got\n%swant\n%s", got, want)
		}
	}
}

// TestBatchOneValueALine: bytes after the object are an error on every line, at any distance and after any previous
// line.
func TestBatchOneValueALine(t *testing.T) {
	t.Parallel()
	s := startFakeServer(t, (*fakeServerConn).grantAll)
	const request = `{"command":"authorize","user":"alice"}`
	blanks := strings.Repeat(" ", 600)
	for _, rest := range []string{"garbage", blanks + "garbage", blanks + request, request, "}", "]", ",", ":", " 1", "\t\"x", "\x00", blanks + "{", strings.Repeat(" ", 100_000) + "x"} {
		for _, before := range []string{"", request + "\n", request + blanks + "\n", request + rest + "\n", "{\n"} {
			in := before + request + rest + "\n" + request + blanks + "\t\r\n"
			got := runWith(t, secretsInEnv, in, "batch", s.addr, "-c", "1")
			list := answers(t, got.out)
			n := len(list)
			if got.code != classUsage.exit() || n != strings.Count(in, "\n") || !list[n-1].Granted {
				t.Fatalf("%.99q: got %.999v", in, got)
			}
			if bad := list[n-2]; bad.Granted || bad.Error == nil || bad.Error.Message != "the line has text after its object" {
				t.Errorf("%.99q: got %+v", in, bad)
			}
		}
	}
}

// TestBatchRefuses: a request that the command of its name would refuse is not sent.
func TestBatchRefuses(t *testing.T) {
	t.Parallel()
	l := listen(t)
	for line, want := range map[string]string{
		`{"command":"chpass","user":"alice","new_password":"x","authen_type":"pap"}`:                "chpass needs --authen-type ascii, not pap",
		`{"command":"authenticate","authen_type":"pap"}`:                                            "an empty user needs --authen-type ascii",
		`{"command":"authenticate","user":"alice","service":"enable"}`:                              "service enable is only for the command enable (RFC 8907 section 5.4.2.6)",
		`{"command":"authorize","user":"alice","args":["protocol=ip"]}`:                             "no service among the arguments",
		`{"command":"authorize","user":"alice","require":["foo"]}`:                                  "--require foo is not name=value",
		`{"command":"account","user":"alice","task_id":"a\u001b[2J"}`:                               `argument task_id=a\\x1b[2J is not printable US-ASCII`,
		`{"command":"account","user":"alice","task_id":"1","args":["task_id=2","service=shell"]}`:   "task_id is given more than once",
		`{"command":"chpass","user":"alice"}`:                                                       "new_password is missing or empty",
		`{"command":"chpass","user":"alice","new_password":""}`:                                     "new_password is missing or empty",
		`{"command":"enable","user":"alice","service":"login"}`:                                     "the service of enable must be enable, not login",
		`{"command":"authenticate","user":"alice","service":"magic"}`:                               `service \"magic\" is not one of none login ppp pt rcmd x25 nasi fwproxy`,
		`{"command":"authorize","user":"alice","args":["service="]}`:                                "the service is empty",
		`{"command":"account","user":"alice","args":["service*","cmd=show"]}`:                       "the service is empty",
		`{"command":"account","user":"alice","task_id":""}`:                                         "task_id is empty",
		`{"command":"authenticate","user":"alice","answers":["` + long(65536) + `"]}`:               "user_msg is 65536 bytes, the limit is 65535",
		`{"command":"enable","authen_type":"pap","user":"alice","answers":["` + long(65536) + `"]}`: "user_msg is 65536 bytes, the limit is 65535",
		"{\"command\":\"authorize\",\"user\":\"caf\xe9\"}":                                          "the line is not UTF-8",
	} {
		got := runWith(t, secretsInEnv, line+"\n", "batch", l.Addr().String())
		if got.code != classUsage.exit() || !strings.Contains(got.out, `"message":"`+want+`"`) {
			t.Errorf("%.99s: got %+v, want %q", line, got, want)
		}
	}
	got := runWith(t, secretsInEnv, "show run\n", "authorize", long(256), l.Addr().String(), "--cmd-file", "-")
	got.check(t, classUsage.exit(), ``, `tacacs_plus: user is 256 bytes, the limit is 255\n`)
	checkUntouched(t, l)
}

// TestBatchByteOrderMark: a byte order mark before the first line is ignored.
func TestBatchByteOrderMark(t *testing.T) {
	t.Parallel()
	s := startFakeServer(t, (*fakeServerConn).grantAll)
	got := runWith(t, secretsInEnv, "\ufeff"+requests(2, papLine), "batch", s.addr)
	if n := checkAnswers(t, answers(t, got.out), 2); n != 2 {
		t.Errorf("batch: %+v", got)
	}
	got = runWith(t, secretsInEnv, "\ufeff+ show version\n", "authorize", "u0", s.addr, "--cmd-file", "-")
	if got.code != classGranted.exit() || !strings.HasPrefix(got.out, "PASS_ADD show version\n") {
		t.Errorf("authorize: %+v", got)
	}
}

// TestBatchNotJSON: the message for a line that is not a request tells what is wrong in terms of JSON. For one that is not
// JSON it shows where that ends to be, and none of its characters.
func TestBatchNotJSON(t *testing.T) {
	t.Parallel()
	l := listen(t)
	for _, tt := range []struct{ line, message, hint string }{
		{`authenticate alice`, "the line is not JSON: unexpected character at column 1", ""},
		{`{"command":"authorize" "user":"alice"}`, "the line is not JSON: unexpected character at column 24", ""},
		{`{"user":"é","command":"authorize",}`, "the line is not JSON: unexpected character at column 35", ""},
		{`{'command':'authorize'}`, "the line is not JSON: unexpected character at column 2", "use double quotes"},
		{"{\"user\":\"a\tb\"}", "the line is not JSON: unexpected character at column 11", ""},
		{`{"password":"S3cr"et"}`, "the line is not JSON: unexpected character at column 19", ""},
		{`{`, "the line is not JSON: it ends too early", "write each request on one line"},
		{`{"command":"authorize","user":"ali`, "the line is not JSON: it ends too early", "write each request on one line"},
		{`{"command":"authorize","user":"alice"} {`, "the line has text after its object", ""},
		{`{"command":"authorize","user":1001}`, "user is a JSON number, not a string", "put the value in quotes"},
		{`{"command":"authorize","port":true}`, "port is a JSON bool, not a string", "put the value in quotes"},
		{`{"command":"authorize","user":["alice"]}`, "user is a JSON array, not a string", ""},
		{"{\"command\":\"authorize\",\"user\":\"\xff\"}", "the line is not UTF-8", ""},
		{"\ufeff\ufeff{}", "the line is not JSON: unexpected character at column 1", ""},
		{`[]`, "the line is a JSON array, not an object", ""},
		{`7`, "the line is a JSON number, not an object", ""},
		{`{"user":{}}`, "user is a JSON object, not a string", ""},
		{`{"priv_lvl":"1"}`, "priv_lvl is a JSON string, not an integer", ""},
		{`{"priv_lvl":1.5}`, "priv_lvl is a JSON number 1.5, not an integer", ""},
		{`{"args":"x"}`, "args is a JSON string, not a list of strings", ""},
		{`{"args":[1]}`, "args is a JSON number, not a string", "put the value in quotes"},
		{`{"colour":"red"}`, `unknown field "colour"`, ""},
	} {
		// The position is that in the line, however many lines are before it.
		got := runWith(t, secretsInEnv, "1\n"+`{"command":"none"}`+"\n"+tt.line+"\n", "batch", l.Addr().String())
		list := answers(t, got.out)
		if got.code != classUsage.exit() || len(list) != 3 || list[2].Error == nil || *list[2].Error != (problem{"usage", tt.message, tt.hint}) {
			t.Errorf("%s: got %s", tt.line, got.out)
		}
	}
	checkUntouched(t, l)
}

// TestBatchLoneSurrogates: an escape that is half of a character is an error in every field, since what is sent would differ.
func TestBatchLoneSurrogates(t *testing.T) {
	t.Parallel()
	l := listen(t)
	const hint = "write a character above U+FFFF as two escapes, or as UTF-8"
	for _, text := range []string{`\ud800`, `\uDFFF`, `a\ud83d`, `\ud83da`, `\ud83d\u0041`, `\ude00\ud83d`, `\ud83d\ud83d\ude00`, `\\\ud83d`, `\ud83d\n\ude00`, `\ud83d\ude00\ude00`} {
		for field, rest := range map[string]string{
			"user": `"user":"TEXT"`, "password": `"user":"a","password":"TEXT"`, "new_password": `"new_password":"TEXT"`, "answers": `"answers":["x","TEXT"]`,
			"args": `"args":["service=shell","TEXT"]`, "cmd": `"cmd":"TEXT"`, "id": `"id":{"x":["TEXT"]}`, "port": `"port":"TEXT"`, "expect": `"expect":"TEXT"`, "task_id": `"task_id":"TEXT"`,
		} {
			got := runWith(t, secretsInEnv, `{"command":"authenticate",`+strings.Replace(rest, "TEXT", text, 1)+"}\n", "batch", l.Addr().String())
			want := problem{"usage", field + " is not valid Unicode: it has a lone surrogate", hint}
			if list := answers(t, got.out); got.code != classUsage.exit() || len(list) != 1 || list[0].Error == nil || *list[0].Error != want {
				t.Errorf("%s in %s: got %s", text, field, got.out)
			}
		}
	}
	checkUntouched(t, l)
	s := serveWith(t, "--user", `b:😀\ud83d�`)
	in := `{"command":"authenticate","user":"b","password":"\ud83d\uDE00\\ud83d\ufffd"}`
	runWith(t, secretsInEnv, in, "batch", s.addr).check(t, classGranted.exit(), `.*"status":"PASS".*\n`, `tacacs_plus: 1 request, 1 granted\n`)
}

// TestBatchTextHasNoLineEnds: no result contains a control character, since some programs treat them as the end of a
// line.
func TestBatchTextHasNoLineEnds(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	const bad = `a\r\u007f\u0085\u2028b`
	in := `{"id":"` + bad + `","command":"` + bad + `","user":"alice","expect":"` + bad + `"}` + "\n" +
		"{\"id\":1,\r\"command\":\"authorize\",\"user\":\"alice\",\"expect\":\"" + bad + "\"}\n" +
		"{\"id\":[1,\r\"\x7f\"],\"command\":\"authenticate\",\"authen_type\":\"pap\",\"user\":\"alice\",\"expect\":\"" + bad + "\"}\n"
	got := runWith(t, secretsInEnv, in, "batch", s.addr)
	if len(answers(t, got.out)) != 3 || strings.Count(got.out, "\n") != 3 {
		t.Errorf("got %q", got.out)
	}
	for _, r := range strings.ReplaceAll(got.out, "\n", "") {
		if r < ' ' || r > '~' {
			t.Errorf("%U in %q", r, got.out)
		}
	}
}

// TestBatchBacklogBound: while one request hangs, the input in memory is limited. In the end all requests are answered.
func TestBatchBacklogBound(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	s := startFakeServer(t, func(c *fakeServerConn) {
		for q := range c.requests {
			if q.user != "u1" { // the first reply grants single-connection mode
				c.Write(c.grantReply(q))
				continue
			}
			go func() {
				<-hang
				c.Write(c.grantReply(q))
			}()
		}
	})
	const n = maxBacklogBytes/maxLine + 8
	line := fmt.Sprintf(authorLine, `"user":"more"`) + strings.Repeat(" ", maxLine-200) + "\n"
	in := &counted{text: io.MultiReader(strings.NewReader(requests(2, authorLine)), &generator{line: line, n: n})}
	var out inFlightMeter
	ended := make(chan exitCode, 1)
	go func() {
		ended <- run(t.Context(), []string{"batch", s.addr, "--timeout", "1m"}, stdio{in: in, out: &out, err: io.Discard, env: func(name string) string { return secretsInEnv[name] }})
	}()
	const most = maxBacklogBytes + 3*maxLine // one line over the limit, and the read buffers
	for last, stable, began := int64(-1), 0, time.Now(); stable < 5 && time.Since(began) < patience; stable++ {
		time.Sleep(50 * time.Millisecond)
		if now := in.n.Load(); now != last || now < maxBacklogBytes {
			last, stable = now, 0
		}
	}
	if got := in.n.Load(); got > most {
		t.Errorf("while one request hangs, %d bytes are held, the limit is %d", got, int64(most))
	}
	close(hang)
	if code := <-ended; code != classGranted.exit() || out.n != n+2 {
		t.Errorf("exit code %d, %d results", code, out.n)
	}
}

// TestBatchBacklogCountsResults: while too many results wait to be printed, a request starts only if no other is under
// way.
func TestBatchBacklogCountsResults(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		held     int
		inFlight int
		want     bool
	}{{maxBacklogBytes + 1, 1, false}, {maxBacklogBytes, 1, true}, {maxBacklogBytes + 1, 0, true}} {
		s := &orderedRun{read: make(chan *requestLine, 1), inFlight: tt.inFlight}
		s.backlog.bytes = tt.held
		s.read <- new(requestLine)
		if j, _, more := s.nextJob(time.Now()); (j != nil) != tt.want || !more {
			t.Errorf("%d bytes, %d under way: %t, %t", tt.held, tt.inFlight, j != nil, more)
		}
	}
}

// TestBatchEndsUnread: an interruption ends the run even if its output is not read.
func TestBatchEndsUnread(t *testing.T) {
	t.Parallel()
	s := startFakeServer(t, (*fakeServerConn).grantAll)
	ctx, interrupt := context.WithCancelCause(t.Context())
	defer interrupt(nil)
	_, unread := io.Pipe()
	var messages lockedBuffer
	ended := make(chan exitCode, 1)
	go func() {
		ended <- run(ctx, []string{"batch", s.addr}, stdio{in: strings.NewReader(requests(5, papLine)), out: unread, err: &messages, env: func(name string) string { return secretsInEnv[name] }})
	}()
	for s.asked("u0") == 0 {
		time.Sleep(time.Millisecond)
	}
	interrupt(interruptedBy(syscall.SIGTERM))
	code := await(t, ended, "the program ends")
	if code != 128+exitCode(syscall.SIGTERM) || !strings.Contains(messages.String(), "write the results: the output is blocked") {
		t.Errorf("exit code %d: %s", code, messages.String())
	}
}
