package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"keelson/client"
)

func TestTermsOfTheCommandLineGoOverThoseOfThePlan(t *testing.T) {
	plan := &client.Rollout{Mode: "canary", Redact: []string{"name"}, Limits: &client.Limits{MaxRows: 5, CallerRate: 1}}
	banned := client.Limits{ForbiddenPurposes: "marketing"}
	for _, c := range []struct {
		name string
		in   *client.Rollout
		have client.Limits
		t    terms
		want *client.Rollout
	}{
		{"no terms, no plan", nil, banned, terms{}, nil},
		{"no terms leave the plan", plan, banned, terms{}, plan},
		{"terms without a plan mean all calls at once", nil, client.Limits{}, terms{limits: []string{"max_rows=7", "caller_rate=0.5"}, durability: "sync"},
			&client.Rollout{Mode: "all", Durability: "sync", Limits: &client.Limits{MaxRows: 7, CallerRate: 0.5}}},
		{"terms without limits of a plan go over those in force", &client.Rollout{Mode: "shadow"}, banned, terms{limits: []string{"timeout_ms=300"}},
			&client.Rollout{Mode: "shadow", Limits: &client.Limits{TimeoutMS: 300, ForbiddenPurposes: "marketing"}}},
		{"nothing behind the sign forbids no purpose", nil, banned, terms{limits: []string{"forbidden_purposes="}},
			&client.Rollout{Mode: "all", Limits: &client.Limits{}}},
		{"terms go over the plan's", plan, banned, terms{limits: []string{"caller_rate=20"}, redact: []string{"name", "hash:city"}},
			&client.Rollout{Mode: "canary", Redact: []string{"name", "hash:city"}, Limits: &client.Limits{MaxRows: 5, CallerRate: 20}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.t.over(c.in, c.have)
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("%+v, %v; want %+v", got, err, c.want)
			}
		})
	}
	if plan.Limits.CallerRate != 1 || len(plan.Redact) != 1 {
		t.Errorf("the plan itself was changed: %+v", plan)
	}
	for _, wrong := range []string{"max_rows", "rows=5", "=5", "max_rows=", "max_rows=many", "max_rows=1.5", "max_rows=null"} {
		if _, err := (&terms{limits: []string{wrong}}).over(nil, client.Limits{}); err == nil || !strings.Contains(err.Error(), "--limit") {
			t.Errorf("%q: %v", wrong, err)
		}
	}
}

func TestALimitLeavesTheOthersInForce(t *testing.T) {
	a := serve(t, "off")
	env := map[string]string{"KEELSON_URL": a.URL, "HOME": t.TempDir()}
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"the first deployment", []string{"../../internal/engine/cel/testdata/referral/model.cel.yaml", "--name", "referral", "--limit", "forbidden_purposes=marketing, triage", "--limit", "max_rows=9"}, `{"forbidden_purposes":"marketing, triage","max_rows":9}`},
		{"another limit", []string{"referral/1", "--limit", "timeout_ms=300"}, `{"forbidden_purposes":"marketing, triage","max_rows":9,"timeout_ms":300}`},
		{"no limit", []string{"referral/1", "--durability", "sync"}, `{"forbidden_purposes":"marketing, triage","max_rows":9,"timeout_ms":300}`},
		{"no purpose is forbidden any more", []string{"referral/1", "--limit", "forbidden_purposes="}, `{"max_rows":9,"timeout_ms":300}`},
		{"nothing is limited any more", []string{"referral/1", "--limit", "max_rows=0", "--limit", "timeout_ms=0"}, `{}`},
	} {
		if code, _, errs := call(t, env, "", append([]string{"deploy", "create", "--to", "dev"}, c.args...)...); code != 0 {
			t.Fatalf("%s: exit %d, %s", c.name, code, errs)
		}
		if code, out, errs := call(t, env, "", "deploy", "get", "referral.dev", "--jq", ".limits | tojson"); code != 0 || strings.TrimSpace(out) != c.want {
			t.Errorf("%s: exit %d, limits %s, want %s %s", c.name, code, out, c.want, errs)
		}
	}
}

func TestARefusedPlanLeavesNoVersionBehind(t *testing.T) {
	a := serve(t, "off")
	dir := t.TempDir()
	env := map[string]string{"KEELSON_URL": a.URL, "HOME": dir}
	model, err := filepath.Abs("../../internal/engine/cel/testdata/referral/model.cel.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "keelson.yaml"), []byte("deploy:\n  dev:\n    mode: all\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	if code, _, errs := call(t, env, "", "deploy", "create", model, "--name", "referral", "--to", "dev"); code != 2 || !strings.Contains(errs, "does not say of which model") {
		t.Fatalf("exit %d, %s", code, errs)
	}
	if code, _, errs := call(t, env, "", "version", "get", "referral/1"); code != 3 {
		t.Errorf("the version is there: exit %d, %s", code, errs)
	}
}
