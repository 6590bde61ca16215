package main

import (
	"flag"
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

	groupCommand optionGroup = 0 // options of one command
	clientGroups             = groupRequest | groupServer | groupIdentity | groupKey | groupPassword | groupOutput
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
				f = f.withHint("%s is --%s", typed, o.long)
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
	s.in(groupCommand).add(v, names, arg, help)
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

// in returns the part of the set to which options of a group can be added.
func (s *optionSet) in(group optionGroup) groupOptions { return groupOptions{s, group} }

// groupOptions is the part of a set with the options of one group.
type groupOptions struct {
	set   *optionSet
	group optionGroup
}

func (g groupOptions) add(v flag.Value, names, arg, help string) {
	short, long, two := strings.Cut(names, " ")
	if !two {
		short, long = "", names
	}
	for _, name := range strings.Fields(names) {
		g.set.flags.Var(v, name, help)
	}
	g.set.options = append(g.set.options, option{group: g.group, short: short, long: long, arg: arg, help: help, value: v})
}
