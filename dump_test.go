package main

import (
	"bytes"
	"net"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// dumpOf returns the dump of a packet with this body in hex.
func dumpOf(t *testing.T, h header, body string, m message, showSecrets bool) string {
	t.Helper()
	var out strings.Builder
	data := unhex(t, body)
	h.length = uint32(len(data))
	tracer := &dumper{out: &out, showSecrets: showSecrets}
	tracer.packet("sent to", newServer("192.0.2.1", 49), &h, data, m)
	return out.String()
}

func TestDumper(t *testing.T) {
	h := header{version: minorOne, typ: typeAuthen, seqNo: 1, flags: flagSingleConnect, sessionID: 0x01020304}
	const firstLine = "sent to 192.0.2.1:49: version 0xc.1 type authentication seq_no 1 flags SINGLE_CONNECT session_id 01020304 length "
	pap := "01 0f 02 01 05 04 09 08 616c696365 74747930 3139322e302e322e31 5a5a5a5a5a5a5a5a"
	answer := "0003 0004 01 5a5a5a 73746f70"
	for _, test := range []struct {
		name        string
		body        string
		message     message
		showSecrets bool
		want        string
	}{
		{"START with a password", pap, &authenStart{}, false, firstLine + `34
  action: LOGIN
  priv_lvl: 15
  authen_type: pap
  authen_service: login
  user: alice
  port: tty0
  rem_addr: 192.0.2.1
  data: [redacted 8 bytes]
  0000  01 0f 02 01 05 04 09 08  61 6c 69 63 65 74 74 79  ........alicetty
  0010  30 31 39 32 2e 30 2e 32  2e 31 ** ** ** ** ** **  0192.0.2.1******
  0020  ** **                                             **
`},
		{"START with a password, shown", pap, &authenStart{}, true, firstLine + `34
  action: LOGIN
  priv_lvl: 15
  authen_type: pap
  authen_service: login
  user: alice
  port: tty0
  rem_addr: 192.0.2.1
  data: ZZZZZZZZ
  0000  01 0f 02 01 05 04 09 08  61 6c 69 63 65 74 74 79  ........alicetty
  0010  30 31 39 32 2e 30 2e 32  2e 31 5a 5a 5a 5a 5a 5a  0192.0.2.1ZZZZZZ
  0020  5a 5a                                             ZZ
`},
		{"CONTINUE", answer, &authenContinue{}, false, firstLine + `12
  flags: ABORT
  user_msg: [redacted 3 bytes]
  data: stop
  0000  00 03 00 04 01 ** ** **  73 74 6f 70              .....***stop
`},
		// data has a meaning only with ABORT.
		{"CONTINUE with data", "0000 0004 00 73746f70", &authenContinue{}, false, firstLine + `9
  flags: none
  user_msg: 
  data: [redacted 4 bytes]
  0000  00 00 00 04 00 ** ** **  **                       .....****
`},
		{"CONTINUE, shown", answer, &authenContinue{}, true, firstLine + `12
  flags: ABORT
  user_msg: ZZZ
  data: stop
  0000  00 03 00 04 01 5a 5a 5a  73 74 6f 70              .....ZZZstop
`},
		// These messages have no secrets. Text from outside is escaped.
		{"REPLY", "05 01 0008 0002 6c6f67696e3a200a 1b63", &authenReply{}, false, firstLine + `16
  status: GETPASS
  flags: NOECHO
  server_msg: login: \n
  data: \x1bc
  0000  05 01 00 08 00 02 6c 6f  67 69 6e 3a 20 0a 1b 63  ......login: ..c
`},
		{"REQUEST with arguments", "06 00 01 01 00 00 01 02 0d 04 78 736572766963653d7368656c6c 636d643d", &authorRequest{}, false, firstLine + `28
  authen_method: tacacsplus
  priv_lvl: 0
  authen_type: ascii
  authen_service: login
` + "  user: \n  port: \n" + `  rem_addr: x
  arg: service=shell
  arg: cmd=
  0000  06 00 01 01 00 00 01 02  0d 04 78 73 65 72 76 69  ..........xservi
  0010  63 65 3d 73 68 65 6c 6c  63 6d 64 3d              ce=shellcmd=
`},
		{"reply that does not fit", "01 00 0003 0000", &authenReply{}, false, firstLine + `6
  status: PASS
  flags: none
  malformed: lengths do not add up
  0000  01 00 00 03 00 00                                 ......
`},
		{"START that does not fit", "01 0f 02 01 01 04 00 03 61 74747930 5a5a", &authenStart{}, false, firstLine + `15
  action: LOGIN
  priv_lvl: 15
  authen_type: pap
  authen_service: login
  malformed: lengths do not add up
  0000  01 0f 02 01 01 ** ** **  ** ** ** ** ** ** **     .....**********
`},
		{"START that does not fit, shown", "01 0f 02 01 01 04 00 03 61 74747930 5a5a", &authenStart{}, true, firstLine + `15
  action: LOGIN
  priv_lvl: 15
  authen_type: pap
  authen_service: login
  malformed: lengths do not add up
  0000  01 0f 02 01 01 04 00 03  61 74 74 79 30 5a 5a     ........atty0ZZ
`},
		{"unknown message", "7f80", nil, false, firstLine + `2
  0000  7f 80                                             ..
`},
		{"no body", "", nil, false, firstLine + "0\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h, want := h, test.want
			if _, ok := test.message.(*authenReply); ok {
				h.seqNo, want = 2, strings.Replace(want, "seq_no 1", "seq_no 2", 1)
			}
			equal(t, dumpOf(t, h, test.body, test.message, test.showSecrets), want)
		})
	}
}

