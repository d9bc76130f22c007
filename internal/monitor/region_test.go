package monitor

import (
	"context"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"

	"keelson/internal/dataset"
	"keelson/internal/prediction"
	"keelson/internal/tensor"
)

// examine sends n patients, one a call and one tensor per measurement; change may alter a measurement.
func (w *world) examine(n int, change func(column string, radius, v float64) float64) {
	w.t.Helper()
	radius, _ := w.patients.Column("mean_radius")
	var list []prediction.Record
	for range n {
		i := w.rng.IntN(w.patients.Rows)
		var in []tensor.Tensor
		for k := range w.patients.Columns {
			c := &w.patients.Columns[k]
			if c.Type != dataset.Float {
				continue
			}
			v := c.Numbers[i]
			if change != nil {
				v = change(c.Name, radius.Numbers[i], v)
			}
			in = append(in, tensor.FP64s(c.Name, []int{1}, []float64{v}))
		}
		score := 0.5 + 0.4*math.Tanh(in[0].Float64(0)-14) // the first is mean_radius
		if change != nil {
			score = change("answer", radius.Numbers[i], score)
		}
		list = append(list, prediction.Record{Workspace: "default", Endpoint: "screening", Model: "screening", Version: 1, Slot: prediction.SlotLive, Rows: 1,
			Inputs: in, Outputs: []tensor.Tensor{tensor.FP64s("probability", []int{1}, []float64{score})}})
	}
	if err := w.calls.Log.AppendAll(w.ctx, list); err != nil {
		w.t.Fatal(err)
	}
}

func TestAShiftWithinASegmentIsFoundAlthoughAllRowsTogetherHold(t *testing.T) {
	each(t, func(w *world) {
		w.ensure("screening", 1)
		segments := []Segment{{Name: "large", When: "input.mean_radius > 16.0"}, {Name: "others", When: "input.mean_radius <= 16.0"}, {Name: "nobody", When: "input.mean_radius > 1000.0"},
			{Name: "by answer", When: "output.probability > 0.5"}, {Name: "by ward", Column: "ward", Value: "north"}}
		if _, err := w.Put(w.ctx, "screening", Change{Segments: &segments, Window: &Window{Rows: 600}}); err != nil {
			t.Fatal(err)
		}
		w.examine(600, nil)
		w.tick()
		quiet := w.all("screening")[0]
		if quiet.Breached || len(quiet.Regions) != 5 || quiet.Furthest != nil {
			t.Fatalf("a quiet window: %+v %+v", quiet.Causes, quiet.Regions)
		}
		w.Service = w.again() // what was learnt of the reference is learnt again
		w.examine(600, func(column string, radius, v float64) float64 {
			if radius <= 16 {
				return v
			}
			if column == "mean_texture" {
				return v + 7
			}
			if column == "answer" {
				return 1 - v
			}
			return v
		})
		w.tick()
		r := w.all("screening")[1]
		by := map[string]Region{}
		for _, one := range r.Regions {
			by[one.Name] = one
		}
		large := by["large"]
		if large.Shift != "moved" || large.Features[0].Name != "mean_texture" || large.Features[0].Direction != "up" || large.ShareWas == nil || large.Rows < 50 || large.ReferenceRows < 50 {
			t.Errorf("the large ones: %+v", large)
		}
		if len(large.Predictions) != 1 || large.Predictions[0].Shift != "moved" {
			t.Errorf("their answers: %+v", large.Predictions)
		}
		if one := by["others"]; one.Moved != 0 || one.Compared != 11 {
			t.Errorf("the others: %+v", one)
		}
		for name, why := range map[string]string{"nobody": "the reference has 0 rows of it", "by answer": "the reference has 0 rows of it", "by ward": "no column \"ward\""} {
			if one := by[name]; one.Shift != "unknown" || !strings.Contains(one.Why, why) {
				t.Errorf("%s: %+v", name, one)
			}
		}
		if f := r.Furthest; f == nil || f.Segment != "large" || f.Value <= f.Limit || f.Overall == nil || *f.Overall >= f.Value {
			t.Errorf("the furthest: %+v", f)
		}
		keys := []string{}
		for _, c := range r.Causes {
			keys = append(keys, c.Key())
		}
		if all := strings.Join(keys, " "); !strings.Contains(all, "data:mean_texture:segment=large") {
			t.Errorf("causes: %s", all)
		}
		v, err := w.Verdict(w.ctx, "screening")
		if err != nil || v.Verdict != "watch" || !strings.Contains(strings.Join(v.Reasons, " "), "mean_texture in large up (") {
			t.Errorf("%v %+v", err, v)
		}
		if _, err := json.Marshal(r); err != nil {
			t.Error(err)
		}
	})
}

