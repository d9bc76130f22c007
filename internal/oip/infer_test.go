package oip

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"keelson/internal/prediction"
)

// close32 is what the platform promises against the library.
func close32(a, b float64) bool { return math.Abs(a-b) <= 1e-6 }

func floats(t *testing.T, data []any) []float64 {
	t.Helper()
	list := make([]float64, len(data))
	for i, v := range data {
		f, ok := v.(float64)
		if !ok {
			t.Fatalf("value %d is %v, no number", i, v)
		}
		list[i] = f
	}
	return list
}

func flatten(rows [][]*float64) (all []*float64) {
	for _, r := range rows {
		all = append(all, r...)
	}
	return all
}

func mustJSON(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

type object = map[string]any

func TestEveryFormOfARequestGivesTheLibrarysPredictions(t *testing.T) {
	h := start(t)
	c := record(t, "logistic_named")
	n, k := len(c.Rows), len(c.Columns)
	var raw32, raw64 []byte
	for _, v := range flatten(c.Rows) {
		f := math.NaN()
		if v != nil {
			f = *v
		}
		raw32 = binary.LittleEndian.AppendUint32(raw32, math.Float32bits(float32(f)))
		raw64 = binary.LittleEndian.AppendUint64(raw64, math.Float64bits(f))
	}
	withBinary := func(datatype string, raw []byte) ([]byte, string) {
		head := mustJSON(t, object{"inputs": []object{{"name": "input", "shape": []int{n, k}, "datatype": datatype, "parameters": object{"binary_data_size": len(raw)}}}})
		return append(head, raw...), fmt.Sprintf("%s: %d", headerLength, len(head))
	}
	flat := mustJSON(t, object{"inputs": []object{{"name": "input", "shape": []int{n, k}, "datatype": "FP32", "data": flatten(c.Rows)}}})
	var columns []object
	for i, name := range c.Columns {
		var v []*float64
		for _, r := range c.Rows {
			v = append(v, r[i])
		}
		columns = append(columns, object{"name": name, "shape": []int{n, 1}, "datatype": "FP64", "data": v})
	}
	binary32, length32 := withBinary("FP32", raw32)
	binary64, length64 := withBinary("FP64", raw64)
	for _, f := range []struct {
		name   string
		body   []byte
		header []string
	}{
		{"flat JSON", flat, nil},
		{"nested JSON", mustJSON(t, object{"inputs": []object{{"name": "input", "shape": []int{n, k}, "datatype": "FP32", "data": c.Rows}}}), nil},
		{"data before shape and datatype", []byte(fmt.Sprintf(`{"inputs":[{"data":%s,"name":"input","datatype":"FP64","shape":[%d,%d]}]}`, mustJSON(t, c.Rows), n, k)), nil},
		{"one tensor per column", mustJSON(t, object{"inputs": columns}), nil},
		{"binary FP32", binary32, []string{length32}},
		{"binary FP64", binary64, []string{length64}},
		{"gzip", squeeze("gzip", flat), []string{"Content-Encoding: gzip"}},
		{"deflate", squeeze("deflate", flat), []string{"Content-Encoding: deflate"}},
		{"deflate without zlib's frame", squeeze("bare", flat), []string{"Content-Encoding: deflate"}},
		{"gzip around binary data", squeeze("gzip", binary32), []string{"Content-Encoding: gzip", length32}},
	} {
		t.Run(f.name, func(t *testing.T) {
			got := h.call("POST", "/v2/models/scores/infer", f.body, f.header...)
			var a answer
			if h.decode(got.body, &a); got.status != 200 {
				t.Fatalf("%d %s", got.status, got.body)
			}
			if len(a.Outputs) != 1 || a.Outputs[0].Name != "predict" || a.Outputs[0].Datatype != "FP32" || !slices.Equal(a.Outputs[0].Shape, []int{n, 1}) {
				t.Fatalf("%s", got.body)
			}
			for i, v := range floats(t, a.Outputs[0].Data) {
				if !close32(v, c.Predict[i][0]) {
					t.Errorf("row %d: %v, the library says %v", i, v, c.Predict[i][0])
				}
			}
		})
	}
}

// squeeze compresses b into memory, where no write fails.
func squeeze(form string, b []byte) []byte {
	var buf bytes.Buffer
	var z io.WriteCloser
	switch form {
	case "gzip":
		z = gzip.NewWriter(&buf)
	case "deflate":
		z = zlib.NewWriter(&buf)
	default:
		z, _ = flate.NewWriter(&buf, 6)
	}
	_, _ = z.Write(b)
	_ = z.Close()
	return buf.Bytes()
}

const oneRow = `{"inputs":[{"name":"input","shape":[1,6],"datatype":"FP32","data":[1,2,3,4,5,6]}]}`

func TestAnAnswerSaysWhoAnsweredAndUnderWhichPrediction(t *testing.T) {
	h := start(t)
	got := h.call("POST", "/v2/models/scores/infer", []byte(`{"id":"call \"7\"",`+oneRow[1:]))
	var a answer
	h.decode(got.body, &a)
	if got.status != 200 || a.ID != `call "7"` || a.Model != "scores" || a.Version != "3" {
		t.Fatalf("%d %s", got.status, got.body)
	}
	id := got.header.Get("Keelson-Prediction-Id")
	if id == "" || a.Parameters["prediction_id"] != id {
		t.Fatalf("header %q, body %s", id, got.body)
	}
	if len(a.Outputs) != 1 || got.header.Get(headerLength) != "" || got.header.Get("Content-Length") != strconv.Itoa(len(got.body)) {
		t.Fatalf("%v %s", got.header, got.body)
	}
	if strings.Contains(string(h.call("POST", "/v2/models/scores/versions/3/infer", []byte(oneRow)).body), `"id"`) {
		t.Error("an id came back that was not sent")
	}
}

func TestTheLogHasTheContextOfACall(t *testing.T) {
	h := start(t)
	trace := "4bf92f3577b34da6a3ce929d0e0e4736"
	headers := []string{"Keelson-Application: ward-app", "Keelson-Purpose: triage", "Keelson-Subject: p-1", "Keelson-Segment: north", "Traceparent: 00-" + trace + "-00f067aa0ba902b7-01"}
	for _, c := range []struct {
		name, path, body string
		headers          []string
		want             prediction.Record
	}{
		{"from headers", "infer", `{"id":"r7",` + oneRow[1:], headers,
			prediction.Record{Application: "ward-app", Purpose: "triage", Subject: "p-1", Segment: "north", Trace: trace, Request: "r7"}},
		{"from parameters, which win over headers", "infer", `{"parameters":{"subject":"p-2","application":"a","purpose":"b","segment":"c","sequence_id":4},` + oneRow[1:], headers,
			prediction.Record{Application: "a", Purpose: "b", Subject: "p-2", Segment: "c", Trace: trace}},
		{"nothing said is nothing logged", "infer", oneRow, []string{"Traceparent: 00-nonsense"}, prediction.Record{}},
		{"MLflow's call in its params", "invocations", `{"instances":[[1,2,3,4,5,6]],"params":{"subject":"p-3"}}`, nil, prediction.Record{Subject: "p-3"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := h.call("POST", "/v2/models/scores/"+c.path, []byte(c.body), c.headers...)
			if got.status != 200 {
				t.Fatalf("%d %s", got.status, got.body)
			}
			r, err := h.log.Get(context.Background(), got.header.Get("Keelson-Prediction-Id"))
			if err != nil {
				t.Fatal(err)
			}
			have := prediction.Record{Application: r.Application, Purpose: r.Purpose, Subject: r.Subject, Segment: r.Segment, Trace: r.Trace, Request: r.Request}
			if fmt.Sprint(have) != fmt.Sprint(c.want) {
				t.Errorf("logged %+v\nwant   %+v", have, c.want)
			}
			if r.Caller != "desk" || r.Endpoint != "scores" || r.Version != 3 || r.Rows != 1 || len(r.Inputs) != 1 || len(r.Outputs) != 1 || r.Latency <= 0 {
				t.Errorf("logged %+v", r)
			}
		})
	}
}

func TestOutputsAreSentAsAsked(t *testing.T) {
	h := start(t)
	inputs := `"inputs":[{"name":"score","shape":[2],"datatype":"FP64","data":[0.95,0.1]},{"name":"age","shape":[2],"datatype":"INT64","data":[30,80]}]`
	for _, c := range []struct {
		name, body string
		outputs    string // name:b for binary, in order
	}{
		{"all, in JSON, where nothing is said", `{` + inputs + `}`, "decision days risk"},
		{"all, in JSON, for an empty list", `{"outputs":[],` + inputs + `}`, "decision days risk"},
		{"all as binary data for binary_data_output", `{"parameters":{"binary_data_output":true},` + inputs + `}`, "decision:b days:b risk:b"},
		{"those named, in the order named", `{"outputs":[{"name":"days"},{"name":"decision"}],` + inputs + `}`, "days decision"},
		{"one as binary data", `{"outputs":[{"name":"decision","parameters":{"binary_data":true}},{"name":"risk","parameters":{"binary_data":false}}],` + inputs + `}`, "decision:b risk"},
		{"an output's own word wins", `{"parameters":{"binary_data_output":true},"outputs":[{"name":"risk","parameters":{"binary_data":false}},{"name":"days"}],` + inputs + `}`, "risk days:b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := h.call("POST", "/v2/models/rules/infer", []byte(c.body))
			if got.status != 200 {
				t.Fatalf("%d %s", got.status, got.body)
			}
			head := got.body
			var tail []byte
			if l := got.header.Get(headerLength); l != "" {
				n, _ := strconv.Atoi(l)
				head, tail = got.body[:n], got.body[n:]
			}
			if tail != nil != strings.Contains(c.outputs, ":b") {
				t.Fatalf("%d bytes of binary data", len(tail))
			}
			var a answer
			h.decode(head, &a)
			var names []string
			for _, o := range a.Outputs {
				size, isBinary := o.Parameters["binary_data_size"]
				if !isBinary {
					names = append(names, o.Name)
					values := map[string]string{"decision": "[refer no referral]", "days": "[2 365]", "risk": "[0.95 0]"}
					if fmt.Sprint(o.Data) != values[o.Name] {
						t.Errorf("%s is %v", o.Name, o.Data)
					}
					continue
				}
				names = append(names, o.Name+":b")
				values := map[string]string{"decision": "\x05\x00\x00\x00refer\x0b\x00\x00\x00no referral", "days": "\x02\x00\x00\x00\x00\x00\x00\x00\x6d\x01\x00\x00\x00\x00\x00\x00",
					"risk": "\x66\x66\x66\x66\x66\x66\xee\x3f\x00\x00\x00\x00\x00\x00\x00\x00"}
				if size > len(tail) || string(tail[:size]) != values[o.Name] {
					t.Fatalf("%s is %d bytes of %q", o.Name, size, tail)
				}
				tail = tail[size:]
			}
			if s := strings.Join(names, " "); s != c.outputs || len(tail) != 0 {
				t.Errorf("outputs %s, want %s; %d bytes left", s, c.outputs, len(tail))
			}
		})
	}
}

