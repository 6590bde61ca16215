package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
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

// TestServeSingleConnectFlag: only the flag of the first packet counts (RFC 8907 section 4.3).
func TestServeSingleConnectFlag(t *testing.T) {
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
			must(t, c.send(h, papStart("alice", testPassword)))
			if h, err := c.receive(new(authenReply)); err != nil || h.flags != tt.got[i] {
				t.Errorf("%v: reply %d has the flags %s, %v, want %s", tt.sent, i, h.flags, err, tt.got[i])
			}
		}
		if tt.got[0] == single {
			c.Conn.(*net.TCPConn).CloseWrite()
		}
		c.checkEnd(t)
	}
}

// TestServeSingleConnectFlagOfContinue: the flag is ignored after the first packet.
func TestServeSingleConnectFlagOfContinue(t *testing.T) {
	t.Parallel()
	for _, first := range []headerFlags{0, flagSingleConnect} {
		c := dialFakeClient(t, serveWith(t).addr)
		h := header{version: minorDefault, typ: typeAuthen, seqNo: 1, flags: first}
		for _, m := range []message{asciiStart("alice"), answerWith(testPassword)} {
			must(t, c.send(h, m))
			if got, err := c.receive(new(authenReply)); err != nil || got.flags != first {
				t.Errorf("%+v gets the header %+v, %v, want the flags %s", h, got, err, first)
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

// TestServeBadPackets checks packets that end a connection: the reply, if any, and the line in the log.
func TestServeBadPackets(t *testing.T) {
	t.Parallel()
	login := papStart("alice", testPassword)
	h := header{version: minorOne, typ: typeAuthen, seqNo: 1, sessionID: 7}
	with := func(change func(h *header)) header { h := h; change(&h); return h }
	unobfuscated := with(func(h *header) { h.flags = flagUnencrypted })
	withType := func(typ packetType, seqNo uint8) []byte {
		return packed(with(func(h *header) { h.typ, h.seqNo = typ, seqNo }), testKey, login)
	}
	author := with(func(h *header) { h.typ = typeAuthor })
	acct := with(func(h *header) { h.typ = typeAcct })
	third := func(h header) header { h.seqNo = 3; return h }
	withLength := func(data string) []byte { return append(unhex(t, "c1 01 01 00 00000007"), data...) }
	const unfit = "packet cannot be read with this key: lengths do not add up\n"
	const cut = "closed in the middle of a packet\n"
	const none = "a packet of no session: seq_no 3 in session 00000007\n"
	for _, tt := range []struct {
		name   string
		packet []byte
		want   message // the reply; a header is a reply without a body
		note   string
	}{
		{"type 0", withType(0, 1), &header{version: minorOne, seqNo: 2, sessionID: 7}, "unknown packet type 0x00\n"},
		{"type 4", withType(4, 1), &header{version: minorOne, typ: 4, seqNo: 2, sessionID: 7}, "unknown packet type 0x04\n"},
		{"type 255", withType(255, 3), &header{version: minorOne, typ: 255, seqNo: 4, sessionID: 7}, "unknown packet type 0xff\n"},
		{"seq_no 0", withType(1, 0), nil, "even seq_no 0 from a client\n"},
		{"seq_no 2", withType(1, 2), nil, "even seq_no 2 from a client\n"},
		{"seq_no 254", withType(1, 254), nil, "sequence numbers exhausted\n"},
		{"seq_no 255", withType(1, 255), nil, "sequence numbers exhausted\n"},
		{"authorization with seq_no 3", packed(third(author), testKey, &authorRequest{commonFields: commonFields{user: "alice"}}), &authorResponse{status: authorError, serverMsg: "no such session"}, none},
		{"accounting with seq_no 3", packed(third(acct), testKey, &acctRequest{flags: acctStop, commonFields: commonFields{user: "alice"}}), &acctReply{status: acctError, serverMsg: "no such session"}, none},
		{"unobfuscated", packed(unobfuscated, "", login), &authenReply{status: authenError, serverMsg: "UNENCRYPTED flag"}, "UNENCRYPTED flag without TLS\n"},
		{"wrong key, authentication", packed(h, "wrong", login), &authenReply{status: authenError, serverMsg: "malformed packet"}, unfit},
		{"wrong key, authorization", packed(author, "wrong", &authorRequest{commonFields: commonFields{user: "alice"}}),
			&authorResponse{status: authorError, serverMsg: "malformed packet"}, unfit},
		{"wrong key, accounting", packed(acct, "wrong", &acctRequest{commonFields: commonFields{user: "alice"}}),
			&acctReply{status: acctError, serverMsg: "malformed packet"}, unfit},
		{"another message", packed(author, testKey, &authenContinue{userMsg: "x"}), &authorResponse{status: authorError, serverMsg: "malformed packet"}, unfit},
		{"no body", withLength("\x00\x00\x00\x00"), &authenReply{status: authenError, serverMsg: "malformed packet"}, unfit},
		{"a body of 65536 bytes", withLength("\x00\x01\x00\x00"), nil, "body is 65536 bytes, the limit is 65535\n"},
		{"a body of 2^32-1 bytes", withLength("\xff\xff\xff\xff"), nil, "body is 4294967295 bytes, the limit is 65535\n"},
		{"a truncated body of 65535 bytes", withLength("\x00\x00\xff\xffxyz"), nil, cut},
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
					t.Errorf("got the reply %+v, %v, want %+v", got, err, *want)
				}
			default:
				got := fresh(want)
				h, err := c.receive(got)
				if err != nil || !reflect.DeepEqual(got, want) || h.seqNo != tt.packet[2]+1 || h.sessionID != 7 {
					t.Errorf("got the reply %+v %+v, %v, want %+v", h, got, err, want)
				}
			}
			c.checkEnd(t)
			equal(t, s.lines(t), tt.note, "the log")
		})
	}
}

