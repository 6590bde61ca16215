package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestDialogues goes through whole conversations, packet by packet.
func TestDialogues(t *testing.T) {
	t.Parallel()
	pass := &authenReply{status: authenPass}
	fail := &authenReply{status: authenFail, serverMsg: "Login incorrect"}
	changed := &authenReply{status: authenPass, serverMsg: "Password changed"}
	failure := func(msg string) *authenReply { return &authenReply{status: authenError, serverMsg: msg} }
	undone := func(msg string) *authenReply { return &authenReply{status: authenFail, serverMsg: msg} }
	asks := func(status authenStatus, msg string) *authenReply {
		return &authenReply{status: status, flags: authenNoEcho, serverMsg: msg}
	}
	askPass, askAgain := asks(authenGetPass, "Password: "), asks(authenGetPass, "Password incorrect. Password: ")
	askOld, askNew, askRetype := asks(authenGetData, "Old password: "), asks(authenGetPass, "New password: "), asks(authenGetPass, "Retype new password: ")
	askUser := &authenReply{status: authenGetUser, serverMsg: "Username: "}
	start := func(action authenAction, typ authenType, service authenService, data string) *authenStart {
		return &authenStart{action: action, commonFields: commonFields{typ: typ, service: service, user: "alice"}, data: data}
	}
	challenge := func(typ authenType, n int) string {
		data, err := chapData(typ, "alice", testPassword, 7, bytes.Repeat([]byte{9}, n), bytes.Repeat([]byte{8}, 16))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	ms := challenge(authenMSCHAP, 8)
	emptyLM := ms[:9] + strings.Repeat("\x00", 24) + ms[33:]
	abort := &authenContinue{flags: authenAbort, data: "user left\n"}
	shell := &authorRequest{commonFields: commonFields{user: "alice"}, args: []string{"service=shell", "cmd="}}
	shellAnswer := &authorResponse{status: authorPassAdd, args: []string{"priv-lvl=15"}}
	record := &acctRequest{flags: acctStart, commonFields: commonFields{user: "alice"}, args: []string{"task_id=1", "service=shell"}}
	for _, tt := range []struct {
		name  string
		flags headerFlags
		turns []fakeExchange
		kept  bool   // the connection goes on
		leave bool   // the client goes
		log   string // without the times and the peers
	}{
		{name: "PAP", turns: []fakeExchange{{1, papStart("alice", testPassword), pass, 0}}, log: "alice authenticate pap PASS\n"},
		{name: "authen_service 0", turns: []fakeExchange{{1, start(authenLogin, authenPAP, 0, testPassword), pass, 0}}, log: "alice authenticate pap PASS\n"},
		{name: "ASCII", turns: []fakeExchange{{1, asciiStart("alice"), askPass, 0}, {1, says(testPassword), pass, 0}}, log: "alice authenticate ascii PASS\n"},
		{name: "GETUSER", turns: []fakeExchange{{1, asciiStart(""), askUser, 0}, {1, says("alice"), askPass, 0}, {1, says(testPassword), pass, 0}},
			log: "alice authenticate ascii PASS\n"},
		{name: "three tries", turns: []fakeExchange{{1, asciiStart("alice"), askPass, 0}, {1, says("a"), askAgain, 0}, {1, says(""), askAgain, 0}, {1, says("c"), fail, 0}},
			log: "alice authenticate ascii FAIL: Login incorrect\n"},
		{name: "unknown user", turns: []fakeExchange{{1, asciiStart("eve"), askPass, 0}, {1, says(""), askAgain, 0}, {1, says("b"), askAgain, 0}, {1, says("c"), fail, 0}},
			log: "eve authenticate ascii FAIL: Login incorrect\n"},
		{name: "empty user name", turns: []fakeExchange{{1, asciiStart(""), askUser, 0}, {1, says(""), askPass, 0}, {1, says(""), askAgain, 0}, {1, abort, nil, 0}},
			log: "\"\" authenticate ascii ABORT: user left\n"},
		{name: "ABORT", turns: []fakeExchange{{1, asciiStart("alice"), askPass, 0}, {1, abort, nil, 0}}, log: "alice authenticate ascii ABORT: user left\n"},
		{name: "ABORT with a password", turns: []fakeExchange{{1, asciiStart("alice"), askPass, 0},
			{1, &authenContinue{flags: authenAbort, userMsg: testPassword}, nil, 0}}, log: "alice authenticate ascii ABORT\n"},
		{name: "ABORT, single-connect", flags: flagSingleConnect, kept: true, turns: []fakeExchange{{1, asciiStart("alice"), askPass, 0}, {1, abort, nil, 0},
			{1, says(testPassword), failure("no such session"), 0}}, log: "alice authenticate ascii ABORT: user left\n"},
		{name: "single-connect", flags: flagSingleConnect, kept: true, turns: []fakeExchange{{1, asciiStart("alice"), askPass, 0}, {1, says(testPassword), pass, 0},
			{1, says(testPassword), failure("no such session"), 0}}, log: "alice authenticate ascii PASS\n"},
		{name: "interleaved", flags: flagSingleConnect, kept: true, turns: []fakeExchange{
			{0xffffffff, asciiStart("alice"), askPass, 0}, {0, asciiStart(""), askUser, 0}, {3, papStart("alice", testPassword), pass, 0},
			{0, says("eve"), askPass, 0}, {0xffffffff, says("no"), askAgain, 0}, {4, shell, shellAnswer, 0}, {0, says(testPassword), askAgain, 0},
			{5, record, &acctReply{status: acctSuccess}, 0}, {0xffffffff, says(testPassword), pass, 0}, {0, abort, nil, 0}, {3, papStart("alice", "no"), fail, 0}},
			log: "alice authenticate pap PASS\nalice authorize service=shell cmd= PASS_ADD\nalice account start task_id=1 service=shell SUCCESS\n" +
				"alice authenticate ascii PASS\neve authenticate ascii ABORT: user left\nalice authenticate pap FAIL: Login incorrect\n"},
		{name: "enable", turns: []fakeExchange{{1, start(authenLogin, authenASCII, authenServiceEnable, ""), askPass, 0}, {1, says(testPassword), pass, 0}},
			log: "alice enable ascii PASS\n"},
		{name: "enable by PAP with minor version 0", turns: []fakeExchange{{1, start(authenLogin, authenPAP, authenServiceEnable, testPassword), pass, minorDefault}},
			log: "alice enable pap PASS\n"},
		{name: "CHPASS", flags: flagSingleConnect, turns: []fakeExchange{{1, start(authenChPass, authenASCII, authenServiceLogin, ""), askOld, 0},
			{1, says("no"), asks(authenGetData, "Password incorrect. Old password: "), 0}, {1, says(testPassword), askNew, 0}, {1, says("x"), askRetype, 0}, {1, says("x"), changed, 0},
			{2, papStart("alice", testPassword), fail, 0}, {3, papStart("alice", "x"), pass, 0},
			{4, start(authenChPass, authenASCII, authenServiceLogin, ""), askOld, 0}, {4, says("x"), askNew, 0}, {4, says(testPassword), askRetype, 0}, {4, says(testPassword), changed, 0}},
			kept: true, log: "alice chpass ascii PASS: Password changed\nalice authenticate pap FAIL: Login incorrect\n" +
				"alice authenticate pap PASS\nalice chpass ascii PASS: Password changed\n"},
		{name: "CHPASS, a typing mistake", turns: []fakeExchange{{1, start(authenChPass, authenASCII, authenServiceLogin, ""), askOld, 0}, {1, says(testPassword), askNew, 0},
			{1, says("x"), askRetype, 0}, {1, says("y"), &authenReply{status: authenFail, serverMsg: "The new passwords differ or are empty"}, 0}},
			log: "alice chpass ascii FAIL: The new passwords differ or are empty\n"},
		{name: "CHPASS, nothing", turns: []fakeExchange{{1, start(authenChPass, authenASCII, authenServiceLogin, ""), askOld, 0}, {1, says(testPassword), askNew, 0},
			{1, says(""), askRetype, 0}, {1, says(""), &authenReply{status: authenFail, serverMsg: "The new passwords differ or are empty"}, 0}},
			log: "alice chpass ascii FAIL: The new passwords differ or are empty\n"},
		{name: "CHPASS by PAP", turns: []fakeExchange{{1, start(authenChPass, authenPAP, authenServiceLogin, testPassword), undone("CHPASS is for the type ascii (RFC 8907 section 5.4.2.7)"), 0}},
			log: "alice chpass pap FAIL: CHPASS is for the type ascii (RFC 8907 section 5.4.2.7)\n"},
		{name: "expired", turns: []fakeExchange{{1, asciiStart("old"), askPass, 0}, {1, says(testPassword), askNew, 0}, {1, says("x"), askRetype, 0}, {1, says("x"), changed, 0}},
			log: "old authenticate ascii PASS: Password changed\n"},
		{name: "expired, PAP", turns: []fakeExchange{{1, papStart("old", testPassword), &authenReply{status: authenFail, serverMsg: "Password change required"}, 0}},
			log: "old authenticate pap FAIL: Password change required\n"},
		{name: "CHAP with the shortest challenge", turns: []fakeExchange{{1, start(authenLogin, authenCHAP, 3, challenge(authenCHAP, 1)), pass, 0}}, log: "alice authenticate chap PASS\n"},
		{name: "MS-CHAP", turns: []fakeExchange{{1, start(authenLogin, authenMSCHAP, 3, ms), pass, 0}}, log: "alice authenticate mschap PASS\n"},
		{name: "MS-CHAP without a LAN Manager response", turns: []fakeExchange{{1, start(authenLogin, authenMSCHAP, 3, emptyLM), pass, 0}}, log: "alice authenticate mschap PASS\n"},
		{name: "MS-CHAP v2", turns: []fakeExchange{{1, start(authenLogin, authenMSCHAPv2, 3, challenge(authenMSCHAPv2, 16)), pass, 0}}, log: "alice authenticate mschapv2 PASS\n"},
		{name: "SENDAUTH", turns: []fakeExchange{{1, start(4, authenPAP, 3, testPassword), undone("action SENDAUTH is not supported"), 0}},
			log: "alice authenticate pap FAIL: action SENDAUTH is not supported\n"},
		{name: "ARAP", turns: []fakeExchange{{1, start(authenLogin, 4, 3, testPassword), undone("authen_type 0x04 is not supported"), minorOne}},
			log: "alice authenticate 0x04 FAIL: authen_type 0x04 is not supported\n"},
		{name: "PAP with minor version 0", turns: []fakeExchange{{1, papStart("alice", testPassword), undone("minor version 0 does not go with pap (RFC 8907 section 5.4.1)"), minorDefault}},
			log: "alice authenticate pap FAIL: minor version 0 does not go with pap (RFC 8907 section 5.4.1)\n"},
		{name: "ASCII with minor version 1", turns: []fakeExchange{{1, asciiStart("alice"), undone("minor version 1 does not go with ascii (RFC 8907 section 5.4.1)"), minorOne}},
			log: "alice authenticate ascii FAIL: minor version 1 does not go with ascii (RFC 8907 section 5.4.1)\n"},
		{name: "CONTINUE for an unknown session", turns: []fakeExchange{{1, says(testPassword), failure("no such session"), 0}}},
		{name: "CONTINUE for another session", flags: flagSingleConnect, kept: true,
			turns: []fakeExchange{{1, asciiStart("alice"), askPass, 0}, {2, says(testPassword), failure("no such session"), 0}, {1, says(testPassword), pass, 0}},
			log:   "alice authenticate ascii PASS\n"},
		{name: "abandoned", leave: true, turns: []fakeExchange{{1, asciiStart("alice"), askPass, 0}, {1, says("no"), askAgain, 0}},
			log: "alice authenticate ascii ABANDONED\n"},
		{name: "abandoned without a name", leave: true, flags: flagSingleConnect, turns: []fakeExchange{{1, asciiStart(""), askUser, 0}, {2, asciiStart("eve"), askPass, 0}, {2, abort, nil, 0}},
			log: "eve authenticate ascii ABORT: user left\n\"\" authenticate ascii ABANDONED\n"},
		{name: "accounting flags", turns: []fakeExchange{{1, &acctRequest{flags: 6, commonFields: commonFields{user: "alice"}}, &acctReply{status: acctError, serverMsg: "flags 0x06 are not valid (RFC 8907 section 7.2)"}, 0}},
			log: "alice account 0x06 ERROR: flags 0x06 are not valid (RFC 8907 section 7.2)\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serveWith(t, "--user", "old:"+testPassword, "--must-change", "old")
			c := dialFakeClient(t, s.addr)
			numbers := make(map[uint32]uint8)
			for _, tn := range tt.turns {
				tn.do(t, c, numbers, tt.flags)
			}
			if tt.kept {
				if err := c.login(99, tt.flags); err != nil {
					t.Error(err)
				}
				tt.log += "alice authenticate pap PASS\n"
			} else {
				if tt.leave {
					c.Conn.(*net.TCPConn).CloseWrite()
				}
				c.checkEnd(t)
			}
			if got := stamps.ReplaceAllString(s.log.String(), ""); got != tt.log {
				t.Errorf("the lines are\n%snot\n%s", got, tt.log)
			}
		})
	}
}

