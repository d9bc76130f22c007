package dataset

import (
	"database/sql"
	"errors"
	"fmt"

	"keelson/internal/db"
	"keelson/internal/problem"
)

const datasetColumns = `d.name, d.description, d.owner, d.sensitivity, d.source, d.target, d.rules, d.personal, d.versions, d.created_by, d.created_at, d.updated_at,
	COALESCE(v.version, 0), COALESCE(v.digest, ''), COALESCE(v.rows, 0), COALESCE(v.fields, '[]'), COALESCE(v.created_at, 0)`

const datasetFrom = ` FROM dataset d LEFT JOIN dataset_version v
	ON v.workspace = d.workspace AND v.dataset = d.name AND v.version = d.versions WHERE d.workspace = $1`

func scanDataset(scan func(...any) error) (d Dataset, err error) {
	var rules, personal, fields string
	var latest Latest
	var created, updated, at int64
	err = scan(&d.Name, &d.Description, &d.Owner, &d.Sensitivity, &d.Source, &d.Target, &rules, &personal, &d.Versions, &d.CreatedBy, &created, &updated,
		&latest.Version, &latest.Digest, &latest.Rows, &fields, &at)
	if err != nil {
		return d, err
	}
	var schema []Field
	if err = errors.Join(db.FromJSON(rules, &d.Rules), db.FromJSON(personal, &d.Personal), db.FromJSON(fields, &schema)); err != nil {
		return d, err
	}
	if d.Rules == nil {
		d.Rules = []Rule{}
	}
	if d.Personal == nil {
		d.Personal = []string{}
	}
	d.CreatedAt, d.UpdatedAt = db.Time(created), db.Time(updated)
	if latest.Version > 0 {
		latest.Columns, latest.CreatedAt = len(schema), db.Time(at)
		d.Latest = &latest
	}
	return d, nil
}

func unknown(name string) error {
	return problem.New(problem.NotFound, "There is no data set %q.", name)
}

// get reads one data set; NotFound when there is none.
func get(tx db.Scope, name string) (Dataset, error) {
	d, err := scanDataset(tx.QueryRow("SELECT "+datasetColumns+datasetFrom+" AND d.name = $2", tx.Workspace, name).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return d, unknown(name)
	}
	return d, err
}

// list reads up to limit data sets by name, after the given one.
func list(tx db.Scope, after string, limit int) (out []Dataset, err error) {
	err = tx.Each("SELECT "+datasetColumns+datasetFrom+" AND d.name > $2 ORDER BY d.name LIMIT $3", []any{tx.Workspace, after, limit},
		func(scan func(...any) error) error {
			d, err := scanDataset(scan)
			out = append(out, d)
			return err
		})
	return out, err
}

// put stores everything of a data set but its versions, new or not.
func put(tx db.Scope, d Dataset) error {
	_, err := tx.Exec(`INSERT INTO dataset (workspace, name, description, owner, sensitivity, source, target, rules, versions, created_by, created_at, updated_at, personal)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, $9, $10, $11, $12)
		ON CONFLICT (workspace, name) DO UPDATE SET description = excluded.description, owner = excluded.owner, sensitivity = excluded.sensitivity,
			source = excluded.source, target = excluded.target, rules = excluded.rules, personal = excluded.personal, updated_at = excluded.updated_at`,
		tx.Workspace, d.Name, d.Description, d.Owner, d.Sensitivity, d.Source, d.Target, db.ToJSON(d.Rules), d.CreatedBy, db.Micros(d.CreatedAt), db.Micros(d.UpdatedAt), db.ToJSON(d.Personal))
	return err
}

const versionColumns = "dataset, version, digest, format, size, rows, fields, profile, rules, note, run, created_by, created_at"

func scanVersion(scan func(...any) error) (v Version, err error) {
	var fields, profile, rules string
	var at int64
	err = scan(&v.Dataset, &v.Version, &v.Digest, &v.Format, &v.Size, &v.Rows, &fields, &profile, &rules, &v.Note, &v.Run, &v.CreatedBy, &at)
	if err != nil {
		return v, err
	}
	v.CreatedAt, v.Parents = db.Time(at), []Ref{}
	return v, errors.Join(db.FromJSON(fields, &v.Schema), db.FromJSON(profile, &v.Profile), db.FromJSON(rules, &v.RulesResult))
}

