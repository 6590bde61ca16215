package main

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
)

// An authenStart opens an authentication. RFC 8907 section 5.1.
type authenStart struct {
	action authenAction
	commonFields
	data string // PAP: the password; CHAP and MS-CHAP: id, challenge and response
}

func (m *authenStart) layout(c *codec) {
	uint8Field(c, "action", &m.action)
	m.commonFields.layout(c)
	c.secret("data", 1, &m.data)
}

// A subject is the six fields that START and both REQUESTs share, in this order: who asks, from
// where, for what. Sections 5.1, 6.1 and 7.1.
type commonFields struct {
	privLvl uint8
	typ     authenType
	service authenService
	user    string
	port    string // a line or terminal of the device, not that of TCP
	remAddr string
}

func (m *commonFields) layout(c *codec) {
	uint8Field(c, "priv_lvl", &m.privLvl)
	uint8Field(c, "authen_type", &m.typ)
	uint8Field(c, "authen_service", &m.service)
	c.length("user", 1, &m.user)
	c.length("port", 1, &m.port)
	c.length("rem_addr", 1, &m.remAddr)
}

// An authenReply answers a START or a CONTINUE. RFC 8907 section 5.2.
type authenReply struct {
	status    authenStatus
	flags     authenReplyFlags
	serverMsg string
	data      string
}

func (m *authenReply) layout(c *codec) {
	uint8Field(c, "status", &m.status)
	uint8Field(c, "flags", &m.flags)
	c.length("server_msg", 2, &m.serverMsg)
	c.length("data", 2, &m.data)
}

// An authenContinue answers a server's prompt, or ends the session. RFC 8907 section 5.3.
type authenContinue struct {
	userMsg string
	data    string // with ABORT: the reason, as text
	flags   authenContinueFlags
}

func (m *authenContinue) layout(c *codec) {
	c.secret("user_msg", 2, &m.userMsg)
	c.length("data", 2, &m.data)
	uint8Field(c, "flags", &m.flags)
	c.fields[1].secret = m.flags&authenAbort == 0 // then nothing says what it is
}

// An authenAction is what a START asks for. SENDAUTH (4) is not used: section 10.5.3.
type authenAction uint8

const (
	authenLogin  authenAction = 1
	authenChPass authenAction = 2
)

var authenActionNames = names{authenLogin: "LOGIN", authenChPass: "CHPASS", 4: "SENDAUTH"}

func (a authenAction) String() string { return authenActionNames.name(uint8(a)) }

// An authenType is how the user proves who it is. Section 5.1.
type authenType uint8

const (
	authenNotSet   authenType = 0 // in authorization and accounting only (section 6.1)
	authenASCII    authenType = 1
	authenPAP      authenType = 2
	authenCHAP     authenType = 3
	authenMSCHAP   authenType = 5
	authenMSCHAPv2 authenType = 6
)

// authenTypeNames are the types that a login has.
var authenTypeNames = names{authenASCII: "ascii", authenPAP: "pap", authenCHAP: "chap",
	authenMSCHAP: "mschap", authenMSCHAPv2: "mschapv2"}

func (t authenType) String() string {
	if t == authenNotSet {
		return "not_set"
	}
	return authenTypeNames.name(uint8(t))
}

// Set makes an authenType a flag.Value, and known an enumeration.
func (t *authenType) Set(s string) error {
	if strings.EqualFold(s, authenNotSet.String()) {
		*t = authenNotSet
		return nil
	}
	return authenTypeNames.set((*uint8)(t), s)
}

func (t *authenType) known() []string { return authenTypeNames.known() }

// challenged says that the type proves the password without sending it.
func (t authenType) challenged() bool { return t >= authenCHAP }

// minor is the minor version that a login of this type is sent with. Section 5.4.1.
func (t authenType) minor() version {
	if t == authenASCII {
		return minorDefault
	}
	return minorOne
}

// An authenService is what asks for the authentication. Section 5.1.
type authenService uint8

const (
	authenServiceLogin  authenService = 1
	authenServiceEnable authenService = 2
)

var authenServiceNames = names{0: "none", authenServiceLogin: "login", authenServiceEnable: "enable",
	3: "ppp", 5: "pt", 6: "rcmd", 7: "x25", 8: "nasi", 9: "fwproxy"}

func (s authenService) String() string { return authenServiceNames.name(uint8(s)) }

