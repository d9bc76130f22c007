package job_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/job"
)

type args struct {
	N int `json:"n"`
}

func runner(d *db.DB, node string) *job.Runner {
	return &job.Runner{DB: d, Node: node, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
}

// start runs r until the returned function is called.
func start(t *testing.T, r *job.Runner) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	var stopped atomic.Bool
	stop = func() {
		if stopped.Swap(true) {
			return
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the runner ended with %v", err)
		}
	}
	t.Cleanup(stop)
	return stop
}

func wait[T any](t *testing.T, ch <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(20 * time.Second):
		t.Fatalf("%s did not happen in 20 s", what)
	}
	return v
}

func TestAJobCommitsAndRollsBackWithItsTransaction(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		got := make(chan job.Job, 10)
		where := make(chan string, 10)
		r := runner(d, "node-1")
		r.Handle("count", func(ctx context.Context, j job.Job) error {
			where <- caller.Workspace(ctx) + " " + caller.From(ctx).Name
			got <- j
			return nil
		})
		start(t, r)
		ctx := caller.WithWorkspace(context.Background(), "risk")
		boom := errors.New("boom")
		if err := d.Write(ctx, func(tx db.Scope) error { return errors.Join(job.Enqueue(tx, "count", args{1}), boom) }); !errors.Is(err, boom) {
			t.Fatal(err)
		}
		if err := d.Write(ctx, func(tx db.Scope) error { return job.Enqueue(tx, "count", args{2}) }); err != nil {
			t.Fatal(err)
		}
		var a args
		if j := wait(t, got, "the job"); j.Bind(&a) != nil || a.N != 2 || j.Attempt != 1 {
			t.Fatalf("got %+v", j)
		}
		if w := wait(t, where, "the job"); w != "risk job:count" {
			t.Fatalf("it ran as %q", w)
		}
	})
}

func TestAFailedJobIsTriedAgain(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		got := make(chan int, 10)
		r := runner(d, "node-1")
		r.Handle("flaky", func(_ context.Context, j job.Job) error {
			got <- j.Attempt
			if j.Attempt == 1 {
				return errors.New("not yet")
			}
			return nil
		})
		start(t, r)
		if err := d.Write(context.Background(), func(tx db.Scope) error { return job.Enqueue(tx, "flaky", args{}) }); err != nil {
			t.Fatal(err)
		}
		if a, b := wait(t, got, "the first attempt"), wait(t, got, "the second attempt"); a != 1 || b != 2 {
			t.Fatalf("attempts %d and %d", a, b)
		}
	})
}

// soon is how late a job may begin on a machine that does other things too; River's own asking on SQLite comes later.
const soon = 2 * time.Second

func TestAJobBeginsSoonAfterItIsDue(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		began := make(chan time.Time, 10)
		r := runner(d, "node-1")
		r.Queues = map[string]int{"default": 1, job.Urgent: 2}
		r.Handle("prompt", func(context.Context, job.Job) error { began <- time.Now(); return nil })
		r.Handle("flaky", func(_ context.Context, j job.Job) error {
			began <- time.Now()
			if j.Attempt == 1 {
				return errors.New("not yet")
			}
			return nil
		})
		start(t, r)
		enqueue := func(kind string, opts ...job.Option) {
			t.Helper()
			if err := d.Write(context.Background(), func(tx db.Scope) error { return job.Enqueue(tx, kind, args{}, opts...) }); err != nil {
				t.Fatal(err)
			}
		}
		enqueue("prompt")
		wait(t, began, "the first one") // the runner is up
		for i := range 12 {
			due, most, opts := time.Now(), soon, []job.Option{job.Queue([]string{"default", job.Urgent}[i%2])}
			if i%6 == 5 { // River looks for those every five seconds
				due, most = due.Add(time.Second), soon+5*time.Second
				opts = append(opts, job.At(due))
			}
			enqueue("prompt", opts...)
			if late := wait(t, began, "the job").Sub(due); late > most || late < -10*time.Millisecond {
				t.Errorf("job %d began %s after it was due", i, late)
			}
		}
		enqueue("flaky")
		first := wait(t, began, "the first attempt")
		if pause := wait(t, began, "the second attempt").Sub(first); pause < 900*time.Millisecond || pause > time.Second+soon {
			t.Errorf("the second attempt came %s after the first, want a second", pause)
		}
	})
}

func TestTheJobsOfAKilledNodeComeBackWithinSeconds(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		r := runner(d, "node-2")
		got := make(chan job.Job, 1)
		r.Handle("long", func(_ context.Context, j job.Job) error { got <- j; return nil })
		if err := d.Write(ctx, func(tx db.Scope) error {
			if err := job.Enqueue(tx, "long", args{7}); err != nil {
				return err
			}
			// What a node that was killed in the middle leaves behind.
			by := `'["node-1"]'`
			if tx.Postgres() {
				by = `'{node-1}'`
			}
			if _, err := tx.Exec("UPDATE river_job SET state = 'running', attempt = 1, attempted_by = " + by); err != nil {
				return err
			}
			_, err := tx.Exec("INSERT INTO node (id, seen) VALUES ('node-1', $1)", db.Micros(time.Now()))
			return err
		}); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		start(t, r)
		if j := wait(t, got, "the rescue"); j.Attempt != 2 {
			t.Fatalf("want the second attempt, got %+v", j)
		}
		if took := time.Since(begin); took < time.Second || took > 5*time.Second+job.Lost {
			t.Fatalf("it came back after %s: a silent node is lost after %s, not before", took, job.Lost)
		}
	})
}

