package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// grantedLogin has the lines of a login with every step granted.
const grantedLogin = `authenticate: PASS\nauthorize: PASS_ADD priv-lvl=15\nstart: SUCCESS task_id=[0-9a-f]{16}\nstop: SUCCESS task_id=[0-9a-f]{16}\n`

// A loginJSON is the object of a login.
type loginJSON struct {
	result
	TimingMS map[string]float64 `json:"timing_ms"` // in place of that of the result, as are the steps
	Steps    []struct {
		Step, Cmd string
		result
		TimingMS map[string]float64 `json:"timing_ms"`
	} `json:"steps"`
}

// TestLoginSteps: the lines and the exit code of logins, and what the server got.
func TestLoginSteps(t *testing.T) {
	t.Parallel()
	const password = "alice authenticate ascii PASS\n"
	const shell = password + `alice authorize service=shell cmd= PASS_ADD\n`
	record := func(kind, args string) string {
		times := `start_time=(\d+)`
		if kind == "stop" {
			times += ` stop_time=(\d+) elapsed_time=(\d+)`
		}
		return "alice account " + kind + " task_id=([0-9a-f]{16}) " + times + " timezone=UTC " + args + " SUCCESS\n"
	}
	whole := func(between string) string {
		return shell + record("start", "service=shell cmd=") + between + record("stop", "service=shell cmd=")
	}
	for _, tt := range []struct {
		line     string
		code     exitCode
		out, err string
		log      string
	}{
		{"login alice AT", 0, grantedLogin, "", whole("")},
		{"login alice AT -q", 0, "", "", whole("")},
		{"login alice AT --cmd show_version --cmd reload --cmd show_clock", 1,
			`authenticate: PASS\nauthorize: PASS_ADD priv-lvl=15\nstart: SUCCESS task_id=\w+\ncmd show_version: PASS_ADD\n` +
				`cmd reload: FAIL: command not permitted\ncmd show_clock: PASS_ADD\nstop: SUCCESS task_id=\w+\n`, "",
			whole("alice authorize show_version PASS_ADD\nalice authorize reload FAIL: command not permitted\nalice authorize show_clock PASS_ADD\n")},
		{"login alice AT --cr --cmd show", 0, `(?s).*\ncmd show: PASS_ADD\nstop: .*`, "", whole(`alice authorize "show <cr>" PASS_ADD\n`)},
		{"login alice AT --password wrong", 1, `authenticate: FAIL: .*\n`, "", "alice authenticate ascii (ABORT: no answer to the prompt|ABANDONED)\n"},
		{"login alice AT service=ppp protocol=ip", 1, `authenticate: PASS\nauthorize: FAIL: service not permitted\n`, "",
			password + "alice authorize service=ppp protocol=ip FAIL: service not permitted\n"},
		{"login alice AT -c service=shell cmd= shell:roles*admin", 0, grantedLogin, "",
			password + `alice authorize service=shell cmd= shell:roles\*admin PASS_ADD\n` +
				record("start", `service=shell cmd= shell:roles\*admin`) + record("stop", `service=shell cmd= shell:roles\*admin`)},
		{"login alice AT --as ios --cmd show", 0, `(?s).*\ncmd show: PASS_ADD\nstop: .*`, "", password + `alice authorize service=shell cmd\* PASS_ADD\n` +
			record("start", "service=shell cmd=") + `alice authorize "show <cr>" PASS_ADD\n` + record("stop", "service=shell cmd=")},
		{"login alice AT --as nxos", 0, grantedLogin, "", `alice authenticate pap PASS\nalice authorize service=shell cmd= cisco-av-pair\* shell:roles\* PASS_ADD\n` +
			record("start", "service=shell cmd=") + record("stop", "service=shell cmd=")},
		{"login alice AT --require priv-lvl=15", 0, grantedLogin, "", whole("")},
		{"login alice AT --require priv-lvl=7", 1, `authenticate: PASS\nauthorize: PASS_ADD priv-lvl=15 \(required priv-lvl=7 not granted \(got priv-lvl=15\)\)\n`,
			`tacacs_plus: required priv-lvl=7 not granted \(got priv-lvl=15\)\n`, shell},
	} {
		t.Run(tt.line, func(t *testing.T) {
			t.Parallel()
			s := serveWith(t, "--permit", "^show", "--deny", ".")
			s.ask(t, tt.line).check(t, tt.code, tt.out, tt.err)
			log := s.lines(t)
			m := regexp.MustCompile("^" + tt.log + "$").FindStringSubmatch(log)
			if m == nil {
				t.Fatalf("the server got\n%s\nwant\n%s", log, tt.log)
			}
			// task_id and start_time of START, and of STOP with stop_time and elapsed_time.
			if len(m) == 8 && (m[1] != m[3] || m[2] != m[4] || m[5] < m[4] || m[6] == "") {
				t.Errorf("the records do not belong together:\n%s", log)
			}
		})
	}
}

