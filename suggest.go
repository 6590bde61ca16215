package main

import (
	"slices"
	"strings"
)

// nearest is the one of the candidates that word is most likely a slip of, or nothing: the only one
// that begins with the word, else one of which at most two letters are wrong, missing, too many or
// swapped, and one in a short word.
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

// beginning are the candidates that begin with a word of three letters at least.
func beginning(word string, candidates []string) []string {
	return slices.DeleteFunc(slices.Clone(candidates), func(c string) bool {
		return len(word) < 3 || !strings.HasPrefix(c, strings.ToLower(word))
	})
}

// distance is how many letters have to be changed, put in, left out or swapped with the next one to make b of a.
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
