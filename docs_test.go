package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// The limits of a page: words in a paragraph, columns in a line.
const (
	maxWords   = 60
	maxColumns = 100
)

type docKind uint8

const (
	docProse docKind = iota // also an item of a list
	docHeading
	docTable
	docCode
)

// A docBlock is a part of a page: consecutive lines of one kind, without the fences of code.
type docBlock struct {
	kind  docKind
	line  int // number of the first line
	lines []string
}

// A docPage is a text for users.
type docPage struct {
	name   string // file or command line that it comes from
	blocks []docBlock
}

// add adds a line to the last block, or begins a block.
func (p *docPage) add(kind docKind, number int, line string, fresh bool) {
	if last := len(p.blocks) - 1; !fresh && last >= 0 && p.blocks[last].kind == kind {
		p.blocks[last].lines = append(p.blocks[last].lines, line)
		return
	}
	p.blocks = append(p.blocks, docBlock{kind, number, []string{line}})
}

var (
	fenceMark = pattern("^(?:```+|~~~+)")
	listMark  = pattern(`^\s*(?:[-*+]|\d+[.)])\s+`)
)

// markdownPage reads the blocks of a page in Markdown.
func markdownPage(name, text string) docPage {
	p := docPage{name: name}
	fence, fresh, margin := "", true, 0 // margin is the column of the text of a list item
	for i, line := range strings.Split(text, "\n") {
		trimmed := strings.TrimSpace(line)
		depth := strings.Index(strings.ReplaceAll(line, "\t", "    ")+"x", (trimmed + "x")[:1])
		mark := fenceMark().FindString(trimmed)
		switch {
		case fence != "" && trimmed == fence:
			fence, fresh = "", true
			continue
		case fence != "":
			p.add(docCode, i+1, line, fresh)
		case mark != "":
			fence, fresh = mark, true
			continue
		case trimmed == "":
			fresh = true
			continue
		case depth >= margin+4 && (fresh || p.blocks[len(p.blocks)-1].kind == docCode):
			p.add(docCode, i+1, line, fresh)
		case trimmed[0] == '|':
			p.add(docTable, i+1, line, fresh)
		case trimmed[0] == '#':
			p.add(docHeading, i+1, trimmed, true)
		default:
			if item := listMark().FindString(line); item != "" {
				margin, fresh = len(item), true
			} else if fresh {
				margin = min(margin, depth)
			}
			p.add(docProse, i+1, line, fresh)
		}
		fresh = false
	}
	return p
}

// helpPage reads the blocks of a help text. Indented lines are tables or examples.
func helpPage(name, text string) docPage {
	p := docPage{name: name}
	fresh := true
	for i, line := range strings.Split(text, "\n") {
		kind := docProse
		if strings.HasPrefix(line, "  ") {
			kind = docCode
		}
		if line != "" {
			p.add(kind, i+1, line, fresh)
		}
		fresh = line == ""
	}
	return p
}

var (
	roffFont = pattern(`^\.(?:B|I|R|SM|SB|BI|BR|IB|IR|RB|RI)\s+`)
	roffText = pattern(`\\(?:f[BIRP]|&|\(..|.)`)
)

// roffPage reads the blocks of a text in the language of man(7).
func roffPage(name, text string) docPage {
	p := docPage{name: name}
	kind, fresh := docProse, true
	for i, line := range strings.Split(text, "\n") {
		macro, _, _ := strings.Cut(line, " ")
		switch macro {
		case ".nf", ".EX":
			kind, fresh = docCode, true
		case ".TS":
			kind, fresh = docTable, true
		case ".fi", ".EE", ".TE":
			kind, fresh = docProse, true
		default:
			line = roffFont().ReplaceAllString(line, "")
			if line == "" || line[0] == '.' || strings.HasPrefix(line, `'\"`) {
				fresh = true
				continue
			}
			p.add(kind, i+1, roffText().ReplaceAllStringFunc(line, plainRoff), fresh)
			fresh = false
		}
	}
	return p
}

