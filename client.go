package main

import (
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

// A client is the configuration of how servers are reached. It does not change, and all requests of a run share it. RFC
// 8907 sections 4.3 and 4.4.
type client struct {
	servers []server // in the order in which a request goes to them
	skipped []string // names of those without TLS, after one with TLS: no request goes there in turn
	user    string   // USER, which may be the server by mistake; or empty
	keys    []key    // the first is used; the others are tried on a reply that it does not fit
	timeout time.Duration
	// connectTimeout limits the connect to one address, failoverTimeout the same while another address or server is left;
	// 0 for no limit but timeout.
	connectTimeout, failoverTimeout time.Duration

	retries       int    // more rounds over the servers
	network       string // tcp, tcp4 or tcp6
	source        netip.Addr
	device        string
	proxy         *proxyCommand // in place of connecting; nil for none
	remAddr       string        // for the field rem_addr; empty for the address of the connection
	singleConnect bool          // offer it
	unencrypted   bool          // do not obfuscate without TLS
	tls           *tlsClient    // nil if no server is over TLS
	sendProxy     bool          // begin connections with a PROXY header
	dump          *dumper
	forwards      bool      // replies are for somebody else: they keep what they repeat of our secrets, and their minor version
	proven        *sync.Map // of keyProof, for hints
	dead          *deadServers
	stats         statsByServer // by the name of the server; nil counts nothing
}

// only returns a client of that server alone, which is asked whatever is known of it.
func (c *client) only(srv server) *client {
	one := *c
	one.servers, one.skipped, one.dead = []server{srv}, nil, nil
	return &one
}

// A key is a shared secret. source names it in a hint.
type key struct {
	source string
	value  string
	server string // that it is for: its name, name:port or a prefix of its addresses; empty for all
}

// keysFor returns the keys for a server at an address: its own, of which the most specific count, and after them those for
// all, as candidates.
func (c *client) keysFor(srv server, addr netip.Addr) []key {
	var common, own []key
	best := 0
	for _, k := range c.keys {
		rank := srv.rank(k.server, addr)
		switch {
		case k.server == "":
			common = append(common, k)
		case rank > best:
			own, best = []key{k}, rank
		case rank > 0 && rank == best:
			own = append(own, k)
		}
	}
	return append(own, common...)
}

// transport returns the transport as JSON has it.
func (s server) transport() string {
	if s.tls {
		return "tls"
	}
	return "tcp"
}

// addrPortOf returns the address of a TCP connection, or the zero AddrPort for another kind.
func addrPortOf(addr net.Addr) netip.AddrPort {
	a, _ := addr.(*net.TCPAddr)
	at := a.AddrPort()
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}

// A serverConn is one connection to a server.
type serverConn struct {
	client        *client
	server        server
	conn          net.Conn
	address       string        // of the server
	local         string        // of this side
	remAddr       string        // for the field rem_addr: the option's, or the local address
	facts         *tlsFacts     // nil without TLS
	cleartext     bool          // packets are not obfuscated
	keys          []key         // for this server, as in client
	keyFile       string        // of the key in use, if a key has a NAME
	process       *proxyProcess // that the connection is by; nil for none
	stopWatch     func()        // stops watching the context
	answered      int           // replies that were read
	answeredAt    time.Time     // when the last first reply of a session came
	answeredSent  time.Time     // when its request was sent
	proven        uint8         // bits for the types of those that could be decoded, so that the key is right, and 1 for any
	established   bool          // the server agreed to single-connection mode (section 4.3)
	noNewSessions bool
	idleSince     time.Time // when the last session on it ended
}

// errNoKeyFor returns the error for a server without a key.
func errNoKeyFor(srv server) *failure {
	return failf(classUsage, "no key for %s", srv).withHint(fmt.Sprintf("give --key-file %s=FILE, or --key-file FILE for all other servers", srv.host))
}

// dial connects to the server that the job asks now, by the deadline of its session. The end of ctx interrupts all reads
// and writes from then on. The result gets the addresses that were tried, and the facts of a TLS handshake that fails.
func (c *client) dial(ctx context.Context, j *job) (*serverConn, error) {
	srv, deadline, began := j.server(), j.session.deadline, time.Now()
	conn, err := c.open(ctx, j)
	switch {
	case err == nil:
		return conn, nil
	case ctx.Err() != nil:
		c.dead.unanswered(*srv, j.origin.device, began, nil)
	case classOf(err) != classLocal && (time.Now().Before(deadline) || deadline.Sub(began) >= minReplyTime):
		c.dead.connectFailed(*srv, err)
	}
	if outcomeOf(err) != outcomeDecided {
		err = &attemptError{asFailure(err), outcomeNotSent}
	}
	return nil, err
}

// countOpen counts the connection, or why there is none.
func (l *serverConn) countOpen(err error) {
	stats := l.client.stats
	switch {
	case err == nil:
		stats.count(l.server, serverOpened)
		if s := stats[l.server.name]; s != nil && l.facts != nil && !l.facts.ChainNotAfter.IsZero() {
			s.certNotAfter.Store(l.facts.ChainNotAfter.Unix())
		}
	case classOf(err) != classLocal && classOf(err) != classInterrupted:
		stats.count(l.server, serverFailed)
	}
}

// tryConnect connects to a server and closes the connection.
func (c *client) tryConnect(ctx context.Context, srv server) error {
	j := &job{order: []server{srv}}
	c.begin(j, time.Now())
	conn, err := c.open(ctx, j)
	if err == nil {
		conn.close()
	}
	return err
}

// open is dial without the memory of dead servers.
func (c *client) open(ctx context.Context, j *job) (*serverConn, error) {
	srv, deadline := j.server(), j.session.deadline
	limited, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	l := &serverConn{client: c, server: *srv, remAddr: c.remAddr, cleartext: srv.tls || c.unencrypted}
	err := l.connect(limited, j)
	if err == nil || ctx.Err() == nil {
		l.countOpen(err)
	}
	if err != nil {
		if l.conn != nil {
			l.conn.Close()
		}
		l.process.end(false)
		return nil, err
	}
	if local := addrPortOf(l.conn.LocalAddr()).Addr(); local.IsValid() && l.remAddr == "" {
		l.remAddr = local.WithZone("").String()
	}
	_ = l.conn.SetDeadline(deadline)
	// stopWatch waits for a watch that is under way, since an ABORT sets another deadline.
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { _ = l.conn.SetDeadline(time.Unix(1, 0)); close(ended) })
	l.stopWatch = sync.OnceFunc(func() {
		if !stop() {
			<-ended
		}
	})
	return l, nil
}

