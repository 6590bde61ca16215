package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestSessionLogFullDisk: lines that a full disk delays are written once there is room. Unconfirmed records are not
// written; partly written ones are marked.
func TestSessionLogFullDisk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		line := func(user string) *sessionRecord {
			return &sessionRecord{at: time.UnixMilli(1000), peer: netip.MustParseAddrPort("192.0.2.9:1024"), known: true, commonFields: commonFields{user: user}, request: "account", status: "SUCCESS"}
		}
		const size = len("1970-01-01T00:00:01.000Z 192.0.2.9:1024 a account SUCCESS\n")
		for room := range 3*size + 1 {
			disk, reports := &smallDisk{room: room}, new(bytes.Buffer)
			l := &sessionLog{out: newQueuedWriter(t.Context(), disk)}
			l.out.what, l.out.loss, l.out.warnf = sessionLines, "; so", func(format string, args ...any) { fmt.Fprintf(reports, format+"\n", args...) }
			l.write(line("a"))
			first := l.writeNow(line("b"))
			second := l.writeNow(line("c"))
			if done := room / size; (first == nil) != (done >= 2) || (second == nil) != (done >= 3) {
				t.Fatalf("room for %d bytes: %v, %v", room, first, second)
			}
			synctest.Wait() // the warning is made
			disk.give(1 << 20)
			if err := l.writeNow(line("d")); err != nil {
				t.Fatalf("room for %d bytes: %v, although there is room now", room, err)
			}
			// The lines among a, b and c that were written, completely or in part.
			var got, want string
			for i, user := range "abc" {
				switch left := room - i*size; {
				case left >= size || i == 0:
					want += string(user)
				case left > 0:
					want += "cut"
				}
			}
			for _, s := range strings.SplitAfter(disk.String(), "\n") {
				switch {
				case strings.HasSuffix(s, cutRecord):
					got += "cut"
				case len(s) == size:
					got += s[size-len("a account SUCCESS\n"):][:1]
				case s != "":
					t.Fatalf("room for %d bytes: half a line, %q", room, s)
				}
			}
			if got != want+"d" {
				t.Fatalf("room for %d bytes: got the lines of %s, want %s:\n%s", room, got, want+"d", disk)
			}
			synctest.Wait()
			const both = "cannot write session lines: no space left on device; so\n" +
				"session lines are written again (0 lost)\n"
			if failed := room < 3*size; failed != (reports.String() == both) || !failed && reports.Len() > 0 {
				t.Fatalf("room for %d bytes: reported %q", room, reports)
			}
		}
	})
}

// TestSessionLogLinesLost: while writes fail, the number of queued lines is limited, and the lost lines are counted.
func TestSessionLogLinesLost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		disk, reports := new(smallDisk), new(bytes.Buffer)
		l := &sessionLog{out: newQueuedWriter(t.Context(), disk)}
		l.out.what, l.out.loss, l.out.warnf = sessionLines, "; so", func(format string, args ...any) { fmt.Fprintf(reports, format+"\n", args...) }
		s := &sessionRecord{at: time.UnixMilli(1000), peer: netip.MustParseAddrPort("192.0.2.9:1024"), commonFields: commonFields{user: "alice"}, status: "PASS"}
		for round := range 2 {
			const lines = 10_000
			for range lines {
				l.write(s)
				if len(l.out.queue) > maxQueued+100 {
					t.Fatalf("%d bytes are queued", len(l.out.queue))
				}
			}
			synctest.Wait() // the warning is made
			disk.give(1 << 20)
			must(t, l.flush())
			synctest.Wait()
			written := strings.Count(disk.String(), "\n")
			want := fmt.Sprintf("are written again (%d lost)\n", lines-written)
			if !strings.HasSuffix(reports.String(), want) || written < maxQueued/100 || strings.Count(reports.String(), "\n") != 2*(round+1) {
				t.Errorf("%d lines are written, reported %s", written, reports)
			}
			disk.b.Reset()
			disk.give(0)
		}
	})
}

