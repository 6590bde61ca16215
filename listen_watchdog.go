package main

import (
	"errors"
	"os"
	"time"
)

// An acceptLoop is the state of one accept loop for a watchdog.
type acceptLoop struct {
	interval         time.Duration // between wake-ups
	accepted, failed bool          // since the last one
	lastWorked       time.Time     // guarded by listener.mu
}

// watchAccepting lets the accept loops wake up at an interval, so that acceptingSince can be used.
func (l *listener) watchAccepting(interval time.Duration) {
	for i := range l.listeners {
		l.listeners[i].loop = &acceptLoop{interval: interval, lastWorked: time.Now()}
		l.listeners[i].setWakeup()
	}
}

// setWakeup ends Accept after the interval.
func (s listeningSocket) setWakeup() {
	if inner, ok := s.Listener.(interface{ SetDeadline(time.Time) error }); ok {
		_ = inner.SetDeadline(time.Now().Add(s.loop.interval))
	}
}

// wokeUp records the result of Accept, and reports whether it is only a wake-up. Between two wake-ups a socket worked if a
// connection was accepted, or none came. The lock shows that connections would be admitted too.
func (l *listener) wokeUp(socket listeningSocket, err error) bool {
	loop := socket.loop
	switch {
	case loop == nil:
		return false
	case err == nil:
		loop.accepted = true
		return false
	case !errors.Is(err, os.ErrDeadlineExceeded):
		loop.failed = true
		return false
	}
	if loop.accepted || !loop.failed {
		l.mu.Lock()
		loop.lastWorked = time.Now()
		l.mu.Unlock()
	}
	loop.accepted, loop.failed = false, false
	socket.setWakeup()
	return true
}

// acceptingSince reports whether all sockets have accepted connections since t, or could have.
func (l *listener) acceptingSince(t time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, socket := range l.listeners {
		if socket.loop.lastWorked.Before(t) {
			return false
		}
	}
	return true
}
