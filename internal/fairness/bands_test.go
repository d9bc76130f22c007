package fairness

import (
	"math"
	"strings"
	"testing"

	"keelson/internal/problem"
)

func TestBandsSayHowNumbersWereCut(t *testing.T) {
	nan := math.NaN()
	many := make([]float64, 100)
	for i := range many {
		many[i] = float64(i)
	}
	many[99] = nan
	for _, c := range []struct {
		name          string
		values, edges []float64
		how           string
		want          map[int]string
	}{
		{"few values are groups", []float64{0, 1, nan}, nil, "", map[int]string{0: "0", 1: "1", 2: ""}},
		{"edges cut", []float64{29, 30, 49.5, 50, nan}, []float64{30, 50}, "", map[int]string{0: "<30", 1: "30 to <50", 2: "30 to <50", 3: "≥50", 4: ""}},
		{"numbers that agree in six digits are groups of their own", []float64{1234567, 1234568, 1e6, 1763000000000001, 1763000000000002}, nil, "",
			map[int]string{0: "1234567", 1: "1234568", 2: "1000000", 3: "1763000000000001", 4: "1763000000000002"}},
		{"a zero below is a zero, and very large and small numbers keep their power of ten", []float64{0, math.Copysign(0, -1), 1e300, 2.5e-9, 0.1}, nil, "",
			map[int]string{0: "0", 1: "0", 2: "1e+300", 3: "2.5e-09", 4: "0.1"}},
		{"edges that agree in six digits cut", []float64{0, 1763000000000001, 1763000000000002}, []float64{1763000000000001, 1763000000000002}, "",
			map[int]string{0: "<1763000000000001", 1: "1763000000000001 to <1763000000000002", 2: "≥1763000000000002"}},
		{"many are cut at quartiles", many, nil, "quartiles", map[int]string{0: "<24", 30: "24 to <49", 98: "≥74", 99: ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, how := Bands("age", c.values, c.edges)
			if c.how == "" && how != "" || !strings.Contains(how, c.how) {
				t.Errorf("how is %q, want %q", how, c.how)
			}
			for i, w := range c.want {
				if a.Values[i] != w {
					t.Errorf("row %d is in %q, want %q", i, a.Values[i], w)
				}
			}
		})
	}
}

func TestNeighbouringNumbersAreToldApart(t *testing.T) {
	for _, v := range []float64{1, 1763000000000001, 1e300, 5e-324, -2} {
		next := math.Nextafter(v, math.Inf(1))
		if a := apart([]float64{v, next}); a[0] == a[1] || exact(v) == exact(next) {
			t.Errorf("%v and the number after it are %q as edges and %q and %q as values", v, a, exact(v), exact(next))
		}
	}
}

func TestColumnsAndEdgesThatMakeNoGroupsAreRefused(t *testing.T) {
	many := make([]float64, MaxEdges+1)
	for i := range many {
		many[i] = float64(i)
	}
	for _, c := range []struct {
		name    string
		columns []string
		edges   map[string][]float64
		at      string // empty: they are taken
	}{
		{"two columns, one cut", []string{"sex", "age"}, map[string][]float64{"age": {30, 50}}, ""},
		{"as many edges as there may be", []string{"age"}, map[string][]float64{"age": many[:MaxEdges]}, ""},
		{"no column", nil, nil, "t.columns"},
		{"too many columns", []string{"a", "b", "c", "d"}, nil, "t.columns"},
		{"a column without a name", []string{"a", " "}, nil, "t.columns[1]"},
		{"a column twice", []string{"a", "b", "a"}, nil, "t.columns[2]"},
		{"a name that is too long", []string{strings.Repeat("a", 201)}, nil, "t.columns[0]"},
		{"edges of another column", []string{"a"}, map[string][]float64{"b": {1}}, "t.edges.b"},
		{"no edges", []string{"a"}, map[string][]float64{"a": {}}, "t.edges.a"},
		{"too many edges", []string{"a"}, map[string][]float64{"a": many}, "t.edges.a"},
		{"edges that fall", []string{"a"}, map[string][]float64{"a": {2, 1}}, "t.edges.a"},
		{"an edge twice", []string{"a"}, map[string][]float64{"a": {1, 1}}, "t.edges.a"},
		{"an edge that is no number", []string{"a"}, map[string][]float64{"a": {math.NaN()}}, "t.edges.a"},
		{"an edge without end", []string{"a"}, map[string][]float64{"a": {1, math.Inf(1)}}, "t.edges.a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := CheckColumns("t", c.columns, 3, c.edges)
			p, refused := problem.As(err)
			if refused != (c.at != "") || refused && (p.Field != c.at || problem.KindOf(err) != problem.Invalid) {
				t.Errorf("got %v, want a refusal at %q", err, c.at)
			}
		})
	}
}
