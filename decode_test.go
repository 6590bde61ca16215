package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestDecode compares the lines of captures. The time, and most peers and servers, are left out.
func TestDecode(t *testing.T) {
	t.Parallel()
	usual := strings.NewReplacer(deviceAddr+" > "+serverAddr+" ", "")
	stamp := regexp.MustCompile(`(?m)^2026-11-23T10:00:\d\d\.\d{3}Z `)
	for _, tt := range []struct {
		name  string
		tape  func(t *captureBuilder)
		lines string
	}{
		{"a login", func(t *captureBuilder) {
			t.openConn(deviceAddr, serverAddr, testKey).session(1, papStart("alice", testPassword), passed).close()
		}, "alice authenticate pap PASS (1.0 ms)\n"},
		{"a dialogue", func(t *captureBuilder) {
			t.openConn(deviceAddr, serverAddr, testKey).session(1, asciiStart(""), askForUser, answerWith("alice"), askForPass, answerWith(testPassword), &authenReply{status: authenFail, serverMsg: "no\x1b\n"}).close()
		}, `alice authenticate ascii FAIL: no\x1b (3.0 ms)` + "\n"},
		{"authorization and accounting, another port, IPv6", func(t *captureBuilder) {
			t.openConn("[2001:db8::7]:1024", "[2001:db8::1]:4949", testKey).session(1, showRun, &authorResponse{status: authorFail, serverMsg: "denied by rule 7"}).
				session(2, stopRecord, recorded).close()
		}, "[2001:db8::7]:1024 > [2001:db8::1]:4949 bob authorize \"show run <cr>\" FAIL: denied by rule 7 (1.0 ms)\n" +
			"[2001:db8::7]:1024 > [2001:db8::1]:4949 bob account stop task_id=7 service=shell SUCCESS (1.0 ms)\n"},
		{"interleaved sessions", func(t *captureBuilder) {
			w := t.openConn(deviceAddr, serverAddr, testKey)
			w.send(0, append(w.packet(1, 1, asciiStart("alice")), w.packet(2, 1, showRun)...))
			w.send(1, w.packet(2, 2, &authorResponse{status: authorPassAdd}))
			w.send(1, w.packet(1, 2, askForPass))
			w.send(0, append(w.packet(3, 1, stopRecord), w.packet(1, 3, answerWith(testPassword))...))
			w.send(1, append(w.packet(1, 4, passed), w.packet(3, 2, recorded)...))
			w.close()
		}, "bob authorize \"show run <cr>\" PASS_ADD (1.0 ms)\nalice authenticate ascii PASS (3.0 ms)\nbob account stop task_id=7 service=shell SUCCESS (1.0 ms)\n"},
		{"one byte in each segment", func(t *captureBuilder) {
			w := t.openConn(deviceAddr, serverAddr, testKey)
			for i, m := range []message{papStart("alice", testPassword), passed} {
				for _, o := range w.packet(1, uint8(1+i), m) {
					w.send(i, []byte{o})
				}
			}
			w.close()
		}, "alice authenticate pap PASS (18.0 ms)\n"},
		{"no reply, an unanswered prompt, and an abort", func(t *captureBuilder) {
			w := t.openConn(deviceAddr, serverAddr, testKey)
			w.session(1, papStart("alice", testPassword))
			w.session(2, asciiStart("bob"), askForPass)
			w.session(3, asciiStart("carol"), askForPass, &authenContinue{flags: authenAbort, data: "user left"})
			w.close()
		}, "carol authenticate ascii ABORT: user left (1.0 ms)\nalice authenticate pap NO_REPLY: closed by the client\nbob authenticate ascii ABANDONED: closed by the client (1.0 ms)\n"},
		{"the end of the input", func(t *captureBuilder) {
			t.openConn(deviceAddr, serverAddr, testKey).session(1, papStart("alice", testPassword))
		}, "alice authenticate pap NO_REPLY\n"},
		{"a reused session_id", func(t *captureBuilder) {
			t.openConn(deviceAddr, serverAddr, testKey).session(1, papStart("alice", testPassword)).session(1, papStart("bob", testPassword), passed)
		}, "alice authenticate pap NO_REPLY\nbob authenticate pap PASS (1.0 ms)\n"},
		{"without obfuscation", func(t *captureBuilder) {
			w := t.openConn(deviceAddr, serverAddr, testKey)
			w.flags = flagUnencrypted
			w.session(1, papStart("alice", testPassword), passed)
		}, "alice authenticate pap PASS (1.0 ms)\n"},
		{"a reply without a body (RFC 8907 section 3.6)", func(t *captureBuilder) {
			w := t.openConn(deviceAddr, serverAddr, testKey).session(1, papStart("alice", testPassword))
			w.send(1, []byte{0xc1, 1, 2, 0, 0, 0, 0, 1, 0, 0, 0, 0})
		}, "alice authenticate pap ERROR (1.0 ms)\n"},
		{"from the middle of a packet", func(t *captureBuilder) {
			w := t.joinConn(deviceAddr, serverAddr, testKey)
			w.send(0, w.packet(9, 1, showRun)[7:])
			w.session(1, papStart("alice", testPassword), passed)
		}, "alice authenticate pap PASS (1.0 ms)\n"},
		{"from the middle of a session, with the server known only by its lower port", func(t *captureBuilder) {
			w := t.joinConn(deviceAddr, "192.0.2.1:50000", testKey)
			w.send(1, w.packet(1, 4, passed))
			w.session(2, papStart("alice", testPassword), passed)
		}, deviceAddr + " > 192.0.2.1:50000 - authenticate PASS\n" + deviceAddr + " > 192.0.2.1:50000 alice authenticate pap PASS (1.0 ms)\n"},
		{"an invalid header in the middle", func(t *captureBuilder) {
			w := t.joinConn(deviceAddr, serverAddr, testKey)
			w.send(0, append([]byte("x\xc0\x01\x01\x00\x00\x00\x00\x01\x00\x00\x00\x03abcdefghi"), w.packet(1, 1, papStart("alice", testPassword))...))
			w.send(1, w.packet(1, 2, passed))
		}, "alice authenticate pap PASS (1.0 ms)\n"},
		{"a gap in a reply", func(t *captureBuilder) {
			w := t.openConn(deviceAddr, serverAddr, testKey).session(1, papStart("alice", testPassword))
			w.seqs[1] += 18 // bytes that were not captured
			w.session(2, papStart("bob", testPassword), passed).close()
		}, "bob authenticate pap PASS (1.0 ms)\nalice authenticate pap CUT\n"},
		{"a gap found at the end of the input", func(t *captureBuilder) {
			w := t.openConn(deviceAddr, serverAddr, testKey).session(1, papStart("alice", testPassword))
			w.seqs[1] += 5
			w.send(1, w.packet(1, 2, passed))
		}, "alice authenticate pap PASS (1.0 ms)\n"},
		{"a gap of several packets", func(t *captureBuilder) {
			w := t.openConn(deviceAddr, serverAddr, testKey).session(1, asciiStart("alice"), askForPass)
			w.seqs[0] += 60
			w.seqs[1] += 40
			w.send(0, w.packet(1, 7, answerWith(testPassword)))
			w.send(1, w.packet(1, 8, passed))
			w.close()
		}, "alice authenticate ascii PASS\n"},
		{"a gap in a dialogue that continues", func(t *captureBuilder) {
			w := t.openConn(deviceAddr, serverAddr, testKey).session(1, asciiStart("alice"), askForPass)
			w.seqs[0] += 30
			w.send(1, w.packet(1, 4, passed))
			w.close()
		}, "alice authenticate ascii PASS\n"},
		{"a gap in another session", func(t *captureBuilder) {
			w := t.openConn(deviceAddr, serverAddr, testKey).session(1, asciiStart("alice"), askForPass)
			w.seqs[0] += 30
			w.send(0, w.packet(1, 3, answerWith(testPassword)))
			w.close()
		}, "alice authenticate ascii NO_REPLY: closed by the client (1.0 ms)\n"},
		{"not TACACS+", func(t *captureBuilder) {
			w := t.openConn(deviceAddr, serverAddr, testKey)
			w.send(0, []byte("GET / HTTP/1.1\r\n\r\n"))
			w.send(0, w.packet(1, 1, showRun))
			w.close()
			t.openConn("198.51.100.7:41235", serverAddr, testKey).send(0, []byte("\x17\x00\x00hello, this is no TLS"))
		}, "NOT_TACACS: 47 45 54 20 2f 20 48 54 54 50 2f 31 2e 31 0d 0a \"GET / HTTP/1.1..\"\n" +
			"198.51.100.7:41235 > 192.0.2.1:49 NOT_TACACS: 17 00 00 68 65 6c 6c 6f 2c 20 74 68 69 73 20 69 \"...hello, this i\"\n"},
		{"after a gap, sessions may begin in the middle", func(t *captureBuilder) {
			w := t.openConn(deviceAddr, serverAddr, testKey)
			w.seqs[0] += 40
			w.send(1, w.packet(1, 2, recorded)) // begins no session: earlier packets are missing
			w.session(2, stopRecord, recorded)
			w.send(1, w.packet(3, 2, recorded))
			w.send(1, w.packet(4, 0, recorded)) // seq_no 0 is invalid
			w.close()
		}, "- account SUCCESS\nbob account stop task_id=7 service=shell SUCCESS (1.0 ms)\n- account SUCCESS\n- account MALFORMED: seq_no 0 (4.1)\n"},
		{"junk after a packet", func(t *captureBuilder) {
			w := t.joinConn(deviceAddr, serverAddr, testKey).session(1, papStart("alice", testPassword), passed)
			w.send(0, append(w.packet(2, 1, papStart("bob", testPassword)), "junk"...))
			w.send(1, append(w.packet(2, 2, passed), "junk"...))
		}, "alice authenticate pap PASS (1.0 ms)\nbob authenticate pap PASS (1.0 ms)\n"},
		{"an absurd length", func(t *captureBuilder) {
			w := t.openConn(deviceAddr, serverAddr, testKey).session(1, papStart("alice", testPassword))
			w.send(1, []byte{0xc1, 1, 2, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff})
			w.send(1, w.packet(1, 2, passed))
			w.close()
		}, "alice authenticate pap PASS (2.0 ms); a body of 4294967295 bytes, over the limit of 65535\n"},
		{"a long input without a header", func(t *captureBuilder) {
			for _, size := range []int{maxUnrecognized - 10_000, maxUnrecognized + 10_000} {
				w := t.joinConn(fmt.Sprintf("10.0.0.1:%d", size/2), serverAddr, testKey)
				for ; size > 0; size -= 10_000 {
					w.send(0, []byte(long(min(size, 10_000))))
				}
				w.send(0, []byte("x"))
				w.session(1, papStart("alice", testPassword), passed)
			}
		}, "10.0.0.1:27768 > 192.0.2.1:49 alice authenticate pap PASS (1.0 ms)\n" +
			"10.0.0.1:37768 > 192.0.2.1:49 NOT_TACACS: 78 78 78 78 78 78 78 78 78 78 78 78 78 78 78 78 \"xxxxxxxxxxxxxxxx\"\n"},
		{"invalid packets of the server", func(t *captureBuilder) {
			w := t.openConn(deviceAddr, serverAddr, testKey).session(1, papStart("alice", testPassword))
			w.send(1, []byte("\x15\x03\x01\x00\x02\x02\x46"))
			w.close()
		}, "alice authenticate pap NO_REPLY: closed by the client\n"},
		{"unknown values, and a matching reply", func(t *captureBuilder) {
			odd := papStart("a\x1bb", testPassword)
			odd.privLvl, odd.service = 99, 77
			t.openConn(deviceAddr, serverAddr, testKey).session(1, odd, passed).session(2, odd)
		}, `"a\x1bb authenticate pap PASS (1.0 ms)` + "\n- authenticate NO_KEY\n"},
	} {
		tape := newCaptureBuilder()
		tt.tape(tape)
		got := decodeWith(t, tape.pcap(), "")
		lines := stamp.ReplaceAllString(got.out, "")
		if want := strings.ReplaceAll(tt.lines, `"a\x1b`, `a\x1b`); usual.Replace(lines) != want || got.code != 0 {
			t.Errorf("%s: got %d\n%s, want\n%s%s", tt.name, int(got.code), usual.Replace(lines), want, got.err)
		}
	}
}

