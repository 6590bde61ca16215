package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// registerAll declares --all: the same request to every server, to find the one that differs.
func registerAll(o *optionSet, all *bool) {
	o.add((*toggle)(all), "all", "", "ask all servers, and all addresses of a name, at the same time: one result each, the exit code of the worst; only --answer replies to prompts")
}

// A target is one server at one address.
type target struct {
	client   *client  // of this server alone
	err      error    // why it cannot be asked: its name has no address
	warnings []string // to be printed with its results
}

// name returns the name of the server, with its address if the name has several.
func (t *target) name() string { return t.client.servers[0].name }

// targets returns all servers of HOST, in its order. Each name is resolved once.
func (inv *invocation) targets(ctx context.Context, c *client) []*target {
	found := make([][]*target, len(c.servers))
	startConcurrent(len(found), func(i int) {
		if srv := c.servers[i]; !slices.Contains(c.servers[:i], srv) {
			found[i] = targetsOf(ctx, c, srv)
		}
	}).Wait()
	return slices.Concat(found...)
}

// targetsOf returns a target for each address of a server, or one with the error if there is none.
func targetsOf(ctx context.Context, c *client, srv server) (found []*target) {
	limited, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	addrs, err := c.resolve(limited, srv, new(timing))
	if err != nil && ctx.Err() != nil {
		err = interrupted(ctx)
	}
	if err != nil {
		return []*target{{client: c.only(srv), err: err}}
	}
	distinct := addrs[:0]
	for _, addr := range addrs {
		if !slices.Contains(distinct, addr) {
			distinct = append(distinct, addr)
		}
	}
	for _, addr := range distinct {
		one := srv
		if one.addr = addr; len(distinct) > 1 {
			one.name += fmt.Sprintf(" [%s]", addr)
		}
		found = append(found, &target{client: c.only(one)})
	}
	return found
}

// keepWarning keeps a warning until printWarnings.
func (t *target) keepWarning(format string, args ...any) {
	t.warnings = append(t.warnings, fmt.Sprintf(format, args...))
}

// printWarnings prints the warnings that were kept.
func (t *target) printWarnings(inv *invocation) {
	for _, text := range t.warnings {
		inv.warnf("%s", naming(t.name(), text))
	}
}

// maxConcurrent is how many servers are asked at a time.
const maxConcurrent = 32

// startConcurrent calls do with 0 to n-1, in this order, at most maxConcurrent of them at a time. It returns at once;
// the caller waits for the end.
func startConcurrent(n int, do func(i int)) *sync.WaitGroup {
	var next atomic.Int64
	all := new(sync.WaitGroup)
	for range min(n, maxConcurrent) {
		all.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				do(int(i))
			}
		})
	}
	return all
}

// askAll sends a request to every server, each time a new one, and shows the results in the order of the servers, each
// as soon as those before it are there. The exit code is that of the worst, which is the highest. There is no person
// for the prompts of many servers: those that --answer does not cover are aborted.
func (inv *invocation) askAll(ctx context.Context, keys []key, newRequest func() dialogue) (output, error) {
	c, err := inv.client(ctx, keys)
	if err != nil {
		return nil, err
	}
	targets := inv.targets(ctx, c)
	jobs := make([]job, len(targets))
	done := make([]chan struct{}, len(targets))
	for i, t := range targets {
		done[i] = make(chan struct{})
		jobs[i].err = t.err
		jobs[i].res = result{Command: inv.command.name, User: inv.request.user, Server: t.name()}
	}
	startConcurrent(len(targets), func(i int) {
		defer close(done[i])
		if t := targets[i]; t.err == nil {
			jobs[i].request = newRequest()
			(&requester{client: t.client, warnf: t.keepWarning}).do(ctx, &jobs[i])
		}
	})
	worst, out := classGranted, newQueuedWriter(ctx, inv.std.out)
	var broken error
	for i, t := range targets {
		<-done[i]
		t.printWarnings(inv)
		j := &jobs[i]
		f := j.res.finish(j.err)
		if broken == nil { // the error was printed, and changes no verdict
			broken = inv.show(namedResult{&j.res}, out)
		}
		if worst = max(worst, j.class()); j.class() != classInterrupted { // which is printed once, at the end
			inv.printFailure(f, &j.res, j.res.Server)
		}
	}
	return &page{exitStatus: exitStatus{worst.exit()}}, nil
}

