package main

// A secretSource is where one secret comes from: an option, a file, stdin, the environment, or the terminal.
type secretSource struct {
	what           string // its name in messages, such as key
	option         string // that the error for a missing secret names
	value          string
	set            bool
	files          list
	stdin          bool
	env            string
	promptOnDemand bool // prompt when the server asks for it, not before
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

// errKeyOverTLS returns the error for a key together with TLS, on either side.
func errKeyOverTLS() error {
	return failf(classUsage, "over TLS there is no key").withHint("leave --key and --key-file out (RFC 9887 section 3.2)")
}

// errTypedEmpty returns the error for an empty answer to a prompt.
func errTypedEmpty(what string) error { return failf(classUsage, "the %s typed is empty", what) }

// sourceName returns the name of a file for messages.
func sourceName(name string) string {
	if name == "-" {
		return "standard input"
	}
	return name
}
