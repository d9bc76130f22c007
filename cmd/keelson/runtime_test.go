package main

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"keelson/internal/runtime"
)

// network is a model of the onnxruntime engine's tests, with a call and its answer in Python.
type network struct {
	Name, Model string
	Calls       []struct{ Inputs, Outputs json.RawMessage }
}

func networkNamed(t *testing.T, name string) (n network, file string) {
	t.Helper()
	b, err := os.ReadFile("../../internal/engine/onnxruntime/testdata/models.json")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct{ Cases []network }
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	for _, n = range doc.Cases {
		if n.Name == name {
			data, err := base64.StdEncoding.DecodeString(n.Model)
			if err != nil {
				t.Fatal(err)
			}
			file = filepath.Join(t.TempDir(), name+".onnx")
			if err := os.WriteFile(file, data, 0o600); err != nil {
				t.Fatal(err)
			}
			return n, file
		}
	}
	t.Fatalf("there is no case %q", name)
	return n, ""
}

// installRuntime puts the library where keelson runtime install puts it.
func installRuntime(t *testing.T, data string) {
	t.Helper()
	library := os.Getenv("KEELSON_TEST_ONNXRUNTIME")
	p, err := runtime.Find("onnxruntime")
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(data, "runtime", p.Name+"-"+p.Version)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(library)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	part := filepath.Join(folder, "part")
	out, err := os.Create(part)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(part, filepath.Join(folder, filepath.Base(library))); err != nil {
		t.Fatal(err)
	}
}

func needRuntime(t *testing.T) {
	t.Helper()
	if os.Getenv("KEELSON_TEST_ONNXRUNTIME") == "" {
		t.Skip("KEELSON_TEST_ONNXRUNTIME is not set: this test needs the library that keelson runtime install onnxruntime unpacks")
	}
}

func TestANetworkRunsOnceTheLibraryIsInstalledWithoutARestart(t *testing.T) {
	needRuntime(t)
	n, file := networkNamed(t, "lstm")
	a := serve(t, "off")
	env := map[string]string{"KEELSON_URL": a.URL, "HOME": t.TempDir()}
	code, _, errs := call(t, env, "", "deploy", "create", file, "--name", "forecast", "--to", "dev")
	if code != 5 || !strings.Contains(errs, "LSTM") || !strings.Contains(errs, "keelson runtime install onnxruntime") {
		t.Fatalf("without the library: exit %d, %s; want a refusal that names the operator and the library", code, errs)
	}
	if code, out, errs := call(t, env, "", "doctor", "--jq", `.[] | select(.check == "runtime").fact`); code != 0 || !strings.Contains(out, "not installed") {
		t.Errorf("doctor: exit %d, %s %s", code, out, errs)
	}
	installRuntime(t, a.Config.Data)
	limit := time.Now().Add(30 * time.Second)
	for {
		_, out, _ := call(t, env, "", "version", "get", "forecast/1", "--jq", `.state + " " + .engine + " " + .format + " " + .reason`)
		if strings.HasPrefix(out, "ready onnxruntime onnxruntime It runs on the engine onnxruntime.") && strings.Contains(out, "LSTM") {
			break
		}
		if time.Now().After(limit) {
			t.Fatalf("30 seconds after the installation the version is %s", out)
		}
	}
	if code, _, errs := call(t, env, "", "deploy", "create", "forecast/1", "--to", "dev"); code != 0 {
		t.Fatalf("deploy: exit %d, %s", code, errs)
	}
	for _, c := range n.Calls {
		resp, err := http.Post(a.URL+"/v2/models/forecast.dev/infer", "application/json", strings.NewReader(`{"inputs":`+string(c.Inputs)+`}`))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("%d %s %v", resp.StatusCode, got, err)
		}
		var answer, want struct{ Outputs []struct{ Data []float64 } }
		if err := json.Unmarshal(got, &answer); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(`{"outputs":`+string(c.Outputs)+`}`), &want); err != nil {
			t.Fatal(err)
		}
		for i, v := range want.Outputs[0].Data {
			if d := answer.Outputs[0].Data[i] - v; d > 1e-6 || d < -1e-6 {
				t.Errorf("answer %d is %v, in Python %v", i, answer.Outputs[0].Data[i], v)
			}
		}
	}
	if code, out, errs := call(t, env, "", "doctor", "--jq", `.[] | select(.check == "runtime").fact`); code != 0 || !strings.Contains(out, "is installed") {
		t.Errorf("doctor: exit %d, %s %s", code, out, errs)
	}
}

func TestALargeNetworkIsConvertedMeasuredAndRegistered(t *testing.T) {
	needRuntime(t)
	_, file := networkNamed(t, "large network")
	a := serve(t, "off")
	installRuntime(t, a.Config.Data)
	env := map[string]string{"KEELSON_URL": a.URL, "HOME": t.TempDir()}
	if code, _, errs := call(t, env, "", "deploy", "create", file, "--name", "image", "--to", "dev"); code != 0 {
		t.Fatalf("deploy: exit %d, %s", code, errs)
	}
	code, out, errs := call(t, env, "", "version", "convert", "image/1", "--to", "int8", "--limit", "0.2")
	for _, want := range []string{"original", "converted", "onnxruntime", "× less", "largest error", "limit 0.2", "512 generated rows", "nothing was registered"} {
		if code != 0 || !strings.Contains(out, want) {
			t.Errorf("exit %d, %s %s; want %q", code, out, errs, want)
		}
	}
	t.Log(out)
	code, out, _ = call(t, env, "", "version", "convert", "image/1", "--to", "int8", "--limit", "1e-6", "--register")
	if code != 5 || !strings.Contains(out, "refused: The largest error is") || !strings.Contains(out, "beyond the limit 1e-06") {
		t.Errorf("exit %d, %s; want a refusal with the number", code, out)
	}
	code, out, errs = call(t, env, "", "version", "convert", "image/1", "--to", "float16", "--register", "--jq", `.state + " " + (.result.registered | tostring)`)
	if code != 0 || strings.TrimSpace(out) != "done 2" {
		t.Fatalf("exit %d, %s %s", code, out, errs)
	}
	limit := time.Now().Add(30 * time.Second)
	for {
		_, out, _ = call(t, env, "", "version", "get", "image/2", "--jq", `.state + " " + .engine + " " + .origin + " " + .tags["keelson.converted_from"]`)
		if strings.HasPrefix(out, "ready onnxruntime converted from image/1 to float16 image/1") {
			break
		}
		if time.Now().After(limit) {
			t.Fatalf("after 30 seconds the version is %s", out)
		}
	}
	code, out, errs = call(t, env, "", "version", "convert", "image/1", "--to", "native")
	if code != 5 || !strings.Contains(out, "no native form here") {
		t.Errorf("exit %d, %s %s; want a refusal with the reason", code, out, errs)
	}
}
