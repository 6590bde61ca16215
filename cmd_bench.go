package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// benchOptions are those of bench: what to ask, and how many at a time.
type benchOptions struct {
	argOptions
	inFlight, rate         int
	author, acct, noSingle bool
}

// newBench is the command bench: how many, how fast?
func newBench(o *optionSet) action {
	own := &benchOptions{inFlight: 16}
	own.registerCommand(o)
	b := &bench{statuses: make(map[status]int), errors: make(map[class]*benchError)}
	o.add(&number{&own.inFlight, 1, maxInFlight}, "c concurrency", "N", "requests under way at a time (default 16)")
	o.add(&number{&b.n, 1, math.MaxInt32}, "n requests", "N", "requests in all (default 1000, or without end with --duration)")
	o.add((*seconds)(&b.duration), "duration", "TIME", "stop after this time")
	o.add(&number{&own.rate, 1, 10_000_000}, "rate", "N", "begin N requests a second, whatever the server does; latency counts from when a request was due")
	o.add((*seconds)(&b.warmup), "warmup", "TIME", "do not count what is begun in this time at the start")
	o.add((*toggle)(&own.author), "authorize", "", "authorize in place of authenticating")
	o.add((*toggle)(&own.acct), "account", "", "account in place of authenticating")
	o.add((*toggle)(&own.noSingle), "no-single-connect", "", "a new connection for every request")
	o.add((*toggle)(&b.keepGoing), "keep-going", "", "do not stop after 10 denials in a row, which may lock the account")
	return func(ctx context.Context, inv *invocation) (output, error) {
		if err := own.check(inv); err != nil {
			return nil, err
		}
		if b.n == 0 && b.duration == 0 {
			b.n = 1000
		}
		if own.rate > 0 {
			b.interval = time.Second / time.Duration(own.rate)
		}
		keys, newRequest, err := own.requests(ctx, inv)
		if err != nil {
			return nil, err
		}
		for range own.inFlight {
			b.free = append(b.free, &job{request: newRequest()})
		}
		if own.acct {
			b.renew = newRequest // every record is a task of its own
		}
		inv.server.singleConnect = !own.noSingle
		c, err := inv.client(ctx, keys)
		if err != nil {
			return nil, err
		}
		return b.run(ctx, inv, c, own.inFlight), nil
	}
}

// check refuses what excludes each other.
func (own *benchOptions) check(inv *invocation) error {
	switch {
	case own.author && own.acct:
		return failf(classUsage, "--authorize and --account exclude each other")
	case own.noSingle && inv.server.singleConnect:
		return failf(classUsage, "--single-connect and --no-single-connect exclude each other")
	}
	return nil
}

// requests gives the keys and what makes the requests, the first of which fits.
func (own *benchOptions) requests(ctx context.Context, inv *invocation) ([]key, func() dialogue, error) {
	args, err := own.request(nil)
	if err != nil {
		return nil, nil, err
	}
	var passwords []*secretSource
	if !own.author && !own.acct {
		passwords = append(passwords, &inv.password)
	}
	secrets, err := inv.secrets(ctx, passwords...)
	if err != nil {
		return nil, nil, err
	}
	args = completeShell(args)
	newRequest := func() dialogue {
		switch {
		case own.author:
			q, _ := newAuthorization(inv.request.commonFields(), own.method, args, nil) // has its service
			return q
		case own.acct:
			return newRecord(inv.request.commonFields(), own.method, acctStart, args, newTaskID())
		}
		return newLogin(inv.request.commonFields(), secrets.password)
	}
	return secrets.keys, newRequest, newRequest().check(inv.request.maxRemAddr())
}

// maxInFlight bounds what -c costs in memory and file descriptors.
const maxInFlight = 10_000

// maxDenials in a row end a run: many servers lock an account at some number of them.
const maxDenials = 10

// A bench drives requests and counts what comes of them, in constant memory.
type bench struct {
	n         int // 0: without end
	duration  time.Duration
	warmup    time.Duration
	interval  time.Duration // between the times at which requests are due; 0: when the last is answered
	keepGoing bool
	renew     func() dialogue

	free        []*job // one for each request that may be under way
	start       time.Time
	began       time.Time // when counting did
	ended       time.Time
	issued      int          // requests, the warm-up included
	warm        int          // of them in the warm-up
	finished    atomic.Int64 // of the counted ones; progress looks at it
	latency     histogram    // of those that were answered
	statuses    map[status]int
	errors      map[class]*benchError // what became of the others
	sent        int                   // bytes of TACACS+
	received    int
	established bool // single-connection mode
	notes       []string
	note        func(string) // adds one, and tells the person
	underWay    int
	grants      int
	denials     int // since the last grant
	stopped     bool
}

// A benchError is what became of requests without an answer, by the class of their error.
type benchError struct {
	Count   int    `json:"count"`
	Example string `json:"example"`
	err     error  // that of the example
}

