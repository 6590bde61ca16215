package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// execute records the start of a command, runs it with this program's own streams, and records
// its end. Nothing runs unrecorded: without a recorded start the command is not run. The exit
// code is the command's, unless its end could not be recorded.
func (r *task) execute(ctx context.Context, program string, argv []string) (output, error) {
	r.inv.std.watched()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, stopSignals()...)
	defer signal.Stop(signals) // only when the end is recorded
	streams := r.inv.std
	r.inv.std.out = streams.err // the other one is the command's
	began := time.Now()
	res, err := r.send(ctx, acctStart, r.args)
	if err != nil || res.class != classGranted {
		return &executed{result: res}, notRecorded("start", res, err, "the command was not run")
	}
	r.inv.show(&executed{result: res}, r.inv.std.out)

	status := exitStatus{code: classInterrupted.exit(), text: "not started: interrupted"}
	if ctx.Err() == nil {
		cmd := exec.Command(program)
		cmd.Args = argv
		cmd.Stdin, cmd.Stdout, cmd.Stderr = r.commandInput(), streams.out, streams.err
		cmd.Env = r.commandEnv(cmd.Environ())
		withholdFiles()
		status = runForwarding(cmd, signals)
	}
	if status.err != nil {
		r.inv.warn("run %s: %v", argv[0], status.err)
	}
	args := stopArgs(r.args, began, time.Now(), status.text)
	// A signal ended the command, perhaps, but its end is recorded all the same.
	res, err = r.send(context.WithoutCancel(ctx), acctStop, args)
	if err != nil || res.class != classGranted {
		return &executed{result: res}, notRecorded("stop", res, err, "the command ran: "+status.text)
	}
	return &executed{res, status.code}, nil
}

// commandEnv is the environment for the command: this program's own without its secrets.
func (r *task) commandEnv(env []string) []string {
	return slices.DeleteFunc(env, func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return strings.EqualFold(name, r.inv.key.env) || strings.EqualFold(name, r.inv.password.env) // Windows ignores case
	})
}

// commandInput is the standard input for the command: this program's own, or nothing where a secret
// came from it, which a file would give a second time. A terminal does not.
func (r *task) commandInput() io.Reader {
	if r.inv.terminal != nil {
		return r.inv.std.in
	}
	var input os.FileInfo
	if f, ok := r.inv.std.in.(*os.File); ok {
		input, _ = f.Stat()
	}
	tls := r.inv.server.tls
	for _, name := range append(list{tls.cert, tls.certKey}, r.inv.key.files...) {
		if info, _ := os.Stat(name); name == "-" || os.SameFile(info, input) {
			return nil
		}
	}
	return r.inv.std.in
}

func notRecorded(kind string, res *result, err error, then string) error {
	if err == nil {
		err = failf(res.class, "%s answered %s", res.Server, res.Status)
	}
	f := *asFailure(err)
	f.err = fmt.Errorf("the %s record was not written, %s: %w", kind, then, f.err)
	return &f
}

// An executed is the result of a record about a command that was run: without an error, the exit
// code is the command's. It has no line of its own, since people see the command's output.
type executed struct {
	*result
	code exitCode
}

func (e *executed) conclude(err error) *failure {
	f := e.result.conclude(err)
	if err == nil {
		e.ExitCode = e.code
	}
	return f
}

func (e *executed) line() string { return "" }

// An exitStatus is how a command ended, as a shell counts it.
type exitStatus struct {
	code exitCode
	text string // such as "exit status 3" or "signal: killed"
	err  error  // where it did not start
}

// runForwarding runs cmd and hands on to it the signals that a terminal does not send to both:
// Ctrl-C and Ctrl-\\ reach the command by themselves, and this program waits for what it makes of that.
func runForwarding(cmd *exec.Cmd, signals <-chan os.Signal) exitStatus {
	if err := cmd.Start(); err != nil {
		return exitStatus{code: 126, text: "not started", err: cause(err)}
	}
	done := make(chan struct{})
	go func() {
		for {
			select {
			case s := <-signals:
				if s == syscall.SIGTERM || s == syscall.SIGHUP {
					_ = cmd.Process.Signal(s)
				}
			case <-done:
				return
			}
		}
	}()
	_ = cmd.Wait()
	close(done)
	state := cmd.ProcessState
	if w, ok := state.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return exitStatus{code: exitCode(128 + int(w.Signal())), text: state.String()}
	}
	return exitStatus{code: exitCode(state.ExitCode()), text: "exit status " + strconv.Itoa(state.ExitCode())}
}
