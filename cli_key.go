package main

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"
)

// needsKey reports whether packets are obfuscated.
func (inv *invocation) needsKey() bool { return inv.server.inClear() && !inv.server.unencrypted }

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
	for _, k := range keys {
		if k.value == "" {
			return nil, errEmptyKey()
		}
		if k.server != "" {
			inv.warnShortKeys([]key{k})
		}
	}
	if err := inv.checkServerKeys(keys); err != nil || keys[0].server != "" {
		return keys, err
	}
	if n := utf8.RuneCountInString(keys[0].value); n < minKey {
		inv.warnf(warnKeyShort, "the key has %d characters, RFC 8907 section 10.5.1 requires at least %d", n, minKey)
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

// cutKeyServers removes NAME= from each key file and keeps the names: empty for a file without one.
func (inv *invocation) cutKeyServers() error {
	servers := make([]string, len(inv.key.files))
	for i, value := range inv.key.files {
		servers[i], inv.key.files[i], _ = cutServer(value)
		if prefix := servers[i]; strings.Contains(prefix, "/") {
			if _, err := parsePrefix(prefix); err != nil {
				return failf(classUsage, "\"%s\" of %s %w", escape(prefix), inv.key.option, err)
			}
		}
	}
	if slices.ContainsFunc(servers, func(s string) bool { return s != "" }) {
		inv.keyServers = servers
	}
	return nil
}

// checkServerKeys reports a server for which no key is given, as far as that can be seen before its name is resolved.
func (inv *invocation) checkServerKeys(keys []key) error {
	c := client{keys: keys}
	byPrefix := slices.ContainsFunc(keys, func(k key) bool { _, err := parsePrefix(k.server); return err == nil })
	for _, srv := range inv.server.servers {
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
