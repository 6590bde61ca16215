package main

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// A server is a name or an address, and a port.
type server struct {
	host string
	port uint16
	name string     // host:port, as it is printed
	addr netip.Addr // the only address of the name to use; invalid for all of them
}

func newServer(host string, port uint16) server {
	return server{host: host, port: port, name: net.JoinHostPort(host, strconv.Itoa(int(port)))}
}

func (s server) String() string { return s.name }

// sameName reports whether both are the same server, maybe at different addresses.
func (s server) sameName(o server) bool { return s.host == o.host && s.port == o.port }

// parseServers parses a list of servers with commas: name, name:port, 1.2.3.4:port, 2001:db8::1 or [2001:db8::1]:port.
// Those without a port get the default one.
func parseServers(list string, defaultPort uint16) ([]server, error) {
	var servers []server
	for part := range strings.SplitSeq(list, ",") {
		part = strings.TrimSpace(part)
		host, port, err := net.SplitHostPort(part)
		if err != nil {
			port = strconv.Itoa(int(defaultPort))
			if host, _, err = net.SplitHostPort(part + ":" + port); err != nil {
				host = part // an IPv6 address without brackets
			}
		}
		addr, _ := netip.ParseAddr(host)
		number, err := strconv.ParseUint(port, 10, 16)
		switch {
		case strings.HasPrefix(part, "[") && !addr.Is6():
			return nil, failf(classUsage, "server \"%s\" is not [IPv6 address]:port", escape(part))
		case host == "":
			return nil, failf(classUsage, "the server list \"%s\" has an empty entry", escape(list))
		case strings.Contains(host, ":") && !addr.Is6():
			return nil, failf(classUsage, "server \"%s\" is neither an IPv6 address nor name:port", escape(part))
		case !printableASCII(host) || strings.ContainsAny(host, " /[]@"):
			return nil, failf(classUsage, "server \"%s\" is not a name or an address", escape(part))
		case err != nil || number == 0:
			return nil, failf(classUsage, "port \"%s\" of server \"%s\" must be 1 to 65535", escape(port), escape(part))
		}
		servers = append(servers, newServer(host, uint16(number)))
	}
	return servers, nil
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
