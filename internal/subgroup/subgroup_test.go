package subgroup

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// world is a table of columns of noise, with a plain column "age", a word "region" and a column that is often missing.
type world struct {
	rng     *rand.Rand
	n       int
	numbers map[string][]float64
	region  []string
	table   Table
}

func newWorld(seed uint64, n, noise int) *world {
	w := &world{rng: rand.New(rand.NewPCG(seed, 7)), n: n, numbers: map[string][]float64{}, region: make([]string, n)}
	names := []string{"age", "income"}
	for k := range noise {
		names = append(names, fmt.Sprintf("noise_%d", k))
	}
	for i := range w.region {
		w.region[i] = []string{"north", "south", "east", "west", ""}[w.rng.IntN(5)]
	}
	for _, name := range names {
		v := make([]float64, n)
		for i := range v {
			if v[i] = w.rng.NormFloat64(); name == "age" {
				v[i] = 20 + 60*w.rng.Float64()
			}
			if name == "income" && w.rng.IntN(5) == 0 {
				v[i] = math.NaN()
			}
		}
		w.numbers[name] = v
		c := CutNumbers(name, v)
		w.table.Add(c, c.Codes(v))
	}
	c := CutWords("region", w.region)
	w.table.Add(c, c.WordCodes(w.region))
	return w
}

// losses draws wrong answers with probability usual, and with bad where is says so.
func (w *world) losses(usual, bad float64, is func(i int) bool) []float64 {
	out := make([]float64, w.n)
	for i := range out {
		p := usual
		if is != nil && is(i) {
			p = bad
		}
		if w.rng.Float64() < p {
			out[i] = 1
		}
	}
	return out
}

func TestABadSliceOfOneColumnOrTwoIsFoundAmongNoise(t *testing.T) {
	for name, is := range map[string]func(w *world, i int) bool{
		"age is above 6":                  func(w *world, i int) bool { return w.numbers["age"][i] > 65 },
		"region is north":                 func(w *world, i int) bool { return w.region[i] == "north" },
		"income is missing":               func(w *world, i int) bool { return math.IsNaN(w.numbers["income"][i]) },
		"region is missing":               func(w *world, i int) bool { return w.region[i] == "" },
		"age is above 6, region is north": func(w *world, i int) bool { return w.region[i] == "north" && w.numbers["age"][i] > 65 },
		"age is above, income is missing": func(w *world, i int) bool { return w.numbers["age"][i] > 50 && math.IsNaN(w.numbers["income"][i]) },
	} {
		want := strings.Split(name, ", ")
		for seed := range uint64(10) {
			w := newWorld(seed, 4000, 30)
			got := w.table.Worst(w.losses(0.1, 0.5, func(i int) bool { return is(w, i) }), true, Params{})
			if len(got.Slices) == 0 {
				t.Errorf("%s, seed %d: none of %d", name, seed, got.Looked)
				continue
			}
			s := got.Slices[0]
			said := Name(s.Conditions)
			for _, part := range want {
				if !strings.Contains(said, part) {
					t.Errorf("%s, seed %d: %s", name, seed, said)
				}
			}
			if len(s.Conditions) != len(want) || s.Mean < 0.4 || s.Rest > 0.2 || !(s.AtLeast > 0 && s.AtLeast < s.Lower && s.Lower < s.Gap && s.Gap < s.Upper) || s.P > 0.01 || got.Looked < 1000 {
				t.Errorf("%s, seed %d: %+v of %d", name, seed, s, got.Looked)
			}
		}
	}
}

