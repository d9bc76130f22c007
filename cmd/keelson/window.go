package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// monitorWindow is what the commands read of a window.
type monitorWindow struct {
	ID          string
	Version     int
	From, To    time.Time
	Rows        int
	Verdict     string
	Reasons     []string
	Features    []json.RawMessage
	Predictions []json.RawMessage
	Performance *struct {
		Kind     string
		N        int
		Coverage float64 `json:"label_coverage"`
		Metrics  map[string]*float64
	}
	Estimate *struct {
		Method, Basis, Metric, Note string
		Metrics                     map[string]struct{ Value, Lower, Upper, Reference, Realised *float64 }
	}
	Segments []struct {
		Name   string
		Metric string
		Rows   int
		Value  *float64
		Why    string
	}
	Regions []struct {
		Name, Shift, Why string
		Rows             int
		Moved, Compared  int
		Features         []regionColumn
		Predictions      []regionColumn
	} `json:"segment_drift"`
	Embeddings []struct {
		Name, Shift, Why string
		Columns, Rows    int
		MMD, Limit       *float64
		PValue           *float64 `json:"p_value"`
	}
	Custom []struct {
		Name, Unit, Why string
		Value           *float64
	}
	Rules []struct {
		Rule, Detail string
		OK           bool
	}
	Fairness []struct {
		Label, Rate, Detail, Why string
		Columns                  []string
		Value                    *float64
		Limit                    float64
		OK                       bool
		Rows, More               int
		Coverage                 *float64 `json:"label_coverage"`
		Groups                   []struct {
			Name          string
			Rows          int
			Small         bool
			SelectionRate *float64 `json:"selection_rate"`
			TPR, FPR      *float64
			Precision     *float64
		}
	}
	Worst      *foundPart   `json:"worst_segment"`
	Found      []foundPart  `json:"found_segments"`
	FoundDrift []foundDrift `json:"found_drift"`
}

// foundDrift is the slice in which a column moved most.
type foundDrift struct {
	Segment, Kind, Feature, Metric, Direction string
	Value, Limit                              float64
	Overall                                   *float64
	Slice                                     *struct{ Rows int }
}

// foundPart is a slice whose result is worse than that of the others.
type foundPart struct {
	Name, Metric   string
	Rows, Labelled int
	Estimated      bool
	Value          *float64
	Slice          *struct {
		Rest, Gap float64
		Lower     float64 `json:"gap_lower"`
		Upper     float64 `json:"gap_upper"`
		Looked    int     `json:"looked_at"`
	}
}

// segmentLine is one line of what is known of a segment, declared or found.
type segmentLine struct {
	Segment  string   `json:"segment"`
	Origin   string   `json:"origin"`
	Rows     int      `json:"rows"`
	Metric   string   `json:"metric"`
	Value    *float64 `json:"value"`
	Rest     *float64 `json:"rest"`
	GapLower *float64 `json:"gap_lower"`
	GapUpper *float64 `json:"gap_upper"`
	Moved    string   `json:"moved"`
	Why      string   `json:"why,omitempty"`
}

// segmentLines are the declared segments of a window and the slices that were found in it: of results first, the worst first.
func (w *monitorWindow) segmentLines() (out []segmentLine) {
	at := map[string]int{}
	put := func(name, origin string, rows int) *segmentLine {
		if i, ok := at[name]; ok {
			return &out[i]
		}
		at[name] = len(out)
		out = append(out, segmentLine{Segment: name, Origin: origin, Rows: rows})
		return &out[len(out)-1]
	}
	found := w.Found
	if found == nil && w.Worst != nil { // stored before more than one was looked for
		found = []foundPart{*w.Worst}
	}
	for _, p := range found {
		line := put(p.Name, "found", p.Rows)
		line.Metric, line.Value = p.Metric, p.Value
		if p.Estimated {
			line.Metric = "estimated " + p.Metric
		}
		if s := p.Slice; s != nil {
			line.Rest, line.GapLower, line.GapUpper = &s.Rest, &s.Lower, &s.Upper
		}
	}
	for _, s := range w.FoundDrift {
		rows := 0
		if s.Slice != nil {
			rows = s.Slice.Rows
		}
		line := put(s.Segment, "found", rows)
		line.Moved = moved(s.Feature, s.Direction, s.Metric, s.Value, s.Limit)
	}
	for _, s := range w.Segments {
		line := put(s.Name, "declared", s.Rows)
		line.Metric, line.Value, line.Why = s.Metric, s.Value, s.Why
	}
	for _, s := range w.Regions {
		line := put(s.Name, "declared", s.Rows)
		for _, f := range slices.Concat(s.Features, s.Predictions) {
			if f.Shift == "moved" && line.Moved == "" {
				line.Moved = moved(f.Name, f.Direction, f.Metric, f.Value, f.Limit)
			}
		}
		line.Why = cmp.Or(line.Why, s.Why)
	}
	return out
}

// moved says how far a column moved, in which direction where that is known: "age up (psi 0.31, limit 0.25)".
func moved(name, direction, metric string, value, limit float64) string {
	return fmt.Sprintf("%s (%s %.3g, limit %.3g)", strings.TrimSpace(name+" "+direction), metric, value, limit)
}
