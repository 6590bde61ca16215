package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestRetryAfter lists the retry policy: the outcome of an attempt, whether the request can be repeated, and
// whether the connection was used before.
func TestRetryAfter(t *testing.T) {
	const stop, same, next = noRetry, retrySameServer, retryNextServer
	for _, tt := range []struct {
		outcome                                      outcome
		record, recordReused, request, requestReused retry
	}{
		{outcomeDecided, stop, stop, stop, stop},
		{outcomeFlagViolation, stop, stop, stop, stop},
		{outcomeError, next, next, next, next},
		{outcomeUnreadable, stop, stop, next, next},
		{outcomeRestart, same, same, same, same},
		{outcomeNotSent, next, same, next, same},
		{outcomeConnLost, stop, stop, next, same},
		{outcomeTimedOut, stop, stop, next, same},
	} {
		for _, of := range []struct {
			repeatable, reused bool
			want               retry
		}{{false, false, tt.record}, {false, true, tt.recordReused}, {true, false, tt.request}, {true, true, tt.requestReused}} {
			equal(t, retryAfter(tt.outcome, of.repeatable, of.reused), of.want, "outcome", tt.outcome, "repeatable", of.repeatable, "reused", of.reused)
		}
	}
}

// TestOutcomeOf checks the outcome of an attempt for each kind of error.
func TestOutcomeOf(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want outcome
	}{
		{nil, outcomeDecided},
		{failf(classDenied, "x"), outcomeDecided},
		{failf(classUsage, "x"), outcomeDecided},
		{errInterrupted, outcomeDecided},
		{errors.New("of this system"), outcomeDecided},
		{failf(classServer, "x"), outcomeError},
		{failf(classNetwork, "x"), outcomeUnreadable},
		{failf(classProtocol, "x"), outcomeUnreadable},
		{failf(classTLS, "x"), outcomeUnreadable},
		{errRestart, outcomeRestart},
		{&attemptError{failf(classProtocol, "x"), outcomeFlagViolation}, outcomeFlagViolation},
		{fmt.Errorf("around: %w", &attemptError{failf(classNetwork, "x"), outcomeConnLost}), outcomeConnLost},
	} {
		equal(t, outcomeOf(tt.err), tt.want, tt.err, "outcome")
	}
}

// An order records the order in which servers get requests.
type order struct {
	mu    sync.Mutex
	asked string
}

// closing returns the address of a server that records its name and closes without a reply.
func (o *order) closing(t *testing.T, name string) string {
	return startFakeServer(t, func(c *fakeServerConn) {
		if c.readRequest() != nil {
			o.mu.Lock()
			o.asked += name
			o.mu.Unlock()
		}
	}).addr
}

// TestPoolAttempts: each kind of request goes at most N+1 times to each server, in the order of the list, but a record
// that was sent goes to no other. The result lists every failed attempt.
func TestPoolAttempts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		servers int
		retries string
		asked   string
	}{
		{1, "0", "A"}, {1, "1", "AA"}, {1, "3", "AAAA"}, {2, "0", "AB"}, {2, "1", "ABAB"}, {3, "1", "ABCABC"},
	} {
		for _, way := range []string{
			"authenticate alice AT --json", "authenticate alice AT -t pap --json", "authorize alice AT --json", "account alice AT --json",
			"batch AT " + papLine, "batch AT " + asciiLine, "batch AT " + acctLine, "batch AT " + authorLine,
			"bench alice AT -t pap -n 1 --json", "bench alice AT -n 1 --json", "bench alice AT -t pap -n 1 --json --no-single-connect", "bench alice AT --account -n 1 --json",
		} {
			asked := tt.asked
			if strings.Contains(way, "account") {
				asked = "A"
			}
			t.Run(fmt.Sprint(tt.servers, " ", tt.retries, " ", way), func(t *testing.T) {
				t.Parallel()
				var o order
				var servers []string
				for i := range tt.servers {
					servers = append(servers, o.closing(t, string(rune('A'+i))))
				}
				line, input, _ := strings.Cut(way, " {")
				if input != "" {
					input = fmt.Sprintf("{"+input+"\n", `"user":"alice"`)
				}
				got := runWith(t, secretsInEnv, input, append(split(line, "AT", strings.Join(servers, ",")), "--retries", tt.retries)...)
				o.mu.Lock()
				defer o.mu.Unlock()
				if o.asked != asked || got.code != classNetwork.exit() {
					t.Errorf("got %d, servers %s, want %s: %s", got.code, o.asked, asked, got.err)
				}
				if strings.HasPrefix(way, "bench") {
					return
				}
				var list []answer
				if list = answers(t, got.out); len(list) != 1 || len(list[0].Attempts) != len(asked)-1 {
					t.Fatalf("attempts: %s", got.out)
				}
				for i, a := range list[0].Attempts {
					if a.Server != servers[i%len(servers)] || a.Address != a.Server || a.Class != "network" || !strings.Contains(a.Message, a.Server) {
						t.Errorf("attempt %d: %+v", i, a)
					}
				}
				if last := list[0]; last.Server != servers[(len(asked)-1)%len(servers)] || last.Timing["total"] <= 0 || last.Timing["connect"] <= 0 {
					t.Errorf("last attempt: %s", got.out)
				}
			})
		}
	}
}

// TestPoolFirstOnADeadServer: the job that finds a server dead has the same retries, attempts and timing as
// the jobs after it.
func TestPoolFirstOnADeadServer(t *testing.T) {
	t.Parallel()
	dead, good := refusedAddr(t), startFakeServer(t, (*fakeServerConn).grantAll)
	list := answers(t, runWith(t, secretsInEnv, requests(3, papLine), "batch", dead, "--retries", "2", "-c", "1").out)
	for i, a := range list {
		if len(list) != 3 || len(a.Attempts) != 2 || a.Timing["total"] <= 0 || a.ExitCode != classNetwork.exit() {
			t.Errorf("answer %d of %d: %+v", i, len(list), a)
		}
	}
	if list = answers(t, runWith(t, secretsInEnv, requests(1, papLine), "batch", dead).out); len(list) != 1 || list[0].Timing["total"] <= 0 {
		t.Errorf("without retries: %+v", list)
	}
	got := runWith(t, secretsInEnv, requests(20, papLine), "batch", dead+","+good.addr)
	list = answers(t, got.out)
	if checkAnswers(t, list, 20) != 20 || len(list[0].Attempts) != 1 || list[0].Attempts[0].Server != dead || got.code != classGranted.exit() {
		t.Errorf("got %+v", got)
	}
	for i, a := range list[1:] {
		if len(a.Attempts) != 0 || a.Server != good.addr { // they use the server that works
			t.Errorf("answer %d: %+v", i+1, a)
		}
	}
}

