package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"sync"
)

// A command is one row of the table of commands.
type command struct {
	name    string
	also    string // names that people try for it
	summary string
	// examples are what a person types after its name.
	examples []string
	// setup declares the command's own options and returns what the command does.
	setup      func(*optionSet) action
	user, host positional
	rest       string // further words as the usage line shows them; empty if there are none
	// child is the option with which the words after -- are a command line of their own.
	child string
	// shared are the groups of shared options that it takes, extra the names of others, with blanks between them.
	shared optionGroup
	extra  string
	// everyServer reports that it asks each server by itself, as --all does.
	everyServer bool
	// misused returns the output for a usage error if the options ask for a form of their own. It may be nil.
	misused func(*invocation, *failure) output
}

// A positional is whether a command takes USER or HOST.
type positional uint8

const (
	absent positional = iota
	optional
	required
)

func (p positional) usage(name string) string {
	switch p {
	case optional:
		return " [" + name + "]"
	case required:
		return " " + name
	}
	return ""
}

// argHint is the rest of a command whose further words are the arguments of a request.
const argHint = "[ARG...]"

// words returns the positionals of the command as its usage line shows them.
func (c *command) words() string {
	words := c.user.usage("USER") + c.host.usage("HOST")
	if c.rest != "" {
		words += " " + c.rest
	}
	return strings.TrimSpace(words)
}

// usage returns the hint for a wrong number of words.
func (c *command) usage() string {
	return strings.TrimSpace("usage: tacacs_plus " + c.name + " " + c.words())
}

// example returns one of the command's examples as a person types it.
func (c *command) example(i int) string {
	return strings.TrimSpace("tacacs_plus " + c.name + " " + c.examples[i])
}

// readsFiles reports whether the words of the command are names of files.
func (c *command) readsFiles() bool { return strings.Contains(c.rest, "FILE") }

// takes reports whether the command uses a shared option.
func (c *command) takes(o *option) bool {
	return c.shared&o.group != 0 || hasWord(c.extra, o.long)
}

// accepts reports whether the command line, or a profile, may have the option. Those for the output are
// accepted with every command.
func (c *command) accepts(o *option) bool {
	return o.group == groupCommand || o.group == groupOutput || c.takes(o)
}

// ownOptions returns the options that only this command has.
func (c *command) ownOptions() *optionSet {
	own := newOptionSet()
	c.setup(own)
	return own
}

// An action executes a command. It returns what there is to show, an error, or both.
type action func(context.Context, *invocation) (output, error)

const (
	hintCommand = "name a command such as authenticate; tacacs_plus help lists them"
	hintList    = "tacacs_plus help lists the commands"
)

// findCommand returns the command with the name. The hint of its error suggests a similar name, or else is the
// given one.
func findCommand(table []command, name, hint string) (*command, error) {
	var names []string
	also := ""
	for i := range table {
		c := &table[i]
		if c.name == name {
			return c, nil
		}
		if names = append(names, c.name); hasWord(c.also, strings.ToLower(name)) {
			also = c.name
		}
	}
	f := failf(classUsage, "unknown command \"%s\"", escape(name))
	if meant := cmp.Or(also, nearest(name, names), strings.Join(beginning(name, names), " or ")); meant != "" {
		return nil, f.withHint(fmt.Sprintf("did you mean %s?", meant))
	}
	return nil, f.withHint(hint)
}

// An invocation is one command line after parsing: the command, the options that all commands share, and the
// words that are left.
type invocation struct {
	table   []command
	args    []string // as they were given
	command command
	action  action // nil without a command
	std     stdio
	options *optionSet
	request requestOptions
	server  serverOptions
	output  outputOptions
	key     secretSource

	keyServers []string // of each key file, what server it is for; nil if all are for all servers

	password secretSource
	help     bool
	version  bool
	words    []string  // the arguments after USER and HOST
	tail     []string  // those of them that came after --
	stdinUse string    // what the command reads from standard input, for messages; may be empty
	terminal *terminal // of person
	opened   bool      // person has tried to open it
	// unattended is what never prompts, such as batch; empty if prompts are possible.
	unattended string

	warningsMu sync.Mutex
	warnings   []namedWarning // that are not of a result; guarded by warningsMu
}

