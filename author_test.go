package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestSplitArg(t *testing.T) {
	for _, test := range []struct {
		arg         string
		name, value string
		mandatory   bool
		ok          bool
	}{
		{"service=shell", "service", "shell", true, true},
		{"idletime*10", "idletime", "10", false, true},
		{"cmd=", "cmd", "", true, true},
		{"cmd*", "cmd", "", false, true},
		// The first separator counts. The value may contain others.
		{"cmd-arg=a=b*c", "cmd-arg", "a=b*c", true, true},
		{"cmd-arg*a=b", "cmd-arg", "a=b", false, true},
		{"a==", "a", "=", true, true},
		{"=value", "", "", false, false},
		{"*value", "", "", false, false},
		{"name", "", "", false, false},
		{"", "", "", false, false},
	} {
		name, value, mandatory, ok := splitArg(test.arg)
		if name != test.name || value != test.value || mandatory != test.mandatory || ok != test.ok {
			t.Errorf("%q: got %q %q %v %v, want %q %q %v %v", test.arg, name, value, mandatory, ok,
				test.name, test.value, test.mandatory, test.ok)
		}
	}
}

func TestHasArg(t *testing.T) {
	args := []string{"service=shell", "cmd*", "malformed"}
	for name, want := range map[string]bool{"service": true, "cmd": true, "cmd-arg": false, "serv": false, "malformed": false} {
		equal(t, hasArg(args, name), want, name)
	}
}

func TestEffectiveArgs(t *testing.T) {
	request, response := []string{"service=shell", "cmd="}, []string{"priv-lvl=15"}
	for _, test := range []struct {
		status   authorStatus
		response []string
		want     string
	}{
		{authorPassAdd, response, "service=shell cmd= priv-lvl=15"},
		{authorPassAdd, nil, "service=shell cmd="},
		{authorPassRepl, response, "priv-lvl=15"},
		{authorPassRepl, nil, ""},
		{authorFail, response, ""},
		{authorError, response, ""},
		{authorFollow, response, ""},
		{0x99, response, ""},
	} {
		equal(t, strings.Join(effectiveArgs(test.status, request, test.response), " "), test.want, test.status, "with", test.response)
	}
	// The added arguments must not be written to the memory of the request.
	request = append(make([]string, 0, 9), request...)
	effectiveArgs(authorPassAdd, request, response)
	equal(t, request[:3][2], "")
}

func TestCommandArgs(t *testing.T) {
	for command, want := range map[string]string{
		"show":                     "service=shell cmd=show",
		"show ip route":            "service=shell cmd=show cmd-arg=ip cmd-arg=route",
		"ping a=b ping":            "service=shell cmd=ping cmd-arg=a=b cmd-arg=ping",
		"configure terminal <cr>":  "service=shell cmd=configure cmd-arg=terminal cmd-arg=<cr>",
		"show version | include *": "service=shell cmd=show cmd-arg=version cmd-arg=| cmd-arg=include cmd-arg=*",
	} {
		equal(t, strings.Join(commandArgs(strings.Fields(command)), " "), want, command)
	}
}

// TestCompleteShell checks section 8.2: a shell request always has cmd, which is empty for a session.
func TestCompleteShell(t *testing.T) {
	for args, want := range map[string]string{
		"service=shell":                    "service=shell cmd=",
		"service*shell":                    "service*shell cmd=",
		"priv-lvl=1 service=shell acl*2":   "priv-lvl=1 service=shell cmd= acl*2",
		"service=shell cmd=show":           "service=shell cmd=show",
		"cmd= service=shell":               "cmd= service=shell",
		"cmd*show service=shell":           "cmd*show service=shell",
		"service=shell cmd-arg=x":          "service=shell cmd= cmd-arg=x",
		"service=ppp protocol=ip":          "service=ppp protocol=ip",
		"service=shells":                   "service=shells",
		"protocol=shell":                   "protocol=shell",
		"":                                 "",
		"service=ppp service=shell addr*1": "service=ppp service=shell cmd= addr*1",
	} {
		equal(t, strings.Join(completeShell(strings.Fields(args)), " "), want, args)
	}
}

func TestHolds(t *testing.T) {
	args := []string{"service=shell", "priv-lvl*15", "cmd-arg=a=b", "acl=", "malformed", "cmd-arg=c", "timeout=1", "timeout=2", "idletime=5", "idletime*5"}
	for want, held := range map[string]bool{
		"service=shell": true,
		"service*shell": true, // with either separator
		"priv-lvl=15":   true,
		"priv-lvl=1":    false,
		"priv-lvl=150":  false,
		"Service=shell": false,
		"cmd-arg=a=b":   true,
		"cmd-arg=c":     true,
		"timeout=1":     false, // there are two values
		"timeout=2":     false,
		"idletime=5":    true,
		"cmd-arg=a*b":   false, // a separator in the value is part of it
		"acl=":          true,
		"addr=":         false,
		"malformed":     false,
	} {
		equal(t, holds(args, want), held, want)
	}
	if holds(nil, "a=") {
		t.Error("no arguments: got true, want false")
	}
}

