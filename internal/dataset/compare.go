package dataset

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"sync"

	"keelson/internal/drift"
	"keelson/internal/problem"
	"keelson/internal/profile"
)

// File is a data file to read.
type File struct {
	At     io.ReaderAt
	Size   int64
	Format string // csv, parquet, or empty: what it is
}

// Effects are the sizes of an effect from which a column has moved, and Warn those from which it moved slightly. What chance
// gives for the rows, over all columns together, is always tolerated.
type Effects struct {
	PSI, KS         float64
	PSIWarn, KSWarn float64
	Missing         float64 // by how much the share of missing cells rises or falls
}

// Comparison is how the columns of a file moved against those of another.
type Comparison struct {
	ReferenceRows int64    `json:"reference_rows"`
	CurrentRows   int64    `json:"current_rows"`
	Moved         int      `json:"moved" doc:"columns that moved, changed their type or are in one file only"`
	Columns       []Change `json:"columns" doc:"the largest effect first"`
}

// Change is how one column moved. Numbers are null where they are undefined; Why says the reason.
type Change struct {
	Name        string   `json:"name"`
	Type        Type     `json:"type" doc:"in the reference, or where it is in one file only there"`
	Shift       string   `json:"shift" enum:"none,slight,moved,retyped,gone,new,unknown"`
	Effect      float64  `json:"effect" doc:"the measure that exceeds its limit most, over that limit: above 1 the column moved"`
	Metric      string   `json:"metric,omitempty" enum:"psi,ks,missing" doc:"that measure"`
	PSI         *float64 `json:"psi"`
	KS          *float64 `json:"ks" doc:"numbers only"`
	JS          *float64 `json:"js"`
	Wasserstein *float64 `json:"wasserstein" doc:"numbers only, in standard deviations of the reference"`
	ChiSquare   *float64 `json:"chi_square" doc:"words only"`
	CramersV    *float64 `json:"cramers_v" doc:"words only"`
	Missing     float64  `json:"missing" doc:"share of missing or infinite cells"`
	MissingWas  float64  `json:"missing_reference"`
	Reference   int64    `json:"reference" doc:"valid cells"`
	Current     int64    `json:"current"`
	Error       float64  `json:"ks_error,omitempty" doc:"what ks may be off by, where a column was too long to be kept whole"`
	Why         string   `json:"why,omitempty"`
}

const (
	comparedColumns = 8    // columns of CSV that are read together, unless there are very many
	storedColumns   = 2    // of Parquet, where the others need not be looked at
	comparedPasses  = 64   // how often a file is read at most
	compareAlpha    = 0.01 // probability that chance moves any column
)

// Compare holds the columns of a file against those of the same names in another. Each file is read several times, a few
// columns at once, so that memory stays bounded by twice Limits.Memory and some: the numbers of a column are compared exactly
// up to a million rows of up to 512 columns (four million of Parquet up to 128), beyond that by sketches whose error is stated. It fails with a problem when a file cannot be read;
// the text names which.
func Compare(ctx context.Context, reference, current File, e Effects, l Limits) (*Comparison, error) {
	l = l.filled()
	files := [2]File{reference, current}
	var fields [2][]Field
	var rows [2]int64
	var guessed [2]bool
	err := both(func(k int) (err error) {
		fields[k], rows[k], guessed[k], err = files[k].fields(ctx, l)
		return named(k, err)
	})
	if err != nil {
		return nil, err
	}
	out := &Comparison{Columns: []Change{}, ReferenceRows: rows[0], CurrentRows: rows[1]}
	places := make(map[string]int, len(fields[1]))
	for i, f := range fields[1] {
		places[f.Name] = i
	}
	var shared [][2]int // places in both files
	for i, f := range fields[0] {
		j, ok := places[f.Name]
		if !ok {
			out.Columns = append(out.Columns, Change{Name: f.Name, Type: f.Type, Shift: "gone", Why: "the column is in the reference only"})
			continue
		}
		delete(places, f.Name)
		is := cmp.Or(fields[1][j].Type, f.Type)
		f.Type = cmp.Or(f.Type, is)
		switch { // what looks like a number in a CSV file is a word where the other file says so
		case guessed[0] && !guessed[1] && is == String:
			f.Type = String
		case guessed[1] && !guessed[0] && f.Type == String:
			is = String
		}
		fields[0][i].Type, fields[1][j].Type = f.Type, is
		if kindOf(f.Type) != kindOf(is) || (f.Type == Time) != (is == Time) {
			out.Columns = append(out.Columns, Change{Name: f.Name, Type: f.Type, Shift: "retyped", Why: fmt.Sprintf("the column was %s and is %s", f.Type, is)})
			continue
		}
		shared = append(shared, [2]int{i, j})
	}
	for _, f := range fields[1] {
		if _, ok := places[f.Name]; ok {
			out.Columns = append(out.Columns, Change{Name: f.Name, Type: f.Type, Shift: "new", Why: "the column is in the second file only"})
		}
	}
	size := comparedColumns
	if !guessed[0] && !guessed[1] {
		size = storedColumns
	}
	size = max(size, (len(shared)+comparedPasses-1)/comparedPasses)
	numbers := int(l.Memory / 8) // that are kept of either file
	if max(rows[0], rows[1]) <= int64(numbers/max(len(shared), 1)) {
		size = max(len(shared), 1) // all of them fit
	}
	budget := max(numbers/size, 1)
	var sides [2][]*profile.Gathered // their memory serves one part after the other
	for some := range slices.Chunk(shared, size) {
		err := both(func(k int) (err error) {
			at := make([]int, len(some))
			for i := range some {
				at[i] = some[i][k]
			}
			for len(sides[k]) < len(at) {
				sides[k] = append(sides[k], profile.Gather("", "", budget))
			}
			return named(k, files[k].gather(ctx, fields[k], at, sides[k], l))
		})
		if err != nil {
			return nil, err
		}
		for i := range some {
			m := profile.Compare(sides[0][i], sides[1][i])
			out.Columns = append(out.Columns, changeOf(&m, fields[0][some[i][0]].Type, rows, len(shared), e))
		}
	}
	for i := range out.Columns {
		if s := out.Columns[i].Shift; s != "none" && s != "slight" && s != "unknown" {
			out.Moved++
		}
	}
	weight := map[string]int{"gone": 3, "new": 2, "retyped": 4}
	slices.SortStableFunc(out.Columns, func(a, b Change) int {
		return cmp.Or(cmp.Compare(weight[b.Shift], weight[a.Shift]), cmp.Compare(b.Effect, a.Effect), cmp.Compare(a.Name, b.Name))
	})
	return out, nil
}

