package main

import (
	"bytes"
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
}

func (t *terms) flags(f *pflag.FlagSet) {
	f.StringArrayVar(&t.limits, "limit", nil, "NAME=NUMBER, or forbidden_purposes=TEXT,…: "+strings.Join(limitNames(), ", "))
	f.StringArrayVar(&t.redact, "redact", nil, "input column that the prediction log leaves out, or hash:COLUMN")
	f.StringVar(&t.durability, "durability", "", "of the prediction log: group, sync or async")
}

// limitNames are the names of client.Limits on the wire.
func limitNames() (names []string) {
	for f := range reflect.TypeFor[client.Limits]().Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}

// over adds the terms to a plan; nil stands for all calls at once. Without terms the plan comes back as it is.
func (t *terms) over(plan *client.Rollout) (*client.Rollout, error) {
	if len(t.limits) == 0 && len(t.redact) == 0 && t.durability == "" {
		return plan, nil
	}
	out := client.Rollout{Mode: "all"}
	if plan != nil {
		out = *plan
	}
	if t.durability != "" {
		out.Durability = t.durability
	}
	for _, column := range t.redact {
		if !slices.Contains(out.Redact, column) {
			out.Redact = append(slices.Clip(out.Redact), column)
		}
	}
	if len(t.limits) > 0 {
		limits := client.Limits{}
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
