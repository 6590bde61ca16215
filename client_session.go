package main

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"
)

// A session is one session_id with a server, and a seq_no that rises by one. RFC 8907 section 4.1. Here, and nowhere
// else, the client numbers, obfuscates, verifies and decodes packets.
type session struct {
	conn      *serverConn
	request   dialogue
	sent      header    // of the packet sent last
	sentAt    time.Time // when that was
	repliedAt time.Time // when the last reply came
	timing    timing
	deadline  time.Time // only the time of a person at a prompt extends it
	reused    bool      // the connection had answered others before
	written   bool      // some bytes of the packet sent last were written
	received  header    // of the last reply that was decoded

	unanswered bool // it has begun, and no reply came
}

// newSessionID returns a random session_id. Section 4.1 asks for a strong generator.
func newSessionID() uint32 {
	var id [4]byte
	rand.Read(id[:]) // never fails
	return binary.BigEndian.Uint32(id[:])
}

// start prepares the header, without seq_no and length.
func (s *session) start(conn *serverConn, q dialogue, id uint32) {
	s.conn, s.reused, s.unanswered, s.sent = conn, conn.answered > 0, true, header{sessionID: id}
	s.sent.typ, s.sent.version = q.packetType()
	s.request = q
	if conn.cleartext {
		s.sent.flags |= flagUnencrypted
	}
	if conn.client.singleConnect {
		// On every packet: some servers need it, and others ignore it (section 4.3).
		s.sent.flags |= flagSingleConnect
	}
}

func (s *session) send(m message) error {
	packet, err := s.encodePacket(nil, new(codec), m)
	if err != nil {
		return err
	}
	s.sentAt = time.Now()
	n, err := s.conn.conn.Write(packet)
	s.timing.sent += n
	s.written = n > 0
	if err != nil {
		return s.ioFailure("send to", 0, err)
	}
	return nil
}

// encodePacket appends to dst the packet that carries m: numbered, and obfuscated.
func (s *session) encodePacket(dst []byte, c *codec, m message) ([]byte, error) {
	if s.sent.seqNo >= lastSeqNo {
		return dst, failf(classProtocol, "%s: sequence numbers exhausted", &s.conn.server)
	}
	s.sent.seqNo += 1 + s.sent.seqNo%2 // 1, 3, 5
	start := len(dst)
	dst, err := c.appendPacket(dst, &s.sent, m)
	if err != nil {
		return dst, failf(classUsage, "%w", err)
	}
	body := dst[start+headerLen:]
	if s.conn.client.dump != nil {
		s.conn.client.dump.packet("sent to", &s.conn.server, &s.sent, body, m, s.secrets()...)
	}
	if !s.conn.cleartext {
		obfuscate(&s.sent, s.conn.keys[0].value, body)
	}
	return dst, nil
}

// sendAbort ends a session, also after an interruption; no reply follows. Section 5.4.3.
func (s *session) sendAbort(m message) {
	s.conn.stopWatch()
	_ = s.conn.conn.SetDeadline(time.Now().Add(time.Second))
	_ = s.send(m)
}

// receive reads one reply. Nothing of it is used before every check has passed.
func (s *session) receive(reply message) error {
	h, got, err := readHeader(s.conn.conn)
	s.timing.received += len(got)
	if err := s.conn.notTACACS(got); err != nil {
		return err
	}
	if err != nil {
		return s.ioFailure("read the reply of", len(got), err)
	}
	s.onReply(time.Now())
	if err := s.checkReplyHeader(&h); err != nil {
		return err
	}
	body, err := readBody(s.conn.conn, h)
	s.timing.received += len(body)
	if err != nil {
		return s.ioFailure("read the reply of", headerLen+len(body), err)
	}
	return s.decodePacket(&h, body, new(codec), reply)
}

// onReply records that a reply came, at a time.
func (s *session) onReply(at time.Time) {
	s.written, s.repliedAt = true, at
	if s.timing.firstReply == 0 {
		s.timing.firstReply = at.Sub(s.sentAt)
	}
	if s.unanswered {
		s.unanswered = false
		if !at.Equal(s.conn.answeredAt) || !s.sentAt.Equal(s.conn.answeredSent) { // else another reply of this read was
			s.conn.answeredAt, s.conn.answeredSent = at, s.sentAt
			s.conn.client.dead.answered(s.conn.server, s.sentAt)
		}
	}
}

// checkHeader checks what holds for every packet of a connection, the flag before anything else (section 10.5.2).
func (l *serverConn) checkHeader(h *header) error {
	switch {
	case l.cleartext != (h.flags&flagUnencrypted != 0):
		return l.flagViolation()
	case h.length > maxBody:
		return failf(classProtocol, "the reply of %s claims a body of %d bytes, the limit is %d", &l.server, h.length, maxBody).
			withHint("not a TACACS+ server, or a broken one")
	}
	return nil
}

