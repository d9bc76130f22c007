package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"keelson/client"
	"keelson/internal/app"
	"keelson/internal/tensor"
)

// pricing is 1·age + 100·income + plus, on columns in the order given.
func pricing(plus float64, columns ...string) []byte {
	weights := map[string]int{"age": 1, "income": 100}
	var features, coefficients []string
	for _, c := range columns {
		features, coefficients = append(features, fmt.Sprintf(`{"name":%q}`, c)), append(coefficients, fmt.Sprint(weights[c]))
	}
	return fmt.Appendf(nil, `{"format":"keelson-linear-1","intercept":%v,"features":[%s],"coefficients":[%s]}`, plus, strings.Join(features, ","), strings.Join(coefficients, ","))
}

// Two versions have the same input, a matrix, whose columns stand in another order: what a caller sends without names must
// never be read by the wrong ones, neither by a canary nor by a shadow nor after a version took over unseen.
func TestAVersionWithOtherColumnsComesInOnlyWhenThatIsAccepted(t *testing.T) {
	a := start(t, func(c *app.Config) { c.Auth = "off" })
	c, err := client.New(client.Config{Server: a.URL})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	matrix := []tensor.Tensor{tensor.FP64s("input", []int{1, 2}, []float64{30, 5})} // age, income
	served(t, c, "pricing", map[string][]byte{"model.linear.json": pricing(0, "age", "income")}, "linear", matrix, []tensor.Tensor{tensor.FP64s("predict", []int{1, 1}, []float64{530})})
	register := func(file []byte) int {
		t.Helper()
		v, err := c.Register(ctx, "pricing", client.NewVersion{}, []client.Artifact{{Path: "model.linear.json", Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(file)), nil }}})
		if err == nil {
			v, err = c.WaitVersion(ctx, "pricing", v.Version)
		}
		if err != nil || v.State != "ready" {
			t.Fatalf("%s %s (%v)", v.State, v.Reason, err)
		}
		return v.Version
	}
	other, same := register(pricing(0.25, "income", "age")), register(pricing(0.5, "age", "income"))
	propose := func(version int, plan client.Rollout) (client.Approval, error) {
		return c.Propose(ctx, client.NewApproval{Kind: "deploy", Model: "pricing", Version: version, Environment: "dev", Reason: "retrained", Plan: &plan, WhenApproved: true})
	}
	half := client.Rollout{Mode: "canary", Steps: []client.Increment{{Share: 50}}}
	for name, plan := range map[string]client.Rollout{"all": {Mode: "all"}, "canary": half, "shadow": {Mode: "shadow"}} {
		_, err := propose(other, plan)
		if err == nil {
			t.Fatalf("%s: the plan was taken", name)
		}
		for _, part := range []string{"pricing/2", "pricing/1", `column 1 is "income" instead of "age"`, "--accept-columns"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %q does not hold %q", name, err, part)
			}
		}
	}

	// slots waits until the endpoint stands as wanted and gives what it says.
	slots := func(want string) {
		t.Helper()
		_, err := client.Wait(ctx, func(ctx context.Context) (string, bool, error) {
			var d client.Deployment
			err := c.Get(ctx, "/api/v1/deployments/pricing.dev", &d)
			return "", fmt.Sprint(d.Slots) == want, err
		})
		if err != nil {
			t.Fatalf("it does not come to %s: %v", want, err)
		}
	}
	scored := func(path, body string, want ...float64) {
		t.Helper()
		code, text := request(t, http.MethodPost, a.URL+"/v2/models/pricing.dev"+path, "", strings.NewReader(body))
		var answer struct {
			Predictions []any
			Outputs     []struct{ Data []float64 }
		}
		if err := json.Unmarshal([]byte(text), &answer); err != nil || code != http.StatusOK {
			t.Fatalf("%s %s: %d %s", path, body, code, text)
		}
		var got float64
		if len(answer.Outputs) > 0 {
			got = answer.Outputs[0].Data[0]
		} else {
			for p := answer.Predictions[0]; ; {
				if list, ok := p.([]any); ok {
					p = list[0]
					continue
				}
				got = p.(float64)
				break
			}
		}
		for _, w := range want {
			if got == w {
				return
			}
		}
		t.Fatalf("%s %s: %v, want one of %v", path, body, got, want)
	}

	half.AcceptColumns = true
	r, err := propose(other, half)
	if err != nil {
		t.Fatal(err)
	}
	slots(fmt.Sprintf("[{1 live 50} {%d canary 50}]", other))
	var changes struct {
		Sections []struct {
			Rows []struct{ Label, Before, After string }
		}
	}
	if err := c.Get(ctx, "/api/v1/approvals/"+r.ID+"/changes", &changes); err != nil {
		t.Fatal(err)
	}
	if all := fmt.Sprint(changes); !strings.Contains(all, "{columns of input input age, income income, age}") || !strings.Contains(all, "other columns") {
		t.Errorf("an approver does not read of the columns: %s", all)
	}
	for range 40 { // a canary of a half takes none of them: they are in the order of the live version
		scored("/infer", `{"inputs":[{"name":"input","shape":[1,2],"datatype":"FP64","data":[30,5]}]}`, 530)
		scored("/invocations", `{"instances":[[30,5]]}`, 530)
		scored("/invocations", `{"inputs":{"input":[[30,5]]}}`, 530)
		scored("/invocations", `{"instances":[{"input":[30,5]}]}`, 530)
	}
	canary := false
	for i := 0; i < 200 && !canary; i++ { // with names both are right
		code, text := request(t, http.MethodPost, a.URL+"/v2/models/pricing.dev/invocations", "", strings.NewReader(`{"dataframe_split":{"columns":["age","income"],"data":[[30,5]]}}`))
		if code != http.StatusOK || !strings.Contains(text, "530") {
			t.Fatalf("%d %s", code, text)
		}
		canary = strings.Contains(text, "530.25")
	}
	if !canary {
		t.Error("no call that names its columns came to the canary")
	}
	scored("/infer", `{"inputs":[{"name":"income","shape":[1],"datatype":"FP64","data":[5]},{"name":"age","shape":[1],"datatype":"FP64","data":[30]}]}`, 530, 530.25)
	scored(fmt.Sprintf("/versions/%d/infer", other), `{"inputs":[{"name":"input","shape":[1,2],"datatype":"FP64","data":[5,30]}]}`, 530.25) // who names the version knows its columns

	if err := c.Post(ctx, "/api/v1/deployments/pricing.dev/rollback", map[string]string{"reason": "seen"}, nil); err != nil {
		t.Fatal(err)
	}
	slots("[{1 live 100}]")

	// Equal columns need nothing.
	if _, err := propose(same, client.Rollout{Mode: "all"}); err != nil {
		t.Fatal(err)
	}
	slots(fmt.Sprintf("[{%d live 100}]", same))
	scored("/infer", `{"inputs":[{"name":"input","shape":[1,2],"datatype":"FP64","data":[30,5]}]}`, 530.5)
}
