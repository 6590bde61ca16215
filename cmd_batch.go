package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// newBatch declares the command batch: many requests from stdin, one JSON object a line.
func newBatch(o *optionSet) action {
	inFlight := 16
	o.add(&number{&inFlight, 1, maxInFlight}, "c concurrency", "N", "requests in flight (default 16)")
	deadTime := addDeadTime(o)
	return func(ctx context.Context, inv *invocation) (output, error) {
		inv.stdinUse, inv.unattended = "the requests", "batch"
		// The password for requests without one of their own is optional, so there is no prompt for it.
		var password []*secretSource
		if inv.password.isGiven(inv.std.env) {
			password = append(password, &inv.password)
		}
		inv.server.singleConnect, inv.server.deadTime = true, *deadTime
		c, secrets, err := inv.newClient(ctx, password...)
		if err != nil {
			return nil, err
		}
		inv.printInputHint("one JSON object a line")
		p := &requestParser{defaults: inv.request}
		if password != nil {
			p.password = &secrets.password
		}
		s := &orderedRun{inv: inv, parse: p.parse, write: writeJSON}
		res, err := s.run(ctx, c, inv.std.in, inFlight)
		if s.noTaskIDs > 0 {
			inv.warnf(warnNoTaskID, "%s without a task_id, the first in line %d: use that of the start record", howMany(s.noTaskIDs, "watchdog record"), s.firstNoTaskID)
		}
		if s.reusedIDs > 0 {
			inv.warnf(warnTaskIDUnderWay, "%s with the task_id of a task under way, the first in line %d: stop the task first, or use another task_id", howMany(s.reusedIDs, "start record"), s.firstReusedID)
		}
		if !inv.output.quiet {
			inv.logf("%s", batchSummary(&s.tally))
		}
		return res, err
	}
}

// batchSummary returns the line that batch prints at its end.
func batchSummary(t *tally) string {
	text := howMany(t.total, "request")
	for c, n := range t.byClass {
		if n > 0 {
			text += fmt.Sprintf(", %d %s", n, class(c))
		}
	}
	if t.mismatches > 0 {
		text += fmt.Sprintf("; %d not as expected", t.mismatches)
	}
	return text
}

// A batchRequest is one line of the input of batch.
type batchRequest struct {
	ID          json.RawMessage `json:"id"`
	Command     string          `json:"command"`
	User        string          `json:"user"`
	Password    *string         `json:"password"`
	NewPassword string          `json:"new_password"`
	AuthenType  string          `json:"authen_type"`
	Service     string          `json:"service"`
	PrivLvl     *int            `json:"priv_lvl"`
	Port        *string         `json:"port"`
	Answers     []string        `json:"answers"`
	AnswerAgain bool            `json:"answer_repeated"`
	Args        []string        `json:"args"`
	Cmd         *string         `json:"cmd"`
	Cmds        []string        `json:"cmds"`
	Method      string          `json:"method"`
	Require     []string        `json:"require"`
	Flag        string          `json:"flag"`
	TaskID      *string         `json:"task_id"`
	Expect      string          `json:"expect"`
}

// A requestParser builds requests from lines of JSON. The options of the command line are their defaults.
type requestParser struct {
	defaults requestOptions
	password *string       // nil if each request that needs a password must have its own
	request  batchRequest  // of the line that was decoded last
	decoder  *json.Decoder // of line; nil after an error
	line     bytes.Reader
}

// listEntry is the size in bytes of a string in a list, without its text.
const listEntry = 16

// parse builds the request of a line.
func (p *requestParser) parse(l *requestLine, text []byte) error {
	b := &p.request
	*b = batchRequest{}
	err := p.decode(text)
	l.id, l.expect = printableJSON(b.ID), b.Expect
	l.size = len(l.id) + listEntry*(len(b.Answers)+len(b.Require)+len(b.Cmds)) // which can be more bytes than in the line
	l.job.res.Command, l.job.res.User = b.Command, cmp.Or(b.User, p.defaults.fields.user)
	if err != nil {
		return jsonFailure(text, err)
	}
	options := p.defaults
	options.fields.user = l.job.res.User
	if b.Port != nil {
		options.fields.port = *b.Port
	}
	err = cmp.Or(setField("authen_type", b.AuthenType, options.fields.typ.Set), setField("service", b.Service, options.fields.service.Set))
	if err != nil {
		return err
	}
	if b.PrivLvl != nil {
		if options.level = *b.PrivLvl; options.level < 0 || options.level > 15 {
			return failf(classUsage, "priv_lvl must be 0 to 15, not %d", options.level)
		}
	}
	if err := options.check(b.Command); err != nil {
		return err
	}
	if l.job.request, err = p.newRequest(l, b, options); err != nil {
		return err
	}
	return l.job.request.check(options.maxRemAddr()) // also finds what does not fit its field
}

