package app_test

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"keelson/client"
	"keelson/internal/access"
	"keelson/internal/caller"
)

// A step's program says by tags who made what it registers; when it says nothing, or a name of its own choice, whoever
// wrote it must not become a voter on it.
func TestAVersionThatAStepRegisteredBesideTheRegisterStepHasNoAuthorsToTrust(t *testing.T) {
	a := start(t, nil)
	ctx, cancel := context.WithTimeout(caller.System(context.Background(), "pipeline"), time.Minute)
	defer cancel()
	if err := a.Identity.Ensure(ctx, "pipeline", access.Service); err != nil {
		t.Fatal(err)
	}
	token, err := a.Identity.Issue(ctx, "pipeline", "a step", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	step, err := client.New(client.Config{Server: a.URL, Token: token.Token})
	if err != nil {
		t.Fatal(err)
	}
	model := []byte(`{"format":"keelson-linear-1","features":["a"],"coefficients":[2],"intercept":1}`)
	v, err := step.Register(ctx, "sly", client.NewVersion{}, []client.Artifact{{Path: "model.linear.json", Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(model)), nil }}})
	if err == nil {
		v, err = step.WaitVersion(ctx, "sly", v.Version)
	}
	if err != nil || v.State != "ready" {
		t.Fatalf("%+v %v", v, err)
	}
	_, err = step.Propose(ctx, client.NewApproval{Kind: "deploy", Model: "sly", Version: v.Version, Environment: "dev", Reason: "quietly"})
	if err == nil || !strings.Contains(err.Error(), "step of kind register") {
		t.Errorf("it was proposed: %v", err)
	}
}
