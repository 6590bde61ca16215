package main

import (
	"strings"
	"testing"
)

// TestServeSharesStdin: standard input has one reader, also among the files of serve.
func TestServeSharesStdin(t *testing.T) {
	t.Parallel()
	got := runWith(t, secretsInEnv, "alice:x\n", split("serve --users-file - --enable-password-file -")...)
	if got.code != classUsage.exit() || !strings.Contains(got.err, "cannot both come from standard input\ntacacs_plus: hint: "+hintStdin) {
		t.Errorf("got %+v", got)
	}
}

// TestEmptySecrets: an empty secret is mostly the sign of a pipe that failed. Only an option on the
// command line says that it is meant.
func TestEmptySecrets(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"empty": "", "newline": "\n", "key": testKey})
	l := listen(t)
	for line, want := range map[string]string{
		"authenticate alice AT --password-file DIR/empty":          "the password of DIR/empty is empty",
		"authenticate alice AT -t pap --password-file DIR/newline": "the password of DIR/newline is empty",
		"authenticate alice AT --password-stdin":                   "the password of standard input is empty",
		"authenticate alice AT --password-file -":                  "the password of standard input is empty",
		"authenticate alice AT --key-file DIR/key --key-file -":    "the key of standard input is empty",
		"authenticate alice AT --key-file DIR/empty":               "the key of DIR/empty is empty",
		"authenticate alice AT --key ''":                           "the key of the command line is empty",
		"chpass alice AT --new-password-stdin":                     "the new password of standard input is empty",
		"chpass alice AT --new-password-file DIR/newline":          "the new password of DIR/newline is empty",
		"check alice AT --password-stdin":                          "the password of standard input is empty",
		"batch AT --password-file DIR/empty":                       "the password of DIR/empty is empty",
		"serve --user a:b --enable-password-file DIR/newline":      "the enable password of DIR/newline is empty",
	} {
		got := runWith(t, secretsInEnv, "", split(line, "AT", l.Addr().String(), "DIR", dir)...)
		if got.code != classUsage.exit() || !strings.HasPrefix(got.err, "tacacs_plus: "+strings.ReplaceAll(want, "DIR", dir)+"\n") {
			t.Errorf("%s: got %+v, want %s", line, got, want)
		}
	}
	checkUntouched(t, l)
	s := newScript(t, testKey, &authenReply{status: authenPass})
	got := runWith(t, secretsInEnv, "", split("authenticate alice AT -t pap --password ''", "AT", s.addr)...)
	var start authenStart
	if s.received(t, &start); got.code != classGranted.exit() || start.data != "" {
		t.Errorf("an empty password that is meant: %+v", got)
	}
}

// TestKeyEdges: what an editor puts at the beginning or the end of a key file counts, and is warned of.
func TestKeyEdges(t *testing.T) {
	t.Parallel()
	for content, warning := range map[string]string{
		testKey:            "",
		testKey + "\n":     "",
		testKey + "\r\n":   "",
		testKey + " \n":    "ends in white space, which counts",
		testKey + "\n\n":   "ends in white space, which counts",
		testKey + "\t":     "ends in white space, which counts",
		"\ufeff" + testKey: "begins with a byte order mark, which counts",
	} {
		dir := writeFiles(t, map[string]string{"key": content})
		key, _ := strings.CutSuffix(content, "\n")
		s := newScript(t, strings.TrimSuffix(key, "\r"), &authorResponse{status: authorPassAdd})
		got := runWith(t, nil, "", "authorize", "alice", s.addr, "--key-file", dir+"/key")
		want := ""
		if warning != "" {
			want = "tacacs_plus: warning: the key of " + dir + "/key " + warning + "\n"
		}
		if got.code != classGranted.exit() || got.err != want {
			t.Errorf("%q: got %+v, want %q", content, got, want)
		}
	}
}