// decode decodes a line, which must be exactly one JSON object, into p.request. After an error that has the fields up to
// it. One decoder serves all lines, since to allocate one costs more than to decode a line.
func (p *requestParser) decode(line []byte) error {
	if !utf8.Valid(line) {
		return errors.New("the line is not UTF-8")
	}
	if p.decoder == nil {
		p.decoder = json.NewDecoder(&p.line)
		p.decoder.DisallowUnknownFields()
	}
	p.line.Reset(line)
	err := p.decoder.Decode(&p.request)
	if err == nil {
		// This also reads the rest of the line, so that nothing is left before the next one.
		if _, end := p.decoder.Token(); end != io.EOF {
			err = errors.New("the line has text after its object")
		} else if hasLoneSurrogate(line) {
			err = errLoneSurrogate
		}
	}
	if err != nil {
		p.decoder = nil // its position is unknown
	}
	return err
}

func (p *requestParser) newRequest(l *requestLine, b *batchRequest, options requestOptions) (dialogue, error) {
	method, flags := authenMethodTACACSPlus, acctStart
	err := cmp.Or(setField("method", b.Method, method.Set), setField("flag", b.Flag, flags.Set))
	if err != nil {
		return nil, err
	}
	switch b.Command {
	case "authenticate", "enable", "chpass":
		return p.newLogin(l, b, options)
	case "login":
		opts := new(loginOptions)
		opts.args, opts.commands, opts.require, opts.json = b.Args, b.Cmds, b.Require, true
		if b.Cmd != nil {
			opts.commands = append(list{*b.Cmd}, b.Cmds...)
		}
		plan, err := opts.plan(&options, nil)
		if err != nil {
			return nil, err
		}
		l.job.steps = plan.run
		return p.newLogin(l, b, options)
	case "authorize", "account":
		argOptions := argOptions{args: b.Args, json: true}
		if b.Cmd != nil {
			argOptions.command = cmp.Or(*b.Cmd, " ") // a blank one is refused
		}
		args, err := argOptions.request(nil)
		if err != nil {
			return nil, err
		}
		if b.Command == "authorize" {
			return newAuthorization(options.commonFields(), method, args, b.Require)
		}
		if b.TaskID != nil {
			args = append(args, "task_id="+*b.TaskID)
		}
		given := hasArg(args, "task_id")
		args, taskID, err := recordArgs(args)
		if err != nil {
			return nil, err
		}
		if l.flags = flags; given {
			l.taskID = taskID
		}
		l.noTaskID = !given && (flags == acctWatchdog || flags == acctWatchdogUpdate)
		return newRecord(options.commonFields(), method, flags, args, taskID), nil
	case "":
		return nil, failf(classUsage, "no command in the request")
	}
	return nil, failf(classUsage, "command \"%s\" must be authenticate, enable, chpass, authorize, account or login", escape(b.Command))
}

func (p *requestParser) newLogin(l *requestLine, b *batchRequest, options requestOptions) (dialogue, error) {
	if b.Command == "enable" {
		if err := options.enable(b.Service != ""); err != nil {
			return nil, err
		}
	}
	if err := b.trimSecrets(); err != nil {
		return nil, err
	}
	password := cmp.Or(b.Password, p.password)
	if password == nil {
		return nil, failf(classUsage, "no password in the request").
			withHint("add \"password\" to the request, or give one for all with --password-file or TACACS_PLUS_PWD")
	}
	login := newLogin(options.commonFields(), *password)
	if b.Command == "chpass" {
		if b.NewPassword == "" {
			return nil, failf(classUsage, "new_password is missing or empty")
		}
		login = newPasswordChange(options.commonFields(), *password, b.NewPassword)
	}
	l.login = *login
	l.login.answers, l.login.answerAgain, l.login.answerName = b.Answers, b.AnswerAgain, "answers"
	return &l.login, nil
}

// trimSecrets applies the rule for secrets to those of the request.
func (b *batchRequest) trimSecrets() (err error) {
	secrets := []*string{&b.NewPassword}
	if b.Password != nil {
		secrets = append(secrets, b.Password)
	}
	for i := range b.Answers {
		secrets = append(secrets, &b.Answers[i])
	}
	for _, s := range secrets {
		if *s, err = trimSecret(*s); err != nil {
			return failf(classUsage, "a password or an answer is UTF-16")
		}
	}
	return nil
}

