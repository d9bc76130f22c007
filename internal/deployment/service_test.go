package deployment

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"keelson/internal/approval"
	"keelson/internal/audit"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/event"
	"keelson/internal/incident"
	"keelson/internal/inventory"
	"keelson/internal/policy"
	"keelson/internal/problem"
	"keelson/internal/release"
	"keelson/internal/seal"
)

var testKey = seal.FromSeed(bytes.Repeat([]byte{5}, 32))

// shelf stands for inventory: versions 1 to 5 of screening.
type shelf struct {
	mu         sync.Mutex
	retired    map[int]bool
	signatures map[int]string // of versions that have one of their own
}

func (s *shelf) Version(_ context.Context, model string, n int) (approval.Version, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n < 1 || n > 5 {
		return approval.Version{}, problem.New(problem.NotFound, "There is no version %s/%d.", model, n)
	}
	file := inventory.File{Path: "m", Digest: release.Digest([]byte{byte(n), 1}), Size: 1}
	v := approval.Version{Model: policy.Model{Kind: "ml", Accountable: "grace"}, Number: n, State: "ready", Format: "cel", Size: 1, ArtifactDigest: inventory.ArtifactDigest([]inventory.File{file}),
		Files: []release.File{{Path: file.Path, Digest: file.Digest, Size: file.Size}}, Signature: json.RawMessage(`{"inputs": [ ]}`), Authors: []string{"ada"},
		Evaluation: approval.Evaluation{State: "passed"}}
	if own := s.signatures[n]; own != "" {
		v.Signature = json.RawMessage(own)
	}
	if s.retired[n] {
		v.State = "retired"
	}
	return v, nil
}

func (s *shelf) Retire(_ db.Scope, _ string, n int, _ string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retired[n] = true
	return nil
}

// traffic stands for the prediction log: one record per row, named by its number.
type traffic struct {
	rows  int64
	looks []string // after and most of each
}

func (t *traffic) Rows(_ context.Context, _ string, _ int, _ time.Time, after string, most int64) (int64, string, error) {
	t.looks = append(t.looks, fmt.Sprintf("%s+%d", after, most))
	seen, _ := strconv.ParseInt(after, 10, 64)
	n := min(t.rows-seen, most)
	return n, strconv.FormatInt(seen+n, 10), nil
}
func (t *traffic) Callers(context.Context, string, int, time.Time) ([]approval.Caller, error) {
	return []approval.Caller{{Name: "ward-7", Calls: 12, Last: noon}}, nil
}

type bench struct {
	*Service
	d       *db.DB
	shelf   *shelf
	traffic *traffic
	mu      sync.Mutex
	clock   time.Time
}

func newBench(d *db.DB) *bench {
	b := &bench{d: d, shelf: &shelf{retired: map[int]bool{}}, traffic: &traffic{}, clock: noon}
	log := slog.New(slog.DiscardHandler)
	now := func() time.Time { b.mu.Lock(); defer b.mu.Unlock(); return b.clock }
	pol := &policy.Service{DB: d, Key: testKey, Log: log, Now: now}
	inc := &incident.Service{DB: d, Log: log, Now: now}
	hist := &audit.Log{DB: d}
	app := &approval.Service{DB: d, Key: testKey, Log: log, Now: now, Policies: pol, Versions: b.shelf, Alarms: inc, History: hist}
	b.Service = &Service{DB: d, Key: testKey, Log: log, Now: now, Approvals: app, Policies: pol, Incidents: inc, Inventory: b.shelf, Rows: b.traffic, Callers: b.traffic, History: hist}
	app.Endpoints, pol.Past, inc.Model = b.Service, app, b.ModelOf
	return b
}

func (b *bench) pass(d time.Duration) { b.mu.Lock(); b.clock = b.clock.Add(d); b.mu.Unlock() }

func as(name string, roles ...string) context.Context {
	return caller.With(context.Background(), caller.Caller{Name: name, Kind: caller.Person, Roles: roles})
}

var (
	ada  = as("ada", "data-scientist")
	rita = as("rita", "risk-compliance")
	olga = as("olga", "business-owner")
	otto = as("otto", "it-operations")
)

