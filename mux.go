package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// A mux is one connection with many sessions at once, each known by its session_id; replies
// come in any order. One goroutine drives it: it writes what is queued whenever nothing is left
// to be read, so that many packets share a system call. RFC 8907 section 4.3.
type mux struct {
	link    *link
	conn    net.Conn // that of link, also after it was closed
	in      *bufio.Reader
	out     []byte
	codec   codec
	flights map[uint32]*job
	ended   int       // sessions that were answered
	last    time.Time // when the last one was
	random  [1024]byte
	ids     []byte    // what is left of random, for session ids
	expires time.Time // no session does before
	limit   time.Time // the read deadline that is set
	closing bool      // no new sessions
	// unanswered is how many octets of requests have no answer yet. They must fit the buffers of
	// the two systems, or both sides could end up writing and none reading.
	unanswered int
	dead       error // why the connection is over
	blamed     bool  // its end was counted
	late       int   // looks at the socket since a session's time was over, unless its answer is here already
	poked      atomic.Bool
	idle       func() // called before a wait
}

// grace is for what the socket holds already, when this program itself was too slow to look.
const (
	grace   = 5 * time.Millisecond
	maxLate = 100 // waits of that length, while other answers keep coming
)

// flushAt octets are not held back, even while there is more to be read: the server has something
// to do meanwhile.
const flushAt = 1024

func newMux(l *link) *mux {
	return &mux{link: l, conn: l.conn, in: bufio.NewReaderSize(l.conn, 2*(headerLen+maxBody)), flights: make(map[uint32]*job)}
}

func (m *mux) close() { m.link.close() }

const maxUnanswered = 64 << 10

// stale says that the server closed the connection while it was not in use.
func (m *mux) stale() bool {
	if len(m.flights) > 0 || !m.link.answered || time.Since(m.last) < idleAfter {
		return false
	}
	m.limit = time.Time{}
	return !quiet(m.conn)
}

// room says whether another session may start: a second one not before the first reply, and
// only where the server agreed (section 4.3).
func (m *mux) room() bool {
	if m.closing || m.dead != nil {
		return false
	}
	if !m.link.answered {
		return len(m.flights) == 0
	}
	return m.link.established && m.unanswered < maxUnanswered
}

// start queues the first packet of a session.
func (m *mux) start(j *job, now time.Time) error {
	if len(m.ids) < 4 {
		m.ids = m.random[:]
		rand.Read(m.ids) // never fails
	}
	id := binary.BigEndian.Uint32(m.ids)
	m.ids = m.ids[4:]
	if m.flights[id] != nil {
		id++
	}
	j.timing = timing{start: now}
	j.res.begin(m.link.name, &j.timing)
	j.res.Local, j.res.TLS = m.link.local, m.link.facts
	j.session = session{link: m.link}
	j.session.sent.sessionID = id
	j.request.reset()
	m.link.prepare(&j.session, j.request)
	first, err := j.request.open(m.link.from)
	if err == nil {
		m.out, err = j.session.seal(m.out, &m.codec, first)
	}
	if err != nil {
		return err
	}
	j.timing.sent += headerLen + int(j.session.sent.length)
	m.unanswered += j.timing.sent
	m.flights[id] = j
	j.expires = now.Add(m.link.timeout)
	if m.expires.IsZero() {
		m.expires = j.expires
	}
	return nil
}

// interrupt makes wait return, from another goroutine.
func (m *mux) interrupt() {
	m.poked.Store(true)
	_ = m.conn.SetReadDeadline(time.Unix(1, 0))
}