// TestServeWrongKeyLine: the line names the peer and does not reveal the key.
func TestServeWrongKeyLine(t *testing.T) {
	t.Parallel()
	const key = "der Schlüssel, überall länger"
	s := serveWith(t, "--key", key)
	c := dialFakeClient(t, s.addr)
	must(t, c.send(header{version: minorOne, typ: typeAuthen, seqNo: 1}, papStart("alice", testPassword)))
	if h, _, err := readHeader(c.in); err != nil || h.flags&flagUnencrypted != 0 {
		t.Errorf("got the reply %+v, %v", h, err)
	}
	s.stop()
	if got := s.log.String(); !strings.Contains(got, c.LocalAddr().String()+" packet cannot be read with this key: ") || strings.Contains(got, key[:8]) || strings.Contains(got, "character") {
		t.Error(got)
	}
}

// TestServeMalformedOverTLS: without a key, the message does not mention one.
func TestServeMalformedOverTLS(t *testing.T) {
	t.Parallel()
	log := new(lockedBuffer)
	srv := newLab()
	srv.tls, srv.listener.log.out = new(tls.Config), newQueuedWriter(context.Background(), log)
	h := header{version: minorDefault, typ: typeAuthor, seqNo: 1, flags: flagUnencrypted}
	conn := &stream{Reader: bytes.NewReader(packed(h, "", &authenContinue{userMsg: "x"}))}
	srv.serve(t.Context(), conn)
	var r authorResponse
	if _, err := (&fakeClient{in: bufio.NewReader(&conn.out)}).receive(&r); err != nil || r.status != authorError || r.serverMsg != "malformed packet" {
		t.Errorf("got the reply %+v, %v", r, err)
	}
	if !strings.HasSuffix(log.String(), " malformed packet: "+errBodyLength.Error()+"\n") {
		t.Errorf("the log is\n%s", log)
	}
}

// TestServeUnknownType: the reply is the received header, with unknown flags, the next seq_no and no body (RFC 8907
// section 3.6). An even seq_no gets no reply.
func TestServeUnknownType(t *testing.T) {
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
					t.Errorf("want the reply %+v, got %x", h, conn.out.Bytes())
				}
			}
		}
	}
}

