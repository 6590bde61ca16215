package main

import (
	"strings"
	"testing"
)

// TestSecretsShareStdin: stdin has one reader, the files of serve included.
func TestSecretsShareStdin(t *testing.T) {
	t.Parallel()
	got := runWith(t, secretsInEnv, "alice:x\n", split("serve --users-file - --enable-password-file -")...)
	if got.code != classUsage.exit() || !strings.Contains(got.err, "cannot both come from standard input\ntacacs_plus: hint: "+hintStdin) {
		t.Errorf("got %+v", got)
	}
}

// TestSecretsEmpty: an empty secret, for example from a failed pipe, is an error unless an option on the command line
// sets it.
func TestSecretsEmpty(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"empty": "", "newline": "\n", "key": testKey})
	l := listen(t)
	for line, want := range map[string]string{
		"authenticate alice AT --password-file DIR/empty":          "no password in DIR/empty",
		"authenticate alice AT -t pap --password-file DIR/newline": "no password in DIR/newline",
		"authenticate alice AT --password-stdin":                   "no password on standard input",
		"authenticate alice AT --password-file -":                  "no password on standard input",
		"authenticate alice AT --key-file DIR/key --key-file -":    "no key on standard input",
		"authenticate alice AT --key-file DIR/empty":               "no key in DIR/empty",
		"authenticate alice AT --key ''":                           "the key is empty",
		"chpass alice AT --new-password-stdin":                     "no new password on standard input",
		"chpass alice AT --new-password-file DIR/newline":          "no new password in DIR/newline",
		"check alice AT --password-stdin":                          "no password on standard input",
		"batch AT --password-file DIR/empty":                       "no password in DIR/empty",
		"serve --user a:b --enable-password-file DIR/newline":      "no enable password in DIR/newline",
	} {
		got := runWith(t, secretsInEnv, "", split(line, "AT", l.Addr().String(), "DIR", dir)...)
		if got.code != classUsage.exit() || !strings.HasPrefix(got.err, "tacacs_plus: "+strings.ReplaceAll(want, "DIR", dir)+"\n") {
			t.Errorf("%s: got %+v, want %s", line, got, want)
		}
	}
	checkUntouched(t, l)
	s := newScriptServer(t, testKey, &authenReply{status: authenPass})
	got := runWith(t, secretsInEnv, "", split("authenticate alice AT -t pap --password ''", "AT", s.addr)...)
	var start authenStart
	if s.received(t, &start); got.code != classGranted.exit() || start.data != "" {
		t.Errorf("an empty password on purpose: %+v", got)
	}
}

// TestKeyEdges: white space that an editor adds to a key file is part of the key, with a warning.
func TestKeyEdges(t *testing.T) {
	t.Parallel()
	for content, warning := range map[string]string{
		testKey:            "",
		testKey + "\n":     "",
		testKey + "\r\n":   "",
		testKey + " \n":    "has trailing white space, which is part of the key",
		testKey + "\n\n":   "has trailing white space, which is part of the key",
		testKey + "\t":     "has trailing white space, which is part of the key",
		"\ufeff" + testKey: "",
	} {
		dir := writeFiles(t, map[string]string{"key": content})
		key, _ := strings.CutSuffix(strings.TrimPrefix(content, "\ufeff"), "\n")
		s := newScriptServer(t, strings.TrimSuffix(key, "\r"), &authorResponse{status: authorPassAdd})
		got := runWith(t, nil, "", "authorize", "alice", s.addr, "--key-file", dir+"/key")
		want := ""
		if warning != "" {
			want = "tacacs_plus: warning: the key from " + dir + "/key " + warning + "\n"
		}
		if got.code != classGranted.exit() || got.err != want {
			t.Errorf("%q: got %+v, want %q", content, got, want)
		}
	}
}

// TestSecretsMissing: without a terminal there is no prompt.
func TestSecretsMissing(t *testing.T) {
	t.Parallel()
	onlyKey := map[string]string{"TACACS_PLUS_KEY": testKey}
	onlyPassword := map[string]string{"TACACS_PLUS_PWD": testPassword}
	for _, row := range []struct {
		command       string
		env           map[string]string
		message, hint string
	}{
		{"authenticate", nil, noKey, hintKey},
		{"authenticate", onlyPassword, noKey, hintKey},
		{"authenticate", map[string]string{"TACACS_PLUS_KEY": "", "TACACS_PLUS_PWD": testPassword}, noKey, hintKey},
		{"authorize", nil, noKey, hintKey},
		{"account", nil, noKey, hintKey},
		{"authenticate", onlyKey, noPassword, hintPassword},
		{"authenticate --unencrypted", nil, noPassword, hintPassword},
		{"enable", onlyKey, noPassword, hintPassword},
		{"chpass --new-password-stdin", onlyKey, noPassword, hintPassword},
	} {
		server := listen(t)
		got := runWith(t, row.env, "not to be read\n", split(row.command+" alice "+server.Addr().String())...)
		checkUsage(t, row.command, got, row.message, row.hint, false)
		checkUntouched(t, server)
	}
}