// plainRoff returns the text of an escape sequence.
func plainRoff(escaped string) string {
	switch name := strings.TrimPrefix(escaped[1:], "("); name {
	case "e", "rs":
		return `\`
	case "aq":
		return "'"
	case "dq":
		return `"`
	case "ti":
		return "~"
	case "ha":
		return "^"
	case "ga":
		return "`"
	case "&", "fB", "fI", "fR", "fP":
		return ""
	default:
		return name
	}
}

// proseFaults returns the paragraphs and the lines of a page that are too long.
func proseFaults(p docPage) (faults []string) {
	for _, b := range p.blocks {
		if b.kind == docTable || b.kind == docCode {
			continue
		}
		words := 0
		for i, line := range b.lines {
			for word := range strings.FieldsSeq(line) {
				if strings.ContainsFunc(word, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }) {
					words++
				}
			}
			if n := utf8.RuneCountInString(line); n > maxColumns {
				faults = append(faults, fmt.Sprintf("%s:%d: %d columns", p.name, b.line+i, n))
			}
		}
		if words > maxWords {
			faults = append(faults, fmt.Sprintf("%s:%d: a paragraph of %d words", p.name, b.line, words))
		}
	}
	return faults
}

var (
	bannedWords = pattern(`(?i)\b(?:crew|errand|bell|barren|fate|passage|belt|reel|sharer|roomier|layouter|outlet|` +
		`rehearsal|farewell|asker|guest|deafPipe|hastyConn|nobody|octet)s?\b`)
	codeSpan    = pattern("(?s)`+.+?`+")
	guestMethod = pattern(`\bguest\b`)
)

// bannedFaults returns the words that the project does not use. guest is one, but also a value of authen_method,
// which is in code or in a table.
func bannedFaults(p docPage) (faults []string) {
	for _, b := range p.blocks {
		text := strings.Join(b.lines, "\n")
		if b.kind == docTable || b.kind == docCode {
			text = withoutGuest(text)
		}
		text = codeSpan().ReplaceAllStringFunc(text, withoutGuest)
		for _, word := range bannedWords().FindAllString(text, -1) {
			faults = append(faults, fmt.Sprintf("%s:%d: the word %s", p.name, b.line, word))
		}
	}
	return faults
}

func withoutGuest(text string) string { return guestMethod().ReplaceAllString(text, "") }

var links = pattern(`\]\(([^)\s]*)(?: "[^"]*")?\)|^\s*\[[^\]]+\]:\s+(\S+)|\b(?:src|srcset|href)="([^"]*)"`)

// linkFaults returns the relative links of a page whose file or heading does not exist.
func linkFaults(root string, p docPage) (faults []string) {
	for _, b := range p.blocks {
		if b.kind == docCode {
			continue
		}
		text := codeSpan().ReplaceAllStringFunc(strings.Join(b.lines, "\n"), func(code string) string {
			return strings.Repeat("\n", strings.Count(code, "\n"))
		})
		for i, line := range strings.Split(text, "\n") {
			for _, match := range links().FindAllStringSubmatch(line, -1) {
				target := match[1] + match[2] + match[3]
				if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") || linkExists(root, p, target) {
					continue
				}
				faults = append(faults, fmt.Sprintf("%s:%d: no target for the link %q", p.name, b.line+i, target))
			}
		}
	}
	return faults
}

var sourceFile = pattern("`([a-z0-9_*]+\\.go)`")

// sourceFaults returns the source files that a page names and that do not exist. A name can have a *.
func sourceFaults(root string, p docPage) (faults []string) {
	for _, b := range p.blocks {
		for i, line := range b.lines {
			for _, match := range sourceFile().FindAllStringSubmatch(line, -1) {
				if found, err := filepath.Glob(filepath.Join(root, match[1])); err != nil || found == nil {
					faults = append(faults, fmt.Sprintf("%s:%d: no file %s", p.name, b.line+i, match[1]))
				}
			}
		}
	}
	return faults
}

func linkExists(root string, p docPage, target string) bool {
	file, anchor, anchored := strings.Cut(target, "#")
	name := path.Join(path.Dir(p.name), file)
	switch {
	case anchored && file == "":
		return slices.Contains(anchors(p), anchor)
	case file == "", !filepath.IsLocal(name):
		return false
	}
	name = filepath.Join(root, name)
	if !anchored {
		_, err := os.Stat(name)
		return err == nil
	}
	text, err := os.ReadFile(name)
	return err == nil && slices.Contains(anchors(markdownPage(name, string(text))), anchor)
}

