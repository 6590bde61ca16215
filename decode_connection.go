package main

import (
	"bytes"
	"errors"
	"fmt"
)

// closedBy returns who closed the connection, or "" if that is not in the capture.
func (t *tacacsStream) closedBy() string {
	if t.history.closer < 0 {
		return ""
	}
	return "closed by the " + endNames[t.history.closer^max(t.clientEnd, 0)]
}

// logConnection prints a connection that never spoke TACACS+, on a port where it should.
func (d *decoder) logConnection(t *tacacsStream) {
	if t.recognized || !d.isExpected(t.ends) || !t.ends[0].IsValid() {
		return
	}
	r := new(sessionRecord)
	t.identify(r, t.began)
	if t.tls != nil {
		if t.tls.keys == nil || t.tls.problem+t.tls.alert != "" {
			return // reported by reportTLS
		}
		r.protection = protectionTLS
	}
	client, server := t.history.flags[max(t.clientEnd, 0)], t.history.flags[1-max(t.clientEnd, 0)]
	switch {
	case len(t.head)+len(t.prefix) > 0 && (t.missing == 0 || len(t.head) != 1):
		first := append(t.head, t.prefix[:min(len(t.prefix), maxHead)]...)
		r.status, r.reason = statusNotTACACS, fmt.Sprintf("% x %q", first, printable(first))
	case t.started && (t.tls == nil || t.missing > 0):
		r.status, r.reason = statusCut, "no header of the connection is in the capture"
	case client&tcpSYN == 0:
		return // it began before the capture
	case server&tcpSYN != 0 && t.history.closer < 0:
		d.logProblem(t, t.began, &sessionRecord{problem: "no data, and no end in the capture"})
		return
	case server&tcpSYN != 0:
		r.status, r.reason = statusOpenClose, t.closedBy()
	case server&tcpRST != 0:
		r.status = statusRefused
	case server == 0:
		r.status = statusSYNOnly
	default:
		return
	}
	d.log(d.keys.client(r.peer.Addr()), r, 0)
}

// printable returns bytes as text, with a dot for those that are not printable US-ASCII.
func printable(b []byte) string {
	text := make([]byte, len(b))
	for i, c := range b {
		if text[i] = '.'; c >= ' ' && c <= '~' {
			text[i] = c
		}
	}
	return string(text)
}

// reportTLS prints why a TLS conversation was not read, and its alert. On a port that is not of TACACS+ it may be any
// protocol, so it is only counted.
func (d *decoder) reportTLS(t *tacacsStream) {
	problem := t.tls.problem
	if t.tls.keys == nil { // also if the capture has secrets later
		problem = "no key log (--keylog FILE)"
	}
	switch {
	case problem == "" && t.tls.alert == "":
		return
	case !d.isExpected(t.ends) && !t.recognized:
		d.counts.otherTLS++
		return
	}
	if d.summary != nil {
		d.counts.unreadTLS++
		return
	}
	text := "TLS"
	if t.tls.serverName != "" {
		text += " to " + t.tls.serverName
	}
	if problem != "" {
		text += " not decrypted: " + problem
	}
	if t.tls.alert != "" {
		text += "; alert: " + t.tls.alert
	}
	d.logProblem(t, t.began, &sessionRecord{problem: text})
}

// stripProxyHeader returns what follows the PROXY header at the start of a conversation, or all bytes if there is none. Until
// the header is whole it returns nothing. The client that the header names is the peer then.
func (t *tacacsStream) stripProxyHeader(from int, data []byte) []byte {
	if t.clientEnd == 1-from {
		return data
	}
	held := data
	if len(t.prefix) > 0 {
		held = append(t.prefix, data...)
	}
	h, n, err := parseProxyHeader(held)
	if errors.Is(err, errCutProxyHeader) {
		t.prefix = bytes.Clone(held)
		return nil
	}
	t.prefix = nil
	if err != nil || n == 0 {
		return held
	}
	t.clientEnd = from
	if h.client.IsValid() {
		t.proxied, t.proxy = h.client, t.ends[from]
	}
	return held[n:]
}
