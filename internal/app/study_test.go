package app_test

import (
	"context"
	"math"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"keelson/client"
	"keelson/internal/app"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/engine"
	"keelson/internal/study"
	"keelson/internal/tensor"
)

// TestAVersionIsStudiedOverItsLoggedCalls asks a linear model, whose contributions, curves and sensitivities are known.
func TestAVersionIsStudiedOverItsLoggedCalls(t *testing.T) {
	a := start(t, func(c *app.Config) { c.Auth = "off" })
	c, err := client.New(client.Config{Server: a.URL})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	doc := `{"format":"keelson-linear-1","intercept":1,"coefficients":{"age":2,"income":-5,"idle":0,"city":{"Bonn":3}}}`
	rows := func(from, n int) []tensor.Tensor {
		var age, income, idle []float64
		var city []string
		for i := from; i < from+n; i++ {
			age, income, idle = append(age, float64(i%10)), append(income, float64((i*7)%10)), append(idle, float64(i%3))
			city = append(city, []string{"Bonn", "Ulm"}[i%2])
		}
		return []tensor.Tensor{tensor.FP64s("age", []int{n}, age), tensor.FP64s("income", []int{n}, income), tensor.FP64s("idle", []int{n}, idle), tensor.Strings("city", []int{n}, city)}
	}
	served(t, c, "bills", map[string][]byte{"model.linear.json": []byte(doc)}, "linear", rows(0, 1), []tensor.Tensor{tensor.FP64s("predict", []int{1, 1}, []float64{4})})
	for i := range 30 {
		if err := c.Infer(ctx, "bills.dev", map[string]any{"inputs": rows(i*10, 10)}, nil); err != nil {
			t.Fatal(err)
		}
	}
	const path = "/api/v1/models/bills/versions/1/study"
	var s study.Standing
	if err := c.Get(ctx, path, &s); err != nil || s.State != study.None || s.Study != nil {
		t.Fatalf("before any: %+v, %v", s, err)
	}
	made := func() study.Standing {
		t.Helper()
		if err := c.Post(ctx, path, nil, &s); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Wait(ctx, func(ctx context.Context) (bool, bool, error) {
			s = study.Standing{}
			err := c.Get(ctx, path, &s)
			return err == nil, err != nil || s.State != study.Making, err
		}); err != nil || s.State != study.Ready || s.Study == nil {
			t.Fatalf("%+v, %v", s, err)
		}
		return s
	}
	got := made().Study
	var names []string
	for _, f := range got.Features {
		names = append(names, f.Name)
	}
	if !slices.Equal(names[:3], []string{"income", "age", "city"}) || got.Rows < 300 || got.Explained != 256 || got.Unit == "" || !strings.Contains(got.Method, "exact") || len(got.Limits) < 4 {
		t.Errorf("%v of %d rows, %d explained, unit %q, method %q, limits %q", names, got.Rows, got.Explained, got.Unit, got.Method, got.Limits)
	}
	shares := 0.0
	for _, f := range got.Features {
		shares += f.Share
		if len(f.Points) != got.Explained {
			t.Errorf("%s has %d points", f.Name, len(f.Points))
		}
		counted := 0
		for _, b := range f.Density {
			counted += b.Count
		}
		if counted != got.Rows {
			t.Errorf("the bars of %s count %d of %d rows", f.Name, counted, got.Rows)
		}
	}
	if math.Abs(shares-1) > 1e-9 {
		t.Errorf("the shares sum to %v", shares)
	}
	income, idle := got.Features[0], got.Features[slices.Index(names, "idle")]
	if income.Direction == nil || *income.Direction > -0.99 || income.Words != "income makes "+strings.Fields(income.Words)[2]+" % of what moves the answers; higher values lower the answer." {
		t.Errorf("%v, %q", income.Direction, income.Words)
	}
	last := len(income.Curve.Values) - 1
	if slope := (income.Curve.Mean[last] - income.Curve.Mean[0]) / (income.Curve.Values[last].(float64) - income.Curve.Values[0].(float64)); math.Abs(slope+5) > 1e-9 {
		t.Errorf("the curve of income falls by %v per unit, want 5", slope)
	}
	if l := income.Curve.Local; l == nil || math.Abs((l.Effect[len(l.Effect)-1]-l.Effect[0])/(l.Edges[len(l.Edges)-1]-l.Edges[0])+5) > 1e-9 {
		t.Errorf("local effects of income: %+v", l)
	}
	if width := got.Features[0].Morris; width == nil || *width.Mean >= 0 || math.Abs(*width.Size+*width.Mean) > 1e-9 || *width.SD > 1e-9 {
		t.Errorf("a linear model's effects are all the same: %+v", width)
	}
	if idle.Importance != 0 || *idle.Morris.Size != 0 || *idle.Total > 1e-9 || idle.Words != "idle did not move any answer of the sample." {
		t.Errorf("idle: %+v", idle)
	}
	digest, at := got.Digest, got.MadeAt
	if again := made().Study; again.Digest != digest || !again.MadeAt.Equal(at) {
		t.Error("the same calls were studied twice")
	}

	t.Run("by itself, once a day and only what changed", func(t *testing.T) {
		var ahead atomic.Int64
		clock := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
		nightly := &study.Service{DB: a.DB, Inventory: a.Inventory, Predictions: a.Predictions, Load: a.Predictions.Version, Log: a.Log, Now: clock, Answering: a.Deployments.Answering}
		look := func() (h study.History) {
			t.Helper()
			if err := nightly.Nightly(caller.System(ctx, "study")); err != nil {
				t.Fatal(err)
			}
			if err := c.Get(ctx, path+"/history", &h); err != nil || !h.Nightly {
				t.Fatalf("%+v, %v", h, err)
			}
			return h
		}
		ask := func(rows []tensor.Tensor) {
			t.Helper()
			for range 30 {
				if err := c.Infer(ctx, "bills.dev", map[string]any{"inputs": rows}, nil); err != nil {
					t.Fatal(err)
				}
			}
		}
		if h := look(); len(h.Studies) != 1 || h.Studies[0].Nightly || h.Studies[0].Shift != nil {
			t.Fatalf("somebody asked for one today: %+v", h)
		}
		ahead.Store(int64(25 * time.Hour))
		if h := look(); len(h.Studies) != 1 {
			t.Fatalf("the same calls were studied again: %+v", h)
		}
		steady := rows(0, 10)
		for i := range steady[1].F64 {
			steady[1].F64[i] = 0 // income no longer moves anything
		}
		ask(steady)
		if h := look(); len(h.Studies) != 1 {
			t.Fatalf("twice a day: %+v", h)
		}
		ahead.Store(int64(50 * time.Hour))
		h := look()
		if len(h.Studies) != 2 || !h.Studies[0].Nightly || h.Studies[0].Shift == nil || h.Studies[1].Shift != nil || len(h.Studies[0].Shares) != 4 {
			t.Fatalf("%+v", h)
		}
		if s := h.Studies[0].Shift; s.Moved < 0.05 || s.Features[0].Name != "income" || s.Features[0].Share >= s.Features[0].Before || !strings.Contains(s.Words, "income") {
			t.Errorf("%+v", s)
		}
		nightly.Answering = nil
		ahead.Store(int64(75 * time.Hour))
		ask(rows(3, 10))
		if err := nightly.Nightly(caller.System(ctx, "study")); err != nil {
			t.Fatal(err)
		}
		if err := c.Get(ctx, path+"/history", &h); err != nil || len(h.Studies) != 2 {
			t.Errorf("switched off it studied: %d, %v", len(h.Studies), err)
		}
	})
	t.Run("a page does not wait for it, and one is made at a time", func(t *testing.T) {
		var answer struct {
			Parameters struct {
				ID string `json:"prediction_id"`
			}
		}
		if err := c.Infer(ctx, "bills.dev", map[string]any{"inputs": rows(0, 1)}, &answer); err != nil {
			t.Fatal(err)
		}
		load, entered, leave := a.Studies.Load, make(chan struct{}, 9), make(chan struct{})
		var first atomic.Bool
		first.Store(true)
		a.Studies.Load = func(ctx context.Context, model string, version int) (engine.Model, error) {
			if first.Swap(false) {
				entered <- struct{}{}
				select {
				case <-leave:
				case <-ctx.Done():
				}
			}
			return load(ctx, model, version)
		}
		jobs := func() (n int) {
			t.Helper()
			if err := a.DB.Read(ctx, func(tx db.Scope) error {
				return tx.QueryRow("SELECT COUNT(*) FROM river_job WHERE kind = $1", study.Kind).Scan(&n)
			}); err != nil {
				t.Fatal(err)
			}
			return n
		}
		before := jobs()
		for range 3 {
			if err := c.Post(ctx, path, nil, &s); err != nil || s.State != study.Making {
				t.Fatalf("%+v, %v", s, err)
			}
		}
		if n := jobs() - before; n != 1 {
			t.Errorf("asked for three times, %d studies are made", n)
		}
		select {
		case <-entered:
		case <-ctx.Done():
			t.Fatal("the study did not begin")
		}
		soon, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		if _, err := a.Studies.Counter(caller.WithWorkspace(soon, caller.DefaultWorkspace), study.Asked{Prediction: answer.Parameters.ID}); err != nil || soon.Err() != nil {
			t.Errorf("while a study is made: %v, %v", err, soon.Err())
		}
		close(leave)
		if _, err := client.Wait(ctx, func(ctx context.Context) (bool, bool, error) {
			err := c.Get(ctx, path, &s)
			return err == nil, err != nil || s.State != study.Making, err
		}); err != nil || s.State != study.Ready {
			t.Errorf("%+v, %v", s.State, err)
		}
	})
	t.Run("two times are compared", func(t *testing.T) {
		middle := time.Now().UTC()
		one := rows(0, 10)
		for i := range one[1].F64 { // income stays the same: nothing is left for it to move
			one[1].F64[i] = 4.5
		}
		for range 5 {
			if err := c.Infer(ctx, "bills.dev", map[string]any{"inputs": one}, nil); err != nil {
				t.Fatal(err)
			}
		}
		var shift study.Shift
		q := url.Values{"since": {middle.Format(time.RFC3339Nano)}}
		if err := c.Get(ctx, path+"/shift?"+q.Encode(), &shift); err != nil {
			t.Fatal(err)
		}
		if shift.Rows != 50 || shift.Against != 256 || shift.Moved <= 0 || len(shift.Features) != 4 || shift.Words == "" {
			t.Errorf("%+v", shift)
		}
		q.Set("since", time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
		if err := c.Get(ctx, path+"/shift?"+q.Encode(), &shift); err == nil || !strings.Contains(err.Error(), "no logged calls") {
			t.Errorf("an empty window: %v", err)
		}
	})
	t.Run("what if", func(t *testing.T) {
		var answer struct {
			Parameters struct {
				ID string `json:"prediction_id"`
			}
		}
		two := []tensor.Tensor{tensor.FP64s("age", []int{2}, []float64{0, 2}), tensor.FP64s("income", []int{2}, []float64{0, 6}), tensor.FP64s("idle", []int{2}, []float64{1, 1}), tensor.Strings("city", []int{2}, []string{"Bonn", "Ulm"})}
		if err := c.Infer(ctx, "bills.dev", map[string]any{"inputs": two}, &answer); err != nil { // the second: 1 + 4 − 30 = −25
			t.Fatal(err)
		}
		path := "/api/v1/predictions/" + answer.Parameters.ID + "/what-if"
		counted := func() int {
			var page struct{ Items []struct{ ID string } }
			if err := c.Get(ctx, "/api/v1/predictions?endpoint=bills.dev&limit=1000", &page); err != nil {
				t.Fatal(err)
			}
			return len(page.Items)
		}
		logged := counted()
		var w study.WhatIf
		if err := c.Post(ctx, path, map[string]any{"row": 1}, &w); err != nil || w.Before != -25 || w.After != -25 || len(w.Changes) != 0 || w.Rows != 2 {
			t.Fatalf("nothing changed: %+v, %v", w, err)
		}
		byName := map[string]study.Input{}
		for _, in := range w.Inputs {
			byName[in.Name] = in
		}
		if in := byName["income"]; in.Kind != "number" || in.Value != 6.0 || in.Min == nil || *in.Min != 0 || *in.Max != 9 || !strings.Contains(in.From, "logged rows") || !in.Missing {
			t.Errorf("income: %+v", in)
		}
		if in := byName["city"]; in.Kind != "text" || in.Value != "Ulm" || !slices.Equal(in.Choices, []string{"Bonn", "Ulm"}) {
			t.Errorf("city: %+v", in)
		}
		if err := c.Post(ctx, path, map[string]any{"row": 1, "values": map[string]any{"income": 20, "city": "Bonn"}}, &w); err != nil || w.Before != -25 || w.After != 1+4-100+3 {
			t.Fatalf("%+v, %v", w, err)
		}
		if len(w.Changes) != 2 || w.Changes[0].Words != "income up from 6 to 20" || len(w.Reasons) != 4 || w.Reasons[0].Name != "income" || w.Method == "" {
			t.Errorf("changes %+v, reasons %+v by %q", w.Changes, w.Reasons, w.Method)
		}
		sum := w.Base
		for _, f := range w.Reasons {
			sum += f.Contribution
		}
		if math.Abs(sum-w.Total) > 1e-9 || math.Abs(w.Total-w.After) > 1e-9 {
			t.Errorf("base and contributions make %v, total %v, the answer is %v", sum, w.Total, w.After)
		}
		for _, in := range w.Inputs {
			if in.Outside != (in.Name == "income") {
				t.Errorf("%s outside of the range: %v", in.Name, in.Outside)
			}
		}
		if err := c.Post(ctx, path, map[string]any{"row": 1, "values": map[string]any{"city": "Kiel"}}, &w); err != nil || w.After != -25 { // a text nobody ever sent
			t.Errorf("an unknown text: %+v, %v", w, err)
		}
		if n := counted(); n != logged {
			t.Errorf("asking what if left %d predictions in the log, %d were there", n, logged)
		}
		for want, body := range map[string]any{"no feature": map[string]any{"values": map[string]any{"agee": 1}}, "no row 2": map[string]any{"row": 2}, "no value of age": map[string]any{"values": map[string]any{"age": "old"}},
			"no value of city": map[string]any{"values": map[string]any{"city": 4}}, "age, which is FP64": map[string]any{"values": map[string]any{"age": []int{1}}}} {
			if err := c.Post(ctx, path, body, &w); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v: %v, want %s", body, err, want)
			}
		}
	})
	t.Run("another answer", func(t *testing.T) {
		var answer struct {
			Parameters struct {
				ID string `json:"prediction_id"`
			}
		}
		one := []tensor.Tensor{tensor.FP64s("age", []int{1}, []float64{2}), tensor.FP64s("income", []int{1}, []float64{6}), tensor.FP64s("idle", []int{1}, []float64{1}), tensor.Strings("city", []int{1}, []string{"Ulm"})}
		if err := c.Infer(ctx, "bills.dev", map[string]any{"inputs": one}, &answer); err != nil { // 1 + 4 − 30 = −25
			t.Fatal(err)
		}
		path := "/api/v1/predictions/" + answer.Parameters.ID + "/counterfactual"
		var o study.Other
		if err := c.Get(ctx, path+"?threshold=-20&hold=age", &o); err != nil {
			t.Fatal(err)
		}
		if !o.Found || !o.Above || o.Answer != -25 || o.Nearest == nil || len(o.Nearest.Changes) != 1 || o.Nearest.Changes[0].Feature != "income" || math.Abs(o.Nearest.Changes[0].To.(float64)-5) > 1e-6 || o.Nearest.Answer < -20 {
			t.Errorf("%+v, nearest %+v", o, o.Nearest)
		}
		if len(o.Real) != 3 || o.Real[0].Distance > o.Real[1].Distance || o.Real[0].Prediction == "" || o.Real[0].Answer < -20 {
			t.Errorf("logged rows: %+v", o.Real)
		}
		for query, want := range map[string]string{"?hold=agee": "no feature", "?row=3": "no row 3", "?threshold=NaN": "finite number", "?threshold=-1000&hold=age,income,idle": "-1000"} {
			err := c.Get(ctx, path+query, &o)
			if want == "-1000" { // nothing is below it, nothing may change
				if err != nil || o.Found || o.Why == "" || len(o.Real) != 0 {
					t.Errorf("%s: %+v, %v", query, o, err)
				}
				continue
			}
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", query, err)
			}
		}
	})
}
