package tracking

import (
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"keelson/internal/problem"
)

func TestCheckKey(t *testing.T) {
	for _, c := range []struct {
		name, key string
		ok        bool
	}{
		{"a plain word is a key", "accuracy", true},
		{"slashes, dots, dashes, colons and spaces may stand in a key", "val/acc-1.0: top 5", true},
		{"letters of other scripts may stand in a key", "précision", true},
		{"an empty key is refused", "", false},
		{"a key that climbs is refused", "../x", false},
		{"an absolute key is refused", "/x", false},
		{"a key with an empty part is refused", "a//b", false},
		{"a key of 250 characters is the longest", strings.Repeat("k", 250), true},
		{"a key of 251 characters is refused", strings.Repeat("k", 251), false},
		{"other punctuation is refused", "a#b", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := CheckKey("metric", c.key); (err == nil) != c.ok || err != nil && !problem.Is(err, problem.Invalid) {
				t.Errorf("CheckKey(%q) = %v, want ok %v", c.key, err, c.ok)
			}
		})
	}
}

func TestCheckPath(t *testing.T) {
	for _, c := range []struct {
		name, path string
		ok         bool
	}{
		{"a file in a folder is fine", "model/MLmodel", true},
		{"spaces and other scripts are fine", "plots/Größe 1.png", true},
		{"a percent sequence that hides nothing is part of the name", "odd/%41.txt", true},
		{"climbing is refused", "../../etc/passwd", false},
		{"climbing in the middle is refused", "a/../b", false},
		{"an absolute path is refused", "/etc/passwd", false},
		{"a backslash is refused", `a\..\b`, false},
		{"an encoded dot pair is refused", "%2e%2e/etc", false},
		{"an encoded slash that climbs is refused", "a%2f..%2fb", false},
		{"double encoding is refused", "%252e%252e%252fetc", false},
		{"an encoded backslash is refused", "a%5cb", false},
		{"a zero byte is refused", "a\x00b", false},
		{"an empty part is refused", "a//b", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := CheckPath(c.path); (err == nil) != c.ok {
				t.Errorf("CheckPath(%q) = %v, want ok %v", c.path, err, c.ok)
			}
		})
	}
}

func TestSplitRoot(t *testing.T) {
	for _, c := range []struct {
		name, path, root, rest string
		ok                     bool
	}{
		{"a run's file", "3/abc/artifacts/model/MLmodel", "3/abc/artifacts", "model/MLmodel", true},
		{"a run's root", "3/abc/artifacts", "3/abc/artifacts", "", true},
		{"a logged model's file", "0/models/m-1/artifacts/MLmodel", "0/models/m-1/artifacts", "MLmodel", true},
		{"a logged model without the last part is no root", "0/models/m-1/x", "", "", false},
		{"a run named artifacts is no root of models", "0/models/artifacts/x", "", "", false},
		{"anything else", "etc/passwd", "", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			root, rest, ok := SplitRoot(c.path)
			if root != c.root || rest != c.rest || ok != c.ok {
				t.Errorf("SplitRoot(%q) = %q %q %v, want %q %q %v", c.path, root, rest, ok, c.root, c.rest, c.ok)
			}
		})
	}
}

func point(t *rapid.T) Point {
	return Point{
		Key:   rapid.StringMatching(`[a-c]{1,2}`).Draw(t, "key"),
		Step:  rapid.Int64().Draw(t, "step"),
		At:    rapid.Int64().Draw(t, "at"),
		Value: rapid.OneOf(rapid.Float64(), rapid.SampledFrom([]float64{math.NaN(), math.Inf(1), math.Inf(-1), 0})).Draw(t, "value"),
	}
}

func TestPackedPointsComeBackAsTheyWere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.SliceOf(rapid.Custom(point)).Draw(t, "points")
		var out []Point
		if err := eachTail(packTail(in), func(p Point) { out = append(out, p) }); err != nil {
			t.Fatal(err)
		}
		if len(out) != len(in) {
			t.Fatalf("%d points of %d came back", len(out), len(in))
		}
		for i := range in {
			if out[i].Key != in[i].Key || !out[i].same(in[i]) {
				t.Fatalf("point %d: got %+v, want %+v", i, out[i], in[i])
			}
		}
		sorted := tidy(in)
		back, err := unpackChunk("a", packChunk(sorted), nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := range sorted {
			if !back[i].same(sorted[i]) {
				t.Fatalf("chunk point %d: got %+v, want %+v", i, back[i], sorted[i])
			}
		}
	})
}

func FuzzDamagedPointsAreRefused(f *testing.F) {
	f.Add(packTail([]Point{{Key: "loss", Value: 1, Step: 2, At: 3}}))
	f.Add(packChunk([]Point{{Key: "loss", Value: 1, Step: 2, At: 3}}))
	f.Add([]byte{1, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, b []byte) {
		n := 0
		_ = eachTail(b, func(Point) { n++ })
		list, _ := unpackChunk("k", b, nil)
		if n > len(b) || len(list) > len(b) {
			t.Errorf("%d bytes gave %d and %d points", len(b), n, len(list))
		}
	})
}

