package main

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// A sessionLog prints sessions to stdout, each as a line or a JSON object. Connections share it.
type sessionLog struct {
	out     *queuedWriter // nil: nothing is printed
	json    bool
	verbose bool

	mu     sync.Mutex
	line   []byte
	second int64  // of stamp, since the epoch: formatting a time costs more than the rest of a line
	stamp  []byte // of the last line: its milliseconds are replaced in the same second
}

// sessionLines is what a sessionLog writes, for messages.
const sessionLines = "session lines"

// note prints at once what is wrong with a connection.
func (l *sessionLog) note(peer netip.AddrPort, problem string) {
	l.write(&sessionRecord{at: time.Now(), peer: peer, problem: problem})
	l.flush()
}

// write queues a record for the next flush. If writes fail and the queue is full, the record is lost.
func (l *sessionLog) write(r *sessionRecord) {
	if l.out == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.out.addOf(r.peer.Addr(), l.format(r)) // the writer counts what is lost
}

// writeAll is write for many records, of any clients.
func (l *sessionLog) writeAll(records []sessionRecord) {
	if l.out == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.line = l.line[:0]
	for i := range records {
		l.line = l.appendRecord(l.line, &records[i])
	}
	_ = l.out.add(l.line)
}

// flush writes the queued records and returns the error of the last write.
func (l *sessionLog) flush() error {
	if l.out == nil {
		return nil
	}
	return l.out.flush()
}

// writeNow writes a record and waits until it is written. After an error the log may have the start of the line, which
// then ends with cutRecord.
func (l *sessionLog) writeNow(r *sessionRecord) error {
	if l.out == nil {
		return errNotKept
	}
	l.mu.Lock()
	line := slices.Clone(l.format(r))
	l.mu.Unlock()
	_, err := l.out.writeNow(line, cutRecord)
	return err
}

// errNotKept is the error for a record if nothing is printed.
var errNotKept = errors.New("records are not kept")

// cutRecord ends a record that was written in part: the client gets the status ERROR.
const cutRecord = "... cut: not confirmed\n"

// failed reports whether the last write failed.
func (l *sessionLog) failed() bool { return l.out != nil && l.out.lastErr() != nil }

// close writes the queued records, until ctx ends.
func (l *sessionLog) close(ctx context.Context) error {
	if l.out == nil {
		return nil
	}
	return l.out.close(ctx)
}

// format returns the line, or the object, of a record. It is valid until the next call.
func (l *sessionLog) format(r *sessionRecord) []byte {
	l.line = l.appendRecord(l.line[:0], r)
	return l.line
}

// appendRecord appends the line, or the object, of a record.
func (l *sessionLog) appendRecord(b []byte, r *sessionRecord) []byte {
	switch {
	case l.json:
		return r.appendJSON(b)
	case r.at.IsZero():
		n := len(b)
		return slices.Delete(r.appendLine(b, l.verbose), n, n+1) // without the blank that follows a time
	}
	if now := r.at.Unix(); now != l.second || l.stamp == nil {
		l.second, l.stamp = now, r.at.UTC().AppendFormat(l.stamp[:0], timeLayout)
	}
	digits := l.stamp[len(l.stamp)-len("000Z"):]
	for i, ms := 2, r.at.Nanosecond()/1e6; i >= 0; i, ms = i-1, ms/10 {
		digits[i] = byte('0' + ms%10)
	}
	return r.appendLine(append(b, l.stamp...), l.verbose)
}
