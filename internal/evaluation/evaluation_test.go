package evaluation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
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
	"keelson/internal/engine/xgboost"
	"keelson/internal/inventory"
	"keelson/internal/job"
	"keelson/internal/problem"
	"keelson/internal/rest"
	"keelson/internal/score"
	"keelson/internal/tracking"
)

func number(v float64) *float64 { return &v }

func TestSuiteCheck(t *testing.T) {
	ok := Test{Name: "good enough", Kind: Metric, Metric: "auc", Min: number(0.9)}
	for _, c := range []struct {
		name  string
		suite Suite
		field string // at fault; empty: fine
	}{
		{"a metric with a limit is a test", Suite{Name: "s", Tests: []Test{ok}}, ""},
		{"a suite needs a name", Suite{Tests: []Test{ok}}, "suite.name"},
		{"a suite needs tests", Suite{Name: "s"}, "suite.tests"},
		{"names are unique", Suite{Name: "s", Tests: []Test{ok, ok}}, "suite.tests[1].name"},
		{"a metric needs a limit", Suite{Name: "s", Tests: []Test{{Name: "a", Kind: Metric, Metric: "auc"}}}, "suite.tests[0].min"},
		{"a slice needs a column", Suite{Name: "s", Tests: []Test{{Name: "a", Kind: Slice, Metric: "auc", Min: number(1), Value: "x"}}}, "suite.tests[0].column"},
		{"a range has two ends", Suite{Name: "s", Tests: []Test{{Name: "a", Kind: Slice, Metric: "auc", Min: number(1), Column: "c", Value: []any{1.0}}}}, "suite.tests[0].value"},
		{"an open range is a slice", Suite{Name: "s", Tests: []Test{{Name: "a", Kind: Slice, Metric: "auc", Min: number(1), Column: "c", Value: []any{1.0, nil}}}}, ""},
		{"a champion may not be beaten by a negative drop", Suite{Name: "s", Tests: []Test{{Name: "a", Kind: Champion, Metric: "auc", MaxDrop: number(-1)}}}, "suite.tests[0].max_drop"},
		{"latency needs a limit", Suite{Name: "s", Tests: []Test{{Name: "a", Kind: Latency}}}, "suite.tests[0].p95_ms"},
		{"an unknown kind is refused", Suite{Name: "s", Tests: []Test{{Name: "a", Kind: "taste"}}}, "suite.tests[0].kind"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.suite.Check()
			p, _ := problem.As(err)
			if c.field == "" && err != nil || c.field != "" && (p == nil || p.Field != c.field) {
				t.Errorf("Check() = %v, want the field %q", err, c.field)
			}
		})
	}
}

func TestComparedWithTheChampion(t *testing.T) {
	for _, c := range []struct {
		name         string
		metric       string
		drop         *float64
		mine, theirs float64
		want         string
	}{
		{"equal passes", "auc", nil, 0.9, 0.9, Passed},
		{"better passes", "auc", nil, 0.95, 0.9, Passed},
		{"worse fails", "auc", nil, 0.89, 0.9, Failed},
		{"worse by no more than allowed passes", "auc", number(0.02), 0.88, 0.9, Passed},
		{"worse by more than allowed fails", "auc", number(0.02), 0.87, 0.9, Failed},
		{"of a loss less is better", "log_loss", nil, 0.1, 0.2, Passed},
		{"of a loss more is worse", "logloss", nil, 0.3, 0.2, Failed},
	} {
		t.Run(c.name, func(t *testing.T) {
			test := Test{Name: "t", Kind: Champion, Metric: c.metric, MaxDrop: c.drop}
			if r := test.compared(score.Of(c.mine), score.Of(c.theirs), "m/1"); r.State != c.want {
				t.Errorf("state is %s (%s), want %s", r.State, r.Detail, c.want)
			}
		})
	}
}

// world is everything an evaluation stands on, real.
type world struct {
	*Service
	engines *engine.Set
	truth   []float64 // target of the data set "patients"
	scores  []float64 // xgboost's own answers
}

type live map[string]int

func (l live) LiveVersion(_ context.Context, model, environment string) (int, error) {
	return l[model+"@"+environment], nil
}

