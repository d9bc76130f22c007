package mlflowapi

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"keelson/internal/tracking"
)

func TestRunsWrittenByHandSayWhatEncodingJSONSays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "a<b>&\"c\"\\", "ü\u2028", "\x7f", "\n"}))
		pairs := rapid.MapOfN(text, text, 0, 3)
		var list []tracking.Run
		for range rapid.IntRange(0, 3).Draw(t, "runs") {
			r := tracking.Run{ID: text.Draw(t, "id"), Name: text.Draw(t, "name"), Experiment: "1", Author: text.Draw(t, "author"), Status: "running", Params: pairs.Draw(t, "params"), Tags: pairs.Draw(t, "tags"),
				Started: time.UnixMilli(rapid.Int64Range(0, 1e13).Draw(t, "start")), Deleted: rapid.Bool().Draw(t, "deleted")}
			if rapid.Bool().Draw(t, "ended") {
				r.Ended = r.Started.Add(time.Second)
			}
			for range rapid.IntRange(0, 3).Draw(t, "metrics") {
				r.Metrics = append(r.Metrics, tracking.Point{Key: text.Draw(t, "key"), At: rapid.Int64().Draw(t, "at"), Step: rapid.Int64().Draw(t, "step"), Model: text.Draw(t, "model"),
					Value: rapid.OneOf(rapid.Float64(), rapid.SampledFrom([]float64{math.NaN(), math.Inf(1), math.Inf(-1), 0, math.Copysign(0, -1), 1e21, 1e-7, 0.1})).Draw(t, "value")})
			}
			if rapid.Bool().Draw(t, "data") {
				r.Inputs = []tracking.Input{{Name: text.Draw(t, "data name"), Digest: "d", Tags: map[string]string{"mlflow.data.context": "train"}}}
				r.ModelsOut = []tracking.ModelRef{{Model: "m-1", Step: 3}}
			}
			list = append(list, r)
		}
		next := rapid.SampledFrom([]string{"", "token=="}).Draw(t, "next")
		want := struct {
			Runs []run  `json:"runs,omitempty"`
			Next string `json:"next_page_token,omitempty"`
		}{Next: next}
		for _, r := range list {
			want.Runs = append(want.Runs, fromRun(r))
		}
		b, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var x, y any
		got := appendRuns(nil, list, next)
		if err := json.Unmarshal(got, &x); err != nil {
			t.Fatalf("%v in %s", err, got)
		}
		if err := json.Unmarshal(b, &y); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(x, y) {
			t.Fatalf("got  %s\nwant %s", got, b)
		}
	})
}

func BenchmarkPageOfRuns(b *testing.B) {
	var list []tracking.Run
	for i := range 1000 {
		r := tracking.Run{ID: fmt.Sprintf("%032d", i), Name: fmt.Sprint("run ", i), Experiment: "1", Status: "finished", Started: time.Now(), Ended: time.Now(), Params: map[string]string{}, Tags: map[string]string{}}
		for k := range 10 {
			r.Metrics = append(r.Metrics, tracking.Point{Key: fmt.Sprint("metric_", k), Value: math.Sqrt(float64(i*k + 1)), At: 1_700_000_000_000})
			r.Params[fmt.Sprint("param_", k)] = fmt.Sprint(i * k)
		}
		list = append(list, r)
	}
	b.Run("by hand", func(b *testing.B) {
		for b.Loop() {
			appendRuns(nil, list, "x")
		}
	})
	b.Run("encoding/json", func(b *testing.B) {
		for b.Loop() {
			var out []run
			for _, r := range list {
				out = append(out, fromRun(r))
			}
			if _, err := json.Marshal(out); err != nil {
				b.Fatal(err)
			}
		}
	})
}
