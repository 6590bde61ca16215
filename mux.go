package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A job is one request of many, and what came of it.
type job struct {
	request request
	res     result
	err     error
	owner   any       // what the job is to the one who made it
	due     time.Time // when it ought to have been sent: its time counts from here
	done    time.Time

	// On a mux:
	session   session
	timing    timing
	expires   time.Time
	swallowed bool // no answer came
	again     bool // it was sent before, without an answer
	worker    bool // it is for a worker, who can restart it and ask other servers
	elsewhere bool // beginning with those behind failed
	failed    server
}

// class is how the job ended.
func (j *job) class() class {
	if j.err != nil {
		return asFailure(j.err).class
	}
	return j.res.class
}

// A crew carries many requests to the servers, so many at a time: over one connection in
// single-connection mode where the server agrees, else over a connection each. Dialogues have
// a connection each in any case, since there are servers that lose a second START while a
// CONTINUE is pending.
type crew struct {
	client *client
	limit  int // requests under way
	// take is the next job that is due. Without one, next says when there will be one, or is
	// zero where wake tells; more is false when there will be none any more.
	take func(now time.Time) (j *job, next time.Time, more bool)
	// done gets every job once, from several goroutines but one at a time.
	done func(*job)
	// idle is called before a wait, for instance to write out what done has put together.
	idle func()
	// note is told what a person should know about the connections.
	note func(string)

	mux       *mux
	single    bool      // no more than one session at a time on a connection
	forgetful bool      // and no second one after it
	lost      []*job    // to be sent again
	prefer    int       // the server to connect to
	ends      int       // of connections that the server ended soon
	now       time.Time // as run knows it: a look at the clock for each request would cost too much
	wakes     chan struct{}
	blocked   atomic.Pointer[mux] // waits for replies, and would not see a wake
	underWay  atomic.Int32        // with the workers
	jobs      chan *job           // for the workers
	workers   sync.WaitGroup
	hired     int
	mu        sync.Mutex // held for done
}

func newCrew(c *client, limit int) *crew {
	return &crew{client: c, limit: limit, single: !c.singleConnect, idle: func() {},
		wakes: make(chan struct{}, 1), jobs: make(chan *job, limit)}
}

// run carries all jobs. It returns when there are no more, or ctx has ended; jobs that are under
// way then are done with an interruption.
func (c *crew) run(ctx context.Context) {
	defer func() {
		close(c.jobs)
		c.workers.Wait()
		if c.mux != nil {
			c.mux.close()
		}
	}()
	c.now = time.Now()
	var head *job // taken, and not yet placed
	for ctx.Err() == nil {
		var next time.Time
		more := true
		for {
			if head == nil && len(c.lost) > 0 {
				head, c.lost = c.lost[0], c.lost[1:]
			} else if head == nil {
				head, next, more = c.take(c.now)
			}
			if head == nil || !c.place(ctx, head) {
				break
			}
			head = nil
		}
		if c.mux != nil && len(c.mux.flights) > 0 {
			j := c.await(ctx, next)
			if c.now = time.Now(); j != nil {
				c.landed(j)
			}
			continue
		}
		if !more && head == nil && c.underWay.Load() == 0 {
			return
		}
		c.sleep(ctx, next)
		c.now = time.Now()
	}
	for c.mux != nil && len(c.mux.flights) > 0 {
		if j := c.await(ctx, time.Time{}); j != nil {
			c.finish(j)
		}
	}
	if head != nil {
		c.lost = append(c.lost, head)
	}
	for _, j := range c.lost {
		j.err = failf(classInterrupted, "interrupted")
		c.finish(j)
	}
}

// place starts a job where there is room for it.
func (c *crew) place(ctx context.Context, j *job) bool {
	busy := int(c.underWay.Load())
	if c.mux != nil {
		busy += len(c.mux.flights)
	}
	if busy >= c.limit {
		return false
	}
	if c.single || j.worker || j.request.dialogue() {
		c.hire(ctx)
		c.underWay.Add(1)
		c.jobs <- j // has room for as many as are under way
		return true
	}
	if c.mux == nil || c.mux.closing || c.mux.stale() {
		if c.mux != nil && len(c.mux.flights) > 0 {
			return false
		}
		if !c.connect(ctx, j) {
			return true
		}
	}
	if !c.mux.room() {
		return false
	}
	if err := c.mux.start(j, c.now); err != nil {
		j.err = err
		c.finish(j)
	}
	return true
}

// connect makes a connection to a server, the one that is preferred first; where none takes it,
// that is what came of the job, and the others try with the workers, all at the same time.
func (c *crew) connect(ctx context.Context, j *job) bool {
	if c.mux != nil {
		c.mux.close()
		c.mux = nil
	}
	for range c.client.servers {
		srv := c.client.servers[c.prefer]
		l := &link{client: c.client, server: srv, deadline: time.Now().Add(c.client.timeout), timing: new(timing)}
		j.res.begin(srv.String(), l.timing)
		if j.err = l.dial(ctx); j.err == nil {
			c.mux = newMux(l)
			c.mux.idle = c.pause
			return true
		}
		if ctx.Err() != nil {
			j.err = failf(classInterrupted, "interrupted")
			break
		}
		c.next()
	}
	c.single = true
	c.finish(j)
	return false
}

// next prefers another server, where there is one.
func (c *crew) next() { c.prefer = (c.prefer + 1) % len(c.client.servers) }

