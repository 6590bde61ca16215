package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// unusable are replies to a request that no client can use. A closed connection and silence are no replies.
var unusable = map[string]func(c *fakeServerConn, q *fakeRequest){
	"garbled": func(c *fakeServerConn, q *fakeRequest) { c.key += "x"; c.Write(c.grantReply(q)) },
	"empty": func(c *fakeServerConn, q *fakeRequest) {
		c.Write(c.grantReply(q, func(h *header) { h.length = 0 })[:headerLen])
	},
	"misnumbered": func(c *fakeServerConn, q *fakeRequest) { c.Write(c.grantReply(q, func(h *header) { h.seqNo = 4 })) },
	"wrong type": func(c *fakeServerConn, q *fakeRequest) {
		c.Write(c.grantReply(q, func(h *header) { h.typ = h.typ%3 + 1 }))
	},
	"cut":     func(c *fakeServerConn, q *fakeRequest) { c.Write(c.grantReply(q)[:headerLen+2]) },
	"foreign": func(c *fakeServerConn, q *fakeRequest) { c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) },
	"closed":  func(c *fakeServerConn, q *fakeRequest) {},
	"silent":  func(c *fakeServerConn, q *fakeRequest) { c.ends() },
}

// replyingWith returns a server that grants u0 and replies in this way to all others.
func replyingWith(t *testing.T, reply func(c *fakeServerConn, q *fakeRequest)) *fakeServer {
	t.Helper()
	return startFakeServer(t, func(c *fakeServerConn) {
		q := c.readRequest()
		if q != nil && q.user == "u0" {
			c.Write(c.grantReply(q))
			q = c.readRequest()
		}
		if q != nil {
			reply(c, q)
		}
	})
}

// TestClientRecordIsSentOnce: a record that was sent is not sent again after a reply that cannot be used, or none: neither
// to the same server nor to another, with --retries or without. A login is.
func TestClientRecordIsSentOnce(t *testing.T) {
	t.Parallel()
	var all subtests
	defer all.Wait()
	for name, reply := range unusable {
		for _, line := range []string{
			"account u1 AT", "account u1 AT --single-connect", "batch AT -c 1 " + acctLine, "batch AT -c 1 " + papLine, "batch AT -c 1 " + asciiLine, "authenticate u1 AT", "authenticate u1 AT -t pap --single-connect", "authorize u1 AT",
		} {
			all.run(t, name == "silent", name+" "+line, func(t *testing.T) {
				first, second := replyingWith(t, reply), startFakeServer(t, (*fakeServerConn).grantAll)
				args, input, batch := strings.Cut(line, " {")
				if batch {
					input = requests(2, "{"+input)
				}
				args += " --timeout 2"
				got := runWith(t, secretsInEnv, input, split(args, "AT", first.addr+","+second.addr)...)
				record := strings.Contains(line, "account")
				if sent := second.asked("u1") > 0; sent == record || (got.code == classGranted.exit()) == record {
					t.Errorf("sent to the second server: %t, got %+v", sent, got)
				}
				if record && (first.asked("u1") != 1 || !strings.Contains(got.out+got.err, "the record may be written, so it is not sent again")) {
					t.Errorf("sent %d times, got %+v", first.asked("u1"), got)
				}
				if !record {
					return
				}
				alone := replyingWith(t, reply)
				got = runWith(t, secretsInEnv, input, split(args+" --retries 2", "AT", alone.addr)...)
				if alone.asked("u1") != 1 || got.code == classGranted.exit() {
					t.Errorf("with --retries sent %d times, got %+v", alone.asked("u1"), got)
				}
			})
		}
	}
}

