package monitor

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"

	"keelson/internal/caller"
	"keelson/internal/engine"
	"keelson/internal/prediction"
	"keelson/internal/problem"
)

// Predictions is the prediction log as the monitor reads it: calls taken apart into named columns. Service
// is required; without Versions matrices have columns f0, f1, ….
type Predictions struct {
	Service  *prediction.Service
	Versions versions

	mu         sync.Mutex
	signatures map[string]engine.Signature
}

var _ Log = (*Predictions)(nil)

// Scan is described at Log.
func (p *Predictions) Scan(ctx context.Context, endpoint, after string, limit int, fn func(*Call) error) error {
	return p.Service.Scan(ctx, prediction.Query{Endpoint: endpoint, After: after, Limit: limit}, func(r prediction.Record) error {
		c := &Call{ID: r.ID, At: r.At, Model: r.Model, Version: r.Version}
		if r.Error != "" || r.Slot == prediction.SlotShadow {
			return fn(c)
		}
		sig, err := p.signature(ctx, r.Model, r.Version)
		if err != nil {
			return err
		}
		c.Rows = r.Rows
		c.Inputs = r.Columns(sig, r.Inputs)
		c.Outputs = r.Columns(engine.Signature{Inputs: sig.Outputs}, r.Outputs)
		return fn(c)
	})
}

// signature reads a version's signature once; it never changes. A model served elsewhere has none.
func (p *Predictions) signature(ctx context.Context, model string, version int) (engine.Signature, error) {
	if p.Versions == nil || version < 1 {
		return engine.Signature{}, nil
	}
	key := caller.Workspace(ctx) + "\x00" + model + "\x00" + strconv.Itoa(version)
	p.mu.Lock()
	s, ok := p.signatures[key]
	p.mu.Unlock()
	if ok {
		return s, nil
	}
	v, err := p.Versions.Version(ctx, model, version)
	if problem.Is(err, problem.NotFound) {
		return s, nil // it may be registered later
	}
	if err != nil {
		return s, fmt.Errorf("read the signature of %s/%d: %w", model, version, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.signatures == nil || len(p.signatures) > 1000 {
		p.signatures = map[string]engine.Signature{}
	}
	p.signatures[key] = v.Signature
	return v.Signature, nil
}

// Outcomes is described at Log.
func (p *Predictions) Outcomes(ctx context.Context, ids []string) (map[string]map[int]any, error) {
	found, err := p.Service.Outcomes(ctx, ids)
	if err != nil {
		return nil, err
	}
	out := make(map[string]map[int]any, len(found))
	for id, list := range found {
		out[id] = make(map[int]any, len(list))
		for _, o := range list {
			var v any
			if err := json.Unmarshal(o.Value, &v); err != nil {
				return nil, fmt.Errorf("outcome of %s: %w", id, err)
			}
			out[id][o.Row] = v
		}
	}
	return out, nil
}

// Labelled is described at Log.
func (p *Predictions) Labelled(ctx context.Context, endpoint, after string, limit int) ([]string, string, error) {
	return p.Service.Told(ctx, endpoint, after, limit)
}
