package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"sync"
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
		all.Go(func() { s.check(ctx, c, srv, inv.request, password, own) })
	}
	all.Wait()
	r.setVerdict(ctx.Err() != nil)
	return r
}

// check refuses what has no meaning together.
func (own *checkOptions) check(inv *invocation) error {
	if (own.types || own.negative) && inv.request.user == "" {
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

	Timing       *timing  `json:"-"`
	wrongRefused bool     // the wrong password was denied
	class        class    // of the error
	state        exitCode // that the error is to Nagios
}

// run tries one server.
func (s *serverCheck) check(ctx context.Context, c *client, srv server, who requestOptions, password string, own *checkOptions) {
	one := c.only(srv)
	if !s.probe(ctx, one, who) || who.user == "" {
		return
	}
	separate := *one
	separate.singleConnect = false
	login := func(typ authenType, password string) *job {
		who := who
		who.authenType = typ
		j := &job{request: newLogin(who.commonFields(), password)}
		(&requester{client: &separate}).do(ctx, j)
		return j
	}
	j := login(who.authenType, password)
	s.Login = statusName(j.answer())
	s.fail(granted(srv, who.user, j), nagiosCritical)
	if own.types {
		s.tryTypes(func(typ authenType) *job { return login(typ, password) })
	}
	if own.negative {
		j = login(who.authenType, "wrong "+rand.Text())
		s.WrongPassword, s.wrongRefused = statusName(j.answer()), j.res.class == classDenied
		s.fail(refused(srv, who.user, j), nagiosCritical)
	}
}

// probe proves the key without an account: any readable answer to a login that names no user will
// do, ERROR too, which is wrong for another reason. It returns whether there was one.
func (s *serverCheck) probe(ctx context.Context, c *client, nobody requestOptions) bool {
	nobody.user, nobody.authenType, nobody.service = "", authenASCII, authenServiceLogin
	j := &job{request: &probe{newLogin(nobody.commonFields(), "")}}
	(&requester{client: c}).do(ctx, j)
	s.Address = j.res.Address
	s.Timing, s.TimingMS, s.TLS = j.res.Timing, j.res.Timing.ms(), j.res.TLS.forJSON()
	came, readable := classOf(j.err), j.answer() != nil
	s.Up = readable || came == classServer || came == classProtocol && !errors.Is(j.err, errNotTACACS)
	if misfit := errors.Is(j.err, errBodyLength); !c.cleartext && (readable || misfit) {
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
			s.Types[authenType(t).String()] = cmp.Or(statusName(j.answer()), j.class().String())
		}
	}
}

// granted demands that a login is.
func granted(srv server, user string, login *job) error {
	switch {
	case login.answer() == nil:
		return login.err
	case login.res.class == classGranted:
		return nil
	}
	return failf(login.res.class, "%s answers the login of %s with %s", srv, escape(user), answerText(login.res)).
		withHint("%s", cmp.Or(login.res.hint, asFailure(login.err).hint))
}

// refused demands a refusal of a login with a wrong password.
func refused(srv server, user string, login *job) error {
	switch c := login.res.class; {
	case login.answer() == nil:
		return login.err
	case c == classGranted:
		return failf(classDenied, "%s accepts a wrong password of %s", srv, escape(user)).withHint("anybody can log in: the server, or its back end, does not look at passwords")
	case c != classDenied:
		return failf(c, "%s answers a wrong password with %s, which is no refusal", srv, answerText(login.res))
	}
	return nil
}

// words are an answer on one line, with the reason that the server gives, wherever it put it.
func answerText(answer result) string {
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

// on accepts every readable reply but ERROR, and leaves a prompt open.
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