// TestPoolRecordAfterTimeout: a record that was written and got no reply is not sent again, also with --retries. Other
// requests are repeated once.
func TestPoolRecordAfterTimeout(t *testing.T) {
	t.Parallel()
	var all subtests
	defer all.Wait()
	for _, tt := range []struct {
		line    string
		retries string
		times   int // how often the server gets the last request
		code    class
	}{
		{acctLine, "0", 1, classNetwork},
		{acctLine, "1", 1, classNetwork},
		{authorLine, "0", 2, classGranted},
		{asciiLine, "0", 2, classGranted},
	} {
		all.run(t, true, tt.line[15:25]+tt.retries, func(t *testing.T) {
			s := startFakeServer(t, func(c *fakeServerConn) {
				for q := range c.requests {
					if c.number == 1 && q.user == "u1" {
						continue
					}
					c.Write(c.grantReply(q))
				}
			})
			got := runWith(t, secretsInEnv, requests(2, tt.line), split("batch AT -c 1 --timeout 2 --retries "+tt.retries, "AT", s.addr)...)
			if list := answers(t, got.out); len(list) != 2 || !list[0].Granted || list[1].ExitCode != tt.code.exit() {
				t.Errorf("got %+v", got)
			}
			if n := s.asked("u1"); n != tt.times {
				t.Errorf("the server got the request %d times, want %d", n, tt.times)
			}
		})
	}
}

// ends reads until the client closes the connection and returns the number of packets until then. It returns
// -1 if the client does not close it.
func (c *fakeServerConn) ends() (packets int) {
	c.SetReadDeadline(time.Now().Add(patience / 2))
	for {
		if _, err := c.in.Peek(1); errors.Is(err, os.ErrDeadlineExceeded) {
			return -1
		}
		if c.readRequest() == nil {
			return packets
		}
		packets++
	}
}

// TestPoolFlagViolationEndsTheConnection checks section 10.5.2 with many sessions on a connection. The client
// closes it at once, ignores everything else on it and tries no other server. Later requests continue on a
// new connection. The flag is checked first, also in an empty reply and in one for an unknown session.
func TestPoolFlagViolationEndsTheConnection(t *testing.T) {
	t.Parallel()
	flag := func(h *header) { h.flags |= flagUnencrypted }
	for name, violate := range map[string]func(c *fakeServerConn, q *fakeRequest){
		"a reply": func(c *fakeServerConn, q *fakeRequest) { c.Write(c.grantReply(q, flag)) },
		"empty": func(c *fakeServerConn, q *fakeRequest) {
			c.Write(c.grantReply(q, flag, func(h *header) { h.length = 0 })[:headerLen])
		},
		"too long": func(c *fakeServerConn, q *fakeRequest) {
			c.Write(c.grantReply(q, flag, func(h *header) { h.length = 1 << 30 }))
		},
		"unknown session": func(c *fakeServerConn, q *fakeRequest) {
			c.Write(c.grantReply(q, flag, func(h *header) { h.sessionID++ }))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			other := startFakeServer(t, (*fakeServerConn).grantAll)
			closed := make(chan int, 1)
			s := startFakeServer(t, startingWith(func(c *fakeServerConn) {
				c.Write(c.grantReply(c.readRequest()))
				list := c.readRequests(4)
				violate(c, list[1])
				for _, i := range []int{0, 2, 3} {
					c.Write(c.grantReply(list[i]))
				}
				closed <- c.ends()
			}))
			k := startBatch(t, s.addr+","+other.addr, "-c", "4")
			send := func(from, to int) {
				for i := from; i < to; i++ {
					k.request(authorLine, i)
				}
			}
			send(0, 1)
			k.granted()
			send(1, 5)
			for range 4 {
				if a := k.receive(); a.Granted || a.ExitCode != classProtocol.exit() || !strings.Contains(a.Error.Message, "is not obfuscated although a key is in use") || len(a.Attempts) > 0 {
					t.Errorf("answer %+v %+v", a, a.Error)
				}
			}
			if n := <-closed; n != 0 { // while batch waits for more
				t.Errorf("%d more requests on the connection", n)
			}
			send(5, 7)
			for range 2 {
				if a := k.receive(); !a.Granted || a.Server != s.addr {
					t.Errorf("answer %+v %+v", a, a.Error)
				}
			}
			if got := k.end(); got.code != classProtocol.exit() || s.connections() != 2 || other.connections() != 0 {
				t.Errorf("got %+v after %d and %d connections", got, s.connections(), other.connections())
			}
		})
	}
}

// TestPoolFlagViolationInTheFirstReply: the client neither tries nor prefers another server.
func TestPoolFlagViolationInTheFirstReply(t *testing.T) {
	t.Parallel()
	other := startFakeServer(t, (*fakeServerConn).grantAll)
	s := startFakeServer(t, func(c *fakeServerConn) {
		c.Write(c.grantReply(c.readRequest(), func(h *header) { h.flags |= flagUnencrypted }))
		c.ends()
	})
	for _, args := range []string{"batch AT " + papLine, "batch AT " + asciiLine, "authenticate alice AT -t pap --json", "bench alice AT -t pap -n 3"} {
		line, input, _ := strings.Cut(args, " {")
		if input != "" {
			input = requests(3, "{"+input)
		}
		got := runWith(t, secretsInEnv, input, split(line, "AT", s.addr+","+other.addr)...)
		if got.code != classProtocol.exit() || other.connections() != 0 {
			t.Errorf("%s: got %+v after %d connections to the other server", args, got, other.connections())
		}
	}
}

