package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCommandFile checks the table of authorize --cmd-file.
func TestCommandFile(t *testing.T) {
	t.Parallel()
	s := serveWith(t, "--deny", "^configure", "--permit", "^show")
	dir := t.TempDir()
	file := filepath.Join(dir, "commands")
	for _, tt := range []struct {
		name, text, options string
		code                exitCode
		out                 string
	}{
		{"permitted", "show version\nshow  run\n", "", 0, `PASS_ADD show version\nPASS_ADD show  run\n2 commands: 2 permitted, 0 denied\n`},
		{"one denied", "show version\nconfigure terminal\n", "", 1, `PASS_ADD show version\nFAIL configure terminal: command not permitted\n2 commands: 1 permitted, 1 denied\n`},
		{"comments", "# all of them\n\n  show version  \r\n   # show it\n", "", 0, `PASS_ADD show version\n1 command: 1 permitted, 0 denied\n`},
		{"nothing", "# nothing\n", "", 0, ``},
		{"as marked", "+ show version\n-configure terminal\n", "", 0, `PASS_ADD show version\nFAIL configure terminal: command not permitted\n2 commands: 1 permitted, 1 denied\n`},
		{"not as marked", "- show version\n+configure terminal\n", "", 1, `PASS_ADD show version  <- not denied\nFAIL configure terminal: command not permitted  <- not permitted\n2 commands: 1 permitted, 1 denied; 2 not as expected\n`},
		{"marked, and denied without a mark", "+ show version\nconfigure terminal\n", "", 0, `PASS_ADD show version\nFAIL configure terminal: command not permitted\n2 commands: 1 permitted, 1 denied\n`},
		{"last line without its end", "show version", "", 0, `PASS_ADD show version\n1 command: 1 permitted, 0 denied\n`},
		{"quiet", "configure\n", "-q", 1, ``},
		{"a mark alone", "show version\n+\nshow run\n", "", 2, `PASS_ADD show version\nerror : line 2 of .* has no command\nPASS_ADD show run\n3 commands: 2 permitted, 0 denied, 1 without a verdict\n`},
		{"not ASCII", "show caf\xe9\nshow run\n", "", 2, `error show caf\\xe9: argument .* is not printable US-ASCII\nPASS_ADD show run\n2 commands: 1 permitted, 0 denied, 1 without a verdict\n`},
		{"too long", "show " + strings.Repeat("x", 300) + "\nshow run\n", "", 2, `error show x+: argument .* is 308 bytes, the limit is 255\nPASS_ADD show run\n2 commands: 1 permitted, 0 denied, 1 without a verdict\n`},
		{"unknown user", "show run\n", "-u bob", 1, `FAIL show run: unknown user\n1 command: 0 permitted, 1 denied\n`},
		{"wrong key", "show run\n", "-k another-key-of-the-tests", 5, `error show run: the reply of .* does not fit the key: .*\n1 command: 0 permitted, 0 denied, 1 without a verdict\n`},
		{"JSON", "+ show run\n# a comment\nconfigure\n", "--json", 0, `\{"line":1,"time":"[^"]*","command":"authorize","user":"alice","status":"PASS_ADD",.*"expect":"\+","as_expected":true\}\n\{"line":3,.*"status":"FAIL",.*\}\n`},
	} {
		if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		options := split(tt.options)
		if !strings.Contains(tt.options, "-u") {
			options = append(options, "-u", "alice")
		}
		for _, from := range []string{file, "-"} {
			args := append([]string{"authorize", s.addr, "--cmd-file", from}, options...)
			t.Run(tt.name+" "+filepath.Base(from), func(t *testing.T) {
				got := runWith(t, secretsInEnv, tt.text, args...)
				runResult{got.code, got.out, ""}.check(t, tt.code, tt.out, ``)
			})
		}
	}
	t.Run("unreadable", func(t *testing.T) {
		s.ask(t, "authorize alice AT --cmd-file "+filepath.Join(dir, "nothing")).check(t, classUsage.exit(), ``, `tacacs_plus: read the commands: .*\n`)
		s.ask(t, "authorize alice AT --cmd-file "+dir).check(t, classUsage.exit(), ``, `(?s)tacacs_plus: read the .*`)
	})
	t.Run("many, in their order", func(t *testing.T) {
		text, want := "", ""
		for i := range 300 {
			text += fmt.Sprintf("show %d\n", i)
			want += fmt.Sprintf("PASS_ADD show %d\n", i)
		}
		want += "300 commands: 300 permitted, 0 denied\n"
		for _, options := range []string{"", " --single-connect"} {
			if got := runWith(t, secretsInEnv, text, split("authorize alice AT --cmd-file -"+options, "AT", s.addr)...); got != (runResult{out: want}) {
				t.Errorf("got %+v", got)
			}
		}
	})
	t.Run("one connection where the server agrees", func(t *testing.T) {
		server := startFakeServer(t, (*fakeServerConn).grantAll)
		text := strings.Repeat("show version\n", 20)
		for _, tt := range []struct {
			options string
			conns   int
		}{{"--single-connect", 1}, {"", 20}} {
			before := server.connections()
			got := runWith(t, secretsInEnv, text, append([]string{"authorize", "alice", server.addr, "--cmd-file", "-"}, split(tt.options)...)...)
			if conns := server.connections() - before; got.code != classGranted.exit() || conns != tt.conns {
				t.Errorf("%s: got %+v over %d connections", tt.options, got, conns)
			}
		}
	})
}

// TestCommandFileWithoutCommands: a file without a command is most likely the wrong one.
func TestCommandFileWithoutCommands(t *testing.T) {
	t.Parallel()
	l := listen(t)
	for text, warned := range map[string]bool{"": true, "# nothing\n": true, "+\n": false} {
		got := runWith(t, secretsInEnv, text, "authorize", "alice", l.Addr().String(), "--cmd-file", "-")
		if strings.Contains(got.err, "warning: there are no commands in -\n") != warned {
			t.Errorf("%q: got %+v", text, got)
		}
	}
	checkUntouched(t, l)
}
