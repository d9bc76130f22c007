package monitor

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"keelson/internal/db"
	"keelson/internal/problem"
	"keelson/internal/subgroup"
)

// Region is how far the columns of a declared segment moved against the rows of the same segment in the reference.
type Region struct {
	Name          string    `json:"name"`
	Rows          int       `json:"rows" doc:"of the window"`
	ReferenceRows int       `json:"reference_rows" doc:"rows of the segment in the reference"`
	Share         float64   `json:"share" doc:"of the window's rows, 0..1"`
	ShareWas      *float64  `json:"share_reference,omitempty" doc:"of the reference's rows, 0..1"`
	Compared      int       `json:"compared" doc:"columns and outputs that were compared"`
	Moved         int       `json:"moved" doc:"of them"`
	Shift         string    `json:"shift" enum:"none,slight,moved,unknown"`
	Features      []Feature `json:"features,omitempty" doc:"the inputs that moved most for their limits, up to 5"`
	Predictions   []Feature `json:"predictions,omitempty" doc:"the outputs that moved most, up to 5"`
	Why           string    `json:"why,omitempty" doc:"why it is unknown"`
}

// Drifted names the segment that moved furthest for its limit.
type Drifted struct {
	Segment   string   `json:"segment"`
	Kind      string   `json:"kind" enum:"data,prediction"`
	Feature   string   `json:"feature"`
	Metric    string   `json:"metric" doc:"the measure of the effect size"`
	Value     float64  `json:"value"`
	Limit     float64  `json:"limit"`
	Overall   *float64 `json:"overall" doc:"the same measure over all rows; null where it is undefined"`
	Direction string   `json:"direction,omitempty" enum:"up,down"`

	Slice *DriftedSlice `json:"slice,omitempty" doc:"of one that was found"`
}

// DriftedSlice says what else is known of a slice that nobody declared and that was found.
type DriftedSlice struct {
	Condition     subgroup.Condition `json:"condition"`
	Rows          int                `json:"rows" doc:"of the window; of a sample, where it has more than 20,000"`
	ReferenceRows int                `json:"reference_rows"`
	Share         float64            `json:"share" doc:"of the window's rows, 0..1"`
	ShareWas      float64            `json:"share_reference"`
	Looked        int                `json:"looked_at" doc:"pairs of a slice and a column that were large enough"`
}

const (
	mostRegions   = 50  // segments whose columns are compared
	regionColumns = 200 // columns that are compared of each
	regionShown   = 5   // columns that are shown of each
)

// parts is what is known of the reference's segments and embeddings. It is kept in memory and learnt again, with equal
// results, after a restart.
type parts struct {
	key     string
	why     string // why the rows of the reference are not known
	regions map[string]region
	clouds  map[string]cloud
	inputs  *crossing // of its inputs with each other
	answers *crossing // of its inputs with its outputs
}

// region is a segment of the reference.
type region struct {
	rows, of        int // rows of the segment and of the whole reference
	inputs, outputs *profile
	why             string
}

// learnParts reads the rows of the reference once and sums up its segments and embeddings, and how its columns go together.
// plain are the columns of a window that are compared one by one.
func (s *Service) learnParts(ctx context.Context, m *Monitor, state *versionState, r *Result, embedded []Embedding, plain []series, read reading) error {
	plain = m.crossed(plain)
	key := db.ToJSON(map[string]any{"reference": r.Reference, "against": s.against(m, r), "quiet": state.baseline.Window, "segments": m.Segments, "embeddings": embedded, "columns": columnNames(plain)})
	if state.parts != nil && state.parts.key == key {
		return nil
	}
	p := &parts{key: key, regions: map[string]region{}, clouds: map[string]cloud{}}
	inputs, answers, err := s.referenceRows(ctx, m, state, r, read)
	switch problem.KindOf(err) {
	case problem.NotFound, problem.Conflict, problem.Invalid, problem.TooLarge:
		p.why = "the rows of the reference cannot be read"
		state.parts = p
		return nil
	}
	if err != nil {
		return err
	}
	if inputs == nil {
		state.parts = nil // the first quiet window becomes the reference; later ones look again
		return nil
	}
	for i := range m.Segments[:min(len(m.Segments), mostRegions)] {
		p.regions[m.Segments[i].Name] = m.Segments[i].learn(inputs, answers, len(m.Segments))
	}
	for i := range embedded {
		p.clouds[embedded[i].Name] = embedded[i].learn(inputs)
	}
	if common := shared(inputs.inputs, plain); len(common) > 0 {
		p.inputs = cross(common, nil, inputs.n)
		if answers != nil {
			p.answers = cross(shared(answers.inputs, plain), answers.outputs, answers.n)
		}
	}
	state.parts = p
	return nil
}

