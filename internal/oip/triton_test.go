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

// python is the variable with the path of an interpreter that has tritonclient[http].
const python = "KEELSON_PYTHON"

func TestTritonsOwnClient(t *testing.T) {
	interpreter := os.Getenv(python)
	if interpreter == "" {
		t.Skipf("%s is not set: it names a Python with tritonclient[http], which calls this server", python)
	}
	h := start(t)
	cmd := exec.Command(interpreter, "testdata/triton.py", strings.TrimPrefix(h.url, "http://"), "../engine/xgboost/testdata/expected.json", "secret")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	var said struct{ Predictions []string }
	if err := json.Unmarshal(lines[len(lines)-1], &said); err != nil || len(said.Predictions) < 20 {
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
