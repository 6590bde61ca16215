package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// TestDecodeBounds: memory is bounded. What is dropped for that is counted, and its sessions are printed.
func TestDecodeBounds(t *testing.T) {
	t.Parallel()
	much := *stopRecord
	much.args = strings.Split(strings.Repeat("a="+long(250)+" ", 200)+"z=", " ")
	body, err := encoded(&much)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name              string
		tape              func(t *captureBuilder)
		sessions, dropped int
		held              func(d *decoder) bool // within its bound
	}{
		{"sessions of one connection", func(t *captureBuilder) {
			w := t.openConn(deviceAddr, serverAddr, testKey)
			for i := range uint32(maxOpenStream + 100) {
				w.session(i, papStart("alice", "x"))
			}
		}, maxOpenStream + 100, 100, func(d *decoder) bool { return d.open.len <= maxOpenStream }},
		{"sessions that were not read, and have a reply", func(t *captureBuilder) {
			w := t.openConn(deviceAddr, serverAddr, "another key")
			for i := range uint32(maxOpenStream + 100) {
				w.session(i, asciiStart("alice"), passed)
			}
		}, maxOpenStream + 100, 0, func(d *decoder) bool { return d.open.len <= maxOpenStream }},
		{"sessions of all connections", func(t *captureBuilder) {
			for i := range maxOpenAll/1000 + 1 {
				w := t.openConn(fmt.Sprintf("10.0.0.%d:1000", i), serverAddr, testKey)
				for j := range uint32(1000) {
					w.session(j, papStart("alice", "x"))
				}
			}
		}, (maxOpenAll/1000 + 1) * 1000, (maxOpenAll/1000+1)*1000 - maxOpenAll, func(d *decoder) bool { return d.open.len <= maxOpenAll }},
		{"bytes of their requests", func(t *captureBuilder) {
			w := t.openConn(deviceAddr, serverAddr, testKey)
			for i := range uint32(100) {
				w.session(i, &much)
			}
		}, 100, 100 - maxKeptAll/len(body), func(d *decoder) bool { return d.kept <= maxKeptAll }},
		{"packets that are not whole", func(t *captureBuilder) {
			for i := range 100 {
				w := t.openConn(fmt.Sprintf("10.0.0.%d:1000", i), serverAddr, testKey)
				packet := w.packet(1, 1, &much)
				w.send(0, packet[:50_000])
			}
		}, 0, 100 - maxPartialAll/50_000, func(d *decoder) bool { return d.partial <= maxPartialAll }},
		{"TLS conversations", func(t *captureBuilder) {
			for i := range maxDecodedTLS + 10 {
				t.openConn(fmt.Sprintf("10.0.%d.%d:1000", i>>8, i&0xff), "192.0.2.1:300", "").send(0, []byte{recordHandshake, 3, 1, 0, 10})
			}
		}, 0, 10, func(d *decoder) bool { return d.tlsOpen <= maxDecodedTLS }},
	} {
		tape := newCaptureBuilder()
		tt.tape(tape)
		p, inv, out := pipelineOf(t, tape.pcap(), "-q")
		d := p.decoder
		d.printer.log.out = newQueuedWriter(t.Context(), out)
		for i := range tape.frames {
			if p.decode(&tape.frames[i]); !tt.held(d) {
				t.Fatalf("%s: the bound is exceeded at frame %d", tt.name, i)
			}
		}
		inv.std.in = strings.NewReader("")
		p.readFiles(t.Context(), inv, nil)
		if n := strings.Count(out.String(), " NO_"); d.counts.sessions != tt.sessions || n != tt.sessions || d.counts.dropped != tt.dropped {
			t.Errorf("%s: %d sessions, %d printed, %d dropped", tt.name, d.counts.sessions, n, d.counts.dropped)
		}
		d.checkEmpty(t)
	}
}

// TestDecodeReleasesMemory: a packet that came in pieces leaves no memory behind.
func TestDecodeReleasesMemory(t *testing.T) {
	t.Parallel()
	big := *stopRecord
	big.args = strings.Split(strings.Repeat("a="+long(250)+" ", 200)+"z=", " ")
	tape := newCaptureBuilder()
	w := tape.openConn(deviceAddr, serverAddr, testKey)
	packet := w.packet(1, 1, &big)
	w.send(0, packet[:40_000])
	w.send(0, packet[40_000:])
	p, _, _ := pipelineOf(t, nil, "-q")
	for i := range tape.frames {
		p.decode(&tape.frames[i])
	}
	for _, c := range p.tcp.conversations {
		if s := c.value.(*tacacsStream).directions[0]; cap(s.held) > 0 || p.decoder.counts.sessions != 0 || p.decoder.open.len != 1 {
			t.Errorf("%d bytes are still held", cap(s.held))
		}
	}
}

// TestDecodeClientBound: the clients beyond the bound count as one.
func TestDecodeClientBound(t *testing.T) {
	t.Parallel()
	k := &keyFinder{clients: make(map[netip.Addr]*decodeClient)}
	for i := range maxClients + 2 {
		k.client(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
	}
	if len(k.clients) != maxClients || k.client(netip.MustParseAddr("10.0.64.1")) != &k.others || k.client(netip.MustParseAddr("10.0.0.1")) == &k.others {
		t.Errorf("%d clients are kept", len(k.clients))
	}
}

// TestDecodeRecordBounds: records that wait to be written are bounded in number and in memory.
func TestDecodeRecordBounds(t *testing.T) {
	t.Parallel()
	p, _, _ := pipelineOf(t, nil, "-q")
	printer := &p.decoder.printer
	for range 2*maxBatchRecords + 1 {
		printer.print(new(sessionRecord), 0)
	}
	for _, kept := range []int{maxBatchKept - 1, 1, maxBatchKept - 1} {
		printer.print(new(sessionRecord), kept)
	}
	var sizes []int
	for len(printer.pipe.filled) > 0 {
		sizes = append(sizes, len((<-printer.pipe.filled).records))
	}
	if want := []int{maxBatchRecords, maxBatchRecords, 3}; !slices.Equal(sizes, want) || len(printer.pipe.chunk.records) != 1 {
		t.Errorf("batches of %d records, not %d, and one of %d", sizes, want, len(printer.pipe.chunk.records))
	}
	// A record keeps its request and the reply.
	tape := newCaptureBuilder()
	w := tape.openConn(deviceAddr, serverAddr, testKey)
	request, reply := w.packet(1, 1, showRun), w.packet(1, 2, &authorResponse{status: authorFail, serverMsg: long(5000)})
	w.send(0, request)
	w.send(1, reply)
	p, _, _ = pipelineOf(t, nil, "-q")
	for i := range tape.frames {
		p.tcp.add(&tape.frames[i])
	}
	p.consume(p.events.chunk)
	if got, want := p.decoder.printer.pipe.chunk.kept, len(request)+len(reply)-2*headerLen; got != want || p.decoder.kept != 0 {
		t.Errorf("the record keeps %d bytes and open sessions %d, not %d and 0", got, p.decoder.kept, want)
	}
}
