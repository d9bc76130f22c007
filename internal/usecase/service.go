package usecase

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"keelson/internal/audit"
	"keelson/internal/db"
	"keelson/internal/event"
	"keelson/internal/problem"
	"keelson/internal/rest"
)

// Service keeps use cases. All fields are required.
type Service struct {
	DB  *db.DB
	Log *slog.Logger
	Now func() time.Time
}

// Create adds a use case; a name that is taken is a Conflict.
func (s *Service) Create(ctx context.Context, u UseCase) (UseCase, error) {
	if err := u.check(); err != nil {
		return u, err
	}
	u.CreatedAt = s.Now().UTC().Truncate(time.Microsecond)
	u.UpdatedAt = u.CreatedAt
	err := s.DB.Write(ctx, func(tx db.Scope) error {
		models := u.Models
		if err := insert(tx, u); err != nil {
			return err
		}
		return errors.Join(setModels(tx, u.Name, models), record(tx, "usecase.created", u, u))
	})
	if db.IsUnique(err) {
		return u, problem.New(problem.Conflict, "There is a use case %s already; change it or choose another name.", u.Name).At("name")
	}
	if err != nil {
		return u, fmt.Errorf("create use case %s: %w", u.Name, err)
	}
	return s.Get(ctx, u.Name)
}

// Update changes the given fields.
func (s *Service) Update(ctx context.Context, name string, c Change) (UseCase, error) {
	err := s.DB.Write(ctx, func(tx db.Scope) error {
		u, err := get(tx, name)
		if err != nil {
			return err
		}
		before := u.Models
		c.apply(&u)
		if err := u.check(); err != nil {
			return err
		}
		u.UpdatedAt = s.Now().UTC().Truncate(time.Microsecond)
		if err := update(tx, u); err != nil {
			return err
		}
		if c.Models != nil {
			err = setModels(tx, name, u.Models)
		}
		for _, m := range before { // those that leave show it on their time lines, too
			if !slices.Contains(u.Models, m) {
				u.Models = append(u.Models, m)
			}
		}
		return errors.Join(err, record(tx, "usecase.changed", u, c))
	})
	if err != nil {
		return UseCase{}, fmt.Errorf("change use case %s: %w", name, err)
	}
	return s.Get(ctx, name)
}

func record(tx db.Scope, action string, u UseCase, change any) error {
	return errors.Join(audit.Record(tx, action, u.Subject(), map[string]any{"models": u.Models, "change": change}),
		event.Publish(tx, action, u.Subject(), map[string]any{"name": u.Name, "models": u.Models}))
}

// Get reads one.
func (s *Service) Get(ctx context.Context, name string) (u UseCase, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) error { u, err = get(tx, name); return err })
	return u, err
}

// List gives up to limit use cases whose names follow after, by name.
func (s *Service) List(ctx context.Context, after string, limit int) (out []UseCase, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) error { out, err = list(tx, after, limit); return err })
	return out, err
}

// Of gives the use case a model serves; empty when it serves none.
func (s *Service) Of(ctx context.Context, model string) (name string, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) error {
		err := tx.QueryRow("SELECT usecase FROM usecase_model WHERE workspace = $1 AND model = $2", tx.Workspace, model).Scan(&name)
		if errors.Is(err, db.ErrNoRows) {
			return nil
		}
		return err
	})
	return name, err
}

func insert(tx db.Scope, u UseCase) error {
	u.Models, u.Missing = nil, nil
	_, err := tx.Exec("INSERT INTO usecase (workspace, name, doc) VALUES ($1, $2, $3)", tx.Workspace, u.Name, db.ToJSON(u))
	return err
}

func update(tx db.Scope, u UseCase) error {
	u.Models, u.Missing = nil, nil
	_, err := tx.Exec("UPDATE usecase SET doc = $3 WHERE workspace = $1 AND name = $2", tx.Workspace, u.Name, db.ToJSON(u))
	return err
}

