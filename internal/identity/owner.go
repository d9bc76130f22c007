package identity

import (
	"context"
	"time"

	"keelson/internal/access"
	"keelson/internal/audit"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/problem"
	"keelson/internal/rest"
)

// Accounts belong to the installation, roles to workspaces. Whoever administers a workspace other than the default one
// may therefore act only on accounts that have roles in that workspace and in no other: a password, a link or a token of
// any other account would open what the workspace does not own. Administrators of the default workspace administer the
// installation.

// keepHandled is how long what others did to an account is kept for its holder.
const keepHandled = 90 * 24 * time.Hour

// Handled is something that somebody else did to the way in of an account.
type Handled struct {
	At        time.Time `json:"at"`
	By        string    `json:"by"`
	Act       string    `json:"act" enum:"password,link" doc:"password: a new one was set; link: a one-time sign-in link was made"`
	Workspace string    `json:"workspace" doc:"where it was done"`
	Seen      bool      `json:"seen" doc:"its holder said that they know of it"`
}

// everywhere reports whether the caller holds the permission in the default workspace, and with it over all accounts.
// The platform itself does.
func everywhere(tx db.Scope, permission string) (bool, error) {
	who := caller.From(tx.Ctx)
	if who.Kind == caller.Process || tx.Workspace == caller.DefaultWorkspace {
		return access.Can(who, permission), nil
	}
	tx.Workspace = caller.DefaultWorkspace
	roles, err := rolesOf(tx, who.Name)
	who.Roles = roles
	return access.Can(who, permission), err
}

// belongs tells in how many workspaces an account has a role: in that of tx (0 or 1), and in others.
func belongs(tx db.Scope, name string) (here, elsewhere int, err error) {
	err = tx.Each("SELECT DISTINCT workspace FROM account_role WHERE account = $1", []any{name}, func(scan func(...any) error) error {
		var w string
		err := scan(&w)
		if w == tx.Workspace {
			here++
		} else {
			elsewhere++
		}
		return err
	})
	return here, elsewhere, err
}

// ownHere refuses the caller acts on an account that does not belong to this workspace alone. One's own account and, for
// administrators of the default workspace, every account is theirs to act on.
func ownHere(tx db.Scope, name string) error {
	if caller.From(tx.Ctx).Name == name {
		return nil
	}
	all, err := everywhere(tx, "user.write")
	if err != nil || all {
		return err
	}
	here, elsewhere, err := belongs(tx, name)
	if err == nil && (here == 0 || elsewhere > 0) {
		return problem.New(problem.Forbidden, "The account %q does not belong to this workspace alone; an administrator of the default workspace may do this.", name).Suspect("foreign-account")
	}
	return err
}

// handled notes that somebody else changed the way in of an account, and ends its sessions, so that its holder sees it.
// One's own acts and those of the platform are not noted.
func (s *Service) handled(tx db.Scope, name, act string) error {
	who := caller.From(tx.Ctx)
	if who.Name == name || who.Kind == caller.Process {
		return nil
	}
	if _, err := tx.Exec("INSERT INTO account_handled (workspace, account, at, actor, act) VALUES ($1, $2, $3, $4, $5)", tx.Workspace, name, db.Micros(s.Now()), who.Name, act); err != nil {
		return err
	}
	return endSessions(tx, name, "")
}

// listHandled gives what others did to an account, newest first, at most 100.
func listHandled(tx db.Scope, name string) (out []Handled, err error) {
	err = tx.Each("SELECT at, actor, act, workspace, seen FROM account_handled WHERE account = $1 ORDER BY at DESC LIMIT 100", []any{name}, func(scan func(...any) error) error {
		var h Handled
		var at, seen int64
		err := scan(&at, &h.By, &h.Act, &h.Workspace, &seen)
		h.At, h.Seen = db.Time(at), seen != 0
		out = append(out, h)
		return err
	})
	return out, err
}

// seeHandled notes that the holder of an account knows of what others did to it up to a time, which stays on record: whoever
// got in by it could say so, too. It gives of how many acts that is news.
func seeHandled(tx db.Scope, name string, until time.Time) (int64, error) {
	res, err := tx.Exec("UPDATE account_handled SET seen = 1 WHERE account = $1 AND at <= $2 AND seen = 0", name, db.Micros(until))
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// postSeen lets people say that they know of what others did to their account.
func (s *Service) postSeen(ctx context.Context, in *struct {
	Body struct {
		Until time.Time `json:"until" doc:"the time of the newest act that you know of"`
	}
}) (rest.Nothing, error) {
	name := caller.From(ctx).Name
	return rest.Nothing{}, s.DB.Write(ctx, func(tx db.Scope) error {
		n, err := seeHandled(tx, name, in.Body.Until)
		if err != nil || n == 0 {
			return err
		}
		return audit.Record(tx, "account.handling-seen", "account/"+name, map[string]any{"until": in.Body.Until.UTC(), "acts": n})
	})
}

// endSessions ends the sessions of an account but for the one whose stored token is spared.
func endSessions(tx db.Scope, name, spared string) error {
	_, err := tx.Exec("DELETE FROM session WHERE account = $1 AND token <> $2", name, spared)
	return err
}

// dropLinks makes the sign-in links of an account useless, for when its password changes.
func dropLinks(tx db.Scope, name string) error {
	_, err := tx.Exec("DELETE FROM token WHERE account = $1 AND purpose = 'link'", name)
	return err
}
