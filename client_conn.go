package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A link is one connection to a server.
type serverConn struct {
	*client
	server        server
	conn          net.Conn
	address       string    // of the server
	local         string    // of this side
	localAddr     string    // rem_addr: what the option says, else where conn comes from
	facts         *tlsFacts // of conn, where it is TLS
	stopWatch     func()    // undoes the watch on the context
	answered      int       // replies that were read
	established   bool      // the server agreed to single-connection mode (section 4.3)
	noNewSessions bool      // there is to be no new session on it
	idleSince     time.Time // when the last session on it ended
}

// dial connects to the server of an attempt, with an eye on ctx from then on. The time of each
// phase goes to the job, as does what is known of a handshake that failed.
func (c *client) dial(ctx context.Context, j *job) (*serverConn, error) {
	l := &serverConn{client: c, server: c.serverOf(j), localAddr: c.remAddr}
	limited, cancel := context.WithDeadline(ctx, j.session.deadline)
	defer cancel()
	conn, err := l.connect(limited, &j.session.timing)
	if err == nil && c.tls != nil {
		began := time.Now()
		j.res.Address, j.res.Local = conn.RemoteAddr().String(), conn.LocalAddr().String()
		conn, l.facts, err = c.tls.handshake(limited, l, conn)
		j.session.timing.tls, j.res.TLS = time.Since(began), l.facts
		if err == nil {
			l.dump.event("TLS handshake done: %s %s", l.facts.Version, l.facts.CipherSuite)
		}
	}
	if err != nil {
		return nil, err
	}
	l.conn, l.address, l.local = conn, conn.RemoteAddr().String(), conn.LocalAddr().String()
	if a, ok := conn.LocalAddr().(*net.TCPAddr); ok && l.localAddr == "" {
		l.localAddr = a.AddrPort().Addr().Unmap().WithZone("").String()
	}
	_ = conn.SetDeadline(j.session.deadline)
	// Where it was too late to stop the watch, it is waited for: a farewell sets another deadline.
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)); close(ended) })
	l.stopWatch = sync.OnceFunc(func() {
		if !stop() {
			<-ended
		}
	})
	return l, nil
}

func (l *serverConn) close() {
	l.stopWatch()
	l.conn.Close()
}

// idleAfter is how long a connection may be out of use before it is looked at, which takes a
// millisecond.
const idleAfter = 100 * time.Millisecond

// stale says that the server did something to the connection since the last session: it is closed,
// or there is something to read.
func (l *serverConn) stale(now time.Time) bool {
	if now.Sub(l.idleSince) < idleAfter {
		return false
	}
	_ = l.conn.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err := l.conn.Read(make([]byte, 1))
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

// connect resolves the name and tries its addresses in turn, each with a fair part of the time
// that ctx has.
func (l *serverConn) connect(ctx context.Context, took *timing) (net.Conn, error) {
	addrs, err := l.resolve(ctx, took)
	if err != nil {
		return nil, err
	}
	if took.resolve > 0 {
		l.dump.event("resolved: %v", addrs)
	}
	d := net.Dialer{KeepAlive: -1, ControlContext: bindToDevice(l.device)}
	if l.source.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(l.source, 0))
	}
	deadline, _ := ctx.Deadline()
	began := time.Now()
	for i, addr := range addrs {
		l.dump.event("connecting to %s", netip.AddrPortFrom(addr, l.server.port))
		part, cancel := context.WithTimeout(ctx, time.Until(deadline)/time.Duration(len(addrs)-i))
		var conn net.Conn
		conn, err = d.DialContext(part, "tcp", netip.AddrPortFrom(addr, l.server.port).String())
		cancel()
		if err == nil {
			took.connect = time.Since(began)
			l.dump.event("connected from %s", conn.LocalAddr())
			return conn, nil
		}
		l.dump.event("not connected: %v", cause(err))
	}
	return nil, l.orSwapped(l.connectFailure(addrs, err))
}

// orSwapped adds the hint to the failure of a name that there may be no such server, since USER and HOST
// stand the wrong way round.
func (l *serverConn) orSwapped(f *failure) error {
	if l.swappedHost == "" || isAddr(l.server.host) {
		return f
	}
	return f.withHint("USER comes before HOST: is %s the server?", escape(l.swappedHost))
}

// resolve gives the addresses of the server that the options allow.
func (l *serverConn) resolve(ctx context.Context, took *timing) ([]netip.Addr, error) {
	if l.server.addr.IsValid() {
		return []netip.Addr{l.server.addr}, nil
	}
	addrs := make([]netip.Addr, 1)
	var err error
	if addrs[0], err = netip.ParseAddr(l.server.host); err != nil {
		began := time.Now()
		l.dump.event("resolving %s", l.server.host)
		addrs, err = net.DefaultResolver.LookupNetIP(ctx, "ip", l.server.host)
		took.resolve = time.Since(began)
	}
	if err != nil {
		l.dump.event("not resolved: %v", cause(err))
		return nil, l.orSwapped(failf(classNetwork, "resolve %s: %w", l.server.host, cause(err)).
			withHint("check the name, or give the server's address"))
	}
	for i, a := range addrs {
		addrs[i] = a.Unmap()
	}
	addrs = slices.DeleteFunc(addrs, func(a netip.Addr) bool {
		return l.network == "tcp4" && !a.Is4() || l.network == "tcp6" && a.Is4()
	})
	if len(addrs) == 0 {
		return nil, failf(classNetwork, "%s has no %s address", l.server.host, map[string]string{"tcp4": "IPv4", "tcp6": "IPv6"}[l.network]).
			withHint("-4, -6 and --source restrict the address family")
	}
	return addrs, nil
}

// connectFailure explains why there is no connection to any of the server's addresses.
func (l *serverConn) connectFailure(addrs []netip.Addr, err error) *failure {
	with := l.server.name
	if where := fmt.Sprintf(" %v", addrs); !isAddr(l.server.host) && !strings.HasSuffix(with, where) {
		with += where
	}
	addr, port := cutPort(l.server.host)
	var timeout interface{ Timeout() bool }
	f := failf(classNetwork, "connect to %s: %w", with, cause(err))
	switch {
	case isErrno(err, syscall.ECONNREFUSED, 10061):
		return failf(classNetwork, "connect to %s: connection refused", with).
			withHint("nothing listens there: is it port 49, or 300 for TLS?")
	case errors.As(err, &timeout) && timeout.Timeout():
		f = failf(classNetwork, "connect to %s: timed out after %v", with, l.timeout).
			withHint("a filter, a route, a wrong address or the wrong VRF (--interface, --source)")
	case l.source.IsValid() || l.device != "":
		f = f.withHint("check --source and --interface: the address must be this host's, and of the server's family")
	}
	if port != "" {
		f = f.withHint("an IPv6 address with a port needs brackets: [%s]:%s", addr, port)
	}
	return f
}

// answeredError is the failure that an ERROR is, with what the server says of it.
func (l *serverConn) answeredError(res *result) error {
	said := ""
	if why := oneLine(cmp.Or(res.ServerMsg, res.Data)); why != "" {
		said = ": " + why
	}
	return failf(classServer, "%s answered ERROR%s", l.server, said).
		withHint("the server could not decide: a back end that is down, or a request it does not support; its log says which")
}

// transport is what the connections are made of, as people see it.
func (c *client) transport() string {
	if c.tls != nil {
		return "tls"
	}
	return "tcp"
}
