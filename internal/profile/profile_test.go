package profile

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"keelson/internal/drift"
)

func stored(t interface {
	Helper()
	Fatal(...any)
}, c *Column) string {
	t.Helper()
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// rounded takes away what may differ by rounding.
func rounded(c *Column) Column {
	out := *c
	out.Moments = Moments{Huge: c.Moments.Huge}
	return out
}

func TestHalvesMergeIntoTheWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(16, 64).Draw(t, "size")
		kind := rapid.SampledFrom([]string{Number, Word}).Draw(t, "kind")
		parts := rapid.IntRange(2, 5).Draw(t, "parts")
		whole, merged := New("x", kind, size), New("x", kind, size)
		var some []*Column
		for range parts {
			some = append(some, New("x", kind, size))
		}
		for range rapid.IntRange(0, 400).Draw(t, "rows") {
			k := rapid.IntRange(0, parts-1).Draw(t, "part")
			if kind == Number {
				v := rapid.OneOf(rapid.Float64(), rapid.Float64Range(-10, 10), rapid.SampledFrom([]float64{0, math.Copysign(0, -1), 1, math.NaN(), math.Inf(1), math.MaxFloat64})).Draw(t, "value")
				whole.Add(v)
				some[k].Add(v)
				continue
			}
			w := rapid.SampledFrom([]string{"", "a", "b", "c", "long" + strings.Repeat("ä", 150), "\xff"}).Draw(t, "word")
			whole.AddWord(w)
			some[k].AddWord(w)
		}
		for _, c := range some {
			var again Column
			if err := json.Unmarshal([]byte(stored(t, c)), &again); err != nil {
				t.Fatal(err)
			}
			if err := merged.Merge(&again); err != nil {
				t.Fatal(err)
			}
		}
		a, b := rounded(whole), rounded(merged)
		if stored(t, &a) != stored(t, &b) {
			t.Fatalf("the parts give\n%s, the whole\n%s", stored(t, &b), stored(t, &a))
		}
		m, ok := whole.Mean()
		n, also := merged.Mean()
		sd, _ := whole.SD()
		if ok != also || ok && math.Abs(m-n) > 1e-9*(math.Abs(m)+sd+1e-300) {
			t.Fatalf("means %v and %v", m, n)
		}
	})
}

func TestZeroHasNoSign(t *testing.T) {
	minus := math.Copysign(0, -1)
	for _, values := range [][]float64{{0, minus}, {minus, 0}, {minus}} {
		one, all := New("x", Number, 16), New("x", Number, 16)
		for _, v := range values {
			one.Add(v)
		}
		all.addAll(values)
		for _, c := range []*Column{one, all} {
			if math.Signbit(c.Min) || math.Signbit(c.Max) {
				t.Errorf("%v give the range %v to %v", values, c.Min, c.Max)
			}
		}
	}
}

func TestASketchKeepsItsWord(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for name, draw := range map[string]func() float64{
		"uniform": rng.Float64, "normal": rng.NormFloat64, "far from 0": func() float64 { return 1e9 + rng.Float64() },
		"log-normal": func() float64 { return math.Exp(4 * rng.NormFloat64()) }, "whole": func() float64 { return float64(rng.IntN(300)) }, "mostly 0": func() float64 { return max(0, rng.NormFloat64()-1) },
	} {
		c := New("x", Number, 0)
		values := make([]float64, 200_000)
		for i := range values {
			values[i] = draw()
			c.Add(values[i])
		}
		slices.Sort(values)
		e := c.Numbers.RankError()
		largest := 0.02
		if name == "mostly 0" {
			largest = 1 // its zeros are one value
		}
		if e > largest {
			t.Errorf("%s: ranks are known within %v only", name, e)
		}
		for _, q := range []float64{0, 0.01, 0.25, 0.5, 0.9, 0.999, 1} {
			v, err := c.Quantile(q)
			if err != nil {
				t.Fatal(err)
			}
			low, _ := slices.BinarySearch(values, v)
			high, _ := slices.BinarySearch(values, math.Nextafter(v, math.Inf(1)))
			if r := q * float64(len(values)); float64(low) > r+e*float64(len(values))+1 || float64(high) < r-e*float64(len(values))-1 {
				t.Errorf("%s: the %v-quantile %v has rank %d to %d of %d, error %v", name, q, v, low, high, len(values), e)
			}
		}
		edges, counts := c.Edges(10)
		if exact := drift.Count(edges, values); !slices.Equal(exact, counts) {
			t.Errorf("%s: counts %v, exactly %v", name, counts, exact)
		}
		if text := stored(t, c); len(text) > 64<<10 {
			t.Errorf("%s: %d bytes stored", name, len(text))
		}
		if ks, err := drift.KS(c.Sample(2000), values); err != nil || ks > e+1.0/2000 {
			t.Errorf("%s: the sample is %v away from the values, error %v", name, ks, e)
		}
	}
}

func TestFewValuesAreExact(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	c := New("x", Number, 0)
	var values []float64
	for range 3000 {
		v := rng.NormFloat64()
		c.Add(v)
		values = append(values, v)
	}
	slices.Sort(values)
	edges, counts := c.Edges(10)
	if want := drift.Edges(values, 10); !slices.Equal(edges, want) || !slices.Equal(counts, drift.Count(want, values)) {
		t.Errorf("%v, want %v", edges, want)
	}
	if c.Method() != "exact" || !slices.Equal(c.Sample(3000), values) {
		t.Errorf("%s", c.Method())
	}
}

func TestAMillionCategoriesStayBounded(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	c := New("x", Word, 0)
	for i := range 1_000_000 {
		c.AddWord("customer " + strconv.Itoa(i))
		if rng.IntN(10) == 0 {
			c.AddWord("the frequent one")
		}
	}
	n, exact := c.Distinct.Count()
	if exact || math.Abs(float64(n)-1_000_001) > 0.05*1e6 {
		t.Errorf("%d different words", n)
	}
	top := c.Words.Top(1)[0]
	if top.Word != "the frequent one" || top.Rows > 101_000 || top.Rows < 98_000-c.Words.Error() || c.Words.Error() > 10_000 {
		t.Errorf("%+v, error %d", top, c.Words.Error())
	}
	if text := stored(t, c); len(text) > 64<<10 || !strings.Contains(c.Method(), "too small by at most") {
		t.Errorf("%d bytes, %s", len(text), c.Method())
	}
	long := New("x", Word, 0)
	for i := range 100_000 {
		long.AddWord(strconv.Itoa(i) + strings.Repeat("\x01\"", 200))
	}
	if text := stored(t, long); len(text) > 200<<10 { // each control character takes six bytes in JSON
		t.Errorf("%d bytes of long words", len(text))
	}
}

func FuzzReadColumn(f *testing.F) {
	for _, kind := range []string{Number, Word} {
		c := New("x", kind, 0)
		for i := range 100 {
			if kind == Number {
				c.Add(float64(i) * 1.1)
			} else {
				c.AddWord(strconv.Itoa(i))
			}
		}
		b, _ := json.Marshal(c)
		f.Add(b)
	}
	f.Add([]byte(`{"kind":"number","numbers":{"size":16,"shift":63,"buckets":"AQE"},"valid":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var s Sketch
		if json.Unmarshal(b, &s) == nil {
			s.add(1, 1)
		}
		var c Column
		if json.Unmarshal(b, &c) != nil || c.Check() != nil {
			return
		}
		c.Edges(10)
		c.Sample(100)
		if _, err := c.Quantile(0.5); err == nil && c.Valid == 0 {
			t.Error("a quantile of nothing")
		}
	})
}
