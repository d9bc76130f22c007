// Package python runs models that only Python can load: MLflow models with the python_function flavour, and pickles of
// scikit-learn estimators. Loading them runs code of whoever made them, so it never happens in the server's process.
//
// Each loaded version has child processes of its own. A child is Python with our small program (worker.py) and the packages
// that the version's requirements.txt names; between the server and Python stands a launcher (Launch) that takes the
// isolation and the limits on itself before anything of the model is read. Server and child speak over a socket pair, in
// messages of a JSON header and raw tensors.
//
//	server ──▶ launcher: namespaces, a root with nothing but what it needs, limits, Landlock, no privileges ──▶ Python: load, answer
//
// A child answers one call at a time, in the order in which they came. A child that crashes, or takes longer than it may,
// costs the one call that was in it; a standby takes over, or another is started, later and later after each crash. After
// so many crashes in a while the version is at fault and rests.
//
//	ready ── crash ──▶ starting (at once, then after 1 s, 2 s, 4 s …) ──▶ ready
//	                       └── 5 crashes in 10 minutes ──▶ at fault, one more try after 10 minutes
//
// Formats "mlflow-pyfunc" and "python-pickle".
package python

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"keelson/internal/engine"
	"keelson/internal/problem"
	"keelson/internal/sandbox"
	"keelson/internal/venv"
)

// Formats.
const (
	FormatPyfunc = "mlflow-pyfunc"
	FormatPickle = "python-pickle"
)

//go:embed worker.py
var worker []byte

const (
	fileMLmodel      = "MLmodel"
	fileSignature    = "signature.json"
	fileRequirements = "requirements.txt"
)

// Engine runs models in children. Self, Root and Envs are required where models are loaded; without them an engine only
// recognises files.
type Engine struct {
	Self      []string // the command that calls Launch; its last argument is what to launch
	Root      string   // a folder for copies of models; emptied by Open
	Envs      *venv.Environments
	Limits    Limits
	Children  int    // per loaded version; default 1
	Standby   int    // further ones that wait for a crash
	Isolation string // the least level: any (or empty), landlock or namespaces
	Log       *slog.Logger
	Metrics   *Metrics
	// Fell hears of every process of a loaded version that ended by itself; ctx is that of its load. nil tells nobody.
	Fell func(ctx context.Context, f engine.Fall)

	tried    sync.Mutex
	iso      *Isolation // what holds children here; nil before it was found out
	mu       sync.Mutex
	children map[*child]bool
	models   map[*model]bool
	building map[string]bool // locks whose environments are being made
	metrics  chan struct{}   // has room for the metrics that are computed at once; made by Open
	closed   bool
}

// Open empties the folder of copies; what an earlier process left there is of no use.
func (e *Engine) Open() error {
	e.metrics = make(chan struct{}, mostMetrics)
	if err := os.RemoveAll(e.Root); err != nil {
		return fmt.Errorf("empty the folder of Python models: %w", err)
	}
	return os.MkdirAll(e.Root, 0o700)
}

// Close ends every child. Loads and calls fail from then on.
func (e *Engine) Close() error {
	e.mu.Lock()
	e.closed = true
	var all []*model
	for m := range e.models {
		all = append(all, m)
	}
	var left []*child
	for c := range e.children {
		left = append(left, c)
	}
	e.mu.Unlock()
	var errs []error
	for _, m := range all {
		errs = append(errs, m.Close())
	}
	for _, c := range left {
		c.kill("the server stops")
		<-c.gone
	}
	return errors.Join(errs...)
}

func (e *Engine) track(c *child, lives bool) {
	e.mu.Lock()
	if e.children == nil {
		e.children = map[*child]bool{}
	}
	if lives {
		e.children[c] = true
	} else {
		delete(e.children, c)
	}
	closed := e.closed
	e.mu.Unlock()
	if lives && closed {
		c.kill("the server stops")
	}
}

// Name is "python".
func (*Engine) Name() string { return "python" }

// Formats are two.
func (*Engine) Formats() []string { return []string{FormatPyfunc, FormatPickle} }

