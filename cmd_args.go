package main

import (
	"slices"
	"strings"
)

// argOptions are the options that say what authorization and accounting are about.
type argOptions struct {
	args    list
	command string
	method  authenMethod
}

func (a *argOptions) register(o *optionSet) {
	o.add(&a.args, "c cmds", "ARG", "an argument, name=value or name*value; repeatable, more may follow as words")
	a.registerCommand(o)
}

// registerCommand leaves out -c, which is something else in some commands.
func (a *argOptions) registerCommand(o *optionSet) {
	a.method = authenMethodTACACSPlus
	o.add((*text)(&a.command), "cmd", "COMMAND", "write service, cmd and cmd-arg for a command line")
	o.add(&a.method, "method", "METHOD", "authen_method (default tacacsplus):")
}

// request is the list of arguments to send: the command's, then those of -c and the words.
// What section 8.2 asks for is seen to: service is always there, and cmd where it is a shell.
func (a *argOptions) request(words []string) ([]string, error) {
	var args []string
	if a.command != "" {
		fields := strings.Fields(a.command)
		if len(fields) == 0 {
			return nil, failf(classUsage, "--cmd is blank").withHint("without --cmd and arguments the question is for a shell session")
		}
		args = commandArgs(fields)
	}
	given := slices.Concat(a.args, words)
	if len(args) > 0 && (hasArg(given, "service") || hasArg(given, "cmd")) {
		return nil, failf(classUsage, "--cmd writes service and cmd; they cannot be given as arguments too")
	}
	args = append(args, given...)
	if hasArg(args, "service") && argValue(args, "service") == "" {
		return nil, failf(classUsage, "the service is empty").withHint(hintForService)
	}
	if len(args) == 0 {
		args = []string{"service=shell"}
	}
	if err := checkArgs(args); err != nil {
		return nil, a.suggestQuotes(err, given)
	}
	return args, nil
}

// meantCommand adds a hint to what is wrong with the arguments where some are no such thing,
// but a command line without its quotes: authorize bob tac1 --cmd show version.
func (a *argOptions) suggestQuotes(err error, given []string) error {
	plain := slices.DeleteFunc(slices.Clone(given), func(w string) bool { return w == "" || strings.ContainsAny(w, "=*") })
	if len(plain) == 0 {
		return err
	}
	line := strings.TrimSpace(a.command + " " + strings.Join(plain, " "))
	return asFailure(err).withHint("a command line is one word: --cmd '%s'", shorten(escape(line)))
}
