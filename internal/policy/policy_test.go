package policy

import (
	"context"
	"strings"
	"testing"
	"time"

	"keelson/internal/problem"
)

func proposal() Context {
	return Context{
		Request:     Request{Kind: "deploy", Author: "ada", Mode: "all", Authors: []string{"ada"}},
		Version:     Version{Name: "screening/2", Number: 2, State: "ready", Evaluation: Evaluation{State: "passed", Tests: 5}, Golden: Golden{Rows: 32, MaxError: 1e-8, Limit: 1e-6}},
		Model:       Model{Name: "screening", Kind: "ml", Tier: 2, Accountable: "grace"},
		Environment: Env{Name: "prod"},
		Caller:      Caller{Name: "ada", Kind: "person", Roles: []string{"data-scientist"}},
	}
}

func shipped(t *testing.T, name string) *Compiled {
	t.Helper()
	for _, p := range defaultPolicies() {
		if p.Name == name {
			c, err := Compile(p)
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
	}
	t.Fatalf("no policy %s is shipped", name)
	return nil
}

func TestShippedPolicies(t *testing.T) {
	for name, c := range map[string]struct {
		policy  string
		change  func(*Context)
		allowed bool
		count   int
		says    string // part of a blocking or advising message
	}{
		"prod needs two votes": {"prod", func(*Context) {}, true, 2, ""},
		"prod names the failing test": {"prod", func(c *Context) {
			c.Version.Evaluation = Evaluation{State: "failed", Failed: []string{"accuracy: 0.81 is below 0.9", "p95"}}
		}, false, 2, "The evaluation of screening/2 failed: accuracy: 0.81 is below 0.9; p95."},
		"prod wants an evaluation":                  {"prod", func(c *Context) { c.Version.Evaluation = Evaluation{State: "none"} }, false, 2, "was never evaluated"},
		"prod waits for a running evaluation":       {"prod", func(c *Context) { c.Version.Evaluation = Evaluation{State: "running"} }, false, 2, "still running"},
		"prod retires without an evaluation":        {"prod", func(c *Context) { c.Request.Kind = "retire"; c.Version.Evaluation = Evaluation{State: "none"} }, true, 2, ""},
		"prod suspends with one vote":               {"prod", func(c *Context) { c.Request.Kind = "suspend" }, true, 1, ""},
		"prod only advises on accountability":       {"prod", func(c *Context) { c.Model.Accountable = "" }, true, 2, "Nobody is accountable for screening"},
		"prod refuses a version that is not ready":  {"prod", func(c *Context) { c.Version.State = "failed"; c.Version.Reason = "(no engine)" }, false, 2, "Version screening/2 is failed (no engine); only"},
		"prod refuses golden rows that were missed": {"prod", func(c *Context) { c.Version.Golden.MaxError = 0.5 }, false, 2, "missed the golden rows of screening/2 by 0.5; the limit is 1e-06"},
		"dev takes a version without an evaluation": {"dev", func(c *Context) { c.Version.Evaluation = Evaluation{State: "none"} }, true, 0, ""},
		"dev refuses a version that is retired":     {"dev", func(c *Context) { c.Version.State = "retired" }, false, 0, "is retired"},
	} {
		t.Run(name, func(t *testing.T) {
			in := proposal()
			c.change(&in)
			v := shipped(t, c.policy).Evaluate(context.Background(), in)
			if v.Allowed != c.allowed || v.Need.Count != c.count {
				t.Fatalf("allowed %v with %d votes, wanted %v with %d: %+v", v.Allowed, v.Need.Count, c.allowed, c.count, v.Reasons)
			}
			if c.says == "" {
				return
			}
			for _, r := range v.Reasons {
				if !r.OK && strings.Contains(r.Message, c.says) {
					return
				}
			}
			t.Fatalf("nothing says %q: %+v", c.says, v.Reasons)
		})
	}
}

func TestAPolicyNamesTheSuiteThatHasToPass(t *testing.T) {
	c, err := Compile(Policy{Name: "p", Approvals: `{'count': 0}`, Rules: []Rule{{ID: "released",
		Require: `version.evaluations.exists(e, e.suite == 'release' && e.state == 'passed' && e.tests > 0 && e.definition == 'sha256:d' && e.dataset_digest == 'sha256:rows')`,
		Message: `Version {version.name} has not passed the suite release.`, Pass: `Passed.`}}})
	if err != nil {
		t.Fatal(err)
	}
	good := Evaluation{State: "passed", Suite: "release", Definition: "sha256:d", Dataset: "holdout", DatasetDigest: "sha256:rows", Tests: 3}
	other := func(change func(*Evaluation)) Evaluation { e := good; change(&e); return e }
	for name, x := range map[string]struct {
		list    []Evaluation
		allowed bool
	}{
		"it passed":                             {[]Evaluation{good}, true},
		"it passed, and a newer one of another": {[]Evaluation{other(func(e *Evaluation) { e.Suite, e.State = "smoke", "failed" }), good}, true},
		"it failed, and a newer one of another": {[]Evaluation{other(func(e *Evaluation) { e.Suite = "smoke" }), other(func(e *Evaluation) { e.State = "failed" })}, false},
		"another of its name":                   {[]Evaluation{other(func(e *Evaluation) { e.Definition = "sha256:easier" })}, false},
		"on other data":                         {[]Evaluation{other(func(e *Evaluation) { e.Dataset, e.DatasetDigest = "train", "sha256:seen" })}, false},
		"on other rows under the same name":     {[]Evaluation{other(func(e *Evaluation) { e.DatasetDigest = "sha256:easier" })}, false},
		"on the same rows under another name":   {[]Evaluation{other(func(e *Evaluation) { e.Dataset = "copy" })}, true},
		"none":                                  {[]Evaluation{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			in := proposal()
			in.Version.Evaluations = x.list
			if v := c.Evaluate(context.Background(), in); v.Allowed != x.allowed {
				t.Errorf("%+v", v)
			}
		})
	}
}

func TestEveryRuleThatAppliesGivesAReason(t *testing.T) {
	v := shipped(t, "prod").Evaluate(context.Background(), proposal())
	var ids []string
	for _, r := range v.Reasons {
		if !r.OK || r.Message == "" {
			t.Errorf("%s: %v %q", r.Rule, r.OK, r.Message)
		}
		ids = append(ids, r.Rule)
	}
	if got := strings.Join(ids, " "); got != "ready golden evaluated logged accountable committed" {
		t.Fatal(got)
	}
	if roles := strings.Join(v.Need.Roles, " "); roles != "risk-compliance business-owner" {
		t.Fatal(roles)
	}
}

func TestARuleThatDoesNotCompileIsNamedWithItsPosition(t *testing.T) {
	rule := func(r Rule) Policy { return Policy{Name: "p", Rules: []Rule{r}, Approvals: `{'count': 0}`} }
	ok := Rule{ID: "r", Require: "true", Message: "m"}
	with := func(f func(*Rule)) Policy { r := ok; f(&r); return rule(r) }
	for name, c := range map[string]struct {
		p           Policy
		field, says string
	}{
		"as it should be":              {rule(ok), "", ""},
		"an unknown name":              {with(func(r *Rule) { r.Require = "true &&\n versoin.state == 'x'" }), "rules[0].require", "Rule r, require: line 2, column 2: undeclared reference to 'versoin'"},
		"an unknown field":             {with(func(r *Rule) { r.When = "version.stat == 'x'" }), "rules[0].when", "line 1, column 8: undefined field 'stat'"},
		"a syntax error":               {with(func(r *Rule) { r.Require = "1 +" }), "rules[0].require", "line 1, column"},
		"not a truth":                  {with(func(r *Rule) { r.Require = "1 + 1" }), "rules[0].require", "gives int, but bool is needed"},
		"types that do not fit":        {with(func(r *Rule) { r.Require = "model.tier == 'one'" }), "rules[0].require", "no matching overload"},
		"a message that does not":      {with(func(r *Rule) { r.Message = "is {model.nam}" }), "rules[0].message", "undefined field 'nam'"},
		"a brace too few":              {with(func(r *Rule) { r.Message = "is {model.name" }), "rules[0].message", "no closing"},
		"a brace too many":             {with(func(r *Rule) { r.Message = "is model.name}" }), "rules[0].message", "no opening"},
		"no message":                   {with(func(r *Rule) { r.Message = " " }), "rules[0].message", "has no message"},
		"no requirement":               {with(func(r *Rule) { r.Require = "" }), "rules[0].require", "requires nothing"},
		"a bad id":                     {with(func(r *Rule) { r.ID = "a b" }), "rules[0].id", "no id"},
		"one id twice":                 {Policy{Name: "p", Rules: []Rule{ok, ok}, Approvals: `{'count': 0}`}, "rules[1].id", "Two rules"},
		"a too long expression":        {with(func(r *Rule) { r.Require = "true" + strings.Repeat(" && true", 1000) }), "rules[0].require", "the limit is"},
		"a too deep expression":        {with(func(r *Rule) { r.Require = strings.Repeat("(", 500) + "true" + strings.Repeat(")", 500) }), "rules[0].require", "line 1"},
		"approvals that do not":        {Policy{Name: "p", Approvals: `{'count': }`}, "approvals", "The approvals: line 1"},
		"a bad name":                   {Policy{Name: "P p", Approvals: `{'count': 0}`}, "name", "no name"},
		"too many rules":               {Policy{Name: "p", Rules: make([]Rule, 65), Approvals: `{'count': 0}`}, "rules", "at most 64"},
		"a function that is not there": {with(func(r *Rule) { r.Require = "exec('x')" }), "rules[0].require", "undeclared reference to 'exec'"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Compile(c.p)
			if c.field == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			e, ok := problem.As(err)
			if !ok || e.Kind != problem.Invalid || e.Field != c.field || !strings.Contains(e.Detail, c.says) {
				t.Fatalf("wanted %q at %s, got %+v", c.says, c.field, err)
			}
		})
	}
}

