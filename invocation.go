package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// stdio is what a run sees of the process around it.
type stdio struct {
	in       io.Reader
	out, err io.Writer
	env      func(name string) string
	watch    func() // makes signals end the run's context from now on; nil where they do not
}

// watched is called before what a signal must not cut short: a terminal without echo, a
// command between two records.
func (s stdio) watched() {
	if s.watch != nil {
		s.watch()
	}
}

// errIsTerminal says that a person reads what is written on standard error.
func (s stdio) errIsTerminal() bool { return onTerminal(s.err) }

// onTerminal says that a person reads what is written on w.
func onTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isTerminal(f.Fd())
}

// stopSignals are those that tell a program to stop, without those that were ignored when it was
// started: by nohup, or in the background of a script. SIGHUP counts, so that a closed terminal
// loses no accounting record.
func stopSignals() []os.Signal {
	return slices.DeleteFunc([]os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP}, signal.Ignored)
}

// A command is one row of the table of commands: all that the others know of it.
type command struct {
	name    string
	words   string // that it takes: USER, [USER], HOST, and anything else for what is left
	summary string
	// examples are what a person types after its name.
	examples []string
	// setup declares the command's own options and returns what it does.
	setup func(*optionSet) action
	// child is its option with which the words after -- are a command line of their own.
	child string
	// server says that it answers others: the options that are for asking are refused.
	server bool
	// offline are those of the options for asking that it has a use for, where it talks to nobody: the
	// others are refused.
	offline []string
	// misused is what a mistake becomes where its options ask for another form; nil for none.
	misused func(*invocation, *failure) output
}

// takes says that a shared option is for the command: what is said of a client's requests is not for
// a server, and what answers by itself takes none.
func (c command) takes(row optionRow) bool {
	switch {
	case c.server && strings.Contains(c.words, "HOST"): // which it asks
		return row.group != groupRequest && row.group != groupPassword
	case c.server:
		return row.group == groupIdentity || row.group == groupKey || row.group == groupOutput
	case c.offline != nil:
		return row.group == groupKey || row.group == groupOutput || slices.Contains(c.offline, row.long())
	}
	return strings.Contains(c.words, "HOST")
}

// accepts says that the command line, or a profile, may have the option: what is about the output may
// stand anywhere.
func (c command) accepts(row optionRow) bool {
	return row.group == groupCommand || row.group == groupOutput || c.takes(row)
}

// usage is the hint for a wrong number of words.
func (c command) usage() string {
	return strings.TrimSpace("usage: tacacs_plus " + c.name + " " + c.words)
}

// An action carries a command out: what it has to show, an error, or both.
type action func(context.Context, *invocation) (output, error)

const (
	hintCommand = "a command comes first, such as authenticate; tacacs_plus help lists them"
	hintList    = "tacacs_plus help lists the commands"
)

// findCommand is the command of that name. The hint of its error says what may have been meant, or else
// what goes without saying to who knows the program.
func findCommand(table []command, name, otherwise string) (command, error) {
	var names []string
	for _, c := range table {
		if c.name == name {
			return c, nil
		}
		names = append(names, c.name)
	}
	f := failf(classUsage, "unknown command \"%s\"", escape(name))
	if meant := cmp.Or(nearest(name, names), strings.Join(beginning(name, names), " or ")); meant != "" {
		return command{}, f.withHint("did you mean %s?", meant)
	}
	return command{}, f.withHint("%s", otherwise)
}

// ownersOf are the commands that have an option of that name of their own.
func ownersOf(table []command, option string) (owners []string) {
	for _, c := range table {
		own := newOptionSet()
		c.setup(own)
		if own.find(option) != nil {
			owners = append(owners, c.name)
		}
	}
	return owners
}

// An invocation is one command line, read: the command, the options that all commands share,
// and the words that are left.
type invocation struct {
	table    []command
	command  command
	action   action
	std      stdio
	options  *optionSet
	caller   caller
	server   serverOptions
	output   outputOptions
	key      secretSource
	password secretSource
	profile  profile
	help     bool
	version  bool
	words    []string  // the arguments after USER and HOST
	tail     []string  // those of them that stood after --
	behind   string    // the option that reads a secret which a word stands behind; empty for none
	unsure   string    // that word
	reads    string    // what the command takes from standard input; empty for nothing
	terminal *terminal // nil where there is none
}

