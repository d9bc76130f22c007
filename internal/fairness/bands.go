package fairness

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"keelson/internal/problem"
	"keelson/internal/score"
)

// MaxEdges is how many edges a column of numbers is cut at, at most.
const MaxEdges = 20

// CheckColumns tells what is wrong with the columns that make groups and the edges at which those of numbers are cut: 1 to most
// columns, each once, and 1 to MaxEdges finite, ascending edges of a column among them. It fails with problem.Invalid at
// at.columns, at.columns[i] or at.edges.COLUMN.
func CheckColumns(at string, columns []string, most int, edges map[string][]float64) error {
	fault := func(field, format string, args ...any) error {
		return problem.New(problem.Invalid, format, args...).At(at + "." + field)
	}
	if len(columns) == 0 || len(columns) > most {
		return fault("columns", "Name 1 to %d columns that tell the groups apart; here are %d.", most, len(columns))
	}
	for i, c := range columns {
		if strings.TrimSpace(c) == "" || len(c) > 200 || slices.Contains(columns[:i], c) {
			return fault(fmt.Sprintf("columns[%d]", i), "Each column has a name of up to 200 bytes and stands here once; %q does not.", clip(c))
		}
	}
	for _, c := range slices.Sorted(maps.Keys(edges)) {
		field, list := "edges."+clip(c), edges[c]
		if !slices.Contains(columns, c) {
			return fault(field, "%q is cut and is none of the columns.", clip(c))
		}
		if len(list) == 0 || len(list) > MaxEdges {
			return fault(field, "A column is cut at 1 to %d edges; %q has %d.", MaxEdges, clip(c), len(list))
		}
		for i, e := range list {
			if math.IsNaN(e) || math.IsInf(e, 0) || i > 0 && e <= list[i-1] {
				return fault(field, "The edges of %q are finite numbers, each above the one before.", clip(c))
			}
		}
	}
	return nil
}

// Bands makes an attribute of numbers; NaN is missing. With ascending edges a row falls into "<a", "a to <b" … "≥z"; without them,
// of at most 10 different values each is a group of its own, and more are cut at the quartiles of values. how tells which it was.
// Different groups have different labels.
func Bands(name string, values, edges []float64) (a Attribute, how string) {
	a.Name, a.Values = name, make([]string, len(values))
	if len(edges) == 0 {
		seen, known := map[float64]bool{}, []float64{}
		for _, v := range values {
			if !math.IsNaN(v) {
				seen[v], known = true, append(known, v)
			}
		}
		if len(seen) <= 10 {
			for i, v := range values {
				if !math.IsNaN(v) {
					a.Values[i] = exact(v)
				}
			}
			return a, ""
		}
		for _, q := range score.Quantiles(known, 0.25, 0.5, 0.75) {
			if v, ok, _ := q.Get(); ok && (len(edges) == 0 || v > edges[len(edges)-1]) {
				edges = append(edges, v)
			}
		}
		how = fmt.Sprintf("%s is cut at the quartiles of the data, %s.", name, strings.Join(apart(edges), ", "))
	}
	cuts := apart(edges)
	labels := make([]string, len(edges)+1)
	for i := range labels {
		switch {
		case i == 0:
			labels[i] = "<" + cuts[0]
		case i == len(edges):
			labels[i] = "≥" + cuts[i-1]
		default:
			labels[i] = cuts[i-1] + " to <" + cuts[i]
		}
	}
	for i, v := range values {
		if !math.IsNaN(v) {
			k := 0
			for k < len(edges) && v >= edges[k] {
				k++
			}
			a.Values[i] = labels[k]
		}
	}
	return a, how
}

// exact writes a number so that no other has the same text: with the fewest digits that do, and without a power of ten where it
// is not very large or small.
func exact(v float64) string {
	if size := math.Abs(v); size == 0 {
		return "0" // of either sign
	} else if size >= 1e-6 && size < 1e21 {
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

// apart writes ascending numbers with the fewest digits, six or more, at which no two have the same text.
func apart(edges []float64) []string {
	out := make([]string, len(edges))
	for digits := 6; ; digits++ {
		same := false
		for i, e := range edges {
			out[i] = strconv.FormatFloat(e, 'g', digits, 64)
			same = same || i > 0 && out[i] == out[i-1]
		}
		if !same || digits >= 17 { // 17 tell any two apart
			return out
		}
	}
}
