package prediction

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"keelson/internal/audit"
	"keelson/internal/bin"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/job"
	"keelson/internal/problem"
)

// Retention says how long predictions of an endpoint are kept. An endpoint without one has the workspace's, whose
// Endpoint is empty; a workspace without one has the installation's.
type Retention struct {
	Endpoint string    `json:"endpoint" doc:"empty: every endpoint of the workspace that has no retention of its own"`
	Days     int       `json:"days" doc:"days after their arrival until predictions are removed; 0 keeps them"`
	By       string    `json:"by"`
	At       time.Time `json:"at"`
}

// MaxDays is the longest retention that is not for good.
const MaxDays = 36_500

// days gives how long predictions of an endpoint are kept, 0 for good.
func days(rules []Retention, endpoint string, otherwise int) int {
	out := otherwise
	for _, r := range rules {
		if r.Endpoint == endpoint {
			return r.Days
		}
		if r.Endpoint == "" {
			out = r.Days
		}
	}
	return out
}

// Retentions lists the rules of the workspace, its own first.
func (s *Service) Retentions(ctx context.Context) (out []Retention, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) (err error) { out, err = s.store.retentions(tx); return err })
	return out, err
}

// SetRetention makes or changes a rule. It fails with problem.Invalid for days out of range or no name of an endpoint.
func (s *Service) SetRetention(ctx context.Context, r Retention) (Retention, error) {
	if r.Endpoint != "" && !endpointForm.MatchString(r.Endpoint) {
		return r, problem.New(problem.Invalid, "%q is no name of an endpoint.", clip(r.Endpoint)).At("endpoint")
	}
	if r.Days < 0 || r.Days > MaxDays {
		return r, problem.New(problem.Invalid, "Predictions are kept for 1 to %d days, or for good with 0; not for %d.", MaxDays, r.Days).At("days")
	}
	r.By, r.At = caller.From(ctx).Name, s.Now().UTC().Truncate(time.Microsecond)
	return r, s.DB.Write(ctx, func(tx db.Scope) error {
		return errors.Join(s.store.putRetention(tx, r), audit.Record(tx, "prediction.retention-set", r.object(), map[string]any{"days": r.Days}))
	})
}

// DropRetention removes a rule; problem.NotFound when there is none.
func (s *Service) DropRetention(ctx context.Context, endpoint string) error {
	return s.DB.Write(ctx, func(tx db.Scope) error {
		ok, err := s.store.dropRetention(tx, endpoint)
		if err == nil && !ok {
			err = problem.New(problem.NotFound, "There is no retention for %q; keelson retention list shows those there are.", clip(endpoint)).At("endpoint")
		}
		if err != nil {
			return err
		}
		return audit.Record(tx, "prediction.retention-dropped", Retention{Endpoint: endpoint}.object(), map[string]any{})
	})
}

func (r Retention) object() string {
	if r.Endpoint == "" {
		return "prediction"
	}
	return "deployment/" + r.Endpoint
}

// Purge asks for predictions to be removed for good.
type Purge struct {
	Before   time.Time // those that arrived before; the files of whole hours go
	Endpoint string    // only of this one; empty is all of the workspace
	DryRun   bool      // only say what would go
	Why      string    // for the audit log
}

// Purged is what a purge removed, or would remove.
type Purged struct {
	DryRun      bool             `json:"dry_run"`
	Before      time.Time        `json:"before" doc:"the full hour before which everything went; the last hour always stays"`
	Files       int              `json:"files"`
	Predictions int64            `json:"predictions"`
	Outcomes    int64            `json:"outcomes"`
	Bytes       int64            `json:"bytes"`
	Endpoints   []PurgedEndpoint `json:"endpoints"`
}

// PurgedEndpoint is the part of one endpoint.
type PurgedEndpoint struct {
	Endpoint    string `json:"endpoint"`
	Files       int    `json:"files"`
	Predictions int64  `json:"predictions"`
	Outcomes    int64  `json:"outcomes"`
	Bytes       int64  `json:"bytes"`
	Kept        int    `json:"kept" doc:"files that are old enough and stay because of a hold"`
	Hold        string `json:"hold,omitempty" doc:"why they stay"`
}

// settling is how long a record may take to be filed by another process: what is younger is never purged.
const settling = 10 * time.Minute

// Purge removes whole files of the log with their rows and the outcomes of their predictions. What is under a hold, as
// endpoint, model or version, stays. It can be broken off and repeated.
func (s *Service) Purge(ctx context.Context, p Purge) (Purged, error) {
	if p.DryRun {
		return s.purge(ctx, p)
	}
	unfiled := s.File(ctx) // does not keep what is filed from going
	out, err := s.purge(ctx, p)
	if err == nil && unfiled != nil {
		err = problem.New(problem.Unavailable, "%d predictions were removed, but some predictions cannot be filed now and stay until they are; the server's log says why.", out.Predictions).Because(unfiled)
	}
	return out, err
}

