package convert

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"keelson/internal/engine"
	"keelson/internal/inventory"
	"keelson/internal/problem"
	"keelson/internal/tensor"
)

const (
	generatedRows = 512
	callRows      = 64              // of a generated call
	timedCalls    = 400             // of each model
	timedFor      = 3 * time.Second // at most, both together
)

// comparison collects the largest error over calls.
type comparison struct {
	original, converted engine.Model
	worst               float64
	where               string
	answered            [][]tensor.Tensor // calls that both answered
}

// call lets both answer and gives the rows compared. A call that the original refuses proves nothing; one that only the
// converted model refuses is an error.
func (c *comparison) call(ctx context.Context, in []tensor.Tensor) (rows int, err error) {
	want, err := c.original.Predict(ctx, in)
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if err != nil {
		if problem.KindOf(err) == problem.Invalid {
			return 0, nil
		}
		return 0, err
	}
	got, err := c.converted.Predict(ctx, in)
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if err != nil {
		if p, ok := problem.As(err); ok {
			return 0, problem.New(problem.Unsupported, "The converted model refuses a call that the original answers: %s", p.Detail).Because(err)
		}
		return 0, err
	}
	if len(got) < len(want) {
		return 0, no("The converted model gives %d of %d answers.", len(got), len(want))
	}
	worst, where, err := inventory.Compare(got, want)
	if err != nil {
		return 0, err
	}
	if worst > c.worst || c.where == "" && worst > 0 {
		c.worst, c.where = worst, where
	}
	c.answered = append(c.answered, in)
	for i := range in {
		rows = max(rows, in[i].Rows())
	}
	return rows, nil
}

// times gives the median microseconds of one row through each model; they take turns.
func (c *comparison) times(ctx context.Context) (original, converted float64, err error) {
	var single [][]tensor.Tensor
	for _, call := range c.answered {
		for r := range call[0].Rows() {
			if one := row(call, r); one != nil && len(single) < 256 {
				single = append(single, one)
			}
		}
	}
	if len(single) == 0 {
		single = c.answered // models of a fixed number of rows
	}
	if len(single) == 0 {
		return 0, 0, nil
	}
	var a, b []float64
	until := time.Now().Add(timedFor)
	for i := 0; i < timedCalls && time.Now().Before(until); i++ {
		in := single[i%len(single)]
		for k, m := range []engine.Model{c.original, c.converted} {
			began := time.Now()
			if _, err := m.Predict(ctx, in); err != nil {
				return 0, 0, fmt.Errorf("time a row: %w", err)
			}
			took := float64(time.Since(began)) / float64(time.Microsecond)
			if k == 0 {
				a = append(a, took)
			} else {
				b = append(b, took)
			}
		}
	}
	return median(a), median(b), nil
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	slices.Sort(v)
	return v[len(v)/2]
}

// row cuts one row out of a call; nil when its tensors differ in length or a row has no place of its own.
func row(call []tensor.Tensor, r int) []tensor.Tensor {
	out := make([]tensor.Tensor, len(call))
	for i := range call {
		t := &call[i]
		n := t.Rows()
		if len(t.Shape) == 0 || n <= r || n != call[0].Rows() {
			return nil
		}
		w := t.Width()
		out[i] = tensor.Tensor{Name: t.Name, Type: t.Type, Shape: append([]int{1}, t.Shape[1:]...)}
		switch from, to := r*w, (r+1)*w; {
		case t.F32 != nil:
			out[i].F32 = t.F32[from:to]
		case t.F64 != nil:
			out[i].F64 = t.F64[from:to]
		case t.I64 != nil:
			out[i].I64 = t.I64[from:to]
		case t.U64 != nil:
			out[i].U64 = t.U64[from:to]
		case t.B != nil:
			out[i].B = t.B[from:to]
		default:
			out[i].S = t.S[from:to]
		}
	}
	return out
}

