package python

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"keelson/internal/engine"
	"keelson/internal/engine/enginetest"
	"keelson/internal/problem"
	"keelson/internal/proc"
	"keelson/internal/tensor"
	"keelson/internal/venv"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "internal-python" {
		os.Exit(Launch(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// python is the variable that names a Python with mlflow and scikit-learn; make test sets it.
const python = "KEELSON_MLFLOW_PYTHON"

func interpreter(t testing.TB) string {
	t.Helper()
	p := os.Getenv(python)
	if p == "" {
		t.Skip(python + " is not set: it names a Python with mlflow and scikit-learn, in which the models run; make test sets it")
	}
	return p
}

// open gives an engine over a Python that is there.
func open(t testing.TB, change func(*Engine)) *Engine {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	e := &Engine{Self: []string{self, "internal-python"}, Root: filepath.Join(t.TempDir(), "python"), Envs: &venv.Environments{Python: interpreter(t)}, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	if change != nil {
		change(e)
	}
	if err := e.Open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

var models struct {
	once sync.Once
	dir  string
	out  []byte
	err  error
}

type call struct{ Inputs, Outputs []tensor.Tensor }

// made gives the folder with the models of testdata/models.py and what mlflow answers, made once.
func made(t testing.TB) (dir string, calls map[string]call) {
	t.Helper()
	py := interpreter(t)
	models.once.Do(func() {
		if models.dir, models.err = os.MkdirTemp("", "keelson-python-models"); models.err != nil {
			return
		}
		models.out, models.err = exec.Command(py, "testdata/models.py", models.dir).CombinedOutput()
	})
	if models.err != nil {
		t.Fatalf("%v\n%s", models.err, models.out)
	}
	b, err := os.ReadFile(filepath.Join(models.dir, "calls.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &calls); err != nil {
		t.Fatal(err)
	}
	return models.dir, calls
}

func load(t testing.TB, e *Engine, fsys fs.FS) engine.Model {
	t.Helper()
	m, err := tryLoad(e, fsys)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func tryLoad(e *Engine, fsys fs.FS) (engine.Model, error) {
	set, err := engine.NewSet(e)
	if err != nil {
		return nil, err
	}
	m, _, err := set.Load(context.Background(), fsys, "", engine.Limits{})
	return m, err
}

func TestModelsAnswerExactlyAsMLflow(t *testing.T) {
	dir, calls := made(t)
	e := open(t, nil)
	for name, c := range calls {
		t.Run(name, func(t *testing.T) {
			m := load(t, e, os.DirFS(filepath.Join(dir, name)))
			out, err := m.Predict(t.Context(), c.Inputs)
			if err != nil {
				t.Fatal(err)
			}
			if len(out) != len(c.Outputs) {
				t.Fatalf("%d outputs, want %d", len(out), len(c.Outputs))
			}
			for i := range out {
				if !out[i].Equal(&c.Outputs[i]) {
					t.Errorf("output %d is\n%s, mlflow answers\n%s", i, out[i].AppendJSON(nil), c.Outputs[i].AppendJSON(nil))
				}
			}
			where := m.(engine.Runner).Where()
			t.Log(where)
			if !strings.Contains(where, "processes of its own") {
				t.Errorf("it runs in %q", where)
			}
		})
	}
}

func TestContract(t *testing.T) {
	dir, calls := made(t)
	e := open(t, nil)
	b, err := os.ReadFile(filepath.Join(dir, "pickle", "model.joblib"))
	if err != nil {
		t.Fatal(err)
	}
	enginetest.Run(t, enginetest.Case{Engine: e, FS: fstest.MapFS{"model.joblib": {Data: b}}, Format: FormatPickle, Inputs: calls["pickle"].Inputs, Damaged: 3})
}

// hostile makes the pickles of testdata/hostile.py and gives what they are, by name.
func hostile(t *testing.T) (dir, secret string) {
	t.Helper()
	dir = t.TempDir()
	secret = filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("the secret of the server"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() { // ends with the listener
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Error("a model reached the network")
			c.Close()
		}
	}()
	port := l.Addr().(*net.TCPAddr).Port
	if out, err := exec.Command(interpreter(t), "testdata/hostile.py", dir, secret, fmt.Sprint(port)).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return dir, secret
}

func pickled(t *testing.T, dir, name string) fs.FS {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name+".pkl"))
	if err != nil {
		t.Fatal(err)
	}
	return fstest.MapFS{"model.pkl": {Data: b}, "signature.json": {Data: []byte(
		`{"inputs":[{"name":"input","datatype":"FP64","shape":[-1,1]}],"outputs":[{"name":"predict","datatype":"BYTES","shape":[-1]}]}`)}}
}

func one(v float64) []tensor.Tensor {
	return []tensor.Tensor{tensor.FP64s("input", []int{1, 1}, []float64{v})}
}

// notes asks a hostile model what came of its attempts.
func notes(t *testing.T, m engine.Model) map[string]string {
	t.Helper()
	out, err := m.Predict(t.Context(), one(0))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for n := range strings.SplitSeq(out[0].S[0], "; ") {
		t.Log(n)
		k, v, _ := strings.Cut(n, ": ")
		all[k] = v
	}
	return all
}

func TestWhatAPickleMustNotDoFails(t *testing.T) {
	t.Setenv("KEELSON_TEST_SECRET", "of the server")
	dir, _ := hostile(t)
	for _, level := range []string{LevelNamespaces, LevelLandlock} {
		t.Run(level, func(t *testing.T) {
			e := open(t, func(e *Engine) {
				e.Limits = Limits{Memory: 700 << 20, Disk: 8 << 20, Processes: 24, Load: 20 * time.Second, Call: 2 * time.Second}
			})
			iso, err := e.Isolated()
			if err != nil {
				t.Fatal(err)
			}
			if rank(iso.Level) < rank(level) {
				t.Skipf("this machine only allows %s", iso)
			}
			e.iso.Level = level
			failed := func(got map[string]string, attempts ...string) {
				t.Helper()
				for _, a := range attempts {
					if _, ok := got[a+" failed"]; !ok {
						t.Errorf("%s: %q", a, got[a])
					}
				}
			}
			t.Run("files", func(t *testing.T) {
				got := notes(t, load(t, e, pickled(t, dir, "files")))
				failed(got, "write beside the model", "write to /usr", "read a secret", "read /etc/shadow", "list the root's home")
				if _, ok := got["write at work"]; !ok {
					t.Error("it cannot write in its own folder")
				}
				if _, err := os.Stat("/tmp/keelson-escaped"); err == nil {
					os.Remove("/tmp/keelson-escaped")
					t.Error("it wrote to the machine's /tmp")
				}
			})
			t.Run("disk", func(t *testing.T) {
				m, err := tryLoad(e, pickled(t, dir, "disk"))
				if err != nil {
					if !strings.Contains(err.Error(), "wrote more than its limit of 8 MiB") {
						t.Error(err)
					}
					return
				}
				failed(notes(t, m), "fill the disk")
				m.Close()
			})
			t.Run("network", func(t *testing.T) {
				got := notes(t, load(t, e, pickled(t, dir, "network")))
				failed(got, "connect", "resolve", "bind")
			})
			t.Run("environment", func(t *testing.T) {
				got := notes(t, load(t, e, pickled(t, dir, "environment")))
				if strings.Contains(got["environ"], "KEELSON") || strings.Contains(got["other processes"], "secret") {
					t.Errorf("it sees %v", got)
				}
				failed(got, "setuid")
				if v := got["unshare"]; v == "0" {
					t.Error("it can make namespaces")
				}
				if v := got["mount"]; !strings.Contains(v, "not permitted") && !strings.Contains(v, "denied") {
					t.Errorf("mounting: %s", v)
				}
			})
			t.Run("a call without end", func(t *testing.T) {
				m := load(t, e, pickled(t, dir, "spin"))
				_, err := m.Predict(t.Context(), one(1))
				if problem.KindOf(err) != problem.Unavailable || !strings.Contains(err.Error(), "longer than 2s") {
					t.Errorf("got %v", err)
				}
				if out, err := m.Predict(t.Context(), one(0)); err != nil || out[0].S[0] != "fine" {
					t.Errorf("the call after it got %v", err)
				}
			})
			t.Run("forks", func(t *testing.T) {
				m, err := tryLoad(e, pickled(t, dir, "fork"))
				if err != nil { // ended for the number of its processes
					if !strings.Contains(err.Error(), "processes") && !strings.Contains(err.Error(), "memory") {
						t.Error(err)
					}
					return
				}
				var n int
				if _, err := fmt.Sscanf(notes(t, m)["fork"], "%d children", &n); err != nil || n > 24 {
					t.Errorf("%d children (%v)", n, err)
				}
				pid := m.(*model).pids()[0]
				_, before := proc.Tree(pid)
				if err := m.Close(); err != nil {
					t.Error(err)
				}
				for _, p := range before {
					deadline(t, func() bool { f, err := proc.Stat(p); return err != nil || f[0] == "Z" }, "a child of the model lives on")
				}
			})
			for name, says := range map[string]string{"memory": "memory", "exit": "code 7", "hang": "did not load the model within", "garbage": "no answer"} {
				if name == "hang" && level == LevelLandlock {
					continue // takes its time once
				}
				t.Run(name, func(t *testing.T) {
					if name == "hang" {
						e.Limits.Load = 3 * time.Second
						defer func() { e.Limits.Load = 20 * time.Second }()
					}
					m, err := tryLoad(e, pickled(t, dir, name))
					if problem.KindOf(err) != problem.Invalid || !strings.Contains(err.Error(), says) {
						t.Errorf("got %v %v, want a refusal that tells of %q", m, err, says)
					}
				})
			}
			t.Run("what it prints is no answer", func(t *testing.T) {
				if got := notes(t, load(t, e, pickled(t, dir, "prints"))); got["print"] != "printed" {
					t.Errorf("got %v", got)
				}
			})
			if n, _ := e.use(); n != len(e.State()) {
				deadline(t, func() bool { n, _ := e.use(); return n == len(e.State()) }, "children are left")
			}
		})
	}
}

func deadline(t *testing.T, ok func() bool, what string) {
	t.Helper()
	until := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(until) {
			t.Fatal(what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestACrashCostsOneCallAndNothingElse(t *testing.T) {
	dir, _ := hostile(t)
	var mu sync.Mutex
	var faults []string
	falls := 0
	e := open(t, func(e *Engine) {
		e.Fell = func(_ context.Context, f engine.Fall) {
			mu.Lock()
			defer mu.Unlock()
			falls++
			if f.Rests {
				faults = append(faults, f.Ref+" "+f.Why)
			}
		}
	})
	set, err := engine.NewSet(e)
	if err != nil {
		t.Fatal(err)
	}
	m, _, err := set.Load(engine.WithRef(t.Context(), "frail/1"), pickled(t, dir, "die"), "", engine.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	other := load(t, e, pickled(t, dir, "prints"))
	stop, bad := make(chan struct{}), make(chan error, 1)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := other.Predict(t.Context(), one(0)); err != nil {
				select {
				case bad <- err:
				default:
				}
			}
		}
	})
	first, err := m.Predict(t.Context(), one(0))
	if err != nil {
		t.Fatal(err)
	}
	// The call that is in the child fails, those that wait behind it are answered by the next child.
	var failures, answers int
	var inner sync.WaitGroup
	for i := range 5 {
		inner.Go(func() {
			v := 0.0
			if i == 0 {
				v = 1
			}
			_, err := m.Predict(t.Context(), one(v))
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				answers++
			case problem.KindOf(err) == problem.Unavailable && strings.Contains(err.Error(), "code 3") && v == 1:
				failures++
			default:
				t.Errorf("call %d: %v", i, err)
			}
		})
	}
	inner.Wait()
	if failures != 1 || answers != 4 {
		t.Errorf("%d calls failed and %d were answered, want 1 and 4", failures, answers)
	}
	again, err := m.Predict(t.Context(), one(0))
	if err != nil || again[0].S[0] == first[0].S[0] {
		t.Errorf("after the crash it answers %v %v", again, err)
	}
	// Killed from outside while nobody calls: nobody notices.
	proc.Kill(m.(*model).pids()[0])
	deadline(t, func() bool { return e.State()[1].Restarts == 2 || e.State()[0].Restarts == 2 }, "no new process came")
	if _, err := m.Predict(t.Context(), one(0)); err != nil {
		t.Errorf("after kill -9: %v", err)
	}
	deadline(t, func() bool { // from the fourth crash on, calls do not wait for the next start
		if _, err = m.Predict(t.Context(), one(1)); problem.KindOf(err) != problem.Unavailable {
			t.Errorf("got %v", err)
		}
		mu.Lock()
		defer mu.Unlock()
		return len(faults) == 1
	}, "the fault was not told")
	if !strings.Contains(faults[0], "frail/1 it ended with code 3") || falls != 5 {
		t.Errorf("told: %v, of %d falls", faults, falls)
	}
	began := time.Now()
	if _, err := m.Predict(t.Context(), one(0)); problem.KindOf(err) != problem.Unavailable || !strings.Contains(err.Error(), "frail/1 ended its Python process 5 times within 10m0s and rests until") || time.Since(began) > time.Second {
		t.Errorf("a version at fault: %v after %s", err, time.Since(began))
	}
	close(stop)
	wg.Wait()
	select {
	case err := <-bad:
		t.Errorf("another model noticed: %v", err)
	default:
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

func TestAStandbyTakesOverAtOnce(t *testing.T) {
	dir, _ := hostile(t)
	e := open(t, func(e *Engine) { e.Standby, e.Children = 1, 2 })
	m := load(t, e, pickled(t, dir, "die"))
	deadline(t, func() bool { return len(m.(*model).pids()) == 3 }, "no standby came")
	began := time.Now()
	if _, err := m.Predict(t.Context(), one(1)); err == nil {
		t.Fatal("it did not crash")
	}
	seen := map[string]bool{}
	for len(seen) < 2 && time.Since(began) < 10*time.Second {
		out, err := m.Predict(t.Context(), one(0))
		if err != nil {
			t.Fatal(err)
		}
		seen[out[0].S[0]] = true
	}
	deadline(t, func() bool { return len(m.(*model).pids()) == 3 }, "the standby was not replaced")
}

func TestACallerThatGoesLeavesTheChildToFinish(t *testing.T) {
	dir, _ := hostile(t)
	m := load(t, open(t, nil), pickled(t, dir, "spin"))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := m.Predict(ctx, one(1)); err != context.DeadlineExceeded {
		t.Errorf("got %v", err)
	}
	m.Close()
	if _, err := m.Predict(t.Context(), one(0)); problem.KindOf(err) != problem.Unavailable {
		t.Errorf("a closed model: %v", err)
	}
}

func TestALevelThatIsDemandedAndNotThereIsRefused(t *testing.T) {
	iso := Isolation{Level: LevelLandlock, Why: "operation not permitted"}
	if err := iso.enough(LevelNamespaces); problem.KindOf(err) != problem.Unsupported {
		t.Errorf("got %v", err)
	}
	for _, ok := range []string{"", "any", LevelLimits, LevelLandlock} {
		if err := iso.enough(ok); err != nil {
			t.Errorf("%q: %v", ok, err)
		}
	}
}

func TestRanksOfWhatIsFound(t *testing.T) {
	ml := func(loader string) []byte {
		return []byte("artifact_path: model\nflavors:\n  python_function:\n    env:\n      conda: conda.yaml\n    loader_module: " + loader + "\n    python_version: 3.11.7\n  other:\n    data: model.ubj\n")
	}
	for name, c := range map[string]struct {
		files fstest.MapFS
		want  string
	}{
		"a class of its own, whatever lies beside":        {fstest.MapFS{"MLmodel": {Data: ml("mlflow.pyfunc.model")}, "a.pkl": {}, "b.pkl": {}}, "mlflow-pyfunc MLmodel -1"},
		"a flavour that another engine reads":             {fstest.MapFS{"MLmodel": {Data: ml("mlflow.xgboost")}, "model.ubj": {}}, "mlflow-pyfunc MLmodel 1"},
		"a pickle":                                        {fstest.MapFS{"x/model.PKL": {}}, "python-pickle x/model.PKL 1"},
		"an MLmodel without the flavour, beside a pickle": {fstest.MapFS{"MLmodel": {Data: []byte("flavors:\n  sklearn:\n    pickled_model: model.pkl\n")}, "model.pkl": {}}, "python-pickle model.pkl 1"},
		"nothing":                                {fstest.MapFS{"a.txt": {}}, ""},
		"a python_function that names no loader": {fstest.MapFS{"MLmodel": {Data: []byte("flavors:\n  python_function:\n    env: x\n")}}, ""},
		"a loader in quotes, beside files of other flavours": {fstest.MapFS{"MLmodel": {Data: ml("'mlflow.sklearn'")}, "x.ubj": {}}, "mlflow-pyfunc MLmodel -1"},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			found, err := (&Engine{}).Detect(c.files)
			for _, f := range found {
				got = append(got, fmt.Sprint(f.Format, " ", f.Path, " ", int(f.Rank)))
			}
			if err != nil || strings.Join(got, ", ") != c.want {
				t.Errorf("got %v %v, want %s", got, err, c.want)
			}
		})
	}
}

// FuzzParse: whatever a child sends, no panic, and no more is held than came.
func FuzzParse(f *testing.F) {
	good, err := message(order{}, []tensor.Tensor{tensor.FP64s("x", []int{2}, []float64{1, 2}), tensor.Strings("s", []int{1}, []string{"a"})})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(bytes.Replace(good[4:], []byte(`"inputs"`), []byte(`"outputs"`), 1))
	f.Add([]byte("\x02\x00\x00\x00{}"))
	f.Add([]byte("\xff\xff\xff\xff"))
	f.Add([]byte("\x4a\x00\x00\x00" + `{"outputs":[{"name":"x","type":"FP64","shape":[1000000000,8],"bytes":8}]}` + "12345678"))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, out, err := parse(b)
		if err != nil {
			return
		}
		n := 0
		for i := range out {
			if err := out[i].Check(); err != nil && !strings.Contains(err.Error(), "cannot hold") {
				t.Error(err)
			}
			n += out[i].RawSize()
		}
		if n > len(b) {
			t.Errorf("%d bytes of tensors out of %d", n, len(b))
		}
	})
}

func (m *model) pids() (list []int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for c := range m.all {
		list = append(list, c.pid)
	}
	return list
}

// BenchmarkOneRow is a call of one row: of MLflow's own predict over a data frame, of a pickle over an array.
func BenchmarkOneRow(b *testing.B) {
	dir, calls := made(b)
	e := open(b, nil)
	for _, name := range []string{"sklearn", "array", "pickle"} {
		m := load(b, e, os.DirFS(filepath.Join(dir, name)))
		var in []tensor.Tensor
		for _, t := range calls[name].Inputs {
			one := tensor.Tensor{Name: t.Name, Type: t.Type, Shape: append([]int{1}, t.Shape[1:]...)}
			w := t.Width()
			if t.F32 != nil {
				one.F32 = t.F32[:w]
			} else {
				one.F64 = t.F64[:w]
			}
			in = append(in, one)
		}
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := m.Predict(b.Context(), in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
