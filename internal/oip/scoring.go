package oip

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"keelson/internal/caller"
	"keelson/internal/engine"
	"keelson/internal/problem"
	"keelson/internal/serving"
	"keelson/internal/tensor"
)

// maxScoring is the largest body of a scoring call; its values are boxed one by one, so it takes less than infer.
const maxScoring = 8 << 20

// scoring is the JSON body of MLflow's scoring call; exactly one of the four forms is there.
type scoring struct {
	Split     *frame           `json:"dataframe_split"`
	Records   []map[string]any `json:"dataframe_records"`
	Instances any              `json:"instances"`
	Inputs    any              `json:"inputs"`
	Params    map[string]any   `json:"params"`
}

// frame is rows of cells. Columns is nil when the cells are known by their place only.
type frame struct {
	Columns labels  `json:"columns"`
	Data    [][]any `json:"data"`
	objects bool    // rows or columns came as members of objects; Columns is in alphabetical order
}

// invocations answers MLflow's scoring call {"dataframe_split" | "dataframe_records" | "instances" | "inputs": …} with
// {"predictions": [one value, list or object per row]}.
func (h *Handler) invocations(w http.ResponseWriter, r *http.Request) {
	x := exchanges.Get().(*exchange)
	defer x.release()
	if err := h.score(w, r, x); err != nil {
		h.missed(r, x, err)
		h.fail(w, r, err)
	}
}

func (h *Handler) score(w http.ResponseWriter, r *http.Request, x *exchange) (err error) {
	ctx, c := r.Context(), &x.request.call
	c.Start, c.Workspace, c.Endpoint, c.Version = h.now(), caller.Workspace(ctx), r.PathValue("name"), r.PathValue("version")
	if _, err := h.Models.Describe(c.Workspace, c.Endpoint, c.Version); err != nil {
		return err // before the body is read
	}
	isCSV, err := scoringForm(r)
	if err != nil {
		return err
	}
	if x.body, err = readBody(x.body[:0], r, min(h.maxBytes(c.Workspace, c.Endpoint), maxScoring)); err != nil {
		return err
	}
	body := new(scoring)
	var f *frame
	if isCSV {
		f, err = csvRows(x.body, h.limits())
	} else {
		x.body = withoutWords(x.body)
		if body, err = decodeScoring(x.body); err == nil {
			f, err = body.frame(h.limits())
		}
	}
	if err != nil {
		return err
	}
	var first []string
	if f.objects {
		first = firstKeys(x.body)
	}
	c.Layout = func(sig engine.Signature) ([]tensor.Tensor, error) {
		rows := f
		if f.objects && len(sig.Inputs) == 1 && len(sig.Inputs[0].Columns) == 0 {
			rows = f.arranged(first) // the model knows its columns by their place
		}
		return rows.tensors(sig, h.limits())
	}
	c.Unnamed = func(input string) bool { return f.Columns == nil || slices.Contains(f.Columns, input) }
	for i := range told {
		if v, ok := body.Params[told[i].name]; ok {
			s, ok := v.(string)
			if err := setTold(c, i, s, ok, "params."); err != nil {
				return err
			}
		}
	}
	if v, ok := body.Params["timeout"]; ok {
		n, _ := v.(json.Number)
		us, err := n.Int64()
		if err == nil {
			err = x.request.within(us)
		}
		if err != nil {
			return badTimeout("params.")
		}
		c.Deadline = c.Start.Add(x.request.timeout)
	}
	h.context(ctx, c, func(name string) []string { return r.Header[name] })
	x.asked = true
	answer, err := h.Models.Infer(ctx, c)
	if err != nil {
		return err
	}
	if answer.Decider != nil {
		if out, ok := answer.Decider.Decide(answer.Outputs); ok {
			answer.Outputs = out
		}
	}
	x.answer = appendPredictions(x.answer[:0], &answer)
	w.Header()["Content-Type"] = contentJSON
	if answer.ID != "" {
		w.Header()["Keelson-Prediction-Id"] = []string{answer.ID}
	}
	send(w, r, x.answer)
	return nil
}

