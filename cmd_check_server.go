package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"time"
)

// The states of a Nagios plugin are its exit codes. They also rank the errors of a server.
const (
	nagiosOK       exitCode = 0
	nagiosWarning  exitCode = 1
	nagiosCritical exitCode = 2
	nagiosUnknown  exitCode = 3
)

// severity ranks the states: a known fault is worse than an unknown state, which is worse than a warning.
func severity(state exitCode) int {
	return [...]int{nagiosOK: 0, nagiosWarning: 1, nagiosUnknown: 2, nagiosCritical: 3}[state]
}

// A checkPlan is what check tries with every server.
type checkPlan struct {
	request  requestOptions // without a user, only the probe is sent
	password string
	types    bool // log in with every authentication type
	negative bool // log in with a wrong password
	commands []plannedCommand
	device   *preset    // that is imitated
	login    *loginPlan // after the authentication of the login; nil for nothing
	silenced warningSet
}

// authenticate returns a new authentication with the password of the plan, or with a wrong one.
func (p *checkPlan) authenticate(typ authenType, password string) *job {
	fields := p.request.commonFields()
	fields.typ = typ
	return &job{request: newLogin(fields, password)}
}

// A plannedCommand is a command line that check authorizes.
type plannedCommand struct {
	text    string
	denied  bool           // it must be denied
	request *authorization // each server needs a copy
}

// plannedCommands reads the values of --cmd. Without a sign a command must be permitted.
func (a *argOptions) plannedCommands(request *requestOptions) (commands []plannedCommand, err error) {
	a.method = authenMethodTACACSPlus
	for _, line := range a.commands {
		sign, text := cutSign(line)
		c := plannedCommand{text: text, denied: sign == "-"}
		switch {
		case text == "":
			return nil, failf(classUsage, "--cmd \"%s\" has no command", escape(line))
		case slices.ContainsFunc(commands, func(o plannedCommand) bool { return o.text == text }):
			return nil, failf(classUsage, "--cmd \"%s\" is given twice", escape(text))
		}
		if c.request, err = a.authorization(request, commandArgs(strings.Fields(text)), nil); err != nil {
			return nil, err
		}
		commands = append(commands, c)
	}
	return commands, nil
}

// A serverCheck is the result of the check of one server at one address.
type serverCheck struct {
	Server        string            `json:"server"`
	Address       string            `json:"address,omitempty"`        // empty if there was no connection
	Up            bool              `json:"up"`                       // it replies as a TACACS+ server
	KeyFile       string            `json:"key_file,omitempty"`       // as in result
	KeyOK         *bool             `json:"key_ok,omitempty"`         // nil over TLS, or if no reply shows it
	SingleConnect *bool             `json:"single_connect,omitempty"` // whether the server agreed to it
	Login         string            `json:"login,omitempty"`          // status of a login with USER
	Steps         []*step           `json:"steps,omitempty"`          // with --login
	Types         map[string]string `json:"types,omitempty"`          // status by authentication type
	WrongPassword string            `json:"wrong_password,omitempty"` // status of a login with one
	Commands      []*checkedCommand `json:"commands,omitempty"`
	Timing        *timing           `json:"timing_ms,omitempty"`       // of the login with USER, else of the probe
	ProbeTiming   *timing           `json:"probe_timing_ms,omitempty"` // with USER
	TLS           *tlsFacts         `json:"tls,omitempty"`
	Error         *problem          `json:"error,omitempty"`
	Warnings      []namedWarning    `json:"warnings,omitempty"`

	plan         *checkPlan
	client       *client       // of this server alone; single-connection mode is for the probe
	resolve      time.Duration // how long its name took
	probe, login sessionTime
	wrongRefused bool     // the wrong password was denied, not asked for more
	anyDenied    bool     // a login was denied
	class        class    // of Error
	state        exitCode // of Nagios, for Error

	negativeSkipped bool // no wrong password is tried, since a login was denied
}

// A checkedCommand is the verdict on a command of --cmd.
type checkedCommand struct {
	Command    string `json:"command"`
	Status     string `json:"status,omitempty"`
	AsExpected bool   `json:"as_expected"`
}

// A sessionTime is how long a session took. The time of the phases is nil if there was no session.
type sessionTime struct {
	*timing
	replied bool // the total is the time of a reply, not that of a failure
}

// took returns the time up to the reply. measured is false without one.
func (t sessionTime) took() (took time.Duration, measured bool) {
	if !t.replied {
		return 0, false
	}
	return t.total, true
}

