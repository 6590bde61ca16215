package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"
)

// A tape is a capture in the making: a millisecond passes with each frame.
type tape struct {
	at     time.Time
	frames []frame
}

func newTape() *tape { return &tape{at: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)} }

// pcap is the capture as a file.
func (t *tape) pcap() []byte { return pcapOf(binary.LittleEndian, false, t.frames...) }

// A tapeWire is a TCP connection on a tape; end 0 opens it.
type tapeWire struct {
	*tape
	ends [2]netip.AddrPort
	seqs [2]uint32
	key  string

	version version     // of the packets that follow
	flags   headerFlags // likewise
}

// wire is a connection whose packets are obfuscated with key, without its beginning.
func (t *tape) wire(client, server, key string) *tapeWire {
	return &tapeWire{tape: t, ends: [2]netip.AddrPort{netip.MustParseAddrPort(client), netip.MustParseAddrPort(server)},
		seqs: [2]uint32{1000, 0xffffff00}, key: key, version: minorDefault}
}

// connect is a connection from its beginning.
func (t *tape) connect(client, server, key string) *tapeWire {
	w := t.wire(client, server, key)
	w.segment(0, flagSYN, nil)
	w.segment(1, flagSYN|flagACK, nil)
	w.segment(0, flagACK, nil)
	return w
}

// segment is a frame.
func (w *tapeWire) segment(from int, flags tcpFlags, octets []byte) {
	ip := tcpIP(w.ends[from], w.ends[1-from], w.seqs[from], w.seqs[1-from], flags, string(octets))
	w.at = w.at.Add(time.Millisecond)
	w.frames = append(w.frames, frame{at: w.at, link: linkRawIP, data: ip, size: len(ip)})
	if w.seqs[from] += uint32(len(octets)); flags&(flagSYN|flagFIN) != 0 {
		w.seqs[from]++
	}
}

func (w *tapeWire) say(from int, octets []byte) { w.segment(from, flagACK, octets) }

// packet is one packet of a session: those with odd numbers are the client's.
func (w *tapeWire) packet(id uint32, seqNo uint8, m layouter) []byte {
	return packed(header{version: w.version, typ: typeOf(m), seqNo: seqNo, flags: w.flags, sessionID: id}, w.key, m)
}

// session sends a START or REQUEST and what follows, the first one with the number 1.
func (w *tapeWire) session(id uint32, messages ...layouter) *tapeWire {
	w.version = versionOf(messages[0])
	for i, m := range messages {
		w.say(i%2, w.packet(id, uint8(1+i), m))
	}
	return w
}

// end closes the connection.
func (w *tapeWire) end() {
	w.segment(0, flagFIN|flagACK, nil)
	w.segment(1, flagFIN|flagACK, nil)
	w.segment(0, flagACK, nil)
}

func typeOf(m layouter) packetType {
	switch m.(type) {
	case *authorRequest, *authorResponse:
		return typeAuthor
	case *acctRequest, *acctReply:
		return typeAcct
	}
	return typeAuthen
}

func versionOf(m layouter) version {
	if start, ok := m.(*authenStart); ok {
		return start.typ.minor()
	}
	return minorDefault
}

