package main

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
)

// Numbers that code refers to.
const (
	etherIPv4     = 0x0800
	etherIPv6     = 0x86dd
	etherMPLS     = 0x8847
	etherPPPoE    = 0x8864
	etherEthernet = 0x6558 // transparent Ethernet bridging, of GRE and Geneve
	etherERSPAN   = 0x88be // types I and II
	etherERSPAN3  = 0x22eb
	etherLLC      = 0x0600 // lower values are lengths, and LLC follows

	protocolTCP = 6
	protocolUDP = 17
)

// Reasons why a frame is not read, other than its protocol.
const (
	malformedHeader = ofNone + iota
	cutHeader       // by the capture
	ipFragment      // fragments are not reassembled
	deepNesting
)

// Bounds of one frame.
const (
	maxLayers = 64
	maxNested = 4 // encapsulations
)

// An encapsulation is a header before another protocol.
type encapsulation struct {
	protocol protocol
	size     int      // bytes of the header
	next     protocol // what follows, or the space of its number
	at       int      // offset of that number, which has 16 bits; -1 if next is what follows
	nested   bool     // counts against maxNested
	// parse, if not nil, returns what follows and the size of the header, in place of next and at. The header has at
	// least size bytes. It is notRead if next is not read, or this protocol if next is 0.
	parse func(b []byte) (next protocol, size int)
}

const notRead = -1 // in place of the size of a header

var encapsulations = []encapsulation{
	{protocol: linkEthernet, size: 14, next: ofEther, at: 12},
	{protocol: linkCooked, size: 16, next: ofEther, at: 14},
	{protocol: linkCooked2, size: 20, next: ofEther, at: 0},
	{protocol: linkNull, size: 4, parse: parseLoopback},
	{protocol: linkLoop, size: 4, parse: parseLoopback},
	{protocol: linkRawIP, size: 1, parse: parseVersion},
	{protocol: linkDLTRaw, size: 1, parse: parseVersion},
	{protocol: linkDLTRaw14, size: 1, parse: parseVersion},
	{protocol: linkIPv4, size: 1, parse: parseVersion},
	{protocol: linkIPv6, size: 1, parse: parseVersion},
	{protocol: linkPPP, size: 2, parse: parsePPP},
	{protocol: linkPPPHDLC, size: 4, parse: parsePPP},
	{protocol: linkPPPoE, next: ofEther + etherPPPoE, at: -1},
	{protocol: linkCiscoHDLC, size: 4, next: ofEther, at: 2},

	{protocol: ofEther + 0x8100, size: 4, next: ofEther, at: 2}, // VLAN
	{protocol: ofEther + 0x88a8, size: 4, next: ofEther, at: 2}, // QinQ
	{protocol: ofEther + 0x9100, size: 4, next: ofEther, at: 2}, // the same before IEEE 802.1ad
	{protocol: ofEther + etherEthernet, next: linkEthernet, at: -1},
	{protocol: ofEther + etherMPLS, size: 4, nested: true, parse: parseMPLS},
	{protocol: ofEther + 0x8848, next: ofEther + etherMPLS, at: -1}, // multicast
	{protocol: ofEther + etherPPPoE, size: 8, next: ofPPP, at: 6, nested: true},
	{protocol: ofEther + etherERSPAN, size: 8, next: linkEthernet, at: -1}, // type II
	{protocol: ofEther + etherERSPAN3, size: 12, parse: parseERSPAN3},

	{protocol: ofLLC, size: 8, nested: true, parse: parseLLC},
	{protocol: ofPPP + 0x0021, next: ofEther + etherIPv4, at: -1},
	{protocol: ofPPP + 0x0057, next: ofEther + etherIPv6, at: -1},
	{protocol: ofPPP + 0x0281, next: ofEther + etherMPLS, at: -1},

	{protocol: ofIP + 4, next: ofEther + etherIPv4, at: -1, nested: true},
	{protocol: ofIP + 41, next: ofEther + etherIPv6, at: -1, nested: true},
	{protocol: ofIP + 47, size: 4, nested: true, parse: parseGRE},
	{protocol: ofIP + 137, next: ofEther + etherMPLS, at: -1},
	{protocol: ofIP + protocolUDP, size: 8, parse: parseUDP},
	{protocol: ofUDP + 4789, size: 8, nested: true, parse: parseVXLAN},
	{protocol: ofUDP + 8472, size: 8, nested: true, parse: parseVXLAN}, // of Linux
	{protocol: ofUDP + 6081, size: 8, nested: true, parse: parseGeneve},

	// IPv6 extension headers: RFC 8200 section 4.
	{protocol: ofIP + 0, size: 8, parse: parseExtension},   // hop-by-hop options
	{protocol: ofIP + 43, size: 8, parse: parseExtension},  // routing
	{protocol: ofIP + 44, size: 8, parse: parseFragment},   // fragment, which may be the whole packet (RFC 6946)
	{protocol: ofIP + 60, size: 8, parse: parseExtension},  // destination options
	{protocol: ofIP + 135, size: 8, parse: parseExtension}, // mobility
	{protocol: ofIP + 139, size: 8, parse: parseExtension}, // host identity
	{protocol: ofIP + 140, size: 8, parse: parseExtension}, // shim6
	{protocol: ofIP + 51, size: 8, parse: parseAuthentication},
}

