package main

import (
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"
)

// TestDecodeBudget: with all holders of memory filled at once, decode retains at most budgetAll.
func TestDecodeBudget(t *testing.T) {
	dir := writeFiles(t, map[string]string{"log": manySecrets(80_000)})
	m := newFakeTLS()
	before := heapInUse()
	p, _, _ := pipelineOf(t, nil, "-q --keylog "+dir+"/log")
	d, tape := p.decoder, newCaptureBuilder()
	feed := func() {
		for i := range tape.frames {
			p.decode(&tape.frames[i])
		}
		clear(tape.frames)
		tape.frames = tape.frames[:0]
	}
	clients := 0
	conn := func(port uint16) *builtConn {
		clients++
		return tape.openConn(manyClients(clients).String(), netip.AddrPortFrom(serverEnd.Addr(), port).String(), testKey)
	}
	for range budgetConversations/conversationCost - 1000 {
		conn(49).send(0, []byte{byte(minorDefault)}) // the start of a header
		feed()
	}
	args := make([]string, 100)
	for i := range args {
		args[i] = "a=" + long(100)
	}
	request := &authorRequest{commonFields: commonFields{user: "alice"}, args: args}
	for range 10 {
		w := conn(49)
		w.flags = flagUnencrypted
		for id := range uint32(100) {
			w.send(0, w.packet(id+1, 1, request))
		}
		feed()
	}
	cut := conn(49).packet(1, 1, &authenContinue{userMsg: long(60_000)})[:50_000]
	for range 80 {
		conn(49).send(0, cut)
		feed()
	}
	for range 200 {
		w := conn(300)
		for _, hello := range m.hellos {
			w.send(hello.from, hello.data)
		}
		for range 2 {
			w.send(0, m.traffic[0].data(long(9_000)))
		}
		feed()
	}
	for range 100 {
		w := conn(49)
		w.seqs[0]++ // a byte is missing
		w.send(0, []byte(long(40_000)))
		feed()
	}
	for what, b := range map[string]budget{"conversations": p.tcp.memory, "held segments": p.tcp.held, "partial packets": d.partial,
		"sessions": d.memory, "TLS": d.tlsMemory, "secrets": d.keyLog.memory} {
		if b.used > b.limit || b.used < b.limit*8/10 {
			t.Errorf("%s: %d bytes are counted, the limit is %d", what, b.used, b.limit)
		}
	}
	if retained := int(heapInUse() - before); retained > budgetAll {
		t.Errorf("%d bytes are retained, the limit is %d", retained, budgetAll)
	}
	runtime.KeepAlive(p)
	runtime.KeepAlive(tape)
}

// manySecrets returns a key log of n conversations.
func manySecrets(n int) string {
	const format = "CLIENT_TRAFFIC_SECRET_0 %064x %064x\n"
	var b strings.Builder
	b.Grow(n * len(fmt.Sprintf(format, 0, 0)))
	for i := range n {
		fmt.Fprintf(&b, format, i, i)
	}
	return b.String()
}
