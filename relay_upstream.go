package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// An upstream carries sessions of a device over one connection to a server: all sessions of the device's own
// connection or, with --single-connect, a single dialogue.
type upstream struct {
	device   *device
	lone     bool // a single dialogue: the upstream ends with it
	single   bool // with lone: single-connection mode on the device's side
	outbound *serverConn
	session  *session // for errors of the connection
	server   netip.AddrPort
	opened   atomic.Bool // the server has answered
	first    headerFlags // of its first reply

	// Each direction has its own goroutine.
	toServer, toDevice []byte
	asked, replied     time.Time     // when the first of these packets came
	named              bool          // the last packet to the server has the user name, and no secret
	in                 *bufio.Reader // from the server
	replies            messageSet
	back               codec

	mu       sync.Mutex
	sessions map[uint32]*relayedSession
	awaited  int       // replies
	ending   bool      // the device sends no more
	moved    time.Time // when the deadlines were set last
}

// A relayedSession is a session under way.
type relayedSession struct {
	tracker sessionTracker
	typ     packetType
	size    int  // bytes that are kept for it
	awaits  bool // the server's reply
}

func (d *device) newUpstream() *upstream {
	return &upstream{device: d, sessions: make(map[uint32]*relayedSession)}
}

// serveDirect connects the device to a server of its own. The reply to the first packet decides whether that server
// is used; then packets are forwarded in both directions.
func (d *device) serveDirect(ctx context.Context) {
	h, m, packet, ok := d.readPacket(nil)
	if !ok {
		return
	}
	p := d.newUpstream()
	if p.onRequest(&h, m, len(packet)) && p.open(ctx, &h, m, packet) {
		if p.flush() == nil && p.staysOpen(&h) {
			var up sync.WaitGroup
			up.Go(p.up)
			p.down()
			d.client.conn.Close() // ends up
			p.outbound.close()
			up.Wait()
		} else {
			p.outbound.close()
		}
	}
	p.end()
}

// staysOpen reports whether the connection goes on after the first reply: the session does, or it is in
// single-connection mode. If neither, both sides are to close it (RFC 8907 section 4.3), and some wait for the other
// to do so.
func (p *upstream) staysOpen(h *header) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.sessions) > 0 || h.flags&p.first&flagSingleConnect != 0
}

// open finds a server that answers the first packet, with the retries of a client. A record that was sent is not sent
// again.
func (p *upstream) open(ctx context.Context, h *header, m message, packet []byte) bool {
	c := p.device.relay.client
	warnf := func(_ warning, format string, args ...any) { p.device.client.note(fmt.Sprintf(format, args...)) }
	f := &relayRequest{head: *h, message: m}
	j := &f.job
	j.request = f
	p.session = &j.session
	for {
		c.begin(j, time.Now())
		if j.err = p.attempt(ctx, c, j, h, m, packet); j.err == nil {
			p.opened.Store(true)
			return true
		}
		if p.outbound != nil {
			p.outbound.close()
		}
		if h.typ == typeAcct && j.session.written || !c.recordOutcome(ctx, j, warnf) {
			break
		}
	}
	if !errors.Is(j.err, errNoKey) {
		p.device.client.note(j.err.Error())
	}
	return false
}

// attempt sends the first packet to a server and reads the reply.
func (p *upstream) attempt(ctx context.Context, c *client, j *job, h *header, m message, packet []byte) error {
	l, err := c.dial(ctx, j)
	if err != nil {
		return err
	}
	p.outbound, p.server = l, addrPortOf(l.conn.RemoteAddr())
	p.in = bufio.NewReaderSize(l.conn, relayBuffer)
	j.session.start(l, j.request, h.sessionID)
	p.toServer = append(p.toServer[:0], packet...)
	p.sendOn(*h, m, p.toServer)
	n, err := l.conn.Write(p.toServer)
	p.toServer, j.session.written = p.toServer[:0], n > 0
	if err != nil {
		return j.session.ioFailure("send to", 0, err)
	}
	return p.answer()
}

