package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
)

// A class is how a request or a command line ended.
type class uint8

const (
	classGranted class = iota
	classDenied
	classUsage
	classLocal // a lack of this host: no space on a disk, no file descriptors
	classServer
	classNetwork
	classProtocol
	classTLS
	classInterrupted
)

// classes are the names and exit codes, on which scripts depend.
var classes = [...]struct {
	name string
	exit exitCode
}{
	classGranted:     {"granted", 0},
	classDenied:      {"denied", 1},
	classUsage:       {"usage", 2},
	classLocal:       {"local", 2},
	classServer:      {"server error", 3},
	classNetwork:     {"network", 4},
	classProtocol:    {"protocol", 5},
	classTLS:         {"TLS", 6},
	classInterrupted: {"interrupted", 130},
}

func (c class) String() string { return classes[c].name }

// exit returns the exit code of the class.
func (c class) exit() exitCode { return classes[c].exit }

// statusClass returns the class of a status. One that neither grants nor is ERROR denies, such as FOLLOW.
func statusClass(granted, failed bool) class {
	switch {
	case granted:
		return classGranted
	case failed:
		return classServer
	}
	return classDenied
}

// An exitCode is the exit code of the process: that of a class, of a command that was run, or a state of Nagios.
type exitCode int

// A failure is an error with its class, and a hint if the cause is known.
type failure struct {
	class class
	err   error
	hint  string
	// signal is the one that interrupted the run; 0 where it was none.
	signal syscall.Signal
}

// failf returns a failure of a class.
func failf(c class, format string, args ...any) *failure {
	return &failure{class: c, err: fmt.Errorf(format, args...)}
}

// errInterrupted is the failure of whatever is under way when a context ends.
var errInterrupted = failf(classInterrupted, "interrupted")

// interruptedBy returns errInterrupted with the signal that ended the context.
func interruptedBy(s syscall.Signal) *failure {
	return &failure{class: classInterrupted, err: errInterrupted.err, signal: s}
}

// interrupted returns the failure for the end of a context.
func interrupted(ctx context.Context) *failure {
	if f, ok := context.Cause(ctx).(*failure); ok {
		return f
	}
	return errInterrupted
}

// withHint adds what the user can do.
func (f *failure) withHint(hint string) *failure {
	f.hint = hint
	return f
}

// exit returns the exit code for the failure. For a signal it is that of a shell.
func (f *failure) exit() exitCode {
	if f.signal != 0 {
		return exitCode(128 + int(f.signal))
	}
	return f.class.exit()
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// asFailure gives any error a class. One without a class of its own is a local error.
func asFailure(err error) *failure {
	f, ok := err.(*failure) // nearly always
	if ok || errors.As(err, &f) {
		return f
	}
	return &failure{class: classUsage, err: err}
}

// classOf returns the class of an error; that of nil is granted.
func classOf(err error) class {
	if err == nil {
		return classGranted
	}
	return asFailure(err).class
}

// isClosed reports whether the peer closed the connection.
func isClosed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || isErrno(err, syscall.ECONNRESET, 10054) ||
		isErrno(err, syscall.EPIPE, 10058) || isErrno(err, syscall.ECONNABORTED, 10053)
}

// isErrno compares an error with an error number of this system, or with the one of Windows, which package
// syscall does not name. No other system has numbers that high.
func isErrno(err error, unix, windows syscall.Errno) bool {
	return errors.Is(err, unix) || errors.Is(err, windows)
}

// lacksResources reports whether this host, not the other side, is the reason of err: it has no file descriptors, buffers,
// memory or disk space left.
func lacksResources(err error) bool {
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ENOSPC, 10024, 10055} { // the last two on Windows
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// hintOpenFiles is the hint for a lack of resources.
const hintOpenFiles = "this host lacks a resource, not the server: raise the limit of open files (ulimit -n)"

// lacksDescriptors reports whether no file can be opened. A failed lookup of a name does not report that.
func lacksDescriptors() bool {
	f, err := os.Open(os.DevNull)
	if err == nil {
		f.Close()
	}
	return lacksResources(err)
}

// cause removes what packages net and os add to an error, since our message has it already.
func cause(err error) error {
	if lookup, ok := errors.AsType[*net.DNSError](err); ok {
		return errors.New(lookup.Err)
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err
	}
	if call, ok := errors.AsType[*os.SyscallError](err); ok {
		err = call.Err
	}
	return err
}
