package onnx

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"keelson/internal/engine"
	"keelson/internal/problem"
	"keelson/internal/tensor"
)

// allowance is what a load may allocate beside 16 times its file: maps, the first call's slots, the error's text.
const allowance = 1 << 20

// attempt loads bytes and, when they are a model, calls it; it fails on a panic, on an error that is no refusal and on
// memory beyond the promise.
func attempt(t *testing.T, data []byte) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	m, err := Engine{}.Load(ctx, fstest.MapFS{"m.onnx": {Data: data}}, "m.onnx", engine.Limits{})
	runtime.ReadMemStats(&after)
	// The two trial runs have a limit of their own, 8 times the file or 1 MiB; arenas double, so twice that.
	if grown, limit := after.TotalAlloc-before.TotalAlloc, uint64(16*len(data)+allowance+2*2*max(1<<20, 8*len(data))); grown > limit {
		t.Errorf("loading %d bytes allocated %d, more than %d", len(data), grown, limit)
	}
	if err != nil {
		if k := problem.KindOf(err); k != problem.Invalid && k != problem.Unsupported && k != problem.TooLarge {
			t.Errorf("the load failed with %v, want a refusal", err)
		}
		return
	}
	defer m.Close()
	for _, rows := range []int{0, 1, 3} {
		var in []tensor.Tensor
		for _, spec := range m.Signature().Inputs {
			typ, _ := tensor.ParseType(spec.Datatype)
			x := tensor.Tensor{Name: spec.Name, Type: typ, Shape: append([]int{}, spec.Shape...)}
			for i, d := range x.Shape {
				if d < 0 {
					x.Shape[i] = rows
				}
			}
			n, err := tensor.Count(x.Shape, 1<<16)
			if err != nil {
				return
			}
			switch typ {
			case tensor.FP32:
				x.F32 = make([]float32, n)
			case tensor.FP64:
				x.F64 = make([]float64, n)
			case tensor.Bytes:
				x.S = make([]string, n)
			case tensor.Bool:
				x.B = make([]bool, n)
			case tensor.Uint8, tensor.Uint16, tensor.Uint32, tensor.Uint64:
				x.U64 = make([]uint64, n)
			default:
				x.I64 = make([]int64, n)
			}
			in = append(in, x)
		}
		out, err := m.Predict(ctx, in)
		if err != nil {
			if k := problem.KindOf(err); k != problem.Invalid && k != problem.TooLarge && ctx.Err() == nil {
				t.Errorf("a call failed with %v, want a refusal", err)
			}
			continue
		}
		for i := range out {
			if err := out[i].Check(); err != nil {
				t.Error(err)
			}
		}
	}
}

// small leaves a fuzzed model little memory, so that calls end soon.
func small(t testing.TB) {
	old := callBytes
	callBytes = 16 << 20
	t.Cleanup(func() { callBytes = old })
}

func FuzzLoad(f *testing.F) {
	small(f)
	for _, r := range read(f, "testdata/operators.json") {
		if b, err := base64.StdEncoding.DecodeString(r.Model); err == nil {
			f.Add(b)
		}
	}
	for _, name := range []string{"columns", "forest_multi", "svc_probability", "xgb_multi", "lgb_categories", "knn", "convolution", "mlp", "kmeans", "stacking"} {
		if b, err := os.ReadFile("testdata/models/" + name + ".onnx"); err == nil {
			f.Add(b)
		} else {
			f.Fatal(err)
		}
	}
	f.Add(named(f, "age", "x", "y"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			return
		}
		attempt(t, data)
	})
}

// message writes one field that holds others.
func message(number protowire.Number, parts ...[]byte) []byte {
	var b []byte
	for _, p := range parts {
		b = append(b, p...)
	}
	return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), b)
}

func text(number protowire.Number, s string) []byte { return message(number, []byte(s)) }

func whole(number protowire.Number, v int64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, number, protowire.VarintType), uint64(v))
}

// file wraps nodes and initializers into a model with the input x and the output y, both FP32 [-1, -1].
func file(parts ...[]byte) []byte {
	typ := message(2, message(1, whole(1, 1), message(2, message(1), message(1))))
	graph := append(append([][]byte{}, parts...), message(11, text(1, "x"), typ), message(12, text(1, "y"), typ))
	var b []byte
	b = append(b, whole(1, 8)...)
	b = append(b, message(7, graph...)...)
	b = append(b, message(8, whole(2, 18))...)
	return append(b, message(8, text(1, "ai.onnx.ml"), whole(2, 3))...)
}

func operatorNode(op string, parts ...[]byte) []byte {
	return message(1, append([][]byte{text(1, "x"), text(2, "y"), text(4, op)}, parts...)...)
}

func list(name string, v ...int64) []byte {
	var b [][]byte
	b = append(b, text(1, name), whole(20, 7))
	for _, n := range v {
		b = append(b, whole(8, n))
	}
	return message(5, b...)
}

