package tracking

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"keelson/internal/db"
	"keelson/internal/db/dbtest"
)

// listed are the searches whose speed and plans are held.
var listed = []struct {
	name   string
	search Search
}{
	{"newest", Search{Limit: 100}},
	{"metric order", Search{Limit: 100, Order: []string{"metrics.m0 DESC"}}},
	{"metric order, page of 1000", Search{Limit: 1000, Order: []string{"metrics.m0 DESC"}}},
	{"metric range and its order", Search{Limit: 100, Filter: "metrics.m0 > 0.5", Order: []string{"metrics.m0 DESC"}}},
	{"metric range, param, order of another metric", Search{Limit: 100, Filter: "metrics.m0 > 0.5 AND params.p0 = 'v1'", Order: []string{"metrics.m1 DESC"}}},
	{"tag prefix, order of a param, then of a metric", Search{Limit: 100, Filter: "tags.team LIKE 'team 1%'", Order: []string{"params.p1", "metrics.m1"}}},
	{"status and prefix of the name", Search{Limit: 100, Filter: "attributes.status = 'FINISHED' and attributes.run_name LIKE 'run 12%'", Order: []string{"start_time DESC"}}},
	{"metric range, one param in ten, metric order", Search{Limit: 100, Filter: "metrics.m0 > 0.5 AND params.p3 = '3'", Order: []string{"metrics.m0 DESC"}}},
	{"rare param", Search{Limit: 100, Filter: "params.p2 = 'v77'"}},
	{"one in a hundred, metric order", Search{Limit: 100, Filter: "params.p1 = 'v7'", Order: []string{"metrics.m1"}}},
	{"common tag, newest", Search{Limit: 100, Filter: "tags.team = 'team 1'"}},
	{"narrow metric range, newest", Search{Limit: 100, Filter: "metrics.m3 > 3"}},
	{"run name", Search{Limit: 100, Filter: "run_name = 'run 77'"}},
	{"metric with gaps", Search{Limit: 100, Order: []string{"metrics.m9"}}},
	{"all experiments, newest", Search{Limit: 100, Anywhere: true}},
	{"no metric loaded, metric order", Search{Limit: 100, Order: []string{"metrics.m0 DESC"}, Columns: &Columns{Metrics: []string{"m0"}, Params: []string{"p0"}}}},
}

// BenchmarkSearch measures the listed searches over 5,000 runs, or as many as KEELSON_BENCH_RUNS says, on SQLite and,
// where there is one, PostgreSQL.
func BenchmarkSearch(b *testing.B) {
	runs := 5000
	if v := os.Getenv("KEELSON_BENCH_RUNS"); v != "" {
		if _, err := fmt.Sscan(v, &runs); err != nil {
			b.Fatal(err)
		}
	}
	bases := map[string]func(testing.TB) *db.DB{"sqlite": dbtest.SQLite}
	if os.Getenv(dbtest.Postgres) != "" {
		bases["postgres"] = dbtest.PostgreSQL
	}
	for name, open := range bases {
		d := open(b)
		s := service(b, d)
		must[Experiment](b)(s.CreateExperiment(ctx(), "a", nil))
		populate(b, d, "1", runs)
		for _, c := range listed {
			v := c.search
			if !v.Anywhere {
				v.Experiments = []string{"1"}
			}
			b.Run(name+"/"+c.name, func(b *testing.B) {
				var took []time.Duration
				for b.Loop() {
					begin := time.Now()
					if _, err := s.PageRuns(ctx(), v); err != nil {
						b.Fatal(err)
					}
					took = append(took, time.Since(begin))
				}
				slices.Sort(took)
				b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
			})
		}
	}
}