// register declares the options that all commands share.
func (inv *invocation) register(o *optionSet) {
	o.group = groupRequest
	inv.caller.register(o)
	inv.key = secretSource{what: "key", option: "--key-file", env: "TACACS_PLUS_KEY"}
	inv.password = secretSource{what: "password", option: "--password-file", env: "TACACS_PLUS_PWD"}
	o.group = groupServer
	inv.server.register(o)
	o.group = groupKey
	o.add(&inv.key, "k key", "KEY", "the shared secret; others see it in the process list")
	o.add(&inv.key.files, "key-file", "FILE", "file with the shared secret; - is standard input; repeatable: the first is used, the others are tried on a garbled reply to name the one that fits; serve: [PREFIX=]FILE, for the clients in PREFIX, of which the longest counts; decode: all are candidates")
	o.group = groupPassword
	o.add(&inv.password, "password", "PASSWORD", "the password; others see it in the process list")
	o.add(&inv.password.files, "password-file", "FILE", "file with the password; - is standard input")
	o.add((*toggle)(&inv.password.stdin), "password-stdin", "", "read the password from standard input")
	o.group = groupOutput
	inv.output.register(o)
	o.group = groupCommand
}

// newInvocation is a command line of which nothing is read yet.
func newInvocation(table []command, std stdio) *invocation {
	inv := &invocation{table: table, std: std, options: newOptionSet()}
	inv.register(inv.options)
	inv.options.owners = func(name string) []string { return ownersOf(table, name) }
	inv.options.add((*toggle)(&inv.help), "h help", "", "print help")
	inv.options.add((*toggle)(&inv.version), "version", "", "print the version")
	return inv
}

// parse reads a command line by the grammar of the help: shared options anywhere, the
// command's own after it, one or two dashes, _ for -, and -- as their end. @NAME is a profile, whose
// options count where the line has none of its own.
func parse(table []command, args []string, std stdio) (*invocation, error) {
	inv := newInvocation(table, std)
	inv.terminal = openTerminal(std)
	before := ""
	for len(args) > 0 {
		arg, rest := args[0], args[1:]
		var err error
		switch {
		case arg == "--":
			inv.tail, rest = rest, nil
			inv.words = append(inv.words, inv.tail...)
		case len(arg) > 1 && arg[0] == '-':
			rest, err = inv.options.take(arg, rest, inv.action != nil)
		case strings.HasPrefix(arg, "@"):
			if err = inv.profile.take(arg); readsSecret(before) {
				inv.profile.behind = before
			}
		case inv.action == nil:
			if err = inv.name(arg); err != nil && readsSecret(before) {
				err = takesNoValue(before)
			}
		default:
			inv.words = append(inv.words, arg)
			if readsSecret(before) {
				inv.behind, inv.unsure = before, arg
			}
		}
		if err != nil {
			inv.lookAhead(args[1:])
			_ = inv.readProfile()
			return inv, err
		}
		before, args = arg, rest
	}
	switch {
	case inv.help, inv.version:
		return inv, nil
	case inv.action == nil:
		return inv, failf(classUsage, "a command is missing").withHint("%s", hintCommand)
	}
	if err := inv.readProfile(); err != nil {
		return inv, err
	}
	return inv, inv.assign()
}

// readsSecret says that an option reads a secret from standard input. A word right behind it may be that
// secret, by mistake, and is not repeated.
func readsSecret(option string) bool {
	return strings.HasPrefix(option, "-") && strings.HasSuffix(strings.ReplaceAll(option, "_", "-"), "-stdin")
}

// name takes the command that the line names.
func (inv *invocation) name(word string) (err error) {
	if inv.command, err = findCommand(inv.table, word, hintCommand); err == nil {
		inv.action = inv.command.setup(inv.options)
	}
	return err
}

// lookAhead reads what is left of a line after a mistake for the command, the profile and options
// without a value, so that a program gets its JSON, and a monitor its exit code, all the same.
func (inv *invocation) lookAhead(rest []string) {
	for _, arg := range rest {
		switch {
		case arg == "--":
			return
		case len(arg) > 1 && arg[0] == '-':
			inv.options.takeToggle(arg)
		case strings.HasPrefix(arg, "@"):
			_ = inv.profile.take(arg)
		case inv.action == nil:
			_ = inv.name(arg)
		}
	}
}

