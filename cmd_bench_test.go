package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"
)

// benchJSON runs bench with --json and reads its report.
func benchJSON(t *testing.T, addr, line string) (benchReport, runResult) {
	t.Helper()
	got := runWith(t, secretsInEnv, "", append(split("bench alice AT --json", "AT", addr), split(line)...)...)
	var r benchReport
	d := json.NewDecoder(strings.NewReader(got.out))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil || strings.Count(got.out, "\n") != 1 || r.ExitCode != got.code || r.Command != "bench" {
		t.Fatalf("%s: got %d, %v: %s%s", line, int(got.code), err, got.out, got.err)
	}
	return r, got
}

// sum returns the total of the counts of all statuses.
func sum(status map[string]int) (n int) {
	for _, v := range status {
		n += v
	}
	return n
}

// TestBenchFlagViolation: the header of a reply that must not be used counts as received.
func TestBenchFlagViolation(t *testing.T) {
	t.Parallel()
	s := startFakeServer(t, func(c *fakeServerConn) {
		for q := c.readRequest(); q != nil; q = c.readRequest() {
			c.Write(c.grantReply(q, func(h *header) { h.flags |= flagUnencrypted }))
		}
	})
	if r, _ := benchJSON(t, s.addr, "-t pap -n 1"); r.Bytes["received"] != headerLen || r.ExitCode != classProtocol.exit() {
		t.Errorf("got %+v", r)
	}
}

// TestBench compares the counts of the report with those of the server.
func TestBench(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		options string
		n       int
		status  string
		logged  string
		conns   int // 0: any number
	}{
		{"-t pap -n 300", 300, "PASS", " alice authenticate pap PASS", 1},
		{"-t pap -n 1", 1, "PASS", " alice authenticate pap PASS", 1},
		{"-t pap -n 5 -c 100", 5, "PASS", " alice authenticate pap PASS", 1},
		{"-t pap -n 100 -c 1", 100, "PASS", " alice authenticate pap PASS", 1},
		{"-t pap", 1000, "PASS", " alice authenticate pap PASS", 1},
		{"-t chap -n 50", 50, "PASS", " alice authenticate chap PASS", 1},
		{"-t mschapv2 -n 50", 50, "PASS", " alice authenticate mschapv2 PASS", 1},
		{"-n 50", 50, "PASS", " alice authenticate ascii PASS", 0},
		{"-n 50 --authorize", 50, "PASS_ADD", " alice authorize service=shell cmd= PASS_ADD", 1},
		{"-n 50 --authorize --cmd show", 50, "PASS_ADD", " alice authorize show PASS_ADD", 1},
		{"-n 50 --account --cmd show", 50, "SUCCESS", " cmd=show SUCCESS", 1},
		{"-n 50 --account -c 1", 50, "SUCCESS", " cmd= SUCCESS", 1},
		{"-t pap -n 40 --no-single-connect", 40, "PASS", " alice authenticate pap PASS", 40},
		{"-n 40 --no-single-connect", 40, "PASS", " alice authenticate ascii PASS", 40},
		{"-t pap -n 100 --rate 2000", 100, "PASS", " alice authenticate pap PASS", 1},
	} {
		t.Run(tt.options, func(t *testing.T) {
			s := serveWith(t)
			r, got := benchJSON(t, s.addr, tt.options)
			s.stop()
			log := s.log.String()
			if got.code != classGranted.exit() || got.err != "" || r.Requests != tt.n || r.Answered != tt.n || len(r.Status) != 1 || r.Status[tt.status] != tt.n || strings.Count(log, tt.logged+"\n") != tt.n || strings.Count(log, "\n") != tt.n {
				t.Errorf("got %s%s, and %d lines on the server", got.out, got.err, strings.Count(log, "\n"))
			}
			peers, tasks := make(map[string]bool), make(map[string]bool)
			for line := range strings.Lines(log) {
				peers[strings.Fields(line)[1]] = true
				if m := regexp.MustCompile(`task_id=\S+`).FindString(line); m != "" {
					tasks[m] = true
				}
			}
			slow := r.Latency["max"] > float64(maxFirstWait.Milliseconds()) // the machine, so that others may have got a second connection
			reused := tt.conns / 10                                         // ports that other connections had, at most
			if tt.conns > 0 && (len(peers) > tt.conns || len(peers) < tt.conns-reused) && !slow {
				t.Errorf("%d connections, want %d", len(peers), tt.conns)
			}
			if strings.Contains(tt.options, "--account") && len(tasks) != tt.n/2 {
				t.Errorf("%d different tasks", len(tasks))
			}
			if single := r.SingleConnect; strings.Contains(tt.options, "--no-single") != (single == nil) || single != nil && !*single && tt.conns == 1 {
				t.Errorf("single_connect: %s", got.out)
			}
			last := 0.0
			for _, p := range percentiles {
				if v, ok := r.Latency[p.name]; !ok || v < last {
					t.Errorf("%s of %v", p.name, r.Latency)
				} else {
					last = v
				}
			}
			if last <= 0 || r.Seconds <= 0 || r.PerSecond <= 0 || r.Transport != "tcp" || r.Bytes["sent"] < tt.n*(headerLen+8) || r.Bytes["received"] < tt.n*(headerLen+5) || r.Errors != nil || r.Stopped {
				t.Errorf("got %s", got.out)
			}
		})
	}
}

