package main

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// pcapOf returns a pcap file of frames.
func pcapOf(order binary.ByteOrder, nano bool, frames ...frame) []byte {
	magic, perSecond := uint32(magicMicro), int64(1e6)
	if nano {
		magic, perSecond = magicNano, 1e9
	}
	put := order.(binary.AppendByteOrder)
	b := put.AppendUint32(nil, magic)
	b = put.AppendUint16(b, 2)
	b = put.AppendUint16(b, 4)
	for _, v := range []uint32{0, 0, 65535, uint32(frames[0].link)} {
		b = put.AppendUint32(b, v)
	}
	for _, f := range frames {
		for _, v := range []int64{f.at.Unix(), int64(f.at.Nanosecond()) * perSecond / 1e9, int64(len(f.data)), int64(f.size)} {
			b = put.AppendUint32(b, uint32(v))
		}
		b = append(b, f.data...)
	}
	return b
}

// A pcapngWriter makes blocks of pcapng.
type pcapngWriter struct {
	binary.ByteOrder
	b []byte
}

// block appends a block. Its parts are numbers of 16, 32 or 64 bits, and bytes, which are padded.
func (w *pcapngWriter) block(typ uint32, parts ...any) *pcapngWriter {
	put := w.ByteOrder.(binary.AppendByteOrder)
	var body []byte
	for _, part := range parts {
		switch v := part.(type) {
		case uint16:
			body = put.AppendUint16(body, v)
		case uint32:
			body = put.AppendUint32(body, v)
		case uint64:
			body = put.AppendUint64(body, v)
		case []byte:
			body = append(body, v...)
			body = append(body, make([]byte, -len(v)&3)...)
		default:
			panic(fmt.Sprintf("%T", part))
		}
	}
	w.b = put.AppendUint32(w.b, typ)
	w.b = put.AppendUint32(w.b, uint32(len(body)+12))
	w.b = append(w.b, body...)
	w.b = put.AppendUint32(w.b, uint32(len(body)+12))
	return w
}

func (w *pcapngWriter) section() *pcapngWriter {
	return w.block(magicSection, uint32(0x1a2b3c4d), uint16(1), uint16(0), ^uint64(0), uint16(4), uint16(3), []byte("abc"), uint32(0))
}

// describe appends an interface description with options.
func (w *pcapngWriter) describe(link protocol, snapLen uint32, options ...any) *pcapngWriter {
	return w.block(blockInterface, append([]any{uint16(link), uint16(0), snapLen}, options...)...)
}

// packet appends an enhanced packet block.
func (w *pcapngWriter) packet(number uint32, ticks uint64, size int, data string, options ...any) *pcapngWriter {
	parts := []any{number, uint32(ticks >> 32), uint32(ticks), uint32(len(data)), uint32(size), []byte(data)}
	return w.block(blockPacket, append(parts, options...)...)
}

// framesOf returns all frames of a capture. The error is nil at its end.
func framesOf(r io.Reader) (frames []frame, err error) {
	c, err := newCapture(r, "FILE", &tacacsPayload, nil)
	for err == nil {
		var f frame
		if err = c(&f); err == nil {
			f.data = bytes.Clone(f.data)
			frames = append(frames, f)
		}
	}
	if err == io.EOF {
		err = nil
	}
	return frames, err
}

func sameFrames(a, b []frame) bool {
	return slices.EqualFunc(a, b, func(a, b frame) bool {
		return a.at.Equal(b.at) && a.link == b.link && bytes.Equal(a.data, b.data) && a.size == b.size && a.number == b.number
	})
}

func showFrames(frames []frame) string {
	var b strings.Builder
	for _, f := range frames {
		fmt.Fprintf(&b, "\n  %d at %s %d %x of %d", f.number, f.at.Format(time.RFC3339Nano), f.link, f.data, f.size)
	}
	return b.String()
}

func TestPcap(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 23, 10, 0, 0, 123456789, time.UTC)
	frames := []frame{
		{at, linkEthernet, []byte("first"), 5, 1},
		{at.Add(time.Second), linkEthernet, nil, 60, 2},
		{at.Add(2 * time.Second), linkEthernet, []byte("cut"), 1500, 3},
		{at.Add(3 * time.Second), linkEthernet, bytes.Repeat([]byte{7}, maxFrame), maxFrame, 4},
	}
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		for _, nano := range []bool{false, true} {
			got, err := framesOf(bytes.NewReader(pcapOf(order, nano, frames...)))
			want := slices.Clone(frames)
			if !nano {
				for i := range want {
					want[i].at = want[i].at.Truncate(time.Microsecond)
				}
			}
			if err != nil || !sameFrames(got, want) {
				t.Errorf("%s, nanoseconds %v: %v%s", order, nano, err, showFrames(got))
			}
		}
	}
}

func TestPcapBudget(t *testing.T) {
	t.Parallel()
	if sum := budgetConversations + budgetHeld + budgetPartial + budgetSessions + budgetTLS + budgetKeys + budgetBuffers; sum != budgetAll {
		t.Errorf("the holders may retain %d bytes, not %d", sum, budgetAll)
	}
	b := budget{limit: 100, used: 60}
	if b.exceeds(40) || !b.exceeds(41) {
		t.Error("60 bytes of 100 leave no 40, or more")
	}
}

func TestPcapLinkType(t *testing.T) {
	t.Parallel()
	file := pcapOf(binary.BigEndian, false, frame{link: linkRawIP | 0x5400<<16, data: []byte("x"), size: 1})
	if got, err := framesOf(bytes.NewReader(file)); err != nil || len(got) != 1 || got[0].link != linkRawIP {
		t.Error(err, showFrames(got))
	}
}

func TestPcapng(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	seconds := uint64(at.Unix())
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		other := binary.ByteOrder(binary.LittleEndian)
		if order == other {
			other = binary.BigEndian
		}
		w := (&pcapngWriter{ByteOrder: order}).section()
		w.block(0x0bad, []byte("a block before all interfaces"))
		w.describe(linkEthernet, 0)
		w.describe(linkCooked, 0, uint16(2), uint16(3), []byte("any"), uint16(optionTSResolution), uint16(1), []byte{9}, uint16(optionEnd), uint16(0))
		w.describe(linkRawIP, 0, uint16(optionTSResolution), uint16(1), []byte{0x80 | 10})
		w.describe(linkIPv4, 0, uint16(optionTSResolution), uint16(1), []byte{0}, uint16(optionTSOffset), uint16(8), uint64(1000))
		w.describe(linkIPv6, 0, uint16(optionTSResolution), uint16(1), []byte{15})
		w.describe(linkLoop, 0, uint16(optionEnd), uint16(0), uint16(optionTSResolution), uint16(1), []byte{9})
		w.packet(0, seconds*1e6+123456, 3, "one")
		w.packet(1, seconds*1e9+123456789, 1500, "second", uint16(1), uint16(7), []byte("comment"), uint32(0))
		w.block(5, uint32(0), uint64(0)) // statistics
		w.packet(2, seconds<<10+512, 1, "3")
		w.packet(3, seconds-1000, 0, "")
		w.packet(4, 1e15+5e14, 1, "5")
		w.packet(5, seconds*1e6, 1, "6")
		w.block(blockSimple, uint32(5), []byte("simple"[:5]))
		w.block(blockOldPacket, uint16(1), uint16(99), uint32(seconds*1e9>>32), uint32(seconds*1e9&0xffffffff), uint32(3), uint32(4), []byte("old"))
		// Another section has other interfaces and another byte order.
		w.ByteOrder = other
		w.section().describe(linkNull, 4)
		w.packet(0, seconds*1e6, 6, "second")
		w.block(blockSimple, uint32(7), []byte("longer"[:4]))
		w.packet(0, 1<<63, 1, "in no year")
		got, err := framesOf(bytes.NewReader(w.b))
		want := []frame{
			{at.Add(123456 * time.Microsecond), linkEthernet, []byte("one"), 3, 1},
			{at.Add(123456789), linkCooked, []byte("second"), 1500, 2},
			{at.Add(500 * time.Millisecond), linkRawIP, []byte("3"), 1, 3},
			{at, linkIPv4, nil, 0, 4},
			{time.Unix(1, 5e8), linkIPv6, []byte("5"), 1, 5},
			{at, linkLoop, []byte("6"), 1, 6},
			{time.Time{}, linkEthernet, []byte("simpl"), 5, 7},
			{at, linkCooked, []byte("old"), 4, 8},
			{at, linkNull, []byte("second"), 6, 9},
			{time.Time{}, linkNull, []byte("long"), 7, 10},
			{time.Time{}, linkNull, []byte("in no year"), 1, 11},
		}
		if err != nil || !sameFrames(got, want) {
			t.Errorf("%s: %v%s\nwant%s", order, err, showFrames(got), showFrames(want))
		}
	}
}

