package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A client knows the servers and how to reach them. RFC 8907 sections 4.3 and 4.4.
type client struct {
	servers       []server
	keys          []key // the first is used; the others are tried on a reply that it does not fit
	timeout       time.Duration
	retries       int    // more rounds over the servers
	network       string // tcp, tcp4 or tcp6
	source        netip.Addr
	device        string
	remAddr       string // for the field rem_addr; empty for the address of the connection
	singleConnect bool   // to be offered
	clear         bool   // packets go without obfuscation: over TLS, or asked for in so many words
	tls           *tlsClient
	trace         *tracer
	keep          bool  // hold a connection in single-connection mode for the next request
	kept          *link // that connection
	warn          func(format string, args ...any)
}

// A server is a name or an address, and a port.
type server struct {
	host string
	port uint16
}

func (s server) String() string { return net.JoinHostPort(s.host, strconv.Itoa(int(s.port))) }

// A key is a shared secret and where it came from, for the hint that names it.
type key struct {
	source string
	value  string
}

// parseServers reads a list of servers with commas: name, name:port, 1.2.3.4:port, 2001:db8::1
// or [2001:db8::1]:port. Those without a port get the default one.
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
		s := server{host, defaultPort}
		if port != "" {
			n, err := strconv.ParseUint(port[1:], 10, 16)
			if err != nil || n == 0 {
				return nil, failf(classUsage, "port \"%s\" of server \"%s\" is not 1 to 65535", escape(port[1:]), escape(part))
			}
			s.port = uint16(n)
		}
		servers = append(servers, s)
	}
	return servers, nil
}

// A request is what is asked of a server in one session, apart from how it is carried there:
// what to send first, and what to make of each answer.
type request interface {
	reset() // forgets the server that was asked before
	kind() (packetType, version)
	open(remAddr string) (layouter, error) // the first message; starts over when called again
	answer() layouter                      // where the reply to a message is decoded
	// next looks at the answer: the message to go on with, or nil at the end of the session. A
	// message beside an error is sent as a farewell, without waiting for an answer: errFarewell is
	// no more than that. errRestart asks for another session.
	next(ctx context.Context, l *link, res *result) (layouter, error)
	dialogue() bool   // the session may take more than one exchange
	repeatable() bool // it may be asked twice without a difference
}

var (
	errRestart  = errors.New("restart")
	errFarewell = errors.New("farewell")
)

// fitsRequest refuses, before anything is sent, a request with a value that its field cannot hold.
func fitsRequest(q request, who caller) error {
	m, err := q.open(cmp.Or(who.remAddr, longestAddr))
	if err != nil {
		return err
	}
	messages := []layouter{m}
	if a, ok := q.(*authentication); ok {
		messages = append(messages, a.later()...)
	}
	for _, m := range messages {
		if _, err := appendPacket(nil, new(header), m); err != nil {
			return failf(classUsage, "%w", err)
		}
	}
	return nil
}

// ask asks one server after the other until one decides: the next one follows a server that
// failed or answered ERROR, never one that denied (section 4.4), and never one whose reply
// broke the UNENCRYPTED rule, which counts as FAIL (section 10.5.2).
func (c *client) ask(ctx context.Context, res *result, q request) error {
	var err error
	for range c.retries + 1 {
		for _, srv := range c.servers {
			if err != nil {
				c.warn("%v; trying %s", err, srv)
				res.attempt(err)
			}
			if err = c.try(ctx, srv, res, q); err == nil || !failsOver(err) {
				return err
			}
		}
	}
	return err
}

// failsOver says that another server may be asked after the error.
func failsOver(err error) bool {
	var f *failure
	if !errors.As(err, &f) || f.final {
		return false
	}
	return f.class == classNetwork || f.class == classProtocol || f.class == classServer || f.class == classTLS
}

// try asks one server, within one absolute deadline that only a person at a prompt can move.
func (c *client) try(ctx context.Context, srv server, res *result, q request) error {
	l := c.kept
	if l == nil || l.server != srv {
		c.close()
		l = &link{client: c, server: srv}
	}
	c.kept = l
	l.deadline, l.timing = time.Now().Add(c.timeout), &timing{start: time.Now()}
	res.begin(srv.String(), l.timing)
	err := l.carry(ctx, q, res)
	l.used = time.Now()
	l.timing.total = l.used.Sub(l.timing.start)
	if l.conn != nil {
		res.Local = l.local
		res.TLS = l.facts
		if granted := l.established; c.singleConnect {
			res.SingleConnect = &granted
		}
	}
	if err != nil || !c.keep || !l.established {
		c.close()
	}
	if ctx.Err() != nil && err != nil {
		return failf(classInterrupted, "interrupted")
	}
	if err == nil && res.class == classServer {
		return l.answeredError(res)
	}
	return err
}

