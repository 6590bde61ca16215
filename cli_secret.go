package main

// A secretSource is where one secret comes from: an option, a file, standard input, the
// environment, or the person at the terminal. As a flag.Value it is the option.
type secretSource struct {
	what           string // "key"
	option         string // to name when nothing is given
	value          string
	set            bool
	files          list
	stdin          bool
	env            string
	promptOnDemand bool // the person is asked for it when the server asks, not before
}

func (s *secretSource) String() string { return "" }

// Set takes the secret from the command line.
func (s *secretSource) Set(v string) error {
	s.value, s.set = v, true
	return nil
}

// ways is in how many ways the secret was given.
func (s *secretSource) sourceCount() (n int) {
	for _, given := range []bool{s.set, s.stdin, len(s.files) > 0} {
		if given {
			n++
		}
	}
	return n
}

// given says that there is a source, so that nobody needs to be asked.
func (s *secretSource) isGiven(env func(string) string) bool {
	return s.sourceCount() > 0 || s.env != "" && env(s.env) != ""
}

// fromStdin names the secret once for each way in which it is read from standard input.
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

// shareStdin refuses what more than one reader would take from standard input.
func shareStdin(readers []string) error {
	if len(readers) < 2 {
		return nil
	}
	return failf(classUsage, "%s and %s cannot both come from standard input", readers[0], readers[1]).
		withHint("a file or the environment can hold one of them")
}

// errKeyOverTLS is for a key on the command line where it would be for nothing, on either side.
func errKeyOverTLS() error {
	return failf(classUsage, "over TLS there is no key").withHint("leave --key and --key-file out (RFC 9887 section 3.2)")
}

// errTypedEmpty is for a secret for which the person has typed nothing but the return key.
func errTypedEmpty(what string) error { return failf(classUsage, "the %s typed is empty", what) }

// sourceName is what a file is called in messages.
func sourceName(name string) string {
	if name == "-" {
		return "standard input"
	}
	return name
}
