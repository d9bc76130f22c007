package conformance

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"keelson/client"
	"keelson/test/e2e"
)

// OIPPython names the interpreter of the environment of oip/requirements.txt; make test sets it.
const OIPPython = "KEELSON_OIP_PYTHON"

// oipCase is a model that oip/models.py made.
type oipCase struct{ Name, Engine, File, Format string }

// Every engine is asked every step of the Open Inference Protocol by the client of Triton as it is, over HTTP and gRPC, and
// MLflow's scoring call by MLflow's own client; answers are held against the library that made the model. KEELSON_CASES
// names the cases to run.
func TestTritonClientOnEveryEngine(t *testing.T) {
	py := os.Getenv(OIPPython)
	if py == "" {
		t.Skip(OIPPython + " is not set: it names a Python with test/conformance/oip/requirements.txt; make test sets it")
	}
	library := os.Getenv("KEELSON_TEST_ONNXRUNTIME")
	if library == "" {
		t.Skip("KEELSON_TEST_ONNXRUNTIME is not set: it names the library that keelson runtime install onnxruntime unpacks; make test sets it")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	data := t.TempDir()
	installed := filepath.Join(data, "runtime", filepath.Base(filepath.Dir(library)))
	if err := os.MkdirAll(installed, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(installed, os.DirFS(filepath.Dir(library))); err != nil {
		t.Fatal(err)
	}
	s := e2e.StartIn(t, data, "--outbound-allow", "127.0.0.1", "--python", py)

	folder := t.TempDir()
	script := func(name string, args ...string) error {
		path, err := filepath.Abs(filepath.Join("oip", name))
		if err != nil {
			return err
		}
		cmd := exec.CommandContext(ctx, py, append([]string{path}, args...)...)
		cmd.Dir, cmd.Env = folder, append(clean(), "HOME="+folder, "PYTHONDONTWRITEBYTECODE=1", "MLFLOW_DISABLE_TELEMETRY=true", "GIT_PYTHON_REFRESH=quiet")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s ended with %w:\n%s", name, err, out)
		}
		return nil
	}
	begin := time.Now()
	if err := script("models.py", folder, elsewhere(t, s)); err != nil {
		t.Fatal(err)
	}
	var cases []oipCase
	b, err := os.ReadFile(filepath.Join(folder, "cases.json"))
	if err == nil {
		err = json.Unmarshal(b, &cases)
	}
	if err != nil {
		t.Fatal(err)
	}
	deployAll(ctx, t, s, folder, cases)
	t.Logf("%d models made and deployed in %s", len(cases), time.Since(begin).Round(time.Second))

	only := strings.Fields(os.Getenv("KEELSON_CASES"))
	var halves [2][]string // models that ask others are asked by the same driver as those, because it counts calls
	var asked []oipCase
	for _, c := range cases {
		if len(only) == 0 || slices.Contains(only, c.Name) {
			half := 0
			if slices.Contains([]string{"onnx", "onnxruntime", "python"}, c.Engine) && !slices.Contains(passedOn, c.Name) {
				half = 1
			}
			halves[half] = append(halves[half], c.Name)
			asked = append(asked, c)
		}
	}
	var reports []string
	ask := func(steps string) {
		begin, ends, running := time.Now(), make(chan error, len(halves)), 0
		for _, names := range halves {
			if len(names) > 0 {
				report := filepath.Join(folder, fmt.Sprintf("report%d.jsonl", len(reports)))
				reports, running = append(reports, report), running+1
				go func() {
					ends <- script("driver.py", append([]string{folder, s.URL, s.Token, report, steps}, names...)...)
				}()
			}
		}
		for range running {
			if err := <-ends; err != nil {
				t.Error(err)
			}
		}
		t.Logf("the steps of %s were asked in %s", steps, time.Since(begin).Round(time.Second))
	}
	ask("live")
	splitAll(ctx, t, s, folder, asked)
	ask("split")
	for _, act := range []string{"suspend", "resume"} {
		for _, c := range asked {
			if err := s.Client("").Post(ctx, "/api/v1/deployments/"+c.Name+".dev/"+act, map[string]string{"reason": "asked by other people's clients"}, nil); err != nil {
				t.Fatalf("%s %s: %v", act, c.Name, err)
			}
		}
		if act == "suspend" {
			ask("away")
		}
	}
	for _, c := range asked {
		if err := s.Client("").Get(ctx, "/v2/models/"+c.Name+".dev/versions/2/ready", nil); err != nil {
			t.Errorf("%s does not come back: %v", c.Name, err)
		}
	}
	oipReport(t, reports, cases, len(only) == 0)
}

// passedOn are models that remote ones ask.
var passedOn = []string{"onnx-types"}

// splitAll gives every case a second version, which answers half of the calls.
func splitAll(ctx context.Context, t *testing.T, s *e2e.Server, folder string, cases []oipCase) {
	t.Helper()
	author := s.Person(ctx, "ben", "data-scientist")
	for _, c := range cases {
		v, err := author.Register(ctx, c.Name, client.NewVersion{Format: formatOf(c), Description: "again"}, artifacts(t, filepath.Join(folder, c.File)))
		if err == nil {
			v, err = author.WaitVersion(ctx, c.Name, v.Version)
		}
		if err != nil || v.Version != 2 || v.State != "ready" || v.Engine != c.Engine {
			t.Fatalf("version %d of %s is %s on the engine %q: %s (%v)", v.Version, c.Name, v.State, v.Engine, v.Reason, err)
		}
		half := &client.Rollout{Mode: "canary", Steps: []client.Increment{{Share: 50}}}
		if _, err := author.Propose(ctx, client.NewApproval{Kind: "deploy", Model: c.Name, Version: 2, Environment: "dev", Plan: half, Reason: "half of the calls", WhenApproved: true}); err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
	}
	for _, c := range cases {
		if _, err := client.Wait(ctx, func(ctx context.Context) (bool, bool, error) {
			err := s.Client("").Get(ctx, "/v2/models/"+c.Name+".dev/versions/2/ready", nil)
			return true, err == nil, nil
		}); err != nil {
			t.Fatalf("version 2 of %s does not answer: %v", c.Name, err)
		}
	}
}

// formatOf is what the registration of a case names, where a file is one of several engines'.
func formatOf(c oipCase) string {
	return map[string]string{"onnx": "onnx", "onnxruntime": "onnxruntime"}[c.Format]
}

// elsewhere is the other party of remote models: it passes the protocol on to s, and answers /score in a form of its own.
func elsewhere(t *testing.T, s *e2e.Server) string {
	t.Helper()
	to, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	peer := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		if r.In.URL.Path == "/score" {
			r.Out.URL.Path = "/v2/models/xgboost-json.dev/invocations"
		}
		r.Out.Header.Set("Authorization", "Bearer "+s.Token)
	}})
	t.Cleanup(peer.Close)
	return peer.URL
}

