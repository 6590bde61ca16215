package main

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// An acceptLoop is the state of one accept loop for a watchdog.
type acceptLoop struct {
	interval         time.Duration // between wake-ups
	accepted, failed bool          // since the last one
	lastWorked       time.Time     // guarded by listener.mu
}

// setWakeup ends Accept after the interval.
func (a *acceptLoop) setWakeup(socket net.Listener) {
	if inner, ok := socket.(interface{ SetDeadline(time.Time) error }); ok {
		_ = inner.SetDeadline(time.Now().Add(a.interval))
	}
}

// wokeUp records the result of Accept, and reports whether it is only a wake-up. Between two wake-ups a socket worked if a
// connection was accepted, or none came. The lock of the listener shows that connections would be admitted too. A nil
// *acceptLoop has no wake-ups.
func (a *acceptLoop) wokeUp(socket net.Listener, err error, lock sync.Locker) bool {
	switch {
	case a == nil:
		return false
	case err == nil:
		a.accepted = true
		return false
	case !errors.Is(err, os.ErrDeadlineExceeded):
		a.failed = true
		return false
	}
	if a.accepted || !a.failed {
		lock.Lock()
		a.lastWorked = time.Now()
		lock.Unlock()
	}
	a.accepted, a.failed = false, false
	a.setWakeup(socket)
	return true
}
