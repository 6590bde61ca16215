package main

import (
	"cmp"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// A sessionRecord describes one session. serve, relay and decode print it as a line or as an object.
type sessionRecord struct {
	at      time.Time      // of the first packet; zero if unknown
	peer    netip.AddrPort // the client
	server  netip.AddrPort // zero if unknown
	id      uint32
	noID    bool   // the id is unknown
	request string // empty for a connection without sessions; authenticate, enable, chpass, authorize, account
	known   bool   // the first packet was read: commonFields are set
	commonFields
	flag      string // of an accounting record
	args      []string
	status    string        // of RFC 8907, or one of statusNoReply and so on
	serverMsg string        // with ABORT: the client's reason
	data      string        // of an ERROR without a message
	reason    string        // why there is no status of the server
	notes     []string      // what is wrong beside the status
	took      time.Duration // until the server's replies, in total
	total     time.Duration // from the first packet to the last
	packets   int
	key       string // source of the key

	// For -v and JSON.
	action        authenAction
	method        authenMethod // of an authorization or a record
	response      []string     // arguments that the server returned
	protection    protection
	singleConnect bool           // both ends have agreed to single-connection mode
	certificate   string         // name of the client's certificate
	proxy         netip.AddrPort // that has forwarded the connection
	frames        []int          // of the packets, in their capture
	problem       string         // of a connection; then there is no session
}

// A protection is how the bodies of a session are protected on the wire.
type protection uint8

const (
	protectionUnknown protection = iota
	protectionClear              // the UNENCRYPTED flag is set
	protectionObfuscated
	protectionTLS
)

func (p protection) String() string {
	return [...]string{"", "clear", "obfuscated", "tls"}[p]
}

// requestOf returns the name of the request that a packet type is for, unless a START says more.
func requestOf(t packetType) string {
	switch t {
	case typeAuthor:
		return "authorize"
	case typeAcct:
		return "account"
	case typeAuthen:
		return "authenticate"
	}
	return "type " + t.String()
}

// forgetBodies removes all that is read in the bodies of packets.
func (r *sessionRecord) forgetBodies(request string) {
	*r = sessionRecord{at: r.at, peer: r.peer, server: r.server, id: r.id, noID: r.noID, request: request, status: r.status, took: r.took,
		total: r.total, packets: r.packets, notes: r.notes, protection: r.protection, singleConnect: r.singleConnect,
		proxy: r.proxy, frames: r.frames}
}

// appendLine appends the line of a record, without the time: client and server, request, verdict, and response time of the
// server. It has all arguments of accounting records, and of authorizations if verbose. A blank precedes each word.
func (r *sessionRecord) appendLine(b []byte, verbose bool) []byte {
	if r.peer.IsValid() {
		b = r.peer.AppendTo(append(b, ' '))
		if r.server.IsValid() {
			b = r.server.AppendTo(append(b, " > "...))
		}
	}
	if r.problem != "" {
		return append(appendWords(b, false, escape(r.problem)), '\n')
	}
	user, typ, args := choose(r.request == "", "", "-"), "", r.args
	if r.known || r.user != "" {
		user = quoteBlank(r.user)
	}
	if r.known && !r.hasMethod() {
		typ = r.typ.String()
	}
	if r.request == "authorize" && !verbose {
		if command := commandLine(args); command != "" {
			args = []string{command}
		}
	}
	b = appendWords(appendWords(b, false, user, r.request, typ, r.flag), true, args...)
	if verbose {
		b = r.appendDetails(b)
	}
	if b = appendWords(b, false, r.status); verbose {
		b = appendWords(b, true, r.response...)
	}
	if text := oneLine(cmp.Or(r.reason, strings.TrimSpace(r.serverMsg), r.data)); text != "" {
		b = append(append(b, ": "...), text...)
	}
	if r.took > 0 {
		b = append(strconv.AppendFloat(append(b, " ("...), milliseconds(r.took), 'f', 1, 64), " ms)"...)
	}
	for _, note := range r.notes {
		b = append(append(b, "; "...), note...)
	}
	return append(b, '\n')
}

// appendWords appends texts, each after a blank: texts of a client or server quoted, others unless they are empty.
func appendWords(b []byte, quoted bool, texts ...string) []byte {
	for _, text := range texts {
		if quoted {
			text = quoteBlank(text)
		}
		if text != "" {
			b = append(append(b, ' '), text...)
		}
	}
	return b
}

// appendDetails appends the facts that only -v prints.
func (r *sessionRecord) appendDetails(b []byte) []byte {
	if r.known {
		how := "action=" + strings.ToLower(r.action.String())
		if r.hasMethod() {
			how = "method=" + r.method.String()
		}
		b = fmt.Appendf(b, " priv_lvl=%d port=%s rem_addr=%s %s service=%s", r.privLvl, quoteBlank(r.port), quoteBlank(r.remAddr), how, r.service)
	}
	for _, fact := range [...]struct{ name, value string }{
		{"protection=", r.protection.String()},
		{"", choose(r.singleConnect, "single_connect", "")},
		{"certificate=", r.certificate},
		{"proxy=", endName(r.proxy)},
		{"frames=", strings.ReplaceAll(strings.Trim(fmt.Sprint(r.frames), "[]"), " ", ",")},
	} {
		if fact.value != "" {
			b = fmt.Appendf(b, " %s%s", fact.name, quoteBlank(fact.value))
		}
	}
	return b
}

// endName returns an address as text, or "" if there is none.
func endName(end netip.AddrPort) string {
	if !end.IsValid() {
		return ""
	}
	return end.String()
}

// hasMethod reports whether the request has an authen_method in place of an action.
func (r *sessionRecord) hasMethod() bool { return r.request == "authorize" || r.request == "account" }

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
	Action      string   `json:"action,omitempty"`
	Service     string   `json:"service,omitempty"`
	Method      string   `json:"method,omitempty"`
	CommandLine string   `json:"cmd,omitempty"`
	Args        []string `json:"arguments,omitempty"`
	Protection  string   `json:"protection,omitempty"`
	Single      bool     `json:"single_connect,omitempty"`
	Certificate string   `json:"certificate,omitempty"`
	Proxy       string   `json:"proxy,omitempty"`
	Frames      []int    `json:"frames,omitempty"`
	Status      string   `json:"status,omitempty"`
	ServerMsg   string   `json:"server_msg,omitempty"`
	Data        string   `json:"data,omitempty"`
	Reason      string   `json:"reason,omitempty"`
	Notes       []string `json:"notes,omitempty"`
	Response    []string `json:"response,omitempty"`
	ServerMS    float64  `json:"server_ms,omitempty"`
	TotalMS     float64  `json:"total_ms,omitempty"`
	Packets     int      `json:"packets,omitempty"`
	Key         string   `json:"key,omitempty"`
}