func TestLargeErrorsAreFoundAndAFewHugeOnesMakeNoSlice(t *testing.T) {
	for seed := range uint64(10) {
		w := newWorld(seed, 3000, 20)
		loss := make([]float64, w.n)
		for i := range loss {
			e := w.rng.NormFloat64()
			if w.region[i] == "west" {
				e *= 2
			}
			loss[i] = e * e
		}
		got := w.table.Worst(loss, false, Params{})
		if len(got.Slices) == 0 || Name(got.Slices[0].Conditions) != "region is west" || got.Slices[0].Gap < 0.6 || got.Slices[0].Gap > 1.4 {
			t.Errorf("seed %d: %+v", seed, got)
		}
		for i := range loss {
			e := w.rng.NormFloat64()
			loss[i] = e * e
		}
		for i := range 5 {
			loss[w.rng.IntN(w.n/2)+i] = 1e6
		}
		if got := w.table.Worst(loss, false, Params{}); len(got.Slices) != 0 {
			t.Errorf("seed %d: five huge errors made %+v", seed, got.Slices)
		}
	}
}

func TestPureNoiseHasNoWorstSliceInNinetyFivePercentOfSeeds(t *testing.T) {
	const seeds = 200
	for _, c := range []struct {
		rows  int
		wrong float64
	}{{400, 0.1}, {2000, 0.3}, {2000, 0.01}, {5000, 0.002}} {
		found, sized := 0, 0
		for seed := range uint64(seeds) {
			w := newWorld(seed+1000, c.rows, 15)
			if got := w.table.Worst(w.losses(c.wrong, 0, nil), true, Params{Gap: 1e-9}); len(got.Slices) > 0 {
				found++
			}
			loss := make([]float64, w.n)
			for i := range loss {
				loss[i] = math.Exp(3 * w.rng.NormFloat64()) // heavy tails
			}
			if got := w.table.Worst(loss, false, Params{Ratio: 1e-9}); len(got.Slices) > 0 {
				sized++
			}
		}
		if found > seeds/20 || sized > seeds/20 {
			t.Errorf("%d rows, %.3g wrong: a slice in %d (rates) and %d (sizes) of %d seeds", c.rows, c.wrong, found, sized, seeds)
		}
	}
}

func TestFurtherSlicesLieMostlyOutsideOfThoseBefore(t *testing.T) {
	w := newWorld(3, 6000, 5)
	got := w.table.Worst(w.losses(0.05, 0.4, func(i int) bool { return w.region[i] == "north" || w.numbers["noise_1"][i] < -0.7 }), true, Params{})
	if len(got.Slices) < 2 || len(got.Slices) > 5 {
		t.Fatalf("%+v", got.Slices)
	}
	columns := Name(got.Slices[0].Conditions) + "; " + Name(got.Slices[1].Conditions)
	if !strings.Contains(columns, "region is north") || !strings.Contains(columns, "noise_1 is at most") {
		t.Errorf("%s", columns)
	}
}

func TestTheWorkIsBoundedAndTheColumnsThatLookWorstAreCrossed(t *testing.T) {
	w := newWorld(5, 5000, 60)
	p := Params{Work: 5000 * 100}
	got := w.table.Worst(w.losses(0.1, 0.6, func(i int) bool { return w.region[i] == "south" && w.numbers["age"][i] > 65 }), true, p)
	if got.Crossed > 15 || got.Crossed < 10 || len(got.Slices) == 0 || len(got.Slices[0].Conditions) != 2 {
		t.Errorf("%d columns crossed, %+v", got.Crossed, got.Slices)
	}
	all := w.table.Worst(w.losses(0.1, 0.6, nil), true, Params{})
	if all.Crossed != 63 || math.Abs(float64(all.Looked-got.Looked)) > 0.2*float64(all.Looked) {
		t.Errorf("%d candidates of %d columns are said, %d were said when a part was looked at", all.Looked, all.Crossed, got.Looked)
	}
}

// move makes the table of other rows, cut as w is.
func (w *world) move(seed uint64, change func(o *world, i int)) *Table {
	o := newWorld(seed, w.n, len(w.numbers)-2)
	for i := range o.n {
		if change != nil {
			change(o, i)
		}
	}
	var t Table
	for _, c := range w.table.Cuts {
		if c.Word {
			t.Add(c, c.WordCodes(o.region))
		} else {
			t.Add(c, c.Codes(o.numbers[c.Name]))
		}
	}
	return &t
}

