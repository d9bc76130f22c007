package pipeline

import (
	"errors"
	"time"

	"keelson/internal/db"
	"keelson/internal/problem"
)

// errFenced tells a driver that another one has taken its run.
var errFenced = errors.New("another driver has taken this run")

type store struct{}

const versionColumns = `v.pipeline, p.description, p.model, v.version, v.digest, v.definition, v.archive, v.environment_digest, v.source, v.created_by, v.created_at, p.updated_at`

func scanPipeline(scan func(...any) error) (p Pipeline, err error) {
	var source string
	var created, updated int64
	if err = scan(&p.Name, &p.Description, &p.Model, &p.Version, &p.Digest, &p.definition, &p.archive, &p.Environment, &source, &p.CreatedBy, &created, &updated); err != nil {
		return p, err
	}
	p.CreatedAt, p.UpdatedAt = db.Time(created), db.Time(updated)
	if err = db.FromJSON(source, &p.Source); err != nil {
		return p, err
	}
	d, err := Parse("keelson.yaml", []byte(p.definition))
	p.Steps = d.Outlines()
	return p, err
}

// pipeline reads one version; 0 is the newest.
func (store) pipeline(tx db.Scope, name string, version int) (Pipeline, error) {
	row := tx.QueryRow(`SELECT `+versionColumns+` FROM pipeline p JOIN pipeline_version v ON v.workspace = p.workspace AND v.pipeline = p.name
		WHERE p.workspace = $1 AND p.name = $2 AND v.version = CASE WHEN $3 = 0 THEN p.latest ELSE $3 END`, tx.Workspace, name, version)
	p, err := scanPipeline(row.Scan)
	if errors.Is(err, db.ErrNoRows) {
		if version != 0 {
			return p, problem.New(problem.NotFound, "There is no version %d of pipeline %s.", version, name)
		}
		return p, problem.New(problem.NotFound, "There is no pipeline %q.", name)
	}
	return p, err
}

func (store) byDigest(tx db.Scope, name, digest string) (Pipeline, error) {
	return scanPipeline(tx.QueryRow(`SELECT `+versionColumns+` FROM pipeline p JOIN pipeline_version v ON v.workspace = p.workspace AND v.pipeline = p.name
		WHERE p.workspace = $1 AND p.name = $2 AND v.digest = $3`, tx.Workspace, name, digest).Scan)
}

func (store) pipelines(tx db.Scope) (ps []Pipeline, err error) {
	ps = []Pipeline{}
	err = tx.Each(`SELECT `+versionColumns+` FROM pipeline p JOIN pipeline_version v ON v.workspace = p.workspace AND v.pipeline = p.name AND v.version = p.latest
		WHERE p.workspace = $1 ORDER BY p.name`, []any{tx.Workspace}, func(scan func(...any) error) error {
		p, err := scanPipeline(scan)
		ps = append(ps, p)
		return err
	})
	return ps, err
}

func (store) nextVersion(tx db.Scope, name string) (n int, err error) {
	err = tx.QueryRow(`SELECT COALESCE(MAX(version), 0) + 1 FROM pipeline_version WHERE workspace = $1 AND pipeline = $2`, tx.Workspace, name).Scan(&n)
	return n, err
}

