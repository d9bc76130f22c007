package onnx

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"keelson/internal/problem"
	"keelson/internal/tensor"
)

// What reads files for others refuses or answers, and what it writes can be read again.
func FuzzInspectedFilesAreRefusedOrWhole(f *testing.F) {
	for _, name := range []string{"columns", "forest_regressor", "linear_regression", "xgb_regressor", "convolution", "logistic", "refused_functions", "refused_if"} {
		b, err := os.ReadFile(filepath.Join("testdata", "models", name+".onnx"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			return
		}
		checked := func(what string, err error) bool {
			if err == nil {
				return true
			}
			switch problem.KindOf(err) {
			case problem.Invalid, problem.Unsupported, problem.TooLarge:
			default:
				t.Errorf("%s: %v", what, err)
			}
			return false
		}
		checked("inspect", Inspect(data, []string{"ai.onnx.ml"}))
		if out, columns, err := Unzip(data); checked("unzip", err) && columns != nil {
			if again, more, err := Unzip(out); err != nil || more != nil || !bytes.Equal(again, out) {
				t.Errorf("what Unzip wrote has ZipMap in it: %v, %v", more, err)
			}
		}
		if x, err := Formula(data); checked("formula", err) {
			if out, err := Write(x); checked("write", err) {
				if _, err := Formula(out); problem.KindOf(err) == problem.Invalid && err != nil {
					t.Errorf("what Write wrote is broken: %v", err)
				}
			}
		}
		for _, to := range []tensor.Type{tensor.FP16, tensor.Int8} {
			out, _, err := Narrow(data, to)
			if !checked("narrow", err) {
				continue
			}
			if _, err := load(context.Background(), data); err != nil {
				continue
			}
			if _, err := load(context.Background(), out); err != nil && problem.KindOf(err) == problem.Invalid {
				t.Errorf("%s: what Narrow wrote is broken: %v", to, err)
			}
		}
	})
}

func TestAModelIsInspectedWhole(t *testing.T) {
	files, err := filepath.Glob("testdata/models/*.onnx")
	if err != nil || len(files) < 80 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := Inspect(data, []string{"ai.onnx.ml"}); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		for cut := 1; cut < len(data); cut += 1 + len(data)/50 {
			if err := Inspect(data[:cut], []string{"ai.onnx.ml"}); err != nil && problem.KindOf(err) != problem.Invalid {
				t.Errorf("%s cut at %d: %v", file, cut, err)
			}
		}
	}
}