// TestBenchReport checks the text of the report.
func TestBenchReport(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	for _, tt := range []struct {
		line string
		code exitCode
		out  string
	}{
		{"bench alice AT -t pap -n 20", 0, `requests  20 in \d+\.\d{3} s, \d+\.\d a second
latency   p50 \d+\.\d{3} ms p90 \d+\.\d{3} ms p95 \d+\.\d{3} ms p99 \d+\.\d{3} ms p99\.9 \d+\.\d{3} ms max \d+\.\d{3} ms
status    PASS 20
bytes     \d+ sent, \d+ received
transport tcp, single-connect granted
`},
		{"bench alice AT -t pap -n 20 --no-single-connect", 0, `(?s)requests  20 .*transport tcp, a connection for each request\n`},
		{"bench alice AT -t pap -n 20 -q", 0, ``},
		{"bench alice AT -t pap -n 20 -k another-key-of-the-tests", 5, `requests  20 in \d+\.\d{3} s, 0 answered, 0\.0 a second
error     protocol 20, such as: the reply of .* cannot be read with this key \(.*\)
bytes     \d+ sent, \d+ received
transport tcp
`},
		{"bench alice " + refusedAddr(t) + " -t pap -n 20", 4, `requests  20 in \d+\.\d{3} s, 0 answered, 0\.0 a second
error     network 20, such as: connect to \S+: connection refused
bytes     0 sent, 0 received
transport tcp
`},
	} {
		got := s.ask(t, tt.line)
		runResult{got.code, got.out, ""}.check(t, tt.code, tt.out, ``)
	}
	refusing := serveWith(t, "--fault", "single-refused")
	runResult.check(refusing.ask(t, "bench alice AT -t pap -n 20"), t, 0, `(?s)requests  20 .*transport tcp, single-connect refused\n`, ``)
}

// TestBenchTime checks --duration and --warmup.
func TestBenchTime(t *testing.T) {
	t.Parallel()
	for _, options := range []string{"--duration 100ms", "--duration 100ms --rate 300", "--duration 100ms -n 1000000", "--duration 100ms --no-single-connect"} {
		t.Run(options, func(t *testing.T) {
			t.Parallel()
			s := serveWith(t)
			r, got := benchJSON(t, s.addr, "-t pap "+options)
			s.stop()
			if n := strings.Count(s.log.String(), "\n"); got.code != classGranted.exit() || r.Requests == 0 || r.Requests != n {
				t.Errorf("%d requests on the server: %s", n, got.out)
			}
		})
	}
	s := serveWith(t)
	r, got := benchJSON(t, s.addr, "-t pap --warmup 50ms -n 50")
	s.stop()
	if n := strings.Count(s.log.String(), "\n"); got.code != classGranted.exit() || r.Requests != 50 || r.Status["PASS"] != 50 || n <= 50 {
		t.Errorf("50 requests after a warm-up: %d on the server: %s", n, got.out)
	}
}

// TestBenchEnds: a run ends in time, even if the next request is due later.
func TestBenchEnds(t *testing.T) {
	b := &bench{duration: time.Second, interval: time.Minute, start: time.Unix(100, 0), free: []*job{{request: newLogin(commonFields{}, "")}}}
	b.tally.began = b.start
	if j, _, more := b.nextJob(b.start); j == nil || !more {
		t.Fatal("no first request")
	}
	if j, next, more := b.nextJob(b.start.Add(time.Millisecond)); j != nil || !next.Equal(b.start.Add(b.duration)) || !more {
		t.Errorf("the next check is at %v, %t", next, more)
	}
	if j, _, more := b.nextJob(b.start.Add(b.duration)); j != nil || more {
		t.Error("a run does not end after its duration")
	}
	b.duration = 0 // without a limit, the next check is at the next request
	if j, next, more := b.nextJob(b.start.Add(time.Millisecond)); j != nil || !next.Equal(b.start.Add(b.interval)) || !more {
		t.Errorf("without --duration, the next check is at %v, %t", next, more)
	}
}

