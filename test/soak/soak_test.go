// Package soak keeps the program under load for a while and watches it from outside: versions are replaced, malformed
// requests come in between, the process is killed, and in the end nothing that was acknowledged may be missing, no call may
// have failed, and memory and goroutines must be where they were. Its short forms are part of every test run; make soak
// runs them for KEELSON_TEST_SOAK, ten minutes.
package soak

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"keelson/client"
	"keelson/test/corpus"
	"keelson/test/e2e"
	"keelson/test/launch"
)

// length is how long a soak lasts, and whether it is the long form.
func length(t *testing.T, short time.Duration) (time.Duration, bool) {
	t.Helper()
	v := os.Getenv("KEELSON_TEST_SOAK")
	if v == "" {
		return short, false
	}
	d, err := time.ParseDuration(v)
	if err != nil {
		t.Fatalf("KEELSON_TEST_SOAK: %v", err)
	}
	return d, true
}

// world is a server with a model of several versions; version n answers n more than the sum of its input.
type world struct {
	*e2e.Server
	t      *testing.T
	ctx    context.Context
	author *client.Client
	http   *http.Client
}

const (
	model    = "meter"
	endpoint = model + ".dev"
)

func newWorld(ctx context.Context, t *testing.T, versions int, args ...string) *world {
	t.Helper()
	w := &world{Server: e2e.Start(t, args...), t: t, ctx: ctx, http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: 30 * time.Second}}
	t.Cleanup(w.http.CloseIdleConnections)
	w.author = w.Person(ctx, "ana", "data-scientist", "ml-engineer")
	for n := 1; n <= versions; n++ {
		doc := fmt.Sprintf(`{"format":"keelson-linear-1","features":["a","b"],"coefficients":[1,1],"intercept":%d}`, n)
		v, err := w.author.Register(ctx, model, client.NewVersion{Kind: "ml"}, []client.Artifact{{Path: "model.linear.json", Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(doc)), nil }}})
		if err == nil {
			v, err = w.author.WaitVersion(ctx, model, v.Version)
		}
		if err != nil || v.State != "ready" || v.Version != n {
			t.Fatalf("version %d is %s (%s), %v", v.Version, v.State, v.Reason, err)
		}
	}
	return w
}

// deploy puts a version live and waits until it answers.
func (w *world) deploy(version int, durability string) error {
	if _, err := w.author.Propose(w.ctx, client.NewApproval{Kind: "deploy", Model: model, Version: version, Environment: "dev", Reason: "a soak", WhenApproved: true,
		Plan: &client.Rollout{Mode: "all", Durability: durability}}); err != nil {
		return fmt.Errorf("deploy version %d: %w", version, err)
	}
	if _, err := client.Wait(w.ctx, func(ctx context.Context) (int, bool, error) {
		a, err := w.ask(ctx, 1)
		return 0, err == nil && a.version == version, nil
	}); err != nil {
		return fmt.Errorf("version %d does not answer: %w", version, err)
	}
	return nil
}

// answer is what one call got.
type answer struct {
	id      string
	version int
	took    time.Duration
}

// ask makes one call whose right answer is x + version.
func (w *world) ask(ctx context.Context, x float64) (answer, error) {
	body := fmt.Sprintf(`{"inputs":[{"name":"input","shape":[1,2],"datatype":"FP64","data":[%v,0]}]}`, x)
	began := time.Now()
	status, b, err := w.post(ctx, "infer", []byte(body), nil)
	took := time.Since(began)
	if err != nil {
		return answer{}, err
	}
	if status != http.StatusOK {
		return answer{}, fmt.Errorf("%d %.300s", status, b)
	}
	var out struct {
		Version    string `json:"model_version"`
		Parameters struct {
			ID string `json:"prediction_id"`
		}
		Outputs []struct{ Data []float64 }
	}
	if err := json.Unmarshal(b, &out); err != nil {
		return answer{}, err
	}
	n, err := strconv.Atoi(out.Version)
	if err != nil || len(out.Outputs) == 0 || len(out.Outputs[0].Data) != 1 || out.Outputs[0].Data[0] != x+float64(n) || out.Parameters.ID == "" {
		return answer{}, fmt.Errorf("asked %v, got %s", x, b)
	}
	return answer{out.Parameters.ID, n, took}, nil
}

func (w *world) post(ctx context.Context, path string, body []byte, header map[string]string) (int, []byte, error) {
	res, b, err := w.send(ctx, endpoint, path, body, header)
	if err != nil {
		return 0, nil, err
	}
	return res.StatusCode, b, err
}

// send makes one call at an endpoint, and gives the answer with its body read.
func (w *world) send(ctx context.Context, endpoint, path string, body []byte, header map[string]string) (*http.Response, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, "POST", w.URL+"/v2/models/"+endpoint+"/"+path, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+w.Token)
	for k, v := range header {
		req.Header.Set(k, v)
	}
	res, err := w.http.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res, b, err
}

