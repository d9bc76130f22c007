package approval

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"keelson/internal/caller"
	"keelson/internal/policy"
	"keelson/internal/problem"
	"keelson/internal/seal"
)

var (
	testKey = seal.FromSeed(bytes.Repeat([]byte{3}, 32))
	noon    = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
)

func fourEyes() Request {
	return Request{
		ID: "r1", Number: 7, Workspace: "default", Kind: Deploy, Model: "screening", Version: 2, Environment: "prod",
		Author: "ada", Authors: []string{"ada", "alan"}, OpenedAt: noon, ExpiresAt: noon.Add(Validity),
		Need: policy.Need{Count: 2, Roles: []string{"risk-compliance", "business-owner"}},
	}
}

func person(name string, roles ...string) caller.Caller {
	return caller.Caller{Name: name, Kind: caller.Person, Roles: roles}
}

var (
	risk  = person("rita", "risk-compliance")
	risk2 = person("rob", "risk-compliance")
	owner = person("olga", "business-owner")
	both  = person("bea", "business-owner", "risk-compliance")
)

// cast is one vote of the table: by whom, and grant or refuse.
type cast struct {
	by    caller.Caller
	grant bool
}

func TestVotes(t *testing.T) {
	grant := func(c caller.Caller) cast { return cast{c, true} }
	refuse := func(c caller.Caller) cast { return cast{c, false} }
	for name, c := range map[string]struct {
		need  policy.Need
		votes []cast
		state string
		last  problem.Kind // of the last vote; empty: taken
		says  string
	}{
		"one grant is not enough":                             {votes: []cast{grant(risk)}, state: Open},
		"two grants of different roles settle":                {votes: []cast{grant(risk), grant(owner)}, state: Approved},
		"the order does not matter":                           {votes: []cast{grant(owner), grant(risk)}, state: Approved},
		"two grants of one role are not four eyes":            {votes: []cast{grant(risk), grant(risk2)}, state: Open},
		"a third grant of the missing role settles":           {votes: []cast{grant(risk), grant(risk2), grant(owner)}, state: Approved},
		"a person with both roles is still one person":        {votes: []cast{grant(both)}, state: Open},
		"a person with both roles fills what the other lacks": {votes: []cast{grant(both), grant(risk)}, state: Approved},
		"and the other way round":                             {votes: []cast{grant(both), grant(owner)}, state: Approved},
		"one refusal settles":                                 {votes: []cast{refuse(risk)}, state: Refused},
		"one refusal outweighs a grant":                       {votes: []cast{grant(risk), refuse(owner)}, state: Refused},
		"refused stays refused":                               {votes: []cast{refuse(risk), grant(owner)}, state: Refused, last: problem.Conflict, says: "already refused"},
		"approved takes no more votes":                        {votes: []cast{grant(risk), grant(owner), refuse(both)}, state: Approved, last: problem.Conflict, says: "already approved"},
		"nobody votes twice":                                  {votes: []cast{grant(risk), grant(risk)}, state: Open, last: problem.Conflict, says: "rita has already voted"},
		"the one who opened it has no vote":                   {votes: []cast{grant(person("ada", "risk-compliance"))}, state: Open, last: problem.Forbidden, says: "ada opened request 7 for version screening/2 and may not vote on it."},
		"the author of a part has no vote":                    {votes: []cast{grant(person("alan", "business-owner"))}, state: Open, last: problem.Forbidden, says: "alan made part of version screening/2 and may not vote on it."},
		"the author cannot even refuse":                       {votes: []cast{refuse(person("alan", "business-owner"))}, state: Open, last: problem.Forbidden},
		"an administrator has no vote":                        {votes: []cast{grant(person("root", "administrator"))}, state: Open, last: problem.Forbidden, says: "needs votes by risk-compliance and business-owner; root is none of them"},
		"a data scientist has no vote":                        {votes: []cast{grant(person("dan", "data-scientist"))}, state: Open, last: problem.Forbidden},
		"an administrator with a role votes by the role":      {votes: []cast{grant(person("root", "administrator", "risk-compliance")), grant(owner)}, state: Approved},
		"a service account has no vote":                       {votes: []cast{grant(caller.Caller{Name: "bot", Kind: caller.Service, Roles: []string{"risk-compliance"}})}, state: Open, last: problem.Forbidden, says: "service accounts"},
		"the platform has no vote":                            {votes: []cast{grant(caller.Caller{Name: "policy:prod", Kind: caller.Process, Roles: []string{"risk-compliance"}})}, state: Open, last: problem.Forbidden},
		"nobody in particular has no vote":                    {votes: []cast{grant(person("local", "risk-compliance", "business-owner"))}, state: Open, last: problem.Forbidden, says: "--auth on"},
		"a nameless caller has no vote":                       {votes: []cast{grant(person("", "risk-compliance"))}, state: Open, last: problem.Forbidden},
		"without roles any two people settle":                 {need: policy.Need{Count: 2}, votes: []cast{grant(risk), grant(risk2)}, state: Approved},
		"one role and two votes takes two of that role":       {need: policy.Need{Count: 2, Roles: []string{"risk-compliance"}}, votes: []cast{grant(risk), grant(risk2)}, state: Approved},
		"one vote of either role settles":                     {need: policy.Need{Count: 1, Roles: []string{"risk-compliance", "business-owner"}}, votes: []cast{grant(owner)}, state: Approved},
		"two of three roles settle":                           {need: policy.Need{Count: 2, Roles: []string{"a", "b", "risk-compliance"}}, votes: []cast{grant(person("x", "b")), grant(risk)}, state: Approved},
	} {
		t.Run(name, func(t *testing.T) {
			r := fourEyes()
			if c.need.Count > 0 {
				r.Need = c.need
			}
			var err error
			for i, v := range c.votes {
				if err = r.MayVote(v.by, noon); err != nil {
					if i != len(c.votes)-1 {
						t.Fatalf("vote %d: %v", i+1, err)
					}
					break
				}
				r.Acts = append(r.Acts, Act{Kind: ActVote, By: v.by.Name, Roles: r.roles(v.by), Grant: v.grant})
			}
			if got := r.State(noon); got != c.state {
				t.Errorf("the request is %s, not %s", got, c.state)
			}
			if c.last == "" && err != nil || c.last != "" && problem.KindOf(err) != c.last {
				t.Errorf("the last vote gave %v, wanted %q", err, c.last)
			}
			if err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("%q does not say %q", err, c.says)
			}
		})
	}
}