// person returns the controlling terminal for prompts, or nil if there is none.
func (inv *invocation) person() *terminal {
	if !inv.opened && inv.unattended == "" {
		inv.opened, inv.terminal = true, inv.std.controllingTerminal()
	}
	return inv.terminal
}

// askPerson implements askFunc. It opens the terminal at the first prompt: most requests need none.
func (inv *invocation) askPerson(ctx context.Context, prompt string, hidden bool) (string, error) {
	person := inv.person()
	if person == nil {
		return "", errNoAnswer
	}
	defer person.expectPrompts()
	return person.ask(ctx, prompt, hidden)
}

// outputOptions are the options for what is printed.
type outputOptions struct {
	quiet, verbose, debug, json, showSecrets bool
	silenced                                 warningSet
}

// newInvocation returns a command line before any word is read.
func newInvocation(table []command, std stdio) *invocation {
	inv := &invocation{table: table, std: std, options: newOptionSet()}
	inv.declare(inv.options)
	inv.options.add((*toggle)(&inv.help), "h help", "", "print help")
	inv.options.add((*toggle)(&inv.version), "version", "", "print the version")
	return inv
}

// declare declares the options that all commands share.
func (inv *invocation) declare(o *optionSet) {
	inv.key = secretSource{what: "key", option: "--key-file", env: "TACACS_PLUS_KEY"}
	inv.password = secretSource{what: "password", option: "--password-file", env: "TACACS_PLUS_PWD"}
	key, password := o.in(groupKey), o.in(groupPassword)
	inv.request.register(o.in(groupRequest))
	inv.server.register(o.in(groupServer))
	inv.server.tls.register(o.in(groupIdentity), o.in(groupServer))
	key.add(&inv.key, "k key", "KEY", "shared secret; visible in the process list")
	key.add(&inv.key.files, "key-file", "FILE", "file with the shared secret; - is stdin; repeatable: the first is used, the others are tried on an unreadable reply to name the one that fits; [NAME=]FILE is for one server: its name, address or prefix")
	password.add(&inv.password, "password", "PASSWORD", "password; visible in the process list")
	password.add(&inv.password.files, "password-file", "FILE", "file with the password; - is stdin")
	password.add((*toggle)(&inv.password.stdin), "password-stdin", "", "read the password from stdin")
	inv.output.register(o.in(groupOutput))
}

// sharedOptions returns the options that commands share.
func sharedOptions() []option {
	shared := newOptionSet()
	new(invocation).declare(shared)
	return shared.options
}

// sharedOptions returns the shared options that the command takes, each with its meaning there.
func (c *command) sharedOptions() (taken []option) {
	all := sharedOptions()
	for i := range all {
		if o := &all[i]; c.takes(o) {
			o.arg, o.help, _ = o.meaning(c.name)
			taken = append(taken, *o)
		}
	}
	return taken
}

func (p *outputOptions) register(o groupOptions) {
	o.add((*toggle)(&p.quiet), "q quiet", "", "print no result; only set the exit code")
	o.add((*toggle)(&p.verbose), "v verbose", "", "print all details of the reply and the connection")
	o.add((*toggle)(&p.debug), "d debug", "", "print all packets and events on stderr")
	o.add((*toggle)(&p.json), "json", "", "print the result as one JSON object on one line")
	o.add(&p.silenced, "no-warn", "NAME", "silence one warning, by the name that --json shows; repeatable")
	o.add((*toggle)(&p.showSecrets), "show-secrets", "", "do not mask secrets in -d")
}

func (p *outputOptions) check() error {
	if p.quiet && (p.verbose || p.json) {
		return failf(classUsage, "--quiet cannot be used with --verbose or --json")
	}
	return nil
}

// setCommand selects the command with the name, and declares its options.
func (inv *invocation) setCommand(name string) error {
	c, err := findCommand(inv.table, name, hintCommand)
	if err == nil {
		inv.command, inv.action = *c, c.setup(inv.options)
	}
	return err
}

