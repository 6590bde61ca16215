package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// A device is one device's connection to the relay. Its goroutine reads packets, and each session has a goroutine of its
// own.
type device struct {
	relay    *relayServer
	config   *relayConfig // when it connected
	client   *inboundConn
	origin   jobOrigin       // of its sessions
	left     bool            // it has closed the connection
	upstream *upstream       // its own; nil before the first session that uses it
	waiting  *upstream       // it has sessions that it does not know of; or nil
	next     *relayedSession // memory for the next one; or nil
	codec    codec           // of the packets that are read
	now      time.Time       // when the last read ended

	ended    chan struct{}   // closed when no more packets are read
	logins   context.Context // of authentications and authorizations
	records  context.Context
	running  sync.WaitGroup // sessions
	recorded recordedConns

	bytes, unanswered, unread *claim // of its address, on what devices share

	mu       sync.Mutex
	batch    []*relayedSession          // sessions of pools that have ended
	sessions map[uint32]*relayedSession // under way, by session_id

	writing sync.Mutex // guards what follows
	space   sync.Cond  // in out
	out     []byte     // packets to be written
	spare   []byte     // memory for out, while that is written
	busy    bool       // a goroutine writes
	broken  bool       // the connection is cut off
	encoder codec
}

const (
	maxSessions = 1024                   // under way of one device's connection
	maxReplies  = 64 << 10               // bytes of replies that wait to be written while packets are read
	writeGrace  = 10 * time.Millisecond  // that a pool waits for a device to take its replies
	leaveGrace  = 200 * time.Millisecond // for replies to a device that sends no more
)

// serve handles one device's connection. When ctx ends, no more is read. When life ends, nothing is waited for any more.
func (r *relayServer) serve(ctx, life context.Context, conn net.Conn) {
	r.devices.Add(1)
	defer r.devices.Done()
	defer conn.Close()
	_, secure := conn.(*tls.Conn)
	config := r.config.Load()
	c := r.listener.newInboundConn(ctx, conn, config.keys, secure, relayBuffer)
	if c == nil {
		return
	}
	defer context.AfterFunc(ctx, c.stopReading)()
	defer context.AfterFunc(life, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	d := newDevice(r, config, c)
	var cancelLogins, cancelRecords context.CancelFunc
	d.logins, cancelLogins = context.WithCancel(life)
	d.records, cancelRecords = context.WithCancel(life)
	defer cancelLogins()
	defer cancelRecords()
	config.lone.dead.countDevice(d.origin.device, 1)
	defer config.lone.dead.countDevice(d.origin.device, -1)
	for d.handlePacket() {
	}
	d.wakeUpstream()
	close(d.ended)
	if d.left {
		d.abandon()
		defer time.AfterFunc(leaveGrace, cancelLogins).Stop()
	}
	defer time.AfterFunc(config.lone.timeout, cancelRecords).Stop()
	d.running.Wait()
	if d.upstream != nil {
		cancelRecords()
		<-d.upstream.ended
	}
	for _, c := range []*claim{d.bytes, d.unanswered, d.unread} {
		c.leave()
	}
	r.recorder.end(&d.recorded)
}

func newDevice(r *relayServer, config *relayConfig, c *inboundConn) *device {
	addr := c.addr.Addr()
	d := &device{relay: r, config: config, client: c, ended: make(chan struct{}), sessions: make(map[uint32]*relayedSession),
		bytes: r.bytes.claim(addr), unanswered: r.unanswered.claim(addr), unread: r.unread.claim(addr),
		origin: jobOrigin{addr.String(), proxyHeader{c.addr, addrPortOf(c.conn.LocalAddr())}}}
	d.space.L = &d.writing
	c.idle, c.readsOnly = relayIdle, true
	return d
}

// hasLeft reports whether the device has closed the connection.
func (d *device) hasLeft() bool { return tryReceive(d.ended) && d.left }

// abandon stops the search for a server that answers the device's logins and authorizations: it has gone. A record is
// still delivered.
func (d *device) abandon() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.sessions {
		if s.repeatable() {
			s.job.abandoned.Store(true)
		}
	}
}

// handlePacket reads one packet and hands it to its session. It reports whether the connection goes on. A packet that
// cannot be forwarded is answered as RFC 8907 requires.
func (d *device) handlePacket() bool {
	came := wholePacket(d.client.in) // with an earlier packet
	if !came {
		d.wakeUpstream()
		if d.waitForSpace(); !d.client.extendDeadline() {
			return false
		}
	}
	if _, err := d.client.in.Peek(1); err != nil {
		d.left = !errors.Is(err, os.ErrDeadlineExceeded)
		d.client.noteEnd(err, false)
		return false
	}
	h, packet, ok := d.client.receive()
	if !ok {
		return false
	}
	if !came {
		d.now = time.Now()
	}
	if wrong, then := d.client.checkHeader(&h); wrong != "" {
		d.refuse(h, then, wrong, "UNENCRYPTED flag")
		return d.client.survivesHeader(&h, then)
	}
	body := packet[headerLen:]
	if d.client.onPacket() {
		d.chooseKey(&h, body)
		d.client.single = h.flags&flagSingleConnect != 0 && !d.config.refuseSingle
	}
	if !d.client.cleartext {
		obfuscate(&h, d.client.key.value, body)
	}
	m := d.newMessage(&h)
	err := d.codec.decode(body, m)
	if d.client.dump != nil { // converting the address allocates
		d.client.dump.packet("received from", d.client.addr, &h, body, m, d.dialogueSecrets(h.sessionID)...)
	}
	if err != nil {
		d.endDialogue(&h, "malformed CONTINUE")
		d.refuse(h, rejectWithError, d.client.malformed(err), "malformed packet")
		return d.client.survives()
	}
	d.client.prove(&h, m)
	refused := ""
	if p := (devicePacket{header: h, message: m, at: d.now}); h.seqNo == 1 {
		refused = d.begin(p)
	} else {
		refused = d.resume(p)
	}
	if refused != "" {
		d.endDialogue(&h, refused)
		d.refuse(h, rejectWithError, refused, refused)
		return d.client.single
	}
	return true
}