// A namedResult is a result that is shown with the name of its server.
type namedResult struct{ *result }

func (r namedResult) line() string {
	text := r.result.line()
	if text == "" {
		text = "error (" + r.class.String() + ")\n"
	}
	return r.Server + ": " + text
}

func (r namedResult) verbose() string {
	first, _, _ := strings.Cut(r.line(), "\n")
	return first + "\n  " + strings.ReplaceAll(strings.TrimSuffix(r.result.verbose(), "\n"), "\n", "\n  ") + "\n"
}

// A serverTable is the table of authorize --cmd-file --all: a row for each command, a column for each server.
type serverTable struct {
	file    *commandFile
	out     *bufio.Writer
	columns []*tableColumn
	rows    []*tableRow
	differ  int // rows in which the servers differ
}

// A tableRow is a line of the file with a command, and what the servers answer.
type tableRow struct {
	number   int
	text     []byte
	err      error          // why text is no command
	answers  []*requestLine // one a column; nil if the server was not asked before an interruption
	answered sync.WaitGroup // until all columns have set theirs
}

// A tableColumn is one server. Its goroutine is that of ask; tally and lastError belong to the one that writes the table.
type tableColumn struct {
	target    *target
	pool      *pool
	next      int           // the row to ask about
	unwritten chan struct{} // has a value for each row that is asked about and not written yet
	tally     tally
	lastError string // of the row before, to show it once
}

// The limits of a table. Each server may be tableAhead rows ahead of the table.
const (
	maxTableRows  = 1 << 16
	maxTableBytes = 64 << 20 // of commands
	tableAhead    = 1024
)

// runAll asks every server about every command.
func (f *commandFile) runAll(ctx context.Context) (output, error) {
	c, in, err := f.open(ctx)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	t := &serverTable{file: f, out: newResultWriter(ctx, f.inv)}
	if err := interruptible(ctx, func() error { return t.readRows(in) }); err != nil {
		return &page{}, err
	}
	if len(t.rows) == 0 {
		f.warnNoCommands()
		return &page{}, nil
	}
	limited, stop := context.WithCancel(ctx)
	defer stop()
	t.addColumns(f.inv.targets(ctx, c))
	var asking sync.WaitGroup
	for i, col := range t.columns {
		asking.Go(func() { t.ask(limited, i, col) })
	}
	err = t.write(ctx)
	stop()
	asking.Wait()
	worst := classGranted
	for _, col := range t.columns {
		col.target.printWarnings(f.inv)
		worst = max(worst, col.tally.class())
	}
	if ctx.Err() != nil {
		worst = classInterrupted
	}
	return &page{exitStatus: exitStatus{worst.exit()}}, err
}

// readRows reads the whole file.
func (t *serverTable) readRows(in io.Reader) error {
	r, size := newLineReader(in), 0
	for {
		text, err := r.next()
		switch {
		case err == io.EOF:
			return nil
		case err == errLineTooLong:
			text = nil
		case err != nil:
			return readError(err)
		case isComment(text):
			continue
		}
		if size += len(text); size > maxTableBytes || len(t.rows) == maxTableRows {
			return failf(classUsage, "too many commands in %s for --all: the limit is %d lines and %d MiB", t.file.name, maxTableRows, maxTableBytes>>20).
				withHint("split the file, or ask one server at a time without --all")
		}
		t.rows = append(t.rows, &tableRow{number: r.number, text: bytes.Clone(text), err: err})
	}
}

// addColumns makes the columns.
func (t *serverTable) addColumns(targets []*target) {
	for _, target := range targets {
		col := &tableColumn{target: target, pool: newPool(target.client, commandFileInFlight), unwritten: make(chan struct{}, tableAhead)}
		col.tally.allowDenied = true
		col.pool.note = func(text string) { target.keepWarning("%s", text) }
		t.columns = append(t.columns, col)
	}
	for _, row := range t.rows {
		row.answers = make([]*requestLine, len(t.columns))
		row.answered.Add(len(t.columns))
	}
}

