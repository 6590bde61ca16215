package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// TestAll checks the results of all servers, in their order, and the exit code of the worst. Only DENY
// knows bob, ERR replies ERROR, KEY has another key, and REFUSED refuses connections.
func TestAll(t *testing.T) {
	t.Parallel()
	good, deny := serveWith(t).addr, serveWith(t, "--user", "bob:"+testPassword).addr
	restart := serveWith(t, "--user", "bob:"+testPassword, "--fault", "restart").addr
	erring, key, refused := serveWith(t, "--fault", "error").addr, serveWith(t, "--fault", "wrong-key").addr, refusedAddr(t)
	pairs := []string{"GOOD", good, "DENY", deny, "RESTART", restart, "ERR", erring, "KEY", key, "REFUSED", refused}
	const login, hint = "authenticate bob ", `tacacs_plus: hint: `
	const noConnection = `tacacs_plus: connect to REFUSED: connection refused\n` + hint + `REFUSED: check the port: 49.*\n`
	for _, tt := range []struct {
		line     string
		code     exitCode
		out, err string
	}{
		{login + "DENY --all", 0, `DENY: PASS\n`, ``},
		{login + "GOOD,DENY --all", 1, `GOOD: FAIL: Password incorrect\. Password:\nDENY: PASS\n`, ``},
		{login + "DENY,GOOD --all -t pap", 1, `DENY: PASS\nGOOD: FAIL: Login incorrect\n`, ``},
		{login + "DENY,RESTART --all", 0, `DENY: PASS\nRESTART: PASS\n`, `tacacs_plus: warning: RESTART: the server requested a restart with pap instead of ascii\n`},
		{login + "DENY,GOOD", 0, `PASS\n`, ``},
		{login + "ERR,GOOD,DENY --all -t pap", 3, `ERR: [E]RROR: database down\nGOOD: FAIL.*\nDENY: PASS\n`, ``},
		{login + "ERR --all -t pap --json", 3, `\{.*"data":"database down",.*\}\n`, `tacacs_plus: ERR answered [E]RROR: database down\n`},
		{login + "REFUSED,ERR --all -t pap -q", 4, ``, noConnection + `tacacs_plus: ERR answered .*\n`},
		{login + "REFUSED,KEY --all -t pap", 5, `REFUSED: error \(network\)\nKEY: error \(protocol\)\n`, noConnection + `tacacs_plus: the reply of KEY cannot be read with this key .*\n` + hint + `KEY: .*\n`},
		{login + "KEY,REFUSED --all -t pap -q", 5, ``, `(?s).*` + noConnection},
		{login + "DENY,DENY --all", 0, `DENY: PASS\n`, ``},
		{login + "DENY,REFUSED --all --retries 1", 4, `DENY: PASS\nREFUSED: error \(network\)\n`, `tacacs_plus: warning: connect to REFUSED: connection refused; trying REFUSED\n` + noConnection},
		{login + "DENY,GOOD --all -t pap -v", 1, `DENY: PASS\n  status: PASS\n(?:  .*\n)*  server: DENY\n(?:  .*\n)*GOOD: FAIL: Login incorrect\n  status: FAIL\n(?:  .*\n)*`, hint + `GOOD: see the server's log.*\n`},
		{login + "DENY,REFUSED --all -v", 4, `DENY: PASS\n(?:  .*\n)*REFUSED: error \(network\)\n  server: REFUSED\n  time total: .*\n`, noConnection},
		{login + "DENY,REFUSED --all --json", 4, `\{"time":.*"user":"bob","status":"PASS","granted":true,"exit_code":0,"server":"DENY",.*\}\n\{"time":.*"granted":false,"exit_code":4,"server":"REFUSED",.*"error":\{.*\}\}\n`, noConnection},
		{"enable bob DENY,GOOD --all -t pap", 1, `DENY: PASS\nGOOD: FAIL: Login incorrect\n`, ``},
		{"authorize bob DENY,GOOD --all", 1, `DENY: PASS_ADD\n  priv-lvl=15\nGOOD: FAIL: unknown user\n`, ``},
		{"authorize bob DENY --all --require priv-lvl=1", 1, `DENY: PASS_ADD\n  priv-lvl=15\n`, `tacacs_plus: DENY: required priv-lvl=1 not granted \(got priv-lvl=15\)\n`},
		{"authorize bob DENY --all --require x", 2, ``, `tacacs_plus: --require x is not name=value\n`},
		{login + "DENY --all --tls --cacert /nonexistent --password x", 2, ``, `tacacs_plus: .*/nonexistent.*\n(?:.*hint.*\n)?`},
		{"authenticate " + strings.Repeat("x", 256) + " DENY --all", 2, ``, `tacacs_plus: user is 256 bytes.*\n`},
		{login + "DENY --all -t pap --password " + strings.Repeat("x", 256), 2, ``, `tacacs_plus: the password is 256 bytes.*\n`},
		{"chpass bob DENY --all", 2, ``, `tacacs_plus: unknown option --all\n` + hint + `it is an option of authenticate, enable, authorize, login\n`},
	} {
		t.Run(tt.line, func(t *testing.T) {
			t.Parallel()
			env := secretsInEnv
			if strings.Contains(tt.line, "--tls") {
				env = nil
			}
			quoted := append([]string{}, pairs...)
			for i := 1; i < len(quoted); i += 2 {
				quoted[i] = regexp.QuoteMeta(quoted[i])
			}
			r := strings.NewReplacer(quoted...)
			runWith(t, env, "", split(tt.line, pairs...)...).check(t, tt.code, r.Replace(tt.out), r.Replace(tt.err))
		})
	}
}

