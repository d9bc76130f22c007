package inventory

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"keelson/internal/db"
	"keelson/internal/db/dbtest"
	"keelson/internal/problem"
)

const sklearnModel = `artifact_path: mlflow-artifacts:/1/models/m-1/artifacts
flavors:
  python_function:
    env: {conda: conda.yaml, virtualenv: python_env.yaml}
    loader_module: mlflow.sklearn
    model_path: model.pkl
    predict_fn: predict
    python_version: 3.11.7
  sklearn:
    code: null
    pickled_model: model.pkl
    serialization_format: cloudpickle
    sklearn_version: 1.9.1
metadata: {team: risk, nested: {a: [1, 2]}}
mlflow_version: 3.17.2
model_id: m-1
model_size_bytes: 1234
model_uuid: 8e4b
run_id: abc
saved_input_example_info: {artifact_path: input_example.json, pandas_orient: split, serving_input_path: serving_input_example.json, type: dataframe}
signature:
  inputs: '[{"type": "double", "name": "a", "required": true}, {"type": "string", "name": "b", "required": false}]'
  outputs: '[{"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}]'
  params: '[{"name": "times", "default": 2, "shape": null, "type": "long"}, {"name": "words", "default": ["x"], "shape": [-1], "type": "string"}]'
utc_time_created: '2026-11-01 10:00:00.000000'
`

func folderOf(files map[string]string) (fstest.MapFS, []File) {
	fsys, list := fstest.MapFS{}, []File{}
	for p, content := range files {
		fsys[p] = &fstest.MapFile{Data: []byte(content)}
		list = append(list, File{Path: p, Digest: "sha256:" + p, Size: int64(len(content))})
	}
	return fsys, list
}

func TestWhatAnMLmodelSaysIsRead(t *testing.T) {
	fsys, files := folderOf(map[string]string{"MLmodel": sklearnModel, "model.pkl": "x", "python_env.yaml": "python: 3.11.7\nbuild_dependencies: [pip==25.0]\ndependencies: [-r requirements.txt]\n",
		"requirements.txt": "scikit-learn==1.9.1\nnumpy>=1.26, <3  # wide\nmylib @ git+https://git.example/mylib@abc123\nuvicorn[standard]==0.54.0 ; python_version > '3.8'\n-r other.txt\n# note\nplain\n"})
	d, err := describe(fsys, files)
	if err != nil {
		t.Fatal(err)
	}
	told := d.told
	if strings.Join(told.Flavors, " ") != "python_function sklearn" || told.UUID != "8e4b" || told.ModelID != "m-1" || told.RunID != "abc" || told.MLflow != "3.17.2" || told.Size != 1234 ||
		told.Python != "3.11.7" || told.Libraries["sklearn"] != "1.9.1" || told.Metadata["team"] != "risk" {
		t.Errorf("told is %+v", told)
	}
	if len(told.Params) != 2 || told.Params[0].Datatype != "INT64" || fmt.Sprint(told.Params[0].Default) != "2" || !slices.Equal(told.Params[1].Shape, []int{-1}) {
		t.Errorf("parameters are %+v", told.Params)
	}
	if in, out := d.signature.Inputs, d.signature.Outputs; len(in) != 2 || in[0].Datatype != "FP64" || in[1].Datatype != "BYTES" || !in[1].Optional || len(out) != 1 || out[0].Datatype != "INT64" {
		t.Errorf("signature is %+v", d.signature)
	}
	got := map[string]string{}
	for _, l := range d.libraries {
		got[l.Name] = l.Version
	}
	for name, want := range map[string]string{"python": "3.11.7", "scikit-learn": "1.9.1", "numpy": ">=1.26,<3", "mylib": "git+https://git.example/mylib@abc123", "uvicorn": "0.54.0", "plain": ""} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("library %s is %q (%v), want %q", name, v, ok, want)
		}
	}
}

func TestLibrariesOfCondaAreRead(t *testing.T) {
	fsys, files := folderOf(map[string]string{"conda.yaml": "channels: [conda-forge]\ndependencies:\n- python=3.10.4\n- scipy=1.9\n- pip:\n  - xgboost==3.2.0\n"})
	d, err := describe(fsys, files)
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, l := range d.libraries {
		got += l.Name + " " + l.Version + "; "
	}
	if !strings.Contains(got, "python 3.10.4; ") || !strings.Contains(got, "xgboost 3.2.0; ") || !strings.Contains(got, "scipy 1.9; ") {
		t.Errorf("libraries are %s", got)
	}
}

