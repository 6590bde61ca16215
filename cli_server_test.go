package main

import (
	"fmt"
	"strings"
	"testing"
)

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
			t.Errorf("%s is %q, %v, not %q", list, got, err, want)
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
			t.Errorf("%s asks %s, %v, not %s", line, got, err, want)
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
