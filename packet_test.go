package main

import (
	"bytes"
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"
)

// A wireRow is a message as a literal and as bytes.
type wireRow struct {
	name    string
	message message
	wire    string // hex, split into the fields of the RFC
}

// wireTable has every message of RFC 8907 as a literal and as bytes. The bytes were written by hand from
// the packet layouts of the RFC: a round trip alone does not find a mistake made in both directions.
var wireTable = sync.OnceValue(func() []wireRow {
	return []wireRow{
		{"header/START", &header{version: minorOne, typ: typeAuthen, seqNo: 1, sessionID: 0xa1b2c3d4, length: 42},
			"c1 01 01 00 a1b2c3d4 0000002a"},
		{"header/both flags", &header{version: minorDefault, typ: typeAcct, seqNo: 254,
			flags: flagUnencrypted | flagSingleConnect, sessionID: 1, length: 0xffff},
			"c0 03 fe 05 00000001 0000ffff"},
		{"header/unknown everything", &header{version: 0xde, typ: 9, seqNo: 255, flags: 0xfa, sessionID: 0xffffffff, length: 0xfffffffe},
			"de 09 ff fa ffffffff fffffffe"},

		{"START/PAP", &authenStart{action: authenLogin, commonFields: commonFields{privLvl: 15, typ: authenPAP, service: 3, user: "alice", port: "tty0", remAddr: "192.0.2.1"}, data: "password"},
			"01 0f 02 03 05 04 09 08 616c696365 74747930 3139322e302e322e31 70617373776f7264"},
		{"START/all fields empty", &authenStart{action: authenLogin, commonFields: commonFields{typ: authenASCII, service: authenServiceLogin}},
			"01 00 01 01 00 00 00 00"},
		{"START/UTF-8 user and binary data", &authenStart{action: authenChPass, commonFields: commonFields{privLvl: 1, typ: authenMSCHAPv2, service: authenServiceEnable, user: "jürgen"}, data: "\x00\xff\x00"},
			"02 01 06 02 07 00 00 03 6ac3bc7267656e 00ff00"},
		{"START/255 bytes each", &authenStart{action: authenLogin, commonFields: commonFields{privLvl: 2, typ: authenCHAP, service: 9, user: strings.Repeat("a", 255), port: strings.Repeat("b", 255), remAddr: strings.Repeat("c", 255)}, data: strings.Repeat("d", 255)},
			"01 02 03 09 ff ff ff ff" + strings.Repeat("61", 255) + strings.Repeat("62", 255) + strings.Repeat("63", 255) + strings.Repeat("64", 255)},

		{"REPLY/GETPASS", &authenReply{status: authenGetPass, flags: authenNoEcho, serverMsg: "Password: "},
			"05 01 000a 0000 50617373776f72643a20"},
		{"REPLY/all fields empty", &authenReply{status: authenFail},
			"02 00 0000 0000"},
		{"REPLY/message and data", &authenReply{status: authenPass, serverMsg: "Hi\n", data: "\x00\x01"},
			"01 00 0003 0002 48690a 0001"},
		{"REPLY/data only", &authenReply{status: authenRestart, data: "\x02\x03\x06"},
			"06 00 0000 0003 020306"},
		{"REPLY/unknown status and flags", &authenReply{status: 0x99, flags: 0xfe},
			"99 fe 0000 0000"},
		{"REPLY/256 bytes", &authenReply{status: authenError, serverMsg: strings.Repeat("x", 256), data: "y"},
			"07 00 0100 0001" + strings.Repeat("78", 256) + "79"},
		{"REPLY/the longest body", &authenReply{status: authenFollow, serverMsg: strings.Repeat("z", 65529)},
			"21 00 fff9 0000" + strings.Repeat("7a", 65529)},

		{"CONTINUE/password", &authenContinue{userMsg: "password"},
			"0008 0000 00 70617373776f7264"},
		{"CONTINUE/all fields empty", &authenContinue{},
			"0000 0000 00"},
		{"CONTINUE/ABORT with a reason", &authenContinue{data: "reason", flags: authenAbort},
			"0000 0006 01 726561736f6e"},
		{"CONTINUE/message, data, unknown flags", &authenContinue{userMsg: "a", data: "bc", flags: 0xfe},
			"0001 0002 fe 61 6263"},
		{"CONTINUE/256 bytes", &authenContinue{userMsg: strings.Repeat("u", 256)},
			"0100 0000 00" + strings.Repeat("75", 256)},

		{"author REQUEST/shell session", &authorRequest{method: authenMethodTACACSPlus, commonFields: commonFields{privLvl: 15, typ: authenPAP, service: authenServiceLogin, user: "alice", port: "tty0", remAddr: "::1"}, args: []string{"service=shell", "cmd="}},
			"06 0f 02 01 05 04 03 02 0d 04 616c696365 74747930 3a3a31 736572766963653d7368656c6c 636d643d"},
		{"author REQUEST/all fields empty", &authorRequest{},
			"00 00 00 00 00 00 00 00"},
		{"author REQUEST/an empty argument", &authorRequest{method: 0x10, commonFields: commonFields{privLvl: 1, typ: authenASCII, service: 8}, args: []string{"a=", "", "b*"}},
			"10 01 01 08 00 00 00 03 02 00 02 613d 622a"},
		{"author REQUEST/255 bytes each", &authorRequest{method: 0x20, commonFields: commonFields{typ: authenMSCHAP, user: strings.Repeat("a", 255), port: strings.Repeat("b", 255), remAddr: strings.Repeat("c", 255)}, args: []string{strings.Repeat("d", 255)}},
			"20 00 05 00 ff ff ff 01 ff" + strings.Repeat("61", 255) + strings.Repeat("62", 255) + strings.Repeat("63", 255) + strings.Repeat("64", 255)},
		{"author REQUEST/255 arguments", &authorRequest{method: authenMethodTACACSPlus, args: slices.Repeat([]string{"e="}, 255)},
			"06 00 00 00 00 00 00 ff" + strings.Repeat("02", 255) + strings.Repeat("653d", 255)},

		{"author RESPONSE/PASS_ADD", &authorResponse{status: authorPassAdd, args: []string{"priv-lvl=15"}},
			"01 01 0000 0000 0b 707269762d6c766c3d3135"},
		{"author RESPONSE/all fields empty", &authorResponse{status: authorFail},
			"10 00 0000 0000"},
		{"author RESPONSE/PASS_REPL with everything", &authorResponse{status: authorPassRepl, serverMsg: "hi", data: "\x01\x02\x03", args: []string{"a=b", "c*dd"}},
			"02 02 0002 0003 03 04 6869 010203 613d62 632a6464"},
		{"author RESPONSE/FOLLOW", &authorResponse{status: authorFollow, data: "192.0.2.1"},
			"21 00 0000 0009 3139322e302e322e31"},
		{"author RESPONSE/255 bytes and 256", &authorResponse{status: authorError, serverMsg: strings.Repeat("m", 256), data: strings.Repeat("n", 255),
			args: []string{strings.Repeat("o", 255), ""}},
			"11 02 0100 00ff ff 00" + strings.Repeat("6d", 256) + strings.Repeat("6e", 255) + strings.Repeat("6f", 255)},
		{"author RESPONSE/255 arguments", &authorResponse{status: authorPassAdd, serverMsg: "m", args: slices.Repeat([]string{"e="}, 255)},
			"01 ff 0001 0000" + strings.Repeat("02", 255) + "6d" + strings.Repeat("653d", 255)},

		{"acct REQUEST/stop", &acctRequest{flags: acctStop, method: authenMethodTACACSPlus, commonFields: commonFields{privLvl: 15, typ: authenASCII, service: 3, user: "bob", port: "console", remAddr: "2001:db8::1"}, args: []string{"task_id=7", "idle*10"}},
			"04 06 0f 01 03 03 07 0b 02 09 07 626f62 636f6e736f6c65 323030313a6462383a3a31 7461736b5f69643d37 69646c652a3130"},
		{"acct REQUEST/all fields empty", &acctRequest{flags: acctStart},
			"02 00 00 00 00 00 00 00 00"},
		{"acct REQUEST/255 bytes each", &acctRequest{flags: acctWatchdogUpdate, commonFields: commonFields{user: strings.Repeat("a", 255), port: strings.Repeat("b", 255), remAddr: strings.Repeat("c", 255)}, args: []string{"", strings.Repeat("d", 255)}},
			"0a 00 00 00 00 ff ff ff 02 00 ff" + strings.Repeat("61", 255) + strings.Repeat("62", 255) + strings.Repeat("63", 255) + strings.Repeat("64", 255)},
		{"acct REQUEST/255 arguments", &acctRequest{flags: acctWatchdog, args: slices.Repeat([]string{"e="}, 255)},
			"08 00 00 00 00 00 00 00 ff" + strings.Repeat("02", 255) + strings.Repeat("653d", 255)},

		{"acct REPLY/SUCCESS, all fields empty", &acctReply{status: acctSuccess},
			"0000 0000 01"},
		{"acct REPLY/ERROR with everything", &acctReply{status: acctError, serverMsg: "no disk", data: "\x00"},
			"0007 0001 02 6e6f206469736b 00"},
		{"acct REPLY/FOLLOW", &acctReply{status: acctFollow, data: "192.0.2.1"},
			"0000 0009 21 3139322e302e322e31"},
		{"acct REPLY/256 bytes", &acctReply{status: acctSuccess, serverMsg: strings.Repeat("m", 256), data: strings.Repeat("n", 255)},
			"0100 00ff 01" + strings.Repeat("6d", 256) + strings.Repeat("6e", 255)},
	}
})

