package main

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestDecodeFilter: --user, --status and --peer choose the lines and what the summary counts.
func TestDecodeFilter(t *testing.T) {
	t.Parallel()
	tape := newCaptureBuilder()
	tape.openConn("10.0.0.1:1000", serverAddr, testKey).session(1, papStart("alice", testPassword), passed).close()
	tape.openConn("10.0.0.2:1000", serverAddr, testKey).session(2, papStart("bob", testPassword), &authenReply{status: authenFail}).close()
	tape.openConn("10.0.1.3:1000", serverAddr, testKey).session(3, papStart("", testPassword), passed).session(4, papStart("alice", testPassword)).close()
	tape.openConn("10.0.1.4:1000", serverAddr, "another key").session(5, stopRecord, recorded).close()
	tape.openConn("10.0.1.5:1000", serverAddr, testKey).close()
	w := tape.openConn("10.0.1.6:1000", serverAddr, testKey).session(6, papStart("alice", testPassword), passed)
	w.send(1, w.packet(7, 2, passed))
	for options, want := range map[string]string{
		"--user alice":                        "1 4 6",
		"--user alice --user bob":             "1 2 4 6",
		"--user=":                             "3",
		"--user eve":                          "",
		"--status pass":                       "1 3 6",
		"--status FAIL,NO_KEY":                "2 5",
		"--status FAIL --status open_close":   "2 conn",
		"--status 0x63":                       "",
		"--peer 10.0.0.0/24":                  "1 2",
		"--peer 10.0.0.2 --peer 10.0.1.4/30":  "2 5 conn 6 problem",
		"--peer ::ffff:10.0.0.1":              "1",
		"--peer 10.0.1.0/24 --user alice":     "4 6",
		"--user alice --status NO_REPLY,PASS": "1 4 6",
	} {
		got := decodeWith(t, tape.pcap(), "--json "+options)
		var ids []string
		for line := range strings.Lines(got.out) {
			switch m := regexp.MustCompile(`"session_id":"0000000(\d)"`).FindStringSubmatch(line); {
			case m != nil:
				ids = append(ids, m[1])
			case strings.Contains(line, `"error"`):
				ids = append(ids, "problem")
			default:
				ids = append(ids, "conn")
			}
		}
		sortedIDs, wanted := strings.Join(ids, " "), strings.Fields(want)
		for _, id := range wanted {
			if !strings.Contains(sortedIDs, id) {
				t.Errorf("%s: %s is missing in %s", options, id, sortedIDs)
			}
		}
		if len(ids) != len(wanted) {
			t.Errorf("%s: got %s, want %s", options, sortedIDs, want)
		}
	}
	decodeWith(t, tape.pcap(), "--summary --user alice --status PASS").check(t, 0, `server .*\n192.0.2.1:49 +all +2 .*\n +PASS +2\n`, `(?s).*sessions: 6\n.*`)
	for options, message := range map[string]string{
		"--status PASSED":    `option --status: "PASSED" is no status: did you mean PASS\?`,
		"--status PASS,NONE": `option --status: "PASS,NONE" is not one of ABANDONED ABORT .*`,
		"--peer nowhere":     `option --peer: "nowhere" is neither an address nor a prefix`,
	} {
		runWith(t, nil, "", split("decode "+options)...).check(t, 2, ``, `(?s)tacacs_plus: `+message+`\n.*`)
	}
}

// TestDecodeKeysTried: the hint has the sources of the keys, or their number and files. Without a key nothing is said to fit
// none.
func TestDecodeKeysTried(t *testing.T) {
	t.Parallel()
	tape := newCaptureBuilder()
	tape.openConn(deviceAddr, serverAddr, testKey).session(1, stopRecord, recorded).close()
	list := ""
	for i := range 500 {
		list += fmt.Sprintf("wrong key %d\n", i)
	}
	dir := writeFiles(t, map[string]string{"one": "a wrong key\n", "two": "another wrong key\n", "list": list})
	for options, hint := range map[string]string{
		"--key-file DIR/one":                                         "that of DIR/one",
		"--key-file DIR/one --key-file DIR/two":                      "that of DIR/one, DIR/two",
		"--key-file DIR/one --key-list DIR/list --key-file DIR/list": "among the 502 keys of DIR/one, DIR/list",
	} {
		got := runWith(t, nil, string(tape.pcap()), split("decode "+options, "DIR", dir)...)
		if want := "hint: give the devices' key: it is not " + strings.ReplaceAll(hint, "DIR", dir) + "\n"; got.code != 5 || !strings.HasSuffix(got.err, want) {
			t.Errorf("%s: got %d %s, want %s", options, int(got.code), got.err, want)
		}
	}
	for _, options := range []string{"", "--summary", "--json"} {
		got := runWith(t, nil, string(tape.pcap()), split("decode "+options)...)
		if got.code != 0 || strings.Contains(got.out+got.err, "fit") || options == "--summary" && !strings.Contains(got.out, "sessions that need a key") {
			t.Errorf("%s: got %d\n%s%s", options, int(got.code), got.out, got.err)
		}
	}
}