// approve opens a request and has it approved; it gives its id.
func (b *bench) approve(t *testing.T, p approval.Proposal) string {
	t.Helper()
	p.Model = "screening"
	if p.Environment == "" {
		p.Environment = "prod"
	}
	r, err := b.Approvals.Open(ada, p)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []context.Context{rita, olga} {
		if r.State(b.now()) != approval.Open {
			break
		}
		if r, err = b.Approvals.Vote(c, r.ID, true, "fine"); err != nil {
			t.Fatal(err)
		}
	}
	return r.ID
}

func (b *bench) execute(t *testing.T, p approval.Proposal) Result {
	t.Helper()
	res, err := b.Execute(otto, b.approve(t, p))
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// newest opens the newest release that serving would take.
func (b *bench) newest(t *testing.T, endpoint string) release.Document {
	t.Helper()
	list, err := b.Releases(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if e.Endpoint == endpoint {
			if d, err := release.Open(testKey.Public(), []byte(e.Text)); err == nil {
				return d
			}
		}
	}
	t.Fatalf("no release of %s holds", endpoint)
	return release.Document{}
}

func (b *bench) incidents(t *testing.T, kind string) int {
	t.Helper()
	list, err := b.Incidents.List(context.Background(), "", "", "", 100)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, i := range list {
		if i.Kind == kind {
			n++
		}
	}
	return n
}

func (b *bench) stands(t *testing.T, endpoint, want string) {
	t.Helper()
	f, ok, err := b.read(context.Background(), endpoint)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	if got := standing(f.Deployment); got != want {
		t.Fatalf("%s stands at %q, wanted %q", endpoint, got, want)
	}
}

func TestAVersionsWholeLife(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		b := newBench(d)
		b.execute(t, approval.Proposal{Version: 1})
		doc := b.newest(t, "screening")
		if doc.Serial != 1 || doc.State != release.Live || doc.Slots[0].Files[0].Path != "m" || doc.Policy.Name != "prod" || doc.Environment != "prod" || doc.Durability != release.Group {
			t.Fatalf("%+v", doc)
		}
		b.execute(t, approval.Proposal{Version: 2, Plan: canary})
		b.stands(t, "screening", "rolling: 1@90 live, 2@10 canary <")
		if _, err := b.Advance(otto, "screening", "looks good"); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Advance(otto, "screening", "looks good"); err != nil {
			t.Fatal(err)
		}
		b.stands(t, "screening", "live: 2@100 live < 1")
		if doc = b.newest(t, "screening"); doc.Serial != 4 || doc.Previous.Version != 1 {
			t.Fatalf("%+v", doc)
		}
		back, err := b.Rollback(otto, "screening", "complaints from the ward")
		if err != nil || back.Current.Slot.Version != 1 {
			t.Fatalf("%+v %v", back, err)
		}
		if n := b.incidents(t, incident.Review); n != 1 {
			t.Fatalf("%d reviews", n)
		}
		b.execute(t, approval.Proposal{Version: 2, Reason: "fixed the ward's data"})
		_, err = b.Execute(otto, b.approve(t, approval.Proposal{Version: 2, Kind: approval.Retire}))
		if problem.KindOf(err) != problem.Conflict || !strings.Contains(err.Error(), "keelson deploy suspend screening") {
			t.Fatalf("what is live was retired: %v", err)
		}
		res := b.execute(t, approval.Proposal{Version: 1, Kind: approval.Retire, Reason: "replaced"})
		if len(res.Callers) != 1 || !b.shelf.retired[1] {
			t.Fatalf("%+v", res)
		}
		b.stands(t, "screening", "live: 2@100 live <")
		if _, err := b.Rollback(otto, "screening", "again"); problem.KindOf(err) != problem.Conflict {
			t.Fatalf("it went back to what is retired: %v", err)
		}
		if _, err := b.Approvals.Open(ada, approval.Proposal{Model: "screening", Version: 1, Environment: "prod"}); problem.KindOf(err) != problem.Invalid {
			t.Fatalf("what is retired was proposed: %v", err)
		}
		v, err := b.Get(otto, "screening")
		if err != nil || v.State != Live || v.URL != "/v2/models/screening/infer" || len(v.Releases) != 7 || !v.Sealed || !v.Releases[0].Signed {
			t.Fatalf("%+v %v", v, err)
		}
		if n := b.incidents(t, incident.RecordTampered); n != 0 {
			t.Fatalf("%d false alarms", n)
		}
	})
}

