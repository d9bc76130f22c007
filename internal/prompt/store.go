package prompt

import (
	"errors"
	"time"

	"keelson/internal/db"
	"keelson/internal/problem"
)

const columns = "name, description, tags, last, created_by, created_at, updated_at, COALESCE((SELECT MAX(v.version) FROM prompt_version v WHERE v.workspace = prompt.workspace AND v.prompt = prompt.name), 0)"

func scan(row func(...any) error) (p Prompt, err error) {
	var tags string
	var created, updated int64
	if err = row(&p.Name, &p.Description, &tags, &p.last, &p.CreatedBy, &created, &updated, &p.Latest); err != nil {
		return p, err
	}
	p.CreatedAt, p.UpdatedAt = db.Time(created), db.Time(updated)
	return p, db.FromJSON(tags, &p.Tags)
}

func exists(tx db.Scope, name string) (ok bool, err error) {
	var n int
	err = tx.QueryRow("SELECT COUNT(*) FROM prompt WHERE workspace = $1 AND name = $2", tx.Workspace, name).Scan(&n)
	return n > 0, err
}

func get(tx db.Scope, name string) (p Prompt, err error) {
	p, err = scan(tx.QueryRow("SELECT "+columns+" FROM prompt WHERE workspace = $1 AND name = $2", tx.Workspace, name).Scan)
	if errors.Is(err, db.ErrNoRows) {
		return p, problem.New(problem.NotFound, "Prompt with name=%s not found.", problem.Clip(name, 100)).At("name")
	}
	if err != nil {
		return p, err
	}
	p.Aliases, err = aliases(tx, name)
	return p, err
}

// list gives prompts by name, after a name; limit 0 is all. Their aliases are not filled in.
func list(tx db.Scope, after string, limit int) (out []Prompt, err error) {
	q, args := "SELECT "+columns+" FROM prompt WHERE workspace = $1 AND name > $2 ORDER BY name", []any{tx.Workspace, after}
	if limit > 0 {
		q, args = q+" LIMIT $3", append(args, limit)
	}
	err = tx.Each(q, args, func(row func(...any) error) error {
		p, err := scan(row)
		out = append(out, p)
		return err
	})
	return out, err
}

func put(tx db.Scope, p Prompt) error {
	_, err := tx.Exec(`INSERT INTO prompt (workspace, name, description, tags, last, created_by, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT (workspace, name) DO UPDATE SET description = excluded.description, tags = excluded.tags, last = excluded.last, updated_at = excluded.updated_at`,
		tx.Workspace, p.Name, p.Description, db.ToJSON(p.Tags), p.last, p.CreatedBy, db.Micros(p.CreatedAt), db.Micros(p.UpdatedAt))
	return err
}

// touch writes down that something of a prompt changed.
func touch(tx db.Scope, name string, at time.Time) error {
	_, err := tx.Exec("UPDATE prompt SET updated_at = $3 WHERE workspace = $1 AND name = $2", tx.Workspace, name, db.Micros(at))
	return err
}

func drop(tx db.Scope, name string) error {
	for _, q := range []string{
		"DELETE FROM prompt_alias WHERE workspace = $1 AND prompt = $2",
		"DELETE FROM prompt_version WHERE workspace = $1 AND prompt = $2",
		"DELETE FROM prompt WHERE workspace = $1 AND name = $2",
	} {
		if _, err := tx.Exec(q, tx.Workspace, name); err != nil {
			return err
		}
	}
	return nil
}

func aliases(tx db.Scope, prompt string) (map[string]int, error) {
	out := map[string]int{}
	err := tx.Each("SELECT alias, version FROM prompt_alias WHERE workspace = $1 AND prompt = $2 ORDER BY alias", []any{tx.Workspace, prompt}, func(row func(...any) error) error {
		var a string
		var n int
		err := row(&a, &n)
		out[a] = n
		return err
	})
	return out, err
}

