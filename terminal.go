package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
)

// A terminal asks the person at it. The prompt goes to standard error, the answer comes from
// standard input, and only where that is a terminal: a script is never asked anything.
type terminal struct {
	file  *os.File
	lines *bufio.Reader
	out   io.Writer
	std   stdio

	stops sync.Once // Ctrl-Z is watched from the first prompt on

	mu      sync.Mutex // of the prompt that is shown; held while the process is stopped
	prompt  string     // empty for none
	hidden  bool       // what is typed at it
	restore func()     // makes the terminal what it was before a hidden one
}

// errNoAnswer says that there is nobody to ask, or that the input has ended.
var errNoAnswer = errors.New("no answer")

// openTerminal returns nil where standard input is no terminal.
func openTerminal(std stdio) *terminal {
	f, ok := std.in.(*os.File)
	if !ok || !isTerminal(f.Fd()) {
		return nil
	}
	return &terminal{file: f, lines: bufio.NewReader(f), out: std.err, std: std}
}

// ask shows the prompt and reads one line, with echo off where hidden. The terminal is as it
// was afterwards, also when ctx ends the wait.
func (t *terminal) ask(ctx context.Context, prompt string, hidden bool) (string, error) {
	text, err := t.read(ctx, prompt, hidden, firstLine)
	return strings.TrimRight(text, "\r\n"), err
}

// read is ask for what take makes of the input.
func (t *terminal) read(ctx context.Context, prompt string, hidden bool, take func(*bufio.Reader) (string, error)) (string, error) {
	if t == nil {
		return "", errNoAnswer
	}
	t.std.watched()
	t.stops.Do(t.watchStops)
	if err := t.show(prompt, hidden); err != nil {
		return "", err
	}
	defer t.leave()
	var text string
	// The read cannot be called off; after an interruption it ends with the process.
	switch err := interruptible(ctx, func() (err error) { text, err = take(t.lines); return err }); {
	case classOf(err) == classInterrupted:
		return "", err
	case err != nil && text == "":
		return "", errNoAnswer
	}
	return text, nil
}

// show begins a prompt.
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

// leave ends a prompt.
func (t *terminal) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.hidden {
		t.restore()
		fmt.Fprintln(t.out) // the newline that was typed did not show
	}
	t.prompt, t.hidden = "", false
}
