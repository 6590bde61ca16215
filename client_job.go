package main

import (
	"cmp"
	"context"
	"time"
)

// A job is a request on its way through the servers, and what came of it.
type job struct {
	request dialogue
	res     result
	err     error     // why there is no verdict, or why it is not enough
	due     time.Time // when the request was to be sent
	owner   jobOwner  // nil if a requester has the job

	firstServer    int     // the server that is asked first
	failedAttempts int     // attempts without a verdict
	session        session // of the attempt under way, or of the last one
	replyLost      bool    // a connection that had answered others before left it without a reply

	writesBefore int       // how many writes its mux had made before; after one more it went out
	place        node[job] // in a queue
}

// A jobOwner gets its job back from a pool when it is done.
type jobOwner interface {
	jobDone(*job)
}

// class returns how the job ended.
func (j *job) class() class {
	if j.err != nil {
		return classOf(j.err)
	}
	return j.res.class
}

// answer returns the status that the server replied with, or nil if no reply could be read.
func (j *job) answer() status {
	switch j.class() {
	case classGranted, classDenied, classServer:
		return j.res.status
	}
	return nil
}

// serverOf returns the server that the job asks now.
func (c *client) serverOf(j *job) server {
	return c.servers[(j.firstServer+j.failedAttempts)%len(c.servers)]
}

// begin prepares a new attempt: it names the server and starts its time. What follows RESTART, or a connection that
// ended, is the same attempt, and has what is left of the time.
func (c *client) begin(j *job, now time.Time) {
	if j.session.deadline.IsZero() {
		j.session.deadline, j.session.timing = now.Add(c.timeout), timing{start: now}
		j.res.reset(c.serverOf(j).name, &j.session.timing)
	}
}

// apply takes over a reaction: its verdict and, for the person, its warnings.
func (j *job) apply(r reaction, warnf func(format string, args ...any)) error {
	if r.verdict.status != nil {
		j.res.setReply(&r.verdict)
	}
	for _, text := range r.warnings {
		warnf("%s", text)
	}
	if r.restart {
		return errRestart
	}
	return r.err
}

// recordEnd records how an attempt ended, and what is known of its connection; conn is nil if there was none. What a
// server sent before it failed is no verdict.
func (j *job) recordEnd(conn *serverConn, now time.Time) {
	j.session.timing.total = now.Sub(j.session.timing.start)
	if conn == nil {
		return
	}
	conn.idleSince = now
	if j.err != nil && classOf(j.err) != classDenied {
		j.res.reset(j.res.Server, j.res.Timing)
	}
	j.res.Address, j.res.Local, j.res.Transport, j.res.TLS = conn.address, conn.local, conn.client.transport(), conn.facts
	if conn.client.singleConnect {
		j.res.SingleConnect = &conn.established // which does not change any more
	}
	if j.err == nil && j.res.class == classServer {
		j.err = answeredError(conn.server, &j.res)
	}
}

// answeredError returns the failure that an ERROR is, with the reason that the server gave.
func answeredError(srv server, res *result) error {
	reason := ""
	if why := oneLine(cmp.Or(res.ServerMsg, res.Data)); why != "" {
		reason = ": " + why
	}
	return failf(classServer, "%s answered ERROR%s", srv, reason).
		withHint("the server could not decide: a back end that is down, or a request it does not support; its log says which")
}

// recordOutcome records what came of an attempt, and reports whether the job is to be tried again.
func (c *client) recordOutcome(ctx context.Context, j *job, warnf func(format string, args ...any)) (again bool) {
	if j.err != nil && ctx.Err() != nil {
		j.err = interrupted(ctx)
	}
	came := outcomeOf(j.err)
	// Less than a fair time without a reply does not mean that the server forgot it.
	j.replyLost = j.replyLost || came == outcomeTimedOut && j.session.reused && j.session.deadline.Sub(j.session.sentAt) >= minReplyTime
	switch retryAfter(came, j.request.repeatable(), j.session.reused) {
	case retrySameServer:
		if came == outcomeTimedOut {
			j.session.deadline = time.Time{} // it is over
		}
		return true
	case retryNextServer:
		if j.failedAttempts++; j.failedAttempts < (c.retries+1)*len(c.servers) {
			warnf("%v; trying %s", j.err, c.serverOf(j))
			j.res.addAttempt(j.err)
			j.request.reset()
			j.session.deadline = time.Time{}
			return true
		}
	}
	return false
}

// minReplyTime is the least time that a server must have had before a missing reply counts as forgotten.
const minReplyTime = 100 * time.Millisecond
