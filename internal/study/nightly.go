package study

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/problem"
)

// What the nightly job may take.
const (
	daily    = 23*time.Hour + 30*time.Minute // between two studies of a version, whoever asked for them: once a day by an hourly look
	longest  = 3 * time.Minute               // of one study
	perLook  = 10 * time.Minute              // of all studies of one look; the others are due at the next
	mostLook = 20                            // studies of one look
)

// due is a version that may be studied.
type due struct {
	workspace, model string
	version          int
	at               time.Time // of the last attempt
}

// Nightly studies every version that answers somewhere once a day, those first that waited longest. A version whose newest
// calls were studied already costs a look at the log. One that fails does not stop the others; what does not fit into the
// budget of this look is due at the next.
func (s *Service) Nightly(ctx context.Context) error {
	if s.Answering == nil {
		return nil
	}
	var all []due
	now := s.Now()
	err := s.Answering(ctx, func(ctx context.Context, model string, version int) error {
		d := due{workspace: caller.Workspace(ctx), model: model, version: version}
		if slices.ContainsFunc(all, func(o due) bool { return o.workspace == d.workspace && o.model == model && o.version == version }) {
			return nil
		}
		making := false
		err := s.DB.Read(ctx, func(tx db.Scope) (err error) { d.at, making, err = attempted(tx, model, version); return err })
		if err == nil && (making && now.Sub(d.at) < stuck || now.Sub(d.at) < daily) {
			return nil
		}
		all = append(all, d)
		return err
	})
	if err != nil {
		return fmt.Errorf("list versions to study: %w", err)
	}
	slices.SortStableFunc(all, func(a, b due) int { return a.at.Compare(b.at) })
	end := time.Now().Add(perLook)
	var failed []error
	for i, d := range all {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if i >= mostLook || time.Now().After(end) {
			s.Log.InfoContext(ctx, "studies wait for the next look", "versions", len(all)-i)
			break
		}
		if err := s.tonight(caller.WithWorkspace(caller.System(ctx, "study"), d.workspace), d); err != nil {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// tonight studies one version within its time.
func (s *Service) tonight(ctx context.Context, d due) error {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	began := time.Now()
	err := s.make(ctx, d.model, d.version, true)
	if _, ok := problem.As(err); ok || errors.Is(err, context.DeadlineExceeded) {
		s.Log.InfoContext(ctx, "a nightly study was not made", "model", d.model, "version", d.version, "why", err)
		return nil // its state says why; tomorrow it is tried again
	}
	if err == nil {
		s.Log.DebugContext(ctx, "version studied", "model", d.model, "version", d.version, "took", time.Since(began))
	}
	return err
}

// History is the studies of a version that are kept.
type History struct {
	Model   string `json:"model"`
	Version int    `json:"version"`
	Nightly bool   `json:"nightly" doc:"whether this server studies the versions that answer by itself, once a day"`
	Studies []Past `json:"studies" doc:"the newest first, up to 10"`
}

// Past is one of them, without its points and curves.
type Past struct {
	Digest    string    `json:"digest"`
	MadeAt    time.Time `json:"made_at"`
	Nightly   bool      `json:"nightly"`
	Rows      int       `json:"rows"`
	Explained int       `json:"explained"`
	From      time.Time `json:"from" doc:"the oldest call"`
	Until     time.Time `json:"until" doc:"the newest call"`
	Shares    []Share   `json:"shares" doc:"the most important first, up to 20"`
	Shift     *Shift    `json:"shift,omitempty" doc:"against the study before it; left out for the oldest, and where the two are in different units"`
}

// Share is how much of what moves the answers a feature makes.
type Share struct {
	Name  string  `json:"name"`
	Share float64 `json:"share" doc:"0 to 1"`
}

// History gives the studies of a version that are kept, and what changed from one to the next.
func (s *Service) History(ctx context.Context, model string, version int) (History, error) {
	out := History{Model: model, Version: version, Nightly: s.Answering != nil, Studies: []Past{}}
	if _, err := s.Inventory.Version(ctx, model, version); err != nil {
		return out, err
	}
	var all []Study
	if err := s.DB.Read(ctx, func(tx db.Scope) (err error) { all, err = kept(tx, model, version); return err }); err != nil {
		return out, err
	}
	for i, x := range all {
		p := Past{Digest: x.Digest, MadeAt: x.MadeAt, Nightly: x.Nightly, Rows: x.Rows, Explained: x.Explained, From: x.From, Until: x.Until, Shares: []Share{}}
		for _, f := range x.Features[:min(len(x.Features), 20)] {
			p.Shares = append(p.Shares, Share{f.Name, f.Share})
		}
		if i+1 < len(all) && all[i+1].Unit == x.Unit {
			shift := compare(x.portion(), all[i+1].portion())
			shift.Model, shift.Version = model, version
			p.Shift = &shift
		}
		out.Studies = append(out.Studies, p)
	}
	return out, nil
}

// portion is how much each feature moved the answers of some rows.
type portion struct {
	names        []string
	each         map[string]float64 // mean absolute contribution
	all          float64            // their sum
	rows         int
	unit, method string
}

func (c *contributions) portion() portion {
	each, all := c.importance()
	return portion{c.names, each, all, c.rows, c.unit, c.method}
}

func (s *Study) portion() portion {
	p := portion{each: map[string]float64{}, rows: s.Explained, unit: s.Unit, method: s.Method}
	for _, f := range s.Features {
		p.names = append(p.names, f.Name)
		p.each[f.Name] = f.Importance
		p.all += f.Importance
	}
	return p
}
