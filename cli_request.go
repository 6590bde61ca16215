package main

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// A caller is what the START and the two REQUESTs say of who asks. RFC 8907 section 5.1.
type requestOptions struct {
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

func (c *requestOptions) register(o groupOptions) {
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
func (c *requestOptions) check(command string) error {
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
func (c *requestOptions) enable(given bool) error {
	if given && c.service != authenServiceEnable {
		return failf(classUsage, "enable has the service enable, not %s", c.service)
	}
	c.service, c.defaultLevel = authenServiceEnable, 15
	return nil
}

// describe is what a secret of the caller is called at a prompt.
func (c *requestOptions) promptFor(what string) string {
	if c.service == authenServiceEnable {
		what = "enable " + what
	}
	if c.user != "" {
		what += " for " + escape(c.user)
	}
	return what
}

// subject is what the messages say of the caller, but for rem_addr, which the connection may give.
func (c *requestOptions) commonFields() commonFields {
	level := c.level
	if level < 0 {
		level = c.defaultLevel
	}
	return commonFields{privLvl: uint8(level), typ: c.authenType, service: c.service, user: c.user, port: c.port}
}
