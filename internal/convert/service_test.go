package convert

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"keelson/internal/blob"
	"keelson/internal/caller"
	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/inventory"
	"keelson/internal/problem"
	"keelson/internal/tensor"
	"keelson/internal/tracking"
)

type logged [][]tensor.Tensor

func (l logged) Lately(context.Context, string, int) ([][]tensor.Tensor, error) { return l, nil }

func world(t *testing.T, d *db.DB, calls logged) (*Service, context.Context) {
	t.Helper()
	ctx := caller.With(context.Background(), caller.Caller{ID: "ada", Name: "ada", Kind: caller.Person, Roles: []string{"data-scientist"}})
	b, err := blob.Open(ctx, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	set := engines(t)
	inv := &inventory.Service{DB: d, Blobs: b, Engines: set, Runs: &tracking.Service{DB: d, Blobs: b, Log: log, Now: time.Now}, Log: log, Now: time.Now}
	return &Service{DB: d, Blobs: b, Inventory: inv, Engines: set, Calls: calls, Log: log, Now: time.Now}, ctx
}

// version registers a file as a version of model and tests it.
func version(t *testing.T, s *Service, ctx context.Context, model, file, golden string) inventory.Version {
	t.Helper()
	data, err := os.ReadFile("../engine/" + file)
	if err != nil {
		t.Fatal(err)
	}
	digest, size, err := s.Blobs.Put(ctx, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	name := file[strings.LastIndex(file, "/")+1:]
	v, err := s.Inventory.Register(ctx, inventory.Registration{Model: model, Files: []inventory.File{{Path: name, Digest: digest, Size: size}}, Golden: golden, MakeModel: true,
		Dependencies: []inventory.Dependency{{Kind: "data", Name: "patients", Version: "2", Digest: "sha256:00"}}})
	if err != nil {
		t.Fatal(err)
	}
	return tested(t, s, ctx, model, v.Number)
}

func tested(t *testing.T, s *Service, ctx context.Context, model string, number int) inventory.Version {
	t.Helper()
	if err := s.Inventory.Check(ctx, model, number); err != nil {
		t.Fatal(err)
	}
	v, err := s.Inventory.Version(ctx, model, number)
	if err != nil || v.State != inventory.Ready {
		t.Fatalf("%s/%d is %s: %s (%v)", model, number, v.State, v.Reason, err)
	}
	return v
}

// run carries a wish out.
func run(t *testing.T, s *Service, ctx context.Context, v inventory.Version, w Wish) Conversion {
	t.Helper()
	c, err := s.Start(ctx, v.Model, v.Number, w)
	if err != nil {
		t.Fatal(err)
	}
	if c.State != Running || c.By != "ada" {
		t.Errorf("it began as %+v", c)
	}
	job := caller.System(ctx, "job:"+Kind)
	for range 2 { // a job runs at least once
		if err := s.Run(job, c.ID); err != nil {
			t.Fatal(err)
		}
	}
	if c, err = s.Get(ctx, c.ID); err != nil || c.State == Running || c.EndedAt == nil {
		t.Fatalf("it ended as %+v, %v", c, err)
	}
	return c
}

func TestAConversionIsMeasuredAndRegisteredOnlyWhenAsked(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		call := []tensor.Tensor{tensor.FP32s("input", []int{2, 6}, []float32{0.5, -1, 0.1, 2, 0, 3, -0.5, 1, 0.2, -2, 1, 7})}
		s, ctx := world(t, d, logged{call})
		v := version(t, s, ctx, "risk", "xgboost/testdata/models/logistic.json", `{"inputs":[{"name":"input","datatype":"FP32","shape":[1,6],"data":[0.1,0.2,0.3,0.4,0.5,6]}]}`)

		c := run(t, s, ctx, v, Wish{To: ONNX})
		r := c.Result
		if c.State != Done || r.Registered != 0 || r.Original == nil || r.Converted == nil || r.Error == nil {
			t.Fatalf("got %+v", c)
		}
		if r.Original.Format != "xgboost-json" || r.Converted.Format != "onnx" || r.Original.P50 <= 0 || r.Converted.P50 <= 0 || r.Original.Bytes != v.Size || r.Converted.Bytes <= 0 {
			t.Errorf("sides %+v and %+v", *r.Original, *r.Converted)
		}
		if r.Rows.Golden != 1 || r.Rows.Logged != 2 || r.Rows.Generated < generatedRows/2 || *r.Error > 1e-6 {
			t.Errorf("rows %+v, error %v", r.Rows, *r.Error)
		}
		if list, err := s.Inventory.Versions(ctx, "risk", 0, 10); err != nil || len(list) != 1 {
			t.Errorf("there are %d versions (%v) although nobody asked for one", len(list), err)
		}

		c = run(t, s, ctx, v, Wish{To: ONNX, Register: true})
		if c.State != Done || c.Result.Registered != 2 {
			t.Fatalf("got %+v", c)
		}
		made := tested(t, s, ctx, "risk", 2)
		if made.Format != "onnx" || made.Tags[TagFrom] != "risk/1" || made.Tags[TagTo] != ONNX || made.Origin != "converted from risk/1 to onnx" || made.CreatedBy != "ada" {
			t.Errorf("the new version is %+v", made)
		}
		kinds := map[string]inventory.Dependency{}
		for _, x := range made.Dependencies {
			kinds[x.Kind] = x
		}
		if p := kinds["model"]; p.Name != "risk" || p.Version != "1" || p.Digest != v.ArtifactDigest || kinds["data"].Name != "patients" {
			t.Errorf("its parents are %+v", made.Dependencies)
		}
		if made.Golden.Rows == 0 || made.Golden.MaxError == nil || *made.Golden.MaxError > made.Golden.Limit || made.Golden.Limit != 1e-6 {
			t.Errorf("its golden rows: %+v", made.Golden)
		}
		if list, err := s.List(ctx, "risk", 1); err != nil || len(list) != 2 || list[0].ID != c.ID {
			t.Errorf("the list has %d (%v)", len(list), err)
		}
		found := map[string]bool{}
		entries, err := audited(ctx, s.DB)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			found[e] = true
		}
		for _, want := range []string{"conversion.started", "conversion.done", "version.registered"} {
			if !found[want] {
				t.Errorf("no audit entry %s among %v", want, entries)
			}
		}
	})
}

