package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
)

// A commandFile is authorize --cmd-file: a table of the verdicts on the commands in a file. A line may begin with + or -,
// for the verdict that is expected.
type commandFile struct {
	inv     *invocation
	name    string // - for stdin
	options *argOptions
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
	if c, _, err = f.inv.newClient(ctx); err != nil || !stdin {
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
	if l.expect, l.text = cutSign(string(text)); l.text == "" {
		return failf(classUsage, "no command after %s", l.expect)
	}
	m, err := f.options.authorization(&f.inv.request, commandArgs(strings.Fields(l.text)), nil)
	l.job.res.Command, l.job.res.User, l.job.request = f.inv.command.name, f.inv.request.fields.user, m
	return err
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
		reason = l.job.res.message()
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
	return choose(l.expect == "+", "  <- not permitted", choose(l.expect == "-", "  <- not denied", ""))
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
