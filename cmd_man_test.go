package main

import (
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// manPages are the pages by the name of their command, with their sections.
var manPages = map[string]string{
	"":       `NAME, SYNOPSIS, DESCRIPTION, COMMANDS, OPTIONS, OUTPUT, BATCH, MONITORING, SESSIONS, EXIT STATUS, ENVIRONMENT, FILES, EXAMPLES, SECURITY, STANDARDS, SEE ALSO`,
	"relay":  `NAME, SYNOPSIS, DESCRIPTION, OPTIONS, OUTPUT, EXIT STATUS, ENVIRONMENT, EXAMPLES, SEE ALSO`,
	"decode": `NAME, SYNOPSIS, DESCRIPTION, OPTIONS, OUTPUT, EXIT STATUS, ENVIRONMENT, EXAMPLES, SEE ALSO`,
}

// manMacro is a line with one of the macros of man(7) that the pages may use.
var manMacro = regexp.MustCompile(`^\.(TH|SH|SS|TP|PP|B|I|BI|BR|IR|RB|RS|RE|nf|fi)( |$)`)

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
		if got := strings.Join(got, ", "); got != sections {
			t.Errorf("%s: got the sections %s, want %s", name, got, sections)
		}
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
			case strings.HasPrefix(line, ".") && !manMacro.MatchString(line):
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

// manText returns a section of a page as plain text on one line, with its macros.
func manText(t *testing.T, command, section string) string {
	t.Helper()
	_, after, found := strings.Cut(manPage(commands, command, build{}), "\n.SH "+section+"\n")
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
		if got := strings.Count(own, ".TP"); got != len(options) {
			t.Errorf("tacacs_plus-%s has %d options, want %d", c.name, got, len(options))
		}
	}
}

// TestManExamples: the main page has the examples of all commands, and the others those of their own.
func TestManExamples(t *testing.T) {
	t.Parallel()
	for _, c := range commands {
		for i := range c.examples {
			want := "\n.RS\n.nf\n" + inRoff(c.example(i)) + "\n.fi\n.RE\n"
			for command := range manPages {
				page := manPage(commands, command, build{})
				if got := strings.Contains(page, want); got != (command == "" || command == c.name) {
					t.Errorf("%q is in the page of %q: %v", c.example(i), command, got)
				}
			}
		}
	}
}

// jsonNames returns the names in JSON of the fields of a type, and of what is in them.
func jsonNames(t reflect.Type) (names []string) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
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
		names = append(names, jsonNames(field.Type)...)
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
	if got := m.b.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
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
