package main

import (
	"context"
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
		return failf(classUsage, "--types and --negative need a USER")
	}
	format := ""
	for _, option := range []string{"nagios", "prometheus", "json"} {
		if !inv.given(option) {
			continue
		}
		if format != "" {
			return failf(classUsage, "--%s and --%s exclude each other", format, option)
		}
		format = option
	}
	for _, option := range []string{"warn", "crit", "cert-days"} {
		if inv.given(option) && !opts.format.nagios {
			return failf(classUsage, "--%s goes with --nagios only", option)
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
		return failf(classUsage, "--count goes with --interval only")
	case opts.interval == 0:
		return nil
	case opts.interval < minInterval:
		return failf(classUsage, "--interval %v is below %v", opts.interval, minInterval)
	case opts.format.nagios:
		return failf(classUsage, "--nagios and --interval exclude each other").withHint("Nagios repeats its plugins itself")
	case opts.format.prometheus && opts.output == "":
		return failf(classUsage, "--prometheus with --interval needs --output FILE, which is rewritten each time")
	}
	return nil
}
