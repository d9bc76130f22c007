package inventory

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"keelson/internal/db"
	"keelson/internal/problem"
)

func noModel(name string) error {
	return problem.New(problem.NotFound, "Registered Model with name=%s not found", problem.Clip(name, 120)).At("name")
}

func noVersion(model string, v int) error {
	return problem.New(problem.NotFound, "Model Version (name=%s, version=%d) not found", problem.Clip(model, 120), v).At("version")
}

const modelColumns = `name, kind, description, area, owner, use_case, tier, intended_use, forbidden_use, responsibilities, tags, latest, created_by, created_at, updated_at`

func scanModel(scan func(...any) error) (m Model, err error) {
	var responsibilities, tags string
	var created, updated int64
	if err := scan(&m.Name, &m.Kind, &m.Description, &m.Area, &m.Owner, &m.UseCase, &m.Tier, &m.IntendedUse, &m.ForbiddenUse, &responsibilities, &tags, &m.Latest, &m.CreatedBy, &created, &updated); err != nil {
		return m, err
	}
	m.CreatedAt, m.UpdatedAt, m.Tags = db.Time(created), db.Time(updated), map[string]string{}
	m.Live, m.Health = []Live{}, Health{Verdict: "unknown", Reasons: []string{}}
	err = errors.Join(db.FromJSON(responsibilities, &m.Responsibilities), db.FromJSON(tags, &m.Tags))
	m.Missing = m.lacks()
	return m, err
}

func insertModel(tx db.Scope, m Model) error {
	_, err := tx.Exec(`INSERT INTO model (workspace, name, kind, description, area, owner, use_case, tier, intended_use, forbidden_use, responsibilities, tags, words, latest, created_by, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 0, $14, $15, $16)`,
		tx.Workspace, m.Name, m.Kind, m.Description, m.Area, m.Owner, m.UseCase, m.Tier, m.IntendedUse, m.ForbiddenUse, db.ToJSON(m.Responsibilities), db.ToJSON(m.Tags), m.words(),
		m.CreatedBy, db.Micros(m.CreatedAt), db.Micros(m.UpdatedAt))
	return err
}

func putModel(tx db.Scope, m Model) error {
	_, err := tx.Exec(`UPDATE model SET kind = $1, description = $2, area = $3, owner = $4, use_case = $5, tier = $6, intended_use = $7, forbidden_use = $8, responsibilities = $9,
		tags = $10, words = $11, latest = $12, updated_at = $13 WHERE workspace = $14 AND name = $15`,
		m.Kind, m.Description, m.Area, m.Owner, m.UseCase, m.Tier, m.IntendedUse, m.ForbiddenUse, db.ToJSON(m.Responsibilities), db.ToJSON(m.Tags), m.words(), m.Latest,
		db.Micros(m.UpdatedAt), tx.Workspace, m.Name)
	return err
}

func getModel(tx db.Scope, name string) (Model, error) {
	m, err := scanModel(tx.QueryRow(`SELECT `+modelColumns+` FROM model WHERE workspace = $1 AND name = $2`, tx.Workspace, name).Scan)
	if errors.Is(err, db.ErrNoRows) {
		return m, noModel(name)
	}
	return m, err
}

var likeEscape = strings.NewReplacer("!", "!!", "%", "!%", "_", "!_")

// listModels gives models after a name whose words hold every word of filter; limit 0 means all.
func listModels(tx db.Scope, filter, after string, limit int) (out []Model, err error) {
	q := `SELECT ` + modelColumns + ` FROM model WHERE workspace = $1 AND ` + tx.Bytewise("name") + ` > $2`
	args := []any{tx.Workspace, after}
	for _, w := range strings.Fields(strings.ToLower(filter)) {
		args = append(args, "%"+likeEscape.Replace(w)+"%")
		q += fmt.Sprintf(` AND words LIKE $%d ESCAPE '!'`, len(args))
	}
	q += ` ORDER BY ` + tx.Bytewise("name")
	if limit > 0 {
		args = append(args, limit)
		q += fmt.Sprintf(` LIMIT $%d`, len(args))
	}
	err = tx.Each(q, args, func(scan func(...any) error) error {
		m, err := scanModel(scan)
		out = append(out, m)
		return err
	})
	return out, err
}

