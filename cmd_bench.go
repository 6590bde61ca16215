package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"sync"
	"time"
)

// benchOptions are the options of bench.
type benchOptions struct {
	argOptions
	inFlight, rate         int
	author, acct, noSingle bool
}

// newBench is the command bench: a load test.
func newBench(o *optionSet) action {
	opts := &benchOptions{inFlight: 16}
	opts.registerCommand(o)
	b := &bench{tally: benchTally{statuses: make(map[status]int), errors: make(map[class]*benchError)}}
	o.add(&number{&opts.inFlight, 1, maxInFlight}, "c concurrency", "N", "requests in flight (default 16)")
	o.add(&number{&b.n, 1, math.MaxInt32}, "n requests", "N", "total requests (default 1000, or no limit with --duration)")
	o.add((*seconds)(&b.duration), "duration", "TIME", "stop after this time")
	o.add(&number{&opts.rate, 1, 10_000_000}, "rate", "N", "start N requests a second, even if replies are slow; latency counts from when a request was due")
	o.add((*seconds)(&b.warmup), "warmup", "TIME", "do not count the requests of the first TIME")
	o.add((*toggle)(&opts.author), "authorize", "", "send authorization requests, not logins")
	o.add((*toggle)(&opts.acct), "account", "", "send start and stop records, not logins")
	o.add((*toggle)(&opts.noSingle), "no-single-connect", "", "use a new connection for every request")
	deadTime := addDeadTime(o)
	o.add((*toggle)(&b.keepGoing), "keep-going", "", "do not stop after 2 denied logins in a row (account lockout) or 100 failures in a row")
	return func(ctx context.Context, inv *invocation) (output, error) {
		if err := opts.check(inv); err != nil {
			return nil, err
		}
		if b.n == 0 && b.duration == 0 {
			b.n = 1000
		}
		if opts.rate > 0 {
			b.interval = time.Second / time.Duration(opts.rate)
		}
		inv.server.singleConnect, inv.server.deadTime = !opts.noSingle, *deadTime
		c, newRequest, err := opts.requests(ctx, inv)
		if err != nil {
			return nil, err
		}
		for range opts.inFlight {
			b.free = append(b.free, &job{request: newRequest()})
		}
		b.logins = !opts.author && !opts.acct
		if opts.acct {
			b.newStart = newRequest // every task has an id of its own
		}
		return b.run(ctx, inv, c, opts.inFlight), nil
	}
}

// check refuses options that make no sense together.
func (opts *benchOptions) check(inv *invocation) error {
	switch {
	case opts.author && opts.acct:
		return failf(classUsage, "--authorize and --account cannot be used together")
	case opts.noSingle && inv.server.singleConnect:
		return failf(classUsage, "--single-connect and --no-single-connect cannot be used together")
	}
	return nil
}

// requests returns the client, and a function that makes the requests. It has checked the first of them.
func (opts *benchOptions) requests(ctx context.Context, inv *invocation) (*client, func() dialogue, error) {
	args, err := opts.request(nil)
	if err != nil {
		return nil, nil, err
	}
	var passwords []*secretSource
	if !opts.author && !opts.acct {
		passwords = append(passwords, &inv.password)
	}
	c, secrets, err := inv.newClient(ctx, passwords...)
	if err != nil {
		return nil, nil, err
	}
	args = completeShell(args)
	newRequest := func() dialogue {
		switch {
		case opts.author:
			q, _ := newAuthorization(inv.request.commonFields(), opts.method, args, nil) // args have a service
			return q
		case opts.acct:
			return newRecord(inv.request.commonFields(), opts.method, acctStart, args, newTaskID())
		}
		return newLogin(inv.request.commonFields(), secrets.password)
	}
	first := newRequest()
	if start, ok := first.(*record); ok {
		first = stopOf(start) // which is longer
	}
	return c, newRequest, first.check(inv.request.maxRemAddr())
}

// maxInFlight bounds what -c costs in memory and file descriptors.
const maxInFlight = 10_000

// stopOf returns the stop record of a task.
func stopOf(start *record) *record {
	q := &start.request
	return newRecord(q.commonFields, q.method, acctStop, q.args, "")
}

