package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A deadTest is a memory of the servers A, B and C, with a fake connect, in the time of synctest.
type deadTest struct {
	*deadServers
	servers  []server
	mu       sync.Mutex
	down     map[string]bool // servers to which the background connect fails
	connects []string        // of the background, in order
	changes  string
	during   func() // called by each background connect
}

var errDown = errors.New("down")

// withDeadServers calls test in a synctest bubble, and then ends the run.
func withDeadServers(t *testing.T, names string, test func(t *testing.T, d *deadTest)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		life, end := context.WithCancel(t.Context())
		defer synctest.Wait()
		defer end()
		d := &deadTest{down: make(map[string]bool)}
		for _, name := range names {
			d.servers = append(d.servers, named(string(name)))
		}
		d.deadServers = newDeadServers(life, d.servers, 30*time.Second, func(_ context.Context, srv server) error {
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.connects = append(d.connects, srv.host); d.during != nil {
				d.during()
			}
			if d.down[srv.host] {
				return errDown
			}
			return nil
		})
		d.changed = func(srv server, why error) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.changes += map[bool]string{true: "+", false: "-"}[why == nil] + srv.host
		}
		test(t, d)
	})
}

func named(name string) server { return newServer(name, portClear) }

// silent records n missing first replies, of requests that were sent now.
func (d *deadTest) silent(name, device string, n int) {
	for range n {
		d.unanswered(named(name), device, time.Now(), errDown)
	}
}

// check compares the order of the servers, those that are skipped after a slash.
func (d *deadTest) check(t *testing.T, when, want string) {
	t.Helper()
	var tried, skipped string
	for _, srv := range d.order(d.servers) {
		if d.skips(srv) {
			skipped += srv.host
		} else {
			tried += srv.host
		}
	}
	equal(t, strings.TrimSuffix(tried+"/"+skipped, "/"), want, when, "order")
}

// set makes the background connects to a server fail, or succeed.
func (d *deadTest) set(name string, down bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.down[name] = down
}

// connected returns the servers that the background connected to.
func (d *deadTest) connected() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Join(d.connects, "")
}

// after lets time pass, and waits for the background.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// TestDeadServersConnectFailed: a server is dead as soon as connecting fails. A connect in the background after the dead
// time brings it back to its place.
func TestDeadServersConnectFailed(t *testing.T) {
	withDeadServers(t, "ABC", func(t *testing.T, d *deadTest) {
		d.check(t, "at the start", "ABC")
		d.connectFailed(named("A"), errDown)
		d.check(t, "after a failed connect", "BC/A")
		d.set("A", true)
		after(29 * time.Second)
		equal(t, d.connected(), "", "connects before the dead time is over")
		after(time.Second)
		d.check(t, "after the first connect in the background", "BC/A")
		after(30 * time.Second)
		equal(t, d.connected(), "AA", "connects")
		d.set("A", false)
		after(29 * time.Second)
		d.check(t, "before the third", "BC/A")
		after(time.Second)
		d.check(t, "after one that succeeded", "ABC")
		after(time.Hour)
		equal(t, d.connected(), "AAA", "connects to a living server")
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.changes != "-A+A" {
			t.Errorf("changes: %s, want -A+A", d.changes)
		}
	})
}

// TestDeadServersSilence: a server is dead after three first replies in a row that did not come. After the connect in the
// background it is last until it has answered.
func TestDeadServersSilence(t *testing.T) {
	withDeadServers(t, "ABC", func(t *testing.T, d *deadTest) {
		d.silent("A", "", 2)
		d.answered(named("A"), time.Now())
		d.silent("A", "", 2)
		d.check(t, "two, an answer, two", "ABC")
		d.silent("A", "", 1)
		d.check(t, "three in a row", "BC/A")
		after(30 * time.Second)
		d.check(t, "after the connect in the background", "BCA")
		d.silent("A", "", 2)
		d.check(t, "two more", "BCA")
		d.connectFailed(named("B"), errDown)
		d.check(t, "with another dead one", "CA/B")
		d.answered(named("A"), time.Now())
		d.check(t, "after an answer", "AC/B")
		d.silent("A", "", 2)
		d.check(t, "two after an answer", "AC/B")
	})
}

// TestDeadServersSilenceMixed: in a list with TLS a silent server without TLS comes back to its place, since it would get no
// request after a server with TLS.
func TestDeadServersSilenceMixed(t *testing.T) {
	for tls, want := range map[string]string{"": "BCA", "A": "BCA", "B": "ABC", "ABC": "BCA"} {
		withDeadServers(t, "ABC", func(t *testing.T, d *deadTest) {
			for i := range d.servers {
				old := d.servers[i]
				d.servers[i].tls = strings.Contains(tls, old.host)
				state := d.states[old]
				delete(d.states, old)
				d.states[d.servers[i]] = state
			}
			for range deadAfter {
				d.unanswered(d.servers[0], "", time.Now(), errDown)
			}
			d.check(t, tls+" over TLS, dead", "BC/A")
			after(30 * time.Second)
			d.check(t, tls+" over TLS, connected", want)
		})
	}
}

