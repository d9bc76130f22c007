package convert

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"testing/fstest"
	"time"

	"keelson/internal/audit"
	"keelson/internal/blob"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/engine"
	"keelson/internal/inventory"
	"keelson/internal/job"
	"keelson/internal/problem"
	"keelson/internal/tensor"
)

// Tags of a version that was converted.
const (
	TagFrom       = "keelson.converted_from" // "churn/3"
	TagTo         = "keelson.converted_to"   // a target
	TagConversion = "keelson.conversion"     // the conversion's id
)

// Calls gives inputs that a version answered lately, the newest first.
type Calls interface {
	Lately(ctx context.Context, model string, version int) ([][]tensor.Tensor, error)
}

// Service converts. All but Calls are required.
type Service struct {
	DB        *db.DB
	Blobs     blob.Store
	Inventory *inventory.Service
	Engines   *engine.Set
	Calls     Calls // nil: nothing is logged here
	Log       *slog.Logger
	Now       func() time.Time
}

// Kind is the job.
const Kind = "convert.run"

// Args are its arguments.
type Args struct {
	ID string `json:"id"`
}

// Jobs registers the background work.
func (s *Service) Jobs(r *job.Runner) {
	r.Handle(Kind, func(ctx context.Context, j job.Job) error {
		var a Args
		if err := j.Bind(&a); err != nil {
			return err
		}
		return s.Run(ctx, a.ID)
	})
	r.GivenUp(Kind, func(ctx context.Context, j job.Job, why string) error {
		var a Args
		if err := j.Bind(&a); err != nil {
			return err
		}
		c, err := s.Get(ctx, a.ID)
		if problem.Is(err, problem.NotFound) || err == nil && c.State != Running {
			return nil
		}
		if err != nil {
			return err
		}
		c.Result.Reason = "The conversion was given up after its last attempt: " + why
		return s.end(ctx, c)
	})
}

// Start records a wish and starts the work. It fails with problem.Conflict unless the version is ready.
func (s *Service) Start(ctx context.Context, model string, version int, w Wish) (Conversion, error) {
	if err := w.Check(); err != nil {
		return Conversion{}, err
	}
	v, err := s.Inventory.Version(ctx, model, version)
	if err != nil {
		return Conversion{}, err
	}
	if v.State != inventory.Ready || v.Engine == "" {
		return Conversion{}, problem.New(problem.Conflict, "%s is %s and cannot be converted; only what an engine here runs can be compared.", v.Ref(), v.State).At("version")
	}
	c := Conversion{ID: db.NewID(), Model: model, Version: version, Wish: w, State: Running, By: caller.From(ctx).Name, StartedAt: s.Now().UTC().Truncate(time.Microsecond)}
	err = s.DB.Write(ctx, func(tx db.Scope) error {
		if err := insert(tx, c); err != nil {
			return err
		}
		if err := job.Enqueue(tx, Kind, Args{c.ID}, job.MaxAttempts(3)); err != nil {
			return err
		}
		return audit.Record(tx, "conversion.started", "model/"+v.Ref(), map[string]any{"model": model, "version": version, "conversion": c.ID, "to": w.To, "limit": w.Limit, "register": w.Register})
	})
	if err != nil {
		return Conversion{}, fmt.Errorf("start conversion: %w", err)
	}
	return c, nil
}

// Get gives a conversion.
func (s *Service) Get(ctx context.Context, id string) (c Conversion, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) (err error) { c, err = get(tx, id); return err })
	return c, err
}

// List gives the conversions of a version, the newest first.
func (s *Service) List(ctx context.Context, model string, version int) (out []Conversion, err error) {
	err = s.DB.Read(ctx, func(tx db.Scope) (err error) { out, err = list(tx, model, version); return err })
	return out, err
}

// Renamed follows the renaming of a model.
func (s *Service) Renamed(tx db.Scope, from, to string) error { return rename(tx, from, to) }

