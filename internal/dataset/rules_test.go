package dataset

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"keelson/internal/problem"
)

func at(v float64) *float64 { return &v }

func TestARuleThatIsBrokenNamesColumnAndRows(t *testing.T) {
	const file = "id,radius,band,bad,when\n" +
		"a,1.5,small,0,2024-01-01\n" +
		"b,-3,medium,1,2024-01-02\n" +
		"c,,huge,7,tomorrow\n" +
		"b,2,small,,2024-01-04\n" +
		"d,51,,x,2024-01-05\n"
	for _, c := range []struct {
		name string
		rule Rule
		rows []int64
		n    int64
		want string
	}{
		{"range below", Rule{Column: "radius", Check: "range", Min: at(0), Max: at(60)}, []int64{2}, 1, `"-3" lies outside 0 to 60`},
		{"range above", Rule{Column: "radius", Check: "range", Max: at(50)}, []int64{5}, 1, "50 and below"},
		{"range of words", Rule{Column: "band", Check: "range", Min: at(0)}, []int64{1, 2, 3, 4}, 4, "in 4 rows"},
		{"type", Rule{Column: "bad", Check: "type", Type: Int}, []int64{5}, 1, `"x" is not a whole number`},
		{"type of times", Rule{Column: "when", Check: "type", Type: Time}, []int64{3}, 1, `"tomorrow" is not a date`},
		{"allowed numbers", Rule{Column: "bad", Check: "allowed", Values: []any{0.0, 1.0}}, []int64{3, 5}, 2, `"7" is not among`},
		{"allowed words", Rule{Column: "band", Check: "allowed", Values: []any{"small", "medium", "large"}}, []int64{3}, 1, `"huge"`},
		{"unique", Rule{Column: "id", Check: "unique"}, []int64{4}, 1, `"b" was there before`},
		{"null share", Rule{Column: "radius", Check: "null_share", MaxShare: at(0.1)}, []int64{3}, 1, "20 %"},
		{"rows", Rule{Check: "rows", Min: at(6)}, nil, 5, "5 rows, allowed are 6 and above"},
		{"a column that is not there", Rule{Column: "Radius ", Check: "range", Min: at(0)}, nil, 0, "it has radius"},
	} {
		t.Run(c.name, func(t *testing.T) {
			seen, err := inspectBytes([]byte(file), "csv", c.rule)
			if err != nil {
				t.Fatal(err)
			}
			if len(seen.Findings) != 1 {
				t.Fatalf("findings %v", seen.Findings)
			}
			f := seen.Findings[0]
			if f.Field != c.rule.Column || !slices.Equal(f.Rows, c.rows) || f.Count != c.n || !strings.Contains(f.Detail, c.want) || f.Rule != c.rule.Name() {
				t.Errorf("%+v, want rows %v, count %d, %q", f, c.rows, c.n, c.want)
			}
			if seen.Results[0].OK {
				t.Error("the rule counts as held")
			}
		})
	}
}

func TestRulesThatHoldFindNothing(t *testing.T) {
	rules := []Rule{
		{Check: "rows", Min: at(100), Max: at(1000)}, {Column: "patient", Check: "unique"}, {Column: "patient", Check: "type", Type: String},
		{Column: "mean_radius", Check: "range", Min: at(0), Max: at(50)}, {Column: "mean_radius", Check: "null_share", MaxShare: at(0)},
		{Column: "size_band", Check: "allowed", Values: []any{"small", "medium", "large"}},
		{Column: "malignant", Check: "type", Type: Int}, {Column: "malignant", Check: "allowed", Values: []any{0, 1}},
		{Column: "malignant", Check: "type", Type: Int},
	}
	if err := CheckRules(rules); err != nil {
		t.Fatal(err)
	}
	seen, err := inspectBytes(read(t, "patients.csv"), "csv", rules...)
	if err != nil {
		t.Fatal(err)
	}
	if len(seen.Findings) != 0 || len(seen.Results) != len(rules) || seen.Rows != 569 {
		t.Errorf("findings %v, results %v, rows %d", seen.Findings, seen.Results, seen.Rows)
	}
}

