package main

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// mayRepeat reports whether an argument may have several values: cmd-arg (section 8.2), and those of vendors.
func mayRepeat(name string) bool { return name == "cmd-arg" || !slices.Contains(definedArgs, name) }

// splitArg cuts an argument at its separator, the first = (mandatory) or * (optional). ok is false without a separator or
// a name. Section 6.1.
func splitArg(arg string) (name, value string, mandatory, ok bool) {
	i := strings.IndexAny(arg, "=*")
	if i < 1 {
		return "", "", false, false
	}
	return arg[:i], arg[i+1:], arg[i] == '=', true
}

// findArg returns the index of the first of args with the name, or -1.
func findArg(args []string, name string) int {
	for i, arg := range args {
		if n, _, _, ok := splitArg(arg); ok && n == name {
			return i
		}
	}
	return -1
}

// hasArg reports whether one of args has the name.
func hasArg(args []string, name string) bool { return findArg(args, name) >= 0 }

// checkArgs refuses what section 6.1 does not allow in a request.
func checkArgs(args []string) error {
	for _, arg := range args {
		wrong := wrongForm(arg)
		switch {
		case len(arg) > maxArgLen:
			wrong = fmt.Sprintf("is %d bytes, the limit is %d", len(arg), maxArgLen)
		case wrong == noSeparator:
			wrong += ": write name=value, or name*value if it is optional"
		case wrong == "" && !printableASCII(arg):
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

const noSeparator = "has no separator"

// wrongForm returns what is wrong with an argument that no side may send, or "". Section 6.1.
func wrongForm(arg string) string {
	switch _, _, _, ok := splitArg(arg); {
	case !strings.ContainsAny(arg, "=*"):
		return noSeparator
	case !ok:
		return "has no name before the separator"
	}
	return ""
}

// commandArgs returns the arguments for the words of a command line. Section 8.2.
func commandArgs(words []string) []string {
	args := []string{"service=shell", "cmd=" + words[0]}
	for _, w := range words[1:] {
		args = append(args, "cmd-arg="+w)
	}
	return args
}

// endCommand appends cmd-arg=<cr> to the arguments of a command that do not have it.
func endCommand(args []string) []string {
	end := 0
	for i, arg := range args {
		if name, value, _, _ := splitArg(arg); name == "cmd" && value != "" || name == "cmd-arg" {
			end = i + 1
		}
	}
	if end == 0 || argValue(args, "cmd") == "" || args[end-1] == endOfCommand {
		return args
	}
	return slices.Concat(args[:end], []string{endOfCommand}, args[end:])
}

// endOfCommand is the last argument of a command on Cisco IOS.
const endOfCommand = "cmd-arg=<cr>"

// completeShell adds, after the service, the empty cmd of a shell session. Section 8.2; without it servers disagree.
func completeShell(args []string) []string {
	i := slices.IndexFunc(args, func(arg string) bool { return arg == "service=shell" || arg == "service*shell" })
	if i < 0 || hasArg(args, "cmd") {
		return args
	}
	return slices.Concat(args[:i+1], []string{"cmd="}, args[i+1:])
}

// holds reports whether the argument want is among args, with either separator. An argument that may not repeat must not
// have another value too: a device may use that one.
func holds(args []string, want string) (found bool) {
	name, value, _, _ := splitArg(want)
	for _, arg := range args {
		switch n, v, _, ok := splitArg(arg); {
		case !ok || n != name:
		case v == value:
			found = true
		case !mayRepeat(name):
			return false
		}
	}
	return found
}

// commandLine returns the whole command of a request.
func commandLine(args []string) string {
	words := []string{argValue(args, "cmd")}
	for _, arg := range args {
		if name, value, _, _ := splitArg(arg); name == "cmd-arg" {
			words = append(words, value)
		}
	}
	return strings.TrimSpace(strings.Join(words, " "))
}

// argValue returns the value of the first argument with the name, or "".
func argValue(args []string, name string) string {
	i := findArg(args, name)
	if i < 0 {
		return ""
	}
	return args[i][len(name)+1:]
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
func fillArg(args []string, name string, value any) []string {
	if hasArg(args, name) {
		return args
	}
	return append(args, fmt.Sprintf("%s=%v", name, value))
}

// definedArgs are the authorization arguments of section 8.2.
var definedArgs = []string{"service", "protocol", "cmd", "cmd-arg", "acl", "inacl", "outacl", "addr",
	"addr-pool", "timeout", "idletime", "autocmd", "noescape", "nohangup", "priv-lvl"}

// acctNumbers are the accounting arguments that are decimal numbers. Section 8.3.
var acctNumbers = []string{"start_time", "stop_time", "elapsed_time", "bytes", "bytes_in", "bytes_out", "paks", "paks_in", "paks_out"}

// allowedValues returns which values RFC 8907 allows for an argument, if it does not allow this one; else "". An argument
// may be without a value. Sections 8.1 to 8.3.
func allowedValues(name, value string) string {
	switch {
	case value == "":
	case slices.Contains(acctNumbers, name) && !isNumber(value, math.MaxUint64):
		return "a decimal number"
	case slices.Contains([]string{"acl", "timeout", "idletime"}, name) && !isNumber(value, math.MaxUint32):
		return "a decimal number of at most 32 bits"
	case name == "priv-lvl" && !isNumber(value, 15):
		return "0 to 15"
	case (name == "noescape" || name == "nohangup") && value != "true" && value != "false":
		return "true or false"
	case name == "addr" && !isAddress(value):
		return "an IPv4 address, or an IPv6 address as in RFC 5952"
	}
	return ""
}

// isNumber reports whether s is a decimal number of at most limit, without a sign.
func isNumber(s string, limit uint64) bool {
	n, err := strconv.ParseUint(s, 10, 64)
	return err == nil && n <= limit
}

// isAddress reports whether s is an address in its one form.
func isAddress(s string) bool {
	addr, err := netip.ParseAddr(s)
	return err == nil && addr.Zone() == "" && addr.String() == s
}

// An argFault is why a device may not use an argument of a response as the server means it.
type argFault struct {
	namedWarning
	denies bool // a device must deny (section 6.1)
}

// The kinds of faults.
const (
	argMalformed = iota
	argUnknown
	argDenied  // mandatory, with a value that is not allowed
	argIgnored // optional, likewise
)

// argFaults returns the faults of the arguments of a response, at most one of each kind.
func argFaults(server string, args []string) (faults []argFault) {
	var byKind [argIgnored + 1][]string
	for _, arg := range args {
		name, value, mandatory, ok := splitArg(arg)
		kind := argIgnored
		switch allowed := allowedValues(name, value); {
		case !ok:
			kind = argMalformed
		case mandatory && !slices.Contains(definedArgs, name):
			kind = argUnknown
		case allowed == "":
			continue
		case mandatory:
			kind = argDenied
		}
		byKind[kind] = append(byKind[kind], arg)
	}
	for kind, args := range byKind {
		if len(args) == 0 {
			continue
		}
		shown := firstOf(args)
		name, value, _, _ := splitArg(args[0])
		w := warnArgumentValue
		text := fmt.Sprintf("%s must be %s (RFC 8907 section 8), so a device ", name, allowedValues(name, value))
		switch kind {
		case argMalformed:
			w, text = warnMalformedArgument, server+" sent an argument that is not name=value: "+shown
		case argUnknown:
			w, text = warnMandatoryArgument, shown+" is mandatory and not defined in RFC 8907 section 8.2: a device that does not know it must deny"
		case argDenied:
			text += "must deny " + shown
		case argIgnored:
			text += "ignores " + shown
		}
		faults = append(faults, argFault{newWarning(w, "%s", text), kind != argIgnored})
	}
	return faults
}

// firstOf returns the first argument for a message, and the number of others.
func firstOf(args []string) string {
	text := shorten(escape(args[0]))
	if more := len(args) - 1; more > 0 {
		text += fmt.Sprintf(" (and %d more)", more)
	}
	return text
}
