package main

import (
	"cmp"
	"fmt"
	"sort"
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

// A namedCount is the count of something with a name.
type namedCount struct {
	name  string
	order protocol // among equal counts, before the name
	n     int
}

type countList []*namedCount

// sorted sorts the counts, the largest first.
func (l countList) sorted() countList {
	sort.SliceStable(l, func(i, j int) bool {
		a, b := l[i], l[j]
		return cmp.Or(b.n-a.n, cmp.Compare(a.order, b.order), strings.Compare(a.name, b.name)) < 0
	})
	return l
}

// String lists the counts, the largest first. It is empty if there are none.
func (c *frameCounts) String() string {
	var counts countList
	for p, n := range c.counts {
		counts = append(counts, &namedCount{p.String(), p, n})
	}
	text, others := "", c.others
	for i, p := range counts.sorted() {
		switch {
		case i >= maxShownProtocols:
			others += p.n
		case i > 0:
			text += fmt.Sprintf(", %d of %s", p.n, p.name)
		default:
			text = fmt.Sprintf("%s of %s", howMany(p.n, "frame"), p.name)
		}
	}
	if others > 0 {
		text += fmt.Sprintf(", %d of other protocols", others)
	}
	return text
}

// String returns the name of a protocol that is not read.
func (p protocol) String() string {
	number, name, format := uint64(p&maxNumber), protocolNames[p], ""
	if p == linkUnknown {
		return name
	}
	switch p &^ maxNumber {
	case ofLink:
		format, name = "link type %d", linkName(p)
		if number >= 147 && number <= 162 { // for private use
			name = fmt.Sprintf("USER%d", number-147)
		}
	case ofEther:
		format = "ethertype 0x%04x"
	case ofIP:
		format = "IP protocol %d"
	case ofUDP:
		format = "UDP port %d"
	case ofTCP:
		format = "TCP port %d"
	case ofPPP:
		format = "PPP protocol 0x%04x"
	case ofLLC:
		format = "LLC SAP 0x%02x"
	case ofSNAP:
		return fmt.Sprintf("SNAP %06x:%04x", number>>16, number&0xffff)
	case ofGRE:
		format = "GRE protocol 0x%04x"
	case ofFamily:
		format = "address family %d"
	default:
		return name
	}
	text := fmt.Sprintf(format, number)
	if name != "" {
		text += " (" + name + ")"
	}
	return text
}