// TestDecodeHidesRepeatedSecrets: a password is hidden even if the server repeats it.
func TestDecodeHidesRepeatedSecrets(t *testing.T) {
	t.Parallel()
	tape := newCaptureBuilder()
	w := tape.openConn(deviceAddr, serverAddr, testKey)
	no := &authenReply{status: authenFail, serverMsg: "bad password " + testPassword + "!"}
	w.session(1, papStart("alice", testPassword), no)
	w.session(2, asciiStart(""), askForUser, answerWith("alice"), askForPass, answerWith(testPassword), no).close()
	for options, shown := range map[string]bool{"": false, "-v -d": false, "--json -d": false, "-d --show-secrets": true} {
		got := decodeWith(t, tape.pcap(), options)
		if n := strings.Count(got.out, "FAIL"); n != 2 || strings.Count(got.out, "bad password [redacted]!") != 2 {
			t.Errorf("%s: %d sessions failed:\n%s", options, n, got.out)
		}
		if strings.Contains(got.out, testPassword) || strings.Contains(got.err, testPassword) != shown {
			t.Errorf("%s: the password is shown without --show-secrets, or hidden with it:\n%s%s", options, got.out, got.err)
		}
	}
}

// TestDecodeStrays: packets that do not continue a session change none, and have a line.
func TestDecodeStrays(t *testing.T) {
	t.Parallel()
	tape := newCaptureBuilder()
	w := tape.openConn(deviceAddr, serverAddr, testKey).session(1, asciiStart("alice"), askForPass)
	w.send(1, w.packet(1, 2, passed))                           // an old seq_no
	w.send(1, w.packet(2, 2, passed))                           // another session
	w.send(1, w.packet(1, 4, recorded))                         // another type
	w.send(1, w.packet(1, 8, passed))                           // a seq_no that is too high
	w.send(1, w.packet(5, 1, papStart("eve", "x")))             // a client's packet, sent by the server
	w.send(0, w.packet(5, 2, passed))                           // a server's packet, sent by the client
	w.send(0, w.packet(1, 3, answerWith(testPassword)))         // continues the dialogue
	w.send(1, w.packet(1, 4, passed))                           // ends it
	w.send(1, w.packet(1, 4, &authenReply{status: authenFail})) // after the end
	w.close()
	const at = `\{"time":"2026-11-23T10:00:00.\d+Z","peer":"198.51.100.7:41234","server":"192.0.2.1:49",`
	decodeWith(t, tape.pcap(), "--json").check(t, 0,
		at+`"error":"repeated seq_no 2 in session 00000001, expected 3"\}\n`+
			at+`"error":"a packet of no session: seq_no 2 in session 00000002"\}\n`+
			at+`"error":"accounting packet in a session of authentication: seq_no 4 in session 00000001"\}\n`+
			at+`"error":"seq_no 8 in session 00000001, expected 3"\}\n`+
			at+`"error":"odd seq_no 1 from a server"\}\n`+
			at+`"error":"even seq_no 2 from a client"\}\n`+
			`.*"frames":\[4,5,12,13\],"status":"PASS","server_ms":2,"total_ms":9,"packets":4,"key":"TACACS_PLUS_KEY"\}\n`+
			at+`"error":"a packet of no session: seq_no 4 in session 00000001"\}\n`,
		`(?s).*\ntacacs_plus: not read: packets without a session: 7\n`)
	if got := decodeWith(t, tape.pcap(), "--summary"); strings.Contains(got.out, "seq_no") || !strings.Contains(got.err, "packets without a session: 7\n") {
		t.Error(got.out, got.err)
	}
}

