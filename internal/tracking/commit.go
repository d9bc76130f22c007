package tracking

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/job"
	"keelson/internal/problem"
)

// Writes of metrics, parameters and tags arrive by the thousand and each is small, while a transaction costs the same for
// one as for fifty. So writers that wait for the database share one transaction (group commit): the first becomes the
// leader and commits, those who come meanwhile queue up, and the next leader takes them all. Nobody waits on a timer, and
// everybody is answered only after their own points are stored.

const (
	groupSize  = 64  // batches in one transaction
	foldAt     = 256 // tails of a run after which a job folds them
	foldAtEnd  = 16  // the same when the run has ended
	foldWindow = 4096
)

// logging is one caller's batch on its way.
type logging struct {
	run   string
	batch Batch
	err   error
	turn  chan bool // true: you lead now; false: you are done
}

// queue holds the waiting batches of one workspace.
type queue struct {
	mu      sync.Mutex
	busy    bool
	waiting []*logging
	tails   map[string]int // tails written by this process since the last fold, by run
}

// LogBatch stores a batch: all of it or nothing. Logging to a run that is deleted or not there is refused, as is a parameter
// that has another value already.
func (s *Service) LogBatch(ctx context.Context, run string, b Batch) error {
	if err := b.Check(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	ws := caller.Workspace(ctx)
	v, ok := s.queues.Load(ws)
	if !ok {
		v, _ = s.queues.LoadOrStore(ws, &queue{tails: map[string]int{}})
	}
	q := v.(*queue)
	l := &logging{run: run, batch: b, turn: make(chan bool, 1)}
	q.mu.Lock()
	if q.busy {
		q.waiting = append(q.waiting, l)
		q.mu.Unlock()
		if lead := <-l.turn; !lead {
			return l.err
		}
		q.mu.Lock()
	}
	q.busy = true
	n := min(len(q.waiting), groupSize-1)
	group := append([]*logging{l}, q.waiting[:n]...)
	q.waiting = slices.Delete(q.waiting, 0, n)
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
	return l.err
}

// commit stores a group and leaves each member's error in it. When the transaction fails as a whole, each batch gets its
// own, so that one cannot spoil the others.
func (s *Service) commit(ctx context.Context, q *queue, group []*logging) {
	defer func() { // whoever waits must be answered, whatever happens
		if p := recover(); p != nil {
			for _, l := range group {
				l.err = fmt.Errorf("log batch: panic: %v", p)
			}
		}
	}()
	err := s.write(ctx, q, group)
	if err == nil {
		return
	}
	if len(group) == 1 {
		group[0].err = err
		return
	}
	for _, l := range group {
		if l.err = s.write(ctx, q, []*logging{l}); l.err != nil && problem.KindOf(l.err) == problem.Internal {
			s.Log.ErrorContext(ctx, "batch lost", "run", l.run, "error", l.err)
		}
	}
}

// write stores the batches of group in one transaction. A batch that breaks a rule is left out with its error; an error
// of the transaction is returned and nothing is stored.
func (s *Service) write(ctx context.Context, q *queue, group []*logging) error {
	var long []string
	errs := make([]error, len(group))
	err := s.DB.WriteBulk(ctx, func(tx db.Scope) error {
		long = long[:0]
		clear(errs)
		state, err := states(tx, group)
		if err != nil {
			return err
		}
		latest := map[string]map[string]Point{}
		points := map[string][]Point{}
		for i, l := range group {
			if errs[i] = admit(state, l.run); errs[i] != nil {
				continue
			}
			if errs[i], err = putParams(tx, l.run, l.batch.Params); err != nil {
				return err
			}
			if errs[i] != nil {
				continue
			}
			for _, t := range l.batch.Tags {
				if err := s.putTag(tx, l.run, t); err != nil {
					return err
				}
			}
			collect(latest, points, l)
			for _, p := range l.batch.Metrics {
				if p.Model != "" {
					if err := putModelMetric(tx, l.run, p); err != nil {
						return err
					}
				}
			}
		}
		if err := putLatest(tx, latest, state); err != nil {
			return fmt.Errorf("keep latest points: %w", err)
		}
		for run, list := range points {
			if err := putTail(tx, run, list); err != nil {
				return fmt.Errorf("append points: %w", err)
			}
			if q.count(run, 0) >= foldAt {
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
	for i, l := range group {
		l.err = errs[i]
		if errs[i] == nil && len(l.batch.Metrics) > 0 {
			q.count(l.run, 1)
		}
	}
	for _, run := range long {
		q.count(run, -1)
	}
	return nil
}

// count adds to the number of tails of a run (−1 sets it to zero) and gives it. The map forgets everything at 10,000 runs:
// it only decides when to fold early, and the end of a run folds in any case.
func (q *queue) count(run string, add int) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case add < 0:
		delete(q.tails, run)
	case add > 0:
		if len(q.tails) > 10000 {
			clear(q.tails)
		}
		q.tails[run] += add
	}
	return q.tails[run]
}

func collect(latest map[string]map[string]Point, points map[string][]Point, l *logging) {
	if len(l.batch.Metrics) == 0 {
		return
	}
	keys := latest[l.run]
	if keys == nil {
		keys = make(map[string]Point, len(l.batch.Metrics))
		latest[l.run] = keys
	}
	for _, p := range l.batch.Metrics {
		if old, ok := keys[p.Key]; !ok || p.Later(old) {
			keys[p.Key] = p
		}
	}
	points[l.run] = append(points[l.run], l.batch.Metrics...)
}

// state is what a writer must know of a run.
type state struct {
	deleted    bool
	experiment string
}

// states reads which of the group's runs are there, which of them are deleted, and whose they are.
func states(tx db.Scope, group []*logging) (map[string]state, error) {
	var ids []string
	for _, l := range group {
		ids = append(ids, l.run)
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	q := newQuery(tx)
	q.add(`SELECT id, deleted, experiment FROM run WHERE workspace = `, q.arg(tx.Workspace), ` AND id IN (`, q.args(ids), `)`)
	out := map[string]state{}
	return out, tx.Each(q.String(), q.a, func(scan func(...any) error) error {
		var id string
		var s state
		err := scan(&id, &s.deleted, &s.experiment)
		out[id] = s
		return err
	})
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
	return problem.New(problem.Invalid, "The run %s must be in the 'active' state. Current state is deleted.", clip(run, 80)).At("run_id")
}

// errRace says that another replica gave a parameter another value between our look and our write.
var errRace = errors.New("a parameter was written at the same time")

// putParams stores parameters that are new; refused is set, and nothing stored, when one has another value already.
func putParams(tx db.Scope, run string, params []Pair) (refused, err error) {
	if len(params) == 0 {
		return nil, nil
	}
	keys := make([]string, len(params))
	for i, p := range params {
		keys[i] = p.Key
	}
	q := newQuery(tx)
	q.add(`SELECT key, value FROM run_param WHERE workspace = `, q.arg(tx.Workspace), ` AND run = `, q.arg(run), ` AND key IN (`, q.args(keys), `)`)
	old := map[string]string{}
	if err := tx.Each(q.String(), q.a, func(scan func(...any) error) error {
		var k, v string
		err := scan(&k, &v)
		old[k] = v
		return err
	}); err != nil {
		return nil, err
	}
	for _, p := range params {
		if v, ok := old[p.Key]; ok && v != p.Value {
			return problem.New(problem.Invalid, "Changing param values is not allowed. Param with key='%s' was already logged with value='%s' for run ID='%s'. Attempted logging new value '%s'.",
				p.Key, clip(v, 200), run, clip(p.Value, 200)).At("params"), nil
		}
	}
	for _, p := range params {
		if _, ok := old[p.Key]; ok {
			continue
		}
		var stored string
		if err := tx.QueryRow(`INSERT INTO run_param (workspace, run, key, value) VALUES ($1, $2, $3, $4)
			ON CONFLICT (workspace, run, key) DO UPDATE SET value = run_param.value RETURNING value`, tx.Workspace, run, p.Key, p.Value).Scan(&stored); err != nil {
			return nil, err
		}
		if stored != p.Value {
			return nil, problem.New(problem.Invalid, "Changing param values is not allowed. Param with key='%s' was already logged with value='%s' for run ID='%s'.", p.Key, clip(stored, 200), run).Because(errRace)
		}
		old[p.Key] = p.Value
	}
	return nil, nil
}
