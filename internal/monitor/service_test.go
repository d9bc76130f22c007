package monitor

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"keelson/internal/blob"
	"keelson/internal/caller"
	"keelson/internal/dataset"
	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/prediction"
	"keelson/internal/rest"
	"keelson/internal/tensor"
)

// world is a monitor over a real prediction log, real data sets and real patients.
type world struct {
	*Service
	t        *testing.T
	ctx      context.Context
	calls    *prediction.Service
	patients *dataset.Table
	rng      *rand.Rand
	ids      []string // of the calls made, in order
	truth    []float64
}

func each(t *testing.T, fn func(w *world)) {
	file, err := os.ReadFile("../dataset/testdata/patients.csv")
	if err != nil {
		t.Fatal(err)
	}
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		log := slog.New(slog.DiscardHandler)
		blobs, err := blob.OpenDir(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		segments, err := prediction.OpenLog(prediction.Options{Dir: t.TempDir(), Node: "n1", Logger: log, Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { segments.Close() })
		data := &dataset.Service{DB: d, Blobs: blobs, Log: log, Now: time.Now, TempDir: t.TempDir()}
		w := &world{t: t, rng: rand.New(rand.NewPCG(5, 6)), ctx: caller.With(context.Background(), caller.Caller{ID: "u", Name: "mia", Kind: caller.Person, Roles: []string{"ml-engineer"}})}
		w.calls = &prediction.Service{DB: d, Blobs: blobs, Log: segments, Logger: log, Now: time.Now}
		// The reader's clock is ahead, so that on PostgreSQL outcomes need not settle first.
		reader := &prediction.Service{DB: d, Blobs: blobs, Log: segments, Logger: log, Now: func() time.Time { return time.Now().Add(10 * time.Second) }}
		w.Service = &Service{DB: d, Log: log, Now: time.Now, Calls: &Predictions{Service: reader}, Data: data}
		if _, err := data.Put(w.ctx, dataset.Dataset{Name: "patients", Target: "malignant"}); err != nil {
			t.Fatal(err)
		}
		if _, err := data.Import(w.ctx, dataset.ImportRequest{Dataset: "patients", Body: bytes.NewReader(file)}); err != nil {
			t.Fatal(err)
		}
		if w.patients, err = data.Open(w.ctx, "patients", 1); err != nil {
			t.Fatal(err)
		}
		fn(w)
	})
}

// again is the monitor after a restart: the same database and log, nothing in memory.
func (w *world) again() *Service {
	return &Service{DB: w.DB, Log: w.Service.Log, Now: w.Now, Calls: w.Calls, Data: w.Data}
}

// send makes calls of four patients each, as a matrix of 32-bit numbers without column names; wrong turns
// the answers round.
func (w *world) send(endpoint string, version int, rows []int, wrong bool) {
	w.t.Helper()
	var measured []*dataset.Column
	for i := range w.patients.Columns {
		if c := &w.patients.Columns[i]; c.Type == dataset.Float {
			measured = append(measured, c)
		}
	}
	ill, _ := w.patients.Column("malignant")
	var list []prediction.Record
	for group := range slices.Chunk(rows, 4) {
		var x, y []float32
		for _, r := range group {
			for _, c := range measured {
				x = append(x, float32(c.Numbers[r]))
			}
			s := float32(0.05 + 0.9*ill.Numbers[r] + 0.04*w.rng.Float64())
			if wrong {
				s = 1 - s
			}
			y = append(y, s)
			w.truth = append(w.truth, ill.Numbers[r])
		}
		list = append(list, prediction.Record{Workspace: "default", Endpoint: endpoint, Model: "screening", Version: version, Slot: prediction.SlotLive, Rows: len(group),
			Inputs:  []tensor.Tensor{tensor.FP32s("input", []int{len(group), len(measured)}, x)},
			Outputs: []tensor.Tensor{tensor.FP32s("predict", []int{len(group), 1}, y)}})
	}
	if err := w.calls.Log.AppendAll(w.ctx, list); err != nil {
		w.t.Fatal(err)
	}
	for i := range list {
		w.ids = append(w.ids, list[i].ID)
	}
}

// quiet draws patients as they come, large those with large tumours only.
func (w *world) quiet(n int) []int { return w.rng.Perm(w.patients.Rows)[:n] }