// TestArgumentsOfAnError: the arguments of an ERROR are ignored (section 6.2). Those of a FAIL are shown,
// since they explain it.
func TestArgumentsOfAnError(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		status   authorStatus
		code     exitCode
		response []string
	}{
		{authorError, classServer.exit(), nil},
		{authorFail, classDenied.exit(), []string{"reason=x", "malformed"}},
	} {
		server := newScriptServer(t, testKey, &authorResponse{status: tt.status, args: []string{"reason=x", "malformed"}})
		got := runWith(t, secretsInEnv, "", "authorize", "alice", server.addr, "--require", "reason=x", "--json")
		list := answers(t, got.out)
		if len(list) != 1 || got.code != tt.code || !slices.Equal(list[0].Arguments.Response, tt.response) || list[0].Arguments.Effective != nil ||
			strings.Contains(got.err, "warning") || strings.Contains(got.err, "not granted") {
			t.Errorf("%s: got %+v", tt.status, got)
		}
	}
}

// TestResponseOverridesRequest: an argument of a PASS_ADD response overrides that of the request, also with a
// smaller value. Section 6.2.
func TestResponseOverridesRequest(t *testing.T) {
	t.Parallel()
	const request = "service=shell cmd=show cmd-arg=version priv-lvl=15 idletime*5"
	for _, tt := range []struct{ response, effective string }{
		{"priv-lvl=1", "service=shell cmd=show cmd-arg=version idletime*5 priv-lvl=1"},
		{"priv-lvl*1 idletime=9", "service=shell cmd=show cmd-arg=version priv-lvl*1 idletime=9"},
		{"priv-lvl=15", "service=shell cmd=show cmd-arg=version idletime*5 priv-lvl=15"},
		{"cmd-arg=brief", request + " cmd-arg=brief"},
		{"inacl=1 inacl=2", request + " inacl=1 inacl=2"},
		{"priv=1 malformed", request + " priv=1 malformed"},
		{"vendor=2", request + " vendor=2"},
	} {
		equal(t, strings.Join(effectiveArgs(authorPassAdd, strings.Fields(request), strings.Fields(tt.response)), " "), tt.effective, tt.response)
	}
	response := &authorResponse{status: authorPassAdd, args: []string{"priv-lvl=1"}}
	for _, tt := range []struct {
		options string
		code    exitCode
		out     string // part of it
	}{
		{"--require priv-lvl=15", classDenied.exit(), "PASS_ADD\n  priv-lvl=1\n"},
		{"--require priv-lvl=1", classGranted.exit(), "PASS_ADD\n  priv-lvl=1\n"},
		{"--require cmd=", classGranted.exit(), "PASS_ADD\n"},
		{"-v", classGranted.exit(), "effective:\n  service=shell\n  cmd=\n  priv-lvl=1\nserver:"},
		{"--json", classGranted.exit(), `"effective":["service=shell","cmd=","priv-lvl=1"]`},
	} {
		s := newScriptServer(t, testKey, response)
		got := runWith(t, secretsInEnv, "", split("authorize alice AT service=shell priv-lvl=15 "+tt.options, "AT", s.addr)...)
		if got.code != tt.code || !strings.Contains(got.out, tt.out) {
			t.Errorf("%s: got %+v, want %d %q", tt.options, got, int(tt.code), tt.out)
		}
	}
}