// TestClientPasswordIsSentOnce: what may have changed the password or may be a one-time code is not sent again after a reply
// that cannot be used, or none. A password is.
func TestClientPasswordIsSentOnce(t *testing.T) {
	t.Parallel()
	var all subtests
	defer all.Wait()
	const change, answers = "chpass u1 AT --new-password-file DIR/new", "authenticate u1 AT --answer 123456"
	dir := writeFiles(t, map[string]string{"new": "new password"})
	for _, tt := range []struct{ line, prompts, effect string }{
		{change, "getdata", ""}, {change, "getdata getpass", "the password may be changed"}, {change, "getpass getpass", "the password may be changed"},
		{answers, "getpass", ""}, {answers, "getpass getdata", "the login may have taken effect"}, {answers, "getdata", "the login may have taken effect"},
		{"authenticate u1 AT", "getpass", ""}, {answers + " --answer-repeated", "password password", "the login may have taken effect"},
	} {
		for _, name := range []string{"garbled", "cut", "closed", "silent"} {
			all.run(t, name == "silent", name+" "+tt.prompts+" "+tt.line, func(t *testing.T) {
				script := func(c *fakeServerConn) {
					for prompt := range strings.FieldsSeq(tt.prompts) {
						if prompt == "password" {
							c.Write(c.reply(c.readRequest(), &authenReply{status: authenGetPass, serverMsg: "Password:"}))
							continue
						}
						c.act(prompt)
					}
					unusable[name](c, c.readRequest())
				}
				first, second := startFakeServer(t, script), startFakeServer(t, script)
				line := split(tt.line+" --timeout 1", "AT", first.addr+","+second.addr, "DIR", dir)
				got := runWith(t, secretsInEnv, "", line...)
				if again := second.asked("u1") > 0; again == (tt.effect != "") || !again && !strings.Contains(got.err, "; "+tt.effect+", so it is not sent again\n") || got.code < 4 {
					t.Errorf("sent to the second server: %t, got %+v", again, got)
				}
				if got = runWith(t, secretsInEnv, "", split(strings.Join(line, " "), ","+second.addr, "")...); !strings.Contains(got.err, choose(tt.effect == "", "", "; "+tt.effect+"\n")) {
					t.Errorf("one server: got %+v", got)
				}
			})
		}
	}
}

// TestClientRecordAfterError: a record to which a server readably replies ERROR goes to the next one.
func TestClientRecordAfterError(t *testing.T) {
	t.Parallel()
	for _, change := range []func(*header){func(*header) {}, func(h *header) { h.version ^= 1 }} {
		for _, line := range []string{"account u1 AT", "batch AT -c 1"} {
			first := replyingWith(t, func(c *fakeServerConn, q *fakeRequest) { c.Write(c.reply(q, &acctReply{status: acctError}, change)) })
			second := startFakeServer(t, (*fakeServerConn).grantAll)
			got := runWith(t, secretsInEnv, requests(2, acctLine), split(line, "AT", first.addr+","+second.addr)...)
			if got.code != classGranted.exit() || first.asked("u1") != 1 || second.asked("u1") != 1 {
				t.Errorf("%s: sent %d and %d times, got %+v", line, first.asked("u1"), second.asked("u1"), got)
			}
		}
	}
}

// TestClientRecordNotSent: a record goes to the next server after a connect that failed, since nothing of it was sent.
func TestClientRecordNotSent(t *testing.T) {
	t.Parallel()
	for _, line := range []string{"account u1 AT", "batch AT"} {
		next := startFakeServer(t, (*fakeServerConn).grantAll)
		got := runWith(t, secretsInEnv, requests(2, acctLine), split(line, "AT", refusedAddr(t)+","+next.addr)...)
		if got.code != classGranted.exit() || next.asked("u1") != 1 {
			t.Errorf("%s: sent %d times, got %+v", line, next.asked("u1"), got)
		}
	}
}

