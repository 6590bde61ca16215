package main

import (
	"context"
	"net"
	"os"
	"strconv"
	"sync"
	"time"
)

// A notifier reports the state of the relay to systemd (sd_notify(3)). Without NOTIFY_SOCKET it does nothing.
type notifier struct {
	send     func(state string)
	watchdog time.Duration // in which systemd expects a WATCHDOG=1; 0 for no watchdog
}

const (
	notifyTimeout  = time.Second // when systemd does not read
	servingDevices = "serving devices"
)

func newNotifier(env func(string) string, logf func(format string, args ...any)) *notifier {
	socket := env("NOTIFY_SOCKET") // a path, or @NAME
	if socket == "" {
		return &notifier{send: func(string) {}}
	}
	var warned sync.Once
	n := &notifier{send: func(state string) {
		if err := sendDatagram(socket, state); err != nil {
			warned.Do(func() { logf("notify systemd at %s: %v", escape(socket), cause(err)) })
		}
	}}
	if pid := env("WATCHDOG_PID"); pid == "" || pid == strconv.Itoa(os.Getpid()) {
		limit, err := time.ParseDuration(env("WATCHDOG_USEC") + "us")
		if err == nil && limit > 0 {
			n.watchdog = limit
		}
	}
	return n
}

// sendDatagram sends one datagram to a Unix socket.
func sendDatagram(socket, text string) error {
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetWriteDeadline(time.Now().Add(notifyTimeout))
	_, err = conn.Write([]byte(text))
	return err
}

// ready reports that the relay serves devices, with a text for systemctl status.
func (n *notifier) ready(status string) { n.send("READY=1\nSTATUS=" + status) }

// reloading reports that the configuration is being read again. ready ends it.
func (n *notifier) reloading() {
	n.send("RELOADING=1\nMONOTONIC_USEC=" + strconv.FormatInt(monotonicTime().Microseconds(), 10))
}

// serving reports that the relay serves devices, and then feeds the watchdog while l accepts connections. When ctx ends, it
// reports that the relay stops. It is called before the accept loops start. wait waits until all is reported.
func (n *notifier) serving(ctx context.Context, l *listener) (wait func()) {
	var feeder sync.WaitGroup
	interval := max(n.watchdog/4, time.Millisecond)
	if n.watchdog > 0 {
		watchAccepting(l, interval)
	}
	n.ready(servingDevices)
	feeder.Go(func() {
		defer n.send("STOPPING=1")
		if n.watchdog == 0 {
			<-ctx.Done()
			return
		}
		every(ctx, interval, func(now time.Time) {
			if acceptingSince(l, now.Add(-2*interval)) {
				n.send("WATCHDOG=1")
			}
		})
	})
	return feeder.Wait
}

// watchAccepting lets the accept loops wake up at an interval, so that acceptingSince can be used.
func watchAccepting(l *listener, interval time.Duration) {
	for i := range l.listeners {
		l.listeners[i].loop = &acceptLoop{interval: interval, lastWorked: time.Now()}
		l.listeners[i].loop.setWakeup(l.listeners[i].Listener)
	}
}

// acceptingSince reports whether all sockets of a listener have accepted connections since t, or could have.
func acceptingSince(l *listener, t time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, socket := range l.listeners {
		if socket.loop.lastWorked.Before(t) {
			return false
		}
	}
	return true
}