// TestSingleConnectFlag reads the flag in the first packet of a connection alone (RFC 8907 section 4.3).
func TestSingleConnectFlag(t *testing.T) {
	t.Parallel()
	const single = flagSingleConnect
	for _, tt := range []struct {
		options   string
		sent, got []headerFlags
	}{
		{"", []headerFlags{single, 0, single}, []headerFlags{single, single, single}},
		{"", []headerFlags{0}, []headerFlags{0}},
		{"", []headerFlags{0xf8 | single, 0xf8}, []headerFlags{single, single}}, // unknown bits are zero in a reply
		{"--fault single-refused", []headerFlags{single}, []headerFlags{0}},
	} {
		s := serveWith(t, split(tt.options)...)
		c := dialFakeClient(t, s.addr)
		for i, flags := range tt.sent {
			h := header{version: minorOne, typ: typeAuthen, seqNo: 1, flags: flags, sessionID: uint32(i)}
			if err := c.send(h, papStart("alice", testPassword)); err != nil {
				t.Fatal(err)
			}
			if h, err := c.receive(new(authenReply)); err != nil || h.flags != tt.got[i] {
				t.Errorf("%v: the flags of reply %d are %s, %v, not %s", tt.sent, i, h.flags, err, tt.got[i])
			}
		}
		if tt.got[0] == single {
			c.Conn.(*net.TCPConn).CloseWrite()
		}
		c.checkEnd(t)
	}
}

// TestSingleConnectFlagOfContinue: after the first packet the flag counts for nothing.
func TestSingleConnectFlagOfContinue(t *testing.T) {
	t.Parallel()
	for _, first := range []headerFlags{0, flagSingleConnect} {
		c := dialFakeClient(t, serveWith(t).addr)
		h := header{version: minorDefault, typ: typeAuthen, seqNo: 1, flags: first}
		for _, m := range []message{asciiStart("alice"), says(testPassword)} {
			if err := c.send(h, m); err != nil {
				t.Fatal(err)
			}
			if got, err := c.receive(new(authenReply)); err != nil || got.flags != first {
				t.Errorf("%+v is answered with the header %+v, %v, not with the flags %s", h, got, err, first)
			}
			h.seqNo, h.flags = 3, first^flagSingleConnect
		}
		if first == 0 {
			c.checkEnd(t)
		} else if err := c.login(2, first); err != nil {
			t.Error(err)
		}
	}
}

// TestBadPackets is what ends a connection: the reply, if any, and the line about it.
func TestBadPackets(t *testing.T) {
	t.Parallel()
	login := papStart("alice", testPassword)
	h := header{version: minorOne, typ: typeAuthen, seqNo: 1, sessionID: 7}
	with := func(change func(h *header)) header { h := h; change(&h); return h }
	inClear := with(func(h *header) { h.flags = flagUnencrypted })
	withType := func(typ packetType, seqNo uint8) []byte {
		return packed(with(func(h *header) { h.typ, h.seqNo = typ, seqNo }), testKey, login)
	}
	author := with(func(h *header) { h.typ = typeAuthor })
	acct := with(func(h *header) { h.typ = typeAcct })
	third := func(h header) header { h.seqNo = 3; return h }
	withLength := func(data string) []byte { return append(unhex(t, "c1 01 01 00 00000007"), data...) }
	const unfit = "a packet that does not fit the key: the component lengths do not add up to the body's length\n"
	const cut = "ended in the middle of a packet\n"
	for _, tt := range []struct {
		name   string
		packet []byte
		want   message // the reply; a header is one without a body
		note   string
	}{
		{"type 0", withType(0, 1), &header{version: minorOne, seqNo: 2, sessionID: 7}, "a packet of type 0x00\n"},
		{"type 4", withType(4, 1), &header{version: minorOne, typ: 4, seqNo: 2, sessionID: 7}, "a packet of type 0x04\n"},
		{"type 255", withType(255, 3), &header{version: minorOne, typ: 255, seqNo: 4, sessionID: 7}, "a packet of type 0xff\n"},
		{"seq_no 0", withType(1, 0), nil, "seq_no 0 is even, as only a server's is\n"},
		{"seq_no 2", withType(1, 2), nil, "seq_no 2 is even, as only a server's is\n"},
		{"seq_no 254", withType(1, 254), nil, "the sequence numbers of a session are used up\n"},
		{"seq_no 255", withType(1, 255), nil, "the sequence numbers of a session are used up\n"},
		{"authorization with seq_no 3", packed(third(author), testKey, &authorRequest{commonFields: commonFields{user: "alice"}}), &authorResponse{status: authorError, serverMsg: "seq_no is not 1"}, ""},
		{"accounting with seq_no 3", packed(third(acct), testKey, &acctRequest{flags: acctStop, commonFields: commonFields{user: "alice"}}), &acctReply{status: acctError, serverMsg: "seq_no is not 1"}, ""},
		{"in clear", packed(inClear, "", login), &authenReply{status: authenError, serverMsg: "UNENCRYPTED flag"}, "the UNENCRYPTED flag does not fit the transport\n"},
		{"wrong key, authentication", packed(h, "wrong", login), &authenReply{status: authenError, serverMsg: "a malformed packet"}, unfit},
		{"wrong key, authorization", packed(author, "wrong", &authorRequest{commonFields: commonFields{user: "alice"}}),
			&authorResponse{status: authorError, serverMsg: "a malformed packet"}, unfit},
		{"wrong key, accounting", packed(acct, "wrong", &acctRequest{commonFields: commonFields{user: "alice"}}),
			&acctReply{status: acctError, serverMsg: "a malformed packet"}, unfit},
		{"another message", packed(author, testKey, &authenContinue{userMsg: "x"}), &authorResponse{status: authorError, serverMsg: "a malformed packet"}, unfit},
		{"no body", withLength("\x00\x00\x00\x00"), &authenReply{status: authenError, serverMsg: "a malformed packet"}, unfit},
		{"a body of 65536 bytes", withLength("\x00\x01\x00\x00"), nil, "a body of 65536 bytes, the limit is 65535\n"},
		{"a body of 2^32-1 bytes", withLength("\xff\xff\xff\xff"), nil, "a body of 4294967295 bytes, the limit is 65535\n"},
		{"a body of 65535 bytes that ends", withLength("\x00\x00\xff\xffxyz"), nil, cut},
		{"half a header", withLength(""), nil, cut},
		{"nothing", nil, nil, ""},
		{"HTTP", []byte("GET / HTTP/1.1\r\nHost: tac1\r\n\r\n"), nil, "not TACACS+: the first byte is 0x47\n"},
		{"TLS", unhex(t, "16 03 01 00c8 01 0000c4 0303 0000000000"), nil, "not TACACS+: the first byte is 0x16\n"},
		{"major version 0xb", unhex(t, "b0 01 01 00 00000007 00000000"), nil, "not TACACS+: the first byte is 0xb0\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serveWith(t)
			c := dialFakeClient(t, s.addr)
			if _, err := c.Write(tt.packet); err != nil {
				t.Fatal(err)
			}
			c.Conn.(*net.TCPConn).CloseWrite()
			switch want := tt.want.(type) {
			case nil:
			case *header:
				if got, _, err := readHeader(c.in); err != nil || got != *want {
					t.Errorf("answered with %+v, %v, not %+v", got, err, *want)
				}
			default:
				got := fresh(want)
				h, err := c.receive(got)
				if err != nil || !reflect.DeepEqual(got, want) || h.seqNo != tt.packet[2]+1 || h.sessionID != 7 {
					t.Errorf("answered with %+v %+v, %v, not %+v", h, got, err, want)
				}
			}
			c.checkEnd(t)
			if got := s.lines(t); got != tt.note {
				t.Errorf("the lines are\n%snot\n%s", got, tt.note)
			}
		})
	}
}

