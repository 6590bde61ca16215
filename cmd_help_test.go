package main

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// TestHelpInReadme: the README has the help verbatim.
func TestHelpInReadme(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(readme), "```\n"+mainHelp(commands)+"```\n") {
		t.Error("the README does not hold the text of tacacs_plus help")
	}
}

// ownOptions are the options that a command has of its own.
var ownOptions = map[string]string{
	"authenticate": "chap-id chap-challenge answer all",
	"enable":       "chap-id chap-challenge answer all",
	"chpass":       "answer new-password-file new-password-stdin",
	"authorize":    "c cmds cmd method require cmd-file all",
	"account":      "c cmds cmd method f task-id exec",
	"check":        "types negative nagios warn crit cert-days prometheus output interval count",
	"batch":        "c concurrency",
	"help":         "man",
	"decode":       "key-list summary",
	"relay":        "listen device-key-file listen-tls listen-cert listen-cert-key client-ca record",
	"serve":        "listen user users-file enable-password-file permit deny arg must-change reply-delay client-ca write-cacert fault",
}

const sharedNames = "u username H host p port k key key-file password password-file password-stdin t authen-type l priv-lvl " +
	"r rem-addr P virtual-port s service timeout retries 4 6 source interface single-connect unencrypted " +
	"tls cacert cert cert-key servername crl insecure keylog q quiet v verbose d debug json show-secrets"

// sharedOf returns the shared options that a command takes, and some that it rejects.
func sharedOf(c command) (takes, refuses string) {
	const output = " q quiet v verbose d debug json show-secrets"
	switch {
	case c.name == "relay":
		return "H host p port k key key-file timeout retries 4 6 source interface single-connect unencrypted tls cacert cert cert-key " +
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

// checkHelp checks that a help has all the options.
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
		if got := runWith(t, nil, "", args...); got != whole {
			t.Errorf("%s: %+v", args, got)
		}
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
		takes, refuses := sharedOf(c)
		if checkHelp(t, one.out, takes); takes == "" && strings.Contains(one.out, "\nOptions that it shares with others") {
			t.Errorf("help %s has options of others:\n%s", c.name, one.out)
		}
		for name := range strings.FieldsSeq(refuses) {
			if strings.Contains(one.out, "--"+name) {
				t.Errorf("help %s has --%s, which is not for it", c.name, name)
			}
		}
		for _, args := range [][]string{{c.name, "--help"}, {"-h", c.name}, {c.name, "alice", "tac1", "-h", "--json"}} {
			if got := runWith(t, nil, "", args...); got != one {
				t.Errorf("%s: %+v", args, got)
			}
		}
	}
	if got := runWith(t, nil, "", "version"); got.code != classGranted.exit() || got.err != "" || !strings.HasPrefix(got.out, "tacacs_plus ") || strings.Count(got.out, "\n") != 1 {
		t.Errorf("version: %+v", got)
	}
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
				t.Errorf("help %s: %d columns, or blanks at the end: %q", name, len(line)-1, line)
			}
		}
	}
	o := option{short: "o", long: "option-of-many-letters", arg: "VALUE", help: strings.Repeat("word ", 12) + "end"}
	blanks := strings.Repeat(" ", optionColumn)
	if got, want := describe(&o), "  -o, --option-of-many-letters VALUE\n"+blanks+strings.TrimSpace(strings.Repeat("word ", 10))+"\n"+blanks+"word word end\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	name := strings.Repeat("x", optionColumn-5) // with its dashes and a blank, all of the column
	for name, want := range map[string]string{
		name:       "  --" + name + " for\n",
		name + "x": "  --" + name + "x\n" + blanks + "for\n",
	} {
		if got := describe(&option{long: name, help: "for"}); got != want {
			t.Errorf("got\n%swant\n%s", got, want)
		}
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
					t.Errorf("%s: --%s does not take %s: %v", c.name, o.long, word, err)
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
			t.Errorf("%s is one of %q, not of %q", names, found[names], want)
		}
	}
	if !strings.HasPrefix(found["fault"], "help noecho-pass getuser ") {
		t.Errorf("the faults are %q", found["fault"])
	}
}