// manySessions is a capture of n sessions of all kinds from many devices, half of them in single-connection
// mode.
func manySessions(n int, key string) []byte {
	t := newTape()
	who := subject{privLvl: 15, typ: authenASCII, service: authenServiceLogin, user: "alice", port: "tty0", remAddr: "203.0.113.77"}
	args := []string{"service=shell", "cmd=show", "cmd-arg=running-config", "cmd-arg=<cr>"}
	record := append([]string{"task_id=12345", "start_time=1763892000", "timezone=UTC"}, args...)
	kinds := [][]layouter{
		{papStart("alice", testPassword), &authenReply{status: authenPass}},
		{asciiStart("alice"), &authenReply{status: authenGetPass, flags: authenNoEcho, serverMsg: "Password: "}, says(testPassword), &authenReply{status: authenPass}},
		{&authorRequest{authenMethodTACACSPlus, who, args}, &authorResponse{status: authorPassAdd}},
		{&acctRequest{acctStop, authenMethodTACACSPlus, who, record}, &acctReply{status: acctSuccess}},
		{papStart("bob", "no"), &authenReply{status: authenFail, serverMsg: "Login incorrect"}},
	}
	var single *tapeWire
	for i := range n {
		client := fmt.Sprintf("10.%d.%d.%d:%d", i>>8&3, i&0xff, 1, 10000+i%50000)
		if i%2 == 0 {
			w := t.connect(client, "192.0.2.1:49", key)
			w.session(uint32(i), kinds[i%len(kinds)]...).end()
			continue
		}
		if i%200 == 1 {
			if single != nil {
				single.end()
			}
			single = t.connect(client, "192.0.2.1:49", key)
		}
		single.session(uint32(i), kinds[i%len(kinds)]...)
	}
	single.end()
	return t.pcap()
}

// decodeWith runs decode with a capture on standard input, and the key of the tests.
func decodeWith(t *testing.T, capture []byte, options string, pairs ...string) outcome {
	t.Helper()
	return runWith(t, map[string]string{"TACACS_PLUS_KEY": testKey}, string(capture), split("decode "+options, pairs...)...)
}

const (
	deviceAddr = "198.51.100.7:41234"
	serverAddr = "192.0.2.1:49"
)

var (
	askForPass = &authenReply{status: authenGetPass, flags: authenNoEcho, serverMsg: "Password: "}
	askForUser = &authenReply{status: authenGetUser, serverMsg: "Username: "}
	passed     = &authenReply{status: authenPass}
	showRun    = &authorRequest{authenMethodTACACSPlus, subject{privLvl: 15, typ: authenASCII, service: authenServiceLogin, user: "bob", port: "tty2", remAddr: "::1"},
		[]string{"service=shell", "cmd=show", "cmd-arg=run", "cmd-arg=<cr>"}}
	stopRecord = &acctRequest{acctStop, authenMethodTACACSPlus, subject{privLvl: 1, typ: authenASCII, service: authenServiceLogin, user: "bob", port: "tty2", remAddr: "::1"},
		[]string{"task_id=7", "service=shell"}}
	recorded = &acctReply{status: acctSuccess}
)

