package main

import (
	"math"
	"math/bits"
	"time"
)

// A histogram counts durations in buckets of 1/64 of a power of two. Its size is constant, and a quantile is at most 1.6 %
// too high. The maximum is exact.
type histogram struct {
	buckets [58 * 64]uint64
	count   uint64
	max     time.Duration
}

// add counts d; a negative duration counts as zero.
func (h *histogram) add(d time.Duration) {
	d = max(d, 0)
	h.max = max(h.max, d)
	h.count++
	h.buckets[bucketOf(uint64(d))]++
}

// bucketOf returns the bucket of a value. Values below 128 have a bucket each; the top seven bits of others select it.
func bucketOf(v uint64) int {
	shift := max(bits.Len64(v)-7, 0)
	return shift*64 + int(v>>shift)
}

// quantile returns the nearest-rank quantile, rounded up to the end of its bucket. The quantile 0.99 of 10 values is the
// largest.
func (h *histogram) quantile(part float64) time.Duration {
	rank := uint64(math.Ceil(part * float64(h.count)))
	seen := uint64(0)
	for i, n := range h.buckets {
		if seen += n; n > 0 && seen >= max(rank, 1) {
			shift := max(i/64-1, 0)
			last := uint64(i-shift*64+1)<<shift - 1 // value of the bucket
			return min(time.Duration(last), h.max)
		}
	}
	return h.max
}
