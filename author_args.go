package main

import (
	"fmt"
	"slices"
	"strings"
)

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

// argValue is the value of the first argument with the name, or nothing.
func argValue(args []string, name string) string {
	for _, arg := range args {
		if n, v, _, ok := splitArg(arg); ok && n == name {
			return v
		}
	}
	return ""
}

// argValues are the values of all arguments with the name.
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
