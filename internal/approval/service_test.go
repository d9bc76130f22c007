package approval

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"keelson/internal/audit"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/inventory"
	"keelson/internal/policy"
	"keelson/internal/problem"
	"keelson/internal/release"
)

// record of versions, as inventory would give them.
type shelf map[int]Version

func (s shelf) Version(_ context.Context, model string, n int) (Version, error) {
	v, ok := s[n]
	if !ok || model != "screening" {
		return Version{}, problem.New(problem.NotFound, "There is no version %s/%d.", model, n)
	}
	return v, nil
}

type staff []Person

func (s staff) WithRoles(_ context.Context, roles []string) (out []Person, err error) {
	for _, p := range s {
		for _, r := range roles {
			if caller.Caller(person(p.Name, p.Roles...)).Has(r) {
				out = append(out, p)
				break
			}
		}
	}
	return out, nil
}

type bell struct{ rung []string }

func (b *bell) Tampered(_ context.Context, model, endpoint, object, why string) error {
	b.rung = append(b.rung, endpoint+" "+object+": "+why)
	return nil
}

type site struct{ live int }

func (s site) LiveVersion(context.Context, string, string) (int, error) { return s.live, nil }

type bench struct {
	*Service
	d     *db.DB
	shelf shelf
	bell  *bell
	clock time.Time
	mu    sync.Mutex
}

func version(n int) Version {
	file := inventory.File{Path: "model.json", Digest: release.Digest([]byte{byte(n), 1}), Size: 10}
	return Version{
		Model: policy.Model{Kind: "ml", Tier: 2, Accountable: "grace"}, Number: n, State: "ready", Format: "xgboost-json", Size: 10,
		ArtifactDigest: inventory.ArtifactDigest([]inventory.File{file}), Files: []release.File{{Path: file.Path, Digest: file.Digest, Size: file.Size}},
		Authors: []string{"ada", "alan"}, CreatedBy: "ada", Golden: policy.Golden{Rows: 8, MaxError: 1e-9, Limit: 1e-6},
		Evaluation: Evaluation{State: "passed", ID: "e1", Tests: []Test{{Name: "accuracy", Kind: "metric", State: "passed", Value: 0.96, Limit: 0.9}}},
		Metrics:    map[string]float64{"accuracy": 0.9 + float64(n)/100},
		Inputs:     []Field{{Name: "x", Type: "FP64 [-1,30]"}}, Dependencies: []Dependency{{"data", "patients", "1", "sha256:aa"}},
	}
}

func newBench(d *db.DB) *bench {
	b := &bench{d: d, shelf: shelf{1: version(1), 2: version(2)}, bell: &bell{}, clock: noon}
	log := slog.New(slog.DiscardHandler)
	now := func() time.Time { b.mu.Lock(); defer b.mu.Unlock(); return b.clock }
	b.Service = &Service{
		DB: d, Key: testKey, Log: log, Now: now, Policies: &policy.Service{DB: d, Key: testKey, Log: log, Now: now},
		Versions: b.shelf, Alarms: b.bell, Endpoints: site{1}, History: &audit.Log{DB: d},
		People: staff{{"rita", []string{"risk-compliance"}}, {"olga", []string{"business-owner"}}, {"alan", []string{"business-owner"}}, {"root", []string{"administrator"}}},
	}
	return b
}

func as(c caller.Caller) context.Context { return caller.With(context.Background(), c) }

var ada = person("ada", "data-scientist")

func toProd() Proposal {
	return Proposal{Kind: Deploy, Model: "screening", Version: 2, Environment: "prod", Reason: "better recall"}
}

