package inventory

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"os"
	"strings"
	"testing"
	"time"

	"keelson/internal/blob"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/engine"
	"keelson/internal/engine/cel"
	"keelson/internal/engine/xgboost"
	"keelson/internal/problem"
	"keelson/internal/rest"
	"keelson/internal/tracking"
)

func service(t testing.TB, d *db.DB) *Service {
	t.Helper()
	b, err := blob.Open(context.Background(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	engines, err := engine.NewSet(xgboost.Engine{}, cel.Engine{})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	return &Service{DB: d, Blobs: b, Engines: engines, Log: log, Now: time.Now, Runs: &tracking.Service{DB: d, Blobs: b, Log: log, Now: time.Now}}
}

func as(name string) context.Context {
	return caller.With(context.Background(), caller.Caller{ID: name, Name: name, Kind: caller.Person, Roles: []string{"data-scientist"}})
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// store puts files into the blob store; values are bytes or text.
func store(t testing.TB, s *Service, files map[string]string) (out []File) {
	t.Helper()
	for _, p := range sorted(files) {
		digest, size, err := s.Blobs.Put(context.Background(), strings.NewReader(files[p]))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, File{Path: p, Digest: digest, Size: size})
	}
	return out
}

// mlflowModel is a model folder as mlflow writes it, around a real XGBoost file with golden rows of xgboost's own answers.
func mlflowModel(t testing.TB, run string, spoil float64) map[string]string {
	t.Helper()
	model := must[[]byte](t)(os.ReadFile("../engine/xgboost/testdata/models/logistic_named.ubj"))
	var cases struct {
		Cases []struct {
			Name    string       `json:"name"`
			Columns []string     `json:"columns"`
			Rows    [][]*float64 `json:"rows"`
			Predict []any        `json:"predict"`
		} `json:"cases"`
	}
	raw := must[[]byte](t)(os.ReadFile("../engine/xgboost/testdata/expected.json"))
	if err := json.Unmarshal(raw, &cases); err != nil {
		t.Fatal(err)
	}
	for _, c := range cases.Cases {
		if c.Name != "logistic_named" {
			continue
		}
		answers := c.Predict
		if len(answers) == 0 {
			t.Fatalf("the recorded case has no answers: %v", c)
		}
		if spoil != 0 {
			if row, ok := answers[2].([]any); ok {
				row[0] = row[0].(float64) + spoil
			} else {
				answers[2] = answers[2].(float64) + spoil
			}
		}
		golden := must[[]byte](t)(json.Marshal(map[string]any{"limit": 1e-6, "inputs": map[string]any{"columns": c.Columns, "data": c.Rows}, "outputs": answers}))
		return map[string]string{
			"MLmodel":   fmt.Sprintf("artifact_path: runs/%[1]s\nflavors:\n  xgboost:\n    data: model.ubj\n    model_class: xgboost.core.Booster\n    xgb_version: 3.2.0\n  python_function:\n    data: model.ubj\n    env: {conda: conda.yaml}\n    loader_module: mlflow.xgboost\nmodel_uuid: u-%[1]s\nrun_id: %[1]s\nutc_time_created: '2026-01-01 %[1]s'\n", run),
			"model.ubj": string(model), "keelson_golden.json": string(golden),
			"requirements.txt": "mlflow-skinny==3.17.2\nxgboost-cpu==3.2.0\n# a comment\nnumpy\n",
		}
	}
	t.Fatal("no case logistic_named")
	return nil
}

func TestXGBoostVersionFromRunToReady(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s, ctx := service(t, d), as("ada")
		run := must[tracking.Run](t)(s.Runs.CreateRun(as("grace"), tracking.NewRun{Name: "fit", Tags: []tracking.Pair{
			{Key: tracking.TagCommit, Value: "abc123"}, {Key: tracking.TagDirty, Value: "true"}, {Key: tracking.TagData, Value: `[{"dataset":"patients","version":2,"digest":"sha256:aa"}]`}}}))
		reg := Registration{Model: "screening", MakeModel: true, Files: store(t, s, mlflowModel(t, "r1", 0)), Run: run.ID}
		v := must[Version](t)(s.Register(ctx, reg))
		if v.Number != 1 || v.State != Pending {
			t.Fatalf("registered as %+v", v)
		}
		if err := s.Check(ctx, "screening", 1); err != nil {
			t.Fatal(err)
		}
		v = must[Version](t)(s.Version(ctx, "screening", 1))
		if v.State != Ready || v.Engine != "xgboost" || v.Format != "xgboost-ubj" {
			t.Fatalf("after the self-test: %s %s %q %s", v.State, v.Format, v.Reason, v.Engine)
		}
		if v.Golden.MaxError == nil || *v.Golden.MaxError > 1e-6 || v.Golden.Rows < 3 {
			t.Errorf("golden is %+v, want rows and an error within 1e-6", v.Golden)
		}
		if strings.Join(v.Authors, " ") != "ada grace" || !v.Source.Dirty || v.Source.Commit != "abc123" {
			t.Errorf("authors %v source %+v", v.Authors, v.Source)
		}
		kinds := map[string]int{}
		for _, dep := range v.Dependencies {
			kinds[dep.Kind]++
		}
		if kinds["library"] != 3 || kinds["data"] != 1 || kinds["run"] != 1 || kinds["code"] != 1 {
			t.Errorf("dependencies are %+v", v.Dependencies)
		}
		// The same training again: another artifact, the same content.
		reg.Files = store(t, s, mlflowModel(t, "r2", 0))
		w := must[Version](t)(s.Register(ctx, reg))
		if w.ArtifactDigest == v.ArtifactDigest || w.ContentDigest != v.ContentDigest {
			t.Errorf("trained again: artifact %s %s, content %s %s; want artifacts to differ and contents to be equal", v.ArtifactDigest, w.ArtifactDigest, v.ContentDigest, w.ContentDigest)
		}
		m := must[Model](t)(s.Model(ctx, "screening"))
		if m.Latest != 2 || m.Owner != "ada" || strings.Join(m.Missing, " ") != "accountable intended_use" {
			t.Errorf("model is %+v", m)
		}
	})
}

