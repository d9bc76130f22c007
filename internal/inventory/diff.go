package inventory

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"keelson/internal/engine"
	"keelson/internal/problem"
	"keelson/internal/tracking"
)

// How a thing differs between two versions.
const (
	Added   = "added"
	Removed = "removed"
	Changed = "changed"
	Same    = "same"
)

// Change is one named value on both sides; "" where it is not there.
type Change struct {
	Name   string `json:"name"`
	Change string `json:"change" enum:"added,removed,changed,same"`
	Before string `json:"before"`
	After  string `json:"after"`
}

// FileChange is one file on both sides; nil where it is not there.
type FileChange struct {
	Path   string `json:"path"`
	Change string `json:"change" enum:"added,removed,changed,same"`
	Before *File  `json:"before"`
	After  *File  `json:"after"`
}

// FieldChange is one input, output or parameter of the signatures, written as "FP64[-1,30]".
type FieldChange struct {
	Part string `json:"part" enum:"inputs,outputs,params"`
	Change
}

// DependencyChange is one thing the versions were made of or need.
type DependencyChange struct {
	Kind string `json:"kind" enum:"data,run,library,model,code"`
	Change
}

// Measured is a metric's value; NaN and infinities are written as text, nothing as null.
type Measured float64

// MarshalJSON implements json.Marshaler.
func (m Measured) MarshalJSON() ([]byte, error) {
	v := float64(m)
	switch {
	case math.IsNaN(v):
		return []byte(`"NaN"`), nil
	case math.IsInf(v, 1):
		return []byte(`"Infinity"`), nil
	case math.IsInf(v, -1):
		return []byte(`"-Infinity"`), nil
	}
	return strconv.AppendFloat(nil, v, 'g', -1, 64), nil
}

// MetricChange is one metric on both sides. Delta is After − Before where both are finite.
type MetricChange struct {
	Name   string    `json:"name"`
	Change string    `json:"change" enum:"added,removed,changed,same"`
	Before *Measured `json:"before"`
	After  *Measured `json:"after"`
	Delta  *Measured `json:"delta"`
}

// Diff is the difference of two versions, everything included, also what is the same; lists are sorted by name.
type Diff struct {
	Model        string             `json:"model"`
	Version      int                `json:"version" doc:"the one that is looked at: after"`
	WithModel    string             `json:"with_model"`
	With         int                `json:"with" doc:"what it is compared with: before"`
	Same         bool               `json:"same" doc:"every file is the same, byte for byte"`
	SameContent  bool               `json:"same_content" doc:"the same training result, though times and ids may differ"`
	Record       []Change           `json:"record"`
	Files        []FileChange       `json:"files"`
	Signature    []FieldChange      `json:"signature"`
	Dependencies []DependencyChange `json:"dependencies"`
	Params       []Change           `json:"params"`
	Metrics      []MetricChange     `json:"metrics"`
	Tags         []Change           `json:"tags"`
}

// side is a version with what its run and logged model recorded.
type side struct {
	Version
	params  map[string]string
	metrics map[string]float64
}

func changeOf(hasBefore, hasAfter, equal bool) string {
	switch {
	case !hasBefore:
		return Added
	case !hasAfter:
		return Removed
	case !equal:
		return Changed
	}
	return Same
}

// changes compares two maps of values.
func changes(before, after map[string]string) []Change {
	all := maps.Clone(before)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, after)
	out := []Change{}
	for _, k := range slices.Sorted(maps.Keys(all)) {
		b, inB := before[k]
		a, inA := after[k]
		out = append(out, Change{k, changeOf(inB, inA, a == b), b, a})
	}
	return out
}

// compare makes the difference from b (before) to a (after).
func (a side) compare(b side) Diff {
	d := Diff{Model: a.Model, Version: a.Number, WithModel: b.Model, With: b.Number, Same: a.ArtifactDigest == b.ArtifactDigest, SameContent: a.ContentDigest == b.ContentDigest,
		Record: changes(b.record(), a.record()), Params: changes(b.params, a.params), Tags: changes(b.Tags, a.Tags),
		Files: []FileChange{}, Signature: []FieldChange{}, Dependencies: []DependencyChange{}, Metrics: []MetricChange{}}
	files := map[string][2]*File{}
	for i := range b.Files {
		files[b.Files[i].Path] = [2]*File{&b.Files[i], nil}
	}
	for i := range a.Files {
		f := files[a.Files[i].Path]
		f[1] = &a.Files[i]
		files[a.Files[i].Path] = f
	}
	for _, p := range slices.Sorted(maps.Keys(files)) {
		f := files[p]
		d.Files = append(d.Files, FileChange{p, changeOf(f[0] != nil, f[1] != nil, f[0] != nil && f[1] != nil && f[0].Digest == f[1].Digest), f[0], f[1]})
	}
	for _, part := range []string{"inputs", "outputs", "params"} {
		for _, c := range changes(b.fields(part), a.fields(part)) {
			d.Signature = append(d.Signature, FieldChange{part, c})
		}
	}
	for _, kind := range []string{"library", "data", "code", "model", "run"} {
		for _, c := range changes(b.needs(kind), a.needs(kind)) {
			d.Dependencies = append(d.Dependencies, DependencyChange{kind, c})
		}
	}
	names := maps.Clone(b.metrics)
	maps.Copy(names, a.metrics)
	for _, k := range slices.Sorted(maps.Keys(names)) {
		m := MetricChange{Name: k}
		before, inB := b.metrics[k]
		after, inA := a.metrics[k]
		m.Change = changeOf(inB, inA, before == after || math.IsNaN(before) && math.IsNaN(after))
		if inB {
			m.Before = (*Measured)(&before)
		}
		if inA {
			m.After = (*Measured)(&after)
		}
		if delta := after - before; inA && inB && !math.IsNaN(delta) && !math.IsInf(delta, 0) {
			m.Delta = (*Measured)(&delta)
		}
		d.Metrics = append(d.Metrics, m)
	}
	return d
}