func TestStates(t *testing.T) {
	vote := func(by string, role string, grant bool) Act {
		return Act{Kind: ActVote, By: by, Roles: []string{role}, Grant: grant}
	}
	yes := []Act{vote("rita", "risk-compliance", true), vote("olga", "business-owner", true)}
	late := noon.Add(Validity)
	for name, c := range map[string]struct {
		acts   []Act
		at     time.Time
		broken string
		state  string
		runs   string // what MayExecute says; empty: it may
	}{
		"fresh":                           {nil, noon, "", Open, "waits for a vote by risk-compliance and a vote by business-owner"},
		"half way":                        {yes[:1], noon, "", Open, "waits for a vote by business-owner"},
		"approved":                        {yes, noon, "", Approved, ""},
		"approved a moment before expiry": {yes, late.Add(-1), "", Approved, ""},
		"approved and expired":            {yes, late, "", Expired, "expired"},
		"open and expired":                {nil, late, "", Expired, "expired"},
		"withdrawn after the approval":    {append(yes[:2:2], Act{Kind: ActWithdraw}), noon, "", Withdrawn, "already withdrawn"},
		"executed":                        {append(yes[:2:2], Act{Kind: ActExecute}), noon, "", Executed, "already executed"},
		"executed stays executed":         {append(yes[:2:2], Act{Kind: ActExecute}), late, "", Executed, "already executed"},
		"refused stays refused":           {[]Act{vote("rita", "risk-compliance", false)}, late, "", Refused, "already refused"},
		"voided":                          {append(yes[:2:2], Act{Kind: ActVoid, Reason: "another digest"}), noon, "", Void, "another digest"},
		"a broken seal is void":           {yes, noon, "the seal of act 2 does not fit its content", Void, "changed outside"},
	} {
		t.Run(name, func(t *testing.T) {
			r := fourEyes()
			r.Acts, r.Broken = c.acts, c.broken
			if got := r.State(c.at); got != c.state {
				t.Errorf("the state is %s, not %s", got, c.state)
			}
			err := r.MayExecute(c.at)
			if c.runs == "" && err != nil || c.runs != "" && (problem.KindOf(err) != problem.Conflict || !strings.Contains(err.Error(), c.runs)) {
				t.Errorf("executing says %v, wanted %q", err, c.runs)
			}
		})
	}
}