// TestSessionLogLine: a record as a line, with and without -v. Text from the network is escaped, and unknown values are
// omitted.
func TestSessionLogLine(t *testing.T) {
	t.Parallel()
	const stamp = "2023-11-14T22:13:20.500Z 192.0.2.9:1024 "
	at := time.UnixMilli(1700000000500).In(time.FixedZone("CET", 3600))
	alice := commonFields{typ: authenPAP, user: "alice"}
	bob := commonFields{typ: authenNotSet, user: "bob", remAddr: "::1"}
	for _, test := range []struct {
		name    string
		record  sessionRecord
		verbose bool
		want    string
	}{
		{"a login", sessionRecord{known: true, commonFields: alice, request: "authenticate", status: "PASS", serverMsg: "hello\n"}, false,
			"alice authenticate pap PASS: hello"},
		{"a login, verbose", sessionRecord{known: true, action: authenLogin, commonFields: commonFields{typ: authenASCII, privLvl: 15, service: authenServiceEnable, user: "alice", port: "tty0"}, request: "enable", status: "FAIL"}, true,
			`alice enable ascii priv_lvl=15 port=tty0 rem_addr="" action=login service=enable FAIL`},
		{"a server with its response time", sessionRecord{known: true, server: netip.MustParseAddrPort("[2001:db8::1]:49"), commonFields: alice, request: "chpass", status: "FAIL", serverMsg: "no", took: 1249 * time.Microsecond}, false,
			"> [2001:db8::1]:49 alice chpass pap FAIL: no (1.2 ms)"},
		{"no user", sessionRecord{known: true, commonFields: commonFields{typ: authenASCII}, request: "authenticate", status: "NO_REPLY"}, false,
			`"" authenticate ascii NO_REPLY`},
		{"an unreadable session", sessionRecord{request: "authenticate", status: "NO_KEY", took: time.Second}, true,
			`- authenticate NO_KEY (1000.0 ms)`},
		{"an unreadable START", sessionRecord{commonFields: commonFields{user: "eve"}, request: "authenticate", status: "CUT"}, true,
			`eve authenticate CUT`},
		{"a user name with control characters", sessionRecord{known: true, commonFields: commonFields{typ: authenPAP, user: "a b\x1b[m\n"}, request: "authenticate", status: "FAIL", serverMsg: "no\x9b"}, false,
			`"a b\x1b[m\n" authenticate pap FAIL: no\x9b`},
		{"a command", sessionRecord{known: true, commonFields: bob, request: "authorize", args: []string{"service=shell", "cmd=show", "cmd-arg=version\x07"}, status: "PASS_ADD"}, false,
			`bob authorize "show version\x07" PASS_ADD`},
		{"a command, verbose", sessionRecord{known: true, commonFields: bob, request: "authorize", args: []string{"service=shell", "cmd=show"}, status: "FAIL"}, true,
			`bob authorize service=shell cmd=show priv_lvl=0 port="" rem_addr=::1 method=not_set service=none FAIL`},
		{"no command", sessionRecord{known: true, commonFields: bob, request: "authorize", args: []string{"service=shell", "cmd="}, status: "FAIL"}, false,
			`bob authorize service=shell cmd= FAIL`},
		{"an accounting record", sessionRecord{known: true, commonFields: bob, request: "account", flag: "stop", args: []string{"task_id=7", "cmd=show", "reason=a b"}, status: "SUCCESS"}, false,
			`bob account stop task_id=7 cmd=show "reason=a b" SUCCESS`},
		{"a problem of a connection", sessionRecord{server: netip.MustParseAddrPort("192.0.2.1:49"), problem: "wrong key\n"}, false,
			`> 192.0.2.1:49 wrong key\n`},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.record.at, test.record.peer = at, netip.MustParseAddrPort("192.0.2.9:1024")
			var out bytes.Buffer
			log := &sessionLog{out: newQueuedWriter(context.Background(), &out), verbose: test.verbose}
			log.write(&test.record)
			test.record.at = at.Add(508 * time.Millisecond) // in another second
			log.write(&test.record)
			test.record.at = time.Time{} // a capture without times
			log.write(&test.record)
			log.flush()
			line := test.want + "\n"
			want := stamp + line + strings.Replace(stamp, "20.500", "21.008", 1) + line + "192.0.2.9:1024 " + line
			equal(t, out.String(), want)
		})
	}
}

