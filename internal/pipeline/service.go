package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path"
	"runtime"
	"slices"
	"sync"
	"time"

	"keelson/internal/audit"
	"keelson/internal/blob"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/event"
	"keelson/internal/job"
	"keelson/internal/problem"
	"keelson/internal/venv"
)

// Finding is one broken data rule.
type Finding struct {
	Rule   string  `json:"rule"`
	Column string  `json:"column,omitempty"`
	Detail string  `json:"detail"`
	Rows   []int64 `json:"rows,omitempty"`
	Count  int64   `json:"count"`
}

// Import is a file that becomes the next version of a data set.
type Import struct {
	Dataset, Format, Note string
	Run                   string // the pipeline run that made it
	Parents               []DataRef
	Body                  io.Reader
}

// Data is what pipelines ask of data sets. Version 0 is the newest.
type Data interface {
	Resolve(ctx context.Context, name string, version int) (DataRef, error)
	Content(ctx context.Context, name string, version int) (io.ReadCloser, error)
	Check(ctx context.Context, name string, version int, rules []Rule) ([]Finding, error)
	Import(ctx context.Context, in Import) (DataRef, error)
}

// Registered is a model version as the register step sees it. State is pending, ready, failed or retired.
type Registered struct {
	ModelRef
	State, Reason string
}

// Registry is what pipelines ask of tracking and inventory: the model versions registered from MLflow runs whose tag
// TagAttempt is one of attempts.
type Registry interface {
	EnsureExperiment(ctx context.Context, name string) error
	Registered(ctx context.Context, pipelineRun string, attempts []string) ([]Registered, error)
}

// Verdict is how an evaluation ended. Running says that it has not.
type Verdict struct {
	ID      string
	Running bool
	Passed  bool
	Failed  []string // one sentence per failed test, beginning with its name
	Metrics map[string]float64
}

// Evaluator is what pipelines ask of evaluation.
type Evaluator interface {
	Start(ctx context.Context, model string, version int, suite Suite, data DataRef) (id string, err error)
	Evaluation(ctx context.Context, id string) (Verdict, error)
}

// Tokens gives a child what it signs in with, and takes it back.
type Tokens interface {
	// Issue makes a token of the service account of a pipeline; name says what it is for.
	Issue(ctx context.Context, pipeline, name string, ttl time.Duration) (id, token string, err error)
	// Revoke takes a token back; one that is gone is no error.
	Revoke(ctx context.Context, id string) error
}

// Tags of the MLflow runs that children start, beside those that tracking declares; the mlflow client sets them from
// MLFLOW_RUN_CONTEXT.
const (
	TagStep    = "keelson.pipeline_step"
	TagAttempt = "keelson.pipeline_attempt" // RUN/STEP/ATTEMPT
)

// Service keeps pipelines and drives their runs. All fields but Defaults and Python are required.
type Service struct {
	DB       *db.DB
	Blobs    blob.Store
	Log      *slog.Logger
	Now      func() time.Time
	Data     Data
	Registry Registry
	Evaluate Evaluator
	Tokens   Tokens
	Executor Executor
	URL      func() string      // address of this server as a child on this machine reaches it
	Work     string             // folder for work folders and Python environments
	Defaults Limits             // for steps that name none; zero fields are 4 GiB, 1 h, 1 h, 1 GiB
	Envs     *venv.Environments // shared with whoever else builds from lock files; nil: in Work

	once  sync.Once
	slots chan struct{} // one per command step running at the same time
	store store
}

const jobDrive = "pipeline.drive"

// Queue is the job queue of runs; a worker drives one run at a time.
const Queue = "pipeline"

func (s *Service) setUp() {
	s.once.Do(func() {
		s.slots = make(chan struct{}, max(runtime.NumCPU(), 2))
		if s.Envs == nil {
			s.Envs = &venv.Environments{Root: path.Join(s.Work, "environments")}
		}
	})
}

// Jobs registers what drives runs.
func (s *Service) Jobs(r *job.Runner) {
	r.Handle(jobDrive, func(ctx context.Context, j job.Job) error {
		var args struct{ Run string }
		if err := j.Bind(&args); err != nil {
			return err
		}
		s.setUp()
		// Later jobs and later attempts have larger numbers, so an older driver's writes are refused.
		return s.drive(ctx, args.Run, j.ID<<20|int64(j.Attempt))
	})
	r.GivenUp(jobDrive, func(ctx context.Context, j job.Job, why string) error {
		var args struct{ Run string }
		if err := j.Bind(&args); err != nil {
			return err
		}
		s.setUp()
		return s.abandon(ctx, args.Run, j.ID<<20|int64(j.Attempt), why)
	})
}

