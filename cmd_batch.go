package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// newBatch is the command batch: many requests from standard input.
func newBatch(o *optionSet) action {
	inFlight := 16
	o.add(&number{&inFlight, 1, maxInFlight}, "c concurrency", "N", "requests under way at a time (default 16)")
	return func(ctx context.Context, inv *invocation) (output, error) {
		inv.stdinUse = "the requests"
		// The password of a request that has none may come from outside; nobody is asked for it.
		var password []*secretSource
		if inv.password.isGiven(inv.std.env) {
			password = append(password, &inv.password)
		}
		secrets, err := inv.secrets(ctx, password...)
		if err != nil {
			return nil, err
		}
		inv.server.singleConnect = true
		c, err := inv.client(ctx, secrets.keys)
		if err != nil {
			return nil, err
		}
		inv.printInputHint("one JSON object a line")
		s := &orderedRun{inv: inv, show: showJSON, warn: inv.warnf}
		p := &requestParser{defaults: inv.request}
		if password != nil {
			p.password = &secrets.password
		}
		s.parse = p.parse
		res, err := s.run(ctx, c, inv.std.in, inFlight)
		if s.noTaskIDs > 0 {
			inv.warnf("%s without a task_id, the first in line %d: a stop or a watchdog that belongs to no start record", howMany(s.noTaskIDs, "record"), s.firstNoTaskID)
		}
		if !inv.output.quiet {
			inv.logf("%s", s.summary())
		}
		return res, err
	}
}

// summary is the totals in words.
func (s *orderedRun) summary() string {
	text := howMany(s.total, "request")
	for c, n := range s.byClass {
		if n > 0 {
			text += fmt.Sprintf(", %d %s", n, class(c))
		}
	}
	if s.mismatches > 0 {
		text += fmt.Sprintf("; %d not as expected", s.mismatches)
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
	Args        []string        `json:"args"`
	Cmd         string          `json:"cmd"`
	Method      string          `json:"method"`
	Require     []string        `json:"require"`
	Flag        string          `json:"flag"`
	TaskID      *string         `json:"task_id"`
	Expect      string          `json:"expect"`
}

// A requestParser makes requests of lines of JSON. What they do not say comes from the command
// line.
type requestParser struct {
	defaults requestOptions
	password *string // nil: each request that needs one has its own
	request  batchRequest
	line     bytes.Reader
	decoder  *json.Decoder // of line; nil after an error
}

// listEntry is how many bytes an entry of a list is, apart from its text.
const listEntry = 16

// parse makes the request of an entry out of its line.
func (p *requestParser) parse(e *item, line []byte) error {
	b := &p.request
	*b = batchRequest{}
	err := p.decode(line)
	e.id, e.expect = printableJSON(b.ID), b.Expect
	e.size = len(e.id) + listEntry*(len(b.Answers)+len(b.Require)) // which a line may write in fewer bytes
	e.res.Command, e.res.User = b.Command, cmp.Or(b.User, p.defaults.user)
	if err != nil {
		return failf(classUsage, "%s", jsonError(err))
	}
	who, password := p.defaults, p.password
	who.user = e.res.User
	if b.Password != nil {
		password = b.Password
	}
	if b.Port != nil {
		who.port = *b.Port
	}
	method, flags := authenMethodTACACSPlus, acctStart
	err = cmp.Or(
		setField("authen_type", b.AuthenType, who.authenType.Set), setField("service", b.Service, who.service.Set),
		setField("method", b.Method, method.Set), setField("flag", b.Flag, flags.Set))
	if err != nil {
		return err
	}
	if b.PrivLvl != nil {
		if who.level = *b.PrivLvl; who.level < 0 || who.level > 15 {
			return failf(classUsage, "priv_lvl %d is not 0 to 15", who.level)
		}
	}
	if err := who.check(b.Command); err != nil {
		return err
	}
	if e.request, err = p.newRequest(e, who, password, method, flags); err != nil {
		return err
	}
	return e.request.check(who.maxRemAddr()) // what does not fit its field is found before it is sent
}

// decode reads the one JSON object of a line into p.request.
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
	if rest, ok := p.decoder.Buffered().(*bytes.Reader); err == nil && ok {
		for c, end := rest.ReadByte(); end == nil; c, end = rest.ReadByte() {
			if !strings.ContainsRune(" \t\r\n", rune(c)) {
				err = errors.New("more than one value on the line")
			}
		}
	}
	if err != nil {
		p.decoder = nil // it does not go on after an error
	}
	return err
}

// jsonError says what is wrong with a line, in JSON's words and not in those of a Go type.
func jsonError(err error) string {
	var typ *json.UnmarshalTypeError
	if !errors.As(err, &typ) {
		return strings.TrimPrefix(err.Error(), "json: ")
	}
	what, want := typ.Field, map[reflect.Kind]string{reflect.Struct: "an object", reflect.String: "a string", reflect.Slice: "a list of strings", reflect.Int: "an integer"}
	if what == "" {
		what = "the line"
	}
	return fmt.Sprintf("%s is a JSON %s, not %s", what, typ.Value, want[typ.Type.Kind()])
}

// newRequest makes what the object asks for, as the command of that name does.
func (p *requestParser) newRequest(e *item, who requestOptions, password *string, method authenMethod, flags acctFlags) (dialogue, error) {
	b := &p.request
	switch b.Command {
	case "authenticate", "enable", "chpass":
		if b.Command == "enable" {
			if err := who.enable(b.Service != ""); err != nil {
				return nil, err
			}
		}
		if password == nil {
			return nil, failf(classUsage, "no password in the request").
				withHint("each request has one of its own, or all have that of --password-file or TACACS_PLUS_PWD; \"\" is an empty one")
		}
		e.login = *newLogin(who.commonFields(), *password)
		if b.Command == "chpass" {
			if b.NewPassword == "" {
				return nil, failf(classUsage, "no new_password in the request, or an empty one")
			}
			e.login = *newPasswordChange(who.commonFields(), *password, b.NewPassword)
		}
		e.login.answers = b.Answers
		return &e.login, nil
	case "authorize", "account":
		own := argOptions{command: b.Cmd, args: b.Args}
		args, err := own.request(nil)
		if err != nil {
			return nil, err
		}
		if b.Command == "authorize" {
			return newAuthorization(who.commonFields(), method, args, b.Require)
		}
		if b.TaskID != nil {
			args = append(args, "task_id="+*b.TaskID)
		}
		e.noTaskID = flags != acctStart && !hasArg(args, "task_id")
		args, taskID, err := recordArgs(args)
		if err != nil {
			return nil, err
		}
		return newRecord(who.commonFields(), method, flags, args, taskID), nil
	case "":
		return nil, failf(classUsage, "no command in the request")
	}
	return nil, failf(classUsage, "command \"%s\" is not authenticate, enable, chpass, authorize or account", escape(b.Command))
}

// printableJSON writes what is not printable ASCII in a value as \u: JSON lets control characters pass.
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

// setField sets what a field of the request names, if it is there.
func setField(field, value string, set func(string) error) error {
	if value == "" {
		return nil
	}
	if err := set(value); err != nil {
		return failf(classUsage, "%s \"%s\" %w", field, escape(value), err)
	}
	return nil
}
