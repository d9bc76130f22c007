package filter

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"keelson/internal/problem"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name, filter string
		want         []Clause
		fails        string
	}{
		{"an empty filter has no clauses", "  ", nil, ""},
		{"a metric is compared with a number", "metrics.acc >= 0.5", []Clause{{Entity: Metric, Key: "acc", Op: ">=", Numeric: true, Number: 0.5}}, ""},
		{"entities have short names and keys may hold dots", "params.a.b='x' and tag.c != \"y\"",
			[]Clause{{Entity: Param, Key: "a.b", Op: "=", Text: "x"}, {Entity: Tag, Key: "c", Op: "!=", Text: "y", At: 19}}, ""},
		{"a key may be quoted", "params.`a b` LIKE '%x'", []Clause{{Entity: Param, Key: "a b", Op: "LIKE", Text: "%x"}}, ""},
		{"no entity means attribute", "run_name ilike 'a%'", []Clause{{Entity: Attribute, Key: "name", Op: "ILIKE", Text: "a%"}}, ""},
		{"an attribute with a space is quoted", "`run name` = 'a'", []Clause{{Entity: Attribute, Key: "name", Op: "=", Text: "a"}}, ""},
		{"numbers may be negative and have exponents", "metrics.m < -1e-3", []Clause{{Entity: Metric, Key: "m", Op: "<", Numeric: true, Number: -1e-3}}, ""},
		{"a list stands in parentheses", "run_id IN ('a','b')", []Clause{{Entity: Attribute, Key: "id", Op: "IN", List: []string{"a", "b"}}}, ""},
		{"a list may be negated", "dataset.name NOT IN ('a')", []Clause{{Entity: Dataset, Key: "name", Op: "NOT IN", List: []string{"a"}}}, ""},
		{"a list may end with a comma", "run_id IN ('a',)", []Clause{{Entity: Attribute, Key: "id", Op: "IN", List: []string{"a"}}}, ""},
		{"presence can be asked for", "tags.x is not null", []Clause{{Entity: Tag, Key: "x", Op: "IS NOT NULL"}}, ""},
		{"a trailing AND is accepted", "tags.x = 'y' AND", []Clause{{Entity: Tag, Key: "x", Op: "=", Text: "y"}}, ""},
		{"a doubled quote stands for one", "tags.x = 'it''s'", []Clause{{Entity: Tag, Key: "x", Op: "=", Text: "it's"}}, ""},
		{"OR is refused with its place", "tags.x = 'y' OR tags.z = 'u'", nil, "position 14"},
		{"places are counted in characters", "tags.é = 'ü' OR tags.z = 'u'", nil, "position 14"},
		{"a string where a number belongs is refused", "metrics.a = 'x'", nil, "Expected numeric value type for metric. Found 'x' (at position 13"},
		{"a number where a string belongs is refused", "params.a = 5", nil, "Expected a quoted string value for parameter (e.g. 'my-value'). Got value 5 (at position 12"},
		{"an unknown attribute is refused", "colour = 'red'", nil, "Invalid attribute key 'colour' specified. Valid keys are 'Created'"},
		{"an unknown entity is refused", "paint.colour = 'red'", nil, "Invalid entity type 'paint'. Valid values are ['attribute', 'metric'"},
		{"an unknown part of a data set is refused", "dataset.size = 'x'", nil, "Invalid dataset key 'size' specified. Valid keys are 'context', 'digest', 'name'"},
		{"an open quote is refused where it opens", "tags.x = 'y", nil, "not closed (at position 10"},
		{"LIKE on a metric is refused", "metrics.a LIKE 'x'", nil, "Invalid comparator 'LIKE' not one of"},
		{"another way to write equal is refused", "metrics.a == 1", nil, "Invalid comparator '==' not one of"},
		{"a list for a parameter is refused", "params.a IN ('x')", nil, "Only ['run_id', 'dataset.context', 'dataset.digest', 'dataset.name'] support comparison with a list"},
		{"an empty list is refused", "run_id IN ()", nil, "expected a non-empty list of string values, but got empty list"},
		{"a metric is never null", "metrics.a IS NULL", nil, "IS NULL / IS NOT NULL is only supported for parameters and tags, not for 'metric' 'a'"},
		{"a comparison without a value is refused", "tags.x =", nil, "has no value (at position 9"},
		{"a lone word is refused", "tags.x", nil, "Invalid clause(s) in filter string: 'tags.x'"},
		{"an entity without a key is refused", "tags. = 'x'", nil, "has no name"},
		{"a number too large is refused", "metrics.a > 1e999", nil, "Expected numeric value type"},
		{"a semicolon is refused", "tags.x = 'a'; tags.y = 'b'", nil, "Invalid clause(s) in filter string: ';' (at position 13"},
		{"too many clauses are refused", strings.Repeat("tags.x = 'a' AND ", MaxClauses+1), nil, "more than 100 clauses"},
		{"too long a filter is refused", strings.Repeat(" ", MaxLength+1), nil, "longer than"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Parse(c.filter, Runs)
			if c.fails != "" {
				if err == nil || !strings.Contains(err.Error(), c.fails) || !problem.Is(err, problem.Invalid) {
					t.Fatalf("got %v, want an error with %q", err, c.fails)
				}
				return
			}
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Fatalf("got %+v, %v, want %+v", got, err, c.want)
			}
		})
	}
}