// TestSessionLogObject: a record as JSON. Unknown values are omitted.
func TestSessionLogObject(t *testing.T) {
	t.Parallel()
	peer := netip.MustParseAddrPort("192.0.2.9:1024")
	for _, tt := range []struct {
		record sessionRecord
		want   string
	}{
		{sessionRecord{at: time.UnixMilli(1700000000500), peer: peer, server: netip.MustParseAddrPort("192.0.2.1:49"), id: 0xabc, known: true,
			commonFields: commonFields{typ: authenPAP, user: "a\x9b", port: "\x7f", remAddr: "\x1b"}, request: "authorize",
			args: []string{"cmd=show\n", "x=\x00"}, status: "FAIL", serverMsg: "<\u202e>", took: 1500 * time.Microsecond, total: 2 * time.Second, packets: 2, key: "keys\x07:3"},
			`{"time":"2023-11-14T22:13:20.500Z","peer":"192.0.2.9:1024","server":"192.0.2.1:49","session_id":"00000abc","user":"a\\x9b","request":"authorize",` +
				`"authen_type":"pap","priv_lvl":0,"port":"\\x7f","rem_addr":"\\x1b","service":"none","method":"not_set","cmd":"show","arguments":["cmd=show\\n","x=\\x00"],` +
				`"status":"FAIL","server_msg":"<\\xe2\\x80\\xae>","server_ms":1.5,"total_ms":2000,"packets":2,"key":"keys\\x07:3"}`},
		{sessionRecord{peer: peer, id: 1, request: "account", status: "NO_KEY", packets: 1},
			`{"peer":"192.0.2.9:1024","session_id":"00000001","request":"account","status":"NO_KEY","packets":1}`},
		{sessionRecord{at: time.Unix(0, 0), peer: peer, problem: "wrong key\x1b"},
			`{"time":"1970-01-01T00:00:00.000Z","peer":"192.0.2.9:1024","error":"wrong key\\x1b"}`},
	} {
		for range 2 { // the record itself is not escaped
			equal(t, string(tt.record.appendJSON(nil)), tt.want+"\n")
		}
	}
}

