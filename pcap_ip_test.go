package main

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestPcapLinks(t *testing.T) {
	t.Parallel()
	ip := string(tcpIP(deviceEnd, serverEnd, 1, 1, tcpACK, "hello"))
	ip6 := string(tcpIP(netip.MustParseAddrPort("[2001:db8::7]:41234"), netip.MustParseAddrPort("[2001:db8::1]:49"), 1, 1, tcpACK, "hello"))
	const macs, cooked = "\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02", "\x00\x00\x00\x01\x00\x06\x02\x00\x00\x00\x00\x01\x00\x00"
	const cooked2 = "\x00\x00\x00\x00\x00\x01\x00\x01\x00\x06\x02\x00\x00\x00\x00\x01\x00\x00"
	for _, test := range []struct {
		name string
		link linkType
		data string
		want string // "" for the conversation, else what is counted
	}{
		{"Ethernet", linkEthernet, macs + "\x08\x00" + ip, ""},
		{"Ethernet, IPv6", linkEthernet, macs + "\x86\xdd" + ip6, ""},
		{"padding", linkEthernet, macs + "\x08\x00" + ip + strings.Repeat("\x00", 20), ""},
		{"padding, IPv6", linkEthernet, macs + "\x86\xdd" + ip6 + strings.Repeat("\x00", 20), ""},
		{"VLAN", linkEthernet, macs + "\x81\x00\x00\x05\x08\x00" + ip, ""},
		{"QinQ", linkEthernet, macs + "\x88\xa8\x00\x05\x81\x00\x00\x06\x86\xdd" + ip6, ""},
		{"old QinQ", linkEthernet, macs + "\x91\x00\x00\x05\x81\x00\x00\x06\x08\x00" + ip, ""},
		{"too many tags", linkEthernet, macs + strings.Repeat("\x81\x00\x00\x05", 9) + "\x08\x00" + ip, "not TCP"},
		{"ARP", linkEthernet, macs + "\x08\x06" + ip, "not TCP"},
		{"a length in place of a type", linkEthernet, macs + "\x00\x2d" + ip, "not TCP"},
		{"short Ethernet", linkEthernet, macs + "\x08", "not TCP"},
		{"short VLAN", linkEthernet, macs + "\x81\x00\x00\x05\x08", "not TCP"},
		{"Linux cooked", linkCooked, cooked + "\x08\x00" + ip, ""},
		{"Linux cooked, VLAN", linkCooked, cooked + "\x81\x00\x00\x05\x86\xdd" + ip6, ""},
		{"Linux cooked 2", linkCooked2, "\x08\x00" + cooked2 + ip, ""},
		{"Linux cooked 2, IPv6", linkCooked2, "\x86\xdd" + cooked2 + ip6, ""},
		{"raw", linkRawIP, ip, ""},
		{"raw, IPv6", linkRawIP, ip6, ""},
		{"raw of BSD", linkDLTRaw, ip, ""},
		{"raw of OpenBSD", linkDLTRaw14, ip, ""},
		{"IPv4", linkIPv4, ip, ""},
		{"IPv6", linkIPv6, ip6, ""},
		{"BSD loopback", linkNull, "\x02\x00\x00\x00" + ip, ""},
		{"BSD loopback, other order", linkNull, "\x00\x00\x00\x02" + ip, ""},
		{"macOS loopback, IPv6", linkNull, "\x1e\x00\x00\x00" + ip6, ""},
		{"FreeBSD loopback, IPv6", linkNull, "\x00\x00\x00\x1c" + ip6, ""},
		{"OpenBSD loopback", linkLoop, "\x00\x00\x00\x18" + ip6, ""},
		{"loopback of Linux", linkNull, "\x0a\x00\x00\x00" + ip6, ""},
		{"loopback of another family", linkNull, "\x07\x00\x00\x00" + ip, "not TCP"},
		{"short loopback", linkNull, "\x02\x00\x00", "not TCP"},
		{"nothing", linkRawIP, "", "not TCP"},
		{"version 5", linkRawIP, "\x55" + ip[1:], "not TCP"},
		{"wireless", 105, ip, "link type 105 (IEEE 802.11)"},
		{"PPP", 9, ip, "link type 9 (PPP)"},
		{"NFLOG", 239, ip, "link type 239 (NFLOG)"},
		{"another", 147, ip, "link type 147"},
		{"text", linkUnknown, ip, "unrecognized hexadecimal text"},
	} {
		checkFrame(t, test.name, frame{link: test.link, data: []byte(test.data), size: len(test.data)}, test.want)
	}
}