// TestPoolKeyMismatchEndsTheConnection checks section 4.4: after a reply that does not fit the key, no
// session starts on the connection. The sessions in flight finish, then the client closes it, also while
// batch waits for input.
func TestPoolKeyMismatchEndsTheConnection(t *testing.T) {
	t.Parallel()
	closed := make(chan int, 1)
	read := make(chan struct{})
	s := startFakeServer(t, startingWith(func(c *fakeServerConn) {
		c.Write(c.grantReply(c.readRequest()))
		list := c.readRequests(3)
		c.key += "x"
		c.Write(c.grantReply(list[1]))
		c.key = testKey
		<-read
		c.Write(append(c.grantReply(list[0]), c.grantReply(list[2])...))
		closed <- c.ends()
	}))
	k := startBatch(t, s.addr, "-c", "3")
	for i := range 4 {
		k.request(authorLine, i)
		if i == 0 {
			k.receive()
		}
	}
	close(read)
	for i := 1; i < 4; i++ {
		if a := k.receive(); a.Granted != (i != 2) || i == 2 && !strings.Contains(a.Error.Message, "cannot be read with this key") {
			t.Errorf("answer %d: %+v %+v", i, a, a.Error)
		}
	}
	if n := <-closed; n != 0 { // while batch waits for more
		t.Errorf("%d more requests on the connection", n)
	}
	k.request(authorLine, 4)
	if a := k.receive(); !a.Granted || s.connections() != 2 {
		t.Errorf("next request: %+v, %d connections", a, s.connections())
	}
	k.end()
}

// TestPoolPromptOnASharedConnection: a server replies to PAP with a prompt. The client ends that session with
// an ABORT (section 5.4.3) and keeps the connection.
func TestPoolPromptOnASharedConnection(t *testing.T) {
	t.Parallel()
	last := make(chan *fakeRequest, 1)
	s := startFakeServer(t, func(c *fakeServerConn) {
		c.Write(c.grantReply(c.readRequest()))
		q := c.readRequest()
		c.Write(c.reply(q, &authenReply{status: authenGetPass}))
		last <- c.readRequest()
		c.grantAll()
	})
	k := startBatch(t, s.addr, "-c", "1")
	for i := range 3 {
		k.request(papLine, i)
		if a := k.receive(); a.Granted != (i != 1) || i == 1 && !strings.Contains(a.Error.Message, "sent an unexpected GETPASS in reply to pap") {
			t.Errorf("answer %d: %+v %+v", i, a, a.Error)
		}
		if i == 1 {
			if q := <-last; q == nil || q.seqNo != 3 || q.continues == nil || q.continues.flags != authenAbort || q.continues.userMsg != "" {
				t.Errorf("the session ends with %+v", q)
			}
		}
	}
	if k.end(); s.connections() != 1 {
		t.Errorf("%d connections", s.connections())
	}
}

// TestPoolRestartOnASharedConnection: a worker that continues after RESTART knows which types were tried. It
// does not send the refused START, or its password, again.
func TestPoolRestartOnASharedConnection(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var types []authenType
	s := startFakeServer(t, func(c *fakeServerConn) {
		for q := range c.requests {
			mu.Lock()
			types = append(types, q.start.typ)
			mu.Unlock()
			switch q.start.typ {
			case authenPAP:
				c.Write(c.reply(q, &authenReply{status: authenRestart, data: "\x02\x03\x06"}))
			case authenCHAP:
				c.Write(c.reply(q, &authenReply{status: authenRestart, data: "\x02\x03\x06"}))
			default:
				c.Write(c.grantReply(q))
			}
		}
	})
	got := runWith(t, secretsInEnv, requests(1, papLine), "batch", s.addr)
	if list := answers(t, got.out); len(list) != 1 || !list[0].Granted || list[0].AuthenType != "mschapv2" || len(list[0].Attempts) > 0 {
		t.Errorf("got %+v", got)
	}
	if want := []authenType{authenPAP, authenCHAP, authenMSCHAPv2}; !slices.Equal(types, want) {
		t.Errorf("the server got the types %v, want %v", types, want)
	}
}

// TestPoolShortTimeout: there is no warning about the server after a timeout that is too short to judge it.
// After a longer one there is.
func TestPoolShortTimeout(t *testing.T) {
	t.Parallel()
	var all subtests
	defer all.Wait()
	for timeout, blamed := range map[string]bool{"50ms": false, "1s": true} {
		for _, line := range []string{papLine, asciiLine} {
			all.run(t, true, timeout+line[2:8], func(t *testing.T) {
				s := startFakeServer(t, (*fakeServerConn).grantFirst)
				got := runWith(t, secretsInEnv, requests(4, line), "batch", s.addr, "--timeout", timeout, "-c", "1")
				if strings.Contains(got.err, "does not answer some sessions") != blamed {
					t.Errorf("stderr is %s", got.err)
				}
				if n := strings.Count(got.err, "leaves sessions"); n > 1 {
					t.Errorf("%d warnings", n)
				}
			})
		}
	}
}

// TestPoolForgetfulServer: a server answers only the first session of each connection. Once that is known, no
// connection gets a second session. It is known when the retry is answered.
func TestPoolForgetfulServer(t *testing.T) {
	t.Parallel()
	var all subtests
	defer all.Wait()
	for _, line := range []string{papLine, asciiLine} {
		all.run(t, true, line, func(t *testing.T) {
			var forgotten atomic.Int32
			s := startFakeServer(t, func(c *fakeServerConn) {
				c.Write(c.grantReply(c.readRequest()))
				for range c.requests {
					forgotten.Add(1)
				}
			})
			got := runWith(t, secretsInEnv, requests(10, line), "batch", s.addr, "--timeout", "2500ms", "-c", "1")
			if n := checkAnswers(t, answers(t, got.out), 10); n != 10 || forgotten.Load() != 1 {
				t.Errorf("%d granted, %d forgotten: %s", n, forgotten.Load(), got.err)
			}
		})
	}
}

// TestPoolSlowestLast: the run waits for a worker that has the last job.
func TestPoolSlowestLast(t *testing.T) {
	t.Parallel()
	s := startFakeServer(t, func(c *fakeServerConn) {
		for q := range c.requests {
			if q.user == "last" {
				time.Sleep(100 * time.Millisecond)
			}
			c.Write(c.grantReply(q))
		}
	})
	got := runWith(t, secretsInEnv, requests(5, papLine)+fmt.Sprintf(asciiLine, `"user":"last"`), "batch", s.addr)
	if list := answers(t, got.out); len(list) != 6 || !list[5].Granted || got.code != classGranted.exit() {
		t.Errorf("got %+v", got)
	}
}

