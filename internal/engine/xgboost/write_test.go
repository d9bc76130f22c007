package xgboost

import (
	"context"
	"os"
	"testing"
	"testing/fstest"

	"keelson/internal/engine"
	"keelson/internal/problem"
)

// A model in JSON is as good, or as bad, in UBJSON.
func FuzzTheBinaryFormSaysTheSame(f *testing.F) {
	for _, name := range []string{"logistic", "categorical", "labels", "dart", "multi_output_classes", "gblinear_logistic"} {
		b, err := os.ReadFile("testdata/models/" + name + ".json")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	ctx := context.Background()
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			return
		}
		out, err := ToUBJ(data)
		if err != nil {
			if problem.KindOf(err) != problem.Invalid {
				t.Errorf("%v, want an invalid problem", err)
			}
			return
		}
		m, err := (Engine{}).Load(ctx, fstest.MapFS{"m.json": {Data: data}}, "m.json", engine.Limits{})
		if err != nil || sniff(data[:min(4096, len(data))]) != FormatJSON || sniff(out[:min(4096, len(out))]) != FormatUBJ {
			return
		}
		o, err := (Engine{}).Load(ctx, fstest.MapFS{"m.ubj": {Data: out}}, "m.ubj", engine.Limits{})
		if err != nil {
			t.Fatalf("the JSON form loads, the UBJSON form does not: %v", err)
		}
		if d := m.Signature().Differs(o.Signature()); d != "" {
			t.Errorf("the forms differ: %s", d)
		}
	})
}