// await waits for the end of a session on the mux, until next, or until it is woken.
func (c *crew) await(ctx context.Context, next time.Time) *job {
	c.blocked.Store(c.mux)
	defer c.blocked.Store(nil)
	select {
	case <-c.wakes:
		return nil
	default:
		return c.mux.wait(ctx, next)
	}
}

// landed looks at a session that ended on the mux: one that the connection took down with it is
// sent again, one that the server could not decide goes to the other servers, and a server that
// forgets sessions, or connections, gets them one at a time.
func (c *crew) landed(j *job) {
	m := c.mux
	m.last = c.now
	if m.link.answered && !m.link.established {
		c.alone(m, "") // not agreed to, which is no fault
	}
	granted := m.link.established
	j.res.SingleConnect = &granted
	if j.err == nil && j.res.class == classServer {
		j.err = m.link.answeredError(&j.res)
	}
	repeat := false
	switch {
	case j.swallowed && m.link.established:
		c.alone(m, "the server agrees to single-connection mode and leaves sessions unanswered; going on with one session a connection")
		c.forgetful = true
		repeat = !j.again
		j.again = true
	case j.swallowed && !m.link.answered:
		c.alone(m, "")
		c.next()
	case j.session.died && m.ended > 0:
		// The connection made progress: this is not the request's doing.
		if m.ended < quickEnd && !m.blamed {
			m.blamed = true
			if c.ends++; c.ends == 2 {
				c.alone(m, "the server ends connections that are in use; going on with one session a connection")
			}
		}
		repeat = true
	case j.session.died:
		repeat = !j.again
		j.again = true
	}
	repeat = repeat && (j.request.repeatable() || !j.session.written)
	restart := errors.Is(j.err, errRestart)
	if !repeat && !restart && j.err != nil && failsOver(j.err) && len(c.client.servers)+c.client.retries > 1 {
		j.elsewhere, j.failed = true, m.link.server
	}
	if j.elsewhere {
		j.res.attempt(j.err)
	}
	if repeat || restart || j.elsewhere {
		j.worker = j.worker || restart || j.elsewhere
		j.swallowed, j.err = false, nil
		c.lost = append(c.lost, j)
		return
	}
	c.finishAt(j, c.now)
}

// quickEnd is how many answers a connection should last for at the least.
const quickEnd = 100

// alone goes on with one session a connection.
func (c *crew) alone(m *mux, why string) {
	if m.closing = true; !c.single && why != "" {
		c.note(why)
	}
	c.single = true
	if len(m.flights) == 0 {
		m.close()
		c.mux = nil
	}
}

func (c *crew) finish(j *job) { c.finishAt(j, time.Now()) }

func (c *crew) finishAt(j *job, now time.Time) {
	j.done = now
	if j.res.Timing == &j.timing {
		if j.timing.total = j.done.Sub(j.timing.start); j.err == nil {
			j.timing.firstReply = j.timing.total // and the only one
		}
	}
	c.mu.Lock()
	c.done(j)
	c.mu.Unlock()
}

// pause lets done's owner write out what it has.
func (c *crew) pause() {
	c.mu.Lock()
	c.idle()
	c.mu.Unlock()
}

// hire starts another worker while there are fewer than requests may be under way.
func (c *crew) hire(ctx context.Context) {
	if c.hired >= c.limit || c.hired > int(c.underWay.Load()) {
		return
	}
	c.hired++
	own := *c.client
	own.keep = own.singleConnect && !c.forgetful
	c.workers.Go(func() {
		defer own.close()
		for j := range c.jobs {
			own.servers = c.client.servers
			if j.elsewhere {
				own.servers = after(own.servers, j.failed, own.retries > 0)
			}
			j.err = own.ask(ctx, &j.res, j.request)
			c.finish(j)
			c.underWay.Add(-1)
			c.wake()
		}
	})
}

// after is the list of servers from the one behind failed on, without that one or with it as
// the last.
func after(servers []server, failed server, again bool) []server {
	i := slices.Index(servers, failed)
	list := slices.Concat(servers[i+1:], servers[:i])
	if again || len(list) == 0 {
		list = append(list, failed)
	}
	return list
}

// wake makes run look for jobs again.
func (c *crew) wake() {
	select {
	case c.wakes <- struct{}{}:
	default:
	}
	if m := c.blocked.Load(); m != nil {
		m.interrupt()
	}
}

// sleep waits for a wake, or until next.
func (c *crew) sleep(ctx context.Context, next time.Time) {
	c.pause()
	var timer <-chan time.Time
	if !next.IsZero() {
		t := time.NewTimer(time.Until(next))
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-c.wakes:
	case <-timer:
	case <-ctx.Done():
	}
}

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
	late       bool  // a session's time is over, unless its answer is here already
	poked      atomic.Bool
	idle       func() // called before a wait
}

// grace is for what the socket holds already, when this program itself was too slow to look.
const grace = 5 * time.Millisecond

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
	if len(m.flights) > 0 || !m.link.answered || time.Since(m.last) < time.Second {
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
			if m.late {
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
			m.late = false
			return j
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			m.limit = time.Time{} // whoever set it
			now := time.Now()
			if !until.IsZero() && !now.Before(until) {
				return nil
			}
			if !m.late && !now.Before(m.expires) && ctx.Err() == nil {
				m.late = true // or was it this program that did not look in time?
				continue
			}
			m.late = false
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
