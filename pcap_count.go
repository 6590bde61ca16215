package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// frameCounts counts the frames that are not read, by their protocol.
type frameCounts struct {
	counts map[protocol]int
	others int // of protocols beyond maxCountedProtocols
}

const (
	maxCountedProtocols = 1 << 10
	maxShownProtocols   = 10
)

func (c *frameCounts) add(p protocol, frames int) {
	if _, known := c.counts[p]; !known && len(c.counts) == maxCountedProtocols {
		c.others += frames
		return
	}
	if c.counts == nil {
		c.counts = make(map[protocol]int)
	}
	c.counts[p] += frames
}

// addAll adds other counts.
func (c *frameCounts) addAll(o *frameCounts) {
	for p, n := range o.counts {
		c.add(p, n)
	}
	c.others += o.others
}

// String lists the counts, the largest first. It is empty if there are none.
func (c *frameCounts) String() string {
	protocols := slices.SortedFunc(maps.Keys(c.counts), func(a, b protocol) int {
		return cmp.Or(c.counts[b]-c.counts[a], cmp.Compare(a, b))
	})
	var b strings.Builder
	others := c.others
	for i, p := range protocols {
		switch n := c.counts[p]; {
		case i >= maxShownProtocols:
			others += n
		case i > 0:
			fmt.Fprintf(&b, ", %d of %s", n, p)
		default:
			fmt.Fprintf(&b, "%s of %s", howMany(n, "frame"), p)
		}
	}
	if others > 0 {
		fmt.Fprintf(&b, ", %d of other protocols", others)
	}
	return b.String()
}

// String returns the name of a protocol that is not read.
func (p protocol) String() string {
	number, name, text := p&maxNumber, protocolNames[p], ""
	if p == ofLink+protocol(linkUnknown) {
		return name
	}
	switch p &^ maxNumber {
	case ofLink:
		text = fmt.Sprintf("link type %d", number)
		if number >= 147 && number <= 162 { // for private use
			name = fmt.Sprintf("USER%d", number-147)
		}
	case ofEther:
		text = fmt.Sprintf("ethertype 0x%04x", uint64(number))
	case ofIP:
		text = fmt.Sprintf("IP protocol %d", number)
	case ofUDP:
		text = fmt.Sprintf("UDP port %d", number)
	case ofTCP:
		text = fmt.Sprintf("TCP port %d", number)
	case ofPPP:
		text = fmt.Sprintf("PPP protocol 0x%04x", uint64(number))
	case ofLLC:
		text = fmt.Sprintf("LLC SAP 0x%02x", uint64(number))
	case ofSNAP:
		text = fmt.Sprintf("SNAP %06x:%04x", uint64(number>>16), uint64(number&0xffff))
	case ofGRE:
		text = fmt.Sprintf("GRE protocol 0x%04x", uint64(number))
	case ofFamily:
		text = fmt.Sprintf("address family %d", number)
	default:
		return name
	}
	if name != "" {
		text += " (" + name + ")"
	}
	return text
}

// protocolNames names link types, and what else may carry IP but is not read.
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

	ofLink + 3:                     "AX25",
	ofLink + 6:                     "IEEE802_5",
	ofLink + 7:                     "ARCNET_BSD",
	ofLink + 8:                     "SLIP",
	ofLink + 10:                    "FDDI",
	ofLink + 100:                   "ATM_RFC1483",
	ofLink + 105:                   "IEEE802_11",
	ofLink + 107:                   "FRELAY",
	ofLink + 114:                   "LTALK",
	ofLink + 117:                   "PFLOG",
	ofLink + 119:                   "IEEE802_11_PRISM",
	ofLink + 122:                   "IP_OVER_FC",
	ofLink + 123:                   "SUNATM",
	ofLink + 127:                   "IEEE802_11_RADIOTAP",
	ofLink + 129:                   "ARCNET_LINUX",
	ofLink + 138:                   "APPLE_IP_OVER_IEEE1394",
	ofLink + 140:                   "MTP2",
	ofLink + 143:                   "DOCSIS",
	ofLink + 144:                   "LINUX_IRDA",
	ofLink + 163:                   "IEEE802_11_AVS",
	ofLink + 166:                   "PPP_PPPD",
	ofLink + 169:                   "GPRS_LLC",
	ofLink + 177:                   "LINUX_LAPD",
	ofLink + 182:                   "MFR",
	ofLink + 187:                   "BLUETOOTH_HCI_H4",
	ofLink + 189:                   "USB_LINUX",
	ofLink + 192:                   "PPI",
	ofLink + 195:                   "IEEE802_15_4_WITHFCS",
	ofLink + 197:                   "ERF",
	ofLink + 201:                   "BLUETOOTH_HCI_H4_WITH_PHDR",
	ofLink + 204:                   "PPP_WITH_DIR",
	ofLink + 205:                   "C_HDLC_WITH_DIR",
	ofLink + 206:                   "FRELAY_WITH_DIR",
	ofLink + 215:                   "IEEE802_15_4_NONASK_PHY",
	ofLink + 219:                   "MPLS",
	ofLink + 220:                   "USB_LINUX_MMAPPED",
	ofLink + 224:                   "FC_2",
	ofLink + 226:                   "IPNET",
	ofLink + 227:                   "CAN_SOCKETCAN",
	ofLink + 230:                   "IEEE802_15_4_NOFCS",
	ofLink + 231:                   "DBUS",
	ofLink + 239:                   "NFLOG",
	ofLink + 240:                   "NETANALYZER",
	ofLink + 242:                   "IPOIB",
	ofLink + 247:                   "INFINIBAND",
	ofLink + 248:                   "SCTP",
	ofLink + 249:                   "USBPCAP",
	ofLink + 251:                   "BLUETOOTH_LE_LL",
	ofLink + 252:                   "WIRESHARK_UPPER_PDU",
	ofLink + 253:                   "NETLINK",
	ofLink + 254:                   "BLUETOOTH_LINUX_MONITOR",
	ofLink + 256:                   "BLUETOOTH_LE_LL_WITH_PHDR",
	ofLink + 258:                   "PKTAP",
	ofLink + 259:                   "EPON",
	ofLink + 266:                   "USB_DARWIN",
	ofLink + 271:                   "VSOCK",
	ofLink + 272:                   "NORDIC_BLE",
	ofLink + 273:                   "DOCSIS31_XRA31",
	ofLink + 274:                   "ETHERNET_MPACKET",
	ofLink + 280:                   "VPP_DISPATCH",
	ofLink + 281:                   "DSA_TAG_BRCM",
	ofLink + 282:                   "DSA_TAG_BRCM_PREPEND",
	ofLink + 283:                   "IEEE802_15_4_TAP",
	ofLink + 284:                   "DSA_TAG_DSA",
	ofLink + 285:                   "DSA_TAG_EDSA",
	ofLink + 288:                   "USB_2_0",
	ofLink + 290:                   "ETW",
	ofLink + protocol(linkUnknown): "unrecognized hexadecimal text (text2pcap converts it)",
}
