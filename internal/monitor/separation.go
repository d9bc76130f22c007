package monitor

import (
	"cmp"
	"context"
	"slices"
	"time"

	"keelson/internal/boost"
	"keelson/internal/db"
	"keelson/internal/problem"
	"keelson/internal/score"
	"keelson/internal/shift"
)

// Separation says how well a classifier tells the rows of a window from those of the reference.
type Separation struct {
	AUC      score.Value    `json:"auc" doc:"0.5: not to be told apart; over rows it was not trained on"`
	Interval score.Interval `json:"interval"`
	Columns  []Weight       `json:"columns" doc:"what gives the rows away, the most telling first"`
	Rows     int            `json:"rows" doc:"of the window"`
	Of       int            `json:"reference_rows"`
	At       time.Time      `json:"at"`
}

// Weight is the share of a column in what tells two samples apart.
type Weight struct {
	Column string  `json:"column"`
	Share  float64 `json:"share"`
}

// Separate trains a classifier to tell the rows of a window from the reference, and stores what it finds with the window.
func (s *Service) Separate(ctx context.Context, endpoint, id string) (out Separation, err error) {
	var m Monitor
	var r Result
	var known map[int]*versionState
	err = s.DB.Read(ctx, func(tx db.Scope) (err error) {
		if m, _, err = get(tx, endpoint); err != nil {
			return err
		}
		if r, err = window(tx, endpoint, id); err == nil {
			known, err = states(tx, endpoint)
		}
		return err
	})
	if err != nil {
		return out, err
	}
	state := known[r.Version]
	if state == nil {
		state = &versionState{}
	}
	reference, _, err := s.reference(ctx, &m, state, &r)
	if err != nil {
		return out, err
	}
	if r.Reference.Dataset == "" {
		return out, problem.New(problem.Conflict, "The rows of the reference of %q are not known, only what they looked like; name a data set as its reference.", endpoint).At("reference")
	}
	all, _, err := s.tableOf(ctx, r.Reference)
	if err != nil {
		return out, err
	}
	b, err := s.rowsOf(ctx, &m, &r, true)
	if err != nil {
		return out, err
	}
	now := named(b.inputs.columns, reference)
	var from, to []boost.Column
	var names []string
	for _, have := range now {
		was := seriesOf(all, have.name)
		if was == nil || (was.words != nil) != (have.words != nil) || len(names) == mostColumns {
			continue
		}
		names = append(names, have.name)
		from, to = append(from, narrow(was, &have)), append(to, boost.Column{Numbers: have.numbers, Words: have.words})
	}
	if len(names) == 0 {
		return out, problem.New(problem.Conflict, "The window and its reference have no column in common.").At("window")
	}
	sep, err := shift.Separate(from, to, shift.SeparateParams{Rows: 5000})
	if err != nil {
		return out, problem.New(problem.Conflict, "The window cannot be told from its reference: %s.", err).At("window")
	}
	out = Separation{AUC: sep.AUC, Interval: sep.Interval, Rows: sep.Current, Of: sep.Reference, At: s.now()}
	for i, share := range sep.Importance {
		if share > 0 {
			out.Columns = append(out.Columns, Weight{names[i], share})
		}
	}
	slices.SortStableFunc(out.Columns, func(a, b Weight) int { return cmp.Compare(b.Share, a.Share) })
	out.Columns = out.Columns[:min(len(out.Columns), 10)]
	return out, s.DB.Write(ctx, func(tx db.Scope) error {
		stored, err := window(tx, endpoint, id)
		if err != nil {
			return err
		}
		stored.Separation = &out
		return updateWindow(tx, &stored)
	})
}

// narrow gives the reference's numbers as a model of 32-bit inputs sees them, when the window's are such: otherwise the digits
// alone would give the rows away.
func narrow(was, have *series) boost.Column {
	if was.words != nil || !isNarrow(have.numbers, was.numbers) {
		return boost.Column{Numbers: was.numbers, Words: was.words}
	}
	out := make([]float64, len(was.numbers))
	for i, v := range was.numbers {
		out[i] = float64(float32(v))
	}
	return boost.Column{Numbers: out}
}

// Nightly lets a classifier look at the newest window of each monitor of which none was looked at for a day.
func (s *Service) Nightly(ctx context.Context) error {
	return s.every(ctx, func(ctx context.Context, at [2]string) error {
		var some []Result
		if err := s.DB.Read(ctx, func(tx db.Scope) (err error) { some, err = brief(tx, at[1], anyVersion, "", shown); return err }); err != nil {
			return err
		}
		due := len(some) > 0 && some[0].TooFew == "" && some[0].Reference.Dataset != ""
		for _, r := range some {
			due = due && (r.Separation == nil || s.now().Sub(r.Separation.At) >= 24*time.Hour)
		}
		if !due {
			return nil
		}
		if _, err := s.Separate(ctx, at[1], some[0].ID); err != nil && problem.KindOf(err) == problem.Internal {
			return err
		}
		return nil
	})
}