// TestLoginFields: all requests have the fields that the authentication ended with.
func TestLoginFields(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		line string
		want commonFields
	}{
		{"login alice AT", commonFields{0, authenASCII, authenServiceLogin, "alice", "tty0", "127.0.0.1"}},
		{"login alice AT -t mschapv2 -l 7 -P vty1 -r 192.0.2.1 -s ppp", commonFields{7, authenMSCHAPv2, 3, "alice", "vty1", "192.0.2.1"}},
		{"login '' AT --answer bob", commonFields{0, authenASCII, authenServiceLogin, "bob", "tty0", "127.0.0.1"}},
		{"login restart AT -t chap", commonFields{0, authenMSCHAP, authenServiceLogin, "restart", "tty0", "127.0.0.1"}},
	} {
		t.Run(tt.line, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			var got []commonFields
			s := startFakeServer(t, func(c *fakeServerConn) {
				for q := range c.requests {
					var reply message
					mu.Lock()
					switch m := q.message.(type) {
					case *authorRequest:
						got = append(got, m.commonFields)
						if m.method != authenMethodTACACSPlus {
							t.Errorf("authen_method %v", m.method)
						}
					case *acctRequest:
						got = append(got, m.commonFields)
						if m.method != authenMethodTACACSPlus {
							t.Errorf("authen_method %v", m.method)
						}
					case *authenStart:
						if m.user == "" {
							reply = &authenReply{status: authenGetUser}
						}
						if m.user == "restart" && m.typ == authenCHAP {
							reply = &authenReply{status: authenRestart, data: string(rune(authenMSCHAP))}
						}
					case *authenContinue:
						reply = &authenReply{status: authenPass}
					}
					mu.Unlock()
					if reply != nil {
						c.Write(c.reply(q, reply))
					} else {
						c.Write(c.grantReply(q))
					}
				}
			})
			if r := runWith(t, secretsInEnv, "", split(tt.line+" --cmd show", "AT", s.addr)...); r.code != 0 {
				t.Errorf("got %+v", r)
			}
			mu.Lock()
			defer mu.Unlock()
			if want := []commonFields{tt.want, tt.want, tt.want, tt.want}; !slices.Equal(got, want) { // shell, start, cmd, stop
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}

// A loginServer answers the steps of a login by a script, and keeps what it got.
type loginServer struct {
	*fakeServer
	mu  sync.Mutex
	got []string
}

// steps returns the steps that the server got.
func (s *loginServer) steps() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.got, " ")
}

// startLoginServer starts a loginServer. answers are what it does at a step, such as "start=error": error, fail, follow or
// close; it grants the others. onStep is called first, and may be nil.
func startLoginServer(t *testing.T, onStep func(step string), answers ...string) *loginServer {
	t.Helper()
	s := new(loginServer)
	s.fakeServer = startFakeServer(t, func(c *fakeServerConn) {
		for q := range c.requests {
			step := "authenticate"
			bad := map[string]message{"error": &authenReply{status: authenError}, "fail": &authenReply{status: authenFail}}
			switch m := q.message.(type) {
			case *authenStart:
				if m.user == "" { // the probe of check
					c.Write(c.reply(q, &authenReply{status: authenGetUser}))
					continue
				}
			case *authenContinue:
				return
			case *authorRequest:
				step = "authorize"
				if cmd := argValue(m.args, "cmd"); cmd != "" {
					step = cmd
				}
				bad = map[string]message{"error": &authorResponse{status: authorError}, "fail": &authorResponse{status: authorFail}, "unknown": &authorResponse{status: authorPassAdd, args: []string{"magic=1"}}}
			case *acctRequest:
				step = m.flags.String()
				bad = map[string]message{"error": &acctReply{status: acctError}, "follow": &acctReply{status: acctFollow}}
			}
			s.mu.Lock()
			s.got = append(s.got, step)
			s.mu.Unlock()
			if onStep != nil {
				onStep(step)
			}
			answer := ""
			for _, a := range answers {
				if name, value, _ := strings.Cut(a, "="); name == step {
					answer = value
				}
			}
			switch {
			case answer == "close":
				return
			case answer != "":
				c.Write(c.reply(q, bad[answer]))
			default:
				c.Write(c.grantReply(q))
			}
		}
	})
	return s
}

