package pipeline

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"keelson/internal/blob"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/event"
	"keelson/internal/job"
	"keelson/internal/problem"
)

// neighbours stands for data sets, registry, evaluation and tokens; the app wires the real ones and the end-to-end
// story runs with them.
type neighbours struct {
	mu       sync.Mutex
	data     map[string][]string // data set → contents by version
	imported []Import
	found    []Registered
	attempts []string
	verdict  Verdict
	tokens   map[string]bool
}

func (n *neighbours) Resolve(_ context.Context, name string, v int) (DataRef, error) {
	all := n.data[name]
	if v == 0 {
		v = len(all)
	}
	if v < 1 || v > len(all) {
		return DataRef{}, problem.New(problem.NotFound, "no %s/%d", name, v)
	}
	return DataRef{Dataset: name, Version: v, Digest: digestOf([]byte(all[v-1])), Format: "csv"}, nil
}

func (n *neighbours) Content(_ context.Context, name string, v int) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(n.data[name][v-1])), nil
}

func (n *neighbours) Check(_ context.Context, name string, v int, rules []Rule) (found []Finding, err error) {
	for _, r := range rules {
		if rows := float64(strings.Count(n.data[name][v-1], "\n")); r.Check == "rows" && r.Min != nil && rows < *r.Min {
			found = append(found, Finding{Rule: "rows", Detail: fmt.Sprintf("%v rows are less than %v", rows, *r.Min)})
		}
	}
	return found, nil
}

func (n *neighbours) Import(_ context.Context, in Import) (DataRef, error) {
	b, err := io.ReadAll(in.Body)
	n.mu.Lock()
	defer n.mu.Unlock()
	in.Body = bytes.NewReader(b)
	n.imported = append(n.imported, in)
	return DataRef{Dataset: in.Dataset, Version: 1, Digest: digestOf(b), Format: in.Format}, err
}

func (n *neighbours) EnsureExperiment(context.Context, string) error { return nil }

func (n *neighbours) Registered(_ context.Context, run string, attempts []string) ([]Registered, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.attempts = attempts
	return n.found, nil
}

func (n *neighbours) Start(context.Context, string, int, Suite, DataRef) (string, error) {
	return "ev1", nil
}
func (n *neighbours) Evaluation(context.Context, string) (Verdict, error) { return n.verdict, nil }

func (n *neighbours) Issue(_ context.Context, pipeline, name string, _ time.Duration) (string, string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.tokens == nil {
		n.tokens = map[string]bool{}
	}
	n.tokens[name] = true
	return name, "kst_secret", nil
}

func (n *neighbours) Revoke(_ context.Context, id string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.tokens, id)
	return nil
}

type world struct {
	*Service
	*neighbours
	blobs blob.Store
	ctx   context.Context
	stop  func()
}

// newWorld starts a service whose jobs run; stop ends it as an orderly shutdown does.
func newWorld(t *testing.T, d *db.DB, n *neighbours, folder, node string) *world {
	t.Helper()
	blobs, err := blob.Open(t.Context(), filepath.Join(folder, "blobs"))
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	s := &Service{DB: d, Blobs: blobs, Log: log, Now: time.Now, Data: n, Registry: n, Evaluate: n, Tokens: n,
		Executor: &Process{Root: filepath.Join(folder, "tasks"), Self: []string{exe, "internal-exec"}}, URL: func() string { return "http://127.0.0.1:1" }, Work: filepath.Join(folder, "work")}
	r := &job.Runner{DB: d, Log: log, Node: node, Queues: map[string]int{Queue: 4}}
	s.Jobs(r)
	ctx, cancel := context.WithCancel(caller.With(t.Context(), caller.Caller{Name: "dana", Kind: caller.Person}))
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	var once sync.Once
	stop := func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("job runner: %v", err)
			}
		})
	}
	t.Cleanup(stop)
	return &world{Service: s, neighbours: n, blobs: blobs, ctx: caller.With(context.WithoutCancel(t.Context()), caller.Caller{Name: "dana", Kind: caller.Person}), stop: stop}
}

