package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// A profile is a file of options that a word of the command line names, @NAME: one long option a
// line, without its dashes.
type profile struct {
	word         string          // of the command line; empty for none
	secretOption string          // the option that reads a secret which the word stands behind; empty for none
	setHere      map[string]bool // the options that have their value from it, by all their names
}

// maxProfile is how large the file may be, in bytes.
const maxProfile = 64 << 10

// take notes the word that names the profile.
func (p *profile) setWord(word string) error {
	if p.word != "" && p.word != word {
		return failf(classUsage, "%s and %s are two profiles, and one is the limit", escape(p.word), escape(word)).withHint("%s", hintAtUser)
	}
	p.word = word
	return nil
}

const hintAtUser = "a user whose name begins with @ is given by -u"

// readProfile gives the options of the profile, if there is one, the values that it has for them. The
// command line wins: an option of its own, and one that excludes what the profile has, stay. Options
// that are not for the command are passed over, since one profile serves all commands. The rest of the
// file is read after a mistake too, so that a program gets its JSON all the same.
func (inv *invocation) readProfile() error {
	if inv.profile.word == "" {
		return nil
	}
	path, err := profilePath(inv.profile.word[1:], inv.std.env)
	if err != nil {
		return err
	}
	text, open, err := readOptions(path)
	if err != nil {
		return inv.profile.suggest(err, inv.std.env)
	}
	inv.profile.setHere = make(map[string]bool)
	reader := profileReader{inv: inv, folder: filepath.Dir(path), typed: maps.Clone(inv.options.given)}
	number := 0
	for line := range strings.Lines(text) {
		number++
		if wrong := reader.read(line); wrong != nil && err == nil {
			f := asFailure(wrong)
			err = failf(f.class, "%s:%d: %w", path, number, f.err).withHint("%s", f.hint)
		}
	}
	if open && reader.secret != "" {
		inv.warnf("others may read %s, which has a %s: chmod 600", path, reader.secret)
	}
	return err
}

// readOptions returns the text of a profile, and whether other users can read it.
func readOptions(path string) (text string, open bool, err error) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a file", path) // to open a pipe may block
	}
	var b []byte
	if err == nil {
		b, err = readLimited(path, maxProfile)
	}
	if err != nil {
		return "", false, fileError("read the profile", err)
	}
	// On Windows the mode does not show who can read the file.
	open = runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0
	return strings.TrimPrefix(string(b), "\ufeff"), open, nil
}

// meant adds to the error that there is no such profile which one may have been meant.
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

// profilePath is the file of the profile of that name, which is a path where it has a slash.
func profilePath(name string, env func(string) string) (string, error) {
	if strings.ContainsAny(name, "/"+string(filepath.Separator)) {
		return name, nil
	}
	folder := profileFolder(env)
	switch {
	case name == "":
		return "", failf(classUsage, "the name of a profile is missing after @").withHint("%s", hintAtUser)
	case folder == "":
		return "", failf(classUsage, "no folder for profiles is known, since HOME is not set").withHint("@./%s is a file of the current folder", escape(name))
	}
	return filepath.Join(folder, name), nil
}

// profileFolder is where profiles are that are named without a path; empty where the environment does
// not say.
func profileFolder(env func(string) string) string {
	switch config, home := env("XDG_CONFIG_HOME"), env("HOME"); {
	case runtime.GOOS == "windows" && env("AppData") != "":
		return filepath.Join(env("AppData"), "tacacs_plus")
	case runtime.GOOS == "windows":
		return ""
	case filepath.IsAbs(config): // any other counts for nothing, says the XDG Base Directory Specification
		return filepath.Join(config, "tacacs_plus")
	case home != "":
		return filepath.Join(home, ".config", "tacacs_plus")
	}
	return ""
}

// profileNames are the files of the folder that look like profiles: keys and certificates, which may
// be there too, have a dot in their names.
func profileNames(env func(string) string) (names []string) {
	entries, _ := os.ReadDir(profileFolder(env)) // without the folder there are none
	for _, e := range entries {
		if !e.IsDir() && !strings.ContainsAny(e.Name(), ". ") {
			names = append(names, e.Name())
		}
	}
	return names
}

// A profileReader reads the lines of a profile into the options of a command line.
type profileReader struct {
	inv    *invocation
	folder string          // to which the names of files in it are relative
	typed  map[string]bool // the options that the command line has
	secret string          // the name of one of its options whose value nobody else should see
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
	o := r.inv.options
	row, here := o.row(name), true
	if row == nil {
		row, here = ownRow(r.inv.table, name), false
	}
	switch {
	case name == "":
		return failf(classUsage, "the name of an option is missing")
	case name[0] == '-':
		return failf(classUsage, "an option stands without its dashes here")
	case row == nil:
		_, err := o.parseOption(arg, nil, true) // says what may have been meant
		return err
	case name == "help", name == "version", name == "exec": // what a command does is the command line's to say
		return failf(classUsage, "%s does not stand in a profile", name)
	case row.long() != name:
		return failf(classUsage, "the short name -%s does not stand here", name).withHint("it is %s", row.long())
	}
	if strings.HasSuffix(row.arg, "KEY") || strings.HasSuffix(row.arg, "PASSWORD") {
		r.secret = name
	}
	if !here || !r.inv.command.accepts(*row) || r.typed[name] || r.excluded(name) {
		return nil
	}
	if row.arg == "FILE" && value != "" && value != "-" {
		arg = "--" + name + "=" + inFolder(r.folder, value)
	}
	_, err := o.parseOption(arg, nil, true)
	for _, n := range strings.Fields(row.names) {
		r.inv.profile.setHere[n] = true
	}
	return err
}

// excluded says that the command line has an option with which this one does not go together.
func (r *profileReader) excluded(name string) bool {
	for _, row := range conflicts {
		if !hasWord(row.dropped, name) {
			continue
		}
		for typed := range strings.FieldsSeq(row.typed) {
			typed, off := strings.CutSuffix(typed, "=false")
			if !r.typed[typed] {
				continue
			}
			if v := r.inv.options.Lookup(typed).Value; off == (isToggle(v) && v.String() == "false") {
				return true
			}
		}
	}
	return false
}

// hasWord says that a list with blanks has the word.
func hasWord(list, word string) bool {
	return strings.Contains(" "+list+" ", " "+word+" ")
}

// ownRow is the option of that name that some command has of its own; nil for none.
func ownRow(table []command, name string) *optionRow {
	for _, c := range table {
		own := newOptionSet()
		c.setup(own)
		if row := own.row(name); row != nil {
			return row
		}
	}
	return nil
}

// inFolder returns the value [PREFIX=]FILE with FILE relative to the folder.
func inFolder(folder, value string) string {
	prefix, file, found := cutPrefix(value)
	if !filepath.IsAbs(file) {
		file = filepath.Join(folder, file)
	}
	if found {
		return prefix + "=" + file
	}
	if _, _, ambiguous := cutPrefix(file); ambiguous {
		file = "." + string(filepath.Separator) + file
	}
	return file
}

// rivals are options that exclude each other: where the command line has one of the first, those
// that follow do not count in a profile. A key does not turn TLS off: that wants more than a mistake.
var conflicts = [...]struct{ typed, dropped string }{
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

// tlsDetails are the options that mean nothing without --tls.
const tlsDetails = "cacert cert cert-key servername crl insecure keylog"
