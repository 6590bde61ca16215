package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"
)

// A recorder writes all packets that the relay forwards to a pcap file. Each packet is in clear, with the flag
// for that, as if the device had connected to the server directly.
type recorder struct {
	showSecrets bool

	mu    sync.Mutex
	out   io.Writer
	buf   []byte // frames to be written
	first uint32 // sequence number of the last connection that was opened
}

// recordedConns are the connections of a device in the record: one with each server.
type recordedConns []*pcapConn

// A recordFile is the file of a recorder.
type recordFile struct {
	disk
	made    string // its name if it is new, and a regular file
	regular bool
	begun   bool  // it has packets, or at least the header
	removed int64 // bytes of a packet that was cut off
}

// A disk is an open file.
type disk interface {
	io.Writer
	Stat() (fs.FileInfo, error)
	Truncate(size int64) error
}

// openRecord opens a file that only its owner may read. A file that exists is an error, unless appending is set and
// a recorder has written it. A packet that was cut off at its end is removed. A pipe or a device is written to. Without a
// name there is no file.
func openRecord(ctx context.Context, name string, appending bool) (*recordFile, error) {
	if name == "" {
		return nil, nil
	}
	r, existed := new(recordFile), false
	err := interruptible(ctx, func() error {
		f, err := openPrivate(name, func(f *os.File) error {
			existed = true
			return r.check(f, appending, true)
		})
		if err != nil {
			return err
		}
		info, err := f.Stat()
		if r.disk, r.regular = f, err == nil && info.Mode().IsRegular(); r.regular && !existed {
			r.made = f.Name()
		}
		return err
	})
	return r, recordError(err)
}

// recordError returns the failure for a record that cannot be opened, or nil.
func recordError(err error) error {
	if errors.Is(err, errRecordExists) {
		return failf(classUsage, "make the record: %w", err).withHint("add --append, or move the file away")
	}
	return fileError("make the record", err)
}

// discard removes a file that is new, since the relay does not start.
func (r *recordFile) discard() {
	if r != nil && r.made != "" {
		os.Remove(r.made)
	}
}

var errRecordExists = errors.New("exists")

// check checks a file that exists, and removes a packet that was cut off at its end if mend is set.
func (r *recordFile) check(f *os.File, appending, mend bool) error {
	info, err := f.Stat()
	switch {
	case err != nil:
		return err
	case info.Size() == 0 && (appending || isOpenFile(f.Name())):
		return nil
	case !appending:
		return fmt.Errorf("%s %w", f.Name(), errRecordExists)
	}
	end, err := recordEnd(f, info.Size())
	if err != nil {
		return fmt.Errorf("%s %w", f.Name(), err)
	}
	if r.removed = info.Size() - end; r.removed > 0 && mend {
		err = f.Truncate(end)
	}
	r.begun = end > 0
	return err
}

// isOpenFile reports whether a name stands for a file that is open, such as /dev/stdout.
func isOpenFile(name string) bool {
	return strings.HasPrefix(name, "/proc/") || strings.HasPrefix(name, "/dev/")
}

// recordTail is how many bytes at the end of a file are read to find the last whole packet. A frame is at most half of it.
const recordTail = 2 * maxFrame

// recordEnd returns where the last whole packet of a recorder's file of size bytes ends. In a long file it looks for the
// first frame of the tail from which all follow each other.
func recordEnd(f io.ReaderAt, size int64) (end int64, err error) {
	header := appendPcapHeader(nil)
	start := int64(len(header))
	got, err := io.ReadAll(io.NewSectionReader(f, 0, start))
	switch {
	case err != nil:
		return 0, err
	case !bytes.HasPrefix(header, got):
		return 0, errors.New("is not a capture that relay has written (pcap, little-endian, microseconds, raw IP)")
	case len(got) < len(header):
		return 0, nil
	}
	from := max(start, size-recordTail)
	tail, err := io.ReadAll(io.NewSectionReader(f, from, size-from))
	if err != nil {
		return 0, err
	}
	at, whole := wholeFrames(tail)
	for skip := 1; !whole && from > start && skip < len(tail)/2; skip++ {
		at, whole = wholeFrames(tail[skip:])
		at += skip
	}
	if !whole {
		return 0, fmt.Errorf("is damaged at byte %d", from+int64(at))
	}
	return from + int64(at), nil
}

