package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
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
	o.add((*toggle)(&opts.acct), "account", "", "send accounting records, not logins")
	o.add((*toggle)(&opts.noSingle), "no-single-connect", "", "use a new connection for every request")
	o.add((*toggle)(&b.keepGoing), "keep-going", "", "do not stop after 10 denials in a row, which can lock the account")
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
		keys, newRequest, err := opts.requests(ctx, inv)
		if err != nil {
			return nil, err
		}
		for range opts.inFlight {
			b.free = append(b.free, &job{request: newRequest()})
		}
		if opts.acct {
			b.newRequest = newRequest // every record is a task of its own
		}
		inv.server.singleConnect = !opts.noSingle
		c, err := inv.client(ctx, keys)
		if err != nil {
			return nil, err
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

// requests returns the keys, and a function that makes the requests. It has checked the first of them.
func (opts *benchOptions) requests(ctx context.Context, inv *invocation) ([]key, func() dialogue, error) {
	args, err := opts.request(nil)
	if err != nil {
		return nil, nil, err
	}
	var passwords []*secretSource
	if !opts.author && !opts.acct {
		passwords = append(passwords, &inv.password)
	}
	secrets, err := inv.secrets(ctx, passwords...)
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
	return secrets.keys, newRequest, newRequest().check(inv.request.maxRemAddr())
}

// maxInFlight bounds what -c costs in memory and file descriptors.
const maxInFlight = 10_000

// maxDenials in a row end a run, since many servers lock an account after some number of them.
const maxDenials = 10

// A bench sends requests through a pool and counts their outcomes.
type bench struct {
	n          int // 0: no limit
	duration   time.Duration
	warmup     time.Duration
	interval   time.Duration // between two due times; 0: a request is due when another one is done
	keepGoing  bool
	newRequest func() dialogue // for every request; nil to reuse those of free

	free         []*job // one for each request that may be in flight
	start        time.Time
	issued       int // requests, including those of the warm-up
	warmupIssued int
	inFlight     int
	grants       int
	denials      int // since the last grant
	stopped      bool
	tally        benchTally
	notes        []string
	warnf        warnFunc
}

// note adds a note to the report and prints it as a warning.
func (b *bench) note(w warning, text string) {
	b.notes = append(b.notes, text)
	b.warnf(w, "%s", text)
}

// run sends the requests until there have been enough of them, and returns the report.
func (b *bench) run(ctx context.Context, inv *invocation, c *client, inFlight int) *benchReport {
	head := inv.newReport()
	b.warnf = inv.warnf
	b.start = time.Now()
	b.tally.began = b.start.Add(b.warmup)
	b.tally.ended = b.tally.began
	p := newPool(c, inFlight)
	p.nextJob, p.note = b.nextJob, func(text string) { b.note(warnConnectionReuse, text) }
	stopProgress := func() {}
	if inv.std.errIsTerminal() && !inv.output.quiet {
		stopProgress = b.progress(inv.std.err)
	}
	p.run(ctx)
	if stopProgress(); b.stopped {
		inv.warnf(warnBenchStopped, "stopped after %d denials in a row, before the server locks the account; --keep-going continues", maxDenials)
	}
	class := b.tally.class()
	if ctx.Err() != nil {
		class = classInterrupted
	}
	r := b.tally.report(c)
	r.report, r.Stopped, r.Notes = head, b.stopped, b.notes
	r.setVerdict(class, b.tally.problem(class))
	return r
}

// nextJob returns the next request if it is due and may begin; else, the time when it is due.
func (b *bench) nextJob(now time.Time) (j *job, next time.Time, more bool) {
	began := b.tally.began
	if b.stopped || b.duration > 0 && now.Sub(began) >= b.duration || b.n > 0 && b.issued-b.warmupIssued >= b.n {
		return nil, time.Time{}, false
	}
	due := now
	if b.interval > 0 {
		if due = b.start.Add(time.Duration(b.issued) * b.interval); due.After(now) {
			if end := began.Add(b.duration); b.duration > 0 && end.Before(due) {
				due = end
			}
			return nil, due, true
		}
	}
	if len(b.free) == 0 || b.cautious() && b.inFlight+b.denials >= maxDenials {
		return nil, time.Time{}, true
	}
	j = b.free[len(b.free)-1]
	b.free = b.free[:len(b.free)-1]
	if b.newRequest != nil {
		j.request = b.newRequest()
	}
	*j = job{request: j.request, due: due, owner: b}
	j.request.reset()
	b.inFlight++
	if b.issued++; due.Before(began) {
		b.warmupIssued++
	}
	return j, time.Time{}, true
}

// cautious reports whether every request in flight may be denied. No more are then in flight than may be denied.
func (b *bench) cautious() bool {
	return !b.keepGoing && (b.denials > 0 || b.grants == 0)
}

// jobDone counts a request that is done.
func (b *bench) jobDone(j *job) {
	b.free = append(b.free, j)
	b.inFlight--
	class := j.class()
	switch class {
	case classGranted:
		b.grants, b.denials = b.grants+1, 0
	case classDenied:
		b.denials++
	}
	b.stopped = b.stopped || b.denials >= maxDenials && !b.keepGoing
	if j.due.Before(b.tally.began) || class == classInterrupted {
		return
	}
	if newStatus := b.tally.add(j); newStatus && class == classServer {
		b.note(warnServerError, j.err.Error()) // has the reason of the server
	}
}

// progress prints a line on the terminal every second, until stop is called.
func (b *bench) progress(out io.Writer) (stop func()) {
	done := make(chan struct{})
	var printer sync.WaitGroup
	printer.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for before := int64(0); ; {
			select {
			case now := <-tick.C:
				n := b.tally.count.Load()
				fmt.Fprintf(out, "\r%s, %d in the last second\x1b[K", b.progressText(n, now), n-before)
				before = n
			case <-done:
				fmt.Fprint(out, "\r\x1b[K")
				return
			}
		}
	})
	return func() { close(done); printer.Wait() }
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
	if b.duration > 0 {
		text += fmt.Sprintf(", %v of %v", min(elapsed, b.duration), b.duration)
	}
	return text
}

