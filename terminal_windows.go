package main

import "syscall"

const enableEchoInput = 0x0004

var setConsoleMode = syscall.NewLazyDLL("kernel32.dll").NewProc("SetConsoleMode")

func isTerminal(fd uintptr) bool {
	var mode uint32
	return syscall.GetConsoleMode(syscall.Handle(fd), &mode) == nil
}

// echoOff stops the echo. It returns what restores the console, and whether that had an echo.
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

// watchStops has nothing to do: there is no Ctrl-Z here.
func (t *terminal) watchStops() {}
