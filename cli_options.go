package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// requestOptions are the options for the fields that all requests share. RFC 8907 section 5.1.
type requestOptions struct {
	fields       commonFields // without a rem_addr
	remAddr      string       // empty: the local address of the connection
	level        int          // -1: defaultLevel
	defaultLevel int
}

// longestAddr is checked in place of rem_addr until there is a connection.
const longestAddr = "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255"

func (c *requestOptions) register(o groupOptions) {
	c.level, c.fields.port, c.fields.typ, c.fields.service = -1, "tty0", authenASCII, authenServiceLogin
	o.add((*anyText)(&c.fields.user), "u username", "USER", "user, in place of the word USER")
	o.add(&c.fields.typ, "t authen-type", "TYPE", "authentication type (default ascii):")
	o.add(&number{&c.level, 0, 15}, "l priv-lvl", "N", "privilege level, 0 to 15 (default 0)")
	o.add((*text)(&c.remAddr), "r rem-addr", "ADDR", "rem_addr field: address of the user (default: the local address)")
	o.add((*anyText)(&c.fields.port), "P virtual-port", "PORT", "port field: line of the user on the device (default tty0)")
	o.add(&c.fields.service, "s service", "SERVICE", "authen_service field (default login):")
}

// check refuses values that the fields cannot hold or that are not for the command. The service ENABLE is only for the
// command enable (section 5.4.2.6).
func (c *requestOptions) check(command string) error {
	if !utf8.ValidString(c.fields.user) {
		return failf(classUsage, "user \"%s\" is not UTF-8", escape(c.fields.user))
	}
	if strings.ContainsFunc(c.fields.user, unicode.IsControl) {
		return failf(classUsage, "user \"%s\" has control characters", escape(c.fields.user))
	}
	for _, f := range []struct{ name, value string }{{"--virtual-port", c.fields.port}, {"--rem-addr", c.remAddr}} {
		if !printableASCII(f.value) {
			return failf(classUsage, "%s \"%s\" is not printable US-ASCII", f.name, escape(f.value))
		}
	}
	switch {
	case c.fields.service == authenServiceEnable && command != "enable":
		return failf(classUsage, "service enable is only for the command enable (RFC 8907 section 5.4.2.6)")
	case c.fields.typ == authenNotSet && command != "authorize" && command != "account":
		return failf(classUsage, "type not_set is only for authorize and account (RFC 8907 section 6.1)")
	}
	return nil
}

// enable sets service and level for the command enable. given reports whether the request names a service.
func (c *requestOptions) enable(given bool) error {
	if given && c.fields.service != authenServiceEnable {
		return failf(classUsage, "the service of enable must be enable, not %s", c.fields.service)
	}
	c.fields.service, c.defaultLevel = authenServiceEnable, 15
	return nil
}

// maxRemAddr returns the longest rem_addr that the requests may have.
func (c *requestOptions) maxRemAddr() string { return cmp.Or(c.remAddr, longestAddr) }

// commonFields returns the fields, but for rem_addr, which the connection may give.
func (c *requestOptions) commonFields() commonFields {
	fields := c.fields
	fields.privLvl = uint8(choose(c.level < 0, c.defaultLevel, c.level))
	return fields
}

// The defaults of --connect-timeout and --dead-time.
const (
	defaultConnect  = 3 * time.Second
	defaultDeadTime = 30 * time.Second
)

// addDeadTime declares --dead-time, for a command that sends many requests. The result is for serverOptions.
func addDeadTime(o *optionSet) *time.Duration {
	dead := defaultDeadTime
	o.add((*timeOrZero)(&dead), "dead-time", "TIME", "how long a server that does not answer is skipped while another one answers (default 30s; 0: never)")
	return &dead
}

// serverOptions are the options for the servers and the connection to them.
type serverOptions struct {
	host          string
	port          int
	timeout       time.Duration
	connect       time.Duration // limit for one address; 0: defaultConnect, but only while another one is left
	deadTime      time.Duration // see deadServers
	retries       int
	ipv4, ipv6    bool
	source        netip.Addr
	device        string
	proxyText     string
	singleConnect bool
	unencrypted   bool
	tls           tlsOptions

	servers []server      // of host, set by check
	proxy   *proxyCommand // of proxyText, set by check; nil for none
}

