package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unicode/utf16"
)

// TestSecretsEmpty: an empty secret, for example from a failed pipe, is an error unless an option on the command line
// sets it.
func TestSecretsEmpty(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"empty": "", "newline": "\n", "mark": "\ufeff\n", "key": testKey})
	l := listen(t)
	for line, want := range map[string]string{
		"authenticate alice AT --password-file DIR/empty":          "no password in DIR/empty",
		"authenticate alice AT -t pap --password-file DIR/newline": "no password in DIR/newline",
		"authenticate alice AT --password-stdin":                   "no password on standard input",
		"authenticate alice AT --password-file -":                  "no password on standard input",
		"authenticate alice AT --key-file DIR/key --key-file -":    "no key on standard input",
		"authenticate alice AT --password-file DIR/mark":           "no password in DIR/mark",
		"serve --users-file DIR/mark":                              "no list of users in DIR/mark",
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
	for name, what := range map[string]string{"TACACS_PLUS_KEY": "key", "TACACS_PLUS_PWD": "password"} {
		env := map[string]string{"TACACS_PLUS_KEY": testKey, "TACACS_PLUS_PWD": testPassword}
		env[name] = "\ufeff\r\n"
		got := runWith(t, env, "", "authenticate", "alice", l.Addr().String())
		got.check(t, 2, "", "tacacs_plus: no "+what+" in "+name+"\n")
	}
	checkUntouched(t, l)
	s := newScriptServer(t, testKey, &authenReply{status: authenPass})
	got := runWith(t, secretsInEnv, "", split("authenticate alice AT -t pap --password ''", "AT", s.addr)...)
	var start authenStart
	if s.received(t, &start); got.code != classGranted.exit() || start.data != "" {
		t.Errorf("an empty password on purpose: %+v", got)
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
	equal(t, got, want)
}

// TestSecretClean: the rule for secrets is the same for each source of the client.
func TestSecretClean(t *testing.T) {
	t.Parallel()
	const mark = "\ufeff"
	for _, source := range []struct{ options, env, what, from string }{
		{"-k VALUE", "", "key", "the command line"}, {"--key-file DIR/value", "", "key", "DIR/value"},
		{"--key-file -", "", "key", "standard input"}, {"", "TACACS_PLUS_KEY", "key", "TACACS_PLUS_KEY"},
		{"--password VALUE", "", "password", "the command line"}, {"--password-file DIR/value", "", "password", "DIR/value"},
		{"--password-stdin", "", "password", "standard input"}, {"", "TACACS_PLUS_PWD", "password", "TACACS_PLUS_PWD"},
		{"--new-password-file DIR/value", "", "new password", "DIR/value"}, {"--new-password-stdin", "", "new password", "standard input"},
	} {
		for written, want := range map[string]string{
			testKey: testKey, testKey + "\n": testKey, testKey + "\r\n": testKey, mark + testKey: testKey, mark + testKey + "\r\n": testKey,
			testKey + "\n\n": testKey + "\n", testKey + "\t": testKey + "\t", testKey + "\r": testKey + "\r", testKey + " \n": testKey + " ", testKey + "\n" + mark: testKey + "\n" + mark,
		} {
			dir := writeFiles(t, map[string]string{"value": written})
			env := map[string]string{"TACACS_PLUS_KEY": testKey, "TACACS_PLUS_PWD": testPassword}
			if env[source.env] != "" {
				env[source.env] = written
			}
			args, replies, secret := "authenticate alice AT -t pap ", []message{passed}, testKey
			switch source.what {
			case "key":
				secret = want
			case "new password":
				args, replies = "chpass alice AT ", []message{&authenReply{status: authenGetData}, &authenReply{status: authenGetPass}, passed}
			}
			s := newScriptServer(t, secret, replies...)
			got := runWith(t, env, written, split(args+source.options, "AT", s.addr, "DIR", dir, "VALUE", written)...)
			warning := ""
			if strings.TrimSpace(want) != want {
				warning = "tacacs_plus: warning: the " + source.what + " from " + strings.ReplaceAll(source.from, "DIR", dir) +
					" has trailing white space, which is part of the " + source.what + "\n"
			}
			if got.code != 0 || got.err != warning {
				t.Errorf("%+v, %q: got %+v", source, written, got)
				continue
			}
			sent := want
			switch source.what {
			case "password":
				var start authenStart
				s.received(t, &start)
				sent = start.data
			case "new password":
				var answer authenContinue
				s.received(t, new(authenStart))
				s.received(t, &answer) // the old password
				s.received(t, &answer)
				sent = answer.userMsg
			}
			if sent != want {
				t.Errorf("%+v, %q: sent %q, want %q", source, written, sent, want)
			}
		}
	}
}

// TestSecretCleanOfOtherCommands: serve, relay and decode read secrets as the client does.
func TestSecretCleanOfOtherCommands(t *testing.T) {
	t.Parallel()
	const mark = "\ufeff"
	dir := writeFiles(t, map[string]string{"users": mark + "bob:x y\r\ncarol:pw \n", "enable": mark + "secret\r\n", "key": mark + testKey + "\r\n", "list": mark + testKey + "\r\nother \n"})
	s := serveWith(t, split("--users-file DIR/users --enable-password-file DIR/enable --key-file 127.0.0.0/8=DIR/key --user dave:VALUE", "DIR", dir, "VALUE", "pw\n")...)
	for _, login := range [][]string{{"authenticate", "bob", "x y"}, {"authenticate", "carol", "pw "}, {"authenticate", "dave", "pw"}, {"enable", "bob", "secret"}} {
		got := runWith(t, map[string]string{"TACACS_PLUS_KEY": testKey, "TACACS_PLUS_PWD": "x"}, "", login[0], login[1], s.addr, "--password", login[2])
		if got.code != 0 {
			t.Errorf("serve, %q: got %+v", login, got)
		}
	}
	if want := "tacacs_plus: warning: the password of carol has trailing white space, which is part of the password\n"; strings.Count(s.stderr.String(), "warning: ") != 1 || !strings.Contains(s.stderr.String(), want) {
		t.Errorf("serve: stderr is\n%s", s.stderr)
	}
	r := serving(t, new(lockedBuffer), "relay", s.addr, "--listen", "127.0.0.1:0", "--device-key-file", filepath.Join(dir, "key"))
	runWith(t, map[string]string{"TACACS_PLUS_KEY": testKey, "TACACS_PLUS_PWD": "x y"}, "", "authenticate", "bob", r.addr).check(t, 0, "PASS\n", "")

	tape := newCaptureBuilder()
	tape.openConn(deviceAddr, serverAddr, testKey).session(1, papStart("alice", testPassword), passed).close()
	for options, stderr := range map[string]string{
		"--key-file DIR/key": "", "--key VALUE": "", "": "",
		"--key-list DIR/list": "tacacs_plus: warning: trailing white space in DIR/list is part of 1 key\n",
	} {
		env := map[string]string{"TACACS_PLUS_KEY": mark + testKey + "\n"}
		got := runWith(t, env, string(tape.pcap()), split("decode "+options, "DIR", dir, "VALUE", mark+testKey+"\n")...)
		got.check(t, 0, ".* alice authenticate pap PASS .*\n", strings.ReplaceAll(stderr, "DIR", dir)+"tacacs_plus: frames: .*\n")
	}
}

// TestSecretCleanOfRequests: secrets in JSON, and answers to prompts, follow the rule for secrets.
func TestSecretCleanOfRequests(t *testing.T) {
	t.Parallel()
	challenge := &authenReply{status: authenGetData, serverMsg: "Token: "}
	for _, tt := range []struct{ line, stdin, second string }{
		{"authenticate alice AT --password VALUE --answer VALUE", "", "s3cret"},
		{"chpass alice AT --password old --new-password-stdin --answer VALUE", "VALUE", "old"},
		{"batch AT", `{"command":"authenticate","user":"alice","password":JSON,"answers":[JSON]}`, "s3cret"},
		{"batch AT", `{"command":"chpass","user":"alice","password":"old","new_password":JSON,"answers":[JSON]}`, "old"},
	} {
		s := newScriptServer(t, testKey, &authenReply{status: authenGetPass}, challenge, passed)
		stdin := strings.NewReplacer("JSON", `"\ufeffs3cret\r\n"`, "VALUE", "\ufeffs3cret\r\n").Replace(tt.stdin)
		got := runWith(t, map[string]string{"TACACS_PLUS_KEY": testKey}, stdin, split(tt.line, "AT", s.addr, "VALUE", "\ufeffs3cret\r\n")...)
		if got.code != 0 {
			t.Errorf("%s: got %+v", tt.line, got)
			continue
		}
		s.received(t, new(authenStart))
		s.answered(t, "s3cret", tt.second)
	}
	l := listen(t)
	got := runWith(t, secretsInEnv, `{"command":"authenticate","user":"alice","password":"p\u0000w\u0000"}`, "batch", l.Addr().String())
	got.check(t, 2, `.*"message":"a password or an answer is UTF-16".*\n`, ".*\n")
	s := newScriptServer(t, testKey, passed)
	if got := play(t, `{"command":"authenticate","user":"alice","host":"AT","key":"`+testKey+`\n","authen_type":"pap","password":"s3cret\n"}`, "AT", s.addr); got.Status != "PASS" {
		t.Errorf("Ansible: got %+v", got)
	}
	var start authenStart
	if s.received(t, &start); start.data != "s3cret" {
		t.Errorf("Ansible: sent %q", start.data)
	}
}

// TestSecretUTF16: a secret or a list of them in UTF-16 is an error, with or without a byte order mark.
func TestSecretUTF16(t *testing.T) {
	t.Parallel()
	var little, big strings.Builder
	for _, unit := range utf16.Encode([]rune("alice:secret\r\n")) {
		little.Write([]byte{byte(unit), byte(unit >> 8)})
		big.Write([]byte{byte(unit >> 8), byte(unit)})
	}
	dir := writeFiles(t, map[string]string{"le": "\xff\xfe" + little.String(), "be": "\xfe\xff" + big.String(), "le-bare": little.String(), "be-bare": big.String()})
	l := listen(t)
	for _, file := range []string{"le", "be", "le-bare", "be-bare"} {
		for line, what := range map[string]string{
			"authenticate alice AT --key-file FILE":                "key",
			"authenticate alice AT --password-file FILE":           "password",
			"check alice AT --password-file FILE":                  "password",
			"batch AT --password-file FILE":                        "password",
			"bench alice AT --password-file FILE":                  "password",
			"chpass alice AT --new-password-file FILE":             "new password",
			"authorize alice AT --key-file FILE":                   "key",
			"serve --key-file FILE":                                "key",
			"serve --users-file FILE":                              "list of users",
			"serve --user a:b --enable-password-file FILE":         "enable password",
			"relay AT --listen 127.0.0.1:0 --key-file FILE":        "key",
			"relay AT --listen 127.0.0.1:0 --device-key-file FILE": "key of the devices",
			"decode --key-file FILE":                               "key",
			"decode --key-list FILE":                               "list of keys",
		} {
			path := filepath.Join(dir, file)
			want := "tacacs_plus: the " + what + " from " + path + " is UTF-16\ntacacs_plus: hint: save it as UTF-8\n"
			if got := runWith(t, secretsInEnv, "", split(line, "AT", l.Addr().String(), "FILE", path)...); got.code != classUsage.exit() || got.err != want {
				t.Errorf("%s, %s: got %+v", file, line, got)
			}
		}
	}
	checkUntouched(t, l)
	for _, env := range []map[string]string{{"TACACS_PLUS_KEY": "\xff\xfek"}, {"TACACS_PLUS_KEY": testKey, "TACACS_PLUS_PWD": "\xfe\xffp"}} {
		if got := runWith(t, env, "", "authenticate", "alice", l.Addr().String()); got.code != classUsage.exit() || !strings.Contains(got.err, " is UTF-16\n") {
			t.Errorf("%q: got %+v", env, got)
		}
	}
}

// TestSecretReadableByOthers: each file with a secret that other users can read causes a warning.
func TestSecretReadableByOthers(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("the mode does not show who can read a file")
	}
	certs := testFiles(t)
	server := serveWith(t)
	secure := serving(t, new(lockedBuffer), split("serve --tls --listen 127.0.0.1:0 --user alice:x --cert DIR/server.pem --cert-key DIR/server.key", "DIR", certs)...)
	for line, what := range map[string]string{
		"authenticate alice AT --key-file FILE":                                                                "key",
		"authenticate alice AT --password-file FILE":                                                           "password",
		"chpass alice AT --new-password-file FILE":                                                             "new password",
		"authenticate alice SECURE --tls --cacert CERTS/ca.pem --cert CERTS/client.pem --cert-key FILE":        "private key",
		"authenticate alice SECURE --tls --cacert CERTS/ca.pem --cert FILE":                                    "private key",
		"serve --key-file FILE --listen 192.0.2.55:49":                                                         "key",
		"serve --users-file FILE --listen 192.0.2.55:49":                                                       "list of users",
		"serve --enable-password-file FILE --listen 192.0.2.55:49":                                             "enable password",
		"serve --tls --cert CERTS/client.pem --cert-key FILE --listen 192.0.2.55:300 --client-ca CERTS/ca.pem": "private key",
		"relay AT --listen 192.0.2.55:49 --device-key-file FILE":                                               "key of the devices",
		"relay AT --listen-tls 192.0.2.55:300 --listen-cert FILE --client-ca CERTS/ca.pem":                     "private key",
		"decode --key-file FILE":                                                                               "key",
		"decode --key-list FILE":                                                                               "list of keys",
	} {
		content := "a:b"
		if what == "private key" {
			for _, name := range []string{"/client.pem", "/client.key"} {
				b, _ := os.ReadFile(certs + name)
				content += "\n" + string(b)
			}
		}
		dir := writeFiles(t, map[string]string{"f": content})
		file := filepath.Join(dir, "f")
		args := split(line, "AT", server.addr, "SECURE", secure.addr, "FILE", file, "CERTS", certs)
		for mode, warned := range map[os.FileMode]bool{0o600: false, 0o640: true, 0o604: true} {
			must(t, os.Chmod(file, mode))
			want := "tacacs_plus: warning: other users can read " + file + ", which contains the " + what + ": run chmod 600\n"
			env := map[string]string{"TACACS_PLUS_PWD": testPassword}
			if !strings.Contains(line, " --tls ") {
				env["TACACS_PLUS_KEY"] = testKey
			}
			got := runWith(t, env, "", args...)
			if n := strings.Count(got.err, "other users"); n > 1 || strings.Contains(got.err, want) != warned {
				t.Errorf("%s, mode %o: got %+v", line, mode, got)
			}
			env["CREDENTIALS_DIRECTORY"] = dir + "/"
			if got := runWith(t, env, "", args...); strings.Contains(got.err, "other users") {
				t.Errorf("%s, a credential of systemd: got %+v", line, got)
			}
			env["CREDENTIALS_DIRECTORY"] = filepath.Dir(dir) // of other credentials
			if got := runWith(t, env, "", args...); strings.Contains(got.err, want) != warned {
				t.Errorf("%s, mode %o, not a credential of systemd: got %+v", line, mode, got)
			}
			if got := runWith(t, env, "", append(args, "-q")...); strings.Contains(got.err, "other users") {
				t.Errorf("%s -q: got %+v", line, got)
			}
		}
	}
}