// TestBenchLatency: latency counts from when a request was due, so a stall of the server is visible.
func TestBenchLatency(t *testing.T) {
	t.Parallel()
	s := serveWith(t, "--reply-delay", "20ms")
	if r, got := benchJSON(t, s.addr, "-t pap -n 10 --rate 100"); r.Latency["p50"] < 20 || got.code != classGranted.exit() {
		t.Errorf("replies take 20 ms, got %s", got.out)
	}
	const stall = 200 * time.Millisecond
	hand := startFakeServer(t, func(c *fakeServerConn) {
		i := 0
		for q := range c.requests {
			if i++; i == 11 {
				time.Sleep(stall) // once
			}
			c.Write(c.grantReply(q))
		}
	})
	// 40 of the requests were due in the stall, 5 ms apart, so that half of all waited for 45 ms at least.
	r, got := benchJSON(t, hand.addr, "-t pap -n 60 --rate 200 -c 1")
	if r.Latency["max"] < 199 || r.Latency["p50"] < 40 || got.code != classGranted.exit() {
		t.Errorf("a stall of 200 ms is hidden: %s", got.out)
	}
}

// TestBenchProtectsAccounts checks how many denied logins reach the server.
func TestBenchProtectsAccounts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		options string
		n       int
		stopped bool
	}{
		{"-t pap", 2, true},
		{"-t pap -c 1", 2, true},
		{"-t pap -c 1000", 2, true},
		{"-t pap --no-single-connect", 2, true},
		{"-t chap", 2, true},
		{"", 2, true},
		{"-t pap --rate 10000", 2, true},
		{"-t pap --warmup 10s", 2, true},
		{"-t pap -n 1", 1, false},
		{"-t pap -n 130 --keep-going", 130, false},
	} {
		s := serveWith(t)
		r, got := benchJSON(t, s.addr, "--password no "+tt.options)
		s.stop()
		if n := strings.Count(s.log.String(), "\n"); got.code != classDenied.exit() || r.Error == nil || n != tt.n || r.Stopped != tt.stopped {
			t.Errorf("%s: got %d, %d on the server, want %d: %s", tt.options, int(got.code), n, tt.n, got.out)
		}
		const why = "stopped after 2 denials in a row, before the server locks the account; --keep-going continues"
		if strings.Contains(got.err, why) != tt.stopped || slices.Contains(r.Notes, why) != tt.stopped {
			t.Errorf("%s: %s, stderr is %q", tt.options, got.out, got.err)
		}
	}
	t.Run("denied now and then", func(t *testing.T) {
		t.Parallel()
		s := startFakeServer(t, func(c *fakeServerConn) {
			i := 0
			for q := range c.requests {
				if i++; i%maxDenials == 0 {
					c.Write(c.grantReply(q))
				} else {
					c.Write(c.reply(q, &authenReply{status: authenFail}))
				}
			}
		})
		r, got := benchJSON(t, s.addr, "-t pap -c 1 -n 50")
		if got.code != classDenied.exit() || r.Stopped || r.Status["FAIL"] != 25 || r.Status["PASS"] != 25 {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("that was good before", func(t *testing.T) {
		var asked, denied atomic.Int32
		s := startFakeServer(t, func(c *fakeServerConn) {
			for q := range c.requests {
				if asked.Add(1) <= 100 {
					c.Write(c.grantReply(q))
				} else {
					denied.Add(1)
					c.Write(c.reply(q, &authenReply{status: authenFail}))
				}
			}
		})
		r, got := benchJSON(t, s.addr, "-t pap -c 4 -n 1000")
		if n := int(denied.Load()); got.code != classDenied.exit() || !r.Stopped || n < 2 || n > 4 || r.Status["FAIL"] != n {
			t.Errorf("%d denied: %s", n, got.out)
		}
	})
}

// TestBenchStopsAfterFailures: a run in which everything fails ends after 100 requests, with the reason.
func TestBenchStopsAfterFailures(t *testing.T) {
	t.Parallel()
	refused := refusedAddr(t)
	lab := serveWith(t, "--deny", "^reload").addr
	late := startFakeServer(t, func(c *fakeServerConn) {
		i := 0
		for q := range c.requests {
			if i++; i <= 50 || i == 101 {
				c.Write(c.grantReply(q))
			} else {
				c.Write(c.reply(q, &authorResponse{status: authorFail}))
			}
		}
	}).addr
	for _, tt := range []struct {
		addr, options string
		code          exitCode
		n             int
		reason        string // empty if the run does not stop
	}{
		{refused, "-t pap", 4, 100, "stopped after 100 failures in a row, the last: connect to AT: connection refused; --keep-going continues"},
		{refused, "-t pap -c 1000", 4, 100, "stopped after 100 failures in a row, the last: connect to AT: connection refused; --keep-going continues"},
		{refused, "--account -c 500", 4, 100, "stopped after 100 failures in a row, the last: connect to AT: connection refused; --keep-going continues"},
		{refused, "-t pap --keep-going", 4, 300, ""},
		{refused, "-t pap -n 99", 4, 99, ""},
		{lab, "--authorize --cmd reload -c 500", 1, 100, "stopped after 100 failures in a row, the last: FAIL: command not permitted; --keep-going continues"},
		{lab, "--authorize --cmd reload -n 99", 1, 99, ""},
		{lab, "-t pap -k another-key-of-the-tests -c 1", 5, 100, "stopped after 100 failures in a row, the last: the reply of AT cannot be read with this key (lengths do not add up); --keep-going continues"},
		// 50 grants, 50 denials, a grant, 100 denials.
		{late, "--authorize -c 1", 1, 201, "stopped after 100 failures in a row, the last: FAIL; --keep-going continues"},
	} {
		r, got := benchJSON(t, tt.addr, "-n 300 "+tt.options)
		reason := strings.ReplaceAll(tt.reason, "AT", tt.addr)
		if got.code != tt.code || r.Requests != tt.n || r.Stopped != (reason != "") || reason != "" && !slices.Contains(r.Notes, reason) || !strings.Contains(got.err, reason) {
			t.Errorf("%s: got %d %s%s", tt.options, int(got.code), got.out, got.err)
		}
	}
}

// TestBenchStopsTasks: each start record is followed by the stop record of its task, whatever ends the run.
func TestBenchStopsTasks(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		options string
		n       int // requests; 0 for any number
	}{
		{"-n 1 -c 1", 2}, {"-n 2 -c 1", 2}, {"-n 7 -c 1", 8}, {"-n 7", 8}, {"-n 8 -c 3", 8}, {"-n 8 -c 100", 8},
		{"-n 20 --no-single-connect", 20}, {"-n 10 --rate 1000", 10}, {"--duration 50ms", 0}, {"--duration 50ms --rate 200", 0}, {"-n 20 --warmup 20ms", 0},
	} {
		s := serveWith(t)
		r, got := benchJSON(t, s.addr, "--account "+tt.options)
		open, stopped := make(map[string]bool), 0
		record := regexp.MustCompile(` account (start|stop) task_id=(\S+) start_time=\d+ (stop_time=\d+ elapsed_time=\d+ )?timezone=UTC service=shell cmd= SUCCESS`)
		for line := range strings.Lines(s.log.String()) {
			m := record.FindStringSubmatch(line)
			switch {
			case m == nil || (m[1] == "start") != (m[3] == "") || open[m[2]] != (m[1] == "stop"):
				t.Errorf("%s: %s", tt.options, line)
			case m[1] == "stop":
				stopped++
				delete(open, m[2])
			default:
				open[m[2]] = true
			}
		}
		if got.code != classGranted.exit() || len(open) > 0 || stopped == 0 || tt.n > 0 && (r.Requests != tt.n || 2*stopped != tt.n) {
			t.Errorf("%s: %d tasks are not stopped, %d are: %s", tt.options, len(open), stopped, got.out)
		}
	}
}

// TestBenchStopsTasksWhenInterrupted: after an interruption no task is started, and those that were started are stopped.
func TestBenchStopsTasksWhenInterrupted(t *testing.T) {
	t.Parallel()
	for _, options := range []string{"-c 1", "-c 4", "-c 1 --no-single-connect", "-c 1 --rate 1"} {
		reached := make(chan struct{})
		var mu sync.Mutex
		var flags string
		s := startFakeServer(t, func(c *fakeServerConn) {
			for q := range c.requests {
				mu.Lock()
				if flags += q.message.(*acctRequest).flags.String() + " "; flags == "start " {
					close(reached)
					time.Sleep(100 * time.Millisecond) // the interruption comes before the reply
				}
				mu.Unlock()
				c.Write(c.grantReply(q))
			}
		})
		got := runUntil(t, reached, "bench alice AT --json --account -n 100000 "+options, "AT", s.addr)
		var r benchReport
		if err := json.Unmarshal([]byte(got.out), &r); err != nil || got.code != classInterrupted.exit() || r.Requests > 8 || strings.Count(flags, "start") != strings.Count(flags, "stop") || *r.Error != *newProblem(errInterrupted) {
			t.Errorf("%s: %v, the server got %s: %+v", options, err, flags, got)
		}
	}
}

// TestBenchInterruptedBetweenRequests: an interruption does not wait for the time when the next request is due.
func TestBenchInterruptedBetweenRequests(t *testing.T) {
	t.Parallel()
	var took time.Duration
	for range 3 { // a busy machine may be slow once
		reached := make(chan struct{})
		var at time.Time
		var first sync.Once
		s := startFakeServer(t, func(c *fakeServerConn) {
			for q := range c.requests {
				c.Write(c.grantReply(q))
				first.Do(func() {
					time.Sleep(50 * time.Millisecond) // the client has the reply
					at = time.Now()
					close(reached)
				})
			}
		})
		got := runUntil(t, reached, "bench alice AT --account --rate 1 -n 100", "AT", s.addr)
		if took = time.Since(at); got.code != classInterrupted.exit() {
			t.Fatalf("got %+v", got)
		}
		if took < 500*time.Millisecond {
			return
		}
	}
	t.Errorf("it ends %v after the interruption", took)
}

// TestBenchStopsTasksAtOnce: when a run is over, the stop record of a task is sent before it is due.
func TestBenchStopsTasksAtOnce(t *testing.T) {
	start := newRecord(commonFields{}, authenMethodTACACSPlus, acctStart, []string{"service=shell"}, "7")
	b := &bench{n: 1, duration: time.Second, interval: time.Minute, start: time.Unix(100, 0), newStart: func() dialogue { return start }, free: []*job{{}}}
	b.tally.began, b.tally.statuses = b.start, make(map[status]int)
	j, _, _ := b.nextJob(b.start)
	if j == nil || j.request != dialogue(start) {
		t.Fatal("no start record")
	}
	if none, _, more := b.nextJob(b.start); none != nil || !more {
		t.Error("the run ends before the start record is done")
	}
	j.res.class, j.res.status = classGranted, acctSuccess
	b.jobDone(j)
	j, _, _ = b.nextJob(b.start.Add(time.Millisecond))
	if j == nil || j.request.(*record).request.flags != acctStop || argValue(j.request.(*record).request.args, "task_id") != "7" {
		t.Fatal("no stop record")
	}
	j.res.class, j.res.status = classGranted, acctSuccess
	b.jobDone(j)
	if none, _, more := b.nextJob(b.start.Add(2 * time.Millisecond)); none != nil || more {
		t.Error("the run does not end")
	}
}

// TestBenchLongRecords: a start record whose stop record has too many arguments is not sent.
func TestBenchLongRecords(t *testing.T) {
	t.Parallel()
	l := listen(t)
	for _, n := range []int{250, 249} { // 255 and 254 arguments in the start record, two more in the stop record
		got := runWith(t, secretsInEnv, "", "bench", "alice", l.Addr().String(), "--account", "--cmd", "show"+strings.Repeat(" x", n))
		got.check(t, classUsage.exit(), ``, fmt.Sprintf("(?s)tacacs_plus: %d arguments, the limit is 255\n.*", n+7))
	}
	checkUntouched(t, l)
}

// TestBenchFailedStart: a task whose start record was not confirmed is not stopped.
func TestBenchFailedStart(t *testing.T) {
	t.Parallel()
	s := serveWith(t, "--fault", "error")
	r, got := benchJSON(t, s.addr, "--account -n 6 -c 1")
	if log := s.log.String(); got.code != classServer.exit() || r.Requests != 6 || strings.Count(log, " account start ") != 6 || strings.Contains(log, " account stop ") {
		t.Errorf("got %+v, the server got %s", got, log)
	}
}

// TestBenchExitCode: the exit code is that of the worst outcome.
func TestBenchExitCode(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		replies string // one for each connection, in order
		code    exitCode
		message string // of the error
	}{
		{"pass pass", 0, ""}, {"pass fail", 1, "1 of 2 requests were not granted"}, {"fail error pass", 3, "2 of 3 requests were not granted"},
		{"error fail close pass", 4, " closed the connection before it answered"}, {"close error fail", 4, " closed the connection before it answered"},
		{"close unknown error fail", 5, " sent the unknown status 0x63"}, {"unknown close", 5, " sent the unknown status 0x63"},
	} {
		replies := strings.Fields(tt.replies)
		s := startFakeServer(t, func(c *fakeServerConn) {
			q := c.readRequest()
			if q == nil || c.number > len(replies) {
				return
			}
			status, ok := map[string]authenStatus{"pass": authenPass, "fail": authenFail, "error": authenError, "unknown": 0x63}[replies[c.number-1]]
			if ok {
				c.Write(c.reply(q, &authenReply{status: status}))
			}
		})
		began := time.Now().Truncate(time.Millisecond)
		r, got := benchJSON(t, s.addr, fmt.Sprint("-t pap -c 1 --no-single-connect -n ", len(replies)))
		if r.User != "alice" || r.Granted != (tt.code == 0) || (r.Error == nil) != r.Granted || r.Error != nil && (!strings.HasSuffix(r.Error.Message, tt.message) || (r.Error.Hint == "") != (tt.code < 4)) {
			t.Errorf("%s: got %+v", tt.replies, r)
		}
		if at, err := time.Parse(time.RFC3339, r.Time); err != nil || at.Before(began) || at.After(time.Now()) {
			t.Errorf("%s: at %s", tt.replies, r.Time)
		}
		if got.code != tt.code || s.connections() != len(replies) {
			t.Errorf("%s: %d connections, %+v", tt.replies, s.connections(), got)
		}
	}
}

