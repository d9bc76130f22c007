package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"keelson/client"
	"keelson/internal/app"
	"keelson/internal/engine/reason"
	"keelson/internal/prediction"
	"keelson/internal/tensor"
)

// served registers the files as a version, waits for its self-test, deploys it to dev and asks the endpoint.
func served(t *testing.T, c *client.Client, name string, files map[string][]byte, engine string, in, want []tensor.Tensor) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var list []client.Artifact
	for path, data := range files {
		list = append(list, client.Artifact{Path: path, Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }})
	}
	v, err := c.Register(ctx, name, client.NewVersion{}, list)
	if err == nil {
		v, err = c.WaitVersion(ctx, name, v.Version)
	}
	if err != nil || v.State != "ready" || v.Engine != engine {
		t.Fatalf("the version is %s with engine %q: %s (%v)", v.State, v.Engine, v.Reason, err)
	}
	if _, err := c.Propose(ctx, client.NewApproval{Kind: "deploy", Model: name, Version: v.Version, Environment: "dev", Reason: "try it", WhenApproved: true}); err != nil {
		t.Fatal(err)
	}
	var answer struct{ Outputs []tensor.Tensor }
	_, err = client.Wait(ctx, func(ctx context.Context) (bool, bool, error) {
		err := c.Infer(ctx, name+".dev", map[string]any{"inputs": in}, &answer)
		if err != nil && (strings.Contains(err.Error(), "404") || strings.Contains(err.Error(), "503") || strings.Contains(err.Error(), "ready") || strings.Contains(err.Error(), "no endpoint")) {
			return false, false, nil // not loaded yet
		}
		return err == nil, true, err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(answer.Outputs) != len(want) {
		t.Fatalf("%d outputs, want %d", len(answer.Outputs), len(want))
	}
	for i := range want {
		got := &answer.Outputs[i]
		if got.Name != want[i].Name || got.Type != want[i].Type || got.Len() != want[i].Len() {
			t.Errorf("output %d is %s, want %s", i, got.AppendJSON(nil), want[i].AppendJSON(nil))
			continue
		}
		for k := range want[i].Len() {
			if d := got.Float64(k) - want[i].Float64(k); d > 1e-5 || d < -1e-5 {
				t.Errorf("value %d of %s is %v, want %v", k, got.Name, got.Float64(k), want[i].Float64(k))
			}
		}
	}
}

// explained asks an endpoint with reasons, and again for those of the logged decision, which has to be the same.
func explained(t *testing.T, c *client.Client, endpoint string, in []tensor.Tensor, method string, base, total float64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var answer struct {
		Parameters struct {
			ID          string             `json:"prediction_id"`
			Explanation reason.Explanation `json:"explanation"`
		}
	}
	if err := c.Infer(ctx, endpoint, map[string]any{"inputs": in, "parameters": map[string]any{"explain": true}}, &answer); err != nil {
		t.Fatal(err)
	}
	var later prediction.Explained
	if err := c.Get(ctx, "/api/v1/predictions/"+answer.Parameters.ID+"/explanation", &later); err != nil {
		t.Fatal(err)
	}
	row := answer.Parameters.Explanation.Rows[0]
	if !strings.Contains(answer.Parameters.Explanation.Method, method) || math.Abs(row.Base-base) > 1e-9 || math.Abs(row.Total-total) > 1e-9 || len(row.Features) == 0 {
		t.Errorf("the call was explained by %+v", answer.Parameters.Explanation)
	}
	if !later.Replay.Identical || !reflect.DeepEqual(later.Explanation, answer.Parameters.Explanation) {
		t.Errorf("the logged decision was explained by %+v, the call by %+v", later, answer.Parameters.Explanation)
	}
}

// compared asks an endpoint whose model cannot explain itself with reasons: in is asked first, so that its rows are in the
// log, then one of its rows.
func compared(t *testing.T, c *client.Client, endpoint string, in []tensor.Tensor) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	n, w := in[0].Rows(), in[0].Width()
	if len(in) != 1 || in[0].Type != tensor.FP32 || n < 2 {
		t.Fatalf("the inputs are %d tensors, the first of type %s with %d rows", len(in), in[0].Type, n)
	}
	for range reason.MinBackground {
		if err := c.Infer(ctx, endpoint, map[string]any{"inputs": in}, nil); err != nil {
			t.Fatal(err)
		}
	}
	one := []tensor.Tensor{tensor.FP32s(in[0].Name, []int{1, w}, in[0].F32[:w])}
	var answer struct {
		Parameters struct {
			Explanation reason.Explanation `json:"explanation"`
		}
		Outputs []tensor.Tensor
	}
	if err := c.Infer(ctx, endpoint, map[string]any{"inputs": one, "parameters": map[string]any{"explain": true}}, &answer); err != nil {
		t.Fatal(err)
	}
	e := answer.Parameters.Explanation
	row, sum, moved := e.Rows[0], e.Rows[0].Base, false
	for _, f := range row.Features {
		sum += f.Contribution
		moved = moved || f.Contribution != 0
	}
	out := tensor.Find(answer.Outputs, row.Name)
	if out == nil || math.Abs(sum-out.Float64(row.Output)) > 1e-6 || !moved || len(row.Features) != w || !strings.Contains(e.Method, "background rows") {
		t.Errorf("%+v does not make %+v", e, answer.Outputs)
	}
}

