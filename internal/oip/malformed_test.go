package oip

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"keelson/internal/prediction"
)

// input wraps the members of one tensor into a request.
func input(members string) string { return `{"inputs":[{` + members + `}]}` }

// malformed is what callers get wrong: every one is told what, in the protocol's shape, and nothing is logged.
var malformed = []struct {
	name   string
	body   string
	header string
	status int
	want   string // part of the message
}{
	{"an empty body", ``, "", 400, "expected '{'"},
	{"no object", `[1]`, "", 400, "expected '{'"},
	{"half an object", `{"inputs":[{"name":"input","sha`, "", 400, "malformed at byte"},
	{"a second document", oneRow + `{}`, "", 400, "something follows"},
	{"no inputs", `{"id":"1"}`, "", 400, "no inputs"},
	{"an empty list of inputs", `{"inputs":[]}`, "", 400, "no inputs"},
	{"inputs that are no list", `{"inputs":{}}`, "", 400, "at inputs"},
	{"inputs twice", `{"inputs":[],"inputs":[]}`, "", 400, `"inputs" twice`},
	{"parameters twice", `{"parameters":{},"parameters":{},"inputs":[]}`, "", 400, `"parameters" twice`},
	{"an id that is a number", `{"id":7,"inputs":[]}`, "", 400, "id is not a string"},
	{"a subject that is a number", `{"parameters":{"subject":7},"inputs":[]}`, "", 400, "parameters.subject is not a string"},
	{"a subject with a zero byte", `{"parameters":{"subject":"a\u0000b"},"inputs":[]}`, "", 400, "parameters.subject holds a zero byte"},
	{"a binary_data_output that is a word", `{"parameters":{"binary_data_output":"yes"},"inputs":[]}`, "", 400, "binary_data_output is neither true nor false"},
	{"a tensor without name", input(`"shape":[1],"datatype":"FP32","data":[1]`), "", 400, "inputs[0]"},
	{"a bare NaN where whole numbers stand", input(`"name":"input","shape":[1,2],"datatype":"INT64","data":[1,NaN]`), "", 400, `"input"`},
	{"a tensor without datatype", input(`"name":"input","shape":[1],"data":[1]`), "", 400, `"input" has no datatype`},
	{"a tensor without shape", input(`"name":"input","datatype":"FP32","data":[1]`), "", 400, `"input" has no shape`},
	{"a tensor without data", input(`"name":"input","datatype":"FP32","shape":[1,6]`), "", 400, `"input" has no data`},
	{"an unknown datatype", input(`"name":"input","shape":[1],"datatype":"FLOAT","data":[1]`), "", 400, `"FLOAT"`},
	{"a datatype that is a number", input(`"name":"input","shape":[1],"datatype":5,"data":[1]`), "", 400, `inputs[0] "input"`},
	{"a shape of words", input(`"name":"input","shape":["1"],"datatype":"FP32","data":[1]`), "", 400, `inputs[0] "input"`},
	{"a negative dimension", input(`"name":"input","shape":[-1,6],"datatype":"FP32","data":[1]`), "", 400, "dimension -1"},
	{"too many dimensions", input(`"name":"input","shape":[1,1,1,1,1,1,1,1,1],"datatype":"FP32","data":[1]`), "", 400, "more than 8 dimensions"},
	{"a shape beyond all limits", input(`"name":"input","shape":[2147483647,2147483647],"datatype":"FP32","data":[1]`), "", 413, "limit of one request"},
	{"more values than the shape", input(`"name":"input","shape":[1,6],"datatype":"FP32","data":[1,2,3,4,5,6,7]`), "", 400, `"input" has shape [1, 6]`},
	{"fewer values than the shape", input(`"name":"input","shape":[1,6],"datatype":"FP32","data":[1,2]`), "", 400, `"input" has shape [1, 6]`},
	{"a shape that comes again behind the data", input(`"name":"input","shape":[1,6],"datatype":"FP32","data":[1,2,3,4,5,6],"shape":[2,6]`), "", 400, `"input" has shape [2, 6]`},
	{"a datatype that comes again behind the data", input(`"name":"input","shape":[1,6],"datatype":"INT64","data":[1,2,3,4,5,600],"datatype":"INT8"`), "", 400, "INT8 cannot hold"},
	{"data twice", input(`"name":"input","shape":[1,6],"datatype":"FP32","data":[1,2,3,4,5,6],"data":[1,2,3,4,5,6]`), "", 400, "data twice"},
	{"ragged nesting", input(`"name":"input","shape":[2,2],"datatype":"FP32","data":[[1,2],[3]]`), "", 400, "nesting"},
	{"nesting beyond the shape", input(`"name":"input","shape":[1,6],"datatype":"FP32","data":[[[1,2,3,4,5,6]]]`), "", 400, "nested deeper"},
	{"nesting without end", input(`"name":"input","shape":[1,6],"datatype":"FP32","data":` + strings.Repeat("[", 50000)), "", 400, "nested deeper"},
	{"a parameter nested without end", `{"parameters":{"x":` + strings.Repeat("[", 50000), "", 400, "nested too deeply"},
	{"a word among numbers", input(`"name":"input","shape":[1,6],"datatype":"FP32","data":[1,2,"three",4,5,6]`), "", 400, `Value 2 of tensor "input"`},
	{"a number that no FP32 holds", input(`"name":"input","shape":[1,6],"datatype":"FP32","data":[1,2,1e39,4,5,6]`), "", 400, `Value 2 of tensor "input"`},
	{"a fraction in whole numbers", input(`"name":"input","shape":[1,6],"datatype":"INT32","data":[1,2,3.5,4,5,6]`), "", 400, `Value 2 of tensor "input"`},
	{"an infinity, which the model does not take", input(`"name":"input","shape":[1,6],"datatype":"FP32","data":[1,2,"Infinity",4,5,6]`), "", 400, "infinity"},
	{"FP16 in JSON", input(`"name":"input","shape":[1,6],"datatype":"FP16","data":[1,2,3,4,5,6]`), "", 400, "binary data only"},
	{"two inputs of one name", `{"inputs":[{"name":"age","shape":[1],"datatype":"FP32","data":[1]},{"name":"age","shape":[1],"datatype":"FP32","data":[1]}]}`, "", 400, `Two inputs are named "age"`},
	{"the only tensor under another name", input(`"name":"stranger","shape":[1,6],"datatype":"FP32","data":[1,2,3,4,5,6]`), "", 400, `no input "stranger"; it takes one tensor "input", or a tensor per column`},
	{"a matrix under the name of a column", input(`"name":"age","shape":[1,6],"datatype":"FP32","data":[1,2,3,4,5,6]`), "", 400, `no input "age"`},
	{"a shape that the model does not take", input(`"name":"input","shape":[2,3],"datatype":"FP32","data":[1,2,3,4,5,6]`), "", 400, `[n, 6]`},
	{"a column that the model does not know", `{"inputs":[` + strings.Repeat(`{"name":"a","shape":[1],"datatype":"FP32","data":[1]},`, 1) + `{"name":"b","shape":[1],"datatype":"FP32","data":[1]}]}`, "", 400, "2 inputs"},
	{"text for numbers", input(`"name":"input","shape":[1,6],"datatype":"BYTES","data":["1","2","3","4","5","6"]`), "", 400, "BYTES"},
	{"an output that is not there", `{"outputs":[{"name":"margin"}],` + oneRow[1:], "", 400, `no output "margin"`},
	{"an output twice", `{"outputs":[{"name":"predict"},{"name":"predict"}],` + oneRow[1:], "", 400, "requested twice"},
	{"an output without name", `{"outputs":[{}],` + oneRow[1:], "", 400, "outputs[0]"},
	{"outputs that are no list", `{"outputs":{"name":"predict"},` + oneRow[1:], "", 400, "outputs"},
	{"a classification", `{"outputs":[{"name":"predict","parameters":{"classification":3}}],` + oneRow[1:], "", 400, "Classification"},
	{"shared memory", input(`"name":"input","shape":[1,6],"datatype":"FP32","parameters":{"shared_memory_region":"r"}`), "", 400, "Shared memory"},
	{"binary data without the header", input(`"name":"input","shape":[1,6],"datatype":"FP32","parameters":{"binary_data_size":24}`), "", 400, headerLength},
	{"a header that is no number", oneRow, headerLength + ": many", 400, headerLength},
	{"a negative header", oneRow, headerLength + ": -5", 400, headerLength},
	{"a header beyond the body", oneRow, headerLength + ": 100000", 400, "the body has"},
	{"a header within the JSON", oneRow, headerLength + ": 20", 400, "malformed at byte"},
	{"a binary_data_size beyond the body", input(`"name":"input","shape":[1,6],"datatype":"FP32","parameters":{"binary_data_size":2000000000}`), headerLength + ": all", 400, "only 0 are left"},
	{"a negative binary_data_size", input(`"name":"input","shape":[1,6],"datatype":"FP32","parameters":{"binary_data_size":-1}`), headerLength + ": all", 400, "binary_data_size"},
	{"a binary_data_size that is none", input(`"name":"input","shape":[1,6],"datatype":"FP32","parameters":{"binary_data_size":1e3}`), headerLength + ": all", 400, "binary_data_size"},
	{"binary data that does not fill the shape", input(`"name":"input","shape":[1,6],"datatype":"FP32","parameters":{"binary_data_size":0}`), headerLength + ": all", 400, `"input" of type FP32`},
	{"a large shape without bytes behind it", input(`"name":"input","shape":[16777216],"datatype":"FP64","parameters":{"binary_data_size":0}`), headerLength + ": all", 400, `"input" of type FP64`},
	{"data in JSON and binary", input(`"name":"input","shape":[1,6],"datatype":"FP32","data":[1,2,3,4,5,6],"parameters":{"binary_data_size":0}`), headerLength + ": all", 400, "data twice"},
	{"bytes behind the last tensor", oneRow + "tail", headerLength + ": 82", 400, "4 bytes"},
	{"an unknown coding", oneRow, "Content-Encoding: br", 415, "Content-Encoding"},
	{"two codings", oneRow, "Content-Encoding: gzip, gzip", 415, "Content-Encoding"},
	{"no gzip", oneRow, "Content-Encoding: gzip", 400, "gzip"},
	{"no deflate", oneRow, "Content-Encoding: deflate", 400, "deflate"},
	{"half a gzip", string(squeezed(oneRow)[:30]), "Content-Encoding: gzip", 400, "gzip"},
	{"a body beyond the limit", oneRow + strings.Repeat(" ", 1<<17), "", 413, "131072 bytes"},
	{"a body that inflates beyond the limit", string(squeezed(strings.Repeat(" ", 10<<20))), "Content-Encoding: gzip", 413, "131072 bytes"},
	{"more rows than the release allows", input(`"name":"input","shape":[1001,6],"datatype":"FP32","data":[` + strings.Repeat("1,", 6005) + `1]`), "", 413, "1001 rows"},
	{"text that is not UTF-8", `{"id":"` + "\xff" + `","inputs":[]}`, "", 400, "UTF-8"},
}

