package main

import (
	"fmt"
	"slices"
	"strings"
)

// repeatedArg is the one argument that may be repeated with other values. Section 8.2.
const repeatedArg = "cmd-arg"

// splitArg cuts an argument at its separator, the first = (mandatory) or * (optional). ok is false without a separator, or
// without a name before it. Section 6.1.
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

// commandArgs returns the arguments for the words of a command line. Section 8.2.
func commandArgs(words []string) []string {
	args := []string{"service=shell", "cmd=" + words[0]}
	for _, w := range words[1:] {
		args = append(args, "cmd-arg="+w)
	}
	return args
}

// completeShell adds, after the service, the empty cmd that a shell session needs. Section 8.2; servers disagree on what
// its absence means.
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

// firstOf returns the first of some arguments for a message, and how many more there are.
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

// holds reports whether the argument want is among args, with either separator. If another value of it is there too, it
// is not: a device may take the other one.
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

// argValue returns the value of the first argument with the name, or nothing.
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