// TestSessionLogTracker checks the record of a session. Each packet has the milliseconds since the start.
func TestSessionLogTracker(t *testing.T) {
	t.Parallel()
	who := commonFields{privLvl: 1, typ: authenASCII, service: authenServiceLogin, user: "alice", port: "tty1", remAddr: "::1"}
	start := func(user string) *authenStart {
		m := &authenStart{action: authenLogin, commonFields: who}
		m.user = user
		return m
	}
	prompt := func(status authenStatus) *authenReply { return &authenReply{status: status, serverMsg: "prompt"} }
	verdict := &authenReply{status: authenPass, serverMsg: "hello", data: "data"}
	enable, chpass := start("alice"), start("alice")
	enable.service, chpass.action = authenServiceEnable, authenChPass
	type sent struct {
		ms int
		m  message
	}
	for _, tt := range []struct {
		name    string
		typ     packetType
		first   uint8 // seq_no
		packets []sent
		want    string // the verbose line and the total time; it begins with ... if the session is not over
	}{
		{"a login", typeAuthen, 1, []sent{{0, start("alice")}, {3, verdict}},
			"alice authenticate ascii priv_lvl=1 port=tty1 rem_addr=::1 action=login service=login PASS: hello (3.0 ms) 3ms"},
		{"an ERROR with blanks as its message", typeAuthen, 1, []sent{{0, start("alice")}, {3, &authenReply{status: authenError, serverMsg: " \n", data: "no LDAP"}}},
			"alice authenticate ascii priv_lvl=1 port=tty1 rem_addr=::1 action=login service=login ERROR: no LDAP (3.0 ms) 3ms"},
		{"a dialogue: the time of the person is not counted", typeAuthen, 1, []sent{{0, start("alice")}, {2, prompt(authenGetPass)}, {500, answerWith("secret")}, {503, verdict}},
			"alice authenticate ascii priv_lvl=1 port=tty1 rem_addr=::1 action=login service=login PASS: hello (5.0 ms) 503ms"},
		{"the name in a CONTINUE", typeAuthen, 1, []sent{{0, start("")}, {2, prompt(authenGetUser)}, {3, answerWith("bob")}, {4, prompt(authenGetPass)}, {5, answerWith("secret")}, {6, verdict}},
			"bob authenticate ascii priv_lvl=1 port=tty1 rem_addr=::1 action=login service=login PASS: hello (4.0 ms) 6ms"},
		{"a name of 255 bytes", typeAuthen, 1, []sent{{0, start("")}, {2, prompt(authenGetUser)}, {3, answerWith(long(255))}},
			"... " + long(255) + " authenticate ascii priv_lvl=1 port=tty1 rem_addr=::1 action=login service=login NO_REPLY (2.0 ms) 3ms"},
		{"a name over the limit", typeAuthen, 1, []sent{{0, start("")}, {2, prompt(authenGetUser)}, {3, answerWith(long(256))}},
			`... "" authenticate ascii priv_lvl=1 port=tty1 rem_addr=::1 action=login service=login NO_REPLY (2.0 ms) 3ms`},
		{"a password is not used as the name", typeAuthen, 1, []sent{{0, start("")}, {2, prompt(authenGetUser)}, {3, answerWith("bob")}, {4, prompt(authenGetData)}, {5, answerWith("secret")}, {6, prompt(authenGetPass)}},
			"... bob authenticate ascii priv_lvl=1 port=tty1 rem_addr=::1 action=login service=login ABANDONED (4.0 ms) 6ms"},
		{"the client gives up", typeAuthen, 1, []sent{{0, start("")}, {2, prompt(authenGetUser)}, {9, &authenContinue{flags: authenAbort, userMsg: "secret", data: "user left"}}},
			`"" authenticate ascii priv_lvl=1 port=tty1 rem_addr=::1 action=login service=login ABORT: user left (2.0 ms) 9ms`},
		{"enable", typeAuthen, 1, []sent{{0, enable}, {1, &authenReply{status: authenRestart}}},
			"alice enable ascii priv_lvl=1 port=tty1 rem_addr=::1 action=login service=enable RESTART (1.0 ms) 1ms"},
		{"chpass", typeAuthen, 1, []sent{{0, chpass}, {1, &authenReply{status: 0x63}}},
			"alice chpass ascii priv_lvl=1 port=tty1 rem_addr=::1 action=chpass service=login 0x63 (1.0 ms) 1ms"},
		{"no reply", typeAuthen, 1, []sent{{0, start("alice")}},
			"... alice authenticate ascii priv_lvl=1 port=tty1 rem_addr=::1 action=login service=login NO_REPLY 0s"},
		{"a command", typeAuthor, 1, []sent{{0, &authorRequest{commonFields: who, args: []string{"cmd=show"}}}, {1, &authorResponse{status: authorFail, serverMsg: "no"}}},
			"alice authorize cmd=show priv_lvl=1 port=tty1 rem_addr=::1 method=not_set service=login FAIL: no (1.0 ms) 1ms"},
		{"a record", typeAcct, 1, []sent{{0, &acctRequest{flags: acctStop, commonFields: who, args: []string{"task_id=1"}}}, {1, &acctReply{status: acctSuccess, serverMsg: "ok"}}},
			"alice account stop task_id=1 priv_lvl=1 port=tty1 rem_addr=::1 method=not_set service=login SUCCESS: ok (1.0 ms) 1ms"},
		{"decreasing times", typeAcct, 1, []sent{{5, &acctRequest{flags: acctStart, commonFields: who}}, {1, &acctReply{status: acctSuccess}}},
			"alice account start priv_lvl=1 port=tty1 rem_addr=::1 method=not_set service=login SUCCESS 0s"},
		{"from the middle", typeAuthen, 4, []sent{{0, verdict}}, "- authenticate PASS: hello 0s"},
		{"from the middle, with the name", typeAuthen, 2, []sent{{0, prompt(authenGetUser)}, {1, answerWith("bob")}}, "... bob authenticate NO_REPLY 1ms"},
		{"unreadable", typeAcct, 1, []sent{{0, nil}, {2, nil}}, "- account (2.0 ms) 2ms"},
		{"unreadable, only a request", typeAuthor, 1, []sent{{0, nil}}, "... - authorize NO_REPLY 0s"},
		{"unreadable, a login that may continue", typeAuthen, 1, []sent{{0, nil}, {2, nil}}, "... - authenticate ABANDONED (2.0 ms) 2ms"},
	} {
		var o sessionTracker
		over := false
		for i, p := range tt.packets {
			if over {
				t.Errorf("%s: over before packet %d", tt.name, i+1)
			}
			h := header{version: minorDefault, typ: tt.typ, seqNo: tt.first + uint8(i), sessionID: 7, length: 9}
			over = o.packet(time.UnixMilli(int64(1000+p.ms)), &h, p.m)
		}
		got := ""
		if !over {
			o.close()
			got = "... "
		}
		got += strings.TrimSuffix(strings.TrimPrefix(string(o.appendLine(nil, true)), " "), "\n") + " " + o.total.String()
		equal(t, got, tt.want, tt.name)
		if o.packets != len(tt.packets) || o.id != 7 || !o.at.Equal(time.UnixMilli(int64(1000+tt.packets[0].ms))) {
			t.Errorf("%s: %d packets of session %d at %v", tt.name, o.packets, o.id, o.at)
		}
	}
}

