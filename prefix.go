package main

import (
	"errors"
	"net/netip"
	"strings"
)

// cutPrefix splits the value [PREFIX=]FILE of an option at its first equals sign. The value is just the name
// of a file, which may contain the sign too, unless the text before the sign has the form of an address or
// prefix. A mistyped prefix counts as one, so that parsePrefix rejects it.
func cutPrefix(value string) (prefix, file string, found bool) {
	prefix, file, found = strings.Cut(value, "=")
	if !found || !prefixForm(prefix) {
		return "", value, false
	}
	return prefix, file, true
}

// prefixForm reports whether s has only characters of addresses and prefixes, a separator of one, and does not
// begin as a path does.
func prefixForm(s string) bool {
	if strings.Trim(s, "0123456789abcdefABCDEF:./") != "" || strings.HasPrefix(s, ".") || strings.HasPrefix(s, "/") {
		return false
	}
	slash := strings.IndexByte(s, '/')
	return strings.ContainsAny(s, ".:") || slash > 0 && s[slash-1] >= '0' && s[slash-1] <= '9'
}

// parsePrefix returns the prefix that s is, without its host bits. An address is the prefix of itself alone.
func parsePrefix(s string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		return addr.Prefix(addr.BitLen())
	}
	prefix, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, errors.New("is neither an address nor a prefix")
	}
	return prefix.Masked(), nil
}
