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

// A gate lets clients in, for serve and for relay: it listens, and takes as many connections as there are
// places.
type listener struct {
	log       *sessionLog
	dump      *dumper
	slots     chan struct{} // one for each connection that may be open
	listeners []net.Listener

	mu   sync.Mutex
	open map[netip.Addr]int // connections of each client, as holderOf names it
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
	maxGathered      = 16 << 10               // bytes of packets that are written together
	keptBody         = 16 << 10               // bytes of memory that a connection keeps for the next packet
)

func newListener() *listener {
	return &listener{slots: make(chan struct{}, maxConnections), open: make(map[netip.Addr]int)}
}

// listen opens the addresses, over TLS where there is a configuration.
func (g *listener) listen(addrs []string, config *tls.Config) error {
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
func (g *listener) close() {
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

// serveUntil hands each connection to serve until ctx ends, then waits for the replies under way. last writes the last lines.
func (g *listener) serveUntil(ctx context.Context, serve func(context.Context, net.Conn), last func() error) error {
	var all sync.WaitGroup
	for _, l := range g.listeners {
		all.Go(func() { g.accept(ctx, l, &all, serve) })
	}
	<-ctx.Done()
	g.close()
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

// accept takes connections, each for a goroutine of its own, up to the limit.
func (g *listener) accept(ctx context.Context, l net.Listener, all *sync.WaitGroup, serve func(context.Context, net.Conn)) {
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
		if refused := g.acquireSlot(addr.Addr()); refused != "" {
			g.log.note(addr, "refused: "+refused)
			conn.Close()
			continue
		}
		all.Go(func() {
			serve(ctx, conn)
			g.releaseSlot(addr.Addr())
		})
	}
}

// enter takes a place for a connection of a client, or says why there is none: no address may take all
// of them.
func (g *listener) acquireSlot(client netip.Addr) (refused string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	client = limitKey(client)
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
func (g *listener) releaseSlot(client netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	client = limitKey(client)
	if g.open[client]--; g.open[client] == 0 {
		delete(g.open, client)
	}
	<-g.slots
}

// holderOf is whom a place is counted for: an address, or the /64 of one of IPv6, in which one host can
// have as many as it likes.
func limitKey(client netip.Addr) netip.Addr {
	if client.Is4() || client.IsLinkLocalUnicast() {
		return client
	}
	network, _ := client.Prefix(64)
	return network.Addr()
}
