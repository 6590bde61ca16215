package main

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"
)

// A queuedWriter writes to an output that may fail or block: a full disk, a pipe whose reader has stopped. It keeps
// what a failed write leaves and tries that again before anything else. Of the bytes that wait for being written it
// keeps maxQueued, or maxBackground.
//
// A write waits until it is done, unless background is set: then it only queues the bytes.
type queuedWriter struct {
	to         io.Writer
	ended      <-chan struct{} // once closed, a write waits for blockedLimit only; nil: it always waits
	background bool
	what       string // what is written, for messages
	loss       string // what follows from a failure, for the warning about it
	warnf      func(format string, args ...any)

	writing chan struct{} // has a value during each write to the output: a lock
	blocked bool          // a write was abandoned; guarded by writing

	mu      sync.Mutex
	queue   []byte // not written yet
	err     error  // of the last write
	lost    int    // texts that were not queued, since failing is set
	failing bool   // a failure was reported
	looping bool   // writeLoop runs
}

const (
	maxQueued     = 64 << 10 // bytes after which queued text is written without a flush
	maxBackground = 1 << 20  // bytes that wait for a write in the background
	gatherTime    = 5 * time.Millisecond
	blockedLimit  = time.Second
)

var errBlocked = errors.New("the output is blocked")

// newQueuedWriter returns a writer that waits for each write, and after the end of ctx for blockedLimit.
func newQueuedWriter(ctx context.Context, to io.Writer) *queuedWriter {
	return &queuedWriter{to: to, ended: ctx.Done(), writing: make(chan struct{}, 1)}
}

// Write makes a queuedWriter an io.Writer. Bytes that it reports as not written are not tried again.
func (w *queuedWriter) Write(p []byte) (int, error) {
	if !w.background {
		return w.writeNow(p, "")
	}
	err := w.add(p)
	w.start()
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// add queues p for the next write or flush. If the queue is full, since writes fail or block, p is lost.
func (w *queuedWriter) add(p []byte) error {
	limit := maxQueued
	if w.background {
		limit = maxBackground
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) >= maxQueued {
		w.mu.Unlock()
		_ = w.flush()
		w.mu.Lock()
	}
	if len(w.queue) < limit {
		w.queue = append(w.queue, p...)
		return nil
	}
	w.lost++
	err := w.err
	if err == nil {
		err = errBlocked
	}
	w.report(err)
	return err
}

// writeNow writes what is queued and p. If that fails, the rest of p is dropped; of a p that was written in part, cut
// takes the place of the rest.
func (w *queuedWriter) writeNow(p []byte, cut string) (int, error) {
	w.writing <- struct{}{}
	defer func() { <-w.writing }()
	if w.blocked {
		return 0, errBlocked
	}
	w.mu.Lock()
	start := len(w.queue)
	w.queue = append(w.queue, p...)
	w.mu.Unlock()
	n, err := w.send()
	if err == nil || n >= start+len(p) {
		return len(p), nil
	}
	if w.blocked {
		return 0, err // the abandoned write still has p
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	end := start + len(p) - n
	if n <= start {
		w.queue = slices.Delete(w.queue, start-n, end)
		return 0, err
	}
	w.queue = slices.Replace(w.queue, 0, end, []byte(cut)...)
	return n - start, err
}

// flush writes what is queued, or has it written in the background. The error is that of the last write.
func (w *queuedWriter) flush() error {
	if w.background {
		w.start()
		return w.lastErr()
	}
	w.writing <- struct{}{}
	defer func() { <-w.writing }()
	_, err := w.send()
	return err
}

// close writes what is queued, until ctx ends.
func (w *queuedWriter) close(ctx context.Context) error {
	written := make(chan error, 1)
	go func() {
		w.writing <- struct{}{}
		defer func() { <-w.writing }()
		_, err := w.send()
		written <- err
	}()
	err := errBlocked
	select {
	case err = <-written:
	case <-ctx.Done():
	}
	if err != nil {
		return failf(classUsage, "write the %s: %w", w.what, cause(err))
	}
	return nil
}

// lastErr returns the error of the last write.
func (w *queuedWriter) lastErr() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// start has what is queued written in the background.
func (w *queuedWriter) start() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.looping && len(w.queue) > 0 {
		w.looping = true
		go w.writeLoop()
	}
}

// writeLoop writes until nothing is queued or a write fails.
func (w *queuedWriter) writeLoop() {
	for more := true; more; {
		time.Sleep(gatherTime) // packets that come together are written together
		w.writing <- struct{}{}
		_, err := w.send()
		<-w.writing
		w.mu.Lock()
		more = err == nil && len(w.queue) > 0
		w.looping = more
		w.mu.Unlock()
	}
}

// send writes the queue once and returns the number of bytes written. It waits for that, but after the end for
// blockedLimit only.
func (w *queuedWriter) send() (int, error) {
	if w.ended == nil {
		return w.sendQueue()
	}
	if w.blocked {
		return 0, errBlocked
	}
	type outcome struct {
		n   int
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		n, err := w.sendQueue()
		done <- outcome{n, err}
	}()
	select {
	case o := <-done:
		return o.n, o.err
	case <-w.ended:
	}
	select {
	case o := <-done:
		return o.n, o.err
	case <-time.After(blockedLimit):
		w.blocked = true
		return 0, errBlocked
	}
}

// sendQueue writes the queue once and keeps what a failed write leaves.
func (w *queuedWriter) sendQueue() (n int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	data := w.queue
	if len(data) == 0 {
		return 0, w.err
	}
	w.queue = nil
	w.mu.Unlock()
	n, err = w.to.Write(data)
	w.mu.Lock()
	switch {
	case err != nil:
		w.queue = append(data[n:], w.queue...)
		w.report(err)
	case w.failing:
		w.failing = false
		if w.warnf != nil {
			w.warnf("%s can be written again; %d were lost", w.what, w.lost)
		}
		w.lost = 0
	}
	if len(w.queue) == 0 {
		w.queue = data[:0]
	}
	w.err = err
	return n, err
}

// report warns of the first of several failures.
func (w *queuedWriter) report(err error) {
	if !w.failing {
		w.failing = true
		if w.warnf != nil {
			w.warnf("%s cannot be written: %v%s", w.what, cause(err), w.loss)
		}
	}
}