// checkReplyHeader checks the header of a reply against that of the packet it answers.
func (s *session) checkReplyHeader(h *header) error {
	if err := s.conn.checkHeader(h); err != nil {
		return err
	}
	switch {
	case h.typ != s.sent.typ:
		return s.mismatch("type", h.typ, s.sent.typ)
	case h.sessionID != s.sent.sessionID:
		return s.mismatch("session_id", fmt.Sprintf("%08x", h.sessionID), fmt.Sprintf("%08x", s.sent.sessionID))
	case h.seqNo != s.sent.seqNo+1:
		return s.mismatch("seq_no", h.seqNo, s.sent.seqNo+1)
	case h.length == 0:
		// Section 3.6: how a server answers a packet type that it does not know.
		s.conn.client.dump.packet("received from", &s.conn.server, h, nil, nil)
		return &attemptError{s.emptyBody(h.typ), outcomeUnreadable}
	}
	return nil
}

// emptyBody returns the error for a reply without a body: how a server answers a packet type that it does not know
// (section 3.6). Some servers answer so to a packet that does not fit their key, and no key can be tried on it.
func (s *session) emptyBody(typ packetType) *failure {
	f := failf(classServer, "%s answers with an empty body", &s.conn.server)
	switch {
	case s.conn.keyProven(typ):
		return f.withHint(fmt.Sprintf("see the server's log: it has answered before, so it does %s", typ))
	case s.conn.cleartext, s.conn.keyProven(0):
		return f.withHint(fmt.Sprintf("the server does not do %s (RFC 8907 section 3.6)", typ))
	}
	hint := fmt.Sprintf("either the server does not do %s (RFC 8907 section 3.6), or its key for the address %s differs", typ, s.conn.localAddr())
	if s.conn.keyFile != "" {
		hint += " from that of " + s.conn.keyFile
	}
	if others := s.conn.keys[1:]; len(others) > 0 {
		hint += "; no key can be tried on an empty body, so give each alone: next that of " + others[0].source
	}
	return f.withHint(hint)
}

// decodePacket undoes the obfuscation of a body whose header was verified, and decodes it.
func (s *session) decodePacket(h *header, body []byte, c *codec, reply message) error {
	if s.conn.answered == 0 {
		// Only the first reply of a connection counts (section 4.3).
		s.conn.established = s.conn.client.singleConnect && h.flags&flagSingleConnect != 0
	}
	s.conn.answered++
	if !s.conn.cleartext {
		// With the reply's own header: some servers answer with the other minor version.
		obfuscate(h, s.conn.keys[0].value, body)
	}
	if s.conn.client.dump != nil {
		s.conn.client.dump.packet("received from", &s.conn.server, h, body, reply, s.secrets()...)
	}
	if err := c.decode(body, reply); err != nil {
		return s.unreadable(h, body, reply)
	}
	s.conn.proveKey(h.typ)
	s.redact(c.fields)
	if s.received = *h; h.version != s.sent.version && !s.conn.client.forwards {
		came, hint := s.effectOf(reply), "report this to the server's vendor: RFC 8907 section 5.4.1 defines the minor version of this type"
		if came == outcomeDecided {
			hint = "do not send it again: the server replied with success; report the minor version to its vendor (RFC 8907 section 5.4.1)"
		}
		return &attemptError{s.mismatch("version", h.version, s.sent.version).withHint(hint), came}
	}
	return nil
}

// effectOf returns the outcome of a reply with the wrong version: another server must not get a record or a password change
// that it confirms, but may get one that it refuses.
func (s *session) effectOf(reply message) outcome {
	switch m := reply.(type) {
	case *acctReply:
		switch m.status {
		case acctSuccess:
			return outcomeDecided
		case acctError:
			return outcomeError
		}
	case *authenReply:
		switch a, ok := s.request.(*authentication); {
		case m.status == authenPass && ok && a.action == authenChPass:
			return outcomeDecided
		case m.status == authenFail, m.status == authenError:
			return outcomeError
		}
	}
	return outcomeUnreadable
}

var errNotTACACS = errors.New("is not TACACS+")

// notTACACS returns an error if the first byte of a reply is not TACACS+.
func (l *serverConn) notTACACS(got []byte) error {
	if len(got) == 0 || version(got[0]).major() == majorVersion {
		return nil
	}
	first := got[0]
	f := failf(classProtocol, "the reply of %s %w: it begins with 0x%02x, not 0xc0 or 0xc1", &l.server, errNotTACACS, first)
	if first == 0x15 || first == 0x16 { // a TLS record: alert or handshake
		return f.withHint("add --tls, or use the port without TLS: this is a TLS port")
	}
	return f.withHint(fmt.Sprintf("check the port: another service listens there%s", l.otherPort()))
}

