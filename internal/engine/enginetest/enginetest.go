// Package enginetest holds the one suite that every engine passes. A new rule of the contract becomes a case here first.
package enginetest

import (
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"testing/fstest"

	"keelson/internal/engine"
	"keelson/internal/problem"
	"keelson/internal/tensor"
)

// Case is one good artifact of an engine and one good call of it.
type Case struct {
	Engine engine.Engine
	FS     fs.FS // holds exactly one model
	Format string
	Inputs []tensor.Tensor // at least two rows
	// Damaged is how many truncated and damaged files are tried; 0 is 200. Fewer where each load starts a process.
	Damaged int
}

// Run checks the contract.
func Run(t *testing.T, c Case) {
	t.Helper()
	ctx := context.Background()
	set, err := engine.NewSet(c.Engine)
	if err != nil {
		t.Fatal(err)
	}
	load := func(t *testing.T) engine.Model {
		t.Helper()
		m, _, err := set.Load(ctx, c.FS, c.Format, engine.Limits{})
		if err != nil {
			t.Fatalf("load: %v", err)
		}
		t.Cleanup(func() { m.Close() })
		return m
	}

	t.Run("the format is recognised", func(t *testing.T) {
		f, err := set.Detect(c.FS)
		if err != nil || f.Format != c.Format || f.Engine != c.Engine.Name() {
			t.Errorf("found %+v (%v), want format %q of %q", f, err, c.Format, c.Engine.Name())
		}
	})
	t.Run("nothing is recognised in an empty folder or among zeros", func(t *testing.T) {
		if f, err := set.Detect(fstest.MapFS{}); problem.KindOf(err) != problem.Unsupported {
			t.Errorf("found %+v (%v) in an empty folder", f, err)
		}
		found, _ := set.Detect(c.FS)
		zeros := fstest.MapFS{found.Path: {Data: make([]byte, 1<<20)}}
		if _, _, err := set.Load(ctx, zeros, "", engine.Limits{}); !refusal(err) {
			t.Errorf("a file of zeros: %v, want a refusal", err)
		}
	})
	t.Run("answers carry the names, types and shapes of the signature", func(t *testing.T) {
		m := load(t)
		out, err := m.Predict(ctx, c.Inputs)
		if err != nil {
			t.Fatal(err)
		}
		specs := m.Signature().Outputs
		if len(out) != len(specs) {
			t.Fatalf("%d outputs, the signature has %d", len(out), len(specs))
		}
		for i := range out {
			if err := out[i].Check(); err != nil {
				t.Error(err)
			}
			if out[i].Name != specs[i].Name || out[i].Type.String() != specs[i].Datatype || !specs[i].Fits(out[i].Shape) {
				t.Errorf("output %d is %s %s %v, the signature says %+v", i, out[i].Name, out[i].Type, out[i].Shape, specs[i])
			}
			if out[i].Rows() != c.Inputs[0].Rows() {
				t.Errorf("output %q has %d rows for %d", out[i].Name, out[i].Rows(), c.Inputs[0].Rows())
			}
		}
	})
	t.Run("a call is repeatable, concurrent and leaves its input alone", func(t *testing.T) {
		m := load(t)
		before := tensor.AppendFrame(nil, c.Inputs)
		want, err := m.Predict(ctx, c.Inputs)
		if err != nil {
			t.Fatal(err)
		}
		frame := string(tensor.AppendFrame(nil, want))
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 20 {
					out, err := m.Predict(ctx, c.Inputs)
					if err != nil || string(tensor.AppendFrame(nil, out)) != frame {
						t.Errorf("a concurrent call answered otherwise: %v", err)
						return
					}
				}
			})
		}
		wg.Wait()
		if string(tensor.AppendFrame(nil, c.Inputs)) != string(before) {
			t.Error("the input was changed")
		}
		if string(tensor.AppendFrame(nil, want)) != frame {
			t.Error("an answer changed after it was given")
		}
		if tr, ok := m.(engine.Tracer); ok {
			out, _, err := tr.PredictTrace(ctx, c.Inputs)
			if err != nil || string(tensor.AppendFrame(nil, out)) != frame {
				t.Errorf("PredictTrace answers otherwise than Predict: %v", err)
			}
		}
	})
	t.Run("inputs that do not fit are the caller's problem", func(t *testing.T) {
		m := load(t)
		bad := map[string][]tensor.Tensor{
			"no inputs":       nil,
			"a foreign input": {tensor.Strings("no such input", []int{1, 1, 1}, []string{"x"})},
			"an extra input":  append(append([]tensor.Tensor{}, c.Inputs...), tensor.FP32s("no such input", []int{1}, []float32{1})),
			"a strange rank":  {tensor.FP32s(c.Inputs[0].Name, []int{1, 1, 1, 1}, []float32{1})},
		}
		for name, in := range bad {
			if _, err := m.Predict(ctx, in); problem.KindOf(err) != problem.Invalid {
				t.Errorf("%s: %v, want an invalid problem", name, err)
			}
		}
	})
	t.Run("a closed model and a cancelled call fail", func(t *testing.T) {
		m := load(t)
		gone, cancel := context.WithCancel(ctx)
		cancel()
		if _, err := m.Predict(gone, c.Inputs); !errors.Is(err, context.Canceled) {
			t.Errorf("a cancelled call: %v", err)
		}
		if _, _, err := set.Load(gone, c.FS, c.Format, engine.Limits{}); !errors.Is(err, context.Canceled) {
			t.Errorf("a cancelled load: %v", err)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		if _, err := m.Predict(ctx, c.Inputs); err == nil {
			t.Error("a closed model answers")
		}
	})
	t.Run("a file beyond the limit is too large", func(t *testing.T) {
		if _, _, err := set.Load(ctx, c.FS, c.Format, engine.Limits{FileBytes: 16}); problem.KindOf(err) != problem.TooLarge {
			t.Errorf("%v, want too-large", err)
		}
	})
	t.Run("another format than declared is refused", func(t *testing.T) {
		if _, _, err := set.Load(ctx, c.FS, "no-such-format", engine.Limits{}); problem.KindOf(err) != problem.Unsupported {
			t.Errorf("%v, want unsupported", err)
		}
	})
	t.Run("truncated and damaged files are refused or answer, and never panic", func(t *testing.T) {
		found, _ := set.Detect(c.FS)
		data, err := fs.ReadFile(c.FS, found.Path)
		if err != nil {
			t.Fatal(err)
		}
		try := func(b []byte) (engine.Model, error) {
			return c.Engine.Load(ctx, fstest.MapFS{found.Path: {Data: b}}, found.Path, engine.Limits{})
		}
		r := rand.New(rand.NewPCG(3, 4))
		tries := c.Damaged
		if tries == 0 {
			tries = 200
		}
		for range tries {
			cut := r.IntN(len(data) - 1)
			if m, err := try(data[:cut]); err == nil {
				// Some text formats are whole before their last line; then they must work.
				if _, err := m.Predict(ctx, c.Inputs); err != nil && !refusal(err) {
					t.Errorf("cut at %d: %v", cut, err)
				}
				if err := m.Close(); err != nil {
					t.Errorf("cut at %d, close: %v", cut, err)
				}
			} else if !refusal(err) {
				t.Errorf("cut at %d: %v, want a refusal", cut, err)
			}
			b := append([]byte{}, data...)
			for range 1 + r.IntN(8) {
				b[r.IntN(len(b))] = byte(r.Uint32())
			}
			m, err := try(b)
			if err != nil {
				if !refusal(err) {
					t.Errorf("damaged: %v, want a refusal", err)
				}
				continue
			}
			if _, err := m.Predict(ctx, c.Inputs); err != nil && !refusal(err) {
				t.Errorf("damaged, predict: %v", err)
			}
			if err := m.Close(); err != nil {
				t.Errorf("damaged, close: %v", err)
			}
		}
	})
}

// refusal tells whether err is something the caller can read and act on.
func refusal(err error) bool {
	switch problem.KindOf(err) {
	case problem.Invalid, problem.Unsupported, problem.TooLarge, problem.Exhausted, problem.Unavailable:
		return err != nil
	}
	return false
}

// Expressions is how many bytes the expressions of a CEL file may have together.
const Expressions = 256 << 10

// Compiling is the allowance of a CEL file of so many bytes: a mebibyte for CEL itself, and for compiling expressions 2,000
// bytes for each of their text. That is the library's: its parser takes 900, its checker 900, its planner 150.
func Compiling(size int) int { return 1<<20 + 2032*min(size, Expressions) }

// Frugal runs load, which reads a model file of so many bytes, and fails when it allocated more than 16 bytes for every one
// of them and an allowance, which is a constant of the format. All that was allocated counts, also what was let go at once.
func Frugal(t testing.TB, size, allowance int, load func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	load()
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > uint64(16*size+allowance) {
		t.Errorf("loading %d bytes allocated %d, more than 16 for each and %d", size, grown, allowance)
	}
}
