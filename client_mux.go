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
	link *link
	in   *bufio.Reader
	out  []byte
	idle func()          // called before a wait
	rung <-chan struct{} // asks for an end of the wait

	flights jobList // under way, in the order of their start, which is that of their deadlines
	byID    map[uint32]*job
	dead    error // why the connection is over

	// unanswered is how many octets of requests have no reply yet. They must fit the buffers of
	// the two systems, or both sides could end up writing and none reading.
	unanswered int
	writes     int       // that reached the connection
	limit      time.Time // the read deadline that is set
	codec      codec
	random     *bufio.Reader // session ids: many are asked for at a time
}

const (
	maxUnanswered = 64 << 10 // octets
	// grace is what a session gets after its time, for a reply that has arrived while this program
	// was busy elsewhere; maxGrace, while other replies keep coming.
	grace    = 5 * time.Millisecond
	maxGrace = 500 * time.Millisecond
)

func newMux(l *link, rung <-chan struct{}, idle func()) *mux {
	return &mux{link: l, in: bufio.NewReaderSize(l.conn, 2*(headerLen+maxBody)), rung: rung, idle: idle,
		byID: make(map[uint32]*job), random: bufio.NewReaderSize(rand.Reader, 1024)}
}

// room says whether another session may start: a second one not before the first reply, and
// only where the server agreed (section 4.3).
func (m *mux) room() bool {
	switch {
	case m.link.spent:
		return false
	case m.link.answered == 0:
		return len(m.byID) == 0
	}
	return m.link.established && m.unanswered < maxUnanswered
}

// add queues the one packet of a session. An error is the request's own.
func (m *mux) add(j *job) error {
	s := &j.session
	s.start(m.link, j.request, m.newID())
	first, err := j.request.open(m.link.from)
	if err == nil {
		m.out, err = s.seal(m.out, &m.codec, first)
	}
	if err != nil {
		return err
	}
	n := headerLen + int(s.sent.length)
	s.timing.sent += n
	m.unanswered += n
	j.queued = m.writes
	m.flights.push(j)
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
			m.idle()
			if !m.hold(time.Now(), until) {
				return m.end(m.flights.first, os.ErrDeadlineExceeded)
			}
			// These may have come before the deadline was set.
			select {
			case <-m.rung:
				return nil
			default:
			}
			if ctx.Err() != nil {
				return m.end(m.flights.first, errInterrupted)
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
			m.dead, m.link.spent = err, true
		case now.Before(m.limit): // somebody rang, or ctx has ended
			m.limit = time.Time{}
		case !until.IsZero() && !now.Before(until):
			return nil
		case m.limit.After(m.flights.first.session.deadline): // the grace is over too
			return m.end(m.flights.first, err)
		}
	}
	if m.flights.first == nil {
		return nil
	}
	return m.end(m.flights.first, m.dead)
}

// hold sets how long the next read waits: until the oldest session's time is over, and a grace
// longer where it is over already, or until. False is an end to all grace.
func (m *mux) hold(now, until time.Time) bool {
	limit := m.flights.first.session.deadline
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
		_ = m.link.conn.SetReadDeadline(limit)
	}
	return true
}

// flush writes what is queued. An error ends the connection only when everything that the
// server has sent before was read.
func (m *mux) flush() {
	if len(m.out) == 0 {
		return
	}
	_ = m.link.conn.SetWriteDeadline(time.Now().Add(m.link.timeout))
	n, err := m.link.conn.Write(m.out)
	if m.out = m.out[:0]; n > 0 {
		m.writes++
	}
	m.link.spent = m.link.spent || err != nil
}

// read takes one packet and gives it to its session; the job is returned, which has ended so.
// Octets are taken from the reader only when the packet is whole.
func (m *mux) read(ctx context.Context) (*job, error) {
	b, err := m.in.Peek(headerLen)
	if bad := m.link.notTACACS(b); bad != nil {
		return nil, bad
	}
	if err != nil {
		return nil, err
	}
	h := parseHeader(b)
	if err := m.link.acceptable(&h); err != nil {
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
	if err = j.session.verify(&h); err == nil {
		err = j.session.unseal(&h, b[headerLen:], &m.codec, j.request.reply())
	}
	if err != nil {
		m.link.spent = true // section 4.4: no new session, the active ones end
	} else {
		var last layouter
		if last, err = j.request.next(ctx, &j.session, &j.res); last != nil { // a farewell: a second exchange has no place here
			m.out, _ = j.session.seal(m.out, &m.codec, last)
			m.flush()
		}
	}
	j.err = err
	return j, nil
}

// end takes out a session that got no reply, since the connection came to err or its time is over.
func (m *mux) end(j *job, err error) *job {
	m.remove(j)
	j.session.written = m.writes > j.queued // perhaps in part
	var explained *failure
	if j.err = err; !errors.As(err, &explained) {
		j.err = j.session.ioFailure("read the reply of", 0, err)
	}
	return j
}

// remove takes a session off the mux.
func (m *mux) remove(j *job) {
	m.flights.remove(j)
	delete(m.byID, j.session.sent.sessionID)
	m.unanswered -= headerLen + int(j.session.sent.length)
}
