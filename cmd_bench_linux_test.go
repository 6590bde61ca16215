package main

import (
	"io"
	"os"
	"strings"
	"testing"
)

// TestBenchProgressOnTerminal: only a terminal as standard error shows the progress, which is cleared at the end.
func TestBenchProgressOnTerminal(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	// bench returns what it writes to w, which is read from r.
	bench := func(options string, r, w *os.File) string {
		code := run(t.Context(), split("bench alice AT -t pap -n 5 "+options, "AT", s.addr),
			stdio{in: strings.NewReader(""), out: io.Discard, err: w, env: func(name string) string { return secretsInEnv[name] }})
		if code != classGranted.exit() {
			t.Errorf("ends with %d", int(code))
		}
		w.WriteString("[end]")
		return readUntil(t, r, "[end]")
	}
	for _, tt := range []struct{ options, want string }{
		{"", "\r\x1b[K[end]"},
		{"-q", "[end]"},
	} {
		p := openPTY(t)
		// A slow run shows a line before.
		if got := bench(tt.options, p.person, p.program); !strings.HasSuffix(got, tt.want) || tt.options == "-q" && got != tt.want {
			t.Errorf("%q: the terminal shows %q", tt.options, got)
		}
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if got := bench("", r, w); got != "[end]" {
		t.Errorf("a pipe gets %q", got)
	}
}
