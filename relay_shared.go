package main

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// A sharedUpstream is the way to the servers with --single-connect: sessions of one exchange, of all devices, are
// jobs of one connection pool.
type sharedUpstream struct {
	client *client
	warn   warnFunc
	jobs   chan *relayRequest
	team   atomic.Pointer[pool]
}

const (
	maxShared = 64          // sessions under way of one device connection
	teamAge   = time.Minute // after which a pool that gave up multiplexing is replaced by a new one
)

func newSharedUpstream(c *client, warn warnFunc) *sharedUpstream {
	forwards := *c
	forwards.forwards = true
	return &sharedUpstream{client: &forwards, warn: warn, jobs: make(chan *relayRequest, maxConnections)}
}

// put submits a session. It returns through its channel home.
func (s *sharedUpstream) put(f *relayRequest) {
	s.jobs <- f
	if team := s.team.Load(); team != nil { // else it looks for jobs before it waits
		team.wakeup.notify()
	}
}

// run carries sessions until ctx ends. Later sessions fail, until gone is closed.
func (s *sharedUpstream) run(ctx context.Context, gone <-chan struct{}) {
	var teams sync.WaitGroup
	for ctx.Err() == nil {
		team, retired := newPool(s.client, maxConnections), make(chan struct{})
		team.note, team.warnf = func(text string) { s.warn(warnConnectionReuse, "%s", text) }, s.warn
		began, old := time.Now(), false
		team.nextJob = func(now time.Time) (*job, time.Time, bool) {
			if !old && team.reuse != reuseMultiplexed && now.Sub(began) > teamAge {
				old = true
				close(retired)
			}
			if old {
				return nil, time.Time{}, false
			}
			select {
			case f := <-s.jobs:
				return &f.job, time.Time{}, true
			default:
				return nil, time.Time{}, true
			}
		}
		s.team.Store(team)
		teams.Go(func() { team.run(ctx) })
		select {
		case <-retired:
		case <-ctx.Done():
		}
	}
	teams.Wait()
	for {
		select {
		case f := <-s.jobs:
			f.job.err = interrupted(ctx)
			f.home <- f
		case <-gone:
			return
		}
	}
}

// A relayRequest is a session of one exchange: a request as the device sent it.
type relayRequest struct {
	job      job
	home     chan<- *relayRequest // receives the request when it is done
	head     header               // of the device's packet
	messages messageSet           // the request and the reply are decoded into these
	message  message              // the request
	response message
	answered bool   // response is the reply of the server
	asked    string // address of the last server that got the request, if another one was next
	seen     sessionTracker
	size     int // bytes that are kept for it
}

// packetType and the following methods implement request.
func (f *relayRequest) packetType() (packetType, version) { return f.head.typ, f.head.version }
func (f *relayRequest) interactive() bool                 { return false }
func (f *relayRequest) check(string) error                { return nil }
func (f *relayRequest) repeatable() bool                  { return f.head.typ != typeAcct }
func (f *relayRequest) secrets() []string                 { return f.seen.secrets }
func (f *relayRequest) answer(string, error) reaction     { return reaction{} } // it never asks
func (f *relayRequest) jobDone(*job)                      { f.home <- f }

func (f *relayRequest) reply() message {
	f.response = f.messages.of(&header{typ: f.head.typ, seqNo: 2})
	return f.response
}

// reset notes the server that got the request: the next one may not be reachable.
func (f *relayRequest) reset() {
	if f.asked == "" && (f.answered || f.job.session.written) {
		f.asked = f.job.res.Address
	}
}

// firstMessage returns the request of the device. A record that was sent without a reply is not sent again.
func (f *relayRequest) firstMessage(string) (message, error) {
	if f.head.typ == typeAcct && f.job.session.written && !f.answered {
		return nil, &attemptError{failf(classNetwork, "a record may be written already, and is not sent again"), outcomeDecided}
	}
	f.answered, f.asked, f.job.session.written = false, "", false
	return f.message, nil
}

