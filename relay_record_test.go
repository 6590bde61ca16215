package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// recordedFrames returns the frames of a record. It fails the test if a frame is cut or not one that a recorder writes.
func recordedFrames(t *testing.T, record []byte) (frames [][]byte) {
	t.Helper()
	if !bytes.HasPrefix(record, appendPcapHeader(nil)) {
		t.Fatalf("the record begins with %x", record[:min(len(record), pcapHeaderLen)])
	}
	for b := record[pcapHeaderLen:]; len(b) > 0; {
		if len(b) < pcapRecordLen {
			t.Fatalf("%d bytes follow the last frame", len(b))
		}
		size := pcapRecordLen + int(binary.LittleEndian.Uint32(b[8:]))
		if size > len(b) || b[pcapRecordLen] != 0x45 || int(binary.BigEndian.Uint16(b[pcapRecordLen+2:])) != size-pcapRecordLen {
			t.Fatalf("frame %d, at byte %d, is damaged", len(frames)+1, len(record)-len(b))
		}
		frames, b = append(frames, b[pcapRecordLen:size]), b[size:]
	}
	return frames
}

// TestRelayRecordNeverOverwrites: an existing file, also an empty one or one behind a link, is an error, and stays as it is.
func TestRelayRecordNeverOverwrites(t *testing.T) {
	t.Parallel()
	for _, content := range []string{"", "text\n", string(appendPcapHeader(nil))} {
		dir := writeFiles(t, map[string]string{"old": content})
		file := filepath.Join(dir, "old")
		must(t, os.Chmod(file, 0o640))
		info, _ := os.Stat(file)
		for _, name := range []string{"old", "link"} {
			if name == "link" && os.Symlink("old", filepath.Join(dir, name)) != nil {
				continue // Windows
			}
			got := runWith(t, secretsInEnv, "", "relay", "127.0.0.1:1", "--listen", "127.0.0.1:0", "--record", filepath.Join(dir, name))
			got.check(t, 2, "", "tacacs_plus: make the record: "+file+" exists\ntacacs_plus: hint: add --append, or move the file away\n")
		}
		data, err := os.ReadFile(file)
		now, _ := os.Stat(file)
		if err != nil || string(data) != content || now.Mode() != info.Mode() {
			t.Errorf("the file of %d bytes has %d now, mode %v, %v", len(content), len(data), now.Mode(), err)
		}
	}
}

// TestRelayRecordAppends: each run adds its sessions to the file. A packet that was cut off at its end is removed, wherever
// it was cut, and nothing else.
func TestRelayRecordAppends(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	file := filepath.Join(t.TempDir(), "record.pcap")
	logIn := func() string {
		r := relayTo(t, s.addr, "--record", file, "--append")
		if got := r.asDevice(t, "authenticate alice AT -t pap"); got.code != 0 {
			t.Fatalf("got %+v", got)
		}
		r.relayed(t)
		return r.stderr.String()
	}
	logIn()
	first := contentOf(t, file)
	frames := recordedFrames(t, first)
	lastFrame := pcapRecordLen + len(frames[len(frames)-1])
	for _, cut := range []int{0, 1, lastFrame - pcapRecordLen, lastFrame - pcapRecordLen + 1, lastFrame - 1, lastFrame} {
		must(t, os.WriteFile(file, first[:len(first)-cut], 0o600))
		stderr := logIn()
		want := first
		if removed := (lastFrame - cut) % lastFrame; cut > 0 {
			want = first[:len(first)-lastFrame]
			if text := fmt.Sprintf("record.pcap: removed a packet that was cut off at the end (%d bytes)\n", removed); strings.Contains(stderr, text) != (removed > 0) {
				t.Errorf("cut by %d bytes: stderr is\n%s", cut, stderr)
			}
		} else if strings.Contains(stderr, "removed") {
			t.Errorf("not cut: stderr is\n%s", stderr)
		}
		data, err := os.ReadFile(file)
		if err != nil || !bytes.HasPrefix(data, want) {
			t.Fatalf("cut by %d bytes: the frames before are not the same, %v", cut, err)
		}
		if n := len(recordedFrames(t, data)) - len(recordedFrames(t, want)); n != len(frames) {
			t.Errorf("cut by %d bytes: %d frames were added, want %d", cut, n, len(frames))
		}
		got := runWith(t, nil, "", "decode", file)
		if n := strings.Count(got.out, "alice authenticate pap PASS"); n != 2 || got.code != 0 {
			t.Errorf("cut by %d bytes: decode: %+v", cut, got)
		}
	}
}

