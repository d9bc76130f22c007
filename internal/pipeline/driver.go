package pipeline

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"keelson/internal/audit"
	"keelson/internal/db"
	"keelson/internal/event"
	"keelson/internal/problem"
	"keelson/internal/usage"
)

// driver carries one run from where it is to its end.
type driver struct {
	*Service
	id    string
	fence int64
	def   Definition
	p     Pipeline
}

// watchTick is how often a driver looks for a wish to cancel and for a newer driver.
const watchTick = 400 * time.Millisecond

// drive runs until the run has ended, the process stops or another driver takes over.
func (s *Service) drive(ctx context.Context, id string, fence int64) error {
	d := &driver{Service: s, id: id, fence: fence}
	var r Run
	err := s.DB.Write(ctx, func(tx db.Scope) (err error) {
		if err = s.store.claim(tx, id, fence); err != nil {
			return err
		}
		if r, err = s.store.run(tx, id); err != nil || r.Ended() {
			return err
		}
		if d.p, err = s.store.pipeline(tx, r.Pipeline, r.PipelineVersion); err != nil {
			return err
		}
		r.State = Running
		if r.StartedAt == nil {
			now := s.Now()
			r.StartedAt = &now
		}
		return s.store.putRun(tx, r)
	})
	switch {
	case errors.Is(err, errFenced):
		return nil // a later job drives it
	case err != nil:
		return fmt.Errorf("take run %s: %w", id, err)
	case r.Ended():
		return nil
	}
	if d.def, err = Parse("keelson.yaml", []byte(d.p.definition)); err != nil {
		return fmt.Errorf("read stored pipeline %s: %w", r.Pipeline, err)
	}
	s.Log.InfoContext(ctx, "pipeline run taken", "pipeline", r.Pipeline, "run", id, "fence", fence)
	if err := d.loop(ctx); err != nil && !errors.Is(err, errFenced) {
		return err
	}
	return nil
}

type ending struct {
	step string
	err  error
}

// loop starts what is ready and waits for ends until nothing is left. Steps found running belong to an earlier driver:
// they are adopted or started again under a new attempt.
func (d *driver) loop(parent context.Context) (err error) {
	ctx, stop := context.WithCancelCause(parent)
	endings := make(chan ending)
	active := map[string]bool{}
	defer func() { // whatever ends the loop, no step outlives it
		stop(err)
		for len(active) > 0 {
			delete(active, (<-endings).step)
		}
	}()
	tick := time.NewTicker(watchTick)
	defer tick.Stop()
	for {
		r, err := d.reload(ctx)
		if err != nil {
			return err
		}
		if r.cancel {
			stop(errCancelled)
			for len(active) > 0 {
				delete(active, (<-endings).step)
			}
			return d.finish(parent, true, "")
		}
		next := ready(r.Steps)
		for _, st := range r.Steps {
			if !active[st.Name] && (st.State == Running || slices.Contains(next, st.Name)) {
				active[st.Name] = true
				go func() { endings <- ending{st.Name, d.guarded(ctx, r, st)} }() // loop receives every ending
			}
		}
		if len(active) == 0 {
			return d.finish(ctx, false, "")
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case e := <-endings:
			delete(active, e.step)
			if e.err != nil {
				return fmt.Errorf("step %s of run %s: %w", e.step, d.id, e.err)
			}
		case <-tick.C:
		}
	}
}

var errCancelled = errors.New("the run was cancelled")

// reload reads the run and fails with errFenced once another driver has it.
func (d *driver) reload(ctx context.Context) (r Run, err error) {
	err = d.DB.Read(ctx, func(tx db.Scope) (err error) {
		r, err = d.store.run(tx, d.id)
		return err
	})
	if err == nil && r.fence != d.fence {
		err = errFenced
	}
	return r, err
}

// change writes to the run in one transaction, refused once another driver has it.
func (d *driver) change(ctx context.Context, do func(tx db.Scope, r *Run) error) error {
	return d.DB.Write(ctx, func(tx db.Scope) error {
		if err := d.store.holds(tx, d.id, d.fence); err != nil {
			return err
		}
		r, err := d.store.run(tx, d.id)
		if err != nil {
			return err
		}
		return do(tx, &r)
	})
}

