package main

import (
	"fmt"
	"net/netip"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

// A lineTest compares the lines of a capture. The time, deviceAddr and serverAddr are left out.
type lineTest struct {
	name, options string
	tape          func(t *captureBuilder)
	lines         string
}

func (tt *lineTest) run(t *testing.T) {
	t.Helper()
	tape := newCaptureBuilder()
	tt.tape(tape)
	got := decodeWith(t, tape.pcap(), tt.options)
	lines := regexp.MustCompile(`(?m)^2026-11-23T10:00:\d\d\.\d{3}Z `).ReplaceAllString(got.out, "")
	if lines = strings.ReplaceAll(lines, deviceAddr+" > "+serverAddr+" ", ""); lines != tt.lines {
		t.Errorf("%s: got %d\n%swant\n%s%s", tt.name, int(got.code), lines, tt.lines, got.err)
	}
}

// header returns the bytes of a header.
func (h header) bytes() []byte {
	var c codec
	h.layout(&c)
	return c.buf
}

// TestDecodeViolation: a reply with another UNENCRYPTED flag than the request is not the server's verdict (RFC 8907 section
// 10.5.2), whatever its body is.
func TestDecodeViolation(t *testing.T) {
	t.Parallel()
	const forged = "alice authenticate pap VIOLATION: UNENCRYPTED reply to an obfuscated request (10.5.2) (1.0 ms)\n"
	login := func(t *captureBuilder) *builtConn {
		return t.openConn(deviceAddr, serverAddr, testKey).session(1, papStart("alice", testPassword))
	}
	for _, tt := range []lineTest{
		{"a reply in clear", "", func(t *captureBuilder) {
			w := login(t)
			w.flags = flagUnencrypted
			w.send(1, w.packet(1, 2, &authenReply{status: authenPass, serverMsg: "welcome"}))
		}, forged},
		{"a flag on a reply that fits the key", "", func(t *captureBuilder) {
			w := login(t)
			packet := w.packet(1, 2, passed)
			packet[atFlags] = byte(flagUnencrypted)
			w.send(1, packet)
		}, forged},
		{"an empty reply", "", func(t *captureBuilder) {
			w := login(t)
			w.send(1, header{version: minorOne, typ: typeAuthen, seqNo: 2, flags: flagUnencrypted, sessionID: 1}.bytes())
		}, forged},
		{"without the key", "-k wrong", func(t *captureBuilder) {
			w := login(t)
			w.flags = flagUnencrypted
			w.send(1, w.packet(1, 2, passed))
		}, "- authenticate VIOLATION: UNENCRYPTED reply to an obfuscated request (10.5.2) (1.0 ms)\n"},
		{"a prompt in clear", "", func(t *captureBuilder) {
			w := t.openConn(deviceAddr, serverAddr, testKey).session(1, asciiStart("alice"), askForPass, answerWith(testPassword))
			w.flags = flagUnencrypted
			w.send(1, w.packet(1, 4, passed))
		}, "alice authenticate ascii VIOLATION: UNENCRYPTED reply to an obfuscated request (10.5.2) (2.0 ms)\n"},
		{"an obfuscated reply to a request in clear", "", func(t *captureBuilder) {
			w := t.openConn(deviceAddr, serverAddr, testKey)
			w.flags = flagUnencrypted
			w.session(1, papStart("alice", testPassword))
			w.flags = 0
			w.send(1, w.packet(1, 2, passed))
		}, "alice authenticate pap VIOLATION: obfuscated reply to an UNENCRYPTED request (10.5.2) (1.0 ms)\n"},
	} {
		tt.run(t)
	}
}

// TestDecodeMinorVersion: a reply in another minor version that fits the key is authentic. A version that RFC 8907 does not
// define is named.
func TestDecodeMinorVersion(t *testing.T) {
	t.Parallel()
	session := func(versions [2]version, key string) func(t *captureBuilder) {
		return func(t *captureBuilder) {
			w := t.openConn(deviceAddr, serverAddr, testKey)
			for i, m := range []message{papStart("alice", testPassword), &authenReply{status: authenFail, serverMsg: "no"}} {
				if w.version = versions[i]; i == 1 {
					w.key = key
				}
				w.send(i, w.packet(1, uint8(1+i), m))
			}
		}
	}
	for _, tt := range []lineTest{
		{"another version", "", session([2]version{minorOne, minorDefault}, testKey),
			"alice authenticate pap FAIL: no (1.0 ms); minor version differs (5.4.1)\n"},
		{"an undefined version of the reply", "", session([2]version{minorOne, 0xc5}, testKey),
			"alice authenticate pap FAIL: no (1.0 ms); minor version differs (5.4.1)\n"},
		{"another version and another key", "", session([2]version{minorOne, minorDefault}, "wrong"),
			"alice authenticate pap NO_KEY (1.0 ms); minor version differs (5.4.1)\n"},
		{"minor version 2", "", session([2]version{0xc2, 0xc2}, testKey),
			"alice authenticate pap FAIL: no (1.0 ms); minor version 2 is not defined (5.4.1)\n"},
		{"minor version 2 without the key", "-k wrong", session([2]version{0xc2, 0xc2}, testKey),
			"- authenticate MALFORMED: minor version 2 is not defined (5.4.1) (1.0 ms)\n"},
		{"minor version 2 without a reply", "", func(t *captureBuilder) {
			w := t.openConn(deviceAddr, serverAddr, testKey)
			w.version = 0xc2
			w.send(0, w.packet(1, 1, papStart("alice", testPassword)))
		}, "alice authenticate pap MALFORMED: minor version 2 is not defined (5.4.1)\n"},
	} {
		tt.run(t)
	}
}

// TestDecodeMalformed: headers and bodies that RFC 8907 does not define have a line.
func TestDecodeMalformed(t *testing.T) {
	t.Parallel()
	unknown := header{version: minorDefault, typ: 9, seqNo: 1, sessionID: 1, length: 5}
	send := func(w *builtConn, from int, h header, body string) { w.send(from, append(h.bytes(), body...)) }
	clear := func(t *captureBuilder) *builtConn {
		w := t.openConn(deviceAddr, serverAddr, testKey)
		w.flags = flagUnencrypted
		return w
	}
	for _, tt := range []lineTest{
		{"an unknown type with its empty reply", "", func(t *captureBuilder) {
			w := t.openConn(deviceAddr, serverAddr, testKey)
			send(w, 0, unknown, "hello")
			reply := unknown
			reply.seqNo, reply.length = 2, 0
			send(w, 1, reply, "")
			w.session(2, papStart("alice", testPassword), passed)
		}, "- type 0x09 MALFORMED: unknown packet type 0x09, empty reply (3.6); the server replied ERROR (1.0 ms)\nalice authenticate pap PASS (1.0 ms)\n"},
		{"an unknown type without a reply, after a session", "", func(t *captureBuilder) {
			w := t.openConn(deviceAddr, serverAddr, testKey).session(2, papStart("alice", testPassword), passed)
			send(w, 0, unknown, "hello")
		}, "alice authenticate pap PASS (1.0 ms)\n- type 0x09 MALFORMED: unknown packet type 0x09\n"},
		{"seq_no 0", "-v", func(t *captureBuilder) {
			w := t.openConn(deviceAddr, serverAddr, testKey)
			w.send(0, w.packet(1, 0, papStart("alice", testPassword)))
		}, "- authenticate protection=obfuscated frames=4 MALFORMED: seq_no 0 (4.1)\n"},
		{"a body over the limit", "", func(t *captureBuilder) {
			w := t.openConn(deviceAddr, serverAddr, testKey)
			send(w, 0, header{version: minorDefault, typ: typeAcct, seqNo: 1, sessionID: 1, length: 65536}, "hello")
		}, "- account MALFORMED: a body of 65536 bytes, over the limit of 65535\n"},
		{"a reply over the limit", "", func(t *captureBuilder) {
			w := t.openConn(deviceAddr, serverAddr, testKey).session(1, papStart("alice", testPassword))
			send(w, 1, header{version: minorOne, typ: typeAuthen, seqNo: 2, sessionID: 1, length: 1 << 31}, "hello")
		}, "alice authenticate pap MALFORMED: a body of 2147483648 bytes, over the limit of 65535\n"},
		{"a reply over the limit to no session", "", func(t *captureBuilder) {
			w := t.openConn(deviceAddr, serverAddr, testKey).session(1, papStart("alice", testPassword), passed)
			send(w, 1, header{version: minorOne, typ: typeAuthen, seqNo: 2, sessionID: 7, length: 1 << 31}, "hello")
		}, "alice authenticate pap PASS (1.0 ms)\n- authenticate MALFORMED: a body of 2147483648 bytes, over the limit of 65535\n"},
		{"a request in clear that does not add up", "", func(t *captureBuilder) {
			w := clear(t)
			w.version = minorOne
			packet := w.packet(1, 1, papStart("alice", testPassword))
			packet[headerLen+4]++
			w.send(0, packet)
			w.send(1, w.packet(1, 2, &authenReply{status: authenError, serverMsg: "what?"}))
		}, "- authenticate MALFORMED: the body cannot be read: lengths do not add up; the server replied ERROR (1.0 ms)\n"},
		{"a reply in clear that does not add up", "-k wrong", func(t *captureBuilder) {
			w := clear(t).session(1, papStart("alice", testPassword))
			packet := w.packet(1, 2, passed)
			packet[headerLen+3]++
			w.send(1, packet)
		}, "alice authenticate pap MALFORMED: the body cannot be read: lengths do not add up (1.0 ms)\n"},
		{"a flag on obfuscated bodies", "-v", func(t *captureBuilder) {
			w := t.openConn(deviceAddr, serverAddr, testKey)
			w.version = minorOne
			for i, m := range []message{papStart("alice", testPassword), passed} {
				packet := w.packet(1, uint8(1+i), m)
				packet[atFlags] = byte(flagUnencrypted)
				w.send(i, packet)
			}
		}, "alice authenticate pap priv_lvl=1 port=tty1 rem_addr=192.0.2.7 action=login service=login protection=clear frames=4,5 PASS (1.0 ms); UNENCRYPTED flag on an obfuscated body\n"},
		{"bodies in clear without the flag", "-v -k wrong", func(t *captureBuilder) {
			w := t.openConn(deviceAddr, serverAddr, "")
			w.version, w.flags = minorOne, flagUnencrypted
			for i, m := range []message{papStart("alice", testPassword), passed} {
				packet := w.packet(1, uint8(1+i), m)
				packet[atFlags] = 0
				w.send(i, packet)
			}
		}, "alice authenticate pap priv_lvl=1 port=tty1 rem_addr=192.0.2.7 action=login service=login protection=clear frames=4,5 PASS (1.0 ms); body in clear without the UNENCRYPTED flag\n"},
		{"a header and half a body before the end of the connection", "", func(t *captureBuilder) {
			w := t.openConn(deviceAddr, serverAddr, testKey).session(1, papStart("alice", testPassword))
			w.send(1, w.packet(1, 2, passed)[:15])
			w.close()
		}, "alice authenticate pap MALFORMED: the server closed after 3 of 6 bytes of the body (1.0 ms)\n"},
		{"a first header and half a body before the end of the connection", "-v", func(t *captureBuilder) {
			w := t.openConn(deviceAddr, serverAddr, testKey)
			w.send(0, w.packet(1, 1, papStart("alice", testPassword))[:20])
			w.close()
		}, "- authenticate protection=obfuscated frames=4 MALFORMED: the client closed after 8 of 35 bytes of the body\n"},
		{"a first header and a RST", "", func(t *captureBuilder) {
			w := t.openConn(deviceAddr, serverAddr, testKey)
			w.send(0, w.packet(1, 1, papStart("alice", testPassword))[:20])
			w.segment(1, tcpRST, nil)
		}, "- authenticate RESET: by the server\n"},
		{"the frame of a body over the limit", "-v", func(t *captureBuilder) {
			w := t.openConn(deviceAddr, serverAddr, testKey)
			w.send(0, header{version: minorOne, typ: typeAuthen, seqNo: 1, sessionID: 1, length: 1 << 20}.bytes())
		}, "- authenticate protection=obfuscated frames=4 MALFORMED: a body of 1048576 bytes, over the limit of 65535\n"},
		{"a reply after ABORT, a repeated seq_no", "", func(t *captureBuilder) {
			w := t.openConn(deviceAddr, serverAddr, testKey).session(1, asciiStart("alice"), askForPass, &authenContinue{flags: authenAbort})
			w.send(1, w.packet(1, 4, passed))
			w.session(2, asciiStart("bob"), askForPass)
			w.send(1, w.packet(2, 2, askForPass))
			w.send(0, w.packet(2, 3, answerWith(testPassword)))
			w.send(1, w.packet(2, 4, passed))
		}, "alice authenticate ascii ABORT (1.0 ms)\na reply after ABORT in session 00000001\nrepeated seq_no 2 in session 00000002, expected 3\nbob authenticate ascii PASS (2.0 ms)\n"},
	} {
		tt.run(t)
	}
}

// TestDecodeConnections: connections to a port of TACACS+ that never speak it have a line each, those to others none.
func TestDecodeConnections(t *testing.T) {
	t.Parallel()
	build := func(server string) func(t *captureBuilder) {
		return func(t *captureBuilder) {
			connect := func(client string) *builtConn { return t.joinConn(client, server, testKey) }
			w := connect("10.0.0.1:1000")
			w.segment(0, tcpSYN, nil)
			w.segment(1, tcpRST|tcpACK, nil)
			w = connect("10.0.0.2:1000")
			w.segment(0, tcpSYN, nil)
			w.seqs[0]--
			w.segment(0, tcpSYN, nil)
			t.openConn("10.0.0.3:1000", server, testKey).close()
			w = t.openConn("10.0.0.4:1000", server, testKey)
			w.segment(1, tcpRST, nil)
			w = t.openConn("10.0.0.5:1000", server, testKey)
			w.send(1, []byte("SSH-2.0-x\r\n"))
			w.close()
			w = connect("10.0.0.6:1000")
			w.segment(1, tcpACK, nil)
			t.openConn("10.0.0.7:1000", server, testKey)
		}
	}
	const lines = `10.0.0.1:1000 > S REFUSED
10.0.0.3:1000 > S OPEN_CLOSE: closed by the client
10.0.0.4:1000 > S OPEN_CLOSE: closed by the server
10.0.0.5:1000 > S NOT_TACACS: 53 53 48 2d 32 2e 30 2d 78 0d 0a "SSH-2.0-x.."
10.0.0.2:1000 > S SYN_ONLY
10.0.0.7:1000 > S no data, and no end in the capture
`
	at := func(server string) string { return strings.ReplaceAll(lines, " S ", " "+server+" ") }
	for _, tt := range []lineTest{
		{"port 49", "", build(serverAddr), at(serverAddr)},
		{"port 300", "-k wrong", build("192.0.2.1:300"), at("192.0.2.1:300")},
		{"--port", "--port 4949", build("192.0.2.1:4949"), at("192.0.2.1:4949")},
		{"another port", "", build("192.0.2.1:4949"), ""},
		{"a session that is reset", "", func(t *captureBuilder) {
			for i, client := range []string{"10.0.0.1:1000", "10.0.0.2:1000"} {
				w := t.openConn(client, serverAddr, testKey).session(1, papStart("alice", testPassword))
				w.segment(1-i, tcpRST, nil)
			}
			w := t.openConn("10.0.0.3:1000", serverAddr, testKey).session(1, papStart("alice", testPassword))
			w.segment(1, tcpFIN|tcpACK, nil)
			w.segment(0, tcpFIN|tcpACK, nil)
			t.openConn("10.0.0.4:1000", serverAddr, testKey).session(1, asciiStart("bob"), askForPass).segment(1, tcpRST, nil)
		}, "10.0.0.1:1000 > 192.0.2.1:49 alice authenticate pap RESET: by the server\n" +
			"10.0.0.2:1000 > 192.0.2.1:49 alice authenticate pap RESET: by the client\n" +
			"10.0.0.3:1000 > 192.0.2.1:49 alice authenticate pap NO_REPLY: closed by the server\n" +
			"10.0.0.4:1000 > 192.0.2.1:49 bob authenticate ascii ABANDONED: closed by the server (1.0 ms)\n"},
	} {
		tt.run(t)
	}
	tape := newCaptureBuilder()
	build(serverAddr)(tape)
	decodeWith(t, tape.pcap(), "--json").check(t, 0, `(?s)\{"time":"[^"]*","peer":"10.0.0.1:1000","server":"192.0.2.1:49","status":"REFUSED"\}\n.*`, `.*sessions: 0\n`)
	decodeWith(t, tape.pcap(), "--summary").check(t, 0, `server .*\n192.0.2.1:49 +all +0 +- +- +-\n +OPEN_CLOSE +2\n +NOT_TACACS +1\n +REFUSED +1\n +SYN_ONLY +1\n`, `.*sessions: 0\n`)
	tape = newCaptureBuilder()
	tape.openConn(deviceAddr, serverAddr, testKey).session(1, papStart("alice", testPassword)).segment(1, tcpRST, nil)
	decodeWith(t, tape.pcap(), "--summary").check(t, 0, `(?s)server .* RESET +1\n\nclient +sessions without a reply\n198.51.100.7 +1 of 1\n`, `.*sessions: 1\n`)
}

// TestDecodeCut: a session whose packets are not whole in the capture has all that the headers show.
func TestDecodeCut(t *testing.T) {
	t.Parallel()
	build := func(snap int) *captureBuilder {
		tape := newCaptureBuilder()
		w := tape.openConn(deviceAddr, serverAddr, testKey)
		w.session(1, papStart("alice", testPassword), passed).session(2, asciiStart("bob"), askForPass, answerWith(testPassword), passed).
			session(3, showRun, &authorResponse{status: authorPassAdd}).close()
		for i := range tape.frames {
			f := &tape.frames[i]
			f.data = f.data[:min(len(f.data), 40+snap)]
		}
		return tape
	}
	for snap, want := range map[int]string{
		0:   "CUT: no header of the connection is in the capture",
		1:   "CUT: no header of the connection is in the capture",
		2:   "- authenticate CUT - authenticate CUT - authorize CUT",
		7:   "- authenticate CUT - authenticate CUT - authorize CUT",
		8:   "- authenticate CUT - authorize CUT - authenticate CUT",
		12:  "- authenticate CUT - authorize CUT - authenticate CUT",
		18:  "- authenticate PASS - authenticate PASS - authorize PASS_ADD",
		60:  "alice authenticate pap PASS bob authenticate ascii PASS - authorize PASS_ADD",
		200: `alice authenticate pap PASS bob authenticate ascii PASS bob authorize "show run <cr>" PASS_ADD`,
	} {
		got := decodeWith(t, build(snap).pcap(), "")
		lines := regexp.MustCompile(`(?m)^\S+ \S+ > \S+ (.*?)( \(.*\))?\n`).ReplaceAllString(got.out, "$1 ")
		if lines != want+" " || got.code != 0 {
			t.Errorf("%d bytes: got %d %s, want %s\n%s", snap, int(got.code), lines, want, got.err)
		}
	}
	if got := decodeWith(t, build(12).pcap(), "--json").out; strings.Count(got, `"packets":2`) != 2 || strings.Count(got, `"packets":4`) != 1 || strings.Count(got, `"protection":"obfuscated"`) != 3 {
		t.Error(got)
	}
	if got := decodeWith(t, build(2).pcap(), "--json").out; strings.Contains(got, "session_id") || strings.Contains(got, "protection") {
		t.Error(got)
	}
}

// TestDecodeBudget: with all holders of memory filled at once, decode retains at most budgetAll.
func TestDecodeBudget(t *testing.T) {
	dir := writeFiles(t, map[string]string{"log": manySecrets(80_000)})
	m := newFakeTLS()
	before := heapInUse()
	p, _, _ := pipelineOf(t, nil, "-q --keylog "+dir+"/log")
	d, tape := p.decoder, newCaptureBuilder()
	feed := func() {
		p.decodeAll(tape)
		clear(tape.frames)
		tape.frames = tape.frames[:0]
	}
	clients := 0
	conn := func(port uint16) *builtConn {
		clients++
		return tape.openConn(manyClients(clients).String(), netip.AddrPortFrom(serverEnd.Addr(), port).String(), testKey)
	}
	for range budgetConversations/conversationCost - 1000 {
		conn(49).send(0, []byte{byte(minorDefault)}) // the start of a header
		feed()
	}
	args := make([]string, 100)
	for i := range args {
		args[i] = "a=" + long(100)
	}
	request := &authorRequest{commonFields: commonFields{user: "alice"}, args: args}
	for range 10 {
		w := conn(49)
		w.flags = flagUnencrypted
		for id := range uint32(100) {
			w.send(0, w.packet(id+1, 1, request))
		}
		feed()
	}
	cut := conn(49).packet(1, 1, &authenContinue{userMsg: long(60_000)})[:50_000]
	for range 80 {
		conn(49).send(0, cut)
		feed()
	}
	for range 200 {
		w := conn(300).hello(m)
		for range 2 {
			w.send(0, m.traffic[0].data(long(9_000)))
		}
		feed()
	}
	for range 100 {
		w := conn(49)
		w.seqs[0]++ // a byte is missing
		w.send(0, []byte(long(40_000)))
		feed()
	}
	for what, b := range map[string]budget{"conversations": p.tcp.memory, "held segments": p.tcp.held, "partial packets": d.partial,
		"sessions": d.memory, "TLS": d.tlsMemory, "secrets": d.keyLog.memory} {
		if b.used > b.limit || b.used < b.limit*8/10 {
			t.Errorf("%s: %d bytes are counted, the limit is %d", what, b.used, b.limit)
		}
	}
	if retained := int(heapInUse() - before); retained > budgetAll {
		t.Errorf("%d bytes are retained, the limit is %d", retained, budgetAll)
	}
	runtime.KeepAlive(p)
	runtime.KeepAlive(tape)
}

// manySecrets returns a key log of n conversations.
func manySecrets(n int) string {
	const format = "CLIENT_TRAFFIC_SECRET_0 %064x %064x\n"
	var b strings.Builder
	b.Grow(n * len(fmt.Sprintf(format, 0, 0)))
	for i := range n {
		fmt.Fprintf(&b, format, i, i)
	}
	return b.String()
}
