package tracking

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"keelson/internal/blob"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/job"
	"keelson/internal/problem"
)

func service(t testing.TB, d *db.DB) *Service {
	t.Helper()
	b, err := blob.Open(context.Background(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return &Service{DB: d, Blobs: b, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Now: time.Now}
}

func ctx() context.Context {
	return caller.With(context.Background(), caller.Caller{ID: "u1", Name: "ada", Kind: caller.Person})
}

// history reads a page of points.
func history(s *Service, run, key, token string, limit int) (out []Sample, next string, err error) {
	next, err = s.History(ctx(), run, key, token, limit, func(p Sample) error { out = append(out, p); return nil })
	return out, next, err
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestExperiments(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s, ctx := service(t, d), ctx()
		if e := must[Experiment](t)(s.Experiment(ctx, "0")); e.Name != "Default" {
			t.Errorf("experiment 0 is %q, want Default", e.Name)
		}
		e := must[Experiment](t)(s.CreateExperiment(ctx, "screening", []Pair{{"team", "a"}}))
		if e.ID != "1" {
			t.Errorf("first experiment has id %s, want 1", e.ID)
		}
		if _, err := s.CreateExperiment(ctx, "screening", nil); !problem.Is(err, problem.Conflict) {
			t.Errorf("a name taken gives %v, want a conflict", err)
		}
		if err := s.SetExperimentTag(ctx, "1", Pair{"team", "b"}); err != nil {
			t.Fatal(err)
		}
		r := must[Run](t)(s.CreateRun(ctx, NewRun{Experiment: "1"}))
		if err := s.DeleteExperiment(ctx, "1"); err != nil {
			t.Fatal(err)
		}
		if got := must[Run](t)(s.Run(ctx, r.ID)); !got.Deleted {
			t.Error("a run of a deleted experiment is not deleted")
		}
		if _, err := s.CreateRun(ctx, NewRun{Experiment: "1"}); !problem.Is(err, problem.Invalid) {
			t.Errorf("a run in a deleted experiment gives %v", err)
		}
		other := must[Experiment](t)(s.CreateExperiment(ctx, "screening", nil))
		if err := s.RestoreExperiment(ctx, "1"); !problem.Is(err, problem.Conflict) {
			t.Errorf("restoring beside a namesake gives %v, want a conflict", err)
		}
		if err := s.RenameExperiment(ctx, other.ID, "second"); err != nil {
			t.Fatal(err)
		}
		if err := s.RestoreExperiment(ctx, "1"); err != nil {
			t.Fatal(err)
		}
		back := must[Experiment](t)(s.ExperimentNamed(ctx, "screening"))
		if back.ID != "1" || back.Deleted || back.Tags["team"] != "b" {
			t.Errorf("restored experiment is %+v", back)
		}
		list, next, err := s.SearchExperiments(ctx, Search{Filter: "name LIKE 's%'", Order: []string{"name DESC"}, Limit: 1})
		if err != nil || len(list) != 1 || list[0].Name != "second" || next == "" {
			t.Fatalf("got %+v %q %v, want one page with second", list, next, err)
		}
		list, next, err = s.SearchExperiments(ctx, Search{Filter: "name LIKE 's%'", Order: []string{"name DESC"}, Limit: 1, Token: next})
		if err != nil || len(list) != 1 || list[0].Name != "screening" || next != "" {
			t.Fatalf("got %+v %q %v, want the last page with screening", list, next, err)
		}
		if list, _, err := s.SearchExperiments(caller.WithWorkspace(ctx, "elsewhere"), Search{Limit: 10}); err != nil || len(list) != 1 || list[0].Name != "Default" {
			t.Errorf("another workspace sees %+v %v, want its own default only", list, err)
		}
	})
}

func TestLatestMetricAndHistory(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s, ctx := service(t, d), ctx()
		r := must[Run](t)(s.CreateRun(ctx, NewRun{}))
		log := func(points ...Point) {
			t.Helper()
			if err := s.LogBatch(ctx, r.ID, Batch{Metrics: points}); err != nil {
				t.Fatal(err)
			}
		}
		log(Point{Key: "loss", Value: 3, Step: 2, At: 20})
		log(Point{Key: "loss", Value: 9, Step: 1, At: 99}, Point{Key: "loss", Value: 1, Step: -5, At: 1})
		log(Point{Key: "loss", Value: 3, Step: 2, At: 20}) // once more the same
		log(Point{Key: "loss", Value: 2, Step: 2, At: 20})
		log(Point{Key: "odd", Value: math.NaN()}, Point{Key: "up", Value: math.Inf(1)}, Point{Key: "down", Value: math.Inf(-1)})
		check := func(when string) {
			t.Helper()
			got := map[string]Point{}
			for _, p := range must[Run](t)(s.Run(ctx, r.ID)).Metrics {
				got[p.Key] = p
			}
			if p := got["loss"]; p.Value != 3 || p.Step != 2 {
				t.Errorf("%s: latest loss is %+v, want 3 at step 2: the greatest by step, time and value", when, p)
			}
			if !math.IsNaN(got["odd"].Value) || !math.IsInf(got["up"].Value, 1) || !math.IsInf(got["down"].Value, -1) {
				t.Errorf("%s: NaN and infinities came back as %+v", when, got)
			}
			h, _, err := history(s, r.ID, "loss", "", 0)
			if err != nil {
				t.Fatal(err)
			}
			var values []float64
			for _, p := range h {
				values = append(values, p.Value)
			}
			if !slices.Equal(values, []float64{1, 2, 3, 9}) {
				t.Errorf("%s: history is %v, want 1 2 3 9 by time, the repeated point once", when, values)
			}
		}
		check("before folding")
		fold := job.Job{Args: json.RawMessage(`{"run":"` + r.ID + `"}`)}
		for range 2 {
			if err := s.fold(ctx, fold); err != nil {
				t.Fatal(err)
			}
			check("after folding")
		}
		log(Point{Key: "loss", Value: 3, Step: 2, At: 20})
		check("after folding and logging")
		page, next, err := history(s, r.ID, "loss", "", 3)
		if err != nil || len(page) != 3 || next == "" {
			t.Fatalf("first page: %v %q %v", page, next, err)
		}
		page, next, err = history(s, r.ID, "loss", next, 3)
		if err != nil || len(page) != 1 || next != "" {
			t.Errorf("last page: %v %q %v", page, next, err)
		}
	})
}

