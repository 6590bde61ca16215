package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"
)

// An output is what a command leaves behind: a verdict, a report of many servers or requests, a
// stream that was shown while it ran, a page to read.
type output interface {
	// conclude enters the error with which the command ended, or nil. It returns what standard
	// error has to say: an error with its hint, a hint alone, or nothing.
	conclude(err error) *failure
	exit() exitCode // of the run; to be asked after conclude
	line() string   // the default rendering
	block() string  // that of -v
	json() string   // that of --json: one object on one line
}

// An ending is what outputs other than a verdict have in common: the exit code is theirs unless
// the command ended with an error.
type ending struct {
	ExitCode exitCode `json:"exit_code"`
}

func (e *ending) exit() exitCode { return e.ExitCode }

func (e *ending) conclude(err error) *failure {
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
	ending
	Error *problem `json:"error,omitempty"` // why it is not
}

// newReport begins a report.
func (inv *invocation) newReport() report {
	return report{Time: time.Now().UTC().Format(timeLayout), Command: inv.command.name, User: escape(inv.caller.user)}
}

// judge enters what it all came to, and why.
func (r *report) judge(c class, why *problem) {
	r.Granted, r.ExitCode, r.Error = c == classGranted, c.exit(), why
}

func (r *report) conclude(err error) *failure {
	f := r.ending.conclude(err)
	if f != nil {
		p := newProblem(f)
		r.Granted, r.Error = false, &p
	}
	return f
}

// A page is a text, however it is asked for, but for JSON where it has an object to show.
type page struct {
	ending
	text   string
	object any
}

func (p *page) line() string  { return p.text }
func (p *page) block() string { return p.text }
func (p *page) json() string {
	if p.object == nil {
		return p.text
	}
	return encodeJSON(p.object)
}

// A result is the verdict on one request: every rendering shows these facts and no others. Its
// field names in JSON are part of the contract.
type result struct {
	Time          string     `json:"time,omitempty"` // of began, UTC; filled in for JSON
	Command       string     `json:"command,omitempty"`
	User          string     `json:"user,omitempty"`
	Status        string     `json:"status,omitempty"` // the RFC's name
	Prompt        string     `json:"prompt,omitempty"` // that was left open, where it stands for FAIL
	Granted       bool       `json:"granted"`
	ExitCode      exitCode   `json:"exit_code"`
	Server        string     `json:"server,omitempty"`
	Address       string     `json:"address,omitempty"` // of the server, where there was a connection
	Local         string     `json:"local,omitempty"`
	Transport     string     `json:"transport,omitempty"`
	SingleConnect *bool      `json:"single_connect,omitempty"` // whether it was established, where it was offered
	AuthenType    string     `json:"authen_type,omitempty"`
	ServerMsg     string     `json:"server_msg,omitempty"`
	Data          string     `json:"data,omitempty"`
	Flags         string     `json:"flags,omitempty"`
	Arguments     *arguments `json:"arguments,omitempty"`
	TaskID        string     `json:"task_id,omitempty"`
	TLS           *tlsFacts  `json:"tls,omitempty"`
	TimingMS      *timingMS  `json:"timing_ms,omitempty"` // filled in for JSON
	Error         *problem   `json:"error,omitempty"`
	Attempts      []attempt  `json:"attempts,omitempty"`

	Timing *timing   `json:"-"`
	began  time.Time // the first attempt, or the end where there was none
	class  class
	hint   string // for a denial; errors carry their own
}

// arguments are those of an authorization or an accounting record.
type arguments struct {
	Request   []string `json:"request"`
	Response  []string `json:"response,omitempty"`
	Effective []string `json:"effective,omitempty"`
}

