package main

import (
	"encoding/json"
	"strings"
)

// An output is what a command leaves behind: a verdict, a report of many servers or requests, a
// stream that was shown while it ran, a page to read.
type output interface {
	// conclude enters the error with which the command ended, or nil. It returns what standard
	// error has to say: an error with its hint, a hint alone, or nothing.
	finish(err error) *failure
	exit() exitCode  // of the run; to be asked after conclude
	line() string    // the default rendering
	verbose() string // that of -v
	json() string    // that of --json: one object on one line
}

// An ending is what outputs other than a verdict have in common: the exit code is theirs unless
// the command ended with an error.
type exitStatus struct {
	ExitCode exitCode `json:"exit_code"`
}

func (e *exitStatus) exit() exitCode { return e.ExitCode }

func (e *exitStatus) finish(err error) *failure {
	if err == nil {
		return nil
	}
	f := asFailure(err)
	e.ExitCode = f.exit()
	return f
}

// A report is what an output about many servers or requests has in common with a verdict: the same
// facts, under the same names in JSON.
type report struct {
	Time    string `json:"time"` // when it began, UTC
	Command string `json:"command"`
	User    string `json:"user,omitempty"`
	Granted bool   `json:"granted"`
	exitStatus
	Error *problem `json:"error,omitempty"` // why it is not
}

// judge enters what it all came to, and why.
func (r *report) setVerdict(c class, why *problem) {
	r.Granted, r.ExitCode, r.Error = c == classGranted, c.exit(), why
}

func (r *report) finish(err error) *failure {
	f := r.exitStatus.finish(err)
	if f != nil {
		p := newProblem(f)
		r.Granted, r.Error = false, &p
	}
	return f
}

// A page is a text, however it is asked for, but for JSON where it has an object to show.
type page struct {
	exitStatus
	text   string
	object any
}

func (p *page) line() string { return p.text }

func (p *page) verbose() string { return p.text }

func (p *page) json() string {
	if p.object == nil {
		return p.text
	}
	return encodeJSON(p.object)
}

// encodeJSON is v on one line.
func encodeJSON(v any) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // strings, numbers and booleans always encode
	}
	return b.String()
}

// timeLayout is how a time is written, in UTC.
const timeLayout = "2006-01-02T15:04:05.000Z"

// A problem is an error as JSON shows it.
type problem struct {
	Class   string `json:"class"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

func newProblem(err error) problem {
	f := asFailure(err)
	return problem{Class: f.class.String(), Message: oneLine(f.Error()), Hint: oneLine(f.hint)}
}
