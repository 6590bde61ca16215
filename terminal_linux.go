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

// stopIgnored says that SIGTSTP was ignored when the process was started, which signal.Ignored does not
// know of this signal. /proc would say so too, but not everywhere: under qemu by the host's numbers.
func stopIgnored() bool {
	var old [16]uintptr            // struct sigaction, and room
	handler, mask := 0, uintptr(8) // where it has the handler, and the bytes of its mask
	if strings.HasPrefix(runtime.GOARCH, "mips") {
		handler, mask = 1, 16 // behind the flags
	}
	const ignore = 1 // SIG_IGN
	_, _, errno := syscall.Syscall6(syscall.SYS_RT_SIGACTION, uintptr(syscall.SIGTSTP), 0, uintptr(unsafe.Pointer(&old)), mask, 0, 0)
	return errno == 0 && old[handler] == ignore
}
