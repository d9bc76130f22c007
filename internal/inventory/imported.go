package inventory

import (
	"context"
	"fmt"
	"maps"

	"keelson/internal/audit"
	"keelson/internal/db"
	"keelson/internal/problem"
	"keelson/internal/tracking"
)

// Import makes a model that another server had, with its times, or fills up the one of that name: tags that it lacks are
// added, and a description where there is none. made says that it is new.
func (s *Service) Import(ctx context.Context, m Model) (out Model, made bool, err error) {
	created, updated := m.CreatedAt, m.UpdatedAt
	s.defaults(ctx, &m)
	if !created.IsZero() {
		m.CreatedAt, m.UpdatedAt = created, updated
	}
	if err := m.Check(); err != nil {
		return out, false, err
	}
	err = s.DB.Write(ctx, func(tx db.Scope) error {
		made = false
		_, err := getModel(tx, m.Name)
		if problem.Is(err, problem.NotFound) {
			made = true
			if err := s.reserved(tx, m.Name); err != nil {
				return err
			}
			if err := insertModel(tx, m); err != nil {
				return err
			}
			return audit.Record(tx, "model.imported", "model/"+m.Name, map[string]any{"model": m.Name, "kind": m.Kind, "owner": m.Owner, "from": m.Tags[tracking.TagImportID]})
		}
		if err != nil {
			return err
		}
		return s.change(tx, m.Name, func(have *Model) error {
			tags := maps.Clone(m.Tags)
			maps.Copy(tags, have.Tags)
			have.Tags = tags
			if have.Description == "" {
				have.Description = m.Description
			}
			return nil
		})
	})
	if err != nil {
		return out, false, fmt.Errorf("import model %s: %w", m.Name, err)
	}
	out, err = s.Model(ctx, m.Name)
	return out, made, err
}
