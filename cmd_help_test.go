package main

import (
	"reflect"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// ownOptions are the options that only one command has.
var ownOptions = map[string]string{
	"authenticate": "chap-id chap-challenge answer all",
	"enable":       "chap-id chap-challenge answer all",
	"chpass":       "answer new-password-file new-password-stdin",
	"authorize":    "c cmds cmd method require cmd-file dead-time all",
	"account":      "c cmds cmd method f task-id exec",
	"check":        "types negative nagios warn crit cert-days prometheus output interval count",
	"batch":        "c concurrency dead-time",
	"help":         "man",
	"decode":       "key-list summary user status peer",
	"relay":        "listen device-key-file listen-tls listen-cert listen-cert-key client-ca record",
	"serve":        "listen user users-file enable-password-file permit deny arg must-change reply-delay client-ca write-cacert fault",
}

const sharedNames = "u username H host p port k key key-file password password-file password-stdin t authen-type l priv-lvl " +
	"r rem-addr P virtual-port s service timeout connect-timeout retries 4 6 source vrf interface single-connect unencrypted " +
	"tls cacert cert cert-key servername crl insecure keylog q quiet v verbose d debug json no-warn show-secrets"

// sharedOf returns the shared options that a command accepts, and some that it rejects.
func sharedOf(c command) (accepted, rejected string) {
	const output = " q quiet v verbose d debug json no-warn show-secrets"
	switch {
	case c.name == "relay":
		return "H host p port k key key-file timeout connect-timeout retries 4 6 source vrf interface single-connect unencrypted tls cacert cert cert-key " +
			"servername crl insecure keylog" + output, "username password-stdin authen-type"
	case c.name == "serve":
		return "k key key-file tls cert cert-key" + output, "username password-stdin timeout"
	case c.name == "decode":
		return "k key key-file p port keylog" + output, "username password-stdin timeout"
	case c.host != absent:
		return sharedNames, ""
	}
	return "", "username timeout"
}

// checkHelp checks that a help text has all the options.
func checkHelp(t *testing.T, text, names string) {
	t.Helper()
	words := strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" ,/\n", r) })
	for name := range strings.FieldsSeq(names) {
		option := "-" + name
		if len(name) > 1 {
			option = "--" + name
		}
		if !slices.Contains(words, option) {
			t.Errorf("%s is not in the help:\n%s", option, text)
		}
	}
}

func TestHelp(t *testing.T) {
	t.Parallel()
	whole := runWith(t, nil, "", "help")
	if whole.code != classGranted.exit() || whole.err != "" {
		t.Errorf("help: %+v", whole)
	}
	checkHelp(t, whole.out, sharedNames)
	for _, args := range [][]string{{"--help"}, {"-h"}, {"-help"}, {"-v", "-h"}} {
		equal(t, runWith(t, nil, "", args...), whole, args)
	}
	for _, c := range commands {
		if !strings.Contains(whole.out, "\n  "+c.name+" ") {
			t.Errorf("%s is not in the help", c.name)
		}
		one := runWith(t, nil, "", "help", c.name)
		if one.code != classGranted.exit() || one.err != "" || !strings.HasPrefix(one.out, c.name+": "+c.summary+"\n\nUsage: tacacs_plus [OPTION...] "+c.name) {
			t.Errorf("help %s: %+v", c.name, one)
		}
		checkHelp(t, one.out, ownOptions[c.name])
		accepted, rejected := sharedOf(c)
		if checkHelp(t, one.out, accepted); accepted == "" && strings.Contains(one.out, "\nOptions that it shares with other commands") {
			t.Errorf("help %s has options of other commands:\n%s", c.name, one.out)
		}
		for name := range strings.FieldsSeq(rejected) {
			if strings.Contains(one.out, "--"+name) {
				t.Errorf("help %s has --%s, which the command rejects", c.name, name)
			}
		}
		for _, args := range [][]string{{c.name, "--help"}, {"-h", c.name}, {c.name, "alice", "tac1", "-h", "--json"}} {
			equal(t, runWith(t, nil, "", args...), one, args)
		}
	}
	if got := runWith(t, nil, "", "version"); got.code != classGranted.exit() || got.err != "" || !strings.HasPrefix(got.out, "tacacs_plus ") || strings.Count(got.out, "\n") != 1 {
		t.Errorf("version: %+v", got)
	}
}

