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
type crew struct {
	client *client
	limit  int // jobs under way
	// take is the next job that is due. Without one, next says when there will be one, or is
	// zero where a ring tells; more is false when there will be none any more.
	take func(now time.Time) (j *job, next time.Time, more bool)
	done func(*job)   // gets every job once
	idle func()       // called before a wait, for instance to write out what done has put together
	note func(string) // is told what a person should know about the connections

	use      usage
	mux      *mux      // the connection that is shared; nil for none
	queue    jobList   // taken, or to be put again, and not under way
	prefer   int       // the server that a new connection goes to
	barren   int       // connections in a row that came to nothing
	cut      int       // connections that the server ended soon
	now      time.Time // a look at the clock for each use would cost too much
	underWay int       // jobs apart from those of the mux
	hired    int
	errands  chan errand
	returned chan *job
	dialing  *job       // the first for a connection that is being made; nil for none
	dialed   chan *link // that connection; nil where it failed
	bell     bell
	workers  sync.WaitGroup
}

// A usage is how connections are used. It only ever goes down this list.
type usage uint8

const (
	usageShared usage = iota // by many sessions at a time
	usageKept                // by one session after the other
	usageFresh               // by one session
)

// An errand is what a worker gets: a job, and whether to keep the connection for the next one.
type errand struct {
	job  *job
	keep bool
}

// A bell ends the wait of the crew's goroutine, which may be for octets on a connection.
type bell struct {
	rung chan struct{}
	link atomic.Pointer[link] // nil for none
}

func (b *bell) ring() {
	select {
	case b.rung <- struct{}{}:
		if l := b.link.Load(); l != nil {
			_ = l.conn.SetReadDeadline(time.Unix(1, 0))
		}
	default: // somebody else has
	}
}

func newCrew(c *client, limit int) *crew {
	t := &crew{client: c, limit: limit, idle: func() {}, errands: make(chan errand, limit), returned: make(chan *job, limit), dialed: make(chan *link, 1)}
	if t.bell.rung = make(chan struct{}, 1); !c.singleConnect {
		t.use = usageFresh
	}
	return t
}

// run carries all jobs. It returns when there are no more, or ctx has ended; jobs that are under
// way then are done with an interruption.
func (c *crew) run(ctx context.Context) {
	defer func() {
		close(c.errands)
		c.workers.Wait()
		c.hangUp()
	}()
	c.now = time.Now()
	for {
		c.tidy()
		next, more := c.fill(ctx)
		if !more && c.busy() == 0 {
			return
		}
		c.wait(ctx, next)
	}
}

// busy is how many jobs are under way.
func (c *crew) busy() int {
	if c.mux == nil {
		return c.underWay
	}
	return c.underWay + len(c.mux.byID)
}

// fill starts jobs as long as there are any and there is room. It returns what take does.
func (c *crew) fill(ctx context.Context) (next time.Time, more bool) {
	for ctx.Err() == nil {
		if c.queue.first == nil {
			j, next, more := c.take(c.now)
			if j == nil {
				return next, more
			}
			c.queue.push(j)
		}
		if !c.place(ctx, c.queue.first) {
			return time.Time{}, true
		}
	}
	for j := c.queue.first; j != nil; j = c.queue.first {
		c.queue.remove(j)
		j.err = interrupted(ctx)
		c.done(j)
	}
	return time.Time{}, false
}

// place starts the first job of the queue where there is room for it. A dialogue is never on a
// shared connection: some servers lose a second START while a CONTINUE is pending.
func (c *crew) place(ctx context.Context, j *job) bool {
	if c.busy() >= c.limit {
		return false
	}
	// What is shared goes to the preferred server, and so carries first attempts only.
	came := fateOf(j.err) // of the attempt before
	apart := c.use != usageShared || j.misses > 0 || came == fateRestart || came == fateSilent || j.request.dialogue()
	if c.mux != nil && c.mux.flights.first == nil && !apart && c.mux.link.stale(c.now) {
		c.hangUp()
	}
	if !apart && (c.dialing != nil || c.mux != nil && !c.mux.room()) {
		return false
	}
	c.queue.remove(j)
	if j.misses == 0 && j.session.deadline.IsZero() {
		j.first = c.prefer
	}
	switch {
	case apart:
		c.hire(ctx)
		c.underWay++
		c.errands <- errand{j, c.use < usageFresh} // has room for as many as are under way
	case c.mux == nil:
		c.connect(ctx, j)
	default:
		c.share(j)
	}
	return true
}

// connect makes a connection to share, with a job that is the first on it.
func (c *crew) connect(ctx context.Context, j *job) {
	c.dialing = j
	c.underWay++
	c.client.begin(j, c.now)
	c.workers.Go(func() {
		var l *link
		l, j.err = c.client.dial(ctx, j)
		c.dialed <- l
		c.bell.ring()
	})
}