// LoadTime is how long a load may take.
func (e *Engine) LoadTime() time.Duration { return e.Limits.withDefaults().Load + 10*time.Second }

var (
	pyfunc = regexp.MustCompile(`(?m)^  python_function:\s*$`)
	loader = regexp.MustCompile(`(?m)^    loader_module:\s*['"]?([A-Za-z0-9_.]+)`)
)

// natively are the loaders of flavours whose files other engines may read themselves.
var natively = map[string]bool{"mlflow.xgboost": true, "mlflow.lightgbm": true, "mlflow.onnx": true}

// Detect takes an MLflow model with the python_function flavour, whose other files are then parts of it unless its flavour
// is one that engines read themselves; else files that end in .pkl, .pickle or .joblib.
func (*Engine) Detect(fsys fs.FS) (found []engine.Found, err error) {
	var pickles []engine.Found
	err = engine.Walk(fsys, func(p string, _ fs.DirEntry) error {
		if path.Base(p) == fileMLmodel {
			head, err := engine.Head(fsys, p, 64<<10)
			if err != nil {
				return err
			}
			by := loader.FindSubmatch(head)
			if !pyfunc.Match(head) || by == nil {
				return nil
			}
			r := engine.Whole
			if natively[string(by[1])] {
				r = engine.Resort
			}
			found = append(found, engine.Found{Engine: "python", Format: FormatPyfunc, Path: p, Rank: r})
			return nil
		}
		switch strings.ToLower(path.Ext(p)) {
		case ".pkl", ".pickle", ".joblib":
			pickles = append(pickles, engine.Found{Engine: "python", Format: FormatPickle, Path: p, Rank: engine.Resort})
		}
		return nil
	})
	if err != nil || len(found) > 0 {
		return found, err
	}
	return pickles, nil
}

// lock is what a model's environment is made of: the requirements.txt beside the model file, nil when there is none.
func lock(fsys fs.FS, name string) ([]byte, error) {
	b, err := engine.ReadFile(context.Background(), fsys, path.Join(path.Dir(name), fileRequirements), 1<<20)
	if p, ok := problem.As(err); errors.Is(err, fs.ErrNotExist) || ok && p.Kind == problem.NotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return venv.Named(b)
}

// Prepared tells whether the model's Python environment is there, or cannot be made anyway.
func (e *Engine) Prepared(fsys fs.FS, name string) bool {
	if e.Envs == nil || e.Envs.Python != "" {
		return true
	}
	l, err := lock(fsys, name)
	if err != nil {
		return true // Load says why not
	}
	_, ok := e.Envs.Ready(l)
	return ok
}

// Prepare makes the model's Python environment, which takes from seconds to minutes; the log tells of it.
func (e *Engine) Prepare(ctx context.Context, fsys fs.FS, name string) error {
	l, err := lock(fsys, name)
	if err != nil {
		return err
	}
	_, err = e.Envs.EnsureWheels(ctx, l, &lines{log: e.Log, ref: engine.Ref(ctx)})
	if p, ok := problem.As(err); ok {
		return problem.New(problem.Unsupported, "%s", p.Detail).Because(err)
	}
	return err
}

// background makes an environment that a load has to wait for, once at a time.
func (e *Engine) background(ctx context.Context, l []byte) {
	key := string(l)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.building[key] || e.closed {
		return
	}
	if e.building == nil {
		e.building = map[string]bool{}
	}
	e.building[key] = true
	ref := engine.Ref(ctx)
	go func() { // ends with the building, which has its time
		if _, err := e.Envs.EnsureWheels(context.WithoutCancel(ctx), l, &lines{log: e.Log, ref: ref}); err != nil {
			e.Log.Error("a Python environment could not be made", "version", ref, "error", err)
		}
		e.mu.Lock()
		delete(e.building, key)
		e.mu.Unlock()
	}()
}

// lines logs what a program writes, line by line.
type lines struct {
	log  *slog.Logger
	ref  string
	rest []byte
}