// TestAllRetries: --retries counts for each server separately, and a prompt without an answer ends with ABORT.
func TestAllRetries(t *testing.T) {
	t.Parallel()
	const closes = "closes"
	s := startFakeServer(t, func(c *fakeServerConn) {
		for q := range c.requests {
			switch q.user {
			case closes:
				return
			case "alice":
				c.Write(c.reply(q, &authenReply{status: authenGetData, serverMsg: "Token: "}))
			}
		}
	})
	got := runWith(t, secretsInEnv, "", "authenticate", closes, s.addr+","+refusedAddr(t), "--all", "--retries", "2", "--json")
	if n := s.asked(closes); n != 3 || got.code != classNetwork.exit() || strings.Count(got.out, `"attempts":[{`) != 2 || strings.Count(got.err, "; trying ") != 4 {
		t.Errorf("%d requests: %+v", n, got)
	}
	runWith(t, secretsInEnv, "", "authenticate", "alice", s.addr, "--all").check(t, classDenied.exit(), `\S+: GETDATA: Token:\n`,
		`tacacs_plus: `+s.addr+`: unanswered prompt: Token: \(use --answer\)\n`)
}

// TestAllAddresses: each address of a name is a target of its own, and the name is resolved once.
func TestAllAddresses(t *testing.T) {
	s := serveWith(t)
	port := s.addr[len("127.0.0.1"):]
	var asked atomic.Int32
	resolver := func(addrs ...string) {
		resolveWith(t, func(ctx context.Context, network, addr string) (net.Conn, error) {
			asked.Add(1)
			return dnsOf(addrs...)(ctx, network, addr)
		})
	}
	resolver("127.0.0.1")
	const line, fault = "authorize alice tac1.test", ` error \(network\)\n`
	runWith(t, secretsInEnv, "", split(line+port)...).check(t, 0, `PASS_ADD\n.*\n`, ``)
	once := asked.Swap(0)
	runWith(t, secretsInEnv, "", split(line+port+" --all --retries 2")...).check(t, 0, `tac1\.test`+port+`: PASS_ADD\n  priv-lvl=15\n`, ``)
	if n := asked.Load(); n != once {
		t.Errorf("%d DNS queries, want %d", n, once)
	}
	resolver("127.0.0.1", "127.0.0.1", "127.0.0.2")
	got := runWith(t, secretsInEnv, "", split(line+port+",127.0.0.1"+port+" --all")...)
	got.check(t, 4, `tac1\.test`+port+` \[127\.0\.0\.1\]: PASS_ADD\n.*\ntac1\.test`+port+` \[127\.0\.0\.2\]:`+fault+`127\.0\.0\.1`+port+`: PASS_ADD\n.*\n`,
		`tacacs_plus: connect to tac1\.test`+port+` \[127\.0\.0\.2\]: .*\n(?:.*hint: tac1\.test\S+ \[127\.0\.0\.2\]: .*\n)?`)
	resolver("127.0.0.1", "127.0.0.1")
	runWith(t, secretsInEnv, "", split(line+port+" --all")...).check(t, 0, `tac1\.test`+port+`: PASS_ADD\n.*\n`, ``)
	resolver()
	got = runWith(t, secretsInEnv, "", split(line+",127.0.0.1"+port+" --all --retries 2")...)
	got.check(t, 4, `tac1\.test:49:`+fault+`127\.0\.0\.1`+port+`: PASS_ADD\n.*\n`, `tacacs_plus: tac1\.test:49: resolve tac1\.test: .*\ntacacs_plus: hint: tac1\.test:49: check the name.*\n`)
	got = runWith(t, secretsInEnv, "", split(line+" --all --json")...)
	if got.code != classNetwork.exit() || !strings.Contains(got.out, `"command":"authorize","user":"alice","granted":false,"exit_code":4,"server":"tac1.test:49","error":{`) {
		t.Errorf("got %+v", got)
	}
	runWith(t, secretsInEnv, "show run\nshow version\n", split(line+",127.0.0.1"+port+" --all --cmd-file -")...).check(t, 4, `tac1\.test:49  127\.0\.0\.1\S+\n`+
		`error         PASS_ADD +show run\n    tac1\.test:49: resolve tac1.test: .*\nerror         PASS_ADD +show version\n`+
		`tac1\.test:49: 0 permitted, 0 denied, 2 without a verdict\n\S+: 2 permitted, 0 denied\n2 commands: the servers differ on 0\n`, ``)
	asked.Store(0)
	runWith(t, secretsInEnv, "", split("authorize alice t.test --all")...).check(t, 4, `(?s).*`, `(?s).*`)
	once = asked.Swap(0)
	runWith(t, secretsInEnv, "show run\nshow version\n", split("authorize alice t1.t,127.0.0.1"+port+" --all --cmd-file -")...).check(t, 4,
		`t1\.t:49    127\.0\.0\.1\S+\nerror      PASS_ADD +show run\n(?s:.*)`, ``)
	if n := asked.Load(); n != once {
		t.Errorf("%d DNS queries, want %d", n, once)
	}
}