// Set makes an authenService a flag.Value, and known an enumeration.
func (s *authenService) Set(v string) error {
	if authenServiceNames.set((*uint8)(s), v) != nil {
		return notOneOf(s.known())
	}
	return nil
}

// known leaves out enable, which the command enable alone sends.
func (s *authenService) known() []string {
	return slices.DeleteFunc(authenServiceNames.known(), func(name string) bool { return name == "enable" })
}

// An authenStatus is a server's answer. Section 5.2.
type authenStatus uint8

const (
	authenPass    authenStatus = 0x01
	authenFail    authenStatus = 0x02
	authenGetData authenStatus = 0x03
	authenGetUser authenStatus = 0x04
	authenGetPass authenStatus = 0x05
	authenRestart authenStatus = 0x06
	authenError   authenStatus = 0x07
	authenFollow  authenStatus = 0x21
)

var authenStatusNames = names{authenPass: "PASS", authenFail: "FAIL", authenGetData: "GETDATA",
	authenGetUser: "GETUSER", authenGetPass: "GETPASS", authenRestart: "RESTART",
	authenError: "ERROR", authenFollow: "FOLLOW"}

func (s authenStatus) String() string { return authenStatusNames.name(uint8(s)) }

// asks says that the server waits for a CONTINUE.
func (s authenStatus) asks() bool {
	return s == authenGetData || s == authenGetUser || s == authenGetPass
}

// authenReplyFlags are the flags of a REPLY. Section 5.2.
type authenReplyFlags uint8

// authenNoEcho forbids to show what the user types.
const authenNoEcho authenReplyFlags = 0x01

func (f authenReplyFlags) String() string { return names{0: "NOECHO"}.bits(uint8(f)) }

// authenContinueFlags are the flags of a CONTINUE. Section 5.3.
type authenContinueFlags uint8

const authenAbort authenContinueFlags = 0x01

func (f authenContinueFlags) String() string { return names{0: "ABORT"}.bits(uint8(f)) }

// An authentication is a request of one of the three commands of this file: what it needs, and
// how far its session has come.
type authentication struct {
	action      authenAction
	caller      requestOptions
	password    string
	id          int    // of the CHAP challenge; -1 for a random one
	challenge   []byte // empty for a random one
	newPassword string // for CHPASS
	answers     []string
	person      *terminal
	deferred    bool // the password is not known: the person says it when the server asks

	tried    []authenType         // the types of the sessions so far; the last one is under way
	used     map[authenStatus]int // how many of the prepared replies the session has used, and of names
	answered int                  // how many of answers
	typed    []string             // at prompts without echo
	start    authenStart
	response authenReply
}

// kind makes an authentication a request, as do the methods below.
func (a *authentication) packetType() (packetType, version) { return typeAuthen, a.typ().minor() }

func (a *authentication) reset() { a.tried = nil }

// typ is the type of the session: the one asked for, or one that RESTART led to.
func (a *authentication) typ() authenType {
	if len(a.tried) > 0 {
		return a.tried[len(a.tried)-1]
	}
	return a.caller.authenType
}

// dialogue says that the server may ask back: ASCII and ENABLE take several packets.
func (a *authentication) dialogue() bool {
	return a.typ() == authenASCII || a.caller.service == authenServiceEnable
}

func (a *authentication) repeatable() bool { return true }

// open builds the START. RFC 8907 section 5.4.2.
func (a *authentication) firstMessage(remAddr string) (message, error) {
	typ := a.typ()
	a.used, a.answered = nil, 0
	a.start = authenStart{action: a.action, commonFields: a.caller.commonFields()}
	a.start.typ, a.start.remAddr = typ, remAddr
	switch {
	case a.action == authenChPass && typ != authenASCII:
		return nil, failf(classUsage, "chpass is defined for the type ascii only, not %s", typ)
	case a.caller.user == "" && typ != authenASCII:
		return nil, failf(classUsage, "an empty user needs --authen-type ascii, where the server can ask for the name")
	case typ == authenPAP && len(a.password) > maxPAPPassword:
		return nil, failf(classUsage, "the password is %d bytes, the limit of pap is %d", len(a.password), maxPAPPassword)
	case typ == authenPAP:
		a.start.data = a.password
	case typ.challenged():
		random := make([]byte, 1+16+16)
		rand.Read(random) // never fails
		id, challenge, peer := random[0], random[1:1+challengeSize(typ)], random[17:]
		if a.id >= 0 {
			id = byte(a.id)
		}
		if len(a.challenge) > 0 && typ == a.caller.authenType {
			challenge = a.challenge
		}
		data, err := chapData(typ, a.caller.user, a.password, id, challenge, peer)
		if err != nil {
			return nil, failf(classUsage, "%w", err)
		}
		a.start.data = data
	}
	return &a.start, nil
}

