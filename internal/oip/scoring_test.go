package oip

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"keelson/internal/engine"
	"keelson/internal/engine/remote"
	"keelson/internal/engine/xgboost"
	"keelson/internal/outbound"
	"keelson/internal/problem"
	"keelson/internal/release"
	"keelson/internal/rest"
	"keelson/internal/serving"
	"keelson/internal/tensor"
)

func TestMLflowsScoringCall(t *testing.T) {
	h := start(t)
	c := record(t, "logistic_named")
	rows, _ := json.Marshal(c.Rows)
	columns, _ := json.Marshal(c.Columns)
	var records []object
	byColumn := object{"unused": make([]any, len(c.Rows))}
	for i, name := range c.Columns {
		var v []any
		for r := range c.Rows {
			if i == 0 {
				records = append(records, object{"unused": "x"})
			}
			records[r][name] = c.Rows[r][i]
			v = append(v, c.Rows[r][i])
		}
		byColumn[name] = v
	}
	for _, f := range []struct{ name, body string }{
		{"split, in the model's order", fmt.Sprintf(`{"dataframe_split":{"columns":%s,"data":%s,"index":[0]}}`, columns, rows)},
		{"split, without columns", fmt.Sprintf(`{"dataframe_split":{"data":%s}}`, rows)},
		{"records, with a column the model does not know", `{"dataframe_records":` + string(mustJSON(t, records)) + `}`},
		{"instances as rows", `{"instances":` + string(rows) + `}`},
		{"instances as objects", `{"instances":` + string(mustJSON(t, records)) + `}`},
		{"inputs as rows", `{"inputs":` + string(rows) + `}`},
		{"inputs as columns", `{"inputs":` + string(mustJSON(t, byColumn)) + `}`},
		{"inputs as one matrix", `{"inputs":{"input":` + string(rows) + `}}`},
	} {
		t.Run(f.name, func(t *testing.T) {
			got := h.call("POST", "/v2/models/scores/invocations", []byte(f.body))
			var a struct{ Predictions []float64 }
			if got.status != 200 || json.Unmarshal(got.body, &a) != nil || len(a.Predictions) != len(c.Rows) {
				t.Fatalf("%d %s", got.status, got.body)
			}
			for i, v := range a.Predictions {
				if !close32(v, c.Predict[i][0]) {
					t.Errorf("row %d: %v, the library says %v", i, v, c.Predict[i][0])
				}
			}
			if got.header.Get("Keelson-Prediction-Id") == "" {
				t.Error("no prediction id")
			}
		})
	}
	for _, c := range []struct{ name, model, body, want string }{
		{"a model with several outputs answers with objects", "rules", `{"dataframe_records":[{"score":0.95,"age":30,"ward":"onco"},{"score":0.1,"age":80.0,"ward":"x"}]}`,
			`{"predictions":[{"decision":"refer","days":2,"risk":0.95},{"decision":"no referral","days":365,"risk":0}]}`},
		{"several values per row are lists", "classes", `{"instances":[[1,2,3,4,5,6]]}`, `{"predictions":[[`},
		{"truth values", "rules", `{"inputs":{"score":[0.6],"age":[50],"history":[true]}}`, `"days":14`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := h.call("POST", "/v2/models/"+c.model+"/invocations", []byte(c.body)); got.status != 200 || !strings.Contains(string(got.body), c.want) {
				t.Fatalf("%d %s, want %s", got.status, got.body, c.want)
			}
		})
	}
	table := "unused," + strings.Join(c.Columns, ",") + "\n"
	for _, row := range c.Rows {
		table += "x"
		for _, v := range row {
			if table += ","; v != nil {
				table += fmt.Sprint(*v)
			}
		}
		table += "\r\n"
	}
	for _, kind := range []string{"text/csv", "text/csv; charset=UTF-8"} {
		got := h.call("POST", "/v2/models/scores/invocations", []byte(table), "Content-Type: "+kind)
		var a struct{ Predictions []float64 }
		if got.status != 200 || json.Unmarshal(got.body, &a) != nil || len(a.Predictions) != len(c.Rows) {
			t.Fatalf("%s: %d %s", kind, got.status, got.body)
		}
		for i, v := range a.Predictions {
			if !close32(v, c.Predict[i][0]) {
				t.Errorf("row %d of the CSV: %v, the library says %v", i, v, c.Predict[i][0])
			}
		}
	}
	if got := h.call("POST", "/v2/models/rules/invocations", []byte("\ufeffscore,age,ward,history\n0.6, 50,\"onco,1\",TRUE\n0.1,3.0,,false\n"), "Content-Type: text/csv"); got.status != 200 || !strings.Contains(string(got.body), `"days":14`) || !strings.Contains(string(got.body), `"days":365`) {
		t.Errorf("rules of a CSV: %d %s", got.status, got.body)
	}
	for _, c := range []struct {
		name, kind, body, want string
		status                 int
	}{
		{"an empty CSV", "text/csv", "", "is empty", 400},
		{"a CSV without rows", "text/csv", "age,dose\n", "no rows", 400},
		{"a CSV with a line too long", "text/csv", "a,b\n1,2,3\n", "line 2", 400},
		{"a CSV with an open quote", "text/csv", "a,b\n\"1,2\n", "malformed", 400},
		{"a CSV with a column twice", "text/csv", "a,a\n1,2\n", "twice", 400},
		{"a CSV with a word for a number", "text/csv", strings.Join(c.Columns, ",") + "\n1,2,x,4,5,6\n", "Row 0", 400},
		{"a CSV that is no text", "text/csv", "a\nü\xff\n", "UTF-8 text at byte 4", 400},
		{"a CSV in another character set", "text/csv; charset=latin1", "a\n1\n", "Content-Type", 415},
		{"XML", "application/xml", "<a/>", "Content-Type", 415},
	} {
		if got := h.call("POST", "/v2/models/scores/invocations", []byte(c.body), "Content-Type: "+c.kind); got.status != c.status || !strings.Contains(string(got.body), c.want) {
			t.Errorf("%s: %d %s, want %d and %q", c.name, got.status, got.body, c.status, c.want)
		}
	}
	for _, c := range []struct{ name, model, body, want string }{
		{"nothing", "scores", ``, "ends before"},
		{"no JSON", "scores", `{"instances":[[nan]]}`, "malformed at byte"},
		{"two documents", "scores", `{"instances":[]} {}`, "something follows"},
		{"no form", "scores", `{}`, "exactly one of"},
		{"two forms", "scores", `{"instances":[[1]],"inputs":[[1]]}`, "exactly one of"},
		{"rows that are no list", "scores", `{"instances":7}`, "instances"},
		{"no rows", "scores", `{"instances":[]}`, "no rows"},
		{"no records", "scores", `{"dataframe_records":[]}`, "no rows"},
		{"a missing column", "scores", `{"dataframe_records":[{"age":1}]}`, `"dose" is missing`},
		{"a missing input", "rules", `{"dataframe_records":[{"age":1}]}`, `"score" is missing`},
		{"an input the model does not have", "rules", `{"dataframe_records":[{"age":1,"score":1,"wardd":"x"}]}`, `no input "wardd"`},
		{"ragged rows", "scores", `{"instances":[[1,2,3,4,5,6],[1]]}`, "Row 1 has 1 values instead of 6"},
		{"too few values", "scores", `{"instances":[[1,2,3]]}`, "[n, 6]"},
		{"a column twice", "scores", `{"dataframe_split":{"columns":["a","a"],"data":[[1,2]]}}`, "twice"},
		{"split that is a list", "scores", `{"dataframe_split":[1]}`, "dataframe_split"},
		{"text for a number", "scores", `{"instances":[[1,2,"x",4,5,6]]}`, `Row 0 of the column "2"`},
		{"a list for a number", "scores", `{"instances":[[1,2,[3],4,5,6]]}`, `Row 0 of the column "2"`},
		{"a fraction for a whole number", "rules", `{"dataframe_records":[{"score":1,"age":30.5}]}`, `"age" is not of the datatype INT64`},
		{"a missing whole number", "rules", `{"dataframe_records":[{"score":1,"age":null}]}`, `"age" is not of the datatype INT64`},
		{"a number for text", "rules", `{"dataframe_records":[{"score":1,"age":3,"ward":4}]}`, `"ward" is not of the datatype BYTES`},
		{"a number beyond FP32", "scores", `{"instances":[[1e39,2,3,4,5,6]]}`, `Row 0`},
		{"mixed rows", "scores", `{"instances":[[1,2,3,4,5,6],7]}`, "Row 1"},
		{"columns of different lengths", "rules", `{"inputs":{"age":[1,2],"score":[1]}}`, "1 values, others have 2"},
		{"a parameter that is no text", "scores", `{"instances":[[1,2,3,4,5,6]],"params":{"subject":4}}`, "subject"},
		{"text that is no UTF-8", "rules", "{\"dataframe_records\":[{\"score\":1,\"age\":3,\"ward\":\"\xff\"}]}", "not UTF-8 text at byte 49"},
		{"text that ends in half a letter", "rules", "{\"instances\":[[\"\xc3", "not UTF-8 text at byte 16"},
		{"nesting without end", "scores", `{"instances":` + strings.Repeat("[", 60000), "malformed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := h.call("POST", "/v2/models/"+c.model+"/invocations", []byte(c.body))
			var doc map[string]string
			if json.Unmarshal(got.body, &doc) != nil || got.status != 400 || !strings.Contains(doc["error"], c.want) {
				t.Fatalf("%d %s, want 400 and %q", got.status, got.body, c.want)
			}
		})
	}
}

