package main

import (
	"cmp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// requestOptions are the options for the fields that all requests share. RFC 8907 section 5.1.
type requestOptions struct {
	user         string
	port         string // virtual port, not that of TCP
	remAddr      string // empty: the local address of the connection
	level        int    // -1: defaultLevel
	defaultLevel int
	authenType   authenType
	service      authenService
}

// longestAddr is checked in place of rem_addr until there is a connection.
const longestAddr = "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255"

func (c *requestOptions) register(o groupOptions) {
	c.level, c.port, c.authenType, c.service = -1, "tty0", authenASCII, authenServiceLogin
	o.add((*anyText)(&c.user), "u username", "USER", "user, in place of the word USER")
	o.add(&c.authenType, "t authen-type", "TYPE", "authentication type (default ascii):")
	o.add(&number{&c.level, 0, 15}, "l priv-lvl", "N", "privilege level, 0 to 15 (default 0)")
	o.add((*text)(&c.remAddr), "r rem-addr", "ADDR", "rem_addr field: address of the user (default: the local address)")
	o.add((*anyText)(&c.port), "P virtual-port", "PORT", "port field: line of the user on the device (default tty0)")
	o.add(&c.service, "s service", "SERVICE", "authen_service field (default login):")
}

// check refuses values that the fields cannot hold or that are not for the command. The service ENABLE is only for the
// command enable (section 5.4.2.6).
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

// enable sets service and level for the command enable. given reports whether the request names a service.
func (c *requestOptions) enable(given bool) error {
	if given && c.service != authenServiceEnable {
		return failf(classUsage, "enable has the service enable, not %s", c.service)
	}
	c.service, c.defaultLevel = authenServiceEnable, 15
	return nil
}

// maxRemAddr returns the longest rem_addr that the requests may have.
func (c *requestOptions) maxRemAddr() string { return cmp.Or(c.remAddr, longestAddr) }

// commonFields returns the fields, but for rem_addr, which the connection may give.
func (c *requestOptions) commonFields() commonFields {
	level := c.level
	if level < 0 {
		level = c.defaultLevel
	}
	return commonFields{privLvl: uint8(level), typ: c.authenType, service: c.service, user: c.user, port: c.port}
}