// connect makes the connection: up to the handshake, or to the key for the server.
func (l *serverConn) connect(ctx context.Context, j *job) (err error) {
	c, srv := l.client, &l.server
	if l.conn, l.process, err = c.connect(ctx, j); err != nil {
		return err
	}
	addr := addrPortOf(l.conn.RemoteAddr()).Addr()
	if l.process == nil {
		l.address, l.local = l.conn.RemoteAddr().String(), l.conn.LocalAddr().String()
	} else {
		addr, _ = netip.ParseAddr(srv.host)
	}
	if !l.cleartext {
		if l.keys = c.keysFor(*srv, addr); len(l.keys) == 0 {
			return errNoKeyFor(*srv)
		}
		if slices.ContainsFunc(c.keys, func(k key) bool { return k.server != "" }) {
			l.keyFile = l.keys[0].source
		}
	}
	if c.sendProxy {
		from := j.origin.forwarded
		if _, err := l.conn.Write(proxyV2Header(from.client, from.server)); err != nil {
			return failf(classNetwork, "send the PROXY header to %s: %w", srv, cause(err))
		}
	}
	if !srv.tls {
		return nil
	}
	began := time.Now()
	l.conn, l.facts, err = c.tls.handshake(ctx, srv, c.timeout, l.conn)
	if j.session.timing.tls = time.Since(began); err != nil {
		j.res.Address, j.res.Local, j.res.TLS = l.address, l.local, l.facts
		if f := l.process.failed(); f != nil {
			return f
		}
		return err
	}
	c.dump.event("TLS handshake done: %s %s", l.facts.Version, l.facts.CipherSuite)
	return nil
}

func (l *serverConn) close() {
	l.stopWatch()
	l.conn.Close()
	l.process.end(l.answered > 0)
	l.client.stats.count(l.server, serverClosed)
}

// idleAfter is how long a connection may be idle before stale reads from it, which takes a millisecond.
const idleAfter = 100 * time.Millisecond

