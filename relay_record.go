package main

import (
	"encoding/binary"
	"io"
	"net/netip"
	"os"
	"sync"
	"time"
)

// A recorder writes a capture file (pcap) of all packets, as if device and server had exchanged them in clear. It is
// nil without --record.
type recorder struct {
	showSecrets bool

	mu    sync.Mutex
	out   io.Writer
	frame []byte
	codec codec
	first uint32 // sequence number of the last connection that was opened
}

// recordedConns are a device's connections in the record, one to each server.
type recordedConns []*recordedConn

// A recordedConn is one TCP connection in the record.
type recordedConn struct {
	device, server netip.AddrPort
	next           [2]uint32 // sequence numbers of the device and of the server
}

const (
	maxSnap    = 1 << 18  // bytes of a frame, as the file's header says
	maxSegment = 32 << 10 // bytes of one TCP segment
	tcpFIN     = 0x01
	tcpSYN     = 0x02
	tcpPSH     = 0x08
	tcpACK     = 0x10
)

// openRecord creates the file, which only its owner can read.
func openRecord(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err == nil {
		if info, e := f.Stat(); e == nil && info.Mode().IsRegular() {
			err = f.Chmod(0o600) // it may exist already
		}
	}
	if err != nil {
		return nil, failf(classUsage, "make the record: %w", err)
	}
	return f, nil
}

func newRecorder(out io.Writer, showSecrets bool) *recorder {
	t := &recorder{out: out, showSecrets: showSecrets}
	head := binary.LittleEndian.AppendUint32(nil, 0xa1b2c3d4) // times are microseconds
	head = binary.LittleEndian.AppendUint16(head, 2)
	head = binary.LittleEndian.AppendUint16(head, 4)
	head = append(head, make([]byte, 8)...)
	head = binary.LittleEndian.AppendUint32(head, maxSnap)
	t.out.Write(binary.LittleEndian.AppendUint32(head, uint32(linkRawIP)))
	return t
}

// packet records a packet of a device or of its server, with the body in clear. shown means that the body has no
// secret fields; secrets are texts to hide anywhere in it.
func (t *recorder) packet(all *recordedConns, device, server netip.AddrPort, fromDevice bool, h *header, body []byte, m message, shown bool, secrets ...string) {
	if t != nil {
		t.packetOf(time.Now(), all, device, server, fromDevice, h, body, m, shown, secrets...)
	}
}

// packetOf records a packet with another time than now.
func (t *recorder) packetOf(now time.Time, all *recordedConns, device, server netip.AddrPort, fromDevice bool, h *header, body []byte, m message, shown bool, secrets ...string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.conn(all, device, server, now)
	clear := *h
	clear.flags |= flagUnencrypted
	head := codec{buf: make([]byte, 0, headerLen+len(body))}
	clear.layout(&head)
	packet := append(head.buf, body...)
	if !shown && !t.showSecrets {
		t.blank(packet[headerLen:], m, secrets)
	}
	for ; len(packet) > maxSegment; packet = packet[maxSegment:] {
		t.segment(r, fromDevice, tcpACK, packet[:maxSegment], now)
	}
	t.segment(r, fromDevice, tcpPSH|tcpACK, packet, now)
}

// conn returns the connection to a server. Its first packet opens it.
func (t *recorder) conn(all *recordedConns, device, server netip.AddrPort, now time.Time) *recordedConn {
	for _, r := range *all {
		if r.server == server {
			return r
		}
	}
	t.first += 1 << 24 // so that a reused port is another connection
	r := &recordedConn{device: device, server: server, next: [2]uint32{t.first, t.first}}
	t.segment(r, true, tcpSYN, nil, now)
	t.segment(r, false, tcpSYN|tcpACK, nil, now)
	t.segment(r, true, tcpACK, nil, now)
	*all = append(*all, r)
	return r
}

// blank overwrites the secret fields of a body, and secrets elsewhere in it, with stars. m is nil for a body that was
// not decoded.
func (t *recorder) blank(body []byte, m message, secrets []string) {
	hidden := make([]bool, len(body))
	t.codec = codec{fields: t.codec.fields[:0], reading: true, buf: body, visit: func(f field, value any) {
		end := len(body) - len(t.codec.buf)
		data := hidden[end-f.length : end]
		if text, ok := value.(string); ok {
			markSecrets(data, text, secrets)
		}
		for i := range data {
			data[i] = data[i] || f.secret
		}
	}}
	if m != nil {
		t.codec.message(m)
	} else {
		markSecrets(hidden, string(body), secrets)
	}
	for i, hide := range hidden {
		if hide {
			body[i] = '*'
		}
	}
}

// end records the end of the connections.
func (t *recorder) end(all *recordedConns) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for now := time.Now(); len(*all) > 0; *all = (*all)[1:] {
		r := (*all)[0]
		t.segment(r, true, tcpFIN|tcpACK, nil, now)
		t.segment(r, false, tcpFIN|tcpACK, nil, now)
		t.segment(r, true, tcpACK, nil, now)
	}
}

// segment writes one frame: the capture's header, IP, TCP, bytes.
func (t *recorder) segment(r *recordedConn, fromDevice bool, flags byte, data []byte, now time.Time) {
	from, to, own := r.device, r.server, 0
	if !fromDevice {
		from, to, own = to, from, 1
	}
	size := 20 + len(data)
	b := binary.LittleEndian.AppendUint32(t.frame[:0], uint32(now.Unix()))
	b = binary.LittleEndian.AppendUint32(b, uint32(now.Nanosecond()/1000))
	b = append(b, make([]byte, 8)...)
	ip := len(b)
	pseudo := uint32(6) + uint32(size) // the sum of what TCP's checksum covers beside the segment
	if src, dst := from.Addr(), to.Addr(); src.Is4() && dst.Is4() {
		b = append(b, 0x45, 0)
		b = binary.BigEndian.AppendUint16(b, uint16(20+size))
		b = append(b, 0, 0, 0x40, 0, 64, 6, 0, 0)
		b = append(append(b, src.AsSlice()...), dst.AsSlice()...)
		binary.BigEndian.PutUint16(b[ip+10:], checksum(0, b[ip:]))
		pseudo = sum16(pseudo, b[ip+12:])
	} else {
		b = append(b, 0x60, 0, 0, 0)
		b = binary.BigEndian.AppendUint16(b, uint16(size))
		b = append(b, 6, 64)
		src, dst := src.As16(), dst.As16()
		b = append(append(b, src[:]...), dst[:]...)
		pseudo = sum16(pseudo, b[ip+8:])
	}
	tcp := len(b)
	b = binary.BigEndian.AppendUint16(b, from.Port())
	b = binary.BigEndian.AppendUint16(b, to.Port())
	b = binary.BigEndian.AppendUint32(b, r.next[own])
	acknowledged := r.next[1-own]
	if flags&tcpACK == 0 {
		acknowledged = 0
	}
	b = binary.BigEndian.AppendUint32(b, acknowledged)
	b = append(b, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0)
	b = append(b, data...)
	binary.BigEndian.PutUint16(b[tcp+16:], checksum(pseudo, b[tcp:]))
	binary.LittleEndian.PutUint32(b[8:], uint32(len(b)-ip))
	binary.LittleEndian.PutUint32(b[12:], uint32(len(b)-ip))
	if r.next[own] += uint32(len(data)); flags&(tcpSYN|tcpFIN) != 0 {
		r.next[own]++
	}
	t.frame = b
	t.out.Write(b) // the writer warns of an error
}