// TestClientConnectLimit checks the limit for the connect to one address.
func TestClientConnectLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const s = time.Second
		ctx, cancel := context.WithTimeout(t.Context(), 10*s)
		defer cancel()
		for _, tt := range []struct {
			explicit, failover time.Duration
			addrs              int
			another            bool
			want               time.Duration
		}{
			{0, 0, 1, false, 10 * s}, {0, 0, 2, true, 5 * s},
			{0, 3 * s, 1, false, 10 * s}, {0, 3 * s, 1, true, 3 * s}, {0, 3 * s, 5, true, 2 * s}, {0, 3 * s, 2, false, 5 * s},
			{4 * s, 4 * s, 1, false, 4 * s}, {4 * s, 4 * s, 1, true, 4 * s}, {20 * s, 20 * s, 1, true, 10 * s},
		} {
			c := &client{timeout: 10 * s, connectTimeout: tt.explicit, failoverTimeout: tt.failover}
			if got := c.connectLimit(ctx, tt.addrs, tt.another); got != tt.want {
				t.Errorf("%+v: got %v", tt, got)
			}
		}
	})
}

// TestClientResolveLimit: the limit for a connect holds for a name server that does not answer too, while another server is
// left. It is not parallel, since it changes the resolver.
func TestClientResolveLimit(t *testing.T) {
	t.Parallel()
	ctx := resolvedBy(t.Context(), func(context.Context, string, string) (net.Conn, error) {
		_, client := net.Pipe()
		return client, nil
	})
	silent := newServer("silent.test", portClear)
	const limit = 50 * time.Millisecond
	for _, tt := range []struct {
		what              string
		servers           []server
		timeout, explicit time.Duration
		limited           bool
	}{
		{"two servers", []server{silent, named("B")}, 4 * time.Second, 0, true},
		{"two servers, --connect-timeout", []server{silent, named("B")}, 4 * time.Second, limit, true},
		{"one server", []server{silent}, 4 * limit, 0, false},
		{"one server, --connect-timeout", []server{silent}, 4 * limit, limit, false},
	} {
		c := &client{servers: tt.servers, timeout: tt.timeout, connectTimeout: tt.explicit, failoverTimeout: limit}
		j := new(job)
		c.begin(j, time.Now())
		_, err := c.dial(ctx, j)
		if early := time.Now().Before(j.session.deadline); early != tt.limited || classOf(err) != classNetwork || outcomeOf(err) != outcomeNotSent {
			t.Errorf("%s: %v, before the timeout: %t", tt.what, err, early)
		}
	}
}

// TestRequesterRedialFails: a request that met the end of a connection is tried on a new one, once.
func TestRequesterRedialFails(t *testing.T) {
	t.Parallel()
	l := listen(t)
	s := startFakeServerOn(t, l, func(c *fakeServerConn) {
		c.Write(c.grantReply(c.readRequest()))
		stopListening(t, l)
		c.readRequest()
	})
	r := requester{client: clientFor(t, s.addr), keepConn: true}
	defer r.close()
	for _, class := range []class{classGranted, classNetwork} {
		j := &job{request: &authorization{request: authorRequest{args: []string{"service=shell", "cmd="}}}}
		if r.do(t.Context(), j); j.class() != class || j.turn != 0 {
			t.Errorf("%v, turn %d", j.err, j.turn)
		}
	}
}

// TestClientHasNextServer: another server is left if a later turn goes to one, but not to one that is skipped.
func TestClientHasNextServer(t *testing.T) {
	a, b := named("A"), named("B")
	for _, tt := range []struct {
		servers []server
		retries int
		turn    int
		dead    bool // B
		want    bool
	}{
		{[]server{a}, 0, 0, false, false}, {[]server{a}, 3, 0, false, false}, {[]server{a, a}, 0, 0, false, false},
		{[]server{a, b}, 0, 0, false, true}, {[]server{a, b}, 0, 1, false, false}, {[]server{a, b}, 1, 1, false, true}, {[]server{a, b}, 1, 3, false, false},
		{[]server{a, b}, 0, 0, true, false}, {[]server{a, b}, 1, 1, true, true},
	} {
		c := &client{servers: tt.servers, retries: tt.retries}
		c.dead = newDeadServers(t.Context(), tt.servers, time.Hour, nil)
		j := &job{order: tt.servers, turn: tt.turn}
		if tt.dead {
			c.dead.connectFailed(b, errDown)
		}
		if got := c.hasNextServer(j); got != tt.want {
			t.Errorf("%+v: got %t", tt, got)
		}
	}
}