// assign gives the words that are left their places, then checks all values.
func (inv *invocation) assign() error {
	if name := inv.options.notFor(inv.command); name != "" {
		return failf(classUsage, "--%s is for a client, not for %s", name, inv.command.name)
	}
	more, asks, spare := false, false, inv.spareWords()
	for _, place := range strings.Fields(inv.command.words) {
		var value *string
		var option string
		switch strings.Trim(place, "[]") {
		case "USER":
			value, option = &inv.caller.user, "username"
		case "HOST":
			value, option, asks = &inv.server.host, "host", true
		default:
			more = true
			continue
		}
		switch {
		case inv.given(option) && !inv.profile.gave[option]:
		case !inv.mustBeWord(place) && spare <= 0:
		case len(inv.words) == 0 || len(inv.words) == inv.childWords():
			return failf(classUsage, "%s is missing", place).withHint("%s", inv.command.usage())
		default:
			*value, inv.words = inv.words[0], inv.words[1:]
			if !inv.mustBeWord(place) {
				spare--
			}
		}
	}
	if inv.behind != "" && slices.Contains(inv.words, inv.unsure) && !(more && strings.ContainsAny(inv.unsure, "=*")) {
		return takesNoValue(inv.behind)
	}
	if len(inv.words) > 0 && !more {
		return failf(classUsage, "unexpected argument \"%s\"", escape(inv.words[0])).withHint("%s", inv.command.usage())
	}
	if !asks {
		return inv.output.check()
	}
	return cmp.Or(inv.caller.check(inv.command.name), inv.server.check(), inv.output.check())
}

// spareWords is how many words there are for a USER and a HOST that need not be words: what those that
// must be, the arguments of a request and the command after -- leave.
func (inv *invocation) spareWords() int {
	words := inv.words[:len(inv.words)-inv.childWords()]
	if hasWord(inv.command.words, "[ARG...]") {
		if i := slices.IndexFunc(words, func(w string) bool { return strings.ContainsAny(w, "=*") }); i >= 0 {
			words = words[:i]
		}
	}
	spare := len(words)
	for _, place := range strings.Fields(inv.command.words) {
		if inv.mustBeWord(place) {
			spare--
		}
	}
	return spare
}

// mustBeWord says that USER or HOST has to stand among the words, since nothing else gives it.
func (inv *invocation) mustBeWord(place string) bool {
	return place == "USER" && !inv.given("username") || place == "HOST" && !inv.given("host")
}

// childWords is how many of the words are a command line of their own.
func (inv *invocation) childWords() int {
	if inv.command.child != "" && inv.given(inv.command.child) {
		return len(inv.tail)
	}
	return 0
}

// given says whether the command line, or its profile, has the option, by any of its names.
func (inv *invocation) given(option string) bool { return inv.options.given[option] }

// carryOut does what the command line says.
func (inv *invocation) carryOut(ctx context.Context) (output, error) {
	out, err := inv.action(ctx, inv)
	if err == nil && out.exit() == classInterrupted.exit() {
		err = interrupted(ctx) // a report of what was done until then
	}
	return out, err
}

// ask puts a request to the servers and collects what comes of it.
func (inv *invocation) ask(ctx context.Context, keys []key, q request) (*result, error) {
	c, err := inv.client(ctx, keys)
	if err != nil {
		return &result{Command: inv.command.name, User: inv.caller.user}, err
	}
	return inv.put(ctx, c, &job{request: q})
}

// put is ask where there is a client, and a server to begin with.
func (inv *invocation) put(ctx context.Context, c *client, j *job) (*result, error) {
	j.res = result{Command: inv.command.name, User: inv.caller.user}
	c.tell = inv.warn
	(&asker{client: c}).ask(ctx, j)
	return &j.res, j.err
}

// findServers sees to it that one of the servers has an address: nobody should type two secrets to
// learn that there is no such name.
func (inv *invocation) findServers(ctx context.Context) (err error) {
	c := &client{network: inv.server.network(), likely: inv.likelyServer()}
	for _, srv := range inv.server.servers {
		limited, cancel := context.WithTimeout(ctx, inv.server.timeout)
		_, err = (&link{client: c, server: srv}).resolve(limited, new(timing))
		cancel()
		if err == nil {
			return nil
		}
	}
	if ctx.Err() != nil {
		return interrupted(ctx)
	}
	return err
}

