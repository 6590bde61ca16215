package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// checkOptions are those of check: what to try, and for whom to write the report.
type checkOptions struct {
	types, negative    bool
	nagios, prometheus bool
	warn, crit         time.Duration
	certDays           int
	output             string
	interval           time.Duration // 0: once
	count              int           // of rounds; 0 for no end
}

// newCheck is the command check: is the server well, is my key right, which types does it take?
func newCheck(o *optionSet) action {
	own := checkOptions{certDays: 14}
	o.add((*toggle)(&own.types), "types", "", "try every authentication type")
	o.add((*toggle)(&own.negative), "negative", "", "demand that a wrong password is refused")
	o.add((*toggle)(&own.nagios), "nagios", "", "one line and the exit code of a Nagios plugin")
	o.add((*seconds)(&own.warn), "warn", "TIME", "with --nagios: WARNING when a server takes longer")
	o.add((*seconds)(&own.crit), "crit", "TIME", "with --nagios: CRITICAL when a server takes longer")
	o.add(&number{&own.certDays, 0, 3650}, "cert-days", "N", "with --nagios: WARNING when a certificate has fewer days left (default 14)")
	o.add((*toggle)(&own.prometheus), "prometheus", "", "metrics for the node exporter's textfile collector")
	o.add((*text)(&own.output), "output", "FILE", "write to a temporary file, then rename it to FILE")
	o.add((*seconds)(&own.interval), "interval", "TIME", "again and again: a line when the state of a server changes, totals at the end; --output is written each time")
	o.add(&number{&own.count, 1, 1e9}, "count", "N", "with --interval: end after so many times, with the exit code of the last (default at Ctrl-C)")
	return func(ctx context.Context, inv *invocation) (output, error) {
		if err := own.check(inv); err != nil {
			return nil, err
		}
		var passwords []*secretSource
		if inv.caller.user != "" {
			passwords = append(passwords, &inv.password)
		}
		secrets, err := inv.secrets(ctx, passwords...)
		if err != nil {
			return nil, err
		}
		if err := checkFits(newLogin(inv.caller, secrets.password), inv.caller); err != nil {
			return nil, err
		}
		inv.server.singleConnect = true // to see whether it is established
		c, err := inv.client(ctx, secrets.keys)
		if err != nil {
			return nil, err
		}
		round := func() *checkReport { return own.round(ctx, inv, c, secrets.password) }
		if own.interval > 0 {
			return (&watch{inv: inv, options: &own}).run(ctx, round)
		}
		r := round()
		if own.output != "" {
			return r.write(inv.output.json)
		}
		return r, nil
	}
}

// round tries all servers, side by side.
func (own *checkOptions) round(ctx context.Context, inv *invocation, c *client, password string) *checkReport {
	r := &checkReport{report: inv.newReport(), options: own, certificates: c.tls != nil}
	var all sync.WaitGroup
	for i, srv := range c.servers {
		if slices.Contains(c.servers[:i], srv) {
			continue // given twice: a monitor wants one value of each
		}
		s := &serverCheck{Server: srv.String()}
		r.Servers = append(r.Servers, s)
		all.Go(func() { s.run(ctx, c, srv, inv.caller, password, own) })
	}
	all.Wait()
	r.judge(ctx.Err() != nil)
	return r
}

// check refuses what has no meaning together.
func (own *checkOptions) check(inv *invocation) error {
	if (own.types || own.negative) && inv.caller.user == "" {
		return failf(classUsage, "--types and --negative need a USER")
	}
	form := ""
	for _, option := range []string{"nagios", "prometheus", "json"} {
		if !inv.given(option) {
			continue
		}
		if form != "" {
			return failf(classUsage, "--%s and --%s exclude each other", form, option)
		}
		form = option
	}
	for _, option := range []string{"warn", "crit", "cert-days"} {
		if inv.given(option) && !own.nagios {
			return failf(classUsage, "--%s goes with --nagios only", option)
		}
	}
	if own.crit > 0 && own.warn > own.crit {
		return failf(classUsage, "--warn %v is above --crit %v", own.warn, own.crit)
	}
	return own.checkInterval(inv)
}

