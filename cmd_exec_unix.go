//go:build !windows

package main

import (
	"os"
	"strconv"
	"syscall"
)

// withholdFiles keeps from the commands that are run what this program has inherited beyond the
// standard streams: a shell's <(...) or 3<FILE, with a secret in it, stands open in /dev/fd.
func withholdFiles() {
	open, _ := os.ReadDir("/dev/fd") // without it no option can have named such a file
	for _, entry := range open {
		if fd, err := strconv.Atoi(entry.Name()); err == nil && fd > 2 {
			syscall.CloseOnExec(fd)
		}
	}
}