const (
	maxDenials  = 2   // of a login, in a row: many servers lock an account after some number of them
	maxFailures = 100 // of any kind, in a row
)

// A bench sends requests through a pool and counts their outcomes.
type bench struct {
	n           int // 0: no limit
	duration    time.Duration
	warmup      time.Duration
	interval    time.Duration // between two due times; 0: a request is due when another one is done
	keepGoing   bool
	logins      bool            // denials can lock the account
	newStart    func() dialogue // the start record of another task; nil to reuse the requests of free
	interrupted <-chan struct{} // closed by an interruption

	free         []*job // one for each request that may be in flight
	start        time.Time
	issued       int // requests, including those of the warm-up
	warmupIssued int
	inFlight     int
	starts       int       // of inFlight, those of start records
	stops        []*record // of the tasks that were started; not sent yet
	grants       int
	denials      int      // since the last grant
	failures     int      // the same, denials among them
	stop         *failure // why the run ended early; nil if it did not
	tally        benchTally
	notes        []string
	warned       []warning // of requests; each kind is noted once
	silenced     warningSet
	warnf        warnFunc
}

// note adds a note to the report and prints it as a warning, unless that is silenced.
func (b *bench) note(w warning, text string) {
	if b.silenced.has(w) {
		return
	}
	b.notes = append(b.notes, text)
	b.warnf(w, "%s", text)
}

// run sends the requests until there have been enough of them, and returns the report.
func (b *bench) run(ctx context.Context, inv *invocation, c *client, inFlight int) *benchReport {
	head := inv.newReport()
	b.warnf, b.silenced = inv.warnf, inv.output.silenced
	b.start = time.Now()
	b.tally.began = b.start.Add(b.warmup)
	b.tally.ended = b.tally.began
	p := newPool(c, inFlight)
	p.nextJob, p.note = b.nextJob, func(text string) { b.note(warnConnectionReuse, text) }
	stopProgress := func() {}
	if inv.std.errIsTerminal() && !inv.output.quiet {
		stopProgress = b.progress(inv.std.err)
	}
	running := ctx
	if b.interrupted = ctx.Done(); b.newStart != nil {
		// After an interruption the tasks are still stopped. A second signal ends the program.
		running = context.WithoutCancel(ctx)
		defer context.AfterFunc(ctx, p.wakeup.notify)()
	}
	p.run(running)
	stopProgress()
	class := choose(ctx.Err() != nil, classInterrupted, b.tally.class())
	why := b.tally.problem(class)
	if class == classGranted && b.stop != nil { // in the warm-up, whose requests are not counted
		class, why = b.stop.class, newProblem(b.stop)
	}
	r := b.tally.report(c)
	r.report, r.Stopped, r.Notes = head, b.stop != nil, b.notes
	r.setVerdict(class, why)
	return r
}

// nextJob returns the next request if it is due and may begin; else, the time when it is due.
func (b *bench) nextJob(now time.Time) (j *job, next time.Time, more bool) {
	began, over := b.tally.began, b.over(now)
	if over && len(b.stops) == 0 {
		return nil, time.Time{}, b.starts > 0 // whose tasks are to be stopped
	}
	due := now
	if b.interval > 0 && !over {
		if due = b.start.Add(time.Duration(b.issued) * b.interval); due.After(now) {
			if end := began.Add(b.duration); b.duration > 0 && end.Before(due) {
				due = end
			}
			return nil, due, true
		}
	}
	if len(b.free) == 0 || !over && b.inFlight >= b.allowance() {
		return nil, time.Time{}, true
	}
	j = b.free[len(b.free)-1]
	b.free = b.free[:len(b.free)-1]
	switch {
	case len(b.stops) > 0:
		j.request, b.stops = b.stops[0], b.stops[1:]
	case b.newStart != nil:
		j.request = b.newStart()
		b.starts++
	}
	*j = job{request: j.request, due: due, owner: b}
	j.request.reset()
	b.inFlight++
	if b.issued++; due.Before(began) {
		b.warmupIssued++
	}
	return j, time.Time{}, true
}