func as(name string) context.Context {
	return caller.With(context.Background(), caller.Caller{ID: name, Name: name, Kind: caller.Person, Roles: []string{"data-scientist"}})
}

func newWorld(t *testing.T, d *db.DB, champions Champions) *world {
	t.Helper()
	ctx := as("ada")
	b, err := blob.Open(ctx, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	set, err := engine.NewSet(xgboost.Engine{}, cel.Engine{})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	data := &dataset.Service{DB: d, Blobs: b, Log: log, Now: time.Now, TempDir: t.TempDir()}
	inv := &inventory.Service{DB: d, Blobs: b, Engines: set, Runs: &tracking.Service{DB: d, Blobs: b, Log: log, Now: time.Now}, Log: log, Now: time.Now}
	w := &world{Service: &Service{DB: d, Inventory: inv, Data: data, Champions: champions, Log: log, Now: time.Now}, engines: set}
	inv.Evaluations = w.Service

	raw, err := os.ReadFile("../engine/xgboost/testdata/expected.json")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Cases []struct {
			Name    string       `json:"name"`
			Columns []string     `json:"columns"`
			Rows    [][]*float64 `json:"rows"`
			Predict []any        `json:"predict"`
		} `json:"cases"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	var csv strings.Builder
	for _, c := range doc.Cases {
		if c.Name != "logistic_named" {
			continue
		}
		csv.WriteString(strings.Join(c.Columns, ",") + ",band,sick\n")
		for i, row := range c.Rows {
			p, ok := c.Predict[i].(float64)
			if !ok {
				p = c.Predict[i].([]any)[0].(float64)
			}
			sick := math.Round(p)
			if i < 3 { // three patients of whom the model is wrong
				sick = 1 - sick
			}
			for _, v := range row {
				if v != nil {
					fmt.Fprint(&csv, *v)
				}
				csv.WriteString(",")
			}
			fmt.Fprintf(&csv, "%s,%v\n", []string{"odd", "even"}[i%2], sick)
			w.truth, w.scores = append(w.truth, sick), append(w.scores, p)
		}
	}
	if _, err := data.Put(ctx, dataset.Dataset{Name: "patients", Target: "sick"}); err != nil {
		t.Fatal(err)
	}
	if _, err := data.Import(ctx, dataset.ImportRequest{Dataset: "patients", Format: "csv", Body: strings.NewReader(csv.String())}); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) register(t *testing.T, model string, files map[string]string) inventory.Version {
	t.Helper()
	ctx := as("ada")
	var list []inventory.File
	for p, content := range files {
		digest, size, err := w.Inventory.Blobs.Put(ctx, strings.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, inventory.File{Path: p, Digest: digest, Size: size})
	}
	v, err := w.Inventory.Register(ctx, inventory.Registration{Model: model, MakeModel: true, Files: list})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Inventory.Check(ctx, model, v.Number); err != nil {
		t.Fatal(err)
	}
	v, err = w.Inventory.Version(ctx, model, v.Number)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func booster(t *testing.T, name string) map[string]string {
	t.Helper()
	b, err := os.ReadFile("../engine/xgboost/testdata/models/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{name: string(b)}
}

func (w *world) evaluate(t *testing.T, model string, version int, s Suite) Evaluation {
	t.Helper()
	ctx := as("ada")
	e, err := w.Start(ctx, model, version, s, "patients", 0)
	if err != nil {
		t.Fatal(err)
	}
	if e.State != Running {
		t.Errorf("a new evaluation is %s", e.State)
	}
	for range 2 { // a job may run twice
		if err := w.Run(ctx, e.ID); err != nil {
			t.Fatal(err)
		}
	}
	if e, err = w.Evaluation(ctx, e.ID); err != nil {
		t.Fatal(err)
	}
	return e
}

func TestSuiteOnARealModel(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		champions := live{}
		w := newWorld(t, d, champions)
		v := w.register(t, "screening", booster(t, "logistic_named.ubj"))
		if v.State != inventory.Ready {
			t.Fatalf("version is %s: %s", v.State, v.Reason)
		}
		n := len(w.truth)
		right := float64(n-3) / float64(n)
		binary, err := score.NewBinary(bools(w.truth), w.scores, 0.5)
		if err != nil {
			t.Fatal(err)
		}
		suite := Suite{Name: "acceptance", Tests: []Test{
			{Name: "right often enough", Kind: Metric, Metric: "accuracy", Min: number(right)},
			{Name: "ranks well", Kind: Metric, Metric: "auc", Min: number(binary.ROCAUC().V - 1e-6)},
			{Name: "good on even rows", Kind: Slice, Metric: "accuracy", Column: "band", Value: "even", Min: number(0.5)},
			{Name: "good in a range", Kind: Slice, Metric: "accuracy", Column: "dose", Value: []any{nil, 0.0}, Min: number(0.1)},
			{Name: "no worse", Kind: Champion, Metric: "auc", MaxDrop: number(0.02)},
			{Name: "fast", Kind: Latency, P95MS: number(1000)},
			{Name: "fits", Kind: Signature},
		}}
		e := w.evaluate(t, "screening", 1, suite)
		if e.State != Passed || len(e.Tests) != len(suite.Tests) {
			t.Fatalf("evaluation is %s: %v", e.State, e.Failures())
		}
		if math.Abs(e.Metrics["accuracy"]-right) > 1e-9 || math.Abs(e.Metrics["roc_auc"]-binary.ROCAUC().V) > 1e-6 {
			t.Errorf("metrics are %v, want accuracy %v and auc %v", e.Metrics, right, binary.ROCAUC())
		}
		if !strings.Contains(e.Tests[4].Detail, "no champion") {
			t.Errorf("without a champion the test says %q", e.Tests[4].Detail)
		}
		if ok, failing, err := w.Passed(as("ada"), "screening", 1); !ok || failing != "" || err != nil {
			t.Errorf("Passed gives %v %q %v", ok, failing, err)
		}

		// A second version against the first as champion: the same model passes, one that the limits catch fails by name.
		champions["screening@prod"] = 1
		w.register(t, "screening", booster(t, "logistic_named.ubj"))
		strict := suite
		strict.Tests = append([]Test{}, suite.Tests...)
		strict.Tests[0].Min = number(0.99)
		strict.Tests[6].AllowMissing = new(bool)
		e = w.evaluate(t, "screening", 2, strict)
		if e.State != Failed || len(e.Failures()) != 2 || !strings.HasPrefix(e.Failures()[0], "right often enough: accuracy is") || !strings.HasPrefix(e.Failures()[1], "fits: ") {
			t.Errorf("failures are %q", e.Failures())
		}
		if !strings.Contains(e.Tests[4].Detail, "screening/1") || e.Tests[4].State != Passed {
			t.Errorf("the champion test says %+v", e.Tests[4])
		}
		if ok, failing, _ := w.Passed(as("ada"), "screening", 2); ok || failing != "right often enough" {
			t.Errorf("Passed gives %v %q", ok, failing)
		}
		shown, err := w.Inventory.Version(as("ada"), "screening", 2)
		if err != nil || shown.Evaluation.State != Failed || shown.Evaluation.ID != e.ID {
			t.Errorf("the version shows %+v %v", shown.Evaluation, err)
		}
		if ok, failing, err := w.Passed(as("ada"), "screening", 9); ok || failing != "" || err != nil {
			t.Errorf("a version without evaluation: %v %q %v", ok, failing, err)
		}
	})
}

func bools(v []float64) []bool {
	out := make([]bool, len(v))
	for i := range v {
		out[i] = v[i] == 1
	}
	return out
}

func TestRuleModelIsJudgedByItsWords(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d, nil)
		rules := "name: referral\nhit: first\ninputs:\n  - {name: dose, type: double}\noutputs:\n  - {name: sick, type: bool, default: false}\nrules:\n  - id: high\n    when: dose >= 0.0\n    then: {sick: true}\n"
		if v := w.register(t, "referral", map[string]string{"rules.yaml": rules}); v.State != inventory.Ready {
			t.Fatalf("version is %s: %s", v.State, v.Reason)
		}
		e := w.evaluate(t, "referral", 1, Suite{Name: "s", Tests: []Test{
			{Name: "some right", Kind: Metric, Metric: "accuracy", Min: number(0.01)},
			{Name: "precise", Kind: Metric, Metric: "precision", Max: number(1)},
			{Name: "fast", Kind: Latency, P95MS: number(1000)},
		}})
		if e.State != Passed {
			t.Errorf("evaluation is %s: %v", e.State, e.Failures())
		}
	})
}

func TestWhatIsWrongFailsTheTestAndNotTheServer(t *testing.T) {
	d := dbtest.SQLite(t)
	w := newWorld(t, d, nil)
	w.register(t, "screening", booster(t, "logistic_named.ubj"))
	w.register(t, "other", map[string]string{"rules.yaml": "name: other\ninputs:\n  - {name: colour, type: string}\noutputs:\n  - {name: sick, type: bool, default: false}\nrules:\n  - id: red\n    when: colour == 'red'\n    then: {sick: true}\n"})
	for _, c := range []struct {
		name, model string
		test        Test
		says        string
	}{
		{"an unknown metric lists the known ones", "screening", Test{Name: "t", Kind: Metric, Metric: "taste", Min: number(1)}, "roc_auc"},
		{"an unknown column is named", "screening", Test{Name: "t", Kind: Slice, Metric: "accuracy", Column: "colour", Value: "red", Min: number(1)}, `"colour"`},
		{"an empty slice is told", "screening", Test{Name: "t", Kind: Slice, Metric: "accuracy", Column: "band", Value: "none", Min: number(1)}, "No row has band = none"},
		{"a range of words is told", "screening", Test{Name: "t", Kind: Slice, Metric: "accuracy", Column: "band", Value: []any{1.0, 2.0}, Min: number(1)}, "holds words"},
		{"a column that the model needs is named", "other", Test{Name: "t", Kind: Signature}, `needs the column "colour"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			suite := Suite{Name: "s", Tests: []Test{c.test}}
			e := w.evaluate(t, c.model, 1, suite)
			if e.State != Failed || !strings.Contains(strings.Join(e.Failures(), " "), c.says) {
				t.Errorf("evaluation is %s with %q, want a failure with %q", e.State, e.Failures(), c.says)
			}
		})
	}
	ctx := as("ada")
	fine := Suite{Name: "s", Tests: []Test{{Name: "t", Kind: Signature}}}
	for _, c := range []struct {
		name, model, data string
		version           int
		kind              problem.Kind
	}{
		{"an unknown version", "screening", "patients", 7, problem.NotFound},
		{"an unknown data set", "screening", "nothing", 1, problem.NotFound},
		{"no data set", "screening", "", 1, problem.Invalid},
	} {
		if _, err := w.Start(ctx, c.model, c.version, fine, c.data, 0); !problem.Is(err, c.kind) {
			t.Errorf("%s gives %v, want %s", c.name, err, c.kind)
		}
	}
	pickled := w.register(t, "pickled", map[string]string{"model.pkl": "x"})
	if _, err := w.Start(ctx, "pickled", pickled.Number, fine, "patients", 0); !problem.Is(err, problem.Conflict) {
		t.Errorf("a version that is not ready gives %v", err)
	}
}