func (b *bench) open(t *testing.T, p Proposal) Request {
	t.Helper()
	r, err := b.Open(as(ada), p)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (b *bench) vote(t *testing.T, id string, c caller.Caller) Request {
	t.Helper()
	r, err := b.Vote(as(c), id, true, "fine")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (b *bench) events(t *testing.T) string {
	t.Helper()
	var out []string
	err := b.d.Read(context.Background(), func(tx db.Scope) error {
		return tx.Each("SELECT type, data FROM event WHERE workspace = $1 ORDER BY id", []any{tx.Workspace}, func(scan func(...any) error) error {
			var typ, data string
			var n Notice
			if err := scan(&typ, &data); err != nil {
				return err
			}
			err := db.FromJSON(data, &n)
			out = append(out, strings.TrimPrefix(typ, "approval.")+":"+n.State)
			return err
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(out, " ")
}

func TestFourEyesToProd(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		b := newBench(d)
		r := b.open(t, toProd())
		if r.Number != 1 || r.State(noon) != Open || r.Endpoint != "screening" || r.Policy != (release.Policy{Name: "prod", Version: 1}) {
			t.Fatalf("%+v", r)
		}
		_, err := b.Vote(as(person("ada", "risk-compliance")), r.ID, true, "mine")
		if problem.KindOf(err) != problem.Forbidden || !strings.HasSuffix(err.Error(), "may not vote on it. olga (business-owner), rita (risk-compliance) can.") {
			t.Fatalf("the author's vote: %v", err)
		}
		b.vote(t, "1", risk)
		if _, err := b.Verified(as(ada), r.ID); problem.KindOf(err) != problem.Conflict || !strings.Contains(err.Error(), "waits for a vote by business-owner") {
			t.Fatal(err)
		}
		if r = b.vote(t, r.ID, owner); r.State(noon) != Approved {
			t.Fatal(r.State(noon))
		}
		if r, err = b.Verified(as(ada), r.ID); err != nil {
			t.Fatal(err)
		}
		execute := func() error {
			return d.Write(as(ada), func(tx db.Scope) error { _, err := b.Execute(tx, r.ID, "release 1"); return err })
		}
		if err := execute(); err != nil {
			t.Fatal(err)
		}
		if err := execute(); problem.KindOf(err) != problem.Conflict || !strings.Contains(err.Error(), "already executed") {
			t.Fatalf("executed twice: %v", err)
		}
		if got := b.events(t); got != "opened:open voted:open voted:approved settled:approved" {
			t.Fatal(got)
		}
		v, err := b.View(as(ada), must(b.Get(as(ada), "1"))(t))
		if err != nil || v.State != Executed || len(v.Votes) != 2 || v.Votes[0].Role != "risk-compliance" || v.Acts[0].Kind != ActExecute || !v.Sealed {
			t.Fatalf("%+v %v", v, err)
		}
		if len(b.bell.rung) > 0 {
			t.Fatal(b.bell.rung)
		}
	})
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestDevApprovesInThePolicysName(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		b := newBench(d)
		v := b.shelf[2]
		v.Evaluation = Evaluation{}
		b.shelf[2] = v
		r, err := b.Open(as(person("local", "administrator")), Proposal{Model: "screening", Version: 2, Environment: "dev", WhenApproved: true})
		if err != nil || r.State(noon) != Approved || r.Votes()[0].By != "policy:dev" || r.Endpoint != "screening.dev" {
			t.Fatalf("%+v %v", r, err)
		}
		if got := b.events(t); got != "opened:open voted:approved settled:approved" {
			t.Fatal(got)
		}
		var actor string
		if err := d.Read(context.Background(), func(tx db.Scope) error {
			return tx.QueryRow("SELECT actor FROM audit_entry WHERE workspace = $1 AND action = 'approval.voted'", tx.Workspace).Scan(&actor)
		}); err != nil || actor != "policy:dev" {
			t.Fatal(actor, err)
		}
	})
}

func TestOpeningIsRefused(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		for name, c := range map[string]struct {
			by     caller.Caller
			change func(*bench, *Proposal)
			kind   problem.Kind
			says   string
		}{
			"when the evaluation failed, naming the test": {ada, func(b *bench, p *Proposal) {
				v := version(2)
				v.Evaluation = Evaluation{State: "failed", Tests: []Test{{Name: "recall-of-young", State: "failed", Detail: "0.7 is below 0.9"}, {Name: "ok", State: "passed"}}}
				b.shelf[2] = v
			}, problem.Invalid, "recall-of-young: 0.7 is below 0.9"},
			"when there is no evaluation": {ada, func(b *bench, p *Proposal) { v := version(2); v.Evaluation = Evaluation{}; b.shelf[2] = v }, problem.Invalid, "never evaluated"},
			"when the version is pending": {ada, func(b *bench, p *Proposal) { v := version(2); v.State = "pending"; b.shelf[2] = v }, problem.Invalid, "is pending"},
			"when its files were exchanged with SQL": {ada, func(b *bench, p *Proposal) {
				v := version(2)
				v.Files[0].Digest = release.Digest([]byte("evil"))
				b.shelf[2] = v
			}, problem.Conflict, "do not fit its artifact digest"},
			"for an unknown version":      {ada, func(b *bench, p *Proposal) { p.Version = 9 }, problem.NotFound, "screening/9"},
			"for an unknown environment":  {ada, func(b *bench, p *Proposal) { p.Environment = "moon" }, problem.Invalid, "dev, prod"},
			"for an unknown kind":         {ada, func(b *bench, p *Proposal) { p.Kind = "launch" }, problem.Invalid, "launch"},
			"for a broken plan":           {ada, func(b *bench, p *Proposal) { p.Plan.Mode = Canary }, problem.Invalid, "steps"},
			"for a retirement by steps":   {ada, func(b *bench, p *Proposal) { p.Kind = Retire; p.Plan = Plan{Mode: Shadow} }, problem.Invalid, "rollout plan"},
			"for a too long reason":       {ada, func(b *bench, p *Proposal) { p.Reason = strings.Repeat("x", 2001) }, problem.Invalid, "limit is 2000"},
			"with sign-in off":            {person("local", "administrator"), func(*bench, *Proposal) {}, problem.Forbidden, "Sign-in is off"},
			"to nobody":                   {caller.Caller{}, func(*bench, *Proposal) {}, problem.Unauthenticated, "Sign in"},
			"to suspend what is not live": {ada, func(b *bench, p *Proposal) { p.Kind = Suspend; b.Endpoints = site{0} }, problem.Conflict, "nothing to suspend"},
			"for a retired version":       {ada, func(b *bench, p *Proposal) { p.Kind = Retire; v := version(2); v.State = "retired"; b.shelf[2] = v }, problem.Conflict, "retired already"},
		} {
			t.Run(name, func(t *testing.T) {
				b, p := newBench(d), toProd()
				c.change(b, &p)
				_, err := b.Open(as(c.by), p)
				if problem.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says) {
					t.Fatalf("wanted %s with %q, got %v", c.kind, c.says, err)
				}
				if got := b.events(t); got != "" {
					t.Fatalf("something was stored: %s", got)
				}
			})
		}
		b := newBench(d)
		b.open(t, toProd())
		if _, err := b.Open(as(ada), toProd()); problem.KindOf(err) != problem.Conflict || !strings.Contains(err.Error(), "Request 1 asks for the same") {
			t.Fatal(err)
		}
		p, err := b.Policies.Policy(as(ada), "prod", 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = b.Policies.Put(as(person("rita", "risk-compliance")), p); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Open(as(person("rita", "risk-compliance")), Proposal{Model: "screening", Version: 1, Environment: "prod"}); problem.KindOf(err) != problem.Forbidden || !strings.Contains(err.Error(), "wrote version 2 of the policy prod") {
			t.Fatalf("who wrote a policy opened a request under it: %v", err)
		}
	})
}

func TestAReplacedDigestVoids(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		for name, change := range map[string]func(*Version){
			"another digest": func(v *Version) { v.ArtifactDigest = release.Digest([]byte("other")) },
			"another file": func(v *Version) {
				v.Files = []release.File{{Path: "model.json", Digest: release.Digest([]byte("evil")), Size: 10}}
			},
			"another format": func(v *Version) { v.Format = "cel" },
		} {
			t.Run(name, func(t *testing.T) {
				b := newBench(d)
				p := toProd()
				p.Reason = name
				p.Plan = Plan{Limits: &release.Limits{MaxRows: int64(len(name) + len(t.Name()))}}
				r := b.open(t, p)
				b.vote(t, r.ID, risk)
				v := version(2)
				change(&v)
				b.shelf[2] = v
				if _, err := b.Vote(as(owner), r.ID, true, "fine"); problem.KindOf(err) != problem.Conflict || !strings.Contains(err.Error(), "already void") {
					t.Fatal(err)
				}
				b.shelf[2] = version(2)
				if _, err := b.Verified(as(ada), r.ID); problem.KindOf(err) != problem.Conflict || !strings.Contains(err.Error(), "void") {
					t.Fatalf("void did not stay void: %v", err)
				}
			})
		}
	})
}

