package main

import (
	"testing"
)

// TestDistance: one typing error is a distance of one.
func TestDistance(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "tls", 3}, {"tls", "tls", 0}, {"tks", "tls", 1}, {"tl", "tls", 1}, {"tlls", "tls", 1}, {"kitten", "sitting", 3},
		{"tsl", "tls", 1}, {"pord", "prod", 1}, {"pxrd", "prod", 2}, {"pdro", "prod", 2}, {"badc", "abcd", 2}, {"prodst", "prodost", 1},
	} {
		if got, back := distance(tt.a, tt.b), distance(tt.b, tt.a); got != tt.want || back != tt.want {
			t.Errorf("%q and %q: %d and %d, not %d", tt.a, tt.b, got, back, tt.want)
		}
	}
}