// TestPEMWithMark: a byte order mark before PEM is ignored, and UTF-16 has an error of its own.
func TestPEMWithMark(t *testing.T) {
	t.Parallel()
	dir := testFiles(t)
	for _, name := range []string{"ca.pem", "server.pem", "server.key", "client.pem", "client.key", "none.crl"} {
		path := filepath.Join(dir, name)
		b, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(path, append([]byte("\ufeff"), b...), 0o600)
		}
		must(t, err)
	}
	s := serveWith(t, split("--tls --cert DIR/server.pem --cert-key DIR/server.key --client-ca DIR/ca.pem", "DIR", dir)...)
	const line = "authenticate alice AT --tls --cacert DIR/ca.pem --cert DIR/client.pem --cert-key DIR/client.key --crl DIR/none.crl"
	got := runWith(t, map[string]string{"TACACS_PLUS_PWD": testPassword}, "", split(line, "AT", s.addr, "DIR", dir)...)
	got.check(t, 0, "PASS\n", "")
	must(t, os.WriteFile(filepath.Join(dir, "ca.pem"), []byte("\xff\xfe-\x00-\x00"), 0o600))
	got = runWith(t, map[string]string{"TACACS_PLUS_PWD": testPassword}, "", split(line, "AT", s.addr, "DIR", dir)...)
	got.check(t, 2, "", "tacacs_plus: the certificate file "+dir+"/ca.pem is UTF-16\ntacacs_plus: hint: save it as UTF-8\n")
}

