package pipeline

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"keelson/internal/problem"
	"keelson/internal/release"
)

// MaxDefinition is the largest project file, in bytes.
const MaxDefinition = 256 << 10

// MaxSteps is the largest number of steps.
const MaxSteps = 200

// Definition is a project file. Unknown fields are refused.
type Definition struct {
	Name        string             `yaml:"name"`
	Description string             `yaml:"description"`
	Model       string             `yaml:"model"` // what usage is booked on and the default of register
	Seed        int64              `yaml:"seed"`
	Source      []string           `yaml:"source"` // path patterns of what the client packs; empty is everything
	Environment EnvironmentSpec    `yaml:"environment"`
	Parameters  map[string]any     `yaml:"parameters"` // scalars; a run may override them, not add to them
	Data        map[string]Dataset `yaml:"data"`
	Steps       map[string]StepDef `yaml:"steps"`
	Evaluate    map[string]Suite   `yaml:"evaluate"`
	Deploy      map[string]Rollout `yaml:"deploy"`
	Retrain     RetrainSpec        `yaml:"retrain"`
	Monitors    map[string]any     `yaml:"monitors"` // by endpoint: what keelson monitor create sends; the monitor checks it

	order []string // steps as they stand in the file
}

// EnvironmentSpec names the lock file of the Python environment, relative to the project file.
type EnvironmentSpec struct {
	Requirements string `yaml:"requirements"`
}

// RetrainSpec bounds how often monitors may start this pipeline.
type RetrainSpec struct {
	Cooldown Duration `yaml:"cooldown"` // between two starts by monitors; default 10 minutes
}

// Dataset describes a data set of the project and the rules its versions keep.
type Dataset struct {
	Description string   `yaml:"description" json:"description"`
	Owner       string   `yaml:"owner" json:"owner,omitempty"`
	Sensitivity string   `yaml:"sensitivity" json:"sensitivity"`
	Source      string   `yaml:"source" json:"source"`
	Target      string   `yaml:"target" json:"target"`
	Rules       []Rule   `yaml:"rules" json:"rules"`
	Personal    []string `yaml:"personal" json:"personal,omitempty"` // columns about people
}

// Rule is one rule of a data set, as the dataset noun reads it.
type Rule struct {
	ID       string   `yaml:"id" json:"id,omitempty"`
	Column   string   `yaml:"column" json:"column,omitempty"`
	Check    string   `yaml:"check" json:"check"`
	Type     string   `yaml:"type" json:"type,omitempty"`
	Min      *float64 `yaml:"min" json:"min,omitempty"`
	Max      *float64 `yaml:"max" json:"max,omitempty"`
	MaxShare *float64 `yaml:"max_share" json:"max_share,omitempty"`
	Values   []any    `yaml:"values" json:"values,omitempty"`
}

// StepDef declares one step.
type StepDef struct {
	Kind    string            `yaml:"kind"`
	Needs   []string          `yaml:"needs"`
	Run     []string          `yaml:"run"`     // command: program and arguments
	Data    []string          `yaml:"data"`    // check: what to check; command: what to check out; empty is all
	Outputs map[string]string `yaml:"outputs"` // command: data set → file in KEELSON_OUTPUT that becomes its next version
	Suite   string            `yaml:"suite"`   // evaluate
	Limits  Limits            `yaml:"limits"`
}

// Limits bound one step. Zero takes the default.
type Limits struct {
	Memory Size     `yaml:"memory" json:"memory"` // bytes of all its processes together, default 4 GiB
	Time   Duration `yaml:"time" json:"time"`     // on the clock, default 1 h
	CPU    Duration `yaml:"cpu" json:"cpu"`       // processor time of one process, default 1 h
	Output Size     `yaml:"output" json:"output"` // bytes in its work folder, default 1 GiB
}

// over fills what l leaves open from d.
func (l Limits) over(d Limits) Limits {
	if l.Memory == 0 {
		l.Memory = d.Memory
	}
	if l.Time == 0 {
		l.Time = d.Time
	}
	if l.CPU == 0 {
		l.CPU = d.CPU
	}
	if l.Output == 0 {
		l.Output = d.Output
	}
	return l
}

func (l Limits) withDefaults() Limits {
	if l.Memory == 0 {
		l.Memory = 4 << 30
	}
	if l.Time == 0 {
		l.Time = Duration(time.Hour)
	}
	if l.CPU == 0 {
		l.CPU = Duration(time.Hour)
	}
	if l.Output == 0 {
		l.Output = 1 << 30
	}
	return l
}

