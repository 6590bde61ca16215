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
	badHost      error  // of a host in it; reported unless the command line has HOST
}

// maxProfile is the largest size of a profile, in bytes.
const maxProfile = 64 << 10

// setWord sets the word that names the profile.
func (p *profile) setWord(inv *invocation, word string) error {
	if p.word != "" && p.word != word {
		return failf(classUsage, "only one profile can be given, not %s and %s", escape(p.word), escape(word)).withHint(atHint(inv))
	}
	p.word = word
	return nil
}

// atHint returns the hint for a word that begins with @ and names no profile.
func atHint(inv *invocation) string {
	switch {
	case inv.command.user != absent:
		return "use -u for a user whose name begins with @"
	case inv.command.readsFiles():
		return "use ./@NAME for a file whose name begins with @"
	}
	return ""
}

// read sets the options of the profile, if there is one. Options on the command line override it: the same
// option, and one that conflicts. Options that the command does not have or cannot use are ignored, since one profile
// serves all commands. The lines after an error are read too, since they may ask for JSON.
func (p *profile) read(inv *invocation) error {
	if p.word == "" {
		return nil
	}
	path, err := p.path(inv)
	if err != nil {
		return err
	}
	text, err := readOptions(path)
	if errors.Is(err, fs.ErrNotExist) {
		return p.suggest(err, inv)
	} else if err != nil {
		return err
	}
	reader := profileReader{inv: inv, path: path, folder: filepath.Dir(path)}
	number := 0
	for _, line := range strings.Split(text, "\n") {
		number++
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			reader.lines = append(reader.lines, reader.parse(number, line))
		}
	}
	if len(reader.lines) > 0 && !reader.known {
		return failf(classUsage, "%s is not a profile: it has no line with an option", path).withHint("a line is a long option without dashes, such as host tac1")
	}
	for i := range reader.lines {
		l := &reader.lines[i]
		if wrong := reader.set(l); wrong != nil && err == nil {
			err = reader.at(l, wrong)
		}
	}
	p.badHost = reader.badHost
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
func (p *profile) suggest(err error, inv *invocation) error {
	if p.secretOption != "" { // it may be the secret
		return takesNoValue(p.secretOption)
	}
	if name := nearest(p.word[1:], profileNames(inv.std.env)); name != "" {
		return asFailure(err).withHint(fmt.Sprintf("did you mean @%s?", escape(name)))
	}
	return asFailure(err).withHint(atHint(inv))
}

// path returns the path of the profile: its name if that has a slash, else the file in the first folder that has it.
func (p *profile) path(inv *invocation) (string, error) {
	name, env := p.word[1:], inv.std.env
	if strings.ContainsAny(name, "/"+string(filepath.Separator)) {
		return expandHome(name, env), nil
	}
	if name == "" {
		return "", failf(classUsage, "@ needs the name of a profile").withHint(atHint(inv))
	}
	folders := profileFolders(env)
	if len(folders) == 0 {
		return "", failf(classUsage, "no folder for profiles: AppData is not set").withHint(fmt.Sprintf("use @./%s for a file in the current folder", escape(name)))
	}
	for _, folder := range folders {
		path := filepath.Join(folder, name)
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			return path, nil
		}
	}
	return "", p.suggest(failf(classUsage, "no profile %s in %s", escape(name), strings.Join(folders, " or ")), inv)
}

// systemProfiles is the folder of the profiles for all users. On Windows any user could create it, so it is not used.
var systemProfiles = "/etc/tacacs_plus"

// profileFolders returns the folders of the profiles, the user's own first.
func profileFolders(env func(string) string) (folders []string) {
	config, home := env("XDG_CONFIG_HOME"), env("HOME")
	switch {
	case runtime.GOOS == "windows":
		config = env("AppData")
	case !filepath.IsAbs(config) && home != "": // the XDG specification ignores relative paths
		config = filepath.Join(home, ".config")
	}
	if filepath.IsAbs(config) {
		folders = append(folders, filepath.Join(config, "tacacs_plus"))
	}
	if runtime.GOOS != "windows" {
		folders = append(folders, systemProfiles)
	}
	return folders
}

