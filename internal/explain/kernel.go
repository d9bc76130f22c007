package explain

import (
	"cmp"
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"

	"keelson/internal/problem"
)

// Sampling bounds the work of Kernel.
type Sampling struct {
	Coalitions int    // sets of features asked for; 0 is 2048
	Seed       uint64 // of the draw; the same seed gives the same values, bit for bit
}

// MaxPlayers is the most features differing from the background that Kernel explains at once: the work of its least
// squares grows with their square.
const MaxPlayers = 512

// MaxKernelRows bounds the predictions that Kernel asks for per row: coalitions · background rows.
const MaxKernelRows = 1 << 22

// Contribution explains one answer of any model. Values sum to the answer less Base, to rounding.
type Contribution struct {
	Values     []float64 // one per feature, in the answer's unit
	Base       float64   // mean answer over the background
	Exact      bool      // every set of features was asked for, so there is no sampling error
	Coalitions int       // sets that were asked for
	Players    int       // features that differ from at least one background row; all others contribute exactly 0
	Background int       // rows
	Seed       uint64
}

// Method says in words how the values came about and what limits them.
func (c Contribution) Method() string {
	if c.Exact {
		return fmt.Sprintf("Shapley values by enumeration of all %d sets of the %d features that differ from the %d background rows; exact for this background", c.Coalitions, c.Players, c.Background)
	}
	return fmt.Sprintf("KernelSHAP on %d of 2^%d sets of features, %d background rows, seed %d; sampled, so single contributions carry an error while their sum is exact", c.Coalitions, c.Players, c.Background, c.Seed)
}

// Kernel estimates the Shapley values of one row of any model against the rows of background, in which the value of a
// set of features is the mean answer when these come from row and the others from background. Features that are the same
// in row and all of background cannot matter and get 0. When all sets of the others fit into the budget the values are
// exact. Else sets are taken by their Shapley kernel weight (k−1)/(C(k,s)·s·(k−s)): whole sizes from the outside in as
// long as they fit, the rest drawn with their complements; the values are those of the weighted least squares without
// penalty that sum to answer − base.
//
// It fails with problem.Invalid when lengths do not fit, more than MaxPlayers features differ, the budget is below twice
// their number or over MaxKernelRows predictions, or an answer is not finite; and with what predict fails with.
//
// Source: Lundberg, Lee, A unified approach to interpreting model predictions, 2017, theorem 2; paired sampling after
// Covert, Lee, Improving KernelSHAP, 2021.
func Kernel(predict Predict, row, background []float64, s Sampling) (Contribution, error) {
	f := len(row)
	if f == 0 || len(background) == 0 || len(background)%f != 0 {
		return Contribution{}, problem.New(problem.Invalid, "A row of %d features cannot be explained against a background of %d values.", f, len(background))
	}
	if s.Coalitions == 0 {
		s.Coalitions = 2048
	}
	m := len(background) / f
	var players []int
	for j, v := range row {
		for b := range m {
			if z := background[b*f+j]; z != v && (z == z || v == v) {
				players = append(players, j)
				break
			}
		}
	}
	k := len(players)
	out := Contribution{Values: make([]float64, f), Players: k, Background: m, Seed: s.Seed}
	exact := k < 22 && 1<<k <= s.Coalitions
	switch {
	case k > MaxPlayers:
		return out, problem.New(problem.Invalid, "%d features differ from the background; at most %d are explained at once.", k, MaxPlayers)
	case !exact && s.Coalitions < 2*k:
		return out, problem.New(problem.Invalid, "%d features need at least %d sets to be asked for; the budget is %d.", k, 2*k, s.Coalitions)
	case !exact && s.Coalitions > MaxKernelRows/m || exact && 1<<k > MaxKernelRows/m:
		return out, problem.New(problem.Invalid, "%d sets over %d background rows take more than %d predictions; use fewer of either.", s.Coalitions, m, MaxKernelRows)
	}
	g := game{predict: predict, row: row, background: background, players: players}
	if exact {
		out.Exact, out.Coalitions = true, 1<<k
		return out, g.enumerate(&out)
	}
	return out, g.estimate(&out, s)
}

// coalition is a set of players; bit p of word p/64 is player p.
type coalition struct {
	set    []uint64
	weight float64
}

func (c coalition) has(p int) bool { return c.set[p/64]>>(p%64)&1 == 1 }

