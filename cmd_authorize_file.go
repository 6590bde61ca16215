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
	"time"
)

// A commandFile is authorize --cmd-file: a table of the verdicts on the commands in a file. A line may begin with + or -,
// for the verdict that is expected.
type commandFile struct {
	inv     *invocation
	name    string // - for stdin
	options *argOptions
	strict  bool
}

// commandFileInFlight is how many requests to a server are under way at a time.
const commandFileInFlight = 4

// run asks about every command and shows the table.
func (f *commandFile) run(ctx context.Context) (output, error) {
	c, text, err := f.prepare(ctx)
	if err != nil {
		return nil, err
	}
	s := &orderedRun{inv: f.inv, parse: f.parse, write: writeRow, footer: totalsRow}
	s.allowDenied = true
	if f.inv.output.json {
		s.write, s.footer = writeJSON, nil
	}
	return s.run(ctx, c, bytes.NewReader(text), commandFileInFlight)
}

// maxCommandFile is the most bytes of a file of commands.
const maxCommandFile = 64 << 20

// prepare reads the whole file and checks it, and makes the client for its requests. Standard input is read last, since a
// person may type there.
func (f *commandFile) prepare(ctx context.Context) (c *client, text []byte, err error) {
	stdin := f.name == "-"
	if stdin {
		f.name, f.inv.stdinUse = "standard input", "the commands"
	} else if text, err = readFile(ctx, "commands", f.name, maxCommandFile); err == nil {
		err = f.check(text)
	}
	if err != nil {
		return nil, nil, err
	}
	secrets, err := f.inv.secrets(ctx)
	if err == nil {
		c, err = f.inv.client(ctx, secrets.keys)
	}
	if err != nil || !stdin {
		return c, text, err
	}
	f.inv.printInputHint("one a line")
	err = interruptible(ctx, func() (err error) { text, err = readAtMost(f.inv.std.in, f.name, maxCommandFile); return err })
	if err != nil {
		return nil, nil, fileError("read the commands", err)
	}
	return c, text, f.check(text)
}

// check parses every line, so that nothing is sent if one is wrong. A file without commands is most likely the wrong one.
func (f *commandFile) check(text []byte) error {
	if err := f.parse(new(requestLine), []byte("show")); err != nil {
		return err // not of a line, but of a field that all requests have
	}
	r, commands := newLineReader(bytes.NewReader(text)), 0
	for {
		line, err := r.next()
		switch {
		case err == io.EOF && commands == 0:
			return failf(classUsage, "no commands in %s", f.name)
		case err == io.EOF:
			return nil
		case err == nil:
			err = f.parse(&requestLine{number: r.number}, line)
		}
		switch {
		case err == nil:
			commands++
		case err != errNoRequest:
			return failf(classUsage, "line %d of %s: %w", r.number, f.name, err)
		}
	}
}

// parse builds the request of a line.
func (f *commandFile) parse(l *requestLine, text []byte) error {
	if isComment(text) {
		return errNoRequest
	}
	l.text = strings.TrimSpace(string(text))
	if sign := l.text[:1]; sign == "+" || sign == "-" {
		l.expect, l.text = sign, strings.TrimSpace(l.text[1:])
	}
	words := strings.Fields(l.text)
	if len(words) == 0 {
		return failf(classUsage, "no command after %s", l.expect)
	}
	args := f.options.withEnd(commandArgs(words))
	if err := checkArgs(args); err != nil {
		return err
	}
	l.job.res.Command, l.job.res.User = f.inv.command.name, f.inv.request.user
	m, err := newAuthorization(f.inv.request.commonFields(), f.options.method, args, nil)
	if err != nil {
		return err
	}
	m.strict, l.job.request = f.strict, m
	return m.check(f.inv.request.maxRemAddr())
}

// isComment reports whether a line has no command on purpose.
func isComment(text []byte) bool { return bytes.HasPrefix(bytes.TrimSpace(text), []byte("#")) }

// writeRow writes the row of one command.
func writeRow(out *bufio.Writer, l *requestLine) {
	word, reason := rowVerdict(l)
	if l.job.err != nil || reason != "" {
		reason = ": " + reason
	}
	fmt.Fprintf(out, "%s %s%s%s\n", word, escape(l.text), reason, rowMark(l))
}

// rowVerdict returns the verdict on a command, and the reason if it is not permitted.
func rowVerdict(l *requestLine) (word, reason string) {
	switch {
	case l.refused():
		return l.job.res.Status, oneLine(l.job.err.Error())
	case l.job.err != nil:
		return "error", oneLine(asFailure(l.job.err).Error())
	case l.job.res.class == classDenied:
		reason = oneLine(l.job.res.ServerMsg)
	}
	return l.job.res.Status, reason
}

// refused reports whether --strict refused what the server granted.
func (l *requestLine) refused() bool { return l.job.err != nil && l.job.class() == classDenied }

// rowMark returns the mark behind a verdict that is not as expected.
func rowMark(l *requestLine) string {
	if l.job.err != nil && !l.refused() || l.asExpected() {
		return ""
	}
	return map[string]string{"+": "  <- not permitted", "-": "  <- not denied"}[l.expect]
}

// totalsRow returns the last row of the table.
func totalsRow(t *tally) string {
	return fmt.Sprintf("%s: %s\n", howMany(t.total, "command"), verdictTotals(t))
}

// verdictTotals returns how many commands got which verdict.
func verdictTotals(t *tally) string {
	permitted, denied := t.byClass[classGranted], t.byClass[classDenied]
	text := fmt.Sprintf("%d permitted, %d denied", permitted, denied)
	if n := t.total - permitted - denied; n > 0 {
		text += fmt.Sprintf(", %d without a verdict", n)
	}
	if t.unexpected > 0 {
		text += fmt.Sprintf("; %d not as expected", t.unexpected)
	}
	return text
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
	maxTableRows = 1 << 16
	tableAhead   = 1024
)

// runAll asks every server about every command.
func (f *commandFile) runAll(ctx context.Context) (output, error) {
	c, text, err := f.prepare(ctx)
	if err != nil {
		return nil, err
	}
	t := &serverTable{file: f, out: newResultWriter(ctx, f.inv)}
	if err := t.addRows(text); err != nil {
		return nil, err
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

// addRows adds a row for each command of a text that was checked.
func (t *serverTable) addRows(text []byte) error {
	r := newLineReader(bytes.NewReader(text))
	for {
		line, err := r.next()
		switch {
		case err != nil:
			return nil // the end
		case isComment(line):
			continue
		case len(t.rows) == maxTableRows:
			return failf(classUsage, "more than %d commands in %s, which is the limit for --all", maxTableRows, t.file.name).
				withHint("split the file, or ask one server at a time without --all")
		}
		t.rows = append(t.rows, &tableRow{number: r.number, text: bytes.Clone(line)})
	}
}

// addColumns makes the columns.
func (t *serverTable) addColumns(targets []*target) {
	for _, target := range targets {
		col := &tableColumn{target: target, pool: newPool(target.client, commandFileInFlight), unwritten: make(chan struct{}, tableAhead)}
		col.tally.allowDenied = true
		col.pool.note = func(text string) { target.keepWarning(warnConnectionReuse, "%s", text) }
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
	l.reset(row.number, func(l *requestLine) {
		l.job.res.addWarnings(nil, t.file.inv.output.silenced)
		row.answered.Done()
	})
	l.job.res.Server = target.name()
	l.job.err = cmp.Or(t.file.parse(l, row.text), target.err)
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
			case l.job.err == nil || l.refused():
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
