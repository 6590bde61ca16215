package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"
)

// carryOut executes the command.
func (inv *invocation) carryOut(ctx context.Context) (output, error) {
	out, err := inv.action(ctx, inv)
	if inv.terminal != nil {
		inv.terminal.endPrompts()
	}
	if err == nil && out.exit() == classInterrupted.exit() {
		err = interrupted(ctx) // after a report of what was done until then
	}
	return out, err
}

// finish prints the outcome of the command and returns the exit code.
func (inv *invocation) finish(out output, err error) exitCode {
	if out == nil && err != nil {
		out = inv.misused(err)
	}
	f := out.finish(err)
	if err := inv.show(out, inv.std.out); err != nil && out.exit() == 0 {
		if _, verdict := out.(*result); !verdict { // its exit code is that of the verdict
			out.finish(err)
		}
	}
	inv.printFailure(f, out, "")
	return out.exit()
}

// printFailure prints an error and its hint, if there are any, with the name of the server if the command asks
// several. The error of a reply with ERROR is on stdout already, with the reason.
func (inv *invocation) printFailure(f *failure, out output, server string) {
	res, isResult := out.(*result)
	if isResult && f != nil && f.class == classServer && res.Status != "" && !inv.output.quiet && !inv.output.json {
		server = res.Server
	} else if f != nil && f.err != nil {
		inv.logf("%s", naming(server, f.Error()))
	}
	if f != nil && f.hint != "" && inv.wantsHint(f, out) {
		inv.logf("hint: %s", naming(server, f.hint))
	}
}

// wantsHint reports whether to print a hint. A hint about a FAIL is for a person only: a script that asks about
// 100 users would log it 100 times.
func (inv *invocation) wantsHint(f *failure, out output) bool {
	if f.err != nil {
		return true
	}
	if res, ok := out.(*result); ok && (res.status == authenFail || res.status == authorFail) {
		return inv.output.verbose || inv.std.errIsTerminal() && !inv.output.quiet
	}
	return !inv.output.quiet
}

// misused returns the output of a run that failed without one. A program that asked for JSON gets an object.
func (inv *invocation) misused(err error) output {
	if f := asFailure(err); f.class != classInterrupted && inv.command.misused != nil {
		if out := inv.command.misused(inv, f); out != nil {
			return out
		}
	}
	if inv.output.json {
		return inv.emptyResult()
	}
	return &page{}
}

// show prints an output on w in the form that the options ask for. It prints its own error.
func (inv *invocation) show(out output, w io.Writer) error {
	var text string
	_, isPage := out.(*page) // -q hides verdicts, not a page that was asked for
	switch {
	case inv.output.quiet && !isPage:
	case inv.output.json:
		text = inv.json(out)
	case inv.output.verbose:
		text = out.verbose()
	default:
		text = out.line()
	}
	if text == "" {
		return nil
	}
	if _, err := io.WriteString(w, text); err != nil {
		err := failf(classLocal, "write the result: %w", cause(err))
		inv.logf("%v", err)
		return err
	}
	return nil
}

// logf prints a line on stderr.
func (inv *invocation) logf(format string, args ...any) {
	fmt.Fprintf(inv.std.err, "tacacs_plus: %s\n", oneLine(fmt.Sprintf(format, args...)))
}

// printInputHint tells a person at the terminal what to type, if input other than a secret comes from there.
func (inv *invocation) printInputHint(form string) {
	if inv.std.inIsTerminal() && !inv.output.quiet {
		inv.logf("reading %s from the terminal, %s; end with Ctrl-D", inv.stdinUse, form)
	}
}

// warnf prints a warning, which -q hides, and keeps it for JSON.
func (inv *invocation) warnf(w warning, format string, args ...any) {
	inv.keepWarning(w, format, args...)
	inv.printWarning(w, format, args...)
}

// warnAlways is warnf for a warning that -q does not hide.
func (inv *invocation) warnAlways(w warning, format string, args ...any) {
	inv.keepWarning(w, format, args...)
	if !inv.output.silenced.has(w) {
		inv.logf("warning: "+format, args...)
	}
}

func (inv *invocation) keepWarning(w warning, format string, args ...any) {
	inv.warningsMu.Lock()
	defer inv.warningsMu.Unlock()
	inv.warnings = append(inv.warnings, newWarning(w, format, args...))
}

// printWarning is logf for a warning, which -q and --no-warn hide.
func (inv *invocation) printWarning(w warning, format string, args ...any) {
	if !inv.output.quiet && !inv.output.silenced.has(w) {
		inv.logf("warning: "+format, args...)
	}
}

// json returns an output as JSON, with the warnings of the run.
func (inv *invocation) json(out output) string {
	if w, ok := out.(interface {
		addWarnings([]namedWarning, warningSet)
	}); ok {
		inv.warningsMu.Lock()
		defer inv.warningsMu.Unlock()
		w.addWarnings(inv.warnings, inv.output.silenced)
	}
	return out.json()
}

// newReport returns a report with its common fields.
func (inv *invocation) newReport() report {
	return report{Time: time.Now().UTC().Format(timeLayout), Command: inv.command.name, User: escape(inv.request.fields.user)}
}

// naming puts the server's name before a text that does not have it.
func naming(server, text string) string {
	if strings.Contains(text, server) { // or server is empty
		return text
	}
	return server + ": " + text
}