// TestDecodeProxy: behind a PROXY header the peer is the client that it names.
func TestDecodeProxy(t *testing.T) {
	t.Parallel()
	const v1 = "PROXY TCP4 203.0.113.7 192.0.2.1 41000 49\r\n"
	v2 := proxyV2(t, "2111 000c cb007107 c0000201 a028 0031")
	const client, login = "203.0.113.7:41000 > 192.0.2.1:49 ", "alice authenticate pap PASS (1.0 ms)\n"
	session := func(prefix string, size int) func(t *captureBuilder) {
		return func(t *captureBuilder) {
			w := t.openConn(deviceAddr, serverAddr, testKey)
			w.version = minorOne
			for sent := append([]byte(prefix), w.packet(1, 1, papStart("alice", testPassword))...); len(sent) > 0; {
				n := min(size, len(sent))
				w.send(0, sent[:n])
				sent = sent[n:]
			}
			w.send(1, w.packet(1, 2, passed))
			w.close()
		}
	}
	for _, tt := range []lineTest{
		{"version 1", "", session(v1, 1000), client + login},
		{"version 2", "", session(v2, 1000), client + login},
		{"version 1 byte by byte", "", session(v1, 1), client + login},
		{"version 2 byte by byte", "", session(v2, 1), client + login},
		{"the proxy", "-v", session(v1, 43), client + "alice authenticate pap priv_lvl=1 port=tty1 rem_addr=192.0.2.7 action=login service=login protection=obfuscated proxy=198.51.100.7:41234 frames=6,7 PASS (1.0 ms)\n"},
		{"unknown", "-v", session("PROXY UNKNOWN\r\n", 1000), "alice authenticate pap priv_lvl=1 port=tty1 rem_addr=192.0.2.7 action=login service=login protection=obfuscated frames=4,5 PASS (1.0 ms)\n"},
		{"an invalid header", "", session("PROXY TCP9 x\r\n", 1000), "NOT_TACACS: 50 52 4f 58 59 20 54 43 50 39 20 78 0d 0a c1 01 \"PROXY TCP9 x....\"\n"},
		{"half a header", "", func(t *captureBuilder) { t.openConn(deviceAddr, serverAddr, testKey).send(0, []byte(v1[:20])) },
			"NOT_TACACS: 50 52 4f 58 59 20 54 43 50 34 20 32 30 33 2e 30 \"PROXY TCP4 203.0\"\n"},
		{"a header and no more", "-v", func(t *captureBuilder) {
			w := t.openConn(deviceAddr, serverAddr, testKey)
			w.send(0, []byte(v1))
			w.segment(1, tcpRST, nil)
		}, client + "proxy=198.51.100.7:41234 OPEN_CLOSE: closed by the server\n"},
		{"a header in the middle is data", "", func(t *captureBuilder) {
			w := t.openConn(deviceAddr, serverAddr, testKey).session(1, papStart("alice", testPassword), passed)
			w.send(0, []byte(v1))
		}, login},
		{"a header of the server is data", "", func(t *captureBuilder) {
			t.openConn(deviceAddr, serverAddr, testKey).send(1, []byte(v1))
		}, "NOT_TACACS: 50 52 4f 58 59 20 54 43 50 34 20 32 30 33 2e 30 \"PROXY TCP4 203.0\"\n"},
		{"a filter", "--peer 203.0.113.7", session(v1, 1000), client + login},
		{"a filter for the proxy", "--peer 198.51.100.7", session(v1, 1000), ""},
	} {
		tt.run(t)
	}
}

