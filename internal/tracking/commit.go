package tracking

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"keelson/internal/audit"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/db/find"
	"keelson/internal/job"
	"keelson/internal/problem"
)

// Writes of runs, metrics, parameters and tags arrive by the thousand and each is small, while a transaction costs the
// same for one as for fifty. So writers that wait for the database share one transaction (group commit): the first becomes
// the leader and commits, those who come meanwhile queue up, and the next leader takes them all. Nobody waits on a timer,
// and everybody is answered only after their own rows are committed.

const (
	groupSize   = 64     // changes in one transaction
	groupPoints = 20_000 // points in one transaction, unless one batch alone has more
	foldAt      = 256    // tails of a run after which a job folds them,
	foldAtSize  = 65_536 // or so many points in them
	foldAtEnd   = 16     // tails when the run has ended
)

// change is what one caller wants written: a batch for a run, or an act of its own.
type change struct {
	run   string
	batch Batch
	begin *Run // if set, stands for the batch: a run that is not there yet
	// act, if set, stands for the batch. It refuses (with a problem) before its first write, as the others of its group are
	// committed nevertheless; any other error undoes the group, and each of it is tried alone.
	act func(db.Scope) error

	who  caller.Caller
	err  error
	turn chan bool // true: you lead now; false: you are done
}

// queue holds the waiting changes of one workspace.
type queue struct {
	mu      sync.Mutex
	busy    bool
	waiting []*change
	loose   map[string]loose // written by this process since the last fold, by run
}

// loose is what a fold would pack.
type loose struct{ tails, points int }

// LogBatch stores a batch: all of it or nothing. Logging to a run that is deleted or not there is refused, as is a parameter
// that has another value already.
func (s *Service) LogBatch(ctx context.Context, run string, b Batch) error {
	if err := b.Check(); err != nil {
		return err
	}
	return s.submit(ctx, &change{run: run, batch: b})
}

// together runs act in a transaction that it may share with others; see change.act.
func (s *Service) together(ctx context.Context, act func(db.Scope) error) error {
	return s.submit(ctx, &change{act: act})
}

func (s *Service) submit(ctx context.Context, c *change) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ws := caller.Workspace(ctx)
	v, ok := s.queues.Load(ws)
	if !ok {
		v, _ = s.queues.LoadOrStore(ws, &queue{loose: map[string]loose{}})
	}
	q := v.(*queue)
	c.who, c.turn = caller.From(ctx), make(chan bool, 1)
	q.mu.Lock()
	if q.busy {
		q.waiting = append(q.waiting, c)
		q.mu.Unlock()
		if lead := <-c.turn; !lead {
			return c.err
		}
		q.mu.Lock()
	}
	q.busy = true
	group := q.take(c)
	q.mu.Unlock()

	// The group's work outlives its leader's request: a caller who hangs up must not take the others' points along.
	s.commit(caller.WithWorkspace(context.WithoutCancel(ctx), ws), q, group)

	q.mu.Lock()
	if len(q.waiting) > 0 {
		next := q.waiting[0]
		q.waiting = slices.Delete(q.waiting, 0, 1)
		next.turn <- true
	} else {
		q.busy = false
	}
	q.mu.Unlock()
	for _, f := range group[1:] {
		f.turn <- false
	}
	return c.err
}

// take makes the group that lead commits out of those who wait.
func (q *queue) take(lead *change) []*change {
	n, points := 0, len(lead.batch.Metrics)
	for n < len(q.waiting) && n < groupSize-1 {
		if points += len(q.waiting[n].batch.Metrics); points > groupPoints {
			break
		}
		n++
	}
	group := append([]*change{lead}, q.waiting[:n]...)
	q.waiting = slices.Delete(q.waiting, 0, n)
	return group
}

// commit stores a group and leaves each member's error in it. When the transaction fails as a whole, each change gets its
// own, so that one cannot spoil the others.
func (s *Service) commit(ctx context.Context, q *queue, group []*change) {
	defer func() { // whoever waits must be answered, whatever happens
		if p := recover(); p != nil {
			for _, c := range group {
				c.err = fmt.Errorf("write of a run: panic: %v", p)
			}
		}
	}()
	err := s.write(ctx, q, group)
	if err == nil {
		return
	}
	for _, c := range group {
		for range 5 { // another replica's parameter is seen by the next look
			if len(group) > 1 || errors.Is(err, errRace) {
				err = s.write(ctx, q, []*change{c})
			}
			if err == nil || !errors.Is(err, errRace) {
				break
			}
		}
		if err != nil {
			c.err = err
			if len(group) > 1 && problem.KindOf(err) == problem.Internal {
				s.Log.ErrorContext(ctx, "a write failed", "run", c.run, "error", err)
			}
		}
	}
}

