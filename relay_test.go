package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const deviceKey = "the key of the devices"

// relayTo starts a relay to servers, with a separate key for devices.
func relayTo(t testing.TB, host string, options ...string) *testServer {
	t.Helper()
	return serving(t, new(lockedBuffer), append(relayArgs(t, host), options...)...)
}

func relayArgs(t testing.TB, host string) []string {
	t.Helper()
	return []string{"relay", host, "--listen", "127.0.0.1:0", "--device-key-file", filepath.Join(writeFiles(t, map[string]string{"device": deviceKey}), "device")}
}

// asDevice runs a command as a device, against the relay.
func (s *testServer) asDevice(t *testing.T, line string) runResult {
	t.Helper()
	env := map[string]string{"TACACS_PLUS_PWD": testPassword}
	if !strings.Contains(line, "--tls") {
		env["TACACS_PLUS_KEY"] = deviceKey
	}
	return runWith(t, env, "", split(line, "AT", s.addr)...)
}

// dialDevice connects to the relay as a device.
func dialDevice(t testing.TB, s *testServer) *fakeClient {
	c := dialFakeClient(t, s.addr)
	c.key = deviceKey
	return c
}

// relayStamps matches the parts of a relay's lines that differ from run to run.
var relayStamps = pattern(`(?m)^\d{4}-\d\d-\d\dT\S+Z 127\.0\.0\.1:\d+ (> 127\.0\.0\.1:\d+ )?| \(\d+\.\d ms\)$`)

// relayed stops a relay and returns its log, without times and addresses; "> " marks a server.
func (s *testServer) relayed(t *testing.T) string {
	t.Helper()
	if code := s.stop(); code != classGranted.exit() {
		t.Errorf("relay ended with %d, want 0: %s", int(code), s.stderr)
	}
	return relayStamps().ReplaceAllStringFunc(s.log.String(), func(m string) string {
		if strings.Contains(m, " > ") {
			return "> "
		}
		return ""
	})
}

// relayModes are the options of the modes in which a relay forwards packets.
var relayModes = []string{"", "--single-connect"}

// TestRelay runs every command through a relay, with TLS and in cleartext on either side. The client gets the same
// output as from the server, and the relay logs the same sessions.
func TestRelay(t *testing.T) {
	t.Parallel()
	dir := testFiles(t)
	const device = " --listen-tls 127.0.0.1:0 --listen-cert DIR/server.pem --listen-cert-key DIR/server.key --client-ca DIR/ca.pem"
	for _, tt := range []struct{ name, serve, relay, client string }{
		{"cleartext to cleartext", "", "--device-key-file DEVICE --listen 127.0.0.1:0", ""},
		{"cleartext to TLS", "--tls --cert DIR/server.pem --cert-key DIR/server.key --client-ca DIR/ca.pem",
			"--device-key-file DEVICE --listen 127.0.0.1:0 --tls --cacert DIR/ca.pem --cert DIR/client.pem --cert-key DIR/client.key", ""},
		{"TLS to cleartext", "", device, " --tls --cacert DIR/ca.pem --cert DIR/client.pem --cert-key DIR/client.key"},
		{"TLS to TLS", "--tls --cert DIR/server.pem --cert-key DIR/server.key", device + " --tls --cacert DIR/ca.pem",
			" --tls --cacert DIR/ca.pem --cert DIR/client.pem --cert-key DIR/client.key"},
	} {
		for _, mode := range relayModes {
			t.Run(tt.name+mode, func(t *testing.T) {
				t.Parallel()
				key := filepath.Join(writeFiles(t, map[string]string{"device": deviceKey}), "device")
				s := serveWith(t, append(split(tt.serve, "DIR", dir), "--user", "enabled:"+testPassword)...)
				var r *testServer
				args := split("relay "+s.addr+" "+tt.relay+" "+mode, "DIR", dir, "DEVICE", key)
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
				equal(t, r.relayed(t), want, "the log")
				if want, got := strings.ReplaceAll(want, "> ", ""), s.lines(t); got != want {
					t.Errorf("got the server's log\n%swant\n%s", got, want)
				}
			})
		}
	}
}

