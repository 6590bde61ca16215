package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"reflect"
	"regexp"
	"slices"
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
		seqs: [2]uint32{1e6 * uint32(len(t.frames)), 0xffffff00 + 1e6*uint32(len(t.frames))}, key: key, version: minorDefault}
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
func (w *tapeWire) segment(from int, flags tcpFlags, data []byte) {
	ip := tcpIP(w.ends[from], w.ends[1-from], w.seqs[from], w.seqs[1-from], flags, string(data))
	w.at = w.at.Add(time.Millisecond)
	w.frames = append(w.frames, frame{at: w.at, link: linkRawIP, data: ip, size: len(ip)})
	if w.seqs[from] += uint32(len(data)); flags&(flagSYN|flagFIN) != 0 {
		w.seqs[from]++
	}
}

func (w *tapeWire) say(from int, data []byte) { w.segment(from, flagACK, data) }

// packet is one packet of a session: those with odd numbers are the client's.
func (w *tapeWire) packet(id uint32, seqNo uint8, m message) []byte {
	own := reflect.New(reflect.TypeOf(m).Elem()) // tests share messages, and encoding writes to one
	own.Elem().Set(reflect.ValueOf(m).Elem())
	return packed(header{version: w.version, typ: typeOf(m), seqNo: seqNo, flags: w.flags, sessionID: id}, w.key, own.Interface().(message))
}

