package main

import (
	"cmp"
	"context"
	"time"
)

// An asker puts jobs to the servers, one after the other, and owns the connection that it keeps
// from one to the next.
type requester struct {
	*client
	keepConn bool        // a connection in single-connection mode, for the next job
	conn     *serverConn // nil for none
}

// ask puts a job to the servers until one of them decides.
func (a *requester) ask(ctx context.Context, j *job) {
	for more := true; more; more = a.recordOutcome(ctx, j) {
		a.begin(j, time.Now())
		a.attempt(ctx, j)
	}
	if !a.keepConn {
		a.close()
	}
}

// attempt carries a job through one session.
func (a *requester) attempt(ctx context.Context, j *job) {
	if j.err = a.ensureConn(ctx, j); j.err == nil {
		j.session.start(a.conn, j.request, newSessionID())
		j.err = j.session.roundTrips(ctx, j.request, &j.res)
	}
	j.recordEnd(a.conn, time.Now())
	if a.conn != nil && (!a.conn.established || a.conn.noNewSessions) {
		a.close()
	}
}

// reach gives the attempt a connection: the one that is kept, if it goes to the right server and is
// as it should be, else a new one.
func (a *requester) ensureConn(ctx context.Context, j *job) (err error) {
	srv := a.serverOf(j)
	if a.conn != nil && (a.conn.server != srv || a.conn.stale(time.Now())) {
		a.close()
	}
	if a.conn == nil {
		j.res.reset(j.res.Server, j.res.Timing) // nothing is left of a session before
		a.conn, err = a.dial(ctx, j)
		return err
	}
	_ = a.conn.conn.SetDeadline(j.session.deadline)
	return ctx.Err() // which may have set another one before
}

// close ends the connection that is kept.
func (a *requester) close() {
	if a.conn != nil {
		a.conn.close()
		a.conn = nil
	}
}

// A job is a request on its way through the servers, and what came of it.
type job struct {
	request request
	res     result
	err     error     // why there is no verdict, or why it does not do
	due     time.Time // when the request ought to have been sent
	owner   any       // what the job is to the one who made it

	firstServer    int     // the server that is asked first
	failedAttempts int     // attempts that came to nothing
	session        session // of the attempt under way, or of the last one
	replyLost      bool    // a connection that had answered others before left it without a reply

	writesBefore int       // how many writes its mux had made before; after one more it went out
	place        node[job] // in a queue
}

// class is how the job ended.
func (j *job) class() class {
	if j.err != nil {
		return classOf(j.err)
	}
	return j.res.class
}

// answer is the status that the server answered with, or nothing where no answer could be read.
func (j *job) answer() string {
	switch j.class() {
	case classGranted, classDenied, classServer:
		return j.res.Status
	}
	return ""
}

// begin makes a new attempt ready: it names the server and counts its time. What follows RESTART,
// or a connection that ended, is the same attempt, and has what is left of the time.
func (c *client) begin(j *job, now time.Time) {
	if j.session.deadline.IsZero() {
		j.session.deadline, j.session.timing = now.Add(c.timeout), timing{start: now}
		j.res.reset(c.serverOf(j).name, &j.session.timing)
	}
}

// serverOf is whom the job asks now.
func (c *client) serverOf(j *job) server {
	return c.servers[(j.firstServer+j.failedAttempts)%len(c.servers)]
}

// conclude takes down how an attempt ended, and what is known of the connection, where there was
// one. What a server said before it failed was no verdict.
func (j *job) recordEnd(l *serverConn, now time.Time) {
	j.session.timing.total = now.Sub(j.session.timing.start)
	if l == nil {
		return
	}
	l.idleSince = now
	if j.err != nil && classOf(j.err) != classDenied {
		j.res.reset(j.res.Server, j.res.Timing)
	}
	j.res.Address, j.res.Local, j.res.Transport, j.res.TLS = l.address, l.local, l.transport(), l.facts
	if l.singleConnect {
		j.res.SingleConnect = &l.established // which does not change any more
	}
	if j.err == nil && j.res.class == classServer {
		j.err = l.answeredError(&j.res)
	}
}

// A request is what is asked of a server in one session, apart from how it is carried there:
// what to send first, and what to make of each reply.
type request interface {
	reset() // forgets what the server before said
	packetType() (packetType, version)
	firstMessage(remAddr string) (message, error) // the first message; starts over when called again
	followUps() []message                         // the messages that may follow it
	secrets() []string                            // that a server might repeat; none is part of the user's name
	reply() message                               // where the reply to a message is decoded
	// next looks at the reply: the message to go on with, or nil at the end of the session. A
	// message beside an error is sent as a farewell, without waiting for a reply: errFarewell is
	// no more than that. errRestart asks for another session.
	next(ctx context.Context, s *session, res *result) (message, error)
	dialogue() bool   // the session may take more than one exchange
	repeatable() bool // the server may get it twice without a difference
}

// checkFits refuses, before anything is sent, a request with a value that its field cannot hold.
func checkFits(q request, who requestOptions) error {
	m, err := q.firstMessage(cmp.Or(who.remAddr, longestAddr))
	if err != nil {
		return err
	}
	for _, m := range append(q.followUps(), m) {
		if _, err := appendPacket(nil, new(header), m); err != nil {
			return failf(classUsage, "%w", err)
		}
	}
	return nil
}