// deployAll registers every case, with the engine that it is for, and waits until all answer.
func deployAll(ctx context.Context, t *testing.T, s *e2e.Server, folder string, cases []oipCase) {
	t.Helper()
	author := s.Person(ctx, "ana", "data-scientist")
	deploy := func(list []oipCase) {
		for _, c := range list {
			if _, err := author.Register(ctx, c.Name, client.NewVersion{Format: formatOf(c)}, artifacts(t, filepath.Join(folder, c.File))); err != nil {
				t.Fatalf("%s: %v", c.Name, err)
			}
		}
		t.Logf("%d models registered", len(list))
		for _, c := range list {
			v, err := author.WaitVersion(ctx, c.Name, 1)
			if err != nil || v.State != "ready" || v.Engine != c.Engine {
				t.Fatalf("%s is %s on the engine %q: %s (%v)", c.Name, v.State, v.Engine, v.Reason, err)
			}
			if _, err := author.Propose(ctx, client.NewApproval{Kind: "deploy", Model: c.Name, Version: 1, Environment: "dev", Reason: "asked by other people's clients", WhenApproved: true}); err != nil {
				t.Fatalf("%s: %v", c.Name, err)
			}
		}
		for _, c := range list {
			if _, err := client.Wait(ctx, func(ctx context.Context) (bool, bool, error) {
				err := s.Client("").Get(ctx, "/v2/models/"+c.Name+".dev/ready", nil)
				return true, err == nil, nil
			}); err != nil {
				t.Fatalf("%s does not answer: %v", c.Name, err)
			}
		}
	}
	remote := slices.IndexFunc(cases, func(c oipCase) bool { return c.Engine == "remote" })
	if remote < 0 {
		t.Fatal("no model is served elsewhere")
	}
	deploy(cases[:remote])
	deploy(cases[remote:]) // their probes ask the first ones
}

