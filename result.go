package main

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A result is the verdict on one request. Its JSON names are part of the contract.
type result struct {
	Time          string         `json:"time,omitempty"` // began, in UTC; set by forJSON
	Command       string         `json:"command,omitempty"`
	User          string         `json:"user,omitempty"`
	Status        string         `json:"status,omitempty"` // the RFC's name
	Prompt        string         `json:"prompt,omitempty"` // the unanswered prompt that counts as FAIL
	Granted       bool           `json:"granted"`
	ExitCode      exitCode       `json:"exit_code"`
	Server        string         `json:"server,omitempty"`
	Address       string         `json:"address,omitempty"` // of the server, once connected
	Local         string         `json:"local,omitempty"`
	Transport     string         `json:"transport,omitempty"`
	KeyFile       string         `json:"key_file,omitempty"`       // of the key in use, if a key is for one server alone
	SingleConnect *bool          `json:"single_connect,omitempty"` // whether it was established; nil if it was not offered
	AuthenType    string         `json:"authen_type,omitempty"`
	ServerMsg     string         `json:"server_msg,omitempty"`
	Data          string         `json:"data,omitempty"`
	Flags         string         `json:"flags,omitempty"`
	Arguments     *arguments     `json:"arguments,omitempty"`
	TaskID        string         `json:"task_id,omitempty"`
	TLS           *tlsFacts      `json:"tls,omitempty"`
	Timing        *timing        `json:"timing_ms,omitempty"`
	Error         *problem       `json:"error,omitempty"`
	Attempts      []*attempt     `json:"attempts,omitempty"`
	Steps         []*step        `json:"steps,omitempty"` // of a login
	Warnings      []namedWarning `json:"warnings,omitempty"`

	status status    // nil if no reply could be read
	began  time.Time // of the first attempt; the end if there was none
	class  class
	hint   string // for a denial; errors carry their own
	tried  string // the address to which connecting failed last
}

// arguments are the arguments of an authorization or an accounting record.
type arguments struct {
	Request   []string `json:"request"`
	Response  []string `json:"response,omitempty"`
	Effective []string `json:"effective,omitempty"`
}

// An attempt is a request to an earlier server or address, which did not decide.
type attempt struct {
	Server  string `json:"server"`
	Address string `json:"address,omitempty"` // that was tried last; empty if the name could not be resolved
	Status  string `json:"status,omitempty"`
	problem
}

// A timing is how long the phases of a request took; a phase that was skipped is zero.
type timing struct {
	start                                    time.Time
	resolve, connect, tls, firstReply, total time.Duration
	sent, received                           int // bytes of TACACS+
}

// add adds what another request took.
func (t *timing) add(o *timing) {
	t.resolve += o.resolve
	t.connect += o.connect
	t.tls += o.tls
	t.firstReply += o.firstReply
	t.total += o.total
	t.sent += o.sent
	t.received += o.received
}

// measured returns the phases that took place. There is none if t is nil.
func (t *timing) measured() (phases []phase) {
	if t == nil {
		return nil
	}
	for _, p := range [...]phase{{"resolve", t.resolve}, {"connect", t.connect}, {"tls", t.tls}, {"first_reply", t.firstReply}, {"total", t.total}} {
		if p.took > 0 {
			phases = append(phases, p)
		}
	}
	return phases
}

type phase struct {
	name string
	took time.Duration
}

// MarshalJSON returns the phases in milliseconds.
func (t *timing) MarshalJSON() ([]byte, error) { return t.appendJSON(nil), nil }

func (t *timing) appendJSON(b []byte) []byte {
	separator := byte('{')
	for _, p := range t.measured() {
		if ms := milliseconds(p.took); ms > 0 {
			b = append(append(append(b, separator, '"'), p.name...), `":`...)
			b = strconv.AppendFloat(b, ms, 'f', -1, 64)
			separator = ','
		}
	}
	if separator == '{' {
		b = append(b, '{')
	}
	return append(b, '}')
}

// milliseconds converts a duration for lines and objects.
func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// reset removes the facts of the server before, and sets the one that is asked now.
func (r *result) reset(server string, t *timing) {
	*r = result{Command: r.Command, User: r.User, Attempts: r.Attempts, Warnings: r.Warnings, began: cmp.Or(r.began, t.start),
		Server: server, Timing: t, class: classDenied}
}

func (r *result) setReply(v *verdict) {
	r.status, r.Status, r.ServerMsg, r.Data, r.hint = v.status, v.status.String(), v.serverMsg, v.data, v.hint
	if refers(v.status) {
		r.Data = followHosts(v.data) // without keys
	}
	r.AuthenType, r.Flags, r.Prompt, r.TaskID = v.authenType, v.flags, v.prompt, v.taskID
	if v.request != nil {
		r.Arguments = &arguments{v.request, v.response, v.effective}
	}
	r.class = v.status.class()
	r.Granted = r.class == classGranted
}

// addAttempt records that the server or address asked last did not decide.
func (r *result) addAttempt(err error) {
	r.Attempts = append(r.Attempts, &attempt{Server: r.Server, Address: cmp.Or(r.Address, r.tried), Status: r.Status, problem: *newProblem(err)})
}

// addWarnings puts the warnings of the run before those of the request, and removes what is silenced.
func (r *result) addWarnings(ofRun []namedWarning, silenced warningSet) {
	r.Warnings = silenced.unsilenced(slices.Concat(ofRun, r.Warnings))
}

