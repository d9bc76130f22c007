package inventory

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"keelson/internal/markup"
	"keelson/internal/problem"
)

// FormatPyfunc is the format of an MLflow model that only Python can run. Its files are kept and never opened here.
const FormatPyfunc = "mlflow-pyfunc"

// Described is what a version's MLmodel file says of itself beyond its signature. All fields may be empty.
type Described struct {
	Flavors   []string          `json:"flavors,omitempty" doc:"in alphabetical order, such as python_function and sklearn"`
	UUID      string            `json:"model_uuid,omitempty"`
	ModelID   string            `json:"model_id,omitempty"`
	RunID     string            `json:"run_id,omitempty"`
	Made      string            `json:"created,omitempty" doc:"as the file says it"`
	MLflow    string            `json:"mlflow_version,omitempty"`
	Python    string            `json:"python,omitempty"`
	Size      int64             `json:"size,omitempty" doc:"bytes, as the file says it"`
	Libraries map[string]string `json:"libraries,omitempty" doc:"versions that the flavours name, by flavour"`
	Metadata  map[string]any    `json:"metadata,omitempty" doc:"what the author added"`
	Params    []Param           `json:"params,omitempty" doc:"parameters of a call, with their defaults"`
}

// Param is a parameter of a call of an MLflow model. Shape is empty for a scalar.
type Param struct {
	Name     string `json:"name"`
	Datatype string `json:"datatype"`
	Default  any    `json:"default"`
	Shape    []int  `json:"shape,omitempty"`
}

// Bounds of a YAML document that describes a model.
const (
	maxMetadata  = 64 << 10 // bytes of Metadata as JSON
	maxParams    = 1000
	maxFlavors   = 100
	maxShortText = 500
)

// parseYAML reads one YAML document, which takes no more memory than internal/markup allows.
func parseYAML(name string, b []byte, into any) error {
	err := markup.Decode(b, false, into)
	if err != nil && !errors.Is(err, io.EOF) {
		return problem.New(problem.Invalid, "The file %s cannot be read: %s.", name, problem.Clip(err.Error(), maxShortText)).At(name).Because(err)
	}
	return nil
}

// describedBy collects what an MLmodel file says; python is the version python_env.yaml or the file itself names.
func (m *mlmodel) describedBy(python string) (d Described) {
	if m == nil {
		return Described{Python: python}
	}
	text := func(v any) string {
		s, ok := v.(string)
		if !ok && v != nil {
			switch v.(type) {
			case int, float64, bool:
				s = fmt.Sprint(v)
			}
		}
		return problem.Clip(strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), ""), maxShortText)
	}
	d = Described{UUID: text(m.UUID), ModelID: text(m.ModelID), RunID: text(m.RunID), Made: text(m.Created), MLflow: text(m.Version), Python: python}
	if n, ok := m.Size.(int); ok && n > 0 {
		d.Size = int64(n)
	}
	for _, name := range slices.Sorted(maps.Keys(m.Flavors)) {
		if len(d.Flavors) == maxFlavors {
			break
		}
		f := m.Flavors[name]
		d.Flavors = append(d.Flavors, text(name))
		if v := text(f["python_version"]); v != "" && d.Python == "" {
			d.Python = v
		}
		for _, k := range slices.Sorted(maps.Keys(f)) {
			lib, ok := strings.CutSuffix(k, "_version")
			if v := text(f[k]); ok && v != "" && k != "python_version" && len(d.Libraries) < maxFlavors {
				if d.Libraries == nil {
					d.Libraries = map[string]string{}
				}
				d.Libraries[text(lib)] = v
			}
		}
	}
	if b, err := json.Marshal(m.Metadata); err == nil && len(m.Metadata) > 0 && len(b) <= maxMetadata && !strings.Contains(string(b), `\u0000`) {
		d.Metadata = m.Metadata // a value that JSON cannot hold, such as a map with keys that are not text, is left out
	}
	if m.Signature != nil {
		d.Params = mlParams(m.Signature.Params)
	}
	return d
}

// mlParams reads the parameters of a signature; none when they cannot be read.
func mlParams(text string) (out []Param) {
	var list []struct {
		Name    string `json:"name"`
		Type    string `json:"type"`
		Dtype   string `json:"dtype"`
		Default any    `json:"default"`
		Shape   []int  `json:"shape"`
	}
	if text == "" || json.Unmarshal([]byte(text), &list) != nil {
		return nil
	}
	for _, p := range list {
		if len(out) == maxParams {
			break
		}
		t := p.Type
		if t == "" {
			t = p.Dtype
		}
		param := Param{Name: problem.Clip(p.Name, maxShortText), Datatype: "BYTES", Default: p.Default, Shape: p.Shape}
		if ours, ok := mlType[t]; ok {
			param.Datatype = ours
		}
		out = append(out, param)
	}
	return out
}

// pythonVersion reads the Python version of python_env.yaml or conda.yaml; "" when neither says one.
func pythonVersion(fsys fs.FS) (string, error) {
	b, err := readSmall(fsys, filePythonEnv, maxDescriptive)
	if err != nil {
		return "", err
	}
	if b != nil {
		var doc struct {
			Python any `yaml:"python"`
		}
		if err := parseYAML(filePythonEnv, b, &doc); err != nil {
			return "", err
		}
		if s := fmt.Sprint(doc.Python); doc.Python != nil && len(s) <= 40 {
			return s, nil
		}
	}
	if b, err = readSmall(fsys, fileConda, maxDescriptive); err != nil || b == nil {
		return "", err
	}
	var doc struct {
		Dependencies []any `yaml:"dependencies"`
	}
	if err := parseYAML(fileConda, b, &doc); err != nil {
		return "", err
	}
	for _, d := range doc.Dependencies {
		if s, ok := d.(string); ok {
			if v, ok := strings.CutPrefix(s, "python="); ok && len(v) <= 40 {
				return strings.TrimLeft(v, "="), nil
			}
		}
	}
	return "", nil
}

// Undeployable says in one sentence why a version cannot be deployed, or "".
func (v *Version) Undeployable() string {
	switch {
	case v.State == Pending:
		return v.Ref() + " is still being tested."
	case v.State == Ready && v.Fault == FaultNoEngine:
		return v.Ref() + " is kept and can be loaded with Python, but " + lower(v.Reason)
	case v.State == Ready && v.Fault == FaultPreparing:
		return v.Ref() + " is kept and tested soon: " + lower(v.Reason)
	case v.State == Ready:
		return ""
	case v.State == Retired:
		return v.Ref() + " is retired."
	}
	return v.Ref() + " failed its test: " + v.Reason
}

func lower(s string) string {
	if s == "" {
		return "no engine here runs it."
	}
	return strings.ToLower(s[:1]) + s[1:]
}
