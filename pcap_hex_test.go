package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// These are two packets as several programs print them.
const (
	hexRequest = "c1010100 12c01e93 00000021 c138b7b9afbc6a81c709128e7c59c356eaaaac374e601b8e5f1a043b5d62da32a0"
	hexReply   = "c1010200 12c01e93 00000006 126345df9313"
	hexIP      = "45000061742c40004006c8687f0000017f000001847e13560f6827c38e1f900280180040fe5500000101080ae1b996dc8f66e144"

	textXxd = `00000000: c101 0100 12c0 1e93 0000 0021 c138 b7b9  ...........!.8..
00000010: afbc 6a81 c709 128e 7c59 c356 eaaa ac37  ..j.....|Y.V...7
00000020: 4e60 1b8e 5f1a 043b 5d62 da32 a0c1 0102  N` + "`" + `.._..;]b.2....
00000030: 0012 c01e 9300 0000 0612 6345 df93 13    ..........cE...
`
	textXxdPlain = `c101010012c01e9300000021c138b7b9afbc6a81c709128e7c59c356eaaa
ac374e601b8e5f1a043b5d62da32a0c101020012c01e9300000006126345
df9313
`
	textXxdNarrow = `00000000: c1 01 01 00 12 c0 1e 93  ........
00000008: 00 00 00 21 c1 38 b7 b9  ...!.8..
00000010: af bc 6a 81 c7 09 12 8e  12 ab cd
00000018: 7c 59 c3 56 ea aa ac 37  |Y.V...7
00000020: 4e 60 1b 8e 5f 1a 04 3b  N` + "`" + `.._..;
00000028: 5d 62 da 32 a0 c1 01 02  ]b.2....
00000030: 00 12 c0 1e 93 00 00 00  ........
00000038: 06 12 63 45 df 93 13     ..cE...
`
	textHexdump = `00000000  c1 01 01 00 12 c0 1e 93  00 00 00 21 c1 38 b7 b9  |...........!.8..|
00000010  af bc 6a 81 c7 09 12 8e  7c 59 c3 56 ea aa ac 37  |..j.....|Y.V...7|
00000020  4e 60 1b 8e 5f 1a 04 3b  5d 62 da 32 a0 c1 01 02  |N` + "`" + `.._..;]b.2....|
00000030  00 12 c0 1e 93 00 00 00  06 12 63 45 df 93 13     |..........cE...|
0000003f
`
	textOd = `0000000 c1 01 01 00 12 c0 1e 93 00 00 00 21 c1 38 b7 b9  >...........!.8..<
0000020 af bc 6a 81 c7 09 12 8e 7c 59 c3 56 ea aa ac 37  >..j.....|Y.V...7<
0000040 4e 60 1b 8e 5f 1a 04 3b 5d 62 da 32 a0 c1 01 02  >N` + "`" + `.._..;]b.2....<
0000060 00 12 c0 1e 93 00 00 00 06 12 63 45 df 93 13     >..........cE...<
0000077
`
	textOdDecimal = `0000000 c1 01 01 00 12 c0 1e 93 00 00 00 21 c1 38 b7 b9
0000016 af bc 6a 81 c7 09 12 8e 7c 59 c3 56 ea aa ac 37
0000032 4e 60 1b 8e 5f 1a 04 3b 5d 62 da 32 a0 c1 01 02
0000048 00 12 c0 1e 93 00 00 00 06 12 63 45 df 93 13
0000063
`
	textTcpdump = `2026-11-24 15:23:32.776204 IP localhost.33918 > localhost.4950: Flags [P.], seq 258484163:258484208, length 45
	0x0000:  4500 0061 742c 4000 4006 c868 7f00 0001  E..at,@.@..h....
	0x0010:  7f00 0001 847e 1356 0f68 27c3 8e1f 9002  .....~.V.h'.....
	0x0020:  8018 0040 fe55 0000 0101 080a e1b9 96dc  ...@.U..........
	0x0030:  8f66 e144 c101 0100 12c0 1e93 0000 0021  .f.D...........!
	0x0040:  c138 b7b9 afbc 6a81 c709 128e 7c59 c356  .8....j.....|Y.V
	0x0050:  eaaa ac37 4e60 1b8e 5f1a 043b 5d62 da32  ...7N` + "`" + `.._..;]b.2
	0x0060:  a0                                       .
`
	textCooked = `15:23:32.776203 lo    In  IP localhost.33918 > localhost.4950: Flags [P.], seq 258484163:258484208, length 45
	0x0000:  0800 0000 0000 0001 0304 0006 0000 0000
	0x0010:  0000 0000 4500 0061 742c 4000 4006 c868
	0x0020:  7f00 0001 7f00 0001 847e 1356 0f68 27c3
	0x0030:  8e1f 9002 8018 0040 fe55 0000 0101 080a
	0x0040:  e1b9 96dc 8f66 e144 c101 0100 12c0 1e93
	0x0050:  0000 0021 c138 b7b9 afbc 6a81 c709 128e
	0x0060:  7c59 c356 eaaa ac37 4e60 1b8e 5f1a 043b
	0x0070:  5d62 da32 a0
`
	textDebug = `+0.000086 connecting to 127.0.0.1:4950
+0.000797 sent to 127.0.0.1:4950: version 0xc.1 type authentication seq_no 1 flags none session_id b6606fb3 length 33
  action: LOGIN
  authen_type: pap
  user: alice
  data: [redacted 7 bytes]
  0000  01 00 02 01 05 04 09 07  61 6c 69 63 65 74 74 79  ........alicetty
  0010  30 31 32 37 2e 30 2e 30  2e 31 ** ** ** ** ** **  0127.0.0.1******
  0020  **                                                *
+0.001102 received from 127.0.0.1:4950: version 0xc.1 type authentication seq_no 2 flags SINGLE_CONNECT|0x08 session_id b6606fb3 length 6
  status: PASS
  flags: none
  0000  01 00 00 00 00 00                                 ......
+0.001200 received from 127.0.0.1:4950: version 0xc.15 type 0x07 seq_no 254 flags UNENCRYPTED session_id 00000001 length 0
`
)