// TestWrongKeyLine names the peer, and says nothing of the key.
func TestWrongKeyLine(t *testing.T) {
	t.Parallel()
	const key = "der Schlüssel, überall länger"
	s := serveWith(t, "--key", key)
	c := dialFakeClient(t, s.addr)
	if err := c.send(header{version: minorOne, typ: typeAuthen, seqNo: 1}, papStart("alice", testPassword)); err != nil {
		t.Fatal(err)
	}
	if h, _, err := readHeader(c.in); err != nil || h.flags&flagUnencrypted != 0 {
		t.Errorf("answered with %+v, %v", h, err)
	}
	s.stop()
	if got := s.log.String(); !strings.Contains(got, c.LocalAddr().String()+" a packet that does not fit the key: ") || strings.Contains(got, key[:8]) || strings.Contains(got, "character") {
		t.Error(got)
	}
}

// TestSessionLines is how an operator sees what a device sends: text, -v and JSON.
func TestSessionLines(t *testing.T) {
	t.Parallel()
	const esc = "\x1b[2J\u009b\r\nalice"
	author := func(args ...string) *authorRequest {
		return &authorRequest{commonFields: commonFields{privLvl: 15, user: "alice", port: "tty 1"}, args: args}
	}
	sessions := []struct {
		say             message
		text, verb, obj string
	}{
		{papStart("alice", testPassword),
			"alice authenticate pap PASS\n",
			"alice authenticate pap priv_lvl=1 port=tty1 rem_addr=192.0.2.7 PASS\n",
			`{"session_id":"00000001","user":"alice","request":"authenticate","authen_type":"pap","priv_lvl":1,"port":"tty1","rem_addr":"192.0.2.7","status":"PASS","packets":2,"key":"TACACS_PLUS_KEY"}` + "\n"},
		{papStart(esc, testPassword),
			`\x1b[2J\xc2\x9b\x0d\nalice authenticate pap FAIL: Login incorrect` + "\n",
			`\x1b[2J\xc2\x9b\x0d\nalice authenticate pap priv_lvl=1 port=tty1 rem_addr=192.0.2.7 FAIL: Login incorrect` + "\n",
			`{"session_id":"00000001","user":"\\x1b[2J\\xc2\\x9b\\x0d\\nalice","request":"authenticate","authen_type":"pap","priv_lvl":1,"port":"tty1","rem_addr":"192.0.2.7","status":"FAIL","server_msg":"Login incorrect","packets":2,"key":"TACACS_PLUS_KEY"}` + "\n"},
		{papStart(`bob" authenticate pap PASS "`, ""),
			`"bob\x22 authenticate pap PASS \x22" authenticate pap FAIL: Login incorrect` + "\n",
			`"bob\x22 authenticate pap PASS \x22" authenticate pap priv_lvl=1 port=tty1 rem_addr=192.0.2.7 FAIL: Login incorrect` + "\n",
			`{"session_id":"00000001","user":"bob\" authenticate pap PASS \"","request":"authenticate","authen_type":"pap","priv_lvl":1,"port":"tty1","rem_addr":"192.0.2.7","status":"FAIL","server_msg":"Login incorrect","packets":2,"key":"TACACS_PLUS_KEY"}` + "\n"},
		{author("service=shell", "cmd=show", "cmd-arg=<tags> & \x1b", "cmd-arg=<cr>"),
			`alice authorize "show <tags> & \x1b" PASS_ADD` + "\n",
			`alice authorize service=shell cmd=show "cmd-arg=<tags> & \x1b" cmd-arg=<cr> priv_lvl=15 port="tty 1" rem_addr="" PASS_ADD` + "\n",
			`{"session_id":"00000001","user":"alice","request":"authorize","authen_type":"not_set","priv_lvl":15,"port":"tty 1","cmd":"show <tags> & \\x1b","arguments":["service=shell","cmd=show","cmd-arg=<tags> & \\x1b","cmd-arg=<cr>"],"status":"PASS_ADD","packets":2,"key":"TACACS_PLUS_KEY"}` + "\n"},
		{author("service=shell", "cmd=reload"),
			`alice authorize reload FAIL: command not permitted` + "\n",
			`alice authorize service=shell cmd=reload priv_lvl=15 port="tty 1" rem_addr="" FAIL: command not permitted` + "\n",
			`{"session_id":"00000001","user":"alice","request":"authorize","authen_type":"not_set","priv_lvl":15,"port":"tty 1","cmd":"reload","arguments":["service=shell","cmd=reload"],"status":"FAIL","server_msg":"command not permitted","packets":2,"key":"TACACS_PLUS_KEY"}` + "\n"},
		{&acctRequest{flags: acctStop, commonFields: commonFields{user: "alice"}, args: []string{"task_id=7", "elapsed_time=3", "service=shell", "cmd=show", "cmd-arg=\x1b[H a"}},
			`alice account stop task_id=7 elapsed_time=3 service=shell cmd=show "cmd-arg=\x1b[H a" SUCCESS` + "\n",
			`alice account stop task_id=7 elapsed_time=3 service=shell cmd=show "cmd-arg=\x1b[H a" priv_lvl=0 port="" rem_addr="" SUCCESS` + "\n",
			`{"session_id":"00000001","user":"alice","request":"account","authen_type":"not_set","flag":"stop","priv_lvl":0,"cmd":"show \\x1b[H a","arguments":["task_id=7","elapsed_time=3","service=shell","cmd=show","cmd-arg=\\x1b[H a"],"status":"SUCCESS","packets":2,"key":"TACACS_PLUS_KEY"}` + "\n"},
	}
	var text, verb, obj string
	for _, s := range sessions {
		text, verb, obj = text+s.text, verb+s.verb, obj+s.obj
	}
	const garbage = "not TACACS+: the first byte is 0x00"
	for options, want := range map[string]string{
		"":          text + garbage + "\n",
		"--verbose": verb + garbage + "\n",
		"--json":    obj + `{"error":"` + garbage + `"}` + "\n",
	} {
		s := serveWith(t, append(split(options), "--deny", "^reload", "--permit", ".")...)
		for _, session := range sessions {
			c := dialFakeClient(t, s.addr)
			fakeExchange{session: 1, say: session.say}.do(t, c, make(map[uint32]uint8), 0)
			if _, err := io.ReadAll(c); err != nil {
				t.Fatal(err)
			}
		}
		c := dialFakeClient(t, s.addr)
		c.Write(make([]byte, headerLen))
		c.checkEnd(t)
		if got := s.lines(t); got != want {
			t.Errorf("%s: the lines are\n%snot\n%s", options, got, want)
		}
	}
}

// TestRecordIsWrittenFirst answers SUCCESS for nothing that is not on standard output.
func TestRecordIsWrittenFirst(t *testing.T) {
	t.Parallel()
	record := &acctRequest{flags: acctStart, commonFields: commonFields{user: "alice"}, args: []string{"task_id=7", "service=shell"}}
	s := serveWith(t)
	c := dialFakeClient(t, s.addr)
	fakeExchange{session: 1, say: record, want: &acctReply{status: acctSuccess}}.do(t, c, make(map[uint32]uint8), 0)
	if got := s.log.String(); !strings.HasSuffix(got, " alice account start task_id=7 service=shell SUCCESS\n") {
		t.Errorf("standard output has %q", got)
	}
	srv := newLab()
	srv.listener.log.out = newQueuedWriter(context.Background(), fullDisk{})
	conn := &stream{Reader: bytes.NewReader(packed(header{version: minorDefault, typ: typeAcct, seqNo: 1}, testKey, record))}
	srv.serve(t.Context(), conn)
	var reply acctReply
	if h, err := (&fakeClient{in: bufio.NewReader(&conn.out), key: testKey}).receive(&reply); err == nil && reply.status != acctError {
		t.Errorf("answered with %+v %+v, although nothing can be written", h, reply)
	}
}