// purge is Purge of what is filed.
func (s *Service) purge(ctx context.Context, p Purge) (Purged, error) {
	if p.Before.IsZero() {
		return Purged{}, problem.New(problem.Invalid, "Say until when predictions are to go: before=2026-11-01.").At("before")
	}
	if limit := s.Now().Add(-settling); p.Before.After(limit) {
		p.Before = limit
	}
	p.Before = p.Before.UTC().Truncate(time.Hour)
	out := Purged{DryRun: p.DryRun, Before: p.Before, Endpoints: []PurgedEndpoint{}}
	endpoints := []string{p.Endpoint}
	if p.Endpoint == "" {
		if err := s.DB.Read(ctx, func(tx db.Scope) (err error) { endpoints, err = s.store.endpoints(tx); return err }); err != nil {
			return out, err
		}
	}
	for _, e := range endpoints {
		one, err := s.purgeEndpoint(ctx, e, p)
		if one.Files+one.Kept > 0 {
			out.Endpoints = append(out.Endpoints, one)
			out.Files += one.Files
			out.Predictions += one.Predictions
			out.Outcomes += one.Outcomes
			out.Bytes += one.Bytes
		}
		if err != nil {
			return out, fmt.Errorf("purge the predictions of %s: %w", e, err)
		}
	}
	if p.DryRun {
		return out, nil
	}
	s.count(out.Predictions)
	return out, s.sweep(ctx)
}

func (s *Service) count(removed int64) {
	s.counter.Do(func() {
		s.purged = prometheus.NewCounter(prometheus.CounterOpts{Namespace: "keelson", Subsystem: "prediction_log", Name: "purged_total", Help: "Predictions removed for good by retention, by hand or for a person."})
		if s.Metrics != nil {
			s.Metrics.MustRegister(s.purged)
		}
	})
	s.purged.Add(float64(removed))
}

// purgeEndpoint removes the files of one endpoint, a page in one transaction. A page in which another process changed a
// file is looked at again.
func (s *Service) purgeEndpoint(ctx context.Context, endpoint string, p Purge) (PurgedEndpoint, error) {
	out := PurgedEndpoint{Endpoint: endpoint}
	below := floorID(p.Before)
	for from, again := "", 0; ; {
		var page []file
		if err := s.DB.Read(ctx, func(tx db.Scope) (err error) {
			page, err = s.store.filesBefore(tx, endpoint, below, from)
			return err
		}); err != nil || len(page) == 0 {
			if err == nil && !p.DryRun && out.Files > 0 {
				err = s.DB.Write(ctx, func(tx db.Scope) error { return s.store.deleteKeys(tx, endpoint, below) })
			}
			return out, err
		}
		now, err := s.purgePage(ctx, endpoint, p, page)
		if err != nil && !errors.Is(err, errChanged) {
			return out, err
		}
		out.Files += now.Files
		out.Predictions += now.Predictions
		out.Outcomes += now.Outcomes
		out.Bytes += now.Bytes
		if err != nil {
			if again++; again > maxAgain {
				return out, err
			}
			continue
		}
		out.Kept += now.Kept
		if now.Hold != "" {
			out.Hold = now.Hold
		}
		from = page[len(page)-1].First
	}
}

// purgePage removes some files of an endpoint in one transaction, or says what would go. Beside errChanged it tells what
// went: every file but those that another process removed or wrote again since their rows were read.
func (s *Service) purgePage(ctx context.Context, endpoint string, p Purge, page []file) (now PurgedEndpoint, err error) {
	changed := false
	var known []file
	for _, f := range page {
		switch err := s.changed(ctx, f, s.nameModels(ctx, &f)); {
		case errors.Is(err, errChanged):
			changed = true
		case err != nil:
			return now, err
		default:
			known = append(known, f)
		}
	}
	crossed := false
	work := func(tx db.Scope) error {
		now, crossed = PurgedEndpoint{}, false
		var gone []string
		for _, f := range known {
			why, err := held(tx, f)
			if err != nil {
				return err
			}
			if why != "" {
				now.Kept++
				now.Hold = why
				continue
			}
			if !p.DryRun {
				if ok, err := s.store.removeFile(tx, f); err != nil {
					return err
				} else if !ok {
					crossed = true
					continue
				}
				gone = append(gone, f.ID)
			}
			now.Files++
			now.Predictions += f.Predictions
			now.Bytes += f.Bytes
		}
		if len(gone) == 0 {
			return nil
		}
		n, err := s.store.deleteOutcomes(tx, endpoint, page[0].First, lastOf(page))
		if err != nil {
			return err
		}
		now.Outcomes = n
		return audit.Record(tx, "prediction.purged", "deployment/"+endpoint, map[string]any{"why": p.Why, "before": p.Before, "files": gone,
			"predictions": now.Predictions, "outcomes": n, "bytes": now.Bytes, "kept": now.Kept})
	}
	if p.DryRun {
		err = s.DB.Read(ctx, work)
	} else {
		err = s.DB.Write(ctx, work)
	}
	if err == nil && (changed || crossed) {
		err = errChanged
	}
	return now, err
}

