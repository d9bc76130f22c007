package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"keelson/client"
	"keelson/internal/app"
	"keelson/internal/evaluation"
	"keelson/internal/policy"
)

// TestAnUnfairVersionIsNotReleased decides for two regions by their income alone; the southern one earns less, and the data's
// region, which the model never sees, shows it.
func TestAnUnfairVersionIsNotReleased(t *testing.T) {
	a := start(t, func(c *app.Config) { c.Auth = "off" })
	c, err := client.New(client.Config{Server: a.URL})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	rules := []byte("name: credit\ninputs:\n  - {name: income, type: double}\noutputs:\n  - {name: approved, type: bool, default: false}\nrules:\n  - id: enough\n    when: income >= 30.0\n    then: {approved: true}\n")
	v, err := c.Register(ctx, "credit", client.NewVersion{}, []client.Artifact{{Path: "rules.yaml", Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(rules)), nil }}})
	if err == nil {
		v, err = c.WaitVersion(ctx, "credit", v.Version)
	}
	if err != nil || v.State != "ready" {
		t.Fatalf("%+v, %v", v, err)
	}
	var rows strings.Builder
	rows.WriteString("region,income,approved\n")
	for i := range 200 { // of the north 41 of 100 earn enough, of the south 29
		region, enough := "north", 41
		if i >= 100 {
			region, enough = "south", 29
		}
		income, truth := 20, 0
		if i%100 < enough {
			income, truth = 40, 1
		}
		fmt.Fprintf(&rows, "%s,%d,%d\n", region, income, truth)
	}
	if _, err := c.PutDataset(ctx, client.Dataset{Name: "applicants", Target: "approved"}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.AddData(ctx, "applicants", "csv", "", strings.NewReader(rows.String())); err != nil {
		t.Fatal(err)
	}
	judge := func(most float64) evaluation.Evaluation {
		t.Helper()
		suite := map[string]any{"name": "release", "tests": []any{
			map[string]any{"name": "right", "kind": "metric", "metric": "accuracy", "min": 0.99},
			map[string]any{"name": "even by region", "kind": "fairness", "metric": "demographic_parity_difference", "column": "region", "max": most}}}
		started, err := c.Evaluate(ctx, "credit", v.Version, suite, "applicants", 0)
		if err != nil {
			t.Fatal(err)
		}
		e, err := client.Wait(ctx, func(ctx context.Context) (e evaluation.Evaluation, done bool, err error) {
			err = c.Get(ctx, "/api/v1/evaluations/"+started.ID, &e)
			return e, err != nil || e.State != evaluation.Running, err
		})
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	// Without sign-in nobody can vote on prod, so its rule goes into the policy of dev.
	var prod, dev policy.Policy
	if err := errors.Join(c.Get(ctx, "/api/v1/policies/prod", &prod), c.Get(ctx, "/api/v1/policies/dev", &dev)); err != nil {
		t.Fatal(err)
	}
	for _, r := range prod.Rules {
		if r.ID == "evaluated" {
			dev.Rules = append(dev.Rules, r)
		}
	}
	body, err := json.Marshal(map[string]any{"title": dev.Title, "rules": dev.Rules, "approvals": dev.Approvals, "note": "only what passed"})
	if err != nil {
		t.Fatal(err)
	}
	if code, says := request(t, "PUT", a.URL+"/api/v1/policies/dev", "", bytes.NewReader(body)); code != 200 {
		t.Fatalf("%d %s", code, says)
	}
	release := client.NewApproval{Kind: "deploy", Model: "credit", Version: v.Version, Environment: "dev", Reason: "release it", WhenApproved: true}
	const finding = "Of region north 41 % are chosen, of region south 29 %: a difference of 0.12, allowed is 0.1."
	e := judge(0.1)
	if e.State != evaluation.Failed || len(e.Tests) != 2 || e.Tests[0].State != evaluation.Passed || e.Tests[1].Detail != finding {
		t.Fatalf("%+v", e)
	}
	if f := e.Tests[1].Fairness; f == nil || f.Highest != "region north" || f.Lowest != "region south" || len(f.Groups) != 2 || f.Groups[1].Rows != 100 || *f.Groups[1].SelectionRate != 0.29 {
		b, _ := json.Marshal(e.Tests[1])
		t.Errorf("%s", b)
	}
	refused := func() string {
		_, err := c.Propose(ctx, release)
		if err == nil {
			return ""
		}
		return err.Error()
	}
	if says := refused(); !strings.Contains(says, "even by region: "+finding) {
		t.Errorf("the proposal is answered with %q", says)
	}
	if e = judge(0.15); e.State != evaluation.Passed {
		t.Fatalf("%+v", e.Tests)
	}
	if says := refused(); says != "" {
		t.Errorf("after the test passed the proposal is answered with %q", says)
	}
}