func TestLargeAnswersAreCompressedForThoseWhoAsk(t *testing.T) {
	h := start(t)
	rows := func(n int) []byte {
		return mustJSON(t, object{"inputs": []object{{"name": "input", "shape": []int{n, 6}, "datatype": "FP32", "data": make([]float64, n*6)}}, "parameters": object{"binary_data_output": true}})
	}
	for _, c := range []struct {
		name, accept, want string
		rows               int
	}{
		{"gzip", "gzip", "gzip", 500},
		{"deflate", "deflate", "deflate", 500},
		{"the weightier one", "gzip;q=0.2, deflate;q=0.9, br", "deflate", 500},
		{"anything", "*", "gzip", 500},
		{"not what is excluded", "gzip;q=0", "", 500},
		{"nothing known", "br", "", 500},
		{"not what is small", "gzip", "", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := h.call("POST", "/v2/models/classes/infer", rows(c.rows), "Accept-Encoding: "+c.accept)
			if e := got.header.Get("Content-Encoding"); got.status != 200 || e != c.want {
				t.Fatalf("%d, Content-Encoding %q, want %q", got.status, e, c.want)
			}
			var r io.Reader = bytes.NewReader(got.body)
			var err error
			switch c.want {
			case "gzip":
				r, err = gzip.NewReader(r)
			case "deflate":
				r, err = zlib.NewReader(r)
			}
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(r)
			n, _ := strconv.Atoi(got.header.Get(headerLength))
			if err != nil || len(b)-n != c.rows*3*4 {
				t.Fatalf("%v: %d bytes of binary data", err, len(b)-n)
			}
		})
	}
}

func TestManyCallersAtOnceGetTheirOwnAnswers(t *testing.T) {
	h := start(t)
	c := record(t, "logistic_named")
	done := make(chan error, len(c.Rows))
	for i, row := range c.Rows {
		go func() {
			for range 20 {
				b, _ := json.Marshal(object{"id": strconv.Itoa(i), "inputs": []object{{"name": "input", "shape": []int{1, 6}, "datatype": "FP32", "data": row}}})
				got := h.call("POST", "/v2/models/scores/infer", b)
				var a answer
				if err := json.Unmarshal(got.body, &a); err != nil || a.ID != strconv.Itoa(i) || len(a.Outputs) != 1 {
					done <- fmt.Errorf("call %d: %v %s", i, err, got.body)
					return
				}
				if v, _ := a.Outputs[0].Data[0].(float64); !close32(v, c.Predict[i][0]) {
					done <- fmt.Errorf("call %d got %v, the library says %v", i, v, c.Predict[i][0])
					return
				}
			}
			done <- nil
		}()
	}
	for range c.Rows {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
