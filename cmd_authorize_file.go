package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
)

// A rehearsal is authorize with --cmd-file: a table of what the server says to each command of a
// file. A line may begin with + or -, for what it should be.
type commandFile struct {
	inv    *invocation
	file   string
	method authenMethod
	all    bool // every server is asked, and the table has a column for each
}

// rehearsalInFlight is how many connections a rehearsal makes to a server at a time.
const commandFileInFlight = 4

// run reads the file and asks about every line of it.
func (r *commandFile) run(ctx context.Context) (output, error) {
	in := r.inv.std.in
	if r.file == "-" {
		r.inv.stdinUse = "the commands"
	} else {
		f, err := openFile(ctx, "commands", r.file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	secrets, err := r.inv.secrets(ctx)
	if err != nil {
		return nil, err
	}
	c, err := r.inv.client(ctx, secrets.keys)
	if err != nil {
		return nil, err
	}
	if r.file == "-" {
		r.inv.printInputHint("one a line")
	}
	if r.all {
		return r.compare(ctx, c, in)
	}
	s := &orderedRun{inv: r.inv, parse: r.parse, show: showRow, warn: r.inv.warnf, allowDenied: true}
	if r.inv.output.json {
		s.show = showJSON
	} else {
		s.last = showTotals
	}
	out, err := s.run(ctx, c, in, commandFileInFlight)
	if s.total == 0 && err == nil {
		r.inv.warnf("there are no commands in %s", r.file)
	}
	return out, err
}

// parse makes the request of a line.
func (r *commandFile) parse(e *item, line []byte) (err error) {
	e.text = strings.TrimSpace(string(line))
	if e.text[0] == '#' {
		return errNoRequest
	}
	if mark := e.text[:1]; mark == "+" || mark == "-" {
		e.expect, e.text = mark, strings.TrimSpace(e.text[1:])
	}
	words := strings.Fields(e.text)
	if len(words) == 0 {
		return failf(classUsage, "line %d of %s has no command", e.line, r.file)
	}
	args := commandArgs(words)
	if err := checkArgs(args); err != nil {
		return err
	}
	e.res.Command, e.res.User = r.inv.command.name, r.inv.request.user
	if e.request, err = newAuthorization(r.inv.request.commonFields(), r.method, args, nil); err != nil {
		return err
	}
	return e.request.check(r.inv.request.maxRemAddr())
}

// verdict is what the table says of an entry: a word, and the reason where nothing is permitted.
func (e *item) verdict() (word, why string) {
	if e.err != nil {
		return "error", oneLine(asFailure(e.err).Error())
	}
	if e.res.class == classDenied {
		why = oneLine(e.res.ServerMsg)
	}
	return e.res.Status, why
}

// mark is what the table has behind a verdict that is not as expected.
func (e *item) mark() string {
	if e.err != nil || e.asExpected() {
		return ""
	}
	return map[string]string{"+": "  <- not permitted", "-": "  <- not denied"}[e.expect]
}

// showRow writes one row of the table.
func showRow(s *orderedRun, e *item) {
	word, why := e.verdict()
	if e.err != nil || why != "" {
		why = ": " + why
	}
	fmt.Fprintf(s.out, "%s %s%s%s\n", word, escape(e.text), why, e.mark())
}

// showTotals writes the last line of the table.
func showTotals(s *orderedRun) {
	fmt.Fprintf(s.out, "%s: %s\n", howMany(s.total, "command"), s.totals())
}

// totals are those of the verdicts.
func (s *orderedRun) totals() string {
	permitted, denied := s.byClass[classGranted], s.byClass[classDenied]
	text := fmt.Sprintf("%d permitted, %d denied", permitted, denied)
	if n := s.total - permitted - denied; n > 0 {
		text += fmt.Sprintf(", %d without a verdict", n)
	}
	if s.unexpected > 0 {
		text += fmt.Sprintf("; %d not as expected", s.unexpected)
	}
	return text
}

// A comparison is the table that --cmd-file makes with --all: a row for each command, a column for each
// server.
type comparison struct {
	orderedRun // of the rows: its output
	columns    []*column
	rows       int
	apart      int // rows in which the servers differ
}

// A column is what one server says.
type column struct {
	*target
	asked    orderedRun
	answered chan *item // in the order of the commands; closed at the end
	fault    error      // with which it ended
	shown    string     // the error that was shown last
}

// compare asks every server for every command.
func (r *commandFile) compare(ctx context.Context, c *client, in io.Reader) (output, error) {
	within, stop := context.WithCancel(ctx)
	defer stop()
	t := &comparison{orderedRun: orderedRun{inv: r.inv}}
	t.open(ctx)
	var feeds []io.Writer
	for _, one := range r.inv.targets(ctx, c) {
		lines, feed := io.Pipe()
		col := &column{target: one, answered: make(chan *item, window)} // has room for all there are
		feeds, t.columns = append(feeds, feed), append(t.columns, col)
		col.asked = orderedRun{inv: r.inv, parse: one.parseWith(r), show: func(_ *orderedRun, e *item) { col.answered <- e },
			warn: one.keepWarning, allowDenied: true, retain: true}
		go func() {
			defer close(col.answered)
			_, col.fault = col.asked.run(within, one.client, lines, commandFileInFlight)
		}()
	}
	go feed(in, feeds)
	err := t.printRows(ctx)
	stop()
	worst := classGranted
	for _, col := range t.columns {
		for range col.answered { // until it has ended
		}
		col.printWarnings(r.inv)
		if worst = max(worst, col.asked.class()); err == nil {
			err = col.fault
		}
	}
	if ctx.Err() != nil {
		worst = classInterrupted
	} else if t.rows == 0 && err == nil {
		r.inv.warnf("there are no commands in %s", r.file)
	}
	return &page{exitStatus: exitStatus{worst.exit()}}, err
}

// parseWith makes the request of a line as r does. What leads nowhere answers it by that.
func (r *target) parseWith(of *commandFile) func(*item, []byte) error {
	return func(e *item, line []byte) error {
		e.res.Server = r.res.Server
		if err := of.parse(e, line); err != nil {
			return err
		}
		return r.err
	}
}

// feed gives all columns the same lines, half a window of them at the most at a time: with more, one
// server could wait for another that waits for these lines.
func feed(in io.Reader, columns []io.Writer) {
	_, err := io.CopyBuffer(io.MultiWriter(columns...), struct{ io.Reader }{in}, make([]byte, window))
	for _, c := range columns {
		c.(*io.PipeWriter).CloseWithError(err)
	}
}

// run shows a row as soon as all servers have answered, and lets go of its entries only then: no server
// is more than a window ahead of the others.
func (t *comparison) printRows(ctx context.Context) error {
	for row := t.nextRow(); row != nil; row = t.nextRow() {
		t.rows++
		if t.inv.output.json {
			for _, e := range row {
				if e != nil {
					showJSON(&t.orderedRun, e)
				}
			}
		} else {
			t.row(row)
		}
		if err := t.flush(ctx); err != nil {
			return err
		}
		for i, col := range t.columns {
			if row[i] != nil {
				col.asked.shrink(row[i])
			}
		}
	}
	if t.rows > 0 && !t.inv.output.json {
		for _, col := range t.columns {
			fmt.Fprintf(t.out, "%s: %s\n", col.res.Server, col.asked.totals())
		}
		fmt.Fprintf(t.out, "%s: the servers differ on %d\n", howMany(t.rows, "command"), t.apart)
	}
	return t.flush(ctx)
}

// next is what the servers say to the next command: nil at the end, and for one that was interrupted.
func (t *comparison) nextRow() (row []*item) {
	all := make([]*item, len(t.columns))
	for i, col := range t.columns {
		if all[i] = <-col.answered; all[i] != nil {
			row = all
		}
	}
	return row
}

// row writes what all say of a command, so that a difference is seen at a glance: no verdict is none.
// Where all give the same reason it stands behind the command, else below, as errors do, of which one
// that goes on is there once.
func (t *comparison) row(answers []*item) {
	var heading, line, text, mark, first, reason, reasons, errs string
	apart, several := false, false
	for i, col := range t.columns {
		server, word, why := col.res.Server, "-", ""
		if e := answers[i]; e != nil {
			word, why = e.verdict()
			text, mark = escape(e.text), cmp.Or(mark, e.mark())
			below := "    " + naming(server, why) + "\n"
			switch {
			case e.err != nil && why != col.shown:
				errs += below
			case e.err == nil && first == "":
				first, reason = word, why
			case e.err == nil:
				apart, several = apart || word != first, several || why != reason
			}
			if col.shown = ""; e.err != nil {
				col.shown = why
			} else if why != "" {
				reasons += below
			}
		}
		width := max(len("PASS_REPL"), len(server))
		heading += fmt.Sprintf("%-*s  ", width, server)
		line += fmt.Sprintf("%-*s  ", width, word)
	}
	if t.rows == 1 {
		fmt.Fprintln(t.out, strings.TrimSpace(heading))
	}
	if apart {
		t.apart++
		mark += "  <- the servers differ"
	}
	if !several && reason != "" {
		text += ": " + reason
	}
	if !several {
		reasons = ""
	}
	fmt.Fprintf(t.out, "%s%s%s\n%s%s", line, text, mark, reasons, errs)
}
