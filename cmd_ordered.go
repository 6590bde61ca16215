package main

import (
	"bufio"
	"cmp"
	"context"
	"io"
	"sync"
	"time"
)

// An orderedRun reads requests from lines, sends them through a pool, and writes the results in the order of the lines.
// It holds a limited number of lines and bytes, however long the input is and however long one request delays the
// others. Its fields belong to the goroutine of run unless noted otherwise.
type orderedRun struct {
	inv    *invocation
	parse  func(l *requestLine, text []byte) error // builds l's request; called by the reader; an error is the result of the line
	write  func(out *bufio.Writer, l *requestLine) // writes a result
	footer func(t *tally) string                   // returns the text after the last result; nil for none
	tally

	out      *bufio.Writer
	broken   bool              // out cannot be written to any more
	read     chan *requestLine // from the reader; closed at the end of the input
	readErr  error             // set by the reader before it closes read
	pending  []*requestLine    // taken from read and not written yet, in order
	inFlight int               // requests with the pool
	tasks    taskQueues
	backlog  backlog
	unused   sync.Pool // of *requestLine; without it, garbage collection takes a third of the time
}

// run reads lines until the input or ctx ends, and writes each result while it runs. What it returns is the exit code.
func (s *orderedRun) run(ctx context.Context, c *client, in io.Reader, inFlight int) (output, error) {
	s.out = newResultWriter(ctx, s.inv)
	s.backlog.maxLines, s.backlog.freed.L = max(minBacklog, 4*inFlight), &s.backlog.mu
	s.unused.New = func() any { return new(requestLine) }
	s.read = make(chan *requestLine, s.backlog.maxLines) // has room for the whole backlog
	p := newPool(c, inFlight)
	p.beforeWait = func() { s.broken = s.out.Flush() != nil }
	p.note = func(text string) { s.inv.warnf(warnConnectionReuse, "%s", text) }
	p.nextJob = s.nextJob
	go s.readInput(in, &p.wakeup)
	p.run(ctx)
	if ctx.Err() != nil {
		for _, l := range s.tasks.all() {
			l.job.err = interrupted(ctx)
			s.writeDone(l)
		}
	}
	if s.footer != nil && s.total > 0 {
		s.out.WriteString(s.footer(&s.tally))
	}
	err := flushResults(ctx, s.out)
	if ctx.Err() == nil && !s.broken && s.readErr != nil { // the reader has ended
		err = failf(classUsage, "read the requests: %w", cause(s.readErr))
	}
	class := choose(ctx.Err() != nil, classInterrupted, s.class())
	return &page{exitStatus: exitStatus{class.exit()}}, err
}

// readInput reads the whole input and passes on its requests.
func (s *orderedRun) readInput(in io.Reader, ready *wakeup) {
	defer ready.notify()
	defer close(s.read)
	r := newLineReader(in)
	for {
		s.backlog.waitForRoom()
		text, err := r.next()
		if err != nil && err != errLineTooLong {
			if err != io.EOF {
				s.readErr = err
			}
			return
		}
		l := s.unused.Get().(*requestLine)
		l.reset(r.number, s.lineDone)
		if err == nil {
			err = s.parse(l, text)
		}
		if err == errNoRequest {
			s.unused.Put(l)
			continue
		}
		l.job.err = err
		s.backlog.addLine(l, len(text))
		s.read <- l
		if len(s.read) == 1 { // the pool may be waiting for it
			ready.notify()
		}
	}
}

// nextJob returns the next request that was read, for the pool.
func (s *orderedRun) nextJob(time.Time) (j *job, next time.Time, more bool) {
	for !s.broken { // no result could be shown
		if s.inFlight > 0 && s.backlog.full() {
			return nil, time.Time{}, true
		}
		if l := s.tasks.next(); l != nil {
			s.inFlight++
			return &l.job, time.Time{}, true
		}
		select {
		case l, open := <-s.read:
			if !open {
				return nil, time.Time{}, false
			}
			s.pending = append(s.pending, l)
			if l.job.err != nil {
				s.writeDone(l) // it is no request
			} else if !s.tasks.hold(l) {
				s.inFlight++
				return &l.job, time.Time{}, true
			}
		default:
			return nil, time.Time{}, true
		}
	}
	return nil, time.Time{}, false
}

// lineDone takes back a request from the pool.
func (s *orderedRun) lineDone(l *requestLine) {
	s.inFlight--
	received := l.job.session.timing.received
	l.size += received
	s.backlog.add(0, received)
	s.tasks.done(l)
	l.job.res.addWarnings(nil, s.inv.output.silenced)
	s.writeDone(l)
}

