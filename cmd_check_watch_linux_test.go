package main

import (
	"io"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// TestCheckIntervalAtATerminal: a terminal shows the state of the last round below the changes, until the end.
func TestCheckIntervalAtATerminal(t *testing.T) {
	t.Parallel()
	s, refused := serveWith(t), refusedAddr(t)
	for _, tt := range []struct{ options, shown string }{
		{"", `\r\x1b\[K2\S+Z ` + s.addr + `: OK\r\n2\S+Z ` + refused + `: FAILED: [^\r]*\r\n\d\d:\d\d:\d\dZ round 1: 1 of 2 OK, failed: [^\r]*\r\x1b\[K\d\d:\d\d:\d\dZ round 2: 1 of 2 OK, failed: [^\r]*\r\x1b\[K`},
		{" -H " + s.addr + "," + refused + ",127.0.0.2:1,127.0.0.3:1", `[^\r]*\r\x1b\[K(?:2[^\r]*\r\n){4}[^\r]{57}\.\.\.\r\x1b\[K[^\r]{57}\.\.\.\r\x1b\[K`},
		{" --json", `\{[^\r]*\r\n\{[^\r]*\r\n`},
		{" -q", ``},
	} {
		p := openPTY(t)
		code := run(t.Context(), split("check --interval 100ms --count 2 -H "+s.addr+","+refused+tt.options),
			stdio{in: strings.NewReader(""), out: p.program, err: io.Discard, env: func(name string) string { return secretsInEnv[name] }})
		if _, err := p.program.WriteString("[end]"); err != nil {
			t.Fatal(err)
		}
		if got := readUntil(t, p.person, "[end]"); code != classNetwork.exit() || !regexp.MustCompile(`^`+tt.shown+`\[end\]$`).MatchString(got) {
			t.Errorf("%s: %d, %q", tt.options, int(code), got)
		}
	}
}

// TestCheckIntervalEndsBySignal: Ctrl-C prints the totals, then ends the process.
func TestCheckIntervalEndsBySignal(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	p := startProcess(t, s.addr, nil, buildBinary(t), "check", "AT", "--interval", "1h")
	waitUntil(t, "the first round", func() bool { return strings.HasSuffix(p.out.String(), ": OK\n") })
	p.gets(t, syscall.SIGINT)
	state, got := p.ends()
	if !state.Signaled() || state.Signal() != syscall.SIGINT || got.err != "tacacs_plus: "+s.addr+": OK in 1 of 1 round, 0 changes\ntacacs_plus: interrupted\n" {
		t.Errorf("ends with %+v", got)
	}
}
