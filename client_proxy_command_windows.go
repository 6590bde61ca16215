package main

import (
	"io"
	"net"
	"os/exec"
	"syscall"
)

// connectStreams returns a connection to the stdin and stdout of a command that starts next, and the command's end of it.
// The pipes of the command have no deadlines here.
func connectStreams(cmd *exec.Cmd) (net.Conn, io.Closer, error) {
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	near, far := net.Pipe()
	cmd.Stdout = far
	go func() {
		_, _ = io.Copy(stdin, far)
		stdin.Close()
	}()
	return near, far, nil
}

// detach keeps the Ctrl-C of the console from a command.
func detach(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

// closeFilesOnExec does nothing: on Windows a command inherits only the files that it is given.
func closeFilesOnExec() {}
