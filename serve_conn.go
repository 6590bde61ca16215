package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"time"
)

// A labServer is a TACACS+ server for the lab: to try this program, to see what a device sends, and to test clients.
// It stores nothing: a changed password lasts until the process ends.
type labServer struct {
	listener *listener
	lab      lab
	keys     clientKeys
	tls      *tls.Config // nil: without TLS, packets are obfuscated
	delay    time.Duration
	fault    *fault
	waiting  *share // of dialogues
}

const maxAllDialogues = 16 << 10 // of all clients, waiting for a CONTINUE

func newLabServer() *labServer {
	return &labServer{listener: newListener(), waiting: newShare(maxAllDialogues, "sessions"), fault: new(fault), lab: lab{users: make(map[string]string)}}
}

// A labConn is one client's connection.
type labConn struct {
	server    *labServer
	client    *inboundConn
	codec     codec                   // of its packets, and of the replies
	messages  messageSet              // its packets are decoded into these
	out       []byte                  // replies that are written together
	dialogues map[uint32]*labDialogue // by session_id
	waiting   *claim                  // on the server's, for dialogues
	ended     *labDialogue            // memory for the next one, or nil
	sessions  int                     // begun so far
}

// A labDialogue is an authentication that waits for a CONTINUE.
type labDialogue struct {
	session *authSession
	version version
	typ     authenType
	seqNo   uint8          // of the last reply
	faulted bool           // the fault's message was sent
	tracker sessionTracker // for the log only
}

func (srv *labServer) newConn(client *inboundConn) *labConn {
	return &labConn{server: srv, client: client, dialogues: make(map[uint32]*labDialogue), waiting: srv.waiting.claim(client.addr.Addr())}
}

// serve reads packets until the client closes the connection, breaks a rule, or is idle for too long. Replies are
// written when there is nothing more to read.
func (srv *labServer) serve(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	client := srv.listener.newInboundConn(ctx, conn, srv.keys, srv.tls != nil, maxGathered)
	if client == nil {
		return
	}
	defer context.AfterFunc(ctx, client.stopReading)()
	c := srv.newConn(client)
	defer c.waiting.leave()
	for more := true; more; {
		if (srv.delay > 0 || len(c.out) >= maxGathered) && c.flush() != nil {
			break
		}
		if !wholePacket(client.in) && (c.flush() != nil || !client.extendDeadline()) {
			break
		}
		more = c.handlePacket()
	}
	c.flush()
	for id, d := range c.dialogues {
		c.abandon(id, d)
	}
	client.log.flush()
}

// flush writes the log, then the replies.
func (c *labConn) flush() (err error) {
	c.client.log.flush()
	if len(c.out) > 0 {
		c.client.extendDeadline()
		err = c.server.fault.write(c.client.conn, c.out)
		c.out = c.out[:0]
	}
	return err
}

// handlePacket reads one packet and replies to it. It reports whether the connection goes on.
func (c *labConn) handlePacket() bool {
	h, packet, ok := c.client.receive()
	if !ok {
		return false
	}
	body, fault := packet[headerLen:], c.server.fault
	if c.client.onPacket() {
		c.client.single = h.flags&flagSingleConnect != 0 && !fault.refuseSingle
	}
	if wrong, then := c.client.checkHeader(&h); wrong != "" {
		c.refuse(h, then, wrong, "UNENCRYPTED flag")
		return c.client.survivesHeader(&h, then)
	}
	if h.seqNo == 1 {
		c.sessions++
	}
	if n := fault.swallowAfter; n > 0 && c.sessions > n {
		c.client.dumpHeader("received from", &h)
		return true
	}
	if !c.client.cleartext {
		obfuscate(&h, c.client.key.value, body)
	}
	m, over, err := c.decide(&h, body)
	if err != nil {
		c.refuse(h, rejectWithError, c.client.malformed(err), "malformed packet")
		c.endBadly(h)
		return c.client.survives()
	}
	if m == nil { // ABORT: the session ends without a reply
		return c.client.single
	}
	c.send(c.client.replyHeader(h), m)
	if n := fault.closeAfter; over && n > 0 && c.sessions >= n {
		return false
	}
	return c.client.single || !over || fault.stays
}