// TestLoginFailures: a step that is not granted ends the login, but STOP follows a START that may be written. Each step
// begins with the server of the one before, and goes to the next one of the list as any request does.
func TestLoginFailures(t *testing.T) {
	t.Parallel()
	const all = "authenticate authorize start show stop"
	for _, tt := range []struct {
		first, second string // answers of the servers; second is "down" for one that refuses connections
		options       string
		code          exitCode
		status        string // of the login
		steps         string // with their statuses
		gotFirst      string // by the servers
		gotSecond     string
	}{
		{"", "", "", 0, "PASS", "authenticate=PASS authorize=PASS_ADD start=SUCCESS cmd=PASS_ADD stop=SUCCESS", all, ""},
		{"authenticate=error", "", "", 0, "PASS", "authenticate=PASS authorize=PASS_ADD start=SUCCESS cmd=PASS_ADD stop=SUCCESS", "authenticate", all},
		{"authorize=error", "", "", 0, "PASS", "authenticate=PASS authorize=PASS_ADD start=SUCCESS cmd=PASS_ADD stop=SUCCESS", "authenticate authorize", "authorize start show stop"},
		{"authenticate=error", "show=error", "", 0, "PASS", "authenticate=PASS authorize=PASS_ADD start=SUCCESS cmd=PASS_ADD stop=SUCCESS", "authenticate show stop", "authenticate authorize start show"},
		{"authenticate=fail", "", "", 1, "FAIL", "authenticate=FAIL", "authenticate", ""},
		{"authenticate=error", "authenticate=error", "", 3, "ERROR", "authenticate=ERROR", "authenticate", "authenticate"},
		{"authorize=fail", "", "", 1, "FAIL", "authenticate=PASS authorize=FAIL", "authenticate authorize", ""},
		{"authorize=close", "down", "", 4, "", "authenticate=PASS authorize=", "authenticate authorize", ""},
		{"authorize=unknown", "", "", 0, "PASS", "authenticate=PASS authorize=PASS_ADD start=SUCCESS cmd=PASS_ADD stop=SUCCESS", all, ""},
		{"authorize=unknown", "", "--strict", 1, "PASS_ADD", "authenticate=PASS authorize=PASS_ADD", "authenticate authorize", ""},
		{"show=unknown", "", "--strict", 1, "PASS_ADD", "authenticate=PASS authorize=PASS_ADD start=SUCCESS cmd=PASS_ADD stop=SUCCESS", all, ""},
		{"start=error", "down", "", 4, "", "authenticate=PASS authorize=PASS_ADD start= stop=SUCCESS", "authenticate authorize start stop", ""},
		{"start=error", "start=error", "", 3, "ERROR", "authenticate=PASS authorize=PASS_ADD start=ERROR stop=SUCCESS", "authenticate authorize start", "start stop"},
		{"start=close", "", "", 4, "", "authenticate=PASS authorize=PASS_ADD start= stop=SUCCESS", "authenticate authorize start stop", ""},
		{"start=follow", "", "", 1, "FOLLOW", "authenticate=PASS authorize=PASS_ADD start=FOLLOW stop=SUCCESS", "authenticate authorize start stop", ""},
		{"show=fail", "", "", 1, "FAIL", "authenticate=PASS authorize=PASS_ADD start=SUCCESS cmd=FAIL stop=SUCCESS", all, ""},
		{"show=error", "show=error", "", 3, "ERROR", "authenticate=PASS authorize=PASS_ADD start=SUCCESS cmd=ERROR stop=SUCCESS", "authenticate authorize start show", "show stop"},
		{"stop=error", "stop=error", "", 3, "ERROR", "authenticate=PASS authorize=PASS_ADD start=SUCCESS cmd=PASS_ADD stop=ERROR", all, "stop"},
		{"show=fail stop=close", "", "", 1, "FAIL", "authenticate=PASS authorize=PASS_ADD start=SUCCESS cmd=FAIL stop=", all, ""},
	} {
		t.Run(fmt.Sprint(tt.first, " then ", tt.second, tt.options), func(t *testing.T) {
			t.Parallel()
			first := startLoginServer(t, nil, strings.Fields(tt.first)...)
			second := new(loginServer)
			addr := refusedAddr(t)
			if tt.second != "down" {
				second = startLoginServer(t, nil, strings.Fields(tt.second)...)
				addr = second.addr
			}
			r := runWith(t, secretsInEnv, "", split("login alice FIRST,SECOND -t pap --json --cmd show "+tt.options, "FIRST", first.addr, "SECOND", addr)...)
			var got loginJSON
			if err := json.Unmarshal([]byte(r.out), &got); err != nil || r.code != tt.code || got.ExitCode != tt.code || got.Granted != (tt.code == 0) || got.Status != tt.status || got.Command != "login" || got.User != "alice" {
				t.Errorf("%v in %+v", err, r)
			}
			var steps []string
			for _, s := range got.Steps {
				steps = append(steps, s.Step+"="+s.Status)
			}
			if s := strings.Join(steps, " "); s != tt.steps {
				t.Errorf("steps %s\nwant  %s", s, tt.steps)
			}
			if first.steps() != tt.gotFirst || second.steps() != tt.gotSecond {
				t.Errorf("the servers got %q and %q, want %q and %q", first.steps(), second.steps(), tt.gotFirst, tt.gotSecond)
			}
		})
	}
}