// TestSessionLogTrackerUnread checks how the headers alone show the end of a session.
func TestSessionLogTrackerUnread(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		h      header
		over   bool
		status string
	}{
		{header{version: minorDefault, typ: typeAuthen, seqNo: 2, length: 6}, false, ""},
		{header{version: minorOne, typ: typeAuthen, seqNo: 2, length: 6}, true, ""}, // PAP, for example, has one reply
		{header{version: minorOne, typ: typeAuthen, seqNo: 1, length: 6}, false, ""},
		{header{version: minorDefault, typ: typeAuthor, seqNo: 2, length: 6}, true, ""},
		{header{version: minorDefault, typ: typeAcct, seqNo: 2, length: 5}, true, ""},
		{header{version: minorDefault, typ: typeAuthen, seqNo: 2}, true, "ERROR"}, // section 3.6
		{header{version: minorDefault, typ: typeAcct, seqNo: 1}, false, ""},
	} {
		var o sessionTracker
		if over := o.packet(time.Time{}, &tt.h, nil); over != tt.over || o.status != tt.status {
			t.Errorf("%+v: over %t, status %q", tt.h, over, o.status)
		}
	}
}

// TestSessionLogAddrPortOf: addresses in their usual form, and none for other kinds.
func TestSessionLogAddrPortOf(t *testing.T) {
	t.Parallel()
	for addr, want := range map[net.Addr]string{
		&net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 49}:            "192.0.2.1:49",
		&net.TCPAddr{IP: net.ParseIP("fe80::1"), Port: 49, Zone: "x"}: "[fe80::1%x]:49",
		&net.UnixAddr{Name: "x"}:                                      "invalid AddrPort",
	} {
		equal(t, addrPortOf(addr).String(), want, addr)
	}
}

// TestSessionLogTrackerGaps: after a missing reply, the next text of the client is not used as the user name, and the time
// of the server is unknown.
func TestSessionLogTrackerGaps(t *testing.T) {
	t.Parallel()
	var o sessionTracker
	for _, p := range []struct {
		seqNo uint8
		m     message
	}{
		{1, &authenStart{action: authenLogin, commonFields: commonFields{typ: authenASCII}}}, {2, &authenReply{status: authenGetUser}}, {3, answerWith("bob")},
		{5, answerWith("secret")}, {8, &authenReply{status: authenPass}},
	} {
		h := header{version: minorDefault, typ: typeAuthen, seqNo: p.seqNo, length: 9}
		o.packet(time.Unix(int64(p.seqNo), 0), &h, p.m)
	}
	if o.user != "bob" || o.took != 0 || o.status != "PASS" {
		t.Errorf("%+v", o)
	}
	for _, tt := range []struct {
		from, to time.Time
		want     time.Duration
	}{
		{time.Unix(1, 0), time.Unix(3, 0), 2 * time.Second},
		{time.Unix(3, 0), time.Unix(1, 0), 0},
		{time.Time{}, time.Unix(1, 0), 0},
		{time.Unix(1, 0), time.Time{}, 0},
	} {
		equal(t, between(tt.from, tt.to), tt.want, tt.from, "to", tt.to)
	}
}