// TestDecodeSecretsInCapture: secrets of TLS in a pcapng file need no key log.
func TestDecodeSecretsInCapture(t *testing.T) {
	t.Parallel()
	m, tape := newFakeTLS(), newCaptureBuilder()
	w := tape.openConn(deviceAddr, "192.0.2.1:300", "").hello(m)
	w.version, w.flags = minorOne, flagUnencrypted
	w.send(0, m.traffic[0].data(string(w.packet(1, 1, papStart("alice", testPassword)))))
	w.send(1, m.traffic[1].data(string(w.packet(1, 2, passed))))
	w.close()
	got := runWith(t, nil, string(tape.pcapng(m.keys, 0)), "decode", "-v")
	want := fmt.Sprintf("%s %s > 192.0.2.1:300 alice authenticate pap ", tape.frames[5].at.Format(time.RFC3339Nano), deviceAddr)
	if got.code != 0 || !strings.HasPrefix(got.out, want) || !strings.Contains(got.out, "protection=tls frames=6,7 PASS (1.0 ms)\n") {
		t.Errorf("got %d\n%s%s", int(got.code), got.out, got.err)
	}
}

// TestDecodeInsideTLS: a TLS conversation on a port of TACACS+ that is decrypted and has no session has a line too, and one
// whose secrets follow it in the capture.
func TestDecodeInsideTLS(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		data    string
		secrets int // before this frame
		want    string
	}{
		{"GET /", 0, `protection=tls NOT_TACACS: 47 45 54 20 2f "GET /"`},
		{"", 0, "protection=tls OPEN_CLOSE: closed by the client"},
		{"", 5, "TLS not decrypted: no key log (--keylog FILE)"},
	} {
		m, tape := newFakeTLS(), newCaptureBuilder()
		w := tape.openConn(deviceAddr, "192.0.2.1:300", "").hello(m)
		if test.data != "" {
			w.send(0, m.traffic[0].data(test.data))
		}
		w.close()
		got := runWith(t, nil, string(tape.pcapng(m.keys, test.secrets)), "decode", "-v")
		if !strings.HasSuffix(got.out, " "+deviceAddr+" > 192.0.2.1:300 "+test.want+"\n") || strings.Count(got.out, "\n") != 1 {
			t.Errorf("%+v: got %d\n%s%s", test, int(got.code), got.out, got.err)
		}
	}
}

// TestDecodeFlagsInTLS: inside TLS every packet has the UNENCRYPTED flag, and none is obfuscated (RFC 9887 section 4).
func TestDecodeFlagsInTLS(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, options  string
		request, reply headerFlags
		key            string // of the packets; empty for packets in clear
		want           string
	}{
		{"as it should be", "", flagUnencrypted, flagUnencrypted, "", "alice authenticate pap PASS (1.0 ms)"},
		{"a reply without the flag", "", flagUnencrypted, 0, "", "alice authenticate pap VIOLATION: reply without the UNENCRYPTED flag over TLS (RFC 9887 section 4) (1.0 ms)"},
		{"a request without the flag", "", 0, flagUnencrypted, "", "alice authenticate pap PASS (1.0 ms); no UNENCRYPTED flag over TLS"},
		{"obfuscated", "", flagUnencrypted, flagUnencrypted, testKey, "alice authenticate pap PASS (1.0 ms); obfuscated inside TLS (RFC 9887 section 4)"},
		{"obfuscated without the flag", "", 0, flagUnencrypted, testKey, "alice authenticate pap PASS (1.0 ms); obfuscated inside TLS (RFC 9887 section 4)"},
		{"obfuscated with another key", "-k wrong", flagUnencrypted, flagUnencrypted, testKey, "- authenticate MALFORMED: the body cannot be read: lengths do not add up (1.0 ms)"},
		{"obfuscated with another key without the flag", "-k wrong", 0, flagUnencrypted, testKey, "- authenticate NO_KEY (1.0 ms); obfuscated inside TLS (RFC 9887 section 4)"},
	} {
		tape, m := newCaptureBuilder(), newFakeTLS()
		w := tape.openConn(deviceAddr, "192.0.2.1:300", tt.key).hello(m)
		w.version = minorOne
		for i, message := range []message{papStart("alice", testPassword), passed} {
			if w.flags = 0; tt.key == "" {
				w.flags = flagUnencrypted
			}
			packet := w.packet(1, uint8(1+i), message)
			packet[atFlags] = byte([]headerFlags{tt.request, tt.reply}[i])
			w.send(i, m.traffic[i].data(string(packet)))
		}
		dir := writeFiles(t, map[string]string{"log": m.keys})
		got := decodeWith(t, tape.pcap(), "--keylog DIR/log "+tt.options, "DIR", dir)
		if _, line, _ := strings.Cut(got.out, " > 192.0.2.1:300 "); line != tt.want+"\n" {
			t.Errorf("%s: got %swant %s\n%s", tt.name, line, tt.want, got.err)
		}
	}
}

