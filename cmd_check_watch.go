package main

import (
	"context"
	"fmt"
	"io"
	"time"
)

// shortestInterval keeps check from being a load test.
const shortestInterval = 100 * time.Millisecond

// checkInterval refuses what has no meaning with --interval, or without.
func (own *checkOptions) checkInterval(inv *invocation) error {
	switch {
	case own.interval == 0 && own.count > 0:
		return failf(classUsage, "--count goes with --interval only")
	case own.interval == 0:
		return nil
	case own.interval < shortestInterval:
		return failf(classUsage, "--interval %v is below %v", own.interval, shortestInterval)
	case own.nagios:
		return failf(classUsage, "--nagios and --interval exclude each other").withHint("Nagios calls its plugins again by itself")
	case own.prometheus && own.output == "":
		return failf(classUsage, "--prometheus with --interval needs --output FILE, which is written each time")
	}
	return nil
}

// A watch is check with --interval: rounds without end, of which it keeps the last state of each server
// and totals.
type watch struct {
	inv     *invocation
	options *checkOptions
	live    bool // standard output is a terminal, and has a line of the state as it is
	rounds  int
	servers []serverState
	fault   error // with which the file of the last round was not written
}

// A watched is what a watch knows of one server.
type serverState struct {
	name     string
	state    string // of the last round
	okRounds int    // rounds
	changes  int
}

// run makes a round every interval. One that takes longer leaves out those that would have begun within it.
// The exit code is that of the last round.
func (w *watch) run(ctx context.Context, round func() *checkReport) (output, error) {
	w.live = !w.inv.output.quiet && !w.inv.output.json && onTerminal(w.inv.std.out)
	ticker := time.NewTicker(w.options.interval)
	defer ticker.Stop()
	var last *checkReport
	var err error
	for err == nil && (w.options.count == 0 || w.rounds < w.options.count) {
		if w.rounds > 0 {
			select {
			case <-ticker.C:
			case <-ctx.Done():
			}
		}
		if ctx.Err() != nil {
			break
		}
		r := round()
		if ctx.Err() != nil {
			break // it says nothing of the servers
		}
		last = r
		err = w.showRound(ctx, r)
	}
	if w.live {
		_ = w.write(ctx, clearLine)
	}
	for _, s := range w.servers {
		if !w.inv.output.quiet {
			w.inv.logf("%s: well in %d of %s, %s", s.name, s.okRounds, howMany(w.rounds, "round"), howMany(s.changes, "change"))
		}
	}
	switch {
	case ctx.Err() != nil:
		return &page{exitStatus: exitStatus{classInterrupted.exit()}}, nil
	case err == nil:
		err = w.fault
	}
	return &page{exitStatus: last.exitStatus}, err
}

// clearLine takes the state off the terminal.
const clearLine = "\r\x1b[K"

// take shows what a round has changed, and writes the file of the options anew. A file that cannot be
// written is said once, and tried again.
func (w *watch) showRound(ctx context.Context, r *checkReport) error {
	w.rounds++
	if w.servers == nil {
		w.servers = make([]serverState, len(r.Servers))
	}
	var changes, failing string
	well := 0
	for i, s := range r.Servers {
		known := &w.servers[i]
		known.name = s.Server
		if s.Error == nil {
			known.okRounds++
			well++
		} else {
			failing += ", not " + s.Server
		}
		state := s.condition()
		if state != known.state && known.state != "" {
			known.changes++
		}
		if state != known.state {
			known.state = state
			changes += w.change(s)
		}
	}
	if w.live {
		state := fmt.Sprintf("%s round %d: %d of %d well%s", time.Now().UTC().Format("15:04:05Z"), w.rounds, well, len(r.Servers), failing)
		changes = clearLine + changes + shorten(state)
	}
	if w.options.output != "" {
		before := w.fault
		if _, w.fault = r.write(w.inv.output.json); w.fault != nil && before == nil {
			w.inv.logf("%v; trying again", w.fault)
		}
	}
	return w.write(ctx, changes)
}

// condition is what makes two rounds differ: not times, nor the words of a server, which may have a
// time in them.
func (s *serverCheck) condition() string {
	return fmt.Sprint(s.class, s.Up, s.KeyOK != nil && *s.KeyOK, s.Login, s.Types, s.WrongPassword)
}

// change is the state of a server, with the time.
func (w *watch) change(s *serverCheck) string {
	now := time.Now().UTC().Format(timeLayout)
	switch {
	case w.inv.output.quiet:
		return ""
	case w.inv.output.json:
		return encodeJSON(struct {
			Time    string `json:"time"`
			Command string `json:"command"`
			User    string `json:"user,omitempty"`
			*serverCheck
		}{now, w.inv.command.name, escape(w.inv.request.user), s})
	case w.inv.output.verbose:
		return now + " " + (&checkReport{Servers: []*serverCheck{s}}).text(true)
	}
	return now + " " + s.verdict()
}

func (w *watch) write(ctx context.Context, text string) error {
	if text == "" {
		return nil
	}
	if _, err := io.WriteString(newQueuedWriter(ctx, w.inv.std.out), text); err != nil {
		return failf(classUsage, "write the result: %w", cause(err))
	}
	return nil
}