// TestClientNextTurn: a job skips dead servers in its first round only.
func TestClientNextTurn(t *testing.T) {
	servers := []server{named("A"), named("B"), named("C")}
	c := &client{servers: servers, retries: 1}
	c.dead = newDeadServers(t.Context(), servers, time.Hour, nil)
	c.dead.connectFailed(named("B"), errDown)
	j := &job{}
	c.begin(j, time.Now())
	asked := j.server().host
	for more := true; more; {
		c.dead.connectFailed(*j.server(), errDown)
		if j.turn, more = c.nextTurn(j); more {
			asked += j.server().host
		}
	}
	if asked != "ACBACB" { // all are dead after the second
		t.Errorf("asked %s", asked)
	}
	c.dead.answered(named("C"), time.Now())
	j = &job{}
	c.begin(j, time.Now())
	asked = j.server().host
	for more := true; more; {
		if j.turn, more = c.nextTurn(j); more {
			asked += j.server().host
		}
	}
	if asked != "CCAB" {
		t.Errorf("with two dead servers, asked %s", asked)
	}
}

// TestClientRecordSilence checks which ends of a session count as a first reply that did not come.
func TestClientRecordSilence(t *testing.T) {
	ended, end := context.WithCancel(t.Context())
	end()
	now := time.Now()
	for _, tt := range []struct {
		name    string
		came    outcome
		session session
		ctx     context.Context
		counts  bool
	}{
		{"timed out", outcomeTimedOut, session{unanswered: true}, t.Context(), true},
		{"timed out at once", outcomeTimedOut, session{unanswered: true, deadline: now.Add(minReplyTime - 1)}, t.Context(), false},
		{"timed out on a connection that answered", outcomeTimedOut, session{unanswered: true, reused: true}, t.Context(), true},
		{"answered before", outcomeTimedOut, session{}, t.Context(), false},
		{"lost", outcomeConnLost, session{unanswered: true}, t.Context(), true},
		{"lost a connection that answered", outcomeConnLost, session{unanswered: true, reused: true}, t.Context(), false},
		{"not sent", outcomeNotSent, session{unanswered: true}, t.Context(), true},
		{"not sent on a connection that answered", outcomeNotSent, session{unanswered: true, reused: true}, t.Context(), false},
		{"another service", outcomeUnreadable, session{unanswered: true}, t.Context(), true},
		{"never begun", outcomeDecided, session{unanswered: true}, t.Context(), false},
		{"the flag", outcomeFlagViolation, session{unanswered: true}, t.Context(), false},
		{"interrupted", outcomeDecided, session{unanswered: true, sentAt: now.Add(-time.Minute)}, ended, true},
		{"interrupted soon", outcomeDecided, session{unanswered: true}, ended, false},
	} {
		servers := []server{named("A"), named("B")}
		c := &client{servers: servers, dead: newDeadServers(t.Context(), servers, time.Hour, nil)}
		for range deadAfter {
			j := &job{order: servers, session: tt.session, err: errDown}
			if j.session.sentAt.IsZero() {
				j.session.sentAt = now
			}
			if j.session.deadline.IsZero() {
				j.session.deadline = now.Add(time.Minute)
			}
			c.recordSilence(tt.ctx, j, tt.came)
		}
		if dead := c.dead.skips(named("A")); dead != tt.counts {
			t.Errorf("%s: dead %t", tt.name, dead)
		}
	}
}