func TestSelfTestRefuses(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s, ctx := service(t, d), as("ada")
		wrong := mlflowModel(t, "r", 0.01)
		cut := mlflowModel(t, "r", 0)
		cut["model.ubj"] = cut["model.ubj"][:len(cut["model.ubj"])/2]
		for i, c := range []struct {
			name, fault, says string
			files             map[string]string
		}{
			{"answers that differ from the recorded ones", FaultGolden, "row 3", wrong},
			{"half a model file", FaultLoad, "not a whole XGBoost model", cut},
			{"a pickle, which is never opened", FaultNoEngine, "No engine in this build can run it", map[string]string{
				"MLmodel": "flavors:\n  sklearn:\n    pickled_model: model.pkl\n", "model.pkl": "cos\nsystem\n(S'touch /tmp/opened'\ntR."}},
			{"golden rows that are no JSON", FaultGolden, "not a JSON document", with(mlflowModel(t, "r", 0), "keelson_golden.json", "{")},
			{"golden rows without a column the model needs", FaultGolden, "needs the column", with(mlflowModel(t, "r", 0), "keelson_golden.json", `{"inputs":{"columns":["x"],"data":[[1]]},"outputs":[1]}`)},
		} {
			t.Run(c.name, func(t *testing.T) {
				v := must[Version](t)(s.Register(ctx, Registration{Model: "m", MakeModel: true, Files: store(t, s, c.files)}))
				if v.Number != i+1 {
					t.Errorf("number is %d, want %d", v.Number, i+1)
				}
				if err := s.Check(ctx, "m", v.Number); err != nil {
					t.Fatal(err)
				}
				v = must[Version](t)(s.Version(ctx, "m", v.Number))
				if v.State != Failed || v.Fault != c.fault || !strings.Contains(v.Reason, c.says) {
					t.Errorf("state %s fault %s reason %q, want failed %s %q", v.State, v.Fault, v.Reason, c.fault, c.says)
				}
			})
		}
	})
}

func with(files map[string]string, path, content string) map[string]string {
	files[path] = content
	return files
}

func TestRuleModelIsReadyWithItsOwnExamples(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s, ctx := service(t, d), as("ada")
		rules := "name: referral\nhit: first\ninputs:\n  - {name: score, type: double}\noutputs:\n  - {name: decision, type: string, default: stay}\nrules:\n  - id: high\n    when: score >= 0.9\n    then: {decision: refer}\nexamples:\n  - {given: {score: 0.95}, expect: {decision: refer}, fired: [high]}\n"
		v := must[Version](t)(s.Register(ctx, Registration{Model: "referral", Kind: "rules", MakeModel: true, Files: store(t, s, map[string]string{"rules.yaml": rules}),
			Golden: `{"inputs":{"columns":["score"],"data":[[0.1],[0.95]]},"outputs":["stay","refer"]}`}))
		if err := s.Check(ctx, "referral", 1); err != nil {
			t.Fatal(err)
		}
		v = must[Version](t)(s.Version(ctx, "referral", v.Number))
		if v.State != Ready || v.Format != "cel" || v.Golden.Rows != 2 || v.Golden.MaxError == nil || *v.Golden.MaxError != 0 {
			t.Errorf("version is %s %s %q golden %+v", v.State, v.Format, v.Reason, v.Golden)
		}
	})
}