// likelyServer is USER where that looks like a server: an address, or what has a port.
func (inv *invocation) likelyServer() string {
	user := inv.caller.user
	if servers, err := parseServers(user, 49); err != nil || !isAddr(servers[0].host) && !strings.Contains(user, ":") {
		return ""
	}
	return user
}

// client is what the options say of the servers. It says nothing by itself.
func (inv *invocation) client(ctx context.Context, keys []key) (*client, error) {
	s := &inv.server
	c := &client{servers: s.servers, likely: inv.likelyServer(), keys: keys, timeout: s.timeout, retries: s.retries, network: s.network(),
		source: s.sourceAddr, device: s.device, remAddr: inv.caller.remAddr, singleConnect: s.singleConnect, clear: s.unencrypted || s.tls.enabled}
	if inv.output.debug {
		c.trace = &tracer{out: inv.std.err, showSecrets: inv.output.showSecrets, began: time.Now()}
	}
	var err error
	if s.tls.enabled {
		warn := func(format string, args ...any) { inv.say("warning: "+format, args...) }
		err = interruptible(ctx, func() (err error) { c.tls, err = s.tls.client(warn); return err })
	}
	return c, err
}

// finish shows what came of the command and says what the exit code is.
func (inv *invocation) finish(out output, err error) exitCode {
	if out == nil && err != nil {
		out = inv.misused(err)
	}
	f := out.conclude(err)
	if err := inv.show(out, inv.std.out); err != nil && out.exit() == 0 {
		if _, verdict := out.(*result); !verdict { // whose exit code says it all
			out.conclude(err)
		}
	}
	inv.explain(f, out, "")
	return out.exit()
}

// explain says what went wrong, if anything did, and what to do about it. Where there are several
// servers it says with which.
func (inv *invocation) explain(f *failure, out output, server string) {
	if f != nil && f.err != nil {
		inv.say("%s", naming(server, f.Error()))
	}
	if f != nil && f.hint != "" && inv.wantsHint(f, out) {
		inv.say("hint: %s", naming(server, f.hint))
	}
}

// wantsHint says whether a hint is for who reads standard error. That to a FAIL is for a person: the
// log of a script that asks about 100 users would have it 100 times.
func (inv *invocation) wantsHint(f *failure, out output) bool {
	if f.err != nil {
		return true
	}
	if res, ok := out.(*result); ok && res.Status == authenFail.String() {
		return inv.output.verbose || inv.std.errIsTerminal() && !inv.output.quiet
	}
	return !inv.output.quiet
}

// misused is what there is to show where an error came in place of an output: for a program that
// asked for an object, an object.
func (inv *invocation) misused(err error) output {
	if f := asFailure(err); f.class != classInterrupted && inv.command.misused != nil {
		if out := inv.command.misused(inv, f); out != nil {
			return out
		}
	}
	if inv.output.json {
		return &result{Command: inv.command.name, User: inv.caller.user}
	}
	return &page{}
}

// show prints an output on w as the options ask, and says so where that fails.
func (inv *invocation) show(out output, w io.Writer) error {
	var text string
	_, asked := out.(*page) // in so many words: -q is about verdicts
	switch {
	case inv.output.quiet && !asked:
	case inv.output.json:
		text = out.json()
	case inv.output.verbose:
		text = out.block()
	default:
		text = out.line()
	}
	if text == "" {
		return nil
	}
	if _, err := io.WriteString(w, text); err != nil {
		err := failf(classUsage, "write the result: %w", cause(err))
		inv.say("%v", err)
		return err
	}
	return nil
}

// say tells the person something that is neither a result nor an error.
func (inv *invocation) say(format string, args ...any) {
	fmt.Fprintf(inv.std.err, "tacacs_plus: %s\n", oneLine(fmt.Sprintf(format, args...)))
}

// invite tells a person what to type where input other than secrets comes from the terminal.
func (inv *invocation) invite(form string) {
	if inv.terminal != nil && !inv.output.quiet {
		inv.say("reading %s from the terminal, %s; Ctrl-D ends them", inv.reads, form)
	}
}

// warn says what -q hides.
func (inv *invocation) warn(format string, args ...any) {
	if !inv.output.quiet {
		inv.say("warning: "+format, args...)
	}
}