func TestWire(t *testing.T) {
	t.Parallel()
	for _, row := range wireTable() {
		t.Run(row.name, func(t *testing.T) {
			wire := unhex(t, row.wire)
			if got, err := encoded(row.message); err != nil || !bytes.Equal(got, wire) {
				t.Errorf("encode: got %x, %v, want %x", got, err, wire)
			}
			got := fresh(row.message)
			if err := decode(wire, got); err != nil || !reflect.DeepEqual(got, row.message) {
				t.Errorf("decode: got %+v, %v, want %+v", got, err, row.message)
			}
			for n := range wire {
				if err := decode(wire[:n], fresh(row.message)); !errors.Is(err, errBodyLength) {
					t.Fatalf("decode the first %d bytes of %d: got %v, want %v", n, len(wire), err, errBodyLength)
				}
			}
			if err := decode(append(wire, 0), fresh(row.message)); !errors.Is(err, errBodyLength) {
				t.Errorf("decode one byte more: got %v, want %v", err, errBodyLength)
			}
		})
	}
}

// TestDecodeForgetsTheMessageBefore: a dialogue decodes every reply into the same variable, which must keep
// nothing of the reply before.
func TestDecodeForgetsTheMessageBefore(t *testing.T) {
	for _, row := range wireTable() {
		got := fresh(row.message)
		for _, before := range wireTable() {
			if reflect.TypeOf(before.message) != reflect.TypeOf(row.message) {
				continue
			}
			if err := decode(unhex(t, before.wire), got); err != nil {
				t.Fatalf("%s: %v", before.name, err)
			}
			if err := decode(unhex(t, row.wire), got); err != nil || !reflect.DeepEqual(got, row.message) {
				t.Errorf("%s after %s: got %+v, %v, want %+v", row.name, before.name, got, err, row.message)
			}
		}
	}
}