func TestAliasesTagsDeletionAndRetirement(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s, ctx := service(t, d), as("ada")
		files := store(t, s, map[string]string{"a": "1"})
		for range 3 {
			must[Version](t)(s.Register(ctx, Registration{Model: "m", MakeModel: true, Files: files}))
		}
		for alias, bad := range map[string]bool{"champion": false, "v3": true, "latest": true, "a b": true, "": true} {
			if err := s.SetAlias(ctx, "m", alias, 2); (err != nil) != bad {
				t.Errorf("alias %q: %v", alias, err)
			}
		}
		if model, n, err := s.Resolve(ctx, "m@champion"); model != "m" || n != 2 || err != nil {
			t.Errorf("m@champion is %s/%d %v", model, n, err)
		}
		if _, err := s.Version(ctx, "m", 1<<40); !problem.Is(err, problem.NotFound) {
			t.Errorf("a version beyond all numbers gives %v", err)
		}
		if _, err := s.Versions(ctx, "m", 1<<40, 10); err != nil {
			t.Errorf("a cursor beyond all numbers gives %v", err)
		}
		if err := s.DeleteVersion(ctx, "m", 3); err != nil {
			t.Fatal(err)
		}
		if v := must[Version](t)(s.Register(ctx, Registration{Model: "m", Files: files})); v.Number != 4 {
			t.Errorf("after deleting 3 the next version is %d, want 4", v.Number)
		}
		v := must[Version](t)(s.ChangeVersion(ctx, "m", 2, func(v *Version) error { v.Tags["a"] = "b"; v.Description = "two"; return nil }))
		if v.Tags["a"] != "b" || v.Description != "two" || strings.Join(v.Aliases, "") != "champion" {
			t.Errorf("version 2 is %+v", v)
		}
		for range 2 {
			if err := s.DB.Write(ctx, func(tx db.Scope) error { return s.Retire(tx, "m", 2, "replaced") }); err != nil {
				t.Fatal(err)
			}
		}
		if v := must[Version](t)(s.Version(ctx, "m", 2)); v.State != Retired || v.Reason != "replaced" {
			t.Errorf("retired version is %s %q", v.State, v.Reason)
		}
		if err := s.Check(ctx, "m", 2); err != nil {
			t.Fatal(err)
		}
		if v := must[Version](t)(s.Version(ctx, "m", 2)); v.State != Retired {
			t.Errorf("a late self-test made a retired version %s", v.State)
		}
		must[Model](t)(s.Rename(ctx, "m", "renamed"))
		if v := must[Version](t)(s.Version(ctx, "renamed", 2)); len(v.Files) != 1 || len(v.Aliases) != 1 {
			t.Errorf("after renaming version 2 is %+v", v)
		}
		if err := s.Delete(ctx, "renamed"); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Model(ctx, "renamed"); !problem.Is(err, problem.NotFound) {
			t.Errorf("a deleted model gives %v", err)
		}
		if v := must[Version](t)(s.Register(ctx, Registration{Model: "renamed", MakeModel: true, Files: files})); v.Number != 5 {
			t.Errorf("a model made anew under an old name starts with version %d, want 5", v.Number)
		}
	})
}