func TestAJobThatTakesEveryProcessWithItIsGivenUp(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		r := runner(d, "node-2")
		got := make(chan job.Job, 1)
		r.Handle("deadly", func(_ context.Context, j job.Job) error { got <- j; return nil })
		r.Handle("unlucky", func(_ context.Context, j job.Job) error { got <- j; return nil })
		if err := d.Write(ctx, func(tx db.Scope) error {
			by := `'["node-1"]'`
			if tx.Postgres() {
				by = `'{node-1}'`
			}
			for kind, attempts := range map[string]string{"deadly": "12", "unlucky": "3"} {
				if err := job.Enqueue(tx, kind, args{1}, job.MaxAttempts(2)); err != nil {
					return err
				}
				if _, err := tx.Exec("UPDATE river_job SET state = 'running', attempted_by = "+by+", attempt = "+attempts+" WHERE kind = $1", kind); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		lost := make(chan string, 9)
		r.GivenUp("deadly", func(ctx context.Context, j job.Job, why string) error {
			var a args
			if err := j.Bind(&a); err != nil || a.N != 1 || caller.Workspace(ctx) != caller.DefaultWorkspace {
				t.Errorf("%+v in %q: %v", j, caller.Workspace(ctx), err)
			}
			lost <- why
			return nil
		})
		start(t, r)
		if why := wait(t, lost, "the last words"); why != "every process that worked on it died" {
			t.Errorf("it was given up because %q", why)
		}
		if j := wait(t, got, "the rescue"); j.Kind != "unlucky" || j.Attempt != 4 {
			t.Fatalf("got %+v", j)
		}
		var state string
		if err := d.Read(ctx, func(tx db.Scope) error {
			return tx.QueryRow("SELECT state FROM river_job WHERE kind = 'deadly'").Scan(&state)
		}); err != nil || state != "discarded" {
			t.Errorf("the deadly one is %s, %v", state, err)
		}
	})
}

func TestTheLastWordsOfAJobAreHeardUntilTheyAreUnderstood(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := caller.WithWorkspace(context.Background(), "lab")
		r := runner(d, "node-1")
		r.Handle("doomed", func(context.Context, job.Job) error { return errors.New("there is no \"disk\"") })
		words := make(chan string, 9)
		times := 0
		r.GivenUp("doomed", func(ctx context.Context, j job.Job, why string) error {
			if times++; times == 1 {
				return errors.New("not now")
			}
			words <- caller.Workspace(ctx) + ": " + why
			return nil
		})
		if err := d.Write(ctx, func(tx db.Scope) error { return job.Enqueue(tx, "doomed", args{1}, job.MaxAttempts(2)) }); err != nil {
			t.Fatal(err)
		}
		start(t, r)
		if got := wait(t, words, "the last words"); got != `lab: there is no "disk"` {
			t.Errorf("heard %s", got)
		}
	})
}

func TestOneOfTwoUniqueJobsIsKept(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		if err := d.Write(ctx, func(tx db.Scope) error {
			return errors.Join(job.Enqueue(tx, "once", args{1}, job.Unique()), job.Enqueue(tx, "once", args{1}, job.Unique()), job.Enqueue(tx, "once", args{2}, job.Unique()))
		}); err != nil {
			t.Fatal(err)
		}
		var n int
		if err := d.Read(ctx, func(tx db.Scope) error { return tx.QueryRow("SELECT COUNT(*) FROM river_job").Scan(&n) }); err != nil {
			t.Fatal(err)
		}
		if n != 2 {
			t.Fatalf("want 2 jobs, got %d", n)
		}
	})
}

func TestARunnerThatIsStoppedBeforeItBeganEndsInOrder(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := runner(d, "node-1").Run(ctx); err != nil {
			t.Errorf("it ended with %v", err)
		}
		n := -1
		if err := d.Read(context.Background(), func(tx db.Scope) error { return tx.QueryRow("SELECT COUNT(*) FROM node").Scan(&n) }); err != nil || n != 0 {
			t.Errorf("%d nodes are left (%v)", n, err)
		}
	})
}

func TestAPeriodicTaskRunsInOneProcessAtATime(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		var inside, most atomic.Int32
		calls := make(chan struct{}, 100)
		for _, node := range []string{"a", "b"} {
			r := runner(d, node)
			r.Every("sweep", 20*time.Millisecond, func(context.Context) error {
				if n := inside.Add(1); n > most.Load() {
					most.Store(n)
				}
				defer inside.Add(-1)
				calls <- struct{}{}
				return nil
			})
			start(t, r)
		}
		for range 10 {
			wait(t, calls, "the task")
		}
		if most.Load() != 1 {
			t.Fatalf("%d ran at once", most.Load())
		}
	})
}
