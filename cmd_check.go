package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"sync"
	"time"
)

// checkOptions are the options of check.
type checkOptions struct {
	plan     checkPlan
	format   checkFormat
	output   string        // file for the report; empty for stdout
	interval time.Duration // 0: one round
	count    int           // rounds; 0: no end
}

// newCheck is the command check: is the server healthy, is the key correct, do logins work?
func newCheck(o *optionSet) action {
	opts := checkOptions{format: checkFormat{limits: nagiosLimits{certDays: 14}}}
	plan, format, limits := &opts.plan, &opts.format, &opts.format.limits
	o.add((*toggle)(&plan.types), "types", "", "log in with every authentication type")
	o.add((*toggle)(&plan.negative), "negative", "", "also check that a wrong password is denied: one failed login each time")
	o.add((*toggle)(&format.nagios), "nagios", "", "print one line and exit like a Nagios plugin")
	o.add((*seconds)(&limits.warn), "warn", "TIME", "with --nagios: WARNING if a server takes longer")
	o.add((*seconds)(&limits.crit), "crit", "TIME", "with --nagios: CRITICAL if a server takes longer")
	o.add(&number{&limits.certDays, 0, 3650}, "cert-days", "N", "with --nagios: WARNING if a certificate has fewer days left (default 14)")
	o.add((*toggle)(&format.prometheus), "prometheus", "", "print metrics for the textfile collector of node_exporter")
	o.add((*text)(&opts.output), "output", "FILE", "write the report to FILE, which is replaced atomically")
	o.add((*seconds)(&opts.interval), "interval", "TIME", "repeat every TIME; print state changes, and totals at the end; rewrite --output each time")
	o.add(&number{&opts.count, 1, 1e9}, "count", "N", "with --interval: stop after N rounds (default: at Ctrl-C), with the exit code of the last")
	return func(ctx context.Context, inv *invocation) (output, error) { return opts.run(ctx, inv) }
}

func (opts *checkOptions) run(ctx context.Context, inv *invocation) (output, error) {
	if err := opts.check(inv); err != nil {
		return nil, err
	}
	var passwords []*secretSource
	if inv.request.user != "" {
		passwords = append(passwords, &inv.password)
	}
	secrets, err := inv.secrets(ctx, passwords...)
	if err != nil {
		return nil, err
	}
	if err := newLogin(inv.request.commonFields(), secrets.password).check(inv.request.maxRemAddr()); err != nil {
		return nil, err
	}
	inv.server.singleConnect = true // to see whether the server agrees to it
	c, err := inv.client(ctx, secrets.keys)
	if err != nil {
		return nil, err
	}
	plan := opts.plan
	plan.request, plan.password = inv.request, secrets.password
	round := func() *checkReport {
		report := &checkReport{report: inv.newReport(), format: opts.format, certificates: c.tls != nil}
		report.Servers = checkServers(ctx, c, &plan)
		report.setVerdict(ctx.Err() != nil)
		return report
	}
	if opts.interval > 0 {
		w := &watch{inv: inv, interval: opts.interval, count: opts.count, output: opts.output}
		return w.run(ctx, round)
	}
	report := round()
	if opts.output == "" {
		return report, nil
	}
	err = report.write(opts.output, inv.output.json)
	if err != nil && opts.format.nagios {
		return nil, err // nagiosMisused prints it
	}
	return &page{exitStatus: report.exitStatus}, err
}

// checkServers checks all servers side by side. A server that is given twice is checked once, since a monitor wants one
// value of each.
func checkServers(ctx context.Context, c *client, plan *checkPlan) []*serverCheck {
	var servers []server
	for _, srv := range c.servers {
		if !slices.Contains(servers, srv) {
			servers = append(servers, srv)
		}
	}
	checks := make([]*serverCheck, len(servers))
	var all sync.WaitGroup
	for i, srv := range servers {
		all.Go(func() { checks[i] = checkServer(ctx, c, srv, plan) })
	}
	all.Wait()
	return checks
}

// check refuses options that make no sense together.
func (opts *checkOptions) check(inv *invocation) error {
	if (opts.plan.types || opts.plan.negative) && inv.request.user == "" {
		return failf(classUsage, "--types and --negative need USER")
	}
	format := ""
	for _, option := range []string{"nagios", "prometheus", "json"} {
		if !inv.given(option) {
			continue
		}
		if format != "" {
			return failf(classUsage, "--%s and --%s cannot be used together", format, option)
		}
		format = option
	}
	for _, option := range []string{"warn", "crit", "cert-days"} {
		if inv.given(option) && !opts.format.nagios {
			return failf(classUsage, "--%s needs --nagios", option)
		}
	}
	if limits := opts.format.limits; limits.crit > 0 && limits.warn > limits.crit {
		return failf(classUsage, "--warn %v is above --crit %v", limits.warn, limits.crit)
	}
	return opts.checkInterval()
}

// minInterval keeps check from being a load test.
const minInterval = 100 * time.Millisecond

// checkInterval refuses options that make no sense with --interval, or without it.
func (opts *checkOptions) checkInterval() error {
	switch {
	case opts.interval == 0 && opts.count > 0:
		return failf(classUsage, "--count needs --interval")
	case opts.interval == 0:
		return nil
	case opts.interval < minInterval:
		return failf(classUsage, "--interval must be at least %v", minInterval)
	case opts.format.nagios:
		return failf(classUsage, "--nagios and --interval cannot be used together").withHint("let Nagios repeat the check")
	case opts.format.prometheus && opts.output == "":
		return failf(classUsage, "--prometheus with --interval needs --output FILE, which is rewritten each time")
	}
	return nil
}

