package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestCheckOutputMode: the report has the mode of any new file, also where another one was there.
// The umask is the whole process's, so this test has it to itself.
func TestCheckOutputMode(t *testing.T) {
	s := serveWith(t)
	for umask, want := range map[int]os.FileMode{0o000: 0o666, 0o002: 0o664, 0o022: 0o644, 0o077: 0o600} {
		file := filepath.Join(t.TempDir(), "tacacs.prom")
		for range 2 {
			before := syscall.Umask(umask)
			got := s.ask(t, "check AT --prometheus --output "+file)
			syscall.Umask(before)
			info, err := os.Stat(file)
			if got != (outcome{}) || err != nil || info.Mode() != want {
				t.Errorf("umask %03o: got %+v, %v, %v", umask, got, err, info)
			}
			if err := os.Chmod(file, 0o400); err != nil {
				t.Fatal(err)
			}
		}
	}
}
