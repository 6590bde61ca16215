package main

import "errors"

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
