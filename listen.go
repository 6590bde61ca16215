package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A listener accepts the clients of serve or relay, within its limits.
type listener struct {
	log       *sessionLog
	dump      *dumper
	maxBody   int // bytes of the largest body that is read
	listeners []listeningSocket
	inherited []net.Listener // not yet among listeners
	proxies   []netip.Prefix // addresses whose connections begin with a PROXY header
	headers   atomic.Int64   // of PROXY that are being read
	limits    listenerLimits

	mu   sync.Mutex
	open []*acceptedConn    // the oldest first
	held map[netip.Addr]int // open connections of each limitKey
}

// A listeningSocket is one of the addresses of a listener.
type listeningSocket struct {
	net.Listener
	tls  *tls.Config // nil: without TLS
	loop *acceptLoop // nil without a watchdog
}

// listenerLimits are what an operator can change.
type listenerLimits struct {
	connections, perAddress int
	drain                   time.Duration // for pending replies at the end
}

// Limits of connections, and of the end of the program.
const (
	maxConnections   = 1024
	maxPerAddress    = 768
	maxDialogues     = 1024 // of one connection, waiting for a CONTINUE
	idleTimeout      = 60 * time.Second
	handshakeTimeout = 10 * time.Second
	firstTimeout     = 10 * time.Second // for the whole first packet
	shutdownTimeout  = 4 * time.Second  // for pending replies
	linesTimeout     = 2 * time.Second  // for the last lines
	maxGathered      = 16 << 10         // bytes of packets that are written together
)

func newListener() *listener {
	return &listener{maxBody: maxBody, limits: listenerLimits{maxConnections, maxPerAddress, shutdownTimeout}, held: make(map[netip.Addr]int)}
}

// listen opens the addresses, with TLS if there is a configuration for it.
func (l *listener) listen(addrs []string, config *tls.Config) error {
	noKeepAlive := net.ListenConfig{KeepAlive: -1} // idle connections time out anyway; this saves four system calls each
	for _, addr := range addrs {
		inner := l.takeInherited(addr)
		if inner == nil {
			var err error
			if inner, err = noKeepAlive.Listen(context.Background(), "tcp", addr); err != nil {
				return failf(classNetwork, "listen on %s: %w", escape(addr), cause(err))
			}
		}
		l.listeners = append(l.listeners, listeningSocket{Listener: inner, tls: config})
	}
	return nil
}

// inherit takes over the sockets that systemd has opened, and appends their addresses to those to listen on: one that is
// named tls to secure, others to clear. A nil list refuses its kind.
func (l *listener) inherit(sockets []*os.File, clear, secure *[]string) error {
	for _, file := range sockets {
		inner, err := net.FileListener(file)
		if err != nil {
			return failf(classUsage, "inherited socket %s: %w", escape(file.Name()), cause(err))
		}
		if !isListening(file) {
			return failf(classUsage, "inherited socket %s does not listen", escape(file.Name())).withHint("set Accept=no in the socket unit")
		}
		file.Close() // inner has a copy
		l.inherited = append(l.inherited, inner)
		if _, ok := inner.(*net.TCPListener); !ok {
			return failf(classUsage, "inherited socket %s is not a TCP socket", escape(file.Name()))
		}
		addrs, kind, start := clear, "without TLS", "without"
		if file.Name() == "tls" {
			addrs, kind, start = secure, "for TLS", "with"
		}
		if addrs == nil {
			return failf(classUsage, "inherited socket %s is %s", escape(file.Name()), kind).
				withHint(fmt.Sprintf("run serve %s --tls, or set FileDescriptorName in the socket unit", start))
		}
		*addrs = append(*addrs, inner.Addr().String())
	}
	return nil
}

// takeInherited returns the inherited socket of an address, or nil.
func (l *listener) takeInherited(addr string) net.Listener {
	i := slices.IndexFunc(l.inherited, func(inner net.Listener) bool { return inner.Addr().String() == addr })
	if i < 0 {
		return nil
	}
	inner := l.inherited[i]
	l.inherited = slices.Delete(l.inherited, i, i+1)
	return inner
}

func (l *listener) close() {
	for _, inner := range l.listeners {
		inner.Close()
	}
}

// connections returns the number of open connections.
func (l *listener) connections() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.open)
}

