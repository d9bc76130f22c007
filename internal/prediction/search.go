package prediction

import (
	"context"
	"math"
	"slices"
	"strconv"
	"strings"

	"keelson/internal/engine"
	"keelson/internal/filter"
	"keelson/internal/tensor"
)

// Entities of a search beside filter.Attribute.
const (
	ofInput  = "input"
	ofOutput = "output"
)

var (
	numeric = filter.Key{Type: filter.Number, Ops: filter.Numbers}
	word    = filter.Key{Ops: filter.Lists}
	value   = &filter.Key{Type: filter.Value, Ops: append([]string{filter.Like, filter.ILike, filter.In, filter.NotIn}, filter.Numbers...)}
)

// Grammar is what a search of predictions may name: what stands beside a call, and the values of its inputs and outputs
// by the name of the tensor or column ("input.age", "output.score"), or by place ("input.`x[2]`").
var Grammar = &filter.Grammar{Entities: []filter.Entity{
	{Name: filter.Attribute, Aliases: []string{"attributes", "prediction"}, Keys: map[string]filter.Key{
		"id": word, "endpoint": word, "model": word, "environment": word, "slot": word, "caller": word, "application": word, "purpose": word,
		"subject": word, "segment": word, "request": word, "error": word, "trace": word, "version": numeric, "rows": numeric, "latency_us": numeric,
	}},
	{Name: ofInput, Aliases: []string{"inputs"}, Any: value},
	{Name: ofOutput, Aliases: []string{"outputs"}, Any: value},
}}

// maxLooked is how many records a search reads for one page before it says how far it came.
const maxLooked = 20_000

// Search gives up to limit of the newest records that q and every clause of a filter over Grammar select, newest first.
// Clauses on inputs and outputs must hold for the same row. next is where the following page begins, empty at the end; a
// page with fewer records than the limit may have a next one, when maxLooked records were read for it.
func (s *Service) Search(ctx context.Context, q Query, text string, limit int) (out []Record, next string, err error) {
	holds, err := s.Where(ctx, text)
	if err != nil {
		return nil, "", err
	}
	looked, last := 0, ""
	err = s.read(ctx, q, order{newestFirst: true}, func(r *Record) (bool, error) {
		if len(out) == limit || looked == maxLooked {
			next = last
			return false, nil
		}
		looked, last = looked+1, r.ID
		if holds == nil || holds(r) {
			out = append(out, *r)
		}
		return true, nil
	})
	return out, next, err
}

// Where gives what says whether a record meets a filter over Grammar; nil for an empty one. It is for one reading of the log.
func (s *Service) Where(ctx context.Context, text string) (func(*Record) bool, error) {
	clauses, err := filter.Parse(text, Grammar)
	if err != nil || len(clauses) == 0 {
		return nil, err
	}
	w := &where{clauses: clauses, columns: map[ref]map[string]spot{}, names: func(r *Record) engine.Signature {
		if s.Signature == nil {
			return engine.Signature{}
		}
		sig, err := s.Signature(ctx, r.Model, r.Version)
		if err != nil {
			return engine.Signature{} // the version is gone; its columns are known by place only
		}
		return sig
	}}
	return w.holds, nil
}

type ref struct {
	model   string
	version int
}

// spot is where a column stands.
type spot struct {
	input  string
	column int
}

// where holds a search over one reading of the log.
type where struct {
	clauses []filter.Clause
	names   func(*Record) engine.Signature
	columns map[ref]map[string]spot // by the names of the columns of matrices
}

// holds says whether a record meets every clause.
func (w *where) holds(r *Record) bool {
	var values []filter.Clause
	for _, c := range w.clauses {
		switch {
		case c.Entity != filter.Attribute:
			values = append(values, c)
		case c.Numeric:
			if !c.MeetsNumber(attributeNumber(r, c.Key)) {
				return false
			}
		case !c.MeetsText(attributeText(r, c.Key)):
			return false
		}
	}
	if len(values) == 0 {
		return true
	}
	for row := range max(r.Rows, 1) {
		if !slices.ContainsFunc(values, func(c filter.Clause) bool { return !w.row(r, c, row) }) {
			return true
		}
	}
	return false
}

func attributeNumber(r *Record, key string) float64 {
	switch key {
	case "version":
		return float64(r.Version)
	case "rows":
		return float64(r.Rows)
	}
	return float64(r.Latency.Microseconds())
}

func attributeText(r *Record, key string) string {
	return map[string]string{"id": r.ID, "endpoint": r.Endpoint, "model": r.Model, "environment": r.Environment, "slot": r.Slot, "caller": r.Caller, "application": r.Application,
		"purpose": r.Purpose, "subject": r.Subject, "segment": r.Segment, "request": r.Request, "error": r.Error, "trace": r.Trace}[key]
}

// row says whether a value of one row meets a clause; of a name that stands for several values of a row, any may.
func (w *where) row(r *Record, c filter.Clause, row int) bool {
	list := r.Inputs
	if c.Entity == ofOutput {
		list = r.Outputs
	}
	name, at := c.Key, -1
	if open := strings.LastIndexByte(name, '['); open > 0 && strings.HasSuffix(name, "]") {
		if n, err := strconv.Atoi(name[open+1 : len(name)-1]); err == nil && n >= 0 {
			name, at = name[:open], n
		}
	}
	t := tensor.Find(list, name)
	if t == nil && c.Entity == ofInput {
		if p, ok := w.column(r, c.Key); ok {
			if t, at = tensor.Find(list, p.input), p.column; t == nil && len(list) == 1 {
				t = &list[0] // a single matrix may have any name
			}
		}
	}
	if t == nil || row >= max(t.Rows(), 1) {
		return false
	}
	width := max(t.Width(), 1)
	from, to := row*width, (row+1)*width
	if at >= 0 {
		if at >= width {
			return false
		}
		from, to = from+at, from+at+1
	}
	for i := from; i < min(to, t.Len()); i++ {
		if meets(c, t, i) {
			return true
		}
	}
	return false
}

// meets compares value i; a missing number meets nothing.
func meets(c filter.Clause, t *tensor.Tensor, i int) bool {
	if t.Type == tensor.Bytes {
		return !c.Numeric && c.MeetsText(t.S[i])
	}
	v := t.Float64(i)
	if math.IsNaN(v) {
		return false
	}
	if c.Numeric {
		return c.MeetsNumber(v)
	}
	return c.MeetsText(strconv.FormatFloat(v, 'g', -1, 64))
}

func (w *where) column(r *Record, name string) (spot, bool) {
	k := ref{r.Model, r.Version}
	known, ok := w.columns[k]
	if !ok {
		known = map[string]spot{}
		for _, in := range w.names(r).Inputs {
			for i, c := range in.Columns {
				known[c] = spot{in.Name, i}
			}
		}
		w.columns[k] = known
	}
	p, ok := known[name]
	return p, ok
}