var headingMarkup = pattern(`\]\([^)]*\)|[^\pL\pN _-]`)

// anchors returns the names that GitHub gives to the headings of a page.
func anchors(p docPage) (names []string) {
	seen := make(map[string]int)
	for _, b := range p.blocks {
		if b.kind != docHeading {
			continue
		}
		title := strings.TrimSpace(strings.TrimLeft(b.lines[0], "#"))
		name := strings.ReplaceAll(headingMarkup().ReplaceAllString(strings.ToLower(title), ""), " ", "-")
		if n := seen[name]; n > 0 {
			names = append(names, fmt.Sprintf("%s-%d", name, n))
		} else {
			names = append(names, name)
		}
		seen[name]++
	}
	return names
}

// A shellScanner splits shell text into simple commands, without their redirections. Each expansion becomes the
// word 1, which is a number and a name. Those of a substitution are further commands.
type shellScanner struct {
	text     string
	commands [][]string
	words    []string
	word     strings.Builder
	inWord   bool
	target   bool // the next word is the file of a redirection
	open     bool // a quote or a substitution has no end
}

func (s *shellScanner) endWord() {
	if s.inWord && !s.target {
		s.words = append(s.words, s.word.String())
	}
	s.target = s.target && !s.inWord
	s.inWord = false
	s.word.Reset()
}

func (s *shellScanner) endCommand() {
	s.endWord()
	if s.words != nil {
		s.commands = append(s.commands, s.words)
	}
	s.words, s.target = nil, false
}

func (s *shellScanner) addText(text string) {
	s.word.WriteString(text)
	s.inWord = true
}

// until returns the text up to the end mark, and continues after it.
func (s *shellScanner) until(end string) string {
	text, rest, found := strings.Cut(s.text, end)
	s.text = rest
	s.open = s.open || !found
	return text
}

// scan reads commands up to the end mark, or all of the text.
func (s *shellScanner) scan(end byte) {
	for s.text != "" {
		c := s.text[0]
		s.text = s.text[1:]
		switch {
		case c == end:
			s.endCommand()
			return
		case c == '\\' && s.text != "":
			if s.text[0] != '\n' {
				s.addText(s.text[:1])
			}
			s.text = s.text[1:]
		case c == '\'':
			s.addText(s.until("'"))
		case c == '"':
			s.quoted()
		case c == '$':
			s.expansion()
		case c == '`':
			s.substitution('`')
		case (c == '<' || c == '>') && strings.HasPrefix(s.text, "("):
			s.text = s.text[1:]
			s.substitution(')')
		case c == '<' || c == '>':
			if strings.Trim(s.word.String(), "0123456789") == "" {
				s.word.Reset()
				s.inWord = false
			}
			s.endWord()
			s.text = strings.TrimLeft(s.text, "<>&|")
			s.target = true
		case c == '#' && !s.inWord:
			_, s.text, _ = strings.Cut(s.text, "\n")
			s.endCommand()
		case strings.IndexByte(";&|\n()", c) >= 0:
			s.endCommand()
		case c == ' ' || c == '\t':
			s.endWord()
		default:
			s.addText(string(c))
		}
	}
	s.endCommand()
	s.open = s.open || end != 0
}

// quoted reads the rest of a string in double quotes.
func (s *shellScanner) quoted() {
	s.addText("")
	for s.text != "" {
		c := s.text[0]
		s.text = s.text[1:]
		switch {
		case c == '"':
			return
		case c == '\\' && s.text != "":
			s.addText(s.text[:1])
			s.text = s.text[1:]
		case c == '$':
			s.expansion()
		default:
			s.addText(string(c))
		}
	}
	s.open = true
}

// substitution reads the commands up to the end mark.
func (s *shellScanner) substitution(end byte) {
	inner := shellScanner{text: s.text}
	inner.scan(end)
	s.text, s.open = inner.text, s.open || inner.open
	s.commands = append(s.commands, inner.commands...)
	s.addText("1")
}