// checkListen checks that all addresses of an option have the form ADDRESS:PORT.
func checkListen(option string, addrs []string) error {
	for _, addr := range addrs {
		_, port, err := net.SplitHostPort(addr)
		if err == nil {
			_, err = net.LookupPort("tcp", port)
		}
		if err != nil || port == "" {
			return failf(classUsage, "--%s \"%s\" is not ADDRESS:PORT", option, escape(addr))
		}
	}
	return nil
}

// offLoopback returns the first of the addresses that other hosts can reach, or "".
func offLoopback(addrs []string) string {
	for _, addr := range addrs {
		host, _, _ := net.SplitHostPort(addr)
		if a, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !a.IsLoopback()) {
			return addr
		}
	}
	return ""
}

// serveUntil calls serve with each connection until ctx ends, then waits for pending replies. last writes the last lines.
func (l *listener) serveUntil(ctx context.Context, serve func(context.Context, net.Conn), last func() error) error {
	var all sync.WaitGroup
	for _, inner := range l.listeners {
		all.Go(func() { l.accept(ctx, inner, &all, serve) })
	}
	<-ctx.Done()
	l.close()
	within(l.limits.drain, all.Wait)
	return last()
}

// accept starts a goroutine for each connection, within the limits.
func (l *listener) accept(ctx context.Context, socket listeningSocket, all *sync.WaitGroup, serve func(context.Context, net.Conn)) {
	for {
		conn, err := socket.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if socket.loop.wokeUp(socket.Listener, err, &l.mu) {
			continue
		}
		if err != nil { // most likely there are no more file descriptors
			l.cutLargest()
			time.Sleep(10 * time.Millisecond)
			continue
		}
		all.Go(func() {
			a := &acceptedConn{Conn: conn, client: conn.RemoteAddr()}
			err := l.readProxyHeader(a)
			if err == nil {
				err = l.admit(a)
			}
			if err != nil {
				if err != io.EOF { // of a health check
					l.log.note(addrPortOf(a.client), "refused: "+err.Error())
				}
				conn.Close()
				return
			}
			defer l.release(a)
			if socket.tls != nil {
				serve(ctx, tls.Server(a, socket.tls))
			} else {
				serve(ctx, a)
			}
		})
	}
}

// An inboundConn is one client's connection.
type inboundConn struct {
	listener  *listener
	log       *sessionLog
	dump      *dumper
	conn      net.Conn
	accepted  *acceptedConn  // below conn
	addr      netip.AddrPort // of the client
	name      string         // of the client's certificate
	keys      []key          // candidates for the client's key
	key       key            // one of them; the zero value over TLS
	single    bool           // single-connection mode (RFC 8907 section 4.3)
	cleartext bool           // over TLS packets are not obfuscated
	in        *bufio.Reader
	packet    []byte // memory for the next one
	idle      time.Duration
	sawPacket bool
	readsOnly bool        // deadlines for writes are set elsewhere
	stopped   atomic.Bool // no more is read

	deadlineSet time.Time // when the deadlines were set last
}

// newInboundConn finds the keys of a client and does the TLS handshake. It returns nil if the client is refused. buffer is
// the size of the read buffer in bytes.
func (l *listener) newInboundConn(ctx context.Context, conn net.Conn, keys clientKeys, cleartext bool, buffer int) *inboundConn {
	c := &inboundConn{listener: l, log: l.log, dump: l.dump, conn: conn, addr: addrPortOf(conn.RemoteAddr()), cleartext: cleartext, idle: idleTimeout}
	if c.keys = keys.of(c.addr.Addr()); c.keys == nil && !cleartext {
		c.note("refused: no key for this address")
		return nil
	}
	if len(c.keys) > 0 {
		c.key = c.keys[0]
	}
	c.accepted, _ = conn.(*acceptedConn)
	if secure, ok := conn.(*tls.Conn); ok {
		c.accepted, _ = secure.NetConn().(*acceptedConn)
		conn.SetDeadline(time.Now().Add(handshakeTimeout))
		if err := secure.HandshakeContext(ctx); err != nil {
			if !errors.Is(err, net.ErrClosed) { // cut off
				c.note("TLS: " + handshakeFault(err))
			}
			return nil
		}
		state := secure.ConnectionState()
		c.name = clientName(&state)
	}
	if c.accepted == nil { // no connection of serveUntil
		c.accepted = new(acceptedConn)
	}
	c.in = bufio.NewReaderSize(conn, buffer)
	return c
}

// initTracker sets up t, which is zero, for a session of the client.
func (c *inboundConn) initTracker(t *sessionTracker) {
	t.peer, t.proxy, t.certificate, t.protection = c.addr, c.accepted.proxy, c.name, protectionOf(0, c.cleartext)
	t.key, t.sharedKey = c.key.source, c.key.value
}