// counted returns the session whose time is that of the server: the login with USER, else the probe.
func (s *serverCheck) counted() sessionTime {
	if s.plan.request.fields.user != "" {
		return s.login
	}
	return s.probe
}

// server returns the server that is checked.
func (s *serverCheck) server() server { return s.client.servers[0] }

// facts returns the facts of TLS, which are empty if there are none.
func (s *serverCheck) facts() *tlsFacts { return cmp.Or(s.TLS, new(tlsFacts)) }

// newServerCheck returns the check of a target that was not asked yet. One that has no address has failed.
func newServerCheck(t *target, plan *checkPlan) *serverCheck {
	s := &serverCheck{Server: t.name(), plan: plan, client: t.client, resolve: t.resolve}
	if t.err != nil {
		s.fail(t.err, nagiosCritical)
	}
	return s
}

// run sends the probe and the logins of the plan, but for the wrong password.
func (s *serverCheck) run(ctx context.Context) {
	probeErr, canLogin := s.tryProbe(ctx)
	if s.plan.request.fields.user == "" || !canLogin {
		s.fail(probeErr, nagiosCritical)
		return
	}
	separate := *s.client // each login has a connection of its own
	separate.singleConnect = false
	s.client = &separate
	j := s.plan.authenticate(s.plan.request.fields.typ, s.plan.password)
	if s.plan.login != nil {
		j.steps = s.plan.login.run
	}
	s.do(ctx, j)
	s.login = s.learn(j)
	s.Login, s.Steps, s.anyDenied = statusName(j.answer()), stepsForJSON(j.res.Steps), j.class() == classDenied
	s.Timing = s.login.timing
	if j.answer() == nil {
		s.fail(probeErr, nagiosCritical)
	} else if probeErr != nil {
		s.fail(failf(classOf(probeErr), "the probe failed: %w", asFailure(probeErr).err).
			withHint("the server answers logins, but not one without a user"), nagiosWarning)
	}
	s.fail(s.loginError(j), nagiosCritical)
	if s.plan.types {
		s.tryTypes(ctx, j)
	}
	if j.answer() != nil {
		s.tryCommands(ctx)
	}
}

// do sends a request to the server, and keeps its warnings.
func (s *serverCheck) do(ctx context.Context, j *job) *job {
	(&requester{client: s.client, warnf: s.keepWarning}).do(ctx, j)
	return j
}

// keepWarning keeps a warning for the report, once, unless it is silenced.
func (s *serverCheck) keepWarning(w warning, format string, args ...any) {
	for _, w := range s.plan.silenced.unsilenced([]namedWarning{newWarning(w, format, args...)}) {
		if !slices.Contains(s.Warnings, w) {
			s.Warnings = append(s.Warnings, w)
		}
	}
}

// learn records what a session shows of the server, and returns its time.
func (s *serverCheck) learn(j *job) sessionTime {
	class, readable := j.class(), j.answer() != nil
	replied := readable || class == classServer || class == classProtocol && !errors.Is(j.err, errNotTACACS)
	s.Up = s.Up || replied
	s.Address, s.KeyFile = cmp.Or(s.Address, j.res.Address), cmp.Or(s.KeyFile, j.res.KeyFile)
	if s.TLS == nil {
		s.TLS = j.res.TLS.forJSON()
	}
	if wrongKey := errors.Is(j.err, errBodyLength); !s.client.unencrypted && !s.server().tls && (readable || wrongKey) && s.KeyOK == nil {
		s.KeyOK = &readable
	}
	j.res.Timing.resolve += s.resolve
	j.res.Timing.total += s.resolve
	return sessionTime{j.res.Timing, replied}
}

// tryProbe checks the key without an account: any readable reply to a login without a user proves it. ERROR proves the
// key too, but is an error for another reason. canLogin is false if a login would fail like the probe.
func (s *serverCheck) tryProbe(ctx context.Context) (err error, canLogin bool) {
	request := s.plan.request
	request.fields.user, request.fields.typ, request.fields.service = "", authenASCII, authenServiceLogin
	p := &probe{newLogin(request.commonFields(), "")}
	j := s.do(ctx, &job{request: p})
	s.probe = s.learn(j)
	if s.ProbeTiming = s.probe.timing; s.plan.request.fields.user == "" {
		s.Timing, s.ProbeTiming = s.ProbeTiming, nil
	}
	if j.answer() == nil {
		connected := j.class() == classNetwork && j.res.Transport != ""
		return j.err, j.class() == classServer || connected
	}
	s.SingleConnect = j.res.SingleConnect
	s.fail(j.err, nagiosWarning)
	if p.response.status == authenPass && !s.plan.silenced.has(warnOpenServer) {
		text := s.Server + " accepts a login without user and password"
		s.keepWarning(warnOpenServer, "%s", text)
		s.fail(failf(classDenied, "%s", text).withHint("check the server and its back end: they accept any login"), nagiosWarning)
	}
	return nil, true
}