// TestHelpMeanings: a text of its own about a shared option is in the help of a command that takes the option.
func TestHelpMeanings(t *testing.T) {
	t.Parallel()
	for _, m := range meanings {
		for name := range strings.FieldsSeq(m.commands) {
			c, err := findCommand(commands, name, "")
			must(t, err)
			taken := c.sharedOptions()
			for long := range strings.FieldsSeq(m.options) {
				if i := slices.IndexFunc(taken, func(o option) bool { return o.long == long }); i < 0 || taken[i].help != m.help {
					t.Errorf("help %s does not have for --%s: %s", name, long, m.help)
				}
			}
		}
	}
	for name, part := range map[string]string{
		"serve":        "  --key-file [PREFIX=]FILE file with the shared secret of the clients in PREFIX,\n",
		"decode":       "  --key-file FILE          file with a shared secret to try; ",
		"authenticate": "  --key-file FILE          file with the shared secret; ",
	} {
		if got := runWith(t, nil, "", "help", name); !strings.Contains(got.out, part) {
			t.Errorf("help %s: got\n%s\nwant %s", name, got.out, part)
		}
	}
	page := printedPages()[""]
	if part := "\\fB\\-\\-key\\-file\\fR \\fI[PREFIX=]FILE\\fR\n"; strings.Count(page, part) != 1 {
		t.Errorf("%q is not once in the page", part)
	}
	runWith(t, nil, "", "completion", "--", "decode", "--keyl").check(t, 0, "--keylog\tread the secrets of TLS sessions from FILE, which a client or server wrote\n", "")
}

// TestHelpQuiet: -q does not hide a page that was asked for.
func TestHelpQuiet(t *testing.T) {
	for _, line := range []string{"help -q", "-q authenticate -h", "-q --version", "version -q", "serve -q --fault help"} {
		if got := runWith(t, nil, "", split(line)...); got.code != classGranted.exit() || got.out == "" || got.err != "" {
			t.Errorf("%s: got %+v", line, got)
		}
	}
}

// TestHelpWidth: lines fit 80 columns, and text begins at its column.
func TestHelpWidth(t *testing.T) {
	t.Parallel()
	pages := map[string]string{"": mainHelp(commands), "serve --fault": faultHelp()}
	for _, c := range commands {
		pages[c.name] = commandHelp(&c)
	}
	for name, page := range pages {
		for line := range strings.Lines(page) {
			if len(line) > helpWidth+1 || strings.TrimRight(line, " \n") != strings.TrimSuffix(line, "\n") {
				t.Errorf("help %s: %d columns, or trailing blanks: %q", name, len(line)-1, line)
			}
		}
	}
	o := option{short: "o", long: "option-of-many-letters", arg: "VALUE", help: strings.Repeat("word ", 12) + "end"}
	blanks := strings.Repeat(" ", optionColumn)
	if got, want := describe(&o), "  -o, --option-of-many-letters VALUE\n"+blanks+strings.TrimSpace(strings.Repeat("word ", 10))+"\n"+blanks+"word word end\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	name := strings.Repeat("x", optionColumn-5) // with dashes and a space, it fills the column
	for name, want := range map[string]string{
		name:       "  --" + name + " for\n",
		name + "x": "  --" + name + "x\n" + blanks + "for\n",
	} {
		equal(t, describe(&option{long: name, help: "for"}), want)
	}
}