// endBadly ends the dialogue that a malformed packet is of, if there is one.
func (c *labConn) endBadly(h header) {
	if d := c.dialogues[h.sessionID]; d != nil && h.typ == typeAuthen {
		h = c.client.replyHeader(h)
		d.tracker.packet(time.Now(), &h, errorReply(typeAuthen, "malformed packet"))
		c.end(h.sessionID, d)
	}
}

// refuse logs what is wrong with the packet of h, and replies as RFC 8907 requires.
func (c *labConn) refuse(h header, then rejection, problem, serverMsg string) {
	c.client.note(problem)
	switch then {
	case rejectWithHeader:
		c.out = c.client.appendHeader(c.out, h)
	case rejectWithError:
		c.send(c.client.replyHeader(h), errorReply(h.typ, serverMsg))
	}
}

// send queues a reply, changed by the fault.
func (c *labConn) send(h header, m message) {
	fault := c.server.fault
	if c.server.delay > 0 {
		time.Sleep(c.server.delay)
	}
	h.version ^= fault.version
	start := len(c.out)
	out, err := c.codec.appendPacket(c.out, &h, m)
	if err != nil {
		c.client.note("cannot encode the reply: " + err.Error())
		return
	}
	c.out = out
	packet := out[start:]
	if fault.body != nil {
		fault.body(h.typ, packet[headerLen:])
	}
	c.client.dump.packet("sent to", c.client.conn.RemoteAddr(), &h, packet[headerLen:], m)
	if !c.client.cleartext && !fault.clearReply {
		obfuscate(&h, c.client.key.value+fault.keySuffix, packet[headerLen:])
	}
	if fault.packet != nil {
		fault.packet(packet)
	}
	if fault.emptyBody {
		copy(packet[atLength:], "\x00\x00\x00\x00")
		c.out = out[:start+headerLen]
	}
}

// decide decodes a request and returns the reply, or nil for none. over reports whether the session ends. It fails if the
// body cannot be decoded.
func (c *labConn) decide(h *header, body []byte) (reply message, over bool, err error) {
	m, fault := c.messages.of(h), c.server.fault
	err = c.codec.decode(body, m)
	c.client.dump.packet("received from", c.client.conn.RemoteAddr(), h, body, m)
	if err != nil {
		return nil, false, err
	}
	c.client.prove(h, m)
	d := c.dialogues[h.sessionID]
	if h.seqNo != 1 && (h.typ != typeAuthen || d == nil) {
		c.client.note((*sessionTracker)(nil).unexpected(h, true))
		return errorReply(h.typ, "no such session"), true, nil
	}
	switch m := m.(type) {
	case *authorRequest:
		r := c.server.lab.authorize(m, h.version)
		c.client.log.write(c.exchange(h, m, r))
		return cmp.Or(fault.authorReply, r), true, nil
	case *acctRequest:
		r := c.server.lab.account(m, h.version)
		return cmp.Or(fault.acctReply, c.keep(h, m, r)), true, nil
	case *authenStart:
		reply, over = c.startAuthen(h, d, m)
	case *authenContinue:
		reply, over = c.continueAuthen(h, d, m)
	}
	return reply, over, nil
}

// keep logs a record and returns its reply: SUCCESS only if the record is written (RFC 8907 section 7.2).
func (c *labConn) keep(h *header, m *acctRequest, r *acctReply) *acctReply {
	err := c.client.log.writeNow(c.exchange(h, m, r))
	if err == nil || r.status != acctSuccess {
		return r
	}
	if r = (&acctReply{status: acctError, serverMsg: "the record could not be written"}); err == errNotKept {
		r.serverMsg = "records are not kept (serve -q)"
	}
	if errors.Is(err, errBlocked) { // the output may take the record later
		c.client.log.write(c.exchange(h, m, r))
	}
	return r
}

