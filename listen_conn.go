package main

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"time"
)

// An acceptedConn is a connection within the limits of a listener.
type acceptedConn struct {
	net.Conn
	client net.Addr       // in place of RemoteAddr
	server net.Addr       // in place of LocalAddr, unless it is nil
	proxy  netip.AddrPort // that forwards the connection; or zero
	rest   []byte         // read before the first Read
	proven bool           // a packet fit the key; written by its own goroutine, with listener.mu
}

// limitKey returns what the connection counts for.
func (a *acceptedConn) limitKey() netip.Addr { return limitKey(addrPortOf(a.client).Addr()) }

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