func TestTwentyRowsAreListedAndAllAreCounted(t *testing.T) {
	var b strings.Builder
	b.WriteString("x\n")
	for i := range 1000 {
		fmt.Fprintln(&b, i%7)
	}
	seen, err := inspectBytes([]byte(b.String()), "csv", Rule{Column: "x", Check: "unique"}, Rule{Column: "x", Check: "range", Max: at(-1)})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range seen.Findings {
		if len(f.Rows) != 20 || !slices.IsSorted(f.Rows) {
			t.Errorf("%s lists %v", f.Rule, f.Rows)
		}
	}
	if seen.Findings[0].Count != 993 || seen.Findings[1].Count != 1000 || seen.Findings[0].Rows[0] != 8 {
		t.Errorf("findings %+v", seen.Findings)
	}
}

func TestRulesThatCannotBeCheckedAreRefused(t *testing.T) {
	for name, r := range map[string]Rule{
		"no column": {Check: "range", Min: at(0)}, "an unknown check": {Column: "x", Check: "sane"}, "an unknown type": {Column: "x", Check: "type", Type: "money"},
		"a range without bounds": {Column: "x", Check: "range"}, "min above max": {Column: "x", Check: "range", Min: at(2), Max: at(1)},
		"a share above 1": {Column: "x", Check: "null_share", MaxShare: at(1.5)}, "no values": {Column: "x", Check: "allowed"},
		"a list as value": {Column: "x", Check: "allowed", Values: []any{[]any{1}}}, "NaN as bound": {Column: "x", Check: "range", Min: at(math.NaN()), Max: at(1)},
	} {
		if err := CheckRules([]Rule{r}); !problem.Is(err, problem.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTypesAreInferredFromAllRows(t *testing.T) {
	for _, c := range []struct {
		cells string
		want  Type
	}{
		{"1 2 -3", Int}, {"1 2 3.5", Float}, {"1e3 inf -inf", Float}, {"1 x", String}, {"01 02", String}, {"+1 2", String}, {"1_000 2", String}, {"0x1p3 1", String},
		{"true False TRUE", Bool}, {"true 1", String}, {"2024-01-01 2024-02-03T04:05:06Z", Time}, {"2024-01-01 yesterday", String}, {"2024-13-01 2024-01-01", String},
		{"9223372036854775807 1", Int}, {"9223372036854775808 1", Float}, {"NaN 1", Int}, {"NaN nan", String}, {"x 1 2", String}, {"1 2024-01-01", String}, {"0.5 00", String},
	} {
		text := "c,i\n"
		for i, cell := range strings.Fields(c.cells) {
			text += fmt.Sprintf("%s,%d\n", cell, i)
		}
		seen, err := inspectBytes([]byte(text), "csv")
		if err != nil {
			t.Fatal(err)
		}
		if got := seen.Schema[0].Type; got != c.want {
			t.Errorf("%s: %s, want %s", c.cells, got, c.want)
		}
	}
}

func TestADeclaredTypeDecidesHowAColumnIsRead(t *testing.T) {
	seen, err := inspectBytes([]byte("code,n\n1,1.0\n2,2.0\n"), "csv", Rule{Column: "code", Check: "type", Type: String}, Rule{Column: "n", Check: "type", Type: Int})
	if err != nil {
		t.Fatal(err)
	}
	if seen.Schema[0].Type != String || seen.Schema[1].Type != Int || len(seen.Findings) != 0 || seen.Profile[0].Mean != nil || *seen.Profile[1].Mean != 1.5 {
		t.Errorf("%+v %+v", seen.Schema, seen.Findings)
	}
}

func TestProfilesMeetTheGoldenMoments(t *testing.T) {
	dir := os.Getenv("KEELSON_GOLDEN")
	if dir == "" {
		dir = "../drift/testdata"
	}
	text, err := os.ReadFile(filepath.Join(dir, "drift_expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	var want struct {
		Columns map[string]map[string]json.RawMessage `json:"columns"`
	}
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, side := range []string{"reference", "current"} {
		b, err := os.ReadFile(filepath.Join(dir, "drift_"+side+".csv"))
		if err != nil {
			t.Fatal(err)
		}
		seen, err := inspectBytes(b, "csv")
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range seen.Profile {
			w := want.Columns[p.Name]
			rows := float64(seen.Rows)
			infinite := map[string]float64{"n_" + side: rows, "missing_rate_" + side: float64(p.Missing) / rows}
			var kind string
			if err := json.Unmarshal(w["type"], &kind); err != nil {
				t.Fatalf("%s of the %s is not expected: %v", p.Name, side, err)
			}
			if kind == "numeric" {
				infinite["infinite_rate_"+side] = float64(p.Infinite) / rows
			}
			for key, got := range infinite {
				var v float64
				if err := json.Unmarshal(w[key], &v); err != nil || math.Abs(got-v) > 1e-12 {
					t.Errorf("%s of %s is %v, want %s (%v)", key, p.Name, got, w[key], err)
				}
			}
			if kind != "numeric" {
				continue
			}
			var moments map[string]float64
			if err := json.Unmarshal(w[side], &moments); err != nil {
				t.Fatal(err)
			}
			if moments == nil { // no value is valid
				if p.Mean != nil || p.SD != nil || p.Min != nil || p.Max != nil {
					t.Errorf("%s of the %s has no valid value, and moments: %+v", p.Name, side, p)
				}
				continue
			}
			if p.Mean == nil || p.SD == nil || p.Min == nil || p.Max == nil || p.Histogram == nil || p.Quantiles == nil {
				t.Errorf("%s of the %s has no moments: %+v", p.Name, side, p)
				continue
			}
			got := map[string]float64{"mean": *p.Mean, "std_population": *p.SD, "min": *p.Min, "max": *p.Max, "median": p.Quantiles.P50,
				"q05_linear": p.Quantiles.P05, "q95_linear": p.Quantiles.P95, "distinct": float64(p.Distinct)}
			for key, v := range moments {
				g, ok := got[key]
				if !ok {
					t.Errorf("nothing in a profile is %s", key)
				}
				if key == "distinct" && !p.Exact { // many are counted by a sketch
					if math.Abs(g-v) > 0.05*v {
						t.Errorf("%s has about %v distinct values in the %s, want %v", p.Name, g, side, v)
					}
				} else if key == "distinct" && p.Infinite > 0 { // a profile counts infinities among the values, one for each sign
					if g < v || g > v+2 {
						t.Errorf("%s of the %s has %v distinct values, want %v and the infinities", p.Name, side, g, v)
					}
				} else if math.Abs(g-v) > 1e-9*math.Max(math.Abs(v), math.Min(1, moments["std_population"])) {
					t.Errorf("%s of %s in the %s is %v, want %v", key, p.Name, side, g, v)
				}
				compared++
			}
			sum := 0.0
			for _, n := range p.Histogram.Counts {
				sum += n
			}
			if int64(sum) != p.Count-p.Infinite || p.Method != "exact" {
				t.Errorf("%s: the histogram holds %v of %d values (%s)", p.Name, sum, p.Count, p.Method)
			}
		}
	}
	if compared == 0 {
		t.Error("no value was compared")
	}
}

func TestBeyondTheBudgetProfilesSayHowFarOffTheyAre(t *testing.T) {
	var b strings.Builder
	b.WriteString("x,word\n")
	const n = 60_000
	for i := range n {
		fmt.Fprintf(&b, "%d,w%d\n", i, i%30_000)
	}
	src, _, err := open(strings.NewReader(b.String()), int64(b.Len()), "csv", Limits{}.filled())
	if err != nil {
		t.Fatal(err)
	}
	seen, err := inspect(context.Background(), src, nil, Limits{Memory: 1 << 18}.filled())
	if err != nil {
		t.Fatal(err)
	}
	x, word := seen.Profile[0], seen.Profile[1]
	if *x.Mean != (n-1)/2.0 || *x.Min != 0 || *x.Max != n-1 {
		t.Errorf("moments are exact in any case: %v %v %v", *x.Mean, *x.Min, *x.Max)
	}
	if !strings.HasPrefix(x.Method, "sample of 16384, ranks within 0.011") {
		t.Errorf("method %q", x.Method)
	}
	if math.Abs(x.Quantiles.P50-n/2) > 0.02*n {
		t.Errorf("median %v", x.Quantiles.P50)
	}
	if word.Exact || math.Abs(float64(word.Distinct)-30_000) > 3000 {
		t.Errorf("distinct %d (exact %v), want about 30,000", word.Distinct, word.Exact)
	}
}