// wait returns a session that has ended, or nil when until has come or it was interrupted.
func (m *mux) wait(ctx context.Context, until time.Time) *job {
	for m.dead == nil {
		if len(m.out) >= flushAt {
			m.flush()
		}
		if !wholePacket(m.in) {
			m.flush()
			m.idle()
			limit := m.expires
			if !until.IsZero() && until.Before(limit) {
				limit = until
			}
			if m.late > 0 && m.late <= maxLate {
				m.late++
				limit = time.Now().Add(grace)
			}
			if !limit.Equal(m.limit) {
				m.limit = limit
				_ = m.conn.SetReadDeadline(limit)
			}
			// Either of these may have come before the deadline was set.
			if ctx.Err() != nil {
				return m.expired(ctx)
			}
			if m.poked.Swap(false) {
				m.limit = time.Time{}
				return nil
			}
		}
		j, err := m.read(ctx)
		if j != nil {
			return j
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			m.limit = time.Time{} // whoever set it
			now := time.Now()
			if !until.IsZero() && !now.Before(until) {
				return nil
			}
			if m.late == 0 && !now.Before(m.expires) && ctx.Err() == nil {
				m.late = 1 // or was it this program that did not look in time?
				continue
			}
			m.late = 0
			if j := m.expired(ctx); j != nil || until.IsZero() {
				return j
			}
		} else if err != nil {
			m.dead = err
		}
	}
	for _, j := range m.flights {
		m.remove(j)
		m.closing = true
		var f *failure
		if j.err = m.dead; !errors.As(m.dead, &f) {
			j.err = j.session.ioFailure("read the reply of", 0, m.dead)
		}
		return j
	}
	return nil
}

// wholePacket says whether the next packet can be taken from in without waiting for it.
func wholePacket(in *bufio.Reader) bool {
	if in.Buffered() < headerLen {
		return false
	}
	b, _ := in.Peek(headerLen)
	h := parseHeader(b)
	return h.length > maxBody || in.Buffered() >= headerLen+int(h.length)
}

// flush writes what is queued. An error ends the connection only when everything that the
// server has sent before was read.
func (m *mux) flush() {
	if len(m.out) == 0 {
		return
	}
	_ = m.conn.SetWriteDeadline(time.Now().Add(m.link.timeout))
	n, err := m.conn.Write(m.out)
	m.out = m.out[:0]
	for _, j := range m.flights {
		j.session.written = j.session.written || n > 0 // of some of them, perhaps
	}
	m.closing = m.closing || err != nil
}

// read takes one packet and gives it to its session; the job is returned where that has ended.
// Octets are taken from the reader only when the packet is whole.
func (m *mux) read(ctx context.Context) (*job, error) {
	b, err := m.in.Peek(headerLen)
	if err != nil {
		return nil, err
	}
	h := parseHeader(b)
	j := m.flights[h.sessionID]
	if err := m.link.notTACACS(b[0]); err != nil {
		return nil, err
	}
	if h.length > maxBody {
		return nil, m.link.tooLong(&h)
	}
	if b, err = m.in.Peek(headerLen + int(h.length)); err != nil {
		return nil, err
	}
	defer m.in.Discard(len(b))
	if j == nil {
		return nil, nil // an answer to nobody, or a second one: nothing to believe in it
	}
	j.timing.received += len(b)
	if j.err = j.session.verify(&h); j.err == nil {
		j.err = j.session.unseal(&h, b[headerLen:], &m.codec, j.request.answer())
	}
	if j.err != nil {
		m.closing = true // section 4.4: no new session, the active ones end
	} else {
		var next layouter
		if next, j.err = j.request.next(ctx, m.link, &j.res); j.err == nil && next != nil {
			m.out, j.err = j.session.seal(m.out, &m.codec, next)
			if j.err == nil {
				return nil, nil
			}
		}
	}
	m.remove(j)
	m.ended++
	return j, nil
}

// remove takes a session off the mux.
func (m *mux) remove(j *job) {
	delete(m.flights, j.session.sent.sessionID)
	m.unanswered -= j.timing.sent
	if len(m.flights) == 0 {
		m.expires = time.Time{}
	}
}

// expired takes out a session whose time is over, or any one where ctx has ended.
func (m *mux) expired(ctx context.Context) *job {
	now := time.Now()
	if ctx.Err() == nil && now.Before(m.expires) {
		return nil
	}
	m.expires = time.Time{}
	var over *job
	for _, j := range m.flights {
		switch {
		case over == nil && (ctx.Err() != nil || !now.Before(j.expires)):
			over = j
		case m.expires.IsZero() || j.expires.Before(m.expires):
			m.expires = j.expires
		}
	}
	if over == nil {
		return nil
	}
	m.remove(over)
	if over.err = failf(classInterrupted, "interrupted"); ctx.Err() == nil {
		over.err = over.session.ioFailure("read the reply of", 0, os.ErrDeadlineExceeded)
		over.swallowed = true
	}
	return over
}
