package main

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// This file is what the lab server decides; serve_peer.go is how it talks.

// replyToStart decides on the START of an authentication. RFC 8907 section 5.4.2.
func (p *labConn) replyToStart(d *authSession) *authenReply {
	m := &d.start
	if what := unimplemented(m, d.version); what != "" {
		return &authenReply{status: authenFail, serverMsg: what}
	}
	if m.typ != authenASCII && m.typ != 0 {
		want, ok := p.password(d)
		if !proves(m, want) || !ok {
			return &authenReply{status: authenFail, serverMsg: "Login incorrect"}
		}
		if p.expired(d.user) {
			return &authenReply{status: authenFail, serverMsg: "Password change required"}
		}
		return &authenReply{status: authenPass}
	}
	if d.user == "" {
		d.next = func(user string) *authenReply {
			if len(user) > maxFieldLen {
				return &authenReply{status: authenFail, serverMsg: "The user name is over 255 bytes"}
			}
			return p.askPassword(d, "")
		}
		return &authenReply{status: authenGetUser, serverMsg: "Username: "}
	}
	return p.askPassword(d, "")
}

// unimplemented is what of a START this server does not do, or nothing: the answer to that is FAIL.
// RFC 8907 sections 5.4.1 and 5.4.2.
func unimplemented(m *authenStart, v version) string {
	switch {
	case v.minor() > 1:
		return fmt.Sprintf("minor version %d is not supported", v.minor())
	case m.action == authenChPass && m.typ != authenASCII:
		return "CHPASS is for the type ascii (RFC 8907 section 5.4.2.7)"
	case m.action != authenLogin && m.action != authenChPass:
		return "action " + m.action.String() + " is not supported"
	case m.typ == 0 && m.service == authenServiceEnable: // "not used": the password is asked for (section 5.4.2.6)
	case m.typ == 0 || !authenTypeNames.has(uint8(m.typ)):
		return "authen_type " + m.typ.String() + " is not supported"
	case v != m.typ.minor() && m.service != authenServiceEnable:
		return fmt.Sprintf("minor version %d does not go with %s (RFC 8907 section 5.4.1)", v.minor(), m.typ)
	}
	return ""
}

// unimplementedMinor is what is wrong with the minor version of an authorization or a record, or nothing:
// both have one only. RFC 8907 section 5.4.1.
func unimplementedMinor(v version) string {
	if v == minorDefault {
		return ""
	}
	return fmt.Sprintf("minor version %d is not supported", v.minor())
}

// askPassword asks for the password that the session is about, up to three times, then lets
// the user choose a new one where that is the point or the old one has expired.
func (p *labConn) askPassword(d *authSession, before string) *authenReply {
	d.next = func(said string) *authenReply {
		want, known := p.password(d)
		if !same(said, want) || !known {
			if d.tries++; d.tries == maxTries {
				return &authenReply{status: authenFail, serverMsg: "Login incorrect"}
			}
			return p.askPassword(d, "Password incorrect. ")
		}
		if d.request == "chpass" || p.expired(d.user) {
			return p.askNewPassword(d)
		}
		return &authenReply{status: authenPass}
	}
	if d.request == "chpass" {
		return &authenReply{status: authenGetData, flags: authenNoEcho, serverMsg: before + "Old password: "}
	}
	return &authenReply{status: authenGetPass, flags: authenNoEcho, serverMsg: before + "Password: "}
}

// askNewPassword asks for the new password twice, and changes it where both are the same.
func (p *labConn) askNewPassword(d *authSession) *authenReply {
	d.next = func(first string) *authenReply {
		if len(first) > maxFieldLen {
			return &authenReply{status: authenFail, serverMsg: "The new password is over 255 bytes"}
		}
		first = strings.Clone(first)
		d.next = func(second string) *authenReply {
			if first == "" || !same(first, second) {
				return &authenReply{status: authenFail, serverMsg: "The new passwords differ or are empty"}
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			if _, known := p.users[d.user]; !known {
				return &authenReply{status: authenFail, serverMsg: "unknown user"}
			}
			p.users[d.user] = first
			p.expire = slices.DeleteFunc(slices.Clone(p.expire), func(name string) bool { return name == d.user })
			return &authenReply{status: authenPass, serverMsg: "Password changed"}
		}
		return &authenReply{status: authenGetPass, flags: authenNoEcho, serverMsg: "Retype new password: "}
	}
	return &authenReply{status: authenGetPass, flags: authenNoEcho, serverMsg: "New password: "}
}

// password is what the session's secret should be. An unknown user has one too, so that it
// takes the same way through the comparison as a wrong password.
func (p *labConn) password(d *authSession) (string, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	password, known := p.users[d.user]
	if d.request == "enable" && p.enable != "" {
		return p.enable, true
	}
	return password, known
}

// expired says that the user must change the password.
func (p *labConn) expired(user string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Contains(p.expire, user)
}

// same compares two secrets in a time that depends on neither.
func same(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// proves says whether the data of a START is what the password makes of its challenge.
func proves(m *authenStart, password string) bool {
	if m.typ == authenPAP {
		return same(m.data, password)
	}
	// id, challenge and response: 16 bytes of response for CHAP, 49 for both MS-CHAPs.
	data, size := []byte(m.data), 49
	if m.typ == authenCHAP {
		size = 16
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
		// The NT response alone decides: many devices leave the LAN Manager one empty.
		return same(string(response[24:48]), want[1+n+24:1+n+48])
	}
	return same(m.data, want)
}

// authorize decides by the rules, and gives a shell session its arguments: PASS_REPL where one
// of them overrides an optional one of the request, else PASS_ADD. RFC 8907 section 6.2.
func (p *labConn) authorize(m *authorRequest) *authorResponse {
	p.mu.Lock()
	_, known := p.users[m.user]
	p.mu.Unlock()
	if !known {
		return &authorResponse{status: authorFail, serverMsg: "unknown user"}
	}
	if len(p.rules) > 0 && argValue(m.args, "service") == "" { // they are for commands, which are a service's
		return &authorResponse{status: authorFail, serverMsg: "no service is named (RFC 8907 section 8.2)"}
	}
	if len(p.rules) > 0 && len(argValues(m.args, "cmd")) > 1 {
		return &authorResponse{status: authorFail, serverMsg: "cmd is there more than once"}
	}
	if line := commandLine(m.args); line != "" {
		if !permits(p.rules, line) {
			return &authorResponse{status: authorFail, serverMsg: "command not permitted"}
		}
		return &authorResponse{status: authorPassAdd}
	}
	if argValue(m.args, "service") != "shell" {
		return &authorResponse{status: authorPassAdd}
	}
	r := &authorResponse{status: authorPassAdd}
	replaced := slices.Clone(m.args)
	for _, arg := range p.args {
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

// permits goes by the first rule that matches. What none matches is permitted only where there
// is no rule at all.
func permits(rules []rule, line string) bool {
	for _, r := range rules {
		if r.pattern.MatchString(line) {
			return r.permit
		}
	}
	return len(rules) == 0
}

// account takes a record by the flag table of RFC 8907 section 7.2.
func (p *labConn) account(m *acctRequest) *acctReply {
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

// ruleFlag adds rules in the order of the command line, whichever option they come from.
type ruleFlag struct {
	rules  *[]rule
	permit bool
}

func (f ruleFlag) String() string { return "" }
func (f ruleFlag) Set(s string) error {
	re, err := regexp.Compile(s)
	if err != nil {
		return fmt.Errorf("is not a regular expression: %w", err)
	}
	*f.rules = append(*f.rules, rule{f.permit, re})
	return nil
}
