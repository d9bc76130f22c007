package main

import (
	"reflect"
	"strings"
	"testing"

	"keelson/client"
)

func TestTermsOfTheCommandLineGoOverThoseOfThePlan(t *testing.T) {
	plan := &client.Rollout{Mode: "canary", Redact: []string{"name"}, Limits: &client.Limits{MaxRows: 5, CallerRate: 1}}
	for _, c := range []struct {
		name string
		in   *client.Rollout
		t    terms
		want *client.Rollout
	}{
		{"no terms, no plan", nil, terms{}, nil},
		{"no terms leave the plan", plan, terms{}, plan},
		{"terms without a plan mean all calls at once", nil, terms{limits: []string{"max_rows=7", "caller_rate=0.5"}, durability: "sync"},
			&client.Rollout{Mode: "all", Durability: "sync", Limits: &client.Limits{MaxRows: 7, CallerRate: 0.5}}},
		{"terms go over the plan's", plan, terms{limits: []string{"caller_rate=20"}, redact: []string{"name", "hash:city"}},
			&client.Rollout{Mode: "canary", Redact: []string{"name", "hash:city"}, Limits: &client.Limits{MaxRows: 5, CallerRate: 20}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.t.over(c.in)
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("%+v, %v; want %+v", got, err, c.want)
			}
		})
	}
	if plan.Limits.CallerRate != 1 || len(plan.Redact) != 1 {
		t.Errorf("the plan itself was changed: %+v", plan)
	}
	for _, wrong := range []string{"max_rows", "rows=5", "=5", "max_rows=", "max_rows=many", "max_rows=1.5", "max_rows=null"} {
		if _, err := (&terms{limits: []string{wrong}}).over(nil); err == nil || !strings.Contains(err.Error(), "--limit") {
			t.Errorf("%q: %v", wrong, err)
		}
	}
}
