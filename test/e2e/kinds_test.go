package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"keelson/client"
)

// kind is a model of one kind, as somebody puts it into use.
type kind struct {
	kind, model string
	file, as    string // of a model that is not logged by examples/kinds/log.py
	cases       string // CSV, with the truth in its last column
	measure     string // a test of the suite
	row         map[string]any
	answer      string // in the answer's text
	reason      string // in the explanation's text
}

// TestEveryKindOfModelIsGovernedAlike takes a trained, a statistical, a rule model, an optimisation, a knowledge graph and
// one that is served elsewhere through the whole of it: a version that is tested and evaluated, a change that its author
// cannot approve, calls that are logged, watched and explained.
func TestEveryKindOfModelIsGovernedAlike(t *testing.T) {
	py := os.Getenv("KEELSON_MLFLOW_PYTHON")
	if py == "" {
		t.Skip("KEELSON_MLFLOW_PYTHON is not set: it names a Python with mlflow, in which models run; make test sets it")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
	defer cancel()
	partner := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in struct{ Instances []struct{ Amount float64 } }
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		scores := []float64{}
		for _, row := range in.Instances {
			scores = append(scores, row.Amount/1000)
		}
		json.NewEncoder(w).Encode(map[string]any{"scores": scores})
	}))
	t.Cleanup(partner.Close)
	elsewhere := fmt.Sprintf(`{"format": "keelson-remote-1", "protocol": "http", "url": %q, "request": {"instances": "$rows"}, "answer": {"risk": "/scores/*"},
		"signature": {"inputs": [{"name": "x", "datatype": "FP64", "shape": [-1, 1], "columns": ["amount"]}], "outputs": [{"name": "risk", "datatype": "FP64", "shape": [-1]}]},
		"probes": [{"inputs": [{"name": "x", "datatype": "FP64", "shape": [1, 1], "data": [250]}], "outputs": [{"name": "risk", "datatype": "FP64", "shape": [1], "data": [0.25]}], "tolerance": 1e-9}]}`, partner.URL)
	linear := `{"format": "keelson-linear-1", "features": ["surface", {"name": "rooms", "mean": 2}], "coefficients": [2, 10], "intercept": 25}`
	rules := `name: discount
hit: first
inputs:
  - {name: years, type: int}
outputs:
  - {name: percent, type: double, default: 0}
rules:
  - {id: loyal, when: years >= 10, then: {percent: 15}, message: Ten years or more.}
  - {id: known, when: years >= 3, then: {percent: 5}, message: Three years or more.}
`
	kinds := []kind{
		{kind: "ml", model: "rent", file: linear, as: "model.linear.json", cases: "surface,rooms,rent\n50,2,125\n80,3,195\n30,1,75\n", measure: `{"name":"right","kind":"metric","metric":"rmse","max":0.001}`,
			row: map[string]any{"surface": 60.0, "rooms": 3.0}, answer: "155", reason: "surface"},
		{kind: "statistical", model: "claims", cases: "age,km,claims\n40,10,0\n25,38,2\n70,5,0\n33,22,1\n", measure: `{"name":"close","kind":"metric","metric":"rmse","max":1.5}`,
			row: map[string]any{"age": 25.0, "km": 38.0}, answer: "0.697", reason: "km"},
		{kind: "rules", model: "discount", file: rules, as: "discount.cel.yaml", cases: "years,percent\n1,0\n4,5\n12,15\n", measure: `{"name":"agreed","kind":"metric","metric":"rmse","max":0}`,
			row: map[string]any{"years": 12}, answer: "15", reason: "loyal"},
		{kind: "optimisation", model: "production-plan", cases: "demand,cost_a,cost_b,capacity_a,capacity_b,cost\n100,2,3,80,90,220\n150,2,1.5,80,90,255\n60,2,3,80,90,120\n", measure: `{"name":"cheapest","kind":"metric","metric":"rmse","max":0.000001}`,
			row: map[string]any{"demand": 120.0, "cost_a": 2.0, "cost_b": 3.0, "capacity_a": 80.0, "capacity_b": 90.0}, answer: "demand, capacity of a", reason: "demand"},
		{kind: "graph", model: "interactions", cases: "drug,condition,related\naspirin,bleeding,true\nibuprofen,anaemia,true\nparacetamol,bleeding,false\n", measure: `{"name":"known","kind":"metric","metric":"accuracy","min":1}`,
			row: map[string]any{"drug": "ibuprofen", "condition": "anaemia"}, answer: "ibuprofen irritates stomach irritated leads to ulcer leads to bleeding leads to anaemia", reason: "drug"},
		{kind: "external", model: "partner-risk", file: elsewhere, as: "model.remote.json", cases: "amount,risk\n100,0.1\n500,0.5\n900,0.9\n", measure: `{"name":"as promised","kind":"metric","metric":"rmse","max":0.000001}`,
			row: map[string]any{"amount": 400.0}, answer: "0.4", reason: "amount"},
	}

	s := Start(t, "--python", py, "--outbound-allow", "127.0.0.1/32")
	token := s.TokenOf(ctx, "ana", "data-scientist")
	author := s.Client(token)
	voters := []*client.Client{s.Person(ctx, "bo", "business-owner"), s.Person(ctx, "rita", "risk-compliance")}
	log := exec.CommandContext(ctx, py, "../../examples/kinds/log.py")
	log.Env = append(os.Environ(), "MLFLOW_TRACKING_URI="+s.URL, "MLFLOW_TRACKING_TOKEN="+token)
	if out, err := log.CombinedOutput(); err != nil {
		t.Fatalf("log the models: %v\n%s", err, out)
	}
	for _, k := range kinds {
		t.Run(k.kind, func(t *testing.T) {
			k.release(ctx, t, author, voters)
			k.ask(ctx, t, author)
		})
	}
	if v, err := s.Client("").VerifyAudit(ctx); err != nil || !v.OK {
		t.Errorf("the audit log: %+v, %v", v, err)
	}
}

