package drift

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"
)

// whole is the folder of the golden values that several packages share: KEELSON_GOLDEN, or the copy of the estimates.
func whole() string {
	if dir := os.Getenv("KEELSON_GOLDEN"); dir != "" {
		return dir
	}
	return filepath.Join("..", "estimate", "testdata")
}

// doane gives the edges of NumPy's bins of that name, which NannyML compares shares on: as many of equal width between the
// extremes as Sturges' rule has, and more for a skewed column.
func doane(sorted []float64) []float64 {
	n, first, last := float64(len(sorted)), sorted[0], sorted[len(sorted)-1]
	mean, sd := Moments(sorted)
	bins := 1
	if len(sorted) > 2 && sd > 0 {
		skew := 0.0
		for _, v := range sorted {
			skew += math.Pow((v-mean)/sd, 3) / n
		}
		width := (last - first) / (1 + math.Log2(n) + math.Log2(1+math.Abs(skew)/math.Sqrt(6*(n-2)/((n+1)*(n+3)))))
		bins = int(math.Ceil((last - first) / width))
	}
	if first == last {
		first, last = first-0.5, last+0.5
	}
	edges := make([]float64, bins+1)
	for i := range edges {
		edges[i] = first + float64(i)*((last-first)/float64(bins))
	}
	edges[bins] = last
	return edges
}

// within counts values in bins that hold their lower edge, the last one both; those outside of all bins count in one more.
func within(edges, values []float64) []float64 {
	counts := make([]float64, len(edges))
	for _, v := range values {
		k := sort.Search(len(edges), func(i int) bool { return edges[i] > v }) - 1
		if v == edges[len(edges)-1] {
			k = len(edges) - 2
		}
		if k < 0 || k >= len(edges)-1 {
			k = len(edges) - 1
		}
		counts[k]++
	}
	return counts
}

// measures are NannyML's methods for one chunk of a column, and the p-value of its test for words.
func measures(t *testing.T, isWords bool, reference, chunk []string) (out map[string]any, pValue float64) {
	t.Helper()
	if isWords {
		_, p, q := Align(words(reference), words(chunk))
		chi, err := Yates(p, q)
		return map[string]any{"chi2": result(chi.ChiSquare, err), "jensen_shannon": result(JS(p, q)),
			"l_infinity": result(LInfinity(p, q)), "hellinger": result(Hellinger(p, q))}, chi.PValue
	}
	r, _, _ := Split(numbers(t, reference))
	c, _, _ := Split(numbers(t, chunk))
	edges := doane(r)
	p, q := within(edges, r), within(edges, c)
	return map[string]any{"kolmogorov_smirnov": result(KS(r, c)), "jensen_shannon": result(JS(p, q)),
		"wasserstein": result(Wasserstein(r, c)), "hellinger": result(Hellinger(p, q))}, 1
}

// cut takes the cells apart into chunks of size rows; the last one may be shorter.
func cut(cells []string, size int) [][]string { return slices.Collect(slices.Chunk(cells, size)) }

