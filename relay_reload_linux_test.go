package main

import (
	"strings"
	"syscall"
	"testing"
)

// TestRelayHangupAtTerminal: SIGHUP ends a relay at a terminal, unless a service manager has started it.
func TestRelayHangupAtTerminal(t *testing.T) {
	t.Parallel()
	for _, env := range [][]string{nil, {"NOTIFY_SOCKET=/nowhere/notify"}} {
		term := openPTY(t)
		p := newProcess(t, "", env, buildBinary(t), "relay", "--listen", "127.0.0.1:0", "127.0.0.1:1")
		p.Stdin = term.program
		p.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		p.starts(t)
		p.relays(t)
		if env == nil {
			p.gets(t, syscall.SIGHUP)
		} else {
			p.reloads(t, 1)
			p.gets(t, syscall.SIGTERM)
		}
		if _, got := p.ends(); got.code != 0 || strings.Contains(got.err, "reloaded") != (env != nil) {
			t.Errorf("%v: it ends with %+v", env, got)
		}
	}
}
