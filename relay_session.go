package main

import (
	"context"
	"errors"
	"time"
)

// A relayedSession is a session of a device. To the client it is a dialogue in which the device is the person: the policy
// of asking again is that of every request.
type relayedSession struct {
	device     *device
	config     *relayConfig // when it began
	job        job
	messages   messageSet // memory of last and response; those of a CONTINUE have their own
	tracker    sessionTracker
	unanswered int           // bytes on the connection of --single-connect
	last       devicePacket  // of the device
	response   message       // of the server to that packet
	repliedAt  time.Time     // when it came; zero if it did not
	promptTime time.Duration // that is left

	named    bool   // the last packet has the name of the user, and no secret
	recorded bool   // the last packet is
	batched  bool   // the device's own pool carries it, so its reply waits for those of others
	due      bool   // the replies that wait are enough for a write
	alone    bool   // it has a connection of its own, and so can have prompts
	prompted bool   // a reply asks for a CONTINUE, but came on a shared connection
	aborted  bool   // by the device
	refused  string // what was wrong with the CONTINUE

	// device.mu guards these.
	expected uint8    // seq_no of the CONTINUE that is awaited, or 0
	known    []string // secrets at the last prompt
	size     int      // bytes that are reserved
	answers  chan devicePacket
}

// A devicePacket is a packet of a device, with the body in clear.
type devicePacket struct {
	header  header
	message message
	at      time.Time
	refused string // what was wrong; empty if it was not refused
}

// size returns the size of the packet in bytes.
func (p *devicePacket) size() int { return headerLen + int(p.header.length) }

// reserve reserves bytes for packets of the session, or returns why there are none left.
func (s *relayedSession) reserve(n int) (refused string) {
	if refused = s.device.bytes.take(n); refused == "" {
		s.size += n
	}
	return refused
}

// upstreamFor returns the upstream for a session, or nil if the session needs a connection of its own.
func (d *device) upstreamFor(s *relayedSession) *upstream {
	switch u := s.config.shared; {
	case !ofOneExchange(&s.last.header, s.last.message):
		return nil
	case u == nil && d.client.single:
		s.batched = true
		return d.ownUpstream(s.config)
	case u == nil || d.unanswered.take(s.last.size()) != "": // it would make others wait
		return nil
	default:
		s.unanswered = s.last.size()
		return u
	}
}

// ownUpstream returns the upstream of the device with a configuration, and starts it.
func (d *device) ownUpstream(config *relayConfig) *upstream {
	if d.upstream == nil || d.upstream.client != config.kept {
		d.upstream.retire()
		d.upstream = newUpstream(config.kept, maxOfDevice, d.client.note)
		go d.upstream.run(d.records, d.finishBatch)
	}
	return d.upstream
}

// runAlone puts a session to the servers over a connection of its own.
func (s *relayedSession) runAlone() {
	ctx := choose(s.repeatable(), s.device.logins, s.device.records)
	s.alone, s.answers = true, make(chan devicePacket, 1)
	if s.prompted { // on a shared connection
		s.job.res, s.job.err, s.job.session, s.repliedAt = result{}, nil, session{}, time.Time{}
	}
	(&requester{client: s.config.lone, ask: s.ask}).do(ctx, &s.job)
	d := s.device
	s.finish()
	s.log()
	_ = d.client.log.flush() // in the background
	d.end(s)
	d.deliver() // after the line, so that lines have the order in which the device gets its replies
}

// submit puts a session into an upstream. It reports false if that takes no more.
func (s *relayedSession) submit(u *upstream) (ok bool) {
	d := s.device // after put, s may have ended
	if d.waiting != u {
		d.wakeUpstream() // of another configuration
	}
	d.running.Add(1)
	if ok = u.put(&s.job); ok {
		d.waiting = u
	} else {
		s.releaseUnanswered()
		d.running.Done()
	}
	return ok
}