func TestAllowedValues(t *testing.T) {
	const number, number32 = "a decimal number", "a decimal number of at most 32 bits"
	const boolean, address = "true or false", "an IPv4 address, or an IPv6 address as in RFC 5952"
	for arg, want := range map[string]string{
		"priv-lvl=0": "", "priv-lvl=15": "", "priv-lvl*1": "", "priv-lvl=": "", "priv-lvl=16": "0 to 15", "priv-lvl=-1": "0 to 15",
		"priv-lvl=1.5": "0 to 15", "priv-lvl=0x0f": "0 to 15", "priv-lvl=root": "0 to 15", "priv-lvl=271": "0 to 15",
		"timeout=0": "", "timeout=4294967295": "", "timeout=4294967296": number32, "timeout=-1": number32, "timeout=soon": number32, "timeout= 5": number32,
		"idletime=30": "", "idletime=+5": number32, "acl=101": "", "acl=inside": number32, "inacl=inside": "", "outacl=inside": "",
		"noescape=true": "", "noescape=false": "", "noescape=TRUE": boolean, "nohangup=1": boolean, "nohangup=": "",
		"addr=192.0.2.1": "", "addr=2001:db8::1": "", "addr=": "", "addr=192.0.2.300": address, "addr=2001:DB8::1": address, "addr=2001:db8:0:0:0:0:0:1": address,
		"addr=fe80::1%eth0": address, "addr=tac1": address, "addr=192.0.2.1/24": address, "addr=010.0.0.1": address,
		"bytes=18446744073709551615": "", "bytes=18446744073709551616": number, "bytes_in=x": number, "bytes_out=1": "", "paks=-1": number, "paks_in=1e3": number,
		"start_time=0": "", "stop_time=-1": number, "elapsed_time=1.5": number, "timezone=CEST": "", "task_id=x": "",
		"cmd=": "", "cmd-arg=<cr>": "", "service=any": "", "protocol=ip": "", "addr-pool=pool": "", "autocmd=show x": "", "vendor=x": "",
	} {
		name, value, _, _ := splitArg(arg)
		equal(t, allowedValues(name, value), want, arg)
	}
}

// TestStrict: a mandatory argument that is unknown or has a value that is not allowed is a warning, or with --strict a
// denial; an optional one is a warning at most.
func TestStrict(t *testing.T) {
	t.Parallel()
	const unknown = "vendor=1 is mandatory and not defined in RFC 8907 section 8.2: a device that does not know it must deny"
	const value = "priv-lvl must be 0 to 15 (RFC 8907 section 8), so a device must deny priv-lvl=99"
	const ignored = "timeout must be a decimal number of at most 32 bits (RFC 8907 section 8), so a device ignores timeout*soon"
	for _, tt := range []struct {
		args     string
		warnings []string
		denied   string // with --strict
	}{
		{"priv-lvl=15 idletime*5 vendor*1", nil, ""},
		{"vendor=1", []string{unknown}, unknown},
		{"priv-lvl=99", []string{value}, value},
		{"priv-lvl=99 timeout=x", []string{value + " (and 1 more)"}, value + " (and 1 more)"},
		{"timeout*soon", []string{ignored}, ""},
		{"vendor*priv-lvl=99", nil, ""},
		{"timeout*soon vendor=1", []string{unknown, ignored}, unknown},
		{"malformed", []string{"SERVER sent an argument that is not name=value: malformed"}, "SERVER sent an argument that is not name=value: malformed"},
	} {
		addr := answering(t, testKey, &authorResponse{status: authorPassRepl, args: strings.Fields(tt.args)})
		warnings := func(but string) (text string) {
			for _, w := range tt.warnings {
				if w != but {
					text += "tacacs_plus: warning: " + strings.ReplaceAll(w, "SERVER", addr) + "\n"
				}
			}
			return text
		}
		out := "PASS_REPL\n  " + strings.ReplaceAll(tt.args, " ", "\n  ") + "\n"
		if got := runWith(t, secretsInEnv, "", "authorize", "alice", addr); got != (runResult{0, out, warnings("")}) {
			t.Errorf("%s: got %+v", tt.args, got)
		}
		want := runResult{0, out, warnings(tt.denied)}
		if tt.denied != "" {
			want.code = classDenied.exit()
			want.err += "tacacs_plus: --strict: " + strings.ReplaceAll(tt.denied, "SERVER", addr) + "\n"
		}
		equal(t, runWith(t, secretsInEnv, "", "authorize", "alice", addr, "--strict"), want, tt.args, "with --strict")
	}
	denies := answering(t, testKey, &authorResponse{status: authorFail, args: []string{"vendor=1"}})
	if got := runWith(t, secretsInEnv, "", "authorize", "alice", denies, "--strict"); got != (runResult{1, "FAIL\n  vendor=1\n", ""}) {
		t.Errorf("FAIL: got %+v", got)
	}
}

