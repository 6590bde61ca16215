package main

import (
	"reflect"
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
		"-p 1 -t pap -l 2 -u bob -H tac9 authenticate -p 50 -t chap -l 1 -u alice -H tac1", // the last one wins
		"authenticate alice tac1 -p 50 -t chap -l 1 --quiet --quiet=false --json=true",
		"authenticate alice tac1 -p 50 -t chap -l 1 --chap-id 7 --chap_challenge=abcd --answer x",
	} {
		got, err := parseLine(line)
		if got.words = append([]string{}, got.words...); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s\nis %+v, %v\nnot %+v", line, got, err, want)
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
			t.Errorf("%s\nis user %q, host %q, words %q, %v", row.line, got.user, got.host, got.words, err)
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