// TestDecodeTimesWithoutDate: times of day give durations, but no time of a line.
func TestDecodeTimesWithoutDate(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	w := newCaptureBuilder().joinConn(deviceAddr, serverAddr, testKey)
	w.session(1, papStart("alice", testPassword), passed)
	for i, f := range w.frames {
		fmt.Fprintf(&text, "10:00:0%d.000000 IP 198.51.100.7.41234 > 192.0.2.1.49: Flags [P.], length 1\n", i)
		for at := 0; at < len(f.data); at += 16 {
			fmt.Fprintf(&text, "\t0x%04x:  % x\n", at, f.data[at:min(at+16, len(f.data))])
		}
	}
	decodeWith(t, []byte(text.String()), "").check(t, 0, deviceAddr+` > `+serverAddr+` alice authenticate pap PASS \(1000.0 ms\)\n`, `.*\n`)
	if got := decodeWith(t, []byte(text.String()), "--json -d"); strings.Contains(got.out, `"time"`) || strings.Contains(got.err, "0001-") {
		t.Error(got.out, got.err)
	}
}

// TestDecodeReplySecrets: the password in the reply to SENDAUTH, and the keys and data of FOLLOW, are shown by -d with
// --show-secrets only.
func TestDecodeReplySecrets(t *testing.T) {
	t.Parallel()
	const secret = "s3cret-of-the-reply"
	tape := newCaptureBuilder()
	w := tape.openConn(deviceAddr, serverAddr, testKey)
	ask := papStart("alice", "")
	ask.action = 4 // SENDAUTH
	w.session(1, ask, &authenReply{status: authenPass, data: secret})
	w.session(2, papStart("bob", testPassword), &authenReply{status: authenFollow, data: "tac2@tacacs@" + secret})
	w.session(3, showRun, &authorResponse{status: authorFollow, data: "tac2@" + secret})
	w.session(4, stopRecord, &acctReply{status: acctFollow, data: "@tacacs@tac2@" + secret})
	for options, shown := range map[string]bool{"": false, "-v -d": false, "--json -d": false, "-d --show-secrets": true} {
		got := decodeWith(t, tape.pcap(), options)
		if strings.Contains(got.out, secret) || (strings.Count(got.err, secret) == 4) != shown || !shown && strings.Contains(got.err, "s3c") {
			t.Errorf("%q:\n%s%s", options, got.out, got.err)
		}
	}
	decodeWith(t, tape.pcap(), "").check(t, 0, `\S+ \S+ > \S+ alice sendauth pap PASS \(1.0 ms\)\n(?:.* FOLLOW \(1.0 ms\)\n){3}`, `.*\n`)
}

// TestDecodeErrorData: an ERROR without a message shows its data; any other data is not for display.
func TestDecodeErrorData(t *testing.T) {
	t.Parallel()
	tape := newCaptureBuilder()
	w := tape.openConn(deviceAddr, serverAddr, testKey)
	w.session(1, papStart("alice", testPassword), &authenReply{status: authenError, data: "no such \x1b host, " + testPassword})
	w.session(2, stopRecord, &acctReply{status: acctError, serverMsg: "disk full", data: "sda1"})
	w.session(3, showRun, &authorResponse{status: authorError, data: "backend down"})
	w.session(4, papStart("bob", testPassword), &authenReply{status: authenFail, data: "hidden"})
	got := decodeWith(t, tape.pcap(), "")
	for _, want := range []string{`ERROR: no such \x1b host, [redacted] (1`, "ERROR: disk full (1", "ERROR: backend down (1", "pap FAIL (1"} {
		if !strings.Contains(got.out, want) {
			t.Errorf("%q is not in\n%s", want, got.out)
		}
	}
	if got := decodeWith(t, tape.pcap(), "--json"); strings.Count(got.out, `"data":`) != 2 || !strings.Contains(got.out, `"data":"backend down"`) {
		t.Error(got.out)
	}
}

