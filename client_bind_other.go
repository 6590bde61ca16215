//go:build !linux

package main

import (
	"context"
	"syscall"
)

// canBindToDevice is false where --interface is refused: only Linux binds to a device by name.
const canBindToDevice = false

func bindToDevice(string) func(context.Context, string, string, syscall.RawConn) error { return nil }