// TestDecode is what comes out of captures. In the lines, the time, the peer and the server of most are
// left out.
func TestDecode(t *testing.T) {
	t.Parallel()
	usual := strings.NewReplacer(deviceAddr+" > "+serverAddr+" ", "")
	stamp := regexp.MustCompile(`(?m)^2026-11-23T10:00:\d\d\.\d{3}Z `)
	for _, tt := range []struct {
		name  string
		tape  func(t *tape)
		lines string
	}{
		{"a login", func(t *tape) {
			t.connect(deviceAddr, serverAddr, testKey).session(1, papStart("alice", testPassword), passed).end()
		}, "alice authenticate pap PASS (1.0 ms)\n"},
		{"a dialogue", func(t *tape) {
			t.connect(deviceAddr, serverAddr, testKey).session(1, asciiStart(""), askForUser, says("alice"), askForPass, says(testPassword), &authenReply{status: authenFail, serverMsg: "no\x1b\n"}).end()
		}, `alice authenticate ascii FAIL: no\x1b (3.0 ms)` + "\n"},
		{"the other two kinds, another port, IPv6", func(t *tape) {
			t.connect("[2001:db8::7]:1024", "[2001:db8::1]:4949", testKey).session(1, showRun, &authorResponse{status: authorFail, serverMsg: "denied by rule 7"}).
				session(2, stopRecord, recorded).end()
		}, "[2001:db8::7]:1024 > [2001:db8::1]:4949 bob authorize \"show run\" FAIL: denied by rule 7 (1.0 ms)\n" +
			"[2001:db8::7]:1024 > [2001:db8::1]:4949 bob account stop task_id=7 service=shell SUCCESS (1.0 ms)\n"},
		{"sessions in each other", func(t *tape) {
			w := t.connect(deviceAddr, serverAddr, testKey)
			w.say(0, append(w.packet(1, 1, asciiStart("alice")), w.packet(2, 1, showRun)...))
			w.say(1, w.packet(2, 2, &authorResponse{status: authorPassAdd}))
			w.say(1, w.packet(1, 2, askForPass))
			w.say(0, append(w.packet(3, 1, stopRecord), w.packet(1, 3, says(testPassword))...))
			w.say(1, append(w.packet(1, 4, passed), w.packet(3, 2, recorded)...))
			w.end()
		}, "bob authorize \"show run\" PASS_ADD (1.0 ms)\nalice authenticate ascii PASS (3.0 ms)\nbob account stop task_id=7 service=shell SUCCESS (1.0 ms)\n"},
		{"a packet an octet at a time", func(t *tape) {
			w := t.connect(deviceAddr, serverAddr, testKey)
			for i, m := range []layouter{papStart("alice", testPassword), passed} {
				for _, o := range w.packet(1, uint8(1+i), m) {
					w.say(i, []byte{o})
				}
			}
			w.end()
		}, "alice authenticate pap PASS (18.0 ms)\n"},
		{"no reply, a prompt nobody answers, and the client gives up", func(t *tape) {
			w := t.connect(deviceAddr, serverAddr, testKey)
			w.session(1, papStart("alice", testPassword))
			w.session(2, asciiStart("bob"), askForPass)
			w.session(3, asciiStart("carol"), askForPass, &authenContinue{flags: authenAbort, data: "user left"})
			w.end()
		}, "carol authenticate ascii ABORT: user left (1.0 ms)\nalice authenticate pap NO_REPLY\nbob authenticate ascii ABANDONED (1.0 ms)\n"},
		{"the end of the input", func(t *tape) {
			t.connect(deviceAddr, serverAddr, testKey).session(1, papStart("alice", testPassword))
		}, "alice authenticate pap NO_REPLY\n"},
		{"a number that is used again", func(t *tape) {
			t.connect(deviceAddr, serverAddr, testKey).session(1, papStart("alice", testPassword)).session(1, papStart("bob", testPassword), passed)
		}, "alice authenticate pap NO_REPLY\nbob authenticate pap PASS (1.0 ms)\n"},
		{"without obfuscation", func(t *tape) {
			w := t.connect(deviceAddr, serverAddr, testKey)
			w.flags = flagUnencrypted
			w.session(1, papStart("alice", testPassword), passed)
		}, "alice authenticate pap PASS (1.0 ms)\n"},
		{"a reply without a body (RFC 8907 section 3.6)", func(t *tape) {
			w := t.connect(deviceAddr, serverAddr, testKey).session(1, papStart("alice", testPassword))
			w.say(1, []byte{0xc1, 1, 2, 0, 0, 0, 0, 1, 0, 0, 0, 0})
		}, "alice authenticate pap ERROR (1.0 ms)\n"},
		{"from the middle of a packet", func(t *tape) {
			w := t.wire(deviceAddr, serverAddr, testKey)
			w.say(0, w.packet(9, 1, showRun)[7:])
			w.session(1, papStart("alice", testPassword), passed)
		}, "alice authenticate pap PASS (1.0 ms)\n"},
		{"from the middle of a session, and the server has the lower port only by its numbers", func(t *tape) {
			w := t.wire(deviceAddr, "192.0.2.1:50000", testKey)
			w.say(1, w.packet(1, 4, passed))
			w.session(2, papStart("alice", testPassword), passed)
		}, deviceAddr + " > 192.0.2.1:50000 - authenticate PASS\n" + deviceAddr + " > 192.0.2.1:50000 alice authenticate pap PASS (1.0 ms)\n"},
		{"a header that is none, in the middle", func(t *tape) {
			w := t.wire(deviceAddr, serverAddr, testKey)
			w.say(0, append([]byte("x\xc0\x01\x01\x00\x00\x00\x00\x01\x00\x00\x00\x03abcdefghi"), w.packet(1, 1, papStart("alice", testPassword))...))
			w.say(1, w.packet(1, 2, passed))
		}, "alice authenticate pap PASS (1.0 ms)\n"},
		{"a gap in a reply", func(t *tape) {
			w := t.connect(deviceAddr, serverAddr, testKey).session(1, papStart("alice", testPassword))
			w.seqs[1] += 18 // octets that nobody took
			w.session(2, papStart("bob", testPassword), passed).end()
		}, "bob authenticate pap PASS (1.0 ms)\nalice authenticate pap CUT\n"},
		{"a gap in a dialogue that goes on", func(t *tape) {
			w := t.connect(deviceAddr, serverAddr, testKey).session(1, asciiStart("alice"), askForPass)
			w.seqs[0] += 30
			w.say(1, w.packet(1, 4, passed))
			w.end()
		}, "alice authenticate ascii PASS (1.0 ms)\n"},
		{"a gap that was of another", func(t *tape) {
			w := t.connect(deviceAddr, serverAddr, testKey).session(1, asciiStart("alice"), askForPass)
			w.seqs[0] += 30
			w.say(0, w.packet(1, 3, says(testPassword)))
			w.end()
		}, "alice authenticate ascii NO_REPLY (1.0 ms)\n"},
		{"what is no TACACS+", func(t *tape) {
			w := t.connect(deviceAddr, serverAddr, testKey)
			w.say(0, []byte("GET / HTTP/1.1\r\n\r\n"))
			w.say(0, w.packet(1, 1, showRun))
			w.end()
		}, ""},
		{"packets that fit no session", func(t *tape) {
			w := t.connect(deviceAddr, serverAddr, testKey).session(1, papStart("alice", testPassword))
			w.say(1, w.packet(2, 2, passed))   // another session
			w.say(1, w.packet(1, 2, recorded)) // another type
			w.say(1, w.packet(1, 8, passed))   // a number too high
			w.say(1, w.packet(1, 2, passed))   // the reply
			w.say(1, w.packet(1, 2, passed))   // and once more
			w.end()
		}, "alice authenticate pap PASS (4.0 ms)\n"},
		{"the server speaks nonsense", func(t *tape) {
			w := t.connect(deviceAddr, serverAddr, testKey).session(1, papStart("alice", testPassword))
			w.say(1, []byte("\x15\x03\x01\x00\x02\x02\x46"))
			w.end()
		}, "alice authenticate pap NO_REPLY\n"},
		{"fields that nobody knows, and a reply that fits", func(t *tape) {
			odd := papStart("a\x1bb", testPassword)
			odd.privLvl, odd.service = 99, 77
			t.connect(deviceAddr, serverAddr, testKey).session(1, odd, passed).session(2, odd)
		}, `"a\x1bb authenticate pap PASS (1.0 ms)` + "\n- authenticate NO_KEY\n"},
	} {
		tape := newTape()
		tt.tape(tape)
		got := decodeWith(t, tape.pcap(), "")
		lines := stamp.ReplaceAllString(got.out, "")
		if want := strings.ReplaceAll(tt.lines, `"a\x1b`, `a\x1b`); usual.Replace(lines) != want || got.code != 0 {
			t.Errorf("%s: %d\n%s, not\n%s%s", tt.name, int(got.code), usual.Replace(lines), want, got.err)
		}
	}
}

