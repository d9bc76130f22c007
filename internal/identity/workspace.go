package identity

import (
	"context"
	"errors"
	"time"

	"keelson/internal/access"
	"keelson/internal/audit"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/problem"
	"keelson/internal/rest"
)

// Workspace is a unit of the organisation. What is in one is not seen from another; people have roles in each.
type Workspace struct {
	Name      string    `json:"name"`
	Title     string    `json:"title"`
	CreatedAt time.Time `json:"created_at"`
}

// CreateWorkspace makes a workspace; who makes it is its administrator.
func (s *Service) CreateWorkspace(ctx context.Context, name, title string) (Workspace, error) {
	if !namePattern.MatchString(name) {
		return Workspace{}, problem.New(problem.Invalid, "%q is no name for a workspace; use lower-case letters, digits, '.', '_' and '-', at most 63 characters.", name).At("name")
	}
	if !s.Auth {
		return Workspace{}, problem.New(problem.Conflict, "Sign-in is off: there is one workspace. Start the server with --auth on to have several.")
	}
	if title == "" {
		title = name
	}
	w := Workspace{Name: name, Title: title, CreatedAt: s.Now()}
	err := s.DB.Write(ctx, func(tx db.Scope) error {
		_, err := tx.Exec("INSERT INTO workspace (name, title, created_at) VALUES ($1, $2, $3)", w.Name, w.Title, db.Micros(w.CreatedAt))
		if db.IsUnique(err) {
			return problem.New(problem.Conflict, "The workspace %q is already there.", name).At("name")
		}
		if err != nil {
			return err
		}
		_, err = tx.Exec("INSERT INTO account_role (workspace, account, role) VALUES ($1, $2, $3)", w.Name, caller.From(ctx).Name, access.Administrator)
		return errors.Join(err, audit.Record(tx, "workspace.created", "workspace/"+w.Name, map[string]any{"title": w.Title}))
	})
	s.forget()
	return w, err
}

// Workspaces lists those in which the caller has a role.
func (s *Service) Workspaces(ctx context.Context) (out []Workspace, err error) {
	out = []Workspace{}
	err = s.DB.Read(ctx, func(tx db.Scope) error {
		return tx.Each(`SELECT w.name, w.title, w.created_at FROM workspace w
			WHERE w.name = 'default' OR EXISTS (SELECT 1 FROM account_role r WHERE r.workspace = w.name AND r.account = $1) ORDER BY w.name`, []any{caller.From(ctx).Name},
			func(scan func(...any) error) error {
				var w Workspace
				var at int64
				err := scan(&w.Name, &w.Title, &at)
				w.CreatedAt = db.Time(at)
				out = append(out, w)
				return err
			})
	})
	return out, err
}

func (s *Service) workspaceRoutes(a *rest.API) {
	rest.Get(a, "/api/v1/workspaces", access.Self, "The workspaces I have a role in", func(ctx context.Context, _ *struct{}) (rest.Page[Workspace], error) {
		list, err := s.Workspaces(ctx)
		return rest.Paged(list, len(list), nil), err
	})
	rest.Post(a, "/api/v1/workspaces", "user.write", "Make a workspace and become its administrator", func(ctx context.Context, in *struct {
		Body struct {
			Name  string `json:"name"`
			Title string `json:"title,omitempty" maxLength:"200"`
		}
	}) (Workspace, error) {
		return s.CreateWorkspace(ctx, in.Body.Name, in.Body.Title)
	}, rest.Status(201))
}
