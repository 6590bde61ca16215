package main

import (
	"regexp"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
)

// TestManPage: the page has the sections of man-pages(7), in their order, and all commands and options.
func TestManPage(t *testing.T) {
	t.Parallel()
	page := manPage(commands, build{Version: "v1.2.3", Date: "2026-11-24"})
	if want := ".TH TACACS_PLUS 1 \"2026-11-24\" \"tacacs_plus v1.2.3\" \"User Commands\"\n.SH NAME\ntacacs_plus \\- "; !strings.HasPrefix(page, want) {
		t.Errorf("got %.100q, want %q", page, want)
	}
	var sections []string
	for line := range strings.Lines(page) {
		line = strings.TrimSuffix(line, "\n")
		if name, ok := strings.CutPrefix(line, ".SH "); ok {
			sections = append(sections, name)
		}
		if strings.HasPrefix(line, ".") && !regexp.MustCompile(`^\.(TH|SH|SS|TP|PP|B|I|BI|BR|IR|RS|RE|nf|fi)( |$)`).MatchString(line) {
			t.Errorf("no macro: %s", line)
		}
		if len(line) > helpWidth && !strings.HasPrefix(line, "tacacs_plus ") || line == "" || strings.HasSuffix(line, " ") {
			t.Errorf("%d bytes: %q", len(line), line)
		}
		if strings.ContainsAny(line, "'^`~") {
			t.Errorf("what terminals show otherwise: %q", line)
		}
	}
	if got, want := strings.Join(sections, ", "), `NAME, SYNOPSIS, DESCRIPTION, COMMANDS, OPTIONS, ENVIRONMENT, FILES, "EXIT STATUS", EXAMPLES, SECURITY, STANDARDS`; got != want {
		t.Errorf("got the sections %s, want %s", got, want)
	}
	between := func(from, to string) string {
		_, after, _ := strings.Cut(page, "\n.SH "+from+"\n")
		text, _, _ := strings.Cut(after, "\n.SH "+to+"\n")
		return "\n" + text + "\n"
	}
	options := func(text, names string) {
		for name := range strings.FieldsSeq(names) {
			if len(name) > 1 {
				name = "-" + name
			}
			if !strings.Contains(text, `\fB`+inRoff("-"+name)+`\fR`) {
				t.Errorf("-%s is not in the page", name)
			}
		}
	}
	inCommands, examples := between("COMMANDS", "OPTIONS"), between("EXAMPLES", "SECURITY")
	for _, c := range commands {
		head := new(roff)
		head.macro("SS", strings.TrimSpace(c.name+" "+c.words()))
		_, text, found := strings.Cut(inCommands, "\n"+head.b.String())
		if !found {
			t.Errorf("%s is not in the page", c.name)
		}
		text, _, _ = strings.Cut(text, "\n.SS ")
		options(text, ownOptions[c.name])
		for i := range c.examples {
			if !strings.Contains(examples, "\n"+inRoff(c.example(i))+"\n") {
				t.Errorf("%s is not among the examples", c.example(i))
			}
		}
	}
	options(between("OPTIONS", "ENVIRONMENT"), sharedNames)
	for c := range classInterrupted {
		if !strings.Contains(between(`"EXIT STATUS"`, "EXAMPLES"), ".B "+strconv.Itoa(int(c.exit()))+"\n") {
			t.Errorf("exit code %d is not in the page", int(c.exit()))
		}
	}
	for _, part := range []string{
		"\n.SH SYNOPSIS\n.B tacacs_plus\n[\\fIOPTION\\fR...] \\fICOMMAND\\fR ",
		"\n.SH DESCRIPTION\nAsks a TACACS+ server what a network device would ask it: ",
		"\n.SS \"authenticate USER HOST\"\ndoes this password log in?\n.TP\n\\fB\\-\\-chap\\-id\\fR \\fIN\\fR\nid of the CHAP challenge (default random)\n.TP\n",
		"\n.TP\n\\fB\\-s\\fR, \\fB\\-\\-service\\fR \\fISERVICE\\fR\nservice (default login): none, login, ppp, ",
		"\n.TP\n.B 3\nthe server answered ERROR, or with an empty body\n.TP\n",
	} {
		if !strings.Contains(page, part) {
			t.Errorf("the page has no %q", part)
		}
	}
	if other := manPage(commands, build{Version: "v1.2.3", Date: "2026-11-24"}); other != page {
		t.Error("made twice, it differs")
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

// TestManOfBuild: help --man prints the page of this build.
func TestManOfBuild(t *testing.T) {
	t.Parallel()
	got := runWith(t, nil, "", "help", "--man")
	if got.code != 0 || got.err != "" || !strings.HasPrefix(got.out, ".TH TACACS_PLUS 1 ") || !strings.HasSuffix(got.out, "\n") {
		t.Errorf("got %d %.100q %s", int(got.code), got.out, got.err)
	}
	runWith(t, nil, "", "help", "--man", "authenticate").check(t, 2, "", "tacacs_plus: unexpected argument \"authenticate\"\n")
}

// TestVersionBuild: a build has the day of its commit, if there is one.
func TestVersionBuild(t *testing.T) {
	t.Parallel()
	info := &debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}, Settings: []debug.BuildSetting{{Key: "vcs", Value: "git"}}}
	if b := buildOf(info); b.Version != "v1.2.3" || b.Date != "" {
		t.Errorf("got %+v", b)
	}
	info.Settings = append(info.Settings, debug.BuildSetting{Key: "vcs.time", Value: "2026-11-24T16:00:00Z"}, debug.BuildSetting{Key: "vcs.modified", Value: "false"})
	if b := buildOf(info); b.Version != "v1.2.3" || b.Date != "2026-11-24" {
		t.Errorf("got %+v", b)
	}
}
