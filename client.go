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
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A client is what is known of the servers and of how to reach them. It does not change, and all
// who ask share it. RFC 8907 sections 4.3 and 4.4.
type client struct {
	servers       []server
	likely        string // to be a server, where USER and HOST stand the wrong way round; empty for nothing
	keys          []key  // the first is used; the others are tried on a reply that it does not fit
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
	asIs          bool                             // what servers say is somebody else's, who gets all of it
	tell          func(format string, args ...any) // gets warnings; nil where nobody wants them
}

func (c *client) warn(format string, args ...any) {
	if c.tell != nil {
		c.tell(format, args...)
	}
}

// A server is a name or an address, and a port.
type server struct {
	host string
	port uint16
	name string     // of both, as people see it
	addr netip.Addr // the only one of the name's that counts; the zero one for all of them
}

func newServer(host string, port uint16) server {
	return server{host: host, port: port, name: net.JoinHostPort(host, strconv.Itoa(int(port)))}
}

func (s server) String() string { return s.name }

// A key is a shared secret and where it came from, for the hint that names it.
type key struct {
	source string
	value  string
}

// A request is what is asked of a server in one session, apart from how it is carried there:
// what to send first, and what to make of each reply.
type request interface {
	reset() // forgets what the server before said
	kind() (packetType, version)
	open(remAddr string) (layouter, error) // the first message; starts over when called again
	later() []layouter                     // the messages that may follow it
	secrets() []string                     // that a server might repeat; none is part of the user's name
	reply() layouter                       // where the reply to a message is decoded
	// next looks at the reply: the message to go on with, or nil at the end of the session. A
	// message beside an error is sent as a farewell, without waiting for a reply: errFarewell is
	// no more than that. errRestart asks for another session.
	next(ctx context.Context, s *session, res *result) (layouter, error)
	dialogue() bool   // the session may take more than one exchange
	repeatable() bool // the server may get it twice without a difference
}

var (
	// A denial as far as the result goes: what the server said stands.
	errRestart  = failf(classDenied, "restart").as(fateRestart)
	errFarewell = errors.New("farewell")
)

// checkFits refuses, before anything is sent, a request with a value that its field cannot hold.
func checkFits(q request, who caller) error {
	m, err := q.open(cmp.Or(who.remAddr, longestAddr))
	if err != nil {
		return err
	}
	for _, m := range append(q.later(), m) {
		if _, err := appendPacket(nil, new(header), m); err != nil {
			return failf(classUsage, "%w", err)
		}
	}
	return nil
}

// A job is a request on its way through the servers, and what came of it.
type job struct {
	request request
	res     result
	err     error     // why there is no verdict, or why it does not do
	due     time.Time // when the request ought to have been sent
	owner   any       // what the job is to the one who made it

	first     int     // the server that is asked first
	misses    int     // attempts that came to nothing
	session   session // of the attempt under way, or of the last one
	forgotten bool    // a connection that had answered others before left it without a reply

	queued       int  // how many writes its mux had made before; after one more it went out
	older, newer *job // in a jobList; a circle
}

// class is how the job ended.
func (j *job) class() class {
	if j.err != nil {
		return classOf(j.err)
	}
	return j.res.class
}

// answer is the status that the server answered with, or nothing where no answer could be read.
func (j *job) answer() string {
	switch j.class() {
	case classGranted, classDenied, classServer:
		return j.res.Status
	}
	return ""
}

// begin makes a new attempt ready: it names the server and counts its time. What follows RESTART,
// or a connection that ended, is the same attempt, and has what is left of the time.
func (c *client) begin(j *job, now time.Time) {
	if j.session.deadline.IsZero() {
		j.session.deadline, j.session.timing = now.Add(c.timeout), timing{start: now}
		j.res.turnTo(c.serverOf(j).name, &j.session.timing)
	}
}

// serverOf is whom the job asks now.
func (c *client) serverOf(j *job) server { return c.servers[(j.first+j.misses)%len(c.servers)] }

// A step is what follows from an attempt.
type step uint8

const (
	stepStop  step = iota // there is nothing more to ask
	stepAnew              // the same server again, in another session, which is not counted
	stepOther             // the next server, or the same in the next round, up to the limit
)

