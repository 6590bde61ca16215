package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
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
	for name, reply := range unusable {
		for _, line := range []string{
			"account u1 AT", "account u1 AT --single-connect", "batch AT -c 1 " + acctLine, "batch AT -c 1 " + papLine, "batch AT -c 1 " + asciiLine, "authenticate u1 AT", "authenticate u1 AT -t pap --single-connect", "authorize u1 AT",
		} {
			t.Run(name+" "+line, func(t *testing.T) {
				t.Parallel()
				first, second := replyingWith(t, reply), startFakeServer(t, (*fakeServerConn).grantAll)
				args, input, batch := strings.Cut(line, " {")
				if batch {
					input = requests(2, "{"+input)
				}
				args += " --timeout 1"
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
			c := &client{connectTimeout: tt.explicit, failoverTimeout: tt.failover}
			if got := c.connectLimit(ctx, tt.addrs, tt.another); got != tt.want {
				t.Errorf("%+v: got %v", tt, got)
			}
		}
	})
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
		c.dead.connectFailed(j.server(), errDown)
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
		left    bool
		counts  bool
	}{
		{"timed out", outcomeTimedOut, session{unanswered: true}, t.Context(), false, true},
		{"timed out at once", outcomeTimedOut, session{unanswered: true, deadline: now.Add(minReplyTime - 1)}, t.Context(), false, false},
		{"timed out on a connection that answered", outcomeTimedOut, session{unanswered: true, reused: true}, t.Context(), false, true},
		{"answered before", outcomeTimedOut, session{}, t.Context(), false, false},
		{"lost", outcomeConnLost, session{unanswered: true}, t.Context(), false, true},
		{"lost a connection that answered", outcomeConnLost, session{unanswered: true, reused: true}, t.Context(), false, false},
		{"not sent", outcomeNotSent, session{unanswered: true}, t.Context(), false, true},
		{"not sent on a connection that answered", outcomeNotSent, session{unanswered: true, reused: true}, t.Context(), false, false},
		{"another service", outcomeUnreadable, session{unanswered: true}, t.Context(), false, true},
		{"never begun", outcomeDecided, session{unanswered: true}, t.Context(), false, false},
		{"the flag", outcomeFlagViolation, session{unanswered: true}, t.Context(), false, false},
		{"interrupted", outcomeDecided, session{unanswered: true, sentAt: now.Add(-time.Minute)}, ended, false, true},
		{"interrupted soon", outcomeDecided, session{unanswered: true}, ended, false, false},
		{"left", outcomeTimedOut, session{unanswered: true}, t.Context(), true, false},
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
			j.abandoned.Store(tt.left)
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
	for value, want := range map[string]time.Duration{"0": 0, "0s": -1, "0.0": 0, "2.5": 2500 * time.Millisecond, "1m": time.Minute, "-1": -1, "": -1, "25h": -1, "x": -1} {
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

// attemptsOf returns how many answers have an earlier attempt.
func attemptsOf(list []answer) (n int) {
	for _, a := range list {
		if len(a.Attempts) > 0 {
			n++
		}
	}
	return n
}

// TestBatchSkipsDeadServer: only one request tries a server that refuses connections, and three one that does not answer,
// unless the memory is off.
func TestBatchSkipsDeadServer(t *testing.T) {
	t.Parallel()
	silent := func(t *testing.T) string {
		return startFakeServer(t, func(c *fakeServerConn) {
			for c.readRequest() != nil {
			}
		}).addr
	}
	for _, tt := range []struct {
		name    string
		server  func(*testing.T) string
		line    string
		options string
		failed  int
	}{
		{"refuses", refusedAddr, papLine, "", 1},
		{"refuses dialogues", refusedAddr, asciiLine, "", 1},
		{"refuses records", refusedAddr, acctLine, "", 1},
		{"refuses, memory off", refusedAddr, papLine, " --dead-time 0", 8},
		{"is silent", silent, papLine, " --timeout 1", 3},
		{"is silent to dialogues", silent, asciiLine, " --timeout 1", 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			good := startFakeServer(t, (*fakeServerConn).grantAll)
			got := runWith(t, secretsInEnv, requests(8, tt.line), split("batch AT -c 1"+tt.options, "AT", tt.server(t)+","+good.addr)...)
			list := answers(t, got.out)
			if n := checkAnswers(t, list, 8); n != 8 || attemptsOf(list) != tt.failed || attemptsOf(list[:tt.failed]) != tt.failed {
				t.Errorf("%d granted, %d with an earlier attempt: %s", n, attemptsOf(list), got.err)
			}
		})
	}
}

// TestCommandFileSkipsDeadServer: so does authorize --cmd-file.
func TestCommandFileSkipsDeadServer(t *testing.T) {
	t.Parallel()
	dead, good := refusedAddr(t), startFakeServer(t, (*fakeServerConn).grantAll)
	for options, all := range map[string]bool{"": false, "--dead-time 0": true} {
		got := runWith(t, secretsInEnv, strings.Repeat("show version\n", 20), split("authorize alice "+dead+","+good.addr+" --cmd-file - --json "+options)...)
		list := answers(t, got.out)
		if n := attemptsOf(list); len(list) != 20 || got.code != classGranted.exit() || (n == 20) != all || n == 0 {
			t.Errorf("%s: %d of %d with an earlier attempt", options, n, len(list))
		}
	}
}

// TestBatchDeadServerReturns: a connect in the background brings a dead server back, with TLS only after a handshake.
// No request is spent on it.
func TestBatchDeadServerReturns(t *testing.T) {
	t.Parallel()
	pair, ca, err := selfSigned(nil)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(writeFiles(t, map[string]string{"ca.pem": string(ca)}), "ca.pem")
	secure := &tls.Config{Certificates: pair}
	for name, overTLS := range map[string]bool{"clear": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, other := listen(t), listen(t)
			first := l.Addr().String()
			options := []string{first + "," + other.Addr().String(), "-c", "1", "--dead-time", "20ms"}
			var refused sync.WaitGroup
			if overTLS {
				options = append(options, "--tls", "--cacert", file)
				other = tls.NewListener(other, secure)
				again := make(chan struct{}) // when the background has connected twice
				refused.Go(func() {
					for range 3 {
						if conn, err := l.Accept(); err == nil {
							conn.Close() // no handshake
						}
					}
					close(again)
				})
				defer func() { <-again }()
			} else {
				l.Close()
			}
			good := startFakeServerOn(t, other, (*fakeServerConn).grantAll)
			k := startBatch(t, options...)
			k.send(fmt.Sprintf(papLine, `"user":"u0"`))
			if a := k.receive(); !a.Granted || a.Server != good.addr || len(a.Attempts) != 1 {
				t.Fatalf("first answer: %+v", a)
			}
			refused.Wait()
			k.send(fmt.Sprintf(papLine, `"user":"u1"`))
			if a := k.receive(); !a.Granted || a.Server != good.addr || len(a.Attempts) != 0 {
				t.Errorf("answer while it is dead: %+v", a)
			}
			if overTLS {
				l = tls.NewListener(l, secure)
			} else if l, err = net.Listen("tcp", first); err != nil {
				t.Fatal(err)
			}
			back := startFakeServerOn(t, l, (*fakeServerConn).grantAll)
			waitUntil(t, "requests go to the first server", func() bool {
				k.send(fmt.Sprintf(papLine, `"user":"u2"`))
				a := k.receive()
				if !a.Granted || len(a.Attempts) != 0 {
					t.Errorf("answer %+v", a)
				}
				return a.Server == first
			})
			if k.end(); back.connections() < 2 { // the first one in the background
				t.Errorf("%d connections to the server that is back", back.connections())
			}
		})
	}
}

