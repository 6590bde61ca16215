package main

import (
	"fmt"
	"testing"
)

// BenchmarkDecodeKeys measures the time for a candidate key that does not fit.
func BenchmarkDecodeKeys(b *testing.B) {
	const sessions, keys = 100, 10_000
	capture := manySessions(sessions, "the key of no list")
	table := keyTable{count: keys}
	for i := range keys {
		table.text += fmt.Sprintf("candidate number %d\n", i)
	}
	for b.Loop() {
		p, inv, _ := pipelineOf(b, capture, "-q")
		p.decoder.keys.keys = table
		p.readFiles(b.Context(), inv, []string{"-"})
		if p.decoder.counts.unread != sessions {
			b.Fatal(p.decoder.counts)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/sessions/keys, "ns/key")
}
