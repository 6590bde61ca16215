package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// A sessionTracker makes the record of a session from its packets.
type sessionTracker struct {
	sessionRecord
	packetType packetType
	version    version      // of the first packet
	flags      headerFlags  // of the last packet
	seqNo      uint8        // of the last packet
	lost       bool         // packets are missing, so the server's time is unknown
	asked      time.Time    // when the client's last packet was sent
	prompt     authenStatus // what the server asked for, if its REPLY was the last packet
	noEcho     bool         // the prompt asks for a secret
	secrets    []string     // of the client, and the shared key: to redact where the server repeats them
	sharedKey  string       // of both ends; empty if it is unknown
	serverKeys []key        // of a relay
	retained   int          // bytes of secrets
	verdict    bool         // the status is the server's
}

// maxSecrets is how many bytes of secrets a session retains: the longest CONTINUE, or many passwords. After that, all
// text of the server is hidden.
const maxSecrets = 1 << 16

// Statuses of a session that no reply ended.
const (
	statusNoReply   = "NO_REPLY"
	statusNoKey     = "NO_KEY"    // the reply fits no key
	statusAbandoned = "ABANDONED" // a prompt without an answer
	statusAbort     = "ABORT"     // by the client (RFC 8907 section 5.4.3)
	statusCut       = "CUT"       // bytes of the capture are missing
	statusMalformed = "MALFORMED" // a header or a body in clear that RFC 8907 does not define
	statusViolation = "VIOLATION" // a reply that the client must not use
)

// Statuses of connections to a port of TACACS+ that never spoke it, and of a session whose connection was reset.
const (
	statusReset     = "RESET"      // in place of NO_REPLY
	statusRefused   = "REFUSED"    // a SYN was answered with a RST
	statusSYNOnly   = "SYN_ONLY"   // a SYN was not answered
	statusOpenClose = "OPEN_CLOSE" // a connection without data
	statusNotTACACS = "NOT_TACACS" // other data, of which the first bytes are shown
)

// end sets the status of a session that the server did not decide, and why.
func (o *sessionTracker) end(status, reason string) {
	o.status, o.serverMsg, o.reason = status, "", reason
}

// protectionOf returns the protection of a session by the flags of its first packet.
func protectionOf(first headerFlags, tls bool) protection {
	switch {
	case tls:
		return protectionTLS
	case first&flagUnencrypted != 0:
		return protectionClear
	}
	return protectionObfuscated
}

// flagViolation returns why the client of a session must not use a reply with these flags, or "". Anybody on the way can
// make a reply in clear. RFC 8907 section 10.5.2 and RFC 9887 section 4.
func flagViolation(p protection, reply headerFlags) string {
	switch unencrypted := reply&flagUnencrypted != 0; {
	case p == protectionObfuscated && unencrypted:
		return "UNENCRYPTED reply to an obfuscated request (10.5.2)"
	case p == protectionClear && !unencrypted:
		return "obfuscated reply to an UNENCRYPTED request (10.5.2)"
	case p == protectionTLS && !unencrypted:
		return "reply without the UNENCRYPTED flag over TLS (RFC 9887 section 4)"
	}
	return ""
}

// packet adds the next packet of the session and reports whether it ends the session. m is its body, or nil if unread: then
// the caller sets the status.
func (o *sessionTracker) packet(at time.Time, h *header, m message) (over bool) {
	if o.packets == 0 {
		o.at, o.id, o.request, o.version = at, h.sessionID, requestOf(h.typ), h.version
		o.packetType = h.typ
	}
	if o.packets++; o.packets > 1 {
		o.total = between(o.at, at)
	}
	before, flags := o.seqNo, o.flags
	o.seqNo, o.flags = h.seqNo, h.flags
	if h.seqNo != before+1 {
		o.lost, o.took = true, 0
	}
	if h.version != o.version {
		o.note("minor version differs (5.4.1)")
	}
	if h.seqNo%2 == 0 { // the server's (RFC 8907 section 4.1)
		if !o.lost {
			o.took += between(o.asked, at)
		}
		if h.seqNo == 2 && flags&h.flags&flagSingleConnect != 0 {
			o.singleConnect = true
		}
		return o.reply(h, m)
	}
	asked := o.prompt
	o.asked, o.prompt = at, 0
	switch m := m.(type) {
	case *authenStart:
		o.start(m)
	case *authenContinue:
		if m.flags&authenAbort != 0 {
			o.status, o.serverMsg = statusAbort, o.redacted(m.data)
			return true
		}
		switch isName := asked == authenGetUser && !o.noEcho && h.seqNo == before+1; {
		case !isName:
			o.addSecret(strings.Clone(m.userMsg)) // of a packet that nothing else keeps
		case len(m.userMsg) <= maxFieldLen:
			o.user = strings.Clone(m.userMsg) // userMsg is part of a packet
		}
	case *authorRequest:
		o.setRequest(&m.commonFields)
		o.args, o.method = m.args, m.method
	case *acctRequest:
		o.setRequest(&m.commonFields)
		o.args, o.method, o.flag = m.args, m.method, m.flags.kind().String()
	}
	return false
}

