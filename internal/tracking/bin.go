package tracking

import (
	"errors"
	"strings"

	"keelson/internal/audit"
	"keelson/internal/bin"
	"keelson/internal/db"
	"keelson/internal/problem"
)

// Experiments, runs and logged models that are deleted stay in their tables, marked, as MLflow's clients expect to find
// them; the bin knows since when. A run that went with its experiment has no entry of its own and comes back with it.
const (
	binExperiment = "experiment"
	binRun        = "run"
	binModel      = "logged-model"
)

// Bins are the kinds of things of tracking that can lie in the bin.
func (s *Service) Bins() []bin.Kind { return []bin.Kind{experimentBin{s}, runBin{s}, modelBin{s}} }

// runTables hold rows of a run under the column run. A test walks the schema for others.
var runTables = []string{"run_param", "run_tag", "run_input", "run_model", "metric_latest", "metric_tail", "metric_chunk"}

// binned puts something into the bin, with the files below the roots that lie from one root up to another.
func binned(tx db.Scope, e bin.Entry, from, to string) error {
	col := tx.Bytewise("root")
	if err := tx.QueryRow(`SELECT COUNT(*), COALESCE(SUM(size), 0) FROM artifact WHERE workspace = $1 AND `+col+` >= $2 AND `+col+` < $3`, tx.Workspace, from, to).Scan(&e.Files, &e.Bytes); err != nil {
		return err
	}
	return bin.Put(tx, e)
}

// binExperimentOf is called in the transaction that deletes an experiment, before its runs are marked.
func binExperimentOf(tx db.Scope, e Experiment) error {
	if err := bin.Held(tx, binExperiment, e.ID); err != nil {
		return err
	}
	var held string
	err := tx.QueryRow(`SELECT COALESCE(MIN(h.name), '') FROM bin_hold h JOIN run r ON r.workspace = h.workspace AND r.id = h.name
		WHERE h.workspace = $1 AND h.kind = 'run' AND r.experiment = $2`, tx.Workspace, e.ID).Scan(&held)
	if err == nil && held != "" {
		err = bin.Held(tx, binRun, held)
	}
	if err != nil {
		return err
	}
	return binned(tx, bin.Entry{Kind: binExperiment, ID: e.ID, Name: e.Name}, e.ID+"/", e.ID+"0")
}

func binRunOf(tx db.Scope, r Run) error {
	for kind, id := range map[string]string{binRun: r.ID, binExperiment: r.Experiment} {
		if err := bin.Held(tx, kind, id); err != nil {
			return err
		}
	}
	root := ArtifactRoot(r.Experiment, r.ID)
	return binned(tx, bin.Entry{Kind: binRun, ID: r.ID, Name: r.Name, Parent: r.Experiment}, root, root+"0")
}

func binModelOf(tx db.Scope, m LoggedModel) error {
	for kind, id := range map[string]string{binModel: m.ID, binExperiment: m.Experiment} {
		if err := bin.Held(tx, kind, id); err != nil {
			return err
		}
	}
	root := ModelRoot(m.Experiment, m.ID)
	return binned(tx, bin.Entry{Kind: binModel, ID: m.ID, Name: m.Name, Parent: m.Experiment}, root, root+"0")
}

// hideRuns marks the runs of an experiment that is deleted; showRuns unmarks those that were not deleted by themselves.
func hideRuns(tx db.Scope, experiment string) error {
	_, err := tx.Exec(`UPDATE run SET deleted = 1 WHERE workspace = $1 AND experiment = $2`, tx.Workspace, experiment)
	return errors.Join(err, touchAll(tx, experiment))
}

func showRuns(tx db.Scope, experiment string) error {
	_, err := tx.Exec(`UPDATE run SET deleted = 0 WHERE workspace = $1 AND experiment = $2
		AND NOT EXISTS (SELECT 1 FROM bin_entry b WHERE b.workspace = run.workspace AND b.kind = 'run' AND b.id = run.id)`, tx.Workspace, experiment)
	return errors.Join(err, touchAll(tx, experiment))
}

type experimentBin struct{ s *Service }

func (experimentBin) Kind() string       { return binExperiment }
func (experimentBin) Permission() string { return "run.write" }

