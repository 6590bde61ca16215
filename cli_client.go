package main

import (
	"context"
	"strings"
	"time"
)

// ask puts a request to the servers and collects what comes of it.
func (inv *invocation) ask(ctx context.Context, keys []key, q request) (*result, error) {
	c, err := inv.client(ctx, keys)
	if err != nil {
		return &result{Command: inv.command.name, User: inv.request.user}, err
	}
	return inv.put(ctx, c, &job{request: q})
}

// put is ask where there is a client, and a server to begin with.
func (inv *invocation) put(ctx context.Context, c *client, j *job) (*result, error) {
	j.res = result{Command: inv.command.name, User: inv.request.user}
	c.warnf = inv.warnf
	(&requester{client: c}).ask(ctx, j)
	return &j.res, j.err
}

// findServers sees to it that one of the servers has an address: nobody should type two secrets to
// learn that there is no such name.
func (inv *invocation) findServers(ctx context.Context) (err error) {
	c := &client{network: inv.server.network(), swappedHost: inv.likelyServer()}
	for _, srv := range inv.server.servers {
		limited, cancel := context.WithTimeout(ctx, inv.server.timeout)
		_, err = (&serverConn{client: c, server: srv}).resolve(limited, new(timing))
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

// likelyServer is USER where that looks like a server: an address, or what has a port.
func (inv *invocation) likelyServer() string {
	user := inv.request.user
	if servers, err := parseServers(user, 49); err != nil || !isAddr(servers[0].host) && !strings.Contains(user, ":") {
		return ""
	}
	return user
}

// client is what the options say of the servers. It says nothing by itself.
func (inv *invocation) client(ctx context.Context, keys []key) (*client, error) {
	s := &inv.server
	c := &client{servers: s.servers, swappedHost: inv.likelyServer(), keys: keys, timeout: s.timeout, retries: s.retries, network: s.network(),
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