// write stores the changes of group in one transaction. One that breaks a rule is left out with its error; an error
// of the transaction is returned and nothing is stored.
func (s *Service) write(ctx context.Context, q *queue, group []*change) error {
	var long []string
	errs := make([]error, len(group))
	err := s.DB.WriteBulk(ctx, func(tx db.Scope) error {
		long = long[:0]
		clear(errs)
		known, err := states(tx, group)
		if err != nil {
			return err
		}
		held, err := holdExperiments(tx, group)
		if err != nil {
			return err
		}
		var rows gathered
		for i, c := range group {
			if c.begin != nil {
				if errs[i] = welcome(held, c.begin.Experiment); errs[i] == nil {
					rows.begun = append(rows.begun, c)
					known[c.begin.ID] = state{experiment: c.begin.Experiment}
				}
				continue
			}
			if c.act != nil {
				own := tx
				own.Ctx = caller.With(tx.Ctx, c.who)
				if errs[i] = c.act(own); errs[i] != nil && problem.KindOf(errs[i]) == problem.Internal {
					return errs[i]
				}
				continue
			}
			if errs[i] = admit(known, c.run); errs[i] != nil {
				continue
			}
			if errs[i], err = rows.params(tx, c.run, c.batch.Params); err != nil {
				return err
			}
			if errs[i] == nil {
				rows.add(c)
			}
		}
		if err := rows.store(tx, known); err != nil {
			return err
		}
		for run := range rows.points {
			if q.long(run) {
				if err := job.Enqueue(tx, FoldKind, FoldArgs{Run: run}, job.Unique()); err != nil {
					return err
				}
				long = append(long, run)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i, c := range group {
		c.err = errs[i]
		if errs[i] == nil && len(c.batch.Metrics) > 0 {
			q.count(c.run, len(c.batch.Metrics))
		}
	}
	for _, run := range long {
		q.count(run, 0)
	}
	return nil
}

// count notes a batch of so many points of a run; 0 says that it will be folded. The map forgets everything at 10,000
// runs: it only decides when to fold early, and the end of a run folds in any case.
func (q *queue) count(run string, points int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if points == 0 {
		delete(q.loose, run)
		return
	}
	if len(q.loose) > 10_000 {
		clear(q.loose)
	}
	l := q.loose[run]
	q.loose[run] = loose{l.tails + 1, l.points + points}
}

// long reports that a run's tails should be folded.
func (q *queue) long(run string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := q.loose[run]
	return l.tails >= foldAt || l.points >= foldAtSize
}

// pairKey is a parameter or tag of a run.
type pairKey struct{ run, key string }

// gathered are the rows of a group before they are written, table by table.
type gathered struct {
	begun     []*change
	newParams map[pairKey]string
	tags      map[pairKey]string
	latest    map[string]map[string]Point // by run and key
	points    map[string][]Point          // by run
	models    []modelPoint
}

type modelPoint struct {
	run string
	p   Point
}

// params gathers the parameters of a batch that are new; refused is set, and none gathered, when one has another value
// already, in the database or in a batch before.
func (g *gathered) params(tx db.Scope, run string, params []Pair) (refused, err error) {
	if len(params) == 0 {
		return nil, nil
	}
	keys := make([]string, len(params))
	for i, p := range params {
		keys[i] = p.Key
	}
	q := find.New(tx)
	q.Add(`SELECT key, value FROM run_param WHERE workspace = `, q.Arg(tx.Workspace), ` AND run = `, q.Arg(run), ` AND key IN (`, q.Args(keys), `)`)
	old := map[string]string{}
	if err := tx.Each(q.String(), q.Values, func(scan func(...any) error) error {
		var k, v string
		err := scan(&k, &v)
		old[k] = v
		return err
	}); err != nil {
		return nil, err
	}
	fresh := map[pairKey]string{}
	for _, p := range params {
		k := pairKey{run, p.Key}
		v, ok := old[p.Key]
		if !ok {
			v, ok = g.newParams[k]
		}
		if ok && v != p.Value {
			return problem.New(problem.Invalid, "Changing param values is not allowed. Param with key='%s' was already logged with value='%s' for run ID='%s'. Attempted logging new value '%s'.",
				p.Key, problem.Clip(v, 200), run, problem.Clip(p.Value, 200)).At("params"), nil
		}
		if !ok {
			fresh[k] = p.Value
		}
	}
	if g.newParams == nil {
		g.newParams = fresh
		return nil, nil
	}
	for k, v := range fresh {
		g.newParams[k] = v
	}
	return nil, nil
}

// add gathers the tags and points of a batch.
func (g *gathered) add(c *change) {
	for _, t := range c.batch.Tags {
		if g.tags == nil {
			g.tags = map[pairKey]string{}
		}
		g.tags[pairKey{c.run, t.Key}] = t.Value
	}
	if len(c.batch.Metrics) == 0 {
		return
	}
	if g.latest == nil {
		g.latest, g.points = map[string]map[string]Point{}, map[string][]Point{}
	}
	keys := g.latest[c.run]
	if keys == nil {
		keys = make(map[string]Point, min(len(c.batch.Metrics), 64))
		g.latest[c.run] = keys
	}
	for _, p := range c.batch.Metrics {
		if old, ok := keys[p.Key]; !ok || p.Later(old) {
			keys[p.Key] = p
		}
		if p.Model != "" {
			g.models = append(g.models, modelPoint{c.run, p})
		}
	}
	if old := g.points[c.run]; old == nil {
		g.points[c.run] = slices.Clip(c.batch.Metrics)
	} else {
		g.points[c.run] = append(old, c.batch.Metrics...)
	}
}

// store writes what was gathered.
func (g *gathered) store(tx db.Scope, known map[string]state) error {
	if err := putBegun(tx, g.begun, known); err != nil {
		return fmt.Errorf("begin runs: %w", err)
	}
	if err := putParams(tx, g.newParams, known); err != nil {
		return fmt.Errorf("store parameters: %w", err)
	}
	if err := putTags(tx, g.tags, known); err != nil {
		return fmt.Errorf("store tags: %w", err)
	}
	for _, m := range g.models {
		if err := putModelMetric(tx, m.run, m.p); err != nil {
			return fmt.Errorf("store metrics of models: %w", err)
		}
	}
	if err := putLatest(tx, g.latest, known); err != nil {
		return fmt.Errorf("keep latest points: %w", err)
	}
	if err := putTails(tx, g.points); err != nil {
		return fmt.Errorf("append points: %w", err)
	}
	return touch(tx, g.touched()...)
}

// touched are the runs that begin and those whose parameters, tags or latest points were gathered, in order.
func (g *gathered) touched() []string {
	runs := map[string]bool{}
	for _, c := range g.begun {
		runs[c.begin.ID] = true
	}
	for k := range g.newParams {
		runs[k.run] = true
	}
	for k := range g.tags {
		runs[k.run] = true
	}
	for run := range g.latest {
		runs[run] = true
	}
	return slices.Sorted(maps.Keys(runs))
}

// state is what a writer must know of a run.
type state struct {
	deleted    bool
	experiment string
}

// states reads which of the group's runs are there, which of them are deleted, and whose they are.
func states(tx db.Scope, group []*change) (map[string]state, error) {
	var ids []string
	for _, c := range group {
		if c.act == nil && c.begin == nil {
			ids = append(ids, c.run)
		}
	}
	out := map[string]state{}
	if len(ids) == 0 {
		return out, nil
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	q := statesQuery(tx, ids)
	return out, tx.Each(q.String(), q.Values, func(scan func(...any) error) error {
		var id string
		var s state
		err := scan(&id, &s.deleted, &s.experiment)
		out[id] = s
		return err
	})
}

// statesQuery joins the identifiers instead of listing them: for a list SQLite takes the index that begins with the
// workspace and has all columns, and reads every run there is.
func statesQuery(tx db.Scope, ids []string) *find.Builder {
	q := find.New(tx)
	q.Add(`WITH wanted (id) AS (VALUES (`, q.Arg(ids[0]), `)`)
	for _, id := range ids[1:] {
		q.Add(`, (`, q.Arg(id), `)`)
	}
	q.Add(`) SELECT r.id, r.deleted, r.experiment FROM wanted w JOIN run r ON r.workspace = `, q.Arg(tx.Workspace), ` AND r.id = w.id`)
	return q
}

// holdExperiments tells of the experiments in which the group begins runs whether they are deleted; on PostgreSQL that stays
// so until the transaction ends.
func holdExperiments(tx db.Scope, group []*change) (map[string]bool, error) {
	var ids []string
	for _, c := range group {
		if c.begin != nil {
			ids = append(ids, c.begin.Experiment)
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	slices.Sort(ids)
	q := find.New(tx)
	q.Add(`SELECT id, deleted FROM experiment WHERE workspace = `, q.Arg(tx.Workspace), ` AND id IN (`, q.Args(slices.Compact(ids)), `)`)
	if tx.Postgres() {
		q.Add(` ORDER BY id FOR SHARE`)
	}
	out := map[string]bool{}
	return out, tx.Each(q.String(), q.Values, func(scan func(...any) error) error {
		var id string
		var deleted bool
		err := scan(&id, &deleted)
		out[id] = deleted
		return err
	})
}

// welcome refuses a run in an experiment that is deleted or not there.
func welcome(held map[string]bool, experiment string) error {
	deleted, ok := held[experiment]
	if !ok {
		return noExperiment(experiment)
	}
	if deleted {
		return deletedExperiment(experiment)
	}
	return nil
}

func admit(states map[string]state, run string) error {
	s, ok := states[run]
	if !ok {
		return noRun(run)
	}
	if s.deleted {
		return mustBeActive(run)
	}
	return nil
}

func mustBeActive(run string) error {
	return problem.New(problem.Invalid, "The run %s must be in the 'active' state. Current state is deleted.", problem.Clip(run, 80)).At("run_id")
}

// errRace says that another replica wrote a parameter between our look and our write.
var errRace = errors.New("a parameter was written at the same time")

// inOrder sorts the rows of a table by run and key, so that two writers cannot wait for each other in a circle.
func inOrder(m map[pairKey]string) []pairKey {
	keys := make([]pairKey, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b pairKey) int {
		return cmp.Or(strings.Compare(a.run, b.run), strings.Compare(a.key, b.key))
	})
	return keys
}

var (
	paramRows = insert{into: "run_param", columns: []string{"run TEXT", "key TEXT", "value TEXT", "experiment TEXT"}, end: "ON CONFLICT (workspace, run, key) DO NOTHING"}
	tagRows   = insert{into: "run_tag", columns: []string{"run TEXT", "key TEXT", "value TEXT", "experiment TEXT"}, end: "ON CONFLICT (workspace, run, key) DO UPDATE SET value = excluded.value"}
)

var runRows = insert{into: "run", columns: []string{"id TEXT", "experiment TEXT", "name TEXT", "author TEXT", "status TEXT", "started_at INT8", "ended_at INT8"}}

// putBegun stores new runs with their tags, each audited in the name of who began it.
func putBegun(tx db.Scope, begun []*change, known map[string]state) error {
	if len(begun) == 0 {
		return nil
	}
	var ids, experiments, names, authors, statuses []string
	var started, ended []int64
	tags := map[pairKey]string{}
	for _, c := range begun {
		r := c.begin
		ids, experiments, names, authors, statuses = append(ids, r.ID), append(experiments, r.Experiment), append(names, r.Name), append(authors, r.Author), append(statuses, r.Status)
		started, ended = append(started, db.Micros(r.Started)), append(ended, db.Micros(r.Ended))
		for k, v := range r.Tags {
			tags[pairKey{r.ID, k}] = v
		}
	}
	if _, err := runRows.run(tx, len(ids), ids, experiments, names, authors, statuses, started, ended); err != nil {
		return err
	}
	if err := insertTags(tx, tags, known); err != nil {
		return err
	}
	for _, c := range begun {
		own := tx
		own.Ctx = caller.With(tx.Ctx, c.who)
		if err := audit.Record(own, "run.started", "run/"+c.begin.ID, map[string]any{"experiment": c.begin.Experiment, "name": c.begin.Name}); err != nil {
			return err
		}
	}
	return nil
}

// columns are the rows of m, column by column; known says whose experiment a run is.
func columns(m map[pairKey]string, known map[string]state) (runs, keys, values, experiments []string) {
	for _, k := range inOrder(m) {
		runs, keys, values, experiments = append(runs, k.run), append(keys, k.key), append(values, m[k]), append(experiments, known[k.run].experiment)
	}
	return runs, keys, values, experiments
}

// putParams stores parameters that were not there a moment ago; errRace when they are by now.
func putParams(tx db.Scope, params map[pairKey]string, known map[string]state) error {
	runs, keys, values, experiments := columns(params, known)
	n, err := paramRows.run(tx, len(runs), runs, keys, values, experiments)
	if err == nil && n != int64(len(runs)) {
		err = errRace
	}
	return err
}

// putTags sets tags; the name tag names the run, too.
func putTags(tx db.Scope, tags map[pairKey]string, known map[string]state) error {
	runs, keys, values, _ := columns(tags, known)
	for i, k := range keys {
		if k == TagName {
			if _, err := tx.Exec(`UPDATE run SET name = $1 WHERE workspace = $2 AND id = $3`, values[i], tx.Workspace, runs[i]); err != nil {
				return err
			}
		}
	}
	return insertTags(tx, tags, known)
}

// insertTags sets the tags of a run that bears the name of its name tag already.
func insertTags(tx db.Scope, tags map[pairKey]string, known map[string]state) error {
	runs, keys, values, experiments := columns(tags, known)
	_, err := tagRows.run(tx, len(runs), runs, keys, values, experiments)
	return err
}
