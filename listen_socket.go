package main

import (
	"net"
	"os"
	"slices"
)

// inherit takes over the sockets that systemd has opened, and appends their addresses to those to listen on: one that is
// named tls to secure, others to clear. A nil list refuses its kind.
func (l *listener) inherit(sockets []*os.File, clear, secure *[]string) error {
	for _, file := range sockets {
		inner, err := net.FileListener(file)
		if err != nil {
			return failf(classUsage, "inherited socket %s: %w", escape(file.Name()), cause(err))
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
				withHint("run serve %s --tls, or set FileDescriptorName in the socket unit", start)
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
