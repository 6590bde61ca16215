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
	"strconv"
	"strings"
	"syscall"
	"time"
)

// accountOptions are the options of account.
type accountOptions struct {
	argOptions
	flags   acctFlags
	taskID  string
	execute bool
}

// execMisused returns the output of a run of --exec that failed before the command: its exit code is not one of the
// command's.
func execMisused(inv *invocation, _ *failure) output {
	if exec := inv.options.find("exec"); exec == nil || exec.value.String() != "true" {
		return nil
	}
	return &execResult{inv.emptyResult(), exitUnrecorded}
}

// newAccount is the command account: record an event.
func newAccount(o *optionSet) action {
	opts := &accountOptions{flags: acctStart}
	opts.register(o)
	o.add(&opts.flags, "f flag", "KIND", "kind of record (default start; update means watchdog):")
	o.add((*text)(&opts.taskID), "task-id", "ID", "task_id of the record (default random)")
	o.add((*toggle)(&opts.execute), "exec", "", "run the command after -- between a start and a stop record")
	return func(ctx context.Context, inv *invocation) (output, error) {
		args, err := opts.recordedArgs(inv)
		if err != nil {
			return nil, err
		}
		t, err := opts.task(inv, args)
		if err != nil {
			return nil, err
		}
		var program string
		if opts.execute {
			var code exitCode
			if program, code, err = lookUp(inv.tail[0]); err != nil {
				return &execResult{inv.emptyResult(), code}, err
			}
		}
		if t.client, _, err = inv.newClient(ctx); err != nil {
			return nil, err
		}
		if opts.execute {
			return t.execute(ctx, program, inv.tail)
		}
		return t.send(ctx, opts.flags, t.args)
	}
}

// recordedArgs returns the arguments of the event. Without any, --exec records its command.
func (opts *accountOptions) recordedArgs(inv *invocation) ([]string, error) {
	if !opts.execute {
		return opts.request(inv.words)
	}
	if len(inv.tail) == 0 {
		return nil, failf(classUsage, "--exec needs -- and a command").withHint("tacacs_plus account USER HOST --exec -- COMMAND...")
	}
	if inv.given("f") {
		return nil, failf(classUsage, "-f cannot be used with --exec, which sends a start and a stop record")
	}
	words := inv.words[:len(inv.words)-len(inv.tail)]
	if opts.command != "" || len(opts.args)+len(words) > 0 {
		return opts.request(words)
	}
	args, changed := recordableArgs(inv.tail)
	if changed {
		inv.warnf(warnRecordChanged, "the record has the command line escaped to US-ASCII, or cut to what fits")
	}
	return opts.withEnd(args), nil
}

// task returns the task that records args. It has checked that its records fit into a packet.
func (opts *accountOptions) task(inv *invocation, args []string) (*task, error) {
	if opts.taskID != "" {
		args = append(args, "task_id="+opts.taskID)
	}
	randomID := !hasArg(args, "task_id")
	args, id, err := recordArgs(args)
	if err != nil {
		return nil, err
	}
	t := &task{inv: inv, method: opts.method, args: args, id: id}
	longest := t.args
	if opts.execute {
		longest = stopArgs(t.record(acctStart, t.args).request.args, 0, notStarted)
	}
	if err := t.record(acctStop, longest).check(inv.request.maxRemAddr()); err != nil {
		return nil, err
	}
	if randomID && (opts.flags == acctWatchdog || opts.flags == acctWatchdogUpdate) {
		inv.warnf(warnNoTaskID, "no --task-id: the %s record matches no start record", opts.flags)
	}
	return t, nil
}

// A task is what the records of one event have in common.
type task struct {
	inv    *invocation
	client *client
	method authenMethod
	args   []string
	id     string   // task_id
	order  []server // for the next record: first the server that got the last; nil before that
	// unclear reports that some of the last record was written, and no reply could be read.
	unclear bool
}

// record returns the request for one record of the task.
func (t *task) record(flags acctFlags, args []string) *record {
	return newRecord(t.inv.request.commonFields(), t.method, flags, args, t.id)
}

// send sends a record. The result has the task_id even if no server confirmed the record, which may be sent again.
func (t *task) send(ctx context.Context, flags acctFlags, args []string) (*result, error) {
	j := &job{request: t.record(flags, args), order: t.order}
	res, err := t.inv.ask(ctx, t.client, j)
	t.order, t.unclear = j.orderFromHere(), j.session.written && j.answer() == nil
	if res.TaskID = t.id; t.unclear && (j.class() == classNetwork || j.class() == classInterrupted) {
		f := *asFailure(err)
		f.hint = strings.TrimSuffix("look for task_id="+t.id+" in the server's log; "+f.hint, "; ")
		err = &f
	}
	return res, err
}