func (w *world) save(t *testing.T, text string, files map[string]string) Pipeline {
	t.Helper()
	d, err := Parse("keelson.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	p, err := w.Save(w.ctx, d.Name, []byte(text), bytes.NewReader(tarball(t, files)), Source{Commit: "abc", Dirty: true})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (w *world) start(t *testing.T, name string, in Request) Run {
	t.Helper()
	r, err := w.Service.Start(w.ctx, name, in, Trigger{Kind: ByPerson})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (w *world) until(t *testing.T, id, what string, ok func(Run) bool) (r Run) {
	t.Helper()
	wait(t, what, func() bool {
		var err error
		if r, err = w.Run(w.ctx, id); err != nil {
			t.Fatal(err)
		}
		if r.Ended() && !ok(r) {
			b, _ := json.MarshalIndent(r, "", " ")
			t.Fatalf("the run ended before %s: %s", what, b)
		}
		return ok(r)
	})
	return r
}

func (w *world) end(t *testing.T, id string) Run {
	t.Helper()
	return w.until(t, id, "the end of the run", Run.Ended)
}

func tarball(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	tw := tar.NewWriter(z)
	for name, text := range files {
		if err := tw.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(tw, text); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// meet is a project whose two middle steps each wait for the other: it only ends if they run at the same time.
const meet = `name: meet
model: meeting
seed: 7
parameters: {place: "", depth: 3}
data:
  people: {rules: [{check: rows, min: 2}]}
steps:
  check: {kind: check}
  left: {kind: command, needs: [check], run: [sh, meet.sh, left, right], data: [people], outputs: {met: met.csv}}
  right: {kind: command, needs: [check], run: [sh, meet.sh, right, left]}
  register: {kind: register, needs: [left, right]}
  evaluate: {kind: evaluate, needs: [register], suite: s}
evaluate:
  s: {data: people, tests: [{name: fine, kind: metric, metric: auc, min: 0.5}]}
`

var meetFiles = map[string]string{"meet.sh": `
echo "$1 with seed $KEELSON_SEED and depth $KEELSON_PARAM_DEPTH, token ${KEELSON_TOKEN:+given}"
touch "$KEELSON_PARAM_PLACE/$1"
while ! [ -e "$KEELSON_PARAM_PLACE/$2" ]; do sleep 0.02; done
cat "$KEELSON_DATA_PEOPLE" > "$KEELSON_OUTPUT/met.csv"
`}

func TestARunCarriesDataToJudgedVersions(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ref := ModelRef{Model: "meeting", Version: 1, ContentDigest: "sha256:aa", ArtifactDigest: "sha256:bb", Run: "r"}
		n := &neighbours{data: map[string][]string{"people": {"a\n1\n", "a\n1\n2\n"}}, found: []Registered{{ref, "ready", ""}}, verdict: Verdict{Passed: true}}
		w := newWorld(t, d, n, t.TempDir(), "n1")
		p := w.save(t, meet, meetFiles)
		if again := w.save(t, meet, meetFiles); again.Version != p.Version {
			t.Errorf("the same content became version %d, want %d again", again.Version, p.Version)
		}
		if changed := w.save(t, meet+"# more\n", meetFiles); changed.Version != 2 {
			t.Errorf("another file became version %d, want 2", changed.Version)
		}
		place := t.TempDir()
		run := func() Run {
			for _, f := range []string{"left", "right"} {
				_ = os.Remove(filepath.Join(place, f))
			}
			return w.end(t, w.start(t, "meet", Request{Version: 1, Params: map[string]any{"place": place}}).ID)
		}
		r := run()
		if r.State != Succeeded {
			b, _ := json.MarshalIndent(r, "", " ")
			t.Fatalf("run %s", b)
		}
		l, rt := r.Steps[1], r.Steps[2]
		if !l.StartedAt.Before(*rt.EndedAt) || !rt.StartedAt.Before(*l.EndedAt) {
			t.Error("the two steps did not overlap")
		}
		if r.Data[0].Version != 2 || r.Seed != 7 || r.Source.Commit != "abc" || !r.Source.Dirty || r.By != "dana" || len(r.Versions) != 1 {
			t.Errorf("the run does not record what it was made of: %+v", r)
		}
		makers, data, err := w.Makers(w.ctx, "meeting", 1)
		if err != nil || len(makers) != 1 || makers[0] != "dana" || len(data) != 1 || data[0].Dataset != "people" {
			t.Errorf("meeting/1 was made by %v of %v, %v", makers, data, err)
		}
		if makers, _, err := w.Makers(w.ctx, "meet_ng", 1); err != nil || len(makers) != 0 {
			t.Errorf("a name with a wildcard finds %v, %v", makers, err)
		}
		if len(n.attempts) != 2 || n.attempts[0] != r.ID+"/left/1" {
			t.Errorf("register asked for attempts %v", n.attempts)
		}
		if len(n.imported) == 0 || n.imported[0].Dataset != "met" || len(n.imported[0].Parents) != 1 || n.imported[0].Parents[0].Dataset != "people" {
			t.Errorf("imported %+v, want met with parent people", n.imported)
		}
		if len(n.tokens) != 0 {
			t.Errorf("tokens %v outlived their steps", n.tokens)
		}
		c, err := w.StepLog(w.ctx, r.ID, "left", 5)
		if err != nil || !c.Done || c.Text != "with seed 7 and depth 3, token given\n" {
			t.Errorf("log from byte 5 is %+v %v", c, err)
		}
		if again := run(); again.ContentDigest != r.ContentDigest || r.ContentDigest == "" {
			t.Errorf("the same inputs gave content %s and then %s", r.ContentDigest, again.ContentDigest)
		}
		n.found[0].ContentDigest = "sha256:cc"
		if other := run(); other.ContentDigest == r.ContentDigest {
			t.Error("another model gave the same content digest")
		}
		if left, _ := filepath.Glob(filepath.Join(w.Work, "runs", "*", "*", "*")); len(left) != 0 {
			t.Errorf("work folders %v were left behind", left)
		}
	})
}

func TestFailuresNameTheirReasonAndRetryRepeatsOnlyThem(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		n := &neighbours{data: map[string][]string{"people": {"a\n1\n"}}}
		w := newWorld(t, d, n, t.TempDir(), "n1")
		place := t.TempDir()
		w.save(t, `name: f
parameters: {place: ""}
steps:
  first: {kind: command, run: [sh, -c, "echo x >> $KEELSON_PARAM_PLACE/first"]}
  second: {kind: command, needs: [first], run: [sh, -c, "test -e $KEELSON_PARAM_PLACE/go || { echo no go; exit 4; }"]}
  third: {kind: command, needs: [second], run: ["true"]}
`, map[string]string{"a": "b"})
		r := w.end(t, w.start(t, "f", Request{Params: map[string]any{"place": place}}).ID)
		if r.State != Failed || r.Steps[1].State != Failed || *r.Steps[1].ExitCode != 4 || r.Steps[2].State != Skipped || !strings.Contains(r.Error, "Step second failed") {
			t.Fatalf("got %+v", r)
		}
		if err := os.WriteFile(filepath.Join(place, "go"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Retry(w.ctx, r.ID); err != nil {
			t.Fatal(err)
		}
		r = w.end(t, r.ID)
		b, _ := os.ReadFile(filepath.Join(place, "first"))
		if r.State != Succeeded || string(b) != "x\n" || r.Steps[0].Attempt != 1 || r.Steps[1].Attempt != 2 {
			t.Errorf("after retry %+v; the first step wrote %q, want it once", r, b)
		}
		if _, err := w.Retry(w.ctx, r.ID); !problem.Is(err, problem.Conflict) {
			t.Errorf("retry of a success: %v, want a conflict", err)
		}
		w.save(t, meet, meetFiles)
		if r = w.end(t, w.start(t, "meet", Request{}).ID); r.Steps[0].State != Succeeded && r.Steps[0].Error == "" {
			t.Errorf("check %+v", r.Steps[0])
		}
		for _, c := range []struct {
			name string
			in   Request
			want string
		}{
			{"an unknown parameter", Request{Params: map[string]any{"colour": 1}}, "declare it under parameters"},
			{"an unknown data set", Request{Data: map[string]int{"x": 1}}, `no data set "x"`},
			{"a data version that is not there", Request{Data: map[string]int{"people": 9}}, "keelson data add people FILE"},
			{"a version that is not there", Request{Version: 9}, "no version 9"},
		} {
			if _, err := w.Service.Start(w.ctx, "meet", c.in, Trigger{Kind: ByPerson}); err == nil || !strings.Contains(err.Error(), c.want) || problem.KindOf(err) == problem.Internal {
				t.Errorf("%s: %v, want %q", c.name, err, c.want)
			}
		}
	})
}

func TestARegistrationThatWasSentTwiceCountsOnce(t *testing.T) {
	v := func(number int, run, artifact string) Registered {
		return Registered{ModelRef{Model: "m", Version: number, Run: run, ArtifactDigest: artifact}, "ready", ""}
	}
	got := newest([]Registered{v(1, "r1", "a"), v(3, "r1", "a"), v(2, "r1", "a"), v(4, "r2", "a"), v(5, "r1", "b"), v(6, "r1", ""), v(7, "r1", "")})
	var numbers []int
	for _, g := range got {
		numbers = append(numbers, g.Version)
	}
	if want := []int{3, 4, 5, 6, 7}; !slices.Equal(numbers, want) {
		t.Errorf("got versions %v, want %v", numbers, want)
	}
}

func TestAFailedSuiteFailsTheStepWithTheTestsName(t *testing.T) {
	d := dbtest.SQLite(t)
	n := &neighbours{data: map[string][]string{"people": {"a\n1\n2\n"}}, found: []Registered{{ModelRef{Model: "m", Version: 3}, "ready", ""}},
		verdict: Verdict{Failed: []string{"good enough: auc 0.41 is below 0.95"}}}
	w := newWorld(t, d, n, t.TempDir(), "n1")
	w.save(t, meet, meetFiles)
	r := w.end(t, w.start(t, "meet", Request{Params: map[string]any{"place": t.TempDir()}}).ID)
	if r.State != Failed || !strings.Contains(r.Steps[4].Error, "m/3: good enough: auc 0.41 is below 0.95") {
		t.Errorf("got %s %q", r.State, r.Steps[4].Error)
	}
	n.found = []Registered{{ModelRef{Model: "m", Version: 4}, "failed", "Golden row 3 differs by 0.2."}}
	r = w.end(t, w.start(t, "meet", Request{Params: map[string]any{"place": t.TempDir()}}).ID)
	if r.Steps[3].State != Failed || !strings.Contains(r.Steps[3].Error, "Golden row 3") {
		t.Errorf("register: %+v", r.Steps[3])
	}
}

func TestCancelEndsWhatRuns(t *testing.T) {
	d := dbtest.SQLite(t)
	w := newWorld(t, d, &neighbours{}, t.TempDir(), "n1")
	place := t.TempDir()
	w.save(t, `name: c
parameters: {place: ""}
steps:
  long: {kind: command, run: [sh, -c, "echo $$ > $KEELSON_PARAM_PLACE/pid; sleep 300"]}
  after: {kind: command, needs: [long], run: ["true"]}
`, map[string]string{"a": "b"})
	r := w.start(t, "c", Request{Params: map[string]any{"place": place}})
	wait(t, "the child", func() bool { _, err := os.Stat(filepath.Join(place, "pid")); return err == nil })
	if _, err := w.Cancel(w.ctx, r.ID); err != nil {
		t.Fatal(err)
	}
	r = w.end(t, r.ID)
	if r.State != Cancelled || r.Steps[0].State != Cancelled || r.Steps[1].State != Cancelled {
		t.Errorf("got %+v", r)
	}
	gone(t, filepath.Join(place, "pid"))
}

func TestAStoppedServerResumesAtTheUnfinishedStep(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		folder, place := t.TempDir(), t.TempDir()
		first := newWorld(t, d, &neighbours{}, folder, "n1")
		first.save(t, `name: c
parameters: {place: ""}
steps:
  quick: {kind: command, run: [sh, -c, "echo x >> $KEELSON_PARAM_PLACE/quick"]}
  long: {kind: command, needs: [quick], run: [sh, -c, "echo x >> $KEELSON_PARAM_PLACE/long; while ! [ -e $KEELSON_PARAM_PLACE/go ]; do sleep 0.02; done"]}
`, map[string]string{"a": "b"})
		r := first.start(t, "c", Request{Params: map[string]any{"place": place}})
		wait(t, "the long step", func() bool { _, err := os.Stat(filepath.Join(place, "long")); return err == nil })
		first.stop()
		if now, err := first.Run(first.ctx, r.ID); err != nil || now.State != Running || now.Steps[1].State != Running {
			t.Fatalf("after the stop the run is %+v %v, want it unfinished", now, err)
		}
		if err := os.WriteFile(filepath.Join(place, "go"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		second := newWorld(t, d, &neighbours{}, folder, "n2")
		done := second.end(t, r.ID)
		quick, _ := os.ReadFile(filepath.Join(place, "quick"))
		if done.State != Succeeded || string(quick) != "x\n" || done.Steps[1].Attempt != 2 {
			t.Errorf("resumed to %+v; the first step ran as %q, want it once", done, quick)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("resuming took %s, want at most 5 s", took)
		}
	})
}

// A child that outlived its server is taken over where it stands.
func TestARunningChildOfAKilledServerIsAdopted(t *testing.T) {
	d := dbtest.SQLite(t)
	folder, place := t.TempDir(), t.TempDir()
	w := newWorld(t, d, &neighbours{}, folder, "n1")
	w.stop() // no jobs run: the test plays the server that was killed
	w.setUp()
	w.save(t, `name: c
parameters: {place: ""}
steps:
  long: {kind: command, run: [sh, -c, "echo x >> $KEELSON_PARAM_PLACE/long; while ! [ -e $KEELSON_PARAM_PLACE/go ]; do sleep 0.02; done; echo bye"]}
`, map[string]string{"a": "b"})
	r := w.start(t, "c", Request{Params: map[string]any{"place": place}})
	// What drive does up to the submit of the step, and then nothing more.
	def, err := Parse("f", []byte(must(w.Get(w.ctx, "c")).definition))
	if err != nil {
		t.Fatal(err)
	}
	dr := &driver{Service: w.Service, id: r.ID, fence: 1, def: def, p: must(w.Get(w.ctx, "c"))}
	if err := d.Write(w.ctx, func(tx db.Scope) error { return w.store.claim(tx, r.ID, 1) }); err != nil {
		t.Fatal(err)
	}
	a := &attempt{driver: dr, run: r, step: r.Steps[0], def: def.Steps["long"]}
	if err := a.begin(w.ctx); err != nil {
		t.Fatal(err)
	}
	task, err := a.prepare(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Executor.Submit(w.ctx, task); err != nil {
		t.Fatal(err)
	}
	wait(t, "the child", func() bool { _, err := os.Stat(filepath.Join(place, "long")); return err == nil })

	next := newWorld(t, d, w.neighbours, folder, "n2")
	if err := os.WriteFile(filepath.Join(place, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	done := next.end(t, r.ID)
	ran, _ := os.ReadFile(filepath.Join(place, "long"))
	if done.State != Succeeded || done.Steps[0].Attempt != 1 || string(ran) != "x\n" {
		t.Errorf("got %+v and %q, want the first attempt adopted", done, ran)
	}
	if err := a.end(w.ctx, done0, Failed); err == nil {
		t.Error("the driver that was replaced could still write")
	}
}

var done0 = done{reason: "late"}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestABreachedMonitorStartsThePipelineOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d, &neighbours{}, t.TempDir(), "n1")
		w.save(t, "name: c\nretrain: {cooldown: 1h}\nsteps:\n  a: {kind: command, run: [\"true\"]}\n", map[string]string{"a": "b"})
		breach := func(window, pipeline string) {
			t.Helper()
			b, _ := json.Marshal(breach{Endpoint: "e", Model: "m", Window: window, Retrain: &retrain{pipeline}})
			if err := w.Retrain(w.ctx, event.Event{ID: db.NewID(), Data: b}); err != nil {
				t.Fatal(err)
			}
		}
		count := func() int { return len(must(w.Runs(w.ctx, "c", "", 100))) }
		breach("w1", "")
		breach("w1", "no-such-pipeline")
		if count() != 0 {
			t.Error("a monitor without a plan, or with an unknown pipeline, started a run")
		}
		breach("w1", "c")
		r := w.end(t, must(w.Runs(w.ctx, "c", "", 1))[0].ID)
		if r.Trigger != (Trigger{Kind: ByMonitor, Ref: "w1"}) {
			t.Errorf("trigger %+v", r.Trigger)
		}
		breach("w1", "c")
		breach("w2", "c")
		if count() != 1 {
			t.Errorf("%d runs, want one: the window was seen and the cool-down lasts", count())
		}
		w.Now = func() time.Time { return time.Now().Add(2 * time.Hour) }
		breach("w1", "c")
		if count() != 1 {
			t.Error("one window started two runs")
		}
		breach("w3", "c")
		if count() != 2 {
			t.Error("after the cool-down a new window starts a run")
		}
	})
}

func TestABreachThatMeetsAFailingDatabaseIsToldAgain(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d, &neighbours{}, t.TempDir(), "n1")
		w.save(t, "name: c\nsteps:\n  a: {kind: command, run: [\"true\"]}\n", map[string]string{"a": "b"})
		run := func(statement string) {
			t.Helper()
			if err := d.Write(w.ctx, func(tx db.Scope) error { _, err := tx.Exec(statement); return err }); err != nil {
				t.Fatal(err)
			}
		}
		data, _ := json.Marshal(breach{Endpoint: "e", Model: "m", Window: "w1", Retrain: &retrain{"c"}})
		told := event.Event{ID: db.NewID(), Data: data}
		run("ALTER TABLE pipeline_run RENAME TO pipeline_run_away")
		err := w.Retrain(w.ctx, told)
		run("ALTER TABLE pipeline_run_away RENAME TO pipeline_run")
		if err == nil {
			t.Error("the event counts as understood")
		}
		skipped := 0
		if err := d.Read(w.ctx, func(tx db.Scope) error {
			return tx.QueryRow("SELECT COUNT(*) FROM audit_entry WHERE workspace = $1 AND action = 'pipeline.retrain.skipped'", tx.Workspace).Scan(&skipped)
		}); err != nil || skipped != 0 {
			t.Errorf("%d entries say that nothing was to start, %v", skipped, err)
		}
		if err := w.Retrain(w.ctx, told); err != nil || len(must(w.Runs(w.ctx, "c", "", 100))) != 1 {
			t.Errorf("told again: %v, %d runs", err, len(must(w.Runs(w.ctx, "c", "", 100))))
		}
	})
}

