package main

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
)

// TestDecodeDump: -d prints every packet to standard error, secrets only with --show-secrets.
func TestDecodeDump(t *testing.T) {
	t.Parallel()
	tape := newCaptureBuilder()
	tape.openConn(deviceAddr, serverAddr, testKey).session(0xabc, asciiStart("alice"), askForPass, says(testPassword), passed).close()
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
		t.Error("it shows the password")
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
			t.Errorf("%q: ends with %d, and %d lines", options, int(code), n)
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
	if got := strings.Join(order, " "); got != "1 1 alice 2 2 bob" {
		t.Errorf("%s in\n%s", got, both)
	}
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
