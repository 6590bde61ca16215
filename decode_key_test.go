package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestDecodeKeys checks which candidate key a session is decoded with, and the output if none fits.
func TestDecodeKeys(t *testing.T) {
	t.Parallel()
	const other, third = "the key of another device", "# a third one, with blanks "
	tape := newCaptureBuilder()
	tape.openConn("10.0.0.1:1000", serverAddr, testKey).session(1, papStart("alice", testPassword), passed).close()
	tape.openConn("10.0.0.2:1000", serverAddr, third).session(2, showRun, &authorResponse{status: authorPassAdd}).close()
	tape.openConn("10.0.0.1:1001", serverAddr, other).session(3, asciiStart("bob"), askForPass, answerWith(testPassword), passed).close() // a new key
	tape.openConn("10.0.0.1:1002", serverAddr, other).session(4, stopRecord, recorded).close()
	w := tape.openConn("10.0.0.3:1000", serverAddr, testKey).session(5, papStart("carol", testPassword))
	w.key = other // the key of the server
	w.send(1, w.packet(5, 2, passed))
	w.close()
	tape.openConn("10.0.0.4:1000", serverAddr, "an unknown key").session(6, asciiStart("dave"), askForPass, answerWith(testPassword), passed).close()
	tape.openConn("10.0.0.5:1000", serverAddr, "an unknown key").session(7, stopRecord)
	w = tape.openConn("10.0.0.6:1000", serverAddr, "an unknown key").session(8, asciiStart("erin"))
	w.key = testKey // too late
	w.send(1, w.packet(8, 2, askForPass))
	w.send(0, w.packet(8, 3, answerWith(testPassword)))
	w.send(1, w.packet(8, 4, &authenReply{status: authenPass, serverMsg: "erin is in"}))
	w.close()
	dir := writeFiles(t, map[string]string{"one": testKey + "\n", "two": other, "list": "\nnot this one\r\n" + third + "\r\n" + other + "\n" + testKey, "wrong": "x\ny\n"})
	for _, tt := range []struct {
		options string
		env     map[string]string
		code    exitCode
		keys    string // those of the sessions, in the order of their end
		err     string
	}{
		{"--key-file DIR/one --key-list DIR/list", nil, 0, "DIR/one DIR/list:3 DIR/list:4 DIR/list:4 NO_KEY:carol NO_KEY: NO_KEY: NO_KEY:", ".*sessions that no key fits: 4\n"},
		{"--key-list DIR/list", nil, 0, "DIR/list:5 DIR/list:3 DIR/list:4 DIR/list:4 NO_KEY:carol NO_KEY: NO_KEY: NO_KEY:", ".*"},
		{"--key-file DIR/two --key-file DIR/one", nil, 0, "DIR/one NO_KEY: DIR/two DIR/two NO_KEY:carol NO_KEY: NO_KEY: NO_KEY:", ".*"},
		{"-k CMD --key-file DIR/two", nil, 0, "the command line NO_KEY: DIR/two DIR/two NO_KEY:carol NO_KEY: NO_KEY: NO_KEY:", ".*"},
		{"", map[string]string{"TACACS_PLUS_KEY": testKey}, 0, "TACACS_PLUS_KEY NO_KEY: NO_KEY: NO_KEY: NO_KEY:carol NO_KEY: NO_KEY: NO_KEY:", ".*"},
		{"--key-list DIR/wrong", nil, 5, "NO_KEY: NO_KEY: NO_KEY: NO_KEY: NO_KEY: NO_KEY: NO_KEY: NO_KEY:",
			"tacacs_plus: sessions that no key fits: 8\ntacacs_plus: no key fits any session\ntacacs_plus: hint: .*DIR/wrong:1.*\n"},
		{"", nil, 0, "NO_KEY: NO_KEY: NO_KEY: NO_KEY: NO_KEY: NO_KEY: NO_KEY: NO_REPLY:", ".*no key given: only headers and timing.*\n"},
	} {
		got := runWith(t, tt.env, string(tape.pcap()), split("decode --json "+tt.options, "DIR", dir, "CMD", testKey)...)
		var keys []string
		for line := range strings.Lines(got.out) {
			var o recordObject
			must(t, json.Unmarshal([]byte(line), &o))
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
			t.Errorf("%s: got %d\n%s, want\n%s\n%s", tt.options, int(got.code), strings.Join(keys, " "), want, got.err)
		}
		if strings.Contains(got.out, "erin is in") {
			t.Errorf("%s: a session that fits no key shows a message of its server", tt.options)
		}
		for _, secret := range []string{testKey, other, third, testPassword} {
			if strings.Contains(got.out+got.err, secret) {
				t.Errorf("%s: a secret is printed", tt.options)
			}
		}
	}
	tape.frames = nil
	w = tape.openConn("10.0.0.3:1000", serverAddr, testKey).session(5, papStart("carol", testPassword))
	w.key = other
	w.send(1, w.packet(5, 2, passed))
	decodeWith(t, tape.pcap(), "--key-file DIR/two --key-file DIR/one", "DIR", dir).check(t, 5, `.* carol authenticate pap NO_KEY.*\n`,
		`(?s).*tacacs_plus: no key fits any session\ntacacs_plus: hint: the device and its server have different keys: that of \S*/one fits one of them\n`)
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
			w.session(i, asciiStart("alice"), askForPass, answerWith(testPassword), passed)
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
	if got.code != 5 || !strings.Contains(got.err, "no key fits any session\n") {
		t.Errorf("exit code %d: %s", int(got.code), got.err)
	}
	// With the right key among them, all sessions are decoded.
	got = decodeWith(t, tape.pcap(), "--json --key-list DIR/list -k KEY", "DIR", dir, "KEY", testKey)
	if n := strings.Count(got.out, `"key":"the command line"`); n != sessions || got.code != 0 {
		t.Errorf("%d sessions of %d are decoded, exit code %d", n, sessions, int(got.code))
	}
}

