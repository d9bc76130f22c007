package monitor

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"keelson/internal/dataset"
	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/prediction"
	"keelson/internal/problem"
	"keelson/internal/rest"
	"keelson/internal/tensor"
)

func TestOutcomesThatDoNotFitHaveADefinedAnswer(t *testing.T) {
	each(t, func(w *world) {
		w.ensure("screening", 1)
		w.send("screening", 1, w.quiet(400), false)
		w.tick()
		w.tell(0, 380)
		one := func(id string, row int, value string) error {
			_, _, err := w.calls.Record(w.ctx, []prediction.Outcome{{Prediction: id, Row: row, Value: json.RawMessage(value)}})
			return err
		}
		for name, c := range map[string]struct {
			err  error
			kind problem.Kind
		}{
			"twice, with another value":            {one(w.ids[0], 0, "7"), problem.Conflict},
			"of a prediction that is not known":    {one(db.NewID(), 0, "1"), problem.NotFound},
			"of a row that is not there":           {one(w.ids[0], 9, "1"), problem.Invalid},
			"a document instead of a value":        {one(w.ids[0], 0, `{"a":1}`), problem.Invalid},
			"before its prediction, by its number": {one("018f0000-0000-7000-8000-000000000000", 0, "1"), problem.NotFound},
		} {
			if problem.KindOf(c.err) != c.kind {
				t.Errorf("an outcome %s: %v", name, c.err)
			}
		}
		// What became true before the call was made is an outcome all the same: a tumour was there before it was looked at.
		if a, _, err := w.calls.Record(w.ctx, []prediction.Outcome{{Prediction: w.ids[384/4], Row: 0, At: time.Now().Add(-48 * time.Hour), Value: json.RawMessage(db.ToJSON(w.truth[384]))}}); a != 1 || err != nil {
			t.Errorf("an outcome dated before its prediction: %d %v", a, err)
		}
		if a, dup, err := w.calls.Record(w.ctx, []prediction.Outcome{{Prediction: w.ids[0], Row: 0, Value: json.RawMessage(db.ToJSON(w.truth[0]))}}); a != 0 || dup != 1 || err != nil {
			t.Errorf("the same outcome twice: %d %d %v", a, dup, err)
		}
		for i := 380; i < 384; i++ { // words and numbers that the other outcomes are not
			if err := one(w.ids[i/4], i%4, []string{`"ill"`, `"well"`, "12", "-3.5"}[i-380]); err != nil {
				t.Fatal(err)
			}
		}
		w.tick()
		r := w.all("screening")[0]
		if p := r.Performance; p == nil || p.Kind != "binary" || p.N != 381 || p.LeftOut != 4 || *p.Accuracy < 0.99 || r.Verdict == "no" {
			t.Errorf("%+v %s", r.Performance, r.Verdict)
		}
	})
}

func TestCallsOfAnyShapeAreWatched(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newClinic(t, d, screeningRules, "malignant")
		if _, err := c.Put(c.ctx, "odd", Change{Window: &Window{Every: "1h", MinRows: 50}}); err != nil {
			t.Fatal(err)
		}
		at := c.now
		send := func(when time.Time, in tensor.Tensor, out ...tensor.Tensor) {
			t.Helper()
			c.now = c.now.Add(time.Second)
			if _, err := c.log.HandIn(c.ctx, "odd", []prediction.Record{{Model: "odd", At: when, Inputs: []tensor.Tensor{in}, Outputs: out}}); err != nil {
				t.Fatal(err)
			}
		}
		nan32 := float32(nan)
		for i := range 120 {
			when := at.Add(time.Duration(i) * time.Second)
			switch i % 4 { // the type changes from call to call
			case 0:
				send(when, tensor.FP32s("x", []int{1}, []float32{float32(i)}), tensor.FP32s("y", []int{1}, []float32{nan32}))
			case 1:
				send(when.Add(-3*time.Hour), tensor.Strings("x", []int{1}, []string{"word"}), tensor.Strings("y", []int{1}, []string{"ill"})) // its clock went back
			case 2:
				send(when, tensor.Bools("z", []int{1}, []bool{true}), tensor.FP32s("y", []int{1}, []float32{1e38}))
			case 3:
				send(when, tensor.FP32s("x", []int{0}, nil), tensor.FP32s("y", []int{0}, nil)) // no row
			}
		}
		c.now = at.Add(2 * time.Hour)
		if err := c.Tick(c.ctx); err != nil {
			t.Fatal(err)
		}
		var all []Result
		if err := d.Read(c.ctx, func(tx db.Scope) (err error) { all, err = windows(tx, "odd", anyVersion, "", 100); return err }); err != nil {
			t.Fatal(err)
		}
		rows := 0
		for _, r := range all {
			rows += r.Rows
		}
		if len(all) == 0 || rows < 90 || rows > 120 {
			t.Errorf("%d windows with %d rows", len(all), rows)
		}
	})
}