// TestDecodeEmptyKey: decode reads sessions of devices whose key is empty. The client and the servers refuse such a key.
func TestDecodeEmptyKey(t *testing.T) {
	t.Parallel()
	tape := newCaptureBuilder()
	tape.openConn(deviceAddr, serverAddr, "").session(1, papStart("alice", testPassword), passed).close()
	tape.openConn(deviceAddr, serverAddr, "").session(2, asciiStart("bob"), askForPass, answerWith(testPassword), passed).close()
	for _, options := range []string{"-k ''", "--key="} {
		got := runWith(t, map[string]string{"TACACS_PLUS_KEY": testKey}, string(tape.pcap()), split("decode "+options)...)
		got.check(t, 0, "(?s).* alice authenticate pap PASS .*\n.* bob authenticate ascii PASS .*\n", "tacacs_plus: frames: .*\n")
	}
	dir := writeFiles(t, map[string]string{"key": testKey})
	got := runWith(t, nil, string(tape.pcap()), split("decode --json --key-file DIR/key -k ''", "DIR", dir)...)
	got.check(t, 0, `(?s).*"user":"alice".*"status":"PASS".*`, "tacacs_plus: frames: .*\n")
	for _, line := range []string{"authenticate alice tac1 -k ''", "check tac1 -k ''", "serve -k '' --user alice:x", "relay tac1 --listen 127.0.0.1:0 -k ''"} {
		got := runWith(t, nil, "", split(line)...)
		got.check(t, 2, "", `tacacs_plus: the key is empty\ntacacs_plus: hint: set a key of at least 16 characters on both sides \(RFC 8907 section 10.5.1\)\n`)
	}
}

