package explain

import (
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"keelson/internal/problem"
)

// grow makes a random tree over few features, so that ways ask for the same feature again; some children were reached
// by no training row.
func grow(rng *rand.Rand, features, depth int) Tree {
	t := Tree{Inclusive: rng.IntN(2) == 0, Weight: 1, Categories: map[int32][]int32{}}
	var node func(depth int, cover float64) int32
	node = func(depth int, cover float64) int32 {
		at := int32(len(t.Left))
		t.Left, t.Right = append(t.Left, -1), append(t.Right, -1)
		t.Feature, t.Threshold = append(t.Feature, int32(rng.IntN(features))), append(t.Threshold, float64(rng.IntN(7)-3))
		t.MissingLeft, t.Cover = append(t.MissingLeft, rng.IntN(2) == 0), append(t.Cover, cover)
		t.Value = append(t.Value, rng.NormFloat64())
		if depth == 0 || rng.IntN(6) == 0 {
			return at
		}
		if rng.IntN(4) == 0 {
			t.Categories[at] = []int32{int32(rng.IntN(4)), int32(rng.IntN(4))}
		}
		part := rng.Float64()
		if rng.IntN(8) == 0 {
			part = float64(rng.IntN(2))
		}
		if cover == 0 {
			cover, part = 1, 0.5 // below a node that no row reached the shares still have to be known
		}
		l := node(depth-1, cover*part)
		r := node(depth-1, cover*(1-part))
		t.Left[at], t.Right[at] = l, r
		return at
	}
	node(depth, 100)
	return t
}

func randomEnsemble(t *testing.T, rng *rand.Rand, features int) *Ensemble {
	t.Helper()
	shape := Shape{Features: features, Groups: 1 + rng.IntN(3)}
	for range shape.Groups {
		shape.Base = append(shape.Base, rng.NormFloat64())
	}
	trees := make([]Tree, 1+rng.IntN(4))
	for i := range trees {
		trees[i] = grow(rng, features, rng.IntN(8))
		trees[i].Group = rng.IntN(shape.Groups)
	}
	e, err := New(shape, trees)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func randomRows(rng *rand.Rand, n, features int) []float64 {
	rows := make([]float64, n*features)
	for i := range rows {
		switch rng.IntN(9) {
		case 0:
			rows[i] = math.NaN()
		case 1:
			rows[i] = math.Inf(1 - 2*rng.IntN(2))
		default:
			rows[i] = float64(rng.IntN(7) - 3)
		}
	}
	return rows
}

// worth is the tree's answer when only the features in set are known, by the definition of the path-dependent game.
func (e *Ensemble) worth(at int32, row []float64, set int) float64 {
	n := &e.nodes[at]
	if n.right == 0 {
		return n.threshold
	}
	if set>>n.feature&1 == 1 {
		return e.worth(e.next(at, row), row, set)
	}
	return e.nodes[at+1].share*e.worth(at+1, row, set) + e.nodes[n.right].share*e.worth(n.right, row, set)
}

func TestPathDependentIsTheShapleyValueOfTheTreeGame(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 5))
	const features = 5
	for range 200 {
		e := randomEnsemble(t, rng, features)
		row := randomRows(rng, 1, features)
		got, err := e.PathDependent(row)
		if err != nil {
			t.Fatal(err)
		}
		want := make([]float64, len(got))
		w := weights(features)
		for g, base := range e.shape.Base {
			want[g*(features+1)+features] = base
		}
		for k, root := range e.roots {
			out := want[int(e.groups[k])*(features+1):]
			out[features] += e.worth(root, row, 0)
			for set := range 1 << features {
				size := 0
				for s := set; s > 0; s &= s - 1 {
					size++
				}
				for j := range features {
					if set>>j&1 == 0 {
						out[j] += w[size][features-size-1] * (e.worth(root, row, set|1<<j) - e.worth(root, row, set))
					}
				}
			}
		}
		for i := range got {
			if !(math.Abs(got[i]-want[i]) < 1e-9) {
				t.Fatalf("value %d of row %v is %v, want %v", i, row, got[i], want[i])
			}
		}
	}
}