// TestHelpExamples: the examples are valid command lines.
func TestHelpExamples(t *testing.T) {
	t.Parallel()
	for _, c := range commands {
		help := commandHelp(&c)
		if n := len(c.examples); n != 2 && len(ownOptions[c.name]) > 0 {
			t.Errorf("%s has %d examples", c.name, n)
		}
		for i := range c.examples {
			line := c.example(i)
			if !strings.Contains(help, "\n    "+line+"\n") {
				t.Errorf("help %s does not have %s", c.name, line)
			}
			line, _, _ = strings.Cut(strings.TrimPrefix(line, "tacacs_plus "), " <")
			line, _, _ = strings.Cut(line, " >")
			line, _, _ = strings.Cut(line, " |")
			line = strings.NewReplacer("'show version'", "show", "'^show'", "show").Replace(line)
			if inv, err := parse(commands, split(line), stdio{}); err != nil || inv.command.name != c.name {
				t.Errorf("%s: %v", line, err)
			}
		}
	}
}

// TestHelpChoices: the choices in the help are those that the option accepts.
func TestHelpChoices(t *testing.T) {
	t.Parallel()
	found := make(map[string]string)
	for _, c := range commands {
		for _, o := range append(sharedOptions(), c.ownOptions().options...) {
			choices := o.choices()
			if shown := strings.HasSuffix(o.help, ":"); shown && (choices == nil || !strings.Contains(strings.Join(strings.Fields(describe(&o)), " "), strings.Join(choices, " "))) {
				t.Errorf("%s: --%s has no choices in its help:\n%s", c.name, o.long, describe(&o))
			}
			for _, word := range choices {
				if err := o.value.Set(word); err != nil {
					t.Errorf("%s: --%s rejects %s: %v", c.name, o.long, word, err)
				}
			}
			if choices != nil {
				found[o.long] = strings.Join(choices, " ")
			}
		}
	}
	for names, want := range map[string]string{
		"authen-type": "ascii pap chap mschap mschapv2",
		"service":     "none login ppp pt rcmd x25 nasi fwproxy",
		"method":      "not_set none krb5 line enable local tacacsplus guest radius krb4 rcmd",
		"flag":        "start stop watchdog watchdog-update",
	} {
		if found[names] != want {
			t.Errorf("%s: got the choices %q, want %q", names, found[names], want)
		}
	}
	if !strings.HasPrefix(found["fault"], "help noecho-pass getuser ") {
		t.Errorf("got the faults %q", found["fault"])
	}
}

// TestVersionBuild: a build has the day of its commit, if there is one, and the version of git describe before Go's.
func TestVersionBuild(t *testing.T) {
	t.Parallel()
	info := &debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}, Settings: []debug.BuildSetting{{Key: "vcs", Value: "git"}}}
	if b := buildOf(info, ""); b.Version != "v1.2.3" || b.Date != "" {
		t.Errorf("got %+v", b)
	}
	info.Settings = append(info.Settings, debug.BuildSetting{Key: "vcs.time", Value: "2026-11-24T16:00:00Z"}, debug.BuildSetting{Key: "vcs.modified", Value: "false"})
	if b := buildOf(info, ""); b.Version != "v1.2.3" || b.Date != "2026-11-24" {
		t.Errorf("got %+v", b)
	}
	if b := buildOf(info, "v1.2.2-3-gabcd"); b.Version != "v1.2.2-3-gabcd" || b.Date != "2026-11-24" {
		t.Errorf("got %+v", b)
	}
}

