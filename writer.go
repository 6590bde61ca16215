package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"
)

// A queuedWriter writes to an output that may fail or block: a full disk, a pipe whose reader has stopped. After a
// failed write it keeps the rest and writes that first the next time. It queues maxQueued bytes, or maxBackground.
//
// A write waits until it is done, unless background is set: then it only queues the bytes.
type queuedWriter struct {
	to         io.Writer
	ended      <-chan struct{} // once closed, a write waits for blockedLimit only
	background bool
	what       string                           // what is written, for messages
	loss       string                           // what follows from a failure, for the warning about it
	warnf      func(format string, args ...any) // may block, and is called in a goroutine of its own; or nil

	writing chan struct{} // has a value during each write to the output: a lock
	blocked bool          // a write was abandoned; guarded by writing

	mu      sync.Mutex
	queue   []byte // not written yet
	err     error  // of the last write
	lost    int    // texts that were not queued, and not warned of
	failing bool   // the last write failed, or the last text was not queued
	warned  bool   // value of failing at the last warning
	warning bool   // warn runs
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
	w.lost, w.failing = w.lost+1, true
	w.startWarning()
	return cmp.Or(w.err, errBlocked)
}

// writeNow writes what is queued and p. If that fails, the rest of p is dropped, or replaced by cut if a part of p was
// written.
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
		return failf(classUsage, "write %s: %w", w.what, cause(err))
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

// send writes the queue once and returns the number of bytes written. After the end it waits for blockedLimit only.
func (w *queuedWriter) send() (int, error) {
	if w.ended == nil {
		return w.sendQueue()
	}
	if w.blocked {
		return 0, errBlocked
	}
	done := make(chan struct{})
	var sent int // of the call that may be abandoned
	var failure error
	go func() {
		defer close(done)
		sent, failure = w.sendQueue()
	}()
	select {
	case <-done:
		return sent, failure
	case <-w.ended:
	}
	select {
	case <-done:
		return sent, failure
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
	if w.failing = err != nil; w.failing {
		w.queue = append(data[n:], w.queue...)
	}
	if len(w.queue) == 0 {
		w.queue = data[:0]
	}
	w.err = err
	w.startWarning()
	return n, err
}

// startWarning starts warn if a failure has begun or ended.
func (w *queuedWriter) startWarning() {
	if w.warnf != nil && !w.warning && w.failing != w.warned {
		w.warning = true
		go w.warn()
	}
}

// warn warns of a failure that has begun or ended, without a lock: a blocked stderr must not stop the writer.
func (w *queuedWriter) warn() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.failing != w.warned || !w.failing && w.lost > 0 {
		text := fmt.Sprintf("cannot write %s: %v%s", w.what, cause(cmp.Or(w.err, errBlocked)), w.loss)
		if w.warned = w.failing; !w.failing {
			text = fmt.Sprintf("%s are written again (%d lost)", w.what, w.lost)
			w.lost = 0
		}
		w.mu.Unlock()
		w.warnf("%s", text)
		w.mu.Lock()
	}
	w.warning = false
}