// execute records the start of a command, runs the command with this program's streams, and records
// its end. Without a confirmed start it does not run the command, but records the end of a start that
// may be written. The exit code is the command's, unless the stop record is not confirmed.
func (r *task) execute(ctx context.Context, program string, argv []string) (output, error) {
	stops := stopSignals()
	signals := make(chan os.Signal, len(stops)) // room for one of each
	signal.Notify(signals, stops...)
	defer signal.Stop(signals) // after the stop record another signal ends the process
	streams := r.inv.std
	r.inv.std.out = streams.err // stdout is for the command
	args := r.record(acctStart, r.args).request.args
	started, err := r.send(ctx, acctStart, args)
	if err != nil || started.class != classGranted {
		if r.unclear { // the task may have begun
			signal.Stop(signals)
			_, _ = r.send(context.WithoutCancel(ctx), acctStop, stopArgs(args, 0, notStarted))
			if ctx.Err() != nil && classOf(err) != classInterrupted {
				err = interrupted(ctx)
			}
		}
		return &execResult{started, exitUnrecorded}, notConfirmed("start", started, err, "the command was not run")
	}
	_ = r.inv.show(&execResult{result: started}, r.inv.std.out)

	cmd := exec.Command(program)
	cmd.Args = argv
	cmd.Stdin, cmd.Stdout, cmd.Stderr = r.commandInput(), streams.out, streams.err
	cmd.Env = withoutSecrets(cmd.Environ())
	closeFilesOnExec()
	// A signal may have cancelled ctx, but the stop record is sent even then.
	recordCtx, giveUp := context.WithCancelCause(context.WithoutCancel(ctx))
	defer giveUp(nil)
	began := time.Now()
	err = startCommand(ctx, cmd)
	go forwardSignals(recordCtx, signals, cmd.Process, func() { giveUp(interrupted(ctx)) })
	status := waitCommand(cmd, err)
	res, err := r.send(recordCtx, acctStop, stopArgs(args, time.Since(began), status.text))
	if err != nil || res.class != classGranted {
		return &execResult{res, exitUnrecorded}, notConfirmed("stop", res, err, "the command "+status.summary())
	}
	return &execResult{res, status.code}, status.err
}

// commandInput returns the stdin of the command: this program's, or nil if a secret was read from it.
// A file could be read again there; a terminal cannot.
func (r *task) commandInput() io.Reader {
	if r.inv.std.inIsTerminal() {
		return r.inv.std.in
	}
	var input os.FileInfo
	if f, ok := r.inv.std.in.(*os.File); ok {
		input, _ = f.Stat()
	}
	tls := &r.inv.server.tls
	secrets := append(list{tls.cert, tls.certKey}, r.inv.key.files...)
	if r.inv.password.stdin {
		secrets = append(secrets, "-")
	}
	for _, name := range append(secrets, r.inv.password.files...) {
		if info, _ := os.Stat(name); name == "-" || os.SameFile(info, input) {
			return nil
		}
	}
	return r.inv.std.in
}

// notConfirmed returns the error for a start or stop record that no server confirmed. A record
// without a reply may still have been written. command is the state of the command.
func notConfirmed(kind string, res *result, err error, command string) error {
	if err == nil {
		err = failf(res.class, "%s answered %s", res.Server, res.Status)
	}
	f := *asFailure(err)
	f.err = fmt.Errorf("the %s record was not confirmed, %s: %w", kind, command, f.err)
	return &f
}

// The exit codes of --exec other than the command's, the same as those of env and timeout.
const (
	exitUnrecorded exitCode = 125
	exitCannotRun  exitCode = 126
	exitNotFound   exitCode = 127
)

// lookUp returns the path of a command's program. A program that does not exist gets no records.
func lookUp(name string) (program string, code exitCode, err error) {
	if program, err = exec.LookPath(name); err == nil {
		return program, 0, nil
	}
	missing := errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist)
	return "", choose(missing, exitNotFound, exitCannotRun), failf(classUsage, "%w", err)
}

// An execResult is the result of a start or stop record. Its exit code replaces that of the result,
// unless a signal interrupted the run. It prints no line, since people see the command's output.
type execResult struct {
	*result
	code exitCode
}

func (e *execResult) finish(err error) *failure {
	f := e.result.finish(err)
	if classOf(err) != classInterrupted {
		e.ExitCode = e.code
	}
	return f
}

func (e *execResult) line() string { return "" }

const notStarted = "not started" // the err_msg of a command that was not run

// A commandStatus is how a command ended.
type commandStatus struct {
	code exitCode // as in a shell: 128 and the number of a signal
	text string   // such as "exit status 3" or "signal: killed"
	err  error    // if it did not start
}

// summary completes a sentence that begins with "the command".
func (s commandStatus) summary() string {
	return choose(s.err != nil, "was ", "ran: ") + s.text
}

// startCommand starts cmd, unless a signal came while the start was recorded.
func startCommand(ctx context.Context, cmd *exec.Cmd) error {
	if ctx.Err() != nil {
		return interrupted(ctx)
	}
	if err := cmd.Start(); err != nil {
		return failf(classUsage, "run %s: %w", cmd.Args[0], cause(err))
	}
	return nil
}

// waitCommand waits for the end of cmd. startErr is the error of startCommand.
func waitCommand(cmd *exec.Cmd, startErr error) commandStatus {
	if startErr != nil {
		return commandStatus{exitCannotRun, notStarted, startErr}
	}
	_ = cmd.Wait()
	state := cmd.ProcessState
	if w, ok := state.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return commandStatus{code: exitCode(128 + int(w.Signal())), text: state.String()}
	}
	return commandStatus{code: exitCode(state.ExitCode()), text: "exit status " + strconv.Itoa(state.ExitCode())}
}

// forwardSignals forwards SIGTERM and SIGHUP to the command until ctx ends. A terminal sends Ctrl-C and
// Ctrl-\ to the command itself, so those are not forwarded. After the end of the command, or if it did
// not start, a second signal calls giveUp. SIGHUP never does, since a closed terminal may send two.
func forwardSignals(ctx context.Context, signals <-chan os.Signal, command *os.Process, giveUp func()) {
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case received := <-signals:
			hangup, sent := received == syscall.SIGHUP, received
			if !hangup && received != syscall.SIGTERM {
				sent = syscall.Signal(0) // only tests whether the command still runs
			}
			ended := command == nil || errors.Is(command.Signal(sent), os.ErrProcessDone)
			if ended && n > 1 && !hangup {
				giveUp()
			}
		}
	}
}
