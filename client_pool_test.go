package main

import (
	"bufio"
	"bytes"
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

// TestRetryAfter is the policy of asking again, as a table: what came of an attempt, whether the
// request may be put twice, whether the connection had answered others before.
func TestRetryAfter(t *testing.T) {
	const stop, anew, other = noRetry, retrySameServer, retryNextServer
	for _, tt := range []struct {
		came                                         outcome
		record, recordReused, request, requestReused retry
	}{
		{outcomeDecided, stop, stop, stop, stop},
		{outcomeFlagViolation, stop, stop, stop, stop},
		{outcomeFailed, other, other, other, other},
		{outcomeRestart, anew, anew, anew, anew},
		{outcomeNotSent, other, anew, other, anew},
		{outcomeConnLost, other, other, other, anew},
		{outcomeTimedOut, other, other, other, anew},
	} {
		for _, of := range []struct {
			repeatable, reused bool
			want               retry
		}{{false, false, tt.record}, {false, true, tt.recordReused}, {true, false, tt.request}, {true, true, tt.requestReused}} {
			if got := retryAfter(tt.came, of.repeatable, of.reused); got != of.want {
				t.Errorf("fate %d, repeatable %t, reused %t: step %d, want %d", tt.came, of.repeatable, of.reused, got, of.want)
			}
		}
	}
}

// TestOutcomeOf is what an error says of an attempt.
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
		{failf(classServer, "x"), outcomeFailed},
		{failf(classNetwork, "x"), outcomeFailed},
		{failf(classProtocol, "x"), outcomeFailed},
		{failf(classTLS, "x"), outcomeFailed},
		{errRestart, outcomeRestart},
		{&attemptError{failf(classProtocol, "x"), outcomeFlagViolation}, outcomeFlagViolation},
		{fmt.Errorf("around: %w", &attemptError{failf(classNetwork, "x"), outcomeConnLost}), outcomeConnLost},
	} {
		if got := outcomeOf(tt.err); got != tt.want {
			t.Errorf("%v: fate %d, want %d", tt.err, got, tt.want)
		}
	}
}

// An order notes in which order servers are asked.
type order struct {
	mu    sync.Mutex
	asked string
}

// closing is a server that notes its name and closes without an answer.
func (o *order) closing(t *testing.T, name string) string {
	return startFakeServer(t, func(c *fakeServerConn) {
		if c.readRequest() != nil {
			o.mu.Lock()
			o.asked += name
			o.mu.Unlock()
		}
	}).addr
}

// TestPoolAttempts: whichever way a request goes, each server is asked (N+1) times at the most, in the
// order of the list, and the result tells of every attempt that came to nothing.
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
				if o.asked != tt.asked || got.code != classNetwork.exit() {
					t.Errorf("ends with %d, asked %s, want %s: %s", got.code, o.asked, tt.asked, got.err)
				}
				if strings.HasPrefix(way, "bench") {
					return
				}
				var list []answer
				if list = answers(t, got.out); len(list) != 1 || len(list[0].Attempts) != len(tt.asked)-1 {
					t.Fatalf("attempts: %s", got.out)
				}
				for i, a := range list[0].Attempts {
					if a.Server != servers[i%len(servers)] || a.Class != "network" || !strings.Contains(a.Message, a.Server) {
						t.Errorf("attempt %d: %+v", i, a)
					}
				}
				if last := list[0]; last.Server != servers[(len(tt.asked)-1)%len(servers)] || last.Timing["total"] <= 0 || last.Timing["connect"] <= 0 {
					t.Errorf("the last attempt: %s", got.out)
				}
			})
		}
	}
}

// TestPoolFirstOnADeadServer: the job that finds out that a server is dead has the same retries, the
// same attempts and the same timing as those after it.
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
		if len(a.Attempts) != 0 || a.Server != good.addr { // they go where it is known to work
			t.Errorf("answer %d: %+v", i+1, a)
		}
	}
}