// TestSessionLogPasswordIsNoName: only the CONTINUE right after GETUSER has a name. After a gap the next one may
// have the password.
func TestSessionLogPasswordIsNoName(t *testing.T) {
	t.Parallel()
	for seqNo, want := range map[uint8]string{3: "hunter2", 5: ""} {
		var o sessionTracker
		for _, p := range []struct {
			seqNo uint8
			m     message
		}{
			{1, &authenStart{action: authenLogin, commonFields: commonFields{typ: authenASCII}}},
			{2, &authenReply{status: authenGetUser}},
			{seqNo, &authenContinue{userMsg: "hunter2"}},
		} {
			o.packet(time.Unix(int64(p.seqNo), 0), &header{version: minorDefault, typ: typeAuthen, seqNo: p.seqNo, length: 8}, p.m)
		}
		if o.user != want {
			t.Errorf("seq_no %d: the user is %q", seqNo, o.user)
		}
	}
}

// TestSessionLogTrackerSecrets: passwords are kept for a reply that repeats them, within the limits.
func TestSessionLogTrackerSecrets(t *testing.T) {
	t.Parallel()
	o, h := new(sessionTracker), header{version: minorDefault, typ: typeAuthen, seqNo: 1}
	answers := []string{"old password", strings.Repeat("x", maxFieldLen+1), "abc", "new password"}
	for range 20 {
		answers = append(answers, "one more")
	}
	answers = append(answers, "the last one")
	o.packet(time.Time{}, &h, asciiStart("alice"))
	for _, text := range answers {
		h.seqNo++
		o.packet(time.Time{}, &h, &authenReply{status: authenGetPass})
		h.seqNo++
		o.packet(time.Time{}, &h, answerWith(text))
	}
	if want := []string{"old password", answers[1], "new password", "one more", "the last one"}; !slices.Equal(o.secrets, want) {
		t.Errorf("kept %q, want %q", o.secrets, want)
	}
}

// TestServerMsgIsTheSame: every JSON has the same string for a message of a server.
func TestServerMsgIsTheSame(t *testing.T) {
	t.Parallel()
	for msg, want := range map[string]string{
		"Login incorrect":                "Login incorrect",
		"\nAccount locked\r\ncall 555\n": "\nAccount locked\ncall 555\n",
		"bell\x07\rtab\t\x00":            `bell\x07\x0dtab\x09\x00`,
		"caf\xe9 é \u202e\u009b31m":      `caf\xe9 é \xe2\x80\xae\xc2\x9b31m`,
		`<b> & "quoted" \n`:              `<b> & "quoted" \n`,
	} {
		s := startFakeServer(t, func(c *fakeServerConn) {
			for q := range c.requests {
				var m message
				switch q.typ {
				case typeAuthen:
					m = &authenReply{status: authenPass, serverMsg: msg}
				case typeAuthor:
					m = &authorResponse{status: authorFail, serverMsg: msg}
				default:
					m = &acctReply{status: acctSuccess, serverMsg: msg}
				}
				c.Write(c.reply(q, m))
			}
		})
		check := func(from, out string, n int) {
			t.Helper()
			if strings.Count(out, "\n") != n {
				t.Errorf("%s: %d lines, want %d: %s", from, strings.Count(out, "\n"), n, out)
			}
			for line := range strings.Lines(out) {
				var o struct {
					ServerMsg string `json:"server_msg"`
				}
				if err := json.Unmarshal([]byte(line), &o); err != nil || o.ServerMsg != want {
					t.Errorf("%s: got %q, want %q in %s", from, o.ServerMsg, want, line)
				}
			}
		}
		for _, mode := range relayModes {
			record := filepath.Join(t.TempDir(), "record.pcap")
			r := relayTo(t, s.addr, append(split(mode+" --json"), "--record", record)...)
			for _, line := range []string{"authenticate alice AT -t pap --json", "authorize alice AT --json", "account alice AT --json"} {
				check(line, r.asDevice(t, line).out, 1)
			}
			r.stop()
			check("relay "+mode, r.log.String(), 3)
			check("decode "+mode, runWith(t, nil, "", "decode", "--json", record).out, 3)
		}
		check("batch", runWith(t, secretsInEnv, requests(1, papLine)+requests(1, authorLine)+requests(1, acctLine), "batch", s.addr).out, 3)
		for _, task := range []string{`{"command": "authenticate", "authen_type": "pap", LOGIN}`, `{"command": "authorize", LOGIN}`, `{"command": "account", LOGIN}`} {
			check(task, play(t, task, "AT", s.addr).out, 1)
		}
	}
	// The password is a part of the name.
	s := startFakeServer(t, (*fakeServerConn).grantAll) // the message is the name
	r := relayTo(t, s.addr, "--json")
	got := r.asDevice(t, "authenticate operator AT -t pap --json --password operat")
	if r.stop(); !strings.Contains(got.out, `"server_msg":"operator"`) || !strings.Contains(r.log.String(), `"server_msg":"operator"`) {
		t.Errorf("the client has %s, the relay has %s", got.out, r.log)
	}
	for _, f := range []string{"fail", "non-utf8", "terminal-escape"} {
		s := serveWith(t, "--fault", f, "--json")
		var of [2]struct {
			ServerMsg string `json:"server_msg"`
		}
		got := s.ask(t, "authenticate alice AT -t pap --json")
		s.stop()
		for i, out := range []string{got.out, s.log.String()} {
			if err := json.Unmarshal([]byte(out), &of[i]); err != nil {
				t.Fatalf("%s: %v in %s", f, err, out)
			}
		}
		if of[0] != of[1] || of[0].ServerMsg == "" {
			t.Errorf("%s: the client has %q, serve has %q", f, of[0].ServerMsg, of[1].ServerMsg)
		}
	}
}

