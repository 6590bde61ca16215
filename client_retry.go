package main

import (
	"context"
	"errors"
	"time"
)

// A fate is what came of one attempt to have a request answered. What follows from it stands beside
// client.settle.
type outcome uint8

const (
	outcomeFailed        outcome = iota // the server answered ERROR, or with what cannot be used, or there is no way to it
	outcomeDecided                      // a verdict, or an error that no server can change
	outcomeRestart                      // the server asks for another session
	outcomeNotSent                      // nothing of the request was written
	outcomeConnLost                     // it was written, and the connection ended before its reply
	outcomeTimedOut                     // no byte of a reply came in time
	outcomeFlagViolation                // the reply broke the rule of the UNENCRYPTED flag: it counts as FAIL (section 10.5.2)
)

// as gives the attempt that ended with the failure another fate than failed.
func (f *failure) withOutcome(came outcome) *failure {
	f.outcome = came
	return f
}

// fateOf is what an attempt came to that ended with err. What this side decided, or found wrong,
// no other server changes.
func outcomeOf(err error) outcome {
	if err == nil {
		return outcomeDecided
	}
	f := asFailure(err)
	if c := f.class; f.outcome == outcomeFailed && (c == classDenied || c == classUsage || c == classInterrupted) {
		return outcomeDecided
	}
	return f.outcome
}

// A step is what follows from an attempt.
type retry uint8

const (
	noRetry         retry = iota // there is nothing more to ask
	retrySameServer              // the same server again, in another session, which is not counted
	retryNextServer              // the next server, or the same in the next round, up to the limit
)

// follows is the one policy of asking again. A server may end a connection that was in use before
// at any time (section 4.3), and some forget a session on it: there the request goes to the same
// server once more, over a new connection, unless it is a record that could be written twice. An
// ERROR, or a server that fails, makes way for the next one; a verdict does not (section 4.4), and
// a reply that broke the UNENCRYPTED rule counts as one (section 10.5.2).
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

// settle takes note of what came of an attempt, and says whether the job is to be put again.
func (c *client) recordOutcome(ctx context.Context, j *job) (again bool) {
	if j.err != nil && ctx.Err() != nil {
		j.err = interrupted(ctx)
	}
	came := outcomeOf(j.err)
	// Less than a fair time without a reply says nothing about the server.
	j.replyLost = j.replyLost || came == outcomeTimedOut && j.session.reused && j.session.deadline.Sub(j.session.sentAt) >= minReplyTime
	switch retryAfter(came, j.request.repeatable(), j.session.reused) {
	case retrySameServer:
		if came == outcomeTimedOut {
			j.session.deadline = time.Time{} // it is over
		}
		return true
	case retryNextServer:
		if j.failedAttempts++; j.failedAttempts < (c.retries+1)*len(c.servers) {
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
const minReplyTime = 100 * time.Millisecond

// A denial as far as the result goes: what the server said stands.
var errRestart = failf(classDenied, "restart").withOutcome(outcomeRestart)

var errAborted = errors.New("farewell")
