package tracking

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/job"
	"keelson/internal/problem"
)

func foldRun(t testing.TB, s *Service, run string) {
	t.Helper()
	if err := s.fold(ctx(), job.Job{Args: json.RawMessage(`{"run":"` + run + `"}`)}); err != nil {
		t.Fatal(err)
	}
}

// Whatever was logged in whatever order, folded or not, comes back sorted, once, in pages of any size and summed up.
func TestASeriesIsWhatWasLogged(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := service(t, d)
		for seed := range uint64(6) {
			random := rand.New(rand.NewPCG(seed, 1))
			run := must[Run](t)(s.CreateRun(ctx(), NewRun{})).ID
			want := map[string][]Sample{}
			values := []float64{0, 1, -1, math.NaN(), math.Inf(1), math.Inf(-1), 1e300, 0.5}
			for batch := range 14 {
				var points []Point
				for i := range 1 + random.IntN(1000) {
					p := Point{Key: string(rune('a' + random.IntN(2))), Value: values[random.IntN(len(values))]}
					switch seed % 3 {
					case 0: // in order
						p.Step, p.At = int64(batch*1000+i), int64(batch*1000+i)
					case 1: // late points, repeated ones, steps against the time
						p.Step, p.At = int64(random.IntN(3000)-1500), int64(random.IntN(20))
					case 2: // one step, as log_metric without a step gives
						p.At = int64(batch*100 + i/2)
					}
					points = append(points, p)
					want[p.Key] = append(want[p.Key], Sample{p.Step, p.At, p.Value})
				}
				if err := s.LogBatch(ctx(), run, Batch{Metrics: points}); err != nil {
					t.Fatal(err)
				}
				if random.IntN(3) == 0 {
					foldRun(t, s, run)
				}
			}
			summaries, err := s.Summaries(ctx(), run)
			if err != nil || len(summaries) != len(want) {
				t.Fatalf("%d summaries, %v; want %d", len(summaries), err, len(want))
			}
			for i, key := range []string{"a", "b"} {
				for _, limit := range []int{0, 1 + random.IntN(700), 100_000} {
					var got []Sample
					for token := ""; ; {
						page, next, err := history(s, run, key, token, limit)
						if err != nil || limit > 0 && len(page) > limit {
							t.Fatalf("a page of %d for %d: %v", len(page), limit, err)
						}
						got = append(got, page...)
						if token = next; token == "" {
							break
						}
					}
					alike(t, fmt.Sprintf("seed %d, %s, pages of %d", seed, key, limit), got, tidy(slices.Clone(want[key]), true))
				}
				sorted := tidy(slices.Clone(want[key]), false)
				all, err := s.Sample(ctx(), run, key, math.MinInt64, math.MaxInt64, 1_000_000)
				if err != nil || all.Sampled || all.Count != len(sorted) {
					t.Fatalf("%d points, sampled %v, %v; want all %d", all.Count, all.Sampled, err, len(sorted))
				}
				alike(t, "by step", all.Points, sorted)
				part, err := s.Sample(ctx(), run, key, -10, 400, 1_000_000)
				if err != nil {
					t.Fatal(err)
				}
				alike(t, "between two steps", part.Points, slices.DeleteFunc(slices.Clone(sorted), func(p Sample) bool { return p.Step < -10 || p.Step > 400 }))
				m := summaries[i]
				low, high, _ := extremes(sorted)
				if m.Key != key || m.Count != len(sorted) || *m.Low != low || *m.High != high || m.Latest.Step != sorted[len(sorted)-1].Step {
					t.Errorf("seed %d: %s is summed up as %+v (%v, %v), want %d points from %v to %v", seed, key, m, *m.Low, *m.High, len(sorted), low, high)
				}
			}
		}
		if _, err := s.Summaries(ctx(), "nowhere"); !problem.Is(err, problem.NotFound) {
			t.Errorf("a run that is not there gives %v", err)
		}
		for _, token := range []string{"x", "eyJvZmZzZXQiOjN9", "e30="} {
			if _, _, err := history(s, "nowhere", "a", token, 5); !problem.Is(err, problem.Invalid) {
				t.Errorf("the token %q gives %v", token, err)
			}
		}
	})
}

func alike(t *testing.T, what string, got, want []Sample) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d points, want %d", what, len(got), len(want))
	}
	for i := range got {
		if got[i].compare(want[i], false) != 0 {
			t.Fatalf("%s: point %d is %+v, want %+v", what, i, got[i], want[i])
		}
	}
}

