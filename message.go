package main

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A dialogue is one request to a server and what follows from its replies. It does no input or output: the client
// sends its messages, decodes the replies, and asks the person.
type dialogue interface {
	// check reports what keeps the request from being sent. remAddr is as in firstMessage.
	check(remAddr string) error
	// packetType returns the type and the version of every packet of the session.
	packetType() (packetType, version)
	// firstMessage builds the message that opens a session. A dialogue starts over when it is called again.
	firstMessage(remAddr string) (message, error)
	// reply returns the message into which the next reply is decoded.
	reply() message
	// on returns what follows from that reply. server is the name of its sender, for errors.
	on(server string) reaction
	// answer returns what follows from a person's answer to the prompt of a reaction. err is errNoAnswer if there is
	// none.
	answer(text string, err error) reaction
	// reset forgets the sessions with the server before, since another one is asked next.
	reset()
	// interactive reports whether the session can have more than one exchange.
	interactive() bool
	// repeatable reports whether a server may get the request twice without harm.
	repeatable() bool
	// secrets returns texts that must not be shown when a server repeats them. None of them is part of the user's name.
	secrets() []string
}

// A reaction is what the client does after a reply: it sends a message, asks the person, starts another session, or
// stops.
type reaction struct {
	verdict  verdict  // of the reply
	send     message  // the next message of the session, or nil
	prompt   *prompt  // a question to the person, whose answer goes to dialogue.answer; or nil
	abort    message  // sent without waiting for a reply, since the session ends before its verdict; or nil
	restart  bool     // the server asks for another session (section 5.4.3)
	err      error    // why there is no verdict, or why it is not enough; or nil
	warnings []string // for the person
}

// A prompt asks a person for one line.
type prompt struct {
	words  string // of the server, untrusted; empty if they are no more than label
	label  string // such as "password for alice"
	hidden bool   // the input is not echoed
}

// A status is the answer of a server: an authenStatus, an authorStatus or an acctStatus.
type status interface {
	fmt.Stringer
	class() class
}

// statusName returns the RFC's name of a status, or nothing for nil.
func statusName(s status) string {
	if s == nil {
		return ""
	}
	return s.String()
}

// A verdict is what a reply tells about the request.
type verdict struct {
	status    status // nil if the reply could not be read
	serverMsg string
	data      string
	hint      string // for a denial: what to do next

	authenType string // of an authentication, as are flags and prompt
	flags      string
	prompt     string // the prompt that stands for this FAIL

	request, response, effective []string // arguments of an authorization or a record
	taskID                       string   // of a record
}

// followHint returns the hint for a FOLLOW, which is never followed (section 10.5.5). data names the other server.
func followHint(data string) string {
	other := "another one, which it does not name,"
	if where := oneLine(data); where != "" {
		other = `"` + where + `"`
	}
	return "the server says to ask " + other + " in its place, which RFC 8907 section 10.5.5 forbids to follow"
}

// unknownStatus returns the error for a status that the RFC does not define: never a success (section 3.6).
func unknownStatus[T ~uint8](server string, status T) reaction {
	return reaction{err: failf(classProtocol, "%s answers with the unknown status 0x%02x", server, uint8(status)).
		withHint("not a TACACS+ status: a broken server, or by a rare chance a wrong key")}
}

// fits reports what of a message does not fit its field or its packet.
func fits(m message) error {
	if _, err := appendPacket(nil, new(header), m); err != nil {
		return failf(classUsage, "%w", err)
	}
	return nil
}

// text returns what the person is shown: the words of the server with its name before every line, so that none of
// them looks like a prompt of the shell.
func (p *prompt) text(server string) string {
	if p.words == "" {
		return p.label + ": "
	}
	mark := server + ": "
	return mark + strings.ReplaceAll(escapeLines(p.words), "\n", "\n"+mark) + " "
}

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