// TestDeadServersLaterAnswer: the first reply that did not come to a request does not count if the server has answered
// one that was sent later.
func TestDeadServersLaterAnswer(t *testing.T) {
	withDeadServers(t, "AB", func(t *testing.T, d *deadTest) {
		sent := time.Now()
		after(time.Second)
		d.answered(named("A"), time.Now())
		d.answered(named("A"), sent) // slower
		after(10 * time.Second)
		for range 3 * deadAfter {
			d.unanswered(named("A"), "", sent, errDown)
		}
		d.check(t, "three that were sent before", "AB")
		for range deadAfter {
			d.unanswered(named("A"), "", sent.Add(time.Second), errDown)
		}
		d.check(t, "three that were sent with it", "B/A")
	})
}

// TestDeadServersDevices: if more than one device is connected, the first replies that make a server dead are those of
// two of them.
func TestDeadServersDevices(t *testing.T) {
	withDeadServers(t, "AB", func(t *testing.T, d *deadTest) {
		d.countDevice("one", 1)
		d.countDevice("one", 1)
		d.silent("B", "one", 3)
		d.check(t, "one device", "A/B")
		d.answered(named("B"), time.Now())
		d.countDevice("two", 1)
		d.silent("A", "one", 5)
		d.check(t, "one of two devices", "AB")
		d.silent("A", "two", 1)
		d.check(t, "both", "B/A")
		d.answered(named("A"), time.Now())
		d.silent("A", "one", 2)
		d.countDevice("two", -1)
		d.check(t, "before the third", "AB")
		d.silent("A", "one", 1)
		d.check(t, "the other one has gone", "B/A")
		d.answered(named("A"), time.Now())
		d.countDevice("two", 1)
		d.countDevice("one", -1)
		d.silent("A", "two", 2)
		d.silent("A", "one", 1)
		d.check(t, "one is still connected once", "B/A")
	})
}

// TestDeadServersOneConnection: each session of a connection whose first reply comes shows that the server lives.
func TestDeadServersOneConnection(t *testing.T) {
	withDeadServers(t, "AB", func(t *testing.T, d *deadTest) {
		conn := &serverConn{client: &client{dead: d.deadServers}, server: named("A")}
		for range 3 {
			after(1)
			s := session{conn: conn, unanswered: true, sentAt: time.Now()}
			after(2)
			s.onReply(time.Now())
			s.sentAt = time.Now()
			after(3)
			s.onReply(time.Now()) // of a dialogue
			equal(t, s.timing.firstReply, 2, "time of the first reply:")
			d.silent("A", "", deadAfter-1)
			d.check(t, "after a reply", "AB")
		}
		d.silent("A", "", 1)
		d.check(t, "without one", "B/A")
	})
}

// TestDeadServersLeft: a device that leaves counts as unanswered if it waited two seconds.
func TestDeadServersLeft(t *testing.T) {
	withDeadServers(t, "AB", func(t *testing.T, d *deadTest) {
		var why error
		d.changed = func(_ server, err error) { why = err }
		sent := time.Now()
		after(leftAfter - 1)
		for range deadAfter {
			d.unanswered(named("A"), "", sent, nil)
		}
		d.check(t, "too early", "AB")
		after(1)
		for range deadAfter {
			d.unanswered(named("A"), "", sent, nil)
		}
		if d.check(t, "late enough", "B/A"); fmt.Sprint(why) != "no reply from A:49 before the client left" {
			t.Errorf("the reason is %v", why)
		}
	})
}

// TestDeadServersAllDead: if all are dead, all are tried in the order of the list. An answer brings one back, but the
// others are skipped.
func TestDeadServersAllDead(t *testing.T) {
	withDeadServers(t, "ABC", func(t *testing.T, d *deadTest) {
		d.silent("B", "", 3)
		d.connectFailed(named("C"), errDown)
		d.check(t, "all but one", "A/BC")
		if !d.othersLive(named("B")) || d.othersLive(named("A")) {
			t.Error("only A lives")
		}
		d.connectFailed(named("A"), errDown)
		d.check(t, "all", "ABC")
		after(10 * time.Second)
		d.answered(named("C"), time.Now())
		d.check(t, "one has answered", "C/AB")
		d.connectFailed(named("A"), errDown) // does not put off the connect
		after(20 * time.Second)
		d.check(t, "dead time over", "ACB")
		if got := d.connected(); got != "AB" && got != "BA" {
			t.Errorf("connects: %s", got)
		}
	})
}

