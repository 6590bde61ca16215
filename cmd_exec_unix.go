//go:build !windows

package main

import (
	"os"
	"strconv"
	"syscall"
)

// closeFilesOnExec marks every inherited file except the standard streams as close-on-exec. A file that
// a shell opened for this program, as by <(...) or 3<FILE, may hold a secret.
func closeFilesOnExec() {
	files, _ := os.ReadDir("/dev/fd") // without it no option can name such a file
	for _, file := range files {
		if fd, err := strconv.Atoi(file.Name()); err == nil && fd > 2 {
			syscall.CloseOnExec(fd)
		}
	}
}
