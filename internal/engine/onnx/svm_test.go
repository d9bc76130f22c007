package onnx

import (
	"context"
	"math"
	"math/rand/v2"
	"runtime"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"keelson/internal/tensor"
)

// random is an attribute of n floats.
func random(r *rand.Rand, name string, n int) []byte {
	b := [][]byte{text(1, name), whole(20, 6)}
	for range n {
		b = append(b, protowire.AppendFixed32(protowire.AppendTag(nil, 7, protowire.Fixed32Type), math.Float32bits(float32(r.NormFloat64()))))
	}
	return message(5, b...)
}

func wholeAttribute(name string, v int64) []byte {
	return message(5, text(1, name), whole(3, v), whole(20, 2))
}

// values makes rows of normal numbers.
func values(r *rand.Rand, rows, width int) tensor.Tensor {
	x := make([]float32, rows*width)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return tensor.FP32s("x", []int{rows, width}, x)
}

func TestKernelsOfManyRowsAreHeldInBlocks(t *testing.T) {
	small(t)
	const count, width = 20_000, 9
	r := rand.New(rand.NewPCG(4, 8))
	m, err := load(context.Background(), file(operatorNode("SVMRegressor", text(7, "ai.onnx.ml"), wholeAttribute("n_supports", count),
		random(r, "support_vectors", count*width), random(r, "coefficients", count), random(r, "rho", 1))))
	if err != nil {
		t.Fatal(err)
	}
	step := (1 << 20) / count
	x := values(r, 8*step+1, width) // the last block has a row too many
	out, err := m.Predict(context.Background(), []tensor.Tensor{x})
	if err != nil {
		t.Fatalf("%d rows: %v", x.Shape[0], err)
	}
	for at := 0; at+2 <= x.Shape[0]; at += 17 {
		at = min(at, x.Shape[0]-2)
		two, err := m.Predict(context.Background(), []tensor.Tensor{tensor.FP32s("x", []int{2, width}, x.F32[at*width:(at+2)*width])})
		if err != nil {
			t.Fatal(err)
		}
		if two[0].F32[0] != out[0].F32[at] || two[0].F32[1] != out[0].F32[at+1] {
			t.Errorf("rows %d and %d answer %v alone, %v among others", at, at+1, two[0].F32, out[0].F32[at:at+2])
		}
	}
}

func TestProbabilitiesOfManyRowsShareTheirRoom(t *testing.T) {
	const classes, pairs, width, rows = 12, 66, 2, 10_000
	r := rand.New(rand.NewPCG(4, 8))
	each, labels := []int64{}, []int64{}
	for i := range classes {
		each, labels = append(each, 1), append(labels, int64(i))
	}
	m, err := load(context.Background(), file(message(1, text(1, "x"), text(2, "label"), text(2, "y"), text(4, "SVMClassifier"), text(7, "ai.onnx.ml"), list("vectors_per_class", each...), list("classlabels_ints", labels...),
		random(r, "support_vectors", classes*width), random(r, "coefficients", (classes-1)*classes), random(r, "rho", pairs), random(r, "prob_a", pairs), random(r, "prob_b", pairs))))
	if err != nil {
		t.Fatal(err)
	}
	x := values(r, rows, width)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	out, err := m.Predict(context.Background(), []tensor.Tensor{x})
	runtime.ReadMemStats(&after)
	if err != nil {
		t.Fatal(err)
	}
	// Its probabilities and kernels take a mebibyte together, in arenas that double; the room of all rows would take 12.
	if took := after.TotalAlloc - before.TotalAlloc; took > 8<<20 {
		t.Errorf("%d rows took %d bytes", rows, took)
	}
	for _, at := range []int{0, 1, rows / 2, rows - 2} {
		two, err := m.Predict(context.Background(), []tensor.Tensor{tensor.FP32s("x", []int{2, width}, x.F32[at*width:(at+2)*width])})
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range two[0].F32 {
			if have := out[0].F32[at*classes+i]; have != p {
				t.Errorf("row %d, class %d: %v alone, %v among others", at+i/classes, i%classes, p, have)
			}
		}
	}
}