// textFrames returns the frames of text, one on each line: time, link type, bytes, missing bytes.
func textFrames(text string) string {
	frames, err := framesOf(strings.NewReader(text))
	var b strings.Builder
	for _, f := range frames {
		at := ""
		if !f.at.IsZero() {
			at = f.at.Format("2006-01-02T15:04:05.999999 ")
		}
		fmt.Fprintf(&b, "%s%d %x", at, f.link, f.data)
		if f.size != len(f.data) {
			fmt.Fprintf(&b, " %d missing", f.size-len(f.data))
		}
		b.WriteString("\n")
	}
	if err != nil {
		b.WriteString(err.Error() + "\n")
	}
	return b.String()
}

func TestPcapHexText(t *testing.T) {
	t.Parallel()
	compact := func(hex string) string { return strings.ReplaceAll(hex, " ", "") }
	request, reply := "65536 "+compact(hexRequest)+"\n", "65536 "+compact(hexReply)+"\n"
	ip := hexIP + compact(hexRequest)
	both := request + reply
	local := time.Date(2026, 11, 24, 15, 23, 32, 776204000, time.Local).UTC().Format("2006-01-02T15:04:05.999999 ")
	zeros := strings.Repeat("00 ", 16)
	const ethernet = "020000000001 020000000002 0800 "
	for _, test := range []struct{ name, text, want string }{
		{"xxd", textXxd, both},
		{"xxd -p", textXxdPlain, both},
		{"xxd -g1 -c8", textXxdNarrow, both},
		{"hexdump -C", textHexdump, both},
		{"od -t x1z", textOd, both},
		{"od -A d -t x1", textOdDecimal, both},
		{"upper case", strings.ToUpper(textXxdPlain), both},
		{"CRLF lines", strings.ReplaceAll(textHexdump, "\n", "\r\n"), both},
		{"no newline at the end", strings.TrimSpace(textXxdPlain), both},
		{"bytes without offsets", "  " + hexRequest + "\n\n" + hexReply + "   ....\n", both},
		{"colons", "c1:01:02:00:12:c0:1e:93:00:00:00:06:12:63:45:df:93:13\n", reply},
		{"the same packet twice", textXxd + "\n" + textXxd, both + both},
		{"offsets that restart", textXxd + textXxd, both + both},
		{"empty lines before", "\n\r\n\t\n" + textHexdump, both},
		{"other text around", "Here it is:\n" + textHexdump + "That was it.\n", both},
		{"offsets, then none", textXxd + textXxdPlain, both + both},
		{"none, then offsets", textXxdPlain + textXxd, both + both},
		{"part of a file", strings.ReplaceAll(textXxd, "000000", "000040"), both},
		{"text that looks like bytes", "000000 c1 01 02 00 12 c0 ab cd z\n000006 1e 93 00 00 00 06\n00000c 12 63 45 df 93 13 x\n", reply},
		{"tcpdump -X", textTcpdump, local + "101 " + ip + "\n"},
		{"tcpdump -xx of any", textCooked, "0001-01-01T15:23:32.776203 276 08000000000000010304000600000000" + "00000000" + ip + "\n"},
		{"seconds since 1970", "1764000000.5 IP\n" + textXxd, "2025-11-24T16:00:00.5 " + request + "2025-11-24T16:00:00.5 " + reply},
		{"tcpdump of two", textTcpdump + textTcpdump, strings.Repeat(local+"101 "+ip+"\n", 2)},
		{"IP on one line each", ip + "\n" + ip + "\n", "101 " + ip + "\n101 " + ip + "\n"},
		{"padding", ethernet + ip + "00000000\n" + hexReply + "\n", "1 " + compact(ethernet) + ip + "\n" + reply},
		{"padding with offsets", "0000: " + ethernet + ip + "\n006f: 0000000000\n0000: " + hexReply + "\n", "1 " + compact(ethernet) + ip + "\n" + reply},
		{"VLAN", "020000000001 020000000002 81000005 0800 " + ip, "1 02000000000102000000000281000005" + "0800" + ip + "\n"},
		{"MAC address like IPv4", "460100200001 480000060002 0800 " + ip, "1 460100200001480000060002" + "0800" + ip + "\n"},
		{"MAC address like IPv6", "60000000 0014 06 4000000000 0800 " + ip, "1 6000000000140640000000000800" + ip + "\n"},
		{"BSD loopback", "02000000 " + ip, "0 02000000" + ip + "\n"},
		{"Linux cooked", "0000 0304 0006 000000000000 0000 0800 " + ip, "113 00000304000600000000000000000800" + ip + "\n"},
		{"IPv6", "60000000 0014 06 40" + strings.Repeat("00", 52), "101 6000000000140640" + strings.Repeat("00", 52) + "\n"},
		{"truncated IP", strings.Join(strings.SplitAfter(textTcpdump, "\n")[1:6], ""), "101 " + ip[:160] + " 17 missing\n"},
		{"a truncated packet", hexRequest[:len(hexRequest)-4] + "\n" + hexReply + "\n\n", "65536 " + compact(hexRequest[:len(hexRequest)-4]) + compact(hexReply[:10])[:4] + "\n65537 " + compact(hexReply)[4:] + "\n"},
		{"a truncated packet, then another dump", hexRequest[:len(hexRequest)-4] + "\n\n" + hexReply, "65536 " + compact(hexRequest[:len(hexRequest)-4]) + " 2 missing\n" + reply},
		{"repeated lines", "00000000  c1 01 01 01 00 00 00 01  00 00 00 44 00 00 00 00  |...|\n00000010  " + zeros + " |...|\n*\n00000050\n",
			"65536 c10101010000000100000044" + strings.Repeat("00", 20) + " 48 missing\n"},
		{"repeated lines, then another", "00000000  c1 01 01 01 00 00 00 01  00 00 00 44 00 00 00 00  |...|\n00000010  " + zeros + " |...|\n*\n00000040  " + strings.Repeat("ff ", 16) + "\n",
			"65536 c10101010000000100000044" + strings.Repeat("00", 52) + strings.Repeat("ff", 16) + "\n"},
		{"a line is missing", textXxd[:strings.Index(textXxd, "00000010")] + textXxd[strings.Index(textXxd, "00000020"):], "65536 " + compact(hexRequest)[:32] + " 29 missing\n" + "65537 4e601b8e5f1a043b5d62da32a0c101020012c01e9300000006126345df9313\n"},
		{"-d", textDebug, "0001-01-01T00:00:00.000797 65536 c1010101b6606fb300000021" + "0100020105040907616c696365747479303132372e302e302e31" + "2a2a2a2a2a2a2a\n" +
			"0001-01-01T00:00:00.001102 65536 c101020db6606fb300000006" + "010000000000\n" +
			"0001-01-01T00:00:00.0012 65536 cf07fe010000000100000000\n"},
		{"-d without a key", "version 0xc.0 type accounting seq_no 2 flags none session_id 0000000a length 5\nconnection closed\n" + hexReply,
			"65536 c00302010000000a00000005 5 missing\n" + reply},
		{"not a packet", "0000 ff ff ff\n0000: " + hexReply[:8] + "\n" + hexReply + "\n", "65537 ffffff\n65537 c1010200\n" + reply},
		{"an unknown header", "c10101ff 12c01e93 00000000\n\nd1010100 12c01e93 00000000\n\nc1040100 12c01e93 00000000\n\nc1010000 12c01e93 00000000\n\nc1010100 12c01e93 00010000\n\n" + hexReply,
			"65537 c10101ff12c01e9300000000\n65537 d101010012c01e9300000000\n65537 c104010012c01e9300000000\n65537 c101000012c01e9300000000\n65537 c101010012c01e9300010000\n" + reply},
		{"no bytes", "To be or not to be\nthat is\n", "FILE is not a capture: neither pcap, pcapng, nor hexadecimal text of packets\n"},
		{"bytes outside a packet", "ff ff ff\n", "65537 ffffff\nFILE is not a capture: neither pcap, pcapng, nor hexadecimal text of packets\n"},
		{"names of header fields without valid values", "version 0xc.x type authentication seq_no 1 flags none session_id 1 length 1\nversion 0xc.1 type authentication seq_no 1 flags none session_id 1 length 99999\nversion 0xc.1 kind authentication seq_no 1 flags none session_id 1 length 1\n" + hexReply, reply},
		{"a long line", hexReply + "\n" + strings.Repeat("0", maxFrame+1<<13), reply + "FILE at offset 40: a line of more than 266240 bytes\n"},
		{"a long dump", hexReply + "\n\n" + strings.Repeat(strings.Repeat("ff", 1<<16)+"\n", 5), reply + "65537 " + strings.Repeat("ff", 5<<16) + "\n"},
	} {
		if got := textFrames(test.text); got != test.want {
			t.Errorf("%s:\n%.2000s\nwant\n%.2000s", test.name, got, test.want)
		}
	}
}