// TestBenchInterrupted: a request that Ctrl-C ended is not counted.
func TestBenchInterrupted(t *testing.T) {
	t.Parallel()
	for _, options := range []string{"-t pap -c 1", "-c 1", "-t chap -c 1 --no-single-connect"} {
		reached := make(chan struct{})
		var granted atomic.Int32
		s := startFakeServer(t, func(c *fakeServerConn) {
			for q := range c.requests {
				if granted.Load() == 20 {
					close(reached)
					c.readAll()
					return
				}
				granted.Add(1)
				c.Write(c.grantReply(q))
			}
		})
		got := runUntil(t, reached, "bench alice AT --json --timeout 1h "+options, "AT", s.addr)
		var r benchReport
		if err := json.Unmarshal([]byte(got.out), &r); err != nil || got.code != classInterrupted.exit() || r.ExitCode != got.code ||
			r.Requests != 20 || r.Status["PASS"] != 20 || r.Errors != nil || *r.Error != *newProblem(errInterrupted) {
			t.Errorf("%s: %v, %+v", options, err, got)
		}
	}
}

// TestBenchRestarts: every login starts with the type of the option, even after a RESTART with another type.
func TestBenchRestarts(t *testing.T) {
	t.Parallel()
	restart, pass := &authenReply{status: authenRestart, data: "\x02"}, &authenReply{status: authenPass}
	s := newScriptServer(t, testKey, restart, pass, restart, pass)
	if r, got := benchJSON(t, s.addr, "-n 2 -c 1"); got.code != classGranted.exit() || r.Status["PASS"] != 2 {
		t.Fatalf("got %+v", got)
	}
	for _, want := range []authenType{authenASCII, authenPAP, authenASCII, authenPAP} {
		var start authenStart
		if s.received(t, &start); start.typ != want {
			t.Errorf("got a login by %s, want %s", start.typ, want)
		}
	}
}

