package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// A limitedListener counts connections of addresses such as 192.0.2.1. Each connection has the next port.
type limitedListener struct {
	*listener
	log  lockedBuffer
	port uint16
}

func newLimitedListener(connections, perAddress int) *limitedListener {
	l := &limitedListener{listener: newListener()}
	l.limits.connections, l.limits.perAddress = connections, perAddress
	l.listener.log = &sessionLog{out: newQueuedWriter(context.Background(), &l.log)}
	return l
}

// admits admits n connections of an address, which may have proven their key, and returns how many were not refused.
func (l *limitedListener) admits(addr string, n int, proven bool) (admitted int) {
	for range n {
		l.port++
		a := &acceptedConn{Conn: &remoteConn{}, client: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(addr), l.port))}
		if l.admit(a) == nil {
			admitted++
			a.proven = proven
		}
	}
	return admitted
}

// cut returns the clients of the connections that were cut off.
func (l *limitedListener) cut() (clients []string) {
	for line := range strings.Lines(l.log.String()) {
		words := strings.Fields(line)
		if !strings.Contains(line, "cut off: too many connections") {
			words[1] += " " + line
		}
		clients = append(clients, words[1])
	}
	return clients
}

// TestListenFairShares: when there are too many connections, the address that has most is refused or loses its oldest one.
func TestListenFairShares(t *testing.T) {
	t.Parallel()
	type client struct {
		addr   string
		n      int
		proven bool
		want   int // connections that are admitted
	}
	for _, tt := range []struct {
		name       string
		perAddress int
		clients    []client
		cut        string
	}{
		{"there is room", 16, []client{{"192.0.2.1", 16, true, 16}}, ""},
		{"one address", 12, []client{{"192.0.2.1", 13, true, 12}, {"192.0.2.2", 4, true, 4}}, ""},
		{"an IPv6 network", 12, []client{{"2001:db8::1", 8, true, 8}, {"2001:db8::2", 8, true, 4}}, ""},
		{"silent connections make room", 12, []client{{"192.0.2.1", 12, false, 12}, {"192.0.2.2", 4, true, 4}, {"192.0.2.3", 2, true, 2}},
			"192.0.2.1:1 192.0.2.1:2"},
		{"silent connections of the greedy one first", 12, []client{{"192.0.2.1", 9, true, 9}, {"192.0.2.1", 3, false, 3}, {"192.0.2.2", 4, false, 4}, {"192.0.2.3", 1, true, 1}},
			"192.0.2.1:10"},
		{"proven ones of the greedy one too", 12, []client{{"192.0.2.1", 12, true, 12}, {"192.0.2.2", 4, false, 4}, {"192.0.2.3", 1, true, 1}},
			"192.0.2.1:1"},
		{"the greedy one is refused", 16, []client{{"192.0.2.1", 12, true, 12}, {"192.0.2.2", 4, true, 4}, {"192.0.2.1", 2, true, 0}}, ""},
		{"shares become equal", 16, []client{{"192.0.2.1", 16, true, 16}, {"192.0.2.2", 16, true, 8}},
			"192.0.2.1:1 192.0.2.1:2 192.0.2.1:3 192.0.2.1:4 192.0.2.1:5 192.0.2.1:6 192.0.2.1:7 192.0.2.1:8"},
		{"many silent addresses", 16, []client{{"192.0.2.1", 2, true, 2}, {"192.0.2.2", 1, false, 1}, {"192.0.2.3", 1, false, 1}, {"192.0.2.4", 2, true, 2},
			{"192.0.2.5", 2, true, 2}, {"192.0.2.6", 2, true, 2}, {"192.0.2.7", 2, true, 2}, {"192.0.2.8", 2, true, 2}, {"192.0.2.9", 2, true, 2},
			{"192.0.2.1", 1, true, 1}, {"192.0.2.1", 1, true, 0}, {"192.0.2.10", 1, false, 1}}, "192.0.2.2:3 192.0.2.1:1"},
		{"every address has as many", 16, []client{{"192.0.2.1", 2, true, 2}, {"192.0.2.2", 2, true, 2}, {"192.0.2.3", 2, true, 2}, {"192.0.2.4", 2, true, 2},
			{"192.0.2.5", 2, true, 2}, {"192.0.2.6", 2, true, 2}, {"192.0.2.7", 2, true, 2}, {"192.0.2.8", 2, true, 2}, {"192.0.2.9", 2, true, 1},
			{"192.0.2.9", 1, true, 0}}, "192.0.2.1:1"},
	} {
		l := newLimitedListener(16, tt.perAddress)
		for _, c := range tt.clients {
			if n := l.admits(c.addr, c.n, c.proven); n != c.want {
				t.Errorf("%s: %d of %d connections of %s are admitted, want %d", tt.name, n, c.n, c.addr, c.want)
			}
		}
		if got := l.cut(); !slices.Equal(got, strings.Fields(tt.cut)) {
			t.Errorf("%s: %v are cut off, want %v", tt.name, got, tt.cut)
		}
		sum := 0
		for _, n := range l.held {
			sum += n
		}
		if sum != len(l.open) || sum > 16 {
			t.Errorf("%s: %d connections are open, %d are counted", tt.name, len(l.open), sum)
		}
	}
}

// TestListenRelease: a connection that ends is no longer counted, also if it was cut off.
func TestListenRelease(t *testing.T) {
	t.Parallel()
	l := newLimitedListener(4, 4)
	l.admits("192.0.2.1", 4, false)
	all := slices.Clone(l.open)
	l.admits("192.0.2.2", 1, false)
	for _, a := range append(all, l.open...) {
		l.release(a)
	}
	if len(l.open) > 0 || len(l.held) > 0 {
		t.Errorf("%d connections are open, %v are counted", len(l.open), l.held)
	}
}

// TestListenDescriptors: when there are no more file descriptors, the address that has most connections loses one.
func TestListenDescriptors(t *testing.T) {
	t.Parallel()
	l := newLimitedListener(16, 16)
	l.admits("192.0.2.1", 1, true)
	l.admits("192.0.2.2", 4, true)
	for range 4 {
		l.accept(t.Context(), fakeSocket(&net.OpError{Op: "accept", Err: syscall.EMFILE}), new(sync.WaitGroup), nil)
	}
	l.accept(t.Context(), fakeSocket(errors.New("connection aborted")), new(sync.WaitGroup), nil)
	if got, want := fmt.Sprint(l.cut()), "[192.0.2.2:2 192.0.2.2:3 192.0.2.2:4]"; got != want {
		t.Errorf("%s are cut off, want %s", got, want)
	}
}

// TestListenInnocentClient: beside an address that takes what it can get, with connections that prove its key, another one
// gets in at once.
func TestListenInnocentClient(t *testing.T) {
	t.Parallel()
	s := serveWith(t, "--proxy-protocol", "127.0.0.1", "--max-connections", "24", "--max-per-address", "16")
	for i := range 40 {
		c := dialProxied(t, s.addr, fmt.Sprintf("192.0.2.%d:%d", 1+i/20, 1024+i))
		if i%20 < 10 {
			c.login(uint32(i), flagSingleConnect) // as far as it is admitted
		}
	}
	for i := range uint32(8) {
		c := dialProxied(t, s.addr, fmt.Sprintf("198.51.100.%d:1024", i))
		if err := c.login(100+i, flagSingleConnect); err != nil {
			t.Errorf("client %d: %v", i, err)
		}
	}
}