func decodeScoring(b []byte) (*scoring, error) {
	if at := notUTF8(b); at >= 0 { // the decoder would put another character in its place
		return nil, invalid("The JSON is not UTF-8 text at byte %d.", at)
	}
	body := new(scoring)
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	err := d.Decode(body)
	if err == nil {
		if _, more := d.Token(); more != io.EOF {
			err = invalid("The JSON is malformed at byte %d: something follows the document.", d.InputOffset())
		}
	}
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case err == nil:
		return body, nil
	case errors.As(err, &syntax):
		return nil, invalid("The JSON is malformed at byte %d: %s.", syntax.Offset, syntax.Error())
	case errors.As(err, &kind):
		return nil, invalid("The JSON has %s where %s expects another type.", article(kind.Value), or(kind.Field, "the body")).At(kind.Field)
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return nil, invalid("The JSON ends before it is whole.")
	}
	if _, ok := problem.As(err); ok {
		return nil, err
	}
	return nil, invalid("The JSON cannot be read.").Because(err)
}

func article(noun string) string {
	if strings.HasPrefix(noun, "a") || strings.HasPrefix(noun, "o") {
		return "an " + noun
	}
	return "a " + noun
}

func or(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

// frame gives the rows in whatever form they came.
func (b *scoring) frame(limits tensor.Limits) (*frame, error) {
	forms := 0
	for _, there := range []bool{b.Split != nil, b.Records != nil, b.Instances != nil, b.Inputs != nil} {
		if there {
			forms++
		}
	}
	switch {
	case forms != 1:
		return nil, invalid("The body needs exactly one of dataframe_split, dataframe_records, instances and inputs; it has %d.", forms)
	case b.Split != nil:
		return b.Split, b.Split.check("dataframe_split.data")
	case b.Records != nil:
		return fromRecords(b.Records, limits)
	case b.Instances != nil:
		return fromList(b.Instances, "instances", limits)
	}
	if columns, ok := b.Inputs.(map[string]any); ok {
		return fromColumns(columns, limits)
	}
	return fromList(b.Inputs, "inputs", limits)
}

// check fails when rows differ in width from each other or from the columns.
func (f *frame) check(field string) error {
	width := len(f.Columns)
	for i, row := range f.Data {
		if i == 0 && f.Columns == nil {
			width = len(row)
		}
		if len(row) != width {
			return invalid("Row %d has %d values instead of %d.", i, len(row), width).At(field)
		}
	}
	known := make(map[string]bool, len(f.Columns))
	for _, c := range f.Columns {
		if known[c] {
			return invalid("The column %q is there twice.", clip(c)).At("columns")
		}
		known[c] = true
	}
	return nil
}

// fromRecords makes a row of each object; a column that only some objects have is missing in the others. Its size is
// checked against the limit before it is made: few bytes of ever new names would ask for a very large table.
func fromRecords(records []map[string]any, limits tensor.Limits) (*frame, error) {
	f := &frame{Columns: labels{}, objects: true}
	known := map[string]bool{}
	for _, r := range records {
		for name := range r {
			if !known[name] {
				known[name] = true
				f.Columns = append(f.Columns, name)
			}
		}
	}
	if _, err := tensor.Count([]int{len(records), len(f.Columns)}, limits.Elements); err != nil {
		return nil, err
	}
	slices.Sort(f.Columns)
	for _, r := range records {
		row := make([]any, len(f.Columns))
		for i, name := range f.Columns {
			row[i] = r[name]
		}
		f.Data = append(f.Data, row)
	}
	return f, nil
}

func fromList(v any, field string, limits tensor.Limits) (*frame, error) {
	list, ok := v.([]any)
	if !ok {
		return nil, invalid("%s is not a list of rows.", field).At(field)
	}
	if len(list) == 0 {
		return nil, invalid("%s has no rows.", field).At(field)
	}
	if _, ok := list[0].(map[string]any); ok {
		records := make([]map[string]any, len(list))
		for i, item := range list {
			if records[i], ok = item.(map[string]any); !ok {
				return nil, invalid("Row %d is no object, although the first one is.", i).At(field)
			}
		}
		return fromRecords(records, limits)
	}
	_, nested := list[0].([]any)
	f := &frame{}
	for i, item := range list {
		row, ok := item.([]any)
		if ok != nested {
			return nil, invalid("Row %d is not of the kind of the first one.", i).At(field)
		}
		if !ok {
			row = []any{item}
		}
		f.Data = append(f.Data, row)
	}
	return f, f.check(field)
}

// fromColumns takes {"column": [values]}, or {"input": [[row], …]} with one matrix.
func fromColumns(columns map[string]any, limits tensor.Limits) (*frame, error) {
	f := &frame{Columns: labels{}, objects: true}
	for name := range columns {
		f.Columns = append(f.Columns, name)
	}
	slices.Sort(f.Columns)
	rows := -1
	for _, name := range f.Columns {
		values, ok := columns[name].([]any)
		if !ok {
			return nil, invalid("The input %q is not a list of values.", clip(name)).At("inputs")
		}
		if len(columns) == 1 && len(values) > 0 {
			if _, nested := values[0].([]any); nested {
				return fromList(values, "inputs", limits)
			}
		}
		if rows < 0 {
			rows = len(values)
		}
		if len(values) != rows {
			return nil, invalid("The input %q has %d values, others have %d.", clip(name), len(values), rows).At("inputs")
		}
	}
	f.Data = make([][]any, max(rows, 0))
	for i := range f.Data {
		f.Data[i] = make([]any, len(f.Columns))
		for k, name := range f.Columns {
			f.Data[i][k] = columns[name].([]any)[i]
		}
	}
	return f, nil
}

// tensors gives the rows the form that the signature asks for: one matrix, or a tensor per column, whose cells hold lists
// where the model takes matrices. Columns of a matrix
// are found by name where both sides have names; those that the model does not know are left out, as MLflow does.
func (f *frame) tensors(sig engine.Signature, limits tensor.Limits) ([]tensor.Tensor, error) {
	if len(f.Data) == 0 {
		return nil, invalid("The request has no rows.")
	}
	if _, err := tensor.Count([]int{len(f.Data), max(len(f.Data[0]), len(sig.Inputs))}, limits.Elements); err != nil {
		return nil, err
	}
	if spec := sig.Inputs[0]; len(sig.Inputs) == 1 && len(spec.Shape) == 2 && spec.Shape[1] != 1 && !f.lists(spec) {
		places, err := f.places(spec)
		if err != nil {
			return nil, err
		}
		t, err := f.tensor(spec, places, []int{len(f.Data), len(places)}, nil)
		return []tensor.Tensor{t}, err
	}
	if f.Columns == nil && len(f.Data[0]) != len(sig.Inputs) {
		return nil, invalid("Each row has %d values; the model takes %d, one per input.", len(f.Data[0]), len(sig.Inputs))
	}
	// Columns that the model does not know are left out, as MLflow does, unless one may be an optional input misspelt.
	if f.Columns != nil && slices.ContainsFunc(sig.Inputs, func(s engine.Spec) bool { return s.Optional && f.place(s) < 0 }) {
		for _, c := range f.Columns {
			if !slices.ContainsFunc(sig.Inputs, func(s engine.Spec) bool { return s.Name == c || len(s.Columns) == 1 && s.Columns[0] == c }) {
				return nil, invalid("The model has no input %q.", clip(c)).At(clip(c))
			}
		}
	}
	var list []tensor.Tensor
	for i, spec := range sig.Inputs {
		place := i
		if f.Columns != nil {
			if place = f.place(spec); place < 0 {
				if spec.Optional {
					continue
				}
				return nil, missing(spec.Name)
			}
		}
		shape := []int{len(f.Data)}
		deep := depths(f.Data[0][place], limits.Rank-1)
		if deep != nil {
			shape = append(shape, deep...)
			if _, err := tensor.Count(shape, limits.Elements); err != nil {
				return nil, err
			}
		} else if len(spec.Shape) == 2 {
			shape = append(shape, 1)
		}
		t, err := f.tensor(spec, []int{place}, shape, deep)
		if err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	return list, nil
}

// place is that of an input's column: by the name of the input or, of a matrix of one column, by that column's; below 0
// when there is none.
func (f *frame) place(spec engine.Spec) int {
	at := slices.Index(f.Columns, spec.Name)
	if at < 0 && len(spec.Columns) == 1 {
		at = slices.Index(f.Columns, spec.Columns[0])
	}
	return at
}

// lists tells whether the rows hold a matrix's rows as lists under its name.
func (f *frame) lists(spec engine.Spec) bool {
	return len(f.Columns) == 1 && f.Columns[0] == spec.Name && !slices.Contains(spec.Columns, spec.Name) && depths(f.Data[0][0], 1) != nil
}

func missing(column string) error {
	return invalid("The column %q is missing; send null for a missing value.", clip(column)).At(column)
}

// places says where in a row the columns of a matrix are. A matrix without names takes columns in their order, whatever they
// are called, as MLflow does; a model of numbers refuses a width that is none of its. One of texts may take any width and any
// text, so there columns are called by their places, as pandas does: nothing else tells one that is meant from one that is not.
func (f *frame) places(spec engine.Spec) ([]int, error) {
	places := make([]int, 0, len(spec.Columns))
	if f.Columns != nil && len(spec.Columns) > 0 {
		at := make(map[string]int, len(f.Columns))
		for i, c := range f.Columns {
			at[c] = i
		}
		for _, c := range spec.Columns {
			i, ok := at[c]
			if !ok {
				return nil, missing(c)
			}
			places = append(places, i)
		}
		return places, nil
	}
	if spec.Shape[1] < 0 && spec.Datatype == "BYTES" && !(len(f.Columns) == 1 && f.Columns[0] == spec.Name) {
		for i, c := range f.Columns {
			if c != strconv.Itoa(i) {
				return nil, invalid("The column %q is not known: the model takes a matrix %q of texts, of any width, whose columns have no names. Name them 0, 1, 2 and so on, or send rows without names.", clip(c), clip(spec.Name)).At(clip(c))
			}
		}
	}
	for i := range f.Data[0] {
		places = append(places, i)
	}
	return places, nil
}

// tensor gathers cells row by row. deep is the shape of the lists that each holds, nil for values.
func (f *frame) tensor(spec engine.Spec, places, shape, deep []int) (tensor.Tensor, error) {
	t := tensor.Tensor{Name: spec.Name, Shape: shape}
	var err error
	if t.Type, err = tensor.ParseType(spec.Datatype); err != nil {
		return t, err
	}
	for r, row := range f.Data {
		for _, p := range places {
			if !listed(&t, row[p], deep) {
				column := strconv.Itoa(p)
				if f.Columns != nil {
					column = f.Columns[p]
				}
				return t, invalid("Row %d of the column %q is not of the datatype %s.", r, clip(column), t.Type).At(clip(column))
			}
		}
	}
	return t, t.Check()
}

// appendCell adds one value; false when it is not of t's type. null is a missing number.
func appendCell(t *tensor.Tensor, v any) bool {
	if c, ok := v.(cell); ok {
		switch {
		case t.Type == tensor.Bytes:
			v = string(c)
		case c.missing():
			v = nil
		case strings.EqualFold(string(c), "true"):
			v = true
		case strings.EqualFold(string(c), "false"):
			v = false
		default:
			v = json.Number(strings.TrimSpace(string(c)))
		}
	}
	if v == nil {
		v = math.NaN()
	}
	var number float64
	text, isText := v.(string)
	truth, isTruth := v.(bool)
	digits, isNumber := v.(json.Number)
	switch {
	case isNumber:
		f, err := digits.Float64()
		if err != nil && strings.TrimPrefix(digits.String(), "-") != infinite {
			return false
		}
		number = f
	case isTruth && truth:
		number = 1
	case !isTruth && !isText:
		f, ok := v.(float64)
		if !ok {
			return false
		}
		number = f
	}
	if t.Type == tensor.Bytes {
		t.S = append(t.S, text)
		return isText
	}
	if isText { // a number in quotes is taken for a fraction, as MLflow takes it
		f, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
		if t.Type != tensor.FP32 && t.Type != tensor.FP64 || err != nil || math.IsInf(f, 0) || strings.ContainsAny(text, "xX_") {
			return false
		}
		number = f
	}
	switch t.Type {
	case tensor.FP16, tensor.BF16, tensor.FP32:
		t.F32 = append(t.F32, float32(number))
		return math.IsInf(number, 0) || !math.IsInf(float64(float32(number)), 0)
	case tensor.FP64:
		t.F64 = append(t.F64, number)
		return true
	case tensor.Bool:
		t.B = append(t.B, number == 1)
		return number == 0 || number == 1
	case tensor.Uint8, tensor.Uint16, tensor.Uint32, tensor.Uint64:
		u, err := strconv.ParseUint(string(digits), 10, 64)
		if err != nil && number >= 0 && number < 1<<63 && number == math.Trunc(number) { // pandas makes 3 into 3.0 beside a missing value
			u, err = uint64(number), nil
		}
		t.U64 = append(t.U64, u)
		return err == nil
	}
	n, err := strconv.ParseInt(string(digits), 10, 64)
	if err != nil && math.Abs(number) < 1<<63 && number == math.Trunc(number) {
		n, err = int64(number), nil
	}
	t.I64 = append(t.I64, n)
	return err == nil
}

// appendPredictions writes {"predictions": [...]}: per row the value of the only output, or an object of all outputs.
func appendPredictions(dst []byte, a *serving.Answer) []byte {
	dst = append(dst, `{"predictions":[`...)
	rows := 0
	if len(a.Outputs) > 0 {
		rows = a.Outputs[0].Rows()
	}
	for r := range rows {
		if r > 0 {
			dst = append(dst, ',')
		}
		if len(a.Outputs) == 1 {
			dst = appendRow(dst, &a.Outputs[0], r)
			continue
		}
		for i := range a.Outputs {
			sep := byte(',')
			if i == 0 {
				sep = '{'
			}
			dst = append(dst, sep)
			dst = tensor.AppendString(dst, a.Outputs[i].Name)
			dst = append(dst, ':')
			dst = appendRow(dst, &a.Outputs[i], r)
		}
		dst = append(dst, '}')
	}
	return append(dst, `]}`...)
}

// appendRow writes row r of t: a value when rows have one, else a list. A row that t does not have is null.
func appendRow(dst []byte, t *tensor.Tensor, r int) []byte {
	w := t.Width()
	if (r+1)*w > t.Len() || w == 0 {
		return append(dst, "null"...)
	}
	row := *t
	row.F32, row.F64, row.I64 = part(t.F32, r, w), part(t.F64, r, w), part(t.I64, r, w)
	row.U64, row.B, row.S = part(t.U64, r, w), part(t.B, r, w), part(t.S, r, w)
	from := len(dst)
	dst = row.AppendData(dst)
	if w == 1 {
		n := len(dst) - 2
		copy(dst[from:], dst[from+1:])
		dst = dst[:n]
	}
	return dst
}

func part[V any](v []V, r, w int) []V {
	if len(v) < (r+1)*w {
		return nil
	}
	return v[r*w : (r+1)*w]
}
