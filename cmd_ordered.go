package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"time"
)

// An entry is one line of input and what becomes of it.
type item struct {
	job
	line     int
	text     string          // what a person knows it by
	id       json.RawMessage // what a program knows it by
	expect   string          // the status that makes it a success
	noTaskID bool            // a record of a task that no other record names
	done     bool
	size     int            // bytes of the line and of what came of it; parse enters what it keeps beyond the line
	login    authentication // the memory for the request, where it is one
}

// asExpected says whether the entry is a success: with + and - by what it amounts to, with the
// name of a status by that.
func (e *item) asExpected() bool {
	switch e.expect {
	case "", "+":
		return e.class() == classGranted
	case "-":
		return e.class() == classDenied
	}
	return strings.EqualFold(e.expect, e.res.Status) // which no failure has
}

// A sequence takes requests from lines, has them carried, and shows the results in the order of
// the lines. It holds no more of them than its window, and no more bytes than maxHeld, however long
// the input is and however long one request keeps the others waiting.
type orderedRun struct {
	inv    *invocation
	parse  func(e *item, line []byte) error // an error is what came of the line
	show   func(s *orderedRun, e *item)     // writes to out
	last   func(s *orderedRun)              // likewise, at the end; nil for nothing
	warn   func(format string, args ...any) // gets what a person should know
	retain bool                             // who shows an entry lets go of it
	out    *bufio.Writer
	enc    *json.Encoder

	chunks   chan []*item  // from the reader; closed at the end of the input
	chunk    []*item       // the rest of the last one
	free     chan *item    // those that are not in use
	held     atomic.Int64  // bytes of lines and results that are not shown yet
	freed    chan struct{} // it has become less
	inFlight int           // entries under way
	pending  []*item       // read, and not shown yet, in order
	readErr  error         // set before chunks is closed
	broken   bool          // the output takes nothing any more

	total         int
	mismatches    int   // of which something else was expected, failures included
	unexpected    int   // of them, those that are an answer
	denied        int   // with nothing expected
	failed        class // of the first that is neither
	marked        bool  // something was expected of some
	allowDenied   bool  // then nothing is expected of the others
	noTaskIDs     int
	firstNoTaskID int // the line of the first of them
	byClass       [len(classes)]int
}

const (
	maxLine   = 1 << 20 // bytes: 1 MiB
	window    = 1024    // entries at least
	chunkSize = 64      // entries
	maxHeld   = 64 << 20
)

// run reads lines until the input ends, or ctx does. All is shown while it runs; what is left is the
// exit code.
func (s *orderedRun) run(ctx context.Context, c *client, in io.Reader, inFlight int) (output, error) {
	s.chunks, s.free = make(chan []*item, 4), make(chan *item, max(window, 4*inFlight))
	for range cap(s.free) {
		s.free <- new(item)
	}
	s.freed = make(chan struct{}, 1)
	s.open(ctx)
	team := newPool(c, inFlight)
	team.done = func(j *job) {
		e := j.owner.(*item)
		s.inFlight--
		s.grow(e, j.session.timing.received)
		s.done(e)
	}
	team.beforeWait = func() { s.broken = s.out.Flush() != nil }
	team.warn = func(text string) { s.warn("%s", text) }
	team.nextJob = s.nextJob
	go s.read(in, &team.wakeup)
	team.run(ctx)
	if s.last != nil && s.total > 0 {
		s.last(s)
	}
	err := s.flush(ctx)
	if ctx.Err() == nil && !s.broken && s.readErr != nil { // the reader has ended
		err = failf(classUsage, "read the requests: %w", cause(s.readErr))
	}
	class := s.class()
	if ctx.Err() != nil {
		class = classInterrupted
	}
	return &page{exitStatus: exitStatus{class.exit()}}, err
}

// open makes the output ready.
func (s *orderedRun) open(ctx context.Context) {
	s.out = bufio.NewWriterSize(newQueuedWriter(ctx, s.inv.std.out), 64<<10)
	if s.inv.output.quiet {
		s.out.Reset(io.Discard)
	}
	s.enc = json.NewEncoder(s.out)
	s.enc.SetEscapeHTML(false)
}

// flush writes out what is left.
func (s *orderedRun) flush(ctx context.Context) error {
	err := s.out.Flush()
	if err == nil {
		return nil
	}
	f := failf(classUsage, "write the results: %w", cause(err))
	if ctx.Err() != nil {
		f.class, f.signal = classInterrupted, interrupted(ctx).signal // nobody read them, and that ends here
	}
	return f
}

