package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"time"
)

// An inboundConn is one client's connection.
type inboundConn struct {
	log       *sessionLog
	dump      *dumper
	conn      net.Conn
	addr      netip.AddrPort // of the client
	keys      []key          // of the client; one of them is right
	cleartext bool           // TLS: packets are not obfuscated
	in        *bufio.Reader
	idle      time.Duration
	sawPacket bool
	stopped   atomic.Bool // no more is read

	deadlineSet time.Time // when the deadlines were set last
}

// newInboundConn finds the keys of a client and does the TLS handshake. It returns nil if the client is refused. buffer is
// the number of bytes to read at a time.
func (l *listener) newInboundConn(ctx context.Context, conn net.Conn, keys clientKeys, cleartext bool, buffer int) *inboundConn {
	c := &inboundConn{log: l.log, dump: l.dump, conn: conn, addr: addrPortOf(conn.RemoteAddr()), cleartext: cleartext, idle: idleTimeout}
	if c.keys = keys.of(c.addr.Addr()); c.keys == nil && !cleartext {
		c.note("refused: no key for this address")
		return nil
	}
	if secure, ok := conn.(*tls.Conn); ok {
		conn.SetDeadline(time.Now().Add(handshakeTimeout))
		if err := secure.HandshakeContext(ctx); err != nil {
			c.note("TLS: " + handshakeFault(err))
			return nil
		}
	}
	c.in = bufio.NewReaderSize(conn, buffer)
	return c
}

// note logs what is wrong with the connection.
func (c *inboundConn) note(problem string) { c.log.note(c.addr, problem) }

// stopReading ends the connection for reading: extendDeadline does not undo it.
func (c *inboundConn) stopReading() {
	c.stopped.Store(true)
	_ = c.conn.SetReadDeadline(time.Unix(1, 0))
}

// onPacket reports whether a packet is the first one. The time limit for the first packet ends with it.
func (c *inboundConn) onPacket() (first bool) {
	if first = !c.sawPacket; first {
		c.sawPacket, c.deadlineSet = true, time.Time{}
	}
	return first
}

// extendDeadline moves the deadlines of the connection, at most once a second: that costs more than a login does. It
// reports whether reading goes on.
func (c *inboundConn) extendDeadline() bool {
	if now := time.Now(); now.Sub(c.deadlineSet) > time.Second {
		limit := c.idle
		if !c.sawPacket {
			limit = firstTimeout
		}
		c.deadlineSet = now
		c.setDeadline(now.Add(limit))
	}
	return !c.stopped.Load()
}

// setDeadline sets the deadlines, unless no more is to be read.
func (c *inboundConn) setDeadline(t time.Time) {
	_ = c.conn.SetDeadline(t)
	if c.stopped.Load() {
		_ = c.conn.SetReadDeadline(time.Unix(1, 0))
	}
}

// receive reads one packet and appends it to dst, with the body as it was sent. ok is false at the end of the connection
// and for a packet that must not be read.
func (c *inboundConn) receive(dst []byte) (h header, packets []byte, ok bool) {
	head, err := c.in.Peek(headerLen)
	if err != nil {
		if len(head) > 0 {
			c.note("ended in the middle of a packet")
		}
		return h, dst, false
	}
	h = parseHeader(head)
	if h.version.major() != majorVersion {
		c.note(fmt.Sprintf("not TACACS+: the first byte is 0x%02x", head[0]))
		return h, dst, false
	}
	if h.length > maxBody {
		c.note(fmt.Sprintf("a body of %d bytes, the limit is %d", h.length, maxBody))
		return h, dst, false
	}
	if packets, _, err = appendNext(dst, c.in, &h); err != nil {
		c.note("ended in the middle of a packet")
		return h, dst, false
	}
	return h, packets, true
}

// checkHeader returns what is wrong with the header of a client's packet, or "", and which reply RFC 8907 requires.
func checkHeader(h *header, cleartext bool) (wrong string, then rejection) {
	switch {
	case h.seqNo > lastSeqNo:
		return "sequence numbers exhausted", rejectSilently
	case h.seqNo%2 == 0: // only a server's is even (section 4.1)
		return fmt.Sprintf("seq_no %d is even, as only a server's is", h.seqNo), rejectSilently
	case h.typ < typeAuthen || h.typ > typeAcct:
		return fmt.Sprintf("a packet of type %s", h.typ), rejectWithHeader
	case cleartext != (h.flags&flagUnencrypted != 0):
		// RFC 8907 section 10.5.2, and over TLS RFC 9887 section 4: the flag must always fit.
		return "the UNENCRYPTED flag does not fit the transport", rejectWithError
	}
	return "", rejectSilently
}

// A rejection is the reply to a packet that is refused.
type rejection uint8

const (
	rejectSilently   rejection = iota
	rejectWithHeader           // the header with the next seq_no and without a body (RFC 8907 section 3.6)
	rejectWithError            // an ERROR of the packet's type
)

// malformed describes a packet whose body cannot be decoded.
func (c *inboundConn) malformed(err error) string {
	if c.cleartext {
		return "a malformed packet: " + err.Error()
	}
	return "a packet that does not fit the key: " + err.Error()
}