func lastOf(page []file) (last string) {
	for _, f := range page {
		last = max(last, f.Last)
	}
	return last
}

// held says why a file must stay: a hold on its endpoint, or on a model or version that has records in it.
func held(tx db.Scope, f file) (why string, err error) {
	ask := func(kind, name string) {
		if err == nil && why == "" {
			if e := bin.Held(tx, kind, name); problem.Is(e, problem.Conflict) {
				p, _ := problem.As(e)
				why = p.Detail
			} else {
				err = e
			}
		}
	}
	ask("endpoint", f.Endpoint)
	for _, v := range f.Models {
		model, _, _ := strings.Cut(v, "/")
		ask("model", model)
		ask("version", v)
	}
	return why, err
}

// nameModels finds out which versions have records in a file that was written before its row said so.
func (s *Service) nameModels(ctx context.Context, f *file) error {
	if f.Models != nil {
		return nil
	}
	f.Models = []string{}
	for i := range f.Chunks {
		rows, err := fetch[headRow](ctx, s, *f, i)
		if err != nil {
			return err
		}
		for _, r := range rows {
			f.Models = addModel(f.Models, r.Model, int(r.Version))
		}
	}
	return nil
}

func addModel(list []string, model string, version int) []string {
	name := fmt.Sprintf("%s/%d", model, version)
	if !slices.Contains(list, name) {
		list = append(list, name)
	}
	return list
}

// sweep deletes the bytes of files whose rows are gone, also those that an earlier purge left when it was broken off.
func (s *Service) sweep(ctx context.Context) error {
	var names []string
	if err := s.DB.Read(ctx, func(tx db.Scope) (err error) { names, err = s.store.gone(tx); return err }); err != nil {
		return err
	}
	for _, n := range names {
		if err := s.Blobs.DeleteNamed(ctx, n); err != nil {
			return fmt.Errorf("delete %s: %w", n, err)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return s.DB.Write(ctx, func(tx db.Scope) error { return s.store.swept(tx, names) })
}

// Jobs registers the hourly removal of what is older than its retention.
func (s *Service) Jobs(r *job.Runner) { r.Every("prediction.retain", time.Hour, s.Retain) }

// Retain removes in every workspace what is older than its retention, whole days of it.
func (s *Service) Retain(ctx context.Context) error {
	if err := s.File(ctx); err != nil { // what is filed goes all the same
		s.Logger.ErrorContext(ctx, "the prediction log could not be filed before old predictions are removed", "error", err)
	}
	var workspaces []string
	if err := s.DB.Read(ctx, func(tx db.Scope) (err error) { workspaces, err = s.store.workspaces(tx); return err }); err != nil {
		return err
	}
	for _, w := range workspaces {
		ctx := caller.WithWorkspace(ctx, w)
		var rules []Retention
		var endpoints []string
		if err := s.DB.Read(ctx, func(tx db.Scope) (err error) {
			if rules, err = s.store.retentions(tx); err == nil {
				endpoints, err = s.store.endpoints(tx)
			}
			return err
		}); err != nil {
			return err
		}
		for _, e := range endpoints {
			n := days(rules, e, s.KeepDays)
			if n == 0 {
				continue
			}
			before := s.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, -n)
			got, err := s.purge(ctx, Purge{Before: before, Endpoint: e, Why: fmt.Sprintf("kept for %d days", n)})
			if err != nil {
				return err
			}
			if got.Files > 0 {
				s.Logger.InfoContext(ctx, "predictions removed after their retention", "endpoint", e, "days", n, "files", got.Files, "predictions", got.Predictions)
			}
		}
		if err := s.DB.Write(ctx, func(tx db.Scope) error { return s.store.forgetFiled(tx, s.Now().Add(-remembered)) }); err != nil {
			return err
		}
		if err := s.sweep(ctx); err != nil {
			return err
		}
	}
	return nil
}

// remembered is how long a segment may lie about after it was filed and still be known as filed.
const remembered = 400 * 24 * time.Hour
