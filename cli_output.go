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
	if err == nil && out.exit() == classInterrupted.exit() {
		err = interrupted(ctx) // after a report of what was done until then
	}
	return out, err
}

// finish shows what came of the command and says what the exit code is.
func (inv *invocation) finish(out output, err error) exitCode {
	if out == nil && err != nil {
		out = inv.misused(err)
	}
	f := out.finish(err)
	if err := inv.show(out, inv.std.out); err != nil && out.exit() == 0 {
		if _, verdict := out.(*result); !verdict { // whose exit code says it all
			out.finish(err)
		}
	}
	inv.printFailure(f, out, "")
	return out.exit()
}

// explain says what went wrong, if anything did, and what to do about it. Where there are several
// servers it says with which.
func (inv *invocation) printFailure(f *failure, out output, server string) {
	if f != nil && f.err != nil {
		inv.logf("%s", naming(server, f.Error()))
	}
	if f != nil && f.hint != "" && inv.wantsHint(f, out) {
		inv.logf("hint: %s", naming(server, f.hint))
	}
}

// wantsHint says whether a hint is for who reads standard error. That to a FAIL is for a person: the
// log of a script that asks about 100 users would have it 100 times.
func (inv *invocation) wantsHint(f *failure, out output) bool {
	if f.err != nil {
		return true
	}
	if res, ok := out.(*result); ok && res.Status == authenFail.String() {
		return inv.output.verbose || inv.std.errIsTerminal() && !inv.output.quiet
	}
	return !inv.output.quiet
}

// misused is what there is to show where an error came in place of an output: for a program that
// asked for an object, an object.
func (inv *invocation) misused(err error) output {
	if f := asFailure(err); f.class != classInterrupted && inv.command.misused != nil {
		if out := inv.command.misused(inv, f); out != nil {
			return out
		}
	}
	if inv.output.json {
		return &result{Command: inv.command.name, User: inv.request.user}
	}
	return &page{}
}

// show prints an output on w as the options ask, and says so where that fails.
func (inv *invocation) show(out output, w io.Writer) error {
	var text string
	_, asked := out.(*page) // in so many words: -q is about verdicts
	switch {
	case inv.output.quiet && !asked:
	case inv.output.json:
		text = out.json()
	case inv.output.verbose:
		text = out.verbose()
	default:
		text = out.line()
	}
	if text == "" {
		return nil
	}
	if _, err := io.WriteString(w, text); err != nil {
		err := failf(classUsage, "write the result: %w", cause(err))
		inv.logf("%v", err)
		return err
	}
	return nil
}

// say tells the person something that is neither a result nor an error.
func (inv *invocation) logf(format string, args ...any) {
	fmt.Fprintf(inv.std.err, "tacacs_plus: %s\n", oneLine(fmt.Sprintf(format, args...)))
}

// invite tells a person what to type where input other than secrets comes from the terminal.
func (inv *invocation) printInputHint(form string) {
	if inv.terminal != nil && !inv.output.quiet {
		inv.logf("reading %s from the terminal, %s; Ctrl-D ends them", inv.stdinUse, form)
	}
}

// warn says what -q hides.
func (inv *invocation) warnf(format string, args ...any) {
	if !inv.output.quiet {
		inv.logf("warning: "+format, args...)
	}
}

// newReport begins a report.
func (inv *invocation) newReport() report {
	return report{Time: time.Now().UTC().Format(timeLayout), Command: inv.command.name, User: escape(inv.request.user)}
}

// naming is a text with the server's name before it, unless it has that anyway.
func naming(server, text string) string {
	if strings.Contains(text, server) { // also where there is no name
		return text
	}
	return server + ": " + text
}
