package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"time"
)

// expectsTLS reports whether the port of the server is one for TLS, but this client does not use it.
func (l *serverConn) expectsTLS() bool {
	return l.facts == nil && (l.server.port == portTLS || l.server.port == portTLSISE)
}

// localAddr returns the address by which the server knows this client, as part of a sentence.
func (l *serverConn) localAddr() string {
	if l.process != nil {
		return "from which it was connected"
	}
	return addrPortOf(l.conn.LocalAddr()).Addr().String()
}

// keyProof returns the key in client.proven for replies of a type from the server at its address.
func (l *serverConn) keyProof(typ packetType) string {
	return l.server.name + " " + l.address + " " + typ.String()
}

// proveKey records that a reply of a type fits the key.
func (l *serverConn) proveKey(typ packetType) {
	if l.proven>>typ&1 == 0 && l.client.proven != nil {
		l.client.proven.Store(l.keyProof(0), true)
		l.client.proven.Store(l.keyProof(typ), true)
	}
	l.proven |= 1 | 1<<typ
}

// keyProven reports whether a reply of a type, or of any if it is 0, fitted the key, on this connection or on one before to
// the same address.
func (l *serverConn) keyProven(typ packetType) bool {
	proven := l.proven>>typ&1 != 0
	if !proven && l.client.proven != nil {
		_, proven = l.client.proven.Load(l.keyProof(typ))
	}
	return proven
}

// otherPort returns the end of a hint to check the port: the port that servers have, unless it is the one in use.
func (l *serverConn) otherPort() string {
	switch {
	case l.facts != nil:
		return otherTLSPort(&l.server)
	case l.server.port != portClear:
		return fmt.Sprintf("; TACACS+ has port %d", portClear)
	}
	return ""
}

// otherTLSPort is otherPort for TLS.
func otherTLSPort(srv *server) string {
	switch srv.port {
	case portTLS:
		return fmt.Sprintf("; Cisco ISE listens for TLS on %d", portTLSISE)
	case portTLSISE:
		return ""
	}
	return fmt.Sprintf("; TLS has port %d, and %d on Cisco ISE", portTLS, portTLSISE)
}

// closedHint returns the hint for a connection that the server closed without a reply.
func (l *serverConn) closedHint() string {
	switch {
	case l.keyProven(0):
		return "see the server's log: it has answered before, so its client entry and the key are right"
	case l.expectsTLS():
		return fmt.Sprintf("add --tls: port %d is for TLS", l.server.port)
	case l.facts != nil:
		return "see the server's log"
	case l.cleartext:
		return fmt.Sprintf("check the server's client entry for the address %s: a server with a key for it may close like this, as do an access list and a TLS port", l.localAddr())
	}
	return fmt.Sprintf("check the server's client entry for the address %s; an access list, a wrong key or a TLS port look the same", l.localAddr())
}

// silentHint returns the hint for a server that sent no reply in time.
func (l *serverConn) silentHint() string {
	switch {
	case l.keyProven(0):
		return "try a longer --timeout: it has answered before, so its back end (LDAP, AD) may be slow"
	case l.expectsTLS():
		return fmt.Sprintf("add --tls: port %d is for TLS", l.server.port)
	case l.facts != nil:
		return "try a longer --timeout for a slow back end (LDAP, AD)"
	case l.process != nil:
		return "run the command by itself to see whether it connects; if so, check the key, or try a longer --timeout"
	case l.cleartext:
		return "check whether the server has a key for this client (some servers drop such packets), or try a longer --timeout for a slow back end (LDAP, AD)"
	}
	return "check the key (some servers drop unreadable packets), or try a longer --timeout for a slow back end (LDAP, AD)"
}

// refusedHint returns the hint for a port where nothing listens.
func (c *client) refusedHint(srv *server) string {
	switch {
	case srv.tls || srv.port == portTLS:
		return "check that the server runs, and the port" + otherTLSPort(srv)
	case srv.port == portClear:
		return "check that the server runs, and the port; with --tls it is 300"
	}
	return "check the port: 49, or 300 for TLS"
}

// orSwapped replaces the hint of a server that cannot be reached, because of err, if USER and HOST may be swapped.
func (c *client) orSwapped(ctx context.Context, srv *server, f *failure, err error) error {
	switch {
	case isAddr(srv.host):
		return f
	case looksLikeServer(c.user), strings.Contains(c.user, ","):
		return f.withHint(fmt.Sprintf("swap USER and HOST: %s looks like the server", escape(c.user)))
	case c.user == "", !isNotFound(err):
		return f
	}
	// HOST is no name of a host, but USER may be one.
	if _, err := c.lookup(ctx, c.user); err != nil {
		return f
	}
	return f.withHint(fmt.Sprintf("swap USER and HOST: %s is the name of a host, and %s is not", escape(c.user), srv.host))
}

// looksLikeServer reports whether a text is an address, or a name with a port.
func looksLikeServer(text string) bool {
	servers, err := parseServers(text, portClear, false)
	return err == nil && (strings.Contains(text, ":") || isAddr(servers[0].host))
}

// connectFailure returns the error for a server that cannot be reached at any address; the last one got the time limit.
func (c *client) connectFailure(srv *server, addrs []netip.Addr, limit time.Duration, err error) *failure {
	with := srv.name
	if where := fmt.Sprintf(" %v", addrs); !isAddr(srv.host) && !strings.HasSuffix(with, where) {
		with += where
	}
	addr, port := cutPort(srv.host)
	var timeout interface{ Timeout() bool }
	f := failf(classNetwork, "connect to %s: %w", with, cause(err))
	switch {
	case lacksResources(err):
		f.class, f.hint = classLocal, hintOpenFiles
		return f
	case isErrno(err, syscall.ECONNREFUSED, 10061):
		return failf(classNetwork, "connect to %s: connection refused", with).withHint(c.refusedHint(srv))
	case errors.As(err, &timeout) && timeout.Timeout():
		f = failf(classNetwork, "connect to %s: timed out after %v", with, max(limit.Round(time.Millisecond), 0)).
			withHint("check the address, firewalls, routes and the VRF (--interface, --source)")
	case c.source.IsValid() || c.device != "":
		f = f.withHint("check --source and --interface: the address must be this host's, and of the server's family")
	}
	if port != "" {
		f = f.withHint(fmt.Sprintf("write an IPv6 address with a port in brackets: [%s]:%s", addr, port))
	}
	return f
}
