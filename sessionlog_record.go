package main

import (
	"fmt"
	"net/netip"
	"strconv"
	"time"
)

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
	problem   string // of a connection, in place of a session
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

// appendLine appends the line of a record, without the time: client and server, request, verdict, and the time that
// the server took. Accounting records are complete; with -v all are. Each word follows a blank.
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
		shown.Status, shown.ServerMsg, shown.Key = r.status, escape(r.serverMsg), escape(r.key)
		shown.ServerMS, shown.TotalMS, shown.Packets = milliseconds(r.took), milliseconds(r.total), r.packets
		shown.CommandLine, shown.Args = escape(commandLine(r.args)), escapeAll(r.args)
	}
	if r.known {
		shown.AuthenType, shown.PrivLvl = r.typ.String(), &r.privLvl
		shown.Port, shown.RemAddr = escape(r.port), escape(r.remAddr)
	}
	return append(b, encodeJSON(shown)...)
}
