package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// An entry is one line of input and what becomes of it.
type entry struct {
	job
	line   int
	text   string          // what a person knows it by
	id     json.RawMessage // what a program knows it by
	expect string          // the status that makes it a success
	over   bool
	login  authentication // the memory for the request, where it is one
}

// asExpected says whether the entry is a success: with + and - by what it amounts to, with the
// name of a status by that.
func (e *entry) asExpected() bool {
	switch e.expect {
	case "", "+":
		return e.class() == classGranted
	case "-":
		return e.class() == classDenied
	}
	c := e.class()
	return strings.EqualFold(e.expect, e.res.Status) && (e.err == nil || c == classServer || c == classDenied)
}

// A sequence takes requests from lines, has them carried, and shows the results in the order of
// the lines. It holds no more of them than its window, however long the input is.
type sequence struct {
	inv   *invocation
	parse func(e *entry, line []byte) error // an error is what came of the line
	show  func(s *sequence, e *entry)       // writes to out
	out   *bufio.Writer
	enc   *json.Encoder

	chunks  chan []*entry // from the reader; closed at the end of the input
	chunk   []*entry      // the rest of the last one
	free    chan *entry   // those that are not in use
	pending []*entry      // read, and not shown yet, in order; crew holds its lock for this
	readErr error         // set before chunks is closed
	broken  bool          // the output takes nothing any more

	total, asWanted int
	differ          int   // from what was expected
	denied          int   // with nothing expected
	failed          class // of the first that is neither
	marked          bool  // something was expected of some
	lenient         bool  // then nothing is expected of the others
	byClass         map[class]int
}

const (
	maxLine   = 1 << 20 // octets: 1 MiB
	window    = 1024    // entries at least
	chunkSize = 64      // entries
)

// run reads lines until the input ends, or ctx does.
func (s *sequence) run(ctx context.Context, c *client, in io.Reader, inFlight int) (*result, error) {
	s.chunks, s.free = make(chan []*entry, 4), make(chan *entry, max(window, 4*inFlight))
	for range cap(s.free) {
		s.free <- new(entry)
	}
	s.byClass = make(map[class]int)
	s.out = bufio.NewWriterSize(s.inv.std.out, 64<<10)
	if s.inv.output.quiet {
		s.out.Reset(io.Discard)
	}
	s.enc = json.NewEncoder(s.out)
	s.enc.SetEscapeHTML(false)
	c.warn = func(string, ...any) {} // each result says what there is to be said
	team := newCrew(c, inFlight)
	team.done = func(j *job) { s.done(j.owner.(*entry)) }
	team.idle = func() { s.broken = s.out.Flush() != nil }
	team.note = func(text string) { s.inv.warn("%s", text) }
	team.take = func(time.Time) (*job, time.Time, bool) { return s.take(team) }
	go s.read(in, team)
	team.run(ctx)
	err := s.out.Flush()
	if err != nil {
		err = failf(classUsage, "write the results: %w", cause(err))
	}
	if ctx.Err() == nil && s.readErr != nil {
		err = failf(classUsage, "read the requests: %w", cause(s.readErr))
	}
	res := &result{Command: s.inv.command.name, class: s.class(), streamed: true}
	if ctx.Err() != nil {
		res.class = classInterrupted
	}
	return res, err
}