func TestOrder(t *testing.T) {
	for _, c := range []struct {
		name  string
		terms []string
		want  []Order
		fails string
	}{
		{"ascending is usual", []string{"metrics.acc"}, []Order{{Metric, "acc", true, false}}, ""},
		{"directions come in any case", []string{"params.`a b` desc", "start_time Asc"}, []Order{{Param, "a b", false, true}, {Attribute, "started_at", true, false}}, ""},
		{"a name with a space may come bare", []string{"Run Name DESC"}, []Order{{Attribute, "name", false, true}}, ""},
		{"another direction is refused", []string{"metrics.acc DOWN"}, nil, "Invalid ordering key in order_by clause"},
		{"data sets order nothing", []string{"dataset.name"}, nil, "cannot order by the dataset 'name'"},
		{"an unknown attribute is refused", []string{"colour"}, nil, "Invalid attribute key 'colour'"},
		{"one thing orders once", []string{"metrics.a", "metric.a DESC"}, nil, "duplicate fields"},
		{"an empty term is refused", []string{""}, nil, "Could not be parsed"},
		{"eleven terms are refused", slices.Repeat([]string{"run_name"}, 11), nil, "at most 10 terms"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ParseOrder(c.terms, Runs)
			if c.fails != "" {
				if err == nil || !strings.Contains(err.Error(), c.fails) || !problem.Is(err, problem.Invalid) {
					t.Fatalf("got %v, want an error with %q", err, c.fails)
				}
				return
			}
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Fatalf("got %+v, %v, want %+v", got, err, c.want)
			}
		})
	}
}

// ours are the filters that we take and MLflow 3.17.2 refuses, theirs those that we refuse though it takes them.
var (
	ours = map[string]string{
		"runs experiment_id = '0'":                     "of use in a search over several experiments",
		"runs experiment_id LIKE '0'":                  "the same",
		"order experiment_id":                          "the same",
		"runs    ":                                     "a filter of spaces is empty",
		"experiments    ":                              "the same",
		"models    ":                                   "the same",
		"versions    ":                                 "the same",
		"models tag.x IS NULL":                         "it fails there by accident, with a Python error",
		"models tags.x IS NOT NULL AND tags.y = '1'":   "the same",
		"versions tag.x IS NULL":                       "the same",
		"versions tags.x IS NOT NULL AND tags.y = '1'": "the same",
	}
	theirs = map[string]string{
		"runs tags.x = 'a' tags.y = 'b'":        "a missing AND is more likely a mistake than meant",
		"experiments tags.x = 'a' tags.y = 'b'": "the same",
		"models tags.x = 'a' tags.y = 'b'":      "the same",
		"versions tags.x = 'a' tags.y = 'b'":    "the same",
		"runs run_id IN ('a' 'b')":              "Python joins the two texts, which nobody means",
		"versions run_id IN ('a' 'b')":          "the same",
		"experiments experiment_id LIKE '0'":    "its store refuses it later",
		"order dataset.name":                    "the same",
		"versions version_number = '3'":         "a number is compared with a number",
	}
)

