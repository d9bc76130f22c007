package prediction

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"keelson/internal/tensor"
)

// mixtures are records with tensors of all types, alone and beside each other, in sizes that end batches and pages early.
func mixtures(n int) []Record {
	inf, nan := math.Inf(1), math.NaN()
	list := make([]Record, n)
	for i := range list {
		r := record("a", i)
		r.ID, r.At = floorID(time.UnixMilli(1_700_000_000_000+int64(i))), time.UnixMicro(1_700_000_000_000_123).UTC()
		f := float64(i)
		in, out := [][]tensor.Tensor{
			{tensor.FP32s("x", []int{1, 3}, []float32{float32(i), float32(nan), float32(inf)})},
			{tensor.FP64s("x", []int{1, 3}, []float64{f / 3, nan, -inf}), tensor.FP32s("y", []int{2}, []float32{1, float32(f)}), tensor.FP64s("z", []int{1}, []float64{f})},
			{tensor.Int64s("age", []int{2, 1}, []int64{int64(i), math.MinInt64}), {Name: "small", Type: tensor.Int8, Shape: []int{1}, I64: []int64{-7}}},
			{tensor.Strings("ward", []int{1}, []string{fmt.Sprint(`"`, i)}), tensor.FP64s("x", []int{1}, []float64{f}), tensor.Bools("new", []int{2}, []bool{true, i%2 == 0})},
			{{Name: "count", Type: tensor.Uint64, Shape: []int{1}, U64: []uint64{math.MaxUint64 - uint64(i)}}},
			{{Name: "half", Type: tensor.FP16, Shape: []int{2}, F32: []float32{0.5, float32(i % 64)}}, {Name: "brain", Type: tensor.BF16, Shape: []int{1}, F32: []float32{2}}},
			{tensor.FP32s("none", []int{0, 3}, []float32{}), tensor.FP64s("one", []int{}, []float64{f})},
			nil,
			{tensor.FP64s("many", []int{700, 2}, bytesToFloats(i, 1400))},
			{tensor.Strings("long", []int{1}, []string{strings.Repeat("long ", 10_000)})},
		}[i%10], []tensor.Tensor{tensor.Int64s("label", []int{1}, []int64{int64(i % 3)})}
		if i%4 == 1 {
			out = nil
		}
		r.Inputs, r.Outputs = in, out
		list[i] = r
	}
	return list
}

func bytesToFloats(seed, n int) []float64 {
	v := make([]float64, n)
	for i := range v {
		v[i] = float64(seed*i) / 7
	}
	return v
}

