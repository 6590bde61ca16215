package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
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

// TestRelayRecordToSpecialFile: --record writes to a named pipe, and to a file or a pipe that is open, such as /dev/stdout.
func TestRelayRecordToSpecialFile(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	fifo := filepath.Join(t.TempDir(), "fifo")
	must(t, syscall.Mkfifo(fifo, 0o600))
	for _, options := range []string{"", "--append"} {
		read, write, err := os.Pipe()
		must(t, err)
		named, err := os.OpenFile(fifo, os.O_RDWR, 0)
		must(t, err)
		regular, err := os.Create(filepath.Join(t.TempDir(), "file"))
		must(t, err)
		for _, tt := range []struct {
			what, record string
			from         io.Reader
		}{
			{"named pipe", fifo, named},
			{"pipe", fmt.Sprintf("/dev/fd/%d", write.Fd()), read},
			{"regular file", fmt.Sprintf("/proc/self/fd/%d", regular.Fd()), regular},
		} {
			r := relayTo(t, s.addr, append(split(options), "--record", tt.record)...)
			if got := r.asDevice(t, "authenticate alice AT -t pap"); got.code != 0 {
				t.Errorf("%s: got %+v", tt.what, got)
			}
			r.relayed(t)
			record := make([]byte, 1<<16)
			n, err := tt.from.Read(record)
			if frames := recordedFrames(t, record[:n]); err != nil || len(frames) != 8 {
				t.Errorf("%s %s: %d frames, %v", tt.what, options, len(frames), err)
			}
		}
		// What the file has now is not lost.
		got := runWith(t, secretsInEnv, "", "relay", s.addr, "--listen", "127.0.0.1:0", "--record", fmt.Sprintf("/proc/self/fd/%d", regular.Fd()))
		if got.code != 2 || !strings.Contains(got.err, " exists\n") {
			t.Errorf("a second time: got %+v", got)
		}
		for _, f := range []*os.File{read, write, named, regular} {
			f.Close()
		}
	}
}