// TestPoolStaleConnection: an idle connection is checked before a record is sent on it, since the record
// could not be repeated. This holds for a shared connection and for one of a worker.
func TestPoolStaleConnection(t *testing.T) {
	t.Parallel()
	for _, first := range []string{acctLine, asciiLine} {
		t.Run(first[15:28], func(t *testing.T) {
			t.Parallel()
			closed := make(chan struct{})
			s := startFakeServer(t, startingWith(func(c *fakeServerConn) {
				c.Write(c.grantReply(c.readRequest()))
				c.Close()
				close(closed)
			}))
			k := startBatch(t, s.addr, "-c", "1")
			k.request(first, 0)
			k.granted()
			<-closed
			time.Sleep(2 * idleAfter)
			k.request(acctLine, 1)
			k.granted()
			if k.end(); s.asked("u1") != 1 {
				t.Errorf("the record was sent %d times", s.asked("u1"))
			}
		})
	}
}

// TestRequesterKeepsConnection: a requester reuses an open connection, with a new time limit for each job. It
// dials again for a record if the connection was closed.
func TestRequesterKeepsConnection(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		closes bool
		conns  int
	}{"open": {false, 1}, "closed": {true, 2}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startFakeServer(t, startingWith(func(c *fakeServerConn) {
				if c.Write(c.grantReply(c.readRequest())); !tt.closes {
					c.grantAll()
				}
			}))
			a := requester{client: clientFor(t, s.addr), keepConn: true}
			defer a.close()
			for i := range 2 {
				j := &job{request: newRecord(commonFields{user: "u", typ: authenPAP}, authenMethodTACACSPlus, acctStart, []string{"service=shell"}, "1")}
				if a.do(t.Context(), j); j.err != nil || a.conn == nil || s.asked("u") != i+1 {
					t.Fatalf("record %d: %v, kept: %t, %d requests", i, j.err, a.conn != nil, s.asked("u"))
				}
				time.Sleep(2 * idleAfter)
			}
			if s.connections() != tt.conns {
				t.Errorf("%d connections", s.connections())
			}
		})
	}
}

// TestRequesterLeavesNoConnection: a run with one request closes its connection.
func TestRequesterLeavesNoConnection(t *testing.T) {
	t.Parallel()
	ended := make(chan int, 1)
	s := startFakeServer(t, func(c *fakeServerConn) {
		c.Write(c.grantReply(c.readRequest()))
		ended <- c.ends()
	})
	got := runWith(t, secretsInEnv, "", "authenticate", "alice", s.addr, "-t", "pap", "--single-connect")
	if n := <-ended; n != 0 || got.code != classGranted.exit() {
		t.Errorf("got %+v, and %d more packets", got, n)
	}
}

// TestPoolRetriesElsewhere: a retry on the next server goes there, whatever connection is shared then. The
// result names the server that replied. Each server gets a record at most once.
func TestPoolRetriesElsewhere(t *testing.T) {
	t.Parallel()
	first := startFakeServer(t, startingWith(func(c *fakeServerConn) {
		c.Write(c.grantReply(c.readRequest()))
		for range 4 {
			c.Write(c.reply(c.readRequest(), &acctReply{status: acctError}))
		}
		c.grantAll()
	}))
	second := startFakeServer(t, (*fakeServerConn).grantAll)
	got := runWith(t, secretsInEnv, requests(12, acctLine), "batch", first.addr+","+second.addr, "-c", "4")
	list := answers(t, got.out)
	if n := checkAnswers(t, list, 12); n != 12 {
		t.Errorf("%d granted: %s", n, got.err)
	}
	for i, a := range list {
		user := fmt.Sprint("u", i)
		want := map[string]int{first.addr: first.asked(user), second.addr: second.asked(user)}
		if want[a.Server] != 1 || len(a.Attempts) != want[first.addr]+want[second.addr]-1 || len(a.Attempts) == 1 && (a.Attempts[0].Server != first.addr || a.Server != second.addr) {
			t.Errorf("answer %d: %+v, requests %v", i, a, want)
		}
	}
	if second.connections() == 0 {
		t.Error("nothing went to the second server")
	}
}

// TestPoolClosesIdleConnection: when workers find that a server ignores sessions, the pool closes the shared
// connection, also if it is idle.
func TestPoolClosesIdleConnection(t *testing.T) {
	t.Parallel()
	ended := make(chan int, 1)
	s := startFakeServer(t, func(c *fakeServerConn) {
		c.Write(c.grantReply(c.readRequest()))
		if n := c.ends(); c.number == 1 {
			ended <- n
		}
	})
	k := startBatch(t, s.addr, "--timeout", "1", "-c", "1")
	for i, line := range []string{papLine, asciiLine, asciiLine} {
		k.request(line, i)
		k.granted()
	}
	if n := <-ended; n != 0 {
		t.Errorf("%d more packets on the shared connection", n)
	}
	if got := k.end(); strings.Count(got.err, "does not answer some sessions") != 1 {
		t.Errorf("stderr is %s", got.err)
	}
}

// TestRequesterInterrupted: a new deadline of a kept connection does not undo an earlier interruption, and
// nothing is sent.
func TestRequesterInterrupted(t *testing.T) {
	t.Parallel()
	s := startFakeServer(t, (*fakeServerConn).grantAll)
	a := requester{client: clientFor(t, s.addr), keepConn: true}
	defer a.close()
	ctx, interrupt := context.WithCancel(t.Context())
	ask := func() *job {
		j := &job{request: newLogin(commonFields{user: "u", typ: authenPAP, service: authenServiceLogin}, testPassword)}
		a.do(ctx, j)
		return j
	}
	if j := ask(); j.err != nil || a.conn == nil {
		t.Fatal(j.err)
	}
	interrupt()
	time.Sleep(20 * time.Millisecond) // until the connection has the deadline
	if j := ask(); j.class() != classInterrupted || s.asked("u") != 1 {
		t.Errorf("got %v after %d requests", j.err, s.asked("u"))
	}
}

