package main

import (
	"runtime"
	"strings"
	"syscall"
	"unsafe"
)

const (
	ioctlGetTermios = syscall.TCGETS
	ioctlSetTermios = syscall.TCSETS
)

// stopIgnored reports whether SIGTSTP was ignored at the start. signal.Ignored does not know that of
// this signal, and under qemu /proc has the signal numbers of the host.
func stopIgnored() bool {
	var old [16]uintptr // struct sigaction, with room to spare
	handler, maskSize := 0, uintptr(8)
	if strings.HasPrefix(runtime.GOARCH, "mips") {
		handler, maskSize = 1, 16 // the flags come before the handler
	}
	const ignore = 1 // SIG_IGN
	_, _, errno := syscall.Syscall6(syscall.SYS_RT_SIGACTION, uintptr(syscall.SIGTSTP), 0, uintptr(unsafe.Pointer(&old)), maskSize, 0, 0)
	return errno == 0 && old[handler] == ignore
}
