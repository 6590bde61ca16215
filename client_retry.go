package main

import (
	"context"
	"errors"
	"time"
)

// A fate is what came of one attempt to have a request answered. What follows from it stands beside
// client.settle.
type fate uint8

const (
	fateFailed   fate = iota // the server answered ERROR, or with what cannot be used, or there is no way to it
	fateDecided              // a verdict, or an error that no server can change
	fateRestart              // the server asks for another session
	fateUnsent               // nothing of the request was written
	fateLost                 // it was written, and the connection ended before its reply
	fateSilent               // no octet of a reply came in time
	fateViolated             // the reply broke the rule of the UNENCRYPTED flag: it counts as FAIL (section 10.5.2)
)

// as gives the attempt that ended with the failure another fate than failed.
func (f *failure) as(came fate) *failure {
	f.fate = came
	return f
}

// fateOf is what an attempt came to that ended with err. What this side decided, or found wrong,
// no other server changes.
func fateOf(err error) fate {
	if err == nil {
		return fateDecided
	}
	f := asFailure(err)
	if c := f.class; f.fate == fateFailed && (c == classDenied || c == classUsage || c == classInterrupted) {
		return fateDecided
	}
	return f.fate
}

// A step is what follows from an attempt.
type step uint8

const (
	stepStop  step = iota // there is nothing more to ask
	stepAnew              // the same server again, in another session, which is not counted
	stepOther             // the next server, or the same in the next round, up to the limit
)

// follows is the one policy of asking again. A server may end a connection that was in use before
// at any time (section 4.3), and some forget a session on it: there the request goes to the same
// server once more, over a new connection, unless it is a record that could be written twice. An
// ERROR, or a server that fails, makes way for the next one; a verdict does not (section 4.4), and
// a reply that broke the UNENCRYPTED rule counts as one (section 10.5.2).
func follows(came fate, repeatable, reused bool) step {
	switch came {
	case fateDecided, fateViolated:
		return stepStop
	case fateRestart:
		return stepAnew
	case fateUnsent:
		if reused {
			return stepAnew
		}
	case fateLost, fateSilent:
		if reused && repeatable {
			return stepAnew
		}
	}
	return stepOther
}

// settle takes note of what came of an attempt, and says whether the job is to be put again.
func (c *client) settle(ctx context.Context, j *job) (again bool) {
	if j.err != nil && ctx.Err() != nil {
		j.err = interrupted(ctx)
	}
	came := fateOf(j.err)
	// Less than a fair time without a reply says nothing about the server.
	j.forgotten = j.forgotten || came == fateSilent && j.session.reused && j.session.deadline.Sub(j.session.began) >= fairTime
	switch follows(came, j.request.repeatable(), j.session.reused) {
	case stepAnew:
		if came == fateSilent {
			j.session.deadline = time.Time{} // it is over
		}
		return true
	case stepOther:
		if j.misses++; j.misses < (c.retries+1)*len(c.servers) {
			c.warn("%v; trying %s", j.err, c.serverOf(j))
			j.res.attempt(j.err)
			j.request.reset()
			j.session.deadline = time.Time{}
			return true
		}
	}
	return false
}

// fairTime is what a server has for a reply at the least, before it is said to have forgotten one.
const fairTime = 100 * time.Millisecond

// A denial as far as the result goes: what the server said stands.
var errRestart = failf(classDenied, "restart").as(fateRestart)

var errFarewell = errors.New("farewell")
