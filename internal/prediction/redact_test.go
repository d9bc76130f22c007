package prediction

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"hash/crc32"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"keelson/internal/blob/blobtest"
	"keelson/internal/db/dbtest"
	"keelson/internal/engine"
	"keelson/internal/tensor"
)

func TestRedactedColumnsAreTakenOutWhereverTheyStand(t *testing.T) {
	matrix := engine.Signature{Inputs: []engine.Spec{{Name: "input", Datatype: "FP32", Shape: []int{-1, 3}, Columns: []string{"age", "zip", "dose"}}}}
	unnamed := engine.Signature{Inputs: []engine.Spec{{Name: "input", Datatype: "FP32", Shape: []int{-1, 3}}}}
	apart := engine.Signature{Inputs: []engine.Spec{{Name: "age", Datatype: "INT64", Shape: []int{-1}}, {Name: "who", Datatype: "BYTES", Shape: []int{-1, 1}}}}
	echo := engine.Signature{Inputs: []engine.Spec{{Name: "a", Datatype: "FP64", Shape: []int{-1}}}, Outputs: []engine.Spec{{Name: "who", Datatype: "BYTES", Shape: []int{-1}}}}
	deep := engine.Signature{Inputs: []engine.Spec{{Name: "input", Datatype: "FP32", Shape: []int{-1, 1, 8}}}}
	partly := engine.Signature{Inputs: []engine.Spec{{Name: "input", Datatype: "FP32", Shape: []int{-1, 3}, Columns: []string{"age"}}}}
	answer := engine.Signature{Inputs: []engine.Spec{{Name: "a", Datatype: "FP64", Shape: []int{-1}}}, Outputs: []engine.Spec{{Name: "out", Datatype: "FP64", Shape: []int{-1, 2}, Columns: []string{"score", "zip"}}}}
	two := tensor.FP32s("input", []int{2, 3}, []float32{41, 1010, 3, 52, 2020, 4})
	for _, c := range []struct {
		name    string
		columns []string
		sig     engine.Signature
		in, out []tensor.Tensor
		left    string // names of tensors that stay
		columnz []string
		missing int // of all values that stay
	}{
		{"a column of a matrix", []string{"zip"}, matrix, []tensor.Tensor{two}, nil, "input", []string{"zip"}, 2},
		{"two columns of a matrix under another name", []string{"zip", "age"}, matrix, []tensor.Tensor{tensor.FP32s("x", []int{1, 3}, []float32{1, 2, 3})}, nil, "x", []string{"age", "zip"}, 2},
		{"a matrix given column by column", []string{"zip"}, matrix, []tensor.Tensor{tensor.FP32s("age", []int{1}, []float32{1}), tensor.FP32s("zip", []int{1}, []float32{2}), tensor.FP32s("dose", []int{1, 1}, []float32{2})}, nil, "age dose", []string{"zip"}, 0},
		{"a matrix that names no column", []string{"zip"}, unnamed, []tensor.Tensor{two}, nil, "", []string{"input"}, 0},
		{"a matrix that names no column, under another name", []string{"zip"}, unnamed, []tensor.Tensor{tensor.FP32s("x", []int{1, 3}, []float32{1, 2, 3})}, nil, "", []string{"x"}, 0},
		{"a tensor of its own", []string{"who"}, apart, []tensor.Tensor{tensor.Int64s("age", []int{1}, []int64{4}), tensor.Strings("who", []int{1, 1}, []string{"Ada"})}, nil, "age", []string{"who"}, 0},
		{"an answer that repeats it", []string{"who"}, echo, []tensor.Tensor{tensor.FP64s("a", []int{1}, []float64{1})}, []tensor.Tensor{tensor.Strings("who", []int{1}, []string{"Ada"})}, "a", []string{"who"}, 0},
		{"a row without its first dimension", []string{"zip"}, matrix, []tensor.Tensor{tensor.FP32s("input", []int{3}, []float32{41, 1010, 3})}, nil, "", []string{"input"}, 0},
		{"a matrix that is too wide", []string{"zip"}, matrix, []tensor.Tensor{tensor.FP32s("input", []int{1, 6}, []float32{41, 1010, 3, 52, 2020, 4})}, nil, "", []string{"input"}, 0},
		{"a single column that stays", []string{"zip"}, matrix, []tensor.Tensor{tensor.FP32s("age", []int{2}, []float32{41, 52})}, nil, "age", nil, 0},
		{"an input that nobody knows", []string{"who"}, apart, []tensor.Tensor{tensor.Int64s("age", []int{1}, []int64{4}), tensor.Strings("person", []int{1}, []string{"Ada"})}, nil, "age", []string{"person"}, 0},
		{"a matrix of three dimensions that names no column", []string{"zip"}, deep, []tensor.Tensor{tensor.FP32s("input", []int{1, 1, 8}, make([]float32, 8))}, nil, "", []string{"input"}, 0},
		{"a matrix that names some columns", []string{"zip"}, partly, []tensor.Tensor{two}, nil, "", []string{"input"}, 0},
		{"an answer of another form", []string{"zip"}, answer, []tensor.Tensor{tensor.FP64s("a", []int{1}, []float64{1})}, []tensor.Tensor{tensor.FP64s("out", []int{2}, []float64{1, 2})}, "a", []string{"out"}, 0},
		{"a column that the model does not take", []string{"name"}, matrix, []tensor.Tensor{two}, nil, "input", nil, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := Record{Inputs: c.in, Outputs: c.out}
			NewRedaction(c.columns, c.sig, []byte("k")).Apply(&r)
			var names []string
			missing := 0
			for _, x := range append(slices.Clone(r.Inputs), r.Outputs...) {
				names = append(names, x.Name)
				for i := range x.Len() {
					if x.Type != tensor.Bytes && math.IsNaN(x.Float64(i)) {
						missing++
					}
				}
			}
			if strings.Join(names, " ") != c.left || missing != c.missing || !slices.Equal(r.Left().Columns, c.columnz) || (r.Redacted == nil) != (c.columnz == nil) {
				t.Errorf("left %v with %d missing values, told %s", names, missing, r.Redacted)
			}
		})
	}
	if two.F32[1] != 1010 {
		t.Error("the caller's own tensor was changed")
	}
}

