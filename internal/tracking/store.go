package tracking

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"keelson/internal/blob"
	"keelson/internal/db"
	"keelson/internal/db/find"
	"keelson/internal/problem"
)

func noExperiment(id string) error {
	return problem.New(problem.NotFound, "No Experiment with id=%s exists", problem.Clip(id, 80)).At("experiment_id")
}

func noRun(id string) error {
	return problem.New(problem.NotFound, "Run with id=%s not found", problem.Clip(id, 80)).At("run_id")
}

// touchExperiments makes the default experiment of a workspace.
func touchExperiments(tx db.Scope, now time.Time) error {
	_, err := tx.Exec(`INSERT INTO experiment (workspace, id, name, created_at, updated_at) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (workspace, id) DO NOTHING`, tx.Workspace, defaultExperiment, defaultExperimentN, db.Micros(now), db.Micros(now))
	return err
}

func hasDefault(tx db.Scope) (bool, error) {
	var n int
	err := tx.QueryRow(`SELECT 1 FROM experiment WHERE workspace = $1 AND id = $2`, tx.Workspace, defaultExperiment).Scan(&n)
	if errors.Is(err, db.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

func insertExperiment(tx db.Scope, e *Experiment) error {
	var n int64
	if err := tx.QueryRow(`INSERT INTO experiment_counter (workspace, last) VALUES ($1, 1)
		ON CONFLICT (workspace) DO UPDATE SET last = experiment_counter.last + 1 RETURNING last`, tx.Workspace).Scan(&n); err != nil {
		return err
	}
	e.ID = strconv.FormatInt(n, 10)
	if _, err := tx.Exec(`INSERT INTO experiment (workspace, id, name, created_at, updated_at) VALUES ($1, $2, $3, $4, $5)`,
		tx.Workspace, e.ID, e.Name, db.Micros(e.Created), db.Micros(e.Updated)); err != nil {
		return err
	}
	for k, v := range e.Tags {
		if err := putExperimentTag(tx, e.ID, Pair{k, v}); err != nil {
			return err
		}
	}
	return nil
}

const experimentColumns = `e.id, e.name, e.deleted, e.created_at, e.updated_at`

func scanExperiment(scan func(...any) error) (e Experiment, err error) {
	var created, updated int64
	err = scan(&e.ID, &e.Name, &e.Deleted, &created, &updated)
	e.Created, e.Updated, e.Tags = db.Time(created), db.Time(updated), map[string]string{}
	return e, err
}

func getExperiment(tx db.Scope, id string) (Experiment, error) {
	e, err := scanExperiment(tx.QueryRow(`SELECT `+experimentColumns+` FROM experiment e WHERE e.workspace = $1 AND e.id = $2`, tx.Workspace, id).Scan)
	if errors.Is(err, db.ErrNoRows) {
		return e, noExperiment(id)
	}
	if err != nil {
		return e, err
	}
	list := []Experiment{e}
	err = experimentTags(tx, list)
	return list[0], err
}

// experimentNamed finds the active experiment of that name, else the one deleted last.
func experimentNamed(tx db.Scope, name string) (Experiment, error) {
	var id string
	err := tx.QueryRow(`SELECT id FROM experiment WHERE workspace = $1 AND name = $2 ORDER BY deleted, updated_at DESC, id LIMIT 1`, tx.Workspace, name).Scan(&id)
	if errors.Is(err, db.ErrNoRows) {
		return Experiment{}, problem.New(problem.NotFound, "Could not find experiment with name '%s'", problem.Clip(name, 120)).At("experiment_name")
	}
	if err != nil {
		return Experiment{}, err
	}
	return getExperiment(tx, id)
}

// activeNamed reports whether an experiment that is not deleted bears the name.
func activeNamed(tx db.Scope, name string) (bool, error) {
	var n int
	err := tx.QueryRow(`SELECT 1 FROM experiment WHERE workspace = $1 AND name = $2 AND deleted = 0`, tx.Workspace, name).Scan(&n)
	if errors.Is(err, db.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

func putExperiment(tx db.Scope, e Experiment) error {
	_, err := tx.Exec(`UPDATE experiment SET name = $1, deleted = $2, updated_at = $3 WHERE workspace = $4 AND id = $5`,
		e.Name, db.Bit(e.Deleted), db.Micros(e.Updated), tx.Workspace, e.ID)
	return err
}

func putExperimentTag(tx db.Scope, id string, t Pair) error {
	_, err := tx.Exec(`INSERT INTO experiment_tag (workspace, experiment, key, value) VALUES ($1, $2, $3, $4)
		ON CONFLICT (workspace, experiment, key) DO UPDATE SET value = excluded.value`, tx.Workspace, id, t.Key, t.Value)
	return err
}

func dropExperimentTag(tx db.Scope, id, key string) (bool, error) {
	return affected(tx.Exec(`DELETE FROM experiment_tag WHERE workspace = $1 AND experiment = $2 AND key = $3`, tx.Workspace, id, key))
}

func experimentTags(tx db.Scope, list []Experiment) error {
	at := map[string]int{}
	ids := make([]string, len(list))
	for i, e := range list {
		at[e.ID], ids[i] = i, e.ID
	}
	return inChunks(ids, func(part []string) error {
		q := find.New(tx)
		q.Add(`SELECT experiment, key, value FROM experiment_tag WHERE workspace = `, q.Arg(tx.Workspace), ` AND experiment IN (`, q.Args(part), `)`)
		return tx.Each(q.String(), q.Values, func(scan func(...any) error) error {
			var id, k, v string
			if err := scan(&id, &k, &v); err != nil {
				return err
			}
			list[at[id]].Tags[k] = v
			return nil
		})
	})
}

func insertRun(tx db.Scope, r Run) error {
	_, err := runRows.run(tx, 1, []string{r.ID}, []string{r.Experiment}, []string{r.Name}, []string{r.Author}, []string{r.Status}, []int64{db.Micros(r.Started)}, []int64{db.Micros(r.Ended)})
	return err
}

const runColumns = `r.id, r.experiment, r.name, r.author, r.status, r.deleted, r.started_at, r.ended_at, r.changed`

func scanRun(scan func(...any) error) (r Run, err error) {
	var started, ended int64
	err = scan(&r.ID, &r.Experiment, &r.Name, &r.Author, &r.Status, &r.Deleted, &started, &ended, &r.changed)
	r.Started, r.Ended = db.Time(started), db.Time(ended)
	r.Params, r.Tags = map[string]string{}, map[string]string{}
	return r, err
}

// head reads a run's own row.
func head(tx db.Scope, id string) (Run, error) {
	r, err := scanRun(tx.QueryRow(`SELECT `+runColumns+` FROM run r WHERE r.workspace = $1 AND r.id = $2`, tx.Workspace, id).Scan)
	if errors.Is(err, db.ErrNoRows) {
		return r, noRun(id)
	}
	return r, err
}

// holdRun is head; on PostgreSQL nobody else changes the row until the transaction ends. SQLite has one writer.
func holdRun(tx db.Scope, id string) (Run, error) {
	if tx.Postgres() {
		if _, err := tx.Exec(`SELECT 1 FROM run WHERE workspace = $1 AND id = $2 FOR UPDATE`, tx.Workspace, id); err != nil {
			return Run{}, err
		}
	}
	return head(tx, id)
}

func getRun(tx db.Scope, id string) (Run, error) {
	r, err := head(tx, id)
	if err != nil {
		return r, err
	}
	list := []Run{r}
	err = fill(tx, list)
	return list[0], err
}

func putRun(tx db.Scope, r Run) error {
	_, err := tx.Exec(`UPDATE run SET name = $1, status = $2, deleted = $3, ended_at = $4 WHERE workspace = $5 AND id = $6`,
		r.Name, r.Status, db.Bit(r.Deleted), db.Micros(r.Ended), tx.Workspace, r.ID)
	return errors.Join(err, touch(tx, r.ID))
}

func putTag(tx db.Scope, run string, t Pair) error {
	_, err := tx.Exec(`INSERT INTO run_tag (workspace, run, key, value, experiment) VALUES ($1, $2, $3, $4, (SELECT experiment FROM run WHERE workspace = $1 AND id = $2))
		ON CONFLICT (workspace, run, key) DO UPDATE SET value = excluded.value`, tx.Workspace, run, t.Key, t.Value)
	return errors.Join(err, touch(tx, run))
}

func dropTag(tx db.Scope, run, key string) (bool, error) {
	if err := touch(tx, run); err != nil {
		return false, err
	}
	return affected(tx.Exec(`DELETE FROM run_tag WHERE workspace = $1 AND run = $2 AND key = $3`, tx.Workspace, run, key))
}

func putInput(tx db.Scope, run string, in Input, now time.Time) error {
	_, err := tx.Exec(`INSERT INTO run_input (workspace, run, name, digest, context, document, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (workspace, run, name, digest) DO UPDATE SET context = excluded.context, document = excluded.document`,
		tx.Workspace, run, in.Name, in.Digest, in.Context, db.ToJSON(in), db.Micros(now))
	return errors.Join(err, touch(tx, run))
}

func putRunModel(tx db.Scope, run, direction string, m ModelRef) error {
	_, err := tx.Exec(`INSERT INTO run_model (workspace, run, direction, model, step) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (workspace, run, direction, model) DO UPDATE SET step = excluded.step`, tx.Workspace, run, direction, m.Model, m.Step)
	return errors.Join(err, touch(tx, run))
}

// artifacts

func putArtifact(tx db.Scope, root string, a Artifact, now time.Time) error {
	_, err := tx.Exec(`INSERT INTO artifact (workspace, root, path, digest, size, created_at) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (workspace, root, path) DO UPDATE SET digest = excluded.digest, size = excluded.size, created_at = excluded.created_at`,
		tx.Workspace, root, a.Path, a.Digest, a.Size, db.Micros(now))
	return err
}

func getArtifact(tx db.Scope, root, path string) (a Artifact, err error) {
	a.Path = path
	err = tx.QueryRow(`SELECT digest, size FROM artifact WHERE workspace = $1 AND root = $2 AND path = $3`, tx.Workspace, root, path).Scan(&a.Digest, &a.Size)
	if errors.Is(err, db.ErrNoRows) {
		return a, problem.New(problem.NotFound, "No such artifact: '%s'", problem.Clip(path, 200)).At("path")
	}
	return a, err
}

// below lists the files of a root, or of one folder in it, sorted by path. A file at the folder's own path counts too.
func below(tx db.Scope, root, folder string) (out []Artifact, err error) {
	q, args := `SELECT path, digest, size FROM artifact WHERE workspace = $1 AND root = $2`, []any{tx.Workspace, root}
	if folder != "" { // '0' follows '/' in every collation by bytes, so these are the paths that begin with folder + "/"
		q += ` AND (path = $3 OR ` + tx.Bytewise("path") + ` >= $4 AND ` + tx.Bytewise("path") + ` < $5)`
		args = append(args, folder, folder+"/", folder+"0")
	}
	err = tx.Each(q+` ORDER BY `+tx.Bytewise("path"), args, func(scan func(...any) error) error {
		var a Artifact
		if err := scan(&a.Path, &a.Digest, &a.Size); err != nil {
			return err
		}
		out = append(out, a)
		return nil
	})
	return out, err
}

// dropArtifacts removes the files of a root, or of one folder in it, and says how many they were and their bytes.
func dropArtifacts(tx db.Scope, root, folder string) (n int, size int64, err error) {
	q, args := `DELETE FROM artifact WHERE workspace = $1 AND root = $2`, []any{tx.Workspace, root}
	if folder != "" {
		q += ` AND (path = $3 OR ` + tx.Bytewise("path") + ` >= $4 AND ` + tx.Bytewise("path") + ` < $5)`
		args = append(args, folder, folder+"/", folder+"0")
	}
	var digests []string
	if err := tx.Each(q+` RETURNING digest, size`, args, func(scan func(...any) error) error {
		var d string
		var b int64
		err := scan(&d, &b)
		digests, size = append(digests, d), size+b
		return err
	}); err != nil {
		return 0, 0, err
	}
	return len(digests), size, blob.Loose(tx, digests...)
}

// children gives up to limit direct children of a folder, and where the next page begins: behind the file of that path,
// or, when it ends with a slash, behind all that is in that folder. It reads files in the byte order of their paths and,
// once it has met a folder, goes on behind it, so that what lies deeper is not read.
func children(tx db.Scope, root, folder, after string, limit int) (out []Artifact, next string, err error) {
	const batch = 1000
	col := tx.Bytewise("path")
	prefix, op, from := "", ">", ""
	q := `SELECT path, digest, size FROM artifact WHERE workspace = $1 AND root = $2`
	if folder != "" {
		prefix, from = folder+"/", folder+"/"
	}
	for {
		if after != "" {
			op, from = ">", after
			if f, ok := strings.CutSuffix(after, "/"); ok {
				op, from = ">=", f+"0" // '0' follows '/' in the order of bytes
			}
		}
		args := []any{tx.Workspace, root, from}
		where := ` AND ` + col + ` ` + op + ` $3`
		if folder != "" {
			where += ` AND ` + col + ` < $4`
			args = append(args, folder+"0")
		}
		n, inside := 0, ""
		full := false
		if err := tx.Each(q+where+` ORDER BY `+col+` LIMIT `+strconv.Itoa(batch), args, func(scan func(...any) error) error {
			var a Artifact
			if err := scan(&a.Path, &a.Digest, &a.Size); err != nil {
				return err
			}
			n++
			if full || inside != "" && strings.HasPrefix(a.Path, inside) {
				return nil
			}
			if limit > 0 && len(out) == limit {
				full = true
				return nil
			}
			after = a.Path
			if name, _, deep := strings.Cut(strings.TrimPrefix(a.Path, prefix), "/"); deep {
				a = Artifact{Path: prefix + name, Folder: true}
				inside = a.Path + "/"
				after = inside
			}
			out = append(out, a)
			return nil
		}); err != nil {
			return nil, "", err
		}
		if full {
			return out, after, nil
		}
		if n < batch {
			return out, "", nil
		}
	}
}

// blocked finds what is in the way of a file at path: a folder of that name, or a file where path needs a folder.
func blocked(tx db.Scope, root, path string) (string, error) {
	var other string
	err := tx.QueryRow(`SELECT path FROM artifact WHERE workspace = $1 AND root = $2 AND `+tx.Bytewise("path")+` >= $3 AND `+tx.Bytewise("path")+` < $4 LIMIT 1`,
		tx.Workspace, root, path+"/", path+"0").Scan(&other)
	if err == nil || !errors.Is(err, db.ErrNoRows) {
		return other, err
	}
	var parents []string
	for i, c := range path {
		if c == '/' {
			parents = append(parents, path[:i])
		}
	}
	if len(parents) == 0 {
		return "", nil
	}
	q := find.New(tx)
	q.Add(`SELECT path FROM artifact WHERE workspace = `, q.Arg(tx.Workspace), ` AND root = `, q.Arg(root), ` AND path IN (`, q.Args(parents), `) LIMIT 1`)
	err = tx.QueryRow(q.String(), q.Values...).Scan(&other)
	if errors.Is(err, db.ErrNoRows) {
		return "", nil
	}
	return other, err
}

// small helpers of all stores

type rowsAffected interface{ RowsAffected() (int64, error) }

func affected(r rowsAffected, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	n, err := r.RowsAffected()
	return n > 0, err
}

// inChunks calls fn with at most 500 ids at a time.
func inChunks(ids []string, fn func([]string) error) error {
	for len(ids) > 0 {
		n := min(len(ids), 500)
		if err := fn(ids[:n]); err != nil {
			return err
		}
		ids = ids[n:]
	}
	return nil
}
