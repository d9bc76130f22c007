package soak

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"keelson/client"
	"keelson/internal/app"
	"keelson/internal/engine/python"
	"keelson/internal/oip/inference"
	"keelson/internal/proc"
	"keelson/test/corpus"
)

const (
	sum   = "sum" // a model in Python
	sumAt = sum + ".dev"
)

// withPython gives a world with the meter live and, beside it, an MLflow model of its author's own class.
func withPython(ctx context.Context, t *testing.T) *world {
	t.Helper()
	py := os.Getenv("KEELSON_MLFLOW_PYTHON")
	if py == "" {
		t.Skip("KEELSON_MLFLOW_PYTHON is not set: it names a Python with mlflow, in which the model runs; make test sets it")
	}
	dir := filepath.Join(t.TempDir(), "model")
	if out, err := exec.Command(py, "testdata/pyfunc.py", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	w := newWorld(ctx, t, 1, "--python", py)
	if err := w.deploy(1, "group"); err != nil {
		t.Fatal(err)
	}
	files, err := client.Artifacts(dir)
	if err != nil {
		t.Fatal(err)
	}
	v, err := w.author.Register(ctx, sum, client.NewVersion{Kind: "ml"}, files)
	if err == nil {
		v, err = w.author.WaitVersion(ctx, sum, v.Version)
	}
	if err != nil || v.State != "ready" {
		t.Fatalf("the model in Python is %s (%s), %v", v.State, v.Reason, err)
	}
	if _, err := client.Wait(ctx, func(ctx context.Context) (int, bool, error) { // its test in Python takes longer
		_, err := w.author.Propose(ctx, client.NewApproval{Kind: "deploy", Model: sum, Version: v.Version, Environment: "dev", Reason: "a soak", WhenApproved: true})
		return 0, err == nil, nil
	}); err != nil {
		t.Fatalf("the model in Python cannot be deployed: %v", err)
	}
	if _, err := client.Wait(ctx, func(ctx context.Context) (int, bool, error) {
		refused, err := w.sums(ctx, 1)
		return 0, err == nil && refused == "", nil
	}); err != nil {
		_, last := w.sums(ctx, 1)
		t.Fatalf("the model in Python does not answer: %v, %v", err, last)
	}
	return w
}

// sums makes one call of the model in Python. refused is what a 503 says, with its Retry-After in front.
func (w *world) sums(ctx context.Context, x float64) (refused string, err error) {
	body := fmt.Sprintf(`{"inputs":[{"name":"a","shape":[1],"datatype":"FP64","data":[%v]},{"name":"n","shape":[1],"datatype":"INT64","data":[2]},{"name":"flag","shape":[1],"datatype":"BOOL","data":[true]},{"name":"word","shape":[1],"datatype":"BYTES","data":["four"]}]}`, x)
	res, b, err := w.send(ctx, sumAt, "infer", []byte(body), nil)
	if err != nil {
		return "", err
	}
	var out struct {
		Error   string
		Outputs []struct{ Data []float64 }
	}
	if err := json.Unmarshal(b, &out); err != nil {
		return "", fmt.Errorf("%d %.300s", res.StatusCode, b)
	}
	switch {
	case res.StatusCode == http.StatusServiceUnavailable:
		return res.Header.Get("Retry-After") + " " + out.Error, nil
	case res.StatusCode != http.StatusOK || len(out.Outputs) != 1 || len(out.Outputs[0].Data) != 1 || out.Outputs[0].Data[0] != x+7:
		return "", fmt.Errorf("asked %v, got %d %.300s", x, res.StatusCode, b)
	}
	return "", nil
}

// child is what runs of the model in Python.
func (w *world) child(ctx context.Context) (python.State, error) {
	var e app.Engines
	if err := w.author.Get(ctx, "/api/v1/engines", &e); err != nil {
		return python.State{}, err
	}
	for _, s := range e.Python.Versions {
		if s.Version == sum+"/1" {
			return s, nil
		}
	}
	return python.State{}, fmt.Errorf("nothing of %s runs: %+v", sum, e.Python)
}

func TestAModelInPythonRefusesTheCorpusOfMalformedRequests(t *testing.T) {
	_, long := length(t, 0)
	limit := 250 * time.Millisecond // other tests run beside
	if long {
		limit = 50 * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	w := withPython(ctx, t)
	var doc struct{ Inputs []corpus.Input }
	if err := w.author.Get(ctx, "/v2/models/"+sumAt, &doc); err != nil || len(doc.Inputs) != 4 {
		t.Fatalf("it takes %+v, %v", doc, err)
	}
	before, err := w.child(ctx)
	if err != nil || len(before.Children) != 1 {
		t.Fatalf("%+v %v", before, err)
	}
	var slowest time.Duration
	// quick makes a call up to five times: the fastest shows what a refusal takes, the rest is the machine.
	quick := func(name string, call func()) {
		best := time.Hour
		for range 5 {
			began := time.Now()
			call()
			if best = min(best, time.Since(began)); best < 50*time.Millisecond {
				break
			}
		}
		slowest = max(slowest, best)
		if best > limit {
			t.Errorf("%s took %s", name, best)
		}
	}
	if res, b, err := w.send(ctx, sumAt, "infer", corpus.Whole(doc.Inputs), nil); err != nil || res.StatusCode != 200 {
		t.Fatalf("a whole request: %v %s", err, b)
	}
	cases := corpus.HTTP(doc.Inputs)
	for _, c := range cases {
		quick(c.Name, func() {
			res, b, err := w.send(ctx, sumAt, c.Path, c.Body, c.Header)
			var said map[string]any
			switch {
			case err != nil:
				t.Errorf("%s: %v", c.Name, err)
			case c.Perhaps && res.StatusCode == 200:
			case res.StatusCode < 400 || res.StatusCode > 499 || json.Unmarshal(b, &said) != nil || said["error"] == "":
				t.Errorf("%s: %d %.300s", c.Name, res.StatusCode, b)
			}
		})
	}
	conn, err := grpc.NewClient(strings.TrimPrefix(w.URL, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	stub := inference.NewGRPCInferenceServiceClient(conn)
	with := metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+w.Token)
	if _, err := stub.ModelInfer(with, corpus.WholeMessage(sumAt, doc.Inputs)); err != nil {
		t.Fatalf("a whole message: %v", err)
	}
	messages := corpus.GRPC(sumAt, doc.Inputs)
	refusals := map[codes.Code]bool{codes.InvalidArgument: true, codes.NotFound: true, codes.ResourceExhausted: true, codes.OutOfRange: true, codes.FailedPrecondition: true}
	for _, m := range messages {
		quick(m.Name, func() {
			if _, err := stub.ModelInfer(with, m.Request); !refusals[status.Code(err)] {
				t.Errorf("%s: %v", m.Name, err)
			}
		})
	}
	t.Logf("%d requests and %d messages; the slowest took %s", len(cases), len(messages), slowest)
	if after, err := w.child(ctx); err != nil || len(after.Children) != 1 || after.Children[0].PID != before.Children[0].PID || after.Restarts != 0 {
		t.Errorf("its process did not live through it: %+v, then %+v %v", before, after, err)
	}
}

// TestAKilledPythonProcessCostsItsOwnCallsAlone ends the process of a model again and again under load on another.
func TestAKilledPythonProcessCostsItsOwnCallsAlone(t *testing.T) {
	lasts, _ := length(t, 0)
	ctx, cancel := context.WithTimeout(t.Context(), lasts+8*time.Minute)
	defer cancel()
	w := withPython(ctx, t)
	load, stop := context.WithCancel(ctx)
	defer stop()
	began := time.Now()
	pace := rate.NewLimiter(perSecond, 4)
	var mu sync.Mutex
	var failed, refusals []string
	others, own := 0, 0
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for n := 0; pace.Wait(load) == nil; n++ {
				_, err := w.ask(ctx, float64(n%100))
				mu.Lock()
				if others++; err != nil {
					failed = append(failed, "another model: "+err.Error())
				}
				mu.Unlock()
			}
		})
	}
	for range 2 { // so that one is in the process whenever it ends
		wg.Go(func() {
			for n := 0; load.Err() == nil; n++ {
				refused, err := w.sums(ctx, float64(n%100))
				mu.Lock()
				switch {
				case err != nil:
					failed = append(failed, "the killed model: "+err.Error())
				case refused != "":
					refusals = append(refusals, refused)
				default:
					own++
				}
				mu.Unlock()
				if refused != "" { // as it says
					until(load, time.Now().Add(50*time.Millisecond))
				}
			}
		})
	}
	answered := func() int { mu.Lock(); defer mu.Unlock(); return own }
	kill := func() {
		t.Helper()
		from := answered()
		var s python.State
		if _, err := client.Wait(ctx, func(ctx context.Context) (int, bool, error) {
			var err error
			s, err = w.child(ctx)
			return 0, err == nil && len(s.Children) == 1 && answered() > from+20, nil
		}); err != nil {
			t.Fatalf("it does not answer: %+v, %v", s, err)
		}
		proc.Kill(s.Children[0].PID)
	}
	const kills = 4 // the fifth within ten minutes makes it rest
	for n := range kills {
		kill()
		at, from := time.Now(), answered()
		if _, err := client.Wait(ctx, func(ctx context.Context) (int, bool, error) {
			s, err := w.child(ctx)
			return 0, err == nil && s.Restarts == int64(n+1) && answered() > from+5, nil
		}); err != nil {
			t.Fatalf("after kill %d it does not serve again: %v", n+1, err)
		}
		took := time.Since(at)
		t.Logf("served again %s after kill %d", took.Round(time.Millisecond), n+1)
		if pause := time.Second << n / 2; n > 0 && took < pause {
			t.Errorf("after kill %d it was back after %s, want a pause of %s", n+1, took, pause)
		}
	}
	flat := w.resident()
	until(ctx, began.Add(min(lasts, 8*time.Minute))) // the long form goes on; nothing may fail any more
	kill()
	if _, err := client.Wait(ctx, func(ctx context.Context) (int, bool, error) {
		refused, err := w.sums(ctx, 1)
		return 0, err == nil && strings.Contains(refused, "rests until"), nil
	}); err != nil {
		t.Errorf("after %d ends within ten minutes it does not rest: %v", kills+1, err)
	}
	lived := time.Since(began)
	stop()
	wg.Wait()
	t.Logf("%d calls of another model in %s (%.0f a second), %d of its own, %d refused", others, lived.Round(time.Millisecond), float64(others)/lived.Seconds(), own, len(refusals))
	for _, f := range failed[:min(len(failed), 10)] {
		t.Error(f)
	}
	if len(failed) > 0 {
		t.Errorf("%d calls failed", len(failed))
	}
	if len(refusals) == 0 || float64(others) < perSecond*lived.Seconds()/4 {
		t.Errorf("too little was done to show anything: %d refusals, %d other calls", len(refusals), others)
	}
	for _, r := range refusals { // each says when to come back and what happens
		if !strings.HasPrefix(r, "1 ") || !strings.Contains(r, "try again") && !strings.Contains(r, "is started again in") && !strings.Contains(r, "rests until") {
			t.Errorf("a refusal without a way out: %s", r)
			break
		}
	}
	last := w.resident() // filing a segment of the log takes a hundred megabytes for a moment: what comes back is no growth
	for end := time.Now().Add(time.Minute); last > flat*1.15+32 && time.Now().Before(end); last = min(last, w.resident()) {
		until(ctx, time.Now().Add(time.Second))
	}
	if last > flat*1.15+32 {
		t.Errorf("memory grew from %.0f to %.0f MB", flat, last)
	}
}