// maxPAPPassword is what the data field of a START holds.
const maxPAPPassword = 255

func (a *authentication) reply() message { return &a.response }

// later are the messages that may follow the START.
func (a *authentication) followUps() (messages []message) {
	for _, r := range append([]string{a.caller.user, a.password, a.newPassword}, a.answers...) {
		messages = append(messages, &authenContinue{userMsg: r})
	}
	return messages
}

// secrets are all that proves the user. What is part of the name is none, and would be told by a gap in it.
func (a *authentication) secrets() []string {
	all := slices.Concat([]string{a.password, a.newPassword}, a.answers, a.typed)
	return slices.DeleteFunc(all, func(s string) bool { return strings.Contains(a.caller.user, s) })
}

// next takes a REPLY: the verdict, or a prompt and with it the CONTINUE that answers it.
// RESTART begins again with a type that the server names, each type once, and never with one
// that sends a password which the type asked for would not have sent. Section 5.4.
func (a *authentication) next(ctx context.Context, s *session, res *result) (message, error) {
	status := a.response.status
	if !authenStatusNames.has(uint8(status)) {
		return nil, unknownStatus(s.serverConn, status)
	}
	prompt := status == authenGetData || status == authenGetUser || status == authenGetPass
	if prompt && !a.dialogue() {
		return abort("no prompts with " + a.typ().String()),
			failf(classProtocol, "%s answers a %s login with %s, which has no place there", s.server, a.typ(), status)
	}
	res.setReply(status, a.response.serverMsg, a.response.data)
	res.AuthenType, res.Flags = a.typ().String(), a.response.flags.String()
	switch {
	case prompt:
		said, err := a.say(ctx, s)
		if errors.Is(err, errNoAnswer) && status != authenGetUser && a.used[status] > 0 {
			// Many servers refuse a password by asking for it again.
			res.setReply(authenFail, a.response.serverMsg, a.response.data)
			res.Prompt = status.String()
			res.hint = a.askedAgain(status)
			err = errAborted
		}
		if err != nil {
			return abort("no answer to the prompt"), err
		}
		return &authenContinue{userMsg: said}, nil
	case status == authenFail:
		res.hint = "account, password, device policy and time rules all look the same from here; the server's log tells them apart"
	case status == authenRestart:
		if a.tried == nil {
			a.tried = []authenType{a.caller.authenType}
		}
		next, ok := restartType(a.response.data, a.tried)
		if !ok || a.action != authenLogin || a.caller.user == "" && next != authenASCII {
			res.hint = "the server does not take " + a.typ().String() + " here; try another --authen-type"
			return nil, nil
		}
		s.warn("the server asks to restart with %s instead of %s", next, a.typ())
		if a.deferred && next != authenASCII {
			said, err := a.ask(ctx, s, a.caller.promptFor("password")+": ", true)
			if err != nil {
				return nil, err
			}
			a.password, a.deferred = said, false
		}
		a.tried = append(a.tried, next)
		return nil, errRestart
	}
	return nil, nil
}

// abort ends the session before its verdict, for a reason. Section 5.4.3.
func abort(reason string) *authenContinue {
	return &authenContinue{flags: authenAbort, data: reason}
}

// wantsPassword says that a prompt asks for the password. For CHPASS that is GETDATA, and GETPASS
// asks for the new one. Section 5.4.2.7.
func (a *authentication) wantsPassword(status authenStatus) bool {
	if a.action == authenChPass {
		return status == authenGetData
	}
	return status == authenGetPass
}

// askedAgain is what it may mean that a server asks once more for what it was given.
func (a *authentication) askedAgain(status authenStatus) string {
	switch {
	case a.action != authenChPass:
		return "the server asked again: a wrong password, or it wants a new one, which --answer gives"
	case a.wantsPassword(status):
		return "the server asked again for the old password: it was wrong"
	}
	return "the server asked once more for the new password: it does not take this one"
}

// prepared are the replies to the server's prompts that are known beforehand, in order.
func (a *authentication) prepared(status authenStatus) []string {
	switch {
	case a.wantsPassword(status):
		return []string{a.password}
	case status == authenGetPass:
		return []string{a.newPassword, a.newPassword}
	case status == authenGetUser && a.caller.user != "":
		return []string{a.caller.user}
	}
	return nil
}