func TestEveryGoldenChunkOfNannyMLIsMet(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join(whole(), "nannyml_expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Size    int              `json:"chunk_size"`
		Values  map[string][]any `json:"univariate_analysis"`
		Ranking []struct {
			Column string `json:"column_name"`
			Alerts int    `json:"number_of_alerts"`
			Rank   int
		} `json:"alert_count_ranking_jensen_shannon"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	table := readTable(t, filepath.Join(whole(), "cbpe.csv"))
	rows := map[string][]int{}
	for i, period := range table["period"] {
		rows[period] = append(rows[period], i)
	}
	of := func(period, column string) (cells []string) {
		for _, i := range rows[period] {
			cells = append(cells, table[column][i])
		}
		return cells
	}
	methods := map[string][]string{} // by column
	for key := range doc.Values {
		if column, rest, _ := strings.Cut(key, "/"); strings.HasSuffix(rest, "/value") {
			methods[column] = append(methods[column], strings.TrimSuffix(rest, "/value"))
		}
	}
	if len(methods) == 0 || doc.Size < 1 {
		t.Fatal("there are no columns")
	}
	seen, alarms := 0, map[string]int{}
	for column, list := range methods {
		isWords := slices.Contains(list, "chi2")
		reference := of("reference", column)
		usual := map[string][]float64{}
		for _, chunk := range cut(reference, doc.Size) {
			got, _ := measures(t, isWords, reference, chunk)
			for method, v := range got {
				if v, ok := v.(float64); ok {
					usual[method] = append(usual[method], v)
				}
			}
		}
		analysis := cut(of("analysis", column), doc.Size)
		found, tests := make([]map[string]any, len(analysis)), make([]float64, len(analysis))
		for k, chunk := range analysis {
			found[k], tests[k] = measures(t, isWords, reference, chunk)
		}
		for _, method := range list {
			upper := any(nil) // NannyML has no lower threshold for distances
			mean, sd := Moments(usual[method])
			if v := mean + 3*sd; method != "chi2" && (v < 1 || method != "kolmogorov_smirnov") {
				upper = v
			}
			for _, what := range []string{"value", "lower_threshold", "upper_threshold", "alert"} {
				if n := len(doc.Values[column+"/"+method+"/"+what]); n != len(analysis) {
					t.Fatalf("%s of %s by %s has %d chunks, want %d", what, column, method, n, len(analysis))
				}
			}
			// From 10,000 rows on NannyML estimates these two on as many bins.
			slack := 0.0
			if full, _, _ := Split(numbersOr(reference, isWords)); len(full) >= 10_000 && (method == "kolmogorov_smirnov" || method == "wasserstein") {
				slack = 0.01
			}
			for k := range analysis {
				got, p := found[k], tests[k]
				v, defined := got[method].(float64)
				alert := defined && upper != nil && v > upper.(float64)
				if method == "chi2" {
					alert = defined && p < 0.05
				}
				if method == "jensen_shannon" && alert {
					alarms[column]++
				}
				want := func(what string) any { return doc.Values[column+"/"+method+"/"+what][k] }
				for what, v := range map[string]any{"value": got[method], "lower_threshold": nil, "upper_threshold": upper} {
					w, number := want(what).(float64)
					g, ok := v.(float64)
					if number != ok || ok && !near(g, w, 1e-9) && math.Abs(g-w) > slack*math.Max(1, math.Abs(w)) {
						t.Errorf("%s of chunk %d of %s by %s is %v, want %v", what, k, column, method, v, want(what))
					}
				}
				limit, limited := upper.(float64)
				if want("alert") != alert && !(limited && math.Abs(limit-v) <= slack*math.Max(1, limit)) {
					t.Errorf("the alert of chunk %d of %s by %s is %v, want %v", k, column, method, alert, want("alert"))
				}
				seen++
			}
			for key := range doc.Values {
				if !slices.Contains([]string{"value", "lower_threshold", "upper_threshold", "alert"}, key[strings.LastIndex(key, "/")+1:]) {
					t.Errorf("nothing here is %s", key)
				}
			}
		}
	}
	if seen == 0 {
		t.Error("no chunk was compared")
	}
	names := make([]string, 0, len(methods))
	for column := range methods {
		names = append(names, column)
	}
	slices.SortFunc(names, func(a, b string) int { // most alarms first, then names from the end
		if alarms[a] != alarms[b] {
			return alarms[b] - alarms[a]
		}
		return strings.Compare(b, a)
	})
	if len(doc.Ranking) != len(names) {
		t.Fatalf("%d columns are ranked, want %d", len(doc.Ranking), len(names))
	}
	for i, r := range doc.Ranking {
		if r.Column != names[i] || r.Rank != i+1 || r.Alerts != alarms[r.Column] {
			t.Errorf("rank %d has %+v, want %s with %d", i+1, r, names[i], alarms[names[i]])
		}
	}
}

// numbersOr gives the numbers of a column, or as many zeros as it has words.
func numbersOr(cells []string, words bool) []float64 {
	out := make([]float64, 0, len(cells))
	for _, c := range cells {
		if words || c != "" {
			out = append(out, 0)
		}
	}
	return out
}
