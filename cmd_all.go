package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// registerAll declares --all: the same request to every server, to find the one that differs.
func registerAll(o *optionSet, all *bool) {
	o.add((*toggle)(all), "all", "", "ask all servers, and all addresses of a name, at the same time: one result each, the exit code of the worst; only --answer replies to prompts")
}

// A target is one server at one address.
type target struct {
	client   *client        // of this server alone
	resolve  time.Duration  // how long its name took
	err      error          // why it cannot be asked: its name has no address
	warnings []namedWarning // to be printed with its results
}

// name returns the name of the server, with its address if the name has several.
func (t *target) name() string { return t.client.servers[0].name }

// targets returns all servers of HOST, in its order. Each name is resolved once.
func (inv *invocation) targets(ctx context.Context, c *client) []*target {
	servers := inv.server.servers
	found := make([][]*target, len(servers))
	startConcurrent(len(found), func(i int) {
		if srv := servers[i]; !slices.Contains(servers[:i], srv) {
			found[i] = targetsOf(ctx, c, srv)
		}
	}).Wait()
	return slices.Concat(found...)
}

// targetsOf returns a target for each address of a server, or one with the error if there is none.
func targetsOf(ctx context.Context, c *client, srv server) (found []*target) {
	limited, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	var took timing
	addrs, err := c.resolve(limited, srv, &took)
	if err != nil && ctx.Err() != nil {
		err = interrupted(ctx)
	}
	if err != nil {
		return []*target{{client: c.only(srv), resolve: took.resolve, err: err}}
	}
	distinct := addrs[:0]
	for _, addr := range addrs {
		if !slices.Contains(distinct, addr) {
			distinct = append(distinct, addr)
		}
	}
	for _, addr := range distinct {
		one := srv
		if one.addr = addr; len(distinct) > 1 {
			one.name += fmt.Sprintf(" [%s]", addr)
		}
		found = append(found, &target{client: c.only(one), resolve: took.resolve})
	}
	return found
}

// keepWarning keeps a warning until printWarnings.
func (t *target) keepWarning(w warning, format string, args ...any) {
	t.warnings = append(t.warnings, newWarning(w, format, args...))
}

// printWarnings prints the warnings that were kept.
func (t *target) printWarnings(inv *invocation) {
	for _, w := range t.warnings {
		inv.printWarning(w.kind, "%s", naming(t.name(), w.Message))
	}
}

// maxConcurrent is how many servers are asked at a time.
const maxConcurrent = 32

// startConcurrent calls do with 0 to n-1, in this order, at most maxConcurrent of them at a time. It returns at once;
// the caller waits for the end.
func startConcurrent(n int, do func(i int)) *sync.WaitGroup {
	var next atomic.Int64
	all := new(sync.WaitGroup)
	for range min(n, maxConcurrent) {
		all.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				do(int(i))
			}
		})
	}
	return all
}

// askAll sends a request to every server, each time a new one, and shows the results in the order of the servers, each
// as soon as those before it are there. The exit code is that of the worst, which is the highest. There is no person
// for the prompts of many servers: those that --answer does not cover are aborted.
func (inv *invocation) askAll(ctx context.Context, c *client, newJob func() *job) output {
	targets := inv.targets(ctx, c)
	jobs := make([]*job, len(targets))
	done := make([]chan struct{}, len(targets))
	for i, t := range targets {
		done[i] = make(chan struct{})
		jobs[i] = newJob()
		jobs[i].err = t.err
		jobs[i].res = result{Command: inv.command.name, User: inv.request.fields.user, Server: t.name()}
	}
	startConcurrent(len(targets), func(i int) {
		defer close(done[i])
		if t := targets[i]; t.err == nil {
			r := &requester{client: t.client, warnf: t.keepWarning, keepConn: true}
			r.do(ctx, jobs[i])
			r.close()
		}
	})
	worst, out := classGranted, newQueuedWriter(ctx, inv.std.out)
	var broken error
	for i, t := range targets {
		<-done[i]
		t.printWarnings(inv)
		j := jobs[i]
		f := j.res.finish(j.err)
		if broken == nil { // the error was printed, and changes no verdict
			broken = inv.show(namedResult{&j.res}, out)
		}
		if worst = max(worst, j.class()); j.class() != classInterrupted { // which is printed once, at the end
			inv.printFailure(f, &j.res, j.res.Server)
		}
	}
	if ctx.Err() != nil {
		worst = classInterrupted
	}
	if broken == nil && mixed(inv.server.servers) && !inv.output.quiet && worst != classInterrupted {
		servers := make([]server, len(targets))
		for i, t := range targets {
			servers[i] = t.client.servers[0]
		}
		_ = inv.show(compare(servers, jobs).page(), out) // its error was printed
	}
	return &page{exitStatus: exitStatus{worst.exit()}}
}

// A namedResult is a result that is shown with the name of its server.
type namedResult struct{ *result }

func (r namedResult) line() string {
	if r.Steps != nil {
		return r.renderSteps(r.Server+": ", false)
	}
	text := r.result.line()
	if text == "" {
		text = "error (" + r.class.String() + ")\n"
	}
	return r.Server + ": " + text
}

func (r namedResult) verbose() string {
	if r.Steps != nil {
		return r.renderSteps(r.Server+": ", true)
	}
	return indented(r.line(), r.result.verbose())
}
