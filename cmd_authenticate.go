package main

import "context"

// newAuthenticate is the command authenticate: does this password log in?
func newAuthenticate(o *optionSet) action {
	var opts challengeOptions
	opts.register(o)
	return func(ctx context.Context, inv *invocation) (output, error) {
		return authenticate(ctx, inv, &opts)
	}
}

// newEnable is the command enable: does this password raise the privilege level? It is the only use of the service
// ENABLE. RFC 8907 section 5.4.2.6.
func newEnable(o *optionSet) action {
	var opts challengeOptions
	opts.register(o)
	return func(ctx context.Context, inv *invocation) (output, error) {
		if err := inv.request.enable(inv.given("service")); err != nil {
			return nil, err
		}
		return authenticate(ctx, inv, &opts)
	}
}

// authenticate sends a login to the first server that decides or, with --all, to every server.
func authenticate(ctx context.Context, inv *invocation, opts *challengeOptions) (output, error) {
	a, c, err := opts.prepare(ctx, inv)
	if err != nil {
		return nil, err
	}
	if opts.all {
		return inv.askAll(ctx, c, func() *job { login := *a; return &job{request: &login} }), nil
	}
	return inv.ask(ctx, c, &job{request: a})
}

// prepare reads the secrets and returns the dialogue of a login, and the client. With --all each server needs a copy.
func (c *challengeOptions) prepare(ctx context.Context, inv *invocation) (*authentication, *client, error) {
	if err := c.check(inv.request.fields.typ); err != nil {
		return nil, nil, err
	}
	inv.password.promptOnDemand = inv.request.fields.typ == authenASCII && !c.all
	a := newLogin(inv.request.commonFields(), "")
	a.chapID, a.challenge = c.id, c.challenge
	client, err := c.answers.prepare(ctx, inv, a, &inv.password)
	return a, client, err
}

// newChPass is the command chpass: change the password. GETDATA asks for the old one and GETPASS for the new one, once
// or twice. RFC 8907 section 5.4.2.7.
func newChPass(o *optionSet) action {
	var answers answerOptions
	answers.register(o)
	newPassword := secretSource{what: "new password", option: "--new-password-file"}
	o.add(&newPassword.files, "new-password-file", "FILE", "file with the new password; - is stdin")
	o.add((*toggle)(&newPassword.stdin), "new-password-stdin", "", "read the new password from stdin")
	return func(ctx context.Context, inv *invocation) (output, error) {
		inv.password.promptOnDemand, newPassword.promptOnDemand = true, true
		a := newPasswordChange(inv.request.commonFields(), "", "")
		c, err := answers.prepare(ctx, inv, a, &inv.password, &newPassword)
		if err != nil {
			return nil, err
		}
		return inv.ask(ctx, c, &job{request: a})
	}
}

// answerOptions are the options for prompts after the passwords.
type answerOptions struct {
	texts    list
	repeated bool
}

func (opts *answerOptions) register(o *optionSet) {
	o.add(&opts.texts, "answer", "TEXT", "answer to the next prompt after the passwords; repeatable")
	o.add((*toggle)(&opts.repeated), "answer-repeated", "", "use --answer also for a repeated password prompt, which else is a refusal")
}

// prepare gives a dialogue the passwords and the answers, and returns the client.
func (opts *answerOptions) prepare(ctx context.Context, inv *invocation, a *authentication, passwords ...*secretSource) (*client, error) {
	if err := a.check(inv.request.maxRemAddr()); err != nil {
		return nil, err // before it asks the person for a secret
	}
	c, secrets, err := inv.newClient(ctx, passwords...)
	if err != nil {
		return nil, err
	}
	a.password, a.newPassword = secrets.password, secrets.newPassword
	a.deferred, a.deferredNew = secrets.deferred, secrets.deferredNew
	a.answers, a.answerAgain, a.answerName = trimAnswers(opts.texts), opts.repeated, "--answer"
	return c, a.check(inv.request.maxRemAddr())
}

// challengeOptions are the options that authenticate and enable have of their own.
type challengeOptions struct {
	id        int
	challenge hexValue
	answers   answerOptions
	all       bool
}

func (c *challengeOptions) register(o *optionSet) {
	c.id = -1
	o.add(&number{&c.id, 0, 255}, "chap-id", "N", "id of the CHAP challenge (default random)")
	o.add(&c.challenge, "chap-challenge", "HEX", "CHAP challenge (default random); 8 bytes for mschap, 16 for mschapv2")
	c.answers.register(o)
	registerAll(o, &c.all)
}

func (c *challengeOptions) check(t authenType) error {
	if !t.challenged() && (c.id >= 0 || len(c.challenge) > 0) {
		return failf(classUsage, "--chap-id and --chap-challenge cannot be used with --authen-type %s", t)
	}
	switch n := len(c.challenge); {
	case n == 0:
	case t == authenCHAP && n > maxCHAPChallenge:
		return failf(classUsage, "--chap-challenge is %d bytes, the limit is %d", n, maxCHAPChallenge)
	case t != authenCHAP && n != challengeSize(t):
		return failf(classUsage, "--chap-challenge is %d bytes, %s needs %d", n, t, challengeSize(t))
	}
	return nil
}