// on takes the reply. A type of one exchange has no prompts: the server's session is ended, and the reply is the
// device's to judge.
func (f *relayRequest) on(string) (r reaction) {
	f.answered = true
	switch m := f.response.(type) {
	case *authenReply:
		r.verdict = verdict{status: m.status, serverMsg: redact(m.serverMsg, f.seen.secrets), data: redact(m.data, f.seen.secrets)}
		if m.status.asks() {
			r.abort = abort("no prompts with this type")
		}
	case *authorResponse:
		r.verdict = verdict{status: m.status, serverMsg: m.serverMsg, data: m.data}
	case *acctReply:
		r.verdict = verdict{status: m.status, serverMsg: m.serverMsg, data: m.data}
	}
	return r
}

// A sharedDevice is a device whose sessions of one exchange share connections to the servers.
type sharedDevice struct {
	device           *device
	single           bool               // single-connection mode: granted if the device asks for it
	slots            chan struct{}      // one for each session in the pool
	replies          chan *relayRequest // from the pool
	out              []byte
	back             codec
	scratch          []byte
	dialoguesRunning sync.WaitGroup // dialogues

	mu        sync.Mutex
	dialogues map[uint32]*upstream
	gone      bool // the device; dialogues that begin later end at once
}

// serveShared serves a device until it closes its connection, or a session gets no reply: then the relay closes it,
// as for a dead server.
func (d *device) serveShared(ctx context.Context) {
	s := &sharedDevice{device: d, slots: make(chan struct{}, maxShared), replies: make(chan *relayRequest, maxShared),
		dialogues: make(map[uint32]*upstream)}
	var writer sync.WaitGroup
	writer.Go(s.write)
	for s.handlePacket(ctx) {
	}
	for range maxShared { // waits for all sessions under way
		s.slots <- struct{}{}
	}
	close(s.replies)
	writer.Wait()
	s.mu.Lock()
	s.gone = true
	for _, p := range s.dialogues {
		if p.opened.Load() {
			p.stopAfterReplies()
		}
	}
	s.mu.Unlock()
	s.dialoguesRunning.Wait()
}

// handlePacket forwards one packet of the device and reports whether the connection goes on.
func (s *sharedDevice) handlePacket(ctx context.Context) bool {
	if !wholePacket(s.device.client.in) && !s.device.client.extendDeadline() {
		return false
	}
	first := !s.device.client.sawPacket
	f := new(relayRequest)
	s.device.messages = &f.messages
	h, m, packet, ok := s.device.readPacket(nil)
	if !ok {
		return false
	}
	if first {
		s.single = h.flags&flagSingleConnect != 0
	}
	switch {
	case h.seqNo > 1:
		return s.continueDialogue(&h, m, packet)
	case ofOneExchange(&h, m):
		return s.submit(f, &h, m, len(packet))
	}
	return s.startDialogue(ctx, &h, m, packet)
}

// ofOneExchange reports whether a session has one request and one reply: all but an authentication whose START can be
// followed by prompts (RFC 8907 section 5.4.2).
func ofOneExchange(h *header, m message) bool {
	start, ok := m.(*authenStart)
	return !ok || h.version == minorOne && start.action == authenLogin && start.service != authenServiceEnable
}

// submit gives a session to the connection pool.
func (s *sharedDevice) submit(f *relayRequest, h *header, m message, size int) bool {
	if s.device.relay.underWay.Load() > maxUnderWay {
		s.device.refuse(*h, rejectWithError, "too many sessions", "too many sessions")
		return false
	}
	s.device.relay.underWay.Add(int64(size))
	f.home, f.head, f.message, f.answered, f.asked, f.size = s.replies, *h, m, false, "", size
	f.job = job{request: f, owner: f}
	f.seen = s.device.client.newTracker(s.device.key)
	f.seen.packet(time.Now(), h, m)
	s.slots <- struct{}{}
	s.device.relay.shared.put(f)
	return true
}

// write sends replies to the device. Replies that come together are written together.
func (s *sharedDevice) write() {
	broken := false
	for f := range s.replies {
		s.answer(f)
		s.device.relay.underWay.Add(-int64(f.size))
		if len(s.replies) == 0 || len(s.out) >= maxGathered {
			if !broken {
				_, err := s.device.client.conn.Write(s.out)
				broken = err != nil
			}
			s.out = nil
			s.device.client.log.flush()
		}
		<-s.slots
	}
}