func TestFiltersMeanWhatTheyMeanToMLflow(t *testing.T) {
	f, err := os.Open("testdata/mlflow-3.17.2.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	grammars := map[string]*Grammar{"runs": Runs, "experiments": Experiments, "models": Models, "versions": Versions}
	n := 0
	for lines := bufio.NewScanner(f); lines.Scan(); n++ {
		var want struct {
			Kind, Filter, Error string
			Clauses             []struct {
				Type, Key, Comparator string
				Value                 any
			}
		}
		if err := json.Unmarshal(lines.Bytes(), &want); err != nil {
			t.Fatal(err)
		}
		name := want.Kind + " " + want.Filter
		var got []Clause
		var err error
		if want.Kind == "order" {
			var o []Order
			if o, err = ParseOrder([]string{want.Filter}, Runs); err == nil {
				got = []Clause{{Entity: o[0].Entity, Key: o[0].Key, Op: map[bool]string{true: "DESC", false: "ASC"}[o[0].Desc]}}
			}
		} else {
			got, err = Parse(want.Filter, grammars[want.Kind])
		}
		if (err != nil) != (want.Error != "") {
			if _, ok := ours[name]; ok && err == nil {
				continue
			}
			if _, ok := theirs[name]; ok && err != nil {
				continue
			}
			t.Errorf("%s: we say %v, MLflow %q", name, err, want.Error)
			continue
		}
		if err != nil {
			continue
		}
		if len(got) != len(want.Clauses) {
			t.Errorf("%s: %d clauses, MLflow has %d", name, len(got), len(want.Clauses))
			continue
		}
		for i, w := range want.Clauses {
			g := got[i]
			var value any
			switch {
			case g.Numeric:
				value = g.Number
			case g.List != nil:
				var l []any
				for _, v := range g.List {
					l = append(l, v)
				}
				value = l
			case g.Op != IsNull && g.Op != IsNotNull && want.Kind != "order":
				value = g.Text
			}
			key := w.Key
			if w.Type == Attribute {
				key = map[string]*Grammar{"order": Runs}[want.Kind].orSelf(grammars[want.Kind]).Entities[0].Keys[w.Key].Stored
			}
			if g.Entity != w.Type || g.Key != key || g.Op != w.Comparator || fmt.Sprint(value) != fmt.Sprint(w.Value) {
				t.Errorf("%s: clause %d is %+v, MLflow has %+v", name, i, g, w)
			}
		}
	}
	if n < 300 {
		t.Errorf("only %d filters were compared", n)
	}
}

func (g *Grammar) orSelf(other *Grammar) *Grammar {
	if g != nil {
		return g
	}
	return other
}

// write is the text of a clause.
func write(c Clause) string {
	switch {
	case c.Op == IsNull || c.Op == IsNotNull:
		return Name(c.Entity, c.Key) + " " + c.Op
	case c.Numeric:
		return fmt.Sprintf("%s %s %g", Name(c.Entity, c.Key), c.Op, c.Number)
	case c.List != nil:
		var l []string
		for _, v := range c.List {
			l = append(l, Quote(v))
		}
		return Name(c.Entity, c.Key) + " " + c.Op + " (" + strings.Join(l, ", ") + ")"
	}
	return Name(c.Entity, c.Key) + " " + c.Op + " " + Quote(c.Text)
}

func TestWhatIsWrittenIsReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.StringMatching("[a-zé/_.: `\"'-]{0,8}[a-z]")
		var want []Clause
		var parts []string
		at := 0
		for range rapid.IntRange(0, 5).Draw(t, "clauses") {
			var c Clause
			switch rapid.IntRange(0, 3).Draw(t, "kind") {
			case 0:
				c = Clause{Entity: Metric, Key: key.Draw(t, "key"), Op: rapid.SampledFrom(Numbers).Draw(t, "op"), Numeric: true, Number: rapid.Float64Range(-1e300, 1e300).Draw(t, "number")}
			case 1:
				c = Clause{Entity: Param, Key: key.Draw(t, "key"), Op: rapid.SampledFrom(Texts).Draw(t, "op"), Text: rapid.String().Draw(t, "text")}
			case 2:
				c = Clause{Entity: Tag, Key: key.Draw(t, "key"), Op: rapid.SampledFrom([]string{IsNull, IsNotNull}).Draw(t, "op")}
			default:
				c = Clause{Entity: Dataset, Key: "name", Op: In, List: rapid.SliceOfN(rapid.String(), 1, 4).Draw(t, "list")}
			}
			c.At = at
			text := write(c)
			at += len(text) + len(" AND ")
			want, parts = append(want, c), append(parts, text)
		}
		text := strings.Join(parts, " AND ")
		got, err := Parse(text, Runs)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%s\nis read as %+v, %v\nwant %+v", text, got, err, want)
		}
	})
}