// TestAllInterruptedResolver interrupts the lookup of a name.
func TestAllInterruptedResolver(t *testing.T) {
	asked := make(chan struct{})
	once := sync.OnceFunc(func() { close(asked) })
	resolveWith(t, func(context.Context, string, string) (net.Conn, error) {
		once()
		silent, _ := net.Pipe()
		return silent, nil
	})
	got := runUntil(t, asked, "authorize alice tac1.test --all --timeout 1h")
	got.check(t, classInterrupted.exit(), `tac1\.test:49: error \(interrupted\)\n`, `tacacs_plus: interrupted\n`)
}

// TestAllAtOnce has servers that reply only after all got a request, and checks the limit of concurrent targets.
func TestAllAtOnce(t *testing.T) {
	t.Parallel()
	var servers []string
	var all sync.WaitGroup
	for range 5 {
		all.Add(1)
		var once sync.Once
		servers = append(servers, startFakeServer(t, func(c *fakeServerConn) {
			for q := range c.requests {
				once.Do(all.Done)
				all.Wait()
				c.Write(c.grantReply(q))
			}
		}).addr)
	}
	list := strings.Join(servers, ",")
	runWith(t, secretsInEnv, "", "authorize", "alice", list, "--all").check(t, 0, strings.Join(servers, ": PASS_ADD: alice\n")+`: PASS_ADD: alice\n`, ``)

	synctest.Test(t, func(t *testing.T) {
		var started atomic.Int32
		release, seen := make(chan struct{}), make([]atomic.Int32, 3*maxConcurrent)
		wait := startConcurrent(len(seen), func(i int) {
			started.Add(1)
			seen[i].Add(1)
			<-release
		})
		synctest.Wait()
		if n := started.Load(); n != maxConcurrent {
			t.Errorf("%d at the same time", n)
		}
		close(release)
		wait.Wait()
		for i := range seen {
			if n := seen[i].Load(); n != 1 {
				t.Errorf("target %d ran %d times", i, n)
			}
		}
	})
}