func TestHostileFilesAreRefused(t *testing.T) {
	small(t)
	huge := message(5, text(8, "s"), whole(1, 2), whole(2, 7), message(9, binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, 1<<30), 1<<30)))
	constant := func(dims ...int64) []byte {
		parts := [][]byte{text(8, "s"), whole(2, 1)}
		for _, d := range dims {
			parts = append(parts, whole(1, d))
		}
		return message(5, parts...)
	}
	trees := func(ids, yes, no []int64, modes ...string) []byte {
		values := [][]byte{text(1, "nodes_values")}
		words := [][]byte{text(1, "nodes_modes")}
		zeros := make([]int64, len(ids))
		for i := range ids {
			values = append(values, protowire.AppendFixed32(protowire.AppendTag(nil, 7, protowire.Fixed32Type), 0))
			words = append(words, text(9, modes[i]))
		}
		return operatorNode("TreeEnsembleRegressor", text(7, "ai.onnx.ml"), list("nodes_treeids", zeros...), list("nodes_nodeids", ids...), list("nodes_featureids", zeros...),
			message(5, values...), message(5, words...), list("nodes_truenodeids", yes...), list("nodes_falsenodeids", no...))
	}
	cases := []struct {
		name, says string
		kind       problem.Kind
		data       []byte
	}{
		{"nothing", "no graph", problem.Invalid, nil},
		{"a length beyond the end", "cut off", problem.Invalid, []byte{0x08, 0x08, 0x3a, 0xff, 0xff, 0xff, 0xff, 0x0f}},
		{"an unknown operator", "Frobnicate", problem.Unsupported, file(operatorNode("Frobnicate"))},
		{"an unknown domain", "com.microsoft.Gelu", problem.Unsupported, file(operatorNode("Gelu", text(7, "com.microsoft")))},
		{"a value that nothing makes", "nothing before it makes", problem.Invalid, file(message(1, text(1, "z"), text(2, "y"), text(4, "Abs")))},
		{"a circle of nodes", "nothing before it makes", problem.Invalid, file(message(1, text(1, "b"), text(2, "a"), text(4, "Abs")), message(1, text(1, "a"), text(2, "b"), text(4, "Abs")), operatorNode("Abs"))},
		{"a value made twice", "made twice", problem.Invalid, file(operatorNode("Abs"), operatorNode("Neg"))},
		{"an output that nothing makes", "nothing makes the output", problem.Invalid, file()},
		{"too many inputs", "has 2 inputs", problem.Invalid, file(message(1, text(1, "x"), text(1, "x"), text(2, "y"), text(4, "Abs")))},
		{"a shape that lies", "holds 0 values", problem.Invalid, file(constant(1<<30), operatorNode("Abs"))},
		{"a shape that overflows", "has the shape", problem.Invalid, file(constant(1<<31-1, 1<<31-1, 1<<31-1), operatorNode("Abs"))},
		{"weights in another file", "file of its own", problem.Unsupported, file(message(5, text(8, "s"), whole(1, 1), whole(2, 1), whole(14, 1)), operatorNode("Abs"))},
		{"half precision", "float16", problem.Unsupported, file(message(5, text(8, "s"), whole(1, 1), whole(2, 10), message(9, []byte{0, 0})), operatorNode("Abs"))},
		{"a tree that leads back", "circles", problem.Invalid, file(trees([]int64{0, 1, 2}, []int64{1, 1, 0}, []int64{2, 2, 0}, "BRANCH_LEQ", "BRANCH_LEQ", "LEAF"))},
		{"a tree without a root", "circles", problem.Invalid, file(trees([]int64{0, 1}, []int64{1, 0}, []int64{0, 1}, "BRANCH_LEQ", "BRANCH_LEQ"))},
		{"a tree that leads nowhere", "leads nowhere", problem.Invalid, file(trees([]int64{0}, []int64{7}, []int64{8}, "BRANCH_LEQ"))},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := Engine{}.Load(context.Background(), fstest.MapFS{"m.onnx": {Data: c.data}}, "m.onnx", engine.Limits{})
			if problem.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %s that says %q", err, c.kind, c.says)
			}
			attempt(t, c.data)
		})
	}
	t.Run("a model that asks for a shape of 2^60 values is loaded and its calls are refused", func(t *testing.T) {
		data := file(huge, message(1, text(1, "s"), text(2, "big"), text(4, "ConstantOfShape")), message(1, text(1, "x"), text(1, "big"), text(2, "y"), text(4, "Add")))
		m, err := Engine{}.Load(context.Background(), fstest.MapFS{"m.onnx": {Data: data}}, "m.onnx", engine.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Predict(context.Background(), []tensor.Tensor{tensor.FP32s("x", []int{1, 1}, []float32{1})}); problem.KindOf(err) != problem.TooLarge {
			t.Errorf("got %v, want too-large", err)
		}
	})
	t.Run("bodies within bodies end", func(t *testing.T) {
		inner := operatorNode("Abs")
		for range 30 {
			typ := message(2, message(1, whole(1, 1), message(2, message(1), message(1))))
			body := message(6, inner, message(11, text(1, "x"), typ), message(12, text(1, "y"), typ))
			inner = operatorNode("Scan", message(5, text(1, "num_scan_inputs"), whole(3, 1), whole(20, 2)), message(5, text(1, "body"), body, whole(20, 5)))
		}
		_, err := load(context.Background(), file(inner))
		if problem.KindOf(err) != problem.Invalid || !strings.Contains(err.Error(), "too deep") {
			t.Errorf("got %v, want a refusal", err)
		}
	})
	t.Run("a long product ends with the call's time", func(t *testing.T) {
		const n = 1400
		weights := make([]byte, 4*n*n)
		var parts [][]byte
		parts = append(parts, message(5, text(8, "w"), whole(1, n), whole(1, n), whole(2, 1), message(9, weights)))
		last := "x"
		for i := range 40 {
			next := "y"
			if i < 39 {
				next = "v" + string(rune('a'+i))
			}
			parts = append(parts, message(1, text(1, last), text(1, "w"), text(2, next), text(4, "MatMul")))
			last = next
		}
		m, err := load(context.Background(), file(parts...))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
		defer cancel()
		start := time.Now()
		_, err = m.Predict(ctx, []tensor.Tensor{tensor.FP32s("x", []int{1000, n}, make([]float32, 1000*n))})
		if err == nil || ctx.Err() == nil || time.Since(start) > 5*time.Second {
			t.Errorf("it ended after %s with %v, want the end of its time", time.Since(start), err)
		}
	})
}

