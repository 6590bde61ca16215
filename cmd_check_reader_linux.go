package main

import (
	"syscall"
	"unsafe"
)

// poll reads the events of one struct pollfd without a wait. Not every processor has the older call poll.
func poll(p unsafe.Pointer) {
	var now syscall.Timespec
	_, _, _ = syscall.Syscall6(syscall.SYS_PPOLL, uintptr(p), 1, uintptr(unsafe.Pointer(&now)), 0, 0, 0)
}
