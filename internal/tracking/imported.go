package tracking

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"keelson/internal/audit"
	"keelson/internal/db"
	"keelson/internal/problem"
)

// Tags of what was brought from another MLflow server. They are how a second import finds what the first one made.
const (
	TagImportSource = "keelson.import.source" // address of the server it came from
	TagImportID     = "keelson.import.id"     // "<source>#<id there>"
)

// checkID refuses an identifier of another server that is empty, longer than 64 bytes or made of other characters than
// letters, digits, '-' and '_': it becomes a part of paths and addresses.
func checkID(field, id string) error {
	if id == "" || len(id) > MaxModelID {
		return problem.New(problem.Invalid, "The %s has 1 to %d characters; got %d.", field, MaxModelID, len(id)).At(field)
	}
	for _, r := range id {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_') {
			return problem.New(problem.Invalid, "The %s %q holds other characters than letters, digits, '-' and '_'.", field, problem.Clip(id, 80)).At(field)
		}
	}
	return nil
}

// ImportExperiment makes the experiment that another server had, with its times, or finds the one that an earlier import
// made (by TagImportID) or that bears its name; tags that are missing there are added. made says that it is new.
func (s *Service) ImportExperiment(ctx context.Context, e Experiment) (out Experiment, made bool, err error) {
	if err := checkName(e.Name); err != nil {
		return out, false, err
	}
	for _, k := range slices.Sorted(maps.Keys(e.Tags)) {
		if err := CheckTag(Pair{k, e.Tags[k]}, MaxExperimentTag); err != nil {
			return out, false, err
		}
	}
	if err := s.touch(ctx); err != nil {
		return out, false, err
	}
	err = s.DB.Write(ctx, func(tx db.Scope) error {
		made = false
		id := ""
		err := tx.QueryRow(`SELECT experiment FROM experiment_tag WHERE workspace = $1 AND key = $2 AND value = $3 ORDER BY experiment LIMIT 1`,
			tx.Workspace, TagImportID, e.Tags[TagImportID]).Scan(&id)
		if errors.Is(err, db.ErrNoRows) || e.Tags[TagImportID] == "" {
			err = tx.QueryRow(`SELECT id FROM experiment WHERE workspace = $1 AND name = $2 AND deleted = 0`, tx.Workspace, e.Name).Scan(&id)
		}
		if errors.Is(err, db.ErrNoRows) {
			out, made = e, true
			out.Deleted = false
			if err := insertExperiment(tx, &out); err != nil {
				return err
			}
			return audit.Record(tx, "experiment.imported", "experiment/"+out.ID, map[string]any{"name": e.Name, "from": e.Tags[TagImportID]})
		}
		if err != nil {
			return err
		}
		if out, err = getExperiment(tx, id); err != nil {
			return err
		}
		for k, v := range e.Tags {
			if _, ok := out.Tags[k]; !ok {
				if err := putExperimentTag(tx, id, Pair{k, v}); err != nil {
					return err
				}
				out.Tags[k] = v
			}
		}
		return nil
	})
	if err != nil {
		return out, false, fmt.Errorf("import experiment %s: %w", e.Name, err)
	}
	return out, made, nil
}

