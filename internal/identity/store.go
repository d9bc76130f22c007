package identity

import (
	"errors"
	"time"

	"keelson/internal/db"
	"keelson/internal/problem"
)

// account is a row with what others must not see.
type account struct {
	User
	password string
}

func getAccount(tx db.Scope, name string) (a account, err error) {
	var at int64
	var disabled int
	err = tx.QueryRow("SELECT name, display, email, kind, password, disabled, created_at FROM account WHERE name = $1", name).
		Scan(&a.Name, &a.Display, &a.Email, &a.Kind, &a.password, &disabled, &at)
	if errors.Is(err, db.ErrNoRows) {
		return a, problem.New(problem.NotFound, "There is no account %q. List them with: keelson user list.", name)
	}
	if err != nil {
		return a, err
	}
	a.Disabled, a.CreatedAt = disabled != 0, db.Time(at)
	a.Roles, err = rolesOf(tx, name)
	return a, err
}

func rolesOf(tx db.Scope, name string) ([]string, error) {
	roles := []string{}
	err := tx.Each("SELECT role FROM account_role WHERE workspace = $1 AND account = $2 ORDER BY role", []any{tx.Workspace, name}, func(scan func(...any) error) error {
		var r string
		err := scan(&r)
		roles = append(roles, r)
		return err
	})
	return roles, err
}

func putAccount(tx db.Scope, a account) error {
	disabled := 0
	if a.Disabled {
		disabled = 1
	}
	_, err := tx.Exec(`INSERT INTO account (name, display, email, kind, password, disabled, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (name) DO UPDATE SET display = excluded.display, email = excluded.email, password = excluded.password, disabled = excluded.disabled`,
		a.Name, a.Display, a.Email, a.Kind, a.password, disabled, db.Micros(a.CreatedAt))
	if err != nil {
		return err
	}
	if _, err := tx.Exec("DELETE FROM account_role WHERE workspace = $1 AND account = $2", tx.Workspace, a.Name); err != nil {
		return err
	}
	for _, r := range a.Roles {
		if _, err := tx.Exec("INSERT INTO account_role (workspace, account, role) VALUES ($1, $2, $3)", tx.Workspace, a.Name, r); err != nil {
			return err
		}
	}
	return nil
}

// listAccounts gives the accounts that have a role in the workspace, or all there are, and those of them that have one in
// another workspace too.
func listAccounts(tx db.Scope, all bool) (out []User, shared map[string]bool, err error) {
	shared = map[string]bool{}
	err = tx.Each(`SELECT a.name, a.display, a.email, a.kind, a.disabled, a.created_at,
			(SELECT COUNT(*) FROM account_role r WHERE r.account = a.name AND r.workspace <> $1) FROM account a
		WHERE $2 = 1 OR EXISTS (SELECT 1 FROM account_role r WHERE r.account = a.name AND r.workspace = $1) ORDER BY a.name`, []any{tx.Workspace, db.Bit(all)},
		func(scan func(...any) error) error {
			var u User
			var at int64
			var disabled, elsewhere int
			err := scan(&u.Name, &u.Display, &u.Email, &u.Kind, &disabled, &at, &elsewhere)
			u.Disabled, u.CreatedAt, u.Roles = disabled != 0, db.Time(at), []string{}
			if elsewhere > 0 {
				shared[u.Name] = true
			}
			out = append(out, u)
			return err
		})
	if err != nil {
		return nil, nil, err
	}
	for i := range out {
		if out[i].Roles, err = rolesOf(tx, out[i].Name); err != nil {
			return nil, nil, err
		}
	}
	return out, shared, nil
}

type tokenRow struct {
	Token
	hash, purpose string
	expires       int64
}

func insertToken(tx db.Scope, t tokenRow) error {
	_, err := tx.Exec(`INSERT INTO token (id, hash, name, account, purpose, created_at, expires_at, last_used_at) VALUES ($1, $2, $3, $4, $5, $6, $7, 0)`,
		t.ID, t.hash, t.Name, t.Owner, t.purpose, db.Micros(t.CreatedAt), t.expires)
	return err
}

// findToken looks a token up by its hash; a disabled owner's or an expired one is not found.
func findToken(tx db.Scope, hash, purpose string, now time.Time) (t tokenRow, a account, err error) {
	err = tx.QueryRow(`SELECT t.id, t.name, t.account, t.expires_at FROM token t JOIN account a ON a.name = t.account
		WHERE t.hash = $1 AND t.purpose = $2 AND a.disabled = 0 AND (t.expires_at = 0 OR t.expires_at > $3)`, hash, purpose, db.Micros(now)).
		Scan(&t.ID, &t.Name, &t.Owner, &t.expires)
	if err != nil {
		return t, a, err
	}
	a, err = getAccount(tx, t.Owner)
	return t, a, err
}

// listTokens gives the newest 1000 tokens: the caller's own, with members those of the accounts that belong to this
// workspace alone, and with all those of everybody.
func listTokens(tx db.Scope, own string, members, all bool) (out []Token, err error) {
	err = tx.Each(`SELECT t.id, t.name, t.account, t.created_at, t.expires_at, t.last_used_at FROM token t
		WHERE t.purpose = 'token' AND (t.account = $1 OR $4 = 1 OR $3 = 1
			AND EXISTS (SELECT 1 FROM account_role r WHERE r.account = t.account AND r.workspace = $2)
			AND NOT EXISTS (SELECT 1 FROM account_role r WHERE r.account = t.account AND r.workspace <> $2))
		ORDER BY t.id DESC LIMIT 1000`, []any{own, tx.Workspace, db.Bit(members), db.Bit(all)},
		func(scan func(...any) error) error {
			var t Token
			var created, expires, used int64
			err := scan(&t.ID, &t.Name, &t.Owner, &created, &expires, &used)
			t.CreatedAt = db.Time(created)
			if expires != 0 {
				e := db.Time(expires)
				t.ExpiresAt = &e
			}
			if used != 0 {
				u := db.Time(used)
				t.LastUsedAt = &u
			}
			out = append(out, t)
			return err
		})
	return out, err
}
