package tracking

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"keelson/internal/audit"
	"keelson/internal/bin"
	"keelson/internal/blob"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/event"
	"keelson/internal/job"
	"keelson/internal/problem"
)

// Tags that the platform reads; a pipeline sets them, a client may.
const (
	TagName        = "mlflow.runName"
	TagUser        = "mlflow.user"
	TagParent      = "mlflow.parentRunId"
	TagPipelineRun = "keelson.pipeline_run"
	TagRepository  = "keelson.source.repository"
	TagCommit      = "keelson.source.commit"
	TagDirty       = "keelson.source.dirty" // "true" or "false"
	TagEnvironment = "keelson.environment"  // digest of the environment lock
	TagData        = "keelson.data"         // JSON list of {dataset, version, digest}
	eventRunEnded  = "tracking.run.ended"   // data: {run, experiment, status}
)

// FoldKind is the job that packs the logged points of a run.
const FoldKind = "tracking.fold"

// FoldArgs are its arguments.
type FoldArgs struct {
	Run string `json:"run"`
}

// Service stores and finds experiments and runs. DB, Blobs, Log and Now are required.
type Service struct {
	DB     *db.DB
	Blobs  blob.Store
	Keeper *blob.Keeper // of Blobs; may be nil
	Log    *slog.Logger
	Now    func() time.Time
	// Purged remove what others keep of an experiment that goes for good; they are called until all say that they are done.
	Purged []func(tx db.Scope, experiment string) (done bool, err error)

	queues  sync.Map // workspace → *queue
	touched sync.Map // workspace → true, once its default experiment is there
	recent  recent   // runs that were read lately
	tables  tables   // experiments that are searched often
	sizes   totals   // about how many runs an experiment has
}

// Jobs registers the background work.
func (s *Service) Jobs(r *job.Runner) {
	r.Handle(FoldKind, s.fold)
	r.Every("tracking.uploads", 10*time.Minute, s.ExpireUploads)
}

func (s *Service) fold(ctx context.Context, j job.Job) error {
	var a FoldArgs
	if err := j.Bind(&a); err != nil {
		return err
	}
	return s.foldRun(ctx, a.Run)
}

// foldRun packs all tails of a run.
func (s *Service) foldRun(ctx context.Context, run string) error {
	for races := 0; ; {
		var f folded
		if err := s.DB.Read(ctx, func(tx db.Scope) (err error) { f, err = fold(tx, run); return err }); err != nil {
			return fmt.Errorf("fold metrics of run %s: %w", run, err)
		}
		if f.tails == 0 {
			return nil
		}
		err := s.DB.Write(ctx, func(tx db.Scope) error { return putFolded(tx, run, f) })
		switch {
		case errors.Is(err, errFolded) && races < 5:
			races++
		case err != nil:
			return fmt.Errorf("fold metrics of run %s: %w", run, err)
		case !f.more:
			return nil
		}
	}
}

// touch makes sure the workspace has its default experiment.
func (s *Service) touch(ctx context.Context) error {
	ws := caller.Workspace(ctx)
	if _, ok := s.touched.Load(ws); ok {
		return nil
	}
	there := false
	if err := s.DB.Read(ctx, func(tx db.Scope) (err error) { there, err = hasDefault(tx); return err }); err != nil {
		return err
	}
	if !there {
		if err := s.DB.Write(ctx, func(tx db.Scope) error { return touchExperiments(tx, s.Now()) }); err != nil {
			return err
		}
	}
	s.touched.Store(ws, true)
	return nil
}

func checkName(name string) error {
	switch {
	case strings.TrimSpace(name) == "":
		return problem.New(problem.Invalid, "Invalid experiment name: ''. Experiment name cannot be empty.").At("name")
	case utf8.RuneCountInString(name) > MaxExperimentName:
		return problem.New(problem.Invalid, "Experiment name exceeds the maximum length of %d characters", MaxExperimentName).At("name")
	}
	return nil
}

func nameTaken(name string) error {
	return problem.New(problem.Conflict, "Experiment '%s' already exists.", problem.Clip(name, 120)).At("name")
}

