package main

import (
	"bytes"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// TestRelayFaults: a broken server gives the same exit code through the relay as without it. For faults that the
// relay stops, it closes the connection, as a dead server would.
func TestRelayFaults(t *testing.T) {
	t.Parallel()
	lines := []string{"authenticate alice AT", "authenticate alice AT -t pap", "authenticate alice AT -t pap --single-connect",
		"authorize alice AT", "account alice AT --task-id 1"}
	// stopped are the faults that end at the relay.
	stopped := map[string]string{
		"wrong-key":        "what does not fit the servers' key is not believed",
		"unencrypted":      "the flag breaks RFC 8907 section 10.5.2 on the relay's own connection",
		"major-version":    "it is no TACACS+",
		"length-max":       "no packet is so long",
		"lengths-overflow": "it looks as if the key were wrong",
		"tls-alert":        "it is no TACACS+",
		"http":             "it is no TACACS+",
	}
	// shared are those that are not the device's to judge, with --single-connect.
	const header = "the relay's own session finds it"
	shared := map[string]string{
		"seq-plus-7": header, "seq-same": header, "session": header, "type": header, "minor-version": header,
		"empty-body": "the next server is asked, and there is none",
	}
	var needed sync.Map
	t.Cleanup(func() {
		for name := range stopped {
			if _, ok := needed.Load(name); !ok {
				t.Errorf("%s is as without the relay", name)
			}
		}
		for name := range shared {
			if _, ok := needed.Load(name + "--single-connect"); !ok {
				t.Errorf("%s is as without the relay, with --single-connect", name)
			}
		}
	})
	for _, f := range faults() {
		if f.tls != nil || f.certificate != nil {
			continue // they have a test of their own
		}
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			var all sync.WaitGroup // at the same time, since some wait for a timeout
			relayTimeout, timeout := "20s", " --timeout 20s"
			if f.stays || f.name == "session" { // no reply
				relayTimeout, timeout = "2s", " --timeout 1s"
			}
			for _, way := range relayWays {
				for _, line := range lines {
					all.Go(func() {
						t.Run(way+line, func(t *testing.T) {
							s := serveWith(t, "--fault", f.name)
							r := relayTo(t, s.addr, append(split(way), "--timeout", relayTimeout)...)
							var direct, through runResult
							var both sync.WaitGroup
							both.Go(func() { direct = s.ask(t, line+timeout) })
							both.Go(func() { through = r.asDevice(t, line+timeout) })
							both.Wait()
							_, stops := stopped[f.name]
							_, others := shared[f.name]
							switch {
							case through.code == direct.code && through.out == direct.out:
							case through.code == classNetwork.exit() && (stops && direct.code == classProtocol.exit() || others && way != ""):
								needed.Store(f.name, true)
								needed.Store(f.name+way, true)
							default:
								t.Errorf("through the relay %d %q %s, without %d %q %s", int(through.code), through.out, through.err, int(direct.code), direct.out, direct.err)
							}
						})
					})
				}
			}
			all.Wait()
		})
	}
}

// TestRelayBrokenSingleConnect: a server that grants single-connection mode and breaks it costs no device its reply.
func TestRelayBrokenSingleConnect(t *testing.T) {
	t.Parallel()
	for _, fault := range []string{"single-close", "single-swallow", "single-refused"} {
		s := serveWith(t, "--fault", fault)
		r := relayTo(t, s.addr, "--single-connect", "--timeout", "1s")
		for i := range 5 {
			if got := r.asDevice(t, "authorize alice AT --timeout 10s"); got.code != 0 {
				t.Errorf("%s: %d: %+v", fault, i, got)
			}
		}
		if got := r.relayed(t); got != strings.Repeat("> alice authorize service=shell cmd= PASS_ADD\n", 5) {
			t.Errorf("%s: the lines are\n%s", fault, got)
		}
	}
}

// TestRelayTLSFaults: if the TLS handshake with the server fails, the device has no server.
func TestRelayTLSFaults(t *testing.T) {
	t.Parallel()
	for _, f := range faults() {
		if f.tls == nil && f.certificate == nil {
			continue
		}
		for _, way := range relayWays {
			t.Run(f.name+way, func(t *testing.T) {
				t.Parallel()
				ca := filepath.Join(t.TempDir(), "ca.pem")
				s := serveWith(t, "--tls", "--write-cacert", ca, "--fault", f.name)
				r := relayTo(t, s.addr, append(split(way), "--tls", "--cacert", ca)...)
				if got := r.asDevice(t, "authenticate alice AT -t pap"); got.code != classNetwork.exit() {
					t.Errorf("got %+v", got)
				}
				if got := r.relayed(t); !strings.Contains(got, "alice authenticate pap NO_REPLY\n") || strings.Count(got, "\n") != 2 {
					t.Errorf("the lines are\n%s", got)
				}
			})
		}
	}
}