// TestPcapHexTextOfDump reads the output of -d: the fields of the header, and the body with hidden secrets.
func TestPcapHexTextOfDump(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	body := unhex(t, "01 0f 02 01 05 04 09 08 616c696365 74747930 3139322e302e322e31 5a5a5a5a5a5a5a5a")
	h := header{version: minorOne, typ: typeAuthen, seqNo: 1, flags: flagSingleConnect, sessionID: 0x01020304, length: uint32(len(body))}
	trace := dumper{out: &out, began: time.Now()}
	trace.event("connecting")
	trace.packet("sent to", newServer("192.0.2.1", 49), &h, body, &authenStart{})
	frames, err := framesOf(strings.NewReader(out.String()))
	if err != nil || len(frames) != 1 {
		t.Fatal(err, showFrames(frames))
	}
	h.flags |= flagUnencrypted
	want := append(bytes.Clone(body[:len(body)-8]), "********"...)
	if got := frames[0]; parseHeader(got.data) != h || !bytes.Equal(got.data[headerLen:], want) || got.at.IsZero() {
		t.Errorf("%s, want body %x", showFrames(frames), want)
	}
}

func FuzzCapture(f *testing.F) {
	for _, text := range []string{textXxd, textXxdPlain, textHexdump, textOd, textTcpdump, textCooked, textDebug, "*\n0\n", "c1\n*\n0001 c1\n"} {
		f.Add([]byte(text))
	}
	one := frame{at: time.Unix(1, 0), link: linkEthernet, data: []byte("one"), size: 4}
	f.Add(pcapOf(binary.BigEndian, false, one, one))
	f.Add(pcapOf(binary.LittleEndian, true, one, one))
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		w := (&pcapngWriter{ByteOrder: order}).section().describe(linkRawIP, 9, uint16(optionTSResolution), uint16(1), []byte{9}, uint16(optionTSOffset), uint16(8), uint64(1))
		f.Add(w.packet(0, 5, 5, "frame").block(blockSimple, uint32(1), []byte("x")).block(blockOldPacket, uint32(0), uint64(0), uint32(1), uint32(1), []byte("x")).b)
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		c, err := newCapture(bytes.NewReader(input), "FILE", &tacacsPayload)
		if err != nil {
			return
		}
		given := 0
		for {
			var f frame
			if err = c.nextFrame(&f); err != nil {
				break
			}
			given++
			if len(f.data) > 2*(maxFrame+1<<12) || given > len(input)+1 {
				t.Fatalf("frame %d of %d bytes, out of an input of %d", given, len(f.data), len(input))
			}
			if !f.at.IsZero() && f.at.Year() > 9999 {
				t.Fatal(f.at)
			}
		}
		if err != io.EOF && classOf(err) != classUsage {
			t.Fatal(err)
		}
		if again := c.nextFrame(new(frame)); again != err {
			t.Fatalf("%v, then %v", err, again)
		}
	})
}
