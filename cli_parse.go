package main

import (
	"cmp"
	"context"
	"slices"
	"strings"
)

// An invocation is one command line, read: the command, the options that all commands share,
// and the words that are left.
type invocation struct {
	table        []command
	command      command
	action       action
	std          stdio
	options      *optionSet
	request      requestOptions
	server       serverOptions
	output       outputOptions
	key          secretSource
	password     secretSource
	profile      profile
	help         bool
	version      bool
	words        []string  // the arguments after USER and HOST
	tail         []string  // those of them that stood after --
	secretOption string    // the option that reads a secret which a word stands behind; empty for none
	secretWord   string    // that word
	stdinUse     string    // what the command takes from standard input; empty for nothing
	terminal     *terminal // nil where there is none
}

// register declares the options that all commands share.
func (inv *invocation) register(o *optionSet) {
	o.group = groupRequest
	inv.request.register(o)
	inv.key = secretSource{what: "key", option: "--key-file", env: "TACACS_PLUS_KEY"}
	inv.password = secretSource{what: "password", option: "--password-file", env: "TACACS_PLUS_PWD"}
	o.group = groupServer
	inv.server.register(o)
	o.group = groupKey
	o.add(&inv.key, "k key", "KEY", "the shared secret; others see it in the process list")
	o.add(&inv.key.files, "key-file", "FILE", "file with the shared secret; - is standard input; repeatable: the first is used, the others are tried on a garbled reply to name the one that fits; serve: [PREFIX=]FILE, for the clients in PREFIX, of which the longest counts; decode: all are candidates")
	o.group = groupPassword
	o.add(&inv.password, "password", "PASSWORD", "the password; others see it in the process list")
	o.add(&inv.password.files, "password-file", "FILE", "file with the password; - is standard input")
	o.add((*toggle)(&inv.password.stdin), "password-stdin", "", "read the password from standard input")
	o.group = groupOutput
	inv.output.register(o)
	o.group = groupCommand
}

// newInvocation is a command line of which nothing is read yet.
func newInvocation(table []command, std stdio) *invocation {
	inv := &invocation{table: table, std: std, options: newOptionSet()}
	inv.register(inv.options)
	inv.options.owners = func(name string) []string { return ownersOf(table, name) }
	inv.options.add((*toggle)(&inv.help), "h help", "", "print help")
	inv.options.add((*toggle)(&inv.version), "version", "", "print the version")
	return inv
}

// parse reads a command line by the grammar of the help: shared options anywhere, the
// command's own after it, one or two dashes, _ for -, and -- as their end. @NAME is a profile, whose
// options count where the line has none of its own.
func parse(table []command, args []string, std stdio) (*invocation, error) {
	inv := newInvocation(table, std)
	inv.terminal = openTerminal(std)
	before := ""
	for len(args) > 0 {
		arg, rest := args[0], args[1:]
		var err error
		switch {
		case arg == "--":
			inv.tail, rest = rest, nil
			inv.words = append(inv.words, inv.tail...)
		case len(arg) > 1 && arg[0] == '-':
			rest, err = inv.options.parseOption(arg, rest, inv.action != nil)
		case strings.HasPrefix(arg, "@"):
			if err = inv.profile.setWord(arg); readsSecret(before) {
				inv.profile.secretOption = before
			}
		case inv.action == nil:
			if err = inv.name(arg); err != nil && readsSecret(before) {
				err = takesNoValue(before)
			}
		default:
			inv.words = append(inv.words, arg)
			if readsSecret(before) {
				inv.secretOption, inv.secretWord = before, arg
			}
		}
		if err != nil {
			inv.lookAhead(args[1:])
			_ = inv.readProfile()
			return inv, err
		}
		before, args = arg, rest
	}
	switch {
	case inv.help, inv.version:
		return inv, nil
	case inv.action == nil:
		return inv, failf(classUsage, "a command is missing").withHint("%s", hintCommand)
	}
	if err := inv.readProfile(); err != nil {
		return inv, err
	}
	return inv, inv.assign()
}

