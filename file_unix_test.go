//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFileOfSecretsIsPrivate: the files of --keylog and --record end up readable by their owner only, also through links of
// this user.
func TestFileOfSecretsIsPrivate(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"old": "# old\n"})
	in := func(name string) string { return filepath.Join(dir, name) }
	if err := os.Chmod(in("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(in("sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"link": "old", "link2": "sub/link3", "sub/link3": "../old", "dangling": "sub/new", "loop": "loop"} {
		if err := os.Symlink(target, in(name)); err != nil {
			t.Fatal(err)
		}
	}
	s := serveWith(t, "--tls", "--write-cacert", in("ca.pem"))
	logIn := func(keyLog string) runResult {
		return runWith(t, map[string]string{"TACACS_PLUS_PWD": testPassword}, "", "authenticate", "alice", s.addr, "--tls", "--cacert", in("ca.pem"), "--keylog", keyLog)
	}
	for name, file := range map[string]string{"new": "new", "old": "old", "link": "old", "link2": "old", "dangling": "sub/new"} {
		if file == "old" {
			if err := os.WriteFile(in("old"), []byte("# old\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(in("old"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		logIn(in(name)).check(t, 0, "PASS\n", "")
		b, err := os.ReadFile(in(file))
		info, _ := os.Stat(in(file))
		if err != nil || info.Mode().Perm() != 0o600 || !strings.Contains(string(b), "CLIENT_TRAFFIC_SECRET_0") || strings.HasPrefix(string(b), "# old\n") != (file == "old") {
			t.Errorf("%s: %v, %v, %s", name, err, info, b)
		}
	}
	logIn(in("loop")).check(t, 2, "", "tacacs_plus: open the key log: .*loop: too many symbolic links\n")

	if err := os.WriteFile(in("old"), appendPcapHeader(nil), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(in("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	for i, mode := range []os.FileMode{0o644, 0o600} {
		record, err := openRecord(t.Context(), in("link"), i == 1)
		if (err == nil) != (i == 1) {
			t.Fatal(err)
		}
		if info, _ := os.Stat(in("old")); info.Size() != pcapHeaderLen || info.Mode().Perm() != mode {
			t.Errorf("the record is %v", info)
		}
		if err == nil {
			record.disk.(*os.File).Close()
		}
	}
}

// TestFileOfAnotherUser: links of another user are not followed, and secrets are not written to the user's files.
func TestFileOfAnotherUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file to another user")
	}
	dir := writeFiles(t, map[string]string{"victim": "keep\n", "theirs": "keep\n"})
	in := func(name string) string { return filepath.Join(dir, name) }
	for name, target := range map[string]string{"link": "victim", "dangling": "nothing", "mine": "link"} {
		if err := os.Symlink(target, in(name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"link", "dangling", "theirs"} {
		if err := os.Lchown(in(name), 12345, 12345); err != nil {
			t.Fatal(err)
		}
	}
	s := serveWith(t)
	for name, why := range map[string]string{"link": "link is a symbolic link of another user", "dangling": "dangling is a symbolic link of another user",
		"mine": "link is a symbolic link of another user", "theirs": "theirs belongs to another user"} {
		for line, doing := range map[string]string{
			"authenticate alice AT --tls --insecure --keylog FILE":                "open the key log",
			"relay AT --listen 127.0.0.1:0 --record FILE":                         "make the record",
			"check AT --prometheus --output FILE":                                 "write the report",
			"serve --tls --listen 127.0.0.1:0 --user alice:x --write-cacert FILE": "generate a certificate",
		} {
			if name == "theirs" && !strings.Contains(line, "keylog") && !strings.Contains(line, "record") {
				continue // these hold no secrets
			}
			env := map[string]string{"TACACS_PLUS_PWD": testPassword, "TACACS_PLUS_KEY": testKey}
			got := runWith(t, env, "", split(line, "AT", s.addr, "FILE", in(name))...)
			if want := "tacacs_plus: " + doing + ": " + in(why) + "\n"; got.code != classUsage.exit() || !strings.HasSuffix(got.err, want) {
				t.Errorf("%s, %s: got %+v, want %s", name, line, got, want)
			}
		}
	}
	for _, name := range []string{"victim", "theirs"} {
		if b, err := os.ReadFile(in(name)); err != nil || string(b) != "keep\n" {
			t.Errorf("%s has %q, %v", name, b, err)
		}
	}
	if _, err := os.Lstat(in("nothing")); err == nil {
		t.Error("a link of another user was followed to a new file")
	}
}