// A benchTally counts the outcomes of requests, in constant memory.
type benchTally struct {
	began, ended time.Time // of the counted requests
	count        atomic.Int64
	latency      histogram // of those with an answer
	statuses     map[status]int
	errors       map[class]*benchError // of those without an answer
	sent         int                   // bytes of TACACS+
	received     int
	established  bool // single-connection mode
}

// A benchError counts requests without an answer, by the class of their errors.
type benchError struct {
	Count   int    `json:"count"`
	Example string `json:"example"`
	err     error  // of the example
}

// add counts a job that is done. It reports whether its status is the first of its kind.
func (t *benchTally) add(j *job) (newStatus bool) {
	t.count.Add(1)
	timing := &j.session.timing
	t.ended = timing.start.Add(timing.total)
	t.established = t.established || j.res.SingleConnect != nil && *j.res.SingleConnect
	t.sent, t.received = t.sent+timing.sent, t.received+timing.received
	if status := j.answer(); status != nil {
		t.latency.add(t.ended.Sub(j.due))
		t.statuses[status]++
		return t.statuses[status] == 1
	}
	e := t.errors[j.class()]
	if e == nil {
		e = &benchError{Example: oneLine(j.err.Error()), err: j.err}
		t.errors[j.class()] = e
	}
	e.Count++
	return false
}

// class returns the class of the worst outcome. Any error is worse than an answer, and ERROR is worse than a denial.
func (t *benchTally) class() class {
	for _, c := range []class{classUsage, classTLS, classProtocol, classNetwork, classServer, classDenied} {
		if t.errors[c] != nil {
			return c
		}
	}
	worst := classGranted
	for status := range t.statuses {
		worst = max(worst, status.class())
	}
	return worst
}

// problem returns why the run is of a class.
func (t *benchTally) problem(c class) *problem {
	if c == classGranted {
		return nil
	}
	if e := t.errors[c]; e != nil {
		p := newProblem(e.err)
		return &p
	}
	n := 0
	for status, count := range t.statuses {
		if status.class() != classGranted {
			n += count
		}
	}
	p := newProblem(failf(c, "%d of %s were not granted", n, howMany(int(t.count.Load()), "request")))
	return &p
}

