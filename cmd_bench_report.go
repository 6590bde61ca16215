package main

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// A benchTally counts the outcomes of requests, in constant memory.
type benchTally struct {
	began, ended time.Time // of the counted requests
	count        atomic.Int64
	notGranted   atomic.Int64
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
	if j.class() != classGranted {
		t.notGranted.Add(1)
	}
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
		return newProblem(e.err)
	}
	n := 0
	for status, count := range t.statuses {
		if status.class() != classGranted {
			n += count
		}
	}
	return newProblem(failf(c, "%d of %s were not granted", n, howMany(int(t.count.Load()), "request")))
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
	Stopped       bool                   `json:"stopped,omitempty"` // before its end, after too many denials or failures
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
		Transport: c.servers[0].transport(),
	}
	if mixed(c.servers) {
		r.Transport = "tcp,tls"
	}
	var ranks []string
	byRank := make(map[string]status)
	for status, n := range t.statuses {
		r.Status[status.String()] = n
		rank := fmt.Sprintf("%d %s", status.class(), status)
		ranks, byRank[rank] = append(ranks, rank), status
	}
	slices.Sort(ranks)
	for _, rank := range ranks {
		r.statuses = append(r.statuses, byRank[rank])
	}
	if r.Seconds > 0 {
		r.PerSecond = float64(r.Answered) / r.Seconds
	}
	if r.Answered > 0 {
		for _, p := range percentiles {
			r.Latency[p.name] = milliseconds(t.latency.quantile(p.part))
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
		fmt.Fprintf(&b, ", single-connect %s", singleConnectWord(r.SingleConnect))
	case r.Answered > 0:
		b.WriteString(", a connection for each request")
	}
	b.WriteString("\n")
	return b.String()
}
