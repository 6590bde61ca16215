package main

import (
	"context"
	"net/netip"
	"strings"
)

// clientKeys holds the keys of the clients by the prefix of their addresses; that of the zero
// prefix is for all.
type clientKeys map[netip.Prefix]key

// of is the key of a client: that of the longest prefix which its address has.
func (k clientKeys) of(client netip.Addr) (value key, ok bool) {
	for bits := client.BitLen(); bits >= 0; bits-- {
		prefix, _ := client.Prefix(bits)
		if value, ok = k[prefix]; ok {
			return value, true
		}
	}
	value, ok = k[netip.Prefix{}]
	return value, ok
}

// cutPrefixes takes the PREFIX= off the key files of the options, and returns the zero prefix for a
// file that has none.
func cutPrefixes(files list) ([]netip.Prefix, error) {
	prefixes := make([]netip.Prefix, len(files))
	for i, word := range files {
		before, file, ok := strings.Cut(word, "=")
		if !ok || strings.Trim(before, "0123456789abcdefABCDEF:./") != "" || strings.HasPrefix(before, ".") || strings.HasPrefix(before, "/") {
			continue // the name of a file may have the sign too
		}
		prefix, err := netip.ParsePrefix(before)
		if addr, wrong := netip.ParseAddr(before); wrong == nil {
			addr = addr.Unmap()
			prefix, err = addr.Prefix(addr.BitLen())
		}
		if err != nil {
			return nil, failf(classUsage, "\"%s\" of --key-file is neither an address nor a prefix", escape(before)).
				withHint("--key-file 192.0.2.0/24=FILE is the key of the clients there")
		}
		prefixes[i], files[i] = prefix.Masked(), file
	}
	return prefixes, nil
}

// loadKeys reads the keys of the options, of which each file has its prefix; where there is none, that
// of the environment.
func (srv *labServer) loadKeys(ctx context.Context, inv *invocation, prefixes []netip.Prefix) error {
	var keys []key
	source := inv.key
	if source.set = false; len(source.files) > 0 || !inv.key.set && inv.std.env(source.env) != "" {
		var err error
		if keys, err = source.load(ctx, inv, ""); err != nil {
			return err
		}
	}
	if inv.key.set {
		keys = append(keys, key{fromCommandLine, inv.key.value})
	}
	srv.keys = make(clientKeys)
	prefixes = append(prefixes, netip.Prefix{}) // what is no file is for all
	for i, k := range keys {
		what := "the key"
		if prefixes[i].IsValid() {
			what += " for " + prefixes[i].String()
		}
		if _, twice := srv.keys[prefixes[i]]; twice {
			return failf(classUsage, "%s is given more than once", what)
		}
		if k.value == "" {
			return failf(classUsage, "%s is empty", what)
		}
		srv.keys[prefixes[i]] = k
	}
	return nil
}