// TestRequesterForgetsSessionBefore: if the session after a RESTART cannot start, the result has nothing of
// the session before.
func TestRequesterForgetsSessionBefore(t *testing.T) {
	t.Parallel()
	l := listen(t)
	startFakeServerOn(t, l, func(c *fakeServerConn) {
		stopListening(t, l) // no second connection
		c.act("restart-refused")
	})
	got := runWith(t, secretsInEnv, "", "authenticate", "alice", l.Addr().String(), "--single-connect", "--json")
	list := answers(t, got.out)
	if len(list) != 1 || list[0].Status != "" || list[0].ExitCode != classNetwork.exit() || strings.Contains(got.out, `"local"`) || strings.Contains(got.out, "single_connect") {
		t.Errorf("got %+v", got)
	}
}

// TestPoolConnectionsEnd checks section 4.3: without single-connection mode, a connection is closed after one
// session, also while batch waits. All others are closed at the end of batch.
func TestPoolConnectionsEnd(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		line   string
		refuse bool
	}{"not agreed to": {papLine, true}, "shared": {papLine, false}, "kept by a worker": {asciiLine, false}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ended := make(chan int, 1)
			s := startFakeServer(t, func(c *fakeServerConn) {
				c.refuse = tt.refuse
				c.Write(c.grantReply(c.readRequest()))
				ended <- c.ends()
			})
			k := startBatch(t, s.addr)
			k.request(tt.line, 0)
			k.granted()
			if !tt.refuse {
				k.end()
			}
			if n := <-ended; n != 0 {
				t.Errorf("%d more packets", n)
			}
			if tt.refuse {
				k.end()
			}
		})
	}
}

// TestPoolInterruptedAfterAFailure: after an interruption the exit code is that of the interruption, whatever
// failed before.
func TestPoolInterruptedAfterAFailure(t *testing.T) {
	t.Parallel()
	arrived := make(chan struct{})
	s := startFakeServer(t, func(c *fakeServerConn) {
		c.readRequest()
		close(arrived)
		c.ends()
	})
	k := startBatch(t, s.addr)
	k.send("no request")
	k.receive()
	k.request(papLine, 1)
	<-arrived
	k.interrupt()
	if a := k.receive(); a.ExitCode != classInterrupted.exit() {
		t.Errorf("answer %+v", a)
	}
	k.in.Close()
	if got := <-k.ended; got.code != classInterrupted.exit() {
		t.Errorf("got %+v", got)
	}
}

// TestPoolBrokenOutput: no more requests are sent when results cannot be written.
func TestPoolBrokenOutput(t *testing.T) {
	t.Parallel()
	s := startFakeServer(t, (*fakeServerConn).grantAll)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	const n = 3000
	var messages lockedBuffer
	code := run(ctx, []string{"batch", s.addr, "-c", "1"}, stdio{in: strings.NewReader(strings.Repeat(fmt.Sprintf(authorLine, `"user":"u"`)+"\n", n)),
		out: &pacedStream{err: errors.New("broken pipe")}, err: &messages, env: func(name string) string { return secretsInEnv[name] }})
	if asked := s.asked("u"); code != classUsage.exit() || asked == n {
		t.Errorf("got %d after %d requests: %s", code, asked, messages.String())
	}
}

// TestRequesterRestartOfServerBefore: the RESTART of one server does not change the type for the next server.
func TestRequesterRestartOfServerBefore(t *testing.T) {
	t.Parallel()
	types := make(chan authenType, 8)
	first := startFakeServer(t, func(c *fakeServerConn) {
		if q := c.readRequest(); q.start.typ == authenPAP {
			c.Write(c.reply(q, &authenReply{status: authenRestart, data: "\x03"}))
		} // and closes before it answers to chap
	})
	second := startFakeServer(t, func(c *fakeServerConn) {
		q := c.readRequest()
		types <- q.start.typ
		c.Write(c.grantReply(q))
	})
	for _, line := range []string{"authenticate alice AT -t pap --json", "batch AT"} {
		got := runWith(t, secretsInEnv, requests(1, papLine), split(line, "AT", first.addr+","+second.addr)...)
		if list := answers(t, got.out); len(list) != 1 || !list[0].Granted || list[0].AuthenType != "pap" || len(list[0].Attempts) != 1 || <-types != authenPAP {
			t.Errorf("%s: got %+v", line, got)
		}
	}
}

// TestPoolWaitsForNoDeadServer: jobs do not wait for one another once no server is healthy.
func TestPoolWaitsForNoDeadServer(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	open, most := 0, 0
	s := startFakeServer(t, func(c *fakeServerConn) {
		mu.Lock()
		open++
		most = max(most, open)
		mu.Unlock()
		c.readAll()
		mu.Lock()
		open--
		mu.Unlock()
	})
	got := runWith(t, secretsInEnv, requests(9, papLine), "batch", s.addr, "-c", "8", "--timeout", "1")
	mu.Lock()
	defer mu.Unlock()
	// No warning about unanswered sessions: the server never answered one.
	if n := strings.Count(got.out, "no reply from"); n != 9 || most < 4 || strings.Contains(got.err, "warning") {
		t.Errorf("%d without a reply, %d connections at a time: %s%s", n, most, got.err, got.out)
	}
}

// TestPoolPreferredServer: three jobs in a row try a server that closes. The others share a connection to the next one, since
// that lives.
func TestPoolPreferredServer(t *testing.T) {
	t.Parallel()
	bad, good := startFakeServer(t, func(c *fakeServerConn) { c.readRequest() }), startFakeServer(t, (*fakeServerConn).grantAll)
	got := runWith(t, secretsInEnv, requests(100, papLine), "batch", bad.addr+","+good.addr, "-c", "16")
	list := answers(t, got.out)
	n, slow := checkAnswers(t, list, 100), waitedLong(list)
	if n != 100 || bad.connections() < deadAfter || !slow && good.connections() > 2*deadAfter {
		t.Errorf("%d granted, %d connections to the bad server, %d to the good one: %s", n, bad.connections(), good.connections(), got.err)
	}
}

