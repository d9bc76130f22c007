package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"keelson/client"
)

const kills = 20

// acked is what the server said yes to. None of it may be missing or doubled after any number of kills.
type acked struct {
	mu          sync.Mutex
	predictions map[string]float64 // id → the first input value
	outcomes    map[string]int     // prediction id → value
	metrics     map[string][]int64 // run → steps
	votes       map[string]string  // approval id → reason
	runs        []string           // pipeline runs
}

func (a *acked) with(fn func()) { a.mu.Lock(); defer a.mu.Unlock(); fn() }

// TestTwentyKills runs everything at once (predictions, outcomes, metrics, votes, pipelines) while the process is killed
// twenty times at random moments, each time started again. Then the books are compared.
func TestTwentyKills(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a minute")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
	defer cancel()
	s := Start(t)
	scientist := s.Person(ctx, "ana", "data-scientist")
	risk := s.Person(ctx, "bo", "risk-compliance")
	operator := s.Person(ctx, "cem", "it-operations")

	deployed(ctx, t, scientist, scientist, "kettle")
	if _, err := scientist.SavePipeline(ctx, "steps", []byte(stepsYAML), stepsSource(t), client.Source{}); err != nil {
		t.Fatal(err)
	}

	books := &acked{predictions: map[string]float64{}, outcomes: map[string]int{}, metrics: map[string][]int64{}, votes: map[string]string{}}
	work, rest := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for _, fn := range []func(context.Context){
		func(ctx context.Context) { predict(ctx, t, s, operator, books) },
		func(ctx context.Context) { predict(ctx, t, s, operator, books) },
		func(ctx context.Context) { tell(ctx, t, scientist, books) },
		func(ctx context.Context) { track(ctx, t, s, scientist, books) },
		func(ctx context.Context) { govern(ctx, t, scientist, risk, 1, books) },
		func(ctx context.Context) { pipelines(ctx, t, scientist, books) },
	} {
		wg.Go(func() { fn(work) })
	}
	slowest := time.Duration(0)
	seed := uint64(time.Now().UnixNano())
	dice := rand.New(rand.NewPCG(seed, 1))
	t.Logf("seed %d", seed)
	for range kills {
		select {
		case <-time.After(time.Duration(200+dice.IntN(2300)) * time.Millisecond):
		case <-ctx.Done():
			t.Fatal("time is up")
		}
		s.Kill()
		began := time.Now()
		if err := s.Run(); err != nil {
			t.Fatal(err)
		}
		slowest = max(slowest, time.Since(began))
	}
	// A pipeline that was under way goes on within five seconds of the last start.
	resumed := time.Now()
	if id := books.unfinished(ctx, t, scientist); id != "" {
		if _, err := client.Wait(ctx, func(ctx context.Context) (int, bool, error) {
			r, err := scientist.PipelineRun(ctx, id)
			busy := r.Ended()
			for _, st := range r.Steps {
				busy = busy || st.State == "running"
			}
			return 0, err == nil && busy, err
		}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(resumed); took > 5*time.Second {
			t.Errorf("run %s was taken up again after %s", id, took)
		}
	}
	rest()
	wg.Wait()
	t.Logf("slowest start %s; acknowledged: %d predictions, %d outcomes, %d metrics, %d votes, %d pipeline runs", slowest.Round(time.Millisecond),
		len(books.predictions), len(books.outcomes), books.points(), len(books.votes), len(books.runs))
	if len(books.predictions) < 100 || len(books.outcomes) < 20 || books.points() < 50 || len(books.votes) < 5 || len(books.runs) < 2 {
		t.Errorf("too little was done to show anything")
	}
	books.compare(ctx, t, s, scientist, risk)
}

// pause is the rhythm of a caller: it waits for a while or until the work is over.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// ignoreMissing takes "not there" for "not yet there", in the shape of any protocol.
func ignoreMissing(err error) error {
	var e *client.Error
	if errors.As(err, &e) && e.Status == http.StatusNotFound {
		return nil
	}
	return err
}

// gone reports errors that a killed server causes; anything else is a finding.
func gone(ctx context.Context, t *testing.T, what string, err error) bool {
	var u *client.Unreachable
	var e *client.Error
	switch {
	case err == nil:
		return false
	case ctx.Err() != nil, errors.As(err, &u):
	case errors.As(err, &e) && (e.Status == 503 || e.Status == 401 && strings.Contains(e.Detail, "starting")):
	default:
		t.Errorf("%s: %v", what, err)
	}
	pause(ctx, 50*time.Millisecond)
	return true
}

func predict(ctx context.Context, t *testing.T, s *Server, c *client.Client, books *acked) {
	var meta struct {
		Inputs []struct {
			Name, Datatype string
			Shape          []int
		}
	}
	for ctx.Err() == nil {
		err := c.Get(ctx, "/v2/models/kettle.dev", &meta)
		if err == nil {
			break
		}
		gone(ctx, t, "metadata", ignoreMissing(err)) // a release is not there until it is loaded
	}
	if ctx.Err() != nil {
		return
	}
	in := meta.Inputs[0]
	for ctx.Err() == nil {
		x := rand.Float64()
		row := make([]float64, in.Shape[1])
		row[0] = x
		var out struct {
			Parameters struct {
				ID string `json:"prediction_id"`
			}
		}
		body := map[string]any{"inputs": []any{map[string]any{"name": in.Name, "datatype": in.Datatype, "shape": []int{1, in.Shape[1]}, "data": row}}}
		if gone(ctx, t, "infer", c.Infer(ctx, "kettle.dev", body, &out)) {
			continue
		}
		if out.Parameters.ID == "" {
			t.Error("an answer without a prediction id")
			return
		}
		books.with(func() { books.predictions[out.Parameters.ID] = x })
		pause(ctx, time.Duration(rand.IntN(8))*time.Millisecond)
	}
}

// tell posts outcomes of acknowledged predictions, each until it is acknowledged.
func tell(ctx context.Context, t *testing.T, c *client.Client, books *acked) {
	for ctx.Err() == nil {
		id := ""
		books.with(func() {
			for p := range books.predictions {
				if _, told := books.outcomes[p]; !told {
					id = p
					break
				}
			}
		})
		value := rand.IntN(100)
		for id != "" && ctx.Err() == nil {
			if _, _, err := c.AddOutcomes(ctx, []client.Outcome{{PredictionID: id, Row: 0, Value: value}}); gone(ctx, t, "outcome", err) {
				continue
			}
			books.with(func() { books.outcomes[id] = value })
			break
		}
		pause(ctx, 15*time.Millisecond)
	}
}

func track(ctx context.Context, t *testing.T, s *Server, c *client.Client, books *acked) {
	var exp struct {
		ID string `json:"experiment_id"`
	}
	for gone(ctx, t, "experiment", c.Post(ctx, "/api/2.0/mlflow/experiments/create", map[string]any{"name": fmt.Sprint("kills-", rand.Uint32())}, &exp)) {
		if ctx.Err() != nil {
			return
		}
	}
	var run struct {
		Run struct{ Info struct{ Run_id string } }
	}
	for gone(ctx, t, "run", c.Post(ctx, "/api/2.0/mlflow/runs/create", map[string]any{"experiment_id": exp.ID, "start_time": 1}, &run)) {
		if ctx.Err() != nil {
			return
		}
	}
	id := run.Run.Info.Run_id
	for step := int64(0); ctx.Err() == nil; {
		m := []map[string]any{{"key": "loss", "value": 1 / float64(step+1), "timestamp": step + 1, "step": step}}
		if gone(ctx, t, "log-batch", c.Post(ctx, "/api/2.0/mlflow/runs/log-batch", map[string]any{"run_id": id, "metrics": m}, nil)) {
			continue // the same point again is stored once
		}
		books.with(func() { books.metrics[id] = append(books.metrics[id], step) })
		step++
		pause(ctx, 10*time.Millisecond)
	}
}

// govern opens requests for prod (which stay open: nothing is evaluated there) and votes on requests for dev.
func govern(ctx context.Context, t *testing.T, author, voter *client.Client, version int, books *acked) {
	for n := 0; ctx.Err() == nil; n++ {
		reason := fmt.Sprintf("round %d of %d", n, rand.Uint32())
		a, err := author.Propose(ctx, client.NewApproval{Kind: "retire", Model: "kettle", Version: version, Environment: "prod", Reason: reason})
		if client.IsKind(err, "conflict") { // one is open already: take that
			list, err2 := client.All[client.Approval](ctx, author, "/api/v1/approvals", url.Values{"state": {"open"}}, 10)
			if gone(ctx, t, "open requests", err2) || len(list) == 0 {
				continue
			}
			a, err = list[0], nil
		}
		if gone(ctx, t, "propose", err) {
			continue
		}
		for ctx.Err() == nil {
			_, err := voter.Vote(ctx, a.ID, false, reason)
			if client.IsKind(err, "conflict") {
				break // the vote before the kill had been taken, or it is settled
			}
			if gone(ctx, t, "vote", err) {
				continue
			}
			books.with(func() { books.votes[a.ID] = reason })
			break
		}
		pause(ctx, 100*time.Millisecond)
	}
}

const stepsYAML = `name: steps
steps:
  first:
    kind: command
    run: [sh, -c, "sleep 0.3; echo first >> $KEELSON_OUTPUT/first"]
  left:
    kind: command
    needs: [first]
    run: [sh, -c, "sleep 0.8; echo left"]
  right:
    kind: command
    needs: [first]
    run: [sh, -c, "sleep 0.8; echo right"]
  last:
    kind: command
    needs: [left, right]
    run: [sh, -c, "sleep 0.3; echo last"]
`

func stepsSource(t *testing.T) *bytes.Buffer {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	if err := w.WriteHeader(&tar.Header{Name: "keelson.yaml", Mode: 0o600, Size: int64(len(stepsYAML))}); err != nil {
		t.Fatal(err)
	}
	w.Write([]byte(stepsYAML))
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return &b
}

func pipelines(ctx context.Context, t *testing.T, c *client.Client, books *acked) {
	for ctx.Err() == nil {
		r, err := c.RunPipeline(ctx, "steps", client.RunRequest{})
		if client.IsKind(err, "conflict") || gone(ctx, t, "run pipeline", err) {
			continue
		}
		books.with(func() { books.runs = append(books.runs, r.ID) })
		for ctx.Err() == nil {
			r, err := c.PipelineRun(ctx, r.ID)
			if !gone(ctx, t, "pipeline run", err) && r.Ended() {
				break
			}
			pause(ctx, 100*time.Millisecond)
		}
	}
}

func (a *acked) points() (n int) {
	for _, steps := range a.metrics {
		n += len(steps)
	}
	return n
}

func (a *acked) unfinished(ctx context.Context, t *testing.T, c *client.Client) string {
	a.mu.Lock()
	runs := append([]string(nil), a.runs...)
	a.mu.Unlock()
	for _, id := range runs {
		if r, err := c.PipelineRun(ctx, id); err == nil && !r.Ended() {
			return id
		}
	}
	return ""
}

// compare holds what the server has against what it acknowledged.
func (a *acked) compare(ctx context.Context, t *testing.T, s *Server, scientist, risk *client.Client) {
	list, err := client.All[client.Prediction](ctx, scientist, "/api/v1/predictions", url.Values{"endpoint": {"kettle.dev"}, "limit": {"1000"}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	times := map[string]int{}
	for _, p := range list {
		times[p.ID]++
	}
	for id := range a.predictions {
		if times[id] != 1 {
			t.Errorf("prediction %s is in the log %d times", id, times[id])
		}
	}
	for id, n := range times {
		if n > 1 {
			t.Errorf("prediction %s is in the log %d times", id, n)
		}
	}
	for id, want := range a.outcomes {
		var p client.Prediction
		if err := scientist.Get(ctx, "/api/v1/predictions/"+id, &p); err != nil {
			t.Errorf("prediction %s: %v", id, err)
			continue
		}
		if len(p.Outcomes) != 1 || fmt.Sprint(p.Outcomes[0].Value) != strconv.Itoa(want) {
			t.Errorf("prediction %s has the outcomes %v, want %d once", id, p.Outcomes, want)
		}
	}
	for run, steps := range a.metrics {
		seen := map[int64]int{}
		for token := ""; ; {
			var h struct {
				Metrics []struct{ Step int64 }
				Next    string `json:"next_page_token"`
			}
			if err := scientist.Get(ctx, "/api/2.0/mlflow/metrics/get-history?metric_key=loss&max_results=1000&run_id="+run+"&page_token="+url.QueryEscape(token), &h); err != nil {
				t.Fatal(err)
			}
			for _, m := range h.Metrics {
				seen[m.Step]++
			}
			if token = h.Next; token == "" {
				break
			}
		}
		for _, st := range steps {
			if seen[st] != 1 {
				t.Errorf("step %d of run %s was stored %d times", st, run, seen[st])
			}
		}
	}
	for id, reason := range a.votes {
		got, err := risk.Approval(ctx, id)
		n := 0
		for _, v := range got.Votes {
			if v.Reason == reason {
				n++
			}
		}
		if err != nil || n != 1 {
			t.Errorf("request %s has the vote %q %d times, %v", id, reason, n, err)
		}
		entries, err := client.All[client.Entry](ctx, risk, "/api/v1/audit", url.Values{"object": {"approval/" + id}, "action": {"approval.voted"}}, 0)
		if err != nil || len(entries) != 1 {
			t.Errorf("request %s has %d audited votes, %v", id, len(entries), err)
		}
	}
	for _, id := range a.runs {
		r, err := scientist.WaitPipelineRun(ctx, id, func(client.PipelineRun) {})
		if err != nil || r.State != "succeeded" {
			b, _ := json.Marshal(r.Steps)
			t.Errorf("pipeline run %s is %s, %v: %s", id, r.State, err, b)
		}
	}
	v, err := risk.VerifyAudit(ctx)
	if err != nil || !v.OK || v.Checked == 0 {
		t.Errorf("the audit log: %+v, %v", v, err)
	}
	if code := status(t, s.URL+"/readyz"); code != http.StatusOK {
		t.Errorf("readyz answers %d", code)
	}
}

func status(t *testing.T, url string) int {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	return res.StatusCode
}
