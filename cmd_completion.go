package main

import (
	"context"
	"embed"
	"fmt"
	"strings"
)

// The scripts hold no options. At every Tab they run tacacs_plus completion -- WORD... to complete the
// last word. So all shells use the option tables of the program that will run.
//
//go:embed completion/*
var completionFiles embed.FS

// completionScripts are the files with the scripts of the shells.
var completionScripts = [...]struct{ shell, file string }{{"bash", "tacacs_plus.bash"}, {"fish", "tacacs_plus.fish"}, {"zsh", "_tacacs_plus"}}

// newCompletion is the command completion: it prints a shell's script, or the completions of a word.
func newCompletion(*optionSet) action {
	return func(_ context.Context, inv *invocation) (output, error) {
		if len(inv.tail) > 0 {
			return &page{text: completions(inv)}, nil
		}
		if len(inv.words) == 0 {
			return nil, failf(classUsage, "the shell is missing").withHint("one of bash, zsh, fish")
		}
		for _, c := range completionScripts {
			switch {
			case c.shell != inv.words[0]:
			case len(inv.words) > 1:
				return nil, failf(classUsage, "unexpected argument \"%s\"", escape(inv.words[1]))
			default:
				script, _ := completionFiles.ReadFile("completion/" + c.file) // never fails
				return &page{text: string(script)}, nil
			}
		}
		return nil, failf(classUsage, "no completion for the shell \"%s\"", escape(inv.words[0])).withHint("one of bash, zsh, fish")
	}
}

// completions returns the completions of the last word after --, one a line: the word, a tab and its
// description. The line FILE means file names; after its tab is the part of the word before the name.
func completions(inv *invocation) string {
	c := &completer{inv: newInvocation(inv.table, inv.std)}
	last := len(inv.tail) - 1
	for _, word := range inv.tail[:last] {
		c.read(word)
	}
	c.word = inv.tail[last]
	c.offerAll()
	return c.text.String()
}

// A completer reads an unfinished command line. It follows the grammar of parse, but ignores mistakes.
type completer struct {
	inv     *invocation
	option  *option // takes the next word as its value
	endOpts bool    // after --
	word    string  // to be completed
	text    strings.Builder
}

// read reads a word before the last one.
func (c *completer) read(word string) {
	switch {
	case c.endOpts:
	case c.option != nil:
		c.option = nil
	case word == "--":
		c.endOpts = true
	case strings.HasPrefix(word, "-"):
		if row, hasValue := c.findOption(word); row != nil && !hasValue && !isToggle(row.value) {
			c.option = row
		}
	case c.inv.action == nil:
		_ = c.inv.setCommand(word) // fails for @NAME, which is no command
	}
}

// findOption returns the option that the word names, and whether its value is attached by "=".
func (c *completer) findOption(word string) (row *option, hasValue bool) {
	name, _, hasValue := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(word, "-"), "-"), "=")
	return c.inv.options.find(name), hasValue
}

// offerAll writes the completions of the last word.
func (c *completer) offerAll() {
	command := &c.inv.command
	row, hasValue := c.findOption(c.word)
	switch {
	case c.endOpts:
		if command.child != "" || command.readsFiles() {
			c.offerFiles("")
		}
	case c.option != nil:
		c.offerValues(c.option, "")
	case strings.HasPrefix(c.word, "-") && hasValue && row != nil:
		name, _, _ := strings.Cut(c.word, "=")
		c.offerValues(row, name+"=")
	case strings.HasPrefix(c.word, "-"):
		c.offerOptions()
	case strings.HasPrefix(c.word, "@") && strings.Contains(c.word, "/"):
		c.offerFiles("@")
	case strings.HasPrefix(c.word, "@"):
		for _, name := range profileNames(c.inv.std.env) {
			c.offer("@"+name, "profile")
		}
	case c.inv.action == nil, command.name == "help":
		for i := range c.inv.table {
			c.offer(c.inv.table[i].name, c.inv.table[i].summary)
		}
		if command.name == "help" {
			c.offer("devices", "what --as sends")
		}
	case command.name == "completion":
		for _, script := range completionScripts {
			c.offer(script.shell, "")
		}
	case command.readsFiles():
		c.offerFiles("")
	}
}

// offer writes a completion if it begins with the word.
func (c *completer) offer(completion, description string) {
	if strings.HasPrefix(completion, c.word) {
		fmt.Fprintf(&c.text, "%s\t%s\n", escape(completion), description)
	}
}

// offerFiles writes the line for file names after a prefix.
func (c *completer) offerFiles(prefix string) { c.text.WriteString("FILE\t" + prefix + "\n") }

// offerOptions writes the command's options by their long names.
func (c *completer) offerOptions() {
	for i := range c.inv.options.options {
		if row := &c.inv.options.options[i]; c.inv.action == nil || c.inv.command.accepts(row) {
			names := row.dashed()
			_, help, _ := row.meaning(c.inv.command.name)
			if end := strings.IndexAny(help, ";:("); end >= 0 {
				help = help[:end]
			}
			for i, name := range names {
				if i == len(names)-1 || strings.HasPrefix(name, "--") {
					c.offer(name, strings.TrimSpace(help))
				}
			}
		}
	}
}

// offerValues writes the values of an option, each after the prefix.
func (c *completer) offerValues(row *option, prefix string) {
	if row.arg == "FILE" {
		value := strings.TrimPrefix(c.word, prefix)
		_, file, _ := cutPrefix(value)
		c.offerFiles(prefix + strings.TrimSuffix(value, file))
	}
	for _, choice := range row.choices() {
		c.offer(prefix+choice, "")
	}
}