// newMessage returns an empty message of the type of h: for a new session, in its memory.
func (d *device) newMessage(h *header) message {
	set := new(messageSet)
	if h.seqNo == 1 {
		if d.next == nil {
			d.next, _ = d.relay.sessions.Get().(*relayedSession)
		}
		if d.next == nil {
			d.next = new(relayedSession)
		}
		set = &d.next.messages
	}
	return set.of(h)
}

// begin starts a session, or returns why not.
func (d *device) begin(p devicePacket) (refused string) {
	s := d.next
	d.next = nil
	s.device, s.config, s.last, s.promptTime = d, d.relay.config.Load(), p, relayIdle
	d.client.initTracker(&s.tracker)
	s.tracker.serverKeys = s.config.kept.keys
	if refused = d.admit(s); refused != "" {
		return refused
	}
	s.tracker.packet(p.at, &p.header, p.message)
	s.job.request, s.job.owner, s.job.origin = s, s, d.origin
	if u := d.upstreamFor(s); u == nil || !s.submit(u) {
		d.running.Go(s.runAlone)
	}
	return ""
}

// admit adds a session to those under way, or returns why not.
func (d *device) admit(s *relayedSession) (refused string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.sessions[s.last.header.sessionID] != nil:
		return "the session_id is in use"
	case len(d.sessions) >= maxSessions:
		return "too many sessions"
	}
	if refused = s.reserve(max(s.last.size(), sessionSize)); refused == "" {
		d.sessions[s.last.header.sessionID] = s
	}
	return refused
}

// wakeUpstream has the upstream carry the sessions that were put into it.
func (d *device) wakeUpstream() {
	if u := d.waiting; u != nil {
		d.waiting = nil
		if p := u.pool.Load(); p == nil || u != d.upstream || !p.tryStart(d.records) {
			u.notify()
		}
	}
}

// resume hands a CONTINUE to the session that waits for it, or returns why there is none.
func (d *device) resume(p devicePacket) (refused string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.sessions[p.header.sessionID]
	switch {
	case s == nil || p.header.typ != typeAuthen:
		return "no such session"
	case p.header.seqNo != s.expected || p.header.version != s.tracker.version:
		return "unexpected seq_no or version"
	}
	if refused = s.reserve(p.size()); refused == "" {
		s.expected = 0
		s.answers <- p
	}
	return refused
}

// endDialogue ends the session that waits for a CONTINUE if h is one that was refused: the device gets an ERROR.
func (d *device) endDialogue(h *header, refused string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.sessions[h.sessionID]; h.seqNo != 1 && s != nil && s.expected != 0 {
		s.expected = 0
		s.answers <- devicePacket{refused: refused}
	}
}

// dialogueSecrets returns the secrets of the session that waits for a CONTINUE, if there is one with this session_id.
func (d *device) dialogueSecrets(id uint32) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.sessions[id]; s != nil {
		return s.known
	}
	return nil
}

// end forgets a session.
func (d *device) end(s *relayedSession) {
	d.mu.Lock()
	delete(d.sessions, s.tracker.id)
	size := s.size
	d.mu.Unlock()
	d.release(size)
}

// release releases the bytes of sessions that have ended. Without single-connection mode the connection ends with them (RFC
// 8907 section 4.3).
func (d *device) release(size int) {
	d.bytes.release(size)
	if !d.client.single {
		d.client.stopReading()
	}
}

// endLater forgets a session of a pool. finishBatch does the rest: now, or before the pool waits.
func (d *device) endLater(s *relayedSession, now bool) {
	d.mu.Lock()
	delete(d.sessions, s.tracker.id)
	d.batch = append(d.batch, s)
	d.mu.Unlock()
	if now {
		d.finishBatch()
	}
}

// finishBatch writes the lines of the sessions of pools that have ended, then the replies, so that lines have the order in
// which devices get their replies.
func (d *device) finishBatch() {
	d.mu.Lock()
	batch, size, batched := d.batch, 0, true
	d.batch = nil
	d.mu.Unlock()
	if len(batch) == 0 {
		return
	}
	for _, s := range batch {
		s.log()
		size, batched = size+s.size, batched && s.batched
		*s = relayedSession{messages: s.messages}
		d.relay.sessions.Put(s)
	}
	d.release(size)
	d.deliverSoon(batched)
	_ = d.client.log.flush() // in the background
	d.running.Add(-len(batch))
}

// chooseKey chooses the key that fits the first packet best.
func (d *device) chooseKey(h *header, body []byte) {
	if len(d.client.keys) < 2 {
		return
	}
	best := -1
	var test keyTest // keeps the cost of many keys and a large packet low
	for _, k := range d.client.keys {
		n := 0
		if test.mayFit(h, body, k.value) {
			n = d.fits(h, body, k)
		}
		if n > best {
			best, d.client.key = n, k
		}
	}
}

// fits returns how well a key fits a packet: 1 if the lengths do, 2 if the fields are plausible too.
func (d *device) fits(h *header, body []byte, k key) int {
	try, m := bytes.Clone(body), newMessage(h)
	obfuscate(h, k.value, try)
	switch {
	case d.codec.decode(try, m) != nil:
		return 0
	case !plausible(m):
		return 1
	}
	return 2
}
