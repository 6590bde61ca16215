package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/netip"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestRecord: conversations over IPv6 and over IPv4, with packets that fill more than a segment, are read
// back as they were, and their checksums are right.
func TestRecord(t *testing.T) {
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
					t.Errorf("%s: the sum of an IP header is %x", tt.device, sum)
				}
			}
			own := 0
			if binary.BigEndian.Uint16(tcp) == server.Port() {
				own = 1
			}
			seq, ack, flags := binary.BigEndian.Uint32(tcp[4:]), binary.BigEndian.Uint32(tcp[8:]), tcp[13]
			if flags&tcpSYN != 0 {
				next[own] = seq
			}
			if seq != next[own] || flags&tcpACK != 0 && ack != next[1-own] || flags&tcpACK == 0 && ack != 0 {
				t.Errorf("%s: seq %d and ack %d with flags %x, and the next are %d", tt.device, seq, ack, flags, next)
			}
			if next[own] += uint32(len(tcp) - 20); flags&(tcpSYN|tcpFIN) != 0 {
				next[own]++
			}
			all := slices.Concat(addrs, []byte{0, 6, byte(len(tcp) >> 8), byte(len(tcp))}, tcp)
			if sum := wholeSum(all); sum != 0xffff {
				t.Errorf("%s: the sum of a segment of %d bytes is %x", tt.device, len(tcp), sum)
			}
		}
		file := filepath.Join(writeFiles(t, map[string]string{"record.pcap": out.String()}), "record.pcap")
		got := runWith(t, nil, "", "decode", "--json", file)
		lines := strings.Split(strings.TrimSpace(got.out), "\n")
		if len(lines) != 2 || got.code != 0 {
			t.Fatalf("decode reads %d lines: %s", len(lines), got.err)
		}
		for i, line := range lines {
			var o recordObject
			err := json.Unmarshal([]byte(line), &o)
			as := func(a string) string { // an IPv4 address among those of IPv6
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

// wholeSum adds the 16-bit numbers of b in the way of ones' complement. RFC 1071.
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

// TestRelayRecordReportsFullDisk: a full disk is reported once, and so is its end; the record is complete then.
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

// TestRelayRecordOnFullDisk: a full disk behind --record costs nobody an answer, and is told at the end too.
func TestRelayRecordOnFullDisk(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has a device that is always full; TestRecordOnFullDisk is for all systems")
	}
	for _, way := range relayWays {
		s := serveWith(t)
		r := relayTo(t, s.addr, append(split(way), "--record", "/dev/full")...)
		for range 3 {
			if got := r.asDevice(t, "account alice AT"); got.code != 0 {
				t.Errorf("got %+v", got)
			}
		}
		if code := r.stop(); code != classUsage.exit() {
			t.Errorf("ends with %d", int(code))
		}
		if n := strings.Count(r.log.String(), " SUCCESS"); n != 3 {
			t.Errorf("%d lines:\n%s", n, r.log)
		}
		if want := "tacacs_plus: write the packets of the record: write /dev/full: no space left on device\n"; !strings.HasSuffix(r.said.String(), want) {
			t.Errorf("it says\n%s", r.said)
		}
	}
}

// TestRecordOfAPortUsedAgain: a device that always has the same port has as many conversations as it had.
func TestRecordOfAPortUsedAgain(t *testing.T) {
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

// ends is how many sides say in a record over IPv4 that they say no more.
func ends(record []byte) (n int) {
	for b := record[24:]; len(b) > 0; b = b[16+binary.LittleEndian.Uint32(b[8:]):] {
		if b[16+20+13]&tcpFIN != 0 {
			n++
		}
	}
	return n
}

// TestRecordOfTwoServers: sessions of a device with two servers at the same time are two conversations.
func TestRecordOfTwoServers(t *testing.T) {
	t.Parallel()
	device := netip.MustParseAddrPort("198.51.100.7:1024")
	servers := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:49"), netip.MustParseAddrPort("192.0.2.2:49")}
	var out bytes.Buffer
	rec, all := newRecorder(&out, false), new(recordedConns)
	for n, m := range []message{asciiStart("alice"), &authenReply{status: authenGetPass}, says(testPassword), &authenReply{status: authenPass}} {
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
			t.Errorf("%s is missing, or there is more:\n%s%s", want, got.out, got.err)
		}
	}
}
