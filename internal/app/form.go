package app

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"keelson/internal/dataset"
	"keelson/internal/deployment"
	"keelson/internal/inventory"
	"keelson/internal/problem"
	"keelson/internal/study"
)

// materials tells deployment what inventory and the data sets know of a version's inputs.
type materials struct{ a *App }

func (m materials) Material(ctx context.Context, model string, number int) (out deployment.Material, err error) {
	v, err := m.a.Inventory.Version(ctx, model, number)
	if err != nil {
		return out, err
	}
	out.Signature, out.Ranges = v.Signature, map[string]deployment.Range{}
	if out.Inputs, out.Answers, out.Limit, err = m.a.Inventory.Examples(ctx, v); err != nil {
		if _, ok := problem.As(err); !ok {
			return out, err
		}
		out.Inputs, out.Answers = nil, nil // golden rows that cannot be read leave the form without them
	}
	return out, m.trainedOn(ctx, v, out.Ranges)
}

// trainedOn adds what the data versions say that a version depends on.
func (m materials) trainedOn(ctx context.Context, v inventory.Version, out map[string]deployment.Range) error {
	for _, d := range v.Dependencies {
		n, err := strconv.Atoi(d.Version)
		if err != nil || d.Kind != "data" {
			continue
		}
		if err := m.ranges(ctx, d, n, out); err != nil && !problem.Is(err, problem.NotFound) { // data kept elsewhere has no profile
			return err
		}
	}
	return nil
}

// trained tells what-if the ranges of a version's inputs.
func (m materials) trained(ctx context.Context, model string, number int) (map[string]study.Range, error) {
	v, err := m.a.Inventory.Version(ctx, model, number)
	if err != nil {
		return nil, err
	}
	found := map[string]deployment.Range{}
	if err := m.trainedOn(ctx, v, found); err != nil {
		return nil, err
	}
	out := map[string]study.Range{}
	for name, r := range found {
		out[name] = study.Range{Min: r.Min, Max: r.Max, Choices: r.Choices, From: r.From}
	}
	return out, nil
}

// most is the number of different values up to which a text is offered as a choice; profiles keep twenty.
const most = 20

// ranges adds what a data version says of its columns; the first version that knows a column is believed.
func (m materials) ranges(ctx context.Context, d inventory.Dependency, n int, out map[string]deployment.Range) error {
	v, err := m.a.Data.Version(ctx, d.Name, n)
	if err != nil {
		return err
	}
	set, err := m.a.Data.Get(ctx, d.Name)
	if err != nil {
		return err
	}
	for _, c := range v.Profile {
		if _, known := out[c.Name]; known {
			continue
		}
		r := deployment.Range{From: fmt.Sprintf("%s/%d", d.Name, n), Min: c.Min, Max: c.Max}
		if c.Type == dataset.String && c.Distinct <= most && c.Distinct == int64(len(c.Top)) {
			for _, w := range c.Top {
				r.Choices = append(r.Choices, w.Value)
			}
		}
		for _, rule := range set.Rules {
			if rule.Column != c.Name || rule.Check != "allowed" {
				continue
			}
			r.Choices = nil
			for _, x := range rule.Values {
				r.Choices = append(r.Choices, fmt.Sprint(x))
			}
		}
		slices.Sort(r.Choices)
		out[c.Name] = r
	}
	return nil
}
