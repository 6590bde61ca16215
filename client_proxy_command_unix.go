//go:build !windows

package main

import (
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"syscall"
)

// connectStreams returns a connection to the stdin and stdout of a command that starts next, and the command's end of it.
func connectStreams(cmd *exec.Cmd) (net.Conn, io.Closer, error) {
	syscall.ForkLock.RLock()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fds[0])
		syscall.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, err
	}
	near, far := os.NewFile(uintptr(fds[0]), ""), os.NewFile(uintptr(fds[1]), "")
	defer near.Close()
	cmd.Stdin, cmd.Stdout = far, far
	conn, err := net.FileConn(near)
	if err != nil {
		far.Close()
	}
	return conn, far, err
}

// detach gives a command a session of its own, with which it ends. The terminal sends it no signal, so that an ABORT can
// follow a Ctrl-C, and two programs do not ask for passwords there.
func detach(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
}

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