// CreateExperiment makes an experiment; its name must not be borne by another active one.
func (s *Service) CreateExperiment(ctx context.Context, name string, tags []Pair) (Experiment, error) {
	if err := checkName(name); err != nil {
		return Experiment{}, err
	}
	for _, t := range tags {
		if err := CheckTag(t, MaxExperimentTag); err != nil {
			return Experiment{}, err
		}
	}
	if err := s.touch(ctx); err != nil {
		return Experiment{}, err
	}
	now := s.Now()
	e := Experiment{Name: name, Created: now, Updated: now, Tags: pairs(tags)}
	err := s.DB.Write(ctx, func(tx db.Scope) error {
		if taken, err := activeNamed(tx, name); err != nil || taken {
			return either(err, nameTaken(name))
		}
		if err := insertExperiment(tx, &e); err != nil {
			return err
		}
		return audit.Record(tx, "experiment.created", "experiment/"+e.ID, map[string]any{"name": name})
	})
	if db.IsUnique(err) {
		err = nameTaken(name)
	}
	if err != nil {
		return Experiment{}, fmt.Errorf("create experiment: %w", err)
	}
	s.Log.InfoContext(ctx, "experiment created", "experiment", e.ID)
	return e, nil
}

// Experiment gives one experiment, deleted or not.
func (s *Service) Experiment(ctx context.Context, id string) (e Experiment, err error) {
	if err := s.touch(ctx); err != nil {
		return e, err
	}
	err = s.DB.Read(ctx, func(tx db.Scope) (err error) { e, err = getExperiment(tx, id); return err })
	return e, err
}

// ExperimentNamed finds an experiment by name; an active one goes before deleted ones.
func (s *Service) ExperimentNamed(ctx context.Context, name string) (e Experiment, err error) {
	if err := s.touch(ctx); err != nil {
		return e, err
	}
	err = s.DB.Read(ctx, func(tx db.Scope) (err error) { e, err = experimentNamed(tx, name); return err })
	return e, err
}

// RenameExperiment gives an active experiment another name.
func (s *Service) RenameExperiment(ctx context.Context, id, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	err := s.changeExperiment(ctx, id, "experiment.renamed", func(tx db.Scope, e *Experiment) error {
		if e.Deleted {
			return problem.New(problem.Invalid, "Cannot rename a non-active experiment.").At("experiment_id")
		}
		if e.Name == name {
			return nil
		}
		if taken, err := activeNamed(tx, name); err != nil || taken {
			return either(err, nameTaken(name))
		}
		e.Name = name
		return nil
	})
	if db.IsUnique(err) {
		return nameTaken(name)
	}
	return err
}

// DeleteExperiment hides an experiment and its runs.
func (s *Service) DeleteExperiment(ctx context.Context, id string) error {
	return s.changeExperiment(ctx, id, "experiment.deleted", func(tx db.Scope, e *Experiment) error {
		if e.Deleted {
			return noExperiment(id)
		}
		if e.ID == defaultExperiment {
			return problem.New(problem.Invalid, "The default experiment cannot be deleted.").At("experiment_id")
		}
		if err := binExperimentOf(tx, *e); err != nil {
			return err
		}
		e.Deleted = true
		return hideRuns(tx, id)
	})
}

// RestoreExperiment brings a deleted experiment and the runs that went with it back, unless its name is borne by another
// one by now.
func (s *Service) RestoreExperiment(ctx context.Context, id string) error {
	if err := s.touch(ctx); err != nil {
		return err
	}
	err := s.DB.Write(ctx, func(tx db.Scope) error { return s.restore(tx, id, "") })
	if db.IsUnique(err) {
		return problem.New(problem.Conflict, "Another experiment bears the name of experiment %s by now; rename that one first.", id)
	}
	return err
}

func (s *Service) changeExperiment(ctx context.Context, id, action string, change func(db.Scope, *Experiment) error) error {
	if err := s.touch(ctx); err != nil {
		return err
	}
	return s.DB.Write(ctx, func(tx db.Scope) error {
		e, err := getExperiment(tx, id)
		if err != nil {
			return err
		}
		if err := change(tx, &e); err != nil {
			return err
		}
		e.Updated = s.Now()
		if err := putExperiment(tx, e); err != nil {
			return err
		}
		return audit.Record(tx, action, "experiment/"+id, map[string]any{"name": e.Name})
	})
}

