package main

import (
	"context"
	"net"
	"time"
)

// A peer is one client's connection.
type labConn struct {
	*labServer
	*inboundConn
	key       key                     // of that client
	out       []byte                  // replies that wait for being written together
	dialogues map[uint32]*authSession // authentications that wait for a CONTINUE
	single    bool                    // single-connection mode (RFC 8907 section 4.3)
	sessions  int                     // that were begun

	// Used again for every packet, so that a login costs the server little.
	codec  codec
	packet []byte
	spare  *authSession
}

// serve reads packets until the client goes, breaks a rule, or is idle for too long. Replies
// are written when nothing more is there to be read.
func (srv *labServer) serve(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	c := srv.newInboundConn(ctx, conn, srv.keys, srv.clear, 16<<10)
	if c == nil {
		return
	}
	p := &labConn{labServer: srv, inboundConn: c, dialogues: make(map[uint32]*authSession)}
	if len(c.keys) > 0 {
		p.key = c.keys[0]
	}
	for more := true; more; {
		if len(p.out) >= maxGathered && p.flush() != nil {
			break
		}
		if !wholePacket(p.in) {
			if p.flush() != nil {
				break
			}
			if p.extendDeadline(); ctx.Err() != nil {
				break
			}
		}
		more = p.handlePacket()
	}
	p.flush()
	for id, d := range p.dialogues {
		p.abandon(id, d)
	}
	p.log.flush()
}

// flush writes the log, then the replies. These do not depend on it: account has written its record
// before.
func (p *labConn) flush() (err error) {
	p.log.flush()
	if len(p.out) > 0 {
		p.extendDeadline()
		err = p.fault.write(p.conn, p.out)
		p.out = p.out[:0]
	}
	return err
}

// turn reads one packet and replies to it; false ends the connection.
func (p *labConn) handlePacket() bool {
	h, packet, ok := p.receive(p.packet[:0])
	if !ok {
		return false
	}
	if p.packet = packet; int(h.length) > keptBody {
		p.packet = nil
	}
	body := packet[headerLen:]
	if !p.sawPacket {
		p.deadlineSet = time.Time{} // from now on there is more time
		p.sawPacket, p.single = true, h.flags&flagSingleConnect != 0 && !p.fault.refuseSingle
	}
	replyHead := p.replyHeader(h)
	if !p.acceptHeader(h, &replyHead) {
		return false
	}
	if h.seqNo == 1 {
		p.sessions++
	}
	if f := p.fault.swallowAfter; f > 0 && p.sessions > f {
		return true
	}
	if !p.clear {
		obfuscate(&h, p.key.value, body)
	}
	reply, over, err := p.decide(h, body)
	if err != nil {
		p.refuse(&replyHead, p.malformed(err), "a malformed packet")
		return false
	}
	if reply == nil { // ABORT: the session is over without a reply
		return p.single
	}
	p.send(&replyHead, reply)
	if f := p.fault.closeAfter; over && f > 0 && p.sessions >= f {
		return false
	}
	return p.single || !over || p.fault.stays
}

// replyHeader is the header of the reply to a packet with the header h: of the flags it has
// those that this server knows (RFC 8907 section 4.1). The length follows with the body.
func (p *labConn) replyHeader(h header) header {
	h.seqNo++
	h.flags &= flagUnencrypted
	if p.single {
		h.flags |= flagSingleConnect
	}
	return h
}

// accepts judges what a header says of its session. Where it does not accept that it tells the
// client, if RFC 8907 has an answer.
func (p *labConn) acceptHeader(h header, replyHead *header) bool {
	wrong, then := checkHeader(&h, p.clear)
	switch {
	case wrong == "":
		return true
	case then == rejectWithError:
		replyHead.flags ^= flagUnencrypted
		p.refuse(replyHead, wrong, "UNENCRYPTED flag")
		return false
	case then == rejectWithHeader:
		p.out = appendHeader(p.out, h)
	}
	p.log.note(p.addr, wrong)
	return false
}

// refuse logs what is wrong with a packet, and replies to it with an ERROR of its type.
func (p *labConn) refuse(replyHead *header, note, serverMsg string) {
	p.log.note(p.addr, note)
	p.send(replyHead, errorReply(replyHead.typ, serverMsg))
}

// send queues a reply, with what the fault makes of it.
func (p *labConn) send(h *header, m message) {
	if p.delay > 0 {
		time.Sleep(p.delay)
	}
	h.version ^= p.fault.version
	start := len(p.out)
	out, err := p.codec.appendPacket(p.out, h, m)
	if err != nil {
		p.log.note(p.addr, "the reply does not fit: "+err.Error())
		return
	}
	p.out = out
	packet := out[start:]
	if p.fault.body != nil {
		p.fault.body(h.typ, packet[headerLen:])
	}
	p.dump.packet("sent to", p.conn.RemoteAddr(), h, packet[headerLen:], m)
	if !p.clear && !p.fault.clearReply {
		obfuscate(h, p.key.value+p.fault.keySuffix, packet[headerLen:])
	}
	if p.fault.packet != nil {
		p.out = append(p.out[:start], p.fault.packet(packet)...)
	}
}