// referenceRows are the rows that a window is compared with: those of the data set for inputs, those of the version's first
// quiet window for outputs, or those of the window that was named for both. answers has inputs too, by which its segments are
// known. Both are nil while there is no reference.
func (s *Service) referenceRows(ctx context.Context, m *Monitor, state *versionState, r *Result, read reading) (inputs, answers *rows, err error) {
	quiet := state.baseline.Window
	switch against := s.against(m, r); against.Kind {
	case "window":
		quiet = against.Window
	case "version":
		var known map[int]*versionState
		if err := s.DB.Read(ctx, func(tx db.Scope) (err error) { known, err = states(tx, m.Endpoint); return err }); err != nil {
			return nil, nil, err
		}
		if other := known[against.Version]; other != nil {
			quiet = other.baseline.Window
		}
	}
	if quiet != "" {
		if answers, err = s.windowRows(ctx, m, quiet); err != nil {
			return nil, nil, err
		}
	}
	if r.Reference.Dataset == "" {
		return answers, answers, nil
	}
	all, types, err := read(ctx, r.Reference)
	if err != nil {
		return nil, nil, err
	}
	inputs = &rows{inputs: all, types: types}
	for _, c := range all {
		inputs.n = max(inputs.n, len(c.numbers), len(c.words))
	}
	if answers != nil {
		answers.inputs = named(answers.inputs, profileShape(all, types))
	}
	return inputs, answers, nil
}

// profileShape is a profile of names and kinds only.
func profileShape(all []series, types map[string]string) *profile {
	p := &profile{}
	for _, s := range all {
		p.Columns = append(p.Columns, column{Name: s.name, Kind: kindOfSeries(s), Type: types[s.name]})
	}
	return p
}