func TestOnlyWhatIsApprovedIsExecutedAndOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		b := newBench(d)
		r, err := b.Approvals.Open(ada, approval.Proposal{Model: "screening", Version: 1, Environment: "prod"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Execute(otto, r.ID); problem.KindOf(err) != problem.Conflict || !strings.Contains(err.Error(), "not approved yet") {
			t.Fatal(err)
		}
		if _, err := b.Execute(otto, "99"); problem.KindOf(err) != problem.NotFound {
			t.Fatal(err)
		}
		for _, c := range []context.Context{rita, olga} {
			if _, err := b.Approvals.Vote(c, r.ID, true, "fine"); err != nil {
				t.Fatal(err)
			}
		}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if _, err := b.Execute(otto, r.ID); err != nil && problem.KindOf(err) != problem.Conflict {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if doc := b.newest(t, "screening"); doc.Serial != 1 {
			t.Fatalf("one request made %d releases", doc.Serial)
		}
		if res, err := b.Execute(otto, r.ID); err != nil || len(res.Deployments) != 1 {
			t.Fatalf("asking again for what is in force failed: %v", err)
		}
		b.execute(t, approval.Proposal{Version: 2})
		if _, err := b.Execute(otto, r.ID); problem.KindOf(err) != problem.Conflict || !strings.Contains(err.Error(), "executed before") {
			t.Fatalf("an old approval brought an old version back: %v", err)
		}
		expired := b.approve(t, approval.Proposal{Version: 3})
		b.pass(approval.Validity)
		if _, err := b.Execute(otto, expired); problem.KindOf(err) != problem.Conflict || !strings.Contains(err.Error(), "expired") {
			t.Fatal(err)
		}
		b.stands(t, "screening", "live: 2@100 live < 1")
	})
}

func TestDevGoesLiveAtOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		b := newBench(d)
		r, err := b.Approvals.Open(as("local", "local"), approval.Proposal{Model: "screening", Version: 1, Environment: "dev", WhenApproved: true})
		if err != nil {
			t.Fatal(err)
		}
		settled := event.Event{Type: approval.Settled, Workspace: "default", Data: json.RawMessage(db.ToJSON(approval.Notice{ID: r.ID, Number: r.Number, State: approval.Approved, WhenApproved: true}))}
		for range 3 { // events come at least once
			if err := b.Settled(event.Caused(context.Background(), settled, "deployment"), settled); err != nil {
				t.Fatal(err)
			}
		}
		doc := b.newest(t, "screening.dev")
		if doc.Serial != 1 || doc.Environment != "dev" || doc.Policy.Name != "dev" {
			t.Fatalf("%+v", doc)
		}
		// What cannot be done when approved is written down and stays with a person.
		plan := canary
		b.execute(t, approval.Proposal{Version: 2, Environment: "dev", Plan: plan})
		r, err = b.Approvals.Open(ada, approval.Proposal{Model: "screening", Version: 3, Environment: "dev", WhenApproved: true})
		if err != nil {
			t.Fatal(err)
		}
		settled.Data = json.RawMessage(db.ToJSON(approval.Notice{ID: r.ID, State: approval.Approved, WhenApproved: true, Models: []string{"screening"}}))
		if err := b.Settled(event.Caused(context.Background(), settled, "deployment"), settled); err != nil {
			t.Fatal(err)
		}
		entries, err := (&audit.Log{DB: d}).List(context.Background(), audit.Query{Action: Blocked, Limit: 5})
		if err != nil || len(entries) != 1 || !strings.Contains(string(entries[0].Detail), "on its way in") {
			t.Fatalf("%+v %v", entries, err)
		}
		// A retirement approved by the dev policy takes nothing out of prod.
		b.execute(t, approval.Proposal{Version: 4, Environment: "prod"})
		if _, err := b.Execute(otto, b.approve(t, approval.Proposal{Version: 4, Kind: approval.Retire, Environment: "dev"})); problem.KindOf(err) != problem.Conflict || !strings.Contains(err.Error(), "for prod") {
			t.Fatal(err)
		}
	})
}

