//go:build !linux

package main

import (
	"context"
	"net"
	"syscall"
	"time"
)

// canBindToDevice is false where --interface is refused: only Linux binds to a device by name.
const canBindToDevice = false

// limitUnacknowledged does nothing: keep-alive probes find a peer that has gone.
func limitUnacknowledged(net.Conn, time.Duration) {}

func bindToDevice(string) func(context.Context, string, string, syscall.RawConn) error { return nil }