// TestDecodeOneDirection: sessions are decoded if only one direction was captured.
func TestDecodeOneDirection(t *testing.T) {
	t.Parallel()
	tape := newCaptureBuilder()
	for _, from := range []int{0, 1} {
		w := tape.joinConn(deviceAddr, serverAddr, testKey)
		w.seqs[0]++
		w.segment(1, tcpSYN|tcpACK, nil)
		if from == 1 {
			w.seqs[0] += 40
			w.send(1, w.packet(1, 2, passed))
		} else {
			w.send(0, w.packet(1, 1, papStart("alice", testPassword)))
			w.seqs[1] += 18
		}
		w.close()
	}
	decodeWith(t, tape.pcap(), "").check(t, 0, `\S+ `+deviceAddr+` > `+serverAddr+` alice authenticate pap CUT\n`+
		`\S+ `+deviceAddr+` > `+serverAddr+` - authenticate PASS\n`, `(?s).*sessions: 2\n.*missing bytes: 58\n`)
}

// TestDecodeVerbose: -v prints all fields, -q nothing.
func TestDecodeVerbose(t *testing.T) {
	t.Parallel()
	tape := newCaptureBuilder()
	tape.openConn(deviceAddr, serverAddr, testKey).session(1, showRun, &authorResponse{status: authorPassAdd}).close()
	decodeWith(t, tape.pcap(), "-v").check(t, 0, `2026-11-23T10:00:00.004Z 198.51.100.7:41234 > 192.0.2.1:49 bob authorize service=shell cmd=show cmd-arg=run cmd-arg=<cr> priv_lvl=15 port=tty2 rem_addr=::1 method=tacacsplus service=login protection=obfuscated frames=4,5 PASS_ADD \(1.0 ms\)`+"\n",
		"tacacs_plus: frames: 8, TACACS\\+ conversations: 1, sessions: 1\n")
	decodeWith(t, tape.pcap(), "-q").check(t, 0, "", "")
	decodeWith(t, tape.pcap(), "-q -k wrong").check(t, 5, "", "(?s)tacacs_plus: no key fits any session.*")
}

