package monitor

import (
	"encoding/json"
	"math"
	"testing"

	"keelson/internal/prediction"
	"keelson/internal/tensor"
)

// shop sends n queries of five items; the most relevant item gets the highest score, or the lowest if turned. It gives the
// relevances by call.
func (w *world) shop(n int, turned bool) {
	w.t.Helper()
	var list []prediction.Record
	var relevance [][]float64
	for range n {
		var scores, rel []float64
		for _, k := range w.rng.Perm(5) {
			rel = append(rel, float64(max(k-2, 0))) // 0, 0, 0, 1, 2
			s := float64(k) + w.rng.Float64()
			if turned {
				s = -s
			}
			scores = append(scores, s)
		}
		price := make([]float64, 5)
		for i := range price {
			price[i] = 10 * w.rng.Float64()
		}
		list = append(list, prediction.Record{Workspace: "default", Endpoint: "shop", Model: "shop", Version: 1, Slot: prediction.SlotLive, Rows: 5,
			Inputs: []tensor.Tensor{tensor.FP64s("price", []int{5}, price)}, Outputs: []tensor.Tensor{tensor.FP64s("score", []int{5}, scores)}})
		relevance = append(relevance, rel)
	}
	if err := w.calls.Log.AppendAll(w.ctx, list); err != nil {
		w.t.Fatal(err)
	}
	var told []prediction.Outcome
	for i := range list {
		for row, v := range relevance[i] {
			text, _ := json.Marshal(v)
			told = append(told, prediction.Outcome{Prediction: list[i].ID, Row: row, Value: text})
		}
	}
	if _, _, err := w.calls.Record(w.ctx, told); err != nil {
		w.t.Fatal(err)
	}
}

func TestARankingThatTurnsRoundIsAWorseResult(t *testing.T) {
	each(t, func(w *world) {
		if _, err := w.Put(w.ctx, "shop", Change{Ranking: &Ranking{K: 3}}); err != nil {
			t.Fatal(err)
		}
		w.shop(80, false)
		w.tick()
		w.Service = w.again()
		r := w.all("shop")[0]
		p := r.Performance
		if p == nil || p.Kind != "ranking" || p.N != 400 || p.Metrics["queries"].V != 80 || p.Metrics["ndcg"].V < 0.99 || p.Metrics["mrr"].V < 0.99 || r.Estimate != nil || r.Why == "" {
			t.Fatalf("%+v %q", p, r.Why)
		}
		if v, err := w.Verdict(w.ctx, "shop"); err != nil || v.Verdict != "yes" {
			t.Errorf("%v %+v", err, v)
		}
		w.shop(80, true)
		w.tick()
		r = w.all("shop")[1]
		if m := r.Performance.Metrics["ndcg"]; m.V > 0.3 || len(r.Causes) == 0 || r.Causes[len(r.Causes)-1].Metric != "ndcg" || r.Verdict != "no" {
			t.Errorf("turned round: %v, %+v, %s", m, r.Causes, r.Verdict)
		}
		if m, err := w.Put(w.ctx, "shop", Change{Ranking: &Ranking{Off: true}}); err != nil || m.Ranking != nil {
			t.Errorf("%+v %v", m.Ranking, err)
		}
		if _, err := w.Put(w.ctx, "shop", Change{Ranking: &Ranking{K: -1}}); err == nil {
			t.Error("a negative k was taken")
		}
	})
}

func TestQueriesGoByAColumnOrByTheCall(t *testing.T) {
	w := &rows{n: 6, inputs: []series{{name: "session", words: []string{"a", "b", "a", "b", "", "a"}}}, outputs: []series{{name: "s", numbers: []float64{3, 1, 2, 2, 9, nan}}},
		outcomes: []any{1.0, 1.0, 0.0, 0.0, 1.0, 1.0}}
	p := (&Ranking{Query: "session"}).measure(w, nil)
	if p.N != 4 || p.LeftOut != 2 || p.Metrics["queries"].V != 2 || math.Abs(p.Metrics["mrr"].V-0.75) > 1e-9 {
		t.Errorf("by session: %+v", p)
	}
	p = (&Ranking{}).measure(w, []callRows{{"x", 3}, {"y", 3}})
	if p.N != 5 || p.Metrics["queries"].V != 2 || math.Abs(p.Metrics["mrr"].V-1) > 1e-9 {
		t.Errorf("by call: %+v", p)
	}
	w.outcomes = []any{"a word", -1.0, nil, nil, nil, nil}
	if p = (&Ranking{}).measure(w, []callRows{{"x", 6}}); p.N != 0 || p.LeftOut != 2 || p.Metrics["ndcg"].OK() || p.Why["ndcg"] == "" {
		t.Errorf("outcomes that are no relevances: %+v", p)
	}
	w.outcomes = nil
	if p = (&Ranking{}).measure(w, nil); p != nil {
		t.Errorf("without outcomes: %+v", p)
	}
}