// A page goes on after the last point of the one before, whatever was logged and folded between the two.
func TestPagesOfAHistoryNeitherRepeatNorSkipWhileItGrows(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := service(t, d)
		run := must[Run](t)(s.CreateRun(ctx(), NewRun{})).ID
		n := 0
		log := func(at int64) {
			t.Helper()
			var points []Point
			for range 50 {
				points = append(points, Point{Key: "m", Value: float64(n), Step: int64(n), At: at})
				n++
			}
			if err := s.LogBatch(ctx(), run, Batch{Metrics: points}); err != nil {
				t.Fatal(err)
			}
		}
		log(1000)
		log(2000)
		seen := map[float64]int{}
		for token, pages := "", 0; ; pages++ {
			page, next, err := history(s, run, "m", token, 30)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range page {
				seen[p.Value]++
			}
			if token = next; token == "" {
				break
			}
			if pages < 3 {
				log(int64(10 - pages)) // earlier than anything read
				log(int64(3000 + pages))
				foldRun(t, s, run)
			}
		}
		for v := range 100 {
			if seen[float64(v)] != 1 {
				t.Fatalf("point %d was read %d times", v, seen[float64(v)])
			}
		}
		for v, n := range seen {
			if n != 1 {
				t.Errorf("point %v was read %d times", v, n)
			}
		}
	})
}

// However long a series is, only the chunks around the reader's place are open.
func TestALongSeriesIsReadAChunkAtATime(t *testing.T) {
	s := service(t, dbtest.SQLite(t))
	run := must[Run](t)(s.CreateRun(ctx(), NewRun{})).ID
	const batches = 100
	for b := range batches {
		points := make([]Point, 1000)
		for i := range points {
			points[i] = Point{Key: "m", Value: 1, Step: 0, At: int64(b*1000 + i)}
		}
		if err := s.LogBatch(ctx(), run, Batch{Metrics: points}); err != nil {
			t.Fatal(err)
		}
	}
	foldRun(t, s, run)
	for _, byTime := range []bool{true, false} {
		v, err := s.series(ctx(), series{run: run, key: "m", byTime: byTime, from: math.MinInt64, to: math.MaxInt64})
		if err != nil {
			t.Fatal(err)
		}
		n, most := 0, 0
		if err := v.each(func(Sample) (bool, error) { n++; most = max(most, len(v.active)); return true, nil }); err != nil {
			t.Fatal(err)
		}
		if n != batches*1000 || most > 3 {
			t.Errorf("by time %v: %d points, %d chunks open at a time; want %d and at most 3", byTime, n, most, batches*1000)
		}
	}
}

func TestSamplingKeepsPeaks(t *testing.T) {
	for _, c := range []struct{ count, limit int }{{0, 10}, {1, 1}, {2, 1}, {5, 2}, {5, 3}, {10, 10}, {11, 10}, {1000, 4}, {1000, 5}, {4097, 64}, {100_000, 1000}, {99_999, 333}} {
		th := thinner{limit: c.limit}
		peak, dip := c.count/3, c.count/2
		for i := range c.count {
			v := math.Sin(float64(i))
			switch {
			case i == peak:
				v = 1000
			case i == dip:
				v = -1000
			case i%7 == 0:
				v = math.NaN()
			}
			th.add(Sample{Step: int64(i), Value: v})
		}
		got := th.points()
		name := fmt.Sprintf("%d points cut to %d", c.count, c.limit)
		if len(got) > c.limit || len(got) != min(c.count, len(got)) {
			t.Fatalf("%s: %d points", name, len(got))
		}
		if c.count <= c.limit {
			if len(got) != c.count {
				t.Errorf("%s: %d are left", name, len(got))
			}
			continue
		}
		if got[len(got)-1].Step != int64(c.count-1) || c.limit > 1 && got[0].Step != 0 {
			t.Errorf("%s: the first or the last is missing", name)
		}
		has := func(v float64) bool {
			return slices.ContainsFunc(got, func(p Sample) bool { return p.Value == v })
		}
		if c.limit >= 4 && (!has(1000) || !has(-1000)) {
			t.Errorf("%s: the peak or the dip is gone", name)
		}
		if c.limit >= 64 && len(got) < c.limit/4 {
			t.Errorf("%s: only %d are left", name, len(got))
		}
		if !slices.IsSortedFunc(got, func(a, b Sample) int { return int(a.Step - b.Step) }) {
			t.Errorf("%s: not in order", name)
		}
	}
}

