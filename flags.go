package main

import (
	"flag"
	"slices"
	"strings"
)

// An optionSet is a flag.FlagSet that knows in which order its options were declared, what they
// are about, and which were given.
type optionSet struct {
	*flag.FlagSet
	group optionGroup // of the options that are added from now on
	rows  []optionRow
	given map[string]bool
	// owners are the commands that have an option of that name of their own.
	owners func(name string) []string
}

// An optionRow is an option as the help knows it.
type optionRow struct {
	group            optionGroup
	names, arg, help string // names with blanks between; arg is empty for a toggle
	value            flag.Value
}

// long is the name that says most: the last one.
func (r optionRow) long() string {
	names := strings.Fields(r.names)
	return names[len(names)-1]
}

// An enumeration is a value that is one of some words.
type enumeration interface {
	flag.Value
	known() []string
}

// An optionGroup is what an option is about.
type optionGroup uint8

const (
	groupCommand  optionGroup = iota // one command
	groupRequest                     // what a request says of who asks
	groupServer                      // the servers, and the way to them
	groupIdentity                    // TLS on whichever side, and the own certificate
	groupKey
	groupPassword
	groupOutput
)

func newOptionSet() *optionSet {
	return &optionSet{FlagSet: flag.NewFlagSet("", flag.ContinueOnError), given: make(map[string]bool)}
}

// add declares an option by its names, with a blank between; arg is what its value is called.
func (o *optionSet) add(v flag.Value, names, arg, help string) {
	for name := range strings.FieldsSeq(names) {
		o.Var(v, name, help)
	}
	o.rows = append(o.rows, optionRow{o.group, names, arg, help, v})
}

// notFor is the name of the first shared option that was given and is not for the command, or
// nothing.
func (o *optionSet) notFor(c command) string {
	for _, row := range o.rows {
		if name := row.long(); o.given[name] && !c.accepts(row) {
			return name
		}
	}
	return ""
}

// find is the option of that name, without its dashes; nil for none.
func (o *optionSet) find(name string) *flag.Flag { return o.Lookup(strings.ReplaceAll(name, "_", "-")) }

// takeToggle reads an option without a value; what else arg may be is left alone.
func (o *optionSet) parseToggle(arg string) {
	if f := o.find(strings.TrimPrefix(arg[1:], "-")); f != nil && isToggle(f.Value) {
		_, _ = o.parseOption(arg, nil, true)
	}
}

// take reads one option and, where it has one, its value from rest.
func (o *optionSet) parseOption(arg string, rest []string, named bool) ([]string, error) {
	name, value, attached := strings.Cut(strings.TrimPrefix(arg[1:], "-"), "=")
	shown := escape(strings.TrimSuffix(arg, "="+value)) // the value may be a secret
	f := o.find(name)
	if f == nil {
		return nil, o.unknown(arg, shown, named)
	}
	if isToggle(f.Value) {
		if !attached {
			value = "true"
		}
		if f.Value.Set(value) != nil {
			return nil, takesNoValue(shown)
		}
	} else if !attached {
		if len(rest) == 0 {
			return nil, failf(classUsage, "option %s needs a value", shown)
		}
		value, rest = rest[0], rest[1:]
	}
	names := strings.Fields(o.row(f.Name).names)
	if err := f.Value.Set(value); err != nil {
		if _, ok := f.Value.(*number); ok && strings.Trim(value, "0123456789.-") != "" {
			// Whatever was meant for another option: -p hunter2.
			wrong := failf(classUsage, "option %s: its value %w", shown, err)
			if long := names[len(names)-1]; f.Name != long {
				wrong = wrong.withHint("%s is --%s", shown, long)
			}
			return nil, wrong
		}
		return nil, failf(classUsage, "option %s: \"%s\" %w", shown, escape(value), err)
	}
	for _, n := range names {
		o.given[n] = true
	}
	return rest, nil
}

func takesNoValue(option string) error { return failf(classUsage, "option %s takes no value", option) }

// row is the option that has this name, one of several; nil for none.
func (o *optionSet) row(name string) *optionRow {
	for i, row := range o.rows {
		if slices.Contains(strings.Fields(row.names), name) {
			return &o.rows[i]
		}
	}
	return nil
}

// unknown says what may have been meant. What is glued to the name of an option with a value is
// not repeated, since it may be a secret.
func (o *optionSet) unknown(arg, shown string, named bool) error {
	name, _, _ := strings.Cut(strings.ReplaceAll(strings.TrimLeft(arg, "-"), "_", "-"), "=")
	if short := o.Lookup(arg[1:2]); arg[1] != '-' && short != nil && !isToggle(short.Value) {
		return failf(classUsage, "unknown option -%c...", arg[1]).withHint("-%c and its value are two words", arg[1])
	}
	var long []string
	for _, row := range o.rows {
		long = append(long, row.long())
	}
	meant := nearest(name, long)
	for _, row := range o.rows {
		secret := row.long()
		if (row.group == groupKey || row.group == groupPassword) && strings.HasPrefix(name, secret) && (meant == "" || meant == secret) {
			return failf(classUsage, "unknown option --%s...", secret).withHint("--%s and its value are two words", secret)
		}
	}
	f := failf(classUsage, "unknown option %s", shown)
	switch owners := o.owners(name); {
	case len(owners) > 0 && !named:
		return f.withHint("it is an option of %s, and stands after the command", strings.Join(owners, ", "))
	case len(owners) > 0:
		return f.withHint("it is an option of %s", strings.Join(owners, ", "))
	case meant != "":
		return f.withHint("did you mean --%s?", meant)
	case !named:
		return f.withHint("a command's own options stand after the command; tacacs_plus help lists the others")
	}
	return f.withHint("tacacs_plus help, and tacacs_plus help COMMAND, list the options")
}
