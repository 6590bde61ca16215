package main

import (
	"fmt"
	"slices"
	"strings"
)

// An authenStart opens an authentication. RFC 8907 section 5.1.
type authenStart struct {
	action authenAction
	commonFields
	data string // PAP: the password. CHAP and MS-CHAP: id, challenge and response
}

func (m *authenStart) layout(c *codec) {
	uint8Field(c, "action", &m.action)
	m.commonFields.layout(c)
	c.secret("data", 1, &m.data)
}

// commonFields are the six fields that START and both REQUESTs share, in this order. Sections 5.1, 6.1 and 7.1.
type commonFields struct {
	privLvl uint8
	typ     authenType
	service authenService
	user    string
	port    string // a line of the device, not a TCP port
	remAddr string // empty until there is a connection, unless an option gives it
}

func (m *commonFields) layout(c *codec) {
	uint8Field(c, "priv_lvl", &m.privLvl)
	uint8Field(c, "authen_type", &m.typ)
	uint8Field(c, "authen_service", &m.service)
	c.length("user", 1, &m.user)
	c.length("port", 1, &m.port)
	c.length("rem_addr", 1, &m.remAddr)
}

// undefined returns a value of the fields that sections 5.1 and 9 do not define, or "". It ignores the type, which may be
// 0 outside of a START.
func (m *commonFields) undefined() string {
	switch {
	case m.privLvl > 15:
		return fmt.Sprintf("priv_lvl %d is not defined", m.privLvl)
	case !authenServiceNames.has(uint8(m.service)):
		return "authen_service " + m.service.String() + " is not defined"
	}
	return ""
}

// promptFor names a secret of the user at a prompt, such as "password for alice".
func (m *commonFields) promptFor(secret string) string {
	if m.service == authenServiceEnable {
		secret = "enable " + secret
	}
	if m.user != "" {
		secret += " for " + escape(m.user)
	}
	return secret
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
	// With SENDAUTH the data of a PASS is a password, and a FOLLOW may name a key.
	c.fields[1].secret = m.status == authenPass || m.status == authenFollow
}

// An authenContinue answers a prompt, or aborts the session. RFC 8907 section 5.3.
type authenContinue struct {
	userMsg string
	data    string // with ABORT: the reason, as text
	flags   authenContinueFlags
}

func (m *authenContinue) layout(c *codec) {
	c.secret("user_msg", 2, &m.userMsg)
	c.length("data", 2, &m.data)
	uint8Field(c, "flags", &m.flags)
	c.fields[1].secret = m.flags&authenAbort == 0 // without ABORT its meaning is not defined
}

// An authenAction is what a START asks for. SENDAUTH (4) is not used: section 10.5.3.
type authenAction uint8

const (
	authenLogin  authenAction = 1
	authenChPass authenAction = 2
)

var authenActionNames = names{authenLogin: "LOGIN", authenChPass: "CHPASS", 4: "SENDAUTH"}

func (a authenAction) String() string { return authenActionNames.name(uint8(a)) }

// An authenType is how the password is sent or proved. Section 5.1.
type authenType uint8

const (
	authenNotSet   authenType = 0 // in authorization and accounting only (section 6.1)
	authenASCII    authenType = 1
	authenPAP      authenType = 2
	authenCHAP     authenType = 3
	authenMSCHAP   authenType = 5
	authenMSCHAPv2 authenType = 6
)

// authenTypeNames has the types of a login.
var authenTypeNames = names{authenASCII: "ascii", authenPAP: "pap", authenCHAP: "chap",
	authenMSCHAP: "mschap", authenMSCHAPv2: "mschapv2"}

func (t authenType) String() string {
	if t == authenNotSet {
		return "not_set"
	}
	return authenTypeNames.name(uint8(t))
}

// Set implements flag.Value.
func (t *authenType) Set(s string) error {
	if strings.EqualFold(s, authenNotSet.String()) {
		*t = authenNotSet
		return nil
	}
	return authenTypeNames.set((*uint8)(t), s)
}

func (t *authenType) known() []string { return authenTypeNames.known() }

// challenged reports whether the type proves the password without sending it.
func (t authenType) challenged() bool { return t >= authenCHAP }

// minor returns the version of a login of this type. Section 5.4.1.
func (t authenType) minor() version { return choose(t == authenASCII, minorDefault, minorOne) }

// An authenService is the service that needs the authentication. Section 5.1.
type authenService uint8

const (
	authenServiceLogin  authenService = 1
	authenServiceEnable authenService = 2
)

var authenServiceNames = names{0: "none", authenServiceLogin: "login", authenServiceEnable: "enable",
	3: "ppp", 5: "pt", 6: "rcmd", 7: "x25", 8: "nasi", 9: "fwproxy"}

func (s authenService) String() string { return authenServiceNames.name(uint8(s)) }

// Set implements flag.Value.
func (s *authenService) Set(v string) error {
	if authenServiceNames.set((*uint8)(s), v) != nil {
		return notOneOf(s.known())
	}
	return nil
}

// known returns the services of the option --service. Only the command enable sends enable.
func (s *authenService) known() []string {
	return slices.DeleteFunc(authenServiceNames.known(), func(name string) bool { return name == "enable" })
}

// An authenStatus is the status of a REPLY. Section 5.2.
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

// class: FOLLOW, RESTART and an unanswered prompt deny.
func (s authenStatus) class() class { return statusClass(s == authenPass, s == authenError) }

// asks reports whether the server waits for a CONTINUE.
func (s authenStatus) asks() bool {
	return s == authenGetData || s == authenGetUser || s == authenGetPass
}

// authenReplyFlags are the flags of a REPLY. Section 5.2.
type authenReplyFlags uint8

// authenNoEcho: the input must not be echoed.
const authenNoEcho authenReplyFlags = 0x01

func (f authenReplyFlags) String() string { return names{0: "NOECHO"}.bits(uint8(f)) }

// authenContinueFlags are the flags of a CONTINUE. Section 5.3.
type authenContinueFlags uint8

const authenAbort authenContinueFlags = 0x01

func (f authenContinueFlags) String() string { return names{0: "ABORT"}.bits(uint8(f)) }

// maxFieldLen is the limit of a field of a START, in bytes.
const maxFieldLen = 255

// givesReason reports whether the text of a FAIL is more than the FAIL itself.
func givesReason(text string) bool {
	switch strings.ToLower(strings.Trim(oneLine(text), ".!%: ")) {
	case "", "fail", "failed", "login incorrect", "login failed", "login invalid", "authentication failed", "authentication failure", "access denied", "permission denied":
		return false
	}
	return true
}

// restartType returns the first type of the list in a RESTART that was not tried and is safe.
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

// abort returns the message that ends a session before its verdict. Section 5.4.3.
func abort(reason string) *authenContinue {
	return &authenContinue{flags: authenAbort, data: reason}
}
