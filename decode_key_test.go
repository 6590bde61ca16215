package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"testing"
)

// TestDecodeKeys: which candidate a session is read with, and what is printed if none fits.
func TestDecodeKeys(t *testing.T) {
	t.Parallel()
	const other, third = "the key of another device", "# a third one, with blanks "
	tape := newCaptureBuilder()
	tape.openConn("10.0.0.1:1000", serverAddr, testKey).session(1, papStart("alice", testPassword), passed).close()
	tape.openConn("10.0.0.2:1000", serverAddr, third).session(2, showRun, &authorResponse{status: authorPassAdd}).close()
	tape.openConn("10.0.0.1:1001", serverAddr, other).session(3, asciiStart("bob"), askForPass, says(testPassword), passed).close() // a new key
	tape.openConn("10.0.0.1:1002", serverAddr, other).session(4, stopRecord, recorded).close()
	w := tape.openConn("10.0.0.3:1000", serverAddr, testKey).session(5, papStart("carol", testPassword))
	w.key = other // the server's
	w.send(1, w.packet(5, 2, passed))
	w.close()
	tape.openConn("10.0.0.4:1000", serverAddr, "an unknown key").session(6, asciiStart("dave"), askForPass, says(testPassword), passed).close()
	tape.openConn("10.0.0.5:1000", serverAddr, "an unknown key").session(7, stopRecord)
	w = tape.openConn("10.0.0.6:1000", serverAddr, "an unknown key").session(8, asciiStart("erin"))
	w.key = testKey // too late
	w.send(1, w.packet(8, 2, askForPass))
	w.send(0, w.packet(8, 3, says(testPassword)))
	w.send(1, w.packet(8, 4, &authenReply{status: authenPass, serverMsg: "erin is in"}))
	w.close()
	dir := writeFiles(t, map[string]string{"one": testKey + "\n", "two": other, "list": "\nnot this one\r\n" + third + "\n" + other + "\n" + testKey, "wrong": "x\ny\n"})
	for _, tt := range []struct {
		options string
		env     map[string]string
		code    exitCode
		keys    string // of the sessions, in the order of their end
		err     string
	}{
		{"--key-file DIR/one --key-list DIR/list", nil, 0, "DIR/one DIR/list:3 DIR/list:4 DIR/list:4 NO_KEY:carol NO_KEY: NO_KEY: NO_KEY:", ".*sessions that fit no key: 4\n"},
		{"--key-list DIR/list", nil, 0, "DIR/list:5 DIR/list:3 DIR/list:4 DIR/list:4 NO_KEY:carol NO_KEY: NO_KEY: NO_KEY:", ".*"},
		{"--key-file DIR/two --key-file DIR/one", nil, 0, "DIR/one NO_KEY: DIR/two DIR/two NO_KEY:carol NO_KEY: NO_KEY: NO_KEY:", ".*"},
		{"-k CMD --key-file DIR/two", nil, 0, "the command line NO_KEY: DIR/two DIR/two NO_KEY:carol NO_KEY: NO_KEY: NO_KEY:", ".*"},
		{"", map[string]string{"TACACS_PLUS_KEY": testKey}, 0, "TACACS_PLUS_KEY NO_KEY: NO_KEY: NO_KEY: NO_KEY:carol NO_KEY: NO_KEY: NO_KEY:", ".*"},
		{"--key-list DIR/wrong", nil, 5, "NO_KEY: NO_KEY: NO_KEY: NO_KEY: NO_KEY: NO_KEY: NO_KEY: NO_KEY:",
			"tacacs_plus: sessions that fit no key: 8\ntacacs_plus: no session fits any key that was given\ntacacs_plus: hint: .*DIR/wrong:1.*\n"},
		{"", nil, 0, "NO_KEY: NO_KEY: NO_KEY: NO_KEY: NO_KEY: NO_KEY: NO_KEY: NO_REPLY:", ".*no key was given: headers and timing only.*\n"},
	} {
		got := runWith(t, tt.env, string(tape.pcap()), split("decode --json "+tt.options, "DIR", dir, "CMD", testKey)...)
		var keys []string
		for line := range strings.Lines(got.out) {
			var o recordObject
			if err := json.Unmarshal([]byte(line), &o); err != nil {
				t.Fatal(err)
			}
			keys = append(keys, strings.TrimPrefix(o.Key, dir+"/"))
			if o.Key == "" {
				keys[len(keys)-1] = o.Status + ":" + o.User
			}
			if known := o.AuthenType != ""; known != (o.PrivLvl != nil) || o.Key != "" && !known {
				t.Errorf("%s: %s", tt.options, line)
			}
		}
		want := strings.ReplaceAll(tt.keys, "DIR/", "")
		if strings.Join(keys, " ") != want || got.code != tt.code || !regexp.MustCompile("(?s)^.*"+strings.ReplaceAll(tt.err, "DIR", dir)+"$").MatchString(got.err) {
			t.Errorf("%s: %d\n%s, not\n%s\n%s", tt.options, int(got.code), strings.Join(keys, " "), want, got.err)
		}
		if strings.Contains(got.out, "erin is in") {
			t.Errorf("%s: a session that fits no key shows a message of its server", tt.options)
		}
		for _, secret := range []string{testKey, other, third, testPassword} {
			if strings.Contains(got.out+got.err, secret) {
				t.Errorf("%s: it prints a secret", tt.options)
			}
		}
	}
}

