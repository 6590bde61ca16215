package main

import (
	"bytes"
	"context"
	"encoding/json"
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
var relayStamps = regexp.MustCompile(`(?m)^\d{4}-\d\d-\d\dT\S+Z 127\.0\.0\.1:\d+ (> 127\.0\.0\.1:\d+ )?| \(\d+\.\d ms\)$`)

// relayed stops a relay and returns its log, without times and addresses; "> " marks a server.
func (s *testServer) relayed(t *testing.T) string {
	t.Helper()
	if code := s.stop(); code != classGranted.exit() {
		t.Errorf("relay ended with %d, want 0: %s", int(code), s.stderr)
	}
	return relayStamps.ReplaceAllStringFunc(s.log.String(), func(m string) string {
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
				if got := r.relayed(t); got != want {
					t.Errorf("got the log\n%swant\n%s", got, want)
				}
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
				if err := c.send(wrong, papStart("alice", testPassword)); err != nil {
					t.Fatal(err)
				}
				c.key = map[bool]string{true: deviceKey, false: other}[strings.Contains(tt.options, "127")]
				var reply authenReply
				if h, err := c.receive(&reply); err != nil || reply.status != authenError || h.seqNo != 2 || h.sessionID != 7 || strings.Contains(reply.serverMsg, "key") {
					t.Errorf("%s: got the reply %+v, %v", tt.options, reply, err)
				}
				c.checkEnd(t)
				if got := r.relayed(t); !strings.Contains(got, `"error":"a packet that does not fit the key: `+errBodyLength.Error()) || s.lines(t) != "" {
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

// TestRelaySingleConnect: the server grants single-connection mode, and with --single-connect the relay does.
func TestRelaySingleConnect(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		fault, mode string
		granted     bool
	}{{"", "", true}, {"single-refused", "", false}, {"", "--single-connect", true}, {"single-refused", "--single-connect", true}} {
		s := serveWith(t, split("--fault" + " " + tt.fault)[:2*min(1, len(tt.fault))]...)
		r := relayTo(t, s.addr, split(tt.mode)...)
		got := r.asDevice(t, "authenticate alice AT -t pap --single-connect -v")
		if want := "single-connect: " + singleConnectWord(tt.granted); !strings.Contains(got.out, want+"\n") {
			t.Errorf("%+v: %s%s", tt, got.out, got.err)
		}
		c := dialDevice(t, r) // a device that does not request the mode does not get it
		if err := c.login(1, 0); err != nil {
			t.Errorf("%+v: %v", tt, err)
		}
		c.checkEnd(t)
	}
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
		c, numbers := dialDevice(t, r), make(map[uint32]uint8)
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
			tn.run(t, c, numbers, flagSingleConnect)
		}
		c.Close()
		want := "> alice authenticate pap PASS\n> alice authorize service=shell cmd= PASS_ADD\n> alice authenticate ascii PASS\n" +
			"> alice authenticate ascii PASS\n> eve authenticate ascii ABORT: user left\n> bob authenticate ascii ABANDONED\n"
		waitUntil(t, "the last session has ended", func() bool { return strings.Count(r.log.String(), "\n") == strings.Count(want, "\n") })
		if got := r.relayed(t); got != want {
			t.Errorf("%s: got the log\n%swant\n%s", mode, got, want)
		}
		data, err := os.ReadFile(record)
		if err != nil || bytes.Contains(data, []byte(testPassword)) {
			t.Errorf("%s: the record has the password: %v", mode, err)
		}
		decoded := runWith(t, nil, "", "decode", record)
		sorted := func(lines string) []string {
			l := strings.Split(relayStamps.ReplaceAllString(lines, ""), "\n")
			slices.Sort(l)
			return l
		}
		if got, want := sorted(decoded.out), sorted(strings.ReplaceAll(want, "> ", "")); decoded.code != 0 || !slices.Equal(got, want) {
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
		waitUntil(t, "the warning is printed", func() bool { account(); return strings.Contains(r.stderr.String(), "cannot be written") })
		account()
		account()
		if code := r.stop(); code != classUsage.exit() {
			t.Errorf("exit code %d", int(code))
		}
		if n := strings.Count(r.stderr.String(), "lines of sessions cannot be written: no space left on device"); n != 1 {
			t.Errorf("the warning is printed %d times:\n%s", n, r.stderr)
		}
		if want := "tacacs_plus: write the lines of sessions: no space left on device\n"; !strings.HasSuffix(r.stderr.String(), want) {
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
					fakeExchange{8, asciiStart("alice"), &authenReply{status: authenGetPass, flags: authenNoEcho, serverMsg: "Password: "}, 0}.run(t, open, make(map[uint32]uint8), 0)
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
					waitUntil(t, "the packet has arrived", func() bool { return strings.Contains(r.stderr.String(), "session_id 00abcdef") })
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
			if err := dialDevice(t, r).login(i, 0); err != nil {
				t.Error(err)
			}
		}
		deaf.Close()
		flood.Wait()
	}
}

// TestRelayHalfClose: a device that closes its side for writing still gets its reply.
func TestRelayHalfClose(t *testing.T) {
	t.Parallel()
	for _, mode := range relayModes {
		s := serveWith(t, "--reply-delay", "100ms")
		r := relayTo(t, s.addr, split(mode)...)
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
			t.Errorf("%s: %+v, %v", mode, reply, err)
		}
		c.checkEnd(t)
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
					s := startFakeServer(t, func(c *fakeServerConn) {
						for c.readRequest() != nil {
						}
					})
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
