package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"keelson/internal/engine"
	"keelson/internal/engine/enginetest"
	"keelson/internal/outbound"
	"keelson/internal/problem"
	"keelson/internal/tensor"
)

var ctx = context.Background()

// peer is a model served elsewhere: y is twice the sum of x, or what do says.
type peer struct {
	*httptest.Server
	calls atomic.Int32
	do    atomic.Pointer[func(w http.ResponseWriter, r *http.Request) bool]
}

func serve(t testing.TB) *peer {
	t.Helper()
	p := &peer{}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.calls.Add(1)
		if f := p.do.Load(); f != nil && (*f)(w, r) {
			return
		}
		var in struct {
			Inputs    []tensor.Tensor
			Instances []map[string]float64
		}
		body, _ := io.ReadAll(r.Body)
		if err := json.Unmarshal(body, &in); err != nil {
			http.Error(w, err.Error(), 400)
			return
		}
		if r.URL.Path == "/plain" {
			type score struct {
				Score float64 `json:"score"`
				Class string  `json:"class"`
			}
			out := struct {
				Predictions []score `json:"predictions"`
			}{[]score{}}
			for _, row := range in.Instances {
				out.Predictions = append(out.Predictions, score{2 * (row["a"] + row["b"]), fmt.Sprint(row["a"] > 1)})
			}
			_ = json.NewEncoder(w).Encode(out)
			return
		}
		x := &in.Inputs[0]
		y := tensor.FP32s("y", []int{x.Shape[0], 1}, make([]float32, x.Shape[0]))
		for i, v := range x.F32 {
			y.F32[i/x.Shape[1]] += 2 * v
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"model_name": "m", "outputs": []tensor.Tensor{y}})
	}))
	t.Cleanup(p.Close)
	return p
}

// behave replaces the answers; nil gives them back.
func (p *peer) behave(f func(w http.ResponseWriter, r *http.Request) bool) {
	if f == nil {
		p.do.Store(nil)
		return
	}
	p.do.Store(&f)
}

