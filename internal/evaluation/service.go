package evaluation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"keelson/internal/audit"
	"keelson/internal/caller"
	"keelson/internal/dataset"
	"keelson/internal/db"
	"keelson/internal/event"
	"keelson/internal/inventory"
	"keelson/internal/job"
	"keelson/internal/problem"
	"keelson/internal/rest"
	"keelson/internal/usage"
)

// ChampionEnvironment is where the champion lives.
const ChampionEnvironment = "prod"

// Champions tells which version is live; deployment has it.
type Champions interface {
	// LiveVersion gives the version that answers most calls of a model in an environment, 0 when none does.
	LiveVersion(ctx context.Context, model, environment string) (int, error)
}

// Service runs suites. All fields but Champions are required.
type Service struct {
	DB        *db.DB
	Inventory *inventory.Service
	Data      *dataset.Service
	Champions Champions
	Log       *slog.Logger
	Now       func() time.Time
}

// RunKind is the job that runs a suite.
const RunKind = "evaluation.run"

// RunArgs are its arguments.
type RunArgs struct {
	ID string `json:"id"`
}

// Jobs registers the background work.
func (s *Service) Jobs(r *job.Runner) {
	r.Handle(RunKind, func(ctx context.Context, j job.Job) error {
		var a RunArgs
		if err := j.Bind(&a); err != nil {
			return err
		}
		return s.Run(ctx, a.ID)
	})
	r.GivenUp(RunKind, func(ctx context.Context, j job.Job, why string) error {
		var a RunArgs
		if err := j.Bind(&a); err != nil {
			return err
		}
		return s.abandon(ctx, a.ID, why)
	})
}

// abandon ends an evaluation that could not be carried out as failed, with the reason as a test that did not pass.
func (s *Service) abandon(ctx context.Context, id, why string) error {
	e, err := s.Evaluation(ctx, id)
	if problem.Is(err, problem.NotFound) {
		return nil
	}
	if err != nil || e.State != Running {
		return err
	}
	e.Tests = append(e.Tests, Result{Name: "carried out", Kind: Signature, State: Failed, Detail: "The suite could not be carried out: " + clip(why)})
	return s.end(ctx, e, Failed, 0)
}

// Start begins an evaluation of a ready version; datasetVersion 0 is the newest. It ends in the background.
func (s *Service) Start(ctx context.Context, model string, version int, suite Suite, data string, datasetVersion int) (Evaluation, error) {
	if err := suite.Check(); err != nil {
		return Evaluation{}, err
	}
	if data == "" {
		data = suite.Data
	}
	if data == "" {
		return Evaluation{}, problem.New(problem.Invalid, "Name the data set to evaluate on.").At("dataset")
	}
	v, err := s.Inventory.Version(ctx, model, version)
	if err != nil {
		return Evaluation{}, err
	}
	if v.State != inventory.Ready {
		return Evaluation{}, problem.New(problem.Conflict, "%s is %s and cannot be evaluated: %s", v.Ref(), v.State, why(v)).At("version")
	}
	if datasetVersion == 0 {
		set, err := s.Data.Get(ctx, data)
		if err != nil {
			return Evaluation{}, err
		}
		if set.Latest == nil {
			return Evaluation{}, problem.New(problem.Conflict, "The data set %s has no version yet; import one first.", data).At("dataset")
		}
		datasetVersion = set.Latest.Version
	}
	dv, err := s.Data.Version(ctx, data, datasetVersion)
	if err != nil {
		return Evaluation{}, err
	}
	e := Evaluation{ID: db.NewID(), Model: model, Version: version, ArtifactDigest: v.ArtifactDigest, Suite: suite.Name, Dataset: data, DatasetVersion: datasetVersion,
		DatasetDigest: dv.Digest, State: Running, Tests: []Result{}, Metrics: map[string]float64{}, By: caller.From(ctx).Name, StartedAt: s.Now().UTC().Truncate(time.Microsecond), definition: suite}
	err = s.DB.Write(ctx, func(tx db.Scope) error {
		if err := insert(tx, e); err != nil {
			return err
		}
		if err := job.Enqueue(tx, RunKind, RunArgs{ID: e.ID}); err != nil {
			return err
		}
		return audit.Record(tx, "evaluation.started", "model/"+v.Ref(), map[string]any{"model": model, "version": version, "evaluation": e.ID, "suite": suite.Name,
			"dataset": fmt.Sprintf("%s/%d", data, datasetVersion), "dataset_digest": dv.Digest})
	})
	if err != nil {
		return Evaluation{}, fmt.Errorf("start evaluation: %w", err)
	}
	return e, nil
}

func why(v inventory.Version) string {
	if v.Reason != "" {
		return v.Reason
	}
	return "only a ready version is."
}

// Run runs a suite to its end; one that has ended is left as it is.
func (s *Service) Run(ctx context.Context, id string) error {
	e, err := s.Evaluation(ctx, id)
	if problem.Is(err, problem.NotFound) {
		return nil
	}
	if err != nil || e.State != Running {
		return err
	}
	begun := time.Now()
	if err := s.judge(ctx, &e); err != nil {
		return fmt.Errorf("run suite %s on %s/%d: %w", e.Suite, e.Model, e.Version, err)
	}
	state := Passed
	if len(e.Failures()) > 0 {
		state = Failed
	}
	return s.end(ctx, e, state, time.Since(begun))
}