// answer queues the reply to a session: the server's message, encoded again.
func (s *sharedDevice) answer(f *relayRequest) {
	h, now := f.head, time.Now()
	h.seqNo++
	if h.flags = s.device.flags(0); s.single {
		h.flags |= flagSingleConnect
	}
	f.seen.server, _ = netip.ParseAddrPort(cmp.Or(f.asked, f.job.res.Address))
	if f.answered {
		h.version = f.job.session.received.version
		start := len(s.out)
		s.out, _ = s.back.appendPacket(s.out, &h, f.response) // the same bytes as before decoding
		body := s.out[start+headerLen:]
		if !f.seen.packet(now, &h, f.response) {
			f.seen.close()
		}
		if s.device.client.dump != nil {
			s.device.client.dump.packet("sent to", s.device.client.addr, &h, body, f.response, f.seen.secrets...)
		}
		s.recordSession(f, &h, body)
		s.device.obfuscate(&h, body)
	} else {
		if f.job.session.written {
			s.recordSession(f, nil, nil)
		}
		if f.seen.close(); errors.Is(f.job.err, errBodyLength) {
			f.seen.status, f.seen.serverMsg = statusNoKey, asFailure(f.job.err).hint
		} else {
			s.device.client.note(f.job.err.Error())
		}
	}
	s.device.client.log.write(&f.seen.sessionRecord)
	if !f.answered || !s.single {
		s.device.client.stopReading()
	}
}

// recordSession writes a session to the record; reply is nil if there was none.
func (s *sharedDevice) recordSession(f *relayRequest, reply *header, body []byte) {
	if s.device.relay.recorder == nil || !f.seen.server.IsValid() {
		return
	}
	var c codec
	var err error
	if s.scratch, err = c.appendPacket(s.scratch[:0], &f.head, f.message); err == nil {
		s.device.relay.recorder.packetAt(f.seen.at, &s.device.recorded, s.device.client.addr, f.seen.server, true, &f.head, s.scratch[headerLen:], f.message, false)
		if reply != nil {
			s.device.relay.recorder.packet(&s.device.recorded, s.device.client.addr, f.seen.server, false, reply, body, f.response, false, f.seen.secrets...)
		}
	}
}

// startDialogue starts a dialogue, which has its own connection to a server.
func (s *sharedDevice) startDialogue(ctx context.Context, h *header, m message, packet []byte) bool {
	p := s.device.newUpstream()
	p.lone, p.single = true, s.single
	s.mu.Lock()
	_, twice := s.dialogues[h.sessionID]
	if full := len(s.dialogues) == maxShared; !full && !twice {
		s.dialogues[h.sessionID] = p
		s.mu.Unlock()
	} else {
		s.mu.Unlock()
		s.device.refuse(*h, rejectWithError, "too many sessions", "too many sessions")
		return false
	}
	first := *h
	s.dialoguesRunning.Go(func() {
		if p.onRequest(&first, m, len(packet)) && p.open(ctx, &first, m, packet) {
			s.mu.Lock()
			if s.gone {
				p.stopAfterReplies()
			}
			s.mu.Unlock()
			p.down()
			p.outbound.close()
		}
		dead := p.end() > 0
		s.mu.Lock()
		delete(s.dialogues, first.sessionID)
		s.mu.Unlock()
		if s.device.client.log.flush(); dead || !s.single {
			s.device.client.stopReading()
		}
	})
	return true
}

// continueDialogue forwards a CONTINUE of a dialogue.
func (s *sharedDevice) continueDialogue(h *header, m message, packet []byte) bool {
	s.mu.Lock()
	p := s.dialogues[h.sessionID]
	s.mu.Unlock()
	if p == nil || !p.opened.Load() || h.typ != typeAuthen {
		s.device.refuse(*h, rejectWithError, "a packet of no session", "no such session")
		return false
	}
	if !p.onRequest(h, m, len(packet)) {
		return false
	}
	p.sendOn(*h, m, packet)
	if _, err := p.outbound.conn.Write(packet); err != nil || p.over() {
		p.stopAfterReplies() // ABORT has no reply
	}
	return true
}
