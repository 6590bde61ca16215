package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// presetServer grants everything. requests returns the fields of each request with a user, in the form
// "type level port arguments".
func presetServer(t *testing.T) (addr string, requests func() []string) {
	t.Helper()
	sent := make(chan string, 32)
	s := startFakeServer(t, func(c *fakeServerConn) {
		for q := range c.requests {
			fields, args := &q.start.commonFields, []string{}
			switch m := q.message.(type) {
			case *authorRequest:
				fields, args = &m.commonFields, m.args
			case *acctRequest:
				_, rest, _ := strings.Cut(strings.Join(m.args, " "), " timezone=UTC ")
				fields, args = &m.commonFields, []string{m.flags.String(), rest}
			}
			if q.user != "" && q.continues == nil {
				sent <- strings.Join(append([]string{fields.typ.String(), fmt.Sprint(fields.privLvl), fields.port}, args...), " ")
			}
			c.Write(c.grantReply(q))
		}
	})
	return s.addr, func() (list []string) {
		for len(sent) > 0 {
			list = append(list, <-sent)
		}
		return list
	}
}

// TestPresetRequests: what is sent with each preset, and with options that override it.
func TestPresetRequests(t *testing.T) {
	t.Parallel()
	_, env := profileDir(t, "devices", "as ios\nauthen-type pap\n", "options", "authen-type pap\npriv-lvl 7\nvirtual-port vty9\ncr\n")
	for name, value := range secretsInEnv {
		env[name] = value
	}
	for _, tt := range []struct {
		line, in string
		sent     []string
	}{
		{"authorize bob AT", "", []string{"ascii 0 tty0 service=shell cmd="}},
		{"authorize bob AT --as ios", "", []string{"ascii 1 tty1 service=shell cmd*"}},
		{"authorize bob AT --as IOS --cmd show_version", "", []string{"ascii 1 tty1 service=shell cmd=show cmd-arg=version cmd-arg=<cr>"}},
		{"authorize bob AT --as nxos", "", []string{"pap 0 tty0 service=shell cmd= cisco-av-pair* shell:roles*"}},
		{"authorize bob AT --as nxos --cmd show_version", "", []string{"pap 0 tty0 service=shell cmd=show cmd-arg=version"}},
		{"authorize bob AT --as junos", "", []string{"ascii 0 tty0 service=junos-exec"}},
		{"authorize bob AT --as panos", "", []string{"chap 0 tty0 service=PaloAlto protocol=firewall"}},
		{"authorize bob AT --as panos --all", "", []string{"chap 0 tty0 service=PaloAlto protocol=firewall"}},

		{"authorize bob AT --as nxos -t mschap -l 15 -P vty3", "", []string{"mschap 15 vty3 service=shell cmd= cisco-av-pair* shell:roles*"}},
		{"authorize bob AT --as ios -l 0 -P ''", "", []string{"ascii 0  service=shell cmd*"}},
		{"authorize bob AT --as ios --cr=false --cmd show", "", []string{"ascii 1 tty1 service=shell cmd=show"}},
		{"authorize bob AT --as nxos --cr --cmd show", "", []string{"pap 0 tty0 service=shell cmd=show cmd-arg=<cr>"}},
		{"authorize bob AT --as nxos shell:roles*admin acl=1", "", []string{"pap 0 tty0 service=shell cmd= cisco-av-pair* shell:roles*admin acl=1"}},
		{"authorize bob AT --as nxos service=ppp protocol=ip", "", []string{"pap 0 tty0 service=ppp protocol=ip"}},
		{"authorize bob AT --as ios service=shell cmd=show", "", []string{"ascii 1 tty1 service=shell cmd=show cmd-arg=<cr>"}},

		{"authorize bob AT --as ios --cmd-file -", "+show version\n- reload\n", []string{
			"ascii 1 tty1 service=shell cmd=reload cmd-arg=<cr>", "ascii 1 tty1 service=shell cmd=show cmd-arg=version cmd-arg=<cr>"}},
		{"authorize bob AT --as nxos --cmd-file - --all", "show version\n", []string{"pap 0 tty0 service=shell cmd=show cmd-arg=version"}},

		{"check bob AT --as ios --cmd show_version", "", []string{"ascii 1 tty1", "ascii 1 tty1 service=shell cmd=show cmd-arg=version cmd-arg=<cr>"}},
		{"check bob AT --as nxos --types", "", []string{"ascii 0 tty0", "chap 0 tty0", "mschap 0 tty0", "pap 0 tty0"}},
		{"check bob AT --as junos", "", []string{"ascii 0 tty0"}},
		{"check bob AT --as panos --types -t pap", "", []string{"chap 0 tty0", "pap 0 tty0"}},
		{"check bob AT --types", "", []string{"ascii 0 tty0", "chap 0 tty0", "mschap 0 tty0", "mschapv2 0 tty0", "pap 0 tty0"}},

		{"login bob AT --as ios --cmd show", "", []string{"ascii 1 tty1", "ascii 1 tty1 service=shell cmd*", "ascii 1 tty1 service=shell cmd=show cmd-arg=<cr>",
			"ascii 1 tty1 start service=shell cmd=", "ascii 1 tty1 stop service=shell cmd="}},
		{"login bob AT --as nxos", "", []string{"pap 0 tty0", "pap 0 tty0 service=shell cmd= cisco-av-pair* shell:roles*", "pap 0 tty0 start service=shell cmd=", "pap 0 tty0 stop service=shell cmd="}},
		{"login bob AT --as panos", "", []string{"chap 0 tty0", "chap 0 tty0 service=PaloAlto protocol=firewall",
			"chap 0 tty0 start service=PaloAlto protocol=firewall", "chap 0 tty0 stop service=PaloAlto protocol=firewall"}},
		{"login bob AT --as junos", "", []string{"ascii 0 tty0", "ascii 0 tty0 service=junos-exec", "ascii 0 tty0 start service=junos-exec", "ascii 0 tty0 stop service=junos-exec"}},
		{"check bob AT --as nxos --login", "", []string{"pap 0 tty0", "pap 0 tty0 service=shell cmd= cisco-av-pair* shell:roles*", "pap 0 tty0 start service=shell cmd=", "pap 0 tty0 stop service=shell cmd="}},

		{"authorize bob AT @options --as ios --cmd show", "", []string{"ascii 1 tty1 service=shell cmd=show cmd-arg=<cr>"}},
		{"authorize bob AT @options --as nxos --cmd show", "", []string{"pap 0 tty0 service=shell cmd=show"}},
		{"authorize bob AT @devices -t ascii --as nxos", "", []string{"ascii 0 tty0 service=shell cmd= cisco-av-pair* shell:roles*"}},
		{"check -H AT @devices", "", nil},
	} {
		addr, requests := presetServer(t)
		got := runWith(t, env, tt.in, split(tt.line, "AT", addr, "_", " ", "'", "")...)
		list := requests()
		if slices.Sort(list); !slices.Equal(list, tt.sent) || strings.Contains(got.err, "usage") {
			t.Errorf("%s: sent %q, want %q\n%+v", tt.line, list, tt.sent, got)
		}
	}
}