// Suite is a declared evaluation, as the evaluation noun reads it. Data names one of the project's data sets.
type Suite struct {
	Name      string   `yaml:"-" json:"name"`
	Data      string   `yaml:"data" json:"data"`
	Target    string   `yaml:"target" json:"target,omitempty"`
	Output    string   `yaml:"output" json:"output,omitempty"`
	Positive  string   `yaml:"positive" json:"positive,omitempty"`
	Threshold *float64 `yaml:"threshold" json:"threshold,omitempty"`
	Tests     []Test   `yaml:"tests" json:"tests"`
}

// Test is one test of a suite.
type Test struct {
	Name         string   `yaml:"name" json:"name"`
	Kind         string   `yaml:"kind" json:"kind"`
	Metric       string   `yaml:"metric" json:"metric,omitempty"`
	Min          *float64 `yaml:"min" json:"min,omitempty"`
	Max          *float64 `yaml:"max" json:"max,omitempty"`
	Column       string   `yaml:"column" json:"column,omitempty"`
	Value        any      `yaml:"value" json:"value,omitempty"`
	MaxDrop      *float64 `yaml:"max_drop" json:"max_drop,omitempty"`
	P95MS        *float64 `yaml:"p95_ms" json:"p95_ms,omitempty"`
	AllowMissing *bool    `yaml:"allow_missing" json:"allow_missing,omitempty"`

	Columns []string             `yaml:"columns" json:"columns,omitempty"`
	Edges   map[string][]float64 `yaml:"edges" json:"edges,omitempty"`
	MinRows int                  `yaml:"min_rows" json:"min_rows,omitempty"`
}

// Rollout is how a version of this project reaches an environment; the client proposes it.
type Rollout struct {
	Mode  string      `yaml:"mode" json:"mode"`
	Steps []Increment `yaml:"steps" json:"steps,omitempty"`

	Durability string          `yaml:"durability" json:"durability,omitempty"` // of the prediction log: group, sync, async
	Redact     []string        `yaml:"redact" json:"redact,omitempty"`         // columns that the log leaves out; hash:COLUMN keeps a keyed hash
	Limits     *release.Limits `yaml:"limits" json:"limits,omitempty"`         // nil keeps what is there
}

// Increment is one step of a rollout.
type Increment struct {
	Share       int `yaml:"share" json:"share"`
	HoldRows    int `yaml:"hold_rows" json:"hold_rows,omitempty"`
	HoldSeconds int `yaml:"hold_seconds" json:"hold_seconds,omitempty"`
}

// Duration is written as Go writes it: 90s, 5m, 1h30m.
type Duration time.Duration

// MarshalText writes the duration as UnmarshalText reads it.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads a duration; it is positive.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil || v <= 0 {
		return fmt.Errorf("%q is not a duration; write 90s, 5m or 1h30m", b)
	}
	*d = Duration(v)
	return nil
}

// Size is a number of bytes, written with a unit: 512MiB, 4GiB.
type Size int64

// MarshalText writes the number of bytes.
func (s Size) MarshalText() ([]byte, error) { return strconv.AppendInt(nil, int64(s), 10), nil }

// UnmarshalText reads a size; it is positive.
func (s *Size) UnmarshalText(b []byte) error {
	text, unit := strings.TrimSpace(string(b)), int64(1)
	for suffix, u := range map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30} {
		if rest, ok := strings.CutSuffix(text, suffix); ok {
			text, unit = strings.TrimSpace(rest), u
			break
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n <= 0 || n > math.MaxInt64/unit {
		return fmt.Errorf("%q is not a size; write 512MiB or 4GiB", b)
	}
	*s = Size(n * unit)
	return nil
}

var (
	names    = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9._-]{0,98}[a-z0-9])?$`)
	stepName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`)
)

// Parse reads a project file that declares a pipeline. A mistake is a problem.Invalid that names file, line and column and shows
// the line; file is only for that text.
func Parse(file string, text []byte) (Definition, error) { return parse(file, text, true) }

// ParseProject reads a project file as Parse does, but one that declares no pipeline may have no steps and no name: it has data
// sets, rollouts or monitors only.
func ParseProject(file string, text []byte) (Definition, error) { return parse(file, text, false) }

func parse(file string, text []byte, runs bool) (Definition, error) {
	var d Definition
	if len(text) > MaxDefinition {
		return d, problem.New(problem.TooLarge, "%s has %d bytes; a project file has at most %d.", file, len(text), MaxDefinition)
	}
	tree, err := parser.ParseBytes(text, 0)
	if err != nil {
		return d, located(file, err)
	}
	if err := boundAliases(tree); err != nil {
		return d, problem.New(problem.Invalid, "%s: %s", file, err.Error())
	}
	dec := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict())
	if err := dec.Decode(&d); err != nil {
		if errors.Is(err, io.EOF) {
			return d, problem.New(problem.Invalid, "%s is empty; it needs at least name and steps.", file)
		}
		return d, located(file, err)
	}
	d.order = stepOrder(tree)
	if path, err := d.validate(runs); err != nil {
		return d, problem.New(problem.Invalid, "%s%s: %s", file, position(tree, path), err.Error()).At(path)
	}
	return d, nil
}

