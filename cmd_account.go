package main

import "context"

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
	return &execResult{&result{Command: inv.command.name, User: inv.request.user}, exitUnrecorded}
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
				return &execResult{&result{Command: inv.command.name, User: inv.request.user}, code}, err
			}
		}
		secrets, err := inv.secrets(ctx)
		if err != nil {
			return nil, err
		}
		if t.client, err = inv.client(ctx, secrets.keys); err != nil {
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
		longest = stopArgs(t.record(acctStart, t.args).request.args, 0, "not started")
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
	id     string // task_id
	first  int    // the server that gets the next record: the one that got the last
}

// record returns the request for one record of the task.
func (t *task) record(flags acctFlags, args []string) *record {
	return newRecord(t.inv.request.commonFields(), t.method, flags, args, t.id)
}

// send sends a record. The result has the task_id even if no server confirmed the record, which may be sent again.
func (t *task) send(ctx context.Context, flags acctFlags, args []string) (*result, error) {
	j := &job{request: t.record(flags, args), firstServer: t.first}
	res, err := t.inv.do(ctx, t.client, j)
	t.first += j.failedAttempts
	res.TaskID = t.id
	return res, err
}