// TestLoginStartNotSent: without a server that gets START there is no STOP.
func TestLoginStartNotSent(t *testing.T) {
	t.Parallel()
	l := listen(t)
	s := startFakeServerOn(t, l, func(c *fakeServerConn) {
		q := c.readRequest()
		if c.number == 2 {
			stopListening(t, l)
		}
		c.Write(c.grantReply(q))
		<-t.Context().Done() // no other test gets the port as long as one of its connections is open
	})
	r := runWith(t, secretsInEnv, "", "login", "alice", s.addr, "-t", "pap")
	r.check(t, 4, `authenticate: PASS: alice\nauthorize: PASS_ADD: alice\nstart: error: connect to .*: connection refused\n`, `tacacs_plus: connect to .*: connection refused\ntacacs_plus: hint: .*\n`)
}

// TestLoginConnections: with --single-connect all steps are on one connection.
func TestLoginConnections(t *testing.T) {
	t.Parallel()
	for option, want := range map[string]int{"-v": 4, "--single-connect": 1} {
		for _, all := range []string{"--retries=0", "--all"} {
			s := startLoginServer(t, nil)
			if r := runWith(t, secretsInEnv, "", "login", "alice", s.addr, "-t", "pap", option, all); r.code != 0 || s.connections() != want {
				t.Errorf("%s %s: %d connections, want %d: %+v", option, all, s.connections(), want, r)
			}
		}
	}
}

// TestLoginInterrupted: STOP follows a START even after an interruption. One during STOP counts too.
func TestLoginInterrupted(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ at, steps, out string }{
		{"authorize", "authenticate authorize", `authenticate: PASS: alice\nauthorize: error: interrupted\n`},
		{"start", "authenticate authorize start stop", `(?s).*\nstart: error: interrupted\nstop: SUCCESS: alice task_id=\w+\n`},
		{"show", "authenticate authorize start show stop", `(?s).*\ncmd show: error: interrupted\nstop: SUCCESS: alice task_id=\w+\n`},
		{"stop", "authenticate authorize start show clock stop", `(?s).*\n(127\S+: )?stop: error: no reply from \S+ within 2s\n`},
	} {
		for _, option := range []string{"-t pap", "-t pap --single-connect"} {
			interrupt, ended := make(chan struct{}), make(chan struct{})
			s := startLoginServer(t, func(step string) {
				if step == tt.at {
					close(interrupt)
					<-ended // no reply
				}
			})
			if tt.at == "stop" && option == "-t pap" {
				option += " --all"
			}
			r := runUntil(t, interrupt, "login alice AT --cmd show --cmd clock --timeout 2 "+option, "AT", s.addr)
			close(ended)
			r.check(t, 130, tt.out, `(tacacs_plus: .*\n)*tacacs_plus: interrupted\n`)
			if s.steps() != tt.steps {
				t.Errorf("interrupted at %s: the server got %q, want %q", tt.at, s.steps(), tt.steps)
			}
		}
	}
}