// aliasCount counts aliases and notices one inside an anchor.
type aliasCount struct {
	n      int
	nested bool
}

func (c *aliasCount) Visit(n ast.Node) ast.Visitor {
	switch n := n.(type) {
	case *ast.AnchorNode:
		inner := &aliasCount{}
		ast.Walk(inner, n.Value)
		c.n += inner.n
		c.nested = c.nested || inner.n > 0 || inner.nested
		return nil
	case *ast.AliasNode:
		c.n++
	}
	return c
}

// boundAliases keeps an alias bomb from being expanded: no alias inside an anchor, at most 50 in all.
func boundAliases(tree *ast.File) error {
	c := &aliasCount{}
	for _, doc := range tree.Docs {
		if doc.Body != nil {
			ast.Walk(c, doc.Body)
		}
	}
	if c.nested {
		return errors.New("an anchor contains an alias; anchors are not nested")
	}
	if c.n > 50 {
		return fmt.Errorf("there are %d aliases; at most 50 are read", c.n)
	}
	return nil
}

// located turns the parser's error, "[3:5] unknown field …" with the lines around it, into a problem.
func located(file string, err error) error {
	text := strings.TrimSpace(yaml.FormatError(err, false, true))
	if m := regexp.MustCompile(`^\[(\d+):(\d+)\] `).FindStringSubmatch(text); m != nil {
		return problem.New(problem.Invalid, "%s:%s:%s: %s", file, m[1], m[2], text[len(m[0]):])
	}
	return problem.New(problem.Invalid, "%s: %s", file, text)
}

func position(tree *ast.File, path string) string {
	for path != "" {
		if p, err := yaml.PathString("$." + path); err == nil {
			if n, err := p.FilterFile(tree); err == nil && n != nil && n.GetToken() != nil {
				at := n.GetToken().Position
				return fmt.Sprintf(":%d:%d", at.Line, at.Column)
			}
		}
		cut := strings.LastIndexAny(path, ".[")
		if cut < 0 {
			break
		}
		path = path[:cut]
	}
	return ""
}

func stepOrder(tree *ast.File) (order []string) {
	for _, doc := range tree.Docs {
		m, ok := doc.Body.(*ast.MappingNode)
		if !ok {
			continue
		}
		for _, v := range m.Values {
			if v.Key.String() != "steps" {
				continue
			}
			if steps, ok := v.Value.(*ast.MappingNode); ok {
				for _, s := range steps.Values {
					order = append(order, strings.Trim(s.Key.String(), `"'`))
				}
			}
			if one, ok := v.Value.(*ast.MappingValueNode); ok {
				order = append(order, strings.Trim(one.Key.String(), `"'`))
			}
		}
	}
	return order
}

// validate gives the path of the first mistake and the sentence about it. runs says that the file must declare a pipeline.
func (d *Definition) validate(runs bool) (path string, err error) {
	if len(d.Steps) == 0 && runs {
		return "steps", errors.New("steps is missing; a pipeline has at least one step")
	}
	if (runs || d.Name != "" || len(d.Steps) > 0) && !names.MatchString(d.Name) {
		return "name", fmt.Errorf("name %q is not a name; use lower-case letters, digits, dots, hyphens and underscores", d.Name)
	}
	if d.Model == "" {
		d.Model = d.Name
	}
	if d.Model != "" && !names.MatchString(d.Model) {
		return "model", fmt.Errorf("model %q is not a name", d.Model)
	}
	if len(d.Steps) > MaxSteps {
		return "steps", fmt.Errorf("there are %d steps; at most %d are allowed", len(d.Steps), MaxSteps)
	}
	if len(d.order) != len(d.Steps) { // steps came through a merge or an alias: any fixed order will do
		d.order = d.order[:0]
		for n := range d.Steps {
			d.order = append(d.order, n)
		}
		slices.Sort(d.order)
	}
	if strings.Contains(d.Environment.Requirements, "..") || strings.HasPrefix(d.Environment.Requirements, "/") {
		return "environment.requirements", fmt.Errorf("requirements %q leaves the project", d.Environment.Requirements)
	}
	for k, v := range d.Parameters {
		switch v.(type) {
		case string, bool, int, int64, uint64, float64:
		default:
			return "parameters." + k, fmt.Errorf("parameter %s is not a string, number or boolean", k)
		}
	}
	for n := range d.Data {
		if !names.MatchString(n) {
			return "data." + n, fmt.Errorf("data set %q is not a name", n)
		}
	}
	for n, s := range d.Evaluate {
		if path, err := d.validateSuite(n, s); err != nil {
			return path, err
		}
	}
	for _, n := range d.order {
		if path, err := d.validateStep(n, d.Steps[n]); err != nil {
			return path, err
		}
	}
	if loop := d.cycle(); loop != "" {
		return "steps." + loop, fmt.Errorf("step %s needs itself, by way of its needs", loop)
	}
	return "", nil
}

