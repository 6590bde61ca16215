package main

import (
	"cmp"
	"context"
	"errors"
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

// An outcome is what came of one attempt to have a request answered.
type outcome uint8

const (
	outcomeFailed        outcome = iota // the server replied ERROR or nothing usable, or it cannot be reached
	outcomeDecided                      // a verdict, or an error that no other server can change
	outcomeRestart                      // the server asks for another session
	outcomeNotSent                      // nothing of the request was written
	outcomeConnLost                     // it was written, and the connection ended before its reply
	outcomeTimedOut                     // no byte of a reply came in time
	outcomeFlagViolation                // the reply broke the rule of the UNENCRYPTED flag: it counts as FAIL (section 10.5.2)
)

// An attemptError is the failure of an attempt with its outcome.
type attemptError struct {
	failure *failure
	outcome outcome
}

func (e *attemptError) Error() string { return e.failure.Error() }
func (e *attemptError) Unwrap() error { return e.failure }

// errRestart asks for another session. The result keeps what the server sent with its RESTART.
var errRestart = &attemptError{failf(classDenied, "restart"), outcomeRestart}

// outcomeOf returns the outcome of an attempt that ended with err. No other server changes what this side decided, or
// found wrong.
func outcomeOf(err error) outcome {
	if err == nil {
		return outcomeDecided
	}
	var attempt *attemptError
	if errors.As(err, &attempt) {
		return attempt.outcome
	}
	switch classOf(err) {
	case classDenied, classUsage, classInterrupted:
		return outcomeDecided
	}
	return outcomeFailed
}

// A retry is what follows from an outcome.
type retry uint8

const (
	noRetry         retry = iota // there is nothing more to ask
	retrySameServer              // the same server again, in another session, which is not counted
	retryNextServer              // the next server, or the same in the next round, up to the limit
)

// retryAfter is the one retry policy. reused reports whether the connection had answered other requests before.
//
// A server may end such a connection at any time (section 4.3), and some forget a session on it: the request goes to
// the same server once more, over a new connection, unless it is a record that could be written twice. An ERROR, or a
// server that fails, makes way for the next one; a verdict does not (section 4.4), and a reply that broke the
// UNENCRYPTED rule counts as one (section 10.5.2).
func retryAfter(came outcome, repeatable, reused bool) retry {
	switch came {
	case outcomeDecided, outcomeFlagViolation:
		return noRetry
	case outcomeRestart:
		return retrySameServer
	case outcomeNotSent:
		if reused {
			return retrySameServer
		}
	case outcomeConnLost, outcomeTimedOut:
		if reused && repeatable {
			return retrySameServer
		}
	}
	return retryNextServer
}

// A requester carries jobs to the servers, one after the other, and owns the connection that it keeps from one to the
// next.
type requester struct {
	client   *client
	warnf    func(format string, args ...any) // gets warnings for the person; nil discards them
	ask      askFunc                          // nil if there is no person to ask
	keepConn bool                             // for the next job, in single-connection mode
	conn     *serverConn                      // nil for none
}

// An askFunc shows a prompt to a person and returns the answer. The error is errNoAnswer if there is none.
type askFunc func(ctx context.Context, prompt string, hidden bool) (string, error)

// discardf is for warnings that are not shown.
func discardf(string, ...any) {}

// do carries a job to the servers until one of them decides.
func (r *requester) do(ctx context.Context, j *job) {
	if r.warnf == nil {
		r.warnf = discardf
	}
	for more := true; more; more = r.client.recordOutcome(ctx, j, r.warnf) {
		r.client.begin(j, time.Now())
		r.attempt(ctx, j)
	}
	if !r.keepConn {
		r.close()
	}
}

// attempt carries a job through one session.
func (r *requester) attempt(ctx context.Context, j *job) {
	if j.err = r.ensureConn(ctx, j); j.err == nil {
		j.session.start(r.conn, j.request, newSessionID())
		j.err = r.roundTrips(ctx, j)
	}
	j.recordEnd(r.conn, time.Now())
	if r.conn != nil && (!r.conn.established || r.conn.noNewSessions) {
		r.close()
	}
}

// ensureConn keeps the connection if it goes to the right server and can be used, and dials a new one if not.
func (r *requester) ensureConn(ctx context.Context, j *job) (err error) {
	srv := r.client.serverOf(j)
	if r.conn != nil && (r.conn.server != srv || r.conn.stale(time.Now())) {
		r.close()
	}
	if r.conn == nil {
		j.res.reset(j.res.Server, j.res.Timing) // nothing is left of a session before
		r.conn, err = r.client.dial(ctx, j)
		return err
	}
	_ = r.conn.conn.SetDeadline(j.session.deadline)
	return ctx.Err() // whose end may have set another deadline before
}


// close ends the connection that is kept.
func (r *requester) close() {
	if r.conn != nil {
		r.conn.close()
		r.conn = nil
	}
}

// roundTrips carries a request through its session, to the verdict. A session that ends otherwise leaves a connection
// that cannot be used again: what follows on it could belong to this session.
func (r *requester) roundTrips(ctx context.Context, j *job) error {
	s := &j.session
	m, err := j.request.firstMessage(s.conn.remAddr)
	aborted := false
	for err == nil && m != nil {
		if err = s.send(m); err != nil {
			break
		}
		if err = s.receive(j.request.reply()); err != nil {
			break
		}
		next := j.request.on(s.conn.server.name)
		err = j.apply(next, r.warnf)
		for err == nil && next.prompt != nil {
			next = j.request.answer(r.askPerson(ctx, s, next.prompt))
			err = j.apply(next, r.warnf)
		}
		if next.abort != nil {
			s.sendAbort(next.abort)
			aborted = true
		}
		m = next.send
	}
	if aborted || err != nil && outcomeOf(err) != outcomeRestart {
		s.conn.noNewSessions = true
	}
	return err
}

// askPerson gets one line from the person. The time it takes is not the server's, so the deadline moves with it.
func (r *requester) askPerson(ctx context.Context, s *session, p *prompt) (string, error) {
	if r.ask == nil {
		return "", errNoAnswer
	}
	began := time.Now()
	text, err := r.ask(ctx, p.text(s.conn.server.name), p.hidden)
	s.deadline = s.deadline.Add(time.Since(began))
	_ = s.conn.conn.SetDeadline(s.deadline)
	return text, err
}