func TestPcapngTimeResolution(t *testing.T) {
	t.Parallel()
	for value, want := range map[byte]uint64{0: 1, 6: 1e6, 9: 1e9, 19: 1e19, 20: 0, 0x7f: 0, 0x80: 1, 0x80 | 20: 1 << 20, 0x80 | 63: 1 << 63, 0x80 | 64: 0, 0xff: 0} {
		equal(t, resolution(value), want, value)
	}
	late := captureInterface{perSecond: 1e19}
	if got := late.stamp(0, 15e18); !got.Equal(time.Unix(1, 5e8)) {
		t.Error(got)
	}
}

// TestPcapInvalid: an error names its offset, and the frames before it are returned.
func TestPcapInvalid(t *testing.T) {
	t.Parallel()
	order := binary.LittleEndian
	good := func() *pcapngWriter {
		return (&pcapngWriter{ByteOrder: order}).section().describe(linkEthernet, 0).packet(0, 0, 3, "one")
	}
	pcap := pcapOf(order, false, frame{data: []byte("one"), size: 3}, frame{data: []byte("two"), size: 3})
	change := func(file []byte, at int, v uint32) []byte {
		file = bytes.Clone(file)
		order.PutUint32(file[at:], v)
		return file
	}
	end := len(good().b)
	for _, test := range []struct {
		name  string
		file  []byte
		given int
		want  string
	}{
		{"nothing", nil, 0, "FILE is empty"},
		{"short gzip", []byte{0x1f, 0x8b, 8, 0, 0}, 0, "FILE at offset 0: truncated record"},
		{"gzip with another method", []byte{0x1f, 0x8b, 9, 0, 0, 0, 0, 0, 0, 0, 0}, 0, "FILE is compressed twice"},
		{"gzip twice", zipped(zipped(pcap)), 0, "FILE is compressed twice"},
		{"gzip of nothing", zipped(nil), 0, "FILE is empty"},
		{"truncated gzip", zipped(pcap)[:len(zipped(pcap))-9], 2, "FILE at offset 62: truncated record"},
		{"gzip with another checksum", change(zipped(pcap), len(zipped(pcap))-8, 7), 2, "FILE at offset 62: gzip: invalid checksum"},
		{"secrets longer than their block", good().block(blockSecrets, uint32(0x544c534b), uint32(5), uint32(0)).b, 1, fmt.Sprintf("FILE at offset %d: secrets of 5 bytes in a block of 24", end)},
		{"short secrets", good().block(blockSecrets, uint32(0x544c534b)).b, 1, fmt.Sprintf("FILE at offset %d: invalid secrets block of 16 bytes", end)},
		{"an image", []byte("\x89PNG\r\n\x1a\n"), 0, "FILE is not a capture (pcap, pcapng or a hex dump of packets)"},
		{"three bytes", []byte{0, 1, 2}, 0, "FILE is not a capture (pcap, pcapng or a hex dump of packets)"},
		{"version 3", change(pcap, 4, 3), 0, "FILE at offset 0: pcap version 3 is not supported"},
		{"packet of an invalid length", change(pcap, 24+8, maxFrame+1), 0, "FILE at offset 24: packet is 262145 bytes, the limit is 262144"},
		{"second packet of an invalid length", change(pcap, 24+19+8, ^uint32(0)), 1, "FILE at offset 43: packet is 4294967295 bytes, the limit is 262144"},
		{"section without the byte-order magic", change(good().b, 8, 5), 0, "FILE at offset 0: pcapng section without byte-order magic"},
		{"section of version 2", change(good().b, 12, 2), 0, "FILE at offset 0: pcapng version 2 is not supported"},
		{"short section", change(good().b, 4, 24), 0, "FILE at offset 0: invalid block length 24"},
		{"short block", change(append(good().b, make([]byte, 64)...), end+4, 8), 1, fmt.Sprintf("FILE at offset %d: invalid block length 8", end)},
		{"odd block", change(append(good().b, make([]byte, 64)...), end+4, 13), 1, fmt.Sprintf("FILE at offset %d: invalid block length 13", end)},
		{"block of an invalid length", change(append(good().b, make([]byte, 64)...), end+4, maxBlock+4), 1, fmt.Sprintf("FILE at offset %d: invalid block length 16777220", end)},
		{"different length at the end", change(good().b, end-4, 40), 1, fmt.Sprintf("FILE at offset %d: block lengths differ: 36 and 40", end-36)},
		{"packet longer than its block", change(good().b, end-16, 5), 0, fmt.Sprintf("FILE at offset %d: packet of 5 bytes in a block of 36", end-36)},
		{"packet in a short block", good().block(blockPacket, uint32(0), uint64(0)).b, 1, fmt.Sprintf("FILE at offset %d: invalid packet block of 24 bytes", end)},
		{"interface without a description", good().packet(1, 0, 1, "x").b, 1, fmt.Sprintf("FILE at offset %d: packet of undescribed interface 1", end)},
		{"simple packet without an interface", (&pcapngWriter{ByteOrder: order}).section().block(blockSimple, uint32(1), []byte("x")).b, 0, "FILE at offset 40: packet of undescribed interface 0"},
		{"short simple packet", good().block(blockSimple).b, 1, fmt.Sprintf("FILE at offset %d: invalid simple packet block of 12 bytes", end)},
		{"short description", good().block(blockInterface, uint32(1)).b, 1, fmt.Sprintf("FILE at offset %d: invalid interface description of 16 bytes", end)},
		{"long description", good().block(blockInterface, make([]byte, maxFrame)).b, 1, fmt.Sprintf("FILE at offset %d: invalid interface description of 262156 bytes", end)},
		{"option longer than its block", good().describe(1, 0, uint16(2), uint16(9), uint32(0)).b, 1, fmt.Sprintf("FILE at offset %d: interface option of 9 bytes in 4", end)},
		{"resolution", good().describe(1, 0, uint16(optionTSResolution), uint16(1), []byte{20}).b, 1, fmt.Sprintf("FILE at offset %d: invalid time resolution 0x14", end)},
	} {
		got, err := framesOf(bytes.NewReader(test.file))
		if err == nil || err.Error() != test.want || classOf(err) != classUsage || len(got) != test.given {
			t.Errorf("%s: %v after %d frames, want %q after %d", test.name, err, len(got), test.want, test.given)
		}
	}
}

// zipped returns b compressed with gzip.
func zipped(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(b)
	w.Close()
	return out.Bytes()
}

func TestPcapGzip(t *testing.T) {
	t.Parallel()
	tape := newCaptureBuilder()
	tape.openConn(deviceAddr, serverAddr, testKey).close()
	want, err := framesOf(bytes.NewReader(tape.pcap()))
	if err != nil || len(want) != 6 {
		t.Fatal(err, showFrames(want))
	}
	whole := tape.pcap()
	for name, file := range map[string][]byte{
		"one member": zipped(whole), "two members": append(zipped(whole[:99]), zipped(whole[99:])...),
	} {
		if got, err := framesOf(bytes.NewReader(file)); err != nil || !sameFrames(got, want) {
			t.Errorf("%s: %v%s", name, err, showFrames(got))
		}
	}
	if got := textFrames(string(zipped([]byte(hexReply)))); got != "65536 c101020012c01e9300000006126345df9313\n" {
		t.Error(got)
	}
}

