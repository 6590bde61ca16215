package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
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
	o.add((*toggle)(&own.prometheus), "prometheus", "", "metrics for the textfile collector of the node exporter")
	o.add((*text)(&own.output), "output", "FILE", "write to a temporary file, then rename it to FILE")
	return func(ctx context.Context, inv *invocation) (*result, error) {
		login := inv.caller.user != ""
		if (own.types || own.negative) && !login {
			return nil, failf(classUsage, "--types and --negative need a USER")
		}
		if own.nagios && own.prometheus {
			return nil, failf(classUsage, "--nagios and --prometheus exclude each other")
		}
		secrets, err := inv.secrets(ctx, login)
		if err != nil {
			return nil, err
		}
		if err := fitsRequest(newLogin(inv.caller, secrets.password), inv.caller); err != nil {
			return nil, err
		}
		inv.server.singleConnect = true // to see whether it is granted
		c, err := inv.client(secrets.keys)
		if err != nil {
			return nil, err
		}
		r := &checkReport{Command: inv.command.name, options: &own, Servers: make([]*serverCheck, len(c.servers))}
		var all sync.WaitGroup
		for i, srv := range c.servers {
			r.Servers[i] = &serverCheck{Server: srv.String()}
			all.Go(func() { r.Servers[i].run(ctx, *c, srv, inv.caller, secrets.password, &own) })
		}
		all.Wait()
		return r.write(ctx, inv)
	}
}

// A serverCheck is what was found of one server.
type serverCheck struct {
	Server        string            `json:"server"`
	Up            bool              `json:"up"`                       // it answers
	KeyOK         *bool             `json:"key_ok,omitempty"`         // and the key fits; not over TLS
	SingleConnect *bool             `json:"single_connect,omitempty"` // granted
	Login         string            `json:"login,omitempty"`          // status of a login with USER
	Types         map[string]string `json:"types,omitempty"`          // status by authentication type
	WrongPassword string            `json:"wrong_password,omitempty"` // status of a login with one
	TimingMS      *timingMS         `json:"timing_ms,omitempty"`
	TLS           *tlsFacts         `json:"tls,omitempty"`
	Error         *problem          `json:"error,omitempty"`

	Timing *timing `json:"-"`
	class  class   // of the first thing that is wrong
}

// run tries one server. The key is proved without an account: any readable answer to a login
// that names no user will do.
func (s *serverCheck) run(ctx context.Context, c client, srv server, who caller, password string, own *checkOptions) {
	c.servers = []server{srv}
	c.warn = func(string, ...any) {}
	nobody := who
	nobody.user, nobody.authenType, nobody.service = "", authenASCII, authenServiceLogin
	var res result
	err := c.ask(ctx, &res, &probe{newLogin(nobody, "")})
	s.Timing, s.TimingMS, s.TLS = res.Timing, res.Timing.ms(), res.TLS.shown()
	s.Up = err == nil || asFailure(err).class == classProtocol || asFailure(err).class == classServer
	if fits := err == nil || asFailure(err).class == classServer; c.tls == nil && !c.clear && s.Up {
		s.KeyOK = &fits
	}
	if s.fail(err); err != nil {
		return
	}
	s.SingleConnect = res.SingleConnect
	if who.user == "" {
		return
	}
	c.singleConnect = false
	login := func(typ authenType, password string) (string, error) {
		who := who
		who.authenType = typ
		var res result
		err := c.ask(ctx, &res, newLogin(who, password))
		if c := asFailure(err).class; err != nil && res.Status != "" && (c == classDenied || c == classServer) {
			err = nil // a prompt that has no answer, or ERROR: the status says it
		}
		return res.Status, err
	}
	if s.Login, err = login(who.authenType, password); err == nil && statusClass(s.Login) != classGranted {
		err = failf(statusClass(s.Login), "%s answers the login of %s with %s", srv, escape(who.user), s.Login)
	}
	s.fail(err)
	if own.types {
		s.Types = make(map[string]string)
		for t := range authenTypeNames {
			if authenTypeNames.has(uint8(t)) {
				status, err := login(authenType(t), password)
				if err != nil {
					status = asFailure(err).class.String()
				}
				s.Types[authenType(t).String()] = status
			}
		}
	}
	if own.negative {
		s.WrongPassword, err = login(who.authenType, "wrong "+rand.Text())
		switch c := statusClass(s.WrongPassword); {
		case err == nil && c == classGranted:
			err = failf(classDenied, "%s accepts a wrong password of %s", srv, escape(who.user)).withHint("anybody can log in: the server, or its back end, does not look at passwords")
		case err == nil && c != classDenied:
			err = failf(c, "%s answers a wrong password with %s, which is no refusal", srv, s.WrongPassword)
		}
		s.fail(err)
	}
}

// fail keeps the first error.
func (s *serverCheck) fail(err error) {
	if err != nil && s.Error == nil {
		p := newProblem(err)
		s.Error, s.class = &p, asFailure(err).class
	}
}

// A probe is a login that ends at the first readable answer.
type probe struct{ *authentication }