func (s *serverOptions) register(o groupOptions) {
	s.timeout, s.deadTime = 10*time.Second, defaultDeadTime
	o.add(&hostList{servers: &s.host}, "H host", "HOST", "servers, in place of the word HOST, each with tls:// or tcp:// in front if it is not as --tls says; repeatable")
	o.add(&number{&s.port, 1, 65535}, "p port", "PORT", "port of servers without one of their own (default 49; 300 with TLS)")
	o.add((*seconds)(&s.timeout), "timeout", "TIME", "limit for each server: seconds (2.5) or a duration (500ms) (default 10)")
	o.add((*seconds)(&s.connect), "connect-timeout", "TIME", "limit for connecting to one address (default 3s while another address or server is left)")
	o.add(&number{&s.retries, 0, 1000}, "retries", "N", "retry the whole server list N times (default 0)")
	o.add((*toggle)(&s.ipv4), "4", "", "use IPv4 only")
	o.add((*toggle)(&s.ipv6), "6", "", "use IPv6 only")
	o.add((*addrValue)(&s.source), "source", "ADDR", "local address to connect from")
	o.add((*deviceName)(&s.device), "vrf interface", "DEV", "network device or VRF to connect through (Linux)")
	o.set.in(groupProxy).add((*text)(&s.proxyText), "proxy-command", "COMMAND", "connect by the stdin and stdout of this command, run without a shell; %h and %p are host and port; not for batch, bench, relay")
	o.add((*toggle)(&s.singleConnect), "single-connect", "", "ask for single-connection mode")
	o.add((*toggle)(&s.unencrypted), "unencrypted", "", "no key: everything is readable on the wire")
}

// check parses the values. typed reports whether an option was given on the command line.
func (s *serverOptions) check(typed func(option string) bool) (err error) {
	if s.servers, err = parseServers(s.host, uint16(s.port), s.tls.enabled); err != nil {
		return err
	}
	if !s.overTLS() && (typed("tls") || typed("unencrypted") || strings.Count(strings.ToLower(s.host), "tcp://") == len(s.servers)) {
		s.tls.clear(typed)
	}
	if err := s.tls.check(s.overTLS()); err != nil {
		return err
	}
	if typed("tls") && s.tls.enabled && !s.overTLS() {
		return failf(classUsage, "--tls has no use: each server has tcp://")
	}
	for i, srv := range s.servers {
		if slices.ContainsFunc(s.servers[:i], func(o server) bool { return strings.EqualFold(o.name, srv.name) && o.tls != srv.tls }) {
			return failf(classUsage, "%s is in the list with TLS and without", srv).withHint("give each its own port")
		}
	}
	if !s.inClear() && s.unencrypted {
		return failf(classUsage, "%s and --unencrypted cannot be used together", choose(s.tls.enabled, "--tls", "tls://"))
	}
	if s.ipv4 && s.ipv6 {
		return failf(classUsage, "-4 and -6 cannot be used together")
	}
	if s.source.IsValid() && (s.ipv4 && !s.source.Is4() || s.ipv6 && s.source.Is4()) {
		return failf(classUsage, "--source %s cannot be used with %s", s.source, choose(s.ipv4, "-4", "-6"))
	}
	if s.proxyText != "" {
		if s.ipv4 || s.ipv6 || s.source.IsValid() || s.device != "" {
			return failf(classUsage, "--proxy-command cannot be used with -4, -6, --source or --interface")
		}
		if s.proxy, err = newProxyCommand(s.proxyText, s.servers); err != nil {
			return err
		}
	}
	if s.device != "" && !canBindToDevice {
		return failf(classUsage, "--interface needs Linux").withHint("use --source to choose the local address")
	}
	return nil
}

// overTLS reports whether a server is over TLS, inClear whether one is not.
func (s *serverOptions) overTLS() bool { return anyOver(s.servers, true) }
func (s *serverOptions) inClear() bool { return anyOver(s.servers, false) }

func (s *serverOptions) network() string {
	switch {
	case s.ipv4 || s.source.Is4():
		return "tcp4"
	case s.ipv6 || s.source.IsValid():
		return "tcp6"
	}
	return "tcp"
}

// tlsDetails are the options that need TLS.
const tlsDetails = "cacert cert cert-key servername crl insecure keylog pin"