// offers returns the completions of the last word, without the descriptions.
func offers(t *testing.T, env map[string]string, words ...string) []string {
	t.Helper()
	got := runWith(t, env, "", append([]string{"completion", "--"}, words...)...)
	if got.code != 0 || got.err != "" {
		t.Errorf("%q: got %+v", words, got)
	}
	var offered []string
	for line := range strings.Lines(got.out) {
		word, description, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if !ok {
			t.Errorf("%q: no tab in %q", words, line)
		}
		if word == "FILE" {
			word += description
		}
		offered = append(offered, word)
	}
	return offered
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	_, env := profileDir(t, "prod", "", "lab", "", "prod.key", "", "two words", "", "right\u202eleft", "", "new\nline", "", "\x1b[2J", "")
	for _, tt := range []struct{ line, want string }{
		{"auth", "authenticate authorize"},
		{"-v auth", "authenticate authorize"},
		{"--timeout 5 auth", "authenticate authorize"},
		{"--timeout=5 auth", "authenticate authorize"},
		{"--timeout=5 @prod auth", "authenticate authorize"},
		{"nonsense ''", "authenticate enable chpass authorize account login check batch bench serve relay decode completion version help"},
		{"nonsense --retr", "--retries"},
		{"authenticate -t ''", "ascii pap chap mschap mschapv2"},
		{"authenticate --authen_type ms", "mschap mschapv2"},
		{"authenticate --authen-type=ms", "--authen-type=mschap --authen-type=mschapv2"},
		{"authenticate -t=p", "-t=pap"},
		{"-s x", "x25"},
		{"account -f st", "start stop"},
		{"authenticate -f st", ""},
		{"authenticate --chap-i", "--chap-id"},
		{"authorize --cm", "--cmds --cmd --cmd-file"},
		{"--cm", ""},
		{"serve --time", ""},
		{"serve --key", "--key --key-file"},
		{"decode --p", "--port --peer"},
		{"decode ''", "FILE"},
		{"decode --summary x", "FILE"},
		{"-", "-4 -6"},
		{"authenticate --key-file /etc/pass", "FILE"},
		{"authenticate --key-file=/etc/pass", "FILE--key-file="},
		{"serve --key-file 192.0.2.0/24=a", "FILE192.0.2.0/24="},
		{"serve --key-file=192.0.2.7=a", "FILE--key-file=192.0.2.7="},
		{"authenticate --key-file -", "FILE"},
		{"authenticate --key a", ""},
		{"authenticate --tls=", ""},
		{"authenticate --nonsense=a", ""},
		{"authenticate --tls al", ""},
		{"authenticate alice ''", ""},
		{"authenticate alice @", "@lab @prod"},
		{"@nonsense auth", "authenticate authorize"},
		{"@pr", "@prod"},
		{"authenticate --host @", ""},
		{"@./f", "FILE@"},
		{"help ch", "chpass check"},
		{"completion ''", "bash fish zsh"},
		{"version ''", ""},
		{"account alice tac1 --exec -- ma", "FILE"},
		{"decode -- x", "FILE"},
		{"-- account ''", ""},
		{"authorize alice tac1 -- -", ""},
		{"account --exec -- authenticate --chap", "FILE"},
	} {
		got := offers(t, env, split(tt.line)...)
		if tt.line == "-" { // followed by all long options
			got = slices.DeleteFunc(got, func(w string) bool { return strings.HasPrefix(w, "--") })
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: got %q, want %q", tt.line, got, tt.want)
		}
	}
	want := "authenticate\tdoes this password log in?\nauthorize\tmay the user do this? (default: open a shell)\n"
	runWith(t, env, "", "completion", "--", "auth").check(t, 0, strings.NewReplacer("?", `\?`, "(", `\(`, ")", `\)`).Replace(want), "")
	runWith(t, env, "", "completion", "--", "--key-f").check(t, 0, "--key-file\tfile with the shared secret\n", "")
	runWith(t, env, "", "completion", "--", "--authen").check(t, 0, "--authen-type\tauthentication type\n", "")
}