// stale reports whether the server closed the idle connection, or sent something.
func (l *serverConn) stale(now time.Time) bool {
	if now.Sub(l.idleSince) < idleAfter {
		return false
	}
	_ = l.conn.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err := l.conn.Read(make([]byte, 1))
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

// keepAlive finds that the server of an idle connection has gone before a request is sent on it. TACACS+ has no ping.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}

// connect resolves the name of the server that the job asks now, and tries its addresses in turn. A proxy command does
// that elsewhere.
func (c *client) connect(ctx context.Context, j *job) (net.Conn, *proxyProcess, error) {
	srv, took, another, from := j.server(), &j.session.timing, c.hasNextServer(j), time.Now()
	if c.proxy != nil {
		c.dump.event("running %s for %s", escape(c.proxy.words[0]), srv)
		return c.proxy.start(srv)
	}
	resolving := ctx
	if another { // the time for it counts for the first address
		part, cancel := context.WithTimeout(ctx, c.connectLimit(ctx, 1, true))
		defer cancel()
		resolving = part
	}
	addrs, err := c.resolve(resolving, *srv, took)
	if err != nil {
		return nil, nil, err
	}
	if took.resolve > 0 {
		c.dump.event("resolved: %v", addrs)
	}
	d := net.Dialer{KeepAlive: -1, ControlContext: bindToDevice(c.device)}
	if c.singleConnect {
		d.KeepAliveConfig = keepAlive
	}
	if c.source.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(c.source, 0))
	}
	began := time.Now()
	if !another {
		from = began
	}
	var limit time.Duration
	for i, addr := range addrs {
		at := netip.AddrPortFrom(addr, srv.port).String()
		c.dump.event("connecting to %s", at)
		last := i == len(addrs)-1
		limit = c.connectLimit(ctx, len(addrs)-i, !last || another)
		part, cancel := context.WithDeadline(ctx, from.Add(limit))
		var conn net.Conn
		conn, err = d.DialContext(part, "tcp", at)
		cancel()
		from = time.Now()
		if err == nil {
			if took.connect = time.Since(began); c.singleConnect {
				limitUnacknowledged(conn, max(c.timeout/2, time.Second))
			}
			c.dump.event("connected from %s", conn.LocalAddr())
			return conn, nil, nil
		}
		c.dump.event("not connected: %v", cause(err))
		if j.res.tried = at; !last && ctx.Err() == nil {
			j.res.addAttempt(c.connectFailure(srv, addrs[i:i+1], limit, err))
		}
	}
	return nil, nil, c.orSwapped(ctx, srv, c.connectFailure(srv, addrs, limit, err), err)
}

// connectLimit returns how long the connect to one address may take: at most an equal part of the time that is left for
// the addresses. another reports whether there is another address or server to go to.
func (c *client) connectLimit(ctx context.Context, addrs int, another bool) time.Duration {
	deadline, _ := ctx.Deadline()
	left := time.Until(deadline)
	if c.timeout-left < c.timeout/20 {
		left = c.timeout // as messages show it; the deadline holds all the same
	}
	limit := left / time.Duration(addrs)
	if c.connectTimeout > 0 {
		limit = min(limit, c.connectTimeout)
	}
	if another && c.failoverTimeout > 0 {
		limit = min(limit, c.failoverTimeout)
	}
	return limit
}

// familyOption returns the option that restricts the address family.
func (c *client) familyOption() string {
	switch {
	case c.source.IsValid():
		return "--source"
	case c.network == "tcp4":
		return "-4"
	}
	return "-6"
}

// resolve returns the addresses of the server that the options allow. With a proxy command it is the zero Addr.
func (c *client) resolve(ctx context.Context, srv server, took *timing) ([]netip.Addr, error) {
	if srv.addr.IsValid() || c.proxy != nil {
		return []netip.Addr{srv.addr}, nil
	}
	addrs := make([]netip.Addr, 1)
	var err error
	if addrs[0], err = netip.ParseAddr(srv.host); err != nil {
		began := time.Now()
		c.dump.event("resolving %s", srv.host)
		addrs, err = c.lookup(ctx, srv.host)
		took.resolve = time.Since(began)
	}
	if err != nil {
		c.dump.event("not resolved: %v", cause(err))
		if lacksDescriptors() {
			return nil, failf(classLocal, "resolve %s: %w", srv.host, syscall.EMFILE).withHint(hintOpenFiles)
		}
		what := choose(isNotFound(err), "name", "name servers of this host")
		return nil, c.orSwapped(ctx, &srv, failf(classNetwork, "resolve %s: %w", srv.host, cause(err)).
			withHint(fmt.Sprintf("check the %s, or give the server's address", what)), err)
	}
	var usable []netip.Addr
	for _, a := range addrs {
		if a = a.Unmap(); c.network != choose(a.Is4(), "tcp6", "tcp4") {
			usable = append(usable, a)
		}
	}
	if usable == nil {
		return nil, failf(classNetwork, "%s has no %s address", srv.host, choose(c.network == "tcp4", "IPv4", "IPv6")).
			withHint(fmt.Sprintf("check %s, which restricts the address family", c.familyOption()))
	}
	return usable, nil
}

// lookup returns the addresses of a name. It does not wait for those of a family that the options exclude, unless there are
// no others: they show that the name exists.
func (c *client) lookup(ctx context.Context, name string) ([]netip.Addr, error) {
	family := strings.TrimPrefix(c.network, "tcp")
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip"+family, name)
	if family != "" && err != nil {
		addrs, err = net.DefaultResolver.LookupNetIP(ctx, "ip", name)
	}
	return addrs, err
}

// isNotFound reports whether a lookup failed since the name does not exist.
func isNotFound(err error) bool {
	lookup, ok := errors.AsType[*net.DNSError](err)
	return ok && lookup.IsNotFound
}