// TestDecodeFiles: several files are read as one capture, each up to its first error.
func TestDecodeFiles(t *testing.T) {
	t.Parallel()
	tape := newCaptureBuilder()
	tape.openConn(deviceAddr, serverAddr, testKey).session(1, asciiStart("alice"), askForPass, answerWith(testPassword), passed).close()
	first, second := &captureBuilder{frames: tape.frames[:6]}, &captureBuilder{frames: tape.frames[6:]}
	whole := string(tape.pcap())
	dir := writeFiles(t, map[string]string{"a": string(first.pcap()), "b": string(second.pcap()), "cut": whole[:len(whole)-1], "none": "\x00\x01\x02\x03", "empty": ""})
	const line = `2026-11-23T\S+ 198.51.100.7:41234 > 192.0.2.1:49 alice authenticate ascii `
	for _, tt := range []struct {
		files, stdin string
		code         exitCode
		out, err     string
	}{
		{"DIR/a DIR/b", "", 0, line + `PASS \(2.0 ms\)\n`, `tacacs_plus: frames: 10, TACACS\+ conversations: 1, sessions: 1\n`},
		{"-", whole, 0, line + `PASS \(2.0 ms\)\n`, `.*\n`},
		{"", whole, 0, line + `PASS \(2.0 ms\)\n`, `.*\n`},
		{"DIR/a", "", 0, line + `NO_REPLY \(1.0 ms\)\n`, `.*\n`},
		{"DIR/cut", "", 2, line + `PASS \(2.0 ms\)\n`, `tacacs_plus: frames: 9, .*\ntacacs_plus: DIR/cut at offset \d+: truncated record\n`},
		{"-k wrong DIR/cut", "", 2, `.* NO_KEY .*\n`, `(?s).*DIR/cut at offset \d+: .*`},
		{"DIR/none DIR/a DIR/empty - DIR/b", "junk\xff", 2, line + `PASS \(2.0 ms\)\n`,
			`tacacs_plus: DIR/empty is empty\ntacacs_plus: standard input is not a capture.*\ntacacs_plus: frames: 10, .*\ntacacs_plus: DIR/none is not a capture.*\ntacacs_plus: hint: .*\n`},
		{"DIR/absent", "", 2, ``, `tacacs_plus: frames: 0, .*\ntacacs_plus: read the capture: open DIR/absent: .*\n`},
	} {
		got := runWith(t, map[string]string{"TACACS_PLUS_KEY": testKey}, tt.stdin, split("decode "+tt.files, "DIR", dir)...)
		got.check(t, tt.code, tt.out, strings.ReplaceAll(tt.err, "DIR", dir))
	}
}

// TestDecodeHexText: hexadecimal text of bare packets has neither addresses nor times.
func TestDecodeHexText(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	w := newCaptureBuilder().joinConn(deviceAddr, serverAddr, testKey)
	for i, m := range []message{asciiStart("alice"), askForPass, answerWith(testPassword), passed} {
		packet := w.packet(1, uint8(1+i), m)
		for at := 0; at < len(packet); at += 16 {
			fmt.Fprintf(&text, "%04x  % x\n", at, packet[at:min(at+16, len(packet))])
		}
		text.WriteString("\n")
	}
	decodeWith(t, []byte(text.String()), "").check(t, 0, "alice authenticate ascii PASS\n", `tacacs_plus: frames: 4, .*\n`)
	decodeWith(t, []byte(text.String()), "--json").check(t, 0, `\{"session_id":"00000001","user":"alice",.*,"packets":4,"key":"TACACS_PLUS_KEY"\}`+"\n", `.*\n`)
	if got := decodeWith(t, []byte(text.String()), "-d"); strings.Contains(got.err, "0001-") || !strings.Contains(got.err, "  status: PASS\n") {
		t.Error(got.err)
	}
	decodeWith(t, []byte("c101 0100 0000 0001 0000 0027 0102\n"), "").check(t, 0, "- authenticate CUT\n", `.*\ntacacs_plus: not read: missing bytes: 37\n`)
	decodeWith(t, []byte(text.String()), "--summary").check(t, 0, `(?s).*unknown +all +1 +- +- +-\n.*`, `.*\n`)
}