// TestCompletionOptions: the options of each command in its help are completed, and no others.
func TestCompletionOptions(t *testing.T) {
	t.Parallel()
	long := func(names string) (words []string) {
		for name := range strings.FieldsSeq(names) {
			if len(name) > 1 {
				words = append(words, "--"+name)
			}
		}
		return words
	}
	for _, c := range commands {
		got := offers(t, nil, c.name, "--")
		accepted, rejected := sharedOf(c)
		for _, name := range long(ownOptions[c.name] + " " + accepted) {
			if !slices.Contains(got, name) {
				t.Errorf("%s: %s is not in %q", c.name, name, got)
			}
		}
		for _, other := range long(rejected) {
			if slices.Contains(got, other) {
				t.Errorf("%s: %s is not one of its options", c.name, other)
			}
		}
	}
	if got := offers(t, nil, "--"); !slices.Contains(got, "--timeout") || !slices.Contains(got, "--help") || slices.Contains(got, "--nagios") {
		t.Errorf("without a command: %q", got)
	}
}

func TestCompletionScripts(t *testing.T) {
	t.Parallel()
	for shell, registers := range map[string]string{
		"bash": "\ncomplete -F _tacacs_plus tacacs_plus\n",
		"zsh":  "#compdef tacacs_plus\n",
		"fish": "\ncomplete -c tacacs_plus -f -a ",
	} {
		got := runWith(t, nil, "", "completion", shell)
		if got.code != 0 || got.err != "" || !strings.Contains(got.out, registers) || !strings.Contains(got.out, " completion -- ") {
			t.Errorf("%s: got %+v", shell, got)
		}
	}
	hint := "\ntacacs_plus: hint: one of bash, zsh, fish\n"
	runWith(t, nil, "", "completion").check(t, 2, "", "tacacs_plus: the shell is missing"+hint)
	runWith(t, nil, "", "completion", "--").check(t, 2, "", "tacacs_plus: the shell is missing"+hint)
	runWith(t, nil, "", "completion", "csh").check(t, 2, "", "tacacs_plus: no completion for the shell \"csh\""+hint)
	runWith(t, nil, "", "completion", "bash", "zsh").check(t, 2, "", "tacacs_plus: unexpected argument \"zsh\"\n")
}

// manPages are the pages by the name of their command, with their sections.
var manPages = map[string]string{
	"":       `NAME, SYNOPSIS, DESCRIPTION, COMMANDS, OPTIONS, OUTPUT, BATCH, MONITORING, SESSIONS, EXIT STATUS, ENVIRONMENT, FILES, EXAMPLES, SECURITY, STANDARDS, SEE ALSO`,
	"relay":  `NAME, SYNOPSIS, DESCRIPTION, OPTIONS, OUTPUT, EXIT STATUS, ENVIRONMENT, EXAMPLES, SEE ALSO`,
	"decode": `NAME, SYNOPSIS, DESCRIPTION, OPTIONS, OUTPUT, EXIT STATUS, ENVIRONMENT, EXAMPLES, SEE ALSO`,
}

// manMacro is a line with one of the macros of man(7) that the pages may use.
var manMacro = pattern(`^\.(TH|SH|SS|TP|PP|B|I|BI|BR|IR|RB|RS|RE|nf|fi)( |$)`)

// TestManSources: each source is the page of a command, and each page has its title and sections.
func TestManSources(t *testing.T) {
	t.Parallel()
	entries, err := manSources.ReadDir("docs/man")
	if err != nil || len(entries) != len(manPages) {
		t.Errorf("got %d sources and %v, want %d", len(entries), err, len(manPages))
	}
	for command, sections := range manPages {
		page, name := manPage(commands, command, build{Version: "v1.2.3", Date: "2026-11-24"}), "TACACS_PLUS"
		if command != "" {
			name += `\-` + strings.ToUpper(command)
		}
		if want := ".TH " + name + ` 1 "2026-11-24" "tacacs_plus v1.2.3" "User Commands"` + "\n.SH NAME\n" + strings.ToLower(name) + ` \- `; !strings.HasPrefix(page, want) {
			t.Errorf("got %.120q, want %q", page, want)
		}
		var got []string
		for line := range strings.Lines(page) {
			if section, ok := strings.CutPrefix(line, ".SH "); ok {
				got = append(got, strings.Trim(section, "\"\n"))
			}
		}
		equal(t, strings.Join(got, ", "), sections, name, "the sections")
		if other := manPage(commands, command, build{Version: "v1.2.3", Date: "2026-11-24"}); other != page {
			t.Errorf("%s: two runs give different pages", name)
		}
	}
}