// embed sends n calls of an embedding of 128 numbers, moved by offset, and an age.
func (w *world) embed(n int, offset float64, broken int) {
	w.t.Helper()
	var list []prediction.Record
	for i := range n {
		v := make([]float32, 128)
		for k := range v {
			v[k] = float32(w.rng.NormFloat64() + offset)
		}
		if i < broken {
			v[3] = float32(math.NaN())
		}
		age := []float64{40 + 20*w.rng.Float64()}
		list = append(list, prediction.Record{Workspace: "default", Endpoint: "texts", Model: "texts", Version: 1, Slot: prediction.SlotLive, Rows: 1,
			Inputs:  []tensor.Tensor{tensor.FP32s("text", []int{1, 128}, v), tensor.FP64s("age", []int{1}, age)},
			Outputs: []tensor.Tensor{tensor.FP64s("score", []int{1}, []float64{w.rng.Float64()})}})
	}
	if err := w.calls.Log.AppendAll(w.ctx, list); err != nil {
		w.t.Fatal(err)
	}
}

func TestAnEmbeddingThatMovedIsAFindingAndItsColumnsAreNot(t *testing.T) {
	each(t, func(w *world) {
		if _, err := w.Put(w.ctx, "texts", Change{Embeddings: &[]Embedding{{Name: "meaning", Input: "text"}}}); err != nil {
			t.Fatal(err)
		}
		w.embed(400, 0, 0)
		w.tick()
		if first := w.all("texts")[0]; len(first.Embeddings) != 0 || len(first.Features) != 1 || first.Breached {
			t.Fatalf("the window that becomes the reference: %+v", first)
		}
		w.embed(400, 0, 7)
		w.tick()
		r := w.all("texts")[1]
		if len(r.Embeddings) != 1 || r.Embeddings[0].Shift != "none" || r.Embeddings[0].Columns != 128 || r.Embeddings[0].LeftOut != 7 || r.Embeddings[0].Found || r.Breached {
			t.Fatalf("alike: %+v %+v", r.Embeddings, r.Causes)
		}
		w.Service = w.again()
		w.embed(400, 0.4, 0)
		w.tick()
		r = w.all("texts")[2]
		if e := r.Embeddings[0]; e.Shift != "moved" || e.MMD.V < e.Limit || e.PValue.V > 0.01 || len(r.Causes) != 1 || r.Causes[0].Key() != "data:meaning" || r.Causes[0].Metric != "mmd" {
			t.Errorf("moved: %+v %+v", r.Embeddings, r.Causes)
		}
		w.embed(400, 0.4, 380)
		w.tick()
		r = w.all("texts")[3]
		if e := r.Embeddings[0]; e.Shift != "unknown" || e.Why == "" || e.MMD.OK() {
			t.Errorf("vectors that are not whole: %+v", e)
		}
		none := []Embedding{}
		if _, err := w.Put(w.ctx, "texts", Change{Embeddings: &none}); err != nil {
			t.Fatal(err)
		}
		w.embed(400, 0.4, 0)
		w.tick()
		r = w.all("texts")[4]
		if len(r.Embeddings) != 1 || !r.Embeddings[0].Found || r.Embeddings[0].Name != "f" || r.Embeddings[0].Shift != "moved" || len(r.Features) != 129 {
			t.Errorf("an embedding that nobody declared: %+v, %d columns", r.Embeddings, len(r.Features))
		}
	})
}

func TestEmbeddingsAreChosenByNamePatternOrInput(t *testing.T) {
	var all []series
	for _, name := range []string{"age", "emb_0", "emb_1", "emb_x", "text_0", "text_1", "f0", "f1", "word"} {
		s := series{name: name, numbers: []float64{1}}
		if name == "word" {
			s = series{name: name, words: []string{"a"}}
		}
		all = append(all, s)
	}
	for want, e := range map[string]Embedding{
		"emb_0 emb_1 emb_x": {Columns: []string{"emb_*"}},
		"age emb_1":         {Columns: []string{"emb_1", "age", "word"}},
		"text_0 text_1":     {Input: "text"},
		"f0 f1":             {Input: "x"},
	} {
		if got := strings.Join(e.of(all), " "); got != want {
			t.Errorf("%+v: %q, want %q", e, got, want)
		}
	}
}

func TestTheOrderInWhichInputsComeIsNoReasonToReadTheReferenceAgain(t *testing.T) {
	each(t, func(w *world) {
		w.ensure("screening", 1)
		if _, err := w.Put(w.ctx, "screening", Change{Window: &Window{Rows: 300}}); err != nil {
			t.Fatal(err)
		}
		of := dataset.Ref{Dataset: "patients", Version: 1}
		m, state, reads := Monitor{Endpoint: "screening"}, &versionState{}, 0
		read := func(context.Context, dataset.Ref) ([]series, map[string]string, error) {
			reads++
			return []series{{name: "a", numbers: []float64{1, 2, 3}}, {name: "b", numbers: []float64{3, 2, 1}}}, nil, nil
		}
		for _, order := range [][]series{{{name: "a"}, {name: "b"}}, {{name: "b"}, {name: "a"}}, {{name: "b"}}} {
			came := columnNames(order)
			if err := w.learnParts(w.ctx, &m, state, &Result{Reference: of}, nil, order, read); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(columnNames(order), came) {
				t.Errorf("the window's own columns are in another order: %v", columnNames(order))
			}
		}
		if reads != 2 {
			t.Errorf("the reference was read %d times, want once and once more for a column less", reads)
		}
	})
}
