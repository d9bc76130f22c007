package lightgbm

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
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

type recorded struct {
	Name, File         string
	Columns            []string
	Texts              map[string][]*string
	Rows, Raw, Predict [][]string // C99 hexadecimal doubles
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
	return slices.DeleteFunc(doc.Cases, func(c recorded) bool { return strings.HasPrefix(c.Name, "refused_") })
}

func doubles(t testing.TB, rows [][]string) []float64 {
	t.Helper()
	var out []float64
	for _, r := range rows {
		for _, s := range r {
			v, err := strconv.ParseFloat(s, 64)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, v)
		}
	}
	return out
}

func (c recorded) input(t testing.TB) tensor.Tensor {
	return tensor.FP64s(Input, []int{len(c.Rows), len(c.Columns)}, doubles(t, c.Rows))
}

// features gives the recorded rows as one tensor per feature, in reverse order, category names as texts.
func (c recorded) features(t testing.TB) []tensor.Tensor {
	in := c.input(t)
	n, k := in.Shape[0], in.Shape[1]
	var parts []tensor.Tensor
	for f := k - 1; f >= 0; f-- {
		if texts := c.Texts[c.Columns[f]]; texts != nil {
			p := tensor.Strings(c.Columns[f], []int{n}, make([]string, n))
			for r, s := range texts {
				if s != nil {
					p.S[r] = *s
				}
			}
			parts = append(parts, p)
			continue
		}
		p := tensor.FP64s(c.Columns[f], []int{n, 1}, make([]float64, n))
		for r := range n {
			p.F64[r] = in.F64[r*k+f]
		}
		parts = append(parts, p)
	}
	return parts
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func loadFile(t testing.TB, path string) *model {
	t.Helper()
	set, err := engine.NewSet(Engine{})
	if err != nil {
		t.Fatal(err)
	}
	m, _, err := set.Load(ctx, fstest.MapFS{filepath.Base(path): {Data: readFile(t, path)}}, "", engine.Limits{})
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return m.(*model)
}

func predict(t testing.TB, m engine.Model, in ...tensor.Tensor) []float64 {
	t.Helper()
	out, err := m.Predict(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	return out[0].F64
}

func TestPredictionsEqualTheLibrary(t *testing.T) {
	cases := loadRecorded(t)
	if len(cases) < 30 {
		t.Fatalf("only %d cases", len(cases))
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			m := loadFile(t, "testdata/models/"+c.File)
			if categories := len(m.trees.sets) > 0; categories != slices.Contains([]string{"l2_categorical", "l2_onehot", "binary", "multiclass", "rf_l2", "pandas", "linear_binary"}, c.Name) {
				t.Errorf("the model splits by categories: %v", categories)
			}
			in := []tensor.Tensor{c.input(t)}
			if c.Texts != nil {
				in = c.features(t)
			}
			got, want := predict(t, m, in...), doubles(t, c.Predict)
			if len(got) != len(want) {
				t.Fatalf("%d values, want %d", len(got), len(want))
			}
			for i, w := range want {
				if !same(got[i], w) && !(got[i] != got[i] && w != w) { // infinite inputs; not a number has no bits of its own
					t.Errorf("value %d: got %v, want %v bit for bit", i, got[i], w)
				}
			}
			if again := predict(t, m, c.features(t)...); !slices.EqualFunc(again, got, same) {
				t.Error("one tensor per feature answers otherwise than one matrix")
			}
			for i := range c.Rows {
				if c.Texts != nil {
					break
				}
				w := len(got) / len(c.Rows)
				k := len(c.Columns)
				row := tensor.FP64s(Input, []int{1, k}, in[0].F64[i*k:(i+1)*k])
				if alone := predict(t, m, row); !slices.EqualFunc(alone, got[i*w:(i+1)*w], same) {
					t.Errorf("row %d alone answers %v, among others %v", i, alone, got[i*w:(i+1)*w])
				}
			}
			m.convert = keep
			if m.iterations > 0 { // LightGBM's raw score of a random forest is the sum
				m.iterations = 1
			}
			raw := predict(t, m, in...)
			for i, w := range doubles(t, c.Raw) {
				if !same(raw[i], w) && !(raw[i] != raw[i] && w != w) {
					t.Errorf("raw score %d: got %v, want %v bit for bit", i, raw[i], w)
				}
			}
		})
	}
}