// TestDecodeUsage: invalid options and files are refused.
func TestDecodeUsage(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"empty": "\n\n", "long": long(maxKeyListLine + 1), "log": "not a key log\n", "huge": strings.Repeat(long(1000)+"\n", maxKeyListFile/1000)})
	for _, tt := range []struct{ options, message string }{
		{"-u alice", "--username is for a client, not for decode"},
		{"--timeout 3", "--timeout is for a client, not for decode"},
		{"--tls", "--tls is for a client, not for decode"},
		{"--cert x", "--cert is for a client, not for decode"},
		{"--cacert x", "--cacert is for a client, not for decode"},
		{"--password x", "--password is for a client, not for decode"},
		{"-q --json", "--quiet cannot be used with --verbose or --json"},
		{"--key-file -", "the capture and the key cannot both come from standard input"},
		{"--key-list - -", "the capture and the list of keys cannot both come from standard input"},
		{"--keylog -", "the capture and the key log cannot both come from standard input"},
		{"- -", "the capture and the capture cannot both come from standard input"},
		{"--key-file - --key-list - x", "the list of keys and the key cannot both come from standard input"},
		{"--key-list DIR/empty", "no keys in DIR/empty"},
		{"--key-list DIR/long", "line 1 of the list of keys DIR/long is over 4096 bytes"},
		{"--key-list DIR/huge", "read the list of keys: DIR/huge is over 8388608 bytes"},
		{"--key-list DIR/absent", "read the list of keys: open DIR/absent: .*"},
		{"--key-list DIR", "read the list of keys: .*"},
		{"--keylog DIR/absent", "read the key log: open DIR/absent: .*"},
		{"--keylog DIR/log", "line 1 of the key log DIR/log .*"},
		{"--port 0", "option --port: .*"},
	} {
		got := runWith(t, nil, "", split("decode "+tt.options, "DIR", dir)...)
		got.check(t, 2, `(?:\{.*\}\n)?`, `tacacs_plus: `+strings.ReplaceAll(tt.message, "DIR", dir)+`\n(?:tacacs_plus: hint: .*\n)?`)
	}
}

// TestDecodePort: with --port, only conversations of that port are decoded.
// TestDecodeOtherTraffic: what is not read is counted, apart from what TACACS+ conversations miss.
func TestDecodeOtherTraffic(t *testing.T) {
	t.Parallel()
	tape := newCaptureBuilder()
	add := func(n int, data string) {
		for range n {
			tape.frames = append(tape.frames, frame{at: tape.at, link: linkEthernet, data: []byte(data), size: len(data)})
		}
	}
	w := tape.openConn(deviceAddr, serverAddr, testKey)
	w.session(1, papStart("alice", testPassword), passed).close()
	for i := range tape.frames { // in VXLAN
		f := &tape.frames[i]
		data := []byte(ethernetIPv4 + inUDP(4789, vxlanHeader+ethernetIPv4+string(f.data)))
		*f = frame{at: f.at, link: linkEthernet, data: data, size: len(data)}
	}
	add(3, ethernetIPv4+inUDP(53, "query"))
	add(24, ethernetIPv4[:12]+"\x88\xccLLDP")
	decodeWith(t, tape.pcap(), "").check(t, 0, `\S+ 198.51.100.7:41234 > 192.0.2.1:49 alice authenticate pap PASS \(1.0 ms\)\n`,
		`tacacs_plus: frames: 35, TACACS\+ conversations: 1, sessions: 1\ntacacs_plus: other traffic, not read: 24 frames of ethertype 0x88cc, 3 of UDP port 53\n`)

	tape = newCaptureBuilder()
	w = tape.openConn(deviceAddr, serverAddr, testKey)
	w.session(1, papStart("alice", testPassword), passed).close()
	other := tape.openConn(deviceAddr, "192.0.2.9:80", testKey)
	other.send(0, []byte("GET / HTTP/1.0\r\n\r\n"))
	for _, i := range []int{3, len(tape.frames) - 1} {
		f := &tape.frames[i]
		f.data = f.data[:len(f.data)-4]
	}
	decodeWith(t, tape.pcap(), "").check(t, 0, `(?s).*`, `(?s)[^\n]*\ntacacs_plus: not read: frames cut by the snapshot length: 1, missing bytes: 4\ntacacs_plus: other traffic, not read: 4 frames of TCP port 80\n.*`)
}

// TestDecodeOrder: files are read in the order of their first frames, and a reply may be captured before its request.
func TestDecodeOrder(t *testing.T) {
	t.Parallel()
	tape := newCaptureBuilder()
	w := tape.openConn(deviceAddr, serverAddr, testKey)
	w.session(1, papStart("alice", testPassword), passed)
	w.session(2, papStart("bob", testPassword), passed)
	frames := func(numbers ...int) string {
		part := newCaptureBuilder()
		for _, i := range numbers {
			part.frames = append(part.frames, tape.frames[i])
		}
		return string(part.pcap())
	}
	dir := writeFiles(t, map[string]string{
		"a.pcap": frames(6, 5), "b.pcap.gz": string(zipped([]byte(frames(0, 1, 2, 3, 4)))),
		"reply first.pcap": frames(0, 1, 2, 4, 3, 6, 5), "requests first.pcap": frames(0, 1, 2, 3, 5, 4, 6), "replies first.pcap": frames(0, 1, 2, 4, 6, 3, 5),
	})
	pattern := func(user string) string {
		return `\S+ 198.51.100.7:41234 > 192.0.2.1:49 ` + user + ` authenticate pap PASS \(1.0 ms\)\n`
	}
	env := map[string]string{"TACACS_PLUS_KEY": testKey}
	for _, files := range [][]string{{"reply first.pcap"}, {"requests first.pcap"}, {"replies first.pcap"}, {"a.pcap", "b.pcap.gz"}, {"b.pcap.gz", "a.pcap"}} {
		args := []string{"decode"}
		for _, name := range files {
			args = append(args, dir+"/"+name)
		}
		t.Log(files)
		runWith(t, env, "", args...).check(t, 0, pattern("alice")+pattern("bob"), `tacacs_plus: frames: 7, .* sessions: 2\n`)
	}
}

