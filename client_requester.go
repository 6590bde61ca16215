package main

import (
	"context"
	"time"
)

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
		r.conn, err = r.client.dialFor(ctx, j)
		return err
	}
	_ = r.conn.conn.SetDeadline(j.session.deadline)
	return ctx.Err() // whose end may have set another deadline before
}

// dialFor dials the server that the job asks now. What is known of a handshake that failed goes to the result.
func (c *client) dialFor(ctx context.Context, j *job) (*serverConn, error) {
	conn, err := c.dial(ctx, c.serverOf(j), j.session.deadline, &j.session.timing)
	if err != nil && conn != nil {
		j.res.Address, j.res.Local, j.res.TLS = conn.address, conn.local, conn.facts
		conn = nil
	}
	return conn, err
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
		if err = s.exchange(m, j.request.reply()); err != nil {
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
	defer s.pauseDeadline()()
	return r.ask(ctx, p.text(s.conn.server.name), p.hidden)
}