func TestWhatIsLeftOutOfTheLogStaysOutWhileAVersionFromBeforeCanAnswer(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		b := newBench(d)
		b.Personal = func(_ context.Context, _ string, version int) ([]string, error) {
			return map[int][]string{1: {"birthday"}, 3: {"zip"}}[version], nil
		}
		plan := func(mode string, redact ...string) approval.Plan {
			p := approval.Plan{Mode: mode, Redact: redact}
			switch mode {
			case approval.Canary:
				p.Steps = []approval.Step{{Share: 5}}
			case approval.Shadow:
				p.Share = 20
			}
			return p
		}
		left := func(what, want string) {
			t.Helper()
			doc := b.newest(t, "screening")
			slices.Sort(doc.Redact)
			if got := strings.Join(doc.Redact, " "); got != want {
				t.Fatalf("%s: %s is left out, want %s", what, got, want)
			}
		}
		b.execute(t, approval.Proposal{Version: 1, Plan: plan(approval.All, "income")})
		left("version 1", "birthday income")
		b.execute(t, approval.Proposal{Version: 2, Plan: plan(approval.Canary, "hash:customer")})
		left("version 1 beside the canary of 2", "birthday hash:customer income")
		if _, err := b.Rollback(otto, "screening", "complaints"); err != nil {
			t.Fatal(err)
		}
		left("version 1 alone again", "birthday hash:customer income")
		b.execute(t, approval.Proposal{Version: 3, Plan: plan(approval.Shadow, "hash:income")})
		left("version 1 with the shadow 3, whose plan hashes", "birthday hash:customer hash:income zip")
		b.execute(t, approval.Proposal{Version: 2, Plan: plan(approval.All, "name")})
		left("version 2, from which one may go back to 1", "birthday hash:customer hash:income name zip")
		if _, err := b.Rollback(otto, "screening", "complaints"); err != nil {
			t.Fatal(err)
		}
		left("back at version 1", "birthday hash:customer hash:income name zip")
		if _, err := b.Suspend(otto, "screening", "its end"); err != nil {
			t.Fatal(err)
		}
		b.execute(t, approval.Proposal{Version: 1, Kind: approval.Retire, Reason: "replaced"})
		b.execute(t, approval.Proposal{Version: 4, Plan: plan(approval.All, "iban")})
		left("version 4, when nothing from before can answer", "iban")
	})
}

func TestACanaryMovesOnByItself(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		b := newBench(d)
		plan := approval.Plan{Mode: approval.Canary, Steps: []approval.Step{{Share: 10, HoldRows: 100}, {Share: 50, HoldSeconds: 60}}}
		b.execute(t, approval.Proposal{Version: 1})
		b.execute(t, approval.Proposal{Version: 2, Plan: plan})
		roll := func() {
			t.Helper()
			if err := b.Roll(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		roll()
		b.stands(t, "screening", "rolling: 1@90 live, 2@10 canary <")
		b.traffic.rows = 100
		roll()
		roll()
		b.stands(t, "screening", "rolling: 1@50 live, 2@50 canary <")
		breach := event.Event{Data: json.RawMessage(`{"endpoint":"screening","version":1}`)}
		if err := b.Breached(context.Background(), breach); err != nil {
			t.Fatal(err)
		}
		b.pass(59 * time.Second)
		roll()
		b.stands(t, "screening", "rolling: 1@50 live, 2@50 canary <")
		breach.Data = json.RawMessage(`{"endpoint":"screening","version":2}`)
		if err := b.Breached(context.Background(), breach); err != nil {
			t.Fatal(err)
		}
		b.pass(time.Hour)
		roll()
		b.stands(t, "screening", "rolling: 1@50 live, 2@50 canary <")
		if v, err := b.Get(otto, "screening"); err != nil || !strings.Contains(v.Rollout.Waits, "breach") || !v.Sealed {
			t.Fatalf("%+v %v", v, err)
		}
		if _, err := b.Advance(otto, "screening", "the breach was the weather"); err != nil {
			t.Fatal(err)
		}
		b.stands(t, "screening", "live: 2@100 live < 1")
	})
}