// TestRelayKeys: each device has its key, several keys are tried, and a packet that fits none is dropped.
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
		for _, mode := range relayModes {
			s := serveWith(t)
			r := serving(t, new(lockedBuffer), split("relay "+s.addr+" --listen 127.0.0.1:0 --json "+tt.options+" "+mode, "DIR", dir)...)
			c := dialFakeClient(t, r.addr)
			if c.key = tt.key; tt.from == "" {
				wrong := header{version: minorOne, typ: typeAuthen, seqNo: 1, sessionID: 7}
				must(t, c.send(wrong, papStart("alice", testPassword)))
				c.key = map[bool]string{true: deviceKey, false: other}[strings.Contains(tt.options, "127")]
				var reply authenReply
				if h, err := c.receive(&reply); err != nil || reply.status != authenError || h.seqNo != 2 || h.sessionID != 7 || strings.Contains(reply.serverMsg, "key") {
					t.Errorf("%s: got the reply %+v, %v", tt.options, reply, err)
				}
				c.checkEnd(t)
				if got := r.relayed(t); !strings.Contains(got, `"error":"packet cannot be read with this key: `+errBodyLength.Error()) || s.lines(t) != "" {
					t.Errorf("%s: the log is\n%s, the server's log is\n%s", tt.options, got, s.log)
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
				t.Errorf("%s %s: %+v", tt.options, mode, line)
			}
		}
	}
}

// TestRelayKeyByChance: of two keys with which the lengths of a packet add up, the one with plausible fields is used.
func TestRelayKeyByChance(t *testing.T) {
	t.Parallel()
	const other = "another key for other devices"
	h, start := header{version: minorOne, typ: typeAuthen, seqNo: 1}, papStart(long(240), long(240)) // every 400th session_id does it
	for {
		h.sessionID++
		packet := packed(h, deviceKey, start)
		read := parseHeader(packet)
		obfuscate(&read, other, packet[headerLen:])
		if m := new(authenStart); decode(packet[headerLen:], m) == nil && !plausible(m) {
			break
		}
	}
	dir := writeFiles(t, map[string]string{"device": deviceKey, "other": other})
	s := startFakeServer(t, (*fakeServerConn).grantAll)
	c := dialDevice(t, serving(t, new(lockedBuffer), split("relay "+s.addr+" --listen 127.0.0.1:0 --device-key-file DIR/other --device-key-file DIR/device", "DIR", dir)...))
	must(t, c.send(h, start))
	c.receives(t, authenPass)
}

// TestRelaySingleConnect: the relay grants single-connection mode, whatever the server does.
func TestRelaySingleConnect(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		fault, mode string
		granted     bool
	}{{"", "", true}, {"single-refused", "", true}, {"", "--single-connect", true}, {"single-refused", "--single-connect", true},
		{"", "--no-device-single-connect", false}, {"", "--single-connect --no-device-single-connect", false}} {
		s := serveWith(t, split("--fault" + " " + tt.fault)[:2*min(1, len(tt.fault))]...)
		r := relayTo(t, s.addr, split(tt.mode)...)
		got := r.asDevice(t, "authenticate alice AT -t pap --single-connect -v")
		if want := "single-connect: " + singleConnectWord(&tt.granted); !strings.Contains(got.out, want+"\n") {
			t.Errorf("%+v: %s%s", tt, got.out, got.err)
		}
		c := dialDevice(t, r) // a device that does not request the mode does not get it
		if err := c.login(1, 0); err != nil {
			t.Errorf("%+v: %v", tt, err)
		}
		c.checkEnd(t)
	}
}

// TestRelaySendProxy: with --send-proxy the server knows the address of each device, also of those that use one connection
// for many sessions.
func TestRelaySendProxy(t *testing.T) {
	t.Parallel()
	dir := testFiles(t)
	for _, tt := range []struct{ serve, relay string }{
		{"", ""},
		{"--tls --cert DIR/server.pem --cert-key DIR/server.key", "--tls --cacert DIR/ca.pem"},
	} {
		s := serveWith(t, split("--proxy-protocol 127.0.0.1 --json "+tt.serve, "DIR", dir)...)
		r := relayTo(t, s.addr, split("--send-proxy --timeout 1m --connect-timeout 1m "+tt.relay, "DIR", dir)...)
		want := make(map[string]int)
		for _, flags := range []headerFlags{0, flagSingleConnect} {
			for _, c := range []*fakeClient{dialDevice(t, r), dialSecondDevice(t, r)} {
				must(t, c.login(1, flags))
				want[c.LocalAddr().String()] = 1
				if flags == 0 {
					continue
				}
				for i := range uint32(3) {
					must(t, c.login(2+i, flags))
				}
				fakeExchange{9, asciiStart("alice"), &authenReply{status: authenGetPass, flags: authenNoEcho, serverMsg: "Password: "}, 0}.run(t, c, flags)
				want[c.LocalAddr().String()] = 5
			}
		}
		got := make(map[string]int)
		r.stop()
		s.stop()
		for line := range strings.Lines(s.log.String()) {
			var object recordObject
			if err := json.Unmarshal([]byte(line), &object); err != nil || !strings.HasPrefix(object.Proxy, "127.0.0.1:") {
				t.Errorf("%s: %v: %s", tt.serve, err, line)
			}
			got[object.Peer]++
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s: the server's sessions are of %v, want %v", tt.serve, got, want)
		}
	}
	got := runWith(t, secretsInEnv, "", split("relay 127.0.0.1 --send-proxy --single-connect --listen 127.0.0.1:0")...)
	got.check(t, classUsage.exit(), "", "tacacs_plus: --send-proxy excludes --single-connect: its connections are of many devices\n")
}

