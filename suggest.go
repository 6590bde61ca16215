package main

import (
	"slices"
	"strings"
)

// nearest returns the candidate that word is most likely a typing error of, or an empty string. That is the only
// one that begins with the word, else the nearest by distance: at most 2, or 1 for a word of less than 5
// letters.
func nearest(word string, candidates []string) (meant string) {
	limit := 2
	if len(word) < 5 {
		limit = 1
	}
	for _, c := range candidates {
		if d := distance(strings.ToLower(word), c); d <= limit && len(c) > d {
			meant, limit = c, d-1
		}
	}
	if longer := beginning(word, candidates); len(longer) == 1 {
		return longer[0]
	}
	return meant
}

// beginning returns the candidates that begin with the word, which must have at least three letters.
func beginning(word string, candidates []string) []string {
	return slices.DeleteFunc(slices.Clone(candidates), func(c string) bool {
		return len(word) < 3 || !strings.HasPrefix(c, strings.ToLower(word))
	})
}

// distance returns how many letters must be changed, inserted, deleted or swapped with the next one to turn a
// into b.
func distance(a, b string) int {
	var before, above []int // rows of the table: how far the first letters of a are from those of b
	for i := range len(a) + 1 {
		row := make([]int, len(b)+1)
		for j := range row {
			switch {
			case i == 0 || j == 0:
				row[j] = i + j
			case a[i-1] == b[j-1]:
				row[j] = above[j-1]
			case i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1]:
				row[j] = 1 + min(above[j], row[j-1], before[j-2])
			default:
				row[j] = 1 + min(above[j-1], above[j], row[j-1])
			}
		}
		before, above = above, row
	}
	return above[len(b)]
}