// Run does the work of a running conversion; any other is left as it is.
func (s *Service) Run(ctx context.Context, id string) error {
	c, err := s.Get(ctx, id)
	if problem.Is(err, problem.NotFound) {
		return nil
	}
	if err != nil || c.State != Running {
		return err
	}
	v, err := s.Inventory.Version(ctx, c.Model, c.Version)
	if err == nil {
		err = s.convert(ctx, &c, v)
	}
	if p, ok := problem.As(err); ok && p.Kind != problem.Internal && p.Kind != problem.Unavailable {
		c.Result.Reason, err = p.Detail, nil
	}
	if err != nil {
		return fmt.Errorf("convert %s/%d: %w", c.Model, c.Version, err)
	}
	return s.end(ctx, c)
}

// end writes how a conversion ended: refused when there is a reason. One that has ended is left as it is.
func (s *Service) end(ctx context.Context, c Conversion) error {
	if c.State = Done; c.Result.Reason != "" {
		c.State = Refused
	}
	now := s.Now().UTC().Truncate(time.Microsecond)
	c.EndedAt = &now
	err := s.DB.Write(ctx, func(tx db.Scope) error {
		first, err := finish(tx, c)
		if err != nil || !first {
			return err
		}
		return audit.Record(tx, "conversion."+c.State, fmt.Sprintf("model/%s/%d", c.Model, c.Version), map[string]any{"model": c.Model, "version": c.Version, "conversion": c.ID, "to": c.Wish.To,
			"limit": c.Wish.Limit, "max_error": c.Result.Error, "registered": c.Result.Registered, "reason": c.Result.Reason})
	})
	if err != nil {
		return fmt.Errorf("record conversion: %w", err)
	}
	s.Log.InfoContext(ctx, "version converted", "model", c.Model, "version", c.Version, "to", c.Wish.To, "state", c.State, "registered", c.Result.Registered, "reason", c.Result.Reason)
	return nil
}

// convert writes the form, loads it, compares both and registers it when that was asked for.
func (s *Service) convert(ctx context.Context, c *Conversion, v inventory.Version) error {
	fsys := inventory.Folder(ctx, s.Blobs, v.Files)
	original, found, err := s.Engines.Load(ctx, fsys, v.Format, engine.Limits{})
	if err != nil {
		return err
	}
	defer original.Close()
	data, err := engine.ReadFile(ctx, fsys, found.Path, engine.Limits{}.WithDefaults().FileBytes)
	if err != nil {
		return err
	}
	sig := original.Signature().WithColumns(v.Signature) // the record may know names that the file does not
	f, err := write(found, data, original, sig, c.Wish.To)
	if err != nil {
		return err
	}
	folder := fstest.MapFS{f.name: {Data: f.data}}
	converted, lighter, err := s.load(ctx, folder)
	if err != nil {
		return because("The form was written, but no engine here runs it: ", err)
	}
	defer converted.Close()
	r := &c.Result
	r.Original, r.Converted = side(found, original, data), side(lighter, converted, f.data)
	now := converted.Signature().WithColumns(sig)
	r.Changes = sig.Differs(now)
	golden, _, _, err := s.Inventory.Examples(ctx, v)
	if err != nil {
		return err
	}
	cmp := &comparison{original: original, converted: converted}
	if len(golden) > 0 {
		if r.Rows.Golden, err = cmp.call(ctx, golden); err != nil {
			return err
		}
	}
	seen := cmp.answered
	if s.Calls != nil {
		calls, err := s.Calls.Lately(ctx, v.Model, v.Number)
		if err != nil {
			return err
		}
		for _, in := range calls {
			n, err := cmp.call(ctx, in)
			if err != nil {
				return err
			}
			r.Rows.Logged += n
		}
		seen = cmp.answered
	}
	for _, in := range generate(original.Signature(), f.formula, slices.Clone(seen)) {
		n, err := cmp.call(ctx, in)
		if err != nil {
			return err
		}
		r.Rows.Generated += n
	}
	if len(cmp.answered) > 0 {
		r.Error, r.Where = &cmp.worst, cmp.where
	}
	if r.Original.P50, r.Converted.P50, err = cmp.times(ctx); err != nil {
		return err
	}
	if r.Reason = judge(*r, c.Wish); r.Reason != "" || !c.Wish.Register {
		return nil
	}
	return s.register(ctx, c, v, f, now, cmp)
}

