package tracking

import (
	"maps"
	"slices"
	"sync"
	"time"

	"keelson/internal/db"
)

// A page of runs is thousands of small rows, which SQLite hands over one by one, and people and programs look at the same
// runs again and again. So what was read of runs lately is kept in memory. A run's own row says in its column changed
// whether that still holds: it changes in the transaction that changes parameters, tags, latest points, inputs or models.
// On PostgreSQL nothing is kept: there the column would make writers of one run wait for each other.

// touch gives runs a new number of change, greater than all in their experiments. It must be called in every transaction
// that writes what recent and tables keep: whatever is shown of a run, ordered or searched by.
func touch(tx db.Scope, runs ...string) error {
	for _, run := range runs {
		if err := touchBy(tx, "id", run); err != nil {
			return err
		}
	}
	return nil
}

// touchAll touches all runs of an experiment.
func touchAll(tx db.Scope, experiment string) error { return touchBy(tx, "experiment", experiment) }

func touchBy(tx db.Scope, column, is string) error {
	if tx.Postgres() {
		return nil
	}
	now := db.Micros(time.Now()) // a run that was purged and came back must not get an old number again
	_, err := tx.Exec(`UPDATE run SET changed = MAX($1, 1 + (SELECT x.changed FROM run x INDEXED BY run_change WHERE x.workspace = run.workspace AND x.experiment = run.experiment ORDER BY x.changed DESC LIMIT 1))
		WHERE workspace = $2 AND `+column+` = $3`, now, tx.Workspace, is)
	return err
}

// recentBytes is about how much memory recent takes, in each of its two halves.
const recentBytes = 8 << 20

// recent keeps runs that were read whole, in two halves: when the newer is full it becomes the older, whose runs are
// forgotten unless they were asked for since.
type recent struct {
	mu           sync.Mutex
	newer, older map[recentKey]kept
	size         int
}

type recentKey struct{ workspace, run string }

type kept struct {
	changed             int64
	params, tags        map[string]string
	metrics             []Point
	inputs              []Input
	modelsIn, modelsOut []ModelRef
	size                int
}

// fill completes the runs of list that are known, and gives the places of the others.
func (c *recent) fill(workspace string, list []Run) (missing []int) {
	c.mu.Lock()
	found := make([]kept, len(list))
	for i := range list {
		k := recentKey{workspace, list[i].ID}
		v, ok := c.newer[k]
		if !ok {
			if v, ok = c.older[k]; ok {
				c.put(k, v)
			}
		}
		if !ok || v.changed != list[i].changed || v.changed == 0 {
			missing = append(missing, i)
			continue
		}
		found[i] = v
	}
	c.mu.Unlock()
	for i, v := range found {
		if v.changed == 0 {
			continue
		}
		r := &list[i] // whoever asked may change what they got
		r.Params, r.Tags, r.Metrics = maps.Clone(v.params), maps.Clone(v.tags), slices.Clone(v.metrics)
		r.Inputs, r.ModelsIn, r.ModelsOut = slices.Clone(v.inputs), slices.Clone(v.modelsIn), slices.Clone(v.modelsOut)
	}
	return missing
}

// keep takes runs that were read whole.
func (c *recent) keep(workspace string, list []Run) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range list {
		r := &list[i]
		if r.changed == 0 {
			continue
		}
		v := kept{r.changed, maps.Clone(r.Params), maps.Clone(r.Tags), slices.Clone(r.Metrics), slices.Clone(r.Inputs), slices.Clone(r.ModelsIn), slices.Clone(r.ModelsOut), 0}
		v.size = 300 + 120*len(r.Metrics) + 400*len(r.Inputs) + 80*(len(r.ModelsIn)+len(r.ModelsOut))
		for _, m := range []map[string]string{r.Params, r.Tags} {
			for k, s := range m {
				v.size += 60 + len(k) + len(s)
			}
		}
		for _, in := range r.Inputs {
			v.size += len(in.Schema) + len(in.Profile) + len(in.Source)
		}
		if v.size < recentBytes/64 {
			c.put(recentKey{workspace, r.ID}, v)
		}
	}
}

// put stores v; c.mu is held.
func (c *recent) put(k recentKey, v kept) {
	if c.newer == nil || c.size > recentBytes {
		c.newer, c.older, c.size = map[recentKey]kept{}, c.newer, 0
	}
	if old, ok := c.newer[k]; ok {
		c.size -= old.size
	}
	c.newer[k] = v
	c.size += v.size
}
