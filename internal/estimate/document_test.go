package estimate

import (
	"encoding/json"
	"reflect"
	"testing"

	"keelson/internal/boost"
)

func TestStoredEstimatorsEstimateTheSame(t *testing.T) {
	reference, analysis := read(t)
	c, err := Fit(reference.scores, reference.predicted, reference.truth)
	if err != nil {
		t.Fatal(err)
	}
	var again CBPE
	through(t, c, &again)
	a, _ := c.Estimate(analysis.scores, analysis.predicted)
	b, err := again.Estimate(analysis.scores, analysis.predicted)
	if err != nil || !reflect.DeepEqual(a, b) {
		t.Errorf("CBPE: %v %v %v", a, b, err)
	}
	truth := make([]float64, len(reference.scores))
	for i, y := range reference.truth {
		if y {
			truth[i] = 3 * reference.scores[i]
		}
	}
	columns := []boost.Column{{Numbers: reference.scores}}
	d, err := FitDLE(columns, reference.scores, truth, boost.Params{Trees: 10})
	if err != nil {
		t.Fatal(err)
	}
	var later DLE
	through(t, d, &later)
	x, _ := d.Estimate(columns, reference.scores)
	y, err := later.Estimate(columns, reference.scores)
	if err != nil || !reflect.DeepEqual(x, y) {
		t.Errorf("DLE: %v %v %v", x, y, err)
	}
}

func through(t *testing.T, from, into any) {
	t.Helper()
	text, err := json.Marshal(from)
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}
