// Package job does background work that survives the process: River underneath, on SQLite and PostgreSQL.
//
// Enqueue joins the transaction of the act, so the row, its audit entry, its event and its job commit together. A job
// runs at least once: (ID, Attempt) is the fence that every effect outside the database carries. A node that is killed
// stops renewing its row in table node; its running jobs are given back after Lost, much sooner than River's own rescue.
package job

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"database/sql"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivertype"

	"keelson/internal/caller"
	"keelson/internal/db"
)

// Lost is how long a node may be silent before its running jobs are given to others.
const Lost = 3 * time.Second

// Job is one attempt at a piece of work.
type Job struct {
	ID      int64
	Kind    string
	Attempt int // 1 is the first
	Args    json.RawMessage
}

// Bind reads the arguments.
func (j Job) Bind(v any) error {
	if err := json.Unmarshal(j.Args, v); err != nil {
		return fmt.Errorf("read arguments of job %d (%s): %w", j.ID, j.Kind, err)
	}
	return nil
}

// Handler does a job; it is called again after an error or a crash, so it must be idempotent. ctx acts in the workspace
// of the one who enqueued, in the name of the job's kind. It ends when the process stops.
type Handler func(ctx context.Context, j Job) error

// envelope is what River stores: the arguments and where they came from.
type envelope struct {
	kind      string
	Workspace string          `json:"workspace"`
	By        string          `json:"by"`
	Args      json.RawMessage `json:"args"`
}

func (e envelope) Kind() string { return e.kind }

// Option changes how a job is enqueued.
type Option func(*river.InsertOpts)

// At runs the job at t at the earliest.
func At(t time.Time) Option { return func(o *river.InsertOpts) { o.ScheduledAt = t } }

// MaxAttempts bounds the attempts; the default is 25 with growing pauses.
func MaxAttempts(n int) Option { return func(o *river.InsertOpts) { o.MaxAttempts = n } }

// Urgent is the queue of acts that must not wait behind computations: what a policy does about an alert, what ends at a
// time.
const Urgent = "urgent"

// Queue names the queue; the default is "default". A queue must be among Runner.Queues of a running process.
func Queue(name string) Option { return func(o *river.InsertOpts) { o.Queue = name } }

// Unique leaves the job out if one of the same kind and arguments is waiting or running.
func Unique() Option {
	return func(o *river.InsertOpts) {
		o.UniqueOpts = river.UniqueOpts{ByArgs: true, ByState: []rivertype.JobState{rivertype.JobStateAvailable, rivertype.JobStatePending,
			rivertype.JobStateRunning, rivertype.JobStateRetryable, rivertype.JobStateScheduled}}
	}
}

var liteInserter = sync.OnceValues(func() (*river.Client[*sql.Tx], error) { return river.NewClient(riversqlite.New(nil), &river.Config{}) })
var pgInserter = sync.OnceValues(func() (*river.Client[pgx.Tx], error) { return river.NewClient(riverpgxv5.New(nil), &river.Config{}) })

// Enqueue adds a job in the transaction of the act.
func Enqueue(tx db.Scope, kind string, args any, opts ...Option) error {
	body, err := json.Marshal(args)
	if err != nil {
		return fmt.Errorf("enqueue %s: %w", kind, err)
	}
	e := envelope{kind: kind, Workspace: tx.Workspace, By: caller.From(tx.Ctx).Name, Args: body}
	var o river.InsertOpts
	for _, f := range opts {
		f(&o)
	}
	if tx.Postgres() {
		c, err := pgInserter()
		if err != nil {
			return err
		}
		return tx.Conn(func(conn *pgx.Conn) error {
			_, err := c.InsertTx(tx.Ctx, lent{conn}, e, &o)
			return err
		})
	}
	c, err := liteInserter()
	if err != nil {
		return err
	}
	_, err = c.InsertTx(tx.Ctx, tx.Tx(), e, &o)
	return err
}

// Runner works on jobs. Fill the fields, call Handle and Every, then Run.
type Runner struct {
	DB     *db.DB
	Log    *slog.Logger
	Node   string         // unique to this process
	Queues map[string]int // workers per queue; nil is {"default": 4}

	handlers map[string]Handler
	every    []periodic
	lost     map[string]LastWords
	heard    map[int64]hearing // of given up jobs that River still has; of one goroutine
}

type periodic struct {
	name  string
	pause time.Duration
	do    func(context.Context) error
}

// Handle registers the handler of a kind; a second one for the same kind panics.
func (r *Runner) Handle(kind string, h Handler) {
	if r.handlers == nil {
		r.handlers = map[string]Handler{}
	}
	if r.handlers[kind] != nil {
		panic("job: two handlers for " + kind)
	}
	r.handlers[kind] = h
}

// LastWords is told of a job that was given up, and why in one sentence or error text. It acts as the handler does, is
// called at least once, and again, up to a minute later, when it fails.
type LastWords func(ctx context.Context, j Job, why string) error