// printableJSON writes characters that are not printable ASCII as \u, since JSON allows control characters above U+007E.
func printableJSON(value json.RawMessage) json.RawMessage {
	if printableASCII(string(value)) {
		return value
	}
	var b []byte
	for _, r := range string(value) {
		switch {
		case r < ' ': // white space between values
		case r < 0x7f:
			b = append(b, byte(r))
		default:
			for _, unit := range utf16.Encode([]rune{r}) {
				b = fmt.Appendf(b, "\\u%04x", unit)
			}
		}
	}
	return b
}

// setField sets the value of a field of the request if there is one.
func setField(field, value string, set func(string) error) error {
	if value == "" {
		return nil
	}
	if err := set(value); err != nil {
		return failf(classUsage, "%s \"%s\" %w", field, escape(value), err)
	}
	return nil
}

// A batchResult is one line of the output of batch: a result, and the request that it belongs to.
type batchResult struct {
	Line int             `json:"line"`
	ID   json.RawMessage `json:"id,omitempty"`
	*result
	Expect     string `json:"expect,omitempty"`
	AsExpected *bool  `json:"as_expected,omitempty"`
}

// writeJSON writes the result of a line as one JSON object.
func writeJSON(out *bufio.Writer, l *requestLine) {
	res := &l.job.res
	if !res.began.IsZero() {
		res.TaskID = taskIDOf(l.job.request) // also if no server confirmed the record
	}
	res.finish(l.job.err)
	r := batchResult{Line: l.number, ID: l.id, result: res, Expect: escape(l.expect)}
	if l.expect != "" {
		ok := l.asExpected()
		r.AsExpected = &ok
	}
	if res.plain() {
		out.Write(r.appendJSON(out.AvailableBuffer()))
		return
	}
	r.result = res.forJSON()
	out.WriteString(encodeJSON(r))
}

// plain reports whether the result has only fields that appendJSON writes.
func (r *result) plain() bool {
	return r.Arguments == nil && r.TLS == nil && r.Error == nil && r.Attempts == nil && r.Steps == nil && r.Warnings == nil && r.Timing != nil
}

// appendJSON writes a plain result as encoding/json would. With encoding/json alone, batch would be less than half as
// fast as bench.
func (r *batchResult) appendJSON(b []byte) []byte {
	b = strconv.AppendInt(append(b, `{"line":`...), int64(r.Line), 10)
	if r.ID != nil {
		b = append(append(b, `,"id":`...), r.ID...)
	}
	if !r.began.IsZero() {
		b = append(r.began.UTC().AppendFormat(append(b, `,"time":"`...), timeLayout), '"')
	}
	b = appendField(b, "command", escape(r.Command))
	b = appendField(b, "user", escape(r.User))
	b = appendField(b, "status", r.Status)
	b = appendBool(b, "granted", r.Granted)
	b = strconv.AppendInt(append(b, `,"exit_code":`...), int64(r.ExitCode), 10)
	b = appendField(b, "server", r.Server)
	b = appendField(b, "address", r.Address)
	b = appendField(b, "local", r.Local)
	b = appendField(b, "transport", r.Transport)
	b = appendField(b, "key_file", r.KeyFile)
	if r.SingleConnect != nil {
		b = appendBool(b, "single_connect", *r.SingleConnect)
	}
	b = appendField(b, "authen_type", r.AuthenType)
	b = appendField(b, "server_msg", escapeLines(r.ServerMsg))
	b = appendField(b, "data", escapeLines(r.Data))
	b = appendField(b, "flags", r.Flags)
	b = appendField(b, "task_id", escape(r.TaskID))
	b = r.Timing.appendJSON(appendName(b, "timing_ms"))
	b = appendField(b, "expect", r.Expect)
	if r.AsExpected != nil {
		b = appendBool(b, "as_expected", *r.AsExpected)
	}
	return append(b, "}\n"...)
}

// appendField appends a field with text that is escaped, so that its quotes in Go are valid in JSON, unless it is empty.
func appendField(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	return strconv.AppendQuote(appendName(b, name), value)
}

func appendBool(b []byte, name string, value bool) []byte {
	return strconv.AppendBool(appendName(b, name), value)
}

func appendName(b []byte, name string) []byte {
	return append(append(append(b, `,"`...), name...), `":`...)
}
