package oip

import (
	"math"
	"net/http"
	"strings"
	"testing"

	"keelson/internal/engine"
	"keelson/internal/problem"
	"keelson/internal/serving"
	"keelson/internal/tensor"
)

func callersFault(t *testing.T, err error) {
	t.Helper()
	if k := problem.KindOf(err); k != problem.Invalid && k != problem.TooLarge {
		t.Fatalf("%v is of kind %s", err, k)
	}
}

// FuzzRequest holds that any bytes are either a caller's mistake or a request of whole tensors, and that what was read
// is read the same once it is written again.
func FuzzRequest(f *testing.F) {
	for _, c := range malformed {
		if len(c.body) < 4096 {
			f.Add([]byte(c.body), len(c.body))
			f.Add([]byte(c.body), -1)
		}
	}
	f.Add([]byte(oneRow), -1)
	f.Add([]byte(`{"parameters":{"explain":3},`+oneRow[1:]), -1)
	f.Add([]byte(`{"parameters":{"explain":true},`+oneRow[1:]), -1)
	head := `{"id":"é\u00e9","parameters":{"binary_data_output":true,"subject":null},"inputs":[{"name":"a","shape":[2],"datatype":"BYTES","parameters":{"binary_data_size":11}},{"name":"b","shape":[],"datatype":"INT8","data":-7}],"outputs":[{"name":"x","parameters":{"binary_data":true}}]}`
	f.Add([]byte(head+"\x02\x00\x00\x00ab\x01\x00\x00\x00\xff"), len(head))
	f.Fuzz(func(t *testing.T, body []byte, head int) {
		if head > len(body) || head < -1 {
			head = -1
		}
		limits := tensor.Limits{Tensors: 64, Rank: 8, Elements: 1 << 16}
		var q request
		if err := q.decode(body, head, limits); err != nil {
			callersFault(t, err)
			return
		}
		total := 0
		names := map[string]bool{}
		for i := range q.call.Inputs {
			in := &q.call.Inputs[i]
			if err := in.Check(); err != nil {
				t.Fatal(err)
			}
			total += in.Len()
			if names[in.Name] {
				t.Fatalf("two inputs are named %q", in.Name)
			}
			names[in.Name] = true
		}
		if total > limits.Elements {
			t.Fatalf("%d elements", total)
		}
		// As an answer that echoes the inputs in binary form, and that answer's parts as a request again.
		x := exchange{request: request{binaryOutput: true, call: serving.Call{Endpoint: "e"}}}
		n, err := x.encode(&serving.Answer{Version: 1, Outputs: q.call.Inputs})
		if err != nil {
			t.Fatal(err)
		}
		if n < 0 {
			n = len(x.answer)
		}
		again := strings.Replace(string(x.answer[:n]), `"outputs":`, `"inputs":`, 1)
		var p request
		if err := p.decode(append([]byte(again), x.answer[n:]...), len(again), limits); err != nil {
			t.Fatalf("%v in %s", err, again)
		}
		for i := range q.call.Inputs {
			want := &q.call.Inputs[i]
			if want.Type == tensor.FP16 {
				want.Type = tensor.FP32
			}
			if !p.call.Inputs[i].Equal(want) {
				t.Fatalf("%v became %v", want, p.call.Inputs[i])
			}
		}
	})
}

// FuzzScoring holds that any body of MLflow's call is a caller's mistake or becomes whole tensors.
func FuzzCSV(f *testing.F) {
	for _, s := range []string{"a,b\n1,x\n,true\n", "\ufeffa\r\n\"1\n2\"\r\n", "a,a\n1,2\n", "a\n", "a\nNaN\n1e400\n0x1p-2\n", "b,a\n\"\",1\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		rows, err := csvRows(body, tensor.DefaultLimits)
		if err != nil {
			callersFault(t, err)
			return
		}
		askedOf(t, rows)
	})
}