func TestRowsAreCountedOnceAndNotBeforeTheTimeHasPassed(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		b := newBench(d)
		b.execute(t, approval.Proposal{Version: 1})
		b.execute(t, approval.Proposal{Version: 2, Plan: approval.Plan{Mode: approval.Canary, Steps: []approval.Step{{Share: 10, HoldRows: 100, HoldSeconds: 60}, {Share: 50, HoldRows: 10}}}})
		for _, x := range []struct {
			pass time.Duration
			rows int64
			want string // how the log was looked at
			then string
		}{
			{0, 0, "", "rolling: 1@90 live, 2@10 canary <"},
			{59 * time.Second, 500, "", "rolling: 1@90 live, 2@10 canary <"},
			{time.Second, 40, "+100", "rolling: 1@90 live, 2@10 canary <"},
			{time.Second, 40, "40+60", "rolling: 1@90 live, 2@10 canary <"},
			{time.Second, 70, "40+60", "rolling: 1@90 live, 2@10 canary <"},
			{time.Second, 1000, "70+30", "rolling: 1@50 live, 2@50 canary <"},
			{time.Second, 5, "+10", "rolling: 1@50 live, 2@50 canary <"},
			{time.Second, 11, "5+5", "live: 2@100 live < 1"},
			{time.Second, 11, "", "live: 2@100 live < 1"},
		} {
			b.pass(x.pass)
			b.traffic.rows, b.traffic.looks = x.rows, nil
			if err := b.Roll(context.Background()); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(b.traffic.looks, " "); got != x.want {
				t.Errorf("with %d rows the log was looked at %q, want %q", x.rows, got, x.want)
			}
			b.stands(t, "screening", x.then)
		}
	})
}

func TestTheNewestReleasesAreFoundWithoutReadingTheirHistory(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		if err := d.Write(ctx, func(tx db.Scope) error {
			for _, x := range []struct {
				workspace, endpoint string
				n                   int
			}{{"a", "z", 1}, {"default", "long", 20_000}, {"default", "short", 3}, {"default", "Upper", 7}, {"risk", "long", 5}, {"risk", "ä", 6}} {
				if _, err := tx.Exec(`INSERT INTO release (workspace, endpoint, serial, envelope, issued_at)
					WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $3) SELECT $1, $2, i, 'an envelope of some length, as they are', 0 FROM n`, x.workspace, x.endpoint, x.n); err != nil {
					return err
				}
			}
			_, err := tx.Exec("ANALYZE release")
			return err
		}); err != nil {
			t.Fatal(err)
		}
		lines := func(query string, args ...any) (out []string) {
			t.Helper()
			if err := d.Read(ctx, func(tx db.Scope) error {
				return tx.Each(query, args, func(scan func(...any) error) error {
					var a, b, c, e any
					var err error
					if strings.HasPrefix(query, "EXPLAIN (") {
						err = scan(&a)
					} else {
						err = scan(&a, &b, &c, &e)
					}
					out = append(out, fmt.Sprint(a, " ", b, " ", c, " ", e))
					return err
				})
			}); err != nil {
				t.Fatal(err)
			}
			return out
		}
		got := lines(selectNewest, 5)
		want := lines(`SELECT workspace, endpoint, serial, envelope FROM (
			SELECT workspace, endpoint, serial, envelope, ROW_NUMBER() OVER (PARTITION BY workspace, endpoint ORDER BY serial DESC) AS place FROM release
		) newest WHERE place <= $1 ORDER BY workspace, endpoint, serial DESC`, 5)
		if len(want) != 1+5+3+5+5+5 || !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		// Nothing may go through the table: SQLite says so in its plan, PostgreSQL counts what it read.
		explain, whole := "EXPLAIN QUERY PLAN ", regexp.MustCompile(`SCAN (r|release)\b`)
		if d.Postgres() {
			explain, whole = "EXPLAIN (ANALYZE, TIMING OFF) ", regexp.MustCompile(`Seq Scan on release|rows=[0-9]{4,}[ .0-9]* loops|loops=[0-9]{4,}|Removed by Filter: [0-9]{4,}`)
		}
		plan := lines(explain+selectNewest, 5)
		for _, l := range plan {
			if whole.MatchString(l) {
				t.Errorf("the history is read: %s\n%s", l, strings.Join(plan, "\n"))
			}
		}
	})
}