// number16 returns the number of 16 bits at an offset.
func number16(b []byte, at int) protocol { return protocol(binary.BigEndian.Uint16(b[at:])) }

// parseLoopback reads the address family, in the byte order of the host that captured. That of IPv6 depends on the system.
func parseLoopback(b []byte) (protocol, int) {
	family := min(binary.LittleEndian.Uint32(b), binary.BigEndian.Uint32(b))
	if slices.Contains([]uint32{2, 10, 24, 28, 30}, family) {
		return linkRawIP, 4
	}
	return ofFamily + protocol(family), notRead
}

// parseVersion tells IPv4 from IPv6.
func parseVersion(b []byte) (protocol, int) {
	switch b[0] >> 4 {
	case 4:
		return ofEther + etherIPv4, 0
	case 6:
		return ofEther + etherIPv6, 0
	}
	return malformedHeader, notRead
}

// parsePPP parses the header of RFC 1662 section 3.1. Its address and control fields may be missing.
func parsePPP(b []byte) (protocol, int) {
	if len(b) >= 4 && b[0] == 0xff && b[1] == 3 {
		return ofPPP + number16(b, 2), 4
	}
	return ofPPP + number16(b, 0), 2
}

// parseMPLS skips labels. RFC 3032 section 2.1. What follows shows in its first bits: IP, or Ethernet with or without a
// control word (RFC 4385 section 3), which begins with zeros as most addresses do.
func parseMPLS(b []byte) (protocol, int) {
	n := 4
	for ; n < len(b) && b[n-2]&1 == 0; n += 4 {
	}
	if n >= len(b) {
		return malformedHeader, notRead
	}
	if ip, size := parseVersion(b[n:]); size != notRead {
		return ip, n
	}
	if b[n]>>4 == 0 && !looksLikeEthernet(b[n:]) {
		n += 4
	}
	return linkEthernet, n
}

// looksLikeEthernet reports whether a frame contains a protocol that is read.
func looksLikeEthernet(b []byte) bool {
	if len(b) < 14 {
		return false
	}
	read := []protocol{etherIPv4, etherIPv6, 0x8100, 0x88a8, 0x9100, etherMPLS, etherPPPoE}
	number := number16(b, 12)
	return slices.Contains(read, number) || number < etherLLC && bytes.HasPrefix(b[14:], snap)
}

// snap is a header of IEEE 802.2 before SNAP.
var snap = []byte{0xaa, 0xaa, 3}

// parseLLC parses the headers of IEEE 802.2 and SNAP (RFC 1042).
func parseLLC(b []byte) (protocol, int) {
	if !bytes.HasPrefix(b, snap) {
		return ofLLC + protocol(b[0]), notRead
	}
	if organization := protocol(b[3])<<16 | number16(b, 4); organization != 0 {
		return ofSNAP + organization<<16 + number16(b, 6), notRead
	}
	return ofEther + number16(b, 6), 8
}

// parseGRE parses the header of RFC 2784 and 2890. Before ERSPAN of type I there is no sequence number, and after it the
// frame begins at once.
func parseGRE(b []byte) (protocol, int) {
	const checksum, routing, key, sequence, version = 0x8000, 0x4000, 0x2000, 0x1000, 7
	flags, number, n := number16(b, 0), number16(b, 2), 4
	for _, option := range [...]protocol{checksum, key, sequence} {
		if flags&option != 0 {
			n += 4
		}
	}
	switch {
	case flags&(routing|version) != 0 || number < etherLLC:
		return ofGRE + number, notRead
	case number == etherERSPAN && flags&sequence == 0:
		return linkEthernet, n
	}
	return ofEther + number, n
}

// parseERSPAN3 parses the header of type III, which may have a subheader. A frame of type 0 is Ethernet, one of type 2 IP.
func parseERSPAN3(b []byte) (protocol, int) {
	n := 12
	if b[11]&1 != 0 {
		n += 8
	}
	switch b[10] >> 2 & 0x1f {
	case 0:
		return linkEthernet, n
	case 2:
		return linkRawIP, n
	}
	return 0, notRead
}

// parseUDP returns the destination port, which shows what follows. If it does not, the lower port names it better.
func parseUDP(b []byte) (protocol, int) {
	to := ofUDP + number16(b, 2)
	if protocolNames[to] == "" {
		to = min(to, ofUDP+number16(b, 0))
	}
	return to, 8
}

// parseVXLAN parses the header of RFC 7348 section 5.
func parseVXLAN(b []byte) (protocol, int) {
	if b[0]&8 == 0 {
		return 0, notRead
	}
	return linkEthernet, 8
}

// parseGeneve parses the header of RFC 8926 section 3.4.
func parseGeneve(b []byte) (protocol, int) {
	if b[0]>>6 != 0 {
		return 0, notRead
	}
	return ofEther + number16(b, 2), 8 + int(b[0]&0x3f)*4
}