// decide decodes a request and decides on it. over says that the session ends with the reply; a
// reply of nil, that it ends without one; an error, that the body does not decode.
func (p *labConn) decide(h header, body []byte) (reply message, over bool, err error) {
	switch {
	case h.typ != typeAuthen && h.seqNo != 1:
		return errorReply(h.typ, "seq_no is not 1"), true, nil
	case h.typ == typeAuthor:
		var m authorRequest
		if err := p.decode(&h, body, &m); err != nil {
			return nil, false, err
		}
		r := &authorResponse{status: authorFail, serverMsg: unimplementedMinor(h.version)}
		if r.serverMsg == "" {
			r = p.authorize(&m)
		}
		p.log.write(p.exchange(&h, &m, r))
		return p.fault.author(r), true, nil
	case h.typ == typeAcct:
		var m acctRequest
		if err := p.decode(&h, body, &m); err != nil {
			return nil, false, err
		}
		r := &acctReply{status: acctError, serverMsg: unimplementedMinor(h.version)}
		if r.serverMsg == "" {
			r = p.account(&m)
		}
		if p.log.writeNow(p.exchange(&h, &m, r)) != nil { // it is written out before the client is told so
			r = &acctReply{status: acctError, serverMsg: "the record could not be written"}
		}
		return p.fault.acct(r), true, nil
	case h.seqNo == 1:
		return p.startAuthen(&h, body)
	}
	return p.continueAuthen(&h, body)
}

// decode reads the body of a packet into m.
func (p *labConn) decode(h *header, body []byte, m message) error {
	err := p.codec.decode(body, m)
	p.dump.packet("received from", p.conn.RemoteAddr(), h, body, m)
	return err
}

// startAuthen decides on a START. One with the session_id of a dialogue takes its place.
func (p *labConn) startAuthen(h *header, body []byte) (reply message, over bool, err error) {
	if d := p.dialogues[h.sessionID]; d != nil {
		p.abandon(h.sessionID, d)
	}
	if p.spare == nil {
		p.spare = new(authSession)
	}
	d := p.spare
	*d = authSession{version: h.version}
	p.initTracker(&d.sessionTracker)
	if err := p.decode(h, body, &d.start); err != nil {
		return nil, false, err
	}
	now := time.Now()
	d.packet(now, h, &d.start)
	reply, over = p.finishReply(now, h, d, p.replyToStart(d))
	return reply, over, nil
}

// continueAuthen decides on a CONTINUE. It has the version of the START and the next seq_no,
// and an ABORT gets no reply (RFC 8907 sections 4.1 and 5.4.3).
func (p *labConn) continueAuthen(h *header, body []byte) (reply message, over bool, err error) {
	var m authenContinue
	if err := p.decode(h, body, &m); err != nil {
		return nil, false, err
	}
	d := p.dialogues[h.sessionID]
	if d == nil {
		return errorReply(h.typ, "no such session"), true, nil
	}
	now, follows := time.Now(), h.seqNo == d.seqNo+1 && h.version == d.version
	if follows && d.packet(now, h, &m) {
		p.end(h.sessionID, d)
		return nil, true, nil
	}
	var r *authenReply
	switch {
	case !follows:
		r = &authenReply{status: authenError, serverMsg: "seq_no or version does not follow the packet before"}
	case h.seqNo == lastSeqNo:
		r = &authenReply{status: authenError, serverMsg: "sequence numbers are used up"}
	default:
		r = d.next(m.userMsg)
	}
	reply, over = p.finishReply(now, h, d, r)
	return reply, over, nil
}

// settle keeps the dialogue d where r, or what the fault makes of r, asks for a CONTINUE, and
// ends it where not.
func (p *labConn) finishReply(now time.Time, h *header, d *authSession, r *authenReply) (reply message, over bool) {
	r = p.fault.authen(d, r)
	if r.status.asks() && h.seqNo == 1 && !p.reserveDialogue() {
		r = &authenReply{status: authenError, serverMsg: "too many sessions"}
	}
	if d.packet(now, replyTo(h), r) {
		p.end(h.sessionID, d)
		return r, true
	}
	if p.dialogues[h.sessionID] = d; d == p.spare {
		p.spare = nil
	}
	return r, false
}

// mayWait takes a place for one more dialogue, if there is one.
func (p *labConn) reserveDialogue() bool {
	if len(p.dialogues) >= maxDialogues {
		return false
	}
	if p.waiting.Add(1) > maxAllDialogues {
		p.waiting.Add(-1)
		return false
	}
	return true
}

// abandon ends a dialogue that the client left without an answer.
func (p *labConn) abandon(id uint32, d *authSession) {
	d.close()
	p.end(id, d)
}

// end forgets a dialogue and logs what it came to.
func (p *labConn) end(id uint32, d *authSession) {
	if p.dialogues[id] != nil {
		delete(p.dialogues, id)
		p.waiting.Add(-1)
	}
	p.log.write(&d.sessionRecord)
}

// observe begins the observation of a session.
func (p *labConn) initTracker(o *sessionTracker) { o.peer, o.key = p.addr, p.key.source }

// exchange is the record of a session of one request and one reply.
func (p *labConn) exchange(h *header, request, reply message) *sessionRecord {
	o, now := new(sessionTracker), time.Now()
	p.initTracker(o)
	o.packet(now, h, request)
	o.packet(now, replyTo(h), reply)
	return &o.sessionRecord
}

// replyTo is the header of the reply to h, as far as an observation looks at it.
func replyTo(h *header) *header {
	reply := *h
	reply.seqNo++
	return &reply
}

// An authSession is one authentication in progress. next replies to what the client says next.
type authSession struct {
	sessionTracker
	version version
	start   authenStart
	next    func(said string) *authenReply
	tries   int
	faulted bool
}