// TestRelayRecordAppendsToEmpty: a file without a packet, or with a cut header, gets the whole header.
func TestRelayRecordAppendsToEmpty(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, pcapHeaderLen - 1, pcapHeaderLen} {
		file := filepath.Join(writeFiles(t, map[string]string{"record.pcap": string(appendPcapHeader(nil)[:size])}), "record.pcap")
		r := relayTo(t, refusedAddr(t), "--record", file, "--append")
		r.stop()
		if data, err := os.ReadFile(file); err != nil || len(recordedFrames(t, data)) > 0 {
			t.Errorf("%d bytes became %x, %v", size, data, err)
		}
	}
}

// TestRelayRecordEnd: the end of the last whole packet is found wherever a file is cut, also in one of which only the end is
// read.
func TestRelayRecordEnd(t *testing.T) {
	t.Parallel()
	for _, device := range []string{"198.51.100.7:1024", "[2001:db8::7]:1024"} {
		conn := &pcapConn{ends: [2]netip.AddrPort{netip.MustParseAddrPort(device), netip.MustParseAddrPort("192.0.2.1:49")}}
		file := conn.appendOpen(appendPcapHeader(nil), time.Unix(1, 0))
		var ends []int
		for i := 0; len(file) < 2*recordTail; i++ {
			// With the two lengths of a frame that is none.
			data := append([]byte(long(1000+i*37%maxSegment)), "\x50\x00\x00\x00\x50\x00\x00\x00\x45\x00"...)
			file = conn.appendSegment(file, time.Unix(2, 0), i%2, tcpPSH|tcpACK, data)
			ends = append(ends, len(file))
		}
		last := ends[len(ends)-2]
		for _, cut := range []int{last, last + 1, last + pcapRecordLen - 1, last + pcapRecordLen, last + 100, len(file) - 1, len(file)} {
			want := int64(last)
			if cut == len(file) {
				want = int64(cut)
			}
			if end, err := recordEnd(bytes.NewReader(file[:cut]), int64(cut)); end != want || err != nil {
				t.Errorf("%s, cut at %d: the end is %d, want %d, %v", device, cut, end, want, err)
			}
		}
		damaged := append(slices.Clone(file), make([]byte, recordTail)...)
		if end, err := recordEnd(bytes.NewReader(damaged), int64(len(damaged))); err == nil {
			t.Errorf("%s, with zeros after it: the end is %d", device, end)
		}
	}
}

// TestRelayRecordLong: of a long file only the end is read. This one has a hole that no frames fill.
func TestRelayRecordLong(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "record.pcap")
	f, err := os.Create(file)
	must(t, err)
	defer f.Close()
	conn := &pcapConn{ends: [2]netip.AddrPort{netip.MustParseAddrPort("198.51.100.7:1024"), netip.MustParseAddrPort("192.0.2.1:49")}}
	var frames []byte
	for len(frames) < 2*recordTail {
		frames = conn.appendData(frames, time.Unix(1, 0), 0, []byte(long(900)))
	}
	const hole = 4 << 30
	for _, part := range []struct {
		b  []byte
		at int64
	}{{appendPcapHeader(nil), 0}, {frames[:len(frames)-1], hole}} {
		if _, err := f.WriteAt(part.b, part.at); err != nil {
			t.Skip(err) // the file system has no such large files
		}
	}
	r := relayTo(t, refusedAddr(t), "--record", file, "--append")
	r.stop()
	const cut = 900 + tcpHeaderLen + ipv4HeaderLen + pcapRecordLen - 1
	if want := fmt.Sprintf("%s: removed a packet that was cut off at the end (%d bytes)\n", file, cut); !strings.Contains(r.stderr.String(), want) {
		t.Errorf("got %s, want %s", r.stderr, want)
	}
	if info, err := f.Stat(); err != nil || info.Size() != hole+int64(len(frames)-1-cut) {
		t.Errorf("the file has %d bytes, %v", info.Size(), err)
	}
}