func TestInterventionalIsTheShapleyValueAgainstTheBackground(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 13))
	const features = 5
	for range 100 {
		e := randomEnsemble(t, rng, features)
		row, background := randomRows(rng, 1, features), randomRows(rng, 1+rng.IntN(4), features)
		got, err := e.Interventional(row, background)
		if err != nil {
			t.Fatal(err)
		}
		for g := range e.Groups() {
			one := func(rows []float64) (out []float64, err error) {
				all, err := e.Margins(rows)
				for i := g; i < len(all); i += e.Groups() {
					out = append(out, all[i])
				}
				return out, err
			}
			want, base, err := Shapley(one, row, background)
			if err != nil {
				t.Fatal(err)
			}
			for j, v := range append(want, base) {
				if d := got[g*(features+1)+j] - v; !(math.Abs(d) < 1e-9) {
					t.Fatalf("output %d, feature %d is off by %g", g, j, d)
				}
			}
		}
	}
}

func TestTheBackgroundOfInterventionalMayBeDivided(t *testing.T) {
	rng := rand.New(rand.NewPCG(34, 55))
	const features, m, width = 6, 150, 7
	for range 10 {
		e := randomEnsemble(t, rng, features)
		rows, background := randomRows(rng, 4, features), randomRows(rng, m, features)
		whole, err := e.Interventional(rows, background)
		if err != nil {
			t.Fatal(err)
		}
		want := make([]float64, len(whole))
		for b := range m {
			single, err := e.Interventional(rows, background[b*features:(b+1)*features])
			if err != nil {
				t.Fatal(err)
			}
			for i, v := range single {
				want[i] += v / m
			}
		}
		for i := range want {
			if !(math.Abs(whole[i]-want[i]) < 1e-12) {
				t.Fatalf("value %d of feature %d is %v against all rows, %v on average over them", i, i%width, whole[i], want[i])
			}
		}
	}
}

func TestContributionsAddUpOnDeepTrees(t *testing.T) {
	rng := rand.New(rand.NewPCG(21, 34))
	const features, n = 30, 20
	trees := make([]Tree, 5)
	for i := range trees {
		trees[i] = grow(rng, features, 14)
	}
	e, err := New(Shape{Features: features, Groups: 1}, trees)
	if err != nil {
		t.Fatal(err)
	}
	rows := randomRows(rng, n, features)
	margins, _ := e.Margins(rows)
	for name, explain := range map[string]func() ([]float64, error){
		"path dependent": func() ([]float64, error) { return e.PathDependent(rows) },
		"interventional": func() ([]float64, error) { return e.Interventional(rows, randomRows(rng, 10, features)) },
	} {
		got, err := explain()
		if err != nil {
			t.Fatal(err)
		}
		for i, m := range margins {
			sum := 0.0
			for _, v := range got[i*(features+1) : (i+1)*(features+1)] {
				sum += v
			}
			if !(math.Abs(sum-m) < 1e-6) {
				t.Errorf("%s: row %d sums to %v, its margin is %v", name, i, sum, m)
			}
		}
	}
}

func TestAFeatureNoTreeAsksForGetsExactlyZero(t *testing.T) {
	e, err := New(Shape{Features: 3, Groups: 1}, []Tree{stump()})
	if err != nil {
		t.Fatal(err)
	}
	path, _ := e.PathDependent([]float64{1, 2, 3})
	against, _ := e.Interventional([]float64{1, 2, 3}, []float64{-1, 5, 6})
	for _, got := range [][]float64{path, against} {
		if got[1] != 0 || got[2] != 0 || got[0] == 0 {
			t.Errorf("the contributions are %v", got)
		}
	}
}

// stump asks whether feature 0 lies below 0: 1 on the left, 3 on the right.
func stump() Tree {
	return Tree{Left: []int32{1, -1, -1}, Right: []int32{2, -1, -1}, Feature: []int32{0, 0, 0}, Threshold: []float64{0, 0, 0},
		Value: []float64{0, 1, 3}, Cover: []float64{4, 1, 3}, Weight: 1}
}

