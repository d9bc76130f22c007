package deployment

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"keelson/internal/approval"
	"keelson/internal/problem"
	"keelson/internal/release"
)

var noon = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func approved(version int, plan approval.Plan) approval.Request {
	if err := plan.Check(); err != nil {
		panic(err)
	}
	digest, _ := plan.Digest()
	return approval.Request{
		ID: fmt.Sprintf("r%d", version), Number: version, Workspace: "default", Kind: approval.Deploy, Model: "screening", Version: version, Environment: "prod", Endpoint: "screening",
		ArtifactDigest: release.Digest([]byte{byte(version)}), Format: "cel", Files: []release.File{{Path: "m", Digest: release.Digest([]byte{byte(version), 1}), Size: 1}},
		Plan: plan, PlanDigest: digest, Policy: release.Policy{Name: "prod", Version: 1},
	}
}

var (
	all    = approval.Plan{}
	canary = approval.Plan{Mode: approval.Canary, Steps: []approval.Step{{Share: 10, HoldRows: 100, HoldSeconds: 60}, {Share: 50}}}
	shadow = approval.Plan{Mode: approval.Shadow, Share: 20}
)

// standing writes a deployment as "state: 2@90 live, 3@10 canary < 1".
func standing(d Deployment) string {
	var slots, trail []string
	for _, s := range d.slots() {
		slots = append(slots, fmt.Sprintf("%d@%d %s", s.Version, s.Share, s.Kind))
	}
	for _, a := range d.Trail {
		trail = append(trail, fmt.Sprint(a.Slot.Version))
	}
	return strings.TrimSpace(d.State + ": " + strings.Join(slots, ", ") + " < " + strings.Join(trail, " "))
}

func TestTheWayOfADeployment(t *testing.T) {
	deploy := func(v int, p approval.Plan) func(*Deployment) error {
		return func(d *Deployment) error { return d.deploy(approved(v, p), noon) }
	}
	advance := func(d *Deployment) error { return d.advance(noon) }
	rollback := func(d *Deployment) error { _, err := d.rollback(); return err }
	suspend := (*Deployment).suspend
	resume := func(d *Deployment) error { return d.resume(noon) }
	retire := func(v int, auto bool) func(*Deployment) error {
		return func(d *Deployment) error { _, err := d.retire(v, auto); return err }
	}
	type acts = []func(*Deployment) error
	for name, c := range map[string]struct {
		acts acts
		want string
		says string // refusal of the last act
	}{
		"all calls at once":                               {acts{deploy(1, all)}, "live: 1@100 live <", ""},
		"the version before is kept":                      {acts{deploy(1, all), deploy(2, all)}, "live: 2@100 live < 1", ""},
		"the same version again is no step back":          {acts{deploy(1, all), deploy(1, all)}, "live: 1@100 live <", ""},
		"a canary takes its first share":                  {acts{deploy(1, all), deploy(2, canary)}, "rolling: 1@90 live, 2@10 canary <", ""},
		"a canary takes the next share":                   {acts{deploy(1, all), deploy(2, canary), advance}, "rolling: 1@50 live, 2@50 canary <", ""},
		"a canary takes all":                              {acts{deploy(1, all), deploy(2, canary), advance, advance}, "live: 2@100 live < 1", ""},
		"a canary needs something beside it":              {acts{deploy(2, canary)}, ":  <", "Nothing is live at screening"},
		"a canary of what is live makes no sense":         {acts{deploy(1, all), deploy(1, canary)}, "live: 1@100 live <", "is live at screening already"},
		"one rollout at a time":                           {acts{deploy(1, all), deploy(2, canary), deploy(3, all)}, "rolling: 1@90 live, 2@10 canary <", "advance it to the end or roll it back"},
		"a canary rolls back":                             {acts{deploy(1, all), deploy(2, canary), advance, rollback}, "live: 1@100 live <", ""},
		"a live version rolls back":                       {acts{deploy(1, all), deploy(2, all), rollback}, "live: 1@100 live <", ""},
		"two steps back":                                  {acts{deploy(1, all), deploy(2, all), deploy(3, all), rollback, rollback}, "live: 1@100 live <", ""},
		"going back is not going in circles":              {acts{deploy(1, all), deploy(2, all), deploy(1, all)}, "live: 1@100 live < 2", ""},
		"nothing to go back to":                           {acts{deploy(1, all), rollback}, "live: 1@100 live <", "no approved version before screening/1"},
		"nothing to advance":                              {acts{deploy(1, all), advance}, "live: 1@100 live <", "nothing to advance"},
		"a shadow gets copies":                            {acts{deploy(1, all), deploy(2, shadow)}, "live: 1@100 live, 2@20 shadow <", ""},
		"a shadow does not go live by itself":             {acts{deploy(1, all), deploy(2, shadow), advance}, "live: 1@100 live, 2@20 shadow <", "open a request to deploy it"},
		"a shadow ends by a rollback":                     {acts{deploy(1, all), deploy(2, shadow), rollback}, "live: 1@100 live <", ""},
		"a shadow ends by going live":                     {acts{deploy(1, all), deploy(2, shadow), deploy(2, all)}, "live: 2@100 live < 1", ""},
		"suspended":                                       {acts{deploy(1, all), suspend}, "suspended: 1@100 live <", ""},
		"suspended twice":                                 {acts{deploy(1, all), suspend, suspend}, "suspended: 1@100 live <", "cannot be suspended"},
		"resumed":                                         {acts{deploy(1, all), suspend, resume}, "live: 1@100 live <", ""},
		"resumed without need":                            {acts{deploy(1, all), resume}, "live: 1@100 live <", "not suspended"},
		"a canary goes on after a stop":                   {acts{deploy(1, all), deploy(2, canary), suspend, resume}, "rolling: 1@90 live, 2@10 canary <", ""},
		"a stopped canary does not advance":               {acts{deploy(1, all), deploy(2, canary), suspend, advance}, "suspended: 1@90 live, 2@10 canary <", "resume it first"},
		"a canary stopped and rolled back stays stopped":  {acts{deploy(1, all), deploy(2, canary), suspend, rollback}, "suspended: 1@100 live <", ""},
		"a stopped endpoint goes back and answers":        {acts{deploy(1, all), deploy(2, all), suspend, rollback}, "live: 1@100 live <", ""},
		"a new version ends a stop":                       {acts{deploy(1, all), suspend, deploy(2, all)}, "live: 2@100 live < 1", ""},
		"a canary does not end a stop":                    {acts{deploy(1, all), suspend, deploy(2, canary)}, "suspended: 1@100 live <", "Nothing is live"},
		"what is live does not retire":                    {acts{deploy(1, all), retire(1, false)}, "live: 1@100 live <", "keelson deploy suspend screening"},
		"what is coming in does not retire":               {acts{deploy(1, all), deploy(2, canary), retire(2, false)}, "rolling: 1@90 live, 2@10 canary <", "roll it back first"},
		"what was live before retires":                    {acts{deploy(1, all), deploy(2, all), retire(1, false)}, "live: 2@100 live <", ""},
		"after its retirement nothing goes back to it":    {acts{deploy(1, all), deploy(2, all), retire(1, false), rollback}, "live: 2@100 live <", "no approved version before"},
		"a stopped endpoint retires with its version":     {acts{deploy(1, all), suspend, retire(1, false)}, "retired:  <", ""},
		"a retired endpoint does not go back":             {acts{deploy(1, all), suspend, retire(1, false), rollback}, "retired:  <", "is retired"},
		"a retired endpoint does not resume":              {acts{deploy(1, all), suspend, retire(1, false), resume}, "retired:  <", "not suspended"},
		"a retired endpoint takes a new version":          {acts{deploy(1, all), suspend, retire(1, false), deploy(2, all)}, "live: 2@100 live <", ""},
		"where nobody votes what is live retires at once": {acts{deploy(1, all), retire(1, true)}, "retired:  <", ""},
		"and a canary ends":                               {acts{deploy(1, all), deploy(2, canary), retire(2, true)}, "live: 1@100 live <", ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := Deployment{Workspace: "default", Endpoint: "screening", Environment: "prod", Model: "screening"}
			for i, act := range c.acts {
				err := act(&d)
				last := i == len(c.acts)-1
				switch {
				case last && c.says != "":
					if problem.KindOf(err) != problem.Conflict || !strings.Contains(err.Error(), c.says) {
						t.Errorf("wanted a refusal with %q, got %v", c.says, err)
					}
				case err != nil:
					t.Fatalf("act %d: %v", i+1, err)
				}
			}
			if got := standing(d); got != strings.TrimSpace(c.want) {
				t.Errorf("%q, wanted %q", got, c.want)
			}
			if d.State == "" {
				return
			}
			d.Serial, d.LastRequest = 1, "r"
			if err := d.document(noon).Check(); err != nil {
				t.Errorf("its release: %v", err)
			}
			doc := d.document(noon)
			back := restored("x", doc, &canary)
			if got, want := strings.Split(standing(back), " <")[0], strings.Split(standing(d), " <")[0]; got != want {
				t.Errorf("restored from its release it is %q, wanted %q", got, want)
			}
			if !same(back, doc) {
				t.Error("what was restored from a release does not fit the release")
			}
		})
	}
}