// TestLoginJSON: the object is that of the step that decided, with all steps, and the time of all.
func TestLoginJSON(t *testing.T) {
	t.Parallel()
	s := serveWith(t, "--permit", "^show", "--deny", ".", "--arg", "magic=1")
	var got loginJSON
	r := s.ask(t, "login alice AT --json --cmd reload")
	if err := json.Unmarshal([]byte(r.out), &got); err != nil || len(got.Steps) != 5 {
		t.Fatalf("%v in %+v", err, r)
	}
	var total float64
	for i, want := range []struct{ step, cmd, command, status string }{
		{"authenticate", "", "authenticate", "PASS"}, {"authorize", "", "authorize", "PASS_ADD"}, {"start", "", "account", "SUCCESS"},
		{"cmd", "reload", "authorize", "FAIL"}, {"stop", "", "account", "SUCCESS"},
	} {
		s := got.Steps[i]
		if s.Step != want.step || s.Cmd != want.cmd || s.Command != want.command || s.Status != want.status || s.User != "alice" || s.Server == "" ||
			s.Granted != (want.status != "FAIL") || s.Granted != (s.ExitCode == 0) || (s.Error != nil) != (want.status == "FAIL") || len(s.Warnings) > 0 {
			t.Errorf("step %+v, want %+v", s, want)
		}
		total += s.TimingMS["total"]
	}
	if got.Command != "login" || got.Status != "FAIL" || got.Granted || got.ExitCode != 1 || got.ServerMsg != "command not permitted" || got.Error.Message != "FAIL: command not permitted" || got.Time != got.Steps[0].Time {
		t.Errorf("got %s", r.out)
	}
	if got.Steps[2].TaskID == "" || got.Steps[2].TaskID != got.Steps[4].TaskID || argValue(got.Steps[4].Arguments.Request, "task_id") != got.Steps[4].TaskID {
		t.Errorf("task_ids in %s", r.out)
	}
	if d := got.TimingMS["total"] - total; d < -0.01 || d > 0.01 { // rounded to microseconds
		t.Errorf("total %v, want %v", got.TimingMS["total"], total)
	}
	if len(got.Warnings) != 1 || got.Warnings[0].Name != "mandatory-argument" {
		t.Errorf("warnings %+v", got.Warnings)
	}
	if r := s.ask(t, "login alice AT --json --no-warn mandatory-argument"); strings.Contains(r.out, "warnings") || r.err != "" || !strings.Contains(r.out, `"status":"PASS","granted":true,"exit_code":0,`) || !strings.Contains(r.out, `"response":["magic=1"],"effective":["service=shell","cmd=","magic=1"]},"timing_ms"`) {
		t.Errorf("got %+v", r)
	}
}

// TestLoginVerbose: -v has the facts of every step below its line.
func TestLoginVerbose(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	out := `authenticate: PASS\n  status: PASS\n(  .*\n)+authorize: PASS_ADD priv-lvl=15\n  status: PASS_ADD\n(  .*\n)+` +
		`start: SUCCESS task_id=(.*)\n  status: SUCCESS\n  task_id: .*\n(  .*\n)+stop: SUCCESS task_id=(.*)\n  status: SUCCESS\n(  .*\n)+`
	s.ask(t, "login alice AT -v").check(t, 0, out, "")
	name := regexp.QuoteMeta(s.addr) + ": "
	s.ask(t, "login alice AT -v --all").check(t, 0, name+strings.NewReplacer("authorize:", name+"authorize:", "start:", name+"start:", "stop:", name+"stop:").Replace(out), "")
}