func TestDecodePort(t *testing.T) {
	t.Parallel()
	tape := newCaptureBuilder()
	tape.openConn(deviceAddr, serverAddr, testKey).session(1, papStart("alice", testPassword), passed).close()
	tape.openConn(deviceAddr, "192.0.2.1:4949", testKey).session(2, papStart("bob", testPassword), passed).close()
	for options, want := range map[string]string{"": "alice bob", "--port 49": "alice", "--port 4949": "bob", "-p 50": ""} {
		got := decodeWith(t, tape.pcap(), "--json "+options)
		var users []string
		for _, m := range regexp.MustCompile(`"user":"(\w+)"`).FindAllStringSubmatch(got.out, -1) {
			users = append(users, m[1])
		}
		if strings.Join(users, " ") != want {
			t.Errorf("%s: %s", options, got.out)
		}
	}
}

// TestDecodeLive: a session is printed as soon as it ends, and an interrupt prints those that are open.
func TestDecodeLive(t *testing.T) {
	t.Parallel()
	tape := newCaptureBuilder()
	w := tape.openConn(deviceAddr, serverAddr, testKey).session(1, papStart("alice", testPassword), passed).session(2, papStart("bob", testPassword))
	in, feed := io.Pipe()
	out := new(lockedBuffer)
	stderr := new(lockedBuffer)
	ctx, interrupt := context.WithCancelCause(t.Context())
	done := make(chan exitCode, 1)
	go func() {
		done <- run(ctx, split("decode"), stdio{in: in, out: out, err: stderr, env: func(string) string { return testKey }})
	}()
	feed.Write(w.pcap())
	waitUntil(t, "the session is logged", func() bool { return strings.HasSuffix(out.String(), "alice authenticate pap PASS (1.0 ms)\n") })
	interrupt(interruptedBy(2))
	if code := <-done; code != 130 {
		t.Errorf("exit code %d", int(code))
	}
	if !strings.HasSuffix(out.String(), "bob authenticate pap NO_REPLY\n") || !strings.Contains(stderr.String(), " sessions: 2\n") {
		t.Errorf("%s%s", out, stderr)
	}
	feed.Close()
}

// TestDecodeOnFullDisk: if lines cannot be written, decode stops with an error.
func TestDecodeOnFullDisk(t *testing.T) {
	t.Parallel()
	stderr := new(lockedBuffer)
	dir := writeFiles(t, map[string]string{"a": string(manySessions(2000, testKey))})
	code := run(t.Context(), split("decode DIR/a DIR/a DIR/absent", "DIR", dir), stdio{out: fullDisk{}, err: stderr, env: func(string) string { return testKey }})
	if code != 2 || stderr.String() != "tacacs_plus: write session lines: no space left on device\n" {
		t.Errorf("%d: %s", int(code), stderr)
	}
}

// FuzzDecodeCommand: for any capture, decode returns one of its exit codes, prints only printable text, and
// holds no memory at the end.
func FuzzDecodeCommand(f *testing.F) {
	whole := manySessions(6, testKey)
	f.Add(whole, "")
	f.Add(whole[:len(whole)-9], "--json")
	tape := newCaptureBuilder()
	w := tape.joinConn(deviceAddr, serverAddr, testKey)
	w.send(0, w.packet(9, 1, showRun)[7:])
	w.flags = flagUnencrypted
	w.session(1, asciiStart(""), askForUser, answerWith("a\x1bb"), askForPass)
	w.seqs[1] += 10
	w.send(1, w.packet(1, 6, passed))
	m := newFakeTLS()
	tape.openConn("198.51.100.9:41234", "192.0.2.1:300", "").hello(m)
	f.Add(tape.pcap(), "-d")
	f.Add(tape.pcap(), "--summary")
	f.Add([]byte("0000 c0 01 01 01 00 00 00 01 00 00 00 00\n"), "-v")
	f.Fuzz(func(t *testing.T, capture []byte, options string) {
		for _, word := range strings.Fields(options) {
			if !slices.Contains([]string{"-d", "-v", "--json", "--summary", "--port=49"}, word) {
				return
			}
		}
		stderr, out := new(lockedBuffer), new(lockedBuffer)
		code := run(t.Context(), split("decode "+options), stdio{in: bytes.NewReader(capture), out: out, err: stderr, env: func(string) string { return testKey }})
		if code != 0 && code != 2 && code != 5 {
			t.Errorf("exit code %d: %s", int(code), stderr)
		}
		for _, text := range []string{out.String(), stderr.String()} {
			if escapeLines(text) != text {
				t.Errorf("%q has unprintable characters", text)
			}
		}
		p, inv, _ := pipelineOf(t, capture, "-q")
		p.readFiles(t.Context(), inv, []string{"-"})
		p.decoder.checkEmpty(t)
	})
}

// BenchmarkDecodeSessions measures the time for a session.
func BenchmarkDecodeSessions(b *testing.B) {
	const sessions = 5000
	capture := manySessions(sessions, testKey)
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		p, inv, _ := pipelineOf(b, capture, "-q")
		if p.readFiles(b.Context(), inv, []string{"-"}) != nil || p.decoder.counts.fitted != sessions {
			b.Fatal(p.decoder.counts)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/sessions, "ns/session")
}