// TestPoolRecordAfterTimeout: a record that was written is not put again to a server that said nothing,
// unless the person asked for that; anything else is, once.
func TestPoolRecordAfterTimeout(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		line    string
		retries string
		times   int // the last request reaches the server
		code    class
	}{
		{acctLine, "0", 1, classNetwork},
		{acctLine, "1", 2, classGranted},
		{authorLine, "0", 2, classGranted},
		{asciiLine, "0", 2, classGranted},
	} {
		t.Run(tt.line[15:25]+tt.retries, func(t *testing.T) {
			t.Parallel()
			s := startFakeServer(t, func(c *fakeServerConn) {
				for q := c.readRequest(); q != nil; q = c.readRequest() {
					if c.number == 1 && q.user == "u1" {
						continue
					}
					c.Write(c.grantReply(q))
				}
			})
			got := runWith(t, secretsInEnv, requests(2, tt.line), split("batch AT -c 1 --timeout 1 --retries "+tt.retries, "AT", s.addr)...)
			if list := answers(t, got.out); len(list) != 2 || !list[0].Granted || list[1].ExitCode != tt.code.exit() {
				t.Errorf("got %+v", got)
			}
			if n := s.asked("u1"); n != tt.times {
				t.Errorf("the server got the request %d times, want %d", n, tt.times)
			}
		})
	}
}

// ends reads until the client has ended the connection, and says how much it still sent: -1 where
// it does not end.
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

// TestPoolFlagViolationEndsTheConnection is section 10.5.2 with many sessions on a connection: it is closed
// at once, nothing else on it is believed, no other server is asked, and what comes later goes on.
// The flag is looked at first, in a reply of no length and in one for nobody too.
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
		"to nobody": func(c *fakeServerConn, q *fakeRequest) {
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
			say := func(from, to int) {
				for i := from; i < to; i++ {
					k.send(fmt.Sprintf(authorLine, fmt.Sprintf(`"user":"u%d"`, i)))
				}
			}
			say(0, 1)
			if a := k.receive(); !a.Granted {
				t.Errorf("the first answer: %+v", a)
			}
			say(1, 5)
			for range 4 {
				if a := k.receive(); a.Granted || a.ExitCode != classProtocol.exit() || !strings.Contains(a.Error.Message, "is not obfuscated although a key is in use") || len(a.Attempts) > 0 {
					t.Errorf("answer %+v %+v", a, a.Error)
				}
			}
			if n := <-closed; n != 0 { // while batch waits for more
				t.Errorf("%d more requests on the connection", n)
			}
			say(5, 7)
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

// TestPoolFlagViolationInTheFirstReply: no other server is asked, nor is another one preferred from then on.
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

// TestPoolKeyMismatchEndsTheConnection is section 4.4: no new session after a reply that does not fit the
// key; those under way end, and then the connection, also while batch waits for more.
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
		k.send(fmt.Sprintf(authorLine, fmt.Sprintf(`"user":"u%d"`, i)))
		if i == 0 {
			k.receive()
		}
	}
	close(read)
	for i := 1; i < 4; i++ {
		if a := k.receive(); a.Granted != (i != 2) || i == 2 && !strings.Contains(a.Error.Message, "does not fit the key") {
			t.Errorf("answer %d: %+v %+v", i, a, a.Error)
		}
	}
	if n := <-closed; n != 0 { // while batch waits for more
		t.Errorf("%d more requests on the connection", n)
	}
	k.send(fmt.Sprintf(authorLine, `"user":"u4"`))
	if a := k.receive(); !a.Granted || s.connections() != 2 {
		t.Errorf("after it: %+v, %d connections", a, s.connections())
	}
	k.end()
}

