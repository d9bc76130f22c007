package prediction

import (
	"encoding/binary"
	"math"
	"testing"

	"keelson/internal/tensor"
)

// FuzzFiled reads a row of a file: it ends in an error or in tensors that are whole. The lists are the bytes of their values,
// little-endian.
func FuzzFiled(f *testing.F) {
	for _, r := range mixtures(10) {
		f.Add(string(tensor.AppendList(nil, r.Inputs)), []byte(nil), []byte(nil), []byte(nil))
	}
	four := []byte{0, 0, 128, 63, 0, 0, 0, 64, 0, 0, 64, 64, 0, 0, 128, 64}
	for _, text := range []string{
		`[{"name":"x","shape":[2],"datatype":"FP32"}]`,
		`[{"name":"x","shape":[1,1],"datatype":"FP64"},{"name":"y","shape":[1],"datatype":"FP64"}]`,
		`[{"name":"x","shape":[1],"datatype":"INT8"}]`,
		`[{"name":"x","shape":[1],"datatype":"UINT8"}]`,
		`[{"name":"x","shape":[0,-1],"datatype":"BYTES"}]`,
		`[{"name":"x","shape":[],"datatype":"INT64"},{"name":"x","shape":[2,1],"datatype":"FP16"},{"name":"z","shape":[0],"datatype":"BF16"}]`,
		`[{"name":"x","shape":[4294967296,4294967296],"datatype":"FP32"}]`,
	} {
		f.Add(text, four, append(four, four...), four)
	}
	f.Fuzz(func(t *testing.T, inputs string, f32, f64, i64 []byte) {
		w := filed{row: row{PredictionID: "p", Inputs: inputs, Outputs: inputs}}
		for ; len(f32) >= 4; f32 = f32[4:] {
			w.InputF32 = append(w.InputF32, math.Float32frombits(binary.LittleEndian.Uint32(f32)))
		}
		for ; len(f64) >= 8; f64 = f64[8:] {
			w.InputF64 = append(w.InputF64, math.Float64frombits(binary.LittleEndian.Uint64(f64)))
		}
		for ; len(i64) >= 8; i64 = i64[8:] {
			w.InputI64 = append(w.InputI64, int64(binary.LittleEndian.Uint64(i64)))
		}
		w.OutputF32, w.OutputF64, w.OutputI64 = w.InputF32, w.InputF64, w.InputI64
		r, err := w.record()
		if err != nil {
			return
		}
		if len(r.Inputs) != len(r.Outputs) {
			t.Fatalf("%d inputs and %d outputs of the same text", len(r.Inputs), len(r.Outputs))
		}
		for _, list := range [][]tensor.Tensor{r.Inputs, r.Outputs} {
			for i := range list {
				if err := list[i].Check(); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}