// Restore implements bin.Kind.
func (b experimentBin) Restore(tx db.Scope, e bin.Entry, as string) error {
	return b.s.restore(tx, e.ID, as)
}

// restore brings a deleted experiment back, with the runs that went with it.
func (s *Service) restore(tx db.Scope, id, as string) error {
	e, err := getExperiment(tx, id)
	if err != nil {
		return err
	}
	if !e.Deleted {
		return noExperiment(id)
	}
	if as != "" {
		if err := checkName(as); err != nil {
			return err
		}
		e.Name = as
	}
	switch taken, err := activeNamed(tx, e.Name); {
	case err != nil:
		return err
	case taken:
		return restoreTaken(e.Name, id)
	}
	e.Deleted, e.Updated = false, s.Now()
	if err := putExperiment(tx, e); err != nil {
		return err
	}
	if err := showRuns(tx, id); err != nil {
		return err
	}
	if err := bin.Drop(tx, binExperiment, id); err != nil {
		return err
	}
	return audit.Record(tx, "experiment.restored", "experiment/"+id, map[string]any{"name": e.Name})
}

func restoreTaken(name, id string) error {
	return problem.New(problem.Conflict, "Experiment '%s' already exists: another one bears the name of the deleted experiment %s by now. Rename that one, or restore this one under another name: keelson bin restore experiment %s --as NAME.",
		problem.Clip(name, 120), id, id).At("name")
}

// Purge implements bin.Kind: up to 200 runs or logged models at a time, then the experiment.
func (b experimentBin) Purge(tx db.Scope, e bin.Entry) (g bin.Gone, done bool, err error) {
	const atOnce = 200
	var runs, models []string
	collect := func(into *[]string) func(func(...any) error) error {
		return func(scan func(...any) error) error {
			var id string
			err := scan(&id)
			*into = append(*into, id)
			return err
		}
	}
	if err := tx.Each(`SELECT id FROM run WHERE workspace = $1 AND experiment = $2 LIMIT $3`, []any{tx.Workspace, e.ID, atOnce}, collect(&runs)); err != nil {
		return g, false, err
	}
	for _, id := range runs {
		if err := purgeRun(tx, e.ID, id, &g); err != nil {
			return g, false, err
		}
	}
	if len(runs) == atOnce {
		return g, false, nil
	}
	if err := tx.Each(`SELECT id FROM logged_model WHERE workspace = $1 AND experiment = $2 LIMIT $3`, []any{tx.Workspace, e.ID, atOnce}, collect(&models)); err != nil {
		return g, false, err
	}
	for _, id := range models {
		if err := purgeModel(tx, e.ID, id, &g); err != nil {
			return g, false, err
		}
	}
	if len(models) == atOnce {
		return g, false, nil
	}
	for _, purge := range b.s.Purged {
		if done, err := purge(tx, e.ID); err != nil || !done {
			return g, false, err
		}
	}
	for _, q := range []string{`DELETE FROM experiment_tag WHERE workspace = $1 AND experiment = $2`, `DELETE FROM experiment WHERE workspace = $1 AND id = $2`} {
		if _, err := tx.Exec(q, tx.Workspace, e.ID); err != nil {
			return g, false, err
		}
	}
	return g, true, nil
}

type runBin struct{ s *Service }

func (runBin) Kind() string       { return binRun }
func (runBin) Permission() string { return "run.write" }

// Restore implements bin.Kind. A run whose experiment is deleted waits for it.
func (b runBin) Restore(tx db.Scope, e bin.Entry, as string) error {
	x, err := getExperiment(tx, e.Parent)
	if err != nil {
		return err
	}
	if x.Deleted {
		return problem.New(problem.Conflict, "The run %s belongs to the experiment %s, which is deleted; restore that first: keelson bin restore experiment %s.", e.ID, x.Name, x.ID)
	}
	if as != "" {
		if err := CheckTag(Pair{TagName, as}, MaxTagValue); err != nil {
			return err
		}
		if _, err := tx.Exec(`UPDATE run SET name = $1 WHERE workspace = $2 AND id = $3`, as, tx.Workspace, e.ID); err != nil {
			return err
		}
		if err := putTag(tx, e.ID, Pair{TagName, as}); err != nil {
			return err
		}
	}
	return b.s.mark(tx, e.ID, false, "run.restored")
}

