package inventory

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	"keelson/internal/engine"
	"keelson/internal/problem"
	"keelson/internal/tensor"
)

// Frame is rows by named columns, as data sets and examples have them. Of a column, Numbers or Words is set; a missing
// number is NaN, a missing word is empty.
type Frame struct {
	Rows    int
	Columns []FrameColumn
}

// FrameColumn is one column of a frame.
type FrameColumn struct {
	Name    string
	Numbers []float64
	Words   []string
}

// column finds a column, nil if there is none.
func (f *Frame) column(name string) *FrameColumn {
	for i := range f.Columns {
		if f.Columns[i].Name == name {
			return &f.Columns[i]
		}
	}
	return nil
}

// Rest is f without the named columns.
func (f *Frame) Rest(without ...string) Frame {
	out := Frame{Rows: f.Rows}
	for _, c := range f.Columns {
		keep := true
		for _, w := range without {
			keep = keep && c.Name != w
		}
		if keep {
			out.Columns = append(out.Columns, c)
		}
	}
	return out
}

// Feed makes the tensors of one call out of rows from to (exclusive) of f. A model with one matrix input takes the
// columns its signature names, or, without names, as many numeric columns as it is wide in the frame's order; any other
// model takes the column of each input's name. It fails with problem.Invalid on a column that is missing or of the wrong type.
func Feed(sig engine.Signature, f Frame, from, to int) ([]tensor.Tensor, error) {
	n := to - from
	if len(sig.Inputs) == 1 && len(sig.Inputs[0].Shape) == 2 && (len(sig.Inputs[0].Columns) > 0 || f.column(sig.Inputs[0].Name) == nil) {
		spec := sig.Inputs[0]
		cols, err := matrixColumns(spec, f)
		if err != nil {
			return nil, err
		}
		t, err := tensor.ParseType(spec.Datatype)
		if err != nil {
			return nil, err
		}
		out := tensor.Tensor{Name: spec.Name, Type: t, Shape: []int{n, len(cols)}}
		for r := from; r < to; r++ {
			for _, c := range cols {
				if err := put(&out, c, r); err != nil {
					return nil, err
				}
			}
		}
		return []tensor.Tensor{out}, nil
	}
	var out []tensor.Tensor
	for _, spec := range sig.Inputs {
		c := f.column(spec.Name)
		if c == nil {
			if spec.Optional {
				continue
			}
			return nil, missingColumn(spec.Name)
		}
		t, err := tensor.ParseType(spec.Datatype)
		if err != nil {
			return nil, err
		}
		x := tensor.Tensor{Name: spec.Name, Type: t, Shape: []int{n}}
		if len(spec.Shape) == 2 {
			x.Shape = []int{n, 1}
		}
		for r := from; r < to; r++ {
			if err := put(&x, c, r); err != nil {
				return nil, err
			}
		}
		out = append(out, x)
	}
	return out, nil
}

func missingColumn(name string) error {
	return problem.New(problem.Invalid, "The model needs the column %q, which the data does not have.", problem.Clip(name, 100)).At("data")
}

// matrixColumns picks the columns of a matrix input.
func matrixColumns(spec engine.Spec, f Frame) ([]*FrameColumn, error) {
	var cols []*FrameColumn
	for _, name := range spec.Columns {
		c := f.column(name)
		if c == nil {
			return nil, missingColumn(name)
		}
		cols = append(cols, c)
	}
	if len(spec.Columns) > 0 {
		return cols, nil
	}
	for i := range f.Columns {
		if f.Columns[i].Numbers != nil {
			cols = append(cols, &f.Columns[i])
		}
	}
	if w := spec.Shape[1]; w >= 0 && len(cols) != w {
		return nil, problem.New(problem.Invalid, "The model takes %d numbers per row and names none of them, but the data has %d numeric columns.", w, len(cols)).At("data")
	}
	return cols, nil
}

// put appends the cell of row r.
func put(t *tensor.Tensor, c *FrameColumn, r int) error {
	if t.Type == tensor.Bytes {
		if c.Words != nil {
			t.S = append(t.S, c.Words[r])
		} else {
			t.S = append(t.S, strconv.FormatFloat(c.Numbers[r], 'g', -1, 64))
		}
		return nil
	}
	if c.Numbers == nil {
		return problem.New(problem.Invalid, "The column %q holds words; the model takes %s there.", problem.Clip(c.Name, 100), t.Type).At("data")
	}
	v := c.Numbers[r]
	whole := v == math.Trunc(v) && math.Abs(v) < 1<<62
	switch t.Type {
	case tensor.Bool:
		t.B = append(t.B, v != 0)
	case tensor.FP16, tensor.BF16, tensor.FP32:
		t.F32 = append(t.F32, float32(v))
	case tensor.FP64:
		t.F64 = append(t.F64, v)
	case tensor.Int8, tensor.Int16, tensor.Int32, tensor.Int64:
		if !whole {
			return notWhole(c, r, t.Type)
		}
		t.I64 = append(t.I64, int64(v))
	default:
		if !whole || v < 0 {
			return notWhole(c, r, t.Type)
		}
		t.U64 = append(t.U64, uint64(v))
	}
	return nil
}

