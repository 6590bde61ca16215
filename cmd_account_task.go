package main

import "context"

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
