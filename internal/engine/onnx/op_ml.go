package onnx

import (
	"math"
	"strconv"

	"keelson/internal/tensor"
)

// mlOperators is the domain ai.onnx.ml: what converters of classical models write.
var mlOperators = map[string]operator{
	"ArrayFeatureExtractor":  {2, 2, 1, arrayFeatureExtractor},
	"Binarizer":              {1, 1, 1, binarizer},
	"FeatureVectorizer":      {1, -1, 1, featureVectorizer},
	"Imputer":                {1, 1, 1, imputer},
	"LabelEncoder":           {1, 1, 1, labelEncoder},
	"LinearClassifier":       {1, 1, 2, linearClassifier},
	"LinearRegressor":        {1, 1, 1, linearRegressor},
	"Normalizer":             {1, 1, 1, normalizer},
	"OneHotEncoder":          {1, 1, 1, oneHotEncoder},
	"Scaler":                 {1, 1, 1, scaler},
	"SVMClassifier":          {1, 1, 2, svmClassifier},
	"SVMRegressor":           {1, 1, 1, svmRegressor},
	"TreeEnsemble":           {1, 1, 1, treeEnsemble},
	"TreeEnsembleClassifier": {1, 1, 2, treeClassifier},
	"TreeEnsembleRegressor":  {1, 1, 1, treeRegressor},
	"ZipMap":                 {1, 1, 1, zipMap},
}

// zipMap names the columns of its input; the names stand in the model's signature, the numbers pass.
func zipMap(n *node) (kernel, error) {
	labels := n.texts("classlabels_strings")
	for _, v := range n.ints("classlabels_int64s") {
		labels = append(labels, strconv.FormatInt(v, 10))
	}
	if len(labels) == 0 {
		n.wrong("it names no classes")
	}
	*n.labels = labels
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		x := in[0]
		if x.Type != tensor.FP32 && x.Type != tensor.FP64 {
			c.fail("does not take %s", x.Type)
		}
		rows, width := c.matrix(x)
		if width != len(labels) {
			c.fail("has %d classes for %d scores", len(labels), width)
		}
		shape := c.ints(2)
		shape[0], shape[1] = rows, width
		share(&out[0], x, shape)
	}, nil
}

func arrayFeatureExtractor(*node) (kernel, error) {
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		x := in[0]
		if len(x.Shape) == 0 {
			c.fail("needs at least one dimension")
		}
		last := len(x.Shape) - 1
		d := x.Shape[last]
		list := c.whole(in[1], "positions")
		shape := c.copyOf(x.Shape, 1)
		if last == 0 {
			shape = append(shape[:0], 1, 0)
		}
		shape[len(shape)-1] = len(list)
		for _, k := range list {
			if k < 0 || k >= int64(d) {
				c.fail("asks for position %d of %d", k, d)
			}
		}
		c.like(&out[0], x.Type, shape)
		to := 0
		for from := 0; from < x.Len(); from += d {
			for _, k := range list {
				block(&out[0], to, x, from+int(k), 1)
				to++
			}
		}
	}, nil
}

func binarizer(n *node) (kernel, error) {
	threshold := n.float("threshold", 0)
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		x := c.numbers(in[0])
		v := c.f32s(&out[0], in[0].Shape)
		for i := range v {
			if x[i] > threshold {
				v[i] = 1
			}
		}
		out[0] = c.back(out[0], in[0].Type)
	}, nil
}

// back gives a result the type of the input, for the operators that answer in it.
func (c *call) back(t tensor.Tensor, want tensor.Type) tensor.Tensor {
	var out tensor.Tensor
	c.cast(&out, &t, want)
	return out
}

func featureVectorizer(n *node) (kernel, error) {
	sizes := n.ints("inputdimensions")
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		rows, width := 0, 0
		if len(sizes) != len(in) {
			c.fail("has %d sizes for %d inputs", len(sizes), len(in))
		}
		for i, t := range in {
			if t == nil {
				c.fail("lacks an input")
			}
			r, w := c.matrix(t)
			if i > 0 && r != rows || sizes[i] != int64(w) {
				c.fail("has an input of shape %v where %d columns are wanted", t.Shape, sizes[i])
			}
			rows = r
			width += w
		}
		shape := c.ints(2)
		shape[0], shape[1] = rows, width
		v := c.f32s(&out[0], shape)
		to := 0
		for _, t := range in {
			x := c.numbers(t)
			_, w := c.matrix(t)
			for r := range rows {
				copy(v[r*width+to:], x[r*w:(r+1)*w])
			}
			to += w
		}
	}, nil
}