// TestBenchFails: with servers that fail, every request is counted once, by the class of its error, and the run ends.
func TestBenchFails(t *testing.T) {
	t.Parallel()
	closing := startFakeServer(t, func(c *fakeServerConn) { c.readRequest() }).addr
	sometimes := startFakeServer(t, func(c *fakeServerConn) {
		for range 10 {
			if q := c.readRequest(); q != nil {
				c.Write(c.grantReply(q))
			}
		}
		c.closeGently()
	}).addr
	for _, tt := range []struct {
		name, addr, options string
		code                exitCode
		error               string // "" if all were answered
		n                   int    // count of the error
		example             string // in the error, or in a note
	}{
		{"refused", refusedAddr(t), "-t pap", 4, "network", 30, "connection refused"},
		{"refused, a connection each", refusedAddr(t), "--no-single-connect", 4, "network", 30, "connection refused"},
		{"closes", closing, "-t pap", 4, "network", 30, "closed the connection before it answered"},
		{"closes, dialogues", closing, "", 4, "network", 30, "closed the connection before it answered"},
		{"closes some connections", sometimes, "-t pap -c 8", 0, "", 0, ""},
		{"wrong key", serveWith(t, "--fault", "wrong-key").addr, "-t pap", 5, "protocol", 30, "cannot be read with this key"},
		{"ERROR", serveWith(t, "--fault", "error").addr, "-t pap", 3, "", 0, " answered ERROR: database down"},
		{"an empty body", serveWith(t, "--fault", "empty-body").addr, "-t pap", 3, "server error", 30, "answers with an empty body"},
		{"repeats the prompt", serveWith(t).addr, "--password no --keep-going", 1, "", 0, ""},
		{"silent", serveWith(t, "--fault", "silent").addr, "--timeout 500ms --no-single-connect -c 30 --keep-going", 4, "network", 30, "no reply from"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, got := benchJSON(t, tt.addr, "-n 30 "+tt.options)
			n, example := 0, strings.Join(r.Notes, " ")
			for _, e := range r.Errors {
				n, example = n+e.Count, e.Example
			}
			if got.code != tt.code || r.Requests != 30 || n != tt.n || (n > 0) != (r.Errors[tt.error] != nil) || !strings.Contains(example, tt.example) || strings.Contains(example, "\n") {
				t.Errorf("got %d: %s%s", int(got.code), got.out, got.err)
			}
			if r.Answered != 30-n || sum(r.Status) != r.Answered || (r.Answered > 0) != (r.PerSecond > 0) || (r.Answered > 0) != (len(r.Latency) > 0) || r.Answered == 0 && r.SingleConnect != nil {
				t.Errorf("%d of 30 failed: %s", n, got.out)
			}
		})
	}
}

