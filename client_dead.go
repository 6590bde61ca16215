package main

import (
	"context"
	"slices"
	"sync"
	"time"
)

// deadServers is what one run remembers of servers that do not answer, so that requests do not wait for them. All
// requests of the run share it, and its methods may be called by any goroutine. A nil *deadServers remembers nothing.
//
// A server is dead at once if connecting or the handshake fails, else after deadAfter first replies in a row that did
// not come. Later replies of a session do not count: a person may be at a prompt. A dead server is skipped while another
// one lives. After deadTime a background connect, never a request, shows whether it lives again. A server that was dead for
// silence is then last in the order until it has answered a session.
//
// dial, requester and pool record what they see. Code that reads replies itself calls answered and unanswered.
type deadServers struct {
	deadTime time.Duration
	// connect makes a connection to the server, with the handshake, and closes it.
	connect func(context.Context, server) error
	// changed is called when a server dies, with the reason, and with nil when it lives again; nil for none.
	changed func(server, error)
	life    context.Context // of the run; its end ends the background connects

	mu      sync.Mutex
	states  map[server]*serverMemory
	devices map[string]int // connections of each device
}

// A serverMemory is what deadServers knows of one server.
type serverMemory struct {
	dead      bool
	deadUntil time.Time // when to connect in the background
	watched   bool      // a goroutine connects in the background
	silent    bool      // it was dead for silence, and has not answered since

	answered   time.Time // when the last of the requests that were answered was sent
	unanswered int       // first replies in a row that did not come
	device     string    // that the first of them was for
	devices    bool      // they were for more than one device
}

// deadAfter is the number of first replies in a row after which a silent server is dead.
const deadAfter = 3

// leftAfter is how long a device must have waited for a first reply before it left, for the reply to count as missing.
const leftAfter = 2 * time.Second

// newDeadServers returns the memory of a run that ends with life, or nil if deadTime is 0.
func newDeadServers(life context.Context, servers []server, deadTime time.Duration, connect func(context.Context, server) error) *deadServers {
	if deadTime == 0 {
		return nil
	}
	d := &deadServers{deadTime: deadTime, connect: connect, life: life, states: make(map[server]*serverMemory), devices: make(map[string]int)}
	for _, srv := range servers {
		d.states[srv] = new(serverMemory)
	}
	return d
}

