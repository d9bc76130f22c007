package tracking

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/db/find"
	"keelson/internal/filter"
	"keelson/internal/tracking/table"
)

// Checking ten thousand runs of a hundred thousand takes SQLite ten microseconds each, memory a hundredth of that. So an
// experiment that is searched again and again is copied into memory, the columns that its searches name, and brought up to
// date at each search by the runs that changed since (run.changed grows with every change within an experiment). The copy
// is made beside the first searches, which the database answers. Searches of several experiments, or of data sets, never
// use it; on PostgreSQL, whose rows other nodes write, there is none.

const (
	tableRuns  = 500_000   // an experiment with more runs is not copied
	tableSmall = 300       // one with fewer need not be
	tableBytes = 128 << 20 // of all copies together
	tableDelta = 20_000    // runs that may have changed between two searches; after more the copy is made again
	tableIdle  = 10 * time.Minute
)

// tables are the copies of a process.
type tables struct {
	mu   sync.Mutex
	held map[recentKey]*held // by workspace and experiment
	wait sync.WaitGroup      // copies in the making
	hits atomic.Int64        // searches that were answered from memory
}

// held is a copy in the making or in use. Whoever holds mu must begin the transaction after taking it, so that a search
// never sees less than the one before it.
type held struct {
	mu      sync.Mutex
	loading atomic.Bool
	table   *table.Table // nil: nothing is copied yet
	last    int64        // the greatest number of a change that the copy has
	purged  int64        // experiment.purged when the copy was made
	asked   int          // searches that the copy could have answered
	bytes   atomic.Int64
	used    atomic.Int64 // microseconds since 1970
}

func (t *tables) get(workspace, experiment string) *held {
	t.mu.Lock()
	defer t.mu.Unlock()
	k := recentKey{workspace, experiment}
	h := t.held[k]
	now := db.Micros(time.Now())
	if h == nil {
		h = &held{}
		if t.held == nil {
			t.held = map[recentKey]*held{}
		}
		t.held[k] = h
	}
	h.used.Store(now)
	var all int64
	var oldest recentKey
	for k, o := range t.held {
		if o != h && now-o.used.Load() > tableIdle.Microseconds() {
			delete(t.held, k)
			continue
		}
		if all += o.bytes.Load(); oldest == (recentKey{}) || o.used.Load() < t.held[oldest].used.Load() {
			oldest = k
		}
	}
	if all > tableBytes && len(t.held) > 1 && t.held[oldest] != h {
		delete(t.held, oldest)
	}
	return h
}

// Close waits for copies in the making, which read the database.
func (s *Service) Close() error {
	s.tables.wait.Wait()
	return nil
}

// query is the search as a table takes it; ok is false when only the database can answer it.
func (f *finder) query() (q table.Query, ok bool) {
	if f.tx.Postgres() || f.v.Anywhere || len(f.v.Experiments) != 1 {
		return q, false
	}
	q = table.Query{Orders: f.orders, Active: f.v.View != DeletedOnly, Deleted: f.v.View == DeletedOnly || f.v.View == All, Limit: f.v.Limit}
	for _, c := range f.clauses {
		if c.Entity == filter.Dataset {
			return q, false
		}
		if c.Entity == filter.Attribute && c.Key == "status" {
			c = stored(c)
		}
		q.Clauses = append(q.Clauses, c)
	}
	return q, true
}

// fromTable answers a search from memory; ok is false when it has to be asked of the database. It opens the transaction in
// which then reads the page.
func (s *Service) fromTable(ctx context.Context, v Search, then func(tx db.Scope, out RunPage, ids []string) error) (ok bool, err error) {
	if s.DB.Postgres() || v.Anywhere || len(v.Experiments) != 1 {
		return false, nil
	}
	h := s.tables.get(caller.Workspace(ctx), v.Experiments[0])
	if h.loading.Load() {
		return false, nil
	}
	h.mu.Lock()
	locked := true
	unlock := func() {
		if locked {
			locked = false
			h.mu.Unlock()
		}
	}
	defer unlock()
	var wants []table.Key
	err = s.DB.Read(ctx, func(tx db.Scope) error {
		f, err := newFinder(tx, v, "r", runSide, filter.Runs)
		if err != nil {
			return err
		}
		q, serves := f.query()
		if !serves {
			return nil
		}
		_, terms := f.terms(find.New(tx), 0, f.closing()...)
		if q.After, err = find.ParseToken(f.name(), v.Token, terms); err != nil {
			return err
		}
		t := h.table
		if t == nil {
			t = table.New(v.Experiments[0])
		}
		lacks, serves := t.Serves(q)
		if !serves {
			return nil
		}
		if h.table == nil || len(lacks) > 0 {
			// Once may be chance, and a small experiment is searched fast enough.
			if h.asked++; h.asked < 2 {
				return nil
			}
			n, err := s.sizes.of(tx, v.Experiments)
			if err == nil && n >= tableSmall && n <= tableRuns {
				wants = append([]table.Key{}, lacks...)
			}
			return err
		}
		fits, err := h.follow(tx)
		if err != nil || !fits {
			h.table = nil // made again by the searches that follow
			return err
		}
		rows, total := t.Find(q)
		h.bytes.Store(t.Bytes())
		unlock()
		found := make([]row, len(rows))
		for i, r := range rows {
			found[i] = row{r.ID, r.Place}
		}
		out := RunPage{Total: total}
		var ids []string
		ids, out.Next = f.cut(found)
		ok = true
		s.tables.hits.Add(1)
		return then(tx, out, ids)
	})
	if err != nil || wants == nil || !h.loading.CompareAndSwap(false, true) {
		return ok, err
	}
	unlock()
	s.tables.wait.Go(func() { s.copy(context.WithoutCancel(ctx), h, v.Experiments[0], wants) })
	return false, nil
}