// TestAllInterrupted interrupts a run while one of the servers is silent.
func TestAllInterrupted(t *testing.T) {
	t.Parallel()
	good := serveWith(t)
	reached := make(chan struct{})
	silent := startFakeServer(t, func(c *fakeServerConn) {
		for range c.requests {
			close(reached)
		}
	})
	got := runUntil(t, reached, "authenticate alice AT,GOOD --all --timeout 1h", "AT", silent.addr, "GOOD", good.addr)
	got.check(t, classInterrupted.exit(), silent.addr+`: error \(interrupted\)\n`+good.addr+`: .*\n`, `tacacs_plus: interrupted\n`)
	reached = make(chan struct{})
	file := filepath.Join(writeFiles(t, map[string]string{"rules": "show run\n"}), "rules")
	got = runUntil(t, reached, "authorize alice AT,GOOD --all --timeout 1h --cmd-file "+file, "AT", silent.addr, "GOOD", good.addr)
	if got.code != classInterrupted.exit() || got.err != "tacacs_plus: interrupted\n" {
		t.Errorf("got %+v", got)
	}

	// The commands are still being read, so no request is sent.
	ctx, cancel := context.WithCancel(t.Context())
	in, feed := io.Pipe()
	defer feed.Close()
	var out, messages lockedBuffer
	done := make(chan exitCode, 1)
	go func() {
		done <- run(ctx, []string{"authorize", "alice", good.addr, "--all", "--cmd-file", "-"}, stdio{in: in, out: &out, err: &messages,
			env: func(name string) string { return secretsInEnv[name] }})
	}()
	if _, err := io.WriteString(feed, "show version\n"); err != nil {
		t.Fatal(err)
	}
	cancel()
	if code := <-done; code != classInterrupted.exit() || messages.String() != "tacacs_plus: interrupted\n" || out.String() != "" {
		t.Errorf("got %d, %s%s", int(code), &out, &messages)
	}
	good.stop()
	if log := good.log.String(); strings.Contains(log, "show version") {
		t.Errorf("the server got %s", log)
	}
}

// TestAllUnwritten: a write error is printed once. It does not change a verdict, but it fails a table.
func TestAllUnwritten(t *testing.T) {
	t.Parallel()
	a, b := serveWith(t).addr, serveWith(t).addr
	for _, tt := range []struct {
		options string
		room    int
		code    exitCode
		err     string
	}{
		{"", 0, 0, "tacacs_plus: write the result: no space left\n"},
		{"", 1, 0, "tacacs_plus: write the result: no space left\n"},
		{"--cmd-file -", 0, classUsage.exit(), "tacacs_plus: write the results: no space left\n"},
		{"--cmd-file - --json", 1, classUsage.exit(), "tacacs_plus: write the results: no space left\n"},
	} {
		var messages lockedBuffer
		args := split("authorize alice AT --all "+tt.options, "AT", a+","+b)
		code := run(t.Context(), args, stdio{in: strings.NewReader(strings.Repeat("show run\n", 2000)), out: &lastRoom{tt.room}, err: &messages,
			env: func(name string) string { return secretsInEnv[name] }})
		if code != tt.code || messages.String() != tt.err {
			t.Errorf("%s: %d, %s", tt.options, int(code), &messages)
		}
	}
}