// cell picks the parameter of a column: one for all, or one each.
func cell[T any](c *call, list []T, column, width int) T {
	switch len(list) {
	case 1:
		return list[0]
	case width:
		return list[column]
	}
	c.fail("has %d parameters for %d columns", len(list), width)
	return list[0]
}

func imputer(n *node) (kernel, error) {
	floats, ints := n.floats("imputed_value_floats"), n.ints("imputed_value_int64s")
	gapFloat, gapInt := n.float("replaced_value_float", 0), n.int("replaced_value_int64", 0)
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		x := in[0]
		if len(x.Shape) == 0 {
			c.fail("needs at least one dimension")
		}
		width := x.Shape[len(x.Shape)-1]
		c.like(&out[0], x.Type, x.Shape)
		switch x.Type {
		case tensor.FP32:
			if len(floats) == 0 {
				c.fail("has no values for FP32")
			}
			for i, v := range x.F32 {
				if v == gapFloat || v != v && gapFloat != gapFloat {
					v = cell(c, floats, i%width, width)
				}
				out[0].F32[i] = v
			}
		case tensor.FP64:
			if len(floats) == 0 {
				c.fail("has no values for FP64")
			}
			for i, v := range x.F64 {
				if v == float64(gapFloat) || v != v && gapFloat != gapFloat {
					v = float64(cell(c, floats, i%width, width))
				}
				out[0].F64[i] = v
			}
		case tensor.Int64:
			if len(ints) == 0 {
				c.fail("has no values for INT64")
			}
			for i, v := range x.I64 {
				if v == gapInt {
					v = cell(c, ints, i%width, width)
				}
				out[0].I64[i] = v
			}
		default:
			c.fail("does not take %s", x.Type)
		}
	}, nil
}

// key is a value as the key of a map; every NaN is one key.
type key struct {
	s string
	n uint64
}

func keyOf(t *tensor.Tensor, i int) key {
	switch {
	case t.S != nil:
		return key{s: t.S[i]}
	case t.F32 != nil:
		return floatKey(float64(t.F32[i]))
	case t.F64 != nil:
		return floatKey(t.F64[i])
	}
	return key{n: uint64(t.I64[i])}
}

func floatKey(v float64) key {
	if v != v {
		v = math.NaN()
	}
	return key{n: math.Float64bits(v + 0)} // −0 is 0
}

// labelEncoder maps keys to values; what is no key becomes the default.
func labelEncoder(n *node) (kernel, error) {
	var keys, values, other tensor.Tensor
	other.Shape = nil
	take := func(prefix string, into *tensor.Tensor) {
		for _, a := range n.attrs {
			v, ok := value{}, true
			switch a.name {
			case prefix + "_tensor":
				if v, _ = n.attr(a.name); v.tensor != nil {
					*into = *v.tensor
				}
			case prefix + "_strings":
				v, _ = n.attr(a.name)
				into.Type, into.S = tensor.Bytes, v.texts
			case prefix + "_int64s":
				v, _ = n.attr(a.name)
				into.Type, into.I64 = tensor.Int64, v.ints
			case prefix + "_floats":
				v, _ = n.attr(a.name)
				into.Type, into.F32 = tensor.FP32, v.floats
			default:
				ok = false
			}
			if ok {
				return
			}
		}
	}
	text, number := n.text("default_string", "_Unused"), n.int("default_int64", -1)
	if classes := n.texts("classes_strings"); classes != nil { // version 1: words to positions and back
		words := tensor.Tensor{Type: tensor.Bytes, S: classes}
		places := tensor.Tensor{Type: tensor.Int64, I64: make([]int64, len(classes))}
		for i := range places.I64 {
			places.I64[i] = int64(i)
		}
		there := encoder(&words, &places, tensor.Tensor{Type: tensor.Int64, I64: []int64{number}})
		back := encoder(&places, &words, tensor.Tensor{Type: tensor.Bytes, S: []string{text}})
		return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
			if in[0].Type == tensor.Bytes {
				there(c, in, out)
			} else {
				back(c, in, out)
			}
		}, nil
	}
	take("keys", &keys)
	take("values", &values)
	if keys.Len() == 0 || keys.Len() != values.Len() || !encodable(keys.Type) || !encodable(values.Type) {
		n.wrong("it has %d keys and %d values", keys.Len(), values.Len())
		return nil, n.err
	}
	other.Type = values.Type
	switch {
	case values.S != nil:
		other.S = []string{text}
	case values.I64 != nil:
		other.I64 = []int64{number}
	case values.F32 != nil:
		other.F32 = []float32{n.float("default_float", 0)} // −0 by the book, which compares alike
	default:
		other.F64 = []float64{0}
	}
	if v, _ := n.attr("default_tensor"); v.tensor != nil {
		if other = *v.tensor; other.Type != values.Type || other.Len() != 1 {
			n.wrong("its default does not fit its values")
		}
	}
	return encoder(&keys, &values, other), n.err
}

