package inventory

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"io/fs"
	"regexp"
	"slices"
	"strings"

	"keelson/internal/engine"
	"keelson/internal/problem"
)

// Files with a meaning of their own in a model folder.
const (
	fileMLmodel      = "MLmodel"
	fileGolden       = "keelson_golden.json"
	fileConda        = "conda.yaml"
	fileRequirements = "requirements.txt"
	filePythonEnv    = "python_env.yaml"
	fileRegistered   = "registered_model_meta" // written by clients that download
	maxDescriptive   = 1 << 20                 // bytes of a descriptive file that are read
	maxExamples      = 16 << 20
)

// mlmodel is what MLflow's MLmodel file says, as far as the record needs it.
type mlmodel struct {
	Flavors   map[string]map[string]any `yaml:"flavors"`
	Signature *struct {
		Inputs  string `yaml:"inputs"`
		Outputs string `yaml:"outputs"`
		Params  string `yaml:"params"`
	} `yaml:"signature"`
	Example *struct {
		Path    string `yaml:"artifact_path"`
		Serving string `yaml:"serving_input_path"`
		Orient  string `yaml:"pandas_orient"`
		Type    string `yaml:"type"`
	} `yaml:"saved_input_example_info"`
	UUID     any            `yaml:"model_uuid"`
	ModelID  any            `yaml:"model_id"`
	RunID    any            `yaml:"run_id"`
	Created  any            `yaml:"utc_time_created"`
	Version  any            `yaml:"mlflow_version"`
	Size     any            `yaml:"model_size_bytes"`
	Metadata map[string]any `yaml:"metadata"`
}

// described is what a version's files say about themselves.
type described struct {
	ml        *mlmodel
	signature engine.Signature
	libraries []Dependency
	content   string // content digest
	told      Described
}

// readSmall reads a descriptive file of at most limit bytes; nil when it is not there.
func readSmall(fsys fs.FS, name string, limit int64) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		if isNotExist(err) {
			return nil, nil
		}
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, problem.New(problem.TooLarge, "The file %s is larger than %d bytes.", name, limit).At(name)
	}
	return b, nil
}

// describe reads the descriptive files of a version and computes its content digest.
func describe(fsys fs.FS, files []File) (d described, err error) {
	raw, err := readSmall(fsys, fileMLmodel, maxDescriptive)
	if err != nil {
		return d, err
	}
	if raw != nil {
		d.ml = &mlmodel{}
		if err := parseYAML(fileMLmodel, raw, d.ml); err != nil {
			return d, err
		}
		d.signature = d.ml.spec()
	}
	if d.libraries, err = libraries(fsys); err != nil {
		return d, err
	}
	d.content = contentDigest(files, d)
	python, err := pythonVersion(fsys)
	if err != nil {
		return d, err
	}
	d.told = d.ml.describedBy(python)
	if d.told.Python != "" {
		d.libraries = append([]Dependency{{Kind: "library", Name: "python", Version: d.told.Python}}, d.libraries...)
	}
	return d, nil
}

