package main

import (
	"context"
	"net"
	"syscall"
	"time"
)

const canBindToDevice = true

// bindToDevice makes a connection leave by one interface or VRF.
func bindToDevice(device string) func(context.Context, string, string, syscall.RawConn) error {
	if device == "" {
		return nil
	}
	return func(_ context.Context, _, _ string, c syscall.RawConn) error {
		var err error
		if e := c.Control(func(fd uintptr) { err = syscall.BindToDevice(int(fd), device) }); e != nil {
			return e
		}
		return err
	}
}

// tcpUserTimeout is TCP_USER_TIMEOUT, which package syscall does not have.
const tcpUserTimeout = 18

// limitUnacknowledged ends a connection whose peer does not acknowledge what was sent, or a keep-alive probe, for this
// time. The peer's kernel acknowledges, so a slow server is no reason.
func limitUnacknowledged(conn net.Conn, limit time.Duration) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		if raw, err := tcp.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) {
				_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(limit.Milliseconds()))
			})
		}
	}
}
