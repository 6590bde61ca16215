package main

import (
	"encoding/binary"
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
	m := newFakeTLS()
	tape := newCaptureBuilder()
	w := tape.openConn(deviceAddr, "192.0.2.1:300", "")
	for _, hello := range m.hellos {
		w.send(hello.from, hello.data)
	}
	w.version, w.flags = minorOne, flagUnencrypted
	w.send(0, m.traffic[0].data(string(w.packet(1, 1, papStart("alice", testPassword)))))
	w.send(1, m.traffic[1].data(string(w.packet(1, 2, passed))))
	w.close()
	keys := []byte(m.keys)
	file := (&pcapngWriter{ByteOrder: binary.LittleEndian}).section().describe(linkRawIP, 0).block(blockSecrets, uint32(0x544c534b), uint32(len(keys)), keys)
	for _, f := range tape.frames {
		file.packet(0, uint64(f.at.UnixMicro()), f.size, string(f.data))
	}
	got := runWith(t, nil, string(file.b), "decode", "-v")
	want := fmt.Sprintf("%s %s > 192.0.2.1:300 alice authenticate pap ", tape.frames[5].at.Format(time.RFC3339Nano), deviceAddr)
	if got.code != 0 || !strings.HasPrefix(got.out, want) || !strings.Contains(got.out, "protection=tls frames=6,7 PASS (1.0 ms)\n") {
		t.Errorf("got %d\n%s%s", int(got.code), got.out, got.err)
	}
}

// TestDecodeInsideTLS: a TLS conversation on a port of TACACS+ that is decrypted and has no session has a line too, and one
// whose secrets follow it in the capture.
func TestDecodeInsideTLS(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ data, secrets, want string }{
		{"GET /", "before", `protection=tls NOT_TACACS: 47 45 54 20 2f "GET /"`},
		{"", "before", "protection=tls OPEN_CLOSE: closed by the client"},
		{"", "after", "TLS not decrypted: no key log (--keylog FILE)"},
	} {
		m := newFakeTLS()
		tape := newCaptureBuilder()
		w := tape.openConn(deviceAddr, "192.0.2.1:300", "")
		for _, hello := range m.hellos {
			w.send(hello.from, hello.data)
		}
		if test.data != "" {
			w.send(0, m.traffic[0].data(test.data))
		}
		w.close()
		file := (&pcapngWriter{ByteOrder: binary.LittleEndian}).section().describe(linkRawIP, 0)
		keys := []byte(m.keys)
		secrets := func() { file.block(blockSecrets, uint32(0x544c534b), uint32(len(keys)), keys) }
		if test.secrets == "before" {
			secrets()
		}
		for i, f := range tape.frames {
			file.packet(0, uint64(f.at.UnixMicro()), f.size, string(f.data))
			if i == 4 && test.secrets == "after" {
				secrets()
			}
		}
		got := runWith(t, nil, string(file.b), "decode", "-v")
		if !strings.HasSuffix(got.out, " "+deviceAddr+" > 192.0.2.1:300 "+test.want+"\n") || strings.Count(got.out, "\n") != 1 {
			t.Errorf("%+v: got %d\n%s%s", test, int(got.code), got.out, got.err)
		}
	}
}
