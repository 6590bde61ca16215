package main

import (
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestCheckOutOfFiles: without file descriptors the state of a server is UNKNOWN, and the class local.
func TestCheckOutOfFiles(t *testing.T) {
	t.Parallel()
	if os.Getenv("EMULATED_PROGRAM") != "" {
		t.Skip("the emulator needs descriptors of its own")
	}
	s := serveWith(t)
	binary := buildBinary(t)
	script := filepath.Join(t.TempDir(), "script")
	text := "#!/bin/sh\nulimit -n $1\nshift\nexec \"$@\"\n"
	if err := os.WriteFile(script, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	limit := 24
	limited := func(args ...string) runResult {
		_, got := startProcess(t, "", nil, append([]string{script, strconv.Itoa(limit), binary}, args...)...).ends()
		return got
	}
	got := limited("check", s.addr, "--nagios")
	for ; got.code == 0 && limit > 4; got = limited("check", s.addr, "--nagios") {
		limit--
	}
	if !strings.Contains(got.out, "too many open files") || got.code != nagiosUnknown || !strings.HasPrefix(got.out, "TACACS+ UNKNOWN: ") {
		t.Errorf("got %+v", got)
	}
	got = limited("check", s.addr, "--json")
	if got.code != 2 || !strings.Contains(got.out, `"error":{"class":"local",`) {
		t.Errorf("got %+v", got)
	}
	got = limited("check", "tac1.test", "--nagios")
	if got.code != nagiosUnknown || !strings.Contains(got.out, "resolve tac1.test: too many open files") {
		t.Errorf("got %+v", got)
	}
	got = limited("authenticate", "alice", s.addr)
	if got.code != 2 || !strings.Contains(got.err, "too many open files\n") || !strings.Contains(got.err, "hint: this host lacks a resource") {
		t.Errorf("got %+v", got)
	}
}

// TestCheckReaderGone: check --interval ends when the reader of its output has gone, also between two changes.
func TestCheckReaderGone(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	go func(r *os.File) {
		r.Read(make([]byte, 1))
		r.Close()
	}(r)
	var stderr lockedBuffer
	began := time.Now()
	code := run(t.Context(), []string{"check", s.addr, "--interval", "1h"}, stdio{in: strings.NewReader(""), out: w, err: &stderr, env: func(name string) string { return secretsInEnv[name] }})
	if took := time.Since(began); took > patience/4 || code != 2 || !strings.HasSuffix(stderr.String(), "tacacs_plus: write the result: the reader has closed the pipe\n") || !strings.Contains(stderr.String(), "OK in 1 of 1 round") {
		t.Errorf("%d after %v: %s", int(code), took, &stderr)
	}
	// A reader that stays, and output to something else than a pipe, change nothing.
	r, w, err = os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	go io.Copy(io.Discard, r)
	defer r.Close()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for _, out := range []*os.File{w, null} {
		code := run(t.Context(), []string{"check", s.addr, "--interval", "300ms", "--count", "3"}, stdio{in: strings.NewReader(""), out: out, err: io.Discard, env: func(name string) string { return secretsInEnv[name] }})
		if code != 0 {
			t.Errorf("exit code %d", int(code))
		}
	}
	w.Close()
}
