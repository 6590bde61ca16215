package main

import (
	"io"
	"os"
	"syscall"
)

const enableEchoInput = 0x0004

var setConsoleMode = syscall.NewLazyDLL("kernel32.dll").NewProc("SetConsoleMode")

// controllingTerminal implements stdio.terminal with the console of the process.
func controllingTerminal() (in *os.File, out io.Writer, err error) {
	if in, err = os.OpenFile("CONIN$", os.O_RDWR, 0); err != nil {
		return nil, nil, err
	}
	if out, err = os.OpenFile("CONOUT$", os.O_RDWR, 0); err != nil {
		in.Close()
		return nil, nil, err
	}
	return in, out, nil
}

// hasControllingTerminal returns true: Windows has no SIGHUP for a service.
func hasControllingTerminal() bool { return true }

// inForeground returns true: Windows has no job control.
func inForeground(uintptr) bool { return true }

func isTerminal(fd uintptr) bool {
	var mode uint32
	return syscall.GetConsoleMode(syscall.Handle(fd), &mode) == nil
}

// echoOff turns the echo off. It returns a function that restores the console, and whether the echo
// was on.
func echoOff(fd uintptr) (restore func(), echoed bool, err error) {
	var old uint32
	if err := syscall.GetConsoleMode(syscall.Handle(fd), &old); err != nil {
		return nil, false, err
	}
	set := func(mode uint32) error {
		if ok, _, err := setConsoleMode.Call(fd, uintptr(mode)); ok == 0 {
			return err
		}
		return nil
	}
	if err := set(old &^ enableEchoInput); err != nil {
		return nil, false, err
	}
	return func() { _ = set(old) }, old&enableEchoInput != 0, nil
}

// watchStops does nothing: Windows has no Ctrl-Z.
func watchStops(func(), func(bool)) {}
