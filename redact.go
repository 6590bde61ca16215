package main

import (
	"slices"
	"strings"
	"unicode/utf8"
)

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