// startAuthen decides on a START. It replaces a dialogue with the same session_id.
func (c *labConn) startAuthen(h *header, replaced *labDialogue, m *authenStart) (reply message, over bool) {
	if replaced != nil {
		c.abandon(h.sessionID, replaced)
	}
	d, now := c.ended, time.Now()
	if c.ended = nil; d == nil {
		d = new(labDialogue)
	}
	*d = labDialogue{version: h.version, typ: m.typ}
	c.client.initTracker(&d.tracker)
	d.tracker.packet(now, h, m)
	var r *authenReply
	d.session, r = c.server.lab.start(m, h.version)
	return c.finishReply(now, h, d, r)
}

// continueAuthen decides on a CONTINUE. It must have the version of the START and the next seq_no, and an ABORT gets no
// reply (RFC 8907 sections 4.1 and 5.4.3).
func (c *labConn) continueAuthen(h *header, d *labDialogue, m *authenContinue) (reply message, over bool) {
	if h.seqNo != d.seqNo+1 {
		c.client.note(d.tracker.unexpected(h, true))
	}
	now := time.Now()
	d.tracker.packet(now, h, m)
	var r *authenReply
	switch {
	case h.seqNo != d.seqNo+1 || h.version != d.version:
		r = &authenReply{status: authenError, serverMsg: "unexpected seq_no or version"}
	case m.flags&authenAbort != 0:
		c.end(h.sessionID, d)
		return nil, true
	case h.seqNo == lastSeqNo:
		r = &authenReply{status: authenError, serverMsg: "sequence numbers exhausted"}
	default:
		r = d.session.next(m.userMsg)
	}
	return c.finishReply(now, h, d, r)
}

// finishReply returns r, or the fault's message in its place. It keeps the dialogue if that asks for a CONTINUE, and ends
// it otherwise.
func (c *labConn) finishReply(now time.Time, h *header, d *labDialogue, r *authenReply) (reply message, over bool) {
	r = d.applyFault(c.server.fault, r)
	if r.status.asks() && h.seqNo == 1 {
		if refused := c.reserveDialogue(); refused != "" {
			r = &authenReply{status: authenError, serverMsg: refused}
		}
	}
	head := c.client.replyHeader(*h)
	d.seqNo, d.tracker.singleConnect = head.seqNo, c.client.single
	d.tracker.packet(now, &head, r)
	if !r.status.asks() {
		c.end(h.sessionID, d)
		return r, true
	}
	c.dialogues[h.sessionID] = d
	return r, false
}

// applyFault returns the message of the fault, which r then follows, or r if there is none.
func (d *labDialogue) applyFault(f *fault, r *authenReply) *authenReply {
	if f.authenReply == nil || f.once && d.faulted || f.only != 0 && f.only != d.typ {
		return r
	}
	d.faulted = true
	s, next := d.session, d.session.next
	s.next = func(answer string) *authenReply {
		if f.authenReply.status == authenGetUser && len(answer) <= maxFieldLen {
			s.user = strings.Clone(answer)
		}
		s.next = next
		return r
	}
	return f.authenReply
}

// reserveDialogue counts one more dialogue, or returns why the limits do not permit it.
func (c *labConn) reserveDialogue() (refused string) {
	if len(c.dialogues) >= maxDialogues {
		return "too many sessions"
	}
	return c.waiting.take(1)
}

// abandon ends a dialogue that the client did not continue.
func (c *labConn) abandon(id uint32, d *labDialogue) {
	d.tracker.close()
	c.end(id, d)
}

// end removes a dialogue and logs it.
func (c *labConn) end(id uint32, d *labDialogue) {
	if c.dialogues[id] != nil {
		delete(c.dialogues, id)
		c.waiting.release(1)
	}
	c.client.log.write(&d.tracker.sessionRecord)
	*d = labDialogue{} // with its secrets
	c.ended = d
}

// exchange returns the record of a session with one request and one reply.
func (c *labConn) exchange(h *header, request, reply message) *sessionRecord {
	tracker, head, now := new(sessionTracker), c.client.replyHeader(*h), time.Now()
	c.client.initTracker(tracker)
	tracker.singleConnect = c.client.single
	tracker.packet(now, h, request)
	tracker.packet(now, &head, reply)
	return &tracker.sessionRecord
}