func TestTheSliceThatMovedIsFoundAndNoneWhereNothingOrEverythingMoved(t *testing.T) {
	quiet, everywhere := 0, 0
	for seed := range uint64(60) {
		w := newWorld(seed, 2000, 10)
		by := len(w.table.Cuts)
		ref := w.table.Joint(by, 0)
		if _, found := Furthest(ref, w.move(seed+500, nil).Joint(by, 0), 0, Params{}); found {
			quiet++
		}
		if _, found := Furthest(ref, w.move(seed+900, func(o *world, i int) { o.numbers["noise_3"][i] += 1 }).Joint(by, 0), 0.1, Params{}); found {
			everywhere++
		}
		m, found := Furthest(ref, w.move(seed+700, func(o *world, i int) {
			if o.region[i] == "east" {
				o.numbers["noise_3"][i] += 1.5
			}
		}).Joint(by, 0), 0.1, Params{})
		if !found || m.Condition.String() != "region is east" || m.Column != "noise_3" || m.Direction != "up" || m.PSI < 3*m.Overall || m.PSI < m.Limit || math.Abs(m.Share-0.2) > 0.05 || math.Abs(m.ShareWas-0.2) > 0.05 || m.Looked < 300 {
			t.Errorf("seed %d: %v %+v", seed, found, m)
		}
		m, found = Furthest(ref, w.move(seed+800, func(o *world, i int) {
			if o.numbers["age"][i] > 65 && o.rng.IntN(2) == 0 {
				o.region[i] = ""
			}
		}).Joint(by, 0), 0.1, Params{})
		if !found || m.Column != "region" || m.Condition.Column != "age" || m.Condition.Above == nil || m.Direction != "" {
			t.Errorf("seed %d, missing words: %v %+v", seed, found, m)
		}
	}
	if quiet > 3 || everywhere > 3 {
		t.Errorf("of 60 seeds a slice was found in noise %d times, and when all rows moved alike %d times", quiet, everywhere)
	}
}

func TestOnlyColumnsBehindOfAreMeasuredAndOnlyThoseBeforeByMakeSlices(t *testing.T) {
	w := newWorld(1, 2000, 2) // age, income, noise_0, noise_1, region
	change := func(o *world, i int) {
		if o.numbers["age"][i] > 65 {
			o.numbers["income"][i] += 3
			o.region[i] = "north"
		}
	}
	ref, cur := w.table.Joint(4, 4), w.move(2, change).Joint(4, 4)
	m, found := Furthest(ref, cur, 0.1, Params{})
	if !found || m.At != 4 || m.Column != "region" || m.Condition.Column != "age" {
		t.Errorf("%v %+v", found, m)
	}
}