// A serverCheck is what was found of one server.
type serverCheck struct {
	Server        string            `json:"server"`
	Address       string            `json:"address,omitempty"`        // where there was a connection
	Up            bool              `json:"up"`                       // it answers as a TACACS+ server
	KeyOK         *bool             `json:"key_ok,omitempty"`         // the key fits; nil over TLS, and where the answer does not say
	SingleConnect *bool             `json:"single_connect,omitempty"` // established
	Login         string            `json:"login,omitempty"`          // status of a login with USER
	Types         map[string]string `json:"types,omitempty"`          // status by authentication type
	WrongPassword string            `json:"wrong_password,omitempty"` // status of a login with one
	TimingMS      *timingMS         `json:"timing_ms,omitempty"`
	TLS           *tlsFacts         `json:"tls,omitempty"`
	Error         *problem          `json:"error,omitempty"`

	Timing *timing  `json:"-"`
	class  class    // of the error
	state  exitCode // that the error is to Nagios
}

// run tries one server.
func (s *serverCheck) run(ctx context.Context, c *client, srv server, who caller, password string, own *checkOptions) {
	one := *c
	one.servers = []server{srv}
	if !s.probe(ctx, &one, who) || who.user == "" {
		return
	}
	one.singleConnect = false
	login := func(typ authenType, password string) *job {
		who := who
		who.authenType = typ
		j := &job{request: newLogin(who, password)}
		(&asker{client: &one}).ask(ctx, j)
		return j
	}
	j := login(who.authenType, password)
	s.Login = j.answer()
	s.fail(granted(srv, who.user, j), nagiosCritical)
	if own.types {
		s.tryTypes(func(typ authenType) *job { return login(typ, password) })
	}
	if own.negative {
		j = login(who.authenType, "wrong "+rand.Text())
		s.WrongPassword = j.answer()
		s.fail(refused(srv, who.user, j), nagiosCritical)
	}
}

// probe proves the key without an account: any readable answer to a login that names no user will
// do, ERROR too, which is wrong for another reason. It returns whether there was one.
func (s *serverCheck) probe(ctx context.Context, c *client, nobody caller) bool {
	nobody.user, nobody.authenType, nobody.service = "", authenASCII, authenServiceLogin
	j := &job{request: &probe{newLogin(nobody, "")}}
	(&asker{client: c}).ask(ctx, j)
	s.Address = j.res.Address
	s.Timing, s.TimingMS, s.TLS = j.res.Timing, j.res.Timing.ms(), j.res.TLS.shown()
	came, readable := classOf(j.err), j.answer() != ""
	s.Up = readable || came == classServer || came == classProtocol && !errors.Is(j.err, errNotTACACS)
	if misfit := errors.Is(j.err, errBodyLength); !c.clear && (readable || misfit) {
		s.KeyOK = &readable
	}
	if !readable {
		s.fail(j.err, nagiosCritical)
		return false
	}
	s.SingleConnect = j.res.SingleConnect
	s.fail(j.err, nagiosWarning)
	return true
}

// tryTypes logs in with every authentication type.
func (s *serverCheck) tryTypes(login func(authenType) *job) {
	s.Types = make(map[string]string)
	for t := range authenTypeNames {
		if authenTypeNames.has(uint8(t)) {
			j := login(authenType(t))
			s.Types[authenType(t).String()] = cmp.Or(j.answer(), j.class().String())
		}
	}
}

// granted demands that a login is.
func granted(srv server, user string, login *job) error {
	switch {
	case login.answer() == "":
		return login.err
	case login.res.class == classGranted:
		return nil
	}
	return failf(login.res.class, "%s answers the login of %s with %s", srv, escape(user), words(login.res)).
		withHint("%s", cmp.Or(login.res.hint, asFailure(login.err).hint))
}

// refused demands a refusal of a login with a wrong password.
func refused(srv server, user string, login *job) error {
	switch c := login.res.class; {
	case login.answer() == "":
		return login.err
	case c == classGranted:
		return failf(classDenied, "%s accepts a wrong password of %s", srv, escape(user)).withHint("anybody can log in: the server, or its back end, does not look at passwords")
	case c != classDenied:
		return failf(c, "%s answers a wrong password with %s, which is no refusal", srv, words(login.res))
	}
	return nil
}

