package problem

import (
	"slices"
	"strings"
)

// Nearest gives up to most of the known names that are most like a misspelled one, the likest first: those with the fewest
// characters to put in, leave out, replace or swap with a neighbour, whatever their case; of equally many the first. Names of
// more than 100 characters are compared by their beginning.
func Nearest(name string, known []string, most int) []string {
	type near struct {
		name string
		away int
	}
	all := make([]near, len(known))
	for i, k := range known {
		all[i] = near{k, Distance(name, k)}
	}
	slices.SortStableFunc(all, func(a, b near) int { return a.away - b.away })
	out := make([]string, 0, min(most, len(all)))
	for _, n := range all {
		if len(out) == most {
			break
		}
		if !slices.Contains(out, n.name) {
			out = append(out, n.name)
		}
	}
	return out
}

// Distance is how many characters have to be put in, left out, replaced or swapped with a neighbour to make one name the other,
// whatever their case: Damerau and Levenshtein's, where no part is edited twice. Of longer names it takes the first 100 characters.
func Distance(name, other string) int {
	a, b := letters(name), letters(other)
	var before []int
	last, row := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range a {
		row[0] = i + 1
		for j := range b {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last, row = last, row, make([]int, len(b)+1)
	}
	return last[len(b)]
}

func letters(name string) []rune {
	r := []rune(strings.ToLower(Clip(name, 400)))
	return r[:min(len(r), 100)]
}
