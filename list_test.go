package main

import (
	"slices"
	"testing"
)

// TestQueue removes values at the beginning, in the middle and at the end, and moves them to the end.
func TestQueue(t *testing.T) {
	t.Parallel()
	type item struct {
		number int
		place  node[item]
	}
	for _, order := range [][]int{{0, 1, 2, 3}, {3, 2, 1, 0}, {1, 2, 0, 3}, {2, 0, 3, 1}} {
		var q queue[item]
		items := make([]item, 4)
		for i := range items {
			items[i].number = i
			q.push(&items[i].place, &items[i])
		}
		want := []int{0, 1, 2, 3}
		check := func(what string, number int) {
			t.Helper()
			var forward, back []int
			for i := q.first(); i != nil && len(forward) <= len(want); i = i.place.next() {
				forward = append(forward, i.number)
			}
			for n := q.newest; n != nil && len(back) <= len(want); n = n.older {
				back = append(back, n.value.number)
			}
			slices.Reverse(back)
			if !slices.Equal(forward, want) || !slices.Equal(back, want) || q.len != len(want) {
				t.Errorf("%s %d: %v forward, %v backward, want %v", what, number, forward, back, want)
			}
		}
		without := func(number int) []int {
			return slices.DeleteFunc(want, func(n int) bool { return n == number })
		}
		check("pushed", 3)
		for _, i := range order {
			q.moveToEnd(&items[i].place)
			want = append(without(i), i)
			check("moved", i)
		}
		for _, i := range order {
			q.remove(&items[i].place)
			want = without(i)
			check("removed", i)
		}
	}
}
