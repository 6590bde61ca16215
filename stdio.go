package main

import (
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
)

// stdio is what a run sees of the process around it.
type stdio struct {
	in       io.Reader
	out, err io.Writer
	env      func(name string) string
	watch    func() // makes signals end the run's context from now on; nil where they do not
}

// watched is called before what a signal must not cut short: a terminal without echo, a
// command between two records.
func (s stdio) watched() {
	if s.watch != nil {
		s.watch()
	}
}

// errIsTerminal says that a person reads what is written on standard error.
func (s stdio) errIsTerminal() bool { return onTerminal(s.err) }

// onTerminal says that a person reads what is written on w.
func onTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isTerminal(f.Fd())
}

// stopSignals are those that tell a program to stop, without those that were ignored when it was
// started: by nohup, or in the background of a script. SIGHUP counts, so that a closed terminal
// loses no accounting record.
func stopSignals() []os.Signal {
	return slices.DeleteFunc([]os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP}, signal.Ignored)
}
