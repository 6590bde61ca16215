package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const deviceKey = "the key of the devices"

// relayTo starts a relay to servers, for devices with a key of their own.
func relayTo(t testing.TB, host string, options ...string) *testServer {
	t.Helper()
	return serving(t, new(lockedBuffer), append(relayArgs(t, host), options...)...)
}

func relayArgs(t testing.TB, host string) []string {
	t.Helper()
	return []string{"relay", host, "--listen", "127.0.0.1:0", "--device-key-file", filepath.Join(writeFiles(t, map[string]string{"device": deviceKey}), "device")}
}

// asDevice runs a command as a device, against the relay; a key in the line is the device's own.
func (s *testServer) asDevice(t *testing.T, line string) runResult {
	t.Helper()
	env := map[string]string{"TACACS_PLUS_PWD": testPassword}
	if !strings.Contains(line, "--tls") {
		env["TACACS_PLUS_KEY"] = deviceKey
	}
	return runWith(t, env, "", split(line, "AT", s.addr)...)
}

// dialDevice connects to the relay by hand.
func dialDevice(t testing.TB, s *testServer) *fakeClient {
	c := dialFakeClient(t, s.addr)
	c.key = deviceKey
	return c
}

// relayStamps are what differs from run to run in the lines of a relay.
var relayStamps = regexp.MustCompile(`(?m)^\d{4}-\d\d-\d\dT\S+Z 127\.0\.0\.1:\d+ (> 127\.0\.0\.1:\d+ )?| \(\d+\.\d ms\)$`)

// relayed ends a relay and returns its lines, without times and addresses; whom it asked stands as "> ".
func (s *testServer) relayed(t *testing.T) string {
	t.Helper()
	if code := s.stop(); code != classGranted.exit() {
		t.Errorf("relay ended with %d, want 0: %s", int(code), s.said)
	}
	return relayStamps.ReplaceAllStringFunc(s.log.String(), func(m string) string {
		if strings.Contains(m, " > ") {
			return "> "
		}
		return ""
	})
}

// relayWays are how a relay takes packets on.
var relayWays = []string{"", "--single-connect"}

// TestRelay is every command through a relay, over TLS and in clear on either side: the client sees what it
// would see of the server, and the relay tells of it as the server does.
func TestRelay(t *testing.T) {
	t.Parallel()
	dir := testFiles(t)
	const device = " --listen-tls 127.0.0.1:0 --listen-cert DIR/server.pem --listen-cert-key DIR/server.key --client-ca DIR/ca.pem"
	for _, tt := range []struct{ name, serve, relay, client string }{
		{"clear to clear", "", "--device-key-file DEVICE --listen 127.0.0.1:0", ""},
		{"clear to TLS", "--tls --cert DIR/server.pem --cert-key DIR/server.key --client-ca DIR/ca.pem",
			"--device-key-file DEVICE --listen 127.0.0.1:0 --tls --cacert DIR/ca.pem --cert DIR/client.pem --cert-key DIR/client.key", ""},
		{"TLS to clear", "", device, " --tls --cacert DIR/ca.pem --cert DIR/client.pem --cert-key DIR/client.key"},
		{"TLS to TLS", "--tls --cert DIR/server.pem --cert-key DIR/server.key", device + " --tls --cacert DIR/ca.pem",
			" --tls --cacert DIR/ca.pem --cert DIR/client.pem --cert-key DIR/client.key"},
	} {
		for _, way := range relayWays {
			t.Run(tt.name+way, func(t *testing.T) {
				t.Parallel()
				key := filepath.Join(writeFiles(t, map[string]string{"device": deviceKey}), "device")
				s := serveWith(t, append(split(tt.serve, "DIR", dir), "--user", "enabled:"+testPassword)...)
				var r *testServer
				args := split("relay "+s.addr+" "+tt.relay+" "+way, "DIR", dir, "DEVICE", key)
				r = serving(t, new(lockedBuffer), args...)
				want := ""
				for _, c := range []struct{ line, out, log string }{
					{"authenticate alice AT", "PASS\n", "alice authenticate ascii PASS"},
					{"authenticate alice AT -t pap", "PASS\n", "alice authenticate pap PASS"},
					{"authenticate alice AT -t chap --single-connect", "PASS\n", "alice authenticate chap PASS"},
					{"authenticate alice AT -t mschap", "PASS\n", "alice authenticate mschap PASS"},
					{"authenticate alice AT -t mschapv2", "PASS\n", "alice authenticate mschapv2 PASS"},
					{"authenticate alice AT -t pap --password wrong", "FAIL: Login incorrect\n", "alice authenticate pap FAIL: Login incorrect"},
					{"enable enabled AT", "PASS\n", "enabled enable ascii PASS"},
					{"authorize alice AT --cmd show", "PASS_ADD\n", "alice authorize show PASS_ADD"},
					{"authorize alice AT", "PASS_ADD\n  priv-lvl=15\n", "alice authorize service=shell cmd= PASS_ADD"},
					{"account alice AT --task-id 7 -f watchdog -c timezone=UTC", "SUCCESS task_id=7\n", "alice account watchdog task_id=7 timezone=UTC service=shell cmd= SUCCESS"},
				} {
					got := r.asDevice(t, strings.ReplaceAll(c.line+tt.client, "DIR", dir))
					if got.out != c.out {
						t.Errorf("%s: %+v", c.line, got)
					}
					want += "> " + c.log + "\n"
				}
				if got := r.relayed(t); got != want {
					t.Errorf("the lines are\n%snot\n%s", got, want)
				}
				if own, theirs := strings.ReplaceAll(want, "> ", ""), s.lines(t); theirs != own {
					t.Errorf("the server's lines are\n%snot\n%s", theirs, own)
				}
			})
		}
	}
}

