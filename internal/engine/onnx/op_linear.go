package onnx

import (
	"math"

	"keelson/internal/tensor"
)

// scores is what the classifiers of ai.onnx.ml do with a row of raw scores: the post_transform.
type scores struct{ transform string }

func (n *node) scores() scores {
	t := n.text("post_transform", "NONE")
	switch t {
	case "NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO", "PROBIT":
	default:
		n.lacks("the post_transform %q", clip(t))
	}
	return scores{t}
}

func logistic(v float32) float32 {
	r := 1 / (1 + exp32(-max(v, -v)))
	if v < 0 {
		return 1 - r
	}
	return r
}

// probit is √2 · erf⁻¹(2v − 1) with Winitzki's approximation of the inverse, as onnxruntime computes it.
func probit(v float32) float32 {
	x := 2*float64(v) - 1
	l := math.Log((1 - x) * (1 + x))
	a := 2/(3.14159*0.147) + 0.5*l
	r := math.Sqrt(-a + math.Sqrt(a*a-l/0.147))
	if x < 0 {
		r = -r
	}
	return float32(math.Sqrt2 * r)
}

// row transforms the scores of one row in place.
func (s scores) row(v []float32) {
	switch s.transform {
	case "LOGISTIC":
		for i := range v {
			v[i] = logistic(v[i])
		}
	case "PROBIT":
		for i := range v {
			v[i] = probit(v[i])
		}
	case "SOFTMAX", "SOFTMAX_ZERO":
		top := float32(math.Inf(-1))
		for _, f := range v {
			top = max(top, f)
		}
		zero := exp32(-top)
		var sum float32
		for i, f := range v {
			if s.transform == "SOFTMAX_ZERO" && f >= -1e-7 && f <= 1e-7 {
				v[i] = f * zero
				continue
			}
			v[i] = exp32(f - top)
			sum += v[i]
		}
		for i := range v {
			v[i] /= sum
		}
	}
}

// classes are the labels of a classifier: words or numbers.
type classes struct {
	words   []string
	numbers []int64
}

func (n *node) classes(words, numbers string) classes {
	k := classes{n.texts(words), n.ints(numbers)}
	if len(k.words) > 0 {
		k.numbers = nil
	}
	if k.len() == 0 {
		n.wrong("it names no classes")
	}
	return k
}

func (k classes) len() int { return max(len(k.words), len(k.numbers)) }

// labels makes the first output of a classifier; pick gives the class of a row.
func (k classes) labels(c *call, out *tensor.Tensor, rows int, pick func(row int) int) {
	shape := c.ints(1)
	shape[0] = rows
	if k.words != nil {
		v := c.strings(out, shape)
		for i := range v {
			v[i] = k.words[pick(i)]
		}
		return
	}
	v := c.i64s(out, tensor.Int64, shape)
	for i := range v {
		v[i] = k.numbers[pick(i)]
	}
}

func argMax(v []float32) int {
	best := 0
	for i, f := range v {
		if f > v[best] {
			best = i
		}
	}
	return best
}

// linear is coefficients[targets, features] and intercepts[targets].
type linear struct {
	weights, bias     []float32
	features, targets int
}

func (n *node) linear(targets int) linear {
	l := linear{weights: n.floats("coefficients"), bias: n.floats("intercepts"), targets: targets}
	if targets < 1 || len(l.weights) == 0 || len(l.weights)%targets != 0 || len(l.bias) != 0 && len(l.bias) != targets {
		n.wrong("it has %d coefficients and %d intercepts for %d targets", len(l.weights), len(l.bias), targets)
		return l
	}
	l.features = len(l.weights) / targets
	return l
}

// apply computes rows × targets scores.
func (l *linear) apply(c *call, out, in *tensor.Tensor) (rows int, v []float32) {
	rows, width := c.matrix(in)
	if width != l.features {
		c.fail("takes %d columns, not %d", l.features, width)
	}
	shape := c.ints(2)
	shape[0], shape[1] = rows, l.targets
	v = c.f32s(out, shape)
	if len(l.bias) > 0 {
		for i := range v {
			v[i] = l.bias[i%l.targets]
		}
	}
	gemm32{m: rows, k: width, n: l.targets, alpha: 1, turned: true, add: len(l.bias) > 0}.run(c, c.numbers(in), l.weights, v)
	return rows, v
}

func linearRegressor(n *node) (kernel, error) {
	l, s := n.linear(int(min(max(n.int("targets", 1), 0), 1<<30))), n.scores()
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		rows, v := l.apply(c, &out[0], in[0])
		if l.targets == 1 && s.transform != "PROBIT" { // one score has nothing to be weighed against
			return
		}
		for r := range rows {
			s.row(v[r*l.targets : (r+1)*l.targets])
		}
	}, nil
}

func linearClassifier(n *node) (kernel, error) {
	k, s := n.classes("classlabels_strings", "classlabels_ints"), n.scores()
	targets := len(n.floats("intercepts"))
	if targets == 0 {
		targets = k.len()
	}
	l := n.linear(targets)
	if targets != k.len() && !(targets == 1 && k.len() == 2) {
		n.wrong("it has %d classes for %d targets", k.len(), targets)
	}
	if targets == 1 && s.transform == "PROBIT" {
		n.lacks("the post_transform PROBIT over one score")
	}
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		var spare tensor.Tensor
		second := &spare
		if len(out) > 1 {
			second = &out[1]
		}
		rows, v := l.apply(c, second, in[0])
		k.labels(c, &out[0], rows, func(r int) int {
			if targets == 1 {
				if v[r] > 0 && k.len() == 2 {
					return 1
				}
				return 0
			}
			return argMax(v[r*targets : (r+1)*targets])
		})
		if targets == 1 && k.len() == 2 { // the second class is what is left
			shape := c.ints(2)
			shape[0], shape[1] = rows, 2
			both := c.f32s(second, shape)
			for r := range rows {
				switch s.transform {
				case "LOGISTIC":
					both[2*r], both[2*r+1] = logistic(-v[r]), logistic(v[r])
				default:
					both[2*r], both[2*r+1] = 1-v[r], v[r]
				}
			}
			return
		}
		for r := range rows {
			s.row(v[r*targets : (r+1)*targets])
		}
	}, nil
}
