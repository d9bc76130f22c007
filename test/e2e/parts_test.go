package e2e

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"os"
	"testing"
	"time"

	"keelson/client"
	"keelson/internal/blob/blobtest"
	"keelson/internal/db/dbtest"
)

// TestPartsShareTheWork runs the program as two processes over PostgreSQL and S3: one governs, one only serves. What is
// approved in one answers in the other, what is answered there is seen here, and a stop reaches it within seconds.
func TestPartsShareTheWork(t *testing.T) {
	if os.Getenv(dbtest.Postgres) == "" {
		t.Skip(dbtest.Postgres + " is not set: there is no PostgreSQL to share; .ci/run starts one")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	same := []string{"--database", dbtest.DSN(t), "--blobs", blobtest.S3(t), "--keys", t.TempDir()}
	governs := Start(t, append(same, "--parts", "api,worker")...)
	serves := governs.Beside(append(same, "--parts", "serving")...)
	scientist := governs.Person(ctx, "ana", "data-scientist")
	operator := governs.Person(ctx, "cem", "it-operations")

	infer := deployed(ctx, t, scientist, serves.Person(ctx, "ana", "data-scientist"), "kettle")
	ids := []string{infer(), infer(), infer()}
	if _, err := client.Wait(ctx, func(ctx context.Context) (int, bool, error) {
		seen, err := client.All[client.Prediction](ctx, operator, "/api/v1/predictions", url.Values{"endpoint": {"kettle.dev"}}, 0)
		return 0, len(seen) == len(ids), err
	}); err != nil {
		t.Fatalf("the answers are not seen where the model is governed: %v", err)
	}
	var p client.Prediction
	if err := operator.Get(ctx, "/api/v1/predictions/"+ids[0], &p); err != nil || p.Caller != "ana" || p.Model != "kettle" {
		t.Errorf("got %+v, %v", p, err)
	}

	began := time.Now()
	if _, err := operator.Operate(ctx, "kettle.dev", "suspend", "a test"); err != nil {
		t.Fatal(err)
	}
	elsewhere := serves.Client(governs.Token)
	if _, err := client.Wait(ctx, func(ctx context.Context) (int, bool, error) {
		err := elsewhere.Infer(ctx, "kettle.dev", map[string]any{"inputs": []any{}}, nil)
		var e *client.Error
		return 0, errors.As(err, &e) && e.Status == http.StatusServiceUnavailable, nil
	}); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("the stop took %s to reach the process that serves", took)
	}
	if v, err := governs.Client("").VerifyAudit(ctx); err != nil || !v.OK {
		t.Errorf("the audit log: %+v, %v", v, err)
	}
}