func (p *probe) next(_ context.Context, l *link, res *result) (layouter, error) {
	status := p.reply.status
	if !authenStatusNames.has(uint8(status)) {
		return nil, unknownStatus(l, status)
	}
	res.answer(authenPass, "", "") // whatever it says: it could be read
	switch status {
	case authenGetData, authenGetUser, authenGetPass:
		return &authenContinue{flags: authenAbort, data: "probe"}, errFarewell
	}
	return nil, nil
}

// A checkReport is what was found of all servers.
type checkReport struct {
	Command  string         `json:"command"`
	Granted  bool           `json:"granted"`
	ExitCode int            `json:"exit_code"`
	Servers  []*serverCheck `json:"servers"`

	options *checkOptions
}

// write puts the report where the options want it. The exit code is that of the first server
// with which something is wrong, or Nagios' own.
func (r *checkReport) write(ctx context.Context, inv *invocation) (*result, error) {
	res := &result{Command: r.Command}
	for _, s := range r.Servers {
		if res.class == classGranted {
			res.class = s.class
		}
	}
	if ctx.Err() != nil {
		res.class = classInterrupted
	}
	r.Granted, r.ExitCode = res.class == classGranted, int(res.class)
	switch {
	case r.options.nagios:
		res.report, res.class = r.nagios()
	case r.options.prometheus:
		res.report = r.prometheus()
	case inv.output.json:
		res.report = encodeJSON(r)
	default:
		res.report = r.text()
	}
	if r.options.output == "" {
		return res, nil
	}
	res.streamed = true
	return res, replaceFile(r.options.output, res.report)
}

// replaceFile writes a file so that no reader ever sees a part of it.
func replaceFile(name, text string) error {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err == nil {
		_, err = f.WriteString(text)
		err = errors.Join(err, f.Chmod(0o644), f.Close())
		if err == nil {
			err = os.Rename(f.Name(), name)
		}
		if err != nil {
			os.Remove(f.Name())
		}
	}
	if err != nil {
		return failf(classUsage, "write the report: %w", err)
	}
	return nil
}

func (r *checkReport) text() string {
	var b strings.Builder
	for _, s := range r.Servers {
		if s.Error == nil {
			fmt.Fprintf(&b, "%s: OK\n", s.Server)
		} else {
			fmt.Fprintf(&b, "%s: FAILED: %s\n", s.Server, oneLine(s.Error.Message))
		}
		if s.Error != nil && s.Error.Hint != "" {
			fmt.Fprintf(&b, "  hint: %s\n", oneLine(s.Error.Hint))
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
			fmt.Fprintf(&b, "  single-connect: %s\n", grantedWord(*s.SingleConnect))
		}
		if s.TLS != nil {
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
			fmt.Fprintf(&b, "  wrong password: %s\n", s.WrongPassword)
		}
	}
	return b.String()
}

// Nagios' exit codes.
const (
	nagiosOK       class = 0
	nagiosWarning  class = 1
	nagiosCritical class = 2
	nagiosUnknown  class = 3
)

func (r *checkReport) nagios() (string, class) {
	worst, said := nagiosOK, ""
	is := func(c class, text string) {
		if c > worst {
			worst, said = c, text
		}
	}
	var perf strings.Builder
	slowest := time.Duration(0)
	for _, s := range r.Servers {
		took := s.Timing.total
		slowest = max(slowest, took)
		limit := func(d time.Duration) string {
			if d == 0 {
				return ""
			}
			return strconv.FormatFloat(d.Seconds(), 'f', -1, 64)
		}
		fmt.Fprintf(&perf, " '%s'=%.6fs;%s;%s", s.Server, took.Seconds(), limit(r.options.warn), limit(r.options.crit))
		switch {
		case s.Error != nil:
			is(nagiosCritical, oneLine(s.Error.Message))
		case r.options.crit > 0 && took > r.options.crit:
			is(nagiosCritical, fmt.Sprintf("%s took %v", s.Server, took.Round(time.Microsecond)))
		case r.options.warn > 0 && took > r.options.warn:
			is(nagiosWarning, fmt.Sprintf("%s took %v", s.Server, took.Round(time.Microsecond)))
		case s.TLS != nil && s.TLS.DaysLeft < r.options.certDays:
			is(nagiosWarning, fmt.Sprintf("the certificate of %s has %d days left", s.Server, s.TLS.DaysLeft))
		}
	}
	if worst == nagiosOK {
		said = fmt.Sprintf("%d of %d servers answer, the slowest in %v", len(r.Servers), len(r.Servers), slowest.Round(time.Microsecond))
	}
	name := [...]string{"OK", "WARNING", "CRITICAL"}[worst]
	return fmt.Sprintf("TACACS+ %s: %s |%s\n", name, strings.ReplaceAll(said, "|", "/"), perf.String()), worst
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
	metric("tacacs_tls_not_after_seconds", "When the server's certificate expires, since the epoch.", func(s *serverCheck, value func(string, float64)) {
		if s.TLS != nil {
			value("", float64(s.TLS.notAfter.Unix()))
		}
	})
	return b.String()
}
