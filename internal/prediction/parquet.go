package prediction

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/parquet-go/parquet-go"

	"keelson/internal/tensor"
)

// row is the open form of a record, the one of exports.
type row struct {
	PredictionID string `parquet:"prediction_id"`
	At           int64  `parquet:"at,timestamp(microsecond)"`
	Workspace    string `parquet:"workspace,dict"`
	Endpoint     string `parquet:"endpoint,dict"`
	Model        string `parquet:"model,dict"`
	Version      int32  `parquet:"version"`
	Environment  string `parquet:"environment,dict"`
	Slot         string `parquet:"slot,dict"`
	Caller       string `parquet:"caller,dict"`
	Application  string `parquet:"application,dict"`
	Purpose      string `parquet:"purpose,dict"`
	Subject      string `parquet:"subject"`
	Request      string `parquet:"request"`
	Rows         int64  `parquet:"rows"`
	Inputs       string `parquet:"inputs"`  // JSON: protocol tensors
	Outputs      string `parquet:"outputs"` // JSON: protocol tensors
	LatencyUS    int64  `parquet:"latency_us"`
	ComputeUS    int64  `parquet:"compute_us"`
	Error        string `parquet:"error,dict"`
	Trace        string `parquet:"trace"`
	Segment      string `parquet:"segment,dict"`
	Override     string `parquet:"override"`
	TraceInfo    string `parquet:"trace_info"` // JSON: rules that fired, by row
	Redacted     string `parquet:"redacted"`   // JSON: what was left out, see Redacted
}

// filed is the form of files. A tensor in inputs or outputs that has no data has its values in the list of their type, those
// of several tensors one behind the other: numbers need no text there. A tensor of other types, and each one in a file of
// version 1, which has no lists, has its data with it. Columns are only ever added, at the end.
type filed struct {
	row
	InputF32  []float32 `parquet:"input_f32,list"` // of FP16, BF16 and FP32
	InputF64  []float64 `parquet:"input_f64,list"`
	InputI64  []int64   `parquet:"input_i64,list"` // of INT8 to INT64
	OutputF32 []float32 `parquet:"output_f32,list"`
	OutputF64 []float64 `parquet:"output_f64,list"`
	OutputI64 []int64   `parquet:"output_i64,list"`
}

// headRow is what tells who called and whether a prediction exists.
type headRow struct {
	PredictionID string `parquet:"prediction_id"`
	At           int64  `parquet:"at,timestamp(microsecond)"`
	Endpoint     string `parquet:"endpoint,dict"`
	Model        string `parquet:"model,dict"`
	Version      int32  `parquet:"version"`
	Slot         string `parquet:"slot,dict"`
	Caller       string `parquet:"caller,dict"`
	Application  string `parquet:"application,dict"`
	Rows         int64  `parquet:"rows"`
	ComputeUS    int64  `parquet:"compute_us"`
}

func toRow(r *Record, scratch []byte) (row, []byte) {
	out := row{
		PredictionID: r.ID, At: r.At.UnixMicro(), Workspace: r.Workspace, Endpoint: r.Endpoint, Model: r.Model, Version: int32(r.Version),
		Environment: r.Environment, Slot: r.Slot, Caller: r.Caller, Application: r.Application, Purpose: r.Purpose, Subject: r.Subject,
		Request: r.Request, Rows: int64(r.Rows), LatencyUS: r.Latency.Microseconds(), ComputeUS: r.Compute.Microseconds(),
		Error: r.Error, Trace: r.Trace, Segment: r.Segment, Override: r.Override, TraceInfo: string(r.Fired), Redacted: string(r.Redacted),
	}
	scratch = tensor.AppendList(scratch[:0], r.Inputs)
	out.Inputs = string(scratch)
	scratch = tensor.AppendList(scratch[:0], r.Outputs)
	out.Outputs = string(scratch)
	return out, scratch
}

// record reads a row whose tensors have their data with them.
func (w *row) record() (Record, error) { return (&filed{row: *w}).record() }

