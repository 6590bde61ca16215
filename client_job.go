package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// A job is a request and its result.
type job struct {
	request dialogue
	// steps carries the job if it is several requests, one after the other, of which request is the first; nil for one.
	steps func(context.Context, *requester, *job)
	res   result
	err   error     // why there is no verdict, or why it is not enough
	due   time.Time // when the request was to be sent
	owner jobOwner  // nil for a requester

	origin    jobOrigin   // zero for this program
	order     []server    // in which the servers are tried, set before the first attempt
	turn      int         // of the current or the last attempt, in rounds over order
	session   session     // of the current or the last attempt
	replyLost bool        // a connection to its server that had answered others before did not answer it
	abandoned atomic.Bool // its owner waits no more: no other attempt is made
	keepConn  bool        // its worker keeps the connection for the next job

	writesBefore int       // of its mux, when it was queued; with one more it was written
	place        node[job] // in a queue
}

// A jobOrigin is a device, and its connection that a request came from.
type jobOrigin struct {
	device    string      // for deadServers
	forwarded proxyHeader // for sendProxy
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

// answer returns the status of the reply, or nil if none could be read.
func (j *job) answer() status {
	switch j.class() {
	case classGranted, classDenied, classServer:
		return j.res.status
	}
	return nil
}

// server returns the server that the job asks now.
func (j *job) server() *server { return &j.order[j.turn%len(j.order)] }

// orderFromHere returns the servers in the order for a job that follows this one: first the server that this one asked last.
func (j *job) orderFromHere() []server {
	last := j.turn % len(j.order)
	return slices.Concat(j.order[last:], j.order[:last])
}

// order returns the servers in the order in which a job that begins now tries them.
func (c *client) order() []server {
	if c.dead != nil {
		return c.dead.order(c.servers)
	}
	return c.servers
}

// nextTurn returns the next turn of a job. Only the first round skips dead servers. From a server over TLS no job goes to
// one that is not (RFC 9887 section 5.1.1). ok is false after the last round.
func (c *client) nextTurn(j *job) (turn int, ok bool) {
	return j.nextTurn((c.retries+1)*len(j.order), c.dead.skips)
}

// nextTurn returns the next turn below last. skips reports whether a server is skipped in the first round.
func (j *job) nextTurn(last int, skips func(server) bool) (turn int, ok bool) {
	for turn = j.turn + 1; turn < last; turn++ {
		srv := j.order[turn%len(j.order)]
		if (srv.tls || !j.server().tls) && (turn >= len(j.order) || !skips(srv)) {
			return turn, true
		}
	}
	return turn, false
}

// hasNextServer reports whether the job can go to another server than the one that it asks now.
func (c *client) hasNextServer(j *job) bool {
	turn, ok := c.nextTurn(j)
	return ok && j.order[turn%len(j.order)] != *j.server()
}

// begin starts the time of a new attempt. A session after RESTART, or after a connection that ended, belongs to the same
// attempt, and has the rest of its time.
func (c *client) begin(j *job, now time.Time) {
	if j.order == nil {
		j.order = c.order()
	}
	j.session.reused, j.session.unanswered = false, false
	if j.session.deadline.IsZero() {
		j.session.deadline, j.session.timing = now.Add(c.timeout), timing{start: now}
		j.res.reset(j.server().name, &j.session.timing)
	}
}

// apply applies the verdict and the warnings of a reaction, and returns its error.
func (j *job) apply(r reaction, warnf warnFunc) error {
	if r.verdict.status != nil {
		j.res.setReply(&r.verdict)
	}
	for _, w := range r.warnings {
		j.warn(warnf, w)
	}
	if r.restart {
		return errRestart
	}
	return r.err
}

// warn adds a warning to the result, and prints it.
func (j *job) warn(warnf warnFunc, w namedWarning) {
	j.res.Warnings = append(j.res.Warnings, w)
	warnf(w.kind, "%s", w.Message)
}

// recordEnd records the end of an attempt and its connection; conn is nil if there was none. What a server sent before it
// failed is no verdict.
func (j *job) recordEnd(conn *serverConn, now time.Time) {
	j.session.timing.total = now.Sub(j.session.timing.start)
	if conn == nil {
		return
	}
	conn.idleSince = now
	if j.err != nil && classOf(j.err) != classDenied {
		j.res.reset(j.res.Server, j.res.Timing)
	}
	j.res.Address, j.res.Local, j.res.Transport, j.res.TLS = conn.address, conn.local, conn.server.transport(), conn.facts
	j.res.KeyFile = conn.keyFile
	if conn.client.singleConnect {
		j.res.SingleConnect = &conn.established // final by now
	}
	if j.err == nil && j.res.class == classServer {
		j.err = answeredError(&conn.server, &j.res)
	}
}

// answeredError returns the failure for an ERROR, with the reason that the server gave, or else a hint.
func answeredError(srv *server, res *result) error {
	if reason := res.message(); reason != "" {
		return failf(classServer, "%s answered ERROR: %s", srv, reason)
	}
	return failf(classServer, "%s answered ERROR", srv).
		withHint("see the server's log: its back end may be down, or it does not support the request")
}

// recordOutcome records the outcome of an attempt, and reports whether to try the job again.
func (c *client) recordOutcome(ctx context.Context, j *job, warnf warnFunc) (again bool) {
	if j.err != nil && ctx.Err() != nil {
		j.err = interrupted(ctx)
	}
	came := outcomeOf(j.err)
	c.recordSilence(ctx, j, came)
	c.countOutcome(j, came)
	j.replyLost = j.replyLost || came == outcomeTimedOut && j.session.reused && j.session.deadline.Sub(j.session.sentAt) >= minReplyTime
	if j.abandoned.Load() {
		return false
	}
	switch retryAfter(came, j.request.repeatable(), j.session.reused) {
	case retrySameServer:
		if !time.Now().Before(j.session.deadline) {
			j.session.deadline = time.Time{}
		}
		return true
	case retryNextServer:
		next, ok := c.nextTurn(j)
		if !ok && (came == outcomeNotSent || came == outcomeConnLost || came == outcomeTimedOut) {
			// The server that lived does not: try those that were dead.
			next, ok = j.nextTurn(len(j.order), func(server) bool { return false })
		}
		if ok {
			j.turn = next
			j.warn(warnf, newWarning(warnFailover, "%v; trying %s", j.err, j.server()))
			j.res.addAttempt(j.err)
			j.request.reset()
			j.session.deadline, j.replyLost = time.Time{}, false // the server is silent
			return true
		}
		c.hintSkipped(j)
	case noRetry:
		if mayBeWritten(came) {
			c.noteUnconfirmed(j)
			c.hintSkipped(j)
		}
	}
	return false
}

// noteUnconfirmed adds to the error of a request that may be carried out, and is not sent again, what it may have done.
func (c *client) noteUnconfirmed(j *job) {
	f, text := *asFailure(j.err), "record may be written"
	_, more := c.nextTurn(j)
	switch a, ok := j.request.(*authentication); {
	case ok && a.action == authenChPass:
		f.hint, text = "log in with the new password to see whether it was changed", "password may be changed"
	case ok:
		text = "login may have taken effect"
	case !more:
		return
	}
	if more {
		text += ", so it is not sent again"
	}
	f.err = fmt.Errorf("%w; the %s", f.err, text)
	j.err = &f
}

// hintSkipped adds to the hint of a failed job the servers in the clear that it did not go to.
func (c *client) hintSkipped(j *job) {
	_, skipped := splitFallback(j.order) // in which dead servers come last
	skipped = append(skipped, c.skipped...)
	if !j.server().tls || len(skipped) == 0 {
		return
	}
	f := *asFailure(j.err)
	if f.hint != "" {
		f.hint += "; "
	}
	f.hint += strings.Join(skipped, ", ") + " was not asked: nothing falls back from TLS (RFC 9887 section 5.1.1)"
	j.err = &attemptError{&f, outcomeOf(j.err)}
}

// countOutcome counts an attempt that failed. A connection that had answered others before may end at any time.
func (c *client) countOutcome(j *job, came outcome) {
	switch {
	case came == outcomeDecided, came == outcomeRestart, came == outcomeNotSent:
	case came == outcomeError:
		c.stats.count(*j.server(), serverError)
	case came == outcomeTimedOut, classOf(j.err) == classNetwork && !time.Now().Before(j.session.deadline):
		c.stats.count(*j.server(), serverTimedOut)
	case came != outcomeConnLost || !j.session.reused:
		c.stats.count(*j.server(), serverBad)
	}
}

// recordSilence records in the memory of dead servers that the first reply of a session did not come. A connection that
// had answered others before may end at any time, which says nothing of the server.
func (c *client) recordSilence(ctx context.Context, j *job, came outcome) {
	s := &j.session
	switch {
	case !s.unanswered:
	case ctx.Err() != nil:
		c.dead.unanswered(*j.server(), j.origin.device, s.sentAt, nil)
	case came == outcomeDecided, came == outcomeFlagViolation:
	case s.reused && (came == outcomeConnLost || came == outcomeNotSent):
	case came == outcomeTimedOut && s.deadline.Sub(s.sentAt) < minReplyTime:
	default:
		c.dead.unanswered(*j.server(), j.origin.device, s.sentAt, j.err)
	}
}

// minReplyTime is the time that a server must have had before a missing reply counts as lost.
const minReplyTime = 100 * time.Millisecond

// A requester carries jobs to the servers, one after the other, and owns the connection that it keeps from one to the
// next.
type requester struct {
	client   *client
	warnf    warnFunc    // nil discards warnings
	ask      askFunc     // nil without a person
	keepConn bool        // for the next job, in single-connection mode
	conn     *serverConn // nil for none
}

// An askFunc shows a prompt to a person and returns the answer. The error is errNoAnswer if there is none.
type askFunc func(ctx context.Context, prompt string, hidden bool) (string, error)

// do carries a job to the servers until one of them decides.
func (r *requester) do(ctx context.Context, j *job) {
	if r.warnf == nil {
		r.warnf = discardWarning
	}
	if j.steps != nil {
		j.steps(ctx, r, j)
		return
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
	srv := j.server()
	if r.conn != nil && (r.conn.server != *srv || r.conn.stale(time.Now())) {
		r.close()
	}
	if r.conn == nil {
		j.res.reset(j.res.Server, j.res.Timing)
		r.conn, err = r.client.dial(ctx, j)
		return err
	}
	_ = r.conn.conn.SetDeadline(j.session.deadline)
	return ctx.Err() // the end of ctx sets a deadline too
}

func (r *requester) close() {
	if r.conn != nil {
		r.conn.close()
		r.conn = nil
	}
}

// roundTrips carries a request through its session, to the verdict. After a session that ends otherwise the connection is
// not used again, since a late reply could follow.
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

// askPerson gets one line from the person, and extends the deadline by the time that takes.
func (r *requester) askPerson(ctx context.Context, s *session, p *prompt) (string, error) {
	if r.ask == nil {
		return "", errNoAnswer
	}
	began := time.Now()
	text, err := r.ask(ctx, p.text(s.conn.server.name), p.hidden)
	s.deadline = s.deadline.Add(time.Since(began))
	_ = s.conn.conn.SetDeadline(s.deadline)
	return text, cmp.Or(err, ctx.Err()) // the end of ctx sets a deadline too
}