// readsSecret says that an option reads a secret from standard input. A word right behind it may be that
// secret, by mistake, and is not repeated.
func readsSecret(option string) bool {
	return strings.HasPrefix(option, "-") && strings.HasSuffix(strings.ReplaceAll(option, "_", "-"), "-stdin")
}

// name takes the command that the line names.
func (inv *invocation) name(word string) (err error) {
	if inv.command, err = findCommand(inv.table, word, hintCommand); err == nil {
		inv.action = inv.command.setup(inv.options)
	}
	return err
}

// lookAhead reads what is left of a line after a mistake for the command, the profile and options
// without a value, so that a program gets its JSON, and a monitor its exit code, all the same.
func (inv *invocation) lookAhead(rest []string) {
	for _, arg := range rest {
		switch {
		case arg == "--":
			return
		case len(arg) > 1 && arg[0] == '-':
			inv.options.parseToggle(arg)
		case strings.HasPrefix(arg, "@"):
			_ = inv.profile.setWord(arg)
		case inv.action == nil:
			_ = inv.name(arg)
		}
	}
}

// assign gives the words that are left their places, then checks all values.
func (inv *invocation) assign() error {
	if name := inv.options.notFor(inv.command); name != "" {
		return failf(classUsage, "--%s is for a client, not for %s", name, inv.command.name)
	}
	more, asks, spare := false, false, inv.spareWords()
	for _, place := range strings.Fields(inv.command.words) {
		var value *string
		var option string
		switch strings.Trim(place, "[]") {
		case "USER":
			value, option = &inv.request.user, "username"
		case "HOST":
			value, option, asks = &inv.server.host, "host", true
		default:
			more = true
			continue
		}
		switch {
		case inv.given(option) && !inv.profile.setHere[option]:
		case !inv.mustBeWord(place) && spare <= 0:
		case len(inv.words) == 0 || len(inv.words) == inv.childWords():
			return failf(classUsage, "%s is missing", place).withHint("%s", inv.command.usage())
		default:
			*value, inv.words = inv.words[0], inv.words[1:]
			if !inv.mustBeWord(place) {
				spare--
			}
		}
	}
	if inv.secretOption != "" && slices.Contains(inv.words, inv.secretWord) && !(more && strings.ContainsAny(inv.secretWord, "=*")) {
		return takesNoValue(inv.secretOption)
	}
	if len(inv.words) > 0 && !more {
		return failf(classUsage, "unexpected argument \"%s\"", escape(inv.words[0])).withHint("%s", inv.command.usage())
	}
	if !asks {
		return inv.output.check()
	}
	return cmp.Or(inv.request.check(inv.command.name), inv.server.check(), inv.output.check())
}

// spareWords is how many words there are for a USER and a HOST that need not be words: what those that
// must be, the arguments of a request and the command after -- leave.
func (inv *invocation) spareWords() int {
	words := inv.words[:len(inv.words)-inv.childWords()]
	if hasWord(inv.command.words, "[ARG...]") {
		if i := slices.IndexFunc(words, func(w string) bool { return strings.ContainsAny(w, "=*") }); i >= 0 {
			words = words[:i]
		}
	}
	spare := len(words)
	for _, place := range strings.Fields(inv.command.words) {
		if inv.mustBeWord(place) {
			spare--
		}
	}
	return spare
}

// mustBeWord says that USER or HOST has to stand among the words, since nothing else gives it.
func (inv *invocation) mustBeWord(place string) bool {
	return place == "USER" && !inv.given("username") || place == "HOST" && !inv.given("host")
}

// childWords is how many of the words are a command line of their own.
func (inv *invocation) childWords() int {
	if inv.command.child != "" && inv.given(inv.command.child) {
		return len(inv.tail)
	}
	return 0
}

// given says whether the command line, or its profile, has the option, by any of its names.
func (inv *invocation) given(option string) bool { return inv.options.given[option] }

// carryOut does what the command line says.
func (inv *invocation) carryOut(ctx context.Context) (output, error) {
	out, err := inv.action(ctx, inv)
	if err == nil && out.exit() == classInterrupted.exit() {
		err = interrupted(ctx) // a report of what was done until then
	}
	return out, err
}
