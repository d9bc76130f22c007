// Package engine is the one contract behind which every kind of model answers.
//
// An artifact is a folder of files (an fs.FS). An Engine recognises its own formats and loads a Model out of it; a Model
// says what goes in and out (Signature) and predicts. What not every model can do (tell which rules fired, test itself,
// say how much memory it holds) are one-method interfaces asked for by type assertion. Set holds the engines of a
// process and finds the one that a folder needs.
//
// The life of a model: Detect → Load within Limits → Predict from many goroutines → Close.
//
// Rules that enginetest.Run checks for every engine: a file's length field never sizes an allocation; a broken file is
// a problem, never a panic; Predict is deterministic, keeps nothing of its input and changes nothing in it.
package engine

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"keelson/internal/tensor"
)

// Limits bound a load. The zero value of a field means the default.
type Limits struct {
	FileBytes int64         // largest single file that is read; default 512 MiB
	Time      time.Duration // longest load; default 60 s
}

// WithDefaults fills the zero fields.
func (l Limits) WithDefaults() Limits {
	if l.FileBytes == 0 {
		l.FileBytes = 512 << 20
	}
	if l.Time == 0 {
		l.Time = time.Minute
	}
	return l
}

// Found is what an engine recognised in a folder.
type Found struct {
	Engine string `json:"engine"` // such as "xgboost"
	Format string `json:"format"` // such as "xgboost-json"
	Path   string `json:"path"`   // the model file within the folder
	Rank   Rank   `json:"-"`
}

// Rank says how an engine stands to what it found, where others found something too.
type Rank int

// The ranks, the best first.
const (
	Whole  Rank = -1 // the folder as a whole is the model; other model files in it are parts of it
	Native Rank = 0  // the file is the model
	Resort Rank = 1  // it answers where no other engine can
)

// Preparer is an engine that has to make something ready before it can load a model, which may take minutes. Until then its
// Load fails with ErrPreparing and lets the preparation begin in the background.
type Preparer interface {
	// Prepared tells whether Load can begin at once.
	Prepared(fsys fs.FS, path string) bool
	// Prepare makes it so. It fails with problem.Unsupported when it never will be.
	Prepare(ctx context.Context, fsys fs.FS, path string) error
}

// ErrPreparing is in the chain of a Load that has to wait for a preparation, which has begun.
var ErrPreparing = errors.New("engine: being prepared")

// Slow is an engine whose loads take longer than others'; Limits without a time get its own.
type Slow interface {
	LoadTime() time.Duration
}

// Runner is a model that runs elsewhere than in this process. Where says in one sentence where, and what holds it there.
type Runner interface {
	Where() string
}

type refKey struct{}

// WithRef names the version that is loaded, such as "screening/3", for what an engine reports later.
func WithRef(ctx context.Context, ref string) context.Context {
	return context.WithValue(ctx, refKey{}, ref)
}

// Ref is the name of the version that is loaded; empty when nobody gave it.
func Ref(ctx context.Context) string {
	ref, _ := ctx.Value(refKey{}).(string)
	return ref
}

// Engine loads models of its formats.
type Engine interface {
	// Name is one word that stays: it is stored with every version.
	Name() string
	// Formats lists what Load can read; no two engines of a Set share a format.
	Formats() []string
	// Detect lists the files that look like this engine's formats, from names and first bytes; it reads no file whole.
	Detect(fsys fs.FS) ([]Found, error)
	// Load reads the model file at path. It fails with problem.Invalid on a broken file, problem.Unsupported on a valid
	// one that uses what this engine lacks (naming it), and problem.TooLarge beyond the limits.
	Load(ctx context.Context, fsys fs.FS, path string, limits Limits) (Model, error)
}

// Model is a loaded artifact. All methods are safe for concurrent use. Predict keeps and changes nothing of in, and
// fails with problem.Invalid when in does not fit the signature. After Close, Predict fails.
type Model interface {
	Signature() Signature
	Predict(ctx context.Context, in []tensor.Tensor) (out []tensor.Tensor, err error)
	Close() error
}

// Tracer is a model that can say how it came to its answer. PredictTrace answers exactly as Predict does.
type Tracer interface {
	PredictTrace(ctx context.Context, in []tensor.Tensor) (out []tensor.Tensor, trace []Trace, err error)
}

// Trace tells how one row was decided.
type Trace struct {
	Row   int     `json:"row"`
	Fired []Fired `json:"fired"`
}

// Fired is one rule that held.
type Fired struct {
	Rule    string `json:"rule"`
	Message string `json:"message,omitempty"`
}

// SelfTester is a model that carries examples and can hold itself against them.
type SelfTester interface {
	SelfTest(ctx context.Context) error
}

// Sizer is a model that knows how many bytes of memory it holds.
type Sizer interface {
	MemoryBytes() int64
}

// Decider is a model whose maker's own predict answers decisions, such as classes, where Predict answers what they are made
// of, such as probabilities. MLflow's scoring call asks for the former. ok is false when the model makes no decisions.
type Decider interface {
	Decide(out []tensor.Tensor) (decided []tensor.Tensor, ok bool)
}

// Explainer is a model that can say exactly how its features made its answers. A file may lack what that takes: Explain
// then fails with problem.Unsupported, and the model can still be asked as any other (internal/explain, Kernel). It fails
// with problem.Invalid as Predict does, and counts on the caller to bound the rows.
type Explainer interface {
	Explain(ctx context.Context, in []tensor.Tensor) (Explanation, error)
}

// Explanation divides the answers of some rows among the features. For every row and output, Base and the contributions
// sum to what Unit names.
type Explanation struct {
	Features      []string
	Outputs       int
	Names         []string  // of the outputs; nil when they have none
	Values        []Value   // rows × features: what the row has
	Base          []float64 // per output
	Contributions []float64 // rows × outputs × features
	Typical       []Value   // per feature; nil when nothing is known of what is typical
	Unit          string    // such as "the log-odds"
	Method        string    // how the numbers came about, and their limits
}

// Value is a number (NaN is missing) or, with Word, a category.
type Value struct {
	Number float64
	Text   string
	Word   bool
}
