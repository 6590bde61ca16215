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
)

// buildBinary returns the path of the program, which is the test binary under another name (see TestMain).
// For another processor, make emulate sets EMULATED_PROGRAM to a script that runs it in an emulator.
func buildBinary(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	if script := os.Getenv("EMULATED_PROGRAM"); script != "" {
		self = script
	}
	binary := filepath.Join(t.TempDir(), "tacacs_plus")
	must(t, os.Symlink(self, binary))
	return binary
}

// processEnv returns the environment of a process without secrets.
func processEnv(more ...string) []string {
	for _, name := range []string{"PATH", "GORACE", "GOCOVERDIR"} {
		more = append(more, name+"="+os.Getenv(name))
	}
	return more
}

// A process is a running command. Its stdin is open until the test ends.
type process struct {
	*exec.Cmd
	in       io.WriteCloser
	out, err lockedBuffer
}

// startProcess starts a process with both secrets in its environment. AT in args is the address.
func startProcess(t *testing.T, addr string, env []string, args ...string) *process {
	t.Helper()
	p := newProcess(t, addr, env, args...)
	p.starts(t)
	return p
}

// newProcess is startProcess without the start.
func newProcess(t *testing.T, addr string, env []string, args ...string) *process {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience) // a server runs for several clients
	t.Cleanup(cancel)
	for i, arg := range args {
		args[i] = strings.ReplaceAll(arg, "AT", addr)
	}
	p := &process{Cmd: exec.CommandContext(ctx, args[0], args[1:]...)}
	p.Env = processEnv(append(env, "TACACS_PLUS_KEY="+testKey, "TACACS_PLUS_PWD="+testPassword)...)
	p.Stdout, p.Stderr, p.WaitDelay = &p.out, &p.err, patience
	in, err := p.StdinPipe()
	must(t, err)
	p.in = in
	t.Cleanup(func() { in.Close() })
	return p
}

func (p *process) starts(t *testing.T) {
	t.Helper()
	must(t, p.Start())
}

// startServe starts serve as a process and returns its address.
func startServe(t *testing.T, env, start []string, options ...string) (p *process, addr string) {
	t.Helper()
	serve := []string{"serve", "--listen", "127.0.0.1:0", "--user", "alice:" + testPassword}
	p = startProcess(t, "", env, slices.Concat(start, serve, options)...)
	waitUntil(t, "serve listens", func() bool { return listening().MatchString(p.err.String()) })
	return p, listening().FindStringSubmatch(p.err.String())[1]
}

// gets sends a signal to the process.
func (p *process) gets(t *testing.T, s syscall.Signal) {
	t.Helper()
	must(t, p.Process.Signal(s))
}

// ends waits for the process. The exit code is as in a shell.
func (p *process) ends() (syscall.WaitStatus, runResult) {
	_ = p.Wait()
	state := p.ProcessState.Sys().(syscall.WaitStatus)
	got := runResult{exitCode(state.ExitStatus()), p.out.String(), p.err.String()}
	if state.Signaled() {
		got.code = exitCode(128 + int(state.Signal()))
	}
	return state, got
}
