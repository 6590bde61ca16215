package main

// checkHeader returns what is wrong with the header of a client's packet, or "", and the reply that RFC 8907 requires.
func (c *inboundConn) checkHeader(h *header) (wrong string, then rejection) {
	switch {
	case h.seqNo > lastSeqNo:
		wrong = "sequence numbers exhausted"
	case h.seqNo%2 == 0: // only a server's is even (section 4.1)
		wrong = wrongParity(h.seqNo)
	case h.typ < typeAuthen || h.typ > typeAcct:
		wrong, then = "unknown packet type "+h.typ.String(), rejectWithHeader
	case c.cleartext && h.flags&flagUnencrypted == 0: // RFC 9887 section 4
		wrong, then = "no UNENCRYPTED flag over TLS", rejectWithError
	case !c.cleartext && h.flags&flagUnencrypted != 0: // RFC 8907 section 10.5.2
		wrong, then = "UNENCRYPTED flag without TLS", rejectWithError
	default:
		return "", rejectSilently
	}
	c.dumpHeader("received from", h)
	return wrong, then
}

// appendHeader appends the reply to a packet of an unknown type: a header with the next seq_no (RFC 8907 section 3.6).
func (c *inboundConn) appendHeader(dst []byte, h header) []byte {
	h.seqNo, h.length = h.seqNo+1, 0
	c.dumpHeader("sent to", &h)
	return h.append(dst)
}

// replyHeader returns the header of the reply to a packet, without the length. Unknown flags are zero (RFC 8907 section
// 4.1).
func (c *inboundConn) replyHeader(h header) header {
	h.seqNo++
	h.flags = 0
	if c.cleartext {
		h.flags |= flagUnencrypted
	}
	if c.single {
		h.flags |= flagSingleConnect
	}
	return h
}

// survives reports whether the connection goes on after a bad session: in single-connection mode, once a packet fit the key
// (RFC 8907 section 4.4).
func (c *inboundConn) survives() bool { return c.single && c.accepted.proven }

// survivesHeader reports whether the connection goes on after a packet whose header was rejected. It does if that is of one
// session only: a type that is unknown here, or the end of the sequence numbers.
func (c *inboundConn) survivesHeader(h *header, then rejection) bool {
	return c.survives() && then != rejectWithError && h.seqNo%2 == 1
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
	return choose(c.cleartext || c.accepted.proven, "malformed packet: ", "packet cannot be read with this key: ") + err.Error()
}
