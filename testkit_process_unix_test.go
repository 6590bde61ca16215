//go:build unix

package main

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// buildBinary gives a file that is the program: the test binary by another name, see TestMain. For a
// processor that is not this machine's, make emulate names a script that runs it by an emulator.
func buildBinary(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if script := os.Getenv("EMULATED_PROGRAM"); script != "" {
		self = script
	}
	binary := filepath.Join(t.TempDir(), "tacacs_plus")
	if err := os.Symlink(self, binary); err != nil {
		t.Fatal(err)
	}
	return binary
}

// processEnv is the environment of a process without secrets.
func processEnv(more ...string) []string {
	return append([]string{"PATH=" + os.Getenv("PATH"), "GORACE=" + os.Getenv("GORACE")}, more...)
}

// A process is a command line that the system runs; its standard input is open until the test ends.
type process struct {
	*exec.Cmd
	in       io.WriteCloser
	out, err lockedBuffer
}

// startProcess starts one with both secrets in its environment; AT in its words is the address.
func startProcess(t *testing.T, addr string, env []string, words ...string) *process {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience) // it may serve several others
	t.Cleanup(cancel)
	for i, w := range words {
		words[i] = strings.ReplaceAll(w, "AT", addr)
	}
	p := &process{Cmd: exec.CommandContext(ctx, words[0], words[1:]...)}
	p.Env = processEnv(append(env, "TACACS_PLUS_KEY="+testKey, "TACACS_PLUS_PWD="+testPassword)...)
	p.Stdout, p.Stderr, p.WaitDelay = &p.out, &p.err, patience
	in, err := p.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.in = in
	t.Cleanup(func() { in.Close() })
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

// startServe starts serve as a process that watches its signals, and gives its address.
func startServe(t *testing.T, env, start []string, options ...string) (p *process, addr string) {
	t.Helper()
	serve := []string{"serve", "--listen", "127.0.0.1:0", "--user", "alice:" + testPassword}
	p = startProcess(t, "", env, slices.Concat(start, serve, options)...)
	waitUntil(t, "serve listens", func() bool { return listening.MatchString(p.err.String()) })
	time.Sleep(settled)
	return p, listening.FindStringSubmatch(p.err.String())[1]
}

// settled is more than a process takes to watch its signals, or to act on one.
const settled = 100 * unwatched

// gets sends a signal.
func (p *process) gets(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// ends waits for the end. The exit code is what a shell sees.
func (p *process) ends() (syscall.WaitStatus, runResult) {
	_ = p.Wait()
	state := p.ProcessState.Sys().(syscall.WaitStatus)
	got := runResult{exitCode(state.ExitStatus()), p.out.String(), p.err.String()}
	if state.Signaled() {
		got.code = exitCode(128 + int(state.Signal()))
	}
	return state, got
}