// maxTypeFails is the number of FAILs after which no other authentication type is tried: more lock the account.
const maxTypeFails = 3

// tryTypes logs in with every authentication type, of those of --as if it is given, but that of the login, which was tried
// already. A login without a status has the class of its error instead.
func (s *serverCheck) tryTypes(ctx context.Context, login *job) {
	s.Types = make(map[string]string)
	fails := 0
	try := func(name string, j *job) {
		s.Types[name] = cmp.Or(statusName(j.answer()), j.class().String())
		s.anyDenied = s.anyDenied || j.class() == classDenied
		if j.answer() == authenFail {
			fails++
		}
	}
	own := s.plan.request.fields.typ
	if steps := login.res.Steps; steps != nil {
		login = &job{res: *steps[0].result}
	}
	try(own.String(), login)
	for t, name := range authenTypeNames {
		if typ := authenType(t); name != "" && typ != own && fails < maxTypeFails && s.plan.device.logsInWith(typ) {
			try(name, s.do(ctx, s.plan.authenticate(typ, s.plan.password)))
		}
	}
}

// tryCommands authorizes the commands of the plan.
func (s *serverCheck) tryCommands(ctx context.Context) {
	for _, c := range s.plan.commands {
		each := *c.request
		j := s.do(ctx, &job{request: &each})
		want := choose(c.denied, classDenied, classGranted)
		checked := &checkedCommand{Command: c.text, Status: statusName(j.answer()), AsExpected: j.class() == want}
		s.Commands = append(s.Commands, checked)
		switch {
		case checked.AsExpected:
		case j.answer() == nil:
			s.fail(j.err, nagiosCritical)
		default:
			s.fail(failf(max(j.class(), classDenied), "%s replied to the command \"%s\" with %s", s.Server, escape(c.text), j.res.verdict()), nagiosCritical)
		}
	}
}

// tryWrongPassword logs in with a wrong password, which the server must deny.
func (s *serverCheck) tryWrongPassword(ctx context.Context) {
	j := s.do(ctx, s.plan.authenticate(s.plan.request.fields.typ, "wrong "+rand.Text()))
	s.WrongPassword, s.wrongRefused = statusName(j.answer()), j.class() == classDenied && j.answer() != authenGetData
	s.fail(s.wrongPasswordError(j), nagiosCritical)
}

// loginError returns why a login was not granted, or nil.
func (s *serverCheck) loginError(login *job) error {
	switch {
	case login.answer() == nil:
		return login.err
	case login.res.class == classGranted:
		return nil
	}
	what := "login"
	for _, step := range login.res.Steps {
		if !step.Granted {
			what = "step " + step.Step + " of the login"
			break
		}
	}
	return failf(login.res.class, "%s replied to the %s of %s with %s", s.Server, what, escape(s.plan.request.fields.user), login.res.verdict()).
		withHint(cmp.Or(login.res.hint, asFailure(login.err).hint))
}

// wrongPasswordError returns why a login with a wrong password was not denied, or nil.
func (s *serverCheck) wrongPasswordError(login *job) error {
	switch class := login.res.class; {
	case login.answer() == nil:
		return login.err
	case class == classGranted:
		return failf(classDenied, "%s accepted a wrong password for %s", s.Server, escape(s.plan.request.fields.user)).
			withHint("check the server and its back end: they accept any password")
	case !s.wrongRefused:
		return failf(class, "%s replied to a wrong password with %s, not with a denial", s.Server, login.res.verdict())
	}
	return nil
}

// fail keeps the worst error, and the first of equal ones. A lack of resources of this host leaves the state of the
// server unknown.
func (s *serverCheck) fail(err error, state exitCode) {
	if err == nil {
		return
	}
	if classOf(err) == classLocal {
		state = nagiosUnknown
	}
	if severity(state) > severity(s.state) {
		s.Error, s.class, s.state = newProblem(err), classOf(err), state
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