func TestReleasesAreRenewedBeforeTheyExpire(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		b := newBench(d)
		b.execute(t, approval.Proposal{Version: 1})
		first := b.newest(t, "screening")
		refresh := func() {
			t.Helper()
			if err := b.Refresh(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		refresh()
		if got := b.newest(t, "screening"); got.Serial != 1 {
			t.Fatal("a fresh release was renewed")
		}
		b.pass(Validity + time.Hour) // the machine was off
		refresh()
		got := b.newest(t, "screening")
		if got.Serial != 2 || got.Expired(b.now()) || got.Slots[0].Version != first.Slots[0].Version || got.Request != first.Request {
			t.Fatalf("%+v", got)
		}
		view, err := b.Get(context.Background(), "screening")
		if c := view.Change; err != nil || c.Act != "executed" || c.By == "" || !c.At.Equal(first.IssuedAt) {
			t.Fatalf("signing anew counts as a change: %+v (%v), the change was at %s", c, err, first.IssuedAt)
		}
		if _, err := b.Suspend(otto, "screening", "smoke"); err != nil {
			t.Fatal(err)
		}
		if view, err = b.Get(context.Background(), "screening"); err != nil || view.Change.Act != "suspended" || view.Change.By != "otto" {
			t.Fatalf("%+v (%v)", view.Change, err)
		}
	})
}