// A benchReport is the result of bench.
type benchReport struct {
	report
	Requests      int                    `json:"requests"` // all that were done
	Answered      int                    `json:"answered"` // the others are in Errors
	Seconds       float64                `json:"seconds"`
	PerSecond     float64                `json:"per_second"` // answers
	Latency       map[string]float64     `json:"latency_ms,omitempty"`
	Status        map[string]int         `json:"status"`
	Errors        map[string]*benchError `json:"errors,omitempty"`
	Bytes         map[string]int         `json:"bytes"`
	Transport     string                 `json:"transport"`
	SingleConnect *bool                  `json:"single_connect,omitempty"`
	Stopped       bool                   `json:"stopped,omitempty"` // after too many denials
	Notes         []string               `json:"notes,omitempty"`

	statuses []status // in the order in which text has them
}

// percentiles are those of the report, in its order.
var percentiles = []struct {
	name string
	part float64
}{{"p50", 0.5}, {"p90", 0.9}, {"p95", 0.95}, {"p99", 0.99}, {"p99.9", 0.999}, {"max", 1}}

// report returns the report of a run that has ended, without its verdict.
func (t *benchTally) report(c *client) *benchReport {
	r := &benchReport{
		Requests: int(t.count.Load()), Answered: int(t.latency.count), Seconds: t.ended.Sub(t.began).Seconds(),
		Latency: make(map[string]float64), Status: make(map[string]int), Bytes: map[string]int{"sent": t.sent, "received": t.received},
		Transport: c.transport(),
	}
	r.statuses = slices.SortedFunc(maps.Keys(t.statuses), func(a, b status) int {
		return cmp.Or(cmp.Compare(a.class(), b.class()), strings.Compare(a.String(), b.String()))
	})
	for status, n := range t.statuses {
		r.Status[status.String()] = n
	}
	if r.Seconds > 0 {
		r.PerSecond = float64(r.Answered) / r.Seconds
	}
	if r.Answered > 0 {
		for _, p := range percentiles {
			r.Latency[p.name] = float64(t.latency.quantile(p.part).Microseconds()) / 1000
		}
		if c.singleConnect {
			r.SingleConnect = &t.established
		}
	}
	if len(t.errors) > 0 {
		r.Errors = make(map[string]*benchError)
		for c, e := range t.errors {
			r.Errors[c.String()] = e
		}
	}
	return r
}

func (r *benchReport) json() string { return encodeJSON(r) }

func (r *benchReport) verbose() string { return r.line() }

// line returns the report as text.
func (r *benchReport) line() string {
	var b strings.Builder
	fmt.Fprintf(&b, "requests  %d in %.3f s", r.Requests, r.Seconds)
	if r.Answered < r.Requests {
		fmt.Fprintf(&b, ", %d answered", r.Answered)
	}
	fmt.Fprintf(&b, ", %.1f a second\n", r.PerSecond)
	if r.Answered > 0 {
		b.WriteString("latency  ")
		for _, p := range percentiles {
			fmt.Fprintf(&b, " %s %.3f ms", p.name, r.Latency[p.name])
		}
		b.WriteString("\nstatus   ")
		for _, status := range r.statuses {
			fmt.Fprintf(&b, " %s %d", status, r.Status[status.String()])
		}
		b.WriteString("\n")
	}
	for c := classDenied; c <= classTLS; c++ {
		if e := r.Errors[c.String()]; e != nil {
			fmt.Fprintf(&b, "error     %s %d, such as: %s\n", c, e.Count, e.Example)
		}
	}
	fmt.Fprintf(&b, "bytes     %d sent, %d received\ntransport %s", r.Bytes["sent"], r.Bytes["received"], r.Transport)
	switch {
	case r.SingleConnect != nil:
		fmt.Fprintf(&b, ", single-connect %s", singleConnectWord(*r.SingleConnect))
	case r.Answered > 0:
		b.WriteString(", a connection for each request")
	}
	b.WriteString("\n")
	return b.String()
}
