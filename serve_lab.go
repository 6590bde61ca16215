package main

import (
	"crypto/md5"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// A lab has the users and rules of the lab server. Each decision depends only on the request, the lab and the
// authSession.
type lab struct {
	enable        string // the enable password; empty: the user's own
	challengeOnly bool   // no login that sends the password (RFC 8907 section 10.5.3)
	rules         []rule
	args          []string // for a shell session

	mu      sync.Mutex
	users   map[string]string // name to password
	expired list              // users who must change the password
}

// An authSession is one authentication in progress.
type authSession struct {
	user   string
	enable bool // raises the privilege level
	chpass bool // changes the password
	tries  int  // that failed
	next   func(answer string) *authenReply
}

const maxTries = 3 // of an ASCII login

// start decides on a START (RFC 8907 section 5.4.2).
func (l *lab) start(m *authenStart, v version) (*authSession, *authenReply) {
	s := &authSession{user: m.user, chpass: m.action == authenChPass}
	s.enable = !s.chpass && m.service == authenServiceEnable
	if reason := l.unsupported(m, v); reason != "" {
		return s, failReply(reason)
	}
	if reason := m.undefined(); reason != "" { // RFC 8907 section 3.6
		return s, &authenReply{status: authenError, serverMsg: reason}
	}
	if m.typ != authenASCII && m.typ != 0 {
		password, known := l.password(s)
		switch {
		case !proves(m, password) || !known:
			return s, failReply("Login incorrect")
		case l.isExpired(s):
			return s, failReply("Password change required")
		}
		return s, &authenReply{status: authenPass}
	}
	if s.user != "" {
		return s, l.askPassword(s, "")
	}
	s.next = func(user string) *authenReply {
		if len(user) > maxFieldLen {
			return failReply("The user name exceeds 255 bytes")
		}
		s.user = strings.Clone(user) // user is part of a packet
		return l.askPassword(s, "")
	}
	return s, &authenReply{status: authenGetUser, serverMsg: "Username: "}
}

func failReply(msg string) *authenReply { return &authenReply{status: authenFail, serverMsg: msg} }

// unsupported returns why this server does not support a START, or "". The reply is FAIL then (RFC 8907 sections 5.4.1
// and 5.4.2).
func (l *lab) unsupported(m *authenStart, v version) string {
	switch {
	case v.minor() > 1:
		return unsupportedMinor(v)
	case m.action == authenChPass && m.typ != authenASCII:
		return "CHPASS requires authen_type ascii (RFC 8907 section 5.4.2.7)"
	case m.action == authenChPass && m.service == authenServiceEnable:
		return "CHPASS with authen_service enable is not defined (RFC 8907 section 5.4.2.6)"
	case m.action != authenLogin && m.action != authenChPass:
		return "action " + m.action.String() + " is not supported"
	case m.typ == 0 && m.service == authenServiceEnable: // "not used": ask for the password (section 5.4.2.6)
	case m.typ == 0 || !authenTypeNames.has(uint8(m.typ)):
		return "authen_type " + m.typ.String() + " is not supported"
	case v != m.typ.minor() && m.service != authenServiceEnable:
		return fmt.Sprintf("minor version %d is not valid for %s (RFC 8907 section 5.4.1)", v.minor(), m.typ)
	}
	if !m.typ.challenged() {
		if l.challengeOnly {
			return "authen_type " + m.typ.String() + " is not allowed: only chap, mschap and mschapv2 are"
		}
		return ""
	}
	return wrongData(m)
}

// minCHAPChallenge is the least length of a CHAP challenge, in bytes (RFC 8907 section 5.4.2.3).
const minCHAPChallenge = 8

// wrongData returns what is wrong with the length of id, challenge and response, or "" (RFC 8907 sections 5.4.2.3 to
// 5.4.2.5).
func wrongData(m *authenStart) string {
	if m.typ == authenCHAP && len(m.data) < 1+minCHAPChallenge+md5.Size {
		return fmt.Sprintf("the CHAP challenge has less than %d bytes", minCHAPChallenge)
	}
	if want := 1 + challengeSize(m.typ) + msResponseSize; m.typ != authenCHAP && len(m.data) != want {
		return fmt.Sprintf("data is %d bytes, %s requires %d", len(m.data), m.typ, want)
	}
	return ""
}

// askPassword asks for the password, up to maxTries times, and for a new one to change it or if it has expired.
func (l *lab) askPassword(s *authSession, before string) *authenReply {
	s.next = func(answer string) *authenReply { return l.onPassword(s, answer) }
	if s.chpass {
		return &authenReply{status: authenGetData, flags: authenNoEcho, serverMsg: before + "Old password: "}
	}
	return &authenReply{status: authenGetPass, flags: authenNoEcho, serverMsg: before + "Password: "}
}

// onPassword decides on a password.
func (l *lab) onPassword(s *authSession, answer string) *authenReply {
	password, known := l.password(s)
	if !same(answer, password) || !known {
		if s.tries++; s.tries == maxTries {
			return failReply("Login incorrect")
		}
		return l.askPassword(s, "Password incorrect. ")
	}
	if s.chpass || l.isExpired(s) {
		return l.askNewPassword(s)
	}
	return &authenReply{status: authenPass}
}

// askNewPassword asks for the new password twice, and changes it if both are the same.
func (l *lab) askNewPassword(s *authSession) *authenReply {
	s.next = func(first string) *authenReply {
		if len(first) > maxFieldLen {
			return failReply("The new password exceeds 255 bytes")
		}
		first = strings.Clone(first) // first is part of a packet
		s.next = func(second string) *authenReply {
			if first == "" || !same(first, second) {
				return failReply("The new passwords differ or are empty")
			}
			return l.changePassword(s.user, first)
		}
		return &authenReply{status: authenGetPass, flags: authenNoEcho, serverMsg: "Retype new password: "}
	}
	return &authenReply{status: authenGetPass, flags: authenNoEcho, serverMsg: "New password: "}
}

func (l *lab) changePassword(user, password string) *authenReply {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.users[user] = password
	l.expired = slices.DeleteFunc(l.expired, func(name string) bool { return name == user })
	return &authenReply{status: authenPass, serverMsg: "Password changed"}
}

// password returns the password that a session must prove. Callers compare it even if the user is unknown, so that the
// time does not differ.
func (l *lab) password(s *authSession) (password string, known bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	password, known = l.users[s.user]
	if s.enable && l.enable != "" {
		return l.enable, true
	}
	return password, known
}

// isExpired reports whether the user must change the password that a session has proven. The enable password is not the
// user's.
func (l *lab) isExpired(s *authSession) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return (!s.enable || l.enable == "") && slices.Contains(l.expired, s.user)
}