// Purge implements bin.Kind.
func (runBin) Purge(tx db.Scope, e bin.Entry) (g bin.Gone, done bool, err error) {
	err = purgeRun(tx, e.Parent, e.ID, &g)
	return g, true, err
}

func purgeRun(tx db.Scope, experiment, id string, g *bin.Gone) error {
	for _, t := range runTables {
		if _, err := tx.Exec(`DELETE FROM `+t+` WHERE workspace = $1 AND run = $2`, tx.Workspace, id); err != nil {
			return err
		}
	}
	if err := purgeRoot(tx, ArtifactRoot(experiment, id), g); err != nil {
		return err
	}
	if err := bin.Drop(tx, binRun, id); err != nil {
		return err
	}
	g.Runs++
	if _, err := tx.Exec(`UPDATE experiment SET purged = purged + 1 WHERE workspace = $1 AND id = $2`, tx.Workspace, experiment); err != nil {
		return err
	}
	_, err := tx.Exec(`DELETE FROM run WHERE workspace = $1 AND id = $2`, tx.Workspace, id)
	return err
}

// purgeRoot removes the files of a root and the uploads to it; the parts of these are tidied away by age.
func purgeRoot(tx db.Scope, root string, g *bin.Gone) error {
	n, size, err := dropArtifacts(tx, root, "")
	if err != nil {
		return err
	}
	g.Files += int64(n)
	g.Bytes += size
	_, err = tx.Exec(`DELETE FROM artifact_upload WHERE workspace = $1 AND root = $2`, tx.Workspace, root)
	return err
}

type modelBin struct{ s *Service }

func (modelBin) Kind() string       { return binModel }
func (modelBin) Permission() string { return "run.write" }

// Restore implements bin.Kind.
func (b modelBin) Restore(tx db.Scope, e bin.Entry, as string) error {
	x, err := getExperiment(tx, e.Parent)
	if err != nil {
		return err
	}
	if x.Deleted {
		return problem.New(problem.Conflict, "The logged model %s belongs to the experiment %s, which is deleted; restore that first: keelson bin restore experiment %s.", e.ID, x.Name, x.ID)
	}
	if as == "" {
		as = e.Name
	}
	if strings.ContainsAny(as, "/:.%\"'") {
		return problem.New(problem.Invalid, "A logged model's name holds none of / : . %% \" '.").At("as")
	}
	if _, err := tx.Exec(`UPDATE logged_model SET deleted = 0, name = $1, updated_at = $2 WHERE workspace = $3 AND id = $4`, as, db.Micros(b.s.Now()), tx.Workspace, e.ID); err != nil {
		return err
	}
	if err := bin.Drop(tx, binModel, e.ID); err != nil {
		return err
	}
	return audit.Record(tx, "logged-model.restored", "logged-model/"+e.ID, map[string]any{"name": as, "experiment": e.Parent})
}

// Purge implements bin.Kind.
func (modelBin) Purge(tx db.Scope, e bin.Entry) (g bin.Gone, done bool, err error) {
	err = purgeModel(tx, e.Parent, e.ID, &g)
	return g, true, err
}

func purgeModel(tx db.Scope, experiment, id string, g *bin.Gone) error {
	var runs []string
	if err := tx.Each(`SELECT run FROM run_model WHERE workspace = $1 AND model = $2`, []any{tx.Workspace, id}, func(scan func(...any) error) error {
		var run string
		err := scan(&run)
		runs = append(runs, run)
		return err
	}); err != nil {
		return err
	}
	if err := touch(tx, runs...); err != nil {
		return err
	}
	for _, t := range []string{"logged_model_param", "logged_model_tag", "logged_model_metric", "run_model"} {
		if _, err := tx.Exec(`DELETE FROM `+t+` WHERE workspace = $1 AND model = $2`, tx.Workspace, id); err != nil {
			return err
		}
	}
	if err := purgeRoot(tx, ModelRoot(experiment, id), g); err != nil {
		return err
	}
	if err := bin.Drop(tx, binModel, id); err != nil {
		return err
	}
	_, err := tx.Exec(`DELETE FROM logged_model WHERE workspace = $1 AND id = $2`, tx.Workspace, id)
	return err
}