func (d *Definition) validateSuite(n string, s Suite) (path string, err error) {
	at := "evaluate." + n
	if _, ok := d.Data[s.Data]; !ok {
		return at + ".data", fmt.Errorf("suite %s judges on data set %q, which is not under data", n, s.Data)
	}
	if len(s.Tests) == 0 {
		return at + ".tests", fmt.Errorf("suite %s has no tests", n)
	}
	for i, t := range s.Tests {
		if t.Name == "" || t.Kind == "" {
			return fmt.Sprintf("%s.tests[%d]", at, i), errors.New("a test has a name and a kind")
		}
	}
	return "", nil
}

func (d *Definition) validateStep(n string, s StepDef) (path string, err error) {
	at := "steps." + n
	if !stepName.MatchString(n) {
		return at, fmt.Errorf("step %q is not a name; use lower-case letters, digits, hyphens and underscores", n)
	}
	for i, need := range s.Needs {
		if _, ok := d.Steps[need]; !ok {
			return fmt.Sprintf("%s.needs[%d]", at, i), fmt.Errorf("step %s needs %q, and there is no such step", n, need)
		}
	}
	for i, name := range s.Data {
		if _, ok := d.Data[name]; !ok {
			return fmt.Sprintf("%s.data[%d]", at, i), fmt.Errorf("step %s reads data set %q, which is not under data", n, name)
		}
	}
	switch s.Kind {
	case Command:
		if len(s.Run) == 0 || s.Run[0] == "" {
			return at + ".run", fmt.Errorf("step %s is a command and needs run: [program, argument, …]", n)
		}
	case Evaluate:
		if _, ok := d.Evaluate[s.Suite]; !ok {
			return at + ".suite", fmt.Errorf("step %s runs suite %q, which is not under evaluate", n, s.Suite)
		}
	case Check, Register:
	default:
		return at + ".kind", fmt.Errorf("step %s has kind %q; the kinds are check, command, register and evaluate", n, s.Kind)
	}
	if s.Kind != Command && (len(s.Run) > 0 || len(s.Outputs) > 0) {
		return at, fmt.Errorf("step %s is a %s step: run and outputs belong to command steps", n, s.Kind)
	}
	for name, file := range s.Outputs {
		if !names.MatchString(name) {
			return at + ".outputs", fmt.Errorf("output %q of step %s is not a data set name", name, n)
		}
		if file == "" || strings.HasPrefix(file, "/") || strings.Contains(file, "..") {
			return at + ".outputs." + name, fmt.Errorf("output file %q of step %s is not inside KEELSON_OUTPUT", file, n)
		}
	}
	return "", nil
}

// cycle gives a step that needs itself, directly or not; empty if there is none.
func (d *Definition) cycle() string {
	const visiting, done = 1, 2
	seen := map[string]int{}
	var visit func(string) string
	visit = func(n string) string {
		switch seen[n] {
		case done:
			return ""
		case visiting:
			return n
		}
		seen[n] = visiting
		for _, m := range d.Steps[n].Needs {
			if loop := visit(m); loop != "" {
				return loop
			}
		}
		seen[n] = done
		return ""
	}
	for _, n := range d.order {
		if loop := visit(n); loop != "" {
			return loop
		}
	}
	return ""
}

// Outlines gives the steps in the order of the file.
func (d *Definition) Outlines() []Outline {
	out := make([]Outline, 0, len(d.order))
	for _, n := range d.order {
		out = append(out, Outline{Name: n, Kind: d.Steps[n].Kind, Needs: append([]string{}, d.Steps[n].Needs...)})
	}
	return out
}

// parameters merges what a run was given over the defaults. A parameter the project does not declare is refused.
func (d *Definition) parameters(given map[string]any) (map[string]any, error) {
	out := map[string]any{}
	for k, v := range d.Parameters {
		out[k] = v
	}
	for k, v := range given {
		if _, ok := d.Parameters[k]; !ok {
			return nil, problem.New(problem.Invalid, "Pipeline %s has no parameter %q; declare it under parameters in keelson.yaml.", d.Name, k).At("params." + k)
		}
		switch v.(type) {
		case string, bool, float64, int, int64:
			out[k] = v
		default:
			return nil, problem.New(problem.Invalid, "Parameter %s must be a string, a number or a boolean.", k).At("params." + k)
		}
	}
	return out, nil
}