// TestBenchMemory: the memory in use does not grow with the number of requests.
func TestBenchMemory(t *testing.T) {
	n := manyRequests()
	m := newInFlightMeter(n)
	s := startFakeServer(t, func(c *fakeServerConn) { c.grantFast(m) })
	if r, got := benchJSON(t, s.addr, fmt.Sprint("--authorize --unencrypted -c 64 -n ", n)); got.code != classGranted.exit() || r.Requests != n {
		t.Errorf("got %+v", got)
	}
	m.check(t, n)
}

// TestBenchHistogram compares quantiles with those of a sorted slice.
func TestBenchHistogram(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for _, limit := range []int64{1, 100, 127, 128, 129, 1000, 1e6, 1e9, 1e12, 1<<63 - 1} {
		for _, n := range []int{1, 2, 10, 100, 1000, 20_000} {
			var h histogram
			values := make([]time.Duration, n)
			for i := range values {
				values[i] = time.Duration(random.Int64N(limit))
				if random.IntN(2) == 0 {
					values[i] >>= random.IntN(60)
				}
				h.add(values[i])
			}
			slices.Sort(values)
			if h.max != values[n-1] || h.quantile(1) != h.max || h.count != uint64(n) {
				t.Errorf("%d values below %d: max %v, want %v", n, limit, h.max, values[n-1])
			}
			for _, part := range []int{0, 1, 10, 250, 500, 900, 950, 990, 999, 1000} { // of a thousand
				rank := max((part*n+999)/1000, 1)
				want, got := values[rank-1], h.quantile(float64(part)/1000)
				if got < want || float64(got-want) > float64(want)/64 {
					t.Errorf("%d values below %d: quantile %d/1000 is %d, want %d", n, limit, part, got, want)
				}
			}
		}
	}
	var h histogram
	if h.quantile(0.5) != 0 {
		t.Error("an empty histogram has a quantile")
	}
	if h.add(-1); h.max != 0 || h.quantile(1) != 0 {
		t.Error("a negative duration does not count as zero")
	}
	if size := unsafe.Sizeof(h); size > 32<<10 {
		t.Errorf("%d bytes", size)
	}
}