// TestSecretsOpenNoTerminal: a login whose secrets are given opens the terminal only for a prompt that nothing answers.
func TestSecretsOpenNoTerminal(t *testing.T) {
	t.Parallel()
	for fault, opens := range map[string]bool{"": false, "--fault restart": false, "--fault getdata": true} {
		s := serveWith(t, split(fault)...)
		for _, options := range []string{"", " -t pap"} {
			opened := false
			std := stdio{in: strings.NewReader(""), out: t.Output(), err: t.Output(), env: func(name string) string { return secretsInEnv[name] }}
			std.terminal = func() (*os.File, io.Writer, error) {
				opened = true
				return nil, nil, errNoAnswer
			}
			run(t.Context(), split("authenticate alice AT"+options, "AT", s.addr), std)
			if want := opens && options == ""; opened != want {
				t.Errorf("%s%s: the terminal was opened: %t", fault, options, opened)
			}
		}
	}
}

// TestServerKeyFile: [NAME=]FILE gives a server its own key, by its name, address, port or prefix.
func TestServerKeyFile(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"good": testKey, "bad": "another key of 20 ch", "a=b": testKey, "short": "shortkey"})
	first, second := serveWith(t).addr, serveWith(t, "--fault", "error").addr
	port := func(addr string) string { return addr[strings.LastIndex(addr, ":")+1:] }
	secure, ca := serveWith(t, "--tls", "--write-cacert", filepath.Join(dir, "ca.pem")).addr, filepath.Join(dir, "ca.pem")
	const noKeyFor = "no key for "
	for _, tt := range []struct {
		host, options string
		code          exitCode
		err           string // part of stderr
	}{
		{"FIRST", "--key-file FIRST=good", 0, ""},
		{"FIRST", "--key-file 127.0.0.1=good", 0, ""},
		{"FIRST", "--key-file 127.0.0.0/8=good", 0, ""},
		{"localhost:PORT", "-4 --key-file LOCALHOST=good --key-file bad", 0, ""},
		{"localhost:PORT", "-4 --key-file localhost:PORT=good", 0, ""},
		{"localhost:PORT", "-4 --key-file 127.0.0.1=good --key-file bad", 0, ""},
		{"FIRST", "--key-file bad --key-file FIRST=good", 0, ""},
		{"FIRST", "--key-file 127.0.0.0/8=bad --key-file 127.0.0.0/16=good", 0, ""},
		{"FIRST", "--key-file 127.0.0.0/16=good --key-file 127.0.0.0/8=bad", 0, ""},
		{"FIRST", "--key-file 127.0.0.1=bad --key-file FIRST=good --key-file 127.0.0.0/8=bad", 0, ""},
		{"FIRST", "--key-file other=bad --key-file good", 0, ""},
		{"FIRST", "--key-file ./a=b", 0, ""},
		{"FIRST", "--key-file FIRST=bad --key-file good", 5, "the key of DIR/good fits this reply"},
		{"FIRST", "--key-file FIRST=bad", 5, "the key of DIR/bad differs from the server's"},
		{"FIRST", "--key-file other=good", 2, noKeyFor + "FIRST"},
		{"FIRST", "--key-file other=bad --key-file good", 0, "no server in HOST is other, for which --key-file has a key"},
		{"tls://SECURE,tcp://FIRST", "--cacert CAFILE", 0, ""}, // FIRST is not asked
		{"tls://SECURE,tcp://FIRST", "--cacert CAFILE --all", 2, "no key: no terminal"},
		{"[::1]:49", "--connect-timeout 1 --key-file [::1]=good", 4, "connect to [::1]:49"},
		{"FIRST", "--key-file tcp://FIRST=good", 2, "is not a name, an address or a prefix"},
		{"FIRST", "--key-file other=good --key-file short", 5, "the key has 8 characters"},
		{"FIRST", "--key-file 10.0.0.0/8=good", 2, noKeyFor + "FIRST"},
		{"localhost:PORT", "-4 --key-file 10.0.0.0/8=good", 2, noKeyFor + "localhost:PORT"},
		{"SECOND,FIRST", "--key-file SECOND=good", 2, noKeyFor + "FIRST"},
		{"SECOND,FIRST", "--key-file SECOND=good --key-file FIRST=bad", 5, "the key of DIR/bad differs"},
		{"SECOND,FIRST", "--key-file SECOND=good --key-file FIRST=good", 0, "trying FIRST"},
		{"SECOND,FIRST", "--key-file 127.0.0.1:PORT=good --key-file bad", 0, "cannot be read with this key"},
		{"tls://SECURE", "--cacert CAFILE", 0, ""},
		{"tcp://FIRST,tls://SECURE", "--cacert CAFILE --key-file FIRST=good", 0, ""},
		{"FIRST", "--key-file FIRST=short", 5, "the key from DIR/short has less than 16 characters"},
		{"FIRST", "--key-file 127.0.0.0/40=good", 2, "\"127.0.0.0/40\" of --key-file is neither an address nor a prefix"},
	} {
		names := strings.NewReplacer("FIRST", first, "SECOND", second, "PORT", port(first), "SECURE", secure, "DIR", dir, "CAFILE", ca)
		options := strings.Fields(names.Replace(tt.options))
		for i, o := range options {
			if i > 0 && options[i-1] == "--key-file" {
				at := strings.LastIndexAny(o[:strings.LastIndex(o, "=")+1], "=") + 1
				if o == "./a=b" {
					at = 0
				}
				options[i] = o[:at] + filepath.Join(dir, o[at:])
			}
		}
		env := map[string]string{"TACACS_PLUS_PWD": testPassword}
		got := runWith(t, env, "", append([]string{"authenticate", "alice", names.Replace(tt.host), "-t", "pap"}, options...)...)
		if got.code != tt.code || !strings.Contains(got.err, names.Replace(tt.err)) {
			t.Errorf("%s %s: %d\n%s%s", tt.host, tt.options, got.code, got.out, got.err)
		}
	}
}

