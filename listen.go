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
	"slices"
	"strings"
	"sync"
	"time"
)

// A gate lets clients in, for serve and for relay: it listens, and takes as many connections as there are
// places.
type gate struct {
	log       *sessionLog
	trace     *tracer
	slots     chan struct{} // one for each connection that may be open
	listeners []net.Listener

	places sync.Mutex
	open   map[netip.Addr]int // connections of each client, as holderOf names it
}

// What one client may cost.
const (
	maxConnections   = 1024
	maxOfOneAddress  = maxConnections / 4 * 3
	idleTimeout      = 60 * time.Second
	handshakeTimeout = 10 * time.Second
	firstTimeout     = 10 * time.Second       // for the first packet, all of it
	shutdownTimeout  = 4 * time.Second        // for the replies under way
	linesTimeout     = 500 * time.Millisecond // for the last lines
	noticeTimeout    = 200 * time.Millisecond // for saying that nobody reads them
	maxGathered      = 16 << 10               // octets of packets that are written together
	keptBody         = 16 << 10               // octets of memory that a connection keeps for the next packet
)

func newGate() *gate {
	return &gate{slots: make(chan struct{}, maxConnections), open: make(map[netip.Addr]int)}
}

// listen opens the addresses, over TLS where there is a configuration.
func (g *gate) listen(addrs []string, config *tls.Config) error {
	quiet := net.ListenConfig{KeepAlive: -1} // idle connections end, and four system calls are a part of a login
	for _, addr := range addrs {
		l, err := quiet.Listen(context.Background(), "tcp", addr)
		if err != nil {
			return failf(classNetwork, "listen on %s: %w", escape(addr), cause(err))
		}
		if config != nil {
			l = tls.NewListener(l, config)
		}
		g.listeners = append(g.listeners, l)
	}
	return nil
}

// shut closes the listeners.
func (g *gate) shut() {
	for _, l := range g.listeners {
		l.Close()
	}
}

// checkListen refuses what is no address and port to listen on.
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

// offLoopback is the first of the addresses to listen on that others than this host can reach.
func offLoopback(addrs []string) string {
	for _, addr := range addrs {
		host, _, _ := net.SplitHostPort(addr)
		if a, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !a.IsLoopback()) {
			return addr
		}
	}
	return ""
}

// run hands each connection to serve, until ctx ends, then lets what is under way finish. last writes the
// last lines.
func (g *gate) run(ctx context.Context, inv *invocation, serve func(context.Context, net.Conn), last func() error) error {
	var all sync.WaitGroup
	for _, l := range g.listeners {
		all.Go(func() { g.accept(ctx, l, &all, serve) })
	}
	<-ctx.Done()
	g.shut()
	return g.drain(inv, &all, last)
}

// drain lets the replies under way finish, then writes the last lines. It takes under five seconds also
// where connections do not end, or nobody reads what is written: what has been acknowledged is written
// before that.
func (g *gate) drain(inv *invocation, all *sync.WaitGroup, last func() error) error {
	flushed := make(chan error, 2)
	go func() { all.Wait(); flushed <- last() }()
	late := time.AfterFunc(shutdownTimeout, func() { flushed <- last() })
	defer late.Stop()
	select {
	case err := <-flushed:
		return err
	case <-time.After(shutdownTimeout + linesTimeout + noticeTimeout):
		go inv.say("lines of sessions were not written: nobody reads standard output")
		time.Sleep(noticeTimeout) // standard error may be the same pipe
		return nil
	}
}

// accept takes connections, each for a goroutine of its own, up to the limit.
func (g *gate) accept(ctx context.Context, l net.Listener, all *sync.WaitGroup, serve func(context.Context, net.Conn)) {
	for {
		conn, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			time.Sleep(10 * time.Millisecond) // out of file descriptors, most likely
			continue
		}
		addr := addrPortOf(conn.RemoteAddr())
		if refused := g.enter(addr.Addr()); refused != "" {
			g.log.note(addr, "refused: "+refused)
			conn.Close()
			continue
		}
		all.Go(func() {
			serve(ctx, conn)
			g.leave(addr.Addr())
		})
	}
}

// enter takes a place for a connection of a client, or says why there is none: no address may take all
// of them.
func (g *gate) enter(client netip.Addr) (refused string) {
	g.places.Lock()
	defer g.places.Unlock()
	client = holderOf(client)
	if g.open[client] >= maxOfOneAddress {
		return "too many connections of this address"
	}
	select {
	case g.slots <- struct{}{}:
		g.open[client]++
		return ""
	default:
		return "too many connections"
	}
}

// leave gives the place back.
func (g *gate) leave(client netip.Addr) {
	g.places.Lock()
	defer g.places.Unlock()
	client = holderOf(client)
	if g.open[client]--; g.open[client] == 0 {
		delete(g.open, client)
	}
	<-g.slots
}

// holderOf is whom a place is counted for: an address, or the /64 of one of IPv6, in which one host can
// have as many as it likes.
func holderOf(client netip.Addr) netip.Addr {
	if client.Is4() || client.IsLinkLocalUnicast() {
		return client
	}
	network, _ := client.Prefix(64)
	return network.Addr()
}

// A guest is one client's connection.
type guest struct {
	log   *sessionLog
	trace *tracer
	conn  net.Conn
	addr  netip.AddrPort // where conn comes from
	keys  []key          // of that client: the first, or one of the others
	bare  bool           // packets come without obfuscation: TLS
	in    *bufio.Reader
	begun bool      // the first packet was read
	waits time.Time // since when the deadlines are counted
	idle  time.Duration
}