// TestPoolPromptOnASharedConnection has a server that answers PAP with a prompt: the session is ended
// there too, by an ABORT (section 5.4.3), and the connection goes on.
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
		k.send(fmt.Sprintf(papLine, fmt.Sprintf(`"user":"u%d"`, i)))
		if a := k.receive(); a.Granted != (i != 1) || i == 1 && !strings.Contains(a.Error.Message, "answers a pap login with GETPASS") {
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

// TestPoolRestartOnASharedConnection: what was tried is known when a worker goes on, so that the START
// that was refused is not sent a second time, and its password neither.
func TestPoolRestartOnASharedConnection(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var types []authenType
	s := startFakeServer(t, func(c *fakeServerConn) {
		for q := c.readRequest(); q != nil; q = c.readRequest() {
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
		t.Errorf("the server was asked for %v, want %v", types, want)
	}
}

// TestPoolShortTimeout: whoever waits for less than a fair time has no word about the server, and
// whoever waits longer has.
func TestPoolShortTimeout(t *testing.T) {
	t.Parallel()
	for timeout, blamed := range map[string]bool{"50ms": false, "1s": true} {
		for _, line := range []string{papLine, asciiLine} {
			t.Run(timeout+line[2:8], func(t *testing.T) {
				t.Parallel()
				s := startFakeServer(t, func(c *fakeServerConn) {
					c.Write(c.grantReply(c.readRequest()))
					for c.readRequest() != nil {
					}
				})
				got := runWith(t, secretsInEnv, requests(4, line), "batch", s.addr, "--timeout", timeout, "-c", "1")
				if strings.Contains(got.err, "leaves sessions unanswered") != blamed {
					t.Errorf("it says %s", got.err)
				}
				if n := strings.Count(got.err, "leaves sessions"); n > 1 {
					t.Errorf("said %d times", n)
				}
			})
		}
	}
}

// TestPoolForgetfulServer answers the first session of each connection only: once that is known, no
// connection gets a second one.
func TestPoolForgetfulServer(t *testing.T) {
	t.Parallel()
	for _, line := range []string{papLine, asciiLine} {
		var forgotten atomic.Int32
		s := startFakeServer(t, func(c *fakeServerConn) {
			c.Write(c.grantReply(c.readRequest()))
			for c.readRequest() != nil {
				forgotten.Add(1)
			}
		})
		got := runWith(t, secretsInEnv, requests(10, line), "batch", s.addr, "--timeout", "2500ms", "-c", "2")
		if n := checkAnswers(t, answers(t, got.out), 10); n != 10 || forgotten.Load() > 2 {
			t.Errorf("%d granted, %d forgotten: %s", n, forgotten.Load(), got.err)
		}
	}
}

// TestPoolSlowestLast: the run waits for a worker that has the last job.
func TestPoolSlowestLast(t *testing.T) {
	t.Parallel()
	s := startFakeServer(t, func(c *fakeServerConn) {
		for q := c.readRequest(); q != nil; q = c.readRequest() {
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

// TestPoolStaleConnection: a connection that was out of use for a while is looked at before a record
// goes out on it, which could not be sent again. Shared by many sessions, or kept by a worker.
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
			k.send(fmt.Sprintf(first, `"user":"u0"`))
			if a := k.receive(); !a.Granted {
				t.Errorf("the first: %+v", a)
			}
			<-closed
			time.Sleep(2 * idleAfter)
			k.send(fmt.Sprintf(acctLine, `"user":"u1"`))
			if a := k.receive(); !a.Granted {
				t.Errorf("the record: %+v %+v", a, a.Error)
			}
			if k.end(); s.asked("u1") != 1 {
				t.Errorf("the record was sent %d times", s.asked("u1"))
			}
		})
	}
}

// TestRequesterKeepsConnection is what an asker does with the connection that it kept: it uses one that is as
// it was, with a time of its own for each job, and makes a new one for a record where it is not.
func TestRequesterKeepsConnection(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		closes bool
		conns  int
	}{"as it was": {false, 1}, "closed": {true, 2}} {
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
					t.Fatalf("record %d: %v, kept: %t, asked %d times", i, j.err, a.conn != nil, s.asked("u"))
				}
				time.Sleep(2 * idleAfter)
			}
			if s.connections() != tt.conns {
				t.Errorf("%d connections", s.connections())
			}
		})
	}
}

// TestRequesterLeavesNoConnection: nobody keeps a connection after the one request of a run.
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

// TestPoolRetriesElsewhere: a job that is put to the next server goes there, whatever connection is
// shared at the time, and the result names who was really asked. A record reaches each server once.
func TestPoolRetriesElsewhere(t *testing.T) {
	t.Parallel()
	first := startFakeServer(t, startingWith(func(c *fakeServerConn) {
		c.Write(c.grantReply(c.readRequest()))
		c.readRequests(4)
		c.closeGently()
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
			t.Errorf("answer %d: %+v, asked %v", i, a, want)
		}
	}
	if second.connections() == 0 {
		t.Error("nothing went to the second server")
	}
}

// TestPoolClosesIdleConnection: when workers find out that a server forgets sessions, the connection
// that was shared ends, also while nothing is under way on it.
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
		k.send(fmt.Sprintf(line, fmt.Sprintf(`"user":"u%d"`, i)))
		if a := k.receive(); !a.Granted {
			t.Errorf("answer %d: %+v %+v", i, a, a.Error)
		}
	}
	if n := <-ended; n != 0 {
		t.Errorf("%d more packets on the shared connection", n)
	}
	if got := k.end(); strings.Count(got.err, "leaves sessions unanswered") != 1 {
		t.Errorf("it says %s", got.err)
	}
}