// FuzzServe: for any input, the connection is closed, uses at most the memory of one body beyond the data, and all
// replies are TACACS+.
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
		unobfuscated := flags != 0
		for _, packets := range [][]any{
			{papStart("alice", testPassword)}, {papStart("bob", "")}, {asciiStart("alice"), answerWith(testPassword)}, {asciiStart(""), answerWith("alice")},
			{chpass, answerWith(testPassword)}, {asciiStart("alice"), &authenContinue{flags: authenAbort, data: "bye"}}, {answerWith("what?")},
			{challenge(authenCHAP, 16)}, {challenge(authenMSCHAP, 8)}, {challenge(authenMSCHAPv2, 16)},
			{shell}, {show}, {record}, {papStart("alice", testPassword), shell, asciiStart("alice"), answerWith("no"), record, papStart("alice", "no")},
		} {
			f.Add(mix(flags, packets...), unobfuscated)
		}
		f.Add(mix(flags, shell)[:headerLen], unobfuscated)
		f.Add(mix(flags, shell, record)[:100], unobfuscated)
		f.Add([]byte("\xc0\x01\x01\x01\x00\x00\x00\x00\xff\xff\xff\xff"), unobfuscated)
		f.Add([]byte("\xc0\x01\x01\x01\x00\x00\x00\x00\x00\x00\xff\xff"), unobfuscated)
		f.Add([]byte("\xc0\x09\xff\x01\x00\x00\x00\x00\x00\x00\x00\x00"), unobfuscated)
		f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), unobfuscated)
		f.Add([]byte{}, unobfuscated)
	}
	f.Fuzz(func(t *testing.T, data []byte, unobfuscated bool) {
		srv := newLab()
		srv.listener.log.verbose, srv.lab.args = true, []string{"priv-lvl=15", "idletime=5"}
		if unobfuscated {
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
				t.Fatalf("a reply has the header %+v, %v", h, err)
			}
			if h.length == 0 {
				continue
			}
			body, err := readBody(answers.in, h)
			if !unobfuscated {
				obfuscate(&h, testKey, body)
			}
			reply := map[packetType]message{typeAuthen: new(authenReply), typeAuthor: new(authorResponse), typeAcct: new(acctReply)}[h.typ]
			if reply == nil || err != nil || decode(body, reply) != nil || !knownStatus(reply) || unobfuscated != (h.flags&flagUnencrypted != 0) {
				t.Fatalf("a reply has the header %+v and the body %x, %v", h, body, err)
			}
		}
	})
}

// TestServeReplyIsNotHeldBack: a reply is sent even if the next packet has arrived in part.
func TestServeReplyIsNotHeldBack(t *testing.T) {
	t.Parallel()
	c := dialFakeClient(t, startLab(t, newLab()).addr)
	one := packed(header{version: minorOne, typ: typeAuthen, seqNo: 1, flags: flagSingleConnect}, testKey, papStart("alice", testPassword))
	c.Write(append(bytes.Clone(one), one[:headerLen]...))
	if _, err := c.receive(new(authenReply)); err != nil {
		t.Error(err)
	}
}