func TestNobodyButThePolicyApprovesWithoutVotes(t *testing.T) {
	r := fourEyes()
	r.Need, r.Policy.Name = policy.Need{}, "dev"
	if r.State(noon) != Open {
		t.Fatal("a request without any vote counts as approved")
	}
	r.Acts = []Act{{Kind: ActVote, By: "rita", Grant: true}}
	if r.State(noon) != Open {
		t.Fatal("a person's vote stands for the policy's")
	}
	r.Acts = []Act{{Kind: ActVote, By: "policy:dev", Grant: true}}
	if r.State(noon) != Approved {
		t.Fatal("the policy's vote does not count")
	}
}

func TestMissing(t *testing.T) {
	for name, c := range map[string]struct {
		need   policy.Need
		grants [][]string
		want   string
	}{
		"both roles":                     {policy.Need{Count: 2, Roles: []string{"a", "b"}}, nil, "a vote by a; a vote by b"},
		"the other role":                 {policy.Need{Count: 2, Roles: []string{"a", "b"}}, [][]string{{"a"}, {"a"}}, "a vote by b"},
		"one of two roles":               {policy.Need{Count: 1, Roles: []string{"a", "b"}}, nil, "a vote by a or b"},
		"two of three roles":             {policy.Need{Count: 2, Roles: []string{"a", "b", "c"}}, nil, "2 votes of different roles among a, b, c"},
		"one role and one more":          {policy.Need{Count: 2, Roles: []string{"a"}}, nil, "a vote by a; 1 more by a"},
		"one more of the role":           {policy.Need{Count: 2, Roles: []string{"a"}}, [][]string{{"a"}}, "1 more by a"},
		"anybody":                        {policy.Need{Count: 2}, [][]string{nil}, "1 more by anybody who may vote"},
		"a double role is used cleverly": {policy.Need{Count: 3, Roles: []string{"a", "b", "c"}}, [][]string{{"a", "b"}, {"a"}}, "a vote by c"},
	} {
		t.Run(name, func(t *testing.T) {
			r := fourEyes()
			r.Need = c.need
			for i, roles := range c.grants {
				r.Acts = append(r.Acts, Act{Kind: ActVote, By: string(rune('p' + i)), Roles: roles, Grant: true})
			}
			if got := strings.Join(r.Missing(noon), "; "); got != c.want {
				t.Errorf("%q, wanted %q", got, c.want)
			}
		})
	}
}

func TestPlans(t *testing.T) {
	for name, c := range map[string]struct {
		plan  Plan
		field string
	}{
		"nothing said is all at once": {Plan{}, ""},
		"a canary":                    {Plan{Mode: Canary, Steps: []Step{{Share: 10, HoldRows: 100}, {Share: 50}}}, ""},
		"a shadow":                    {Plan{Mode: Shadow}, ""},
		"a canary without steps":      {Plan{Mode: Canary}, "plan.steps"},
		"a share of 0":                {Plan{Mode: Canary, Steps: []Step{{Share: 0}}}, "plan.steps[0].share"},
		"a share of 100":              {Plan{Mode: Canary, Steps: []Step{{Share: 100}}}, "plan.steps[0].share"},
		"a share that shrinks":        {Plan{Mode: Canary, Steps: []Step{{Share: 10}, {Share: 5}}}, "plan.steps[1].share"},
		"a hold below zero":           {Plan{Mode: Canary, Steps: []Step{{Share: 10, HoldRows: -1}}}, "plan.steps[0]"},
		"a hold of years":             {Plan{Mode: Canary, Steps: []Step{{Share: 10, HoldSeconds: 1 << 40}}}, "plan.steps[0]"},
		"all with steps":              {Plan{Mode: All, Steps: []Step{{Share: 10}}}, "plan.steps"},
		"all with a share":            {Plan{Mode: All, Share: 5}, "plan.share"},
		"a shadow of more than all":   {Plan{Mode: Shadow, Share: 101}, "plan.share"},
		"an unknown mode":             {Plan{Mode: "blue"}, "plan.mode"},
		"an unknown durability":       {Plan{Durability: "none"}, "plan.durability"},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.plan.Check()
			if e, ok := problem.As(err); c.field == "" && err != nil || c.field != "" && (!ok || e.Field != c.field) {
				t.Fatalf("%v", err)
			}
		})
	}
	a, b := Plan{}, Plan{Mode: All}
	if a.Check() != nil || b.Check() != nil {
		t.Fatal("the plain plan is refused")
	}
	x, _ := a.Digest()
	y, _ := b.Digest()
	z, _ := Plan{Mode: Canary, Steps: []Step{{Share: 10}}}.Digest()
	if x != y || x == z {
		t.Fatal("equal plans have one digest, different plans another")
	}
}