func TestListOfAThousandModels(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s, ctx := service(t, d), as("ada")
		err := d.Write(ctx, func(tx db.Scope) error {
			for i := range 1000 {
				m := Model{Name: fmt.Sprintf("model-%04d", i), Kind: "ml", Area: []string{"Retail", "Clinic"}[i%2], Tags: map[string]string{"wave": fmt.Sprint(i % 10)}}
				if err := insertModel(tx, m); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		page := must[[]Model](t)(s.Models(ctx, "clinic WAVE", "model-0500", 100))
		if len(page) != 100 || page[0].Name != "model-0501" {
			t.Errorf("got %d models from %s", len(page), page[0].Name)
		}
		if spent := time.Since(start); spent > time.Second {
			t.Errorf("a page of the list took %v", spent)
		}
		if page := must[[]Model](t)(s.Models(ctx, "100%", "", 10)); len(page) != 0 {
			t.Errorf("a percent sign is no wildcard, but found %d", len(page))
		}
	})
}

type gate struct{ who caller.Caller }

func (g gate) Authenticate(*http.Request) (caller.Caller, error) { return g.who, nil }
func (g gate) Refused(context.Context, rest.Route, error)        {}

func TestUploadOverHTTP(t *testing.T) {
	d := dbtest.SQLite(t)
	s := service(t, d)
	a := rest.New("test", gate{caller.From(as("ada"))}, s.Log)
	s.Routes(a)
	srv := httptest.NewServer(a)
	defer srv.Close()
	send := func(name string, files map[string]string, meta string) (int, string) {
		t.Helper()
		var body bytes.Buffer
		w := multipart.NewWriter(&body)
		if meta != "" {
			_ = w.WriteField("meta", meta)
		}
		for _, p := range sorted(files) {
			h := textproto.MIMEHeader{}
			h.Set("Content-Disposition", fmt.Sprintf(`form-data; name="file"; filename=%q`, p))
			part := must[io.Writer](t)(w.CreatePart(h))
			_, _ = io.WriteString(part, files[p])
		}
		w.Close()
		res := must[*http.Response](t)(http.Post(srv.URL+"/api/v1/models/"+name+"/versions", w.FormDataContentType(), &body))
		defer res.Body.Close()
		b := must[[]byte](t)(io.ReadAll(res.Body))
		return res.StatusCode, string(b)
	}
	if code, body := send("m", map[string]string{"dir/model.json": "{}", "b": "x"}, `{"kind":"ml","description":"first","tags":{"a":"b"}}`); code != 202 || !strings.Contains(body, `"path":"dir/model.json"`) {
		t.Errorf("upload gives %d %s", code, body)
	}
	for _, c := range []struct {
		name  string
		files map[string]string
		meta  string
		want  int
	}{
		{"climbing out is refused", map[string]string{"../x": "1"}, "", 422},
		{"no file is refused", nil, "{}", 422},
		{"meta that is no JSON is refused", map[string]string{"a": "1"}, "{", 422},
		{"golden rows that do not fit are refused", map[string]string{"a": "1"}, `{"golden":{"inputs":3}}`, 422},
		{"a signature that is none is refused", map[string]string{"a": "1"}, `{"signature":{"inputs":[{"name":"x","datatype":"WORD","shape":[-1]}],"outputs":[{"name":"y","datatype":"FP32","shape":[-1]}]}}`, 422},
		{"an unknown run is refused", map[string]string{"a": "1"}, `{"run_id":"nowhere"}`, 404},
		{"an unknown kind is refused", map[string]string{"a": "1"}, `{"kind":"magic"}`, 422},
	} {
		t.Run(c.name, func(t *testing.T) {
			if code, body := send("other", c.files, c.meta); code != c.want {
				t.Errorf("got %d %s, want %d", code, body, c.want)
			}
		})
	}
	res := must[*http.Response](t)(http.Get(srv.URL + "/api/v1/models/m/versions/1/files/dir/model.json"))
	defer res.Body.Close()
	if b := must[[]byte](t)(io.ReadAll(res.Body)); res.StatusCode != 200 || string(b) != "{}" {
		t.Errorf("the file comes back as %d %q", res.StatusCode, b)
	}
	patch := must[*http.Request](t)(http.NewRequest("PATCH", srv.URL+"/api/v1/models/m", strings.NewReader(`{"owner":"grace","tier":2,"tags":{"x":"y"}}`)))
	patch.Header.Set("Content-Type", "application/json")
	res = must[*http.Response](t)(http.DefaultClient.Do(patch))
	res.Body.Close()
	if m := must[Model](t)(s.Model(as("ada"), "m")); res.StatusCode != 200 || m.Owner != "grace" || m.Tier != 2 || m.Tags["x"] != "y" || m.Kind != "ml" {
		t.Errorf("PATCH gives %d and the model %+v", res.StatusCode, m)
	}
	for path, want := range map[string]int{"/api/v1/models?filter=m": 200, "/api/v1/models/m": 200, "/api/v1/models/m/versions": 200, "/api/v1/models/m/versions/1": 200, "/api/v1/models/none": 404, "/api/v1/models/m/versions/9": 404, "/api/v1/models/m/versions/0": 422} {
		res := must[*http.Response](t)(http.Get(srv.URL + path))
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("GET %s gives %d, want %d", path, res.StatusCode, want)
		}
	}
}