// TestRelayFaults: what a broken server does comes to the same class through the relay as without it, but
// for what the relay does not let through: then it ends the connection, as a dead server would.
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
		for _, way := range relayWays {
			for _, line := range lines {
				t.Run(f.name+way+line, func(t *testing.T) {
					t.Parallel()
					s := serveWith(t, "--fault", f.name)
					r := relayTo(t, s.addr, append(split(way), "--timeout", "3s")...)
					direct, through := s.ask(t, line+" --timeout 1s"), r.asDevice(t, line+" --timeout 1s")
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
			}
		}
	}
}

// TestRelayHalfHearted: a server that agrees to single-connection mode and does not keep to it costs no
// device its answer.
func TestRelayHalfHearted(t *testing.T) {
	t.Parallel()
	for _, fault := range []string{"single-close", "single-swallow", "single-refused"} {
		s := serveWith(t, "--fault", fault)
		r := relayTo(t, s.addr, "--single-connect", "--timeout", "500ms")
		for i := range 5 {
			if got := r.asDevice(t, "authorize alice AT --timeout 5s"); got.code != 0 {
				t.Errorf("%s: %d: %+v", fault, i, got)
			}
		}
		if got := r.relayed(t); got != strings.Repeat("> alice authorize service=shell cmd= PASS_ADD\n", 5) {
			t.Errorf("%s: the lines are\n%s", fault, got)
		}
	}
}

// TestRelayTLSFaults: where there is no TLS with the server, the device has no server.
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

// TestRelayKeys: each device has its key, candidates are tried, and what fits none is not sent on.
func TestRelayKeys(t *testing.T) {
	t.Parallel()
	const other, third = "another key for other devices", "the third of the candidates"
	dir := writeFiles(t, map[string]string{"device": deviceKey, "other": other, "third": third})
	for _, tt := range []struct{ options, key, from string }{
		{"--device-key-file DIR/device", deviceKey, "DIR/device"},
		{"--device-key-file DIR/other --device-key-file DIR/third --device-key-file DIR/device", deviceKey, "DIR/device"},
		{"--device-key-file DIR/other --device-key-file DIR/third --device-key-file DIR/device", other, "DIR/other"},
		{"--device-key-file DIR/other --device-key-file 127.0.0.0/8=DIR/device", deviceKey, "DIR/device"},
		{"--device-key-file 127.0.0.0/8=DIR/other --device-key-file 127.0.0.0/8=DIR/device", deviceKey, "DIR/device"},
		{"--device-key-file DIR/other --device-key-file 127.0.0.0/8=DIR/device", other, ""},
		{"--device-key-file DIR/other --device-key-file DIR/third", deviceKey, ""},
		{"", testKey, "TACACS_PLUS_KEY"},
	} {
		for _, way := range relayWays {
			s := serveWith(t)
			r := serving(t, new(lockedBuffer), split("relay "+s.addr+" --listen 127.0.0.1:0 --json "+tt.options+" "+way, "DIR", dir)...)
			c := dialFakeClient(t, r.addr)
			if c.key = tt.key; tt.from == "" {
				wrong := header{version: minorOne, typ: typeAuthen, seqNo: 1, sessionID: 7}
				if err := c.send(wrong, papStart("alice", testPassword)); err != nil {
					t.Fatal(err)
				}
				c.key = map[bool]string{true: deviceKey, false: other}[strings.Contains(tt.options, "127")]
				var reply authenReply
				if h, err := c.receive(&reply); err != nil || reply.status != authenError || h.seqNo != 2 || h.sessionID != 7 || strings.Contains(reply.serverMsg, "key") {
					t.Errorf("%s: answered with %+v, %v", tt.options, reply, err)
				}
				c.checkEnd(t)
				if got := r.relayed(t); !strings.Contains(got, `"error":"a packet that does not fit the key: `+errBodyLength.Error()) || s.lines(t) != "" {
					t.Errorf("%s: the lines are\n%s, on the server\n%s", tt.options, got, s.log)
				}
				continue
			}
			if err := c.login(7, flagSingleConnect); err != nil {
				t.Errorf("%s: %v", tt.options, err)
			}
			r.stop()
			var line recordObject
			if err := json.Unmarshal([]byte(r.log.String()), &line); err != nil || line.Key != strings.ReplaceAll(tt.from, "DIR", dir) || line.User != "alice" || line.SessionID != "00000007" || line.Status != "PASS" {
				t.Errorf("%s: %+v, %v", tt.options, line, err)
			}
			if addr := addrPortOf(c.LocalAddr()).String(); line.Peer != addr || line.Server != s.addr || line.Packets != 2 || line.Time == "" || line.ServerMS == 0 {
				t.Errorf("%s %s: %+v", tt.options, way, line)
			}
		}
	}
}

