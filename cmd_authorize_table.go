package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

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
	return &page{exitStatus: exitStatus{choose(ctx.Err() != nil, classInterrupted, worst).exit()}}, err
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