// sendOn changes a packet of the device, with the body in clear, into one for the server.
func (p *upstream) sendOn(h header, m message, packet []byte) {
	body := packet[headerLen:]
	p.device.relay.recorder.packet(&p.device.recorded, p.device.client.addr, p.server, true, &h, body, m, p.named)
	h.flags &^= flagUnencrypted
	if p.outbound.client.cleartext {
		h.flags |= flagUnencrypted
	} else {
		obfuscate(&h, p.outbound.client.keys[0].value, body)
	}
	if p.lone {
		h.flags &^= flagSingleConnect
	}
	packet[atFlags] = byte(h.flags)
}

// up forwards the device's packets to the server. Packets that come together are written together.
func (p *upstream) up() {
	defer p.stopAfterReplies()
	for more := true; more; {
		more = p.upOne()
		if len(p.toServer) > 0 && (!more || len(p.toServer) >= flushAt || !wholePacket(p.device.client.in)) {
			if _, err := p.outbound.conn.Write(p.toServer); err != nil {
				return
			}
			p.toServer = nil
		}
	}
}

// upOne forwards one packet and reports whether the connection goes on.
func (p *upstream) upOne() bool {
	start := len(p.toServer)
	h, m, packets, ok := p.device.readPacket(p.toServer)
	if !ok {
		return false
	}
	if !p.onRequest(&h, m, len(packets)-start) {
		return false
	}
	p.toServer = packets
	p.sendOn(h, m, packets[start:])
	return true
}

// down forwards the server's packets to the device.
func (p *upstream) down() {
	for {
		if len(p.toDevice) >= flushAt || !wholePacket(p.in) {
			if p.flush() != nil || p.over() {
				return
			}
		}
		if err := p.answer(); err != nil {
			if p.flush(); !errors.Is(err, errNoKey) && classOf(err) == classProtocol {
				p.device.client.note(err.Error())
			}
			return
		}
	}
}

// flush writes the packets for the device, then the log.
func (p *upstream) flush() error {
	_, err := p.device.client.conn.Write(p.toDevice)
	p.toDevice = nil
	p.device.client.log.flush()
	return err
}

// over reports whether the device waits for no more packets.
func (p *upstream) over() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ending && p.awaited == 0 || p.lone && len(p.sessions) == 0
}

// errNoKey is a reply that does not fit the servers' key; the line of the session reports it.
var errNoKey = &attemptError{failf(classProtocol, "a reply does not fit the key"), outcomeDecided}

// answer forwards one packet of the server. A packet that does not fit the key is an error.
func (p *upstream) answer() error {
	head, err := p.in.Peek(headerLen)
	if bad := p.outbound.notTACACS(head); bad != nil {
		return bad
	}
	if err != nil {
		return p.session.ioFailure("read the reply of", len(head), err)
	}
	h := parseHeader(head)
	if err := p.outbound.checkHeader(&h); err != nil {
		return err
	}
	if !p.opened.Load() {
		p.first = h.flags
	}
	packets, n, err := appendNext(p.toDevice, p.in, &h)
	if err != nil {
		return p.session.ioFailure("read the reply of", n, err)
	}
	packet := packets[len(p.toDevice):]
	secrets, belongs := p.belongs(&h)
	m, err := p.read(&h, packet[headerLen:], belongs, secrets)
	if err != nil {
		p.onReply(&h, nil, asFailure(p.session.unreadable(&h, packet[headerLen:], m)).hint)
		return errNoKey
	}
	p.device.relay.recorder.packet(&p.device.recorded, p.device.client.addr, p.server, false, &h, packet[headerLen:], m, false, secrets...)
	if belongs {
		p.outbound.proveKey()
		p.onReply(&h, m, "")
	}
	h.flags = p.device.flags(h.flags)
	if p.lone {
		if h.flags &^= flagSingleConnect; p.single {
			h.flags |= flagSingleConnect
		}
	}
	packet[atFlags] = byte(h.flags)
	p.device.obfuscate(&h, packet[headerLen:])
	p.toDevice = packets
	return nil
}

// belongs reports whether a packet of the server is the next one of a session. Others are forwarded as they are, for
// the device to judge: they cannot be decoded for certain, since the pad depends on the header. secrets are those of
// the session with that session_id.
func (p *upstream) belongs(h *header) (secrets []string, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.sessions[h.sessionID]; s != nil {
		secrets = s.tracker.secrets
	}
	return secrets, p.awaiting(h) != nil
}