// Save stores a project file and its source as the pipeline's next version; the same content again is the same version.
// archive is a gzipped tar of the project's folder and may be nil.
func (s *Service) Save(ctx context.Context, name string, definition []byte, archive io.Reader, from Source) (Pipeline, error) {
	d, err := Parse("keelson.yaml", definition)
	if err != nil {
		return Pipeline{}, err
	}
	if d.Name != name {
		return Pipeline{}, problem.New(problem.Invalid, "The project file is of pipeline %q, but it was sent to %q.", d.Name, name).At("name")
	}
	if err := d.judge(); err != nil {
		return Pipeline{}, err
	}
	p := Pipeline{Name: d.Name, Description: d.Description, Model: d.Model, Source: from, Steps: d.Outlines(), definition: string(definition)}
	if archive != nil {
		if p.archive, p.Environment, err = s.keepArchive(ctx, archive, d.Environment.Requirements); err != nil {
			return Pipeline{}, err
		}
	} else if slices.ContainsFunc(d.Outlines(), func(o Outline) bool { return o.Kind == Command }) {
		return Pipeline{}, problem.New(problem.Invalid, "Pipeline %s runs commands, but no source was sent with it; send the project's folder as the part source, as keelson pipeline run does.", name).At("source")
	}
	p.Digest = digestOf([]byte(digestOf(definition) + "\n" + p.archive))
	err = s.DB.Write(ctx, func(tx db.Scope) error {
		now := s.Now()
		same, err := s.store.byDigest(tx, name, p.Digest)
		if err == nil {
			p.Version, p.CreatedAt, p.CreatedBy = same.Version, same.CreatedAt, same.CreatedBy
			p.UpdatedAt = now
			return s.store.putLatest(tx, p, same.Version)
		}
		if !errors.Is(err, db.ErrNoRows) {
			return err
		}
		if p.Version, err = s.store.nextVersion(tx, name); err != nil {
			return err
		}
		p.CreatedAt, p.UpdatedAt, p.CreatedBy = now, now, caller.From(tx.Ctx).Name
		if err := s.store.putVersion(tx, p); err != nil {
			return err
		}
		return errors.Join(
			s.store.putLatest(tx, p, p.Version),
			audit.Record(tx, "pipeline.saved", "pipeline/"+name, map[string]any{"version": p.Version, "digest": p.Digest, "source": from, "models": []string{p.Model}}),
			event.Publish(tx, "pipeline.saved", "pipeline/"+name, map[string]any{"version": p.Version, "digest": p.Digest}),
		)
	})
	if err != nil {
		return Pipeline{}, fmt.Errorf("save pipeline %s: %w", name, err)
	}
	return p, nil
}

// Get gives the newest version of a pipeline.
func (s *Service) Get(ctx context.Context, name string) (p Pipeline, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) (err error) {
		p, err = s.store.pipeline(tx, name, 0)
		return err
	})
	return p, err
}

// List gives all pipelines by name.
func (s *Service) List(ctx context.Context) (ps []Pipeline, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) (err error) {
		ps, err = s.store.pipelines(tx)
		return err
	})
	return ps, err
}

// Request starts a run. Version 0 is the newest; data sets without a version use their newest.
type Request struct {
	Version int            `json:"version,omitempty"`
	Params  map[string]any `json:"params,omitempty"`
	Data    map[string]int `json:"data,omitempty"`
	Seed    *int64         `json:"seed,omitempty"`
}

// Start records a run and queues it.
func (s *Service) Start(ctx context.Context, name string, in Request, why Trigger) (Run, error) {
	return s.start(ctx, name, in, why, func(db.Scope) error { return nil })
}

