package oip

import (
	"encoding/json"
	"testing"
)

func TestEveryEndpointDescribesItselfWithAnExampleThatItAnswers(t *testing.T) {
	h := start(t)
	for _, endpoint := range []string{"scores", "classes", "rules", "scores/versions/3"} {
		got := h.call("GET", "/v2/models/"+endpoint+"/openapi.json", nil)
		if got.status != 200 {
			t.Fatalf("%s: %d %s", endpoint, got.status, got.body)
		}
		var doc struct {
			OpenAPI string
			Paths   map[string]map[string]struct {
				RequestBody struct {
					Content map[string]struct {
						Examples map[string]struct{ Value json.RawMessage }
					}
				}
			}
			Components struct {
				Schemas map[string]struct{ Properties map[string]any }
			}
		}
		h.decode(got.body, &doc)
		if doc.OpenAPI != "3.1.0" || len(doc.Paths) != 6 || len(doc.Components.Schemas) != 5 {
			t.Fatalf("%s: %s", endpoint, got.body)
		}
		for path, call := range doc.Paths {
			if _, ok := call["get"]; ok {
				if answer := h.call("GET", path, nil); answer.status != 200 {
					t.Errorf("%s: %d %s", path, answer.status, answer.body)
				}
			}
			for _, e := range call["post"].RequestBody.Content["application/json"].Examples {
				if answer := h.call("POST", path, e.Value, "Content-Type: application/json"); answer.status != 200 {
					t.Errorf("%s does not answer its own example %s: %d %s", path, e.Value, answer.status, answer.body)
				}
			}
		}
	}
	var doc struct {
		Components struct {
			Schemas struct {
				Rows struct {
					Properties struct {
						Records struct {
							Items struct {
								Properties map[string]any
								Required   []string
							}
						} `json:"dataframe_records"`
					}
				}
			}
		}
	}
	h.decode(h.call("GET", "/v2/models/scores/openapi.json", nil).body, &doc)
	if row := doc.Components.Schemas.Rows.Properties.Records.Items; row.Properties["größe"] == nil || len(row.Required) != 6 {
		t.Errorf("columns are not named: %v", row)
	}
}

func TestACallerMayGiveACallItsTime(t *testing.T) {
	h := start(t)
	body := func(timeout string) []byte {
		return []byte(`{"parameters":{"timeout":` + timeout + `},"inputs":[{"name":"input","shape":[1,6],"datatype":"FP32","data":[1,2,3,4,5,6]}]}`)
	}
	for timeout, want := range map[string]int{"10000000": 200, "0": 400, "-1": 400, `"soon"`: 400, "1e30": 400} {
		if got := h.call("POST", "/v2/models/classes/infer", body(timeout)); got.status != want {
			t.Errorf("timeout %s: %d %s", timeout, got.status, got.body)
		}
		rows := []byte(`{"params":{"timeout":` + timeout + `},"instances":[[1,2,3,4,5,6]]}`)
		if got := h.call("POST", "/v2/models/classes/invocations", rows); got.status != want {
			t.Errorf("timeout %s of rows: %d %s", timeout, got.status, got.body)
		}
	}
}
