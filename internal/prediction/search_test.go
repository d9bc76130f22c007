package prediction

import (
	"context"
	"strings"
	"testing"

	"keelson/internal/blob/blobtest"
	"keelson/internal/db/dbtest"
	"keelson/internal/engine"
	"keelson/internal/problem"
	"keelson/internal/tensor"
)

func TestSearchingByValues(t *testing.T) {
	ctx := context.Background()
	l := openLog(t, t.TempDir(), nil)
	s := newService(t, dbtest.SQLite(t), l, blobtest.Dir(t))
	s.Signature = func(_ context.Context, model string, version int) (engine.Signature, error) {
		return engine.Signature{Inputs: []engine.Spec{{Name: "features", Columns: []string{"age", "income"}}}}, nil
	}
	put := func(r Record) string {
		t.Helper()
		r.Workspace, r.Endpoint, r.Model, r.Slot = "default", "scores", "scores", SlotLive
		if err := l.Append(ctx, &r, Group); err != nil {
			t.Fatal(err)
		}
		return r.ID
	}
	matrix := func(v ...float64) []tensor.Tensor {
		return []tensor.Tensor{tensor.FP64s("features", []int{len(v) / 2, 2}, v)}
	}
	young := put(Record{Version: 1, Caller: "bank", Rows: 1, Inputs: matrix(20, 1000), Outputs: []tensor.Tensor{tensor.FP64s("score", []int{1}, []float64{0.9})}})
	mixed := put(Record{Version: 2, Caller: "shop", Rows: 2, Inputs: matrix(70, 10, 30, 9000), Outputs: []tensor.Tensor{tensor.FP64s("score", []int{2}, []float64{0.1, 0.8})}})
	words := put(Record{Version: 2, Caller: "bank", Rows: 1, Inputs: []tensor.Tensor{tensor.Strings("city", []int{1}, []string{"Lyon"}), tensor.FP64s("age", []int{1}, []float64{41})},
		Outputs: []tensor.Tensor{tensor.FP64s("probabilities", []int{1, 3}, []float64{0.1, 0.2, 0.7})}})
	failed := put(Record{Version: 2, Caller: "bank", Rows: 1, Inputs: matrix(50, 50), Error: "it broke"})
	name := map[string]string{young: "young", mixed: "mixed", words: "words", failed: "failed"}
	cases := []struct {
		name, filter string
		want         []string
	}{
		{"no filter selects all", "", []string{"failed", "words", "mixed", "young"}},
		{"who called", "caller = 'bank' AND version = 2", []string{"failed", "words"}},
		{"what failed", "error LIKE '%broke%'", []string{"failed"}},
		{"a column of a matrix by its name", "input.age > 60", []string{"mixed"}},
		{"a column and a tensor of the same name", "input.age >= 41 AND input.age <= 50", []string{"failed", "words"}},
		{"values of different rows do not meet", "input.age > 60 AND input.income > 5000", nil},
		{"values of one row do", "input.age < 60 AND input.income > 5000", []string{"mixed"}},
		{"an input and the output of its row", "input.age > 60 AND output.score < 0.2", []string{"mixed"}},
		{"and not of another row", "input.age > 60 AND output.score > 0.5", nil},
		{"a place of a matrix", "input.`features[1]` = 1000", []string{"young"}},
		{"any value of a wide output", "output.probabilities > 0.6", []string{"words"}},
		{"one value of a wide output", "output.`probabilities[0]` > 0.6", nil},
		{"a word", "input.city = 'Lyon'", []string{"words"}},
		{"words in a list", "input.city IN ('Lyon', 'Oslo')", []string{"words"}},
		{"a number as text", "input.age = '20'", []string{"young"}},
		{"what is not there meets nothing", "input.shoe != 3", nil},
		{"the end of an identifier", "id LIKE '%" + young[len(young)-6:] + "'", []string{"young"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			cursor := ""
			for range 10 { // page by page, two records each
				list, next, err := s.Search(ctx, Query{After: cursor}, c.filter, 2)
				if err != nil {
					t.Fatal(err)
				}
				for _, r := range list {
					got = append(got, name[r.ID])
				}
				if cursor = next; next == "" {
					break
				}
			}
			if len(got) != len(c.want) {
				t.Fatalf("got %v, want %v", got, c.want)
			}
			for i := range got {
				if got[i] != c.want[i] {
					t.Fatalf("got %v, want %v", got, c.want)
				}
			}
		})
	}
	var file strings.Builder
	old, err := s.Where(ctx, "input.age > 60")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := s.stream(ctx, &file, "jsonl", Query{Where: old}); err != nil || n != 1 || !strings.Contains(file.String(), mixed) {
		t.Errorf("an export of the same filter has %d records: %s (%v)", n, file.String(), err)
	}
	for _, bad := range []string{"input.age >", "input.age > 'old'", "shoe = 'x'", "latency_us = 'slow'", "input = 3", "caller = bank"} {
		if _, _, err := s.Search(ctx, Query{}, bad, 2); !problem.Is(err, problem.Invalid) {
			t.Errorf("%q: %v, want Invalid", bad, err)
		}
	}
}