// same reports whether two secrets are equal, in a time that depends on neither.
func same(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// msResponseSize is the length of the response of both MS-CHAPs, in bytes.
const msResponseSize = 49

// proves reports whether the data of a START proves a password: it is the password, or a challenge with the response to it
// (RFC 8907 section 5.4.2).
func proves(m *authenStart, password string) bool {
	if m.typ == authenPAP {
		return same(m.data, password)
	}
	data, size := []byte(m.data), msResponseSize // id, challenge and response
	if m.typ == authenCHAP {
		size = md5.Size
	}
	n := len(data) - 1 - size
	if n < 1 || m.typ != authenCHAP && n != challengeSize(m.typ) {
		return false
	}
	id, challenge, response := data[0], data[1:1+n], data[1+n:]
	var peerChallenge []byte
	if m.typ == authenMSCHAPv2 {
		peerChallenge = response[:16]
	}
	want, err := chapData(m.typ, m.user, password, id, challenge, peerChallenge)
	if err != nil {
		return false
	}
	if m.typ == authenMSCHAP {
		// Many devices leave the LAN Manager response empty, so only the NT response counts.
		return same(string(response[24:48]), want[1+n+24:1+n+48])
	}
	return same(m.data, want)
}

// authorize decides by the rules. It never looks at authen_method (RFC 8907 section 6.1).
func (l *lab) authorize(m *authorRequest, v version) *authorResponse {
	if wrong := wrongRequest(m, v); wrong != "" {
		return &authorResponse{status: authorError, serverMsg: wrong}
	}
	if reason := l.denial(m); reason != "" {
		return &authorResponse{status: authorFail, serverMsg: reason}
	}
	if commandLine(m.args) != "" || argValue(m.args, "service") != "shell" {
		return &authorResponse{status: authorPassAdd}
	}
	return l.shell(m)
}

// wrongRequest returns why a request has no answer but ERROR, or "" (RFC 8907 sections 3.6, 5.4.1 and 6.1).
func wrongRequest(m *authorRequest, v version) string {
	if reason := wrongFields(m.method, &m.commonFields, v); reason != "" {
		return reason
	}
	for i, arg := range m.args {
		if wrong := wrongForm(arg); wrong != "" {
			return fmt.Sprintf("argument %d %s", i+1, wrong)
		}
		if !plausibleText(arg) {
			return fmt.Sprintf("argument %d has control characters or is not UTF-8", i+1)
		}
	}
	return ""
}

// denial returns why a request is denied, or "". Rules match the command line, or the arguments of another service than
// shell.
func (l *lab) denial(m *authorRequest) string {
	l.mu.Lock()
	_, known := l.users[m.user]
	l.mu.Unlock()
	services, line := argValues(m.args, "service"), commandLine(m.args)
	switch {
	case !known:
		return "unknown user"
	case len(services) == 0 || services[0] == "":
		return "service is missing (RFC 8907 section 8.2)"
	case len(services) > 1:
		return "service is given more than once"
	case len(l.rules) > 0 && len(argValues(m.args, "cmd")) > 1:
		return "cmd is given more than once"
	case services[0] != "shell" && !permits(l.rules, strings.Join(m.args, " ")):
		return "service not permitted"
	case services[0] == "shell" && line != "" && !permits(l.rules, line):
		return "command not permitted"
	}
	for _, arg := range m.args {
		if !l.grants(arg) {
			return "cannot grant the mandatory argument " + shorten(escape(arg))
		}
	}
	return ""
}

// grants reports whether the server can grant an argument, if that is mandatory (RFC 8907 section 6.1): those that say what
// is asked for, and those that a shell session gets.
func (l *lab) grants(arg string) bool {
	name, value, mandatory, _ := splitArg(arg)
	return !mandatory || slices.Contains([]string{"service", "protocol", "cmd", "cmd-arg"}, name) ||
		slices.Contains(argValues(l.args, name), value)
}

// shell returns the arguments of a shell session: with PASS_REPL if one of them replaces an optional argument of the
// request, else with PASS_ADD (RFC 8907 section 6.2).
func (l *lab) shell(m *authorRequest) *authorResponse {
	r := &authorResponse{status: authorPassAdd}
	replaced := slices.Clone(m.args)
	for _, arg := range l.args {
		name, _, _, _ := splitArg(arg)
		i := slices.IndexFunc(replaced, func(a string) bool { return strings.HasPrefix(a, name+"*") })
		if i >= 0 {
			r.status, replaced[i] = authorPassRepl, arg
			continue
		}
		replaced = append(replaced, arg)
		r.args = append(r.args, arg)
	}
	if r.status == authorPassRepl {
		r.args = replaced
	}
	if len(r.args) > maxArgs {
		return &authorResponse{status: authorError, serverMsg: "too many arguments"}
	}
	return r
}

// permits reports whether the rules permit a command line. The first match decides. Without a match the line is denied,
// unless there are no rules.
func permits(rules []rule, line string) bool {
	for _, r := range rules {
		if r.pattern.MatchString(line) {
			return r.permit
		}
	}
	return len(rules) == 0
}

// account decides on a record by its fields, and by the flag table of RFC 8907 section 7.2. Arguments are kept as they are.
func (l *lab) account(m *acctRequest, v version) *acctReply {
	if wrong := wrongFields(m.method, &m.commonFields, v); wrong != "" {
		return &acctReply{status: acctError, serverMsg: wrong}
	}
	if kind := m.flags.kind(); !acctFlagNames.has(uint8(kind)) {
		return &acctReply{status: acctError, serverMsg: "flags " + kind.String() + " are not valid (RFC 8907 section 7.2)"}
	}
	return &acctReply{status: acctSuccess}
}

// A rule permits or denies the command lines that it matches.
type rule struct {
	permit  bool
	pattern *regexp.Regexp
}
