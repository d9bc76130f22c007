package tracking

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/rest"
)

// door lets everybody in as an administrator.
type door struct{}

func (door) Authenticate(*http.Request) (caller.Caller, error) {
	return caller.Caller{ID: "u1", Name: "ada", Roles: []string{"data-scientist"}}, nil
}
func (door) Refused(context.Context, rest.Route, error) {}

// web is the service behind its routes.
type web struct {
	t *testing.T
	a *rest.API
}

func serve(t *testing.T, s *Service) web {
	a := rest.New("test", door{}, slog.New(slog.DiscardHandler))
	s.Routes(a)
	return web{t, a}
}

// do sends a request and reads the answer into out, unless that is nil; it gives the status and the body.
func (w web) do(method, path, body string, out any) (int, string) {
	w.t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	rec := httptest.NewRecorder()
	w.a.ServeHTTP(rec, r)
	if out != nil {
		if err := json.Unmarshal(rec.Body.Bytes(), out); err != nil {
			w.t.Fatalf("%s %s: %d %v: %s", method, path, rec.Code, err, rec.Body)
		}
	}
	return rec.Code, rec.Body.String()
}

func TestExperimentsOverHTTP(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := serve(t, service(t, d))
		var e experimentView
		if code, body := w.do("POST", "/api/v1/experiments", `{"name":"churn","description":"who leaves","tags":{"team":"a"}}`, &e); code != 201 || e.ID != "1" || e.Description != "who leaves" || e.Tags["team"] != "a" {
			t.Fatalf("create: %d %s", code, body)
		}
		if code, body := w.do("POST", "/api/v1/experiments", `{"name":"churn"}`, nil); code != 409 {
			t.Errorf("a name taken: %d %s", code, body)
		}
		e = experimentView{}
		if code, body := w.do("PATCH", "/api/v1/experiments/1", `{"name":"leavers","description":"","tags":{"team":null,"tier":"2"}}`, &e); code != 200 || e.Name != "leavers" || e.Description != "" || e.Tags["team"] != "" || e.Tags["tier"] != "2" {
			t.Errorf("change: %d %s", code, body)
		}
		var page rest.Page[experimentView]
		if code, body := w.do("GET", "/api/v1/experiments?limit=1&order_by=name&filter="+url.QueryEscape("name LIKE '%e%'"), "", &page); code != 200 || len(page.Items) != 1 || page.Items[0].Name != "Default" || page.Next == "" {
			t.Fatalf("first page: %d %s", code, body)
		}
		next := page.Next
		page = rest.Page[experimentView]{}
		if code, body := w.do("GET", "/api/v1/experiments?limit=1&order_by=name&filter="+url.QueryEscape("name LIKE '%e%'")+"&cursor="+next, "", &page); code != 200 || len(page.Items) != 1 || page.Items[0].Name != "leavers" || page.Next != "" {
			t.Errorf("second page: %d %s", code, body)
		}
		if code, body := w.do("GET", "/api/v1/experiments?cursor="+next, "", nil); code != 422 || !strings.Contains(body, "another search") || !strings.Contains(body, `"field":"cursor"`) {
			t.Errorf("a cursor of another list: %d %s", code, body)
		}
		if code, body := w.do("GET", "/api/v1/experiments?filter=size+%3E+3", "", nil); code != 422 || !strings.Contains(body, "at position 1 of the filter") {
			t.Errorf("a wrong filter: %d %s", code, body)
		}
		if code, _ := w.do("DELETE", "/api/v1/experiments/1", "", &e); code != 200 || !e.Deleted {
			t.Errorf("delete: %d %+v", code, e)
		}
		e = experimentView{}
		if code, _ := w.do("POST", "/api/v1/experiments/1/restore", "", &e); code != 200 || e.Deleted {
			t.Errorf("restore: %d %+v", code, e)
		}
		if code, _ := w.do("GET", "/api/v1/experiments/77", "", nil); code != 404 {
			t.Errorf("an experiment that is not there: %d", code)
		}
	})
}