// 200 writers at once: every batch that was acknowledged is there, none fails; the short form of the part writers of
// test/bench/tracking.
func TestManyWritersLoseNothing(t *testing.T) {
	lasts := 3 * time.Second
	if testing.Short() {
		lasts = time.Second
	}
	for name, open := range databases() {
		t.Run(name, func(t *testing.T) {
			s := service(t, open(t))
			const writers = 200
			runs := make([]string, writers)
			var sent [writers]int
			var failed atomic.Int64
			var wg sync.WaitGroup
			deadline, cancel := context.WithTimeout(ctx(), lasts)
			defer cancel()
			for w := range writers {
				wg.Go(func() {
					r, err := s.CreateRun(ctx(), NewRun{Name: fmt.Sprint("writer ", w)})
					if err != nil {
						t.Errorf("begin run: %v", err)
						return
					}
					for runs[w] = r.ID; deadline.Err() == nil; sent[w]++ {
						b := Batch{Metrics: make([]Point, 5), Params: []Pair{{fmt.Sprint("p", sent[w]%50), "x"}}, Tags: []Pair{{"at", fmt.Sprint(sent[w])}}}
						for k := range b.Metrics {
							b.Metrics[k] = Point{Key: fmt.Sprint("m", k), Value: float64(sent[w]), Step: int64(sent[w]), At: int64(sent[w])}
						}
						if err := s.LogBatch(ctx(), r.ID, b); err != nil {
							if failed.Add(1) == 1 {
								t.Errorf("log: %v", err)
							}
							return
						}
					}
				})
			}
			wg.Wait()
			total := 0
			for w, run := range runs {
				for k := range 5 {
					h, _, err := history(s, run, fmt.Sprint("m", k), "", 0)
					if err != nil {
						t.Fatal(err)
					}
					for i, p := range h {
						if p.Value != float64(i) {
							t.Fatalf("writer %d: point %d of m%d is %v", w, i, k, p.Value)
						}
					}
					if len(h) != sent[w] {
						t.Fatalf("writer %d: %d points of m%d are there, %d were acknowledged", w, len(h), k, sent[w])
					}
				}
				if r := must[Run](t)(s.Run(ctx(), run)); sent[w] > 0 && (r.Tags["at"] != fmt.Sprint(sent[w]-1) || r.Metrics[0].Value != float64(sent[w]-1)) {
					t.Errorf("writer %d: the last tag is %s and the last value %v, want %d", w, r.Tags["at"], r.Metrics[0].Value, sent[w]-1)
				}
				total += sent[w]
			}
			if total < writers {
				t.Errorf("only %d batches in %s", total, lasts)
			}
		})
	}
}

// databases are those of dbtest without running every write twice, which no server does.
func databases() map[string]func(testing.TB) *db.DB {
	out := map[string]func(testing.TB) *db.DB{"sqlite": func(t testing.TB) *db.DB {
		t.Helper()
		d, err := db.Open(context.Background(), t.TempDir()+"/keelson.db?synchronous=full")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Close() })
		if err := d.Migrate(context.Background()); err != nil {
			t.Fatal(err)
		}
		return d
	}}
	if os.Getenv(dbtest.Postgres) != "" {
		out["postgres"] = dbtest.PostgreSQL
	}
	return out
}

// Two replicas of the API on one database give one parameter one value.
func TestAParameterHasOneValueWhoeverWritesIt(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		a, b := service(t, d), service(t, d)
		run := must[Run](t)(a.CreateRun(ctx(), NewRun{})).ID
		for i := range 20 {
			var wg sync.WaitGroup
			errs := make([]error, 2)
			for k, s := range []*Service{a, b} {
				wg.Go(func() { errs[k] = s.LogBatch(ctx(), run, Batch{Params: []Pair{{fmt.Sprint("p", i), fmt.Sprint(k)}}}) })
			}
			wg.Wait()
			if (errs[0] == nil) == (errs[1] == nil) {
				t.Fatalf("both or none were taken: %v, %v", errs[0], errs[1])
			}
			for _, err := range errs {
				if err != nil && (!problem.Is(err, problem.Invalid) || !strings.Contains(err.Error(), "Changing param values")) {
					t.Fatal(err)
				}
			}
		}
	})
}

// Finding the runs of a group must not depend on how many runs there are.
func TestTheRunsOfAGroupAreFoundByTheirKey(t *testing.T) {
	d := dbtest.SQLite(t)
	for _, n := range []int{1, 3, groupSize} {
		ids := make([]string, n)
		for i := range ids {
			ids[i] = fmt.Sprint(i)
		}
		var plan []string
		if err := d.Read(ctx(), func(tx db.Scope) error {
			q := statesQuery(tx, ids)
			return tx.Each("EXPLAIN QUERY PLAN "+q.String(), q.Values, func(scan func(...any) error) error {
				var id, parent, unused any
				var line string
				err := scan(&id, &parent, &unused, &line)
				plan = append(plan, line)
				return err
			})
		}); err != nil {
			t.Fatal(err)
		}
		if all := strings.Join(plan, "; "); !strings.Contains(all, "SEARCH r USING INDEX sqlite_autoindex_run_1 (workspace=? AND id=?)") {
			t.Errorf("%d runs are found by: %s", n, all)
		}
	}
}
