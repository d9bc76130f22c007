package incident

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"keelson/internal/audit"
)

// History is where changes are looked for; audit.Log has it.
type History interface {
	List(ctx context.Context, q audit.Query) ([]audit.Entry, error)
}

// Suspect is a change before the trouble began. Being before is no proof: it is where to look first.
type Suspect struct {
	At     time.Time `json:"at"`
	By     string    `json:"by"`
	Action string    `json:"action"`
	Object string    `json:"object"`
	Text   string    `json:"text" doc:"in words"`
	Before string    `json:"before" doc:"how long before the first window over the limit, as 2h10m0s; - while that window ran"`
	Score  float64   `json:"score" doc:"0..1: weight of such a change for this cause, halved with every day in between"`
	Entry  string    `json:"entry" doc:"the entry of the audit log"`
}

// lookback is how far before the first window over the limit changes are looked for.
const lookback = 7 * 24 * time.Hour

// weights say how likely a kind of change explains a cause (kind of incident; "" is every other). An action matches the
// longest prefix.
var weights = []struct {
	prefix  string
	text    string
	by      map[string]float64
	regular float64
}{
	{"deployment.released", "went live", map[string]float64{ResultWorse: 1, PredictionMoved: 1, GroupsApart: 1, Degraded: 1, DataMoved: 0.5}, 0.8},
	{"deployment.rolled-back", "was rolled back", map[string]float64{ResultWorse: 1, PredictionMoved: 1, GroupsApart: 1, Degraded: 1, DataMoved: 0.4}, 0.8},
	{"deployment.", "was changed", map[string]float64{ResultWorse: 0.8, PredictionMoved: 0.8, Degraded: 0.9, DataMoved: 0.4}, 0.6},
	{"dataset.schema", "changed its columns", map[string]float64{DataMoved: 1, QualityBroken: 1}, 0.8},
	{"dataset.imported", "arrived", map[string]float64{DataMoved: 0.9, QualityBroken: 0.9, ResultWorse: 0.6, GroupsApart: 0.5}, 0.5},
	{"dataset.created", "was made", nil, 0.2},
	{"dataset.", "was changed", map[string]float64{DataMoved: 0.8, QualityBroken: 0.8, ResultWorse: 0.5}, 0.4},
	{"monitor.changed", "got other limits or another reference", nil, 0.7},
	{"monitor.created", "began to be watched", nil, 0.2},
	{"policy.changed", "was changed", map[string]float64{Degraded: 0.5}, 0.3},
	{"environment.", "was changed", nil, 0.3},
	{"pipeline.run.finished", "ran", map[string]float64{ResultWorse: 0.5}, 0.4},
	{"pipeline.saved", "was changed", nil, 0.3},
	{"version.", "was added or changed", nil, 0.3},
	{"model.", "was changed", nil, 0.2},
	{"usecase.", "was changed", nil, 0.1},
}

// weigh gives the weight of an action for a kind of incident and its words; 0 for what changes nothing.
func weigh(action, kind string) (float64, string) {
	for _, w := range weights {
		if strings.HasPrefix(action, w.prefix) {
			if v, ok := w.by[kind]; ok {
				return v, w.text
			}
			return w.regular, w.text
		}
	}
	return 0, ""
}