func TestAnApprovalDoesNotOutliveWhatItRestedOn(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		b := newBench(d)
		r := b.open(t, toProd())
		b.vote(t, r.ID, risk)
		b.vote(t, r.ID, owner)
		v := version(2)
		v.Evaluation = Evaluation{State: "failed", Tests: []Test{{Name: "accuracy", State: "failed"}}}
		b.shelf[2] = v
		if _, err := b.Verified(as(ada), r.ID); problem.KindOf(err) != problem.Conflict || !strings.Contains(err.Error(), "accuracy") {
			t.Fatal(err)
		}
		b.shelf[2] = version(2)
		b.clock = noon.Add(Validity)
		if _, err := b.Verified(as(ada), r.ID); problem.KindOf(err) != problem.Conflict || !strings.Contains(err.Error(), "expired on 2026-11-15") {
			t.Fatal(err)
		}
		for range 2 {
			if err := b.expire(as(ada), r.ID); err != nil {
				t.Fatal(err)
			}
		}
		if got := must(b.Get(as(ada), r.ID))(t); len(got.Acts) != 3 || got.Acts[2].Kind != ActExpire {
			t.Fatalf("%+v", got.Acts)
		}
	})
}

func TestWithdrawing(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		b := newBench(d)
		r := b.open(t, toProd())
		if _, err := b.Withdraw(as(risk), r.ID, "no"); problem.KindOf(err) != problem.Forbidden {
			t.Fatal(err)
		}
		if r, err := b.Withdraw(as(ada), r.ID, "found a bug"); err != nil || r.State(noon) != Withdrawn {
			t.Fatal(err)
		}
		if _, err := b.Vote(as(risk), r.ID, true, "late"); problem.KindOf(err) != problem.Conflict {
			t.Fatal(err)
		}
		if got := b.events(t); got != "opened:open settled:withdrawn" {
			t.Fatal(got)
		}
	})
}