// GivenUp registers what follows when a job of a kind is given up: its last attempt failed, or it went down with every
// process that ran it. What the job was to end is ended there.
func (r *Runner) GivenUp(kind string, do LastWords) {
	if r.lost == nil {
		r.lost, r.heard = map[string]LastWords{}, map[int64]hearing{}
		r.Every("job.given-up", time.Second, r.hear)
	}
	r.lost[kind] = do
}

// Every calls do again and again with a pause, in one process at a time; an error is logged.
func (r *Runner) Every(name string, pause time.Duration, do func(context.Context) error) {
	r.every = append(r.every, periodic{name, pause, do})
}

type worker struct {
	river.WorkerDefaults[envelope]
	handle Handler
	log    *slog.Logger
}

func (w *worker) Timeout(*river.Job[envelope]) time.Duration { return -1 }

// NextRetry pauses 1 s after the first failure and doubles up to a minute.
func (w *worker) NextRetry(j *river.Job[envelope]) time.Time {
	return time.Now().Add(min(time.Second<<min(max(j.Attempt-1, 0), 6), time.Minute))
}

// acting is the context of work for a workspace, in the name of a kind of job.
func acting(ctx context.Context, kind, workspace string) context.Context {
	return caller.WithWorkspace(caller.System(ctx, "job:"+kind), workspace)
}

func (w *worker) Work(ctx context.Context, j *river.Job[envelope]) error {
	ctx = acting(ctx, j.Kind, j.Args.Workspace)
	err := w.handle(ctx, Job{ID: j.ID, Kind: j.Kind, Attempt: j.Attempt, Args: j.Args.Args})
	if err != nil && ctx.Err() == nil {
		w.log.WarnContext(ctx, "a job failed", "job", j.ID, "kind", j.Kind, "attempt", j.Attempt, "error", err)
	}
	return err
}

// client is what Runner needs of River's client, whatever its driver.
type client interface {
	Start(context.Context) error
	StopAndCancel(context.Context) error
}

// Run works until ctx ends, then cancels the handlers, waits for them and gives back what they did not finish.
func (r *Runner) Run(ctx context.Context) error {
	workers := river.NewWorkers()
	// River refuses to start without a worker, yet a process may have periodic tasks only.
	river.AddWorkerArgs(workers, envelope{kind: "job.none"}, &worker{handle: func(context.Context, Job) error { return nil }, log: r.Log})
	for kind, h := range r.handlers {
		river.AddWorkerArgs(workers, envelope{kind: kind}, &worker{handle: h, log: r.Log})
	}
	queues := map[string]river.QueueConfig{}
	for name, n := range r.Queues {
		queues[name] = river.QueueConfig{MaxWorkers: n}
	}
	if len(queues) == 0 {
		queues["default"] = river.QueueConfig{MaxWorkers: 4}
	}
	cfg := &river.Config{ID: r.Node, Workers: workers, Queues: queues, JobTimeout: -1, Logger: slog.New(quiet{r.Log.Handler()}),
		FetchPollInterval: askOften, FetchCooldown: 20 * time.Millisecond, CompletedJobRetentionPeriod: time.Hour}
	var c client
	var rung bell
	var err error
	if r.DB.Postgres() {
		pool, err2 := pgxpool.New(ctx, r.DB.DSN())
		if err2 != nil {
			return fmt.Errorf("connect job runner: %w", err2)
		}
		defer pool.Close()
		c, err = newClient(riverpgxv5.New(pool), cfg)
	} else {
		driver := newRinging(r.DB.Writer())
		rung, cfg.FetchPollInterval = driver.bell, askSeldom
		c, err = newClient(driver, cfg)
	}
	if err != nil {
		return fmt.Errorf("set up job runner: %w", err)
	}
	if err = r.beat(ctx); err == nil {
		err = r.rescue(ctx)
	}
	if ctx.Err() != nil { // stopped before it began
		return r.leave(context.WithoutCancel(ctx))
	}
	if err != nil {
		return err
	}
	// River's context must outlive ours, so that what it finished is still recorded while we stop.
	if err := c.Start(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("start job runner: %w", err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { r.heart(ctx) })
	if rung != nil {
		wg.Go(func() { r.watch(ctx, rung) })
	}
	for _, p := range r.every {
		wg.Go(func() { r.repeat(ctx, p) })
	}
	<-ctx.Done()
	wg.Wait()
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := c.StopAndCancel(stop); err != nil {
		r.Log.WarnContext(ctx, "the job runner did not stop in time", "error", err)
	}
	return r.leave(stop)
}

func newClient[T any](driver riverdriver.Driver[T], cfg *river.Config) (client, error) {
	return river.NewClient(driver, cfg)
}

func (r *Runner) repeat(ctx context.Context, p periodic) {
	tick := time.NewTicker(p.pause)
	defer tick.Stop()
	for {
		_, mine, err := r.DB.Hold(ctx, "every:"+p.name, r.Node, p.pause+Lost)
		if err == nil && mine {
			err = p.do(caller.System(ctx, p.name))
		}
		if err != nil && ctx.Err() == nil {
			r.Log.ErrorContext(ctx, "a periodic task failed", "task", p.name, "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