// TestCodecAgain: a codec can be reused in both directions and after an error. Decoded messages do not change
// with its buffer.
func TestCodecAgain(t *testing.T) {
	var c codec
	var decoded []message
	buffer := make([]byte, 0, 1<<17)
	for _, row := range wireTable() {
		var h header
		packet, err := c.appendPacket(buffer, &h, row.message)
		if err != nil || !bytes.Equal(packet[headerLen:], unhex(t, row.wire)) {
			t.Fatalf("%s: got %x, %v, want %s", row.name, packet, err, row.wire)
		}
		if err := c.decode(packet[headerLen:][:3], fresh(row.message)); err == nil {
			t.Errorf("%s, the first 3 bytes: got no error", row.name)
		}
		m := fresh(row.message)
		if err := c.decode(packet[headerLen:], m); err != nil {
			t.Fatalf("%s: got %v, want no error", row.name, err)
		}
		decoded = append(decoded, m)
		if _, err := c.appendPacket(buffer, &h, &authenStart{commonFields: commonFields{user: "user", port: strings.Repeat("x", 256)}}); err == nil {
			t.Error("a field of 256 bytes: got no error")
		}
	}
	for i, row := range wireTable() {
		if !reflect.DeepEqual(decoded[i], row.message) {
			t.Errorf("%s, later: got %+v, want %+v", row.name, decoded[i], row.message)
		}
	}
}

