package main

import (
	"bufio"
	"bytes"
	"strings"
	"testing"
	"time"
)

// What serve prints of a session: what comes from the client is escaped, and its words stay apart.
func TestServedLine(t *testing.T) {
	const stamp = "2023-11-14T22:13:20.500Z 192.0.2.9:1024 "
	at := time.UnixMilli(1700000000500).In(time.FixedZone("CET", 3600))
	for _, test := range []struct {
		name    string
		served  served
		verbose bool
		want    string
	}{
		{"a login", served{User: "alice", Request: "authenticate", AuthenType: "pap", Status: "PASS", ServerMsg: "hello\n"}, false,
			"alice authenticate pap PASS: hello"},
		{"a login, verbose", served{User: "alice", Request: "enable", AuthenType: "ascii", PrivLvl: 15, Port: "tty0", Status: "FAIL"}, true,
			`alice enable ascii priv_lvl=15 port=tty0 rem_addr="" FAIL`},
		{"no user", served{Request: "authenticate", Status: "GETUSER"}, false,
			`"" authenticate GETUSER`},
		{"a user to beware of", served{User: "a b\x1b[m\n", Request: "authenticate", Status: "FAIL", ServerMsg: "no\x9b"}, false,
			`"a b\x1b[m\n" authenticate FAIL: no\x9b`},
		{"a command", served{User: "bob", Request: "authorize", CommandLine: "show version\x07", Args: []string{"service=shell"}, Status: "PASS_ADD"}, false,
			`bob authorize "show version\x07" PASS_ADD`},
		{"a command, verbose", served{User: "bob", Request: "authorize", CommandLine: "show", Args: []string{"service=shell", "cmd=show"}, RemAddr: "::1", Status: "FAIL"}, true,
			`bob authorize service=shell cmd=show priv_lvl=0 port="" rem_addr=::1 FAIL`},
		{"a record", served{User: "bob", Request: "account", Flag: "stop", CommandLine: "show", Args: []string{"task_id=7", "reason=a b"}, Status: "SUCCESS"}, false,
			`bob account stop task_id=7 "reason=a b" SUCCESS`},
		{"what is wrong with a connection", served{Error: "wrong key\n"}, false,
			`wrong key\n`},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.served.Time, test.served.Peer = at, "192.0.2.9:1024"
			var out bytes.Buffer
			log := &sessionLog{out: bufio.NewWriter(&out), verbose: test.verbose}
			log.write(&test.served)
			test.served.Time = at.Add(508 * time.Millisecond) // in another second
			log.write(&test.served)
			log.flush()
			line := test.want + "\n"
			if got, want := out.String(), stamp+line+strings.Replace(stamp, "20.500", "21.008", 1)+line; got != want {
				t.Errorf("got\n%swant\n%s", got, want)
			}
		})
	}
}

func TestServedJSON(t *testing.T) {
	s := served{Time: time.UnixMilli(1700000000500).UTC(), Peer: "192.0.2.9:1024", User: "a\x9b", Request: "authorize", Port: "\x7f", RemAddr: "\x1b",
		CommandLine: "show\n", Args: []string{"cmd=\x00"}, Status: "FAIL", ServerMsg: "<\u202e>"}
	want := `{"time":"2023-11-14T22:13:20.5Z","peer":"192.0.2.9:1024","user":"a\\x9b","request":"authorize","priv_lvl":0,"port":"\\x7f","rem_addr":"\\x1b",` +
		`"cmd":"show\\n","arguments":["cmd=\\x00"],"status":"FAIL","server_msg":"<\\xe2\\x80\\xae>"}` + "\n"
	for range 2 { // it escapes a copy
		if got := string(s.appendJSON(nil)); got != want {
			t.Errorf("got\n%swant\n%s", got, want)
		}
	}
	s = served{Peer: "192.0.2.9:1024", Error: "wrong key\x1b"}
	want = `{"time":"0001-01-01T00:00:00Z","peer":"192.0.2.9:1024","error":"wrong key\\x1b"}` + "\n"
	if got := string(s.appendJSON(nil)); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