// ImportRun makes a run that another server had, under the id it has there, with its times, status, author, parameters,
// tags and inputs. A run that is there already is filled up: parameters, tags and inputs that are missing are added, and
// one that had not ended gets the status it has at the source now. Its metrics are logged like any others. made says that
// it is new. It fails with problem.Conflict when the id is another experiment's, and with problem.Invalid on bad values.
func (s *Service) ImportRun(ctx context.Context, r Run) (made bool, err error) {
	if err := checkID("run_id", r.ID); err != nil {
		return false, err
	}
	switch r.Status {
	case Running, Scheduled, Finished, Failed, Killed:
	default:
		return false, problem.New(problem.Invalid, "Invalid value '%s' for parameter 'status' supplied.", problem.Clip(r.Status, 40)).At("status")
	}
	if r.Name == "" {
		r.Name = r.Tags[TagName]
	}
	if r.Name == "" {
		r.Name = randomName()
	}
	if _, ok := r.Tags[TagName]; !ok {
		r.Tags = maps.Clone(r.Tags)
		if r.Tags == nil {
			r.Tags = map[string]string{}
		}
		r.Tags[TagName] = r.Name
	}
	for _, k := range slices.Sorted(maps.Keys(r.Tags)) {
		if err := CheckTag(Pair{k, r.Tags[k]}, MaxTagValue); err != nil {
			return false, err
		}
	}
	var chunks []Batch
	for part := range slices.Chunk(slices.Sorted(maps.Keys(r.Params)), MaxBatchParams) {
		var b Batch
		for _, k := range part {
			b.Params = append(b.Params, Pair{k, r.Params[k]})
		}
		if err := b.Check(); err != nil {
			return false, err
		}
		chunks = append(chunks, b)
	}
	r.Started, r.Ended = r.Started.Truncate(time.Microsecond).UTC(), r.Ended.Truncate(time.Microsecond).UTC()
	err = s.DB.Write(ctx, func(tx db.Scope) error {
		made = false
		e, err := getExperiment(tx, r.Experiment)
		if err != nil {
			return err
		}
		old, err := head(tx, r.ID)
		switch {
		case problem.Is(err, problem.NotFound):
			if e.Deleted {
				return deletedExperiment(e.ID)
			}
			made = true
			if err := insertRun(tx, r); err != nil {
				return err
			}
			if err := audit.Record(tx, "run.imported", "run/"+r.ID, map[string]any{"experiment": e.ID, "name": r.Name, "status": r.Status, "from": r.Tags[TagImportID]}); err != nil {
				return err
			}
		case err != nil:
			return err
		case old.Experiment != r.Experiment:
			return problem.New(problem.Conflict, "There is a run %s already, in experiment %s.", r.ID, old.Experiment).At("run_id")
		case !Ended(old.Status) && old.Status != r.Status:
			old.Status, old.Ended = r.Status, r.Ended
			if err := putRun(tx, old); err != nil {
				return err
			}
		}
		if old.Deleted {
			return nil
		}
		have, err := getRun(tx, r.ID)
		if err != nil {
			return err
		}
		for _, k := range slices.Sorted(maps.Keys(r.Tags)) {
			if _, ok := have.Tags[k]; !ok {
				if err := putTag(tx, r.ID, Pair{k, r.Tags[k]}); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("import run %s: %w", r.ID, err)
	}
	now, err := s.Run(ctx, r.ID)
	if err != nil || now.Deleted {
		return made, err
	}
	for _, b := range chunks {
		b.Params = slices.DeleteFunc(b.Params, func(p Pair) bool { _, ok := now.Params[p.Key]; return ok })
		if len(b.Params) == 0 {
			continue
		}
		if err := s.LogBatch(ctx, r.ID, b); err != nil {
			return made, err
		}
	}
	if len(r.Inputs)+len(r.ModelsIn) > 0 {
		if err := s.LogInputs(ctx, r.ID, r.Inputs, r.ModelsIn); err != nil {
			return made, err
		}
	}
	if len(r.ModelsOut) > 0 {
		return made, s.LogOutputs(ctx, r.ID, r.ModelsOut)
	}
	return made, nil
}

// ImportModel makes a logged model that another server had, under the id it has there. One that is there already gets the
// status it has at the source now, and the parameters and tags it lacks. made says that it is new.
func (s *Service) ImportModel(ctx context.Context, m LoggedModel) (made bool, err error) {
	if err := checkID("model_id", m.ID); err != nil {
		return false, err
	}
	if m.Status != ModelPending && m.Status != ModelReady && m.Status != ModelFailed {
		return false, problem.New(problem.Invalid, "Invalid model status '%s'.", problem.Clip(m.Status, 40)).At("status")
	}
	for k, v := range m.Params {
		b := Batch{Params: []Pair{{k, v}}}
		if err := b.Check(); err != nil {
			return false, err
		}
	}
	for k, v := range m.Tags {
		if err := CheckTag(Pair{k, v}, MaxTagValue); err != nil {
			return false, err
		}
	}
	err = s.DB.Write(ctx, func(tx db.Scope) error {
		made = false
		e, err := getExperiment(tx, m.Experiment)
		if err != nil {
			return err
		}
		list, err := readModels(tx, []string{m.ID})
		if err != nil {
			return err
		}
		old := list[0]
		if old.ID == "" {
			if e.Deleted {
				return deletedExperiment(e.ID)
			}
			made = true
			if err := insertModel(tx, m); err != nil {
				return err
			}
			return audit.Record(tx, "logged-model.imported", "logged-model/"+m.ID, map[string]any{"experiment": e.ID, "name": m.Name, "run": m.Run, "from": m.Tags[TagImportID]})
		}
		if old.Deleted {
			return problem.New(problem.Conflict, "The logged model %s was deleted here.", m.ID).At("model_id")
		}
		if old.Experiment != m.Experiment {
			return problem.New(problem.Conflict, "There is a logged model %s already, in experiment %s.", m.ID, old.Experiment).At("model_id")
		}
		for k, v := range m.Params {
			if _, ok := old.Params[k]; !ok {
				if err := putModelParam(tx, m.ID, Pair{k, v}); err != nil {
					return err
				}
			}
		}
		for k, v := range m.Tags {
			if _, ok := old.Tags[k]; !ok {
				if err := putModelTag(tx, m.ID, Pair{k, v}); err != nil {
					return err
				}
			}
		}
		if old.Status == ModelPending && m.Status != ModelPending {
			old.Status, old.Updated = m.Status, m.Updated
			return putModelState(tx, old)
		}
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("import logged model %s: %w", m.ID, err)
	}
	return made, nil
}