// TestRelayOtherServerKey: a reply that does not fit the servers' key is NO_KEY, with what is known of why,
// and the device's connection ends.
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

// TestRelayFailover: the servers are asked in their order, and a record that was sent is not sent again.
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

// TestRelayBadPackets: what a device must not send is not sent on.
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
		{"last", with(atSeqNo, 255), "", "the sequence numbers of a session are used up"},
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

// TestRelaySingleConnect: single-connection mode is what the server makes of it, and with --single-connect
// the relay's to grant.
func TestRelaySingleConnect(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		fault, way string
		granted    bool
	}{{"", "", true}, {"single-refused", "", false}, {"", "--single-connect", true}, {"single-refused", "--single-connect", true}} {
		s := serveWith(t, split("--fault" + " " + tt.fault)[:2*min(1, len(tt.fault))]...)
		r := relayTo(t, s.addr, split(tt.way)...)
		got := r.asDevice(t, "authenticate alice AT -t pap --single-connect -v")
		if want := "single-connect: " + singleConnectWord(tt.granted); !strings.Contains(got.out, want+"\n") {
			t.Errorf("%+v: %s%s", tt, got.out, got.err)
		}
		c := dialDevice(t, r) // and one that does not ask gets none
		if err := c.login(1, 0); err != nil {
			t.Errorf("%+v: %v", tt, err)
		}
		c.checkEnd(t)
	}
}

// TestRelayShares: logins of many devices, each on a connection of its own, share one to the server.
func TestRelayShares(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	r := relayTo(t, s.addr, "--single-connect")
	const n = 20
	for range n {
		if err := dialDevice(t, r).login(9, 0); err != nil { // which is a session_id of the device's own
			t.Fatal(err)
		}
	}
	peers := make(map[string]bool)
	s.stop()
	for line := range strings.Lines(s.log.String()) {
		peers[strings.Fields(line)[1]] = true
	}
	if log := s.log.String(); len(peers) != 1 || strings.Count(log, " PASS\n") != n {
		t.Errorf("%d connections:\n%s", len(peers), log)
	}
}