// TestSessionLogFlagViolation: only a reply with the UNENCRYPTED flag of its request may be used.
func TestSessionLogFlagViolation(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		first, reply headerFlags
		tls          bool
		want         string
	}{
		{0, 0, false, ""},
		{flagSingleConnect, 0, false, ""},
		{0, flagUnencrypted, false, "UNENCRYPTED reply to an obfuscated request (10.5.2)"},
		{flagUnencrypted, flagUnencrypted, false, ""},
		{flagUnencrypted, flagSingleConnect, false, "obfuscated reply to an UNENCRYPTED request (10.5.2)"},
		{flagUnencrypted, flagUnencrypted, true, ""},
		{0, 0, true, "reply without the UNENCRYPTED flag over TLS (RFC 9887 section 4)"},
	} {
		equal(t, flagViolation(protectionOf(tt.first, tt.tls), tt.reply), tt.want, tt.first, tt.reply, "TLS", tt.tls)
	}
}

// TestSessionLogServerTime: the time of the server begins when the packet was sent to it.
func TestSessionLogServerTime(t *testing.T) {
	t.Parallel()
	var o sessionTracker
	h := header{version: minorOne, typ: typeAuthen, seqNo: 1, length: 9}
	o.packet(time.Unix(10, 0), &h, papStart("alice", testPassword))
	o.sent(time.Unix(13, 0)) // another server timed out
	h.seqNo = 2
	o.packet(time.Unix(14, 0), &h, passed)
	if o.took != time.Second || o.total != 4*time.Second {
		t.Errorf("took %v of %v", o.took, o.total)
	}
}

// TestSessionLogHidesKey: serve and relay hide the shared key where a server repeats it.
func TestSessionLogHidesKey(t *testing.T) {
	t.Parallel()
	server := answering(t, testKey, &authorResponse{status: authorFail, serverMsg: "no " + deviceKey})
	r := relayTo(t, server, "--key", testKey, "-v")
	got := runWith(t, map[string]string{"TACACS_PLUS_KEY": deviceKey}, "", "authorize", "alice", r.addr)
	got.check(t, classDenied.exit(), `FAIL: no \[redacted\]\n`, ``)
	r.stop()
	if log := r.log.String(); !strings.Contains(log, "FAIL: no [redacted]") || strings.Contains(log, deviceKey) {
		t.Errorf("the relay prints %q", log)
	}
}