// TestPoolReplacesConnection: a shared connection that takes no new session is replaced at once, while a session on it
// is still under way. That session still gets its reply.
func TestPoolReplacesConnection(t *testing.T) {
	t.Parallel()
	var once sync.Once
	replaced := make(chan struct{})
	s := startFakeServer(t, func(c *fakeServerConn) {
		if c.number > 1 {
			once.Do(func() { close(replaced) })
			c.grantAll()
			return
		}
		c.Write(c.grantReply(c.readRequest()))
		list := c.readRequests(2)
		c.Write(c.grantReply(list[1], func(h *header) { h.seqNo = 4 }))
		select {
		case <-replaced:
		case <-t.Context().Done():
		}
		for c.in.Buffered() > 0 { // sent before the client read the wrong reply
			list = append(list, c.readRequest())
		}
		c.Write(c.grantReply(list[0]))
		for _, q := range list[2:] {
			c.Write(c.grantReply(q))
		}
		c.grantAll()
	})
	k := startBatch(t, s.addr, "-c", "100")
	n := 0
	send := func() {
		k.send(fmt.Sprintf(authorLine, fmt.Sprintf(`"user":"u%d"`, n)))
		n++
	}
	send()
	k.receive()
	send()
	send()
	for running := true; running; send() {
		select {
		case <-replaced:
			running = false
		case <-t.Context().Done():
			t.Fatal("the connection is not replaced")
		case <-time.After(5 * time.Millisecond):
		}
	}
	for i := 1; i < n; i++ {
		if a := k.receive(); a.Granted != (i != 2) {
			t.Errorf("answer %d: %+v %+v", i, a, a.Error)
		}
	}
	if k.end(); s.connections() != 2 {
		t.Errorf("%d connections", s.connections())
	}
}