// words are an answer on one line, with the reason that the server gives, wherever it put it.
func words(answer result) string {
	answer.ServerMsg = cmp.Or(answer.ServerMsg, answer.Data)
	return strings.TrimSpace(answer.line())
}

// fail keeps the worst error, and of equal ones the first.
func (s *serverCheck) fail(err error, state exitCode) {
	if err != nil && state > s.state {
		p := newProblem(err)
		s.Error, s.class, s.state = &p, asFailure(err).class, state
	}
}

// A probe is a login that ends at the first readable answer.
type probe struct{ *authentication }

func (p *probe) next(_ context.Context, s *session, res *result) (layouter, error) {
	status := p.response.status
	if !authenStatusNames.has(uint8(status)) {
		return nil, unknownStatus(s.link, status)
	}
	if status == authenError {
		res.heard(status, p.response.serverMsg, p.response.data)
		return nil, nil
	}
	res.heard(authenPass, "", "") // whatever else it says: it could be read
	switch status {
	case authenGetData, authenGetUser, authenGetPass:
		return abort("probe"), errFarewell
	}
	return nil, nil
}

// A checkReport is what was found of all servers.
type checkReport struct {
	report
	Servers []*serverCheck `json:"servers"`

	options      *checkOptions
	certificates bool // each server has one: TLS
	interrupted  bool
}

// judge enters the exit code: that of the first server with which something is wrong, or Nagios' own.
func (r *checkReport) judge(interrupted bool) {
	var worst class
	var why *problem
	for _, s := range r.Servers {
		if worst == classGranted {
			worst, why = s.class, s.Error
		}
	}
	if r.interrupted = interrupted; interrupted {
		p := newProblem(errInterrupted)
		worst, why = classInterrupted, &p
	}
	r.report.judge(worst, why)
	if r.options.nagios && !interrupted {
		_, r.ExitCode = r.nagios()
	}
}

// write replaces the file of the options by the report.
func (r *checkReport) write(asJSON bool) (output, error) {
	text := r.line()
	if asJSON {
		text = r.json()
	}
	err := replaceFile(r.options.output, text)
	if err != nil && r.options.nagios {
		return nil, err // which has a line of its own
	}
	return &page{ending: r.ending}, err
}

// replaceFile writes a file so that no reader ever sees a part of it. Its mode is that of any new
// file: what the umask leaves. A symbolic link stays one. What is there and is no file, such as a
// pipe, is written to: nothing can take its place.
func replaceFile(name, text string) error {
	if target, err := filepath.EvalSymlinks(name); err == nil {
		name = target
	}
	if info, err := os.Lstat(name); err == nil && !info.Mode().IsRegular() {
		return writeInto(name, text)
	}
	part := filepath.Join(filepath.Dir(name), "."+filepath.Base(name)+"."+rand.Text())
	f, err := os.Create(part)
	if err == nil {
		_, err = f.WriteString(text)
		err = errors.Join(err, f.Close())
		if err == nil {
			err = os.Rename(part, name)
		}
		if err != nil {
			os.Remove(part)
		}
	}
	return notWritten(err)
}

// writeInto writes to what is no file. A pipe that nobody reads is an error, not a wait.
func writeInto(name, text string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|syscall.O_NONBLOCK, 0o666) // creates what a link points to
	if err == nil {
		_, err = f.WriteString(text)
		err = errors.Join(err, f.Close())
	}
	return notWritten(err)
}

// notWritten is for a report that did not get to its file; nil for one that did.
func notWritten(err error) error {
	if err == nil {
		return nil
	}
	return failf(classUsage, "write the report: %w", err)
}

// conclude is that of any report; to Nagios, one that could not be written says nothing.
func (r *checkReport) conclude(err error) *failure {
	f := r.report.conclude(err)
	if f != nil && f.class != classInterrupted && r.options.nagios {
		r.ExitCode = nagiosUnknown
	}
	return f
}

func (r *checkReport) block() string { return r.render(true) }

func (r *checkReport) json() string { return encodeJSON(r) }

func (r *checkReport) line() string { return r.render(false) }

// render is the report in the form that was asked for, by default for people.
func (r *checkReport) render(verbose bool) string {
	switch {
	case r.options.nagios:
		text, _ := r.nagios()
		return text
	case r.options.prometheus:
		return r.prometheus()
	}
	return r.text(verbose)
}

