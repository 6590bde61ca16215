package main

import (
	"fmt"
	"slices"
	"strings"
)

// An authorRequest asks whether the user may do what the arguments describe. RFC 8907 section 6.1.
type authorRequest struct {
	method authenMethod
	commonFields
	args []string
}

func (m *authorRequest) layout(c *codec) {
	uint8Field(c, "authen_method", &m.method)
	m.commonFields.layout(c)
	c.count(&m.args)
	c.lengths(m.args)
}

// An authorResponse answers it. Section 6.2.
type authorResponse struct {
	status    authorStatus
	args      []string
	serverMsg string
	data      string
}

func (m *authorResponse) layout(c *codec) {
	uint8Field(c, "status", &m.status)
	c.count(&m.args)
	c.length("server_msg", 2, &m.serverMsg)
	c.length("data", 2, &m.data)
	c.fields[1].secret = m.status == authorFollow // it may name a key
	c.lengths(m.args)
}

// An authorStatus is the status of a RESPONSE. Section 6.2.
type authorStatus uint8

const (
	authorPassAdd  authorStatus = 0x01
	authorPassRepl authorStatus = 0x02
	authorFail     authorStatus = 0x10
	authorError    authorStatus = 0x11
	authorFollow   authorStatus = 0x21
)

var authorStatusNames = names{authorPassAdd: "PASS_ADD", authorPassRepl: "PASS_REPL",
	authorFail: "FAIL", authorError: "ERROR", authorFollow: "FOLLOW"}

func (s authorStatus) String() string { return authorStatusNames.name(uint8(s)) }

func (s authorStatus) class() class {
	return statusClass(s == authorPassAdd || s == authorPassRepl, s == authorError)
}

// An authenMethod is how the user was authenticated before. Section 6.1.
type authenMethod uint8

const authenMethodTACACSPlus authenMethod = 6

var authenMethodNames = names{0: "not_set", 1: "none", 2: "krb5", 3: "line", 4: "enable", 5: "local",
	authenMethodTACACSPlus: "tacacsplus", 8: "guest", 0x10: "radius", 0x11: "krb4", 0x20: "rcmd"}

func (m authenMethod) String() string { return authenMethodNames.name(uint8(m)) }

// Set implements flag.Value.
func (m *authenMethod) Set(s string) error { return authenMethodNames.set((*uint8)(m), s) }

func (m *authenMethod) known() []string { return authenMethodNames.known() }

// wrongFields returns why the fixed fields of an authorization or a record have no answer but ERROR, or "". Sections 3.6 and
// 5.4.1.
func wrongFields(method authenMethod, fields *commonFields, v version) string {
	switch {
	case v != minorDefault:
		return unsupportedMinor(v)
	case !authenMethodNames.has(uint8(method)):
		return "authen_method " + method.String() + " is not defined"
	case fields.typ != authenNotSet && !authenTypeNames.has(uint8(fields.typ)):
		return "authen_type " + fields.typ.String() + " is not defined"
	}
	return fields.undefined()
}

func unsupportedMinor(v version) string {
	return fmt.Sprintf("minor version %d is not supported", v.minor())
}

// An authorization is the dialogue of one REQUEST and its RESPONSE. RFC 8907 section 6.
type authorization struct {
	require  []string // arguments that must be in effect, as name=value
	strict   bool     // deny what a device that knows only RFC 8907 must deny
	request  authorRequest
	response authorResponse
}

// newAuthorization completes and checks the arguments.
func newAuthorization(fields commonFields, method authenMethod, args, require []string) (*authorization, error) {
	for _, r := range require {
		if _, _, _, ok := splitArg(r); !ok {
			return nil, failf(classUsage, "--require %s is not name=value", escape(r))
		}
	}
	if args = completeShell(args); !hasArg(args, "service") {
		return nil, failf(classUsage, "no service among the arguments").withHint(hintForService)
	}
	return &authorization{require: require, request: authorRequest{method, fields, args}}, nil
}

func (a *authorization) packetType() (packetType, version)   { return typeAuthor, minorDefault }
func (a *authorization) reset()                              {}
func (a *authorization) interactive() bool                   { return false }
func (a *authorization) repeatable() bool                    { return true }
func (a *authorization) reply() message                      { return &a.response }
func (a *authorization) secrets() []string                   { return nil }
func (a *authorization) answer(_ string, err error) reaction { return reaction{err: err} } // it never asks

func (a *authorization) check(remAddr string) error {
	m, _ := a.firstMessage(remAddr) // never fails
	return fits(m)
}

func (a *authorization) firstMessage(remAddr string) (message, error) {
	a.request.remAddr = remAddr
	return &a.request, nil
}

// on returns what is in effect after the RESPONSE. Section 6.2.
func (a *authorization) on(server string) (r reaction) {
	reply := &a.response
	if !authorStatusNames.has(uint8(reply.status)) {
		return unknownStatus(server, reply.status)
	}
	v := &r.verdict
	v.status, v.serverMsg, v.data, v.request = reply.status, reply.serverMsg, reply.data, a.request.args
	switch reply.status {
	case authorError:
		return r // its arguments are to be ignored
	case authorFollow:
		v.hint = followHint(reply.data)
	}
	v.response, v.effective = reply.args, effectiveArgs(reply.status, a.request.args, reply.args)
	if reply.status.class() != classGranted {
		return r
	}
	for _, want := range a.require {
		if !holds(v.effective, want) {
			got := ""
			name, _, _, _ := splitArg(want)
			if values := argValues(v.effective, name); len(values) > 0 {
				got = fmt.Sprintf(" (got %s=%s)", name, shorten(escape(strings.Join(values, ","))))
			}
			r.err = failf(classDenied, "required %s not granted%s", escape(want), got)
			return r
		}
	}
	for _, fault := range argFaults(server, reply.args) {
		if a.strict && fault.denies && r.err == nil {
			r.err = failf(classDenied, "--strict: %s", fault.Message)
		} else {
			r.warnings = append(r.warnings, fault.namedWarning)
		}
	}
	return r
}

// effectiveArgs returns the arguments in effect: after PASS_ADD those of request and response, after PASS_REPL those of
// the response, else none. Section 6.2. A value of the response replaces the request's, unless the argument may repeat.
func effectiveArgs(status authorStatus, request, response []string) []string {
	switch status {
	case authorPassAdd:
		kept := slices.DeleteFunc(slices.Clone(request), func(arg string) bool {
			name, _, _, _ := splitArg(arg)
			return !mayRepeat(name) && hasArg(response, name)
		})
		return append(kept, response...)
	case authorPassRepl:
		return response
	}
	return nil
}

const hintForService = "add service=shell, or service=ppp and so on (RFC 8907 section 8.2)"