// TestServeTooManyArguments: instead of a PASS_REPL with over 255 arguments the reply is ERROR.
func TestServeTooManyArguments(t *testing.T) {
	t.Parallel()
	srv := newLab()
	srv.lab.args = []string{"priv-lvl=15", "idletime=5"}
	c := dialFakeClient(t, startLab(t, srv).addr)
	args := append([]string{"service=shell", "cmd=", "priv-lvl*1"}, strings.Fields(strings.Repeat("a*b ", 252))...)
	c.send(header{version: minorDefault, typ: typeAuthor, seqNo: 1}, &authorRequest{commonFields: commonFields{user: "alice"}, args: args})
	var r authorResponse
	if _, err := c.receive(&r); err != nil || r.status != authorError {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestServeConnectionLimit: connections over the limit are refused, until others end.
func TestServeConnectionLimit(t *testing.T) {
	t.Parallel()
	s := serveWith(t, "--max-per-address", "2")
	first, second := dialFakeClient(t, s.addr), dialFakeClient(t, s.addr)
	for _, c := range []*fakeClient{first, second} { // both are served by now
		must(t, c.login(1, flagSingleConnect))
	}
	third := dialFakeClient(t, s.addr)
	third.checkEnd(t)
	waitUntil(t, "it has its line", func() bool {
		return strings.Contains(s.log.String(), third.LocalAddr().String()+" refused: too many connections from this address\n")
	})
	must(t, second.login(2, flagSingleConnect))
	first.Close()
	waitUntil(t, "a place is free", func() bool { return dialFakeClient(t, s.addr).login(3, 0) == nil })
}

// TestServeRudeClients: many kinds of misbehaving clients do not affect one that logs in repeatedly.
func TestServeRudeClients(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	slow, silent, blocked, long := dialFakeClient(t, s.addr), dialFakeClient(t, s.addr), dialFakeClient(t, s.addr), dialFakeClient(t, s.addr)
	// This client writes requests and never reads, until its writes block.
	h := header{version: minorDefault, typ: typeAuthor, seqNo: 1, flags: flagSingleConnect}
	many := bytes.Repeat(packed(h, testKey, &authorRequest{commonFields: commonFields{user: "alice"}, args: []string{"service=shell", "cmd="}}), 1000)
	var flood sync.WaitGroup
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop); blocked.Close(); flood.Wait() })
	flood.Go(func() {
		for {
			if _, err := blocked.Write(many); err != nil {
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
				time.Sleep(time.Millisecond)
			}
		})
	}
	long.Write(unhex(t, "c1 01 01 00 00000007 ffffffff"))
	data := packed(header{version: minorOne, typ: typeAuthen, seqNo: 1}, testKey, papStart("alice", testPassword))
	began, sent := time.Now(), 0
	for i := 0; sent < len(data); i++ { // the slow client sends a byte for each login of the other one
		must(t, dialFakeClient(t, s.addr).login(uint32(i), 0))
		if time.Since(began) > firstTimeout/2 { // on a slow machine send the rest in time
			i = len(data) - 1
		}
		if _, err := slow.Write(data[sent : i+1]); err != nil {
			t.Fatal(err)
		}
		sent = i + 1
	}
	slow.receives(t, authenPass)
	if err := silent.login(1, 0); err != nil {
		t.Errorf("the silent client: %v", err)
	}
	long.checkEnd(t)
}

// TestServeRepliesDoNotPileUp: replies are written even if a part of the next packet is always there.
func TestServeRepliesDoNotPileUp(t *testing.T) {
	t.Parallel()
	h := header{version: minorDefault, typ: typeAuthor, seqNo: 1, flags: flagSingleConnect}
	first := packed(h, testKey, &authorRequest{commonFields: commonFields{user: "alice"}, args: []string{"service=shell", "cmd="}})
	next := packed(h, testKey, &authorRequest{commonFields: commonFields{user: "alice"}, args: []string{"service=shell", "cmd=", "x*" + strings.Repeat("x", 17)}})
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

// TestServeDeadlines checks how long a client can hold a connection.
func TestServeDeadlines(t *testing.T) {
	t.Parallel()
	pair, _, err := selfSigned(nil)
	must(t, err)
	login := packed(header{version: minorOne, typ: typeAuthen, seqNo: 1, flags: flagSingleConnect}, testKey, papStart("alice", testPassword))
	for _, tt := range []struct {
		name   string
		tls    bool
		client func(net.Conn)
		want   time.Duration
		note   string
	}{
		{"silent", false, func(net.Conn) {}, firstTimeout, "no whole packet within 10s\n"},
		{"silent before TLS", true, func(net.Conn) {}, handshakeTimeout, "TLS: i/o timeout\n"},
		{"half a header", false, func(c net.Conn) { c.Write(login[:5]) }, firstTimeout, "no whole packet within 10s\n"},
		{"sends byte by byte", false, func(c net.Conn) {
			for i := range login {
				c.Write(login[i : i+1])
				time.Sleep(time.Second)
			}
		}, firstTimeout, "no whole packet within 10s\n"},
		{"sends byte by byte before TLS", true, func(c net.Conn) {
			c.Write([]byte("\x16\x03\x01\x01\x00"))
			for range 20 {
				c.Write([]byte{0})
				time.Sleep(time.Second)
			}
		}, handshakeTimeout, "TLS: i/o timeout\n"},
		{"idle after a login", false, func(c net.Conn) {
			time.Sleep(9 * time.Second)
			c.Write(login)
			c.Read(make([]byte, 100))
		}, 9*time.Second + idleTimeout, "alice authenticate pap PASS\n"},
		{"sends byte by byte after a login", false, func(c net.Conn) {
			c.Write(login)
			c.Read(make([]byte, 100))
			for i := range login {
				c.Write(login[i : i+1])
				time.Sleep(7 * time.Second)
			}
		}, idleTimeout, "alice authenticate pap PASS\nno whole packet within 1m0s\n"},
		{"never reads", false, func(c net.Conn) { c.Write(login) }, idleTimeout, "alice authenticate pap PASS\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server, client := net.Pipe()
				if tt.tls {
					server = tls.Server(server, &tls.Config{Certificates: pair})
				}
				var wg sync.WaitGroup
				wg.Go(func() { tt.client(client) })
				began, srv, log := time.Now(), newLab(), new(lockedBuffer)
				srv.listener.log.out = newQueuedWriter(t.Context(), log)
				srv.serve(t.Context(), server)
				if elapsed := time.Since(began); elapsed != tt.want {
					t.Errorf("ended after %v, want %v", elapsed, tt.want)
				}
				if got := regexp.MustCompile(`(?m)^\S+ `).ReplaceAllString(log.String(), ""); got != tt.note {
					t.Errorf("got the log\n%swant\n%s", got, tt.note)
				}
				wg.Wait()
			})
		})
	}
}