func (w *world) large(n int) []int {
	band, _ := w.patients.Column("size_band")
	var all []int
	for i, b := range band.Words {
		if b == "large" {
			all = append(all, i)
		}
	}
	out := make([]int, n)
	for i := range out {
		out[i] = all[w.rng.IntN(len(all))]
	}
	return out
}

// tell posts the outcomes of the calls made so far, from one index up.
func (w *world) tell(from, to int) {
	w.t.Helper()
	var list []prediction.Outcome
	for i := from; i < to; i++ {
		list = append(list, prediction.Outcome{Prediction: w.ids[i/4], Row: i % 4, Value: json.RawMessage(fmt.Sprint(w.truth[i]))})
	}
	if _, _, err := w.calls.Record(w.ctx, list); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) tick() {
	w.t.Helper()
	if err := w.Tick(context.Background()); err != nil {
		w.t.Fatal(err)
	}
}

// all reads the windows of an endpoint, oldest first.
func (w *world) all(endpoint string) []Result {
	w.t.Helper()
	var out []Result
	if err := w.DB.Read(w.ctx, func(tx db.Scope) (err error) { out, err = windows(tx, endpoint, anyVersion, "", 1000); return err }); err != nil {
		w.t.Fatal(err)
	}
	slices.Reverse(out)
	return out
}

