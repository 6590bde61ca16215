package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A sessionLog prints sessions to stdout, each as a line or a JSON object. Connections share it.
type sessionLog struct {
	out     *queuedWriter // nil: nothing is printed
	json    bool
	verbose bool

	mu     sync.Mutex
	line   []byte
	second int64  // of stamp, since the epoch: formatting a time costs more than the rest of a line
	stamp  []byte // up to the second
}

// sessionLines is what a sessionLog writes, for messages.
const sessionLines = "session lines"

// note prints at once what is wrong with a connection.
func (l *sessionLog) note(peer netip.AddrPort, problem string) {
	l.write(&sessionRecord{at: time.Now(), peer: peer, problem: problem})
	l.flush()
}

// write queues a record for the next flush. If writes fail and the queue is full, the record is lost.
func (l *sessionLog) write(r *sessionRecord) {
	if l.out == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.out.add(l.format(r)) // the writer counts what is lost
}

// flush writes the queued records and returns the error of the last write.
func (l *sessionLog) flush() error {
	if l.out == nil {
		return nil
	}
	return l.out.flush()
}

// writeNow writes a record and waits until it is written. After an error the log may have the start of the line, which
// then ends with cutRecord.
func (l *sessionLog) writeNow(r *sessionRecord) error {
	if l.out == nil {
		return errNotKept
	}
	l.mu.Lock()
	line := slices.Clone(l.format(r))
	l.mu.Unlock()
	_, err := l.out.writeNow(line, cutRecord)
	return err
}

// errNotKept is the error for a record if nothing is printed.
var errNotKept = errors.New("records are not kept")

// cutRecord ends a record that was written in part: the client gets the status ERROR.
const cutRecord = "... cut: not confirmed\n"

// failed reports whether the last write failed.
func (l *sessionLog) failed() bool { return l.out != nil && l.out.lastErr() != nil }

// close writes the queued records, until ctx ends.
func (l *sessionLog) close(ctx context.Context) error {
	if l.out == nil {
		return nil
	}
	return l.out.close(ctx)
}

