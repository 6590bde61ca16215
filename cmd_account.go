package main

import (
	"context"
)

// A task is what the records of one event have in common.
type task struct {
	inv    *invocation
	client *client
	method authenMethod
	args   []string
	id     string
	first  int // the server that takes the next record: the one that took the last
}

// accountOptions are the options of the command account.
type accountOptions struct {
	argOptions
	flags   acctFlags
	taskID  string
	execute bool
}

// newAccount is the command account: record this.
func newAccount(o *optionSet) action {
	own := &accountOptions{flags: acctStart}
	own.register(o)
	o.add(&own.flags, "f flag", "KIND", "kind of the record (default start; update is watchdog):")
	o.add((*text)(&own.taskID), "task-id", "ID", "task_id of the record (default random)")
	o.add((*toggle)(&own.execute), "exec", "", "run what stands after -- between two records")
	return func(ctx context.Context, inv *invocation) (output, error) {
		args, err := own.about(inv)
		if err != nil {
			return nil, err
		}
		r, err := own.task(inv, args)
		if err != nil {
			return nil, err
		}
		var program string
		if own.execute {
			var code exitCode
			if program, code, err = lookUp(inv.tail[0]); err != nil {
				return &execResult{&result{Command: inv.command.name, User: inv.request.user}, code}, err
			}
		}
		secrets, err := inv.secrets(ctx)
		if err != nil {
			return nil, err
		}
		if r.client, err = inv.client(ctx, secrets.keys); err != nil {
			return nil, err
		}
		if own.execute {
			return r.execute(ctx, program, inv.tail)
		}
		return r.send(ctx, own.flags, r.args)
	}
}

// about is what the command line says that is to be recorded.
func (own *accountOptions) about(inv *invocation) ([]string, error) {
	if !own.execute {
		return own.request(inv.words)
	}
	if len(inv.tail) == 0 {
		return nil, failf(classUsage, "--exec needs -- and a command").withHint("tacacs_plus account USER HOST --exec -- COMMAND...")
	}
	if inv.given("f") {
		return nil, failf(classUsage, "--exec sends a start and a stop record; -f does not go with it")
	}
	words := inv.words[:len(inv.words)-len(inv.tail)]
	if own.command != "" || len(own.args)+len(words) > 0 {
		return own.request(words)
	}
	args := commandArgs(inv.tail)
	if err := checkArgs(args); err != nil {
		return nil, failf(classUsage, "%w", err).withHint("--cmd can say what to record in its place")
	}
	return args, nil
}

// task is what the records about args have in common. All of them fit into a packet.
func (own *accountOptions) task(inv *invocation, args []string) (*task, error) {
	if own.taskID != "" {
		args = append(args, "task_id="+own.taskID)
	}
	made := !hasArg(args, "task_id")
	args, id, err := recordArgs(args)
	if err != nil {
		return nil, err
	}
	r := &task{inv: inv, method: own.method, args: args, id: id}
	last := r.args
	if own.execute { // the longest of its records is the last one
		last = stopArgs(r.record(acctStart, r.args).request.args, 0, "not started")
	}
	if err := r.record(acctStop, last).check(inv.request.maxRemAddr()); err != nil {
		return nil, err
	}
	if made && own.flags != acctStart {
		inv.warnf("no --task-id: the %s record belongs to no start record", own.flags)
	}
	return r, nil
}

// record is the request for one record of the task.
func (r *task) record(flags acctFlags, args []string) *record {
	return newRecord(r.inv.request.commonFields(), r.method, flags, args, r.id)
}

func (r *task) send(ctx context.Context, flags acctFlags, args []string) (*result, error) {
	j := &job{request: r.record(flags, args), firstServer: r.first}
	res, err := r.inv.do(ctx, r.client, j)
	r.first += j.failedAttempts
	res.TaskID = r.id // also of a record that was not confirmed: it may be tried again
	return res, err
}
