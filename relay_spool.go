package main

import (
	"errors"
	"io"
	"sync"
	"time"
)

// A spool is written behind: those who write do not wait for a disk that is full, or for a reader who has
// stopped. A write fails once it is known that the one before did, or where too much waits.
type spool struct {
	what string // for an error
	to   io.Writer
	wake chan struct{}
	done chan struct{}

	mu     sync.Mutex
	waits  []byte // not written yet
	err    error  // of the last write
	closed bool
}

const (
	maxSpooled = 1 << 20              // bytes that wait for being written
	spoolDelay = 5 * time.Millisecond // for what comes meanwhile to be written together
)

var errSlow = errors.New("what came before is not written yet")

func newSpool(what string, to io.Writer) *spool {
	s := &spool{what: what, to: to, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go s.writeLoop()
	return s
}

// Write makes a spool an io.Writer. After an error it takes nothing, and has what waits tried again.
func (s *spool) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil || len(s.waits) == 0 {
		defer s.notify()
	}
	switch {
	case s.err != nil:
		return 0, s.err
	case len(s.waits)+len(p) > maxSpooled:
		return 0, errSlow
	}
	s.waits = append(s.waits, p...)
	return len(p), nil
}

func (s *spool) notify() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run writes until the spool is closed.
func (s *spool) writeLoop() {
	defer close(s.done)
	var own []byte
	for range s.wake {
		time.Sleep(spoolDelay)
		s.mu.Lock()
		own, s.waits = s.waits, own[:0]
		closed := s.closed
		s.mu.Unlock()
		n, err := 0, error(nil)
		if len(own) > 0 {
			n, err = s.to.Write(own)
		}
		s.mu.Lock()
		if s.err = err; err != nil {
			s.waits, own = append(own[n:], s.waits...), nil
		}
		s.mu.Unlock()
		if closed {
			return
		}
	}
}

// close has what waits written, for the last time.
func (s *spool) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.notify()
}

// wait waits until that is done, but not for longer than that, and says what became of it.
func (s *spool) wait(until time.Time) error {
	err := errSlow
	select {
	case <-s.done:
		err = s.err
	case <-time.After(time.Until(until)):
	}
	if err != nil {
		err = failf(classUsage, "write the %s: %w", s.what, cause(err))
	}
	return err
}
