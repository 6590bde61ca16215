package main

import (
	"context"
	"syscall"
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