// both runs f for the two files at the same time.
func both(f func(k int) error) error {
	var errs [2]error
	var wait sync.WaitGroup
	wait.Go(func() { errs[1] = f(1) })
	errs[0] = f(0)
	wait.Wait()
	return cmp.Or(errs[0], errs[1])
}

// named says which of the two files an error is about.
func named(k int, err error) error {
	if err == nil {
		return nil
	}
	which := [2]string{"reference", "current"}[k]
	if p, ok := problem.As(err); ok {
		return problem.New(p.Kind, "The %s file cannot be compared: %s", which, p.Detail).At(which)
	}
	return fmt.Errorf("read the %s file: %w", which, err)
}

// kindOf is how cells of a type are compared: words as words, all else as numbers, instants too.
func kindOf(t Type) string {
	if t == String || t == "" {
		return profile.Word
	}
	return profile.Number
}

// fields are the columns with their types, and how many rows there are. Types of CSV are guessed from all cells; that of a
// column without any is empty.
func (f File) fields(ctx context.Context, l Limits) (all []Field, rows int64, guessed bool, err error) {
	src, format, err := open(f.At, f.Size, f.Format, l)
	if err != nil {
		return nil, 0, false, err
	}
	if p, ok := src.(*parquetFile); ok && format == "parquet" {
		return slices.Clone(p.fields()), p.rows, false, nil
	}
	seen, err := inspect(ctx, src, nil, l)
	if err != nil {
		return nil, 0, false, err
	}
	for i := range seen.Profile {
		if seen.Profile[i].Count == 0 {
			seen.Schema[i].Type = ""
		}
	}
	return seen.Schema, seen.Rows, true, nil
}

// gather reads the columns at the places given, each into one of out.
func (f File) gather(ctx context.Context, fields []Field, at []int, out []*profile.Gathered, l Limits) error {
	want, by := make([]bool, len(fields)), make([]*profile.Gathered, len(fields))
	for i, k := range at {
		out[i].Reset(fields[k].Name, kindOf(fields[k].Type))
		want[k], by[k] = true, out[i]
	}
	_, err := ScanColumns(ctx, f.At, f.Size, f.Format, fields, l, func([]Field) error { return nil }, Sink{
		Want: want,
		Cell: func(column int, number float64, word []byte) error {
			if g := by[column]; g.Kind == profile.Word {
				g.AddWord(word)
			} else {
				g.Add(number)
			}
			return nil
		},
		Numbers: func(column int, values []float64) error { by[column].AddAll(values); return nil },
		Words:   func(column int, word []byte, count int64) error { by[column].AddWords(word, count); return nil },
	})
	return err
}

// changeOf turns measures into a shift: the measure that exceeds its limit by the largest factor is named.
func changeOf(m *profile.Measures, t Type, rows [2]int64, columns int, e Effects) Change {
	c := Change{Name: m.Name, Type: t, Shift: "unknown", PSI: m.PSI, KS: m.KS, JS: m.JS, Wasserstein: m.Wasserstein, ChiSquare: m.ChiSquare, CramersV: m.V,
		Missing: m.Missing, MissingWas: m.Was, Reference: m.Reference, Current: m.Valid, Error: m.Error, Why: m.Why}
	warned := false
	hold := func(metric string, value *float64, warn, act, chance float64) {
		if value == nil {
			return
		}
		if c.Shift == "unknown" {
			c.Shift = "none"
		}
		warned = warned || *value > math.Max(warn, chance)
		if effect := *value / math.Max(act, chance); c.Metric == "" || effect > c.Effect {
			c.Metric, c.Effect = metric, effect
		}
	}
	chance := drift.ChanceLimits(int(m.Reference), int(m.Valid), max(m.Bins, 1), columns, compareAlpha)
	hold("psi", m.PSI, e.PSIWarn, e.PSI, chance.PSI)
	hold("ks", m.KS, e.KSWarn, e.KS, chance.KS)
	if rows[0] > 0 && rows[1] > 0 {
		by := math.Abs(m.Missing - m.Was)
		hold("missing", &by, e.Missing, e.Missing, drift.ChanceRate(m.Was, int(rows[0]), int(rows[1]), columns, compareAlpha))
	}
	switch {
	case c.Effect > 1:
		c.Shift = "moved"
	case warned:
		c.Shift = "slight"
	}
	return c
}
