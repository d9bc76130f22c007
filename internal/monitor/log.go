package monitor

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
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

// reader takes the calls of one version apart.
type reader struct {
	model           string
	version         int
	inputs, outputs engine.Columns
}

// Scan is described at Log.
func (p *Predictions) Scan(ctx context.Context, endpoint, after string, limit int, fn func(*Call) error) error {
	var c Call
	var readers []*reader // few: an endpoint serves one version, or some
	var by *reader
	return p.Service.Each(ctx, prediction.Query{Endpoint: endpoint, After: after, Limit: limit}, func(r *prediction.Record) error {
		c = Call{ID: r.ID, At: r.At, Model: r.Model, Version: r.Version}
		if r.Error != "" || r.Slot == prediction.SlotShadow {
			return fn(&c)
		}
		if by == nil || by.version != r.Version || by.model != r.Model {
			at := slices.IndexFunc(readers, func(o *reader) bool { return o.version == r.Version && o.model == r.Model })
			if at < 0 {
				sig, err := p.signature(ctx, r.Model, r.Version)
				if err != nil {
					return err
				}
				at = len(readers)
				readers = append(readers, &reader{r.Model, r.Version, engine.Columns{Of: sig}, engine.Columns{Of: engine.Signature{Inputs: sig.Outputs}}})
			}
			by = readers[at]
		}
		c.Rows = r.Rows
		c.Inputs = r.ColumnsBy(&by.inputs, r.Inputs)
		c.Outputs = r.ColumnsBy(&by.outputs, r.Outputs)
		return fn(&c)
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
