package main

import (
	"context"
	"sync"
	"time"
)

// A pool carries many jobs to the servers, a limited number at a time: as sessions on one connection if the server
// agrees, else by workers with a connection each. The goroutine of run owns the whole state, but for tryStart, and
// calls the functions of the pool's user; workers send back what they finish.
type pool struct {
	client *client
	limit  int // jobs under way
	// nextJob returns a job that is due. If there is none yet, next is when there will be one, or zero if a notify
	// announces it; more is false after the last one.
	nextJob    func(now time.Time) (j *job, next time.Time, more bool)
	beforeWait func()       // called before each wait and at the end, for instance to flush results
	note       func(string) // warns about the connections
	warnf      warnFunc     // warns about single requests

	state        sync.Mutex       // held by run, except while it waits for bytes of the mux
	pinned       bool             // run waits for bytes of the mux, which must stay
	reuse        reuse            // for all servers
	lower        map[string]reuse // for a server by its name, if it is lower
	mux          *mux             // the connection that is shared; nil for none
	sharedSince  time.Time        // when it got its first session
	draining     int              // connections that take no new session, and have a goroutine each
	queue        queue[job]       // not under way
	failedDials  int              // connections in a row that never carried a reply
	earlyCloses  int              // connections that the server ended soon
	now          time.Time        // after the last wait
	onWorkers    int              // jobs that are not on the mux, but on workers or on connections that are drained
	workerCount  int
	work         chan *job
	returned     chan *job        // from workers
	fromDraining chan *job        // whose sessions on connections that are drained have ended
	drained      chan *mux        // whose last session has ended
	dialing      *job             // the first job for a connection that is being made; nil for none
	dialed       chan *serverConn // that connection; nil if it failed
	wakeup       wakeup
	workers      sync.WaitGroup
}

// A reuse is how connections are used. A pool only ever goes down this list.
type reuse uint8

const (
	reuseMultiplexed reuse = iota // by many sessions at a time
	reuseSequential               // by one session after the other
	reuseNone                     // by one session
)

// newPool returns a pool without a source of jobs.
func newPool(c *client, limit int) *pool {
	p := &pool{client: c, limit: limit, beforeWait: func() {}, note: func(string) {}, warnf: discardWarning, lower: make(map[string]reuse),
		work: make(chan *job, limit), returned: make(chan *job, limit), dialed: make(chan *serverConn, 1),
		fromDraining: make(chan *job, limit), drained: make(chan *mux, maxDraining)} // each has room for all
	if p.wakeup.ch = make(chan struct{}, 1); !c.singleConnect {
		p.reuse = reuseNone
	}
	return p
}

// reuseOf returns how connections to a server are used.
func (p *pool) reuseOf(srv server) reuse { return max(p.reuse, p.lower[srv.name]) }

// run carries all jobs. When ctx ends, the rest end with an interruption.
func (p *pool) run(ctx context.Context) {
	p.state.Lock() // for good: nothing starts after run
	defer func() {
		p.beforeWait()
		close(p.work)
		p.workers.Wait()
		p.closeShared()
	}()
	p.now = time.Now()
	for {
		p.closeIdle()
		next, more := p.startJobs(ctx)
		if !more && p.inFlight() == 0 {
			return
		}
		p.wait(ctx, next)
	}
}

// inFlight returns how many jobs are under way.
func (p *pool) inFlight() int {
	if p.mux == nil {
		return p.onWorkers
	}
	return p.onWorkers + len(p.mux.byID)
}

// startJobs starts jobs while there are any and there is room. It returns what nextJob does.
func (p *pool) startJobs(ctx context.Context) (next time.Time, more bool) {
	for ctx.Err() == nil {
		if p.queue.first() == nil {
			j, next, more := p.nextJob(p.now)
			if j == nil {
				return next, more
			}
			p.queue.push(&j.place, j)
		}
		if assigned, next := p.assign(ctx, p.queue.first()); !assigned {
			return next, true
		}
	}
	for j := p.queue.first(); j != nil; j = p.queue.first() {
		p.queue.remove(&j.place)
		j.err = interrupted(ctx)
		j.owner.jobDone(j)
	}
	return time.Time{}, false
}

// tryStart starts the jobs that are due, in place of a notify and without a change of goroutines. It reports false if a
// notify is needed: the pool does not wait for bytes of the shared connection, or that cannot take them all. nextJob must not
// return a time.
func (p *pool) tryStart(ctx context.Context) bool {
	if !p.state.TryLock() {
		return false
	}
	defer p.state.Unlock()
	if p.mux == nil {
		return false
	}
	p.now = time.Now()
	p.pinned = true
	_, more := p.startJobs(ctx)
	p.pinned = false
	p.mux.setDeadline(time.Time{})
	if !more || p.wakeup.received() || ctx.Err() != nil { // the last two may have come before the deadline was set
		p.wakeup.notify()
	}
	p.mux.flush()
	return more && p.queue.first() == nil
}

