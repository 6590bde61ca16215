package main

import (
	"fmt"
	"net/netip"
)

// clientKeys are the keys of clients by the prefix of their addresses. The zero prefix is for all clients. A client with
// several keys uses one of them.
type clientKeys map[netip.Prefix][]key

// of returns the keys of the longest prefix that contains the client's address, or nil.
func (k clientKeys) of(client netip.Addr) []key {
	for bits := client.BitLen(); bits >= 0; bits-- {
		prefix, _ := client.Prefix(bits)
		if keys := k[prefix]; keys != nil {
			return keys
		}
	}
	return k[netip.Prefix{}]
}

// cutPrefixes removes PREFIX= from each key file of an option and returns the prefixes: zero for a file without one.
func cutPrefixes(option string, files []string) ([]netip.Prefix, error) {
	prefixes := make([]netip.Prefix, len(files))
	for i, value := range files {
		before, file, found := cutPrefix(value)
		if !found {
			continue
		}
		prefix, err := parsePrefix(before)
		if err != nil {
			return nil, failf(classUsage, "\"%s\" of %s %w", escape(before), option, err).
				withHint(fmt.Sprintf("write %s 192.0.2.0/24=FILE for the key of these clients", option))
		}
		prefixes[i], files[i] = prefix, file
	}
	return prefixes, nil
}

// byPrefix returns each key under its prefix. Keys after the last prefix come from no file and are for all clients. A
// client has at most limit keys.
func byPrefix(keys []key, prefixes []netip.Prefix, limit int) (clientKeys, error) {
	of := make(clientKeys)
	prefixes = append(prefixes, netip.Prefix{})
	for i, k := range keys {
		what := "the key"
		if prefixes[i].IsValid() {
			what += " for " + prefixes[i].String()
		}
		if len(of[prefixes[i]]) >= limit {
			return nil, failf(classUsage, "%s is given more than %s", what, choose(limit == 1, "once", fmt.Sprintf("%d times", limit)))
		}
		of[prefixes[i]] = append(of[prefixes[i]], k)
	}
	return of, nil
}