// nextOrdinal gives the next version number of a model; it is never given twice.
func nextOrdinal(tx db.Scope, model string) (n int, err error) {
	err = tx.QueryRow(`INSERT INTO model_ordinal (workspace, model, last) VALUES ($1, $2, 1)
		ON CONFLICT (workspace, model) DO UPDATE SET last = model_ordinal.last + 1 RETURNING last`, tx.Workspace, model).Scan(&n)
	return n, err
}

// takeOrdinal marks a number as given away.
func takeOrdinal(tx db.Scope, model string, n int) error {
	_, err := tx.Exec(`INSERT INTO model_ordinal (workspace, model, last) VALUES ($1, $2, $3)
		ON CONFLICT (workspace, model) DO UPDATE SET last = CASE WHEN excluded.last > model_ordinal.last THEN excluded.last ELSE model_ordinal.last END`, tx.Workspace, model, n)
	return err
}

const versionColumns = `model, version, state, fault, reason, artifact_digest, content_digest, format, engine, size, signature, dependencies, golden, examples, description, run, logged_model, origin, source, authors, tags, created_by, created_at, updated_at, described, runs_in, tried`

func insertVersion(tx db.Scope, v Version) error {
	if _, err := tx.Exec(`INSERT INTO model_version (workspace, `+versionColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28)`,
		tx.Workspace, v.Model, v.Number, v.State, v.Fault, v.Reason, v.ArtifactDigest, v.ContentDigest, v.Format, v.Engine, v.Size, db.ToJSON(v.Signature), db.ToJSON(v.Dependencies),
		db.ToJSON(v.Golden), v.examples, v.Description, v.Run, v.LoggedModel, v.Origin, db.ToJSON(v.Source), db.ToJSON(v.Authors), db.ToJSON(v.Tags), v.CreatedBy, db.Micros(v.CreatedAt), db.Micros(v.UpdatedAt), db.ToJSON(v.told), v.RunsIn, v.tried); err != nil {
		return err
	}
	for _, f := range v.Files {
		if _, err := tx.Exec(`INSERT INTO model_file (workspace, model, version, path, digest, size) VALUES ($1, $2, $3, $4, $5, $6)`,
			tx.Workspace, v.Model, v.Number, f.Path, f.Digest, f.Size); err != nil {
			return err
		}
	}
	return nil
}

func scanVersion(scan func(...any) error) (v Version, err error) {
	var signature, dependencies, golden, source, authors, tags, told string
	var created, updated int64
	if err := scan(&v.Model, &v.Number, &v.State, &v.Fault, &v.Reason, &v.ArtifactDigest, &v.ContentDigest, &v.Format, &v.Engine, &v.Size, &signature, &dependencies, &golden, &v.examples,
		&v.Description, &v.Run, &v.LoggedModel, &v.Origin, &source, &authors, &tags, &v.CreatedBy, &created, &updated, &told, &v.RunsIn, &v.tried); err != nil {
		return v, err
	}
	v.CreatedAt, v.UpdatedAt = db.Time(created), db.Time(updated)
	v.Dependencies, v.Authors, v.Aliases, v.Deployed, v.Tags = []Dependency{}, []string{}, []string{}, []string{}, map[string]string{}
	v.Evaluation = EvaluationState{State: "none"}
	v.NotDeployable, v.Flavors = v.Undeployable(), []string{}
	v.Deployable = v.NotDeployable == ""
	if err := db.FromJSON(told, &v.told); err != nil {
		return v, err
	}
	if len(v.told.Flavors) > 0 {
		v.Flavors, v.MLflow = v.told.Flavors, &v.told
	}
	return v, errors.Join(db.FromJSON(signature, &v.Signature), db.FromJSON(dependencies, &v.Dependencies), db.FromJSON(golden, &v.Golden),
		db.FromJSON(source, &v.Source), db.FromJSON(authors, &v.Authors), db.FromJSON(tags, &v.Tags))
}

// putVersion writes what changes of a version; files, digests and origin never do.
func putVersion(tx db.Scope, v Version) error {
	_, err := tx.Exec(`UPDATE model_version SET state = $1, fault = $2, reason = $3, format = $4, engine = $5, signature = $6, golden = $7, description = $8, tags = $9, updated_at = $10, runs_in = $11, tried = $12
		WHERE workspace = $13 AND model = $14 AND version = $15`,
		v.State, v.Fault, v.Reason, v.Format, v.Engine, db.ToJSON(v.Signature), db.ToJSON(v.Golden), v.Description, db.ToJSON(v.Tags), db.Micros(v.UpdatedAt), v.RunsIn, v.tried, tx.Workspace, v.Model, v.Number)
	return err
}

// getVersion reads a version with its files and aliases.
func getVersion(tx db.Scope, model string, number int) (Version, error) {
	v, err := scanVersion(tx.QueryRow(`SELECT `+versionColumns+` FROM model_version WHERE workspace = $1 AND model = $2 AND version = $3`, tx.Workspace, model, number).Scan)
	if errors.Is(err, db.ErrNoRows) {
		return v, noVersion(model, number)
	}
	if err != nil {
		return v, err
	}
	if v.Files, err = versionFiles(tx, model, number); err != nil {
		return v, err
	}
	aliases, err := aliases(tx, model)
	for a, n := range aliases {
		if n == number {
			v.Aliases = append(v.Aliases, a)
		}
	}
	return v, err
}

// untried lists the versions that no engine ran, and that the engines of this build have not tried.
func untried(tx db.Scope, engines string) (out []Version, err error) {
	err = tx.Each(`SELECT `+versionColumns+` FROM model_version WHERE workspace = $1 AND fault = $2 AND tried <> $3 AND state IN ('ready', 'failed') ORDER BY model, version`,
		[]any{tx.Workspace, FaultNoEngine, engines}, func(scan func(...any) error) error {
			v, err := scanVersion(scan)
			out = append(out, v)
			return err
		})
	return out, err
}

func versionFiles(tx db.Scope, model string, number int) (out []File, err error) {
	err = tx.Each(`SELECT path, digest, size FROM model_file WHERE workspace = $1 AND model = $2 AND version = $3 ORDER BY `+tx.Bytewise("path"), []any{tx.Workspace, model, number}, func(scan func(...any) error) error {
		var f File
		err := scan(&f.Path, &f.Digest, &f.Size)
		out = append(out, f)
		return err
	})
	return out, err
}

// listVersions gives versions without their files, the newest first. model "" means all models; before 0 from the newest;
// limit 0 all.
func listVersions(tx db.Scope, model string, before, limit int) (out []Version, err error) {
	q := `SELECT ` + versionColumns + ` FROM model_version WHERE workspace = $1`
	args := []any{tx.Workspace}
	if model != "" {
		args = append(args, model)
		q += ` AND model = $2`
	}
	if before > 0 {
		args = append(args, before)
		q += fmt.Sprintf(` AND version < $%d`, len(args))
	}
	q += ` ORDER BY ` + tx.Bytewise("model") + `, version DESC`
	if limit > 0 {
		args = append(args, limit)
		q += fmt.Sprintf(` LIMIT $%d`, len(args))
	}
	if err := tx.Each(q, args, func(scan func(...any) error) error {
		v, err := scanVersion(scan)
		out = append(out, v)
		return err
	}); err != nil {
		return nil, err
	}
	return out, fillAliases(tx, model, out)
}

func fillAliases(tx db.Scope, model string, list []Version) error {
	q := `SELECT model, alias, version FROM model_alias WHERE workspace = $1`
	args := []any{tx.Workspace}
	if model != "" {
		q += ` AND model = $2`
		args = append(args, model)
	}
	at := map[string]int{}
	for i := range list {
		at[list[i].Ref()] = i
	}
	return tx.Each(q+` ORDER BY alias`, args, func(scan func(...any) error) error {
		var m, a string
		var n int
		if err := scan(&m, &a, &n); err != nil {
			return err
		}
		if i, ok := at[fmt.Sprintf("%s/%d", m, n)]; ok {
			list[i].Aliases = append(list[i].Aliases, a)
		}
		return nil
	})
}

func aliases(tx db.Scope, model string) (map[string]int, error) {
	out := map[string]int{}
	return out, tx.Each(`SELECT alias, version FROM model_alias WHERE workspace = $1 AND model = $2 ORDER BY alias`, []any{tx.Workspace, model}, func(scan func(...any) error) error {
		var a string
		var n int
		err := scan(&a, &n)
		out[a] = n
		return err
	})
}

func putAlias(tx db.Scope, model, alias string, number int) error {
	_, err := tx.Exec(`INSERT INTO model_alias (workspace, model, alias, version) VALUES ($1, $2, $3, $4)
		ON CONFLICT (workspace, model, alias) DO UPDATE SET version = excluded.version`, tx.Workspace, model, alias, number)
	return err
}

func dropAlias(tx db.Scope, model, alias string) error {
	_, err := tx.Exec(`DELETE FROM model_alias WHERE workspace = $1 AND model = $2 AND alias = $3`, tx.Workspace, model, alias)
	return err
}

// dropVersion removes a version's rows; its bytes stay for others that hold the same.
func dropVersion(tx db.Scope, model string, number int) error {
	for _, q := range []string{
		`DELETE FROM model_alias WHERE workspace = $1 AND model = $2 AND version = $3`,
		`DELETE FROM model_file WHERE workspace = $1 AND model = $2 AND version = $3`,
		`DELETE FROM model_version WHERE workspace = $1 AND model = $2 AND version = $3`,
	} {
		if _, err := tx.Exec(q, tx.Workspace, model, number); err != nil {
			return err
		}
	}
	_, err := tx.Exec(`UPDATE model SET latest = (SELECT COALESCE(MAX(version), 0) FROM model_version WHERE workspace = $1 AND model = $2) WHERE workspace = $1 AND name = $2`, tx.Workspace, model)
	return err
}

func dropModel(tx db.Scope, name string) error {
	for _, q := range []string{
		`DELETE FROM model_alias WHERE workspace = $1 AND model = $2`,
		`DELETE FROM model_file WHERE workspace = $1 AND model = $2`,
		`DELETE FROM model_version WHERE workspace = $1 AND model = $2`,
		`DELETE FROM model WHERE workspace = $1 AND name = $2`,
	} {
		if _, err := tx.Exec(q, tx.Workspace, name); err != nil {
			return err
		}
	}
	return nil
}

func renameModel(tx db.Scope, from, to string, now time.Time) error {
	// The new name may have been borne before: its ordinals go on where they ended.
	if _, err := tx.Exec(`INSERT INTO model_ordinal (workspace, model, last) SELECT workspace, $1, last FROM model_ordinal WHERE workspace = $2 AND model = $3
		ON CONFLICT (workspace, model) DO UPDATE SET last = CASE WHEN excluded.last > model_ordinal.last THEN excluded.last ELSE model_ordinal.last END`, to, tx.Workspace, from); err != nil {
		return err
	}
	for _, q := range []string{
		`UPDATE model_alias SET model = $1 WHERE workspace = $2 AND model = $3`,
		`UPDATE model_file SET model = $1 WHERE workspace = $2 AND model = $3`,
		`UPDATE model_version SET model = $1 WHERE workspace = $2 AND model = $3`,
		`UPDATE model SET name = $1 WHERE workspace = $2 AND name = $3`,
	} {
		if _, err := tx.Exec(q, to, tx.Workspace, from); err != nil {
			return err
		}
	}
	m, err := getModel(tx, to)
	if err != nil {
		return err
	}
	m.UpdatedAt = now
	return putModel(tx, m)
}