// TestRelayDialogues goes through conversations of several sessions on one connection.
func TestRelayDialogues(t *testing.T) {
	t.Parallel()
	askPass := &authenReply{status: authenGetPass, flags: authenNoEcho, serverMsg: "Password: "}
	askUser := &authenReply{status: authenGetUser, serverMsg: "Username: "}
	pass := &authenReply{status: authenPass}
	for _, way := range relayWays {
		s := serveWith(t)
		record := filepath.Join(t.TempDir(), "record.pcap")
		r := relayTo(t, s.addr, append(split(way), "--record", record)...)
		c, numbers := dialDevice(t, r), make(map[uint32]uint8)
		for _, tn := range []fakeExchange{
			{0xffffffff, asciiStart("alice"), askPass, 0},
			{2, asciiStart(""), askUser, 0},
			{3, papStart("alice", testPassword), pass, 0},
			{2, says("alice"), askPass, 0},
			{4, &authorRequest{commonFields: commonFields{user: "alice"}, args: []string{"service=shell", "cmd="}}, &authorResponse{status: authorPassAdd, args: []string{"priv-lvl=15"}}, 0},
			{0xffffffff, says(testPassword), pass, 0},
			{2, says(testPassword), pass, 0},
			{5, asciiStart("eve"), askPass, 0},
			{5, &authenContinue{flags: authenAbort, data: "user left\n"}, nil, 0},
			{6, asciiStart("bob"), askPass, 0},
		} {
			tn.do(t, c, numbers, flagSingleConnect)
		}
		c.Close()
		want := "> alice authenticate pap PASS\n> alice authorize service=shell cmd= PASS_ADD\n> alice authenticate ascii PASS\n" +
			"> alice authenticate ascii PASS\n> eve authenticate ascii ABORT: user left\n> bob authenticate ascii ABANDONED\n"
		waitUntil(t, "the last session is over", func() bool { return strings.Count(r.log.String(), "\n") == strings.Count(want, "\n") })
		if got := r.relayed(t); got != want {
			t.Errorf("%s: the lines are\n%snot\n%s", way, got, want)
		}
		data, err := os.ReadFile(record)
		if err != nil || bytes.Contains(data, []byte(testPassword)) {
			t.Errorf("%s: the record has the password: %v", way, err)
		}
		decoded := runWith(t, nil, "", "decode", record)
		sorted := func(lines string) []string {
			l := strings.Split(relayStamps.ReplaceAllString(lines, ""), "\n")
			slices.Sort(l)
			return l
		}
		if got, want := sorted(decoded.out), sorted(strings.ReplaceAll(want, "> ", "")); decoded.code != 0 || !slices.Equal(got, want) {
			t.Errorf("%s: decode reads\n%s%snot\n%s", way, decoded.out, decoded.err, want)
		}
	}
}

// TestRelayRecord: the record is the owner's alone, has the devices' and the servers' addresses, and no
// secrets unless asked for; neither have the lines and the packets of -d.
func TestRelayRecord(t *testing.T) {
	t.Parallel()
	for _, way := range relayWays {
		for _, options := range []string{"", "--json", "--show-secrets", "-v"} {
			s := serveWith(t)
			record := filepath.Join(t.TempDir(), "record.pcap")
			if err := os.WriteFile(record, make([]byte, 1000), 0o644); err != nil {
				t.Fatal(err)
			}
			r := relayTo(t, s.addr, append(split(way+" -d "+options), "--record", record)...)
			for _, typ := range []string{"ascii", "pap"} {
				if got := r.asDevice(t, "authenticate alice AT -t "+typ); got.out != "PASS\n" {
					t.Errorf("got %+v", got)
				}
			}
			r.relayed(t)
			data, err := os.ReadFile(record)
			if err != nil {
				t.Fatal(err)
			}
			if info, err := os.Stat(record); err != nil || info.Mode().Perm() != 0o600 && runtime.GOOS != "windows" {
				t.Errorf("the mode is %v, %v", info.Mode(), err)
			}
			if n := ends(data); n != 4 {
				t.Errorf("%s %s: of two conversations %d sides end", way, options, n)
			}
			shown := options == "--show-secrets"
			if n := bytes.Count(data, []byte(testPassword)); (n == 2) != shown || n > 0 && !shown {
				t.Errorf("%s %s: the password is %d times in the record", way, options, n)
			}
			if strings.Contains(r.log.String(), testPassword) || strings.Contains(r.said.String(), testPassword) != shown {
				t.Errorf("%s %s: the password is in\n%s%s", way, options, r.log, r.said)
			}
			if strings.Contains(r.said.String(), testKey) || strings.Contains(r.said.String()+r.log.String(), deviceKey) {
				t.Errorf("a key is in\n%s", r.said)
			}
			if n := strings.Count(r.said.String(), "received from 127.0.0.1:"); n < 6 {
				t.Errorf("%s %s: %d packets are shown:\n%s", way, options, n, r.said)
			}
			got := runWith(t, nil, "", "decode", record, "--json")
			for i, line := range strings.Split(strings.TrimSpace(got.out), "\n") {
				var o recordObject
				if err := json.Unmarshal([]byte(line), &o); err != nil || o.User != "alice" || o.Server != s.addr || o.Status != "PASS" || o.Packets != 4-2*i {
					t.Errorf("%s: %+v, %v", line, o, err)
				}
			}
		}
	}
}

// TestRelayOnFullDisk: where neither lines nor the record can be written, it is said once, and goes on.
func TestRelayOnFullDisk(t *testing.T) {
	t.Parallel()
	for _, way := range relayWays {
		s := serveWith(t)
		r := serving(t, fullDisk{}, append(relayArgs(t, s.addr), split(way)...)...)
		account := func() {
			if got := r.asDevice(t, "account alice AT"); got.code != 0 {
				t.Errorf("got %+v", got)
			}
		}
		waitUntil(t, "it is known", func() bool { account(); return strings.Contains(r.said.String(), "cannot be written") })
		account()
		account()
		if code := r.stop(); code != classUsage.exit() {
			t.Errorf("ends with %d", int(code))
		}
		if n := strings.Count(r.said.String(), "lines of sessions cannot be written: no space left on device"); n != 1 {
			t.Errorf("it is said %d times:\n%s", n, r.said)
		}
		if want := "tacacs_plus: write the lines of sessions: no space left on device\n"; !strings.HasSuffix(r.said.String(), want) {
			t.Errorf("it says\n%s", r.said)
		}
	}
}

