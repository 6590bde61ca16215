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

// class: FOLLOW denies.
func (s authorStatus) class() class {
	switch s {
	case authorPassAdd, authorPassRepl:
		return classGranted
	case authorError:
		return classServer
	}
	return classDenied
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

// An authorization is the dialogue of one REQUEST and its RESPONSE. RFC 8907 section 6.
type authorization struct {
	require  []string // arguments that must be in effect, as name=value
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
func (a *authorization) on(server string) reaction {
	reply := &a.response
	if !authorStatusNames.has(uint8(reply.status)) {
		return unknownStatus(server, reply.status)
	}
	r := reaction{verdict: verdict{status: reply.status, serverMsg: reply.serverMsg, data: reply.data, request: a.request.args}}
	switch reply.status {
	case authorError:
		return r // its arguments are to be ignored
	case authorFollow:
		r.verdict.hint = followHint(reply.data)
	}
	r.verdict.response = reply.args
	r.verdict.effective = effectiveArgs(reply.status, a.request.args, reply.args)
	if reply.status.class() != classGranted {
		return r
	}
	for _, want := range a.require {
		if !holds(r.verdict.effective, want) {
			r.err = failf(classDenied, "required %s not granted", escape(want))
			name, _, _, _ := splitArg(want)
			if got := argValues(r.verdict.effective, name); len(got) > 0 {
				r.err = failf(classDenied, "required %s not granted (got %s=%s)", escape(want), name, shorten(escape(strings.Join(got, ","))))
			}
			return r
		}
	}
	r.warnings = argWarnings(server, reply.args)
	return r
}

// argWarnings reports arguments of a response that a device may not understand.
func argWarnings(server string, args []string) (warnings []namedWarning) {
	var malformed, unknown []string
	for _, arg := range args {
		if name, _, mandatory, ok := splitArg(arg); !ok {
			malformed = append(malformed, arg)
		} else if mandatory && !slices.Contains(definedArgs, name) {
			unknown = append(unknown, arg)
		}
	}
	if len(malformed) > 0 {
		warnings = append(warnings, newWarning(warnMalformedArgument, "%s sent an argument that is not name=value: %s", server, firstOf(malformed)))
	}
	if len(unknown) > 0 {
		warnings = append(warnings, newWarning(warnMandatoryArgument,
			"%s is mandatory and not defined in RFC 8907 section 8.2: a device that does not know it must deny", firstOf(unknown)))
	}
	return warnings
}

// effectiveArgs returns the arguments in effect: after PASS_ADD those of request and response, after PASS_REPL those of
// the response, else none. Section 6.2. A value of the response replaces the request's, except for repeatedArg.
func effectiveArgs(status authorStatus, request, response []string) []string {
	switch status {
	case authorPassAdd:
		kept := slices.DeleteFunc(slices.Clone(request), func(arg string) bool {
			name, _, _, _ := splitArg(arg)
			return name != repeatedArg && hasArg(response, name)
		})
		return append(kept, response...)
	case authorPassRepl:
		return response
	}
	return nil
}

// repeatedArg is the one argument that may be repeated with other values. Section 8.2.
const repeatedArg = "cmd-arg"

// splitArg cuts an argument at its separator, the first = (mandatory) or * (optional). ok is false without a separator or
// a name. Section 6.1.
func splitArg(arg string) (name, value string, mandatory, ok bool) {
	i := strings.IndexAny(arg, "=*")
	if i < 1 {
		return "", "", false, false
	}
	return arg[:i], arg[i+1:], arg[i] == '=', true
}

// hasArg reports whether one of args has the name.
func hasArg(args []string, name string) bool {
	return slices.ContainsFunc(args, func(arg string) bool {
		n, _, _, _ := splitArg(arg)
		return n == name
	})
}

// checkArgs refuses what section 6.1 does not allow in a request.
func checkArgs(args []string) error {
	for _, arg := range args {
		var wrong string
		switch _, _, _, ok := splitArg(arg); {
		case len(arg) > maxArgLen:
			wrong = fmt.Sprintf("is %d bytes, the limit is %d", len(arg), maxArgLen)
		case !strings.ContainsAny(arg, "=*"):
			wrong = "has no separator: write name=value, or name*value if it is optional"
		case !ok:
			wrong = "has no name before the separator"
		case !printableASCII(arg):
			wrong = "is not printable US-ASCII"
		}
		if wrong != "" {
			return failf(classUsage, "argument %s %s", shorten(quoteBlank(arg)), wrong)
		}
	}
	if len(args) > maxArgs {
		return failf(classUsage, "%d arguments, the limit is %d", len(args), maxArgs)
	}
	return nil
}

// commandArgs returns the arguments for the words of a command line. Section 8.2.
func commandArgs(words []string) []string {
	args := []string{"service=shell", "cmd=" + words[0]}
	for _, w := range words[1:] {
		args = append(args, "cmd-arg="+w)
	}
	return args
}

// completeShell adds, after the service, the empty cmd of a shell session. Section 8.2; without it servers disagree.
func completeShell(args []string) []string {
	i := slices.IndexFunc(args, func(arg string) bool {
		name, value, _, _ := splitArg(arg)
		return name == "service" && value == "shell"
	})
	if i < 0 || hasArg(args, "cmd") {
		return args
	}
	return slices.Insert(args, i+1, "cmd=")
}

// firstOf returns the first argument for a message, and the number of others.
func firstOf(args []string) string {
	text := shorten(escape(args[0]))
	if more := len(args) - 1; more > 0 {
		text += fmt.Sprintf(" (and %d more)", more)
	}
	return text
}

// definedArgs are the authorization arguments of section 8.2.
var definedArgs = []string{"service", "protocol", "cmd", "cmd-arg", "acl", "inacl", "outacl", "addr",
	"addr-pool", "timeout", "idletime", "autocmd", "noescape", "nohangup", "priv-lvl"}

// holds reports whether the argument want is among args, with either separator, and without another value: a device may
// use the other one.
func holds(args []string, want string) (found bool) {
	name, value, _, _ := splitArg(want)
	for _, arg := range args {
		switch n, v, _, ok := splitArg(arg); {
		case !ok || n != name:
		case v == value:
			found = true
		case name != repeatedArg:
			return false
		}
	}
	return found
}

// commandLine returns the whole command of a request, without the <cr> that some devices add.
func commandLine(args []string) string {
	words := []string{argValue(args, "cmd")}
	for _, arg := range args {
		if name, value, _, _ := splitArg(arg); name == "cmd-arg" && value != "<cr>" {
			words = append(words, value)
		}
	}
	return strings.TrimSpace(strings.Join(words, " "))
}

// argValue returns the value of the first argument with the name, or "".
func argValue(args []string, name string) string {
	for _, arg := range args {
		if n, v, _, ok := splitArg(arg); ok && n == name {
			return v
		}
	}
	return ""
}

// argValues returns the values of all arguments with the name.
func argValues(args []string, name string) (values []string) {
	for _, arg := range args {
		if n, v, _, ok := splitArg(arg); ok && n == name {
			values = append(values, v)
		}
	}
	return values
}

// fillArg adds an argument unless it is given.
func fillArg(args []string, name, value string) []string {
	if hasArg(args, name) {
		return args
	}
	return append(args, name+"="+value)
}

const hintForService = "add service=shell, or service=ppp and so on (RFC 8907 section 8.2)"
