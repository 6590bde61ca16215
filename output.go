package main

import (
	"encoding/json"
	"fmt"
	"strings"
)

// An output is the result of a command: a verdict, a report on many servers or requests, a stream that was
// printed while the command ran, or a page of text.
type output interface {
	// finish sets the error of the command, or nil. It returns what to print on stderr: an error with its hint, a hint
	// alone, or nil.
	finish(err error) *failure
	exit() exitCode  // of the run, valid after finish
	line() string    // the default rendering
	verbose() string // that of -v
	json() string    // that of --json: one object on one line
}

// An exitStatus is the exit code of an output other than a verdict. An error of the command sets it.
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

// A report is the common part of outputs about many servers or requests, with the fields of a verdict.
type report struct {
	Time    string `json:"time"` // when it began, UTC
	Command string `json:"command"`
	User    string `json:"user,omitempty"`
	Granted bool   `json:"granted"`
	exitStatus
	Error    *problem       `json:"error,omitempty"` // why it is not granted
	Warnings []namedWarning `json:"warnings,omitempty"`
}

// addWarnings sets the warnings of the run, without those that are silenced.
func (r *report) addWarnings(ofRun []namedWarning, silenced warningSet) {
	r.Warnings = silenced.unsilenced(ofRun)
}

func (r *report) setVerdict(c class, why *problem) {
	r.Granted, r.ExitCode, r.Error = c == classGranted, c.exit(), why
}

func (r *report) finish(err error) *failure {
	f := r.exitStatus.finish(err)
	if f != nil {
		r.Granted, r.Error = false, newProblem(f)
	}
	return f
}

// A page is text that is the same in every rendering, except JSON if it has an object.
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

// A factList is the text of facts, one on each line. Values are escaped.
type factList struct {
	text   []byte
	indent string
}

// add adds a fact, unless its value is empty.
func (l *factList) add(name, value string) {
	if value != "" {
		l.text = fmt.Appendf(l.text, "%s%s: %s\n", l.indent, name, escape(value))
	}
}

// addLines adds a fact of several lines, unless there is none.
func (l *factList) addLines(name string, values []string) {
	if len(values) > 0 {
		l.text = fmt.Appendf(l.text, "%s:\n  %s\n", name, strings.Join(escapeAll(values), "\n  "))
	}
}

// addText adds a text of a server, which may have several lines.
func (l *factList) addText(name, value string) {
	value = strings.ReplaceAll(strings.TrimSpace(value), "\r\n", "\n")
	if strings.Contains(value, "\n") {
		l.addLines(name, strings.Split(value, "\n"))
	} else {
		l.add(name, value)
	}
}

// encodeJSON returns v as JSON on one line.
func encodeJSON(v any) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // strings, numbers and booleans always encode
	}
	return b.String()
}

// timeLayout is the layout of times, which are in UTC.
const timeLayout = "2006-01-02T15:04:05.000Z"

// A problem is an error in JSON.
type problem struct {
	Class   string `json:"class"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

func newProblem(err error) *problem {
	f := asFailure(err)
	return &problem{Class: f.class.String(), Message: oneLine(f.Error()), Hint: oneLine(f.hint)}
}