// TestPoolOneSwallowed: one of many sessions gets no reply. It is repeated after its own timeout, although
// other replies keep arriving.
func TestPoolOneSwallowed(t *testing.T) {
	t.Parallel()
	stop := make(chan struct{})
	s := startFakeServer(t, func(c *fakeServerConn) {
		for q := range c.requests {
			if c.number == 1 && q.user == "u3" {
				continue
			}
			c.Write(c.grantReply(q))
		}
	})
	in, input := io.Pipe()
	go func() { // until u3 has its answer
		io.WriteString(input, requests(8, authorLine))
		for {
			select {
			case <-stop:
				input.Close()
				return
			default:
				io.WriteString(input, fmt.Sprintf(authorLine, `"user":"more"`)+"\n")
			}
		}
	}()
	var once sync.Once
	var out lockedBuffer
	watch := writerFunc(func(p []byte) {
		out.Write(p)
		if strings.Contains(out.String(), `"user":"u3"`) {
			once.Do(func() { close(stop) })
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var messages lockedBuffer
	code := run(ctx, []string{"batch", s.addr, "--timeout", "3s", "-q=false"}, stdio{in: in, out: watch, err: &messages, env: func(name string) string { return secretsInEnv[name] }})
	if code != classGranted.exit() || s.asked("u3") != 2 {
		t.Errorf("got %d after %d requests: %s", code, s.asked("u3"), messages.String())
	}
}

// TestPoolInterruptedBeforeSleep: a pool without jobs ends although ctx ends just before it sleeps.
func TestPoolInterruptedBeforeSleep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		p := newPool(&client{servers: []server{newServer("tac1", portClear)}}, 1)
		p.nextJob = func(time.Time) (*job, time.Time, bool) {
			cancel()
			return nil, time.Time{}, true
		}
		p.run(ctx)
	})
}

// TestPoolEarlyCloses: a server that closes connections in use gets one session per connection after the
// second time, with one warning. A server that closes them after many replies does not.
func TestPoolEarlyCloses(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		after    int
		warnings int
	}{"soon": {5, 1}, "late": {minReplies, 0}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startFakeServer(t, func(c *fakeServerConn) {
				for range tt.after {
					q := c.readRequest()
					if q == nil {
						return
					}
					c.Write(c.grantReply(q))
				}
				c.closeGently()
			})
			got := runWith(t, secretsInEnv, requests(5*tt.after, papLine), "batch", s.addr)
			if n := checkAnswers(t, answers(t, got.out), 5*tt.after); n != 5*tt.after || strings.Count(got.err, "closes busy connections") != tt.warnings {
				t.Errorf("%d granted: %s", n, got.err)
			}
		})
	}
}

// TestPoolWakeup notifies before, during and after a sleep: no wakeup is lost, and several become one.
func TestPoolWakeup(t *testing.T) {
	c := newPool(&client{servers: []server{newServer("tac1", 49)}, singleConnect: true}, 4)
	c.wakeup.notify()
	c.wakeup.notify()
	c.sleep(t.Context(), time.Time{}) // returns: a wakeup is pending
	if len(c.wakeup.ch) != 0 {
		t.Error("the wakeup is still pending")
	}
	go c.wakeup.notify()
	c.sleep(t.Context(), time.Time{})
	c.sleep(t.Context(), time.Now().Add(time.Millisecond))

	// After the end of ctx, sleep still waits for a wakeup, since jobs are in flight.
	ended, end := context.WithCancel(t.Context())
	end()
	c.onWorkers = 1
	var notified atomic.Bool
	go func() {
		time.Sleep(20 * time.Millisecond)
		notified.Store(true)
		c.wakeup.notify()
	}()
	if c.sleep(ended, time.Time{}); !notified.Load() {
		t.Error("sleep returns without a wakeup after the end of ctx")
	}

	// A connection that is not waited for is left alone.
	conn, other := net.Pipe()
	defer conn.Close()
	defer other.Close()
	c.mux = newMux(&serverConn{client: c.client, conn: conn}, &c.wakeup, func() {}, discardWarning)
	c.wakeup.notify()
	c.wait(t.Context(), time.Time{})
	if c.wakeup.conn.Load() != nil {
		t.Error("a wakeup would still set a deadline")
	}
}

// TestPoolEndsWithFlush: the results of the last jobs are flushed too.
func TestPoolEndsWithFlush(t *testing.T) {
	ended, end := context.WithCancel(t.Context())
	end()
	p, o, flushed := newPool(clientFor(t, "tac1"), 1), new(jobErrors), 0
	j := &job{owner: o}
	p.queue.push(&j.place, j)
	p.beforeWait = func() { flushed = len(*o) }
	p.run(ended)
	equal(t, flushed, 1, "results flushed")
}

// TestMuxWriteFails: a write has a deadline, and after a write error no session starts. The outcome depends
// on whether any byte was written.
func TestMuxWriteFails(t *testing.T) {
	broken := errors.New("broken")
	for _, tt := range []struct {
		written int
		want    outcome
	}{{0, outcomeNotSent}, {5, outcomeConnLost}} {
		conn := &fakeConn{write: func([]byte) (int, error) { return tt.written, broken }}
		c := &client{servers: []server{newServer("tac1", 49)}, keys: []key{{source: "test", value: testKey}}, timeout: time.Minute, singleConnect: true}
		m := newMux(&serverConn{client: c, keys: c.keys, server: c.servers[0], conn: conn, answered: 1, established: true}, nil, func() {}, discardWarning)
		j := &job{request: newRecord(commonFields{user: "u"}, authenMethodTACACSPlus, acctStart, []string{"service=shell"}, "1")}
		c.begin(j, time.Now())
		if err := m.add(j); err != nil || !m.hasRoom() {
			t.Fatal(err)
		}
		if m.flush(); m.hasRoom() || len(m.out) > 0 {
			t.Error("the mux has room after a write error")
		}
		if left := time.Until(conn.deadline); left <= 0 || left > time.Minute {
			t.Errorf("the write deadline is in %v", left)
		}
		if m.abandon(j, io.EOF); outcomeOf(j.err) != tt.want {
			t.Errorf("%d bytes written: outcome %d, want %d", tt.written, outcomeOf(j.err), tt.want)
		}
		if m.unanswered != 0 || m.inFlight.first() != nil || len(m.byID) != 0 {
			t.Error("the session is still on the mux")
		}
	}
}

