package inventory

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"keelson/internal/audit"
	"keelson/internal/db"
	"keelson/internal/engine"
	"keelson/internal/event"
	"keelson/internal/job"
	"keelson/internal/problem"
	"keelson/internal/tensor"
	"keelson/internal/usage"
)

type fsFS = fs.FS

// CheckKind is the job that runs a version's golden rows through the engine.
const CheckKind = "inventory.check"

// CheckArgs are its arguments.
type CheckArgs struct {
	Model   string `json:"model"`
	Version int    `json:"version"`
}

// Jobs registers the background work.
func (s *Service) Jobs(r *job.Runner) { r.Handle(CheckKind, s.check) }

func (s *Service) check(ctx context.Context, j job.Job) error {
	var a CheckArgs
	if err := j.Bind(&a); err != nil {
		return err
	}
	return s.Check(ctx, a.Model, a.Version)
}

// finding is how a self-test ended.
type finding struct {
	fault, reason string
	found         engine.Found
	signature     engine.Signature
	golden        Golden
}

// Check runs the self-test of a pending version and makes it ready or failed; any other version is left as it is.
func (s *Service) Check(ctx context.Context, model string, number int) error {
	v, err := s.Version(ctx, model, number)
	if problem.Is(err, problem.NotFound) {
		return nil // deleted meanwhile
	}
	if err != nil || v.State != Pending {
		return err
	}
	start := time.Now()
	f, err := s.test(ctx, v)
	if err != nil {
		return fmt.Errorf("test %s: %w", v.Ref(), err)
	}
	spent := time.Since(start)
	err = s.DB.Write(ctx, func(tx db.Scope) error {
		now, err := getVersion(tx, model, number)
		if err != nil || now.State != Pending {
			return err
		}
		now.Fault, now.Reason, now.Golden, now.UpdatedAt = f.fault, f.reason, f.golden, s.Now()
		if f.found.Format != "" {
			now.Format, now.Engine = f.found.Format, f.found.Engine
		}
		if len(f.signature.Inputs) > 0 {
			now.Signature = f.signature
		}
		action, typ := "version.ready", EventReady
		now.State = Ready
		if f.fault != "" && !(f.fault == FaultNoEngine && f.found.Format == FormatPyfunc) {
			action, typ, now.State = "version.failed", EventFailed, Failed
		}
		if err := putVersion(tx, now); err != nil {
			return err
		}
		detail := map[string]any{"model": model, "version": number, "artifact_digest": now.ArtifactDigest, "format": now.Format, "engine": now.Engine, "reason": now.Reason,
			"golden_rows": now.Golden.Rows, "max_error": now.Golden.MaxError, "limit": now.Golden.Limit}
		if err := event.Publish(tx, typ, "model/"+now.Ref(), detail); err != nil {
			return err
		}
		if err := usage.Book(tx, model, "compute_seconds", spent.Seconds(), "model/"+now.Ref()); err != nil {
			return err
		}
		return audit.Record(tx, action, "model/"+now.Ref(), detail)
	})
	if problem.Is(err, problem.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	s.Log.InfoContext(ctx, "version tested", "model", model, "version", number, "fault", f.fault, "reason", f.reason)
	return nil
}

// test loads the version and runs its golden rows. What is wrong with the version is in the finding; an error is ours and
// the job tries again.
func (s *Service) test(ctx context.Context, v Version) (f finding, err error) {
	f.golden = Golden{Limit: DefaultGoldenLimit}
	if err := s.verify(ctx, v); err != nil {
		return f.refused(FaultLoad, err)
	}
	fsys := Folder(ctx, s.Blobs, v.Files)
	d, err := describe(fsys, v.Files)
	if err != nil {
		return f.refused(FaultLoad, err)
	}
	if f, err = s.try(ctx, v, fsys, d, v.Format); err != nil || f.fault != FaultNoEngine && f.fault != FaultGolden {
		return f, err
	}
	// The lightest engine cannot run it or answers otherwise than recorded: those that stand in for it are asked in turn.
	for _, format := range s.Engines.Others(f.found.Format) {
		o, err := s.try(ctx, v, fsys, d, format)
		if err != nil {
			return f, err
		}
		if o.fault == "" {
			o.reason = fmt.Sprintf("It runs on the engine %s. %s", o.found.Engine, f.reason)
			return o, nil
		}
		f.reason += " " + o.reason
	}
	return f, nil
}

// try runs the version by the engine of one format, or by the one that is found.
func (s *Service) try(ctx context.Context, v Version, fsys fsFS, d described, format string) (f finding, err error) {
	f.golden = Golden{Limit: DefaultGoldenLimit}
	m, found, err := s.Engines.Load(ctx, fsys, format, engine.Limits{})
	f.found = found
	if err != nil {
		if problem.Is(err, problem.Unsupported) {
			p, _ := problem.As(err)
			if d.ml != nil && d.ml.Flavors["python_function"] != nil && f.found.Format == "" {
				f.found.Format = FormatPyfunc // MLflow's client can use it, so the record is complete
			}
			return f.failed(FaultNoEngine, "No engine in this build can run it: %s", p.Detail), nil
		}
		return f.refused(FaultLoad, err)
	}
	defer m.Close()
	f.signature = named(m.Signature(), d.signature)
	if t, ok := m.(engine.SelfTester); ok {
		if err := t.SelfTest(ctx); err != nil {
			return f.refused(FaultGolden, err)
		}
	}
	ex, err := golden(v.examples, fsys, d.ml)
	if err != nil {
		return f.refused(FaultGolden, err)
	}
	if ex == nil {
		return f, nil
	}
	f.golden.Limit = ex.limit
	in := ex.tensors
	if ex.frame != nil {
		if in, err = Feed(f.signature, *ex.frame, 0, ex.frame.Rows); err != nil {
			if ex.answers == nil { // an example without answers that does not fit proves nothing
				return f, nil
			}
			return f.refused(FaultGolden, err)
		}
	}
	if len(in) == 0 {
		return f.failed(FaultGolden, "The golden rows hold no inputs."), nil
	}
	f.golden.Rows = rowsOf(in)
	out, err := m.Predict(ctx, in)
	if err != nil {
		if ctx.Err() != nil {
			return f, ctx.Err()
		}
		return f.failed(FaultGolden, "The engine refuses the golden rows: %s", detail(err)), nil
	}
	if ex.answers == nil {
		return f, nil
	}
	worst, where, err := compare(out, ex.answers)
	if err != nil {
		return f.refused(FaultGolden, err)
	}
	f.golden.MaxError = &worst
	if worst > ex.limit {
		return f.failed(FaultGolden, "The golden rows do not come out as recorded: the largest error is %.3g, the limit %.3g; %s.", worst, ex.limit, where), nil
	}
	return f, nil
}

// verify re-reads every file and refuses bytes that are not those that were registered.
func (s *Service) verify(ctx context.Context, v Version) error {
	for _, file := range v.Files {
		err := s.Blobs.Verify(ctx, file.Digest)
		if k := problem.KindOf(err); err != nil && (k == problem.Conflict || k == problem.NotFound) {
			return problem.New(problem.Conflict, "The bytes of %s in %s are not those that were registered.", file.Path, v.Ref()).Because(err)
		}
		if err != nil {
			return fmt.Errorf("verify %s: %w", file.Path, err)
		}
	}
	return nil
}

// Load verifies the files of a version and loads it into its engine. Close the model.
func (s *Service) Load(ctx context.Context, v Version) (engine.Model, error) {
	if err := s.verify(ctx, v); err != nil {
		return nil, err
	}
	m, _, err := s.Engines.Load(ctx, Folder(ctx, s.Blobs, v.Files), v.Format, engine.Limits{})
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", v.Ref(), err)
	}
	return m, nil
}