func (v *Version) record() map[string]string {
	out := map[string]string{"format": v.Format, "engine": v.Engine, "state": v.State, "size": strconv.FormatInt(v.Size, 10), "author": v.CreatedBy, "run": v.Run,
		"source commit": v.Source.Commit, "logged model": v.LoggedModel, "golden rows": strconv.Itoa(v.Golden.Rows), "flavors": strings.Join(v.Flavors, ", "), "description": v.Description}
	if v.Golden.MaxError != nil {
		out["golden error"] = strconv.FormatFloat(*v.Golden.MaxError, 'g', -1, 64)
	}
	maps.DeleteFunc(out, func(_, v string) bool { return v == "" })
	return out
}

func (v *Version) fields(part string) map[string]string {
	out := map[string]string{}
	write := func(specs []engine.Spec) {
		for _, s := range specs {
			text := s.Datatype + shape(s.Shape)
			if s.Optional {
				text += " optional"
			}
			if len(s.Columns) > 0 {
				text += " " + strings.Join(s.Columns, ", ")
			}
			out[s.Name] = text
		}
	}
	switch part {
	case "inputs":
		write(v.Signature.Inputs)
	case "outputs":
		write(v.Signature.Outputs)
	default:
		for _, p := range v.told.Params {
			out[p.Name] = fmt.Sprintf("%s%s default %v", p.Datatype, shape(p.Shape), p.Default)
		}
	}
	return out
}

func shape(dims []int) string {
	if len(dims) == 0 {
		return ""
	}
	parts := make([]string, len(dims))
	for i, d := range dims {
		parts[i] = strconv.Itoa(d)
	}
	return "[" + strings.Join(parts, ",") + "]"
}

// needs gives the dependencies of a kind by name; several versions of one are joined.
func (v *Version) needs(kind string) map[string]string {
	out := map[string]string{}
	for _, d := range v.Dependencies {
		if d.Kind != kind {
			continue
		}
		text := cmp.Or(d.Version, d.Digest)
		if old, ok := out[d.Name]; ok && old != text {
			text = old + ", " + text
		}
		out[d.Name] = text
	}
	return out
}

// side reads a version with its run's and logged model's parameters and metrics; the model's own win.
func (s *Service) side(ctx context.Context, model string, number int) (out side, err error) {
	out.params, out.metrics = map[string]string{}, map[string]float64{}
	if out.Version, err = s.Version(ctx, model, number); err != nil {
		return out, err
	}
	if out.Run != "" {
		r, err := s.Runs.Run(ctx, out.Run)
		if err != nil && !problem.Is(err, problem.NotFound) { // a run may be gone, its version stays
			return out, err
		}
		maps.Copy(out.params, r.Params)
		for _, m := range r.Metrics {
			out.metrics[m.Key] = m.Value
		}
	}
	if out.LoggedModel != "" {
		l, err := s.Runs.Model(ctx, out.LoggedModel)
		if err != nil && !problem.Is(err, problem.NotFound) {
			return out, err
		}
		maps.Copy(out.params, l.Params)
		latest := map[string]tracking.Point{}
		for _, m := range l.Metrics {
			if old, ok := latest[m.Key]; !ok || m.Later(old) {
				latest[m.Key] = m.Point
				out.metrics[m.Key] = m.Value
			}
		}
	}
	return out, nil
}

// Compare gives the difference from version with of model withModel to version number of model.
func (s *Service) Compare(ctx context.Context, model string, number int, withModel string, with int) (Diff, error) {
	a, err := s.side(ctx, model, number)
	if err != nil {
		return Diff{}, err
	}
	b, err := s.side(ctx, withModel, with)
	if err != nil {
		return Diff{}, err
	}
	return a.compare(b), nil
}