// tlsOptions are the options of TACACS+ over TLS 1.3 (RFC 9887).
type tlsOptions struct {
	enabled    bool
	caCert     string
	cert       string
	certKey    string
	serverName string
	crls       list
	insecure   bool
	pins       pinList
	keyLog     string
}

// register declares the options for either side of a connection, and those for the servers.
func (t *tlsOptions) register(o, server groupOptions) {
	o.add((*toggle)(&t.enabled), "tls", "", "TACACS+ over TLS 1.3 (RFC 9887): port 300, no key, no fallback to cleartext")
	server.add((*text)(&t.caCert), "cacert", "FILE", "certificates to trust, PEM (default the system's)")
	o.add((*text)(&t.cert), "cert", "FILE", "client certificate, with its chain, PEM")
	o.add((*text)(&t.certKey), "cert-key", "FILE", "its private key, PEM (default in the file of --cert)")
	server.add((*text)(&t.serverName), "servername", "NAME", "name that the server's certificate must have (default: that in HOST)")
	server.add(&t.crls, "crl", "FILE", "revocation list, PEM or DER; repeatable")
	server.add((*toggle)(&t.insecure), "insecure", "", "do not verify the server's certificate")
	server.add(&t.pins, "pin", "SHA256", "trust exactly the certificate with this SHA-256 of its DER, in place of chain and name; repeatable")
	server.add((*text)(&t.keyLog), "keylog", "FILE", "append the secrets of TLS sessions to FILE, for decode and other packet analysers")
}

// clear removes the details of a profile, which have no use without TLS. Typed ones stay, for check.
func (t *tlsOptions) clear(typed func(option string) bool) {
	if !slices.ContainsFunc(strings.Fields(tlsDetails), typed) {
		*t = tlsOptions{enabled: t.enabled}
	}
}

// check rejects TLS options without TLS, so that it is never in doubt whether it is used (RFC 9887 section 5.2).
func (t *tlsOptions) check(overTLS bool) error {
	for _, o := range []struct {
		name  string
		given bool
	}{
		{"--cacert", t.caCert != ""}, {"--cert", t.cert != ""}, {"--cert-key", t.certKey != ""}, {"--servername", t.serverName != ""},
		{"--crl", len(t.crls) > 0}, {"--insecure", t.insecure}, {"--keylog", t.keyLog != ""}, {"--pin", len(t.pins) > 0},
	} {
		if o.given && !overTLS {
			return failf(classUsage, "%s needs --tls", o.name)
		}
	}
	if len(t.pins) > 0 && t.insecure {
		return failf(classUsage, "--pin and --insecure cannot be used together")
	}
	if t.certKey != "" && t.cert == "" {
		return failf(classUsage, "--cert-key needs --cert")
	}
	return nil
}

// client reads the files of the options. The system's roots are read only when they are needed.
func (t *tlsOptions) client(ctx context.Context, warn warnFunc) (*tlsClient, error) {
	c := &tlsClient{serverName: t.serverName, pins: t.pins}
	c.revocation.warnf = warnOnce(warn) // for the run, not for each of its connections
	c.config = &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: t.insecure || len(t.pins) > 0, ClientSessionCache: &ticketCache{}}
	var err error
	if t.caCert != "" {
		if c.config.RootCAs, err = readCertPool(ctx, t.caCert); err != nil {
			return nil, err
		}
	}
	if t.cert != "" {
		if c.config.Certificates, err = readKeyPair(ctx, t.cert, t.certKey); err != nil {
			return nil, err
		}
	}
	if c.revocation.lists, err = readCRLs(ctx, t.crls); err != nil {
		return nil, err
	}
	if t.keyLog != "" {
		if c.config.KeyLogWriter, err = openKeyLog(ctx, t.keyLog); err != nil {
			return nil, err
		}
	}
	if len(t.pins) > 0 {
		warn(warnPinned, "the server's certificate is verified by --pin alone, not by its chain and its name")
	}
	if t.insecure {
		warn(warnInsecure, "the server's certificate is not verified (--insecure): any host could answer in its place")
	}
	return c, nil
}

// openKeyLog opens the file to which the secrets of TLS sessions are appended.
func openKeyLog(ctx context.Context, name string) (*os.File, error) {
	var f *os.File
	err := onFile(ctx, name, func() (err error) {
		f, err = openPrivate(name, nil)
		return err
	})
	if err != nil {
		return nil, fileError("open the key log", err)
	}
	return f, nil
}
