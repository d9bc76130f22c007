package app

import (
	"context"
	"encoding/json"
	"fmt"

	"keelson/internal/deployment"
	"keelson/internal/event"
	"keelson/internal/inventory"
)

// aliases tells the inventory which aliases the policies of the environments protect.
type aliases struct{ a *App }

func (g aliases) Guarded(ctx context.Context, m inventory.Model, alias string) (string, error) {
	if m.Tier < 1 { // nobody assessed it: no policy is read for the aliases of experiments
		return "", nil
	}
	all, err := g.a.Policies.Environments(ctx)
	if err != nil {
		return "", err
	}
	for _, e := range all {
		p, err := g.a.Policies.Policy(ctx, e.Policy, 0)
		if err != nil {
			return "", err
		}
		if p.Aliases.Protects(alias, m.Tier) {
			return e.Name, nil
		}
	}
	return "", nil
}

// follow points a model's protected aliases to the version that runs alone after a release.
func (a *App) follow(ctx context.Context, e event.Event) error {
	var n deployment.Notice
	if err := json.Unmarshal(e.Data, &n); err != nil {
		return fmt.Errorf("read %s: %w", e.Type, err)
	}
	number, others := 0, 0
	for _, s := range n.Slots {
		switch {
		case s.Kind == "live":
			number = s.Version
		case s.Kind == "canary":
			others++
		}
	}
	if n.State != deployment.Live || others > 0 {
		return nil
	}
	env, err := a.Policies.Environment(ctx, n.Environment)
	if err != nil {
		return err
	}
	p, err := a.Policies.Policy(ctx, env.Policy, 0)
	if err != nil || p.Aliases == nil {
		return err
	}
	return a.Inventory.Follow(ctx, n.Model, n.Environment, number, p.Aliases.Names)
}