// release registers, evaluates, approves and deploys.
func (k *kind) release(ctx context.Context, t *testing.T, author *client.Client, voters []*client.Client) {
	t.Helper()
	if k.file != "" {
		if _, err := author.Register(ctx, k.model, client.NewVersion{Kind: k.kind}, []client.Artifact{{Path: k.as, Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(k.file)), nil }}}); err != nil {
			t.Fatal(err)
		}
	} else if _, err := author.ChangeModel(ctx, k.model, map[string]any{"kind": k.kind}); err != nil {
		t.Fatal(err)
	}
	v, err := author.WaitVersion(ctx, k.model, 1)
	if err != nil || v.State != "ready" {
		t.Fatalf("the version is %s: %s (%v)", v.State, v.Reason, err)
	}
	if m, err := author.Model(ctx, k.model); err != nil || m.Kind != k.kind {
		t.Errorf("the inventory says %q, %v", m.Kind, err)
	}
	head, _, _ := strings.Cut(k.cases, "\n")
	target := head[strings.LastIndexByte(head, ',')+1:]
	if _, err := author.PutDataset(ctx, client.Dataset{Name: k.model + "-cases", Target: target}); err != nil {
		t.Fatal(err)
	}
	if _, err := author.AddData(ctx, k.model+"-cases", "csv", "", strings.NewReader(k.cases)); err != nil {
		t.Fatal(err)
	}
	suite := json.RawMessage(`{"name":"agreed","tests":[` + k.measure + `,{"name":"takes what it says","kind":"signature"}]}`)
	if _, err := author.Evaluate(ctx, k.model, 1, suite, k.model+"-cases", 1); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Wait(ctx, func(ctx context.Context) (bool, bool, error) {
		all, err := author.Evaluations(ctx, k.model, 1)
		if err == nil && len(all) > 0 && all[0].State == "failed" {
			return false, true, fmt.Errorf("the evaluation failed: %+v", all[0].Tests)
		}
		return true, err == nil && len(all) > 0 && all[0].State == "passed", err
	}); err != nil {
		t.Fatal(err)
	}
	a, err := author.Propose(ctx, client.NewApproval{Kind: "deploy", Model: k.model, Version: 1, Environment: "prod", Reason: "it passed", WhenApproved: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := author.Vote(ctx, a.ID, true, "my own"); !client.IsKind(err, "forbidden") {
		t.Errorf("its author's vote: %v", err)
	}
	for _, voter := range voters {
		if a, err = voter.Vote(ctx, a.ID, true, "looked at it"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := client.Wait(ctx, func(ctx context.Context) (bool, bool, error) {
		var loading *client.Error
		err := author.Get(ctx, "/v2/models/"+k.model+"/ready", nil)
		if errors.As(err, &loading) && loading.Status == http.StatusServiceUnavailable { // Python models take seconds
			return false, false, nil
		}
		return true, err == nil, ignoreMissing(err)
	}); err != nil {
		t.Fatal(err)
	}
}

// ask calls, and finds the calls in the log, the window they fill and their reasons.
func (k *kind) ask(ctx context.Context, t *testing.T, c *client.Client) {
	t.Helper()
	columns := strings.Split(strings.SplitN(k.cases, "\n", 2)[0], ",")
	columns = columns[:len(columns)-1]
	var rows [][]any
	for _, line := range strings.Split(strings.TrimSpace(k.cases), "\n")[1:] {
		row := []any{}
		for i, text := range strings.Split(line, ",")[:len(columns)] {
			var v any = text
			if _, word := k.row[columns[i]].(string); !word {
				v = json.Number(text)
			}
			row = append(row, v)
		}
		rows = append(rows, row)
	}
	for range 5 { // what KernelSHAP compares with
		if err := c.Post(ctx, "/v2/models/"+k.model+"/invocations", map[string]any{"dataframe_split": map[string]any{"columns": columns, "data": rows}}, nil); err != nil {
			t.Fatal(err)
		}
	}
	var many [][]any
	for len(many) < 420 {
		many = append(many, rows...)
	}
	for range 2 { // a window that later ones are compared with, and one that is compared
		if err := c.Post(ctx, "/v2/models/"+k.model+"/invocations", map[string]any{"dataframe_split": map[string]any{"columns": columns, "data": many}}, nil); err != nil {
			t.Fatal(err)
		}
	}
	var answer json.RawMessage
	if err := c.Post(ctx, "/v2/models/"+k.model+"/invocations", map[string]any{"dataframe_records": []any{k.row}}, &answer); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(answer), k.answer) {
		t.Errorf("the answer %s does not hold %q", answer, k.answer)
	}
	found, err := client.Wait(ctx, func(ctx context.Context) (client.Prediction, bool, error) {
		all, err := client.All[client.Prediction](ctx, c, "/api/v1/predictions", map[string][]string{"endpoint": {k.model}}, 0)
		if err != nil || len(all) != 8 {
			return client.Prediction{}, false, err
		}
		for _, p := range all {
			if p.Rows == 1 {
				return p, true, nil
			}
		}
		return client.Prediction{}, false, nil
	})
	if err != nil || found.Caller != "ana" {
		t.Fatalf("the log has %+v, %v", found, err)
	}
	var why json.RawMessage
	if err := c.Get(ctx, "/api/v1/predictions/"+found.ID+"/explanation", &why); err != nil || !strings.Contains(string(why), k.reason) || !strings.Contains(string(why), `"identical":true`) {
		t.Errorf("the reasons %.800s do not hold %q (%v)", why, k.reason, err)
	}
	if _, err := client.Wait(ctx, func(ctx context.Context) (bool, bool, error) {
		windows, err := client.All[struct {
			Rows     int
			Features []struct{ Shift string }
		}](ctx, c, "/api/v1/monitors/"+k.model+"/windows", nil, 0)
		compared := func(f struct{ Shift string }) bool { return f.Shift == "none" }
		return true, len(windows) == 2 && windows[0].Rows >= 400 && slices.ContainsFunc(windows[0].Features, compared), ignoreMissing(err)
	}); err != nil {
		t.Errorf("no window was compared: %v", err)
	}
}