// TestBenchFailsInPart: only answers count as throughput and as latency. The server closes every other connection.
func TestBenchFailsInPart(t *testing.T) {
	t.Parallel()
	const late = 50 * time.Millisecond
	var asked atomic.Int32
	s := startFakeServer(t, func(c *fakeServerConn) {
		q := c.readRequest()
		if q == nil {
			return
		}
		if time.Sleep(late); asked.Add(1)%2 == 0 {
			c.Write(c.grantReply(q))
		}
	})
	for _, options := range []string{"--rate 1000", "-c 20"} { // without a rate the requests are sent at once, too
		r, got := benchJSON(t, s.addr, "-t pap -n 20 --no-single-connect "+options)
		e := r.Errors["network"]
		if got.code != classNetwork.exit() || r.Requests != 20 || r.Answered != 10 || r.Status["PASS"] != 10 || len(r.Errors) != 1 || e == nil || e.Count != 10 {
			t.Errorf("half of the requests were answered, got %s%s", got.out, got.err)
		}
		if want := 10 / r.Seconds; r.PerSecond < want*0.99 || r.PerSecond > want*1.01 {
			t.Errorf("%g requests per second, want %g: %s", r.PerSecond, want, got.out)
		}
	}
	text := runWith(t, secretsInEnv, "", split("bench alice AT -t pap -n 20 --no-single-connect", "AT", s.addr)...)
	text.check(t, classNetwork.exit(), `requests  20 in \S+ s, 10 answered, \S+ a second
latency  .*
status    PASS 10
error     network 10, such as: \S+ closed the connection before it answered
bytes     \d+ sent, \d+ received
transport tcp, a connection for each request
`, ``)
}

// TestBenchLatencyOfAnswers: the time of requests without an answer is not counted. The server closes their connections long
// after the last answer.
func TestBenchLatencyOfAnswers(t *testing.T) {
	t.Parallel()
	const late = 300 * time.Millisecond
	var asked atomic.Int32
	var answered sync.WaitGroup
	answered.Add(5)
	s := startFakeServer(t, func(c *fakeServerConn) {
		q := c.readRequest()
		if asked.Add(1) > 5 {
			c.Write(c.grantReply(q))
			c.in.ReadByte() // until the client has read the reply and closed the connection
			answered.Done()
			return
		}
		answered.Wait()
		time.Sleep(late)
	})
	r, got := benchJSON(t, s.addr, "-t pap -n 10 -c 10 --no-single-connect --keep-going")
	if r.Answered != 5 || r.Errors["network"] == nil || r.Errors["network"].Count != 5 || r.Seconds < late.Seconds() || r.Latency["max"] > 1000*(r.Seconds-late.Seconds()/2) {
		t.Errorf("5 of 10 requests were not answered, got %s%s", got.out, got.err)
	}
}

