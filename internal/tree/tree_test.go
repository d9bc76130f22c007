package tree

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"keelson/internal/problem"
)

var nan = float32(math.NaN())

// stump asks whether feature 0 lies below 1.
func stump() Tree {
	return Tree{Left: []int32{1, -1, -1}, Right: []int32{2, -1, -1}, Feature: []int32{0, 0, 0}, Threshold: []float32{1, -10, 10}, MissingLeft: []bool{true, false, false}}
}

func build(t *testing.T, features, groups int, trees ...Tree) *Ensemble {
	t.Helper()
	b, err := NewBuilder(features, groups)
	if err != nil {
		t.Fatal(err)
	}
	for i, tr := range trees {
		if err := b.Append(tr, i%groups, 1); err != nil {
			t.Fatal(err)
		}
	}
	return b.Build()
}

func TestOneNodeDecides(t *testing.T) {
	right := stump()
	right.MissingLeft[0] = false
	sets := stump()
	sets.Categories = map[int32][]int32{0: {5, 2, 70000}}
	cases := []struct {
		name string
		tree Tree
		v    float32
		want float32
	}{
		{"below goes left", stump(), 0.99999994, -10},
		{"equal goes right", stump(), 1, 10},
		{"missing goes left where the node says so", stump(), nan, -10},
		{"missing goes right otherwise", right, nan, 10},
		{"minus infinity goes left", right, float32(math.Inf(-1)), -10},
		{"a member goes right", sets, 2, 10},
		{"a large member goes right", sets, 70000, 10},
		{"a fraction is cut", sets, 2.9, 10},
		{"no member goes left", sets, 3, -10},
		{"what is no category goes left", sets, -1, -10},
		{"what is beyond all categories goes left", sets, 1 << 25, -10},
		{"a missing category goes as missing", sets, nan, -10},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m := []float32{0}
			build(t, 1, 1, c.tree).Add([]float32{c.v}, m, 1)
			if m[0] != c.want {
				t.Errorf("got %v, want %v", m[0], c.want)
			}
		})
	}
}

func TestHostileTreesAreRefused(t *testing.T) {
	change := func(f func(*Tree)) Tree { t := stump(); f(&t); return t }
	chain := Tree{}
	for i := range int32(2*MaxDepth + 10) {
		l, r := int32(-1), int32(-1)
		if i%2 == 0 && i < 2*MaxDepth+8 {
			l, r = i+1, i+2
		}
		chain.Left, chain.Right = append(chain.Left, l), append(chain.Right, r)
		chain.Feature, chain.Threshold, chain.MissingLeft = append(chain.Feature, 0), append(chain.Threshold, 0), append(chain.MissingLeft, false)
	}
	cases := []struct {
		name, says string
		tree       Tree
	}{
		{"a root that is its own child", "another one leads to", change(func(t *Tree) { t.Left[0] = 0 })},
		{"a leaf that leads back", "another one leads to", change(func(t *Tree) { t.Left[1], t.Right[1] = 0, 2 })},
		{"two children in one", "another one leads to", change(func(t *Tree) { t.Left[0] = 2 })},
		{"one child", "children", change(func(t *Tree) { t.Left[0] = -1 })},
		{"a child beyond the end", "children", change(func(t *Tree) { t.Right[0] = 3 })},
		{"a feature beyond the row", "feature 9", change(func(t *Tree) { t.Feature[0] = 9 })},
		{"a threshold that is no number", "no threshold", change(func(t *Tree) { t.Threshold[0] = nan })},
		{"arrays of different length", "differ in length", change(func(t *Tree) { t.Feature = t.Feature[:2] })},
		{"no nodes", "no nodes", Tree{}},
		{"a chain without end", "levels deep", chain},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b, _ := NewBuilder(1, 1)
			err := b.Append(c.tree, 0, 1)
			if problem.KindOf(err) != problem.Invalid || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want a refusal that says %q", err, c.says)
			}
		})
	}
	if _, err := NewBuilder(1<<31, 1); err == nil {
		t.Error("2^31 features are accepted")
	}
	if _, err := NewBuilder(1, 0); err == nil {
		t.Error("no group is accepted")
	}
}