// TestServeRefuses is what serve does not begin with.
func TestServeRefuses(t *testing.T) {
	t.Parallel()
	taken := listen(t).Addr().String()
	dir := writeFiles(t, map[string]string{"bad": "# users\nalice:x\n\nbob\n", "users": "alice:x\n", "empty": "\n"})
	const needs = "--key-file and --user; without them serve listens on loopback only, with a key of its own"
	for _, tt := range []struct {
		env                 map[string]string
		line, message, hint string
		code                exitCode
	}{
		{nil, "--user alice", "user 1 is not NAME:PASSWORD", "", classUsage.exit()},
		{nil, "--user alice:x --user :x", "user 2 is not NAME:PASSWORD", "", classUsage.exit()},
		{nil, "--users-file DIR/bad", "user 2 is not NAME:PASSWORD", "", classUsage.exit()},
		{nil, "--users-file DIR/none", "read the list of users: open DIR/none: no such file or directory", "", classUsage.exit()},
		{nil, "--users-file DIR/empty", "the list of users of DIR/empty is empty", "", classUsage.exit()},
		{nil, "--enable-password-file DIR/empty", "the enable password of DIR/empty is empty", "", classUsage.exit()},
		{nil, "--enable-password-file -", "the enable password of standard input is empty", "", classUsage.exit()},
		{nil, "--listen foo", "--listen \"foo\" is not ADDRESS:PORT", "", classUsage.exit()},
		{secretsInEnv, "--user a:b --listen 127.0.0.1", "--listen \"127.0.0.1\" is not ADDRESS:PORT", "", classUsage.exit()},
		{secretsInEnv, "--user a:b --listen 127.0.0.1:", "--listen \"127.0.0.1:\" is not ADDRESS:PORT", "", classUsage.exit()},
		{secretsInEnv, "--user a:b --listen 127.0.0.1:65536", "--listen \"127.0.0.1:65536\" is not ADDRESS:PORT", "", classUsage.exit()},
		{secretsInEnv, "--user a:b --listen 127.0.0.1:0 --listen ::1:49", "--listen \"::1:49\" is not ADDRESS:PORT", "", classUsage.exit()},
		{nil, "--enable-password-file DIR/none", "read the enable password: open DIR/none: no such file or directory", "", classUsage.exit()},
		{nil, "--permit (", "option --permit: \"(\" is not a regular expression: error parsing regexp: missing closing ): `(`", "", classUsage.exit()},
		{nil, "--arg priv-lvl", "argument priv-lvl has neither = nor *: write name=value, or name*value for an optional one", "", classUsage.exit()},
		{nil, "--fault bogus", "unknown fault \"bogus\"", "--fault help lists them", classUsage.exit()},
		{nil, "--client-ca DIR/users", "--client-ca and --write-cacert need --tls", "", classUsage.exit()},
		{nil, "--write-cacert DIR/ca.pem", "--client-ca and --write-cacert need --tls", "", classUsage.exit()},
		{nil, "--cert DIR/users", "--cert needs --tls", "", classUsage.exit()},
		{nil, "--tls --cert-key DIR/users", "--cert-key needs --cert", "", classUsage.exit()},
		{nil, "--tls --cert DIR/users --write-cacert DIR/ca.pem", "--write-cacert is for a certificate that serve makes, without --cert", "", classUsage.exit()},
		{nil, "--tls --write-cacert DIR/none/ca.pem", "generate a certificate: open DIR/none/ca.pem: no such file or directory", "", classUsage.exit()},
		{nil, "--tls --client-ca DIR/none --write-cacert DIR/ca.pem", "generated a certificate: clients trust it with --tls --cacert DIR/ca.pem\ntacacs_plus: read the certificate file: open DIR/none: no such file or directory", "", classUsage.exit()},
		{nil, "--tls --client-ca DIR/none --write-cacert DIR/ca.pem --fault tls-1.2", "generated a certificate: clients trust it with --tls --cacert DIR/ca.pem\ntacacs_plus: read the certificate file: open DIR/none: no such file or directory", "", classUsage.exit()},
		{nil, "--tls --user a:b --listen 127.0.0.1:0 --listen :0", "to listen on :0 over TLS, give --client-ca", "RFC 9887 section 3.1 wants a certificate of every client", classUsage.exit()},
		{nil, "--tls --key abc", "over TLS there is no key", "leave --key and --key-file out (RFC 9887 section 3.2)", classUsage.exit()},
		{nil, "--tls --key-file 192.0.2.0/24=DIR/users", "over TLS there is no key", "leave --key and --key-file out (RFC 9887 section 3.2)", classUsage.exit()},
		{nil, "--key= --user alice:x", "the key is empty", "", classUsage.exit()},
		{nil, "--key abc --key-file DIR/users", "the key is given more than once", "", classUsage.exit()},
		{nil, "--key-file DIR/users --key-file DIR/bad", "the key is given more than once", "", classUsage.exit()},
		{nil, "--users-file - --enable-password-file -", "the users and the enable password cannot both come from standard input", hintStdin, classUsage.exit()},
		{nil, "--key-file - --users-file -", "the key and the users cannot both come from standard input", hintStdin, classUsage.exit()},
		{nil, "alice", "unexpected argument \"alice\"", "usage: tacacs_plus serve", classUsage.exit()},
		{nil, "--listen 0.0.0.0:0", "to listen on 0.0.0.0:0, give a key and users", needs, classUsage.exit()},
		{nil, "--listen 127.0.0.1:0 --listen [::]:0 --user alice:x", "to listen on [::]:0, give a key and users", needs, classUsage.exit()},
		{secretsInEnv, "--listen :0", "to listen on :0, give a key and users", needs, classUsage.exit()},
		{secretsInEnv, "--user alice:x --listen TAKEN", "listen on TAKEN: address already in use", "", classNetwork.exit()},
	} {
		pairs := []string{"DIR", dir, "TAKEN", taken}
		got := runWith(t, tt.env, "", split("serve "+tt.line, pairs...)...)
		want := "tacacs_plus: " + strings.NewReplacer(pairs...).Replace(tt.message) + "\n"
		if tt.hint != "" {
			want += "tacacs_plus: hint: " + tt.hint + "\n"
		}
		if got != (runResult{tt.code, "", want}) {
			t.Errorf("%s: %+v, want %d %q", tt.line, got, int(tt.code), want)
		}
	}
}

// TestDemo runs the command line that serve says tries it.
func TestDemo(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"users": "# name:password\r\nalice:a:b # c\r\n\r\n", "enable": "secret\n"})
	for _, tt := range []struct {
		options string
		env     map[string]string
	}{
		{"", map[string]string{}},
		{"", map[string]string{"TACACS_PLUS_KEY": testKey}},
		{"--tls", map[string]string{}},
		{"--tls --write-cacert DIR/ca.pem", map[string]string{}},
		{"--users-file DIR/users --enable-password-file DIR/enable", map[string]string{"TACACS_PLUS_PWD": "a:b # c"}},
		{"--user alice:secret --user bob:builder", map[string]string{"TACACS_PLUS_PWD": "secret"}}, // the first user
		{"--key abc", map[string]string{"TACACS_PLUS_KEY": "abc"}},
	} {
		r := serveAloud(t, tt.env, split(tt.options, "DIR", dir)...)
		try := strings.Fields(r.waitFor(t, regexp.MustCompile(`try: (.*)\n`))[1])
		overTLS := strings.HasPrefix(tt.options, "--tls")
		if made := strings.Contains(r.said.String(), "tacacs_plus: generated a certificate"); made != overTLS {
			t.Errorf("%s: it says that it generated a certificate: %t", tt.options, made)
		}
		for ; try[0] != "tacacs_plus"; try = try[1:] {
			name, value, _ := strings.Cut(try[0], "=")
			if overTLS && name == "TACACS_PLUS_KEY" {
				t.Error("a key, although there is none over TLS")
			}
			tt.env[name] = value
		}
		got := runWith(t, tt.env, "", try[1:]...)
		if got.code != classGranted.exit() || got.out != "PASS\n" {
			t.Errorf("%s: %q: %+v", tt.options, try, got)
		}
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	}
}

// TestOwnKeyOnLoopback makes a key and a user for a server that no other host can reach, and for
// no other; one that needs neither may listen anywhere.
func TestOwnKeyOnLoopback(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]bool{
		"127.0.0.1:0": true, "127.1.2.3:49": true, "[::1]:49": true, "localhost:49": true,
		":49": false, "0.0.0.0:49": false, "[::]:49": false, "192.0.2.1:49": false, "localhost.example:49": false, "localhost": false,
	} {
		srv, opts := &labServer{lab: lab{users: make(map[string]string)}}, &serveOptions{listen: list{"127.0.0.1:4949", addr}}
		inv := &invocation{std: stdio{err: io.Discard, env: func(string) string { return "" }}}
		if err := opts.addDefaults(inv, srv); (err == nil) != want {
			t.Errorf("%s: %v", addr, err)
		}
		srv, opts = &labServer{tls: new(tls.Config), lab: lab{users: map[string]string{"alice": testPassword}}}, &serveOptions{listen: list{addr}} // TLS: no key
		if err := opts.addDefaults(inv, srv); err != nil || len(srv.keys) > 0 || opts.tryLine != "" {
			t.Errorf("%s, where nothing is to be made: %v, try %q", addr, err, opts.tryLine)
		}
	}
}

// TestShutdown lets the replies under way finish; idle connections do not hold it.
func TestShutdown(t *testing.T) {
	t.Parallel()
	srv := newLab()
	srv.keys = clientKeys{{}: {{value: "the key of this server, and of no other"}}}
	srv.delay, srv.listener.dump = 200*time.Millisecond, new(dumper)
	run := startLab(t, srv)
	dial := func() *fakeClient {
		c := dialFakeClient(t, run.addr)
		c.key = srv.keys[netip.Prefix{}][0].value
		return c
	}
	idle := []*fakeClient{dial(), dial(), dial()}
	if err := idle[1].login(1, flagSingleConnect); err != nil {
		t.Fatal(err)
	}
	fakeExchange{2, asciiStart("alice"), &authenReply{status: authenGetPass, flags: authenNoEcho, serverMsg: "Password: "}, 0}.do(t, idle[2], make(map[uint32]uint8), 0)
	c := dial()
	if err := c.send(header{version: minorOne, typ: typeAuthen, seqNo: 1, sessionID: 0xabcdef}, papStart("alice", testPassword)); err != nil {
		t.Fatal(err)
	}
	run.waitFor(t, regexp.MustCompile(`received from .* session_id 00abcdef`))
	if err := run.stop(); err != nil {
		t.Errorf("run ends with %v", err)
	}
	if n := len(srv.listener.slots); n > 0 { // the end of the process would cut them off
		t.Errorf("%d connections are still served", n)
	}
	var reply authenReply
	if _, err := c.receive(&reply); err != nil || reply.status != authenPass {
		t.Errorf("the reply under way is %+v, %v", reply, err)
	}
	for _, c := range append(idle, c) {
		c.checkEnd(t)
	}
	if conn, err := net.Dial("tcp", run.addr); err == nil { // the port may be another test's by now
		defer conn.Close()
		late := newFakeClient(conn)
		late.key = srv.keys[netip.Prefix{}][0].value
		if late.login(3, 0) == nil {
			t.Error("the server still listens")
		}
	}
}

// TestConnectionLimit refuses what is over the limit, and nothing once there is room again.
func TestConnectionLimit(t *testing.T) {
	t.Parallel()
	srv, log := newLab(), new(lockedBuffer)
	srv.listener.slots, srv.listener.log.out = make(chan struct{}, 2), newQueuedWriter(context.Background(), log)
	run := startLab(t, srv)
	first, second := dialFakeClient(t, run.addr), dialFakeClient(t, run.addr)
	for _, c := range []*fakeClient{first, second} { // both are served by now
		if err := c.login(1, flagSingleConnect); err != nil {
			t.Fatal(err)
		}
	}
	third := dialFakeClient(t, run.addr)
	third.checkEnd(t)
	if want := third.LocalAddr().String() + " refused: too many connections\n"; !strings.HasSuffix(log.String(), want) {
		t.Errorf("the lines are\n%swithout %s", log, want)
	}
	if err := second.login(2, flagSingleConnect); err != nil {
		t.Error(err)
	}
	first.Close()
	waitUntil(t, "there is room", func() bool { return len(srv.listener.slots) == 1 })
	if err := dialFakeClient(t, run.addr).login(3, 0); err != nil {
		t.Error(err)
	}
}