// answeredError is the failure that an ERROR is, with what the server says of it.
func (l *link) answeredError(res *result) error {
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

// close ends the connection that is kept.
func (c *client) close() {
	if c.kept != nil {
		c.kept.close()
		c.kept = nil
	}
}

// A link is one server and the connection to it for as long as one request takes.
type link struct {
	*client
	server   server
	deadline time.Time
	timing   *timing
	conn     net.Conn
	name     string    // of the server, as people see it
	local    string    // address of conn
	from     string    // rem_addr: what the option says, else where conn comes from
	facts    *tlsFacts // of conn, where it is TLS
	stop     func()    // undoes the watch on the context
	answered bool      // the first reply of this connection was read
	used     time.Time // when the last request on it ended
	// established says that the server agreed to single-connection mode (section 4.3).
	established bool
}

func (l *link) close() {
	if l.conn != nil {
		l.stop()
		l.conn.Close()
		l.conn = nil
	}
}

// pause stops the clock while a person is asked; the function it returns starts it again.
func (l *link) pause() (resume func()) {
	began := time.Now()
	return func() {
		l.deadline = l.deadline.Add(time.Since(began))
		_ = l.conn.SetDeadline(l.deadline)
	}
}

// dial connects, with an eye on ctx from then on.
func (l *link) dial(ctx context.Context) error {
	conn, err := l.connect(ctx)
	if err != nil {
		return err
	}
	l.conn, l.answered, l.established = conn, false, false
	l.name, l.local, l.from = l.server.String(), conn.LocalAddr().String(), l.remAddr
	if a, ok := conn.LocalAddr().(*net.TCPAddr); ok && l.from == "" {
		l.from = a.AddrPort().Addr().Unmap().WithZone("").String()
	}
	_ = conn.SetDeadline(l.deadline)
	// Where it was too late to stop the watch, it is waited for: a farewell sets another deadline.
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)); close(ended) })
	l.stop = sync.OnceFunc(func() {
		if !stop() {
			<-ended
		}
	})
	return nil
}

// idleAfter is how long a connection may be out of use before it is looked at, which takes a
// millisecond.
const idleAfter = 100 * time.Millisecond

// quiet says that a connection without a session is as it should be: open, with nothing to read.
func quiet(conn net.Conn) bool {
	_ = conn.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err := conn.Read(make([]byte, 1))
	return errors.Is(err, os.ErrDeadlineExceeded)
}

// begin starts a session: on a new connection, unless this one is in single-connection mode.
func (l *link) begin(ctx context.Context, q request) (*session, error) {
	if l.conn != nil && (!l.established || !l.used.IsZero() && time.Since(l.used) > idleAfter && !quiet(l.conn)) {
		l.close()
	}
	if l.conn != nil {
		_ = l.conn.SetDeadline(l.deadline)
	} else if err := l.dial(ctx); err != nil {
		return nil, err
	}
	s := &session{link: l}
	l.prepare(s, q)
	var id [4]byte
	rand.Read(id[:]) // never fails
	s.sent.sessionID = binary.BigEndian.Uint32(id[:])
	return s, nil
}

// prepare sets what all packets of a session have in common, except for its id.
func (l *link) prepare(s *session, q request) {
	s.sent.typ, s.sent.version = q.kind()
	if l.clear {
		s.sent.flags |= flagUnencrypted
	}
	if l.singleConnect {
		// On every packet: some servers want it so, and the others ignore it (section 4.3).
		s.sent.flags |= flagSingleConnect
	}
}

// carry takes a request through its session, and through another one where the server asks
// for a restart.
func (l *link) carry(ctx context.Context, q request, res *result) error {
	q.reset()
	for {
		if err := l.session(ctx, q, res); !errors.Is(err, errRestart) {
			return err
		}
	}
}

// session carries a request once. A connection that was in use before may be closed by the
// server at any time; where that meets the request before any octet of an answer, it is asked
// again on a new connection, once, and a record only if none of it was written. Section 4.3.
func (l *link) session(ctx context.Context, q request, res *result) error {
	reused := l.conn != nil && l.established
	s, err := l.begin(ctx, q)
	if err != nil {
		return err
	}
	m, err := q.open(l.from)
	for err == nil && m != nil {
		if err := s.exchange(m, q.answer()); err != nil {
			if reused && s.died && (q.repeatable() || !s.written) {
				l.established = false
				return l.session(ctx, q, res)
			}
			res.forget()
			return err
		}
		if m, err = q.next(ctx, l, res); err != nil && m != nil {
			s.farewell(m)
		}
		if errors.Is(err, errFarewell) {
			return nil
		}
		if err != nil && failsOver(err) {
			res.forget() // what it said before it failed was no verdict
		}
	}
	return err
}

