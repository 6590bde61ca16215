package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// anyText is a flag.Value, as are text, which rejects the empty string of an unset variable in a script, toggle, list,
// addrValue, number, seconds, timeOrZero, deviceName, hostList, pinList and hexValue.
type anyText string

func (t *anyText) String() string { return string(*t) }

func (t *anyText) Set(s string) error { *t = anyText(s); return nil }

type text string

func (t *text) String() string { return string(*t) }

func (t *text) Set(s string) error {
	if s == "" {
		return errors.New("must not be empty")
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

func (l *list) String() string { return strings.Join(*l, " ") }

func (l *list) Set(s string) error { *l = append(*l, s); return nil }

type addrValue netip.Addr

func (a *addrValue) String() string { return "" }

func (a *addrValue) Set(s string) error {
	v, err := netip.ParseAddr(s)
	if *a = addrValue(v); err != nil {
		return errors.New("is not an address")
	}
	return nil
}

type number struct {
	value    *int
	min, max int
}

func (n *number) String() string { return strconv.Itoa(*n.value) }

func (n *number) Set(s string) error {
	v, err := strconv.Atoi(s)
	if err != nil || v < n.min || v > n.max {
		return fmt.Errorf("must be %d to %d", n.min, n.max)
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
		return errors.New("must be above 0 and at most 24h: seconds (2.5) or a duration (500ms)")
	}
	*d = seconds(v)
	return nil
}

// timeOrZero is a time that can be 0.
type timeOrZero time.Duration

func (d *timeOrZero) String() string { return time.Duration(*d).String() }

func (d *timeOrZero) Set(s string) error {
	if v, err := strconv.ParseFloat(strings.TrimSuffix(s, "s"), 64); err == nil && v == 0 {
		*d = 0
		return nil
	}
	if (*seconds)(d).Set(s) != nil {
		return errors.New("must be 0 to 24h: seconds (2.5) or a duration (500ms)")
	}
	return nil
}

// A deviceName is the value of an option with two names, which must not contradict each other.
type deviceName string

func (d *deviceName) String() string { return string(*d) }

func (d *deviceName) Set(s string) error {
	if *d != "" && string(*d) != s {
		return fmt.Errorf("is not \"%s\", which was given before: --interface and --vrf are the same", escape(string(*d)))
	}
	return (*text)(d).Set(s)
}

// A hostList is a list of servers with commas. Further lists are added to the first one.
type hostList struct {
	servers *string
	set     bool
}

func (h *hostList) String() string { return "" }

func (h *hostList) Set(s string) error {
	if h.set {
		s = *h.servers + "," + s
	}
	*h.servers, h.set = s, true
	return nil
}

// A pinList is the SHA-256 sums of certificates.
type pinList [][sha256.Size]byte

func (p *pinList) String() string { return "" }

func (p *pinList) Set(s string) error {
	var sum [sha256.Size]byte
	digits := strings.ReplaceAll(s, ":", "")
	if n, err := hex.Decode(sum[:], []byte(digits[:min(len(digits), 2*len(sum))])); err != nil || n != len(sum) || len(digits) != 2*len(sum) {
		return errors.New("must be 64 hexadecimal digits: openssl x509 -in FILE -noout -fingerprint -sha256 prints them")
	}
	*p = append(*p, sum)
	return nil
}

type hexValue []byte

func (h *hexValue) String() string { return hex.EncodeToString(*h) }

func (h *hexValue) Set(s string) error {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) == 0 {
		return errors.New("must be hexadecimal bytes")
	}
	*h = b
	return nil
}