func (s *session) mismatch(field string, got, want any) *failure {
	return failf(classProtocol, "the reply of %s has %s %v, not %v", &s.conn.server, field, got, want).
		withHint("check the server and any proxy: one of them mixes up sessions")
}

// flagViolation returns the error of section 10.5.2, over TLS of RFC 9887 section 4: the reply counts as FAIL, so that no
// other server is asked.
func (l *serverConn) flagViolation() error {
	var f *failure
	switch {
	case l.facts != nil:
		f = failf(classProtocol, "the reply of %s has no UNENCRYPTED flag, which TLS requires", &l.server).
			withHint("report this to the server's vendor: RFC 9887 section 4; the reply was not used")
	case l.cleartext:
		f = failf(classProtocol, "the reply of %s is obfuscated despite --unencrypted", &l.server).
			withHint("replace --unencrypted with --key-file: the server has a key for this client")
	default:
		f = failf(classProtocol, "the reply of %s is not obfuscated although a key is in use: the UNENCRYPTED flag is set", &l.server).
			withHint("configure the key for this client on the server, if the reply is really the server's; the reply was not used")
	}
	return &attemptError{f, outcomeFlagViolation}
}

// unreadable returns the error for a body, decoded with the first key, whose lengths do not add up. The hint names the
// candidate key that fits.
func (s *session) unreadable(h *header, body []byte, reply message) error {
	srv, keys := &s.conn.server, s.conn.keys
	if s.conn.cleartext {
		return failf(classProtocol, "the reply of %s is malformed: %w", srv, errBodyLength)
	}
	f := failf(classProtocol, "the reply of %s cannot be read with this key (%w)", srv, errBodyLength)
	obfuscate(h, keys[0].value, body) // back to what was on the wire
	surplus, near := 0, ""            // the bytes that a key leaves over, and its name
	for i, k := range keys {
		try := bytes.Clone(body)
		obfuscate(h, k.value, try)
		c := new(codec)
		if c.decode(try, reply) == nil && i > 0 {
			return f.withHint(fmt.Sprintf("the key of %s fits this reply", k.source))
		}
		if surplus == 0 && plausible(reply) {
			surplus, near = c.surplus, k.source
		}
	}
	switch {
	case s.conn.proven != 0:
		return f.withHint("report this to the server's vendor: an earlier reply fits this key")
	case s.conn.keyProven(0):
		return f.withHint("report this to the server's vendor, unless its key was changed: an earlier reply fits this key")
	case surplus > 0:
		return failf(classProtocol, "the reply of %s is malformed, or the key is wrong (%s after the last field)", srv, howMany(surplus, "byte")).
			withHint(fmt.Sprintf("report this to the server's vendor: but for these bytes the key of %s fits", near))
	}
	which := choose(s.conn.keyFile == "", "the shared key", "the key of "+s.conn.keyFile)
	return f.withHint(fmt.Sprintf("%s differs from the server's, or the server has another key for the address %s", which, s.conn.localAddr()))
}

// ioFailure returns the error for a read or write that failed n bytes into a reply. Only a session without any reply may
// be repeated on another connection.
func (s *session) ioFailure(what string, n int, err error) error {
	closed, late := isClosed(err), errors.Is(err, os.ErrDeadlineExceeded)
	f := cmp.Or(s.conn.process.failed(), tlsReadFailure(&s.conn.server, s.conn.facts, s.conn.answered+n, err))
	switch {
	case f != nil:
	case closed && n > 0:
		f = failf(classNetwork, "%s closed the connection in the middle of its reply, after %d bytes", &s.conn.server, n)
	case closed:
		f = failf(classNetwork, "%s closed the connection before it answered", &s.conn.server).withHint(s.conn.closedHint())
	case late && n > 0:
		f = failf(classNetwork, "the reply of %s was cut off after %d bytes: timed out after %v", &s.conn.server, n, s.conn.client.timeout)
	case late:
		f = failf(classNetwork, "no reply from %s within %v", &s.conn.server, s.conn.client.timeout).withHint(s.conn.silentHint())
	default:
		f = failf(classNetwork, "%s %s: %w", what, &s.conn.server, cause(err))
	}
	came := outcomeConnLost
	switch {
	case n > 0 || s.sent.seqNo > 1:
		came = outcomeUnreadable
	case !s.written:
		came = outcomeNotSent
	case late:
		came = outcomeTimedOut
	}
	return &attemptError{f, came}
}

// secrets returns the texts to redact in a reply.
func (s *session) secrets() []string {
	secrets := s.request.secrets()
	for _, k := range s.conn.client.keys {
		secrets = append(secrets, k.value)
	}
	return secrets
}

// redact removes our secrets from the texts of a reply.
func (s *session) redact(texts []field) {
	for _, f := range texts {
		if *f.value != "" && !s.conn.client.forwards {
			*f.value = redact(*f.value, s.secrets())
		}
	}
}
