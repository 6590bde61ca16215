package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A listener accepts the clients of serve or relay, within its limits.
type listener struct {
	log       *sessionLog
	dump      *dumper
	maxBody   int // bytes of the largest body that is read
	listeners []net.Listener

	unproven, proven *share // of connections, before and after a packet that fits the key

	mu   sync.Mutex
	open map[net.Conn]*share // the share of each connection
}

// Limits of connections, and of the end of the program.
const (
	maxConnections   = 1024 // of each share
	maxDialogues     = 1024 // of one connection, waiting for a CONTINUE
	idleTimeout      = 60 * time.Second
	handshakeTimeout = 10 * time.Second
	firstTimeout     = 10 * time.Second       // for the whole first packet
	shutdownTimeout  = 4 * time.Second        // for pending replies
	linesTimeout     = 500 * time.Millisecond // for the last lines
	maxGathered      = 16 << 10               // bytes of packets that are written together
)

func newListener() *listener {
	return &listener{maxBody: maxBody, unproven: newShare(maxConnections, "connections"), proven: newShare(maxConnections, "connections"), open: make(map[net.Conn]*share)}
}

// listen opens the addresses, with TLS if there is a configuration for it.
func (l *listener) listen(addrs []string, config *tls.Config) error {
	noKeepAlive := net.ListenConfig{KeepAlive: -1} // idle connections time out anyway; this saves four system calls each
	for _, addr := range addrs {
		inner, err := noKeepAlive.Listen(context.Background(), "tcp", addr)
		if err != nil {
			return failf(classNetwork, "listen on %s: %w", escape(addr), cause(err))
		}
		if config != nil {
			inner = tls.NewListener(inner, config)
		}
		l.listeners = append(l.listeners, inner)
	}
	return nil
}

func (l *listener) close() {
	for _, inner := range l.listeners {
		inner.Close()
	}
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
	return drain(&all, last)
}

// drain waits up to shutdownTimeout for pending replies, then writes the last lines.
func drain(all *sync.WaitGroup, last func() error) error {
	ended := make(chan struct{})
	go func() { all.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(shutdownTimeout):
	}
	return last()
}

// accept starts a goroutine for each connection, within the limits.
func (l *listener) accept(ctx context.Context, inner net.Listener, all *sync.WaitGroup, serve func(context.Context, net.Conn)) {
	for {
		conn, err := inner.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			time.Sleep(10 * time.Millisecond) // most likely there are no more file descriptors
			continue
		}
		addr := addrPortOf(conn.RemoteAddr())
		if refused := l.admit(conn, addr.Addr()); refused != "" {
			l.log.note(addr, "refused: "+refused)
			conn.Close()
			continue
		}
		all.Go(func() {
			serve(ctx, conn)
			l.release(conn, addr.Addr())
		})
	}
}

// An inboundConn is one client's connection.
type inboundConn struct {
	listener  *listener
	log       *sessionLog
	dump      *dumper
	conn      net.Conn
	addr      netip.AddrPort // of the client
	keys      []key          // candidates for the client's key
	proven    bool           // a packet fit the key
	cleartext bool           // over TLS packets are not obfuscated
	in        *bufio.Reader
	idle      time.Duration
	sawPacket bool
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
	if secure, ok := conn.(*tls.Conn); ok {
		conn.SetDeadline(time.Now().Add(handshakeTimeout))
		if err := secure.HandshakeContext(ctx); err != nil {
			c.note("TLS: " + handshakeFault(err))
			return nil
		}
	}
	c.in = bufio.NewReaderSize(conn, buffer)
	return c
}

