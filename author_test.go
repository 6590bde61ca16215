package main

import (
	"errors"
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
		if got := hasArg(args, name); got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
}

func TestCheckArgs(t *testing.T) {
	long := "a=" + strings.Repeat("x", 253)
	for _, test := range []struct {
		name string
		args []string
		want string // empty if they are allowed
	}{
		{"none", nil, ""},
		{"usual ones", []string{"service=shell", "cmd=", "cmd-arg=a b", "idletime*10"}, ""},
		{"the shortest", []string{"a="}, ""},
		{"the longest", []string{long}, ""},
		{"the most", slices.Repeat([]string{long}, 255), ""},
		{"too long", []string{"a=", long + "x"}, "argument " + long[:57] + "... is 256 bytes, the limit is 255"},
		{"too many", slices.Repeat([]string{"a="}, 256), "256 arguments, the limit is 255"},
		{"no separator", []string{"cmd"}, "argument cmd has no separator: write name=value, or name*value if it is optional"},
		{"nothing at all", []string{""}, "argument \"\" has no separator: write name=value, or name*value if it is optional"},
		{"no name", []string{"=shell"}, "argument =shell has no name before the separator"},
		{"no name, optional", []string{"*shell"}, "argument *shell has no name before the separator"},
		{"control character", []string{"cmd=a\x1b[m"}, `argument cmd=a\x1b[m is not printable US-ASCII`},
		{"newline", []string{"cmd=a\n"}, `argument cmd=a\n is not printable US-ASCII`},
		{"DEL", []string{"cmd=\x7f"}, `argument cmd=\x7f is not printable US-ASCII`},
		{"beyond ASCII", []string{"cmd=ä"}, "argument cmd=ä is not printable US-ASCII"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := checkArgs(test.args)
			if test.want == "" {
				if err != nil {
					t.Errorf("got %v, want no error", err)
				}
				return
			}
			if err == nil || err.Error() != test.want {
				t.Errorf("got %v, want %s", err, test.want)
			}
			var f *failure
			if !errors.As(err, &f) || f.class != classUsage {
				t.Errorf("got %#v, want the class %s", err, classUsage)
			}
		})
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
		if got := strings.Join(effectiveArgs(test.status, request, test.response), " "); got != test.want {
			t.Errorf("%s with %q: got %q, want %q", test.status, test.response, got, test.want)
		}
	}
	// The added arguments must not be written to the memory of the request.
	request = append(make([]string, 0, 9), request...)
	effectiveArgs(authorPassAdd, request, response)
	if got := request[:3][2]; got != "" {
		t.Errorf("got %q after the arguments of the request, want an empty string", got)
	}
}

func TestCommandArgs(t *testing.T) {
	for command, want := range map[string]string{
		"show":                     "service=shell cmd=show",
		"show ip route":            "service=shell cmd=show cmd-arg=ip cmd-arg=route",
		"ping a=b ping":            "service=shell cmd=ping cmd-arg=a=b cmd-arg=ping",
		"configure terminal <cr>":  "service=shell cmd=configure cmd-arg=terminal cmd-arg=<cr>",
		"show version | include *": "service=shell cmd=show cmd-arg=version cmd-arg=| cmd-arg=include cmd-arg=*",
	} {
		if got := strings.Join(commandArgs(strings.Fields(command)), " "); got != want {
			t.Errorf("%s: got %s, want %s", command, got, want)
		}
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
		if got := strings.Join(completeShell(strings.Fields(args)), " "); got != want {
			t.Errorf("%q: got %q, want %q", args, got, want)
		}
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
		if got := holds(args, want); got != held {
			t.Errorf("%s: got %v, want %v", want, got, held)
		}
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
		if got := strings.Join(effectiveArgs(authorPassAdd, strings.Fields(request), strings.Fields(tt.response)), " "); got != tt.effective {
			t.Errorf("%s: got %s, want %s", tt.response, got, tt.effective)
		}
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