func encodable(t tensor.Type) bool {
	return t == tensor.Bytes || t == tensor.FP32 || t == tensor.FP64 || t >= tensor.Int8 && t <= tensor.Int64
}

func encoder(keys, values *tensor.Tensor, other tensor.Tensor) kernel {
	at := make(map[key]int, keys.Len())
	for i := range keys.Len() {
		if v := keys.Float64(i); v != v && keys.Type == tensor.FP32 && keys.Shape == nil {
			continue // NaN is a key only where keys are a tensor
		}
		if _, ok := at[keyOf(keys, i)]; !ok {
			at[keyOf(keys, i)] = i
		}
	}
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		x := in[0]
		if x.Type != keys.Type {
			c.fail("has keys of %s, not %s", keys.Type, x.Type)
		}
		c.like(&out[0], values.Type, x.Shape)
		for i := range x.Len() {
			if k, ok := at[keyOf(x, i)]; ok {
				block(&out[0], i, values, k, 1)
			} else {
				block(&out[0], i, &other, 0, 1)
			}
		}
	}
}

func oneHotEncoder(n *node) (kernel, error) {
	words, numbers, zeros := n.texts("cats_strings"), n.ints("cats_int64s"), n.int("zeros", 1) != 0
	if (len(words) == 0) == (len(numbers) == 0) {
		n.wrong("it needs either words or numbers as categories")
	}
	word, number := make(map[string]int, len(words)), make(map[int64]int, len(numbers))
	for i, s := range words {
		word[s] = i
	}
	for i, v := range numbers {
		number[v] = i
	}
	width := max(len(words), len(numbers))
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		x := in[0]
		if (x.Type == tensor.Bytes) != (len(words) > 0) || x.Type == tensor.Bool {
			c.fail("does not take %s", x.Type)
		}
		if len(x.Shape) >= maxRank {
			c.fail("takes fewer dimensions")
		}
		v := c.f32s(&out[0], append(append(c.ints(len(x.Shape) + 1)[:0], x.Shape...), width))
		for i := range x.Len() {
			var k int
			var ok bool
			switch {
			case x.S != nil:
				k, ok = word[x.S[i]]
			case x.I64 != nil:
				k, ok = number[x.I64[i]]
			default:
				k, ok = number[toInt(x.Float64(i))]
			}
			if ok {
				v[i*width+k] = 1
			} else if !zeros {
				c.fail("does not know the category in value %d", i)
			}
		}
	}, nil
}

func scaler(n *node) (kernel, error) {
	offset, scale := n.floats("offset"), n.floats("scale")
	if len(offset) == 0 || len(scale) == 0 {
		n.wrong("it lacks offset or scale")
	}
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		x := c.numbers(in[0])
		if len(in[0].Shape) == 0 {
			c.fail("needs at least one dimension")
		}
		width := in[0].Shape[len(in[0].Shape)-1]
		v := c.f32s(&out[0], in[0].Shape)
		for i := range v {
			v[i] = (x[i] - cell(c, offset, i%width, width)) * cell(c, scale, i%width, width)
		}
	}, nil
}

// normalizer works in float32 as onnxruntime does: what is too large to be summed gives 0 or NaN.
func normalizer(n *node) (kernel, error) {
	norm := n.text("norm", "MAX")
	if norm != "MAX" && norm != "L1" && norm != "L2" {
		n.lacks("the norm %q", clip(norm))
	}
	return func(c *call, in []*tensor.Tensor, out []tensor.Tensor) {
		x := c.numbers(in[0])
		if len(in[0].Shape) == 0 {
			c.fail("needs at least one dimension")
		}
		v := c.f32s(&out[0], in[0].Shape)
		axis := min(1, len(in[0].Shape)-1)
		before, behind := around(in[0].Shape, axis)
		d := in[0].Shape[axis]
		for i := range before {
			for j := range behind {
				var sum float32
				if norm == "MAX" {
					sum = -math.MaxFloat32
				}
				for k := range d {
					f := x[(i*d+k)*behind+j]
					switch {
					case norm == "L1":
						sum += max(f, -f)
					case norm == "L2":
						sum += float32(f * f)
					case sum < f: // never NaN
						sum = f
					}
				}
				for k := range d {
					p := (i*d+k)*behind + j
					f := x[p]
					switch {
					case sum == 0:
						v[p] = f
					case norm == "L2":
						if v[p] = float32(math.Sqrt(float64(f * f / sum))); f < 0 {
							v[p] = -v[p]
						}
					default:
						v[p] = f / sum
					}
				}
			}
		}
	}, nil
}