// A problem is an error as JSON shows it.
type problem struct {
	Class   string `json:"class"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// An attempt is a server that did not decide, before the one that the result is from.
type attempt struct {
	Server string `json:"server"`
	Status string `json:"status,omitempty"`
	problem
}

// timing is how long the phases of a request took; zero is a phase that did not take place.
type timing struct {
	start                                    time.Time
	resolve, connect, tls, firstReply, total time.Duration
	sent, received                           int // octets of TACACS+
}

func (t *timing) phases() [5]phase {
	return [...]phase{{"resolve", t.resolve}, {"connect", t.connect}, {"tls", t.tls}, {"first_reply", t.firstReply}, {"total", t.total}}
}

type phase struct {
	name string
	took time.Duration
}

// A timingMS is a timing as JSON shows it, in milliseconds.
type timingMS struct {
	Resolve    float64 `json:"resolve,omitempty"`
	Connect    float64 `json:"connect,omitempty"`
	TLS        float64 `json:"tls,omitempty"`
	FirstReply float64 `json:"first_reply,omitempty"`
	Total      float64 `json:"total,omitempty"`
}

func (t *timing) ms() *timingMS {
	if t == nil {
		return nil
	}
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	return &timingMS{ms(t.resolve), ms(t.connect), ms(t.tls), ms(t.firstReply), ms(t.total)}
}

// turnTo forgets what the server before said and notes which one is asked now.
func (r *result) turnTo(server string, t *timing) {
	*r = result{Command: r.Command, User: r.User, Attempts: r.Attempts, began: r.began,
		Server: server, Timing: t, class: classDenied}
	if r.began.IsZero() {
		r.began = t.start
	}
}

// heard takes over a reply. It is the one place that knows what a status means.
func (r *result) heard(status fmt.Stringer, serverMsg, data string) {
	r.Status, r.ServerMsg, r.Data = status.String(), serverMsg, data
	if r.Status == "FOLLOW" {
		other := "another one, which it does not name,"
		if where := oneLine(data); where != "" {
			other = `"` + where + `"`
		}
		r.hint = "the server says to ask " + other + " in its place, which RFC 8907 section 10.5.5 forbids to follow"
	}
	r.class = statusClass(r.Status)
	r.Granted = r.class == classGranted
}

// statusClass is what a status of any of the three kinds of answer amounts to.
func statusClass(status string) class {
	switch status {
	case "PASS", "PASS_ADD", "PASS_REPL", "SUCCESS":
		return classGranted
	case "ERROR":
		return classServer
	}
	return classDenied // FAIL, FOLLOW (never followed: section 10.5.5), and whatever leaves a prompt open
}

// attempt notes that the server asked last did not decide.
func (r *result) attempt(err error) {
	r.Attempts = append(r.Attempts, attempt{Server: r.Server, Status: r.Status, problem: newProblem(err)})
}

func newProblem(err error) problem {
	f := asFailure(err)
	return problem{Class: f.class.String(), Message: oneLine(f.Error()), Hint: oneLine(f.hint)}
}

// line is the default rendering: the status and the message on one line, then what an
// authorization brings.
func (r *result) line() string {
	if r.Status == "" {
		return ""
	}
	line := r.verdict()
	if r.TaskID != "" {
		line += " task_id=" + escape(r.TaskID)
	}
	line += "\n"
	if r.Arguments != nil {
		for _, arg := range r.Arguments.Response {
			line += "  " + escape(arg) + "\n"
		}
	}
	return line
}

// verdict is the status and, where there is one, the message on one line.
func (r *result) verdict() string {
	if msg := oneLine(r.ServerMsg); msg != "" {
		return r.Status + ": " + msg
	}
	return r.Status
}

// singleConnectWord is what a server said to single-connection mode.
func singleConnectWord(established bool) string {
	if established {
		return "granted"
	}
	return "refused"
}

// block is the rendering of -v: one fact a line.
func (r *result) block() string {
	var b strings.Builder
	fact := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s: %s\n", name, value)
		}
	}
	lines := func(name string, values []string) {
		if len(values) > 0 {
			fmt.Fprintf(&b, "%s:\n", name)
			for _, v := range values {
				b.WriteString("  " + escape(v) + "\n")
			}
		}
	}
	text := func(name, value string) {
		value = strings.TrimSpace(value)
		if strings.Contains(value, "\n") {
			lines(name, strings.Split(strings.ReplaceAll(value, "\r\n", "\n"), "\n"))
		} else {
			fact(name, escape(value))
		}
	}
	fact("status", r.Status)
	fact("prompt", r.Prompt)
	text("server_msg", r.ServerMsg)
	text("data", r.Data)
	fact("flags", r.Flags)
	fact("authen_type", r.AuthenType)
	fact("task_id", escape(r.TaskID))
	if r.Arguments != nil {
		lines("request", r.Arguments.Request)
		lines("av-pairs", r.Arguments.Response)
		lines("effective", r.Arguments.Effective)
	}
	fact("server", r.Server)
	fact("address", r.Address)
	fact("local", r.Local)
	fact("transport", r.Transport)
	if r.SingleConnect != nil {
		fact("single-connect", singleConnectWord(*r.SingleConnect))
	}
	if t := r.TLS; t != nil {
		t.block(fact)
		lines("tls chain", t.Chain)
		fact("tls client certificate", t.ClientCert)
	}
	if r.Timing != nil {
		for _, p := range r.Timing.phases() {
			if p.took > 0 {
				fact("time "+p.name, p.took.Round(time.Microsecond).String())
			}
		}
	}
	for _, a := range r.Attempts {
		fact("attempt", escape(a.Message))
	}
	return b.String()
}

// shown is the result as JSON shows it: text is escaped as everywhere, but keeps its lines,
// since JSON does not escape the control characters above U+007F.
func (r *result) shown() *result {
	shown := *r
	shown.TimingMS, shown.TLS = r.Timing.ms(), r.TLS.shown()
	if !r.began.IsZero() {
		shown.Time = r.began.UTC().Format(timeLayout)
	}
	shown.Command = escape(r.Command)
	shown.User, shown.ServerMsg, shown.Data, shown.TaskID = escape(r.User), escapeLines(r.ServerMsg), escapeLines(r.Data), escape(r.TaskID)
	if r.Arguments != nil {
		shown.Arguments = &arguments{escapeAll(r.Arguments.Request), escapeAll(r.Arguments.Response), escapeAll(r.Arguments.Effective)}
	}
	return &shown
}

// timeLayout is how a time is written, in UTC.
const timeLayout = "2006-01-02T15:04:05.000Z"

// json is the rendering of --json: one object on one line.
func (r *result) json() string { return encodeJSON(r.shown()) }

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

// conclude makes a result an output, as do exit and the three renderings above.
func (r *result) conclude(err error) *failure {
	var f *failure
	if r.began.IsZero() {
		r.began = time.Now() // nothing was attempted
	}
	r.ExitCode = r.class.exit()
	switch {
	case err != nil:
		f = asFailure(err)
		p := newProblem(f)
		r.class, r.Error, r.Granted, r.ExitCode = f.class, &p, false, f.exit()
	case r.class != classGranted:
		f = &failure{hint: r.hint}
		r.Error = &problem{Class: r.class.String(), Message: r.verdict(), Hint: r.hint}
	}
	return f
}

func (r *result) exit() exitCode { return r.ExitCode }

// escape makes any text safe for a terminal and for one line: printable UTF-8 passes, all
// else becomes \xNN, a newline \n. It is the only way of foreign text to the outside.
func escape(s string) string { return escapeExcept(s, 0) }

// escapeLines is escape for a text that may keep its lines.
func escapeLines(s string) string { return escapeExcept(strings.ReplaceAll(s, "\r\n", "\n"), '\n') }

// oneLine is escape without the white space round a message.
func oneLine(s string) string { return escape(strings.TrimSpace(s)) }

func escapeAll(list []string) []string {
	var out []string
	for _, s := range list {
		out = append(out, escape(s))
	}
	return out
}

func escapeExcept(s string, keep rune) string {
	if printableASCII(s) {
		return s // nearly always
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == keep && keep != 0, visible(r) && (r != utf8.RuneError || n > 1):
			b.WriteString(s[i : i+n])
		case r == '\n':
			b.WriteString(`\n`)
		default:
			for _, c := range []byte(s[i : i+n]) {
				fmt.Fprintf(&b, `\x%02x`, c)
			}
		}
		i += n
	}
	return b.String()
}

// visible says that a character shows something, or is a blank: a filler or a variation selector
// can make one text look like another.
func visible(r rune) bool {
	const blanks = "\u2800\U00013441\U00013442\U00016fe4\U0001d159" // Braille, hieroglyphs, Khitan, a note without a head
	return strconv.IsPrint(r) && !strings.ContainsRune(blanks, r) && !unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// howMany is a number of things: 1 request, 2 requests.
func howMany(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}

// shorten keeps an error on a readable line.
func shorten(s string) string {
	if len(s) <= 60 {
		return s
	}
	return strings.ToValidUTF8(s[:57], "") + "..."
}

// printableASCII is what the RFC allows in text other than user names (section 3.7).
func printableASCII(s string) bool {
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return true
}

// An outlet writes as long as somebody reads, and after the end of ctx for no longer than a moment:
// a reader that has stopped does not keep the program from ending.
type outlet struct {
	ctx    context.Context
	to     io.Writer
	unread atomic.Bool // nobody has read for that moment
}

const unreadLimit = time.Second

var errUnread = errors.New("nobody reads them")

func (o *outlet) Write(p []byte) (int, error) {
	if o.unread.Load() {
		return len(p), errUnread
	}
	written := make(chan error, 1)
	text := bytes.Clone(p) // an abandoned write still looks at it
	go func() {
		_, err := o.to.Write(text)
		written <- err
	}()
	var err error
	select {
	case err = <-written:
	case <-o.ctx.Done():
		select {
		case err = <-written:
		case <-time.After(unreadLimit):
			o.unread.Store(true)
			err = errUnread
		}
	}
	return len(p), err
}
