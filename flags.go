package main

import (
	"cmp"
	"flag"
	"fmt"
	"slices"
	"strings"
)

// An option is declared once, with all that the parser, the help and completion need.
type option struct {
	group       optionGroup
	short, long string     // names without dashes; short is empty for an option with one name
	arg         string     // what the help calls its value; empty for a toggle
	help        string     // if it ends with a colon, the help appends the choices
	value       flag.Value // the error of its Set completes a sentence that begins with the rejected value
	given       bool       // on the command line or in the profile
	fromProfile bool
}

// An optionGroup is what an option is about. A command declares which groups of shared options it takes.
type optionGroup uint8

const (
	groupRequest  optionGroup = 1 << iota // fields of a request
	groupServer                           // the servers and the connection to them
	groupIdentity                         // TLS of either side, and the own certificate
	groupKey
	groupPassword
	groupOutput
	groupProxy // the command to connect by

	groupCommand optionGroup = 0 // options of one command
	poolGroups               = groupRequest | groupServer | groupIdentity | groupKey | groupPassword | groupOutput
	clientGroups             = poolGroups | groupProxy
)

// dashed returns the names of the option as they are typed.
func (o *option) dashed() (names []string) {
	for _, name := range []string{o.short, o.long} {
		switch len(name) {
		case 0:
		case 1:
			names = append(names, "-"+name)
		default:
			names = append(names, "--"+name)
		}
	}
	return names
}

// meanings are the texts about shared options in the commands where they mean something else than elsewhere. An empty
// arg is that of the option.
var meanings = [...]struct{ commands, options, arg, help string }{
	{"authorize account", "authen-type", "", "how the user has authenticated (default ascii), or not_set:"},
	{"enable", "priv-lvl", "", "privilege level to enable, 0 to 15 (default 15)"},
	{"enable", "service", "", "only enable, which is the default"},
	{"check", "authen-type", "", "type of the login (default ascii):"},
	{"check", "password", "", "password of USER; visible in the process list"},
	{"check", "password-file", "", "file with the password of USER; - is stdin"},
	{"check", "single-connect", "", "always on: check reports whether the server agrees"},
	{"batch", "single-connect json", "", "always on"},
	{"batch", "password", "", "password of requests without one; visible in the process list"},
	{"batch", "password-file", "", "file with the password of requests without one"},
	{"bench", "single-connect", "", "on unless --no-single-connect"},
	{"authorize account", "password password-file password-stdin", "", "accepted, but not used"},
	{"relay", "single-connect", "", "share connections to the servers between devices"},
	{"relay", "tls", "", "connect to the servers over TLS 1.3 (RFC 9887): port 300, no key, no fallback to cleartext"},
	{"relay", "key", "", "shared secret of the servers; visible in the process list"},
	{"relay", "key-file", "", "file with the shared secret of the servers; - is stdin"},
	{"relay", "show-secrets", "", "do not mask secrets in -d and --record"},
	{"serve", "tls", "", "accept TLS 1.3 connections only (RFC 9887), without a key"},
	{"serve", "cert", "", "certificate of the server, with its chain, PEM (default: made at the start)"},
	{"serve", "key", "", "shared secret of the clients (default random); visible in the process list"},
	{"serve", "key-file", "[PREFIX=]FILE", "file with the shared secret of the clients in PREFIX, or of all; the longest matching prefix wins; - is stdin; repeatable"},
	{"decode", "port", "", "port of the connections to read (default: all that begin like TACACS+)"},
	{"decode", "keylog", "", "read the secrets of TLS sessions from FILE, which a client or server wrote"},
	{"decode", "key", "", "shared secret to try; visible in the process list"},
	{"decode", "key-file", "", "file with a shared secret to try; - is stdin; repeatable"},
	{"serve relay decode", "quiet", "", "print no sessions"},
	{"serve relay decode", "verbose", "", "print all details of each session"},
	{"serve relay decode", "json", "", "print each session as one JSON object on one line"},
}

// meaning returns what the help of a command shows as the option's value, its text, and whether that is special to the
// command.
func (o *option) meaning(command string) (arg, help string, special bool) {
	for i := range meanings {
		m := &meanings[i]
		if hasWord(m.commands, command) && hasWord(m.options, o.long) {
			return cmp.Or(m.arg, o.arg), m.help, true
		}
	}
	return o.arg, o.help, false
}

