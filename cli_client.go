package main

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// passwords are the secrets of a request other than the key.
type passwords struct {
	password    string
	newPassword string
	deferred    bool // the password is not known: prompt for it when the server asks
	deferredNew bool // nor is the new password
}

// newClient reads the key, then the password and the new password, as far as there are sources for them. It returns the
// client that the options describe. Usage errors come before anything is read or prompted for.
func (inv *invocation) newClient(ctx context.Context, of ...*secretSource) (c *client, s passwords, err error) {
	sources := append([]*secretSource{&inv.key}, of...)
	if err := inv.checkSources(sources); err != nil {
		return nil, s, err
	}
	if slices.ContainsFunc(sources, inv.prompts) {
		if err := inv.findServers(ctx); err != nil {
			return nil, s, err
		}
	}
	keys, err := inv.keys(ctx)
	if err != nil {
		return nil, s, err
	}
	for i, src := range of {
		value, deferred := &s.password, &s.deferred
		if i > 0 {
			value, deferred = &s.newPassword, &s.deferredNew
		}
		if src.promptOnDemand && !src.isGiven(inv.std.env) && inv.person() != nil {
			*deferred = true
		} else if *value, err = inv.loadPassword(ctx, src); err != nil {
			return nil, s, err
		}
	}
	if s.deferred || s.deferredNew {
		inv.person().expectPrompts()
	}
	c, err = inv.client(ctx, keys)
	return c, s, err
}

