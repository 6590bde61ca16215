//go:build unix

package main

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestAnsiblePipe: a pipe is not read, since that can block.
func TestAnsiblePipe(t *testing.T) {
	t.Parallel()
	pipe := filepath.Join(t.TempDir(), "args")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan runResult)
	go func() { done <- runWith(t, nil, "", pipe) }()
	select {
	case got := <-done:
		if got.code != classUsage.exit() || !strings.HasPrefix(got.err, "tacacs_plus: unknown command ") {
			t.Errorf("got %+v", got)
		}
	case <-time.After(patience):
		t.Error("it reads from the pipe")
	}
}