func TestFieldLimits(t *testing.T) {
	bytes255, bytes256 := strings.Repeat("x", 255), strings.Repeat("x", 256)
	bytes65536 := strings.Repeat("x", 65536)
	args256 := slices.Repeat([]string{"a="}, 256)
	for _, test := range []struct {
		message message
		want    string
	}{
		{&authenStart{commonFields: commonFields{user: bytes256}}, "user is 256 bytes, the limit is 255"},
		{&authenStart{commonFields: commonFields{port: bytes256}}, "port is 256 bytes, the limit is 255"},
		{&authenStart{commonFields: commonFields{remAddr: bytes256}}, "rem_addr is 256 bytes, the limit is 255"},
		{&authenStart{data: bytes256}, "data is 256 bytes, the limit is 255"},
		{&authenReply{serverMsg: bytes65536}, "server_msg is 65536 bytes, the limit is 65535"},
		{&authenReply{data: bytes65536}, "data is 65536 bytes, the limit is 65535"},
		{&authenContinue{userMsg: bytes65536}, "user_msg is 65536 bytes, the limit is 65535"},
		{&authenContinue{data: bytes65536}, "data is 65536 bytes, the limit is 65535"},
		{&authorRequest{commonFields: commonFields{user: bytes256}}, "user is 256 bytes, the limit is 255"},
		{&authorRequest{commonFields: commonFields{port: bytes256}}, "port is 256 bytes, the limit is 255"},
		{&authorRequest{commonFields: commonFields{remAddr: bytes256}}, "rem_addr is 256 bytes, the limit is 255"},
		{&authorRequest{args: []string{"a=", bytes256}}, "arg is 256 bytes, the limit is 255"},
		{&authorRequest{args: args256}, "256 arguments, the limit is 255"},
		{&authorResponse{serverMsg: bytes65536}, "server_msg is 65536 bytes, the limit is 65535"},
		{&authorResponse{data: bytes65536}, "data is 65536 bytes, the limit is 65535"},
		{&authorResponse{args: []string{bytes256}}, "arg is 256 bytes, the limit is 255"},
		{&authorResponse{args: args256}, "256 arguments, the limit is 255"},
		{&acctRequest{commonFields: commonFields{user: bytes256}}, "user is 256 bytes, the limit is 255"},
		{&acctRequest{commonFields: commonFields{port: bytes256}}, "port is 256 bytes, the limit is 255"},
		{&acctRequest{commonFields: commonFields{remAddr: bytes256}}, "rem_addr is 256 bytes, the limit is 255"},
		{&acctRequest{args: []string{bytes256}}, "arg is 256 bytes, the limit is 255"},
		{&acctRequest{args: args256}, "256 arguments, the limit is 255"},
		{&acctReply{serverMsg: bytes65536}, "server_msg is 65536 bytes, the limit is 65535"},
		{&acctReply{data: bytes65536}, "data is 65536 bytes, the limit is 65535"},
		// The error names the first mistake.
		{&authenStart{commonFields: commonFields{user: bytes256}, data: bytes65536}, "user is 256 bytes, the limit is 255"},
		// Every field fits, but the body is too long.
		{&authenReply{serverMsg: bytes65536[:65530]}, "the body would be 65536 bytes, the limit is 65535"},
		{&authorRequest{commonFields: commonFields{user: bytes255, port: bytes255, remAddr: bytes255}, args: slices.Repeat([]string{bytes255}, 255)},
			"the body would be 66053 bytes, the limit is 65535"},
	} {
		before := []byte("before")
		got, err := appendPacket(before, new(header), test.message)
		if err == nil || err.Error() != test.want {
			t.Errorf("%T: got %v, want %s", test.message, err, test.want)
		}
		if string(got) != "before" {
			t.Errorf("%T: got %d bytes with the error, want the unchanged buffer", test.message, len(got))
		}
	}
}

func TestAppendPacket(t *testing.T) {
	h := header{version: minorOne, typ: typeAuthen, seqNo: 3, flags: flagSingleConnect, sessionID: 0x01020304, length: 999}
	got, err := appendPacket([]byte("before"), &h, &authenContinue{userMsg: "hi"})
	want := append([]byte("before"), unhex(t, "c1 01 03 04 01020304 00000007  0002 0000 00 6869")...)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %x, %v, want %x", got, err, want)
	}
	if h.length != 7 {
		t.Errorf("length in the header: got %d, want 7", h.length)
	}
}

