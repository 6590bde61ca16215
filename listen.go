package main

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

// A listener accepts clients for serve and for relay, within its limits.
type listener struct {
	log       *sessionLog
	dump      *dumper
	slots     chan struct{} // one for each open connection
	listeners []net.Listener

	mu   sync.Mutex
	open map[netip.Addr]int // connections of each limitKey
}

// Limits of one client, and of the end of the program.
const (
	maxConnections   = 1024
	maxOfOneAddress  = maxConnections / 4 * 3
	maxDialogues     = 1024 // of one connection, waiting for a CONTINUE
	idleTimeout      = 60 * time.Second
	handshakeTimeout = 10 * time.Second
	firstTimeout     = 10 * time.Second       // for the whole first packet
	shutdownTimeout  = 4 * time.Second        // for the replies under way
	linesTimeout     = 500 * time.Millisecond // for the last lines
	noticeTimeout    = 200 * time.Millisecond // for the message that they could not be written
	maxGathered      = 16 << 10               // bytes of packets that are written together
)

func newListener() *listener {
	return &listener{slots: make(chan struct{}, maxConnections), open: make(map[netip.Addr]int)}
}

// listen opens the addresses, with TLS if there is a configuration for it.
func (l *listener) listen(addrs []string, config *tls.Config) error {
	quiet := net.ListenConfig{KeepAlive: -1} // idle connections end anyway, and setting it up takes four system calls
	for _, addr := range addrs {
		inner, err := quiet.Listen(context.Background(), "tcp", addr)
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

// checkListen returns an error unless all addresses have the form ADDRESS:PORT.
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

// serveUntil hands each connection to serve until ctx ends, then waits for the replies under way. last writes the last
// lines.
func (l *listener) serveUntil(ctx context.Context, serve func(context.Context, net.Conn), last func() error) error {
	var all sync.WaitGroup
	for _, inner := range l.listeners {
		all.Go(func() { l.accept(ctx, inner, &all, serve) })
	}
	<-ctx.Done()
	l.close()
	return drain(&all, last)
}

// drain waits for the replies under way, for shutdownTimeout at most, then writes the last lines.
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
		if refused := l.acquireSlot(addr.Addr()); refused != "" {
			l.log.note(addr, "refused: "+refused)
			conn.Close()
			continue
		}
		all.Go(func() {
			serve(ctx, conn)
			l.releaseSlot(addr.Addr())
		})
	}
}

// acquireSlot reserves a slot for a connection, or returns why there is none. One address cannot have all slots.
func (l *listener) acquireSlot(client netip.Addr) (refused string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	client = limitKey(client)
	if l.open[client] >= maxOfOneAddress {
		return "too many connections of this address"
	}
	select {
	case l.slots <- struct{}{}:
		l.open[client]++
		return ""
	default:
		return "too many connections"
	}
}

func (l *listener) releaseSlot(client netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	client = limitKey(client)
	if l.open[client]--; l.open[client] == 0 {
		delete(l.open, client)
	}
	<-l.slots
}

// limitKey returns what counts as one address: an IPv4 address, or the /64 network of an IPv6 address, of which one host
// can use all addresses.
func limitKey(client netip.Addr) netip.Addr {
	if client.Is4() || client.IsLinkLocalUnicast() {
		return client
	}
	network, _ := client.Prefix(64)
	return network.Addr()
}
