package main

import (
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// A caller is what the START and the two REQUESTs say of who asks. RFC 8907 section 5.1.
type caller struct {
	user         string
	port         string // virtual port, not that of TCP
	remAddr      string // empty: the local address of the connection
	level        int    // -1: defaultLevel
	defaultLevel int
	authenType   authenType
	service      authenService
}

// longestAddr stands for rem_addr until there is a connection.
const longestAddr = "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255"

func (c *caller) register(o *optionSet) {
	c.level, c.port, c.authenType, c.service = -1, "tty0", authenASCII, authenServiceLogin
	o.add((*anyText)(&c.user), "u username", "USER", "the user, in place of the word USER")
	o.add(&c.authenType, "t authen-type", "TYPE", "authentication type (default ascii; for authorize and account also not_set):")
	o.add(&number{&c.level, 0, 15}, "l priv-lvl", "N", "privilege level, 0 to 15 (default 0; 15 for enable)")
	o.add((*text)(&c.remAddr), "r rem-addr", "ADDR", "rem_addr field (default the local address)")
	o.add((*anyText)(&c.port), "P virtual-port", "PORT", "port field (default tty0)")
	o.add(&c.service, "s service", "SERVICE", "service (default login):")
}

// check refuses what the fields cannot say, or the command not of all things: the service ENABLE
// says that a request is for the command enable and nothing else (section 5.4.2.6).
func (c *caller) check(command string) error {
	if !utf8.ValidString(c.user) {
		return failf(classUsage, "user \"%s\" is not UTF-8", escape(c.user))
	}
	if strings.ContainsFunc(c.user, unicode.IsControl) {
		return failf(classUsage, "user \"%s\" has control characters", escape(c.user))
	}
	for _, f := range []struct{ name, value string }{{"--virtual-port", c.port}, {"--rem-addr", c.remAddr}} {
		if !printableASCII(f.value) {
			return failf(classUsage, "%s \"%s\" is not printable US-ASCII", f.name, escape(f.value))
		}
	}
	switch {
	case c.service == authenServiceEnable && command != "enable":
		return failf(classUsage, "the service enable is for the command enable alone (RFC 8907 section 5.4.2.6)")
	case c.authenType == authenNotSet && command != "authorize" && command != "account":
		return failf(classUsage, "the type not_set is for authorize and account alone (RFC 8907 section 6.1)")
	}
	return nil
}

// enable makes the caller that of the command enable, which has one service; given says that the
// request names one.
func (c *caller) enable(given bool) error {
	if given && c.service != authenServiceEnable {
		return failf(classUsage, "enable has the service enable, not %s", c.service)
	}
	c.service, c.defaultLevel = authenServiceEnable, 15
	return nil
}

// describe is what a secret of the caller is called at a prompt.
func (c *caller) describe(what string) string {
	if c.service == authenServiceEnable {
		what = "enable " + what
	}
	if c.user != "" {
		what += " for " + escape(c.user)
	}
	return what
}

// subject is what the messages say of the caller, but for rem_addr, which the connection may give.
func (c *caller) subject() subject {
	level := c.level
	if level < 0 {
		level = c.defaultLevel
	}
	return subject{privLvl: uint8(level), typ: c.authenType, service: c.service, user: c.user, port: c.port}
}

// serverOptions say which servers there are and how to reach them.
type serverOptions struct {
	host          string
	port          int
	timeout       time.Duration
	retries       int
	ipv4, ipv6    bool
	source        string
	device        string
	singleConnect bool
	unencrypted   bool
	tls           tlsOptions

	servers    []server // what check makes of host
	sourceAddr netip.Addr
}

func (s *serverOptions) register(o *optionSet) {
	s.timeout = 10 * time.Second
	o.add((*anyText)(&s.host), "H host", "HOST", "the servers, in place of the word HOST")
	o.add(&number{&s.port, 1, 65535}, "p port", "PORT", "port of servers that have none of their own (default 49; 300 with --tls);\ndecode: of the conversations that count (default all that begin like TACACS+)")
	o.add((*seconds)(&s.timeout), "timeout", "TIME", "for each server, in all: seconds (2.5) or a duration (500ms) (default 10)")
	o.add(&number{&s.retries, 0, 1000}, "retries", "N", "more rounds over the servers (default 0)")
	o.add((*toggle)(&s.ipv4), "4", "", "use IPv4 only")
	o.add((*toggle)(&s.ipv6), "6", "", "use IPv6 only")
	o.add((*text)(&s.source), "source", "ADDR", "local address to connect from")
	o.add((*text)(&s.device), "interface", "DEV", "device or VRF to connect through (Linux)")
	o.add((*toggle)(&s.singleConnect), "single-connect", "", "ask for single-connection mode")
	o.add((*toggle)(&s.unencrypted), "unencrypted", "", "no key, no obfuscation: all is readable on the wire")
	s.tls.register(o)
}

func (s *serverOptions) check() (err error) {
	if err := s.tls.check(); err != nil {
		return err
	}
	if s.tls.enabled && s.unencrypted {
		return failf(classUsage, "--tls and --unencrypted exclude each other")
	}
	if s.port == 0 {
		if s.port = 49; s.tls.enabled {
			s.port = 300
		}
	}
	if s.servers, err = parseServers(s.host, uint16(s.port)); err != nil {
		return err
	}
	if s.ipv4 && s.ipv6 {
		return failf(classUsage, "-4 and -6 exclude each other")
	}
	if s.source != "" {
		if s.sourceAddr, err = netip.ParseAddr(s.source); err != nil {
			return failf(classUsage, "--source \"%s\" is not an address", escape(s.source))
		}
		if s.ipv4 && !s.sourceAddr.Is4() || s.ipv6 && s.sourceAddr.Is4() {
			return failf(classUsage, "--source %s is of the other address family", s.source)
		}
	}
	if s.device != "" && !canBindToDevice {
		return failf(classUsage, "--interface works on Linux only").withHint("--source chooses the local address")
	}
	return nil
}

func (s *serverOptions) network() string {
	switch {
	case s.ipv4 || s.sourceAddr.IsValid() && s.sourceAddr.Is4():
		return "tcp4"
	case s.ipv6 || s.sourceAddr.IsValid():
		return "tcp6"
	}
	return "tcp"
}

// parseServers reads a list of servers with commas: name, name:port, 1.2.3.4:port, 2001:db8::1
// or [2001:db8::1]:port. Those without a port get the default one.
func parseServers(list string, defaultPort uint16) ([]server, error) {
	var servers []server
	for part := range strings.SplitSeq(list, ",") {
		host, port := strings.TrimSpace(part), ""
		if inner, ok := strings.CutPrefix(host, "["); ok {
			host, port, ok = strings.Cut(inner, "]")
			if a, err := netip.ParseAddr(host); !ok || err != nil || a.Is4() || port != "" && port[0] != ':' {
				return nil, failf(classUsage, "server \"%s\" is not [IPv6 address]:port", escape(part))
			}
		} else if strings.Count(host, ":") == 1 {
			host, port, _ = strings.Cut(host, ":")
			port = ":" + port
		} else if strings.Contains(host, ":") {
			if _, err := netip.ParseAddr(host); err != nil {
				return nil, failf(classUsage, "server \"%s\" is neither an IPv6 address nor name:port", escape(part))
			}
		}
		if host == "" {
			return nil, failf(classUsage, "the server list \"%s\" has an empty part", escape(list))
		}
		if !printableASCII(host) || strings.ContainsAny(host, " /[]@") {
			return nil, failf(classUsage, "server \"%s\" is not a name or an address", escape(part))
		}
		number := uint64(defaultPort)
		if port != "" {
			var err error
			if number, err = strconv.ParseUint(port[1:], 10, 16); err != nil || number == 0 {
				return nil, failf(classUsage, "port \"%s\" of server \"%s\" is not 1 to 65535", escape(port[1:]), escape(part))
			}
		}
		servers = append(servers, newServer(host, uint16(number)))
	}
	return servers, nil
}

func isAddr(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

// cutPort finds what may be meant as a port in an IPv6 address without brackets: ::1:49.
func cutPort(host string) (addr, port string) {
	i := strings.LastIndex(host, ":")
	if i < 0 {
		return "", ""
	}
	if a, err := netip.ParseAddr(host[:i]); err != nil || !a.Is6() {
		return "", ""
	}
	if n, err := strconv.ParseUint(host[i+1:], 10, 16); err != nil || n == 0 {
		return "", ""
	}
	return host[:i], host[i+1:]
}

// outputOptions say how the result is shown.
type outputOptions struct {
	quiet, verbose, debug, json, showSecrets bool
}

func (p *outputOptions) register(o *optionSet) {
	o.add((*toggle)(&p.quiet), "q quiet", "", "print no result: the exit code says it")
	o.add((*toggle)(&p.verbose), "v verbose", "", "print all facts of the answer and the connection")
	o.add((*toggle)(&p.debug), "d debug", "", "print what happens and all packets on standard error")
	o.add((*toggle)(&p.json), "json", "", "print the result as one JSON object on one line")
	o.add((*toggle)(&p.showSecrets), "show-secrets", "", "do not mask passwords in -d")
}

func (p *outputOptions) check() error {
	if p.quiet && (p.verbose || p.json) {
		return failf(classUsage, "--quiet goes with neither --verbose nor --json")
	}
	return nil
}

// An optionSet is a flag.FlagSet that knows in which order its options were declared, what they
// are about, and which were given.
type optionSet struct {
	*flag.FlagSet
	group optionGroup // of the options that are added from now on
	rows  []optionRow
	given map[string]bool
	// owners are the commands that have an option of that name of their own.
	owners func(name string) []string
}

// An optionRow is an option as the help knows it.
type optionRow struct {
	group            optionGroup
	names, arg, help string // names with blanks between; arg is empty for a toggle
	value            flag.Value
}

// long is the name that says most: the last one.
func (r optionRow) long() string {
	names := strings.Fields(r.names)
	return names[len(names)-1]
}

// An enumeration is a value that is one of some words.
type enumeration interface {
	flag.Value
	known() []string
}

// An optionGroup is what an option is about.
type optionGroup uint8

const (
	groupCommand  optionGroup = iota // one command
	groupRequest                     // what a request says of who asks
	groupServer                      // the servers, and the way to them
	groupIdentity                    // TLS on whichever side, and the own certificate
	groupKey
	groupPassword
	groupOutput
)

func newOptionSet() *optionSet {
	return &optionSet{FlagSet: flag.NewFlagSet("", flag.ContinueOnError), given: make(map[string]bool)}
}

// add declares an option by its names, with a blank between; arg is what its value is called.
func (o *optionSet) add(v flag.Value, names, arg, help string) {
	for name := range strings.FieldsSeq(names) {
		o.Var(v, name, help)
	}
	o.rows = append(o.rows, optionRow{o.group, names, arg, help, v})
}

// notFor is the name of the first shared option that was given and is not for the command, or
// nothing.
func (o *optionSet) notFor(c command) string {
	for _, row := range o.rows {
		if name := row.long(); o.given[name] && !c.accepts(row) {
			return name
		}
	}
	return ""
}

// find is the option of that name, without its dashes; nil for none.
func (o *optionSet) find(name string) *flag.Flag { return o.Lookup(strings.ReplaceAll(name, "_", "-")) }

// takeToggle reads an option without a value; what else arg may be is left alone.
func (o *optionSet) takeToggle(arg string) {
	if f := o.find(strings.TrimPrefix(arg[1:], "-")); f != nil && isToggle(f.Value) {
		_, _ = o.take(arg, nil, true)
	}
}

// take reads one option and, where it has one, its value from rest.
func (o *optionSet) take(arg string, rest []string, named bool) ([]string, error) {
	name, value, attached := strings.Cut(strings.TrimPrefix(arg[1:], "-"), "=")
	shown := escape(strings.TrimSuffix(arg, "="+value)) // the value may be a secret
	f := o.find(name)
	if f == nil {
		return nil, o.unknown(arg, shown, named)
	}
	if isToggle(f.Value) {
		if !attached {
			value = "true"
		}
		if f.Value.Set(value) != nil {
			return nil, takesNoValue(shown)
		}
	} else if !attached {
		if len(rest) == 0 {
			return nil, failf(classUsage, "option %s needs a value", shown)
		}
		value, rest = rest[0], rest[1:]
	}
	names := strings.Fields(o.row(f.Name).names)
	if err := f.Value.Set(value); err != nil {
		if _, ok := f.Value.(*number); ok && strings.Trim(value, "0123456789.-") != "" {
			// Whatever was meant for another option: -p hunter2.
			wrong := failf(classUsage, "option %s: its value %w", shown, err)
			if long := names[len(names)-1]; f.Name != long {
				wrong = wrong.withHint("%s is --%s", shown, long)
			}
			return nil, wrong
		}
		return nil, failf(classUsage, "option %s: \"%s\" %w", shown, escape(value), err)
	}
	for _, n := range names {
		o.given[n] = true
	}
	return rest, nil
}

func takesNoValue(option string) error { return failf(classUsage, "option %s takes no value", option) }

// row is the option that has this name, one of several; nil for none.
func (o *optionSet) row(name string) *optionRow {
	for i, row := range o.rows {
		if slices.Contains(strings.Fields(row.names), name) {
			return &o.rows[i]
		}
	}
	return nil
}

// unknown says what may have been meant. What is glued to the name of an option with a value is
// not repeated, since it may be a secret.
func (o *optionSet) unknown(arg, shown string, named bool) error {
	name, _, _ := strings.Cut(strings.ReplaceAll(strings.TrimLeft(arg, "-"), "_", "-"), "=")
	if short := o.Lookup(arg[1:2]); arg[1] != '-' && short != nil && !isToggle(short.Value) {
		return failf(classUsage, "unknown option -%c...", arg[1]).withHint("-%c and its value are two words", arg[1])
	}
	var long []string
	for _, row := range o.rows {
		long = append(long, row.long())
	}
	meant := nearest(name, long)
	for _, row := range o.rows {
		secret := row.long()
		if (row.group == groupKey || row.group == groupPassword) && strings.HasPrefix(name, secret) && (meant == "" || meant == secret) {
			return failf(classUsage, "unknown option --%s...", secret).withHint("--%s and its value are two words", secret)
		}
	}
	f := failf(classUsage, "unknown option %s", shown)
	switch owners := o.owners(name); {
	case len(owners) > 0 && !named:
		return f.withHint("it is an option of %s, and stands after the command", strings.Join(owners, ", "))
	case len(owners) > 0:
		return f.withHint("it is an option of %s", strings.Join(owners, ", "))
	case meant != "":
		return f.withHint("did you mean --%s?", meant)
	case !named:
		return f.withHint("a command's own options stand after the command; tacacs_plus help lists the others")
	}
	return f.withHint("tacacs_plus help, and tacacs_plus help COMMAND, list the options")
}

// nearest is the one of the candidates that word is most likely a slip of, or nothing: the only one
// that begins with the word, else one of which at most two letters are wrong, missing, too many or
// swapped, and one in a short word.
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

// beginning are the candidates that begin with a word of three letters at least.
func beginning(word string, candidates []string) []string {
	return slices.DeleteFunc(slices.Clone(candidates), func(c string) bool {
		return len(word) < 3 || !strings.HasPrefix(c, strings.ToLower(word))
	})
}

// distance is how many letters have to be changed, put in, left out or swapped with the next one to make b of a.
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

func isToggle(v flag.Value) bool {
	_, ok := v.(*toggle)
	return ok
}

// anyText, text (not empty: mostly the sign of a script's unset variable), toggle, list, number,
// seconds and hexBytes are the flag.Values of plain options.
type anyText string

func (t *anyText) String() string     { return string(*t) }
func (t *anyText) Set(s string) error { *t = anyText(s); return nil }

type text string

func (t *text) String() string { return string(*t) }
func (t *text) Set(s string) error {
	if s == "" {
		return errors.New("is empty")
	}
	*t = text(s)
	return nil
}

type toggle bool

func (t *toggle) String() string { return strconv.FormatBool(bool(*t)) }
func (t *toggle) Set(s string) (err error) {
	v, err := strconv.ParseBool(s)
	*t = toggle(v)
	return err
}

type list []string

func (l *list) String() string     { return strings.Join(*l, " ") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

type number struct {
	value    *int
	min, max int
}

func (n *number) String() string { return "" }
func (n *number) Set(s string) error {
	v, err := strconv.Atoi(s)
	if err != nil || v < n.min || v > n.max {
		return fmt.Errorf("is not %d to %d", n.min, n.max)
	}
	*n.value = v
	return nil
}

type seconds time.Duration

func (d *seconds) String() string { return time.Duration(*d).String() }
func (d *seconds) Set(s string) error {
	v, err := time.ParseDuration(s)
	if f, e := strconv.ParseFloat(s, 64); e == nil {
		v, err = time.Duration(math.Min(f, 1e9)*float64(time.Second)), nil
	}
	if err != nil || v <= 0 || v > 24*time.Hour {
		return errors.New("is not a time above 0 and up to 24h: seconds (2.5) or a duration (500ms)")
	}
	*d = seconds(v)
	return nil
}

type hexBytes []byte

func (h *hexBytes) String() string { return hex.EncodeToString(*h) }
func (h *hexBytes) Set(s string) error {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) == 0 {
		return errors.New("is not hexadecimal octets")
	}
	*h = b
	return nil
}