// TestRudeClients has them all at once, while a well-behaved one logs in again and again.
func TestRudeClients(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	dribble, silent, deaf, long := dialFakeClient(t, s.addr), dialFakeClient(t, s.addr), dialFakeClient(t, s.addr), dialFakeClient(t, s.addr)
	// The deaf one asks and never reads, until nothing more goes into the connection.
	h := header{version: minorDefault, typ: typeAuthor, seqNo: 1, flags: flagSingleConnect}
	many := bytes.Repeat(packed(h, testKey, &authorRequest{commonFields: commonFields{user: "alice"}, args: []string{"service=shell", "cmd="}}), 1000)
	var flood sync.WaitGroup
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop); deaf.Close(); flood.Wait() })
	flood.Go(func() {
		for {
			if _, err := deaf.Write(many); err != nil {
				return
			}
		}
	})
	for seed := range uint64(2) { // garbage, and garbage after the header of a packet
		flood.Go(func() {
			random := rand.NewChaCha8([32]byte{byte(seed)})
			garbage := make([]byte, 1<<16)
			for {
				select {
				case <-stop:
					return
				default:
				}
				conn, err := net.Dial("tcp", s.addr)
				if err != nil {
					continue
				}
				random.Read(garbage)
				if seed == 1 {
					copy(garbage, "\xc0\x03\x01\x04\x00\x00\x00\x01\x00\x00\x03\xe8")
				}
				for err == nil {
					_, err = conn.Write(garbage)
				}
				conn.Close()
			}
		})
	}
	long.Write(unhex(t, "c1 01 01 00 00000007 ffffffff"))
	data := packed(header{version: minorOne, typ: typeAuthen, seqNo: 1}, testKey, papStart("alice", testPassword))
	for i := range data { // a byte of the dribbling client for each login of the other
		if err := dialFakeClient(t, s.addr).login(uint32(i), 0); err != nil {
			t.Fatal(err)
		}
		if _, err := dribble.Write(data[i : i+1]); err != nil {
			t.Fatal(err)
		}
	}
	var reply authenReply
	if _, err := dribble.receive(&reply); err != nil || reply.status != authenPass {
		t.Errorf("the one that dribbles is answered with %+v, %v", reply, err)
	}
	if err := silent.login(1, 0); err != nil {
		t.Errorf("the one that said nothing: %v", err)
	}
	long.checkEnd(t)
}

// TestRepliesDoNotPileUp floods with packets of which the next one has always begun: the replies
// are written all the same, not kept for the day when nothing is there to be read.
func TestRepliesDoNotPileUp(t *testing.T) {
	t.Parallel()
	h := header{version: minorDefault, typ: typeAuthor, seqNo: 1, flags: flagSingleConnect}
	first := packed(h, testKey, &authorRequest{commonFields: commonFields{user: "alice"}, args: []string{"service=shell", "cmd="}})
	next := packed(h, testKey, &authorRequest{commonFields: commonFields{user: "alice"}, args: []string{"service=shell", "cmd=", "x=" + strings.Repeat("x", 17)}})
	if len(first) != 44 || len(next) != 64 { // 16 KiB end 20 bytes into a packet, more than its header
		t.Fatal(len(first), len(next))
	}
	conn := &stream{Reader: bytes.NewReader(append(first, bytes.Repeat(next, 10_000)...))}
	newLab().serve(t.Context(), conn)
	if conn.largest > maxGathered || conn.out.Len() != 10_001*18 {
		t.Errorf("%d bytes of replies, up to %d in one write", conn.out.Len(), conn.largest)
	}
	srv := newLab() // replies that are longer than their requests
	srv.lab.args = slices.Repeat([]string{"a=" + strings.Repeat("x", 200)}, 10)
	conn = &stream{Reader: bytes.NewReader(bytes.Repeat(first, 100))}
	srv.serve(t.Context(), conn)
	if one := headerLen + 6 + 10*(1+202); conn.largest >= maxGathered+one || conn.out.Len() != 100*one {
		t.Errorf("%d bytes of long replies, up to %d in one write", conn.out.Len(), conn.largest)
	}
}

// TestServeDeadlines is how long a client may hold a connection, by the bubble's clock.
func TestServeDeadlines(t *testing.T) {
	t.Parallel()
	pair, _, err := selfSigned(nil)
	if err != nil {
		t.Fatal(err)
	}
	login := packed(header{version: minorOne, typ: typeAuthen, seqNo: 1, flags: flagSingleConnect}, testKey, papStart("alice", testPassword))
	for _, tt := range []struct {
		name   string
		tls    bool
		client func(net.Conn)
		want   time.Duration
	}{
		{"silent", false, func(net.Conn) {}, firstTimeout},
		{"silent before TLS", true, func(net.Conn) {}, handshakeTimeout},
		{"half a header", false, func(c net.Conn) { c.Write(login[:5]) }, firstTimeout},
		{"dribbles", false, func(c net.Conn) {
			for i := range login {
				c.Write(login[i : i+1])
				time.Sleep(time.Second)
			}
		}, firstTimeout},
		{"dribbles before TLS", true, func(c net.Conn) {
			c.Write([]byte("\x16\x03\x01\x01\x00"))
			for range 20 {
				c.Write([]byte{0})
				time.Sleep(time.Second)
			}
		}, handshakeTimeout},
		{"idle after a login", false, func(c net.Conn) {
			time.Sleep(9 * time.Second)
			c.Write(login)
			c.Read(make([]byte, 100))
		}, 9*time.Second + idleTimeout},
		{"dribbles after a login", false, func(c net.Conn) {
			c.Write(login)
			c.Read(make([]byte, 100))
			for i := range login {
				c.Write(login[i : i+1])
				time.Sleep(7 * time.Second)
			}
		}, idleTimeout},
		{"never reads", false, func(c net.Conn) { c.Write(login) }, idleTimeout},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server, client := net.Pipe()
				if tt.tls {
					server = tls.Server(server, &tls.Config{Certificates: pair})
				}
				var rude sync.WaitGroup
				rude.Go(func() { tt.client(client) })
				began := time.Now()
				newLab().serve(t.Context(), server)
				if took := time.Since(began); took != tt.want {
					t.Errorf("ended after %v, want %v", took, tt.want)
				}
				rude.Wait()
			})
		})
	}
}

// TestLoad is thousands of logins, each on a connection of its own: none is refused, none is
// wrong, and nothing of them is left over. It does not run in parallel, since it measures what
// the process holds.
func TestLoad(t *testing.T) {
	const logins, clients, atOnce = 4000, 4, 500
	s := serveWith(t)
	if err := dialFakeClient(t, s.addr).login(0, 0); err != nil {
		t.Fatal(err)
	}
	goroutines, memory := runtime.NumGoroutine(), heapInUse()
	var ended sync.WaitGroup
	for range clients {
		ended.Go(func() {
			for i := range logins / clients {
				conn, err := net.Dial("tcp", s.addr)
				if err == nil {
					err = newFakeClient(conn).login(uint32(i), 0)
					conn.Close()
				}
				if err != nil {
					t.Errorf("connection %d: %v", i, err)
					return
				}
			}
		})
	}
	ended.Wait()
	var conns []*fakeClient
	for range atOnce {
		conn, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conns = append(conns, newFakeClient(conn))
	}
	failures := make(chan error, atOnce)
	for i, c := range conns {
		go func() { failures <- c.login(uint32(i), flagSingleConnect) }()
	}
	for range conns {
		if err := <-failures; err != nil {
			t.Error(err)
		}
	}
	for _, c := range conns {
		c.Close()
	}
	conns = nil
	waitUntil(t, "the goroutines have ended", func() bool { return runtime.NumGoroutine() <= goroutines })
	waitUntil(t, "all sessions have lines", func() bool { return strings.Count(s.log.String(), " alice authenticate pap PASS\n") == 1+logins+atOnce })
	s.log.mu.Lock()
	s.log.b = bytes.Buffer{}
	s.log.mu.Unlock()
	if after := heapInUse(); after > memory+logins*400 {
		t.Errorf("%d KiB of memory before, %d KiB after", memory>>10, after>>10)
	}
}

// FuzzServe is everything that a client may say. Whatever it is, it ends, costs no more memory
// than one body beyond what was sent, and all that is answered is TACACS+.
func FuzzServe(f *testing.F) {
	mix := func(flags headerFlags, packets ...any) (all []byte) {
		for i, m := range packets {
			h := header{version: minorDefault, typ: typeAuthen, seqNo: 1, flags: flags | flagSingleConnect, sessionID: uint32(i)}
			switch m := m.(type) {
			case *authenStart:
				h.version = m.typ.minor()
			case *authenContinue:
				h.seqNo, h.sessionID = 3, uint32(i-1)
			case *authorRequest:
				h.typ = typeAuthor
			case *acctRequest:
				h.typ = typeAcct
			}
			all = append(all, packed(h, testKey, m.(message))...)
		}
		return all
	}
	challenge := func(typ authenType, n int) *authenStart {
		data, _ := chapData(typ, "alice", testPassword, 7, make([]byte, n), make([]byte, 16))
		return &authenStart{action: authenLogin, commonFields: commonFields{typ: typ, service: authenServiceLogin, user: "alice"}, data: data}
	}
	chpass := &authenStart{action: authenChPass, commonFields: commonFields{typ: authenASCII, service: authenServiceLogin, user: "alice"}}
	shell := &authorRequest{commonFields: commonFields{user: "alice"}, args: []string{"service=shell", "cmd=", "priv-lvl*1"}}
	show := &authorRequest{commonFields: commonFields{user: "alice"}, args: []string{"service=shell", "cmd=show", "cmd-arg=<cr>"}}
	record := &acctRequest{flags: acctStart, commonFields: commonFields{user: "alice"}, args: []string{"task_id=1", "service=shell", "cmd=\x1b[2J"}}
	for _, flags := range []headerFlags{0, flagUnencrypted} {
		inClear := flags != 0
		for _, packets := range [][]any{
			{papStart("alice", testPassword)}, {papStart("bob", "")}, {asciiStart("alice"), says(testPassword)}, {asciiStart(""), says("alice")},
			{chpass, says(testPassword)}, {asciiStart("alice"), &authenContinue{flags: authenAbort, data: "bye"}}, {says("what?")},
			{challenge(authenCHAP, 16)}, {challenge(authenMSCHAP, 8)}, {challenge(authenMSCHAPv2, 16)},
			{shell}, {show}, {record}, {papStart("alice", testPassword), shell, asciiStart("alice"), says("no"), record, papStart("alice", "no")},
		} {
			f.Add(mix(flags, packets...), inClear)
		}
		f.Add(mix(flags, shell)[:headerLen], inClear)
		f.Add(mix(flags, shell, record)[:100], inClear)
		f.Add([]byte("\xc0\x01\x01\x01\x00\x00\x00\x00\xff\xff\xff\xff"), inClear)
		f.Add([]byte("\xc0\x01\x01\x01\x00\x00\x00\x00\x00\x00\xff\xff"), inClear)
		f.Add([]byte("\xc0\x09\xff\x01\x00\x00\x00\x00\x00\x00\x00\x00"), inClear)
		f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), inClear)
		f.Add([]byte{}, inClear)
	}
	f.Fuzz(func(t *testing.T, data []byte, inClear bool) {
		srv := newLab()
		srv.listener.log.verbose, srv.lab.args = true, []string{"priv-lvl=15", "idletime=5"}
		if inClear {
			srv.tls = new(tls.Config)
		}
		srv.lab.rules = []rule{{true, regexp.MustCompile("^show")}}
		hang := time.AfterFunc(patience, func() { panic(fmt.Sprintf("no end of %x", data)) })
		defer hang.Stop()
		conn := &stream{Reader: bytes.NewReader(data)}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		srv.serve(t.Context(), conn)
		runtime.ReadMemStats(&after)
		if cost := after.TotalAlloc - before.TotalAlloc; cost > uint64(1<<20+100*len(data)) {
			t.Errorf("%d bytes cost %d bytes of memory", len(data), cost)
		}
		answers := &fakeClient{in: bufio.NewReader(&conn.out), key: testKey}
		for {
			h, _, err := readHeader(answers.in)
			if err == io.EOF {
				return
			}
			if err != nil || h.version.major() != majorVersion {
				t.Fatalf("an answer has the header %+v, %v", h, err)
			}
			if h.length == 0 {
				continue
			}
			body, err := readBody(answers.in, h)
			if !inClear {
				obfuscate(&h, testKey, body)
			}
			reply := map[packetType]message{typeAuthen: new(authenReply), typeAuthor: new(authorResponse), typeAcct: new(acctReply)}[h.typ]
			if reply == nil || err != nil || decode(body, reply) != nil || !knownStatus(reply) || inClear != (h.flags&flagUnencrypted != 0) {
				t.Fatalf("an answer has the header %+v and the body %x, %v", h, body, err)
			}
		}
	})
}

