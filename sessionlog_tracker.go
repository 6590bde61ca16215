package main

import (
	"strings"
	"time"
)

// An observation is a session under way, as its packets tell: they go in one after the other, and at
// the end there is its record.
type sessionTracker struct {
	sessionRecord
	seqNo  uint8        // of the last packet
	asked  time.Time    // when the client's last packet came
	prompt authenStatus // what the server asks for, where its REPLY was the last packet
	// secrets are what the client said that nobody is to see, should the server repeat it; as far as they are kept.
	secrets []string
}

const maxSecrets = 4 // of a session: a new password is three

// What stands in place of a status where no reply ended the session.
const (
	statusNoReply   = "NO_REPLY"
	statusNoKey     = "NO_KEY"    // fits no key
	statusAbandoned = "ABANDONED" // a prompt nobody answered
	statusAbort     = "ABORT"     // by the client (RFC 8907 section 5.4.3)
	statusCut       = "CUT"       // bytes are missing
)

// packet takes the next packet of the session, and says whether the session is over with it. m is its
// body, or nil where it was not read: then the status of what is over is the caller's to say.
func (o *sessionTracker) packet(at time.Time, h *header, m message) (over bool) {
	if o.packets == 0 {
		o.at, o.id, o.request = at, h.sessionID, requestOf(h.typ)
	}
	if o.packets++; o.packets > 1 {
		o.total = between(o.at, at)
	}
	before := o.seqNo
	o.seqNo = h.seqNo
	if h.seqNo%2 == 0 { // the server's (section 4.1)
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
		switch named := asked == authenGetUser && h.seqNo == before+1; {
		case !named:
			o.addSecret(m.userMsg)
		case len(m.userMsg) <= maxFieldLen:
			o.user = strings.Clone(m.userMsg) // a part of the CONTINUE would keep all of it
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

// between is the time from one packet to another; none where one of them has no time, or clocks went back.
func between(from, to time.Time) time.Duration {
	if from.IsZero() || to.IsZero() {
		return 0
	}
	return max(to.Sub(from), 0)
}

// hide notes a secret of the client, of a length that a password has.
func (o *sessionTracker) addSecret(secret string) {
	if len(secret) >= shortestSecret && len(secret) <= maxFieldLen && len(o.secrets) < maxSecrets {
		o.secrets = append(o.secrets, strings.Clone(secret))
	}
}

// asks takes over what the first packet says of who asks.
func (o *sessionTracker) setRequest(who *commonFields) { o.commonFields, o.known = *who, true }

// reply takes over what the server says.
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
		if h.length == 0 { // the server does not know the packet's type (section 3.6)
			o.status = authenError.String()
			return true
		}
		// Types of minor version one have a single REPLY (section 5.4.2).
		return h.typ != typeAuthen || h.version.minor() == 1
	}
	return true
}

// leave ends a session of which no more packets come: the last one was the client's, or a prompt.
func (o *sessionTracker) close() {
	if o.status = statusNoReply; o.seqNo%2 == 0 {
		o.status = statusAbandoned
	}
}