// TestRequesterInterrupted: an interruption that came before the request is not forgotten over
// the deadline of a kept connection, and nothing is sent.
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
	time.Sleep(20 * time.Millisecond) // the connection knows it
	if j := ask(); j.class() != classInterrupted || s.asked("u") != 1 {
		t.Errorf("ends with %v, asked %d times", j.err, s.asked("u"))
	}
}

// TestRequesterForgetsSessionBefore: where the session that RESTART asks for never begins, nothing is left
// in the result of the one before.
func TestRequesterForgetsSessionBefore(t *testing.T) {
	t.Parallel()
	l := listen(t)
	serveByHand(t, l, func(_ int, c *fakeClient) {
		l.Close() // no second connection
		c.act("restart-refused")
	})
	got := runWith(t, secretsInEnv, "", "authenticate", "alice", l.Addr().String(), "--single-connect", "--json")
	list := answers(t, got.out)
	if len(list) != 1 || list[0].Status != "" || list[0].ExitCode != classNetwork.exit() || strings.Contains(got.out, `"local"`) || strings.Contains(got.out, "single_connect") {
		t.Errorf("got %+v", got)
	}
}

// TestPoolConnectionsEnd is section 4.3: a connection on which the server did not agree to more than one
// session is closed after that, also while batch waits; all others are, when it ends.
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
			k.send(fmt.Sprintf(tt.line, `"user":"u0"`))
			if a := k.receive(); !a.Granted {
				t.Errorf("answer %+v", a)
			}
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

// TestPoolInterruptedAfterAFailure: an interruption is the exit code, whatever failed before.
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
	k.send(fmt.Sprintf(papLine, `"user":"u1"`))
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

// TestPoolBrokenOutput: when nobody reads the results any more, no more requests are sent.
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
		t.Errorf("ends with %d after %d requests: %s", code, asked, messages.String())
	}
}

// TestRequesterRestartOfServerBefore: what one server asked for with RESTART is nothing to the next one.
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

// TestPoolWaitsForNoDeadServer: once no server is of use, jobs do not wait for one another.
func TestPoolWaitsForNoDeadServer(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	open, most := 0, 0
	s := startFakeServer(t, func(c *fakeServerConn) {
		mu.Lock()
		open++
		most = max(most, open)
		mu.Unlock()
		for c.readRequest() != nil { // and never a reply
		}
		mu.Lock()
		open--
		mu.Unlock()
	})
	got := runWith(t, secretsInEnv, requests(9, papLine), "batch", s.addr, "-c", "8", "--timeout", "1")
	mu.Lock()
	defer mu.Unlock()
	// It is not blamed for leaving sessions unanswered: it never answered one.
	if n := strings.Count(got.out, "no reply from"); n != 9 || most < 4 || strings.Contains(got.err, "warning") {
		t.Errorf("%d without a reply, %d connections at a time: %s", n, most, got.err)
	}
}

// TestPoolPreferredServer: a server that is of no use is asked by one job, and by the others no more.
func TestPoolPreferredServer(t *testing.T) {
	t.Parallel()
	bad, good := startFakeServer(t, func(c *fakeServerConn) { c.readRequest() }), startFakeServer(t, (*fakeServerConn).grantAll)
	got := runWith(t, secretsInEnv, requests(40, papLine), "batch", bad.addr+","+good.addr)
	if n := checkAnswers(t, answers(t, got.out), 40); n != 40 || bad.connections() != 1 {
		t.Errorf("%d granted, %d connections to the bad server: %s", n, bad.connections(), got.err)
	}
}