// TestDeadServersOneWatch: there is one background connect a server at a time, also after it died twice, and none after
// the end of the run.
func TestDeadServersOneWatch(t *testing.T) {
	withDeadServers(t, "AB", func(t *testing.T, d *deadTest) {
		d.set("A", true)
		for range 3 {
			d.connectFailed(named("A"), errDown)
			after(9 * time.Second)
			d.answered(named("A"), time.Now())
		}
		d.connectFailed(named("A"), errDown) // the first dead time is not over
		after(29 * time.Second)
		equal(t, d.connected(), "", "connects before the last dead time is over")
		after(time.Second)
		equal(t, d.connected(), "A", "connects")
		d.connectFailed(named("Z"), errDown) // not of this run
		d.check(t, "a foreign server", "B/A")
	})
}

// TestDeadServersAnsweredMeanwhile: a connect in the background that fails does not kill a server that has answered a
// request meanwhile.
func TestDeadServersAnsweredMeanwhile(t *testing.T) {
	withDeadServers(t, "AB", func(t *testing.T, d *deadTest) {
		d.set("A", true)
		d.during = func() { d.answered(named("A"), time.Now()) }
		d.changed = nil
		d.connectFailed(named("A"), errDown)
		after(30 * time.Second)
		equal(t, d.connected(), "A", "connects")
		d.check(t, "after an answer and a failed connect", "AB")
	})
}

// TestDeadServersAdopt: another list keeps what is known of the servers that stay, and has a way to connect of its own.
func TestDeadServersAdopt(t *testing.T) {
	withDeadServers(t, "ABCD", func(t *testing.T, d *deadTest) {
		before := d.servers
		d.connectFailed(named("A"), errDown)
		d.connectFailed(named("B"), errDown)
		d.silent("C", "", deadAfter)
		after(30 * time.Second) // A and B live again, and C is last
		d.check(t, "before", "ABDC")
		d.connectFailed(named("A"), errDown)
		d.connectFailed(named("B"), errDown)
		d.silent("D", "", deadAfter-1)
		d.check(t, "when A and B are dead", "DC/AB")
		connects := d.connected()
		var others []string
		var mu sync.Mutex
		d.servers = []server{named("E"), named("C"), named("B"), named("D")}
		d.adopt(newDeadServers(d.life, d.servers, time.Minute, func(_ context.Context, srv server) error {
			mu.Lock()
			defer mu.Unlock()
			others = append(others, srv.host)
			return errDown
		}))
		d.check(t, "with another list", "EDC/B")
		var old string
		for _, srv := range d.order(before) {
			old += srv.host
		}
		if old != "ADCB" {
			t.Errorf("the order of the old list is %s", old)
		}
		d.silent("D", "", 1)
		d.check(t, "after the last missing reply of D", "EC/BD")
		d.connectFailed(named("A"), errDown)
		after(2 * time.Minute)
		mu.Lock()
		got := strings.Join(others, "")
		mu.Unlock()
		if got != "BDBD" || d.connected() != connects {
			t.Errorf("connects: %s, and by the old way %s, before %s", got, d.connected(), connects)
		}
		d.adopt(nil)
		d.check(t, "without a list", "ECBD")
		after(time.Hour)
		mu.Lock()
		defer mu.Unlock()
		if len(others) != len(got) {
			t.Errorf("connects to servers that have left: %s", others)
		}
	})
}

