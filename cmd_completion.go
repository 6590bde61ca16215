package main

import (
	"context"
	"maps"
	"slices"
	"strings"
)

// newCompletion is the command completion: the script for a shell, or what the script asks for.
func newCompletion(*optionSet) action {
	return func(_ context.Context, inv *invocation) (output, error) {
		if len(inv.tail) > 0 {
			return &page{text: complete(inv)}, nil
		}
		if len(inv.words) == 0 {
			return nil, failf(classUsage, "the shell is missing").withHint("one of bash, zsh, fish")
		}
		script, ok := completionScripts()[inv.words[0]]
		switch {
		case !ok:
			return nil, failf(classUsage, "no completion for the shell \"%s\"", escape(inv.words[0])).withHint("one of bash, zsh, fish")
		case len(inv.words) > 1:
			return nil, failf(classUsage, "unexpected argument \"%s\"", escape(inv.words[1]))
		}
		return &page{text: script}, nil
	}
}

// complete is what may stand in place of the last word of the line that the words after -- are, one
// on a line, with its description after a tab. The line FILE stands for the names of files; the part
// of the word that goes before them is after its tab.
func complete(inv *invocation) string {
	c := &completer{inv: newInvocation(inv.table, inv.std)}
	last := len(inv.tail) - 1
	for _, word := range inv.tail[:last] {
		c.pass(word)
	}
	c.word = inv.tail[last]
	c.offerAll()
	return c.text.String()
}

// A completer reads a line that is not complete, by the grammar of parse, and forgives mistakes.
type completer struct {
	inv     *invocation
	waiting *option // the option whose value comes next
	ended   bool    // by --
	word    string  // the one to complete
	text    strings.Builder
}

// pass reads a word before the last one.
func (c *completer) pass(word string) {
	switch {
	case c.ended:
	case c.waiting != nil:
		c.waiting = nil
	case word == "--":
		c.ended = true
	case strings.HasPrefix(word, "-"):
		if row, attached := c.option(word); row != nil && !attached && !isToggle(row.value) {
			c.waiting = row
		}
	case c.inv.action == nil:
		_ = c.inv.setCommand(word) // @NAME is none
	}
}

// option is the one that the word names, and whether its value is attached.
func (c *completer) option(word string) (row *option, attached bool) {
	name, _, attached := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(word, "-"), "-"), "=")
	return c.inv.options.find(name), attached
}

// offerAll writes all that may stand in place of the word.
func (c *completer) offerAll() {
	command := c.inv.command
	row, attached := c.option(c.word)
	switch {
	case c.ended:
		if command.child != "" || strings.Contains(command.rest, "FILE") {
			c.offerFiles("")
		}
	case c.waiting != nil:
		c.offerValues(c.waiting, "")
	case strings.HasPrefix(c.word, "-") && attached && row != nil:
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
		for _, other := range c.inv.table {
			c.offer(other.name, other.summary)
		}
	case command.name == "completion":
		for _, shell := range slices.Sorted(maps.Keys(completionScripts())) {
			c.offer(shell, "")
		}
	case strings.Contains(command.rest, "FILE"):
		c.offerFiles("")
	}
}

// offer writes one thing that may stand in place of the word, if it begins like that.
func (c *completer) offer(word, description string) {
	if strings.HasPrefix(word, c.word) {
		c.text.WriteString(escape(word) + "\t" + description + "\n")
	}
}

// offerFiles says that the name of a file may stand there, after a prefix.
func (c *completer) offerFiles(prefix string) { c.text.WriteString("FILE\t" + prefix + "\n") }

// offerOptions writes the options that the command takes, each by its long name.
func (c *completer) offerOptions() {
	for i := range c.inv.options.options {
		if row := &c.inv.options.options[i]; c.inv.action == nil || c.inv.command.accepts(row) {
			names := row.dashed()
			help := row.help
			if end := strings.IndexAny(help, ";:("); end >= 0 {
				help = help[:end]
			}
			c.offer(names[len(names)-1], strings.TrimSpace(help))
		}
	}
}

