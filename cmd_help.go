package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// No line of the help is wider than helpWidth; the help of an option begins at column optionColumn.
const (
	helpWidth    = 80
	optionColumn = 27
)

// mainHelp is the help of the whole program.
func mainHelp(table []command) string {
	var b strings.Builder
	b.WriteString("Ask a TACACS+ server: authentication, authorization, accounting (RFC 8907).\n\n")
	for _, name := range []string{"authenticate", "authorize", "account", "check"} {
		if c, err := findCommand(table, name, ""); err == nil {
			b.WriteString("    " + c.example(0) + "\n")
		}
	}
	b.WriteString(`
Usage: tacacs_plus [OPTION...] COMMAND [OPTION...] [USER] [HOST] [ARGUMENT...]

HOST is one server or several with commas, each name, name:port or [IPv6]:port;
the next one is asked after a failure, never after a denial.

@NAME stands for the options in the file ~/.config/tacacs_plus/NAME, or in NAME
if it has a slash; what the command line has counts more. An example of one:
    host tac1,tac2
    tls
    cacert ca.pem
    cert me.pem

Commands (tacacs_plus help COMMAND tells more):
`)
	for _, c := range table {
		fmt.Fprintf(&b, "  %-12s %-18s  %s\n", c.name, c.words, c.summary)
	}
	b.WriteString("\nOptions of every command that talks to a server:\n")
	for _, row := range sharedRows() {
		b.WriteString(row.describe())
	}
	b.WriteString(`
The key and the password come from an option, a file, standard input, the
environment (TACACS_PLUS_KEY, TACACS_PLUS_PWD), or the person at the terminal,
in this order.

Exit codes: 0 granted, 1 denied, 2 usage, 3 the server answered ERROR,
4 network, 5 protocol (a wrong key), 6 TLS, 128+N interrupted by signal N
(130 is Ctrl-C).
`)
	return b.String()
}

// commandHelp is the help of one command: how it is called, its own options, and the names of those
// that it shares with others.
func commandHelp(c command) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n\nUsage: %s\n", c.name, c.summary, strings.TrimSpace("tacacs_plus [OPTION...] "+c.name+" "+c.words))
	for i := range c.examples {
		b.WriteString("    " + c.example(i) + "\n")
	}
	own := newOptionSet()
	c.setup(own)
	if len(own.rows) > 0 {
		b.WriteString("\nOptions of this command:\n")
	}
	for _, row := range own.rows {
		b.WriteString(row.describe())
	}
	var shared []string
	for _, row := range sharedRows() {
		if c.takes(row) {
			shared = append(shared, strings.Join(row.dashed(), "/"))
		}
	}
	if shared != nil {
		b.WriteString("\nOptions that it shares with others (tacacs_plus help explains them):\n")
	}
	for _, line := range wrap(shared, helpWidth-2) {
		b.WriteString("  " + line + "\n")
	}
	return b.String()
}

// example is one of the command's examples as a person types it.
func (c command) example(i int) string {
	return strings.TrimSpace("tacacs_plus " + c.name + " " + c.examples[i])
}

// sharedRows are the options that all commands share.
func sharedRows() []optionRow {
	shared := newOptionSet()
	new(invocation).register(shared)
	return shared.rows
}

// dashed are the names of the option as a person types them.
func (r optionRow) dashed() (names []string) {
	for name := range strings.FieldsSeq(r.names) {
		if len(name) > 1 {
			name = "-" + name
		}
		names = append(names, "-"+name)
	}
	return names
}

// choices are the words of which the option's value is one; nil where it is another kind of value.
func (r optionRow) choices() []string {
	if e, ok := r.value.(enumeration); ok {
		return e.known()
	}
	return nil
}

// describe is the help of one option: its names, then what it is for, beside or below them. A text
// that ends with a colon goes on with the choices.
func (r optionRow) describe() string {
	left := strings.TrimSpace("  " + strings.Join(r.dashed(), ", ") + " " + r.arg)
	words := strings.Fields(r.help)
	if strings.HasSuffix(r.help, ":") {
		words = slices.Concat(words, r.choices())
	}
	text := ""
	for i, line := range wrap(words, helpWidth-optionColumn) {
		switch {
		case i > 0:
			left = ""
		case len(left) > optionColumn-3:
			text, left = "  "+left+"\n", ""
		}
		text += fmt.Sprintf("  %-*s%s\n", optionColumn-2, left, line)
	}
	return text
}

// wrap makes lines of words.
func wrap(words []string, width int) (lines []string) {
	for _, w := range words {
		if last := len(lines) - 1; last >= 0 && len(lines[last])+1+len(w) <= width {
			lines[last] += " " + w
		} else {
			lines = append(lines, w)
		}
	}
	return lines
}

// newHelp is the command help.
func newHelp(o *optionSet) action {
	var man bool
	o.add((*toggle)(&man), "man", "", "print the manual page, for man")
	return func(_ context.Context, inv *invocation) (output, error) {
		switch n := len(inv.words); {
		case n == 0 && man:
			built := thisBuild()
			return &page{text: manPage(commands(), built.Version, built.Date)}, nil
		case n == 0:
			return &page{text: mainHelp(commands())}, nil
		case n == 1 && !man:
			about, err := findCommand(commands(), inv.words[0], hintList)
			if err != nil {
				return nil, err
			}
			return &page{text: commandHelp(about)}, nil
		}
		return nil, failf(classUsage, "unexpected argument \"%s\"", escape(inv.words[len(inv.words)-1]))
	}
}