// connected takes the connection that was made, or nil.
func (c *crew) connected(ctx context.Context, l *link) {
	j := c.dialing
	c.dialing = nil
	c.underWay--
	if l == nil {
		j.conclude(nil, c.now)
		c.noUse()
		c.proceed(ctx, j)
		return
	}
	c.mux = newMux(l, c.bell.rung, c.idle)
	c.bell.link.Store(l)
	c.share(j)
}

// share puts a job on the mux.
func (c *crew) share(j *job) {
	c.client.begin(j, c.now)
	j.session.began = c.now
	if j.err = c.mux.add(j); j.err != nil {
		c.done(j)
	}
}

// hire starts another worker while there are fewer than jobs for them.
func (c *crew) hire(ctx context.Context) {
	if c.hired > c.underWay {
		return
	}
	c.hired++
	c.workers.Go(func() {
		a := asker{client: c.client}
		defer a.close()
		for e := range c.errands {
			if a.keep = e.keep; !a.keep {
				a.close() // what was kept as long as that was of use
			}
			a.ask(ctx, e.job)
			c.returned <- e.job
			c.bell.ring()
		}
	})
}

// wait waits until a job comes to something, until next, or until the bell rings.
func (c *crew) wait(ctx context.Context, next time.Time) {
	if c.mux != nil && c.mux.flights.first != nil {
		j := c.mux.wait(ctx, next)
		if c.now = time.Now(); j != nil {
			c.landed(ctx, j)
		}
	} else {
		c.sleep(ctx, next)
		c.now = time.Now()
	}
	for {
		select {
		case j := <-c.returned:
			c.underWay--
			c.judge(j)
			c.done(j)
		case l := <-c.dialed:
			c.connected(ctx, l)
		default:
			return
		}
	}
}

// sleep waits until next, or until the bell rings.
func (c *crew) sleep(ctx context.Context, next time.Time) {
	c.idle()
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
	case <-c.bell.rung:
	case <-timer:
	case <-interrupted:
	}
}

// landed takes a job whose session on the mux has ended.
func (c *crew) landed(ctx context.Context, j *job) {
	l := c.mux.link
	if j.err == nil {
		j.session.timing.firstReply = c.now.Sub(j.session.began)
	}
	j.conclude(l, c.now)
	switch {
	case l.answered == 0 && fateOf(j.err) == fateViolated:
	case l.answered == 0:
		l.spent = true
		c.noUse()
	case !l.established:
		c.descend(usageKept, "")
	default:
		c.barren = 0
	}
	c.proceed(ctx, j)
}

// tidy ends the shared connection when nothing is under way on it, nor may be any more.
func (c *crew) tidy() {
	if c.mux == nil || c.mux.flights.first != nil || c.use == usageShared && !c.mux.link.spent {
		return
	}
	if n := c.mux.link.answered; isClosed(c.mux.dead) && n > 0 && n < quickEnd {
		if c.cut++; c.cut == 2 {
			c.descend(usageKept, "the server ends connections that are in use; going on with one session a connection")
		}
	}
	c.hangUp()
}

// quickEnd is how many replies a connection should last for at the least.
const quickEnd = 100

// proceed ends a job, or has it put again.
func (c *crew) proceed(ctx context.Context, j *job) {
	again := c.client.settle(ctx, j)
	c.judge(j)
	if !again {
		c.done(j)
		return
	}
	if fateOf(j.err) != fateRestart {
		j.session.deadline = time.Time{} // it waits in the queue again
	}
	c.queue.push(j)
}

// judge takes note of a server that agrees to single-connection mode and does not keep to it.
func (c *crew) judge(j *job) {
	if j.forgotten {
		c.descend(usageFresh, "the server agrees to single-connection mode and leaves sessions unanswered; going on with one session a connection")
	}
}

// noUse takes note of a connection that came to nothing. The next server is tried, and when none is
// of use, jobs no longer wait for each other.
func (c *crew) noUse() {
	c.prefer = (c.prefer + 1) % len(c.client.servers)
	if c.barren++; c.barren >= len(c.client.servers) {
		c.descend(usageKept, "")
	}
}

// descend goes on with less use of a connection, and says why.
func (c *crew) descend(to usage, why string) {
	if to <= c.use {
		return
	}
	if c.use = to; why != "" {
		c.note(why)
	}
}

// hangUp ends the shared connection.
func (c *crew) hangUp() {
	if c.mux != nil {
		c.bell.link.Store(nil)
		c.mux.link.close()
		c.mux = nil
	}
}
