package tree

import (
	"math/rand/v2"
	"runtime/debug"
	"testing"
)

func TestMixturesOfTwoRowsAnswerAsRowsDo(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	const features, groups = 6, 3
	sets := stump()
	sets.Categories = map[int32][]int32{0: {1, 3}}
	many := stump()
	many.Weights = []Weight{{0, 1}, {2, -1}, {1, 0.5}}
	many.Spans = map[int32][2]int32{1: {0, 2}, 2: {2, 3}}
	alone := Tree{Left: []int32{-1}, Right: []int32{-1}, Feature: []int32{0}, Threshold: []float32{0.25}, MissingLeft: []bool{false}}
	trees := []Tree{sets, many, alone, chain(40), stump()}
	for range 9 {
		trees = append(trees, random(r, features, 1+r.IntN(300)))
	}
	for _, groups := range []int{groups, 1} {
		list := trees
		if groups == 1 {
			list = trees[2:]
		}
		e := build(t, features, groups, list...)
		for _, n := range []int{fewMixed, 1000, mixRows, mixRows + 70, 2*mixRows + 500} {
			for values := 1; values <= 3; values++ { // three are no mixture
				rows := make([]float32, n*features)
				for j := range features {
					var two []float32
					for range values {
						two = append(two, awkward[r.IntN(len(awkward))], r.Float32())
					}
					two = two[:values]
					for i := range n {
						rows[i*features+j] = two[r.IntN(values)]
					}
				}
				want, got := make([]float32, groups*n), make([]float32, groups*n)
				for i := range n {
					e.Add(rows[i*features:(i+1)*features], want[groups*i:groups*(i+1)], 1)
				}
				m := mixture{e: e}
				if is := m.look(rows[:fewMixed*features], fewMixed); is != (values < 3) {
					t.Fatalf("rows of %d values per feature are taken for mixtures of two: %v", values, is)
				}
				e.Add(rows, got, n)
				for i := range want {
					if got[i] != want[i] {
						t.Fatalf("%d values per feature, row %d of %d: got %v, want %v", values, i/groups, n, got[i], want[i])
					}
				}
				gc := debug.SetGCPercent(-1) // a collection empties the pools
				e.Add(rows, got, n)
				a := testing.AllocsPerRun(5, func() { e.Add(rows, got, n) })
				debug.SetGCPercent(gc)
				if a > 0 && !raced {
					t.Errorf("an evaluation of %d rows allocates %v times, want none", n, a)
				}
			}
		}
	}
}

func BenchmarkHundredTreesThousandMixtures(b *testing.B) {
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
		if rows[i] = 0.3; r.IntN(2) == 0 {
			rows[i] = 0.7
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		e.Add(rows, out, 1024)
	}
}