// TestRelayOtherServerKey: a reply that does not fit the servers' key is NO_KEY, with a likely reason, and the
// device's connection ends.
func TestRelayOtherServerKey(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"wrong": "this is not the key of the server", "right": testKey})
	for _, tt := range []struct{ keys, hint string }{
		{"--key-file DIR/wrong", "the shared key differs from the server's, or the server has another key for the address 127.0.0.1"},
		{"--key-file DIR/wrong --key-file DIR/right", "the key of DIR/right fits this reply"},
	} {
		for _, way := range relayWays {
			s := serveWith(t)
			r := relayTo(t, s.addr+","+s.addr, append(split(way), split(tt.keys, "DIR", dir)...)...)
			got := r.asDevice(t, "authenticate alice AT -t pap")
			if got.code != classNetwork.exit() {
				t.Errorf("got %+v", got)
			}
			want := "> alice authenticate pap NO_KEY: " + strings.ReplaceAll(tt.hint, "DIR", dir) + "\n"
			if got := r.relayed(t); got != want && !(way != "" && strings.HasSuffix(got, want)) {
				t.Errorf("%s: the lines are\n%snot\n%s", way, got, want)
			}
		}
	}
}

// TestRelayFailover: servers are tried in order, and a record that was sent is not sent again.
func TestRelayFailover(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		line  string
		way   string
		dead  bool // the first server is not there; else it closes without an answer
		code  exitCode
		asked string
	}{
		{"authenticate alice AT -t pap", "", true, 0, ""},
		{"authenticate alice AT -t pap", "", false, 0, "A"},
		{"authenticate alice AT", "", false, 0, "A"},
		{"authorize alice AT", "", false, 0, "A"},
		{"account alice AT", "", true, 0, ""},
		{"account alice AT", "", false, 4, "A"},
		{"authenticate alice AT -t pap", "--single-connect", true, 0, ""},
		{"authenticate alice AT -t pap", "--single-connect", false, 0, "A"},
		{"authenticate alice AT", "--single-connect", false, 0, "A"},
		{"account alice AT", "--single-connect", true, 0, ""},
		{"account alice AT", "--single-connect", false, 4, "A"},
	} {
		t.Run(fmt.Sprint(tt.line, tt.way, tt.dead), func(t *testing.T) {
			t.Parallel()
			var o order
			first := o.closing(t, "A")
			if tt.dead {
				first = refusedAddr(t)
			}
			s := serveWith(t)
			r := relayTo(t, first+","+s.addr, split(tt.way)...)
			if got := r.asDevice(t, tt.line); got.code != tt.code {
				t.Errorf("got %+v", got)
			}
			lines := r.relayed(t)
			o.mu.Lock()
			defer o.mu.Unlock()
			if n := strings.Count(s.lines(t), "\n"); o.asked != tt.asked || (n == 1) != (tt.code == 0) || n > 1 {
				t.Errorf("asked %q and %d sessions of the second: %s", o.asked, n, lines)
			}
			if want := map[exitCode]string{0: "> alice ", 4: " NO_REPLY"}[tt.code]; !strings.Contains(lines, want) {
				t.Errorf("the lines are\n%s", lines)
			}
		})
	}
}