// checkFrame adds one frame, which has the data "hello" or is counted in want.
func checkFrame(t *testing.T, name string, f frame, want string) {
	t.Helper()
	l := newTCPEvents()
	l.add(&f)
	d := l.dropped
	got := ""
	for what, n := range map[string]int{"not TCP": d.notTCP, "malformed": d.malformed, "fragment": d.fragments, d.otherLink.String(): d.otherLinks} {
		if n > 0 {
			got += what
		}
	}
	said := len(l.log) == 2 && l.log[1] == "0 hello"
	if got != want || said != (want == "") || d.frames != 1 || d.cut != 0 {
		t.Errorf("%s: %q, told %q; want %q; of %d frames %d cut", name, got, l.log, want, d.frames, d.cut)
	}
}

func TestPcapIP(t *testing.T) {
	t.Parallel()
	ip := tcpIP(deviceEnd, serverEnd, 1, 1, tcpACK, "hello")
	ip6 := tcpIP(netip.MustParseAddrPort("[2001:db8::7]:41234"), netip.MustParseAddrPort("[2001:db8::1]:49"), 1, 1, tcpACK, "hello")
	change := func(b []byte, at int, data ...byte) []byte { // replaces the bytes at an offset
		b = bytes.Clone(b)
		copy(b[at:], data)
		return b
	}
	insert := func(b []byte, at int, data ...byte) []byte { return slices.Insert(bytes.Clone(b), at, data...) }
	// extension inserts extension headers before TCP; next is the type of the first one.
	extension := func(next byte, headers ...byte) []byte {
		b := insert(change(ip6, 6, next), 40, headers...)
		return change(b, 4, byte((len(b)-40)>>8), byte(len(b)-40))
	}
	eight := func(next, length byte) []byte { return []byte{next, length, 0, 0, 0, 0, 0, 0} }
	for _, test := range []struct {
		name string
		b    []byte
		want string
	}{
		{"options of IPv4", insert(change(ip, 0, 0x46, 0, 0, 49), 20, 1, 1, 1, 1), ""},
		{"options of TCP", insert(change(ip, 2, 0, 57, 0, 0, 0, 0, 64, 6), 40, 1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8), "options"},
		{"length 0 of an offloading interface", change(ip, 2, 0, 0), ""},
		{"length 0 of IPv6", change(ip6, 4, 0, 0), ""},
		{"do not fragment", change(ip, 6, 0x40), ""},
		{"first fragment", change(ip, 6, 0x20), "fragment"},
		{"another fragment", change(ip, 6, 0, 1), "fragment"},
		{"fragment of UDP", change(ip, 6, 0, 1, 64, 17), "not TCP"},
		{"UDP", change(ip, 9, 17), "not TCP"},
		{"UDP of IPv6", change(ip6, 6, 17), "not TCP"},
		{"short header", change(ip, 0, 0x44), "malformed"},
		{"header longer than the datagram", change(ip, 2, 0, 19), "malformed"},
		{"header longer than the frame", change(ip[:20], 0, 0x46), "malformed"},
		{"ends in the header of IPv4", ip[:19], "malformed"},
		{"ends in the header of IPv6", ip6[:39], "malformed"},
		{"ends in the header of TCP", change(ip[:39], 2, 0, 39), "malformed"},
		{"ends in the header of TCP, IPv6", change(ip6[:59], 4, 0, 19), "malformed"},
		{"short header of TCP", change(ip, 32, 0x40), "malformed"},
		{"header of TCP longer than the datagram", change(ip, 32, 0x70), "malformed"},
		{"extension headers", extension(0, slices.Concat(eight(43, 0), eight(60, 1), make([]byte, 8), eight(135, 0), eight(139, 0), eight(140, 0), eight(6, 0))...), ""},
		{"authentication header", extension(51, append(eight(6, 1), 0, 0, 0, 0)...), ""},
		{"fragment that is the whole", extension(44, 6, 0, 0, 6, 1, 2, 3, 4), ""},
		{"first fragment of IPv6", extension(44, 6, 0, 0, 1, 1, 2, 3, 4), "fragment"},
		{"another fragment of IPv6", extension(44, 6, 0, 0, 8, 1, 2, 3, 4), "fragment"},
		{"no next header", extension(59), "not TCP"},
		{"extension header longer than the packet", extension(0, eight(6, 9)...), "malformed"},
		{"ends in an extension header", change(ip6[:44], 4, 0, 4, 60), "malformed"},
		{"ends in an authentication header", change(ip6[:44], 4, 0, 4, 51), "malformed"},
		{"ends in a fragment header", change(ip6[:44], 4, 0, 4, 44), "malformed"},
		{"sixteen extension headers", extension(60, append(bytes.Repeat(eight(60, 0), 14), eight(6, 0)...)...), ""},
		{"more of them", extension(60, append(bytes.Repeat(eight(60, 0), 15), eight(6, 0)...)...), "malformed"},
	} {
		if test.want == "options" {
			// The TCP header has the offset of the data.
			test.b, test.want = change(test.b, 32, 8<<4), ""
		}
		checkFrame(t, test.name, frame{link: linkRawIP, data: test.b, size: len(test.b)}, test.want)
	}
}

