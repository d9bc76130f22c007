package xgboost

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/csv"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"keelson/internal/engine"
	"keelson/internal/engine/enginetest"
	"keelson/internal/problem"
	"keelson/internal/tensor"
)

var ctx = context.Background()

// tolerance is what the platform promises against the library, relative for numbers above 1.
const tolerance = 1e-6

type recorded struct {
	Name, File string
	Columns    []string
	Rows       [][]*float64
	Words      []string // of the column "town"
	Predict    [][]float64
}

func loadRecorded(t testing.TB) []recorded {
	t.Helper()
	b, err := os.ReadFile("testdata/expected.json")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct{ Cases []recorded }
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	return doc.Cases
}

func loadFile(t testing.TB, path string) engine.Model {
	t.Helper()
	set, err := engine.NewSet(Engine{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	m, _, err := set.Load(ctx, fstest.MapFS{filepath.Base(path): {Data: b}}, "", engine.Limits{})
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return m
}

func matrix(rows [][]*float64) tensor.Tensor {
	var v []float32
	for _, r := range rows {
		for _, x := range r {
			if x == nil {
				v = append(v, float32(math.NaN()))
			} else {
				v = append(v, float32(*x))
			}
		}
	}
	return tensor.FP32s(Input, []int{len(rows), len(rows[0])}, v)
}

func TestPredictionsEqualTheLibrary(t *testing.T) {
	worst := 0.0
	for _, c := range loadRecorded(t) {
		t.Run(c.Name, func(t *testing.T) {
			m := loadFile(t, "testdata/models/"+c.File)
			in := matrix(c.Rows)
			out, err := m.Predict(ctx, []tensor.Tensor{in})
			if err != nil {
				t.Fatal(err)
			}
			if out[0].Width() != len(c.Predict[0]) {
				t.Fatalf("shape %v, want %d values per row", out[0].Shape, len(c.Predict[0]))
			}
			for i, want := range c.Predict {
				for k, w := range want {
					got := float64(out[0].F32[i*len(want)+k])
					off := math.Abs(got-w) / math.Max(1, math.Abs(w))
					worst = math.Max(worst, off)
					if !(off <= tolerance) {
						t.Errorf("row %d value %d: got %.9g, want %.9g", i, k, got, w)
					}
				}
			}
			if len(c.Columns) == 0 {
				return
			}
			// The same rows, one tensor per feature in reverse order and mixed types.
			var parts []tensor.Tensor
			n, k := in.Shape[0], in.Shape[1]
			for f := k - 1; f >= 0; f-- {
				p := tensor.FP64s(c.Columns[f], []int{n, 1}, make([]float64, n))
				for r := range n {
					p.F64[r] = in.Float64(r*k + f)
				}
				parts = append(parts, p)
			}
			for i := range parts {
				if c.Words != nil && parts[i].Name == "town" {
					parts[i] = tensor.Strings("town", []int{n}, c.Words)
				}
			}
			again, err := m.Predict(ctx, parts)
			if err != nil {
				t.Fatal(err)
			}
			if !again[0].Equal(&out[0]) {
				t.Error("one tensor per feature answers otherwise than one matrix")
			}
			if c.Words == nil {
				return
			}
			for i := range parts {
				if parts[i].Name == "town" {
					parts[i].S = append([]string{"Rom"}, c.Words[1:]...)
				}
			}
			if _, err := m.Predict(ctx, parts); problem.KindOf(err) != problem.Invalid || !strings.Contains(err.Error(), "was not trained on") {
				t.Errorf("an unknown category: %v, want a refusal", err)
			}
		})
	}
	t.Logf("largest difference %.3g", worst)
}

func TestMarginsEqualTheLibraryOnTheGoldenRows(t *testing.T) {
	b, err := os.ReadFile("testdata/margins.json")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Cases map[string]struct {
			Model, Rows string
			Margin      json.RawMessage
		}
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	for name, c := range doc.Cases {
		t.Run(name, func(t *testing.T) {
			var want [][]float64
			if err := json.Unmarshal(c.Margin, &want); err != nil {
				var flat []float64
				if err := json.Unmarshal(c.Margin, &flat); err != nil {
					t.Fatal(err)
				}
				want = nil
				for _, v := range flat {
					want = append(want, []float64{v})
				}
			}
			m := loadFile(t, "testdata/"+c.Model).(*model)
			m.objective = plain
			out, err := m.Predict(ctx, []tensor.Tensor{readCSV(t, "testdata/"+c.Rows)})
			if err != nil {
				t.Fatal(err)
			}
			if len(want) != 25 || out[0].Shape[0] != 25 {
				t.Fatalf("%d rows for %d", out[0].Shape[0], len(want))
			}
			for i, row := range want {
				for k, w := range row {
					if got := float64(out[0].F32[i*len(row)+k]); math.Abs(got-w) > tolerance*math.Max(1, math.Abs(w)) {
						t.Errorf("row %d margin %d: got %.9g, want %.9g", i, k, got, w)
					}
				}
			}
		})
	}
}

func readCSV(t *testing.T, path string) tensor.Tensor {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var v []float32
	for _, l := range lines[1:] {
		for _, s := range l {
			x := math.NaN()
			if s != "" {
				if x, err = strconv.ParseFloat(s, 64); err != nil {
					t.Fatal(err)
				}
			}
			v = append(v, float32(x))
		}
	}
	return tensor.FP32s(Input, []int{len(lines) - 1, len(lines[0])}, v)
}

func TestContract(t *testing.T) {
	for _, c := range loadRecorded(t) {
		switch c.Name {
		case "logistic", "logistic_named", "softmax", "categorical", "dart_binary":
			t.Run(c.Name, func(t *testing.T) {
				b, err := os.ReadFile("testdata/models/" + c.File)
				if err != nil {
					t.Fatal(err)
				}
				format := FormatJSON
				if strings.HasSuffix(c.File, "ubj") {
					format = FormatUBJ
				}
				enginetest.Run(t, enginetest.Case{Engine: Engine{}, FS: fstest.MapFS{"MLmodel": {Data: []byte("flavors: {}")}, "input_example.json": {Data: []byte(`{"dataframe_split":{}}`)}, c.File: {Data: b}}, Format: format, Inputs: []tensor.Tensor{matrix(c.Rows)}})
			})
		}
	}
}

func TestBadRequestsNameWhatIsWrong(t *testing.T) {
	plain, named := loadFile(t, "testdata/models/logistic.json"), loadFile(t, "testdata/models/logistic_named.ubj")
	columns := named.Signature().Inputs[0].Columns
	features := func(change func([]tensor.Tensor)) []tensor.Tensor {
		var in []tensor.Tensor
		for _, c := range columns {
			in = append(in, tensor.FP32s(c, []int{2}, []float32{1, 2}))
		}
		change(in)
		return in
	}
	inf := float32(math.Inf(-1))
	cases := []struct {
		name, says string
		model      engine.Model
		in         []tensor.Tensor
	}{
		{"too few columns", "[n, 6]", plain, []tensor.Tensor{tensor.FP32s("x", []int{1, 2}, []float32{1, 2})}},
		{"a vector", "[n, 6]", plain, []tensor.Tensor{tensor.FP32s("x", []int{6}, make([]float32, 6))}},
		{"text", "BYTES", plain, []tensor.Tensor{tensor.Strings("x", []int{1, 6}, make([]string, 6))}},
		{"an infinity", "Row 0 has an infinity in column 1", plain, []tensor.Tensor{tensor.FP32s("x", []int{1, 6}, []float32{1, inf, 2, 3, 4, 5})}},
		{"an infinity in a named column", `"dose"`, named, []tensor.Tensor{tensor.FP32s("x", []int{1, 6}, []float32{1, inf, 2, 3, 4, 5})}},
		{"features for a model without names", "no feature names", plain, features(func([]tensor.Tensor) {})},
		{"a feature missing", `"dose" is missing`, named, features(func(in []tensor.Tensor) { in[1].Name = "x" })},
		{"a feature shorter than the others", "all need the shape", named, features(func(in []tensor.Tensor) { in[2] = tensor.FP32s(in[2].Name, []int{1}, []float32{1}) })},
		{"a feature of text", "BYTES", named, features(func(in []tensor.Tensor) { in[2] = tensor.Strings(in[2].Name, []int{2}, []string{"a", "b"}) })},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := c.model.Predict(ctx, c.in)
			if problem.KindOf(err) != problem.Invalid || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want an invalid problem that says %q", err, c.says)
			}
		})
	}
	if out, err := plain.Predict(ctx, []tensor.Tensor{tensor.FP32s("x", []int{0, 6}, nil)}); err != nil || out[0].Len() != 0 {
		t.Errorf("no rows: %v, %v, want an empty answer", out, err)
	}
}