// verdict is whether the server is well, and what is wrong with it.
func (s *serverCheck) verdict() string {
	if s.Error == nil {
		return s.Server + ": OK\n"
	}
	return s.Server + ": FAILED: " + oneLine(s.Error.Message) + "\n"
}

func (r *checkReport) text(verbose bool) string {
	var b strings.Builder
	for _, s := range r.Servers {
		b.WriteString(s.verdict())
		if s.Error != nil && s.Error.Hint != "" {
			fmt.Fprintf(&b, "  hint: %s\n", oneLine(s.Error.Hint))
		}
		if verbose && s.Address != "" {
			fmt.Fprintf(&b, "  address: %s\n", s.Address)
		}
		var phases []string
		for _, p := range s.Timing.phases() {
			if p.took > 0 {
				phases = append(phases, p.name+" "+p.took.Round(time.Microsecond).String())
			}
		}
		fmt.Fprintf(&b, "  time: %s\n", strings.Join(phases, ", "))
		if s.KeyOK != nil {
			fmt.Fprintf(&b, "  key: %s\n", map[bool]string{true: "ok", false: "WRONG"}[*s.KeyOK])
		}
		if s.SingleConnect != nil {
			fmt.Fprintf(&b, "  single-connect: %s\n", singleConnectWord(*s.SingleConnect))
		}
		if s.TLS != nil && s.TLS.NotAfter != "" {
			fmt.Fprintf(&b, "  tls: %s, %d days left\n", s.TLS.Version, s.TLS.DaysLeft)
		}
		if s.Login != "" {
			fmt.Fprintf(&b, "  login: %s\n", s.Login)
		}
		for t := range authenTypeNames {
			if name := authenType(t).String(); s.Types[name] != "" {
				fmt.Fprintf(&b, "  type %s: %s\n", name, s.Types[name])
			}
		}
		if s.WrongPassword != "" {
			answer := s.WrongPassword
			if statusClass(answer) == classDenied {
				answer = "refused"
			}
			fmt.Fprintf(&b, "  wrong password: %s\n", answer)
		}
	}
	return b.String()
}

// The states of Nagios' plugins are their exit codes.
const (
	nagiosOK       exitCode = 0
	nagiosWarning  exitCode = 1
	nagiosCritical exitCode = 2
	nagiosUnknown  exitCode = 3
)

// nagiosMisused is the line of a plugin that could not be run as it was asked to.
func nagiosMisused(inv *invocation, f *failure) output {
	if !inv.given("nagios") {
		return nil
	}
	return &unknownState{page{text: fmt.Sprintf("TACACS+ UNKNOWN: %s\n", oneLine(f.Error()))}}
}

// An unknownState keeps its exit code whatever the error.
type unknownState struct{ page }

func (*unknownState) exit() exitCode { return nagiosUnknown }

// nagios is the line of a plugin, and its state: the worst of all servers. An interruption says
// nothing about them.
func (r *checkReport) nagios() (string, exitCode) {
	if r.interrupted {
		return "TACACS+ UNKNOWN: interrupted\n", nagiosUnknown
	}
	var said [nagiosCritical + 1][]string // by state
	var perf strings.Builder
	worst, slowest := nagiosOK, time.Duration(0)
	for _, s := range r.Servers {
		state, text := s.nagios(r.options)
		said[state] = append(said[state], text)
		worst, slowest = max(worst, state), max(slowest, s.Timing.total)
		s.perfdata(&perf, r.options, r.certificates)
	}
	text := strings.Join(slices.Concat(said[nagiosCritical], said[nagiosWarning]), "; ")
	if worst == nagiosOK {
		text = fmt.Sprintf("%d of %d servers answer, the slowest in %v", len(r.Servers), len(r.Servers), slowest.Round(time.Microsecond))
	}
	name := [...]string{"OK", "WARNING", "CRITICAL"}[worst]
	return fmt.Sprintf("TACACS+ %s: %s |%s\n", name, strings.ReplaceAll(text, "|", "/"), perf.String()), worst
}

