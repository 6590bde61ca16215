package main

import (
	"fmt"
	"slices"
	"strings"
)

// argOptions are the options for the arguments of authorization and accounting.
type argOptions struct {
	args     list
	commands list // of login, which has no command
	command  string
	cr       bool
	method   authenMethod
	strict   bool
	as       presetOption // whose arguments are the default
	json     bool         // they are fields of a JSON object, not options
}

func (a *argOptions) register(o *optionSet) {
	o.add(&a.args, "c cmds", "ARG", "argument NAME=VALUE or NAME*VALUE, sent before those after HOST; repeatable")
	a.registerCommand(o)
}

// registerCommand declares the options without -c, which has another meaning in some commands.
func (a *argOptions) registerCommand(o *optionSet) {
	a.method = authenMethodTACACSPlus
	o.add((*text)(&a.command), "cmd", "COMMAND", "send service=shell, cmd and cmd-arg for this command line")
	o.add((*toggle)(&a.cr), "cr", "", "append cmd-arg=<cr> to a command, as Cisco IOS does")
	o.add(&a.method, "method", "METHOD", "authen_method field (default tacacsplus):")
}

// request returns the arguments to send: those of --cmd, then those of -c and the words. Without any it is
// service=shell, since section 8.2 requires a service.
func (a *argOptions) request(words []string) ([]string, error) {
	var args []string
	if a.command != "" {
		fields := strings.Fields(a.command)
		if len(fields) == 0 {
			return nil, failf(classUsage, "%s is blank", a.commandName()).withHint(fmt.Sprintf("leave %s out for a shell session", a.commandName()))
		}
		args = commandArgs(fields)
	}
	given := append(slices.Clone(a.args), words...)
	if len(args) > 0 && (hasArg(given, "service") || hasArg(given, "cmd")) {
		return nil, failf(classUsage, "%s sets service and cmd: remove them from the arguments", a.commandName())
	}
	args = append(args, given...)
	if hasArg(args, "service") && argValue(args, "service") == "" {
		return nil, failf(classUsage, "the service is empty").withHint(hintForService)
	}
	switch {
	case a.as > 0 && !hasArg(args, "service") && !hasArg(args, "cmd"):
		args = a.as.preset().sessionArgs(args)
	case len(args) == 0:
		args = []string{"service=shell"}
	}
	args = a.withEnd(args)
	if err := checkArgs(args); err != nil {
		return nil, a.suggestQuotes(err, given)
	}
	return args, nil
}

// registerStrict declares --strict, for the commands that authorize.
func (a *argOptions) registerStrict(o *optionSet) {
	o.add((*toggle)(&a.strict), "strict", "", "exit 1 if a device that knows only RFC 8907 must deny: an unknown mandatory argument, or a value that is not allowed")
}

// authorization returns a request for args, with the end of the command that --cr asks for. It can be sent.
func (a *argOptions) authorization(r *requestOptions, args, require []string) (*authorization, error) {
	args = a.withEnd(args)
	if err := checkArgs(args); err != nil {
		return nil, err
	}
	m, err := newAuthorization(r.commonFields(), a.method, args, require)
	if err != nil {
		return nil, err
	}
	m.strict = a.strict
	return m, m.check(r.maxRemAddr())
}

// cutSign splits a command line at its sign, the expected verdict: + for granted, - for denied, empty if it has none.
func cutSign(line string) (sign, command string) {
	command = strings.TrimSpace(line)
	if strings.HasPrefix(command, "+") || strings.HasPrefix(command, "-") {
		sign, command = command[:1], strings.TrimSpace(command[1:])
	}
	return sign, command
}

// commandName returns the name of the command line in messages.
func (a *argOptions) commandName() string { return choose(a.json, "cmd", "--cmd") }

// withEnd adds the end of the command that --cr asks for.
func (a *argOptions) withEnd(args []string) []string {
	if a.cr {
		return endCommand(args)
	}
	return args
}

// suggestQuotes adds a hint to an error in the arguments if some of them look like words of a command line without
// quotes: authorize bob tac1 --cmd show version.
func (a *argOptions) suggestQuotes(err error, given []string) error {
	words := slices.DeleteFunc(slices.Clone(given), func(w string) bool { return w == "" || strings.ContainsAny(w, "=*") })
	if len(words) == 0 {
		return err
	}
	end := ""
	if words[len(words)-1] == "<cr>" {
		words, end = words[:len(words)-1], " --cr"
	}
	begin := a.command
	if n := len(a.commands); n > 0 {
		begin = a.commands[n-1]
	}
	line := strings.TrimSpace(begin + " " + strings.Join(words, " "))
	switch {
	case a.json:
		return asFailure(err).withHint("write a command line as one string in cmd")
	case len(words) == 0:
		return asFailure(err).withHint("use --cr to send cmd-arg=<cr>")
	}
	return asFailure(err).withHint(fmt.Sprintf("quote the command line: --cmd '%s'%s", shorten(escape(line)), end))
}

// applyPreset sets what no option sets: the fields of requests, and --cr. It refuses what such a device never sends.
func (a *argOptions) applyPreset(inv *invocation) error {
	p, r := a.as.preset(), &inv.request
	switch {
	case p.types != "" && !inv.given("authen-type"):
		_ = r.fields.typ.Set(strings.Fields(p.types)[0]) // which exists
	case !p.logsInWith(r.fields.typ):
		return failf(classUsage, "%s does not use the authentication type %s", p.system, r.fields.typ).
			withHint(fmt.Sprintf("with --as %s, --authen-type is one of %s", a.as.String(), p.types))
	}
	for _, option := range []string{"cmd", "cmd-file"} {
		if p.noCommands && inv.given(option) {
			return failf(classUsage, "--%s cannot be used with --as %s: %s authorizes no commands", option, a.as.String(), p.system).
				withHint(fmt.Sprintf("leave out --%s: the reply to the login has the rules for commands", option))
		}
	}
	if p.port != "" && !inv.given("virtual-port") {
		r.fields.port = p.port
	}
	r.defaultLevel = p.level
	if !inv.given("cr") {
		a.cr = p.endsCommands
	}
	return nil
}
