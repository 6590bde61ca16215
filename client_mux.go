package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A mux is one connection with many sessions at a time, of one exchange each, known by their session_id; replies come in
// any order. One goroutine drives it, and writes what is queued whenever there is nothing left to read, so that many
// packets share a system call. RFC 8907 section 4.3.
type mux struct {
	conn       *serverConn
	in         *bufio.Reader
	out        []byte
	beforeWait func()
	wakeup     *wakeup     // ends a wait; nil for none
	state      *sync.Mutex // of its pool; nil for none
	warnf      warnFunc

	inFlight queue[job] // in the order of their start, which is that of their deadlines
	byID     map[uint32]*job
	dead     error  // why the connection is over
	stray    header // of the last reply that no session waited for

	// unanswered is how many bytes of requests have no reply yet. They must fit the socket buffers, or both sides
	// could wait in a write and neither read.
	unanswered int
	writes     int       // that reached the connection
	limit      time.Time // the read deadline
	limitSet   bool      // it is set: no wakeup has set another one
	now        time.Time // when bytes came last, or a wait ended
	codec      codec
	random     *bufio.Reader // for session ids
}

// A wakeup ends the wait of a pool, which may be for bytes on a connection.
type wakeup struct {
	ch   chan struct{}
	conn atomic.Pointer[serverConn] // that the pool waits for; nil for none
}

// notify ends the wait, or the next one.
func (w *wakeup) notify() {
	select {
	case w.ch <- struct{}{}:
		if conn := w.conn.Load(); conn != nil {
			_ = conn.conn.SetReadDeadline(time.Unix(1, 0))
		}
	default:
	}
}

// waitFor has notify end a wait for bytes on conn; nil for none.
func (w *wakeup) waitFor(conn *serverConn) {
	if w != nil && w.conn.Load() != conn { // storing costs more
		w.conn.Store(conn)
	}
}

// received reports whether notify was called.
func (w *wakeup) received() bool { return w != nil && tryReceive(w.ch) }

const (
	muxBuffer     = 8 << 10  // bytes that are read at a time, until a reply is larger
	maxUnanswered = 64 << 10 // bytes
	// grace is what a session gets after its deadline, for a reply that arrived while this program was busy;
	// maxGrace is the limit while other replies keep coming.
	grace    = 5 * time.Millisecond
	maxGrace = 500 * time.Millisecond
)

func newMux(conn *serverConn, wakeup *wakeup, beforeWait func(), warnf warnFunc) *mux {
	return &mux{conn: conn, in: bufio.NewReaderSize(conn.conn, muxBuffer), wakeup: wakeup, beforeWait: beforeWait, warnf: warnf,
		byID: make(map[uint32]*job), random: bufio.NewReaderSize(rand.Reader, 1024)}
}

// hasRoom reports whether another session may start: the second one not before the first reply, and only if the server
// agreed (section 4.3).
func (m *mux) hasRoom() bool {
	switch {
	case m.conn.noNewSessions:
		return false
	case m.conn.answered == 0:
		return len(m.byID) == 0
	}
	return m.conn.established && m.unanswered < maxUnanswered
}

// add queues the one packet of a session. An error is the request's own.
func (m *mux) add(j *job) error {
	s := &j.session
	s.start(m.conn, j.request, m.newID())
	first, err := j.request.firstMessage(m.conn.remAddr)
	if err != nil {
		return err
	}
	if m.out, err = s.encodePacket(m.out, &m.codec, first); err != nil {
		return err
	}
	n := headerLen + int(s.sent.length)
	s.timing.sent += n
	m.unanswered += n
	j.writesBefore = m.writes
	m.inFlight.push(&j.place, j)
	m.byID[s.sent.sessionID] = j
	if len(m.out) >= flushAt {
		m.flush()
	}
	return nil
}

// newID returns a session_id that no session under way has.
func (m *mux) newID() uint32 {
	for {
		b, _ := m.random.Peek(4) // never fails
		id := binary.BigEndian.Uint32(b)
		if _, _ = m.random.Discard(4); m.byID[id] == nil {
			return id
		}
	}
}

// wait returns a job whose session has ended, or nil at the time until, after a wakeup, or when the connection ends without
// a session.
func (m *mux) wait(ctx context.Context, until time.Time) *job {
	for m.dead == nil {
		if !wholePacket(m.in) {
			m.beforeWait()
			m.now = time.Now()
			if !m.setDeadline(until) {
				return m.abandonFirst(os.ErrDeadlineExceeded)
			}
			m.wakeup.waitFor(m.conn)
			// These may have come before the deadline was set.
			if m.wakeup.received() {
				return nil
			}
			if ctx.Err() != nil {
				return m.abandonFirst(errInterrupted)
			}
			m.flush()
		}
		j, err := m.read()
		if j != nil {
			return j
		}
		m.now = time.Now()
		switch {
		case err == nil: // a reply that no session waits for
		case !errors.Is(err, os.ErrDeadlineExceeded):
			m.dead, m.conn.noNewSessions = err, true
		case m.limit.IsZero(), m.now.Before(m.limit): // a wakeup, or ctx has ended
			m.limitSet = false
		case !until.IsZero() && !m.now.Before(until):
			return nil
		case m.limit.After(m.inFlight.first().session.deadline): // the grace is over too
			return m.abandonFirst(err)
		}
	}
	return m.abandonFirst(m.dead)
}

