package engine_test

import (
	"context"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"keelson/internal/engine"
	"keelson/internal/engine/cel"
	"keelson/internal/engine/xgboost"
	"keelson/internal/problem"
	"keelson/internal/tensor"
)

const rules = "inputs: [{name: x, type: double}]\noutputs: [{name: y, type: int, default: 0}]\nrules: [{id: a, when: x > 1.0}]\n"

type panics struct{ cel.Engine }

func (panics) Load(context.Context, fs.FS, string, engine.Limits) (engine.Model, error) {
	panic("a mistake of ours")
}

func TestTheRightEngineIsFound(t *testing.T) {
	set, err := engine.NewSet(xgboost.Engine{}, cel.Engine{})
	if err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		name   string
		fsys   fstest.MapFS
		format string
		says   string
	}{
		{"one model among other files", fstest.MapFS{"MLmodel": {Data: []byte("x: 1")}, "deep/model.cel.yaml": {Data: []byte(rules)}}, "cel", ""},
		{"no model", fstest.MapFS{"model.pkl": {Data: []byte{0x80, 4}}}, "", "model.pkl"},
		{"two models", fstest.MapFS{"a.cel.yaml": {Data: []byte(rules)}, "b.cel.yaml": {Data: []byte(rules)}}, "", "more than one model: a.cel.yaml (cel), b.cel.yaml (cel)"},
		{"nothing at all", fstest.MapFS{}, "", "there are none"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f, err := set.Detect(c.fsys)
			if c.says == "" && (err != nil || f.Format != c.format) {
				t.Errorf("got %+v, %v, want %s", f, err, c.format)
			}
			if c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("got %v, want an error that says %q", err, c.says)
			}
		})
	}
	if _, _, err := set.Load(context.Background(), cases[0].fsys, "xgboost-json", engine.Limits{}); problem.KindOf(err) != problem.Invalid {
		t.Errorf("a wrong declaration is accepted: %v", err)
	}
	if got := strings.Join(set.Formats(), " "); got != "cel xgboost-json xgboost-ubj" {
		t.Errorf("formats %q", got)
	}
}

func TestTwoEnginesOfOneFormatStopTheStart(t *testing.T) {
	if _, err := engine.NewSet(cel.Engine{}, cel.Engine{}); err == nil {
		t.Error("two engines of one name are accepted")
	}
}

func TestAPanickingEngineIsAProblem(t *testing.T) {
	set, err := engine.NewSet(panics{})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := set.Load(context.Background(), fstest.MapFS{"m.cel.yaml": {Data: []byte(rules)}}, "", engine.Limits{}); problem.KindOf(err) != problem.Unsupported {
		t.Errorf("got %v, want unsupported", err)
	}
}

func TestColumnsTakeACallApart(t *testing.T) {
	s := engine.Signature{Inputs: []engine.Spec{{Name: "input", Datatype: "FP32", Shape: []int{-1, 2}, Columns: []string{"age", "dose"}}}}
	m := tensor.FP32s("anything", []int{2, 2}, []float32{1, 2, 3, 4})
	c := s.Columns([]tensor.Tensor{m})
	if len(c) != 2 || c[0].Name != "age" || c[1].Name != "dose" || c[1].Numbers[0] != 2 || c[1].Numbers[1] != 4 {
		t.Errorf("got %+v", c)
	}
	c = engine.Signature{}.Columns([]tensor.Tensor{m, tensor.Strings("ward", []int{2, 1}, []string{"a", "b"}), tensor.Bools("old", []int{2}, []bool{true, false})})
	if len(c) != 4 || c[0].Name != "f0" || c[2].Name != "ward" || c[2].Texts[1] != "b" || c[3].Numbers[0] != 1 {
		t.Errorf("got %+v", c)
	}
}

func TestSignaturesAreCheckedAndCompared(t *testing.T) {
	good := func() engine.Signature {
		return engine.Signature{Inputs: []engine.Spec{{Name: "x", Datatype: "FP32", Shape: []int{-1, 2}}}, Outputs: []engine.Spec{{Name: "y", Datatype: "FP32", Shape: []int{-1}}}}
	}
	if err := good().Check(); err != nil {
		t.Error(err)
	}
	if d := good().Differs(good()); d != "" {
		t.Errorf("equal signatures differ: %s", d)
	}
	for name, change := range map[string]func(*engine.Signature){
		"no output":        func(s *engine.Signature) { s.Outputs = nil },
		"unknown datatype": func(s *engine.Signature) { s.Inputs[0].Datatype = "FLOAT" },
		"no name":          func(s *engine.Signature) { s.Inputs[0].Name = "" },
		"a dimension":      func(s *engine.Signature) { s.Inputs[0].Shape = []int{-2} },
	} {
		s := good()
		change(&s)
		if s.Check() == nil {
			t.Errorf("%s: accepted", name)
		}
		if good().Differs(s) == "" {
			t.Errorf("%s: no difference is seen", name)
		}
	}
}