// TestDecodeSummary checks the table, its width, and the JSON object.
func TestDecodeSummary(t *testing.T) {
	t.Parallel()
	tape := newCaptureBuilder()
	for i := range uint32(20) {
		tape.openConn(fmt.Sprintf("10.0.0.%d:1000", i), serverAddr, testKey).session(i, papStart("alice", testPassword), passed).close()
	}
	w := tape.openConn("[2001:db8:1234:5678:9abc:def0:1234:5678]:41234", "[2001:db8:1234:5678:9abc:def0:1234:5679]:41234", testKey)
	w.session(1, papStart("alice", testPassword))
	tape.at = tape.at.Add(1500 * time.Millisecond)
	w.send(1, w.packet(1, 2, passed))
	w.close()
	for i := range uint32(12) {
		w := tape.openConn(fmt.Sprintf("10.0.1.%d:1000", i), serverAddr, "a wrong key").session(1, showRun, &authorResponse{status: authorPassAdd})
		for range i {
			w.session(2+i, stopRecord, recorded)
		}
		w.close()
	}
	tape.openConn("10.0.2.1:1000", serverAddr, testKey).session(1, showRun).close()
	got := decodeWith(t, tape.pcap(), "--summary")
	const want = `server                                          status     sessions     p50 ms     p99 ms     max ms
192.0.2.1:49                                    all              99        1.0        1.0        1.0
                                                NO_KEY           78
                                                PASS             20
                                                NO_REPLY          1
[2001:db8:1234:5678:9abc:def0:1234:5679]:41234  all               1     1501.0     1501.0     1501.0
                                                PASS              1

client                                          sessions that no key fits
10.0.1.11                                       12 of 12
10.0.1.10                                       11 of 11
10.0.1.9                                        10 of 10
10.0.1.8                                        9 of 9
10.0.1.7                                        8 of 8
10.0.1.6                                        7 of 7
10.0.1.5                                        6 of 6
10.0.1.4                                        5 of 5
10.0.1.3                                        4 of 4
10.0.1.2                                        3 of 3
and 2 more

client                                          sessions without a reply
10.0.2.1                                        1 of 1

client                                          sessions slower than 1s
2001:db8:1234:5678:9abc:def0:1234:5678          1 of 1
`
	if got.out != want || got.code != 0 {
		t.Errorf("got %d\n%s, want\n%s", int(got.code), got.out, want)
	}
	for line := range strings.Lines(got.out) {
		if len(line) > 101 {
			t.Errorf("%d columns: %s", len(line)-1, line)
		}
	}
	var report decodeReport
	must(t, json.Unmarshal([]byte(decodeWith(t, tape.pcap(), "--summary --json").out), &report))
	s, c := report.Servers[0], report.Clients[1]
	if len(report.Servers) != 2 || s.Server != serverAddr || s.Sessions != 99 || s.Status["NO_KEY"] != 78 || s.Took["max"] != 1 ||
		len(report.Clients) != 14 || c.Client != "10.0.1.1" || c.NoKey != 2 || report.Clients[13].SlowestMS != 1501 || report.Clients[12].NoReply != 1 {
		t.Errorf("%+v", report)
	}
	// Servers beyond the bound are counted together.
	tape = newCaptureBuilder()
	for i := range maxServers + 2 {
		tape.openConn("10.0.0.1:1000", fmt.Sprintf("192.0.2.%d:49", i), testKey).session(1, papStart("alice", testPassword), passed).close()
	}
	decodeWith(t, tape.pcap(), "--summary").check(t, 0, `(?s).*\nall others +all +2 +1.0 +1.0 +1.0\n +PASS +2\n`, `.*\n`)
}

// TestDecodeDump: -d prints every packet to standard error, secrets only with --show-secrets.
func TestDecodeDump(t *testing.T) {
	t.Parallel()
	tape := newCaptureBuilder()
	tape.openConn(deviceAddr, serverAddr, testKey).session(0xabc, asciiStart("alice"), askForPass, answerWith(testPassword), passed).close()
	tape.openConn(deviceAddr, serverAddr, "another key").session(2, stopRecord).close()
	got := decodeWith(t, tape.pcap(), "-d")
	for _, want := range []string{
		"2026-11-23T10:00:00.004Z 198.51.100.7:41234 > 192.0.2.1:49: version 0xc.0 type authentication seq_no 1 flags none session_id 00000abc length 17\n  action: LOGIN\n",
		"2026-11-23T10:00:00.005Z 192.0.2.1:49 > 198.51.100.7:41234: version 0xc.0 type authentication seq_no 2 ",
		"  server_msg: Password: \n", "  user_msg: [redacted 9 bytes]\n", "  status: PASS\n",
		"type accounting seq_no 1 flags none session_id 00000002 length 43\ntacacs_plus: ", // no fields: the packet was not read
	} {
		if !strings.Contains(got.err, want) {
			t.Errorf("%q is not in\n%s", want, got.err)
		}
	}
	if strings.Contains(got.err, testPassword) {
		t.Error("the password is shown")
	}
	if got := decodeWith(t, tape.pcap(), "-d --show-secrets"); !strings.Contains(got.err, "  user_msg: "+testPassword+"\n") {
		t.Errorf("the password is not in\n%s", got.err)
	}
}

// TestDecodeDumpOnFullDisk: if -d cannot write, the exit code shows it. All lines are printed.
func TestDecodeDumpOnFullDisk(t *testing.T) {
	t.Parallel()
	const sessions = 5
	for options, want := range map[string]exitCode{"-d": classUsage.exit(), "": 0} {
		out := new(lockedBuffer)
		code := run(t.Context(), split("decode "+options), stdio{in: bytes.NewReader(manySessions(sessions, testKey)), out: out, err: fullDisk{},
			env: func(string) string { return testKey }})
		if n := strings.Count(out.String(), "\n"); code != want || n != sessions {
			t.Errorf("%q: exit code %d, %d lines", options, int(code), n)
		}
	}
}

