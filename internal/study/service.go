package study

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"keelson/internal/audit"
	"keelson/internal/db"
	"keelson/internal/inventory"
	"keelson/internal/job"
	"keelson/internal/prediction"
	"keelson/internal/problem"
	"keelson/internal/tensor"
)

// Service makes studies and keeps them, and answers what-if. All but Ranges and Answering are required.
type Service struct {
	DB          *db.DB
	Inventory   *inventory.Service
	Predictions *prediction.Service
	Load        prediction.Loader
	Log         *slog.Logger
	Now         func() time.Time
	Ranges      func(ctx context.Context, model string, version int) (map[string]Range, error) // of training, by feature; nil: only the log is known

	// Answering calls do for every version that answers somewhere, each in its workspace; nil: no study is made by itself.
	Answering func(ctx context.Context, do func(ctx context.Context, model string, version int) error) error

	studying, asking sync.Mutex // a version may be large: one is in memory for studies, and one for whoever waits at a page
	warm             warm
}

// States of a study.
const (
	None   = "none"
	Making = "making"
	Ready  = "ready"
	Failed = "failed"
)

// Standing is what there is of a version.
type Standing struct {
	State  string `json:"state" enum:"none,making,ready,failed"`
	Reason string `json:"reason,omitempty" doc:"why the last one could not be made"`
	Study  *Study `json:"study,omitempty" doc:"the newest that was made"`
}

// Kind is the job.
const Kind = "study.make"

// Queue is the job queue of studies: they compute for minutes, and nothing else is to wait behind them.
const Queue = "study"

// Args are its arguments.
type Args struct {
	Model   string `json:"model"`
	Version int    `json:"version"`
	At      int64  `json:"at"` // µs UTC: when it was asked for, by which a job that was given up knows whether its study is still awaited
}

// Jobs registers the background work.
func (s *Service) Jobs(r *job.Runner) {
	r.Handle(Kind, func(ctx context.Context, j job.Job) error {
		var a Args
		if err := j.Bind(&a); err != nil {
			return err
		}
		return s.make(ctx, a.Model, a.Version, false)
	})
	r.GivenUp(Kind, func(ctx context.Context, j job.Job, why string) error {
		var a Args
		if err := j.Bind(&a); err != nil {
			return err
		}
		s.Log.WarnContext(ctx, "a study was given up", "model", a.Model, "version", a.Version, "why", why)
		return s.DB.Write(ctx, func(tx db.Scope) error {
			// These words are heard again after a restart, when another study of the version may be under way.
			if at, making, err := attempted(tx, a.Model, a.Version); err != nil || !making || db.Micros(at) != a.At {
				return err
			}
			return put(tx, a.Model, a.Version, "", Failed, "It could not be made; the server's log says why.", "", s.Now())
		})
	})
	r.Every("study-nightly", time.Hour, s.Nightly)
}

// Renamed follows the renaming of a model.
func (s *Service) Renamed(tx db.Scope, from, to string) error { return rename(tx, from, to) }

// Get gives the newest study of a version and whether another is being made.
func (s *Service) Get(ctx context.Context, model string, version int) (out Standing, err error) {
	if _, err := s.Inventory.Version(ctx, model, version); err != nil {
		return out, err
	}
	err = s.DB.Read(ctx, func(tx db.Scope) (err error) { out, err = standing(tx, model, version); return err })
	return out, err
}

// stuck is after how long a study that is being made is taken for one that is not.
const stuck = time.Hour