func TestFoldingManyPointsLosesNone(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s, ctx := service(t, d), ctx()
		r := must[Run](t)(s.CreateRun(ctx, NewRun{}))
		const batches, size = 12, 1000
		for b := range batches {
			var points []Point
			for i := range size {
				points = append(points, Point{Key: "m", Value: float64(i), Step: int64(b*size + i), At: int64(i)})
			}
			if err := s.LogBatch(ctx, r.ID, Batch{Metrics: points}); err != nil {
				t.Fatal(err)
			}
			if b%5 == 4 {
				if err := s.fold(ctx, job.Job{Args: json.RawMessage(`{"run":"` + r.ID + `"}`)}); err != nil {
					t.Fatal(err)
				}
			}
		}
		h, _, err := history(s, r.ID, "m", "", 0)
		if err != nil || len(h) != batches*size {
			t.Errorf("%d points came back (%v), want %d", len(h), err, batches*size)
		}
	})
}

func TestBatches(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s, ctx := service(t, d), ctx()
		r := must[Run](t)(s.CreateRun(ctx, NewRun{}))
		ok := Batch{Params: []Pair{{"lr", "0.1"}}, Tags: []Pair{{"mlflow.runName", "renamed"}}}
		for range 2 {
			if err := s.LogBatch(ctx, r.ID, ok); err != nil {
				t.Fatalf("the same parameter again: %v", err)
			}
		}
		err := s.LogBatch(ctx, r.ID, Batch{Params: []Pair{{"new", "1"}, {"lr", "0.2"}}, Metrics: []Point{{Key: "m", Value: 1}}})
		if !problem.Is(err, problem.Invalid) || !strings.Contains(err.Error(), "Changing param values is not allowed") {
			t.Errorf("another value gives %v", err)
		}
		got := must[Run](t)(s.Run(ctx, r.ID))
		if got.Name != "renamed" || len(got.Params) != 1 || len(got.Metrics) != 0 {
			t.Errorf("after a refused batch the run is %+v; the batch must leave nothing", got)
		}
		if err := s.LogBatch(ctx, "nowhere", ok); !problem.Is(err, problem.NotFound) {
			t.Errorf("an unknown run gives %v", err)
		}
		if err := s.LogInputs(ctx, r.ID, nil, []ModelRef{{Model: strings.Repeat("x", 4000)}}); !problem.Is(err, problem.Invalid) {
			t.Errorf("an input whose model_id is no identifier gives %v", err)
		}
		if err := s.DeleteRun(ctx, r.ID); err != nil {
			t.Fatal(err)
		}
		if err := s.LogBatch(ctx, r.ID, ok); !problem.Is(err, problem.Invalid) {
			t.Errorf("a deleted run gives %v", err)
		}
		for _, b := range []Batch{
			{Metrics: make([]Point, MaxBatchMetrics+1)},
			{Params: []Pair{{"a", "1"}, {"a", "2"}}},
			{Params: []Pair{{"a", strings.Repeat("x", MaxParamValue+1)}}},
			{Tags: []Pair{{"../a", "1"}}},
			{Metrics: []Point{{Key: "m", Model: strings.Repeat("x", MaxModelID+1)}}},
			{Metrics: []Point{{Key: "m", Model: "m-1", Dataset: strings.Repeat("x", MaxDatasetName+1)}}},
			{Metrics: []Point{{Key: "m", Model: "m-1", DatasetDigest: strings.Repeat("x", MaxDatasetDigest+1)}}},
		} {
			if err := s.LogBatch(ctx, r.ID, b); !problem.Is(err, problem.Invalid) {
				t.Errorf("a batch over the limits gives %v", err)
			}
		}
	})
}