// TestPcapCutFrames: the lengths of IP show how much the capture cut.
func TestPcapCutFrames(t *testing.T) {
	t.Parallel()
	ip := tcpIP(deviceEnd, serverEnd, 1, 1, tcpACK, "hello")
	ip6 := tcpIP(netip.MustParseAddrPort("[2001:db8::7]:41234"), netip.MustParseAddrPort("[2001:db8::1]:49"), 1, 1, tcpACK, "hello")
	offloaded, offloaded6 := bytes.Clone(ip), bytes.Clone(ip6)
	clear(offloaded[2:4])
	clear(offloaded6[4:6])
	for _, b := range [][]byte{ip, ip6, offloaded, offloaded6} {
		l := newTCPEvents()
		l.add(&frame{link: linkRawIP, data: b[:len(b)-2], size: len(b)})
		if len(l.log) != 3 || l.log[1] != "0 hel" || l.log[2] != "0 misses 2" || l.dropped.cut != 1 || l.dropped.missing != 2 {
			t.Errorf("%x: %q, %d cut, %d bytes", b, l.log, l.dropped.cut, l.dropped.missing)
		}
	}
	// Options of TCP that were cut are not missing data.
	long := tcpIP(deviceEnd, serverEnd, 1, 1, tcpACK, "optionhello!")
	long[32] = 6 << 4
	l := newTCPEvents()
	l.play("> A 0 0 x\n", 0, 0)
	l.add(&frame{link: linkRawIP, data: long[:42], size: len(long)})
	if l.log[len(l.log)-1] != "0 misses 8" {
		t.Errorf("%q", l.log)
	}
}

func TestPcapDropCounts(t *testing.T) {
	t.Parallel()
	if got := (&dropCounts{frames: 9, notTCP: 4}).String(); got != "" {
		t.Error(got)
	}
	d := dropCounts{frames: 100, cut: 1, fragments: 2, otherLinks: 3, notTCP: 4, malformed: 5, conversations: 6, missing: 7, otherLink: 105}
	const want = "frames cut by the snapshot length: 1, IP fragments (not put together): 2, frames of a link that is not supported (link type 105 (IEEE 802.11)): 3, " +
		"malformed frames: 5, conversations given up for newer ones: 6, missing bytes: 7"
	if got := d.String(); got != want {
		t.Error(got)
	}
}