// SetExperimentTag sets a tag of an active experiment.
func (s *Service) SetExperimentTag(ctx context.Context, id string, t Pair) error {
	if err := CheckTag(t, MaxExperimentTag); err != nil {
		return err
	}
	return s.onExperiment(ctx, id, func(tx db.Scope) error { return putExperimentTag(tx, id, t) })
}

// DeleteExperimentTag removes a tag.
func (s *Service) DeleteExperimentTag(ctx context.Context, id, key string) error {
	return s.onExperiment(ctx, id, func(tx db.Scope) error {
		ok, err := dropExperimentTag(tx, id, key)
		if err == nil && !ok {
			err = problem.New(problem.NotFound, "No tag with name: %s in experiment with id %s", problem.Clip(key, 100), id).At("key")
		}
		return err
	})
}

func (s *Service) onExperiment(ctx context.Context, id string, fn func(db.Scope) error) error {
	if err := s.touch(ctx); err != nil {
		return err
	}
	return s.DB.Write(ctx, func(tx db.Scope) error {
		e, err := getExperiment(tx, id)
		if err != nil {
			return err
		}
		if e.Deleted {
			return deletedExperiment(id)
		}
		return fn(tx)
	})
}

func deletedExperiment(id string) error {
	return problem.New(problem.Invalid, "The experiment %s must be in the 'active' state. Current state is deleted.", id).At("experiment_id")
}

// SearchExperiments gives a page of experiments and the token of the next.
func (s *Service) SearchExperiments(ctx context.Context, v Search) (out []Experiment, next string, err error) {
	if err := s.touch(ctx); err != nil {
		return nil, "", err
	}
	err = s.DB.Read(ctx, func(tx db.Scope) (err error) { out, next, err = searchExperiments(tx, v); return err })
	return out, next, err
}

// NewRun is what a client says about a run it begins.
type NewRun struct {
	Experiment, Name, User string
	Started                time.Time // zero: now
	Tags                   []Pair
}

// CreateRun begins a run.
func (s *Service) CreateRun(ctx context.Context, n NewRun) (Run, error) {
	if err := s.touch(ctx); err != nil {
		return Run{}, err
	}
	if n.Experiment == "" {
		n.Experiment = defaultExperiment
	}
	tags := pairs(n.Tags)
	for _, t := range n.Tags {
		if err := CheckTag(t, MaxTagValue); err != nil {
			return Run{}, err
		}
	}
	switch t := tags[TagName]; {
	case n.Name != "" && t != "" && t != n.Name:
		return Run{}, problem.New(problem.Invalid, "Both 'run_name' argument and 'mlflow.runName' tag are specified, but with different values (run_name='%s', mlflow.runName='%s').", n.Name, t).At("run_name")
	case n.Name == "" && t != "":
		n.Name = t
	case n.Name == "":
		n.Name = randomName()
	}
	if err := CheckTag(Pair{TagName, n.Name}, MaxTagValue); err != nil {
		return Run{}, err
	}
	tags[TagName] = n.Name
	if n.Started.IsZero() {
		n.Started = s.Now()
	}
	author := caller.From(ctx).Name
	if author == "" {
		author = n.User
	}
	r := Run{ID: db.NewID(), Name: n.Name, Experiment: n.Experiment, Author: author, Status: Running, Started: n.Started.Truncate(time.Microsecond).UTC(), Params: map[string]string{}, Tags: tags}
	if err := s.submit(ctx, &change{begin: &r}); err != nil {
		return Run{}, fmt.Errorf("begin run: %w", err)
	}
	return r, nil
}

// Run gives a run with all that belongs to it, deleted or not.
func (s *Service) Run(ctx context.Context, id string) (r Run, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) (err error) { r, err = getRun(tx, id); return err })
	return r, err
}

// Change is what may change of a run; empty fields stay as they are.
type Change struct {
	Status, Name string
	Ended        time.Time
}

