package main

import (
	"fmt"
	"strings"
)

// A benchReport is what the command prints, as text or as JSON.
type benchReport struct {
	report
	Requests      int                    `json:"requests"` // all that ended
	Answered      int                    `json:"answered"` // of them; the others are in errors
	Seconds       float64                `json:"seconds"`
	PerSecond     float64                `json:"per_second"`           // answers
	Latency       map[string]float64     `json:"latency_ms,omitempty"` // of them
	Status        map[string]int         `json:"status"`
	Errors        map[string]*benchError `json:"errors,omitempty"`
	Bytes         map[string]int         `json:"bytes"`
	Transport     string                 `json:"transport"`
	SingleConnect *bool                  `json:"single_connect,omitempty"`
	Stopped       bool                   `json:"stopped,omitempty"` // for the account's sake
	Notes         []string               `json:"notes,omitempty"`
}

// percentiles are those of the report, in its order.
var percentiles = []struct {
	name string
	part float64
}{{"p50", 0.5}, {"p90", 0.9}, {"p95", 0.95}, {"p99", 0.99}, {"p99.9", 0.999}, {"max", 1}}

// problem is why the whole run is of a class.
func (b *bench) problem(c class) *problem {
	switch e := b.errors[c]; {
	case c == classGranted:
		return nil
	case e != nil:
		p := newProblem(e.err)
		return &p
	}
	refused := 0
	for status, n := range b.statuses {
		if status.class() != classGranted {
			refused += n
		}
	}
	p := newProblem(failf(c, "%d of %s were not granted", refused, howMany(int(b.finished.Load()), "request")))
	return &p
}

// summary is the report of a run that has ended.
func (b *bench) summary(c *client) *benchReport {
	r := &benchReport{Requests: int(b.finished.Load()), Answered: int(b.latency.count),
		Seconds: b.ended.Sub(b.began).Seconds(), Latency: make(map[string]float64), Status: make(map[string]int), Bytes: map[string]int{"sent": b.sent, "received": b.received},
		Transport: c.transport(), Stopped: b.stopped, Notes: b.notes}
	for status, n := range b.statuses {
		r.Status[status.String()] = n
	}
	if r.Seconds > 0 {
		r.PerSecond = float64(r.Answered) / r.Seconds
	}
	if r.Answered > 0 {
		for _, p := range percentiles {
			r.Latency[p.name] = float64(b.latency.quantile(p.part).Microseconds()) / 1000
		}
		if c.singleConnect {
			r.SingleConnect = &b.established
		}
	}
	if len(b.errors) > 0 {
		r.Errors = make(map[string]*benchError)
		for c, e := range b.errors {
			r.Errors[c.String()] = e
		}
	}
	return r
}

func (r *benchReport) json() string { return encodeJSON(r) }

func (r *benchReport) verbose() string { return r.line() }

// line is the report for people.
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
		for _, of := range []names{authenStatusNames, authorStatusNames[authorPassAdd:authorFail], {acctSuccess: acctStatusNames[acctSuccess]}} {
			for _, name := range of {
				if n := r.Status[name]; n > 0 {
					fmt.Fprintf(&b, " %s %d", name, n)
				}
			}
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