// TestClientTriedAddresses: the result has every address that was tried, with its error.
func TestClientTriedAddresses(t *testing.T) {
	s := startFakeServer(t, (*fakeServerConn).grantAll)
	_, port, _ := net.SplitHostPort(s.addr)
	resolveWith(t, dnsOf("127.0.0.2", "127.0.0.3", "127.0.0.1"))
	name := "tac1.test:" + port
	list := answers(t, runWith(t, secretsInEnv, "", "authorize", "alice", name, "--json").out)
	if len(list) != 1 || !list[0].Granted || list[0].Server != name || len(list[0].Attempts) != 2 {
		t.Fatalf("got %+v", list)
	}
	for i, a := range list[0].Attempts {
		addr := fmt.Sprintf("127.0.0.%d", i+2)
		if a.Server != name || a.Address != addr+":"+port || a.Class != "network" || a.Message != "connect to "+name+" ["+addr+"]: connection refused" || a.Hint == "" {
			t.Errorf("attempt %d: %+v", i, a)
		}
	}
	got := runWith(t, secretsInEnv, "", "authorize", "alice", name, "-v")
	if want := "attempt: 127.0.0.2:" + port + ": connect to " + name + " [127.0.0.2]: connection refused\n"; !strings.Contains(got.out, want) {
		t.Errorf("-v prints %s, want %s", got.out, want)
	}

	// The last address of a server that fails is that of its attempt.
	resolveWith(t, dnsOf("127.0.0.2", "127.0.0.3"))
	list = answers(t, runWith(t, secretsInEnv, "", "authorize", "alice", name+","+s.addr, "--json").out)
	if len(list) != 1 || !list[0].Granted || len(list[0].Attempts) != 2 || list[0].Attempts[0].Address != "127.0.0.2:"+port || list[0].Attempts[1].Address != "127.0.0.3:"+port {
		t.Errorf("got %+v", list)
	}
}

// TestClientDeviceNames: --vrf is another name of --interface, on the command line and in a profile.
func TestClientDeviceNames(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	dir := writeFiles(t, map[string]string{"profile": "vrf no-such-device\n"})
	for line, want := range map[string]string{
		"--vrf no-such-device":                            "check --source and --interface",
		"--interface no-such-device --vrf no-such-device": "check --source and --interface",
		"@" + filepath.Join(dir, "profile"):               "check --source and --interface",
		"--interface one --vrf two":                       `option --vrf: "two" is not "one", which was given before: --interface and --vrf are the same`,
		"--vrf one --interface two":                       `option --interface: "two" is not "one"`,
	} {
		if got := runWith(t, secretsInEnv, "", split("authenticate alice AT "+line, "AT", s.addr)...); !strings.Contains(got.err, want) && !(strings.Contains(want, "check") && strings.Contains(got.err, "--interface needs Linux")) {
			t.Errorf("%s: got %+v", line, got)
		}
	}
}

// TestClientDeadTime checks the values of --dead-time.
func TestClientDeadTime(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]time.Duration{"0": 0, "0s": 0, "0.0": 0, "2.5": 2500 * time.Millisecond, "1m": time.Minute, "-1": -1, "": -1, "25h": -1, "x": -1} {
		o := newOptionSet()
		got := addDeadTime(o)
		if err := o.find("dead-time").value.Set(value); (err != nil) != (want < 0) || err == nil && *got != want {
			t.Errorf("%q: %v, %v", value, *got, err)
		}
	}
	if *addDeadTime(newOptionSet()) != 30*time.Second {
		t.Error("the default is not 30 s")
	}
}

// TestClientNotSentAgain: the error of a record that is not sent again has the cause, the class and the hint.
func TestClientNotSentAgain(t *testing.T) {
	c := &client{servers: []server{named("A"), named("B")}}
	cause := errors.New("cause")
	j := &job{request: &record{}, err: &attemptError{failf(classNetwork, "why: %w", cause).withHint("do this"), outcomeTimedOut}}
	c.begin(j, time.Now())
	if again := c.recordOutcome(t.Context(), j, discardWarning); again || !errors.Is(j.err, cause) || classOf(j.err) != classNetwork || asFailure(j.err).hint != "do this" ||
		!regexp.MustCompile(`^why: cause; the record may be written`).MatchString(j.err.Error()) {
		t.Errorf("%t, %v", again, j.err)
	}
	j = &job{request: &record{}, turn: 1, err: &attemptError{failf(classNetwork, "why"), outcomeTimedOut}}
	if c.begin(j, time.Now()); c.recordOutcome(t.Context(), j, discardWarning) || j.err.Error() != "why" {
		t.Errorf("without another server: %v", j.err)
	}
}
