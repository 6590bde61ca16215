package main

import (
	"context"
	"time"
)

// checkOptions are the options of check.
type checkOptions struct {
	plan     checkPlan
	login    bool       // the whole of it
	args     argOptions // of the login and of --cmd
	format   checkFormat
	output   string        // file for the report; empty for stdout
	interval time.Duration // 0: one round
	count    int           // rounds; 0: no end
}

// newCheck is the command check: is the server healthy, is the key correct, do logins work?
func newCheck(o *optionSet) action {
	opts := checkOptions{format: checkFormat{limits: nagiosLimits{certDays: dayLimits{30, 7}}}}
	plan, format, limits := &opts.plan, &opts.format, &opts.format.limits
	o.add((*toggle)(&opts.login), "login", "", "log in as the command login does, with a START and a STOP record, and not only authenticate")
	o.add((*toggle)(&plan.types), "types", "", "log in with every authentication type; stop after 3 FAILs")
	o.add((*toggle)(&plan.negative), "negative", "", "also check that a wrong password is denied: one failed login each run, none once a login was denied")
	o.add(&opts.args.commands, "cmd", "COMMAND", "also authorize this command line, with - before it one that must be denied; repeatable")
	opts.args.as.register(o)
	o.add((*toggle)(&format.nagios), "nagios", "", "print one line and exit like a Nagios plugin")
	o.add((*seconds)(&limits.warn), "warn", "TIME", "with --nagios: WARNING if a server takes longer; with USER its login")
	o.add((*seconds)(&limits.crit), "crit", "TIME", "with --nagios: CRITICAL if a server takes longer; with USER its login")
	o.add(&limits.certDays, "cert-days", "WARN[,CRIT]", "with --nagios: WARNING and CRITICAL if a certificate has fewer days left (default 30,7)")
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
	if err := opts.args.applyPreset(inv); err != nil {
		return nil, err
	}
	for _, format := range []string{"nagios", "prometheus"} {
		if inv.given(format) {
			inv.unattended = "--" + format
		}
	}
	var passwords []*secretSource
	if inv.request.fields.user != "" {
		passwords = append(passwords, &inv.password)
	}
	inv.server.singleConnect = true // to see whether the server agrees to it
	c, secrets, err := inv.newClient(ctx, passwords...)
	if err != nil {
		return nil, err
	}
	if err := newLogin(inv.request.commonFields(), secrets.password).check(inv.request.maxRemAddr()); err != nil {
		return nil, err
	}
	plan, err := opts.prepare(inv, secrets.password)
	if err != nil {
		return nil, err
	}
	printed := make(map[string]bool)
	round := func(ctx context.Context) *checkReport {
		report := &checkReport{report: inv.newReport(), format: opts.format, ownCert: c.tls.ownCertificate()}
		report.checkTargets(ctx, inv.targets(ctx, c), plan)
		report.printWarnings(inv, printed)
		report.setVerdict(ctx.Err() != nil)
		return report
	}
	if opts.interval > 0 {
		w := &watch{inv: inv, interval: opts.interval, count: opts.count, output: opts.output}
		return w.run(ctx, round)
	}
	report := round(ctx)
	if opts.output == "" {
		return report, nil
	}
	err = report.write(opts.output, inv)
	if err != nil && opts.format.nagios {
		return unknownOutput(err), err
	}
	return &page{exitStatus: report.exitStatus}, err
}

// prepare returns what is checked on each server.
func (opts *checkOptions) prepare(inv *invocation, password string) (*checkPlan, error) {
	plan := opts.plan
	plan.request, plan.password, plan.silenced, plan.device = inv.request, password, inv.output.silenced, opts.args.as.preset()
	var err error
	if plan.commands, err = opts.args.plannedCommands(&inv.request); err == nil && opts.login {
		whole := &loginOptions{argOptions: opts.args}
		whole.commands = nil
		plan.login, err = whole.plan(&inv.request, nil)
	}
	return &plan, err
}

// check refuses options that make no sense together.
func (opts *checkOptions) check(inv *invocation) error {
	if inv.request.fields.user == "" {
		for _, name := range []string{"login", "types", "negative", "cmd", "as", "authen-type"} {
			if inv.typed(name) {
				return failf(classUsage, "--%s needs USER", name)
			}
		}
		opts.plan, opts.login, opts.args, inv.request.fields.typ = checkPlan{}, false, argOptions{}, authenASCII
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
	return opts.checkInterval(inv)
}

// The limits of --interval. The least one keeps check from being a load test; more failed logins than one every
// lockoutInterval lock most accounts.
const (
	minInterval     = 100 * time.Millisecond
	lockoutInterval = time.Minute
)

// checkInterval refuses options that make no sense with --interval, or without it.
func (opts *checkOptions) checkInterval(inv *invocation) error {
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
	case opts.plan.negative && opts.interval < lockoutInterval:
		inv.warnf(warnAccountLockout, "--negative fails a login every %v: the server may lock the account of %s", opts.interval, escape(inv.request.fields.user))
	}
	return nil
}