func TestBadRequestsNameWhatIsWrong(t *testing.T) {
	var m engine.Model
	for _, r := range read(t, "testdata/models.json") {
		if r.Name == "columns" {
			var err error
			if m, err = r.load(t); err != nil {
				t.Fatal(err)
			}
		}
	}
	age, income := tensor.FP32s("age", []int{1, 1}, []float32{1}), tensor.FP32s("income", []int{1, 1}, []float32{1})
	city, visits := tensor.Strings("city", []int{1, 1}, []string{"Bonn"}), tensor.Int64s("visits", []int{1, 1}, []int64{3})
	cases := []struct {
		name, says string
		in         []tensor.Tensor
	}{
		{"an input too few", "3 inputs; the model takes 4", []tensor.Tensor{age, income, city}},
		{"a wrong name", `"visits" is missing`, []tensor.Tensor{age, income, city, tensor.Int64s("visit", []int{1, 1}, []int64{3})}},
		{"a wrong shape", "has shape [1, 2]", []tensor.Tensor{tensor.FP32s("age", []int{1, 2}, []float32{1, 2}), income, city, visits}},
		{"words for numbers", "is BYTES", []tensor.Tensor{tensor.Strings("age", []int{1, 1}, []string{"x"}), income, city, visits}},
		{"numbers for words", "is FP32", []tensor.Tensor{age, income, tensor.FP32s("city", []int{1, 1}, []float32{1}), visits}},
		{"a fraction for a whole number", "whole numbers", []tensor.Tensor{age, income, city, tensor.FP64s("visits", []int{1, 1}, []float64{1.5})}},
		{"columns of different length", "cannot", []tensor.Tensor{tensor.FP32s("age", []int{2, 1}, []float32{1, 2}), income, city, visits}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := m.Predict(context.Background(), c.in)
			if problem.KindOf(err) != problem.Invalid || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want an invalid problem that says %q", err, c.says)
			}
		})
	}
	want, err := m.Predict(context.Background(), []tensor.Tensor{age, income, city, visits})
	if err != nil {
		t.Fatal(err)
	}
	got, err := m.Predict(context.Background(), []tensor.Tensor{tensor.FP64s("visits", []int{1}, []float64{3}), city, tensor.Int64s("income", []int{1}, []int64{1}), tensor.FP64s("age", []int{1}, []float64{1})})
	if err != nil || !got[1].Equal(&want[1]) {
		t.Errorf("other types, shapes [n] and another order: %v %v, want %v", got, err, want)
	}
}

func BenchmarkOneRow(b *testing.B) {
	for _, r := range read(b, "testdata/models.json") {
		if r.Name != "dense" && r.Name != "logistic" && r.Name != "forest_multi" && r.Name != "columns" {
			continue
		}
		b.Run(r.Name, func(b *testing.B) {
			m, err := r.load(b)
			if err != nil {
				b.Fatal(err)
			}
			in := r.Calls[len(r.Calls)-2].Inputs
			b.ReportAllocs()
			for b.Loop() {
				if _, err := m.Predict(context.Background(), in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