func putAlias(tx db.Scope, prompt, alias string, number int) error {
	_, err := tx.Exec(`INSERT INTO prompt_alias (workspace, prompt, alias, version) VALUES ($1, $2, $3, $4)
		ON CONFLICT (workspace, prompt, alias) DO UPDATE SET version = excluded.version`, tx.Workspace, prompt, alias, number)
	return err
}

func dropAlias(tx db.Scope, prompt, alias string) error {
	_, err := tx.Exec("DELETE FROM prompt_alias WHERE workspace = $1 AND prompt = $2 AND alias = $3", tx.Workspace, prompt, alias)
	return err
}

const versionColumns = "prompt, version, template, digest, description, tags, created_by, created_at, updated_at"

func scanVersion(row func(...any) error) (v Version, err error) {
	var tags string
	var created, updated int64
	if err = row(&v.Prompt, &v.Number, &v.Template, &v.Digest, &v.Description, &tags, &v.CreatedBy, &created, &updated); err != nil {
		return v, err
	}
	v.CreatedAt, v.UpdatedAt, v.Aliases = db.Time(created), db.Time(updated), []string{}
	return v, db.FromJSON(tags, &v.Tags)
}

func getVersion(tx db.Scope, prompt string, number int) (Version, error) {
	v, err := scanVersion(tx.QueryRow("SELECT "+versionColumns+" FROM prompt_version WHERE workspace = $1 AND prompt = $2 AND version = $3", tx.Workspace, prompt, number).Scan)
	if errors.Is(err, db.ErrNoRows) {
		return v, problem.New(problem.NotFound, "Prompt version (name=%s, version=%d) not found.", problem.Clip(prompt, 100), number).At("version")
	}
	if err != nil {
		return v, err
	}
	list := []Version{v}
	err = named(tx, list)
	return list[0], err
}

// named fills in the aliases of versions.
func named(tx db.Scope, list []Version) error {
	byPrompt := map[string]map[string]int{}
	for i := range list {
		all, ok := byPrompt[list[i].Prompt]
		if !ok {
			var err error
			if all, err = aliases(tx, list[i].Prompt); err != nil {
				return err
			}
			byPrompt[list[i].Prompt] = all
		}
		for _, a := range sorted(all) {
			if all[a] == list[i].Number {
				list[i].Aliases = append(list[i].Aliases, a)
			}
		}
	}
	return nil
}

// versions gives versions, the newest first; prompt "" is of all prompts, by name.
func versions(tx db.Scope, prompt string) (out []Version, err error) {
	if err = tx.Each("SELECT "+versionColumns+" FROM prompt_version WHERE workspace = $1 AND ($2 = '' OR prompt = $2) ORDER BY prompt, version DESC", []any{tx.Workspace, prompt}, func(row func(...any) error) error {
		v, err := scanVersion(row)
		out = append(out, v)
		return err
	}); err != nil {
		return nil, err
	}
	return out, named(tx, out)
}

func putVersion(tx db.Scope, v Version) error {
	_, err := tx.Exec(`INSERT INTO prompt_version (workspace, `+versionColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
		ON CONFLICT (workspace, prompt, version) DO UPDATE SET description = excluded.description, tags = excluded.tags, updated_at = excluded.updated_at`,
		tx.Workspace, v.Prompt, v.Number, v.Template, v.Digest, v.Description, db.ToJSON(v.Tags), v.CreatedBy, db.Micros(v.CreatedAt), db.Micros(v.UpdatedAt))
	return err
}

func dropVersion(tx db.Scope, prompt string, number int) error {
	if _, err := tx.Exec("DELETE FROM prompt_alias WHERE workspace = $1 AND prompt = $2 AND version = $3", tx.Workspace, prompt, number); err != nil {
		return err
	}
	_, err := tx.Exec("DELETE FROM prompt_version WHERE workspace = $1 AND prompt = $2 AND version = $3", tx.Workspace, prompt, number)
	return err
}