// load asks the engine that the form is written for, then those that stand in for it.
func (s *Service) load(ctx context.Context, folder fstest.MapFS) (engine.Model, engine.Found, error) {
	m, found, err := s.Engines.Load(ctx, folder, "", engine.Limits{})
	if !problem.Is(err, problem.Unsupported) {
		return m, found, err
	}
	for _, format := range s.Engines.Others(found.Format) {
		if m, found, err := s.Engines.Load(ctx, folder, format, engine.Limits{}); err == nil {
			return m, found, nil
		}
	}
	return nil, found, err
}

func side(found engine.Found, m engine.Model, data []byte) *Side {
	out := &Side{Format: found.Format, Engine: found.Engine, File: found.Path, Bytes: int64(len(data))}
	if z, ok := m.(engine.Sizer); ok {
		out.Memory = z.MemoryBytes()
	}
	return out
}

// register makes the new version, once per conversion. sig is its signature, with the names of columns that a file of this
// form may not hold.
func (s *Service) register(ctx context.Context, c *Conversion, v inventory.Version, f form, sig engine.Signature, cmp *comparison) error {
	versions, err := s.Inventory.Versions(ctx, v.Model, 0, 100)
	if err != nil {
		return err
	}
	for _, o := range versions {
		if o.Tags[TagConversion] == c.ID { // the attempt before came that far
			c.Result.Registered = o.Number
			return nil
		}
	}
	golden, err := examples(ctx, cmp, c.Wish.Limit)
	if err != nil {
		return err
	}
	ctx, _ = blob.WithLease(caller.With(ctx, caller.Caller{Name: c.By, Kind: caller.From(ctx).Kind}))
	digest, size, err := s.Blobs.Put(ctx, bytes.NewReader(f.data))
	if err != nil {
		return err
	}
	from := v.Ref()
	reg := inventory.Registration{Model: v.Model, Files: []inventory.File{{Path: f.name, Digest: digest, Size: size}}, Golden: golden, Origin: "converted from " + from + " to " + c.Wish.To,
		Description:  fmt.Sprintf("%s as %s; largest error %.3g over %d rows.", from, c.Wish.To, *c.Result.Error, c.Result.Rows.Golden+c.Result.Rows.Logged+c.Result.Rows.Generated),
		Source:       v.Source,
		Signature:    sig,
		Dependencies: []inventory.Dependency{{Kind: "model", Name: v.Model, Version: strconv.Itoa(v.Number), Digest: v.ArtifactDigest}},
		Tags:         map[string]string{TagFrom: from, TagTo: c.Wish.To, TagConversion: c.ID}}
	for _, d := range v.Dependencies {
		if d.Kind == "data" {
			reg.Dependencies = append(reg.Dependencies, d)
		}
	}
	made, err := s.Inventory.Register(ctx, reg)
	if err != nil {
		return err
	}
	c.Result.Registered = made.Number
	return nil
}

// examples writes golden rows: the first call that both answered, with the original's answers.
func examples(ctx context.Context, cmp *comparison, limit float64) (string, error) {
	if len(cmp.answered) == 0 {
		return "", nil
	}
	in := cmp.answered[0]
	out, err := cmp.original.Predict(ctx, in)
	if err != nil {
		return "", err
	}
	inputs, err := asJSON(in)
	if err != nil {
		return "", err
	}
	outputs, err := asJSON(out)
	if err != nil {
		return "", err
	}
	b, err := json.Marshal(map[string]any{"inputs": inputs, "outputs": outputs, "limit": limit})
	return string(b), err
}

func asJSON(list []tensor.Tensor) (json.RawMessage, error) {
	b := []byte{'['}
	for i, t := range list {
		if t.Type == tensor.FP16 || t.Type == tensor.BF16 { // they have no form in JSON
			t.Type = tensor.FP32
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = t.AppendJSON(b)
	}
	b = append(b, ']')
	if !json.Valid(b) {
		return nil, fmt.Errorf("write golden rows: no JSON")
	}
	return b, nil
}