// ask asks the server of column i about every command.
func (t *serverTable) ask(ctx context.Context, i int, col *tableColumn) {
	col.pool.nextJob = func(time.Time) (*job, time.Time, bool) {
		for col.next < len(t.rows) {
			select {
			case col.unwritten <- struct{}{}:
			default:
				return nil, time.Time{}, true // write notifies the pool
			}
			row := t.rows[col.next]
			col.next++
			l := t.newRequest(row, col.target)
			row.answers[i] = l
			if l.job.err == nil {
				return &l.job, time.Time{}, true
			}
			row.answered.Done()
		}
		return nil, time.Time{}, false
	}
	col.pool.run(ctx)
	for _, row := range t.rows[col.next:] { // after an interruption
		row.answered.Done()
	}
}

// newRequest returns the request for a row. Its err is set if there is nothing to ask.
func (t *serverTable) newRequest(row *tableRow, target *target) *requestLine {
	l := new(requestLine)
	l.reset(row.number, func(*requestLine) { row.answered.Done() })
	l.job.res.Server = target.name()
	if l.job.err = row.err; row.err == nil {
		l.job.err = cmp.Or(t.file.parse(l, row.text), target.err)
	}
	return l
}

// write writes each row as soon as all servers have answered it.
func (t *serverTable) write(ctx context.Context) error {
	inv, written := t.file.inv, 0
	for ; written < len(t.rows); written++ {
		row := t.rows[written]
		row.answered.Wait()
		if !slices.ContainsFunc(row.answers, func(l *requestLine) bool { return l != nil }) {
			break // interrupted
		}
		if inv.output.json {
			for _, l := range row.answers {
				if l != nil {
					writeJSON(t.out, l)
				}
			}
		} else {
			if written == 0 {
				t.writeHeading()
			}
			t.writeRow(row)
		}
		if err := flushResults(ctx, t.out); err != nil {
			return err
		}
		t.release(row)
	}
	if written > 0 && !inv.output.json {
		for _, col := range t.columns {
			fmt.Fprintf(t.out, "%s: %s\n", col.target.name(), verdictTotals(&col.tally))
		}
		fmt.Fprintf(t.out, "%s: the servers differ on %d\n", howMany(written, "command"), t.differ)
	}
	return flushResults(ctx, t.out)
}

// release counts the answers of a row that is written, frees them, and lets the servers go on.
func (t *serverTable) release(row *tableRow) {
	for i, col := range t.columns {
		if row.answers[i] == nil {
			continue
		}
		col.tally.add(row.answers[i])
		<-col.unwritten
		if len(col.unwritten) == tableAhead-1 { // it may be waiting
			col.pool.wakeup.notify()
		}
	}
	row.answers = nil
}

// writeHeading writes the names of the servers.
func (t *serverTable) writeHeading() {
	heading := ""
	for _, col := range t.columns {
		heading += col.pad(col.target.name())
	}
	fmt.Fprintln(t.out, strings.TrimSpace(heading))
}

// pad fills a cell of the column up to the next one.
func (col *tableColumn) pad(text string) string {
	return fmt.Sprintf("%-*s  ", max(len("PASS_REPL"), len(col.target.name())), text)
}

// writeRow writes the verdicts on a command, and marks a difference between them; an error is none. A reason that is
// the same for all is behind the command. Other reasons, and errors, are below, but a repeated error only once.
func (t *serverTable) writeRow(row *tableRow) {
	var cells, command, mark, firstWord, firstReason, reasons, errors string
	differ, sameReason := false, true
	for i, col := range t.columns {
		l, word := row.answers[i], "-"
		if l != nil {
			var reason string
			word, reason = rowVerdict(l)
			command, mark = escape(l.text), cmp.Or(mark, rowMark(l))
			detail := "    " + naming(col.target.name(), reason) + "\n"
			switch {
			case l.job.err == nil:
				if firstWord == "" {
					firstWord, firstReason = word, reason
				}
				differ, sameReason = differ || word != firstWord, sameReason && reason == firstReason
				if reason != "" {
					reasons += detail
				}
				col.lastError = ""
			case reason != col.lastError:
				errors += detail
				col.lastError = reason
			}
		}
		cells += col.pad(word)
	}
	if differ {
		t.differ++
		mark += "  <- the servers differ"
	}
	if sameReason {
		reasons = ""
		if firstReason != "" {
			command += ": " + firstReason
		}
	}
	fmt.Fprintf(t.out, "%s%s%s\n%s%s", cells, command, mark, reasons, errors)
}
