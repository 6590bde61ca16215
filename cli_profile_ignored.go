package main

import (
	"slices"
	"strings"
)

// ignored reports whether an option of the profile has no effect: the command does not have it or cannot use it, or the
// command line overrides it.
func (r *profileReader) ignored(l *profileLine) bool {
	return r.overridden(l) || !r.usable(l)
}

// overridden reports whether the command does not have the option, or the command line has it or one that excludes it.
func (r *profileReader) overridden(l *profileLine) bool {
	o := r.inv.options.find(l.name)
	typed := r.inv.typed(l.name) && l.name != "no-warn" // whose values add up
	return o == nil || !r.inv.command.accepts(o) || typed || r.conflicting(l.name)
}

// conflicting reports whether the command line has an option that excludes this one.
func (r *profileReader) conflicting(name string) bool {
	for _, row := range conflicts {
		if !hasWord(row.ignored, name) || row.typed == "tls" && r.hasClearServer() {
			continue
		}
		for _, typed := range strings.Fields(row.typed) {
			typed, off := strings.CutSuffix(typed, "=false")
			o := r.inv.options.find(typed)
			if o == nil || !o.given || o.fromProfile {
				continue
			}
			if t, ok := o.value.(*toggle); off == (ok && !bool(*t)) {
				return true
			}
		}
	}
	return false
}

// usable reports whether the command can use an option of the profile, which serves other commands too.
func (r *profileReader) usable(l *profileLine) bool {
	command := r.inv.command.name
	switch l.name {
	case "authen-type":
		switch {
		case l.value == "not_set":
			return command == "authorize" || command == "account"
		case command == "chpass", command == "check" && !r.hasUser():
			return l.value == "ascii"
		}
	case "service":
		return (l.value == "enable") == (command == "enable")
	case "chap-id", "chap-challenge":
		t := authenASCII
		if r.inv.typed("authen-type") {
			t = r.inv.request.fields.typ
		} else if from := r.lineOf("authen-type"); from != nil {
			t = authenPAP
			_ = t.Set(from.value) // an error is reported for that line
		}
		return t.challenged()
	case "types", "negative", "as":
		return r.hasUser()
	case "warn", "crit", "cert-days":
		return r.has("nagios")
	case "count":
		return r.has("interval")
	case "cmd-file", "cmd": // the arguments of the command line replace them
		return !slices.ContainsFunc(r.inv.words, func(w string) bool { return strings.ContainsAny(w, "=*") })
	case "password-stdin":
		return command != "batch" // which reads its requests there
	}
	return true
}

// hasClearServer reports whether HOST has a server that --tls does not change.
func (r *profileReader) hasClearServer() bool {
	hosts := append(slices.Clone(r.inv.words), r.inv.server.host)
	for _, l := range r.lines {
		if l.name == "host" {
			hosts = append(hosts, l.value)
		}
	}
	return strings.Contains(strings.ToLower(strings.Join(hosts, ",")), "tcp://")
}

// has reports whether the command line or the profile gives an option.
func (r *profileReader) has(name string) bool {
	return r.inv.typed(name) || r.lineOf(name) != nil
}

// hasUser reports whether the command line or the profile gives the USER of a command that may have none.
func (r *profileReader) hasUser() bool {
	words := len(r.inv.words)
	return r.has("username") || words > 1 || words == 1 && r.has("host")
}

// lineOf returns the last line with an option that the command line does not override, or nil.
func (r *profileReader) lineOf(name string) (found *profileLine) {
	for i := range r.lines {
		if l := &r.lines[i]; l.err == nil && l.name == name && !r.overridden(l) {
			found = l
		}
	}
	return found
}

// conflicts are options that cannot be used together: if one of the first is typed, those that follow are ignored in a
// profile. A key does not turn TLS off, since it may be there by mistake.
var conflicts = [...]struct{ typed, ignored string }{
	{"key key-file", "key key-file unencrypted"},
	{"tls", "key key-file unencrypted"},
	{"unencrypted", "key key-file tls"},
	{"insecure", "pin"},
	{"pin", "insecure"},
	{"password password-file password-stdin", "password password-file password-stdin"},
	{"new-password-file new-password-stdin", "new-password-file new-password-stdin"},
	{"4", "6"},
	{"6", "4"},
	{"proxy-command", "4 6 source interface vrf"},
	{"quiet", "verbose json"},
	{"verbose json", "quiet"},
	{"nagios prometheus json", "nagios prometheus json"},
	{"interval", "nagios"},
	{"nagios", "interval count"},
	{"exec", "flag"},
	{"as", "authen-type priv-lvl virtual-port cr"},
	{"cmd-file", "cmd cmds require"},
	{"cmd cmds require", "cmd-file"},
	{"authorize account", "authorize account"},
	{"no-single-connect", "single-connect"},
	{"single-connect", "no-single-connect"},
}