func caller(t testing.TB) *outbound.Client {
	t.Helper()
	rules, err := outbound.Parse([]string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	c := outbound.New(outbound.Options{Rules: rules})
	t.Cleanup(c.Close)
	return c
}

const signature = `"signature":{"inputs":[{"name":"x","datatype":"FP32","shape":[-1,2],"columns":["a","b"]}],"outputs":[{"name":"y","datatype":"FP32","shape":[-1,1]}]}`

func oip(url, more string) string {
	return `{"format":"keelson-remote-1","protocol":"oip","url":"` + url + `/v2/models/m/infer",` + signature + more + `}`
}

func plainHTTP(url string) string {
	return `{"format":"keelson-remote-1","protocol":"http","url":"` + url + `/plain","request":{"instances":"$rows","names":"$names"},"answer":{"y":"/predictions/*/score","class":"/predictions/*/class"},
		"signature":{"inputs":[{"name":"x","datatype":"FP32","shape":[-1,2],"columns":["a","b"]}],"outputs":[{"name":"y","datatype":"FP64","shape":[-1,1]},{"name":"class","datatype":"BYTES","shape":[-1]}]}}`
}

func load(t testing.TB, e Engine, doc string) engine.Model {
	t.Helper()
	set, err := engine.NewSet(e)
	if err != nil {
		t.Fatal(err)
	}
	m, _, err := set.Load(ctx, fstest.MapFS{"model.remote.json": {Data: []byte(doc)}}, "", engine.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func rows(v ...float32) []tensor.Tensor {
	return []tensor.Tensor{tensor.FP32s("x", []int{len(v) / 2, 2}, v)}
}

func TestContract(t *testing.T) {
	p := serve(t)
	for name, doc := range map[string]string{"oip": oip(p.URL, ""), "http": plainHTTP(p.URL)} {
		t.Run(name, func(t *testing.T) {
			// One failure must not close the way for the suite's next calls.
			doc = strings.Replace(doc, `"protocol"`, `"breaker":{"failures":1000,"pause":"1ms"},"retries":0,"timeout":"3s","protocol"`, 1)
			enginetest.Run(t, enginetest.Case{Engine: Engine{Calls: caller(t)}, FS: fstest.MapFS{"model.remote.json": {Data: []byte(doc)}}, Format: Format, Inputs: rows(1, 2, 3, 4)})
		})
	}
}

func TestAnswersComeThrough(t *testing.T) {
	p := serve(t)
	m := load(t, Engine{Calls: caller(t)}, oip(p.URL, ""))
	out, err := m.Predict(ctx, rows(1, 2, 3, 4))
	if err != nil || out[0].F32[0] != 6 || out[0].F32[1] != 14 {
		t.Errorf("oip: %v %v, want 6 and 14", out, err)
	}
	m = load(t, Engine{Calls: caller(t)}, plainHTTP(p.URL))
	out, err = m.Predict(ctx, rows(1, 2, 3, 4))
	if err != nil || out[0].F64[0] != 6 || out[0].F64[1] != 14 || out[1].S[0] != "false" || out[1].S[1] != "true" {
		t.Errorf("http: %v %v, want 6, 14, false, true", out, err)
	}
}

func TestTemplatesTakeEveryForm(t *testing.T) {
	p := serve(t)
	var body string
	p.behave(func(w http.ResponseWriter, r *http.Request) bool {
		b, _ := io.ReadAll(r.Body)
		body = string(b)
		_, _ = io.WriteString(w, `{"out":[[1],[null]]}`)
		return true
	})
	doc := `{"format":"keelson-remote-1","protocol":"http","url":"` + p.URL + `","request":{"m":"$matrix","c":"$columns","n":"$names","x":["$input:x"],"k":"$$rows","t":1},"answer":{"y":"/out"},` +
		strings.Replace(signature, "FP32\",\"shape\":[-1,1]", "FP64\",\"shape\":[-1,1]", 1) + `}`
	m := load(t, Engine{Calls: caller(t)}, doc)
	nan := float32(0)
	nan /= nan
	out, err := m.Predict(ctx, rows(1, 2, 3, nan))
	if err != nil || out[0].F64[0] != 1 || out[0].F64[1] == out[0].F64[1] {
		t.Errorf("got %v %v, want 1 and NaN", out, err)
	}
	if want := `{"c":{"a":[1,3],"b":[2,null]},"k":"$rows","m":[[1,2],[3,null]],"n":["a","b"],"t":1,"x":[[[1,2],[3,null]]]}`; body != want {
		t.Errorf("the request is\n%s, want\n%s", body, want)
	}
}

func TestFailuresAreTriedAgainWhereThatIsSafe(t *testing.T) {
	p := serve(t)
	for _, c := range []struct {
		name    string
		status  int
		calls   int32
		kind    problem.Kind
		succeed bool
	}{
		{"503 is tried again", 503, 2, "", true},
		{"429 is tried again", 429, 2, "", true},
		{"500 is the model's own and is not", 500, 1, problem.Unavailable, false},
		{"403 is not", 403, 1, problem.Unavailable, false},
		{"a redirect is not followed", 302, 1, problem.Unavailable, false},
		{"400 is the caller's", 400, 1, problem.Invalid, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := load(t, Engine{Calls: caller(t)}, oip(p.URL, ""))
			p.calls.Store(0)
			p.behave(func(w http.ResponseWriter, _ *http.Request) bool {
				if p.calls.Load() > 1 {
					return false
				}
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(c.status)
				return true
			})
			_, err := m.Predict(ctx, rows(1, 2))
			if (err == nil) != c.succeed || err != nil && problem.KindOf(err) != c.kind || p.calls.Load() != c.calls {
				t.Errorf("%v after %d calls, want %q after %d", err, p.calls.Load(), c.kind, c.calls)
			}
		})
	}
	t.Run("a connection that breaks off is tried again", func(t *testing.T) {
		m := load(t, Engine{Calls: caller(t)}, oip(p.URL, ""))
		p.calls.Store(0)
		p.behave(func(w http.ResponseWriter, _ *http.Request) bool {
			if p.calls.Load() > 1 {
				return false
			}
			c, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				c.Close()
			}
			return true
		})
		if _, err := m.Predict(ctx, rows(1, 2)); err != nil || p.calls.Load() != 2 {
			t.Errorf("%v after %d calls", err, p.calls.Load())
		}
	})
	t.Run("an answer that does not come in time is not", func(t *testing.T) {
		m := load(t, Engine{Calls: caller(t)}, oip(p.URL, `,"timeout":"30ms"`))
		p.calls.Store(0)
		p.behave(func(_ http.ResponseWriter, r *http.Request) bool {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
			return true
		})
		if _, err := m.Predict(ctx, rows(1, 2)); problem.KindOf(err) != problem.Unavailable || !strings.Contains(err.Error(), "within 30ms") || p.calls.Load() != 1 {
			t.Errorf("%v after %d calls", err, p.calls.Load())
		}
		p.behave(nil)
	})
	t.Run("a caller who gives up ends the call", func(t *testing.T) {
		m := load(t, Engine{Calls: caller(t)}, oip(p.URL, ""))
		gone, cancel := context.WithCancel(ctx)
		p.behave(func(_ http.ResponseWriter, r *http.Request) bool {
			_, _ = io.Copy(io.Discard, r.Body)
			cancel()
			<-r.Context().Done()
			return true
		})
		if _, err := m.Predict(gone, rows(1, 2)); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		p.behave(nil)
	})
}

func TestAnswersThatBreakTheContractAreTheModelsFault(t *testing.T) {
	p := serve(t)
	for name, body := range map[string]string{
		"no JSON":           `<html>`,
		"another output":    `{"outputs":[{"name":"z","datatype":"FP32","shape":[1,1],"data":[1]}]}`,
		"another type":      `{"outputs":[{"name":"y","datatype":"INT64","shape":[1,1],"data":[1]}]}`,
		"other rows":        `{"outputs":[{"name":"y","datatype":"FP32","shape":[2,1],"data":[1,2]}]}`,
		"a shape that lies": `{"outputs":[{"name":"y","datatype":"FP32","shape":[1000000000,1],"data":[1]}]}`,
	} {
		m := load(t, Engine{Calls: caller(t)}, oip(p.URL, ""))
		p.behave(func(w http.ResponseWriter, _ *http.Request) bool { _, _ = io.WriteString(w, body); return true })
		if _, err := m.Predict(ctx, rows(1, 2)); problem.KindOf(err) != problem.Unavailable || !strings.Contains(err.Error(), "contract") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTheBreakerOpensAndClosesAgain(t *testing.T) {
	p := serve(t)
	now := time.Unix(1000, 0)
	m := load(t, Engine{Calls: caller(t), Now: func() time.Time { return now }}, oip(p.URL, `,"retries":0,"breaker":{"failures":3,"pause":"10s"}`))
	p.behave(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(500); return true })
	call := func() error { _, err := m.Predict(ctx, rows(1, 2)); return err }
	for range 3 {
		if err := call(); err == nil || strings.Contains(err.Error(), "in a row") {
			t.Fatalf("closed: %v", err)
		}
	}
	if err := call(); !strings.Contains(fmt.Sprint(err), "3 times in a row") || p.calls.Load() != 3 {
		t.Errorf("open: %v after %d calls", err, p.calls.Load())
	}
	now = now.Add(11 * time.Second)
	if err := call(); err == nil || p.calls.Load() != 4 {
		t.Errorf("the trial: %v after %d calls", err, p.calls.Load())
	}
	if err := call(); p.calls.Load() != 4 {
		t.Errorf("open again: %v after %d calls", err, p.calls.Load())
	}
	now = now.Add(11 * time.Second)
	p.behave(nil)
	for range 2 {
		if err := call(); err != nil {
			t.Errorf("closed again: %v", err)
		}
	}
}

func TestProbesHoldTheModelToItsAnswers(t *testing.T) {
	p := serve(t)
	probe := func(y string) string {
		return oip(p.URL, `,"probes":[{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[1,2]}],"outputs":[{"name":"y","datatype":"FP32","shape":[1,1],"data":[`+y+`]}],"tolerance":1e-6}]`)
	}
	if err := load(t, Engine{Calls: caller(t)}, probe("6")).(engine.SelfTester).SelfTest(ctx); err != nil {
		t.Errorf("the right answer: %v", err)
	}
	if err := load(t, Engine{Calls: caller(t)}, probe("6.5")).(engine.SelfTester).SelfTest(ctx); problem.KindOf(err) != problem.Invalid || !strings.Contains(err.Error(), "6 instead of 6.5") {
		t.Errorf("another answer: %v", err)
	}
}

func TestTheTokenComesFromTheEnvironment(t *testing.T) {
	p := serve(t)
	var got string
	p.behave(func(_ http.ResponseWriter, r *http.Request) bool {
		got = r.Header.Get("Authorization") + r.Header.Get("X-Team")
		return false
	})
	t.Setenv("KEELSON_REMOTE_TEST", "s3cret")
	m := load(t, Engine{Calls: caller(t)}, oip(p.URL, `,"token_env":"KEELSON_REMOTE_TEST","headers":{"X-Team":"risk"}`))
	if _, err := m.Predict(ctx, rows(1, 2)); err != nil || got != "Bearer s3cretrisk" {
		t.Errorf("the call came with %q (%v)", got, err)
	}
	os.Unsetenv("KEELSON_REMOTE_TEST")
	_, err := Engine{Calls: caller(t)}.Load(ctx, fstest.MapFS{"m.remote.json": {Data: []byte(oip(p.URL, `,"token_env":"KEELSON_REMOTE_TEST"`))}}, "m.remote.json", engine.Limits{})
	if problem.KindOf(err) != problem.Unsupported || !strings.Contains(err.Error(), "KEELSON_REMOTE_TEST") {
		t.Errorf("without the variable: %v", err)
	}
}

func TestDocumentsThatCannotBeAreRefused(t *testing.T) {
	for name, c := range map[string]struct{ doc, says string }{
		"no document":             {`[]`, "no document"},
		"another format":          {`{"format":"x"}`, "format"},
		"an unknown field":        {`{"format":"keelson-remote-1","secret":"x"}`, "unknown field"},
		"no signature":            {`{"format":"keelson-remote-1","protocol":"oip","url":"https://example.com"}`, "signature"},
		"an inner address":        {oip("http://10.0.0.1", ""), ""},
		"a file":                  {oip("file:///etc", ""), ""},
		"a secret in a header":    {oip("https://example.com", `,"headers":{"authorization":"Bearer x"}`), "secret"},
		"a header with a line":    {oip("https://example.com", `,"headers":{"X":"a\r\nHost: b"}`), "cannot be set"},
		"any variable":            {oip("https://example.com", `,"token_env":"PATH"`), "KEELSON_REMOTE_"},
		"too many retries":        {oip("https://example.com", `,"retries":99`), "retries"},
		"a timeout of an hour":    {oip("https://example.com", `,"timeout":"1h"`), "timeout"},
		"a template with oip":     {oip("https://example.com", `,"request":{}`), "for the protocol http"},
		"an unknown placeholder":  {strings.Replace(plainHTTP("https://example.com"), "$rows", "$lines", 1), "$lines"},
		"an answer without place": {strings.Replace(plainHTTP("https://example.com"), `"y":"/predictions/*/score",`, "", 1), "answer.y"},
	} {
		_, err := Engine{Calls: caller(t)}.Load(ctx, fstest.MapFS{"m.remote.json": {Data: []byte(c.doc)}}, "m.remote.json", engine.Limits{})
		if problem.KindOf(err) != problem.Invalid || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want a refusal that says %q", name, err, c.says)
		}
	}
}

func TestReadingADocumentTakesNoMoreThanItIsWorth(t *testing.T) {
	good := plainHTTP("https://example.com")
	headers := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `"x-%d":"",`, i)
		}
		return strings.Replace(good, "{", `{"headers":{`+b.String()+`"b":""},`, 1)
	}
	for name, c := range map[string]struct {
		text string
		good bool
	}{
		"as many headers as values are possible": {headers(mostValues - 50), true},
		"more headers than values are possible":  {headers(mostValues), false},
		"inputs without end":                     {`{"signature":{"inputs":[` + strings.Repeat("{},", 30000) + `{}]}}`, false},
		"as many inputs as objects are possible": {`{"signature":{"inputs":[` + strings.Repeat("{},", mostObjects-10) + `{}]}}`, false},
		"a shape without end":                    {`{"signature":{"inputs":[{"shape":[` + strings.Repeat("1,", 100000) + `1]}]}}`, false},
		"a shape as long as values are possible": {`{"signature":{"inputs":[{"shape":[` + strings.Repeat("1,", mostValues-10) + `1]}]}}`, false},
		"commas and braces in a text":            {strings.Replace(good, "{", `{"description":"`+strings.Repeat(`,{\"`, 40000)+`",`, 1), true},
	} {
		t.Run(name, func(t *testing.T) {
			var err error
			enginetest.Frugal(t, len(c.text), 1280<<10, func() { _, err = parse([]byte(c.text)) })
			if (err == nil) != c.good || err != nil && problem.KindOf(err) != problem.Invalid {
				t.Errorf("got %v", err)
			}
		})
	}
}

