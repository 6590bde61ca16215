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
	return func(ctx context.Context, inv *invocation) (output, error) {
		login := inv.caller.user != ""
		if (own.types || own.negative) && !login {
			return nil, failf(classUsage, "--types and --negative need a USER")
		}
		if own.nagios && own.prometheus {
			return nil, failf(classUsage, "--nagios and --prometheus exclude each other")
		}
		var passwords []*secretSource
		if login {
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
		c, err := inv.client(secrets.keys)
		if err != nil {
			return nil, err
		}
		r := &checkReport{Command: inv.command.name, options: &own, Servers: make([]*serverCheck, len(c.servers))}
		var all sync.WaitGroup
		for i, srv := range c.servers {
			r.Servers[i] = &serverCheck{Server: srv.String()}
			all.Go(func() { r.Servers[i].run(ctx, c, srv, inv.caller, secrets.password, &own) })
		}
		all.Wait()
		if r.judge(ctx.Err() != nil); own.output != "" {
			return r.write(inv.output.json)
		}
		return r, nil
	}
}

// A serverCheck is what was found of one server.
type serverCheck struct {
	Server        string            `json:"server"`
	Up            bool              `json:"up"`                       // it answers
	KeyOK         *bool             `json:"key_ok,omitempty"`         // and the key fits; not over TLS
	SingleConnect *bool             `json:"single_connect,omitempty"` // established
	Login         string            `json:"login,omitempty"`          // status of a login with USER
	Types         map[string]string `json:"types,omitempty"`          // status by authentication type
	WrongPassword string            `json:"wrong_password,omitempty"` // status of a login with one
	TimingMS      *timingMS         `json:"timing_ms,omitempty"`
	TLS           *tlsFacts         `json:"tls,omitempty"`
	Error         *problem          `json:"error,omitempty"`

	Timing *timing `json:"-"`
	class  class   // of the first thing that is wrong
}

// run tries one server.
func (s *serverCheck) run(ctx context.Context, c *client, srv server, who caller, password string, own *checkOptions) {
	one := *c
	one.servers = []server{srv}
	if !s.probe(ctx, &one, who) || who.user == "" {
		return
	}
	one.singleConnect = false
	login := func(typ authenType, password string) (string, error) {
		who := who
		who.authenType = typ
		j := &job{request: newLogin(who, password)}
		(&asker{client: &one}).ask(ctx, j)
		if c := classOf(j.err); j.res.Status != "" && (c == classDenied || c == classServer) {
			j.err = nil // a prompt that has no answer, or ERROR: the status says it
		}
		return j.res.Status, j.err
	}
	var err error
	if s.Login, err = login(who.authenType, password); err == nil && statusClass(s.Login) != classGranted {
		err = failf(statusClass(s.Login), "%s answers the login of %s with %s", srv, escape(who.user), s.Login)
	}
	s.fail(err)
	if own.types {
		s.tryTypes(func(typ authenType) (string, error) { return login(typ, password) })
	}
	if own.negative {
		s.WrongPassword, err = login(who.authenType, "wrong "+rand.Text())
		s.fail(refused(srv, who.user, s.WrongPassword, err))
	}
}

// probe proves the key without an account: any readable answer to a login that names no user will
// do. It returns whether there was one.
func (s *serverCheck) probe(ctx context.Context, c *client, nobody caller) bool {
	nobody.user, nobody.authenType, nobody.service = "", authenASCII, authenServiceLogin
	j := &job{request: &probe{newLogin(nobody, "")}}
	(&asker{client: c}).ask(ctx, j)
	s.Timing, s.TimingMS, s.TLS = j.res.Timing, j.res.Timing.ms(), j.res.TLS.shown()
	came := classOf(j.err)
	s.Up = came == classGranted || came == classProtocol || came == classServer
	if fits := came == classGranted || came == classServer; c.tls == nil && !c.clear && s.Up {
		s.KeyOK = &fits
	}
	if s.fail(j.err); j.err == nil {
		s.SingleConnect = j.res.SingleConnect
	}
	return j.err == nil
}

// tryTypes logs in with every authentication type.
func (s *serverCheck) tryTypes(login func(authenType) (string, error)) {
	s.Types = make(map[string]string)
	for t := range authenTypeNames {
		if authenTypeNames.has(uint8(t)) {
			status, err := login(authenType(t))
			if err != nil {
				status = asFailure(err).class.String()
			}
			s.Types[authenType(t).String()] = status
		}
	}
}

// refused demands a refusal of a wrong password.
func refused(srv server, user, status string, err error) error {
	switch c := statusClass(status); {
	case err != nil:
		return err
	case c == classGranted:
		return failf(classDenied, "%s accepts a wrong password of %s", srv, escape(user)).withHint("anybody can log in: the server, or its back end, does not look at passwords")
	case c != classDenied:
		return failf(c, "%s answers a wrong password with %s, which is no refusal", srv, status)
	}
	return nil
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

func (p *probe) next(_ context.Context, s *session, res *result) (layouter, error) {
	status := p.response.status
	if !authenStatusNames.has(uint8(status)) {
		return nil, unknownStatus(s.link, status)
	}
	res.heard(authenPass, "", "") // whatever it says: it could be read
	switch status {
	case authenGetData, authenGetUser, authenGetPass:
		return abort("probe"), errFarewell
	}
	return nil, nil
}

// A checkReport is what was found of all servers.
type checkReport struct {
	Command string `json:"command"`
	Granted bool   `json:"granted"`
	ending
	Servers []*serverCheck `json:"servers"`

	options *checkOptions
}

// judge enters the exit code: that of the first server with which something is wrong, or Nagios' own.
func (r *checkReport) judge(interrupted bool) {
	var worst class
	for _, s := range r.Servers {
		if worst == classGranted {
			worst = s.class
		}
	}
	if interrupted {
		worst = classInterrupted
	}
	r.Granted, r.ExitCode = worst == classGranted, worst.exit()
	if r.options.nagios {
		_, r.ExitCode = r.nagios()
	}
}

// write replaces the file of the options by the report.
func (r *checkReport) write(asJSON bool) (output, error) {
	text := r.line()
	if asJSON {
		text = r.json()
	}
	if err := replaceFile(r.options.output, text); err != nil {
		return nil, err
	}
	return &page{ending: r.ending}, nil
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

func (r *checkReport) block() string { return r.line() }

func (r *checkReport) json() string {
	if r.options.nagios || r.options.prometheus {
		return r.line()
	}
	return encodeJSON(r)
}

// line is the report in the form that was asked for, by default for people.
func (r *checkReport) line() string {
	switch {
	case r.options.nagios:
		text, _ := r.nagios()
		return text
	case r.options.prometheus:
		return r.prometheus()
	}
	return r.text()
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
			fmt.Fprintf(&b, "  wrong password: %s\n", s.WrongPassword)
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

// nagios is the line of a plugin, and its state.
func (r *checkReport) nagios() (string, exitCode) {
	worst, said := nagiosOK, ""
	is := func(c exitCode, text string) {
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
		if s.TLS != nil && s.TLS.NotAfter != "" {
			value("", float64(s.TLS.notAfter.Unix()))
		}
	})
	return b.String()
}