// awaiting returns the session that waits for the reply h, or nil.
func (p *upstream) awaiting(h *header) *relayedSession {
	if s := p.sessions[h.sessionID]; s != nil && s.awaits && h.typ == s.typ && h.seqNo == s.tracker.seqNo+1 {
		return s
	}
	return nil
}

// read undoes the obfuscation of a server's body and decodes it, if it belongs to a session.
func (p *upstream) read(h *header, body []byte, belongs bool, secrets []string) (m message, err error) {
	if !p.outbound.client.cleartext {
		obfuscate(h, p.outbound.client.keys[0].value, body)
	}
	if h.length > 0 && belongs {
		m = p.replies.of(h)
		err = p.back.decode(body, m)
	}
	if p.device.client.dump != nil {
		p.device.client.dump.packet("received from", p.server, h, body, m, secrets...)
	}
	return m, err
}

// onRequest notes a packet of the device of size bytes. It reports false if there are too many sessions, after an
// ERROR to the device.
func (p *upstream) onRequest(h *header, m message, size int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.touch(&p.asked, p.toServer)
	s := p.sessions[h.sessionID]
	if h.seqNo == 1 {
		if s != nil { // the session_id is used again
			s.tracker.close()
			p.finish(s)
		}
		if len(p.sessions) == maxDialogues || p.device.relay.underWay.Load() > maxUnderWay {
			p.device.refuse(*h, rejectWithError, "too many sessions", "too many sessions")
			return false
		}
		s = p.begin(h, size)
	}
	if p.named = s != nil && s.tracker.prompt == authenGetUser && h.seqNo == s.tracker.seqNo+1; s == nil {
		return true // of an unknown session; the server may know it
	}
	switch over := s.tracker.packet(now, h, m); {
	case over:
		p.finish(s)
	case !s.awaits:
		s.awaits = true
		p.awaited++
	}
	return true
}

// begin starts to track a session.
func (p *upstream) begin(h *header, size int) *relayedSession {
	s := &relayedSession{typ: h.typ, size: size, tracker: p.device.client.newTracker(p.device.key)}
	p.sessions[h.sessionID] = s
	p.device.relay.underWay.Add(int64(size))
	return s
}

// onReply notes a packet of the server that belongs to a session: its message m, or why it does not fit the key.
func (p *upstream) onReply(h *header, m message, noKey string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.touch(&p.replied, p.toDevice)
	s := p.awaiting(h)
	if s == nil {
		return // the device has ended it already
	}
	s.awaits = false
	p.awaited--
	over := s.tracker.packet(now, h, m)
	if noKey != "" {
		s.tracker.status, s.tracker.serverMsg, over = statusNoKey, noKey, true
	}
	if over {
		p.finish(s)
	}
}

// finish forgets a session and logs it.
func (p *upstream) finish(s *relayedSession) {
	if s.awaits {
		p.awaited--
	}
	s.tracker.server = p.server
	p.device.client.log.write(&s.tracker.sessionRecord)
	delete(p.sessions, s.tracker.id)
	p.device.relay.underWay.Add(-int64(s.size))
}

// touch returns the time of a packet: that of the first of the packets that are gathered. It moves the deadlines of
// both sides, at most once a second.
func (p *upstream) touch(came *time.Time, gathered []byte) time.Time {
	if len(gathered) == 0 {
		*came = time.Now()
	}
	now := *came
	if p.outbound == nil || p.ending || now.Sub(p.moved) < time.Second {
		return now
	}
	p.moved = now
	_ = p.outbound.conn.SetDeadline(now.Add(relayIdle))
	p.device.client.setDeadline(now.Add(relayIdle))
	return now
}

// stopAfterReplies ends the upstream after the replies under way.
func (p *upstream) stopAfterReplies() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ending = true
	limit := time.Unix(1, 0)
	if p.awaited > 0 {
		limit = time.Now().Add(p.device.relay.client.timeout)
	}
	_ = p.outbound.conn.SetReadDeadline(limit)
}

// end logs the sessions that did not come to their end.
func (p *upstream) end() (unfinished int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	unfinished = len(p.sessions)
	for _, s := range p.sessions {
		s.tracker.close()
		p.finish(s)
	}
	return unfinished
}