func (l *lines) Write(b []byte) (int, error) {
	l.rest = append(l.rest, b...)
	for {
		line, rest, ok := bytes.Cut(l.rest, []byte("\n"))
		if !ok {
			break
		}
		if s := strings.TrimSpace(strings.ToValidUTF8(string(line), "?")); s != "" {
			l.log.Info("python environment", "version", l.ref, "says", s)
		}
		l.rest = rest
	}
	if len(l.rest) > 64<<10 {
		l.rest = nil
	}
	return len(b), nil
}

// Isolated finds out, once, what holds children on this machine.
func (e *Engine) Isolated() (Isolation, error) {
	e.tried.Lock()
	defer e.tried.Unlock()
	if e.iso == nil {
		if len(e.Self) == 0 || e.Root == "" {
			return Isolation{Level: LevelLimits}, problem.New(problem.Unsupported, "This process runs no models in Python.")
		}
		iso, err := trial(e.Self, e.Root)
		if err != nil {
			return iso, err // the next one tries again
		}
		e.iso = &iso
	}
	return *e.iso, e.iso.enough(e.Isolation)
}

// Load copies the files, starts the children and has them load the model. It fails with engine.ErrPreparing while the
// Python environment is being made.
func (e *Engine) Load(ctx context.Context, fsys fs.FS, name string, limits engine.Limits) (engine.Model, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if e.Envs == nil {
		return nil, problem.New(problem.Unsupported, "Models in Python are switched off here (python_models in the configuration).")
	}
	limits = limits.WithDefaults()
	iso, err := e.Isolated()
	if err != nil {
		return nil, err
	}
	l, err := lock(fsys, name)
	if err != nil && e.Envs.Python == "" {
		return nil, err
	}
	bin, ok := e.Envs.Ready(l)
	if !ok {
		if e.Envs.Python != "" {
			_, err := e.Envs.EnsureWheels(ctx, l, io.Discard) // says what is wrong with it
			return nil, err
		}
		e.background(ctx, l)
		return nil, problem.New(problem.Unavailable, "The Python environment of the model is being made; it is loaded when that is done.").Because(engine.ErrPreparing)
	}
	first := order{Format: FormatPickle}
	if path.Base(name) == fileMLmodel {
		first.Format = FormatPyfunc
	} else if first.Signature, err = declared(ctx, fsys, path.Join(path.Dir(name), fileSignature)); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(e.Root, "model-")
	if err != nil {
		return nil, problem.New(problem.Unavailable, "The model cannot be copied to where Python reads it.").Because(err)
	}
	m := &model{engine: e, ref: engine.Ref(ctx), ctx: context.WithoutCancel(ctx), dir: dir, iso: iso, idle: make(chan *child, max(e.Children, 1)), news: make(chan struct{}), limits: e.Limits.withDefaults()}
	if m.copied, err = copyFiles(ctx, fsys, filepath.Join(dir, "model"), limits.FileBytes); err != nil {
		return nil, errors.Join(err, m.clean())
	}
	first.Path = filepath.Join(dir, "model", filepath.FromSlash(name))
	if first.Format == FormatPyfunc {
		first.Path = filepath.Dir(first.Path)
	}
	m.first = first
	if m.launch, err = e.plan(m, bin); err == nil {
		err = m.open(ctx)
	}
	if err != nil {
		return nil, errors.Join(unloaded(err), m.clean())
	}
	e.mu.Lock()
	if e.models == nil {
		e.models = map[*model]bool{}
	}
	e.models[m] = true
	e.mu.Unlock()
	return m, nil
}

// unloaded turns a crash while loading into what is wrong with the model.
func unloaded(err error) error {
	var c *crash
	if errors.As(err, &c) {
		return problem.New(problem.Invalid, "Loading it ended its process: %s.", c.Error())
	}
	return err
}

