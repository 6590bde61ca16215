//go:build linux || darwin || dragonfly || freebsd || netbsd || openbsd

package main

import (
	"syscall"
	"unsafe"
)

func isTerminal(fd uintptr) bool {
	var t syscall.Termios
	return ioctl(fd, ioctlGetTermios, &t) == nil
}

// echoOff stops the echo and returns what restores the terminal.
func echoOff(fd uintptr) (restore func(), err error) {
	var old syscall.Termios
	if err := ioctl(fd, ioctlGetTermios, &old); err != nil {
		return nil, err
	}
	quiet := old
	quiet.Lflag &^= syscall.ECHO
	quiet.Lflag |= syscall.ICANON | syscall.ISIG
	quiet.Iflag |= syscall.ICRNL
	if err := ioctl(fd, ioctlSetTermios, &quiet); err != nil {
		return nil, err
	}
	return func() { _ = ioctl(fd, ioctlSetTermios, &old) }, nil
}

func ioctl(fd, request uintptr, t *syscall.Termios) error {
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, fd, request, uintptr(unsafe.Pointer(t))); errno != 0 {
		return errno
	}
	return nil
}