// offerValues writes the values of an option, which stand after the prefix.
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

// completionScripts are the scripts of the shells. They hold no option: at every Tab they ask the program
// itself, by tacacs_plus completion -- WORD..., the last of which is to be completed. So lines are read
// in one place for all shells, by the tables of the program that will run.
func completionScripts() map[string]string {
	return map[string]string{"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion}
}

const bashCompletion = `# tacacs_plus in bash 4 or later: what Tab offers comes from the program itself.

_tacacs_plus() {
	local rest=${COMP_LINE:0:COMP_POINT} words=() word i
	# Bash cuts words at = : and @ too. What no blank parts is one word again here.
	for ((i = 0; i < COMP_CWORD; i++)); do
		if [[ $i = 0 || $rest = [[:blank:]]* ]]; then words+=(''); fi
		words[${#words[@]}-1]+=${COMP_WORDS[i]}
		rest=${rest#"${rest%%[![:blank:]]*}"}
		rest=${rest#"${COMP_WORDS[i]}"}
	done
	if [[ $rest = [[:blank:]]* ]]; then words+=(''); fi
	words[${#words[@]}-1]+=${rest#"${rest%%[![:blank:]]*}"}
	word=${words[${#words[@]}-1]}

	local offer file
	COMPREPLY=()
	while IFS=$'\t' read -r offer rest; do
		if [ "$offer" = FILE ]; then
			compopt -o filenames -o default # the latter for a quoted name
			while IFS= read -r file; do
				COMPREPLY+=("$rest$file")
			done < <(compgen -f -- "${word#"$rest"}")
		else
			COMPREPLY+=("$offer")
		fi
	done < <("${1/#~\//$HOME/}" completion -- "${words[@]:1}" 2>/dev/null)

	# Only what is behind the last cut is replaced.
	local cuts=${COMP_WORDBREAKS//[!=:@]/}
	if [ -n "$cuts" ]; then
		rest=${word%"${word##*["$cuts"]}"}
		COMPREPLY=("${COMPREPLY[@]#"$rest"}")
	fi
}

complete -F _tacacs_plus tacacs_plus
`

const zshCompletion = `#compdef tacacs_plus
# tacacs_plus in zsh: what Tab offers comes from the program itself. It can stand in a folder of $fpath
# under the name _tacacs_plus, or be sourced.

_tacacs_plus() {
	local line offer
	local -a offers
	for line in "${(@f)$("${${(Q)words[1]}/#\~\//$HOME/}" completion -- "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)}"; do
		offer=${line%%$'\t'*}
		line=${line#*$'\t'}
		if [[ $offer = FILE ]]; then
			compset -p ${#line}
			_files
			return
		elif [[ -n $offer ]]; then
			offers+=("${offer//:/\\:}:$line")
		fi
	done
	_describe tacacs_plus offers
}

if [[ $funcstack[1] = _tacacs_plus ]]; then
	_tacacs_plus "$@"
else
	compdef _tacacs_plus tacacs_plus
fi
`

const fishCompletion = `# tacacs_plus in fish: what Tab offers comes from the program itself.

function __tacacs_plus_offers
	set -l words (commandline -opc)
	set -l word (commandline -ct)
	set -l program (string replace -r '^~/' "$HOME/" -- $words[1])
	for line in ($program completion -- $words[2..-1] "$word" 2>/dev/null)
		set -l parts (string split -m 1 \t -- $line)
		if test $parts[1] = FILE
			for file in (__fish_complete_path (string sub -s (math 1 + (string length -- "$parts[2]")) -- "$word"))
				echo $parts[2]$file
			end
		else
			echo $line
		end
	end
end

complete -c tacacs_plus -f -a '(__tacacs_plus_offers)'
`