// FuzzRedaction hands rows of age, ssn and dose in under every form: the ssn is never in the frame.
func FuzzRedaction(f *testing.F) {
	for spec := range byte(5) {
		for name := range byte(4) {
			f.Add(spec, name, byte(3), byte(1), byte(1), byte(1), spec%2 == 0)
			f.Add(spec, name, byte(1), byte(3), byte(1), byte(2), spec%2 == 1)
			f.Add(spec, name, byte(2), byte(3), byte(1), byte(0), false)
			f.Add(spec, name, byte(1), byte(2), byte(3), byte(1), true)
		}
	}
	names := []string{"age", "ssn", "dose"}
	f.Fuzz(func(t *testing.T, spec, name, a, b, c, dims byte, text bool) {
		in := engine.Spec{Name: "input", Datatype: "FP64", Shape: []int{-1, 3}, Columns: names}
		switch spec % 5 {
		case 1:
			in.Shape = []int{-1, 1, 3}
		case 2:
			in.Shape = []int{-1, -1}
		case 3:
			in.Columns = nil
		case 4:
			in.Shape, in.Columns = []int{-1, 1, 3}, nil
		}
		sig := engine.Signature{Inputs: []engine.Spec{in, {Name: "other", Datatype: "FP64", Shape: []int{-1}}}[:1+name%2]}
		shape := []int{int(a % 13), int(b % 13), int(c % 13)}[:1+dims%3]
		n := 1
		for _, d := range shape {
			n *= d
		}
		if n%3 != 0 { // rows are whole
			shape[len(shape)-1] *= 3
			n *= 3
		}
		const ssn, word = 756921707.4375, "756.9217.0769.85"
		x := tensor.FP64s([]string{"input", "x", "", "ssn"}[name%4], shape, make([]float64, n))
		if text {
			x = tensor.Strings(x.Name, shape, make([]string, n))
		}
		for i := range n {
			if text {
				x.S[i] = []string{"41", word, "3"}[i%3]
			} else {
				x.F64[i] = []float64{41, ssn, 3}[i%3]
			}
		}
		r := Record{Inputs: []tensor.Tensor{x}}
		if name%8 > 3 {
			r.Inputs = append(r.Inputs, tensor.FP64s("other", []int{1}, []float64{1}))
		}
		NewRedaction([]string{"ssn"}, sig, nil).Apply(&r)
		frame := appendFrame(nil, &r)
		if bytes.Contains(frame, binary.LittleEndian.AppendUint64(nil, math.Float64bits(ssn))) || bytes.Contains(frame, []byte(word)) {
			t.Errorf("%q of shape %v for %+v is written with what is personal", x.Name, shape, sig.Inputs)
		}
		if n > 0 && len(r.Redacted) == 0 {
			t.Error("nothing is said of what was left out")
		}
	})
}

