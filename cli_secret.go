package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
)

// A secretSource is where one secret comes from: an option, a file, stdin, the environment, or the terminal.
type secretSource struct {
	what           string // its name in messages, such as key
	option         string // that the error for a missing secret names
	value          string
	set            bool
	files          list
	stdin          bool
	env            string
	promptOnDemand bool   // prompt when the server asks for it, not before
	kept           string // what stdin or the terminal gave, which cannot be read again
}

func (s *secretSource) String() string { return "" }

// Set makes the source the flag.Value of the secret itself.
func (s *secretSource) Set(v string) error {
	s.value, s.set = v, true
	return nil
}

// sourceCount returns how many kinds of options give the secret.
func (s *secretSource) sourceCount() (n int) {
	for _, given := range []bool{s.set, s.stdin, len(s.files) > 0} {
		if given {
			n++
		}
	}
	return n
}

// isGiven reports whether there is a source other than the terminal.
func (s *secretSource) isGiven(env func(string) string) bool {
	return s.sourceCount() > 0 || s.env != "" && env(s.env) != ""
}

// fromStdin returns the name of the secret once for each time that it is to be read from stdin.
func (s *secretSource) fromStdin() (readers []string) {
	files := s.files
	if s.stdin {
		files = append(list{"-"}, files...)
	}
	the := "the "
	for _, f := range files {
		if f == "-" {
			readers = append(readers, the+s.what)
			the = "another "
		}
	}
	return readers
}

// shareStdin returns an error if there are several readers of stdin.
func shareStdin(readers []string) error {
	if len(readers) < 2 {
		return nil
	}
	return failf(classUsage, "%s and %s cannot both come from standard input", readers[0], readers[1]).
		withHint("put one of them in a file or in the environment")
}

// sourceName returns the name of a file for messages.
func sourceName(name string) string {
	if name == "-" {
		return "standard input"
	}
	return name
}

const (
	keyPrompt       = "tacacs+ secret: "
	fromCommandLine = "the command line"
	fromTerminal    = "the terminal"
)

// secrets are the secrets that a request needs.
type secrets struct {
	keys        []key
	password    string
	newPassword string
	deferred    bool // the password is not known: prompt for it when the server asks
	deferredNew bool // nor is the new password
}

// secrets reads the key, then the password and the new password, as far as there are sources for them. Usage
// errors come before anything is read or prompted for.
func (inv *invocation) secrets(ctx context.Context, passwords ...*secretSource) (s secrets, err error) {
	sources := append([]*secretSource{&inv.key}, passwords...)
	if err := inv.checkSources(sources); err != nil {
		return s, err
	}
	if slices.ContainsFunc(sources, inv.prompts) {
		if err := inv.findServers(ctx); err != nil {
			return s, err
		}
	}
	if s.keys, err = inv.keys(ctx); err != nil {
		return s, err
	}
	for i, src := range passwords {
		value, deferred := &s.password, &s.deferred
		if i > 0 {
			value, deferred = &s.newPassword, &s.deferredNew
		}
		if src.promptOnDemand && !src.isGiven(inv.std.env) && inv.person() != nil {
			*deferred = true
		} else if *value, err = inv.loadPassword(ctx, src); err != nil {
			return s, err
		}
	}
	if s.deferred || s.deferredNew {
		inv.person().expectPrompts()
	}
	return s, nil
}

// prompts reports whether the secret must be typed before anything is sent.
func (inv *invocation) prompts(src *secretSource) bool {
	switch {
	case src == &inv.key && !inv.needsKey():
		return false
	case len(src.fromStdin()) > 0:
		return inv.std.inIsTerminal()
	}
	return !src.promptOnDemand && !src.isGiven(inv.std.env) && inv.person() != nil
}

// checkSources rejects secrets that are given twice, that have no use, or that need the same stdin.
func (inv *invocation) checkSources(sources []*secretSource) error {
	var readers []string
	if inv.stdinUse != "" {
		readers = append(readers, inv.stdinUse)
	}
	for _, src := range sources {
		if src.sourceCount() > 1 || len(src.files) > 1 && src != &inv.key {
			return failf(classUsage, "the %s is given more than once", src.what)
		}
		readers = append(readers, src.fromStdin()...)
	}
	if err := shareStdin(readers); err != nil {
		return err
	}
	switch {
	case inv.key.sourceCount() == 0:
	case !inv.server.inClear():
		if inv.server.tls.enabled || inv.typed("key") || inv.typed("key-file") {
			return errKeyOverTLS()
		}
	case inv.server.unencrypted:
		return failf(classUsage, "--unencrypted and a key cannot be used together")
	}
	return nil
}