// start is Start of what may says in the same transaction may start.
func (s *Service) start(ctx context.Context, name string, in Request, why Trigger, may func(db.Scope) error) (Run, error) {
	var p Pipeline
	if err := s.DB.Read(ctx, func(tx db.Scope) (err error) {
		p, err = s.store.pipeline(tx, name, in.Version)
		return err
	}); err != nil {
		return Run{}, err
	}
	d, err := Parse("keelson.yaml", []byte(p.definition))
	if err != nil {
		return Run{}, fmt.Errorf("read stored pipeline %s: %w", name, err)
	}
	r := Run{ID: db.NewID(), Pipeline: name, PipelineVersion: p.Version, Model: d.Model, State: Queued, Trigger: why, By: caller.From(ctx).Name,
		CreatedAt: s.Now(), Source: p.Source, Environment: p.Environment, Seed: d.Seed, Data: []DataRef{}, Versions: []ModelRef{}}
	if in.Seed != nil {
		r.Seed = *in.Seed
	}
	if r.Params, err = d.parameters(in.Params); err != nil {
		return Run{}, err
	}
	if r.Data, err = s.resolve(ctx, d, in.Data); err != nil {
		return Run{}, err
	}
	for _, o := range d.Outlines() {
		r.Steps = append(r.Steps, Step{Name: o.Name, Kind: o.Kind, Needs: o.Needs, State: Waiting})
	}
	err = s.DB.Write(ctx, func(tx db.Scope) error {
		if err := may(tx); err != nil {
			return err
		}
		if err := s.store.insertRun(tx, r); err != nil {
			return err
		}
		return errors.Join(
			job.Enqueue(tx, jobDrive, map[string]string{"run": r.ID}, job.Queue(Queue), job.MaxAttempts(1000)),
			audit.Record(tx, "pipeline.run.started", "pipeline-run/"+r.ID, map[string]any{"pipeline": name, "version": r.PipelineVersion,
				"trigger": why, "params": r.Params, "data": r.Data, "seed": r.Seed, "models": []string{r.Model}}),
			event.Publish(tx, "pipeline.run.started", "pipeline-run/"+r.ID, map[string]any{"pipeline": name, "model": r.Model, "trigger": why}),
		)
	})
	if err != nil {
		if db.IsUnique(err) {
			return Run{}, problem.New(problem.Conflict, "A run of %s was already started for %s.", name, why.Ref)
		}
		return Run{}, fmt.Errorf("start pipeline %s: %w", name, err)
	}
	s.Log.InfoContext(ctx, "pipeline run queued", "pipeline", name, "run", r.ID, "trigger", why.Kind)
	return r, nil
}

// resolve picks the version of every data set the project declares; one that has no version yet is left out unless a
// step names it.
func (s *Service) resolve(ctx context.Context, d Definition, given map[string]int) ([]DataRef, error) {
	for name := range given {
		if _, ok := d.Data[name]; !ok {
			return nil, problem.New(problem.Invalid, "Pipeline %s has no data set %q.", d.Name, name).At("data." + name)
		}
	}
	var sets []string
	for name := range d.Data {
		sets = append(sets, name)
	}
	slices.Sort(sets)
	refs := []DataRef{}
	for _, name := range sets {
		ref, err := s.Data.Resolve(ctx, name, given[name])
		if err != nil {
			if problem.Is(err, problem.NotFound) {
				return nil, problem.New(problem.Invalid, "Data set %s has no such version; add one with: keelson data add %s FILE.", name, name).At("data." + name)
			}
			return nil, fmt.Errorf("find data %s: %w", name, err)
		}
		refs = append(refs, ref)
	}
	return refs, nil
}

// Run gives one run with its steps.
func (s *Service) Run(ctx context.Context, id string) (r Run, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) (err error) {
		r, err = s.store.run(tx, id)
		return err
	})
	return r, err
}

// Runs lists runs, newest first, of one pipeline or of all, from before the run called cursor.
func (s *Service) Runs(ctx context.Context, pipeline, cursor string, limit int) (rs []Run, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) (err error) {
		if pipeline != "" {
			if _, err := s.store.pipeline(tx, pipeline, 0); err != nil {
				return err
			}
		}
		rs, err = s.store.runs(tx, pipeline, cursor, limit)
		return err
	})
	return rs, err
}

// Cancel asks for the end of a run; its driver ends what is running.
func (s *Service) Cancel(ctx context.Context, id string) (r Run, err error) {
	err = s.DB.Write(ctx, func(tx db.Scope) (err error) {
		if r, err = s.store.run(tx, id); err != nil {
			return err
		}
		if r.Ended() {
			return problem.New(problem.Conflict, "Run %s has already ended: it is %s.", id, r.State)
		}
		return errors.Join(s.store.requestCancel(tx, id, true),
			audit.Record(tx, "pipeline.run.cancelled", "pipeline-run/"+id, map[string]any{"pipeline": r.Pipeline, "models": []string{r.Model}}))
	})
	return r, err
}

// Retry runs what did not succeed in an ended run again; what succeeded stays.
func (s *Service) Retry(ctx context.Context, id string) (r Run, err error) {
	err = s.DB.Write(ctx, func(tx db.Scope) (err error) {
		if r, err = s.store.run(tx, id); err != nil {
			return err
		}
		switch {
		case r.State == Succeeded:
			return problem.New(problem.Conflict, "Run %s succeeded; start a new one to run it again.", id)
		case !r.Ended():
			return problem.New(problem.Conflict, "Run %s is %s; wait for its end or cancel it.", id, r.State)
		}
		r.State, r.Error, r.EndedAt, r.ContentDigest = Queued, "", nil, ""
		for i := range r.Steps {
			if st := &r.Steps[i]; st.State != Succeeded {
				st.State, st.Error, st.StartedAt, st.EndedAt, st.ExitCode = Waiting, "", nil, nil, nil
				if err := s.store.putStep(tx, id, *st); err != nil {
					return err
				}
			}
		}
		return errors.Join(
			s.store.putRun(tx, r), s.store.requestCancel(tx, id, false),
			job.Enqueue(tx, jobDrive, map[string]string{"run": id}, job.Queue(Queue), job.MaxAttempts(1000)),
			audit.Record(tx, "pipeline.run.retried", "pipeline-run/"+id, map[string]any{"pipeline": r.Pipeline, "models": []string{r.Model}}))
	})
	return r, err
}