func TestSQLCannotApprove(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		for name, c := range map[string]struct {
			attack func(t *testing.T, b *bench, r Request)
			says   string
		}{
			"a vote is inserted": {func(t *testing.T, b *bench, r Request) {
				dbtest.Tamper(t, b.d, `INSERT INTO approval_act (workspace, request, seq, kind, actor, doc, seal)
					SELECT workspace, request, 2, kind, 'olga', REPLACE(REPLACE(doc, 'rita', 'olga'), 'risk-compliance', 'business-owner'), seal FROM approval_act WHERE request = $1`, r.ID)
			}, "seal of act 2"},
			"a vote of another request is copied": {func(t *testing.T, b *bench, r Request) {
				o := b.open(t, Proposal{Kind: Retire, Model: "screening", Version: 1, Environment: "prod"})
				b.vote(t, o.ID, risk)
				b.vote(t, o.ID, owner)
				dbtest.Tamper(t, b.d, `INSERT INTO approval_act (workspace, request, seq, kind, actor, doc, seal)
					SELECT workspace, $1, seq, kind, actor, doc, seal FROM approval_act WHERE request = $2 AND seq = 2`, r.ID, o.ID)
			}, "act 2 does not follow"},
			"the votes needed are lowered": {func(t *testing.T, b *bench, r Request) {
				dbtest.Tamper(t, b.d, `UPDATE approval SET doc = REPLACE(doc, '"count":2', '"count":1') WHERE id = $1`, r.ID)
			}, "request's seal"},
			"the version is exchanged": {func(t *testing.T, b *bench, r Request) {
				dbtest.Tamper(t, b.d, `UPDATE approval SET version = 1, doc = REPLACE(doc, '"version":2', '"version":1') WHERE id = $1`, r.ID)
			}, "request's seal"},
			"only the column is changed": {func(t *testing.T, b *bench, r Request) {
				dbtest.Tamper(t, b.d, `UPDATE approval SET environment = 'dev' WHERE id = $1`, r.ID)
			}, "columns"},
			"the author's name is taken out": {func(t *testing.T, b *bench, r Request) {
				dbtest.Tamper(t, b.d, `UPDATE approval SET doc = REPLACE(doc, '"ada"', '"eve"') WHERE id = $1`, r.ID)
			}, "request's seal"},
			"a refusal is deleted": {func(t *testing.T, b *bench, r Request) {
				if _, err := b.Vote(as(owner), r.ID, false, "no"); err != nil {
					t.Fatal(err)
				}
				dbtest.Tamper(t, b.d, `DELETE FROM approval_act WHERE request = $1 AND actor = 'olga'`, r.ID)
			}, "1 acts are there, but 2"},
			"a refusal is deleted and the head put back": {func(t *testing.T, b *bench, r Request) {
				var doc, sig string
				if err := b.d.Read(context.Background(), func(tx db.Scope) error {
					return tx.QueryRow("SELECT head, head_seal FROM approval WHERE id = $1", r.ID).Scan(&doc, &sig)
				}); err != nil {
					t.Fatal(err)
				}
				if _, err := b.Vote(as(owner), r.ID, false, "no"); err != nil {
					t.Fatal(err)
				}
				dbtest.Tamper(t, b.d, `DELETE FROM approval_act WHERE request = $1 AND actor = 'olga'`, r.ID)
				dbtest.Tamper(t, b.d, `UPDATE approval SET head = $2, head_seal = $3 WHERE id = $1`, r.ID, doc, sig)
			}, "audit log knows of act 2"},
		} {
			t.Run(name, func(t *testing.T) {
				b := newBench(d)
				p := toProd()
				p.Plan = Plan{Limits: &release.Limits{MaxRows: int64(len(name))}}
				r := b.open(t, p)
				b.vote(t, r.ID, risk)
				c.attack(t, b, r)
				_, err := b.Verified(as(ada), r.ID)
				if problem.KindOf(err) != problem.Conflict || !strings.Contains(err.Error(), c.says) {
					t.Fatalf("wanted a refusal about %q, got %v", c.says, err)
				}
				if len(b.bell.rung) == 0 || !strings.HasPrefix(b.bell.rung[0], "screening approval/"+r.ID) && !strings.Contains(b.bell.rung[0], r.ID) {
					t.Fatalf("no alarm: %v", b.bell.rung)
				}
				if c.says == "audit log knows of act 2" {
					return // found where it matters, before execution
				}
				if _, err := b.Vote(as(owner), r.ID, true, "fine"); problem.KindOf(err) != problem.Conflict {
					t.Fatalf("voting went on: %v", err)
				}
				if err := d.Write(as(ada), func(tx db.Scope) error { _, err := b.Execute(tx, r.ID, "x"); return err }); problem.KindOf(err) != problem.Conflict {
					t.Fatalf("executed: %v", err)
				}
				if v := must(b.View(as(ada), must(b.Get(as(ada), r.ID))(t)))(t); v.State != Void || v.Sealed {
					t.Fatalf("%s %v", v.State, v.Sealed)
				}
			})
		}
	})
}

