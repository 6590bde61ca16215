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
	if s.set {
		n++
	}
	if s.stdin {
		n++
	}
	if len(s.files) > 0 {
		n++
	}
	return n
}

// isGiven reports whether there is a source other than the terminal.
func (s *secretSource) isGiven(env func(string) string) bool {
	return s.sourceCount() > 0 || s.env != "" && env(s.env) != ""
}

// isFromStdin reports whether the secret is to be read from stdin.
func (s *secretSource) isFromStdin() bool { return s.stdin || slices.Contains(s.files, "-") }

// fromStdin returns the name of the secret once for each time that it is to be read from stdin.
func (s *secretSource) fromStdin() (readers []string) {
	if s.stdin {
		readers = append(readers, "the "+s.what)
	}
	for _, f := range s.files {
		if f == "-" {
			readers = append(readers, choose(readers == nil, "the ", "another ")+s.what)
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

// loadSecret reads a secret: one value of each file, or a single one. Only an option on the command line can make it empty.
func (inv *invocation) loadSecret(ctx context.Context, s *secretSource, prompt string) ([]key, error) {
	source, value := fromCommandLine, s.value
	switch {
	case s.set:
	case s.stdin:
		return inv.loadFiles(ctx, s, list{"-"}, prompt)
	case len(s.files) > 0:
		return inv.loadFiles(ctx, s, s.files, prompt)
	case s.env != "" && inv.std.env(s.env) != "":
		source, value = s.env, inv.std.env(s.env)
	default:
		if s.kept == "" {
			if err := inv.askSecret(ctx, s, prompt); err != nil {
				return nil, err
			}
		}
		source, value = fromTerminal, s.kept
	}
	value, err := inv.cleanSecret(s.what, "from "+source, value)
	if err == nil && value == "" && !s.set {
		err = failf(classUsage, "no %s in %s", s.what, source)
	}
	return []key{{source: source, value: value}}, err
}

// askSecret keeps a secret that the person types.
func (inv *invocation) askSecret(ctx context.Context, s *secretSource, prompt string) (err error) {
	person := inv.person()
	s.kept, err = person.ask(ctx, prompt, true)
	switch {
	case errors.Is(err, errNoAnswer):
		why := "no terminal to ask for it"
		if person != nil {
			why = "the input ended"
		} else if inv.unattended != "" {
			why = inv.unattended + " does not prompt"
		}
		hint := "give " + s.option + " FILE"
		if s.env != "" {
			hint += ", or set " + s.env
		}
		return failf(classUsage, "no %s: %s", s.what, why).withHint(hint)
	case err == nil && s.kept == "":
		return failf(classUsage, "no %s was typed", s.what)
	}
	return err
}

// loadFiles reads a secret from each file, or from stdin for -.
func (inv *invocation) loadFiles(ctx context.Context, s *secretSource, files []string, prompt string) (values []key, err error) {
	for _, name := range files {
		value := s.kept
		if name != "-" || value == "" {
			if value, err = inv.readSecret(ctx, s.what, name, prompt); err != nil {
				return nil, err
			}
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
