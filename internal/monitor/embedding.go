package monitor

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"keelson/internal/score"
	"keelson/internal/shift"
)

// Embedding is a vector among the inputs: columns that say something together and nothing by themselves. It is compared as a
// whole, and its columns are not compared one by one unless they are named among the features.
type Embedding struct {
	Name    string   `json:"name"`
	Columns []string `json:"columns,omitempty" doc:"its columns; emb_* stands for all whose names begin with emb_"`
	Input   string   `json:"input,omitempty" doc:"or the input tensor that it is: its columns are NAME_0, NAME_1, … or, of the only one, f0, f1, …"`
	Limit   *float64 `json:"limit,omitempty" doc:"largest MMD², above 0 and at most 2; 0.02 if empty, a shift of about a quarter of a standard deviation in every direction"`
}

// EmbeddingShift is how far the cloud of an embedding moved.
type EmbeddingShift struct {
	Name          string      `json:"name"`
	Columns       int         `json:"columns"`
	Rows          int         `json:"rows" doc:"rows of the window with a whole vector"`
	LeftOut       int         `json:"left_out,omitempty" doc:"rows whose vector is not whole"`
	ReferenceRows int         `json:"reference_rows"`
	MMD           score.Value `json:"mmd" doc:"squared maximum mean discrepancy, about 0 when the clouds are alike, at most 2"`
	PValue        score.Value `json:"p_value" doc:"chance of an MMD this large among alike clouds; by itself it decides nothing"`
	Euclidean     score.Value `json:"euclidean" doc:"distance of the means"`
	Cosine        score.Value `json:"cosine" doc:"1 minus the cosine of the angle between the means, 0..2"`
	Limit         float64     `json:"limit"`
	Shift         string      `json:"shift" enum:"none,slight,moved,unknown"`
	Found         bool        `json:"found,omitempty" doc:"nobody declared it: its columns are numbered through"`
	Why           string      `json:"why,omitempty" doc:"why it is unknown"`
}

const (
	mostEmbeddings = 20
	// embeddingLimit and embeddingSlight are MMD² from which an embedding moved, and from which it is watched.
	embeddingLimit = 0.02
	slightShare    = 0.25
	// embeddingRows of each side are compared; the cost grows with their square.
	embeddingRows = 400
	// widest is the largest number of columns of one embedding.
	widest = 4096
	// foundWidth is from how many numbered columns on an undeclared embedding is recognised.
	foundWidth = 128
)

// cloud is an embedding's rows of the reference.
type cloud struct {
	columns []string
	rows    [][]float64
	why     string
}

func (e *Embedding) check(at string) error {
	switch {
	case (len(e.Columns) == 0) == (e.Input == ""):
		return invalid(at, "The embedding %q is either columns or an input.", clip(e.Name))
	case len(e.Columns) > widest || len(e.Input) > 200:
		return invalid(at+".columns", "The embedding %q has more than %d columns, or its input a name of more than 200 bytes.", clip(e.Name), widest)
	case e.Limit != nil && !(*e.Limit > 0 && *e.Limit <= 2):
		return invalid(at+".limit", "The limit of the embedding %q lies above 0 and at most at 2.", clip(e.Name))
	}
	for i, c := range e.Columns {
		if c == "" || c == "*" || len(c) > 200 || strings.Contains(strings.TrimSuffix(c, "*"), "*") {
			return invalid(fmt.Sprintf("%s.columns[%d]", at, i), "A column of the embedding %q is a name, or the beginning of names and one * at its end.", clip(e.Name))
		}
	}
	return nil
}

// numbered reads names such as emb_12 or f3: the prefix and the number.
func numbered(name string) (prefix string, number int, ok bool) {
	prefix = strings.TrimRight(name, "0123456789")
	digits := name[len(prefix):]
	if digits == "" || len(digits) > 5 || len(digits) > 1 && digits[0] == '0' {
		return "", 0, false
	}
	number, err := strconv.Atoi(digits)
	return prefix, number, err == nil
}

// of are the names of the embedding's columns among all, in their order.
func (e *Embedding) of(all []series) (out []string) {
	matches := func(name string) bool {
		for _, c := range e.Columns {
			if begin, pattern := strings.CutSuffix(c, "*"); pattern && strings.HasPrefix(name, begin) || c == name {
				return true
			}
		}
		return false
	}
	if e.Input != "" {
		begin := e.Input + "_"
		if !slices.ContainsFunc(all, func(s series) bool { p, _, ok := numbered(s.name); return ok && p == begin }) {
			begin = "f" // the only unnamed matrix
		}
		matches = func(name string) bool { p, _, ok := numbered(name); return ok && p == begin || name == e.Input }
	}
	for _, s := range all {
		if matches(s.name) && s.words == nil && len(out) < widest {
			out = append(out, s.name)
		}
	}
	return out
}

