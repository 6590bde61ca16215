package main

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// A crew carries many jobs to the servers, so many at a time: as sessions on one connection where
// the server agrees, and by workers with a connection each for all else. One goroutine, that of
// run, has its whole state and calls the functions of the one who made it; workers send back what
// ended.
type pool struct {
	client *client
	limit  int // jobs under way
	// take is the next job that is due. Without one, next says when there will be one, or is
	// zero where a ring tells; more is false when there will be none any more.
	nextJob    func(now time.Time) (j *job, next time.Time, more bool)
	done       func(*job)   // gets every job once
	beforeWait func()       // called before a wait, for instance to write out what done has put together
	warn       func(string) // is told what a person should know about the connections

	reuse       reuse
	mux         *mux       // the connection that is shared; nil for none
	queue       queue[job] // taken, or to be put again, and not under way
	preferred   int        // the server that a new connection goes to
	failedDials int        // connections in a row that came to nothing
	earlyCloses int        // connections that the server ended soon
	now         time.Time  // a look at the clock for each use would cost too much
	onWorkers   int        // jobs apart from those of the mux
	workerCount int
	work        chan workerJob
	returned    chan *job
	dialing     *job             // the first for a connection that is being made; nil for none
	dialed      chan *serverConn // that connection; nil where it failed
	wakeup      wakeup
	workers     sync.WaitGroup
}

// A usage is how connections are used. It only ever goes down this list.
type reuse uint8

const (
	reuseMultiplexed reuse = iota // by many sessions at a time
	reuseSequential               // by one session after the other
	reuseNone                     // by one session
)

// An errand is what a worker gets: a job, and whether to keep the connection for the next one.
type workerJob struct {
	job  *job
	keep bool
}

// A bell ends the wait of the crew's goroutine, which may be for bytes on a connection.
type wakeup struct {
	ch   chan struct{}
	conn atomic.Pointer[serverConn] // nil for none
}

func (b *wakeup) notify() {
	select {
	case b.ch <- struct{}{}:
		if l := b.conn.Load(); l != nil {
			_ = l.conn.SetReadDeadline(time.Unix(1, 0))
		}
	default: // somebody else has
	}
}

func newPool(c *client, limit int) *pool {
	t := &pool{client: c, limit: limit, beforeWait: func() {}, work: make(chan workerJob, limit), returned: make(chan *job, limit), dialed: make(chan *serverConn, 1)}
	if t.wakeup.ch = make(chan struct{}, 1); !c.singleConnect {
		t.reuse = reuseNone
	}
	return t
}

// run carries all jobs. It returns when there are no more, or ctx has ended; jobs that are under
// way then are done with an interruption.
func (c *pool) run(ctx context.Context) {
	defer func() {
		close(c.work)
		c.workers.Wait()
		c.closeShared()
	}()
	c.now = time.Now()
	for {
		c.closeIdle()
		next, more := c.startJobs(ctx)
		if !more && c.inFlight() == 0 {
			return
		}
		c.wait(ctx, next)
	}
}

// busy is how many jobs are under way.
func (c *pool) inFlight() int {
	if c.mux == nil {
		return c.onWorkers
	}
	return c.onWorkers + len(c.mux.byID)
}

// fill starts jobs as long as there are any and there is room. It returns what take does.
func (c *pool) startJobs(ctx context.Context) (next time.Time, more bool) {
	for ctx.Err() == nil {
		if c.queue.first() == nil {
			j, next, more := c.nextJob(c.now)
			if j == nil {
				return next, more
			}
			c.queue.push(&j.place, j)
		}
		if !c.assign(ctx, c.queue.first()) {
			return time.Time{}, true
		}
	}
	for j := c.queue.first(); j != nil; j = c.queue.first() {
		c.queue.remove(&j.place)
		j.err = interrupted(ctx)
		c.done(j)
	}
	return time.Time{}, false
}

// place starts the first job of the queue where there is room for it. A dialogue is never on a
// shared connection: some servers lose a second START while a CONTINUE is pending.
func (c *pool) assign(ctx context.Context, j *job) bool {
	if c.inFlight() >= c.limit {
		return false
	}
	// What is shared goes to the preferred server, and so carries first attempts only.
	came := outcomeOf(j.err) // of the attempt before
	apart := c.reuse != reuseMultiplexed || j.failedAttempts > 0 || came == outcomeRestart || came == outcomeTimedOut || j.request.dialogue()
	if c.mux != nil && c.mux.inFlight.first() == nil && !apart && c.mux.conn.stale(c.now) {
		c.closeShared()
	}
	if !apart && (c.dialing != nil || c.mux != nil && !c.mux.hasRoom()) {
		return false
	}
	c.queue.remove(&j.place)
	if j.failedAttempts == 0 && j.session.deadline.IsZero() {
		j.firstServer = c.preferred
	}
	switch {
	case apart:
		c.startWorker(ctx)
		c.onWorkers++
		c.work <- workerJob{j, c.reuse < reuseNone} // has room for as many as are under way
	case c.mux == nil:
		c.dialShared(ctx, j)
	default:
		c.addToMux(j)
	}
	return true
}

// connect makes a connection to share, with a job that is the first on it.
func (c *pool) dialShared(ctx context.Context, j *job) {
	c.dialing = j
	c.onWorkers++
	c.client.begin(j, c.now)
	c.workers.Go(func() {
		var l *serverConn
		l, j.err = c.client.dial(ctx, j)
		c.dialed <- l
		c.wakeup.notify()
	})
}