func same(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) }

func TestMarginsEqualTheLibraryOnTheGoldenRows(t *testing.T) {
	var doc struct {
		Cases map[string]struct {
			Model, Rows string
			Margin      []float64
		}
	}
	if err := json.Unmarshal(readFile(t, "testdata/margins.json"), &doc); err != nil {
		t.Fatal(err)
	}
	for name, c := range doc.Cases {
		t.Run(name, func(t *testing.T) {
			m := loadFile(t, "testdata/"+c.Model)
			m.convert = keep
			lines, err := csv.NewReader(bytes.NewReader(readFile(t, "testdata/"+c.Rows))).ReadAll()
			if err != nil {
				t.Fatal(err)
			}
			var v []float64
			for _, l := range lines[1:] {
				for _, s := range l {
					x := math.NaN()
					if s != "" {
						if x, err = strconv.ParseFloat(s, 64); err != nil {
							t.Fatal(err)
						}
					}
					v = append(v, x)
				}
			}
			got := predict(t, m, tensor.FP64s(Input, []int{len(lines) - 1, len(lines[0])}, v))
			if len(c.Margin) != 25 || len(got) != 25 {
				t.Fatalf("%d rows for %d", len(got), len(c.Margin))
			}
			for i, w := range c.Margin {
				if !same(got[i], w) {
					t.Errorf("row %d: got %v, want %v bit for bit", i, got[i], w)
				}
			}
		})
	}
}

func TestContract(t *testing.T) {
	for _, c := range loadRecorded(t) {
		switch c.Name {
		case "l2_missing", "binary", "multiclass", "rf_multiclass", "pandas":
			t.Run(c.Name, func(t *testing.T) {
				in := []tensor.Tensor{c.input(t)}
				if c.Texts != nil {
					in = c.features(t)
				}
				enginetest.Run(t, enginetest.Case{Engine: Engine{}, FS: fstest.MapFS{"MLmodel": {Data: []byte("flavors: {}")}, "requirements.txt": {Data: []byte("lightgbm==4.6.0\n")}, "model.lgb": {Data: readFile(t, "testdata/models/"+c.File)}}, Format: Format, Inputs: in})
			})
		}
	}
}

func TestOnlyModelsAreDetected(t *testing.T) {
	cases := []struct {
		name, path, head string
		want             int
	}{
		{"a model", "a/model.txt", "tree\nversion=v4\n", 1},
		{"a model with carriage returns", "m.lgb", "tree\r\nversion=v4\r\n", 1},
		{"a list of plants", "plants.txt", "tree\nbush\n", 0},
		{"another name", "model.csv", "tree\nversion=v4\n", 0},
		{"a JSON model", "m.model", `{"learner":{}}`, 0},
		{"an empty file", "m.txt", "", 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			found, err := Engine{}.Detect(fstest.MapFS{c.path: {Data: []byte(c.head)}})
			if err != nil || len(found) != c.want {
				t.Errorf("found %v (%v), want %d", found, err, c.want)
			}
		})
	}
}

