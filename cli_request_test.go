package main

import (
	"slices"
	"strings"
	"testing"
)

// TestRequestArgumentsInOrder: -c takes one value, the words after it are arguments too.
func TestRequestArgumentsInOrder(t *testing.T) {
	t.Parallel()
	want := []string{"service=shell", "cmd=show", "cmd-arg=version"}
	for _, line := range []string{
		"-u alice -H SERVER authorize -c service=shell cmd=show cmd-arg=version",
		"authorize alice SERVER -c service=shell cmd=show cmd-arg=version",
		"authorize alice SERVER --cmds=service=shell -c cmd=show -c cmd-arg=version",
		"authorize -c service=shell alice SERVER cmd=show -- cmd-arg=version",
		"authorize alice SERVER service=shell cmd=show cmd-arg=version",
	} {
		server := newScriptServer(t, testKey, &authorResponse{status: authorPassAdd})
		got := runWith(t, secretsInEnv, "", split(line, "SERVER", server.addr)...)
		if got != (runResult{classGranted.exit(), "PASS_ADD\n", ""}) {
			t.Errorf("%s: %+v", line, got)
			continue
		}
		var request authorRequest
		if server.received(t, &request); !slices.Equal(request.args, want) {
			t.Errorf("%s\nasks for %q\nnot %q", line, request.args, want)
		}
	}
}

// TestRequestLimits: a value of the largest size is sent.
func TestRequestLimits(t *testing.T) {
	t.Parallel()
	pass, passAdd, success := &authenReply{status: authenPass}, &authorResponse{status: authorPassAdd}, &acctReply{status: acctSuccess}
	for _, row := range []struct {
		line  string
		reply message
	}{
		{"authenticate " + long(255) + " SERVER -t pap", pass},
		{"authenticate alice SERVER -t pap -P " + long(255), pass},
		{"authenticate alice SERVER -t pap -r " + long(255), pass},
		{"authenticate alice SERVER -t pap --password " + long(255), pass},
		{"authenticate alice SERVER -t chap --chap-challenge " + strings.Repeat("ab", 238), pass},
		{"authenticate alice SERVER -t pap -l 15 --timeout 24h --retries 1000", pass},
		{"authenticate älice SERVER -t pap", pass},
		{"authenticate alice SERVER -t pap -k " + long(16), pass},
		{"authorize alice SERVER service=shell cmd=" + long(251), passAdd},
		{"authorize alice SERVER service=ppp" + strings.Repeat(" a=b", 254), passAdd},
		{"authorize alice SERVER service*ppp a* b=", passAdd},
		{"account alice SERVER service=ppp" + strings.Repeat(" a=b", 251), success},
	} {
		key := testKey
		if strings.Contains(row.line, "-k") {
			key = long(16)
		}
		server := newScriptServer(t, key, row.reply)
		if got := runWith(t, secretsInEnv, "", split(row.line, "SERVER", server.addr)...); got.code != classGranted.exit() || got.err != "" {
			t.Errorf("%s: %+v", row.line, got)
		}
	}
}
