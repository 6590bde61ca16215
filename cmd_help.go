package main

import (
	"context"
	"fmt"
	"strings"
)

// optionColumn is where the text about an option begins.
const optionColumn = 27

// mainHelp returns the help of the whole program.
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
the next one is tried after a failure, never after a denial.

@NAME reads options from the file ~/.config/tacacs_plus/NAME, or else
/etc/tacacs_plus/NAME; a NAME with a slash is a path. Options on the command
line override them. An example of a file:
    host tac1,tac2
    tls
    cacert ca.pem
    cert me.pem

Commands (tacacs_plus help COMMAND has the details):
`)
	for i := range table {
		c := &table[i]
		fmt.Fprintf(&b, "  %-12s %-18s  %s\n", c.name, c.words(), c.summary)
	}
	describeAll(&b, "Options of every command that uses a server", sharedOptions())
	b.WriteString(`
The key and the password come from an option, a file, standard input, the
environment (TACACS_PLUS_KEY, TACACS_PLUS_PWD), or a prompt on the terminal, in
this order.

Exit codes: 0 granted, 1 denied, 2 usage, 3 the server answered ERROR,
4 network, 5 protocol (a wrong key), 6 TLS, 128+N interrupted by signal N
(130 is Ctrl-C).
`)
	return b.String()
}

// commandHelp returns the help of one command: its usage, its own options, and those that it shares with others.
func commandHelp(c *command) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n\nUsage: %s\n", c.name, c.summary, strings.TrimSpace("tacacs_plus [OPTION...] "+c.name+" "+c.words()))
	for i := range c.examples {
		b.WriteString("    " + c.example(i) + "\n")
	}
	describeAll(&b, "Options of this command", c.ownOptions().options)
	describeAll(&b, "Options that it shares with other commands", c.sharedOptions())
	return b.String()
}

// describeAll writes the help of options, if there are any, below a heading.
func describeAll(b *strings.Builder, heading string, options []option) {
	for i := range options {
		if i == 0 {
			b.WriteString("\n" + heading + ":\n")
		}
		b.WriteString(describe(&options[i]))
	}
}

// describe returns the help of an option: its names, then its text, beside or below them.
func describe(o *option) string {
	left := strings.TrimSpace("  " + strings.Join(o.dashed(), ", ") + " " + o.arg)
	words := strings.Fields(o.help)
	if strings.HasSuffix(o.help, ":") {
		words = append(words, o.choices()...)
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

// newHelp sets up the command help.
func newHelp(o *optionSet) action {
	var man bool
	o.add((*toggle)(&man), "man", "", "print the manual page; relay and decode have their own")
	return func(_ context.Context, inv *invocation) (output, error) {
		about := new(command)
		switch n := len(inv.words); {
		case n > 1:
			return nil, failf(classUsage, "unexpected argument \"%s\"", escape(inv.words[1]))
		case n == 1 && !man && inv.words[0] == "devices":
			return &page{text: presetHelp()}, nil
		case n == 1:
			var err error
			if about, err = findCommand(inv.table, inv.words[0], hintList); err != nil {
				return nil, err
			}
		}
		switch {
		case man && manSource(about.name) == "":
			return nil, failf(classUsage, "%s has no man page of its own", about.name).withHint(hintMan)
		case man:
			return &page{text: manPage(inv.table, about.name, thisBuild())}, nil
		case about.name == "":
			return &page{text: mainHelp(inv.table)}, nil
		}
		return &page{text: commandHelp(about)}, nil
	}
}

const hintMan = "tacacs_plus help --man is the page of all commands; relay and decode have pages of their own"
