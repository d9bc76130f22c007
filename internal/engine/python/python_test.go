package python

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/sys/unix"

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
	for _, level := range []string{LevelNamespaces, LevelLandlock, LevelLimits} {
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
			t.Run("others", func(t *testing.T) {
				m := load(t, e, pickled(t, dir, "others"))
				got := notes(t, m)
				failed(got, "memfd", "memfd_secret", "shmget", "msgget", "semget", "outlive the server", "let orphans go", "sibling")
				for _, fine := range []string{"own limits", "pair", "signal itself"} {
					if _, ok := got[fine]; !ok {
						t.Errorf("%s: %s", fine, got[fine+" failed"])
					}
				}
				if level != LevelNamespaces {
					failed(got, "kill the server", "kill all", "tkill", "tgkill", "sigqueue", "tgsigqueue", "pidfd", "prlimit", "renice", "affinity", "ioprio", "fcntl owner", "fcntl signal", "ioctl owner",
						"unix socket", "datagram pair", "new session", "new group")
				}
				// What lost its parent is still counted, and ends with the child.
				if _, ok := got["orphan"]; !ok {
					t.Fatal("there is no orphan")
				}
				ended := watched(t, m, 2)
				if err := m.Close(); err != nil {
					t.Error(err)
				}
				ended()
			})
			if level == LevelLimits {
				return
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
				ended := watched(t, m, n+1)
				if err := m.Close(); err != nil {
					t.Error(err)
				}
				ended()
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
			e.mu.Lock()
			left := slices.Collect(maps.Keys(e.children))
			e.mu.Unlock()
			for _, c := range left { // of models that were closed or never loaded
				select {
				case <-c.gone:
				case <-time.After(20 * time.Second):
					t.Error("a child is left")
				}
			}
		})
	}
}

// watched finds the processes of a model, of which there are at least so many, and gives what waits until all have ended.
func watched(t *testing.T, m engine.Model, least int) func() {
	t.Helper()
	_, pids := proc.Tree(m.(*model).pids()[0])
	if len(pids) < least {
		t.Errorf("%d processes are below the model's, want %d", len(pids), least)
	}
	var fds []int
	for _, p := range pids {
		if fd, err := unix.PidfdOpen(p, 0); err == nil { // else it has ended
			fds = append(fds, fd)
		}
	}
	return func() {
		t.Helper()
		for _, fd := range fds {
			if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 20_000); n != 1 || err != nil {
				t.Errorf("a process of the model lives on (%v)", err)
			}
			unix.Close(fd)
		}
	}
}

// until waits for a change of the model after which it is so.
func until(t *testing.T, em engine.Model, so func() bool, what string) {
	t.Helper()
	m := em.(*model)
	late := time.After(20 * time.Second)
	for {
		m.mu.Lock()
		news := m.news
		m.mu.Unlock()
		if so() {
			return
		}
		select {
		case <-news:
		case <-late:
			t.Fatal(what)
		}
	}
}

func TestACrashCostsOneCallAndNothingElse(t *testing.T) {
	dir, _ := hostile(t)
	var mu sync.Mutex
	faults := make(chan string, 10)
	var falls atomic.Int64
	e := open(t, func(e *Engine) {
		e.Fell = func(_ context.Context, f engine.Fall) {
			falls.Add(1)
			if f.Rests {
				faults <- f.Ref + " " + f.Why
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
	restarts := func() (n int64) {
		for _, s := range e.State() {
			n += s.Restarts
		}
		return n
	}
	until(t, m, func() bool { return restarts() == 2 }, "no new process came")
	if _, err := m.Predict(t.Context(), one(0)); err != nil {
		t.Errorf("after kill -9: %v", err)
	}
	late := time.After(time.Minute)
	for told := ""; told == ""; { // from the fourth crash on, calls do not wait for the next start
		m.(*model).mu.Lock()
		news := m.(*model).news
		m.(*model).mu.Unlock()
		if _, err = m.Predict(t.Context(), one(1)); problem.KindOf(err) != problem.Unavailable {
			t.Errorf("got %v", err)
		}
		select {
		case told = <-faults:
			if !strings.Contains(told, "frail/1 it ended with code 3") || falls.Load() != 5 {
				t.Errorf("told: %s, of %d falls", told, falls.Load())
			}
		case <-news:
		case <-late:
			t.Fatal("the fault was not told")
		}
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
	until(t, m, func() bool { return len(m.(*model).pids()) == 3 }, "no standby came")
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
	until(t, m, func() bool { return len(m.(*model).pids()) == 3 }, "the standby was not replaced")
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

// TestAHostileHeaderCostsLittle: what is made of a header in memory is bounded, however it is built.
func TestAHostileHeaderCostsLittle(t *testing.T) {
	for _, c := range []struct {
		name        string
		head, unit  string
		bytes, most int
	}{
		{"outputs without end", `{"outputs":[`, "{},", 128 << 20, 1 << 20},
		{"outputs within the bound of bytes", `{"outputs":[`, "{},", 4 << 20, 1 << 20},
		{"as many outputs as are counted", `{"outputs":[`, "{},", 3 << 17, 64 << 20},
		{"inputs of a signature", `{"signature":{"inputs":[`, "{},", 3 << 17, 128 << 20},
		{"a shape without end", `{"outputs":[{"shape":[`, "1,", 4 << 20, 128 << 20},
		{"lists in lists", `{"outputs":`, "[", 4 << 20, 16 << 20},
		{"libraries", `{"libraries":{`, `"":"",`, 4 << 20, 64 << 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			head := c.head + strings.Repeat(c.unit, (c.bytes-len(c.head)-32)/len(c.unit))
			for _, tail := range []string{"{}]}", "1]}]}", "{}]}}", `"":""}}`, ""} {
				if json.Valid([]byte(head + tail)) {
					head += tail
					break
				}
			}
			body := append(binary.LittleEndian.AppendUint32(make([]byte, 0, len(head)+4), uint32(len(head))), head...)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, _, err := parse(body)
			runtime.ReadMemStats(&after)
			used := int(after.TotalAlloc - before.TotalAlloc)
			t.Logf("%d bytes of header took %d bytes: %v", len(head), used, err)
			if used > c.most {
				t.Errorf("%d bytes of header took %d bytes, %d are possible", len(head), used, c.most)
			}
			if len(head) > mostHeader && !errors.Is(err, errProtocol) {
				t.Errorf("got %v", err)
			}
		})
	}
	if _, err := message(order{Path: strings.Repeat("x", mostHeader)}, nil); problem.KindOf(err) != problem.TooLarge {
		t.Errorf("an order with a header beyond the bound: %v", err)
	}
	dir, _ := hostile(t)
	e := open(t, nil)
	m := load(t, e, pickled(t, dir, "wordy"))
	if _, err := m.Predict(t.Context(), one(1)); err == nil || !strings.Contains(err.Error(), "the model failed: xxx") || len(err.Error()) > 1000 {
		t.Errorf("a refusal of five megabytes: %.300v", err)
	}
	if out, err := m.Predict(t.Context(), one(0)); err != nil || e.State()[0].Restarts != 0 {
		t.Errorf("the call after it: %v %v", out, err)
	}
	wide := pickled(t, dir, "wide").(fstest.MapFS)
	delete(wide, "signature.json")
	if _, err := tryLoad(e, wide); problem.KindOf(err) != problem.Unsupported || !strings.Contains(err.Error(), "What describes the answer has") {
		t.Errorf("a signature beyond the bound: %v", err)
	}
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