func TestBrokenTreesAreRefusedWithASentence(t *testing.T) {
	chain := Tree{Weight: 1}
	for i := range int32(2*MaxDepth + 5) {
		l, r := int32(-1), int32(-1)
		if i%2 == 0 && i < 2*MaxDepth+4 {
			l, r = i+1, i+2
		}
		chain.Left, chain.Right, chain.Feature = append(chain.Left, l), append(chain.Right, r), append(chain.Feature, 0)
		chain.Threshold, chain.Value, chain.Cover = append(chain.Threshold, 0), append(chain.Value, 1), append(chain.Cover, 1)
	}
	change := func(how func(*Tree)) Tree { s := stump(); how(&s); return s }
	for _, c := range []struct {
		name, says string
		tree       Tree
	}{
		{"no node", "no nodes", Tree{}},
		{"an array too short", "differ in length", change(func(t *Tree) { t.Cover = t.Cover[:2] })},
		{"a child that is not there", "children 9 and 2", change(func(t *Tree) { t.Left[0] = 9 })},
		{"one child only", "children -1 and 2", change(func(t *Tree) { t.Left[0] = -1 })},
		{"a way back to the root", "reached twice", change(func(t *Tree) { t.Left[1], t.Right[1] = 0, 2 })},
		{"both children the same", "reached twice", change(func(t *Tree) { t.Left[0] = 2 })},
		{"a feature that is not there", "feature 7 of 1", change(func(t *Tree) { t.Feature[0] = 7 })},
		{"no cover below a node", "covers 0 and 0", change(func(t *Tree) { t.Cover[1], t.Cover[2] = 0, 0 })},
		{"a negative cover", "covers -1 and 3", change(func(t *Tree) { t.Cover[1] = -1 })},
		{"a cover that is no number", "covers NaN", change(func(t *Tree) { t.Cover[1] = math.NaN() })},
		{"an endless cover", "covers +Inf", change(func(t *Tree) { t.Cover[1] = math.Inf(1) })},
		{"a leaf that is no number", "leaf 1", change(func(t *Tree) { t.Value[1] = math.NaN() })},
		{"no threshold", "no threshold", change(func(t *Tree) { t.Threshold[0] = math.NaN() })},
		{"another output", "output 3 of 1", change(func(t *Tree) { t.Group = 3 })},
		{"too deep", "512 levels", chain},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := New(Shape{Features: 1, Groups: 1}, []Tree{c.tree})
			invalid(t, err, c.says)
		})
	}
}

func invalid(t *testing.T, err error, says string) {
	t.Helper()
	var p *problem.Error
	if !errors.As(err, &p) || p.Kind != problem.Invalid || !strings.Contains(err.Error(), says) {
		t.Errorf("the error is %v, want it to say %q", err, says)
	}
}

func TestWrongRowsAreRefusedWithASentence(t *testing.T) {
	e, err := New(Shape{Features: 2, Groups: 1}, []Tree{stump()})
	if err != nil {
		t.Fatal(err)
	}
	_, err = e.PathDependent(make([]float64, 3))
	invalid(t, err, "3 values")
	_, err = e.Interventional(make([]float64, 2), nil)
	invalid(t, err, "background")
	_, err = e.Interventional(make([]float64, 2), make([]float64, 1))
	invalid(t, err, "1 values")
	_, _, err = Shapley(e.Margins, make([]float64, 2), nil)
	invalid(t, err, "background of 0")
	_, _, err = Shapley(e.Margins, make([]float64, 40), make([]float64, 40))
	invalid(t, err, "40 features")
	_, _, err = Shapley(func([]float64) ([]float64, error) { return nil, nil }, make([]float64, 2), make([]float64, 2))
	invalid(t, err, "0 answers")
	_, err = New(Shape{Features: 1, Groups: 2, Base: []float64{1}}, nil)
	invalid(t, err, "1 base values")
}

func BenchmarkPathDependent(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	trees := make([]Tree, 100)
	for i := range trees {
		trees[i] = grow(rng, 20, 6)
	}
	e, err := New(Shape{Features: 20, Groups: 1}, trees)
	if err != nil {
		b.Fatal(err)
	}
	rows := randomRows(rng, 100, 20)
	for b.Loop() {
		if _, err := e.PathDependent(rows); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100/100, "ns/row·tree")
}
