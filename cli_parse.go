package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A parser reads the words of a command line into an invocation.
type parser struct {
	inv     *invocation
	profile profile
	// secretOption is an option that reads a secret from standard input, secretWord the word after it. That may
	// be the secret, by mistake, so no message repeats it.
	secretOption, secretWord string
}

// parse reads a command line by the grammar of the help: shared options anywhere, the command's own after it,
// one or two dashes, _ for -, and -- to end the options. @NAME is a profile. With an error it returns as much of
// the invocation as decides the form of the output.
func parse(table []command, args []string, std stdio) (*invocation, error) {
	p := &parser{inv: newInvocation(table, std)}
	inv := p.inv
	inv.args = args
	if err := p.read(args); err != nil {
		_ = p.profile.read(inv)
		return inv, err
	}
	switch {
	case inv.help, inv.version:
		return inv, nil
	case inv.action == nil:
		return inv, failf(classUsage, "a command is missing").withHint(hintCommand)
	}
	if err := p.profile.read(inv); err != nil {
		return inv, err
	}
	return inv, p.assign()
}

// read reads the words up to the first error.
func (p *parser) read(args []string) error {
	inv, before := p.inv, ""
	for len(args) > 0 {
		arg, rest := args[0], args[1:]
		var err error
		switch {
		case arg == "--":
			inv.tail, rest = rest, nil
			inv.words = append(inv.words, inv.tail...)
		case len(arg) > 1 && arg[0] == '-':
			rest, err = inv.parseOption(arg, rest)
		case strings.HasPrefix(arg, "@"):
			if err = p.profile.setWord(p.inv, arg); readsSecret(before) {
				p.profile.secretOption = before
			}
		case inv.action == nil:
			if err = inv.setCommand(arg); err != nil && readsSecret(before) {
				err = takesNoValue(before)
			}
		default:
			inv.words = append(inv.words, arg)
			if readsSecret(before) {
				p.secretOption, p.secretWord = before, arg
			}
		}
		if err != nil {
			p.skim(args[1:])
			return err
		}
		before, args = arg, rest
	}
	return nil
}

// readsSecret reports whether an option reads a secret from standard input.
func readsSecret(option string) bool {
	return strings.HasPrefix(option, "-") && strings.HasSuffix(strings.ReplaceAll(option, "_", "-"), "-stdin")
}

// skim searches the words after an error for the command, the profile and toggles. They decide the form of the
// output, such as JSON or Nagios.
func (p *parser) skim(args []string) {
	for _, arg := range args {
		switch {
		case arg == "--":
			return
		case len(arg) > 1 && arg[0] == '-':
			if o := p.inv.options.find(strings.TrimPrefix(arg[1:], "-")); o != nil && isToggle(o.value) {
				_, _ = o.set(arg, "", false, nil)
			}
		case strings.HasPrefix(arg, "@"):
			_ = p.profile.setWord(p.inv, arg)
		case p.inv.action == nil:
			_ = p.inv.setCommand(arg)
		}
	}
}

// assign takes USER and HOST from the words, then checks all values.
func (p *parser) assign() error {
	inv := p.inv
	c := &inv.command
	for i := range inv.options.options {
		if o := &inv.options.options[i]; o.given && !c.accepts(o) {
			return failf(classUsage, "--%s is %s %s", o.long, choose(o.group == groupProxy, "not for", "for a client, not for"), c.name)
		}
	}
	spare, words := p.spareWords(), len(inv.words)
	for _, place := range []struct {
		need         positional
		name, option string
		value        *string
	}{{c.user, "USER", "username", &inv.request.fields.user}, {c.host, "HOST", "host", &inv.server.host}} {
		option := inv.options.find(place.option)
		mustBeWord := place.need == required && !option.given
		switch {
		case place.need == absent:
		case option.given && !option.fromProfile:
		case !mustBeWord && spare <= 0:
		case len(inv.words) == inv.childWords():
			return failf(classUsage, "%s is missing", place.name).withHint(c.usage())
		default:
			*place.value, inv.words = inv.words[0], inv.words[1:]
			if place.name == "HOST" {
				p.profile.badHost = nil
			}
			if !mustBeWord {
				spare--
			}
		}
	}
	if p.secretOption != "" && slices.Contains(inv.words, p.secretWord) && (c.rest == "" || !strings.ContainsAny(p.secretWord, "=*")) {
		return takesNoValue(p.secretOption)
	}
	if err := inv.checkSurplus(); err != nil {
		return err
	}
	if c.host == absent {
		return inv.output.check()
	}
	err := cmp.Or(inv.request.check(c.name), p.profile.badHost, inv.server.check(inv.typed), inv.cutKeyServers(), inv.output.check())
	if user := inv.options.find("username"); err == nil && c.user == optional && words == 1 && len(inv.words) == 0 && inv.given("host") && (!user.given || user.fromProfile) {
		err = inv.checkLoneUser()
	}
	return err
}

// checkLoneUser refuses a USER that is most likely one of the servers: the only word of a command whose HOST an option or
// the profile gives.
func (inv *invocation) checkLoneUser() error {
	user := inv.request.fields.user
	parts := strings.Split(strings.ToLower(user), ",")
	isServer := func(s server) bool {
		return slices.Contains(parts, strings.ToLower(s.host)) || slices.Contains(parts, strings.ToLower(s.name))
	}
	if !looksLikeServer(user) && !slices.ContainsFunc(inv.server.servers, isServer) {
		return nil
	}
	return failf(classUsage, "%s is a server, and a single word is USER if -H or a profile gives HOST", escape(user)).
		withHint(fmt.Sprintf("use -H %s for the server, or -u %[1]s for a user of that name", escape(user)))
}

// checkSurplus reports a word that is left after USER and HOST. It is often one of them, given by an option too.
func (inv *invocation) checkSurplus() error {
	c := &inv.command
	words := inv.words[:len(inv.words)-inv.childWords()]
	byUser, byHost := inv.typed("username"), inv.typed("host")
	argument := c.rest == argHint && len(words) > 0 && (strings.ContainsAny(words[0], "=*") || inv.given("cmd"))
	switch {
	case len(words) == 0 || argument:
		return nil
	case len(words) == 1 && byHost && !byUser:
		return failf(classUsage, "HOST is given twice: with -H and as \"%s\"", escape(words[0])).withHint("remove one of them; a list of servers has commas")
	case c.rest != "":
		return nil
	case len(words) == 1 && byUser && !byHost:
		return failf(classUsage, "USER is given twice: with -u and as \"%s\"", escape(inv.server.host)).withHint("remove one of them")
	case len(words) == 1 && byUser:
		return failf(classUsage, "unexpected argument \"%s\"", escape(words[0])).withHint("remove it: options give USER and HOST already")
	}
	return failf(classUsage, "unexpected argument \"%s\"", escape(words[0])).withHint(c.usage())
}

// spareWords returns how many words can override a USER or HOST that the profile gives. It leaves out the words
// that USER and HOST need, the arguments of a request, and the command after --.
func (p *parser) spareWords() int {
	inv := p.inv
	words := inv.words[:len(inv.words)-inv.childWords()]
	if inv.command.rest == argHint {
		if i := slices.IndexFunc(words, func(w string) bool { return strings.ContainsAny(w, "=*") }); i >= 0 {
			words = words[:i]
		}
	}
	spare := len(words)
	if inv.command.user == required && !inv.given("username") {
		spare--
	}
	if inv.command.host == required && !inv.given("host") {
		spare--
	}
	return spare
}