// TestDumperHidesSecrets: the dump shows no byte of a secret, whatever its place and length. Only the secret
// contains Z.
func TestDumperHidesSecrets(t *testing.T) {
	t.Parallel()
	h := header{version: minorOne, typ: typeAuthen, seqNo: 1}
	for n := range 64 {
		secret := strings.Repeat("Z", n)
		for _, m := range []message{
			&authenStart{commonFields: commonFields{typ: authenPAP, user: "alice"}, data: secret},
			&authenStart{commonFields: commonFields{typ: authenMSCHAPv2, user: strings.Repeat("u", n)}, data: secret},
			&authenContinue{userMsg: secret},
			&authenContinue{userMsg: secret, data: "reason"},
		} {
			body, err := encoded(m)
			must(t, err)
			var hidden, shown strings.Builder
			(&dumper{out: &hidden}).packet("sent to", newServer("tac1", 49), &h, body, fresh(m))
			if strings.Contains(hidden.String(), "Z") || strings.Contains(hidden.String(), " 5a") {
				t.Errorf("%T, %d bytes: got\n%swant no Z and no 5a", m, n, hidden.String())
			}
			if got := strings.Count(hidden.String(), "**"); n > 0 && got < n {
				t.Errorf("%T, %d bytes: got %d stars, want one for each", m, n, got)
			}
			(&dumper{out: &shown, showSecrets: true}).packet("sent to", newServer("tac1", 49), &h, body, fresh(m))
			equal(t, strings.Count(shown.String(), " 5a"), n, m, "shown")
		}
	}
}

// TestDumperHidesMisplacedSecrets: a client may send a secret under the packet type of another message,
// complete or truncated. Only the secret contains Z.
func TestDumperHidesMisplacedSecrets(t *testing.T) {
	t.Parallel()
	for n := 1; n < 64; n++ {
		secret := strings.Repeat("Z", n)
		for _, m := range []message{
			&authenStart{commonFields: commonFields{typ: authenPAP, user: "alice", port: "tty0", remAddr: "192.0.2.1"}, data: secret},
			&authenStart{commonFields: commonFields{typ: authenPAP}, data: secret},
			&authenContinue{userMsg: secret},
			&authenContinue{data: secret},
		} {
			body, err := encoded(m)
			must(t, err)
			for _, other := range []message{new(authenStart), new(authenContinue), new(authorRequest), new(acctRequest), nil} {
				for _, body := range [][]byte{body, body[:len(body)-1], append(bytes.Clone(body), 'Z')} {
					var out strings.Builder
					(&dumper{out: &out}).packet("received from", newServer("tac1", 49), &header{seqNo: 3}, body, other)
					if shown := out.String(); strings.Contains(shown, "Z") || strings.Contains(shown, " 5a") {
						t.Errorf("%T as %T, %d bytes: got\n%s", m, other, n, shown)
					}
				}
			}
		}
	}
}

// TestDumperHidesRepeatedSecrets: a secret that a server repeats is hidden in the fields and in the hex dump,
// also in a malformed reply, unless secrets are shown.
func TestDumperHidesRepeatedSecrets(t *testing.T) {
	t.Parallel()
	body, err := encoded(&authenReply{status: authenFail, serverMsg: "no: ZZZZZZ", data: "ZZZZZZ"})
	must(t, err)
	for _, body := range [][]byte{body, append(bytes.Clone(body), 0)} {
		for _, show := range []bool{false, true} {
			var out strings.Builder
			(&dumper{out: &out, showSecrets: show}).packet("received from", newServer("tac1", 49), &header{seqNo: 2}, body, new(authenReply), "ZZZZZZ")
			text := out.String()
			if got := strings.Count(text, " 5a"); got != map[bool]int{true: 12}[show] || !show && strings.Contains(text, "Z") || !strings.Contains(text, " 6e 6f ") {
				t.Errorf("shown: %t, got\n%s", show, text)
			}
		}
	}
}

// TestDumperOfServe: serve -d does not show the password of a login sent under another packet type.
func TestDumperOfServe(t *testing.T) {
	t.Parallel()
	r := serveVerbose(t, map[string]string{"TACACS_PLUS_KEY": testKey}, "--debug", "--user", "alice:"+testPassword)
	for _, typ := range []packetType{typeAuthen, typeAuthor, typeAcct} {
		for _, m := range []message{papStart("alice", "ZZZZZZZZ"), answerWith("ZZZZZZZZ"), &authenContinue{data: "ZZZZZZZZ"}} {
			c := dialFakeClient(t, r.addr)
			must(t, c.send(header{version: minorOne, typ: typ, seqNo: 1, sessionID: 7}, m))
			if _, err := c.receive(new(authenReply)); err != nil && typ == typeAuthen {
				t.Error(err)
			}
		}
	}
	must(t, r.stop())
	if messages := r.stderr.String(); strings.Contains(messages, "Z") || strings.Contains(messages, " 5a") || strings.Count(messages, "received from") != 9 {
		t.Errorf("the dump shows\n%s", messages)
	}
}