// run carries requests until there have been enough of them, and reports.
func (b *bench) run(ctx context.Context, inv *invocation, c *client, inFlight int) *benchReport {
	start := inv.newReport()
	b.start = time.Now()
	b.began = b.start.Add(b.warmup)
	b.ended = b.began
	team := newPool(c, inFlight)
	team.nextJob = b.nextJob
	b.note = func(text string) { b.notes = append(b.notes, text); inv.warnf("%s", text) }
	team.note = b.note
	stop := func() {}
	if inv.std.errIsTerminal() && !inv.output.quiet {
		stop = b.progress(inv.std.err)
	}
	team.run(ctx)
	if stop(); b.stopped {
		inv.warnf("stopped after %d denials in a row, before the server locks the account; --keep-going goes on", maxDenials)
	}
	class := b.class()
	if ctx.Err() != nil {
		class = classInterrupted
	}
	r := b.summary(c)
	r.report = start
	r.setVerdict(class, b.problem(class))
	return r
}

// take gives out the next request when it is due and a place for it is free.
func (b *bench) nextJob(now time.Time) (j *job, next time.Time, more bool) {
	if b.stopped || b.duration > 0 && now.Sub(b.began) >= b.duration || b.n > 0 && b.issued-b.warm >= b.n {
		return nil, time.Time{}, false
	}
	due := now
	if b.interval > 0 {
		if due = b.start.Add(time.Duration(b.issued) * b.interval); due.After(now) {
			if end := b.began.Add(b.duration); b.duration > 0 && end.Before(due) {
				due = end
			}
			return nil, due, true
		}
	}
	if len(b.free) == 0 || b.suspicious() && b.underWay+b.denials >= maxDenials {
		return nil, time.Time{}, true
	}
	b.underWay++
	j = b.free[len(b.free)-1]
	b.free = b.free[:len(b.free)-1]
	if b.renew != nil {
		j.request = b.renew()
	}
	*j = job{request: j.request, due: due, owner: b}
	j.request.reset()
	if b.issued++; due.Before(b.began) {
		b.warm++
	}
	return j, time.Time{}, true
}

// suspicious says that there may be denials only: then no more are under way than would be one
// too many.
func (b *bench) suspicious() bool {
	return !b.keepGoing && (b.denials > 0 || b.grants == 0)
}

// jobDone counts a request that has ended.
func (b *bench) jobDone(j *job) {
	b.free = append(b.free, j)
	b.underWay--
	c := j.class()
	switch c {
	case classGranted:
		b.grants, b.denials = b.grants+1, 0
	case classDenied:
		b.denials++
	}
	b.stopped = b.stopped || b.denials >= maxDenials && !b.keepGoing
	if j.due.Before(b.began) || c == classInterrupted {
		return
	}
	b.finished.Add(1)
	took := &j.session.timing
	b.ended = took.start.Add(took.total)
	b.established = b.established || j.res.SingleConnect != nil && *j.res.SingleConnect
	b.sent, b.received = b.sent+took.sent, b.received+took.received
	if status := j.answer(); status != nil {
		b.latency.add(b.ended.Sub(j.due))
		if b.statuses[status]++; c == classServer && b.statuses[status] == 1 {
			b.note(j.err.Error()) // the reason that the server gives
		}
		return
	}
	e := b.errors[c]
	if e == nil {
		e = &benchError{Example: oneLine(j.err.Error()), err: j.err}
		b.errors[c] = e
	}
	e.Count++
}

// class is that of the whole run: granted where everything was, else the worst that came of a
// request: an error before an ERROR before a denial.
func (b *bench) class() class {
	for _, c := range []class{classUsage, classTLS, classProtocol, classNetwork, classServer, classDenied} {
		if b.errors[c] != nil {
			return c
		}
	}
	worst := classGranted
	for status := range b.statuses {
		worst = max(worst, status.class()) // an ERROR before a denial
	}
	return worst
}

// progress shows a line on the terminal every second; what it returns stops that.
func (b *bench) progress(out io.Writer) (stop func()) {
	done := make(chan struct{})
	var over sync.WaitGroup
	over.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for before := int64(0); ; {
			select {
			case now := <-tick.C:
				n := b.finished.Load()
				fmt.Fprintf(out, "\r%s, %d in the last second\x1b[K", b.far(n, now), n-before)
				before = n
			case <-done:
				fmt.Fprint(out, "\r\x1b[K")
				return
			}
		}
	})
	return func() { close(done); over.Wait() }
}

// far says how far the run is when n requests have ended.
func (b *bench) far(n int64, now time.Time) string {
	took := now.Sub(b.began).Truncate(time.Second)
	if took < 0 {
		return fmt.Sprintf("warm-up, %v left", -took)
	}
	text := strconv.FormatInt(n, 10)
	if b.n > 0 {
		text += fmt.Sprintf(" of %d", b.n)
	}
	text += " requests"
	if b.duration > 0 {
		text += fmt.Sprintf(", %v of %v", min(took, b.duration), b.duration)
	}
	return text
}