// TestServeLongReplyDelay: a reply delay can be longer than the idle timeout.
func TestServeLongReplyDelay(t *testing.T) {
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
		var logins []byte
		for id := range uint32(2) { // at once
			logins = append(logins, packed(header{version: minorOne, typ: typeAuthen, seqNo: 1, flags: flagSingleConnect, sessionID: id}, testKey, papStart("alice", testPassword))...)
		}
		client.Write(logins)
		for n := range 2 {
			if _, err := c.receive(new(authenReply)); err != nil || time.Since(began) != time.Duration(n+1)*srv.delay {
				t.Errorf("login %d takes %v: %v", n+1, time.Since(began), err)
			}
		}
		client.Close()
		all.Wait()
	})
}

// TestServeTooManyDialogues: the number of dialogues that wait on one connection is limited. The others continue, and
// each that ends frees a slot.
func TestServeTooManyDialogues(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	c := dialFakeClient(t, s.addr)
	take := func(session uint32, say message, want *authenReply) {
		t.Helper()
		fakeExchange{session, say, want, 0}.run(t, c, flagSingleConnect)
	}
	ask, pass := &authenReply{status: authenGetPass, flags: authenNoEcho, serverMsg: "Password: "}, &authenReply{status: authenPass}
	again := &authenReply{status: authenGetPass, flags: authenNoEcho, serverMsg: "Password incorrect. Password: "}
	refused := &authenReply{status: authenError, serverMsg: "too many sessions"}
	for i := range uint32(maxDialogues) {
		take(i, asciiStart("alice"), ask)
	}
	take(maxDialogues, asciiStart("alice"), refused)
	take(maxDialogues, answerWith(testPassword), &authenReply{status: authenError, serverMsg: "no such session"})
	take(maxDialogues, papStart("alice", testPassword), pass) // it does not wait for an answer
	take(0, answerWith("no"), again)
	take(0, answerWith(testPassword), pass)
	take(maxDialogues, asciiStart("alice"), ask)
	take(0, asciiStart("alice"), refused)
	for i := range uint32(maxDialogues) {
		take(i+1, answerWith(testPassword), pass)
	}
}

