package main

import (
	"embed"
	"strings"
)

// The hand-written part of each page, in the language of man(7). A line such as
//
//	.\" insert options relay
//
// is replaced by text that is made from the tables of the commands and their options. Other comments are left out.
//
//go:embed docs/man/*.1.in
var manSources embed.FS

// manSource returns the hand-written part of a command's page, or of the main page. It is empty for a command that has no
// page of its own.
func manSource(command string) string {
	name := "tacacs_plus"
	if command != "" {
		name += "-" + command
	}
	source, _ := manSources.ReadFile("docs/man/" + name + ".1.in") // the only error is that it does not exist
	return string(source)
}

// manPage returns the manual page of a command, or the main page without one.
func manPage(table []command, command string, b build) string {
	m := new(roff)
	for _, line := range strings.SplitAfter(manSource(command), "\n") {
		what, insert := strings.CutPrefix(line, manInsert)
		switch {
		case insert:
			m.insert(table, strings.Fields(what))
		case strings.HasPrefix(line, manComment):
		case strings.HasPrefix(line, ".TH "):
			m.title(line, b)
		default:
			m.b.WriteString(line)
		}
	}
	return m.b.String()
}

const (
	manComment = `.\"`
	manInsert  = manComment + " insert "
)

// insert writes the part of a page that a line of its source names.
func (m *roff) insert(table []command, what []string) {
	switch what[0] {
	case "commands":
		for i := range table {
			m.command(&table[i])
		}
	case "shared":
		m.options(sharedOptions())
	case "options":
		if c, err := findCommand(table, what[1], ""); err == nil {
			m.options(c.ownOptions().options)
			m.options(c.sharedOptions())
		}
	case "examples":
		for i := range table {
			c := &table[i]
			if len(what) > 1 && c.name != what[1] {
				continue
			}
			for i := range c.examples {
				m.example(c.example(i))
			}
		}
	}
}

// title writes the title line, whose quoted words are the date of the text and the name of the program. The date of the
// commit replaces that of the text; both are the same in each build of a commit.
func (m *roff) title(line string, b build) {
	words := strings.Split(line, `"`)
	if b.Date != "" {
		words[1] = b.Date // without the \- that all else has: mandoc reads no date with it
	}
	words[3] += " " + inRoff(b.Version)
	m.text(strings.Join(words, `"`))
}

// A roff builds a page in the language of man(7).
type roff struct{ b strings.Builder }

// text writes lines of roff, none wider than helpWidth.
func (m *roff) text(lines string) { m.b.WriteString(strings.TrimSpace(lines) + "\n") }

// prose writes plain text.
func (m *roff) prose(text string) {
	for _, line := range wrap(strings.Fields(inRoff(text)), helpWidth-len(notMacro)) {
		if line[0] == '.' {
			line = notMacro + line
		}
		m.b.WriteString(line + "\n")
	}
}

// macro writes a macro with its arguments, which are plain text.
func (m *roff) macro(name string, args ...string) {
	line := "." + name
	for _, arg := range args {
		arg = strings.ReplaceAll(inRoff(arg), `"`, `\(dq`)
		if strings.Contains(arg, " ") || arg == "" {
			arg = `"` + arg + `"`
		}
		line += " " + arg
	}
	m.b.WriteString(line + "\n")
}

// command writes the section of a command, with its own options and those that mean something else there, or
// a reference to its page.
func (m *roff) command(c *command) {
	m.macro("SS", strings.TrimSpace(c.name+" "+c.words()))
	m.prose(c.summary)
	if manSource(c.name) != "" {
		m.text(".PP\nIts options are in\n.BR tacacs_plus\\-" + c.name + " (1).")
		return
	}
	m.options(c.ownOptions().options)
	for _, o := range c.sharedOptions() {
		if _, _, special := o.meaning(c.name); special {
			m.option(&o)
		}
	}
}

// options writes options.
func (m *roff) options(list []option) {
	for i := range list {
		m.option(&list[i])
	}
}

// option writes an option: its names and value, then its text.
func (m *roff) option(o *option) {
	left := `\fB` + strings.ReplaceAll(inRoff(strings.Join(o.dashed(), " ")), " ", `\fR, \fB`) + `\fR`
	if o.arg != "" {
		left += ` \fI` + inRoff(o.arg) + `\fR`
	}
	m.macro("TP")
	m.text(left)
	help := o.help
	if strings.HasSuffix(help, ":") {
		help += " " + strings.Join(o.choices(), ", ")
	}
	m.prose(help)
}

// example writes a command line as an example.
func (m *roff) example(line string) {
	m.text(".RS\n.nf\n" + inRoff(line) + "\n.fi\n.RE\n.PP")
}

// inRoff escapes plain text for roff.
func inRoff(text string) string {
	return strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "^", `\(ha`, "~", `\(ti`, "`", `\(ga`).Replace(text)
}

// notMacro precedes a dot that begins a line of text.
const notMacro = `\&`