// game asks a model for the worth of sets.
type game struct {
	predict    Predict
	row        []float64
	background []float64
	players    []int
}

// askRows is about how many rows one call of the model gets.
const askRows = 4096

// worth gives the mean answer for every set. The model is asked background row by background row, so that the rows of a
// call differ only in which of two values a feature has; ensembles of trees answer such rows together (tree.Ensemble).
func (g *game) worth(sets []coalition) ([]float64, error) {
	f := len(g.row)
	m := len(g.background) / f
	worth := make([]float64, len(sets))
	buffer := make([]float64, 0, min(askRows, m*len(sets))*f)
	asked := make([]int, 0, cap(buffer)/f) // by row of the buffer: its set
	ask := func() error {
		answers, err := g.predict.call(buffer, f)
		if err != nil {
			return err
		}
		for i, a := range answers {
			if a-a != 0 {
				return problem.New(problem.Invalid, "The model answered %v; answers that are not finite cannot be explained.", a)
			}
			worth[asked[i]] += a
		}
		buffer, asked = buffer[:0], asked[:0]
		return nil
	}
	for b := range m {
		other := g.background[b*f : (b+1)*f]
		for i, c := range sets {
			at := len(buffer)
			buffer = append(buffer, other...)
			mixed := buffer[at:]
			for p, j := range g.players {
				if c.has(p) {
					mixed[j] = g.row[j]
				}
			}
			if asked = append(asked, i); len(asked) == askRows {
				if err := ask(); err != nil {
					return nil, err
				}
			}
		}
		if len(asked) > 0 && (b+1 == m || len(asked)+len(sets) > askRows) {
			if err := ask(); err != nil {
				return nil, err
			}
		}
	}
	for i := range worth {
		worth[i] /= float64(m)
	}
	return worth, nil
}

// enumerate fills in the exact values.
func (g *game) enumerate(out *Contribution) error {
	k := len(g.players)
	sets := make([]coalition, 1<<k)
	for i := range sets {
		sets[i].set = []uint64{uint64(i)}
	}
	worth, err := g.worth(sets)
	if err != nil {
		return err
	}
	w := weights(k)
	for set := range worth {
		size := bits.OnesCount(uint(set))
		for p, j := range g.players {
			if set>>p&1 == 0 {
				out.Values[j] += w[size][k-size-1] * (worth[set|1<<p] - worth[set])
			}
		}
	}
	out.Base = worth[0]
	return nil
}

// estimate fills in the values of the least squares.
func (g *game) estimate(out *Contribution, s Sampling) error {
	k := len(g.players)
	sets := draw(k, s)
	ends := []coalition{{set: make([]uint64, (k+63)/64)}, {set: make([]uint64, (k+63)/64)}}
	for p := range k {
		ends[1].set[p/64] |= 1 << (p % 64)
	}
	worth, err := g.worth(append(ends, sets...))
	if err != nil {
		return err
	}
	out.Base, out.Coalitions = worth[0], len(worth)
	total := worth[1] - worth[0]
	worth = worth[2:]
	// The last player takes what the others leave, so that the sum holds: y − z_last·total = Σ (z_p − z_last)·φ_p.
	n := k - 1
	a, b := make([]float64, n*n), make([]float64, n)
	z := make([]float64, n)
	for i, c := range sets {
		last := 0.0
		if c.has(n) {
			last = 1
		}
		y := worth[i] - out.Base - last*total
		for p := range z {
			if z[p] = -last; c.has(p) {
				z[p]++
			}
		}
		for p, v := range z {
			if v == 0 {
				continue
			}
			v *= c.weight
			b[p] += v * y
			for q := range p + 1 {
				a[p*n+q] += v * z[q]
			}
		}
	}
	phi, ok := solve(a, b)
	if !ok {
		return problem.New(problem.Invalid, "%d sets of %d features do not determine the contributions; raise the budget.", len(sets), k)
	}
	for p, v := range phi {
		out.Values[g.players[p]] = v
		total -= v
	}
	out.Values[g.players[n]] = total
	return nil
}