// TestStrictOfManyCommands: --strict also holds for --cmd-file, where its denial is a verdict, and for --all.
func TestStrictOfManyCommands(t *testing.T) {
	t.Parallel()
	addr := answering(t, testKey, &authorResponse{status: authorPassAdd, args: []string{"vendor=1"}})
	const reason = `--strict: vendor=1 is mandatory .*`
	line := "authorize alice " + addr + " --strict --cmd-file -"
	got := runWith(t, secretsInEnv, "-show\n+ping\n", split(line)...)
	got.check(t, classDenied.exit(), `PASS_ADD show: `+reason+`\nPASS_ADD ping: `+reason+`  <- not permitted\n2 commands: 0 permitted, 2 denied; 1 not as expected\n`, ``)
	got = runWith(t, secretsInEnv, "-show\n+ping\n", split(line+" --all")...)
	got.check(t, classDenied.exit(), `\S+\nPASS_ADD +show: `+reason+`\nPASS_ADD +ping: `+reason+`  <- not permitted\n\S+ 0 permitted, 2 denied; 1 not as expected\n.*: the servers differ on 0\n`, ``)
	got = runWith(t, secretsInEnv, "", split("authorize alice --all --strict "+addr)...)
	got.check(t, classDenied.exit(), `\S+: PASS_ADD\n  vendor=1\n`, `tacacs_plus: \S+: `+reason+`\n`)
}

// TestRequireRepeated: an argument that is not one of RFC 8907 may have several values, of which one must match.
func TestRequireRepeated(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		request, response, require string
		denied                     string
	}{
		{"service=shell", "cisco-av-pair=shell:priv-lvl=15 cisco-av-pair=shell:roles=admin", "cisco-av-pair=shell:roles=admin", ""},
		{"service=shell", "cisco-av-pair=shell:priv-lvl=15 cisco-av-pair=shell:roles=admin", "cisco-av-pair=shell:priv-lvl=15", ""},
		{"service=shell", "cisco-av-pair=a cisco-av-pair*b", "cisco-av-pair=c", "required cisco-av-pair=c not granted (got cisco-av-pair=a,b)"},
		{"service=shell cisco-av-pair*x", "cisco-av-pair=a", "cisco-av-pair=x", ""}, // it does not replace the request's
		{"service=shell", "priv-lvl=1 priv-lvl=15", "priv-lvl=15", "required priv-lvl=15 not granted (got priv-lvl=1,15)"},
		{"service=shell priv-lvl=15", "priv-lvl=1", "priv-lvl=15", "required priv-lvl=15 not granted (got priv-lvl=1)"},
	} {
		addr := answering(t, testKey, &authorResponse{status: authorPassAdd, args: strings.Fields(tt.response)})
		got := runWith(t, secretsInEnv, "", split("authorize alice "+addr+" "+tt.request+" --no-warn mandatory-argument --require "+tt.require)...)
		want := runResult{0, got.out, ""}
		if tt.denied != "" {
			want.code, want.err = 1, "tacacs_plus: "+tt.denied+"\n"
		}
		equal(t, got, want, tt)
	}
}

// TestCR: --cr ends a command as Cisco IOS does.
func TestCR(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ line, in, sent string }{
		{"authorize alice AT --cr --cmd 'show'", "", "service=shell cmd=show cmd-arg=<cr>"},
		{"authorize alice AT --cr --cmd show priv-lvl=1", "", "service=shell cmd=show cmd-arg=<cr> priv-lvl=1"},
		{"authorize alice AT --cr service=shell cmd=show cmd-arg=version acl=1", "", "service=shell cmd=show cmd-arg=version cmd-arg=<cr> acl=1"},
		{"authorize alice AT --cr service=shell cmd=show cmd-arg=<cr>", "", "service=shell cmd=show cmd-arg=<cr>"},
		{"authorize alice AT --cr", "", "service=shell cmd="},
		{"authorize alice AT --cr service=shell cmd= cmd-arg=x", "", "service=shell cmd= cmd-arg=x"},
		{"authorize alice AT --cr service=ppp", "", "service=ppp"},
		{"authorize alice AT --cr --cmd-file -", "+show version\n", "service=shell cmd=show cmd-arg=version cmd-arg=<cr>"},
		{"authorize alice AT --cr --all --cmd-file -", "show version\n", "service=shell cmd=show cmd-arg=version cmd-arg=<cr>"},
		{"account alice AT --cr --cmd show", "", "service=shell cmd=show cmd-arg=<cr>"},
		{"account alice AT --cr --exec -- true x", "", "service=shell cmd=true cmd-arg=x cmd-arg=<cr>"},
		{"bench alice AT -n 1 --authorize --cr --cmd show", "", "service=shell cmd=show cmd-arg=<cr>"},
	} {
		sent := make(chan []string, 2)
		s := startFakeServer(t, func(c *fakeServerConn) {
			for q := range c.requests {
				switch m := q.message.(type) {
				case *authorRequest:
					sent <- slices.Clone(m.args)
				case *acctRequest:
					sent <- slices.Clone(m.args)
				}
				c.Write(c.grantReply(q))
			}
		})
		got := runWith(t, secretsInEnv, tt.in, split(tt.line, "AT", s.addr, "'", "")...)
		if got.code != 0 {
			t.Errorf("%s: got %+v", tt.line, got)
			continue
		}
		args := strings.Join(<-sent, " ")
		if _, rest, found := strings.Cut(args, "timezone=UTC "); found {
			args = rest
		}
		if args != tt.sent {
			t.Errorf("%s: sent %s, want %s", tt.line, args, tt.sent)
		}
	}
}

