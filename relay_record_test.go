package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
		rec, all := newRecorder(&out, false), new(recordedConns)
		args := slices.Repeat([]string{"filler*" + strings.Repeat("x", 240)}, 254)
		args = append([]string{"service=shell"}, args...) // 62 KiB in all
		for i := range uint32(2) {
			h := header{version: minorDefault, typ: typeAuthor, seqNo: 1, sessionID: 7 + i}
			for _, m := range []message{&authorRequest{commonFields: commonFields{user: "alice"}, args: args}, &authorResponse{status: authorPassRepl, args: args[:200]}} {
				packet, err := appendPacket(nil, &h, m)
				if err != nil {
					t.Fatal(err)
				}
				h.length = uint32(len(packet) - headerLen)
				rec.packet(all, device, server, h.seqNo == 1, &h, packet[headerLen:], m, false)
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

// TestRelayRecordReportsFullDisk: a full disk is reported once, and so is its end. Then the record is complete.
func TestRelayRecordReportsFullDisk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		disk := &smallDisk{room: 1 << 20}
		var reports []string
		rec := newRecorder(new(relayOptions).background(disk, "packets of the record", func(format string, args ...any) {
			reports = append(reports, fmt.Sprintf(format, args...))
		}), false)
		device, server := netip.MustParseAddrPort("198.51.100.7:41234"), netip.MustParseAddrPort("192.0.2.1:49")
		all := new(recordedConns)
		for _, room := range []int{1 << 20, 30, 0, 1 << 20, 1 << 20} {
			disk.give(room)
			h := header{version: minorDefault, typ: typeAuthor, seqNo: 1}
			rec.packet(all, device, server, true, &h, nil, nil, false)
			time.Sleep(2 * gatherTime)
		}
		want := []string{"packets of the record cannot be written: no space left on device", "packets of the record can be written again; 0 were lost"}
		if !slices.Equal(reports, want) {
			t.Errorf("reported %q, want %q", reports, want)
		}
		if n := strings.Count(disk.String(), "\x45\x00\x00"); n != 3+5 { // SYN, SYN and ACK, ACK, packets
			t.Errorf("the record has %d packets", n)
		}
	})
}

// TestRelayRecordOnFullDisk: with a full disk for --record, devices still get their replies. At the end it is an error.
func TestRelayRecordOnFullDisk(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has /dev/full; TestRelayRecordReportsFullDisk runs on all systems")
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
		if want := "tacacs_plus: write the packets of the record: write /dev/full: no space left on device\n"; !strings.HasSuffix(r.stderr.String(), want) {
			t.Errorf("stderr is\n%s", r.stderr)
		}
	}
}

// TestRelayRecordOfReusedPort: connections from the same port are separate connections.
func TestRelayRecordOfReusedPort(t *testing.T) {
	t.Parallel()
	device, server := netip.MustParseAddrPort("198.51.100.7:1024"), netip.MustParseAddrPort("192.0.2.1:49")
	var out bytes.Buffer
	rec := newRecorder(&out, false)
	for i := range uint32(3) {
		h := header{version: minorOne, typ: typeAuthen, seqNo: 1, sessionID: i}
		all := new(recordedConns)
		for _, m := range []message{papStart("alice", testPassword), &authenReply{status: authenPass}} {
			packet, err := appendPacket(nil, &h, m)
			if err != nil {
				t.Fatal(err)
			}
			rec.packet(all, device, server, h.seqNo == 1, &h, packet[headerLen:], m, false)
			h.seqNo++
		}
		rec.end(all)
	}
	file := filepath.Join(writeFiles(t, map[string]string{"record.pcap": out.String()}), "record.pcap")
	got := runWith(t, nil, "", "decode", file)
	if n := strings.Count(got.out, "alice authenticate pap PASS"); n != 3 {
		t.Errorf("%d sessions:\n%s%s", n, got.out, got.err)
	}
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
	rec, all := newRecorder(&out, false), new(recordedConns)
	for n, m := range []message{asciiStart("alice"), &authenReply{status: authenGetPass}, answerWith(testPassword), &authenReply{status: authenPass}} {
		for i, server := range servers {
			h := header{version: minorDefault, typ: typeAuthen, seqNo: uint8(1 + n), sessionID: uint32(i)}
			packet, err := appendPacket(nil, &h, m)
			if err != nil {
				t.Fatal(err)
			}
			rec.packet(all, device, server, h.seqNo%2 == 1, &h, packet[headerLen:], m, false)
		}
	}
	rec.end(all)
	file := filepath.Join(writeFiles(t, map[string]string{"record.pcap": out.String()}), "record.pcap")
	got := runWith(t, nil, "", "decode", file)
	for _, server := range servers {
		if want := server.String() + " alice authenticate ascii PASS"; strings.Count(got.out, want) != 1 || strings.Count(got.out, "\n") != 2 || !strings.Contains(got.err, "conversations of TACACS+: 2,") {
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
			if err := os.WriteFile(record, make([]byte, 1000), 0o644); err != nil {
				t.Fatal(err)
			}
			r := relayTo(t, s.addr, append(split(mode+" -d "+options), "--record", record)...)
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

// TestRelayStraySecrets: a password that a server repeats is hidden even in a packet that belongs to no session.
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
	if stderr := r.stderr.String(); !strings.Contains(stderr, "seq_no 4 ") || hexDumped(stderr, testPassword) {
		t.Errorf("stderr is\n%s", stderr)
	}
}

// hexDumped reports whether a hex dump with 16 bytes a line contains a text.
func hexDumped(dump, text string) bool {
	var shown strings.Builder
	for line := range strings.Lines(dump) {
		if n := len(line); n > 56 && strings.HasPrefix(line, "  0") {
			shown.WriteString(strings.TrimSuffix(line[58:], "\n"))
		}
	}
	return strings.Contains(shown.String(), text)
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
		err := drain(all, opts.close)
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
		if got := runWith(t, nil, "", "decode", record); !strings.HasSuffix(got.out, " alice authenticate pap NO_REPLY\n") {
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

// TestRelayRepeatedSecrets: a password that a server repeats is hidden; the device gets the reply unchanged.
func TestRelayRepeatedSecrets(t *testing.T) {
	t.Parallel()
	for _, mode := range relayModes {
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
			r := relayTo(t, s.addr, append(split(mode+options), "-d", "--record", record)...)
			c := dialDevice(t, r)
			if err := c.send(header{version: minorOne, typ: typeAuthen, seqNo: 1, sessionID: 1}, papStart("alice", testPassword)); err != nil {
				t.Fatal(err)
			}
			var reply authenReply
			if _, err := c.receive(&reply); err != nil || reply != *no {
				t.Errorf("%s: the device got %+v, %v", mode, reply, err)
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
			if n := bytes.Count(data, []byte(testPassword)); n != shown || strings.Contains(r.stderr.String(), testPassword) != (shown > 0) {
				t.Errorf("%s%s: the password is in the record %d times, and stderr is\n%s", mode, options, n, r.stderr)
			}
			want := no.status.String()
			if no.serverMsg != "" {
				want += ": bad password [redacted]!"
			}
			if lines := r.log.String(); !strings.Contains(lines, want) {
				t.Errorf("%s: the log is\n%s", mode, lines)
			}
		}
	}
}