// TestAllCommandFile checks the table with a column for each server. ONE and TWO have different rules.
func TestAllCommandFile(t *testing.T) {
	t.Parallel()
	one := serveWith(t, "--permit", "^show", "--deny", ".").addr
	two := serveWith(t, "--permit", "^(show|conf)", "--deny", ".").addr
	like := serveWith(t, "--permit", "^show", "--deny", ".").addr
	refused := refusedAddr(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "commands")
	const denied = `    ONE: command not permitted\n`
	for _, tt := range []struct {
		name, text, options string
		code                exitCode
		out, err            string
	}{
		{"differ", "show run\nconfigure\nreload\n", "ONE,TWO", 1, `ONE +TWO\nPASS_ADD +PASS_ADD +show run\nFAIL +PASS_ADD +configure  <- the servers differ\n` + denied +
			`FAIL +FAIL +reload: command not permitted\nONE: 1 permitted, 2 denied\nTWO: 2 permitted, 1 denied\n3 commands: the servers differ on 1\n`, ``},
		{"reversed", "configure\n", "TWO,ONE", 1, `TWO +ONE\nPASS_ADD +FAIL +configure  <- the servers differ\n` + denied +
			`TWO: 1 permitted, 0 denied\nONE: 0 permitted, 1 denied\n1 command: the servers differ on 1\n`, ``},
		{"the middle one differs", "configure\n", "ONE,TWO,LIKE", 1, `ONE +TWO +LIKE\nFAIL +PASS_ADD +FAIL +configure  <- the servers differ\n` + denied +
			`    LIKE: command not permitted\n(?:.*\n){3}1 command: the servers differ on 1\n`, ``},
		{"some commands without a mark", "+show run\nreload\n", "ONE,TWO", 0, `(?s).*\n2 commands: the servers differ on 0\n`, ``},
		{"not expected on the first server", "+configure\n", "ONE,TWO,LIKE", 1, `(?s).*configure  <- not permitted  <- the servers differ\n.*`, ``},
		{"expected", "+show run\n-reload\n# no\n", "ONE,TWO", 0, `(?s).*\n2 commands: the servers differ on 0\n`, ``},
		{"not expected", "-configure\n+configure\n", "ONE,TWO", 1, `ONE +TWO\nFAIL +PASS_ADD +configure  <- not denied  <- the servers differ\n` + denied +
			`FAIL +PASS_ADD +configure  <- not permitted  <- the servers differ\n` + denied +
			`ONE: 0 permitted, 2 denied; 1 not as expected\nTWO: 2 permitted, 0 denied; 1 not as expected\n2 commands: the servers differ on 2\n`, ``},
		{"an error once, and no difference", "show run\nshow version\n", "ONE,REFUSED", 4, `ONE +REFUSED\nPASS_ADD +error +show run\n    connect to REFUSED: connection refused\nPASS_ADD +error +show version\n` +
			`ONE: 2 permitted, 0 denied\nREFUSED: 0 permitted, 0 denied, 2 without a verdict\n2 commands: the servers differ on 0\n`, ``},
		{"one server, given twice", "reload\n", "ONE,ONE", 1, `ONE\nFAIL +reload: command not permitted\nONE: 0 permitted, 1 denied\n1 command: the servers differ on 0\n`, ``},
		{"quiet", "configure\n", "ONE,TWO -q", 1, ``, ``},
		{"JSON", "+show run\n-configure\n", "ONE,TWO --json", 1, `\{"line":1,.*"status":"PASS_ADD",.*"server":"ONE",.*\}\n\{"line":1,.*"server":"TWO",.*"as_expected":true\}\n` +
			`\{"line":2,.*"status":"FAIL",.*"server":"ONE",.*\}\n\{"line":2,.*"server":"TWO",.*"as_expected":false\}\n`, ``},
	} {
		must(t, os.WriteFile(file, []byte(tt.text), 0o600))
		for _, from := range []string{file, "-"} {
			r := strings.NewReplacer("ONE", one, "TWO", two, "LIKE", like, "REFUSED", refused)
			got := runWith(t, secretsInEnv, tt.text, split("authorize alice --all --cmd-file "+from+" -H "+r.Replace(tt.options))...)
			t.Run(tt.name, func(t *testing.T) { got.check(t, tt.code, r.Replace(tt.out), r.Replace(tt.err)) })
		}
	}
	closes := serveWith(t, "--fault", "single-close").addr
	got := runWith(t, secretsInEnv, strings.Repeat("show run\n", 20), "authorize", "alice", closes, "--all", "--single-connect", "--cmd-file", "-")
	got.check(t, 0, `(?s).*`, `tacacs_plus: warning: `+closes+`: the server closes busy connections; .*\n`)
	got = runWith(t, secretsInEnv, "", "authorize", "alice", one+","+two, "--all", "--cmd-file", dir)
	got.check(t, classUsage.exit(), ``, `tacacs_plus: read the commands: .*\n`)
}