func TestWhenAStepIsDue(t *testing.T) {
	base := Deployment{Endpoint: "screening", Model: "screening"}
	if err := base.deploy(approved(1, all), noon); err != nil {
		t.Fatal(err)
	}
	if err := base.deploy(approved(2, canary), noon); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		after  time.Duration
		rows   int64
		change func(*Deployment)
		want   bool
	}{
		"time and rows":        {time.Minute, 100, nil, true},
		"a moment too early":   {time.Minute - 1, 100, nil, false},
		"a row too few":        {time.Minute, 99, nil, false},
		"held by a person":     {time.Hour, 1000, func(d *Deployment) { d.Rollout.Held = "breach" }, false},
		"suspended":            {time.Hour, 1000, func(d *Deployment) { d.State = Suspended }, false},
		"a step without holds": {time.Hour, 1000, func(d *Deployment) { d.Rollout.Step = 1 }, false},
		"no rollout":           {time.Hour, 1000, func(d *Deployment) { d.Rollout = nil }, false},
	} {
		d := base
		r := *base.Rollout
		d.Rollout = &r
		if c.change != nil {
			c.change(&d)
		}
		if got := d.due(noon.Add(c.after), c.rows); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestLimitsOfAPlanReplaceThoseInForce(t *testing.T) {
	have := release.Limits{MaxRows: 9, ForbiddenPurposes: "marketing"}
	for name, c := range map[string]struct {
		plan *release.Limits
		want release.Limits
	}{
		"a plan that says nothing keeps them":   {nil, have},
		"a plan that says others has only them": {&release.Limits{TimeoutMS: 300}, release.Limits{TimeoutMS: 300}},
		"a plan that says none lifts them":      {&release.Limits{}, release.Limits{}},
	} {
		t.Run(name, func(t *testing.T) {
			var d Deployment
			for version, limits := range []*release.Limits{&have, c.plan} {
				if err := d.deploy(approved(version+1, approval.Plan{Limits: limits}), noon); err != nil {
					t.Fatal(err)
				}
			}
			if d.Limits != c.want {
				t.Errorf("%+v, want %+v", d.Limits, c.want)
			}
		})
	}
}