// TestDecodeKeys: which of the candidates reads what, and what is left where none does.
func TestDecodeKeys(t *testing.T) {
	t.Parallel()
	const other, third = "the key of another device", "# a third one, with blanks "
	tape := newTape()
	tape.connect("10.0.0.1:1000", serverAddr, testKey).session(1, papStart("alice", testPassword), passed).end()
	tape.connect("10.0.0.2:1000", serverAddr, third).session(2, showRun, &authorResponse{status: authorPassAdd}).end()
	tape.connect("10.0.0.1:1001", serverAddr, other).session(3, asciiStart("bob"), askForPass, says(testPassword), passed).end() // a new key
	tape.connect("10.0.0.1:1002", serverAddr, other).session(4, stopRecord, recorded).end()
	w := tape.connect("10.0.0.3:1000", serverAddr, testKey).session(5, papStart("carol", testPassword))
	w.key = other // the server's
	w.say(1, w.packet(5, 2, passed))
	w.end()
	tape.connect("10.0.0.4:1000", serverAddr, "nobody knows this one").session(6, asciiStart("dave"), askForPass, says(testPassword), passed).end()
	tape.connect("10.0.0.5:1000", serverAddr, "nobody knows this one").session(7, stopRecord)
	dir := writeFiles(t, map[string]string{"one": testKey + "\n", "two": other, "list": "\nnot this one\r\n" + third + "\n" + other + "\n" + testKey, "wrong": "x\ny\n"})
	for _, tt := range []struct {
		options string
		env     map[string]string
		code    exitCode
		keys    string // of the sessions, in the order of their end
		err     string
	}{
		{"--key-file DIR/one --key-list DIR/list", nil, 0, "DIR/one DIR/list:3 DIR/list:4 DIR/list:4 NO_KEY:carol NO_KEY: NO_KEY:", ".*sessions that fit no key: 3\n"},
		{"--key-list DIR/list", nil, 0, "DIR/list:5 DIR/list:3 DIR/list:4 DIR/list:4 NO_KEY:carol NO_KEY: NO_KEY:", ".*"},
		{"--key-file DIR/two --key-file DIR/one", nil, 0, "DIR/one NO_KEY: DIR/two DIR/two NO_KEY:carol NO_KEY: NO_KEY:", ".*"},
		{"-k CMD --key-file DIR/two", nil, 0, "the command line NO_KEY: DIR/two DIR/two NO_KEY:carol NO_KEY: NO_KEY:", ".*"},
		{"", map[string]string{"TACACS_PLUS_KEY": testKey}, 0, "TACACS_PLUS_KEY NO_KEY: NO_KEY: NO_KEY: NO_KEY:carol NO_KEY: NO_KEY:", ".*"},
		{"--key-list DIR/wrong", nil, 5, "NO_KEY: NO_KEY: NO_KEY: NO_KEY: NO_KEY: NO_KEY: NO_KEY:",
			"tacacs_plus: no session fits any key that was given\ntacacs_plus: hint: .*DIR/wrong:1.*\n"},
		{"", nil, 0, "NO_KEY: NO_KEY: NO_KEY: NO_KEY: NO_KEY: NO_KEY: NO_REPLY:", ".*no key was given: headers and timing only.*\n"},
	} {
		got := runWith(t, tt.env, string(tape.pcap()), split("decode --json "+tt.options, "DIR", dir, "CMD", testKey)...)
		var keys []string
		for line := range strings.Lines(got.out) {
			var o recordObject
			if err := json.Unmarshal([]byte(line), &o); err != nil {
				t.Fatal(err)
			}
			keys = append(keys, strings.TrimPrefix(o.Key, dir+"/"))
			if o.Key == "" {
				keys[len(keys)-1] = o.Status + ":" + o.User
			}
			if known := o.AuthenType != ""; known != (o.PrivLvl != nil) || o.Key != "" && !known {
				t.Errorf("%s: %s", tt.options, line)
			}
		}
		want := strings.ReplaceAll(tt.keys, "DIR/", "")
		if strings.Join(keys, " ") != want || got.code != tt.code || !regexp.MustCompile("(?s)^.*"+strings.ReplaceAll(tt.err, "DIR", dir)+"$").MatchString(got.err) {
			t.Errorf("%s: %d\n%s, not\n%s\n%s", tt.options, int(got.code), strings.Join(keys, " "), want, got.err)
		}
		for _, secret := range []string{testKey, other, third, testPassword} {
			if strings.Contains(got.out+got.err, secret) {
				t.Errorf("%s: it tells a secret", tt.options)
			}
		}
	}
}