// rowsOf is the number of rows of a call: the longest first dimension.
func rowsOf(in []tensor.Tensor) int {
	n := 0
	for i := range in {
		n = max(n, in[i].Rows())
	}
	return n
}

func (f finding) failed(fault, format string, a ...any) finding {
	f.fault, f.reason = fault, fmt.Sprintf(format, a...)
	return f
}

// permanent are the kinds of failure that trying again does not mend.
var permanent = []problem.Kind{problem.Invalid, problem.Unsupported, problem.TooLarge, problem.Conflict, problem.NotFound}

func (f finding) refused(fault string, err error) (finding, error) {
	if p, ok := problem.As(err); ok && slices.Contains(permanent, p.Kind) {
		f.fault, f.reason = fault, p.Detail
		return f, nil
	}
	return f, err
}

// Await waits until a version is no longer pending, at most d, and gives it as it is then.
func (s *Service) Await(ctx context.Context, model string, number int, d time.Duration) (Version, error) {
	ctx2, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	pause := 10 * time.Millisecond
	for {
		v, err := s.Version(ctx, model, number)
		if err != nil || v.State != Pending {
			return v, err
		}
		select {
		case <-ctx2.Done():
			return v, ctx.Err()
		case <-time.After(pause):
		}
		pause = min(2*pause, 100*time.Millisecond)
	}
}
