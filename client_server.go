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
	addr netip.Addr // the only address of the name to use; the zero Addr for all of them
}

func newServer(host string, port uint16) server {
	return server{host: host, port: port, name: net.JoinHostPort(host, strconv.Itoa(int(port)))}
}

func (s server) String() string { return s.name }

// parseServers parses a list of servers with commas: name, name:port, 1.2.3.4:port, 2001:db8::1 or [2001:db8::1]:port.
// Those without a port get the default one.
func parseServers(list string, defaultPort uint16) ([]server, error) {
	var servers []server
	for part := range strings.SplitSeq(list, ",") {
		host, port := strings.TrimSpace(part), ""
		if inner, ok := strings.CutPrefix(host, "["); ok {
			host, port, ok = strings.Cut(inner, "]")
			if a, err := netip.ParseAddr(host); !ok || err != nil || a.Is4() || port != "" && port[0] != ':' {
				return nil, failf(classUsage, "server \"%s\" is not [IPv6 address]:port", escape(part))
			}
		} else if strings.Count(host, ":") == 1 {
			host, port, _ = strings.Cut(host, ":")
			port = ":" + port
		} else if strings.Contains(host, ":") {
			if _, err := netip.ParseAddr(host); err != nil {
				return nil, failf(classUsage, "server \"%s\" is neither an IPv6 address nor name:port", escape(part))
			}
		}
		if host == "" {
			return nil, failf(classUsage, "the server list \"%s\" has an empty part", escape(list))
		}
		if !printableASCII(host) || strings.ContainsAny(host, " /[]@") {
			return nil, failf(classUsage, "server \"%s\" is not a name or an address", escape(part))
		}
		number := uint64(defaultPort)
		if port != "" {
			var err error
			if number, err = strconv.ParseUint(port[1:], 10, 16); err != nil || number == 0 {
				return nil, failf(classUsage, "port \"%s\" of server \"%s\" must be 1 to 65535", escape(port[1:]), escape(part))
			}
		}
		servers = append(servers, newServer(host, uint16(number)))
	}
	return servers, nil
}

func isAddr(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

// cutPort finds a port that may be meant in an IPv6 address without brackets, such as ::1:49.
func cutPort(host string) (addr, port string) {
	i := strings.LastIndex(host, ":")
	if i < 0 {
		return "", ""
	}
	if a, err := netip.ParseAddr(host[:i]); err != nil || !a.Is6() {
		return "", ""
	}
	if n, err := strconv.ParseUint(host[i+1:], 10, 16); err != nil || n == 0 {
		return "", ""
	}
	return host[:i], host[i+1:]
}

// addrPortOf is an address of a TCP connection; the zero one where it is another kind.
func addrPortOf(addr net.Addr) netip.AddrPort {
	a, _ := addr.(*net.TCPAddr)
	at := a.AddrPort()
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}