// TestPoolOneSwallowed: one session of many gets no reply while all others do. It is put again after its
// own time, not after everybody else's.
func TestPoolOneSwallowed(t *testing.T) {
	t.Parallel()
	stop := make(chan struct{})
	s := startFakeServer(t, func(c *fakeServerConn) {
		for q := c.readRequest(); q != nil; q = c.readRequest() {
			if c.number == 1 && q.user == "u3" {
				continue
			}
			c.Write(c.grantReply(q))
		}
	})
	in, tell := io.Pipe()
	go func() { // as long as it takes
		io.WriteString(tell, requests(8, authorLine))
		for {
			select {
			case <-stop:
				tell.Close()
				return
			default:
				io.WriteString(tell, fmt.Sprintf(authorLine, `"user":"more"`)+"\n")
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
	code := run(ctx, []string{"batch", s.addr, "--timeout", "2500ms", "-q=false"}, stdio{in: in, out: watch, err: &messages, env: func(name string) string { return secretsInEnv[name] }})
	if code != classGranted.exit() || s.asked("u3") != 2 {
		t.Errorf("ends with %d, asked %d times: %s", code, s.asked("u3"), messages.String())
	}
}

// TestPoolEarlyCloses: a server that ends connections in use gets one session a connection after
// the second time, which is said once; one that ends them after many replies does not.
func TestPoolEarlyCloses(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		after int
		said  int
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
			if n := checkAnswers(t, answers(t, got.out), 5*tt.after); n != 5*tt.after || strings.Count(got.err, "ends connections that are in use") != tt.said {
				t.Errorf("%d granted: %s", n, got.err)
			}
		})
	}
}

// TestPoolWakeup rings before, during and after a wait: none is lost, and one suffices for many.
func TestPoolWakeup(t *testing.T) {
	c := newPool(&client{servers: []server{newServer("tac1", 49)}, singleConnect: true}, 4)
	c.wakeup.notify()
	c.wakeup.notify()
	c.sleep(t.Context(), time.Time{}) // returns, since it was rung before
	if len(c.wakeup.ch) != 0 {
		t.Error("a bell that was heard still rings")
	}
	go c.wakeup.notify()
	c.sleep(t.Context(), time.Time{})
	c.sleep(t.Context(), time.Now().Add(time.Millisecond))

	// After the end of ctx, what is under way is waited for all the same, and not by asking again
	// and again.
	ended, end := context.WithCancel(t.Context())
	end()
	var rang atomic.Bool
	go func() {
		time.Sleep(20 * time.Millisecond)
		rang.Store(true)
		c.wakeup.notify()
	}()
	if c.sleep(ended, time.Time{}); !rang.Load() {
		t.Error("the end of ctx cuts every wait short")
	}
}

// TestMuxWriteFails: a write has a deadline, and after an error there are no new sessions; whether a
// session was written decides what follows for a record.
func TestMuxWriteFails(t *testing.T) {
	broken := errors.New("broken")
	for _, tt := range []struct {
		written int
		want    outcome
	}{{0, outcomeNotSent}, {5, outcomeConnLost}} {
		conn := &fakeConn{write: func([]byte) (int, error) { return tt.written, broken }}
		c := &client{servers: []server{newServer("tac1", 49)}, keys: []key{{"test", testKey}}, timeout: time.Minute, singleConnect: true}
		m := newMux(&serverConn{client: c, server: c.servers[0], conn: conn, answered: 1, established: true}, nil, func() {}, discardf)
		j := &job{request: newRecord(commonFields{user: "u"}, authenMethodTACACSPlus, acctStart, []string{"service=shell"}, "1")}
		c.begin(j, time.Now())
		if err := m.add(j); err != nil || !m.hasRoom() {
			t.Fatal(err)
		}
		if m.flush(); m.hasRoom() || len(m.out) > 0 {
			t.Error("after a write error there is still room")
		}
		if left := time.Until(conn.deadline); left <= 0 || left > time.Minute {
			t.Errorf("the write has a deadline in %v", left)
		}
		if m.abandon(j, io.EOF); outcomeOf(j.err) != tt.want {
			t.Errorf("%d bytes written: fate %d, want %d", tt.written, outcomeOf(j.err), tt.want)
		}
		if m.unanswered != 0 || m.inFlight.first() != nil || len(m.byID) != 0 {
			t.Error("the session is still on the mux")
		}
	}
}

// TestMuxHasRoom is section 4.3, and the bound on what is on its way: nothing more may be started.
func TestMuxHasRoom(t *testing.T) {
	for _, tt := range []struct {
		name string
		link serverConn
		mux  mux
		jobs int
		want bool
	}{
		{"new", serverConn{}, mux{}, 0, true},
		{"before the first reply", serverConn{}, mux{}, 1, false},
		{"established", serverConn{answered: 1, established: true}, mux{}, 1, true},
		{"not agreed to", serverConn{answered: 1}, mux{}, 0, false},
		{"spent", serverConn{answered: 1, established: true, noNewSessions: true}, mux{}, 1, false},
		{"nearly full", serverConn{answered: 1, established: true}, mux{unanswered: maxUnanswered - 1}, 1, true},
		{"full", serverConn{answered: 1, established: true}, mux{unanswered: maxUnanswered}, 1, false},
	} {
		tt.mux.conn = &tt.link
		tt.mux.byID = map[uint32]*job{1: new(job)}
		if tt.jobs == 0 {
			clear(tt.mux.byID)
		}
		if got := tt.mux.hasRoom(); got != tt.want {
			t.Errorf("%s: %t", tt.name, got)
		}
	}
}