func TestTheRoutesOfPlansSpeakAsPlanned(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newClinic(t, d, screeningRules, "malignant")
		api := rest.New("test", gate{}, slog.New(slog.DiscardHandler))
		c.Routes(api)
		server := httptest.NewServer(api)
		defer server.Close()
		call := func(method, path, body string, into any) int {
			t.Helper()
			req, err := http.NewRequest(method, server.URL+"/api/v1/monitors/screening"+path, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
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
		if code := call("PUT", "", `{"reference":{"dataset":"training"},"limits":{"by":"reference"},"segments":[{"name":"large","column":"mean_radius","value":17.99},{"name":"rough","when":"input.mean_texture > 20.0"}],
			"metrics":[{"name":"mean","expression":"output.probability"}],"rules":[{"column":"mean_radius","check":"range","min":0}],"indicators":[{"name":"cost","unit":"EUR","max":5}],"against":{"kind":"training"}}`, &m); code != 200 ||
			len(m.Segments) != 2 || m.Metrics[0].Aggregate != "mean" || m.Limits.By != FromReference || m.Rules[0].Name() != "mean_radius.range" {
			t.Fatalf("%d %+v", code, m)
		}
		c.serve(400, nil)
		c.look()
		var v View
		if code := call("GET", "", "", &v); code != 200 || len(v.Windows) != 1 || v.Windows[0].Estimate == nil || len(v.Windows[0].Segments) != 2 || len(v.Windows[0].Metrics) != 1 || len(v.Windows[0].Rules) != 1 || len(v.Indicators) != 1 || v.Indicators[0].Value != nil {
			t.Fatalf("%d %+v", code, v.Windows[0].Findings)
		}
		var raw map[string]any
		call("GET", "/windows/"+v.Windows[0].ID, "", &raw)
		for _, key := range []string{"estimate", "segments", "custom", "rules", "together"} {
			if raw[key] == nil {
				t.Errorf("a window has no %s", key)
			}
		}
		var told Told
		if code := call("POST", "/indicators", `{"items":[{"name":"cost","value":4},{"name":"cost","value":6,"at":"2026-03-03T08:00:00Z"}]}`, &told); code != 200 || told.Accepted != 2 {
			t.Errorf("%d %+v", code, told)
		}
		var some rest.Page[Reading]
		if code := call("GET", "/indicators?limit=1", "", &some); code != 200 || len(some.Items) != 1 || some.Items[0].Value != 4 || some.Next == "" {
			t.Errorf("%d %+v", code, some)
		}
		if code := call("GET", "/indicators?limit=1&cursor="+some.Next, "", &some); code != 200 || len(some.Items) != 1 || some.Items[0].Value != 6 {
			t.Errorf("%d %+v", code, some)
		}
		var l Live
		if code := call("GET", "/live", "", &l); code != 200 || l.Open == nil {
			t.Errorf("%d %+v", code, l)
		}
		var b Backfill
		if code := call("POST", "/backfills", `{}`, &b); code != 202 || b.Total != 1 {
			t.Errorf("%d %+v", code, b)
		}
		var bs rest.Page[Backfill]
		if code := call("GET", "/backfills", "", &bs); code != 200 || len(bs.Items) != 1 || bs.Items[0].ID != b.ID {
			t.Errorf("%d %+v", code, bs)
		}
		if code := call("GET", "/backfills/"+b.ID, "", &b); code != 200 || b.State != "running" {
			t.Errorf("%d %+v", code, b)
		}
		var sep Separation
		if code := call("POST", "/windows/"+v.Windows[0].ID+"/separation", "", &sep); code != 200 || !sep.AUC.OK() {
			t.Errorf("%d %+v", code, sep)
		}
		if code := call("POST", "/accept", `{"reason":"a new scanner"}`, &m); code != 200 || m.Against != (Against{Kind: "window", Window: v.Windows[0].ID}) {
			t.Errorf("%d %+v", code, m.Against)
		}
		for request, field := range map[string]string{
			`PUT  {"segments":[{"name":"a","when":"input."}]}`:                                    "segments[0].when",
			`PUT  {"metrics":[{"name":"a","expression":"1"},{"name":"b","expression":"outcom"}]}`: "metrics[1].expression",
			`PUT  {"against":{"kind":"version"}}`:                                                 "against.version",
			`PUT  {"against":{"kind":"training","until":"2200-01-01T00:00:00Z"}}`:                 "against.until",
			`POST /accept {"reason":"season","until":"2020-01-01T00:00:00Z"}`:                     "until",
			`POST /accept {"reason":"season","until":"2200-01-01T00:00:00Z"}`:                     "until",
			`PUT  {"window":{"every":"1y"}}`:                                                      "window.every",
			`POST /indicators {"items":[{"name":"ghost","value":1}]}`:                             "items[0].name",
			`POST /indicators {"items":[{"name":"cost","value":1e999}]}`:                          "",
			`POST /indicators {"items":[{"name":"cost","value":1,"at":"2999-01-01T00:00:00Z"}]}`:  "items[0].at",
			`POST /backfills {"since":"2026-03-04T00:00:00Z","until":"2026-03-03T00:00:00Z"}`:     "since",
			`POST /accept {"window":"none","reason":"x"}`:                                         "",
			`GET /indicators?cursor=x `:                                                           "cursor",
			`GET /backfills/none `:                                                                "id",
			`POST /windows/none/separation `:                                                      "",
		} {
			method, rest2, _ := strings.Cut(request, " ")
			path, body, _ := strings.Cut(rest2, " ")
			var doc rest.Doc
			if code := call(method, path, body, &doc); code < 400 || code >= 500 || doc.Detail == "" || field != "" && doc.Field != field {
				t.Errorf("%s: %d %+v", request, code, doc)
			}
		}
	})
}

