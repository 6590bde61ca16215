package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"time"
)

// A queuedWriter writes to an output that may fail or block: a full disk, a pipe whose reader has stopped. After a
// failed write it keeps the rest and writes that first the next time. It queues maxQueued bytes, or maxBackground.
//
// A write waits until it is done, unless background is set: then it only queues the bytes.
type queuedWriter struct {
	to     io.Writer
	ended  <-chan struct{} // once closed, a write waits for blockedLimit only
	what   string          // what is written, for messages
	loss   string          // what follows from a failure, for the warning about it
	warnf  func(format string, args ...any)
	noteOf func(lost int) string // what to write in place of lost texts, in the output itself; or nil

	writing chan struct{} // has a value during each write to the output: a lock

	mu         sync.Mutex
	background bool
	queue      []byte // not written yet
	pending    int    // texts in it that were added
	shares     *share // of its bytes, of clients in the background; or nil
	err        error  // of the last write
	blocked    bool   // a caller gave up waiting for the write under way
	lost       int    // texts that were not queued, and not reported
	failing    bool   // the last write failed, or the last text was not queued
	warned     bool   // value of failing at the last warning
	warning    bool   // warn runs
	looping    bool   // writeLoop runs
}

const (
	maxQueued     = 64 << 10          // bytes after which queued text is written without a flush
	maxBackground = 1 << 20           // bytes that wait for a write in the background
	maxUnshared   = maxBackground / 4 // of them without shares
	gatherTime    = 5 * time.Millisecond
	blockedLimit  = time.Second
	noticeTimeout = 200 * time.Millisecond // for the last messages, to an output that may be blocked
)

var errBlocked = errors.New("the output is blocked")

// newQueuedWriter returns a writer that waits for each write, and after the end of ctx for blockedLimit.
func newQueuedWriter(ctx context.Context, to io.Writer) *queuedWriter {
	return &queuedWriter{to: to, ended: ctx.Done(), writing: make(chan struct{}, 1)}
}

// newStderrWriter returns a writer for messages and packets, which counts what it loses in the background.
func newStderrWriter(ctx context.Context, to io.Writer) *queuedWriter {
	w := newQueuedWriter(ctx, to)
	w.noteOf = func(lost int) string {
		return fmt.Sprintf("tacacs_plus: %d messages or packets lost: stderr was blocked\n", lost)
	}
	return w
}

// inBackground calls f, during which writes do not wait. Then it waits for what is queued, for noticeTimeout at most.
func (w *queuedWriter) inBackground(f func() error) error {
	w.setBackground(true)
	err := f()
	ctx, cancel := context.WithTimeout(context.Background(), noticeTimeout)
	defer cancel()
	_ = w.close(ctx) // its error could only be written here
	w.setBackground(false)
	return err
}

func (w *queuedWriter) setBackground(on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.background = on
}

func (w *queuedWriter) isBackground() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.background
}

// Write makes a queuedWriter an io.Writer. Bytes that it reports as not written are not tried again.
func (w *queuedWriter) Write(p []byte) (int, error) {
	if !w.isBackground() {
		return w.writeNow(p, "")
	}
	err := w.add(p)
	_ = w.start()
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// add queues p for the next write or flush. If the queue is full, since writes fail or block, p is lost.
func (w *queuedWriter) add(p []byte) error { return w.addOf(netip.Addr{}, p) }

// addOf is add for a text of a client. In the background a client has a share of the queue, so that its texts do not take
// the place of others'.
func (w *queuedWriter) addOf(client netip.Addr, p []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	limit := maxQueued
	if w.background {
		limit = maxBackground
	}
	if len(w.queue) >= maxQueued {
		w.mu.Unlock()
		_ = w.flush()
		w.mu.Lock()
	}
	if len(w.queue) < limit && w.reserve(client, len(p)) {
		w.noteLost()
		w.queue = append(w.queue, p...)
		w.pending++
		return nil
	}
	w.lost, w.failing = w.lost+1, true
	w.startWarning()
	return cmp.Or(w.err, errBlocked)
}

// reserve reserves n bytes of the queue for a client, or reports that it has none left. w.mu is locked.
func (w *queuedWriter) reserve(client netip.Addr, n int) bool {
	if !w.background || !client.IsValid() || len(w.queue) < maxUnshared {
		return true
	}
	if w.shares == nil {
		w.shares = newShare(maxBackground-maxUnshared, "bytes of lines")
	}
	return w.shares.claim(client).take(n) == "" // dropped with the share
}

// noteLost queues the note on lost texts. w.mu is locked.
func (w *queuedWriter) noteLost() {
	if w.noteOf != nil && w.lost > 0 {
		w.queue = append(w.queue, w.noteOf(w.lost)...)
		w.lost = 0
	}
}

// writeNow writes what is queued and p. If that fails, the rest of p is dropped, or replaced by cut if a part of p was
// written. In the background, and after the end, it waits for blockedLimit only, and not at all if the output is known to
// be blocked. After errBlocked p may still be written.
func (w *queuedWriter) writeNow(p []byte, cut string) (int, error) {
	type result struct {
		n   int
		err error
	}
	done, abandoned := make(chan result, 1), make(chan struct{})
	var limit <-chan time.Time
	if w.isBackground() {
		if w.isBlocked() {
			return 0, errBlocked
		}
		limit = time.After(blockedLimit)
	}
	go func() {
		select {
		case w.writing <- struct{}{}:
		case <-abandoned:
			return
		}
		defer func() { <-w.writing }()
		select {
		case <-abandoned: // at the same time
			return
		default:
		}
		n, err := w.send(p, cut)
		done <- result{n, err}
	}()
	for ended := w.ended; ; {
		select {
		case r := <-done:
			return r.n, r.err
		case <-ended:
			if ended = nil; limit == nil {
				limit = time.After(blockedLimit)
			}
			if !w.isBlocked() {
				continue
			}
		case <-limit:
		}
		close(abandoned)
		w.setBlocked()
		return 0, errBlocked
	}
}

func (w *queuedWriter) isBlocked() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.blocked
}

