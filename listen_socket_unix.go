//go:build unix

package main

import (
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
)

// firstSocket is the first file descriptor that systemd passes.
const firstSocket = 3

// inheritedSockets returns the sockets that systemd passes to this process, each under its name (sd_listen_fds(3)). Child
// processes get neither them nor the variables.
func inheritedSockets() (files []*os.File) {
	if os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return nil
	}
	n, _ := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		os.Unsetenv(name)
	}
	for i := range n {
		fd, name := firstSocket+i, "unknown" // as systemd calls it
		if i < len(names) && names[i] != "" {
			name = names[i]
		}
		if syscall.Fstat(fd, new(syscall.Stat_t)) != nil {
			break
		}
		syscall.CloseOnExec(fd)
		files = append(files, os.NewFile(uintptr(fd), name))
	}
	return files
}

// isListening reports whether a socket accepts connections. One of a unit with Accept=yes is a connection itself.
func isListening(socket *os.File) bool {
	conn, err := socket.SyscallConn()
	if err != nil {
		return false
	}
	accepts := 0
	_ = conn.Control(func(fd uintptr) {
		accepts, _ = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_ACCEPTCONN)
	})
	return accepts != 0
}

// surviveBrokenPipe keeps the process alive when the reader of stdout or stderr ends, until the process ends. Go would end
// it by SIGPIPE.
func surviveBrokenPipe() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }
