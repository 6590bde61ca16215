package main

import "errors"

// An outcome is how an attempt ended.
type outcome uint8

const (
	outcomeUnreadable    outcome = iota // a reply came that cannot be used, or the session broke after the first reply
	outcomeDecided                      // a verdict, or an error that no other server can change
	outcomeError                        // the server replied ERROR
	outcomeRestart                      // the server asks for another session
	outcomeNotSent                      // nothing of the request was written
	outcomeConnLost                     // it was written, and the connection ended before its reply
	outcomeTimedOut                     // no byte of a reply came in time
	outcomeFlagViolation                // the reply broke the rule of the UNENCRYPTED flag: it counts as FAIL (section 10.5.2)
)

type attemptError struct {
	failure *failure
	outcome outcome
}

func (e *attemptError) Error() string { return e.failure.Error() }
func (e *attemptError) Unwrap() error { return e.failure }

// errRestart requests another session.
var errRestart = &attemptError{failf(classDenied, "restart"), outcomeRestart}

// outcomeOf returns the outcome of an attempt that ended with err.
func outcomeOf(err error) outcome {
	if err == nil {
		return outcomeDecided
	}
	var attempt *attemptError
	if errors.As(err, &attempt) {
		return attempt.outcome
	}
	switch classOf(err) {
	case classDenied, classUsage, classLocal, classInterrupted:
		return outcomeDecided
	case classServer:
		return outcomeError
	}
	return outcomeUnreadable
}

// mayBeWritten reports whether the server may have carried out a request, although no usable reply came.
func mayBeWritten(o outcome) bool {
	return o == outcomeUnreadable || o == outcomeConnLost || o == outcomeTimedOut
}

type retry uint8

const (
	noRetry         retry = iota
	retrySameServer       // in another session, which is not counted
	retryNextServer       // or the same one in the next round, up to the limit
)

// retryAfter is the one retry policy. reused reports whether the connection had answered other requests before.
//
// A server may end such a connection at any time (section 4.3), and some lose a session on it: the request goes to the
// same server once more, over a new connection. After an ERROR or a failure the next server is asked, but not after a
// verdict (section 4.4). A reply that broke the UNENCRYPTED rule counts as a verdict (section 10.5.2).
//
// A record, which is not repeatable, could be written twice, and a new password or a one-time code be refused the second
// time. Once some of it was sent it is not sent again, unless the server replied ERROR.
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
	}
	switch {
	case !mayBeWritten(came):
	case !repeatable:
		return noRetry
	case reused && came != outcomeUnreadable:
		return retrySameServer
	}
	return retryNextServer
}
