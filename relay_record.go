package main

import (
	"io"
	"net/netip"
	"os"
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

// openRecord creates the file, which only its owner may read.
func openRecord(name string) (*os.File, error) {
	f, err := openPrivate(name, os.O_TRUNC)
	if err != nil {
		return nil, failf(classUsage, "make the record: %w", err)
	}
	return f, nil
}

func newRecorder(out io.Writer, showSecrets bool) *recorder {
	r := &recorder{out: out, showSecrets: showSecrets}
	r.buf = appendPcapHeader(r.buf)
	r.flush()
	return r
}

// packet records a packet of a device or of its server, whose body is in clear. noSecrets reports that its
// fields are no secrets; secrets are those that it may repeat.
func (r *recorder) packet(at time.Time, conns *recordedConns, device, server netip.AddrPort, fromDevice bool, h *header, body []byte, m message, noSecrets bool, secrets ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear := *h
	clear.flags |= flagUnencrypted
	head := codec{buf: make([]byte, 0, headerLen+len(body))}
	clear.layout(&head)
	packet := append(head.buf, body...)
	if !noSecrets && !r.showSecrets {
		r.blank(packet[headerLen:], m, secrets)
	}
	from := 0
	if !fromDevice {
		from = 1
	}
	r.buf = r.conn(conns, device, server, at).appendData(r.buf, at, from, packet)
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

// blank overwrites the secrets of a body with stars, and other places where they are repeated. m is nil if the
// body was not read.
func (r *recorder) blank(body []byte, m message, secrets []string) {
	hidden, _ := markBody(body, m, secrets, nil)
	for i, hide := range hidden {
		if hide {
			body[i] = '*'
		}
	}
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

// flush writes the frames in buf. It warns when writes begin to fail, and when they succeed again.
func (r *recorder) flush() {
	if len(r.buf) == 0 {
		return
	}
	r.out.Write(r.buf) // the writer warns of an error
	r.buf = r.buf[:0]
}