func TestKeyTooShort(t *testing.T) {
	t.Parallel()
	const warning = "tacacs_plus: warning: the key has 15 characters, RFC 8907 section 10.5.1 requires at least 16\n"
	key := strings.Repeat("ä", 15)
	for _, row := range []struct{ options, out, err string }{
		{"", "PASS\n", warning},
		{"--retries 3", "PASS\n", warning},
		{"-q", "", ""},
	} {
		server := newScriptServer(t, key, &authenReply{status: authenPass})
		got := runWith(t, map[string]string{"TACACS_PLUS_KEY": key, "TACACS_PLUS_PWD": testPassword}, "",
			split("authenticate alice "+server.addr+" -t pap "+row.options)...)
		if got != (runResult{classGranted.exit(), row.out, row.err}) {
			t.Errorf("%q: %+v", row.options, got)
		}
	}
	// All servers have the same key.
	refused := refusedAddr(t)
	got := runWith(t, map[string]string{"TACACS_PLUS_KEY": key, "TACACS_PLUS_PWD": testPassword}, "",
		"authenticate", "alice", refused+","+refused, "--retries", "2")
	if n := strings.Count(got.err, warning); got.code != classNetwork.exit() || n != 1 {
		t.Errorf("%d warnings: %+v", n, got)
	}
}

// TestSecretSources covers every source of a secret. The server accepts testKey only.
func TestSecretSources(t *testing.T) {
	t.Parallel()
	decoys := map[string]string{"TACACS_PLUS_KEY": "not the key, this is a decoy", "TACACS_PLUS_PWD": "decoy"}
	dir := writeFiles(t, map[string]string{
		"key": testKey, "key-lf": testKey + "\n", "key-crlf": testKey + "\r\n", "other": "the key of another server",
		"bare": testPassword, "lf": testPassword + "\n", "crlf": testPassword + "\r\n", "two": testPassword + "\n\n",
		"blank": " " + testPassword + " \n", "empty": "", "newline": "\n",
	})
	for _, row := range []struct {
		options  string
		env      map[string]string
		stdin    string
		password string
	}{
		{"", secretsInEnv, "x", testPassword},
		{"-k KEY --password PASSWORD", decoys, "x", testPassword},
		{"-k KEY --password PASSWORD", nil, "x", testPassword},
		{"--key=KEY --password=a=b", decoys, "x", "a=b"},
		{"-k decoy -k KEY --password decoy --password PASSWORD", decoys, "x", testPassword},
		{"-k KEY --password -x", decoys, "x", "-x"},
		{"-k KEY --password ''", decoys, "x", ""},
		{"-k KEY --password=", decoys, "x", ""},
		{"--key-file DIR/key --password-file DIR/bare", decoys, "x", testPassword},
		{"--key-file DIR/key-lf --password-file DIR/lf", decoys, "x", testPassword},
		{"--key-file DIR/key-crlf --password-file DIR/crlf", decoys, "x", testPassword},
		{"--key-file DIR/key --key-file DIR/other", decoys, "x", "decoy"},
		{"--password-file DIR/two", secretsInEnv, "x", testPassword + "\n"},
		{"--password-file DIR/blank", secretsInEnv, "x", " " + testPassword + " "},
		{"--key-file -", decoys, testKey + "\n", "decoy"},
		{"--password-stdin", secretsInEnv, "from a pipe\n", "from a pipe"},
		{"--password-file -", secretsInEnv, "from a pipe\r\n", "from a pipe"},
		{"--password_stdin", secretsInEnv, "x", "x"},
		{"--key-file DIR/key --password-stdin", nil, "two\nlines", "two\nlines"},
		{"--key-file - --password-file DIR/lf", nil, testKey, testPassword},
	} {
		server := newScriptServer(t, testKey, &authenReply{status: authenPass})
		args := split("authenticate alice SERVER -t pap "+row.options, "SERVER", server.addr, "DIR", dir, "KEY", testKey, "PASSWORD", testPassword)
		warning := ""
		if strings.TrimSpace(row.password) != row.password {
			warning = "has trailing white space, which is part of the password\n"
		}
		got := runWith(t, row.env, row.stdin, args...)
		if got.code != classGranted.exit() || got.out != "PASS\n" || !strings.HasSuffix(got.err, warning) || (got.err == "") != (warning == "") {
			t.Errorf("%s: %+v", row.options, got)
			continue
		}
		var start authenStart
		if server.received(t, &start); start.data != row.password {
			t.Errorf("%s: got the password %q, want %q", row.options, start.data, row.password)
		}
	}
}

