package main

import (
	"fmt"
	"strings"
	"testing"
)

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
		w := tape.openConn(deviceAddr, "192.0.2.1:300", tt.key)
		for _, hello := range m.hellos {
			w.send(hello.from, hello.data)
		}
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
