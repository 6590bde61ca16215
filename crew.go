package main

import (
	"context"
	"errors"
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
	granted   bool // single-connection mode
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
	mu        sync.Mutex // held for done, idle and note
	forgetful bool       // no second session on a connection; under mu
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
			c.now = time.Now() // that may have taken long
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
	j.granted = m.link.established
	j.res.SingleConnect = &j.granted
	if j.err == nil && j.res.class == classServer {
		j.err = m.link.answeredError(&j.res)
	}
	repeat := false
	switch {
	case j.swallowed && m.link.established:
		c.alone(m, "")
		c.forgets()
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

// forgets takes note of a server that agrees to single-connection mode and does not keep to it.
func (c *crew) forgets() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.forgetful {
		c.note("the server agrees to single-connection mode and leaves sessions unanswered; going on with one session a connection")
	}
	c.forgetful = true
}

// alone goes on with one session a connection.
func (c *crew) alone(m *mux, why string) {
	if m.closing = true; !c.single && why != "" {
		c.mu.Lock()
		c.note(why)
		c.mu.Unlock()
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
	c.workers.Go(func() {
		defer own.close()
		for j := range c.jobs {
			own.servers = c.client.servers
			if j.elsewhere {
				own.servers = after(own.servers, j.failed, own.retries > 0)
			}
			c.mu.Lock()
			own.keep = own.singleConnect && !c.forgetful
			c.mu.Unlock()
			if !own.keep {
				own.close()
			}
			again := own.kept != nil && j.request.repeatable()
			j.err = own.ask(ctx, &j.res, j.request)
			if f := (*failure)(nil); again && errors.As(j.err, &f) && f.timedOut {
				c.forgets()
				own.close()
				j.err = own.ask(ctx, &j.res, j.request)
			}
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
