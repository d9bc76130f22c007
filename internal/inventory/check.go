package inventory

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
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
	// Again tests a version that no engine could run, or whose engine had to be prepared, which may take minutes.
	Again bool `json:"again,omitempty"`
}

// PrepareQueue is the queue of the tests that may take minutes.
const PrepareQueue = "prepare"

// Jobs registers the background work.
func (s *Service) Jobs(r *job.Runner) { r.Handle(CheckKind, s.check) }

func (s *Service) check(ctx context.Context, j job.Job) error {
	var a CheckArgs
	if err := j.Bind(&a); err != nil {
		return err
	}
	return s.run(ctx, a)
}

// finding is how a self-test ended.
type finding struct {
	fault, reason string
	found         engine.Found
	signature     engine.Signature
	golden        Golden
	runsIn        string
}

// Check runs the self-test of a pending version and makes it ready or failed; any other version is left as it is.
func (s *Service) Check(ctx context.Context, model string, number int) error {
	return s.run(ctx, CheckArgs{Model: model, Version: number})
}

// due tells whether a version is to be tested: when it is pending, and again when no engine ran it.
func (a CheckArgs) due(v Version) bool {
	return v.State == Pending || a.Again && (v.State == Ready || v.State == Failed) && (v.Fault == FaultNoEngine || v.Fault == FaultPreparing)
}