// A matrix of any width whose columns have no names is what a model over texts takes.
func TestColumnsOfAMatrixWithoutNamesAreCalledByTheirPlaces(t *testing.T) {
	sig := engine.Signature{Inputs: []engine.Spec{{Name: "x", Datatype: "BYTES", Shape: []int{-1, -1}}}}
	numbers, err := csvRows([]byte("age,dose\n1,2\n"), tensor.DefaultLimits)
	if err == nil {
		_, err = numbers.tensors(engine.Signature{Inputs: []engine.Spec{{Name: "x", Datatype: "FP32", Shape: []int{-1, -1}}}}, tensor.DefaultLimits)
	}
	if err != nil {
		t.Errorf("numbers with names of the caller's own: %v", err)
	}
	for _, c := range []struct{ name, csv, want string }{
		{"by their places", "0,1\na,b\n", ""},
		{"one, by the name of the input", "x\na\n", ""},
		{"by a name that nobody knows", "no such column\n1\n", `The column "no such column" is not known`},
		{"from one", "1,2\na,b\n", `The column "1" is not known`},
		{"a line of JSON", `{"instances":[["a"]]}` + "\n1\n", `malformed`},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := csvRows([]byte(c.csv), tensor.DefaultLimits)
			if err == nil {
				_, err = f.tensors(sig, tensor.DefaultLimits)
			}
			if (err == nil) != (c.want == "") || err != nil && (problem.KindOf(err) != problem.Invalid || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestColumnsThatTheModelDoesNotKnowAreLeftOut(t *testing.T) {
	sig := engine.Signature{Inputs: []engine.Spec{{Name: "age", Datatype: "FP64", Shape: []int{-1}}, {Name: "city", Datatype: "BYTES", Shape: []int{-1}, Optional: true}}}
	for _, c := range []struct{ name, csv, want string }{
		{"beside all inputs", "shoe,age,city\n44,30,Ulm\n", ""},
		{"not where an optional input may be misspelt", "age,citi\n30,Ulm\n", `no input "citi"`},
		{"not instead of an input", "aeg,city\n30,Ulm\n", `column "age" is missing`},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := csvRows([]byte(c.csv), tensor.DefaultLimits)
			if err != nil {
				t.Fatal(err)
			}
			list, err := f.tensors(sig, tensor.DefaultLimits)
			if c.want == "" && (err != nil || len(list) != 2 || list[0].F64[0] != 30 || list[1].S[0] != "Ulm") {
				t.Errorf("%v, %v", list, err)
			}
			if c.want != "" && (problem.KindOf(err) != problem.Invalid || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

func TestAMatrixOfOneColumnIsFoundByThatColumnsName(t *testing.T) {
	for _, optional := range []bool{false, true} {
		sig := engine.Signature{Inputs: []engine.Spec{{Name: "x", Datatype: "FP64", Shape: []int{-1, 1}, Columns: []string{"age"}, Optional: optional}, {Name: "city", Datatype: "BYTES", Shape: []int{-1}, Optional: true}}}
		for _, c := range []struct {
			csv   string
			given int
			want  string
		}{
			{"age\n30\n", 1, ""},
			{"x\n30\n", 1, ""},
			{"age,city\n30,Ulm\n", 2, ""},
			{"shoe,age,city\n44,30,Ulm\n", 2, ""},
			{"age,citi\n30,Ulm\n", 0, `no input "citi"`},
		} {
			f, err := csvRows([]byte(c.csv), tensor.DefaultLimits)
			if err != nil {
				t.Fatal(err)
			}
			list, err := f.tensors(sig, tensor.DefaultLimits)
			if c.want == "" && (err != nil || len(list) != c.given || list[0].F64[0] != 30) {
				t.Errorf("%q, optional %v: %v, %v", c.csv, optional, list, err)
			}
			if c.want != "" && (problem.KindOf(err) != problem.Invalid || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%q, optional %v: %v, want %q", c.csv, optional, err, c.want)
			}
		}
	}
}

func TestScoringReadsWhatPythonWrites(t *testing.T) {
	h := start(t)
	ask := func(t *testing.T, model, body string) string {
		t.Helper()
		got := h.call("POST", "/v2/models/"+model+"/invocations", []byte(body))
		if got.status != 200 {
			t.Fatalf("%d %s", got.status, got.body)
		}
		return string(got.body)
	}
	for _, c := range []struct{ name, model, body, as string }{
		{"a frame without names has numbers for them", "classes", `{"dataframe_split":{"columns":[0,1,2,3,4,5],"data":[[6,5,4,3,2,1]]}}`, `{"instances":[[6,5,4,3,2,1]]}`},
		{"NaN is a missing value", "classes", `{"inputs":[[NaN,5,4,3,2,NaN]]}`, `{"inputs":[[null,5,4,3,2,null]]}`},
		{"records of a model without names keep the order of the first", "classes", `{"dataframe_records":[{"z":6,"y":5,"a":4,"d":3,"c":2,"b":1},{"a":4,"b":1,"c":2,"d":3,"y":5,"z":6}]}`, `{"instances":[[6,5,4,3,2,1],[6,5,4,3,2,1]]}`},
		{"so do instances", "classes", `{"params":{"x":{"a":[1]}},"instances":[{"f9":6,"f10":5,"f11":4,"d":3,"c":2,"b":1}]}`, `{"instances":[[6,5,4,3,2,1]]}`},
		{"and inputs", "classes", `{"inputs":{"z":[6],"y":[5],"a":[4],"d":[3],"c":[2],"b":[1]}}`, `{"instances":[[6,5,4,3,2,1]]}`},
		{"the order is that of the form that is there", "classes", `{"dataframe_records":null,"instances":[{"z":6,"y":5,"a":4,"d":3,"c":2,"b":1}]}`, `{"instances":[[6,5,4,3,2,1]]}`},
		{"in capitals or not", "classes", `{"Instances":[{"z":6,"y":5,"a":4,"d":3,"c":2,"b":1}]}`, `{"instances":[[6,5,4,3,2,1]]}`},
		{"and the last where it is there twice", "classes", `{"inputs":{"a":[4]},"INPUTS":{"z":[6],"y":[5],"a":[4],"d":[3],"c":[2],"b":[1]}}`, `{"instances":[[6,5,4,3,2,1]]}`},
		{"a number in quotes is a number", "classes", `{"inputs":[["6"," 5",4,3,2,"1.0"]]}`, `{"inputs":[[6,5,4,3,2,1]]}`},
		{"text with the words stays", "rules", `{"dataframe_records":[{"score":0.95,"age":30,"ward":"NaN \" Infinity"}]}`, `{"dataframe_records":[{"score":0.95,"age":30,"ward":"onco"}]}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, want := ask(t, c.model, c.body), ask(t, c.model, c.as); got != want {
				t.Errorf("%s, want %s", got, want)
			}
		})
	}
	for body, want := range map[string]string{
		`{"dataframe_split":{"columns":["a"],"data":[]}}`:      "no rows",
		`{"inputs":[["0x1p3",1,1,1,1,1]]}`:                     "not of the datatype FP32",
		`{"inputs":[["nine",1,1,1,1,1]]}`:                      "not of the datatype FP32",
		`{"inputs":[["Infinity",1,1,1,1,1]]}`:                  "not of the datatype FP32",
		`{"inputs":[[Infinity,1,1,1,1,1]]}`:                    "infinity",
		`{"inputs":[[-Infinity,1,1,1,1,1]]}`:                   "infinity",
		`{"inputs":[[1e999,1,1,1,1,1]]}`:                       "not of the datatype FP32",
		`{"inputs":[[N,1,1,1,1,1]]}`:                           "malformed",
		`{"dataframe_split":{"columns":[[1]],"data":[[1]]}}`:   "Column 0 has no name",
		`{"dataframe_split":{"columns":{},"data":[[1]]}}`:      "not a list of names",
		`{"dataframe_split":{"columns":[1,1],"data":[[1,1]]}}`: "there twice",
		`[1]`: "an array where the body",
	} {
		if got := h.call("POST", "/v2/models/classes/invocations", []byte(body)); got.status != 400 || !strings.Contains(string(got.body), want) {
			t.Errorf("%s: %d %s, want 400 and %q", body, got.status, got.body, want)
		}
	}
}

// differences is a model behind peer whose answer is the first column less the second.
func differences(peer, at, input, columns string) string {
	return fmt.Sprintf(`{"format":"keelson-remote-1","protocol":"http","url":"%s/%s","request":{"instances":"$matrix"},"answer":{"y":"/predictions"},
		"signature":{"inputs":[{"name":%q,"datatype":"FP64","shape":[-1,2],"columns":%s}],"outputs":[{"name":"y","datatype":"FP64","shape":[-1]}]}}`, peer, at, input, columns)
}

func TestRowsAreLaidOutForTheVersionThatAnswers(t *testing.T) {
	var mu sync.Mutex
	asked := map[string][]string{}
	peer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		mu.Lock()
		asked[r.URL.Path] = append(asked[r.URL.Path], string(b))
		mu.Unlock()
		var in struct{ Instances [][]float64 }
		if err := json.Unmarshal(b, &in); err != nil || len(in.Instances) != 1 || len(in.Instances[0]) != 2 {
			http.Error(w, "two numbers are wanted", http.StatusBadRequest)
			return
		}
		fmt.Fprintf(w, `{"predictions":[%g]}`, in.Instances[0][0]-in.Instances[0][1])
	}))
	t.Cleanup(peer.Close)
	rules, err := outbound.Parse([]string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	calls := outbound.New(outbound.Options{Rules: rules})
	t.Cleanup(calls.Close)
	t.Cleanup(func() { // what waits for a shadow is computed when serving ends
		mu.Lock()
		defer mu.Unlock()
		if len(asked["/shadow"]) == 0 {
			t.Error("the shadow was not asked")
		}
		for _, body := range asked["/shadow"] {
			if body != `{"instances":[[5,1]]}` {
				t.Errorf("the shadow was asked %s", body)
			}
		}
	})
	h := serve(t, nil, remote.Engine{Calls: calls})
	const file = "model.remote.json"
	h.release(1, served{endpoint: "shares", state: release.Live},
		h.slot(1, release.SlotLive, 50, remote.Format, file, differences(peer.URL, "live", "input", `["a","b"]`)),
		h.slot(2, release.SlotCanary, 50, remote.Format, file, differences(peer.URL, "canary", "x", `["b","a"]`)),
		h.slot(3, release.SlotShadow, 100, remote.Format, file, differences(peer.URL, "shadow", "rows", `["b","a"]`)))
	for _, body := range []string{`{"dataframe_split":{"columns":["a","b"],"data":[[1,5]]},"params":{"subject":"%d"}}`, `{"dataframe_records":[{"a":1,"b":5}],"params":{"subject":"%d"}}`,
		`{"inputs":{"a":[1],"b":[5]},"params":{"subject":"%d"}}`} {
		counts := map[string]int{}
		for i := range 20 {
			got := h.call("POST", "/v2/models/shares/invocations", fmt.Appendf(nil, body, i))
			if counts[string(got.body)]++; got.status != 200 {
				t.Fatalf("%s: %d %s", body, got.status, got.body)
			}
		}
		if counts[`{"predictions":[-4]}`] == 0 || counts[`{"predictions":[4]}`] == 0 || len(counts) != 2 {
			t.Errorf("%s: %v, want −4 of the live version and 4 of the canary", body, counts)
		}
	}
}

// overtaken is serving whose endpoint changes between the model's answer and what follows.
type overtaken struct {
	*serving.Service
	change func()
}

func (o overtaken) Infer(ctx context.Context, c *serving.Call) (serving.Answer, error) {
	a, err := o.Service.Infer(ctx, c)
	o.change()
	return a, err
}

func TestAClassifierAnswersClassesAlsoWhenItsEndpointChangesMeanwhile(t *testing.T) {
	var cases []struct {
		File    string
		Rows    json.RawMessage
		Decided [][]int64
	}
	b, err := os.ReadFile("../engine/xgboost/testdata/wrapped.json")
	if err == nil {
		err = json.Unmarshal(b, &cases)
	}
	if err != nil || cases[0].File != "two.json" {
		t.Fatal(cases[0].File, err)
	}
	m := served{"two", release.Live, "../engine/xgboost/testdata/wrapped/two.json", "xgboost-json", 1, release.Limits{}, ""}
	h := serve(t, []served{m}, xgboost.Engine{})
	slots := h.slot(1, release.SlotLive, 100, m.format, "none", "")
	api := rest.New("test", gate{}, h.service.Logger)
	(&Handler{Models: overtaken{h.service, func() {
		h.release(2, served{endpoint: m.endpoint, state: release.Suspended}, slots)
	}}, Log: h.service.Logger, MaxBytes: 1 << 18}).Routes(api)
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)
	h.url = server.URL
	body := []byte(`{"instances":` + string(cases[0].Rows) + `}`)
	got := h.call("POST", "/v2/models/two/invocations", body)
	var answer struct{ Predictions []int64 }
	if err := json.Unmarshal(got.body, &answer); got.status != 200 || err != nil || !slices.Equal(answer.Predictions, slices.Concat(cases[0].Decided...)) {
		t.Errorf("%d %s, want the classes %v", got.status, got.body, cases[0].Decided)
	}
	if again := h.call("POST", "/v2/models/two/invocations", body); again.status != 503 {
		t.Errorf("the endpoint was not suspended: %d %s", again.status, again.body)
	}
}

func TestRecordsOfEverNewColumnsDoNotMakeALargeTable(t *testing.T) {
	var body strings.Builder
	body.WriteString(`{"dataframe_records":[{}`)
	for i := range 20_000 {
		fmt.Fprintf(&body, `,{"c%d":1}`, i)
	}
	body.WriteString(`]}`)
	b, err := decodeScoring([]byte(body.String()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.frame(tensor.DefaultLimits); problem.KindOf(err) != problem.TooLarge {
		t.Fatalf("%v", err)
	}
}