// loadPassword reads a password.
func (inv *invocation) loadPassword(ctx context.Context, src *secretSource) (string, error) {
	fields := inv.request.commonFields()
	loaded, err := inv.loadSecret(ctx, src, fields.promptFor(src.what)+": ")
	if err != nil {
		return "", err
	}
	return loaded[0].value, nil
}

// loadSecret reads a secret: one value of each file, or a single one. Only an option on the command line can make it empty.
func (inv *invocation) loadSecret(ctx context.Context, s *secretSource, prompt string) ([]key, error) {
	files := s.files
	single := func(source, value string, err error) ([]key, error) {
		if err == nil {
			value, err = inv.cleanSecret(s.what, "from "+source, value)
		}
		if err == nil && value == "" && !s.set {
			err = failf(classUsage, "no %s in %s", s.what, source)
		}
		return []key{{source: source, value: value}}, err
	}
	switch {
	case s.set:
		return single(fromCommandLine, s.value, nil)
	case s.stdin:
		files = list{"-"}
	case len(files) > 0:
	case s.env != "" && inv.std.env(s.env) != "":
		return single(s.env, inv.std.env(s.env), nil)
	case s.kept != "":
		return single(fromTerminal, s.kept, nil)
	default:
		person := inv.person()
		value, err := person.ask(ctx, prompt, true)
		if errors.Is(err, errNoAnswer) {
			why := "no terminal to ask for it"
			switch {
			case person != nil:
				why = "the input ended"
			case inv.unattended != "":
				why = inv.unattended + " does not prompt"
			}
			hint := "give " + s.option + " FILE"
			if s.env != "" {
				hint += ", or set " + s.env
			}
			err = failf(classUsage, "no %s: %s", s.what, why).withHint("%s", hint)
		} else if err == nil && value == "" {
			err = failf(classUsage, "no %s was typed", s.what)
		}
		s.kept = value
		return single(fromTerminal, value, err)
	}
	var values []key
	for _, name := range files {
		value, err := s.kept, error(nil)
		if name != "-" || value == "" {
			value, err = inv.readSecret(ctx, s.what, name, prompt)
		}
		if err != nil {
			return nil, err
		}
		if name == "-" {
			s.kept = value
		}
		values = append(values, key{source: sourceName(name), value: value})
	}
	return values, nil
}

// readSecret reads a secret from a file, or from stdin for -. An empty one is an error.
func (inv *invocation) readSecret(ctx context.Context, what, name, prompt string) (string, error) {
	value, err := inv.readText(ctx, what, name, prompt, firstLine)
	if err == nil {
		value, err = inv.cleanSecret(what, "from "+sourceName(name), value)
	}
	if err == nil && value == "" {
		err = errNothingIn(what, name)
	}
	return value, err
}

// errNothingIn returns the error for a file without the secrets that it should have.
func errNothingIn(what, name string) error {
	if name == "-" {
		return failf(classUsage, "no %s on standard input", what)
	}
	return failf(classUsage, "no %s in %s", what, name)
}

// readText reads a file with secrets, or stdin for -. If the input is a terminal, it prompts without echo, and take reads
// what is typed.
func (inv *invocation) readText(ctx context.Context, what, name, prompt string, take func(*bufio.Reader) (string, error)) (string, error) {
	std := inv.std
	var person *terminal
	if name == "-" {
		if person = openTerminal(std.in, std.err); person != nil && inv.person() != nil {
			person = inv.person() // the same one
		}
	} else {
		f, err := openFile(ctx, what, name)
		if err != nil {
			return "", err
		}
		defer f.Close()
		inv.warnReadable(what, name)
		std.in, person = f, openTerminal(f, std.err) // such as /dev/tty
	}
	var value string
	read := func() error {
		b, err := readAtMost(std.in, name, maxSecretFile)
		value = string(b)
		return err
	}
	var err error
	switch {
	case person != nil:
		if value, err = person.read(ctx, prompt, true, take); errors.Is(err, errNoAnswer) {
			err = nil // it is empty
		}
		if len(value) > maxSecretFile {
			err = fmt.Errorf("%s is over %d bytes", name, maxSecretFile)
		}
	case name != "-":
		err = onFile(ctx, name, read)
	default:
		err = interruptible(ctx, read)
	}
	return value, fileError("read the "+what, err)
}
