package main

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
)

// TestListenAccept: accepting goes on after an error, and a connection over the limit is closed.
func TestListenAccept(t *testing.T) {
	t.Parallel()
	srv := newLab()
	srv.listener.slots = make(chan struct{})
	server, client := net.Pipe()
	var all sync.WaitGroup
	srv.listener.accept(t.Context(), &fakeListener{has: []any{errors.New("too many open files"), server}}, &all, srv.serve)
	newFakeClient(client).checkEnd(t)
}

// TestListenConnectionsOfOneAddress: one address can have most of the slots, but not all.
func TestListenConnectionsOfOneAddress(t *testing.T) {
	t.Parallel()
	srv, log := newLab(), new(lockedBuffer)
	srv.listener.log.out = newQueuedWriter(context.Background(), log)
	greedy, other := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	enter := func(client netip.Addr, want string) {
		t.Helper()
		if got := srv.listener.acquireSlot(client); got != want {
			t.Fatalf("%s is refused with %q, not %q", client, got, want)
		}
	}
	for range maxOfOneAddress {
		enter(greedy, "")
	}
	enter(greedy, "too many connections of this address")
	conn := &remoteConn{addr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(greedy, 1024))}
	srv.listener.accept(t.Context(), &fakeListener{has: []any{conn}}, new(sync.WaitGroup), srv.serve)
	if want := " 192.0.2.1:1024 refused: too many connections of this address\n"; !strings.HasSuffix(log.String(), want) {
		t.Errorf("the lines are\n%s", log)
	}
	for range maxConnections - maxOfOneAddress {
		enter(other, "")
	}
	enter(netip.MustParseAddr("192.0.2.3"), "too many connections")
	srv.listener.releaseSlot(greedy)
	enter(greedy, "")
	for range maxOfOneAddress {
		srv.listener.releaseSlot(greedy)
	}
	for range maxConnections - maxOfOneAddress {
		srv.listener.releaseSlot(other)
	}
	if len(srv.listener.open) > 0 || len(srv.listener.slots) > 0 {
		t.Errorf("%v are still open, %d places taken", srv.listener.open, len(srv.listener.slots))
	}
	var all sync.WaitGroup // the place of a connection that is accepted is its own, and free after it
	conn.Reader = strings.NewReader("")
	srv.listener.accept(t.Context(), &fakeListener{has: []any{conn}}, &all, srv.serve)
	all.Wait()
	if len(srv.listener.open) > 0 || len(srv.listener.slots) > 0 {
		t.Errorf("%v are still open, %d places taken", srv.listener.open, len(srv.listener.slots))
	}
}

// TestListenLimitKey: the addresses of one IPv6 network count as one, since one host can have them all.
func TestListenLimitKey(t *testing.T) {
	t.Parallel()
	for client, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::", "2001:db8:1:3::6": "2001:db8:1:3::", "::1": "::",
		"fe80::1%eth0": "fe80::1%eth0",
	} {
		srv := newLab()
		if refused := srv.listener.acquireSlot(netip.MustParseAddr(client)); refused != "" || srv.listener.open[netip.MustParseAddr(want)] != 1 {
			t.Errorf("%s: %q, %v", client, refused, srv.listener.open)
		}
		if srv.listener.releaseSlot(netip.MustParseAddr(client)); len(srv.listener.open) > 0 {
			t.Errorf("%s: %v are left", client, srv.listener.open)
		}
	}
}