// UpdateRun changes a run. A final status without an end time ends it now; a run that ended may run again.
func (s *Service) UpdateRun(ctx context.Context, id string, c Change) (r Run, err error) {
	switch c.Status {
	case "", Running, Scheduled, Finished, Failed, Killed:
	default:
		return r, problem.New(problem.Invalid, "Invalid value '%s' for parameter 'status' supplied.", problem.Clip(c.Status, 40)).At("status")
	}
	if c.Name != "" {
		if err := CheckTag(Pair{TagName, c.Name}, MaxTagValue); err != nil {
			return r, err
		}
	}
	err = s.together(ctx, func(tx db.Scope) (err error) {
		if r, err = holdRun(tx, id); err != nil {
			return err
		}
		if r.Deleted {
			return mustBeActive(id)
		}
		ends := Ended(c.Status) && !Ended(r.Status)
		if c.Status != "" {
			r.Status = c.Status
			switch {
			case !Ended(c.Status):
				r.Ended = time.Time{}
			case !c.Ended.IsZero():
				r.Ended = c.Ended.Truncate(time.Microsecond).UTC()
			case ends:
				r.Ended = s.Now().Truncate(time.Microsecond).UTC()
			}
		}
		if c.Name != "" {
			r.Name = c.Name
			if err := putTag(tx, id, Pair{TagName, c.Name}); err != nil {
				return err
			}
		}
		if err := putRun(tx, r); err != nil {
			return err
		}
		if !ends {
			return nil
		}
		if n, err := tails(tx, id, foldAtEnd); err != nil {
			return err
		} else if n >= foldAtEnd {
			if err := job.Enqueue(tx, FoldKind, FoldArgs{Run: id}, job.Unique()); err != nil {
				return err
			}
		}
		detail := map[string]any{"run": id, "experiment": r.Experiment, "status": r.Status}
		if err := event.Publish(tx, eventRunEnded, "run/"+id, detail); err != nil {
			return err
		}
		return audit.Record(tx, "run.ended", "run/"+id, detail)
	})
	if err != nil {
		return Run{}, fmt.Errorf("update run: %w", err)
	}
	return r, nil
}

// DeleteRun hides a run; RestoreRun brings it back. Both may be repeated.
func (s *Service) DeleteRun(ctx context.Context, id string) error {
	return s.setDeleted(ctx, id, true, "run.deleted")
}

// RestoreRun undoes DeleteRun.
func (s *Service) RestoreRun(ctx context.Context, id string) error {
	return s.setDeleted(ctx, id, false, "run.restored")
}

func (s *Service) setDeleted(ctx context.Context, id string, deleted bool, action string) error {
	return s.DB.Write(ctx, func(tx db.Scope) error { return s.mark(tx, id, deleted, action) })
}

// mark marks a run as deleted or not, and puts it into the bin or takes it out.
func (s *Service) mark(tx db.Scope, id string, deleted bool, action string) error {
	r, err := head(tx, id)
	if err != nil || r.Deleted == deleted {
		return err
	}
	if deleted {
		err = binRunOf(tx, r)
	} else {
		err = bin.Drop(tx, binRun, id)
	}
	if err != nil {
		return err
	}
	r.Deleted = deleted
	if err := putRun(tx, r); err != nil {
		return err
	}
	return audit.Record(tx, action, "run/"+id, map[string]any{"experiment": r.Experiment, "name": r.Name})
}

// DeleteTag removes a run's tag.
func (s *Service) DeleteTag(ctx context.Context, run, key string) error {
	return s.onRun(ctx, run, func(tx db.Scope, _ Run) error {
		ok, err := dropTag(tx, run, key)
		if err == nil && !ok {
			err = problem.New(problem.NotFound, "No tag with name: %s in run with id %s", problem.Clip(key, 100), run).At("key")
		}
		return err
	})
}

func (s *Service) onRun(ctx context.Context, id string, fn func(db.Scope, Run) error) error {
	return s.DB.Write(ctx, func(tx db.Scope) error {
		r, err := head(tx, id)
		if err != nil {
			return err
		}
		if r.Deleted {
			return mustBeActive(id)
		}
		return fn(tx, r)
	})
}