// releaseUnanswered releases what upstreamFor has reserved.
func (s *relayedSession) releaseUnanswered() {
	if s.unanswered > 0 {
		s.device.unanswered.release(s.unanswered)
	}
}

// jobDone ends a session that was carried by a pool. It does not wait for anything.
func (s *relayedSession) jobDone(*job) {
	d := s.device
	s.releaseUnanswered()
	if s.prompted {
		d.running.Go(s.runAlone)
		d.running.Done()
		return
	}
	s.finish()
	d.endLater(s, s.due || !s.batched)
}

// ofOneExchange reports whether a session has one request and one reply: all but an authentication whose START can be
// followed by prompts (RFC 8907 section 5.4.2). Minor versions that it does not define are not for a shared connection.
func ofOneExchange(h *header, m message) bool {
	start, ok := m.(*authenStart)
	if !ok {
		return h.version == minorDefault
	}
	return h.version == minorOne && start.action == authenLogin && start.service != authenServiceEnable && start.typ != authenASCII
}

// finish answers the device.
func (s *relayedSession) finish() {
	d := s.device
	s.setServer()
	for _, w := range s.job.res.Warnings {
		d.client.note(w.Message)
	}
	switch {
	case !s.repliedAt.IsZero():
		if !s.forward() {
			s.tracker.close()
		}
	case s.aborted:
		s.record(false)
	default:
		s.fail()
	}
}

// log writes the line of the session, and counts it.
func (s *relayedSession) log() {
	s.device.client.log.write(&s.tracker.sessionRecord)
	s.device.relay.metrics.count(&s.tracker, s.job.session.conn)
}

// fail answers for servers that did not: with FAIL after a reply that RFC 8907 section 10.5.2 counts as such, else with
// ERROR.
func (s *relayedSession) fail() {
	d, err := s.device, s.job.err
	if s.job.session.written {
		s.record(false)
	}
	var m message = errorReply(s.tracker.packetType, "no server answered")
	s.tracker.close()
	switch {
	case s.refused != "": // which had its ERROR
		s.tracker.end(statusMalformed, s.refused)
		return
	case s.tracker.status == statusAbandoned:
		return // nothing is due to the device
	case outcomeOf(err) == outcomeFlagViolation:
		s.tracker.end(statusViolation, err.Error())
		m = refusal(s.tracker.packetType)
	case errors.Is(err, errBodyLength):
		s.tracker.end(statusNoKey, asFailure(err).hint)
	case classOf(err) == classInterrupted && d.hasLeft():
		s.tracker.end(statusNoReply, "closed by the client")
	case err != nil:
		d.client.note(err.Error())
		if f := asFailure(err); len(d.config.lone.skipped) > 0 && f.hint != "" {
			d.client.note("hint: " + f.hint)
		}
	}
	s.due = d.send(s, d.client.replyHeader(s.last.header), m)
}

// refusal returns the message that denies a request. Accounting has none, and an ERROR in its place.
func refusal(typ packetType) message {
	switch typ {
	case typeAuthen:
		return &authenReply{status: authenFail}
	case typeAuthor:
		return &authorResponse{status: authorFail}
	}
	return errorReply(typ, "the reply of the server was not used")
}

// setServer sets the server of the session's line: the last that got a packet.
func (s *relayedSession) setServer() {
	if conn := s.job.session.conn; conn != nil && (!s.repliedAt.IsZero() || s.job.session.written) {
		s.tracker.server = addrPortOf(conn.conn.RemoteAddr())
	}
}

// forward sends the reply to the device, and reports whether it ends the session.
func (s *relayedSession) forward() (over bool) {
	h := s.replyHeader()
	s.tracker.sent(s.job.session.sentAt)
	over = s.tracker.packet(s.repliedAt, &h, s.response)
	s.due = s.device.send(s, h, s.response)
	s.record(true)
	return over
}

// replyHeader returns the header of the server's reply, as the device gets it.
func (s *relayedSession) replyHeader() header {
	h := s.device.client.replyHeader(s.last.header)
	h.version = s.job.session.received.version
	return h
}

