// Package convert proposes a lighter form of a registered version and says what it costs.
//
//	running ──form written, loaded, compared with the original──▶ done
//	   └──no such form, or its error is beyond the limit────────▶ refused
//
// A form is written by this program, without Python: the native file of an ONNX regression, the small binary form of an
// XGBoost file, an ONNX file of trees or weights, and networks with weights in half precision or in eight bits. Both
// models answer the golden rows, logged calls and generated rows; size, time and the largest error stand side by side.
//
// Nothing is registered unless that was asked for. A conversion that is becomes a version of the same model with the
// original as its parent, has the original's answers as golden rows, and goes through test, evaluation and approval like
// any other.
package convert

import (
	"fmt"
	"math"
	"path"
	"slices"
	"strings"
	"time"

	"keelson/internal/engine"
	"keelson/internal/engine/lightgbm"
	"keelson/internal/engine/linear"
	"keelson/internal/engine/onnx"
	"keelson/internal/engine/onnxruntime"
	"keelson/internal/engine/xgboost"
	"keelson/internal/problem"
	"keelson/internal/tensor"
)

// Targets of a conversion.
const (
	Native  = "native"
	ONNX    = "onnx"
	Float16 = "float16"
	Int8    = "int8"
)

// Targets lists them.
var Targets = []string{Native, ONNX, Float16, Int8}

// DefaultLimit is the largest error, relative above 1, that each target may have when no limit is given.
var DefaultLimit = map[string]float64{Native: 1e-6, ONNX: 1e-6, Float16: 1e-2, Int8: 5e-2}

// States of a conversion.
const (
	Running = "running"
	Done    = "done"
	Refused = "refused"
)

// Wish is what somebody asks for.
type Wish struct {
	To       string  `json:"to" enum:"native,onnx,float16,int8"`
	Limit    float64 `json:"limit,omitempty" minimum:"0" maximum:"1" doc:"largest error that passes, relative above 1; 0: 1e-6 for native and onnx, 1e-2 for float16, 5e-2 for int8"`
	Register bool    `json:"register,omitempty" doc:"make a new version of it when it passes"`
}

// Check fills the limit and refuses a target that does not exist.
func (w *Wish) Check() error {
	if !slices.Contains(Targets, w.To) {
		return problem.New(problem.Invalid, "There is no form %q; there are %s.", w.To, strings.Join(Targets, ", ")).At("to")
	}
	if !(w.Limit >= 0 && w.Limit <= 1) {
		return problem.New(problem.Invalid, "The limit of the error is a number from 0 to 1; got %v.", w.Limit).At("limit")
	}
	if w.Limit == 0 {
		w.Limit = DefaultLimit[w.To]
	}
	return nil
}

// Side is one of the two models.
type Side struct {
	Format string  `json:"format"`
	Engine string  `json:"engine"`
	File   string  `json:"file"`
	Bytes  int64   `json:"bytes" doc:"of the model file"`
	Memory int64   `json:"memory,omitempty" doc:"bytes held when loaded; 0: not known"`
	P50    float64 `json:"p50_us" doc:"median time of one row in the engine, in microseconds"`
}

// Rows counts what both models answered.
type Rows struct {
	Golden    int `json:"golden"`
	Logged    int `json:"logged"`
	Generated int `json:"generated"`
}

// Result is what was measured.
type Result struct {
	Reason     string   `json:"reason,omitempty" doc:"why it was refused"`
	Original   *Side    `json:"original,omitempty"`
	Converted  *Side    `json:"converted,omitempty"`
	Rows       Rows     `json:"rows"`
	Error      *float64 `json:"max_error,omitempty" doc:"largest difference from the original's answers, relative above 1; a label that differs counts 1"`
	Where      string   `json:"where,omitempty" doc:"the answer with the largest error"`
	Changes    string   `json:"changes,omitempty" doc:"what callers see differently, apart from the error"`
	Registered int      `json:"registered,omitempty" doc:"number of the new version"`
}

// Conversion is one attempt.
type Conversion struct {
	ID        string     `json:"id"`
	Model     string     `json:"model"`
	Version   int        `json:"version"`
	Wish      Wish       `json:"wish"`
	State     string     `json:"state" enum:"running,done,refused"`
	Result    Result     `json:"result"`
	By        string     `json:"by"`
	StartedAt time.Time  `json:"started_at"`
	EndedAt   *time.Time `json:"ended_at,omitempty"`
}

