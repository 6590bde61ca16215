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
	inv    *invocation
	name   string // - for stdin
	method authenMethod
}

// commandFileInFlight is how many requests to a server are under way at a time.
const commandFileInFlight = 4

// run asks about every command and shows the table.
func (f *commandFile) run(ctx context.Context) (output, error) {
	c, in, err := f.open(ctx)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	s := &orderedRun{inv: f.inv, parse: f.parse, write: writeRow, footer: totalsRow}
	s.allowDenied = true
	if f.inv.output.json {
		s.write, s.footer = writeJSON, nil
	}
	out, err := s.run(ctx, c, in, commandFileInFlight)
	if s.total == 0 && err == nil {
		f.warnNoCommands()
	}
	return out, err
}

// open opens the file, and makes the client for its requests.
func (f *commandFile) open(ctx context.Context) (c *client, in io.ReadCloser, err error) {
	if f.name == "-" {
		f.inv.stdinUse = "the commands"
		in = io.NopCloser(f.inv.std.in)
	} else if in, err = openFile(ctx, "commands", f.name); err != nil {
		return nil, nil, err
	}
	secrets, err := f.inv.secrets(ctx)
	if err == nil {
		c, err = f.inv.client(ctx, secrets.keys)
	}
	if err != nil {
		in.Close()
		return nil, nil, err
	}
	if f.name == "-" {
		f.inv.printInputHint("one a line")
	}
	return c, in, nil
}

// warnNoCommands warns of a file that is most likely the wrong one.
func (f *commandFile) warnNoCommands() { f.inv.warnf("there are no commands in %s", f.name) }

// parse builds the request of a line.
func (f *commandFile) parse(l *requestLine, text []byte) (err error) {
	if isComment(text) {
		return errNoRequest
	}
	l.text = strings.TrimSpace(string(text))
	if sign := l.text[:1]; sign == "+" || sign == "-" {
		l.expect, l.text = sign, strings.TrimSpace(l.text[1:])
	}
	words := strings.Fields(l.text)
	if len(words) == 0 {
		return failf(classUsage, "line %d of %s has no command", l.number, f.name)
	}
	args := commandArgs(words)
	if err := checkArgs(args); err != nil {
		return err
	}
	l.job.res.Command, l.job.res.User = f.inv.command.name, f.inv.request.user
	if l.job.request, err = newAuthorization(f.inv.request.commonFields(), f.method, args, nil); err != nil {
		return err
	}
	return l.job.request.check(f.inv.request.maxRemAddr())
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
	if l.job.err != nil {
		return "error", oneLine(asFailure(l.job.err).Error())
	}
	if l.job.res.class == classDenied {
		reason = oneLine(l.job.res.ServerMsg)
	}
	return l.job.res.Status, reason
}

// rowMark returns the mark behind a verdict that is not as expected.
func rowMark(l *requestLine) string {
	if l.job.err != nil || l.asExpected() {
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