// TestRelayBadPackets: bad packets of a device are not forwarded.
func TestRelayBadPackets(t *testing.T) {
	t.Parallel()
	start := packed(header{version: minorOne, typ: typeAuthen, seqNo: 1, sessionID: 5}, deviceKey, papStart("alice", testPassword))
	with := func(at int, value byte) []byte {
		p := bytes.Clone(start)
		p[at] = value
		return p
	}
	for _, tt := range []struct {
		name   string
		data   []byte
		answer string // its header in hex, or the ERROR
		line   string
	}{
		{"UNENCRYPTED", packed(header{version: minorOne, typ: typeAuthen, seqNo: 1, sessionID: 5, flags: flagUnencrypted}, "", papStart("alice", testPassword)), "ERROR", "the UNENCRYPTED flag does not fit the transport"},
		{"even", with(atSeqNo, 2), "", "seq_no 2 is even, as only a server's is"},
		{"last", with(atSeqNo, 255), "", "sequence numbers exhausted"},
		{"unknown type", with(atType, 9), "c10902000000000500000000", "a packet of type 0x09"},
		{"other protocol", []byte("GET / HTTP/1.1\r\n\r\n"), "", "not TACACS+: the first byte is 0x47"},
		{"too long", unhex(t, "c1 01 01 00 00000007 00010000"), "", "a body of 65536 bytes, the limit is 65535"},
	} {
		for _, way := range relayWays {
			s := serveWith(t)
			r := relayTo(t, s.addr, split(way)...)
			c := dialDevice(t, r)
			c.Write(tt.data)
			if tt.answer == "ERROR" {
				var reply authenReply
				if h, err := c.receive(&reply); err != nil || reply.status != authenError || h.flags != 0 {
					t.Errorf("%s: %+v, %v", tt.name, reply, err)
				}
			} else if b := make([]byte, len(tt.answer)/2); len(b) > 0 {
				if _, err := io.ReadFull(c.in, b); err != nil || fmt.Sprintf("%x", b) != tt.answer {
					t.Errorf("%s: answered with %x, %v", tt.name, b, err)
				}
			}
			c.checkEnd(t)
			if got := r.relayed(t); got != tt.line+"\n" || s.lines(t) != "" {
				t.Errorf("%s: the lines are\n%s, on the server\n%s", tt.name, got, s.log)
			}
		}
	}
}

// TestRelayPromptForPAP: a prompt in reply to PAP is forwarded unchanged, and the session has a status.
func TestRelayPromptForPAP(t *testing.T) {
	t.Parallel()
	for _, way := range relayWays {
		s := serveWith(t, "--fault", "getuser")
		r := relayTo(t, s.addr, split(way)...)
		c := dialDevice(t, r)
		if err := c.send(header{version: minorOne, typ: typeAuthen, seqNo: 1, sessionID: 1, flags: flagSingleConnect}, papStart("alice", testPassword)); err != nil {
			t.Fatal(err)
		}
		var reply authenReply
		if _, err := c.receive(&reply); err != nil || reply.status != authenGetUser {
			t.Errorf("%s: answered with %+v, %v", way, reply, err)
		}
		c.Close()
		waitUntil(t, "the session is over", func() bool { return r.log.String() != "" })
		if got := r.relayed(t); got != "> alice authenticate pap ABANDONED\n" {
			t.Errorf("%s: the lines are\n%s", way, got)
		}
	}
}

// TestRelayOnlyServer: a session without a verdict is logged with the last server that got it, and its reply, if the
// next server cannot be reached.
func TestRelayOnlyServer(t *testing.T) {
	t.Parallel()
	for _, way := range relayWays {
		for _, line := range []string{"authenticate alice AT -t pap", "authorize alice AT", "account alice AT"} {
			for _, status := range []string{"ERROR", statusNoReply} {
				var o order
				first := o.closing(t, "A")
				if status == "ERROR" {
					first = serveWith(t, "--fault", "error").addr
				}
				record := filepath.Join(t.TempDir(), "record.pcap")
				r := relayTo(t, first+","+refusedAddr(t), append(split(way), "--record", record)...)
				r.asDevice(t, line)
				r.stop()
				for what, text := range map[string]string{"lines": r.log.String(), "record": runWith(t, nil, "", "decode", record).out} {
					if !strings.Contains(text, " > "+first+" alice ") || !strings.Contains(text, " "+status) {
						t.Errorf("%s %s, %s: the %s are not of %s:\n%s", line, way, status, what, first, text)
					}
				}
			}
		}
	}
}

// TestRelayRecordInDoubt: the line of a record that is not sent again names the server that may have written it.
func TestRelayRecordInDoubt(t *testing.T) {
	t.Parallel()
	for _, way := range relayWays {
		var o order
		first := o.closing(t, "A")
		r := relayTo(t, first+","+serveWith(t).addr, split(way)...)
		r.asDevice(t, "account alice AT")
		r.stop()
		if lines := r.log.String(); !strings.Contains(lines, " > "+first+" alice account ") {
			t.Errorf("%s: %s is not named: %s", way, first, lines)
		}
	}
}