// form is a written file.
type form struct {
	name    string
	data    []byte
	formula *engine.Formula // when the original could be taken apart
}

func no(format string, a ...any) error {
	return problem.New(problem.Unsupported, format, a...)
}

// write makes the wished form of a loaded model, with the names of columns that sig knows, so that callers who name them go
// on doing so. It fails with problem.Unsupported, saying why there is none.
func write(found engine.Found, data []byte, m engine.Model, sig engine.Signature, to string) (f form, err error) {
	if f, err = shape(found, data, m, sig, to); err != nil || path.Ext(f.name) != ".onnx" {
		return f, err
	}
	f.data, err = onnx.WithColumns(f.data, sig)
	return f, err
}

// name names the features of a formula that has no names of its own; it names none when a name stands for two of them.
func name(x *engine.Formula, sig engine.Signature) {
	if len(x.Columns) > 0 || len(sig.Inputs) != 1 || len(sig.Inputs[0].Columns) != x.Features {
		return
	}
	seen := map[string]bool{}
	for _, name := range sig.Inputs[0].Columns {
		if name == "" || seen[name] {
			return
		}
		seen[name] = true
	}
	x.Columns = sig.Inputs[0].Columns
}

func shape(found engine.Found, data []byte, m engine.Model, sig engine.Signature, to string) (f form, err error) {
	isONNX := found.Format == onnx.Format || found.Format == onnxruntime.Format
	stem := strings.TrimSuffix(strings.TrimSuffix(path.Base(found.Path), path.Ext(found.Path)), ".linear")
	switch {
	case to == Native && found.Format == xgboost.FormatJSON:
		f.name = stem + ".ubj"
		f.data, err = xgboost.ToUBJ(data)
		if p, ok := m.(engine.Portable); ok {
			if x, err := p.Portable(); err == nil {
				f.formula = &x
			}
		}
		return f, err
	case to == Native && isONNX:
		x, err := onnx.Formula(data)
		if err != nil {
			return f, because("The ONNX model has no native form here: ", err)
		}
		name(&x, sig)
		f.formula = &x
		if x.Weights != nil {
			f.name = stem + ".linear.json"
			f.data, err = linear.Write(x)
		} else {
			f.name = stem + ".ubj"
			f.data, err = xgboost.Write(x)
		}
		return f, because("The ONNX model has no native form here: ", err)
	case to == Native && (found.Format == xgboost.FormatUBJ || found.Format == lightgbm.Format || found.Format == linear.Format):
		return f, no("The version is in its lightest native form already (%s).", found.Format)
	case to == ONNX && isONNX:
		return f, no("The version is an ONNX file already; float16 and int8 make its weights smaller.")
	case to == ONNX:
		p, ok := m.(engine.Portable)
		if !ok {
			return f, no("A model of the engine %s has no form in ONNX.", found.Engine)
		}
		x, err := p.Portable()
		if err != nil {
			return f, because("The model has no form in ONNX: ", err)
		}
		f.formula, f.name = &x, stem+".onnx"
		f.data, err = onnx.Write(x)
		return f, because("The model has no form in ONNX: ", err)
	case (to == Float16 || to == Int8) && isONNX:
		t := tensor.FP16
		if to == Int8 {
			t = tensor.Int8
		}
		f.name = stem + "." + to + ".onnx"
		f.data, _, err = onnx.Narrow(data, t)
		return f, because("The weights cannot be made smaller: ", err)
	case to == Float16 || to == Int8:
		return f, no("Only the weights of ONNX networks are made smaller; the version is %s.", found.Format)
	}
	return f, no("A model of the engine %s has no native form beside its own.", found.Engine)
}

// because puts a beginning before a refusal.
func because(beginning string, err error) error {
	if p, ok := problem.As(err); ok {
		detail := p.Detail
		if detail != "" {
			detail = strings.ToUpper(detail[:1]) + detail[1:]
		}
		return problem.New(p.Kind, "%s%s", beginning, detail).Because(err)
	}
	return err
}

// judge says why a result does not pass, or "".
func judge(r Result, w Wish) string {
	switch {
	case r.Error == nil:
		return "Both models answered no row: register golden rows with the version, or let it answer calls first."
	case !(*r.Error <= w.Limit) || math.IsNaN(*r.Error):
		return fmt.Sprintf("The largest error is %.3g, beyond the limit %.3g: %s.", *r.Error, w.Limit, r.Where)
	}
	return ""
}
