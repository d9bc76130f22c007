package oip

import (
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"keelson/internal/tensor"
)

// MLflow's scoring server takes rows as JSON or as CSV with a first line of column names, and has two addresses beside
// its call: /ping, by which its client waits, and /version.

// cell is a value of a CSV file, whose type the model's signature says.
type cell string

// missing tells whether a cell is what pandas reads as a missing number.
func (c cell) missing() bool {
	switch strings.ToLower(string(c)) {
	case "", "nan", "na", "n/a", "null", "none", "<na>", "-nan":
		return true
	}
	return false
}

// csvRows reads the rows of a CSV body.
func csvRows(b []byte, limits tensor.Limits) (*frame, error) {
	if at := notUTF8(b); at >= 0 {
		return nil, invalid("The CSV is not UTF-8 text at byte %d.", at)
	}
	r := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(b, []byte("\ufeff"))))
	columns, err := r.Read()
	if errors.Is(err, io.EOF) {
		return nil, invalid("The CSV is empty; its first line names the columns.")
	}
	if err != nil {
		return nil, badCSV(err)
	}
	f := &frame{Columns: columns}
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			return f, f.check("columns")
		}
		if err != nil {
			return nil, badCSV(err)
		}
		if _, err := tensor.Count([]int{len(f.Data) + 1, len(columns)}, limits.Elements); err != nil {
			return nil, err
		}
		row := make([]any, len(record))
		for i, v := range record {
			row[i] = cell(v)
		}
		f.Data = append(f.Data, row)
	}
}

// notUTF8 is where b ceases to be UTF-8, counted from 0; -1 when it is UTF-8 to its end.
func notUTF8(b []byte) int {
	if utf8.Valid(b) {
		return -1
	}
	i := 0
	for {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n < 2 {
			return i
		}
		i += n
	}
}

func badCSV(err error) error {
	var at *csv.ParseError
	if errors.As(err, &at) {
		return invalid("The CSV is malformed in line %d: %s.", at.Line, at.Err).Because(err)
	}
	return invalid("The CSV cannot be read.").Because(err)
}

// scoringForm tells whether a scoring call's body is CSV; JSON goes without a name, and under the one that curl gives by itself.
func scoringForm(r *http.Request) (isCSV bool, err error) {
	sent := r.Header.Get("Content-Type")
	if sent == "" {
		return false, nil
	}
	kind, params, err := mime.ParseMediaType(sent)
	switch {
	case err == nil && kind == "text/csv" && (params["charset"] == "" || strings.EqualFold(params["charset"], "utf-8")):
		return true, nil
	case err == nil && (kind == "application/json" || kind == "application/x-www-form-urlencoded" || strings.HasSuffix(kind, "+json")):
		return false, nil
	}
	return false, unsupportedMedia{invalid("The Content-Type %q is not known here; send application/json or text/csv.", clip(sent))}
}

// listed appends the values of a cell that holds lists, as deep as shape, to t; false when they do not fill it.
func listed(t *tensor.Tensor, v any, shape []int) bool {
	if len(shape) == 0 {
		return appendCell(t, v)
	}
	list, ok := v.([]any)
	return ok && len(list) == shape[0] && !slices.ContainsFunc(list, func(x any) bool { return !listed(t, x, shape[1:]) })
}

// depths gives the lengths of the lists that a cell holds, by its first elements; nil when it holds none.
func depths(v any, most int) (shape []int) {
	for list, ok := v.([]any); ok && len(shape) < most; list, ok = v.([]any) {
		if shape = append(shape, len(list)); len(list) == 0 {
			break
		}
		v = list[0]
	}
	return shape
}

// ping answers MLflow's client, which waits for a status of 200.
func (h *Handler) ping(w http.ResponseWriter, r *http.Request) {
	if _, ok := h.describe(w, r); ok {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte("\n"))
	}
}

// scoringVersion is the version of this server, where MLflow's tells its own.
func (h *Handler) scoringVersion(w http.ResponseWriter, r *http.Request) {
	if _, ok := h.describe(w, r); ok {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte(h.Version))
	}
}