// random grows a tree of the given size over features and gives its arrays in shuffled order.
func random(r *rand.Rand, features, inner int) Tree {
	n := 2*inner + 1
	order := r.Perm(n - 1)
	id := func(i int) int32 { // the root stays 0
		if i == 0 {
			return 0
		}
		return int32(order[i-1] + 1)
	}
	t := Tree{Left: make([]int32, n), Right: make([]int32, n), Feature: make([]int32, n), Threshold: make([]float32, n), MissingLeft: make([]bool, n)}
	for i := range n {
		t.Left[i], t.Right[i] = -1, -1
		t.Feature[i], t.Threshold[i], t.MissingLeft[i] = int32(r.IntN(features)), r.Float32(), r.IntN(2) == 0
	}
	leaves, next := []int{0}, 1
	for range inner {
		k := r.IntN(len(leaves))
		at := leaves[k]
		t.Left[id(at)], t.Right[id(at)] = id(next), id(next+1)
		leaves[k] = next
		leaves = append(leaves, next+1)
		next += 2
	}
	return t
}

// walk is the definition: it follows the arrays as they are.
func walk(t Tree, row []float32) float32 {
	at := int32(0)
	for t.Left[at] >= 0 {
		v := row[t.Feature[at]]
		switch {
		case v != v && t.MissingLeft[at], v < t.Threshold[at]:
			at = t.Left[at]
		default:
			at = t.Right[at]
		}
	}
	return t.Threshold[at]
}

func TestPackedTreesAnswerAsTheirArraysDo(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const features, groups, n = 7, 3, 150
	var trees []Tree
	for range 12 {
		trees = append(trees, random(r, features, 1+r.IntN(60)))
	}
	e := build(t, features, groups, trees...)
	rows := make([]float32, n*features)
	for i := range rows {
		if rows[i] = r.Float32(); r.IntN(6) == 0 {
			rows[i] = nan
		}
	}
	got := make([]float32, n*groups)
	e.Add(rows, got, n)
	for i := range n {
		want := make([]float32, groups)
		for k, tr := range trees {
			want[k%groups] += walk(tr, rows[i*features:(i+1)*features])
		}
		for g := range groups {
			if got[i*groups+g] != want[g] {
				t.Fatalf("row %d group %d: got %v, want %v", i, g, got[i*groups+g], want[g])
			}
		}
	}
	if a := testing.AllocsPerRun(10, func() { e.Add(rows, got, n) }); a != 0 && !raced {
		t.Errorf("an evaluation allocates %v times, want none", a)
	}
}

func BenchmarkHundredTreesOneRow(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	builder, _ := NewBuilder(30, 1)
	for range 100 {
		if err := builder.Append(random(r, 30, 31), 0, 1); err != nil {
			b.Fatal(err)
		}
	}
	e := builder.Build()
	row, out := make([]float32, 30), make([]float32, 1)
	for i := range row {
		row[i] = r.Float32()
	}
	b.ReportAllocs()
	for b.Loop() {
		e.Add(row, out, 1)
	}
}

// awkward are values at and around every kind of threshold.
var awkward = []float32{nan, 0, float32(math.Copysign(0, -1)), float32(math.Inf(1)), float32(math.Inf(-1)), math.MaxFloat32, -math.MaxFloat32, math.SmallestNonzeroFloat32, -math.SmallestNonzeroFloat32, 0.5, -0.5, 1, 2, 3}

// chain is a tree of the given depth that leads right step by step.
func chain(depth int) Tree {
	var t Tree
	for i := range depth {
		t.Left, t.Right = append(t.Left, int32(2*i+1), -1), append(t.Right, int32(2*i+2), -1)
		t.Feature, t.Threshold, t.MissingLeft = append(t.Feature, int32(i%3), 0), append(t.Threshold, float32(i)/8-1, float32(i)), append(t.MissingLeft, i%2 == 0, false)
	}
	t.Left, t.Right, t.Feature, t.Threshold, t.MissingLeft = append(t.Left, -1), append(t.Right, -1), append(t.Feature, 0), append(t.Threshold, -7), append(t.MissingLeft, false)
	return t
}

