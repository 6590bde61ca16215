package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// A terminal prompts for secrets and answers. It exists only if stdin is a terminal, so a script is
// never prompted. The prompt is written to stderr.
type terminal struct {
	file  *os.File
	lines *bufio.Reader
	out   io.Writer

	stops sync.Once // watches for Ctrl-Z from the first prompt on

	mu      sync.Mutex // guards the prompt that is shown
	prompt  string     // "" if none is shown
	hidden  bool       // without echo
	restore func()     // restores the terminal after a prompt without echo
}

// errNoAnswer means that there is no terminal, or that its input has ended.
var errNoAnswer = errors.New("no answer")

// openTerminal returns nil if stdin is not a terminal.
func openTerminal(std stdio) *terminal {
	f, ok := std.in.(*os.File)
	if !ok || !isTerminal(f.Fd()) {
		return nil
	}
	return &terminal{file: f, lines: bufio.NewReader(f), out: std.err}
}

// ask shows the prompt and returns one line, typed without echo if hidden. It restores the terminal,
// also when ctx ends first.
func (t *terminal) ask(ctx context.Context, prompt string, hidden bool) (string, error) {
	text, err := t.read(ctx, prompt, hidden, func(r *bufio.Reader) (string, error) { return r.ReadString('\n') })
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
	if hidden {
		restore, _, err := echoOff(t.file.Fd())
		if err != nil {
			return failf(classUsage, "turn off the terminal's echo: %w", err)
		}
		t.restore = restore
	}
	t.prompt, t.hidden = prompt, hidden
	fmt.Fprint(t.out, prompt)
	return nil
}

// endPrompt restores the terminal.
func (t *terminal) endPrompt() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.hidden {
		t.restore()
		fmt.Fprintln(t.out) // the newline that was typed had no echo
	}
	t.prompt, t.hidden = "", false
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
	if t.hidden {
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