func TestRefusedFilesSayWhy(t *testing.T) {
	good, err := os.ReadFile("testdata/models/logistic.json")
	if err != nil {
		t.Fatal(err)
	}
	ubj, err := os.ReadFile("testdata/models/logistic_named.ubj")
	if err != nil {
		t.Fatal(err)
	}
	swap := func(old, new string) []byte {
		b := bytes.Replace(good, []byte(old), []byte(new), 1)
		if bytes.Equal(b, good) {
			t.Fatalf("%q is not in the file", old)
		}
		return b
	}
	file := func(name string) []byte {
		b, err := os.ReadFile("testdata/models/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	huge := binary.BigEndian.AppendUint64([]byte("base_weights[$d#L"), 1<<60)
	long := binary.BigEndian.AppendUint64([]byte("L"), 1<<60)
	cases := []struct {
		name, says string
		data       []byte
		kind       problem.Kind
	}{
		{"an unknown booster", `"gbforest"`, bytes.Replace(file("gblinear_squared.json"), []byte(`"gblinear"`), []byte(`"gbforest"`), 1), problem.Unsupported},
		{"a linear booster with a weight too few", "7 weights for 7 features", bytes.Replace(file("gblinear_squared.json"), []byte(`"num_feature":"6"`), []byte(`"num_feature":"7"`), 1), problem.Invalid},
		{"leaves of several values in the old form", "before XGBoost 3.2", bytes.ReplaceAll(file("multi_output_labels.json"), []byte(`"leaf_weights"`), []byte(`"some_weights"`)), problem.Unsupported},
		{"leaves of other values than targets", "leaves of 2 values for 3", bytes.Replace(file("multi_output_labels.json"), []byte(`"num_target":"2"`), []byte(`"num_target":"3"`), 1), problem.Invalid},
		{"an unknown objective", `"my:objective"`, swap(`"binary:logistic"`, `"my:objective"`), problem.Unsupported},
		{"categories that are numbers", "cannot be told from their codes", file("refused_numbers.json"), problem.Unsupported},
		{"category names in another form", "unknown form", swap(`"enc":[]`, `"enc":[7]`), problem.Unsupported},
		{"category names beyond the end", "outside the file", swap(`"enc":[]`, `"enc":[{"offsets":[0,9],"values":[65]}]`), problem.Invalid},
		{"a root that is its own child", "another one leads to", swap(`"left_children":[1,`, `"left_children":[0,`), problem.Invalid},
		{"a child beyond the tree", "children", swap(`"left_children":[1,`, `"left_children":[2147483647,`), problem.Invalid},
		{"2^60 features", "num_feature", swap(`"num_feature":"6","num_target"`, `"num_feature":"1152921504606846976","num_target"`), problem.Invalid},
		{"2^30 features", "1048576", swap(`"num_feature":"6","num_target"`, `"num_feature":"1073741824","num_target"`), problem.TooLarge},
		{"a million classes for six trees", "classes", swap(`"num_class":"0"`, `"num_class":"1000000"`), problem.Invalid},
		{"a base_score that is no probability", "base_score", swap(`"base_score":"[`, `"base_score":"[7`), problem.Invalid},
		{"no version", "version", swap(`"version":`, `"vers":`), problem.Invalid},
		{"nesting without end", "too deeply", []byte(`{"learner":{"attributes":` + strings.Repeat("[", 100000)), problem.Invalid},
		{"binary nesting without end", "too deeply", []byte("{L\x00\x00\x00\x00\x00\x00\x00\x07learner" + strings.Repeat("{i\x01a", 100000)), problem.Invalid},
		{"a key of 2^60 bytes", "exceeds the file", append([]byte("{L\x00\x00\x00\x00\x00\x00\x00\x07learner{"), long...), problem.Invalid},
		{"an array of 2^60 numbers", "exceeds the file", bytes.Replace(ubj, append([]byte("base_weights[$d#L"), 0, 0, 0, 0, 0, 0, 0, 13), huge, 1), problem.Invalid},
		{"an array of 2^60 nothings", "no number", []byte("{L\x00\x00\x00\x00\x00\x00\x00\x07learner{i\x01a[$Z#L\x10\x00\x00\x00\x00\x00\x00\x00}}"), problem.Invalid},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if bytes.Equal(c.data, ubj) {
				t.Fatal("the file was not changed")
			}
			_, err := Engine{}.Load(ctx, fstest.MapFS{"m": {Data: c.data}}, "m", engine.Limits{})
			if problem.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %s %v, want %s that says %q", problem.KindOf(err), err, c.kind, c.says)
			}
		})
	}
}

