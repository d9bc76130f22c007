package onnx

import (
	"math"
)

// operators is the domain ai.onnx as far as it is known here. What is missing is refused by name when a model is loaded.
var operators = map[string]operator{
	// arithmetic
	"Add": two(sum), "Sub": two(minus), "Mul": two(product), "Div": two(over), "Mod": {2, 2, 1, modulo}, "Pow": {2, 2, 1, power},
	"Sum": many(sum, false), "Mean": many(sum, true), "Max": many(most, false), "Min": many(least, false),
	"Abs":        any1(math.Abs, func(v int64) int64 { return max(v, -v) }, func(v uint64) uint64 { return v }),
	"Neg":        any1(func(v float64) float64 { return -v }, func(v int64) int64 { return -v }, func(v uint64) uint64 { return -v }),
	"Sign":       any1(sign, func(v int64) int64 { return min(max(v, -1), 1) }, func(v uint64) uint64 { return min(v, 1) }),
	"Sqrt":       each(math.Sqrt),
	"Exp":        each(math.Exp),
	"Log":        each(math.Log),
	"Reciprocal": each(func(v float64) float64 { return 1 / v }),
	"Floor":      each(math.Floor), "Ceil": each(math.Ceil), "Round": each(math.RoundToEven),
	"Sin": each(math.Sin), "Cos": each(math.Cos), "Tan": each(math.Tan), "Asin": each(math.Asin), "Acos": each(math.Acos), "Atan": each(math.Atan),
	"Sinh": each(math.Sinh), "Cosh": each(math.Cosh), "Asinh": each(math.Asinh), "Acosh": each(math.Acosh), "Atanh": each(math.Atanh),
	"Clip": {1, 3, 1, clipped},

	// comparison and logic
	"Equal":          compare(eq[float32], eq[float64], eq[int64], eq[uint64], true),
	"Less":           compare(lt[float32], lt[float64], lt[int64], lt[uint64], false),
	"LessOrEqual":    compare(le[float32], le[float64], le[int64], le[uint64], false),
	"Greater":        compare(gt[float32], gt[float64], gt[int64], gt[uint64], false),
	"GreaterOrEqual": compare(ge[float32], ge[float64], ge[int64], ge[uint64], false),
	"And":            logic(func(a, b bool) bool { return a && b }),
	"Or":             logic(func(a, b bool) bool { return a || b }),
	"Xor":            logic(func(a, b bool) bool { return a != b }),
	"Not":            {1, 1, 1, not},
	"Where":          {3, 3, 1, where},
	"IsNaN":          test(func(*node) func(float64) bool { return func(v float64) bool { return v != v } }),
	"IsInf": test(func(n *node) func(float64) bool {
		up, down := n.int("detect_positive", 1) != 0, n.int("detect_negative", 1) != 0
		return func(v float64) bool { return up && math.IsInf(v, 1) || down && math.IsInf(v, -1) }
	}),

	// layers of networks
	"Relu":     any1(relu, func(v int64) int64 { return max(v, 0) }, func(v uint64) uint64 { return v }),
	"Sigmoid":  each(sigmoid),
	"Tanh":     {1, 1, 1, func(*node) (kernel, error) { return eachOf(tanh32, math.Tanh), nil }},
	"Erf":      each(math.Erf),
	"Softplus": each(softplus),
	"Softsign": each(func(v float64) float64 { return v / (1 + math.Abs(v)) }),
	"Elu": shaped(func(n *node) func(float64) float64 {
		return elu(float64(n.float("alpha", 1)), 1)
	}),
	"Celu": shaped(func(n *node) func(float64) float64 {
		a := float64(n.float("alpha", 1))
		return func(v float64) float64 { return math.Max(0, v) + math.Min(0, a*math.Expm1(v/a)) }
	}),
	"Selu": shaped(func(n *node) func(float64) float64 {
		return elu(float64(n.float("alpha", 1.67326319217681884765625)), float64(n.float("gamma", 1.05070102214813232421875)))
	}),
	"LeakyRelu": shaped(func(n *node) func(float64) float64 {
		a := float64(n.float("alpha", 0.01))
		return func(v float64) float64 {
			if v < 0 {
				return a * v
			}
			return v
		}
	}),
	"ThresholdedRelu": shaped(func(n *node) func(float64) float64 {
		a := float64(n.float("alpha", 1))
		return func(v float64) float64 {
			if v > a {
				return v
			}
			return 0
		}
	}),
	"HardSigmoid": shaped(func(n *node) func(float64) float64 {
		a, b := float64(n.float("alpha", 0.2)), float64(n.float("beta", 0.5))
		return func(v float64) float64 { return math.Max(0, math.Min(1, a*v+b)) }
	}),
	"HardSwish": each(func(v float64) float64 { return v * math.Max(0, math.Min(1, v/6+0.5)) }),
	"Mish":      each(func(v float64) float64 { return v * math.Tanh(softplus(v)) }),
	"Gelu": shaped(func(n *node) func(float64) float64 {
		if n.text("approximate", "none") == "tanh" {
			return func(v float64) float64 {
				return 0.5 * v * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(v+0.044715*v*v*v)))
			}
		}
		return func(v float64) float64 { return 0.5 * v * (1 + math.Erf(v/math.Sqrt2)) }
	}),
	"PRelu":   {2, 2, 1, prelu},
	"Softmax": {1, 1, 1, softmax}, "LogSoftmax": {1, 1, 1, softmax}, "Hardmax": {1, 1, 1, softmax},
	"Gemm": {2, 3, 1, gemm}, "MatMul": {2, 2, 1, matMul},
	"BatchNormalization": {5, 5, 1, batchNorm},
	"LayerNormalization": {2, 3, 1, layerNorm},
	"LpNormalization":    {1, 1, 1, lpNorm},
	"Dropout":            {1, 3, 2, dropout},
	"Conv":               {2, 3, 1, conv},
	"MaxPool":            {1, 1, 1, pool2}, "AveragePool": {1, 1, 1, pool2}, "GlobalMaxPool": {1, 1, 1, pool2}, "GlobalAveragePool": {1, 1, 1, pool2},

	// reduction and order
	"ReduceSum": {1, 2, 1, reduce}, "ReduceMean": {1, 2, 1, reduce}, "ReduceProd": {1, 2, 1, reduce}, "ReduceMax": {1, 2, 1, reduce}, "ReduceMin": {1, 2, 1, reduce},
	"ReduceSumSquare": {1, 2, 1, reduce}, "ReduceL1": {1, 2, 1, reduce}, "ReduceL2": {1, 2, 1, reduce}, "ReduceLogSum": {1, 2, 1, reduce}, "ReduceLogSumExp": {1, 2, 1, reduce},
	"ArgMax": {1, 1, 1, extreme}, "ArgMin": {1, 1, 1, extreme}, "TopK": {1, 2, 2, topK}, "CumSum": {2, 2, 1, cumSum},

	// shape and place
	"Identity": {1, 1, 1, identity}, "Cast": {1, 1, 1, castTo}, "CastLike": {2, 2, 1, castLike}, "Constant": {0, 0, 1, nil}, "ConstantOfShape": {1, 1, 1, constantOfShape},
	"Reshape": {2, 2, 1, reshape}, "Flatten": {1, 1, 1, flatten}, "Squeeze": {1, 2, 1, squeeze}, "Unsqueeze": {1, 2, 1, unsqueeze}, "Transpose": {1, 1, 1, transpose},
	"Concat": {1, -1, 1, concat}, "Split": {1, 2, 1 << 10, split}, "Slice": {1, 5, 1, slice}, "Expand": {2, 2, 1, expand}, "Tile": {2, 2, 1, tile}, "Pad": {1, 4, 1, pad},
	"Gather": {2, 2, 1, gather}, "GatherElements": {2, 2, 1, gatherElements}, "GatherND": {2, 2, 1, gatherND},
	"ScatterElements": {3, 3, 1, scatterElements}, "ScatterND": {3, 3, 1, scatterND}, "Compress": {2, 2, 1, compress},
	"Scan":  {0, -1, 1 << 10, scan},
	"Shape": {1, 1, 1, shapeOf}, "Size": {1, 1, 1, sizeOf}, "NonZero": {1, 1, 1, nonZero}, "OneHot": {3, 3, 1, oneHot}, "Range": {3, 3, 1, sequence},
}

func elu(alpha, gamma float64) func(float64) float64 {
	return func(v float64) float64 {
		if v < 0 {
			return gamma * alpha * math.Expm1(v)
		}
		return gamma * v
	}
}