type gate struct{}

func (gate) Authenticate(*http.Request) (caller.Caller, error) { return caller.From(as("ada")), nil }
func (gate) Refused(context.Context, rest.Route, error)        {}

func TestOverHTTP(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t), nil)
	w.register(t, "screening", booster(t, "logistic_named.ubj"))
	a := rest.New("test", gate{}, w.Log)
	w.Routes(a)
	srv := httptest.NewServer(a)
	defer srv.Close()
	post := func(body string) (int, map[string]any) {
		t.Helper()
		res, err := http.Post(srv.URL+"/api/v1/models/screening/versions/1/evaluations", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var out map[string]any
		if err := json.NewDecoder(res.Body).Decode(&out); err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, out
	}
	code, out := post(`{"suite":{"name":"s","data":"patients","tests":[{"name":"a","kind":"slice","metric":"accuracy","column":"band","value":"even","min":0.1},{"name":"b","kind":"slice","metric":"accuracy","column":"dose","value":[0,null],"min":0.1}]},"dataset_version":1}`)
	if code != 202 || out["state"] != Running || out["by"] != "ada" {
		t.Fatalf("POST gives %d %v", code, out)
	}
	if err := w.Run(as("ada"), out["id"].(string)); err != nil {
		t.Fatal(err)
	}
	res, err := http.Get(srv.URL + "/api/v1/models/screening/versions/1/evaluations")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var page rest.Page[Evaluation]
	if err := json.NewDecoder(res.Body).Decode(&page); err != nil {
		t.Fatal(err)
	}
	if len(page.Items) != 1 || page.Items[0].State != Passed || len(page.Items[0].Tests) != 2 {
		t.Errorf("the list is %+v", page)
	}
	for body, want := range map[string]int{`{"suite":{"name":"s","tests":[{"name":"a","kind":"taste"}]},"dataset":"patients"}`: 422, `{"suite":{"name":"s","tests":[]},"dataset":"patients"}`: 422, `{`: 400} {
		if code, out := post(body); code != want {
			t.Errorf("POST %s gives %d %v, want %d", body, code, out, want)
		}
	}
}