func TestHashesJoinRecordsAndSayNothing(t *testing.T) {
	sig := engine.Signature{Inputs: []engine.Spec{{Name: "m", Datatype: "FP64", Shape: []int{-1, 2}, Columns: []string{"customer", "amount"}}, {Name: "code", Datatype: "BYTES", Shape: []int{-1}, Optional: true}}}
	key := HashKey([]byte("installation"), "default")
	hashes := func(key []byte, in ...tensor.Tensor) map[string][]string {
		r := Record{Inputs: in}
		NewRedaction([]string{"hash:customer", "hash:code"}, sig, key).Apply(&r)
		return r.Left().Hashes
	}
	a := hashes(key, tensor.FP64s("m", []int{3, 2}, []float64{70001, 1, 70002, 2, 70001, 3}), tensor.Strings("code", []int{3}, []string{"x", "", "70001"}))
	one := a["customer"]
	if len(one) != 3 || one[0] != one[2] || one[0] == one[1] || len(one[0]) != 32 || a["code"][1] != "" {
		t.Fatalf("%v", a)
	}
	if a["code"][2] != one[0] {
		t.Error("a number and the text that writes it have different hashes")
	}
	b := hashes(key, tensor.Tensor{Name: "m", Type: tensor.FP32, Shape: []int{1, 2}, F32: []float32{70001, 5}})
	if b["customer"][0] != one[0] {
		t.Error("the same number of another type has another hash")
	}
	if c := hashes(HashKey([]byte("installation"), "other"), tensor.FP64s("m", []int{1, 2}, []float64{70001, 1})); c["customer"][0] == one[0] {
		t.Error("two workspaces share their hashes")
	}
}

func TestRedactionIsOnRecordAndAReplaySaysSo(t *testing.T) {
	l := openLog(t, t.TempDir(), nil)
	s := newService(t, dbtest.SQLite(t), l, blobtest.Dir(t))
	s.Version = func(context.Context, string, int) (engine.Model, error) {
		panic("a redacted decision is not asked again")
	}
	r := record("a", 1)
	NewRedaction([]string{"ward"}, engine.Signature{Inputs: []engine.Spec{{Name: "input", Datatype: "FP32", Shape: []int{-1, 2}}, {Name: "ward", Datatype: "BYTES", Shape: []int{-1}}}}, nil).Apply(&r)
	plain := record("a", 2)
	for _, x := range []*Record{&r, &plain} {
		if err := l.Append(t.Context(), x, Group); err != nil {
			t.Fatal(err)
		}
	}
	look := func(when string) {
		got, err := s.Get(t.Context(), r.ID)
		if err != nil || !slices.Equal(got.Left().Columns, []string{"ward"}) || len(got.Inputs) != 1 {
			t.Errorf("%s: %s, %v", when, got.Redacted, err)
		}
		if v := view(got, nil); v.Redacted == nil || v.Redacted.Columns[0] != "ward" {
			t.Errorf("%s: the view says %+v", when, v.Redacted)
		}
		if other, err := s.Get(t.Context(), plain.ID); err != nil || other.Redacted != nil {
			t.Errorf("%s: %s, %v", when, other.Redacted, err)
		}
		e, err := s.Explain(t.Context(), r.ID, 0)
		if err != nil || e.Replay.Identical || !e.Replay.Redacted || !strings.Contains(e.Replay.Detail, "cannot be replayed exactly: the log does not hold the values of ward") {
			t.Errorf("%s: %+v, %v", when, e.Replay, err)
		}
	}
	look("unfiled")
	if err := s.File(t.Context()); err != nil {
		t.Fatal(err)
	}
	look("filed")
}

