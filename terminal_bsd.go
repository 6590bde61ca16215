//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package main

import "syscall"

const (
	ioctlGetTermios = syscall.TIOCGETA
	ioctlSetTermios = syscall.TIOCSETA
)

// stopIgnored says that SIGTSTP was ignored when the process was started. Only Linux is asked.
func stopIgnored() bool { return false }
