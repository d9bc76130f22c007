package boost

import (
	"encoding/json"
	"slices"
	"testing"
)

func TestAStoredModelPredictsTheSame(t *testing.T) {
	columns, target := table(3, 600)
	m, err := Fit(columns, target, Squared, Params{Trees: 20})
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var again Model
	if err := json.Unmarshal(text, &again); err != nil {
		t.Fatal(err)
	}
	a, _ := m.Predict(columns)
	b, err := again.Predict(columns)
	if err != nil || !slices.Equal(a, b) || slices.Max(a) == slices.Min(a) {
		t.Errorf("other predictions after reading it again: %v", err)
	}
}

func FuzzReadModel(f *testing.F) {
	columns, target := table(4, 100)
	m, err := Fit(columns, target, Squared, Params{Trees: 2})
	if err != nil {
		f.Fatal(err)
	}
	text, _ := json.Marshal(m)
	f.Add(text)
	f.Add([]byte(`{"cuts":[{"count":1}],"trees":[[[1,2,0,0,0,0,0,0,0,0,0,0,0]]],"scale":1}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var m Model
		if json.Unmarshal(text, &m) == nil && len(m.cuts) == len(columns) {
			_, _ = m.Predict(columns) // must end and not panic
		}
	})
}