// TestServerKeyFileCommands: every command uses the key of the server, JSON names its file, and the environment has the
// key of all others.
func TestServerKeyFileCommands(t *testing.T) {
	t.Parallel()
	file := filepath.Join(writeFiles(t, map[string]string{"good": testKey}), "good")
	addr := serveWith(t).addr
	env := map[string]string{"TACACS_PLUS_PWD": testPassword, "TACACS_PLUS_KEY": "environment-key-0123"}
	for line, want := range map[string]string{
		"authenticate alice AT -t pap --json": `"key_file":"` + file + `"`,
		"authenticate alice AT,AT --all":      "PASS",
		"authorize alice AT":                  "PASS_ADD",
		"account alice AT --task-id 1":        "SUCCESS",
		"check alice AT":                      "OK",
		"check AT --json":                     `"key_file":"` + file + `"`,
		"bench alice AT -n 2 -t pap":          "PASS 2",
		"authorize alice AT --cmd-file -":     "permit",
		"batch AT":                            `"key_file":"` + file + `"`,
	} {
		input := map[bool]string{true: "show version\n", false: `{"command":"authorize","user":"alice"}` + "\n"}[strings.Contains(line, "cmd-file")]
		args := append(split(line, "AT", addr), "--key-file", addr+"="+file)
		if got := runWith(t, env, input, args...); got.code != 0 || !strings.Contains(got.out, want) {
			t.Errorf("%s: %+v", line, got)
		}
	}
	if got := runWith(t, env, "", "authenticate", "alice", addr, "-t", "pap", "--key-file", "other="+file); got.code != 5 || strings.Contains(fmt.Sprint(got), "environment-key") {
		t.Errorf("with the key of the environment: %+v", got)
	}
	for _, mode := range relayModes {
		r := relayTo(t, addr, append(split(mode), "--key-file", addr+"="+file)...)
		if got := r.asDevice(t, "authenticate alice AT -t pap"); got.code != 0 {
			t.Errorf("relay %s: %+v", mode, got)
		}
	}
	got := runWith(t, env, "", "relay", addr, "--listen", "127.0.0.1:0", "--key-file", addr+"="+file, "--check-config")
	if got.code != 0 || !strings.Contains(got.out, "server "+addr+" [127.0.0.1]: key from "+file+"\n") || !strings.Contains(got.out, "key from TACACS_PLUS_KEY\n") {
		t.Errorf("relay --check-config: %+v", got)
	}
	env = map[string]string{"TACACS_PLUS_PWD": testPassword}
	runWith(t, env, "", "relay", addr, "--listen", "127.0.0.1:0", "--key-file", addr+"="+file, "--check-config").check(t, 2, "", "tacacs_plus: the key of the devices is missing\ntacacs_plus: hint: give --device-key-file FILE\n")
	if got := runWith(t, env, testKey+"\n", "authenticate", "alice", addr, "-t", "pap", "--key-file", addr+"=-"); got.code != 0 {
		t.Errorf("from stdin: %+v", got)
	}
}