// TestRelaySharesConnection: logins of many devices, each on its own connection, share one to the server.
func TestRelaySharesConnection(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	r := relayTo(t, s.addr, "--single-connect")
	const n = 20
	for range n {
		if err := dialDevice(t, r).login(9, 0); err != nil { // all devices use the same session_id
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

// TestRelayDialogues runs several sessions on one connection.
func TestRelayDialogues(t *testing.T) {
	t.Parallel()
	askPass := &authenReply{status: authenGetPass, flags: authenNoEcho, serverMsg: "Password: "}
	askUser := &authenReply{status: authenGetUser, serverMsg: "Username: "}
	pass := &authenReply{status: authenPass}
	for _, mode := range relayModes {
		s := serveWith(t)
		record := filepath.Join(t.TempDir(), "record.pcap")
		r := relayTo(t, s.addr, append(split(mode), "--record", record)...)
		c := dialDevice(t, r)
		for _, tn := range []fakeExchange{
			{0xffffffff, asciiStart("alice"), askPass, 0},
			{2, asciiStart(""), askUser, 0},
			{3, papStart("alice", testPassword), pass, 0},
			{2, answerWith("alice"), askPass, 0},
			{4, &authorRequest{commonFields: commonFields{user: "alice"}, args: []string{"service=shell", "cmd="}}, &authorResponse{status: authorPassAdd, args: []string{"priv-lvl=15"}}, 0},
			{0xffffffff, answerWith(testPassword), pass, 0},
			{2, answerWith(testPassword), pass, 0},
			{5, asciiStart("eve"), askPass, 0},
			{5, &authenContinue{flags: authenAbort, data: "user left\n"}, nil, 0},
			{6, asciiStart("bob"), askPass, 0},
		} {
			tn.run(t, c, flagSingleConnect)
		}
		waitUntil(t, "the session of eve has ended", func() bool { return strings.Contains(r.log.String(), " ABORT: user left") })
		c.Close()
		want := "> alice authenticate pap PASS\n> alice authorize service=shell cmd= PASS_ADD\n> alice authenticate ascii PASS\n" +
			"> alice authenticate ascii PASS\n> eve authenticate ascii ABORT: user left\n> bob authenticate ascii ABANDONED\n"
		waitUntil(t, "the last session has ended", func() bool { return strings.Count(r.log.String(), "\n") == strings.Count(want, "\n") })
		equal(t, r.relayed(t), want, mode, "the log")
		data, err := os.ReadFile(record)
		if err != nil || bytes.Contains(data, []byte(testPassword)) {
			t.Errorf("%s: the record has the password: %v", mode, err)
		}
		decoded := runWith(t, nil, "", "decode", record)
		sorted := func(lines string) []string {
			l := strings.Split(relayStamps().ReplaceAllString(lines, ""), "\n")
			slices.Sort(l)
			return l
		}
		if got, want := sorted(decoded.out), sorted(strings.NewReplacer("> ", "", "ABANDONED", "ABANDONED: closed by the client").Replace(want)); decoded.code != 0 || !slices.Equal(got, want) {
			t.Errorf("%s: decode prints\n%s%swant\n%s", mode, decoded.out, decoded.err, want)
		}
	}
}

// TestRelayOnFullDisk: if neither the log nor the record can be written, that is reported once, and the relay continues.
func TestRelayOnFullDisk(t *testing.T) {
	t.Parallel()
	for _, mode := range relayModes {
		s := serveWith(t)
		r := serving(t, fullDisk{}, append(relayArgs(t, s.addr), split(mode)...)...)
		account := func() {
			if got := r.asDevice(t, "account alice AT"); got.code != 0 {
				t.Errorf("got %+v", got)
			}
		}
		waitUntil(t, "the warning is printed", func() bool { account(); return strings.Contains(r.stderr.String(), "cannot write") })
		account()
		account()
		if code := r.stop(); code != classUsage.exit() {
			t.Errorf("exit code %d", int(code))
		}
		if n := strings.Count(r.stderr.String(), "cannot write session lines: no space left on device"); n != 1 {
			t.Errorf("the warning is printed %d times:\n%s", n, r.stderr)
		}
		if want := "tacacs_plus: write session lines: no space left on device ("; !strings.Contains(r.stderr.String(), want) {
			t.Errorf("stderr is\n%s", r.stderr)
		}
	}
}

// TestRelayDrains: at the end the replies under way are still sent, and all else is closed.
func TestRelayDrains(t *testing.T) {
	t.Parallel()
	var all sync.WaitGroup // subtests run at the same time, since most of them wait
	defer all.Wait()
	for _, mode := range relayModes {
		for _, typ := range []string{"pap", "ascii"} {
			all.Go(func() {
				t.Run(mode+typ, func(t *testing.T) {
					s := serveWith(t, "--reply-delay", "300ms")
					r := relayTo(t, s.addr, append(split(mode), "-d")...)
					idle, open := dialDevice(t, r), dialDevice(t, r)
					fakeExchange{8, asciiStart("alice"), &authenReply{status: authenGetPass, flags: authenNoEcho, serverMsg: "Password: "}, 0}.run(t, open, 0)
					c := dialDevice(t, r)
					h := header{version: minorOne, typ: typeAuthen, seqNo: 1, sessionID: 0xabcdef}
					want := authenPass
					var m message = papStart("alice", testPassword)
					if typ == "ascii" {
						h.version, m, want = minorDefault, asciiStart("alice"), authenGetPass
					}
					must(t, c.send(h, m))
					waitUntil(t, "the packet has arrived", func() bool { return strings.Contains(r.stderr.String(), "session_id 00abcdef") })
					r.cancel()
					c.receives(t, want)
					for _, c := range []*fakeClient{idle, open, c} {
						c.checkEnd(t)
					}
					if got := r.relayed(t); typ == "pap" && got != "> alice authenticate pap PASS\n> alice authenticate ascii ABANDONED\n" &&
						got != "> alice authenticate ascii ABANDONED\n> alice authenticate pap PASS\n" {
						t.Errorf("the log is\n%s", got)
					}
				})
			})
		}
	}
}

// TestRelayLoad: of many connections, concurrent and in sequence, none is lost, and no goroutine is left.
func TestRelayLoad(t *testing.T) {
	before := runtime.NumGoroutine()
	for _, mode := range relayModes {
		s := serveWith(t, "-q")
		r := relayTo(t, s.addr, append(split(mode), "-q")...)
		const many = 100
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
		for i := range 200 {
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

// TestRelaySlowDevice: a device that never reads does not affect others.
func TestRelaySlowDevice(t *testing.T) {
	t.Parallel()
	for _, mode := range relayModes {
		s := serveWith(t)
		r := relayTo(t, s.addr, append(split(mode), "-q")...)
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
			must(t, dialDevice(t, r).login(i, 0))
		}
		deaf.Close()
		flood.Wait()
	}
}

// TestRelayRefuses checks command lines that relay refuses.
func TestRelayRefuses(t *testing.T) {
	t.Parallel()
	dir := testFiles(t)
	key := filepath.Join(writeFiles(t, map[string]string{"key": testKey, "empty": ""}), "key")
	for _, tt := range []struct{ options, want string }{
		{"", "HOST is missing\ntacacs_plus: hint: usage: tacacs_plus relay HOST"},
		{"tac1 tac2", "unexpected argument \"tac2\"\ntacacs_plus: hint: usage: tacacs_plus relay HOST"},
		{"tac1 -u alice", "--username is for a client, not for relay"},
		{"tac1 --password x", "--password is for a client, not for relay"},
		{"tac1 --listen :0", "listening on :0 needs --device-key-file\ntacacs_plus: hint: give the key of the devices, or listen on loopback"},
		{"tac1 --tls --insecure", "the key of the devices is missing\ntacacs_plus: hint: give --device-key-file FILE"},
		{"tac1 --listen-tls 127.0.0.1:0", "--listen-tls needs --listen-cert"},
		{"tac1 --client-ca DIR/ca.pem", "--client-ca, --client-crl, --client-name, --client-address and --ticket-lifetime need --listen-tls"},
		{"tac1 --listen-cert DIR/server.pem", "--listen-cert and --listen-cert-key need --listen-tls"},
		{"tac1 --listen-tls :0 --listen-cert DIR/server.pem", "listening on :0 over TLS needs --client-ca\ntacacs_plus: hint: RFC 9887 section 3.1 requires client certificates"},
		{"tac1 --listen-tls 127.0.0.1:0 --listen-cert DIR/server.pem --device-key-file KEY", "--device-key-file needs --listen: devices over TLS have no key"},
		{"tac1 --device-key-file 192.0.2.0/33=KEY", "\"192.0.2.0/33\" of --device-key-file is neither an address nor a prefix\ntacacs_plus: hint: write --device-key-file 192.0.2.0/24=FILE for the key of these clients"},
		{"tac1 --device-key-file - --key-file -", "the key and the key of the devices cannot both come from standard input\ntacacs_plus: hint: " + hintStdin},
		{"tac1 --key-file KEY" + strings.Repeat(" --device-key-file KEY", 65), "the key is given more than 64 times"},
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

// BenchmarkRelay measures a login through the relay, including the work of client and server.
func BenchmarkRelay(b *testing.B) {
	s := serving(b, io.Discard, "serve", "--listen", "127.0.0.1:0", "--user", "alice:"+testPassword, "-q")
	r := serving(b, io.Discard, append(relayArgs(b, s.addr), "-q")...)
	env := func(name string) string {
		return map[string]string{"TACACS_PLUS_KEY": deviceKey, "TACACS_PLUS_PWD": testPassword}[name]
	}
	b.ResetTimer()
	if code := run(context.Background(), split(fmt.Sprintf("bench alice AT -t pap -c 64 -n %d", b.N), "AT", r.addr),
		stdio{in: strings.NewReader(""), out: io.Discard, err: io.Discard, env: env}); code != 0 {
		b.Errorf("exit code %d", int(code))
	}
}

// TestRelayCutOff: sessions that are cut off at the end are logged, too.
func TestRelayCutOff(t *testing.T) {
	t.Parallel()
	var all sync.WaitGroup // subtests run at the same time, since most of them wait
	defer all.Wait()
	for _, mode := range relayModes {
		for typ, start := range map[string]message{"pap": papStart("alice", testPassword), "ascii": asciiStart("alice")} {
			all.Go(func() {
				t.Run(mode+typ, func(t *testing.T) {
					const many = 8
					s := startFakeServer(t, (*fakeServerConn).readAll)
					r := relayTo(t, s.addr, append(split(mode), "--timeout", "1h", "-d")...)
					packet := packed(header{version: versionOf(start), typ: typeAuthen, seqNo: 1, sessionID: 1}, deviceKey, start)
					for range many {
						dialDevice(t, r).Write(packet)
					}
					waitUntil(t, "all packets have arrived", func() bool { return strings.Count(r.stderr.String(), "received from") == many })
					if got := r.relayed(t); strings.Count(got, "alice authenticate "+typ+" NO_REPLY\n") != many {
						t.Errorf("the log is\n%s", got)
					}
				})
			})
		}
	}
}

// TestRelayRecordIsReadBack: decode reads connections over IPv6 and IPv4, with packets larger than a segment, and the
// checksums are valid.
func TestRelayRecordIsReadBack(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ device, server string }{
		{"[2001:db8::7]:41234", "[2001:db8::1]:49"},
		{"198.51.100.7:41234", "192.0.2.1:49"},
		{"198.51.100.7:41234", "[2001:db8::1]:49"},
	} {
		device, server := netip.MustParseAddrPort(tt.device), netip.MustParseAddrPort(tt.server)
		var out bytes.Buffer
		rec, all := newRecorder(&out, false, false), new(recordedConns)
		args := slices.Repeat([]string{"filler*" + strings.Repeat("x", 240)}, 254)
		args = append([]string{"service=shell"}, args...) // 62 KiB in all
		for i := range uint32(2) {
			h := header{version: minorDefault, typ: typeAuthor, seqNo: 1, sessionID: 7 + i}
			for _, m := range []message{&authorRequest{commonFields: commonFields{user: "alice"}, args: args}, &authorResponse{status: authorPassRepl, args: args[:200]}} {
				rec.packet(time.Now(), all, device, server, h, m, false)
				h.seqNo++
			}
		}
		rec.end(all)
		var next [2]uint32 // of the device, of the server
		for b := out.Bytes()[24:]; len(b) > 0; {
			size := binary.LittleEndian.Uint32(b[8:])
			frame := b[16 : 16+size]
			b = b[16+size:]
			addrs, tcp := frame[8:40], frame[40:]
			if frame[0] == 0x45 {
				addrs, tcp = frame[12:20], frame[20:]
				if sum := wholeSum(frame[:20]); sum != 0xffff {
					t.Errorf("%s: an IP header has the checksum %x", tt.device, sum)
				}
			}
			from := 0
			if binary.BigEndian.Uint16(tcp) == server.Port() {
				from = 1
			}
			seq, ack, flags := binary.BigEndian.Uint32(tcp[4:]), binary.BigEndian.Uint32(tcp[8:]), tcpFlags(tcp[13])
			if flags&tcpSYN != 0 {
				next[from] = seq
			}
			if seq != next[from] || flags&tcpACK != 0 && ack != next[1-from] || flags&tcpACK == 0 && ack != 0 {
				t.Errorf("%s: seq %d and ack %d with flags %x, want %d", tt.device, seq, ack, flags, next)
			}
			if next[from] += uint32(len(tcp) - 20); flags&(tcpSYN|tcpFIN) != 0 {
				next[from]++
			}
			all := slices.Concat(addrs, []byte{0, 6, byte(len(tcp) >> 8), byte(len(tcp))}, tcp)
			if sum := wholeSum(all); sum != 0xffff {
				t.Errorf("%s: a segment of %d bytes has the checksum %x", tt.device, len(tcp), sum)
			}
		}
		file := filepath.Join(writeFiles(t, map[string]string{"record.pcap": out.String()}), "record.pcap")
		got := runWith(t, nil, "", "decode", "--json", file)
		lines := strings.Split(strings.TrimSpace(got.out), "\n")
		if len(lines) != 2 || got.code != 0 {
			t.Fatalf("decode prints %d lines: %s", len(lines), got.err)
		}
		for i, line := range lines {
			var o recordObject
			err := json.Unmarshal([]byte(line), &o)
			as := func(a string) string { // IPv4 is mapped if the other address is IPv6
				if netip.MustParseAddrPort(tt.device).Addr().Is4() != netip.MustParseAddrPort(tt.server).Addr().Is4() {
					at := netip.MustParseAddrPort(a)
					return netip.AddrPortFrom(netip.AddrFrom16(at.Addr().As16()).Unmap(), at.Port()).String()
				}
				return a
			}
			if err != nil || o.Peer != as(tt.device) || o.Server != as(tt.server) || o.SessionID != fmt.Sprintf("%08x", 7+i) || len(o.Args) != 255 || o.Status != "PASS_REPL" || o.Packets != 2 {
				t.Errorf("%s: %.200s, %v", tt.device, line, err)
			}
		}
	}
}

// wholeSum returns the ones' complement sum of the 16-bit numbers of b (RFC 1071).
func wholeSum(b []byte) (sum uint64) {
	if len(b)%2 == 1 {
		b = append(slices.Clone(b), 0)
	}
	for ; len(b) > 0; b = b[2:] {
		sum += uint64(b[0])<<8 | uint64(b[1])
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return sum
}

// TestRelayRecordOnFullDisk: with a full disk for --record, devices still get their replies. At the end it is an error.
func TestRelayRecordOnFullDisk(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has /dev/full; TestRelayRecordCountsLostPackets runs on all systems")
	}
	for _, mode := range relayModes {
		s := serveWith(t)
		r := relayTo(t, s.addr, append(split(mode), "--record", "/dev/full")...)
		for range 3 {
			if got := r.asDevice(t, "account alice AT"); got.code != 0 {
				t.Errorf("got %+v", got)
			}
		}
		if code := r.stop(); code != classUsage.exit() {
			t.Errorf("exit code %d", int(code))
		}
		if n := strings.Count(r.log.String(), " SUCCESS"); n != 3 {
			t.Errorf("%d lines:\n%s", n, r.log)
		}
		if want := "tacacs_plus: write recorded packets: write /dev/full: no space left on device ("; !strings.Contains(r.stderr.String(), want) {
			t.Errorf("stderr is\n%s", r.stderr)
		}
	}
}

// recordLogin records a login, from the same port each time.
func recordLogin(t *testing.T, rec *recorder, sessionID uint32) *recordedConns {
	t.Helper()
	device, server := netip.MustParseAddrPort("198.51.100.7:1024"), netip.MustParseAddrPort("192.0.2.1:49")
	h := header{version: minorOne, typ: typeAuthen, seqNo: 1, sessionID: sessionID}
	conns := new(recordedConns)
	for _, m := range []message{papStart("alice", testPassword), &authenReply{status: authenPass}} {
		rec.packet(time.Now(), conns, device, server, h, m, false)
		h.seqNo++
	}
	return conns
}

// ends counts the FIN segments of a record over IPv4.
func ends(record []byte) (n int) {
	for b := record[24:]; len(b) > 0; b = b[16+binary.LittleEndian.Uint32(b[8:]):] {
		if tcpFlags(b[16+20+13])&tcpFIN != 0 {
			n++
		}
	}
	return n
}

// TestRelayRecordOfTwoServers: concurrent sessions with two servers are two connections in the record.
func TestRelayRecordOfTwoServers(t *testing.T) {
	t.Parallel()
	device := netip.MustParseAddrPort("198.51.100.7:1024")
	servers := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:49"), netip.MustParseAddrPort("192.0.2.2:49")}
	var out bytes.Buffer
	rec, all := newRecorder(&out, false, false), new(recordedConns)
	for n, m := range []message{asciiStart("alice"), &authenReply{status: authenGetPass}, answerWith(testPassword), &authenReply{status: authenPass}} {
		for i, server := range servers {
			h := header{version: minorDefault, typ: typeAuthen, seqNo: uint8(1 + n), sessionID: uint32(i)}
			rec.packet(time.Now(), all, device, server, h, m, false)
		}
	}
	rec.end(all)
	file := filepath.Join(writeFiles(t, map[string]string{"record.pcap": out.String()}), "record.pcap")
	got := runWith(t, nil, "", "decode", file)
	for _, server := range servers {
		if want := server.String() + " alice authenticate ascii PASS"; strings.Count(got.out, want) != 1 || strings.Count(got.out, "\n") != 2 || !strings.Contains(got.err, "TACACS+ conversations: 2,") {
			t.Errorf("%s is missing, or not alone:\n%s%s", want, got.out, got.err)
		}
	}
}

// TestRelayRecord: only the owner can read the record. It has the addresses of devices and servers, and no secrets
// unless asked for. The log and -d show none either.
func TestRelayRecord(t *testing.T) {
	t.Parallel()
	for _, mode := range relayModes {
		for _, options := range []string{"", "--json", "--show-secrets", "-v"} {
			s := serveWith(t)
			record := filepath.Join(t.TempDir(), "record.pcap")
			r := relayTo(t, s.addr, append(split(mode+" -d "+options), "--record", record)...)
			for _, typ := range []string{"ascii", "pap"} {
				if got := r.asDevice(t, "authenticate alice AT -t "+typ); got.out != "PASS\n" {
					t.Errorf("got %+v", got)
				}
			}
			r.relayed(t)
			data := contentOf(t, record)
			if info, err := os.Stat(record); err != nil || info.Mode().Perm() != 0o600 && runtime.GOOS != "windows" {
				t.Errorf("the mode is %v, %v", info.Mode(), err)
			}
			if n := ends(data); n != 4 {
				t.Errorf("%s %s: two conversations have %d FIN segments", mode, options, n)
			}
			shown := options == "--show-secrets"
			if n := bytes.Count(data, []byte(testPassword)); (n == 2) != shown || n > 0 && !shown {
				t.Errorf("%s %s: the password is %d times in the record", mode, options, n)
			}
			if strings.Contains(r.log.String(), testPassword) || strings.Contains(r.stderr.String(), testPassword) != shown {
				t.Errorf("%s %s: the password is in\n%s%s", mode, options, r.log, r.stderr)
			}
			if strings.Contains(r.stderr.String(), testKey) || strings.Contains(r.stderr.String()+r.log.String(), deviceKey) {
				t.Errorf("a key is in\n%s", r.stderr)
			}
			if n := strings.Count(r.stderr.String(), "received from 127.0.0.1:"); n < 6 {
				t.Errorf("%s %s: %d packets are shown:\n%s", mode, options, n, r.stderr)
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

// TestRelayEndsWithBlockedRecord: a blocked output is reported at the end, even during sessions.
func TestRelayEndsWithBlockedRecord(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		stuck, all := make(chan struct{}), new(sync.WaitGroup)
		all.Go(func() { <-stuck })
		opts := new(relayOptions)
		w := writeTo(func([]byte) (int, error) { <-stuck; return 0, io.EOF })
		io.WriteString(opts.background(w, "record", nil), "a packet")
		began := time.Now()
		within(shutdownTimeout, all.Wait)
		err := opts.close()
		if !errors.Is(err, errBlocked) || !strings.Contains(err.Error(), "record") || time.Since(began) != shutdownTimeout+linesTimeout {
			t.Errorf("got %v after %v", err, time.Since(began))
		}
		close(stuck)
	})
}

// TestRelayRecordWithoutReply: a request without a reply is recorded, too.
func TestRelayRecordWithoutReply(t *testing.T) {
	t.Parallel()
	for _, mode := range relayModes {
		var o order
		record := filepath.Join(t.TempDir(), "record.pcap")
		r := relayTo(t, o.closing(t, "A"), append(split(mode), "--record", record)...)
		r.asDevice(t, "authenticate alice AT -t pap")
		r.stop()
		if got := runWith(t, nil, "", "decode", record); !strings.HasSuffix(got.out, " alice authenticate pap NO_REPLY: closed by the client\n") {
			t.Errorf("%s: got %+v", mode, got)
		}
	}
}

// TestRelayRecordTimes: the record has the response time of the server.
func TestRelayRecordTimes(t *testing.T) {
	t.Parallel()
	s := serveWith(t, "--reply-delay", "20ms")
	for _, mode := range relayModes {
		record := filepath.Join(t.TempDir(), "record.pcap")
		r := relayTo(t, s.addr, append(split(mode), "--record", record)...)
		r.asDevice(t, "authenticate alice AT -t pap")
		r.stop()
		var o recordObject
		got := runWith(t, nil, "", "decode", record, "--json")
		if err := json.Unmarshal([]byte(got.out), &o); err != nil || o.ServerMS < 20 {
			t.Errorf("%s: %+v, %v", mode, got, err)
		}
	}
}

// TestRelayRepeatedSecrets: a password or a key of either side that a server repeats is hidden; the device gets the reply
// unchanged.
func TestRelayRepeatedSecrets(t *testing.T) {
	t.Parallel()
	secrets := strings.Join([]string{testPassword, testKey, deviceKey}, ", ")
	for _, mode := range relayModes {
		for options, no := range map[string]*authenReply{
			"":                {status: authenFail, serverMsg: "bad password " + secrets + "!"},
			" --show-secrets": {status: authenFail, serverMsg: "bad password " + secrets + "!"},
			" --retries 1":    {status: authenError, serverMsg: "bad password " + secrets + "!"},
			" --retries 2":    {status: authenError, data: "bad password " + secrets + "!"},
		} {
			s := startFakeServer(t, func(c *fakeServerConn) {
				if q := c.readRequest(); q != nil {
					c.Write(c.reply(q, no))
				}
			})
			record := filepath.Join(t.TempDir(), "record.pcap")
			r := relayTo(t, s.addr, append(split(mode+options), "-d", "--record", record)...)
			c := dialDevice(t, r)
			must(t, c.send(header{version: minorOne, typ: typeAuthen, seqNo: 1, sessionID: 1}, papStart("alice", testPassword)))
			var reply authenReply
			if _, err := c.receive(&reply); err != nil || reply != *no {
				t.Errorf("%s: the device got %+v, %v", mode, reply, err)
			}
			r.stop()
			data := contentOf(t, record)
			shown := 0
			if options == " --show-secrets" {
				shown = 2
			}
			for i, secret := range []string{testPassword, testKey, deviceKey} {
				want := choose(i == 0, shown, shown/2) // the request has the password too
				if n := bytes.Count(data, []byte(secret)); n != want || strings.Contains(r.stderr.String(), secret) != (shown > 0) {
					t.Errorf("%s%s: the record has %s %d times, and stderr is\n%s", mode, options, secret, n, r.stderr)
				}
			}
			want := no.status.String()
			if no.serverMsg != "" {
				want += ": bad password [redacted], [redacted], [redacted]!"
			}
			if lines := r.log.String(); !strings.Contains(lines, want) {
				t.Errorf("%s: the log is\n%s", mode, lines)
			}
		}
	}
}

// TestRelayAbortReason: a device's password that its ABORT repeats is hidden.
func TestRelayAbortReason(t *testing.T) {
	t.Parallel()
	ask := &authenReply{status: authenGetPass, flags: authenNoEcho}
	s := startFakeServer(t, func(c *fakeServerConn) {
		for range 2 {
			c.Write(c.reply(c.readRequest(), ask))
		}
		c.readRequest()
	})
	record := filepath.Join(t.TempDir(), "record.pcap")
	r := relayTo(t, s.addr, "-d", "--record", record)
	c := dialDevice(t, r)
	start := asciiStart("alice")
	start.data = "first secret" // as some devices do
	fakeExchange{1, start, ask, 0}.run(t, c, 0)
	fakeExchange{1, answerWith(testPassword), ask, 0}.run(t, c, 0)
	reason := "not " + testPassword + " and not first secret"
	must(t, c.send(header{version: minorDefault, typ: typeAuthen, seqNo: 5, sessionID: 1}, &authenContinue{flags: authenAbort, data: reason}))
	waitUntil(t, "the line", func() bool { return strings.Contains(r.log.String(), "ABORT: not [redacted] and not [redacted] (") })
	r.stop()
	all := string(contentOf(t, record)) + r.stderr.String()
	for _, secret := range []string{testPassword, "first secret"} {
		if strings.Contains(all, secret) || !strings.Contains(all, "not [redacted] and not [redacted]") {
			t.Errorf("%q", all)
		}
	}
}