// BenchmarkServeLogin is PAP logins over one connection, many in flight: requests are gathered
// into one write, as the server gathers its replies. Both ends are this process.
func BenchmarkServeLogin(b *testing.B) {
	const inFlight = 64
	c := dialFakeClient(b, startLab(b, newLab()).addr)
	c.SetDeadline(time.Time{})
	start, reply := papStart("alice", testPassword), new(authenReply)
	h := header{version: minorOne, typ: typeAuthen, seqNo: 1, flags: flagSingleConnect}
	var out []byte
	var own codec
	sent, done := 0, 0
	b.ReportAllocs()
	b.ResetTimer()
	for done < b.N {
		for out = out[:0]; sent < min(b.N, done+inFlight); sent++ {
			at := len(out)
			h.sessionID = uint32(sent)
			out, _ = own.appendPacket(out, &h, start)
			obfuscate(&h, testKey, out[at+headerLen:])
		}
		if _, err := c.Write(out); err != nil {
			b.Fatal(err)
		}
		for more := true; more; more = c.in.Buffered() >= headerLen {
			packet, err := c.in.Peek(headerLen + 6)
			if err != nil {
				b.Fatal(err)
			}
			got := parseHeader(packet)
			obfuscate(&got, testKey, packet[headerLen:])
			if err := own.decode(packet[headerLen:], reply); err != nil || reply.status != authenPass || got.sessionID != uint32(done) {
				b.Fatalf("login %d: %+v %+v %v", done, got, reply, err)
			}
			c.in.Discard(len(packet))
			done++
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "logins/s")
}

// TestRecordError: a record that could not be written is answered with ERROR.
func TestRecordError(t *testing.T) {
	t.Parallel()
	srv := newLab()
	srv.listener.log.out = newQueuedWriter(context.Background(), fullDisk{})
	conn := &stream{Reader: bytes.NewReader(packed(header{version: minorDefault, typ: typeAcct, seqNo: 1}, testKey, &acctRequest{flags: acctStart, commonFields: commonFields{user: "alice"}}))}
	srv.serve(t.Context(), conn)
	var reply acctReply
	if _, err := (&fakeClient{in: bufio.NewReader(&conn.out), key: testKey}).receive(&reply); err != nil || reply.status != acctError {
		t.Errorf("answered with %+v, %v", reply, err)
	}
	if err := startLab(t, srv).stop(); err == nil {
		t.Error("run ends as if all lines had been written")
	}
}

// TestReplyIsNotHeldBack: a reply goes out while of the next packet only the header is there.
func TestReplyIsNotHeldBack(t *testing.T) {
	t.Parallel()
	c := dialFakeClient(t, startLab(t, newLab()).addr)
	one := packed(header{version: minorOne, typ: typeAuthen, seqNo: 1, flags: flagSingleConnect}, testKey, papStart("alice", testPassword))
	c.Write(append(bytes.Clone(one), one[:headerLen]...))
	if _, err := c.receive(new(authenReply)); err != nil {
		t.Error(err)
	}
}

// TestTooManyArguments: a PASS_REPL that would have over 255 arguments is an ERROR.
func TestTooManyArguments(t *testing.T) {
	t.Parallel()
	srv := newLab()
	srv.lab.args = []string{"priv-lvl=15", "idletime=5"}
	c := dialFakeClient(t, startLab(t, srv).addr)
	args := append([]string{"service=shell", "cmd=", "priv-lvl*1"}, strings.Fields(strings.Repeat("a=b ", 252))...)
	c.send(header{version: minorDefault, typ: typeAuthor, seqNo: 1}, &authorRequest{commonFields: commonFields{user: "alice"}, args: args})
	var r authorResponse
	if _, err := c.receive(&r); err != nil || r.status != authorError {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestUsersFromStdin reads --users-file -.
func TestUsersFromStdin(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	listens := writeTo(func(p []byte) (int, error) { cancel(); return len(p), nil })
	code := run(ctx, []string{"serve", "--listen", "127.0.0.1:0", "--users-file", "-"}, stdio{in: strings.NewReader("a:b\n"),
		out: new(bytes.Buffer), err: listens, env: func(string) string { return "" }})
	if code != classGranted.exit() {
		t.Errorf("ended with %d", code)
	}
}

// TestSeqNoDoesNotWrap: 255 is not answered with 0 (section 4.1).
func TestSeqNoDoesNotWrap(t *testing.T) {
	t.Parallel()
	for _, m := range []struct {
		typ packetType
		m   message
	}{{typeAuthor, &authorRequest{commonFields: commonFields{user: "alice"}}}, {9, &authorRequest{}}} {
		c := dialFakeClient(t, startLab(t, newLab()).addr)
		c.send(header{version: minorDefault, typ: m.typ, seqNo: 255}, m.m)
		if h, _, err := readHeader(c.in); err == nil && h.seqNo == 0 {
			t.Errorf("answered with %+v", h)
		}
	}
	// A dialogue does not go on with 253: the next number of the client would be 255.
	c, last := newLabConn(newLab(), new(stream)), &header{version: minorDefault, typ: typeAuthen, seqNo: lastSeqNo}
	c.dialogues[0] = &labDialogue{version: minorDefault, seqNo: lastSeqNo - 1, session: &authSession{
		next: func(string) *authenReply { return &authenReply{status: authenGetPass} }}}
	body, err := encoded(says("x"))
	if err != nil {
		t.Fatal(err)
	}
	if r, over, err := c.continueAuthen(last, body); err != nil || !over || r.(*authenReply).status != authenError {
		t.Errorf("seq_no %d is answered with %+v, %t, %v", lastSeqNo, r, over, err)
	}
}

// TestLongReplyDelay waits for longer than the idle timeout before it answers.
func TestLongReplyDelay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := newLab()
		srv.delay = 2 * time.Minute
		server, client := net.Pipe()
		var all sync.WaitGroup
		all.Go(func() { srv.serve(t.Context(), server) })
		c := newFakeClient(client)
		c.SetDeadline(time.Time{})
		began := time.Now()
		if err := c.login(1, 0); err != nil || time.Since(began) != srv.delay {
			t.Errorf("a login takes %v: %v", time.Since(began), err)
		}
		client.Close()
		all.Wait()
	})
}

// TestReplacedDialogue: a START with the session_id of a waiting dialogue leaves that one its line.
func TestReplacedDialogue(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	c := dialFakeClient(t, s.addr)
	ask := &authenReply{status: authenGetPass, flags: authenNoEcho, serverMsg: "Password: "}
	numbers := map[uint32]uint8{}
	fakeExchange{1, asciiStart("first"), ask, 0}.do(t, c, numbers, flagSingleConnect)
	fakeExchange{1, papStart("alice", testPassword), &authenReply{status: authenPass}, 0}.do(t, c, numbers, flagSingleConnect)
	c.Close()
	waitUntil(t, "x", func() bool { return strings.Contains(s.log.String(), "PASS") })
	if got := s.lines(t); !strings.Contains(got, "first") {
		t.Errorf("%s", got)
	}
}

// TestDialogueInOrder: within a dialogue seq_no and version follow the packet before.
func TestDialogueInOrder(t *testing.T) {
	t.Parallel()
	for _, h := range []header{{version: minorDefault, seqNo: 99}, {version: minorOne, seqNo: 3}} {
		c := dialFakeClient(t, startLab(t, newLab()).addr)
		fakeExchange{2, asciiStart("alice"), &authenReply{status: authenGetPass, flags: authenNoEcho, serverMsg: "Password: "}, 0}.do(t, c, map[uint32]uint8{}, 0)
		h.typ, h.sessionID = typeAuthen, 2
		c.send(h, says(testPassword))
		var r authenReply
		if _, err := c.receive(&r); err != nil || r.status != authenError {
			t.Errorf("%+v is answered with %+v, %v", h, r, err)
		}
	}
}

// TestTooManyDialogues: of one connection so many authentications may wait for a CONTINUE and no
// more. The others go on, and where one ends there is room again.
func TestTooManyDialogues(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	c := dialFakeClient(t, s.addr)
	numbers := make(map[uint32]uint8)
	take := func(session uint32, say message, want *authenReply) {
		t.Helper()
		fakeExchange{session, say, want, 0}.do(t, c, numbers, flagSingleConnect)
	}
	ask, pass := &authenReply{status: authenGetPass, flags: authenNoEcho, serverMsg: "Password: "}, &authenReply{status: authenPass}
	again := &authenReply{status: authenGetPass, flags: authenNoEcho, serverMsg: "Password incorrect. Password: "}
	refused := &authenReply{status: authenError, serverMsg: "too many sessions"}
	for i := range uint32(maxDialogues) {
		take(i, asciiStart("alice"), ask)
	}
	take(maxDialogues, asciiStart("alice"), refused)
	take(maxDialogues, says(testPassword), &authenReply{status: authenError, serverMsg: "no such session"})
	take(maxDialogues, papStart("alice", testPassword), pass) // it waits for nothing
	take(0, says("no"), again)
	take(0, says(testPassword), pass)
	take(maxDialogues, asciiStart("alice"), ask)
	take(0, asciiStart("alice"), refused)
	for i := range uint32(maxDialogues) {
		take(i+1, says(testPassword), pass)
	}
}

