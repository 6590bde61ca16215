package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// A proxyHeader is what a load balancer sends first on a connection: the addresses of the connection that it forwards.
// See proxy-protocol.txt of HAProxy.
type proxyHeader struct {
	client, server netip.AddrPort // invalid if the header has no TCP addresses: then those of the socket hold
}

// Largest headers, in bytes.
const (
	maxProxyV1 = 107
	maxProxyV2 = 536
)

const (
	proxyV1Prefix    = "PROXY "
	proxyV2Signature = "\r\n\r\n\x00\r\nQUIT\n"
	proxyV2Len       = len(proxyV2Signature) + 4 // without addresses

	proxyV2Local = 0x20 // version and command
	proxyV2Proxy = 0x21
	proxyV2TCP4  = 0x11 // family and transport
	proxyV2TCP6  = 0x21
)

var (
	errNoProxyHeader  = errors.New("no PROXY header")
	errCutProxyHeader = errors.New("the PROXY header is cut") // b can be the start of one
)

// parseProxyHeader parses the PROXY header, version 1 or 2, at the start of b, and returns its length in bytes. The error
// is errNoProxyHeader if b begins with something else, and errCutProxyHeader if b ends within the header.
func parseProxyHeader(b []byte) (h proxyHeader, n int, err error) {
	switch {
	case hasPrefixOrCut(b, proxyV2Signature):
		return parseProxyV2(b)
	case hasPrefixOrCut(b, proxyV1Prefix):
		return parseProxyV1(b)
	}
	return h, 0, errNoProxyHeader
}

// hasPrefixOrCut reports whether b begins with prefix, as far as b goes.
func hasPrefixOrCut(b []byte, prefix string) bool {
	n := min(len(b), len(prefix))
	return string(b[:n]) == prefix[:n]
}

func parseProxyV1(b []byte) (h proxyHeader, n int, err error) {
	line, _, found := bytes.Cut(b[:min(len(b), maxProxyV1)], []byte("\r\n"))
	switch {
	case !found && len(b) < maxProxyV1:
		return h, 0, errCutProxyHeader
	case !found:
		return h, 0, errors.New("the PROXY header has no end within 107 bytes")
	}
	n = len(line) + len("\r\n")
	words := strings.Split(string(line), " ")
	if words[1] == "UNKNOWN" { // whatever follows is ignored
		return h, n, nil
	}
	if len(words) != 6 || words[1] != "TCP4" && words[1] != "TCP6" {
		return h, 0, errors.New("the PROXY header is not \"PROXY TCP4 or TCP6, two addresses, two ports\"")
	}
	var ok [2]bool
	h.client, ok[0] = proxyAddr(words[1], words[2], words[4])
	h.server, ok[1] = proxyAddr(words[1], words[3], words[5])
	if !ok[0] || !ok[1] {
		return proxyHeader{}, 0, errors.New("the PROXY header has an invalid address or port")
	}
	return h, n, nil
}

// proxyAddr parses an address and a port of version 1.
func proxyAddr(family, addr, port string) (a netip.AddrPort, ok bool) {
	ip, err := netip.ParseAddr(addr)
	number, wrong := strconv.ParseUint(port, 10, 16)
	ok = err == nil && wrong == nil && ip.Zone() == "" && ip.Is4() == (family == "TCP4")
	return netip.AddrPortFrom(ip.Unmap(), uint16(number)), ok
}

func parseProxyV2(b []byte) (h proxyHeader, n int, err error) {
	if len(b) < proxyV2Len {
		return h, 0, errCutProxyHeader
	}
	command, family := b[12], b[13]
	n = proxyV2Len + int(binary.BigEndian.Uint16(b[14:]))
	switch {
	case command != proxyV2Local && command != proxyV2Proxy:
		return h, 0, errors.New("the PROXY header has an unknown version or command")
	case n > maxProxyV2:
		return h, 0, errors.New("the PROXY header exceeds 536 bytes")
	case len(b) < n:
		return h, 0, errCutProxyHeader
	}
	size, body := 0, b[proxyV2Len:n] // of an address; addresses, ports, other fields
	switch family {
	case proxyV2TCP4:
		size = 4
	case proxyV2TCP6:
		size = 16
	}
	switch {
	case command == proxyV2Local || size == 0:
		return h, n, nil
	case len(body) < 2*size+4:
		return h, 0, errors.New("the PROXY header is too short for its addresses")
	}
	h.client, h.server = proxyV2Addr(body[:size], body[2*size:]), proxyV2Addr(body[size:2*size], body[2*size+2:])
	return h, n, nil
}

// proxyV2Addr returns an address and the port at the start of port.
func proxyV2Addr(addr, port []byte) netip.AddrPort {
	a, _ := netip.AddrFromSlice(addr)
	return netip.AddrPortFrom(a.Unmap(), binary.BigEndian.Uint16(port))
}

// proxyV2Header returns a PROXY header of version 2 for a connection from client to server. Without a client it has the
// command LOCAL.
func proxyV2Header(client, server netip.AddrPort) []byte {
	b, family := []byte(proxyV2Signature), byte(proxyV2TCP4)
	from, to := client.Addr().Unmap(), server.Addr().Unmap()
	if !from.IsValid() || !to.IsValid() {
		return append(b, proxyV2Local, 0, 0, 0)
	}
	if !from.Is4() || !to.Is4() {
		family, from, to = proxyV2TCP6, netip.AddrFrom16(from.As16()), netip.AddrFrom16(to.As16())
	}
	addrs := append(from.AsSlice(), to.AsSlice()...)
	b = append(append(b, proxyV2Proxy, family, 0, byte(len(addrs)+4)), addrs...)
	b = binary.BigEndian.AppendUint16(b, client.Port())
	return binary.BigEndian.AppendUint16(b, server.Port())
}

// firstBytes describes what begins with other bytes than TACACS+.
func firstBytes(b []byte) string {
	if isProxyHeader(b) {
		return "unexpected PROXY header"
	}
	return fmt.Sprintf("the first byte is 0x%02x", b[0])
}

// isProxyHeader reports whether b begins a PROXY header.
func isProxyHeader(b []byte) bool {
	_, _, err := parseProxyHeader(b)
	return !errors.Is(err, errNoProxyHeader)
}
