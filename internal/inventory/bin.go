package inventory

import (
	"encoding/json"
	"fmt"
	"strconv"

	"keelson/internal/audit"
	"keelson/internal/bin"
	"keelson/internal/db"
	"keelson/internal/problem"
)

// Models and versions that are deleted leave their tables, so that their names are free and no list has to leave them
// out; their rows lie on the bin's shelf as they were, whatever columns these tables get.
const (
	binModel   = "model"
	binVersion = "version"
)

// shelved are the tables whose rows go with a model, by their column with its name; those with a column version go with a
// version as well. A test walks the schema for others.
var shelved = []struct {
	table, model string
	version      bool
}{
	{"model", "name", false},
	{"model_alias", "model", true},
	{"model_version", "model", true},
	{"model_file", "model", true},
}

// Bins are the kinds of things of the inventory that can lie in the bin.
func (s *Service) Bins() []bin.Kind { return []bin.Kind{modelBin{s}, versionBin{s}} }

// shelve takes the rows of a model, or of one version of it, into the bin; the caller deletes them.
func shelve(tx db.Scope, model string, version int, at int64) error {
	e := bin.Entry{Kind: binModel, ID: db.NewID(), Name: model}
	if version > 0 {
		e.Kind, e.Name, e.Parent = binVersion, fmt.Sprintf("%s/%d", model, version), model
	}
	var all []bin.Rows
	var digests []string
	for _, t := range shelved {
		where, args := t.model+" = $2", []any{model}
		if version > 0 {
			if !t.version {
				continue
			}
			where, args = where+" AND version = $3", append(args, version)
		}
		rows, err := bin.Take(tx, t.table, where, args...)
		if err != nil {
			return err
		}
		if t.table == "model_file" {
			for _, r := range rows.Rows {
				d, _ := r["digest"].(string)
				size, _ := r["size"].(int64)
				digests = append(digests, d)
				e.Files++
				e.Bytes += size
			}
		}
		all = append(all, rows)
	}
	if version > 0 { // which model of that name it belonged to
		all = append(all, bin.Rows{Table: "", Rows: []map[string]any{{"created_at": at}}})
	}
	return bin.Shelve(tx, e, all, digests)
}

// kept refuses to delete what is under a hold.
func kept(tx db.Scope, model string, version int) error {
	if err := bin.Held(tx, binModel, model); err != nil {
		return err
	}
	if version > 0 {
		return bin.Held(tx, binVersion, fmt.Sprintf("%s/%d", model, version))
	}
	return bin.HeldBelow(tx, binVersion, model+"/")
}

type modelBin struct{ s *Service }

func (modelBin) Kind() string       { return binModel }
func (modelBin) Permission() string { return "model.write" }

// Restore implements bin.Kind.
func (b modelBin) Restore(tx db.Scope, e bin.Entry, as string) error {
	name := e.Name
	if as != "" {
		name = as
	}
	if err := CheckName(name); err != nil {
		return err
	}
	if _, err := getModel(tx, name); !problem.Is(err, problem.NotFound) {
		if err != nil {
			return err
		}
		return problem.New(problem.Conflict, "The model %s cannot come back under its name: another one bears it by now. Rename that one, or restore this one under another name: keelson bin restore model %s --as NAME.",
			problem.Clip(name, 120), e.ID).At("as")
	}
	all, err := bin.Shelved(tx, e.Kind, e.ID)
	if err != nil {
		return err
	}
	for _, rows := range all {
		for _, t := range shelved {
			if t.table != rows.Table {
				continue
			}
			for _, r := range rows.Rows {
				r[t.model] = name
			}
		}
		if err := bin.Return(tx, rows); err != nil {
			return err
		}
	}
	// The new name may have been borne before; no number is given twice.
	if _, err := tx.Exec(`INSERT INTO model_ordinal (workspace, model, last) SELECT workspace, $1, last FROM model_ordinal WHERE workspace = $2 AND model = $3
		ON CONFLICT (workspace, model) DO UPDATE SET last = CASE WHEN excluded.last > model_ordinal.last THEN excluded.last ELSE model_ordinal.last END`, name, tx.Workspace, e.Name); err != nil {
		return err
	}
	m, err := getModel(tx, name)
	if err != nil {
		return err
	}
	m.UpdatedAt = b.s.Now()
	if err := putModel(tx, m); err != nil {
		return err
	}
	if err := bin.Drop(tx, e.Kind, e.ID); err != nil {
		return err
	}
	return audit.Record(tx, "model.restored", "model/"+name, map[string]any{"model": name, "was": e.Name})
}

// Purge implements bin.Kind.
func (modelBin) Purge(tx db.Scope, e bin.Entry) (bin.Gone, bool, error) {
	return bin.Gone{Files: e.Files, Bytes: e.Bytes}, true, bin.Forget(tx, e)
}

type versionBin struct{ s *Service }

func (versionBin) Kind() string       { return binVersion }
func (versionBin) Permission() string { return "version.write" }

// Restore implements bin.Kind. A version comes back to the model it belonged to, under its number.
func (b versionBin) Restore(tx db.Scope, e bin.Entry, as string) error {
	if as != "" {
		return problem.New(problem.Invalid, "A version keeps its number; it cannot come back under another name.").At("as")
	}
	m, err := getModel(tx, e.Parent)
	if problem.Is(err, problem.NotFound) {
		return problem.New(problem.Conflict, "The model %s of this version is deleted; restore that first. See: keelson bin list --kind model.", problem.Clip(e.Parent, 120))
	}
	if err != nil {
		return err
	}
	all, err := bin.Shelved(tx, e.Kind, e.ID)
	if err != nil {
		return err
	}
	for _, rows := range all {
		if rows.Table == "" {
			if was, _ := rows.Rows[0]["created_at"].(json.Number); was.String() != strconv.FormatInt(db.Micros(m.CreatedAt), 10) {
				return problem.New(problem.Conflict, "%s belonged to an earlier model of the name %s, not to the one of today; restore that one first.", e.Name, problem.Clip(e.Parent, 120))
			}
			continue
		}
		if rows.Table == "model_alias" { // an alias may point elsewhere by now
			have, err := aliases(tx, e.Parent)
			if err != nil {
				return err
			}
			free := bin.Rows{Table: rows.Table}
			for _, r := range rows.Rows {
				if name, _ := r["alias"].(string); have[name] == 0 {
					free.Rows = append(free.Rows, r)
				}
			}
			rows = free
		}
		if err := bin.Return(tx, rows); err != nil {
			return err
		}
	}
	if _, err := tx.Exec(`UPDATE model SET latest = (SELECT COALESCE(MAX(version), 0) FROM model_version WHERE workspace = $1 AND model = $2) WHERE workspace = $1 AND name = $2`, tx.Workspace, e.Parent); err != nil {
		return err
	}
	if err := bin.Drop(tx, e.Kind, e.ID); err != nil {
		return err
	}
	return audit.Record(tx, "version.restored", "model/"+e.Name, map[string]any{"model": e.Parent})
}

// Purge implements bin.Kind.
func (versionBin) Purge(tx db.Scope, e bin.Entry) (bin.Gone, bool, error) {
	return bin.Gone{Files: e.Files, Bytes: e.Bytes}, true, bin.Forget(tx, e)
}