// TestRelayRecordBeforeListening: the record is opened before a device can connect. A new one is removed if the relay does not
// start.
func TestRelayRecordBeforeListening(t *testing.T) {
	t.Parallel()
	taken := listen(t).Addr().String()
	dir := writeFiles(t, map[string]string{"old": "", "text": "x"})
	for name, want := range map[string]string{"new": "listen on ", "old": "listen on ", "text": "make the record: "} {
		file := filepath.Join(dir, name)
		_, before := os.Stat(file)
		got := runWith(t, secretsInEnv, "", "relay", "127.0.0.1:1", "--listen", taken, "--append", "--record", file)
		if _, after := os.Stat(file); (before == nil) != (after == nil) || !strings.HasPrefix(got.err, "tacacs_plus: "+want) {
			t.Errorf("%s: %v, before %v; %+v", name, after, before, got)
		}
	}
}

// TestRelayRecordAppendsOnlyToRecord: a file that no recorder has written is an error, and stays as it is.
func TestRelayRecordAppendsOnlyToRecord(t *testing.T) {
	t.Parallel()
	header := appendPcapHeader(nil)
	changed := func(at int, to byte) string {
		b := slices.Clone(header)
		b[at] = to
		return string(b)
	}
	conn := &pcapConn{ends: [2]netip.AddrPort{netip.MustParseAddrPort("198.51.100.7:1024"), netip.MustParseAddrPort("192.0.2.1:49")}}
	sent := string(conn.appendData(nil, time.Unix(1, 0), 0, []byte("x")))
	const foreign = "is not a capture that relay has written (pcap, little-endian, microseconds, raw IP)"
	for _, tt := range []struct{ what, content, why string }{
		{"text", "# my notes\n", foreign},
		{"pcapng", "\x0a\x0d\x0d\x0a" + long(60), foreign},
		{"nanoseconds", changed(0, 0x4d), foreign},
		{"Ethernet", changed(20, 1), foreign},
		{"big-endian", string(pcapOf(binary.BigEndian, false, frame{link: linkRawIP})), foreign},
		{"zeros after the frames", string(header) + sent + strings.Repeat("\x00", 40), fmt.Sprintf("is damaged at byte %d", pcapHeaderLen+len(sent))},
		{"a long frame", string(header) + sent[:8] + "\x01\x00\x04\x00\x01\x00\x04\x00", "is damaged at byte 24"},
		{"two lengths", string(header) + sent[:12] + "\x99" + sent[13:] + sent, "is damaged at byte 24"},
	} {
		file := filepath.Join(writeFiles(t, map[string]string{"f": tt.content}), "f")
		must(t, os.Chmod(file, 0o640))
		before, _ := os.Stat(file)
		got := runWith(t, secretsInEnv, "", "relay", "127.0.0.1:1", "--listen", "127.0.0.1:0", "--append", "--record", file)
		if want := "tacacs_plus: make the record: " + file + " " + tt.why + "\n"; got.code != 2 || !strings.HasSuffix(got.err, want) {
			t.Errorf("%s: got %+v, want %s", tt.what, got, want)
		}
		data, err := os.ReadFile(file)
		if after, _ := os.Stat(file); err != nil || string(data) != tt.content || after.Mode() != before.Mode() {
			t.Errorf("%s: the file was changed, %v", tt.what, err)
		}
	}
}

// TestRelayRecordOfReusedPort: connections from a port that was used before are others. In the next run they are so even
// if those of the run before were not closed, since it was killed.
func TestRelayRecordOfReusedPort(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	rec := newRecorder(&out, false, false)
	for i := range uint32(3) {
		rec.end(recordLogin(t, rec, i))
	}
	for i := range uint32(20) {
		recordLogin(t, newRecorder(&out, true, false), 3+i)
	}
	file := filepath.Join(writeFiles(t, map[string]string{"record.pcap": out.String()}), "record.pcap")
	got := runWith(t, nil, "", "decode", file)
	if n := strings.Count(got.out, "alice authenticate pap PASS"); n != 23 {
		t.Errorf("%d sessions:\n%s%s", n, got.out, got.err)
	}
}