// setBlocked notes that a caller gave up waiting.
func (w *queuedWriter) setBlocked() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.blocked, w.failing = true, true
	w.startWarning()
}

// send writes what is queued and p, of which it returns the number of bytes written. It is called with the lock writing.
func (w *queuedWriter) send(p []byte, cut string) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	start := len(w.queue)
	w.queue = append(w.queue, p...)
	n, err := w.sendQueue()
	if err == nil || len(p) > 0 && n >= start+len(p) {
		return len(p), nil
	}
	end := start + len(p) - n
	if n <= start {
		w.queue = append(w.queue[:start-n], w.queue[end:]...)
		return 0, err
	}
	w.queue = append([]byte(cut), w.queue[end:]...)
	return n - start, err
}

// flush writes what is queued, or has it written in the background. The error is that of the last write.
func (w *queuedWriter) flush() error {
	if w.isBackground() {
		return w.start()
	}
	_, err := w.writeNow(nil, "")
	return err
}

// close writes what is queued, until ctx ends. In the foreground it does not wait for an output that is known to be blocked.
func (w *queuedWriter) close(ctx context.Context) error {
	written := make(chan error, 1)
	write := func() {
		w.writing <- struct{}{}
		defer func() { <-w.writing }()
		_, err := w.send(nil, "")
		if err == nil {
			_, err = w.send(nil, "") // the note on lost texts
		}
		written <- err
	}
	err := errBlocked
	if w.isBackground() || !w.isBlocked() {
		go write()
		select {
		case err = <-written:
		case <-ctx.Done():
		}
	}
	if err == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if lost := w.lost + w.pending; w.background && err != errBlocked && lost > 0 {
		return failf(classLocal, "write %s: %w (%d lost)", w.what, cause(err), lost)
	}
	return failf(classLocal, "write %s: %w", w.what, cause(err))
}

// lastErr returns the error of the last write.
func (w *queuedWriter) lastErr() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// start has what is queued written in the background. The error is that of the last write.
func (w *queuedWriter) start() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.looping && len(w.queue) > 0 {
		w.looping = true
		go w.writeLoop()
	}
	return w.err
}

// writeLoop writes until nothing is queued or a write fails.
func (w *queuedWriter) writeLoop() {
	for more := true; more; {
		time.Sleep(gatherTime) // packets that come together are written together
		w.writing <- struct{}{}
		w.mu.Lock()
		_, err := w.sendQueue()
		more = err == nil && len(w.queue) > 0
		w.looping = more
		w.mu.Unlock()
		<-w.writing
	}
}

// sendQueue writes the queue once, keeps what a failed write leaves, and returns the number of bytes written. w.mu is
// locked, but not during the write.
func (w *queuedWriter) sendQueue() (n int, err error) {
	data, pending, shares := w.queue, w.pending, w.shares
	if len(data) == 0 {
		return 0, w.err
	}
	w.queue, w.pending, w.shares = nil, 0, nil
	w.mu.Unlock()
	n, err = w.to.Write(data)
	w.mu.Lock()
	if w.blocked, w.failing = false, err != nil; w.failing {
		w.queue = append(data[n:], w.queue...)
		w.pending += pending
		w.shares = shares.with(w.shares)
	} else {
		w.noteLost()
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