func TestModelsOfTheEnginesAreRegisteredDeployedAndAsked(t *testing.T) {
	a := start(t, func(c *app.Config) { c.Auth, c.Outbound = "off", []string{"127.0.0.1"} })
	c, err := client.New(client.Config{Server: a.URL})
	if err != nil {
		t.Fatal(err)
	}
	read := func(path string) []byte {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var doc struct {
		Cases []struct {
			Name  string
			Calls []struct{ Inputs, Outputs []tensor.Tensor }
		}
	}
	if err := json.Unmarshal(read("../engine/onnx/testdata/models.json"), &doc); err != nil {
		t.Fatal(err)
	}
	for _, r := range doc.Cases {
		if r.Name == "columns" || r.Name == "forest_multi" {
			t.Run("onnx "+r.Name, func(t *testing.T) {
				served(t, c, r.Name, map[string][]byte{"model.onnx": read("../engine/onnx/testdata/models/" + r.Name + ".onnx")}, "onnx", r.Calls[0].Inputs, r.Calls[0].Outputs)
				if r.Name == "forest_multi" {
					compared(t, c, r.Name+".dev", r.Calls[0].Inputs)
				}
			})
		}
	}
	t.Run("linear", func(t *testing.T) {
		doc := `{"format":"keelson-linear-1","link":"log","intercept":0.5,"coefficients":{"age":0.1,"city":{"Bonn":-0.2}}}`
		served(t, c, "claims", map[string][]byte{"model.linear.json": []byte(doc)}, "linear",
			[]tensor.Tensor{tensor.FP64s("age", []int{2}, []float64{1, 2}), tensor.Strings("city", []int{2}, []string{"Ulm", "Bonn"})},
			[]tensor.Tensor{tensor.FP64s("predict", []int{2, 1}, []float64{1.8221188003905089, 1.6487212707001282})})
		explained(t, c, "claims.dev", []tensor.Tensor{tensor.FP64s("age", []int{1}, []float64{2}), tensor.Strings("city", []int{1}, []string{"Bonn"})}, "exact", 0.5, 0.5)
	})
	t.Run("remote", func(t *testing.T) {
		peer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var in struct{ Instances [][]float64 }
			if err := json.NewDecoder(r.Body).Decode(&in); err != nil || len(in.Instances) == 0 {
				http.Error(w, "no instances", http.StatusBadRequest)
				return
			}
			var out struct {
				Predictions []float64 `json:"predictions"`
			}
			for _, row := range in.Instances {
				out.Predictions = append(out.Predictions, row[0]-row[1])
			}
			_ = json.NewEncoder(w).Encode(out)
		}))
		defer peer.Close()
		doc := `{"format":"keelson-remote-1","protocol":"http","url":"` + peer.URL + `/predict","request":{"instances":"$matrix"},"answer":{"y":"/predictions"},
			"signature":{"inputs":[{"name":"x","datatype":"FP64","shape":[-1,2]}],"outputs":[{"name":"y","datatype":"FP64","shape":[-1]}]},
			"probes":[{"inputs":[{"name":"x","datatype":"FP64","shape":[1,2],"data":[5,3]}],"outputs":[{"name":"y","datatype":"FP64","shape":[1],"data":[2]}]}]}`
		served(t, c, "elsewhere", map[string][]byte{"model.remote.json": []byte(doc)}, "remote",
			[]tensor.Tensor{tensor.FP64s("x", []int{2, 2}, []float64{1, 2, 7, 3})}, []tensor.Tensor{tensor.FP64s("y", []int{2}, []float64{-1, 4})})
	})
}
