package main

import (
	"syscall"
	"time"
	"unsafe"
)

// monotonicTime returns the time of CLOCK_MONOTONIC.
func monotonicTime() time.Duration {
	const clockMonotonic = 1
	var t syscall.Timespec
	_, _, _ = syscall.Syscall(syscall.SYS_CLOCK_GETTIME, clockMonotonic, uintptr(unsafe.Pointer(&t)), 0)
	return time.Duration(t.Nano())
}
