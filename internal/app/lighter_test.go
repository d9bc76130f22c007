package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"keelson/client"
	"keelson/internal/app"
	"keelson/internal/convert"
	"keelson/internal/engine"
	"keelson/internal/engine/onnx"
)

// A lighter form takes the place of a version while its callers stay as they are: whatever they name their columns by, they
// get the same answer, within the limit of the conversion.
func TestCallersWhoNameColumnsAreAnsweredByTheLighterFormToo(t *testing.T) {
	a := start(t, func(c *app.Config) { c.Auth = "off" })
	c, err := client.New(client.Config{Server: a.URL})
	if err != nil {
		t.Fatal(err)
	}
	read := func(path string) []byte {
		b, err := os.ReadFile("../engine/" + path)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	trees := bytes.Replace(read("xgboost/testdata/models/logistic.json"), []byte(`"feature_names":[]`), []byte(`"feature_names":["age","dose","größe","bmi","x","ward"]`), 1)
	layer := engine.Formula{Input: "X", Output: "Y", Features: 12, Groups: 6, Base: make([]float64, 6), Link: engine.LinkIdentity}
	for i := range 12 * 6 {
		layer.Weights = append(layer.Weights, math.Sin(float64(i)))
	}
	network, err := onnx.Write(layer)
	if err != nil {
		t.Fatal(err)
	}
	regression := read("onnx/testdata/models/linear_regression.onnx")
	for _, r := range []struct {
		name, file string
		data       []byte
		to         string
		limit      float64 // 0: the form's own
		ml         bool    // the names of the columns come with MLflow's description, since the file has none
	}{
		{name: "xgboost-onnx", file: "model.json", data: trees, to: convert.ONNX},
		{name: "xgboost-native", file: "model.json", data: trees, to: convert.Native},
		{name: "xgboost-described", file: "model.json", data: read("xgboost/testdata/models/logistic.json"), to: convert.Native, ml: true},
		{name: "lightgbm-onnx", file: "model.txt", data: read("lightgbm/testdata/models/goss.txt"), to: convert.ONNX},
		{name: "linear-onnx", file: "model.linear.json", data: read("linear/testdata/models/logistic.linear.json"), to: convert.ONNX},
		{name: "onnx-native", file: "model.onnx", data: regression, to: convert.Native, ml: true},
		{name: "onnx-float16", file: "model.onnx", data: network, to: convert.Float16, ml: true},
		{name: "onnx-int8", file: "model.onnx", data: network, to: convert.Int8, limit: 0.2, ml: true},
	} {
		t.Run(r.name, func(t *testing.T) {
			ctx := t.Context()
			files := map[string][]byte{r.file: r.data}
			if r.ml {
				files["MLmodel"] = mlmodelOf(t, r.file, r.data)
			}
			v := settled(t, c, r.name, 0, files)
			endpoint := r.name + ".dev"
			replaced(t, c, endpoint, v)

			own := v.Signature.Inputs[0]
			if len(own.Columns) < 2 {
				t.Fatalf("the columns of the original have no names: %+v", v.Signature)
			}
			var columns []string
			var row []float64
			for i := range own.Columns { // in another order than the model's
				columns, row = append(columns, own.Columns[len(own.Columns)-1-i]), append(row, float64(i)*0.75-1)
			}
			calls := map[string]string{
				"/invocations split":   toJSON(t, map[string]any{"dataframe_split": map[string]any{"columns": columns, "data": [][]float64{row, row}}}),
				"/invocations records": toJSON(t, map[string]any{"dataframe_records": []any{zip(columns, row)}}),
				"/invocations inputs":  toJSON(t, map[string]any{"inputs": zipped(columns, row)}),
			}
			if !r.ml { // the file of the original names them
				var each []any
				for i, name := range columns {
					each = append(each, map[string]any{"name": name, "shape": []int{1}, "datatype": "FP64", "data": []float64{row[i]}})
				}
				calls["/infer each"] = toJSON(t, map[string]any{"inputs": each})
			}
			if r.to != convert.Native || !strings.HasSuffix(r.file, ".onnx") { // native files call their input as they do
				calls["/infer matrix"] = toJSON(t, map[string]any{"inputs": []any{map[string]any{"name": own.Name, "shape": []int{1, len(row)}, "datatype": own.Datatype, "data": row}}})
			}
			ask := func(path string) []any {
				t.Helper()
				code, text := request(t, http.MethodPost, a.URL+"/v2/models/"+endpoint+strings.Fields(path)[0], "", strings.NewReader(calls[path]))
				var answer struct {
					Predictions any
					Outputs     []struct{ Data any }
				}
				if err := json.Unmarshal([]byte(text), &answer); err != nil || code != http.StatusOK {
					t.Fatalf("%s: %d %s", calls[path], code, text)
				}
				flat := leaves(nil, answer.Predictions)
				for _, o := range answer.Outputs {
					flat = leaves(flat, o.Data)
				}
				return flat
			}
			before := map[string][]any{}
			for path := range calls {
				before[path] = ask(path)
			}

			var job convert.Conversion
			if err := c.Post(ctx, fmt.Sprintf("/api/v1/models/%s/versions/%d/conversions", r.name, v.Version), convert.Wish{To: r.to, Limit: r.limit, Register: true}, &job); err != nil {
				t.Fatal(err)
			}
			job, err := client.Wait(ctx, func(ctx context.Context) (convert.Conversion, bool, error) {
				var now convert.Conversion
				err := c.Get(ctx, "/api/v1/conversions/"+job.ID, &now)
				return now, now.State != convert.Running, err
			})
			if err != nil || job.State != convert.Done || job.Result.Registered == 0 {
				t.Fatalf("the conversion ended as %+v (%v)", job, err)
			}
			lighter := settled(t, c, r.name, job.Result.Registered, nil)
			if !slices.Equal(lighter.Signature.Inputs[0].Columns, own.Columns) {
				t.Errorf("the lighter form has the columns %q, the original %q", lighter.Signature.Inputs[0].Columns, own.Columns)
			}
			replaced(t, c, endpoint, lighter)
			for path, want := range before {
				got := ask(path)
				if len(got) != len(want) || len(got) == 0 {
					t.Fatalf("%s: %v instead of %v", path, got, want)
				}
				for i := range want {
					x, number := want[i].(float64)
					y, _ := got[i].(float64)
					if !number && got[i] != want[i] || math.Abs(x-y) > job.Wish.Limit*max(1, math.Abs(x)) {
						t.Errorf("%s: %v instead of %v", path, got, want)
					}
				}
			}
		})
	}
}

// listed is what the test needs of a version.
type listed struct {
	Version       int
	State, Reason string
	Signature     engine.Signature
}

// settled registers files as a version, unless number is one that there is, and waits for its self-test.
func settled(t *testing.T, c *client.Client, model string, number int, files map[string][]byte) (v listed) {
	t.Helper()
	ctx := t.Context()
	if number == 0 {
		var list []client.Artifact
		for path, data := range files {
			list = append(list, client.Artifact{Path: path, Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }})
		}
		made, err := c.Register(ctx, model, client.NewVersion{}, list)
		if err != nil {
			t.Fatal(err)
		}
		number = made.Version
	}
	if _, err := c.WaitVersion(ctx, model, number); err != nil {
		t.Fatal(err)
	}
	if err := c.Get(ctx, fmt.Sprintf("/api/v1/models/%s/versions/%d", model, number), &v); err != nil || v.State != "ready" {
		t.Fatalf("%s/%d is %s: %s (%v)", model, number, v.State, v.Reason, err)
	}
	return v
}

