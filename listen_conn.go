package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// A guest is one client's connection.
type inboundConn struct {
	log         *sessionLog
	dump        *dumper
	conn        net.Conn
	addr        netip.AddrPort // where conn comes from
	keys        []key          // of that client: the first, or one of the others
	cleartext   bool           // packets come without obfuscation: TLS
	in          *bufio.Reader
	sawPacket   bool      // the first packet was read
	deadlineSet time.Time // since when the deadlines are counted
	idle        time.Duration
}

// welcome makes a guest of a connection: it has its keys, and its handshake where it is TLS. It is nil
// where the client is refused.
func (g *listener) newInboundConn(ctx context.Context, conn net.Conn, keys clientKeys, bare bool, buffer int) *inboundConn {
	c := &inboundConn{log: g.log, dump: g.dump, conn: conn, addr: addrPortOf(conn.RemoteAddr()), cleartext: bare, idle: idleTimeout}
	if c.keys = keys.of(c.addr.Addr()); c.keys == nil && !bare {
		c.log.note(c.addr, "refused: no key is for this address")
		return nil
	}
	if secure, ok := conn.(*tls.Conn); ok {
		conn.SetDeadline(time.Now().Add(handshakeTimeout))
		if err := secure.HandshakeContext(ctx); err != nil {
			c.log.note(c.addr, "TLS: "+handshakeFault(err))
			return nil
		}
	}
	c.in = bufio.NewReaderSize(conn, buffer)
	return c
}

// stillHere moves the deadlines of the connection, at most once a second: that costs more than
// a login does.
func (c *inboundConn) extendDeadline() {
	if now := time.Now(); now.Sub(c.deadlineSet) > time.Second {
		c.deadlineSet = now
		limit := c.idle
		if !c.sawPacket {
			limit = firstTimeout
		}
		c.conn.SetDeadline(now.Add(limit))
	}
}

// receive reads one packet and appends it to dst, its body as it is on the wire; false where there is
// none, or one that must not be read.
func (c *inboundConn) receive(dst []byte) (h header, packets []byte, ok bool) {
	head, err := c.in.Peek(headerLen)
	if err != nil {
		if len(head) > 0 {
			c.log.note(c.addr, "ended in the middle of a packet")
		}
		return h, dst, false
	}
	h = parseHeader(head)
	if h.version.major() != majorVersion {
		c.log.note(c.addr, fmt.Sprintf("not TACACS+: the first byte is 0x%02x", head[0]))
		return h, dst, false
	}
	if h.length > maxBody {
		c.log.note(c.addr, fmt.Sprintf("a body of %d bytes, the limit is %d", h.length, maxBody))
		return h, dst, false
	}
	if packets, _, err = appendNext(dst, c.in, &h); err != nil {
		c.log.note(c.addr, "ended in the middle of a packet")
		return h, dst, false
	}
	return h, packets, true
}

// judge says what is wrong with the header of a client's packet, or nothing. Of answers a client gets
// what RFC 8907 has: to a type that nobody knows the header, to a flag that does not fit an ERROR.
func checkHeader(h *header, bare bool) (wrong string, then rejection) {
	switch {
	case h.seqNo > lastSeqNo:
		return "the sequence numbers of a session are used up", rejectSilently
	case h.seqNo%2 == 0: // so it is none to answer (section 4.1)
		return fmt.Sprintf("seq_no %d is even, as only a server's is", h.seqNo), rejectSilently
	case h.typ < typeAuthen || h.typ > typeAcct:
		return fmt.Sprintf("a packet of type %s", h.typ), rejectWithHeader
	case bare != (h.flags&flagUnencrypted != 0):
		// Section 10.5.2, and over TLS RFC 9887 section 4: the flag must fit, always.
		return "the UNENCRYPTED flag does not fit the transport", rejectWithError
	}
	return "", rejectSilently
}

// A refusal is how a client is told that its packet is of no use.
type rejection uint8

const (
	rejectSilently   rejection = iota
	rejectWithHeader           // RFC 8907 section 3.6: the identical header, but for the next number, and no body
	rejectWithError            // an ERROR of the packet's type
)

// malformed says what a packet is whose body does not decode.
func (c *inboundConn) malformed(err error) string {
	if c.cleartext {
		return "a malformed packet: " + err.Error()
	}
	return "a packet that does not fit the key: " + err.Error()
}
