package main

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// escape makes any text safe for a terminal and for one line: printable UTF-8 passes, all
// else becomes \xNN, a newline \n. It is the only way of foreign text to the outside.
func escape(s string) string { return escapeExcept(s, 0) }

// escapeLines is escape for a text that may keep its lines.
func escapeLines(s string) string { return escapeExcept(strings.ReplaceAll(s, "\r\n", "\n"), '\n') }

// oneLine is escape without the white space round a message.
func oneLine(s string) string { return escape(strings.TrimSpace(s)) }

func escapeAll(list []string) []string {
	var out []string
	for _, s := range list {
		out = append(out, escape(s))
	}
	return out
}

func escapeExcept(s string, keep rune) string {
	if printableASCII(s) {
		return s // nearly always
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == keep && keep != 0, visible(r) && (r != utf8.RuneError || n > 1):
			b.WriteString(s[i : i+n])
		case r == '\n':
			b.WriteString(`\n`)
		default:
			for _, c := range []byte(s[i : i+n]) {
				fmt.Fprintf(&b, `\x%02x`, c)
			}
		}
		i += n
	}
	return b.String()
}

// visible says that a character shows something, or is a blank: a filler or a variation selector
// can make one text look like another.
func visible(r rune) bool {
	const blanks = "\u2800\U00013441\U00013442\U00016fe4\U0001d159" // Braille, hieroglyphs, Khitan, a note without a head
	return strconv.IsPrint(r) && !strings.ContainsRune(blanks, r) && !unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// howMany is a number of things: 1 request, 2 requests.
func howMany(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}

// shorten keeps an error on a readable line.
func shorten(s string) string {
	if len(s) <= 60 {
		return s
	}
	return strings.ToValidUTF8(s[:57], "") + "..."
}

// printableASCII is what the RFC allows in text other than user names (section 3.7).
func printableASCII(s string) bool {
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return true
}

// quoteBlank escapes a word of a line, in quotes where it is empty or has a blank or a quote.
func quoteBlank(text string) string {
	text = escape(text)
	if text == "" || strings.IndexByte(text, ' ') >= 0 || strings.IndexByte(text, '"') >= 0 {
		return `"` + strings.ReplaceAll(text, `"`, `\x22`) + `"`
	}
	return text
}

// helpWidth is the width of the help and of the lines of the man page.
const helpWidth = 80

// wrap joins words to lines of at most width bytes.
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