// TestServeAllDialogues: the number of dialogues that wait on all connections is limited. Each that ends, is aborted
// or loses its connection frees a slot.
func TestServeAllDialogues(t *testing.T) {
	t.Parallel()
	srv := newLab()
	addr := startLab(t, srv).addr
	first, second := dialFakeClient(t, addr), dialFakeClient(t, addr)
	ask, pass := &authenReply{status: authenGetPass, flags: authenNoEcho, serverMsg: "Password: "}, &authenReply{status: authenPass}
	refused := &authenReply{status: authenError, serverMsg: "too many sessions from this address"}
	take := func(c *fakeClient, session uint32, say message, want *authenReply) {
		t.Helper()
		fakeExchange{session: session, send: say, want: want}.run(t, c, flagSingleConnect)
	}
	srv.waiting.limit = 3 // two of one address
	take(first, 1, asciiStart("alice"), ask)
	take(second, 2, asciiStart("alice"), ask)
	take(first, 3, asciiStart("alice"), refused)
	take(second, 4, papStart("alice", testPassword), pass)
	take(first, 1, asciiStart("alice"), ask) // in the slot of the previous dialogue
	take(second, 5, asciiStart("alice"), refused)
	take(second, 2, answerWith(testPassword), pass)
	take(first, 6, asciiStart("alice"), ask)
	take(second, 7, asciiStart("alice"), refused)
	first.Close()
	waitUntil(t, "the slots are free", func() bool { return srv.waiting.inUse() == 0 })
	take(second, 8, asciiStart("alice"), ask)
	take(second, 9, asciiStart("alice"), ask)
	take(second, 10, asciiStart("alice"), refused)
	second.Close()
	waitUntil(t, "no address has a claim", func() bool {
		srv.waiting.mu.Lock()
		defer srv.waiting.mu.Unlock()
		return len(srv.waiting.claims) == 0
	})
}