func TestCarriageReturnsDoNotMatter(t *testing.T) {
	c := loadRecorded(t)[0]
	data := bytes.ReplaceAll(readFile(t, "testdata/models/"+c.File), []byte("\n"), []byte("\r\n"))
	m, err := Engine{}.Load(ctx, fstest.MapFS{"m.txt": {Data: data}}, "m.txt", engine.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := predict(t, m, c.input(t)), predict(t, loadFile(t, "testdata/models/"+c.File), c.input(t)); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestBadRequestsNameWhatIsWrong(t *testing.T) {
	m := loadFile(t, "testdata/models/binary.txt")
	features := func(change func([]tensor.Tensor)) []tensor.Tensor {
		var in []tensor.Tensor
		for _, c := range m.columns {
			in = append(in, tensor.FP32s(c, []int{2}, []float32{1, 2}))
		}
		change(in)
		return in
	}
	cases := []struct {
		name, says string
		in         []tensor.Tensor
	}{
		{"too few columns", "[n, 6]", []tensor.Tensor{tensor.FP32s("x", []int{1, 2}, []float32{1, 2})}},
		{"a vector", "[n, 6]", []tensor.Tensor{tensor.FP32s("x", []int{6}, make([]float32, 6))}},
		{"text", "BYTES", []tensor.Tensor{tensor.Strings("x", []int{1, 6}, make([]string, 6))}},
		{"a feature missing", `"dose" is missing`, features(func(in []tensor.Tensor) { in[1].Name = "y" })},
		{"a feature shorter than the others", "all need the shape", features(func(in []tensor.Tensor) { in[2] = tensor.FP32s(in[2].Name, []int{1}, []float32{1}) })},
		{"a feature of text without category names", "BYTES", features(func(in []tensor.Tensor) { in[5] = tensor.Strings(in[5].Name, []int{2}, []string{"a", "b"}) })},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := m.Predict(ctx, c.in)
			if problem.KindOf(err) != problem.Invalid || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want an invalid problem that says %q", err, c.says)
			}
		})
	}
	if out, err := m.Predict(ctx, []tensor.Tensor{tensor.FP32s("x", []int{0, 6}, nil)}); err != nil || out[0].Len() != 0 {
		t.Errorf("no rows: %v, %v, want an empty answer", out, err)
	}
	blanks := features(func(in []tensor.Tensor) { in[3].Name = "b m i" })
	if got, want := predict(t, m, blanks...), predict(t, m, features(func([]tensor.Tensor) {})...); !slices.Equal(got, want) {
		t.Errorf("a name with blanks: %v, want %v", got, want)
	}
	if got, want := predict(t, m, tensor.Int64s("x", []int{1, 6}, []int64{1, 0, -1, 2, 0, 9})), predict(t, m, tensor.FP64s("x", []int{1, 6}, []float64{1, 0, -1, 2, 0, 9})); !slices.Equal(got, want) {
		t.Errorf("whole numbers: %v, want %v", got, want)
	}
}

