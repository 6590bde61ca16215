//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package main

import "syscall"

const (
	ioctlGetTermios = syscall.TIOCGETA
	ioctlSetTermios = syscall.TIOCSETA
)

// stopIgnored reports whether SIGTSTP was ignored at the start. Only Linux can be queried.
func stopIgnored() bool { return false }
