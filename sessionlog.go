package main

import (
	"io"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// A sessionLog is standard output, shared by all connections: a line or an object for each session.
type sessionLog struct {
	json    bool
	verbose bool
	warnf   func(format string, args ...any) // the person, that lines cannot be written
	loss    string                           // what follows from that, for the same person

	mu     sync.Mutex
	out    io.Writer
	queue  []byte // lines that are not written yet
	err    error  // of the last write
	lost   int    // lines, since writes fail
	second int64  // since the epoch, that stamp is for: a time costs more than all else in a line
	stamp  []byte // up to the second
}

// maxQueued is how many bytes of lines wait for being written, but for the last of them.
const maxQueued = 64 << 10

// note prints at once what is wrong with a connection.
func (l *sessionLog) note(peer netip.AddrPort, what string) {
	l.write(&sessionRecord{at: time.Now(), peer: peer, problem: what})
	l.flush()
}

// write queues one line, or one object; flush sends what is queued. Where no more can wait, since
// writes fail, the line is lost.
func (l *sessionLog) write(r *sessionRecord) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) >= maxQueued && l.send() != nil {
		l.lost++
		return
	}
	l.append(r)
}

// flush sends what is queued. The error is that of the last write, also where nothing is queued.
func (l *sessionLog) flush() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.send()
}

// close sends what is queued. The error says of what it is.
func (l *sessionLog) close() error {
	if err := l.flush(); err != nil {
		return failf(classUsage, "write the lines of sessions: %w", cause(err))
	}
	return nil
}

// failed says that the last write failed.
func (l *sessionLog) failed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err != nil
}

// record writes one line at once. After an error it is not there, and will not be. One that has begun
// ends with cutRecord, which makes no object of it either.
func (l *sessionLog) record(r *sessionRecord) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := len(l.queue)
	l.append(r)
	line := len(l.queue) - before
	err := l.send()
	switch {
	case err == nil:
	case len(l.queue) >= line:
		l.queue = l.queue[:len(l.queue)-line]
	default:
		l.queue = append(l.queue[:0], cutRecord...)
	}
	return err
}

// cutRecord is the end of a record that was not written whole: the client was told ERROR.
const cutRecord = "... cut: not confirmed\n"

// append queues one line, or one object.
func (l *sessionLog) append(r *sessionRecord) {
	if l.json {
		l.queue = r.appendJSON(l.queue)
		return
	}
	if !r.at.IsZero() {
		if now := r.at.Unix(); now != l.second || l.stamp == nil {
			l.second, l.stamp = now, r.at.UTC().AppendFormat(l.stamp[:0], "2006-01-02T15:04:05")
		}
		ms := r.at.Nanosecond() / 1e6
		l.queue = append(append(l.queue, l.stamp...), '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10), 'Z')
	}
	line := len(l.queue)
	if l.queue = r.appendLine(l.queue, l.verbose); r.at.IsZero() {
		l.queue = slices.Delete(l.queue, line, line+1) // the blank behind the time
	}
}

// send writes what is queued, and keeps what a failed write leaves of it. It says when writes begin
// to fail, and when they no longer do.
func (l *sessionLog) send() error {
	if len(l.queue) == 0 {
		return l.err
	}
	n, err := l.out.Write(l.queue)
	l.queue = l.queue[:copy(l.queue, l.queue[n:])]
	switch {
	case err != nil && l.err == nil:
		l.warnf("lines of sessions cannot be written: %v%s", cause(err), l.loss)
	case err == nil && l.err != nil:
		l.warnf("lines of sessions can be written again; %d were lost", l.lost)
		l.lost = 0
	}
	l.err = err
	return err
}