// contentDigest is the digest that is the same for the same model trained again. For an MLflow model the payload is the
// flavours' data files; the manifest holds the flavours without what varies from run to run, the signature and the
// libraries. For any other folder the payload is all files.
func contentDigest(files []File, d described) string {
	type item struct {
		Path   string `json:"path"`
		Digest string `json:"digest"`
	}
	manifest := struct {
		Files     []item                    `json:"files"`
		Flavors   map[string]map[string]any `json:"flavors,omitempty"`
		Signature any                       `json:"signature,omitempty"`
		Libraries []Dependency              `json:"libraries,omitempty"`
	}{Files: []item{}}
	var data []string
	if d.ml != nil {
		manifest.Flavors = map[string]map[string]any{}
		for name, f := range d.ml.Flavors {
			kept := map[string]any{}
			for k, v := range f {
				switch k {
				case "run_id", "utc_time_created", "model_uuid", "artifact_path", "env", "code", "config", "python_version":
				default:
					kept[k] = v
				}
				if s, ok := v.(string); ok && (k == "data" || k == "model_path" || strings.HasSuffix(k, "_path") || k == "pickled_model") {
					data = append(data, s)
				}
			}
			manifest.Flavors[name] = kept
		}
		if d.ml.Signature != nil {
			manifest.Signature = d.ml.Signature
		}
		manifest.Libraries = d.libraries
	}
	for _, f := range files {
		switch f.Path {
		case fileMLmodel, fileGolden, fileConda, fileRequirements, filePythonEnv, fileRegistered:
			continue
		}
		if d.ml != nil && len(data) > 0 && !slices.ContainsFunc(data, func(p string) bool { return f.Path == p || strings.HasPrefix(f.Path, p+"/") }) {
			continue
		}
		manifest.Files = append(manifest.Files, item{f.Path, f.Digest})
	}
	slices.SortFunc(manifest.Files, func(a, b item) int { return strings.Compare(a.Path, b.Path) })
	b, err := json.Marshal(manifest) // maps are written with sorted keys
	if err != nil {                  // a YAML value that JSON cannot hold, such as a map with keys that are not text
		b = []byte(ArtifactDigest(files))
	}
	sum := sha256.Sum256(append([]byte("keelson-content/1\n"), b...))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// mlType gives our datatype for MLflow's column types.
var mlType = map[string]string{"double": "FP64", "float": "FP32", "long": "INT64", "integer": "INT32", "boolean": "BOOL", "string": "BYTES", "datetime": "BYTES", "binary": "BYTES",
	"float64": "FP64", "float32": "FP32", "int64": "INT64", "int32": "INT32", "int16": "INT16", "int8": "INT8", "uint8": "UINT8", "bool": "BOOL", "object": "BYTES", "str": "BYTES"}

// spec is the signature that the MLmodel file declares; empty when there is none or it cannot be read.
func (m *mlmodel) spec() (s engine.Signature) {
	if m.Signature == nil {
		return s
	}
	return engine.Signature{Inputs: mlSpecs(m.Signature.Inputs, "input"), Outputs: mlSpecs(m.Signature.Outputs, "output")}
}

func mlSpecs(text, fallback string) (out []engine.Spec) {
	var cols []struct {
		Name     string `json:"name"`
		Type     any    `json:"type"`
		Required *bool  `json:"required"`
		Tensor   struct {
			Dtype string `json:"dtype"`
			Shape []int  `json:"shape"`
		} `json:"tensor-spec"`
	}
	if text == "" || json.Unmarshal([]byte(text), &cols) != nil {
		return nil
	}
	for _, c := range cols {
		spec := engine.Spec{Name: c.Name, Datatype: "BYTES", Shape: []int{-1}}
		if spec.Name == "" {
			spec.Name = fallback
		}
		name, _ := c.Type.(string)
		if name == "tensor" {
			name, spec.Shape = c.Tensor.Dtype, c.Tensor.Shape
		}
		if t, ok := mlType[name]; ok {
			spec.Datatype = t
		}
		spec.Optional = c.Required != nil && !*c.Required
		out = append(out, spec)
	}
	return out
}

// named gives a matrix input of sig the column names that the declared signature has, where the model file has none.
func named(sig, declared engine.Signature) engine.Signature {
	if len(sig.Inputs) != 1 || len(sig.Inputs[0].Shape) != 2 || len(sig.Inputs[0].Columns) > 0 || len(declared.Inputs) != sig.Inputs[0].Shape[1] || len(declared.Inputs) < 2 {
		return sig
	}
	in := slices.Clone(sig.Inputs)
	for _, c := range declared.Inputs {
		in[0].Columns = append(in[0].Columns, c.Name)
	}
	sig.Inputs = in
	return sig
}

// A requirement is a name, extras, and an exact version, other conditions, or an address.
var requirement = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*(?:===?\s*([^\s;,#]+)\s*(?:$|[;#])|@\s*(\S+)|([<>=!~][^;#]*))?`)

// libraries reads requirements.txt, or the pip list of conda.yaml when there is none.
func libraries(fsys fs.FS) (out []Dependency, err error) {
	b, err := readSmall(fsys, fileRequirements, maxDescriptive)
	if err != nil {
		return nil, err
	}
	var lines []string
	if b != nil {
		lines = strings.Split(string(b), "\n")
	} else {
		if b, err = readSmall(fsys, fileConda, maxDescriptive); err != nil || b == nil {
			return nil, err
		}
		var doc struct {
			Dependencies []any `yaml:"dependencies"`
		}
		if err := parseYAML(fileConda, b, &doc); err != nil {
			return nil, err
		}
		for _, d := range doc.Dependencies {
			switch d := d.(type) {
			case string:
				lines = append(lines, strings.Replace(d, "=", "==", strings.Count(d, "=")%2))
			case map[string]any:
				pip, _ := d["pip"].([]any)
				for _, p := range pip {
					if s, ok := p.(string); ok {
						lines = append(lines, s)
					}
				}
			}
		}
	}
	for _, l := range lines {
		l = strings.TrimSpace(l)
		if l == "" || l[0] == '#' || l[0] == '-' {
			continue
		}
		if m := requirement.FindStringSubmatch(l); m != nil && len(out) < 1000 {
			version := m[2] + m[3] + strings.Join(strings.Fields(m[4]), "")
			out = append(out, Dependency{Kind: "library", Name: strings.ToLower(m[1]), Version: problem.Clip(version, maxShortText)})
		}
	}
	slices.SortFunc(out, func(a, b Dependency) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// golden finds a version's golden rows: given at registration, else keelson_golden.json, else MLflow's input example (which
// records no answers). nil when there are none.
func golden(given string, fsys fs.FS, ml *mlmodel) (*examples, error) {
	if given != "" {
		return parseExamples([]byte(given))
	}
	b, err := readSmall(fsys, fileGolden, maxExamples)
	if err != nil {
		return nil, err
	}
	if b != nil {
		return parseExamples(b)
	}
	if ml == nil || ml.Example == nil {
		return nil, nil
	}
	for _, p := range []string{ml.Example.Serving, ml.Example.Path} {
		if p == "" || !fs.ValidPath(p) {
			continue
		}
		b, err := readSmall(fsys, p, maxExamples)
		if err != nil || b == nil {
			continue // an example that cannot be read is no reason to refuse a model
		}
		var doc struct {
			Split   json.RawMessage   `json:"dataframe_split"`
			Inputs  json.RawMessage   `json:"inputs"`
			Columns []json.RawMessage `json:"columns"`
		}
		if json.Unmarshal(b, &doc) != nil {
			continue
		}
		table := doc.Split
		switch {
		case table != nil:
		case doc.Columns != nil:
			table = b
		case first(doc.Inputs) == '[':
			table = append(append([]byte(`{"data":`), doc.Inputs...), '}')
		}
		if table == nil {
			continue
		}
		if f, err := readFrame(bytes.TrimSpace(table)); err == nil && f.Rows > 0 {
			return &examples{frame: f, limit: DefaultGoldenLimit}, nil
		}
	}
	return nil, nil
}

func isNotExist(err error) bool {
	p, ok := problem.As(err)
	return ok && p.Kind == problem.NotFound || errorsIs(err, fs.ErrNotExist)
}