func (s *Service) run(ctx context.Context, a CheckArgs) error {
	v, err := s.Version(ctx, a.Model, a.Version)
	if problem.Is(err, problem.NotFound) {
		return nil // deleted meanwhile
	}
	if err != nil || !a.due(v) {
		return err
	}
	start := time.Now()
	tries := s.tries()
	f, err := s.test(engine.WithRef(ctx, v.Ref()), v, a.Again)
	if err != nil {
		return fmt.Errorf("test %s: %w", v.Ref(), err)
	}
	spent := time.Since(start)
	err = s.DB.Write(ctx, func(tx db.Scope) error {
		now, err := getVersion(tx, a.Model, a.Version)
		if err != nil || !a.due(now) {
			return err
		}
		was := now.State
		now.Fault, now.Reason, now.Golden, now.RunsIn, now.tried, now.UpdatedAt = f.fault, f.reason, f.golden, f.runsIn, tries, s.Now()
		if f.found.Format != "" {
			now.Format, now.Engine = f.found.Format, f.found.Engine
		}
		if f.fault == FaultNoEngine && now.Format == FormatPyfunc {
			now.Engine = ""
		}
		if len(f.signature.Inputs) > 0 {
			now.Signature = f.signature
		}
		action, typ := "version.ready", EventReady
		now.State = Ready
		switch {
		case f.fault == FaultPreparing:
			action, typ = "version.preparing", ""
		case f.fault == FaultNoEngine && now.Format == FormatPyfunc:
			if was == Ready { // nothing new
				typ = ""
			}
		case f.fault != "":
			action, typ, now.State = "version.failed", EventFailed, Failed
		}
		if err := putVersion(tx, now); err != nil {
			return err
		}
		if f.fault == FaultPreparing {
			if err := job.Enqueue(tx, CheckKind, CheckArgs{Model: a.Model, Version: a.Version, Again: true}, job.Queue(PrepareQueue)); err != nil {
				return err
			}
		}
		detail := map[string]any{"model": a.Model, "version": a.Version, "artifact_digest": now.ArtifactDigest, "format": now.Format, "engine": now.Engine, "reason": now.Reason,
			"golden_rows": now.Golden.Rows, "max_error": now.Golden.MaxError, "limit": now.Golden.Limit}
		if now.RunsIn != "" {
			detail["runs_in"] = now.RunsIn
		}
		if typ != "" {
			if err := event.Publish(tx, typ, "model/"+now.Ref(), detail); err != nil {
				return err
			}
		}
		if err := usage.Book(tx, a.Model, usage.ComputeSeconds, spent.Seconds(), "model/"+now.Ref()); err != nil {
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
	s.Log.InfoContext(ctx, "version tested", "model", a.Model, "version", a.Version, "fault", f.fault, "reason", f.reason)
	return nil
}

// tries names the engines of this process, and what they need, as the record of a version keeps it.
func (s *Service) tries() string {
	settings := ""
	if s.EngineSettings != nil {
		settings = s.EngineSettings()
	}
	sum := sha256.Sum256([]byte(strings.Join(s.Engines.Formats(), " ") + " " + settings))
	return hex.EncodeToString(sum[:8])
}

// Retry tests once more the versions of a workspace that no engine could run, where the engines are others now. Each is
// tried once by the same engines.
func (s *Service) Retry(ctx context.Context) error {
	n, tries := 0, s.tries()
	err := s.DB.Write(ctx, func(tx db.Scope) error {
		n = 0
		list, err := untried(tx, tries)
		if err != nil {
			return err
		}
		for _, v := range list {
			if err := job.Enqueue(tx, CheckKind, CheckArgs{Model: v.Model, Version: v.Number, Again: true}, job.Queue(PrepareQueue)); err != nil {
				return err
			}
			v.tried = tries
			if err := putVersion(tx, v); err != nil {
				return err
			}
			n++
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("try versions again: %w", err)
	}
	if n > 0 {
		s.Log.InfoContext(ctx, "versions that no engine could run are tried again", "versions", n)
	}
	return nil
}

// TestAgain tests a version again that no engine could run.
func (s *Service) TestAgain(ctx context.Context, model string, number int) (Version, error) {
	err := s.DB.Write(ctx, func(tx db.Scope) error {
		v, err := getVersion(tx, model, number)
		if err != nil {
			return err
		}
		a := CheckArgs{Model: model, Version: number, Again: true}
		if !a.due(v) {
			return problem.New(problem.Conflict, "%s is %s; only a version that no engine could run is tested again.", v.Ref(), v.State)
		}
		v.Fault, v.Reason, v.UpdatedAt = FaultPreparing, "It is tested again.", s.Now()
		if v.State == Failed {
			v.State = Ready
		}
		return errors.Join(putVersion(tx, v), job.Enqueue(tx, CheckKind, a, job.Queue(PrepareQueue)), audit.Record(tx, "version.rechecked", "model/"+v.Ref(), map[string]any{"model": model, "version": number}))
	})
	if err != nil {
		return Version{}, err
	}
	return s.Version(ctx, model, number)
}

// test loads the version and runs its golden rows, in the most faithful way that works. What is wrong with the version is
// in the finding; an error is ours and the job tries again. prepare waits for engines that have to make something ready.
func (s *Service) test(ctx context.Context, v Version, prepare bool) (f finding, err error) {
	f.golden = Golden{Limit: DefaultGoldenLimit}
	if err := s.verify(ctx, v); err != nil {
		return f.refused(FaultLoad, err)
	}
	fsys := Folder(ctx, s.Blobs, v.Files)
	d, err := describe(fsys, v.Files)
	if err != nil {
		return f.refused(FaultLoad, err)
	}
	format := v.Format
	if prepare { // another engine may run it now
		format = ""
	}
	ways, err := s.Engines.Find(fsys, format)
	if err != nil {
		ways = []engine.Found{{Format: v.Format}} // trying tells what is wrong
	}
	first := true
	for _, way := range ways {
		for _, format := range append([]string{way.Format}, s.Engines.Others(way.Format)...) {
			one, err := s.try(ctx, v, fsys, d, engine.Found{Engine: way.Engine, Format: format, Path: way.Path}, prepare)
			switch {
			case err != nil || one.fault == FaultPreparing || first && one.fault != FaultNoEngine && one.fault != FaultGolden:
				return one, err
			case one.fault == "":
				// The most faithful engine cannot run it or answers otherwise than recorded; this one stands in.
				one.reason = fmt.Sprintf("It runs on the engine %s. %s", one.found.Engine, f.reason)
				return one, nil
			case first:
				f = one
			default:
				f.reason += " " + one.reason
			}
			first = false
		}
	}
	return f, nil
}

// try is test in one way. A way without a format is whatever the files are found to be.
func (s *Service) try(ctx context.Context, v Version, fsys fsFS, d described, way engine.Found, prepare bool) (f finding, err error) {
	f.golden, f.found = Golden{Limit: DefaultGoldenLimit}, way
	p := s.Engines.Preparing(fsys, way)
	switch {
	case prepare:
	case p != nil:
		return f.failed(FaultPreparing, "Its Python environment is being made."), nil
	case s.Engines.Slow(way.Format): // who registers does not wait
		return f.failed(FaultPreparing, "It is loaded by Python in a process of its own."), nil
	}
	if p != nil {
		if err := p.Prepare(ctx, fsys, way.Path); problem.Is(err, problem.Unsupported) {
			return f.failed(FaultNoEngine, "No engine in this build can run it: %s", problem.Detail(err)), nil
		} else if err != nil {
			return f.refused(FaultLoad, err)
		}
	}
	m, found, err := s.Engines.Load(ctx, fsys, way.Format, engine.Limits{})
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
	f.signature = named(m.Signature(), d.signature).WithColumns(v.Signature) // names may have come with the registration
	if r, ok := m.(engine.Runner); ok {
		f.runsIn = r.Where()
	}
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
		return f.failed(FaultGolden, "The engine refuses the golden rows: %s", problem.Detail(err)), nil
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
			return problem.New(problem.Conflict, "The bytes of %s in %s are not those that were registered; restore them from a backup or register a new version.", file.Path, v.Ref()).Because(err)
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
	m, _, err := s.Engines.Load(engine.WithRef(ctx, v.Ref()), Folder(ctx, s.Blobs, v.Files), v.Format, engine.Limits{})
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", v.Ref(), err)
	}
	return m, nil
}

// Compare gives the largest error of answers, |got − want| / max(1, |want|), and where it is; a text that differs counts 1.
func Compare(got, want []tensor.Tensor) (worst float64, where string, err error) {
	return compare(got, want)
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