func TestReadHeader(t *testing.T) {
	stream := unhex(t, "c1 02 04 05 a1b2c3d4 0000002a ff")
	want := header{version: minorOne, typ: typeAuthor, seqNo: 4, flags: 5, sessionID: 0xa1b2c3d4, length: 42}
	r := iotest.OneByteReader(bytes.NewReader(stream))
	h, got, err := readHeader(r)
	if err != nil || h != want || !bytes.Equal(got, stream[:headerLen]) {
		t.Errorf("one byte per read: got %+v, %x, %v, want %+v, %x", h, got, err, want, stream[:headerLen])
	}
	if rest, _ := io.ReadAll(r); len(rest) != 1 {
		t.Errorf("got %d bytes after the header, want 1", len(rest))
	}
	for n := range headerLen {
		_, got, err := readHeader(bytes.NewReader(stream[:n]))
		wantErr := io.ErrUnexpectedEOF
		if n == 0 {
			wantErr = io.EOF
		}
		if !errors.Is(err, wantErr) || !bytes.Equal(got, stream[:n]) {
			t.Errorf("%d bytes: got %x, %v, want %x, %v", n, got, err, stream[:n], wantErr)
		}
	}
}

func TestReadBody(t *testing.T) {
	for _, test := range []struct {
		name         string
		length, have int
		want         int
		err          error
	}{
		{"empty", 0, 5, 0, nil},
		{"part of the stream", 4, 5, 4, nil},
		{"the longest", 65535, 65535, 65535, nil},
		{"empty", 5, 0, 0, io.EOF},
		{"cut off", 5, 4, 4, io.ErrUnexpectedEOF},
	} {
		t.Run(test.name, func(t *testing.T) {
			stream := bytes.Repeat([]byte("x"), test.have)
			body, err := readBody(iotest.HalfReader(bytes.NewReader(stream)), header{length: uint32(test.length)})
			if len(body) != test.want || !errors.Is(err, test.err) {
				t.Errorf("got %d bytes, %v, want %d, %v", len(body), err, test.want, test.err)
			}
		})
	}
}

// TestReadBodyRefusesLongBody: the length in a hostile header causes no allocation.
func TestReadBodyRefusesLongBody(t *testing.T) {
	unread := iotest.ErrReader(errors.New("the stream was read"))
	for _, length := range []uint32{65536, 1 << 31, 1<<32 - 1} {
		h := header{length: length}
		if body, err := readBody(unread, h); body != nil || !errors.Is(err, errBodyTooLong) {
			t.Errorf("length %d: got %d bytes, %v, want none, %v", length, len(body), err, errBodyTooLong)
		}
		if n := testing.AllocsPerRun(10, func() { _, _ = readBody(unread, h) }); n != 0 {
			t.Errorf("length %d: got %v allocations, want 0", length, n)
		}
	}
}

func TestVersion(t *testing.T) {
	for v, want := range map[version]string{minorDefault: "0xc.0", minorOne: "0xc.1", 0xdf: "0xd.15", 0: "0x0.0"} {
		equal(t, v.String(), want, uint8(v))
	}
	if minorOne.major() != majorVersion || minorOne.minor() != 1 || minorDefault.minor() != 0 {
		t.Errorf("got %x.%x and %x.%x, want c.1 and c.0", minorOne.major(), minorOne.minor(), minorDefault.major(), minorDefault.minor())
	}
}