// made writes a file of records.
func made(t testing.TB, list []Record) parquetFile {
	t.Helper()
	var out parquetFile
	if err := writeParquet(len(list), func(i int, l *line) error { return l.split(payloadOf(&list[i])) }, func() {}, func(p parquetFile) error {
		out = p
		out.bytes = bytes.Clone(p.bytes)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestAFileGivesBackEveryTensorAsItWas(t *testing.T) {
	list := mixtures(chunkRecords + 345)
	for round := range 2 { // the second one in the buffers of the first
		f := made(t, list)
		if len(f.chunks) != 2 || f.chunks[0].Records != chunkRecords || f.chunks[1].Records != 345 || f.chunks[1].Last != list[len(list)-1].ID {
			t.Fatalf("round %d: row groups %+v", round, f.chunks)
		}
		if want := fmt.Sprintf("sha256:%x", sha256.Sum256(f.bytes)); f.digest != want {
			t.Errorf("round %d: the digest is %s, that of the bytes %s", round, f.digest, want)
		}
		at := 0
		for i := range f.chunks {
			rows, err := readChunk[filed](bytes.NewReader(f.bytes), int64(len(f.bytes)), i)
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range rows {
				r, err := w.record()
				if err != nil {
					t.Fatal(err)
				}
				same(t, r, list[at])
				if len(r.Inputs) != len(list[at].Inputs) || len(r.Outputs) != len(list[at].Outputs) {
					t.Errorf("record %d has %d inputs and %d outputs", at, len(r.Inputs), len(r.Outputs))
				}
				if hasData := strings.Contains(w.Inputs, `"x","shape":[1,3],"datatype":"FP32","data"`); hasData {
					t.Errorf("numbers stand in the text: %s", w.Inputs)
				}
				at++
			}
		}
		if at != len(list) {
			t.Fatalf("%d records, want %d", at, len(list))
		}
	}
}

func TestFilesOfTheFirstVersionStayReadable(t *testing.T) {
	var list []Record
	for _, r := range mixtures(40) {
		if len(r.Inputs) > 0 && r.Inputs[0].Type == tensor.FP16 { // had no text of its own
			continue
		}
		list = append(list, r)
	}
	rows := make([]row, len(list))
	for i := range list {
		rows[i], _ = toRow(&list[i], nil)
	}
	var b bytes.Buffer
	w := parquet.NewGenericWriter[row](&b, parquet.Compression(&fast), parquet.KeyValueMetadata("keelson.format", "prediction/1"))
	if _, err := w.Write(rows); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := readChunk[filed](bytes.NewReader(b.Bytes()), int64(b.Len()), 0)
	if err != nil || len(got) != len(list) {
		t.Fatalf("%d rows, %v", len(got), err)
	}
	for i := range got {
		r, err := got[i].record()
		if err != nil {
			t.Fatal(err)
		}
		same(t, r, list[i])
		if len(r.Inputs) != len(list[i].Inputs) {
			t.Errorf("record %d has %d inputs", i, len(r.Inputs))
		}
	}
}

func TestATensorWithFewerValuesThanItsShapeIsAnError(t *testing.T) {
	for name, w := range map[string]filed{
		"no values":         {row: row{Inputs: `[{"name":"x","shape":[2],"datatype":"FP32"}]`, Outputs: "[]"}},
		"too few":           {row: row{Inputs: `[{"name":"x","shape":[2,2],"datatype":"FP64"}]`, Outputs: "[]"}, InputF64: []float64{1, 2, 3}},
		"of another type":   {row: row{Inputs: "[]", Outputs: `[{"name":"x","shape":[1],"datatype":"INT64"}]`}, OutputF64: []float64{1}},
		"a text without":    {row: row{Inputs: `[{"name":"x","shape":[1],"datatype":"BYTES"}]`, Outputs: "[]"}},
		"a shape too large": {row: row{Inputs: `[{"name":"x","shape":[2147483647,2147483647],"datatype":"FP32"}]`, Outputs: "[]"}, InputF32: []float32{1}},
	} {
		if r, err := w.record(); err == nil {
			t.Errorf("%s: got %+v", name, r.Inputs)
		}
	}
}

func TestWideTensorsDoNotWaitForAFullBatch(t *testing.T) {
	const wide = 50_000
	embedding := tensor.FP32s("embedding", []int{1, wide}, make([]float32, wide))
	small := tensor.Int64s("x", []int{1}, []int64{1})
	for name, c := range map[string]struct {
		in, out tensor.Tensor
		column  int
	}{
		"inputs":  {embedding, small, columnInputF32},
		"outputs": {small, embedding, columnOutputF32},
	} {
		t.Run(name, func(t *testing.T) {
			w := parquetWriters.New().(*parquetWriter)
			w.w.Reset(&w.out)
			r := record("a", 1)
			r.ID, r.At = floorID(time.UnixMilli(1_700_000_000_000)), time.UnixMilli(1_700_000_000_000)
			r.Inputs, r.Outputs = []tensor.Tensor{c.in}, []tensor.Tensor{c.out}
			payload := payloadOf(&r)
			if _, err := w.write(20, func(_ int, l *line) error { return l.split(payload) }, func() {}); err != nil {
				t.Fatal(err)
			}
			if n := cap(w.batch[c.column]); n > 2*wide {
				t.Errorf("%d values were held at once, of records that have %d", n, wide)
			}
			w.batch[c.column] = make([]parquet.Value, 0, keptValues+1)
			if w.shrink(); cap(w.batch[c.column]) > keptValues || cap(w.batch[columnID]) == 0 {
				t.Errorf("%d values and %d identifiers are kept for the next file", cap(w.batch[c.column]), cap(w.batch[columnID]))
			}
		})
	}
}