// welcome makes a guest of a connection: it has its keys, and its handshake where it is TLS. It is nil
// where the client is refused.
func (g *gate) welcome(ctx context.Context, conn net.Conn, keys clientKeys, bare bool, buffer int) *guest {
	c := &guest{log: g.log, trace: g.trace, conn: conn, addr: addrPortOf(conn.RemoteAddr()), bare: bare, idle: idleTimeout}
	if c.keys = keys.of(c.addr.Addr()); c.keys == nil && !bare {
		c.log.note(c.addr, "refused: no key is for this address")
		return nil
	}
	if secure, ok := conn.(*tls.Conn); ok {
		conn.SetDeadline(time.Now().Add(handshakeTimeout))
		if err := secure.HandshakeContext(ctx); err != nil {
			c.log.note(c.addr, "TLS: "+handshakeFault(err))
			return nil
		}
	}
	c.in = bufio.NewReaderSize(conn, buffer)
	return c
}

// stillHere moves the deadlines of the connection, at most once a second: that costs more than
// a login does.
func (c *guest) stillHere() {
	if now := time.Now(); now.Sub(c.waits) > time.Second {
		c.waits = now
		limit := c.idle
		if !c.begun {
			limit = firstTimeout
		}
		c.conn.SetDeadline(now.Add(limit))
	}
}

// receive reads one packet and appends it to dst, its body as it is on the wire; false where there is
// none, or one that must not be read.
func (c *guest) receive(dst []byte) (h header, packets []byte, ok bool) {
	head, err := c.in.Peek(headerLen)
	if err != nil {
		if len(head) > 0 {
			c.log.note(c.addr, "ended in the middle of a packet")
		}
		return h, dst, false
	}
	h = parseHeader(head)
	if h.version.major() != majorVersion {
		c.log.note(c.addr, fmt.Sprintf("not TACACS+: the first octet is 0x%02x", head[0]))
		return h, dst, false
	}
	if h.length > maxBody {
		c.log.note(c.addr, fmt.Sprintf("a body of %d octets, the limit is %d", h.length, maxBody))
		return h, dst, false
	}
	if packets, _, err = appendNext(dst, c.in, &h); err != nil {
		c.log.note(c.addr, "ended in the middle of a packet")
		return h, dst, false
	}
	return h, packets, true
}

// appendNext appends the next packet of in to dst, of which h is the header. n is how many octets came.
func appendNext(dst []byte, in *bufio.Reader, h *header) (packets []byte, n int, err error) {
	size := headerLen + int(h.length)
	packets = slices.Grow(dst, size)[:len(dst)+size]
	n, err = io.ReadFull(in, packets[len(dst):])
	return packets, n, err
}

// judge says what is wrong with the header of a client's packet, or nothing. Of answers a client gets
// what RFC 8907 has: to a type that nobody knows the header, to a flag that does not fit an ERROR.
func judge(h *header, bare bool) (wrong string, then refusal) {
	switch {
	case h.seqNo > lastSeqNo:
		return "the sequence numbers of a session are used up", refuseSilent
	case h.seqNo%2 == 0: // so it is none to answer (section 4.1)
		return fmt.Sprintf("seq_no %d is even, as only a server's is", h.seqNo), refuseSilent
	case h.typ < typeAuthen || h.typ > typeAcct:
		return fmt.Sprintf("a packet of type %s", h.typ), refuseHeader
	case bare != (h.flags&flagUnencrypted != 0):
		// Section 10.5.2, and over TLS RFC 9887 section 4: the flag must fit, always.
		return "the UNENCRYPTED flag does not fit the transport", refuseError
	}
	return "", refuseSilent
}

// A refusal is how a client is told that its packet is of no use.
type refusal uint8

const (
	refuseSilent refusal = iota
	refuseHeader         // RFC 8907 section 3.6: the identical header, but for the next number, and no body
	refuseError          // an ERROR of the packet's type
)

// appendHeader appends the header that answers h where a type is not known.
func appendHeader(dst []byte, h header) []byte {
	h.seqNo, h.length = h.seqNo+1, 0
	head := codec{buf: dst}
	h.layout(&head)
	return head.buf
}

// malformed says what a packet is whose body does not decode.
func (c *guest) malformed(err error) string {
	if c.bare {
		return "a malformed packet: " + err.Error()
	}
	return "a packet that does not fit the key: " + err.Error()
}

// errorReply is the ERROR of one packet type.
func errorReply(typ packetType, msg string) layouter {
	switch typ {
	case typeAuthen:
		return &authenReply{status: authenError, serverMsg: msg}
	case typeAuthor:
		return &authorResponse{status: authorError, serverMsg: msg}
	}
	return &acctReply{status: acctError, serverMsg: msg}
}

// serverTLS is the configuration of a server: TLS 1.3 only, and with a file of authorities a
// client's certificate is required.
func serverTLS(pair []tls.Certificate, clientCA string) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS13, Certificates: pair}
	if clientCA != "" {
		pool, err := readCertPool(clientCA)
		if err != nil {
			return nil, err
		}
		config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, pool
	}
	return config, nil
}

// handshakeFault is why a handshake came to nothing. A device that was not told of TLS is named as
// what it is, and one whose certificate is refused by that.
func handshakeFault(err error) string {
	var refused *tls.CertificateVerificationError
	if errors.As(err, &refused) {
		cert := refused.UnverifiedCertificates[0]
		return fmt.Sprintf("the certificate of %s (%s) is refused: %v", cert.Subject, strings.Join(certNames(cert), ", "), refused.Err)
	}
	var record tls.RecordHeaderError
	if errors.As(err, &record) && version(record.RecordHeader[0]).major() == majorVersion {
		return "a TACACS+ packet in clear, without TLS"
	}
	return cause(err).Error()
}