func TestLongLooksPauseAndAReferenceDoesNotKeepItsRows(t *testing.T) {
	w := newWorld(1, 2000, 2)
	paused, freed := 0, make(chan struct{})
	ref := func() *Joint {
		rows := w.move(3, nil)
		runtime.AddCleanup(rows, func(done chan struct{}) { close(done) }, freed)
		return rows.Joint(4, 0)
	}()
	now := w.move(2, func(o *world, i int) { o.numbers["age"][i] += 9 })
	now.Pause = func() { paused++ }
	cur := now.Joint(4, 0)
	joint := paused
	Furthest(ref, cur, 0.1, Params{})
	furthest := paused - joint
	loss := make([]float64, w.n)
	for i := range loss {
		loss[i] = float64(i % 2)
	}
	now.Worst(loss, true, Params{})
	if joint == 0 || furthest == 0 || paused == joint+furthest {
		t.Errorf("%d pauses of a joint, %d of Furthest, %d of Worst", joint, furthest, paused-joint-furthest)
	}
	for range 100 {
		runtime.GC()
		select {
		case <-freed:
			runtime.KeepAlive(ref)
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
	runtime.KeepAlive(ref)
	t.Error("the table of the reference is kept")
}

func TestTheTailOfTheHypergeometricDistributionIsThatOfItsTerms(t *testing.T) {
	binomial := func(n, k int) float64 {
		v := 1.0
		for i := range k {
			v = v * float64(n-i) / float64(i+1)
		}
		return v
	}
	rapid.Check(t, func(r *rapid.T) {
		rows := rapid.IntRange(1, 60).Draw(r, "rows")
		n, all := rapid.IntRange(0, rows).Draw(r, "n"), rapid.IntRange(0, rows).Draw(r, "all")
		hits := rapid.IntRange(0, min(n, all)).Draw(r, "hits")
		want := 0.0
		for k := hits; k <= min(n, all); k++ {
			if n-k <= rows-all {
				want += binomial(all, k) * binomial(rows-all, n-k) / binomial(rows, n)
			}
		}
		if got := hypergeometricTail(hits, n, all, rows); math.Abs(got-want) > 1e-9 {
			r.Fatalf("%d of %d among %d of %d: %g, want %g", hits, n, all, rows, got, want)
		}
	})
}

func TestEveryValueLiesInOneCellThatItsConditionDescribes(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		values := rapid.SliceOfN(rapid.OneOf(rapid.Float64Range(-3, 3), rapid.SampledFrom([]float64{0, 1, 1, math.NaN(), math.Inf(1)})), 1, 60).Draw(r, "values")
		c := CutNumbers("x", values)
		if !slices.IsSorted(c.Edges) || len(c.Edges) > Quarters-1 {
			r.Fatalf("edges %v", c.Edges)
		}
		codes := c.Codes(values)
		for i, v := range values {
			in := 0
			for _, s := range c.spans() {
				if s.from != s.to {
					continue
				}
				k := c.condition(s)
				fits := k.Missing == (v-v != 0) && (k.Missing || (k.Above == nil || v > *k.Above) && (k.AtMost == nil || v <= *k.AtMost))
				if fits != (int(codes[i]) == s.from) {
					r.Fatalf("%g has cell %d, but %q", v, codes[i], k)
				}
				if fits {
					in++
				}
			}
			if in != 1 && !(in == 0 && len(c.Edges) == 0 && v-v == 0) {
				r.Fatalf("%g lies in %d cells", v, in)
			}
		}
	})
}

func TestWhatCannotBeSearchedHasNoSlice(t *testing.T) {
	constant, gone := make([]float64, 200), make([]float64, 200)
	for i := range gone {
		gone[i] = math.NaN()
	}
	var table Table
	for name, v := range map[string][]float64{"constant": constant, "gone": gone} {
		c := CutNumbers(name, v)
		table.Add(c, c.Codes(v))
	}
	one := make([]float64, 200)
	for i := range one {
		one[i] = 1
	}
	for name, loss := range map[string][]float64{"no loss is known": gone, "no loss": constant, "all wrong": one, "none given": nil} {
		for _, rates := range []bool{true, false} {
			if got := table.Worst(loss, rates, Params{}); len(got.Slices) > 0 {
				t.Errorf("%s: %+v", name, got)
			}
		}
	}
	if got := (&Table{}).Worst(nil, true, Params{}); got.Rows != 0 || len(got.Slices) > 0 {
		t.Errorf("an empty table: %+v", got)
	}
	j := table.Joint(2, 0)
	if m, found := Furthest(j, j, 0, Params{}); found {
		t.Errorf("equal tables: %+v", m)
	}
	rare := CutWords("w", strings.Fields("a a b b c c d d e e f f g g h h i i j j k k l"))
	if got := rare.condition(span{10, 10}); !got.Rare || got.String() != "w is a rare value" || rare.condition(span{11, 11}).String() != "w is missing" {
		t.Errorf("%v", got)
	}
}

func BenchmarkWorst(b *testing.B) {
	w := newWorld(1, 400, 47)
	loss := w.losses(0.1, 0, nil)
	for b.Loop() {
		w.table.Worst(loss, true, Params{})
	}
}

func BenchmarkFurthest(b *testing.B) {
	w := newWorld(1, 400, 47)
	n := len(w.table.Cuts)
	ref := w.move(2, nil).Joint(n, 0)
	for b.Loop() {
		Furthest(ref, w.table.Joint(n, 0), 0.25, Params{})
	}
}
