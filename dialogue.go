package main

import (
	"fmt"
	"strings"
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
