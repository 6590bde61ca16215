package main

import (
	"context"
	"strings"
	"time"
)

// ask sends a request to the servers and returns its result.
func (inv *invocation) ask(ctx context.Context, keys []key, q dialogue) (*result, error) {
	c, err := inv.client(ctx, keys)
	if err != nil {
		return &result{Command: inv.command.name, User: inv.request.user}, err
	}
	return inv.do(ctx, c, &job{request: q})
}

// do is ask for a client and a job that exist already.
func (inv *invocation) do(ctx context.Context, c *client, j *job) (*result, error) {
	j.res = result{Command: inv.command.name, User: inv.request.user}
	r := &requester{client: c, warnf: inv.warnf}
	if inv.terminal != nil {
		r.ask = inv.terminal.ask
	}
	r.do(ctx, j)
	return &j.res, j.err
}

// findServers reports that no server has an address, before a person types secrets for them.
func (inv *invocation) findServers(ctx context.Context) (err error) {
	c := &client{network: inv.server.network(), swappedHost: inv.swappedHost()}
	for _, srv := range inv.server.servers {
		limited, cancel := context.WithTimeout(ctx, inv.server.timeout)
		_, err = c.resolve(limited, srv, new(timing))
		cancel()
		if err == nil {
			return nil
		}
	}
	if ctx.Err() != nil {
		return interrupted(ctx)
	}
	return err
}

// swappedHost returns USER if it looks like a server: an address, or a name with a port.
func (inv *invocation) swappedHost() string {
	user := inv.request.user
	if servers, err := parseServers(user, 49); err != nil || !isAddr(servers[0].host) && !strings.Contains(user, ":") {
		return ""
	}
	return user
}

// client returns the client that the options describe.
func (inv *invocation) client(ctx context.Context, keys []key) (*client, error) {
	s := &inv.server
	c := &client{servers: s.servers, swappedHost: inv.swappedHost(), keys: keys, timeout: s.timeout, retries: s.retries, network: s.network(),
		source: s.sourceAddr, device: s.device, remAddr: inv.request.remAddr, singleConnect: s.singleConnect, cleartext: s.unencrypted || s.tls.enabled}
	if inv.output.debug {
		c.dump = &dumper{out: inv.std.err, showSecrets: inv.output.showSecrets, began: time.Now()}
	}
	var err error
	if s.tls.enabled {
		warn := func(format string, args ...any) { inv.logf("warning: "+format, args...) }
		c.tls, err = s.tls.client(ctx, warn)
	}
	return c, err
}