func TestAnEvaluationThatIsGivenUpHasFailed(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d, nil)
		v := w.register(t, "risk", booster(t, "logistic_named.ubj"))
		ctx := as("ada")
		e, err := w.Start(ctx, "risk", v.Number, Suite{Name: "s", Tests: []Test{{Name: "fine", Kind: Metric, Metric: "auc", Min: number(0.5)}}}, "patients", 0)
		if err != nil {
			t.Fatal(err)
		}
		// Every process that runs it dies, until its attempts and those beyond are used up.
		by := `'["gone"]'`
		if d.Postgres() {
			by = `'{gone}'`
		}
		if err := d.Write(ctx, func(tx db.Scope) error {
			_, err := tx.Exec("UPDATE river_job SET state = 'running', attempted_by = " + by + ", attempt = max_attempts + 10 WHERE kind = 'evaluation.run'")
			return err
		}); err != nil {
			t.Fatal(err)
		}
		r := &job.Runner{DB: d, Log: w.Log, Node: "n"}
		w.Jobs(r)
		run, stop := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- r.Run(run) }()
		for end := time.Now().Add(20 * time.Second); ; {
			if e, err = w.Evaluation(ctx, e.ID); err != nil || e.State != Running || time.Now().After(end) {
				break
			}
			<-time.After(20 * time.Millisecond)
		}
		stop()
		if err := errors.Join(err, <-done); err != nil {
			t.Fatal(err)
		}
		if e.State != Failed || e.EndedAt == nil || !slices.Equal(e.Failures(), []string{"carried out: The suite could not be carried out: every process that worked on it died"}) {
			t.Errorf("%+v", e)
		}
		if err := w.Run(ctx, e.ID); err != nil { // a late attempt changes nothing
			t.Fatal(err)
		}
		if again, err := w.Evaluation(ctx, e.ID); err != nil || again.State != Failed {
			t.Errorf("%+v, %v", again, err)
		}
	})
}