func TestRunsOverHTTP(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := service(t, d)
		w := serve(t, s)
		must[Experiment](t)(s.CreateExperiment(ctx(), "churn", nil))
		var ids []string
		for i, name := range []string{"one", "two", "three"} {
			r := must[Run](t)(s.CreateRun(ctx(), NewRun{Experiment: "1", Name: name, Tags: []Pair{{"team", "a"}, {"formula", "=1+1"}}}))
			acc := []float64{0.5, math.NaN(), 0.75}[i]
			if err := s.LogBatch(ctx(), r.ID, Batch{Metrics: []Point{{Key: "acc", Value: acc}}, Params: []Pair{{"opt", []string{"adam", "adam", "sgd"}[i]}, {"learning rate", "0.1"}}}); err != nil {
				t.Fatal(err)
			}
			ids = append(ids, r.ID)
		}
		if err := s.LogInputs(ctx(), ids[0], []Input{{Name: "iris", Digest: "d1", Context: "train"}}, nil); err != nil {
			t.Fatal(err)
		}
		var page struct {
			Items []RunView
			Next  string
			Total *int
		}
		code, body := w.do("GET", "/api/v1/runs?experiment=1&limit=2&order_by=metrics.acc+DESC&columns="+url.QueryEscape("metrics.acc,params.`learning rate`"), "", &page)
		if code != 200 || len(page.Items) != 2 || page.Items[0].Name != "three" || page.Items[1].Name != "one" || page.Next == "" || page.Total == nil || *page.Total != 3 {
			t.Fatalf("the first page: %d %s", code, body)
		}
		if r := page.Items[0]; len(r.Params) != 1 || r.Params["learning rate"] != "0.1" || len(r.Tags) != 0 || r.Metrics["acc"] != 0.75 {
			t.Errorf("columns that nobody asked for: %+v", r)
		}
		page.Items = nil
		if code, body := w.do("GET", "/api/v1/runs?filter="+url.QueryEscape("params.opt = 'adam'")+"&order_by=run_name", "", &page); code != 200 || len(page.Items) != 2 || page.Items[1].Metrics["acc"] != "NaN" || page.Items[0].Tags["team"] != "a" {
			t.Errorf("a filter over all experiments: %d %s", code, body)
		}
		for path, says := range map[string]string{
			"/api/v1/runs?filter=params.opt+%3D+1":           `"field":"filter"`,
			"/api/v1/runs?order_by=colour":                   `"field":"order_by"`,
			"/api/v1/runs?columns=colour.x":                  `"field":"columns"`,
			"/api/v1/runs?cursor=xyz":                        `"field":"cursor"`,
			"/api/v1/runs?view=hidden":                       "view",
			"/api/v1/runs/compare?ids=" + ids[0]:             `"field":"ids"`,
			"/api/v1/runs/export?format=xls":                 `"field":"format"`,
			"/api/v1/runs/export?format=csv&view=hidden":     `"field":"view"`,
			"/api/v1/runs/export?format=csv&filter=colour+1": `"field":"filter"`,
		} {
			if code, body := w.do("GET", path, "", nil); code != 422 || !strings.Contains(body, says) {
				t.Errorf("%s: %d %s, want %s", path, code, body, says)
			}
		}
		var r RunView
		if code, body := w.do("PATCH", "/api/v1/runs/"+ids[0], `{"name":"first","description":"good","tags":{"team":null,"x":"y"}}`, &r); code != 200 || r.Name != "first" || r.Tags["x"] != "y" || r.Tags["team"] != "" || r.Tags[tagNote] != "good" {
			t.Errorf("change: %d %s", code, body)
		}
		if code, _ := w.do("DELETE", "/api/v1/runs/"+ids[2], "", &r); code != 200 || !r.Deleted {
			t.Errorf("delete: %d %+v", code, r)
		}
		if code, body := w.do("GET", "/api/v1/runs?view=deleted", "", &page); code != 200 || len(page.Items) != 1 || page.Items[0].ID != ids[2] {
			t.Errorf("deleted runs: %d %s", code, body)
		}
		r = RunView{}
		if code, _ := w.do("POST", "/api/v1/runs/"+ids[2]+"/restore", "", &r); code != 200 || r.Deleted {
			t.Errorf("restore: %d %+v", code, r)
		}
		r = RunView{}
		if code, body := w.do("GET", "/api/v1/runs/"+ids[2][:len(ids[2])-1], "", &r); code != 200 || r.ID != ids[2] {
			t.Errorf("a shortened id: %d %s", code, body)
		}

		var cols columnsView
		w.do("GET", "/api/v1/runs/columns?experiment=1", "", &cols)
		if got := fmt.Sprint(cols.Metrics, cols.Params); got != "[{acc 3}] [{learning rate 3} {opt 3}]" {
			t.Errorf("columns are %s", got)
		}

		var c Comparison
		w.do("GET", "/api/v1/runs/compare?only_differences=true&ids="+strings.Join(ids, ","), "", &c)
		if len(c.Runs) != 3 || c.Runs[2].ID != ids[2] || len(c.Params) != 1 || c.Params[0].Key != "opt" || len(c.Metrics) != 1 || *c.Metrics[0].BestHigh != 2 || c.Metrics[0].Values[1] != "NaN" ||
			len(c.Inputs) != 1 || c.Inputs[0].Key != "iris (train)" || c.Inputs[0].Values[1] != nil {
			t.Errorf("comparison: %+v", c)
		}

		_, file := w.do("GET", "/api/v1/runs/export?format=csv&experiment=1&order_by=run_name", "", nil)
		rows, err := csv.NewReader(strings.NewReader(file)).ReadAll()
		if err != nil || len(rows) != 4 {
			t.Fatalf("csv: %v\n%s", err, file)
		}
		if head := strings.Join(rows[0][7:10], " "); head != "metrics.acc params.learning rate params.opt" || rows[1][1] != "first" || rows[3][7] != "NaN" || !strings.Contains(file, ",'=1+1,") {
			t.Errorf("csv:\n%s", file)
		}
		var list []RunView
		if w.do("GET", "/api/v1/runs/export?format=json&experiment=1", "", &list); len(list) != 3 {
			t.Errorf("json has %d runs", len(list))
		}
		var exported int
		if err := d.Read(ctx(), func(tx db.Scope) error {
			return tx.QueryRow(`SELECT COUNT(*) FROM audit_entry WHERE workspace = $1 AND action = 'run.exported'`, tx.Workspace).Scan(&exported)
		}); err != nil || exported != 2 {
			t.Errorf("%d exports are in the history, want 2 (%v)", exported, err)
		}
	})
}

func TestAnExportHoldsEveryRunOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := service(t, d)
		must[Experiment](t)(s.CreateExperiment(ctx(), "a", nil))
		populate(t, d, "1", 2100)
		_, file := serve(t, s).do("GET", "/api/v1/runs/export?format=csv&experiment=1&order_by=params.p1,metrics.m9&columns=metrics.m9,params.p2", "", nil)
		if n := bytes.Count([]byte(file), []byte("\n")); n != 2101 {
			t.Errorf("the file has %d lines, want 2101", n)
		}
		rows, err := csv.NewReader(strings.NewReader(file)).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, r := range rows[1:] {
			if seen[r[0]] || len(r) != 9 {
				t.Fatalf("line %v", r)
			}
			seen[r[0]] = true
		}
	})
}

func TestFiltersAreCompletedFromWhatThereIs(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := service(t, d)
		must[Experiment](t)(s.CreateExperiment(ctx(), "a", nil))
		populate(t, d, "1", 40)
		w := serve(t, s)
		for _, c := range []struct {
			name, text, want, items string
			from, to                int
		}{
			{"nothing yet: attributes and entities", "|", "name", "artifact_uri created end_time experiment_id run_id run_name start_time status user_id metrics. params. tags. datasets.", 0, 0},
			{"a key of any kind", "tea|", "name", "tags.team", 0, 3},
			{"keys of metrics", "metrics.m|", "key", "m0 m1 m2 m3 m4 m5 m6 m7 m8 m9", 0, 9},
			{"comparators of a metric", "metrics.m0 |", "operator", "= != > >= < <=", 11, 11},
			{"values of a parameter", "params.p0 = |", "value", "v0 v1 v2 v3", 12, 12},
			{"values that begin so", "params.p1 = 'v3|'", "value", "v3 v30 v31 v32 v33 v34 v35 v36 v37 v38 v39", 12, 16},
			{"states", "status = 'F|", "value", "FINISHED FAILED", 9, 11},
			{"AND", "status = 'FINISHED' a|", "and", "AND", 20, 21},
		} {
			at := strings.IndexByte(c.text, '|')
			var got completionView
			code, body := w.do("GET", fmt.Sprintf("/api/v1/runs/complete?experiment=1&at=%d&text=%s", at, url.QueryEscape(c.text[:at]+c.text[at+1:])), "", &got)
			var items []string
			for _, i := range got.Items {
				items = append(items, i.Label)
			}
			if code != 200 || got.Want != c.want || strings.Join(items, " ") != c.items || got.From != c.from || got.To != c.to {
				t.Errorf("%s: %d %s", c.name, code, body)
			}
		}
		var got completionView
		if w.do("GET", "/api/v1/runs/complete?text="+url.QueryEscape("tags.é = 'x' OR status = 'y'"), "", &got); got.Problem == nil || got.Problem.Position != 14 || strings.Contains(got.Problem.Detail, "position") {
			t.Errorf("the problem is %+v", got.Problem)
		}
		got = completionView{}
		if w.do("GET", "/api/v1/runs/complete?text="+url.QueryEscape("status = 'y'"), "", &got); got.Problem != nil {
			t.Errorf("a correct filter has the problem %+v", got.Problem)
		}
	})
}
