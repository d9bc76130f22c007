package onnx

import (
	"math"

	"keelson/internal/tensor"
	"keelson/internal/tree"
)

// sums evaluates all rows: rows × targets raw sums, and which of them were reached.
func (f *forest) sums(c *call, t *tensor.Tensor) (rows int, sums []float64, has []bool) {
	rows, width, at := f.rows(c, t)
	size := c.count([]int{rows, f.targets})
	c.spend(size, 13)
	sums, has = c.f64.take(size), c.b.take(size)
	if f.fast != nil && t.Type != tensor.FP64 && rows > 0 {
		f.quick(c, c.numbers(t), rows, width, sums, has)
		return rows, sums, has
	}
	for r := range rows {
		f.add(at(r), sums[r*f.targets:(r+1)*f.targets], has[r*f.targets:(r+1)*f.targets])
		c.tick(16 * len(f.roots))
	}
	return rows, sums, has
}

// quick is sums over the fast form.
func (f *forest) quick(c *call, x []float32, rows, width int, sums []float64, has []bool) {
	margins := c.f32.take(len(sums))
	if used := f.fast.Features(); used < width {
		c.spend(rows*used, 4)
		narrow := c.f32.take(rows * used)
		for r := range rows {
			copy(narrow[r*used:(r+1)*used], x[r*width:])
		}
		x = narrow
	}
	const piece = 4096 // rows between two looks at the time
	for from := 0; from < rows; from += piece {
		to := min(from+piece, rows)
		f.fast.Run(x[from*f.fast.Features():to*f.fast.Features()], margins[from*f.targets:to*f.targets], to-from, 8)
		c.tick((to - from) * 16 * len(f.roots))
	}
	for i, v := range margins {
		sums[i], has[i] = float64(v), f.reached[i%f.targets]
		if f.average {
			sums[i] /= float64(len(f.roots))
		}
	}
}

// quicken makes the fast form, where every question is a comparison with a float32, no node has two parents and it is known
// beforehand which targets a row reaches.
func (f *forest) quicken() {
	if f.extreme != 0 || f.features == 0 || len(f.roots) == 0 || f.targets > len(f.weights)+16 {
		return
	}
	leaves, withAll := f.targetsReached()
	negative := false
	for _, w := range f.weights {
		negative = negative || w.value < 0
	}
	for t := range leaves {
		// A target that only some leaves weigh counts as reached where that makes no difference: among several classes of
		// weights that are not negative, 0 never wins against a weight.
		if leaves[t] && !withAll[t] && (f.targets <= 2 || negative || len(f.base) > 0) {
			return
		}
	}
	b, err := tree.NewBuilder(f.features, f.targets)
	if err != nil {
		return
	}
	for _, root := range f.roots {
		t, group, ok := f.plain(root)
		if !ok || b.Append(t, group, 1) != nil {
			return
		}
	}
	f.fast, f.reached = b.Build(), leaves
}

// targetsReached tells, by target, whether any leaf weighs it, and whether all leaves of some tree do.
func (f *forest) targetsReached() (any, all []bool) {
	any, all = make([]bool, f.targets), make([]bool, f.targets)
	count := make([]int, f.targets)
	seen := make([]int, f.targets) // the last leaf that counted for a target, plus 1
	var way []int32
	mark := 0
	for _, root := range f.roots {
		clear(count)
		leaves := 0
		way = append(way[:0], root)
		for len(way) > 0 {
			n := &f.nodes[way[len(way)-1]]
			way = way[:len(way)-1]
			if n.ask != leaf {
				if way = append(way, n.yes, n.no); leaves > len(f.nodes) {
					return any, make([]bool, f.targets) // shared nodes: the fast form is out anyway
				}
				continue
			}
			leaves++
			mark++
			for _, w := range f.weights[n.from:n.to] {
				any[w.target] = true
				if seen[w.target] != mark {
					seen[w.target] = mark
					count[w.target]++
				}
			}
		}
		for t := range count {
			all[t] = all[t] || count[t] == leaves
		}
	}
	return any, all
}

// plain lays one tree out for the fast form: v < threshold goes left. ok is false where it cannot.
func (f *forest) plain(root int32) (t tree.Tree, group int, ok bool) {
	place := map[int32]bool{}
	queue := []int32{root}
	single := true // every leaf has one weight, of one and the same target
	target := int32(-1)
	for i := 0; i < len(queue); i++ {
		n := &f.nodes[queue[i]]
		if place[queue[i]] {
			return t, 0, false
		}
		place[queue[i]] = true
		left, right, threshold, missing := int32(-1), int32(-1), float32(n.value), n.missing
		if n.ask == leaf {
			w := f.weights[n.from:n.to]
			if len(w) == 1 && (target < 0 || target == w[0].target) {
				target = w[0].target
			} else {
				single = false
			}
		} else {
			if float64(threshold) != n.value || n.ask > askGT || math.IsInf(n.value, 0) {
				return t, 0, false
			}
			if n.ask == askLEQ || n.ask == askGT {
				threshold = math.Nextafter32(threshold, float32(math.Inf(1)))
			}
			left, right = int32(len(queue)), int32(len(queue)+1)
			if n.ask == askLEQ || n.ask == askLT {
				queue = append(queue, n.yes, n.no)
			} else {
				queue = append(queue, n.no, n.yes)
				missing = !missing
			}
		}
		t.Left, t.Right, t.Feature = append(t.Left, left), append(t.Right, right), append(t.Feature, n.feature)
		t.Threshold, t.MissingLeft = append(t.Threshold, threshold), append(t.MissingLeft, missing)
	}
	for i, at := range queue {
		n := &f.nodes[at]
		if n.ask != leaf {
			continue
		}
		w := f.weights[n.from:n.to]
		if single {
			t.Threshold[i] = float32(w[0].value)
			continue
		}
		if t.Spans == nil {
			t.Spans = map[int32][2]int32{}
		}
		from := int32(len(t.Weights))
		for _, w := range w {
			t.Weights = append(t.Weights, tree.Weight{Group: w.target, Value: float32(w.value)})
		}
		t.Spans[int32(i)] = [2]int32{from, int32(len(t.Weights))}
	}
	return t, int(max(target, 0)), true
}