// TestServeDialogueMemory checks the memory of dialogues with the largest packets. It does not run in parallel, since it
// measures the memory of the process.
func TestServeDialogueMemory(t *testing.T) {
	const dialogues = 100
	srv := newLab()
	p := newLabConn(srv, new(stream))
	feed := func(id uint32, seqNo uint8, m message) {
		body, err := encoded(m)
		must(t, err)
		h := &header{version: minorDefault, typ: typeAuthen, seqNo: seqNo, sessionID: id}
		if _, over, err := p.decide(h, body); over || err != nil {
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
		feed(2*id+1, 3, answerWith(testPassword))
		feed(2*id+1, 5, &authenContinue{userMsg: "new", data: large})
	}
	if after := heapInUse(); after > before+2*dialogues*4096 {
		t.Errorf("%d dialogues hold %d KiB", 2*dialogues, (after-before)>>10)
	}
	runtime.KeepAlive(p)
}

// TestServeUndefinedValues: values that RFC 8907 does not define, and malformed arguments, are answered with ERROR.
func TestServeUndefinedValues(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	author := func(method authenMethod, fields commonFields, args ...string) message {
		fields.user = "alice"
		return &authorRequest{method: method, commonFields: fields, args: append([]string{"service=shell", "cmd="}, args...)}
	}
	for want, m := range map[string]message{
		"authen_method 0x63 is not defined":                 author(99, commonFields{}),
		"authen_type 0x04 is not defined":                   author(6, commonFields{typ: 4}),
		"priv_lvl 16 is not defined":                        author(6, commonFields{privLvl: 16}),
		"authen_service 0x4d is not defined":                author(6, commonFields{service: 77}),
		"argument 3 has no separator":                       author(6, commonFields{}, "vendor"),
		"argument 4 has no separator":                       author(6, commonFields{}, "a*", ""),
		"argument 3 has no name before the separator":       author(6, commonFields{}, "=x"),
		"argument 3 has control characters or is not UTF-8": author(6, commonFields{}, "a*\x07"),
	} {
		fakeExchange{1, m, &authorResponse{status: authorError, serverMsg: want}, 0}.run(t, dialFakeClient(t, s.addr), 0)
	}
	login := papStart("alice", testPassword)
	for want, fields := range map[string]commonFields{
		"priv_lvl 200 is not defined": {privLvl: 200, typ: authenPAP}, "authen_service 0x04 is not defined": {service: 4, typ: authenPAP},
	} {
		login.commonFields = fields
		fakeExchange{1, login, &authenReply{status: authenError, serverMsg: want}, 0}.run(t, dialFakeClient(t, s.addr), 0)
		record := &acctRequest{flags: acctStart, commonFields: fields}
		fakeExchange{1, record, &acctReply{status: acctError, serverMsg: want}, 0}.run(t, dialFakeClient(t, s.addr), 0)
	}
	fakeExchange{1, &acctRequest{flags: acctStart, method: 9}, &acctReply{status: acctError, serverMsg: "authen_method 0x09 is not defined"}, 0}.run(t, dialFakeClient(t, s.addr), 0)
}

// TestServeSurvivesBadSessions: in single-connection mode a bad session does not end the others (RFC 8907 section 4.4).
func TestServeSurvivesBadSessions(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	c := dialFakeClient(t, s.addr)
	ask := &authenReply{status: authenGetPass, flags: authenNoEcho, serverMsg: "Password: "}
	take := func(session uint32, say message, want *authenReply) {
		t.Helper()
		fakeExchange{session: session, send: say, want: want}.run(t, c, flagSingleConnect)
	}
	take(1, asciiStart("alice"), ask)
	take(2, asciiStart("alice"), ask)
	h := header{version: minorDefault, typ: 9, seqNo: 1, flags: flagSingleConnect, sessionID: 3}
	c.Write(packed(h, testKey, asciiStart("alice")))
	if got, _, err := readHeader(c.in); err != nil || got != (header{version: minorDefault, typ: 9, seqNo: 2, flags: flagSingleConnect, sessionID: 3}) {
		t.Fatalf("an unknown type gets the header %+v, %v", got, err)
	}
	h.typ, h.seqNo, h.sessionID = typeAuthen, 3, 2
	c.Write(packed(h, "another key", answerWith(testPassword)))
	c.receives(t, authenError)
	c.Write(packed(header{version: minorDefault, typ: typeAuthor, seqNo: 1, flags: flagSingleConnect, sessionID: 1}, "another key", showRun))
	var denied authorResponse // of a session of its own, whatever its session_id
	if _, err := c.receive(&denied); err != nil || denied.status != authorError {
		t.Fatalf("a malformed request gets the response %+v, %v", denied, err)
	}
	h.seqNo = 255
	c.Write(packed(h, testKey, answerWith(testPassword))) // no reply
	take(2, answerWith(testPassword), &authenReply{status: authenError, serverMsg: "no such session"})
	take(1, answerWith(testPassword), &authenReply{status: authenPass})
	c.Close()
	if got := s.lines(t); !strings.Contains(got, "alice authenticate ascii ERROR: malformed packet\n") || !strings.Contains(got, "malformed packet: lengths do not add up\n") {
		t.Errorf("the log is\n%s", got)
	}
}

// TestServeMaxPacket: --max-packet limits the body of a packet.
func TestServeMaxPacket(t *testing.T) {
	t.Parallel()
	s := serveWith(t, "--max-packet", "40")
	must(t, dialFakeClient(t, s.addr).login(1, 0))
	c := dialFakeClient(t, s.addr)
	c.send(header{version: minorOne, typ: typeAuthen, seqNo: 1}, papStart("alice", testPassword+testPassword))
	c.checkEnd(t)
	if got := s.lines(t); !strings.Contains(got, "body is 44 bytes, the limit is 40\n") {
		t.Errorf("the log is\n%s", got)
	}
}

// TestServeChallengeOnly: --challenge-only denies the types that send the password.
func TestServeChallengeOnly(t *testing.T) {
	t.Parallel()
	s := serveWith(t, "--challenge-only")
	for typ, code := range map[string]exitCode{"ascii": 1, "pap": 1, "chap": 0, "mschap": 0, "mschapv2": 0} {
		if got := s.ask(t, "authenticate alice AT -t "+typ); got.code != code {
			t.Errorf("%s: %+v", typ, got)
		}
	}
	if got := s.ask(t, "enable alice AT"); got.code != 1 || !strings.Contains(got.out, "authen_type ascii is not allowed") {
		t.Errorf("enable: %+v", got)
	}
}

// TestServeUnprovenConnections: silent connections, however many, do not lock out a client that has proven its key.
func TestServeUnprovenConnections(t *testing.T) {
	t.Parallel()
	s := serveWith(t, "--proxy-protocol", "127.0.0.1", "--max-connections", "32")
	proven := dialProxied(t, s.addr, "192.0.2.1:1024")
	must(t, proven.login(1, flagSingleConnect))
	wrong := dialProxied(t, s.addr, "192.0.2.1:1025") // it proves nothing
	wrong.send(header{version: minorOne, typ: typeAuthen, seqNo: 1, flags: flagSingleConnect}, &authenStart{action: 99, commonFields: commonFields{typ: authenPAP}})
	if _, err := wrong.receive(new(authenReply)); err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		dialProxied(t, s.addr, fmt.Sprintf("198.51.100.%d:1024", i))
	}
	waitUntil(t, "unproven connections are cut off", func() bool { return strings.Count(s.log.String(), "cut off: too many connections\n") == 10 })
	wrong.checkEnd(t)
	must(t, proven.login(2, flagSingleConnect))
}