// maxFirstWait is how long jobs wait for the first reply on a shared connection, before which it carries no second
// session. Then they go apart, each on a connection of its own.
const maxFirstWait = 400 * time.Millisecond

// assign starts the first job of the queue if there is room for it. If there may be room at some time without another
// event, next is that time. A dialogue is never on a shared connection: some servers lose a second START while a CONTINUE
// is pending.
func (p *pool) assign(ctx context.Context, j *job) (assigned bool, next time.Time) {
	if p.inFlight() >= p.limit {
		return false, time.Time{}
	}
	if j.turn == 0 && j.session.deadline.IsZero() && j.err == nil { // no attempt was made
		j.order = p.client.order()
	}
	came := outcomeOf(j.err) // of the attempt before
	apart := p.reuseOf(*j.server()) != reuseMultiplexed || j.turn > 0 || came == outcomeRestart || came == outcomeTimedOut || j.request.interactive() || j.steps != nil
	if p.pinned && (apart || p.mux.conn.server != *j.server() || p.mux.conn.noNewSessions) {
		return false, time.Time{}
	}
	if !apart {
		p.retireShared(ctx, *j.server())
		switch {
		case p.dialing != nil:
			apart = *p.dialing.server() != *j.server()
		case p.mux != nil && p.mux.conn.server != *j.server(): // it could not be retired
			apart = true
		case p.mux != nil && p.mux.conn.answered == 0 && p.mux.inFlight.first() != nil:
			next = p.sharedSince.Add(maxFirstWait)
			apart = !p.now.Before(next)
		}
	}
	if !apart && (p.dialing != nil || p.mux != nil && !p.mux.hasRoom()) {
		return false, next
	}
	p.queue.remove(&j.place)
	switch {
	case apart:
		p.startWorker(ctx)
		p.onWorkers++
		j.keepConn = p.reuseOf(*j.server()) < reuseNone && !j.replyLost
		p.work <- j
	case p.mux == nil:
		p.dialShared(ctx, j)
	default:
		p.addToMux(j)
	}
	return true, time.Time{}
}

// retireShared gives up the shared connection if it cannot take another session, or goes to another server than the one
// that is to be asked: at once if it is idle, else beside a new one.
func (p *pool) retireShared(ctx context.Context, to server) {
	switch {
	case p.mux == nil, p.pinned:
	case p.mux.inFlight.first() == nil:
		if p.mux.conn.server != to || p.mux.conn.stale(p.now) {
			p.closeShared()
		}
	case p.draining < maxDraining && (p.mux.conn.noNewSessions || p.mux.conn.server != to):
		p.drainShared(ctx)
	}
}

// maxDraining is how many connections are drained at a time.
const maxDraining = 4

// drainShared leaves the shared connection to a goroutine, until its sessions have ended.
func (p *pool) drainShared(ctx context.Context) {
	m := p.mux
	p.mux = nil
	m.beforeWait, m.wakeup, m.state = func() {}, nil, nil
	p.draining++
	p.onWorkers += len(m.byID)
	p.workers.Go(func() {
		for m.inFlight.first() != nil {
			if j := m.wait(ctx, time.Time{}); j != nil {
				j.recordEnd(m.conn, time.Now())
				p.fromDraining <- j
				p.wakeup.notify()
			}
		}
		m.conn.close()
		p.drained <- m
		p.wakeup.notify()
	})
}

// dialShared makes the connection to share, with a job that is the first on it.
func (p *pool) dialShared(ctx context.Context, j *job) {
	p.dialing = j
	p.onWorkers++
	p.client.begin(j, p.now)
	p.workers.Go(func() {
		var conn *serverConn
		conn, j.err = p.client.dial(ctx, j)
		p.dialed <- conn
		p.wakeup.notify()
	})
}

// onDialed handles the connection that dialShared made; nil if it failed.
func (p *pool) onDialed(ctx context.Context, conn *serverConn) {
	j := p.dialing
	p.dialing = nil
	p.onWorkers--
	if conn == nil {
		j.recordEnd(nil, p.now)
		p.noteFailedDial(*j.server())
		p.finishOrRetry(ctx, j)
		return
	}
	p.mux, p.sharedSince = newMux(conn, &p.wakeup, p.beforeWait, p.warnf), p.now
	p.mux.state = &p.state
	p.addToMux(j)
}

// addToMux starts a job on the shared connection.
func (p *pool) addToMux(j *job) {
	p.client.begin(j, p.now)
	j.session.sentAt = p.now
	if j.err = p.mux.add(j); j.err != nil {
		j.owner.jobDone(j)
	}
}