func artifacts(t *testing.T, path string) []client.Artifact {
	t.Helper()
	list, err := client.Artifacts(path)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// oipReport makes a test of every step and prints how many each case passed, and which have no meaning for it.
func oipReport(t *testing.T, reports []string, cases []oipCase, whole bool) {
	var all bytes.Buffer
	for _, name := range reports {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(b)
	}
	type key struct{ name, transport string }
	type count struct {
		passed, failed int
		without        []string
	}
	counts := map[key]*count{}
	done := 0
	lines := bufio.NewScanner(&all)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var r struct {
			Case, Transport, Step, Skip, Error string
			OK, Done                           bool
			Seconds                            float64
		}
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		if r.Done {
			done++
			continue
		}
		k := key{r.Case, r.Transport}
		if counts[k] == nil {
			counts[k] = &count{}
		}
		switch {
		case r.Skip != "":
			counts[k].without = append(counts[k].without, r.Step+": "+r.Skip)
			continue
		case r.OK:
			counts[k].passed++
		default:
			counts[k].failed++
		}
		t.Run(r.Case+"/"+r.Transport+"/"+r.Step, func(t *testing.T) {
			if !r.OK {
				t.Errorf("%.2f s\n%s", r.Seconds, r.Error)
			}
		})
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	if done != len(reports) {
		t.Errorf("%d of %d drivers came to their end", done, len(reports))
	}
	engines := map[string]bool{}
	type sum struct{ cases, http, grpc, failed, without int }
	sums := map[string]*sum{}
	var table strings.Builder
	for _, c := range cases {
		for _, transport := range []string{"http", "grpc"} {
			n := counts[key{c.Name, transport}]
			if n == nil {
				if whole {
					t.Errorf("%s was not asked over %s", c.Name, transport)
				}
				continue
			}
			engines[c.Engine] = true
			if sums[c.Engine] == nil {
				sums[c.Engine] = &sum{}
			}
			of := sums[c.Engine]
			of.failed, of.without = of.failed+n.failed, of.without+len(n.without)
			if transport == "http" {
				of.cases, of.http = of.cases+1, of.http+n.passed
			} else {
				of.grpc += n.passed
			}
			fmt.Fprintf(&table, "%-18s %-11s %-4s %3d passed, %d failed, %d without meaning\n", c.Name, c.Engine, transport, n.passed, n.failed, len(n.without))
			for _, w := range n.without {
				fmt.Fprintf(&table, "    %s\n", w)
			}
			if whole && n.passed+n.failed < 75 {
				t.Errorf("%s over %s: %d steps were run, want at least 75", c.Name, transport, n.passed+n.failed)
			}
		}
	}
	t.Log("steps by model, engine and transport:\n" + table.String())
	var total strings.Builder
	for _, e := range slices.Sorted(maps.Keys(sums)) {
		n := sums[e]
		fmt.Fprintf(&total, "%-11s %d models  http %4d passed  grpc %4d passed  %d failed  %d without meaning\n", e, n.cases, n.http, n.grpc, n.failed, n.without)
	}
	t.Log("steps by engine:\n" + total.String())
	if whole {
		for _, e := range []string{"xgboost", "lightgbm", "linear", "onnx", "onnxruntime", "python", "remote", "cel"} {
			if !engines[e] {
				t.Errorf("no model was asked on the engine %s", e)
			}
		}
	}
}
