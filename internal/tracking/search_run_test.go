package tracking

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/db/find"
	"keelson/internal/filter"
	"keelson/internal/problem"
)

// populate writes runs with 10 metrics, 10 parameters and 3 tags each straight into the tables. Metric m9 is there for
// every second run only and NaN for every twentieth; parameter p0 has 4 values, p1 100, p2 one per run.
func populate(t testing.TB, d *db.DB, experiment string, runs int) {
	t.Helper()
	r := rand.New(rand.NewPCG(7, uint64(runs)))
	const base = 1_700_000_000_000_000
	for from := 0; from < runs; from += 500 {
		err := d.Write(context.Background(), func(tx db.Scope) error {
			rows := map[string][][]any{}
			add := func(table string, v ...any) { rows[table] = append(rows[table], v) }
			for i := from; i < min(from+500, runs); i++ {
				id := fmt.Sprintf("r%s-%06d", experiment, (i*7919)%runs)
				add("run (workspace, id, experiment, name, author, status, deleted, started_at, ended_at, changed)", tx.Workspace, id, experiment, fmt.Sprint("run ", i), "ada",
					[]string{Running, Finished}[i%2], 0, base+int64(i)*1000, base+int64(i)*2000, 1)
				for m := range 10 {
					v, kind := r.NormFloat64(), 0
					if m == 9 {
						if i%2 == 1 {
							continue
						}
						if i%20 == 0 {
							v, kind = 0, 1
						}
					}
					add("metric_latest (workspace, run, key, value, kind, step, at_ms, experiment)", tx.Workspace, id, fmt.Sprint("m", m), v, kind, 1, 1, experiment)
				}
				for p := range 10 {
					v := fmt.Sprint(r.IntN(50))
					switch p {
					case 0:
						v = fmt.Sprint("v", i%4)
					case 1:
						v = fmt.Sprint("v", i%100)
					case 2:
						v = fmt.Sprint("v", i)
					}
					add("run_param (workspace, run, key, value, experiment)", tx.Workspace, id, fmt.Sprint("p", p), v, experiment)
				}
				add("run_tag (workspace, run, key, value, experiment)", tx.Workspace, id, TagName, fmt.Sprint("run ", i), experiment)
				add("run_tag (workspace, run, key, value, experiment)", tx.Workspace, id, TagUser, "ada", experiment)
				add("run_tag (workspace, run, key, value, experiment)", tx.Workspace, id, "team", fmt.Sprint("team ", i%3), experiment)
			}
			for table, list := range rows {
				for part := range slices.Chunk(list, 100) {
					q := find.New(tx)
					q.Add(`INSERT INTO ` + table + ` VALUES `)
					for i, row := range part {
						if i > 0 {
							q.Add(", ")
						}
						var marks []string
						for _, v := range row {
							m := q.Arg(v)
							if !d.Postgres() { // binding numbered ones takes longer than the insert
								m = "?"
							}
							marks = append(marks, m)
						}
						q.Add("(" + strings.Join(marks, ", ") + ")")
					}
					if _, err := tx.Exec(q.String(), q.Values...); err != nil {
						return err
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if d.Postgres() {
		if _, err := d.Writer().Exec("ANALYZE"); err != nil {
			t.Fatal(err)
		}
	}
}

// ids pages through a search and joins the ids of the runs.
func ids(t testing.TB, s *Service, v Search) []string {
	t.Helper()
	var out []string
	for range 10000 {
		p, err := s.PageRuns(ctx(), v)
		if err != nil {
			t.Fatalf("%+v: %v", v, err)
		}
		for _, r := range p.Runs {
			out = append(out, r.ID)
		}
		if len(p.Runs) > v.Limit {
			t.Fatalf("a page of %d holds %d", v.Limit, len(p.Runs))
		}
		if v.Token = p.Next; v.Token == "" {
			return out
		}
	}
	t.Fatal("the pages do not end")
	return nil
}

// model is the search in plain Go: what the statements must find.
func model(runs []Run, v Search) (out []string) {
	clauses, _ := filter.Parse(v.Filter, filter.Runs)
	orders, _ := filter.ParseOrder(v.Order, filter.Runs)
	metric := func(r Run, key string) (float64, bool) {
		for _, m := range r.Metrics {
			if m.Key == key {
				return m.Value, true
			}
		}
		return 0, false
	}
	number := func(a float64, op string, b float64) bool {
		return map[string]bool{"=": a == b, "!=": a != b, "<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}[op]
	}
	meets := func(r Run, c filter.Clause) bool {
		var text string
		ok := true
		switch {
		case c.Entity == filter.Metric:
			x, has := metric(r, c.Key)
			return has && number(x, c.Op, c.Number)
		case c.Entity == filter.Param:
			text, ok = r.Params[c.Key]
		case c.Entity == filter.Tag:
			text, ok = r.Tags[c.Key]
		case c.Key == "started_at":
			return number(float64(r.Started.UnixMicro()), c.Op, c.Number*1000)
		default:
			text = map[string]string{"id": r.ID, "name": r.Name, "status": strings.ToUpper(r.Status)}[c.Key]
		}
		switch c.Op {
		case filter.IsNull:
			return !ok
		case filter.IsNotNull:
			return ok
		case filter.Eq:
			return ok && text == c.Text
		case filter.Ne:
			return ok && text != c.Text
		case filter.In:
			return slices.Contains(c.List, text)
		case filter.Like: // the tests use '%x%' and 'x%' only
			if i := strings.Index(text, strings.Trim(c.Text, "%")); i != 0 || c.Text[0] == '%' {
				return ok && i >= 0 && c.Text[0] == '%'
			}
			return ok
		}
		panic(c.Op)
	}
	var found []Run
	for _, r := range runs {
		if (v.Anywhere || slices.Contains(v.Experiments, r.Experiment)) && (v.View == All || r.Deleted == (v.View == DeletedOnly)) &&
			!slices.ContainsFunc(clauses, func(c filter.Clause) bool { return !meets(r, c) }) {
			found = append(found, r)
		}
	}
	slices.SortFunc(found, func(a, b Run) int {
		for _, o := range orders {
			n, ra, rb := 0, 0, 0
			switch o.Entity {
			case filter.Metric:
				rank := func(r Run) (float64, int) {
					v, ok := metric(r, o.Key)
					if !ok {
						return 0, 2
					}
					if math.IsNaN(v) {
						return 0, 1
					}
					return v, 0
				}
				var x, y float64
				x, ra = rank(a)
				y, rb = rank(b)
				n = cmp.Compare(x, y)
			case filter.Attribute:
				if n = strings.Compare(a.Name, b.Name); o.Key == "started_at" {
					n = a.Started.Compare(b.Started)
				}
			default:
				of := func(r Run) (string, int) {
					m := r.Params
					if o.Entity == filter.Tag {
						m = r.Tags
					}
					if v, ok := m[o.Key]; ok {
						return v, 0
					}
					return "", 1
				}
				var x, y string
				x, ra = of(a)
				y, rb = of(b)
				n = strings.Compare(x, y)
			}
			if o.Desc {
				n = -n
			}
			if n = cmp.Or(ra-rb, n); n != 0 {
				return n
			}
		}
		return cmp.Or(b.Started.Compare(a.Started), strings.Compare(a.ID, b.ID))
	})
	for _, r := range found {
		out = append(out, r.ID)
	}
	return out
}

// TestEveryWayFindsTheSame searches at random and holds what is found, page by page, against plain Go. Few runs make
// clauses selective, many make the walks happen.
func TestEveryWayFindsTheSame(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := service(t, d)
		for _, n := range []string{"a", "b"} {
			must[Experiment](t)(s.CreateExperiment(ctx(), n, nil))
		}
		populate(t, d, "1", 700)
		populate(t, d, "2", 60)
		if err := d.Write(ctx(), func(tx db.Scope) error {
			for _, q := range []string{
				`UPDATE run SET deleted = 1 WHERE workspace = $1 AND id LIKE '%7'`,
				`UPDATE metric_latest SET value = 1 WHERE workspace = $1 AND key = 'm8'`, // all alike: the closing terms decide
				`UPDATE run SET started_at = started_at / 8000 * 8000 WHERE workspace = $1`,
			} {
				if _, err := tx.Exec(q, tx.Workspace); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		var all []Run
		for _, v := range []string{ActiveOnly, DeletedOnly} {
			p, err := s.PageRuns(ctx(), Search{Experiments: []string{"1", "2"}, View: v, Limit: 5000})
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, p.Runs...)
		}
		if len(all) != 760 {
			t.Fatalf("%d runs, want 760", len(all))
		}
		r := rand.New(rand.NewPCG(3, 4))
		pick := func(list ...string) string { return list[r.IntN(len(list))] }
		for range 150 {
			v := Search{Limit: []int{7, 50, 300, 1000}[r.IntN(4)], View: pick(ActiveOnly, ActiveOnly, DeletedOnly, All)}
			switch r.IntN(4) {
			case 0:
				v.Anywhere = true
			case 1:
				v.Experiments = []string{"1", "2"}
			case 2:
				v.Experiments = []string{"2"}
			default:
				v.Experiments = []string{"1"}
			}
			var clauses []string
			for range r.IntN(3) {
				clauses = append(clauses, pick("metrics.m0 > 1.5", "metrics.m0 <= 0.1", "metrics.m9 != 0", "metrics.m9 > 0", "params.p0 = 'v1'", "params.p1 = 'v7'", "params.p2 = 'v33'", "params.p1 != 'v3'",
					"params.p1 LIKE '%1%'", "params.p1 LIKE 'v1%'", "run_name LIKE 'run 12%'", "tags.team LIKE 'team 1'", "tags.team = 'team 1'", "tags.nothing IS NULL", "params.p0 IS NOT NULL", "status = 'FINISHED'", "run_name = 'run 5'", "start_time > 1700000000300",
					"run_id IN ('r1-000007', 'r1-000008', 'r2-000017')", "params.nothing = 'x'"))
			}
			v.Filter = strings.Join(clauses, " AND ")
			for _, o := range []string{"metrics.m0", "metrics.m9", "metrics.m8", "params.p1", "tags.team", "run_name", "start_time", "metrics.nothing"} {
				if r.IntN(6) == 0 {
					v.Order = append(v.Order, o+pick("", " DESC"))
				}
			}
			r.Shuffle(len(v.Order), func(i, j int) { v.Order[i], v.Order[j] = v.Order[j], v.Order[i] })
			got, want := ids(t, s, v), model(all, v)
			s.Close()
			if !slices.Equal(got, want) {
				for i := range min(len(got), len(want)) {
					if got[i] != want[i] {
						t.Errorf("place %d is %s, want %s", i, got[i], want[i])
						break
					}
				}
				t.Fatalf("%+v\nfinds %d runs, want %d", v, len(got), len(want))
			}
		}
		if n := s.tables.hits.Load(); !d.Postgres() && n < 50 {
			t.Errorf("%d pages came from memory; both ways should be tried", n)
		}
	})
}

// TestSearchesReadNoTableWhole asks both databases how they would find the runs of the listed searches: never by reading
// a table of runs, points, parameters or tags from end to end.
func TestSearchesReadNoTableWhole(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := service(t, d)
		must[Experiment](t)(s.CreateExperiment(ctx(), "a", nil))
		populate(t, d, "1", 1500)
		for _, c := range listed {
			v := c.search
			if !v.Anywhere {
				v.Experiments = []string{"1"}
			}
			err := d.Read(ctx(), func(tx db.Scope) error {
				if d.Postgres() { // on so few rows it would rightly read them all; what counts is that it need not
					if _, err := tx.Exec("SET LOCAL enable_seqscan = off"); err != nil {
						return err
					}
				}
				f, err := newFinder(tx, v, "r", runSide, filter.Runs)
				if err != nil {
					return err
				}
				statements := 0
				f.seen = func(b *find.Builder) {
					statements++
					for _, line := range explain(t, tx, b) {
						bad := strings.Contains(line, "Seq Scan on")
						if !d.Postgres() {
							// One workspace is usually all there is, so a search by workspace alone reads all.
							bad = strings.HasPrefix(line, "SCAN ") && !strings.Contains(line, "json_each") && !strings.HasPrefix(line, "SCAN (subquery") && !strings.HasPrefix(line, "SCAN u") && !strings.HasPrefix(line, "SCAN t") || strings.HasSuffix(line, "(workspace=?)")
						}
						if bad {
							t.Errorf("%s: %s\nin the plan of %s", c.name, line, b.String())
						}
					}
				}
				if _, _, _, err = f.runs(&totals{}); statements == 0 {
					t.Errorf("%s: no statement was shown", c.name)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	})
}

// explain gives the lines of a statement's plan.
func explain(t *testing.T, tx db.Scope, b *find.Builder) (lines []string) {
	t.Helper()
	how, columns := "EXPLAIN QUERY PLAN ", 4
	if tx.Postgres() {
		how, columns = "EXPLAIN ", 1
	}
	err := tx.Each(how+b.String(), b.Values, func(scan func(...any) error) error {
		line := ""
		dest := []any{new(any), new(any), new(any), &line}[4-columns:]
		err := scan(dest...)
		lines = append(lines, strings.TrimSpace(line))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func TestPagesNeitherRepeatNorSkipWhileOthersWrite(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := service(t, d)
		must[Experiment](t)(s.CreateExperiment(ctx(), "a", nil))
		populate(t, d, "1", 600)
		stay := map[string]bool{} // runs that nobody touches
		for _, id := range ids(t, s, Search{Experiments: []string{"1"}, Limit: 1000}) {
			stay[id] = !strings.HasSuffix(id, "3")
		}
		for _, v := range []Search{
			{Order: []string{"metrics.m0 DESC"}},
			{Order: []string{"metrics.m9"}},
			{Order: []string{"params.p1", "metrics.m1 DESC"}},
			{},
			{Filter: "params.p0 = 'v1'", Order: []string{"metrics.m0"}},
		} {
			stop := make(chan struct{})
			var wg sync.WaitGroup
			wg.Go(func() { // begins runs that come first and last, and deletes and restores others; for a while, since pages end only where runs do
				for i := range 1500 {
					select {
					case <-stop:
						return
					default:
					}
					r, err := s.CreateRun(ctx(), NewRun{Experiment: "1", Started: time.UnixMilli(1_600_000_000_000 + int64(i%2)*900_000_000_000)})
					if err == nil {
						err = s.LogBatch(ctx(), r.ID, Batch{Metrics: []Point{{Key: "m0", Value: float64(i%7) - 3, At: 1}, {Key: "m9", Value: float64(i%5) - 2, At: 1}}, Params: []Pair{{"p0", "v1"}, {"p1", fmt.Sprint("v", i%100)}}})
					}
					gone := fmt.Sprintf("r1-%06d", i%60*10+3)
					if err == nil {
						err = s.DeleteRun(ctx(), gone)
					}
					if err == nil && i%2 == 0 {
						err = s.RestoreRun(ctx(), gone)
					}
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
			v.Experiments, v.Limit = []string{"1"}, 23
			seen := map[string]int{}
			for _, id := range ids(t, s, v) {
				seen[id]++
			}
			close(stop)
			wg.Wait()
			for id, n := range seen {
				if n > 1 {
					t.Errorf("%v: run %s came %d times", v.Order, id, n)
				}
			}
			for id, untouched := range stay {
				if untouched && seen[id] == 0 && v.Filter == "" {
					t.Errorf("%v: run %s was skipped", v.Order, id)
				}
			}
		}
	})
}

func TestATokenIsGoodForItsSearchOnly(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := service(t, d)
		must[Experiment](t)(s.CreateExperiment(ctx(), "a", nil))
		populate(t, d, "1", 30)
		v := Search{Experiments: []string{"1"}, Limit: 5, Order: []string{"metrics.m0"}, Filter: "metrics.m0 > -9"}
		_, token, err := s.SearchRuns(ctx(), v)
		if err != nil || token == "" {
			t.Fatal(token, err)
		}
		flip := []byte(token)
		flip[len(flip)/2] ^= 1
		for _, c := range []struct {
			name   string
			search Search
			says   string
		}{
			{"another filter is refused", Search{Experiments: v.Experiments, Order: v.Order, Filter: "metrics.m0 > -8", Token: token}, "belongs to another search"},
			{"another order is refused", Search{Experiments: v.Experiments, Order: []string{"metrics.m0 DESC"}, Filter: v.Filter, Token: token}, "belongs to another search"},
			{"another experiment is refused", Search{Experiments: []string{"0"}, Order: v.Order, Filter: v.Filter, Token: token}, "belongs to another search"},
			{"another view is refused", Search{Experiments: v.Experiments, Order: v.Order, Filter: v.Filter, View: All, Token: token}, "belongs to another search"},
			{"a changed token is refused", Search{Experiments: v.Experiments, Order: v.Order, Filter: v.Filter, Token: string(flip)}, "Invalid page token"},
			{"garbage is refused", Search{Experiments: v.Experiments, Order: v.Order, Filter: v.Filter, Token: "%%%"}, "Invalid page token"},
			{"a token of offsets is refused", Search{Experiments: v.Experiments, Order: v.Order, Filter: v.Filter, Token: "eyJvZmZzZXQiOiA1fQ=="}, "Invalid page token"},
		} {
			c.search.Limit = 5
			if _, _, err := s.SearchRuns(ctx(), c.search); !problem.Is(err, problem.Invalid) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: got %v, want %q", c.name, err, c.says)
			}
		}
		v.Token, v.Limit = token, 7 // another page size is fine
		if list, _, err := s.SearchRuns(ctx(), v); err != nil || len(list) != 7 {
			t.Errorf("the next page: %d runs, %v", len(list), err)
		}
	})
}
