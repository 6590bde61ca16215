package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
)

var (
	errTooManyConnections = errors.New("too many connections")
	errTooManyFromAddress = errors.New("too many connections from this address")
)

// readProxyHeader reads the PROXY header of a connection from a proxy, and sets the addresses that it names. The error is
// io.EOF if there is nothing to read.
func (l *listener) readProxyHeader(a *acceptedConn) error {
	from := addrPortOf(a.client)
	if !slices.ContainsFunc(l.proxies, func(p netip.Prefix) bool { return p.Contains(from.Addr().WithZone("")) }) {
		return nil
	}
	defer l.headers.Add(-1)
	if l.headers.Add(1) > int64(l.limits.connections) {
		return errTooManyConnections
	}
	header, err := a.readProxyHeader()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("no PROXY header within %v", proxyTimeout)
	}
	if err == nil && !header.client.IsValid() && len(a.rest) == 0 {
		err = a.readMore()
	}
	if header.client.IsValid() {
		a.proxy, a.client, a.server = from, net.TCPAddrFromAddrPort(header.client), net.TCPAddrFromAddrPort(header.server)
	}
	return cause(err)
}

// greedyPart is the part of all connections that makes an address greedy.
const greedyPart = 8

// admit counts a connection. If there are too many, it refuses this one or cuts off another one.
func (l *listener) admit(a *acceptedConn) error {
	l.mu.Lock()
	cut, err := l.makeRoom(a.limitKey())
	if err == nil {
		l.count(a, 1)
		l.open = append(l.open, a)
	}
	l.mu.Unlock()
	l.cutOff(cut)
	return err
}

// makeRoom removes a connection if there are too many for one more of key, and returns it. The error is why there is no
// room. l.mu is locked.
func (l *listener) makeRoom(key netip.Addr) (cut *acceptedConn, err error) {
	switch {
	case l.held[key] >= l.limits.perAddress:
		return nil, errTooManyFromAddress
	case len(l.open) < l.limits.connections:
		return nil, nil
	}
	if cut = l.leastEntitled(key); cut == nil {
		return nil, errTooManyConnections
	}
	l.remove(cut)
	return cut, nil
}

// cutLargest cuts off a connection because there are no more file descriptors.
func (l *listener) cutLargest() {
	l.mu.Lock()
	cut := l.leastEntitled(netip.Addr{})
	if cut != nil {
		l.remove(cut)
	}
	l.mu.Unlock()
	l.cutOff(cut)
}

// cutOff closes a connection that was removed, unless it is nil.
func (l *listener) cutOff(cut *acceptedConn) {
	if cut != nil {
		cut.Conn.Close()
		l.log.note(addrPortOf(cut.client), "cut off: "+errTooManyConnections.Error())
	}
}

// leastEntitled returns the connection to cut off in favour of one of key: the oldest of the address that has most. If no
// address is greedy it is one that has proven no key, if there is one. It returns nil if key has no fewer itself.
func (l *listener) leastEntitled(key netip.Addr) *acceptedConn {
	var unproven []*acceptedConn
	unprovenOf := make(map[netip.Addr]int)
	for _, a := range l.open {
		if !a.proven {
			unproven = append(unproven, a)
			unprovenOf[a.limitKey()]++
		}
	}
	most := largest(l.open, l.held)
	if most == nil {
		return nil
	}
	greedy, fairer := l.held[most.limitKey()] > l.limits.connections/greedyPart, l.held[most.limitKey()] >= l.held[key]+2
	doubtful := largest(unproven, unprovenOf)
	switch {
	case greedy && !fairer:
		return nil
	case greedy:
		if i := slices.IndexFunc(unproven, func(a *acceptedConn) bool { return a.limitKey() == most.limitKey() }); i >= 0 {
			return unproven[i]
		}
		return most
	case doubtful != nil && unprovenOf[doubtful.limitKey()] > unprovenOf[key]:
		return doubtful
	case fairer:
		return most
	}
	return nil
}

// largest returns the first connection of the address with the largest count, or nil for none.
func largest(of []*acceptedConn, count map[netip.Addr]int) (most *acceptedConn) {
	for _, a := range of {
		if most == nil || count[a.limitKey()] > count[most.limitKey()] {
			most = a
		}
	}
	return most
}

// release stops to count a connection.
func (l *listener) release(a *acceptedConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.remove(a)
}

// remove removes a connection from those that are open, unless it was cut off. l.mu is locked.
func (l *listener) remove(a *acceptedConn) {
	if i := slices.Index(l.open, a); i >= 0 {
		l.open = slices.Delete(l.open, i, i+1)
		l.count(a, -1)
	}
}

// count adds to the number of connections of an address.
func (l *listener) count(a *acceptedConn, n int) {
	key := a.limitKey()
	if l.held[key] += n; l.held[key] == 0 {
		delete(l.held, key)
	}
}
