package tracking

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"keelson/internal/bin"
	"keelson/internal/db"
	"keelson/internal/db/dbtest"
)

func TestARunThatWasReadLatelyIsNeverOld(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := service(t, d)
		must[Experiment](t)(s.CreateExperiment(ctx(), "a", nil))
		run := must[Run](t)(s.CreateRun(ctx(), NewRun{Experiment: "1", Name: "first"}))
		other := must[Run](t)(s.CreateRun(ctx(), NewRun{Experiment: "1", Name: "second"}))
		for _, id := range []string{run.ID, other.ID} {
			if err := s.LogBatch(ctx(), id, Batch{Metrics: []Point{{Key: "m", Value: 1}}, Params: []Pair{{"p", "1"}}, Tags: []Pair{{"t", "1"}}}); err != nil {
				t.Fatal(err)
			}
		}
		model := must[LoggedModel](t)(s.CreateModel(ctx(), NewModel{Experiment: "1", Name: "m", Run: run.ID}))
		page := func(s *Service) []Run {
			t.Helper()
			p := must[RunPage](t)(s.PageRuns(ctx(), Search{Experiments: []string{"1"}, Limit: 100}))
			for i := range p.Runs {
				p.Runs[i].changed = 0
				for k := range p.Runs[i].Inputs {
					p.Runs[i].Inputs[k].Logged = time.Time{}
				}
			}
			return p.Runs
		}
		step := 0
		for _, c := range []struct {
			name  string
			write func() error
		}{
			{"a metric", func() error {
				step++
				return s.LogBatch(ctx(), run.ID, Batch{Metrics: []Point{{Key: "m", Value: 2, Step: int64(step)}}})
			}},
			{"a parameter", func() error {
				step++
				return s.LogBatch(ctx(), run.ID, Batch{Params: []Pair{{fmt.Sprint("p", step), "2"}}})
			}},
			{"a tag", func() error { step++; return s.LogBatch(ctx(), run.ID, Batch{Tags: []Pair{{"t", fmt.Sprint(step)}}}) }},
			{"a tag taken", func() error { return s.DeleteTag(ctx(), other.ID, "t") }},
			{"another name", func() error { _, err := s.UpdateRun(ctx(), run.ID, Change{Name: "renamed"}); return err }},
			{"an input", func() error {
				return s.LogInputs(ctx(), run.ID, []Input{{Name: "d", Digest: "1", SourceType: "local", Source: "{}"}}, nil)
			}},
			{"a model out", func() error { return s.LogOutputs(ctx(), run.ID, []ModelRef{{Model: model.ID, Step: 3}}) }},
			{"a run deleted", func() error { return s.DeleteRun(ctx(), other.ID) }},
			{"the run's end", func() error { _, err := s.UpdateRun(ctx(), run.ID, Change{Status: Finished}); return err }},
			{"a model purged", func() error {
				if err := s.DeleteModel(ctx(), model.ID); err != nil {
					return err
				}
				return d.Write(ctx(), func(tx db.Scope) error {
					var g bin.Gone
					return purgeModel(tx, "1", model.ID, &g)
				})
			}},
		} {
			page(s) // what is there now is in memory
			page(s)
			if err := c.write(); err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			fresh := &Service{DB: s.DB, Blobs: s.Blobs, Log: s.Log, Now: s.Now}
			if got, want := page(s), page(fresh); !reflect.DeepEqual(got, want) {
				t.Errorf("after %s a page has\n%+v\nand the database\n%+v", c.name, got, want)
			}
		}
		// What one asker does with an answer is not seen by the next.
		first := page(s)
		first[0].Tags["t"], first[0].Params["p"] = "mine", "mine"
		if again := page(s); again[0].Tags["t"] == "mine" || again[0].Params["p"] == "mine" {
			t.Error("the answer of one asker is changed by another")
		}
	})
}

func TestWhatIsKeptOfRunsIsBounded(t *testing.T) {
	var c recent
	text := string(make([]byte, 8000))
	for i := range 10_000 {
		c.keep("default", []Run{{ID: fmt.Sprint(i), changed: 1, Params: map[string]string{"a": text}}})
	}
	if n := len(c.newer) + len(c.older); n > 2*(recentBytes/8000+1) {
		t.Errorf("%d runs of 8 kB are kept", n)
	}
	if m := c.fill("default", []Run{{ID: "9999", changed: 1}, {ID: "9999", changed: 2}, {ID: "1", changed: 1}, {ID: "9999"}}); fmt.Sprint(m) != "[1 2 3]" {
		t.Errorf("missing are %v", m)
	}
	if m := c.fill("elsewhere", []Run{{ID: "9999", changed: 1}}); len(m) != 1 {
		t.Error("a run of one workspace was given to another")
	}
}