// bomb is a YAML document of few bytes that stands for ten to the power of deep values.
func bomb(deep int) string {
	var b strings.Builder
	b.WriteString("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n")
	for i := 1; i < deep; i++ {
		fmt.Fprintf(&b, "a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i-1), 10), ","))
	}
	return b.String()
}

func TestDocumentsThatGrowOrNestAreRefusedAtOnce(t *testing.T) {
	for name, text := range map[string]string{
		"aliases of aliases":     bomb(9),
		"as metadata":            "metadata:\n  " + strings.ReplaceAll(strings.TrimSpace(bomb(12)), "\n", "\n  "),
		"deep lists":             "flavors: " + strings.Repeat("[", 5000) + strings.Repeat("]", 5000),
		"deep maps":              "flavors: " + strings.Repeat("{a: ", 3000) + "1" + strings.Repeat("}", 3000),
		"an anchor in itself":    "a: &a [*a]",
		"many values":            "metadata: [" + strings.Repeat("1,", 200_000) + "1]",
		"not YAML":               "a: b: c: [",
		"flavours of wrong type": "flavors: [1, 2]",
	} {
		t.Run(name, func(t *testing.T) {
			fsys, files := folderOf(map[string]string{"MLmodel": text})
			begin := time.Now()
			_, err := describe(fsys, files)
			if problem.KindOf(err) != problem.Invalid {
				t.Errorf("got %v, want an invalid file", err)
			}
			if took := time.Since(begin); took > 5*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

func TestAModelForPythonOnlyIsReadyAndCannotBeDeployed(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s, ctx := service(t, d), as("ada")
		v := must[Version](t)(s.Register(ctx, Registration{Model: "py", MakeModel: true, Files: store(t, s, map[string]string{
			"MLmodel": sklearnModel, "model.pkl": "cos\nsystem\n(S'touch /tmp/opened'\ntR.", "input_example.json": `{"columns":["a","b"],"data":[[1,"x"]]}`})}))
		if v.Deployable || !strings.Contains(v.NotDeployable, "still being tested") {
			t.Errorf("a pending version: %v %q", v.Deployable, v.NotDeployable)
		}
		if err := s.Check(ctx, "py", v.Number); err != nil {
			t.Fatal(err)
		}
		v = must[Version](t)(s.Version(ctx, "py", v.Number))
		if v.State != Ready || v.Format != FormatPyfunc || v.Engine != "" || v.Deployable || !strings.Contains(v.NotDeployable, "can be loaded with Python") {
			t.Errorf("version is %s %s, engine %q, deployable %v: %s", v.State, v.Format, v.Engine, v.Deployable, v.NotDeployable)
		}
		if v.MLflow == nil || v.MLflow.UUID != "8e4b" || strings.Join(v.Flavors, " ") != "python_function sklearn" {
			t.Errorf("flavors %v, mlflow %+v", v.Flavors, v.MLflow)
		}
	})
}

// Whatever the descriptive files hold: no panic, an answer that JSON can hold, and a refusal that is the caller's.
func FuzzDescribe(f *testing.F) {
	f.Add(sklearnModel, "numpy==1.0\n", "dependencies:\n- python=3.10\n- pip: [a==1]\n", "python: 3.11\n")
	f.Add(bomb(4), "a @ b ; c", "dependencies: {a: b}", "python: [1]")
	f.Add("flavors:\n  a: &x {b: 1}\n  c: *x\nsignature: {inputs: '[{\"type\":{\"a\":1}}]', params: '[{}]'}", "-r x\n\x00", "dependencies:\n- pip: 3", "python: 3.1")
	f.Add("metadata: {1: 2, [a]: b}", "", "", "")
	f.Add("model_uuid: !!binary aGk=\nmodel_size_bytes: 9223372036854775808\nsaved_input_example_info: {artifact_path: ../../x}", "", "? a\n: b", "<<: *x")
	f.Fuzz(func(t *testing.T, ml, requirements, conda, env string) {
		files := map[string]string{}
		for name, text := range map[string]string{"MLmodel": ml, "requirements.txt": requirements, "conda.yaml": conda, "python_env.yaml": env} {
			if text != "" {
				files[name] = text
			}
		}
		fsys, list := folderOf(files)
		d, err := describe(fsys, list)
		if err != nil {
			if k := problem.KindOf(err); k != problem.Invalid && k != problem.TooLarge {
				t.Fatalf("got %v of kind %v", err, k)
			}
			return
		}
		for _, v := range []any{d.told, d.signature, d.libraries} {
			if _, err := json.Marshal(v); err != nil {
				t.Fatal(err)
			}
		}
		if d.ml != nil {
			if ex, err := golden("", fsys, d.ml); err == nil && ex != nil && ex.frame == nil && ex.tensors == nil {
				t.Error("an example without rows")
			}
		}
	})
}

func TestTheRefusalOfAFileThatDescribesAModelSaysWhy(t *testing.T) {
	for text, says := range map[string]string{
		"flavors: {}\nflavors: {}\n": `The file MLmodel cannot be read: the key "flavors" stands on line 1 and again on line 2; leave one of them out.`,
		"run_id: [1]\n":              "The file MLmodel cannot be read: line 1: cannot unmarshal !!seq into string.",
	} {
		var m struct {
			Flavors map[string]any `yaml:"flavors"`
			RunID   string         `yaml:"run_id"`
		}
		if err := parseYAML("MLmodel", []byte(text), &m); problem.KindOf(err) != problem.Invalid || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", text, err, says)
		}
	}
}
