package monitor

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestQuantilesAreKnownByTheNamesOfTheirOutputs(t *testing.T) {
	for name, want := range map[string]float64{"q10": 0.1, "P90": 0.9, "q0.1": 0.1, "p2.5": 0.025, "p97_5": 0.975, "quantile_0.5": 0.5, "q.25": 0.25, "q5": 0.05,
		"q0": 0, "q": 0, "price": 0, "p100": 0, "q1e3": 0, "query1": 0} {
		got, ok := quantileOf(name)
		if ok != (want > 0) || ok && math.Abs(got-want) > 1e-12 {
			t.Errorf("%s: %v %v, want %v", name, got, ok, want)
		}
	}
}

func TestForecastsOfQuantilesAreJudgedByTheirMedianAndTheirPromise(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for name, c := range map[string]struct {
		outputs  []string
		spread   float64 // of the forecasts, 1 is right
		coverage [2]float64
	}{
		"right":                {[]string{"q10", "q50", "q90"}, 1, [2]float64{0.77, 0.83}},
		"too sure":             {[]string{"q10", "q50", "q90"}, 0.5, [2]float64{0.40, 0.56}},
		"in any order":         {[]string{"p90", "p50", "p10"}, 1, [2]float64{0.77, 0.83}},
		"a number before them": {[]string{"mean", "q10", "q90"}, 1, [2]float64{0.77, 0.83}},
	} {
		at := map[string]float64{"q10": -1.2816, "p10": -1.2816, "q90": 1.2816, "p90": 1.2816}
		var rows []labelled
		for range 4000 {
			centre := 100 * rng.Float64()
			var out []outputValue
			for _, o := range c.outputs {
				out = append(out, outputValue{name: o, number: centre + c.spread*at[o]})
			}
			rows = append(rows, labelled{out, centre + rng.NormFloat64()})
		}
		rows = append(rows, labelled{[]outputValue{{name: c.outputs[0], number: nan}, {name: c.outputs[1], number: 1}, {name: c.outputs[2], number: 2}}, 1.5})
		p := evaluate(rows, len(rows))
		if p.Kind != "regression" || math.Abs(p.Metrics["rmse"].V-1) > 0.05 {
			t.Errorf("%s: %s, RMSE %v", name, p.Kind, p.Metrics["rmse"])
		}
		got := p.Metrics["coverage"]
		in := p.Intervals["coverage"]
		if !got.OK() || got.V < c.coverage[0] || got.V > c.coverage[1] || math.Abs(p.Metrics["promised_coverage"].V-0.8) > 1e-9 || !(in.Lower.V < got.V && got.V < in.Upper.V) {
			t.Errorf("%s: coverage %v of %v, %+v", name, got, p.Metrics["promised_coverage"], in)
		}
		if v := p.Metrics["pinball"]; !v.OK() || v.V <= 0 || p.Metrics["crossing"].V != 0 || math.Abs(p.Metrics["width"].V-2*1.2816*c.spread) > 0.01 {
			t.Errorf("%s: %v %v %v", name, v, p.Metrics["crossing"], p.Metrics["width"])
		}
	}
	plain := evaluate([]labelled{{[]outputValue{{name: "y", number: 1}}, 2.5}, {[]outputValue{{name: "y", number: 2}}, 3.5}}, 2)
	if _, ok := plain.Metrics["coverage"]; ok {
		t.Error("a single number has a coverage")
	}
}