// TestDecodeWrongKeys tries many wrong keys on sessions of all kinds. Some packets are so long that their lengths
// add up by chance.
func TestDecodeWrongKeys(t *testing.T) {
	t.Parallel()
	var list strings.Builder
	for i := range 300 {
		fmt.Fprintf(&list, "wrong key number %d\n", i)
	}
	dir := writeFiles(t, map[string]string{"list": list.String()})
	big := papStart(long(200), long(110))
	big.port, big.remAddr = long(130), long(120)
	much := *stopRecord
	much.args = strings.Split(strings.Repeat("a="+long(126)+" ", 128)+"z=", " ")
	tape := newCaptureBuilder()
	const sessions = 300
	for i := range uint32(sessions) {
		w := tape.openConn(fmt.Sprintf("10.0.%d.%d:1000", i>>8, i&0xff), serverAddr, testKey)
		switch i % 6 {
		case 0:
			w.session(i, big)
		case 1:
			w.session(i, big, passed)
		case 2:
			w.session(i, asciiStart("alice"), askForPass, says(testPassword), passed)
		case 3:
			w.session(i, showRun, &authorResponse{status: authorPassAdd})
		case 4:
			w.session(i, stopRecord, recorded)
		case 5:
			w.session(i, &much, recorded)
		}
		w.close()
	}
	got := decodeWith(t, tape.pcap(), "--json --key-list DIR/list --key-list DIR/list", "DIR", dir)
	if n := strings.Count(got.out, `"status":"NO_KEY"`); n != sessions || strings.Contains(got.out, `"user"`) || strings.Contains(got.out, `"key"`) {
		t.Errorf("%d sessions of %d fit no key", n, sessions)
	}
	if got.code != 5 || !strings.Contains(got.err, "no session fits any key that was given\n") {
		t.Errorf("it ends with %d: %s", int(got.code), got.err)
	}
	// With the right key among them, all sessions are read.
	got = decodeWith(t, tape.pcap(), "--json --key-list DIR/list -k KEY", "DIR", dir, "KEY", testKey)
	if n := strings.Count(got.out, `"key":"the command line"`); n != sessions || got.code != 0 {
		t.Errorf("%d sessions of %d are read, and it ends with %d", n, sessions, int(got.code))
	}
}

// TestDecodeKeyLengths: one MD5 is enough to reject nearly every wrong key, and no right one.
func TestDecodeKeyLengths(t *testing.T) { // not parallel: encoding writes to the shared messages
	k := &keyFinder{keys: []key{{value: testKey}}}
	for i := range 2000 {
		k.keys = append(k.keys, key{value: fmt.Sprint("wrong", i)})
	}
	for i, m := range []message{papStart("alice", testPassword), asciiStart(""), passed, askForPass, says(testPassword), says(""), showRun, stopRecord, recorded,
		&authorResponse{status: authorPassAdd}, &authorResponse{status: authorPassAdd, args: []string{"a=b"}}, &authorResponse{status: authorPassRepl, args: strings.Split(strings.Repeat("a=b ", 40)+"c=d", " ")}} {
		h := header{version: minorDefault, typ: typeOf(m), seqNo: 2, sessionID: uint32(i)}
		switch m.(type) {
		case *authenStart, *authorRequest, *acctRequest:
			h.seqNo = 1
		case *authenContinue:
			h.seqNo = 3
		}
		body := packed(h, testKey, m)[headerLen:]
		matching := 0
		for i := range k.keys {
			if k.lengthsMatch(&h, body, i) {
				matching++
			} else if i == 0 {
				t.Errorf("%T: the right key is rejected", m)
			}
		}
		limit := 4
		if r, ok := m.(*authorResponse); ok && len(r.args) > 1 {
			limit = 80 // only the status can show that a key is wrong
		}
		if matching > limit {
			t.Errorf("%T: %d keys of %d seem right", m, matching, len(k.keys))
		}
	}
}