// A limitedFile is a file on a disk with room for a limited number of bytes.
type limitedFile struct {
	*os.File
	room int
}

func (f *limitedFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p[:min(f.room, len(p))])
	if f.room -= n; err == nil && n < len(p) {
		err = errors.New("no space left on device")
	}
	return n, err
}

// TestRelayRecordWhileDiskIsFull: a file never ends within a packet, also while the disk is full, and it goes on with the
// next packet when there is room again.
func TestRelayRecordWhileDiskIsFull(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("a file that is appended to cannot be cut there")
	}
	name := filepath.Join(t.TempDir(), "record.pcap")
	file, err := openRecord(t.Context(), name, false)
	must(t, err)
	defer file.disk.(*os.File).Close()
	full := &limitedFile{File: file.disk.(*os.File)}
	file.disk = full
	conn := &pcapConn{ends: [2]netip.AddrPort{netip.MustParseAddrPort("198.51.100.7:1024"), netip.MustParseAddrPort("192.0.2.1:49")}}
	queue := appendPcapHeader(nil)
	for i := range 300 {
		for range i % 4 {
			queue = conn.appendData(queue, time.Now(), i%2, []byte(long(i%50)))
		}
		full.room = i * 37 % 200
		n, err := file.Write(queue)
		if n != 0 && n != len(queue) || (err == nil) != (n == len(queue)) {
			t.Fatalf("wrote %d of %d bytes, %v", n, len(queue), err)
		}
		queue = queue[n:]
		data := contentOf(t, name)
		if len(data) > 0 {
			recordedFrames(t, data)
		}
	}
	full.room = 1 << 20
	if _, err := file.Write(queue); err != nil {
		t.Fatal(err)
	}
	data, _ := os.ReadFile(name)
	if n := len(recordedFrames(t, data)); n != 75*(0+1+2+3) {
		t.Errorf("the record has %d frames", n)
	}
}

// TestRelayRecordCountsLostPackets: packets that do not fit in the queue while the disk is full are counted, and the rest can
// be read: also by decode, which shows what misses as CUT.
func TestRelayRecordCountsLostPackets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		disk := &smallDisk{room: 1 << 20}
		var reports lockedBuffer
		rec := newRecorder(new(relayOptions).background(disk, "recorded packets", func(format string, args ...any) {
			fmt.Fprintf(&reports, format+"\n", args...)
		}), false, false)
		device, server := netip.MustParseAddrPort("198.51.100.7:41234"), netip.MustParseAddrPort("192.0.2.1:49")
		all, written := new(recordedConns), 0
		session := func(id uint32) {
			h := header{version: minorDefault, typ: typeAcct, seqNo: 1, sessionID: id}
			for _, m := range []message{&acctRequest{flags: acctStop, args: []string{"task_id=1", long(200)}}, &acctReply{status: acctSuccess}} {
				rec.packet(time.Now(), all, device, server, h, m, false)
				h.seqNo++
				written++
			}
			time.Sleep(2 * gatherTime)
			synctest.Wait()
		}
		session(1)
		disk.give(100) // less than a packet
		for id := range uint32(5000) {
			session(2 + id)
		}
		disk.give(4 << 20)
		for id := range uint32(3) {
			session(5002 + id)
		}
		frames := recordedFrames(t, []byte(disk.String()))
		lost := written + 3 - len(frames) // 3 open the connection
		want := fmt.Sprintf("cannot write recorded packets: no space left on device\nrecorded packets are written again (%d lost)\n", lost)
		if lost < 1000 || reports.String() != want {
			t.Errorf("%d frames of %d packets, and the reports are\n%s", len(frames), written, reports.String())
		}
		got := runWith(t, nil, "", "decode", filepath.Join(writeFiles(t, map[string]string{"f": disk.String()}), "f"))
		if n := strings.Count(got.out, "SUCCESS"); n < (written-lost)/2-1 || n > (written-lost)/2 || got.code != 0 {
			t.Errorf("%d packets were lost of %d, and decode shows %d sessions, code %d\n%s", lost, written, n, int(got.code), got.err)
		}
	})
}