// TestPresetBytes: the bodies of a login and of an authorization, written by hand.
func TestPresetBytes(t *testing.T) {
	t.Parallel()
	bodies := make(chan []byte, 1)
	s := startFakeServer(t, func(c *fakeServerConn) {
		h, body, _ := c.readPacket(testKey)
		bodies <- body
		c.Write(c.reply(&fakeRequest{header: h}, &authorResponse{status: authorPassAdd}, sameFlags(h)))
	})
	// method 6, level, type, service, the lengths of user, port and rem_addr, the number of arguments and their lengths
	for preset, want := range map[string]string{
		"ios":   "\x06\x01\x01\x01\x03\x04\x00\x02\x0d\x04" + "bobtty1" + "service=shell" + "cmd*",
		"nxos":  "\x06\x00\x02\x01\x03\x04\x00\x04\x0d\x04\x0e\x0c" + "bobtty0" + "service=shell" + "cmd=" + "cisco-av-pair*" + "shell:roles*",
		"junos": "\x06\x00\x01\x01\x03\x04\x00\x01\x12" + "bobtty0" + "service=junos-exec",
		"panos": "\x06\x00\x03\x01\x03\x04\x00\x02\x10\x11" + "bobtty0" + "service=PaloAlto" + "protocol=firewall",
	} {
		got := runWith(t, secretsInEnv, "", split("authorize bob AT -r ADDR --as "+preset, "AT", s.addr, "ADDR", "a")...)
		want = strings.Replace(want, "\x03\x04\x00", "\x03\x04\x01", 1)
		at := strings.Index(want, "bobtty") + len("bobtty0")
		want = want[:at] + "a" + want[at:]
		if body := string(<-bodies); body != want || got.code != 0 {
			t.Errorf("%s: sent %q, want %q\n%+v", preset, body, want, got)
		}
	}
}

