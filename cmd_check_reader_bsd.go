//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package main

import (
	"syscall"
	"unsafe"
)

// poll reads the events of one struct pollfd without a wait. Not every processor has the older call poll.
func poll(p unsafe.Pointer) {
	_, _, _ = syscall.Syscall(syscall.SYS_POLL, uintptr(p), 1, 0)
}