// follows is the one policy of asking again. A server may end a connection that was in use before
// at any time (section 4.3), and some forget a session on it: there the request goes to the same
// server once more, over a new connection, unless it is a record that could be written twice. An
// ERROR, or a server that fails, makes way for the next one; a verdict does not (section 4.4), and
// a reply that broke the UNENCRYPTED rule counts as one (section 10.5.2).
func follows(came fate, repeatable, reused bool) step {
	switch came {
	case fateDecided, fateViolated:
		return stepStop
	case fateRestart:
		return stepAnew
	case fateUnsent:
		if reused {
			return stepAnew
		}
	case fateLost, fateSilent:
		if reused && repeatable {
			return stepAnew
		}
	}
	return stepOther
}

// settle takes note of what came of an attempt, and says whether the job is to be put again.
func (c *client) settle(ctx context.Context, j *job) (again bool) {
	if j.err != nil && ctx.Err() != nil {
		j.err = interrupted(ctx)
	}
	came := fateOf(j.err)
	// Less than a fair time without a reply says nothing about the server.
	j.forgotten = j.forgotten || came == fateSilent && j.session.reused && j.session.deadline.Sub(j.session.began) >= fairTime
	switch follows(came, j.request.repeatable(), j.session.reused) {
	case stepAnew:
		if came == fateSilent {
			j.session.deadline = time.Time{} // it is over
		}
		return true
	case stepOther:
		if j.misses++; j.misses < (c.retries+1)*len(c.servers) {
			c.warn("%v; trying %s", j.err, c.serverOf(j))
			j.res.attempt(j.err)
			j.request.reset()
			j.session.deadline = time.Time{}
			return true
		}
	}
	return false
}

// fairTime is what a server has for a reply at the least, before it is said to have forgotten one.
const fairTime = 100 * time.Millisecond

// An asker puts jobs to the servers, one after the other, and owns the connection that it keeps
// from one to the next.
type asker struct {
	*client
	keep bool  // a connection in single-connection mode, for the next job
	link *link // nil for none
}

// ask puts a job to the servers until one of them decides.
func (a *asker) ask(ctx context.Context, j *job) {
	for more := true; more; more = a.settle(ctx, j) {
		a.begin(j, time.Now())
		a.attempt(ctx, j)
	}
	if !a.keep {
		a.close()
	}
}

// attempt carries a job through one session.
func (a *asker) attempt(ctx context.Context, j *job) {
	if j.err = a.reach(ctx, j); j.err == nil {
		j.session.start(a.link, j.request, newSessionID())
		j.err = j.session.carry(ctx, j.request, &j.res)
	}
	j.conclude(a.link, time.Now())
	if a.link != nil && (!a.link.established || a.link.spent) {
		a.close()
	}
}

// reach gives the attempt a connection: the one that is kept, if it goes to the right server and is
// as it should be, else a new one.
func (a *asker) reach(ctx context.Context, j *job) (err error) {
	srv := a.serverOf(j)
	if a.link != nil && (a.link.server != srv || a.link.stale(time.Now())) {
		a.close()
	}
	if a.link == nil {
		j.res.turnTo(j.res.Server, j.res.Timing) // nothing is left of a session before
		a.link, err = a.dial(ctx, j)
		return err
	}
	_ = a.link.conn.SetDeadline(j.session.deadline)
	return ctx.Err() // which may have set another one before
}

// close ends the connection that is kept.
func (a *asker) close() {
	if a.link != nil {
		a.link.close()
		a.link = nil
	}
}

