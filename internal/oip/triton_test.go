package oip

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"keelson/internal/prediction"
)

// python is the variable with the path of an interpreter that has tritonclient[http,grpc].
const python = "KEELSON_PYTHON"

func TestTritonsOwnClientOverHTTP(t *testing.T) { tritonJourney(t, "testdata/triton.py", 20) }

func TestTritonsOwnClientOverGRPC(t *testing.T) { tritonJourney(t, "testdata/triton_grpc.py", 20) }

// tritonJourney runs a script that ends with the predictions it got and finds them in the log.
func tritonJourney(t *testing.T, script string, atLeast int) {
	interpreter := os.Getenv(python)
	if interpreter == "" {
		t.Skipf("%s is not set: it names a Python with tritonclient[http,grpc], which calls this server", python)
	}
	h := start(t)
	cmd := exec.Command(interpreter, script, strings.TrimPrefix(h.url, "http://"), "../engine/xgboost/testdata/expected.json", "secret")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	var said struct{ Predictions []string }
	if err := json.Unmarshal(lines[len(lines)-1], &said); err != nil || len(said.Predictions) < atLeast {
		t.Fatalf("%v\n%s", err, out)
	}
	logged := map[string]bool{}
	if err := h.log.Scan(t.Context(), prediction.Query{}, func(r prediction.Record) error {
		logged[r.ID] = r.Caller == "desk" && r.Error == ""
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, id := range said.Predictions {
		if !logged[id] {
			t.Errorf("prediction %s is not in the log", id)
		}
	}
}
