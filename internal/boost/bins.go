package boost

import (
	"cmp"
	"math"
	"slices"
	"sort"
)

// cut says which bin a value of a column falls into. Bin 0..count−1 hold values, bin count the missing ones.
type cut struct {
	edges []float64 // of numbers: bin k holds the values ≤ edges[k], the last bin the rest
	words map[string]uint8
	count int
}

// looked is the largest number of values that edges are taken from.
const looked = 200_000

// cutColumn takes edges halfway between neighbouring values: between all when there are few enough, else at quantiles. Of
// words the most frequent get a bin each (equals in the order of their bytes) and the rest share bin 0.
func cutColumn(c Column, most int) cut {
	if c.Numbers == nil {
		return cutWords(c.Words, most)
	}
	step := max(1, (len(c.Numbers)+looked-1)/looked)
	var v []float64
	for i := 0; i < len(c.Numbers); i += step {
		if x := c.Numbers[i]; !math.IsNaN(x) && !math.IsInf(x, 0) {
			v = append(v, x)
		}
	}
	slices.Sort(v)
	distinct := slices.Compact(slices.Clone(v))
	var edges []float64
	if len(distinct) <= most {
		for k := 1; k < len(distinct); k++ {
			edges = append(edges, distinct[k-1]/2+distinct[k]/2)
		}
	} else {
		for k := 1; k < most; k++ {
			edges = append(edges, v[k*len(v)/most])
		}
		edges = slices.Compact(edges)
	}
	return cut{edges: edges, count: len(edges) + 1}
}

func cutWords(words []string, most int) cut {
	n := map[string]int{}
	for _, w := range words {
		if w != "" {
			n[w]++
		}
	}
	names := make([]string, 0, len(n))
	for w := range n {
		names = append(names, w)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(n[b], n[a]), cmp.Compare(a, b)) })
	out := cut{words: map[string]uint8{}, count: 1}
	for _, w := range names[:min(len(names), most-1)] {
		out.words[w] = uint8(out.count)
		out.count++
	}
	return out
}

func (c *cut) bins(col Column) []uint8 {
	out := make([]uint8, col.Len())
	missing := uint8(c.count)
	if c.words != nil {
		for i, w := range col.Words {
			if w == "" {
				out[i] = missing
			} else {
				out[i] = c.words[w]
			}
		}
		return out
	}
	for i, x := range col.Numbers {
		if math.IsNaN(x) || math.IsInf(x, 0) {
			out[i] = missing
		} else {
			out[i] = uint8(sort.SearchFloat64s(c.edges, x))
		}
	}
	return out
}