// TestLoginAll: --all logs in at every server, each with a task of its own, and compares the steps of servers with TLS and
// without.
func TestLoginAll(t *testing.T) {
	t.Parallel()
	good, strict, down := serveWith(t, "--permit", "."), serveWith(t, "--permit", "^show", "--deny", ".", "--arg", "priv-lvl=1"), refusedAddr(t)
	r := runWith(t, secretsInEnv, "", "login", "alice", strings.Join([]string{good.addr, strict.addr, down}, ","), "--all", "--cmd", "reload")
	m := regexp.MustCompile(`^A: authenticate: PASS\nA: authorize: PASS_ADD priv-lvl=15\nA: start: SUCCESS task_id=(\w+)\nA: cmd reload: PASS_ADD\nA: stop: SUCCESS task_id=(\w+)\n` +
		`B: authenticate: PASS\nB: authorize: PASS_ADD priv-lvl=1\nB: start: SUCCESS task_id=(\w+)\nB: cmd reload: FAIL: command not permitted\nB: stop: SUCCESS task_id=(\w+)\n` +
		`C: authenticate: error: .*: connection refused\n$`).FindStringSubmatch(strings.NewReplacer(good.addr, "A", strict.addr, "B", down, "C").Replace(r.out))
	if m == nil || m[1] != m[2] || m[3] != m[4] || m[1] == m[3] || r.code != 4 {
		t.Errorf("got %+v", r)
	}

	dir := t.TempDir()
	secure := serving(t, new(lockedBuffer), "serve", "--listen", "127.0.0.1:0", "--user", "alice:"+testPassword, "--permit", ".", "--tls", "--write-cacert", dir+"/ca.pem")
	for _, tt := range []struct {
		clear *testServer
		code  exitCode
		want  string
	}{
		{good, 0, "same reply with TLS and without\n"},
		{strict, 1, "authorize arguments differs: tls T priv-lvl=15; tcp C priv-lvl=1\n" +
			"cmd reload status differs: tls T PASS_ADD; tcp C FAIL\ncmd reload server_msg differs: tls T none; tcp C command not permitted\n"},
	} {
		r := runWith(t, secretsInEnv, "", "login", "alice", "tls://"+secure.addr+",tcp://"+tt.clear.addr, "--all", "--cacert", dir+"/ca.pem", "--cmd", "reload")
		out := strings.NewReplacer(secure.addr, "T", tt.clear.addr, "C").Replace(r.out)
		if _, compared, _ := strings.Cut(out, "C: stop: SUCCESS"); r.code != tt.code || !strings.HasSuffix(compared, "\n"+tt.want) || strings.Count(compared, "\n") != 1+strings.Count(tt.want, "\n") {
			t.Errorf("got %d\n%s\nwant %d, the end %s", int(r.code), out, int(tt.code), tt.want)
		}
	}
}

// TestLoginUsage: a mistake in the later steps is found before the secrets are read, and nothing is sent.
func TestLoginUsage(t *testing.T) {
	t.Parallel()
	l := listen(t)
	for line, want := range map[string]string{
		"login alice AT --cmd ''":                             "--cmd is blank\ntacacs_plus: hint: leave --cmd out for a shell session",
		"login alice AT version --cmd show":                   "argument version has no separator: .*\ntacacs_plus: hint: quote the command line: --cmd 'show version'",
		"login alice AT protocol=ip":                          "no service among the arguments\n.*",
		"login alice AT --require priv-lvl":                   `--require priv-lvl is not name=value`,
		"login alice AT --cmd " + long(300):                   `argument cmd=x.* is 304 bytes, the limit is 255`,
		"login alice AT --chap-id 3":                          `--chap-id and --chap-challenge cannot be used with --authen-type ascii`,
		"login alice AT -t not_set":                           `type not_set is only for authorize and account .*`,
		"login alice AT task_id=1 task_id=2 -c service=shell": `task_id is given more than once`,
		"login alice AT --as junos --cmd show":                "--cmd cannot be used with --as junos: .*\n.*",
		"login alice AT --task-id 7":                          "unknown option --task-id\n.*",
		"login alice":                                         "HOST is missing\n.*",
		"check AT --login":                                    `--login needs USER`,
	} {
		runWith(t, nil, "", split(line, "AT", l.Addr().String())...).check(t, 2, "", "tacacs_plus: "+want+"\n")
	}
	checkUntouched(t, l)
}