// A name, a macro of a monitoring system such as $HOSTADDRESS$, or a special parameter.
var parameter = pattern(`^(?:[A-Z0-9_]+\$|\w+|[?!@*#])`)

// expansion reads what follows a dollar sign.
func (s *shellScanner) expansion() {
	switch name := parameter().FindString(s.text); {
	case strings.HasPrefix(s.text, "(("):
		s.until("))")
		s.addText("1")
	case strings.HasPrefix(s.text, "("):
		s.text = s.text[1:]
		s.substitution(')')
	case strings.HasPrefix(s.text, "{"):
		s.until("}")
		s.addText("1")
	case strings.HasPrefix(s.text, "'") && !s.inWord:
		s.text = s.text[1:]
		s.addText(s.until("'"))
	case name != "":
		s.text = s.text[len(name):]
		s.addText("1")
	default:
		s.addText("$")
	}
}

// commandPrefix matches the words before the name of a command: a prompt, keywords, assignments.
var commandPrefix = pattern(`^(?:[$!{]|if|then|elif|else|while|until|do|time|exec|env|nohup|sudo|\w+=.*)$`)

// programArgs returns the arguments of this program in a simple command, or reports that it is another command.
// After other words, as those of timeout or cron, it is a run only if the name of one of its commands follows.
func programArgs(words []string) (args []string, ok bool) {
	isCommand := func(word string) bool {
		return slices.ContainsFunc(commands, func(c command) bool { return c.name == word })
	}
	for i, word := range words {
		_, value, _ := strings.Cut(word, "=") // as in ExecStart=
		if path.Base(word) != "tacacs_plus" && !strings.HasSuffix(value, "/tacacs_plus") {
			continue
		}
		first := !slices.ContainsFunc(words[:i], func(w string) bool { return !commandPrefix().MatchString(w) })
		if first || slices.ContainsFunc(words[i+1:], isCommand) {
			return words[i+1:], true
		}
	}
	return nil, false
}

// commandFaults returns the command lines of a page that the program does not parse, and how many it has. In a
// block with prompts only lines with a prompt are commands. env has the profiles of docProfiles.
func commandFaults(p docPage, env map[string]string) (faults []string, count int) {
	for _, b := range p.blocks {
		if b.kind != docCode {
			continue
		}
		prompts := slices.ContainsFunc(b.lines, isPrompt)
		for i := 0; i < len(b.lines); i++ {
			first := i
			var found [][]string
			found, i = commandsAt(b.lines, first)
			for _, words := range found {
				args, ok := programArgs(words)
				if !ok || prompts && !isPrompt(b.lines[first]) {
					continue
				}
				count++
				if err := parseDocLine(args, env); err != nil {
					faults = append(faults, fmt.Sprintf("%s:%d: %q: %v", p.name, b.line+first, args, err))
				}
			}
		}
	}
	return faults, count
}

func isPrompt(line string) bool { return strings.HasPrefix(strings.TrimSpace(line), "$ ") }

