package approval

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"keelson/internal/problem"
)

// Changes is the difference between what is live and what is proposed, as an approver reads it.
type Changes struct {
	From     *VersionRef `json:"from"` // null when nothing is live there
	To       VersionRef  `json:"to"`
	Sections []Section   `json:"sections"`
}

// VersionRef names a version.
type VersionRef struct {
	Version        int    `json:"version"`
	ArtifactDigest string `json:"artifact_digest"`
}

// Section is one table of differences.
type Section struct {
	Title string `json:"title"`
	Rows  []Line `json:"rows"`
}

// Line is one difference. Better is null where neither direction is better by itself.
type Line struct {
	Label  string `json:"label"`
	Before string `json:"before"`
	After  string `json:"after"`
	Note   string `json:"note"`
	Better *bool  `json:"better"`
}

// recent is how far back callers are listed.
const recent = 30 * 24 * time.Hour

// Changes compares the version proposed by request ref with the one that is live in its environment now.
func (s *Service) Changes(ctx context.Context, ref string) (Changes, error) {
	var c Changes
	r, err := s.Get(ctx, ref)
	if err != nil {
		return c, err
	}
	after, err := s.Versions.Version(ctx, r.Model, r.Version)
	if err != nil {
		return c, err
	}
	c.To = VersionRef{r.Version, after.ArtifactDigest}
	before := Version{}
	if s.Endpoints != nil {
		live, err := s.Endpoints.LiveVersion(ctx, r.Model, r.Environment)
		if err != nil {
			return c, err
		}
		if live > 0 && live != r.Version {
			before, err = s.Versions.Version(ctx, r.Model, live)
			if err != nil && !problem.Is(err, problem.NotFound) {
				return c, err
			}
			c.From = &VersionRef{live, before.ArtifactDigest}
		}
	}
	c.Sections = compare(r, before, after)
	if (r.Kind == Retire || r.Kind == Suspend) && s.Callers != nil {
		who, err := s.Callers.Callers(ctx, r.Model, r.Version, s.now().Add(-recent))
		if err != nil {
			return c, err
		}
		sec := Section{Title: "Callers of the last 30 days", Rows: []Line{}}
		for _, k := range who {
			sec.Rows = append(sec.Rows, Line{Label: k.Name, After: strconv.FormatInt(k.Calls, 10) + " calls", Note: "last on " + k.Last.UTC().Format("2006-01-02 15:04 UTC")})
		}
		if len(who) == 0 {
			sec.Rows = append(sec.Rows, Line{Label: "nobody", Note: "the prediction log has no call of this version"})
		}
		c.Sections = append(c.Sections, sec)
	}
	return c, nil
}

func compare(r Request, a, b Version) []Section {
	out := []Section{}
	add := func(title string, rows []Line) {
		if len(rows) > 0 {
			out = append(out, Section{title, rows})
		}
	}
	add("Plan", planLines(r))
	add("Metrics", numbers(a.Metrics, b.Metrics))
	add("Evaluation", testLines(a, b))
	add("Data", dependencyLines(a, b, "data"))
	add("Dependencies", dependencyLines(a, b, "run", "library", "model", "code"))
	add("Signature", append(fieldLines("input", a.Inputs, b.Inputs), fieldLines("output", a.Outputs, b.Outputs)...))
	add("Artifact", artifactLines(a, b))
	return out
}

func planLines(r Request) []Line {
	words := "all calls at once"
	switch r.Plan.Mode {
	case Canary:
		var steps []string
		for _, st := range r.Plan.Steps {
			w := fmt.Sprintf("%d %%", st.Share)
			var holds []string
			if st.HoldRows > 0 {
				holds = append(holds, fmt.Sprintf("%d rows", st.HoldRows))
			}
			if st.HoldSeconds > 0 {
				holds = append(holds, (time.Duration(st.HoldSeconds) * time.Second).String())
			}
			if len(holds) == 0 {
				holds = []string{"a person goes on"}
			}
			steps = append(steps, w+" until "+strings.Join(holds, " and "))
		}
		words = strings.Join(append(steps, "100 %"), ", then ")
	case Shadow:
		words = fmt.Sprintf("copies of %d %% of the calls; no answer of it is sent", r.Plan.Share)
	}
	if r.Kind != Deploy {
		words = r.Kind + " at once"
	}
	out := []Line{
		{Label: "rollout", After: words},
		{Label: "environment", After: r.Environment + " as " + r.Endpoint},
	}
	if r.Plan.AcceptColumns {
		out = append(out, Line{Label: "other columns", After: "accepted", Note: "calls that send a matrix without the names of its columns are read by their places"})
	}
	return out
}

// lowerIsBetter are parts of names of metrics that measure error or cost.
var lowerIsBetter = []string{"loss", "error", "rmse", "mae", "mse", "mape", "brier", "latency", "_ms", "fpr", "fnr", "false_"}

// higherIsBetter are parts of names of metrics that measure success.
var higherIsBetter = []string{"acc", "auc", "f1", "precision", "recall", "sensitivity", "specificity", "r2", "score", "tpr", "tnr", "kappa", "mcc", "ndcg"}