func squeezed(s string) []byte { return squeeze("gzip", []byte(s)) }

func TestEveryMistakeIsNamedAndNothingIsLogged(t *testing.T) {
	h := start(t)
	for _, c := range malformed {
		t.Run(c.name, func(t *testing.T) {
			header := []string{}
			if c.header != "" {
				header = append(header, strings.Replace(c.header, ": all", fmt.Sprintf(": %d", len(c.body)), 1))
			}
			got := h.call("POST", "/v2/models/scores/infer", []byte(c.body), header...)
			var doc map[string]string
			if err := json.Unmarshal(got.body, &doc); err != nil || len(doc) != 1 || doc["error"] == "" {
				t.Fatalf("%d %q: not in the protocol's shape", got.status, got.body)
			}
			if got.status != c.status || !strings.Contains(doc["error"], c.want) {
				t.Fatalf("%d %s\nwant %d and %q", got.status, doc["error"], c.status, c.want)
			}
			if got.header.Get("Keelson-Prediction-Id") != "" {
				t.Error("a prediction id came back")
			}
		})
	}
	records, err := h.log.List(t.Context(), prediction.Query{})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		if r.Error == "" {
			t.Errorf("logged as answered: %+v", r)
		}
	}
}

func TestUnknownAndSleepingModels(t *testing.T) {
	h := start(t)
	for _, c := range []struct {
		name, path string
		status     int
	}{
		{"an unknown model", "/v2/models/nobody/infer", 404},
		{"a version that does not answer", "/v2/models/scores/versions/9/infer", 404},
		{"a version that is a word", "/v2/models/scores/versions/latest/infer", 404},
		{"a path in the name", "/v2/models/..%2F..%2Fetc/infer", 404},
		{"a suspended model", "/v2/models/asleep/infer", 503},
		{"scoring by an unknown model", "/v2/models/nobody/invocations", 404},
		{"scoring by a suspended model", "/v2/models/asleep/invocations", 503},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := h.call("POST", c.path, []byte(oneRow))
			if got.status != c.status || !bytes.HasPrefix(got.body, []byte(`{"error":"`)) {
				t.Fatalf("%d %s, want %d", got.status, got.body, c.status)
			}
		})
	}
}