// events reads the data of the events of a type.
func (w *world) events(typ string) (out []Breach) {
	w.t.Helper()
	err := w.DB.Read(w.ctx, func(tx db.Scope) error {
		return tx.Each("SELECT data FROM event WHERE workspace = $1 AND type = $2 ORDER BY id", []any{tx.Workspace, typ}, func(scan func(...any) error) error {
			var text string
			if err := scan(&text); err != nil {
				return err
			}
			var b Breach
			out = append(out, b)
			return json.Unmarshal([]byte(text), &out[len(out)-1])
		})
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

func (w *world) ensure(endpoint string, versions ...int) {
	w.t.Helper()
	if err := w.EnsureFor(w.ctx, endpoint, "screening", dataset.Ref{Dataset: "patients", Version: 1}, versions...); err != nil {
		w.t.Fatal(err)
	}
}

func TestRealPatientsAsTheyComeDoNotBreachAndLargeTumoursDo(t *testing.T) {
	each(t, func(w *world) {
		w.ensure("screening", 1)
		w.ensure("screening", 1) // again changes nothing
		for range 15 {
			w.send("screening", 1, w.quiet(400), false)
		}
		w.tick()
		for i, r := range w.all("screening") {
			if r.Breached || r.Rows != 400 || len(r.Features) != 10 || r.Verdict != "unknown" {
				t.Errorf("quiet window %d: %d rows, causes %v, verdict %s", i+1, r.Rows, r.Causes, r.Verdict)
			}
		}
		if n := len(w.all("screening")); n != 15 {
			t.Fatalf("%d windows, want 15", n)
		}
		w.send("screening", 1, w.large(400), false)
		w.tick()
		last := w.all("screening")[15]
		if !last.Breached || last.Verdict != "watch" || last.Reference != (dataset.Ref{Dataset: "patients", Version: 1}) {
			t.Fatalf("large tumours only: %+v", last.Causes)
		}
		for _, name := range []string{"mean_radius", "mean_area", "predict"} {
			if !slices.ContainsFunc(last.Causes, func(c Cause) bool { return c.Feature == name && c.Value > c.Limit }) {
				t.Errorf("%s is not among the causes %v", name, last.Causes)
			}
		}
		if c := last.Causes; c[0].Value/c[0].Limit < c[1].Value/c[1].Limit {
			t.Errorf("the largest shift does not come first: %v", c)
		}
		told := w.events(Breached)
		if len(told) != 1 || told[0].Window != last.ID || told[0].Model != "screening" || !slices.Contains(told[0].Features, "mean_radius") || told[0].Retrain != nil {
			t.Errorf("events %+v", told)
		}
		full, err := w.Window(w.ctx, "screening", last.ID)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range append(full.Features, full.Predictions...) {
			sum := 0.0
			for _, n := range f.Histogram.Current {
				sum += n
			}
			if sum != 400 || len(f.Histogram.Edges) != len(f.Histogram.Reference)+1 {
				t.Errorf("%s: histogram %+v", f.Name, f.Histogram)
			}
		}
		w.send("screening", 1, w.quiet(400), false)
		w.tick()
		if over := w.events(Recovered); len(over) != 1 || len(over[0].Causes) != len(last.Causes) {
			t.Errorf("recovery %+v", over)
		}
		health, err := w.Health(w.ctx)
		if v := health["screening"]; err != nil || v.Verdict != "unknown" || len(v.Reasons) == 0 {
			t.Errorf("%+v %v", health, err)
		}
	})
}

func TestARestartRecomputesNothingAndSkipsNothing(t *testing.T) {
	each(t, func(w *world) {
		w.ensure("screening", 1)
		w.ensure("screening", 2)
		var sent int
		for i := range 12 {
			w.send("screening", 1+i%2*w.rng.IntN(2), w.quiet(140), false)
			sent += 140
			before := w.all("screening")
			if i%3 == 1 {
				w.Service = w.again() // killed with rows in memory that make no window yet
			}
			w.tick()
			for k, r := range before {
				if now := w.all("screening")[k]; now.ID != r.ID || !now.CreatedAt.Equal(r.CreatedAt) {
					t.Fatalf("window %d was made again", k+1)
				}
			}
		}
		seen := map[string]int{}
		for _, version := range []int{1, 2} {
			last := ""
			for _, r := range w.all("screening") {
				if r.Version != version {
					continue
				}
				if r.First <= last {
					t.Errorf("windows of version %d overlap", version)
				}
				last = r.Last
				err := w.Calls.Scan(w.ctx, "screening", r.after, 0, func(c *Call) error {
					if c.ID <= r.until && c.Version == version {
						seen[c.ID] += c.Rows
					}
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		inWindows := 0
		for id, rows := range seen {
			if rows > 4 {
				t.Errorf("prediction %s is in two windows", id)
			}
			inWindows += rows
		}
		want := 0
		for _, r := range w.all("screening") {
			want += r.Rows
		}
		if inWindows != want || sent-want >= 2*404 {
			t.Errorf("%d rows sent, %d in windows, %d found again", sent, want, inWindows)
		}
	})
}

func TestTwoWorkersMakeEveryWindowOnce(t *testing.T) {
	each(t, func(w *world) {
		w.ensure("screening", 1)
		for range 6 {
			w.send("screening", 1, w.quiet(400), false)
		}
		var wg sync.WaitGroup
		for range 3 {
			worker := w.again()
			wg.Go(func() {
				if err := worker.Tick(context.Background()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		w.tick()
		all := w.all("screening")
		if len(all) != 6 {
			t.Fatalf("%d windows, want 6", len(all))
		}
		for i := 1; i < len(all); i++ {
			if all[i].First <= all[i-1].Last || all[i].Rows != 400 {
				t.Errorf("window %d overlaps or has %d rows", i+1, all[i].Rows)
			}
		}
	})
}

func TestOutcomesThatArriveLateTellTheResult(t *testing.T) {
	each(t, func(w *world) {
		w.ensure("screening", 1)
		for range 3 {
			w.send("screening", 1, w.quiet(400), false)
		}
		w.send("screening", 1, w.quiet(400), true)
		w.tick()
		if p := w.all("screening")[0].Performance; p != nil {
			t.Fatalf("a result without outcomes: %+v", p)
		}
		w.tell(0, 30)
		w.tick()
		first := w.all("screening")[0]
		if p := first.Performance; p == nil || p.N != 30 || p.Coverage != 30.0/400 || first.Verdict != "unknown" {
			t.Fatalf("after 30 outcomes: %+v %s", p, first.Verdict)
		}
		w.Service = w.again()
		w.tell(30, 1200)
		w.tick()
		for i, r := range w.all("screening")[:3] {
			if p := r.Performance; p == nil || p.N != 400 || *p.Accuracy < 0.99 || *p.AUC < 0.99 || p.Coverage != 1 || r.Verdict != "yes" || r.Breached {
				t.Fatalf("window %d: %+v %s %v", i+1, p, r.Verdict, r.Causes)
			}
		}
		if n := len(w.events(Breached)); n != 1 { // the wrong answers moved the predictions
			t.Errorf("%d breaches before the outcomes of the fourth window", n)
		}
		w.tell(1200, 1600)
		w.tick()
		w.tick()
		last := w.all("screening")[3]
		if p := last.Performance; p == nil || *p.Accuracy > 0.01 || last.Verdict != "no" || !has(last.Causes, "result") {
			t.Fatalf("wrong answers: %+v %s", p, last.Verdict)
		}
		told := w.events(Breached)
		if len(told) != 2 || len(told[1].Causes) != 1 || told[1].Features[0] != "accuracy" || told[1].Causes[0].Limit < 0.8 {
			t.Errorf("breaches %+v", told)
		}
		if v, err := w.Verdict(w.ctx, "screening"); err != nil || v.Verdict != "no" || !strings.Contains(v.Reasons[0], "The result got worse: accuracy") {
			t.Errorf("%+v %v", v, err)
		}
	})
}

func TestRuleModelsAndModelsServedElsewhereAreWatchedWithoutTrainingData(t *testing.T) {
	each(t, func(w *world) {
		if _, err := w.Put(w.ctx, "refer", Change{}); err != nil {
			t.Fatal(err)
		}
		send := func(n int, bands ...string) {
			var list []prediction.Record
			for i := range n {
				band := bands[i%len(bands)]
				list = append(list, prediction.Record{Model: "refer",
					Inputs:  []tensor.Tensor{tensor.Strings("band", []int{1}, []string{band}), tensor.Bools("family", []int{1}, []bool{i%3 == 0})},
					Outputs: []tensor.Tensor{tensor.Bools("refer", []int{1}, []bool{band == "large"})}})
			}
			if _, err := w.calls.HandIn(w.ctx, "refer", list); err != nil {
				t.Fatal(err)
			}
		}
		send(400, "small", "medium", "large", "small")
		w.tick()
		first := w.all("refer")[0]
		if first.Breached || first.Features[0].Shift != "unknown" || first.Features[0].Why == "" || first.Version != 0 {
			t.Errorf("the first window: %+v", first)
		}
		send(400, "small", "medium", "large", "small")
		send(400, "large")
		w.tick()
		all := w.all("refer")
		if len(all) != 3 || all[1].Breached || all[1].Features[0].Shift != "none" {
			t.Fatalf("a second quiet window: %+v", all[1].Causes)
		}
		if !all[2].Breached || all[2].Causes[0].Feature != "band" || !has(all[2].Causes, "prediction") || all[2].Features[0].Kind != wordKind {
			t.Errorf("large only: %+v", all[2].Causes)
		}
	})
}

func TestVersionsSideBySideHaveTheirOwnWindows(t *testing.T) {
	each(t, func(w *world) {
		w.ensure("screening", 1)
		w.ensure("screening", 1, 2)
		for range 10 {
			w.send("screening", 1, w.quiet(80), false)
			w.send("screening", 2, w.quiet(20), false)
		}
		w.tick()
		all := w.all("screening")
		if len(all) != 2 || all[0].Version != 1 || all[1].Version != 1 || all[0].Rows+all[1].Rows != 800 {
			t.Fatalf("%d windows", len(all))
		}
		w.send("screening", 2, w.quiet(200), false)
		w.tick()
		if all = w.all("screening"); len(all) != 3 || all[2].Version != 2 || all[2].Rows != 400 || all[2].First >= all[0].Last {
			t.Errorf("%+v", all)
		}
		if m, err := w.Get(w.ctx, "screening"); err != nil || m.Version != 2 {
			t.Errorf("%+v %v", m, err)
		}
		w.ensure("screening", 1) // back to where it was
		if m, err := w.Get(w.ctx, "screening"); err != nil || m.Version != 1 {
			t.Errorf("after version 2 was taken back the monitor is one of version %d: %v", m.Version, err)
		}
	})
}

type gate struct{}

func (gate) Authenticate(r *http.Request) (caller.Caller, error) {
	return caller.Caller{ID: "u", Name: "mia", Kind: caller.Person, Roles: []string{cmp.Or(r.Header.Get("Role"), "ml-engineer")}}, nil
}
func (gate) Refused(context.Context, rest.Route, error) {}

func TestTheRoutesSpeakAsPlanned(t *testing.T) {
	each(t, func(w *world) {
		api := rest.New("test", gate{}, slog.New(slog.DiscardHandler))
		w.Routes(api)
		server := httptest.NewServer(api)
		defer server.Close()
		role := ""
		call := func(method, path, body string, into any) int {
			t.Helper()
			req, err := http.NewRequest(method, server.URL+"/api/v1/monitors"+path, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Role", role)
			req.Header.Set("Content-Type", "application/json")
			res, err := server.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			b, err := io.ReadAll(res.Body)
			if err == nil {
				err = json.Unmarshal(b, into)
			}
			if err != nil {
				t.Fatalf("%s %s: %s: %v", method, path, b, err)
			}
			return res.StatusCode
		}
		var m Monitor
		if code := call("PUT", "/screening", `{"reference":{"dataset":"patients"},"window":{"rows":200},"limits":{"psi":0.3,"accuracy":0.9},"features":["mean_radius"],"on_breach":{"retrain":{"pipeline":"screening"}}}`, &m); code != 200 ||
			m.Reference.Version != 1 || !m.Pinned || m.Window != (Window{Rows: 200, MinRows: 200}) || m.Limits.PSI != 0.3 || m.Limits.KS != 0.25 || *m.Limits.Accuracy != 0.9 || m.OnBreach.Retrain.Pipeline != "screening" {
			t.Fatalf("%d %+v", code, m)
		}
		w.send("screening", 1, w.large(200), false)
		w.tick()
		if told := w.events(Breached); len(told) != 1 || told[0].Retrain == nil || told[0].Retrain.Pipeline != "screening" {
			t.Errorf("%+v", told)
		}
		var v View
		if code := call("GET", "/screening", "", &v); code != 200 || v.Verdict.Verdict != "watch" || len(v.Windows) != 1 || len(v.Windows[0].Features) != 1 || v.Windows[0].Features[0].Histogram != nil {
			t.Errorf("%d %+v", code, v)
		}
		var r Result
		if code := call("GET", "/screening/windows/"+v.Windows[0].ID, "", &r); code != 200 || r.Features[0].Histogram == nil || r.Features[0].Histogram.ReferenceRows != 569 {
			t.Errorf("%d %+v", code, r)
		}
		var page rest.Page[Result]
		if code := call("GET", "/screening/windows?limit=1&version=1", "", &page); code != 200 || len(page.Items) != 1 || page.Next != "" {
			t.Errorf("%d %+v", code, page)
		}
		var list rest.Page[Overview]
		if code := call("GET", "?model=screening", "", &list); code != 200 || len(list.Items) != 1 || list.Items[0].Verdict.Verdict != "watch" {
			t.Errorf("%d %+v", code, list)
		}
		var doc rest.Doc
		for body, field := range map[string]string{`{"window":{"rows":100}}`: "window.rows", `{"window":{"rows":100,"min_rows":100}}`: "window.rows", `{"window":{"min_rows":100}}`: "window.min_rows", `{"limits":{"ks":2}}`: "limits.ks", `{"limitz":{}}`: "limitz", `{"reference":{"dataset":"ghost"}}`: ""} {
			doc = rest.Doc{}
			if code := call("PUT", "/screening", body, &doc); code != 422 && code != 404 || doc.Detail == "" || doc.Field != field {
				t.Errorf("PUT %s: %d %+v", body, code, doc)
			}
		}
		role = "it-operations" // may write monitors, and start no pipelines
		for body, want := range map[string]int{`{"on_breach":{"retrain":{"pipeline":"other"}}}`: 403, `{"on_breach":{"retrain":{"pipeline":"screening"}},"limits":{"psi":0.3}}`: 200} {
			doc = rest.Doc{}
			if code := call("PUT", "/screening", body, &doc); code != want || want == 403 && doc.Field != "on_breach.retrain.pipeline" {
				t.Errorf("PUT %s by %s: %d %+v", body, role, code, doc)
			}
		}
		role = ""
		if code := call("GET", "/ghost", "", &doc); code != 404 {
			t.Error(code)
		}
		if code := call("GET", "/screening/windows/none", "", &doc); code != 404 {
			t.Error(code)
		}
		m = Monitor{}
		if code := call("PUT", "/screening", `{"on_breach":{},"reference":{},"limits":{"accuracy":0,"ks":0.5},"window":{"rows":500}}`, &m); code != 200 || m.OnBreach != nil || m.Pinned || m.Limits.PSI != 0.3 ||
			m.Limits.KS != 0.5 || m.Limits.Accuracy != nil || m.Window != (Window{Rows: 500, MinRows: 200}) {
			t.Errorf("%d %+v", code, m)
		}
	})
}