func TestTwoVotesAtOnceAreBothKept(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		b := newBench(d)
		r := b.open(t, toProd())
		var wg sync.WaitGroup
		errs := make(chan error, 4)
		for _, c := range []caller.Caller{risk, owner, risk, owner} {
			wg.Go(func() { _, err := b.Vote(as(c), r.ID, true, "fine"); errs <- err })
		}
		wg.Wait()
		close(errs)
		taken := 0
		for err := range errs {
			if err == nil {
				taken++
			} else if problem.KindOf(err) != problem.Conflict {
				t.Error(err)
			}
		}
		got := must(b.Get(as(ada), r.ID))(t)
		if taken != 2 || got.State(noon) != Approved || len(got.Acts) != 2 {
			t.Fatalf("%d votes taken, %d kept, %s", taken, len(got.Acts), got.State(noon))
		}
	})
}

func TestProposalsAtOnceAreOpenedOnceEachUnderANumberOfItsOwn(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		b := newBench(d)
		shares := 12
		var wg sync.WaitGroup
		errs := make(chan error, 2*shares)
		for i := range shares {
			for range 2 {
				p := toProd()
				p.Plan = Plan{Mode: Canary, Steps: []Step{{Share: 1 + i}}}
				wg.Go(func() { _, err := b.Open(as(ada), p); errs <- err })
			}
		}
		wg.Wait()
		close(errs)
		opened := 0
		for err := range errs {
			if err == nil {
				opened++
			} else if problem.KindOf(err) != problem.Conflict {
				t.Error(err)
			}
		}
		if opened != shares {
			t.Errorf("%d requests were opened, want %d", opened, shares)
		}
	})
}