// TestManLines: no line of a page is wrong in the language of man(7), or looks different on a terminal. Dots and quotes
// that begin a line of text would make it a macro.
func TestManLines(t *testing.T) {
	t.Parallel()
	for command := range manPages {
		inExample := false
		for line := range strings.Lines(manPage(commands, command, build{Version: "v1.2.3"})) {
			line = strings.TrimSuffix(line, "\n")
			inExample = line == ".nf" || inExample && line != ".fi"
			switch {
			case strings.HasPrefix(line, ".") && !manMacro().MatchString(line):
				t.Errorf("not a macro: %q", line)
			case line == "" || strings.HasSuffix(line, " ") || strings.HasPrefix(line, " ") && !inExample:
				t.Errorf("blanks: %q", line)
			case len(line) > helpWidth && !inExample:
				t.Errorf("%d bytes: %q", len(line), line)
			case strings.ContainsAny(line, "'^`~"):
				t.Errorf("characters that terminals show differently: %q", line)
			case regexp.MustCompile(`(^|[^\\])--|[^ -~]`).MatchString(line):
				t.Errorf("not escaped: %q", line)
			}
		}
	}
}

// printedPages returns the man pages by command.
var printedPages = sync.OnceValue(func() map[string]string {
	pages := make(map[string]string)
	for command := range manPages {
		pages[command] = manPage(commands, command, build{})
	}
	return pages
})

