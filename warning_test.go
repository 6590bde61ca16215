package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// warningNamesOf returns the names of the warnings in each JSON object of an output.
func warningNamesOf(t *testing.T, out string) (names []string) {
	t.Helper()
	for line := range strings.Lines(out) {
		var object struct {
			Warnings []namedWarning
			Servers  []struct{ Warnings []namedWarning } // of check
		}
		if err := json.Unmarshal([]byte(line), &object); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		warnings := object.Warnings
		for _, s := range object.Servers {
			warnings = append(warnings, s.Warnings...)
		}
		for _, w := range warnings {
			names = append(names, w.Name+": "+w.Message)
		}
	}
	return names
}

// answering returns the address of a server that replies m to every request.
func answering(t *testing.T, key string, m message) (addr string) {
	t.Helper()
	return startFakeServer(t, func(c *fakeServerConn) {
		c.key = key
		for {
			h, _, err := c.readPacket(key)
			if err != nil {
				return
			}
			c.Write(c.reply(&fakeRequest{header: h}, m))
		}
	}).addr
}

// TestWarnings: every warning is on stderr and in JSON, and --no-warn silences it by its name in both.
func TestWarnings(t *testing.T) {
	t.Parallel()
	const short = "a short key"
	server := answering(t, short, &authorResponse{status: authorPassAdd, args: []string{"vendor=1", "malformed"}})
	restart := serveWith(t, "--fault", "restart").addr
	refused := refusedAddr(t)
	for _, tt := range []struct {
		name, line, key string
		want            []string // regular expressions, in order
	}{
		{"key", "authorize alice " + server, short, []string{"key-short: the key has 11 characters, .*",
			"malformed-argument: .* sent an argument that is not name=value: malformed", "mandatory-argument: vendor=1 is mandatory .*"}},
		{"all", "authorize alice --all " + server, short, []string{"key-short: .*", "malformed-argument: .*", "mandatory-argument: .*"}},
		{"failover", "authorize alice " + refused + "," + server, short, []string{"key-short: .*",
			"failover: connect to .*: connection refused; trying .*", "malformed-argument: .*", "mandatory-argument: .*"}},
		{"restart", "authenticate alice " + restart, testKey, []string{"restart: the server requested a restart with pap instead of ascii"}},
		{"check", "check alice " + restart, testKey, []string{"restart: the server requested a restart with pap instead of ascii"}},
		{"check types", "check alice --types " + restart, testKey, []string{"restart: the server requested a restart with pap instead of ascii"}},
		{"bench restart", "bench alice -n 3 " + restart, testKey, []string{"restart: the server requested a restart with pap instead of ascii"}},
		{"trailing space", "check " + restart, testKey + " ", []string{"trailing-space: .*"}},
		{"bench", "bench alice -n 1 -t pap " + restart, testKey + " ", []string{"trailing-space: .*"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			env := map[string]string{"TACACS_PLUS_KEY": tt.key, "TACACS_PLUS_PWD": testPassword}
			got := runWith(t, env, "", split(tt.line+" --json")...)
			found := warningNamesOf(t, got.out)
			if len(found) != len(tt.want) || strings.Count(got.err, "tacacs_plus: warning: ") != len(tt.want) {
				t.Fatalf("got %q, and on stderr\n%s", found, got.err)
			}
			var options string
			for i, want := range tt.want {
				name, _, _ := strings.Cut(want, ":")
				if !regexp.MustCompile("^(?:" + want + ")$").MatchString(found[i]) {
					t.Errorf("got %s, want %s", found[i], want)
				}
				one := runWith(t, env, "", split(tt.line+" --json --no-warn "+name)...)
				if n := len(warningNamesOf(t, one.out)); strings.Contains(one.out, `"`+name+`"`) || n != len(tt.want)-1 || strings.Count(one.err, "warning: ") != n {
					t.Errorf("--no-warn %s: got %s%s", name, one.out, one.err)
				}
				options += " --no-warn " + name
			}
			if none := runWith(t, env, "", split(tt.line+options)...); strings.Contains(none.err, "warning") {
				t.Errorf("%s: got %s", options, none.err)
			}
		})
	}
}

// TestWarningsOfLines: each line of batch and of --cmd-file has its own warnings.
func TestWarningsOfLines(t *testing.T) {
	t.Parallel()
	vendor := &authorResponse{status: authorPassAdd, args: []string{"vendor=1"}}
	for _, tt := range []struct{ line, in string }{
		{"batch AT -c 1", `{"command":"authorize","user":"alice"}` + "\n" + `{"command":"authorize","user":"bob"}` + "\n"},
		{"authorize alice AT --json --cmd-file -", "show\nping\n"},
		{"authorize alice AT --json --all --cmd-file -", "show\nping\n"},
	} {
		server := answering(t, testKey, vendor)
		got := runWith(t, secretsInEnv, tt.in, split(tt.line, "AT", server)...)
		if found := warningNamesOf(t, got.out); len(found) != 2 || !strings.HasPrefix(found[0], "mandatory-argument: vendor=1 ") || found[1] != found[0] {
			t.Errorf("%s: got %q: %+v", tt.line, found, got)
		}
		got = runWith(t, secretsInEnv, tt.in, split(tt.line+" --no-warn mandatory-argument", "AT", server)...)
		if found := warningNamesOf(t, got.out); len(found) != 0 || got.code != classGranted.exit() {
			t.Errorf("%s: silenced: got %q: %+v", tt.line, found, got)
		}
	}
}

