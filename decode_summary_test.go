package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestDecodeSummary: the table, its width, and the object.
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

client                                          sessions fit no key
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

client                                          sessions took the server over 1s
2001:db8:1234:5678:9abc:def0:1234:5678          1 of 1
`
	if got.out != want || got.code != 0 {
		t.Errorf("%d\n%s, not\n%s", int(got.code), got.out, want)
	}
	for line := range strings.Lines(got.out) {
		if len(line) > 101 {
			t.Errorf("%d columns: %s", len(line)-1, line)
		}
	}
	var report decodeReport
	if err := json.Unmarshal([]byte(decodeWith(t, tape.pcap(), "--summary --json").out), &report); err != nil {
		t.Fatal(err)
	}
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