func TestComplete(t *testing.T) {
	for _, c := range []struct {
		name, text string // the cursor is at |
		want       Place
	}{
		{"nothing yet", "|", Place{Want: WantName}},
		{"the first letters of a name", "me|", Place{Want: WantName, To: 2, Begun: "me"}},
		{"the entity is there", "metrics.|", Place{Want: WantKey, To: 8, Entity: Metric, Written: "metrics"}},
		{"a key is begun", "status = 'x' AND params.l|", Place{Want: WantKey, From: 17, To: 25, Begun: "l", Entity: Param, Written: "params"}},
		{"a quoted key is begun", "params.`learning r|", Place{Want: WantKey, To: 18, Begun: "learning r", Entity: Param, Written: "params"}},
		{"after the name", "metrics.acc |", Place{Want: WantOperator, From: 12, To: 12, Entity: Metric, Key: "acc"}},
		{"half an operator", "tags.x IS N|", Place{Want: WantOperator, From: 7, To: 11, Begun: "IS N", Entity: Tag, Key: "x"}},
		{"after the operator", "params.opt = |", Place{Want: WantValue, From: 13, To: 13, Entity: Param, Key: "opt"}},
		{"a value is begun", "params.opt = 'ad|", Place{Want: WantValue, From: 13, To: 16, Begun: "ad", Entity: Param, Key: "opt"}},
		{"inside of a value that is closed", "params.opt = 'ad|am' AND status = 'x'", Place{Want: WantValue, From: 13, To: 19, Begun: "ad", Entity: Param, Key: "opt"}},
		{"in a list", "run_id IN ('a', '|", Place{Want: WantValue, From: 16, To: 17, Entity: Attribute, Key: "run_id"}},
		{"after a clause", "params.opt = 'adam' |", Place{Want: WantAnd, From: 20, To: 20, Entity: Param, Key: "opt"}},
		{"after AND", "params.opt = 'adam' AND |", Place{Want: WantName, From: 24, To: 24}},
	} {
		t.Run(c.name, func(t *testing.T) {
			at := strings.IndexByte(c.text, '|')
			got := Complete(c.text[:at]+c.text[at+1:], at, Runs)
			got.Rule = Key{}
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func FuzzFiltersNeverPanic(f *testing.F) {
	for _, s := range []string{"metrics.a > 1 AND params.`x y` = 'z'", "a IN ('b',", "\"", "tags.\"x\" IS NOT NULL", "-", "1e+", "é.x='1'", "run_id IN (", "tags.x IS", "`", "start_time>1e999", "\xff.x = 'y'"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, g := range []*Grammar{Runs, Experiments, LoggedModels, Models, Versions} {
			clauses, err := Parse(s, g)
			if err != nil && !problem.Is(err, problem.Invalid) {
				t.Errorf("filter %q: %v is no refusal", s, err)
			}
			for _, c := range clauses {
				if c.At < 0 || c.At >= len(s) || c.Key == "" || c.Entity == "" {
					t.Errorf("filter %q: clause %+v", s, c)
				}
			}
			if _, err := ParseOrder([]string{s}, g); err != nil && !problem.Is(err, problem.Invalid) {
				t.Errorf("order %q: %v is no refusal", s, err)
			}
			for at := range min(len(s), 50) + 1 {
				if p := Complete(s, at, g); p.From < 0 || p.From > at || p.To < at || p.To > len(s) || p.Want == "" {
					t.Errorf("completion of %q at %d: %+v", s, at, p)
				}
			}
		}
	})
}