// TestSecretsStaySecret: no output of a failed run contains a secret.
func TestSecretsStaySecret(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"key": testKey + "\n", "password": testPassword + "\n"})
	wrongKey := func() string {
		return newScriptServer(t, "another key, as long as the first", &authenReply{status: authenPass}).addr
	}
	answering := func(replies ...message) func() string {
		return func() string { return newScriptServer(t, testKey, replies...).addr }
	}
	refused := func() string { return refusedAddr(t) }
	for _, row := range []struct {
		line   string
		server func() string
		code   exitCode
	}{
		{"authenticate alice SERVER", refused, classNetwork.exit()},
		{"authenticate alice SERVER -t pap", answering(), classNetwork.exit()},
		{"authenticate alice SERVER -t pap", wrongKey, classProtocol.exit()},
		{"authenticate alice SERVER -t pap", answering(&authenReply{status: authenFail}), classDenied.exit()},
		{"authenticate alice SERVER -t pap -k KEY --password PASSWORD", answering(&authenReply{status: authenError}), classServer.exit()},
		{"authenticate alice SERVER -t chap", answering(&authenReply{status: authenFail}), classDenied.exit()},
		{"authenticate alice SERVER", answering(&authenReply{status: authenGetPass}, &authenReply{status: authenFail}), classDenied.exit()},
		{"authenticate alice SERVER", answering(&authenReply{status: authenGetPass}, &authenReply{status: authenGetPass}), classDenied.exit()},
		{"chpass alice SERVER --new-password-file DIR/password", answering(&authenReply{status: authenGetData}, &authenReply{status: authenFail}), classDenied.exit()},
		{"authorize alice SERVER", answering(&authorResponse{status: authorFail}), classDenied.exit()},
		{"account alice SERVER", answering(&acctReply{status: acctError}), classServer.exit()},
		{"authenticate alice SERVER -k KEY --key-file DIR/key", refused, classUsage.exit()},
		{"authenticate alice SERVER --key KEY --password PASSWORD -t foo", refused, classUsage.exit()},
		{"authenticate alice SERVER --kye=KEY --passwrod=PASSWORD", refused, classUsage.exit()},
		{"authenticate alice SERVER --password PASSWORD --password-file DIR/password", refused, classUsage.exit()},
	} {
		for _, output := range []string{"", "-q", "-v", "--json", "-d", "-v -d"} {
			args := split(row.line+" "+output, "SERVER", row.server(), "DIR", dir, "KEY", testKey, "PASSWORD", testPassword)
			got := runWith(t, secretsInEnv, "", args...)
			if got.code != row.code {
				t.Errorf("%s %s: %+v", row.line, output, got)
			}
			if s := secretIn(got); s != "" {
				t.Errorf("%s %s shows %s: %+v", row.line, output, s, got)
			}
		}
	}
	// The search finds secrets that are shown.
	server := answering(&authenReply{status: authenGetPass}, &authenReply{status: authenFail})()
	if got := runWith(t, secretsInEnv, "", "authenticate", "alice", server, "-d", "--show-secrets"); secretIn(got) == "" {
		t.Errorf("--show-secrets hides secrets: %+v", got)
	}
}

// TestKeyCandidates: if the first of several key files does not fit, the hint names the one that does.
func TestKeyCandidates(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"old": "the key before the last change", "new": testKey, "third": "the key of another server"})
	server := newScriptServer(t, testKey, &authenReply{status: authenPass})
	got := runWith(t, secretsInEnv, "", split("authenticate alice SERVER -t pap --key-file DIR/old --key-file DIR/third --key-file DIR/new",
		"SERVER", server.addr, "DIR", dir)...)
	want := runResult{classProtocol.exit(), "", "tacacs_plus: the reply of " + server.addr + " cannot be read with this key (" + errBodyLength.Error() + ")\n" +
		"tacacs_plus: hint: the key of " + dir + "/new fits this reply\n"}
	if got != want {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}