// TestDumperKeepsMessage: a dump does not change the packet.
func TestDumperKeepsMessage(t *testing.T) {
	t.Parallel()
	for _, row := range wireTable() {
		if _, ok := row.message.(*header); ok {
			continue
		}
		before, body := fresh(row.message), unhex(t, row.wire)
		must(t, decode(body, before))
		var out strings.Builder
		(&dumper{out: &out}).packet("sent to", newServer("tac1", 49), &header{}, body, before)
		if after, err := encoded(before); err != nil || string(after) != string(unhex(t, row.wire)) {
			t.Errorf("%s: got %x, %v, want %s", row.name, after, err, row.wire)
		}
	}
}

// TestDumperConcurrent: packets of several connections are not mixed.
func TestDumperConcurrent(t *testing.T) {
	var busy, packets atomic.Int32
	tracer := &dumper{out: writerFunc(func(p []byte) {
		if busy.Add(1) > 1 || bytes.Count(p, []byte("session_id")) != 1 {
			t.Error("two packets at once")
		}
		packets.Add(1)
		time.Sleep(time.Millisecond)
		busy.Add(-1)
	})}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			tracer.packet("sent to", newServer("tac1", 49), &header{}, []byte{1, 0, 0, 0, 0, 0}, new(authenReply))
		})
	}
	if all.Wait(); packets.Load() != 8 {
		t.Errorf("%d packets", packets.Load())
	}
}

func TestDumperNil(t *testing.T) {
	var d *dumper
	d.packet("sent to", server{}, nil, nil, nil) // must not panic, since most runs have no dump
}

// TestDumperEvents: -d prints look-ups, the addresses tried and their results before the packets, with the
// time since the start.
func TestDumperEvents(t *testing.T) {
	s := serveWith(t)
	_, port, _ := net.SplitHostPort(s.addr)
	resolveWith(t, dnsOf())
	hosts := runWith(t, secretsInEnv, "", split("authenticate alice nowhere,localhost:PORT -4 -t pap -d", "PORT", port)...)
	resolveWith(t, dnsOf("127.0.0.3", "127.0.0.1"))
	refused := refusedAddr(t)
	got := runWith(t, secretsInEnv, "", split("authenticate alice REFUSED,tac1.test:PORT -4 -t pap -d", "REFUSED", refused, "PORT", port)...)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	secure := serveWith(t, "--tls", "--write-cacert", ca)
	overTLS := runWith(t, secretsInEnv, "", split("authenticate alice AT -t pap -d --tls --cacert CA", "AT", secure.addr, "CA", ca)...)
	for name, tt := range map[string]struct {
		got   runResult
		lines []string
	}{
		"clear": {got, []string{`connecting to ` + regexp.QuoteMeta(refused), `not connected: connection refused`, `resolving tac1\.test`, `resolved: \[127\.0\.0\.3 127\.0\.0\.1\]`,
			`connecting to 127\.0\.0\.3:` + port, `not connected: connection refused`, `connecting to ` + regexp.QuoteMeta(s.addr), `connected from 127\.0\.0\.1:\d+`,
			`sent to tac1\.test:` + port + `: .*`, `received from tac1\.test:` + port + `: .*`}},
		"TLS":   {overTLS, []string{`connecting to .*`, `connected from .*`, `TLS handshake done: TLS 1\.3 TLS_\w+`, `sent to .*`, `received from .*`}},
		"hosts": {hosts, []string{`resolving nowhere`, `not resolved: .+`, `resolving localhost`, `resolved: \[[0-9.: ]*127\.0\.0\.1[0-9.: ]*\]`, `connecting to .*`, `connected from .*`, `sent to .*`, `received from .*`}},
	} {
		var lines []string
		last := -1.0
		for line := range strings.Lines(tt.got.err) {
			if line = strings.TrimSpace(line); line[0] == '+' {
				at, what, _ := strings.Cut(line[1:], " ")
				lines = append(lines, what)
				if since, err := strconv.ParseFloat(at, 64); err != nil || since < last {
					t.Errorf("%s: %s after %f", name, line, last)
				} else {
					last = since
				}
			}
		}
		if tt.got.code != classGranted.exit() || len(lines) != len(tt.lines) {
			t.Errorf("%s: got %d %s", name, tt.got.code, tt.got.err)
			continue
		}
		for i, want := range tt.lines {
			if !regexp.MustCompile(`^` + want + `$`).MatchString(lines[i]) {
				t.Errorf("%s: got %s, want %s", name, lines[i], want)
			}
		}
	}
}
