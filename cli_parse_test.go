package main

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// parsed is the result of the grammar for a command line.
type parsed struct {
	command, user, host string
	port, level         int
	typ                 authenType
	words               []string
}

func parseLine(line string) (parsed, error) {
	inv, err := parse(commands, split(line), stdio{})
	return parsed{inv.command.name, inv.request.user, inv.server.host, inv.server.port, inv.request.level, inv.request.authenType, inv.words}, err
}

func TestParseSpellings(t *testing.T) {
	want := parsed{command: "authenticate", user: "alice", host: "tac1", port: 50, level: 1, typ: authenCHAP, words: []string{}}
	for _, line := range []string{
		"-p 50 -t chap -l 1 authenticate alice tac1",
		"authenticate -p 50 -t chap -l 1 alice tac1",
		"authenticate alice -p 50 -t chap -l 1 tac1",
		"authenticate alice tac1 -p 50 -t chap -l 1",
		"-p 50 authenticate -t chap alice -l 1 tac1",
		"authenticate alice tac1 --port 50 --authen-type chap --priv-lvl 1",
		"authenticate alice tac1 --port=50 --authen-type=chap --priv-lvl=1",
		"authenticate alice tac1 -port=50 -authen-type chap -priv-lvl 1",
		"authenticate alice tac1 --p=50 --t chap --l 1",
		"authenticate alice tac1 --port 50 --authen_type=chap --priv_lvl 1",
		"authenticate alice tac1 -port 50 -authen_type CHAP -priv_lvl=1",
		"authenticate -p 50 -t chap -l 1 -- alice tac1",
		"authenticate -p 50 -t chap -l 1 alice -- tac1",
		"authenticate alice tac1 -p 50 -t chap -l 1 --",
		"-u alice -H tac1 authenticate -p 50 -t chap -l 1",
		"authenticate -p 50 -t chap -l 1 --username=alice --host=tac1",
		"authenticate tac1 -u alice -p 50 -t chap -l 1",
		"authenticate alice -H tac1 -p 50 -t chap -l 1",
		"-p 1 -t pap -l 2 -u bob -H tac9 authenticate -p 50 -t chap -l 1 -u alice -H tac1", // the last value is used
		"authenticate alice tac1 -p 50 -t chap -l 1 --quiet --quiet=false --json=true",
		"authenticate alice tac1 -p 50 -t chap -l 1 --chap-id 7 --chap_challenge=abcd --answer x",
	} {
		got, err := parseLine(line)
		if got.words = append([]string{}, got.words...); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s\ngot %+v, %v\nwant %+v", line, got, err, want)
		}
	}
}

func TestParseWords(t *testing.T) {
	for _, row := range []struct {
		line       string
		user, host string
		words      string
	}{
		{"authorize alice tac1", "alice", "tac1", ""},
		{"authorize alice tac1 service=shell cmd=show", "alice", "tac1", "service=shell cmd=show"},
		{"authorize alice service=shell tac1 -l 3 cmd=show", "alice", "service=shell", "tac1 cmd=show"},
		{"authorize -u alice -H tac1 service=shell cmd=show", "alice", "tac1", "service=shell cmd=show"},
		{"-u alice -H tac1 authorize -c service=shell cmd=show cmd-arg=version", "alice", "tac1", "cmd=show cmd-arg=version"},
		{"authorize -c service=shell alice tac1 cmd=show", "alice", "tac1", "cmd=show"},
		{"authorize alice tac1 -- -c --json -- =", "alice", "tac1", "-c --json -- ="},
		{"authorize alice -- tac1 -c", "alice", "tac1", "-c"},
		{"account alice tac1 --exec -- ls -l", "alice", "tac1", "ls -l"},
		{"account alice tac1 cmd=ls --exec -- ls -l", "alice", "tac1", "cmd=ls ls -l"},
		{"authenticate -- -alice -tac1", "-alice", "-tac1", ""},
		{"authenticate - tac1", "-", "tac1", ""},
		{"authenticate -u -t -H tac1", "-t", "tac1", ""},
		{"authenticate --username=-t -H tac1", "-t", "tac1", ""},
		{"authenticate -u -- -H tac1", "--", "tac1", ""},
		{"authenticate -u a=b=c -H tac1", "a=b=c", "tac1", ""},
		{"authenticate --username=a=b=c tac1", "a=b=c", "tac1", ""},
		{"authenticate --username= tac1", "", "tac1", ""},
		{"authenticate '' tac1", "", "tac1", ""},
		{"authenticate al_ice tac_1", "al_ice", "tac_1", ""},
	} {
		got, err := parseLine(row.line)
		if err != nil || got.user != row.user || got.host != row.host || strings.Join(got.words, " ") != row.words {
			t.Errorf("%s\ngot user %q, host %q, words %q, %v", row.line, got.user, got.host, got.words, err)
		}
	}
}

// TestUsageErrorBeforeJSON: --json after an error on the command line still gives an object.
func TestUsageErrorBeforeJSON(t *testing.T) {
	checkUsage(t, "json last", runWith(t, secretsInEnv, "", "authenticate", "alice", "tac1", "--bogus", "--json"), "unknown option --bogus", hintOptions, true)
	checkUsage(t, "json last", runWith(t, secretsInEnv, "", "bogus", "--json"), `unknown command "bogus"`, hintCommands, true)
}