func TestOfManyCausesAtOnceOneStartsThePipeline(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d, &neighbours{}, t.TempDir(), "n1")
		w.stop() // so that the runs stay queued, as they do while every worker is busy
		w.save(t, "name: c\nretrain: {cooldown: 1h}\nsteps:\n  a: {kind: command, run: [\"true\"]}\n", map[string]string{"a": "b"})
		other := &Service{DB: d, Blobs: w.blobs, Log: w.Log, Now: time.Now, Data: w.neighbours, Registry: w.neighbours, Evaluate: w.neighbours, Tokens: w.neighbours}
		var wg sync.WaitGroup
		var started, waited atomic.Int32
		for i := range 8 {
			s := []*Service{w.Service, other}[i%2]
			wg.Go(func() {
				run, waits, err := s.Again(w.ctx, "c", "m", "e", fmt.Sprint("cause ", i))
				switch {
				case err != nil:
					t.Error(err)
				case run != "":
					started.Add(1)
				case waits != "":
					waited.Add(1)
				}
			})
		}
		wg.Wait()
		if n := len(must(w.Runs(w.ctx, "c", "", 100))); n != 1 || started.Load() != 1 || waited.Load() != 7 {
			t.Errorf("%d runs; %d causes started one, %d wait", n, started.Load(), waited.Load())
		}
	})
}