// LogInputs records the data and models that went into a run.
func (s *Service) LogInputs(ctx context.Context, run string, data []Input, models []ModelRef) error {
	for _, in := range data {
		switch {
		case in.Name == "" || in.Digest == "":
			return problem.New(problem.Invalid, "A dataset needs a name and a digest.").At("datasets")
		case utf8.RuneCountInString(in.Name) > MaxDatasetName:
			return tooLong("name", MaxDatasetName)
		case utf8.RuneCountInString(in.Digest) > MaxDatasetDigest && in.Version == 0:
			return tooLong("digest", MaxDatasetDigest)
		case utf8.RuneCountInString(in.Source) > MaxDatasetSource:
			return tooLong("source", MaxDatasetSource)
		case utf8.RuneCountInString(in.Schema) > MaxDatasetSchema:
			return tooLong("schema", MaxDatasetSchema)
		case utf8.RuneCountInString(in.Profile) > MaxDatasetProfile:
			return tooLong("profile", MaxDatasetProfile)
		}
	}
	return s.onRun(ctx, run, func(tx db.Scope, _ Run) error {
		for _, in := range data {
			if err := putInput(tx, run, in, s.Now()); err != nil {
				return err
			}
		}
		return putRunModels(tx, run, "in", models)
	})
}

func tooLong(what string, limit int) error {
	return problem.New(problem.Invalid, "Dataset %s exceeds the maximum length of %d", what, limit).At("datasets." + what)
}

// LogOutputs records the models that came out of a run.
func (s *Service) LogOutputs(ctx context.Context, run string, models []ModelRef) error {
	return s.onRun(ctx, run, func(tx db.Scope, _ Run) error { return putRunModels(tx, run, "out", models) })
}

func putRunModels(tx db.Scope, run, direction string, models []ModelRef) error {
	for _, m := range models {
		if err := checkModelID(m.Model); err != nil {
			return err
		}
		if err := putRunModel(tx, run, direction, m); err != nil {
			return err
		}
	}
	return nil
}

// SearchRuns gives a page of runs and the token of the next.
func (s *Service) SearchRuns(ctx context.Context, v Search) (out []Run, next string, err error) {
	p, err := s.PageRuns(ctx, v)
	return p.Runs, p.Next, err
}

// PageRuns gives a page of runs, and how many match where that is cheap to say.
func (s *Service) PageRuns(ctx context.Context, v Search) (out RunPage, err error) {
	whole := v.Columns == nil && !s.DB.Postgres()
	var missing []Run
	var at []int // where they belong
	read := func(tx db.Scope) (err error) {
		missing, at = out.Runs, nil
		if whole {
			at = s.recent.fill(tx.Workspace, out.Runs)
			missing = make([]Run, len(at))
			for k, i := range at {
				missing[k] = out.Runs[i]
			}
		}
		if len(missing) < aside {
			err = load(tx, missing, v.Columns)
		}
		return err
	}
	found, err := s.fromTable(ctx, v, func(tx db.Scope, page RunPage, ids []string) (err error) {
		out = page
		if out.Runs, err = readBare(tx, ids); err == nil {
			err = read(tx)
		}
		return err
	})
	if err == nil && !found {
		err = s.DB.Read(ctx, func(tx db.Scope) (err error) {
			if out, err = searchRuns(tx, v, &s.sizes); err == nil {
				err = read(tx)
			}
			return err
		})
	}
	if err == nil && len(missing) >= aside { // after the search let go of its connection, so that none waits for another's
		err = s.loadAside(ctx, missing, v.Columns)
	}
	if err == nil && whole {
		for k, i := range at {
			out.Runs[i] = missing[k]
		}
		s.recent.keep(caller.Workspace(ctx), missing)
	}
	return out, err
}

func pairs(list []Pair) map[string]string {
	out := make(map[string]string, len(list))
	for _, p := range list {
		out[p.Key] = p.Value
	}
	return out
}

// either is the first error there is, else the second.
func either(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

var (
	adjectives = strings.Fields("able amber brave bright calm clear clever crisp eager early even fair fast fine firm fond fresh gentle glad grand keen kind light lively loyal merry neat nimble noble open proud quick quiet rare ready sage sharp smooth sound stately steady still sturdy sunny swift tidy true warm wise")
	nouns      = strings.Fields("albatross anchor barque beacon bosun breeze brig buoy cutter dolphin drifter fathom ferry frigate gull harbor heron hull jetty keel kelp ketch lagoon lantern lighter mast mooring narwhal oar otter pilot plover porpoise quay rigging rudder schooner seal sextant skiff sloop spar squall swell tern tide tiller whale yawl")
)

// randomName names a run whose author did not.
func randomName() string {
	return fmt.Sprintf("%s-%s-%d", adjectives[rand.IntN(len(adjectives))], nouns[rand.IntN(len(nouns))], rand.IntN(1000))
}
