package explain

import (
	"math"
	"math/bits"
	"math/rand/v2"
	"testing"
)

func TestInteractionsAreTheShapleyInteractionIndexOfTheTreeGame(t *testing.T) {
	rng := rand.New(rand.NewPCG(55, 89))
	const features, width = 5, 6
	w := weights(features)
	for range 100 {
		e := randomEnsemble(t, rng, features)
		row := randomRows(rng, 1, features)
		got, err := e.Interactions(row)
		if err != nil {
			t.Fatal(err)
		}
		worth := make([][1 << features]float64, e.Groups())
		for k, root := range e.roots {
			for set := range 1 << features {
				worth[e.groups[k]][set] += e.worth(root, row, set)
			}
		}
		for g := range worth {
			v := &worth[g]
			for i := range features {
				for j := range features {
					want := 0.0
					for set := range 1 << features {
						if i == j || set>>i&1 == 1 || set>>j&1 == 1 {
							continue
						}
						size := bits.OnesCount(uint(set))
						want += w[size][features-size-2] / 2 * (v[set|1<<i|1<<j] - v[set|1<<i] - v[set|1<<j] + v[set])
					}
					if d := got[(g*width+i)*width+j] - want; i != j && !(math.Abs(d) < 1e-9) {
						t.Fatalf("the interaction of %d and %d is off by %g from %v", i, j, d, want)
					}
				}
			}
		}
	}
}

func TestInteractionsOfTheGoldenModelsAddUpAndAreSymmetric(t *testing.T) {
	for name, raw := range expected(t) {
		var c treeCase
		if decode(t, raw, &c); c.Margin == nil && c.Answers == nil {
			continue
		}
		t.Run(name, func(t *testing.T) {
			e := model(t, c.Model)
			f, width := e.Features(), e.Features()+1
			rows := flat(table(t, c.Rows), f)
			rows = rows[:min(len(rows), 25*f)]
			prepare(t, c.Model, rows, f)
			got, err := e.Interactions(rows)
			if err != nil {
				t.Fatal(err)
			}
			single, err := e.PathDependent(rows)
			if err != nil {
				t.Fatal(err)
			}
			together := 0.0
			for at := range len(single) / width {
				square := got[at*width*width : (at+1)*width*width]
				for i := range width {
					line := 0.0
					for j := range width {
						line += square[i*width+j]
						if d := square[i*width+j] - square[j*width+i]; math.Abs(d) > 1e-9 {
							t.Errorf("%d with %d differs from %d with %d by %g", i, j, j, i, d)
						}
						if i != j {
							together += math.Abs(square[i*width+j])
						}
					}
					near(t, line, single[at*width+i], "sum of the line of row, feature", at, i)
				}
			}
			if deep := e.depth > 1; deep && together == 0 {
				t.Error("no two features interact")
			}
		})
	}
}
