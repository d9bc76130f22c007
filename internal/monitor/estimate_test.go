package monitor

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"keelson/internal/blob"
	"keelson/internal/caller"
	"keelson/internal/dataset"
	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/engine"
	"keelson/internal/engine/cel"
	"keelson/internal/evaluation"
	"keelson/internal/inventory"
	"keelson/internal/prediction"
	"keelson/internal/tensor"
	"keelson/internal/tracking"
)

// clinic is a monitor over a model that really answers, with a clock that the test turns.
type clinic struct {
	*Service
	t         *testing.T
	ctx       context.Context
	now       time.Time
	log       *prediction.Service
	judges    *evaluation.Service
	model     engine.Model
	signature engine.Signature
	head      []string
	rows      [][]string // all patients
	rng       *rand.Rand
	sent      []string   // identifiers of calls of one row
	who       [][]string // and the patients they were about
}

// newClinic registers a model of rules that answers a probability, and patients of whom the odd ones are the held-out data.
func newClinic(t *testing.T, d *db.DB, rules, target string) *clinic {
	t.Helper()
	file, err := os.ReadFile("../dataset/testdata/patients.csv")
	if err != nil {
		t.Fatal(err)
	}
	all, err := csv.NewReader(bytes.NewReader(file)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	blobs, err := blob.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c := &clinic{t: t, now: time.Date(2026, 3, 3, 9, 0, 0, 0, time.UTC), head: all[0], rows: all[1:], rng: rand.New(rand.NewPCG(7, 8)),
		ctx: caller.With(context.Background(), caller.Caller{ID: "u", Name: "mia", Kind: caller.Person, Roles: []string{"ml-engineer"}})}
	clock := func() time.Time { return c.now }
	segments, err := prediction.OpenLog(prediction.Options{Dir: t.TempDir(), Node: "n1", Logger: log, Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { segments.Close() })
	set, err := engine.NewSet(cel.Engine{})
	if err != nil {
		t.Fatal(err)
	}
	data := &dataset.Service{DB: d, Blobs: blobs, Log: log, Now: clock, TempDir: t.TempDir()}
	inv := &inventory.Service{DB: d, Blobs: blobs, Engines: set, Runs: &tracking.Service{DB: d, Blobs: blobs, Log: log, Now: clock}, Log: log, Now: clock}
	c.judges = &evaluation.Service{DB: d, Inventory: inv, Data: data, Log: log, Now: clock}
	inv.Evaluations = c.judges
	c.log = &prediction.Service{DB: d, Blobs: blobs, Log: segments, Logger: log, Now: clock}
	c.Service = &Service{DB: d, Log: log, Now: clock, Calls: &Predictions{Service: c.log, Versions: inv}, Data: data, Versions: inv, Rehearsals: c.judges, Tiers: inv}
	for name, odd := range map[string]int{"training": 0, "held-out": 1} {
		var text strings.Builder
		w := csv.NewWriter(&text)
		_ = w.Write(c.head)
		for i, row := range c.rows {
			if i%2 == odd {
				_ = w.Write(row)
			}
		}
		w.Flush()
		if _, err := data.Put(c.ctx, dataset.Dataset{Name: name, Target: target}); err != nil {
			t.Fatal(err)
		}
		if _, err := data.Import(c.ctx, dataset.ImportRequest{Dataset: name, Body: strings.NewReader(text.String())}); err != nil {
			t.Fatal(err)
		}
	}
	digest, size, err := blobs.Put(c.ctx, strings.NewReader(rules))
	if err != nil {
		t.Fatal(err)
	}
	v, err := inv.Register(c.ctx, inventory.Registration{Model: "screening", MakeModel: true, Files: []inventory.File{{Path: "rules.yaml", Digest: digest, Size: size}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := inv.Check(c.ctx, "screening", v.Number); err != nil {
		t.Fatal(err)
	}
	if v, err = inv.Version(c.ctx, "screening", v.Number); err != nil || v.State != inventory.Ready {
		t.Fatalf("%v %s", err, v.Reason)
	}
	if c.model, err = inv.Load(c.ctx, v); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.model.Close() })
	c.signature = v.Signature
	return c
}

func (c *clinic) value(row []string, column string) string {
	for i, h := range c.head {
		if h == column {
			return row[i]
		}
	}
	c.t.Fatalf("no column %s", column)
	return ""
}

// serve lets the model answer n patients that choose allows, and logs the calls.
func (c *clinic) serve(n int, choose func(row []string) bool) {
	c.t.Helper()
	for n > 0 {
		row := c.rows[c.rng.IntN(len(c.rows))]
		if choose != nil && !choose(row) {
			continue
		}
		n--
		var in []tensor.Tensor
		for _, spec := range c.signature.Inputs {
			v, err := strconv.ParseFloat(c.value(row, spec.Name), 64)
			if err != nil {
				c.t.Fatal(err)
			}
			in = append(in, tensor.FP64s(spec.Name, []int{1}, []float64{v}))
		}
		out, err := c.model.Predict(c.ctx, in)
		if err != nil {
			c.t.Fatal(err)
		}
		r := prediction.Record{Workspace: "default", Endpoint: "screening", Model: "screening", Version: 1, Slot: prediction.SlotLive, Rows: 1, Inputs: in, Outputs: out}
		if err := c.log.Log.Append(c.ctx, &r, prediction.Group); err != nil {
			c.t.Fatal(err)
		}
		c.sent, c.who = append(c.sent, r.ID), append(c.who, row)
		c.now = c.now.Add(time.Second)
	}
}

// report tells the outcomes of calls from up to to; turn may change them.
func (c *clinic) report(from, to int, target string, turn func(float64) float64) {
	c.t.Helper()
	var list []prediction.Outcome
	for i := from; i < to; i++ {
		v, err := strconv.ParseFloat(c.value(c.who[i], target), 64)
		if err != nil {
			c.t.Fatal(err)
		}
		if turn != nil {
			v = turn(v)
		}
		list = append(list, prediction.Outcome{Prediction: c.sent[i], Value: json.RawMessage(fmt.Sprint(v))})
	}
	if _, _, err := c.log.Record(c.ctx, list); err != nil {
		c.t.Fatal(err)
	}
	c.now = c.now.Add(10 * time.Second) // on PostgreSQL outcomes settle before they are read
}

func (c *clinic) look() []Result {
	c.t.Helper()
	if err := c.Tick(context.Background()); err != nil {
		c.t.Fatal(err)
	}
	var out []Result
	if err := c.DB.Read(c.ctx, func(tx db.Scope) (err error) {
		out, err = windows(tx, "screening", anyVersion, "", 100)
		return err
	}); err != nil {
		c.t.Fatal(err)
	}
	return out
}

func (c *clinic) verdict() string {
	c.t.Helper()
	v, err := c.Verdict(c.ctx, "screening")
	if err != nil {
		c.t.Fatal(err)
	}
	return v.Verdict + ": " + strings.Join(v.Reasons, " ")
}

// restart forgets what is only in memory.
func (c *clinic) restart() {
	c.Service = &Service{DB: c.DB, Log: c.Service.Log, Now: c.Now, Calls: c.Calls, Data: c.Data, Versions: c.Versions, Rehearsals: c.Rehearsals, Tiers: c.Tiers}
}

const screeningRules = `name: screening
hit: first
inputs:
  - {name: mean_radius, type: double}
  - {name: mean_texture, type: double}
  - {name: mean_concave_points, type: double}
outputs:
  - {name: probability, type: double, default: 0}
rules:
  - {id: score, when: 'true', then: {probability: "=math.least(0.99, math.greatest(0.01, 0.5 + 0.07 * (mean_radius - 14.8) + 0.012 * (mean_texture - 20.0) + 5.0 * (mean_concave_points - 0.055)))"}}
`

func TestALabelDelayOfADayShowsAnEstimateAndLaterTheTruthBesideIt(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newClinic(t, d, screeningRules, "malignant")
		limit := 0.8
		e, err := c.judges.Start(c.ctx, "screening", 1, evaluation.Suite{Name: "acceptance", Tests: []evaluation.Test{{Name: "good", Kind: evaluation.Metric, Metric: "roc_auc", Min: &limit}}}, "held-out", 0)
		if err == nil {
			err = c.judges.Run(c.ctx, e.ID)
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := c.EnsureFor(c.ctx, "screening", "screening", dataset.Ref{Dataset: "training"}, 1); err != nil {
			t.Fatal(err)
		}
		c.serve(400, nil)
		w := c.look()
		if len(w) != 1 {
			t.Fatalf("%d windows", len(w))
		}
		first := w[0]
		if first.Performance != nil || first.Estimate == nil || first.Verdict != "unknown" {
			t.Fatalf("without outcomes: %+v, %s, %s", first.Estimate, first.Why, first.Verdict)
		}
		auc := first.Estimate.Metrics["roc_auc"]
		if first.Estimate.Method != "cbpe" || first.Estimate.Basis != "evaluation" || first.Estimate.Data.Dataset != "held-out" || auc.Realised != nil || auc.Reference == nil || !(auc.Lower.V < auc.Value.V && auc.Value.V < auc.Upper.V) {
			t.Errorf("the estimate: %+v %+v", first.Estimate, auc)
		}
		if v := c.verdict(); !strings.HasPrefix(v, "unknown") || !strings.Contains(v, "not confirmed yet (no labels); estimated ROC AUC 0.9") || !strings.Contains(v, "when it was judged") {
			t.Error(v)
		}

		c.now = c.now.Add(24 * time.Hour)
		c.restart()
		c.report(0, 124, "malignant", nil)
		if v := func() string { c.look(); return c.verdict() }(); !strings.HasPrefix(v, "yes") || !strings.Contains(v, "not yet confirmed (labels 31 %)") || !strings.Contains(v, "estimated ROC AUC") {
			t.Error(v)
		}
		c.report(124, 400, "malignant", nil)
		told := c.look()[0]
		auc = told.Estimate.Metrics["roc_auc"]
		if told.ID != first.ID || told.Performance == nil || told.Performance.Coverage != 1 || auc.Realised == nil {
			t.Fatalf("with outcomes: %+v, %+v", told.Performance, auc)
		}
		if d := *auc.Realised - auc.Value.V; d < -0.04 || d > 0.04 || auc.Value.V != first.Estimate.Metrics["roc_auc"].Value.V {
			t.Errorf("estimated %v, realised %v", auc.Value, *auc.Realised)
		}
		if in := told.Performance.Intervals["roc_auc"]; !(in.Lower.V < *auc.Realised && *auc.Realised < in.Upper.V) {
			t.Errorf("interval %+v of %v", in, *auc.Realised)
		}
		if v := c.verdict(); !strings.HasPrefix(v, "yes: ") || !strings.Contains(v, "The result holds") {
			t.Error(v)
		}

		// Patients about whom the model is unsure: the estimate falls at once, outcomes confirm it a day later.
		unsure := func(row []string) bool {
			r, _ := strconv.ParseFloat(c.value(row, "mean_radius"), 64)
			return r > 13.2 && r < 15.5
		}
		c.serve(400, unsure)
		w = c.look()
		if len(w) != 2 || !hasEstimated(w[0].Causes) || w[0].Performance != nil {
			t.Fatalf("unsure patients: %+v %+v", w[0].Causes, w[0].Estimate.Metrics["roc_auc"])
		}
		if v := c.verdict(); !strings.HasPrefix(v, "watch") || !strings.Contains(v, "estimated ROC AUC") {
			t.Error(v)
		}
		told2 := c.events(Breached)
		if len(told2) != 1 || !hasEstimated(told2[0].Causes) {
			t.Errorf("%+v", told2)
		}
		c.now = c.now.Add(24 * time.Hour)
		c.report(400, 800, "malignant", nil)
		w = c.look()
		auc = w[0].Estimate.Metrics["roc_auc"]
		if hasEstimated(w[0].Causes) || auc.Realised == nil || *auc.Realised > *auc.Reference-0.05 {
			t.Errorf("the truth about them: %+v %+v", w[0].Causes, auc)
		}
	})
}

func (c *clinic) events(typ string) []Breach {
	w := &world{Service: c.Service, t: c.t, ctx: c.ctx}
	return w.events(typ)
}

func hasEstimated(causes []Cause) bool {
	for _, c := range causes {
		if c.Estimated {
			return true
		}
	}
	return false
}

const areaRules = `name: area
hit: first
inputs:
  - {name: mean_radius, type: double}
  - {name: mean_texture, type: double}
outputs:
  - {name: area, type: double, default: 0}
rules:
  - {id: small, when: mean_radius < 16.0, then: {area: "=3.14 * mean_radius * mean_radius"}}
  - {id: large, when: mean_radius >= 16.0, then: {area: "=3.0 * mean_radius * mean_radius - 60.0"}}
`

func TestTheErrorsOfARegressionAreEstimatedBeforeOutcomesArrive(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newClinic(t, d, areaRules, "mean_area")
		if err := c.EnsureFor(c.ctx, "screening", "screening", dataset.Ref{Dataset: "training"}, 1); err != nil {
			t.Fatal(err)
		}
		c.serve(400, nil)
		first := c.look()[0]
		if first.Estimate == nil || first.Estimate.Method != "dle" || first.Estimate.Basis != "training" || first.Estimate.Note == "" {
			t.Fatalf("%+v %s", first.Estimate, first.Why)
		}
		c.restart() // what was learnt is stored
		c.now = c.now.Add(24 * time.Hour)
		large := func(row []string) bool { return c.value(row, "size_band") == "large" }
		c.serve(400, large)
		c.report(0, 800, "mean_area", nil)
		all := c.look()
		for i, r := range all {
			m := r.Estimate.Metrics["rmse"]
			if m.Realised == nil || m.Value.V < 0.5**m.Realised || m.Value.V > 2**m.Realised {
				t.Errorf("window %d: estimated %v, realised %+v", i, m.Value, m.Realised)
			}
		}
		if a, b := all[0].Estimate.Metrics["rmse"].Value.V, all[1].Estimate.Metrics["rmse"].Value.V; a < 1.3*b {
			t.Errorf("large patients, of whom the model is worse: %v after %v", a, b)
		}
		if in := all[0].Performance.Intervals["rmse"]; !(in.Lower.V < all[0].Performance.Metrics["rmse"].V && in.Upper.V > in.Lower.V) {
			t.Errorf("%+v", in)
		}
	})
}

func TestWithoutDataAnEstimateIsLearntFromTheFirstOutcomes(t *testing.T) {
	each(t, func(w *world) {
		if _, err := w.Put(w.ctx, "screening", Change{}); err != nil {
			t.Fatal(err)
		}
		w.send("screening", 0, w.quiet(400), false)
		w.tick()
		if r := w.all("screening")[0]; r.Estimate != nil || r.Why == "" {
			t.Fatalf("an estimate from nothing: %+v", r.Estimate)
		}
		w.tell(0, 400)
		w.tick()
		w.Service = w.again()
		w.send("screening", 0, w.quiet(400), false)
		w.tick()
		r := w.all("screening")[1]
		if r.Estimate == nil || r.Estimate.Basis != "outcomes" || r.Estimate.Metrics["accuracy"].Value.V < 0.95 {
			t.Errorf("%+v %s", r.Estimate, r.Why)
		}
	})
}