// TestCommandLineBlanks: an empty cmd-arg leaves two blanks, so that a rule sees what the device sent.
func TestCommandLineBlanks(t *testing.T) {
	equal(t, commandLine([]string{"service=shell", "cmd=show", "cmd-arg=", "cmd-arg=run"}), "show  run")
}

// TestExecRecordable: a command runs as it is, although its record cannot hold it.
func TestExecRecordable(t *testing.T) {
	t.Parallel()
	const warning = "tacacs_plus: warning: the record has the command line escaped to US-ASCII, or cut to what fits\n"
	dir := t.TempDir()
	for _, tt := range []struct {
		name  string
		words []string
		want  []string // the arguments of the command in the record
		err   string
	}{
		{"plain", []string{"a=b", ""}, []string{"cmd-arg=a=b", "cmd-arg="}, ""},
		{"newline", []string{"a\nb"}, []string{`cmd-arg=a\nb`}, warning},
		{"not ASCII", []string{"caf\u00e9", "\xff\t\x7f"}, []string{`cmd-arg=caf\xc3\xa9`, `cmd-arg=\xff\x09\x7f`}, warning},
		{"longest word", []string{long(247)}, []string{"cmd-arg=" + long(247)}, ""},
		{"word too long", []string{long(248), "b"}, []string{"cmd-arg=" + long(244) + "...", "cmd-arg=b"}, warning},
		{"most words", slices.Repeat([]string{"w"}, 246), slices.Repeat([]string{"cmd-arg=w"}, 246), ""},
		{"too many words", slices.Repeat([]string{"w"}, 247), append(slices.Repeat([]string{"cmd-arg=w"}, 245), "cmd-arg=..."), warning},
		{"all of it", slices.Repeat([]string{long(300)}, 300), append(slices.Repeat([]string{"cmd-arg=" + long(244) + "..."}, 245), "cmd-arg=..."), warning},
	} {
		out := filepath.Join(dir, tt.name)
		script := program(t, "#!/bin/sh\nfor w; do printf '%s|' \"$w\"; done >'"+out+"'\n")
		addr, records := acctServer(t, "success", "success")
		line := append([]string{"account", long(255), addr, "-r", long(255), "-P", long(255), "--task-id", long(247), "--cr", "--exec", "--", script}, tt.words...)
		got := runWith(t, secretsInEnv, "", line...)
		if got != (runResult{0, "", tt.err}) {
			t.Errorf("%s: got %+v", tt.name, got)
			continue
		}
		if ran, err := os.ReadFile(out); err != nil || string(ran) != strings.Join(tt.words, "|")+"|" {
			t.Errorf("%s: it ran with %q", tt.name, ran)
		}
		for range 2 {
			r := <-records
			i := slices.Index(r.args, "service=shell")
			if i < 0 || !slices.Equal(r.args[i+2:], append(slices.Clone(tt.want), endOfCommand)) {
				t.Errorf("%s: recorded %q", tt.name, r.args)
			}
		}
	}
}

// TestExecUsage: the exit code of a wrong command line is none that the command could have.
func TestExecUsage(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		"account alice --exec -- true", "account alice 192.0.2.1 --bogus --exec -- true", "account alice 192.0.2.1 --exec --bogus -- true",
		"account alice 192.0.2.1 --exec", "account alice 192.0.2.1 --exec -f stop -- true", "account alice 192.0.2.1 --exec --key-file /nothing -- true",
		"account alice 192.0.2.1 --exec bytes=abc -- true", "account alice no-such-host.invalid:0 --exec -- true", "account alice 192.0.2.1 @/nothing --exec -- true",
	} {
		if got := runWith(t, secretsInEnv, "", split(line)...); got.code != exitUnrecorded || got.out != "" || !strings.HasPrefix(got.err, "tacacs_plus: ") {
			t.Errorf("%s: got %+v", line, got)
		}
	}
	for _, line := range []string{"account alice 192.0.2.1 --exec=false --bogus", "account alice 192.0.2.1 --bogus -- --exec"} {
		if got := runWith(t, secretsInEnv, "", split(line)...); got.code != classUsage.exit() {
			t.Errorf("%s: got %+v", line, got)
		}
	}
}
