package prediction

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"slices"
	"sync"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"

	"keelson/internal/tensor"
)

// chunkRecords is the number of records in one row group: what a reader holds in memory at once.
const chunkRecords = 2000

// fast is Zstandard at its quickest. What is left of a call behind the dictionaries, numbers and identifiers, has no long
// repetitions: the default level takes half as much time again and makes larger files.
var fast = zstd.Codec{Level: zstd.SpeedFastest}

// Columns of filed, in its order.
const (
	columnID = iota
	columnAt
	columnWorkspace
	columnEndpoint
	columnModel
	columnVersion
	columnEnvironment
	columnSlot
	columnCaller
	columnApplication
	columnPurpose
	columnSubject
	columnRequest
	columnRows
	columnInputs
	columnOutputs
	columnLatency
	columnCompute
	columnError
	columnTrace
	columnSegment
	columnOverride
	columnFired
	columnRedacted
	columnInputF32
	columnInputF64
	columnInputI64
	columnOutputF32
	columnOutputF64
	columnOutputI64
	columnCount
)

// textColumns are those of a line's texts.
var textColumns = [textCount]int{columnWorkspace, columnEndpoint, columnModel, columnEnvironment, columnSlot, columnCaller, columnApplication, columnPurpose,
	columnSubject, columnRequest, columnError, columnTrace, columnSegment, columnOverride, columnFired, columnRedacted}

// unbounded are the columns whose smallest and largest value nobody looks for.
var unbounded = []string{"inputs", "outputs", "request", "trace", "override", "trace_info", "redacted"}

const (
	batchRecords = 64      // are handed to the columns at once
	batchValues  = 1 << 14 // of tensors, after which fewer are
	keptFile     = 32 << 20
	keptValues   = 4 * batchValues // of a column's batch that one file leaves for the next
)

// parquetWriter makes files column by column: no row is put together. One is used again for the next file, since its
// buffers are some megabytes.
type parquetWriter struct {
	w       *parquet.GenericWriter[filed]
	out     bytes.Buffer
	columns []*parquet.ColumnWriter
	batch   [columnCount][]parquet.Value
	in      heads
	ofOut   heads
	sum     hash.Hash // of out's first summed bytes
	summed  int
	text    []byte // of the tensors of the batch that are not in heads
}

var parquetWriters = sync.Pool{New: func() any {
	w := &parquetWriter{sum: sha256.New()}
	skip := make([]parquet.WriterOption, 0, len(unbounded)+4)
	for _, c := range unbounded {
		skip = append(skip, parquet.SkipPageBounds(c))
	}
	for _, c := range []string{"input_f32", "input_f64", "input_i64", "output_f32", "output_f64", "output_i64"} {
		skip = append(skip, parquet.SkipPageBounds(c, "list", "element"))
	}
	w.w = parquet.NewGenericWriter[filed](&w.out, append(skip, parquet.Compression(&fast), parquet.CreatedBy("keelson", "2", ""),
		parquet.KeyValueMetadata("keelson.format", "prediction/2"), parquet.WriteBufferSize(0), parquet.DataPageStatistics(false))...)
	w.columns = w.w.ColumnWriters()
	return w
}}

// parquetFile is a file that was made. Its bytes hold until use returns.
type parquetFile struct {
	bytes  []byte
	digest string
	chunks []chunk
}

// writeParquet writes lines, given by next in the order of their identifiers, and hands the file to use. A payload is
// done with when writeParquet returns, a line's tensors when the next one is asked for. It calls breathe wherever others
// may have the processor.
func writeParquet(records int, next func(i int, l *line) error, breathe func(), use func(parquetFile) error) error {
	w := parquetWriters.Get().(*parquetWriter)
	w.out.Reset()
	w.w.Reset(&w.out)
	w.sum.Reset()
	w.summed = 0
	f, err := w.write(records, next, breathe)
	if err != nil {
		return err // and never use w again
	}
	err = use(f)
	if w.out.Cap() <= keptFile {
		w.shrink()
		parquetWriters.Put(w)
	}
	return err
}

// shrink lets go of what single records of many values left behind.
func (w *parquetWriter) shrink() {
	for i, values := range w.batch {
		if cap(values) > keptValues {
			w.batch[i] = nil
		}
	}
	if cap(w.text) > keptFile {
		w.text = nil
	}
}

func (w *parquetWriter) write(records int, next func(i int, l *line) error, breathe func()) (f parquetFile, err error) {
	var l line
	var now chunk
	for i := range records {
		if i%politeness == 0 { // calls to models come first
			breathe()
		}
		if err := next(i, &l); err != nil {
			return f, err
		}
		if err := w.add(&l); err != nil {
			return f, fmt.Errorf("prediction %s: %w", l.id, err)
		}
		if now.Records == 0 {
			now.First = string(l.id)
		}
		now.Records++
		last := i == records-1
		full := now.Records == chunkRecords || last
		if full || len(w.batch[columnID]) == batchRecords || w.values() > batchValues || len(w.text) > 1<<20 {
			if err := w.flush(); err != nil {
				return f, fmt.Errorf("write parquet: %w", err)
			}
		}
		if full {
			now.Last = string(l.id)
			f.chunks = append(f.chunks, now)
			now = chunk{}
			if err := w.endGroup(breathe); err != nil {
				return f, fmt.Errorf("write parquet: %w", err)
			}
		}
	}
	if err := w.w.Close(); err != nil {
		return f, fmt.Errorf("write parquet: %w", err)
	}
	w.hash()
	f.bytes, f.digest = w.out.Bytes(), "sha256:"+hex.EncodeToString(w.sum.Sum(nil))
	return f, nil
}