// TestMalformedOverTLS: where there is no key, none is to blame.
func TestMalformedOverTLS(t *testing.T) {
	t.Parallel()
	log := new(lockedBuffer)
	srv := newLab()
	srv.tls, srv.listener.log.out = new(tls.Config), newQueuedWriter(context.Background(), log)
	h := header{version: minorDefault, typ: typeAuthor, seqNo: 1, flags: flagUnencrypted}
	conn := &stream{Reader: bytes.NewReader(packed(h, "", &authenContinue{userMsg: "x"}))}
	srv.serve(t.Context(), conn)
	var r authorResponse
	if _, err := (&fakeClient{in: bufio.NewReader(&conn.out)}).receive(&r); err != nil || r.status != authorError || r.serverMsg != "a malformed packet" {
		t.Errorf("answered with %+v, %v", r, err)
	}
	if !strings.HasSuffix(log.String(), " a malformed packet: "+errBodyLength.Error()+"\n") {
		t.Errorf("the lines are\n%s", log)
	}
}

// TestServeTraces: --debug shows the packets of both directions, and the password only with
// --show-secrets.
func TestServeTraces(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		options         string
		packets, secret bool
	}{{"", false, false}, {"--debug", true, false}, {"--debug --show-secrets", true, true}} {
		r := serveAloud(t, map[string]string{"TACACS_PLUS_KEY": testKey}, append(split(tt.options), "--user", "alice:"+testPassword)...)
		if err := dialFakeClient(t, r.addr).login(7, 0); err != nil {
			t.Fatal(err)
		}
		if err := r.stop(); err != nil {
			t.Error(err)
		}
		said := r.said.String()
		for _, what := range []string{"received from", "sent to"} {
			packet := regexp.MustCompile(what + ` 127\.0\.0\.1:\d+: version 0xc\.1 type authentication .* session_id 00000007 `)
			if got := packet.MatchString(said); got != tt.packets {
				t.Errorf("%s: a packet %s it is shown: %t", tt.options, what, got)
			}
		}
		if got := strings.Contains(said, testPassword); got != tt.secret {
			t.Errorf("%s: the password is shown: %t", tt.options, got)
		}
	}
}

// TestAccept goes on after an error, and closes what is over the limit.
func TestAccept(t *testing.T) {
	t.Parallel()
	srv := newLab()
	srv.listener.slots = make(chan struct{})
	server, client := net.Pipe()
	var all sync.WaitGroup
	srv.listener.accept(t.Context(), &fakeListener{has: []any{errors.New("too many open files"), server}}, &all, srv.serve)
	newFakeClient(client).checkEnd(t)
}

// TestEndBeforeRead: an end that comes while the deadline is moved is not lost with the old one.
func TestEndBeforeRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		data := bytes.NewReader(make([]byte, headerLen))
		newLab().serve(ctx, &lateDeadlineConn{stream{Reader: data}, func() { cancel(); synctest.Wait() }})
		if data.Len() < headerLen {
			t.Error("it reads on")
		}
	})
}

// TestUnimplemented: what of a START is not implemented is a FAIL, whatever the service and the
// version (RFC 8907 section 5.4.2); the session is logged with what was asked.
func TestUnimplemented(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	for _, tt := range []struct {
		action  authenAction
		typ     authenType
		service authenService
		version version
		want    authenStatus
	}{
		{authenLogin, authenPAP, authenServiceLogin, minorOne, authenPass},
		{authenLogin, authenPAP, authenServiceEnable, minorDefault, authenPass},
		{authenLogin, authenPAP, authenServiceEnable, minorOne, authenPass},
		{authenLogin, authenPAP, authenServiceEnable, majorVersion<<4 | 2, authenFail},
		{authenLogin, authenPAP, authenServiceLogin, majorVersion<<4 | 15, authenFail},
		{authenLogin, authenASCII, authenServiceLogin, minorOne, authenFail},
		{authenLogin, 0, authenServiceLogin, minorDefault, authenFail},
		{authenLogin, 0, authenServiceLogin, minorOne, authenFail},
		{authenLogin, 4, authenServiceLogin, minorOne, authenFail},
		{authenLogin, 7, authenServiceEnable, minorOne, authenFail},
		{authenLogin, 255, authenServiceLogin, minorOne, authenFail},
		{authenChPass, authenPAP, authenServiceLogin, minorOne, authenFail},
		{authenChPass, 0, authenServiceLogin, minorDefault, authenFail},
		{0, authenPAP, authenServiceLogin, minorOne, authenFail},
		{3, authenASCII, authenServiceLogin, minorDefault, authenFail},
		{4, authenPAP, authenServiceLogin, minorOne, authenFail},
		{255, authenPAP, authenServiceEnable, minorOne, authenFail},
	} {
		c := dialFakeClient(t, s.addr)
		h := header{version: tt.version, typ: typeAuthen, seqNo: 1}
		m := &authenStart{action: tt.action, commonFields: commonFields{typ: tt.typ, service: tt.service, user: "alice"}, data: testPassword}
		if err := c.send(h, m); err != nil {
			t.Fatal(err)
		}
		var r authenReply
		got, err := c.receive(&r)
		if err != nil || r.status != tt.want || got.version != tt.version || (tt.want == authenFail) != strings.Contains(r.serverMsg, " ") {
			t.Errorf("%+v is answered with %+v %+v, %v", tt, got, r, err)
		}
	}
}

// TestEnableWithoutType: a request for a level whose authen_type is "not used" is asked for the
// password as ASCII is, with either minor version (RFC 8907 section 5.4.2.6).
func TestEnableWithoutType(t *testing.T) {
	t.Parallel()
	for _, v := range []version{minorDefault, minorOne} {
		s := serveWith(t)
		c, numbers := dialFakeClient(t, s.addr), make(map[uint32]uint8)
		enable := func(user string) *authenStart {
			return &authenStart{action: authenLogin, commonFields: commonFields{service: authenServiceEnable, privLvl: 15, user: user}}
		}
		askUser := &authenReply{status: authenGetUser, serverMsg: "Username: "}
		askPass := &authenReply{status: authenGetPass, flags: authenNoEcho, serverMsg: "Password: "}
		for _, tn := range []fakeExchange{
			{1, enable("alice"), askPass, v}, {1, says(testPassword), &authenReply{status: authenPass}, v},
			{2, enable(""), askUser, v}, {2, says("alice"), askPass, v}, {2, says(testPassword), &authenReply{status: authenPass}, v},
		} {
			tn.do(t, c, numbers, flagSingleConnect)
		}
		want := strings.Repeat("alice enable "+authenType(0).String()+" PASS\n", 2)
		if got := s.lines(t); got != want {
			t.Errorf("the lines are\n%snot\n%s", got, want)
		}
	}
}

// TestUnknownType: the answer is the header as it came, with flags that nobody knows, the next
// seq_no and no body (RFC 8907 section 3.6); what has a server's seq_no has no answer.
func TestUnknownType(t *testing.T) {
	t.Parallel()
	for _, flags := range []headerFlags{0, flagUnencrypted, flagSingleConnect, 0xff} {
		for _, version := range []version{minorDefault, minorOne, majorVersion<<4 | 9} {
			for seqNo, answered := range map[uint8]bool{1: true, 253: true, 2: false, 254: false, 255: false} {
				h := header{version: version, typ: 7, seqNo: seqNo, flags: flags, sessionID: 0xfeedbeef}
				conn := &stream{Reader: bytes.NewReader(packed(h, testKey, papStart("alice", testPassword)))}
				newLab().serve(t.Context(), conn)
				h.seqNo++
				want := codec{}
				if h.layout(&want); !answered {
					want.buf = nil
				}
				if !bytes.Equal(conn.out.Bytes(), want.buf) {
					t.Errorf("%+v is what ought to be answered, not %x", h, conn.out.Bytes())
				}
			}
		}
	}
}

// TestServeQuiet: -q prints no line, neither of a session nor of what is wrong with a connection, and
// takes records all the same.
func TestServeQuiet(t *testing.T) {
	t.Parallel()
	s := serveWith(t, "-q")
	if err := dialFakeClient(t, s.addr).login(1, 0); err != nil {
		t.Error(err)
	}
	record := &acctRequest{flags: acctStart, commonFields: commonFields{user: "alice"}, args: []string{"task_id=7", "service=shell"}}
	fakeExchange{session: 1, say: record, want: &acctReply{status: acctSuccess}}.do(t, dialFakeClient(t, s.addr), make(map[uint32]uint8), 0)
	c := dialFakeClient(t, s.addr)
	c.Write(make([]byte, headerLen))
	c.checkEnd(t)
	if got := s.lines(t); got != "" {
		t.Errorf("the lines are\n%s", got)
	}
}

// TestServeOnFullDisk: while standard output takes nothing, logins go on and records are answered with
// ERROR, on one connection; once there is room it is as before, and the lines of the logins are there.
func TestServeOnFullDisk(t *testing.T) {
	t.Parallel()
	srv, disk := newLab(), new(smallDisk)
	srv.listener.log.out = newQueuedWriter(context.Background(), disk)
	c := dialFakeClient(t, startLab(t, srv).addr)
	numbers := make(map[uint32]uint8)
	take := func(say, want message) {
		t.Helper()
		fakeExchange{session: 1, say: say, want: want}.do(t, c, numbers, flagSingleConnect)
		delete(numbers, 1)
	}
	login, pass := papStart("alice", testPassword), &authenReply{status: authenPass}
	record := &acctRequest{flags: acctStart, commonFields: commonFields{user: "alice"}, args: []string{"task_id=7", "service=shell"}}
	unwritten := &acctReply{status: acctError, serverMsg: "the record could not be written"}
	take(login, pass)
	take(record, unwritten)
	take(record, unwritten)
	take(login, pass)
	disk.give(1 << 20)
	take(record, &acctReply{status: acctSuccess})
	const pap, start = "alice authenticate pap PASS\n", "alice account start task_id=7 service=shell SUCCESS\n"
	if got := stamps.ReplaceAllString(disk.String(), ""); got != pap+pap+start {
		t.Errorf("the lines are\n%s", got)
	}
}

