package main

import (
	"net/netip"
	"strings"
)

// clientKeys are the keys of clients by the prefix of their address. Those of the zero prefix are for all other clients.
// If a client has several keys, one of them is right.
type clientKeys map[netip.Prefix][]key

// of returns the keys of the longest prefix that contains an address, or nil.
func (k clientKeys) of(client netip.Addr) []key {
	for bits := client.BitLen(); bits >= 0; bits-- {
		prefix, _ := client.Prefix(bits)
		if keys := k[prefix]; keys != nil {
			return keys
		}
	}
	return k[netip.Prefix{}]
}

// cutPrefixes takes the PREFIX= off the key files of an option, and returns the zero prefix for a
// file that has none.
func cutPrefixes(option string, files list) ([]netip.Prefix, error) {
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
			return nil, failf(classUsage, "\"%s\" of %s is neither an address nor a prefix", escape(before), option).
				withHint("%s 192.0.2.0/24=FILE is the key of the clients there", option)
		}
		prefixes[i], files[i] = prefix.Masked(), file
	}
	return prefixes, nil
}

// byPrefix assigns each key to the prefix at its index; a key after the last prefix is for all clients. A prefix has at
// most limit keys.
func byPrefix(keys []key, prefixes []netip.Prefix, limit int) (clientKeys, error) {
	of := make(clientKeys)
	prefixes = append(prefixes, netip.Prefix{}) // of a key that is not from a file
	for i, k := range keys {
		what := "the key"
		if prefixes[i].IsValid() {
			what += " for " + prefixes[i].String()
		}
		if len(of[prefixes[i]]) >= limit {
			return nil, failf(classUsage, "%s is given more than once", what)
		}
		of[prefixes[i]] = append(of[prefixes[i]], k)
	}
	return of, nil
}
