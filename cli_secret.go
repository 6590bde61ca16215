package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"
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

// passwords are the secrets of a request other than the key.
type passwords struct {
	password    string
	newPassword string
	deferred    bool // the password is not known: prompt for it when the server asks
	deferredNew bool // nor is the new password
}

// newClient reads the key, then the password and the new password, as far as there are sources for them. It returns the
// client that the options describe. Usage errors come before anything is read or prompted for.
func (inv *invocation) newClient(ctx context.Context, of ...*secretSource) (c *client, s passwords, err error) {
	sources := append([]*secretSource{&inv.key}, of...)
	if err := inv.checkSources(sources); err != nil {
		return nil, s, err
	}
	if slices.ContainsFunc(sources, inv.prompts) {
		if err := inv.findServers(ctx); err != nil {
			return nil, s, err
		}
	}
	keys, err := inv.keys(ctx)
	if err != nil {
		return nil, s, err
	}
	for i, src := range of {
		value, deferred := &s.password, &s.deferred
		if i > 0 {
			value, deferred = &s.newPassword, &s.deferredNew
		}
		if src.promptOnDemand && !src.isGiven(inv.std.env) && inv.person() != nil {
			*deferred = true
		} else if *value, err = inv.loadPassword(ctx, src); err != nil {
			return nil, s, err
		}
	}
	if s.deferred || s.deferredNew {
		inv.person().expectPrompts()
	}
	c, err = inv.client(ctx, keys)
	return c, s, err
}

// prompts reports whether the secret must be typed before anything is sent.
func (inv *invocation) prompts(src *secretSource) bool {
	switch {
	case src == &inv.key && !inv.needsKey():
		return false
	case src.isFromStdin():
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
		if inv.typed("key") || inv.typed("key-file") || inv.server.tls.enabled && !inv.typed("tls") {
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
		return failf(classUsage, "no %s: %s", s.what, why).withHint("%s", hint)
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

// needsKey reports whether packets are obfuscated.
func (inv *invocation) needsKey() bool {
	return !inv.server.unencrypted && anyOver(inv.askedServers(), false)
}

// askedServers returns the servers that may be asked.
func (inv *invocation) askedServers() []server {
	if inv.asksEveryServer() {
		return inv.server.servers
	}
	asked, _ := splitFallback(inv.server.servers)
	return asked
}

// keys reads the shared secrets: none if nothing is obfuscated.
func (inv *invocation) keys(ctx context.Context) ([]key, error) {
	if !inv.needsKey() {
		return nil, nil
	}
	keys, err := inv.loadSecret(ctx, &inv.key, keyPrompt)
	if err != nil {
		return nil, err
	}
	for i, server := range inv.keyServers {
		keys[i].server = server
	}
	if env := inv.std.env(inv.key.env); env != "" && len(inv.keyServers) > 0 && !slices.Contains(inv.keyServers, "") {
		common, err := inv.loadSecret(ctx, &secretSource{what: inv.key.what, env: inv.key.env}, "")
		if err != nil {
			return nil, err
		}
		keys = append(keys, common...)
	}
	for i, k := range keys {
		if k.value == "" {
			return nil, errEmptyKey()
		}
		if k.server != "" {
			inv.warnShortKeys(keys[i : i+1])
		}
	}
	if err := inv.checkServerKeys(keys); err != nil {
		return nil, err
	}
	i := slices.IndexFunc(keys, func(k key) bool { return k.server == "" })
	if i < 0 {
		return keys, nil
	}
	if n := utf8.RuneCountInString(keys[i].value); n < minKey {
		inv.warnf(warnKeyShort, "the key has %d characters, RFC 8907 section 10.5.1 requires at least %d", n, minKey)
	}
	return keys, nil
}

// minKey is the least number of characters of a key. RFC 8907 section 10.5.1.
const minKey = 16

// warnShortKeys warns of short keys of a server. Its log may be public, so the length is not shown.
func (inv *invocation) warnShortKeys(keys []key) {
	for _, k := range keys {
		if utf8.RuneCountInString(k.value) < minKey {
			inv.warnf(warnKeyShort, "the key from %s has less than %d characters, which RFC 8907 section 10.5.1 requires", k.source, minKey)
		}
	}
}

// givenKeys reads the keys of a command that works without one: those of the files, then that of --key. Without
// either it is the one of the environment.
func (inv *invocation) givenKeys(ctx context.Context) (keys []key, err error) {
	fromFiles, typed := inv.key, inv.key
	if fromFiles.set = false; len(fromFiles.files) > 0 || !typed.set && inv.std.env(typed.env) != "" {
		if keys, err = inv.loadSecret(ctx, &fromFiles, keyPrompt); err != nil {
			return nil, err
		}
	}
	if typed.set {
		last, err := inv.loadSecret(ctx, &typed, keyPrompt)
		return append(keys, last...), err
	}
	return keys, nil
}

// cutKeyServers removes NAME= from each key file and keeps the names: empty for a file without one.
func (inv *invocation) cutKeyServers() error {
	servers := make([]string, len(inv.key.files))
	for i, value := range inv.key.files {
		servers[i], inv.key.files[i], _ = cutServer(value)
		if strings.Contains(servers[i], "://") {
			return failf(classUsage, "\"%s\" of %s is not a name, an address or a prefix", escape(servers[i]), inv.key.option).withHint("write NAME without tls:// and tcp://")
		}
		if prefix := servers[i]; strings.Contains(prefix, "/") {
			if _, err := parsePrefix(prefix); err != nil {
				return failf(classUsage, "\"%s\" of %s %w", escape(prefix), inv.key.option, err)
			}
		}
	}
	if slices.ContainsFunc(servers, func(s string) bool { return s != "" }) {
		inv.keyServers = servers
	}
	return nil
}

// checkServerKeys reports a server for which no key is given, as far as that can be seen before its name is resolved.
func (inv *invocation) checkServerKeys(keys []key) error {
	for _, name := range inv.keyServers {
		_, notPrefix := parsePrefix(name)
		named := func(s server) bool { return s.rank(name, netip.Addr{}) > 0 }
		if name != "" && notPrefix != nil && inv.typed("key-file") && !slices.ContainsFunc(inv.server.servers, named) {
			inv.warnf(warnKeyUnused, "no server in HOST is %s, for which --key-file has a key", escape(name))
		}
	}
	c := client{keys: keys}
	byPrefix := slices.ContainsFunc(keys, func(k key) bool { _, err := parsePrefix(k.server); return err == nil })
	for _, srv := range inv.askedServers() {
		addr, err := netip.ParseAddr(srv.host)
		if known := err == nil || !byPrefix; !srv.tls && known && len(c.keysFor(srv, addr.Unmap())) == 0 {
			return errNoKeyFor(srv)
		}
	}
	return nil
}

// errKeyOverTLS returns the error for a key together with TLS, on either side.
func errKeyOverTLS() error {
	return failf(classUsage, "no key is used over TLS").withHint("remove --key and --key-file (RFC 9887 section 3.2)")
}

// errEmptyKey returns the error for --key with an empty value.
func errEmptyKey() error {
	return failf(classUsage, "the key is empty").withHint("set a key of at least 16 characters on both sides (RFC 8907 section 10.5.1)")
}