// draw gives at most s.Coalitions − 2 sets of k ≥ 2 players with their weights, in an order that follows from the seed.
// All sets of one player, and their complements, are always among them, so that the values are determined.
func draw(k int, s Sampling) []coalition {
	left := s.Coalitions - 2
	weight := make([]float64, k/2+1) // of a size and its complement together
	rest := 0.0
	for size := 1; size <= k/2; size++ {
		weight[size] = float64(k-1) / (float64(size) * float64(k-size))
		if 2*size != k {
			weight[size] *= 2
		}
		rest += weight[size]
	}
	var out []coalition
	size := 1
	for ; size <= k/2; size++ {
		count := binomial(k, size)
		if 2*size != k {
			count *= 2
		}
		if size > 1 && (count > float64(left) || float64(left)*weight[size]/rest < count) {
			break
		}
		each := weight[size] / count
		eachSet(k, size, func(c coalition) {
			c.weight = each
			out = append(out, c)
			if 2*size != k {
				out = append(out, c.complement(k))
			}
		})
		left -= int(count)
		rest -= weight[size]
	}
	if size > k/2 || left < 2 {
		return out
	}
	rng := rand.New(rand.NewPCG(s.Seed, uint64(k)))
	known := map[string]int{}
	whole := len(out)
	players := make([]int, k)
	for p := range players {
		players[p] = p
	}
	drawn := 0.0
	for tries := 0; left >= 2 && tries < 4*s.Coalitions; tries++ {
		at, want := rng.Float64()*rest, size
		for ; want < k/2 && at >= weight[want]; want++ {
			at -= weight[want]
		}
		c := coalition{set: make([]uint64, (k+63)/64), weight: 1}
		for i := range want { // the first steps of a shuffle
			j := i + rng.IntN(k-i)
			players[i], players[j] = players[j], players[i]
			c.set[players[i]/64] |= 1 << (players[i] % 64)
		}
		drawn += 2
		other := c.complement(k)
		name := fmt.Sprint(c.set)
		if i, ok := known[name]; ok {
			out[i].weight++
			out[i^1].weight++ // pairs stand at 2i, 2i+1 behind an even number of whole sets
			continue
		}
		known[name], known[fmt.Sprint(other.set)] = len(out), len(out)+1
		out = append(out, c, other)
		left -= 2
	}
	for i := whole; i < len(out); i++ {
		out[i].weight *= rest / drawn
	}
	return out
}

func (c coalition) complement(k int) coalition {
	out := coalition{set: make([]uint64, len(c.set)), weight: c.weight}
	for i, w := range c.set {
		out.set[i] = ^w
	}
	if k%64 != 0 {
		out.set[len(out.set)-1] &= 1<<(k%64) - 1
	}
	return out
}

func binomial(n, k int) float64 {
	v := 1.0
	for i := range k {
		v = v * float64(n-i) / float64(i+1)
	}
	return math.Round(v)
}

// eachSet calls f with every set of size of k players, in lexical order.
func eachSet(k, size int, f func(coalition)) {
	at := make([]int, size)
	for i := range at {
		at[i] = i
	}
	for {
		c := coalition{set: make([]uint64, (k+63)/64)}
		for _, p := range at {
			c.set[p/64] |= 1 << (p % 64)
		}
		f(c)
		i := size - 1
		for ; i >= 0 && at[i] == k-size+i; i-- {
		}
		if i < 0 {
			return
		}
		at[i]++
		for j := i + 1; j < size; j++ {
			at[j] = at[j-1] + 1
		}
	}
}

// solve solves a·x = b for a symmetric positive definite a, whose lower triangle counts, by Cholesky's decomposition; it
// overwrites both. false says that a is not positive definite to working precision.
func solve(a, b []float64) ([]float64, bool) {
	n := len(b)
	for i := range n {
		for j := range i + 1 {
			sum := a[i*n+j]
			for k := range j {
				sum -= a[i*n+k] * a[j*n+k]
			}
			if i != j {
				a[i*n+j] = sum / a[j*n+j]
				continue
			}
			if !(sum > 1e-14) {
				return nil, false
			}
			a[i*n+i] = math.Sqrt(sum)
		}
	}
	for i := range n {
		for k := range i {
			b[i] -= a[i*n+k] * b[k]
		}
		b[i] /= a[i*n+i]
	}
	for i := n - 1; i >= 0; i-- {
		for k := i + 1; k < n; k++ {
			b[i] -= a[k*n+i] * b[k]
		}
		b[i] /= a[i*n+i]
	}
	return b, true
}

// Largest gives the places of the n values that are furthest from 0, largest first; equals in their order.
func Largest(values []float64, n int) []int {
	order := make([]int, len(values))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(math.Abs(values[b]), math.Abs(values[a])) })
	return order[:min(max(n, 0), len(order))]
}