func TestListsAndChanges(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		b := newBench(d)
		r := b.open(t, toProd())
		b.open(t, Proposal{Kind: Deploy, Model: "screening", Version: 2, Environment: "dev"})
		for name, c := range map[string]struct {
			state, model string
			mine         bool
			by           caller.Caller
			want         int
		}{
			"all":                            {"", "", false, ada, 2},
			"open ones":                      {Open, "", false, ada, 1},
			"approved ones":                  {Approved, "screening", false, ada, 1},
			"of another model":               {"", "referral", false, ada, 0},
			"that wait for the risk officer": {"", "", true, risk, 1},
			"that concern nobody":            {"", "", true, person("zoe", "auditor"), 0},
		} {
			page, err := b.List(as(c.by), c.state, c.model, c.mine, 10, "")
			if err != nil || len(page.Items) != c.want {
				t.Errorf("%s: %d %v, wanted %d", name, len(page.Items), err, c.want)
			}
		}
		page, err := b.List(as(ada), "", "", false, 1, "")
		if err != nil || len(page.Items) != 1 || page.Next == "" || page.Items[0].Number != 2 {
			t.Fatalf("%+v %v", page, err)
		}
		if page, err = b.List(as(ada), "", "", false, 1, page.Next); err != nil || page.Items[0].Number != 1 {
			t.Fatalf("%+v %v", page, err)
		}
		ch, err := b.Changes(as(risk), r.ID)
		if err != nil || ch.From == nil || ch.From.Version != 1 || ch.To.Version != 2 {
			t.Fatalf("%+v %v", ch, err)
		}
		titles := ""
		for _, s := range ch.Sections {
			titles += s.Title + " "
			if s.Title == "Metrics" && (s.Rows[0].Better == nil || !*s.Rows[0].Better || s.Rows[0].Note != "+0.01") {
				t.Errorf("%+v", s.Rows)
			}
		}
		if titles != "Plan Metrics Evaluation Data Artifact " {
			t.Error(titles)
		}
		trial, err := func() (policy.Trial, error) {
			b.Policies.Past = b.Service
			p := must(b.Policies.Policy(as(risk), "prod", 0))(t)
			p.Rules = append(p.Rules, policy.Rule{ID: "tier", Require: "model.tier == 1", Message: "Only tier 1."})
			return b.Policies.Try(as(risk), p)
		}()
		if err != nil || trial.Requests != 1 || len(trial.Blocked) != 1 || trial.Blocked[0].Why != "Only tier 1." {
			t.Fatalf("%+v %v", trial, err)
		}
	})
}