// over reports whether the run is over, except for the stop records of tasks that were started.
func (b *bench) over(now time.Time) bool {
	done := b.issued - b.warmupIssued + b.starts + len(b.stops)
	return b.stop != nil || tryReceive(b.interrupted) || b.duration > 0 && now.Sub(b.tally.began) >= b.duration || b.n > 0 && done >= b.n
}

// allowance returns how many requests may be in flight. While all of them may fail, it is how many may fail.
func (b *bench) allowance() int {
	limit := maxInFlight
	if !b.keepGoing && b.grants == 0 {
		limit = maxFailures - b.failures
	}
	if !b.keepGoing && b.logins && (b.denials > 0 || b.grants == 0) {
		limit = min(limit, maxDenials-b.denials)
	}
	return limit
}

// jobDone counts a request that is done.
func (b *bench) jobDone(j *job) {
	b.free = append(b.free, j)
	b.inFlight--
	class := j.class()
	if start, ok := j.request.(*record); ok && start.request.flags == acctStart {
		if b.starts--; class == classGranted {
			b.stops = append(b.stops, stopOf(start))
		}
	}
	switch class {
	case classInterrupted:
		return
	case classGranted:
		b.grants, b.denials, b.failures = b.grants+1, 0, 0
	case classDenied:
		b.denials++
		b.failures++
	default:
		b.failures++
	}
	b.stopIfHopeless(j)
	if j.due.Before(b.tally.began) {
		return
	}
	for _, w := range j.res.Warnings {
		if !slices.Contains(b.warned, w.kind) {
			b.warned = append(b.warned, w.kind)
			b.note(w.kind, w.Message)
		}
	}
	if newStatus := b.tally.add(j); newStatus && class == classServer {
		b.note(warnServerError, j.err.Error()) // has the reason of the server
	}
}

// stopIfHopeless ends the run after too many denials or failures, of which j is the last.
func (b *bench) stopIfHopeless(j *job) {
	switch {
	case b.stop != nil || b.keepGoing:
		return
	case b.logins && b.denials >= maxDenials:
		b.stop = failf(classDenied, "stopped after %d denials in a row, before the server locks the account", b.denials)
	case b.failures >= maxFailures:
		reason := j.res.verdict()
		if j.err != nil {
			reason = oneLine(j.err.Error())
		}
		b.stop = failf(j.class(), "stopped after %d failures in a row, the last: %s", b.failures, reason)
	default:
		return
	}
	b.note(warnBenchStopped, b.stop.Error()+"; --keep-going continues")
}

// progress prints on a line of a terminal how far the run is, at once and every second, until stop is called. Warnings
// replace the line.
func (b *bench) progress(out io.Writer) (stop func()) {
	var writing sync.Mutex
	write := func(text string) {
		writing.Lock()
		defer writing.Unlock()
		fmt.Fprint(out, "\r"+text+"\x1b[K")
	}
	warnf := b.warnf
	b.warnf = func(w warning, format string, args ...any) {
		write("")
		warnf(w, format, args...)
	}
	write(b.progressText(0, time.Now()))
	running, end := context.WithCancel(context.Background())
	var printer sync.WaitGroup
	printer.Go(func() {
		before := int64(0)
		every(running, time.Second, func(now time.Time) {
			n := b.tally.count.Load()
			write(fmt.Sprintf("%s, %d in the last second", b.progressText(n, now), n-before))
			before = n
		})
	})
	return func() {
		end()
		printer.Wait()
		write("")
		b.warnf = warnf
	}
}

// progressText returns how far the run is when n requests are done.
func (b *bench) progressText(n int64, now time.Time) string {
	elapsed := now.Sub(b.tally.began).Truncate(time.Second)
	if elapsed < 0 {
		return fmt.Sprintf("warm-up, %v left", -elapsed)
	}
	text := strconv.FormatInt(n, 10)
	if b.n > 0 {
		text += fmt.Sprintf(" of %d", b.n)
	}
	text += " requests"
	if failed := b.tally.notGranted.Load(); failed > 0 {
		text += fmt.Sprintf(", %d not granted", failed)
	}
	if b.duration > 0 {
		text += fmt.Sprintf(", %v of %v", min(elapsed, b.duration), b.duration)
	}
	return text
}
