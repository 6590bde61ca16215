package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"os"
	"time"
)

// A mux is one connection with many sessions at once, of one exchange each, known by their
// session_id; replies come in any order. One goroutine drives it, which writes what is queued
// whenever there is nothing left to read, so that many packets share a system call. RFC 8907
// section 4.3.
type mux struct {
	conn       *serverConn
	in         *bufio.Reader
	out        []byte
	beforeWait func()          // called before a wait
	wakeup     <-chan struct{} // asks for an end of the wait

	inFlight queue[job] // under way, in the order of their start, which is that of their deadlines
	byID     map[uint32]*job
	dead     error // why the connection is over

	// unanswered is how many bytes of requests have no reply yet. They must fit the buffers of
	// the two systems, or both sides could end up writing and none reading.
	unanswered int
	writes     int       // that reached the connection
	limit      time.Time // the read deadline that is set
	codec      codec
	random     *bufio.Reader // session ids: many are asked for at a time
}

const (
	maxUnanswered = 64 << 10 // bytes
	// grace is what a session gets after its time, for a reply that has arrived while this program
	// was busy elsewhere; maxGrace, while other replies keep coming.
	grace    = 5 * time.Millisecond
	maxGrace = 500 * time.Millisecond
)

func newMux(l *serverConn, rung <-chan struct{}, idle func()) *mux {
	return &mux{conn: l, in: bufio.NewReaderSize(l.conn, 2*(headerLen+maxBody)), wakeup: rung, beforeWait: idle,
		byID: make(map[uint32]*job), random: bufio.NewReaderSize(rand.Reader, 1024)}
}

// room says whether another session may start: a second one not before the first reply, and
// only where the server agreed (section 4.3).
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
	first, err := j.request.firstMessage(m.conn.localAddr)
	if err == nil {
		m.out, err = s.encodePacket(m.out, &m.codec, first)
	}
	if err != nil {
		return err
	}
	n := headerLen + int(s.sent.length)
	s.timing.sent += n
	m.unanswered += n
	j.writesBefore = m.writes
	m.inFlight.push(&j.place, j)
	m.byID[s.sent.sessionID] = j
	return nil
}

// newID is a session_id that no session under way has.
func (m *mux) newID() uint32 {
	for {
		b, _ := m.random.Peek(4) // never fails
		id := binary.BigEndian.Uint32(b)
		if _, _ = m.random.Discard(4); m.byID[id] == nil {
			return id
		}
	}
}

// wait returns a session that has ended, or nil when until has come or somebody rang. There must be
// one under way.
func (m *mux) wait(ctx context.Context, until time.Time) *job {
	for m.dead == nil {
		if len(m.out) >= flushAt {
			m.flush()
		}
		if !wholePacket(m.in) {
			m.beforeWait()
			if !m.setDeadline(time.Now(), until) {
				return m.abandon(m.inFlight.first(), os.ErrDeadlineExceeded)
			}
			// These may have come before the deadline was set.
			select {
			case <-m.wakeup:
				return nil
			default:
			}
			if ctx.Err() != nil {
				return m.abandon(m.inFlight.first(), errInterrupted)
			}
			m.flush()
		}
		j, err := m.read(ctx)
		if j != nil {
			return j
		}
		switch now := time.Now(); {
		case err == nil: // a reply for nobody
		case !errors.Is(err, os.ErrDeadlineExceeded):
			m.dead, m.conn.noNewSessions = err, true
		case now.Before(m.limit): // somebody rang, or ctx has ended
			m.limit = time.Time{}
		case !until.IsZero() && !now.Before(until):
			return nil
		case m.limit.After(m.inFlight.first().session.deadline): // the grace is over too
			return m.abandon(m.inFlight.first(), err)
		}
	}
	if m.inFlight.first() == nil {
		return nil
	}
	return m.abandon(m.inFlight.first(), m.dead)
}

// hold sets how long the next read waits: until the oldest session's time is over, and a grace
// longer where it is over already, or until. False is an end to all grace.
func (m *mux) setDeadline(now, until time.Time) bool {
	limit := m.inFlight.first().session.deadline
	if !now.Before(limit) {
		if now.Sub(limit) > maxGrace {
			return false
		}
		limit = now.Add(grace)
	}
	if !until.IsZero() && until.Before(limit) {
		limit = until
	}
	if !limit.Equal(m.limit) {
		m.limit = limit
		_ = m.conn.conn.SetReadDeadline(limit)
	}
	return true
}

// flush writes what is queued. An error ends the connection only when everything that the
// server has sent before was read.
func (m *mux) flush() {
	if len(m.out) == 0 {
		return
	}
	_ = m.conn.conn.SetWriteDeadline(time.Now().Add(m.conn.timeout))
	n, err := m.conn.conn.Write(m.out)
	if m.out = m.out[:0]; n > 0 {
		m.writes++
	}
	m.conn.noNewSessions = m.conn.noNewSessions || err != nil
}

// read takes one packet and gives it to its session; the job is returned, which has ended so.
// Bytes are taken from the reader only when the packet is whole.
func (m *mux) read(ctx context.Context) (*job, error) {
	b, err := m.in.Peek(headerLen)
	if bad := m.conn.notTACACS(b); bad != nil {
		return nil, bad
	}
	if err != nil {
		return nil, err
	}
	h := parseHeader(b)
	if err := m.conn.checkHeader(&h); err != nil {
		return nil, err // which ends all that is under way
	}
	if b, err = m.in.Peek(headerLen + int(h.length)); err != nil {
		return nil, err
	}
	defer m.in.Discard(len(b))
	j := m.byID[h.sessionID]
	if j == nil {
		return nil, nil // for nobody, or a second one: nothing to believe in it
	}
	m.remove(j)
	j.session.timing.received += len(b)
	if err = j.session.checkReplyHeader(&h); err == nil {
		err = j.session.decodePacket(&h, b[headerLen:], &m.codec, j.request.reply())
	}
	if err != nil {
		m.conn.noNewSessions = true // section 4.4: no new session, the active ones end
	} else {
		var last message
		if last, err = j.request.next(ctx, &j.session, &j.res); last != nil { // a farewell: a second exchange has no place here
			m.out, _ = j.session.encodePacket(m.out, &m.codec, last)
			m.flush()
		}
	}
	j.err = err
	return j, nil
}

// end takes out a session that got no reply, since the connection came to err or its time is over.
func (m *mux) abandon(j *job, err error) *job {
	m.remove(j)
	j.session.written = m.writes > j.writesBefore // perhaps in part
	var explained *failure
	if j.err = err; !errors.As(err, &explained) {
		j.err = j.session.ioFailure("read the reply of", 0, err)
	}
	return j
}

// remove takes a session off the mux.
func (m *mux) remove(j *job) {
	m.inFlight.remove(&j.place)
	delete(m.byID, j.session.sent.sessionID)
	m.unanswered -= headerLen + int(j.session.sent.length)
}
