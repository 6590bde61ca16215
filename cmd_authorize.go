package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
)

// newAuthorize declares the command authorize: may the user do this?
func newAuthorize(o *optionSet) action {
	var arguments argOptions
	var require list
	var file string
	var all bool
	arguments.register(o)
	o.add(&require, "require", "NAME=VALUE", "exit 1 unless this argument is granted; repeatable")
	o.add((*text)(&file), "cmd-file", "FILE", "authorize every line of FILE and print a table; # begins a comment, + or - a command that must be permitted or denied; - is stdin")
	registerAll(o, &all)
	return func(ctx context.Context, inv *invocation) (output, error) {
		if file != "" {
			if len(inv.words) > 0 || len(arguments.args) > 0 || arguments.command != "" || len(require) > 0 {
				return nil, failf(classUsage, "--cmd-file cannot be used with arguments, --cmd or --require")
			}
			f := &commandFile{inv: inv, name: file, method: arguments.method}
			if all {
				return f.runAll(ctx)
			}
			return f.run(ctx)
		}
		args, err := arguments.request(inv.words)
		if err != nil {
			return nil, err
		}
		m, err := newAuthorization(inv.request.commonFields(), arguments.method, args, require)
		if err != nil {
			return nil, err
		}
		if err := m.check(inv.request.maxRemAddr()); err != nil {
			return nil, err
		}
		secrets, err := inv.secrets(ctx)
		if err != nil {
			return nil, err
		}
		if all {
			return inv.askAll(ctx, secrets.keys, func() dialogue { each := *m; return &each })
		}
		return inv.ask(ctx, secrets.keys, m)
	}
}

// argOptions are the options for the arguments of authorization and accounting.
type argOptions struct {
	args    list
	command string
	method  authenMethod
}

func (a *argOptions) register(o *optionSet) {
	o.add(&a.args, "c cmds", "ARG", "argument NAME=VALUE or NAME*VALUE, sent before those after HOST; repeatable")
	a.registerCommand(o)
}

// registerCommand declares the options without -c, which has another meaning in some commands.
func (a *argOptions) registerCommand(o *optionSet) {
	a.method = authenMethodTACACSPlus
	o.add((*text)(&a.command), "cmd", "COMMAND", "send service=shell, cmd and cmd-arg for this command line")
	o.add(&a.method, "method", "METHOD", "authen_method field (default tacacsplus):")
}

// request returns the arguments to send: those of --cmd, then those of -c and the words. Without any it is
// service=shell, since section 8.2 requires a service.
func (a *argOptions) request(words []string) ([]string, error) {
	var args []string
	if a.command != "" {
		fields := strings.Fields(a.command)
		if len(fields) == 0 {
			return nil, failf(classUsage, "--cmd is blank").withHint("leave --cmd out to authorize a shell session")
		}
		args = commandArgs(fields)
	}
	given := slices.Concat(a.args, words)
	if len(args) > 0 && (hasArg(given, "service") || hasArg(given, "cmd")) {
		return nil, failf(classUsage, "--cmd sets service and cmd: remove them from the arguments")
	}
	args = append(args, given...)
	if hasArg(args, "service") && argValue(args, "service") == "" {
		return nil, failf(classUsage, "the service is empty").withHint(hintForService)
	}
	if len(args) == 0 {
		args = []string{"service=shell"}
	}
	if err := checkArgs(args); err != nil {
		return nil, a.suggestQuotes(err, given)
	}
	return args, nil
}

// suggestQuotes adds a hint to an error in the arguments if some of them look like words of a command line without
// quotes: authorize bob tac1 --cmd show version.
func (a *argOptions) suggestQuotes(err error, given []string) error {
	words := slices.DeleteFunc(slices.Clone(given), func(w string) bool { return w == "" || strings.ContainsAny(w, "=*") })
	if len(words) == 0 {
		return err
	}
	line := strings.TrimSpace(a.command + " " + strings.Join(words, " "))
	return asFailure(err).withHint("quote the command line: --cmd '%s'", shorten(escape(line)))
}

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
func (f *commandFile) warnNoCommands() { f.inv.warnf("no commands in %s", f.name) }

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
