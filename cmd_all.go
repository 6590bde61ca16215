package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// registerAll declares --all: the same question to every server, to find the one that differs.
func registerAll(o *optionSet, all *bool) {
	o.add((*toggle)(all), "all", "", "ask every server, and every address of a name, side by side: a result for each, the exit code of the worst; nothing but --answer replies to a server's prompts")
}

// A replica is one server, at one address, and what became of the request to it.
type target struct {
	job              // its err is there from the beginning where the name leads nowhere
	client   *client // that knows this server alone
	warnings []string
	done     chan struct{}
}

// replicasOf are the addresses of a server, each a server of its own. What leads nowhere is one too,
// with the reason.
func targetsOf(ctx context.Context, c *client, srv server) (found []*target) {
	limited, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	addrs, err := (&serverConn{client: c, server: srv}).resolve(limited, new(timing))
	if err != nil && ctx.Err() != nil {
		err = interrupted(ctx)
	}
	if err != nil {
		return append(found, newTarget(c, srv, err))
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
		found = append(found, newTarget(c, one, nil))
	}
	return found
}

func newTarget(c *client, srv server, err error) *target {
	one := *c
	one.servers = []server{srv}
	r := &target{client: &one, done: make(chan struct{})}
	r.err, r.res.Server = err, srv.name
	return r
}

// replicas are all of HOST, in its order. Each name is resolved once.
func (inv *invocation) targets(ctx context.Context, c *client) (all []*target) {
	found := make([][]*target, len(c.servers))
	sideBySide(len(found), func(i int) {
		if srv := c.servers[i]; !slices.Contains(c.servers[:i], srv) {
			found[i] = targetsOf(ctx, c, srv)
		}
	}).Wait()
	for _, f := range found {
		all = append(all, f...)
	}
	return all
}

// maxSideBySide is how many servers are asked at a time.
const maxSideBySide = 32

// sideBySide calls do with 0 to n-1, in this order, so many of them at a time.
func sideBySide(n int, do func(i int)) *sync.WaitGroup {
	var next atomic.Int64
	all := new(sync.WaitGroup)
	for range min(n, maxSideBySide) {
		all.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				do(int(i))
			}
		})
	}
	return all
}

// askAll puts a request to every server, each time a new one, and shows the results in the order of the
// servers, each as soon as those before it are there. The exit code is that of the worst, which is the
// highest. Nobody can answer the prompts of many servers at a time: what --answer does not reply to
// is refused.
func (inv *invocation) askAll(ctx context.Context, keys []key, newRequest func() request) (output, error) {
	c, err := inv.client(ctx, keys)
	if err != nil {
		return nil, err
	}
	all := inv.targets(ctx, c)
	sideBySide(len(all), func(i int) {
		r := all[i]
		defer close(r.done)
		r.res.Command, r.res.User = inv.command.name, inv.request.user
		if r.err == nil {
			r.request, r.client.warnf = newRequest(), r.keepWarning
			(&requester{client: r.client}).ask(ctx, &r.job)
		}
	})
	worst := classGranted
	var broken error
	for _, r := range all {
		<-r.done
		r.printWarnings(inv)
		f := r.res.finish(r.err)
		if broken == nil { // said once, and no change of the verdict
			broken = inv.show(namedResult{&r.res}, newQueuedWriter(ctx, inv.std.out))
		}
		if worst = max(worst, r.class()); r.class() != classInterrupted { // said once, at the end
			inv.printFailure(f, &r.res, r.res.Server)
		}
	}
	return &page{exitStatus: exitStatus{worst.exit()}}, nil
}

// hear keeps a warning until the result is shown.
func (r *target) keepWarning(format string, args ...any) {
	r.warnings = append(r.warnings, fmt.Sprintf(format, args...))
}

// warn says what was heard.
func (r *target) printWarnings(inv *invocation) {
	for _, text := range r.warnings {
		inv.warnf("%s", naming(r.client.servers[0].name, text))
	}
}

// A namedResult is the verdict of one of many servers.
type namedResult struct{ *result }

func (r namedResult) line() string {
	text := r.result.line()
	if text == "" {
		text = "error (" + r.class.String() + ")\n"
	}
	return r.Server + ": " + text
}

func (r namedResult) verbose() string {
	first, _, _ := strings.Cut(r.line(), "\n")
	return first + "\n  " + strings.ReplaceAll(strings.TrimSuffix(r.result.verbose(), "\n"), "\n", "\n  ") + "\n"
}
