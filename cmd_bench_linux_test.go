package main

import (
	"io"
	"os"
	"strings"
	"testing"
)

// TestBenchProgress has a terminal as standard error, which shows how far the run is, and what shows
// nothing.
func TestBenchProgress(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	// progress runs bench for a little more than a second; what it writes to w is read from r.
	progress := func(t *testing.T, options string, r, w *os.File) string {
		code := run(t.Context(), split("bench alice AT -t pap --rate 20 "+options, "AT", s.addr),
			stdio{in: strings.NewReader(""), out: io.Discard, err: w, env: func(name string) string { return secretsInEnv[name] }})
		if code != classGranted.exit() {
			t.Errorf("ends with %d", int(code))
		}
		w.WriteString("[end]")
		return readUntil(t, r, "[end]")
	}
	for _, tt := range []struct{ options, shown string }{
		{"--duration 1200ms", " requests, 1s of 1.2s, "},
		{"-n 24", " of 24 requests, "},
		{"-n 24 -q", ""},
	} {
		t.Run(tt.options, func(t *testing.T) {
			t.Parallel()
			p := openPTY(t)
			got := progress(t, tt.options, p.person, p.program)
			if tt.shown == "" && got == "[end]" {
				return
			}
			if tt.shown == "" || !strings.HasPrefix(got, "\r") || !strings.Contains(got, tt.shown) || !strings.HasSuffix(got, " in the last second\x1b[K\r\x1b[K[end]") {
				t.Errorf("the terminal shows %q", got)
			}
		})
	}
	t.Run("a pipe", func(t *testing.T) {
		t.Parallel()
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		defer w.Close()
		if got := progress(t, "-n 24", r, w); got != "[end]" {
			t.Errorf("a pipe gets %q", got)
		}
	})
}