// TestPcapOtherFormats: an error has the command that converts the file.
func TestPcapOtherFormats(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ file, want, hint string }{
		{"\xfd7zXZ\x00\x00", "FILE is compressed with xz", "decompress it: xz -dc FILE | tacacs_plus decode"},
		{"\x28\xb5\x2f\xfd\x04", "FILE is compressed with zstd", "decompress it: zstd -dc FILE | tacacs_plus decode"},
		{"\x04\x22\x4d\x18\x64", "FILE is compressed with lz4", "decompress it: lz4 -dc FILE | tacacs_plus decode"},
		{"BZh91AY", "FILE is compressed with bzip2", "decompress it: bzip2 -dc FILE | tacacs_plus decode"},
		{"PK\x03\x04\x14", "FILE is a zip archive", "extract it: unzip -p FILE | tacacs_plus decode"},
		{"7z\xbc\xaf\x27\x1c", "FILE is a 7z archive", "extract it: 7z e -so FILE | tacacs_plus decode"},
		{"snoop\x00\x00\x00", "FILE is a snoop capture", "convert it: editcap -F pcap FILE capture.pcap"},
		{"GMBU\x00\x02", "FILE is a Network Monitor capture", "convert it: editcap -F pcap FILE capture.pcap"},
		{"iptrace 2.0", "FILE is an iptrace capture", "convert it: editcap -F pcap FILE capture.pcap"},
		{"\xa1\xb2\xcd\x34", "FILE is a modified pcap capture", "convert it: editcap -F pcap FILE capture.pcap"},
		{"some text", "FILE is not a capture (pcap, pcapng or a hex dump of packets)", "capture with tcpdump -w FILE port 49, or convert text with text2pcap TEXT FILE"},
	} {
		_, err := framesOf(strings.NewReader(test.file))
		if err == nil || err.Error() != test.want || classOf(err) != classUsage || asFailure(err).hint != test.hint {
			t.Errorf("%q: %v, hint %q", test.file, err, asFailure(err).hint)
		}
	}
}

// TestPcapngSecrets: the key logs in a file are passed on in whole lines, before the frames that follow.
func TestPcapngSecrets(t *testing.T) {
	t.Parallel()
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		line := "CLIENT_TRAFFIC_SECRET_0 " + strings.Repeat("a", 64) + " " + strings.Repeat("b", 64) + "\n"
		long := strings.Repeat(line, 2*maxFrame/len(line)+1)
		w := (&pcapngWriter{ByteOrder: order}).section().describe(linkEthernet, 0)
		w.block(blockSecrets, uint32(0x544c534b), uint32(len(line)), []byte(line)).packet(0, 0, 3, "one")
		w.block(blockSecrets, uint32(0x57474b4c), uint32(5), []byte("other")) // of WireGuard
		w.block(blockSecrets, uint32(0x544c534b), uint32(0))
		w.block(blockSecrets, uint32(0x544c534b), uint32(len(long)), []byte(long)).packet(0, 0, 3, "two")
		var got []string
		next, err := newCapture(bytes.NewReader(w.b), "FILE", &tacacsPayload, func(b []byte) { got = append(got, string(b)) })
		for err == nil {
			var f frame
			if err = next(&f); err == nil {
				got = append(got, string(f.data))
			}
		}
		if err != io.EOF || len(got) < 5 || got[0] != line || got[1] != "one" || got[len(got)-1] != "two" || strings.Join(got[2:len(got)-1], "") != long {
			t.Fatalf("%s: %v, %d parts", order, err, len(got))
		}
		for _, part := range got[2 : len(got)-1] {
			if len(part) > maxFrame || !strings.HasSuffix(part, "\n") {
				t.Errorf("%s: a part of %d bytes", order, len(part))
			}
		}
	}
}

// TestPcapHexRepeats: the work for lines "*" is linear in the text.
func TestPcapHexRepeats(t *testing.T) {
	t.Parallel()
	for _, n := range []int{100, 400, 1600} {
		text := hexReply + "\n\n" + strings.Repeat("00000000 00\n*\n0003ffff 00\n\n", n)
		frames, err := framesOf(strings.NewReader(text))
		total := 0
		for _, f := range frames {
			total += len(f.data)
		}
		if limit := maxFrame + (maxRepeat+1)*len(text); err != nil || total > limit || total < maxFrame {
			t.Errorf("%d times: %v, %d bytes of %d", n, err, total, limit)
		}
	}
}

func TestPcapngManyInterfaces(t *testing.T) {
	t.Parallel()
	w := (&pcapngWriter{ByteOrder: binary.LittleEndian}).section()
	for range maxInterfaces {
		w.describe(linkEthernet, 0)
	}
	w.packet(maxInterfaces-1, 0, 1, "x")
	if got, err := framesOf(bytes.NewReader(w.b)); err != nil || len(got) != 1 {
		t.Error(err, len(got))
	}
	w.describe(linkEthernet, 0)
	if _, err := framesOf(bytes.NewReader(w.b)); err == nil || !strings.HasSuffix(err.Error(), "more than 16384 interfaces") {
		t.Error(err)
	}
}

// TestPcapTruncated: all complete frames are returned, and an error unless the file ends between two records.
func TestPcapTruncated(t *testing.T) {
	t.Parallel()
	w := (&pcapngWriter{ByteOrder: binary.BigEndian}).section().describe(linkEthernet, 0)
	whole := []int{len(w.b)} // ends of records
	section := whole[0] - 20
	data := []int{}
	for range 3 {
		data = append(data, len(w.b)+28+5)
		w.packet(0, 0, 5, "frame")
		whole = append(whole, len(w.b))
	}
	pcap := pcapOf(binary.LittleEndian, true, frame{data: []byte("frame"), size: 5}, frame{data: []byte("frame"), size: 5})
	for _, file := range []struct {
		name        string
		b           []byte
		whole, data []int // valid ends of the file, and the end of each frame
	}{
		{"pcapng", w.b, append(whole, section), data},
		{"pcap", pcap, []int{24, 45, 66}, []int{45, 66}},
	} {
		for n := 1; n <= len(file.b); n++ {
			got, err := framesOf(bytes.NewReader(file.b[:n]))
			given := 0
			for _, end := range file.data {
				if n >= end {
					given++
				}
			}
			if (err == nil) != slices.Contains(file.whole, n) || len(got) != given {
				t.Errorf("%s, first %d bytes: %v, %d frames", file.name, n, err, len(got))
			}
			if err != nil && n >= 4 && !strings.HasPrefix(err.Error(), "FILE at offset ") {
				t.Errorf("%s, first %d bytes: %v", file.name, n, err)
			}
		}
	}
}

// TestPcapLive: a frame is returned as soon as it is complete, while the input grows.
func TestPcapLive(t *testing.T) {
	t.Parallel()
	one := frame{data: []byte("frame"), size: 5}
	pcap := pcapOf(binary.LittleEndian, false, one, one)
	w := (&pcapngWriter{ByteOrder: binary.LittleEndian}).section().describe(linkEthernet, 0).packet(0, 0, 5, "frame")
	first := len(w.b)
	w.packet(0, 0, 5, "frame")
	ip := "\t0x0000:  4500 0028 0000 0000 4006 0000 7f00 0001\n\t0x0010:  7f00 0001 0001 0002 0000 0000 0000 0000\n\t0x0020:  5010 0000 0000 0000\n"
	for _, test := range []struct {
		name  string
		parts []string
	}{
		{"pcap", []string{string(pcap[:45]), string(pcap[45:])}},
		{"pcapng", []string{string(w.b[:first]), string(w.b[first:])}},
		{"a packet in text", []string{"c0010101 00000001 00000001 ff\n", "c0020101 00000001 00000000\n"}},
		{"IP in text", []string{ip, ip}},
	} {
		r, to := io.Pipe()
		go io.WriteString(to, test.parts[0])
		c, err := newCapture(r, "FILE", &tacacsPayload, nil)
		must(t, err)
		for i := range test.parts {
			var f frame
			if err := c(&f); err != nil {
				t.Fatalf("%s: %v", test.name, err)
			}
			if i+1 < len(test.parts) {
				go io.WriteString(to, test.parts[i+1])
			}
		}
		to.Close()
		if err := c(new(frame)); err != io.EOF {
			t.Errorf("%s: %v at the end", test.name, err)
		}
	}
}