// TestAllCommandFileAhead has one slow server, and more commands than another one may be ahead of it. In the end all rows
// are printed in order.
func TestAllCommandFileAhead(t *testing.T) {
	t.Parallel()
	const commands = 2*tableAhead + 500
	release := make(chan struct{})
	let := sync.OnceFunc(func() { close(release) })
	quick := startFakeServer(t, (*fakeServerConn).grantAll)
	slow := startFakeServer(t, func(c *fakeServerConn) { <-release; c.grantAll() })
	var text, want strings.Builder
	for i := range commands {
		command := fmt.Sprintf("show %d%s", i, strings.Repeat("x", 90)) // too long for a buffer to hold all
		fmt.Fprintln(&text, command)
		fmt.Fprintln(&want, "PASS_ADD", command)
	}
	done := make(chan runResult, 1)
	go func() {
		done <- runWith(t, secretsInEnv, text.String(), "authorize", "alice", quick.addr+","+slow.addr, "--all", "--cmd-file", "-", "--single-connect", "--timeout", "1h")
	}()
	defer let()
	waitUntil(t, "the quick server is ahead", func() bool { return quick.asked("alice") > 20 })
	let()
	got := <-done
	rows := regexp.MustCompile(`(?m)^PASS_ADD +PASS_ADD +(show .*)\n`).FindAllStringSubmatch(got.out, -1)
	var shown strings.Builder
	for _, r := range rows {
		fmt.Fprintf(&shown, "PASS_ADD %s\n", r[1])
	}
	if got.code != classGranted.exit() || got.err != "" || shown.String() != want.String() || slow.asked("alice") != commands || quick.asked("alice") != commands {
		t.Errorf("%d rows: %.1000v", len(rows), got)
	}
}

// TestAllCommandFileShowsRows has a server that continues only after the first row is printed.
func TestAllCommandFileShowsRows(t *testing.T) {
	t.Parallel()
	shown := make(chan struct{})
	show := sync.OnceFunc(func() { close(shown) })
	defer show()
	first := new(atomic.Bool)
	slow := startFakeServer(t, func(c *fakeServerConn) {
		c.Write(c.grantReply(c.readRequest()))
		<-shown
		c.grantAll()
	})
	quick := startFakeServer(t, (*fakeServerConn).grantAll)
	out := writerFunc(func(p []byte) {
		if bytes.Contains(p, []byte("show first\n")) && !bytes.Contains(p, []byte("show second")) {
			first.Store(true)
			show()
		}
	})
	code := run(t.Context(), []string{"authorize", "alice", quick.addr + "," + slow.addr, "--all", "--cmd-file", "-", "--single-connect", "--timeout", "1m"},
		stdio{in: strings.NewReader("show first\nshow second\n"), out: out, err: io.Discard, env: func(name string) string { return secretsInEnv[name] }})
	if code != classGranted.exit() || !first.Load() {
		t.Errorf("got %d; the first row was shown first: %t", int(code), first.Load())
	}
}