// read cuts the input into lines. What has come together is handed over together.
func (s *sequence) read(in io.Reader, team *crew) {
	r := bufio.NewReaderSize(in, 64<<10)
	var chunk []*entry
	hand := func() {
		if len(chunk) > 0 {
			s.chunks <- chunk
			chunk = nil
			team.wake()
		}
	}
	for n := 1; ; n++ {
		line, err := readLine(r)
		if err != nil && !errors.Is(err, errLineTooLong) {
			if err != io.EOF {
				s.readErr = err
			}
			break
		}
		if err == nil && len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		var e *entry
		select {
		case e = <-s.free:
		default:
			hand() // what would set one free may be among them
			e = <-s.free
		}
		*e = entry{line: n}
		e.owner = e
		if e.err = err; err == nil {
			e.err = s.parse(e, line)
		}
		if e.err == errNoRequest {
			s.free <- e
			continue
		}
		chunk = append(chunk, e)
		if rest, _ := r.Peek(r.Buffered()); len(chunk) == chunkSize || bytes.IndexByte(rest, '\n') < 0 {
			hand()
		}
	}
	hand()
	close(s.chunks)
	team.wake()
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
func (s *sequence) take(team *crew) (*job, time.Time, bool) {
	for {
		if s.broken {
			return nil, time.Time{}, false // nobody would see what comes of it
		}
		if len(s.chunk) == 0 {
			select {
			case chunk, open := <-s.chunks:
				if !open {
					return nil, time.Time{}, false
				}
				s.chunk = chunk
				team.mu.Lock()
				s.pending = append(s.pending, chunk...)
				team.mu.Unlock()
			default:
				return nil, time.Time{}, true
			}
		}
		e := s.chunk[0]
		s.chunk = s.chunk[1:]
		if e.err == nil {
			return &e.job, time.Time{}, true
		}
		team.finish(&e.job) // a line that is no request
	}
}

// done shows every result whose turn has come.
func (s *sequence) done(e *entry) {
	e.over = true
	n := 0
	for ; n < len(s.pending) && s.pending[n].over; n++ {
		s.count(s.pending[n])
		s.show(s, s.pending[n])
		s.free <- s.pending[n] // has room for all there are
	}
	clear(s.pending[:n])
	if s.pending = s.pending[n:]; len(s.pending) == 0 {
		s.out.Flush()
	}
}

// count keeps the totals.
func (s *sequence) count(e *entry) {
	s.total++
	c := e.class()
	s.byClass[c]++
	s.marked = s.marked || e.expect != ""
	switch {
	case e.asExpected():
		s.asWanted++
	case c > classDenied && s.failed == classGranted:
		s.failed = c
	case c > classDenied:
	case e.expect != "":
		s.differ++
	default:
		s.denied++
	}
}

// class is that of the whole run: the first failure's that is not a denial, else denied where
// something differs from what was expected or, where nothing was, is denied.
func (s *sequence) class() class {
	switch {
	case s.failed != classGranted:
		return s.failed
	case s.differ > 0 || s.denied > 0 && (!s.marked || !s.lenient):
		return classDenied
	}
	return classGranted
}

// summary is the totals in words.
func (s *sequence) summary() string {
	text := fmt.Sprintf("%d requests", s.total)
	for c := classGranted; c <= classInterrupted; c++ {
		if n := s.byClass[c]; n > 0 {
			text += fmt.Sprintf(", %d %s", n, c)
		}
	}
	if n := s.total - s.asWanted; n > 0 {
		text += fmt.Sprintf("; %d not as expected", n)
	}
	return text
}

// commandFile is authorize with --cmd-file: a table of what the server says to each command of a
// file, the rehearsal of a set of rules. A line may begin with + or -, for what it should be.
func commandFile(ctx context.Context, inv *invocation, file string, method authenMethod, keys []key) (*result, error) {
	in := inv.std.in
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, failf(classUsage, "read the commands: %w", err)
		}
		defer f.Close()
		in = f
	}
	c, err := inv.client(keys)
	if err != nil {
		return nil, err
	}
	s := &sequence{inv: inv, show: showRow, lenient: true}
	s.parse = func(e *entry, line []byte) error {
		e.text = strings.TrimSpace(string(line))
		if e.text[0] == '#' {
			return errNoRequest
		}
		if mark := e.text[:1]; mark == "+" || mark == "-" {
			e.expect, e.text = mark, strings.TrimSpace(e.text[1:])
		}
		words := strings.Fields(e.text)
		if len(words) == 0 {
			return failf(classUsage, "line %d of %s has no command", e.line, file)
		}
		args := commandArgs(words)
		if err := checkArgs(args); err != nil {
			return err
		}
		e.res.Command, e.res.User, e.res.Transport = inv.command.name, inv.caller.user, c.transport()
		var err error
		if e.request, err = newAuthorization(inv.caller, method, args, nil); err != nil {
			return err
		}
		return fitsRequest(e.request, inv.caller)
	}
	if inv.output.json {
		s.show = showJSON
	}
	return s.run(ctx, c, in, commandFileInFlight)
}

// commandFileInFlight is how many connections a rehearsal makes at a time.
const commandFileInFlight = 4

// showRow writes one row of the table.
func showRow(s *sequence, e *entry) {
	first, last := e.res.Status, ""
	if e.err != nil {
		first, last = "error", ": "+oneLine(asFailure(e.err).Error())
	} else if !e.asExpected() && e.expect != "" {
		last = map[string]string{"+": "  <- not permitted", "-": "  <- not denied"}[e.expect]
	}
	fmt.Fprintf(s.out, "%s %s%s\n", first, escape(e.text), last)
}