// TestLoginBatch: a login is one line of batch, among other requests.
func TestLoginBatch(t *testing.T) {
	t.Parallel()
	s := serveWith(t, "--permit", "^show", "--deny", ".", "--user", "bob:"+testPassword)
	requests := `{"command":"login","user":"alice","id":7}
{"command":"authorize","user":"bob","cmd":"show version"}
{"command":"login","user":"bob","authen_type":"chap","cmds":["show","reload"],"cmd":"show clock","expect":"FAIL"}
{"command":"login","user":"alice","password":"wrong","authen_type":"pap","expect":"FAIL"}
{"command":"login","user":"alice","args":["service=ppp"],"expect":"PASS"}
{"command":"login","user":"alice","require":["priv-lvl=1"],"expect":"PASS_ADD"}
{"command":"login","user":"alice","cmds":[""]}
{"command":"login","user":"alice","cmds":"show"}
{"command":"login","user":"alice","args":["shell"]}
`
	want := []string{
		`7 PASS 0 <nil> authenticate=PASS authorize=PASS_ADD start=SUCCESS stop=SUCCESS`,
		`<nil> PASS_ADD 0 <nil>`,
		`<nil> FAIL 1 true authenticate=PASS authorize=PASS_ADD start=SUCCESS show_clock=PASS_ADD show=PASS_ADD reload=FAIL stop=SUCCESS`,
		`<nil> FAIL 1 true authenticate=FAIL`,
		`<nil> FAIL 1 false authenticate=PASS authorize=FAIL`,
		`<nil> PASS_ADD 1 false authenticate=PASS authorize=PASS_ADD`,
		`cmd is blank`,
		`cmds is a JSON string, not a list of strings`,
		`argument shell has no separator: write name=value, or name*value if it is optional`,
	}
	for _, inFlight := range []string{"1", "16"} {
		r := runWith(t, secretsInEnv, requests, "batch", s.addr, "-c", inFlight)
		lines := strings.Split(strings.TrimSuffix(r.out, "\n"), "\n")
		if len(lines) != len(want) || r.code != 2 {
			t.Fatalf("got %+v", r)
		}
		for i, line := range lines {
			var got struct {
				loginJSON
				ID         any
				AsExpected any `json:"as_expected"`
			}
			must(t, json.Unmarshal([]byte(line), &got))
			text := fmt.Sprint(got.ID, " ", got.Status, " ", got.ExitCode, " ", got.AsExpected)
			for _, s := range got.Steps {
				name := s.Step
				if s.Cmd != "" {
					name = strings.ReplaceAll(s.Cmd, " ", "_")
				}
				text += " " + name + "=" + s.Status
			}
			if got.ExitCode == 2 {
				text = got.Error.Message
			}
			if text != want[i] {
				t.Errorf("line %d with %s in flight: got %s, want %s in %s", i+1, inFlight, text, want[i], line)
			}
		}
	}
}

// TestLoginBatchInterrupted: the logins under way end with STOP.
func TestLoginBatchInterrupted(t *testing.T) {
	t.Parallel()
	interrupt, ended := make(chan struct{}), make(chan struct{})
	s := startLoginServer(t, func(step string) {
		if step == "show" {
			close(interrupt)
			<-ended
		}
	})
	in, requests := io.Pipe()
	defer requests.Close()
	go fmt.Fprintln(requests, `{"command":"login","user":"alice","authen_type":"pap","cmds":["show","clock"]}`)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	go func() { <-interrupt; cancel() }()
	var out, stderr lockedBuffer
	code := run(ctx, []string{"batch", s.addr}, stdio{in: in, out: &out, err: &stderr, env: func(name string) string { return secretsInEnv[name] }})
	close(ended)
	if s.steps() != "authenticate authorize start show stop" || code != 130 || !strings.Contains(out.String(), `{"step":"stop",`) {
		t.Errorf("the server got %q; got %d\n%s%s", s.steps(), int(code), out.String(), stderr.String())
	}
}