// TestAllCommandFileLimits: a file that is too long for the table is a usage error, and nothing is sent.
func TestAllCommandFileLimits(t *testing.T) {
	t.Parallel()
	l := listen(t)
	got := runWith(t, secretsInEnv, strings.Repeat("show\n", maxTableRows+1), "authorize", "alice", l.Addr().String(), "--all", "--cmd-file", "-")
	got.check(t, classUsage.exit(), ``, `tacacs_plus: more than 65536 commands in standard input, which is the limit for --all\n`+
		`tacacs_plus: hint: split the file, or ask one server at a time without --all\n`)
	large := &generator{line: "# " + long(maxLine-100) + "\n", n: maxCommandFile/maxLine + 1}
	got = runReading(t, secretsInEnv, large, "authorize", "alice", l.Addr().String(), "--cmd-file", "-")
	got.check(t, classUsage.exit(), ``, `tacacs_plus: read the commands: standard input is over 67108864 bytes\n`)
	checkUntouched(t, l)
	// Comments do not count.
	s := startFakeServer(t, (*fakeServerConn).grantAll)
	got = runWith(t, secretsInEnv, strings.Repeat("# show\n", maxTableRows+1)+"show\n", "authorize", "alice", s.addr, "--all", "--cmd-file", "-")
	got.check(t, 0, `(?s).*1 command: the servers differ on 0\n`, ``)
}

// TestCommandFile checks the table of authorize --cmd-file.
func TestCommandFile(t *testing.T) {
	t.Parallel()
	s := serveWith(t, "--deny", "^configure", "--permit", "^show")
	dir := t.TempDir()
	file := filepath.Join(dir, "commands")
	for _, tt := range []struct {
		name, text, options string
		code                exitCode
		out                 string
	}{
		{"permitted", "show version\nshow  run\n", "", 0, `PASS_ADD show version\nPASS_ADD show  run\n2 commands: 2 permitted, 0 denied\n`},
		{"one denied", "show version\nconfigure terminal\n", "", 1, `PASS_ADD show version\nFAIL configure terminal: command not permitted\n2 commands: 1 permitted, 1 denied\n`},
		{"comments", "# all of them\n\n  show version  \r\n   # show it\n", "", 0, `PASS_ADD show version\n1 command: 1 permitted, 0 denied\n`},
		{"as marked", "+ show version\n-configure terminal\n", "", 0, `PASS_ADD show version\nFAIL configure terminal: command not permitted\n2 commands: 1 permitted, 1 denied\n`},
		{"not as marked", "- show version\n+configure terminal\n", "", 1, `PASS_ADD show version  <- not denied\nFAIL configure terminal: command not permitted  <- not permitted\n2 commands: 1 permitted, 1 denied; 2 not as expected\n`},
		{"marked, and denied without a mark", "+ show version\nconfigure terminal\n", "", 0, `PASS_ADD show version\nFAIL configure terminal: command not permitted\n2 commands: 1 permitted, 1 denied\n`},
		{"last line without a newline", "show version", "", 0, `PASS_ADD show version\n1 command: 1 permitted, 0 denied\n`},
		{"quiet", "configure\n", "-q", 1, ``},
		{"unknown user", "show run\n", "-u bob", 1, `FAIL show run: unknown user\n1 command: 0 permitted, 1 denied\n`},
		{"wrong key", "show run\n", "-k another-key-of-the-tests", 5, `error show run: the reply of .* cannot be read with this key \(.*\)\n1 command: 0 permitted, 0 denied, 1 without a verdict\n`},
		{"JSON", "+ show run\n# a comment\nconfigure\n", "--json", 0, `\{"line":1,"time":"[^"]*","command":"authorize","user":"alice","status":"PASS_ADD",.*"expect":"\+","as_expected":true\}\n\{"line":3,.*"status":"FAIL",.*\}\n`},
	} {
		must(t, os.WriteFile(file, []byte(tt.text), 0o600))
		options := split(tt.options)
		if !strings.Contains(tt.options, "-u") {
			options = append(options, "-u", "alice")
		}
		for _, from := range []string{file, "-"} {
			args := append([]string{"authorize", s.addr, "--cmd-file", from}, options...)
			t.Run(tt.name+" "+filepath.Base(from), func(t *testing.T) {
				got := runWith(t, secretsInEnv, tt.text, args...)
				runResult{got.code, got.out, ""}.check(t, tt.code, tt.out, ``)
			})
		}
	}
	t.Run("unreadable", func(t *testing.T) {
		s.ask(t, "authorize alice AT --cmd-file "+filepath.Join(dir, "nothing")).check(t, classUsage.exit(), ``, `tacacs_plus: read the commands: .*\n`)
		s.ask(t, "authorize alice AT --cmd-file "+dir).check(t, classUsage.exit(), ``, `(?s)tacacs_plus: read the .*`)
	})
	t.Run("many, in their order", func(t *testing.T) {
		text, want := "", ""
		for i := range 300 {
			text += fmt.Sprintf("show %d\n", i)
			want += fmt.Sprintf("PASS_ADD show %d\n", i)
		}
		want += "300 commands: 300 permitted, 0 denied\n"
		for _, options := range []string{"", " --single-connect"} {
			if got := runWith(t, secretsInEnv, text, split("authorize alice AT --cmd-file -"+options, "AT", s.addr)...); got != (runResult{out: want}) {
				t.Errorf("got %+v", got)
			}
		}
	})
	t.Run("one connection where the server agrees", func(t *testing.T) {
		server := startFakeServer(t, (*fakeServerConn).grantAll)
		text := strings.Repeat("show version\n", 20)
		for _, tt := range []struct {
			options string
			conns   int
		}{{"--single-connect", 1}, {"", 20}} {
			before := server.connections()
			got := runWith(t, secretsInEnv, text, append([]string{"authorize", "alice", server.addr, "--cmd-file", "-"}, split(tt.options)...)...)
			if conns := server.connections() - before; got.code != classGranted.exit() || conns != tt.conns {
				t.Errorf("%s: got %+v over %d connections", tt.options, got, conns)
			}
		}
	})
}