// expandHome returns a path with the home folder in place of ~ at its start.
func expandHome(path string, env func(string) string) string {
	home := env("HOME")
	if runtime.GOOS == "windows" {
		home = env("USERPROFILE")
	}
	if rest, ok := strings.CutPrefix(path, "~/"); ok && home != "" {
		return filepath.Join(home, rest)
	}
	return path
}

// profileNames returns the files in the folders that look like profiles. Keys and certificates, which may be
// there too, have a dot in their names. A terminal could not show a name with control characters as it is.
func profileNames(env func(string) string) (names []string) {
	for _, folder := range profileFolders(env) {
		entries, _ := os.ReadDir(folder) // without the folder there are none
		for _, e := range entries {
			if !e.IsDir() && !strings.ContainsAny(e.Name(), ". ") && escape(e.Name()) == e.Name() {
				names = append(names, e.Name())
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// A profileReader reads the lines of a profile into the options of a command line.
type profileReader struct {
	inv    *invocation
	path   string
	folder string // to which the names of files in the profile are relative
	lines  []profileLine
	known  bool   // a line has the name of an option
	secret string // the name of one of its options with a secret as value

	badHost error // see profile
}

// at returns an error with the place of its line.
func (r *profileReader) at(l *profileLine, err error) error {
	f := asFailure(err)
	return failf(f.class, "%s:%d: %w", r.path, l.number, f.err).withHint(f.hint)
}

// A profileLine is an option in a profile: name value, name=value, or the name of a toggle.
type profileLine struct {
	number      int
	name, value string
	arg         string // the option as an argument of the command line
	err         error
}

// parse reads a line.
func (r *profileReader) parse(number int, line string) profileLine {
	l := profileLine{number: number, name: line, arg: "--" + line}
	if at := strings.IndexAny(line, " \t="); at >= 0 {
		l.name = line[:at]
		l.value = strings.TrimSpace(line[at:])
		l.value = strings.TrimSpace(strings.TrimPrefix(l.value, "="))
		l.arg = "--" + l.name + "=" + l.value
	}
	l.name = strings.ReplaceAll(l.name, "_", "-")
	o := r.find(l.name)
	r.known = r.known || o != nil || r.find(strings.TrimLeft(l.name, "-")) != nil
	switch {
	case l.name == "":
		l.err = failf(classUsage, "no option name on the line")
	case l.name[0] == '-':
		l.err = failf(classUsage, "options in a profile have no dashes")
	case o == nil:
		l.err = r.unknown(l.name)
	case l.name == "help", l.name == "version", l.name == "exec", l.name == "check-config": // what a command does belongs on the command line
		l.err = failf(classUsage, "%s is not allowed in a profile", l.name)
	case l.name == "proxy-command":
		l.err = r.checkProxyCommand()
	case o.long != l.name && len(l.name) == 1:
		l.err = failf(classUsage, "a profile cannot have the short option -%s", l.name).withHint(fmt.Sprintf("write %s", o.long))
	case strings.HasSuffix(o.arg, "KEY") || strings.HasSuffix(o.arg, "PASSWORD"):
		r.secret = l.name
	}
	return l
}

// checkProxyCommand returns why the profile may not run a command, or nil. A command that cannot use it must not ignore it:
// it would connect without the protection that it may give.
func (r *profileReader) checkProxyCommand() error {
	c := &r.inv.command
	if c.host == absent {
		return nil
	}
	if c.shared&groupProxy == 0 {
		return failf(classUsage, "proxy-command is not for %s", c.name)
	}
	file, err := filepath.EvalSymlinks(r.path)
	for _, name := range []string{file, filepath.Dir(file)} {
		var info fs.FileInfo
		if err == nil {
			info, err = os.Stat(name)
		}
		if err != nil || isForeign(info) || info.Mode().Perm()&0o022 != 0 && info.Mode()&fs.ModeSticky == 0 {
			return failf(classUsage, "proxy-command is not allowed in a profile that others may write").withHint(fmt.Sprintf("see the owner and the mode of %s", name))
		}
	}
	return nil
}

// find returns the option of this or another command with the name, or nil.
func (r *profileReader) find(name string) *option {
	if o := r.inv.options.find(name); o != nil {
		return o
	}
	_, o := ownersOf(r.inv.table, name)
	return o
}

// unknown returns the error for a line without the name of an option. It shows nothing of the line, which may be a secret.
func (r *profileReader) unknown(name string) error {
	names := r.inv.options.longNames()
	for i := range r.inv.table {
		names = append(names, r.inv.table[i].ownOptions().longNames()...)
	}
	f := failf(classUsage, "the line does not begin with the name of an option")
	meant, secret := nearest(name, names), r.inv.options.secretAt(name, "")
	r.known = r.known || meant != "" || secret != nil
	switch {
	case meant != "":
		return f.withHint(fmt.Sprintf("did you mean %s?", meant))
	case secret != nil:
		return f.withHint(fmt.Sprintf("put a space between %s and its value", secret.long))
	}
	return f.withHint("tacacs_plus help, and tacacs_plus help COMMAND, list the options")
}

// set sets the option of a line, unless it is ignored.
func (r *profileReader) set(l *profileLine) error {
	if l.err != nil || r.ignored(l) {
		return l.err
	}
	o, arg := r.inv.options.find(l.name), l.arg
	if l.name == "key-file" && r.inv.command.host == absent {
		if _, file, named := cutServer(l.value); named && r.inv.command.readsFiles() {
			l.value = file // a key to try as any other
		} else if _, _, prefix := cutPrefix(l.value); named && !prefix {
			if _, err := os.Stat(r.inFolder(l.value, nil)); err != nil {
				return nil // the key of a server, for clients
			}
		}
	}
	if o.arg == "FILE" && l.value != "" && l.value != "-" {
		arg = "--" + l.name + "=" + r.inFolder(l.value, r.cutter(l.name))
	}
	o.fromProfile = true
	_, err := r.inv.parseOption(arg, nil)
	switch {
	case err != nil:
	case l.name == "host":
		if _, wrong := parseServers(l.value, portClear, false); wrong != nil && r.badHost == nil {
			r.badHost = r.at(l, wrong)
		}
	case l.name == "key-file" && r.inv.command.host != absent:
		_, err = cutServers([]string{l.value})
	case strings.HasSuffix(l.name, "key-file"):
		_, err = cutPrefixes("--"+l.name, []string{l.value})
	}
	return err
}

// cutter returns the function that splits the value of an option into what it is for and FILE, or nil.
func (r *profileReader) cutter(option string) func(string) (string, string, bool) {
	switch {
	case option == "key-file" && r.inv.command.host != absent:
		return cutServer
	case strings.HasSuffix(option, "key-file"):
		return cutPrefix
	}
	return nil
}

// inFolder returns the value FILE or, of an option with a cutter, [PREFIX=]FILE. FILE is relative to the folder.
func (r *profileReader) inFolder(value string, cut func(string) (string, string, bool)) string {
	prefix, file, found := "", value, false
	if cut != nil {
		prefix, file, found = cut(value)
	}
	if file = expandHome(file, r.inv.std.env); !filepath.IsAbs(file) {
		file = filepath.Join(r.folder, file)
	}
	if found {
		return prefix + "=" + file
	}
	if cut == nil {
		return file
	}
	if _, _, ambiguous := cut(file); ambiguous {
		file = "." + string(filepath.Separator) + file
	}
	return file
}
