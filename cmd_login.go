package main

import (
	"cmp"
	"context"
	"slices"
)

// loginOptions are the options for what login does after the authentication.
type loginOptions struct {
	argOptions
	require list
}

// newLoginCommand is the command login: all that a device does when a user logs in.
func newLoginCommand(o *optionSet) action {
	var opts loginOptions
	var authen challengeOptions
	o.add(&opts.args, "c cmds", "ARG", "argument NAME=VALUE or NAME*VALUE of the shell and its records, in place of service=shell cmd=; repeatable")
	o.add(&opts.commands, "cmd", "COMMAND", "authorize this command line between the start and the stop record; repeatable")
	o.add((*toggle)(&opts.cr), "cr", "", "append cmd-arg=<cr> to the commands, as Cisco IOS does")
	o.add(&opts.require, "require", "NAME=VALUE", "exit 1 unless the shell is granted with this argument; repeatable")
	opts.registerStrict(o)
	opts.as.register(o)
	authen.register(o)
	return func(ctx context.Context, inv *invocation) (output, error) {
		if err := opts.applyPreset(inv); err != nil {
			return nil, err
		}
		plan, err := opts.plan(&inv.request, inv.words)
		if err != nil {
			return nil, err // before it asks the person for a secret
		}
		a, c, err := authen.prepare(ctx, inv)
		if err != nil {
			return nil, err
		}
		if authen.all {
			return inv.askAll(ctx, c, func() *job { each := *a; return &job{request: &each, steps: plan.run} }), nil
		}
		res, err := inv.ask(ctx, c, &job{request: a, steps: plan.run})
		if ctx.Err() != nil { // maybe only during STOP
			err = interrupted(ctx)
		}
		return res, err
	}
}

// arguments returns the arguments of the shell's authorization, and those of its START and STOP records. Optional ones
// without a value ask for one, which is nothing to record.
func (l *loginOptions) arguments(words []string) (shell, records []string, err error) {
	if shell, err = l.request(words); err != nil {
		return nil, nil, err
	}
	records, _, err = recordArgs(slices.DeleteFunc(slices.Clone(shell), func(arg string) bool {
		_, value, mandatory, _ := splitArg(arg)
		return value == "" && !mandatory
	}))
	return shell, records, err
}

// plan prepares and checks the requests that follow the authentication.
func (l *loginOptions) plan(request *requestOptions, words []string) (*loginPlan, error) {
	shell, records, err := l.arguments(words)
	if err != nil {
		return nil, err
	}
	l.method = authenMethodTACACSPlus
	p, fields := &loginPlan{records: records}, request.commonFields()
	add := func(name, line string, args, require []string) error {
		m, err := l.authorization(request, args, require)
		p.authorizations = append(p.authorizations, &loginRequest{name, line, m})
		return err
	}
	if err := add("authorize", "", shell, l.require); err != nil {
		return nil, err
	}
	for _, line := range l.commands {
		command := argOptions{command: cmp.Or(line, " "), cr: l.cr, json: l.json} // a blank one is refused
		args, err := command.request(nil)
		if err == nil {
			err = add("cmd", line, args, nil)
		}
		if err != nil {
			return nil, err
		}
	}
	start := p.record(fields, acctStart, records)
	return p, p.record(fields, acctStop, start.request.args).check(request.maxRemAddr())
}

// A loginPlan is what follows the authentication of a login. It does not change, and many logins may share it.
type loginPlan struct {
	authorizations []*loginRequest // of the shell, and of the commands in it
	records        []string        // arguments of START and STOP
}

// A loginRequest is the authorization of a step.
type loginRequest struct {
	step    string
	line    string // of a command
	request *authorization
}

// record returns a record of the shell. Those of one login share the task_id, which STOP has from the arguments of START.
func (p *loginPlan) record(fields commonFields, flags acctFlags, args []string) *record {
	return newRecord(fields, authenMethodTACACSPlus, flags, args, newTaskID())
}

// run implements job.steps for the job of an authentication. A step that is not granted ends the login, except a command
// that is denied. STOP follows a START that a server may have written, even after an interruption.
func (p *loginPlan) run(ctx context.Context, r *requester, whole *job) {
	a := whole.request.(*authentication)
	s := &loginSteps{requester: r, whole: whole, order: whole.order, fields: a.fields}
	if s.do(ctx, "authenticate", "", a) != classGranted {
		return
	}
	if s.fields.typ = a.typ(); s.fields.user == "" {
		s.fields.user = a.givenUser
	}
	if s.authorize(ctx, p.authorizations[0]) != classGranted {
		return
	}
	start := p.record(s.fields, acctStart, p.records)
	if s.do(ctx, "start", "", start) == classGranted {
		for _, command := range p.authorizations[1:] {
			if s.authorize(ctx, command) > classDenied {
				break
			}
		}
	} else if !s.written {
		return
	}
	if ctx.Err() != nil {
		r.close() // ctx has ended its reads and writes
	}
	s.do(context.WithoutCancel(ctx), "stop", "", p.record(s.fields, acctStop, start.request.args))
}

// loginSteps carries the steps of one login.
type loginSteps struct {
	requester *requester
	whole     *job
	order     []server // for the next step: first the server that decided the last one
	fields    commonFields
	written   bool // some of the request of the last step was written
}

// authorize carries the step of an authorization.
func (s *loginSteps) authorize(ctx context.Context, r *loginRequest) class {
	each := *r.request
	each.request.commonFields = s.fields
	return s.do(ctx, r.step, r.line, &each)
}

// do carries one step, and returns how it ended. The result of the login is that of the first step that is not granted, or
// else that of the authentication with the arguments of the shell.
func (s *loginSteps) do(ctx context.Context, name, command string, q dialogue) class {
	j := &job{request: q, order: s.order}
	res, whole := &j.res, &s.whole.res
	res.Command, res.User = name, s.fields.user
	switch name {
	case "start", "stop":
		res.Command = "account"
	case "cmd":
		res.Command = "authorize"
	}
	s.requester.do(ctx, j)
	s.order, s.written = j.orderFromHere(), j.session.written
	res.TaskID = taskIDOf(q) // also if no server confirmed it
	res.finish(j.err)
	s.whole.session.timing.add(&j.session.timing)
	s.whole.replyLost = s.whole.replyLost || j.replyLost
	steps, warnings := append(whole.Steps, &step{name, command, res}), append(whole.Warnings, res.Warnings...)
	res.Warnings = nil
	if undecided := s.whole.class() == classGranted; undecided && (len(steps) == 1 || !res.Granted) {
		name, user, began := whole.Command, whole.User, whole.began
		*whole, s.whole.err = *res, j.err
		if whole.Command, whole.User = name, user; len(steps) > 1 {
			whole.began = began
		}
	} else if undecided && whole.Arguments == nil {
		whole.Arguments = res.Arguments
	}
	whole.Steps, whole.Warnings, whole.Timing = steps, warnings, &s.whole.session.timing
	return j.class()
}