// end writes how an evaluation ended; one that has ended is left as it is.
func (s *Service) end(ctx context.Context, e Evaluation, state string, took time.Duration) error {
	end, failed := s.Now().UTC().Truncate(time.Microsecond), e.Failures()
	e.State, e.EndedAt = state, &end
	err := s.DB.Write(ctx, func(tx db.Scope) error {
		mine, err := finish(tx, e)
		if err != nil || !mine {
			return err
		}
		subject := fmt.Sprintf("model/%s/%d", e.Model, e.Version)
		detail := map[string]any{"id": e.ID, "model": e.Model, "version": e.Version, "suite": e.Suite, "state": e.State, "failed": failed,
			"artifact_digest": e.ArtifactDigest, "dataset_digest": e.DatasetDigest, "metrics": e.Metrics}
		return errors.Join(event.Publish(tx, EventFinished, subject, detail), usage.Book(tx, e.Model, usage.ComputeSeconds, took.Seconds(), "evaluation/"+e.ID),
			audit.Record(tx, "evaluation."+e.State, subject, detail))
	})
	if err != nil {
		return fmt.Errorf("end evaluation %s: %w", e.ID, err)
	}
	s.Log.InfoContext(ctx, "evaluation ended", "model", e.Model, "version", e.Version, "suite", e.Suite, "state", e.State, "failed", len(failed))
	return nil
}

// Evaluation gives one evaluation.
func (s *Service) Evaluation(ctx context.Context, id string) (e Evaluation, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) (err error) { e, err = get(tx, id); return err })
	return e, err
}

// Latest gives the newest evaluation of a version; ok is false when there is none.
func (s *Service) Latest(ctx context.Context, model string, version int) (e Evaluation, ok bool, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) error {
		all, err := list(tx, model, version, "", 1)
		if len(all) > 0 {
			e, ok = all[0], true
		}
		return err
	})
	return e, ok, err
}

// Suites gives the newest evaluation of a version by each suite, the newest first; at most 100.
func (s *Service) Suites(ctx context.Context, model string, version int) (out []Evaluation, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) (err error) { out, err = suites(tx, model, version, 100); return err })
	return out, err
}

// Passed says whether the newest evaluation of a version passed, and which test failed first if not. A version that was
// never evaluated, or whose evaluation still runs, has not passed.
func (s *Service) Passed(ctx context.Context, model string, version int) (ok bool, failing string, err error) {
	e, there, err := s.Latest(ctx, model, version)
	if err != nil || !there {
		return false, "", err
	}
	for _, t := range e.Tests {
		if t.State == Failed {
			return false, t.Name, nil
		}
	}
	return e.State == Passed, "", nil
}

// States gives the newest evaluation of each version of a model; inventory shows it.
func (s *Service) States(ctx context.Context, model string) (map[int]inventory.EvaluationState, error) {
	out := map[int]inventory.EvaluationState{}
	return out, s.DB.Read(ctx, func(tx db.Scope) error {
		return latest(tx, model, func(version int, id, state string) {
			out[version] = inventory.EvaluationState{State: state, ID: id}
		})
	})
}

// Renamed follows a model to its new name; inventory.Service.Renamed calls it.
func (s *Service) Renamed(tx db.Scope, from, to string) error { return rename(tx, from, to) }

// Routes mounts evaluations.
func (s *Service) Routes(a *rest.API) {
	rest.Post(a, "/api/v1/models/{name}/versions/{version}/evaluations", "evaluation.run", "Evaluate a version by a suite", s.post, rest.Status(http.StatusAccepted))
	rest.Get(a, "/api/v1/models/{name}/versions/{version}/evaluations", "version.read", "List the evaluations of a version, the newest first", s.getList)
	rest.Get(a, "/api/v1/evaluations/{id}", "version.read", "Read an evaluation", s.getOne)
}

func (s *Service) post(ctx context.Context, in *struct {
	inventory.VersionPath
	Body struct {
		Suite          Suite  `json:"suite"`
		Dataset        string `json:"dataset,omitempty" doc:"the suite's own if empty"`
		DatasetVersion int    `json:"dataset_version,omitempty" minimum:"0" doc:"the newest if 0"`
	}
}) (Evaluation, error) {
	return s.Start(ctx, in.Name, in.Version, in.Body.Suite, in.Body.Dataset, in.Body.DatasetVersion)
}

func (s *Service) getList(ctx context.Context, in *struct {
	inventory.VersionPath
	rest.Paging
}) (rest.Page[Evaluation], error) {
	if _, err := s.Inventory.Version(ctx, in.Name, in.Version); err != nil {
		return rest.Page[Evaluation]{}, err
	}
	var all []Evaluation
	err := s.DB.Read(ctx, func(tx db.Scope) (err error) {
		all, err = list(tx, in.Name, in.Version, in.Cursor, in.Limit+1)
		return err
	})
	return rest.Paged(all, in.Limit, func(e Evaluation) string { return e.ID }), err
}

func (s *Service) getOne(ctx context.Context, in *struct {
	ID string `path:"id"`
}) (Evaluation, error) {
	return s.Evaluation(ctx, in.ID)
}