func TestParseFilter(t *testing.T) {
	for _, c := range []struct {
		name, filter string
		want         []Clause
		fails        string
	}{
		{"an empty filter has no clauses", "  ", nil, ""},
		{"a metric is compared with a number", "metrics.acc >= 0.5", []Clause{{Entity: "metric", Key: "acc", Op: ">=", Numeric: true, Number: 0.5}}, ""},
		{"entities have short names and keys may hold dots", "params.a.b='x' and tag.c != \"y\"",
			[]Clause{{Entity: "param", Key: "a.b", Op: "=", Text: "x"}, {Entity: "tag", Key: "c", Op: "!=", Text: "y", At: 17}}, ""},
		{"a key may be quoted", "params.`a b` LIKE '%x'", []Clause{{Entity: "param", Key: "a b", Op: "LIKE", Text: "%x"}}, ""},
		{"no entity means attribute", "run_name ilike 'a%'", []Clause{{Entity: "attribute", Key: "name", Op: "ILIKE", Text: "a%"}}, ""},
		{"an attribute with a space is quoted", "`run name` = 'a'", []Clause{{Entity: "attribute", Key: "name", Op: "=", Text: "a"}}, ""},
		{"numbers may be negative and have exponents", "metrics.m < -1e-3", []Clause{{Entity: "metric", Key: "m", Op: "<", Numeric: true, Number: -1e-3}}, ""},
		{"a list stands in parentheses", "run_id IN ('a','b')", []Clause{{Entity: "attribute", Key: "id", Op: "IN", List: []string{"a", "b"}}}, ""},
		{"a list may be negated", "dataset.name NOT IN ('a')", []Clause{{Entity: "dataset", Key: "name", Op: "NOT IN", List: []string{"a"}}}, ""},
		{"presence can be asked for", "tags.x IS NOT NULL", []Clause{{Entity: "tag", Key: "x", Op: "IS NOT NULL"}}, ""},
		{"a trailing AND is accepted", "tags.x = 'y' AND", []Clause{{Entity: "tag", Key: "x", Op: "=", Text: "y"}}, ""},
		{"OR is refused with its place", "tags.x = 'y' OR tags.z = 'u'", nil, "position 14"},
		{"a string where a number belongs is refused", "metrics.a = 'x'", nil, "Expected numeric value type"},
		{"a number where a string belongs is refused", "params.a = 5", nil, "Expected a quoted string value"},
		{"an unknown attribute is refused", "colour = 'red'", nil, "Invalid attribute key 'colour'"},
		{"an unknown entity is refused", "paint.colour = 'red'", nil, "Invalid entity type 'paint'"},
		{"an open quote is refused", "tags.x = 'y", nil, "not closed"},
		{"LIKE on a metric is refused", "metrics.a LIKE 'x'", nil, "Invalid comparator"},
		{"a list for a parameter is refused", "params.a IN ('x')", nil, "does not support comparison with a list"},
		{"a comparison without a value is refused", "tags.x =", nil, "has no value"},
		{"a lone word is refused", "tags.x", nil, "has no operator"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ParseFilter(c.filter, RunGrammar)
			if c.fails != "" {
				if err == nil || !strings.Contains(err.Error(), c.fails) || !problem.Is(err, problem.Invalid) {
					t.Fatalf("got %v, want an error with %q", err, c.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != len(c.want) {
				t.Fatalf("got %+v, want %+v", got, c.want)
			}
			for i := range got {
				g, w := got[i], c.want[i]
				if g.Entity != w.Entity || g.Key != w.Key || g.Op != w.Op || g.Numeric != w.Numeric || g.Text != w.Text || g.Number != w.Number || strings.Join(g.List, "|") != strings.Join(w.List, "|") {
					t.Errorf("clause %d: got %+v, want %+v", i, g, w)
				}
			}
		})
	}
}

func FuzzFiltersNeverPanic(f *testing.F) {
	for _, s := range []string{"metrics.a > 1 AND params.`x y` = 'z'", "a IN ('b',", "\"", "tags.\"x\" IS NOT NULL", "-", "1e+", "é.x='1'"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, g := range []Grammar{RunGrammar, ExperimentGrammar, LoggedModelGrammar} {
			if _, err := ParseFilter(s, g); err != nil && !problem.Is(err, problem.Invalid) {
				t.Errorf("filter %q: %v is no refusal", s, err)
			}
			if _, err := ParseOrder([]string{s}, g); err != nil && !problem.Is(err, problem.Invalid) {
				t.Errorf("order %q: %v is no refusal", s, err)
			}
		}
	})
}
