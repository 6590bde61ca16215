package main

import (
	"crypto/md5"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A dialogue is one request to a server and its replies. It does no input or output: the client sends its messages,
// decodes the replies, and asks the person.
type dialogue interface {
	// check reports why the request cannot be sent.
	check(remAddr string) error
	// packetType returns the type and the version of every packet of the session.
	packetType() (packetType, version)
	// firstMessage starts the dialogue, also again, and returns the message that opens a session.
	firstMessage(remAddr string) (message, error)
	// reply returns the message into which the next reply is decoded.
	reply() message
	// on handles that reply of server, whose name is for errors.
	on(server string) reaction
	// answer handles a person's answer to the prompt of a reaction. err is errNoAnswer if there is none.
	answer(text string, err error) reaction
	// reset prepares the dialogue for another server.
	reset()
	// interactive reports whether the session can have more than one exchange.
	interactive() bool
	// repeatable reports whether the request may be sent twice.
	repeatable() bool
	// secrets returns texts to redact in replies. None of them is part of the user's name.
	secrets() []string
}

// A reaction is what the client does after a reply: it sends a message, asks the person, starts another session, or
// stops.
type reaction struct {
	verdict  verdict // of the reply
	send     message // the next message of the session, or nil
	prompt   *prompt // the person's answer goes to dialogue.answer; or nil
	abort    message // ends the session before its verdict, and has no reply; or nil
	restart  bool    // the server asks for another session (section 5.4.3)
	err      error   // why there is no verdict, or why it is not enough; or nil
	warnings []namedWarning
}

// A prompt asks a person for one line.
type prompt struct {
	words  string // of the server, untrusted; empty if label says the same
	label  string // such as "password for alice"
	hidden bool   // the input is not echoed
}

// A status is an authenStatus, an authorStatus or an acctStatus.
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

// A verdict is the content of a reply.
type verdict struct {
	status    status // nil if the reply could not be read
	serverMsg string
	data      string
	hint      string // for a denial: what to do next

	authenType string // of an authentication, as are flags and prompt
	flags      string
	prompt     string // the unanswered prompt that counts as FAIL

	request, response, effective []string // arguments of an authorization or a record
	taskID                       string   // of a record
}

// followHint returns the hint for a FOLLOW, which is never followed (section 10.5.5). data names the other server.
func followHint(data string) string {
	other := "another server, which it does not name"
	if where := oneLine(followHosts(data)); where != "" {
		other = `"` + where + `"`
	}
	return "give the right server as HOST: the server refers to " + other + ", which RFC 8907 section 10.5.5 forbids to follow"
}

// followHosts returns the servers in the data of a FOLLOW without their keys. The drafts of RFC 8907 write each as
// [@protocol@]host[@key], some servers as host@protocol@key; several are separated by a carriage return.
func followHosts(data string) string {
	servers := strings.Split(data, "\r")
	for i, server := range servers {
		parts := strings.Split(server, "@")
		shown := choose(parts[0] == "", 3, 1)
		if len(parts) > shown {
			servers[i] = strings.Join(parts[:shown], "@") + "@[redacted]"
		}
	}
	return strings.Join(servers, "\r")
}

// refers reports whether a status is FOLLOW.
func refers(s status) bool { return s == authenFollow || s == authorFollow || s == acctFollow }

// unknownStatus returns the error for a status that the RFC does not define: never a success (section 3.6).
func unknownStatus[T ~uint8](server string, status T) reaction {
	return reaction{err: failf(classProtocol, "%s sent the unknown status 0x%02x", server, uint8(status)).
		withHint("report this to the server's vendor: RFC 8907 does not define this status")}
}

// fits reports a field of a message that is too long.
func fits(m message) error {
	if _, err := appendPacket(nil, new(header), m); err != nil {
		return failf(classUsage, "%w", err)
	}
	return nil
}

// fit is fits for the fields alone.
func (m *commonFields) fit(remAddr string) error {
	for _, f := range [...]struct{ name, value string }{{"user", m.user}, {"port", m.port}, {"rem_addr", remAddr}} {
		if len(f.value) > maxFieldLen {
			return failf(classUsage, "%s is %d bytes, the limit is %d", f.name, len(f.value), maxFieldLen)
		}
	}
	return nil
}

// text returns the server's words with its name before every line, so that none looks like a prompt of the shell.
func (p *prompt) text(server string) string {
	if p.words == "" {
		return p.label + ": "
	}
	mark := server + ": "
	return mark + strings.ReplaceAll(escapeLines(p.words), "\n", "\n"+mark) + " "
}

// newMessage returns an empty message of the type of h.
func newMessage(h *header) message { return new(messageSet).of(h) }

// messageSet is memory for one message of each type, to be used again.
type messageSet struct {
	start    *authenStart
	reply    *authenReply
	cont     *authenContinue
	request  *authorRequest
	response *authorResponse
	record   *acctRequest
	acct     *acctReply
}

// of returns an empty message of the type of h.
func (s *messageSet) of(h *header) message {
	client := h.seqNo%2 == 1
	switch {
	case h.typ == typeAuthen && h.seqNo == 1:
		return emptied(&s.start)
	case h.typ == typeAuthen && client:
		return emptied(&s.cont)
	case h.typ == typeAuthen:
		return emptied(&s.reply)
	case h.typ == typeAuthor && client:
		return emptied(&s.request)
	case h.typ == typeAuthor:
		return emptied(&s.response)
	case client:
		return emptied(&s.record)
	}
	return emptied(&s.acct)
}

// emptied returns the zero value in the memory of *m, which it allocates if there is none.
func emptied[T any](m **T) *T {
	if *m == nil {
		*m = new(T)
	}
	**m = *new(T)
	return *m
}

// A keyTest rejects keys that a body does not fit. It costs one MD5 a key, however long the body is.
type keyTest struct {
	prefix   []byte
	codec    codec
	messages messageSet
}

// mayFit reports whether the lengths at the start of a body are possible with a key: nearly no wrong one is.
func (t *keyTest) mayFit(h *header, body []byte, key string) bool {
	t.prefix = append(t.prefix[:0], body[:min(len(body), md5.Size)]...)
	obfuscate(h, key, t.prefix)
	m := t.messages.of(h)
	t.codec = codec{fields: t.codec.fields[:0], reading: true, buf: t.prefix}
	if m.layout(&t.codec); t.codec.err != nil { // the lengths of arguments follow
		return len(body) > len(t.prefix) && plausible(m)
	}
	size := len(t.prefix) - len(t.codec.buf)
	for _, f := range t.codec.fields {
		size += int(f.length)
	}
	return size == len(body)
}

// plausible reports whether a message has only values that RFC 8907 or its draft define. A wrong key rarely gives such a
// message.
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

// plausibleFields is plausible for commonFields.
func plausibleFields(who *commonFields) bool {
	const arap = 4 // a type and a service of the draft
	return who.privLvl <= 15 && who.typ <= authenMSCHAPv2 && (authenServiceNames.has(uint8(who.service)) || who.service == arap) &&
		plausibleText(who.user) && plausibleText(who.port) && plausibleText(who.remAddr)
}

// plausibleText reports whether a text has no control characters. RFC 8907 section 3.7.
func plausibleText(s string) bool {
	return printableASCII(s) || utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

func errorReply(typ packetType, msg string) message {
	switch typ {
	case typeAuthen:
		return &authenReply{status: authenError, serverMsg: msg}
	case typeAuthor:
		return &authorResponse{status: authorError, serverMsg: msg}
	}
	return &acctReply{status: acctError, serverMsg: msg}
}