// hasWord reports whether a list of words, with blanks between them, has a word.
func hasWord(list, word string) bool { return slices.Contains(strings.Fields(list), word) }

// choices returns the values of an enumeration, or nil for another kind of value.
func (o *option) choices() []string {
	if e, ok := o.value.(interface{ known() []string }); ok {
		return e.known()
	}
	return nil
}

// set sets the value of the option, which is the next of rest unless it is attached with an equals sign, and
// returns the rest after it. typed is the option as it was typed.
func (o *option) set(typed, value string, attached bool, rest []string) ([]string, error) {
	if isToggle(o.value) {
		if !attached {
			value = "true"
		}
		if o.value.Set(value) != nil {
			return nil, takesNoValue(typed)
		}
		o.given = true
		return rest, nil
	}
	if !attached {
		if len(rest) == 0 {
			return nil, failf(classUsage, "option %s needs a value", typed)
		}
		value, rest = rest[0], rest[1:]
	}
	if err := o.value.Set(value); err != nil {
		if _, ok := o.value.(*number); ok && strings.Trim(value, "0123456789.-") != "" {
			// It may be a secret that was meant for another option: -p hunter2.
			f := failf(classUsage, "option %s: its value %w", typed, err)
			if strings.TrimLeft(typed, "-") == o.short {
				f = f.withHint(fmt.Sprintf("%s is --%s", typed, o.long))
			}
			return nil, f
		}
		return nil, failf(classUsage, "option %s: \"%s\" %w", typed, escape(value), err)
	}
	o.given = true
	return rest, nil
}

func isToggle(v flag.Value) bool {
	_, ok := v.(*toggle)
	return ok
}

func takesNoValue(option string) error { return failf(classUsage, "option %s takes no value", option) }

// An optionSet is the options that a command line can have, in the order of their declaration. The flag.FlagSet holds
// their values by name; it does not parse, since options may follow the words.
type optionSet struct {
	flags   *flag.FlagSet
	options []option
}

func newOptionSet() *optionSet {
	return &optionSet{flag.NewFlagSet("", flag.ContinueOnError), make([]option, 0, 64)}
}

// add declares an option of a command. names is its short and its long name, or its only name.
func (s *optionSet) add(v flag.Value, names, arg, help string) {
	short, long, two := strings.Cut(names, " ")
	if !two {
		short, long = "", names
	}
	for _, name := range strings.Fields(names) {
		s.flags.Var(v, name, help)
	}
	s.options = append(s.options, option{short: short, long: long, arg: arg, help: help, value: v})
}

// find returns the option with the name, without dashes, or nil.
func (s *optionSet) find(name string) *option {
	if strings.Contains(name, "_") {
		name = strings.ReplaceAll(name, "_", "-")
	}
	found := s.flags.Lookup(name)
	if found == nil {
		return nil
	}
	return &s.options[slices.IndexFunc(s.options, func(o option) bool { return o.long == name || o.short == name })]
}

// longNames returns the long name of each option.
func (s *optionSet) longNames() (names []string) {
	for i := range s.options {
		names = append(names, s.options[i].long)
	}
	return names
}

// secretAt returns the option for a secret whose name is the beginning of a word, or nil: the secret may be attached to
// it. If meant is not empty, only that option can be it.
func (s *optionSet) secretAt(word, meant string) *option {
	for i := range s.options {
		o := &s.options[i]
		if o.group&(groupKey|groupPassword) != 0 && strings.HasPrefix(word, o.long) && (meant == "" || meant == o.long) {
			return o
		}
	}
	return nil
}

// in returns the part of the set to which options of a group can be added.
func (s *optionSet) in(group optionGroup) groupOptions { return groupOptions{s, group} }

// groupOptions is the part of a set with the options of one group.
type groupOptions struct {
	set   *optionSet
	group optionGroup
}

func (g groupOptions) add(v flag.Value, names, arg, help string) {
	g.set.add(v, names, arg, help)
	name, _, _ := strings.Cut(names, " ")
	g.set.find(name).group = g.group
}