// start adds a START.
func (o *sessionTracker) start(m *authenStart) {
	o.setRequest(&m.commonFields)
	if !m.typ.challenged() { // PAP, and the first password of some devices
		o.addSecret(m.data) // the record keeps the text of the packet anyway
	}
	switch o.action = m.action; {
	case m.action != authenLogin:
		o.request = strings.ToLower(m.action.String())
	case m.service == authenServiceEnable:
		o.request = "enable"
	}
}

// sent sets when the client's last packet was sent to a server, if that was not when it came: the server's time begins
// then.
func (o *sessionTracker) sent(at time.Time) { o.asked = at }

// note adds what is wrong with the session, beside its status.
func (o *sessionTracker) note(text string) {
	if !slices.Contains(o.notes, text) {
		o.notes = append(o.notes, text)
	}
}

// between returns the time between two packets, or 0 if it is unknown or the clock went back.
func between(from, to time.Time) time.Duration {
	if from.IsZero() || to.IsZero() {
		return 0
	}
	return max(to.Sub(from), 0)
}

// hidden returns the texts to redact in what either end sends: the secrets of the client and the shared keys.
func (o *sessionTracker) hidden() []string {
	all := append(slices.Clip(o.secrets), o.sharedKey)
	for _, k := range o.serverKeys {
		all = append(all, k.value)
	}
	return all
}

// addSecret stores a secret of the client, unless it is too short for a password. A part of the user's name is none: a gap
// in the name would show it.
func (o *sessionTracker) addSecret(secret string) {
	if len(secret) < shortestSecret || strings.Contains(o.user, secret) || slices.Contains(o.secrets, secret) {
		return
	}
	if o.retained += len(secret); o.retained <= maxSecrets {
		o.secrets = append(o.secrets, secret)
	}
}

// redacted returns a text of the server without the secrets that it repeats.
func (o *sessionTracker) redacted(text string) string {
	switch {
	case text == "":
		return ""
	case o.retained > maxSecrets:
		return "[redacted]"
	}
	return redact(text, o.hidden())
}

// setRequest stores the common fields of the first packet.
func (o *sessionTracker) setRequest(f *commonFields) { o.commonFields, o.known = *f, true }

// reply adds a packet of the server and reports whether it ends the session.
func (o *sessionTracker) reply(h *header, m message) (over bool) {
	switch m := m.(type) {
	case *authenReply:
		if m.status.asks() {
			o.prompt, o.noEcho = m.status, m.flags&authenNoEcho != 0
			return false
		}
		o.decided(m.status, m.serverMsg, m.data)
	case *authorResponse:
		for _, arg := range m.args {
			o.response = append(o.response, o.redacted(arg))
		}
		o.decided(m.status, m.serverMsg, m.data)
	case *acctReply:
		o.decided(m.status, m.serverMsg, m.data)
	default:
		if h.length == 0 { // an unknown packet type (RFC 8907 section 3.6)
			o.decided(authenError, "", "")
			return true
		}
		// Authentication types of minor version 1 have a single REPLY (RFC 8907 section 5.4.2).
		return h.typ != typeAuthen || h.version.minor() == 1
	}
	return true
}

// decided sets the server's verdict. The data of an ERROR may be all that explains it.
func (o *sessionTracker) decided(s status, serverMsg, data string) {
	o.status, o.serverMsg, o.verdict = s.String(), o.redacted(serverMsg), true
	if s.class() == classServer && strings.TrimSpace(serverMsg) == "" {
		o.data = o.redacted(data)
	}
}

// close ends a session without a verdict: the last packet was the client's, or a prompt.
func (o *sessionTracker) close() {
	if o.status = statusNoReply; o.seqNo%2 == 0 {
		o.status = statusAbandoned
	}
}

// unexpected describes a packet that does not continue a session: o is the session under way with its session_id, or nil.
func (o *sessionTracker) unexpected(h *header, fromClient bool) string {
	in := fmt.Sprintf("in session %08x", h.sessionID)
	switch {
	case h.seqNo == 0:
		return "seq_no 0 " + in
	case (h.seqNo%2 == 1) != fromClient:
		return wrongParity(h.seqNo)
	case o == nil:
		return fmt.Sprintf("a packet of no session: seq_no %d %s", h.seqNo, in)
	case o.status == statusAbort:
		return "a reply after ABORT " + in
	case h.typ != o.packetType:
		return fmt.Sprintf("%s packet in a session of %s: seq_no %d %s", h.typ, o.packetType, h.seqNo, in)
	case h.seqNo <= o.seqNo:
		return fmt.Sprintf("repeated seq_no %d %s, expected %d", h.seqNo, in, o.seqNo+1)
	}
	return fmt.Sprintf("seq_no %d %s, expected %d", h.seqNo, in, o.seqNo+1)
}

// wrongParity describes a number that only the other end sends. RFC 8907 section 4.1.
func wrongParity(seqNo uint8) string {
	if seqNo%2 == 0 {
		return fmt.Sprintf("even seq_no %d from a client", seqNo)
	}
	return fmt.Sprintf("odd seq_no %d from a server", seqNo)
}