// line returns the default rendering: the status and the message on one line, then the arguments of the response.
func (r *result) line() string {
	if r.Steps != nil {
		return r.renderSteps("", false)
	}
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

// verdict returns the status and, if there is one, the message on one line.
func (r *result) verdict() string {
	if msg := r.message(); msg != "" {
		return r.Status + ": " + msg
	}
	return r.Status
}

// message returns the server's message on one line. FAIL and ERROR can have it in data, which is for administrators.
func (r *result) message() string {
	msg := oneLine(r.ServerMsg)
	if r.class == classServer || r.Status == "FAIL" {
		msg = cmp.Or(msg, oneLine(r.Data))
	}
	return msg
}

// singleConnectWord returns the server's answer to single-connection mode. It is empty if that was not offered.
func singleConnectWord(established *bool) string {
	if established == nil {
		return ""
	}
	return choose(*established, "granted", "refused")
}

// verbose returns the rendering of -v: one fact a line.
func (r *result) verbose() string {
	if r.Steps != nil {
		return r.renderSteps("", true)
	}
	var facts factList
	facts.add("status", r.Status)
	facts.add("prompt", r.Prompt)
	facts.addText("server_msg", r.ServerMsg)
	facts.addText("data", r.Data)
	facts.add("flags", r.Flags)
	facts.add("authen_type", r.AuthenType)
	facts.add("task_id", r.TaskID)
	if r.Arguments != nil {
		facts.addLines("request", r.Arguments.Request)
		facts.addLines("av-pairs", r.Arguments.Response)
		facts.addLines("effective", r.Arguments.Effective)
	}
	facts.add("server", r.Server)
	facts.add("address", r.Address)
	facts.add("local", r.Local)
	facts.add("transport", r.Transport)
	facts.add("key file", r.KeyFile)
	facts.add("single-connect", singleConnectWord(r.SingleConnect))
	if t := r.TLS; t != nil {
		t.addTo(&facts)
		facts.addLines("tls chain", t.Chain)
		facts.add("tls client certificate", t.ClientCert)
	}
	for _, p := range r.Timing.measured() {
		facts.add("time "+p.name, inMS(p.took))
	}
	for _, a := range r.Attempts {
		text := a.Message
		if a.Address != a.Server && a.Address != "" {
			text = a.Address + ": " + text
		}
		facts.add("attempt", text)
	}
	return string(facts.text)
}

// forJSON returns the result with its text escaped, since encoding/json leaves control characters above U+007F. Line
// breaks stay.
func (r *result) forJSON() *result {
	shown := *r
	shown.TLS, shown.Steps = r.TLS.forJSON(), stepsForJSON(r.Steps)
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

// json returns the rendering of --json: one object on one line.
func (r *result) json() string { return encodeJSON(r.forJSON()) }

// A step is one of several requests with one result.
type step struct {
	Step    string `json:"step"`
	Command string `json:"cmd,omitempty"` // the command line that was authorized
	*result
}

// name returns the name of the step, with the command line of one that has it.
func (s *step) name() string {
	if s.Command == "" {
		return s.Step
	}
	return s.Step + " " + escape(s.Command)
}

// same reports whether two steps are the same one of two logins.
func (s *step) same(o *step) bool { return s.Step == o.Step && s.Command == o.Command }

// line returns the step on one line, without a newline: its status, or why it has none.
func (s *step) line() string {
	line := s.name() + ": "
	if s.Status == "" {
		return line + "error: " + s.Error.Message
	}
	line += strings.ReplaceAll(strings.TrimSuffix(s.result.line(), "\n"), "\n  ", " ")
	if s.status.class() == classGranted && !s.Granted {
		line += " (" + s.Error.Message + ")"
	}
	return line
}

// renderSteps returns a line for each step, or, if verbose, all its facts.
func (r *result) renderSteps(prefix string, verbose bool) string {
	var b strings.Builder
	for _, s := range r.Steps {
		text := prefix + s.line() + "\n"
		if verbose {
			text = indented(text, s.verbose())
		}
		b.WriteString(text)
	}
	return b.String()
}

// indented returns the first line of a text, and below it the facts, which are lines.
func indented(text, facts string) string {
	first, _, _ := strings.Cut(text, "\n")
	return first + "\n  " + strings.ReplaceAll(strings.TrimSuffix(facts, "\n"), "\n", "\n  ") + "\n"
}

// stepsForJSON returns the steps with their texts escaped.
func stepsForJSON(steps []*step) (shown []*step) {
	for _, s := range steps {
		shown = append(shown, &step{s.Step, escape(s.Command), s.forJSON()})
	}
	return shown
}

// finish implements output.
func (r *result) finish(err error) *failure {
	var f *failure
	if r.began.IsZero() {
		r.began = time.Now() // nothing was sent
	}
	r.ExitCode = r.class.exit()
	switch {
	case err != nil:
		f = asFailure(err)
		r.class, r.Error, r.Granted, r.ExitCode = f.class, newProblem(f), false, f.exit()
	case r.class != classGranted:
		f = &failure{hint: r.hint}
		r.Error = &problem{Class: r.class.String(), Message: r.verdict(), Hint: r.hint}
	}
	return f
}

func (r *result) exit() exitCode { return r.ExitCode }