// TestPoolAssign: jobs of one exchange share a connection, in the first attempt or after a lost connection.
// Jobs after RESTART or another failure do not.
func TestPoolAssign(t *testing.T) {
	for name, tt := range map[string]struct {
		reuse  reuse
		turn   int
		err    error // of the attempt before
		typ    authenType
		shared bool
	}{
		"first":            {reuseMultiplexed, 0, nil, authenPAP, true},
		"lost":             {reuseMultiplexed, 0, &attemptError{failf(classNetwork, "lost"), outcomeConnLost}, authenPAP, true},
		"timed out":        {reuseMultiplexed, 0, &attemptError{failf(classNetwork, "timed out"), outcomeTimedOut}, authenPAP, false},
		"restart":          {reuseMultiplexed, 0, errRestart, authenPAP, false},
		"to another":       {reuseMultiplexed, 1, failf(classNetwork, "gone"), authenPAP, false},
		"dialogue":         {reuseMultiplexed, 0, nil, authenASCII, false},
		"one at a time":    {reuseSequential, 0, nil, authenPAP, false},
		"one a connection": {reuseNone, 0, nil, authenPAP, false},
	} {
		c := newPool(clientFor(t, "tac1"), 4)
		c.reuse, c.workerCount, c.now = tt.reuse, 4, time.Now() // all workers are idle
		c.mux = newMux(&serverConn{client: c.client, keys: c.client.keys, server: c.client.servers[0], answered: 1, established: true, idleSince: c.now}, nil, nil, discardWarning)
		j := &job{request: newLogin(commonFields{user: "u", typ: tt.typ}, testPassword), order: c.client.order(), turn: tt.turn, err: tt.err}
		c.queue.push(&j.place, j)
		if assigned, _ := c.assign(t.Context(), j); !assigned || (len(c.mux.byID) == 1) != tt.shared || (len(c.work) == 1) == tt.shared || c.inFlight() != 1 || c.queue.first() != nil {
			t.Errorf("%s: %d on the shared connection, %d for workers", name, len(c.mux.byID), len(c.work))
			continue
		}
		if !tt.shared && (<-c.work).keepConn != (tt.reuse != reuseNone) {
			t.Errorf("%s: keepConn does not match the reuse", name)
		}
	}
}

// TestPoolTryStart: while a pool waits for bytes of its connection, others can start jobs on that. They do nothing that needs
// the pool's goroutine.
func TestPoolTryStart(t *testing.T) {
	for name, tt := range map[string]struct {
		change  func(p *pool)
		started bool // the job
		all     bool
	}{
		"waits":           {func(p *pool) {}, true, true},
		"notified":        {func(p *pool) { p.wakeup.notify() }, true, true},
		"interrupted":     {func(p *pool) {}, true, true},
		"waits long":      {func(p *pool) { p.mux.conn.idleSince = time.Now().Add(-time.Hour) }, true, true},
		"last":            {func(p *pool) { p.note = nil }, true, false},
		"busy":            {func(p *pool) { p.state.Lock() }, false, false},
		"no connection":   {func(p *pool) { p.mux = nil }, false, false},
		"no room":         {func(p *pool) { p.mux.unanswered = maxUnanswered }, false, false},
		"full":            {func(p *pool) { p.onWorkers = p.limit }, false, false},
		"no new sessions": {func(p *pool) { p.mux.conn.noNewSessions = true }, false, false},
		"another server":  {func(p *pool) { p.mux.conn.server = p.client.servers[1] }, false, false},
		"not shared":      {func(p *pool) { p.lower["tac1:49"] = reuseSequential }, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			written := 0
			conn := &fakeConn{write: func(p []byte) (int, error) { written += len(p); return len(p), nil }}
			p := newPool(clientFor(t, "tac1,tac2"), 4)
			ctx, interrupt := context.WithCancel(t.Context())
			jobs := []*job{{request: newLogin(commonFields{user: "u", typ: authenPAP}, testPassword)}}
			p.nextJob = func(time.Time) (j *job, _ time.Time, more bool) {
				if len(jobs) > 0 {
					j, jobs = jobs[0], jobs[1:]
				} else if name == "interrupted" {
					interrupt()
				}
				return j, time.Time{}, p.note != nil
			}
			p.mux = newMux(&serverConn{client: p.client, keys: p.client.keys, server: p.client.servers[0], conn: conn, answered: 1, established: true}, &p.wakeup, nil, discardWarning)
			m := p.mux
			p.wakeup.waitFor(m.conn)
			tt.change(p)
			began := time.Now()
			all := p.tryStart(ctx)
			if all != tt.all || (len(m.byID) == 1) != tt.started || (written > 0) != tt.started || conn.wakes.After(began) != (tt.started && name != "notified" && name != "interrupted" && name != "last") {
				t.Errorf("all: %t, %d sessions, %d bytes written, deadline %v", all, len(m.byID), written, conn.wakes)
			}
			if name != "no connection" && p.mux != m || p.draining > 0 || p.workerCount > 0 || p.dialing != nil {
				t.Error("the pool has changed")
			}
			if name != "busy" {
				equal(t, p.state.TryLock(), true, "the state is free,")
			}
		})
	}
}

// TestMuxFlushes: many queued bytes are written although more follow.
func TestMuxFlushes(t *testing.T) {
	for size, want := range map[int]int{flushAt - 1: 0, flushAt: flushAt} {
		written := 0
		conn := &fakeConn{write: func(p []byte) (int, error) { written += len(p); return len(p), nil }}
		c := &client{servers: []server{newServer("tac1", 49)}, keys: []key{{source: "test", value: testKey}}, timeout: time.Minute}
		m := newMux(&serverConn{client: c, keys: c.keys, conn: conn, answered: 1}, nil, func() {}, discardWarning)
		for range 2 {
			j := &job{request: newRecord(commonFields{user: "u"}, authenMethodTACACSPlus, acctStart, []string{"service=shell"}, "1")}
			c.begin(j, time.Now())
			must(t, m.add(j))
			m.out = append(m.out, make([]byte, max(0, size-2*len(m.out)))...) // up to the size after the second
		}
		equal(t, written, want, "written,", "queued", size)
	}
}