// audited lists the actions on record.
func audited(ctx context.Context, d *db.DB) (out []string, err error) {
	err = d.Read(ctx, func(tx db.Scope) error {
		return tx.Each(`SELECT action FROM audit_entry WHERE workspace = $1`, []any{tx.Workspace}, func(scan func(...any) error) error {
			var action string
			err := scan(&action)
			out = append(out, action)
			return err
		})
	})
	return out, err
}

func TestBeyondTheLimitNothingIsRegistered(t *testing.T) {
	s, ctx := world(t, dbtest.SQLite(t), nil)
	v := version(t, s, ctx, "image", "onnx/testdata/models/convolution.onnx", "")
	c := run(t, s, ctx, v, Wish{To: Int8, Limit: 1e-6, Register: true})
	if c.State != Refused || c.Result.Registered != 0 || c.Result.Error == nil || !strings.Contains(c.Result.Reason, "beyond the limit 1e-06") {
		t.Errorf("got %+v", c)
	}
	if list, err := s.Inventory.Versions(ctx, "image", 0, 10); err != nil || len(list) != 1 {
		t.Errorf("there are %d versions (%v)", len(list), err)
	}
	if c := run(t, s, ctx, v, Wish{To: ONNX}); c.State != Refused || !strings.Contains(c.Result.Reason, "ONNX file already") {
		t.Errorf("got %+v", c)
	}
	for _, w := range []Wish{{To: "tensorrt"}, {To: ONNX, Limit: -1}, {To: ONNX, Limit: 2}} {
		if _, err := s.Start(ctx, "image", 1, w); problem.KindOf(err) != problem.Invalid {
			t.Errorf("%+v: %v", w, err)
		}
	}
	if _, err := s.Start(ctx, "image", 9, Wish{To: ONNX}); problem.KindOf(err) != problem.NotFound {
		t.Errorf("a version that is not there: %v", err)
	}
	if _, err := s.Get(ctx, "nothing"); problem.KindOf(err) != problem.NotFound {
		t.Errorf("a conversion that is not there: %v", err)
	}
}