func TestARunWhoseLastDriverFailedEnds(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d, &neighbours{}, t.TempDir(), "n1")
		w.save(t, "name: c\nsteps:\n  a: {kind: command, run: [\"sleep\", \"60\"]}\n  b: {kind: command, needs: [a], run: [\"true\"]}\n  c: {kind: command, run: [\"sleep\", \"60\"]}\n", map[string]string{"x": "y"})
		id := w.start(t, "c", Request{}).ID
		w.until(t, id, "both steps run", func(r Run) bool { return r.Steps[0].State == Running && r.Steps[2].State == Running })
		// Every process that drives it dies: its job is left running by a node that is gone, beyond all attempts.
		w.stop()
		by := `'["gone"]'`
		if d.Postgres() {
			by = `'{gone}'`
		}
		if err := d.Write(w.ctx, func(tx db.Scope) error {
			_, err := tx.Exec("UPDATE river_job SET state = 'running', attempted_by = " + by + ", attempt = max_attempts + 10 WHERE kind = 'pipeline.drive'")
			return err
		}); err != nil {
			t.Fatal(err)
		}
		w = newWorld(t, d, w.neighbours, t.TempDir(), "n2")
		r := w.end(t, id)
		if r.State != Failed || !strings.Contains(r.Error, "given up after its last attempt: every process that worked on it died") || r.EndedAt == nil {
			t.Errorf("%s: %s", r.State, r.Error)
		}
		if got := []string{r.Steps[0].State, r.Steps[1].State, r.Steps[2].State}; !slices.Equal(got, []string{Failed, Skipped, Failed}) {
			t.Errorf("the steps are %v", got)
		}
	})
}