// TestDeadServersOff: without a memory nothing is skipped.
func TestDeadServersOff(t *testing.T) {
	d := newDeadServers(t.Context(), []server{named("A"), named("B")}, 0, nil)
	d.connectFailed(named("A"), errDown)
	d.unanswered(named("A"), "", time.Now(), errDown)
	d.unanswered(named("A"), "", time.Time{}, nil)
	d.answered(named("A"), time.Now())
	d.countDevice("one", 1)
	d.countDevice("one", -1)
	if d != nil || d.skips(named("A")) || d.othersLive(named("A")) {
		t.Error("there is a memory")
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
	var all subtests
	defer all.Wait()
	silent := func(t *testing.T) string {
		return startFakeServer(t, (*fakeServerConn).readAll).addr
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
		{"is silent", silent, papLine, " --timeout 1500ms", 3},
		{"is silent to dialogues", silent, asciiLine, " --timeout 1500ms", 3},
	} {
		all.run(t, strings.Contains(tt.options, "--timeout"), tt.name, func(t *testing.T) {
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
	must(t, err)
	file := filepath.Join(writeFiles(t, map[string]string{"ca.pem": string(ca)}), "ca.pem")
	secure := &tls.Config{Certificates: pair}
	for name, overTLS := range map[string]bool{"clear": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, other := listen(t), listen(t)
			first := l.Addr().String()
			if !overTLS {
				first = downAddr(t)
			}
			options := []string{first + "," + other.Addr().String(), "-c", "1", "--dead-time", "20ms"}
			var refused sync.WaitGroup
			if overTLS {
				options = append(options, "--tls", "--cacert", file)
				other = tls.NewListener(other, secure)
				refused.Go(func() {
					for range 3 { // the request, and the background twice
						if conn, err := l.Accept(); err == nil {
							conn.Close() // no handshake
						}
					}
				})
			}
			good := startFakeServerOn(t, other, (*fakeServerConn).grantAll)
			k := startBatch(t, options...)
			k.request(papLine, 0)
			if a := k.receive(); !a.Granted || a.Server != good.addr || len(a.Attempts) != 1 {
				t.Fatalf("first answer: %+v", a)
			}
			refused.Wait()
			k.request(papLine, 1)
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
				k.request(papLine, 2)
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
		k.request(authorLine, n)
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
	k.end()
}

// TestPoolDrainsFew: at most maxDraining connections are drained at a time, each until its sessions have ended.
func TestPoolDrainsFew(t *testing.T) {
	p := newPool(clientFor(t, "tac1"), 2*maxDraining)
	var others []net.Conn
	for i := range maxDraining + 1 {
		conn, other := net.Pipe()
		others = append(others, other)
		p.mux = newMux(&serverConn{client: p.client, keys: p.client.keys, server: p.client.servers[0], conn: conn, answered: 1, noNewSessions: true, stopWatch: func() {}}, &p.wakeup, nil, discardWarning)
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
	if len(p.fromDraining) != maxDraining || len(p.drained) != maxDraining {
		t.Errorf("%d jobs and %d connections have ended", len(p.fromDraining), len(p.drained))
	}
	for len(p.fromDraining) > 0 {
		if j := <-p.fromDraining; !strings.Contains(fmt.Sprint(j.err), "closed") {
			t.Errorf("job: %v", j.err)
		}
	}
}

// TestPoolFirstWait: requests do not wait longer than maxFirstWait for the first reply on a shared connection.
func TestPoolFirstWait(t *testing.T) {
	t.Parallel()
	others := make(chan struct{})
	s := startFakeServer(t, func(c *fakeServerConn) {
		for q := range c.requests {
			if q.user == "u0" {
				select {
				case <-others:
				case <-t.Context().Done():
				}
			}
			c.Write(c.grantReply(q))
		}
	})
	k := startBatch(t, s.addr, "-c", "4")
	k.request(papLine, 0)
	waitUntil(t, "the first request arrives", func() bool { return s.asked("u0") == 1 })
	for i := 1; i < 4; i++ {
		k.request(papLine, i)
	}
	waitUntil(t, "the others arrive", func() bool { return s.asked("u1")+s.asked("u2")+s.asked("u3") == 3 })
	close(others)
	for range 4 {
		k.granted()
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
	k.request(acctLine, 0)
	k.receive()
	if n := <-ended; n != 0 {
		t.Errorf("%d more packets", n)
	}
	k.request(acctLine, 1)
	k.granted()
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
		m := newMux(l, w, func() {}, discardWarning)
		ended, end := context.WithCancel(t.Context())
		end()
		began := time.Now()
		m.wait(ended, time.Time{})
		w.notify()
		m.wait(t.Context(), time.Time{})
		if m.wait(t.Context(), began.Add(time.Minute)); time.Since(began) != time.Minute {
			t.Errorf("waited %v", time.Since(began))
		}
		go func() {
			time.Sleep(time.Second)
			w.notify()
		}()
		if m.wait(t.Context(), time.Time{}); time.Since(began) != time.Minute+time.Second || len(w.ch) != 0 || l.noNewSessions {
			t.Errorf("waited %v", time.Since(began))
		}
		other.Close()
		if m.wait(t.Context(), time.Time{}); !l.noNewSessions {
			t.Error("the end of the connection is not noticed")
		}
	})
}

// TestDeadServersLaterReply: a reply ends a row of missing ones, and shows that a dead server lives, also if another request
// of the same time was answered before.
func TestDeadServersLaterReply(t *testing.T) {
	for missing, before := range map[int]string{deadAfter - 1: "AB", deadAfter: "B/A"} {
		withDeadServers(t, "AB", func(t *testing.T, d *deadTest) {
			conn := &serverConn{client: &client{dead: d.deadServers}, server: named("A")}
			after(1)
			sent := time.Now()
			one, two := session{conn: conn, unanswered: true, sentAt: sent}, session{conn: conn, unanswered: true, sentAt: sent}
			after(1)
			one.onReply(time.Now())
			after(1)
			d.silent("A", "", missing)
			d.check(t, "before the reply", before)
			after(1)
			two.onReply(time.Now())
			d.check(t, "after the reply", "AB")
			d.silent("A", "", 1)
			d.check(t, "after the reply, 1 more", "AB")
		})
	}
}