// Whatever a document says: no panic, a refusal that is the caller's, and no more memory than it is worth.
func FuzzDocument(f *testing.F) {
	f.Add([]byte(plainHTTP("https://example.com")))
	f.Add([]byte(oip("https://example.com", "")))
	f.Add([]byte(`{"format":"keelson-remote-1","signature":{"inputs":[{},{"shape":[1,1]}]},"headers":{"a":"b"},"request":[[{"$rows":1}]]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var err error
		enginetest.Frugal(t, len(b), 1280<<10, func() { _, err = parse(b) })
		if err != nil && problem.KindOf(err) != problem.Invalid && problem.KindOf(err) != problem.Unsupported {
			t.Errorf("got %v", err)
		}
	})
}

func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{`{"predictions":[{"score":1,"class":"a"}]}`, `{"predictions":[[1,2],null]}`, `[]`, `{"predictions":{"score":1e999}}`, `{"outputs":[{"name":"y","datatype":"FP32","shape":[1,1],"data":[1]}]}`} {
		f.Add([]byte(seed))
	}
	http, err := parse([]byte(plainHTTP("https://example.com")))
	if err != nil {
		f.Fatal(err)
	}
	inference, err := parse([]byte(oip("https://example.com", "")))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, c := range []*contract{http, inference} {
			out, err := c.read(body, 1)
			if err != nil {
				continue
			}
			for i := range out {
				if err := out[i].Check(); err != nil || out[i].Shape[0] != 1 {
					t.Errorf("%s is taken as %v: %v", body, out[i], err)
				}
			}
		}
	})
}

// JSON has no bytes that are no text: they would arrive as others.
func TestBytesThatAreNoTextAreRefusedByName(t *testing.T) {
	p := serve(t)
	m := load(t, Engine{Calls: caller(t)}, `{"format":"keelson-remote-1","protocol":"oip","url":"`+p.URL+`","signature":{"inputs":[{"name":"word","datatype":"BYTES","shape":[-1]}],"outputs":[{"name":"y","datatype":"BYTES","shape":[-1]}]},
		"probes":[{"inputs":[{"name":"word","datatype":"BYTES","shape":[1],"data":["x"]}],"outputs":[{"name":"y","datatype":"BYTES","shape":[1],"data":["x"]}]}]}`)
	_, err := m.Predict(ctx, []tensor.Tensor{tensor.Strings("word", []int{2}, []string{"fine", "\xff"})})
	if problem.KindOf(err) != problem.Invalid || !strings.Contains(err.Error(), `Value 1 of the input "word"`) {
		t.Errorf("got %v, want a refusal that names the input", err)
	}
}