// better says whether going from a to b is good, nil where the name does not tell or nothing changed.
func better(name string, a, b float64) *bool {
	if a == b || math.IsNaN(a) || math.IsNaN(b) {
		return nil
	}
	name = strings.ToLower(name)
	has := func(list []string) bool {
		return slices.ContainsFunc(list, func(p string) bool { return strings.Contains(name, p) })
	}
	switch up := b > a; {
	case has(lowerIsBetter):
		down := !up
		return &down
	case has(higherIsBetter):
		return &up
	}
	return nil
}

func numbers(a, b map[string]float64) []Line {
	var out []Line
	for _, name := range names(a, b) {
		x, hasA := a[name]
		y, hasB := b[name]
		l := Line{Label: name}
		if hasA {
			l.Before = number(x)
		}
		if hasB {
			l.After = number(y)
		}
		if hasA && hasB {
			l.Better = better(name, x, y)
			if x != y {
				l.Note = fmt.Sprintf("%+.4g", y-x)
			}
		}
		out = append(out, l)
	}
	return out
}

func number(x float64) string { return strconv.FormatFloat(x, 'g', 6, 64) }

func names[V any](a, b map[string]V) []string {
	var out []string
	for n := range a {
		out = append(out, n)
	}
	for n := range b {
		if _, ok := a[n]; !ok {
			out = append(out, n)
		}
	}
	sort.Strings(out)
	return out
}

func testLines(a, b Version) []Line {
	before := map[string]Test{}
	for _, t := range a.Evaluation.Tests {
		before[t.Name] = t
	}
	var out []Line
	for _, t := range b.Evaluation.Tests {
		l := Line{Label: t.Name, After: result(t), Note: t.Detail}
		if o, ok := before[t.Name]; ok {
			l.Before = result(o)
			if o.State != t.State && (t.State == "passed" || o.State == "passed") {
				ok := t.State == "passed"
				l.Better = &ok
			} else {
				l.Better = better(t.Name+" "+t.Kind, o.Value, t.Value)
			}
		}
		out = append(out, l)
	}
	if len(out) == 0 {
		state := b.Evaluation.State
		if state == "" {
			state = "none"
		}
		out = append(out, Line{Label: "evaluation", After: state})
	}
	return out
}

func result(t Test) string {
	if math.IsNaN(t.Value) {
		return t.State
	}
	return t.State + " (" + number(t.Value) + ")"
}

func dependencyLines(a, b Version, kinds ...string) []Line {
	pick := func(v Version) map[string]Dependency {
		m := map[string]Dependency{}
		for _, d := range v.Dependencies {
			if slices.Contains(kinds, d.Kind) {
				m[d.Kind+" "+d.Name] = d
			}
		}
		return m
	}
	x, y := pick(a), pick(b)
	var out []Line
	for _, n := range names(x, y) {
		o, had := x[n]
		d, has := y[n]
		l := Line{Label: n}
		if had {
			l.Before = strings.TrimSpace(o.Version + " " + short(o.Digest))
		}
		if has {
			l.After = strings.TrimSpace(d.Version + " " + short(d.Digest))
		}
		switch {
		case a.Number == 0 || had && has && l.Before == l.After:
		case had && has:
			l.Note = "changed"
		case has:
			l.Note = "added"
		default:
			l.Note = "removed"
		}
		out = append(out, l)
	}
	return out
}

func fieldLines(what string, a, b []Field) []Line {
	toMap := func(fields []Field) map[string]string {
		m := map[string]string{}
		for _, f := range fields {
			m[what+" "+f.Name] = f.Type
		}
		return m
	}
	x, y := toMap(a), toMap(b)
	var out []Line
	for _, n := range names(x, y) {
		if len(a) > 0 && x[n] == y[n] {
			continue // only what changed; everything when there is nothing to compare with
		}
		l := Line{Label: n, Before: x[n], After: y[n]}
		if len(a) > 0 {
			l.Note = "changed: callers must follow"
		}
		out = append(out, l)
	}
	for _, f := range a {
		i := slices.IndexFunc(b, func(o Field) bool { return o.Name == f.Name })
		if i >= 0 && len(f.Columns) > 0 && !slices.Equal(f.Columns, b[i].Columns) {
			out = append(out, Line{Label: "columns of " + what + " " + f.Name, Before: strings.Join(f.Columns, ", "), After: strings.Join(b[i].Columns, ", "), Note: "changed: callers that send a matrix must follow"})
		}
	}
	return out
}

func artifactLines(a, b Version) []Line {
	size := func(v Version) string {
		if v.Number == 0 {
			return ""
		}
		return fmt.Sprintf("%d bytes", v.Size)
	}
	golden := func(v Version) string {
		if v.Golden.Rows == 0 {
			return ""
		}
		return fmt.Sprintf("%s on %d rows, limit %s", number(v.Golden.MaxError), v.Golden.Rows, number(v.Golden.Limit))
	}
	return []Line{
		{Label: "digest", Before: short(a.ArtifactDigest), After: short(b.ArtifactDigest)},
		{Label: "format", Before: a.Format, After: b.Format},
		{Label: "size", Before: size(a), After: size(b)},
		{Label: "largest error on golden rows", Before: golden(a), After: golden(b)},
		{Label: "commit", Before: commit(a), After: commit(b)},
		{Label: "made by", Before: strings.Join(a.Authors, ", "), After: strings.Join(b.Authors, ", ")},
	}
}

func commit(v Version) string {
	c := v.Commit
	if len(c) > 12 {
		c = c[:12]
	}
	if v.Dirty {
		c = strings.TrimSpace(c + " with changes that were not committed")
	}
	return c
}