// TestPoolAssign is which jobs share a connection: of one exchange, in their first attempt or put again
// after one that was lost. After RESTART the same server is asked, which may be another by now.
func TestPoolAssign(t *testing.T) {
	for name, tt := range map[string]struct {
		use    reuse
		misses int
		err    error // of the attempt before
		typ    authenType
		shared bool
	}{
		"first":            {reuseMultiplexed, 0, nil, authenPAP, true},
		"lost":             {reuseMultiplexed, 0, &attemptError{failf(classNetwork, "lost"), outcomeConnLost}, authenPAP, true},
		"silent":           {reuseMultiplexed, 0, &attemptError{failf(classNetwork, "silent"), outcomeTimedOut}, authenPAP, false},
		"restart":          {reuseMultiplexed, 0, errRestart, authenPAP, false},
		"to another":       {reuseMultiplexed, 1, failf(classNetwork, "gone"), authenPAP, false},
		"dialogue":         {reuseMultiplexed, 0, nil, authenASCII, false},
		"one at a time":    {reuseSequential, 0, nil, authenPAP, false},
		"one a connection": {reuseNone, 0, nil, authenPAP, false},
	} {
		c := newPool(clientFor(t, "tac1"), 4)
		c.reuse, c.workerCount, c.now = tt.use, 4, time.Now() // the workers are at home
		c.mux = newMux(&serverConn{client: c.client, answered: 1, established: true, idleSince: c.now}, nil, nil, discardf)
		j := &job{request: newLogin(commonFields{user: "u", typ: tt.typ}, testPassword), failedAttempts: tt.misses, err: tt.err}
		c.queue.push(&j.place, j)
		if !c.assign(t.Context(), j) || (len(c.mux.byID) == 1) != tt.shared || (len(c.work) == 1) == tt.shared || c.inFlight() != 1 || c.queue.first() != nil {
			t.Errorf("%s: %d on the shared connection, %d apart", name, len(c.mux.byID), len(c.work))
			continue
		}
		if !tt.shared && (<-c.work).keepConn != (tt.use != reuseNone) {
			t.Errorf("%s: the connection is kept otherwise than it is of use", name)
		}
	}
}

// TestMuxFlushesWhileReading: what is queued goes out although there is more to read already.
func TestMuxFlushesWhileReading(t *testing.T) {
	for size, want := range map[int]int{flushAt - 1: 0, flushAt: flushAt} {
		written := 0
		conn := &fakeConn{write: func(p []byte) (int, error) { written += len(p); return len(p), nil }}
		c := &client{servers: []server{newServer("tac1", 49)}, keys: []key{{"test", testKey}}, timeout: time.Minute}
		m := newMux(&serverConn{client: c, conn: conn, answered: 1}, nil, func() {}, discardf)
		j := &job{request: newRecord(commonFields{user: "u"}, authenMethodTACACSPlus, acctStart, []string{"service=shell"}, "1")}
		c.begin(j, time.Now())
		if err := m.add(j); err != nil {
			t.Fatal(err)
		}
		m.out = make([]byte, size)
		h := j.session.sent
		h.seqNo++
		m.in = bufio.NewReader(bytes.NewReader(packed(h, testKey, &acctReply{status: acctSuccess})))
		m.in.Peek(headerLen) // it is in the buffer
		if got := m.wait(t.Context(), time.Time{}); got != j || j.err != nil || written != want {
			t.Errorf("%d bytes queued: %d written, %v", size, written, j.err)
		}
	}
}

// TestPoolFlushesResults: an answer is shown although the next one is still to come.
func TestPoolFlushesResults(t *testing.T) {
	t.Parallel()
	for _, line := range []string{papLine, asciiLine} {
		heard := make(chan struct{})
		s := startFakeServer(t, func(c *fakeServerConn) {
			for q := c.readRequest(); q != nil; q = c.readRequest() {
				if q.user == "u2" {
					<-heard
				}
				c.Write(c.grantReply(q))
			}
		})
		k := startBatch(t, s.addr)
		go io.WriteString(k.in, requests(3, line))
		for i := range 3 {
			if a := k.receive(); !a.Granted {
				t.Errorf("answer %+v", a)
			}
			if i == 1 {
				close(heard)
			}
		}
		k.end()
	}
}