// given reports whether the command line, or its profile, has the option, by any of its names.
func (inv *invocation) given(name string) bool {
	o := inv.options.find(name)
	return o != nil && o.given
}

// typed reports whether the command line has an option.
func (inv *invocation) typed(name string) bool {
	o := inv.options.find(name)
	return o != nil && o.given && !o.fromProfile
}

// asksEveryServer reports whether each server is asked by itself, and not one after another failed.
func (inv *invocation) asksEveryServer() bool { return inv.command.everyServer || inv.given("all") }

// childWords returns how many of the words are a command line of their own.
func (inv *invocation) childWords() int {
	if inv.command.child != "" && inv.given(inv.command.child) {
		return len(inv.tail)
	}
	return 0
}

// emptyResult returns the result of a request that was not sent.
func (inv *invocation) emptyResult() *result {
	return &result{Command: inv.command.name, User: inv.request.fields.user}
}

// ask carries a job to the servers and returns its result.
func (inv *invocation) ask(ctx context.Context, c *client, j *job) (*result, error) {
	j.res = *inv.emptyResult()
	r := &requester{client: c, warnf: inv.printWarning, ask: inv.askPerson, keepConn: true}
	r.do(ctx, j)
	r.close()
	return &j.res, j.err
}

// parseOption parses one option and its value, which may be the next of rest. It returns what is left of rest.
func (inv *invocation) parseOption(arg string, rest []string) ([]string, error) {
	name, value, attached := strings.Cut(strings.TrimPrefix(arg[1:], "-"), "=")
	typed := arg
	if attached {
		typed = strings.TrimSuffix(arg, "="+value) // the value may be a secret
	}
	o := inv.options.find(name)
	if o == nil {
		return nil, inv.unknownOption(arg, escape(typed))
	}
	return o.set(escape(typed), value, attached, rest)
}

// unknownOption returns the error for an option that does not exist, with a suggestion. It does not repeat text
// that is attached to the name of an option with a value, since that may be a secret.
func (inv *invocation) unknownOption(arg, typed string) error {
	name, _, _ := strings.Cut(strings.ReplaceAll(strings.TrimLeft(arg, "-"), "_", "-"), "=")
	accepted := func(o *option) bool { return inv.action == nil || inv.command.accepts(o) }
	if short := inv.options.find(arg[1:2]); short != nil && !isToggle(short.value) {
		return spaceHint(failf(classUsage, "unknown option -%c...", arg[1]), "-"+short.short, accepted(short))
	}
	var known []string
	for i := range inv.options.options {
		if o := &inv.options.options[i]; accepted(o) {
			known = append(known, o.long)
		}
	}
	meant := nearest(name, known)
	if o := inv.options.secretAt(name, meant); o != nil {
		return spaceHint(failf(classUsage, "unknown option --%s...", o.long), "--"+o.long, accepted(o))
	}
	f := failf(classUsage, "unknown option %s", typed)
	commands, _ := ownersOf(inv.table, name)
	switch owners := strings.Join(commands, ", "); {
	case owners != "" && inv.action == nil:
		return f.withHint(fmt.Sprintf("it is an option of %s: put it after the command", owners))
	case owners != "":
		return f.withHint(fmt.Sprintf("it is an option of %s", owners))
	case meant != "":
		return f.withHint(fmt.Sprintf("did you mean --%s?", meant))
	case inv.action == nil:
		return f.withHint("put a command's own options after the command; tacacs_plus help lists the others")
	}
	return f.withHint("tacacs_plus help, and tacacs_plus help COMMAND, list the options")
}

// spaceHint adds the hint for a value without a space before it, if the command accepts the option.
func spaceHint(f *failure, option string, accepted bool) *failure {
	if accepted {
		return f.withHint(fmt.Sprintf("put a space between %s and its value", option))
	}
	return f
}

// ownersOf returns the names of the commands that have the option as their own, and that of the first; nil for none.
func ownersOf(table []command, name string) (owners []string, found *option) {
	for i := range table {
		if o := table[i].ownOptions().find(name); o != nil {
			owners, found = append(owners, table[i].name), cmp.Or(found, o)
		}
	}
	return owners, found
}