func TestHostileSourcesAreRefused(t *testing.T) {
	entry := func(h tar.Header, body string) []byte {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		tw := tar.NewWriter(z)
		h.Size = int64(len(body))
		_ = tw.WriteHeader(&h)
		_, _ = io.WriteString(tw, body)
		_ = tw.Close()
		_ = z.Close()
		return b.Bytes()
	}
	for _, c := range []struct {
		name string
		tgz  []byte
		want string
	}{
		{"a path upwards", entry(tar.Header{Name: "../x", Typeflag: tar.TypeReg}, "x"), "leaves its folder"},
		{"an absolute path", entry(tar.Header{Name: "/etc/x", Typeflag: tar.TypeReg}, "x"), "leaves its folder"},
		{"a path that goes down and up", entry(tar.Header{Name: "a/../../x", Typeflag: tar.TypeReg}, "x"), "leaves its folder"},
		{"a symbolic link", entry(tar.Header{Name: "l", Linkname: "/etc/passwd", Typeflag: tar.TypeSymlink}, ""), "link or a device"},
		{"a hard link", entry(tar.Header{Name: "l", Linkname: "x", Typeflag: tar.TypeLink}, ""), "link or a device"},
		{"a bomb", entry(tar.Header{Name: "zeros", Typeflag: tar.TypeReg}, strings.Repeat("\x00", MaxUnpacked+1)), "unpacks to more than"},
		{"no archive", []byte("hello"), "not a gzipped tar"},
		{"half an archive", entry(tar.Header{Name: "a", Typeflag: tar.TypeReg}, strings.Repeat("abcdefgh", 1000))[:60], "ends in the middle"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			inner := filepath.Join(dir, "inner")
			if err := os.Mkdir(inner, 0o700); err != nil {
				t.Fatal(err)
			}
			err := unpack(bytes.NewReader(c.tgz), inner)
			if err == nil || !strings.Contains(err.Error(), c.want) || !problem.Is(err, problem.Invalid) {
				t.Errorf("got %v, want a refusal with %q", err, c.want)
			}
			if all, _ := os.ReadDir(dir); len(all) != 1 {
				t.Errorf("something was written outside: %v", all)
			}
		})
	}
}
