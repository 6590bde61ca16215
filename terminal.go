package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
)

// A terminal prompts for secrets and answers.
type terminal struct {
	file  *os.File
	lines *bufio.Reader
	out   io.Writer

	stops sync.Once // watches for Ctrl-Z from the first prompt on

	mu      sync.Mutex // guards the prompt that is shown
	prompt  string     // "" if none is shown
	waiting bool       // between prompts the echo is off too
	hidden  bool       // the echo is off
	restore func()     // restores the terminal if hidden
}

// errNoAnswer means that there is no terminal, or that its input has ended.
var errNoAnswer = errors.New("no answer")

// openTerminal returns nil if the input is not a terminal. The prompts are written to out.
func openTerminal(in io.Reader, out io.Writer) *terminal {
	if !onTerminal(in) {
		return nil
	}
	f := in.(*os.File)
	return &terminal{file: f, lines: bufio.NewReader(f), out: out}
}

// ask shows the prompt and returns one line, typed without echo if hidden. It restores the terminal,
// also when ctx ends first.
func (t *terminal) ask(ctx context.Context, prompt string, hidden bool) (string, error) {
	text, err := t.read(ctx, prompt, hidden, firstLine)
	return strings.TrimRight(text, "\r\n"), err
}

// read is like ask, but returns what parse reads of the input.
func (t *terminal) read(ctx context.Context, prompt string, hidden bool, parse func(*bufio.Reader) (string, error)) (string, error) {
	if t == nil {
		return "", errNoAnswer
	}
	t.stops.Do(func() { watchStops(t.suspend, t.resume) })
	if err := t.show(prompt, hidden); err != nil {
		return "", err
	}
	defer t.endPrompt()
	var text string
	// The read itself cannot be cancelled; after an interruption it ends with the process.
	switch err := interruptible(ctx, func() (err error) { text, err = parse(t.lines); return err }); {
	case classOf(err) == classInterrupted:
		return "", err
	case err != nil && text == "":
		return "", errNoAnswer
	}
	return text, nil
}

// show turns the echo off if hidden and writes the prompt.
func (t *terminal) show(prompt string, hidden bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.hide(hidden); err != nil {
		return failf(classUsage, "turn off the terminal's echo: %w", err)
	}
	t.prompt = prompt
	fmt.Fprint(t.out, prompt)
	return nil
}

// endPrompt restores the terminal, unless another prompt may follow.
func (t *terminal) endPrompt() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.hidden {
		fmt.Fprintln(t.out) // the newline that was typed had no echo
	}
	t.prompt = ""
	_ = t.hide(t.waiting)
}

// expectPrompts turns the echo off until endPrompts, except during prompts with echo: what is typed before the prompt may
// be a password.
func (t *terminal) expectPrompts() {
	t.stops.Do(func() { watchStops(t.suspend, t.resume) })
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waiting = true
	_ = t.hide(true) // or the prompt fails
}

// endPrompts restores the terminal.
func (t *terminal) endPrompts() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waiting = false
	_ = t.hide(false)
}

// hide turns the echo off, or restores the terminal. A process in the background must not do the latter: it would stop.
func (t *terminal) hide(hidden bool) (err error) {
	switch {
	case hidden == t.hidden:
		return nil
	case hidden:
		if t.restore, _, err = echoOff(t.file.Fd()); err != nil {
			return err
		}
	case inForeground(t.file.Fd()):
		t.restore()
	}
	t.hidden = hidden
	return nil
}

// suspend restores the terminal for the shell, before the process stops.
func (t *terminal) suspend() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.hidden {
		t.restore()
	}
}

// resume shows the prompt again after the process was stopped. If stopped is false, that is not
// certain: then an echo that is on shows that a shell has used the terminal.
func (t *terminal) resume(stopped bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.hidden && inForeground(t.file.Fd()) {
		if restore, echoed, err := echoOff(t.file.Fd()); err == nil && echoed {
			t.restore, stopped = restore, true
		}
	}
	if stopped {
		fmt.Fprint(t.out, t.prompt)
	}
}

// stdio is the environment of a run: the standard streams and the variables.
type stdio struct {
	in       io.Reader
	out, err io.Writer
	env      func(name string) string
	sockets  []*os.File // to listen on, opened by systemd; each has its name
	// hangups returns a channel for each SIGHUP from now on, or nil if SIGHUP ends the program. The field is nil for a run
	// without signals.
	hangups func() <-chan struct{}
	// terminal opens the controlling terminal for prompts. It fails if there is none, or if the process is in its
	// background. It is nil for a run without prompts.
	terminal func() (in *os.File, out io.Writer, err error)
}

// controllingTerminal returns the terminal for prompts, or nil.
func (s stdio) controllingTerminal() *terminal {
	if s.terminal == nil {
		return nil
	}
	in, out, err := s.terminal()
	if err != nil {
		return nil
	}
	return openTerminal(in, out)
}

// takeHangups calls hangups.
func (s stdio) takeHangups() <-chan struct{} {
	if s.hangups == nil {
		return nil
	}
	return s.hangups()
}

// inIsTerminal reports whether stdin is a terminal.
func (s stdio) inIsTerminal() bool { return onTerminal(s.in) }

// errIsTerminal reports whether stderr is a terminal.
func (s stdio) errIsTerminal() bool { return onTerminal(s.err) }

// onTerminal reports whether an input or an output is a terminal.
func onTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && isTerminal(f.Fd())
}

// stopSignals returns the signals that stop the program. SIGHUP is one, so that a closed terminal loses
// no accounting record. SIGINT and SIGHUP are left out if they were ignored at the start, as in the
// background of a script or under nohup; of the others Go does not know that.
func stopSignals() (signals []os.Signal) {
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGABRT, syscall.SIGHUP} {
		if !signal.Ignored(s) {
			signals = append(signals, s)
		}
	}
	return signals
}