func TestFramesAndFilesOfBeforeRedactionAreRead(t *testing.T) {
	r := record("a", 1)
	b := appendFrame(nil, &r)
	stamp(b, &clock{now: time.Now}, time.Now())
	// The first version had no length of Redacted behind the rules that fired.
	at := bytes.Index(b, r.Fired) + len(r.Fired)
	old := append(slices.Clone(b[:at]), b[at+1:]...)
	old[frameHead] = 1
	binary.LittleEndian.PutUint32(old, uint32(len(old)-frameHead))
	binary.LittleEndian.PutUint32(old[4:], crc32.Checksum(old[frameHead:], castagnoli))
	payload, rest, err := nextFrame(old)
	if err != nil || len(rest) != 0 {
		t.Fatal(err)
	}
	got, err := decode(payload, true)
	if err != nil || got.Redacted != nil {
		t.Fatal(err)
	}
	same(t, got, Record{ID: got.ID, At: got.At, Workspace: r.Workspace, Endpoint: r.Endpoint, Model: r.Model, Version: r.Version, Environment: r.Environment, Slot: r.Slot,
		Caller: r.Caller, Application: r.Application, Purpose: r.Purpose, Subject: r.Subject, Request: r.Request, Rows: r.Rows, Inputs: r.Inputs, Outputs: r.Outputs,
		Latency: r.Latency, Compute: r.Compute, Trace: r.Trace, Segment: r.Segment, Override: r.Override, Fired: r.Fired})

	type first struct { // the columns of before, in part
		PredictionID string `parquet:"prediction_id"`
		At           int64  `parquet:"at,timestamp(microsecond)"`
		Workspace    string `parquet:"workspace,dict"`
		Endpoint     string `parquet:"endpoint,dict"`
		Inputs       string `parquet:"inputs"`
		Outputs      string `parquet:"outputs"`
		TraceInfo    string `parquet:"trace_info"`
	}
	var file bytes.Buffer
	w := parquet.NewGenericWriter[first](&file)
	if _, err := w.Write([]first{{PredictionID: got.ID, Endpoint: "a", Inputs: "[]", Outputs: "[]", TraceInfo: "[]"}}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	rows, err := readChunk[row](bytes.NewReader(file.Bytes()), int64(file.Len()), 0)
	if err != nil || len(rows) != 1 || rows[0].Redacted != "" || rows[0].Endpoint != "a" || rows[0].TraceInfo != "[]" {
		t.Fatalf("%+v, %v", rows, err)
	}
}

func TestWhatIsLeftOutIsNoMissingValue(t *testing.T) {
	sig := engine.Signature{Inputs: []engine.Spec{{Name: "input", Datatype: "FP64", Shape: []int{-1, 2}, Columns: []string{"age", "dose"}}}}
	r := Record{Inputs: []tensor.Tensor{tensor.FP64s("input", []int{1, 2}, []float64{41, 3})}}
	NewRedaction([]string{"age"}, sig, nil).Apply(&r)
	if got := r.Columns(sig, r.Inputs); len(got) != 1 || got[0].Name != "dose" {
		b, _ := json.Marshal(got)
		t.Errorf("%s", b)
	}
}

func TestPredictionsHandedInAreRedactedByTheirVersion(t *testing.T) {
	l := openLog(t, t.TempDir(), nil)
	s := newService(t, dbtest.SQLite(t), l, blobtest.Dir(t))
	s.Redaction = func(_ context.Context, model string, version int) (*Redaction, error) {
		if model != "loans" || version != 2 {
			return nil, nil
		}
		return NewRedaction([]string{"ward"}, engine.Signature{Inputs: []engine.Spec{{Name: "ward", Datatype: "BYTES", Shape: []int{-1}}}}, nil), nil
	}
	list := []Record{record("a", 0), record("a", 1), record("a", 2)}
	list[0].Model, list[0].Version = "loans", 2
	list[1].Model, list[1].Version = "loans", 1
	list[2].Model, list[2].Version = "other", 2
	ids, err := s.HandIn(t.Context(), "elsewhere", list)
	if err != nil {
		t.Fatal(err)
	}
	for i, id := range ids {
		got, err := s.Get(t.Context(), id)
		if err != nil || (tensor.Find(got.Inputs, "ward") == nil) != (i == 0) || (len(got.Redacted) > 0) != (i == 0) {
			t.Errorf("prediction %d: %s, %v", i, got.Redacted, err)
		}
	}
}

// sure is a model that always answers the same and cannot explain itself.
type sure struct{ out []tensor.Tensor }

func (sure) Signature() engine.Signature { return engine.Signature{} }
func (s sure) Predict(context.Context, []tensor.Tensor) ([]tensor.Tensor, error) {
	return s.out, nil
}
func (sure) Close() error { return nil }

func TestAReplayStandsAloneWhereTooLittleIsLoggedForReasons(t *testing.T) {
	l := openLog(t, t.TempDir(), nil)
	s := newService(t, dbtest.SQLite(t), l, blobtest.Dir(t))
	r := record("a", 1)
	s.Version = func(context.Context, string, int) (engine.Model, error) { return sure{r.Outputs}, nil }
	if err := l.Append(t.Context(), &r, Group); err != nil {
		t.Fatal(err)
	}
	e, err := s.Explain(t.Context(), r.ID, 0)
	if err != nil || !e.Replay.Identical || len(e.Explanation.Rows) != 0 || !strings.Contains(e.Unexplained, "needs 10 rows") {
		t.Errorf("%+v, %v", e, err)
	}
}