// TestCommandFileChecked: the whole file is checked before the first request is sent.
func TestCommandFileChecked(t *testing.T) {
	t.Parallel()
	l := listen(t)
	dir := t.TempDir()
	for i, tt := range []struct{ text, err string }{
		{"", "no commands in FILE"},
		{"# nothing\n\n", "no commands in FILE"},
		{"show version\n+\nshow run\n", "line 2 of FILE: no command after +"},
		{"#\n\n- \n", "line 3 of FILE: no command after -"},
		{strings.Repeat("show\n", 8) + "show caf\xe9\n+\n", `line 9 of FILE: argument cmd-arg=caf\xe9 is not printable US-ASCII`},
		{"show " + long(248), "line 1 of FILE: argument cmd-arg=" + long(49) + "... is 256 bytes, the limit is 255"},
		{"show" + strings.Repeat(" x", 254), "line 1 of FILE: 256 arguments, the limit is 255"},
		{"show\n" + long(maxLine+1), "line 2 of FILE: the line is over 1 MiB"},
	} {
		file := filepath.Join(dir, fmt.Sprint(i))
		must(t, os.WriteFile(file, []byte(tt.text), 0o600))
		for from, name := range map[string]string{file: file, "-": "standard input"} {
			for _, options := range []string{"", "--all", "--json"} {
				got := runWith(t, secretsInEnv, tt.text, append([]string{"authorize", "alice", l.Addr().String(), "--cmd-file", from}, split(options)...)...)
				if want := "tacacs_plus: " + strings.ReplaceAll(tt.err, "FILE", name) + "\n"; got.code != classUsage.exit() || got.err != want {
					t.Errorf("%q %s: got %+v, want %s", tt.text[:min(len(tt.text), 20)], options, got, want)
				}
			}
		}
	}
	checkUntouched(t, l)
}

// TestCommandFilePrompt: a file with a fault is reported before a secret is needed.
func TestCommandFilePrompt(t *testing.T) {
	t.Parallel()
	file := filepath.Join(writeFiles(t, map[string]string{"commands": "+\n"}), "commands")
	runWith(t, nil, "", "authorize", "alice", "192.0.2.1", "--cmd-file", file).check(t, classUsage.exit(), ``, `tacacs_plus: line 1 of .* no command after \+\n`)
}
