//go:build linux || darwin || dragonfly || freebsd || netbsd || openbsd

package main

import (
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"
	"unsafe"
)

// controllingTerminal implements stdio.terminal.
func controllingTerminal() (in *os.File, out io.Writer, err error) {
	f, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, nil, err
	}
	if !inForeground(f.Fd()) {
		f.Close()
		return nil, nil, errors.New("the process is in the background")
	}
	return f, f, nil
}

// hasControllingTerminal reports whether the end of a terminal sends SIGHUP to the process.
func hasControllingTerminal() bool {
	f, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	f.Close()
	return true
}

// inForeground reports whether the process may read from the terminal, and change it, without being stopped. That holds
// for any terminal that is not its controlling one.
func inForeground(fd uintptr) bool {
	var group int32
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TIOCGPGRP, uintptr(unsafe.Pointer(&group)))
	return errno != 0 || int(group) == syscall.Getpgrp()
}

func isTerminal(fd uintptr) bool {
	var t syscall.Termios
	return ioctl(fd, ioctlGetTermios, &t) == nil
}

// echoOff turns the echo off. It returns a function that restores the terminal, and whether the echo
// was on.
func echoOff(fd uintptr) (restore func(), echoed bool, err error) {
	var old syscall.Termios
	if err := ioctl(fd, ioctlGetTermios, &old); err != nil {
		return nil, false, err
	}
	quiet := old
	quiet.Lflag &^= syscall.ECHO
	quiet.Lflag |= syscall.ICANON | syscall.ISIG
	quiet.Iflag |= syscall.ICRNL
	if err := ioctl(fd, ioctlSetTermios, &quiet); err != nil {
		return nil, false, err
	}
	return func() { _ = ioctl(fd, ioctlSetTermios, &old) }, old.Lflag&syscall.ECHO != 0, nil
}

func ioctl(fd, request uintptr, t *syscall.Termios) error {
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, fd, request, uintptr(unsafe.Pointer(t))); errno != 0 {
		return errno
	}
	return nil
}

// watchStops calls suspend before Ctrl-Z stops the process, and resume after it continues. It does so
// until the process ends, since the runtime cannot restore the default action of these signals.
func watchStops(suspend func(), resume func(stopped bool)) {
	stops, continues := make(chan os.Signal, 1), make(chan os.Signal, 1)
	if !stopIgnored() {
		signal.Notify(stops, syscall.SIGTSTP)
	}
	signal.Notify(continues, syscall.SIGCONT)
	go func() {
		for {
			select {
			case <-continues: // after a SIGSTOP, or without a stop at all
				resume(false)
			case <-stops:
				if orphaned() {
					continue
				}
				suspend()
				select {
				case <-continues: // an earlier one
				default:
				}
				if syscall.Kill(os.Getpid(), syscall.SIGSTOP) == nil { // the default action of SIGTSTP
					<-continues
				}
				resume(true)
			}
		}
	}()
}

// orphaned reports whether no shell could continue the process, which then must not stop. A session
// leader's process group is such a group.
func orphaned() bool {
	session, _, _ := syscall.Syscall(syscall.SYS_GETSID, 0, 0, 0)
	return int(session) == syscall.Getpgrp()
}