// nagios is the state of one server, and what is wrong with it.
func (s *serverCheck) nagios(limits *checkOptions) (exitCode, string) {
	took := s.Timing.total
	slow := fmt.Sprintf("%s took %v", s.Server, took.Round(time.Microsecond))
	switch {
	case s.state == nagiosCritical:
		return s.state, s.Error.Message
	case limits.crit > 0 && took > limits.crit:
		return nagiosCritical, slow
	case s.state == nagiosWarning:
		return s.state, s.Error.Message
	case limits.warn > 0 && took > limits.warn:
		return nagiosWarning, slow
	case s.TLS != nil && s.TLS.DaysLeft < limits.certDays:
		return nagiosWarning, fmt.Sprintf("the certificate of %s has %d days left", s.Server, s.TLS.DaysLeft)
	}
	return nagiosOK, ""
}

// perfdata writes the numbers that a monitor draws; U is one that is not known.
func (s *serverCheck) perfdata(b *strings.Builder, limits *checkOptions, certificate bool) {
	limit := func(d time.Duration) string {
		if d == 0 {
			return ""
		}
		return strconv.FormatFloat(d.Seconds(), 'f', -1, 64)
	}
	took, days := "U", "U"
	if s.Up {
		took = fmt.Sprintf("%.6fs", s.Timing.total.Seconds())
	}
	label := strings.NewReplacer("'", "''", "=", "_").Replace(s.Server) // as Nagios wants labels
	fmt.Fprintf(b, " '%s'=%s;%s;%s", label, took, limit(limits.warn), limit(limits.crit))
	if s.TLS != nil {
		days = strconv.Itoa(s.TLS.DaysLeft)
	}
	if certificate {
		fmt.Fprintf(b, " '%s days left'=%s;%d:", label, days, limits.certDays)
	}
}

// prometheus writes the text format. A metric's lines stand together, under its type.
func (r *checkReport) prometheus() string {
	var b strings.Builder
	metric := func(name, help string, values func(s *serverCheck, value func(labels string, v float64))) {
		fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s gauge\n", name, help, name)
		for _, s := range r.Servers {
			values(s, func(labels string, v float64) {
				fmt.Fprintf(&b, "%s{server=%s%s} %s\n", name, strconv.Quote(s.Server), labels, strconv.FormatFloat(v, 'f', -1, 64))
			})
		}
	}
	number := map[bool]float64{true: 1}
	metric("tacacs_up", "Whether the server answers.", func(s *serverCheck, value func(string, float64)) { value("", number[s.Up]) })
	metric("tacacs_ok", "Whether nothing is wrong with the server.", func(s *serverCheck, value func(string, float64)) { value("", number[s.Error == nil]) })
	metric("tacacs_key_ok", "Whether the shared key fits.", func(s *serverCheck, value func(string, float64)) {
		if s.KeyOK != nil {
			value("", number[*s.KeyOK])
		}
	})
	metric("tacacs_phase_seconds", "How long the phases of the first session took.", func(s *serverCheck, value func(string, float64)) {
		for _, p := range s.Timing.phases() {
			if p.took > 0 {
				value(`,phase="`+p.name+`"`, p.took.Seconds())
			}
		}
	})
	metric("tacacs_status", "The status of the login, where one was asked for.", func(s *serverCheck, value func(string, float64)) {
		if s.Login != "" {
			value(`,status="`+s.Login+`"`, 1)
		}
	})
	metric("tacacs_type_status", "The status of a login by each authentication type, where --types asked for it.", func(s *serverCheck, value func(string, float64)) {
		for t := range authenTypeNames {
			if name := authenType(t).String(); s.Types[name] != "" {
				value(`,type="`+name+`",status="`+s.Types[name]+`"`, 1)
			}
		}
	})
	metric("tacacs_wrong_password_refused", "Whether a wrong password is refused, where --negative asked for it.", func(s *serverCheck, value func(string, float64)) {
		if s.WrongPassword != "" {
			value("", number[statusClass(s.WrongPassword) == classDenied])
		}
	})
	metric("tacacs_tls_not_after_seconds", "When the server's certificate expires, since the epoch.", func(s *serverCheck, value func(string, float64)) {
		if s.TLS != nil && s.TLS.NotAfter != "" {
			value("", float64(s.TLS.notAfter.Unix()))
		}
	})
	return b.String()
}