// generate makes calls for a signature: values at and beside the thresholds of trees, values like those that were seen, and
// a few missing ones where trees know what to do with them. The same arguments give the same calls. It gives none when an
// input takes texts and none were seen.
func generate(sig engine.Signature, f *engine.Formula, seen [][]tensor.Tensor) (calls [][]tensor.Tensor) {
	r := rand.New(rand.NewPCG(20, 26))
	thresholds := map[int][]float64{}
	missing := false
	if f != nil {
		for _, t := range f.Trees {
			for _, n := range t {
				if n.Yes != 0 {
					thresholds[int(n.Feature)] = append(thresholds[int(n.Feature)], n.Threshold)
				}
			}
		}
		missing = f.Trees != nil
	}
	for range generatedRows / callRows {
		var call []tensor.Tensor
		for i, spec := range sig.Inputs {
			typ, err := tensor.ParseType(spec.Datatype)
			if err != nil {
				return nil
			}
			shape := slices.Clone(spec.Shape)
			for k, d := range shape {
				if d < 0 {
					if shape[k] = 4; k == 0 {
						shape[k] = callRows
					}
				}
			}
			n, err := tensor.Count(shape, 1<<20)
			if err != nil {
				return nil
			}
			was := values(seen, i, spec.Name)
			t := tensor.Tensor{Name: spec.Name, Type: typ, Shape: shape}
			if typ == tensor.Bytes {
				if was == nil || len(was.S) == 0 {
					return nil
				}
				for range n {
					t.S = append(t.S, was.S[r.IntN(len(was.S))])
				}
				call = append(call, t)
				continue
			}
			width := 1
			if len(shape) > 1 {
				width = shape[len(shape)-1]
			}
			single := len(sig.Inputs) == 1 && len(shape) == 2
			for k := range n {
				var v float64
				var near []float64
				if single {
					near = thresholds[k%width]
				}
				switch {
				case missing && single && r.IntN(25) == 0 && !whole(typ):
					v = math.NaN()
				case len(near) > 0 && r.IntN(4) > 0:
					v = beside(r, near[r.IntN(len(near))], typ)
				case was != nil && was.Len() > 0 && r.IntN(2) == 0:
					at := r.IntN(was.Len())
					if single && was.Width() == width {
						at = at/width*width + k%width
					}
					v = was.Float64(at)
				default:
					v = r.NormFloat64() * math.Pow(10, float64(r.IntN(3)-1))
				}
				put(&t, v)
			}
			call = append(call, t)
		}
		calls = append(calls, call)
	}
	return calls
}

func whole(t tensor.Type) bool { return t != tensor.FP32 && t != tensor.FP64 && t != tensor.FP16 }

// beside gives a threshold, or the next number below or above it.
func beside(r *rand.Rand, v float64, t tensor.Type) float64 {
	to := math.Inf(r.IntN(2)*2 - 1)
	if r.IntN(3) == 0 {
		return v
	}
	if t == tensor.FP64 {
		return math.Nextafter(v, to)
	}
	return float64(math.Nextafter32(float32(v), float32(to)))
}

// values gives an input of one of the calls seen that has it.
func values(seen [][]tensor.Tensor, i int, name string) *tensor.Tensor {
	for _, call := range seen {
		if t := tensor.Find(call, name); t != nil {
			return t
		}
		if i < len(call) {
			return &call[i]
		}
	}
	return nil
}

func put(t *tensor.Tensor, v float64) {
	switch t.Type {
	case tensor.FP32, tensor.FP16, tensor.BF16:
		t.F32 = append(t.F32, float32(v))
	case tensor.FP64:
		t.F64 = append(t.F64, v)
	case tensor.Bool:
		t.B = append(t.B, v > 0)
	case tensor.Uint8, tensor.Uint16, tensor.Uint32, tensor.Uint64:
		t.U64 = append(t.U64, uint64(math.Min(math.Abs(math.Round(v)), 255)))
	default:
		t.I64 = append(t.I64, int64(math.Max(-128, math.Min(math.Round(v), 127))))
	}
}
