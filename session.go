package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"time"
)

// A session is one exchange of packets: one session id, and a seq_no that rises by one.
// RFC 8907 section 4.1. seal, verify and unseal are the one place that numbers, obfuscates,
// checks, and undoes the obfuscation.
type session struct {
	*link
	sent  header    // of the packet sent last
	began time.Time // when that was

	written bool // some octets of a request
	died    bool // the connection was closed before any octet of an answer
}

// exchange sends m and reads its answer into reply.
func (s *session) exchange(m, reply layouter) error {
	if err := s.send(m); err != nil {
		return err
	}
	return s.receive(reply)
}

func (s *session) send(m layouter) error {
	packet, err := s.seal(nil, new(codec), m)
	if err != nil {
		return err
	}
	s.began = time.Now()
	n, err := s.conn.Write(packet)
	s.timing.sent += n
	s.written = s.written || n > 0
	if err != nil {
		return s.ioFailure("send to", 0, err)
	}
	return nil
}

// seal appends to dst the packet that carries m: numbered, and obfuscated.
func (s *session) seal(dst []byte, c *codec, m layouter) ([]byte, error) {
	if s.sent.seqNo >= lastSeqNo {
		return dst, failf(classProtocol, "%s asks without end: sequence numbers are used up", s.server)
	}
	if s.sent.seqNo == 0 {
		s.sent.seqNo = 1
	} else {
		s.sent.seqNo += 2
	}
	start := len(dst)
	dst, err := c.appendPacket(dst, &s.sent, m)
	if err != nil {
		return dst, failf(classUsage, "%w", err)
	}
	body := dst[start+headerLen:]
	s.trace.packet("sent to", &s.server, &s.sent, body, m)
	if !s.clear {
		obfuscate(&s.sent, s.keys[0].value, body)
	}
	return dst, nil
}

// farewell ends a dialogue, also after an interruption; no reply follows. Section 5.4.3.
func (s *session) farewell(m layouter) {
	s.stop()
	_ = s.conn.SetDeadline(time.Now().Add(time.Second))
	_ = s.send(m)
}

// receive reads one reply and believes nothing of it before every check is passed.
func (s *session) receive(reply layouter) error {
	h, got, err := readHeader(s.conn)
	if len(got) > 0 {
		if err := s.notTACACS(got[0]); err != nil {
			return err
		}
	}
	if err != nil {
		return s.ioFailure("read the reply of", len(got), err)
	}
	if s.timing.firstReply == 0 {
		s.timing.firstReply = time.Since(s.began)
	}
	if err := s.verify(&h); err != nil {
		return err
	}
	body, err := readBody(s.conn, h)
	if err != nil {
		return s.ioFailure("read the reply of", headerLen+len(body), err)
	}
	s.timing.received += headerLen + len(body)
	return s.unseal(&h, body, new(codec), reply)
}

// verify checks the header of a reply against that of the packet it answers.
func (s *session) verify(h *header) error {
	switch {
	case h.typ != s.sent.typ:
		return s.mismatch("type", h.typ, s.sent.typ)
	case h.sessionID != s.sent.sessionID:
		return s.mismatch("session_id", fmt.Sprintf("%08x", h.sessionID), fmt.Sprintf("%08x", s.sent.sessionID))
	case h.seqNo != s.sent.seqNo+1:
		return s.mismatch("seq_no", h.seqNo, s.sent.seqNo+1)
	case h.length == 0:
		// Section 3.6: how a server answers a packet type that it does not know.
		s.trace.packet("received from", &s.server, h, nil, nil)
		return failf(classServer, "%s answers with an empty body", s.server).
			withHint("the server does not do %s (RFC 8907 section 3.6)", h.typ)
	case (h.flags^s.sent.flags)&flagUnencrypted != 0:
		return s.flagViolation()
	case h.length > maxBody:
		return s.tooLong(h)
	}
	return nil
}

// unseal undoes the obfuscation of a body whose header was verified, and decodes it.
func (s *session) unseal(h *header, body []byte, c *codec, reply layouter) error {
	if !s.answered {
		// Only the first reply of a connection says so (section 4.3).
		s.answered, s.established = true, s.singleConnect && h.flags&flagSingleConnect != 0
	}
	if !s.clear {
		// With the reply's own header: some servers answer with the other minor version.
		obfuscate(h, s.keys[0].value, body)
	}
	err := c.decode(body, reply)
	s.trace.packet("received from", &s.server, h, body, reply)
	if err != nil {
		return s.keyMismatch(h, body, reply)
	}
	if h.version != s.sent.version {
		return s.mismatch("version", h.version, s.sent.version).
			withHint("the server answers this type with another minor version than RFC 8907 section 5.4.1 asks for")
	}
	return nil
}

