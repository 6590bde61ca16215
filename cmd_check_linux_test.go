package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestCheckOutputMode: the report has the mode of a new file, even if it replaces one. The umask belongs to the process, so
// the test does not run in parallel.
func TestCheckOutputMode(t *testing.T) {
	s := serveWith(t)
	for umask, want := range map[int]os.FileMode{0o000: 0o666, 0o002: 0o664, 0o022: 0o644, 0o077: 0o600} {
		file := filepath.Join(t.TempDir(), "tacacs.prom")
		for range 2 {
			before := syscall.Umask(umask)
			got := s.ask(t, "check AT --prometheus --output "+file)
			syscall.Umask(before)
			info, err := os.Stat(file)
			if got != (runResult{}) || err != nil || info.Mode() != want {
				t.Errorf("umask %03o: got %+v, %v, %v", umask, got, err, info)
			}
			if err := os.Chmod(file, 0o400); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestCheckOutputIsNoFile: a link stays a link, and a pipe stays a pipe.
func TestCheckOutputIsNoFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(os.Mkdir(at("real"), 0o755), os.WriteFile(at("real/file"), []byte("before"), 0o600), os.Symlink("real/file", at("link")),
		os.Symlink("link", at("second")), os.Symlink("real/none", at("dangling"))); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"link": "real/file", "second": "real/file", "dangling": "real/none"} {
		if err := replaceFile(at(name), name); err != nil {
			t.Error(err)
		}
		text, err := os.ReadFile(at(target))
		if info, wrong := os.Lstat(at(name)); err != nil || wrong != nil || string(text) != name || info.Mode()&os.ModeSymlink == 0 {
			t.Errorf("%s: %q, %v, %v", name, text, err, info.Mode())
		}
	}
	if entries, err := os.ReadDir(at("real")); len(entries) != 2 {
		t.Errorf("%v, %v", entries, err)
	}
	// A pipe is not replaced, and a pipe without a reader is an error.
	if err := syscall.Mkfifo(at("pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := replaceFile(at("pipe"), "unread"); classOf(err) != classUsage || !strings.Contains(err.Error(), "write the report: ") {
		t.Errorf("no reader: %v", err)
	}
	pipe, err := os.OpenFile(at("pipe"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	if err := replaceFile(at("pipe"), "read"); err != nil {
		t.Error(err)
	}
	text := make([]byte, 9)
	n, err := pipe.Read(text)
	if info, wrong := os.Lstat(at("pipe")); wrong != nil || info.Mode()&os.ModeNamedPipe == 0 || string(text[:n]) != "read" {
		t.Errorf("got %q, %v of %v", text[:n], err, info.Mode())
	}
}
