package main

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// escape makes text safe for a terminal and for one line: printable UTF-8 passes, a newline becomes \n, all
// other bytes become \xNN. Foreign text must pass through it before it is printed.
func escape(s string) string { return escapeExcept(s, 0) }

// escapeLines is escape for text that may have several lines.
func escapeLines(s string) string { return escapeExcept(strings.ReplaceAll(s, "\r\n", "\n"), '\n') }

// oneLine is escape without the white space around a message.
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

// visible reports whether a character is visible or a plain blank. A filler or a variation selector can make one
// text look like another.
func visible(r rune) bool {
	const blanks = "\u2800\U00013441\U00013442\U00016fe4\U0001d159" // Braille, hieroglyphs, Khitan, a note without a head
	return strconv.IsPrint(r) && !strings.ContainsRune(blanks, r) && !unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// howMany returns a count with its noun: 1 request, 2 requests.
func howMany(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}

// shorten limits text to 60 bytes, for the line of an error.
func shorten(s string) string {
	if len(s) <= 60 {
		return s
	}
	return strings.ToValidUTF8(s[:57], "") + "..."
}

// printableASCII reports whether s has only the characters that RFC 8907 section 3.7 allows in text other than
// user names.
func printableASCII(s string) bool {
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return true
}

// quoteBlank escapes a word of a line. It quotes the word if it is empty or has a blank or a quote.
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
