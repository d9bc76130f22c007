package tracking

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"keelson/internal/bin"
	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/tracking/table"
)

// TestACopyInMemoryFollowsEveryChange changes runs in every way there is and holds what the copy finds against what the
// database finds.
func TestACopyInMemoryFollowsEveryChange(t *testing.T) {
	d := dbtest.SQLite(t)
	s := service(t, d)
	must[Experiment](t)(s.CreateExperiment(ctx(), "a", nil))
	populate(t, d, "1", 400)
	searches := []Search{
		{Order: []string{"metrics.m0 DESC"}},
		{Order: []string{"metrics.m9"}, View: All},
		{Filter: "tags.team = 'team 1' AND params.p0 != 'v1'", Order: []string{"params.p1", "metrics.m1"}},
		{Filter: "metrics.m0 > 1.2"},
		{Filter: "attributes.status = 'FINISHED' and run_name LIKE 'run 1%'", Order: []string{"end_time DESC"}},
		{View: DeletedOnly},
		{Filter: "tags.fresh IS NOT NULL", Order: []string{"run_name"}},
		{Filter: "metrics.m9 != 1 and start_time > 1700000000100"},
		{Filter: "run_id IN ('r1-000003', 'r1-000007', 'r1-000003')"},
		{Filter: "tags.team ILIKE 'TEAM _'", Order: []string{"user_id", "artifact_uri DESC"}},
	}
	for i := range searches {
		searches[i].Experiments, searches[i].Limit = []string{"1"}, 150
	}
	for range 3 {
		for _, v := range searches {
			ids(t, s, v)
			s.Close()
		}
	}
	r := func(i int) string { return fmt.Sprintf("r1-%06d", i) }
	model := must[LoggedModel](t)(s.CreateModel(ctx(), NewModel{Experiment: "1", Name: "m", Run: r(1)}))
	for _, c := range []struct {
		name  string
		write func() error
	}{
		{"a new run", func() error {
			n, err := s.CreateRun(ctx(), NewRun{Experiment: "1", Name: "run 1x", Started: time.UnixMilli(1_700_000_000_200)})
			return errors.Join(err, s.LogBatch(ctx(), n.ID, Batch{Metrics: []Point{{Key: "m0", Value: 99}, {Key: "m1", Value: 1}}, Tags: []Pair{{"team", "team 1"}}}))
		}},
		{"a metric", func() error {
			return s.LogBatch(ctx(), r(2), Batch{Metrics: []Point{{Key: "m0", Value: -99, Step: 9}}})
		}},
		{"a metric that becomes NaN", func() error {
			return s.LogBatch(ctx(), r(3), Batch{Metrics: []Point{{Key: "m0", Value: math.NaN(), Step: 9}}})
		}},
		{"an infinite metric", func() error {
			return s.LogBatch(ctx(), r(4), Batch{Metrics: []Point{{Key: "m0", Value: math.Inf(1), Step: 9}}})
		}},
		{"a tag", func() error { return s.LogBatch(ctx(), r(5), Batch{Tags: []Pair{{"fresh", "yes"}}}) }},
		{"another tag", func() error {
			return s.LogBatch(ctx(), r(6), Batch{Tags: []Pair{{"fresh", "no"}, {"team", "TEAM Ä"}}})
		}},
		{"a tag taken", func() error { return s.DeleteTag(ctx(), r(5), "fresh") }},
		{"another name", func() error { _, err := s.UpdateRun(ctx(), r(7), Change{Name: "run 1y"}); return err }},
		{"the run's end", func() error {
			_, err := s.UpdateRun(ctx(), r(8), Change{Status: Finished, Ended: time.UnixMilli(1_800_000_000_000)})
			return err
		}},
		{"a run deleted", func() error { return s.DeleteRun(ctx(), r(9)) }},
		{"a run restored", func() error { return s.RestoreRun(ctx(), r(9)) }},
		{"many runs at once", func() error {
			for i := range 120 {
				if err := s.LogBatch(ctx(), r(100+i), Batch{Metrics: []Point{{Key: "m0", Value: float64(i % 5), Step: 9}, {Key: "m9", Value: 3, Step: 9}}}); err != nil {
					return err
				}
			}
			return nil
		}},
		{"a run purged", func() error {
			return errors.Join(s.DeleteRun(ctx(), r(10)), d.Write(ctx(), func(tx db.Scope) error {
				var g bin.Gone
				return purgeRun(tx, "1", r(10), &g)
			}))
		}},
		{"a model purged", func() error {
			return errors.Join(s.DeleteModel(ctx(), model.ID), d.Write(ctx(), func(tx db.Scope) error {
				var g bin.Gone
				return purgeModel(tx, "1", model.ID, &g)
			}))
		}},
		{"the experiment deleted", func() error { return s.DeleteExperiment(ctx(), "1") }},
		{"the experiment restored", func() error { return s.RestoreExperiment(ctx(), "1") }},
	} {
		if err := c.write(); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		fresh := &Service{DB: s.DB, Blobs: s.Blobs, Log: s.Log, Now: s.Now}
		hits := s.tables.hits.Load()
		for range 2 { // a copy that no longer fits is made again
			for _, v := range searches {
				got, want := ids(t, s, v), pageWise(t, fresh, v)
				s.Close()
				if !slices.Equal(got, want) {
					t.Errorf("after %s %+v finds\n%v\nand the database\n%v", c.name, v, got, want)
				}
			}
		}
		if s.tables.hits.Load() < hits+int64(len(searches)) {
			t.Errorf("after %s only %d searches were answered from memory", c.name, s.tables.hits.Load()-hits)
		}
		if n := fresh.tables.hits.Load(); n != 0 {
			t.Fatalf("%d of the answers to compare with came from memory", n)
		}
	}
}

// pageWise is ids asked of the database alone.
func pageWise(t *testing.T, s *Service, v Search) (out []string) {
	t.Helper()
	for {
		var p RunPage
		err := s.DB.Read(ctx(), func(tx db.Scope) (err error) { p, err = searchRuns(tx, v, &s.sizes); return err })
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range p.Runs {
			out = append(out, r.ID)
		}
		if v.Token = p.Next; v.Token == "" {
			return out
		}
	}
}

func TestCopiesInMemoryAreBounded(t *testing.T) {
	var c tables
	for i := range 40 {
		h := c.get("default", fmt.Sprint(i))
		h.table = table.New("1")
		h.bytes.Store(tableBytes / 10)
	}
	if n := len(c.held); n > 12 {
		t.Errorf("%d copies of a tenth of the memory each are kept", n)
	}
	if c.get("default", "39").table == nil {
		t.Error("the copy used last is gone")
	}
	if c.get("elsewhere", "39").table != nil {
		t.Error("an experiment of one workspace was given to another")
	}
}
