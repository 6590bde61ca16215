package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// A lastRoom accepts a limited number of writes.
type lastRoom struct{ room int }

func (d *lastRoom) Write(p []byte) (int, error) {
	if d.room--; d.room < 0 {
		return 0, errors.New("no space left")
	}
	return len(p), nil
}

// A pacedStream is an input or output that fails. Its input has a text before the error.
type pacedStream struct {
	text io.Reader
	err  error
}

func (p *pacedStream) Read(b []byte) (int, error) {
	n, err := p.text.Read(b)
	if err == io.EOF {
		err = p.err
	}
	return n, err
}

func (p *pacedStream) Write([]byte) (int, error) { return 0, p.err }

// A generator is an input of n equal lines.
type generator struct {
	line string
	n    int
	rest string
}

func (g *generator) Read(b []byte) (n int, err error) {
	for n < len(b) {
		if len(g.rest) == 0 {
			if g.n--; g.n < 0 {
				return n, io.EOF
			}
			g.rest = g.line
		}
		m := copy(b[n:], g.rest)
		n, g.rest = n+m, g.rest[m:]
	}
	return n, nil
}

// An inFlightMeter counts lines of output, or requests. It measures the memory in use four times after the
// start and four times before the end.
type inFlightMeter struct {
	mu    sync.Mutex
	n     int
	at    []int    // counts at which to measure
	inUse []uint64 // bytes
}

func newInFlightMeter(n int) *inFlightMeter {
	m := new(inFlightMeter)
	for _, from := range []int{10_000, n - 10_000} {
		for i := range 4 {
			m.at = append(m.at, from+i*2000)
		}
	}
	return m
}

func (m *inFlightMeter) count(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.n += n
	if len(m.at) > 0 && m.n >= m.at[0] {
		m.at = m.at[1:]
		var s runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&s)
		m.inUse = append(m.inUse, s.HeapAlloc)
	}
}

func (m *inFlightMeter) Write(b []byte) (int, error) {
	m.count(bytes.Count(b, []byte("\n")))
	return len(b), nil
}

// check requires n counts and allows 3 MiB of growth for requests in flight. Since their number varies, it
// compares the minimum at the start with the minimum at the end.
func (m *inFlightMeter) check(t *testing.T, n int) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.n != n || len(m.inUse) != 8 || int64(slices.Min(m.inUse[4:]))-int64(slices.Min(m.inUse[:4])) > 3<<20 {
		t.Errorf("%d of %d; bytes in use at the start and at the end: %d", m.n, n, m.inUse)
	}
}

// A counted counts the bytes read from a text.
type counted struct {
	text io.Reader
	n    atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.text.Read(p)
	c.n.Add(int64(n))
	return n, err
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, fmt.Errorf("broken") }

// A deadConn is a connection that the peer has reset, which only a write detects.
type deadConn struct{ net.Conn }

func (deadConn) Write([]byte) (int, error) { return 0, &net.OpError{Op: "write", Err: syscall.EPIPE} }

// A writerFunc is called for every write, which succeeds.
type writerFunc func(p []byte)

func (f writerFunc) Write(p []byte) (int, error) { f(p); return len(p), nil }

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// A fakeConn passes writes to a function and has no input.
type fakeConn struct {
	net.Conn
	write    func(p []byte) (int, error)
	deadline time.Time // of writes
	wakes    time.Time // deadline of reads
}

func (c *fakeConn) Write(p []byte) (int, error) { return c.write(p) }

func (c *fakeConn) SetWriteDeadline(d time.Time) error { c.deadline = d; return nil }

func (c *fakeConn) SetReadDeadline(d time.Time) error { c.wakes = d; return nil }

func (c *fakeConn) LocalAddr() net.Addr { return &net.TCPAddr{IP: net.IPv6loopback, Port: 1} }

// A smallDisk has room for a limited number of bytes.
type smallDisk struct {
	lockedBuffer
	room int
}

func (d *smallDisk) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := min(d.room, len(p))
	d.room -= n
	d.b.Write(p[:n])
	if n < len(p) {
		return n, errors.New("no space left on device")
	}
	return n, nil
}

// give sets the free room in bytes.
func (d *smallDisk) give(room int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.room = room
}

// A fullDisk is an output without room.
type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

// A stream is a connection whose whole input is known.
type stream struct {
	io.Reader
	out       bytes.Buffer
	largest   int // of the writes
	deadlines int // number of deadlines set
}

func (s *stream) Write(p []byte) (int, error) {
	s.largest = max(s.largest, len(p))
	return s.out.Write(p)
}

func (s *stream) Close() error { return nil }

func (s *stream) LocalAddr() net.Addr { return &net.TCPAddr{IP: net.IPv6loopback, Port: 49} }

func (s *stream) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv6loopback, Port: 4949} }

func (s *stream) SetDeadline(time.Time) error { s.deadlines++; return nil }

func (s *stream) SetReadDeadline(time.Time) error { return nil }

func (s *stream) SetWriteDeadline(time.Time) error { return nil }

// A fakeListener returns connections and errors in order, and then net.ErrClosed.
type fakeListener struct {
	net.Listener
	has []any // net.Conn or error
}

func (l *fakeListener) Accept() (net.Conn, error) {
	if len(l.has) == 0 {
		return nil, net.ErrClosed
	}
	next := l.has[0]
	l.has = l.has[1:]
	if err, ok := next.(error); ok {
		return nil, err
	}
	return next.(net.Conn), nil
}

// A lateDeadlineConn stops the server when a deadline is set, which is before it waits for a packet.
type lateDeadlineConn struct {
	stream
	end func()
}

func (c *lateDeadlineConn) SetDeadline(time.Time) error { c.end(); return nil }

// A blockedWriter accepts writes until it is blocked. Then a write waits until the test ends.
type blockedWriter struct {
	lockedBuffer
	deaf  chan struct{} // closed to block writes
	stuck chan struct{} // receives a value when a write waits
	end   chan struct{} // closed at the end of the test
}

func (d *blockedWriter) Write(p []byte) (int, error) {
	select {
	case <-d.deaf:
		select {
		case d.stuck <- struct{}{}:
		default:
		}
		<-d.end
		return 0, io.ErrClosedPipe
	default:
		return d.lockedBuffer.Write(p)
	}
}

// A stallingWriter accepts writes, except while stalled is locked: then they wait.
type stallingWriter struct {
	lockedBuffer
	stalled sync.RWMutex
}

func (w *stallingWriter) Write(p []byte) (int, error) {
	w.stalled.RLock()
	defer w.stalled.RUnlock()
	return w.lockedBuffer.Write(p)
}

// A remoteConn has a remote address that the test chooses.
type remoteConn struct {
	stream
	addr net.Addr
}

func (c *remoteConn) RemoteAddr() net.Addr { return c.addr }

// A writeTo is a Write method.
type writeTo func(p []byte) (int, error)

func (f writeTo) Write(p []byte) (int, error) { return f(p) }

// An endless is an input of comments without end.
type endless struct{ at int }

func (e *endless) Read(b []byte) (int, error) {
	const line = "#234567890123456789012345678901234567890123456789012345678901234567890123456789\n"
	n := copy(b, line[e.at:])
	e.at = (e.at + n) % len(line)
	return n, nil
}