// record records the last packet of the device and, if there was one, the reply.
func (s *relayedSession) record(replied bool) {
	d, r := s.device, s.device.relay.recorder
	if r == nil || !s.tracker.server.IsValid() || s.recorded {
		return
	}
	s.recorded = true
	var repeated []string // in the reason of an ABORT
	if s.aborted {
		repeated = s.tracker.hidden()
	}
	r.packet(s.last.at, &d.recorded, d.client.addr, s.tracker.server, s.last.header, s.last.message, s.named, repeated...)
	if replied {
		r.packet(s.repliedAt, &d.recorded, d.client.addr, s.tracker.server, s.replyHeader(), s.response, false, s.tracker.hidden()...)
	}
}

// ask forwards the prompt of a server and waits for the CONTINUE of the device. An error ends the session.
func (s *relayedSession) ask(ctx context.Context, _ string, _ bool) (string, error) {
	d := s.device
	s.job.abandoned.Store(true) // no other server knows of this session
	s.setServer()
	d.mu.Lock()
	s.expected, s.known = s.last.header.seqNo+2, s.tracker.hidden()
	d.mu.Unlock()
	s.forward()
	d.deliver()
	s.repliedAt = time.Time{}
	began := time.Now()
	select {
	case p := <-s.answers:
		if s.refused = p.refused; s.refused != "" {
			break
		}
		s.promptTime -= p.at.Sub(began)
		s.named = s.tracker.prompt == authenGetUser && !s.tracker.noEcho
		s.last, s.recorded = p, false
		s.aborted = s.tracker.packet(p.at, &p.header, p.message)
		return "", nil
	case <-d.ended:
	case <-ctx.Done():
	case <-time.After(s.promptTime):
	}
	return "", errNoAnswer
}

// The following methods implement dialogue.

func (s *relayedSession) check(string) error { return nil }
func (s *relayedSession) interactive() bool  { return s.alone }
func (s *relayedSession) repeatable() bool   { return s.tracker.packetType != typeAcct }
func (s *relayedSession) secrets() []string  { return s.tracker.hidden() }

func (s *relayedSession) packetType() (packetType, version) {
	return s.tracker.packetType, s.tracker.version
}

func (s *relayedSession) firstMessage(string) (message, error) {
	s.repliedAt = time.Time{}
	return s.last.message, nil
}

func (s *relayedSession) reply() message {
	s.response = s.messages.of(&header{typ: s.tracker.packetType, seqNo: 2})
	return s.response
}

// on takes a reply, which is the device's to judge.
func (s *relayedSession) on(string) (r reaction) {
	s.repliedAt = s.job.session.repliedAt
	switch m := s.response.(type) {
	case *authenReply:
		switch {
		case !m.status.asks():
			r.verdict = verdict{status: m.status, serverMsg: s.tracker.redacted(m.serverMsg), data: s.tracker.redacted(m.data)}
		case s.alone:
			r.prompt = new(prompt)
		default:
			s.prompted = true
			r.abort = abort("a dialogue needs a connection of its own")
		}
	case *authorResponse:
		r.verdict = verdict{status: m.status, serverMsg: m.serverMsg, data: m.data}
	case *acctReply:
		r.verdict = verdict{status: m.status, serverMsg: m.serverMsg, data: m.data}
	}
	return r
}

// reset records what the server did not answer.
func (s *relayedSession) reset() {
	if s.job.session.written {
		s.setServer()
		s.record(false)
		s.recorded, s.job.session.written = false, false
	}
}

// answer sends the CONTINUE of the device. The session ends if there is none.
func (s *relayedSession) answer(_ string, err error) reaction {
	switch {
	case err != nil:
		return reaction{abort: abort("the client has gone")}
	case s.aborted:
		return reaction{abort: s.last.message}
	}
	return reaction{send: s.last.message}
}