// suspects lists what changed in the week before the first window over the limit, of the model, of the data its versions
// are made from, and of the policies; the likeliest first, ten at most.
func (s *Service) suspects(ctx context.Context, i Incident) ([]Suspect, error) {
	out := []Suspect{}
	if s.History == nil || i.Facts.Began.IsZero() {
		return out, nil
	}
	queries := []audit.Query{{Action: "policy.changed"}, {Action: "environment."}}
	if i.Model != "" {
		queries = append(queries, audit.Query{Model: i.Model})
	}
	if i.Endpoint != "" {
		queries = append(queries, audit.Query{Object: "deployment/" + i.Endpoint}, audit.Query{Object: "monitor/" + i.Endpoint})
	}
	if s.Data != nil && i.Model != "" {
		names, err := s.Data(ctx, i.Model)
		if err != nil {
			s.Log.WarnContext(ctx, "the data of a model is not known for its suspects", "model", i.Model, "error", err)
		}
		for _, n := range names {
			queries = append(queries, audit.Query{Object: "dataset/" + n}, audit.Query{Action: "dataset.", Object: "dataset/" + n})
		}
	}
	seen := map[string]bool{}
	for _, q := range queries {
		q.Since, q.Until, q.Limit = i.Facts.Began.Add(-lookback), later(i), 200
		list, err := s.History.List(ctx, q)
		if err != nil {
			return nil, fmt.Errorf("look for what changed before incident %s: %w", i.ID, err)
		}
		for _, e := range list {
			weight, what := weigh(e.Action, i.Kind)
			if weight == 0 || seen[e.ID] {
				continue
			}
			seen[e.ID] = true
			before := i.Facts.Began.Sub(e.At)
			if changed := s.columns(ctx, e); changed != "" {
				weight, what = weigh("dataset.schema", i.Kind)
				what += ": " + changed
			}
			x := Suspect{At: e.At, By: e.Actor, Action: e.Action, Object: e.Object, Entry: e.ID, Before: "-", Score: weight, Text: sentence(e, what)}
			if before > 0 {
				x.Before = before.Round(time.Second).String()
				x.Score = weight / (1 + before.Hours()/24)
			}
			x.Score = float64(int(x.Score*1000+0.5)) / 1000
			out = append(out, x)
		}
	}
	out = together(out)
	slices.SortStableFunc(out, func(a, b Suspect) int {
		return cmp.Or(cmp.Compare(b.Score, a.Score), b.At.Compare(a.At))
	})
	return out[:min(len(out), 10)], nil
}

// together keeps, of changes that read alike, the likeliest, and says how many they were.
func together(all []Suspect) (out []Suspect) {
	at, times := map[string]int{}, map[string]int{}
	out = []Suspect{}
	for _, x := range all {
		key := x.By + "\x00" + x.Action + "\x00" + x.Object + "\x00" + x.Text
		times[key]++
		i, known := at[key]
		if !known {
			at[key] = len(out)
			out = append(out, x)
			continue
		}
		if x.Score > out[i].Score {
			out[i] = x
		}
	}
	for key, i := range at {
		if n := times[key]; n > 1 {
			out[i].Text = fmt.Sprintf("%s, %d times.", strings.TrimSuffix(out[i].Text, "."), n)
		}
	}
	return out
}

// columns says how the columns of a data version differ from those of the version before, where an entry is about one.
func (s *Service) columns(ctx context.Context, e audit.Entry) string {
	rest, ok := strings.CutPrefix(e.Object, "dataset/")
	name, version, versioned := strings.Cut(rest, "/")
	n, err := strconv.Atoi(version)
	if s.Columns == nil || !ok || !versioned || err != nil || n < 2 {
		return ""
	}
	words, err := s.Columns(ctx, name, n)
	if err != nil {
		s.Log.WarnContext(ctx, "the columns of two data versions cannot be compared", "dataset", name, "version", n, "error", err)
		return ""
	}
	return words
}

// later is the end of the time that changes are looked for in: one while the first window ran may be its cause, one after
// the alert is an answer to it.
func later(i Incident) time.Time {
	end := i.Facts.Began.Add(i.Facts.To.Sub(i.Facts.From))
	if i.OpenedAt.Before(end) {
		return i.OpenedAt
	}
	return end
}

// sentence says what an entry of the audit log changed: the words of the act where it has some.
func sentence(e audit.Entry, what string) string {
	var d struct {
		Words    string `json:"words"`
		Version  int    `json:"version"`
		Pipeline string `json:"pipeline"`
	}
	_ = json.Unmarshal(e.Detail, &d)
	_, name, _ := strings.Cut(e.Object, "/")
	if strings.HasPrefix(e.Object, "dataset/") {
		name = "The data " + name
	}
	if name == "" {
		name = e.Object
	}
	switch {
	case d.Words != "":
		return d.Words
	case d.Pipeline != "":
		return fmt.Sprintf("The pipeline %s %s.", d.Pipeline, what)
	case d.Version > 0 && !strings.HasSuffix(name, fmt.Sprintf("/%d", d.Version)):
		return fmt.Sprintf("%s version %d %s.", name, d.Version, what)
	}
	return fmt.Sprintf("%s %s.", name, what)
}