// TestPcapReadError: a read error has its cause and the offset.
func TestPcapReadError(t *testing.T) {
	t.Parallel()
	pcap := pcapOf(binary.LittleEndian, false, frame{data: []byte("frame"), size: 5})
	for n, want := range map[int]string{0: "FILE at offset 0: broken", 24: "FILE at offset 24: broken", 30: "FILE at offset 24: broken", 45: "FILE at offset 45: broken"} {
		r := io.MultiReader(bytes.NewReader(pcap[:n]), brokenReader{})
		if _, err := framesOf(r); err == nil || err.Error() != want {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
	if _, err := framesOf(io.MultiReader(strings.NewReader("text"), brokenReader{})); err == nil || err.Error() != "FILE at offset 0: broken" {
		t.Error(err)
	}
}

func TestPcapLinks(t *testing.T) {
	t.Parallel()
	ip := string(tcpIP(deviceEnd, serverEnd, 1, 1, tcpACK, "hello"))
	ip6 := string(tcpIP(netip.MustParseAddrPort("[2001:db8::7]:41234"), netip.MustParseAddrPort("[2001:db8::1]:49"), 1, 1, tcpACK, "hello"))
	const macs, cooked = "\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02", "\x00\x00\x00\x01\x00\x06\x02\x00\x00\x00\x00\x01\x00\x00"
	const cooked2 = "\x00\x00\x00\x00\x00\x01\x00\x01\x00\x06\x02\x00\x00\x00\x00\x01\x00\x00"
	for _, test := range []struct {
		name string
		link protocol
		data string
		want string // the counter, or "" if the frame belongs to the conversation
	}{
		{"Ethernet", linkEthernet, macs + "\x08\x00" + ip, ""},
		{"Ethernet, IPv6", linkEthernet, macs + "\x86\xdd" + ip6, ""},
		{"padding", linkEthernet, macs + "\x08\x00" + ip + strings.Repeat("\x00", 20), ""},
		{"padding, IPv6", linkEthernet, macs + "\x86\xdd" + ip6 + strings.Repeat("\x00", 20), ""},
		{"VLAN", linkEthernet, macs + "\x81\x00\x00\x05\x08\x00" + ip, ""},
		{"QinQ", linkEthernet, macs + "\x88\xa8\x00\x05\x81\x00\x00\x06\x86\xdd" + ip6, ""},
		{"old QinQ", linkEthernet, macs + "\x91\x00\x00\x05\x81\x00\x00\x06\x08\x00" + ip, ""},
		{"nine tags", linkEthernet, macs + strings.Repeat("\x81\x00\x00\x05", 9) + "\x08\x00" + ip, ""},
		{"ARP", linkEthernet, macs + "\x08\x06" + ip, "ethertype 0x0806"},
		{"a length instead of a type", linkEthernet, macs + "\x00\x2d" + ip, "LLC SAP 0x45"},
		{"short Ethernet", linkEthernet, macs + "\x08", "malformed headers"},
		{"short VLAN", linkEthernet, macs + "\x81\x00\x00\x05\x08", "malformed headers"},
		{"Linux cooked", linkCooked, cooked + "\x08\x00" + ip, ""},
		{"Linux cooked, VLAN", linkCooked, cooked + "\x81\x00\x00\x05\x86\xdd" + ip6, ""},
		{"Linux cooked 2", linkCooked2, "\x08\x00" + cooked2 + ip, ""},
		{"Linux cooked 2, IPv6", linkCooked2, "\x86\xdd" + cooked2 + ip6, ""},
		{"raw", linkRawIP, ip, ""},
		{"raw, IPv6", linkRawIP, ip6, ""},
		{"raw of BSD", linkDLTRaw, ip, ""},
		{"raw of OpenBSD", linkDLTRaw14, ip, ""},
		{"IPv4", linkIPv4, ip, ""},
		{"IPv6", linkIPv6, ip6, ""},
		{"BSD loopback", linkNull, "\x02\x00\x00\x00" + ip, ""},
		{"BSD loopback, other order", linkNull, "\x00\x00\x00\x02" + ip, ""},
		{"macOS loopback, IPv6", linkNull, "\x1e\x00\x00\x00" + ip6, ""},
		{"FreeBSD loopback, IPv6", linkNull, "\x00\x00\x00\x1c" + ip6, ""},
		{"OpenBSD loopback", linkLoop, "\x00\x00\x00\x18" + ip6, ""},
		{"loopback of Linux", linkNull, "\x0a\x00\x00\x00" + ip6, ""},
		{"loopback of another family", linkNull, "\x07\x00\x00\x00" + ip, "address family 7"},
		{"short loopback", linkNull, "\x02\x00\x00", "malformed headers"},
		{"nothing", linkRawIP, "", "malformed headers"},
		{"version 5", linkRawIP, "\x55" + ip[1:], "malformed headers"},
		{"wireless", 105, ip, "link type 105 (IEEE802_11)"},
		{"wireless with radiotap", 127, ip, "link type 127 (IEEE802_11_RADIOTAP)"},
		{"PPP", linkPPP, "\x00\x21" + ip, ""},
		{"PPP with address and control", linkPPP, "\xff\x03\x00\x57" + ip6, ""},
		{"PPP, no address and control", linkPPP, "\xff\x04\x00\x21" + ip, "PPP protocol 0xff04"},
		{"PPP in HDLC", linkPPPHDLC, "\xff\x03\x00\x21" + ip, ""},
		{"PPP, another protocol", linkPPP, "\xff\x03\xc0\x21" + ip, "PPP protocol 0xc021"},
		{"PPPoE without Ethernet", linkPPPoE, "\x11\x00\x00\x01\x00\x2f\x00\x21" + ip, ""},
		{"HDLC of Cisco", linkCiscoHDLC, "\x0f\x00\x08\x00" + ip, ""},
		{"NFLOG", 239, ip, "link type 239 (NFLOG)"},
		{"another", 147, ip, "link type 147 (USER0)"},
		{"an unknown one", 65000, ip, "link type 65000"},
		{"text", linkUnknown, ip, "unrecognized hexadecimal text (text2pcap converts it)"},
	} {
		checkFrame(t, test.name, frame{link: test.link, data: []byte(test.data), size: len(test.data)}, test.want)
	}
}

// Headers before Ethernet, IPv4 or what is named.
const (
	ethernetIPv4 = "\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x08\x00"
	vxlanHeader  = "\x08\x00\x00\x00\x00\x00\x05\x00"
)

// inIP returns a payload in IPv4.
func inIP(protocol byte, payload string) string {
	n := 20 + len(payload)
	return "\x45\x00" + string([]byte{byte(n >> 8), byte(n)}) + "\x00\x00\x00\x00\x40" + string([]byte{protocol}) + "\x00\x00\xc0\x00\x02\x63\xc0\x00\x02\x62" + payload
}

// inIPv6 returns a payload in IPv6.
func inIPv6(protocol byte, payload string) string {
	n := len(payload)
	return "\x60\x00\x00\x00" + string([]byte{byte(n >> 8), byte(n), protocol}) + "\x40" + strings.Repeat("\x20\x01\x0d\xb8", 8) + payload
}

// inUDP returns a payload in UDP.
func inUDP(port uint16, payload string) string {
	n := 8 + len(payload)
	return inIP(protocolUDP, "\xc0\x01"+string([]byte{byte(port >> 8), byte(port), byte(n >> 8), byte(n)})+"\x00\x00"+payload)
}

func TestPcapEncapsulations(t *testing.T) {
	t.Parallel()
	ip := string(tcpIP(deviceEnd, serverEnd, 1, 1, tcpACK, "hello"))
	ip6 := string(tcpIP(netip.MustParseAddrPort("[2001:db8::7]:41234"), netip.MustParseAddrPort("[2001:db8::1]:49"), 1, 1, tcpACK, "hello"))
	ethernet, tagged := ethernetIPv4+ip, ethernetIPv4[:12]+"\x81\x00\x00\x05\x86\xdd"+ip6
	snap := func(organization string) string { // its length counts
		return ethernetIPv4[:12] + "\x00\x35\xaa\xaa\x03" + organization + "\x08\x00" + ip
	}
	erspan2, erspan3 := "\x10\x05\x00\x01\x00\x00\x00\x00", "\x20\x05\x00\x01\x00\x00\x00\x00\x00\x00"
	for _, test := range []struct {
		name, ip, want string
	}{
		{"GRE", inIP(47, "\x00\x00\x08\x00"+ip), ""},
		{"GRE with IPv6, in IPv6", inIPv6(47, "\x00\x00\x86\xdd"+ip6), ""},
		{"GRE with all options", inIP(47, "\xb0\x00\x08\x00"+strings.Repeat("\x01", 12)+ip), ""},
		{"GRE with a key, and Ethernet", inIP(47, "\x20\x00\x65\x58\x00\x00\x01\x00"+tagged), ""},
		{"GRE with MPLS", inIP(47, "\x00\x00\x88\x47\x00\x01\x01\x40"+ip), ""},
		{"GRE with a route", inIP(47, "\x40\x00\x08\x00\x00\x00\x00\x00"+ip), "GRE protocol 0x0800"},
		{"GRE of PPTP", inIP(47, "\x20\x01\x88\x0b\x00\x20\x00\x01"+ip), "GRE protocol 0x880b (PPTP)"},
		{"GRE keep-alive", inIP(47, "\x00\x00\x00\x00"), "GRE protocol 0x0000"},
		{"GRE with another protocol", inIP(47, "\x00\x00\x88\xcc"+ip), "ethertype 0x88cc"},
		{"GRE, a byte too short", inIP(47, "\xb0\x00\x08\x00\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01"), "malformed headers"},
		{"short GRE", inIP(47, "\xb0\x00\x08\x00\x01\x01"), "malformed headers"},
		{"ERSPAN I", inIP(47, "\x00\x00\x88\xbe"+ethernet), ""},
		{"ERSPAN II", inIP(47, "\x10\x00\x88\xbe\x00\x00\x00\x01"+erspan2+tagged), ""},
		{"ERSPAN III", inIP(47, "\x10\x00\x22\xeb\x00\x00\x00\x01"+erspan3+"\x00\x00"+ethernet), ""},
		{"ERSPAN III with a subheader", inIP(47, "\x10\x00\x22\xeb\x00\x00\x00\x01"+erspan3+"\x00\x01\x01\x02\x03\x04\x05\x06\x07\x08"+ethernet), ""},
		{"ERSPAN III with IP", inIP(47, "\x10\x00\x22\xeb\x00\x00\x00\x01"+erspan3+"\x08\x00"+ip), ""},
		{"ERSPAN III that is a copy of a whole packet", inIP(47, "\x10\x00\x22\xeb\x00\x00\x00\x01"+erspan3+"\x80\x00"+ethernet), ""},
		{"ERSPAN III with an unknown frame", inIP(47, "\x10\x00\x22\xeb\x00\x00\x00\x01"+erspan3+"\x40\x00"+ethernet), "ethertype 0x22eb"},
		{"ERSPAN III with another frame", inIP(47, "\x10\x00\x22\xeb\x00\x00\x00\x01"+erspan3+"\x04\x00"+ip), "ethertype 0x22eb"},
		{"VXLAN", inUDP(4789, vxlanHeader+ethernet), ""},
		{"VXLAN of Linux", inUDP(8472, vxlanHeader+tagged), ""},
		{"VXLAN without a network", inUDP(4789, "\x00"+vxlanHeader[1:]+ethernet), "UDP port 4789 (VXLAN)"},
		{"VXLAN with ARP", inUDP(4789, vxlanHeader+ethernet[:12]+"\x08\x06"+ip), "ethertype 0x0806"},
		{"Geneve", inUDP(6081, "\x00\x00\x65\x58\x00\x00\x05\x00"+ethernet), ""},
		{"Geneve with options and IPv6", inUDP(6081, "\x02\x40\x86\xdd\x00\x00\x05\x00\x01\x02\x80\x01\x00\x00\x00\x07"+ip6), ""},
		{"Geneve with as many options as possible", inUDP(6081, "\x3f\x00\x08\x00\x00\x00\x05\x00"+strings.Repeat("\x00", 252)+ip), ""},
		{"Geneve of another version", inUDP(6081, "\x40\x00\x65\x58\x00\x00\x05\x00"+ethernet), "UDP port 6081 (Geneve)"},
		{"short Geneve", inUDP(6081, "\x3f\x00\x65\x58\x00\x00\x05\x00"+ethernet), "malformed headers"},
		{"IPv4 in IPv4", inIP(4, ip), ""},
		{"IPv6 in IPv4", inIP(41, ip6), ""},
		{"IPv4 in IPv6", inIPv6(4, ip), ""},
		{"IPv6 in IPv6", inIPv6(41, ip6), ""},
		{"MPLS in IP", inIP(137, "\x00\x01\x01\x40"+ip), ""},
		{"UDP", inUDP(2152, ip), "UDP port 2152 (GTP-U)"},
		{"UDP to a high port", inUDP(40000, ip), "UDP port 40000"},
		{"short UDP", inIP(protocolUDP, "\x00\x35\x00"), "malformed headers"},
		{"ESP", inIP(50, ip), "IP protocol 50 (ESP)"},
	} {
		checkFrame(t, test.name, frame{link: linkRawIP, data: []byte(test.ip), size: len(test.ip)}, test.want)
	}
	for _, test := range []struct {
		name, data, want string
	}{
		{"MPLS", ethernetIPv4[:12] + "\x88\x47\x00\x01\x00\x40\x00\x02\x01\x40" + ip, ""},
		{"MPLS, IPv6, multicast", ethernetIPv4[:12] + "\x88\x48\x00\x01\x01\x40" + ip6, ""},
		{"MPLS, Ethernet with a control word", ethernetIPv4[:12] + "\x88\x47\x00\x01\x01\x40\x00\x00\x00\x00" + ethernet, ""},
		{"MPLS, Ethernet with an address that begins with zeros", ethernetIPv4[:12] + "\x88\x47\x00\x01\x01\x40" + ethernet, ""},
		{"MPLS, Ethernet with VLAN and a control word", ethernetIPv4[:12] + "\x88\x47\x00\x01\x01\x40\x00\x00\x00\x07" + tagged, ""},
		{"MPLS, Ethernet", ethernetIPv4[:12] + "\x88\x47\x00\x01\x01\x40\x12" + ethernet[1:], ""},
		{"MPLS, Ethernet with MPLS", ethernetIPv4[:12] + "\x88\x47\x00\x01\x01\x40" + ethernet[:12] + "\x88\x47\x00\x01\x01\x40" + ip, ""},
		{"MPLS, Ethernet with SNAP", ethernetIPv4[:12] + "\x88\x47\x00\x01\x01\x40" + ethernet[:12] + "\x00\x35\xaa\xaa\x03\x00\x00\x00\x08\x00" + ip, ""},
		{"MPLS, half a header of Ethernet", ethernetIPv4[:12] + "\x88\x47\x00\x01\x01\x40\x00\x00\x00\x00" + ethernet[:6], "malformed headers"},
		{"MPLS without a last label", ethernetIPv4[:12] + "\x88\x47\x00\x01\x00\x40", "malformed headers"},
		{"PPPoE", ethernetIPv4[:12] + "\x88\x64\x11\x00\x00\x01\x00\x2f\x00\x21" + ip, ""},
		{"PPPoE with IPv6", ethernetIPv4[:12] + "\x88\x64\x11\x00\x00\x01\x00\x43\x00\x57" + ip6, ""},
		{"PPPoE with MPLS", ethernetIPv4[:12] + "\x88\x64\x11\x00\x00\x01\x00\x33\x02\x81\x00\x01\x01\x40" + ip, ""},
		{"PPPoE discovery", ethernetIPv4[:12] + "\x88\x63\x11\x09\x00\x00\x00\x04\x01\x01\x00\x00", "ethertype 0x8863 (PPPoE discovery)"},
		{"SNAP", snap("\x00\x00\x00"), ""},
		{"SNAP of another organization", snap("\x00\x00\x0c"), "SNAP 00000c:0800"},
		{"spanning tree", ethernetIPv4[:12] + "\x00\x26\x42\x42\x03" + strings.Repeat("\x00", 35), "LLC SAP 0x42"},
		{"four encapsulations", ethernetIPv4 + inUDP(4789, vxlanHeader+ethernetIPv4[:12]+"\x88\x47\x00\x01\x01\x40"+inIP(47, "\x00\x00\x08\x00"+inIP(4, ip))), ""},
		{"five encapsulations", ethernetIPv4 + inUDP(4789, vxlanHeader+ethernetIPv4[:12]+"\x88\x47\x00\x01\x01\x40"+inIP(47, "\x00\x00\x08\x00"+inIP(4, inIP(4, ip)))), "more than 4 encapsulations"},
		{"four in IP", ethernetIPv4 + inIP(4, inIP(4, inIP(4, inIP(4, ip)))), ""},
		{"five in IP", ethernetIPv4 + inIP(4, inIP(4, inIP(4, inIP(4, inIP(4, ip))))), "more than 4 encapsulations"},
	} {
		checkFrame(t, test.name, frame{link: linkEthernet, data: []byte(test.data), size: len(test.data)}, test.want)
	}
	cut := []byte(ethernetIPv4 + inIP(4, ip))
	checkFrame(t, "cut", frame{link: linkEthernet, data: cut[:60], size: len(cut)}, "headers that the capture cut")
}

// checkFrame adds one frame, which has the data "hello" or is counted in want.
func checkFrame(t *testing.T, name string, f frame, want string) {
	t.Helper()
	l := newTCPEvents()
	l.add(&f)
	got := strings.TrimPrefix(l.unread.String(), "1 frame of ")
	delivered := len(l.log) == 2 && l.log[1] == "0 hello"
	if got != want || delivered != (want == "") || l.frames != 1 {
		t.Errorf("%s: got %q, events %q; want %q; %d frames", name, got, l.log, want, l.frames)
	}
}

func TestPcapIP(t *testing.T) {
	t.Parallel()
	ip := tcpIP(deviceEnd, serverEnd, 1, 1, tcpACK, "hello")
	ip6 := tcpIP(netip.MustParseAddrPort("[2001:db8::7]:41234"), netip.MustParseAddrPort("[2001:db8::1]:49"), 1, 1, tcpACK, "hello")
	change := func(b []byte, at int, data ...byte) []byte { // replaces the bytes at an offset
		b = bytes.Clone(b)
		copy(b[at:], data)
		return b
	}
	insert := func(b []byte, at int, data ...byte) []byte { return slices.Insert(bytes.Clone(b), at, data...) }
	// extension inserts extension headers before TCP; next is the type of the first one.
	extension := func(next byte, headers ...byte) []byte {
		b := insert(change(ip6, 6, next), 40, headers...)
		return change(b, 4, byte((len(b)-40)>>8), byte(len(b)-40))
	}
	eight := func(next, length byte) []byte { return []byte{next, length, 0, 0, 0, 0, 0, 0} }
	for _, test := range []struct {
		name string
		b    []byte
		want string
	}{
		{"options of IPv4", insert(change(ip, 0, 0x46, 0, 0, 49), 20, 1, 1, 1, 1), ""},
		{"options of TCP", insert(change(ip, 2, 0, 57, 0, 0, 0, 0, 64, 6), 40, 1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8), "options"},
		{"length 0 of an offloading interface", change(ip, 2, 0, 0), ""},
		{"length 0 of IPv6", change(ip6, 4, 0, 0), ""},
		{"do not fragment", change(ip, 6, 0x40), ""},
		{"first fragment", change(ip, 6, 0x20), "IP fragments"},
		{"another fragment", change(ip, 6, 0, 1), "IP fragments"},
		{"fragment of UDP", change(ip, 6, 0, 1, 64, 17), "IP fragments"},
		{"UDP", change(ip, 9, 17), "UDP port 49"},
		{"UDP of IPv6", change(ip6, 6, 17), "UDP port 49"},
		{"short header", change(ip, 0, 0x44), "malformed headers"},
		{"header longer than the datagram", change(ip, 2, 0, 19), "malformed headers"},
		{"header longer than the frame", change(ip[:20], 0, 0x46), "malformed headers"},
		{"ends in the header of IPv4", ip[:19], "malformed headers"},
		{"ends in the header of IPv6", ip6[:39], "malformed headers"},
		{"ends in the header of TCP", change(ip[:39], 2, 0, 39), "malformed headers"},
		{"ends in the header of TCP, IPv6", change(ip6[:59], 4, 0, 19), "malformed headers"},
		{"short header of TCP", change(ip, 32, 0x40), "malformed headers"},
		{"header of TCP longer than the datagram", change(ip, 32, 0x70), "malformed headers"},
		{"extension headers", extension(0, slices.Concat(eight(43, 0), eight(60, 1), make([]byte, 8), eight(135, 0), eight(139, 0), eight(140, 0), eight(6, 0))...), ""},
		{"authentication header", extension(51, append(eight(6, 1), 0, 0, 0, 0)...), ""},
		{"unfragmented, with a fragment header", extension(44, 6, 0, 0, 6, 1, 2, 3, 4), ""},
		{"first fragment of IPv6", extension(44, 6, 0, 0, 1, 1, 2, 3, 4), "IP fragments"},
		{"another fragment of IPv6", extension(44, 6, 0, 0, 8, 1, 2, 3, 4), "IP fragments"},
		{"no next header", extension(59), "IP protocol 59"},
		{"extension header longer than the packet", extension(0, eight(6, 9)...), "malformed headers"},
		{"ends in an extension header", change(ip6[:44], 4, 0, 4, 60), "malformed headers"},
		{"ends in an authentication header", change(ip6[:44], 4, 0, 4, 51), "malformed headers"},
		{"ends in a fragment header", change(ip6[:44], 4, 0, 4, 44), "malformed headers"},
		{"sixteen extension headers", extension(60, append(bytes.Repeat(eight(60, 0), 14), eight(6, 0)...)...), ""},
		{"too many extension headers", extension(60, append(bytes.Repeat(eight(60, 0), 63), eight(6, 0)...)...), "more than 4 encapsulations"},
	} {
		if test.want == "options" {
			// The TCP header has the offset of the data.
			test.b, test.want = change(test.b, 32, 8<<4), ""
		}
		checkFrame(t, test.name, frame{link: linkRawIP, data: test.b, size: len(test.b)}, test.want)
	}
}

// TestPcapCutFrames: the lengths of IP show how much the capture cut.
func TestPcapCutFrames(t *testing.T) {
	t.Parallel()
	ip := tcpIP(deviceEnd, serverEnd, 1, 1, tcpACK, "hello")
	ip6 := tcpIP(netip.MustParseAddrPort("[2001:db8::7]:41234"), netip.MustParseAddrPort("[2001:db8::1]:49"), 1, 1, tcpACK, "hello")
	offloaded, offloaded6 := bytes.Clone(ip), bytes.Clone(ip6)
	clear(offloaded[2:4])
	clear(offloaded6[4:6])
	for _, b := range [][]byte{ip, ip6, offloaded, offloaded6} {
		l := newTCPEvents()
		l.add(&frame{link: linkRawIP, data: b[:len(b)-2], size: len(b)})
		if len(l.log) != 3 || l.log[1] != "0 hel" || l.log[2] != "0 misses 2" {
			t.Errorf("%x: %q", b, l.log)
		}
	}
	// Options of TCP that were cut are not missing data.
	long := tcpIP(deviceEnd, serverEnd, 1, 1, tcpACK, "optionhello!")
	long[32] = 6 << 4
	l := newTCPEvents()
	l.play("> A 0 0 x\n", 0, 0)
	l.add(&frame{link: linkRawIP, data: long[:42], size: len(long)})
	if l.log[len(l.log)-1] != "0 misses 8" {
		t.Errorf("%q", l.log)
	}
}

// FuzzSegment: any frame is a segment inside it, or is counted by a name.
func FuzzSegment(f *testing.F) {
	ip := string(tcpIP(deviceEnd, serverEnd, 1, 1, tcpACK, "hello"))
	for _, data := range []string{
		ethernetIPv4 + inUDP(4789, vxlanHeader+ethernetIPv4[:12]+"\x88\x47\x00\x01\x01\x40"+inIP(47, "\xb0\x00\x08\x00"+strings.Repeat("\x01", 12)+inIP(4, ip))),
		ethernetIPv4 + inIP(47, "\x10\x00\x88\xbe\x00\x00\x00\x01\x10\x05\x00\x01\x00\x00\x00\x00"+ethernetIPv4+ip),
		ethernetIPv4 + inIP(47, "\x10\x00\x22\xeb\x00\x00\x00\x01\x20\x05\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01\x01\x02\x03\x04\x05\x06\x07\x08"+ethernetIPv4+ip),
		ethernetIPv4 + inUDP(6081, "\x02\x40\x65\x58\x00\x00\x05\x00\x01\x02\x80\x01\x00\x00\x00\x07"+ethernetIPv4+ip),
		ethernetIPv4[:12] + "\x88\x64\x11\x00\x00\x01\x00\x2f\x00\x21" + ip,
		ethernetIPv4[:12] + "\x00\x35\xaa\xaa\x03\x00\x00\x00\x08\x00" + ip,
	} {
		f.Add(uint16(linkEthernet), []byte(data), uint16(0))
	}
	f.Fuzz(func(t *testing.T, link uint16, data []byte, cut uint16) {
		var s segment
		p, ok := s.parse(&frame{link: protocol(link), data: data, size: len(data) + int(cut)})
		switch {
		case !ok && p.String() == "":
			t.Fatalf("protocol %#x has no name", uint64(p))
		case ok && (len(s.data) > len(data) || !bytes.Contains(data, s.data) || s.missing < 0 || s.missing > 1<<16+int(cut)):
			t.Fatalf("%d bytes of %d, and %d missing of %d", len(s.data), len(data), s.missing, cut)
		}
	})
}

func TestPcapFrameCounts(t *testing.T) {
	t.Parallel()
	var c frameCounts
	check := func(want string) {
		t.Helper()
		equal(t, c.String(), want)
	}
	check("")
	c.add(ofUDP+53, 3)
	check("3 frames of UDP port 53")
	c.add(ofEther+0x88cc, 23)
	c.add(ofEther+0x88cc, 1)
	check("24 frames of ethertype 0x88cc, 3 of UDP port 53")
	for i, p := range []protocol{ofUDP + 2152, ofUDP + 37008, ofEther + 0x88e5, ofEther + 0x8909, ofIP + 50, ofSNAP + 0x00000c2000, ofGRE + 0x880b, cutHeader} {
		c.add(p, 99-i)
	}
	const most = "99 frames of UDP port 2152 (GTP-U), 98 of UDP port 37008 (TZSP), 97 of ethertype 0x88e5 (MACsec), 96 of ethertype 0x8909 (TrustSec), " +
		"95 of IP protocol 50 (ESP), 94 of SNAP 00000c:2000, 93 of GRE protocol 0x880b (PPTP), 92 of headers that the capture cut, 24 of ethertype 0x88cc, 3 of UDP port 53"
	check(most)
	c.add(ofIP+89, 2)
	check(most + ", 2 of other protocols")
	for port := range protocol(2 * maxCountedProtocols) {
		c.add(ofUDP+10000+port, 1)
	}
	check(most + fmt.Sprintf(", %d of other protocols", 2+2*maxCountedProtocols))
	if len(c.counts) != maxCountedProtocols {
		t.Errorf("%d counts", len(c.counts))
	}
}

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

const textFortiGate = `2026-11-24 15:23:32.776204 port1 in 127.0.0.1.33918 -> 127.0.0.1.4950: psh 258484163 ack 2384433154
0x0000	 0200 0000 0001 0200 0000 0002 0800 4500	..............E.
0x0010	 0061 742c 4000 4006 c868 7f00 0001 7f00	.at,@.@..h......
0x0020	 0001 847e 1356 0f68 27c3 8e1f 9002 8018	...~.V.h'.......
0x0030	 0040 fe55 0000 0101 080a e1b9 96dc 8f66	.@.U...........f
0x0040	 e144 c101 0100 12c0 1e93 0000 0021 c138	.D...........!.8
0x0050	 b7b9 afbc 6a81 c709 128e 7c59 c356 eaaa	....j.....|Y.V..
0x0060	 ac37 4e60 1b8e 5f1a 043b 5d62 da32 a0		.7N.......;]b.2.

`

// rows breaks digits into lines.
func rows(digits string, width int) string {
	var b strings.Builder
	for line := range slices.Chunk([]byte(digits), width) {
		b.Write(line)
		b.WriteByte('\n')
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
		{"the mark of UTF-8", "\ufeff" + textXxd, both},
		{"no newline at the end", strings.TrimSpace(textXxdPlain), both},
		{"UTF-16", "\xff\xfe" + strings.Join(strings.Split(textTcpdump, ""), "\x00") + "\x00", local + "101 " + ip + "\n"},
		{"UTF-16, big-endian", "\xfe\xff\x00" + strings.Join(strings.Split(textXxdPlain, ""), "\x00"), both},
		{"empty lines between", strings.ReplaceAll(textTcpdump+textTcpdump, "\n", "\n\n"), strings.Repeat(local+"101 "+ip+"\n", 2)},
		{"a number above the dump", "10\n" + textXxd + "1234\n" + textXxd, both + both},
		{"numbers and times", "  10  " + textTcpdump + "1000  15:23:32 IP\n" + textXxd, local + "101 " + ip + "\n" + strings.ReplaceAll(both, "65536 ", "0001-01-01T15:23:32 65536 ")},
		{"a last line that looks like an offset", regexp.MustCompile(`\w{4}`).ReplaceAllString(rows(ip, 94), "$0 "), "101 " + ip + "\n"},
		{"memory of IOS", "15:23:32.776 UTC Nov 24 2026 : IPv4 LES CEF    : Gi0/0 None\n\n66E9C0A0:          C1010200 12C01E93 00000006      ....\n66E9C0B0: 126345DF 9313                        .cE...\n", "0001-01-01T15:23:32.776 " + reply},
		{"a list in upper case", "unsigned char reply[] = {\n  0XC1, 0X01, 0X02, 0X00, 0X12, 0XC0, 0X1E, 0X93, 0X00, 0X00, 0X00, 0X06,\n  0X12, 0X63, 0X45, 0XDF, 0X93, 0X13\n};\n", reply},
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
		{"a truncated packet", hexRequest[:len(hexRequest)-4] + "\n" + hexReply + "\n\n", "65536 " + compact(hexRequest[:len(hexRequest)-4]) + " 2 missing\n" + reply},
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
		{"one packet a line, each cut", compact(hexRequest)[:70] + "\n" + compact(hexReply)[:28] + "\n" + hexReply + "\n", "65536 " + compact(hexRequest)[:70] + " 10 missing\n65536 " + compact(hexReply)[:28] + " 4 missing\n" + reply},
		{"one IP packet a line, each cut", ip[:170] + "\n" + ip + "\n" + ip[:160] + "\n" + ip[:180] + "\n", "101 " + ip[:170] + " 12 missing\n101 " + ip + "\n101 " + ip[:160] + " 17 missing\n101 " + ip[:180] + " 7 missing\n"},
		{"a cut packet and a whole one of the same size", ip[:80] + "\n45000028" + ip[8:80] + "\n", "101 " + ip[:80] + " 57 missing\n101 45000028" + ip[8:80] + "\n"},
		{"a short line ends a packet", rows(compact(hexRequest)[:72], 32) + rows(compact(hexReply), 32), "65536 " + compact(hexRequest)[:72] + " 9 missing\n" + reply},
		{"a short line ends an IP packet", rows(ip[:192], 40) + rows(ip, 40), "101 " + ip[:192] + " 1 missing\n101 " + ip + "\n"},
		{"the header of IP begins a line", rows("000003040006000000000000"+"00000800"+ip, 32), "113 000003040006000000000000" + "00000800" + ip + "\n"},
		{"the header of TACACS+ begins a line", rows(ip, 52), "101 " + ip + "\n"},
		{"FortiGate", textFortiGate, local + "1 " + compact(ethernet) + ip + "\n"},
		{"FortiGate with times since the start", strings.Replace(textFortiGate, "2026-11-24 15:23:32.776204", "12.776204", 1), "0001-01-01T00:00:12.776204 1 " + compact(ethernet) + ip + "\n"},
		{"tcpdump before version 4", strings.ReplaceAll(textTcpdump, ":  ", "   "), local + "101 " + ip + "\n"},
		{"tcpdump before version 4, without a prefix", strings.ReplaceAll(strings.ReplaceAll(textTcpdump, ":  ", "   "), "0x", "00"), local + "101 " + ip + "\n"},
		{"ASA", "   1: 15:23:32.776204       127.0.0.1.33918 > 127.0.0.1.4950: P 258484163:258484208(45)\n" + strings.ReplaceAll(textTcpdump[strings.Index(textTcpdump, "\t0x"):], ":  ", "   \t") + "1 packet shown\n",
			"0001-01-01T15:23:32.776204 101 " + ip + "\n"},
		{"C", "/* Frame (18 bytes) */\nstatic const unsigned char pkt1[18] = {\n0xc1, 0x01, 0x02, 0x00, 0x12, 0xc0, 0x1e, 0x93, /* ........ */\n0x00, 0x00, 0x00, 0x06, 0x12, 0x63, 0x45, 0xdf, /* .....cE. */\n0x93, 0x13 };\n", reply},
		{"C of a stream", "char peer1_0[] = { /* Packet 6 */\n0xc1, 0x01, 0x02, 0x00, 0x12, 0xc0, 0x1e, 0x93, \n0x00, 0x00, 0x00, 0x06, 0x12, 0x63, 0x45, 0xdf, \n0x93, 0x13 };\n", reply},
		{"Go", "reply := []byte{0xc1, 0x1, 0x2, 0x0, 0x12, 0xC0, 0x1e, 0x93, 0x0, 0x0, 0x0, 0x6, 0x12, 0x63, 0x45, 0xdf, 0x93, 0x13}\n", reply},
		{"Python", "reply = bytes([0xc1, 0x01, 0x02, 0x00, 0x12, 0xc0, 0x1e, 0x93, 0x00, 0x00,\n    0x00, 0x06, 0x12, 0x63, 0x45, 0xdf, 0x93, 0x13])\n", reply},
		{"bytes in Python", `reply = b'\xc1\x01\x02\x00\x12\xc0\x1e\x93\x00\x00\x00\x06\x12cE\xdf\x93\x13'` + "\n", reply},
		{"an escaped string", `"\xc1\x01\x02\x00\x12\xc0\x1e\x93" \` + "\n" + `"\x00\x00\x00\x06\x12\x63\x45\xdf" \` + "\n" + `"\x93\x13"` + "\n", reply},
		{"escapes without quotes", `\xc1\x01\x02\x00\x12\xc0\x1e\x93\x00\x00\x00\x06\x12\x63\x45\xdf\x93\x13 end` + "\n", reply},
		{"escapes of characters", `"\xc1\x01\x02\x00\x12\xc0\x1e\x93\x00\x00\x00\x06\r\n\t\\\"'"` + "\n", "65536 c101020012c01e93000000060d0a095c2227\n"},
		{"hyphens", "C1-01-02-00-12-C0-1E-93-00-00-00-06-12-63-45-DF-93-13\n", reply},
		{"lines that end with colons", "    c1:01:02:00:12:c0:1e:93:00:\n    00:00:06:12:63:45:df:93:13\n", reply},
		{"neither bytes nor a list", "2026-11-24\nc1:010:\nx 0xc1, 0x01\n\"\\xq\nmask 0x1f (= 0x20)\n0x1234, 0x5678\n" + hexReply, reply},
		{"a column that looks like a list", "0000  c1 01 02 00 12 c0 1e 93 00 00 00 06 12 63 45 df  \"..\\x41=0x41\n0010  93 13                                            ..\n", reply},
		{"no bytes", "To be or not to be\nthat is\n", "FILE is not a capture (pcap, pcapng or a hex dump of packets)\n"},
		{"too many colons", "c1::01\n:ff\nff:\n", "FILE is not a capture (pcap, pcapng or a hex dump of packets)\n"},
		{"bytes outside a packet", "ff ff ff\n", "65537 ffffff\nFILE is not a capture (pcap, pcapng or a hex dump of packets)\n"},
		{"names of header fields without valid values", "version 0xc.x type authentication seq_no 1 flags none session_id 1 length 1\nversion 0xc.1 type authentication seq_no 1 flags none session_id 1 length 99999\nversion 0xc.1 kind authentication seq_no 1 flags none session_id 1 length 1\n" + hexReply, reply},
		{"a long line", hexReply + "\n" + strings.Repeat("0", maxFrame+1<<13), reply + "FILE at offset 40: line is over 266240 bytes\n"},
		{"a long dump", hexReply + "\n\n" + strings.Repeat(strings.Repeat("ff", 1<<16)+"\n", 5), reply + "65537 " + strings.Repeat("ff", 5<<16) + "\n"},
	} {
		equal(t, textFrames(test.text), test.want, test.name)
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
	// Bytes above it are a packet of their own, and stay as they are.
	const before = "01 02 03 04 05 06 07 08 09 0a 0b 0c 0d"
	_, packet, _ := strings.Cut(out.String(), "\n")
	all, err := framesOf(strings.NewReader("0000 " + before + "\n" + packet))
	if err != nil || len(all) != 2 || !bytes.Equal(all[0].data, unhex(t, before)) || !bytes.Equal(all[1].data, frames[0].data) {
		t.Errorf("after other bytes: %v, %s", err, showFrames(all))
	}
	h.flags |= flagUnencrypted
	want := append(bytes.Clone(body[:len(body)-8]), "********"...)
	if got := frames[0]; parseHeader(got.data) != h || !bytes.Equal(got.data[headerLen:], want) || got.at.IsZero() {
		t.Errorf("%s, want body %x", showFrames(frames), want)
	}
}

func FuzzCapture(f *testing.F) {
	for _, text := range []string{textXxd, textXxdPlain, textHexdump, textOd, textTcpdump, textCooked, textDebug, "*\n0\n", "c1\n*\n0001 c1\n", textFortiGate,
		"{ 0xc1, 0x1, /* .. */ };\n", `b"\xc1\x01A\n\\" \`, "C1-01-02-00:\n", string(zipped([]byte(textXxd)))} {
		f.Add([]byte(text))
	}
	one := frame{at: time.Unix(1, 0), link: linkEthernet, data: []byte("one"), size: 4}
	f.Add(pcapOf(binary.BigEndian, false, one, one))
	f.Add(pcapOf(binary.LittleEndian, true, one, one))
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		w := (&pcapngWriter{ByteOrder: order}).section().describe(linkRawIP, 9, uint16(optionTSResolution), uint16(1), []byte{9}, uint16(optionTSOffset), uint16(8), uint64(1))
		w.block(blockSecrets, uint32(0x544c534b), uint32(5), []byte("line\n"))
		f.Add(w.packet(0, 5, 5, "frame").block(blockSimple, uint32(1), []byte("x")).block(blockOldPacket, uint32(0), uint64(0), uint32(1), uint32(1), []byte("x")).b)
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		c, err := newCapture(bytes.NewReader(input), "FILE", &tacacsPayload, func(b []byte) {
			if len(b) > maxFrame {
				t.Fatalf("%d bytes of secrets", len(b))
			}
		})
		if err != nil {
			return
		}
		given, most := 0, len(input)+1
		if bytes.HasPrefix(input, []byte("\x1f\x8b")) {
			most *= 1100 // of gzip
		}
		for {
			var f frame
			if err = c(&f); err != nil {
				break
			}
			given++
			if len(f.data) > 2*(maxFrame+1<<12) || given > most {
				t.Fatalf("frame %d of %d bytes, out of an input of %d", given, len(f.data), len(input))
			}
			if !f.at.IsZero() && f.at.Year() > 9999 {
				t.Fatal(f.at)
			}
		}
		if err != io.EOF && classOf(err) != classUsage {
			t.Fatal(err)
		}
	})
}

// TestPcapCountsInOrder: of equal counts the lower number comes first, whatever the names are.
func TestPcapCountsInOrder(t *testing.T) {
	t.Parallel()
	var c frameCounts
	c.add(ofEther+0x88cc, 2)
	c.add(ofUDP+9, 2)
	c.add(ofUDP+10, 2)
	c.add(ofTCP+80, 3)
	if got, want := c.String(), "3 frames of TCP port 80, 2 of ethertype 0x88cc, 2 of UDP port 9, 2 of UDP port 10"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