// TestDecodeKeyLengths: one MD5 is enough to reject nearly every wrong key, and no right one.
func TestDecodeKeyLengths(t *testing.T) { // not parallel: encoding writes to the shared messages
	k, values := new(keyTest), []string{testKey}
	for i := range 2000 {
		values = append(values, fmt.Sprint("wrong", i))
	}
	for i, m := range []message{papStart("alice", testPassword), asciiStart(""), passed, askForPass, answerWith(testPassword), answerWith(""), showRun, stopRecord, recorded,
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
		for i, value := range values {
			if k.mayFit(&h, body, value) {
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
			t.Errorf("%T: %d keys of %d seem to fit", m, matching, len(values))
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
		k.keys.given = append(k.keys.given, key{value: fmt.Sprint("wrong", i)})
	}
	p.readFiles(t.Context(), inv, []string{"-"})
	if c := k.client(netip.MustParseAddr("198.51.100.7")); k.keys.given[c.key].value != "wrong1000" {
		t.Errorf("%s is tried first", k.keys.given[c.key].value)
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
		equal(t, plausible(tt.m), tt.want, tt.m, "plausible")
	}
}

// TestKeyLogGrows appends secrets to the key log while their conversation is read. The data of waiting records
// is returned in order, with their times.
func TestKeyLogGrows(t *testing.T) {
	t.Parallel()
	file := filepath.Join(writeFiles(t, map[string]string{"keys": "# nothing yet\n"}), "keys")
	write := func(text string) {
		t.Helper()
		f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
		if err == nil {
			_, err = io.WriteString(f, text)
			f.Close()
		}
		must(t, err)
	}
	k, err := loadKeyLog(file, nil)
	must(t, err)
	l := newTLSObserver(k).feed(parseTrace(t, traceOfOpenSSL), 99)
	if !strings.Contains(l.problem, "the key log has no secret for") || len(l.log) != 0 {
		t.Error(l.state())
	}
	lines := slices.Collect(strings.Lines(keysOfOpenSSL))
	write("not a line of a key log\n" + lines[0][:40])
	l.add(0, frameRef{}, nil)
	write(lines[0][40:] + lines[1][:100])
	l.add(0, frameRef{}, nil)
	if l.problem == "" || len(l.log) != 0 {
		t.Error(l.state())
	}
	write(lines[1][100:] + strings.Join(lines[2:], ""))
	l.add(1, frameRef{}, nil)
	if info, err := os.Stat(file); err != nil || info.Size() != k.size {
		t.Errorf("%d bytes were read: %v, %v", k.size, info.Size(), err)
	}
	want := []string{"client 3: 2 bytes", "server 4: 2 bytes", "client 6: 2 bytes", "server 8: 2 bytes", "client 10: 2 bytes"}
	if !slices.Equal(l.log, want) || l.problem != "" || l.held != 0 || l.waiting != nil {
		t.Error(l.log, l.state())
	}
}

// TestKeyLogTooLate: the records that wait for a secret are bounded.
func TestKeyLogTooLate(t *testing.T) {
	t.Parallel()
	m := newFakeTLS()
	l := newTLSObserver(keyLogOf(t, "")).feed(m.hellos, 100)
	for range 100 {
		l.add(1, frameRef{}, m.traffic[1].data(strings.Repeat("x", 1000)))
		if l.held > maxWaiting || l.unreadable && (l.held > 0 || l.waiting != nil) {
			t.Fatal(l.held, len(l.waiting))
		}
	}
	if !l.unreadable || l.waiting != nil || !strings.Contains(l.problem, "no secret") {
		t.Error(l.state())
	}
}

// TestKeyLogWrongSecret: waiting records are dropped, with the reason, if the secret does not decrypt them or gives no valid
// key.
func TestKeyLogWrongSecret(t *testing.T) {
	t.Parallel()
	for _, keyLen := range []int{16, 7} {
		m := newFakeTLS()
		k := keyLogOf(t, "")
		l := newTLSObserver(k).feed(m.hellos, 100)
		l.add(1, frameRef{}, newTLSSealer(&tlsSuites[0], make([]byte, 32)).data("by another key"))
		l.add(1, frameRef{}, m.handshake[1].data("not read"))
		for line := range strings.Lines(m.keys) {
			k.parse(line)
		}
		suite := tlsSuites[0]
		suite.keyLen = keyLen
		l.suite = &suite
		l.add(0, frameRef{}, nil)
		want := "the key log does not decrypt the records of the server"
		if keyLen == 7 {
			want = "crypto/aes: invalid key size 7"
		}
		if l.problem != want || l.waiting != nil || l.held != 0 || l.data[1] != "" {
			t.Error(l.state(), l.waiting)
		}
	}
}

// TestKeyLogFiles reads valid and invalid key logs.
func TestKeyLogFiles(t *testing.T) {
	t.Parallel()
	const random, secret = " 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f ", "ab"
	long := strings.Repeat(secret, 48)
	dir := writeFiles(t, map[string]string{
		"good":    "# a comment\r\n\r\nCLIENT_TRAFFIC_SECRET_0" + random + long + "\r\nCLIENT_RANDOM 00 11\nEXPORTER_SECRET" + random + "zz\n",
		"no end":  "SERVER_HANDSHAKE_TRAFFIC_SECRET" + random + long[:64],
		"empty":   "",
		"words":   "\nnot a key log\nnor this\n",
		"random":  "CLIENT_TRAFFIC_SECRET_0 0001 " + long,
		"longer":  "CLIENT_TRAFFIC_SECRET_0 " + strings.TrimSpace(random) + "00 " + long,
		"secret":  "CLIENT_TRAFFIC_SECRET_0" + random + long[:62],
		"no hex":  "CLIENT_TRAFFIC_SECRET_0" + random + long[:62] + "xy",
		"line":    "#\n" + strings.Repeat("x", 5000),
		"at most": "#" + strings.Repeat("x", maxKeyLogLine-2) + "\n",
	})
	for _, tt := range []struct{ name, err string }{
		{"good", ""}, {"no end", ""}, {"empty", ""}, {"at most", ""},
		{"words", "line 2 of the key log FILE is not a label, a client random and a secret"},
		{"random", "line 1 of the key log FILE has a client random that is not 64 hexadecimal digits"},
		{"longer", "line 1 of the key log FILE has a client random that is not 64 hexadecimal digits"},
		{"secret", "line 1 of the key log FILE has a secret that is not 64 or 96 hexadecimal digits"},
		{"no hex", "line 1 of the key log FILE has a secret that is not 64 or 96 hexadecimal digits"},
		{"line", "line 2 of the key log FILE is over 4096 bytes"},
		{"missing", "read the key log: open FILE: " + os.ErrNotExist.Error()},
		{"", "read the key log: read FILE: is a directory"},
	} {
		file := filepath.Join(dir, tt.name)
		k, err := loadKeyLog(file, nil)
		if want := strings.ReplaceAll(tt.err, "FILE", file); want == "" && err != nil || want != "" && (err == nil || classOf(err) != classUsage) {
			t.Errorf("%s: %v", tt.name, err)
		} else if want != "" && err.Error() != want && tt.name != "missing" && tt.name != "" {
			t.Errorf("%s: %v, want %s", tt.name, err, want)
		}
		var r clientRandom
		copy(r[:], unhex(t, random))
		if tt.name == "good" && hex.EncodeToString(k.secret(r, clientTrafficSecret)) != long {
			t.Error("got another secret")
		}
		if tt.name == "no end" && hex.EncodeToString(k.secret(r, clientHandshakeSecret+1)) != long[:64] {
			t.Error("the last line is lost")
		}
	}
	if _, err := loadKeyLog("-", strings.NewReader("x\n")); err == nil || !strings.HasPrefix(err.Error(), "line 1 of the key log standard input is not") {
		t.Error(err)
	}
	if _, err := loadKeyLog("-", &endless{}); err == nil || err.Error() != "the key log standard input is over 67108864 bytes" {
		t.Error(err)
	}
}

// TestDecodeBounds: memory is bounded. Dropped items are counted, and their sessions are printed.
func TestDecodeBounds(t *testing.T) {
	t.Parallel()
	much := *stopRecord
	much.args = strings.Split(strings.Repeat("a="+long(250)+" ", 200)+"z=", " ")
	body, err := encoded(&much)
	must(t, err)
	const maxOpen = budgetSessions / (sessionCost + 27) // sessions with a START of 27 bytes
	for _, tt := range []struct {
		name              string
		tape              func(t *captureBuilder)
		sessions, dropped int
		held              func(d *decoder) bool // within its bound
	}{
		{"sessions of one connection", func(t *captureBuilder) {
			w := t.openConn(deviceAddr, serverAddr, testKey)
			for i := range uint32(maxOpenStream + 100) {
				w.session(i, papStart("alice", "x"))
			}
		}, maxOpenStream + 100, 100, func(d *decoder) bool { return d.open.len <= maxOpenStream }},
		{"unreadable sessions with a reply", func(t *captureBuilder) {
			w := t.openConn(deviceAddr, serverAddr, "another key")
			for i := range uint32(maxOpenStream + 100) {
				w.session(i, asciiStart("alice"), passed)
			}
		}, maxOpenStream + 100, 0, func(d *decoder) bool { return d.open.len <= maxOpenStream }},
		{"sessions of all connections", func(t *captureBuilder) {
			for i := range maxOpen/1000 + 1 {
				w := t.openConn(fmt.Sprintf("10.0.0.%d:1000", i), serverAddr, testKey)
				for j := range uint32(1000) {
					w.session(j, papStart("alice", "x"))
				}
			}
		}, (maxOpen/1000 + 1) * 1000, (maxOpen/1000+1)*1000 - maxOpen, func(d *decoder) bool { return d.open.len <= maxOpen }},
		{"bytes of the requests", func(t *captureBuilder) {
			w := t.openConn(deviceAddr, serverAddr, testKey)
			for i := range uint32(200) {
				w.session(i, &much)
			}
		}, 200, 200 - budgetSessions/(sessionCost+len(body)+201*argCost), func(d *decoder) bool { return d.memory.used <= budgetSessions }},
		{"incomplete packets", func(t *captureBuilder) {
			for i := range 100 {
				w := t.openConn(fmt.Sprintf("10.0.0.%d:1000", i), serverAddr, testKey)
				packet := w.packet(1, 1, &much)
				w.send(0, packet[:50_000])
			}
		}, budgetPartial / 57_344, 100 - budgetPartial/57_344, func(d *decoder) bool { return d.partial.used <= budgetPartial+60_000 }},
		{"TLS conversations", func(t *captureBuilder) {
			for i := range maxDecodedTLS + 10 {
				t.openConn(fmt.Sprintf("10.0.%d.%d:1000", i>>8, i&0xff), "192.0.2.1:300", "").send(0, []byte{recordHandshake, 3, 1, 0, 10})
			}
		}, 0, 10, func(d *decoder) bool { return d.tlsOpen <= maxDecodedTLS }},
	} {
		tape := newCaptureBuilder()
		tt.tape(tape)
		p, inv, out := pipelineOf(t, nil, "-q")
		d := p.decoder
		d.printer.log.out = newQueuedWriter(t.Context(), out)
		for i := range tape.frames {
			if p.decode(&tape.frames[i]); !tt.held(d) {
				t.Fatalf("%s: the bound is exceeded at frame %d", tt.name, i)
			}
		}
		inv.std.in = strings.NewReader("")
		p.readFiles(t.Context(), inv, nil)
		if n := strings.Count(out.String(), " NO_") + strings.Count(out.String(), " CUT"); d.counts.sessions != tt.sessions || n != tt.sessions || d.counts.dropped != tt.dropped {
			t.Errorf("%s: %d sessions, %d printed, %d dropped", tt.name, d.counts.sessions, n, d.counts.dropped)
		}
		d.checkEmpty(t)
	}
}

// TestDecodeReleasesMemory: the memory of a packet that arrived in pieces is released.
func TestDecodeReleasesMemory(t *testing.T) {
	t.Parallel()
	big := *stopRecord
	big.args = strings.Split(strings.Repeat("a="+long(250)+" ", 200)+"z=", " ")
	tape := newCaptureBuilder()
	w := tape.openConn(deviceAddr, serverAddr, testKey)
	packet := w.packet(1, 1, &big)
	w.send(0, packet[:40_000])
	w.send(0, packet[40_000:])
	p, _, _ := pipelineOf(t, nil, "-q")
	p.decodeAll(tape)
	for _, c := range p.tcp.conversations {
		if s := c.value.(*tacacsStream).directions[0]; cap(s.held) > 0 || p.decoder.counts.sessions != 0 || p.decoder.open.len != 1 {
			t.Errorf("%d bytes are still held", cap(s.held))
		}
	}
}

// TestDecodePads: pads that were computed ahead, for the right key or another one, change nothing.
func TestDecodePads(t *testing.T) {
	t.Parallel()
	const otherKey = "another key"
	tape := newCaptureBuilder()
	w, other := tape.openConn(deviceAddr, serverAddr, testKey), tape.openConn("10.0.0.9:1000", serverAddr, otherKey)
	for i := range uint32(2 * maxSkipped) {
		w.session(2*i+1, papStart("alice", "a password"), passed)
		other.session(2*i+2, showRun, &authorResponse{status: authorFail, serverMsg: long(50)})
	}
	packet := w.packet(99, 1, stopRecord)
	w.send(0, packet[:20])
	w.send(0, packet[20:])
	w.send(1, slices.Concat(w.packet(99, 2, &acctReply{status: acctSuccess}), w.packet(1, 2, passed))) // and a stray
	decoded := func(latest int64, pads func(ahead *padTable)) string {
		p, _, out := pipelineOf(t, nil, "")
		p.decoder.keys.keys = keyTable{given: []key{{value: testKey}, {value: otherKey}}, count: 2}
		p.decoder.keys.latest.Store(latest)
		for i := range tape.frames {
			p.tcp.add(&tape.frames[i])
		}
		if pads != nil {
			p.addPads(p.events.chunk)
			pads(&p.events.chunk.pads)
		}
		p.consume(p.events.chunk)
		p.decoder.printer.write(p.decoder.printer.pipe.chunk)
		p.decoder.printer.log.flush()
		return out.String()
	}
	want := decoded(0, nil)
	if sessions := 4*maxSkipped + 1; strings.Count(want, "\n") != sessions+1 || strings.Contains(want, "NO_KEY") {
		t.Fatalf("got %s\nwant %d sessions and a stray", want, sessions)
	}
	for latest := range int64(2) {
		got := decoded(latest, func(ahead *padTable) {
			if n := 8*maxSkipped + 2; len(ahead.pads) != n {
				t.Errorf("%d pads, want %d", len(ahead.pads), n)
			}
		})
		equal(t, got, want, "with the pads of key", latest)
	}
	got := decoded(0, func(ahead *padTable) {
		for _, pad := range ahead.pads {
			clear(pad.bytes)
		}
	})
	if strings.Count(got, "NO_KEY") != 2*maxSkipped+1 {
		t.Errorf("with other pads:\n%s\nwant %d sessions without a key", got, 2*maxSkipped+1)
	}
}

// TestDecodeClientBound: the clients beyond the bound count as one.
func TestDecodeClientBound(t *testing.T) {
	t.Parallel()
	k := &keyFinder{clients: make(map[netip.Addr]*decodeClient)}
	for i := range maxClients + 2 {
		k.client(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
	}
	if len(k.clients) != maxClients || k.client(netip.MustParseAddr("10.0.64.1")) != &k.others || k.client(netip.MustParseAddr("10.0.0.1")) == &k.others {
		t.Errorf("%d clients are kept", len(k.clients))
	}
}

// TestDecodeRecordBounds: records that wait to be written are bounded in number and in memory.
func TestDecodeRecordBounds(t *testing.T) {
	t.Parallel()
	p, _, _ := pipelineOf(t, nil, "-q")
	printer := &p.decoder.printer
	for range 2*maxBatchRecords + 1 {
		printer.print(new(sessionRecord), 0)
	}
	for _, kept := range []int{maxBatchKept - 1, 1, maxBatchKept - 1} {
		printer.print(new(sessionRecord), kept)
	}
	var sizes []int
	for len(printer.pipe.filled) > 0 {
		sizes = append(sizes, len((<-printer.pipe.filled).records))
	}
	if want := []int{maxBatchRecords, maxBatchRecords, 3}; !slices.Equal(sizes, want) || len(printer.pipe.chunk.records) != 1 {
		t.Errorf("batches of %d records, want %d, and one of %d", sizes, want, len(printer.pipe.chunk.records))
	}
	// A record keeps its request and the reply.
	tape := newCaptureBuilder()
	w := tape.openConn(deviceAddr, serverAddr, testKey)
	request, reply := w.packet(1, 1, showRun), w.packet(1, 2, &authorResponse{status: authorFail, serverMsg: long(5000)})
	w.send(0, request)
	w.send(1, reply)
	p, _, _ = pipelineOf(t, nil, "-q")
	for i := range tape.frames {
		p.tcp.add(&tape.frames[i])
	}
	p.consume(p.events.chunk)
	if got, want := p.decoder.printer.pipe.chunk.kept, len(request)+len(reply)-2*headerLen+8*argCost; got != want || p.decoder.memory.used != 0 {
		t.Errorf("the record keeps %d bytes and open sessions %d, want %d and 0", got, p.decoder.memory.used, want)
	}
}

// TestDecodeRetainsNoMore: small pieces of packets do not retain the segments that they came in.
func TestDecodeRetainsNoMore(t *testing.T) {
	t.Parallel()
	tape := newCaptureBuilder()
	w := tape.openConn(deviceAddr, serverAddr, testKey)
	big := *stopRecord
	big.args = strings.Split(strings.Repeat("a="+long(250)+" ", 100)+"z=", " ")
	packet := w.packet(1, 1, &big)
	w.send(0, packet[:20_000])
	w.send(0, append(packet[20_000:], 0xc0)) // the first byte of the next packet
	p, _, _ := pipelineOf(t, nil, "-q")
	p.decodeAll(tape)
	if used := p.decoder.partial.used; used < 1 || used > 64 {
		t.Errorf("one byte retains %d", used)
	}
	// A packet that comes byte by byte is copied as often as it grows to the double, not for every byte.
	var s []byte
	copies := 0
	for range 60_000 {
		before := cap(s)
		if s = keepRest(append(s, 1), append(s, 1)); cap(s) != before {
			copies++
		}
	}
	if copies > 100 {
		t.Errorf("%d copies", copies)
	}
}

// TestDecodeOtherTLS: TLS conversations of other ports make room for those on the ports of TACACS+, and for those whose
// secrets are known.
func TestDecodeOtherTLS(t *testing.T) {
	t.Parallel()
	tape, m := newCaptureBuilder(), newFakeTLS()
	session := func(w *builtConn) {
		w.version, w.flags = minorOne, flagUnencrypted
		w.send(0, m.traffic[0].data(string(w.packet(1, 1, papStart("alice", testPassword)))))
		w.send(1, m.traffic[1].data(string(w.packet(1, 2, passed))))
		w.close()
	}
	known := tape.openConn("10.9.9.9:1000", "192.0.2.1:8443", "").hello(m)
	other := bytes.Clone(m.hellos[0].data)
	other[recordHeader+4+2]++ // the client random
	for i := range maxDecodedTLS + 44 {
		w := tape.openConn(fmt.Sprintf("10.0.%d.%d:1000", i>>8, i&0xff), "192.0.2.1:443", "")
		w.send(0, other)
		w.send(1, m.hellos[1].data)
	}
	w := tape.openConn(deviceAddr, "192.0.2.1:300", "").hello(m)
	session(w)
	m.traffic[0].seq, m.traffic[1].seq = 0, 0
	session(known)
	dir := writeFiles(t, map[string]string{"log": m.keys})
	decodeWith(t, tape.pcap(), "--keylog DIR/log", "DIR", dir).check(t, 0,
		`\S+ `+deviceAddr+` > 192.0.2.1:300 alice authenticate pap PASS \(1.0 ms\)\n\S+ 10.9.9.9:1000 > 192.0.2.1:8443 alice authenticate pap PASS \(1.0 ms\)\n`,
		`(?s).*TLS conversations on other ports \(--port N reads them\): \d+\n.*`)
}

// TestDecodeTLSMemory: the records that wait for secrets are bounded over all conversations.
func TestDecodeTLSMemory(t *testing.T) {
	t.Parallel()
	for port, problems := range map[int]int{300: 100, 443: 0} {
		tape, m := newCaptureBuilder(), newFakeTLS()
		for i := range 100 {
			w := tape.openConn(fmt.Sprintf("10.0.0.%d:1000", i), fmt.Sprintf("192.0.2.1:%d", port), "").hello(m)
			for range 6 {
				w.send(0, m.traffic[0].data(long(9_000)))
			}
		}
		dir := writeFiles(t, map[string]string{"log": ""})
		p, inv, out := pipelineOf(t, nil, "--keylog "+dir+"/log")
		for i := range tape.frames {
			if p.decode(&tape.frames[i]); p.decoder.tlsMemory.used > budgetTLS {
				t.Fatalf("port %d: %d bytes wait", port, p.decoder.tlsMemory.used)
			}
		}
		p.readFiles(t.Context(), inv, nil)
		n := &p.decoder.counts
		if strings.Count(out.String(), "TLS not decrypted") != problems || port == 300 && n.dropped < 20 || port == 443 && n.otherTLS != 100 {
			t.Errorf("port %d: %+v\n%.300s", port, *n, out)
		}
		p.decoder.checkEmpty(t)
	}
}

// TestKeyLogBound: the secrets of a key log are bounded; the oldest make room.
func TestKeyLogBound(t *testing.T) {
	t.Parallel()
	k := newKeyLog()
	k.setLimit(100 * secretsCost)
	for i := range 250 {
		for _, label := range secretLabels {
			if problem := k.parse(fmt.Sprintf("%s %064x %064x\n", label, i, i)); problem != "" {
				t.Fatal(problem)
			}
		}
	}
	var oldest, newest clientRandom
	oldest[31], newest[31] = 149, 249
	if len(k.secrets) != 100 || k.dropped != 150 || k.memory.used != 100*secretsCost || k.count(oldest) != 0 || k.count(newest) != trafficSecrets {
		t.Errorf("%d connections, %d dropped", len(k.secrets), k.dropped)
	}
}

// TestTLSGapSearchIsLinear: however many gaps there are, the work to find the next record is bounded by the input.
func TestTLSGapSearchIsLinear(t *testing.T) {
	t.Parallel()
	m := newFakeTLS()
	k := keyLogOf(t, m.keys)
	stopped := 0
	for range 20 {
		l := newTLSObserver(k).feed(m.hellos, 100)
		l.gap(0, 1<<20)
		l.add(0, frameRef{}, clearRecord(recordData, []byte(long(16_000))))
		if strings.Contains(l.problem, "too much work") {
			stopped++
		}
	}
	if k.searchWork > maxSearchWork || stopped < 15 {
		t.Errorf("%d bytes were tried, %d searches were stopped", k.searchWork, stopped)
	}
}
