package main

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"
)

// A reloader reads the command line, its profile and all files again. New sessions use what it has read. Connections,
// sockets and sessions under way stay as they are.
type reloader struct {
	relay *relayServer
	inv   *invocation // of the start
	opts  *relayOptions
	life  context.Context // of sessions

	notifier  *notifier
	resolving sync.WaitGroup // the names of servers, for warnings
}

// reloadTimeout limits a reload. Only a file that is not regular, such as a pipe, needs so long.
const reloadTimeout = 10 * time.Second

// run reloads for each value of hangups, until ctx ends.
func (l *reloader) run(ctx context.Context, hangups <-chan struct{}) {
	defer l.resolving.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
			l.reload(ctx)
		}
	}
}

// reload reads the configuration again and puts it into use. After an error, what was read before stays in use.
func (l *reloader) reload(ctx context.Context) {
	l.notifier.reloading()
	limited, cancel := context.WithTimeout(ctx, reloadTimeout)
	defer cancel()
	config, err := l.read(limited)
	switch {
	case ctx.Err() != nil:
		return
	case err != nil && limited.Err() != nil:
		err = failf(classUsage, "a file could not be read within %v", reloadTimeout)
	}
	if err != nil {
		f := asFailure(err)
		l.inv.logf("not reloaded: %v; the configuration that was read before stays in use", f)
		if f.hint != "" {
			l.inv.logf("hint: %s", f.hint)
		}
		l.notifier.ready("not reloaded: " + oneLine(f.Error()))
		return
	}
	l.use(config)
	l.inv.logf("reloaded")
	l.notifier.ready(servingDevices)
	l.resolving.Go(func() { config.warnUnresolved(ctx, l.inv.printWarning) }) // the next reload does not wait for it
}

// read reads the configuration.
func (l *reloader) read(ctx context.Context) (*relayConfig, error) {
	again, next, err := l.parse()
	if err != nil {
		return nil, err
	}
	if err := next.check(again, newListener()); err != nil {
		return nil, err
	}
	if names := l.needRestart(again, next); len(names) > 0 {
		l.inv.logf("changed, needs a restart: %s", strings.Join(names, ", "))
	}
	again.output.debug = l.inv.output.debug
	if next.listen = stillOpen(l.opts.listen, next.listen); len(next.listen) > 0 {
		err = next.checkClear()
	}
	if next.listenTLS = stillOpen(l.opts.listenTLS, next.listenTLS); len(next.listenTLS) > 0 {
		err = cmp.Or(err, next.checkTLS())
	}
	if err != nil {
		return nil, err
	}
	config, err := next.read(ctx, again)
	if err == nil { // sockets that are to close at a restart use what was read before
		before := l.relay.config.Load()
		config.tls = cmp.Or(config.tls, before.tls)
		if config.keys == nil {
			config.keys = before.keys
		}
	}
	return config, err
}

// stillOpen returns the addresses that are open, or nil if there are to be none of their kind.
func stillOpen(open, next list) list {
	if len(next) == 0 {
		return nil
	}
	return open
}

// parse reads the command line and its profile.
func (l *reloader) parse() (*invocation, *relayOptions, error) {
	options := make(map[*optionSet]*relayOptions)
	table := slices.Clone(l.inv.table)
	i := slices.IndexFunc(table, func(c command) bool { return c.name == l.inv.command.name })
	table[i].setup = func(o *optionSet) action {
		options[o] = new(relayOptions)
		options[o].register(o)
		return l.inv.action
	}
	again, err := parse(table, l.inv.args, l.inv.std)
	if err != nil {
		return nil, nil, err
	}
	next := options[again.options]
	next.inherited, next.inheritedTLS, next.metrics = l.opts.inherited, l.opts.inheritedTLS, l.opts.metrics
	again.unattended = "a reload"
	again.key.kept, next.keys.kept = l.inv.key.kept, l.opts.keys.kept
	return again, next, nil
}

// restartOptions are the options, beside the addresses, that a reload does not change.
var restartOptions = []string{"proxy-protocol", "max-connections", "max-per-address", "drain-time", "record", "append", "metrics-file", "quiet", "verbose", "debug", "json", "show-secrets"}

// needRestart returns the options that have changed and that a reload does not change.
func (l *reloader) needRestart(again *invocation, next *relayOptions) (names []string) {
	if !sameElements(l.opts.listen, next.listen) {
		names = append(names, "--listen")
	}
	if !sameElements(l.opts.listenTLS, next.listenTLS) {
		names = append(names, "--listen-tls")
	}
	for _, name := range restartOptions {
		if before, now := l.inv.options.find(name), again.options.find(name); before.value.String() != now.value.String() {
			names = append(names, "--"+name)
		}
	}
	return names
}

// sameElements reports whether both have the same elements in any order.
func sameElements(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}

// use puts a configuration into use for new sessions.
func (l *reloader) use(config *relayConfig) {
	before := l.relay.config.Load()
	config.inherit(before, l.life)
	config.start(l.life)
	l.relay.config.Store(config)
	before.shared.retire()
}

// inherit takes over what before knows of servers and session tickets.
func (c *relayConfig) inherit(before *relayConfig, life context.Context) {
	dead := c.lone.dead
	if dead != nil {
		dead.life = life
	}
	if known := before.lone.dead; known != nil {
		if known.adopt(dead); dead != nil {
			dead = known
		}
	}
	c.lone.dead, c.kept.dead = dead, dead
	c.lone.dump, c.kept.dump = before.lone.dump, before.kept.dump
	if c.tls != nil && c.tls.tickets.lifetime == before.tls.tickets.lifetime {
		c.tls.tickets, c.tls.ticketKeys = before.tls.tickets, before.tls.ticketKeys
	}
}

// start starts the connections that devices share.
func (c *relayConfig) start(life context.Context) {
	if c.shared != nil {
		go c.shared.run(life, func() {})
	}
}