// findServers reports that no server has an address, before a person types secrets for them.
func (inv *invocation) findServers(ctx context.Context) (err error) {
	c := &client{network: inv.server.network(), user: inv.request.fields.user, proxy: inv.server.proxy}
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

// client returns the client that the options describe.
func (inv *invocation) client(ctx context.Context, keys []key) (*client, error) {
	s := &inv.server
	c := &client{user: inv.request.fields.user, keys: keys, timeout: s.timeout, connectTimeout: s.connect, failoverTimeout: cmp.Or(s.connect, defaultConnect),
		retries: s.retries, network: s.network(),
		source: s.source, device: s.device, remAddr: inv.request.remAddr, singleConnect: s.singleConnect, unencrypted: s.unencrypted, proven: new(sync.Map)}
	if inv.output.debug {
		c.dump = &dumper{out: inv.std.err, showSecrets: inv.output.showSecrets, began: time.Now()}
	}
	if c.proxy = s.proxy; c.proxy != nil {
		c.proxy.stderr = inv.std.err
	}
	c.servers, c.skipped = splitFallback(s.servers)
	c.dead = newDeadServers(ctx, c.servers, s.deadTime, c.tryConnect)
	var err error
	if mixed(s.servers) {
		text := "the list has servers with and without TLS, which is for a migration only (RFC 9887 section 6.1)"
		if len(c.skipped) > 0 && !inv.asksEveryServer() {
			text += "; from a server over TLS no request goes to " + strings.Join(c.skipped, ", ")
		}
		inv.warnf(warnMixedTransport, "%s", text)
	}
	if s.overTLS() {
		if c.tls, err = s.tls.client(ctx, inv.warnAlways); err == nil { // the key is where it should be
			inv.warnReadableKey(s.tls.cert, s.tls.certKey)
		}
	}
	return c, err
}

// prompts reports whether the secret must be typed before anything is sent.
func (inv *invocation) prompts(src *secretSource) bool {
	switch {
	case src == &inv.key && !inv.needsKey():
		return false
	case src.isFromStdin():
		return inv.std.inIsTerminal()
	}
	return !src.promptOnDemand && !src.isGiven(inv.std.env) && inv.person() != nil
}

// checkSources rejects secrets that are given twice, that have no use, or that need the same stdin.
func (inv *invocation) checkSources(sources []*secretSource) error {
	var readers []string
	if inv.stdinUse != "" {
		readers = append(readers, inv.stdinUse)
	}
	for _, src := range sources {
		if src.sourceCount() > 1 || len(src.files) > 1 && src != &inv.key {
			return failf(classUsage, "the %s is given more than once", src.what)
		}
		readers = append(readers, src.fromStdin()...)
	}
	if err := shareStdin(readers); err != nil {
		return err
	}
	switch {
	case inv.key.sourceCount() == 0:
	case !inv.server.inClear():
		if inv.typed("key") || inv.typed("key-file") || inv.server.tls.enabled && !inv.typed("tls") {
			return errKeyOverTLS()
		}
	case inv.server.unencrypted:
		return failf(classUsage, "--unencrypted and a key cannot be used together")
	}
	return nil
}

// loadPassword reads a password.
func (inv *invocation) loadPassword(ctx context.Context, src *secretSource) (string, error) {
	fields := inv.request.commonFields()
	loaded, err := inv.loadSecret(ctx, src, fields.promptFor(src.what)+": ")
	if err != nil {
		return "", err
	}
	return loaded[0].value, nil
}

// needsKey reports whether packets are obfuscated.
func (inv *invocation) needsKey() bool {
	return !inv.server.unencrypted && anyOver(inv.askedServers(), false)
}

// askedServers returns the servers that may be asked.
func (inv *invocation) askedServers() []server {
	if inv.asksEveryServer() {
		return inv.server.servers
	}
	asked, _ := splitFallback(inv.server.servers)
	return asked
}

// keys reads the shared secrets: none if nothing is obfuscated.
func (inv *invocation) keys(ctx context.Context) ([]key, error) {
	if !inv.needsKey() {
		return nil, nil
	}
	keys, err := inv.loadSecret(ctx, &inv.key, keyPrompt)
	if err != nil {
		return nil, err
	}
	for i, server := range inv.keyServers {
		keys[i].server = server
	}
	if env := inv.std.env(inv.key.env); env != "" && len(inv.keyServers) > 0 && !slices.Contains(inv.keyServers, "") {
		common, err := inv.loadSecret(ctx, &secretSource{what: inv.key.what, env: inv.key.env}, "")
		if err != nil {
			return nil, err
		}
		keys = append(keys, common...)
	}
	for i, k := range keys {
		if k.value == "" {
			return nil, errEmptyKey()
		}
		if k.server != "" {
			inv.warnShortKeys(keys[i : i+1])
		}
	}
	if err := inv.checkServerKeys(keys); err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(keys, func(k key) bool { return k.server == "" }); i >= 0 {
		if n := utf8.RuneCountInString(keys[i].value); n < minKey {
			inv.warnf(warnKeyShort, "the key has %d characters, RFC 8907 section 10.5.1 requires at least %d", n, minKey)
		}
	}
	return keys, nil
}

// minKey is the least number of characters of a key. RFC 8907 section 10.5.1.
const minKey = 16

// warnShortKeys warns of short keys of a server. Its log may be public, so the length is not shown.
func (inv *invocation) warnShortKeys(keys []key) {
	for _, k := range keys {
		if utf8.RuneCountInString(k.value) < minKey {
			inv.warnf(warnKeyShort, "the key from %s has less than %d characters, which RFC 8907 section 10.5.1 requires", k.source, minKey)
		}
	}
}

// givenKeys reads the keys of a command that works without one: those of the files, then that of --key. Without
// either it is the one of the environment.
func (inv *invocation) givenKeys(ctx context.Context) (keys []key, err error) {
	fromFiles, typed := inv.key, inv.key
	if fromFiles.set = false; len(fromFiles.files) > 0 || !typed.set && inv.std.env(typed.env) != "" {
		if keys, err = inv.loadSecret(ctx, &fromFiles, keyPrompt); err != nil {
			return nil, err
		}
	}
	if typed.set {
		last, err := inv.loadSecret(ctx, &typed, keyPrompt)
		return append(keys, last...), err
	}
	return keys, nil
}

// cutKeyServers removes NAME= from each key file and keeps the names.
func (inv *invocation) cutKeyServers() (err error) {
	inv.keyServers, err = cutServers(inv.key.files)
	return err
}

// cutServers removes NAME= from each file of --key-file and returns the names: empty for a file without one, nil if none
// has one.
func cutServers(files []string) (servers []string, err error) {
	for i, value := range files {
		name, file, found := cutServer(value)
		if !found {
			continue
		}
		if strings.Contains(name, "://") {
			return nil, failf(classUsage, "\"%s\" of --key-file is not a name, an address or a prefix", escape(name)).withHint("write NAME without tls:// and tcp://")
		}
		if _, err := parsePrefix(name); err != nil && strings.Contains(name, "/") {
			return nil, failf(classUsage, "\"%s\" of --key-file %w", escape(name), err)
		}
		if servers == nil {
			servers = make([]string, len(files))
		}
		servers[i], files[i] = name, file
	}
	return servers, nil
}

// checkServerKeys reports a server for which no key is given, as far as that can be seen before its name is resolved.
func (inv *invocation) checkServerKeys(keys []key) error {
	for _, name := range inv.keyServers {
		_, notPrefix := parsePrefix(name)
		named := func(s server) bool { return s.rank(name, netip.Addr{}) > 0 }
		if name != "" && notPrefix != nil && inv.typed("key-file") && !slices.ContainsFunc(inv.server.servers, named) {
			inv.warnf(warnKeyUnused, "no server in HOST is %s, for which --key-file has a key", escape(name))
		}
	}
	c := client{keys: keys}
	byPrefix := slices.ContainsFunc(keys, func(k key) bool { _, err := parsePrefix(k.server); return err == nil })
	for _, srv := range inv.askedServers() {
		addr, err := netip.ParseAddr(srv.host)
		if known := err == nil || !byPrefix; !srv.tls && known && len(c.keysFor(srv, addr.Unmap())) == 0 {
			return errNoKeyFor(srv)
		}
	}
	return nil
}

// errKeyOverTLS returns the error for a key together with TLS, on either side.
func errKeyOverTLS() error {
	return failf(classUsage, "no key is used over TLS").withHint("remove --key and --key-file (RFC 9887 section 3.2)")
}

// errEmptyKey returns the error for --key with an empty value.
func errEmptyKey() error {
	return failf(classUsage, "the key is empty").withHint("set a key of at least 16 characters on both sides (RFC 8907 section 10.5.1)")
}