// TestRelayDrains: at the end the answers under way still come, and all else ends.
func TestRelayDrains(t *testing.T) {
	t.Parallel()
	for _, way := range relayWays {
		for _, typ := range []string{"pap", "ascii"} {
			t.Run(way+typ, func(t *testing.T) {
				t.Parallel()
				s := serveWith(t, "--reply-delay", "300ms")
				r := relayTo(t, s.addr, append(split(way), "-d")...)
				idle, open := dialDevice(t, r), dialDevice(t, r)
				fakeExchange{8, asciiStart("alice"), &authenReply{status: authenGetPass, flags: authenNoEcho, serverMsg: "Password: "}, 0}.do(t, open, make(map[uint32]uint8), 0)
				c := dialDevice(t, r)
				h := header{version: minorOne, typ: typeAuthen, seqNo: 1, sessionID: 0xabcdef}
				want := authenPass
				var m message = papStart("alice", testPassword)
				if typ == "ascii" {
					h.version, m, want = minorDefault, asciiStart("alice"), authenGetPass
				}
				if err := c.send(h, m); err != nil {
					t.Fatal(err)
				}
				waitUntil(t, "the packet came", func() bool { return strings.Contains(r.said.String(), "session_id 00abcdef") })
				r.cancel()
				var reply authenReply
				if _, err := c.receive(&reply); err != nil || reply.status != want {
					t.Errorf("the reply under way is %+v, %v", reply, err)
				}
				for _, c := range []*fakeClient{idle, open, c} {
					c.checkEnd(t)
				}
				if got := r.relayed(t); typ == "pap" && got != "> alice authenticate pap PASS\n> alice authenticate ascii ABANDONED\n" &&
					got != "> alice authenticate ascii ABANDONED\n> alice authenticate pap PASS\n" {
					t.Errorf("the lines are\n%s", got)
				}
			})
		}
	}
}