func TestSQLMovesNoTraffic(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		for name, c := range map[string]struct {
			attack func(t *testing.T, b *bench)
			want   string // where it stands after the next act, which is the last step of the canary or a new deployment
			lost   bool
		}{
			"a share in the record is edited": {func(t *testing.T, b *bench) {
				dbtest.Tamper(t, b.d, `UPDATE deployment SET doc = REPLACE(doc, '"share":10', '"share":99')`)
			}, "rolling: 1@50 live, 2@50 canary <", false},
			"the step in the record is edited": {func(t *testing.T, b *bench) {
				dbtest.Tamper(t, b.d, `UPDATE deployment SET doc = REPLACE(doc, '"step":0', '"step":1')`)
			}, "rolling: 1@50 live, 2@50 canary <", false},
			"a column is edited":    {func(t *testing.T, b *bench) { dbtest.Tamper(t, b.d, `UPDATE deployment SET state = 'live'`) }, "rolling: 1@50 live, 2@50 canary <", false},
			"the record is deleted": {func(t *testing.T, b *bench) { dbtest.Tamper(t, b.d, `DELETE FROM deployment`) }, "rolling: 1@50 live, 2@50 canary <", false},
			"the newest envelope is edited": {func(t *testing.T, b *bench) {
				dbtest.Tamper(t, b.d, `UPDATE release SET envelope = REPLACE(envelope, '"payload":"ey', '"payload":"eY') WHERE serial = 2`)
			}, "rolling: 1@50 live, 2@50 canary <", false},
			"the newest envelope is replaced by an older one": {func(t *testing.T, b *bench) {
				dbtest.Tamper(t, b.d, `UPDATE release SET envelope = (SELECT envelope FROM release WHERE serial = 1) WHERE serial = 2`)
			}, "rolling: 1@50 live, 2@50 canary <", false},
			"an older envelope is put on top": {func(t *testing.T, b *bench) {
				dbtest.Tamper(t, b.d, `INSERT INTO release SELECT workspace, endpoint, 3, envelope, issued_at FROM release WHERE serial = 1`)
			}, "rolling: 1@50 live, 2@50 canary <", false},
			"an older envelope is put far on top": {func(t *testing.T, b *bench) {
				dbtest.Tamper(t, b.d, `INSERT INTO release SELECT workspace, endpoint, 9223372036854775806, envelope, issued_at FROM release WHERE serial = 1`)
			}, "rolling: 1@50 live, 2@50 canary <", false},
			"the newest release is deleted": {func(t *testing.T, b *bench) { dbtest.Tamper(t, b.d, `DELETE FROM release WHERE serial = 2`) }, "rolling: 1@50 live, 2@50 canary <", false},
			"record and release are put back together": {func(t *testing.T, b *bench) {
				dbtest.Tamper(t, b.d, `DELETE FROM release WHERE serial = 2`)
				dbtest.Tamper(t, b.d, `UPDATE deployment SET doc = '{}'`)
			}, "live: 3@100 live <", true},
			"nothing genuine is left": {func(t *testing.T, b *bench) {
				dbtest.Tamper(t, b.d, `UPDATE release SET envelope = '{}'`)
				dbtest.Tamper(t, b.d, `UPDATE deployment SET doc = '{}'`)
			}, "live: 3@100 live <", true},
		} {
			t.Run(name, func(t *testing.T) {
				for _, table := range []string{"deployment", "release", "incident", "incident_line", "approval", "approval_act", "audit_entry", "audit_model"} {
					if err := d.Write(context.Background(), func(tx db.Scope) error { _, err := tx.Exec("DELETE FROM " + table); return err }); err != nil {
						t.Fatal(err)
					}
				}
				b := newBench(d)
				b.execute(t, approval.Proposal{Version: 1})
				b.execute(t, approval.Proposal{Version: 2, Plan: canary})
				before := b.newest(t, "screening")
				c.attack(t, b)
				if err := b.Refresh(context.Background()); err != nil {
					t.Fatal(err)
				}
				_, err := b.Advance(otto, "screening", "go on")
				if c.lost {
					if problem.KindOf(err) != problem.Conflict || !strings.Contains(err.Error(), "changed outside Keelson") {
						t.Fatalf("what cannot be trusted was advanced: %v", err)
					}
					b.execute(t, approval.Proposal{Version: 3})
				} else if err != nil {
					t.Fatal(err)
				}
				if b.incidents(t, incident.RecordTampered) == 0 {
					t.Error("no incident was opened")
				}
				b.stands(t, "screening", c.want)
				after := b.newest(t, "screening")
				if err := after.Supersedes(before); err != nil {
					t.Errorf("a serving process would not take the next release: %v", err)
				}
				if v, err := b.Get(otto, "screening"); err != nil || !v.Sealed {
					t.Errorf("it does not verify afterwards: %q %v", v.Broken, err)
				}
			})
		}
	})
}

func TestATamperedApprovalIsNotExecuted(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		b := newBench(d)
		id := b.approve(t, approval.Proposal{Version: 1})
		dbtest.Tamper(t, b.d, `UPDATE approval SET doc = REPLACE(doc, '"version":1', '"version":2'), version = 2`)
		if _, err := b.Execute(otto, id); problem.KindOf(err) != problem.Conflict {
			t.Fatal(err)
		}
		if list, err := b.Releases(context.Background()); err != nil || len(list) != 0 {
			t.Fatalf("something was released: %v", list)
		}
		if b.incidents(t, incident.RecordTampered) != 1 {
			t.Fatal("no incident was opened")
		}
	})
}

