package main

import (
	"cmp"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// The ports of RFC 8907 and of RFC 9887, and the default of Cisco ISE for TLS.
const (
	portClear  = 49
	portTLS    = 300
	portTLSISE = 6049
)

// A server is a name or an address, and a port.
type server struct {
	host string
	port uint16
	tls  bool       // by TLS (RFC 9887)
	name string     // host:port, as it is printed
	addr netip.Addr // the only address of the name to use; invalid for all of them
}

func newServer(host string, port uint16) server {
	return server{host: host, port: port, name: net.JoinHostPort(host, strconv.Itoa(int(port)))}
}

func (s server) String() string { return s.name }

// rank returns how specific a text is for the server at an address, and 0 if it is not for it: host:port, the name, or a
// prefix, the longer the higher.
func (s server) rank(text string, addr netip.Addr) int {
	switch prefix, err := parsePrefix(text); {
	case strings.EqualFold(text, net.JoinHostPort(s.host, strconv.Itoa(int(s.port)))):
		return 1000
	case strings.EqualFold(strings.Trim(text, "[]"), s.host):
		return 999
	case err == nil && prefix.Contains(addr):
		return 1 + prefix.Bits()
	}
	return 0
}

// sameName reports whether both are the same server, maybe at different addresses.
func (s server) sameName(o server) bool {
	return s.host == o.host && s.port == o.port && s.tls == o.tls
}

// parseServers parses a list of servers with commas: name, name:port, 1.2.3.4:port, 2001:db8::1 or [2001:db8::1]:port, with
// tls:// or tcp:// in front. overTLS is for those without either, and defaultPort, if not 0, for those without a port.
func parseServers(list string, defaultPort uint16, overTLS bool) ([]server, error) {
	var servers []server
	for entry := range strings.SplitSeq(list, ",") {
		entry = strings.TrimSpace(entry)
		scheme, part, found := strings.Cut(entry, "://")
		secure := overTLS
		switch scheme = strings.ToLower(scheme); {
		case !found:
			part = entry
		case scheme != "tls" && scheme != "tcp":
			return nil, failf(classUsage, "server \"%s\" can have tls:// or tcp:// in front, not %s://", escape(entry), escape(scheme))
		default:
			secure = scheme == "tls"
		}
		host, port, err := net.SplitHostPort(part)
		if err != nil {
			port = strconv.Itoa(int(cmp.Or(defaultPort, portOf(secure))))
			if host, _, err = net.SplitHostPort(part + ":" + port); err != nil {
				host = part // an IPv6 address without brackets
			}
		}
		addr, _ := netip.ParseAddr(host)
		number, err := strconv.ParseUint(port, 10, 16)
		switch {
		case strings.HasPrefix(part, "[") && !addr.Is6():
			return nil, failf(classUsage, "server \"%s\" is not [IPv6 address]:port", escape(entry))
		case host == "":
			return nil, failf(classUsage, "the server list \"%s\" has an empty entry", escape(list))
		case strings.Contains(host, ":") && !addr.Is6():
			return nil, failf(classUsage, "server \"%s\" is neither an IPv6 address nor name:port", escape(entry))
		case !printableASCII(host) || strings.ContainsAny(host, " /[]@"):
			return nil, failf(classUsage, "server \"%s\" is not a name or an address", escape(entry))
		case err != nil || number == 0:
			return nil, failf(classUsage, "port \"%s\" of server \"%s\" must be 1 to 65535", escape(port), escape(entry))
		}
		srv := newServer(host, uint16(number))
		srv.tls = secure
		servers = append(servers, srv)
	}
	return servers, nil
}

// portOf returns the port that servers have.
func portOf(overTLS bool) uint16 {
	if overTLS {
		return portTLS
	}
	return portClear
}

// splitFallback splits a list into the servers that a request may go to in turn, and the names of those in the clear that
// stand after one over TLS: nothing falls back from TLS (RFC 9887 section 5.1.1).
func splitFallback(list []server) (allowed []server, skipped []string) {
	overTLS := false
	for _, srv := range list {
		if overTLS = overTLS || srv.tls; srv.tls == overTLS {
			allowed = append(allowed, srv)
		} else {
			skipped = append(skipped, srv.name)
		}
	}
	return allowed, skipped
}

// mixed reports whether some servers of a list are over TLS, and others are not.
func mixed(list []server) bool { return anyOver(list, true) && anyOver(list, false) }

// anyOver reports whether one of the servers is over TLS, or not over TLS.
func anyOver(servers []server, tls bool) bool {
	for i := range servers {
		if servers[i].tls == tls {
			return true
		}
	}
	return false
}

func isAddr(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

// cutPort splits an IPv6 address that may be meant as one with a port, such as ::1:49.
func cutPort(host string) (addr, port string) {
	i := max(strings.LastIndex(host, ":"), 0)
	if a, err := netip.ParseAddrPort("[" + host[:i] + "]" + host[i:]); err != nil || a.Port() == 0 {
		return "", ""
	}
	return host[:i], host[i+1:]
}
