package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// A profile is a file of options that @NAME on the command line selects: one long option a line, without dashes.
type profile struct {
	word         string // of the command line; empty for none
	secretOption string // the option before the word, if it reads a secret from standard input
}

// maxProfile is the largest size of a profile, in bytes.
const maxProfile = 64 << 10

// setWord sets the word that names the profile.
func (p *profile) setWord(word string) error {
	if p.word != "" && p.word != word {
		return failf(classUsage, "only one profile can be given, not %s and %s", escape(p.word), escape(word)).withHint("%s", hintAtUser)
	}
	p.word = word
	return nil
}

const hintAtUser = "use -u for a user whose name begins with @"

// read sets the options of the profile, if there is one. Options on the command line override it: the same
// option, and one that conflicts. Options that the command does not accept are ignored, since one profile serves
// all commands. The lines after an error are read too, since they may ask for JSON.
func (p *profile) read(inv *invocation) error {
	if p.word == "" {
		return nil
	}
	path, err := profilePath(p.word[1:], inv.std.env)
	if err != nil {
		return err
	}
	text, err := readOptions(path)
	if err != nil {
		return p.suggest(err, inv.std.env)
	}
	reader := profileReader{inv: inv, folder: filepath.Dir(path)}
	number := 0
	for line := range strings.Lines(text) {
		number++
		if wrong := reader.read(line); wrong != nil && err == nil {
			f := asFailure(wrong)
			err = failf(f.class, "%s:%d: %w", path, number, f.err).withHint("%s", f.hint)
		}
	}
	if reader.secret != "" {
		inv.warnReadable(reader.secret, path)
	}
	return err
}

// readOptions returns the text of a profile.
func readOptions(path string) (text string, err error) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", path) // to open a pipe may block
	}
	var b []byte
	if err == nil {
		b, err = readLimited(path, maxProfile)
	}
	if err != nil {
		return "", fileError("read the profile", err)
	}
	if text, err = trimMark(string(b)); err != nil {
		err = failf(classUsage, "the profile %s is UTF-16", path).withHint("save it as UTF-8")
	}
	return text, err
}

// suggest adds a hint to the error for a profile that does not exist.
func (p *profile) suggest(err error, env func(string) string) error {
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if p.secretOption != "" { // it may be the secret
		return takesNoValue(p.secretOption)
	}
	if name := nearest(p.word[1:], profileNames(env)); name != "" {
		return asFailure(err).withHint("did you mean @%s?", escape(name))
	}
	return asFailure(err).withHint("%s", hintAtUser)
}

// profilePath returns the path of the profile with the name, which may be a path itself.
func profilePath(name string, env func(string) string) (string, error) {
	if strings.ContainsAny(name, "/"+string(filepath.Separator)) {
		return name, nil
	}
	folder := profileFolder(env)
	switch {
	case name == "":
		return "", failf(classUsage, "@ needs the name of a profile").withHint("%s", hintAtUser)
	case folder == "":
		return "", failf(classUsage, "no folder for profiles: HOME is not set").withHint("use @./%s for a file in the current folder", escape(name))
	}
	return filepath.Join(folder, name), nil
}

// profileFolder returns the folder of the profiles, or an empty string if the environment does not define it.
func profileFolder(env func(string) string) string {
	switch config, home := env("XDG_CONFIG_HOME"), env("HOME"); {
	case runtime.GOOS == "windows" && env("AppData") != "":
		return filepath.Join(env("AppData"), "tacacs_plus")
	case runtime.GOOS == "windows":
		return ""
	case filepath.IsAbs(config): // the XDG specification ignores relative paths
		return filepath.Join(config, "tacacs_plus")
	case home != "":
		return filepath.Join(home, ".config", "tacacs_plus")
	}
	return ""
}

// profileNames returns the files in the folder that look like profiles. Keys and certificates, which may be
// there too, have a dot in their names. A terminal could not show a name with control characters as it is.
func profileNames(env func(string) string) (names []string) {
	entries, _ := os.ReadDir(profileFolder(env)) // without the folder there are none
	for _, e := range entries {
		if !e.IsDir() && !strings.ContainsAny(e.Name(), ". ") && escape(e.Name()) == e.Name() {
			names = append(names, e.Name())
		}
	}
	return names
}