// say is the reply to the server's prompt: what was prepared for it, then the answers, then
// what the person says, if there is one. One name is all that they have to say to GETUSER: servers
// log a name that they do not know, and the next answer may be a secret.
func (a *authentication) say(ctx context.Context, s *session) (said string, err error) {
	status := a.response.status
	ready, used := a.prepared(status), a.used[status]
	switch {
	case used < len(ready) && a.deferred && a.wantsPassword(status):
		said, err = a.sayPassword(ctx, s)
	case used < len(ready):
		said = ready[used]
	case status == authenGetUser && used > 0 && (len(ready) > 0 || a.person == nil):
		err = failf(classDenied, "%s asks again for the user name after it was given one", s.server).
			withHint("it does not take this user; --answer gives a name once, and none where a user was given")
	case a.answered < len(a.answers) && (status != authenGetUser || used == 0):
		said = a.answers[a.answered]
		a.answered++
	default:
		prompt, _ := a.prompt(s.server)
		// GETPASS asks for a secret even where the server forgot the flag.
		hidden := a.response.flags&authenNoEcho != 0 || status == authenGetPass || a.wantsPassword(status)
		said, err = a.ask(ctx, s, prompt, hidden)
	}
	if err == nil && (used < len(ready) || status == authenGetUser) {
		if a.used == nil {
			a.used = make(map[authenStatus]int)
		}
		a.used[status]++
	}
	return said, err
}

// sayPassword asks the person for the password. One that was asked for in our words is good for
// the next server too; what a server says of it, such as a challenge, is of this session alone.
func (a *authentication) sayPassword(ctx context.Context, s *session) (string, error) {
	prompt, ours := a.prompt(s.server)
	said, err := a.ask(ctx, s, prompt, true)
	switch {
	case errors.Is(err, errNoAnswer):
		err = failf(classUsage, "no password typed").withHint("give --password-file FILE, or set TACACS_PLUS_PWD")
	case err == nil && said == "":
		err = errTypedEmpty("password")
	}
	if err == nil && ours {
		a.password, a.deferred = said, false
	}
	return said, err
}

// restartType picks from a RESTART's list the first type that was not tried and is safe.
func restartType(list string, tried []authenType) (authenType, bool) {
	for _, b := range []byte(list) {
		t := authenType(b)
		safe := t.challenged() || !tried[0].challenged()
		if authenTypeNames.has(b) && safe && !slices.Contains(tried, t) {
			return t, true
		}
	}
	return 0, false
}

// prompt is what the person is shown: the server's words, with its name before every line, so that
// none of them passes for a prompt of the shell; or ours, where the server's say no more.
func (a *authentication) prompt(from server) (text string, ours bool) {
	text, password := "data", false
	switch status := a.response.status; {
	case a.wantsPassword(status):
		text, password = a.caller.promptFor("password"), true
	case status == authenGetPass:
		text, password = a.caller.promptFor("new password"), true
	case status == authenGetUser:
		text = "username"
	}
	words := strings.TrimSpace(a.response.serverMsg)
	if words == "" || password && strings.EqualFold(strings.TrimRight(words, ": "), "password") {
		return text + ": ", true
	}
	mark := from.String() + ": "
	return mark + strings.ReplaceAll(escapeLines(words), "\n", "\n"+mark) + " ", false
}

// ask gets one line from the person at the terminal. The time it takes is not the server's, so the
// deadline moves with it.
func (a *authentication) ask(ctx context.Context, s *session, prompt string, hidden bool) (string, error) {
	defer s.pauseDeadline()()
	answer, err := a.person.ask(ctx, prompt, hidden)
	if hidden {
		a.typed = append(a.typed, answer)
	}
	if errors.Is(err, errNoAnswer) {
		err = failf(classDenied, "%w left for the prompt \"%s\" (%s) of %s", err, oneLine(a.response.serverMsg), a.response.status, s.server).
			withHint("--answer TEXT replies to prompts after the password, in order")
	}
	return answer, err
}

// newLogin is the request for a login or, by its service, for enable.
func newLogin(who requestOptions, password string) *authentication {
	return &authentication{action: authenLogin, caller: who, password: password, id: -1}
}

// newPasswordChange is the request for another password.
func newPasswordChange(who requestOptions, old, fresh string) *authentication {
	return &authentication{action: authenChPass, caller: who, password: old, newPassword: fresh, id: -1}
}