// read cuts the input into lines. What has come together is handed over together.
func (s *orderedRun) read(in io.Reader, bell *wakeup) {
	r := bufio.NewReaderSize(in, 64<<10)
	var chunk []*item
	hand := func() {
		if len(chunk) > 0 {
			s.chunks <- chunk
			chunk = nil
			bell.notify()
		}
	}
	for n := 1; ; n++ {
		line, err := readLine(r)
		if n == 1 {
			line = bytes.TrimPrefix(line, []byte("\ufeff")) // a byte order mark, as some editors write it
		}
		if err != nil && !errors.Is(err, errLineTooLong) {
			if err != io.EOF {
				s.readErr = err
			}
			break
		}
		if err == nil && len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		for s.held.Load() > maxHeld {
			hand() // what would make it less may be among them
			<-s.freed
		}
		e := <-s.free
		*e = item{line: n}
		e.owner = e
		if e.err = err; err == nil {
			e.err = s.parse(e, line)
		}
		s.hold(e, len(line))
		if e.err == errNoRequest {
			s.shrink(e)
			continue
		}
		chunk = append(chunk, e)
		if rest, _ := r.Peek(r.Buffered()); len(chunk) == chunkSize || bytes.IndexByte(rest, '\n') < 0 {
			hand()
		}
	}
	hand()
	close(s.chunks)
	bell.notify()
}

// errNoRequest is a line that asks for nothing, such as a comment.
var errNoRequest = errors.New("no request")

var errLineTooLong = errors.New("the line is over 1 MiB")

// readLine reads a line without its end; the rest of one that is too long is skipped.
func readLine(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	if err == nil {
		return line, nil
	}
	long := bytes.Clone(line)
	for errors.Is(err, bufio.ErrBufferFull) {
		line, err = r.ReadSlice('\n')
		if len(long) <= maxLine {
			long = append(long, line...)
		}
	}
	if err == io.EOF && len(long) > 0 {
		err = nil
	}
	if err == nil && len(long) > maxLine {
		err = errLineTooLong
	}
	return long, err
}

// take gives the crew the next request that was read.
func (s *orderedRun) nextJob(time.Time) (*job, time.Time, bool) {
	for !s.broken { // or nobody would see what comes of it
		if s.held.Load() > maxHeld && s.inFlight > 0 {
			return nil, time.Time{}, true
		}
		if len(s.chunk) == 0 {
			select {
			case chunk, open := <-s.chunks:
				if !open {
					return nil, time.Time{}, false
				}
				s.chunk = chunk
				s.pending = append(s.pending, chunk...)
			default:
				return nil, time.Time{}, true
			}
		}
		e := s.chunk[0]
		s.chunk = s.chunk[1:]
		if e.err == nil {
			s.inFlight++
			return &e.job, time.Time{}, true
		}
		s.done(e) // a line that is no request
	}
	return nil, time.Time{}, false
}

// done shows every result whose turn has come.
func (s *orderedRun) done(e *item) {
	e.done = true
	for ; len(s.pending) > 0 && s.pending[0].done; s.pending = s.pending[1:] {
		s.count(s.pending[0])
		if s.show(s, s.pending[0]); !s.retain {
			s.shrink(s.pending[0])
		}
	}
}

// hold counts an entry that was parsed, with the bytes of its line and of what parse made of them.
func (s *orderedRun) hold(e *item, line int) {
	if e.err != nil {
		line += len(e.err.Error())
	}
	kept := e.size
	e.size = 0
	s.grow(e, kept+line)
}

// grow counts n bytes more that are held for an entry.
func (s *orderedRun) grow(e *item, n int) {
	e.size += n
	s.held.Add(int64(n))
}

// shrink lets go of an entry, for another line to use.
func (s *orderedRun) shrink(e *item) {
	s.held.Add(-int64(e.size))
	s.free <- e // has room for all there are
	select {
	case s.freed <- struct{}{}:
	default:
	}
}

// count keeps the totals.
func (s *orderedRun) count(e *item) {
	s.total++
	c := e.class()
	s.byClass[c]++
	s.marked = s.marked || e.expect != ""
	if e.noTaskID {
		s.firstNoTaskID = cmp.Or(s.firstNoTaskID, e.line)
		s.noTaskIDs++
	}
	if e.asExpected() {
		return
	}
	if e.expect != "" {
		s.mismatches++
	}
	switch {
	case c > classDenied:
		s.failed = cmp.Or(s.failed, c)
	case e.expect != "":
		s.unexpected++
	default:
		s.denied++
	}
}

// class is that of the whole run: the first failure's that is not a denial, else denied where
// something differs from what was expected or, where nothing was, is denied.
func (s *orderedRun) class() class {
	if s.failed == classGranted && (s.unexpected > 0 || s.denied > 0 && (!s.marked || !s.allowDenied)) {
		return classDenied
	}
	return s.failed
}
