//go:build unix

package main

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestProfilePipe: a pipe as profile is not opened, since that can block.
func TestProfilePipe(t *testing.T) {
	t.Parallel()
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan runResult, 1)
	go func() { done <- runWith(t, nil, "", "version", "@"+pipe) }()
	select {
	case got := <-done:
		if got.code != classUsage.exit() || !strings.HasSuffix(got.err, pipe+" is not a file\n") {
			t.Errorf("got %+v", got)
		}
	case <-time.After(patience):
		t.Error("it reads from the pipe")
	}
}