// newTracker returns a tracker for a session of the client, which uses the key.
func (c *inboundConn) newTracker(k key) sessionTracker {
	return sessionTracker{sessionRecord: sessionRecord{peer: c.addr, key: k.source, protection: protectionOf(0, c.cleartext)}}
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

// prove counts the connection among the proven ones if a message that was decoded fits the key. It returns why the
// connection is refused, or "".
func (c *inboundConn) prove(h *header, m message) (refused string) {
	if c.proven || !provesKey(h, m) {
		return ""
	}
	if refused = c.listener.promote(c.conn, c.addr.Addr()); refused == "" {
		c.proven = true
	}
	return refused
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

// extendDeadline moves the deadlines of the connection, and reports whether reading goes on. It does so at most once a
// second, since setting a deadline costs more than a login.
func (c *inboundConn) extendDeadline() bool {
	if now := time.Now(); now.Sub(c.deadlineSet) > time.Second {
		limit := c.idle
		if !c.sawPacket {
			limit = firstTimeout
		}
		c.deadlineSet = now
		c.setDeadline(now.Add(limit))
	}
	return !c.stopped.Load()
}

// setDeadline sets the deadlines. After stopReading it sets only that for writing.
func (c *inboundConn) setDeadline(t time.Time) {
	_ = c.conn.SetDeadline(t)
	if c.stopped.Load() {
		_ = c.conn.SetReadDeadline(time.Unix(1, 0))
	}
}

// receive reads one packet and appends it to dst, still obfuscated. ok is false at the end of the connection, and for a
// packet that must not be read.
func (c *inboundConn) receive(dst []byte) (h header, packets []byte, ok bool) {
	head, err := c.in.Peek(headerLen)
	if err != nil {
		if len(head) > 0 {
			c.note("closed in the middle of a packet")
		}
		return h, dst, false
	}
	h = parseHeader(head)
	if h.version.major() != majorVersion {
		c.note(fmt.Sprintf("not TACACS+: the first byte is 0x%02x", head[0]))
		return h, dst, false
	}
	if limit := c.listener.maxBody; int64(h.length) > int64(limit) {
		c.note(fmt.Sprintf("body is %d bytes, the limit is %d", h.length, limit))
		return h, dst, false
	}
	if packets, _, err = appendNext(dst, c.in, &h); err != nil {
		c.note("closed in the middle of a packet")
		return h, dst, false
	}
	return h, packets, true
}

// checkHeader returns what is wrong with the header of a client's packet, or "", and the reply that RFC 8907 requires.
func checkHeader(h *header, cleartext bool) (wrong string, then rejection) {
	switch {
	case h.seqNo > lastSeqNo:
		return "sequence numbers exhausted", rejectSilently
	case h.seqNo%2 == 0: // only a server's is even (section 4.1)
		return wrongParity(h.seqNo), rejectSilently
	case h.typ < typeAuthen || h.typ > typeAcct:
		return fmt.Sprintf("unknown packet type %s", h.typ), rejectWithHeader
	case cleartext != (h.flags&flagUnencrypted != 0):
		if cleartext { // RFC 9887 section 4
			return "no UNENCRYPTED flag over TLS", rejectWithError
		}
		return "UNENCRYPTED flag without TLS", rejectWithError // RFC 8907 section 10.5.2
	}
	return "", rejectSilently
}

// A rejection is the reply to a packet that is refused.
type rejection uint8

const (
	rejectSilently   rejection = iota
	rejectWithHeader           // the header with the next seq_no and without a body (RFC 8907 section 3.6)
	rejectWithError            // an ERROR of the packet's type
)

// malformed describes a packet whose body cannot be decoded.
func (c *inboundConn) malformed(err error) string {
	if c.cleartext || c.proven {
		return "malformed packet: " + err.Error()
	}
	return "packet cannot be read with this key: " + err.Error()
}

// clientKeys are the keys of clients by the prefix of their addresses. The zero prefix is for all clients. A client with
// several keys uses one of them.
type clientKeys map[netip.Prefix][]key

// of returns the keys of the longest prefix that contains the client's address, or nil.
func (k clientKeys) of(client netip.Addr) []key {
	for bits := client.BitLen(); bits >= 0; bits-- {
		prefix, _ := client.Prefix(bits)
		if keys := k[prefix]; keys != nil {
			return keys
		}
	}
	return k[netip.Prefix{}]
}

// cutPrefixes removes PREFIX= from each key file of an option and returns the prefixes: zero for a file without one.
func cutPrefixes(option string, files []string) ([]netip.Prefix, error) {
	prefixes := make([]netip.Prefix, len(files))
	for i, value := range files {
		before, file, found := cutPrefix(value)
		if !found {
			continue
		}
		prefix, err := parsePrefix(before)
		if err != nil {
			return nil, failf(classUsage, "\"%s\" of %s %w", escape(before), option, err).
				withHint("write %s 192.0.2.0/24=FILE for the key of these clients", option)
		}
		prefixes[i], files[i] = prefix, file
	}
	return prefixes, nil
}

// byPrefix returns each key under its prefix. Keys after the last prefix come from no file and are for all clients. A
// client has at most limit keys.
func byPrefix(keys []key, prefixes []netip.Prefix, limit int) (clientKeys, error) {
	of := make(clientKeys)
	prefixes = append(prefixes, netip.Prefix{})
	for i, k := range keys {
		what := "the key"
		if prefixes[i].IsValid() {
			what += " for " + prefixes[i].String()
		}
		if len(of[prefixes[i]]) >= limit {
			return nil, failf(classUsage, "%s is given more than once", what)
		}
		of[prefixes[i]] = append(of[prefixes[i]], k)
	}
	return of, nil
}

// serverTLS returns the TLS configuration of a server: TLS 1.3 only. With a clientCA file it requires client certificates.
func serverTLS(ctx context.Context, pair []tls.Certificate, clientCA string) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS13, Certificates: pair}
	if clientCA != "" {
		pool, err := readCertPool(ctx, clientCA)
		if err != nil {
			return nil, err
		}
		config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, pool
	}
	return config, nil
}

// maxShownName is the longest name of a refused certificate in the log, in bytes.
const maxShownName = 200

// handshakeFault returns why a handshake failed. It recognizes a client without TLS, and names a rejected certificate.
func handshakeFault(err error) string {
	var refused *tls.CertificateVerificationError
	if errors.As(err, &refused) {
		cert := refused.UnverifiedCertificates[0]
		return fmt.Sprintf("client certificate of %s (%s) is refused: %s", cutAt(cert.Subject.String(), maxShownName),
			cutAt(strings.Join(certNames(cert), ", "), maxShownName), cutAt(refused.Err.Error(), maxShownName))
	}
	var record tls.RecordHeaderError
	if errors.As(err, &record) && version(record.RecordHeader[0]).major() == majorVersion {
		return "TACACS+ packet without TLS"
	}
	return cause(err).Error()
}