func TestActsOfOnePerson(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		b := newBench(d)
		if _, err := b.Rollback(otto, "screening", "why not"); problem.KindOf(err) != problem.NotFound {
			t.Fatal(err)
		}
		b.execute(t, approval.Proposal{Version: 1})
		if _, err := b.Suspend(otto, "screening", " "); problem.KindOf(err) != problem.Invalid {
			t.Fatal(err)
		}
		if _, err := b.Suspend(otto, "screening", "smoke in the server room"); err != nil {
			t.Fatal(err)
		}
		if doc := b.newest(t, "screening"); doc.State != release.Suspended {
			t.Fatal(doc.State)
		}
		if _, err := b.Resume(otto, "screening", "only steam"); err != nil {
			t.Fatal(err)
		}
		list, err := b.Incidents.List(otto, incident.Open, "screening", "", 10)
		if err != nil || len(list) != 2 {
			t.Fatalf("%+v %v", list, err)
		}
		if _, err := b.Incidents.Close(otto, list[0].ID, "all fine"); problem.KindOf(err) != problem.Forbidden {
			t.Fatalf("otto reviewed himself: %v", err)
		}
		if _, err := b.Incidents.Close(rita, list[0].ID, "all fine"); err != nil {
			t.Fatal(err)
		}
		// A rollback by request leads where people approved it to lead.
		b.execute(t, approval.Proposal{Version: 2})
		if _, err := b.Execute(otto, b.approve(t, approval.Proposal{Version: 3, Kind: approval.Rollback})); problem.KindOf(err) != problem.Conflict || !strings.Contains(err.Error(), "leads to version 1") {
			t.Fatal(err)
		}
		b.execute(t, approval.Proposal{Version: 1, Kind: approval.Rollback})
		// By an approved request nobody has to review.
		b.execute(t, approval.Proposal{Version: 1, Kind: approval.Suspend})
		b.stands(t, "screening", "suspended: 1@100 live <")
		if _, err := b.Execute(otto, b.approve(t, approval.Proposal{Version: 3, Kind: approval.Suspend})); problem.KindOf(err) != problem.Conflict {
			t.Fatalf("a version that does not answer was suspended: %v", err)
		}
		res := b.execute(t, approval.Proposal{Version: 1, Kind: approval.Retire})
		if res.Deployments[0].State != Retired || b.newest(t, "screening").State != release.Retired {
			t.Fatalf("%+v", res)
		}
		if b.incidents(t, incident.Review) != 2 {
			t.Fatal("an approved act was sent to review")
		}
		if v, err := b.LiveVersion(otto, "screening", "prod"); err != nil || v != 0 {
			t.Fatal(v, err)
		}
	})
}

func TestWhatWasFoundAboutAVersionIsDoneToThatVersionOnly(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		b := newBench(d)
		b.execute(t, approval.Proposal{Version: 1})
		b.execute(t, approval.Proposal{Version: 2})
		policy := caller.With(context.Background(), caller.Caller{ID: "policy:alert", Name: "policy:alert", Kind: caller.Process})
		refused := func(err error, says string) {
			t.Helper()
			if problem.KindOf(err) != problem.Conflict || !strings.Contains(err.Error(), says) {
				t.Errorf("got %v, want %q", err, says)
			}
		}
		_, err := b.RollbackFrom(policy, "screening", 1, "late labels")
		refused(err, "that is version 2")
		_, err = b.SuspendFor(policy, "screening", 1, "late labels")
		refused(err, "does not answer")
		b.stands(t, "screening", "live: 2@100 live < 1")
		if _, err := b.SuspendFor(policy, "screening", 2, "it fails"); err != nil {
			t.Fatal(err)
		}
		_, err = b.RollbackFrom(policy, "screening", 2, "it fails")
		refused(err, "is suspended")
		if _, err := b.Resume(rita, "screening", "looked at"); err != nil {
			t.Fatal(err)
		}
		if _, err := b.RollbackFrom(policy, "screening", 2, "it fails"); err != nil {
			t.Fatal(err)
		}
		b.stands(t, "screening", "live: 1@100 live <")
	})
}

func TestTheEventBusDeploysWhatIsApproved(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		b := newBench(d)
		bus := &event.Bus{DB: d, Log: slog.New(slog.DiscardHandler), Node: "n1", Poll: 10 * time.Millisecond}
		bus.On("deployment", approval.Settled, b.Settled)
		bus.On("incident", Released, b.Incidents.Follow)
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := bus.Run(ctx, true); err != nil {
				t.Error(err)
			}
		})
		defer wg.Wait()
		defer cancel()
		id := b.approve(t, approval.Proposal{Version: 1, WhenApproved: true})
		deadline := time.After(20 * time.Second)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			r, err := b.Approvals.Get(ctx, id)
			if err != nil {
				t.Fatal(err)
			}
			if r.State(b.now()) == approval.Executed {
				break
			}
			select {
			case <-tick.C:
			case <-deadline:
				t.Fatalf("request %d is still %s", r.Number, r.State(b.now()))
			}
		}
		b.stands(t, "screening", "live: 1@100 live <")
	})
}