// TestAllDialogues: of all connections together so many authentications may wait and no more; each that
// ends, is aborted or loses its connection makes room.
func TestAllDialogues(t *testing.T) {
	t.Parallel()
	srv := newLab()
	addr := startLab(t, srv).addr
	first, second := dialFakeClient(t, addr), dialFakeClient(t, addr)
	numbers := make(map[uint32]uint8)
	ask, pass := &authenReply{status: authenGetPass, flags: authenNoEcho, serverMsg: "Password: "}, &authenReply{status: authenPass}
	refused := &authenReply{status: authenError, serverMsg: "too many sessions"}
	take := func(c *fakeClient, session uint32, say message, want *authenReply) {
		t.Helper()
		fakeExchange{session: session, say: say, want: want}.do(t, c, numbers, flagSingleConnect)
	}
	srv.waiting.Store(maxAllDialogues - 2) // of others
	take(first, 1, asciiStart("alice"), ask)
	take(second, 2, asciiStart("alice"), ask)
	take(first, 3, asciiStart("alice"), refused)
	take(second, 4, papStart("alice", testPassword), pass)
	take(first, 1, asciiStart("alice"), ask) // in the place of the one before
	take(second, 5, asciiStart("alice"), refused)
	take(second, 2, says(testPassword), pass)
	take(first, 6, asciiStart("alice"), ask)
	take(second, 7, asciiStart("alice"), refused)
	first.Close()
	waitUntil(t, "the places are free", func() bool { return srv.waiting.Load() == maxAllDialogues-2 })
	take(second, 8, asciiStart("alice"), ask)
	take(second, 9, asciiStart("alice"), ask)
	take(second, 10, asciiStart("alice"), refused)
}

// TestLongTexts: what a dialogue keeps of a CONTINUE has 255 bytes at the most, and no memory of the rest.
func TestLongTexts(t *testing.T) {
	t.Parallel()
	c := dialFakeClient(t, serveWith(t, "--user", strings.Repeat("u", maxFieldLen)+":"+testPassword).addr)
	numbers := make(map[uint32]uint8)
	ask := func(status authenStatus, msg string) *authenReply {
		return &authenReply{status: status, flags: authenNoEcho, serverMsg: msg}
	}
	fail := func(msg string) *authenReply { return &authenReply{status: authenFail, serverMsg: msg} }
	askUser, askPass := &authenReply{status: authenGetUser, serverMsg: "Username: "}, ask(authenGetPass, "Password: ")
	chpass := &authenStart{action: authenChPass, commonFields: commonFields{typ: authenASCII, service: authenServiceLogin, user: "alice"}}
	for _, tn := range []fakeExchange{
		{1, asciiStart(""), askUser, 0}, {1, says(strings.Repeat("u", maxFieldLen)), askPass, 0}, {1, says(testPassword), &authenReply{status: authenPass}, 0},
		{2, asciiStart(""), askUser, 0}, {2, says(strings.Repeat("u", maxFieldLen+1)), fail("The user name is over 255 bytes"), 0},
		{3, asciiStart(""), askUser, 0}, {3, says(strings.Repeat("u", 60_000)), fail("The user name is over 255 bytes"), 0},
		{4, chpass, ask(authenGetData, "Old password: "), 0}, {4, says(testPassword), ask(authenGetPass, "New password: "), 0},
		{4, says(strings.Repeat("x", maxFieldLen+1)), fail("The new password is over 255 bytes"), 0},
		{5, chpass, ask(authenGetData, "Old password: "), 0}, {5, says(testPassword), ask(authenGetPass, "New password: "), 0},
		{5, says(strings.Repeat("x", maxFieldLen)), ask(authenGetPass, "Retype new password: "), 0},
		{5, says(strings.Repeat("x", maxFieldLen)), &authenReply{status: authenPass, serverMsg: "Password changed"}, 0},
	} {
		tn.do(t, c, numbers, flagSingleConnect)
	}
}

// TestDialogueMemory measures what dialogues keep that were fed with the largest packets. It does not
// run in parallel, since it measures what the process holds.
func TestDialogueMemory(t *testing.T) {
	const dialogues = 100
	srv := newLab()
	p := newLabConn(srv, new(stream))
	feed := func(id uint32, seqNo uint8, m message) {
		body, err := encoded(m)
		if err != nil {
			t.Fatal(err)
		}
		h := &header{version: minorDefault, typ: typeAuthen, seqNo: seqNo, sessionID: id}
		decide := p.continueAuthen
		if seqNo == 1 {
			decide = p.startAuthen
		}
		if _, over, err := decide(h, body); over || err != nil {
			t.Fatalf("%+v ends the dialogue: %v", m, err)
		}
	}
	chpass := &authenStart{action: authenChPass, commonFields: commonFields{typ: authenASCII, service: authenServiceLogin, user: "alice"}}
	before := heapInUse()
	for id := range uint32(dialogues) {
		large := strings.Repeat("x", 60_000)
		feed(2*id, 1, asciiStart(""))
		feed(2*id, 3, &authenContinue{userMsg: "alice", data: large})
		feed(2*id+1, 1, chpass)
		feed(2*id+1, 3, says(testPassword))
		feed(2*id+1, 5, &authenContinue{userMsg: "new", data: large})
	}
	if after := heapInUse(); after > before+2*dialogues*4096 {
		t.Errorf("%d dialogues hold %d KiB", 2*dialogues, (after-before)>>10)
	}
	runtime.KeepAlive(p)
}

// TestConnectionsOfOneAddress: one address takes most of the places, and leaves some to the others.
func TestConnectionsOfOneAddress(t *testing.T) {
	t.Parallel()
	srv, log := newLab(), new(lockedBuffer)
	srv.listener.log.out = newQueuedWriter(context.Background(), log)
	greedy, other := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	enter := func(client netip.Addr, want string) {
		t.Helper()
		if got := srv.listener.acquireSlot(client); got != want {
			t.Fatalf("%s is refused with %q, not %q", client, got, want)
		}
	}
	for range maxOfOneAddress {
		enter(greedy, "")
	}
	enter(greedy, "too many connections of this address")
	conn := &remoteConn{addr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(greedy, 1024))}
	srv.listener.accept(t.Context(), &fakeListener{has: []any{conn}}, new(sync.WaitGroup), srv.serve)
	if want := " 192.0.2.1:1024 refused: too many connections of this address\n"; !strings.HasSuffix(log.String(), want) {
		t.Errorf("the lines are\n%s", log)
	}
	for range maxConnections - maxOfOneAddress {
		enter(other, "")
	}
	enter(netip.MustParseAddr("192.0.2.3"), "too many connections")
	srv.listener.releaseSlot(greedy)
	enter(greedy, "")
	for range maxOfOneAddress {
		srv.listener.releaseSlot(greedy)
	}
	for range maxConnections - maxOfOneAddress {
		srv.listener.releaseSlot(other)
	}
	if len(srv.listener.open) > 0 || len(srv.listener.slots) > 0 {
		t.Errorf("%v are still open, %d places taken", srv.listener.open, len(srv.listener.slots))
	}
	var all sync.WaitGroup // the place of a connection that is accepted is its own, and free after it
	conn.Reader = strings.NewReader("")
	srv.listener.accept(t.Context(), &fakeListener{has: []any{conn}}, &all, srv.serve)
	all.Wait()
	if len(srv.listener.open) > 0 || len(srv.listener.slots) > 0 {
		t.Errorf("%v are still open, %d places taken", srv.listener.open, len(srv.listener.slots))
	}
}

// TestHolders: the addresses of one network of IPv6 count as one, since one host can have them all.
func TestHolders(t *testing.T) {
	t.Parallel()
	for client, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::", "2001:db8:1:3::6": "2001:db8:1:3::", "::1": "::",
		"fe80::1%eth0": "fe80::1%eth0",
	} {
		srv := newLab()
		if refused := srv.listener.acquireSlot(netip.MustParseAddr(client)); refused != "" || srv.listener.open[netip.MustParseAddr(want)] != 1 {
			t.Errorf("%s: %q, %v", client, refused, srv.listener.open)
		}
		if srv.listener.releaseSlot(netip.MustParseAddr(client)); len(srv.listener.open) > 0 {
			t.Errorf("%s: %v are left", client, srv.listener.open)
		}
	}
}

// TestEndWithoutReader: a server whose output nobody reads ends within five seconds of being told to, also
// where standard error is the same pipe, and whatever it acknowledged is written.
func TestEndWithoutReader(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"standard output", "both"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, said := &blockedWriter{deaf: make(chan struct{}), stuck: make(chan struct{}, 1), end: make(chan struct{})}, new(lockedBuffer)
			t.Cleanup(func() { close(out.end) })
			std := stdio{in: strings.NewReader(""), out: out, err: said, env: func(string) string { return testKey }}
			messages := said
			if name == "both" {
				std.err, messages = out, &out.lockedBuffer
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan exitCode, 1)
			go func() { done <- run(ctx, split("serve --listen 127.0.0.1:0 --user alice:x"), std) }()
			addr := (&labRun{said: messages}).waitFor(t, listening)[1]
			record := &acctRequest{flags: acctStart, commonFields: commonFields{user: "alice"}, args: []string{"task_id=1", "service=shell"}}
			for range 3 {
				fakeExchange{session: 1, say: record, want: &acctReply{status: acctSuccess}}.do(t, dialFakeClient(t, addr), make(map[uint32]uint8), 0)
			}
			close(out.deaf)
			var waiting []*fakeClient
			for range 3 {
				c := dialFakeClient(t, addr)
				fakeExchange{session: 1, say: record}.do(t, c, make(map[uint32]uint8), 0)
				waiting = append(waiting, c)
			}
			<-out.stuck
			cancel()
			select {
			case code := <-done:
				if code != classGranted.exit() {
					t.Errorf("it ends with %d", code)
				}
			case <-time.After(5 * time.Second):
				t.Error("it does not end within five seconds")
			}
			if got := strings.Count(out.String(), " alice account start task_id=1 service=shell SUCCESS\n"); got != 3 {
				t.Errorf("%d records are written, 3 were acknowledged", got)
			}
			for _, c := range waiting {
				c.SetDeadline(time.Now().Add(10 * time.Millisecond))
				if _, err := c.receive(new(acctReply)); err == nil {
					t.Error("a record is acknowledged that is not written")
				}
			}
			const why = "tacacs_plus: lines of sessions were not written: the output is blocked\n"
			if name != "both" && !strings.HasSuffix(said.String(), why) {
				t.Errorf("it says %s", said)
			}
		})
	}
}

// TestLastLines: connections that do not end in time do not hold up the lines that are queued.
func TestLastLines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv, log, all, stuck := newLab(), new(lockedBuffer), new(sync.WaitGroup), make(chan struct{})
		srv.listener.log.out = newQueuedWriter(context.Background(), log)
		srv.listener.log.write(&sessionRecord{commonFields: commonFields{user: "alice"}, status: "PASS"})
		all.Go(func() { <-stuck })
		began := time.Now()
		err := drain(all, func() error { return srv.listener.log.close(t.Context()) })
		if took := time.Since(began); err != nil || took != shutdownTimeout || !strings.HasSuffix(log.String(), "alice PASS\n") {
			t.Errorf("it takes %v, %v, and the lines are\n%s", took, err, log)
		}
		close(stuck)
		all.Wait()
	})
}