func notWhole(c *FrameColumn, r int, t tensor.Type) error {
	return problem.New(problem.Invalid, "Row %d of column %q is %v; the model takes %s there.", r+1, problem.Clip(c.Name, 100), c.Numbers[r], t).At("data")
}

// examples are golden rows as they were given: inputs as tensors or as a frame, answers recorded or not.
type examples struct {
	tensors []tensor.Tensor
	frame   *Frame
	answers []tensor.Tensor // nil: none recorded
	limit   float64
}

// DefaultGoldenLimit is the largest error of an answer that passes when the examples name no limit.
const DefaultGoldenLimit = 1e-6

// parseExamples reads the form of keelson_golden.json:
//
//	{"inputs": [tensor, …] | {"columns": […], "data": [[…], …]}, "outputs": [tensor, …] | [number or word, …] | [[…], …], "limit": 1e-6}
func parseExamples(b []byte) (*examples, error) {
	var doc struct {
		Inputs  json.RawMessage `json:"inputs"`
		Outputs json.RawMessage `json:"outputs"`
		Limit   *float64        `json:"limit"`
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		return nil, problem.New(problem.Invalid, "The golden rows are not a JSON document: %s.", err).At("golden")
	}
	ex := &examples{limit: DefaultGoldenLimit}
	if doc.Limit != nil {
		if !(*doc.Limit >= 0 && *doc.Limit <= 1) {
			return nil, problem.New(problem.Invalid, "The limit of the golden rows is a number from 0 to 1; got %v.", *doc.Limit).At("golden.limit")
		}
		ex.limit = *doc.Limit
	}
	var err error
	switch first(doc.Inputs) {
	case '[':
		ex.tensors, err = readTensors(doc.Inputs, "golden.inputs")
	case '{':
		ex.frame, err = readFrame(doc.Inputs)
	default:
		err = problem.New(problem.Invalid, "The golden rows have no inputs; give tensors or {\"columns\", \"data\"}.").At("golden.inputs")
	}
	if err != nil {
		return nil, err
	}
	if first(doc.Outputs) == '[' {
		if ex.answers, err = readAnswers(doc.Outputs); err != nil {
			return nil, err
		}
	}
	return ex, nil
}

func first(b []byte) byte {
	for _, c := range b {
		if c > ' ' {
			return c
		}
	}
	return 0
}

var goldenLimits = tensor.DefaultLimits

func readTensors(b []byte, at string) ([]tensor.Tensor, error) {
	list, err := tensor.ReadList(tensor.NewScanner(b), goldenLimits)
	if err != nil {
		return nil, problem.New(problem.Invalid, "The golden rows hold a tensor that cannot be read: %s", problem.Detail(err)).At(at)
	}
	return list, nil
}

// readFrame reads {"columns", "data"}, the "split" form of pandas.
func readFrame(b []byte) (*Frame, error) {
	var doc struct {
		Columns []string            `json:"columns"`
		Data    [][]json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		return nil, problem.New(problem.Invalid, "The golden inputs are not a table of columns and data: %s.", err).At("golden.inputs")
	}
	if len(doc.Columns) == 0 && len(doc.Data) > 0 {
		for i := range doc.Data[0] {
			doc.Columns = append(doc.Columns, "f"+strconv.Itoa(i))
		}
	}
	f := &Frame{Rows: len(doc.Data)}
	for k, name := range doc.Columns {
		c := FrameColumn{Name: name}
		words := false
		for _, row := range doc.Data {
			if len(row) != len(doc.Columns) {
				return nil, problem.New(problem.Invalid, "A golden row has %d values for %d columns.", len(row), len(doc.Columns)).At("golden.inputs.data")
			}
			words = words || first(row[k]) == '"'
		}
		for _, row := range doc.Data {
			text, v, isNumber := cellOf(row[k])
			if words {
				c.Words = append(c.Words, text)
			} else {
				if !isNumber {
					return nil, problem.New(problem.Invalid, "The golden value %s of column %q is neither a number nor a word.", problem.Clip(string(row[k]), 60), problem.Clip(name, 60)).At("golden.inputs.data")
				}
				c.Numbers = append(c.Numbers, v)
			}
		}
		f.Columns = append(f.Columns, c)
	}
	return f, nil
}