// parseExtension skips an extension header of IPv6.
func parseExtension(b []byte) (protocol, int) {
	return ofIP + protocol(b[0]), 8 + int(b[1])*8
}

// parseAuthentication skips the header of RFC 4302 section 2.
func parseAuthentication(b []byte) (protocol, int) {
	return ofIP + protocol(b[0]), 8 + int(b[1])*4
}

// parseFragment parses a fragment header of IPv6.
func parseFragment(b []byte) (protocol, int) {
	const moreOrOffset = 0xfff9
	if number16(b, 2)&moreOrOffset != 0 {
		return ipFragment, notRead
	}
	return ofIP + protocol(b[0]), 8
}

// encapsulationOf returns the encapsulation of a protocol, or nil.
func encapsulationOf(p protocol) *encapsulation {
	for i := range encapsulations {
		if encapsulations[i].protocol == p {
			return &encapsulations[i]
		}
	}
	return nil
}

// protocolNames names what may carry IP but is not read, other than link types.
var protocolNames = map[protocol]string{
	malformedHeader: "malformed headers",
	cutHeader:       "headers that the capture cut",
	ipFragment:      "IP fragments",
	deepNesting:     "more than 4 encapsulations",

	ofEther + 0x880b: "PPP",
	ofEther + 0x8863: "PPPoE discovery",
	ofEther + 0x88e5: "MACsec",
	ofEther + 0x88e7: "provider backbone bridging",
	ofEther + 0x8909: "TrustSec",
	ofEther + 0x893f: "IEEE 802.1BR",
	ofEther + 0x894f: "NSH",
	ofEther + 0x8926: "VN-Tag",
	ofEther + 0x8903: "FabricPath",
	ofEther + 0x22f3: "TRILL",
	ofGRE + 0x880b:   "PPTP",
	ofIP + 50:        "ESP",
	ofIP + 98:        "ETHERIP",
	ofIP + 115:       "L2TPv3",
	ofUDP + 500:      "IKE",
	ofUDP + 1701:     "L2TP",
	ofUDP + 2152:     "GTP-U",
	ofUDP + 3544:     "Teredo",
	ofUDP + 4500:     "IPsec",
	ofUDP + 4789:     "VXLAN",
	ofUDP + 6081:     "Geneve",
	ofUDP + 8472:     "VXLAN",
	ofUDP + 4790:     "VXLAN-GPE",
	ofUDP + 5246:     "CAPWAP",
	ofUDP + 5247:     "CAPWAP",
	ofUDP + 5555:     "HP ERM",
	ofUDP + 6635:     "MPLS",
	ofUDP + 37008:    "TZSP",
	ofUDP + 51820:    "WireGuard",
	linkUnknown:      "unrecognized hexadecimal text (text2pcap converts it)",
}

// linkNames names link types that are not read, each after its number.
const linkNames = `
3 AX25 6 IEEE802_5 7 ARCNET_BSD 8 SLIP 10 FDDI 100 ATM_RFC1483 105 IEEE802_11 107 FRELAY 114 LTALK 117 PFLOG
119 IEEE802_11_PRISM 122 IP_OVER_FC 123 SUNATM 127 IEEE802_11_RADIOTAP 129 ARCNET_LINUX
138 APPLE_IP_OVER_IEEE1394 140 MTP2 143 DOCSIS 144 LINUX_IRDA 163 IEEE802_11_AVS 166 PPP_PPPD 169 GPRS_LLC
177 LINUX_LAPD 182 MFR 187 BLUETOOTH_HCI_H4 189 USB_LINUX 192 PPI 195 IEEE802_15_4_WITHFCS 197 ERF
201 BLUETOOTH_HCI_H4_WITH_PHDR 204 PPP_WITH_DIR 205 C_HDLC_WITH_DIR 206 FRELAY_WITH_DIR
215 IEEE802_15_4_NONASK_PHY 219 MPLS 220 USB_LINUX_MMAPPED 224 FC_2 226 IPNET 227 CAN_SOCKETCAN
230 IEEE802_15_4_NOFCS 231 DBUS 239 NFLOG 240 NETANALYZER 242 IPOIB 247 INFINIBAND 248 SCTP 249 USBPCAP
251 BLUETOOTH_LE_LL 252 WIRESHARK_UPPER_PDU 253 NETLINK 254 BLUETOOTH_LINUX_MONITOR
256 BLUETOOTH_LE_LL_WITH_PHDR 258 PKTAP 259 EPON 266 USB_DARWIN 271 VSOCK 272 NORDIC_BLE 273 DOCSIS31_XRA31
274 ETHERNET_MPACKET 280 VPP_DISPATCH 281 DSA_TAG_BRCM 282 DSA_TAG_BRCM_PREPEND 283 IEEE802_15_4_TAP
284 DSA_TAG_DSA 285 DSA_TAG_EDSA 288 USB_2_0 290 ETW
`

// linkName returns the name of a link type, or "".
func linkName(number protocol) string {
	words := strings.Fields(linkNames)
	if i := slices.Index(words, strconv.FormatUint(uint64(number), 10)); i >= 0 {
		return words[i+1]
	}
	return ""
}
