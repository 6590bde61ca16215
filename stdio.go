package main

import (
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
)

// stdio is the environment of a run: the standard streams and the variables.
type stdio struct {
	in       io.Reader
	out, err io.Writer
	env      func(name string) string
}

// errIsTerminal reports whether stderr is a terminal.
func (s stdio) errIsTerminal() bool { return onTerminal(s.err) }

// onTerminal reports whether w writes to a terminal.
func onTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isTerminal(f.Fd())
}

// stopSignals returns the signals that stop the program. SIGHUP is one, so that a closed terminal loses
// no accounting record. SIGINT and SIGHUP are left out if they were ignored at the start, as in the
// background of a script or under nohup; of the others Go does not know that.
func stopSignals() []os.Signal {
	return slices.DeleteFunc([]os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP}, signal.Ignored)
}
