package main

import "strings"

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
	if short := inv.options.find(arg[1:2]); short != nil && !isToggle(short.value) {
		return failf(classUsage, "unknown option -%c...", arg[1]).withHint("put a space between -%c and its value", arg[1])
	}
	var known []string
	for _, o := range inv.options.options {
		known = append(known, o.long)
	}
	meant := nearest(name, known)
	for _, o := range inv.options.options {
		if o.group&(groupKey|groupPassword) != 0 && strings.HasPrefix(name, o.long) && (meant == "" || meant == o.long) {
			return failf(classUsage, "unknown option --%s...", o.long).withHint("put a space between --%s and its value", o.long)
		}
	}
	f := failf(classUsage, "unknown option %s", typed)
	switch owners := strings.Join(ownersOf(inv.table, name), ", "); {
	case owners != "" && inv.action == nil:
		return f.withHint("it is an option of %s: put it after the command", owners)
	case owners != "":
		return f.withHint("it is an option of %s", owners)
	case meant != "":
		return f.withHint("did you mean --%s?", meant)
	case inv.action == nil:
		return f.withHint("put a command's own options after the command; tacacs_plus help lists the others")
	}
	return f.withHint("tacacs_plus help, and tacacs_plus help COMMAND, list the options")
}

// ownersOf returns the names of the commands that have the option as their own.
func ownersOf(table []command, name string) (owners []string) {
	for i := range table {
		if table[i].ownOptions().find(name) != nil {
			owners = append(owners, table[i].name)
		}
	}
	return owners
}