// TestNames checks the numbers of RFC 8907 sections 4.1, 5.1, 5.2, 6.1, 6.2, 7.1 and 7.2.
func TestNames(t *testing.T) {
	for _, test := range []struct {
		enumeration string
		names       names
		want        map[uint8]string
		text        func(v uint8) string
	}{
		{"type", packetTypeNames, map[uint8]string{1: "authentication", 2: "authorization", 3: "accounting"},
			func(v uint8) string { return packetType(v).String() }},
		{"action", authenActionNames, map[uint8]string{1: "LOGIN", 2: "CHPASS", 4: "SENDAUTH"},
			func(v uint8) string { return authenAction(v).String() }},
		{"authen_type", authenTypeNames, map[uint8]string{1: "ascii", 2: "pap", 3: "chap", 5: "mschap", 6: "mschapv2"},
			authenTypeNames.name}, // a login does not have 0
		{"authen_service", authenServiceNames, map[uint8]string{0: "none", 1: "login", 2: "enable", 3: "ppp", 5: "pt", 6: "rcmd",
			7: "x25", 8: "nasi", 9: "fwproxy"},
			func(v uint8) string { return authenService(v).String() }},
		{"authen_status", authenStatusNames, map[uint8]string{1: "PASS", 2: "FAIL", 3: "GETDATA", 4: "GETUSER", 5: "GETPASS",
			6: "RESTART", 7: "ERROR", 0x21: "FOLLOW"},
			func(v uint8) string { return authenStatus(v).String() }},
		{"authen_method", authenMethodNames, map[uint8]string{0: "not_set", 1: "none", 2: "krb5", 3: "line", 4: "enable", 5: "local",
			6: "tacacsplus", 8: "guest", 0x10: "radius", 0x11: "krb4", 0x20: "rcmd"},
			func(v uint8) string { return authenMethod(v).String() }},
		{"author_status", authorStatusNames, map[uint8]string{1: "PASS_ADD", 2: "PASS_REPL", 0x10: "FAIL", 0x11: "ERROR", 0x21: "FOLLOW"},
			func(v uint8) string { return authorStatus(v).String() }},
		{"acct_flags", acctFlagNames, map[uint8]string{2: "start", 4: "stop", 8: "watchdog", 0xa: "watchdog-update"},
			func(v uint8) string { return acctFlags(v).String() }},
		{"acct_status", acctStatusNames, map[uint8]string{1: "SUCCESS", 2: "ERROR", 0x21: "FOLLOW"},
			func(v uint8) string { return acctStatus(v).String() }},
	} {
		t.Run(test.enumeration, func(t *testing.T) {
			for i := range 256 {
				v := uint8(i)
				want, known := test.want[v]
				if !known {
					want = "0x" + hex.EncodeToString([]byte{v})
				}
				if got := test.text(v); got != want || test.names.name(v) != want {
					t.Errorf("name of %d: got %s, want %s", v, got, want)
				}
				equal(t, test.names.has(v), known, "has", v)
				var back uint8
				if err := test.names.set(&back, strings.ToUpper(want)); (err == nil) != known || known && back != v {
					t.Errorf("set %s: got %d, %v, want %d, known %v", want, back, err, v, known)
				}
			}
			equal(t, len(test.names.known()), len(test.want), "known")
		})
	}
}

func TestNamesSetRefuses(t *testing.T) {
	for _, s := range []string{"", "tcp", "pap "} {
		v := uint8(77)
		err := authenTypeNames.set(&v, s)
		if want := "is not one of ascii pap chap mschap mschapv2"; err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", s, err, want)
		}
		if v != 77 {
			t.Errorf("%q: got the value %d, want the old one", s, v)
		}
	}
}

func TestBits(t *testing.T) {
	for _, test := range []struct{ got, want string }{
		{headerFlags(0).String(), "none"},
		{flagUnencrypted.String(), "UNENCRYPTED"},
		{flagSingleConnect.String(), "SINGLE_CONNECT"},
		{(flagUnencrypted | flagSingleConnect).String(), "UNENCRYPTED|SINGLE_CONNECT"},
		{headerFlags(0x86).String(), "0x02|SINGLE_CONNECT|0x80"},
		{authenNoEcho.String(), "NOECHO"},
		{authenReplyFlags(2).String(), "0x02"},
		{authenAbort.String(), "ABORT"},
		{authenContinueFlags(3).String(), "ABORT|0x02"},
	} {
		if test.got != test.want {
			t.Errorf("got %s, want %s", test.got, test.want)
		}
	}
}

// FuzzDecode: a decoded message encodes to the same bytes, so no byte is read twice, lost or invented. The
// first byte of the input selects the message type.
func FuzzDecode(f *testing.F) {
	kinds := []message{&header{}, &authenStart{}, &authenReply{}, &authenContinue{},
		&authorRequest{}, &authorResponse{}, &acctRequest{}, &acctReply{}}
	for _, row := range wireTable() {
		kind := slices.IndexFunc(kinds, func(m message) bool { return reflect.TypeOf(m) == reflect.TypeOf(row.message) })
		f.Add(append([]byte{byte(kind)}, unhex(f, row.wire)...))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		if len(input) == 0 {
			return
		}
		m, body := fresh(kinds[int(input[0])%len(kinds)]), input[1:]
		if decode(body, m) != nil {
			return
		}
		if got, err := encoded(m); err != nil || !bytes.Equal(got, body) {
			t.Errorf("%T: got %x, %v, want %x", m, got, err, body)
		}
	})
}

// knownStatus reports whether the status of a reply is defined.
func knownStatus(m message) bool {
	switch m := m.(type) {
	case *authenReply:
		return authenStatusNames.has(uint8(m.status))
	case *authorResponse:
		return authorStatusNames.has(uint8(m.status))
	case *acctReply:
		return acctStatusNames.has(uint8(m.status))
	}
	return false
}