// commandsAt returns the simple commands that begin in a line, and the number of their last line. A quote without an
// end is an apostrophe unless it belongs to a run of the program.
func commandsAt(lines []string, first int) (found [][]string, last int) {
	plain := simpleCommands(strings.ReplaceAll(lines[first], "'", `\'`)).commands
	isRun := slices.ContainsFunc(plain, func(words []string) bool { _, ok := programArgs(words); return ok })
	text := lines[first]
	for last = first; ; last++ {
		s := simpleCommands(text)
		if !(s.open && isRun) && !strings.HasSuffix(text, `\`) && !strings.HasSuffix(text, "|") {
			return s.commands, last
		}
		if last+1 == len(lines) {
			return plain, first
		}
		text += "\n" + lines[last+1]
	}
}

func simpleCommands(text string) *shellScanner {
	s := &shellScanner{text: text}
	s.scan(0)
	return s
}

// docProfiles returns an environment with the profiles that stand for those of the pages.
func docProfiles(t *testing.T) map[string]string {
	t.Helper()
	_, env := profileDir(t, "host", "host tac1\n", "user", "host tac1\nusername alice\n")
	return env
}

// parseDocLine parses a command line. Any profile exists, and has a host, and the user if that helps.
func parseDocLine(args []string, env map[string]string) (err error) {
	for _, profile := range []string{"@host", "@user"} {
		words := slices.Clone(args)
		for i, word := range words {
			if word == "--" {
				break
			}
			if strings.HasPrefix(word, "@") {
				words[i] = profile
			}
		}
		_, err = parse(commands, words, stdio{in: strings.NewReader(""), out: io.Discard, err: io.Discard,
			env: func(name string) string { return env[name] }})
		if err == nil {
			return nil
		}
	}
	return err
}

// markdownPages reads the pages of the project: those at the top and in docs.
func markdownPages(t *testing.T) (pages []docPage) {
	t.Helper()
	names, err := filepath.Glob("*.md")
	must(t, err)
	err = filepath.WalkDir("docs", func(name string, _ fs.DirEntry, err error) error {
		if filepath.Ext(name) == ".md" {
			names = append(names, name)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for _, name := range names {
		pages = append(pages, markdownPage(filepath.ToSlash(name), readDoc(t, name)))
	}
	return pages
}

func readDoc(t *testing.T, name string) string {
	t.Helper()
	text := contentOf(t, name)
	return string(text)
}

// TestDocsPages checks the pages of the project.
func TestDocsPages(t *testing.T) {
	env := docProfiles(t)
	counts, all := make(map[string]int), 0
	for _, p := range markdownPages(t) {
		wrongLines, count := commandFaults(p, env)
		counts[p.name] = count
		all += count
		for _, fault := range slices.Concat(bannedFaults(p), proseFaults(p), linkFaults(".", p), sourceFaults(".", p), wrongLines) {
			t.Error(fault)
		}
	}
	if counts["README.md"] < 6 || all < 60 {
		t.Errorf("only %d command lines found: %v", all, counts)
	}
}

// TestDocsHelp checks the help texts and the hand-written parts of the man pages.
func TestDocsHelp(t *testing.T) {
	env := docProfiles(t)
	pages := []docPage{helpPage("help", runWith(t, nil, "", "help").out)}
	for _, c := range commands {
		pages = append(pages, helpPage("help "+c.name, runWith(t, nil, "", "help", c.name).out))
	}
	manParts, err := filepath.Glob("docs/man/*")
	must(t, err)
	for _, name := range manParts {
		if filepath.Ext(name) != ".md" {
			pages = append(pages, roffPage(filepath.ToSlash(name), readDoc(t, name)))
		}
	}
	lines := 0
	for _, p := range pages {
		faults, count := commandFaults(p, env)
		lines += count
		for _, fault := range slices.Concat(faults, bannedFaults(p), proseFaults(p)) {
			t.Error(fault)
		}
		for _, b := range p.blocks {
			for i, line := range b.lines {
				if n := utf8.RuneCountInString(line); strings.HasPrefix(p.name, "help") && n > maxColumns {
					t.Errorf("%s:%d: %d columns", p.name, b.line+i, n)
				}
			}
		}
	}
	if lines < 2*len(commands)-4 {
		t.Errorf("only %d command lines found in the help", lines)
	}
}

// TestDocsBlocks: what is code, and what a paragraph.
func TestDocsBlocks(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		page docPage
		want string // the kind and the line number of each block
	}{
		{"a paragraph and a heading", markdownPage("", "# A\none\ntwo\n\nthree\n"), "1heading 2prose 5prose"},
		{"code by indentation", markdownPage("", "one\n\n    code\n    more\n\n\tcode\n"), "1prose 3code 6code"},
		{"a paragraph that is indented later", markdownPage("", "one\n    two\n"), "1prose"},
		{"code in a fence", markdownPage("", "one\n```sh\na\n\n# b\n```\ntwo\n"), "1prose 3code 7prose"},
		{"a list", markdownPage("", "- a\n  b\n- c\n\n  d\n\n      code\n\ne\n"), "1prose 3prose 5prose 7code 9prose"},
		{"a table", markdownPage("", "one\n\n| a |\n|---|\ntwo\n"), "1prose 3table 5prose"},
		{"help", helpPage("", "one\ntwo\n\n    code\n"), "1prose 4code"},
		{"man page", roffPage("", ".SH A\none\n.B two\nthree\n.PP\nfour\n.nf\ncode\n.fi\nfive\n"), "2prose 6prose 8code 10prose"},
	} {
		var got []string
		for _, b := range tt.page.blocks {
			got = append(got, fmt.Sprintf("%d%s", b.line, [...]string{"prose", "heading", "table", "code"}[b.kind]))
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
}

// TestDocsFaults: each rule finds what breaks it, and nothing else.
func TestDocsFaults(t *testing.T) {
	t.Parallel()
	words := func(n int) string { return strings.TrimSpace(strings.Repeat("a\n", n)) }
	root := writeFiles(t, map[string]string{"a_b.go": "", "there.md": "# The `first` heading, of two\n\n## Again\n\n## Again\n"})
	inLinks := func(p docPage) []string { return linkFaults(root, p) }
	inFiles := func(p docPage) []string { return sourceFaults(root, p) }
	for _, tt := range []struct {
		check func(docPage) []string
		text  string
		want  string
	}{
		{proseFaults, words(60), ""},
		{proseFaults, words(60) + "\n--\n", ""},
		{proseFaults, "x\n\n" + words(61), "p.md:3: a paragraph of 61 words"},
		{proseFaults, words(40) + "\n- " + words(40) + "\n", ""},
		{proseFaults, "- " + words(61), "p.md:1: a paragraph of 61 words"},
		{proseFaults, strings.Repeat("é", 100), ""},
		{proseFaults, "a\n" + long(101), "p.md:2: 101 columns"},
		{proseFaults, "- " + long(99), "p.md:1: 101 columns"},
		{proseFaults, "# " + long(99), "p.md:1: 101 columns"},
		{proseFaults, "    " + long(101) + "\n\n| " + long(101) + " |\n```\n" + long(101) + "\n```\n", ""},
		{bannedFaults, "a passenger in a doorbell has no guestbook", ""},
		{bannedFaults, "one\nNobody reads Octets", "p.md:1: the word Nobody, p.md:1: the word Octets"},
		{bannedFaults, "# The crew", "p.md:1: the word crew"},
		{bannedFaults, "```\na bell\n```", "p.md:2: the word bell"},
		{bannedFaults, "`--method guest`\n\n| guest |\n\n    --method guest\n", ""},
		{bannedFaults, "the guest of `guest`", "p.md:1: the word guest"},
		{bannedFaults, "the `crew` of a guest", "p.md:1: the word crew, p.md:1: the word guest"},
		{inLinks, "[a](there.md) [b](https://x/y) [c](there.md#again-1) ![d](there.md#the-first-heading-of-two)\n\n# E\n\n[f](#e)", ""},
		{inLinks, "a\n\n[a](missing.md)", `p.md:3: no target for the link "missing.md"`},
		{inLinks, "[a](there.md#agains)", `p.md:1: no target for the link "there.md#agains"`},
		{inLinks, "[a](#agains)", `p.md:1: no target for the link "#agains"`},
		{inLinks, "[a](../there.md)", `p.md:1: no target for the link "../there.md"`},
		{inLinks, "a\n`b\nc` [d](missing.md)", `p.md:3: no target for the link "missing.md"`},
		{inLinks, "[a]()", `p.md:1: no target for the link ""`},
		{inLinks, "| [a](missing.md) |", `p.md:1: no target for the link "missing.md"`},
		{inLinks, "[a]\n\n[a]: missing.md", `p.md:3: no target for the link "missing.md"`},
		{inLinks, "<img src=\"missing.svg\">", `p.md:1: no target for the link "missing.svg"`},
		{inLinks, "`[a](missing.md)`\n\n    [a](missing.md)", ""},
		{inFiles, "`a_b.go`, `a_*.go`, `cmd_NAME.go` and b.go", ""},
		{inFiles, "| `a_b.go` | a\n| `b.go` `b*.go` |", "p.md:2: no file b.go, p.md:2: no file b*.go"},
	} {
		got := strings.Join(tt.check(markdownPage("p.md", tt.text)), ", ")
		equal(t, got, tt.want, tt.text)
	}
}

// TestDocsCommandLines: which words are checked, and what is wrong with them.
func TestDocsCommandLines(t *testing.T) {
	t.Parallel()
	env := docProfiles(t)
	for _, tt := range []struct {
		code  string
		count int
		fault string // empty if all of them parse
	}{
		{"tacacs_plus check tac1", 1, ""},
		{"tacacs_plus chekc tac1", 1, `unknown command "chekc"`},
		{"tacacs_plus check tac1 --timout 2", 1, "--timout"},
		{"tacacs_plus check tac1 --timeout soon", 1, "soon"},
		{"tacacs_plus authenticate alice", 1, "HOST is missing"},
		{"tacacs_plus authenticate alice @prod -t pap", 1, ""},
		{"tacacs_plus authenticate @./prod", 1, ""},
		{"tacacs_plus authenticate @prod one two three", 1, `unexpected argument "three"`},
		{"tacacs_plus account alice tac1 --exec -- ssh @host --no-such-option", 1, ""},
		{"./tacacs_plus chekc", 1, "chekc"},
		{"/usr/bin/tacacs_plus chekc", 1, "chekc"},
		{"sudo tacacs_plus chekc", 1, "chekc"},
		{"A=1 B='2 3' tacacs_plus chekc", 1, "chekc"},
		{"ExecStart=/usr/bin/tacacs_plus chekc", 1, "chekc"},
		{"User=tacacs_plus", 0, ""},
		{"*/5 * * * * root timeout 9 tacacs_plus check --no-such-option", 1, "--no-such-option"},
		{"sudo install tacacs_plus /usr/local/bin; man tacacs_plus; tacacs_plus.exe chekc", 0, ""},
		{"make && tacacs_plus check tac1 || tacacs_plus chekc; echo $?", 2, "chekc"},
		{"printf '%s\\n' '{\"user\": \"a;b\"}' |\n  tacacs_plus batch tac1 one", 1, `unexpected argument "one"`},
		{"tacacs_plus batch tac1 <in 2>&1 >>out -c 2 2>/dev/null", 1, ""},
		{"tacacs_plus batch tac1 <<EOF\n{}\nEOF", 1, ""},
		{"tacacs_plus check tac1   # in words", 1, ""},
		{"# tacacs_plus chekc", 0, ""},
		{"tacacs_plus check \\\n  tac1 --timout 2", 1, "--timout"},
		{"tacacs_plus authorize bob tac1 --cmd 'show\nversion' --all", 1, ""},
		{"tacacs_plus authorize bob tac1 --cmd \"say \\\"hi # $x\\\"\" ", 1, ""},
		{"if tacacs_plus -q check \"$host\"; then tacacs_plus chekc; fi", 2, "chekc"},
		{"x=$(tacacs_plus chekc | head)", 1, "chekc"},
		{"echo \"${x:-`tacacs_plus version`} $(tacacs_plus version)\" `tacacs_plus chekc`", 2, "chekc"},
		{"source <(tacacs_plus chekc bash)", 1, "chekc"},
		{"tacacs_plus check tac1 --key-file <(tacacs_plus chekc)", 2, "chekc"},
		{"tacacs_plus check tac1 -k $'a\tb' --interval $((2 * 3)) --count ${n}", 1, ""},
		{"check_command tacacs_plus check $HOSTADDRESS$ --nagios", 1, ""},
		{"tacacs_plus: hint: the server's\ntacacs_plus check tac1\nit can't", 1, ""},
		{"$ tacacs_plus version\ntacacs_plus v1\n$ tacacs_plus chekc", 2, "chekc"},
		{"$ printf x | \\\n  tacacs_plus chekc\nPASS", 1, "chekc"},
	} {
		faults, count := commandFaults(markdownPage("p.md", "```\n"+tt.code+"\n```\n"), env)
		got := strings.Join(faults, ", ")
		if count != tt.count || (got == "") != (tt.fault == "") || !strings.Contains(got, tt.fault) {
			t.Errorf("%s\ngot %d checked, faults %q; want %d, %q", tt.code, count, got, tt.count, tt.fault)
		}
	}
}
