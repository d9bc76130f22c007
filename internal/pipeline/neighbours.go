package pipeline

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"slices"
	"strings"

	"keelson/internal/dataset"
	"keelson/internal/evaluation"
	"keelson/internal/problem"
)

// DataSets lets pipelines use the dataset noun.
type DataSets struct{ *dataset.Service }

// Resolve finds a version and its digest.
func (d DataSets) Resolve(ctx context.Context, name string, version int) (DataRef, error) {
	v, err := d.Service.Version(ctx, name, version)
	return refOf(v), err
}

func refOf(v dataset.Version) DataRef {
	return DataRef{Dataset: v.Dataset, Version: v.Version, Digest: v.Digest, Format: v.Format}
}

// Content opens the verified bytes of a version.
func (d DataSets) Content(ctx context.Context, name string, version int) (io.ReadCloser, error) {
	r, _, err := d.Service.Content(ctx, name, version)
	return r, err
}

// Check holds a stored version against rules.
func (d DataSets) Check(ctx context.Context, name string, version int, rules []Rule) ([]Finding, error) {
	body, v, err := d.Service.Content(ctx, name, version)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	theirs := []dataset.Rule{} // not nil: nil asks for the data set's own rules
	if err := convert(rules, &theirs); err != nil {
		return nil, err
	}
	seen, err := d.Service.Check(ctx, name, v.Format, body, theirs)
	if err != nil {
		return nil, err
	}
	var found []Finding
	for _, f := range seen.Findings {
		found = append(found, Finding{Rule: f.Rule, Column: f.Field, Detail: f.Detail, Rows: f.Rows, Count: f.Count})
	}
	return found, nil
}

// Import makes a version of a file that a step wrote.
func (d DataSets) Import(ctx context.Context, in Import) (DataRef, error) {
	req := dataset.ImportRequest{Dataset: in.Dataset, Format: in.Format, Note: in.Note, Run: in.Run, Body: in.Body}
	for _, p := range in.Parents {
		req.Parents = append(req.Parents, dataset.Ref{Dataset: p.Dataset, Version: p.Version})
	}
	v, err := d.Service.Import(ctx, req)
	return refOf(v), err
}

// Evaluations lets pipelines use the evaluation noun.
type Evaluations struct{ *evaluation.Service }

// Start begins a suite on a version, judged on a data version.
func (e Evaluations) Start(ctx context.Context, model string, version int, suite Suite, data DataRef) (string, error) {
	var theirs evaluation.Suite
	if err := convert(suite, &theirs); err != nil {
		return "", err
	}
	started, err := e.Service.Start(ctx, model, version, theirs, data.Dataset, data.Version)
	return started.ID, err
}

// Evaluation tells how far it is.
func (e Evaluations) Evaluation(ctx context.Context, id string) (Verdict, error) {
	ev, err := e.Service.Evaluation(ctx, id)
	return Verdict{ID: ev.ID, Running: ev.State == evaluation.Running, Passed: ev.State == evaluation.Passed, Failed: ev.Failures(), Metrics: ev.Metrics}, err
}

// judge lets the neighbours look at what the project declares for them, before anything is stored.
func (d *Definition) judge() error {
	for _, name := range slices.Sorted(maps.Keys(d.Data)) {
		rules := []dataset.Rule{}
		if err := convert(d.Data[name].Rules, &rules); err != nil {
			return err
		}
		if err := dataset.CheckRules(rules); err != nil {
			return below("data."+name, err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(d.Evaluate)) {
		s := d.Evaluate[name]
		s.Name = name
		var suite evaluation.Suite
		if err := convert(s, &suite); err != nil {
			return err
		}
		if err := suite.Check(); err != nil {
			return below("evaluate."+name, err)
		}
	}
	return nil
}

// below puts the field of a neighbour's finding where it stands in the project file.
func below(path string, err error) error {
	if p, ok := problem.As(err); ok {
		return problem.New(p.Kind, "%s in keelson.yaml: %s", path, p.Detail).At(strings.TrimSuffix(path+"."+p.Field, "."))
	}
	return err
}

// convert carries a value to a neighbour's type of the same JSON.
func convert(from, to any) error {
	b, err := json.Marshal(from)
	if err == nil {
		err = json.Unmarshal(b, to)
	}
	if err != nil {
		return problem.New(problem.Invalid, "The project file holds something its neighbour cannot read.").Because(err)
	}
	return nil
}

var (
	_ Data      = DataSets{}
	_ Evaluator = Evaluations{}
)
