package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// An authorRequest asks whether the user may do what the arguments say. RFC 8907 section 6.1.
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

// An authorStatus is the answer to an authorization. Section 6.2.
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

// An authenMethod is how the user was authenticated before. Section 6.1.
type authenMethod uint8

const authenMethodTACACSPlus authenMethod = 6

var authenMethodNames = names{0: "not_set", 1: "none", 2: "krb5", 3: "line", 4: "enable", 5: "local",
	authenMethodTACACSPlus: "tacacsplus", 8: "guest", 0x10: "radius", 0x11: "krb4", 0x20: "rcmd"}

func (m authenMethod) String() string { return authenMethodNames.name(uint8(m)) }

// Set makes an authenMethod a flag.Value, and known an enumeration.
func (m *authenMethod) Set(s string) error { return authenMethodNames.set((*uint8)(m), s) }

func (m *authenMethod) known() []string { return authenMethodNames.known() }

// repeatedArg is the one argument that may be there more than once, each with a value of its own.
// Section 8.2.
const repeatedArg = "cmd-arg"

// effectiveArgs is what holds after the answer: PASS_ADD adds the response's arguments to the
// request's, PASS_REPL puts them in their place, anything else leaves nothing. Section 6.2. An
// argument has one value, and where both name it that is the response's, but for repeatedArg.
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

const (
	maxArgs   = 255 // arguments in one message
	maxArgLen = 255 // bytes of one argument, the separator included
)

// splitArg cuts an argument at its separator, the first = (mandatory) or * (optional). ok is
// false where there is none, or no name before it. Section 6.1.
func splitArg(arg string) (name, value string, mandatory, ok bool) {
	i := strings.IndexAny(arg, "=*")
	if i < 1 {
		return "", "", false, false
	}
	return arg[:i], arg[i+1:], arg[i] == '=', true
}

// hasArg says whether one of args has the name.
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
			wrong = "has neither = nor *: write name=value, or name*value for an optional one"
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

// commandArgs writes the words of a command line as arguments. Section 8.2.
func commandArgs(words []string) []string {
	args := []string{"service=shell", "cmd=" + words[0]}
	for _, w := range words[1:] {
		args = append(args, "cmd-arg="+w)
	}
	return args
}

// completeShell adds the empty cmd that a shell session needs (section 8.2; without it servers
// differ), after the service.
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

const hintForService = "add service=shell, or service=ppp and so on (RFC 8907 section 8.2)"

// An authorization is the request of the command authorize.
type authorization struct {
	require  []string
	request  authorRequest
	response authorResponse
}

// newAuthorization sees to it that the arguments are complete, and require can be met.
func newAuthorization(who requestOptions, method authenMethod, args, require []string) (*authorization, error) {
	for _, r := range require {
		if _, _, _, ok := splitArg(r); !ok {
			return nil, failf(classUsage, "--require %s is not name=value", escape(r))
		}
	}
	if args = completeShell(args); !hasArg(args, "service") {
		return nil, failf(classUsage, "no service among the arguments").withHint(hintForService)
	}
	return &authorization{require: require, request: authorRequest{method, who.commonFields(), args}}, nil
}

// kind makes an authorization a request, as do the methods below.
func (a *authorization) packetType() (packetType, version) { return typeAuthor, minorDefault }
func (a *authorization) reset()                            {}
func (a *authorization) dialogue() bool                    { return false }
func (a *authorization) repeatable() bool                  { return true }
func (a *authorization) reply() message                    { return &a.response }
func (a *authorization) followUps() []message              { return nil }
func (a *authorization) secrets() []string                 { return nil }

func (a *authorization) firstMessage(remAddr string) (message, error) {
	a.request.remAddr = remAddr
	return &a.request, nil
}

// next takes the RESPONSE and says what is in effect after it. Section 6.2.
func (a *authorization) next(_ context.Context, s *session, res *result) (message, error) {
	reply := &a.response
	if !authorStatusNames.has(uint8(reply.status)) {
		return nil, unknownStatus(s.serverConn, reply.status)
	}
	res.setReply(reply.status, reply.serverMsg, reply.data)
	res.Arguments = &arguments{Request: a.request.args}
	if reply.status == authorError {
		return nil, nil // its arguments are to be ignored
	}
	res.Arguments.Response = reply.args
	res.Arguments.Effective = effectiveArgs(reply.status, a.request.args, reply.args)
	if res.class != classGranted {
		return nil, nil
	}
	for _, want := range a.require {
		if !holds(res.Arguments.Effective, want) {
			return nil, failf(classDenied, "the effective arguments do not hold %s", escape(want))
		}
	}
	var malformed, unknown []string
	for _, arg := range reply.args {
		if name, _, mandatory, ok := splitArg(arg); !ok {
			malformed = append(malformed, arg)
		} else if mandatory && !slices.Contains(definedArgs, name) {
			unknown = append(unknown, arg)
		}
	}
	if len(malformed) > 0 {
		s.warn("%s sent an argument that is not name=value: %s", s.server, firstOf(malformed))
	}
	if len(unknown) > 0 {
		s.warn("%s is mandatory and not of RFC 8907 section 8.2: a device that does not know it must deny", firstOf(unknown))
	}
	return nil, nil
}

// firstOf shows the first of some arguments, and how many more there are.
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

// holds says whether args give the name the value of want, whichever separator. One that has one value
// and is there with two has neither: a device may take the other one.
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

// commandLine is the whole command of a request, without the <cr> that some devices add.
func commandLine(args []string) string {
	words := []string{argValue(args, "cmd")}
	for _, arg := range args {
		if name, value, _, _ := splitArg(arg); name == "cmd-arg" && value != "<cr>" {
			words = append(words, value)
		}
	}
	return strings.TrimSpace(strings.Join(words, " "))
}