// goroutines reads how many the server has.
func (w *world) goroutines() int {
	w.t.Helper()
	res, err := http.Get(w.URL + "/metrics")
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^go_goroutines (\d+)`).FindSubmatch(b)
	if m == nil {
		w.t.Fatal("the metrics do not tell the number of goroutines")
	}
	n, err := strconv.Atoi(string(m[1]))
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// resident is the server's memory in megabytes.
func (w *world) resident() float64 {
	w.t.Helper()
	mb, err := launch.RSS(w.PID())
	if err != nil {
		w.t.Fatal(err)
	}
	return mb
}

const perSecond = 200

// until waits for a time or the end.
func until(ctx context.Context, at time.Time) {
	timer := time.NewTimer(time.Until(at))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func TestUnderLoadNoCallFailsWhileVersionsAreReplacedAndMemoryStaysFlat(t *testing.T) {
	lasts, long := length(t, 14*time.Second)
	ctx, cancel := context.WithTimeout(t.Context(), lasts+4*time.Minute)
	defer cancel()
	const versions = 3
	w := newWorld(ctx, t, versions)
	if err := w.deploy(1, "group"); err != nil {
		t.Fatal(err)
	}
	w.http.CloseIdleConnections()
	before := w.goroutines()

	end := time.Now().Add(lasts)
	load, stop := context.WithDeadline(ctx, end)
	defer stop()
	pace := rate.NewLimiter(perSecond, 4)
	var mu sync.Mutex
	var took []time.Duration
	var failed []string
	seen := map[int]int{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for n := 0; pace.Wait(load) == nil; n++ {
				a, err := w.ask(ctx, float64(n%100))
				mu.Lock()
				if err != nil {
					failed = append(failed, err.Error())
				} else {
					took = append(took, a.took)
					seen[a.version]++
				}
				mu.Unlock()
			}
		})
	}
	warm, replaced := 0.0, 0
	wg.Go(func() { // replaces the live version ten times, or every half minute of the long form
		every := max(lasts/10, 1200*time.Millisecond)
		if long {
			every = min(30*time.Second, lasts/10)
		}
		for next := time.Now().Add(every); next.Before(end); next = next.Add(every) {
			until(load, next)
			if err := w.deploy(replaced%versions+1, "group"); err != nil {
				t.Error(err)
				return
			}
			replaced++
			if warm == 0 && time.Until(end) < lasts/2 {
				warm = w.resident()
			}
		}
	})
	inputs := []corpus.Input{{Name: "input", Datatype: "FP64", Shape: []int{-1, 2}}}
	refused, slow := 0, []string{}
	wg.Go(func() { // malformed requests in between
		for _, c := range corpus.HTTP(inputs) {
			best := time.Hour
			for range 3 { // the fastest of three shows what a refusal takes; the rest is the machine
				began := time.Now()
				status, b, err := w.post(ctx, c.Path, c.Body, c.Header)
				best = min(best, time.Since(began))
				if err != nil || status >= 500 || !c.Perhaps && status < 400 {
					mu.Lock()
					failed = append(failed, fmt.Sprintf("%s: %d %.200s %v", c.Name, status, b, err))
					mu.Unlock()
				}
				if load.Err() != nil {
					return
				}
				if best < 50*time.Millisecond {
					break
				}
			}
			refused++
			if best > 50*time.Millisecond {
				slow = append(slow, fmt.Sprintf("%s took %s", c.Name, best))
			}
		}
	})
	wg.Wait()
	slices.Sort(took)
	p := func(share float64) time.Duration { return took[int(share*float64(len(took)-1))] }
	last := w.resident()
	t.Logf("%d calls in %s (%.0f a second), p50 %s, p99 %s, slowest %s; %d replacements, answers by version %v; %d malformed requests; memory %.0f MB, then %.0f MB",
		len(took), lasts, float64(len(took))/lasts.Seconds(), p(.5), p(.99), p(1), replaced, seen, refused, warm, last)
	for _, f := range failed[:min(len(failed), 10)] {
		t.Error(f)
	}
	if len(failed) > 0 {
		t.Errorf("%d calls failed", len(failed))
	}
	if replaced < 3 || len(seen) != versions || float64(len(took)) < perSecond*lasts.Seconds()/4 {
		t.Errorf("too little was done to show anything: %d calls, %d replacements", len(took), replaced)
	}
	if long && len(slow) > 0 {
		t.Errorf("refusals of more than 50 ms: %v", slow)
	}
	if last > warm*1.15+16 {
		t.Errorf("memory grew from %.0f to %.0f MB", warm, last)
	}
	w.http.CloseIdleConnections()
	// The job queue starts a dozen of its own some seconds after it came to lead, which may be after the first count. One
	// left behind by each replacement shows in the long form, which has at least twenty.
	const own = 16
	began, after := time.Now(), w.goroutines()
	if _, err := client.Wait(ctx, func(context.Context) (int, bool, error) { n := w.goroutines(); return n, n <= before+own, nil }); err != nil {
		t.Errorf("%d goroutines before, %d after the load: %v", before, w.goroutines(), err)
	}
	t.Logf("%d goroutines before, %d at the end of the load, %d after %s", before, after, w.goroutines(), time.Since(began).Round(time.Millisecond))
}

// books are the predictions that were acknowledged, by identifier with what was asked.
type books struct {
	mu  sync.Mutex
	ids map[string]float64
}

func TestNothingAcknowledgedIsMissingAfterTheProcessWasKilledUnderLoad(t *testing.T) {
	lasts, long := length(t, 0)
	kills := 3
	if long {
		kills = max(int(lasts/(30*time.Second)), 5)
	}
	ctx, cancel := context.WithTimeout(t.Context(), lasts+5*time.Minute)
	defer cancel()
	w := newWorld(ctx, t, 2)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	dice := rand.New(rand.NewPCG(seed, 1))
	b := &books{ids: map[string]float64{}}
	old, version := "", 0
	for _, durability := range []string{"group", "sync"} {
		version++
		if err := w.deploy(version, durability); err != nil {
			t.Fatal(err)
		}
		if old == "" {
			a, err := w.ask(ctx, 17.25)
			if err != nil {
				t.Fatal(err)
			}
			old = a.id
			b.ids[old] = 17.25
		}
		work, rest := context.WithCancel(ctx)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for n := 0; work.Err() == nil; n++ {
					x := float64(n % 1000)
					a, err := w.ask(work, x)
					if err != nil {
						if work.Err() == nil && !down(err) {
							t.Errorf("durability %s: %v", durability, err)
						}
						until(work, time.Now().Add(20*time.Millisecond))
						continue
					}
					b.mu.Lock()
					b.ids[a.id] = x
					b.mu.Unlock()
				}
			})
		}
		for range kills {
			have := func() int { b.mu.Lock(); defer b.mu.Unlock(); return len(b.ids) }
			from := have()
			if _, err := client.Wait(ctx, func(context.Context) (int, bool, error) { n := have(); return n, n > from+20, nil }); err != nil {
				t.Fatal(err)
			}
			until(ctx, time.Now().Add(time.Duration(dice.IntN(300))*time.Millisecond))
			w.Kill()
			if err := w.Run(); err != nil {
				t.Fatal(err)
			}
		}
		rest()
		wg.Wait()
	}
	// Every one is in the log once, with what was asked.
	var export bytes.Buffer
	if _, err := w.author.Download(ctx, "/api/v1/predictions/export?endpoint="+endpoint, &export); err != nil {
		t.Fatal(err)
	}
	times := map[string]int{}
	lines := bufio.NewScanner(&export)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var p struct {
			ID     string
			Inputs []struct{ Data []float64 }
		}
		if err := json.Unmarshal(lines.Bytes(), &p); err != nil {
			t.Fatal(err)
		}
		times[p.ID]++
		if x, ok := b.ids[p.ID]; ok && p.Inputs[0].Data[0] != x {
			t.Errorf("prediction %s was asked %v and is on record with %v", p.ID, x, p.Inputs[0].Data)
		}
	}
	missing := 0
	for id := range b.ids {
		if times[id] == 0 {
			missing++
		}
		if times[id] > 1 {
			t.Errorf("prediction %s is in the log %d times", id, times[id])
		}
	}
	t.Logf("%d acknowledged, %d on record, %d kills for each durability", len(b.ids), len(times), kills)
	if missing > 0 || len(b.ids) < 40*kills {
		t.Errorf("%d of %d acknowledged predictions are missing", missing, len(b.ids))
	}
	// The oldest was made by version 1; version 2 is live since, and the process was started again.
	var e struct {
		Version int
		Replay  struct {
			Identical  bool
			Difference float64
			Detail     string
		}
	}
	if err := w.author.Get(ctx, "/api/v1/predictions/"+old+"/explanation", &e); err != nil || e.Version != 1 || !e.Replay.Identical || e.Replay.Difference != 0 {
		t.Errorf("the replay of a decision of version 1: %+v, %v", e, err)
	}
}

// down tells whether a call failed because the process was gone or not yet up.
func down(err error) bool {
	words := err.Error()
	for _, w := range []string{"connection refused", "connection reset", "EOF", "broken pipe", "503 ", "server closed", "starting"} {
		if strings.Contains(words, w) {
			return true
		}
	}
	return false
}