func TestUsageErrorsQuiet(t *testing.T) {
	for _, other := range []string{"--json", "--verbose"} {
		for _, line := range []string{"authenticate alice tac1", "serve", "decode", "version"} {
			checkUsage(t, line+other, runWith(t, secretsInEnv, "", append(split(line), "--quiet", other)...),
				"--quiet goes with neither --verbose nor --json", "", false)
		}
	}
	checkUsage(t, "-q", runWith(t, secretsInEnv, "", "-q", "authenticate", "alice"),
		"HOST is missing", "usage: tacacs_plus authenticate USER HOST", false)
}

// TestOptionSetNames: no name of an option is declared twice for a command.
func TestOptionSetNames(t *testing.T) {
	t.Parallel()
	for _, c := range commands {
		inv := newInvocation(commands, stdio{})
		if err := inv.setCommand(c.name); err != nil {
			t.Fatal(err)
		}
		seen := make(map[string]bool)
		for _, o := range inv.options.options {
			for _, name := range []string{o.short, o.long} {
				if name != "" && seen[name] {
					t.Errorf("%s has two options with the name %s", c.name, name)
				}
				seen[name] = true
			}
		}
	}
}

func TestParseServers(t *testing.T) {
	for list, want := range map[string]string{
		"tac1":                                 "tac1:4949",
		"tac1:50":                              "tac1:50",
		"tac1.example.net:65535":               "tac1.example.net:65535",
		"192.0.2.1":                            "192.0.2.1:4949",
		"192.0.2.1:1":                          "192.0.2.1:1",
		"2001:db8::1":                          "[2001:db8::1]:4949",
		"::1":                                  "[::1]:4949",
		"[2001:db8::1]":                        "[2001:db8::1]:4949",
		"[2001:db8::1]:50":                     "[2001:db8::1]:50",
		"fe80::1%eth0":                         "[fe80::1%eth0]:4949",
		"[fe80::1%eth0]:50":                    "[fe80::1%eth0]:50",
		"tac1,tac2:50,192.0.2.1,[::1]:51,::2":  "tac1:4949 tac2:50 192.0.2.1:4949 [::1]:51 [::2]:4949",
		"tac1, tac2 , tac3":                    "tac1:4949 tac2:4949 tac3:4949",
		"tac1,tac1":                            "tac1:4949 tac1:4949",
		strings.Repeat("tac1:1,", 99) + "tac2": strings.Repeat("tac1:1 ", 99) + "tac2:4949",
	} {
		servers, err := parseServers(list, 4949)
		var got []string
		for _, s := range servers {
			got = append(got, s.String())
		}
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s: got %q, %v, want %q", list, got, err, want)
		}
	}
}

// TestServerDefaultPort: TACACS+ over TLS has a default port of its own (RFC 9887 section 5.2).
func TestServerDefaultPort(t *testing.T) {
	for line, want := range map[string]string{
		"authenticate alice tac1":                     "[tac1:49]",
		"authenticate alice tac1 --tls":               "[tac1:300]",
		"--tls check tac1,::1,tac2:49":                "[tac1:300 [::1]:300 tac2:49]",
		"authenticate alice tac1,tac2:300 -p 50":      "[tac1:50 tac2:300]",
		"authenticate alice tac1 --tls -p 49":         "[tac1:49]",
		"authenticate alice tac1,tac2:1 --tls -p 301": "[tac1:301 tac2:1]",
	} {
		inv, err := parse(commands, split(line), stdio{})
		if got := fmt.Sprint(inv.server.servers); err != nil || got != want {
			t.Errorf("%s: got %s, %v, want %s", line, got, err, want)
		}
	}
}

// TestServerAddressFamily: an address of the wrong family is not tried.
func TestServerAddressFamily(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"-4 authenticate alice [::1]:49":            "::1 has no IPv4 address",
		"-6 authenticate alice SERVER":              "127.0.0.1 has no IPv6 address",
		"authenticate alice SERVER --source ::1":    "127.0.0.1 has no IPv6 address",
		"authenticate alice ::1 --source 127.0.0.1": "::1 has no IPv4 address",
	} {
		server := listen(t)
		got := runWith(t, secretsInEnv, "", split(line, "SERVER", server.Addr().String())...)
		if !strings.HasPrefix(got.err, "tacacs_plus: "+want+"\n") || got.code != classNetwork.exit() {
			t.Errorf("%s: %+v", line, got)
		}
		checkUntouched(t, server)
	}
	for _, options := range []string{"-4", "--source 127.0.0.1", "-4 --source 127.0.0.1"} {
		server := newScriptServer(t, testKey, &authenReply{status: authenPass})
		if got := runWith(t, secretsInEnv, "", split("authenticate alice "+server.addr+" "+options)...); got.code != classGranted.exit() {
			t.Errorf("%s: %+v", options, got)
		}
	}
}

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
			t.Errorf("%s\ngot %q\nwant %q", line, request.args, want)
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