// abandon ends a run whose last driver failed: what it left running has failed for that reason, what never ran is skipped.
func (s *Service) abandon(ctx context.Context, id string, fence int64, why string) error {
	d := &driver{Service: s, id: id, fence: fence}
	var r Run
	err := s.DB.Write(ctx, func(tx db.Scope) (err error) {
		if err = s.store.claim(tx, id, fence); err != nil {
			return err
		}
		if r, err = s.store.run(tx, id); err != nil || r.Ended() {
			return err
		}
		d.p, err = s.store.pipeline(tx, r.Pipeline, r.PipelineVersion)
		return err
	})
	if errors.Is(err, errFenced) || problem.Is(err, problem.NotFound) || err == nil && r.Ended() {
		return nil
	}
	if err != nil {
		return fmt.Errorf("give up run %s: %w", id, err)
	}
	for _, st := range r.Steps {
		if st.State != Running {
			continue
		}
		a := &attempt{driver: d, run: r, step: st, id: taskID(id, st)}
		if err := errors.Join(a.abandon(ctx), a.Executor.Forget(ctx, a.id), a.removeWork()); err != nil {
			s.Log.WarnContext(ctx, "a step of a run that was given up could not be cleared away", "run", id, "step", st.Name, "error", err)
		}
	}
	if len(why) > 1000 {
		why = strings.ToValidUTF8(why[:1000], "") + "..."
	}
	if err := d.finish(ctx, false, "The run was given up after its last attempt: "+why); !errors.Is(err, errFenced) {
		return err
	}
	return nil
}

// finish ends the run: what never ran is skipped or cancelled, the digest of what was made is computed. A reason ends it as
// failed, with whatever runs.
func (d *driver) finish(ctx context.Context, cancelled bool, reason string) error {
	var done Run
	err := d.change(ctx, func(tx db.Scope, r *Run) error {
		lost := blocked(r.Steps)
		for i := range r.Steps {
			st := &r.Steps[i]
			switch {
			case cancelled && !st.ended():
				st.State, st.Error = Cancelled, "The run was cancelled."
			case reason != "" && st.State == Running:
				st.State, st.Error = Failed, reason
			case reason != "" && !st.ended():
				st.State, st.Error = Skipped, "The run was given up."
			case slices.Contains(lost, st.Name):
				st.State, st.Error = Skipped, "Something it needs did not succeed."
			default:
				continue
			}
			now := d.Now()
			st.EndedAt = &now
			if err := d.store.putStep(tx, r.ID, *st); err != nil {
				return err
			}
		}
		now := d.Now()
		r.EndedAt = &now
		if r.State, r.Error = outcome(r.Steps); reason != "" {
			r.State, r.Error = Failed, reason
		} else if r.State == Succeeded {
			r.ContentDigest = contentDigest(d.p, *r)
		}
		done = *r
		return errors.Join(d.store.putRun(tx, *r),
			audit.Record(tx, "pipeline.run.finished", "pipeline-run/"+r.ID, map[string]any{"pipeline": r.Pipeline, "state": r.State, "error": r.Error,
				"content_digest": r.ContentDigest, "versions": r.Versions, "models": []string{r.Model}}),
			event.Publish(tx, "pipeline.run.finished", "pipeline-run/"+r.ID, map[string]any{"pipeline": r.Pipeline, "model": r.Model, "state": r.State,
				"trigger": r.Trigger, "versions": r.Versions, "content_digest": r.ContentDigest}))
	})
	if err != nil {
		return err
	}
	d.Log.InfoContext(ctx, "pipeline run finished", "pipeline", done.Pipeline, "run", done.ID, "state", done.State)
	return nil
}

// attempt is one start of one step.
type attempt struct {
	*driver
	run  Run
	step Step
	def  StepDef
	id   string // task id
}

// done is how an attempt ended.
type done struct {
	code     *int
	reason   string // empty is success
	outputs  map[string]any
	versions []ModelRef // register
	cpu      time.Duration
}

// guarded is step; a panic in it stops this driver and not the server.
func (d *driver) guarded(ctx context.Context, r Run, st Step) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	return d.step(ctx, r, st)
}

