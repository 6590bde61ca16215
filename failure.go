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

// A class is what kind of end a request or a command line came to.
type class uint8

const (
	classGranted class = iota
	classDenied
	classUsage
	classServer
	classNetwork
	classProtocol
	classTLS
	classInterrupted
)

// classes are the names and the exit codes, which are part of the contract with scripts.
var classes = [...]struct {
	name string
	exit exitCode
}{
	classGranted:     {"granted", 0},
	classDenied:      {"denied", 1},
	classUsage:       {"usage", 2},
	classServer:      {"server error", 3},
	classNetwork:     {"network", 4},
	classProtocol:    {"protocol", 5},
	classTLS:         {"TLS", 6},
	classInterrupted: {"interrupted", 130},
}

func (c class) String() string { return classes[c].name }

// exit is the exit code of a run that ended so.
func (c class) exit() exitCode { return classes[c].exit }

// An exitCode is what the process ends with: that of a class, of a command that was run, or one of
// Nagios' states.
type exitCode int

// A failure is an error with its class, and a hint where the cause is known.
type failure struct {
	class class
	err   error
	hint  string
	// signal is the one that interrupted the run; 0 where it was none.
	signal syscall.Signal
}

// failf makes a failure of a class.
func failf(c class, format string, args ...any) *failure {
	return &failure{class: c, err: fmt.Errorf(format, args...)}
}

// errInterrupted is what the end of a context leaves of whatever it meets.
var errInterrupted = failf(classInterrupted, "interrupted")

// interruptedBy is errInterrupted where a signal ended the context.
func interruptedBy(s syscall.Signal) *failure {
	return &failure{class: classInterrupted, err: errInterrupted.err, signal: s}
}

// interrupted is the failure that a context's end is.
func interrupted(ctx context.Context) *failure {
	if f, ok := context.Cause(ctx).(*failure); ok {
		return f
	}
	return errInterrupted
}

// withHint adds what the person can do about it.
func (f *failure) withHint(format string, args ...any) *failure {
	f.hint = fmt.Sprintf(format, args...)
	return f
}

// exit is the exit code of a run that ended with the failure, as a shell counts it.
func (f *failure) exit() exitCode {
	if f.signal != 0 {
		return exitCode(128 + int(f.signal))
	}
	return f.class.exit()
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// asFailure gives any error a class; one without a class of its own came from this system.
func asFailure(err error) *failure {
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	return &failure{class: classUsage, err: err}
}

// classOf is the class of an error; nil is granted.
func classOf(err error) class {
	if err == nil {
		return classGranted
	}
	return asFailure(err).class
}

// isClosed says that the other side ended the connection.
func isClosed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || isErrno(err, syscall.ECONNRESET, 10054) ||
		isErrno(err, syscall.EPIPE, 10058) || isErrno(err, syscall.ECONNABORTED, 10053)
}

// isErrno compares with an error number of this system or with its number on Windows, which
// the syscall package does not name; no other system has errors that high.
func isErrno(err error, unix, windows syscall.Errno) bool {
	return errors.Is(err, unix) || errors.Is(err, windows)
}

// cause takes off an error what net and os put around it, since the message says it already.
func cause(err error) error {
	var lookup *net.DNSError
	if errors.As(err, &lookup) {
		return errors.New(lookup.Err)
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	var call *os.SyscallError
	if errors.As(err, &call) {
		err = call.Err
	}
	return err
}
