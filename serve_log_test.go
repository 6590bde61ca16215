package main

import (
	"bytes"
	"errors"
	"fmt"
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
			log := &sessionLog{out: &out, verbose: test.verbose}
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

// A smallDisk takes so many octets and no more, until there is room again.
type smallDisk struct {
	lockedBuffer
	room int
}

func (d *smallDisk) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := min(d.room, len(p))
	d.room -= n
	d.b.Write(p[:n])
	if n < len(p) {
		return n, errors.New("no space left on device")
	}
	return n, nil
}

// give makes room.
func (d *smallDisk) give(octets int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.room = octets
}

// TestFullDisk: what a full disk leaves of the lines comes whole once there is room, but for records that
// were not confirmed; those that have begun are ended.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	line := func(user string) *served {
		return &served{Time: time.UnixMilli(1000), Peer: "192.0.2.9:1024", User: user, Request: "account", Status: "SUCCESS"}
	}
	const size = len("1970-01-01T00:00:01.000Z 192.0.2.9:1024 a account SUCCESS\n")
	for room := range 3*size + 1 {
		disk, told := &smallDisk{room: room}, new(bytes.Buffer)
		l := &sessionLog{out: disk, tell: func(format string, args ...any) { fmt.Fprintf(told, format+"\n", args...) }}
		l.write(line("a"))
		first := l.record(line("b"))
		second := l.record(line("c"))
		if done := room / size; (first == nil) != (done >= 2) || (second == nil) != (done >= 3) {
			t.Fatalf("room for %d octets: %v, %v", room, first, second)
		}
		disk.give(1 << 20)
		if err := l.record(line("d")); err != nil {
			t.Fatalf("room for %d octets: %v, although there is room now", room, err)
		}
		want := "a"
		if room > size {
			want += "b"
		}
		if room > 2*size {
			want += "c"
		}
		var got string
		for _, s := range strings.SplitAfter(disk.String(), "\n") {
			if len(s) == size {
				got += s[size-len("a account SUCCESS\n"):][:1]
			} else if s != "" {
				t.Fatalf("room for %d octets: half a line, %q", room, s)
			}
		}
		if got != want+"d" {
			t.Fatalf("room for %d octets: the lines are of %s, not %s", room, got, want+"d")
		}
		const both = "lines of sessions cannot be written: no space left on device; accounting records are answered with ERROR meanwhile\n" +
			"lines of sessions can be written again; 0 were lost\n"
		if failed := room < 3*size; failed != (told.String() == both) || !failed && told.Len() > 0 {
			t.Fatalf("room for %d octets: it tells %q", room, told)
		}
	}
}

// TestLinesLost: while nothing can be written so many lines wait and no more, and how many are lost is
// told.
func TestLinesLost(t *testing.T) {
	t.Parallel()
	disk, told := new(smallDisk), new(bytes.Buffer)
	l := &sessionLog{out: disk, tell: func(format string, args ...any) { fmt.Fprintf(told, format+"\n", args...) }}
	s := &served{Peer: "192.0.2.9:1024", User: "alice", Status: "PASS"}
	for round := range 2 {
		const lines = 10_000
		for range lines {
			l.write(s)
			if len(l.queue) > maxQueued+100 {
				t.Fatalf("%d octets wait", len(l.queue))
			}
		}
		disk.give(1 << 20)
		if err := l.flush(); err != nil {
			t.Error(err)
		}
		kept := strings.Count(disk.String(), "\n")
		want := fmt.Sprintf("can be written again; %d were lost\n", lines-kept)
		if !strings.HasSuffix(told.String(), want) || kept < maxQueued/100 || strings.Count(told.String(), "\n") != 2*(round+1) {
			t.Errorf("%d lines are there, and it tells %s", kept, told)
		}
		disk.b.Reset()
		disk.give(0)
	}
}