// step carries one step to its end. An error means that this driver is to stop; a step that failed is not an error.
func (d *driver) step(ctx context.Context, r Run, st Step) error {
	a := &attempt{driver: d, run: r, step: st, def: d.def.Steps[st.Name]}
	resumed := false
	if st.State == Running {
		a.id = taskID(d.id, st)
		if st.Kind == Command && st.address == d.URL() {
			ok, err := d.Executor.Adopt(ctx, a.id)
			if err != nil {
				return err
			}
			resumed = ok
		}
		if !resumed {
			if err := errors.Join(a.abandon(ctx), a.Executor.Forget(ctx, a.id), a.removeWork()); err != nil {
				return err
			}
		}
	}
	if !resumed {
		if err := a.begin(ctx); err != nil {
			return err
		}
	} else {
		d.Log.InfoContext(ctx, "pipeline step adopted", "run", d.id, "step", st.Name, "attempt", st.Attempt)
	}
	out, err := a.work(ctx, resumed)
	if err != nil {
		stopped := context.WithoutCancel(ctx)
		err = errors.Join(err, a.abandon(stopped))
		if errors.Is(context.Cause(ctx), errCancelled) {
			return a.end(stopped, done{reason: "The run was cancelled."}, Cancelled)
		}
		if p, ok := problem.As(err); ok && ctx.Err() == nil && p.Kind != problem.Internal {
			return a.end(ctx, done{reason: p.Detail}, Failed)
		}
		return err
	}
	state := Succeeded
	if out.reason != "" {
		state = Failed
	}
	return a.end(ctx, out, state)
}

// begin counts a new attempt before anything of it exists.
func (a *attempt) begin(ctx context.Context) error {
	number := a.step.Attempt + 1 // outside of the transaction, which may run again
	return a.change(ctx, func(tx db.Scope, r *Run) error {
		now := a.Now()
		st := &a.step
		st.State, st.StartedAt, st.EndedAt, st.Error, st.ExitCode, st.Outputs = Running, &now, nil, "", nil, nil
		st.Attempt = number
		st.address, st.token, st.logDigest, st.logSize = a.URL(), "", "", 0
		a.id = taskID(a.driver.id, *st)
		return errors.Join(a.store.putStep(tx, r.ID, *st),
			event.Publish(tx, "pipeline.step.started", "pipeline-run/"+r.ID, map[string]any{"step": st.Name, "attempt": st.Attempt}))
	})
}

// abandon ends what may still run of an attempt and takes its token back, so that nothing it does counts any more.
func (a *attempt) abandon(ctx context.Context) error {
	if a.step.Kind != Command {
		return nil
	}
	return errors.Join(a.Executor.Cancel(ctx, a.id), a.revoke(ctx))
}

// end records how the attempt ended, keeps its log and books what it cost.
func (a *attempt) end(ctx context.Context, out done, state string) error {
	digest, size, err := a.keepLog(ctx)
	if err != nil {
		return fmt.Errorf("keep log: %w", err)
	}
	if err := a.revoke(ctx); err != nil {
		return fmt.Errorf("revoke token: %w", err)
	}
	err = a.change(ctx, func(tx db.Scope, r *Run) error {
		now := a.Now()
		st := &a.step
		st.State, st.EndedAt, st.Error, st.ExitCode, st.Outputs = state, &now, out.reason, out.code, out.outputs
		st.logDigest, st.logSize = digest, size
		if len(out.versions) > 0 {
			r.Versions = out.versions
		}
		if cpu := out.cpu.Seconds(); cpu > 0 {
			if err := usage.Book(tx, r.Model, usage.ComputeSeconds, cpu, "pipeline-run/"+a.id); err != nil {
				return err
			}
		}
		return errors.Join(a.store.putStep(tx, r.ID, *st), a.store.putRun(tx, *r),
			event.Publish(tx, "pipeline.step.finished", "pipeline-run/"+r.ID, map[string]any{"step": st.Name, "attempt": st.Attempt, "state": state, "error": out.reason}))
	})
	if err != nil {
		return err
	}
	a.Log.InfoContext(ctx, "pipeline step finished", "run", a.driver.id, "step", a.step.Name, "state", state, "error", out.reason)
	return errors.Join(a.Executor.Forget(ctx, a.id), a.removeWork())
}
