package oip

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"keelson/internal/rest"
	"keelson/internal/serving"
	"keelson/internal/tensor"
)

// sample is a request of so many rows with 30 columns; head is −1 for JSON.
func sample(rows int, raw bool) (body []byte, head int) {
	n := rows * 30
	at := func(i int) float32 { return float32(math.Round(1e4*(13.3+float64(i%97)*1.711))) / 1e4 }
	if raw {
		json := fmt.Sprintf(`{"inputs":[{"name":"input","shape":[%d,30],"datatype":"FP32","parameters":{"binary_data_size":%d}}],"parameters":{"binary_data_output":true}}`, rows, 4*n)
		body = []byte(json)
		for i := range n {
			body = binary.LittleEndian.AppendUint32(body, math.Float32bits(at(i)))
		}
		return body, len(json)
	}
	body = fmt.Appendf(nil, `{"inputs":[{"name":"input","shape":[%d,30],"datatype":"FP32","data":[`, rows)
	for i := range n {
		if i > 0 {
			body = append(body, ',')
		}
		body = strconv.AppendFloat(body, float64(at(i)), 'f', -1, 32)
	}
	return append(body, `]}]}`...), -1
}

func BenchmarkDecode(b *testing.B) {
	for _, rows := range []int{1, 64} {
		for _, raw := range []bool{false, true} {
			b.Run(fmt.Sprintf("rows=%d/binary=%v", rows, raw), func(b *testing.B) {
				body, head := sample(rows, raw)
				var q request
				b.SetBytes(int64(len(body)))
				b.ReportAllocs()
				for b.Loop() {
					q.reset()
					if err := q.decode(body, head, tensor.DefaultLimits); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	for _, rows := range []int{1, 64} {
		for _, raw := range []bool{false, true} {
			b.Run(fmt.Sprintf("rows=%d/binary=%v", rows, raw), func(b *testing.B) {
				values := make([]float32, rows)
				for i := range values {
					values[i] = 1 / float32(i+3)
				}
				a := serving.Answer{ID: "06b5w7q1m8v3t0c9x2z4n6p8r0", Version: 3, Outputs: []tensor.Tensor{tensor.FP32s("predict", []int{rows, 1}, values)}}
				x := &exchange{request: request{binaryOutput: raw, call: serving.Call{Endpoint: "scores"}}}
				b.ReportAllocs()
				for b.Loop() {
					if _, err := x.encode(&a); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkOneRow is the round trip over loopback with door, models and log, beside a bare echo of the same body. On a
// 2-core machine it took 80 to 87 µs where the echo took 54 to 60; the part of this package is in BenchmarkHandler.
func BenchmarkOneRow(b *testing.B) {
	h := start(b)
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }))
	b.Cleanup(echo.Close)
	for _, c := range []struct{ name, url string }{{"echo", echo.URL}, {"infer", h.url + "/v2/models/scores/infer"}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r, _ := http.NewRequest("POST", c.url, strings.NewReader(oneRow))
				r.Header.Set("Authorization", "Bearer secret")
				res, err := http.DefaultClient.Do(r)
				if err != nil {
					b.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, res.Body)
				res.Body.Close()
				if res.StatusCode != 200 {
					b.Fatal(res.Status)
				}
			}
		})
	}
}

// fixed is a models that takes no time.
type fixed struct {
	*serving.Service
	answer serving.Answer
}

func (f *fixed) Infer(context.Context, *serving.Call) (serving.Answer, error) { return f.answer, nil }

// discard is a response nobody reads.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(int)             {}

// BenchmarkHandler is what this package adds to a one-row request: no network, no model, no door.
func BenchmarkHandler(b *testing.B) {
	f := &fixed{new(serving.Service), serving.Answer{ID: "06b5w7q1m8v3t0c9x2z4n6p8r0", Version: 3, Outputs: []tensor.Tensor{tensor.FP32s("predict", []int{1, 1}, []float32{0.25})}}}
	h := &Handler{Models: f, Log: slog.New(slog.DiscardHandler)}
	h.Routes(rest.New("test", gate{}, h.Log))
	body, _ := sample(1, false)
	b.ReportAllocs()
	r := httptest.NewRequest("POST", "/v2/models/scores/infer", nil)
	r.SetPathValue("name", "scores")
	in := strings.NewReader("")
	text := string(body)
	r.Body, r.ContentLength = io.NopCloser(in), int64(len(text))
	w := &discard{http.Header{}}
	for b.Loop() {
		in.Reset(text)
		h.infer(w, r)
	}
}
