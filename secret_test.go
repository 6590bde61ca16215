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