// copy reads columns of an experiment into its table, and the runs if there is none.
func (s *Service) copy(ctx context.Context, h *held, experiment string, keys []table.Key) {
	defer h.loading.Store(false)
	h.mu.Lock()
	defer h.mu.Unlock()
	err := s.DB.Read(ctx, func(tx db.Scope) error {
		if h.table != nil {
			if fits, err := h.follow(tx); err != nil {
				return err
			} else if !fits {
				h.table = nil
			}
		}
		if h.table == nil {
			h.table, h.last = table.New(experiment), 0
			if err := tx.QueryRow(`SELECT purged FROM experiment WHERE workspace = $1 AND id = $2`, tx.Workspace, experiment).Scan(&h.purged); err != nil {
				return err
			}
			if err := h.runs(tx, `SELECT `+tableColumns+` FROM run r WHERE r.workspace = $1 AND r.experiment = $2`, tx.Workspace, experiment); err != nil {
				return err
			}
		}
		for _, k := range keys {
			if h.table.Has(k) {
				continue
			}
			h.table.Add(k)
			if err := h.cells(tx, k.Entity, `experiment = $2 AND key = $3`, experiment, k.Key); err != nil {
				return err
			}
		}
		h.bytes.Store(h.table.Bytes())
		return nil
	})
	if err != nil {
		h.table = nil
		s.Log.WarnContext(ctx, "an experiment could not be copied into memory; its searches go on without", "experiment", experiment, "error", err)
	}
}

// tableColumns are those of r that a table takes, in the order of runs.
const tableColumns = `r.id, r.name, r.author, r.status, r.deleted, r.started_at, r.ended_at, r.changed`

// runs puts the runs that a statement gives.
func (h *held) runs(tx db.Scope, q string, args ...any) error {
	return tx.Each(q, args, func(scan func(...any) error) error {
		var r table.Run
		var changed int64
		if err := scan(&r.ID, &r.Name, &r.Author, &r.Status, &r.Deleted, &r.Started, &r.Ended, &changed); err != nil {
			return err
		}
		h.table.Put(r)
		h.last = max(h.last, changed)
		return nil
	})
}

// cells sets values of one entity: of the rows in the table of metrics, parameters or tags for which where holds.
func (h *held) cells(tx db.Scope, entity, where string, args ...any) error {
	args = append([]any{tx.Workspace}, args...)
	from := ` FROM ` + runSide.table(entity) + ` WHERE workspace = $1 AND ` + where
	if entity == filter.Metric {
		return tx.Each(`SELECT run, key, value, kind`+from, args, func(scan func(...any) error) error {
			var run, key string
			var value float64
			var kind int
			err := scan(&run, &key, &value, &kind)
			h.table.Number(table.Key{Entity: entity, Key: key}, run, value, kind == 1)
			return err
		})
	}
	return tx.Each(`SELECT run, key, value`+from, args, func(scan func(...any) error) error {
		var run, key, value string
		err := scan(&run, &key, &value)
		h.table.Text(table.Key{Entity: entity, Key: key}, run, value)
		return err
	})
}

// follow brings the table up to the transaction; fits is false when it must be made anew.
func (h *held) follow(tx db.Scope) (fits bool, err error) {
	var purged int64
	if err := tx.QueryRow(`SELECT COALESCE((SELECT purged FROM experiment WHERE workspace = $1 AND id = $2), -1)`, tx.Workspace, h.table.Experiment).Scan(&purged); err != nil || purged != h.purged {
		return false, err
	}
	var changed []string
	if err := tx.Each(`SELECT id FROM run INDEXED BY run_change WHERE workspace = $1 AND experiment = $2 AND changed > $3 ORDER BY changed LIMIT $4`,
		[]any{tx.Workspace, h.table.Experiment, h.last, tableDelta + 1}, func(scan func(...any) error) error {
			var id string
			err := scan(&id)
			changed = append(changed, id)
			return err
		}); err != nil || len(changed) > tableDelta {
		return false, err
	}
	err = inChunks(changed, func(part []string) error {
		ids := db.ToJSON(part)
		if err := h.runs(tx, `SELECT `+tableColumns+` FROM json_each($2) j CROSS JOIN run r WHERE r.workspace = $1 AND r.id = j.value`, tx.Workspace, ids); err != nil {
			return err
		}
		for _, entity := range []string{filter.Metric, filter.Param, filter.Tag} {
			if keys := h.table.Keys(entity); len(keys) > 0 {
				if err := h.cells(tx, entity, `run IN (SELECT value FROM json_each($2)) AND key IN (SELECT value FROM json_each($3))`, ids, db.ToJSON(keys)); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return err == nil, err
}
