package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// A recordFilter chooses the sessions that are printed or counted. The zero filter chooses all.
type recordFilter struct {
	users    list
	statuses statusList
	peers    prefixList
}

func (f *recordFilter) addTo(o *optionSet) {
	o.add(&f.users, "user", "NAME", "print only sessions of this user; repeatable")
	o.add(&f.statuses, "status", "STATUS[,...]", "print only sessions with one of these statuses; repeatable")
	o.add(&f.peers, "peer", "PREFIX", "print only sessions of clients with this address or prefix; repeatable")
}

// has reports whether the filter chooses a record. The problem of a connection has neither user nor status.
func (f *recordFilter) has(r *sessionRecord) bool {
	return (len(f.users) == 0 || slices.Contains(f.users, r.user) && (r.known || r.user != "")) &&
		(len(f.statuses) == 0 || slices.Contains(f.statuses, r.status)) &&
		(len(f.peers) == 0 || f.peers.contains(r.peer.Addr()))
}

// A statusList is a flag.Value: statuses of sessions, separated by commas.
type statusList []string

func (s *statusList) String() string { return strings.Join(*s, ",") }

// Set implements flag.Value. Statuses that RFC 8907 does not define are numbers, such as 0x63.
func (s *statusList) Set(text string) error {
	known := sessionStatuses()
	for _, word := range strings.Split(text, ",") {
		status := strings.ToUpper(strings.TrimSpace(word))
		if strings.HasPrefix(status, "0X") {
			status = strings.ToLower(status)
		} else if !slices.Contains(known, status) {
			if meant := nearestStatus(status, known); meant != "" {
				return fmt.Errorf("is no status: did you mean %s?", meant)
			}
			return notOneOf(known)
		}
		*s = append(*s, status)
	}
	return nil
}

func (s *statusList) known() []string { return sessionStatuses() }

// nearestStatus is nearest for statuses, which are in upper case.
func nearestStatus(status string, known []string) string {
	var lower []string
	for _, s := range known {
		lower = append(lower, strings.ToLower(s))
	}
	return strings.ToUpper(nearest(status, lower))
}

// sessionStatuses returns all statuses of a line but numbers.
func sessionStatuses() []string {
	all := []string{statusNoReply, statusNoKey, statusAbandoned, statusAbort, statusCut, statusMalformed, statusViolation,
		statusReset, statusRefused, statusSYNOnly, statusOpenClose, statusNotTACACS}
	for _, n := range [...]names{authenStatusNames, authorStatusNames, acctStatusNames} {
		all = append(all, n.known()...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// A prefixList is a flag.Value: addresses and prefixes.
type prefixList []netip.Prefix

func (l *prefixList) String() string { return "" }

// Set implements flag.Value.
func (l *prefixList) Set(text string) error {
	prefix, err := parsePrefix(text)
	if err == nil {
		*l = append(*l, prefix)
	}
	return err
}

func (l prefixList) contains(addr netip.Addr) bool {
	return slices.ContainsFunc(l, func(p netip.Prefix) bool { return p.Contains(addr.Unmap()) })
}
