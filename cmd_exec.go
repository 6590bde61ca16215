package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
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
// its end. Nothing runs unrecorded: without a confirmed start the command is not run. The exit
// code is the command's, unless its end is not confirmed.
func (r *task) execute(ctx context.Context, program string, argv []string) (output, error) {
	r.inv.std.watched()
	stops := stopSignals()
	signals := make(chan os.Signal, len(stops)) // none is lost
	signal.Notify(signals, stops...)
	defer signal.Stop(signals) // when the end is recorded, another one ends even what hangs
	streams := r.inv.std
	r.inv.std.out = streams.err // the other one is the command's
	started, err := r.send(ctx, acctStart, r.args)
	if err != nil || started.class != classGranted {
		return &executed{started, exitUnrecorded}, notConfirmed("start", started, err, "the command was not run")
	}
	_ = r.inv.show(&executed{result: started}, r.inv.std.out)

	cmd := exec.Command(program)
	cmd.Args = argv
	cmd.Stdin, cmd.Stdout, cmd.Stderr = r.commandInput(), streams.out, streams.err
	cmd.Env = r.commandEnv(cmd.Environ())
	withholdFiles()
	// A signal ended the command, perhaps, but its end is recorded all the same.
	waiting, giveUp := context.WithCancelCause(context.WithoutCancel(ctx))
	defer giveUp(nil)
	began := time.Now()
	err = start(ctx, cmd)
	go forward(waiting, signals, cmd.Process, func() { giveUp(interrupted(ctx)) })
	status := await(cmd, err)
	res, err := r.send(waiting, acctStop, stopArgs(started.Arguments.Request, time.Since(began), status.text))
	if err != nil || res.class != classGranted {
		return &executed{res, exitUnrecorded}, notConfirmed("stop", res, err, "the command "+status.summary())
	}
	return &executed{res, status.code}, status.err
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
	secrets := slices.Concat(list{tls.cert, tls.certKey}, r.inv.key.files, r.inv.password.files)
	if r.inv.password.stdin {
		secrets = append(secrets, "-")
	}
	for _, name := range secrets {
		if info, _ := os.Stat(name); name == "-" || os.SameFile(info, input) {
			return nil
		}
	}
	return r.inv.std.in
}

// notConfirmed is the error that a record of the command's start or end leaves. All that is known of
// a record without an answer is that no server confirmed it.
func notConfirmed(kind string, res *result, err error, then string) error {
	if err == nil {
		err = failf(res.class, "%s answered %s", res.Server, res.Status)
	}
	f := *asFailure(err)
	f.err = fmt.Errorf("the %s record was not confirmed, %s: %w", kind, then, f.err)
	return &f
}

// The exit codes of --exec other than the command's own, which are those of env and timeout.
const (
	exitUnrecorded exitCode = 125
	exitCannotRun  exitCode = 126
	exitNotFound   exitCode = 127
)

// lookUp finds the program of a command. Nothing is recorded of one that is not there.
func lookUp(name string) (program string, code exitCode, err error) {
	if program, err = exec.LookPath(name); err == nil {
		return program, 0, nil
	}
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return "", exitNotFound, failf(classUsage, "%w", err)
	}
	return "", exitCannotRun, failf(classUsage, "%w", err)
}

// An executed is the result of a record about a command, and the exit code, unless a signal
// interrupted it all. It has no line of its own, since people see the command's output.
type executed struct {
	*result
	code exitCode
}

func (e *executed) finish(err error) *failure {
	f := e.result.finish(err)
	if classOf(err) != classInterrupted {
		e.ExitCode = e.code
	}
	return f
}

func (e *executed) line() string { return "" }

// An exitStatus is how a command ended, as a shell counts it.
type commandStatus struct {
	code exitCode
	text string // such as "exit status 3" or "signal: killed"
	err  error  // where it did not start
}

// did says what the command did.
func (s commandStatus) summary() string {
	if s.err != nil {
		return "was " + s.text
	}
	return "ran: " + s.text
}

// start starts cmd, unless a signal came while that was recorded.
func start(ctx context.Context, cmd *exec.Cmd) error {
	if ctx.Err() != nil {
		return interrupted(ctx)
	}
	if err := cmd.Start(); err != nil {
		return failf(classUsage, "run %s: %w", cmd.Args[0], cause(err))
	}
	return nil
}

// await waits for the end of cmd, which err kept from being started.
func await(cmd *exec.Cmd, err error) commandStatus {
	if err != nil {
		return commandStatus{exitCannotRun, "not started", err}
	}
	_ = cmd.Wait()
	state := cmd.ProcessState
	if w, ok := state.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return commandStatus{code: exitCode(128 + int(w.Signal())), text: state.String()}
	}
	return commandStatus{code: exitCode(state.ExitCode()), text: "exit status " + strconv.Itoa(state.ExitCode())}
}

// forward hands on to the command, until ctx ends, the signals that a terminal does not send to
// both: Ctrl-C and Ctrl-\ reach the command by themselves, and this program waits for what it makes
// of that. Where the command has ended, or was not started, a second signal calls giveUp. SIGHUP does
// not: a closed terminal may bring two of them.
func forward(ctx context.Context, signals <-chan os.Signal, command *os.Process, giveUp func()) {
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case s := <-signals:
			hangup, handed := s == syscall.SIGHUP, s
			if !hangup && s != syscall.SIGTERM {
				handed = syscall.Signal(0) // only asks whether the command is there
			}
			ended := command == nil || errors.Is(command.Signal(handed), os.ErrProcessDone)
			if ended && n > 1 && !hangup {
				giveUp()
			}
		}
	}
}