// A profileReader reads the lines of a profile into the options of a command line.
type profileReader struct {
	inv    *invocation
	folder string // to which the names of files in the profile are relative
	secret string // the name of one of its options with a secret as value
}

// read reads one line: name value, name=value, or the name of a toggle.
func (r *profileReader) read(line string) error {
	line = strings.TrimSpace(line)
	if line == "" || line[0] == '#' {
		return nil
	}
	arg, name, value := "--"+line, line, ""
	if at := strings.IndexAny(line, " \t="); at >= 0 {
		name = line[:at]
		value = strings.TrimSpace(line[at:])
		value = strings.TrimSpace(strings.TrimPrefix(value, "="))
		arg = "--" + name + "=" + value
	}
	name = strings.ReplaceAll(name, "_", "-")
	o := r.inv.options.find(name)
	accepted := o != nil && r.inv.command.accepts(o)
	if o == nil {
		_, o = ownersOf(r.inv.table, name)
	}
	switch {
	case name == "":
		return failf(classUsage, "no option name on the line")
	case name[0] == '-':
		return failf(classUsage, "options in a profile have no dashes")
	case o == nil:
		_, err := r.inv.parseOption(arg, nil) // for its hint
		return err
	case name == "help", name == "version", name == "exec": // what a command does belongs on the command line
		return failf(classUsage, "%s is not allowed in a profile", name)
	case o.long != name:
		return failf(classUsage, "a profile cannot have the short option -%s", name).withHint("write %s", o.long)
	}
	if strings.HasSuffix(o.arg, "KEY") || strings.HasSuffix(o.arg, "PASSWORD") {
		r.secret = name
	}
	overridden := o.given && !o.fromProfile && name != "no-warn" // whose values add up
	if !accepted || overridden || r.conflicting(name) {
		return nil
	}
	if o.arg == "FILE" && value != "" && value != "-" {
		arg = "--" + name + "=" + inFolder(r.folder, value, strings.HasSuffix(name, "key-file"))
	}
	o.fromProfile = true
	_, err := r.inv.parseOption(arg, nil)
	return err
}

// conflicting reports whether the command line has an option that excludes this one.
func (r *profileReader) conflicting(name string) bool {
	for _, row := range conflicts {
		if !slices.Contains(strings.Fields(row.ignored), name) {
			continue
		}
		for typed := range strings.FieldsSeq(row.typed) {
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

// inFolder returns the value FILE or, of an option that takes prefixes, [PREFIX=]FILE. FILE is relative to the folder.
func inFolder(folder, value string, prefixes bool) string {
	prefix, file, found := "", value, false
	if prefixes {
		prefix, file, found = cutPrefix(value)
	}
	if !filepath.IsAbs(file) {
		file = filepath.Join(folder, file)
	}
	if found {
		return prefix + "=" + file
	}
	if _, _, ambiguous := cutPrefix(file); prefixes && ambiguous {
		file = "." + string(filepath.Separator) + file
	}
	return file
}

// conflicts are options that cannot be used together: if one of the first is typed, those that follow are ignored in a
// profile. A key does not turn TLS off, since it may be there by mistake.
var conflicts = [...]struct{ typed, ignored string }{
	{"key key-file", "key key-file unencrypted"},
	{"tls", "key key-file unencrypted"},
	{"unencrypted", "key key-file tls " + tlsDetails},
	{"tls=false", tlsDetails},
	{"password password-file password-stdin", "password password-file password-stdin"},
	{"new-password-file new-password-stdin", "new-password-file new-password-stdin"},
	{"4", "6"},
	{"6", "4"},
	{"quiet", "verbose json"},
	{"verbose json", "quiet"},
	{"nagios prometheus json", "nagios prometheus json"},
	{"cmd-file", "cmd cmds require"},
	{"cmd cmds require", "cmd-file"},
	{"authorize account", "authorize account"},
	{"no-single-connect", "single-connect"},
	{"single-connect", "no-single-connect"},
}

// tlsDetails are the options that need --tls.
const tlsDetails = "cacert cert cert-key servername crl insecure keylog"