func TestBlocksAnswerAsRowsDo(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	inf := stump()
	inf.Threshold[0] = float32(math.Inf(-1))
	below := stump()
	below.Threshold[0], below.MissingLeft[0] = float32(math.Inf(1)), false
	zero := stump()
	zero.Threshold[0] = float32(math.Copysign(0, -1))
	sets := stump()
	sets.Categories = map[int32][]int32{0: {1, 3}}
	many := stump()
	many.Weights = []Weight{{0, 1}, {2, -1}, {1, 0.5}}
	many.Spans = map[int32][2]int32{1: {0, 2}, 2: {2, 3}}
	alone := Tree{Left: []int32{-1}, Right: []int32{-1}, Feature: []int32{0}, Threshold: []float32{0.25}, MissingLeft: []bool{false}}
	cases := map[string][]Tree{
		"awkward thresholds":         {inf, below, zero, stump()},
		"categories between numbers": {stump(), sets, stump()},
		"leaves of several weights":  {stump(), many, stump()},
		"trees of one leaf":          {alone, stump(), alone},
		"long chains":                {chain(3), chain(8), chain(9), chain(40), chain(500)},
		"trees of many shapes":       {random(r, 3, 1), random(r, 3, 200), random(r, 3, 2000)},
	}
	for name, trees := range cases {
		t.Run(name, func(t *testing.T) {
			for _, features := range []int{3, 40000} { // the second leaves no room for large trees in eight bytes
				e := build(t, features, 3, trees...)
				for _, n := range []int{1, 3, 4, 5, 63, 64, 65, 130} {
					rows := make([]float32, n*features)
					for i := range n {
						for k := range 3 {
							rows[i*features+k] = awkward[r.IntN(len(awkward))]
						}
					}
					want, got, run := make([]float32, 3*n), make([]float32, 3*n), make([]float32, 3*n)
					for i := range n {
						e.Add(rows[i*features:(i+1)*features], want[3*i:3*i+3], 1)
					}
					e.addBlocks(rows, got, n)
					e.Run(rows, run, n, 4)
					for i := range want {
						if got[i] != want[i] || run[i] != want[i] {
							t.Fatalf("%d features, row %d of %d: got %v and %v, want %v", features, i/3, n, got[i], run[i], want[i])
						}
					}
				}
			}
		})
	}
}

func TestWeightsOfLeavesAreChecked(t *testing.T) {
	for name, change := range map[string]func(*Tree){
		"a span beyond the end": func(t *Tree) { t.Spans[1] = [2]int32{0, 9} },
		"a span backwards":      func(t *Tree) { t.Spans[1] = [2]int32{1, 0} },
		"a group too many":      func(t *Tree) { t.Weights[0].Group = 4 },
		"spans that overlap":    func(t *Tree) { t.Spans = map[int32][2]int32{1: {0, 2}, 2: {0, 2}} },
	} {
		tr := stump()
		tr.Weights, tr.Spans = []Weight{{0, 1}, {1, 2}}, map[int32][2]int32{1: {0, 1}, 2: {1, 2}}
		change(&tr)
		b, _ := NewBuilder(1, 2)
		if err := b.Append(tr, 0, 1); problem.KindOf(err) != problem.Invalid {
			t.Errorf("%s: %v, want a refusal", name, err)
		}
	}
}

func BenchmarkHundredTreesThousandRows(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	builder, _ := NewBuilder(30, 1)
	for range 100 {
		if err := builder.Append(random(r, 30, 31), 0, 1); err != nil {
			b.Fatal(err)
		}
	}
	e := builder.Build()
	rows, out := make([]float32, 1024*30), make([]float32, 1024)
	for i := range rows {
		rows[i] = r.Float32()
	}
	b.ReportAllocs()
	for b.Loop() {
		e.Run(rows, out, 1024, 8)
	}
}