// TestWarningsInFile: the file of check --output has the warnings of the run and of the servers.
func TestWarningsInFile(t *testing.T) {
	t.Parallel()
	s := serveWith(t, "--fault", "restart", "-k", testKey+" ")
	file := filepath.Join(t.TempDir(), "report")
	env := map[string]string{"TACACS_PLUS_KEY": testKey + " ", "TACACS_PLUS_PWD": testPassword}
	for options, want := range map[string]string{
		"":                            "trailing-space restart",
		"--interval 100ms --count 2":  "trailing-space restart",
		"--no-warn restart":           "trailing-space",
		"--authen-type magic":         "", // a usage error, before the key is read
		"--password-file nonexistent": "trailing-space",
	} {
		got := runWith(t, env, "", append(split("check alice AT --json --output", "AT", s.addr), append([]string{file}, split(options)...)...)...)
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatalf("%s: %v, %+v", options, err, got)
		}
		var names []string
		for _, w := range warningNamesOf(t, string(text)) {
			name, _, _ := strings.Cut(w, ":")
			names = append(names, name)
		}
		if strings.Join(names, " ") != want || strings.Count(got.err, "tacacs_plus: warning: ") != len(names) {
			t.Errorf("%s: the file has %q, want %q; stderr:\n%s", options, names, want, got.err)
		}
	}
}

// TestNoWarn: a wrong name has a suggestion; names in a profile and on the command line add up.
func TestNoWarn(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"key-shrt": "tacacs_plus: option --no-warn: \"key-shrt\" is no warning: did you mean key-short?\n",
		"nothing":  "tacacs_plus: option --no-warn: \"nothing\" is not one of " + strings.Join(warningNames.known(), " ") + "\n",
	} {
		if got := runWith(t, nil, "", "check", "tac1", "--no-warn", name); got != (runResult{classUsage.exit(), "", want}) {
			t.Errorf("%s: got %+v", name, got)
		}
	}
	s := serveWith(t, "--fault", "restart", "-k", testKey+" ")
	profile := filepath.Join(writeFiles(t, map[string]string{"lab": "no-warn trailing-space\n"}), "lab")
	env := map[string]string{"TACACS_PLUS_KEY": testKey + " ", "TACACS_PLUS_PWD": testPassword}
	got := runWith(t, env, "", "authenticate", "alice", s.addr, "@"+profile)
	if strings.Contains(got.err, "trailing") || !strings.Contains(got.err, "restart") {
		t.Errorf("with a profile: got %+v", got)
	}
	got = runWith(t, env, "", "authenticate", "alice", s.addr, "@"+profile, "--no-warn", "restart")
	if strings.Contains(got.err, "warning") {
		t.Errorf("with a profile and the option: got %+v", got)
	}
}

// TestNoWarnInsecure: -q does not silence the warning of --insecure, only --no-warn does.
func TestNoWarnInsecure(t *testing.T) {
	t.Parallel()
	s := serveWith(t, "--tls")
	env := map[string]string{"TACACS_PLUS_PWD": testPassword}
	line := "authenticate alice -t pap --tls --insecure -q " + s.addr
	runWith(t, env, "", split(line)...).check(t, 0, "", "tacacs_plus: warning: .*--insecure.*\n")
	runWith(t, env, "", split(line+" --no-warn insecure")...).check(t, 0, "", "")
}

// TestWarningSetEscapes: the text of a warning, which may have words of a server, is safe for a terminal.
func TestWarningSetEscapes(t *testing.T) {
	list := []namedWarning{newWarning(warnRestart, "a\x1b[m\n"), newWarning(warnInsecure, "b")}
	if got := (warningSet{warnInsecure}).unsilenced(list); len(got) != 1 || got[0].Message != `a\x1b[m` || got[0].Name != "restart" {
		t.Errorf("got %+v", got)
	}
}

// TestWarningsDocumented: docs/automation.md has a table of all warnings, and no other ones.
func TestWarningsDocumented(t *testing.T) {
	text, err := os.ReadFile("docs/automation.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## Warnings\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var documented []string
	for _, row := range regexp.MustCompile("(?m)^\\| (`[a-z`, -]+`) \\|").FindAllStringSubmatch(section, -1) {
		for _, name := range strings.Split(row[1], ", ") {
			documented = append(documented, strings.Trim(name, "`"))
		}
	}
	known := warningNames.known()
	slices.Sort(documented)
	slices.Sort(known)
	if !slices.Equal(documented, known) {
		t.Errorf("documented are %q, the program has %q", documented, known)
	}
}