func (store) putVersion(tx db.Scope, p Pipeline) error {
	_, err := tx.Exec(`INSERT INTO pipeline_version (workspace, pipeline, version, digest, definition, archive, environment_digest, source, created_by, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		tx.Workspace, p.Name, p.Version, p.Digest, p.definition, p.archive, p.Environment, db.ToJSON(p.Source), p.CreatedBy, db.Micros(p.CreatedAt))
	return err
}

func (store) putLatest(tx db.Scope, p Pipeline, latest int) error {
	if _, err := tx.Exec(`INSERT INTO pipeline (workspace, name, description, model, latest, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $6)
		ON CONFLICT (workspace, name) DO UPDATE SET description = excluded.description, model = excluded.model, latest = excluded.latest, updated_at = excluded.updated_at`,
		tx.Workspace, p.Name, p.Description, p.Model, latest, db.Micros(p.UpdatedAt)); err != nil {
		return err
	}
	_, err := tx.Exec(`UPDATE pipeline_version SET source = $4 WHERE workspace = $1 AND pipeline = $2 AND version = $3`,
		tx.Workspace, p.Name, latest, db.ToJSON(p.Source))
	return err
}

const runColumns = `id, pipeline, version, model, state, error, trigger_kind, trigger_ref, by_name, params, data, source, environment_digest, seed, versions, content_digest, created_at, started_at, ended_at, cancel, fence`

func scanRun(scan func(...any) error) (r Run, err error) {
	var params, data, source, versions string
	var created, started, ended int64
	var cancel int
	if err = scan(&r.ID, &r.Pipeline, &r.PipelineVersion, &r.Model, &r.State, &r.Error, &r.Trigger.Kind, &r.Trigger.Ref, &r.By, &params, &data,
		&source, &r.Environment, &r.Seed, &versions, &r.ContentDigest, &created, &started, &ended, &cancel, &r.fence); err != nil {
		return r, err
	}
	r.CreatedAt, r.StartedAt, r.EndedAt, r.cancel = db.Time(created), db.Moment(started), db.Moment(ended), cancel != 0
	return r, errors.Join(db.FromJSON(params, &r.Params), db.FromJSON(data, &r.Data), db.FromJSON(source, &r.Source), db.FromJSON(versions, &r.Versions))
}

// moment reads a time that may not have come; 0 in the database.
func (st store) insertRun(tx db.Scope, r Run) error {
	if _, err := tx.Exec(`INSERT INTO pipeline_run (workspace, `+runColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, 0, 0, 0, 0)`,
		tx.Workspace, r.ID, r.Pipeline, r.PipelineVersion, r.Model, r.State, r.Error, r.Trigger.Kind, r.Trigger.Ref, r.By, db.ToJSON(r.Params), db.ToJSON(r.Data),
		db.ToJSON(r.Source), r.Environment, r.Seed, db.ToJSON(r.Versions), r.ContentDigest, db.Micros(r.CreatedAt)); err != nil {
		return err
	}
	for i, s := range r.Steps {
		if _, err := tx.Exec(`INSERT INTO pipeline_step (workspace, run, name, position, kind, needs, state, attempt, address, token, started_at, ended_at, exit_code, error, outputs, log_digest, log_size)
			VALUES ($1, $2, $3, $4, $5, $6, $7, 0, '', '', 0, 0, NULL, '', '{}', '', 0)`, tx.Workspace, r.ID, s.Name, i, s.Kind, db.ToJSON(s.Needs), s.State); err != nil {
			return err
		}
	}
	return nil
}

func (st store) run(tx db.Scope, id string) (Run, error) {
	r, err := scanRun(tx.QueryRow(`SELECT `+runColumns+` FROM pipeline_run WHERE workspace = $1 AND id = $2`, tx.Workspace, id).Scan)
	if errors.Is(err, db.ErrNoRows) {
		return r, problem.New(problem.NotFound, "There is no pipeline run %q.", id)
	}
	if err != nil {
		return r, err
	}
	r.Steps, err = st.steps(tx, id)
	return r, err
}

func (store) steps(tx db.Scope, run string) (steps []Step, err error) {
	err = tx.Each(`SELECT name, kind, needs, state, attempt, address, token, started_at, ended_at, exit_code, error, outputs, log_digest, log_size
		FROM pipeline_step WHERE workspace = $1 AND run = $2 ORDER BY position`, []any{tx.Workspace, run}, func(scan func(...any) error) error {
		var s Step
		var needs, outputs string
		var started, ended int64
		if err := scan(&s.Name, &s.Kind, &needs, &s.State, &s.Attempt, &s.address, &s.token, &started, &ended, &s.ExitCode, &s.Error, &outputs, &s.logDigest, &s.logSize); err != nil {
			return err
		}
		s.StartedAt, s.EndedAt = db.Moment(started), db.Moment(ended)
		steps = append(steps, s)
		i := len(steps) - 1
		return errors.Join(db.FromJSON(needs, &steps[i].Needs), db.FromJSON(outputs, &steps[i].Outputs))
	})
	return steps, err
}

// runs lists without steps' logs, newest first.
func (st store) runs(tx db.Scope, pipeline, before string, limit int) (rs []Run, err error) {
	rs = []Run{}
	err = tx.Each(`SELECT `+runColumns+` FROM pipeline_run WHERE workspace = $1 AND ($2 = '' OR pipeline = $2) AND ($3 = '' OR id < $3) ORDER BY id DESC LIMIT $4`,
		[]any{tx.Workspace, pipeline, before, limit}, func(scan func(...any) error) error {
			r, err := scanRun(scan)
			rs = append(rs, r)
			return err
		})
	for i := range rs {
		if err == nil {
			rs[i].Steps, err = st.steps(tx, rs[i].ID)
		}
	}
	return rs, err
}

func (store) putRun(tx db.Scope, r Run) error {
	_, err := tx.Exec(`UPDATE pipeline_run SET state = $3, error = $4, data = $5, versions = $6, content_digest = $7, started_at = $8, ended_at = $9 WHERE workspace = $1 AND id = $2`,
		tx.Workspace, r.ID, r.State, r.Error, db.ToJSON(r.Data), db.ToJSON(r.Versions), r.ContentDigest, db.MomentMicros(r.StartedAt), db.MomentMicros(r.EndedAt))
	return err
}

func (store) putStep(tx db.Scope, run string, s Step) error {
	if s.Outputs == nil {
		s.Outputs = map[string]any{}
	}
	_, err := tx.Exec(`UPDATE pipeline_step SET state = $4, attempt = $5, address = $6, started_at = $7, ended_at = $8, exit_code = $9, error = $10, outputs = $11,
		log_digest = $12, log_size = $13, token = $14 WHERE workspace = $1 AND run = $2 AND name = $3`, tx.Workspace, run, s.Name, s.State, s.Attempt, s.address,
		db.MomentMicros(s.StartedAt), db.MomentMicros(s.EndedAt), s.ExitCode, s.Error, db.ToJSON(s.Outputs), s.logDigest, s.logSize, s.token)
	return err
}

func (store) requestCancel(tx db.Scope, id string, on bool) error {
	v := 0
	if on {
		v = 1
	}
	_, err := tx.Exec(`UPDATE pipeline_run SET cancel = $3 WHERE workspace = $1 AND id = $2`, tx.Workspace, id, v)
	return err
}

// claim makes fence the newest term of a run; an older driver is told errFenced.
func (store) claim(tx db.Scope, id string, fence int64) error {
	res, err := tx.Exec(`UPDATE pipeline_run SET fence = $3 WHERE workspace = $1 AND id = $2 AND fence <= $3`, tx.Workspace, id, fence)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return errors.Join(err, errFenced)
	}
	return nil
}