// session sends a START or REQUEST and what follows, the first one with the number 1.
func (w *tapeWire) session(id uint32, messages ...message) *tapeWire {
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

func typeOf(m message) packetType {
	switch m.(type) {
	case *authorRequest, *authorResponse:
		return typeAuthor
	case *acctRequest, *acctReply:
		return typeAcct
	}
	return typeAuthen
}

func versionOf(m message) version {
	if start, ok := m.(*authenStart); ok {
		return start.typ.minor()
	}
	return minorDefault
}

// manySessions is a capture of n sessions of all kinds from many devices, half of them in single-connection
// mode.
func manySessions(n int, key string) []byte {
	t := newTape()
	who := commonFields{privLvl: 15, typ: authenASCII, service: authenServiceLogin, user: "alice", port: "tty0", remAddr: "203.0.113.77"}
	args := []string{"service=shell", "cmd=show", "cmd-arg=running-config", "cmd-arg=<cr>"}
	record := append([]string{"task_id=12345", "start_time=1763892000", "timezone=UTC"}, args...)
	kinds := [][]message{
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
func decodeWith(t *testing.T, capture []byte, options string, pairs ...string) runResult {
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
	showRun    = &authorRequest{authenMethodTACACSPlus, commonFields{privLvl: 15, typ: authenASCII, service: authenServiceLogin, user: "bob", port: "tty2", remAddr: "::1"},
		[]string{"service=shell", "cmd=show", "cmd-arg=run", "cmd-arg=<cr>"}}
	stopRecord = &acctRequest{acctStop, authenMethodTACACSPlus, commonFields{privLvl: 1, typ: authenASCII, service: authenServiceLogin, user: "bob", port: "tty2", remAddr: "::1"},
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
		{"a packet a byte at a time", func(t *tape) {
			w := t.connect(deviceAddr, serverAddr, testKey)
			for i, m := range []message{papStart("alice", testPassword), passed} {
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
			w.seqs[1] += 18 // bytes that nobody took
			w.session(2, papStart("bob", testPassword), passed).end()
		}, "bob authenticate pap PASS (1.0 ms)\nalice authenticate pap CUT\n"},
		{"a gap that the end of the input shows", func(t *tape) {
			w := t.connect(deviceAddr, serverAddr, testKey).session(1, papStart("alice", testPassword))
			w.seqs[1] += 5
			w.say(1, w.packet(1, 2, passed))
		}, "alice authenticate pap PASS (1.0 ms)\n"},
		{"a gap of several packets", func(t *tape) {
			w := t.connect(deviceAddr, serverAddr, testKey).session(1, asciiStart("alice"), askForPass)
			w.seqs[0] += 60
			w.seqs[1] += 40
			w.say(0, w.packet(1, 7, says(testPassword)))
			w.say(1, w.packet(1, 8, passed))
			w.end()
		}, "alice authenticate ascii PASS (1.0 ms)\n"},
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
			t.connect("198.51.100.7:41235", serverAddr, testKey).say(0, []byte("\x17\x00\x00hello, this is no TLS"))
		}, ""},
		{"a gap, and from then on sessions may begin in the middle", func(t *tape) {
			w := t.connect(deviceAddr, serverAddr, testKey)
			w.seqs[0] += 40
			w.say(1, w.packet(1, 2, recorded)) // the first packet that was seen begins no session: others are missing
			w.session(2, stopRecord, recorded)
			w.say(1, w.packet(3, 2, recorded))
			w.say(1, w.packet(4, 0, recorded)) // there is no number 0
			w.end()
		}, "- account SUCCESS\nbob account stop task_id=7 service=shell SUCCESS (1.0 ms)\n- account SUCCESS\n"},
		{"junk behind a packet", func(t *tape) {
			w := t.wire(deviceAddr, serverAddr, testKey).session(1, papStart("alice", testPassword), passed)
			w.say(0, append(w.packet(2, 1, papStart("bob", testPassword)), "junk"...))
			w.say(1, append(w.packet(2, 2, passed), "junk"...))
		}, "alice authenticate pap PASS (1.0 ms)\nbob authenticate pap PASS (1.0 ms)\n"},
		{"an absurd length", func(t *tape) {
			w := t.connect(deviceAddr, serverAddr, testKey).session(1, papStart("alice", testPassword))
			w.say(1, []byte{0xc1, 1, 2, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff})
			w.say(1, w.packet(1, 2, passed))
			w.end()
		}, "alice authenticate pap PASS (2.0 ms)\n"},
		{"from the middle of what has no header for long", func(t *tape) {
			for _, size := range []int{maxUnrecognized - 10_000, maxUnrecognized + 10_000} {
				w := t.wire(fmt.Sprintf("10.0.0.1:%d", size/2), serverAddr, testKey)
				for ; size > 0; size -= 10_000 {
					w.say(0, []byte(long(min(size, 10_000))))
				}
				w.say(0, []byte("x"))
				w.session(1, papStart("alice", testPassword), passed)
			}
		}, "10.0.0.1:27768 > 192.0.2.1:49 alice authenticate pap PASS (1.0 ms)\n"},
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

// TestDecodeRepeatedSecrets: a server that repeats a password makes no secret of it public.
func TestDecodeRepeatedSecrets(t *testing.T) {
	t.Parallel()
	tape := newTape()
	w := tape.connect(deviceAddr, serverAddr, testKey)
	no := &authenReply{status: authenFail, serverMsg: "bad password " + testPassword + "!"}
	w.session(1, papStart("alice", testPassword), no)
	w.session(2, asciiStart(""), askForUser, says("alice"), askForPass, says(testPassword), no).end()
	for options, shown := range map[string]bool{"": false, "-v -d": false, "--json -d": false, "-d --show-secrets": true} {
		got := decodeWith(t, tape.pcap(), options)
		if n := strings.Count(got.out, "FAIL"); n != 2 || strings.Count(got.out, "bad password [redacted]!") != 2 {
			t.Errorf("%s: %d sessions have failed:\n%s", options, n, got.out)
		}
		if strings.Contains(got.out, testPassword) || strings.Contains(got.err, testPassword) != shown {
			t.Errorf("%s: the password is told, or not:\n%s%s", options, got.out, got.err)
		}
	}
}

// TestDecodeStrays: packets that belong to no session, or not now, change none.
func TestDecodeStrays(t *testing.T) {
	t.Parallel()
	tape := newTape()
	w := tape.connect(deviceAddr, serverAddr, testKey).session(1, asciiStart("alice"), askForPass)
	w.say(1, w.packet(1, 2, passed))                           // a number that was
	w.say(1, w.packet(2, 2, passed))                           // another session
	w.say(1, w.packet(1, 4, recorded))                         // another type
	w.say(1, w.packet(1, 8, passed))                           // a number too high
	w.say(1, w.packet(5, 1, papStart("eve", "x")))             // from the wrong side: no packet at all
	w.say(0, w.packet(5, 2, passed))                           // likewise
	w.say(0, w.packet(1, 3, says(testPassword)))               // the dialogue goes on
	w.say(1, w.packet(1, 4, passed))                           // and ends
	w.say(1, w.packet(1, 4, &authenReply{status: authenFail})) // once
	w.end()
	decodeWith(t, tape.pcap(), "--json").check(t, 0, `.*"status":"PASS","server_ms":2,"total_ms":9,"packets":4,"key":"TACACS_PLUS_KEY"\}\n`,
		`(?s).*\ntacacs_plus: not read: packets that belong to no session: 5\n`)
}

// TestDecodeOneDirection: what servers said is shown also where nothing of their clients was captured but that
// they connected.
func TestDecodeOneDirection(t *testing.T) {
	t.Parallel()
	tape := newTape()
	for _, from := range []int{0, 1} {
		w := tape.wire(deviceAddr, serverAddr, testKey)
		w.seqs[0]++
		w.segment(1, flagSYN|flagACK, nil)
		if from == 1 {
			w.seqs[0] += 40
			w.say(1, w.packet(1, 2, passed))
		} else {
			w.say(0, w.packet(1, 1, papStart("alice", testPassword)))
			w.seqs[1] += 18
		}
		w.end()
	}
	decodeWith(t, tape.pcap(), "").check(t, 0, `\S+ `+deviceAddr+` > `+serverAddr+` alice authenticate pap CUT\n`+
		`\S+ `+deviceAddr+` > `+serverAddr+` - authenticate PASS\n`, `(?s).*sessions: 2\n.*missing bytes: 58\n`)
}

// TestDecodeStraysInDebug: -d shows them all the same.
func TestDecodeStraysInDebug(t *testing.T) {
	t.Parallel()
	tape := newTape()
	w := tape.connect(deviceAddr, serverAddr, testKey).session(1, asciiStart("alice"), askForPass)
	w.say(1, w.packet(1, 4, recorded))
	if got := decodeWith(t, tape.pcap(), "-d"); !strings.Contains(got.err, "version 0xc.0 type accounting seq_no 4 flags none session_id 00000001 length 5\ntacacs_plus: ") {
		t.Error(got.err)
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
	w = tape.connect("10.0.0.6:1000", serverAddr, "nobody knows this one").session(8, asciiStart("erin"))
	w.key = testKey // too late
	w.say(1, w.packet(8, 2, askForPass))
	w.say(0, w.packet(8, 3, says(testPassword)))
	w.say(1, w.packet(8, 4, &authenReply{status: authenPass, serverMsg: "erin is in"}))
	w.end()
	dir := writeFiles(t, map[string]string{"one": testKey + "\n", "two": other, "list": "\nnot this one\r\n" + third + "\n" + other + "\n" + testKey, "wrong": "x\ny\n"})
	for _, tt := range []struct {
		options string
		env     map[string]string
		code    exitCode
		keys    string // of the sessions, in the order of their end
		err     string
	}{
		{"--key-file DIR/one --key-list DIR/list", nil, 0, "DIR/one DIR/list:3 DIR/list:4 DIR/list:4 NO_KEY:carol NO_KEY: NO_KEY: NO_KEY:", ".*sessions that fit no key: 4\n"},
		{"--key-list DIR/list", nil, 0, "DIR/list:5 DIR/list:3 DIR/list:4 DIR/list:4 NO_KEY:carol NO_KEY: NO_KEY: NO_KEY:", ".*"},
		{"--key-file DIR/two --key-file DIR/one", nil, 0, "DIR/one NO_KEY: DIR/two DIR/two NO_KEY:carol NO_KEY: NO_KEY: NO_KEY:", ".*"},
		{"-k CMD --key-file DIR/two", nil, 0, "the command line NO_KEY: DIR/two DIR/two NO_KEY:carol NO_KEY: NO_KEY: NO_KEY:", ".*"},
		{"", map[string]string{"TACACS_PLUS_KEY": testKey}, 0, "TACACS_PLUS_KEY NO_KEY: NO_KEY: NO_KEY: NO_KEY:carol NO_KEY: NO_KEY: NO_KEY:", ".*"},
		{"--key-list DIR/wrong", nil, 5, "NO_KEY: NO_KEY: NO_KEY: NO_KEY: NO_KEY: NO_KEY: NO_KEY: NO_KEY:",
			"tacacs_plus: sessions that fit no key: 8\ntacacs_plus: no session fits any key that was given\ntacacs_plus: hint: .*DIR/wrong:1.*\n"},
		{"", nil, 0, "NO_KEY: NO_KEY: NO_KEY: NO_KEY: NO_KEY: NO_KEY: NO_KEY: NO_REPLY:", ".*no key was given: headers and timing only.*\n"},
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
		if strings.Contains(got.out, "erin is in") {
			t.Errorf("%s: a session that fits no key has words of its server", tt.options)
		}
		for _, secret := range []string{testKey, other, third, testPassword} {
			if strings.Contains(got.out+got.err, secret) {
				t.Errorf("%s: it tells a secret", tt.options)
			}
		}
	}
}

// TestWrongKeysAreNotBelieved tries many wrong keys on sessions of all kinds, also on packets so long that
// their lengths add up by chance now and then.
func TestWrongKeysAreNotBelieved(t *testing.T) {
	t.Parallel()
	var list strings.Builder
	for i := range 300 {
		fmt.Fprintf(&list, "wrong key number %d\n", i)
	}
	dir := writeFiles(t, map[string]string{"list": list.String()})
	big := papStart(long(200), long(110))
	big.port, big.remAddr = long(130), long(120)
	much := *stopRecord
	much.args = strings.Split(strings.Repeat("a="+long(126)+" ", 128)+"z=", " ")
	tape := newTape()
	const sessions = 300
	for i := range uint32(sessions) {
		w := tape.connect(fmt.Sprintf("10.0.%d.%d:1000", i>>8, i&0xff), serverAddr, testKey)
		switch i % 6 {
		case 0:
			w.session(i, big)
		case 1:
			w.session(i, big, passed)
		case 2:
			w.session(i, asciiStart("alice"), askForPass, says(testPassword), passed)
		case 3:
			w.session(i, showRun, &authorResponse{status: authorPassAdd})
		case 4:
			w.session(i, stopRecord, recorded)
		case 5:
			w.session(i, &much, recorded)
		}
		w.end()
	}
	got := decodeWith(t, tape.pcap(), "--json --key-list DIR/list --key-list DIR/list", "DIR", dir)
	if n := strings.Count(got.out, `"status":"NO_KEY"`); n != sessions || strings.Contains(got.out, `"user"`) || strings.Contains(got.out, `"key"`) {
		t.Errorf("%d sessions of %d fit no key", n, sessions)
	}
	if got.code != 5 || !strings.Contains(got.err, "no session fits any key that was given\n") {
		t.Errorf("it ends with %d: %s", int(got.code), got.err)
	}
	// The right one among them reads all.
	got = decodeWith(t, tape.pcap(), "--json --key-list DIR/list -k KEY", "DIR", dir, "KEY", testKey)
	if n := strings.Count(got.out, `"key":"the command line"`); n != sessions || got.code != 0 {
		t.Errorf("%d sessions of %d are read, and it ends with %d", n, sessions, int(got.code))
	}
}

// TestDecodeDebug: every packet as text, on standard error; secrets only where they are asked for.
func TestDecodeDebug(t *testing.T) {
	t.Parallel()
	tape := newTape()
	tape.connect(deviceAddr, serverAddr, testKey).session(0xabc, asciiStart("alice"), askForPass, says(testPassword), passed).end()
	tape.connect(deviceAddr, serverAddr, "another key").session(2, stopRecord).end()
	got := decodeWith(t, tape.pcap(), "-d")
	for _, want := range []string{
		"2026-11-23T10:00:00.004Z 198.51.100.7:41234 > 192.0.2.1:49: version 0xc.0 type authentication seq_no 1 flags none session_id 00000abc length 17\n  action: LOGIN\n",
		"2026-11-23T10:00:00.005Z 192.0.2.1:49 > 198.51.100.7:41234: version 0xc.0 type authentication seq_no 2 ",
		"  server_msg: Password: \n", "  user_msg: [redacted 9 bytes]\n", "  status: PASS\n",
		"type accounting seq_no 1 flags none session_id 00000002 length 43\ntacacs_plus: ", // nothing of what was not read
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

// TestDecodeDebugOnFullDisk: what -d cannot show is told by the exit code; the lines are all there.
func TestDecodeDebugOnFullDisk(t *testing.T) {
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

// TestDecodeDebugOrder: where both streams are one, a line follows its packets.
func TestDecodeDebugOrder(t *testing.T) {
	t.Parallel()
	tape := newTape()
	tape.connect(deviceAddr, serverAddr, testKey).session(1, papStart("alice", testPassword), passed).session(2, papStart("bob", testPassword), passed).end()
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

// TestDecodeDebugOrderOfFiles: what is wrong with a file is said behind its packets.
func TestDecodeDebugOrderOfFiles(t *testing.T) {
	t.Parallel()
	long, short := newTape(), newTape()
	w := long.connect(deviceAddr, serverAddr, testKey)
	for i := range uint32(100) {
		w.session(i, papStart("alice", testPassword), passed)
	}
	short.connect("198.51.100.8:41234", serverAddr, testKey).session(100, papStart("bob", testPassword), passed)
	dir := writeFiles(t, map[string]string{"none": "\x00\x01\x02\x03", "cut": string(long.pcap()) + "x", "whole": string(short.pcap())})
	got := runWith(t, map[string]string{"TACACS_PLUS_KEY": testKey}, "", "decode", "-d", dir+"/none", dir+"/cut", dir+"/whole")
	wrong, before, after := strings.Index(got.err, "/cut at offset"), strings.LastIndex(got.err, "session_id 00000063"), strings.Index(got.err, "session_id 00000064")
	if before < 0 || wrong < before || after < wrong {
		t.Errorf("at %d, and the packets at %d and %d of\n%s", wrong, before, after, got.err)
	}
}

// TestPromises: one MD5 is enough to turn nearly every wrong key away, and no right one. The one that fits a
// client is the first that is tried for its next session.
func TestPromises(t *testing.T) {
	d := &decoder{clients: make(map[netip.Addr]*decodeClient), keys: []key{{value: testKey}}}
	for i := range 2000 {
		d.keys = append(d.keys, key{value: fmt.Sprint("wrong", i)})
	}
	for i, m := range []message{papStart("alice", testPassword), asciiStart(""), passed, askForPass, says(testPassword), says(""), showRun, stopRecord, recorded,
		&authorResponse{status: authorPassAdd}, &authorResponse{status: authorPassAdd, args: []string{"a=b"}}, &authorResponse{status: authorPassRepl, args: strings.Split(strings.Repeat("a=b ", 40)+"c=d", " ")}} {
		h := header{version: minorDefault, typ: typeOf(m), seqNo: 2, sessionID: uint32(i)}
		switch m.(type) {
		case *authenStart, *authorRequest, *acctRequest:
			h.seqNo = 1
		case *authenContinue:
			h.seqNo = 3
		}
		body := packed(h, testKey, m)[headerLen:]
		believed := 0
		for k := range d.keys {
			if d.lengthsMatch(&h, body, k) {
				believed++
			} else if k == 0 {
				t.Errorf("%T: the right key is turned away", m)
			}
		}
		limit := 4
		if r, ok := m.(*authorResponse); ok && len(r.args) > 1 {
			limit = 80 // one byte tells: the status
		}
		if believed > limit {
			t.Errorf("%T: %d keys of %d seem right", m, believed, len(d.keys))
		}
	}
	body, next := packed(header{version: minorDefault, typ: typeAuthor, seqNo: 1}, testKey, showRun)[headerLen:], 0
	if n := testing.AllocsPerRun(900, func() {
		for range 2 {
			d.lengthsMatch(&header{version: minorDefault, typ: typeAuthor, seqNo: 1}, body, next)
			next++
		}
	}); n > 0 {
		t.Errorf("%v allocations for two wrong keys", n)
	}
	tape := newTape()
	tape.connect(deviceAddr, serverAddr, "wrong1000").session(1, stopRecord, recorded)
	d, inv, _ := decoderOf(t, tape.pcap(), "-q")
	for i := range 2000 {
		d.keys = append(d.keys, key{value: fmt.Sprint("wrong", i)})
	}
	d.readFiles(t.Context(), inv, []string{"-"})
	if who := d.clientOf(netip.MustParseAddr("198.51.100.7")); d.keys[who.key].value != "wrong1000" {
		t.Errorf("next time %s is tried first", d.keys[who.key].value)
	}
}

// TestCredible: what a message may say, as far as RFC 8907 and its draft know.
func TestCredible(t *testing.T) {
	t.Parallel()
	good := commonFields{privLvl: 15, typ: authenMSCHAPv2, service: 9, user: "Zo\u00eb", port: "tty0", remAddr: "::1"}
	with := func(change func(*commonFields)) commonFields {
		who := good
		change(&who)
		return who
	}
	login := func(change func(*commonFields)) message {
		return &authenStart{action: authenLogin, commonFields: with(change)}
	}
	same := func(*commonFields) {}
	for _, tt := range []struct {
		m    message
		want bool
	}{
		{login(same), true},
		{&authenStart{action: 4, commonFields: good}, true}, // SENDAUTH
		{&authenStart{action: 3, commonFields: good}, false},
		{login(func(s *commonFields) { s.privLvl = 16 }), false},
		{login(func(s *commonFields) { s.typ = 0 }), true},
		{login(func(s *commonFields) { s.typ = 4 }), true}, // ARAP
		{login(func(s *commonFields) { s.typ = 7 }), false},
		{login(func(s *commonFields) { s.service = 4 }), true},
		{login(func(s *commonFields) { s.service = 10 }), false},
		{login(func(s *commonFields) { s.user = "a\x00" }), false},
		{login(func(s *commonFields) { s.user = "a\xff" }), false},
		{login(func(s *commonFields) { s.port = "\n" }), false},
		{login(func(s *commonFields) { s.remAddr = "\u0085" }), false},
		{&authenReply{status: authenFollow, flags: authenNoEcho}, true},
		{&authenReply{status: 8}, false},
		{&authenReply{status: authenPass, flags: 2}, false},
		{&authenContinue{flags: authenAbort}, true},
		{&authenContinue{flags: 2}, false},
		{&authorRequest{method: 0x20, commonFields: good}, true},
		{&authorRequest{method: 7, commonFields: good}, false},
		{&authorRequest{commonFields: with(func(s *commonFields) { s.privLvl = 16 })}, false},
		{&authorResponse{status: authorFail}, true},
		{&authorResponse{status: 3}, false},
		{&acctRequest{flags: acctStop | 1, method: 6, commonFields: good}, true}, // the lowest bit counts for nothing
		{&acctRequest{flags: 0x0e, method: 6, commonFields: good}, false},
		{&acctRequest{flags: acctStop, method: 7, commonFields: good}, false},
		{&acctRequest{flags: acctStop, commonFields: with(func(s *commonFields) { s.privLvl = 16 })}, false},
		{&acctReply{status: acctFollow}, true},
		{&acctReply{status: 3}, false},
	} {
		if got := plausible(tt.m); got != tt.want {
			t.Errorf("%T %+v is credible: %t", tt.m, tt.m, got)
		}
	}
}

// TestDecodeVerbose is the third form of a line, and -q, which has none.
func TestDecodeVerbose(t *testing.T) {
	t.Parallel()
	tape := newTape()
	tape.connect(deviceAddr, serverAddr, testKey).session(1, showRun, &authorResponse{status: authorPassAdd}).end()
	decodeWith(t, tape.pcap(), "-v").check(t, 0, `2026-11-23T10:00:00.004Z 198.51.100.7:41234 > 192.0.2.1:49 bob authorize service=shell cmd=show cmd-arg=run cmd-arg=<cr> priv_lvl=15 port=tty2 rem_addr=::1 PASS_ADD \(1.0 ms\)`+"\n",
		"tacacs_plus: frames: 8, conversations of TACACS\\+: 1, sessions: 1\n")
	decodeWith(t, tape.pcap(), "-q").check(t, 0, "", "")
	decodeWith(t, tape.pcap(), "-q -k wrong").check(t, 5, "", "(?s)tacacs_plus: no session fits any key.*")
}

// TestDecodeFiles reads several files as one, and all up to what is wrong with them.
func TestDecodeFiles(t *testing.T) {
	t.Parallel()
	tape := newTape()
	tape.connect(deviceAddr, serverAddr, testKey).session(1, asciiStart("alice"), askForPass, says(testPassword), passed).end()
	first, second := &tapeOf{tape.frames[:6]}, &tapeOf{tape.frames[6:]}
	whole := string(tape.pcap())
	dir := writeFiles(t, map[string]string{"a": string(first.pcap()), "b": string(second.pcap()), "cut": whole[:len(whole)-1], "none": "\x00\x01\x02\x03", "empty": ""})
	const line = `2026-11-23T\S+ 198.51.100.7:41234 > 192.0.2.1:49 alice authenticate ascii `
	for _, tt := range []struct {
		files, stdin string
		code         exitCode
		out, err     string
	}{
		{"DIR/a DIR/b", "", 0, line + `PASS \(2.0 ms\)\n`, `tacacs_plus: frames: 10, conversations of TACACS\+: 1, sessions: 1\n`},
		{"-", whole, 0, line + `PASS \(2.0 ms\)\n`, `.*\n`},
		{"", whole, 0, line + `PASS \(2.0 ms\)\n`, `.*\n`},
		{"DIR/a", "", 0, line + `NO_REPLY \(1.0 ms\)\n`, `.*\n`},
		{"DIR/cut", "", 2, line + `PASS \(2.0 ms\)\n`, `tacacs_plus: frames: 9, .*\ntacacs_plus: DIR/cut at offset \d+: the input ends in the middle of a record\n`},
		{"-k wrong DIR/cut", "", 2, `.* NO_KEY .*\n`, `(?s).*DIR/cut at offset \d+: .*`},
		{"DIR/none DIR/a DIR/empty - DIR/b", "junk\xff", 2, line + `PASS \(2.0 ms\)\n`,
			`tacacs_plus: DIR/empty is empty\ntacacs_plus: standard input is no capture.*\ntacacs_plus: frames: 10, .*\ntacacs_plus: DIR/none is no capture.*\ntacacs_plus: hint: .*\n`},
		{"DIR/absent", "", 2, ``, `tacacs_plus: frames: 0, .*\ntacacs_plus: read the capture: open DIR/absent: .*\n`},
	} {
		got := runWith(t, map[string]string{"TACACS_PLUS_KEY": testKey}, tt.stdin, split("decode "+tt.files, "DIR", dir)...)
		got.check(t, tt.code, tt.out, strings.ReplaceAll(tt.err, "DIR", dir))
	}
}

// A tapeOf is a part of a tape.
type tapeOf struct{ frames []frame }

func (t *tapeOf) pcap() []byte { return (&tape{frames: t.frames}).pcap() }

// TestDecodeHexText: what -d of the client prints can be read, too, and has neither addresses nor times.
func TestDecodeHexText(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	w := newTape().wire(deviceAddr, serverAddr, testKey)
	for i, m := range []message{asciiStart("alice"), askForPass, says(testPassword), passed} {
		packet := w.packet(1, uint8(1+i), m)
		for at := 0; at < len(packet); at += 16 {
			fmt.Fprintf(&text, "%04x  % x\n", at, packet[at:min(at+16, len(packet))])
		}
		text.WriteString("\n")
	}
	decodeWith(t, []byte(text.String()), "").check(t, 0, "alice authenticate ascii PASS\n", `tacacs_plus: frames: 4, .*\n`)
	decodeWith(t, []byte(text.String()), "--json").check(t, 0, `\{"session_id":"00000001","user":"alice",.*,"packets":4,"key":"TACACS_PLUS_KEY"\}`+"\n", `.*\n`)
	if got := decodeWith(t, []byte(text.String()), "-d"); strings.Contains(got.err, "0001-") || !strings.Contains(got.err, "  status: PASS\n") {
		t.Error(got.err)
	}
	decodeWith(t, []byte(text.String()), "--summary").check(t, 0, `(?s).*unknown +all +1 +- +- +-\n.*`, `.*\n`)
}

// TestDecodeUsage is what decode does not take.
func TestDecodeUsage(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"empty": "\n\n", "long": long(maxKeyListLine + 1), "log": "not a key log\n", "huge": strings.Repeat(long(1000)+"\n", maxKeyListFile/1000)})
	for _, tt := range []struct{ options, message string }{
		{"-u alice", "--username is for a client, not for decode"},
		{"--timeout 3", "--timeout is for a client, not for decode"},
		{"--tls", "--tls is for a client, not for decode"},
		{"--cert x", "--cert is for a client, not for decode"},
		{"--cacert x", "--cacert is for a client, not for decode"},
		{"--password x", "--password is for a client, not for decode"},
		{"-q --json", "--quiet goes with neither --verbose nor --json"},
		{"--key-file -", "the capture and the key cannot both come from standard input"},
		{"--key-list - -", "the capture and the list of keys cannot both come from standard input"},
		{"--keylog -", "the capture and the key log cannot both come from standard input"},
		{"- -", "the capture and the capture cannot both come from standard input"},
		{"--key-file - --key-list - x", "the key and the list of keys cannot both come from standard input"},
		{"--key-list DIR/empty", "there are no keys in DIR/empty"},
		{"--key-list DIR/long", "a line of the list of keys DIR/long is over 4096 bytes"},
		{"--key-list DIR/huge", "the list of keys DIR/huge is over 8388608 bytes"},
		{"--key-list DIR/absent", "read the list of keys: open DIR/absent: .*"},
		{"--key-list DIR", "read the list of keys: .*"},
		{"--keylog DIR/absent", "read the key log: open DIR/absent: .*"},
		{"--keylog DIR/log", "line 1 of the key log DIR/log .*"},
		{"--port 0", "option --port: .*"},
		{"-k ''", "the key is empty"},
	} {
		got := runWith(t, nil, "", split("decode "+tt.options, "DIR", dir)...)
		got.check(t, 2, `(?:\{.*\}\n)?`, `tacacs_plus: `+strings.ReplaceAll(tt.message, "DIR", dir)+`\n(?:tacacs_plus: hint: .*\n)?`)
	}
}

// TestDecodePort: --port says which conversations count; those may be anything then.
func TestDecodePort(t *testing.T) {
	t.Parallel()
	tape := newTape()
	tape.connect(deviceAddr, serverAddr, testKey).session(1, papStart("alice", testPassword), passed).end()
	tape.connect(deviceAddr, "192.0.2.1:4949", testKey).session(2, papStart("bob", testPassword), passed).end()
	for options, want := range map[string]string{"": "alice bob", "--port 49": "alice", "--port 4949": "bob", "-p 50": ""} {
		got := decodeWith(t, tape.pcap(), "--json "+options)
		var users []string
		for _, m := range regexp.MustCompile(`"user":"(\w+)"`).FindAllStringSubmatch(got.out, -1) {
			users = append(users, m[1])
		}
		if strings.Join(users, " ") != want {
			t.Errorf("%s: %s", options, got.out)
		}
	}
}

// TestDecodeTLS: with the key log, what TLS carries is TACACS+; what is not read is said.
func TestDecodeTLS(t *testing.T) {
	t.Parallel()
	name := "tac1.example"
	serverName := append([]byte{0, 0}, prefixed(2, prefixed(2, append([]byte{0}, prefixed(2, []byte(name)...)...)...)...)...)
	talk := func(t *tape, client, server string, alert string) (keys string) {
		m := makeTLS(serverName...)
		w := t.connect(client, server, "")
		for _, hello := range m.hellos {
			w.say(hello.from, hello.data)
		}
		for from, s := range m.handshake {
			w.say(from, s.seal(recordHandshake, "Finished", 0))
		}
		w.version, w.flags = minorOne, flagUnencrypted
		w.say(0, m.traffic[0].data(string(w.packet(1, 1, papStart("alice", testPassword)))))
		w.say(1, m.traffic[1].data(string(w.packet(1, 2, passed))))
		lost := m.traffic[0].data("a record that is not in the capture")
		w.seqs[0] += uint32(len(lost))
		w.say(0, m.traffic[0].data(string(w.packet(2, 1, papStart("bob", testPassword)))))
		w.say(1, m.traffic[1].data(string(w.packet(2, 2, passed))))
		if alert != "" {
			w.say(1, m.traffic[1].seal(recordAlert, alert, 0))
		}
		w.end()
		return m.keys
	}
	tape := newTape()
	keys := talk(tape, deviceAddr, "192.0.2.1:300", "")
	talk(tape, "198.51.100.8:41234", "192.0.2.1:443", "\x02\x50")
	refused := tape.connect("198.51.100.9:41234", "192.0.2.1:300", "")
	refused.say(0, makeTLS().hellos[0].data)
	refused.say(1, clearRecord(recordAlert, []byte{2, 70}))
	refused.end()
	dir := writeFiles(t, map[string]string{"log": keys})
	const at = `2026-11-23T10:00:00.\d+Z `
	decodeWith(t, tape.pcap(), "--keylog DIR/log", "DIR", dir).check(t, 0,
		at+`198.51.100.7:41234 > 192.0.2.1:300 alice authenticate pap PASS \(1.0 ms\)\n`+at+`198.51.100.7:41234 > 192.0.2.1:300 bob authenticate pap PASS( \(1.0 ms\))?\n`+
			at+`198.51.100.8:41234 > 192.0.2.1:443 alice authenticate pap PASS \(1.0 ms\)\n`+at+`198.51.100.8:41234 > 192.0.2.1:443 bob authenticate pap PASS( \(1.0 ms\))?\n`+
			at+`198.51.100.8:41234 > 192.0.2.1:443 TLS for tac1.example; alert: internal error \(from the server\)\n`+
			at+`198.51.100.9:41234 > 192.0.2.1:300 TLS; alert: protocol version not supported \(from the server\)\n`,
		`tacacs_plus: frames: \d+, conversations of TACACS\+: 2, sessions: 4\ntacacs_plus: not read: missing bytes: \d+\n`)
	const notRead = `TLS for tac1.example was not read: there is no key log \(--keylog\)`
	decodeWith(t, tape.pcap(), "").check(t, 0,
		at+`198.51.100.7:41234 > 192.0.2.1:300 `+notRead+`\n`+
			at+`198.51.100.9:41234 > 192.0.2.1:300 TLS was not read: there is no key log \(--keylog\); alert: protocol version not supported \(from the server\)\n`,
		`tacacs_plus: frames: \d+, conversations of TACACS\+: 0, sessions: 0\ntacacs_plus: not read: missing bytes: \d+, TLS conversations of other ports \(--port says which is TACACS\+\): 1\n`)
	decodeWith(t, tape.pcap(), "--summary").check(t, 0, `[^:]*\n`, `(?s).*not read: .*, TLS conversations: 2\n`)
	decodeWith(t, tape.pcap(), "--port 443 --json").check(t, 0,
		`\{"time":"2026-11-23T10:00:00.\d+Z","peer":"198.51.100.8:41234","server":"192.0.2.1:443","error":"`+notRead+`"\}\n`, `(?s).*\n`)
}

// TestDecodeLateSecrets: what waits for a secret is read when the conversation ends, if it is there then.
func TestDecodeLateSecrets(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"log": ""})
	m := makeTLS()
	tape := newTape()
	w := tape.connect(deviceAddr, "192.0.2.1:300", "")
	for _, hello := range m.hellos {
		w.say(hello.from, hello.data)
	}
	w.version, w.flags = minorOne, flagUnencrypted
	w.say(0, m.handshake[0].seal(recordHandshake, "Finished", 0))
	packet := w.packet(1, 1, papStart("alice", testPassword))
	packet[3] = 0 // the flag is missing, and it is in clear all the same
	w.say(0, m.traffic[0].data(string(packet)))
	d, inv, out := decoderOf(t, nil, "--keylog "+dir+"/log")
	for i := range tape.frames {
		d.take(&tape.frames[i])
	}
	if err := os.WriteFile(dir+"/log", []byte(m.keys), 0o600); err != nil {
		t.Fatal(err)
	}
	d.readFiles(t.Context(), inv, nil)
	if want := "2026-11-23T10:00:00.007Z 198.51.100.7:41234 > 192.0.2.1:300 alice authenticate pap NO_REPLY\n"; out.String() != want {
		t.Errorf("%s, not %s", out, want)
	}
}

// TestDecodeSummary: the table, its width, and the object.
func TestDecodeSummary(t *testing.T) {
	t.Parallel()
	tape := newTape()
	for i := range uint32(20) {
		tape.connect(fmt.Sprintf("10.0.0.%d:1000", i), serverAddr, testKey).session(i, papStart("alice", testPassword), passed).end()
	}
	w := tape.connect("[2001:db8:1234:5678:9abc:def0:1234:5678]:41234", "[2001:db8:1234:5678:9abc:def0:1234:5679]:41234", testKey)
	w.session(1, papStart("alice", testPassword))
	tape.at = tape.at.Add(1500 * time.Millisecond)
	w.say(1, w.packet(1, 2, passed))
	w.end()
	for i := range uint32(12) {
		w := tape.connect(fmt.Sprintf("10.0.1.%d:1000", i), serverAddr, "a wrong key").session(1, showRun, &authorResponse{status: authorPassAdd})
		for range i {
			w.session(2+i, stopRecord, recorded)
		}
		w.end()
	}
	tape.connect("10.0.2.1:1000", serverAddr, testKey).session(1, showRun).end()
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
	// A server and a client too many are counted with the others.
	tape = newTape()
	for i := range maxServers + 2 {
		tape.connect("10.0.0.1:1000", fmt.Sprintf("192.0.2.%d:49", i), testKey).session(1, papStart("alice", testPassword), passed).end()
	}
	decodeWith(t, tape.pcap(), "--summary").check(t, 0, `(?s).*\nall others +all +2 +1.0 +1.0 +1.0\n +PASS +2\n`, `.*\n`)
}

// TestDecodeLive: a session is there when it ends, and an interrupt tells what was read until then.
func TestDecodeLive(t *testing.T) {
	t.Parallel()
	tape := newTape()
	w := tape.connect(deviceAddr, serverAddr, testKey).session(1, papStart("alice", testPassword), passed).session(2, papStart("bob", testPassword))
	in, feed := io.Pipe()
	out := new(lockedBuffer)
	said := new(lockedBuffer)
	ctx, interrupt := context.WithCancelCause(t.Context())
	done := make(chan exitCode, 1)
	go func() {
		done <- run(ctx, split("decode"), stdio{in: in, out: out, err: said, env: func(string) string { return testKey }})
	}()
	feed.Write(w.pcap())
	waitUntil(t, "the session is printed", func() bool { return strings.HasSuffix(out.String(), "alice authenticate pap PASS (1.0 ms)\n") })
	interrupt(interruptedBy(2))
	if code := <-done; code != 130 {
		t.Errorf("it ends with %d", int(code))
	}
	if !strings.HasSuffix(out.String(), "bob authenticate pap NO_REPLY\n") || !strings.Contains(said.String(), " sessions: 2\n") {
		t.Errorf("%s%s", out, said)
	}
	feed.Close()
}

// TestDecodeOnFullDisk: lines that cannot be written are an error, and end it.
func TestDecodeOnFullDisk(t *testing.T) {
	t.Parallel()
	said := new(lockedBuffer)
	dir := writeFiles(t, map[string]string{"a": string(manySessions(2000, testKey))})
	code := run(t.Context(), split("decode DIR/a DIR/a DIR/absent", "DIR", dir), stdio{out: fullDisk{}, err: said, env: func(string) string { return testKey }})
	if code != 2 || said.String() != "tacacs_plus: write the lines of sessions: no space left on device\n" {
		t.Errorf("%d: %s", int(code), said)
	}
}

// decoderOf is a decoder as the command makes it, with the key of the tests.
func decoderOf(t testing.TB, capture []byte, options string) (*decoder, *invocation, *lockedBuffer) {
	out := new(lockedBuffer)
	inv, err := parse(commands(), split("decode "+options), stdio{in: bytes.NewReader(capture), out: out, err: io.Discard, env: func(string) string { return testKey }})
	if err != nil {
		t.Fatal(err)
	}
	d, err := new(decodeOptions).decoder(t.Context(), inv)
	if err != nil {
		t.Fatal(err)
	}
	return d, inv, out
}

// checkEmpty demands that nothing is held when all is over.
func (d *decoder) checkEmpty(t testing.TB) {
	t.Helper()
	if d.open.n != 0 || d.open.eldest != nil || d.open.newest != nil || d.kept != 0 || d.partial != 0 || d.tlsOpen != 0 {
		t.Errorf("%d sessions are open, with %d bytes, %d bytes are held, %d TLS conversations are open", d.open.n, d.kept, d.partial, d.tlsOpen)
	}
}

// TestDecodeBounds: what is held is bounded, what is given up for that is counted, and its sessions are
// printed all the same.
func TestDecodeBounds(t *testing.T) {
	t.Parallel()
	much := *stopRecord
	much.args = strings.Split(strings.Repeat("a="+long(250)+" ", 200)+"z=", " ")
	body, err := encoded(&much)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name              string
		tape              func(t *tape)
		sessions, dropped int
		held              func(d *decoder) bool // within its bound
	}{
		{"sessions of one connection", func(t *tape) {
			w := t.connect(deviceAddr, serverAddr, testKey)
			for i := range uint32(maxDialogues + 100) {
				w.session(i, papStart("alice", "x"))
			}
		}, maxDialogues + 100, 100, func(d *decoder) bool { return d.open.n <= maxDialogues }},
		{"sessions that were not read, and have a reply", func(t *tape) {
			w := t.connect(deviceAddr, serverAddr, "another key")
			for i := range uint32(maxDialogues + 100) {
				w.session(i, asciiStart("alice"), passed)
			}
		}, maxDialogues + 100, 0, func(d *decoder) bool { return d.open.n <= maxDialogues }},
		{"sessions of all connections", func(t *tape) {
			for i := range maxOpenAll/1000 + 1 {
				w := t.connect(fmt.Sprintf("10.0.0.%d:1000", i), serverAddr, testKey)
				for j := range uint32(1000) {
					w.session(j, papStart("alice", "x"))
				}
			}
		}, (maxOpenAll/1000 + 1) * 1000, (maxOpenAll/1000+1)*1000 - maxOpenAll, func(d *decoder) bool { return d.open.n <= maxOpenAll }},
		{"bytes of their requests", func(t *tape) {
			w := t.connect(deviceAddr, serverAddr, testKey)
			for i := range uint32(100) {
				w.session(i, &much)
			}
		}, 100, 100 - maxKeptAll/len(body), func(d *decoder) bool { return d.kept <= maxKeptAll }},
		{"packets that are not whole", func(t *tape) {
			for i := range 100 {
				w := t.connect(fmt.Sprintf("10.0.0.%d:1000", i), serverAddr, testKey)
				packet := w.packet(1, 1, &much)
				w.say(0, packet[:50_000])
			}
		}, 0, 100 - maxPartialAll/50_000, func(d *decoder) bool { return d.partial <= maxPartialAll }},
		{"TLS conversations", func(t *tape) {
			for i := range maxDecodedTLS + 10 {
				t.connect(fmt.Sprintf("10.0.%d.%d:1000", i>>8, i&0xff), "192.0.2.1:300", "").say(0, []byte{recordHandshake, 3, 1, 0, 10})
			}
		}, 0, 10, func(d *decoder) bool { return d.tlsOpen <= maxDecodedTLS }},
	} {
		tape := newTape()
		tt.tape(tape)
		d, inv, out := decoderOf(t, tape.pcap(), "-q")
		d.log.out = newQueuedWriter(t.Context(), out)
		for i := range tape.frames {
			if d.take(&tape.frames[i]); !tt.held(d) {
				t.Fatalf("%s: the bound is passed at frame %d", tt.name, i)
			}
		}
		inv.std.in = strings.NewReader("")
		d.readFiles(t.Context(), inv, nil)
		if n := strings.Count(out.String(), " NO_"); d.count.sessions != tt.sessions || n != tt.sessions || d.count.dropped != tt.dropped {
			t.Errorf("%s: %d sessions, of which %d are printed, and %d things were dropped", tt.name, d.count.sessions, n, d.count.dropped)
		}
		d.checkEmpty(t)
	}
	// A packet that came in pieces leaves no memory behind.
	tape := newTape()
	w := tape.connect(deviceAddr, serverAddr, testKey)
	packet := w.packet(1, 1, &much)
	w.say(0, packet[:40_000])
	w.say(0, packet[40_000:])
	held, _, _ := decoderOf(t, nil, "-q")
	for i := range tape.frames {
		held.take(&tape.frames[i])
	}
	for _, c := range held.tcp.conversations {
		if s := c.owner.(*tacacsStream).directions[0]; cap(s.held) > 0 || held.count.sessions != 0 || held.open.n != 1 {
			t.Errorf("%d bytes are kept for nothing", cap(s.held))
		}
	}
	// Clients for which there is no room are one.
	d := &decoder{clients: make(map[netip.Addr]*decodeClient)}
	for i := range maxClients + 2 {
		d.clientOf(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
	}
	if len(d.clients) != maxClients || d.clientOf(netip.MustParseAddr("10.0.64.1")) != &d.others || d.clientOf(netip.MustParseAddr("10.0.0.1")) == &d.others {
		t.Errorf("%d clients are kept", len(d.clients))
	}
}

// TestDecodeLinesBounds: records that wait for being written are bounded in number, and in what they keep.
func TestDecodeLinesBounds(t *testing.T) {
	t.Parallel()
	d, _, _ := decoderOf(t, nil, "-q")
	for range 2*maxLines + 1 {
		d.print(new(sessionRecord), 0)
	}
	for _, kept := range []int{maxLinesKept - 1, 1, maxLinesKept - 1} {
		d.print(new(sessionRecord), kept)
	}
	var loads []int
	for len(d.lines.filled) > 0 {
		loads = append(loads, len((<-d.lines.filled).records))
	}
	if want := []int{maxLines, maxLines, 3}; !slices.Equal(loads, want) || len(d.lines.chunk.records) != 1 {
		t.Errorf("%d records are on their way, not %d, and %d wait", loads, want, len(d.lines.chunk.records))
	}
	// A record keeps its request and the reply.
	tape := newTape()
	w := tape.connect(deviceAddr, serverAddr, testKey)
	request, reply := w.packet(1, 1, showRun), w.packet(1, 2, &authorResponse{status: authorFail, serverMsg: long(5000)})
	w.say(0, request)
	w.say(1, reply)
	d, _, _ = decoderOf(t, nil, "-q")
	for i := range tape.frames {
		d.tcp.add(&tape.frames[i])
	}
	d.consume(d.pipe.chunk)
	if got, want := d.lines.chunk.kept, len(request)+len(reply)-2*headerLen; got != want || d.kept != 0 {
		t.Errorf("%d bytes are kept by a line and %d by sessions, not %d and 0", got, d.kept, want)
	}
}

// TestDecodeAllocations: in a connection that is known, a session costs the text of its messages and
// nothing else.
func TestDecodeAllocations(t *testing.T) {
	tape := newTape()
	w := tape.connect(deviceAddr, serverAddr, testKey)
	for i := range uint32(2000) {
		w.session(i, papStart("alice", testPassword), passed)
	}
	d, _, _ := decoderOf(t, nil, "-q")
	stop := d.startStages()
	next := 0
	one := func() {
		for range 2 {
			d.tcp.add(&tape.frames[next])
			next++
		}
	}
	for next < 1000 {
		one()
	}
	if n := testing.AllocsPerRun(1000, one); n > 2 {
		t.Errorf("%v allocations for a session of two packets", n)
	}
	stop()
	if d.count.fitted < 1400 {
		t.Errorf("%d sessions were read", d.count.fitted)
	}
}

// take does at once with a frame what else three goroutines do.
func (d *decoder) take(f *frame) {
	d.tcp.add(f)
	for len(d.pipe.filled) > 0 {
		b := <-d.pipe.filled
		d.consume(b)
		d.pipe.emptied <- b
	}
	d.consume(d.pipe.chunk)
	d.write(d.lines.chunk)
}

// FuzzDecodeCommand: whatever a capture holds, decode ends, within its bounds and with an exit code of its own, and
// its lines are printable.
func FuzzDecodeCommand(f *testing.F) {
	whole := manySessions(6, testKey)
	f.Add(whole, "")
	f.Add(whole[:len(whole)-9], "--json")
	tape := newTape()
	w := tape.wire(deviceAddr, serverAddr, testKey)
	w.say(0, w.packet(9, 1, showRun)[7:])
	w.flags = flagUnencrypted
	w.session(1, asciiStart(""), askForUser, says("a\x1bb"), askForPass)
	w.seqs[1] += 10
	w.say(1, w.packet(1, 6, passed))
	m := makeTLS()
	tls := tape.connect("198.51.100.9:41234", "192.0.2.1:300", "")
	for _, hello := range m.hellos {
		tls.say(hello.from, hello.data)
	}
	f.Add(tape.pcap(), "-d")
	f.Add(tape.pcap(), "--summary")
	f.Add([]byte("0000 c0 01 01 01 00 00 00 01 00 00 00 00\n"), "-v")
	f.Fuzz(func(t *testing.T, capture []byte, options string) {
		for _, word := range strings.Fields(options) {
			if !slices.Contains([]string{"-d", "-v", "--json", "--summary", "--port=49"}, word) {
				return
			}
		}
		said, out := new(lockedBuffer), new(lockedBuffer)
		code := run(t.Context(), split("decode "+options), stdio{in: bytes.NewReader(capture), out: out, err: said, env: func(string) string { return testKey }})
		if code != 0 && code != 2 && code != 5 {
			t.Errorf("it ends with %d: %s", int(code), said)
		}
		for _, text := range []string{out.String(), said.String()} {
			if escapeLines(text) != text {
				t.Errorf("%q has what is not printable", text)
			}
		}
		d, inv, _ := decoderOf(t, capture, "-q")
		d.readFiles(t.Context(), inv, []string{"-"})
		d.checkEmpty(t)
	})
}

// BenchmarkDecodeSessions is what a session of a capture costs.
func BenchmarkDecodeSessions(b *testing.B) {
	const sessions = 5000
	capture := manySessions(sessions, testKey)
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		d, inv, _ := decoderOf(b, capture, "-q")
		if d.readFiles(b.Context(), inv, []string{"-"}) != nil || d.count.fitted != sessions {
			b.Fatal(d.count)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/sessions, "ns/session")
}