// endGroup ends the row group, column by column.
func (w *parquetWriter) endGroup(breathe func()) error {
	for _, c := range w.columns {
		if err := c.Flush(); err != nil {
			return err
		}
		breathe()
	}
	if err := w.w.Flush(); err != nil {
		return err
	}
	w.hash()
	return nil
}

// hash takes what was written since into the digest.
func (w *parquetWriter) hash() {
	w.sum.Write(w.out.Bytes()[w.summed:])
	w.summed = w.out.Len()
}

// values is how many values of tensors the batch holds.
func (w *parquetWriter) values() (n int) {
	for _, values := range w.batch[columnInputF32:] {
		n += len(values)
	}
	return n
}

// put adds a value to a column.
func (w *parquetWriter) put(column int, v parquet.Value) {
	w.batch[column] = append(w.batch[column], v)
}

func (w *parquetWriter) add(l *line) error {
	var err error
	if l.inputs, l.outputs, err = l.tensors(l.inputs, l.outputs); err != nil {
		return err
	}
	w.put(columnID, parquet.ByteArrayValue(l.id))
	w.put(columnAt, parquet.Int64Value(l.at))
	w.put(columnVersion, parquet.Int32Value(int32(l.version)))
	w.put(columnRows, parquet.Int64Value(l.rows))
	w.put(columnLatency, parquet.Int64Value(l.latency))
	w.put(columnCompute, parquet.Int64Value(l.compute))
	for i, t := range l.texts {
		w.put(textColumns[i], parquet.ByteArrayValue(t))
	}
	w.put(columnInputs, parquet.ByteArrayValue(w.headsOf(&w.in, l.inputs)))
	w.put(columnOutputs, parquet.ByteArrayValue(w.headsOf(&w.ofOut, l.outputs)))
	w.lists(l.inputs, columnInputF32, columnInputF64, columnInputI64)
	w.lists(l.outputs, columnOutputF32, columnOutputF64, columnOutputI64)
	return nil
}

// flush hands the batch to the columns.
func (w *parquetWriter) flush() error {
	for i, values := range w.batch {
		if len(values) == 0 {
			continue
		}
		if _, err := w.columns[i].WriteRowValues(values); err != nil {
			return err
		}
		w.batch[i] = values[:0]
	}
	w.text = w.text[:0]
	return nil
}

// lists puts the values of tensors that stand apart from their heads into the columns of their types.
func (w *parquetWriter) lists(list []tensor.Tensor, f32, f64, i64 int) {
	floats, doubles, whole := w.batch[f32], w.batch[f64], w.batch[i64]
	starts := [3]int{len(floats), len(doubles), len(whole)}
	for i := range list {
		t := &list[i]
		if !apart(t) {
			continue
		}
		for _, v := range t.F32 {
			floats = append(floats, parquet.FloatValue(v).Level(1, 1, f32))
		}
		for _, v := range t.F64 {
			doubles = append(doubles, parquet.DoubleValue(v).Level(1, 1, f64))
		}
		for _, v := range t.I64 {
			whole = append(whole, parquet.Int64Value(v).Level(1, 1, i64))
		}
	}
	w.batch[f32], w.batch[f64], w.batch[i64] = floats, doubles, whole
	for k, column := range [...]int{f32, f64, i64} {
		if start := starts[k]; start < len(w.batch[column]) {
			w.batch[column][start] = w.batch[column][start].Level(0, 1, column) // begins a row
		} else {
			w.batch[column] = append(w.batch[column], parquet.Value{}.Level(0, 0, column))
		}
	}
}

// apart tells whether the values of a tensor have a column, so that its head has no data.
func apart(t *tensor.Tensor) bool {
	return t.Type.Numeric() && (t.Type < tensor.Uint8 || t.Type > tensor.Uint64)
}

// heads is the text of the tensors of the record before, which mostly is the next one's too.
type heads struct {
	of   []tensor.Tensor // names, types and shapes
	text []byte
}

// headsOf gives the JSON of tensors, those without data whose values have a column.
func (w *parquetWriter) headsOf(h *heads, list []tensor.Tensor) []byte {
	if h.text != nil && slices.EqualFunc(h.of, list, func(a, b tensor.Tensor) bool {
		return a.Name == b.Name && a.Type == b.Type && slices.Equal(a.Shape, b.Shape)
	}) {
		return h.text
	}
	start := len(w.text)
	w.text = append(w.text, '[')
	whole := true
	for i := range list {
		if i > 0 {
			w.text = append(w.text, ',')
		}
		if !apart(&list[i]) {
			whole = false
			w.text = list[i].AppendJSON(w.text)
			continue
		}
		w.text = append(list[i].AppendHead(append(w.text, '{')), '}')
	}
	w.text = append(w.text, ']')
	text := w.text[start:len(w.text):len(w.text)]
	if !whole {
		return text
	}
	h.of = make([]tensor.Tensor, len(list))
	for i := range list {
		h.of[i] = tensor.Tensor{Name: list[i].Name, Type: list[i].Type, Shape: slices.Clone(list[i].Shape)}
	}
	h.text = bytes.Clone(text)
	return h.text
}