func TestRefusedFilesSayWhy(t *testing.T) {
	good := readFile(t, "testdata/models/l2_categorical.txt")
	pandas := readFile(t, "testdata/models/pandas.txt")
	// line replaces the first line that starts with key.
	line := func(b []byte, key, new string) []byte {
		i := bytes.Index(b, []byte("\n"+key))
		if i < 0 {
			t.Fatalf("%q is not in the file", key)
		}
		end := i + 1 + bytes.IndexByte(b[i+1:], '\n')
		return slices.Concat(b[:i+1], []byte(new), b[end:])
	}
	value := func(key string) string {
		_, rest, _ := strings.Cut(string(good), "\n"+key+"=")
		rest, _, _ = strings.Cut(rest, "\n")
		return rest
	}
	first := func(key, new string) []byte {
		words := strings.Fields(value(key))
		words[0] = new
		return line(good, key+"=", key+"="+strings.Join(words, " "))
	}
	linearTree := readFile(t, "testdata/models/linear_tree.txt")
	linearWith := func(key, new string) []byte { // in the second tree; the first has constants only
		from := bytes.Index(linearTree, []byte("Tree=1\n"))
		at := from + bytes.Index(linearTree[from:], []byte("\n"+key+"=")) + len(key) + 2
		end := at + bytes.IndexByte(linearTree[at:], '\n')
		words := strings.Fields(string(linearTree[at:end]))
		words[0] = new
		return slices.Concat(linearTree[:at], []byte(strings.Join(words, " ")), linearTree[end:])
	}
	cases := []struct {
		name, says string
		data       []byte
		kind       problem.Kind
	}{
		{"a linear leaf of a feature beyond the row", "feature 6 of 6", linearWith("leaf_features", "6"), problem.Invalid},
		{"a linear leaf of a negative number of features", "num_features", linearWith("num_features", "-1"), problem.Invalid},
		{"linear leaves with a slope too few", "leaf_coeff", linearWith("leaf_coeff", ""), problem.Invalid},
		{"linear leaves of more features than there are", "leaf_features", linearWith("num_features", "2000000000"), problem.Invalid},
		{"an unknown objective", `"mine"`, line(good, "objective=", "objective=mine"), problem.Unsupported},
		{"a version to come", `"v5"`, line(good, "version=", "version=v5"), problem.Unsupported},
		{"a root that is its own child", "another way", first("left_child", "0"), problem.Invalid},
		{"a child beyond the tree", "does not exist", first("left_child", "2147483647"), problem.Invalid},
		{"a leaf beyond the tree", "does not exist", first("left_child", "-2147483648"), problem.Invalid},
		{"a feature beyond the row", "feature 6 of 6", first("split_feature", "6"), problem.Invalid},
		{"a negative feature", "feature -1 of 6", first("split_feature", "-1"), problem.Invalid},
		{"a threshold that is no number", "threshold", first("threshold", "1..2"), problem.Invalid},
		{"a threshold too large for a double", "threshold", first("threshold", "1e999"), problem.Invalid},
		{"2^30 leaves", "instead of 1073741822", line(good, "num_leaves=", "num_leaves=1073741822"), problem.Invalid},
		{"2^62 leaves", "leaves", line(good, "num_leaves=", "num_leaves=4611686018427387904"), problem.Invalid},
		{"no leaves", "leaves", line(good, "num_leaves=", "num_leaves=0"), problem.Invalid},
		{"2^30 features", "limit", line(good, "max_feature_idx=", "max_feature_idx=1073741824"), problem.TooLarge},
		{"more features than names", "names 6 features", line(good, "max_feature_idx=", "max_feature_idx=70000"), problem.Invalid},
		{"a name twice", "Column_0", line(good, "feature_names=", "feature_names=Column_0 Column_0 a b c d"), problem.Invalid},
		{"classes without trees", "classes", line(line(good, "num_class=", "num_class=7"), "num_tree_per_iteration=", "num_tree_per_iteration=7"), problem.Invalid},
		{"2^40 classes", "limit", line(good, "num_class=", "num_class=1099511627776"), problem.TooLarge},
		{"three classes for one number", "one class", line(line(good, "num_class=", "num_class=3"), "num_tree_per_iteration=", "num_tree_per_iteration=3"), problem.Invalid},
		{"a sigmoid of zero", "sigmoid", line(good, "objective=", "objective=binary sigmoid:0"), problem.Invalid},
		{"a header line twice", "stands twice", line(good, "num_class=", "num_class=1\nnum_class=1"), problem.Invalid},
		{"a tree line twice", "stands twice", line(good, "left_child=", "left_child="+value("left_child")+"\nleft_child=1"), problem.Invalid},
		{"a tree left out", "tree 1 should begin", bytes.Replace(good, []byte("\nTree=1\n"), []byte("\nTree=2\n"), 1), problem.Invalid},
		{"fewer trees than announced", "announces", line(good, "tree_sizes=", "tree_sizes=1 2 3 4 5 6 7"), problem.Invalid},
		{"category sets that fall", "cat_boundaries", first("cat_boundaries", "5"), problem.Invalid},
		{"category sets of 2^31", "cat_threshold", line(good, "cat_boundaries=", "cat_boundaries=0"+strings.Repeat(" 2147483647", len(strings.Fields(value("cat_boundaries")))-1)), problem.Invalid},
		{"the end cut off", "a part is missing", good[:bytes.Index(good, []byte("end of trees"))], problem.Invalid},
		{"the parameters cut off", "a part is missing", good[:bytes.Index(good, []byte("end of parameters"))], problem.Invalid},
		{"category names cut off", "pandas_categorical", pandas[:len(pandas)-4], problem.Invalid},
		{"category names of unknown columns", "do not tell which", line(pandas, "[categorical_feature:", "[categorical_feature: 1]"), problem.Unsupported},
		{"categories that are numbers", "neither texts", line(pandas, "pandas_categorical:", "pandas_categorical:[[10, 20], [1]]"), problem.Unsupported},
		{"more lists of categories than features", "no list of lists", line(pandas, "pandas_categorical:", "pandas_categorical:["+strings.Repeat("[],", 1000)+"[]]"), problem.Invalid},
		{"nesting without end", "neither texts", line(pandas, "pandas_categorical:", "pandas_categorical:"+strings.Repeat("[", 100000)), problem.Unsupported},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := Engine{}.Load(ctx, fstest.MapFS{"m": {Data: c.data}}, "m", engine.Limits{})
			if problem.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %s %v, want %s that says %q", problem.KindOf(err), err, c.kind, c.says)
			}
		})
	}
}