// appendJSON appends the object of a record. Texts of other programs are escaped.
func (r *sessionRecord) appendJSON(b []byte) []byte {
	shown := recordObject{Error: escape(r.problem), Peer: endName(r.peer), Server: endName(r.server), Proxy: endName(r.proxy),
		Certificate: escape(r.certificate)}
	if !r.at.IsZero() {
		shown.Time = r.at.UTC().Format(timeLayout)
	}
	if r.problem == "" {
		if r.request != "" && !r.noID {
			shown.SessionID = fmt.Sprintf("%08x", r.id)
		}
		shown.User, shown.Request, shown.Flag = escape(r.user), r.request, r.flag
		shown.Status, shown.ServerMsg, shown.Key = r.status, escapeLines(r.serverMsg), escape(r.key)
		shown.ServerMS, shown.TotalMS, shown.Packets = milliseconds(r.took), milliseconds(r.total), r.packets
		shown.CommandLine, shown.Args = escape(commandLine(r.args)), escapeAll(r.args)
		shown.Data, shown.Reason, shown.Notes, shown.Response = escapeLines(r.data), escape(r.reason), r.notes, escapeAll(r.response)
		shown.Protection, shown.Single, shown.Frames = r.protection.String(), r.singleConnect, r.frames
	}
	if r.known {
		shown.AuthenType, shown.PrivLvl = r.typ.String(), &r.privLvl
		shown.Port, shown.RemAddr, shown.Service = escape(r.port), escape(r.remAddr), r.service.String()
		if r.hasMethod() {
			shown.Method = r.method.String()
		} else {
			shown.Action = strings.ToLower(r.action.String())
		}
	}
	return append(b, encodeJSON(shown)...)
}