// TestDecodeRejectsWrongKey: a reply with another key must be rejected. Only the sum of the lengths shows the
// mismatch, since the protocol has no checksum.
func TestDecodeRejectsWrongKey(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(8907, 45))
	printable := make([]byte, 1<<16)
	for i := range printable {
		printable[i] = byte(' ' + random.IntN('~'-' '+1))
	}
	for i, kind := range []struct {
		name   string
		rounds int // 50,000 in all
		// reply returns the i-th reply of a server. text returns at most limit random bytes.
		reply func(i int, text func(limit int) string) message
	}{
		{"authentication", 20_000, func(i int, text func(int) string) message {
			switch i % 4 {
			case 0:
				return &authenReply{status: authenPass}
			case 1:
				return &authenReply{status: authenPass, serverMsg: text(80)}
			case 2:
				return &authenReply{status: authenGetPass, flags: authenNoEcho, serverMsg: "Password: "}
			}
			return &authenReply{status: authenFail, serverMsg: text(120), data: text(5)}
		}},
		{"authorization", 10_000, func(i int, text func(int) string) message {
			switch i % 3 {
			case 0:
				return &authorResponse{status: authorPassAdd}
			case 1:
				return &authorResponse{status: authorPassRepl, args: []string{"priv-lvl=15", "acl=" + text(20), "addr*" + text(20)}}
			}
			return &authorResponse{status: authorFail, serverMsg: text(120), data: text(5), args: []string{"reason=" + text(20)}}
		}},
		{"accounting", 20_000, func(i int, text func(int) string) message {
			if i%2 == 0 {
				return &acctReply{status: acctSuccess}
			}
			return &acctReply{status: acctError, serverMsg: text(120), data: text(5)}
		}},
	} {
		random := rand.New(rand.NewPCG(8907, uint64(i)))
		text := func(most int) string {
			from := random.IntN(len(printable) - most)
			return string(printable[from : from+random.IntN(most+1)])
		}
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			accepted, withStatus := 0, 0
			for i := range kind.rounds {
				sent := kind.reply(i, text)
				h := header{version: minorDefault, seqNo: 2, sessionID: random.Uint32()}
				serverKey, clientKey := "server"+text(26), "client"+text(26)
				packet, err := appendPacket(nil, &h, sent)
				must(t, err)
				wire := packet[headerLen:]
				obfuscate(&h, serverKey, wire)

				wrong, got := bytes.Clone(wire), fresh(sent)
				obfuscate(&h, clientKey, wrong)
				if err := decode(wrong, got); err == nil && knownStatus(got) {
					accepted++
				}
				if authenStatusNames.has(wrong[0]) {
					withStatus++
				}
				// With the right key the reply is decoded: a check that rejects everything would be useless.
				right, got := wire, fresh(sent)
				obfuscate(&h, serverKey, right)
				if err := decode(right, got); err != nil || !knownStatus(got) || !reflect.DeepEqual(got, sent) {
					t.Fatalf("the right key: got %+v, %v, want %+v", got, err, sent)
				}
			}
			if accepted != 0 {
				t.Errorf("%d replies are accepted with the wrong key, want 0", accepted)
			}
			// 8 of the 256 values of the first byte are a status. So many wrong replies would pass without
			// the check.
			if want := kind.rounds * 8 / 256; withStatus < want*8/10 || withStatus > want*12/10 {
				t.Errorf("%d wrong replies begin with a status, want about %d: are they random?", withStatus, want)
			}
		})
	}
}

// benchmarkMessages has a short, an ordinary and a long message.
var benchmarkMessages = map[string]message{
	"REPLY":    &authenReply{status: authenPass},
	"REQUEST":  &authorRequest{method: authenMethodTACACSPlus, commonFields: commonFields{typ: authenASCII, service: authenServiceLogin, user: "alice", port: "tty0", remAddr: "192.0.2.1"}, args: []string{"service=shell", "cmd=show", "cmd-arg=version"}},
	"RESPONSE": &authorResponse{status: authorPassAdd, args: slices.Repeat([]string{"cmd-arg=configuration"}, 200)},
}