// TestMuxWakes: a ring, or the end of ctx, that came before the wait ends it at once.
func TestMuxWakes(t *testing.T) {
	ended, end := context.WithCancel(t.Context())
	end()
	for name, tt := range map[string]struct {
		ctx   context.Context
		rings int
		err   error // of the job; nil where none is returned
	}{"rung": {t.Context(), 1, nil}, "interrupted": {ended, 0, errInterrupted}} {
		conn, other := net.Pipe()
		c := &client{servers: []server{newServer("tac1", 49)}, timeout: patience}
		rung := make(chan struct{}, 1)
		m := newMux(&serverConn{client: c, conn: conn}, rung, func() {}, discardf)
		j := &job{session: session{conn: m.conn, deadline: time.Now().Add(patience)}}
		m.inFlight.push(&j.place, j)
		for range tt.rings {
			rung <- struct{}{}
		}
		if got := m.wait(tt.ctx, time.Time{}); (got == nil) != (tt.err == nil) || j.err != tt.err || len(rung) != 0 {
			t.Errorf("%s: %v, %v", name, got, j.err)
		}
		conn.Close()
		other.Close()
	}
}

// TestPoolDialogueApartFromTheFirst: where single-connection mode is not offered, no request waits for the
// first reply.
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

// TestMuxGrace: a session whose time is over gets a grace for what has arrived already; but not for
// ever while other replies keep coming.
func TestMuxGrace(t *testing.T) {
	c := &client{servers: []server{newServer("tac1", 49)}, timeout: time.Second}
	conn, _ := net.Pipe()
	defer conn.Close()
	m := newMux(&serverConn{client: c, conn: conn}, nil, func() {}, discardf)
	now := time.Now()
	j := &job{session: session{deadline: now}}
	m.inFlight.push(&j.place, j)
	for _, tt := range []struct {
		after   time.Duration // the deadline
		until   time.Duration // likewise; 0 for none
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
		if holds := m.setDeadline(at, until); holds != tt.holds || holds && m.limit.After(now) != tt.overdue || holds && m.limit.Sub(at) != tt.wait {
			t.Errorf("%v after the deadline: %t, overdue %t, waits for %v", tt.after, holds, m.limit.After(now), m.limit.Sub(at))
		}
	}
}

// TestMuxReplyInTheGrace: a reply that comes a moment after the time of its session counts; a later one
// does not.
func TestMuxReplyInTheGrace(t *testing.T) {
	for late, want := range map[time.Duration]outcome{grace / 2: outcomeDecided, 2 * grace: outcomeTimedOut} {
		synctest.Test(t, func(t *testing.T) {
			conn, other := net.Pipe()
			c := &client{servers: []server{newServer("tac1", 49)}, keys: []key{{"test", testKey}}, timeout: time.Second}
			m := newMux(&serverConn{client: c, conn: conn}, nil, func() {}, discardf)
			j := &job{request: newRecord(commonFields{user: "u"}, authenMethodTACACSPlus, acctStart, []string{"service=shell"}, "1")}
			c.begin(j, time.Now())
			if err := m.add(j); err != nil {
				t.Fatal(err)
			}
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
				t.Errorf("a reply %v after its time: %v", late, j.err)
			}
			conn.Close()
			other.Close()
			server.Wait()
		})
	}
}

// TestPoolReusedJob: bench uses its jobs again, and nothing of the request before is left on them.
func TestPoolReusedJob(t *testing.T) {
	b := &bench{n: 10}
	q := newLogin(commonFields{user: "u", typ: authenPAP}, "")
	j := &job{request: q, failedAttempts: 3, replyLost: true, err: errInterrupted}
	j.res.Attempts = make([]attempt, 3)
	j.session.deadline = time.Now()
	q.tried = []authenType{authenPAP}
	b.free = []*job{j}
	got, _, _ := b.nextJob(time.Now())
	if got != j || j.failedAttempts != 0 || j.replyLost || j.err != nil || j.res.Attempts != nil || !j.session.deadline.IsZero() || q.tried != nil || j.due.IsZero() {
		t.Errorf("a job that is used again: %+v", got)
	}
}
