package soak

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"keelson/client"
)

// described are models of engines with different inputs: a matrix, columns with words, rules, columns of a graph.
var described = map[string]string{
	"line":    "../../internal/engine/linear/testdata/models/logistic.linear.json",
	"words":   "../../internal/engine/linear/testdata/models/named_levels.linear.json",
	"rules":   "../../internal/engine/cel/testdata/referral/model.cel.yaml",
	"columns": "../../internal/engine/onnx/testdata/models/columns.onnx",
}

// TestTheDescriptionsHoldAgainstAProgramThatReadsThem lets schemathesis call a server by what it says of itself: the
// document of each endpoint, and the part of the API about predictions. Whatever it makes up, no answer may be a failure of
// ours, another status, type or form than described, and no call without a token or against the description may pass.
func TestTheDescriptionsHoldAgainstAProgramThatReadsThem(t *testing.T) {
	python := os.Getenv("KEELSON_SCHEMATHESIS_PYTHON")
	if python == "" {
		t.Skip("KEELSON_SCHEMATHESIS_PYTHON is not set: it names a Python with test/schemathesis/requirements.txt (make schemathesis)")
	}
	lasts, long := length(t, time.Minute)
	examples := 12
	if long {
		examples = 300
	}
	ctx, cancel := context.WithTimeout(t.Context(), lasts+4*time.Minute)
	defer cancel()
	w := newWorld(ctx, t, 0)
	for name, file := range described {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		v, err := w.author.Register(ctx, name, client.NewVersion{Kind: "ml"}, []client.Artifact{{Path: filepath.Base(file), Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }}})
		if err == nil {
			v, err = w.author.WaitVersion(ctx, name, v.Version)
		}
		if err != nil || v.State != "ready" {
			t.Fatalf("%s is %s (%s), %v", name, v.State, v.Reason, err)
		}
		if _, err := w.author.Propose(ctx, client.NewApproval{Kind: "deploy", Model: name, Version: v.Version, Environment: "dev", Reason: "a test", WhenApproved: true}); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Wait(ctx, func(ctx context.Context) (int, bool, error) {
			return 0, w.author.Get(ctx, "/v2/models/"+name+".dev", nil) == nil, nil
		}); err != nil {
			t.Fatalf("%s does not answer: %v", name, err)
		}
	}
	program := filepath.Join(filepath.Dir(python), "schemathesis")
	config, err := filepath.Abs("../schemathesis/schemathesis.toml")
	if err != nil {
		t.Fatal(err)
	}
	run := func(name, document, exclude string) {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(ctx, program, []string{"--config-file", config, "run", w.URL + document, "-u", w.URL, "-H", "Authorization: Bearer " + w.Token, "--max-examples", strconv.Itoa(examples),
				"--seed", "1", "--no-color", "--phases", "examples,coverage,fuzzing", "--suppress-health-check", "all", "--max-response-time", "5",
				// Which shapes go with which data no schema says, so calls by the schema may be refused.
				"--exclude-checks", "positive_data_acceptance" + exclude, "--include-path-regex", "^/(v2|api/v1/(predictions|prediction-retention|outcomes))"}...)
			cmd.Dir = t.TempDir()
			cmd.WaitDelay = 10 * time.Second
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out[max(0, len(out)-6000):])
			}
		})
	}
	for name := range described {
		run(name, "/v2/models/"+name+".dev/openapi.json", "")
	}
	// An empty parameter is one that was left out, and the names of actions are also identifiers that GET asks for.
	run("predictions", "/api/openapi.json", ",negative_data_rejection,allow_header_conformance")
}