// embeddings are the declared ones and those that are recognised: foundWidth or more columns of numbers that are numbered
// through from 0 or 1 and that nobody declared.
func (m *Monitor) embeddings(all []series) (out []Embedding) {
	out = slices.Clone(m.Embeddings)
	taken := map[string]bool{}
	for i := range out {
		for _, name := range out[i].of(all) {
			taken[name] = true
		}
	}
	widths, order := map[string]int{}, []string{}
	for _, s := range all {
		p, n, ok := numbered(s.name)
		if !ok || s.words != nil || taken[s.name] {
			continue
		}
		if _, known := widths[p]; !known {
			if n > 1 {
				continue
			}
			widths[p] = 0
			order = append(order, p)
		}
		widths[p]++
	}
	for _, p := range order {
		name := strings.TrimRight(p, "_-. ")
		if widths[p] >= foundWidth && len(out) < mostEmbeddings && !slices.ContainsFunc(out, func(e Embedding) bool { return e.Name == name }) {
			out = append(out, Embedding{Name: name, Columns: []string{p + "*"}})
		}
	}
	return out
}

// vectors are the rows of columns, those with a missing or infinite number left out; at most n, evenly spaced.
func vectors(all []series, names []string, rowCount, n int) (out [][]float64, whole int) {
	var columns []*series
	for _, name := range names {
		s := seriesOf(all, name)
		if s == nil || s.words != nil {
			return nil, 0
		}
		columns = append(columns, s)
	}
	var at []int
next:
	for i := range rowCount {
		for _, s := range columns {
			if i >= len(s.numbers) || !finite(s.numbers[i]) {
				continue next
			}
		}
		at = append(at, i)
	}
	out = make([][]float64, min(n, len(at)))
	for k := range out {
		i := at[k*len(at)/len(out)]
		out[k] = make([]float64, len(columns))
		for c, s := range columns {
			out[k][c] = float64(float32(s.numbers[i])) // as a model of 32-bit inputs sees it
		}
	}
	return out, len(at)
}

// learn keeps rows of the reference.
func (e *Embedding) learn(reference *rows) cloud {
	c := cloud{columns: e.of(reference.inputs)}
	if len(c.columns) == 0 {
		c.why = "the reference has no such columns of numbers"
		return c
	}
	var whole int
	if c.rows, whole = vectors(reference.inputs, c.columns, reference.n, embeddingRows); whole < fewest {
		c.rows, c.why = nil, fmt.Sprintf("the reference has %d rows with a whole vector, %d are needed", whole, fewest)
	}
	return c
}

// compareEmbeddings holds the embeddings of a window against those of the reference. One moved when its MMD² exceeds the limit
// and is larger than chance gives with Alpha over all of them together.
func (p *parts) compareEmbeddings(m *Monitor, embedded []Embedding, w *rows) (out []EmbeddingShift) {
	for i := range embedded {
		e := &embedded[i]
		one := EmbeddingShift{Name: e.Name, Limit: embeddingLimit, Shift: "unknown", Found: i >= len(m.Embeddings)}
		if e.Limit != nil {
			one.Limit = *e.Limit
		}
		one.compare(p, e, w, len(embedded))
		for _, v := range []*score.Value{&one.MMD, &one.PValue, &one.Euclidean, &one.Cosine} {
			if one.Why != "" {
				*v = score.Undefined(one.Why)
			}
		}
		out = append(out, one)
	}
	return out
}

func (s *EmbeddingShift) compare(p *parts, e *Embedding, w *rows, of int) {
	known := p.clouds[e.Name]
	names := e.of(w.inputs)
	s.Columns, s.ReferenceRows = len(names), len(known.rows)
	rows, whole := vectors(w.inputs, names, w.n, embeddingRows)
	s.Rows, s.LeftOut = whole, w.n-whole
	switch {
	case p.why != "":
		s.Why = p.why
	case len(names) == 0:
		s.Why = "the logged inputs have no such columns of numbers"
	case known.why != "":
		s.Why = known.why
	case len(names) != len(known.columns):
		s.Why = fmt.Sprintf("the window has vectors of %d numbers and the reference of %d", len(names), len(known.columns))
	case whole < fewest:
		s.Why = fmt.Sprintf("the window has %d rows with a whole vector, %d are needed", whole, fewest)
	}
	if s.Why != "" {
		return
	}
	tail := Alpha / float64(of)
	d, err := shift.Compare(known.rows, rows, shift.CompareParams{Rows: embeddingRows, Permutations: min(int(2/tail), 2000)})
	if err != nil {
		s.Why = err.Error()
		return
	}
	s.MMD, s.PValue, s.Euclidean, s.Cosine = d.MMD, d.PValue, d.Euclidean, d.Cosine
	s.Shift = "none"
	if chance := d.PValue.V > tail; !chance && d.MMD.V > s.Limit {
		s.Shift = "moved"
	} else if !chance && d.MMD.V > slightShare*s.Limit {
		s.Shift = "slight"
	}
}

// cause is an embedding that moved; nil when it did not.
func (s *EmbeddingShift) cause() *Cause {
	if s.Shift != "moved" {
		return nil
	}
	return &Cause{Kind: "data", Feature: s.Name, Metric: "mmd", Value: s.MMD.V, Limit: s.Limit}
}

// without leaves out the columns of declared embeddings.
func (m *Monitor) without(all []series) []series {
	taken := map[string]bool{}
	for i := range m.Embeddings {
		for _, name := range m.Embeddings[i].of(all) {
			taken[name] = !slices.Contains(m.Features, name)
		}
	}
	if len(taken) == 0 {
		return all
	}
	out := make([]series, 0, len(all))
	for _, s := range all {
		if !taken[s.name] {
			out = append(out, s)
		}
	}
	return out
}