func TestConcurrentBatchesShareTransactionsAndLoseNothing(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s, ctx := service(t, d), ctx()
		var runs []string
		for range 4 {
			runs = append(runs, must[Run](t)(s.CreateRun(ctx, NewRun{})).ID)
		}
		const writers, each = 16, 20
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for i := range each {
					b := Batch{Metrics: []Point{{Key: fmt.Sprintf("w%d", w), Value: float64(i), Step: int64(i)}}, Params: []Pair{{fmt.Sprintf("p%d", w), "x"}}}
					if err := s.LogBatch(ctx, runs[w%4], b); err != nil {
						t.Errorf("writer %d: %v", w, err)
					}
					if err := s.LogBatch(ctx, "nowhere", b); !problem.Is(err, problem.NotFound) {
						t.Errorf("a refusal inside a group gives %v", err)
					}
				}
			})
		}
		wg.Wait()
		for w := range writers {
			h, _, err := history(s, runs[w%4], fmt.Sprintf("w%d", w), "", 0)
			if err != nil || len(h) != each {
				t.Errorf("writer %d: %d points (%v), want %d", w, len(h), err, each)
			}
		}
	})
}

func TestSearchRuns(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s, ctx := service(t, d), ctx()
		at := time.UnixMilli(1_700_000_000_000)
		add := func(name string, acc float64, tag string) {
			t.Helper()
			at = at.Add(time.Second)
			r := must[Run](t)(s.CreateRun(ctx, NewRun{Name: name, Started: at}))
			b := Batch{Params: []Pair{{"depth", name}}}
			if acc >= 0 || math.IsNaN(acc) {
				b.Metrics = []Point{{Key: "acc", Value: acc}}
			}
			if tag != "" {
				b.Tags = []Pair{{"kind of", tag}}
			}
			if err := s.LogBatch(ctx, r.ID, b); err != nil {
				t.Fatal(err)
			}
		}
		add("a", 0.5, "Red")
		add("b", 0.9, "red")
		add("c", -1, "")
		add("d", math.NaN(), "b_ue*")
		for _, c := range []struct {
			name   string
			search Search
			want   string
		}{
			{"the newest comes first", Search{}, "d c b a"},
			{"a metric filters", Search{Filter: "metrics.acc > 0.6"}, "b"},
			{"NaN is unequal to every number", Search{Filter: "metrics.acc != 0.5"}, "d b"},
			{"NaN is in no range", Search{Filter: "metrics.acc >= 0"}, "b a"},
			{"a parameter filters", Search{Filter: "params.depth = 'c'"}, "c"},
			{"LIKE tells capitals apart", Search{Filter: "tags.`kind of` LIKE 'r%'"}, "b"},
			{"ILIKE does not", Search{Filter: "tags.`kind of` ILIKE 'r%'"}, "b a"},
			{"a star is no wildcard", Search{Filter: "tags.`kind of` LIKE '%e*'"}, "d"},
			{"absence can be asked for", Search{Filter: "tags.`kind of` IS NULL"}, "c"},
			{"times are in milliseconds", Search{Filter: "attributes.start_time > 1700000002000"}, "d c"},
			{"clauses are joined by AND", Search{Filter: "run_name != 'a' AND status = 'RUNNING' AND metrics.acc >= 0"}, "b"},
			{"ascending order puts NaN and missing last", Search{Order: []string{"metrics.acc"}}, "a b d c"},
			{"descending order does so too", Search{Order: []string{"metrics.acc DESC"}}, "b a d c"},
			{"a name orders", Search{Order: []string{"attributes.run_name"}}, "a b c d"},
			{"deleted only finds none", Search{View: DeletedOnly}, ""},
		} {
			t.Run(c.name, func(t *testing.T) {
				c.search.Experiments = []string{"0"}
				var got []string
				for c.search.Limit = 3; ; { // pages of three
					runs, next, err := s.SearchRuns(ctx, c.search)
					if err != nil {
						t.Fatal(err)
					}
					for _, r := range runs {
						got = append(got, r.Name)
					}
					if c.search.Token = next; next == "" {
						break
					}
				}
				if strings.Join(got, " ") != c.want {
					t.Errorf("got %v, want %s", got, c.want)
				}
			})
		}
	})
}

