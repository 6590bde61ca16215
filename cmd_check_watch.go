package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// A watch is check with --interval: rounds of checks, the changes between them, and totals at the end.
type watch struct {
	inv      *invocation
	interval time.Duration
	count    int    // rounds; 0: no end
	output   string // file of the last report; empty for none

	live     bool // stdout is a terminal, and shows the state of the last round
	rounds   int
	servers  []*serverState // in the order in which they were checked first
	writeErr error          // of the file in the last round
}

// A serverState is the state of a server in the last round, and its totals.
type serverState struct {
	name     string
	state    string
	seen     int // the round in which it was checked last: a name can lose an address
	rounds   int
	okRounds int
	changes  int
	took     timedTotal
}

// errNoReader ends a watch whose output nothing reads any more.
var errNoReader = failf(classLocal, "write the result: the reader has closed the pipe")

// run makes a round every interval. Rounds that would begin during another one are skipped. The exit code is that of the
// last round.
func (w *watch) run(ctx context.Context, round func(context.Context) *checkReport) (output, error) {
	w.live = !w.inv.output.quiet && !w.inv.output.json && onTerminal(w.inv.std.out)
	limited, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	if !w.inv.output.quiet {
		go watchReader(limited, w.inv.std.out, func() { stop(errNoReader) })
	}
	ticker := time.NewTicker(w.interval)
	defer ticker.Stop()
	last := new(checkReport)
	var err error
	for err == nil && (w.count == 0 || w.rounds < w.count) {
		if w.rounds > 0 {
			select {
			case <-ticker.C:
			case <-limited.Done():
			}
		}
		if limited.Err() != nil {
			break
		}
		report := round(limited)
		if limited.Err() != nil {
			break // the round proves nothing about the servers
		}
		last = report
		err = w.showRound(ctx, report)
	}
	if w.live {
		_ = w.print(ctx, clearLine)
	}
	w.printTotals()
	switch {
	case ctx.Err() != nil:
		return &page{exitStatus: exitStatus{classInterrupted.exit()}}, nil
	case context.Cause(limited) != nil:
		err = errNoReader
	}
	return &page{exitStatus: last.exitStatus}, cmp.Or(err, w.writeErr)
}

// readerInterval is how often the reader of stdout is looked for.
const readerInterval = 100 * time.Millisecond

// watchReader calls gone when out is a pipe whose reader has closed it, until ctx ends.
func watchReader(ctx context.Context, out io.Writer, gone func()) {
	f, ok := out.(*os.File)
	if !ok {
		return
	}
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeNamedPipe == 0 {
		return
	}
	every(ctx, readerInterval, func(time.Time) {
		if hasNoReader(f) {
			gone()
		}
	})
}

// printTotals prints the totals of all servers.
func (w *watch) printTotals() {
	if w.inv.output.quiet {
		return
	}
	for _, s := range w.servers {
		text := fmt.Sprintf("%s: OK in %d of %s, %s", s.name, s.okRounds, howMany(s.rounds, "round"), howMany(s.changes, "change"))
		if s.took.n > 0 {
			text += ", " + s.took.String()
		}
		w.inv.logf("%s", text)
	}
}

// clearLine clears the line of a terminal.
const clearLine = "\r\x1b[K"

// showRound prints what a round has changed, and rewrites the file. An error of the file is printed once, and the file is
// tried again in the next round.
func (w *watch) showRound(ctx context.Context, report *checkReport) error {
	text := ""
	if w.rounds++; w.rounds == 1 {
		for _, s := range report.Skipped {
			w.inv.warnf(warnAddressSkipped, "%s is skipped: %s", s.Server, s.Reason)
		}
	}
	var failed []string
	for _, s := range report.Servers {
		if s.Error != nil {
			failed = append(failed, s.Server)
		}
		if w.stateOf(s.Server).add(s, w.rounds) {
			text += w.change(s)
		}
	}
	if w.live {
		n := len(report.Servers)
		state := fmt.Sprintf("%s round %d: %d of %d OK", time.Now().UTC().Format("15:04:05Z"), w.rounds, n-len(failed), n)
		if len(failed) > 0 {
			state += ", failed: " + strings.Join(failed, ", ")
		}
		text = clearLine + text + shorten(state)
	}
	if w.output != "" {
		before := w.writeErr
		if w.writeErr = report.write(w.output, w.inv); w.writeErr != nil && before == nil {
			w.inv.logf("%v; trying again", w.writeErr)
		}
	}
	return w.print(ctx, text)
}

// stateOf returns the state of the server with the name, which is new in the first round, or with a new address.
func (w *watch) stateOf(name string) *serverState {
	for _, s := range w.servers {
		if s.name == name {
			return s
		}
	}
	s := &serverState{name: name}
	w.servers = append(w.servers, s)
	return s
}

// add counts a round, and reports whether the state has changed since the round before.
func (known *serverState) add(s *serverCheck, round int) (changed bool) {
	known.rounds++
	if s.Error == nil {
		known.okRounds++
	}
	if took, measured := s.counted().took(); measured {
		known.took.add(took)
	}
	state := s.condition()
	if changed = state != known.state || known.seen != round-1; changed && known.rounds > 1 {
		known.changes++
	}
	known.state, known.seen = state, round
	return changed
}

// condition returns what makes two rounds differ: neither times nor the text of a server, which may contain a time.
func (s *serverCheck) condition() string {
	text := fmt.Sprint(s.class, s.Up, s.KeyOK != nil && *s.KeyOK, s.Login, s.Types, s.WrongPassword)
	for _, c := range s.Commands {
		text += " " + c.Status
	}
	for _, step := range s.Steps {
		text += " " + step.Status
	}
	return text
}

// change returns the state of a server, with the time.
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
		}{now, w.inv.command.name, escape(w.inv.request.fields.user), s})
	case w.inv.output.verbose:
		return now + " " + s.text(true)
	}
	return now + " " + s.verdict()
}

func (w *watch) print(ctx context.Context, text string) error {
	if text == "" {
		return nil
	}
	if _, err := io.WriteString(newQueuedWriter(ctx, w.inv.std.out), text); err != nil {
		return failf(classLocal, "write the result: %w", cause(err))
	}
	return nil
}

// A timedTotal is the shortest, the average and the longest of many times. Its text needs at least one.
type timedTotal struct {
	n             int
	sum, min, max time.Duration
}

func (t *timedTotal) add(d time.Duration) {
	if t.n++; t.n == 1 || d < t.min {
		t.min = d
	}
	t.sum, t.max = t.sum+d, max(t.max, d)
}

func (t *timedTotal) String() string {
	return fmt.Sprintf("min %s, average %s, max %s", inMS(t.min), inMS(t.sum/time.Duration(t.n)), inMS(t.max))
}