// TestBenchPercentiles: of 10 requests, one of them slow, p95 and p99 are that one.
func TestBenchPercentiles(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	s := startFakeServer(t, func(c *fakeServerConn) {
		for q := range c.requests {
			if asked.Add(1) == 5 {
				time.Sleep(300 * time.Millisecond)
			}
			c.Write(c.grantReply(q))
		}
	})
	r, got := benchJSON(t, s.addr, "-t pap -n 10 -c 1")
	if max := r.Latency["max"]; max < 300 || r.Latency["p99"] != max || r.Latency["p95"] != max || r.Latency["p90"] >= max || r.Latency["p50"] > r.Latency["p90"] {
		t.Errorf("got %s%s", got.out, got.err)
	}
}

// TestBenchError: the reason of an ERROR is printed once, and ERROR counts as an answer.
func TestBenchError(t *testing.T) {
	t.Parallel()
	s := serveWith(t, "--fault", "error")
	s.ask(t, "bench alice AT -t pap -n 20").check(t, classServer.exit(), `(?s)requests  20 in \S+ s, \S+ a second\nlatency .*\nstatus    ERROR 20\nbytes .*single-connect granted\n`,
		`tacacs_plus: warning: \S+ answered ERROR: database down\n`)
}

// TestBenchStatusOrder: the text has granted statuses first, then denials, then ERROR.
func TestBenchStatusOrder(t *testing.T) {
	t.Parallel()
	statuses := []authenStatus{authenError, authenFail, authenFollow, authenPass}
	s := startFakeServer(t, func(c *fakeServerConn) {
		if q := c.readRequest(); q != nil {
			c.Write(c.reply(q, &authenReply{status: statuses[(c.number-1)%len(statuses)]}))
		}
	})
	got := runWith(t, secretsInEnv, "", split("bench alice AT -t pap -n 4 -c 1 --no-single-connect --keep-going", "AT", s.addr)...)
	runResult{got.code, got.out, ""}.check(t, classServer.exit(), `(?s)requests  4 .*\nstatus    PASS 1 FAIL 1 FOLLOW 1 ERROR 1\n.*`, ``)
}

// TestBenchSingleConnectOnce: the report has single-connect if one of the connections had it.
func TestBenchSingleConnectOnce(t *testing.T) {
	t.Parallel()
	s := startFakeServer(t, func(c *fakeServerConn) {
		if c.number == 1 {
			c.Write(c.grantReply(c.readRequest()))
			c.closeGently()
			return
		}
		c.refuse = true
		c.grantAll()
	})
	r, got := benchJSON(t, s.addr, "-t pap -n 5 -c 1")
	if got.code != classGranted.exit() || r.Requests != 5 || r.SingleConnect == nil || !*r.SingleConnect || s.connections() < 2 {
		t.Errorf("%d connections: %s%s", s.connections(), got.out, got.err)
	}
}

// TestBenchProgress: the line is printed at once and every second, and cleared at the end and for a warning.
func TestBenchProgress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out lockedBuffer
		b := &bench{n: 24, warnf: func(_ warning, format string, args ...any) { fmt.Fprintf(&out, format+"\n", args...) }}
		stop := b.progress(&out)
		b.tally.count.Add(5)
		time.Sleep(1500 * time.Millisecond)
		b.tally.count.Add(2)
		b.tally.notGranted.Add(2)
		b.note(warnServerError, "a warning")
		time.Sleep(time.Second)
		stop()
		want := "\r0 of 24 requests\x1b[K\r5 of 24 requests, 5 in the last second\x1b[K\r\x1b[Ka warning\n\r7 of 24 requests, 2 not granted, 2 in the last second\x1b[K\r\x1b[K"
		if out.String() != want {
			t.Errorf("got %q, want %q", out.String(), want)
		}
	})
}

// TestBenchProgressText checks the progress line with each option that limits the run.
func TestBenchProgressText(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		n        int
		duration time.Duration
		after    time.Duration // the warm-up
		want     string
	}{
		{1000, 0, 90 * time.Second, "7 of 1000 requests"},
		{0, time.Minute, 12900 * time.Millisecond, "7 requests, 12s of 1m0s"},
		{1000, time.Minute, 0, "7 of 1000 requests, 0s of 1m0s"},
		{0, 1500 * time.Millisecond, 9 * time.Second, "7 requests, 1.5s of 1.5s"}, // the last replies are late
		{1000, time.Minute, -5100 * time.Millisecond, "warm-up, 5s left"},
	} {
		now := time.Now()
		b := &bench{n: tt.n, duration: tt.duration}
		b.tally.began = now.Add(-tt.after)
		equal(t, b.progressText(7, now), tt.want, tt)
	}
}