// connected takes the connection that was made, or nil.
func (c *pool) onDialed(ctx context.Context, l *serverConn) {
	j := c.dialing
	c.dialing = nil
	c.onWorkers--
	if l == nil {
		j.recordEnd(nil, c.now)
		c.noteFailedDial()
		c.finishOrRetry(ctx, j)
		return
	}
	c.mux = newMux(l, c.wakeup.ch, c.beforeWait)
	c.wakeup.conn.Store(l)
	c.addToMux(j)
}

// share puts a job on the mux.
func (c *pool) addToMux(j *job) {
	c.client.begin(j, c.now)
	j.session.sentAt = c.now
	if j.err = c.mux.add(j); j.err != nil {
		c.done(j)
	}
}

// hire starts another worker while there are fewer than jobs for them.
func (c *pool) startWorker(ctx context.Context) {
	if c.workerCount > c.onWorkers {
		return
	}
	c.workerCount++
	c.workers.Go(func() {
		a := requester{client: c.client}
		defer a.close()
		for e := range c.work {
			if a.keepConn = e.keep; !a.keepConn {
				a.close() // what was kept as long as that was of use
			}
			a.ask(ctx, e.job)
			c.returned <- e.job
			c.wakeup.notify()
		}
	})
}

// wait waits until a job comes to something, until next, or until the bell rings.
func (c *pool) wait(ctx context.Context, next time.Time) {
	if c.mux != nil && c.mux.inFlight.first() != nil {
		j := c.mux.wait(ctx, next)
		if c.now = time.Now(); j != nil {
			c.onReply(ctx, j)
		}
	} else {
		c.sleep(ctx, next)
		c.now = time.Now()
	}
	for {
		select {
		case j := <-c.returned:
			c.onWorkers--
			c.noteLost(j)
			c.done(j)
		case l := <-c.dialed:
			c.onDialed(ctx, l)
		default:
			return
		}
	}
}

// sleep waits until next, or until the bell rings.
func (c *pool) sleep(ctx context.Context, next time.Time) {
	c.beforeWait()
	var timer <-chan time.Time
	if !next.IsZero() {
		t := time.NewTimer(time.Until(next))
		defer t.Stop()
		timer = t.C
	}
	interrupted := ctx.Done()
	if ctx.Err() != nil {
		interrupted = nil // those under way know it too, and ring
	}
	select {
	case <-c.wakeup.ch:
	case <-timer:
	case <-interrupted:
	}
}

// landed takes a job whose session on the mux has ended.
func (c *pool) onReply(ctx context.Context, j *job) {
	l := c.mux.conn
	if j.err == nil {
		j.session.timing.firstReply = c.now.Sub(j.session.sentAt)
	}
	j.recordEnd(l, c.now)
	switch {
	case l.answered == 0 && outcomeOf(j.err) == outcomeFlagViolation:
	case l.answered == 0:
		l.noNewSessions = true
		c.noteFailedDial()
	case !l.established:
		c.downgrade(reuseSequential, "")
	default:
		c.failedDials = 0
	}
	c.finishOrRetry(ctx, j)
}

// tidy ends the shared connection when nothing is under way on it, nor may be any more.
func (c *pool) closeIdle() {
	if c.mux == nil || c.mux.inFlight.first() != nil || c.reuse == reuseMultiplexed && !c.mux.conn.noNewSessions {
		return
	}
	if n := c.mux.conn.answered; isClosed(c.mux.dead) && n > 0 && n < minReplies {
		if c.earlyCloses++; c.earlyCloses == 2 {
			c.downgrade(reuseSequential, "the server ends connections that are in use; going on with one session a connection")
		}
	}
	c.closeShared()
}

// quickEnd is how many replies a connection should last for at the least.
const minReplies = 100

// proceed ends a job, or has it put again.
func (c *pool) finishOrRetry(ctx context.Context, j *job) {
	again := c.client.recordOutcome(ctx, j)
	c.noteLost(j)
	if !again {
		c.done(j)
		return
	}
	if outcomeOf(j.err) != outcomeRestart {
		j.session.deadline = time.Time{} // it waits in the queue again
	}
	c.queue.push(&j.place, j)
}

// judge takes note of a server that agrees to single-connection mode and does not keep to it.
func (c *pool) noteLost(j *job) {
	if j.replyLost {
		c.downgrade(reuseNone, "the server agrees to single-connection mode and leaves sessions unanswered; going on with one session a connection")
	}
}

// noUse takes note of a connection that came to nothing. The next server is tried, and when none is
// of use, jobs no longer wait for each other.
func (c *pool) noteFailedDial() {
	c.preferred = (c.preferred + 1) % len(c.client.servers)
	if c.failedDials++; c.failedDials >= len(c.client.servers) {
		c.downgrade(reuseSequential, "")
	}
}

// descend goes on with less use of a connection, and says why.
func (c *pool) downgrade(to reuse, why string) {
	if to <= c.reuse {
		return
	}
	if c.reuse = to; why != "" {
		c.warn(why)
	}
}

// hangUp ends the shared connection.
func (c *pool) closeShared() {
	if c.mux != nil {
		c.wakeup.conn.Store(nil)
		c.mux.conn.close()
		c.mux = nil
	}
}
