//go:build linux || darwin || dragonfly || freebsd || netbsd || openbsd

package main

import (
	"os"
	"unsafe"
)

// A pollFd is the struct pollfd of poll(2).
type pollFd struct {
	fd            int32
	events, found int16
}

// The events of a pipe whose reader has closed it.
const pollErr, pollHup = 0x8, 0x10

// hasNoReader reports whether the reader of a pipe has closed it.
func hasNoReader(pipe *os.File) bool {
	var p pollFd
	conn, err := pipe.SyscallConn()
	if err != nil {
		return false
	}
	err = conn.Control(func(fd uintptr) {
		p.fd = int32(fd)
		poll(unsafe.Pointer(&p))
	})
	return err == nil && p.found&(pollErr|pollHup) != 0
}