func BenchmarkEncode(b *testing.B) {
	for name, m := range benchmarkMessages {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var c codec // reused, as in a session
			var h header
			var packet []byte
			for b.Loop() {
				packet, _ = c.appendPacket(packet[:0], &h, m)
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	for name, m := range benchmarkMessages {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			body, _ := encoded(m)
			got := fresh(m)
			var c codec
			for b.Loop() {
				_ = c.decode(body, got)
			}
		})
	}
}

// TestObfuscateKnownAnswer has three blocks, since wrong chaining shows only after 32 bytes.
func TestObfuscateKnownAnswer(t *testing.T) {
	h := header{version: minorDefault, seqNo: 1, sessionID: 0x01020304}
	want := unhex(t, `b1583481ac880db5262b8280808862229d87456c3cd7ead04a3eb6da725e1daf
		0ce04dc17919e6c85d12bc564afc80d8`)
	for n := range len(want) + 1 {
		got := make([]byte, n) // zeros, so the result is the pad
		obfuscate(&h, "testkey1234567890", got)
		if !bytes.Equal(got, want[:n]) {
			t.Errorf("%d bytes: got %x, want %x", n, got, want[:n])
		}
	}
}

func TestObfuscate(t *testing.T) {
	t.Parallel()
	// The last header also has a type and flags, on which the pad does not depend.
	headers := []header{
		{version: minorDefault, seqNo: 1, sessionID: 0x01020304},
		{version: minorOne, seqNo: 1, sessionID: 0x01020304},
		{version: minorDefault, seqNo: 2, sessionID: 0x01020304},
		{version: minorDefault, seqNo: 253, sessionID: 0xfffefdfc},
		{version: minorOne, typ: typeAcct, seqNo: 1, flags: flagSingleConnect, sessionID: 0x01020304, length: 33},
	}
	keys := []string{"", "k", "sixteen bytes!!", strings.Repeat("k", 32), strings.Repeat("k", 64), strings.Repeat("k", 400), "schlüssel\x00\xff"}
	for i, h := range headers {
		for _, key := range keys {
			for _, n := range []int{0, 1, 15, 16, 17, 33, 4096} {
				t.Run(fmt.Sprintf("header %d, key of %d, body of %d", i, len(key), n), func(t *testing.T) {
					clear := bytes.Repeat([]byte("body"), 1024)[:n]
					body := bytes.Clone(clear)
					obfuscate(&h, key, body)
					if want := referenceObfuscate(h, key, clear); !bytes.Equal(body, want) {
						t.Errorf("got %x, want %x", body, want)
					}
					obfuscate(&h, key, body)
					if !bytes.Equal(body, clear) {
						t.Errorf("twice: got %x, want %x", body, clear)
					}
				})
			}
		}
	}
}

// referenceObfuscate implements section 4.5 literally, to be compared with the RFC.
func referenceObfuscate(h header, key string, body []byte) []byte {
	var pad, last []byte
	for len(pad) < len(body) {
		hash := md5.New()
		binary.Write(hash, binary.BigEndian, h.sessionID)
		io.WriteString(hash, key)
		hash.Write([]byte{uint8(h.version)})
		hash.Write([]byte{h.seqNo})
		hash.Write(last)
		last = hash.Sum(nil)
		pad = append(pad, last...)
	}
	out := make([]byte, len(body))
	for i := range body {
		out[i] = body[i] ^ pad[i]
	}
	return out
}

// TestObfuscateStaysInBody: obfuscate changes only the body, not the memory around it.
func TestObfuscateStaysInBody(t *testing.T) {
	packet := make([]byte, 40)
	obfuscate(&header{}, "key", packet[10:27])
	if !bytes.Equal(packet[:10], make([]byte, 10)) || !bytes.Equal(packet[27:], make([]byte, 13)) {
		t.Errorf("got %x, want zeros but for bytes 10 to 26", packet)
	}
}

func TestObfuscateDoesNotAllocate(t *testing.T) {
	h, key, body := header{version: minorDefault, seqNo: 1}, strings.Repeat("k", 32), make([]byte, 4096)
	if n := testing.AllocsPerRun(100, func() { obfuscate(&h, key, body) }); n != 0 {
		t.Errorf("got %v allocations, want 0", n)
	}
}

func BenchmarkObfuscate(b *testing.B) {
	h, key := header{version: minorDefault, seqNo: 1}, strings.Repeat("k", 32)
	for _, n := range []int{32, 4096} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(n))
			body := make([]byte, n)
			for b.Loop() {
				obfuscate(&h, key, body)
			}
		})
	}
}

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