// cellOf reads a JSON scalar; null is NaN and the empty word.
func cellOf(b json.RawMessage) (text string, v float64, isNumber bool) {
	s := strings.TrimSpace(string(b))
	switch s {
	case "null":
		return "", math.NaN(), true
	case "true":
		return s, 1, true
	case "false":
		return s, 0, true
	}
	if first(b) == '"' {
		_ = json.Unmarshal(b, &text)
		return text, 0, false
	}
	v, err := strconv.ParseFloat(s, 64)
	return s, v, err == nil
}

// readAnswers reads recorded answers: tensors, or one plain array that answers the first output row by row.
func readAnswers(b []byte) ([]tensor.Tensor, error) {
	var items []json.RawMessage
	if err := json.Unmarshal(b, &items); err != nil {
		return nil, problem.New(problem.Invalid, "The golden outputs are not an array: %s.", err).At("golden.outputs")
	}
	if len(items) > 0 && first(items[0]) == '{' {
		return readTensors(b, "golden.outputs")
	}
	t := tensor.Tensor{Type: tensor.FP64}
	width := -1
	var cells []json.RawMessage
	for _, it := range items {
		row := []json.RawMessage{it}
		if first(it) == '[' {
			row = nil
			if err := json.Unmarshal(it, &row); err != nil {
				return nil, problem.New(problem.Invalid, "A golden output is not an array: %s.", err).At("golden.outputs")
			}
		}
		if width >= 0 && len(row) != width {
			return nil, problem.New(problem.Invalid, "The golden outputs have rows of different length.").At("golden.outputs")
		}
		width = len(row)
		cells = append(cells, row...)
	}
	for _, c := range cells {
		if first(c) == '"' {
			t.Type = tensor.Bytes
		}
	}
	for _, c := range cells {
		text, v, ok := cellOf(c)
		switch {
		case t.Type == tensor.Bytes:
			t.S = append(t.S, text)
		case !ok:
			return nil, problem.New(problem.Invalid, "The golden output %s is neither a number nor a word.", problem.Clip(string(c), 60)).At("golden.outputs")
		default:
			t.F64 = append(t.F64, v)
		}
	}
	t.Shape = []int{len(items), max(width, 0)}
	return []tensor.Tensor{t}, nil
}

// compare gives the largest error of got against want and says where it is. Outputs are matched by name, else by place; a
// word or truth value that differs is an error of 1.
func compare(got, want []tensor.Tensor) (worst float64, where string, err error) {
	for i := range want {
		w := &want[i]
		g := tensor.Find(got, w.Name)
		if g == nil && i < len(got) && tensor.Find(want, got[i].Name) == nil {
			g = &got[i]
		}
		if g == nil && i < len(got) {
			return 0, "", problem.New(problem.Invalid, "The golden rows record an output %q, which the model has not.", problem.Clip(w.Name, 60)).At("golden.outputs")
		}
		if g == nil {
			return 0, "", problem.New(problem.Invalid, "The golden rows record %d outputs, the model has %d.", len(want), len(got)).At("golden.outputs")
		}
		if g.Len() != w.Len() {
			return 0, "", problem.New(problem.Invalid, "The golden rows record %d values for output %q, the model answers %d.", w.Len(), g.Name, g.Len()).At("golden.outputs")
		}
		width := max(g.Width(), 1)
		for k := range g.Len() {
			e, text := difference(g, w, k)
			if e > worst || where == "" && e > 0 {
				worst, where = e, fmt.Sprintf("row %d of output %q: %s", k/width+1, g.Name, text)
			}
		}
	}
	return worst, where, nil
}

func difference(g, w *tensor.Tensor, k int) (float64, string) {
	if g.Type == tensor.Bytes || w.Type == tensor.Bytes {
		a, b := word(g, k), word(w, k)
		if a != b {
			return 1, fmt.Sprintf("the engine answers %q, recorded is %q", problem.Clip(a, 60), problem.Clip(b, 60))
		}
		return 0, ""
	}
	a, b := g.Float64(k), w.Float64(k)
	if a == b || a != a && b != b {
		return 0, ""
	}
	e := math.Abs(a-b) / max(1, math.Abs(b))
	if e != e || math.IsInf(e, 0) {
		e = math.MaxFloat64
	}
	return e, fmt.Sprintf("the engine answers %v, recorded is %v", a, b)
}

func word(t *tensor.Tensor, k int) string {
	switch {
	case t.Type == tensor.Bytes:
		return t.S[k]
	case t.Type == tensor.Bool:
		return strconv.FormatBool(t.B[k])
	}
	return strconv.FormatFloat(t.Float64(k), 'g', -1, 64)
}