// declared reads the signature beside a pickle, nil when there is none.
func declared(ctx context.Context, fsys fs.FS, name string) (*engine.Signature, error) {
	b, err := engine.ReadFile(ctx, fsys, name, 1<<20)
	if p, ok := problem.As(err); errors.Is(err, fs.ErrNotExist) || ok && p.Kind == problem.NotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var s engine.Signature
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, problem.New(problem.Invalid, "%s is no signature: %s.", fileSignature, err)
	}
	for _, list := range [][]engine.Spec{s.Inputs, s.Outputs} {
		for _, spec := range list {
			if len(spec.Shape) == 0 || len(spec.Shape) > 8 || spec.Shape[0] != -1 {
				return nil, problem.New(problem.Invalid, "The shape of %q in %s does not begin with -1, the rows.", spec.Name, fileSignature)
			}
		}
	}
	return &s, s.Check()
}

// plan says what the children of a model become.
func (e *Engine) plan(m *model, bin string) (launch, error) {
	python := ""
	for _, n := range []string{"python", "python3"} {
		if _, err := os.Stat(filepath.Join(bin, n)); err == nil {
			python = filepath.Join(bin, n)
			break
		}
	}
	if e.Envs.Python != "" {
		python = filepath.Join(bin, filepath.Base(e.Envs.Python))
	}
	if python == "" {
		return launch{}, problem.New(problem.Unsupported, "There is no Python for the model: put a requirements.txt beside it, or start the server with --python.")
	}
	l := launch{Work: filepath.Join(m.dir, "work"), Root: filepath.Join(m.dir, "root"), Namespaces: m.iso.Level == LevelNamespaces, Landlock: m.iso.Level != LevelLimits, Limits: m.limits}
	program := filepath.Join(m.dir, "program", "worker.py")
	err := errors.Join(os.MkdirAll(l.Work, 0o700), os.MkdirAll(l.Root, 0o700), os.MkdirAll(filepath.Dir(program), 0o700))
	if err == nil {
		err = os.WriteFile(program, worker, 0o400)
	}
	if err != nil {
		return l, fmt.Errorf("make the folders of a model: %w", err)
	}
	l.Args = []string{python, "-s", "-B", program}
	l.Read = append(append(l.Read, sandbox.System...), homes(python)...)
	l.Read = append(l.Read, filepath.Join(m.dir, "model"), filepath.Dir(program))
	threads := fmt.Sprint(m.limits.Threads)
	l.Env = []string{"PATH=" + bin + ":/usr/bin:/bin", "HOME=" + l.Work, "TMPDIR=" + l.Work, "MPLCONFIGDIR=" + l.Work, "LANG=C.UTF-8", "USER=model", "LOGNAME=model",
		"PYTHONHASHSEED=0", "OMP_NUM_THREADS=" + threads, "OPENBLAS_NUM_THREADS=" + threads, "MKL_NUM_THREADS=" + threads, "NUMEXPR_MAX_THREADS=" + threads,
		"MLFLOW_DISABLE_TELEMETRY=true", "DO_NOT_TRACK=true", "GIT_PYTHON_REFRESH=quiet", "TOKENIZERS_PARALLELISM=false"}
	return l, nil
}

// homes are the folders that a Python lives in: the environment's and, behind its links and its pyvenv.cfg, the one that
// it was made with.
func homes(python string) []string {
	top := filepath.Dir(filepath.Dir(python))
	list := []string{top}
	if real, err := filepath.EvalSymlinks(python); err == nil {
		list = append(list, filepath.Dir(filepath.Dir(real)))
	}
	if b, err := os.ReadFile(filepath.Join(top, "pyvenv.cfg")); err == nil {
		for line := range strings.SplitSeq(string(b), "\n") {
			if k, v, ok := strings.Cut(line, "="); ok && strings.TrimSpace(k) == "home" && filepath.IsAbs(strings.TrimSpace(v)) {
				list = append(list, filepath.Dir(strings.TrimSpace(v)))
			}
		}
	}
	var out []string
	for _, p := range list {
		inside := p == "/"
		for _, s := range append([]string{"/usr"}, out...) {
			inside = inside || p == s || strings.HasPrefix(p, s+"/")
		}
		if !inside {
			out = append(out, p)
		}
	}
	return out
}