func TestATreeDeeperThanTheLimitIsRefused(t *testing.T) {
	deep := func(inner int) []byte {
		var feature, threshold, left, right, leaf strings.Builder
		for i := range inner {
			feature.WriteString(" 0")
			threshold.WriteString(" 0.5")
			left.WriteString(" " + strconv.Itoa(-1-i))
			next := i + 1
			if next == inner {
				next = -1 - inner
			}
			right.WriteString(" " + strconv.Itoa(next))
			leaf.WriteString(" 1")
		}
		return []byte("tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nmax_feature_idx=0\nfeature_names=a\n\nTree=0\nnum_leaves=" + strconv.Itoa(inner+1) +
			"\nsplit_feature=" + feature.String() + "\nthreshold=" + threshold.String() + "\ndecision_type=" + strings.ReplaceAll(feature.String(), "0", "2") +
			"\nleft_child=" + left.String() + "\nright_child=" + right.String() + "\nleaf_value=" + leaf.String() + " 7\n\nend of trees\n")
	}
	m, err := newModel(ctx, deep(maxDepth))
	if err != nil {
		t.Fatal(err)
	}
	if got := predict(t, m, tensor.FP64s("a", []int{2}, []float64{1, 0})); !slices.Equal(got, []float64{7, 1}) {
		t.Errorf("got %v, want the deepest leaf 7, then the first 1", got)
	}
	if _, err := newModel(ctx, deep(maxDepth+1)); problem.KindOf(err) != problem.Invalid || !strings.Contains(err.Error(), "levels deep") {
		t.Errorf("one level more: %v, want a refusal", err)
	}
}

func TestAHundredMegabytesOfNothingAreRefusedAtOnce(t *testing.T) {
	head := "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nmax_feature_idx=0\nfeature_names=a\n"
	fill := func(head, item string) []byte {
		return append([]byte(head), bytes.Repeat([]byte(item), 100<<20/len(item))...)
	}
	for name, data := range map[string][]byte{
		"zeros":                     make([]byte, 100<<20),
		"zeros behind a good head":  fill(head, "\x00"),
		"empty lines":               fill(head, "\n"),
		"features":                  fill("tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nmax_feature_idx=0\nfeature_names=", "a "),
		"leaves":                    fill(head+"\nTree=0\nnum_leaves=1000000000\nleaf_value=", "0 "),
		"more leaves than declared": append(fill(head+"\nTree=0\nnum_leaves=1\nleaf_value=", "0 "), "\nend of trees\n"...),
	} {
		fsys := fstest.MapFS{"m.txt": {Data: data}}
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
		f.Add(readFile(f, name))
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
		row := make([]float64, k)
		for i := range row {
			row[i] = float64(i%3) - 1
		}
		row[0] = math.NaN()
		if _, err := m.Predict(ctx, []tensor.Tensor{tensor.FP64s(Input, []int{1, k}, row)}); err != nil && k > 1 {
			t.Fatalf("a loaded model does not answer: %v", err)
		}
	})
}

func BenchmarkOneRow(b *testing.B) { benchmark(b, 1) }

func BenchmarkThousandRows(b *testing.B) { benchmark(b, 1000) }

func benchmark(b *testing.B, n int) {
	m := loadFile(b, "testdata/lgb_binary_missing_categorical.txt")
	v := make([]float64, n*8)
	for i := range v {
		v[i] = float64(i%17)/5 - 1.5
	}
	in := []tensor.Tensor{tensor.FP64s(Input, []int{n, 8}, v)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.Predict(ctx, in); err != nil {
			b.Fatal(err)
		}
	}
}