// Chunk is a piece of a log. Offset is where the next piece begins; Done says there will be no more.
type Chunk struct {
	Text   string `json:"text"`
	Offset int64  `json:"offset"`
	Done   bool   `json:"done"`
}

const chunkSize = 256 << 10

// StepLog reads a step's log from a byte offset on.
func (s *Service) StepLog(ctx context.Context, id, step string, offset int64) (Chunk, error) {
	r, err := s.Run(ctx, id)
	if err != nil {
		return Chunk{}, err
	}
	i := slices.IndexFunc(r.Steps, func(st Step) bool { return st.Name == step })
	if i < 0 {
		return Chunk{}, problem.New(problem.NotFound, "Run %s has no step %q.", id, step)
	}
	st := r.Steps[i]
	if st.logDigest != "" {
		f, size, err := s.Blobs.Open(ctx, st.logDigest)
		if err != nil {
			return Chunk{}, fmt.Errorf("open log of %s: %w", step, err)
		}
		defer f.Close()
		if offset >= size {
			return Chunk{Offset: size, Done: true}, nil
		}
		if _, err := f.Seek(offset, io.SeekStart); err != nil {
			return Chunk{}, err
		}
		text, err := io.ReadAll(io.LimitReader(f, chunkSize))
		next := offset + int64(len(text))
		return Chunk{Text: string(text), Offset: next, Done: next >= size}, err
	}
	if st.Attempt == 0 {
		return Chunk{Offset: offset, Done: st.ended()}, nil
	}
	text, err := s.Executor.Logs(ctx, taskID(id, st), offset, chunkSize)
	if err != nil {
		return Chunk{}, fmt.Errorf("read log of %s: %w", step, err)
	}
	text = wholeRunes(text)
	return Chunk{Text: string(text), Offset: offset + int64(len(text)), Done: st.ended()}, nil
}

// wholeRunes leaves out a character that is not written to its end yet.
func wholeRunes(b []byte) []byte {
	for back := 1; back <= 3 && back <= len(b); back++ {
		c := b[len(b)-back]
		if c < 0x80 {
			return b
		}
		if c >= 0xC0 { // the first byte of a character of 2 to 4 bytes
			need := 2
			if c >= 0xE0 {
				need = 3
			}
			if c >= 0xF0 {
				need = 4
			}
			if back < need {
				return b[:len(b)-back]
			}
			return b
		}
	}
	return b
}

func taskID(run string, st Step) string { return fmt.Sprintf("%s/%s/%d", run, st.Name, st.Attempt) }

// requirements reads the lock file out of a source tarball.
func (s *Service) requirements(ctx context.Context, p Pipeline, name string) ([]byte, error) {
	f, _, err := s.Blobs.Open(ctx, p.archive)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var text []byte
	err = eachFile(f, func(n string, r io.Reader, _ int64) error {
		if n != path.Clean(name) {
			return nil
		}
		text, err = io.ReadAll(r)
		return err
	})
	if err == nil && text == nil {
		err = problem.New(problem.Invalid, "The source has no file %s, which environment.requirements names.", name)
	}
	return text, err
}

// keepArchive checks a source tarball, stores it and gives its digest and that of the lock file in it.
func (s *Service) keepArchive(ctx context.Context, r io.Reader, requirements string) (digest, lock string, err error) {
	body, err := io.ReadAll(io.LimitReader(r, MaxArchive+1))
	if err != nil {
		return "", "", problem.New(problem.Invalid, "The source could not be received to its end.").Because(err)
	}
	if len(body) > MaxArchive {
		return "", "", problem.New(problem.TooLarge, "The source has more than %d MiB; leave data out of it with source: in keelson.yaml.", MaxArchive>>20)
	}
	if err := eachFile(bytes.NewReader(body), func(n string, r io.Reader, _ int64) error {
		if requirements == "" || n != path.Clean(requirements) {
			_, err := io.Copy(io.Discard, r)
			return err
		}
		text, err := io.ReadAll(r)
		lock = digestOf(text)
		return err
	}); err != nil {
		return "", "", err
	}
	if requirements != "" && lock == "" {
		return "", "", problem.New(problem.Invalid, "The source has no file %s, which environment.requirements names.", requirements).At("environment.requirements")
	}
	digest, _, err = s.Blobs.Put(ctx, bytes.NewReader(body))
	return digest, lock, err
}
