package tensor

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"

	"keelson/internal/problem"
)

func read(t *testing.T, text string) (Tensor, error) {
	t.Helper()
	s := NewScanner([]byte(text))
	var v Tensor
	err := ReadTensor(s, &v, DefaultLimits, nil)
	if err == nil {
		err = s.End()
	}
	return v, err
}

func TestReadingJSON(t *testing.T) {
	nan := float32(math.NaN())
	inf := math.Inf(1)
	cases := []struct {
		name, text string
		want       Tensor
	}{
		{"flat data fill a matrix", `{"name":"x","shape":[2,2],"datatype":"FP32","data":[1,2.5,-3e2,4]}`, FP32s("x", []int{2, 2}, []float32{1, 2.5, -300, 4})},
		{"nested data fill a matrix", `{"name":"x","shape":[2,2],"datatype":"FP32","data":[[1,2.5],[-3e2,4]]}`, FP32s("x", []int{2, 2}, []float32{1, 2.5, -300, 4})},
		{"three levels", `{"name":"x","shape":[1,2,1],"datatype":"INT8","data":[[[ -128 ], [127]] ]}`, Tensor{Name: "x", Type: Int8, Shape: []int{1, 2, 1}, I64: []int64{-128, 127}}},
		{"members come in any order", `{"data":[1,null],"datatype":"FP64","parameters":{"a":[{}]},"shape":[2],"name":"x"}`, FP64s("x", []int{2}, []float64{1, math.NaN()})},
		{"missing values are null or NaN", `{"name":"x","shape":[3],"datatype":"FP32","data":[null,NaN,"NaN"]}`, FP32s("x", []int{3}, []float32{nan, nan, nan})},
		{"infinities", `{"name":"x","shape":[4],"datatype":"FP64","data":[Infinity,-Infinity,"Infinity","-Infinity"]}`, FP64s("x", []int{4}, []float64{inf, -inf, inf, -inf})},
		{"large unsigned numbers stay exact", `{"name":"x","shape":[1],"datatype":"UINT64","data":[18446744073709551615]}`, Tensor{Name: "x", Type: Uint64, Shape: []int{1}, U64: []uint64{math.MaxUint64}}},
		{"truth values and digits are BOOL", `{"name":"x","shape":[4],"datatype":"BOOL","data":[true,false,1,0]}`, Bools("x", []int{4}, []bool{true, false, true, false})},
		{"text with escapes", `{"name":"x","shape":[3],"datatype":"BYTES","data":["a\n\"","\u00e9\ud83d\ude00","\ud800"]}`, Strings("x", []int{3}, []string{"a\n\"", "é😀", "\uFFFD"})},
		{"no rows", `{"name":"x","shape":[0,3],"datatype":"FP32","data":[]}`, FP32s("x", []int{0, 3}, nil)},
		{"a scalar", `{"name":"x","shape":[],"datatype":"FP64","data":7}`, FP64s("x", nil, []float64{7})},
		{"a doubled round trip rounds like a double", `{"name":"x","shape":[1],"datatype":"FP32","data":[0.10000000149011612]}`, FP32s("x", []int{1}, []float32{0.1})},
		{"no data leave the tensor empty", `{"name":"x","shape":[2],"datatype":"FP32","parameters":{"binary_data_size":8}}`, Tensor{Name: "x", Type: FP32, Shape: []int{2}}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := read(t, c.text)
			if err != nil {
				t.Fatal(err)
			}
			if !got.Equal(&c.want) {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestRefusedJSON(t *testing.T) {
	cases := []struct{ name, text, says string }{
		{"too few values", `{"name":"x","shape":[3],"datatype":"FP32","data":[1,2]}`, "3 values, but its data has 2"},
		{"too many values", `{"name":"x","shape":[1],"datatype":"FP32","data":[1,2]}`, "has more"},
		{"ragged rows", `{"name":"x","shape":[2,2],"datatype":"FP32","data":[[1,2,3],[4]]}`, "nesting"},
		{"a row missing", `{"name":"x","shape":[2,2],"datatype":"FP32","data":[[1,2]]}`, "4 values, but its data has 2"},
		{"nested beyond the shape", `{"name":"x","shape":[1],"datatype":"FP32","data":[[1]]}`, "nested deeper"},
		{"half flat", `{"name":"x","shape":[1,2,2],"datatype":"FP32","data":[[1,2,3,4]]}`, "nesting"},
		{"a word among numbers", `{"name":"x","shape":[1],"datatype":"FP32","data":["one"]}`, "Value 0 of tensor \"x\""},
		{"an object among numbers", `{"name":"x","shape":[1],"datatype":"FP32","data":[{}]}`, "Value 0"},
		{"beyond FP32", `{"name":"x","shape":[1],"datatype":"FP32","data":[1e39]}`, "cannot hold"},
		{"beyond FP64", `{"name":"x","shape":[1],"datatype":"FP64","data":[1e999]}`, "does not fit"},
		{"beyond INT8", `{"name":"x","shape":[2],"datatype":"INT8","data":[1,128]}`, "Value 1"},
		{"a fraction in INT64", `{"name":"x","shape":[1],"datatype":"INT64","data":[1.5]}`, "whole number"},
		{"a negative UINT8", `{"name":"x","shape":[1],"datatype":"UINT8","data":[-1]}`, "whole number"},
		{"a number in BYTES", `{"name":"x","shape":[1],"datatype":"BYTES","data":[1]}`, "BYTES takes strings"},
		{"two in BOOL", `{"name":"x","shape":[1],"datatype":"BOOL","data":[2]}`, "BOOL takes"},
		{"an unknown datatype", `{"name":"x","shape":[1],"datatype":"FP99","data":[1]}`, "FP99"},
		{"FP16 as text", `{"name":"x","shape":[1],"datatype":"FP16","data":[1]}`, "binary data only"},
		{"no name", `{"shape":[1],"datatype":"FP32","data":[1]}`, "no name"},
		{"no datatype", `{"name":"x","shape":[1],"data":[1]}`, "no datatype"},
		{"no shape", `{"name":"x","datatype":"FP32","data":[1]}`, "no shape"},
		{"a negative dimension", `{"name":"x","shape":[-1],"datatype":"FP32","data":[1]}`, "dimension -1"},
		{"a shape of 2^60", `{"name":"x","shape":[1073741824,1073741824],"datatype":"FP32","data":[1]}`, "more than"},
		{"leading zeros", `{"name":"x","shape":[1],"datatype":"FP32","data":[01]}`, "begins with 0"},
		{"data twice", `{"name":"x","shape":[1],"datatype":"FP32","data":[1],"data":[1]}`, "twice"},
		{"cut off", `{"name":"x","shape":[1],"datatype":"FP32","data":[1`, "malformed"},
		{"deep nesting", `{"name":"x","parameters":` + strings.Repeat("[", 5000), "too deeply"},
		{"a trailing word", `{"name":"x","shape":[1],"datatype":"FP32","data":[1]} x`, "follows"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := read(t, c.text)
			if err == nil {
				t.Fatal("accepted, want a refusal")
			}
			if k := problem.KindOf(err); k != problem.Invalid && k != problem.TooLarge {
				t.Errorf("kind %s, want invalid", k)
			}
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("says %q, want it to contain %q", err, c.says)
			}
		})
	}
}

func samples() []Tensor {
	return []Tensor{
		FP32s("a", []int{2, 2}, []float32{1, float32(math.NaN()), float32(math.Inf(-1)), 1e-40}),
		FP64s("b", []int{3}, []float64{math.MaxFloat64, 5e-324, 0.1}),
		{Name: "c", Type: Int8, Shape: []int{2}, I64: []int64{-128, 127}},
		{Name: "d", Type: Int32, Shape: []int{1}, I64: []int64{math.MinInt32}},
		Int64s("e", []int{1}, []int64{math.MinInt64}),
		{Name: "f", Type: Uint16, Shape: []int{1}, U64: []uint64{65535}},
		{Name: "g", Type: Uint64, Shape: []int{1}, U64: []uint64{math.MaxUint64}},
		Bools("h", []int{2}, []bool{true, false}),
		Strings("i", []int{2, 1}, []string{"", "Grüße\x00\"\\"}),
		FP32s("none", []int{0, 4}, []float32{}),
		FP64s("scalar", nil, []float64{2}),
	}
}

func TestEveryTypeSurvivesEachCodec(t *testing.T) {
	for _, v := range samples() {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if !json.Valid(text) {
			t.Errorf("%s is not strict JSON", text)
		}
		var back Tensor
		if err := json.Unmarshal(text, &back); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if v.Name != "scalar" && !back.Equal(&v) {
			t.Errorf("JSON: got %+v, want %+v", back, v)
		}
		raw := v.AppendRaw(nil)
		if len(raw) != v.RawSize() {
			t.Errorf("RawSize of %s is %d, wrote %d", v.Name, v.RawSize(), len(raw))
		}
		back = Tensor{Name: v.Name, Type: v.Type, Shape: v.Shape}
		if err := back.SetRaw(raw, DefaultLimits); err != nil {
			t.Fatal(err)
		}
		if !back.Equal(&v) {
			t.Errorf("raw: got %+v, want %+v", back, v)
		}
	}
	frame := AppendFrame([]byte("x"), samples())
	list, rest, err := ReadFrame(append(frame[1:], "tail"...))
	if err != nil || string(rest) != "tail" || len(list) != len(samples()) {
		t.Fatalf("frame: %d tensors, rest %q, %v", len(list), rest, err)
	}
	for i, v := range samples() {
		if !list[i].Equal(&v) {
			t.Errorf("frame: got %+v, want %+v", list[i], v)
		}
	}
}

func TestHalfPrecision(t *testing.T) {
	for h := range 1 << 16 {
		f := fromHalf(uint16(h))
		back := toHalf(f)
		if f != f {
			if back&0x7C00 != 0x7C00 || back&0x3FF == 0 {
				t.Fatalf("NaN %04x became %04x", h, back)
			}
		} else if back != uint16(h) {
			t.Fatalf("%04x is %g, which became %04x", h, f, back)
		}
	}
	for _, c := range []struct {
		f    float32
		want uint16
	}{{65519, 0x7BFF}, {65520, 0x7C00}, {1e30, 0x7C00}, {1.00048828125, 0x3C00}, {1.0009765625, 0x3C01}, {2.9e-8, 0}, {3e-8, 1}, {-2, 0xC000}} {
		if got := toHalf(c.f); got != c.want {
			t.Errorf("toHalf(%g) = %04x, want %04x", c.f, got, c.want)
		}
	}
}

func TestRawRefusals(t *testing.T) {
	cases := []struct {
		name string
		t    Tensor
		raw  string
	}{
		{"one byte short", Tensor{Name: "x", Type: FP32, Shape: []int{1}}, "abc"},
		{"one byte long", Tensor{Name: "x", Type: Int16, Shape: []int{1}}, "abc"},
		{"a text length beyond the end", Tensor{Name: "x", Type: Bytes, Shape: []int{1}}, "\xff\xff\xff\xffab"},
		{"a shape of millions of texts in no bytes", Tensor{Name: "x", Type: Bytes, Shape: []int{1 << 23}}, "\x00\x00\x00\x00"},
		{"bytes after the last text", Tensor{Name: "x", Type: Bytes, Shape: []int{1}}, "\x00\x00\x00\x00z"},
		{"no datatype", Tensor{Name: "x", Shape: []int{1}}, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if err := c.t.SetRaw([]byte(c.raw), DefaultLimits); problem.KindOf(err) != problem.Invalid {
				t.Errorf("got %v, want an invalid problem", err)
			}
		})
	}
}

func TestShortDecimalsAreExact(t *testing.T) {
	for _, text := range []string{"0", "-0.0", "1", "0.1", "123456789.25", "9007199254740992", "9007199254740993", "1e22", "1e-22", "1.7976931348623157e308", "5e-324", "2.2250738585072011e-308", "0.30000000000000004", "-12.75E+2"} {
		var want float64
		if err := json.Unmarshal([]byte(text), &want); err != nil {
			t.Fatal(err)
		}
		got, err := NewScanner([]byte(text)).Float()
		if err != nil || got != want || math.Signbit(got) != math.Signbit(want) {
			t.Errorf("%s: got %v (%v), want %v", text, got, err, want)
		}
	}
}

func FuzzReadTensor(f *testing.F) {
	for _, v := range samples() {
		f.Add(v.AppendJSON(nil))
	}
	f.Add([]byte(`{"name":"x","shape":[2,2],"datatype":"FP32","data":[[1,2.5],[-3e2,NaN]]}`))
	f.Add([]byte(`{"data":[1],"name":"\ud83d\ude00","shape":[1],"datatype":"UINT8"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var v Tensor
		s := NewScanner(b)
		if ReadTensor(s, &v, DefaultLimits, nil) != nil || s.End() != nil || v.Check() != nil {
			return
		}
		text := v.AppendJSON(nil)
		var back Tensor
		if err := back.UnmarshalJSON(text); err != nil {
			t.Fatalf("%q was read and written as %q, which is refused: %v", b, text, err)
		}
		if !back.Equal(&v) {
			t.Fatalf("%q became %q", b, text)
		}
	})
}

// FuzzSkip holds the scanner against encoding/json: what is valid JSON is passed, and what is passed is valid JSON
// once the number words are put aside.
func FuzzSkip(f *testing.F) {
	for _, seed := range []string{`{"a":[1,2,{"b":null}],"c":"\u00e9"}`, `[]`, `-0.5e-7`, `"\ud800"`, `[1,]`, `{"a"}`, `nul`, `[[[[[[`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s := NewScanner(b)
		err := s.Skip()
		if err == nil {
			err = s.End()
		}
		if err == nil && !json.Valid(b) && !strings.Contains(string(b), "NaN") && !strings.Contains(string(b), "Infinity") {
			t.Fatalf("passed %q, which is not JSON", b)
		}
		if err != nil && json.Valid(b) && !strings.Contains(err.Error(), "deeply") && !strings.Contains(err.Error(), "UTF-8") {
			t.Fatalf("refused %q: %v", b, err)
		}
	})
}

func TestAListReadOverAnotherIsTheListItself(t *testing.T) {
	lists := [][]Tensor{samples(), {FP32s("a", []int{1, 3}, []float32{1, 2, 3})}, {FP32s("a", []int{1, 2}, []float32{4, 5})}, {FP64s("a", []int{2, 1}, []float64{6, 7})},
		{FP32s("b", []int{2, 4}, make([]float32, 8)), Strings("a", []int{1}, []string{"x"})}, {}, {FP64s("b", []int{1}, []float64{8}), FP32s("a", []int{0, 3}, []float32{})}, samples()}
	var over []Tensor
	for n, want := range slices.Concat(lists, lists) {
		var err error
		if over, _, err = ReadFrameOver(over, AppendFrame(nil, want)); err != nil || len(over) != len(want) {
			t.Fatalf("list %d: %d tensors, %v", n, len(over), err)
		}
		for i := range want {
			if !over[i].Equal(&want[i]) {
				t.Errorf("list %d, tensor %d: got %+v, want %+v", n, i, over[i], want[i])
			}
		}
	}
}

func FuzzReadFrame(f *testing.F) {
	f.Add(AppendFrame(nil, samples()))
	f.Add([]byte{1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, b []byte) {
		list, _, err := ReadFrame(b)
		if err != nil {
			return
		}
		again, rest, err := ReadFrame(AppendFrame(nil, list))
		if err != nil || len(rest) != 0 || len(again) != len(list) {
			t.Fatalf("a list that was read cannot be read again: %v", err)
		}
		over, _, err := ReadFrame(AppendFrame(nil, samples()))
		if err != nil {
			t.Fatal(err)
		}
		if over, _, err = ReadFrameOver(over, b); err != nil || len(over) != len(list) {
			t.Fatalf("read over another list: %d tensors, %v", len(over), err)
		}
		for i := range list {
			if !again[i].Equal(&list[i]) || !over[i].Equal(&list[i]) {
				t.Fatalf("tensor %d changed", i)
			}
		}
	})
}

func BenchmarkReadOneRow(b *testing.B) {
	row := FP32s("input", []int{1, 30}, make([]float32, 30))
	for i := range row.F32 {
		row.F32[i] = float32(i) * 1.37
	}
	text := row.AppendJSON(nil)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		var t Tensor
		if err := ReadTensor(NewScanner(text), &t, DefaultLimits, nil); err != nil {
			b.Fatal(err)
		}
	}
}
