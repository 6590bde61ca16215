package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTerminalMissing: without a terminal as stdin there are no prompts.
func TestTerminalMissing(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "input"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()

	for name, std := range map[string]stdio{
		"file": {in: file}, os.DevNull: {in: null}, "pipe": {in: r}, "text": {in: strings.NewReader("x\n")}, "nothing": {},
	} {
		terminal := openTerminal(std)
		if terminal != nil {
			t.Errorf("%s counts as a terminal", name)
		}
		if answer, err := terminal.ask(context.Background(), "prompt", true); answer != "" || !errors.Is(err, errNoAnswer) {
			t.Errorf("%s answers %q, %v", name, answer, err)
		}
	}
}