// startWorker starts another worker if all of them are busy.
func (p *pool) startWorker(ctx context.Context) {
	if p.workerCount > p.onWorkers {
		return
	}
	p.workerCount++
	p.workers.Go(func() {
		r := requester{client: p.client, warnf: p.warnf}
		defer r.close()
		for j := range p.work {
			if r.keepConn = j.keepConn; !r.keepConn {
				r.close() // kept before the downgrade to reuseNone
			}
			r.do(ctx, j)
			p.returned <- j
			p.wakeup.notify()
		}
	})
}

// wait waits until a job ends, until next, or for a notify.
func (p *pool) wait(ctx context.Context, next time.Time) {
	var ended *job
	if p.mux != nil && (p.mux.inFlight.first() != nil || ctx.Err() == nil) {
		ended = p.mux.wait(ctx, next)
		p.wakeup.waitFor(nil)
		p.now = p.mux.now
	} else {
		p.sleep(ctx, next)
		p.now = time.Now()
	}
	if ended != nil {
		p.onReply(ctx, ended)
	}
	for p.onWorkers+p.draining > 0 { // else nothing can be received
		select {
		case j := <-p.returned:
			p.onWorkers--
			p.noteLost(j)
			j.owner.jobDone(j)
		case j := <-p.fromDraining:
			p.onWorkers--
			p.finishOrRetry(ctx, j)
		case m := <-p.drained:
			p.draining--
			p.noteEnd(m)
		case conn := <-p.dialed:
			p.onDialed(ctx, conn)
		default:
			return
		}
	}
}

// sleep waits until next, or for a notify.
func (p *pool) sleep(ctx context.Context, next time.Time) {
	p.beforeWait()
	var timer <-chan time.Time
	if !next.IsZero() {
		timer = time.After(time.Until(next))
	}
	interrupted := ctx.Done()
	if ctx.Err() != nil && p.inFlight() > 0 {
		interrupted = nil // each worker ends, and notifies
	}
	select {
	case <-p.wakeup.ch:
	case <-timer:
	case <-interrupted:
	}
}

// onReply handles a job whose session on the mux has ended.
func (p *pool) onReply(ctx context.Context, j *job) {
	conn := p.mux.conn
	j.recordEnd(conn, p.now)
	switch {
	case conn.answered == 0 && outcomeOf(j.err) == outcomeFlagViolation:
	case conn.answered == 0:
		conn.noNewSessions = true
		p.noteFailedDial(conn.server)
	case !conn.established:
		p.downgrade(conn.server, reuseSequential, "")
	default:
		p.failedDials = 0
	}
	p.finishOrRetry(ctx, j)
}

// minReplies is how many replies a connection must have carried for its end not to count as early.
const minReplies = 100

// closeIdle closes the shared connection if it is idle and may not begin a session.
func (p *pool) closeIdle() {
	if p.mux == nil || p.mux.inFlight.first() != nil || p.reuseOf(p.mux.conn.server) == reuseMultiplexed && !p.mux.conn.noNewSessions {
		return
	}
	p.noteEnd(p.mux)
	p.closeShared()
}

// noteEnd downgrades for a server that closes connections soon.
func (p *pool) noteEnd(m *mux) {
	if n := m.conn.answered; isClosed(m.dead) && n > 0 && n < minReplies {
		if p.earlyCloses++; p.earlyCloses == 2 {
			p.downgrade(m.conn.server, reuseSequential, "the server closes busy connections; using them for one session at a time")
		}
	}
}

// finishOrRetry ends a job, or queues it for another attempt.
func (p *pool) finishOrRetry(ctx context.Context, j *job) {
	again := p.client.recordOutcome(ctx, j, p.warnf)
	if !again {
		p.noteLost(j)
		j.owner.jobDone(j)
		return
	}
	if outcomeOf(j.err) != outcomeRestart {
		j.session.deadline = time.Time{}
	}
	if j.replyLost { // the retry shows whether that is the mode's fault
		j.session.conn.noNewSessions = true
	}
	p.queue.push(&j.place, j)
}

// noteLost downgrades for a server that loses sessions in single-connection mode: it answered the retry, or there was none.
func (p *pool) noteLost(j *job) {
	if j.replyLost && (j.answer() != nil || !j.request.repeatable()) {
		p.downgrade(*j.server(), reuseNone, "the server does not answer some sessions in single-connection mode; using one connection a session")
	}
}

// noteFailedDial notes that a shared connection to a server carried no reply. Jobs no longer wait for one if no other
// server is known to live.
func (p *pool) noteFailedDial(srv server) {
	if p.failedDials++; p.failedDials >= len(p.client.order()) && !p.client.dead.othersLive(srv) {
		p.reuse = max(p.reuse, reuseSequential)
	}
}

// downgrade reduces the reuse of connections to a server. The person gets the reason, if any.
func (p *pool) downgrade(srv server, to reuse, reason string) {
	if to <= p.reuseOf(srv) {
		return
	}
	if p.lower[srv.name] = to; reason != "" {
		p.note(reason)
	}
}

func (p *pool) closeShared() {
	if p.mux != nil {
		p.mux.conn.close()
		p.mux = nil
	}
}