// askedOf brings rows into the form of some signatures.
func askedOf(t *testing.T, rows *frame) {
	for _, s := range []engine.Signature{
		{Inputs: []engine.Spec{{Name: "m", Datatype: "FP32", Shape: []int{-1, 2}, Columns: []string{"a", "b"}}}},
		{Inputs: []engine.Spec{{Name: "m", Datatype: "INT8", Shape: []int{-1, -1}}}},
		{Inputs: []engine.Spec{{Name: "a", Datatype: "UINT16", Shape: []int{-1}, Optional: true}, {Name: "b", Datatype: "BYTES", Shape: []int{-1, 1}}}},
		{Inputs: []engine.Spec{{Name: "a", Datatype: "FP64", Shape: []int{-1, 2, -1}}, {Name: "b", Datatype: "BOOL", Shape: []int{-1, 3}, Optional: true}}},
	} {
		list, err := rows.tensors(s, tensor.DefaultLimits)
		if err != nil {
			callersFault(t, err)
			continue
		}
		for i := range list {
			if err := list[i].Check(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func FuzzScoring(f *testing.F) {
	for _, s := range []string{`{"dataframe_split":{"columns":["a","b"],"data":[[1,null],["x",true]]}}`, `{"dataframe_records":[{"a":1,"b":"t"},{}]}`,
		`{"instances":[[1,2],[3,4]]}`, `{"instances":[1,2]}`, `{"inputs":{"a":[1],"b":["x"]}}`, `{"inputs":{"m":[[1,2]]}}`, `{"inputs":[[[]]]}`, `{"instances":[{}]}`, `{"dataframe_split":{}}`, `[]`,
		`{"inputs":{"a":[[[1],[2]]],"b":[[true,false,true]]}}`, `{"instances":[{"a":[[1,2],[3,4]]},{"a":[[1,2],[3]]}]}`, `{"instances":[{"a":[[],[]]}]}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		b, err := decodeScoring(body)
		if err != nil {
			callersFault(t, err)
			return
		}
		rows, err := b.frame(tensor.DefaultLimits)
		if err != nil {
			callersFault(t, err)
			return
		}
		askedOf(t, rows)
		if rows.objects {
			askedOf(t, rows.arranged(firstKeys(body)))
		}
	})
}

func TestTracesAreReadAsTheirSpecificationAsks(t *testing.T) {
	const id = "4bf92f3577b34da6a3ce929d0e0e4736"
	for _, c := range []struct{ name, header, want string }{
		{"a whole one", "00-" + id + "-00f067aa0ba902b7-01", id},
		{"a later version may have more", "01-" + id + "-00f067aa0ba902b7-01-more", id},
		{"the first version has no more", "00-" + id + "-00f067aa0ba902b7-01-more", ""},
		{"version ff is none", "ff-" + id + "-00f067aa0ba902b7-01", ""},
		{"zeros are no trace", "00-00000000000000000000000000000000-00f067aa0ba902b7-01", ""},
		{"capitals are none", "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", ""},
		{"too short", "00-" + id, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := traceID(c.header); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestACompressedStreamWithoutEndIsCutAtTheLimit(t *testing.T) {
	body := &endless{}
	r := &http.Request{Header: http.Header{"Content-Encoding": {"deflate"}}, Body: body, ContentLength: -1}
	if _, err := readBody(nil, r, 1000); problem.KindOf(err) != problem.TooLarge {
		t.Fatalf("%v", err)
	}
	if body.read > math.MaxUint16 {
		t.Errorf("%d bytes were read before the limit of 1000 was found", body.read)
	}
}

// endless is an endless row of empty deflate blocks, which never gives a byte of output.
type endless struct{ read int }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = [...]byte{0, 0, 0, 0xFF, 0xFF}[(e.read+i)%5]
	}
	e.read += len(p)
	return len(p), nil
}
func (*endless) Close() error { return nil }
