package inventory

import (
	"context"
	"fmt"

	"keelson/internal/audit"
	"keelson/internal/db"
	"keelson/internal/problem"
)

// guard refuses to move a protected alias by a call; number 0 is its deletion. An alias that points where it should stays,
// and one may be pointed to the version that runs in the environment it stands for: that says what is so.
func (s *Service) guard(ctx context.Context, model, alias string, number int) error {
	if s.Guard == nil {
		return nil
	}
	m, err := s.Model(ctx, model)
	if err != nil {
		return err
	}
	environment, err := s.Guard.Guarded(ctx, m, alias)
	if err != nil || environment == "" {
		return err
	}
	have, err := s.Aliases(ctx, model)
	if err != nil || have[alias] == number {
		return err
	}
	if number == 0 {
		if err := s.refusedAlias(ctx, model, alias, have[alias], number); err != nil {
			return err
		}
		return problem.New(problem.Forbidden, "The alias %s of %s stands for what runs in %s and is protected by its policy; it follows approved changes and cannot be deleted.", alias, model, environment).At("alias")
	}
	v, err := s.Version(ctx, model, number)
	if err != nil {
		return err
	}
	for _, l := range m.Live {
		if l.Environment == environment && l.Version == number && l.Kind == "live" && l.Share == 100 {
			return nil
		}
	}
	if err := s.refusedAlias(ctx, model, alias, have[alias], number); err != nil {
		return err
	}
	return problem.New(problem.Forbidden, "The alias %s of %s stands for what runs in %s and is protected by its policy; it follows approved changes. %s", alias, model, environment, Propose(v.Model, v.Number, environment)).At("alias")
}

func (s *Service) refusedAlias(ctx context.Context, model, alias string, before, number int) error {
	return s.DB.Write(ctx, func(tx db.Scope) error {
		return audit.Record(tx, "alias.refused", "model/"+model, map[string]any{"model": model, "alias": alias, "version": number, "before": before})
	})
}

// Follow points the protected aliases that a model has to the version that runs alone in an environment now; without any
// of them, the first of names.
func (s *Service) Follow(ctx context.Context, model, environment string, number int, names []string) error {
	if s.Guard == nil || number == 0 {
		return nil
	}
	m, err := s.Model(ctx, model)
	if problem.Is(err, problem.NotFound) {
		return nil // deleted meanwhile
	}
	if err != nil {
		return err
	}
	have, err := s.Aliases(ctx, model)
	if err != nil {
		return err
	}
	guarded := func(alias string) (bool, error) {
		e, err := s.Guard.Guarded(ctx, m, alias)
		return err == nil && e == environment, err
	}
	moved := false
	for _, alias := range sorted(have) {
		yes, err := guarded(alias)
		if err != nil {
			return err
		}
		if !yes {
			continue
		}
		moved = true
		if err := s.setAlias(ctx, model, alias, number); err != nil {
			return fmt.Errorf("move alias %s of %s: %w", alias, model, err)
		}
	}
	if moved {
		return nil
	}
	for _, alias := range names {
		if yes, err := guarded(alias); err != nil || !yes || CheckAlias(alias) != nil {
			if err != nil {
				return err
			}
			continue
		}
		return s.setAlias(ctx, model, alias, number)
	}
	return nil
}