// TestPoolDrainsFew: at most maxDraining connections are drained at a time, each until its sessions have ended.
func TestPoolDrainsFew(t *testing.T) {
	p := newPool(clientFor(t, "tac1"), 2*maxDraining)
	var others []net.Conn
	for i := range maxDraining + 1 {
		conn, other := net.Pipe()
		others = append(others, other)
		p.mux = newMux(&serverConn{client: p.client, server: p.client.servers[0], conn: conn, answered: 1, noNewSessions: true, stopWatch: func() {}}, p.wakeup.ch, nil, discardWarning)
		j := &job{request: new(authorization)}
		p.client.begin(j, time.Now())
		j.session.conn, j.session.deadline = p.mux.conn, time.Now().Add(patience)
		p.mux.inFlight.push(&j.place, j)
		p.mux.byID[0] = j
		p.retireShared(t.Context(), p.client.servers[0])
		if drained := p.mux == nil; drained != (i < maxDraining) || p.draining != min(i+1, maxDraining) || p.inFlight() != i+1 {
			t.Errorf("connection %d: drained %t, %d at a time, %d jobs", i, drained, p.draining, p.inFlight())
		}
	}
	for _, other := range others {
		other.Close()
	}
	p.workers.Wait()
	for range 2 * maxDraining {
		if d := <-p.drained; d.job == nil {
			p.onDrained(t.Context(), d)
		} else if p.onWorkers--; !strings.Contains(fmt.Sprint(d.job.err), "closed") {
			t.Errorf("job: %v", d.job.err)
		}
	}
	if p.draining != 0 || p.onWorkers != 0 {
		t.Errorf("%d connections, %d jobs are left", p.draining, p.onWorkers)
	}
}

// TestPoolFirstWait: requests do not wait longer than maxFirstWait for the first reply on a shared connection.
func TestPoolFirstWait(t *testing.T) {
	t.Parallel()
	others := make(chan struct{})
	s := startFakeServer(t, func(c *fakeServerConn) {
		q := c.readRequest()
		if q == nil {
			return
		}
		if q.user == "u0" {
			select {
			case <-others:
			case <-t.Context().Done():
			}
		}
		c.Write(c.grantReply(q))
		c.grantAll()
	})
	k := startBatch(t, s.addr, "-c", "4")
	k.send(fmt.Sprintf(papLine, `"user":"u0"`))
	waitUntil(t, "the first request arrives", func() bool { return s.asked("u0") == 1 })
	for i := 1; i < 4; i++ {
		k.send(fmt.Sprintf(papLine, fmt.Sprintf(`"user":"u%d"`, i)))
	}
	waitUntil(t, "the others arrive", func() bool { return s.asked("u1")+s.asked("u2")+s.asked("u3") == 3 })
	close(others)
	for i := range 4 {
		if a := k.receive(); !a.Granted {
			t.Errorf("answer %d: %+v", i, a)
		}
	}
	k.end()
}

// TestPoolReadsIdleConnection: the pool notices that the server has closed an idle connection, and closes it too, before
// there is another request.
func TestPoolReadsIdleConnection(t *testing.T) {
	t.Parallel()
	ended := make(chan int, 1)
	s := startFakeServer(t, startingWith(func(c *fakeServerConn) {
		c.Write(c.grantReply(c.readRequest()))
		c.Conn.(*net.TCPConn).CloseWrite()
		ended <- c.ends()
	}))
	k := startBatch(t, s.addr)
	k.send(fmt.Sprintf(acctLine, `"user":"u0"`))
	k.receive()
	if n := <-ended; n != 0 {
		t.Errorf("%d more packets", n)
	}
	k.send(fmt.Sprintf(acctLine, `"user":"u1"`))
	if a := k.receive(); !a.Granted {
		t.Errorf("record on a new connection: %+v", a)
	}
	if got := k.end(); strings.Contains(got.err, "busy connections") {
		t.Errorf("an idle connection counts as busy: %s", got.err)
	}
}

// TestMuxIdle: the wait on an idle connection ends at its time, after a wakeup, and at the end of ctx.
func TestMuxIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, other := net.Pipe()
		defer other.Close()
		defer conn.Close()
		w := &wakeup{ch: make(chan struct{}, 1)}
		l := &serverConn{client: new(client), conn: conn}
		w.conn.Store(l)
		m := newMux(l, w.ch, func() {}, discardWarning)
		ended, end := context.WithCancel(t.Context())
		end()
		began := time.Now()
		m.idle(ended, time.Time{})
		w.notify()
		m.idle(t.Context(), time.Time{})
		if m.idle(t.Context(), began.Add(time.Minute)); time.Since(began) != time.Minute {
			t.Errorf("waited %v", time.Since(began))
		}
		go func() {
			time.Sleep(time.Second)
			w.notify()
		}()
		if m.idle(t.Context(), time.Time{}); time.Since(began) != time.Minute+time.Second || len(w.ch) != 0 || l.noNewSessions {
			t.Errorf("waited %v", time.Since(began))
		}
		other.Close()
		if m.idle(t.Context(), time.Time{}); !l.noNewSessions {
			t.Error("the end of the connection is not noticed")
		}
	})
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