func TestFilesAndLoggedModels(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s, ctx := service(t, d), ctx()
		r := must[Run](t)(s.CreateRun(ctx, NewRun{}))
		root := ArtifactRoot("0", r.ID)
		for _, p := range []string{"a.txt", "dir/b.txt", "dir/sub/c.txt", "dir.x", "dir/%41 é.txt"} {
			if _, err := s.PutFile(ctx, root, p, strings.NewReader("content of "+p)); err != nil {
				t.Fatal(err)
			}
		}
		names := func(folder string) (out []string) {
			t.Helper()
			for _, a := range must[[]Artifact](t)(s.List(ctx, root, folder)) {
				if a.Folder {
					a.Path += "/"
				}
				out = append(out, a.Path)
			}
			return out
		}
		if got := names(""); !slices.Equal(got, []string{"a.txt", "dir.x", "dir/"}) {
			t.Errorf("root lists %q", got)
		}
		if got := names("dir"); !slices.Equal(got, []string{"dir/%41 é.txt", "dir/b.txt", "dir/sub/"}) {
			t.Errorf("dir lists %q", got)
		}
		f, _, _, err := s.OpenFile(ctx, root, "dir/%41 é.txt")
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(f)
		f.Close()
		if string(b) != "content of dir/%41 é.txt" {
			t.Errorf("read %q", b)
		}
		for _, p := range []string{"a.txt/x", "dir", "../x", ""} {
			if _, err := s.PutFile(ctx, root, p, strings.NewReader("")); !problem.Is(err, problem.Invalid) {
				t.Errorf("writing %q gives %v, want a refusal", p, err)
			}
		}
		if _, err := s.PutFile(ctx, ArtifactRoot("7", r.ID), "x", strings.NewReader("")); !problem.Is(err, problem.NotFound) {
			t.Errorf("a root of another experiment gives %v", err)
		}
		if err := s.DeleteFiles(ctx, root, "dir"); err != nil {
			t.Fatal(err)
		}
		if got := names(""); !slices.Equal(got, []string{"a.txt", "dir.x"}) {
			t.Errorf("after deleting dir the root lists %q", got)
		}
		m := must[LoggedModel](t)(s.CreateModel(ctx, NewModel{Experiment: "0", Name: "tree", Run: r.ID, Kind: "xgboost", Params: []Pair{{"depth", "3"}}}))
		must[LoggedModel](t)(s.FinishModel(ctx, m.ID, ModelReady))
		must[LoggedModel](t)(s.TagModel(ctx, m.ID, []Pair{{"x", "y"}}))
		if err := s.LogBatch(ctx, r.ID, Batch{Metrics: []Point{{Key: "acc", Value: 0.9, Model: m.ID, Dataset: "test"}}}); err != nil {
			t.Fatal(err)
		}
		list, _, err := s.SearchModels(ctx, Search{Experiments: []string{"0"}, Filter: "metrics.acc > 0.5 AND tags.x = 'y' AND name = 'tree'", Order: []string{"metrics.acc DESC"}, Limit: 5})
		if err != nil || len(list) != 1 || list[0].Status != ModelReady || list[0].Params["depth"] != "3" || len(list[0].Metrics) != 1 {
			t.Errorf("search gives %+v %v", list, err)
		}
		other := must[LoggedModel](t)(s.CreateModel(ctx, NewModel{Experiment: "0", Name: "forest", Run: r.ID}))
		if err := s.LogBatch(ctx, r.ID, Batch{Metrics: []Point{{Key: "acc", Value: 0.2, Model: m.ID, Dataset: "train", DatasetDigest: "d1", At: 5}, {Key: "acc", Value: 0.5, Model: other.ID, Dataset: "test", DatasetDigest: "d2"}}}); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			name   string
			search Search
			want   string
		}{
			{"metrics on some data count only", Search{Filter: "metrics.acc > 0.1", Datasets: []DatasetRef{{Name: "train"}}}, "tree"},
			{"data alone ask for any metric on them", Search{Datasets: []DatasetRef{{Name: "train", Digest: "d1"}, {Name: "test", Digest: "d2"}}}, "forest tree"},
			{"another digest is other data", Search{Datasets: []DatasetRef{{Name: "train", Digest: "d9"}}}, ""},
			{"the metric measured last orders", Search{Order: []string{"metrics.acc DESC"}}, "forest tree"},
			{"an order may look at one data set", Search{Order: []string{"metrics.acc DESC"}, OrderData: map[int]DatasetRef{0: {Name: "test"}}}, "tree forest"},
			{"what has no metric on the data comes last", Search{Order: []string{"metrics.acc"}, OrderData: map[int]DatasetRef{0: {Name: "train"}}}, "tree forest"},
		} {
			c.search.Experiments, c.search.Limit = []string{"0"}, 1
			var got []string
			for ok := true; ok; ok = c.search.Token != "" {
				list, next, err := s.SearchModels(ctx, c.search)
				if err != nil {
					t.Fatalf("%s: %v", c.name, err)
				}
				for _, m := range list {
					got = append(got, m.Name)
				}
				c.search.Token = next
			}
			if g := strings.Join(got, " "); g != c.want {
				t.Errorf("%s: got %q, want %q", c.name, g, c.want)
			}
		}
		if err := s.DeleteModel(ctx, m.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Model(ctx, m.ID); !problem.Is(err, problem.NotFound) {
			t.Errorf("a deleted logged model gives %v", err)
		}
	})
}

// BenchmarkLogBatch stores batches of 100 metrics with 8 writers.
func BenchmarkLogBatch(b *testing.B) {
	for _, keys := range []int{1, 100} {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			s, ctx := service(b, dbtest.SQLite(b)), ctx()
			var wg sync.WaitGroup
			const writers = 8
			b.ResetTimer()
			for w := range writers {
				r := must[Run](b)(s.CreateRun(ctx, NewRun{}))
				wg.Go(func() {
					for i := range b.N / writers {
						points := make([]Point, 100)
						for k := range points {
							points[k] = Point{Key: fmt.Sprintf("metric_%d", k%keys), Value: float64(i), Step: int64(i*100 + k), At: int64(i + w)}
						}
						if err := s.LogBatch(ctx, r.ID, Batch{Metrics: points}); err != nil {
							b.Error(err)
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "batches/s")
		})
	}
}