func TestWhatCannotBeEvaluatedCountsAgainstTheChange(t *testing.T) {
	for name, c := range map[string]struct{ require, approvals, says string }{
		"a division by zero":        {"1 / (version.number - 2) > 0", `{'count': 0}`, "Rule r could not be evaluated: division by zero"},
		"a cost beyond the limit":   {"version.authors.all(a, version.authors.all(b, version.authors.all(c, version.authors.all(d, a == b && c == d || true))))", `{'count': 0}`, "cost limit"},
		"a count that is none":      {"true", `{'count': 'two'}`, "its count is two"},
		"a count below zero":        {"true", `{'count': -1}`, "its count is -1"},
		"approvals that are a text": {"true", `'two'`, "it gave string"},
		"roles that are none":       {"true", `{'count': 1, 'roles': 'risk'}`, "its roles are string"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := Compile(Policy{Name: "p", Rules: []Rule{{ID: "r", Require: c.require, Message: "m"}}, Approvals: c.approvals})
			if err != nil {
				t.Fatal(err)
			}
			in := proposal()
			in.Version.Authors = strings.Split(strings.Repeat("x ", 40), " ")
			start := time.Now()
			v := p.Evaluate(context.Background(), in)
			if v.Allowed {
				t.Fatal("the change is allowed")
			}
			if len(v.Blocking()) != 1 || !strings.Contains(v.Blocking()[0].Message, c.says) {
				t.Fatalf("wanted %q, got %+v", c.says, v.Reasons)
			}
			if d := time.Since(start); d > 5*time.Second {
				t.Fatalf("it took %s", d)
			}
		})
	}
}

func TestRulesMayAskForVotesAndPeople(t *testing.T) {
	p, err := Compile(Policy{
		Name: "p",
		Rules: []Rule{{
			ID: "peer", Require: `votes.exists(v, v.grant && 'ml-engineer' in v.roles && !(v.by in request.authors))`,
			Message: `No ml-engineer besides {request.authors} granted {"{" + model.name + "}"}.`,
		}},
		Approvals: `model.tier <= 1 ? {'count': 3, 'roles': ['risk-compliance', 'business-owner', 'ml-engineer']} : {'count': 1, 'roles': []}`,
	})
	if err != nil {
		t.Fatal(err)
	}
	in := proposal()
	v := p.Evaluate(context.Background(), in)
	if v.Allowed || v.Reasons[0].Message != "No ml-engineer besides ada granted {screening}." || v.Need.Count != 1 {
		t.Fatalf("%+v", v)
	}
	in.Votes, in.Model.Tier = []Vote{{By: "bob", Roles: []string{"ml-engineer"}, Grant: true}}, 1
	if v = p.Evaluate(context.Background(), in); !v.Allowed || v.Need.Count != 3 || len(v.Need.Roles) != 3 {
		t.Fatalf("%+v", v)
	}
}
