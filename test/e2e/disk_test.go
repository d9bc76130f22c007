package e2e

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"keelson/client"
)

// TestAFullDiskStopsWritesAndNotServing fills the file system under the data folder to the last byte. Calls go on being
// answered and logged from the room reserved for them, writes fail with a sentence, and once there is room again
// everything works and nothing acknowledged is missing.
func TestAFullDiskStopsWritesAndNotServing(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=96m"); err != nil {
		t.Skipf("a small file system cannot be mounted here (%v); it needs root", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	s := StartIn(t, filepath.Join(dir, "data"))
	scientist := s.Person(ctx, "ana", "data-scientist")
	infer := deployed(ctx, t, scientist, scientist, "kettle")
	first := infer()

	ballast, err := os.Create(filepath.Join(dir, "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	chunk := make([]byte, 64<<10)
	for n := len(chunk); n > 0; {
		if _, err := ballast.Write(chunk[:n]); err != nil {
			if !errors.Is(err, syscall.ENOSPC) {
				t.Fatal(err)
			}
			n /= 2
		}
	}
	ballast.Close()

	ids := []string{first}
	for range 200 {
		ids = append(ids, infer())
	}
	data := "a,b\n" + strings.Repeat("1,2\n", 300_000)
	_, err = scientist.AddData(ctx, "big", "csv", "", strings.NewReader(data))
	var e *client.Error
	if !errors.As(err, &e) || e.Status != 507 || !strings.Contains(e.Detail, "nothing was stored") {
		t.Errorf("a write to the full disk got %v", err)
	}
	if code := status(t, s.URL+"/healthz"); code != 200 {
		t.Errorf("healthz answers %d", code)
	}

	if err := os.Remove(ballast.Name()); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Wait(ctx, func(ctx context.Context) (int, bool, error) {
		_, err := scientist.AddData(ctx, "big", "csv", "", strings.NewReader(data))
		return 0, err == nil, nil
	}); err != nil {
		t.Fatalf("with room again, writing still fails: %v", err)
	}
	s.Kill()
	if err := s.Run(); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		var p client.Prediction
		if err := scientist.Get(ctx, "/api/v1/predictions/"+id, &p); err != nil {
			t.Errorf("prediction %s: %v", id, err)
		}
	}
	if v, err := s.Client("").VerifyAudit(ctx); err != nil || !v.OK {
		t.Errorf("the audit log: %+v, %v", v, err)
	}
}

// deployed registers the example file as a model, deploys it to dev and gives a function by which asker calls
// it once.
func deployed(ctx context.Context, t *testing.T, scientist, asker *client.Client, name string) func() string {
	t.Helper()
	model, err := os.ReadFile("../../internal/engine/xgboost/testdata/xgb_regression.json")
	if err != nil {
		t.Fatal(err)
	}
	v, err := scientist.Register(ctx, name, client.NewVersion{Kind: "ml"}, []client.Artifact{{Path: "model.json", Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(model)), nil }}})
	if err == nil {
		v, err = scientist.WaitVersion(ctx, name, v.Version)
	}
	if err != nil || v.State != "ready" {
		t.Fatalf("the version is %s (%s), %v", v.State, v.Reason, err)
	}
	if _, err := scientist.Propose(ctx, client.NewApproval{Kind: "deploy", Model: name, Version: v.Version, Environment: "dev", Reason: "a test", WhenApproved: true}); err != nil {
		t.Fatal(err)
	}
	var meta struct {
		Inputs []struct {
			Name, Datatype string
			Shape          []int
		}
	}
	if _, err := client.Wait(ctx, func(ctx context.Context) (int, bool, error) {
		err := asker.Get(ctx, "/v2/models/"+name+".dev", &meta)
		return 0, err == nil, ignoreMissing(err)
	}); err != nil {
		t.Fatal(err)
	}
	in := meta.Inputs[0]
	body := map[string]any{"inputs": []any{map[string]any{"name": in.Name, "datatype": in.Datatype, "shape": []int{1, in.Shape[1]}, "data": make([]float64, in.Shape[1])}}}
	return func() string {
		t.Helper()
		var out struct {
			Parameters struct {
				ID string `json:"prediction_id"`
			}
		}
		if err := asker.Infer(ctx, name+".dev", body, &out); err != nil {
			t.Fatalf("a call failed: %v", err)
		}
		return out.Parameters.ID
	}
}
