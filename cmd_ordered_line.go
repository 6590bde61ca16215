package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
)

// A requestLine is one line of input with its request, and the result of it.
type requestLine struct {
	number   int // from 1
	job      job
	text     string          // identifies it to a person
	id       json.RawMessage // identifies it to a program
	expect   string          // + for granted, - for denied, the name of a status, or empty
	flags    acctFlags       // of a record
	taskID   string          // of a record, if it was given
	noTaskID bool            // a watchdog record that belongs to no task

	login  authentication       // what job.request points to if it is one
	onDone func(l *requestLine) // called when the pool has carried the request
	done   bool                 // the result is there
	size   int                  // bytes that it adds to the backlog; parse sets those beyond the line's own
}

// reset makes it a line whose request is not known yet.
func (l *requestLine) reset(number int, onDone func(l *requestLine)) {
	*l = requestLine{number: number, onDone: onDone}
	l.job.owner = l
}

func (l *requestLine) jobDone(*job) { l.onDone(l) }

// asExpected reports whether the result is the expected one, or granted if nothing is expected. A reply that grants is not
// the expected one if the result is denied, since the reply lacks what the request requires.
func (l *requestLine) asExpected() bool {
	switch l.expect {
	case "", "+":
		return l.job.class() == classGranted
	case "-":
		return l.job.class() == classDenied
	}
	reply := l.job.res.status // nil for a failure
	return reply != nil && strings.EqualFold(l.expect, reply.String()) && reply.class() == l.job.class()
}

// maxLine is the most bytes of a line: 1 MiB.
const maxLine = 1 << 20

var (
	errLineTooLong = errors.New("the line is over 1 MiB")
	errNoRequest   = errors.New("no request") // the line is a comment
)

// A lineReader reads the lines of an input that are not blank.
type lineReader struct {
	r      *bufio.Reader
	number int // of the last line, from 1
}

func newLineReader(in io.Reader) *lineReader {
	return &lineReader{r: bufio.NewReaderSize(in, 64<<10)}
}

// next returns a line, which is valid until the next call. The error is errLineTooLong for a line that was skipped, and
// io.EOF at the end.
func (r *lineReader) next() ([]byte, error) {
	for {
		line, err := r.readLine()
		if r.number++; r.number == 1 {
			line = bytes.TrimPrefix(line, []byte("\ufeff")) // a byte order mark, as some editors write it
		}
		if err != nil || len(bytes.TrimSpace(line)) > 0 {
			return line, err
		}
	}
}

// readLine reads a line with its end. Of a line that is too long it reads everything, and keeps no more than maxLine
// and a buffer.
func (r *lineReader) readLine() ([]byte, error) {
	line, err := r.r.ReadSlice('\n')
	if err == nil {
		return line, nil
	}
	long := bytes.Clone(line)
	for err == bufio.ErrBufferFull {
		line, err = r.r.ReadSlice('\n')
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