// abandonFirst abandons the oldest session, if there is one.
func (m *mux) abandonFirst(err error) *job {
	if j := m.inFlight.first(); j != nil {
		return m.abandon(j, err)
	}
	return nil
}

// setDeadline sets how long the next read waits: until the deadline of the oldest session, or a grace from now if that is
// over, or the time until. It returns false if the last grace is over too.
func (m *mux) setDeadline(until time.Time) bool {
	var limit time.Time
	if j := m.inFlight.first(); j != nil {
		limit = j.session.deadline
	}
	if !limit.IsZero() && !m.now.Before(limit) {
		if m.now.Sub(limit) > maxGrace {
			return false
		}
		limit = m.now.Add(grace)
	}
	if !until.IsZero() && (limit.IsZero() || until.Before(limit)) {
		limit = until
	}
	if !m.limitSet || !limit.Equal(m.limit) {
		m.limit, m.limitSet = limit, true
		_ = m.conn.conn.SetReadDeadline(limit)
	}
	return true
}

// flush writes the queued packets. After an error, what the server sent before is still read.
func (m *mux) flush() {
	if len(m.out) == 0 {
		return
	}
	_ = m.conn.conn.SetWriteDeadline(time.Now().Add(m.conn.client.timeout))
	n, err := m.conn.conn.Write(m.out)
	if m.out = m.out[:0]; n > 0 {
		m.writes++
	}
	m.conn.noNewSessions = m.conn.noNewSessions || err != nil
}

// peek returns the next n bytes. While it waits for them, others can hold the state.
func (m *mux) peek(n int) ([]byte, error) {
	waits := m.state != nil && m.in.Buffered() < n
	if waits {
		m.state.Unlock()
	}
	b, err := m.in.Peek(n)
	if waits {
		m.state.Lock()
	}
	return b, err
}

// read decodes one packet into its session, and returns the job that it ends. It consumes bytes only if the packet is
// whole.
func (m *mux) read() (*job, error) {
	before := m.in.Buffered()
	b, err := m.peek(headerLen)
	if bad := m.conn.notTACACS(b); bad != nil {
		return nil, bad
	}
	if err != nil {
		return nil, err
	}
	h := parseHeader(b)
	if err := m.conn.checkHeader(&h); err != nil {
		if j := m.inFlight.first(); j != nil {
			j.session.timing.received += len(b)
		}
		return nil, err
	}
	if n := headerLen + int(h.length); n > m.in.Size() {
		m.in = bufio.NewReaderSize(m.in, 2*(headerLen+maxBody))
	}
	if b, err = m.peek(headerLen + int(h.length)); err != nil {
		return nil, err
	}
	defer m.in.Discard(len(b))
	if m.in.Buffered() != before {
		m.now = time.Now()
	}
	j := m.byID[h.sessionID]
	if j == nil {
		m.stray = h
		return nil, nil // no session waits for it: it must be ignored
	}
	m.remove(j)
	j.session.onReply(m.now)
	j.session.timing.received += len(b)
	if err = j.session.checkReplyHeader(&h); err == nil {
		err = j.session.decodePacket(&h, b[headerLen:], &m.codec, j.request.reply())
	}
	if err != nil {
		m.conn.noNewSessions = true // the active sessions may end (section 4.4)
	} else {
		r := j.request.on(m.conn.server.name) // never a prompt, which needs a second exchange
		if err = j.apply(r, m.warnf); r.abort != nil {
			m.out, _ = j.session.encodePacket(m.out, &m.codec, r.abort)
			m.flush()
		}
	}
	j.err = err
	return j, nil
}

// abandon removes a session that got no reply: the connection ended with err, or its time is over.
func (m *mux) abandon(j *job, err error) *job {
	m.remove(j)
	j.session.written = m.writes > j.writesBefore // perhaps in part
	var explained *failure
	known := errors.As(err, &explained)
	switch j.err = err; {
	case !known && m.conn.answered == 0 && m.stray.typ != 0:
		j.session.onReply(m.now)
		j.err = j.session.checkReplyHeader(&m.stray) // with the wrong session_id
	case !known:
		part := choose(m.conn.answered == 0, m.in.Buffered(), 0) // of its reply
		j.err = j.session.ioFailure("read the reply of", part, err)
	case !j.session.written && outcomeOf(err) == outcomeUnreadable:
		j.err = &attemptError{explained, outcomeNotSent}
	}
	return j
}

func (m *mux) remove(j *job) {
	m.inFlight.remove(&j.place)
	delete(m.byID, j.session.sent.sessionID)
	m.unanswered -= headerLen + int(j.session.sent.length)
}
