package prediction

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"

	"keelson/internal/tensor"
)

// chunkRecords is the number of records in one row group: what a reader holds in memory at once.
const chunkRecords = 2000

// fast is Zstandard at its quickest. What is left of a call behind the dictionaries, digits and identifiers, has no long
// repetitions: the default level takes half as much time again and makes larger files.
var fast = zstd.Codec{Level: zstd.SpeedFastest}

// row is the open form of a record. Columns are only ever added, at the end.
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

func (w *row) record() (Record, error) {
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
	if r.Inputs, err = tensors(w.Inputs); err == nil {
		r.Outputs, err = tensors(w.Outputs)
	}
	if err != nil {
		return r, fmt.Errorf("read prediction %s: %w", r.ID, err)
	}
	return r, nil
}

var anySize = tensor.Limits{Tensors: 1 << 20, Rank: 64, Elements: 1 << 30}

func tensors(text string) ([]tensor.Tensor, error) {
	return tensor.ReadList(tensor.NewScanner([]byte(text)), anySize)
}

// chunk is the range of one row group.
type chunk struct {
	First   string `json:"f"`
	Last    string `json:"l"`
	Records int    `json:"n"`
}

// writeParquet writes records, given by next in the order of their identifiers and each done with when the next one is asked for, and gives the file with its digest and
// row groups.
func writeParquet(records int, next func(i int) (*Record, error)) (file []byte, digest string, chunks []chunk, err error) {
	var b bytes.Buffer
	w := parquet.NewGenericWriter[row](&b, parquet.Compression(&fast), parquet.CreatedBy("keelson", "1", ""),
		parquet.KeyValueMetadata("keelson.format", "prediction/1"))
	var scratch []byte
	batch := make([]row, 0, min(records, chunkRecords))
	for i := 0; i < records; {
		batch = batch[:0]
		for ; i < records && len(batch) < chunkRecords; i++ {
			r, err := next(i)
			if err != nil {
				return nil, "", nil, err
			}
			var out row
			out, scratch = toRow(r, scratch)
			batch = append(batch, out)
		}
		if _, err := w.Write(batch); err != nil {
			return nil, "", nil, fmt.Errorf("write parquet: %w", err)
		}
		if err := w.Flush(); err != nil { // ends the row group
			return nil, "", nil, fmt.Errorf("write parquet: %w", err)
		}
		chunks = append(chunks, chunk{batch[0].PredictionID, batch[len(batch)-1].PredictionID, len(batch)})
	}
	if err := w.Close(); err != nil {
		return nil, "", nil, fmt.Errorf("write parquet: %w", err)
	}
	sum := sha256.Sum256(b.Bytes())
	return b.Bytes(), "sha256:" + hex.EncodeToString(sum[:]), chunks, nil
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