// manText returns a section of a page as plain text on one line, with its macros.
func manText(t *testing.T, command, section string) string {
	t.Helper()
	_, after, found := strings.Cut(printedPages()[command], "\n.SH "+section+"\n")
	if !found {
		t.Fatalf("the page of %q has no section %s", command, section)
	}
	text, _, _ := strings.Cut(after, "\n.SH ")
	text = strings.NewReplacer(`\fB`, "", `\fI`, "", `\fR`, "", `\-`, "-", `\(aq`, "'", `\(dq`, `"`, `\(ha`, "^", `\(ti`, "~", `\e`, `\`, `\&`, "").Replace(text)
	return strings.Join(strings.Fields(text), " ") + " .SH"
}

// TestManOptions: each option is in a page with its names and its text: an own one below its command or in the page of
// that, a shared one in the main page and in the pages of the commands that take it.
func TestManOptions(t *testing.T) {
	t.Parallel()
	has := func(where, text string, options []option) {
		t.Helper()
		for _, o := range options {
			words := strings.Fields(o.help)
			if strings.HasSuffix(o.help, ":") {
				words = append(words, strings.Fields(strings.Join(o.choices(), ", "))...)
			}
			want := " .TP " + strings.TrimSpace(strings.Join(o.dashed(), ", ")+" "+o.arg) + " " + strings.Join(words, " ") + " ."
			if !strings.Contains(" "+text, want) {
				t.Errorf("%s has not %q", where, want)
			}
		}
	}
	has("OPTIONS", manText(t, "", "OPTIONS"), sharedOptions())
	text := manText(t, "", "COMMANDS")
	for _, c := range commands {
		head := strings.TrimSpace(c.name + " " + c.words())
		if strings.Contains(head, " ") {
			head = `"` + head + `"`
		}
		_, own, found := strings.Cut(" "+text, " .SS "+head+" "+c.summary+" ")
		if !found {
			t.Errorf("%s is not in the page", c.name)
		}
		own, _, _ = strings.Cut(own, ".SS ")
		if _, page := manPages[c.name]; !page {
			special := slices.DeleteFunc(c.sharedOptions(), func(o option) bool { _, _, special := o.meaning(c.name); return !special })
			has(c.name, own+".SH", slices.Concat(c.ownOptions().options, special))
			continue
		}
		if want := ".PP Its options are in .BR tacacs_plus-" + c.name + " (1). "; own != want {
			t.Errorf("%s: got %q, want %q", c.name, own, want)
		}
		options := slices.Concat(c.ownOptions().options, c.sharedOptions())
		own = manText(t, c.name, "OPTIONS")
		has("tacacs_plus-"+c.name, own, options)
		equal(t, strings.Count(own, ".TP"), len(options), c.name)
	}
}

// TestManExamples: the main page has the examples of all commands, and the others those of their own.
func TestManExamples(t *testing.T) {
	t.Parallel()
	for _, c := range commands {
		for i := range c.examples {
			want := "\n.RS\n.nf\n" + inRoff(c.example(i)) + "\n.fi\n.RE\n"
			for command, page := range printedPages() {
				if got := strings.Contains(page, want); got != (command == "" || command == c.name) {
					t.Errorf("%q is in the page of %q: %v", c.example(i), command, got)
				}
			}
		}
	}
}

// jsonNames returns the names in JSON of the fields of a type, and of what is in them but the types around it.
func jsonNames(t reflect.Type, around ...reflect.Type) (names []string) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || slices.Contains(around, t) {
		return nil
	}
	for i := range t.NumField() {
		field := t.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "-" || name == "" && !field.Anonymous {
			continue
		}
		if name != "" {
			names = append(names, name)
		}
		names = append(names, jsonNames(field.Type, append(around, t)...)...)
	}
	return names
}

// TestManFields: a page has every field of JSON, every metric, every status of a session and every exit code.
func TestManFields(t *testing.T) {
	t.Parallel()
	in := func(where, text string, names ...string) {
		t.Helper()
		for _, name := range names {
			if name == "" || !regexp.MustCompile(`\.(B|BR|RB)( [^.]*)? "?`+regexp.QuoteMeta(name)+`\b`).MatchString(text) {
				t.Errorf("%q is not in %s", name, where)
			}
		}
	}
	has := func(command, section string, names ...string) {
		t.Helper()
		in(section+" of the page of "+command, manText(t, command, section), names...)
	}
	request, results, _ := strings.Cut(manText(t, "", "BATCH"), ".SS Fields of a result ")
	in("the fields of a request", request, jsonNames(reflect.TypeFor[batchRequest]())...)
	in("the fields of a result", results, "line", "id", "expect", "as_expected")
	if got := jsonNames(reflect.TypeFor[batchResult]()); !slices.Equal(got[:2], []string{"line", "id"}) || !slices.Equal(got[len(got)-2:], []string{"expect", "as_expected"}) {
		t.Errorf("batch has other fields: %q", got)
	}
	has("", "OUTPUT", jsonNames(reflect.TypeFor[result]())...)
	has("decode", "OUTPUT", jsonNames(reflect.TypeFor[recordObject]())...)
	has("decode", "OUTPUT", jsonNames(reflect.TypeFor[decodeReport]())...)
	has("decode", "OUTPUT", statusNoReply, statusNoKey, statusAbandoned, statusAbort, statusCut, statusMalformed, statusViolation,
		statusReset, statusRefused)
	check := reflect.TypeFor[serverCheck]()
	for i := range check.NumField() {
		if name, _, _ := strings.Cut(check.Field(i).Tag.Get("json"), ","); name != "" && name != "-" {
			has("", "MONITORING", name)
		}
	}
	for _, m := range checkMetrics {
		has("", "MONITORING", m.name)
	}
	for state, name := range []string{"OK", "WARNING", "CRITICAL", "UNKNOWN"} {
		has("", "MONITORING", strconv.Itoa(state)+" "+name)
	}
	for c := range classInterrupted {
		has("", "EXIT STATUS", strconv.Itoa(int(c.exit())))
	}
	for _, code := range []exitCode{exitUnrecorded, exitCannotRun, exitNotFound} {
		has("", "EXIT STATUS", strconv.Itoa(int(code)))
	}
	has("", "ENVIRONMENT", "TACACS_PLUS_KEY", "TACACS_PLUS_PWD", "XDG_CONFIG_HOME")
}

