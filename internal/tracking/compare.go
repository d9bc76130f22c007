package tracking

import (
	"context"
	"math"
	"slices"
	"strings"
	"time"

	"keelson/internal/db"
	"keelson/internal/problem"
)

// MaxCompare is how many runs are compared at once.
const MaxCompare = 200

// Line is one parameter, tag or data set of several runs, in their order; nil where a run has none.
type Line struct {
	Key     string    `json:"key"`
	Values  []*string `json:"values"`
	Differs bool      `json:"differs"`
}

// MetricLine is one metric of several runs. Values that are not finite are strings. Min, Max and the places of the runs
// that have them (from 0) are of the finite values.
type MetricLine struct {
	Key      string   `json:"key"`
	Values   []any    `json:"values" doc:"a number, NaN, Infinity or -Infinity as a string, or null"`
	Differs  bool     `json:"differs"`
	Min      *float64 `json:"min,omitempty"`
	Max      *float64 `json:"max,omitempty"`
	BestLow  *int     `json:"best_low,omitempty" doc:"which run has the smallest value, from 0"`
	BestHigh *int     `json:"best_high,omitempty" doc:"which run has the largest value, from 0"`
}

type comparedRun struct {
	ID         string     `json:"id"`
	Name       string     `json:"name"`
	Experiment string     `json:"experiment"`
	Status     string     `json:"status"`
	User       string     `json:"user"`
	StartedAt  time.Time  `json:"started_at"`
	EndedAt    *time.Time `json:"ended_at,omitempty"`
}

// Comparison is several runs side by side; lines are sorted by key.
type Comparison struct {
	Runs    []comparedRun `json:"runs"`
	Params  []Line        `json:"params"`
	Metrics []MetricLine  `json:"metrics"`
	Tags    []Line        `json:"tags"`
	Inputs  []Line        `json:"inputs"`
}

// shownTag leaves out what MLflow's clients keep in tags for themselves.
func shownTag(key string) bool {
	return !strings.HasPrefix(key, "mlflow.") || strings.HasPrefix(key, "mlflow.source.") || key == TagUser
}

// compare lays runs side by side; with only set, lines on which all agree are left out.
func compare(runs []Run, only bool) Comparison {
	out := Comparison{Runs: []comparedRun{}, Metrics: []MetricLine{}}
	metrics := map[string][]any{}
	for i, r := range runs {
		c := comparedRun{ID: r.ID, Name: r.Name, Experiment: r.Experiment, Status: r.Status, User: r.Author, StartedAt: r.Started}
		if !r.Ended.IsZero() {
			c.EndedAt = &runs[i].Ended
		}
		out.Runs = append(out.Runs, c)
		for _, m := range r.Metrics {
			if metrics[m.Key] == nil {
				metrics[m.Key] = make([]any, len(runs))
			}
			metrics[m.Key][i] = jsonNumber(m.Value)
		}
	}
	for key, values := range metrics {
		m := MetricLine{Key: key, Values: values, Differs: slices.ContainsFunc(values, func(v any) bool { return v != values[0] })}
		for i, v := range values {
			x, ok := v.(float64)
			if !ok || math.IsInf(x, 0) {
				continue
			}
			if m.Min == nil || x < *m.Min {
				m.Min, m.BestLow = &x, &i
			}
			if m.Max == nil || x > *m.Max {
				m.Max, m.BestHigh = &x, &i
			}
		}
		if m.Differs || !only {
			out.Metrics = append(out.Metrics, m)
		}
	}
	slices.SortFunc(out.Metrics, func(a, b MetricLine) int { return strings.Compare(a.Key, b.Key) })
	out.Params = lines(runs, only, func(r Run) map[string]string { return r.Params })
	out.Tags = lines(runs, only, func(r Run) map[string]string {
		tags := map[string]string{}
		for k, v := range r.Tags {
			if shownTag(k) {
				tags[k] = v
			}
		}
		return tags
	})
	out.Inputs = lines(runs, only, func(r Run) map[string]string {
		data := map[string]string{}
		for _, in := range DataOf(r) {
			key := in.Dataset
			if in.Context != "" {
				key += " (" + in.Context + ")"
			}
			data[key] = in.Digest
		}
		return data
	})
	return out
}

func lines(runs []Run, only bool, of func(Run) map[string]string) []Line {
	all := map[string][]*string{}
	for i, r := range runs {
		for k, v := range of(r) {
			if all[k] == nil {
				all[k] = make([]*string, len(runs))
			}
			all[k][i] = &v
		}
	}
	out := []Line{}
	for k, values := range all {
		l := Line{Key: k, Values: values, Differs: slices.ContainsFunc(values, func(v *string) bool {
			return (v == nil) != (values[0] == nil) || v != nil && *v != *values[0]
		})}
		if l.Differs || !only {
			out = append(out, l)
		}
	}
	slices.SortFunc(out, func(a, b Line) int { return strings.Compare(a.Key, b.Key) })
	return out
}

// compareRuns reads runs in the order they were asked for and lays them side by side.
func (s *Service) compareRuns(ctx context.Context, in *struct {
	IDs  string `query:"ids" required:"true" doc:"comma list of 2 to 200 runs"`
	Only bool   `query:"only_differences" doc:"leave out what is the same in all"`
}) (out Comparison, err error) {
	var ids []string
	for _, id := range strings.Split(in.IDs, ",") {
		if id = strings.TrimSpace(id); id != "" && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	if len(ids) < 2 || len(ids) > MaxCompare {
		return out, problem.New(problem.Invalid, "From 2 to %d different runs can be compared; got %d.", MaxCompare, len(ids)).At("ids")
	}
	var runs []Run
	err = s.DB.Read(ctx, func(tx db.Scope) (err error) { runs, err = readRuns(tx, ids, nil); return err })
	if err != nil {
		return out, err
	}
	for i, r := range runs {
		if r.ID == "" { // not there by this name: perhaps it was shortened
			if runs[i], err = s.Shortened(ctx, ids[i]); err != nil {
				if p, ok := problem.As(err); ok {
					p.Field = "ids"
				}
				return out, err
			}
		}
	}
	return compare(runs, in.Only), nil
}
