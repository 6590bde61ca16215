package main

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// An upstream is the way to the servers over connections that are kept. Sessions of one exchange are jobs of its
// connection pool: those of one device in single-connection mode or, with --single-connect, those of all devices.
type upstream struct {
	client *client
	limit  int // sessions under way
	note   func(string)
	pool   atomic.Pointer[pool]
	ended  chan struct{}

	mu    sync.Mutex
	jobs  queue[job] // that no pool has begun
	taken queue[job] // those that the pool will begin next; only it uses them
	over  bool       // it takes no more jobs
}

const (
	maxOfDevice = 64          // sessions of one device that are under way in a pool
	poolAge     = time.Minute // after which a pool that gave up multiplexing is replaced by a new one
)

func newUpstream(c *client, limit int, note func(string)) *upstream {
	return &upstream{client: c, limit: limit, note: note, ended: make(chan struct{})}
}

// put submits a job, unless the upstream takes no more. A notify must follow.
func (u *upstream) put(j *job) (ok bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.over {
		u.jobs.push(&j.place, j)
	}
	return !u.over
}

// retire has the upstream end when its jobs are done. It takes no more. A nil upstream does nothing.
func (u *upstream) retire() {
	if u != nil {
		u.endJobs()
		u.notify()
	}
}

// endJobs has put take no more jobs.
func (u *upstream) endJobs() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.over = true
}

// notify announces jobs.
func (u *upstream) notify() {
	if p := u.pool.Load(); p != nil { // else it looks for jobs before it waits
		p.wakeup.notify()
	}
}

// take returns the next job, or nil. over reports that no other will come.
func (u *upstream) take() (j *job, over bool) {
	if u.taken.first() == nil {
		u.mu.Lock()
		u.taken, u.jobs = u.jobs, queue[job]{}
		over = u.over
		u.mu.Unlock()
	}
	if j = u.taken.first(); j != nil {
		u.taken.remove(&j.place)
	}
	return j, j == nil && over
}

// close fails the jobs that are left, and those that follow.
func (u *upstream) close(beforeWait func()) {
	u.endJobs()
	for j, over := u.take(); !over; j, over = u.take() {
		j.err = errInterrupted
		j.owner.jobDone(j)
	}
	beforeWait()
	close(u.ended)
}

// run carries sessions until ctx ends. It calls beforeWait as a pool does.
func (u *upstream) run(ctx context.Context, beforeWait func()) {
	defer u.close(beforeWait)
	var pools sync.WaitGroup
	defer pools.Wait()
	for last := false; ctx.Err() == nil && !last; {
		p, retired := newPool(u.client, u.limit), make(chan struct{})
		p.note, p.beforeWait = u.note, beforeWait
		began, old := time.Now(), false
		p.nextJob = func(now time.Time) (*job, time.Time, bool) {
			if !old && (p.reuse != reuseMultiplexed || len(p.lower) > 0) && now.Sub(began) > poolAge {
				old = true
				close(retired)
			}
			if old {
				return nil, time.Time{}, false
			}
			j, over := u.take()
			if over {
				old, last = true, true
				close(retired)
			}
			return j, time.Time{}, !old
		}
		u.pool.Store(p)
		pools.Go(func() { p.run(ctx) })
		select {
		case <-retired:
		case <-ctx.Done():
		}
	}
}
