package main

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// messageSet is memory for the bodies that a packet can have.
type messageSet struct {
	start    authenStart
	reply    authenReply
	cont     authenContinue
	request  authorRequest
	response authorResponse
	record   acctRequest
	acct     acctReply
}

// of returns an empty message of the kind that h announces.
func (s *messageSet) of(h *header) message {
	client := h.seqNo%2 == 1
	switch {
	case h.typ == typeAuthen && h.seqNo == 1:
		s.start = authenStart{}
		return &s.start
	case h.typ == typeAuthen && client:
		s.cont = authenContinue{}
		return &s.cont
	case h.typ == typeAuthen:
		s.reply = authenReply{}
		return &s.reply
	case h.typ == typeAuthor && client:
		s.request = authorRequest{}
		return &s.request
	case h.typ == typeAuthor:
		s.response = authorResponse{}
		return &s.response
	case client:
		s.record = acctRequest{}
		return &s.record
	}
	s.acct = acctReply{}
	return &s.acct
}

// plausible reports whether a message has only values that RFC 8907 or its draft define: a wrong key rarely makes any.
func plausible(m message) bool {
	switch m := m.(type) {
	case *authenStart:
		return authenActionNames.has(uint8(m.action)) && plausibleFields(&m.commonFields)
	case *authenReply:
		return authenStatusNames.has(uint8(m.status)) && m.flags <= authenNoEcho
	case *authenContinue:
		return m.flags <= authenAbort
	case *authorRequest:
		return authenMethodNames.has(uint8(m.method)) && plausibleFields(&m.commonFields)
	case *authorResponse:
		return authorStatusNames.has(uint8(m.status))
	case *acctRequest:
		return acctFlagNames.has(uint8(m.flags.kind())) && authenMethodNames.has(uint8(m.method)) && plausibleFields(&m.commonFields)
	case *acctReply:
		return acctStatusNames.has(uint8(m.status))
	}
	return false
}

// plausibleFields is plausible for what requests have in common. Types are ASCII to MSCHAPV2, ARAP of the draft among them,
// or none.
func plausibleFields(who *commonFields) bool {
	const arap = 4 // also a service of the draft
	return who.privLvl <= 15 && who.typ <= authenMSCHAPv2 && (authenServiceNames.has(uint8(who.service)) || who.service == arap) &&
		plausibleText(who.user) && plausibleText(who.port) && plausibleText(who.remAddr)
}

// plausibleText reports whether a text has no control characters. RFC 8907 section 3.7.
func plausibleText(s string) bool {
	return printableASCII(s) || utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// errorReply returns the ERROR of a packet type.
func errorReply(typ packetType, msg string) message {
	switch typ {
	case typeAuthen:
		return &authenReply{status: authenError, serverMsg: msg}
	case typeAuthor:
		return &authorResponse{status: authorError, serverMsg: msg}
	}
	return &acctReply{status: acctError, serverMsg: msg}
}
