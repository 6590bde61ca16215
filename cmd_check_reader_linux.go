package main

import (
	"syscall"
	"unsafe"
)

// poll reads the events of p without a wait. Not every processor has the older call poll.
func (p *pollFd) poll() {
	var now syscall.Timespec
	_, _, _ = syscall.Syscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(p)), 1, uintptr(unsafe.Pointer(&now)), 0, 0, 0)
}