// TestDecodeManySecrets: every password of a session is hidden where the server repeats it, the long ones too.
func TestDecodeManySecrets(t *testing.T) {
	t.Parallel()
	messages := []message{asciiStart("alice")}
	var secrets []string
	for i := range 12 {
		secrets = append(secrets, fmt.Sprintf("password-%02d", i)+strings.Repeat("!", i*100))
		messages = append(messages, askForPass, answerWith(secrets[i]))
	}
	messages = append(messages, &authenReply{status: authenFail, serverMsg: "no: " + strings.Join(secrets, " ")})
	tape := newCaptureBuilder()
	tape.openConn(deviceAddr, serverAddr, testKey).session(1, messages...).close()
	// More bytes than a session retains: all text of the server is hidden.
	huge := []message{asciiStart("bob"), askForPass, answerWith("first password"), askForPass, answerWith(strings.Repeat("x", 33_000)), askForPass, answerWith(strings.Repeat("y", 33_000)), askForPass, answerWith("the last one"),
		&authenReply{status: authenFail, serverMsg: "no: the last one"}}
	tape.openConn("198.51.100.7:41235", serverAddr, testKey).session(2, huge...).close()
	got := decodeWith(t, tape.pcap(), "-d")
	if strings.Contains(got.out+got.err, "password-") || strings.Contains(got.out+got.err, "!!!!") || strings.Contains(got.out, "last one") ||
		!strings.Contains(got.out, "FAIL: no: [redacted] [redacted] ") || !strings.Contains(got.out, "bob authenticate ascii FAIL: [redacted] (5.0 ms)\n") {
		t.Errorf("%s%.20000s", got.out, got.err)
	}
}

// TestDecodeHiddenName: the answer to a GETUSER that forbids echo is not shown as the user.
func TestDecodeHiddenName(t *testing.T) {
	t.Parallel()
	tape := newCaptureBuilder()
	tape.openConn(deviceAddr, serverAddr, testKey).session(1, asciiStart(""), &authenReply{status: authenGetUser, flags: authenNoEcho, serverMsg: "Token: "}, answerWith("hunter2x"),
		&authenReply{status: authenFail, serverMsg: "hunter2x?"}).close()
	got := decodeWith(t, tape.pcap(), "-v -d")
	if strings.Contains(got.out+got.err, "hunter2x") || !strings.Contains(got.out, `"" authenticate ascii `) || !strings.Contains(got.out, "FAIL: [redacted]? (2.0 ms)") {
		t.Errorf("%s%s", got.out, got.err)
	}
}

// TestFollowHidesKeys: the hint and the data of a FOLLOW have the servers, without their keys.
func TestFollowHidesKeys(t *testing.T) {
	t.Parallel()
	for data, want := range map[string]string{
		"":                          "",
		"tac2":                      "tac2",
		"@192.0.2.1":                "@192.0.2.1",
		"@tacacs@tac2":              "@tacacs@tac2",
		"@tacacs@tac2@key":          "@tacacs@tac2@[redacted]",
		"tac2@key":                  "tac2@[redacted]",
		"tac2@tacacs@key":           "tac2@[redacted]",
		"tac2\rtac3@key@with\rtac4": "tac2\rtac3@[redacted]\rtac4",
	} {
		equal(t, followHosts(data), want, data)
	}
	for _, m := range []message{&authenReply{status: authenFollow, data: "tac2@the-key"}, &authorResponse{status: authorFollow, data: "tac2@the-key"}, &acctReply{status: acctFollow, data: "tac2@the-key"}} {
		s := startFakeServer(t, func(c *fakeServerConn) {
			for q := range c.requests {
				c.Write(c.reply(q, m))
			}
		})
		command := map[packetType]string{typeAuthen: "authenticate alice AT -t pap", typeAuthor: "authorize alice AT", typeAcct: "account alice AT"}[typeOf(m)]
		for _, options := range []string{"-v -d", "--json -d"} {
			got := runWith(t, secretsInEnv, "", split(command+" "+options, "AT", s.addr)...)
			if strings.Contains(got.out+got.err, "the-key") || !strings.Contains(got.out, "FOLLOW") || !strings.Contains(got.out+got.err, "tac2@[redacted]") {
				t.Errorf("%s %s:\n%s%s", command, options, got.out, got.err)
			}
		}
	}
}

// TestDecodeKeyInReplies: the shared key is hidden where the server repeats it, in every type of reply.
func TestDecodeKeyInReplies(t *testing.T) {
	t.Parallel()
	const said = "the key is " + testKey
	tape := newCaptureBuilder()
	w := tape.openConn(deviceAddr, serverAddr, testKey)
	w.session(1, papStart("alice", testPassword), &authenReply{status: authenFail, serverMsg: said})
	w.session(2, showRun, &authorResponse{status: authorPassAdd, serverMsg: said, args: []string{"message=" + said, "priv-lvl=1"}})
	w.session(3, stopRecord, &acctReply{status: acctError, data: said})
	for options, shown := range map[string]bool{"": false, "-v -d": false, "--json -d": false, "-d --show-secrets": true} {
		got := decodeWith(t, tape.pcap(), options)
		if strings.Contains(got.out, testKey) || strings.Count(got.out, "the key is [redacted]") < 3 || strings.Contains(got.err, testKey) != shown {
			t.Errorf("%q:\n%s%s", options, got.out, got.err)
		}
	}
}