// note logs what is wrong with the connection.
func (c *inboundConn) note(problem string) { c.log.note(c.addr, problem) }

// stopReading ends the connection for reading: extendDeadline does not undo it.
func (c *inboundConn) stopReading() {
	c.stopped.Store(true)
	_ = c.conn.SetReadDeadline(time.Unix(1, 0))
}

// onPacket reports whether a packet is the first one, and ends the time limit for that.
func (c *inboundConn) onPacket() (first bool) {
	if first = !c.sawPacket; first {
		c.sawPacket, c.deadlineSet = true, time.Time{}
	}
	return first
}

// prove records whether a message that was decoded fits the key. Until then the connection is among the first to be cut
// off when there are too many.
func (c *inboundConn) prove(h *header, m message) {
	if c.accepted.proven || !provesKey(h, m) {
		return
	}
	c.listener.mu.Lock()
	c.accepted.proven = true
	c.listener.mu.Unlock()
}

// provesKey reports whether a message begins a session and has only values that RFC 8907 defines. A wrong key gives
// lengths that add up in one of 400 packets, but hardly ever such values too.
func provesKey(h *header, m message) bool {
	if h.seqNo != 1 {
		return false
	}
	switch m := m.(type) {
	case *authenStart:
		return authenActionNames.has(uint8(m.action)) && m.typ <= authenMSCHAPv2 && m.undefined() == ""
	case *authorRequest:
		return wrongFields(m.method, &m.commonFields, minorDefault) == ""
	case *acctRequest:
		return wrongFields(m.method, &m.commonFields, minorDefault) == "" && acctFlagNames.has(uint8(m.flags.kind()))
	}
	return false
}

// readTimeout is how long the next packet may take.
func (c *inboundConn) readTimeout() time.Duration { return choose(c.sawPacket, c.idle, firstTimeout) }

// extendDeadline moves the deadlines of the connection, and reports whether reading goes on. It does so at most once a
// second, since setting a deadline costs more than a login.
func (c *inboundConn) extendDeadline() bool {
	if now := time.Now(); now.Sub(c.deadlineSet) > time.Second {
		limit := c.readTimeout()
		c.deadlineSet = now
		if c.readsOnly {
			_ = c.conn.SetReadDeadline(now.Add(limit))
		} else {
			_ = c.conn.SetDeadline(now.Add(limit))
		}
		if c.stopped.Load() { // in the meantime
			c.stopReading()
		}
	}
	return !c.stopped.Load()
}

// receive reads one packet, which is valid until the next one. It is still obfuscated. ok is false at the end of the
// connection, and for a packet that must not be read.
func (c *inboundConn) receive() (h header, packet []byte, ok bool) {
	head, err := c.in.Peek(headerLen)
	if err != nil {
		c.noteEnd(err, len(head) > 0)
		return h, nil, false
	}
	h = parseHeader(head)
	if h.version.major() != majorVersion {
		c.note("not TACACS+: " + firstBytes(head))
		return h, nil, false
	}
	if limit := c.listener.maxBody; int64(h.length) > int64(limit) {
		c.dumpHeader("received from", &h)
		c.note(fmt.Sprintf("body is %d bytes, the limit is %d", h.length, limit))
		return h, nil, false
	}
	size := headerLen + int(h.length)
	if cap(c.packet) > c.in.Size() {
		c.packet = nil
	}
	packet = slices.Grow(c.packet[:0], size)[:size]
	c.packet = packet
	if _, err = io.ReadFull(c.in, packet); err != nil {
		c.noteEnd(err, true)
	}
	return h, packet, err == nil
}

// noteEnd logs why a packet is missing, or the rest of one that has begun. The end of an idle connection is not logged, and
// neither is the end by this program.
func (c *inboundConn) noteEnd(err error, begun bool) {
	switch timedOut := errors.Is(err, os.ErrDeadlineExceeded); {
	case c.stopped.Load() || errors.Is(err, net.ErrClosed) || !begun && (c.sawPacket || !timedOut):
	case timedOut:
		c.note(fmt.Sprintf("no whole packet within %v", c.readTimeout()))
	default:
		c.note("closed in the middle of a packet")
	}
}

// dumpHeader prints the header of a packet whose body is not read, for -d.
func (c *inboundConn) dumpHeader(what string, h *header) { c.dump.packet(what, c.addr, h, nil, nil) }