// connect resolves the name and tries its addresses in turn, each with a fair part of the time.
func (l *link) connect(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithDeadline(ctx, l.deadline)
	defer cancel()
	addrs, err := l.resolve(ctx)
	if err != nil {
		return nil, err
	}
	d := net.Dialer{KeepAlive: -1, ControlContext: bindToDevice(l.device)}
	if l.source.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(l.source, 0))
	}
	began := time.Now()
	for i, addr := range addrs {
		part, cancel := context.WithTimeout(ctx, time.Until(l.deadline)/time.Duration(len(addrs)-i))
		var conn net.Conn
		conn, err = d.DialContext(part, "tcp", netip.AddrPortFrom(addr, l.server.port).String())
		cancel()
		if err == nil {
			l.timing.connect = time.Since(began)
			return l.secure(ctx, conn)
		}
	}
	return nil, l.connectFailure(err)
}

// secure is conn itself, or TLS on it.
func (l *link) secure(ctx context.Context, conn net.Conn) (net.Conn, error) {
	if l.tls == nil {
		return conn, nil
	}
	began := time.Now()
	secure, facts, err := l.tls.handshake(ctx, l, conn)
	l.timing.tls = time.Since(began)
	if err == nil {
		l.facts = facts
	}
	return secure, err
}

// resolve gives the addresses of the server that the options allow.
func (l *link) resolve(ctx context.Context) ([]netip.Addr, error) {
	addrs := make([]netip.Addr, 1)
	var err error
	if addrs[0], err = netip.ParseAddr(l.server.host); err != nil {
		began := time.Now()
		addrs, err = net.DefaultResolver.LookupNetIP(ctx, "ip", l.server.host)
		l.timing.resolve = time.Since(began)
	}
	if err != nil {
		return nil, failf(classNetwork, "resolve %s: %w", l.server.host, cause(err)).
			withHint("check the name, or give the server's address")
	}
	var usable []netip.Addr
	for _, a := range addrs {
		a = a.Unmap()
		if l.network == "tcp4" && !a.Is4() || l.network == "tcp6" && a.Is4() {
			continue
		}
		usable = append(usable, a)
	}
	if usable == nil {
		return nil, failf(classNetwork, "%s has no %s address", l.server.host, map[string]string{"tcp4": "IPv4", "tcp6": "IPv6"}[l.network]).
			withHint("-4, -6 and --source restrict the address family")
	}
	return usable, nil
}

// connectFailure explains why there is no connection.
func (l *link) connectFailure(err error) error {
	var timeout interface{ Timeout() bool }
	switch {
	case isErrno(err, syscall.ECONNREFUSED, 10061):
		return failf(classNetwork, "connect to %s: connection refused", l.server).
			withHint("nothing listens there: is it port 49, or 300 for TLS?")
	case errors.As(err, &timeout) && timeout.Timeout():
		return failf(classNetwork, "connect to %s: timed out after %v", l.server, l.timeout).
			withHint("a filter, a route, a wrong address or the wrong VRF (--interface, --source)")
	}
	f := failf(classNetwork, "connect to %s: %w", l.server, cause(err))
	if l.source.IsValid() || l.device != "" {
		return f.withHint("check --source and --interface: the address must be this host's, and of the server's family")
	}
	return f
}

// isClosed says that the other side ended the connection.
func isClosed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || isErrno(err, syscall.ECONNRESET, 10054) ||
		isErrno(err, syscall.EPIPE, 10058) || isErrno(err, syscall.ECONNABORTED, 10053)
}

// isErrno compares with an error number of this system or with its number on Windows, which
// the syscall package does not name; no other system has errors that high.
func isErrno(err error, unix, windows syscall.Errno) bool {
	return errors.Is(err, unix) || errors.Is(err, windows)
}

// cause takes off an error what net and os put around it, since the message says it already.
func cause(err error) error {
	var lookup *net.DNSError
	if errors.As(err, &lookup) {
		return errors.New(lookup.Err)
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	var call *os.SyscallError
	if errors.As(err, &call) {
		err = call.Err
	}
	return err
}

func hostOf(addr net.Addr) string {
	host, _, _ := net.SplitHostPort(addr.String())
	return host
}