func (l *link) tooLong(h *header) error {
	return failf(classProtocol, "the reply of %s claims a body of %d octets, the limit is %d", l.server, h.length, maxBody).
		withHint("not a TACACS+ server, or a broken one")
}

// notTACACS judges the first octet that a server sends.
func (l *link) notTACACS(first byte) error {
	if version(first).major() == majorVersion {
		return nil
	}
	f := failf(classProtocol, "the reply of %s is not TACACS+: it begins with 0x%02x, not 0xc0 or 0xc1", l.server, first)
	if first == 0x15 || first == 0x16 {
		return f.withHint("this is a TLS port (RFC 9887): try --tls, or the port of the clear service")
	}
	return f.withHint("another service listens there; TACACS+ has port 49")
}

func (s *session) mismatch(field string, got, want any) *failure {
	return failf(classProtocol, "the reply of %s has %s %v, not %v", s.server, field, got, want).
		withHint("a broken server, or a device in between that mixes sessions")
}

// flagViolation is section 10.5.2: close the connection, do not use the reply, and treat it as
// FAIL, so that no other server is asked. Over TLS it is RFC 9887 section 4.
func (s *session) flagViolation() error {
	var f *failure
	switch {
	case s.facts != nil:
		f = failf(classProtocol, "the reply of %s comes without the UNENCRYPTED flag, which every packet has over TLS", s.server).
			withHint("the server does not follow RFC 9887 section 4; the reply was not used")
	case s.clear:
		f = failf(classProtocol, "the reply of %s is obfuscated although --unencrypted was asked for", s.server).
			withHint("the server has a key for this client: give it with --key-file in place of --unencrypted")
	default:
		f = failf(classProtocol, "the reply of %s is not obfuscated although a key is in use: the UNENCRYPTED flag is set", s.server).
			withHint("the server has no key for this client, or someone in between answers in its place; the reply was not used")
	}
	f.final = true
	return f
}

// keyMismatch explains a body whose lengths do not add up, and names the candidate key that
// would have fitted. body is what the first key made of it.
func (s *session) keyMismatch(h *header, body []byte, reply layouter) error {
	if s.clear {
		return failf(classProtocol, "the reply of %s is malformed: %w", s.server, errBodyLength)
	}
	f := failf(classProtocol, "the reply of %s does not fit the key: %w", s.server, errBodyLength)
	obfuscate(h, s.keys[0].value, body) // back to what was on the wire
	for _, other := range s.keys[1:] {
		try := bytes.Clone(body)
		obfuscate(h, other.value, try)
		if decode(try, reply) == nil {
			return f.withHint("the key of %s fits this reply", other.source)
		}
	}
	return f.withHint("the shared key differs from the server's, or the server has another key for the address %s", hostOf(s.conn.LocalAddr()))
}

// ioFailure explains an error on an open connection, n octets into a reply.
func (s *session) ioFailure(what string, n int, err error) error {
	if f := s.tlsReadFailure(err); f != nil {
		return f
	}
	closed := isClosed(err)
	s.died = closed && n == 0 && s.sent.seqNo == 1
	switch {
	case closed && n > 0:
		return failf(classNetwork, "%s closed the connection in the middle of its reply, after %d octets", s.server, n)
	case closed:
		return failf(classNetwork, "%s closed the connection before it answered", s.server).
			withHint("most often the server has no client entry for the address %s; an access list, a wrong key (some servers close) or a TLS port look the same", hostOf(s.conn.LocalAddr()))
	case errors.Is(err, os.ErrDeadlineExceeded) && n > 0:
		return failf(classNetwork, "the reply of %s was cut off after %d octets: timed out after %v", s.server, n, s.timeout)
	case errors.Is(err, os.ErrDeadlineExceeded):
		f := failf(classNetwork, "no reply from %s within %v", s.server, s.timeout).
			withHint("some servers drop a packet that does not fit their key; else a slow back end (LDAP, AD) or overload: try a longer --timeout")
		f.timedOut = true
		return f
	}
	return failf(classNetwork, "%s %s: %w", what, s.server, cause(err))
}