// TestDecodeDumpOrder: if stdout and stderr are one stream, a line follows its packets.
func TestDecodeDumpOrder(t *testing.T) {
	t.Parallel()
	tape := newCaptureBuilder()
	tape.openConn(deviceAddr, serverAddr, testKey).session(1, papStart("alice", testPassword), passed).session(2, papStart("bob", testPassword), passed).close()
	both := new(lockedBuffer)
	run(t.Context(), split("decode -d"), stdio{in: bytes.NewReader(tape.pcap()), out: both, err: both, env: func(string) string { return testKey }})
	var order []string
	for _, m := range regexp.MustCompile(`(?m)session_id 0000000(\d)|> \S+ (alice|bob) `).FindAllStringSubmatch(both.String(), -1) {
		order = append(order, m[1]+m[2])
	}
	equal(t, strings.Join(order, " "), "1 1 alice 2 2 bob", both)
}

// TestDecodeDumpOrderOfFiles: the error of a file follows its packets.
func TestDecodeDumpOrderOfFiles(t *testing.T) {
	t.Parallel()
	long, short := newCaptureBuilder(), newCaptureBuilder()
	w := long.openConn(deviceAddr, serverAddr, testKey)
	for i := range uint32(100) {
		w.session(i, papStart("alice", testPassword), passed)
	}
	short.openConn("198.51.100.8:41234", serverAddr, testKey).session(100, papStart("bob", testPassword), passed)
	dir := writeFiles(t, map[string]string{"none": "\x00\x01\x02\x03", "cut": string(long.pcap()) + "x", "whole": string(short.pcap())})
	got := runWith(t, map[string]string{"TACACS_PLUS_KEY": testKey}, "", "decode", "-d", dir+"/none", dir+"/cut", dir+"/whole")
	wrong, before, after := strings.Index(got.err, "/cut at offset"), strings.LastIndex(got.err, "session_id 00000063"), strings.Index(got.err, "session_id 00000064")
	if before < 0 || wrong < before || after < wrong {
		t.Errorf("at %d, and the packets at %d and %d of\n%s", wrong, before, after, got.err)
	}
}

// TestDecodeDumpsStrays: -d prints packets without a session too.
func TestDecodeDumpsStrays(t *testing.T) {
	t.Parallel()
	tape := newCaptureBuilder()
	w := tape.openConn(deviceAddr, serverAddr, testKey).session(1, asciiStart("alice"), askForPass)
	w.send(1, w.packet(1, 4, recorded))
	if got := decodeWith(t, tape.pcap(), "-d"); !strings.Contains(got.err, "version 0xc.0 type accounting seq_no 4 flags none session_id 00000001 length 5\ntacacs_plus: ") {
		t.Error(got.err)
	}
}

// TestDecodeAbandonedWithoutKey: without a key, a login that ended with the server's first reply was abandoned at a
// prompt, since only a login of type ascii continues. A key that fits no packet changes that: the key may be wrong.
func TestDecodeAbandonedWithoutKey(t *testing.T) {
	t.Parallel()
	tape := newCaptureBuilder()
	tape.openConn("10.0.0.1:1000", serverAddr, testKey).session(1, asciiStart("alice"), askForPass).close()
	tape.openConn("10.0.0.1:1001", serverAddr, testKey).session(2, asciiStart("bob"), askForPass, answerWith(testPassword), passed).close()
	tape.openConn("10.0.0.1:1002", serverAddr, testKey).session(3, papStart("carol", testPassword), passed).close()
	file := writeFiles(t, map[string]string{"a.pcap": string(tape.pcap())}) + "/a.pcap"
	for key, want := range map[string]string{"": "ABANDONED NO_KEY NO_KEY", "another key": "NO_KEY NO_KEY NO_KEY", testKey: "ABANDONED PASS PASS"} {
		got := runWith(t, map[string]string{"TACACS_PLUS_KEY": key}, "", "decode", file)
		var statuses []string
		for _, m := range regexp.MustCompile(`(?m)(ABANDONED|NO_KEY|PASS)(:.*| \(.*\))?$`).FindAllStringSubmatch(got.out, -1) {
			statuses = append(statuses, m[1])
		}
		if strings.Join(statuses, " ") != want {
			t.Errorf("key %q: got %q, want %s\n%s", key, statuses, want, got.out)
		}
	}
}

// TestDecodeLoopback: the ports tell the ends apart if both have the same address.
func TestDecodeLoopback(t *testing.T) {
	t.Parallel()
	for _, client := range []string{"127.0.0.1:41234", "127.0.0.1:40"} {
		tape := newCaptureBuilder()
		tape.openConn(client, "127.0.0.1:49", testKey).session(1, papStart("alice", testPassword), passed).close()
		decodeWith(t, tape.pcap(), "").check(t, 0, `\S+ `+client+` > 127\.0\.0\.1:49 alice authenticate pap PASS \(1\.0 ms\)\n`, `(?s).*`)
	}
}

// BenchmarkDecodeKeys measures the time for a candidate key that does not fit.
func BenchmarkDecodeKeys(b *testing.B) {
	const sessions, keys = 100, 10_000
	capture := manySessions(sessions, "the key of no list")
	table := keyTable{count: keys}
	for i := range keys {
		table.text += fmt.Sprintf("candidate number %d\n", i)
	}
	for b.Loop() {
		p, inv, _ := pipelineOf(b, capture, "-q")
		p.decoder.keys.keys = table
		p.readFiles(b.Context(), inv, []string{"-"})
		if p.decoder.counts.unread != sessions {
			b.Fatal(p.decoder.counts)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/sessions/keys, "ns/key")
}