// writeDone marks a line as done, and writes the results of the first lines that are done.
func (s *orderedRun) writeDone(l *requestLine) {
	l.done = true
	for ; len(s.pending) > 0 && s.pending[0].done; s.pending = s.pending[1:] {
		first := s.pending[0]
		s.add(first)
		s.write(s.out, first)
		s.backlog.add(-1, -first.size)
		s.unused.Put(first)
	}
}

// The limits of a backlog: lines, or four times the requests in flight if that is more; and bytes.
const (
	minBacklog      = 1024
	maxBacklogBytes = 64 << 20
)

// A backlog counts the lines that were read and whose results are not written yet, and the bytes that they hold.
type backlog struct {
	maxLines int

	mu    sync.Mutex
	lines int
	bytes int
	freed sync.Cond // signals that a line was removed
}

// waitForRoom waits until another line may be read.
func (b *backlog) waitForRoom() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.lines >= b.maxLines || b.bytes > maxBacklogBytes {
		b.freed.Wait()
	}
}

// full reports whether no more requests are to be started, since their results would be held too.
func (b *backlog) full() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.bytes > maxBacklogBytes
}

// addLine adds a line of n bytes, with what parsing it has made of them.
func (b *backlog) addLine(l *requestLine, n int) {
	l.size += n
	if l.job.err != nil {
		l.size += len(l.job.err.Error())
	}
	b.add(1, l.size)
}

// add counts lines and bytes that are held from now on or, if negative, that are no longer.
func (b *backlog) add(lines, bytes int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines += lines
	b.bytes += bytes
	b.freed.Signal()
}

// newResultWriter returns the buffer for results on standard output.
func newResultWriter(ctx context.Context, inv *invocation) *bufio.Writer {
	if inv.output.quiet {
		return bufio.NewWriter(io.Discard)
	}
	return bufio.NewWriterSize(newQueuedWriter(ctx, inv.std.out), 64<<10)
}

// flushResults writes out what is buffered. Output that is not read after an interruption is an interruption too.
func flushResults(ctx context.Context, out *bufio.Writer) error {
	err := out.Flush()
	if err == nil {
		return nil
	}
	f := failf(classLocal, "write the results: %w", cause(err))
	if ctx.Err() != nil {
		f.class, f.signal = classInterrupted, interrupted(ctx).signal
	}
	return f
}

// A tally counts results by what they amount to.
type tally struct {
	allowDenied bool // a denial without an expectation is no failure if some lines have an expectation

	total      int
	byClass    [len(classes)]int
	expecting  bool  // some lines have an expectation
	mismatches int   // results that are not as expected, failures included
	unexpected int   // of them, those that are a verdict
	denied     int   // denials without an expectation
	failed     class // of the first failure that is not a denial

	noTaskIDs     int
	firstNoTaskID int             // the line of the first of them
	underWay      map[string]bool // tasks by task_id: at most maxUnderWayTasks of them
	reusedIDs     int             // START records with the task_id of a task under way
	firstReusedID int             // the line of the first of them
}

// maxUnderWayTasks bounds the memory of a tally.
const maxUnderWayTasks = 1 << 16

// add counts the result of a line.
func (t *tally) add(l *requestLine) {
	c := l.job.class()
	t.total++
	t.byClass[c]++
	t.expecting = t.expecting || l.expect != ""
	if c != classUsage {
		t.addRecord(l)
	}
	if l.asExpected() {
		return
	}
	if l.expect != "" {
		t.mismatches++
	}
	switch {
	case c > classDenied:
		t.failed = cmp.Or(t.failed, c)
	case l.expect != "":
		t.unexpected++
	default:
		t.denied++
	}
}

// addRecord follows the tasks of accounting records. A task ends for the client with its STOP, and begins only if its
// START is confirmed. RFC 8907 section 8.3.
func (t *tally) addRecord(l *requestLine) {
	switch {
	case l.noTaskID:
		t.firstNoTaskID = cmp.Or(t.firstNoTaskID, l.number)
		t.noTaskIDs++
	case l.taskID == "":
	case l.flags == acctStop:
		delete(t.underWay, l.taskID)
	case l.flags != acctStart:
	case t.underWay[l.taskID]:
		t.firstReusedID = cmp.Or(t.firstReusedID, l.number)
		t.reusedIDs++
	case l.job.class() == classGranted && len(t.underWay) < maxUnderWayTasks:
		if t.underWay == nil {
			t.underWay = make(map[string]bool)
		}
		t.underWay[l.taskID] = true
	}
}

// class returns the class of the whole run: that of the first failure, or denied if a verdict is not as expected.
func (t *tally) class() class {
	if t.failed == classGranted && (t.unexpected > 0 || t.denied > 0 && !(t.expecting && t.allowDenied)) {
		return classDenied
	}
	return t.failed
}