// TestRelayLoad: many connections at a time, and one after the other: none is lost, and nothing is left.
func TestRelayLoad(t *testing.T) {
	before := runtime.NumGoroutine()
	for _, way := range relayWays {
		s := serveWith(t, "-q")
		r := relayTo(t, s.addr, append(split(way), "-q")...)
		const many = 500
		conns := make([]*fakeClient, many)
		for i := range conns {
			conns[i] = dialDevice(t, r)
		}
		var all sync.WaitGroup
		for i, c := range conns {
			all.Go(func() {
				for session := range uint32(3) {
					if err := c.login(uint32(i)<<8|session, flagSingleConnect); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		all.Wait()
		for _, c := range conns {
			c.Close()
		}
		for i := range 1000 {
			c := dialDevice(t, r)
			if err := c.login(uint32(i), 0); err != nil {
				t.Fatalf("%d: %v", i, err)
			}
			c.Close()
		}
		r.relayed(t)
		s.stop()
	}
	waitUntil(t, "all goroutines have ended", func() bool { return runtime.NumGoroutine() <= before+5 })
}

// TestRelaySlowDevice: one that asks and never reads holds up nobody else.
func TestRelaySlowDevice(t *testing.T) {
	t.Parallel()
	for _, way := range relayWays {
		s := serveWith(t)
		r := relayTo(t, s.addr, append(split(way), "-q")...)
		deaf := dialDevice(t, r)
		h := header{version: minorDefault, typ: typeAuthor, seqNo: 1, flags: flagSingleConnect}
		many := bytes.Repeat(packed(h, deviceKey, &authorRequest{commonFields: commonFields{user: "alice"}, args: []string{"service=shell", "cmd="}}), 1000)
		var flood sync.WaitGroup
		flood.Go(func() {
			for {
				if _, err := deaf.Write(many); err != nil {
					return
				}
			}
		})
		for i := range uint32(20) {
			if err := dialDevice(t, r).login(i, 0); err != nil {
				t.Error(err)
			}
		}
		deaf.Close()
		flood.Wait()
	}
}

// TestRelayHalfClose: a device that says no more gets its answer all the same.
func TestRelayHalfClose(t *testing.T) {
	t.Parallel()
	for _, way := range relayWays {
		s := serveWith(t, "--reply-delay", "100ms")
		r := relayTo(t, s.addr, split(way)...)
		c := dialDevice(t, r)
		if err := c.login(1, flagSingleConnect); err != nil {
			t.Fatal(err)
		}
		if err := c.send(header{version: minorOne, typ: typeAuthen, seqNo: 1, flags: flagSingleConnect, sessionID: 2}, papStart("alice", testPassword)); err != nil {
			t.Fatal(err)
		}
		c.Conn.(*net.TCPConn).CloseWrite()
		var reply authenReply
		if _, err := c.receive(&reply); err != nil || reply.status != authenPass {
			t.Errorf("%s: %+v, %v", way, reply, err)
		}
		c.checkEnd(t)
	}
}

// TestRelayRefuses is what makes no relay.
func TestRelayRefuses(t *testing.T) {
	t.Parallel()
	dir := testFiles(t)
	key := filepath.Join(writeFiles(t, map[string]string{"key": testKey, "empty": ""}), "key")
	for _, tt := range []struct{ options, want string }{
		{"", "HOST is missing\ntacacs_plus: hint: usage: tacacs_plus relay HOST"},
		{"tac1 tac2", "unexpected argument \"tac2\"\ntacacs_plus: hint: usage: tacacs_plus relay HOST"},
		{"tac1 -u alice", "--username is for a client, not for relay"},
		{"tac1 --password x", "--password is for a client, not for relay"},
		{"tac1 --listen :0", "to listen on :0, give --device-key-file\ntacacs_plus: hint: without a key of the devices relay listens on loopback only"},
		{"tac1 --tls --insecure", "the key of the devices is missing\ntacacs_plus: hint: the servers have none: give --device-key-file FILE"},
		{"tac1 --listen-tls 127.0.0.1:0", "--listen-tls needs --listen-cert"},
		{"tac1 --client-ca DIR/ca.pem", "--listen-cert, --listen-cert-key and --client-ca need --listen-tls"},
		{"tac1 --listen-cert DIR/server.pem", "--listen-cert, --listen-cert-key and --client-ca need --listen-tls"},
		{"tac1 --listen-tls :0 --listen-cert DIR/server.pem", "to listen on :0, give --client-ca\ntacacs_plus: hint: RFC 9887 section 3.1 wants devices to have certificates; without, relay listens on loopback only"},
		{"tac1 --listen-tls 127.0.0.1:0 --listen-cert DIR/server.pem --device-key-file KEY", "--device-key-file is for --listen: over TLS there is no key"},
		{"tac1 --device-key-file 192.0.2.0/33=KEY", "\"192.0.2.0/33\" of --device-key-file is neither an address nor a prefix\ntacacs_plus: hint: --device-key-file 192.0.2.0/24=FILE is the key of the clients there"},
		{"tac1 --device-key-file - --key-file -", "the key and the key of the devices cannot both come from standard input\ntacacs_plus: hint: " + hintStdin},
		{"tac1 --key-file KEY --device-key-file KEY/none", "read the key of the devices: open KEY/none: not a directory"},
		{"tac1 --key-file KEY --record KEY/none", "make the record: open KEY/none: not a directory"},
		{"tac1 --key-file KEY --listen 192.0.2.1:0 --device-key-file KEY", "listen on 192.0.2.1:0: cannot assign requested address"},
	} {
		got := runWith(t, map[string]string{"TACACS_PLUS_KEY": testKey}, "", split("relay "+tt.options, "DIR", dir, "KEY", key)...)
		if want := "tacacs_plus: " + strings.ReplaceAll(tt.want, "KEY", key) + "\n"; got.code == 0 || got.out != "" || got.err != want && !strings.HasSuffix(got.err, want) {
			t.Errorf("%s: %+v, want %q", tt.options, got, want)
		}
	}
}

// BenchmarkRelay is what a login costs that goes through, with the server's and the client's part.
func BenchmarkRelay(b *testing.B) {
	s := serving(b, io.Discard, "serve", "--listen", "127.0.0.1:0", "--user", "alice:"+testPassword, "-q")
	r := serving(b, io.Discard, append(relayArgs(b, s.addr), "-q")...)
	env := func(name string) string {
		return map[string]string{"TACACS_PLUS_KEY": deviceKey, "TACACS_PLUS_PWD": testPassword}[name]
	}
	b.ResetTimer()
	if code := run(context.Background(), split(fmt.Sprintf("bench alice AT -t pap -c 64 -n %d", b.N), "AT", r.addr),
		stdio{in: strings.NewReader(""), out: io.Discard, err: io.Discard, env: env}); code != 0 {
		b.Errorf("ends with %d", int(code))
	}
}

// TestRelayCutOff: what is still under way when the time for it is over has its line too.
func TestRelayCutOff(t *testing.T) {
	t.Parallel()
	for _, way := range relayWays {
		for typ, start := range map[string]message{"pap": papStart("alice", testPassword), "ascii": asciiStart("alice")} {
			t.Run(way+typ, func(t *testing.T) {
				t.Parallel()
				const many = 30
				s := startFakeServer(t, func(c *fakeServerConn) {
					for c.readRequest() != nil {
					}
				})
				r := relayTo(t, s.addr, append(split(way), "--timeout", "1h", "-d")...)
				packet := packed(header{version: versionOf(start), typ: typeAuthen, seqNo: 1, sessionID: 1}, deviceKey, start)
				for range many {
					dialDevice(t, r).Write(packet)
				}
				waitUntil(t, "all have come", func() bool { return strings.Count(r.said.String(), "received from") == many })
				if got := r.relayed(t); strings.Count(got, "alice authenticate "+typ+" NO_REPLY\n") != many {
					t.Errorf("the lines are\n%s", got)
				}
			})
		}
	}
}

// TestRelayPromptForPAP: a server that answers a type of one exchange with a prompt is passed on as it is, and the
// session has a status all the same.
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

// TestEndsUnread: nobody reads standard output, standard error, or both, any more: devices are answered all the
// same, and the end comes.
func TestEndsUnread(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	for _, line := range []string{"relay AT --listen 127.0.0.1:0", "relay AT --listen 127.0.0.1:0 -d", "relay AT --listen 127.0.0.1:0 -d --single-connect",
		"serve --listen 127.0.0.1:0 -d --user alice:x", "decode", "decode -d"} {
		for _, unread := range []string{"out", "err", "both"} {
			t.Run(line+unread, func(t *testing.T) {
				t.Parallel()
				pipe, messages := &blockedWriter{deaf: make(chan struct{}), stuck: make(chan struct{}, 1), end: make(chan struct{})}, new(lockedBuffer)
				t.Cleanup(func() { close(pipe.end) })
				in, feed := io.Pipe()
				defer feed.Close()
				std := stdio{in: in, out: pipe, err: messages, env: func(string) string { return testKey }}
				switch unread {
				case "err":
					std.out, std.err, messages = new(lockedBuffer), pipe, &pipe.lockedBuffer
				case "both":
					std.err, messages = pipe, &pipe.lockedBuffer
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				done := make(chan exitCode, 1)
				go func() { done <- run(ctx, split(line, "AT", s.addr), std) }()
				if strings.HasPrefix(line, "decode") {
					close(pipe.deaf)
					feed.Write(manySessions(5, testKey))
				} else {
					addr := (&labRun{said: messages}).waitFor(t, listening)[1]
					close(pipe.deaf)
					for i := range uint32(3) {
						c := dialFakeClient(t, addr)
						if err := c.send(header{version: minorOne, typ: typeAuthen, seqNo: 1, sessionID: i}, papStart("alice", testPassword)); err != nil {
							t.Fatal(err)
						}
						if strings.HasPrefix(line, "relay") {
							if _, err := c.receive(new(authenReply)); err != nil {
								t.Errorf("a device is not answered: %v", err)
							}
						}
					}
				}
				cancel()
				select {
				case <-done:
				case <-time.After(patience):
					t.Error("it does not end")
				}
			})
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

// TestRelayStraySecrets: what a server repeats of a password is hidden also in a packet that nobody waits for.
func TestRelayStraySecrets(t *testing.T) {
	t.Parallel()
	s := startFakeServer(t, func(c *fakeServerConn) {
		if q := c.readRequest(); q != nil {
			q.seqNo += 2
			c.Write(c.reply(q, &authenReply{status: authenFail, serverMsg: "bad password " + testPassword + "!"}))
		}
	})
	record := filepath.Join(t.TempDir(), "record.pcap")
	r := relayTo(t, s.addr, "-d", "--record", record)
	c := dialDevice(t, r)
	if err := c.send(header{version: minorOne, typ: typeAuthen, seqNo: 1, sessionID: 1}, papStart("alice", testPassword)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.receive(new(authenReply)); err != nil {
		t.Error(err)
	}
	r.stop()
	data, err := os.ReadFile(record)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(data, []byte(testPassword)) || !bytes.Contains(data, []byte("bad password *****")) {
		t.Errorf("the record has\n%q", data)
	}
	if said := r.said.String(); !strings.Contains(said, "seq_no 4 ") || hexDumped(said, testPassword) {
		t.Errorf("it says\n%s", said)
	}
}

// hexDumped says that a text stands in a dump, whose lines have 16 bytes each.
func hexDumped(said, text string) bool {
	var shown strings.Builder
	for line := range strings.Lines(said) {
		if n := len(line); n > 56 && strings.HasPrefix(line, "  0") {
			shown.WriteString(strings.TrimSuffix(line[58:], "\n"))
		}
	}
	return strings.Contains(shown.String(), text)
}

// TestRelayEndsWithBlockedRecord: at the end a blocked output is reported, also if sessions are still under way.
func TestRelayEndsWithBlockedRecord(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		stuck, all := make(chan struct{}), new(sync.WaitGroup)
		all.Go(func() { <-stuck })
		opts := new(relayOptions)
		w := writeTo(func([]byte) (int, error) { <-stuck; return 0, io.EOF })
		io.WriteString(opts.background(w, "record", nil), "a packet")
		began := time.Now()
		err := drain(all, opts.close)
		if !errors.Is(err, errBlocked) || !strings.Contains(err.Error(), "record") || time.Since(began) != shutdownTimeout+linesTimeout {
			t.Errorf("got %v after %v", err, time.Since(began))
		}
		close(stuck)
	})
}

// TestRelayOnlyServer: a session that no server decided is told of the last one that heard of it, with what it
// said, where the next one is not there.
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

// TestRelayRecordWithoutReply: a request that no server answered went through, too.
func TestRelayRecordWithoutReply(t *testing.T) {
	t.Parallel()
	for _, way := range relayWays {
		var o order
		record := filepath.Join(t.TempDir(), "record.pcap")
		r := relayTo(t, o.closing(t, "A"), append(split(way), "--record", record)...)
		r.asDevice(t, "authenticate alice AT -t pap")
		r.stop()
		if got := runWith(t, nil, "", "decode", record); !strings.HasSuffix(got.out, " alice authenticate pap NO_REPLY\n") {
			t.Errorf("%s: got %+v", way, got)
		}
	}
}

// TestRelayRecordTimes: a record tells how long the server took.
func TestRelayRecordTimes(t *testing.T) {
	t.Parallel()
	s := serveWith(t, "--reply-delay", "20ms")
	for _, way := range relayWays {
		record := filepath.Join(t.TempDir(), "record.pcap")
		r := relayTo(t, s.addr, append(split(way), "--record", record)...)
		r.asDevice(t, "authenticate alice AT -t pap")
		r.stop()
		var o recordObject
		got := runWith(t, nil, "", "decode", record, "--json")
		if err := json.Unmarshal([]byte(got.out), &o); err != nil || o.ServerMS < 20 {
			t.Errorf("%s: %+v, %v", way, got, err)
		}
	}
}

// TestRelayRepeatedSecrets: a server that repeats a password makes no secret of it public; the device has the reply
// as it is.
func TestRelayRepeatedSecrets(t *testing.T) {
	t.Parallel()
	for _, way := range relayWays {
		for options, no := range map[string]*authenReply{
			"":                {status: authenFail, serverMsg: "bad password " + testPassword + "!"},
			" --show-secrets": {status: authenFail, serverMsg: "bad password " + testPassword + "!"},
			" --retries 1":    {status: authenError, serverMsg: "bad password " + testPassword + "!"},
			" --retries 2":    {status: authenError, data: "bad password " + testPassword + "!"},
		} {
			s := startFakeServer(t, func(c *fakeServerConn) {
				if q := c.readRequest(); q != nil {
					c.Write(c.reply(q, no))
				}
			})
			record := filepath.Join(t.TempDir(), "record.pcap")
			r := relayTo(t, s.addr, append(split(way+options), "-d", "--record", record)...)
			c := dialDevice(t, r)
			if err := c.send(header{version: minorOne, typ: typeAuthen, seqNo: 1, sessionID: 1}, papStart("alice", testPassword)); err != nil {
				t.Fatal(err)
			}
			var reply authenReply
			if _, err := c.receive(&reply); err != nil || reply != *no {
				t.Errorf("%s: the device has %+v, %v", way, reply, err)
			}
			r.stop()
			data, err := os.ReadFile(record)
			if err != nil {
				t.Fatal(err)
			}
			shown := 0
			if options == " --show-secrets" {
				shown = 2
			}
			if n := bytes.Count(data, []byte(testPassword)); n != shown || strings.Contains(r.said.String(), testPassword) != (shown > 0) {
				t.Errorf("%s%s: the password is in the record %d times, and said:\n%s", way, options, n, r.said)
			}
			want := no.status.String()
			if no.serverMsg != "" {
				want += ": bad password [redacted]!"
			}
			if lines := r.log.String(); !strings.Contains(lines, want) {
				t.Errorf("%s: the lines are\n%s", way, lines)
			}
		}
	}
}