// setModels makes models the ones of the use case; a model of another one changes over.
func setModels(tx db.Scope, name string, models []string) error {
	if _, err := tx.Exec("DELETE FROM usecase_model WHERE workspace = $1 AND usecase = $2", tx.Workspace, name); err != nil {
		return err
	}
	for _, m := range models {
		if _, err := tx.Exec(`INSERT INTO usecase_model (workspace, model, usecase) VALUES ($1, $2, $3)
			ON CONFLICT (workspace, model) DO UPDATE SET usecase = EXCLUDED.usecase`, tx.Workspace, m, name); err != nil {
			return err
		}
	}
	return nil
}

func get(tx db.Scope, name string) (UseCase, error) {
	var doc string
	err := tx.QueryRow("SELECT doc FROM usecase WHERE workspace = $1 AND name = $2", tx.Workspace, name).Scan(&doc)
	if errors.Is(err, db.ErrNoRows) {
		return UseCase{}, problem.New(problem.NotFound, "There is no use case %s.", name)
	}
	if err != nil {
		return UseCase{}, err
	}
	return filled(tx, doc)
}

func filled(tx db.Scope, doc string) (u UseCase, err error) {
	if err := db.FromJSON(doc, &u); err != nil {
		return u, err
	}
	u.Models = []string{}
	err = tx.Each("SELECT model FROM usecase_model WHERE workspace = $1 AND usecase = $2 ORDER BY model", []any{tx.Workspace, u.Name}, func(scan func(...any) error) error {
		var m string
		err := scan(&m)
		u.Models = append(u.Models, m)
		return err
	})
	u.Missing = u.missing()
	return u, err
}

func list(tx db.Scope, after string, limit int) (out []UseCase, err error) {
	var docs []string
	err = tx.Each("SELECT doc FROM usecase WHERE workspace = $1 AND name > $2 ORDER BY name LIMIT $3", []any{tx.Workspace, after, limit}, func(scan func(...any) error) error {
		var d string
		err := scan(&d)
		docs = append(docs, d)
		return err
	})
	for _, d := range docs {
		u, ferr := filled(tx, d)
		if err = errors.Join(err, ferr); err != nil {
			return nil, err
		}
		out = append(out, u)
	}
	return out, err
}

// Routes mounts use cases.
func (s *Service) Routes(a *rest.API) {
	rest.Get(a, "/api/v1/usecases", "usecase.read", "List the use cases", s.getList)
	rest.Post(a, "/api/v1/usecases", "usecase.write", "Add a use case", s.postNew, rest.Status(http.StatusCreated))
	rest.Get(a, "/api/v1/usecases/{name}", "usecase.read", "Read a use case", s.getOne)
	rest.Patch(a, "/api/v1/usecases/{name}", "usecase.write", "Change fields of a use case", s.patch)
}

func (s *Service) getList(ctx context.Context, in *struct{ rest.Paging }) (rest.Page[UseCase], error) {
	all, err := s.List(ctx, in.Cursor, in.Limit+1)
	return rest.Paged(all, in.Limit, func(u UseCase) string { return u.Name }), err
}

type newInput struct {
	Body struct {
		Name string `json:"name" minLength:"1" maxLength:"100"`
		Change
	}
}

func (s *Service) postNew(ctx context.Context, in *newInput) (UseCase, error) {
	u := UseCase{Name: in.Body.Name}
	in.Body.apply(&u)
	return s.Create(ctx, u)
}

// NameInput names a use case in a path.
type NameInput struct {
	Name string `path:"name" maxLength:"100"`
}

func (s *Service) getOne(ctx context.Context, in *NameInput) (UseCase, error) {
	return s.Get(ctx, in.Name)
}

type patchInput struct {
	NameInput
	Body Change
}

func (s *Service) patch(ctx context.Context, in *patchInput) (UseCase, error) {
	return s.Update(ctx, in.Name, in.Body)
}