// conclude takes down how an attempt ended, and what is known of the connection, where there was
// one. What a server said before it failed was no verdict.
func (j *job) conclude(l *link, now time.Time) {
	j.session.timing.total = now.Sub(j.session.timing.start)
	if l == nil {
		return
	}
	l.idleSince = now
	if j.err != nil && classOf(j.err) != classDenied {
		j.res.turnTo(j.res.Server, j.res.Timing)
	}
	j.res.Address, j.res.Local, j.res.Transport, j.res.TLS = l.address, l.local, l.transport(), l.facts
	if l.singleConnect {
		j.res.SingleConnect = &l.established // which does not change any more
	}
	if j.err == nil && j.res.class == classServer {
		j.err = l.answeredError(&j.res)
	}
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

// A link is one connection to a server.
type link struct {
	*client
	server      server
	conn        net.Conn
	address     string    // of the server
	local       string    // of this side
	from        string    // rem_addr: what the option says, else where conn comes from
	facts       *tlsFacts // of conn, where it is TLS
	stop        func()    // undoes the watch on the context
	answered    int       // replies that were read
	established bool      // the server agreed to single-connection mode (section 4.3)
	spent       bool      // there is to be no new session on it
	idleSince   time.Time // when the last session on it ended
}

// dial connects to the server of an attempt, with an eye on ctx from then on. The time of each
// phase goes to the job, as does what is known of a handshake that failed.
func (c *client) dial(ctx context.Context, j *job) (*link, error) {
	l := &link{client: c, server: c.serverOf(j), from: c.remAddr}
	limited, cancel := context.WithDeadline(ctx, j.session.deadline)
	defer cancel()
	conn, err := l.connect(limited, &j.session.timing)
	if err == nil && c.tls != nil {
		began := time.Now()
		j.res.Address, j.res.Local = conn.RemoteAddr().String(), conn.LocalAddr().String()
		conn, l.facts, err = c.tls.handshake(limited, l, conn)
		j.session.timing.tls, j.res.TLS = time.Since(began), l.facts
		if err == nil {
			l.trace.event("TLS handshake done: %s %s", l.facts.Version, l.facts.CipherSuite)
		}
	}
	if err != nil {
		return nil, err
	}
	l.conn, l.address, l.local = conn, conn.RemoteAddr().String(), conn.LocalAddr().String()
	if a, ok := conn.LocalAddr().(*net.TCPAddr); ok && l.from == "" {
		l.from = a.AddrPort().Addr().Unmap().WithZone("").String()
	}
	_ = conn.SetDeadline(j.session.deadline)
	// Where it was too late to stop the watch, it is waited for: a farewell sets another deadline.
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)); close(ended) })
	l.stop = sync.OnceFunc(func() {
		if !stop() {
			<-ended
		}
	})
	return l, nil
}

func (l *link) close() {
	l.stop()
	l.conn.Close()
}

// idleAfter is how long a connection may be out of use before it is looked at, which takes a
// millisecond.
const idleAfter = 100 * time.Millisecond

// stale says that the server did something to the connection since the last session: it is closed,
// or there is something to read.
func (l *link) stale(now time.Time) bool {
	if now.Sub(l.idleSince) < idleAfter {
		return false
	}
	_ = l.conn.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err := l.conn.Read(make([]byte, 1))
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

// connect resolves the name and tries its addresses in turn, each with a fair part of the time
// that ctx has.
func (l *link) connect(ctx context.Context, took *timing) (net.Conn, error) {
	addrs, err := l.resolve(ctx, took)
	if err != nil {
		return nil, err
	}
	if took.resolve > 0 {
		l.trace.event("resolved: %v", addrs)
	}
	d := net.Dialer{KeepAlive: -1, ControlContext: bindToDevice(l.device)}
	if l.source.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(l.source, 0))
	}
	deadline, _ := ctx.Deadline()
	began := time.Now()
	for i, addr := range addrs {
		l.trace.event("connecting to %s", netip.AddrPortFrom(addr, l.server.port))
		part, cancel := context.WithTimeout(ctx, time.Until(deadline)/time.Duration(len(addrs)-i))
		var conn net.Conn
		conn, err = d.DialContext(part, "tcp", netip.AddrPortFrom(addr, l.server.port).String())
		cancel()
		if err == nil {
			took.connect = time.Since(began)
			l.trace.event("connected from %s", conn.LocalAddr())
			return conn, nil
		}
		l.trace.event("not connected: %v", cause(err))
	}
	return nil, l.orSwapped(l.connectFailure(addrs, err))
}

// orSwapped adds the hint to the failure of a name that there may be no such server, since USER and HOST
// stand the wrong way round.
func (l *link) orSwapped(f *failure) error {
	if l.likely == "" || isAddr(l.server.host) {
		return f
	}
	return f.withHint("USER comes before HOST: is %s the server?", escape(l.likely))
}

// resolve gives the addresses of the server that the options allow.
func (l *link) resolve(ctx context.Context, took *timing) ([]netip.Addr, error) {
	if l.server.addr.IsValid() {
		return []netip.Addr{l.server.addr}, nil
	}
	addrs := make([]netip.Addr, 1)
	var err error
	if addrs[0], err = netip.ParseAddr(l.server.host); err != nil {
		began := time.Now()
		l.trace.event("resolving %s", l.server.host)
		addrs, err = net.DefaultResolver.LookupNetIP(ctx, "ip", l.server.host)
		took.resolve = time.Since(began)
	}
	if err != nil {
		l.trace.event("not resolved: %v", cause(err))
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
func (l *link) connectFailure(addrs []netip.Addr, err error) *failure {
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
