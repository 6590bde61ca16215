package main

import (
	"strings"
	"time"
)

// A sessionTracker follows a session by its packets, and makes its record.
type sessionTracker struct {
	sessionRecord
	seqNo   uint8        // of the last packet
	asked   time.Time    // when the client's last packet came
	prompt  authenStatus // what the server asked for, if its REPLY was the last packet
	secrets []string     // of the client, for redaction where the server repeats them
}

const maxSecrets = 4 // of a session: a new password is three

// Statuses of a session that no reply ended.
const (
	statusNoReply   = "NO_REPLY"
	statusNoKey     = "NO_KEY"    // the reply fits no key
	statusAbandoned = "ABANDONED" // a prompt without an answer
	statusAbort     = "ABORT"     // by the client (RFC 8907 section 5.4.3)
	statusCut       = "CUT"       // bytes of the capture are missing
)

// packet adds the next packet of the session and reports whether it ends the session. m is its body, or nil if it was
// not read: then the caller sets the status.
func (o *sessionTracker) packet(at time.Time, h *header, m message) (over bool) {
	if o.packets == 0 {
		o.at, o.id, o.request = at, h.sessionID, requestOf(h.typ)
	}
	if o.packets++; o.packets > 1 {
		o.total = between(o.at, at)
	}
	before := o.seqNo
	o.seqNo = h.seqNo
	if h.seqNo%2 == 0 { // the server's (RFC 8907 section 4.1)
		if before%2 == 1 {
			o.took += between(o.asked, at)
		}
		return o.reply(h, m)
	}
	asked := o.prompt
	o.asked, o.prompt = at, 0
	switch m := m.(type) {
	case *authenStart:
		o.setRequest(&m.commonFields)
		if m.typ == authenPAP {
			o.addSecret(m.data)
		}
		switch {
		case m.action == authenChPass:
			o.request = "chpass"
		case m.service == authenServiceEnable:
			o.request = "enable"
		}
	case *authenContinue:
		if m.flags&authenAbort != 0 {
			o.status, o.serverMsg = statusAbort, m.data
			return true
		}
		switch isName := asked == authenGetUser && h.seqNo == before+1; {
		case !isName:
			o.addSecret(m.userMsg)
		case len(m.userMsg) <= maxFieldLen:
			o.user = strings.Clone(m.userMsg) // userMsg is part of a packet
		}
	case *authorRequest:
		o.setRequest(&m.commonFields)
		o.args = m.args
	case *acctRequest:
		o.setRequest(&m.commonFields)
		o.args, o.flag = m.args, m.flags.kind().String()
	}
	return false
}

// between returns the time between two packets, or 0 if one of them has no time or the clock went back.
func between(from, to time.Time) time.Duration {
	if from.IsZero() || to.IsZero() {
		return 0
	}
	return max(to.Sub(from), 0)
}

// addSecret keeps a secret of the client, if it has the length of a password.
func (o *sessionTracker) addSecret(secret string) {
	if len(secret) >= shortestSecret && len(secret) <= maxFieldLen && len(o.secrets) < maxSecrets {
		o.secrets = append(o.secrets, strings.Clone(secret))
	}
}

// setRequest stores the common fields of the first packet.
func (o *sessionTracker) setRequest(f *commonFields) { o.commonFields, o.known = *f, true }

// reply adds a packet of the server and reports whether it ends the session.
func (o *sessionTracker) reply(h *header, m message) (over bool) {
	switch m := m.(type) {
	case *authenReply:
		if m.status.asks() {
			o.prompt = m.status
			return false
		}
		o.status, o.serverMsg = m.status.String(), redact(m.serverMsg, o.secrets)
	case *authorResponse:
		o.status, o.serverMsg = m.status.String(), m.serverMsg
	case *acctReply:
		o.status, o.serverMsg = m.status.String(), m.serverMsg
	default:
		if h.length == 0 { // an unknown packet type (RFC 8907 section 3.6)
			o.status = authenError.String()
			return true
		}
		// Authentication types of minor version 1 have a single REPLY (RFC 8907 section 5.4.2).
		return h.typ != typeAuthen || h.version.minor() == 1
	}
	return true
}

// close ends a session without a verdict: the last packet was the client's, or a prompt.
func (o *sessionTracker) close() {
	if o.status = statusNoReply; o.seqNo%2 == 0 {
		o.status = statusAbandoned
	}
}
