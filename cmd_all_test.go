package main

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// TestAll checks the results of all servers, in their order, and the exit code of the worst. GOOD does not know bob, DENY
// does, ERR answers ERROR, KEY has another key, and REFUSED refuses connections.
func TestAll(t *testing.T) {
	t.Parallel()
	good, deny := serveWith(t).addr, serveWith(t, "--user", "bob:"+testPassword).addr
	restart := serveWith(t, "--user", "bob:"+testPassword, "--fault", "restart").addr
	erring, key, refused := serveWith(t, "--fault", "error").addr, serveWith(t, "--fault", "wrong-key").addr, refusedAddr(t)
	pairs := []string{"GOOD", good, "DENY", deny, "RESTART", restart, "ERR", erring, "KEY", key, "REFUSED", refused}
	const login, hint = "authenticate bob ", `tacacs_plus: hint: `
	const noConnection = `tacacs_plus: connect to REFUSED: connection refused\n` + hint + `REFUSED: nothing listens there.*\n`
	for _, tt := range []struct {
		line     string
		code     exitCode
		out, err string
	}{
		{login + "DENY --all", 0, `DENY: PASS\n`, ``},
		{login + "GOOD,DENY --all", 1, `GOOD: FAIL: Password incorrect\. Password:\nDENY: PASS\n`, ``},
		{login + "DENY,GOOD --all -t pap", 1, `DENY: PASS\nGOOD: FAIL: Login incorrect\n`, ``},
		{login + "DENY,RESTART --all", 0, `DENY: PASS\nRESTART: PASS\n`, `tacacs_plus: warning: RESTART: the server asks to restart with pap instead of ascii\n`},
		{login + "DENY,GOOD", 0, `PASS\n`, ``},
		{login + "ERR,GOOD,DENY --all -t pap", 3, `ERR: [E]RROR\nGOOD: FAIL.*\nDENY: PASS\n`, `tacacs_plus: ERR answered [E]RROR: database down\n` + hint + `ERR: .*\n`},
		{login + "REFUSED,ERR --all -t pap -q", 4, ``, noConnection + `tacacs_plus: ERR answered .*\n.*\n`},
		{login + "REFUSED,KEY --all -t pap", 5, `REFUSED: error \(network\)\nKEY: error \(protocol\)\n`, noConnection + `tacacs_plus: the reply of KEY does not fit .*\n` + hint + `KEY: .*\n`},
		{login + "KEY,REFUSED --all -t pap -q", 5, ``, `(?s).*` + noConnection},
		{login + "DENY,DENY --all", 0, `DENY: PASS\n`, ``},
		{login + "DENY,REFUSED --all --retries 1", 4, `DENY: PASS\nREFUSED: error \(network\)\n`, `tacacs_plus: warning: connect to REFUSED: connection refused; trying REFUSED\n` + noConnection},
		{login + "DENY,GOOD --all -t pap -v", 1, `DENY: PASS\n  status: PASS\n(?:  .*\n)*  server: DENY\n(?:  .*\n)*GOOD: FAIL: Login incorrect\n  status: FAIL\n(?:  .*\n)*`, hint + `GOOD: account, password, .*\n`},
		{login + "DENY,REFUSED --all -v", 4, `DENY: PASS\n(?:  .*\n)*REFUSED: error \(network\)\n  server: REFUSED\n  time total: .*\n`, noConnection},
		{login + "DENY,REFUSED --all --json", 4, `\{"time":.*"user":"bob","status":"PASS","granted":true,"exit_code":0,"server":"DENY",.*\}\n\{"time":.*"granted":false,"exit_code":4,"server":"REFUSED",.*"error":\{.*\}\}\n`, noConnection},
		{"enable bob DENY,GOOD --all -t pap", 1, `DENY: PASS\nGOOD: FAIL: Login incorrect\n`, ``},
		{"authorize bob DENY,GOOD --all", 1, `DENY: PASS_ADD\n  priv-lvl=15\nGOOD: FAIL: unknown user\n`, ``},
		{"authorize bob DENY --all --require priv-lvl=1", 1, `DENY: PASS_ADD\n  priv-lvl=15\n`, `tacacs_plus: DENY: the effective arguments do not hold priv-lvl=1\n`},
		{"authorize bob DENY --all --require x", 2, ``, `tacacs_plus: --require x is not name=value\n`},
		{login + "DENY --all --tls --cacert /nonexistent --password x", 2, ``, `tacacs_plus: .*/nonexistent.*\n(?:.*hint.*\n)?`},
		{"authenticate " + strings.Repeat("x", 256) + " DENY --all", 2, ``, `tacacs_plus: user is 256 bytes.*\n`},
		{login + "DENY --all -t pap --password " + strings.Repeat("x", 256), 2, ``, `tacacs_plus: the password is 256 bytes.*\n`},
		{"chpass bob DENY --all", 2, ``, `tacacs_plus: unknown option --all\n` + hint + `it is an option of authenticate, enable, authorize\n`},
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

// TestAllAsks: --retries counts for each server alone, and a prompt without an answer ends with ABORT.
func TestAllAsks(t *testing.T) {
	t.Parallel()
	const closes = "closes"
	s := startFakeServer(t, func(c *fakeServerConn) {
		for q := c.readRequest(); q != nil; q = c.readRequest() {
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
		t.Errorf("asked %d times: %+v", n, got)
	}
	runWith(t, secretsInEnv, "", "authenticate", "alice", s.addr, "--all").check(t, classDenied.exit(), `\S+: GETDATA: Token:\n`,
		`tacacs_plus: no answer left for the prompt "Token:" \(GETDATA\) of `+s.addr+`\ntacacs_plus: hint: `+s.addr+`: --answer .*\n`)
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
		t.Errorf("%d questions to the name server, not %d", n, once)
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
		t.Errorf("%d questions to the name server, not %d", n, once)
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

// TestAllAtOnce has servers that answer after all were asked, and checks the limit of targets at a time.
func TestAllAtOnce(t *testing.T) {
	t.Parallel()
	var servers []string
	var all sync.WaitGroup
	for range 5 {
		all.Add(1)
		var once sync.Once
		servers = append(servers, startFakeServer(t, func(c *fakeServerConn) {
			for q := c.readRequest(); q != nil; q = c.readRequest() {
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
			t.Errorf("%d at a time", n)
		}
		close(release)
		wait.Wait()
		for i := range seen {
			if n := seen[i].Load(); n != 1 {
				t.Errorf("%d was done %d times", i, n)
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
		for q := c.readRequest(); q != nil; q = c.readRequest() {
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

	// The commands are still being read, so nothing is asked.
	ctx, cancel := context.WithCancel(t.Context())
	in, feed := io.Pipe()
	defer feed.Close()
	var out, messages lockedBuffer
	done := make(chan exitCode, 1)
	before := good.log.String()
	go func() {
		done <- run(ctx, []string{"authorize", "alice", good.addr, "--all", "--cmd-file", "-"}, stdio{in: in, out: &out, err: &messages,
			env: func(name string) string { return secretsInEnv[name] }})
	}()
	if _, err := io.WriteString(feed, "show run\n"); err != nil {
		t.Fatal(err)
	}
	cancel()
	if code := <-done; code != classInterrupted.exit() || messages.String() != "tacacs_plus: interrupted\n" || out.String() != "" {
		t.Errorf("got %d, %s%s", int(code), &out, &messages)
	}
	if log := good.log.String(); log != before {
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