// TestServeShortKey: a key of a client below 16 characters causes a warning, which does not show its length.
func TestServeShortKey(t *testing.T) {
	t.Parallel()
	const warning = "warning: the key from the command line has less than 16 characters"
	for key, warned := range map[string]bool{"k23456789012345": true, "k234567890123456": false} {
		r := serveVerbose(t, map[string]string{}, "--key", key, "--user", "alice:x")
		if got := r.stderr.String(); strings.Contains(got, warning) != warned {
			t.Errorf("%d characters: %s", len(key), got)
		}
	}
}

// TestServeLongSubject: the log cuts the names of a refused certificate.
func TestServeLongSubject(t *testing.T) {
	t.Parallel()
	cert := &x509.Certificate{Subject: pkix.Name{CommonName: strings.Repeat("n", 5000)}, DNSNames: slices.Repeat([]string{"name.example"}, 500)}
	got := handshakeFault(&tls.CertificateVerificationError{UnverifiedCertificates: []*x509.Certificate{cert}, Err: errors.New(strings.Repeat("e", 5000))})
	if len(got) > 3*maxShownName+60 || !strings.Contains(got, "CN="+strings.Repeat("n", maxShownName-6)+"...") {
		t.Errorf("%d bytes: %s", len(got), got)
	}
}

// TestServeEndsAfterBadPacket: a connection in single-connection mode ends after a bad packet if no packet fitted the key,
// and after one of no session.
func TestServeEndsAfterBadPacket(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	const single = flagSingleConnect
	for _, tt := range []struct {
		name   string
		proven bool // by a login before
		key    string
		header header
		reply  int // bytes
	}{
		{"wrong key", false, "another key", header{version: minorOne, typ: typeAuthen, seqNo: 1, flags: single, sessionID: 2}, headerLen + 6 + len("malformed packet")},
		{"unknown type", false, testKey, header{version: minorDefault, typ: 9, seqNo: 1, flags: single, sessionID: 2}, headerLen},
		{"flag", true, testKey, header{version: minorOne, typ: typeAuthen, seqNo: 1, flags: single | flagUnencrypted, sessionID: 2}, headerLen + 6 + len("UNENCRYPTED flag")},
		{"even number", true, testKey, header{version: minorOne, typ: typeAuthen, seqNo: 2, flags: single, sessionID: 2}, 0},
	} {
		c := dialFakeClient(t, s.addr)
		if tt.proven {
			must(t, c.login(1, single))
		}
		c.SetReadDeadline(time.Now().Add(idleTimeout / 2))
		c.Write(packed(tt.header, tt.key, papStart("alice", testPassword)))
		if got, err := io.ReadAll(c.in); len(got) != tt.reply || err != nil && !isClosed(err) {
			t.Errorf("%s: the server sends %x, %v, want %d bytes and the end", tt.name, got, err, tt.reply)
		}
	}
}
