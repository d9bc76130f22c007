package app_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"keelson/client"
	"keelson/internal/app"
	"keelson/internal/journal"
	"keelson/internal/rest"
	"keelson/internal/tensor"
)

// TestWhatAnEndpointLivedThroughIsOnRecord deploys a model in a whole server, calls it well and badly, and waits until the
// recorder has written what became of the calls.
func TestWhatAnEndpointLivedThroughIsOnRecord(t *testing.T) {
	a := start(t, func(c *app.Config) { c.Auth = "off" })
	c, err := client.New(client.Config{Server: a.URL})
	if err != nil {
		t.Fatal(err)
	}
	doc := `{"format":"keelson-linear-1","link":"identity","intercept":1,"coefficients":{"age":2}}`
	served(t, c, "ages", map[string][]byte{"model.linear.json": []byte(doc)}, "linear", []tensor.Tensor{tensor.FP64s("age", []int{2}, []float64{1, 2})}, []tensor.Tensor{tensor.FP64s("predict", []int{2, 1}, []float64{3, 5})})
	for _, body := range []string{"{", `{"inputs":[{"name":"age","shape":[1],"datatype":"FP64","data":["old"]}]}`, `{"inputs":[]}`} {
		if status, text := request(t, http.MethodPost, a.URL+"/v2/models/ages.dev/infer", "", strings.NewReader(body)); status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", body, status, text)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	got, err := client.Wait(ctx, func(ctx context.Context) (got journal.Traffic, done bool, err error) {
		err = c.Get(ctx, "/api/v1/deployments/ages.dev/traffic", &got)
		return got, got.Total.Calls == 1 && got.Total.Errors == 3, err
	})
	if err != nil {
		t.Fatalf("after a minute %+v is on record: %v", got.Total, err)
	}
	if got.Total.Rows != 2 || got.Total.P95 == nil || *got.Total.P95 <= 0 || len(got.Series) != 1 || got.Series[0].Version != 1 || got.Missed["invalid"] == nil || len(got.Missed) != 1 {
		t.Errorf("traffic %+v", got)
	}
	if len(got.Nodes) != 1 || got.Nodes[0].Release != 1 || got.Nodes[0].Slots[0].Engine != "linear" {
		t.Errorf("nodes %+v", got.Nodes)
	}
	var all rest.Page[journal.Summary]
	if err := c.Get(ctx, "/api/v1/traffic", &all); err != nil || len(all.Items) != 1 || all.Items[0].Hour.Calls != 1 || all.Items[0].Hour.Errors != 3 || all.Items[0].Nodes != 1 {
		t.Errorf("the last hour of all: %+v (%v)", all, err)
	}
	var lines rest.Page[journal.Line]
	if err := c.Get(ctx, "/api/v1/deployments/ages.dev/log?text=version+loaded", &lines); err != nil || len(lines.Items) != 1 || !strings.Contains(string(lines.Items[0].Fields), `"engine":"linear"`) {
		t.Errorf("lines %+v (%v)", lines, err)
	}
	var form struct {
		Fields []struct{ Name, Datatype string }
	}
	if err := c.Get(ctx, "/api/v1/deployments/ages.dev/form", &form); err != nil || len(form.Fields) != 1 || form.Fields[0].Name != "age" {
		t.Errorf("form %+v (%v)", form, err)
	}
	if err := c.Get(ctx, "/api/v1/deployments/ages.dev/form?version=7", &form); !client.IsKind(err, "not-found") {
		t.Errorf("the form of a version that does not answer: %v", err)
	}
}