// TestPoolFlushesResults: an answer is printed before the next one arrives.
func TestPoolFlushesResults(t *testing.T) {
	t.Parallel()
	for _, line := range []string{papLine, asciiLine} {
		received := make(chan struct{})
		s := startFakeServer(t, func(c *fakeServerConn) {
			for q := range c.requests {
				if q.user == "u2" {
					<-received
				}
				c.Write(c.grantReply(q))
			}
		})
		k := startBatch(t, s.addr)
		go io.WriteString(k.in, requests(3, line))
		for i := range 3 {
			k.granted()
			if i == 1 {
				close(received)
			}
		}
		k.end()
	}
}

// TestMuxWakes: a notification or the end of ctx before the wait ends it at once.
func TestMuxWakes(t *testing.T) {
	ended, end := context.WithCancel(t.Context())
	end()
	for name, tt := range map[string]struct {
		ctx      context.Context
		notified int
		err      error // of the job; nil if no job is returned
	}{"notified": {t.Context(), 1, nil}, "interrupted": {ended, 0, errInterrupted}} {
		conn, other := net.Pipe()
		c := &client{servers: []server{newServer("tac1", 49)}, timeout: patience}
		w := &wakeup{ch: make(chan struct{}, 1)}
		m := newMux(&serverConn{client: c, keys: c.keys, conn: conn}, w, func() {}, discardWarning)
		j := &job{session: session{conn: m.conn, deadline: time.Now().Add(patience)}}
		m.inFlight.push(&j.place, j)
		for range tt.notified {
			w.ch <- struct{}{}
		}
		if got := m.wait(tt.ctx, time.Time{}); (got == nil) != (tt.err == nil) || j.err != tt.err || len(w.ch) != 0 {
			t.Errorf("%s: %v, %v", name, got, j.err)
		}
		conn.Close()
		other.Close()
	}
}

// TestPoolDialogueApartFromTheFirst: without single-connection mode, no request waits for the first reply.
func TestPoolDialogueApartFromTheFirst(t *testing.T) {
	t.Parallel()
	var all sync.WaitGroup
	all.Add(commandFileInFlight)
	s := startFakeServer(t, func(c *fakeServerConn) {
		c.refuse = true
		q := c.readRequest()
		if c.number <= commandFileInFlight {
			all.Done()
		}
		all.Wait()
		c.Write(c.grantReply(q))
	})
	got := runWith(t, secretsInEnv, strings.Repeat("show version\n", 2*commandFileInFlight), "authorize", "alice", s.addr, "--cmd-file", "-")
	if n := strings.Count(got.out, "PASS_ADD show version\n"); n != 2*commandFileInFlight || got.code != classGranted.exit() {
		t.Errorf("got %+v", got)
	}
}

// TestMuxGrace: a session past its deadline gets a short grace period for data that has arrived. The grace
// period ends even if other replies keep arriving.
func TestMuxGrace(t *testing.T) {
	c := &client{servers: []server{newServer("tac1", 49)}, timeout: time.Second}
	conn, _ := net.Pipe()
	defer conn.Close()
	m := newMux(&serverConn{client: c, keys: c.keys, conn: conn}, nil, func() {}, discardWarning)
	now := time.Now()
	j := &job{session: session{deadline: now}}
	m.inFlight.push(&j.place, j)
	for _, tt := range []struct {
		after   time.Duration // since the deadline
		until   time.Duration // since the deadline; 0 for none
		wait    time.Duration
		overdue bool
		holds   bool
	}{
		{-time.Second, 0, time.Second, false, true},
		{-time.Second, -time.Second / 2, time.Second / 2, false, true},
		{0, 0, grace, true, true},
		{0, time.Millisecond, time.Millisecond, true, true},
		{maxGrace, 0, grace, true, true},
		{maxGrace + 1, 0, 0, true, false},
	} {
		var until time.Time
		if tt.until != 0 {
			until = now.Add(tt.until)
		}
		at := now.Add(tt.after)
		m.now = at
		if holds := m.setDeadline(until); holds != tt.holds || holds && m.limit.After(now) != tt.overdue || holds && m.limit.Sub(at) != tt.wait {
			t.Errorf("%v after the deadline: %t, overdue %t, waits for %v", tt.after, holds, m.limit.After(now), m.limit.Sub(at))
		}
	}
}

// TestMuxReplyInTheGrace: a reply within the grace period counts, a later one does not.
func TestMuxReplyInTheGrace(t *testing.T) {
	for late, want := range map[time.Duration]outcome{grace / 2: outcomeDecided, 2 * grace: outcomeTimedOut} {
		synctest.Test(t, func(t *testing.T) {
			conn, other := net.Pipe()
			c := &client{servers: []server{newServer("tac1", 49)}, keys: []key{{source: "test", value: testKey}}, timeout: time.Second}
			m := newMux(&serverConn{client: c, keys: c.keys, conn: conn}, nil, func() {}, discardWarning)
			j := &job{request: newRecord(commonFields{user: "u"}, authenMethodTACACSPlus, acctStart, []string{"service=shell"}, "1")}
			c.begin(j, time.Now())
			must(t, m.add(j))
			h := j.session.sent
			h.seqNo++
			size := int64(len(m.out))
			var server sync.WaitGroup
			server.Go(func() {
				io.CopyN(io.Discard, other, size)
				time.Sleep(c.timeout + late)
				other.Write(packed(h, testKey, &acctReply{status: acctSuccess}))
			})
			if got := m.wait(t.Context(), time.Time{}); got != j || outcomeOf(j.err) != want {
				t.Errorf("a reply %v after the deadline: %v", late, j.err)
			}
			conn.Close()
			other.Close()
			server.Wait()
		})
	}
}

// TestPoolReusedJob: bench reuses jobs, and a reused job has nothing of its request before.
func TestPoolReusedJob(t *testing.T) {
	b := &bench{n: 10}
	q := newLogin(commonFields{user: "u", typ: authenPAP}, "")
	j := &job{request: q, turn: 3, replyLost: true, err: errInterrupted}
	j.res.Attempts = make([]*attempt, 3)
	j.session.deadline = time.Now()
	q.tried = []authenType{authenPAP}
	b.free = []*job{j}
	got, _, _ := b.nextJob(time.Now())
	if got != j || j.turn != 0 || j.replyLost || j.err != nil || j.res.Attempts != nil || !j.session.deadline.IsZero() || q.tried != nil || j.due.IsZero() {
		t.Errorf("a reused job: %+v", got)
	}
}