func TestPresetUsage(t *testing.T) {
	t.Parallel()
	l := listen(t)
	for _, tt := range []struct{ line, err string }{
		{"authorize bob AT --as nxso", `option --as: "nxso" is not one of ios nxos junos panos: did you mean nxos\?`},
		{"authorize bob AT --as cisco", `option --as: "cisco" is not one of ios nxos junos panos`},
		{"authorize bob AT --as ''", `option --as: "" is not one of ios nxos junos panos`},
		{"authorize bob AT --as ios -t chap", "Cisco IOS, IOS XE does not use the authentication type chap\nhint: with --as ios, --authen-type is one of ascii"},
		{"authorize bob AT --as nxos -t mschapv2", "Cisco NX-OS does not use the authentication type mschapv2\nhint: with --as nxos, --authen-type is one of pap ascii chap mschap"},
		{"check bob AT --as panos -t ascii", "Palo Alto PAN-OS does not use the authentication type ascii\nhint: with --as panos, --authen-type is one of chap pap"},
		{"authorize bob AT --as junos --cmd show", "--cmd cannot be used with --as junos: Juniper Junos authorizes no commands\nhint: leave out --cmd: the reply to the login has the rules for commands"},
		{"authorize bob AT --as panos --cmd-file -", "--cmd-file cannot be used with --as panos: Palo Alto PAN-OS authorizes no commands\nhint: leave out --cmd-file: .*"},
		{"check bob AT --as panos --cmd show", "--cmd cannot be used with --as panos: .*\nhint: .*"},
		{"check AT --as ios", "--as needs USER"},
		{"authorize bob AT --as nxos cmd=show", "no service among the arguments\nhint: add service=shell.*"},
		{"login bob AT --as junos --cmd show", "--cmd cannot be used with --as junos: .*\nhint: .*"},
		{"login bob AT --as panos -t ascii", "Palo Alto PAN-OS does not use .*\nhint: .*"},
		{"authenticate bob AT --as ios", "unknown option --as\nhint: it is an option of authorize, login, check"},
	} {
		want := "tacacs_plus: " + strings.ReplaceAll(tt.err, "\n", "\ntacacs_plus: ") + "\n"
		runWith(t, secretsInEnv, "", split(tt.line, "AT", l.Addr().String())...).check(t, 2, "", want)
	}
	checkUntouched(t, l)
}

func TestPresetHelp(t *testing.T) {
	t.Parallel()
	got := runWith(t, nil, "", "help", "devices")
	got.check(t, 0, `ios    Cisco IOS, IOS XE  service=shell cmd\*
nxos   Cisco NX-OS        service=shell cmd= cisco-av-pair\* shell:roles\*
junos  Juniper Junos      service=junos-exec
panos  Palo Alto PAN-OS   service=PaloAlto protocol=firewall
`, "")
	for line := range strings.Lines(got.out) {
		if len(line) > helpWidth+1 {
			t.Errorf("%d columns: %s", len(line), line)
		}
	}
	runWith(t, nil, "", "completion", "--", "authorize", "--as", "").check(t, 0, "ios\t\nnxos\t\njunos\t\npanos\t\n", "")
	runWith(t, nil, "", "completion", "--", "check", "--as=n").check(t, 0, "--as=nxos\t\n", "")
	runWith(t, nil, "", "completion", "--", "help", "dev").check(t, 0, "devices\twhat --as sends\n", "")
	if len(presets) != len(presetNames) {
		t.Errorf("%d presets, %d names", len(presets), len(presetNames))
	}
}
