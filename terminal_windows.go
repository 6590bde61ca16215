package main

import "syscall"

const enableEchoInput = 0x0004

var setConsoleMode = syscall.NewLazyDLL("kernel32.dll").NewProc("SetConsoleMode")

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