// format returns the line, or the object, of a record. It is valid until the next call.
func (l *sessionLog) format(r *sessionRecord) []byte {
	if l.line = l.line[:0]; l.json {
		l.line = r.appendJSON(l.line)
		return l.line
	}
	if r.at.IsZero() {
		l.line = r.appendLine(l.line, l.verbose)[1:] // without the blank that follows a time
		return l.line
	}
	if now := r.at.Unix(); now != l.second || l.stamp == nil {
		l.second, l.stamp = now, r.at.UTC().AppendFormat(l.stamp[:0], "2006-01-02T15:04:05")
	}
	ms := r.at.Nanosecond() / 1e6
	l.line = append(append(l.line, l.stamp...), '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10), 'Z')
	l.line = r.appendLine(l.line, l.verbose)
	return l.line
}

// A sessionRecord describes one session. serve, relay and decode print it as a line or as an object.
type sessionRecord struct {
	at      time.Time      // of the first packet; zero if unknown
	peer    netip.AddrPort // the client
	server  netip.AddrPort // zero if unknown
	id      uint32
	request string // authenticate, enable, chpass, authorize, account
	known   bool   // the first packet was read: commonFields are set
	commonFields
	flag      string // of an accounting record
	args      []string
	status    string        // of RFC 8907, or one of statusNoReply and so on
	serverMsg string        // with ABORT: the client's reason
	took      time.Duration // until the server's replies, in total
	total     time.Duration // from the first packet to the last
	packets   int
	key       string // source of the key
	problem   string // of a connection; then there is no session
}

// requestOf returns the name of the request that a packet type is for, unless a START says more.
func requestOf(t packetType) string {
	switch t {
	case typeAuthor:
		return "authorize"
	case typeAcct:
		return "account"
	}
	return "authenticate"
}

// appendLine appends the line of a record, without the time: client and server, request, verdict, and response time of the
// server. It has all arguments of accounting records, and of authorizations if verbose. A blank precedes each word.
func (r *sessionRecord) appendLine(b []byte, verbose bool) []byte {
	word := func(text string) {
		if text != "" {
			b = append(append(b, ' '), text...)
		}
	}
	if r.peer.IsValid() {
		b = r.peer.AppendTo(append(b, ' '))
		if r.server.IsValid() {
			b = r.server.AppendTo(append(b, " > "...))
		}
	}
	if r.problem != "" {
		word(escape(r.problem))
		return append(b, '\n')
	}
	if r.known || r.user != "" {
		word(quoteBlank(r.user))
	} else {
		word("-")
	}
	word(r.request)
	if r.known && r.request != "authorize" && r.request != "account" {
		word(r.typ.String())
	}
	word(r.flag)
	command := ""
	if r.request == "authorize" && !verbose {
		command = commandLine(r.args)
	}
	if command != "" {
		word(quoteBlank(command))
	} else {
		for _, arg := range r.args {
			word(quoteBlank(arg))
		}
	}
	if verbose && r.known {
		word(fmt.Sprintf("priv_lvl=%d port=%s rem_addr=%s", r.privLvl, quoteBlank(r.port), quoteBlank(r.remAddr)))
	}
	word(r.status)
	if r.serverMsg != "" {
		b = append(append(b, ": "...), oneLine(r.serverMsg)...)
	}
	if r.took > 0 {
		b = append(strconv.AppendFloat(append(b, " ("...), milliseconds(r.took), 'f', 1, 64), " ms)"...)
	}
	return append(b, '\n')
}

// milliseconds converts a duration for lines and objects.
func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// A recordObject is a sessionRecord in JSON. Its names are part of the contract; unknown values are omitted.
type recordObject struct {
	Time        string   `json:"time,omitempty"`
	Peer        string   `json:"peer,omitempty"`
	Server      string   `json:"server,omitempty"`
	Error       string   `json:"error,omitempty"` // in place of a session
	SessionID   string   `json:"session_id,omitempty"`
	User        string   `json:"user,omitempty"`
	Request     string   `json:"request,omitempty"`
	AuthenType  string   `json:"authen_type,omitempty"`
	Flag        string   `json:"flag,omitempty"`
	PrivLvl     *uint8   `json:"priv_lvl,omitempty"`
	Port        string   `json:"port,omitempty"`
	RemAddr     string   `json:"rem_addr,omitempty"`
	CommandLine string   `json:"cmd,omitempty"`
	Args        []string `json:"arguments,omitempty"`
	Status      string   `json:"status,omitempty"`
	ServerMsg   string   `json:"server_msg,omitempty"`
	ServerMS    float64  `json:"server_ms,omitempty"`
	TotalMS     float64  `json:"total_ms,omitempty"`
	Packets     int      `json:"packets,omitempty"`
	Key         string   `json:"key,omitempty"`
}

// appendJSON appends the object of a record. Texts of other programs are escaped.
func (r *sessionRecord) appendJSON(b []byte) []byte {
	shown := recordObject{Error: escape(r.problem)}
	if r.peer.IsValid() {
		shown.Peer = r.peer.String()
	}
	if !r.at.IsZero() {
		shown.Time = r.at.UTC().Format(timeLayout)
	}
	if r.server.IsValid() {
		shown.Server = r.server.String()
	}
	if r.problem == "" {
		shown.SessionID = fmt.Sprintf("%08x", r.id)
		shown.User, shown.Request, shown.Flag = escape(r.user), r.request, r.flag
		shown.Status, shown.ServerMsg, shown.Key = r.status, escapeLines(r.serverMsg), escape(r.key)
		shown.ServerMS, shown.TotalMS, shown.Packets = milliseconds(r.took), milliseconds(r.total), r.packets
		shown.CommandLine, shown.Args = escape(commandLine(r.args)), escapeAll(r.args)
	}
	if r.known {
		shown.AuthenType, shown.PrivLvl = r.typ.String(), &r.privLvl
		shown.Port, shown.RemAddr = escape(r.port), escape(r.remAddr)
	}
	return append(b, encodeJSON(shown)...)
}

// A sessionTracker makes the record of a session from its packets.
type sessionTracker struct {
	sessionRecord
	seqNo   uint8        // of the last packet
	asked   time.Time    // when the client's last packet came
	prompt  authenStatus // what the server asked for, if its REPLY was the last packet
	secrets []string     // of the client, to redact where the server repeats them
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

// packet adds the next packet of the session and reports whether it ends the session. m is its body, or nil if unread: then
// the caller sets the status.
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

// between returns the time between two packets, or 0 if it is unknown or the clock went back.
func between(from, to time.Time) time.Duration {
	if from.IsZero() || to.IsZero() {
		return 0
	}
	return max(to.Sub(from), 0)
}

// addSecret stores a secret of the client, unless it is too short or too long for a password. A part of the user's name is
// none: a gap in the name would show it.
func (o *sessionTracker) addSecret(secret string) {
	if len(secret) >= shortestSecret && len(secret) <= maxFieldLen && len(o.secrets) < maxSecrets && !strings.Contains(o.user, secret) {
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