// TestLoginCheck: check --login has the whole login in place of the authentication, and its time.
func TestLoginCheck(t *testing.T) {
	t.Parallel()
	// The client waits for no reply to the ABORT of its probe, so that the line may come later, or the server ends before.
	probe := regexp.MustCompile(`"" authenticate ascii (ABORT: probe|ABANDONED)\n`)
	const password, shell = "alice authenticate ascii PASS\n", `alice authorize service=shell cmd= PASS_ADD\n`
	const records = `alice account start (.*)\nalice account stop (.*)\n`
	for _, tt := range []struct {
		line string
		code exitCode
		out  string
		log  string
	}{
		{"check alice AT --login", 0, `AT: OK\n  time: .*\n  probe time: .*\n  key: ok\n  single-connect: granted\n  login: PASS\n` +
			`  login authenticate: PASS\n  login authorize: PASS_ADD\n  login start: SUCCESS\n  login stop: SUCCESS\n`, password + shell + records},
		{"check alice AT --login --as ios", 0, `(?s).*  login stop: SUCCESS\n`, password + `alice authorize service=shell cmd\* PASS_ADD\n` + records},
		{"check alice AT --login --cmd show", 0, `(?s).*  login stop: SUCCESS\n  command show: PASS_ADD\n`, password + shell + records + "alice authorize show PASS_ADD\n"},
		{"check alice AT", 0, `(?s).*  login: PASS\n`, password},
		{"check alice AT --login -t pap --password wrong", 1, `AT: FAILED: AT replied to the step authenticate of the login of alice with FAIL: Login incorrect\n(  .*\n)+  login: FAIL\n  login authenticate: FAIL\n`, "alice authenticate pap FAIL: Login incorrect\n"},
	} {
		t.Run(tt.line, func(t *testing.T) {
			t.Parallel()
			s := serveWith(t, "--permit", ".")
			at := regexp.QuoteMeta(s.addr)
			s.ask(t, tt.line).check(t, tt.code, strings.ReplaceAll(tt.out, "AT", at), "")
			log := probe.ReplaceAllString(s.lines(t), "")
			if !regexp.MustCompile("^" + tt.log + "$").MatchString(log) {
				t.Errorf("the server got\n%s\nwant\n%s", log, tt.log)
			}
		})
	}

	failing := startLoginServer(t, nil, "start=error")
	for line, want := range map[string]struct {
		code exitCode
		out  string
	}{
		"check alice AT --login -t pap --nagios": {2, `TACACS\+ CRITICAL: AT replied to the step start of the login of alice with ERROR \|.*\n`},
		"check alice AT --login -t pap --types": {3, `AT: FAILED: AT replied to the step start of the login of alice with ERROR\n(  .*\n)+  login: ERROR\n` +
			`  login authenticate: PASS\n  login authorize: PASS_ADD\n  login start: ERROR\n  login stop: SUCCESS\n  type ascii: PASS\n  type pap: PASS\n(  type .*: PASS\n){3}`},
	} {
		runWith(t, secretsInEnv, "", split(line, "AT", failing.addr)...).check(t, want.code, strings.ReplaceAll(want.out, "AT", regexp.QuoteMeta(failing.addr)), "")
	}

	s := serveWith(t, "--permit", ".", "--reply-delay", "20ms")
	r := s.ask(t, "check alice AT --login -t pap --json")
	var got struct {
		Servers []struct {
			loginJSON
			Login string
		}
	}
	if err := json.Unmarshal([]byte(r.out), &got); err != nil || r.code != 0 || len(got.Servers) != 1 || got.Servers[0].Login != "PASS" || len(got.Servers[0].Steps) != 4 {
		t.Fatalf("%v in %+v", err, r)
	}
	var total float64
	for _, s := range got.Servers[0].Steps {
		total += s.TimingMS["total"]
	}
	if d := got.Servers[0].TimingMS["total"] - total; total < 80 || d < -0.01 || d > 0.01 {
		t.Errorf("the time is %v, that of the steps %v", got.Servers[0].TimingMS["total"], total)
	}
}

// TestLoginCheckChanges: with --interval a step that ends otherwise is a change, although the status is the same.
func TestLoginCheckChanges(t *testing.T) {
	t.Parallel()
	a, b := &serverCheck{Login: "FAIL", plan: new(checkPlan)}, &serverCheck{Login: "FAIL", plan: new(checkPlan)}
	a.Steps, b.Steps = []*step{{Step: "authenticate", result: &result{Status: "FAIL"}}}, []*step{{Step: "authenticate", result: &result{Status: "PASS"}}, {Step: "authorize", result: &result{Status: "FAIL"}}}
	if a.condition() == b.condition() {
		t.Error("no change")
	}
}

// TestLoginAnsible: the answer has the steps, and a login writes records.
func TestLoginAnsible(t *testing.T) {
	t.Parallel()
	s := serveWith(t, "--permit", "^show", "--deny", ".")
	for _, tt := range []struct {
		task    string
		changed bool
		steps   int
		msg     string
	}{
		{`{"command": "login", LOGIN, "cmd": ["show version"]}`, true, 5, "5/5 granted"},
		{`{"command": "login", LOGIN, "cmd": ["reload", "show"], "authen_type": "pap"}`, true, 6, "1/6 not granted: cmd: FAIL: command not permitted"},
		{`{"command": "login", LOGIN, "_ansible_check_mode": true}`, false, 0, "check mode: nothing was sent"},
		{`{"command": "login", LOGIN, "authen_type": "pap", "args": ["service=none"]}`, false, 2, "1/2 not granted: authorize: FAIL: service not permitted"},
		{`{"command": "check", LOGIN, "login": true}`, true, 0, s.addr + ": OK\n"},
		{`{"command": "check", LOGIN, "login": true, "_ansible_check_mode": true}`, false, 0, "check mode: nothing was sent"},
	} {
		got := play(t, tt.task, "AT", s.addr)
		steps, _ := got.all["steps"].([]any)
		if got.Changed != tt.changed || len(steps) != tt.steps || !strings.HasPrefix(got.Msg, tt.msg) || got.Failed != strings.Contains(tt.msg, "not granted") {
			t.Errorf("%s: got %+v", tt.task, got)
		}
	}
}
