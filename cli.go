package main

import (
	"cmp"
	"context"
	"slices"
	"strings"
)

// A command is one row of the table of commands: all that the others know of it.
type command struct {
	name    string
	words   string // that it takes: USER, [USER], HOST, and anything else for what is left
	summary string
	// examples are what a person types after its name.
	examples []string
	// setup declares the command's own options and returns what it does.
	setup func(*optionSet) action
	// child is its option with which the words after -- are a command line of their own.
	child string
	// server says that it answers others: the options that are for asking are refused.
	server bool
	// offline are those of the options for asking that it has a use for, where it talks to nobody: the
	// others are refused.
	offline []string
	// misused is what a mistake becomes where its options ask for another form; nil for none.
	misused func(*invocation, *failure) output
}

// takes says that a shared option is for the command: what is said of a client's requests is not for
// a server, and what answers by itself takes none.
func (c command) takes(row optionRow) bool {
	switch {
	case c.server && strings.Contains(c.words, "HOST"): // which it asks
		return row.group != groupRequest && row.group != groupPassword
	case c.server:
		return row.group == groupIdentity || row.group == groupKey || row.group == groupOutput
	case c.offline != nil:
		return row.group == groupKey || row.group == groupOutput || slices.Contains(c.offline, row.long())
	}
	return strings.Contains(c.words, "HOST")
}

// accepts says that the command line, or a profile, may have the option: what is about the output may
// stand anywhere.
func (c command) accepts(row optionRow) bool {
	return row.group == groupCommand || row.group == groupOutput || c.takes(row)
}

// usage is the hint for a wrong number of words.
func (c command) usage() string {
	return strings.TrimSpace("usage: tacacs_plus " + c.name + " " + c.words)
}

// An action carries a command out: what it has to show, an error, or both.
type action func(context.Context, *invocation) (output, error)

const (
	hintCommand = "a command comes first, such as authenticate; tacacs_plus help lists them"
	hintList    = "tacacs_plus help lists the commands"
)

// findCommand is the command of that name. The hint of its error says what may have been meant, or else
// what goes without saying to who knows the program.
func findCommand(table []command, name, otherwise string) (command, error) {
	var names []string
	for _, c := range table {
		if c.name == name {
			return c, nil
		}
		names = append(names, c.name)
	}
	f := failf(classUsage, "unknown command \"%s\"", escape(name))
	if meant := cmp.Or(nearest(name, names), strings.Join(beginning(name, names), " or ")); meant != "" {
		return command{}, f.withHint("did you mean %s?", meant)
	}
	return command{}, f.withHint("%s", otherwise)
}

// ownersOf are the commands that have an option of that name of their own.
func ownersOf(table []command, option string) (owners []string) {
	for _, c := range table {
		own := newOptionSet()
		c.setup(own)
		if own.find(option) != nil {
			owners = append(owners, c.name)
		}
	}
	return owners
}