func TestTheNewestEvaluationOfEachSuiteIsFound(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d, nil)
		now := time.Now()
		w.Now = func() time.Time { now = now.Add(time.Second); return now }
		v := w.register(t, "risk", booster(t, "logistic_named.ubj"))
		least := func(name string, min float64) Suite {
			return Suite{Name: name, Tests: []Test{{Name: "fine", Kind: Metric, Metric: "auc", Min: number(min)}}}
		}
		w.evaluate(t, "risk", v.Number, least("release", 2))
		strict := w.evaluate(t, "risk", v.Number, least("release", 0.1))
		smoke := w.evaluate(t, "risk", v.Number, least("smoke", 0.1))
		last := w.evaluate(t, "risk", v.Number, least("smoke", 0.2))
		got, err := w.Suites(as("ada"), "risk", v.Number)
		if err != nil || len(got) != 2 || got[0].ID != last.ID || got[1].ID != strict.ID || got[1].State != Passed {
			t.Fatalf("%+v, %v", got, err)
		}
		if strict.Definition() != smoke.Definition() || got[0].Definition() == got[1].Definition() || !strings.HasPrefix(got[0].Definition(), "sha256:") {
			t.Errorf("the definitions are %s, %s and %s", strict.Definition(), smoke.Definition(), last.Definition())
		}
		if none, err := w.Suites(as("ada"), "risk", v.Number+1); err != nil || len(none) != 0 {
			t.Errorf("%+v, %v", none, err)
		}
	})
}
