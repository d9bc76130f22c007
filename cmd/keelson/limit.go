package main

import (
	"bytes"
	"context"
	"encoding/json"
	"reflect"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"keelson/client"
)

// terms are what a deployment asks for beside the version, given on the command line.
type terms struct {
	limits, redact []string
	durability     string
	acceptColumns  bool
}

func (t *terms) flags(f *pflag.FlagSet) {
	f.StringArrayVar(&t.limits, "limit", nil, "NAME=NUMBER, or forbidden_purposes=TEXT,… (nothing behind the = forbids none): "+strings.Join(limitNames(), ", "))
	f.StringArrayVar(&t.redact, "redact", nil, "input column that the prediction log leaves out, or hash:COLUMN")
	f.StringVar(&t.durability, "durability", "", "of the prediction log: group, sync or async")
	f.BoolVar(&t.acceptColumns, "accept-columns", false, "let in a version that reads a matrix by other columns than the live one; the callers know")
}

// limitNames are the names of client.Limits on the wire.
func limitNames() (names []string) {
	for f := range reflect.TypeFor[client.Limits]().Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}

// inForce are the limits that hold where a model answers in an environment, also while it is suspended or retired: a
// plan that says nothing keeps them. They are zero where it never answered.
func inForce(ctx context.Context, cl *client.Client, model, environment string) (client.Limits, error) {
	all, err := client.All[client.Deployment](ctx, cl, "/api/v1/deployments?model="+escape(model), nil, 0)
	if err != nil {
		return client.Limits{}, err
	}
	for _, d := range all {
		if d.Model == model && d.Environment == environment {
			return d.Limits, nil
		}
	}
	return client.Limits{}, nil
}

// over adds the terms to a plan; nil stands for all calls at once. Without terms the plan comes back as it is. Limits go
// over those of the plan, or where it has none over those in force, because a plan replaces them as a whole.
func (t *terms) over(plan *client.Rollout, inForce client.Limits) (*client.Rollout, error) {
	if len(t.limits) == 0 && len(t.redact) == 0 && t.durability == "" && !t.acceptColumns {
		return plan, nil
	}
	out := client.Rollout{Mode: "all"}
	if plan != nil {
		out = *plan
	}
	if t.durability != "" {
		out.Durability = t.durability
	}
	out.AcceptColumns = out.AcceptColumns || t.acceptColumns
	for _, column := range t.redact {
		if !slices.Contains(out.Redact, column) {
			out.Redact = append(slices.Clip(out.Redact), column)
		}
	}
	if len(t.limits) > 0 {
		limits := inForce
		if out.Limits != nil {
			limits = *out.Limits
		}
		for _, l := range t.limits {
			name, value, ok := strings.Cut(l, "=")
			if !ok || !slices.Contains(limitNames(), name) {
				return nil, usage("--limit %q is not NAME=NUMBER with one of the names %s.", l, strings.Join(limitNames(), ", "))
			}
			if name == "forbidden_purposes" { // the only text among them
				text, err := json.Marshal(value)
				if err != nil {
					return nil, err
				}
				value = string(text)
			}
			d := json.NewDecoder(bytes.NewReader([]byte(`{"` + name + `":` + value + `}`)))
			d.DisallowUnknownFields()
			if err := d.Decode(&limits); err != nil || value == "null" {
				return nil, usage("--limit %s: %q is not a number, or not a whole one.", name, value)
			}
		}
		out.Limits = &limits
	}
	return &out, nil
}
