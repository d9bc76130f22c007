package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"keelson/internal/oip/inference"
)

// side is one of the servers, as a client sees it.
type side struct {
	url, token, suffix string
	grpcAt             string
	http               *http.Client
	stub               inference.GRPCInferenceServiceClient
}

func newSide(url, token, suffix, grpcAt string) *side {
	return &side{url: url, token: token, suffix: suffix, grpcAt: strings.TrimPrefix(grpcAt, "http://"),
		http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: time.Minute}}
}

const width = 20

// values are the same for everybody.
func values(rows int) []float32 {
	r := rand.New(rand.NewPCG(1, 2))
	v := make([]float32, rows*width)
	for i := range v {
		v[i] = float32(math.Round(r.NormFloat64()*1e4) / 1e4)
	}
	return v
}

// inputName is what each server's model calls its input; MLServer takes any.
func body(model string, rows int) []byte {
	var data strings.Builder
	for i, v := range values(rows) {
		if i > 0 {
			data.WriteByte(',')
		}
		data.WriteString(strconv.FormatFloat(float64(v), 'g', -1, 32))
	}
	return fmt.Appendf(nil, `{"inputs":[{"name":"input","shape":[%d,%d],"datatype":"FP32","data":[%s]}]}`, rows, width, &data)
}

// ask makes one call over HTTP.
func (s *side) ask(model string, payload []byte) (time.Duration, error) {
	path := "/v2/models/" + model + s.suffix + "/infer"
	req, err := http.NewRequest("POST", s.url+path, bytes.NewReader(payload))
	if err != nil {
		return 0, err
	}
	req.Header["Content-Type"] = []string{"application/json"}
	if s.token != "" {
		req.Header["Authorization"] = []string{"Bearer " + s.token}
	}
	began := time.Now()
	res, err := s.http.Do(req)
	if err != nil {
		return 0, err
	}
	text, err := io.ReadAll(res.Body)
	took := time.Since(began)
	res.Body.Close()
	if err == nil && res.StatusCode != 200 {
		err = fmt.Errorf("%s: %d %.300s", path, res.StatusCode, text)
	}
	return took, err
}

// plain is a client of one call, made beforehand, over one connection of its own: it takes as little of the machine as a
// client can, where the load is to be steady and the server alone shall be seen.
type plain struct {
	conn    net.Conn
	answers *bufio.Reader
	request []byte
}

func (s *side) plain(model string, payload []byte) (*plain, error) {
	host := strings.TrimPrefix(s.url, "http://")
	conn, err := net.Dial("tcp", host)
	if err != nil {
		return nil, err
	}
	request := fmt.Appendf(nil, "POST /v2/models/%s%s/infer HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n", model, s.suffix, host, len(payload))
	if s.token != "" {
		request = fmt.Appendf(request, "Authorization: Bearer %s\r\n", s.token)
	}
	return &plain{conn, bufio.NewReader(conn), append(append(request, "\r\n"...), payload...)}, nil
}

// ask makes the call; the answer names its length.
func (c *plain) ask() error {
	if _, err := c.conn.Write(c.request); err != nil {
		return err
	}
	status, length := "", -1
	for {
		line, err := c.answers.ReadSlice('\n')
		if err != nil {
			return err
		}
		line = bytes.TrimRight(line, "\r\n")
		if status == "" {
			status = string(line)
			continue
		}
		if len(line) == 0 {
			break
		}
		if name, value, _ := bytes.Cut(line, []byte(": ")); bytes.EqualFold(name, []byte("Content-Length")) {
			if length, err = strconv.Atoi(string(value)); err != nil {
				return err
			}
		}
	}
	if _, err := c.answers.Discard(length); err != nil {
		return err
	}
	if !strings.HasPrefix(status, "HTTP/1.1 200") {
		return fmt.Errorf("%s", status)
	}
	return nil
}

// askRaw makes one call over gRPC with raw contents.
func (s *side) askRaw(ctx context.Context, m *inference.ModelInferRequest) (time.Duration, error) {
	if s.stub == nil {
		conn, err := grpc.NewClient(s.grpcAt, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return 0, err
		}
		s.stub = inference.NewGRPCInferenceServiceClient(conn)
	}
	if s.token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+s.token)
	}
	began := time.Now()
	_, err := s.stub.ModelInfer(ctx, m)
	return time.Since(began), err
}

func (s *side) message(model string, rows int) *inference.ModelInferRequest {
	var raw []byte
	for _, v := range values(rows) {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
	}
	return &inference.ModelInferRequest{ModelName: model + s.suffix, RawInputContents: [][]byte{raw},
		Inputs: []*inference.ModelInferRequest_InferInputTensor{{Name: "input", Datatype: "FP32", Shape: []int64{int64(rows), width}}}}
}

// inTurns lets each side make calls one after another, turn by turn, and gives their times in microseconds. The first
// turn warms up and does not count.
func (b *bench) inTurns(calls ...func() (time.Duration, error)) ([][]float64, error) {
	out := make([][]float64, len(calls))
	for turn := range b.turns + 1 {
		for k, call := range calls {
			for range b.per {
				took, err := call()
				if err != nil {
					return nil, err
				}
				if turn > 0 {
					out[k] = append(out[k], float64(took.Nanoseconds())/1000)
				}
			}
		}
		if err := b.ctx.Err(); err != nil {
			return nil, err
		}
	}
	for _, v := range out {
		slices.Sort(v)
	}
	return out, nil
}

func p(v []float64, share float64) float64 { return v[min(int(share*float64(len(v))), len(v)-1)] }

// rate lets clients call without pause for as long as said and gives calls per second.
func rate(clients int, long time.Duration, call func() (time.Duration, error)) (float64, error) {
	var wg sync.WaitGroup
	errs := make([]error, clients)
	made := make([]int, clients)
	began := time.Now()
	for c := range clients {
		wg.Go(func() {
			for time.Since(began) < long {
				if _, errs[c] = call(); errs[c] != nil {
					return
				}
				made[c]++
			}
		})
	}
	wg.Wait()
	took := time.Since(began).Seconds()
	var all int
	for c, err := range errs {
		if err != nil {
			return 0, err
		}
		all += made[c]
	}
	return float64(all) / took, nil
}

// rates takes turns, of which the first does not count, and gives the median rate of each.
func (b *bench) rates(clients int, calls ...func() (time.Duration, error)) ([]float64, error) {
	all := make([][]float64, len(calls))
	for turn := range b.turns/2 + 1 {
		for k, call := range calls {
			r, err := rate(clients, b.long, call)
			if err != nil {
				return nil, err
			}
			if turn > 0 {
				all[k] = append(all[k], r)
			}
		}
		if err := b.ctx.Err(); err != nil {
			return nil, err
		}
	}
	out := make([]float64, len(calls))
	for k, v := range all {
		slices.Sort(v)
		out[k] = v[len(v)/2]
	}
	return out, nil
}
