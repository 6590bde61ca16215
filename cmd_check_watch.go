package main

import (
	"context"
	"fmt"
	"io"
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
	servers  []serverState
	writeErr error // of the file in the last round
}

// A serverState is the state of a server in the last round, and its totals.
type serverState struct {
	name     string
	state    string
	okRounds int
	changes  int
}

// run makes a round every interval. Rounds that would begin during another one are skipped. The exit code is that of the
// last round.
func (w *watch) run(ctx context.Context, round func() *checkReport) (output, error) {
	w.live = !w.inv.output.quiet && !w.inv.output.json && onTerminal(w.inv.std.out)
	ticker := time.NewTicker(w.interval)
	defer ticker.Stop()
	var last *checkReport
	var err error
	for err == nil && (w.count == 0 || w.rounds < w.count) {
		if w.rounds > 0 {
			select {
			case <-ticker.C:
			case <-ctx.Done():
			}
		}
		if ctx.Err() != nil {
			break
		}
		report := round()
		if ctx.Err() != nil {
			break // the round proves nothing about the servers
		}
		last = report
		err = w.showRound(ctx, report)
	}
	if w.live {
		_ = w.print(ctx, clearLine)
	}
	for _, s := range w.servers {
		if !w.inv.output.quiet {
			w.inv.logf("%s: OK in %d of %s, %s", s.name, s.okRounds, howMany(w.rounds, "round"), howMany(s.changes, "change"))
		}
	}
	switch {
	case ctx.Err() != nil:
		return &page{exitStatus: exitStatus{classInterrupted.exit()}}, nil
	case err == nil:
		err = w.writeErr
	}
	return &page{exitStatus: last.exitStatus}, err
}

// clearLine clears the line of a terminal.
const clearLine = "\r\x1b[K"

// showRound prints what a round has changed, and rewrites the file. An error of the file is printed once, and the file is
// tried again in the next round.
func (w *watch) showRound(ctx context.Context, report *checkReport) error {
	w.rounds++
	if w.servers == nil {
		w.servers = make([]serverState, len(report.Servers))
	}
	text := ""
	var failed []string
	for i, s := range report.Servers {
		known := &w.servers[i]
		known.name = s.Server
		if s.Error == nil {
			known.okRounds++
		} else {
			failed = append(failed, s.Server)
		}
		if state := s.condition(); state != known.state {
			if known.state != "" {
				known.changes++
			}
			known.state = state
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
		if w.writeErr = report.write(w.output, w.inv.output.json); w.writeErr != nil && before == nil {
			w.inv.logf("%v; trying again", w.writeErr)
		}
	}
	return w.print(ctx, text)
}

// condition returns what makes two rounds differ: neither times nor the text of a server, which may contain a time.
func (s *serverCheck) condition() string {
	return fmt.Sprint(s.class, s.Up, s.KeyOK != nil && *s.KeyOK, s.Login, s.Types, s.WrongPassword)
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
		}{now, w.inv.command.name, escape(w.inv.request.user), s})
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
		return failf(classUsage, "write the result: %w", cause(err))
	}
	return nil
}