// order returns servers in the order to try them in: those that live, then those that were dead for silence, then the dead
// ones, which are to be skipped (see skips). If all are dead it is the order of the list. A silent server without TLS keeps
// its place in a list with TLS, since nothing goes to it after a server with TLS (RFC 9887 section 5.1.1). The caller must
// not change the result.
func (d *deadServers) order(servers []server) []server {
	if len(servers) == 1 {
		return servers
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	rankOf := func(srv server) int {
		rank := d.states[srv].rank()
		if rank == 1 && !srv.tls && mixed(servers) {
			return 0
		}
		return rank
	}
	if !slices.ContainsFunc(servers, func(srv server) bool { return rankOf(srv) > 0 }) || d.livingExcept(nil) == 0 {
		return servers
	}
	var ordered []server
	for rank := range 3 {
		for _, srv := range servers {
			if rankOf(srv) == rank {
				ordered = append(ordered, srv)
			}
		}
	}
	return ordered
}

// adopt replaces the servers, the dead time and the way to connect by those of next, which may be nil for no servers. It
// keeps what is known of servers that stay.
func (d *deadServers) adopt(next *deadServers) {
	if next == nil {
		next = new(deadServers)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for srv, s := range d.states {
		if _, stays := next.states[srv]; stays {
			next.states[srv] = s
		} else {
			s.dead = false // ends watch
		}
	}
	d.states, d.deadTime, d.connect = next.states, next.deadTime, next.connect
}

// rank returns the place of a server in the order: 0 if it lives, 1 if it was dead for silence, 2 if it is dead.
func (s *serverMemory) rank() int {
	switch {
	case s == nil:
	case s.dead:
		return 2
	case s.silent:
		return 1
	}
	return 0
}

// livingExcept returns how many servers live, but for one.
func (d *deadServers) livingExcept(one *serverMemory) (n int) {
	for _, s := range d.states {
		if s != one && !s.dead {
			n++
		}
	}
	return n
}

// skips reports whether the server is dead and another one lives.
func (d *deadServers) skips(srv server) bool { return d.isDead(srv) && d.othersLive(srv) }

// isDead reports whether the server is dead, also if no other one lives.
func (d *deadServers) isDead(srv server) bool {
	if d == nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.states[srv].rank() == 2
}

// othersLive reports whether there is a server to go to in place of this one.
func (d *deadServers) othersLive(srv server) bool {
	if d == nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.livingExcept(d.states[srv]) > 0
}

// countDevice adds n to the connections of a device. While more than one device is connected, the missing first replies of
// only one do not make a server dead.
func (d *deadServers) countDevice(device string, n int) {
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.devices[device] += n; d.devices[device] == 0 {
		delete(d.devices, device)
	}
}

// connectFailed records that connecting to the server, or the handshake, failed because of err.
func (d *deadServers) connectFailed(srv server, err error) {
	d.update(srv, func(s *serverMemory) error { return err })
}

// answered records that the first reply to a request came. Any reply counts, also one that cannot be used.
func (d *deadServers) answered(srv server, sent time.Time) {
	d.update(srv, func(s *serverMemory) error {
		if sent.After(s.answered) {
			s.answered = sent
		}
		s.dead, s.silent, s.unanswered = false, false, 0
		return nil
	})
}

// unanswered records that the first reply to a request did not come because of err: in time, or before the connection
// ended. device is who asked, empty for this program; without an error it left before the reply came, which counts after
// leftAfter. It does not count if a request that was sent later was answered.
func (d *deadServers) unanswered(srv server, device string, sent time.Time, err error) {
	if err == nil {
		if time.Since(sent) < leftAfter {
			return
		}
		err = failf(classNetwork, "no reply from %s before the client left", srv)
	}
	d.update(srv, func(s *serverMemory) error {
		if s.dead || s.answered.After(sent) {
			return nil
		}
		if s.unanswered == 0 {
			s.device, s.devices = device, false
		}
		s.unanswered++
		s.devices = s.devices || s.device != device
		if s.unanswered < deadAfter || !s.devices && len(d.devices) > 1 {
			return nil
		}
		s.silent = true
		return err
	})
}

// update changes the state of a server, which dies if change returns an error.
func (d *deadServers) update(srv server, change func(*serverMemory) error) {
	if d == nil {
		return
	}
	d.mu.Lock()
	s := d.states[srv]
	if s == nil { // not a server of this run
		d.mu.Unlock()
		return
	}
	wasDead := s.dead
	why := change(s)
	if why != nil && !wasDead {
		s.dead, s.unanswered, s.deadUntil = true, 0, time.Now().Add(d.deadTime)
		if !s.watched {
			s.watched = true
			go d.watch(srv, s)
		}
	}
	changed := s.dead != wasDead
	d.mu.Unlock()
	if changed && d.changed != nil {
		d.changed(srv, why)
	}
}

// watch connects to a dead server each time its dead time is over, until it lives.
func (d *deadServers) watch(srv server, s *serverMemory) {
	for d.sleep(s) {
		d.mu.Lock()
		connect := d.connect
		d.mu.Unlock()
		why := connect(d.life, srv)
		if d.life.Err() != nil {
			return
		}
		d.update(srv, func(s *serverMemory) error {
			s.dead = s.dead && why != nil // a request may have been answered meanwhile
			s.deadUntil = time.Now().Add(d.deadTime)
			return nil
		})
	}
}

// sleep waits until the dead time is over. It reports false if the server lives, or the run has ended.
func (d *deadServers) sleep(s *serverMemory) bool {
	for {
		d.mu.Lock()
		wait := time.Until(s.deadUntil)
		s.watched = s.dead
		dead := s.dead
		d.mu.Unlock()
		if !dead || wait <= 0 {
			return dead
		}
		select {
		case <-time.After(wait):
		case <-d.life.Done():
			return false
		}
	}
}
