package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

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
