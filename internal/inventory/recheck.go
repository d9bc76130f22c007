package inventory

import (
	"context"
	"fmt"
	"slices"

	"keelson/internal/audit"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/job"
)

// Recheck tests again, in every workspace, what no engine could run: an engine has come or gone. Of formats (none: all)
// are the versions that are asked; what is found is recorded as after a registration.
func (s *Service) Recheck(ctx context.Context, formats ...string) (n int, err error) {
	var workspaces []string
	err = s.DB.Read(ctx, func(tx db.Scope) error {
		return tx.Each(`SELECT DISTINCT workspace FROM model_version WHERE fault = $1 ORDER BY workspace`, []any{FaultNoEngine}, func(scan func(...any) error) error {
			var w string
			err := scan(&w)
			workspaces = append(workspaces, w)
			return err
		})
	})
	if err != nil {
		return 0, fmt.Errorf("look for versions without an engine: %w", err)
	}
	for _, w := range workspaces {
		var list []Version
		err := s.DB.Write(caller.WithWorkspace(ctx, w), func(tx db.Scope) error {
			list = nil
			if err := tx.Each(`SELECT `+versionColumns+` FROM model_version WHERE workspace = $1 AND fault = $2 AND state <> $3 ORDER BY model, version`, []any{tx.Workspace, FaultNoEngine, Retired}, func(scan func(...any) error) error {
				v, err := scanVersion(scan)
				if err == nil && v.State != Pending && (len(formats) == 0 || slices.Contains(formats, v.Format)) {
					list = append(list, v)
				}
				return err
			}); err != nil {
				return err
			}
			for _, v := range list {
				before := v.State
				v.State, v.UpdatedAt = Pending, s.Now()
				if err := putVersion(tx, v); err != nil {
					return err
				}
				if err := job.Enqueue(tx, CheckKind, CheckArgs{Model: v.Model, Version: v.Number}); err != nil {
					return err
				}
				if err := audit.Record(tx, "version.rechecked", "model/"+v.Ref(), map[string]any{"model": v.Model, "version": v.Number, "before": before, "reason": v.Reason}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return n, fmt.Errorf("test versions of workspace %s again: %w", w, err)
		}
		n += len(list)
	}
	if n > 0 {
		s.Log.InfoContext(ctx, "versions without an engine are tested again", "versions", n)
	}
	return n, nil
}