func (w *filed) record() (Record, error) {
	r := Record{
		ID: w.PredictionID, At: time.UnixMicro(w.At).UTC(), Workspace: w.Workspace, Endpoint: w.Endpoint, Model: w.Model, Version: int(w.Version),
		Environment: w.Environment, Slot: w.Slot, Caller: w.Caller, Application: w.Application, Purpose: w.Purpose, Subject: w.Subject,
		Request: w.Request, Rows: int(w.Rows), Latency: time.Duration(w.LatencyUS) * time.Microsecond, Compute: time.Duration(w.ComputeUS) * time.Microsecond,
		Error: w.Error, Trace: w.Trace, Segment: w.Segment, Override: w.Override,
	}
	if w.TraceInfo != "" {
		r.Fired = []byte(w.TraceInfo)
	}
	if w.Redacted != "" {
		r.Redacted = []byte(w.Redacted)
	}
	var err error
	if r.Inputs, err = tensors(w.Inputs, w.InputF32, w.InputF64, w.InputI64); err == nil {
		r.Outputs, err = tensors(w.Outputs, w.OutputF32, w.OutputF64, w.OutputI64)
	}
	if err != nil {
		return r, fmt.Errorf("read prediction %s: %w", r.ID, err)
	}
	return r, nil
}

var anySize = tensor.Limits{Tensors: 1 << 20, Rank: 64, Elements: 1 << 30}

// tensors reads a list, taking the values that it does not have from the columns of their types.
func tensors(text string, f32 []float32, f64 []float64, i64 []int64) ([]tensor.Tensor, error) {
	list, err := tensor.ReadList(tensor.NewScanner([]byte(text)), anySize)
	if err != nil {
		return nil, err
	}
	for i := range list {
		t := &list[i]
		switch {
		case t.Type == tensor.FP64 && t.F64 == nil:
			t.F64, f64, err = cutOff(f64, t.Shape)
		case t.I64 == nil && t.Type >= tensor.Int8 && t.Type <= tensor.Int64:
			t.I64, i64, err = cutOff(i64, t.Shape)
		case t.F32 == nil && (t.Type == tensor.FP32 || t.Type == tensor.FP16 || t.Type == tensor.BF16):
			t.F32, f32, err = cutOff(f32, t.Shape)
		}
		if err == nil {
			err = t.Check() // what has no data, or a number that its type does not have
		}
		if err != nil {
			return nil, fmt.Errorf("tensor %q: %w", t.Name, err)
		}
	}
	return list, nil
}

// cutOff takes the values of one tensor from the front of a column's.
func cutOff[T any](values []T, shape []int) (own, rest []T, err error) {
	n, err := tensor.Count(shape, len(values))
	if err != nil {
		return nil, nil, err
	}
	if n > len(values) {
		return nil, nil, fmt.Errorf("its shape %v is %d values, but its column has %d", shape, n, len(values))
	}
	return values[:n:n], values[n:], nil
}

// chunk is the range of one row group.
type chunk struct {
	First   string `json:"f"`
	Last    string `json:"l"`
	Records int    `json:"n"`
}

// readChunk reads row group i of a file as Ts: row, or fewer columns.
func readChunk[T any](r io.ReadSeeker, size int64, i int) ([]T, error) {
	f, err := parquet.OpenFile(readerAt(r), size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return nil, fmt.Errorf("open parquet: %w", err)
	}
	groups := f.RowGroups()
	if i >= len(groups) {
		return nil, fmt.Errorf("the parquet file has %d row groups, not more than %d", len(groups), i)
	}
	rd := parquet.NewGenericRowGroupReader[T](groups[i])
	defer rd.Close()
	out := make([]T, groups[i].NumRows())
	n := 0
	for n < len(out) {
		k, err := rd.Read(out[n:])
		n += k
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read parquet: %w", err)
		}
	}
	return out[:n], nil
}

// readerAt gives random access to what can seek, one call at a time.
func readerAt(r io.ReadSeeker) io.ReaderAt {
	if at, ok := r.(io.ReaderAt); ok {
		return at
	}
	return &seekAt{r: r}
}

type seekAt struct {
	mu sync.Mutex
	r  io.ReadSeeker
}

func (s *seekAt) ReadAt(p []byte, off int64) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.r.Seek(off, io.SeekStart); err != nil {
		return 0, err
	}
	n, err := io.ReadFull(s.r, p)
	if err == io.ErrUnexpectedEOF {
		err = io.EOF
	}
	return n, err
}