func TestTheChainNoticesEveryChange(t *testing.T) {
	build := func() record {
		rec, err := start(testKey, fourEyes())
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range []Act{{Kind: ActVote, By: "rita", Grant: true, Roles: []string{"risk-compliance"}}, {Kind: ActVote, By: "olga", Grant: false, Roles: []string{"business-owner"}}} {
			a.Request, a.Workspace = "r1", "default"
			act, h, err := rec.extend(testKey, &a)
			if err != nil {
				t.Fatal(err)
			}
			rec.acts, rec.head = append(rec.acts, act), h
		}
		return rec
	}
	other := seal.FromSeed(bytes.Repeat([]byte{4}, 32))
	for name, c := range map[string]struct {
		change func(*record)
		why    string
	}{
		"nothing":                    {func(*record) {}, ""},
		"the plan was edited":        {func(r *record) { r.request.doc = strings.Replace(r.request.doc, `"version":2`, `"version":3`, 1) }, "request's seal"},
		"votes needed were lowered":  {func(r *record) { r.request.doc = strings.Replace(r.request.doc, `"count":2`, `"count":0`, 1) }, "request's seal"},
		"the request is no document": {func(r *record) { r.request.doc = "{" }, "request's seal"},
		"a vote was turned":          {func(r *record) { r.acts[1].doc = strings.Replace(r.acts[1].doc, `"grant":false`, `"grant":true`, 1) }, "seal of act 2"},
		"the last vote was removed":  {func(r *record) { r.acts = r.acts[:1] }, "1 acts are there, but 2"},
		"the first vote was removed": {func(r *record) { r.acts = r.acts[1:] }, "act 1 does not follow"},
		"all votes were removed":     {func(r *record) { r.acts = nil }, "0 acts are there"},
		"votes changed places":       {func(r *record) { r.acts[0], r.acts[1] = r.acts[1], r.acts[0] }, "act 1 does not follow"},
		"a vote was doubled":         {func(r *record) { r.acts = append(r.acts, r.acts[0]) }, "act 3 does not follow"},
		"a vote was invented": {func(r *record) {
			a := Act{Request: "r1", Workspace: "default", Kind: ActVote, By: "eve", Grant: true}
			act, h, _ := r.extend(other, &a)
			r.acts, r.head = append(r.acts, act), h
		}, "seal of act 3"},
		"the head was invented": {func(r *record) {
			r.head.doc = strings.Replace(r.head.doc, `"acts":2`, `"acts":1`, 1)
			r.acts = r.acts[:1]
		}, "seal of its head"},
		"the head is missing": {func(r *record) { r.head = sealed{} }, "seal of its head"},
	} {
		t.Run(name, func(t *testing.T) {
			rec := build()
			c.change(&rec)
			r := rec.read(testKey.Public(), "default", "r1")
			if c.why == "" {
				if r.Broken != "" || r.State(noon) != Refused {
					t.Fatalf("%q %s", r.Broken, r.State(noon))
				}
				return
			}
			if !strings.Contains(r.Broken, c.why) || r.State(noon) != Void || r.ID != "r1" {
				t.Fatalf("%q %s, wanted %q", r.Broken, r.State(noon), c.why)
			}
		})
	}
	if r := build().read(testKey.Public(), "default", "r2"); r.Broken == "" {
		t.Error("a record was taken for that of another request")
	}
	if r := build().read(testKey.Public(), "lab", "r1"); r.Broken == "" {
		t.Error("a record was taken for that of another workspace")
	}
}

func TestBetter(t *testing.T) {
	for name, c := range map[string]struct {
		metric string
		a, b   float64
		want   string
	}{
		"more accuracy":        {"accuracy", 0.8, 0.9, "true"},
		"less accuracy":        {"val_accuracy", 0.9, 0.8, "false"},
		"less loss":            {"logloss", 0.3, 0.2, "true"},
		"more latency":         {"p95_ms", 3, 4, "false"},
		"the same":             {"auc", 0.9, 0.9, "null"},
		"something unknown":    {"trees", 10, 20, "null"},
		"an error and a score": {"f1_error", 0.1, 0.2, "false"},
	} {
		got := "null"
		if b := better(c.metric, c.a, c.b); b != nil {
			got = map[bool]string{true: "true", false: "false"}[*b]
		}
		if got != c.want {
			t.Errorf("%s: %s, wanted %s", name, got, c.want)
		}
	}
}