// The states of a Nagios plugin are its exit codes. They also rank the errors of a server.
const (
	nagiosOK       exitCode = 0
	nagiosWarning  exitCode = 1
	nagiosCritical exitCode = 2
	nagiosUnknown  exitCode = 3
)

// A checkPlan is what check tries with every server.
type checkPlan struct {
	request  requestOptions // without a user, only the probe is sent
	password string
	types    bool // log in with every authentication type
	negative bool // log in with a wrong password
}

// A serverCheck is the result of the check of one server.
type serverCheck struct {
	Server        string            `json:"server"`
	Address       string            `json:"address,omitempty"`        // empty if there was no connection
	Up            bool              `json:"up"`                       // it replies as a TACACS+ server
	KeyOK         *bool             `json:"key_ok,omitempty"`         // nil over TLS, or if no reply shows it
	SingleConnect *bool             `json:"single_connect,omitempty"` // whether the server agreed to it
	Login         string            `json:"login,omitempty"`          // status of a login with USER
	Types         map[string]string `json:"types,omitempty"`          // status by authentication type
	WrongPassword string            `json:"wrong_password,omitempty"` // status of a login with one
	TimingMS      *timingMS         `json:"timing_ms,omitempty"`
	TLS           *tlsFacts         `json:"tls,omitempty"`
	Error         *problem          `json:"error,omitempty"`

	Timing       *timing  `json:"-"` // of the probe
	wrongRefused bool     // the wrong password was denied
	class        class    // of Error
	state        exitCode // of Nagios, for Error
}

// checkServer sends the probe and, if the server replies to it, the logins of the plan.
func checkServer(ctx context.Context, c *client, srv server, plan *checkPlan) *serverCheck {
	s := &serverCheck{Server: srv.String()}
	c = c.only(srv)
	user := plan.request.user
	if !s.probe(ctx, c, plan.request) || user == "" {
		return s
	}
	separate := c.only(srv) // each login has a connection of its own
	separate.singleConnect = false
	login := func(typ authenType, password string) *job {
		fields := plan.request.commonFields()
		fields.typ = typ
		j := &job{request: newLogin(fields, password)}
		(&requester{client: separate}).do(ctx, j)
		return j
	}
	j := login(plan.request.authenType, plan.password)
	s.Login = statusName(j.answer())
	s.fail(loginError(srv, user, j), nagiosCritical)
	if plan.types {
		s.tryTypes(func(typ authenType) *job { return login(typ, plan.password) })
	}
	if plan.negative {
		j = login(plan.request.authenType, "wrong "+rand.Text())
		s.WrongPassword, s.wrongRefused = statusName(j.answer()), j.class() == classDenied
		s.fail(wrongPasswordError(srv, user, j), nagiosCritical)
	}
	return s
}

// probe checks the key without an account: any readable reply to a login without a user proves it. ERROR proves the key
// too, but is an error for another reason. probe reports whether a reply was readable.
func (s *serverCheck) probe(ctx context.Context, c *client, request requestOptions) bool {
	request.user, request.authenType, request.service = "", authenASCII, authenServiceLogin
	j := &job{request: &probe{newLogin(request.commonFields(), "")}}
	(&requester{client: c}).do(ctx, j)
	s.Address = j.res.Address
	s.Timing, s.TimingMS, s.TLS = j.res.Timing, j.res.Timing.ms(), j.res.TLS.forJSON()
	class, readable := classOf(j.err), j.answer() != nil
	s.Up = readable || class == classServer || class == classProtocol && !errors.Is(j.err, errNotTACACS)
	if wrongKey := errors.Is(j.err, errBodyLength); !c.cleartext && (readable || wrongKey) {
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

// tryTypes logs in with every authentication type. A login without a status has the class of its error instead.
func (s *serverCheck) tryTypes(login func(authenType) *job) {
	s.Types = make(map[string]string)
	for t, name := range authenTypeNames {
		if name != "" {
			j := login(authenType(t))
			s.Types[name] = cmp.Or(statusName(j.answer()), j.class().String())
		}
	}
}

// loginError returns why a login was not granted, or nil.
func loginError(srv server, user string, login *job) error {
	switch {
	case login.answer() == nil:
		return login.err
	case login.res.class == classGranted:
		return nil
	}
	return failf(login.res.class, "%s replied to the login of %s with %s", srv, escape(user), login.res.verdict()).
		withHint("%s", cmp.Or(login.res.hint, asFailure(login.err).hint))
}

// wrongPasswordError returns why a login with a wrong password was not denied, or nil.
func wrongPasswordError(srv server, user string, login *job) error {
	switch class := login.res.class; {
	case login.answer() == nil:
		return login.err
	case class == classGranted:
		return failf(classDenied, "%s accepted a wrong password for %s", srv, escape(user)).
			withHint("check the server and its back end: they accept any password")
	case class != classDenied:
		return failf(class, "%s replied to a wrong password with %s, not with a denial", srv, login.res.verdict())
	}
	return nil
}

// fail keeps the worst error, and the first of equal ones.
func (s *serverCheck) fail(err error, state exitCode) {
	if err != nil && state > s.state {
		p := newProblem(err)
		s.Error, s.class, s.state = &p, classOf(err), state
	}
}

// A probe is a login that ends at the first readable reply.
type probe struct{ *authentication }

// on accepts every readable reply but ERROR, and aborts at a prompt.
func (p *probe) on(server string) reaction {
	status := p.response.status
	switch {
	case !authenStatusNames.has(uint8(status)):
		return unknownStatus(server, status)
	case status == authenError:
		return reaction{verdict: verdict{status: status, serverMsg: p.response.serverMsg, data: p.response.data}}
	}
	r := reaction{verdict: verdict{status: authenPass}}
	if status.asks() {
		r.abort = abort("probe")
	}
	return r
}