// replaced releases a version to all callers and waits until it answers them.
func replaced(t *testing.T, c *client.Client, endpoint string, v listed) {
	t.Helper()
	model, environment, _ := strings.Cut(endpoint, ".")
	if _, err := c.Propose(t.Context(), client.NewApproval{Kind: "deploy", Model: model, Version: v.Version, Environment: environment, Reason: "lighter", Plan: &client.Rollout{Mode: "all"}, WhenApproved: true}); err != nil {
		t.Fatal(err)
	}
	_, err := client.Wait(t.Context(), func(ctx context.Context) (string, bool, error) {
		var about struct{ Versions []string }
		err := c.Get(ctx, "/v2/models/"+endpoint, &about)
		return "", err == nil && slices.Equal(about.Versions, []string{fmt.Sprint(v.Version)}), nil
	})
	if err != nil {
		t.Fatalf("%s does not come to version %d: %v", endpoint, v.Version, err)
	}
}

// mlmodelOf is an MLmodel file that names the columns of a model of one matrix: c0, c1, …
func mlmodelOf(t *testing.T, file string, data []byte) []byte {
	t.Helper()
	width, flavor := 6, "xgboost:\n    data: "+file
	if strings.HasSuffix(file, ".onnx") {
		m, err := onnx.Engine{}.Load(t.Context(), fstest.MapFS{file: {Data: data}}, file, engine.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		width, flavor = m.Signature().Inputs[0].Shape[1], "onnx:\n    data: "+file
	}
	var inputs []map[string]string
	for i := range width {
		inputs = append(inputs, map[string]string{"name": fmt.Sprint("c", i), "type": "float"})
	}
	return []byte("flavors:\n  " + flavor + "\nsignature:\n  inputs: '" + toJSON(t, inputs) + "'\n")
}

func toJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func zip(names []string, row []float64) map[string]float64 {
	out := map[string]float64{}
	for i, n := range names {
		out[n] = row[i]
	}
	return out
}

func zipped(names []string, row []float64) map[string][]float64 {
	out := map[string][]float64{}
	for i, n := range names {
		out[n] = []float64{row[i]}
	}
	return out
}

// leaves appends the values within lists and objects, objects in the order of their keys.
func leaves(to []any, v any) []any {
	switch v := v.(type) {
	case nil:
	case []any:
		for _, x := range v {
			to = leaves(to, x)
		}
	case map[string]any:
		var keys []string
		for k := range v {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for _, k := range keys {
			to = leaves(to, v[k])
		}
	default:
		to = append(to, v)
	}
	return to
}
