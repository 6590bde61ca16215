package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
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

// trimMark returns text without the byte order mark that some editors write. UTF-16 is an error.
func trimMark(text string) (string, error) {
	var zeros [2]int // at even and at odd places
	for i := range len(text) {
		if text[i] == 0 {
			zeros[i%2]++
		}
	}
	half := len(text) / 2
	if strings.HasPrefix(text, "\xff\xfe") || strings.HasPrefix(text, "\xfe\xff") || half > 0 && len(text)%2 == 0 && (zeros[0] == half || zeros[1] == half) {
		return "", errors.New("the text is UTF-16")
	}
	return strings.TrimPrefix(text, "\ufeff"), nil
}

// trimLineEnd returns text without one line end.
func trimLineEnd(text string) string {
	text, cut := strings.CutSuffix(text, "\n")
	if cut {
		text = strings.TrimSuffix(text, "\r")
	}
	return text
}

// escapeASCII is escape for text that must be printable US-ASCII.
func escapeASCII(s string) string {
	if printableASCII(s) {
		return s
	}
	var b strings.Builder
	for _, c := range []byte(s) {
		switch {
		case c == '\n':
			b.WriteString(`\n`)
		case c < ' ' || c > '~':
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// inMS returns a duration as text, such as 1.3 ms.
func inMS(d time.Duration) string { return fmt.Sprintf("%.1f ms", d.Seconds()*1000) }

// howMany returns a count with its noun: 1 request, 2 requests.
func howMany(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}

// shorten limits text to 60 bytes, for the line of an error.
func shorten(s string) string {
	return cutAt(s, 60)
}

// cutAt cuts a text to at most size bytes.
func cutAt(s string, size int) string {
	if len(s) <= size {
		return s
	}
	return strings.ToValidUTF8(s[:size-3], "") + "..."
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

// choose returns a if first is set, and else b.
func choose[T any](first bool, a, b T) T {
	if first {
		return a
	}
	return b
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

// A server may repeat a secret in its text, which must not be shown. A short secret occurs in other words by
// chance, and redacting those would reveal it. So one of less than shortSecret bytes is redacted only as a whole
// word, and one of less than shortestSecret never.
const (
	shortestSecret = 4
	shortSecret    = 6
)

// redact replaces the secrets in text with [redacted].
func redact(text string, secrets []string) string {
	if !slices.ContainsFunc(secrets, func(s string) bool { return s != "" && strings.Contains(text, s) }) {
		return text // nearly always
	}
	hidden := make([]bool, len(text))
	markSecrets(hidden, text, secrets)
	var b strings.Builder
	for i := range len(text) {
		switch {
		case !hidden[i]:
			b.WriteByte(text[i])
		case i == 0 || !hidden[i-1]:
			b.WriteString("[redacted]")
		}
	}
	return b.String()
}

// markSecrets marks the bytes of text that belong to one of the secrets.
func markSecrets(hidden []bool, text string, secrets []string) {
	for _, s := range secrets {
		if len(s) < shortestSecret {
			continue
		}
		for at := 0; ; at++ {
			i := strings.Index(text[at:], s)
			if i < 0 {
				break
			}
			at += i
			end := at + len(s)
			if len(s) < shortSecret && (at > 0 && isWord(text[at-1]) || end < len(text) && isWord(text[end])) {
				continue
			}
			for i := at; i < end; i++ {
				hidden[i] = true
			}
		}
	}
}

// isWord reports whether a byte belongs to a letter or a digit.
func isWord(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || c >= utf8.RuneSelf
}

// nearest returns the candidate that word is most likely a typing error of, or an empty string. That is the only
// one that begins with the word, else the nearest by distance: at most 2, or 1 for a word of less than 5
// letters.
func nearest(word string, candidates []string) (meant string) {
	limit := 2
	if len(word) < 5 {
		limit = 1
	}
	for _, c := range candidates {
		if d := distance(strings.ToLower(word), c); d <= limit && len(c) > d {
			meant, limit = c, d-1
		}
	}
	if longer := beginning(word, candidates); len(longer) == 1 {
		return longer[0]
	}
	return meant
}

// beginning returns the candidates that begin with the word, which must have at least three letters.
func beginning(word string, candidates []string) []string {
	return slices.DeleteFunc(slices.Clone(candidates), func(c string) bool {
		return len(word) < 3 || !strings.HasPrefix(c, strings.ToLower(word))
	})
}

// distance returns how many letters must be changed, inserted, deleted or swapped with the next one to turn a
// into b.
func distance(a, b string) int {
	var before, above []int // rows of the table: how far the first letters of a are from those of b
	for i := range len(a) + 1 {
		row := make([]int, len(b)+1)
		for j := range row {
			switch {
			case i == 0 || j == 0:
				row[j] = i + j
			case a[i-1] == b[j-1]:
				row[j] = above[j-1]
			case i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1]:
				row[j] = 1 + min(above[j], row[j-1], before[j-2])
			default:
				row[j] = 1 + min(above[j-1], above[j], row[j-1])
			}
		}
		before, above = above, row
	}
	return above[len(b)]
}

// cutPrefix splits the value [PREFIX=]FILE of an option at its first equals sign. The value is just the name
// of a file, which may contain the sign too, unless the text before the sign has the form of an address or
// prefix. A mistyped prefix counts as one, so that parsePrefix rejects it.
func cutPrefix(value string) (prefix, file string, found bool) {
	prefix, file, found = strings.Cut(value, "=")
	if !found || !prefixForm(prefix) {
		return "", value, false
	}
	return prefix, file, true
}

// cutServer splits the value [NAME=]FILE of an option, where NAME is the name, address or prefix of a server. A name has no
// slash, so that ./a=b is a path.
func cutServer(value string) (server, file string, found bool) {
	if prefix, file, found := cutPrefix(value); found {
		return prefix, file, true
	}
	server, file, found = strings.Cut(value, "=")
	if !found || server == "" || strings.ContainsAny(server, `/\`) && !strings.Contains(server, "://") {
		return "", value, false
	}
	return server, file, true
}

// prefixForm reports whether s has only characters of addresses and prefixes, a separator of one, and does not
// begin as a path does.
func prefixForm(s string) bool {
	if strings.Trim(s, "0123456789abcdefABCDEF:./") != "" || strings.HasPrefix(s, ".") || strings.HasPrefix(s, "/") {
		return false
	}
	slash := strings.IndexByte(s, '/')
	return strings.ContainsAny(s, ".:") || slash > 0 && s[slash-1] >= '0' && s[slash-1] <= '9'
}

// parsePrefix returns the prefix that s is, without its host bits. An address is the prefix of itself alone.
func parsePrefix(s string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		return addr.Prefix(addr.BitLen())
	}
	prefix, err := netip.ParsePrefix(s)
	if addr, bits := prefix.Addr(), prefix.Bits()-96; addr.Is4In6() && bits >= 0 {
		return addr.Unmap().Prefix(bits)
	}
	if err != nil || prefix.Addr().Is4In6() { // shorter than ::ffff:0:0/96
		return netip.Prefix{}, errors.New("is neither an address nor a prefix")
	}
	return prefix.Masked(), nil
}
