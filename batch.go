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
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// newBatch is the command batch: many requests from standard input.
func newBatch(o *optionSet) action {
	inFlight := 16
	o.add(&number{&inFlight, 1, maxInFlight}, "c concurrency", "N", "requests under way at a time (default 16)")
	return func(ctx context.Context, inv *invocation) (*result, error) {
		_, keyFromStdin := inv.key.count()
		ways, passwordFromStdin := inv.password.count()
		if keyFromStdin+passwordFromStdin > 0 {
			return nil, failf(classUsage, "batch reads its requests from standard input; no secret can come from there")
		}
		// The password of a request that has none may come from outside; nobody is asked for it.
		secrets, err := inv.secrets(ctx, ways > 0 || inv.std.env(inv.password.env) != "")
		if err != nil {
			return nil, err
		}
		inv.server.singleConnect = true
		c, err := inv.client(secrets.keys)
		if err != nil {
			return nil, err
		}
		c.warn = func(string, ...any) {}
		s := &sequence{inv: inv, show: showJSON}
		p := &requestParser{defaults: inv.caller, password: secrets.password, transport: c.transport()}
		s.parse = p.parse
		res, err := s.run(ctx, c, inv.std.in, inFlight)
		if !inv.output.quiet {
			inv.say("%s", s.summary())
		}
		return res, err
	}
}

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
	TaskID      string          `json:"task_id"`
	Expect      string          `json:"expect"`
}

// A requestParser makes requests of lines of JSON. What they do not say comes from the command
// line.
type requestParser struct {
	defaults  caller
	password  string
	transport string
	request   batchRequest
	line      bytes.Reader
	decoder   *json.Decoder // of line; nil after an error
}

// parse makes the request of an entry out of its line.
func (p *requestParser) parse(e *entry, line []byte) error {
	b := &p.request
	*b = batchRequest{}
	err := p.decode(line)
	e.id, e.expect = printableJSON(b.ID), b.Expect
	e.res.Command, e.res.User, e.res.Transport = b.Command, cmp.Or(b.User, p.defaults.user), p.transport
	if err != nil {
		return failf(classUsage, "%s", strings.TrimPrefix(err.Error(), "json: "))
	}
	who, password := p.defaults, p.password
	who.user = e.res.User
	if b.Password != nil {
		password = *b.Password
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
	if err := who.check(); err != nil {
		return err
	}
	if e.request, err = p.newRequest(e, who, password, method, flags); err != nil {
		return err
	}
	if e.request.dialogue() {
		return fitsRequest(e.request, who)
	}
	_, err = e.request.open(longestAddr)
	return err // what does not fit its field is found before it is sent
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

// newRequest makes what the object asks for, as the command of that name does.
func (p *requestParser) newRequest(e *entry, who caller, password string, method authenMethod, flags acctFlags) (request, error) {
	b := &p.request
	switch b.Command {
	case "authenticate", "enable", "chpass":
		if who.service == authenServiceEnable && b.Command == "authenticate" {
			return nil, failf(classUsage, "authenticate does not take the service enable")
		}
		if b.Command == "enable" {
			who.defaultLevel, who.service = 15, authenServiceEnable
		}
		e.login = *newLogin(who, password)
		if b.Command == "chpass" {
			e.login = *newPasswordChange(who, password, b.NewPassword)
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
			return newAuthorization(who, method, args, b.Require)
		}
		args, taskID, err := recordArgs(args, b.TaskID)
		if err != nil {
			return nil, err
		}
		return newRecord(who, method, flags, args, taskID), nil
	case "":
		return nil, failf(classUsage, "no command in the request")
	}
	return nil, failf(classUsage, "command \"%s\" is not authenticate, enable, chpass, authorize or account", escape(b.Command))
}

// printableJSON writes what is beyond ASCII in a value as \u: JSON lets control characters pass.
func printableJSON(value json.RawMessage) json.RawMessage {
	if printableASCII(string(value)) {
		return value
	}
	var b []byte
	for _, r := range string(value) {
		if r < 0x80 {
			b = append(b, byte(r))
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			b = fmt.Appendf(b, "\\u%04x", unit)
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

// A batchResult is one line of the output of batch: a result, and which request it is of.
type batchResult struct {
	Line int             `json:"line"`
	ID   json.RawMessage `json:"id,omitempty"`
	*result
	Expect     string `json:"expect,omitempty"`
	AsExpected *bool  `json:"as_expected,omitempty"`
}

func showJSON(s *sequence, e *entry) {
	e.res.conclude(e.err)
	out := batchResult{Line: e.line, ID: e.id, result: &e.res, Expect: e.expect}
	if e.expect != "" {
		ok := e.asExpected()
		out.AsExpected = &ok
	}
	if e.res.plain() {
		s.out.Write(out.appendJSON(s.out.AvailableBuffer()))
		return
	}
	out.result = e.res.shown()
	_ = s.enc.Encode(out) // an error stays with out, and its Flush returns it
}

// plain says that the result has none of the parts that appendJSON does not know.
func (r *result) plain() bool {
	return r.Arguments == nil && r.TLS == nil && r.Error == nil && r.Attempts == nil && r.Timing != nil
}

// appendJSON is what the encoder makes of a plain result, in a quarter of the time: with the
// encoder, that would be a third of what a whole request costs.
func (r *batchResult) appendJSON(b []byte) []byte {
	b = strconv.AppendInt(append(b, `{"line":`...), int64(r.Line), 10)
	text := func(name, value string) {
		if value != "" {
			// What is escaped already is printable, and quoted for Go and for JSON alike.
			b = strconv.AppendQuote(append(append(append(b, `,"`...), name...), `":`...), value)
		}
	}
	is := func(name string, value bool) {
		b = strconv.AppendBool(append(append(append(b, `,"`...), name...), `":`...), value)
	}
	if r.ID != nil {
		b = append(append(b, `,"id":`...), r.ID...)
	}
	text("command", escape(r.Command))
	text("user", escape(r.User))
	text("status", r.Status)
	is("granted", r.Granted)
	b = strconv.AppendInt(append(b, `,"exit_code":`...), int64(r.ExitCode), 10)
	text("server", r.Server)
	text("local", r.Local)
	text("transport", r.Transport)
	if r.SingleConnect != nil {
		is("single_connect", *r.SingleConnect)
	}
	text("authen_type", r.AuthenType)
	text("server_msg", escapeLines(r.ServerMsg))
	text("data", escapeLines(r.Data))
	text("flags", r.Flags)
	text("task_id", escape(r.TaskID))
	b = append(b, `,"timing_ms":{`...)
	for _, p := range [...]phase{{"resolve", r.Timing.resolve}, {"connect", r.Timing.connect}, {"tls", r.Timing.tls},
		{"first_reply", r.Timing.firstReply}, {"total", r.Timing.total}} {
		if ms := p.took.Microseconds(); ms > 0 {
			if b[len(b)-1] != '{' {
				b = append(b, ',')
			}
			b = append(append(append(b, '"'), p.name...), `":`...)
			b = strconv.AppendFloat(b, float64(ms)/1000, 'f', -1, 64)
		}
	}
	b = append(b, '}')
	text("expect", escape(r.Expect))
	if r.AsExpected != nil {
		is("as_expected", *r.AsExpected)
	}
	return append(b, "}\n"...)
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