// TestDecodeKeyOfClient: the key that fitted a client last is tried first for its next session.
func TestDecodeKeyOfClient(t *testing.T) {
	t.Parallel()
	tape := newCaptureBuilder()
	tape.openConn(deviceAddr, serverAddr, "wrong1000").session(1, stopRecord, recorded)
	p, inv, _ := pipelineOf(t, tape.pcap(), "-q")
	k := &p.decoder.keys
	for i := range 2000 {
		k.keys = append(k.keys, key{value: fmt.Sprint("wrong", i)})
	}
	p.readFiles(t.Context(), inv, []string{"-"})
	if c := k.client(netip.MustParseAddr("198.51.100.7")); k.keys[c.key].value != "wrong1000" {
		t.Errorf("%s is tried first", k.keys[c.key].value)
	}
}

// TestMessagePlausible: only values of RFC 8907 or of its draft are plausible.
func TestMessagePlausible(t *testing.T) {
	t.Parallel()
	good := commonFields{privLvl: 15, typ: authenMSCHAPv2, service: 9, user: "Zo\u00eb", port: "tty0", remAddr: "::1"}
	with := func(change func(*commonFields)) commonFields {
		who := good
		change(&who)
		return who
	}
	login := func(change func(*commonFields)) message {
		return &authenStart{action: authenLogin, commonFields: with(change)}
	}
	same := func(*commonFields) {}
	for _, tt := range []struct {
		m    message
		want bool
	}{
		{login(same), true},
		{&authenStart{action: 4, commonFields: good}, true}, // SENDAUTH
		{&authenStart{action: 3, commonFields: good}, false},
		{login(func(s *commonFields) { s.privLvl = 16 }), false},
		{login(func(s *commonFields) { s.typ = 0 }), true},
		{login(func(s *commonFields) { s.typ = 4 }), true}, // ARAP
		{login(func(s *commonFields) { s.typ = 7 }), false},
		{login(func(s *commonFields) { s.service = 4 }), true},
		{login(func(s *commonFields) { s.service = 10 }), false},
		{login(func(s *commonFields) { s.user = "a\x00" }), false},
		{login(func(s *commonFields) { s.user = "a\xff" }), false},
		{login(func(s *commonFields) { s.port = "\n" }), false},
		{login(func(s *commonFields) { s.remAddr = "\u0085" }), false},
		{&authenReply{status: authenFollow, flags: authenNoEcho}, true},
		{&authenReply{status: 8}, false},
		{&authenReply{status: authenPass, flags: 2}, false},
		{&authenContinue{flags: authenAbort}, true},
		{&authenContinue{flags: 2}, false},
		{&authorRequest{method: 0x20, commonFields: good}, true},
		{&authorRequest{method: 7, commonFields: good}, false},
		{&authorRequest{commonFields: with(func(s *commonFields) { s.privLvl = 16 })}, false},
		{&authorResponse{status: authorFail}, true},
		{&authorResponse{status: 3}, false},
		{&acctRequest{flags: acctStop | 1, method: 6, commonFields: good}, true}, // the lowest bit is ignored
		{&acctRequest{flags: 0x0e, method: 6, commonFields: good}, false},
		{&acctRequest{flags: acctStop, method: 7, commonFields: good}, false},
		{&acctRequest{flags: acctStop, commonFields: with(func(s *commonFields) { s.privLvl = 16 })}, false},
		{&acctReply{status: acctFollow}, true},
		{&acctReply{status: 3}, false},
	} {
		if got := plausible(tt.m); got != tt.want {
			t.Errorf("%T %+v is plausible: %t", tt.m, tt.m, got)
		}
	}
}