// windowRows reads the rows of a stored window again; nil when there is none any more.
func (s *Service) windowRows(ctx context.Context, m *Monitor, id string) (*rows, error) {
	var of Result
	err := s.DB.Read(ctx, func(tx db.Scope) (err error) { of, err = window(tx, m.Endpoint, id); return err })
	if problem.Is(err, problem.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	b, err := s.rowsOf(ctx, m, &of, true)
	if err != nil || b.rows == 0 {
		return nil, err
	}
	return &rows{n: b.rows, inputs: b.inputs.columns, outputs: b.outputs.columns}, nil
}

// learn sums up the reference's rows of a segment.
func (s *Segment) learn(inputs, answers *rows, segments int) region {
	out := region{of: inputs.n}
	take := func(w *rows, all []series) (int, *profile) {
		mask, ok := s.mask(w)
		if !ok {
			out.why = fmt.Sprintf("the reference has no column %q", clip(s.Column))
			return 0, nil
		}
		at := rowsIn(mask)
		if len(at) < fewest {
			return len(at), nil
		}
		all = all[:min(len(all), regionColumns)]
		return len(at), profileOf(pickRows(all, at), w.types)
	}
	out.rows, out.inputs = take(inputs, inputs.inputs)
	if out.inputs == nil {
		if out.why == "" {
			out.why = fmt.Sprintf("the reference has %d rows of it, %d are needed", out.rows, fewest)
		}
		return out
	}
	if answers != nil {
		why := out.why
		_, out.outputs = take(answers, answers.outputs)
		out.why = why // what the outputs lack does not keep the inputs from being compared
	}
	return out
}

func rowsIn(mask []bool) (at []int) {
	for i, in := range mask {
		if in {
			at = append(at, i)
		}
	}
	return at
}

// compareRegions holds the declared segments of a window against those of the reference. Limits are the monitor's, and what
// chance gives for the rows of a segment is tolerated over all columns of all segments together.
func (p *parts) compareRegions(m *Monitor, w *rows, l Limits) (out []Region) {
	for i := range m.Segments[:min(len(m.Segments), mostRegions)] {
		s := &m.Segments[i]
		mask, ok := s.mask(w)
		at := rowsIn(mask)
		one := Region{Name: s.Name, Rows: len(at), Share: rate(len(at), w.n), Shift: "unknown"}
		known := p.regions[s.Name]
		one.ReferenceRows = known.rows
		if known.of > 0 && known.why == "" {
			was := rate(known.rows, known.of)
			one.ShareWas = &was
		}
		switch {
		case !ok:
			one.Why = fmt.Sprintf("the logged inputs have no column %q", clip(s.Column))
		case p.why != "":
			one.Why = p.why
		case known.why != "":
			one.Why = known.why
		case len(at) < fewest:
			one.Why = fmt.Sprintf("the window has %d rows of it, %d are needed", len(at), fewest)
		default:
			one.compare(m, s, w, at, &known, l)
		}
		out = append(out, one)
	}
	return out
}

func (r *Region) compare(m *Monitor, s *Segment, w *rows, at []int, known *region, l Limits) {
	count := (min(len(w.inputs), regionColumns) + len(w.outputs)) * min(len(m.Segments), mostRegions)
	hold := func(p *profile, all []series) (out []Feature) {
		if p == nil {
			return nil
		}
		for _, c := range p.Columns {
			have := seriesOf(all, c.Name)
			if have == nil || c.Name == s.Column || len(m.Features) > 0 && !slices.Contains(m.Features, c.Name) && p == known.inputs {
				continue // the column that makes the segment does not vary in it
			}
			f := c.compare(pickRows([]series{*have}, at)[0], l, count)
			f.Histogram = nil
			if f.Shift == "unknown" {
				continue
			}
			r.Compared++
			switch {
			case f.Shift == "moved":
				r.Moved++
				r.Shift = "moved"
			case r.Shift != "moved" && f.Shift == "slight" || r.Shift == "unknown":
				r.Shift = f.Shift
			}
			out = append(out, f)
		}
		slices.SortStableFunc(out, func(a, b Feature) int { return cmp.Compare(b.excess(), a.excess()) })
		return out[:min(len(out), regionShown)]
	}
	r.Features = hold(known.inputs, w.inputs)
	r.Predictions = hold(known.outputs, w.outputs)
	if r.Compared == 0 {
		r.Why = fmt.Sprintf("no column has %d valid values in it", fewest)
	}
}

// excess is the effect size over its limit; of a column that did not move, the PSI over its limit, at most 1.
func (f *Feature) excess() float64 {
	switch {
	case f.Shift == "moved" && f.Limit > 0:
		return 1 + f.Value/f.Limit
	case f.PSI != nil && f.Limit > 0:
		return min(*f.PSI/f.Limit, 1)
	}
	return 0
}

// furthest names the segment, and the column of it, that moved furthest for its limit; nil when none moved.
func (r *Result) furthest() *Drifted {
	var out *Drifted
	for i := range r.Regions {
		for _, part := range []struct {
			kind    string
			columns []Feature
			all     []Feature
		}{{"data", r.Regions[i].Features, r.Features}, {"prediction", r.Regions[i].Predictions, r.Predictions}} {
			for _, f := range part.columns {
				if f.Shift != "moved" || out != nil && f.Value/f.Limit <= out.Value/out.Limit {
					continue
				}
				out = &Drifted{Segment: r.Regions[i].Name, Kind: part.kind, Feature: f.Name, Metric: f.Metric, Value: f.Value, Limit: f.Limit, Direction: f.Direction}
				if k := slices.IndexFunc(part.all, func(o Feature) bool { return o.Name == f.Name }); k >= 0 {
					out.Overall = part.all[k].measured(f.Metric)
				}
			}
		}
	}
	return out
}

// measured is one measure of a column by its name; nil where it is undefined.
func (f *Feature) measured(metric string) *float64 {
	switch metric {
	case "psi":
		return f.PSI
	case "ks":
		return f.KS
	case "new":
		return f.New
	case "missing":
		return &f.Missing
	}
	return nil
}

// regionCauses are the segments that moved where all rows together did not: of each, the column that moved furthest.
func (r *Result) regionCauses() (out []Cause) {
	overall := func(all []Feature, name string) bool {
		return slices.ContainsFunc(all, func(f Feature) bool { return f.Name == name && f.Shift == "moved" })
	}
	for i := range r.Regions {
		for _, part := range []struct {
			kind    string
			columns []Feature
			all     []Feature
		}{{"data", r.Regions[i].Features, r.Features}, {"prediction", r.Regions[i].Predictions, r.Predictions}} {
			for _, f := range part.columns {
				if f.Shift == "moved" && !overall(part.all, f.Name) {
					out = append(out, Cause{Kind: part.kind, Feature: f.Name, Metric: f.Metric, Value: f.Value, Limit: f.Limit, Direction: f.Direction, Segment: r.Regions[i].Name})
					break
				}
			}
		}
	}
	return out
}