// holds fails with errFenced unless fence is still the newest term of the run.
func (store) holds(tx db.Scope, id string, fence int64) error {
	var now int64
	if err := tx.QueryRow(`SELECT fence FROM pipeline_run WHERE workspace = $1 AND id = $2`, tx.Workspace, id).Scan(&now); err != nil {
		return err
	}
	if now != fence {
		return errFenced
	}
	return nil
}

// lastMonitorRun gives when a monitor last started a pipeline, and whether any run of it is under way.
func (store) lastMonitorRun(tx db.Scope, pipeline string) (last time.Time, busy bool, err error) {
	var at, n int64
	err = tx.QueryRow(`SELECT COALESCE(MAX(CASE WHEN trigger_kind = 'monitor' THEN created_at ELSE 0 END), 0),
		COALESCE(SUM(CASE WHEN state IN ('queued', 'running') THEN 1 ELSE 0 END), 0) FROM pipeline_run WHERE workspace = $1 AND pipeline = $2`, tx.Workspace, pipeline).Scan(&at, &n)
	if at > 0 {
		last = db.Time(at)
	}
	return last, n > 0, err
}

// startedBy gives the run that a monitor's cause started, "" when none did.
func (store) startedBy(tx db.Scope, pipeline, cause string) (run string, err error) {
	err = tx.QueryRow("SELECT id FROM pipeline_run WHERE workspace = $1 AND pipeline = $2 AND trigger_kind = 'monitor' AND trigger_ref = $3", tx.Workspace, pipeline, cause).Scan(&run)
	if errors.Is(err, db.ErrNoRows) {
		return "", nil
	}
	return run, err
}
