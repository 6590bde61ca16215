package main

import (
	"cmp"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"unicode"
)

// cleanSecret applies the rule for the secrets of all sources: a byte order mark and one line end are not part of the
// secret, UTF-16 is an error, and trailing white space causes a warning. what and owner name the secret in messages, such
// as "key" and "from tac.key".
func (inv *invocation) cleanSecret(what, owner, value string) (string, error) {
	value, err := trimSecret(value)
	if err != nil {
		return "", errUTF16(what, owner)
	}
	if strings.TrimRightFunc(value, unicode.IsSpace) != value {
		inv.warnf(warnTrailingSpace, "the %s %s has trailing white space, which is part of the %s", what, owner, what)
	}
	return value, nil
}

// trimSecret returns a secret without a byte order mark and one line end. UTF-16 is an error.
func trimSecret(value string) (string, error) {
	value, err := trimMark(value)
	return trimLineEnd(value), err
}

// trimAnswers applies the rule for secrets to the answers of the command line, where UTF-16 is impossible.
func trimAnswers(answers list) (trimmed []string) {
	for _, answer := range answers {
		trimmed = append(trimmed, trimLineEnd(strings.TrimPrefix(answer, "\ufeff")))
	}
	return trimmed
}

// errUTF16 returns the error for a secret, or a list of them, in UTF-16.
func errUTF16(what, owner string) error {
	return failf(classUsage, "the %s %s is UTF-16", what, owner).withHint("save it as UTF-8")
}

// warnReadable prints a warning if other users can read a file with a secret. The folder of systemd's credentials protects
// the files in it. On Windows the mode does not show who can read a file.
func (inv *invocation) warnReadable(what, name string) {
	info, err := os.Stat(name)
	if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o077 == 0 || runtime.GOOS == "windows" {
		return
	}
	if folder := inv.std.env("CREDENTIALS_DIRECTORY"); folder != "" && filepath.Dir(name) == filepath.Clean(folder) {
		return
	}
	inv.warnf(warnFileMode, "other users can read %s, which contains the %s: run chmod 600", name, what)
}

// warnReadableKey is warnReadable for the private key of a certificate, which may be in the same file.
func (inv *invocation) warnReadableKey(certFile, keyFile string) {
	if file := cmp.Or(keyFile, certFile); file != "" {
		inv.warnReadable("private key", file)
	}
}
