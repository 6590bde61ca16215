package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"
)

const proxyTimeout = 3 * time.Second // for the PROXY header

// RemoteAddr implements net.Conn: it is the address that the proxy names, if there is one.
func (a *acceptedConn) RemoteAddr() net.Addr { return a.client }

// LocalAddr implements net.Conn.
func (a *acceptedConn) LocalAddr() net.Addr {
	if a.server != nil {
		return a.server
	}
	return a.Conn.LocalAddr()
}

// Read implements net.Conn.
func (a *acceptedConn) Read(p []byte) (int, error) {
	if len(a.rest) > 0 {
		n := copy(p, a.rest)
		a.rest = a.rest[n:]
		return n, nil
	}
	return a.Conn.Read(p)
}

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

// readMore reads what follows a header without a client. The error is io.EOF if the proxy closes: a health check.
func (a *acceptedConn) readMore() error {
	_ = a.Conn.SetReadDeadline(time.Now().Add(proxyTimeout))
	defer a.Conn.SetReadDeadline(time.Time{})
	b := make([]byte, headerLen)
	n, err := a.Conn.Read(b)
	if a.rest = b[:n]; n == 0 && !errors.Is(err, os.ErrDeadlineExceeded) {
		return io.EOF
	}
	return nil
}

// proxyAddr returns the address of the proxy that forwards the connection, or the zero value.
func (a *acceptedConn) proxyAddr() netip.AddrPort {
	if a == nil {
		return netip.AddrPort{}
	}
	return a.proxy
}

// readProxyHeader reads the header, and keeps what was read beyond it for Read. The error is io.EOF if there is nothing.
func (a *acceptedConn) readProxyHeader() (proxyHeader, error) {
	_ = a.Conn.SetReadDeadline(time.Now().Add(proxyTimeout))
	defer a.Conn.SetReadDeadline(time.Time{})
	b := make([]byte, 0, maxProxyV2) // a header that is cut is shorter
	for {
		header, n, err := parseProxyHeader(b)
		if !errors.Is(err, errCutProxyHeader) {
			a.rest = b[n:]
			return header, err
		}
		n, failed := a.Conn.Read(b[len(b):cap(b)])
		if b = b[:len(b)+n]; n == 0 && failed != nil {
			switch {
			case errors.Is(failed, os.ErrDeadlineExceeded):
			case len(b) == 0:
				failed = io.EOF
			case failed == io.EOF:
				failed = err
			}
			return proxyHeader{}, failed
		}
	}
}

// firstBytes describes what begins with other bytes than TACACS+.
func firstBytes(b []byte) string {
	if isProxyHeader(b) {
		return "unexpected PROXY header"
	}
	return fmt.Sprintf("the first byte is 0x%02x", b[0])
}

// isProxyHeader reports whether b begins a PROXY header.
func isProxyHeader(b []byte) bool {
	_, _, err := parseProxyHeader(b)
	return !errors.Is(err, errNoProxyHeader)
}
