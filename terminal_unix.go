//go:build linux || darwin || dragonfly || freebsd || netbsd || openbsd

package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"unsafe"
)

func isTerminal(fd uintptr) bool {
	var t syscall.Termios
	return ioctl(fd, ioctlGetTermios, &t) == nil
}

// echoOff stops the echo. It returns what restores the terminal, and whether that had an echo.
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

// watchStops has Ctrl-Z give the terminal back before the process stops, and take it again when it
// goes on. It is for the rest of the run: the runtime does not go back to the default of these signals.
func (t *terminal) watchStops() {
	stops, returns := make(chan os.Signal, 1), make(chan os.Signal, 1)
	if !stopIgnored() {
		signal.Notify(stops, syscall.SIGTSTP)
	}
	signal.Notify(returns, syscall.SIGCONT)
	go func() {
		for {
			select {
			case <-returns: // of a SIGSTOP, or without a stop at all
				t.takeAgain(false)
			case <-stops:
				if orphaned() {
					continue
				}
				t.giveBack()
				select {
				case <-returns: // an earlier one
				default:
				}
				if syscall.Kill(os.Getpid(), syscall.SIGSTOP) == nil { // by its default SIGTSTP would do the same
					<-returns
				}
				t.takeAgain(true)
			}
		}
	}()
}

// giveBack makes the terminal what it was before the prompt, for the shell to use.
func (t *terminal) giveBack() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.hidden {
		t.restore()
	}
}

// takeAgain goes on with the prompt after the process was stopped. Where nobody knows whether it
// was, an echo that is on says so.
func (t *terminal) takeAgain(stopped bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.hidden {
		if restore, echoed, err := echoOff(t.file.Fd()); err == nil && echoed {
			t.restore, stopped = restore, true
		}
	}
	if stopped {
		fmt.Fprint(t.out, t.prompt)
	}
}

// orphaned says that no shell is there to continue a process that stops: the system does not let
// Ctrl-Z stop it then. The group of a session's leader is such a one.
func orphaned() bool {
	session, _, _ := syscall.Syscall(syscall.SYS_GETSID, 0, 0, 0)
	return int(session) == syscall.Getpgrp()
}