func TestAModelThatCannotAnswerItsDataIsWatchedWithoutAnEstimate(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newClinic(t, d, strings.ReplaceAll(screeningRules, "mean_texture", "mean_area"), "malignant")
		if err := c.EnsureFor(c.ctx, "screening", "screening", dataset.Ref{Dataset: "training"}, 1); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Data.(*dataset.Service).Put(c.ctx, dataset.Dataset{Name: "training"}); err != nil { // it loses its target
			t.Fatal(err)
		}
		c.serve(400, nil)
		w := c.look()
		if len(w) != 1 || w[0].Estimate != nil || !strings.Contains(w[0].Why, "target") {
			t.Errorf("%+v", w)
		}
		if v := c.verdict(); !strings.HasPrefix(v, "unknown") {
			t.Error(v)
		}
	})
}

func TestAMillionCategoriesAreComparedWithinBounds(t *testing.T) {
	words := func(n, from int) []string {
		out := make([]string, n)
		for i := range out {
			out[i] = "category " + strconv.Itoa(from+i)
		}
		return out
	}
	reference := profileOf([]series{{name: "x", words: words(1_000_000, 0)}}, nil)
	if text := db.ToJSON(reference); len(text) > 64<<10 {
		t.Errorf("the column takes %d bytes", len(text))
	}
	for name, c := range map[string]struct {
		window []string
		shift  string
	}{
		"other ones of them":    {words(100_000, 500_000), "none"},
		"ones nobody has seen":  {words(100_000, 5_000_000), "none"}, // of a million rare words none is usual, and a new one tells nothing
		"one only, all of them": {slices.Repeat([]string{"category 0"}, 1000), "moved"},
	} {
		f := compareAll([]series{{name: "x", words: c.window}}, reference, &lore{limits: DefaultLimits()}, nil)[0]
		if f.Shift != c.shift || f.PSI == nil || f.New != nil || len(f.Histogram.Labels) > maxWords+1 {
			t.Errorf("%s: %+v", name, f)
		}
	}
}