func TestAHundredMegabytesOfZerosAreRefusedAtOnce(t *testing.T) {
	head := []byte("{L\x00\x00\x00\x00\x00\x00\x00\x07learner")
	for name, data := range map[string][]byte{"zeros": make([]byte, 100<<20), "zeros behind a good head": append(head, make([]byte, 100<<20)...), "digits": append([]byte(`{"learner":{"attributes":[`), bytes.Repeat([]byte("0,"), 10<<20)...)} {
		fsys := fstest.MapFS{"m.ubj": {Data: data}}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		start := time.Now()
		set, _ := engine.NewSet(Engine{})
		_, _, err := set.Load(ctx, fsys, "", engine.Limits{})
		took := time.Since(start)
		runtime.ReadMemStats(&after)
		if k := problem.KindOf(err); k != problem.Invalid && k != problem.Unsupported {
			t.Errorf("%s: %v, want a refusal", name, err)
		}
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 300<<20 {
			t.Errorf("%s: refusing took %d MB of memory", name, grown>>20)
		}
		if took > 30*time.Second { // with the race detector on a busy machine; a second otherwise
			t.Errorf("%s: refusing took %v", name, took)
		}
	}
}

func FuzzLoad(f *testing.F) {
	files, err := filepath.Glob("testdata/models/*")
	if err != nil || len(files) == 0 {
		f.Fatal("no seeds")
	}
	for _, name := range files {
		if b, err := os.ReadFile(name); err == nil && len(b) < 10000 {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var m engine.Model
		var err error
		enginetest.Frugal(t, len(b), 256<<10, func() { m, err = Engine{}.Load(ctx, fstest.MapFS{"m": {Data: b}}, "m", engine.Limits{}) })
		if err != nil {
			if problem.KindOf(err) == problem.Internal {
				t.Fatalf("an internal failure: %v", err)
			}
			return
		}
		k := m.Signature().Inputs[0].Shape[1]
		if k > 4096 {
			return
		}
		row := make([]float32, k)
		for i := range row {
			row[i] = float32(i%3) - 1
		}
		row[0] = float32(math.NaN())
		if _, err := m.Predict(ctx, []tensor.Tensor{tensor.FP32s(Input, []int{1, k}, row)}); err != nil {
			t.Fatalf("a loaded model does not answer: %v", err)
		}
	})
}

func BenchmarkOneRow(b *testing.B) {
	m := loadFile(b, "testdata/xgb_binary_missing.json")
	in := []tensor.Tensor{tensor.FP32s(Input, []int{1, 8}, []float32{1, 2, 3, 4, 5, 6, 7, 8})}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.Predict(ctx, in); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkThousandRows(b *testing.B) {
	m := loadFile(b, "testdata/xgb_binary_missing.json")
	v := make([]float32, 8000)
	for i := range v {
		v[i] = float32(i%17)/5 - 1.5
	}
	in := []tensor.Tensor{tensor.FP32s(Input, []int{1000, 8}, v)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.Predict(ctx, in); err != nil {
			b.Fatal(err)
		}
	}
}
