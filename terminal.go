package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// A terminal asks the person at it. The prompt goes to standard error, the answer comes from
// standard input, and only where that is a terminal: a script is never asked anything.
type terminal struct {
	file  *os.File
	lines *bufio.Reader
	out   io.Writer
	std   stdio
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
	if t == nil {
		return "", errNoAnswer
	}
	t.std.watched()
	if hidden {
		restore, err := echoOff(t.file.Fd())
		if err != nil {
			return "", failf(classUsage, "turn off the terminal's echo: %w", err)
		}
		defer fmt.Fprintln(t.out) // the newline that was typed did not show
		defer restore()
	}
	fmt.Fprint(t.out, prompt)
	type answer struct {
		line string
		err  error
	}
	// The read cannot be called off; after an interruption it ends with the process.
	answered := make(chan answer, 1)
	go func() {
		line, err := t.lines.ReadString('\n')
		answered <- answer{line, err}
	}()
	select {
	case a := <-answered:
		if a.err != nil && a.line == "" {
			return "", errNoAnswer
		}
		return strings.TrimRight(a.line, "\r\n"), nil
	case <-ctx.Done():
		return "", interrupted(ctx)
	}
}