// Start has a study made in the background, unless one of the version is being made already. It fails with problem.Conflict unless the version is ready and has answered.
func (s *Service) Start(ctx context.Context, model string, version int) (Standing, error) {
	v, err := s.Inventory.Version(ctx, model, version)
	if err != nil {
		return Standing{}, err
	}
	if v.State != inventory.Ready || v.Engine == "" {
		return Standing{}, problem.New(problem.Conflict, "%s is %s; only a version that an engine here runs can be studied.", v.Ref(), v.State).At("version")
	}
	err = s.DB.Write(ctx, func(tx db.Scope) error {
		now := s.Now()
		if at, making, err := attempted(tx, model, version); err != nil || making && now.Sub(at) < stuck {
			return err
		}
		if err := put(tx, model, version, "", Making, "", "", now); err != nil {
			return err
		}
		if err := job.Enqueue(tx, Kind, Args{model, version, db.Micros(now)}, job.Queue(Queue), job.MaxAttempts(2)); err != nil {
			return err
		}
		return audit.Record(tx, "study.started", "model/"+v.Ref(), map[string]any{"model": model, "version": version})
	})
	if err != nil {
		return Standing{}, fmt.Errorf("start study: %w", err)
	}
	return s.Get(ctx, model, version)
}

// calls are the newest calls of a query that can be asked again, the newest first.
func (s *Service) calls(ctx context.Context, q prediction.Query) ([]prediction.Record, error) {
	list, err := s.Predictions.List(ctx, q)
	return slices.DeleteFunc(list, func(r prediction.Record) bool {
		return r.Error != "" || len(r.Inputs) == 0 || len(r.Redacted) > 0
	}), err
}

// make makes a study, unless the same calls of the same artifact were studied already.
func (s *Service) make(ctx context.Context, model string, version int, nightly bool) error {
	done := func(digest, state, reason string, made *Study) error { // reads ctx anew: it may have ended
		return s.DB.Write(ctx, func(tx db.Scope) error {
			if made != nil {
				if err := put(tx, model, version, digest, Ready, "", db.ToJSON(made), s.Now()); err != nil {
					return err
				}
			} else if digest != "" {
				if err := again(tx, model, version, digest, s.Now()); err != nil {
					return err
				}
			}
			return put(tx, model, version, "", state, reason, "", s.Now())
		})
	}
	made, digest, err := s.study(ctx, model, version)
	if made != nil {
		made.Nightly = nightly
	}
	if p, ok := problem.As(err); ok && p.Kind != problem.Internal && p.Kind != problem.Unavailable {
		return done("", Failed, p.Detail, nil)
	}
	if err != nil {
		why := "It could not be made; the server's log says why."
		if errors.Is(err, context.DeadlineExceeded) {
			why = fmt.Sprintf("It took longer than the %s that a nightly study may take.", longest)
		}
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		ctx = end
		return errors.Join(fmt.Errorf("study %s/%d: %w", model, version, err), done("", Failed, why, nil))
	}
	return done(digest, Ready, "", made)
}

// study gives nil when the study of the digest is kept already.
func (s *Service) study(ctx context.Context, model string, version int) (*Study, string, error) {
	v, err := s.Inventory.Version(ctx, model, version)
	if err != nil {
		return nil, "", err
	}
	list, err := s.calls(ctx, prediction.Query{Model: model, Version: version, Limit: maxCalls})
	if err != nil {
		return nil, "", err
	}
	h := sha256.New()
	fmt.Fprintln(h, "study 1", v.ArtifactDigest)
	inputs := make([][]tensor.Tensor, len(list))
	for i, r := range list {
		io.WriteString(h, r.ID+"\n")
		inputs[i] = r.Inputs
	}
	digest := "sha256:" + hex.EncodeToString(h.Sum(nil))
	kept := false
	if err := s.DB.Read(ctx, func(tx db.Scope) (err error) { kept, err = has(tx, model, version, digest); return err }); err != nil || kept {
		return nil, digest, err
	}
	s.studying.Lock()
	defer s.studying.Unlock()
	m, err := s.Load(ctx, model, version)
	if err != nil {
		return nil, "", err
	}
	defer m.Close()
	out, err := examine(ctx, m, m.Signature(), inputs)
	if err != nil {
		return nil, "", err
	}
	out.Model, out.Version, out.Digest, out.MadeAt = model, version, digest, s.Now().UTC().Truncate(time.Microsecond)
	out.From, out.Until = list[len(list)-1].At, list[0].At
	return &out, digest, nil
}

