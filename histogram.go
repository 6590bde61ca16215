package main

import (
	"math"
	"math/bits"
	"time"
)

// A histogram counts durations in buckets of 1/64 of a power of two. Its size is fixed. A quantile is at most
// 1.6 % too high; the maximum is exact.
type histogram struct {
	buckets [58 * 64]uint64
	count   uint64
	max     time.Duration
}

func (h *histogram) add(d time.Duration) {
	d = max(d, 0)
	h.max = max(h.max, d)
	h.count++
	h.buckets[bucketOf(uint64(d))]++
}

// bucketOf returns the bucket of a value. Values below 128 have a bucket each; above, the bucket is that of the
// top seven bits.
func bucketOf(v uint64) int {
	shift := max(bits.Len64(v)-7, 0)
	return shift*64 + int(v>>shift)
}

// quantile returns the smallest value that at least the given part of all values do not exceed, rounded up to
// the end of its bucket. Of 10 values, the quantile 0.99 is the largest.
func (h *histogram) quantile(part float64) time.Duration {
	rank := uint64(math.Ceil(part * float64(h.count)))
	seen := uint64(0)
	for i, n := range h.buckets {
		if seen += n; n > 0 && seen >= max(rank, 1) {
			shift := max(i/64-1, 0)
			edge := uint64(i-shift*64+1)<<shift - 1
			return min(time.Duration(edge), h.max)
		}
	}
	return h.max
}