// wholeFrames returns where the last whole frame in b ends, or where b is damaged.
func wholeFrames(b []byte) (end int, ok bool) {
	for len(b)-end >= pcapRecordLen {
		frame := b[end:]
		length := binary.LittleEndian.Uint32(frame[8:])
		if length < tcpHeaderLen+ipv4HeaderLen || length > maxFrame || length != binary.LittleEndian.Uint32(frame[12:]) {
			return end, false
		}
		ip := frame[pcapRecordLen:]
		if len(ip) < int(length) {
			break
		}
		v4 := ip[0] == 0x45 && ip[9] == protocolTCP && uint32(binary.BigEndian.Uint16(ip[2:])) == length
		v6 := ip[0] == 0x60 && ip[6] == protocolTCP && uint32(binary.BigEndian.Uint16(ip[4:]))+40 == length // its own header
		if !v4 && !v6 {
			return end, false
		}
		end += pcapRecordLen + int(length)
	}
	return end, true
}

// Write writes packets to the file, or none of them: a regular file never ends within a packet, so that it can be read
// while the disk is full.
func (r *recordFile) Write(packets []byte) (int, error) {
	n, err := r.disk.Write(packets)
	if err != nil && n > 0 && r.regular {
		if info, statErr := r.Stat(); statErr == nil && r.Truncate(info.Size()-int64(n)) == nil {
			n = 0
		}
	}
	return n, err
}

// newRecorder returns a recorder that begins a file, or appends to one that has begun. Its sequence numbers differ from
// those of the run before.
func newRecorder(out io.Writer, begun, showSecrets bool) *recorder {
	r := &recorder{out: out, showSecrets: showSecrets, first: newSessionID()}
	if !begun {
		r.buf = appendPcapHeader(nil)
		r.flush()
	}
	return r
}

// packet records a packet of a device or of its server. Its secrets are overwritten with stars, and the other places where
// they are repeated, unless noSecrets is set; secrets are more of them that it may repeat.
func (r *recorder) packet(at time.Time, conns *recordedConns, device, server netip.AddrPort, h header, m message, noSecrets bool, secrets ...string) {
	h.flags |= flagUnencrypted
	packet, err := appendPacket(nil, &h, m)
	if err != nil {
		return
	}
	if body := packet[headerLen:]; !noSecrets && !r.showSecrets {
		hidden, _ := markBody(body, m, secrets, nil)
		for i, hide := range hidden {
			if hide {
				body[i] = '*'
			}
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.buf = r.conn(conns, device, server, at).appendData(r.buf, at, choose(h.seqNo%2 == 1, 0, 1), packet)
	r.flush()
}

// conn returns the connection with a server. The first packet opens it.
func (r *recorder) conn(conns *recordedConns, device, server netip.AddrPort, at time.Time) *pcapConn {
	for _, c := range *conns {
		if c.ends[1] == server {
			return c
		}
	}
	r.first += 1 << 24 // so that a port that is used again begins another connection
	c := &pcapConn{ends: [2]netip.AddrPort{device, server}, next: [2]uint32{r.first, r.first}}
	r.buf = c.appendOpen(r.buf, at)
	*conns = append(*conns, c)
	return c
}

// end closes the connections. A nil recorder does nothing.
func (r *recorder) end(conns *recordedConns) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	for _, c := range *conns {
		r.buf = c.appendClose(r.buf, now)
	}
	*conns = nil
	r.flush()
}

// flush writes the frames in buf.
func (r *recorder) flush() {
	if len(r.buf) == 0 {
		return
	}
	r.out.Write(r.buf) // the writer warns of an error
	r.buf = r.buf[:0]
}