// Window is a time: from Since (inclusive) until Until (exclusive).
type Window struct{ Since, Until time.Time }

// Shift compares what moved the answers of a version at two times.
type Shift struct {
	Model    string    `json:"model"`
	Version  int       `json:"version"`
	Rows     int       `json:"rows" doc:"explained rows of the window"`
	Against  int       `json:"against_rows" doc:"explained rows that it is compared with"`
	Unit     string    `json:"unit"`
	Method   string    `json:"method"`
	Moved    float64   `json:"moved" doc:"half the sum of the differences of the shares: 0 the same, 1 nothing in common"`
	Words    string    `json:"words"`
	Features []Shifted `json:"features" doc:"the largest difference first"`
}

// Shifted is one feature at both times.
type Shifted struct {
	Name       string  `json:"name"`
	Share      float64 `json:"share" doc:"of what moves the answers, 0 to 1"`
	Before     float64 `json:"share_before"`
	Importance float64 `json:"importance" doc:"mean absolute contribution, in the unit"`
	Earlier    float64 `json:"importance_before"`
}

// Shift explains the newest rows of two windows and compares the features' shares. It fails with problem.Conflict when a
// window has no call that can be explained.
func (s *Service) Shift(ctx context.Context, model string, version int, now, before Window) (out Shift, err error) {
	if _, err := s.Inventory.Version(ctx, model, version); err != nil {
		return out, err
	}
	s.asking.Lock()
	defer s.asking.Unlock()
	m, err := s.Load(ctx, model, version)
	if err != nil {
		return out, err
	}
	defer m.Close()
	var both [2]contributions
	for i, w := range []Window{now, before} {
		list, err := s.calls(ctx, prediction.Query{Model: model, Version: version, Since: w.Since, Until: w.Until, Limit: maxCalls})
		if err != nil {
			return out, err
		}
		inputs := make([][]tensor.Tensor, len(list))
		for k := range list {
			inputs[k] = list[k].Inputs
		}
		if both[i], err = windowed(ctx, m, inputs); err != nil {
			return out, err
		}
	}
	out = compare(both[0].portion(), both[1].portion())
	out.Model, out.Version = model, version
	return out, nil
}

// compare holds the shares of two windows against each other.
func compare(now, before portion) (out Shift) {
	out = Shift{Rows: now.rows, Against: before.rows, Unit: now.unit, Method: now.method, Features: []Shifted{}}
	is, all := now.each, now.all
	was, sum := before.each, before.all
	names := slices.Clone(now.names)
	for _, n := range before.names {
		if !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	for _, n := range names {
		x := Shifted{Name: n, Importance: is[n], Earlier: was[n]}
		if all > 0 {
			x.Share = is[n] / all
		}
		if sum > 0 {
			x.Before = was[n] / sum
		}
		out.Moved += math.Abs(x.Share-x.Before) / 2
		out.Features = append(out.Features, x)
	}
	slices.SortStableFunc(out.Features, func(a, b Shifted) int {
		if d := math.Abs(b.Share-b.Before) - math.Abs(a.Share-a.Before); d != 0 {
			return int(math.Copysign(1, d))
		}
		return 0
	})
	switch {
	case len(out.Features) == 0 || out.Moved < 0.05:
		out.Words = "The answers hang on the same features as before."
	default:
		x := out.Features[0]
		out.Words = fmt.Sprintf("%s makes %.0f %% of what moves the answers, before %.0f %%.", x.Name, 100*x.Share, 100*x.Before)
	}
	return out
}

// list writes names for a sentence.
func list(names []string) string {
	if len(names) > 20 {
		return strings.Join(names[:20], ", ") + " and others"
	}
	return strings.Join(names, ", ")
}