func parents(tx db.Scope, v *Version) error {
	return tx.Each(`SELECT parent, parent_version FROM dataset_parent WHERE workspace = $1 AND dataset = $2 AND version = $3
		ORDER BY parent, parent_version`, []any{tx.Workspace, v.Dataset, v.Version}, func(scan func(...any) error) error {
		var r Ref
		err := scan(&r.Dataset, &r.Version)
		v.Parents = append(v.Parents, r)
		return err
	})
}

// version reads one version, 0 for the latest; NotFound when there is none.
func version(tx db.Scope, name string, n int) (Version, error) {
	q, args := "SELECT "+versionColumns+" FROM dataset_version WHERE workspace = $1 AND dataset = $2", []any{tx.Workspace, name}
	if n > 0 {
		q, args = q+" AND version = $3", append(args, n)
	}
	v, err := scanVersion(tx.QueryRow(q+" ORDER BY version DESC LIMIT 1", args...).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		if _, err := get(tx, name); err != nil {
			return v, err
		}
		if n > 0 {
			return v, problem.New(problem.NotFound, "Data set %q has no version %d.", name, n)
		}
		return v, problem.New(problem.NotFound, "Data set %q has no version yet; add a file with: keelson data add.", name)
	}
	if err != nil {
		return v, err
	}
	return v, parents(tx, &v)
}

// byDigest finds the version of a data set that holds these bytes; ErrNoRows when there is none.
func byDigest(tx db.Scope, name, digest string) (Version, error) {
	v, err := scanVersion(tx.QueryRow("SELECT "+versionColumns+" FROM dataset_version WHERE workspace = $1 AND dataset = $2 AND digest = $3",
		tx.Workspace, name, digest).Scan)
	if err != nil {
		return v, err
	}
	return v, parents(tx, &v)
}

// versions reads up to limit versions below the given number (0: from the newest), without their profiles.
func versions(tx db.Scope, name string, below, limit int) (out []Version, err error) {
	q, args := "SELECT "+versionColumns+" FROM dataset_version WHERE workspace = $1 AND dataset = $2", []any{tx.Workspace, name, limit}
	if below > 0 {
		q, args = q+" AND version < $4", append(args, below)
	}
	err = tx.Each(q+" ORDER BY version DESC LIMIT $3", args, func(scan func(...any) error) error {
		v, err := scanVersion(scan)
		v.Profile = []ColumnProfile{}
		out = append(out, v)
		return err
	})
	for i := range out {
		if err == nil {
			err = parents(tx, &out[i])
		}
	}
	return out, err
}

// add stores a version under the next number, which it returns in v.
func add(tx db.Scope, v *Version) error {
	if err := tx.QueryRow("UPDATE dataset SET versions = versions + 1 WHERE workspace = $1 AND name = $2 RETURNING versions",
		tx.Workspace, v.Dataset).Scan(&v.Version); err != nil {
		return fmt.Errorf("number version of %s: %w", v.Dataset, err)
	}
	_, err := tx.Exec(`INSERT INTO dataset_version (workspace, dataset, version, digest, format, size, rows, fields, profile, rules, note, run, created_by, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`,
		tx.Workspace, v.Dataset, v.Version, v.Digest, v.Format, v.Size, v.Rows, db.ToJSON(v.Schema), db.ToJSON(v.Profile), db.ToJSON(v.RulesResult),
		v.Note, v.Run, v.CreatedBy, db.Micros(v.CreatedAt))
	for _, p := range v.Parents {
		if err == nil {
			_, err = tx.Exec(`INSERT INTO dataset_parent (workspace, dataset, version, parent_workspace, parent, parent_version)
				VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING`, tx.Workspace, v.Dataset, v.Version, tx.Workspace, p.Dataset, p.Version)
		}
	}
	return err
}