// TestManStatuses: the pages have the statuses of RFC 8907.
func TestManStatuses(t *testing.T) {
	t.Parallel()
	for _, text := range []string{manText(t, "", "OUTPUT"), manText(t, "decode", "OUTPUT")} {
		for _, statuses := range [][]status{
			{authenPass, authenFail, authenError, authenFollow, authenRestart},
			{authorPassAdd, authorPassRepl, authorFail, authorError, authorFollow},
			{acctSuccess, acctError, acctFollow},
		} {
			for _, s := range statuses {
				if !regexp.MustCompile(`\b` + s.String() + `\b`).MatchString(text) {
					t.Errorf("%s is not in the page", s)
				}
			}
		}
	}
}

// TestManDate: the date is that of the commit, or that of the text if the build has none.
func TestManDate(t *testing.T) {
	t.Parallel()
	for command := range manPages {
		for _, test := range []struct {
			b    build
			want string
		}{
			{build{Version: "v1.2.3", Date: "2031-02-03"}, `^"2031-02-03" "tacacs_plus v1\.2\.3" "User Commands"$`},
			{build{Version: "v1.2.3-4-g0a1b"}, `^"20[0-9]{2}-[0-9]{2}-[0-9]{2}" "tacacs_plus v1\.2\.3\\-4\\-g0a1b" "User Commands"$`},
		} {
			title, _, _ := strings.Cut(manPage(commands, command, test.b), "\n")
			if _, title, _ = strings.Cut(title, " 1 "); !regexp.MustCompile(test.want).MatchString(title) {
				t.Errorf("got %s, want %s", title, test.want)
			}
		}
	}
}

func TestManRoff(t *testing.T) {
	t.Parallel()
	m := new(roff)
	m.prose(`a 'b' --c \d ^e` + strings.Repeat(" xxxxxxxxx", 6) + " .so file")
	m.macro("B", `say "x-y"`, "", "z")
	m.example("a ~b`")
	want := `a \(aqb\(aq \-\-c \ed \(hae` + strings.Repeat(" xxxxxxxxx", 5) + "\nxxxxxxxxx .so file\n" +
		`.B "say \(dqx\-y\(dq" "" z` + "\n.RS\n.nf\na \\(tib\\(ga\n.fi\n.RE\n.PP\n"
	equal(t, m.b.String(), want)
	m = new(roff)
	m.prose(strings.Repeat("x", helpWidth-4) + " .so")
	if got := m.b.String(); !strings.HasSuffix(got, "x\n\\&.so\n") {
		t.Errorf("got %q", got)
	}
}

// TestManHelp: help --man prints the page of this build, and help --man COMMAND that of a command that has one.
func TestManHelp(t *testing.T) {
	t.Parallel()
	for command := range manPages {
		args := append([]string{"help", "--man"}, strings.Fields(command)...)
		if got := runWith(t, nil, "", args...); got.code != 0 || got.err != "" || got.out != manPage(commands, command, thisBuild()) {
			t.Errorf("%s: got %d %.100q %s", command, int(got.code), got.out, got.err)
		}
	}
	const hint = "tacacs_plus: hint: tacacs_plus help --man is the page of all commands; relay and decode have pages of their own\n"
	runWith(t, nil, "", "help", "--man", "authenticate").check(t, 2, "", "tacacs_plus: authenticate has no man page of its own\n"+hint)
	runWith(t, nil, "", "help", "--man", "relays").check(t, 2, "", "tacacs_plus: unknown command \"relays\"\ntacacs_plus: hint: did you mean relay\\?\n")
	runWith(t, nil, "", "help", "--man", "relay", "decode").check(t, 2, "", "tacacs_plus: unexpected argument \"decode\"\n")
}
